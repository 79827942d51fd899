// SPDX-License-Identifier: Apache-2.0
//
// Inference of ops that work element by element.
#include "base/dtype.h"
#include "ir/infer.h"

static ptqc_status
expect_dtype(const pq_infer *c, uint32_t i, ptqc_dtype dtype)
{
    const pq_value *v = pq_infer_in(c, i);
    if (v != NULL && v->type.dtype != dtype) {
        return pq_infer_refuse(c, (int)i, "expected %s, found %s",
                               pq_dtype_name(dtype),
                               pq_dtype_name(v->type.dtype));
    }
    return PTQC_OK;
}

// Codes may meet other codes or reals; plain numbers must be of one type.
static ptqc_status
expect_like(const pq_infer *c, uint32_t i, uint32_t like)
{
    const pq_value *a = pq_infer_in(c, like);
    const pq_value *b = pq_infer_in(c, i);
    if (pq_value_has_codes(a) || pq_value_has_codes(b)) {
        return PTQC_OK;
    }
    return expect_dtype(c, i, a->type.dtype);
}

static bool
is_logical(pq_opcode code)
{
    return code == PQ_OP_NOT || code == PQ_OP_AND || code == PQ_OP_OR ||
           code == PQ_OP_XOR;
}

ptqc_status
pq_infer_same(pq_infer *c)
{
    if (is_logical(c->op->code)) {
        PQ_TRY(expect_dtype(c, 0, PTQC_BOOL));
    }
    pq_infer_copy(c, 0, 0);
    return PTQC_OK;
}

ptqc_status
pq_infer_to_bool(pq_infer *c)
{
    pq_infer_copy(c, 0, 0);
    c->out[0].dtype = PTQC_BOOL;
    return PTQC_OK;
}

ptqc_status
pq_infer_cast(pq_infer *c)
{
    const pq_attr *to = pq_op_attr(c->op, PQ_ATTR_TO);
    if (to == NULL || pq_dtype_bits((ptqc_dtype)to->i) == 0) {
        return pq_infer_refuse(c, -1, "attribute to is missing");
    }
    pq_infer_copy(c, 0, 0);
    c->out[0].dtype = (ptqc_dtype)to->i;
    return PTQC_OK;
}

// Shapes of inputs 0 .. count - 1, aligned at the last axis.
static ptqc_status
broadcast_inputs(pq_infer *c, uint32_t count)
{
    pq_infer_out *out = &c->out[0];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t rank = pq_infer_in(c, i)->type.rank;
        out->rank = rank > out->rank ? rank : out->rank;
    }
    for (uint32_t axis = 0; axis < out->rank; axis++) {
        pq_dim d = {0};
        for (uint32_t i = 0; i < count; i++) {
            const pq_type *t = &pq_infer_in(c, i)->type;
            uint32_t missing = out->rank - t->rank;
            if (axis < missing) {
                continue;
            }
            pq_dim e = t->dims[axis - missing];
            if (pq_dim_is_none(d)) {
                d = e;
            } else {
                PQ_TRY(pq_infer_broadcast_dim(c, (int)i, d, e, &d));
            }
        }
        out->dims[axis] = d;
    }
    return PTQC_OK;
}

ptqc_status
pq_infer_broadcast(pq_infer *c)
{
    if (is_logical(c->op->code)) {
        PQ_TRY(expect_dtype(c, 0, PTQC_BOOL));
    }
    if (c->op->code != PQ_OP_POW) { // the exponent may have its own type
        PQ_TRY(expect_like(c, 1, 0));
    }
    c->out[0].dtype = pq_infer_in(c, 0)->type.dtype;
    return broadcast_inputs(c, 2);
}

ptqc_status
pq_infer_compare(pq_infer *c)
{
    PQ_TRY(expect_like(c, 1, 0));
    c->out[0].dtype = PTQC_BOOL;
    return broadcast_inputs(c, 2);
}

ptqc_status
pq_infer_where(pq_infer *c)
{
    PQ_TRY(expect_dtype(c, 0, PTQC_BOOL));
    PQ_TRY(expect_like(c, 2, 1));
    c->out[0].dtype = pq_infer_in(c, 1)->type.dtype;
    return broadcast_inputs(c, 3);
}
