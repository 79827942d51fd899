// SPDX-License-Identifier: Apache-2.0
//
// Finding links, see links.h. Channels are not followed through branches,
// residuals, concatenations and grouped convolutions other than depthwise.

#include "passes/links.h"

#include <math.h>

bool
pq_is_depthwise(const pq_graph *g, const pq_op *op)
{
    int64_t groups = pq_op_i64(op, PQ_ATTR_GROUP, 1);
    return op->code == PQ_OP_CONV && groups > 1 &&
           pq_static_dim(g, op->inputs[1], 0) == groups &&
           pq_static_dim(g, op->inputs[1], 1) == 1;
}

uint32_t
pq_weight_input_axis(const pq_graph *g, const pq_op *op)
{
    if (op->code == PQ_OP_MATMUL) {
        return pq_op_i64(op, PQ_ATTR_TRANS_B, 0) != 0 ? 1 : 0;
    }
    return op->code == PQ_OP_CONV_TRANSPOSE || pq_is_depthwise(g, op) ? 0 : 1;
}

static bool
has_plain_constants(const pq_graph *g, const pq_op *op)
{
    pq_value_id bias = pq_op_input(op, 2);
    return pq_is_float_constant(g, op->inputs[1]) &&
           (pq_value_is_none(bias) || pq_is_float_constant(g, bias));
}

// Whether the op's activation lets channels be scaled; *out_limit as in
// pq_link.
static bool
is_homogeneous(const pq_op *op, float *out_limit)
{
    const pq_attr *act = pq_op_attr(op, PQ_ATTR_ACT);
    *out_limit = INFINITY;
    if (act == NULL || act->i == PQ_OP_RELU || act->i == PQ_OP_LEAKY_RELU) {
        return true;
    }
    if (act->i != PQ_OP_CLIP) {
        return false;
    }
    float min = pq_op_f32(op, PQ_ATTR_ACT_ALPHA, -INFINITY);
    *out_limit = pq_op_f32(op, PQ_ATTR_ACT_BETA, INFINITY);
    return !(min < 0) && !(min > 0) && *out_limit > 0;
}

static bool
can_begin(const pq_graph *g, const pq_op *op, pq_link *link)
{
    int64_t channels = pq_channel_count(g, op);
    if (channels < 1 || !has_plain_constants(g, op) ||
        !pq_value_is_none(pq_op_input(op, 3)) ||
        !pq_value_is_none(pq_op_input(op, 4)) ||
        !is_homogeneous(op, &link->limit)) {
        return false;
    }
    link->value = op->outputs[0];
    link->channels = channels;
    link->repeat = 1;
    return true;
}

static bool
can_end(const pq_graph *g, const pq_op *op, pq_value_id v, pq_link *link)
{
    if (!pq_value_equal(op->inputs[0], v) || !has_plain_constants(g, op) ||
        (op->code == PQ_OP_MATMUL &&
         (pq_op_i64(op, PQ_ATTR_TRANS_A, 0) != 0 ||
          pq_graph_value(g, op->inputs[1])->type.rank != 2))) {
        return false;
    }
    link->is_depthwise = pq_is_depthwise(g, op);
    if (!link->is_depthwise && pq_op_i64(op, PQ_ATTR_GROUP, 1) != 1) {
        return false;
    }
    int64_t inputs =
        pq_static_dim(g, op->inputs[1], pq_weight_input_axis(g, op));
    return inputs == link->channels * link->repeat;
}

// A mean over axes behind the channels.
static bool
is_spatial_mean(const pq_op *op)
{
    const pq_attr *axes = pq_op_attr(op, PQ_ATTR_AXES);
    bool is_spatial = op->code == PQ_OP_REDUCE_MEAN && axes != NULL;
    for (uint32_t i = 0; is_spatial && i < axes->ints.n; i++) {
        is_spatial = axes->ints.p[i] >= 2;
    }
    return is_spatial;
}

// [N, channels, ...] to [N, channels * repeat].
static bool
is_flatten(const pq_graph *g, const pq_op *op, pq_link *link)
{
    const pq_type *x = &pq_graph_value(g, op->inputs[0])->type;
    const pq_type *y = &pq_graph_value(g, op->outputs[0])->type;
    int64_t size = pq_static_dim(g, op->outputs[0], 1);
    if (op->code != PQ_OP_RESHAPE || y->rank != 2 || x->rank < 2 ||
        !pq_dim_equal(x->dims[0], y->dims[0]) || size < 1 ||
        pq_static_dim(g, op->inputs[0], 1) != link->channels ||
        size % link->channels != 0) {
        return false;
    }
    link->repeat = size / link->channels;
    return true;
}

// Ops that scale with their operand, channel by channel along axis 1. Means
// and pools behind a matmul would mix its channels, which are the last axis.
static bool
passes_channels(const pq_graph *g, const pq_op *op, pq_opcode from,
                pq_link *link)
{
    switch ((int)op->code) {
    case PQ_OP_RELU:
    case PQ_OP_LEAKY_RELU:
        return true;
    case PQ_OP_MAX_POOL:
    case PQ_OP_AVG_POOL:
        return from != PQ_OP_MATMUL;
    case PQ_OP_REDUCE_MEAN:
        return from != PQ_OP_MATMUL && is_spatial_mean(op);
    case PQ_OP_RESHAPE:
        return from != PQ_OP_MATMUL && link->repeat == 1 &&
               is_flatten(g, op, link);
    default:
        return false;
    }
}

// Products of images need their channels on axis 1, matmuls on the last one.
static bool
fits(const pq_graph *g, pq_opcode from, const pq_op *to)
{
    uint32_t rank = pq_graph_value(g, to->inputs[0])->type.rank;
    bool is_last = to->code == PQ_OP_MATMUL;
    return from == PQ_OP_MATMUL ? is_last || rank == 2 : !is_last || rank == 2;
}

static bool
find_link(const pq_graph *g, pq_op_id from, pq_link *link)
{
    const pq_op *op = pq_graph_op(g, from);
    *link = (pq_link){.from = from};
    if (!pq_is_product(op->code) || !can_begin(g, op, link)) {
        return false;
    }
    pq_opcode code = op->code;
    pq_value_id v = link->value;
    for (;;) {
        link->to = pq_single_user(g, v);
        if (pq_op_is_none(link->to)) {
            return false;
        }
        op = pq_graph_op(g, link->to);
        if (pq_is_product(op->code)) {
            return fits(g, code, op) && can_end(g, op, v, link);
        }
        if (!passes_channels(g, op, code, link)) {
            return false;
        }
        v = op->outputs[0];
    }
}

ptqc_status
pq_find_links(const pq_graph *g, pq_arena *arena, pq_link **out_links,
              uint32_t *out_count)
{
    pq_link *links = pq_arena_array(arena, pq_graph_op_count(g), sizeof *links);
    uint32_t count = 0;
    PQ_TRY_ALLOC(links);
    PQ_FOR_EACH_OP(g, id)
    {
        count += find_link(g, id, &links[count]);
    }
    *out_links = links;
    *out_count = count;
    return PTQC_OK;
}
