// SPDX-License-Identifier: Apache-2.0
//
// Questions about operands, see match.h.

#include "passes/match.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "base/dtype.h"
#include "base/float16.h"
#include "ir/builder.h"

pq_op_id
pq_producer_id(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    return value != NULL ? value->producer : (pq_op_id){0};
}

const pq_op *
pq_producer(const pq_graph *g, pq_value_id v, pq_opcode code)
{
    const pq_op *op = pq_graph_op(g, pq_producer_id(g, v));
    return op != NULL && op->code == code ? op : NULL;
}

bool
pq_is_constant(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    return value != NULL && !pq_const_is_none(value->constant);
}

bool
pq_is_codes(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    return value != NULL && !pq_quant_is_none(value->quant) &&
           value->type.dtype == pq_graph_quant(g, value->quant)->scheme.format;
}

bool
pq_is_float(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    return value != NULL && value->type.dtype == PTQC_F32;
}

bool
pq_is_float_constant(const pq_graph *g, pq_value_id v)
{
    return pq_is_constant(g, v) && pq_is_float(g, v);
}

bool
pq_scalar_of(const pq_graph *g, pq_value_id v, float *out)
{
    if (!pq_is_float_constant(g, v)) {
        return false;
    }
    const pq_constant *c = pq_graph_constant(g, pq_graph_value(g, v)->constant);
    if (c->bytes != sizeof *out) {
        return false;
    }
    memcpy(out, c->p, sizeof *out);
    return true;
}

bool
pq_is_scalar(const pq_graph *g, pq_value_id v, float x)
{
    float found;
    return pq_scalar_of(g, v, &found) && memcmp(&found, &x, sizeof x) == 0;
}

int64_t
pq_element_count(const pq_constant *c)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < c->rank; i++) {
        n *= c->dims[i];
    }
    return n;
}

bool
pq_is_real(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    return value != NULL &&
           (value->type.dtype == PTQC_F32 || value->type.dtype == PTQC_F16 ||
            value->type.dtype == PTQC_BF16);
}

bool
pq_is_real_constant(const pq_graph *g, pq_value_id v)
{
    return pq_is_constant(g, v) && pq_is_real(g, v);
}

float *
pq_copy_floats(const pq_graph *g, pq_value_id v, pq_arena *arena)
{
    const pq_constant *c = pq_graph_constant(g, pq_graph_value(g, v)->constant);
    if (c->dtype == PTQC_F32) {
        return pq_arena_memdup(arena, c->p, c->bytes);
    }
    size_t n = c->bytes / sizeof(uint16_t);
    float *out = pq_arena_array(arena, n, sizeof *out);
    const uint8_t *p = c->p;
    for (size_t i = 0; out != NULL && i < n; i++) {
        uint16_t half = pq_load_le16(p + i * sizeof half);
        out[i] =
            c->dtype == PTQC_F16 ? pq_f16_to_f32(half) : pq_bf16_to_f32(half);
    }
    return out;
}

pq_value_id
pq_other_operand(const pq_op *op, pq_value_id one)
{
    if (pq_value_equal(op->inputs[0], one)) {
        return op->inputs[1];
    }
    return pq_value_equal(op->inputs[1], one) ? op->inputs[0] : PQ_NO_VALUE;
}

bool
pq_same_dims(const pq_graph *g, pq_value_id a, pq_value_id b)
{
    const pq_type *s = &pq_graph_value(g, a)->type;
    const pq_type *t = &pq_graph_value(g, b)->type;
    bool is_same = s->rank == t->rank;
    for (uint32_t i = 0; is_same && i < s->rank; i++) {
        is_same = pq_dim_equal(s->dims[i], t->dims[i]);
    }
    return is_same;
}

bool
pq_same_type(const pq_graph *g, pq_value_id a, pq_value_id b)
{
    return pq_graph_value(g, a)->type.dtype ==
               pq_graph_value(g, b)->type.dtype &&
           pq_same_dims(g, a, b);
}

bool
pq_reduces_last(const pq_graph *g, const pq_op *op)
{
    const pq_attr *axes = pq_op_attr(op, PQ_ATTR_AXES);
    uint32_t rank = pq_graph_value(g, op->inputs[0])->type.rank;
    return pq_op_i64(op, PQ_ATTR_KEEPDIMS, 1) != 0 && axes != NULL &&
           axes->ints.n == 1 && rank > 0 &&
           (axes->ints.p[0] == -1 || axes->ints.p[0] == (int64_t)rank - 1);
}

int64_t
pq_axis_stride(const pq_constant *c, uint32_t axis)
{
    int64_t stride = 1;
    for (uint32_t i = axis + 1; i < c->rank; i++) {
        stride *= c->dims[i];
    }
    return stride;
}

