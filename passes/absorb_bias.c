// SPDX-License-Identifier: Apache-2.0
//
// High-bias absorption (Nagel et al., Data-Free Quantization, 2019, section
// 4.1.3): a channel whose normal distribution lies above 0 but for 3
// deviations, so that a ReLU hardly touches it, is moved down by
// c = max(0, mean - 3 deviations); the next product's bias takes w c. Ranges of
// activations become narrower. Exact but for the 0.13 % of a normal
// distribution beyond 3 deviations; between products without activation all of
// the mean may go, and does. Means and deviations are those of folded batch
// norms (channel_facts.h), so that models without them stay as they are.
//
// Left alone: products that pad (their border has no w c), and clips, whose
// upper end would have to move channel by channel.

#include "passes/channel_facts.h"
#include "passes/links.h"
#include "passes/registry.h"
#include "passes/rescale.h"

static bool
pads(const pq_op *op)
{
    const pq_attr *a = pq_op_attr(op, PQ_ATTR_PADS);
    bool does = false;
    for (uint32_t i = 0; a != NULL && i < a->ints.n; i++) {
        does = does || a->ints.p[i] != 0;
    }
    return does;
}

static bool
is_absorbed(const pq_graph *g, const pq_link *l, pq_channel_facts *out)
{
    const pq_op *from = pq_graph_op(g, l->from);
    const pq_op *to = pq_graph_op(g, l->to);
    const pq_attr *act = pq_op_attr(from, PQ_ATTR_ACT);
    return (act == NULL || act->i == PQ_OP_RELU) &&
           to->code != PQ_OP_CONV_TRANSPOSE && !pads(to) &&
           pq_value_equal(to->inputs[0], l->value) &&
           pq_channel_facts_get(from, out) && out->count == l->channels;
}

// shift[y] += sum of w[y][c] moved[c] over all taps.
static ptqc_status
add_moved(const pq_graph *g, const pq_link *l, const double *moved,
          pq_arena *scratch, double *shift)
{
    const pq_op *op = pq_graph_op(g, l->to);
    const pq_constant *c =
        pq_graph_constant(g, pq_graph_value(g, op->inputs[1])->constant);
    uint32_t out_axis, y_axis;
    uint32_t in_axis = pq_weight_input_axis(g, op);
    float *w = pq_copy_floats(g, op->inputs[1], scratch);
    PQ_TRY_ALLOC(w);
    (void)pq_channel_axes(g, op, &out_axis, &y_axis);
    int64_t out_step = pq_axis_stride(c, out_axis);
    int64_t in_step = pq_axis_stride(c, in_axis);
    for (int64_t i = 0; i < pq_element_count(c); i++) {
        shift[i / out_step % c->dims[out_axis]] +=
            (double)w[i] * moved[i / in_step % c->dims[in_axis]];
    }
    return PTQC_OK;
}

static ptqc_status
absorb(pq_graph *g, const pq_link *l, const pq_channel_facts *f,
       pq_arena *scratch)
{
    size_t n = (size_t)l->channels;
    bool is_linear = pq_op_attr(pq_graph_op(g, l->from), PQ_ATTR_ACT) == NULL;
    size_t outs = (size_t)pq_channel_count(g, pq_graph_op(g, l->to));
    double *moved = pq_arena_array(scratch, n, sizeof *moved);
    double *down = pq_arena_array(scratch, n, sizeof *down);
    double *shift = pq_arena_array(scratch, outs, sizeof *shift);
    bool is_any = false;
    PQ_TRY_ALLOC(moved);
    PQ_TRY_ALLOC(down);
    PQ_TRY_ALLOC(shift);
    for (size_t c = 0; c < n; c++) {
        double high = (double)f->mean[c] - 3 * (double)f->deviation[c];
        moved[c] = is_linear ? (double)f->mean[c] : high > 0 ? high : 0;
        down[c] = -moved[c];
        is_any = is_any || moved[c] < 0 || moved[c] > 0;
    }
    if (!is_any) {
        return PTQC_OK;
    }
    PQ_TRY(add_moved(g, l, moved, scratch, shift));
    PQ_TRY(pq_rescale(g, l->from, NULL, down, scratch));
    return pq_rescale(g, l->to, NULL, shift, scratch);
}

ptqc_status
pq_pass_absorb_bias(pq_graph *g, pq_pass_env *env)
{
    pq_link *links;
    uint32_t count;
    PQ_TRY(pq_find_links(g, env->scratch, &links, &count));
    for (uint32_t i = 0; i < count; i++) {
        pq_channel_facts f;
        if (is_absorbed(g, &links[i], &f)) {
            PQ_TRY(absorb(g, &links[i], &f, env->scratch));
        }
    }
    return PTQC_OK;
}
