// SPDX-License-Identifier: Apache-2.0
//
// MOVE, CONCAT, PAD, FILL and GATHER steps (skeletons/move.kg): elements of 1,
// 2, 4 or 8 bytes, whatever they mean.
#include "kernel_move.h"

#include <stdio.h>

#include "move.h"
#include "params.h"

#define AXES_MAX (2 * PTQC_MAX_RANK + 1)

#define PAD_CONSTANT 0
#define PAD_REFLECT  1
#define PAD_EDGE     2
#define PAD_WRAP     3

// ---- elements --------------------------------------------------------------

// Words of an element of 8 bytes are elements of their own, along an axis
// behind the others.
int64_t
pq_kg_move_parts(uint32_t dtype)
{
    return pq_kg_element_bytes(dtype) == 8 ? 2 : 1;
}

void
pq_kg_move_raw_define(pq_kg_module *m, uint32_t dtype)
{
    uint32_t bytes = pq_kg_element_bytes(dtype);
    pq_kg_module_define(m, "RAW(b, i)", "%s",
                        bytes >= 4   ? "b[i]"
                        : bytes == 2 ? "HALF_AT(b, i)"
                                     : "BYTE_AT(b, i)");
}

// Declares y, how elements are read, and the numbers of elements and words.
// false: declined.
bool
pq_kg_move_begin(pq_kg_module *m, const char *name)
{
    const pq_kg_tensor *y = pq_kg_out(m->job, 0);
    uint32_t bytes = y != NULL ? pq_kg_element_bytes(y->dtype) : 0;
    if (bytes == 0) {
        pq_kg_module_decline(m, "moving elements of less than 8 bits");
        return false;
    }
    bytes = bytes == 8 ? 4 : bytes;
    pq_kg_module_name(m, "%s_%u", name, 8 * bytes);
    pq_kg_module_define(m, "LANES", "%uu", 4 / bytes);
    pq_kg_module_define(m, "SHIFT", "%uu", 8 * bytes % 32);
    pq_kg_move_raw_define(m, y->dtype);
    pq_kg_module_word(m, "count");
    pq_kg_module_word(m, "words_out");
    return true;
}

void
pq_kg_move_end(pq_kg_module *m, const char *fetch)
{
    pq_kg_module_buffer(m, m->job->input_count, "y", PQ_KG_WRITES);
    pq_kg_module_hook(m, "fetch", fetch);
    pq_kg_module_body(m, pq_kg_text_move);
}

// The operand exists and has y's type.
bool
pq_kg_move_is_like_y(const pq_kg_job *job, uint32_t i)
{
    const pq_kg_tensor *x = pq_kg_in(job, i), *y = pq_kg_out(job, 0);
    return x != NULL && y != NULL && x->dtype == y->dtype;
}

// ---- indices ---------------------------------------------------------------

bool
pq_kg_move_is_index(const pq_kg_tensor *t)
{
    return t != NULL && (t->dtype == PTQC_I32 || t->dtype == PTQC_I64);
}

void
pq_kg_move_ids(pq_kg_module *m, uint32_t arg)
{
    pq_kg_module_define(m, "ID(i)", "LD_%s(ids, i)",
                        pq_kg_dtype_name(pq_kg_in(m->job, arg)->dtype));
    pq_kg_module_buffer(m, arg, "ids", PQ_KG_READS);
}

void
pq_kg_move_parts_define(pq_kg_module *m)
{
    pq_kg_module_define(m, "PARTS", "%du",
                        (int)pq_kg_move_parts(pq_kg_out(m->job, 0)->dtype));
}

bool
pq_kg_tuples_read(pq_kg_launcher *l, const pq_kg_tensor *x, int64_t batch_dims,
                  pq_kg_tuples *out)
{
    const pq_kg_tensor *ids = pq_kg_in(l->job, 1);
    if (!PQ_KG_NEED(l, ids->rank >= 1 && batch_dims >= 0 &&
                           batch_dims < ids->rank)) {
        return false;
    }
    uint32_t batch = (uint32_t)batch_dims;
    *out = (pq_kg_tuples){
        .count = pq_kg_extent(ids, 0, ids->rank - 1),
        .per_batch = pq_kg_extent(ids, batch, ids->rank - 1),
        .depth = ids->dims[ids->rank - 1],
        .sizes = x->dims + batch,
        .size_count = x->rank,
    };
    if (!PQ_KG_NEED(l, batch + out->depth <= x->rank &&
                           pq_kg_extent(x, 0, batch) ==
                               pq_kg_extent(ids, 0, batch))) {
        return false;
    }
    out->inner = pq_kg_extent(x, batch + (uint32_t)out->depth, x->rank);
    return true;
}

