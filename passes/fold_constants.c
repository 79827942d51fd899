// SPDX-License-Identifier: Apache-2.0
//
// Constant folding: ops on constants are run once, by the interpreter, and
// values whose elements follow from shapes become constants. A result may be
// larger than the constants it is made of by PQ_FOLD_GROWTH bytes at most, so
// that a broadcast does not blow up the artifact. Quantized constants stay
// codes: dequantize is not folded.

#include <string.h>

#include "base/dtype.h"
#include "ir/builder.h"
#include "ir/interp/interp.h"
#include "passes/fold.h"
#include "passes/match.h"
#include "passes/registry.h"

#define PQ_FOLD_GROWTH ((size_t)1 << 18)

static bool
has_constant_inputs(const pq_graph *g, const pq_op *op)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (!pq_value_is_none(op->inputs[i]) &&
            !pq_is_constant(g, op->inputs[i])) {
            return false;
        }
    }
    return true;
}

static pq_tensor
tensor_of_constant(const pq_graph *g, pq_value_id v)
{
    pq_tensor t = {0};
    if (pq_value_is_none(v)) {
        return t;
    }
    const pq_constant *c = pq_graph_constant(g, pq_graph_value(g, v)->constant);
    t.dtype = c->dtype;
    t.rank = c->rank;
    t.bytes = c->bytes;
    memcpy(t.dims, c->dims, c->rank * sizeof *c->dims);
    return t;
}

// Constants may be mapped at any address; kernels want aligned ones.
static ptqc_status
load_inputs(const pq_graph *g, const pq_op *op, pq_arena *scratch,
            pq_tensor *inputs)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        inputs[i] = tensor_of_constant(g, op->inputs[i]);
        if (pq_value_is_none(op->inputs[i])) {
            continue;
        }
        const void *p = pq_graph_constant_bytes(
            g, pq_graph_value(g, op->inputs[i])->constant);
        bool is_aligned = ((uintptr_t)p & 7) == 0;
        if (p == NULL && inputs[i].bytes > 0) {
            return PTQC_E_RESOURCE;
        }
        inputs[i].p = is_aligned ? (void *)(uintptr_t)p
                                 : pq_arena_memdup(scratch, p, inputs[i].bytes);
        PQ_TRY_ALLOC(inputs[i].p);
    }
    return PTQC_OK;
}

static void
release_inputs(const pq_graph *g, const pq_op *op)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (!pq_value_is_none(op->inputs[i])) {
            pq_graph_release_constant(
                g, pq_graph_value(g, op->inputs[i])->constant);
        }
    }
}

// Shape and size of a result; false when it is symbolic.
static bool
static_tensor(const pq_graph *g, pq_value_id v, pq_tensor *out)
{
    const pq_type *t = &pq_graph_value(g, v)->type;
    *out = (pq_tensor){.dtype = t->dtype, .rank = t->rank};
    for (uint32_t i = 0; i < t->rank; i++) {
        if (!pq_dim_is_const(g, t->dims[i], &out->dims[i])) {
            return false;
        }
    }
    return pq_dtype_bytes(t->dtype, out->dims, t->rank, &out->bytes);
}

// The outputs' memory lives in the graph: it becomes the constants'.
static ptqc_status
plan_outputs(pq_graph *g, const pq_op *op, pq_tensor *outputs,
             bool *out_can_fold)
{
    size_t room = PQ_FOLD_GROWTH;
    *out_can_fold = false;
    for (uint32_t i = 0; i < op->input_count; i++) {
        room += tensor_of_constant(g, op->inputs[i]).bytes;
    }
    if (op->code == PQ_OP_DEQUANTIZE) { // 4-bit codes to f32
        room *= 8;
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        if (!static_tensor(g, op->outputs[i], &outputs[i]) ||
            outputs[i].bytes > room) {
            return PTQC_OK;
        }
        room -= outputs[i].bytes;
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        outputs[i].p = pq_arena_alloc(pq_graph_arena(g), outputs[i].bytes);
        PQ_TRY_ALLOC(outputs[i].p);
    }
    *out_can_fold = true;
    return PTQC_OK;
}

