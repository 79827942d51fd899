// SPDX-License-Identifier: Apache-2.0
//
// Ops that move elements: each is a strided walk over the source, or a table
// of source offsets per output axis.
#include <string.h>

#include "base/dtype.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// Source element of output index (i...) = offset + sum i * strides.
typedef struct strided {
    uint32_t rank;
    int64_t dims[PQ_WALK_RANK], strides[PQ_WALK_RANK];
    int64_t offset;
} strided;

static ptqc_status
move_strided(pq_eval *e, const strided *s)
{
    pq_move m;
    PQ_TRY(pq_move_begin(e, &m));
    pq_walk w;
    pq_walk_init(&w, s->dims, s->rank, s->strides, 1);
    uint8_t *to = m.dst;
    for (bool more = w.rows > 0; more; more = pq_walk_next(&w)) {
        int64_t at = s->offset + w.at[0];
        if (w.n == 1) {
            memcpy(to, m.src + at * (int64_t)m.size, m.size);
        } else {
            pq_copy_strided(to, m.src + at * (int64_t)m.size, w.n, w.step[0],
                            m.size);
        }
        to += (size_t)w.n * m.size;
    }
    return pq_move_end(e, &m);
}

static void
add_axis(strided *s, int64_t dim, int64_t stride)
{
    s->dims[s->rank] = dim;
    s->strides[s->rank++] = stride;
}

const char *
pq_rule_identity(pq_graph *g, const pq_op *op)
{
    const pq_value *x = pq_graph_value(g, op->inputs[0]);
    const pq_value *y = pq_graph_value(g, op->outputs[0]);
    return x->type.dtype == y->type.dtype && pq_quant_equal(x->quant, y->quant)
               ? NULL
               : pq_rule_move(g, op);
}

// identity, reshape: the bytes stay.
ptqc_status
pq_eval_copy(pq_eval *e)
{
    bool is_same;
    PQ_TRY(pq_same_codes(e, e->op->inputs[0], e->op->outputs[0], &is_same));
    if (is_same || e->in[0].dtype == e->out[0].dtype) {
        if (e->in[0].bytes != e->out[0].bytes) {
            return pq_eval_fail(e, PTQC_E_INPUT, "%zu bytes become %zu",
                                e->in[0].bytes, e->out[0].bytes);
        }
    }
    if (is_same) {
        memcpy(e->out[0].p, e->in[0].p, e->in[0].bytes);
        return PTQC_OK;
    }
    int64_t n = pq_tensor_count(&e->out[0]);
    if (n != pq_tensor_count(&e->in[0])) {
        return pq_eval_fail(e, PTQC_E_INPUT, "%lld elements become %lld",
                            (long long)pq_tensor_count(&e->in[0]),
                            (long long)n);
    }
    strided s = {.rank = 1, .dims = {n}, .strides = {1}};
    return move_strided(e, &s);
}

ptqc_status
pq_eval_transpose(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    int64_t dense[PTQC_MAX_RANK];
    strided s = {0};
    pq_dense_strides(x->dims, x->rank, dense);
    for (uint32_t a = 0; a < x->rank; a++) {
        int64_t from =
            pq_op_int_at(e->op, PQ_ATTR_PERM, a, (int64_t)(x->rank - 1 - a));
        if (from < 0 || from >= (int64_t)x->rank ||
            x->dims[from] != y->dims[a]) {
            return pq_eval_fail(e, PTQC_E_INPUT, "perm[%u] = %lld", a,
                                (long long)from);
        }
        add_axis(&s, y->dims[a], dense[from]);
    }
    return move_strided(e, &s);
}

