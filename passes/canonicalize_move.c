// SPDX-License-Identifier: Apache-2.0
//
// Canonicalization rules of ops that move, copy or cast elements.

#include <string.h>

#include "base/dtype.h"
#include "ir/builder.h"
#include "passes/canonicalize.h"
#include "passes/match.h"

static ptqc_status
replace(pq_graph *g, pq_op_id id, pq_value_id v, bool *out_changed)
{
    *out_changed = true;
    return pq_replace_op(g, id, v);
}

ptqc_status
pq_canon_identity(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    return pq_same_type(g, op->inputs[0], op->outputs[0])
               ? replace(g, id, op->inputs[0], out_changed)
               : PTQC_OK;
}

// Whether every number of type a is one of type b.
static bool
is_widening(ptqc_dtype a, ptqc_dtype b)
{
    unsigned bits_a = pq_dtype_bits(a);
    unsigned bits_b = pq_dtype_bits(b);
    if (a == PTQC_BOOL) {
        return true;
    }
    if (b == PTQC_BOOL) {
        return false;
    }
    if (pq_dtype_is_float(a) || pq_dtype_is_float(b)) {
        return pq_dtype_is_float(a) && bits_a >= 16 && bits_a < bits_b &&
               (b == PTQC_F32 || b == PTQC_F64);
    }
    return bits_a < bits_b && (pq_dtype_is_signed(b) || !pq_dtype_is_signed(a));
}

ptqc_status
pq_canon_cast(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    if (pq_is_codes(g, op->inputs[0])) {
        return PTQC_OK;
    }
    if (pq_same_type(g, op->inputs[0], op->outputs[0])) {
        return replace(g, id, op->inputs[0], out_changed);
    }
    const pq_op *inner = pq_producer(g, op->inputs[0], PQ_OP_CAST);
    if (inner == NULL || pq_is_codes(g, inner->inputs[0]) ||
        !is_widening(pq_graph_value(g, inner->inputs[0])->type.dtype,
                     pq_graph_value(g, inner->outputs[0])->type.dtype)) {
        return PTQC_OK;
    }
    *out_changed = true;
    return pq_set_input(g, id, 0, inner->inputs[0]);
}

// ---- constants of 16-bit floats behind a cast to f32, which is exact -------

// The constant that v widens; none when it widens no constant.
static pq_value_id
widened(const pq_graph *g, pq_value_id v)
{
    const pq_op *cast = pq_producer(g, v, PQ_OP_CAST);
    if (cast == NULL || !pq_is_float(g, v)) {
        return PQ_NO_VALUE;
    }
    ptqc_dtype from = pq_graph_value(g, cast->inputs[0])->type.dtype;
    bool is_half = from == PTQC_F16 || from == PTQC_BF16;
    return is_half && pq_is_real_constant(g, cast->inputs[0]) ? cast->inputs[0]
                                                              : PQ_NO_VALUE;
}

// So that weights are seen as such: they are packed as they lie, and become
// codes when a scheme says so.
ptqc_status
pq_canon_widened_weights(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id w = widened(g, op->inputs[1]);
    if (pq_value_is_none(w) || pq_graph_value(g, w)->type.rank != 2 ||
        !pq_is_float(g, op->inputs[0])) {
        return PTQC_OK;
    }
    *out_changed = true;
    return pq_set_input(g, id, 1, w);
}

// The widening goes behind the op, the op to the constant.
ptqc_status
pq_canon_move_widened(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id x = widened(g, op->inputs[0]), y;
    if (pq_value_is_none(x)) {
        return PTQC_OK;
    }
    pq_builder b;
    pq_build_begin(&b, g, id, op->code, op->name);
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_build_input(&b, i == 0 ? x : op->inputs[i]);
    }
    for (uint32_t i = 0; i < op->attr_count; i++) {
        pq_build_attr(&b, &op->attrs[i]);
    }
    PQ_TRY(pq_build_end(&b, NULL, &y, NULL));
    pq_build_begin(&b, g, id, PQ_OP_CAST, (pq_str){0});
    pq_build_input(&b, y);
    pq_build_i64(&b, PQ_ATTR_TO, PTQC_F32);
    PQ_TRY(pq_build_end(&b, NULL, &y, NULL));
    return replace(g, id, y, out_changed);
}

// ---- transposes, reshapes, copies ------------------------------------------

static bool
is_identity_perm(const int64_t *perm, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (perm[i] != (int64_t)i) {
            return false;
        }
    }
    return true;
}

ptqc_status
pq_canon_transpose(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_attr *perm = pq_op_attr(op, PQ_ATTR_PERM);
    if (perm == NULL) {
        return PTQC_OK;
    }
    if (is_identity_perm(perm->ints.p, perm->ints.n)) {
        return replace(g, id, op->inputs[0], out_changed);
    }
    const pq_op *inner = pq_producer(g, op->inputs[0], PQ_OP_TRANSPOSE);
    const pq_attr *first =
        inner != NULL ? pq_op_attr(inner, PQ_ATTR_PERM) : NULL;
    if (first == NULL || first->ints.n != perm->ints.n ||
        perm->ints.n > PTQC_MAX_RANK) {
        return PTQC_OK;
    }
    int64_t both[PTQC_MAX_RANK];
    for (uint32_t i = 0; i < perm->ints.n; i++) {
        both[i] = first->ints.p[perm->ints.p[i]];
    }
    const pq_attr a = {.name = PQ_ATTR_PERM,
                       .ints = {.p = both, .n = perm->ints.n}};
    *out_changed = true;
    PQ_TRY(pq_set_attr(g, id, &a));
    return pq_set_input(g, id, 0, inner->inputs[0]);
}