void
pq_kg_tuples_put(pq_kg_launcher *l, const pq_kg_tuples *t)
{
    pq_kg_put(l, t->depth);
    for (uint32_t i = 0; i < t->size_count; i++) {
        pq_kg_put(l, i < t->depth ? t->sizes[i] : 1);
    }
}

// ---- launch ----------------------------------------------------------------

void
pq_kg_move_launch(pq_kg_launcher *l)
{
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    int64_t count, parts = pq_kg_move_parts(y->dtype);
    int64_t bytes = pq_kg_element_bytes(y->dtype) / parts;
    (void)pq_kg_count(y, &count);
    count *= parts;
    int64_t words = (count * bytes + 3) / 4;
    pq_kg_put(l, count);
    pq_kg_put(l, words);
    pq_kg_launch_items(l, words, pq_kg_flat_local(l->limits));
}

// An element's bits as the words fill(0), fill(1): those of an 8-byte one, or
// twice the same.
void
pq_kg_move_put_fill(pq_kg_launcher *l, int64_t element)
{
    uint32_t bytes = pq_kg_element_bytes(pq_kg_out(l->job, 0)->dtype);
    uint64_t bits = (uint64_t)element;
    uint32_t low = (uint32_t)bits & (bytes < 4 ? (1u << 8 * bytes) - 1 : ~0u);
    pq_kg_put_bits(l, low);
    pq_kg_put_bits(l, bytes == 8 ? (uint32_t)(bits >> 32) : low);
}

// ---- strided copies --------------------------------------------------------

// Axes of y that are one step of memory in x, outermost first.
typedef struct axes {
    uint32_t rank;
    int64_t start;
    int64_t dims[AXES_MAX], strides[AXES_MAX]; // strides: of x
} axes;

static void
add_axis(axes *a, int64_t n, int64_t stride)
{
    if (n == 1) {
        return;
    }
    bool joins = a->rank > 0 && a->strides[a->rank - 1] == stride * n;
    uint32_t at = joins ? a->rank - 1 : a->rank;
    a->dims[at] = joins ? a->dims[at] * n : n;
    a->strides[at] = stride;
    a->rank = at + 1;
}

// Elements of x from one index of an axis to the next; 8-byte ones count two.
static void
strides_of(const pq_kg_tensor *t, int64_t *out)
{
    int64_t stride = pq_kg_move_parts(t->dtype);
    for (uint32_t i = t->rank; i-- > 0;) {
        out[i] = stride;
        stride *= t->dims[i];
    }
}

static void
set_permute(pq_kg_launcher *l, const pq_kg_tensor *x, const pq_kg_tensor *y,
            axes *a)
{
    int64_t strides[PTQC_MAX_RANK];
    strides_of(x, strides);
    PQ_KG_NEED(l, x->rank == y->rank && l->job->param_count == 1 + x->rank);
    for (uint32_t i = 0; i < y->rank && l->st == PTQC_BE_OK; i++) {
        int64_t from = pq_kg_i64(l->job, 1 + i);
        if (PQ_KG_NEED(l, from >= 0 && from < x->rank &&
                              x->dims[from] == y->dims[i])) {
            add_axis(a, y->dims[i], strides[from]);
        }
    }
}

static void
set_slice(pq_kg_launcher *l, const pq_kg_tensor *x, const pq_kg_tensor *y,
          axes *a)
{
    int64_t strides[PTQC_MAX_RANK];
    strides_of(x, strides);
    PQ_KG_NEED(l, x->rank == y->rank && l->job->param_count == 1 + 2 * x->rank);
    for (uint32_t i = 0; i < y->rank && l->st == PTQC_BE_OK; i++) {
        int64_t start = 0, step = pq_kg_i64(l->job, 2 + 2 * i), last = 0;
        bool fits = pq_kg_dim_of(l->job, 1 + 2 * i, &start) && step != 0 &&
                    step >= INT32_MIN && step <= INT32_MAX &&
                    !__builtin_mul_overflow(y->dims[i] - 1, step, &last) &&
                    !__builtin_add_overflow(last, start, &last);
        bool is_inside = y->dims[i] == 0 || (start >= 0 && start < x->dims[i] &&
                                             last >= 0 && last < x->dims[i]);
        if (PQ_KG_NEED(l, fits && is_inside)) {
            a->start += y->dims[i] > 0 ? start * strides[i] : 0;
            add_axis(a, y->dims[i], strides[i] * step);
        }
    }
}

