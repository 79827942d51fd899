// SPDX-License-Identifier: Apache-2.0
//
// BATCH_MATMUL: both operands of this run (skeletons/batch_matmul.kg).
#include <stdio.h>
#include <string.h>

#include "expr_text.h"

#define NO_AXIS 15u

typedef struct batch {
    uint32_t axes; // logical: batch axes, row, column
    bool has_codes;
    pq_kg_expression e;
} batch;

static const char *
read_step(const pq_kg_job *job, batch *b)
{
    const pq_kg_tensor *x = pq_kg_in(job, 0), *w = pq_kg_in(job, 1);
    const pq_kg_tensor *y = pq_kg_out(job, 0);
    int64_t batches = pq_kg_i64(job, 0);
    memset(b, 0, sizeof *b);
    if (x == NULL || w == NULL || y == NULL || batches < 0 ||
        batches > PTQC_MAX_RANK - 2 || y->rank == 0) {
        return "batch matmul: operands";
    }
    bool has_x = x->dtype == PTQC_U8 || x->dtype == PTQC_I8;
    bool has_w = w->dtype == PTQC_U8 || w->dtype == PTQC_I8;
    if (has_x != has_w ||
        (!has_x && !(pq_kg_is_float(x->dtype) && pq_kg_is_float(w->dtype)))) {
        return "batch matmul: types";
    }
    b->has_codes = has_x;
    b->axes = (uint32_t)batches + 2;
    return pq_kg_expression_read(job, 6, has_x ? PTQC_I32 : PTQC_F32, 2, &b->e);
}

static const char *
operand_lines(pq_kg_module *m, const batch *b, const char *format)
{
    pq_kg_text t = {.mem = m->mem};
    for (uint32_t i = 0; i < pq_kg_expression_operands(&b->e); i++) {
        pq_kg_text_numbered(&t, format, i);
    }
    return pq_kg_module_text(m, &t);
}

// Words of y one by one, for elements that are narrower.
static const char *
store_one(uint32_t dtype)
{
    switch (pq_kg_element_bytes(dtype)) {
    case 1:
        return "u32 shift = (at & 3u) * 8u;\n"
               "ATOMIC_AND(y, word, ~(0xffu << shift));\n"
               "ATOMIC_OR(y, word, bits << shift);\n";
    case 2:
        return "u32 shift = (at & 1u) * 16u;\n"
               "ATOMIC_AND(y, word, ~(0xffffu << shift));\n"
               "ATOMIC_OR(y, word, bits << shift);\n";
    default:
        return "";
    }
}

// Loads of an element and of a quad; `name`: A or B.
static void
define_operand(pq_kg_module *m, const batch *b, uint32_t i)
{
    uint32_t dtype = pq_kg_in(m->job, i)->dtype;
    const char *type = pq_kg_dtype_name(dtype), *operand = i == 0 ? "a" : "b";
    const char *quad = dtype == PTQC_F32    ? "WIDE_F32(%s4, at)"
                       : dtype == PTQC_F16  ? "PAIR_F16(%s2, at)"
                       : dtype == PTQC_BF16 ? "PAIR_BF16(%s2, at)"
                                            : "%s[(at) >> 2]";
    char text[48];
    (void)snprintf(text, sizeof text, quad, operand);
    pq_kg_module_buffer(m, i, operand,
                        dtype == PTQC_F32 ? PQ_KG_WIDE
                        : b->has_codes    ? PQ_KG_READS
                                          : PQ_KG_PAIRS);
    pq_kg_module_define(m, i == 0 ? "QUAD_A(at)" : "QUAD_B(at)", "%s", text);
    if (!b->has_codes) {
        pq_kg_module_define(m, i == 0 ? "A_OF(v, j)" : "B_OF(v, j)",
                            "LANE(v, j)");
        pq_kg_module_define(m, i == 0 ? "LOAD_A(at)" : "LOAD_B(at)",
                            "LD_%s(%s, at)", type, operand);
        return;
    }
    pq_kg_module_define(m, i == 0 ? "A_OF(v, j)" : "B_OF(v, j)",
                        "(CODE_%s(v, j) - I32(%s_zero))",
                        dtype == PTQC_I8 ? "I8" : "U8", operand);
    pq_kg_module_define(m, i == 0 ? "LOAD_A(at)" : "LOAD_B(at)",
                        "(I32(LD_%s(%s, at)) - I32(%s_zero))", type, operand,
                        operand);
}