static ptqc_status
build_reshape(pq_graph *g, pq_op_id id, pq_value_id x, pq_value_id *out)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_type *t = &pq_graph_value(g, op->outputs[0])->type;
    pq_builder b;
    pq_build_begin(&b, g, id, PQ_OP_RESHAPE, op->name);
    pq_build_input(&b, x);
    pq_build_dims(&b, PQ_ATTR_SHAPE, t->dims, t->rank);
    return pq_build_end(&b, NULL, out, NULL);
}

// Codes with one scale per channel are left to transpose, which moves the
// axis.
ptqc_status
pq_canon_transpose_ones(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_attr *perm = pq_op_attr(op, PQ_ATTR_PERM);
    int64_t last = -1;
    if (perm == NULL || pq_is_codes(g, op->inputs[0])) {
        return PTQC_OK;
    }
    for (uint32_t i = 0; i < perm->ints.n; i++) {
        int64_t axis = perm->ints.p[i];
        if (pq_static_dim(g, op->inputs[0], (uint32_t)axis) == 1) {
            continue;
        }
        if (axis < last) {
            return PTQC_OK;
        }
        last = axis;
    }
    pq_value_id v;
    PQ_TRY(build_reshape(g, id, op->inputs[0], &v));
    return replace(g, id, v, out_changed);
}

ptqc_status
pq_canon_reshape(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    if (pq_same_type(g, op->inputs[0], op->outputs[0])) {
        return replace(g, id, op->inputs[0], out_changed);
    }
    const pq_op *inner = pq_producer(g, op->inputs[0], PQ_OP_RESHAPE);
    if (inner == NULL || pq_is_codes(g, op->inputs[0])) {
        return PTQC_OK;
    }
    *out_changed = true;
    return pq_set_input(g, id, 0, inner->inputs[0]);
}

static bool
is_all_zero(const pq_attr *a)
{
    for (uint32_t i = 0; a != NULL && i < a->ints.n; i++) {
        if (a->ints.p[i] != 0) {
            return false;
        }
    }
    return true;
}

static bool
is_all_one(const pq_attr *a)
{
    for (uint32_t i = 0; a != NULL && i < a->ints.n; i++) {
        if (a->ints.p[i] != 1) {
            return false;
        }
    }
    return true;
}

// Equal shapes do not tell for negative steps and for pads that cut and add.
ptqc_status
pq_canon_same_shape(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_value *x = pq_graph_value(g, op->inputs[0]);
    const pq_value *y = pq_graph_value(g, op->outputs[0]);
    if (!pq_same_type(g, op->inputs[0], op->outputs[0]) ||
        !pq_quant_equal(x->quant, y->quant) ||
        (op->code == PQ_OP_SLICE &&
         !is_all_one(pq_op_attr(op, PQ_ATTR_STEPS))) ||
        (op->code == PQ_OP_PAD && !is_all_zero(pq_op_attr(op, PQ_ATTR_PADS)))) {
        return PTQC_OK;
    }
    return replace(g, id, op->inputs[0], out_changed);
}

ptqc_status
pq_canon_concat_one(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    const pq_value *x = pq_graph_value(g, op->inputs[0]);
    if (op->input_count != 1 ||
        !pq_quant_equal(x->quant, pq_graph_value(g, op->outputs[0])->quant)) {
        return PTQC_OK;
    }
    return replace(g, id, op->inputs[0], out_changed);
}

// The weight as the kernels want it: a row of K per output channel. The
// transpose of the constant is folded by constant folding.
ptqc_status
pq_canon_matmul(pq_graph *g, pq_op_id id, bool *out_changed)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id w = op->inputs[1];
    if (!pq_is_constant(g, w) || pq_graph_value(g, w)->type.rank != 2 ||
        pq_op_i64(op, PQ_ATTR_TRANS_B, 0) != 0) {
        return PTQC_OK;
    }
    static const int64_t swap[2] = {1, 0};
    pq_builder b;
    pq_build_begin(&b, g, id, PQ_OP_TRANSPOSE, (pq_str){0});
    pq_build_input(&b, w);
    pq_build_i64s(&b, PQ_ATTR_PERM, swap, 2);
    pq_value_id transposed;
    PQ_TRY(pq_build_end(&b, NULL, &transposed, NULL));
    const pq_attr trans = {.name = PQ_ATTR_TRANS_B, .i = 1};
    *out_changed = true;
    PQ_TRY(pq_set_attr(g, id, &trans));
    return pq_set_input(g, id, 1, transposed);
}
