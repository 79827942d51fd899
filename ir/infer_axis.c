// SPDX-License-Identifier: Apache-2.0
//
// Inference of reductions, norms and other ops along axes.
#include "base/dtype.h"
#include "ir/infer.h"

// Marks the axes of AXES; all when absent.
static ptqc_status
read_axes(const pq_infer *c, uint32_t rank, bool *out_is_reduced)
{
    const pq_attr *a = pq_op_attr(c->op, PQ_ATTR_AXES);
    for (uint32_t i = 0; i < rank; i++) {
        out_is_reduced[i] = a == NULL;
    }
    for (uint32_t i = 0; a != NULL && i < a->ints.n; i++) {
        int64_t axis = a->ints.p[i];
        axis += axis < 0 ? rank : 0;
        if (axis < 0 || axis >= rank) {
            return pq_infer_refuse(c, -1, "axis %lld is outside rank %u",
                                   (long long)a->ints.p[i], rank);
        }
        if (out_is_reduced[axis]) {
            return pq_infer_refuse(c, -1, "axis %lld occurs twice",
                                   (long long)axis);
        }
        out_is_reduced[axis] = true;
    }
    return PTQC_OK;
}

static void
drop_axes(pq_infer *c, const bool *is_reduced)
{
    const pq_type *t = &pq_infer_in(c, 0)->type;
    bool is_kept = pq_op_i64(c->op, PQ_ATTR_KEEPDIMS, 1) != 0;
    pq_infer_out *out = &c->out[0];
    for (uint32_t i = 0; i < t->rank; i++) {
        if (!is_reduced[i]) {
            out->dims[out->rank++] = t->dims[i];
        } else if (is_kept) {
            out->dims[out->rank++] = pq_dim_const(c->g, 1);
        }
    }
}

ptqc_status
pq_infer_reduce(pq_infer *c)
{
    bool is_reduced[PTQC_MAX_RANK];
    const pq_type *t = &pq_infer_in(c, 0)->type;
    PQ_TRY(read_axes(c, t->rank, is_reduced));
    c->out[0].dtype = t->dtype;
    drop_axes(c, is_reduced);
    return PTQC_OK;
}

ptqc_status
pq_infer_arg_reduce(pq_infer *c)
{
    bool is_reduced[PTQC_MAX_RANK] = {false};
    uint32_t axis;
    PQ_TRY(pq_infer_axis(c, 0, pq_infer_in(c, 0)->type.rank, &axis));
    is_reduced[axis] = true;
    c->out[0].dtype = PTQC_I64;
    drop_axes(c, is_reduced);
    return PTQC_OK;
}

ptqc_status
pq_infer_topk(pq_infer *c)
{
    uint32_t axis;
    int64_t k;
    int64_t size;
    const pq_type *t = &pq_infer_in(c, 0)->type;
    PQ_TRY(pq_infer_axis(c, -1, t->rank, &axis));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_K, 0, INT32_MAX, -1, &k));
    if (pq_dim_is_const(c->g, t->dims[axis], &size) && k > size) {
        return pq_infer_refuse(c, 0, "k %lld of %lld elements", (long long)k,
                               (long long)size);
    }
    for (uint32_t o = 0; o < 2; o++) {
        pq_infer_copy(c, o, 0);
        c->out[o].dims[axis] = pq_dim_const(c->g, k);
    }
    c->out[1].dtype = PTQC_I64;
    return PTQC_OK;
}