ptqc_status
pq_eval_slice(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    const pq_attr *starts = pq_op_attr(e->op, PQ_ATTR_STARTS);
    int64_t dense[PTQC_MAX_RANK];
    strided s = {0};
    pq_dense_strides(x->dims, x->rank, dense);
    for (uint32_t a = 0; a < x->rank; a++) {
        add_axis(&s, y->dims[a], dense[a]);
    }
    uint32_t n = starts != NULL ? starts->dims.n : 0;
    for (uint32_t i = 0; i < n; i++) {
        int64_t a = pq_op_int_at(e->op, PQ_ATTR_AXES, i, (int64_t)i);
        int64_t step = pq_op_int_at(e->op, PQ_ATTR_STEPS, i, 1);
        int64_t start;
        a += a < 0 ? (int64_t)x->rank : 0;
        PQ_TRY(pq_dim_eval(e->g, starts->dims.p[i], e->symbols, &start));
        if (a < 0 || a >= (int64_t)x->rank) {
            return pq_eval_fail(e, PTQC_E_INPUT, "axis %lld of rank %u",
                                (long long)a, x->rank);
        }
        int64_t count = y->dims[a];
        int64_t span, last;
        if (count > 0 &&
            (__builtin_mul_overflow(count - 1, step, &span) ||
             __builtin_add_overflow(start, span, &last) || start < 0 ||
             start >= x->dims[a] || last < 0 || last >= x->dims[a])) {
            return pq_eval_fail(e, PTQC_E_INPUT,
                                "axis %lld of size %lld: start %lld, step "
                                "%lld, %lld elements",
                                (long long)a, (long long)x->dims[a],
                                (long long)start, (long long)step,
                                (long long)count);
        }
        s.offset += count > 0 ? start * dense[a] : 0;
        s.strides[a] = count > 1 ? dense[a] * step : 0;
    }
    return move_strided(e, &s);
}

ptqc_status
pq_eval_expand(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    int64_t dense[PTQC_MAX_RANK];
    strided s = {0};
    pq_dense_strides(x->dims, x->rank, dense);
    if (x->rank > y->rank) {
        return pq_eval_fail(e, PTQC_E_INPUT, "rank %u becomes %u", x->rank,
                            y->rank);
    }
    for (uint32_t a = 0; a < y->rank; a++) {
        uint32_t skip = y->rank - x->rank;
        int64_t dim = a < skip ? 1 : x->dims[a - skip];
        if (dim != 1 && dim != y->dims[a]) {
            return pq_eval_fail(e, PTQC_E_INPUT, "dimension %lld becomes %lld",
                                (long long)dim, (long long)y->dims[a]);
        }
        add_axis(&s, y->dims[a], dim == 1 ? 0 : dense[a - skip]);
    }
    return move_strided(e, &s);
}

ptqc_status
pq_eval_tile(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    int64_t dense[PTQC_MAX_RANK];
    strided s = {0};
    pq_dense_strides(x->dims, x->rank, dense);
    for (uint32_t a = 0; a < x->rank; a++) {
        int64_t dim = x->dims[a];
        int64_t times = dim > 0 ? y->dims[a] / dim : 0;
        if (times * dim != y->dims[a]) {
            return pq_eval_fail(e, PTQC_E_INPUT, "dimension %lld becomes %lld",
                                (long long)dim, (long long)y->dims[a]);
        }
        add_axis(&s, times, 0);
        add_axis(&s, dim, dense[a]);
    }
    return move_strided(e, &s);
}

// x [N][C][H][W] seen as six axes; the output's axes in order are six of
// these with the strides given.
ptqc_status
pq_eval_depth_space(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    int64_t b = pq_op_i64(e->op, PQ_ATTR_BLOCK, 1);
    if (x->rank != 4 || y->rank != 4 || b < 1) {
        return pq_eval_fail(e, PTQC_E_INPUT, "rank %u, block %lld", x->rank,
                            (long long)b);
    }
    int64_t height = x->dims[2], width = x->dims[3];
    int64_t row = width, plane = height * width;
    int64_t image = x->dims[1] * plane;
    strided s = {0};
    add_axis(&s, x->dims[0], image);
    if (e->op->code == PQ_OP_DEPTH_TO_SPACE) {
        int64_t c = x->dims[1] / (b * b);
        bool is_crd = pq_op_i64(e->op, PQ_ATTR_MODE, 0) == 1;
        add_axis(&s, c, is_crd ? b * b * plane : plane);
        add_axis(&s, height, row);
        add_axis(&s, b, is_crd ? b * plane : b * c * plane);
        add_axis(&s, width, 1);
        add_axis(&s, b, is_crd ? plane : c * plane);
    } else {
        add_axis(&s, b, row);
        add_axis(&s, b, 1);
        add_axis(&s, x->dims[1], plane);
        add_axis(&s, height / b, b * row);
        add_axis(&s, width / b, b);
    }
    if (pq_size_product(s.dims, 0, s.rank) != pq_tensor_count(y)) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "shape is no multiple of block "
                            "%lld",
                            (long long)b);
    }
    return move_strided(e, &s);
}

// ---- concat ---------------------------------------------------------------