int64_t
pq_static_dim(const pq_graph *g, pq_value_id v, uint32_t axis)
{
    const pq_type *t = &pq_graph_value(g, v)->type;
    int64_t size;
    return axis < t->rank && pq_dim_is_const(g, t->dims[axis], &size) ? size
                                                                      : -1;
}

// ---- products -------------------------------------------------------------

bool
pq_is_product(pq_opcode code)
{
    return code == PQ_OP_CONV || code == PQ_OP_CONV_TRANSPOSE ||
           code == PQ_OP_MATMUL;
}

bool
pq_channel_axes(const pq_graph *g, const pq_op *op, uint32_t *out_w,
                uint32_t *out_y)
{
    const pq_type *x = &pq_graph_value(g, op->inputs[0])->type;
    const pq_type *w = &pq_graph_value(g, op->inputs[1])->type;
    if (op->code != PQ_OP_MATMUL) {
        *out_w = op->code == PQ_OP_CONV ? 0 : 1;
        *out_y = 1;
        // Grouped transposed convolutions repeat w's channels.
        return op->code == PQ_OP_CONV || pq_op_i64(op, PQ_ATTR_GROUP, 1) == 1;
    }
    *out_w = pq_op_i64(op, PQ_ATTR_TRANS_B, 0) != 0 ? 0 : 1;
    *out_y = x->rank - 1;
    return w->rank == 2 && x->rank >= 2;
}

int64_t
pq_channel_count(const pq_graph *g, const pq_op *op)
{
    uint32_t w_axis, y_axis;
    return pq_channel_axes(g, op, &w_axis, &y_axis)
               ? pq_static_dim(g, op->inputs[1], w_axis)
               : -1;
}

// Whether v varies along `axis` (counted in y) alone; *out_n: its elements.
static bool
varies_along(const pq_graph *g, pq_value_id v, pq_value_id y, uint32_t axis,
             int64_t *out_n)
{
    uint32_t y_rank = pq_graph_value(g, y)->type.rank;
    uint32_t rank = pq_graph_value(g, v)->type.rank;
    *out_n = 1;
    if (rank > y_rank) {
        return false;
    }
    for (uint32_t i = 0; i < rank; i++) {
        int64_t size = pq_static_dim(g, v, i);
        bool is_channel = i + y_rank - rank == axis;
        if (size != 1 && !is_channel) {
            return false;
        }
        *out_n = is_channel ? size : *out_n;
    }
    return true;
}

float *
pq_per_channel(const pq_graph *g, const pq_op *op, pq_value_id v,
               pq_arena *arena, ptqc_status *out_st)
{
    uint32_t w_axis, y_axis;
    int64_t n;
    int64_t channels = pq_channel_count(g, op);
    *out_st = PTQC_OK;
    if (channels < 1 || !pq_channel_axes(g, op, &w_axis, &y_axis) ||
        !pq_is_float_constant(g, v) ||
        !varies_along(g, v, op->outputs[0], y_axis, &n) ||
        (n != 1 && n != channels)) {
        return NULL;
    }
    float *from = pq_copy_floats(g, v, arena);
    float *to = pq_arena_array(arena, (size_t)channels, sizeof *to);
    if (from == NULL || to == NULL) {
        *out_st = PTQC_E_RESOURCE;
        return NULL;
    }
    for (int64_t c = 0; c < channels; c++) {
        to[c] = from[n == 1 ? 0 : c];
    }
    return to;
}

// ---- changing -------------------------------------------------------------

pq_str
pq_op_label(const pq_graph *g, const pq_op *op)
{
    return op->name.n > 0 ? op->name : pq_graph_value(g, op->outputs[0])->name;
}

ptqc_status
pq_replace_op(pq_graph *g, pq_op_id id, pq_value_id v)
{
    PQ_TRY(pq_replace_uses(g, pq_graph_op(g, id)->outputs[0], v));
    pq_erase_op(g, id);
    return PTQC_OK;
}

ptqc_status
pq_replace_by(pq_graph *g, pq_op_id id, pq_opcode code,
              const pq_value_id *inputs, uint32_t input_count)
{
    pq_builder b;
    pq_value_id y;
    pq_build_begin(&b, g, id, code, pq_graph_op(g, id)->name);
    for (uint32_t i = 0; i < input_count; i++) {
        pq_build_input(&b, inputs[i]);
    }
    PQ_TRY(pq_build_end(&b, NULL, &y, NULL));
    return pq_replace_op(g, id, y);
}

ptqc_status
pq_make_vector(pq_graph *g, const float *p, int64_t n, pq_value_id *out)
{
    return pq_build_constant(g, (pq_str){0}, PTQC_F32, &n, 1, p, out);
}