ptqc_status
pq_infer_along(pq_infer *c)
{
    uint32_t axis;
    PQ_TRY(pq_infer_axis(c, -1, pq_infer_in(c, 0)->type.rank, &axis));
    if (c->op->code == PQ_OP_LP_NORM) {
        int64_t p;
        PQ_TRY(pq_infer_int(c, PQ_ATTR_P, 1, 2, 2, &p));
    }
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

// Parameters are vectors over axis 1.
ptqc_status
pq_infer_channel_norm(pq_infer *c)
{
    PQ_TRY(pq_infer_rank(c, 0, 2, PTQC_MAX_RANK));
    pq_dim channels = pq_infer_in(c, 0)->type.dims[1];
    for (uint32_t i = 1; i < c->op->input_count; i++) {
        PQ_TRY(pq_infer_vector(c, i, channels));
    }
    if (c->op->code == PQ_OP_GROUP_NORM) {
        int64_t group;
        int64_t n;
        PQ_TRY(pq_infer_int(c, PQ_ATTR_GROUP, 1, INT32_MAX, 0, &group));
        if (pq_dim_is_const(c->g, channels, &n) && n % group != 0) {
            return pq_infer_refuse(c, 0,
                                   "group %lld does not divide %lld "
                                   "channels",
                                   (long long)group, (long long)n);
        }
    }
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

// Parameters have the shape of x from AXIS on.
ptqc_status
pq_infer_trailing_norm(pq_infer *c)
{
    uint32_t axis;
    const pq_type *t = &pq_infer_in(c, 0)->type;
    PQ_TRY(pq_infer_axis(c, -1, t->rank, &axis));
    for (uint32_t i = 1; i < c->op->input_count; i++) {
        PQ_TRY(pq_infer_rank(c, i, t->rank - axis, t->rank - axis));
        for (uint32_t j = axis; j < t->rank; j++) {
            PQ_TRY(pq_infer_dim(c, i, j - axis, t->dims[j]));
        }
    }
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

ptqc_status
pq_infer_lrn(pq_infer *c)
{
    int64_t size;
    PQ_TRY(pq_infer_rank(c, 0, 2, PTQC_MAX_RANK));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_SIZE, 1, INT32_MAX, 0, &size));
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

ptqc_status
pq_infer_trilu(pq_infer *c)
{
    PQ_TRY(pq_infer_rank(c, 0, 2, PTQC_MAX_RANK));
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

// AXIS is time, BATCH_DIMS the batch axis (default 1); one length per batch.
ptqc_status
pq_infer_reverse_sequence(pq_infer *c)
{
    uint32_t axis;
    int64_t batch;
    const pq_type *t = &pq_infer_in(c, 0)->type;
    PQ_TRY(pq_infer_rank(c, 0, 2, PTQC_MAX_RANK));
    PQ_TRY(pq_infer_axis(c, 0, t->rank, &axis));
    PQ_TRY(pq_infer_int(c, PQ_ATTR_BATCH_DIMS, 0, t->rank - 1, 1, &batch));
    if (batch == axis) {
        return pq_infer_refuse(c, -1, "time and batch are both axis %u", axis);
    }
    PQ_TRY(pq_infer_vector(c, 1, t->dims[batch]));
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

ptqc_status
pq_infer_quantize(pq_infer *c)
{
    ptqc_dtype to = (ptqc_dtype)pq_op_i64(c->op, PQ_ATTR_TO, PTQC_U8);
    if (pq_dtype_bits(to) == 0 || pq_dtype_is_float(to)) {
        return pq_infer_refuse(c, -1, "to is no integer type");
    }
    pq_infer_copy(c, 0, 0);
    c->out[0].dtype = to;
    return PTQC_OK;
}

ptqc_status
pq_infer_dequantize(pq_infer *c)
{
    ptqc_dtype to = (ptqc_dtype)pq_op_i64(c->op, PQ_ATTR_TO, PTQC_F32);
    if (!pq_dtype_is_float(to)) {
        return pq_infer_refuse(c, -1, "to is no float type");
    }
    pq_infer_copy(c, 0, 0);
    c->out[0].dtype = to;
    return PTQC_OK;
}

ptqc_status
pq_infer_dynamic_quantize(pq_infer *c)
{
    PQ_TRY(pq_infer_rank(c, 0, 1, PTQC_MAX_RANK));
    pq_infer_copy(c, 0, 0);
    pq_infer_copy(c, 1, 0);
    c->out[0].dtype = (ptqc_dtype)pq_op_i64(c->op, PQ_ATTR_TO, PTQC_I8);
    if (pq_dtype_bits(c->out[0].dtype) == 0 ||
        pq_dtype_is_float(c->out[0].dtype)) {
        return pq_infer_refuse(c, -1, "to is no integer type");
    }
    c->out[1].dtype = PTQC_F32;
    c->out[1].dims[c->out[1].rank - 1] = pq_dim_const(c->g, 1);
    return PTQC_OK;
}
