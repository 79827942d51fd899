// SPDX-License-Identifier: Apache-2.0
//
// Matching an op as it would be against the targets' kernel rules.

#include "passes/caps.h"

static const pq_caps_operand *
find_operand(const pq_caps_rule *rule, bool is_output, uint32_t index)
{
    for (uint32_t i = 0; i < rule->operand_count; i++) {
        const pq_caps_operand *o = &rule->operands[i];
        if (o->is_output == is_output && o->index == index) {
            return o;
        }
    }
    return NULL;
}

static bool
has_bit(uint64_t mask, unsigned bit)
{
    return bit < 64 && (mask >> bit & 1) != 0;
}

static bool
admits_group(const pq_caps_operand *o, uint32_t group)
{
    const uint32_t count = sizeof o->group_sizes / sizeof *o->group_sizes;
    if (o->group_sizes[0] == 0) {
        return true;
    }
    for (uint32_t i = 0; i < count && o->group_sizes[i] != 0; i++) {
        if (o->group_sizes[i] == group) {
            return true;
        }
    }
    return false;
}

// A granularity mask of 0 means real numbers only.
static bool
admits_scheme(const pq_caps_operand *o, const pq_scheme *s)
{
    if (s->format == PTQC_DTYPE_NONE) {
        return o == NULL || o->is_optional || o->dtypes == 0;
    }
    if (o == NULL || !has_bit(o->dtypes, (unsigned)s->format)) {
        return false;
    }
    if (s->granularity == PQ_GRAN_NONE) {
        return o->granularities == 0 || has_bit(o->granularities, PQ_GRAN_NONE);
    }
    if (!has_bit(o->granularities, (unsigned)s->granularity)) {
        return false;
    }
    if (o->needs_symmetric && !s->symmetric) {
        return false;
    }
    return s->granularity != PQ_GRAN_GROUP || admits_group(o, s->group);
}

// Of variadic ops the last rule serves all further inputs.
static const pq_caps_operand *
input_operand(const pq_caps_rule *rule, uint32_t index)
{
    const pq_caps_operand *found = find_operand(rule, false, index);
    bool is_variadic = pq_op_info_of(rule->op)->max_inputs == PQ_MAX_INPUTS;
    for (uint32_t i = index; found == NULL && is_variadic && i > 0; i--) {
        found = find_operand(rule, false, i - 1);
    }
    return found;
}

static bool
rule_admits(const pq_caps_rule *rule, const pq_caps_query *query)
{
    static const pq_scheme absent;
    if (rule->op != query->op ||
        (rule->rank_min != 0 && query->rank < rule->rank_min) ||
        (rule->rank_max != 0 && query->rank > rule->rank_max)) {
        return false;
    }
    uint32_t count = query->input_count;
    for (uint32_t i = 0; i < rule->operand_count; i++) {
        const pq_caps_operand *o = &rule->operands[i];
        count = !o->is_output && o->index >= count ? o->index + 1 : count;
    }
    for (uint32_t i = 0; i < count; i++) {
        const pq_scheme *s =
            i < query->input_count ? &query->inputs[i] : &absent;
        const pq_caps_operand *o = input_operand(rule, i);
        bool is_constant = has_bit(query->constants, i);
        if (!admits_scheme(o, s) || (s->format != PTQC_DTYPE_NONE &&
                                     o->needs_constant && !is_constant)) {
            return false;
        }
    }
    return admits_scheme(find_operand(rule, true, 0), &query->output);
}

uint32_t
pq_caps_target(const pq_caps *caps, const pq_caps_query *query)
{
    uint32_t best = PQ_CAPS_NONE;
    if (caps == NULL) {
        return 0;
    }
    for (uint32_t i = 0; i < caps->rule_count; i++) {
        const pq_caps_rule *rule = &caps->rules[i];
        if (rule->target < best && rule_admits(rule, query)) {
            best = rule->target;
        }
    }
    return best;
}

bool
pq_caps_admit(const pq_caps *caps, const pq_caps_query *query)
{
    return pq_caps_target(caps, query) != PQ_CAPS_NONE;
}
