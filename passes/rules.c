// SPDX-License-Identifier: Apache-2.0
//
// Matching of rules, see rules.h.

#include "passes/rules.h"

#include "base/vec.h"
#include "passes/match.h"
#include "passes/plan.h"
#include "tokenizer/regex.h"

// ---- the list -------------------------------------------------------------

ptqc_status
pq_rules_create(ptqc_ctx *ctx, pq_rules **out)
{
    pq_rules *r = pq_alloc(ctx, sizeof *r);
    PQ_TRY_ALLOC(r);
    r->ctx = ctx;
    pq_arena_init(&r->arena, ctx);
    pq_arena_init(&r->names, ctx);
    pq_strmap_init(&r->bound, ctx);
    *out = r;
    return PTQC_OK;
}

void
pq_rules_destroy(pq_rules *r)
{
    if (r == NULL) {
        return;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        pq_tok_regex_destroy(r->regex[i]);
    }
    pq_strmap_deinit(&r->bound);
    pq_arena_deinit(&r->names);
    pq_arena_deinit(&r->arena);
    pq_free(r->ctx, r->regex);
    pq_free(r->ctx, r->rules);
    pq_free(r->ctx, r);
}

static ptqc_status
copy_text(pq_rules *r, pq_str *text)
{
    const char *p = pq_arena_strndup(&r->arena, text->p, text->n);
    PQ_TRY_ALLOC(p);
    text->p = p;
    return PTQC_OK;
}

static ptqc_status
make_room(pq_rules *r)
{
    void *rules = r->rules;
    void *regex = r->regex;
    uint32_t capacity = r->capacity;
    PQ_TRY(pq_vec_reserve(r->ctx, &rules, &capacity, (size_t)r->count + 1,
                          sizeof *r->rules));
    r->rules = rules;
    PQ_TRY(pq_vec_reserve(r->ctx, &regex, &r->capacity, (size_t)r->count + 1,
                          sizeof(pq_tok_regex *)));
    r->regex = regex;
    return PTQC_OK;
}

ptqc_status
pq_rules_add(pq_rules *r, const pq_op_rule *rule)
{
    PQ_TRY(make_room(r));
    pq_op_rule *copy = &r->rules[r->count];
    *copy = *rule;
    PQ_TRY(copy_text(r, &copy->match));
    PQ_TRY(copy_text(r, &copy->place));
    PQ_TRY(copy_text(r, &copy->settings.method));
    pq_tok_regex *regex = NULL;
    if (pq_str_starts(copy->match, "re:")) {
        pq_str pattern = {copy->match.p + 3, copy->match.n - 3};
        PQ_TRY(pq_tok_regex_create(r->ctx, copy->place.p, PTQC_E_USAGE, pattern,
                                   &regex));
    }
    r->regex[r->count++] = regex;
    return PTQC_OK;
}

// ---- names ----------------------------------------------------------------

// * any text, ? one byte. Greedy with one point to go back to.
static bool
matches_glob(pq_str glob, pq_str text)
{
    size_t g = 0;
    size_t t = 0;
    size_t star = SIZE_MAX; // position after the last *
    size_t resume = 0;
    while (t < text.n) {
        if (g < glob.n && glob.p[g] == '*') {
            star = ++g;
            resume = t;
        } else if (g < glob.n && (glob.p[g] == '?' || glob.p[g] == text.p[t])) {
            g++;
            t++;
        } else if (star != SIZE_MAX) {
            g = star;
            t = ++resume;
        } else {
            return false;
        }
    }
    while (g < glob.n && glob.p[g] == '*') {
        g++;
    }
    return g == glob.n;
}

static bool
is_utf8(pq_str text)
{
    while (text.n > 0) {
        size_t n = pq_str_utf8(text);
        if (n == 0) {
            return false;
        }
        text = (pq_str){text.p + n, text.n - n};
    }
    return true;
}

// ---- binding --------------------------------------------------------------

// One rule going over all names.
typedef struct pq_matcher {
    const pq_op_rule *rule;
    bool has_regex;
    pq_tok_matcher regex;
    uint32_t match_count, useful_count;
} pq_matcher;

static ptqc_status
match_name(pq_matcher *m, pq_str name, bool *out)
{
    size_t start, end;
    if (m->rule->match.n == 0) {
        *out = true;
        return PTQC_OK;
    }
    *out = false;
    if (!m->has_regex) {
        *out = matches_glob(m->rule->match, name);
        return PTQC_OK;
    }
    if (name.n == 0 || !is_utf8(name)) {
        return PTQC_OK; // PCRE2 must not see it
    }
    pq_tok_matcher_reset(&m->regex, name);
    return pq_tok_matcher_next(&m->regex, out, &start, &end);
}

static ptqc_status
match_op(pq_matcher *m, const pq_graph *g, const pq_op *op, bool *out)
{
    *out = false;
    if (m->rule->has_op && op->code != m->rule->op) {
        return PTQC_OK;
    }
    PQ_TRY(match_name(m, op->name, out));
    for (uint32_t i = 0; !*out && i < op->output_count; i++) {
        PQ_TRY(match_name(m, pq_graph_value(g, op->outputs[i])->name, out));
    }
    for (uint32_t i = 0; !*out && i < op->input_count; i++) {
        if (pq_is_constant(g, op->inputs[i])) {
            PQ_TRY(match_name(m, pq_graph_value(g, op->inputs[i])->name, out));
        }
    }
    return PTQC_OK;
}

