// SPDX-License-Identifier: Apache-2.0
//
// CONV, MATMUL and BMM steps; operands and parameters as lower_conv.c and
// lower_matmul.c write them.
#include <string.h>

#include "backends/kgen/say.h"
#include "conv.h"
#include "fixed.h"
#include "gemm.h"
#include "spec.h"

// ---- epilogues -------------------------------------------------------------

#define EPILOGUE_PARAMS 14u

static ptqc_be_status
read_epilogue(const pq_prep *prep, uint32_t first, pq_epilogue *ep,
              pq_epilogue_args *args)
{
    memset(args, 0, sizeof *args);
    PQ_NEED(prep, prep->param_count == first + EPILOGUE_PARAMS);
    for (uint32_t i = 0; i < 5; i++) {
        int64_t x = pq_prep_i64(prep, first + i);
        PQ_NEED(prep, x >= 0 && x < 256);
    }
    ep->kind = (uint32_t)pq_prep_i64(prep, first);
    ep->act = (uint32_t)pq_prep_i64(prep, first + 1);
    ep->residual = (uint32_t)pq_prep_i64(prep, first + 2);
    ep->out = (uint32_t)pq_prep_i64(prep, first + 3);
    ep->flags = (uint32_t)pq_prep_i64(prep, first + 4);
    args->lo = pq_prep_f32(prep, first + 5);
    args->hi = pq_prep_f32(prep, first + 6);
    args->inv_scale = pq_prep_f32(prep, first + 7);
    args->scale = pq_prep_f32(prep, first + 8);
    args->residual_scale = pq_prep_f32(prep, first + 9);
    args->alpha = pq_prep_f32(prep, first + 10);
    args->beta = pq_prep_f32(prep, first + 11);
    args->out_zero = (int32_t)pq_prep_i64(prep, first + 12);
    args->residual_zero = (int32_t)pq_prep_i64(prep, first + 13);
    // The lowest code is the lowest byte: saturation does the lower clamp.
    if (ep->out == PQ_ELEM_U8 && args->lo == (float)-args->out_zero) {
        ep->flags |= PQ_EPI_SATURATE;
    }
    PQ_NEED(prep, pq_epilogue_is_valid(ep));
    return PTQC_BE_OK;
}

// A channel array of at least `count` entries, when it is wanted.
static bool
has_channels(const pq_shape *s, bool wanted, int64_t count)
{
    return !wanted || (s != NULL && s->element_bytes == 4 && s->count >= count);
}

static bool
has_residual(const pq_shape *r, const pq_epilogue *ep, const pq_shape *out)
{
    if (ep->residual == PQ_ELEM_NONE) {
        return true;
    }
    uint32_t dtype = ep->residual == PQ_ELEM_U8 ? PTQC_U8 : PTQC_F32;
    return r != NULL && r->dtype == dtype && r->count == out->count;
}

static bool
is_out_type(const pq_epilogue *ep, const pq_shape *out)
{
    return out->dtype == (ep->out == PQ_ELEM_U8 ? PTQC_U8 : PTQC_F32);
}

static bool
has_zeros(const pq_epilogue *ep)
{
    return (ep->flags & PQ_EPI_WEIGHT_ZERO) != 0;
}

// Input 5 or 3, the residual, may be overwritten when it has the size of the
// output's elements.
static uint32_t
residual_inplace(const pq_epilogue *ep, uint32_t index)
{
    bool same = (ep->residual == PQ_ELEM_U8 && ep->out == PQ_ELEM_U8) ||
                (ep->residual == PQ_ELEM_F32 && ep->out == PQ_ELEM_F32);
    return same ? 1u << index : 0;
}

// ---- conv ------------------------------------------------------------------

typedef struct conv_state {
    pq_conv *conv; // owned
    pq_epilogue_args args;
} conv_state;