static ptqc_status
replace_by_tensor(pq_graph *g, pq_value_id from, const pq_tensor *t)
{
    const pq_value *value = pq_graph_value(g, from);
    pq_constant c = {.dtype = t->dtype,
                     .rank = t->rank,
                     .dims = t->dims,
                     .p = t->p,
                     .bytes = t->bytes};
    pq_const_id id = pq_graph_add_constant(g, &c);
    if (pq_const_is_none(id)) {
        return pq_graph_failure(g);
    }
    pq_value_id to = pq_graph_add_constant_value(g, value->name, id);
    if (pq_value_is_none(to)) {
        return pq_graph_failure(g);
    }
    if (pq_is_codes(g, from)) {
        pq_value_set_quant(g, to, t->dtype, value->quant);
    }
    return pq_replace_uses(g, from, to);
}

ptqc_status
pq_fold_op(pq_graph *g, pq_op_id id, pq_arena *scratch)
{
    const pq_op *op = pq_graph_op(g, id);
    pq_tensor outputs[8];
    bool can_fold;
    bool is_known = op->output_count <= sizeof outputs / sizeof *outputs &&
                    pq_interp_declines(g, op) == NULL;
    if (!is_known) {
        return PTQC_OK;
    }
    PQ_TRY(plan_outputs(g, op, outputs, &can_fold));
    if (!can_fold) {
        return PTQC_OK;
    }
    pq_tensor *inputs =
        pq_arena_array(scratch, (size_t)op->input_count + 1, sizeof *inputs);
    PQ_TRY_ALLOC(inputs);
    PQ_TRY(load_inputs(g, op, scratch, inputs));
    PQ_TRY(pq_interp_op(g, op, NULL, inputs, outputs));
    release_inputs(g, op);
    for (uint32_t i = 0; i < op->output_count; i++) {
        PQ_TRY(replace_by_tensor(g, op->outputs[i], &outputs[i]));
    }
    pq_erase_op(g, id);
    return PTQC_OK;
}

// ---- elements known from shapes -------------------------------------------

static bool
store_element(ptqc_dtype dtype, void *p, uint32_t i, int64_t x)
{
    switch ((int)dtype) {
    case PTQC_I64:
        ((int64_t *)p)[i] = x;
        return true;
    case PTQC_I32:
        ((int32_t *)p)[i] = (int32_t)x;
        return x >= INT32_MIN && x <= INT32_MAX;
    case PTQC_F32:
        ((float *)p)[i] = (float)x;
        return x >= -(1 << 24) && x <= 1 << 24; // exact
    case PTQC_BOOL:
        ((uint8_t *)p)[i] = x != 0;
        return true;
    default:
        return false;
    }
}

static ptqc_status
fold_elements(pq_graph *g, pq_value_id v, bool *out_folded)
{
    const pq_value *value = pq_graph_value(g, v);
    pq_tensor t;
    *out_folded = false;
    if (value->elements == NULL || value->use_count == 0 ||
        !static_tensor(g, v, &t) || t.bytes > PQ_FOLD_GROWTH) {
        return PTQC_OK;
    }
    t.p = pq_arena_alloc(pq_graph_arena(g), t.bytes);
    PQ_TRY_ALLOC(t.p);
    for (uint32_t i = 0; i < value->element_count; i++) {
        int64_t x;
        if (!pq_dim_is_const(g, value->elements[i], &x) ||
            !store_element(t.dtype, t.p, i, x)) {
            return PTQC_OK;
        }
    }
    *out_folded = true;
    return replace_by_tensor(g, v, &t);
}

ptqc_status
pq_pass_fold_constants(pq_graph *g, pq_pass_env *env)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (op->code == PQ_OP_DEQUANTIZE) {
            continue;
        }
        if (has_constant_inputs(g, op)) {
            PQ_TRY(pq_fold_op(g, id, env->scratch));
            continue;
        }
        for (uint32_t i = 0; i < op->output_count; i++) {
            bool is_folded;
            PQ_TRY(fold_elements(g, op->outputs[i], &is_folded));
        }
    }
    (void)pq_erase_dead(g);
    return PTQC_OK;
}