const char *
pq_rule_concat(pq_graph *g, const pq_op *op)
{
    ptqc_dtype t = pq_graph_value(g, op->outputs[0])->type.dtype;
    uint32_t y = pq_value_kind(g, op->outputs[0]);
    for (uint32_t i = 0; i < op->input_count; i++) {
        uint32_t x = pq_value_kind(g, op->inputs[i]);
        bool is_real = ((x | y) & ~(PQ_KIND_FLOAT | PQ_KIND_QUANT)) == 0;
        if (!is_real &&
            (x != y || pq_graph_value(g, op->inputs[i])->type.dtype != t)) {
            return "operands differ in type";
        }
    }
    return NULL;
}

ptqc_status
pq_eval_concat(pq_eval *e)
{
    pq_tensor *y = &e->out[0];
    uint32_t axis;
    bool is_codes = true;
    PQ_TRY(pq_eval_axis(e, 0, y->rank, &axis));
    for (uint32_t i = 0; i < e->op->input_count; i++) {
        bool is_same;
        PQ_TRY(pq_same_codes(e, e->op->inputs[i], e->op->outputs[0], &is_same));
        is_codes = is_codes && is_same;
    }
    float *to_f32 = NULL;
    if (!is_codes) {
        PQ_TRY(pq_out_f32(e, 0, &to_f32));
    }
    size_t size = is_codes ? pq_dtype_bits(y->dtype) / 8 : sizeof(float);
    uint8_t *to = is_codes ? y->p : (uint8_t *)to_f32;
    int64_t outer = pq_size_product(y->dims, 0, axis);
    size_t row = (size_t)pq_size_product(y->dims, axis, y->rank) * size;
    size_t at = 0;
    for (uint32_t i = 0; i < e->op->input_count; i++) {
        const pq_tensor *x = &e->in[i];
        const uint8_t *from = x->p;
        if (!is_codes) {
            const float *p;
            PQ_TRY(pq_in_f32(e, i, &p));
            from = (const uint8_t *)p;
        }
        size_t n = (size_t)pq_size_product(x->dims, axis, x->rank) * size;
        if (x->rank != y->rank || at + n > row ||
            pq_size_product(x->dims, 0, axis) != outer) {
            return pq_eval_fail(e, PTQC_E_INPUT, "input %u does not fit", i);
        }
        for (int64_t o = 0; o < outer; o++) {
            memcpy(to + (size_t)o * row + at, from + (size_t)o * n, n);
        }
        at += n;
    }
    return is_codes ? PTQC_OK : pq_end_f32(e, 0, to_f32);
}

// ---- pad, trilu -----------------------------------------------------------

const char *
pq_rule_fill(pq_graph *g, const pq_op *op)
{
    const pq_value *y = pq_graph_value(g, op->outputs[0]);
    const pq_quant *q = pq_graph_quant(g, y->quant);
    bool has_scales = pq_value_kind(g, op->outputs[0]) == PQ_KIND_QUANT &&
                      q->scheme.granularity != PQ_GRAN_TENSOR;
    return has_scales ? "the code of the new elements needs one scale"
                      : pq_rule_move(g, op);
}

// The number v as one stored element of the output.
static ptqc_status
fill_element(pq_eval *e, const pq_move *m, float v, uint8_t out[8])
{
    pq_tensor *y = &e->out[0];
    pq_qview q;
    memset(out, 0, 8);
    PQ_TRY(pq_qview_of(e, e->op->outputs[0], &q));
    pq_tensor one = {.dtype = m->is_f32 ? PTQC_F32 : y->dtype, .p = out};
    if (q.is_on && !m->is_f32) {
        int32_t code = pq_quantize_one(v, &q, y->dtype);
        pq_store_codes(&one, 0, &code, 1);
    } else if (one.dtype == PTQC_F64) {
        double d = (double)v;
        memcpy(out, &d, sizeof d);
    } else if (pq_dtype_is_float(one.dtype)) {
        pq_store_f32s(&one, &v);
    } else {
        int64_t i = pq_integer_of((double)v, one.dtype);
        memcpy(out, &i, sizeof i); // low bytes first
    }
    return PTQC_OK;
}

// Source index of position `at` (0 = first of x) outside or inside [0, n).
static int64_t
padded_index(int64_t at, int64_t n, int64_t mode)
{
    if (at >= 0 && at < n) {
        return at;
    }
    if (mode == PQ_PAD_CONSTANT || n == 0) {
        return -1;
    }
    if (mode == PQ_PAD_EDGE || n == 1) {
        return at < 0 ? 0 : n - 1;
    }
    int64_t period = mode == PQ_PAD_WRAP ? n : 2 * (n - 1);
    int64_t r = at % period;
    r += r < 0 ? period : 0;
    return r < n ? r : period - r;
}

