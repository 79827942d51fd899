// SPDX-License-Identifier: Apache-2.0
//
// Matching an op as it would be against the targets' kernel rules.

#include "passes/caps.h"

#include "base/dtype.h"

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

static uint32_t
operand_count(const pq_caps_rule *rule, const pq_caps_query *query)
{
    uint32_t count = query->input_count;
    for (uint32_t i = 0; i < rule->operand_count; i++) {
        const pq_caps_operand *o = &rule->operands[i];
        count = !o->is_output && o->index >= count ? o->index + 1 : count;
    }
    return count;
}

static const pq_scheme *
scheme_at(const pq_caps_query *query, uint32_t i)
{
    static const pq_scheme absent;
    return i < query->input_count ? &query->inputs[i] : &absent;
}

static bool
admits_input(const pq_caps_rule *rule, const pq_caps_query *query, uint32_t i)
{
    const pq_scheme *s = scheme_at(query, i);
    const pq_caps_operand *o = input_operand(rule, i);
    bool is_constant = has_bit(query->constants, i);
    return admits_scheme(o, s) &&
           (s->format == PTQC_DTYPE_NONE || !o->needs_constant || is_constant);
}

static bool
admits_rank(const pq_caps_rule *rule, const pq_caps_query *query)
{
    return (rule->rank_min == 0 || query->rank >= rule->rank_min) &&
           (rule->rank_max == 0 || query->rank <= rule->rank_max);
}

static bool
rule_admits(const pq_caps_rule *rule, const pq_caps_query *query)
{
    if (rule->op != query->op || !admits_rank(rule, query)) {
        return false;
    }
    uint32_t count = operand_count(rule, query);
    for (uint32_t i = 0; i < count; i++) {
        if (!admits_input(rule, query, i)) {
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

// ---- reasons --------------------------------------------------------------

// How far an operand is from what a rule takes: 0 admitted; 1 another
// granularity, group or symmetry; 2 another type of codes; 3 another kind.
static unsigned
misfit(const pq_caps_operand *o, const pq_scheme *s, bool is_admitted)
{
    bool is_codes = s->granularity != PQ_GRAN_NONE;
    bool takes_codes = o != NULL && (o->granularities >> 1) != 0;
    if (is_admitted) {
        return 0;
    }
    if (o != NULL && has_bit(o->dtypes, (unsigned)s->format) &&
        is_codes == takes_codes) {
        return 1;
    }
    return is_codes && takes_codes ? 2 : 3;
}

// Sum over all operands; *out_first: the first input that does not fit,
// UINT32_MAX when that is the output.
static unsigned
distance(const pq_caps_rule *rule, const pq_caps_query *query,
         uint32_t *out_first)
{
    const pq_caps_operand *y = find_operand(rule, true, 0);
    unsigned sum = misfit(y, &query->output, admits_scheme(y, &query->output));
    uint32_t count = operand_count(rule, query);
    *out_first = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        unsigned d = misfit(input_operand(rule, i), scheme_at(query, i),
                            admits_input(rule, query, i));
        *out_first = d > 0 && *out_first == UINT32_MAX ? i : *out_first;
        sum += d;
    }
    return sum;
}

static void
print_scheme(const pq_scheme *s, pq_strbuf *out)
{
    if (s->format == PTQC_DTYPE_NONE) {
        pq_strbuf_add_z(out, "none");
        return;
    }
    pq_strbuf_add_z(out, pq_dtype_name(s->format));
    if (s->granularity != PQ_GRAN_NONE) {
        pq_strbuf_addf(out, " per %s", pq_granularity_name(s->granularity));
    }
    if (s->granularity == PQ_GRAN_GROUP) {
        pq_strbuf_addf(out, " of %u", s->group);
    }
}

static void
print_operand(const pq_caps_operand *o, pq_strbuf *out)
{
    bool is_first = true;
    if (o == NULL || o->dtypes == 0) {
        pq_strbuf_add_z(out, "none");
        return;
    }
    for (unsigned i = 0; i < 64; i++) {
        if (has_bit(o->dtypes, i)) {
            pq_strbuf_addf(out, "%s%s", is_first ? "" : " or ",
                           pq_dtype_name((ptqc_dtype)i));
            is_first = false;
        }
    }
    is_first = true;
    for (unsigned i = PQ_GRAN_TENSOR; i < PQ_GRAN_COUNT; i++) {
        if (has_bit(o->granularities, i)) {
            pq_strbuf_addf(out, "%s%s", is_first ? " per " : ", ",
                           pq_granularity_name((pq_granularity)i));
            is_first = false;
        }
    }
    for (uint32_t i = 0; i < 8 && o->group_sizes[i] != 0; i++) {
        pq_strbuf_addf(out, "%s%u", i == 0 ? " of " : ", ", o->group_sizes[i]);
    }
    pq_strbuf_add_z(out, o->needs_symmetric ? ", symmetric" : "");
    pq_strbuf_add_z(out, o->needs_constant ? ", constant" : "");
}

// Of rules that are equally near the first: rules stand in order of
// preference.
static const pq_caps_rule *
nearest_rule(const pq_caps *caps, const pq_caps_query *query, uint32_t last,
             uint32_t *out_first)
{
    const pq_caps_rule *best = NULL;
    unsigned least = UINT32_MAX;
    for (uint32_t i = 0; i < caps->rule_count; i++) {
        const pq_caps_rule *rule = &caps->rules[i];
        uint32_t first;
        if (rule->op != query->op || rule->target > last ||
            !admits_rank(rule, query)) {
            continue;
        }
        unsigned d = distance(rule, query, &first);
        if (d < least) {
            best = rule;
            least = d;
            *out_first = first;
        }
    }
    return best;
}

void
pq_caps_print_reason(const pq_caps *caps, const pq_caps_query *query,
                     uint32_t last, pq_strbuf *out)
{
    uint32_t i;
    const pq_caps_rule *rule = nearest_rule(caps, query, last, &i);
    if (rule == NULL) {
        pq_strbuf_add_z(out, "no target has a rule for it");
        return;
    }
    bool is_output = i == UINT32_MAX;
    pq_strbuf_addf(out, "%s %u would be ", is_output ? "output" : "input",
                   is_output ? 0 : i);
    print_scheme(is_output ? &query->output : scheme_at(query, i), out);
    pq_strbuf_add_z(out, ", the nearest kernel rule takes ");
    print_operand(
        is_output ? find_operand(rule, true, 0) : input_operand(rule, i), out);
}
