// SPDX-License-Identifier: Apache-2.0
//
// SCATTER_ELEMENTS (skeletons/move.kg) and SCATTER_ND (skeletons/scatter.kg);
// parameters as lower_index.c writes them. Updates of one place apply in their
// order: for elements along an axis those of y look for the updates that name
// them, as many as there are along the axis; for tuples the first update of a
// place looks for the others.
#include "kernel_move.h"

#define REPLACE 0

static const char *const REDUCTIONS_F32[] = {NULL, "a + b", "a * b",
                                             "max_f32(a, b)", "min_f32(a, b)"};
static const char *const REDUCTIONS_I32[] = {NULL, "a + b", "a * b",
                                             "a > b ? a : b", "a < b ? a : b"};
static const char *const REDUCTIONS_I64[] = {
    NULL, "add_64(a, b)", "mul_64(a, b)", "max_i64(a, b)", "min_i64(a, b)"};

// ---- text ------------------------------------------------------------------

// VALUE: what the updates are joined in; LOAD(b, i): element i of a buffer as
// such, or its part; JOIN(a, b): b after a; BITS(v): word `part` of it.
static bool
define_values(pq_kg_module *m, int64_t reduction)
{
    uint32_t dtype = pq_kg_out(m->job, 0)->dtype;
    const char *value, *load, *bits, *join;
    if (reduction == REPLACE) {
        value = "u32";
        load = "RAW(b, (i) * PARTS + part)";
        bits = "v";
        join = "b";
    } else if (reduction < 0 || reduction > 4) {
        return false;
    } else if (dtype == PTQC_F32) {
        m->uses |= PQ_KG_USES_VALUES;
        value = "f32";
        load = "AS_F32(b[i])";
        bits = "AS_U32(v)";
        join = REDUCTIONS_F32[reduction];
    } else if (dtype == PTQC_I32) {
        value = "i32";
        load = "I32(b[i])";
        bits = "U32(v)";
        join = REDUCTIONS_I32[reduction];
    } else if (dtype == PTQC_I64) {
        m->uses |= PQ_KG_USES_VALUES | PQ_KG_USES_WIDE;
        value = "u32x2";
        load = "LD_WIDE(b, i)";
        bits = "(part == 0u ? v.x : v.y)";
        join = REDUCTIONS_I64[reduction];
    } else {
        return false;
    }
    pq_kg_module_define(m, "VALUE", "%s", value);
    pq_kg_module_define(m, "LOAD(b, i)", "%s", load);
    pq_kg_module_define(m, "JOIN(a, b)", "(%s)", join);
    pq_kg_module_define(m, "BITS(v)", "%s", bits);
    return true;
}

static bool
check(pq_kg_module *m, int64_t reduction)
{
    if (!pq_kg_move_is_like_y(m->job, 2) ||
        !pq_kg_move_is_index(pq_kg_in(m->job, 1)) ||
        pq_kg_element_bytes(pq_kg_out(m->job, 0)->dtype) == 0) {
        pq_kg_module_decline(m, "scatter between types");
        return false;
    }
    if (!define_values(m, reduction)) {
        pq_kg_module_decline(m, "scatter by this reduction");
        return false;
    }
    return true;
}

static const char *const NAMES[] = {"", "_add", "_mul", "_max", "_min"};

void
pq_kg_source_scatter_elements(pq_kg_module *m)
{
    int64_t reduction = pq_kg_i64(m->job, 1);
    if (!check(m, reduction)) {
        return;
    }
    if (!pq_kg_move_is_like_y(m->job, 0)) {
        pq_kg_module_decline(m, "scatter between types");
        return;
    }
    if (!pq_kg_move_begin(m, "scatter_elements")) {
        return;
    }
    uint32_t rank = pq_kg_out(m->job, 0)->rank;
    pq_kg_module_name(m, "%s", NAMES[reduction]);
    pq_kg_move_parts_define(m);
    pq_kg_module_word(m, "axis");
    pq_kg_module_words(m, "dims", rank);
    pq_kg_module_words(m, "counts", rank);
    pq_kg_module_define(m, "RANK", "%uu", rank);
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_move_ids(m, 1);
    pq_kg_module_buffer(m, 2, "updates", PQ_KG_READS);
    pq_kg_move_end(m,
                   "u32 part = rest % PARTS;\n"
                   "rest /= PARTS;\n"
                   "VALUE value = LOAD(x, rest);\n"
                   "i32 own = 0;\n"
                   "u32 first = 0u;\n"
                   "u32 next = 0u;\n"
                   "u32 stride = 1u;\n"
                   "bool is_named = true;\n"
                   "for (u32 k = 0u; k < RANK; k++) {\n"
                   "    u32 d = RANK - 1u - k;\n"
                   "    u32 outer = rest / dims(d);\n"
                   "    u32 i = rest - outer * dims(d);\n"
                   "    own = d == axis ? I32(i) : own;\n"
                   "    next = d == axis ? stride : next;\n"
                   "    first += d == axis ? 0u : i * stride;\n"
                   "    is_named = is_named && (d == axis || i < counts(d));\n"
                   "    stride *= counts(d);\n"
                   "    rest = outer;\n"
                   "}\n"
                   "u32 looks = is_named ? counts(axis) : 0u;\n"
                   "for (u32 base = 0u; base < looks; base += 8u) {\n"
                   "    UNROLL\n"
                   "    for (u32 j = 0u; j < 8u; j++) {\n"
                   "        u32 at = first + (base + j) * next;\n"
                   "        i32 id = base + j < looks ? ID(at) : 0;\n"
                   "        id = id < 0 ? id + I32(dims(axis)) : id;\n"
                   "        if (base + j < looks && id == own) {\n"
                   "            value = JOIN(value, LOAD(updates, at));\n"
                   "        }\n"
                   "    }\n"
                   "}\n"
                   "element = BITS(value);\n");
}