ptqc_status
pq_eval_pad(pq_eval *e)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    int64_t strides[PTQC_MAX_RANK];
    int64_t *table[PTQC_MAX_RANK];
    int64_t mode = pq_op_i64(e->op, PQ_ATTR_MODE, PQ_PAD_CONSTANT);
    pq_move m;
    uint8_t fill[8];
    PQ_TRY(pq_move_begin(e, &m));
    PQ_TRY(fill_element(e, &m, pq_op_f32(e->op, PQ_ATTR_VALUE, 0.0f), fill));
    pq_dense_strides(x->dims, x->rank, strides);
    for (uint32_t a = 0; a < y->rank; a++) {
        int64_t begin = pq_op_int_at(e->op, PQ_ATTR_PADS, a, 0);
        table[a] = pq_scratch(e, y->dims[a], sizeof *table[a]);
        PQ_TRY_ALLOC(table[a]);
        for (int64_t o = 0; o < y->dims[a]; o++) {
            int64_t at = padded_index(o - begin, x->dims[a], mode);
            table[a][o] = at < 0 ? INT64_MIN / 16 : at * strides[a];
        }
    }
    pq_move_tables(&m, y->dims, y->rank, table, fill);
    return pq_move_end(e, &m);
}

ptqc_status
pq_eval_trilu(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    if (x->rank < 2) {
        return pq_eval_fail(e, PTQC_E_INPUT, "rank %u", x->rank);
    }
    int64_t k = pq_op_i64(e->op, PQ_ATTR_K, 0);
    bool is_upper = pq_op_i64(e->op, PQ_ATTR_UPPER, 1) != 0;
    int64_t rows = x->dims[x->rank - 2], columns = x->dims[x->rank - 1];
    pq_move m;
    uint8_t fill[8];
    PQ_TRY(pq_move_begin(e, &m));
    PQ_TRY(fill_element(e, &m, 0.0f, fill));
    int64_t n = pq_tensor_count(x);
    for (int64_t i = 0; i < n; i++) {
        int64_t r = i / columns % rows, c = i % columns;
        // c - r never overflows: both are indices.
        bool stays = is_upper ? c - r >= k : c - r <= k;
        memcpy(m.dst + (size_t)i * m.size,
               stays ? m.src + (size_t)i * m.size : fill, m.size);
    }
    return pq_move_end(e, &m);
}

ptqc_status
pq_eval_reverse_sequence(pq_eval *e)
{
    const pq_tensor *x = &e->in[0];
    uint32_t time;
    PQ_TRY(pq_eval_axis(e, 0, x->rank, &time));
    int64_t batch = pq_op_i64(e->op, PQ_ATTR_BATCH_DIMS, 1);
    if (batch < 0 || batch >= (int64_t)x->rank || batch == (int64_t)time) {
        return pq_eval_fail(e, PTQC_E_INPUT, "batch axis %lld",
                            (long long)batch);
    }
    const int64_t *length;
    PQ_TRY(pq_in_i64(e, 1, &length));
    if (pq_tensor_count(&e->in[1]) != x->dims[batch]) {
        return pq_eval_fail(e, PTQC_E_INPUT, "one length per row of axis %lld",
                            (long long)batch);
    }
    int64_t strides[PTQC_MAX_RANK];
    pq_dense_strides(x->dims, x->rank, strides);
    pq_move m;
    PQ_TRY(pq_move_begin(e, &m));
    int64_t n = pq_tensor_count(x);
    for (int64_t i = 0; i < n; i++) {
        int64_t t = i / strides[time] % x->dims[time];
        int64_t b = i / strides[batch] % x->dims[batch];
        int64_t len = length[b];
        if (len < 0 || len > x->dims[time]) {
            return pq_eval_fail(e, PTQC_E_INPUT, "length %lld of %lld",
                                (long long)len, (long long)x->dims[time]);
        }
        int64_t from = t < len ? i + (len - 1 - 2 * t) * strides[time] : i;
        memcpy(m.dst + (size_t)i * m.size, m.src + (size_t)from * m.size,
               m.size);
    }
    return pq_move_end(e, &m);
}
