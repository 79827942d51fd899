// SPDX-License-Identifier: Apache-2.0
//
// Canonicalization: applies the rules of canonicalize_rules.def, op by op,
// until a whole walk changes nothing. Every rule makes the graph smaller or
// moves it towards the canonical form, so that this ends.

#include "passes/canonicalize.h"

#include "ir/rewrite.h"
#include "passes/registry.h"

// Rules feed each other over at most this many walks; more is a rule that
// undoes another.
#define PQ_WALK_LIMIT 50

typedef struct pq_rule {
    pq_opcode code;
    ptqc_status (*apply)(pq_graph *g, pq_op_id id, bool *out_changed);
} pq_rule;

static const pq_rule rules[] = {
#define RULE(CODE, function, kind, what) {PQ_OP_##CODE, function},
#include "passes/canonicalize_rules.def"
#undef RULE
};

static ptqc_status
apply_rules(pq_graph *g, pq_op_id id, bool *out_changed)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        bool has_changed = false;
        const pq_op *op = pq_graph_op(g, id);
        if (op->is_dead) {
            return PTQC_OK;
        }
        if (op->code == rules[i].code) {
            PQ_TRY(rules[i].apply(g, id, &has_changed));
            *out_changed |= has_changed;
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_pass_canonicalize(pq_graph *g, pq_pass_env *env)
{
    (void)env;
    bool has_changed = true;
    for (int walk = 0; has_changed && walk < PQ_WALK_LIMIT; walk++) {
        has_changed = false;
        PQ_FOR_EACH_OP(g, id)
        {
            PQ_TRY(apply_rules(g, id, &has_changed));
        }
        (void)pq_erase_dead(g);
    }
    return PTQC_OK;
}