// Each axis of y counts repetitions, then elements of x.
static void
set_repeat(pq_kg_launcher *l, const pq_kg_tensor *x, const pq_kg_tensor *y,
           axes *a)
{
    int64_t strides[PTQC_MAX_RANK];
    strides_of(x, strides);
    PQ_KG_NEED(l, x->rank <= y->rank);
    for (uint32_t i = 0; i < y->rank && l->st == PTQC_BE_OK; i++) {
        uint32_t skip = y->rank - x->rank;
        int64_t n = i < skip ? 1 : x->dims[i - skip];
        int64_t times = n > 0 ? y->dims[i] / n : 0;
        if (PQ_KG_NEED(l, times * n == y->dims[i])) {
            add_axis(a, times, 0);
            add_axis(a, n, i < skip ? 0 : strides[i - skip]);
        }
    }
}

// Axes in the text, merged or not.
static uint32_t
axis_count(const pq_kg_job *job)
{
    uint32_t rank = pq_kg_out(job, 0)->rank;
    return (pq_kg_i64(job, 0) == PQ_MOVE_REPEAT ? 2 * rank : rank) + 1;
}

void
pq_kg_source_move(pq_kg_module *m)
{
    if (!pq_kg_move_is_like_y(m->job, 0)) {
        pq_kg_module_decline(m, "move between types");
        return;
    }
    if (!pq_kg_move_begin(m, "move")) {
        return;
    }
    pq_kg_module_word(m, "start");
    pq_kg_module_word(m, "rank");
    pq_kg_module_words(m, "dims", axis_count(m->job));
    pq_kg_module_words(m, "stride", axis_count(m->job));
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    // differences of places wrap: strides may be negative
    pq_kg_move_end(m, "u32 at = start;\n"
                      "for (u32 d = rank - 1u; d > 0u; d--) {\n"
                      "    u32 next = rest / dims(d);\n"
                      "    at += (rest - next * dims(d)) * stride(d);\n"
                      "    rest = next;\n"
                      "}\n"
                      "at += rest * stride(0u);\n"
                      "element = RAW(x, at);\n");
}

void
pq_kg_launch_move(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    int64_t kind = pq_kg_i64(l->job, 0);
    uint32_t room = axis_count(l->job);
    axes a = {0};
    if (kind == PQ_MOVE_PERMUTE) {
        set_permute(l, x, y, &a);
    } else if (kind == PQ_MOVE_SLICE) {
        set_slice(l, x, y, &a);
    } else if (PQ_KG_NEED(l, kind == PQ_MOVE_REPEAT)) {
        set_repeat(l, x, y, &a);
    }
    add_axis(&a, pq_kg_move_parts(y->dtype), 1);
    pq_kg_move_launch(l);
    pq_kg_put(l, a.start);
    pq_kg_put(l, a.rank > 0 ? a.rank : 1);
    for (uint32_t i = 0; i < room; i++) {
        pq_kg_put(l, i < a.rank ? a.dims[i] : 1);
    }
    for (uint32_t i = 0; i < room; i++) {
        pq_kg_put_i32(l, i < a.rank ? a.strides[i] : 0);
    }
}

// ---- concat ----------------------------------------------------------------

static bool
can_concat(const pq_kg_job *job)
{
    bool fits = job->input_count < PQ_KG_BUFFERS_MAX;
    for (uint32_t i = 0; i < job->input_count && fits; i++) {
        fits = pq_kg_move_is_like_y(job, i);
    }
    return fits;
}

void
pq_kg_source_concat(pq_kg_module *m)
{
    uint32_t n = m->job->input_count;
    if (!can_concat(m->job)) {
        pq_kg_module_decline(m, "concat of so many operands, or of types");
        return;
    }
    if (!pq_kg_move_begin(m, "concat")) {
        return;
    }
    pq_kg_module_word(m, "row_elements");
    pq_kg_module_words(m, "begin", n);
    pq_kg_module_words(m, "width", n);
    pq_kg_text t = {.mem = m->mem};
    pq_kg_text_add(&t, "u32 row = rest / row_elements;\n"
                       "u32 at = rest - row * row_elements;\n");
    for (uint32_t i = n; i-- > 0;) {
        pq_kg_text_add(&t,
                       "if (at >= begin(%uu)) {\n"
                       "    element = RAW(x%u, row * width(%uu) + at - "
                       "begin(%uu));\n%s",
                       i, i, i, i, i > 0 ? "} else " : "}\n");
    }
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "x%u", i);
        pq_kg_module_buffer(m, i, name, PQ_KG_READS);
    }
    pq_kg_move_end(m, pq_kg_module_text(m, &t));
}