static void
run_conv(const void *state, const pq_run *run)
{
    const conv_state *s = state;
    pq_conv_io io = {
        .x = run->args[0],
        .weights = run->args[1],
        .init = run->args[2],
        .out = run->args[7],
        .epilogue = s->args,
    };
    io.epilogue.mult = run->args[3];
    io.epilogue.bias = run->args[4];
    io.epilogue.residual = run->args[5];
    io.epilogue.weight_zero = run->args[6];
    pq_conv_run(s->conv, &io, run->worker);
}

static void
destroy_conv(void *state)
{
    conv_state *s = state;
    pq_conv_destroy(s->conv);
}

static ptqc_be_status
read_conv(const pq_prep *prep, pq_conv_desc *d)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    int64_t spatial = pq_prep_i64(prep, 0);
    PQ_NEED(prep, x != NULL && y != NULL && spatial >= 1 && spatial <= 3);
    PQ_NEED(prep, x->rank == spatial + 2 && y->rank == x->rank);
    d->groups = pq_prep_i64(prep, 1);
    d->in_channels = pq_prep_i64(prep, 2);
    d->out_channels = pq_prep_i64(prep, 3);
    PQ_NEED(prep, d->in_channels == x->dims[x->rank - 1]);
    PQ_NEED(prep, d->out_channels == y->dims[y->rank - 1]);
    PQ_NEED(prep, d->groups > 0 && d->in_channels > 0 && d->out_channels > 0 &&
                      d->in_channels % d->groups == 0 &&
                      d->out_channels % d->groups == 0);
    PQ_NEED(prep, x->dims[0] == y->dims[0]);
    d->batch = x->dims[0];
    int64_t *lists[4] = {d->kernel, d->stride, d->dilation, d->pad_begin};
    for (uint32_t i = 0; i < 12; i++) {
        int64_t v = pq_prep_i64(prep, 4 + i);
        PQ_NEED(prep, v <= INT32_MAX && v >= (i < 9 ? 1 : INT32_MIN));
        lists[i / 3][i % 3] = v;
    }
    for (uint32_t i = 0; i < 3; i++) {
        d->in[i] = d->out[i] = 1;
    }
    for (uint32_t i = 0; i < (uint32_t)spatial; i++) {
        d->in[3 - (uint32_t)spatial + i] = x->dims[1 + i];
        d->out[3 - (uint32_t)spatial + i] = y->dims[1 + i];
    }
    int64_t format = pq_prep_i64(prep, 16), pad = pq_prep_i64(prep, 18);
    PQ_NEED(prep, format >= PQ_WEIGHT_F32 && format <= PQ_WEIGHT_W4);
    PQ_NEED(prep, pad >= 0 && pad <= 255);
    d->weight = (uint32_t)format;
    d->asymmetric = format >= PQ_WEIGHT_W8 && prep->ins[6] != NULL;
    d->transposed = pq_prep_i64(prep, 17) != 0 ? 1u : 0u;
    d->pad_value = (uint32_t)pad;
    return PTQC_BE_OK;
}

