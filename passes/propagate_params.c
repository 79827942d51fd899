// SPDX-License-Identifier: Apache-2.0
//
// Lets values share scales where that makes an op a mere move of codes:
// reshape, transpose, slice, max pooling, concat, pad, nearest resize. Each
// set of values gets one range, the union of theirs.

#include "passes/match.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "passes/registry.h"

typedef struct pq_sets {
    uint32_t *parent; // [values] union-find, root points at itself
    float *min, *max; // [values] of roots
    uint32_t count;
} pq_sets;

// With path halving.
static uint32_t
root_of(pq_sets *s, uint32_t i)
{
    while (s->parent[i] != i) {
        s->parent[i] = s->parent[s->parent[i]];
        i = s->parent[i];
    }
    return i;
}

// The smaller index is the root, so that the order of joins does not matter.
static void
join(pq_sets *s, uint32_t a, uint32_t b)
{
    a = root_of(s, a);
    b = root_of(s, b);
    uint32_t root = a < b ? a : b;
    s->parent[a < b ? b : a] = root;
    s->min[root] = s->min[a] < s->min[b] ? s->min[a] : s->min[b];
    s->max[root] = s->max[a] > s->max[b] ? s->max[a] : s->max[b];
}

static bool
has_params(const pq_graph *g, pq_value_id v, pq_params *out)
{
    const pq_quant *q = pq_annotation(g, v);
    return q != NULL && !q->scheme.dynamic && !pq_is_constant(g, v) &&
           pq_tensor_params(g, q, out);
}

static ptqc_status
init_sets(const pq_graph *g, pq_arena *scratch, pq_sets *s)
{
    s->count = pq_graph_value_count(g);
    s->parent = pq_arena_array(scratch, s->count, sizeof *s->parent);
    s->min = pq_arena_array(scratch, s->count, sizeof *s->min);
    s->max = pq_arena_array(scratch, s->count, sizeof *s->max);
    PQ_TRY_ALLOC(s->parent);
    PQ_TRY_ALLOC(s->min);
    PQ_TRY_ALLOC(s->max);
    for (uint32_t i = 0; i < s->count; i++) {
        pq_params p;
        pq_value_id v = {i};
        s->parent[i] = i;
        if (i > 0 && has_params(g, v, &p)) {
            const pq_format *f =
                pq_format_of(pq_annotation(g, v)->scheme.format);
            s->min[i] = p.scale * (float)(f->min - p.zero_point);
            s->max[i] = p.scale * (float)(f->max - p.zero_point);
        }
    }
    return PTQC_OK;
}

static void
join_operands(const pq_graph *g, const pq_op *op, pq_sets *s)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (pq_is_data_operand(g, op, i)) {
            join(s, op->inputs[i].index, op->outputs[0].index);
        }
    }
}

ptqc_status
pq_pass_propagate_params(pq_graph *g, pq_pass_env *env)
{
    pq_sets s;
    pq_mode *modes;
    PQ_TRY(pq_plan_modes(g, env->recipe, env->scratch, &modes));
    PQ_TRY(init_sets(g, env->scratch, &s));
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (modes[id.index] == PQ_MODE_STATIC &&
            pq_role_of(g, op) == PQ_ROLE_SHARING) {
            join_operands(g, op, &s);
        }
    }
    // A set has a member besides its root; the first one makes the params.
    pq_quant_id *shared = pq_arena_array(env->scratch, s.count, sizeof *shared);
    PQ_TRY_ALLOC(shared);
    for (uint32_t i = 1; i < s.count; i++) {
        pq_params p;
        pq_value_id v = {i};
        uint32_t root = root_of(&s, i);
        if (root == i || !has_params(g, v, &p)) {
            continue;
        }
        pq_value *value = pq_graph_value(g, v);
        if (pq_quant_is_none(shared[root])) {
            const pq_scheme *scheme = &pq_annotation(g, v)->scheme;
            p = pq_params_of_range(s.min[root], s.max[root], scheme->format,
                                   scheme->symmetric);
            PQ_TRY(pq_annotate_params(g, v, p));
            shared[root] = value->quant;
            pq_graph_value(g, (pq_value_id){root})->quant = shared[root];
        }
        value->quant = shared[root];
    }
    return PTQC_OK;
}