void
pq_kg_launch_concat(pq_kg_launcher *l)
{
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    int64_t axis = pq_kg_i64(l->job, 0);
    uint32_t n = l->job->input_count;
    if (!PQ_KG_NEED(l, axis >= 0 && axis < y->rank)) {
        return;
    }
    uint32_t a = (uint32_t)axis;
    int64_t inner =
                pq_kg_extent(y, a + 1, y->rank) * pq_kg_move_parts(y->dtype),
            at = 0;
    int64_t begin[PQ_KG_BUFFERS_MAX], width[PQ_KG_BUFFERS_MAX];
    for (uint32_t i = 0; i < n && l->st == PTQC_BE_OK; i++) {
        const pq_kg_tensor *x = pq_kg_in(l->job, i);
        if (!PQ_KG_NEED(l, x->rank == y->rank)) {
            return;
        }
        for (uint32_t d = 0; d < y->rank; d++) {
            PQ_KG_NEED(l, d == a || x->dims[d] == y->dims[d]);
        }
        begin[i] = at;
        width[i] = x->dims[a] * inner;
        at += width[i];
    }
    PQ_KG_NEED(l, at == y->dims[a] * inner);
    pq_kg_move_launch(l);
    pq_kg_put(l, at);
    for (uint32_t i = 0; i < 2 * n && l->st == PTQC_BE_OK; i++) {
        pq_kg_put(l, i < n ? begin[i] : width[i - n]);
    }
}

// ---- pad -------------------------------------------------------------------

void
pq_kg_source_pad(pq_kg_module *m)
{
    static const char *const OUTSIDE[] = {
        [PAD_CONSTANT] = "is_fill = true;\n",
        // whole periods are added first: % of what is below 0 is not defined
        [PAD_REFLECT] =
            "i32 period = n > 1 ? 2 * (n - 1) : 1;\n"
            "p = p < 0 ? p + (period - 1 - p) / period * period : p;\n"
            "p = p % period;\n"
            "p = p < n ? p : period - p;\n",
        [PAD_EDGE] = "p = p < 0 ? 0 : n - 1;\n",
        [PAD_WRAP] = ("p = p < 0 ? p + (n - 1 - p) / n * n : p;\n"
                      "p = p % n;\n"),
    };
    int64_t mode = pq_kg_i64(m->job, 0);
    if (!pq_kg_move_is_like_y(m->job, 0) || mode < 0 || mode > PAD_WRAP) {
        pq_kg_module_decline(m, "pad of this mode or between types");
        return;
    }
    uint32_t rank = pq_kg_out(m->job, 0)->rank + 1; // one for long elements
    if (!pq_kg_move_begin(m, "pad")) {
        return;
    }
    pq_kg_module_name(m, "_%d", (int)mode);
    pq_kg_module_word(m, "rank");
    pq_kg_module_words(m, "dims", rank);
    pq_kg_module_words(m, "from", rank);
    pq_kg_module_words(m, "begin", rank);
    pq_kg_module_words(m, "fill", 2);
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_text t = {.mem = m->mem};
    pq_kg_text_add(&t, "u32 part = rest & 1u;\n"
                       "u32 at = 0u;\n"
                       "u32 stride = 1u;\n"
                       "bool is_fill = false;\n"
                       "for (u32 k = 0u; k < rank; k++) {\n"
                       "    u32 d = rank - 1u - k;\n"
                       "    u32 next = rest / dims(d);\n"
                       "    i32 n = I32(from(d));\n"
                       "    i32 p = I32(rest - next * dims(d)) - "
                       "I32(begin(d));\n"
                       "    rest = next;\n"
                       "    if (p < 0 || p >= n) {\n");
    pq_kg_text_indented(&t, OUTSIDE[mode], 8);
    pq_kg_text_add(&t, "    }\n"
                       "    at += U32(p) * stride;\n"
                       "    stride *= from(d);\n"
                       "}\n"
                       "if (is_fill) {\n"
                       "    element = fill(part);\n"
                       "} else {\n"
                       "    element = RAW(x, at);\n"
                       "}\n");
    pq_kg_move_end(m, pq_kg_module_text(m, &t));
}