static void
declare_words(pq_kg_module *m, const batch *b, uint32_t rank)
{
    static const char *const WORDS[] = {
        "items", "rows",   "columns", "depth",     "row_blocks",
        "a_row", "a_step", "b_col",   "b_step",    "y_row",
        "y_col", "a_zero", "b_zero",  "col_blocks"};
    static const char *const AXES[] = {"dims", "a_stride", "b_stride",
                                       "y_stride"};
    static const char *const SPECS[] = {"ROWS", "COLS", "STEP", "A_QUAD",
                                        "B_QUAD"};
    char name[32];
    for (uint32_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    for (uint32_t i = 0; i < 4; i++) {
        pq_kg_module_words(m, AXES[i], rank);
    }
    for (uint32_t i = 0; i < pq_kg_expression_operands(&b->e); i++) {
        (void)snprintf(name, sizeof name, "stride%u", i);
        pq_kg_module_words(m, name, rank);
        (void)snprintf(name, sizeof name, "row%u", i);
        pq_kg_module_word(m, name);
        (void)snprintf(name, sizeof name, "col%u", i);
        pq_kg_module_word(m, name);
    }
    for (uint32_t i = 0; i < sizeof SPECS / sizeof SPECS[0]; i++) {
        pq_kg_module_spec(m, SPECS[i]);
    }
}

static void
put_hooks(pq_kg_module *m, const batch *b, uint32_t y_dtype)
{
    char result[16];
    pq_kg_module_hook(m, "places", operand_lines(m, b, "u32 base$ = 0u;\n"));
    pq_kg_module_hook(m, "steps",
                      operand_lines(m, b, "base$ += i * stride$(d - 1u);\n"));
    pq_kg_module_hook(m, "operands",
                      operand_lines(m, b,
                                    "u32 at$ = base$ + r_in * row$ + "
                                    "c_in * col$;\n"));
    pq_kg_module_hook(m, "expression",
                      pq_kg_expression_text(m, &b->e, "sum", result));
    pq_kg_module_hook(m, "store_one", store_one(y_dtype));
    pq_kg_module_store(m, y_dtype, result);
}

void
pq_kg_source_batch_matmul(pq_kg_module *m)
{
    batch b;
    const char *why = read_step(m->job, &b);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    const pq_kg_tensor *y = pq_kg_out(m->job, 0);
    pq_kg_module_name(m, "batch_matmul_%s_%s",
                      pq_kg_dtype_name(pq_kg_in(m->job, 0)->dtype),
                      pq_kg_dtype_name(pq_kg_in(m->job, 1)->dtype));
    pq_kg_expression_name(m, &b.e);
    define_operand(m, &b, 0);
    define_operand(m, &b, 1);
    declare_words(m, &b, y->rank);
    pq_kg_expression_declare(m, &b.e);
    pq_kg_module_buffer(m, m->job->input_count, "y", PQ_KG_WRITES);
    pq_kg_module_define(m, "RANK", "%uu", y->rank);
    pq_kg_module_define(m, "SUM", b.has_codes ? "i32" : "f32");
    pq_kg_module_define(m, "QUAD", b.has_codes ? "u32" : "f32x4");
    pq_kg_module_define(m, "MAC(u, v, sum)",
                        b.has_codes ? "sum + (u) * (v)" : "FMA(u, v, sum)");
    put_hooks(m, &b, y->dtype);
    m->uses |= PQ_KG_USES_BLOCKS;
    pq_kg_module_body(m, pq_kg_text_batch_matmul);
}

// ---- launch ----------------------------------------------------------------

// Physical axis of logical axis i by the map; NO_AXIS.
static uint32_t
axis_of(int64_t map, uint32_t i)
{
    return (uint32_t)((uint64_t)map >> (4 * i)) & 15u;
}

// Strides of a (0) or b (1): along y's axes but those of rows and columns,
// along its own rows or columns, along K.
typedef struct side {
    int64_t axes[PTQC_MAX_RANK], own, step, depth;
} side;

static void
read_side(pq_kg_launcher *l, const batch *b, uint32_t which, side *out)
{
    const pq_kg_tensor *t = pq_kg_in(l->job, which), *y = pq_kg_out(l->job, 0);
    int64_t map = pq_kg_i64(l->job, 1 + which), y_map = pq_kg_i64(l->job, 3);
    uint32_t depth_axis = which == 0 ? b->axes - 1 : b->axes - 2;
    int64_t dense[PTQC_MAX_RANK];
    uint32_t seen = 0;
    memset(out, 0, sizeof *out);
    pq_kg_strides(t, dense);
    for (uint32_t i = 0; i < b->axes; i++) {
        uint32_t from = axis_of(map, i), to = axis_of(y_map, i);
        if (from == NO_AXIS) {
            PQ_KG_NEED(l, i != depth_axis);
            continue;
        }
        if (!PQ_KG_NEED(l, from < t->rank && (seen >> from & 1) == 0)) {
            return;
        }
        seen |= 1u << from;
        if (i == depth_axis) {
            out->step = dense[from];
            out->depth = t->dims[from];
        } else if (PQ_KG_NEED(l, to < y->rank || t->dims[from] == 1) &&
                   t->dims[from] != 1) {
            PQ_KG_NEED(l, t->dims[from] == y->dims[to]);
            *(i >= b->axes - 2 ? &out->own : &out->axes[to]) = dense[from];
        }
    }
}

// Whether quads from places with these strides begin at multiples of 4.
static bool
has_quads(const side *s, int64_t other, uint32_t rank)
{
    bool is_even = other % 4 == 0;
    for (uint32_t d = 0; d < rank; d++) {
        is_even = is_even && s->axes[d] % 4 == 0;
    }
    return is_even;
}

// Extent and stride of y along a logical axis that it may lack.
static void
read_axis(const pq_kg_tensor *y, const int64_t *dense, uint32_t axis,
          int64_t *out_extent, int64_t *out_stride)
{
    *out_extent = axis < y->rank ? y->dims[axis] : 1;
    *out_stride = axis < y->rank ? dense[axis] : 0;
}

typedef struct frame {
    side sides[2];
    uint32_t row_axis, col_axis; // of y; NO_AXIS
    int64_t rows, columns, y_row, y_col;
    int64_t dims[PTQC_MAX_RANK], strides[PTQC_MAX_RANK]; // of y's batches
} frame;

static void
read_frame(pq_kg_launcher *l, const batch *b, frame *f)
{
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    int64_t y_map = pq_kg_i64(l->job, 3);
    memset(f, 0, sizeof *f);
    read_side(l, b, 0, &f->sides[0]);
    read_side(l, b, 1, &f->sides[1]);
    PQ_KG_NEED(l, f->sides[0].depth == f->sides[1].depth);
    f->row_axis = axis_of(y_map, b->axes - 2);
    f->col_axis = axis_of(y_map, b->axes - 1);
    pq_kg_strides(y, f->strides);
    read_axis(y, f->strides, f->row_axis, &f->rows, &f->y_row);
    read_axis(y, f->strides, f->col_axis, &f->columns, &f->y_col);
    for (uint32_t d = 0; d < y->rank; d++) {
        bool is_own = d == f->row_axis || d == f->col_axis;
        f->dims[d] = is_own ? 1 : y->dims[d];
    }
}

static void
put_axes(pq_kg_launcher *l, const int64_t *axes, uint32_t rank)
{
    for (uint32_t d = 0; d < rank; d++) {
        pq_kg_put(l, axes[d]);
    }
}

static void
put_operands(pq_kg_launcher *l, const batch *b, const frame *f)
{
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    for (uint32_t i = 0; i < pq_kg_expression_operands(&b->e); i++) {
        int64_t view[PTQC_MAX_RANK] = {0};
        pq_kg_expression_view(l, &b->e, i, y, view);
        put_axes(l, view, y->rank);
        pq_kg_put(l, f->row_axis < y->rank ? view[f->row_axis] : 0);
        pq_kg_put(l, f->col_axis < y->rank ? view[f->col_axis] : 0);
    }
}

// Rows and columns of an item: on a cpu loads are the dear part, and more
// columns share those of a row.
static void
put_schedule(pq_kg_launcher *l, const frame *f, int64_t rows, int64_t cols)
{
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    const side *a = &f->sides[0], *b = &f->sides[1];
    uint32_t bytes = pq_kg_element_bytes(y->dtype);
    uint32_t lanes = bytes < 4 ? 4 / bytes : 1;
    bool is_whole = f->col_axis + 1 == y->rank && f->columns % lanes == 0 &&
                    cols % lanes == 0;
    bool along_k = b->step == 1 && has_quads(b, b->own, y->rank);
    bool along_cols =
        b->own == 1 && cols % 4 == 0 && has_quads(b, b->step, y->rank);
    pq_kg_launch_spec(l, (uint32_t)rows);
    pq_kg_launch_spec(l, (uint32_t)cols);
    pq_kg_launch_spec(l, is_whole ? lanes : 1);
    pq_kg_launch_spec(l, a->step == 1 && has_quads(a, a->own, y->rank));
    pq_kg_launch_spec(l, along_k ? 1 : along_cols ? 2 : 0);
}

void
pq_kg_launch_batch_matmul(pq_kg_launcher *l)
{
    batch b;
    frame f;
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    const char *why = read_step(l->job, &b);
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    read_frame(l, &b, &f);
    int64_t rows = l->limits->is_cpu ? 8 : 4, cols = 4, count;
    while (rows > 1 && rows / 2 >= f.rows) {
        rows /= 2;
    }
    if (l->st != PTQC_BE_OK) {
        return;
    }
    (void)pq_kg_count(y, &count);
    int64_t row_blocks = (f.rows + rows - 1) / rows;
    int64_t col_blocks = (f.columns + cols - 1) / cols;
    int64_t items = row_blocks * col_blocks;
    for (uint32_t d = 0; d < y->rank; d++) {
        items *= f.dims[d];
    }
    const side *a = &f.sides[0], *w = &f.sides[1];
    const int64_t own[] = {items,      f.rows,  f.columns, a->depth,
                           row_blocks, a->own,  a->step,   w->own,
                           w->step,    f.y_row, f.y_col};
    for (uint32_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        pq_kg_put(l, own[i]);
    }
    pq_kg_put_i32(l, pq_kg_i64(l->job, 4));
    pq_kg_put_i32(l, pq_kg_i64(l->job, 5));
    pq_kg_put(l, col_blocks);
    put_axes(l, f.dims, y->rank);
    put_axes(l, a->axes, y->rank);
    put_axes(l, w->axes, y->rank);
    put_axes(l, f.strides, y->rank);
    put_operands(l, &b, &f);
    pq_kg_expression_put(l, &b.e);
    put_schedule(l, &f, rows, cols);
    pq_kg_launch_turns(l, a->depth / 4 + 64);
    pq_kg_launch_items(l, items, l->limits->is_cpu ? 8 : 64);
    l->out->work_ops = 2 * (uint64_t)count * (uint64_t)a->depth;
}