static ptqc_be_status
check_conv(const pq_prep *prep, const pq_conv_desc *d)
{
    bool codes = d->weight == PQ_WEIGHT_S8;
    const char *why;
    PQ_NEED(prep, (d->epilogue.kind == PQ_EPI_FLOAT) == !codes);
    PQ_NEED(prep, (d->epilogue.flags & PQ_EPI_ROW_SCALE) == 0);
    PQ_NEED(prep, prep->ins[0]->dtype == (codes ? PTQC_U8 : PTQC_F32));
    PQ_NEED(prep, is_out_type(&d->epilogue, prep->outs[0]));
    if (!pq_conv_is_supported(d, &why)) {
        return pq_kg_fail(prep->host, prep->call, PTQC_BE_UNSUPPORTED,
                          "cpu: conv of these sizes: %s", why);
    }
    int64_t bytes = pq_conv_weight_bytes(d);
    int64_t channels = pq_conv_channel_count(d);
    bool has_scales = d->weight != PQ_WEIGHT_F32;
    bool has_w_zeros = has_zeros(&d->epilogue) || d->asymmetric;
    PQ_NEED(prep,
            bytes > 0 && prep->ins[1] != NULL && prep->ins[1]->bytes >= bytes);
    PQ_NEED(prep, has_channels(prep->ins[2], codes, channels));
    PQ_NEED(prep, has_channels(prep->ins[3], has_scales, channels));
    PQ_NEED(prep,
            has_channels(prep->ins[4], (d->epilogue.flags & PQ_EPI_BIAS) != 0,
                         channels));
    PQ_NEED(prep, has_residual(prep->ins[5], &d->epilogue, prep->outs[0]));
    PQ_NEED(prep, has_channels(prep->ins[6], has_w_zeros, channels));
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_conv(const pq_prep *prep, pq_op *op)
{
    pq_conv_desc d = {0};
    conv_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    ptqc_be_status st = read_conv(prep, &d);
    st = st == PTQC_BE_OK ? read_epilogue(prep, 19, &d.epilogue, &s->args) : st;
    st = st == PTQC_BE_OK ? check_conv(prep, &d) : st;
    st = st == PTQC_BE_OK ? pq_conv_prepare(prep->jit, prep->call, &d, &s->conv)
                          : st;
    if (st != PTQC_BE_OK) {
        return st;
    }
    op->state = s;
    op->run = run_conv;
    op->destroy = destroy_conv;
    op->scratch_bytes = pq_conv_scratch_bytes(s->conv);
    op->inplace = residual_inplace(&d.epilogue, 5);
    op->method = pq_conv_method(s->conv);
    op->work_ops = 2 * (uint64_t)prep->outs[0]->count *
                   (uint64_t)(d.in_channels / d.groups) *
                   (uint64_t)(d.kernel[0] * d.kernel[1] * d.kernel[2]);
    return PTQC_BE_OK;
}

// ---- matmul ----------------------------------------------------------------

typedef struct matmul_state {
    pq_matmul *matmul; // owned
    pq_epilogue_args args;
    int64_t a_stride, out_stride;
} matmul_state;

static void
run_matmul(const void *state, const pq_run *run)
{
    const matmul_state *s = state;
    pq_matmul_io io = {
        .a = run->args[0],
        .a_stride = s->a_stride,
        .weights = run->args[1],
        .init = run->args[2],
        .out = run->args[8],
        .out_stride = s->out_stride,
        .epilogue = s->args,
    };
    io.epilogue.mult = run->args[3];
    io.epilogue.bias = run->args[4];
    io.epilogue.residual = run->args[5];
    io.epilogue.row_scale = run->args[6];
    io.epilogue.weight_zero = run->args[7];
    pq_matmul_run(s->matmul, &io, run->worker);
}

static void
destroy_matmul(void *state)
{
    matmul_state *s = state;
    pq_matmul_destroy(s->matmul);
}

// Digits are parameter `param`.
static bool
read_rows(const pq_prep *prep, uint32_t param, int64_t k, int64_t group,
          pq_fixed_shape *out)
{
    int64_t digits = pq_prep_i64(prep, param);
    *out = (pq_fixed_shape){
        .k = k, .group = group, .digits = digits == 1 ? 1u : 2u};
    return (digits == 1 || digits == 2) && pq_fixed_is_valid(out);
}

static ptqc_be_status
read_matmul(const pq_prep *prep, pq_matmul_desc *d)
{
    const pq_shape *a = prep->ins[0], *y = prep->outs[0];
    PQ_NEED(prep, a != NULL && y != NULL && a->rank > 0 && y->rank > 0);
    d->weight.k = pq_prep_i64(prep, 0);
    d->weight.n = pq_prep_i64(prep, 1);
    PQ_NEED(prep, d->weight.k > 0 && d->weight.n > 0);
    PQ_NEED(prep, y->dims[y->rank - 1] == d->weight.n);
    int64_t format = pq_prep_i64(prep, 2);
    PQ_NEED(prep, format >= 0 && format < PQ_WEIGHT_COUNT &&
                      format != PQ_WEIGHT_W8 && format != PQ_WEIGHT_W4);
    d->weight.format = (uint32_t)format;
    d->weight.asymmetric = pq_prep_i64(prep, 3) != 0 ? 1u : 0u;
    d->weight.group = pq_prep_i64(prep, 4);
    PQ_NEED(prep, d->weight.group >= 0);
    d->weight.half_scales = pq_prep_i64(prep, 5) != 0 ? 1u : 0u;
    int64_t row = d->weight.k;
    if (pq_weight_is_fixed(d->weight.format)) {
        pq_fixed_shape rows;
        PQ_NEED(prep, pq_weight_bytes(&d->weight) > 0);
        PQ_NEED(prep, read_rows(prep, 6, row, d->weight.group, &rows));
        d->digits = rows.digits;
        row = pq_fixed_row_bytes(&rows);
    }
    PQ_NEED(prep, a->dims[a->rank - 1] == row);
    d->m = a->count / row;
    PQ_NEED(prep, d->m == y->count / d->weight.n);
    return PTQC_BE_OK;
}

static ptqc_be_status
check_matmul(const pq_prep *prep, const pq_matmul_desc *d)
{
    bool codes = d->weight.format == PQ_WEIGHT_S8;
    int64_t bytes = pq_weight_bytes(&d->weight);
    int64_t columns = pq_strip_columns(d->weight.n);
    bool is_bytes = codes || pq_weight_is_fixed(d->weight.format);
    PQ_NEED(prep, (d->epilogue.kind == PQ_EPI_FLOAT) == !codes);
    PQ_NEED(prep, prep->ins[0]->dtype == (is_bytes ? PTQC_U8 : PTQC_F32));
    PQ_NEED(prep, is_out_type(&d->epilogue, prep->outs[0]));
    PQ_NEED(prep,
            bytes > 0 && prep->ins[1] != NULL && prep->ins[1]->bytes >= bytes);
    PQ_NEED(prep, has_channels(prep->ins[2], codes, columns));
    PQ_NEED(prep, has_channels(prep->ins[3], codes, columns));
    PQ_NEED(prep,
            has_channels(prep->ins[4], (d->epilogue.flags & PQ_EPI_BIAS) != 0,
                         columns));
    PQ_NEED(prep, has_residual(prep->ins[5], &d->epilogue, prep->outs[0]));
    PQ_NEED(prep,
            has_channels(prep->ins[6],
                         (d->epilogue.flags & PQ_EPI_ROW_SCALE) != 0, d->m));
    PQ_NEED(prep, has_channels(prep->ins[7], has_zeros(&d->epilogue), columns));
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_matmul(const pq_prep *prep, pq_op *op)
{
    pq_matmul_desc d = {0};
    matmul_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    ptqc_be_status st = read_matmul(prep, &d);
    st = st == PTQC_BE_OK ? read_epilogue(prep, 7, &d.epilogue, &s->args) : st;
    st = st == PTQC_BE_OK ? check_matmul(prep, &d) : st;
    st = st == PTQC_BE_OK
             ? pq_matmul_prepare(prep->jit, prep->call, &d, &s->matmul)
             : st;
    if (st != PTQC_BE_OK) {
        return st;
    }
    const pq_shape *a = prep->ins[0];
    s->a_stride = a->dims[a->rank - 1] * a->element_bytes;
    s->out_stride = d.weight.n * prep->outs[0]->element_bytes;
    if (prep->ins[5] != NULL) {
        s->args.residual_stride = d.weight.n * prep->ins[5]->element_bytes;
    }
    op->state = s;
    op->run = run_matmul;
    op->destroy = destroy_matmul;
    op->scratch_bytes = pq_matmul_scratch_bytes(s->matmul);
    op->inplace = residual_inplace(&d.epilogue, 5);
    op->work_ops = 2 * (uint64_t)prep->outs[0]->count * (uint64_t)d.weight.k;
    return PTQC_BE_OK;
}

// ---- batched matmul --------------------------------------------------------

typedef struct bmm_state {
    pq_bmm *bmm; // owned
    pq_epilogue_args args;
} bmm_state;

static void
run_bmm(const void *state, const pq_run *run)
{
    const bmm_state *s = state;
    pq_bmm_io io = {
        .a = run->args[0],
        .b = run->args[1],
        .out = run->args[4],
        .epilogue = s->args,
    };
    io.epilogue.bias = run->args[2];
    io.epilogue.residual = run->args[3];
    pq_bmm_run(s->bmm, &io, run->worker);
}

static void
destroy_bmm(void *state)
{
    bmm_state *s = state;
    pq_bmm_destroy(s->bmm);
}

// Sizes and byte strides along the logical axes; absent axes: size 1,
// stride 0.
typedef struct axes {
    int64_t dims[PQ_BMM_RANK_MAX + 2];
    int64_t strides[PQ_BMM_RANK_MAX + 2];
} axes;

static ptqc_be_status
read_axes(const pq_prep *prep, const pq_shape *s, uint32_t param,
          uint32_t count, axes *out)
{
    PQ_NEED(prep, s != NULL);
    int64_t dense[PTQC_MAX_RANK];
    int64_t stride = s->element_bytes;
    for (uint32_t i = s->rank; i-- > 0;) {
        dense[i] = stride;
        stride *= s->dims[i];
    }
    uint64_t map = (uint64_t)pq_prep_i64(prep, param);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t axis = (uint32_t)(map >> (4 * i)) & 15u;
        out->dims[i] = 1;
        out->strides[i] = 0;
        if (axis == 15u) {
            continue;
        }
        PQ_NEED(prep, axis < s->rank && (seen >> axis & 1) == 0);
        seen |= 1u << axis;
        out->dims[i] = s->dims[axis];
        out->strides[i] = s->dims[axis] == 1 ? 0 : dense[axis];
    }
    PQ_NEED(prep, seen == (1u << s->rank) - 1);
    return PTQC_BE_OK;
}

static ptqc_be_status
fill_bmm(const pq_prep *prep, const axes *a, const axes *b, const axes *r,
         const axes *y, pq_bmm_desc *d)
{
    uint32_t n = d->batch_rank;
    d->m = y->dims[n];
    d->n = y->dims[n + 1];
    d->k = a->dims[n + 1];
    PQ_NEED(prep,
            a->dims[n] == d->m && b->dims[n] == d->k && b->dims[n + 1] == d->n);
    for (uint32_t i = 0; i < n; i++) {
        d->batch[i] = y->dims[i];
        PQ_NEED(prep, a->dims[i] == y->dims[i] || a->dims[i] == 1);
        PQ_NEED(prep, b->dims[i] == y->dims[i] || b->dims[i] == 1);
        PQ_NEED(prep, r->dims[i] == y->dims[i] || r->dims[i] == 1);
        d->a_batch_stride[i] = a->strides[i];
        d->b_batch_stride[i] = b->strides[i];
        d->out_batch_stride[i] = y->strides[i];
        d->residual_batch_stride[i] = r->strides[i];
    }
    PQ_NEED(prep, a->strides[n + 1] == 4 || d->k == 1);
    PQ_NEED(prep, y->strides[n + 1] == 4 || d->n == 1);
    d->a_stride = a->strides[n];
    // An axis of size 1 may be given any stride.
    d->b_k_stride = b->strides[n];
    d->b_n_stride = b->strides[n + 1];
    if (d->b_k_stride != 4 && d->b_n_stride != 4) {
        PQ_NEED(prep, d->n == 1 || d->k == 1);
        d->b_n_stride = d->n == 1 ? 4 : d->b_n_stride;
        d->b_k_stride = d->n != 1 ? 4 : d->b_k_stride;
    }
    d->out_stride = y->strides[n] > 0 ? y->strides[n] : d->n * 4;
    return PTQC_BE_OK;
}

ptqc_be_status
pq_prepare_bmm(const pq_prep *prep, pq_op *op)
{
    pq_bmm_desc d = {0};
    axes a = {{0}, {0}}, b = a, y = a, r = a;
    bmm_state *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    int64_t batch_rank = pq_prep_i64(prep, 0);
    PQ_NEED(prep, batch_rank >= 0 && batch_rank <= PQ_BMM_RANK_MAX);
    PQ_NEED(prep, prep->ins[2] == NULL);
    d.batch_rank = (uint32_t)batch_rank;
    uint32_t count = d.batch_rank + 2;
    ptqc_be_status st = read_axes(prep, prep->ins[0], 1, count, &a);
    st = st == PTQC_BE_OK ? read_axes(prep, prep->ins[1], 2, count, &b) : st;
    st = st == PTQC_BE_OK ? read_axes(prep, prep->outs[0], 3, count, &y) : st;
    r = y;
    if (prep->ins[3] != NULL && st == PTQC_BE_OK) {
        st = read_axes(prep, prep->ins[3], 4, count, &r);
    }
    st = st == PTQC_BE_OK ? fill_bmm(prep, &a, &b, &r, &y, &d) : st;
    st = st == PTQC_BE_OK ? read_epilogue(prep, 5, &d.epilogue, &s->args) : st;
    if (st != PTQC_BE_OK) {
        return st;
    }
    PQ_NEED(prep,
            prep->ins[0]->dtype == PTQC_F32 && prep->ins[1]->dtype == PTQC_F32);
    PQ_NEED(prep,
            d.epilogue.kind == PQ_EPI_FLOAT &&
                (d.epilogue.flags & (PQ_EPI_BIAS | PQ_EPI_ROW_SCALE)) == 0);
    PQ_NEED(prep, is_out_type(&d.epilogue, prep->outs[0]));
    PQ_NEED(prep, has_residual(prep->ins[3], &d.epilogue, prep->outs[0]));
    s->args.residual_stride = r.strides[d.batch_rank];
    op->state = s;
    op->run = run_bmm;
    op->destroy = destroy_bmm;
    op->work_ops = 2 * (uint64_t)prep->outs[0]->count * (uint64_t)d.k;
    op->inplace = residual_inplace(&d.epilogue, 3);
    st = pq_bmm_prepare(prep->jit, prep->call, &d, &s->bmm);
    op->scratch_bytes = st == PTQC_BE_OK ? pq_bmm_scratch_bytes(s->bmm) : 0;
    return st;
}

// ---- rows of fixed point numbers -------------------------------------------

static void
run_fix_rows(const void *state, const pq_run *run)
{
    pq_fixed_run(state, run->args[0], run->args[1], run->args[2], run->worker);
}

ptqc_be_status
pq_prepare_fix_rows(const pq_prep *prep, pq_op *op)
{
    const pq_shape *x = prep->ins[0], *y = prep->outs[0];
    int64_t k = pq_prep_i64(prep, 0);
    pq_fixed_shape rows;
    pq_fixed *s = pq_mem_alloc(prep->mem, sizeof *s);
    if (s == NULL) {
        return pq_prep_no_memory(prep);
    }
    PQ_NEED(prep, x != NULL && y != NULL && x->rank > 0 && y->rank > 0);
    PQ_NEED(prep, read_rows(prep, 2, k, pq_prep_i64(prep, 1), &rows));
    PQ_NEED(prep, x->dtype == (rows.digits == 1 ? PTQC_U8 : PTQC_F32));
    PQ_NEED(prep, y->dtype == PTQC_U8 && x->dims[x->rank - 1] == k);
    int64_t bytes = pq_fixed_row_bytes(&rows);
    *s = (pq_fixed){.rows = x->count / k, .shape = rows};
    PQ_NEED(prep, y->dims[y->rank - 1] == bytes);
    PQ_NEED(prep, y->bytes == s->rows * bytes);
    PQ_NEED(prep, has_channels(prep->ins[1], rows.digits == 1, s->rows));
    op->state = s;
    op->run = run_fix_rows;
    op->work_ops = 4 * (uint64_t)x->count;
    op->serial = s->rows == 1;
    return pq_fixed_prepare(prep->jit, prep->call, s);
}