static ptqc_status
bind_name(pq_rules *r, uint32_t rule, pq_str name)
{
    uint64_t earlier;
    if (pq_strmap_find(&r->bound, name, &earlier)) {
        return PTQC_OK; // the first rule decides
    }
    const char *p = pq_arena_strndup(&r->names, name.p, name.n);
    PQ_TRY_ALLOC(p);
    return pq_strmap_set(&r->bound, (pq_str){p, name.n}, rule, NULL);
}

// Whether the rule says something that quantization asks of such an op.
static bool
is_useful(const pq_graph *g, const pq_op_rule *rule, const pq_op *op)
{
    return pq_is_product(op->code) ||
           (pq_role_of(g, op) != PQ_ROLE_FLOAT &&
            (rule->settings.is_float ||
             (rule->sets & (PQ_SETS_OBSERVER | PQ_SETS_PERCENTILE)) != 0));
}

static ptqc_status
bind_ops(pq_rules *r, const pq_graph *g, uint32_t rule, pq_matcher *m)
{
    bool is_match;
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        PQ_TRY(match_op(m, g, op, &is_match));
        if (is_match && op->output_count > 0) {
            m->match_count++;
            m->useful_count += is_useful(g, m->rule, op);
            PQ_TRY(bind_name(r, rule, pq_graph_value(g, op->outputs[0])->name));
        }
    }
    for (uint32_t i = 0; !m->rule->has_op && i < pq_graph_input_count(g); i++) {
        pq_str name = pq_graph_value(g, pq_graph_input(g, i))->name;
        PQ_TRY(match_name(m, name, &is_match));
        if (is_match) {
            m->match_count++;
            m->useful_count++;
            PQ_TRY(bind_name(r, rule, name));
        }
    }
    return PTQC_OK;
}

// The product whose name is nearest to the rule's text, else the first one.
static pq_str
nearest_name(const pq_graph *g, pq_str text)
{
    unsigned best = UINT32_MAX;
    pq_str found = {0};
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        unsigned d = pq_str_distance(pq_op_label(g, op), text);
        if (pq_is_product(op->code) && d < best) {
            best = d;
            found = pq_op_label(g, op);
        }
    }
    return found;
}

static ptqc_status
judge(const pq_rules *r, const pq_graph *g, const pq_matcher *m)
{
    const pq_op_rule *rule = m->rule;
    if (m->match_count == 0 && !rule->is_optional) {
        pq_str near = nearest_name(g, rule->match);
        return PQ_FAIL(r->ctx, PTQC_E_USAGE,
                       "%.*s: rule '%.*s'%s%s matches nothing%s%.*s%s",
                       PQ_STR_ARG(rule->place), PQ_STR_ARG(rule->match),
                       rule->has_op ? " for " : "",
                       rule->has_op ? pq_op_info_of(rule->op)->name : "",
                       near.n > 0 ? "; a name of the model is '" : "",
                       PQ_STR_ARG(near), near.n > 0 ? "'" : "");
    }
    if (m->match_count > 0 && m->useful_count == 0 && !rule->is_optional) {
        pq_say(r->ctx, PTQC_SEVERITY_WARNING,
               "%.*s: rule '%.*s' matches only ops that stay float anyway",
               PQ_STR_ARG(rule->place), PQ_STR_ARG(rule->match));
    }
    return PTQC_OK;
}

static ptqc_status
bind_rule(pq_rules *r, const pq_graph *g, uint32_t i)
{
    pq_matcher m = {.rule = &r->rules[i], .has_regex = r->regex[i] != NULL};
    ptqc_status st = PTQC_OK;
    if (m.has_regex) {
        PQ_TRY_OR(done, pq_tok_matcher_init(&m.regex, r->ctx, r->regex[i],
                                            (pq_str){0}));
        m.regex.what = m.rule->place.p;
    }
    PQ_TRY_OR(done, bind_ops(r, g, i, &m));
    st = judge(r, g, &m);
done:
    if (m.has_regex) {
        pq_tok_matcher_deinit(&m.regex);
    }
    return st;
}

ptqc_status
pq_rules_bind(pq_rules *r, const pq_graph *g)
{
    pq_strmap_deinit(&r->bound);
    pq_arena_deinit(&r->names);
    pq_arena_init(&r->names, r->ctx);
    pq_strmap_init(&r->bound, r->ctx);
    for (uint32_t i = 0; i < r->count; i++) {
        PQ_TRY(bind_rule(r, g, i));
    }
    return PTQC_OK;
}

const pq_op_rule *
pq_rules_find(const pq_rules *r, pq_str name)
{
    uint64_t i;
    return r != NULL && pq_strmap_find(&r->bound, name, &i) ? &r->rules[i]
                                                            : NULL;
}
