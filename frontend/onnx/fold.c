// SPDX-License-Identifier: Apache-2.0
//
// Folding while importing, as far as importers need it: operands that must be
// known before running (shapes, axes, scales of a resize) are often computed
// from constants and sizes in the file. Large constants are left to the
// passes.
#include <string.h>

#include "base/dtype.h"
#include "frontend/onnx/importer.h"
#include "ir/interp/interp.h"

enum {
    RESULT_LIMIT = 4096,   // elements of a result that is folded
    INPUT_LIMIT = 1 << 16, // bytes of the operands
    OPERANDS = 8,
};

static bool
has_numbers(const pq_onnx_call *c, const pq_value *value)
{
    for (uint32_t i = 0; i < value->element_count; i++) {
        if (!pq_dim_is_const(c->g, value->elements[i], NULL)) {
            return false;
        }
    }
    return value->elements != NULL && pq_dtype_bits(value->type.dtype) >= 8 &&
           !pq_dtype_is_float(value->type.dtype);
}

static bool
read_dims(const pq_graph *g, const pq_type *type, pq_tensor *out)
{
    int64_t count = 1;
    *out = (pq_tensor){.dtype = type->dtype, .rank = type->rank};
    for (uint32_t i = 0; i < type->rank; i++) {
        int64_t size;
        if (!pq_dim_is_const(g, type->dims[i], &size) || size < 0 ||
            size > RESULT_LIMIT) {
            return false;
        }
        out->dims[i] = size;
        count *= size;
        if (count > RESULT_LIMIT) {
            return false;
        }
    }
    return pq_dtype_bytes(type->dtype, out->dims, out->rank, &out->bytes);
}

// Known elements in the value's type.
static ptqc_status
from_elements(pq_onnx_call *c, const pq_value *value, pq_tensor *t)
{
    size_t size = pq_dtype_bits(t->dtype) / 8;
    uint8_t *p = pq_arena_array(c->arena, value->element_count, size);
    PQ_TRY_ALLOC(p);
    for (uint32_t i = 0; i < value->element_count; i++) {
        int64_t x = 0;
        pq_dim_is_const(c->g, value->elements[i], &x);
        memcpy(p + i * size, &x, size); // little-endian, two's complement
    }
    t->p = p;
    return PTQC_OK;
}

static bool
read_inputs(const pq_onnx_call *c, const pq_op *op, pq_tensor *in)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < op->input_count; i++) {
        const pq_value *v = pq_graph_value(c->g, op->inputs[i]);
        if (v == NULL) {
            in[i] = (pq_tensor){0};
            continue;
        }
        const pq_constant *k = pq_graph_constant(c->g, v->constant);
        if (pq_const_is_none(v->constant) || !pq_quant_is_none(v->quant) ||
            k->bytes == 0 || k->bytes > INPUT_LIMIT) {
            return false;
        }
        in[i] = (pq_tensor){.dtype = k->dtype, .rank = k->rank};
        in[i].p = (void *)(uintptr_t)k->p; // only read
        in[i].bytes = k->bytes;
        memcpy(in[i].dims, k->dims, k->rank * sizeof *k->dims);
        bytes += k->bytes;
    }
    return op->input_count != 0 && bytes <= INPUT_LIMIT;
}

// *out_done = false when the op is not one to fold; that is no failure.
static ptqc_status
from_op(pq_onnx_call *c, const pq_value *value, pq_tensor *t, bool *out_done)
{
    const pq_op *op = pq_graph_op(c->g, value->producer);
    pq_tensor in[OPERANDS];
    *out_done = false;
    if (op == NULL || op->output_count != 1 || op->input_count > OPERANDS ||
        !read_inputs(c, op, in) || pq_interp_declines(c->g, op) != NULL) {
        return PTQC_OK;
    }
    t->p = pq_arena_alloc(c->arena, t->bytes);
    PQ_TRY_ALLOC(t->p);
    ptqc_status st = pq_interp_op(c->g, op, NULL, in, t);
    *out_done = st == PTQC_OK;
    return st == PTQC_E_RESOURCE || st == PTQC_E_CANCELLED ? st : PTQC_OK;
}

ptqc_status
pq_onnx_fold(pq_onnx_call *c, pq_value_id *v)
{
    const pq_value *value = pq_graph_value(c->g, *v);
    pq_tensor t;
    if (!pq_const_is_none(value->constant) || pq_op_is_none(value->producer) ||
        !pq_quant_is_none(value->quant) || !read_dims(c->g, &value->type, &t)) {
        return PTQC_OK;
    }
    bool is_done = has_numbers(c, value);
    if (is_done) {
        PQ_TRY(from_elements(c, value, &t));
    } else {
        PQ_TRY(from_op(c, value, &t, &is_done));
    }
    return is_done ? pq_build_constant(c->g, value->name, t.dtype, t.dims,
                                       t.rank, t.p, v)
                   : PTQC_OK;
}