void
pq_kg_launch_pad(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *y = pq_kg_out(l->job, 0);
    int64_t mode = pq_kg_i64(l->job, 0), parts = pq_kg_move_parts(y->dtype);
    uint32_t rank = y->rank + 1;
    if (!PQ_KG_NEED(l,
                    x->rank == y->rank && l->job->param_count == 2 + y->rank)) {
        return;
    }
    for (uint32_t i = 0; i < y->rank; i++) {
        int64_t begin = pq_kg_i64(l->job, 2 + i);
        PQ_KG_NEED(l, begin >= INT32_MIN / 2 && begin <= INT32_MAX / 2);
        PQ_KG_NEED(l,
                   mode == PAD_CONSTANT || x->dims[i] > 0 || y->dims[i] == 0);
    }
    pq_kg_move_launch(l);
    pq_kg_put(l, rank);
    for (uint32_t i = 0; i < rank; i++) {
        pq_kg_put(l, i < y->rank ? y->dims[i] : parts);
    }
    for (uint32_t i = 0; i < rank; i++) {
        pq_kg_put(l, i < y->rank ? x->dims[i] : parts);
    }
    for (uint32_t i = 0; i < rank; i++) {
        pq_kg_put_i32(l, i < y->rank ? pq_kg_i64(l->job, 2 + i) : 0);
    }
    pq_kg_move_put_fill(l, pq_kg_i64(l->job, 1));
}

// ---- fill ------------------------------------------------------------------

void
pq_kg_source_fill(pq_kg_module *m)
{
    if (pq_kg_move_begin(m, "fill")) {
        pq_kg_module_words(m, "fill", 2);
        pq_kg_move_end(m, "element = fill(rest & 1u);\n");
    }
}

void
pq_kg_launch_fill(pq_kg_launcher *l)
{
    pq_kg_move_launch(l);
    pq_kg_move_put_fill(l, pq_kg_i64(l->job, 0));
}

// ---- gather ----------------------------------------------------------------

// An index out of range gives zeros: a device cannot stop for one.
void
pq_kg_source_gather(pq_kg_module *m)
{
    const pq_kg_tensor *ids = pq_kg_in(m->job, 1);
    if (!pq_kg_move_is_like_y(m->job, 0) || ids == NULL ||
        (ids->dtype != PTQC_I32 && ids->dtype != PTQC_I64)) {
        pq_kg_module_decline(m, "gather by indices of this type");
        return;
    }
    if (!pq_kg_move_begin(m, "gather")) {
        return;
    }
    pq_kg_module_define(m, "ID(i)", "LD_%s(ids, i)",
                        pq_kg_dtype_name(ids->dtype));
    static const char *const WORDS[] = {"inner", "id_count", "outer",
                                        "axis_size"};
    for (uint32_t i = 0; i < 4; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "ids", PQ_KG_READS);
    pq_kg_move_end(m,
                   "u32 row = rest / inner;\n"
                   "u32 at = rest - row * inner;\n"
                   "u32 line = row / id_count;\n"
                   "u32 batch = line / outer;\n"
                   "i32 id = ID(batch * id_count + row - line * id_count);\n"
                   "id = id < 0 ? id + I32(axis_size) : id;\n"
                   "if (id >= 0 && id < I32(axis_size)) {\n"
                   "    element = RAW(x, (line * axis_size + U32(id)) * inner "
                   "+ at);\n"
                   "}\n");
}

void
pq_kg_launch_gather(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *ids = pq_kg_in(l->job, 1);
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    int64_t axis = pq_kg_i64(l->job, 0), batch = pq_kg_i64(l->job, 1), count;
    if (!PQ_KG_NEED(l, axis >= 0 && axis < x->rank && batch >= 0 &&
                           batch <= axis && batch <= ids->rank)) {
        return;
    }
    uint32_t a = (uint32_t)axis, b = (uint32_t)batch;
    for (uint32_t i = 0; i < b; i++) {
        PQ_KG_NEED(l, ids->dims[i] == x->dims[i]);
    }
    int64_t inner = pq_kg_extent(x, a + 1, x->rank);
    int64_t id_count = pq_kg_extent(ids, b, ids->rank);
    int64_t outer = pq_kg_extent(x, b, a);
    (void)pq_kg_count(y, &count);
    PQ_KG_NEED(l, count == pq_kg_extent(x, 0, a) * id_count * inner);
    pq_kg_move_launch(l);
    pq_kg_put(l, inner * pq_kg_move_parts(y->dtype));
    pq_kg_put(l, id_count);
    pq_kg_put(l, outer);
    pq_kg_put(l, x->dims[a]);
}