// Parts that are items of their own: not those of numbers that are computed.
static int64_t
item_parts(const pq_kg_job *job)
{
    return pq_kg_i64(job, 0) == REPLACE
               ? pq_kg_move_parts(pq_kg_out(job, 0)->dtype)
               : 1;
}

void
pq_kg_source_scatter_nd(pq_kg_module *m)
{
    int64_t reduction = pq_kg_i64(m->job, 0);
    if (!check(m, reduction)) {
        return;
    }
    const pq_kg_tensor *y = pq_kg_out(m->job, 0);
    uint32_t bytes = pq_kg_element_bytes(y->dtype);
    static const char *const WORDS[] = {"items", "inner", "tuples", "depth"};
    pq_kg_module_name(m, "scatter_nd_%u%s", 8 * bytes, NAMES[reduction]);
    for (uint32_t i = 0; i < 4; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_module_words(m, "sizes", y->rank);
    pq_kg_module_define(m, "RANK", "%uu", y->rank);
    pq_kg_move_ids(m, 1);
    pq_kg_module_buffer(m, 2, "updates", PQ_KG_READS);
    pq_kg_module_buffer(m, 3, "y", PQ_KG_WRITES);
    pq_kg_move_parts_define(m);
    pq_kg_move_raw_define(m, y->dtype);
    pq_kg_module_define(m, "ITEM_PARTS", "%uu", (uint32_t)item_parts(m->job));
    if (bytes < 4) {
        pq_kg_module_store_row(m, bytes == 1 ? PTQC_U8 : PTQC_U16, 1, "value");
    } else {
        pq_kg_module_hook(m, "gather", "");
        pq_kg_module_hook(m, "store",
                          bytes == 4 ? "y[at] = BITS(value);\n"
                          : reduction == REPLACE
                              ? "y[2u * at + part] = value;\n"
                              : "y[2u * at] = value.x;\n"
                                "y[2u * at + 1u] = value.y;"
                                "\n");
    }
    pq_kg_module_body(m, pq_kg_text_scatter);
}

// ---- launch ----------------------------------------------------------------

static bool
same_dims(const pq_kg_tensor *a, const pq_kg_tensor *b)
{
    bool same = a->rank == b->rank;
    for (uint32_t i = 0; same && i < a->rank; i++) {
        same = a->dims[i] == b->dims[i];
    }
    return same;
}

void
pq_kg_launch_scatter_elements(pq_kg_launcher *l)
{
    const pq_kg_tensor *ids = pq_kg_in(l->job, 1), *y = pq_kg_out(l->job, 0);
    int64_t axis = pq_kg_i64(l->job, 0);
    if (!PQ_KG_NEED(l, same_dims(pq_kg_in(l->job, 0), y) &&
                           same_dims(pq_kg_in(l->job, 2), ids) &&
                           ids->rank == y->rank && axis >= 0 &&
                           axis < y->rank)) {
        return;
    }
    for (uint32_t i = 0; i < y->rank; i++) {
        PQ_KG_NEED(l, i == axis || ids->dims[i] <= y->dims[i]);
    }
    // of each element of a word
    uint32_t bytes = pq_kg_element_bytes(y->dtype);
    int64_t lanes = bytes < 4 ? 4 / bytes : 1;
    pq_kg_launch_turns(l, lanes * (ids->dims[axis] / 8 + y->rank + 2));
    pq_kg_move_launch(l);
    pq_kg_put(l, axis);
    for (uint32_t i = 0; i < y->rank; i++) {
        pq_kg_put(l, y->dims[i]);
    }
    for (uint32_t i = 0; i < y->rank; i++) {
        pq_kg_put(l, ids->dims[i]);
    }
}

void
pq_kg_launch_scatter_nd(pq_kg_launcher *l)
{
    pq_kg_tuples t;
    int64_t updates;
    if (!pq_kg_tuples_read(l, pq_kg_out(l->job, 0), 0, &t)) {
        return;
    }
    (void)pq_kg_count(pq_kg_in(l->job, 2), &updates);
    PQ_KG_NEED(l, updates == t.count * t.inner);
    int64_t items = updates * item_parts(l->job);
    pq_kg_put(l, items);
    pq_kg_put(l, t.inner > 0 ? t.inner : 1);
    pq_kg_put(l, t.count);
    pq_kg_tuples_put(l, &t);
    pq_kg_launch_turns(l, t.count / 4 + 2);
    pq_kg_launch_items(l, items, pq_kg_flat_local(l->limits));
    l->out->work_ops = (uint64_t)items * (uint64_t)t.count;
}
