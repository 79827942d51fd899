// SPDX-License-Identifier: Apache-2.0
//
// Opening targets and collecting their rules.

#include "compiler/targets.h"

#include <string.h>

#include "base/vec.h"

// ---- target names ---------------------------------------------------------

typedef struct pq_target_search {
    pq_str wanted;
    bool found;
    pq_strbuf *known; // "cpu, cpu;avx2"
} pq_target_search;

static ptqc_be_status
look_at_target(void *user, const ptqc_hdr *record)
{
    pq_target_search *search = user;
    if (record->type == PTQC_REC_TARGET) {
        ptqc_target t;
        pq_record_read(&t, sizeof t, record);
        pq_str name = {t.name.p, t.name.n};
        search->found |= pq_str_equal(name, search->wanted);
        pq_strbuf_addf(search->known, "%s%.*s",
                       search->known->n > 0 ? ", " : "", PQ_STR_ARG(name));
    }
    return PTQC_BE_OK;
}

static ptqc_status
check_target(pq_targets *t, const pq_target *target)
{
    pq_strbuf known;
    pq_strbuf_init(&known, t->ctx);
    pq_target_search search = {.wanted = target->text.target, .known = &known};
    ptqc_sink sink = {.emit = look_at_target, .user = &search};
    ptqc_call call;
    pq_call_init(&call, t->ctx, target->plugin);
    ptqc_status st = pq_call_end(&call,
                                 target->plugin->table->vt->targets(
                                     &call, target->plugin->instance, &sink),
                                 "list targets");
    if (st == PTQC_OK && !search.found) {
        st = PQ_FAIL(t->ctx, PTQC_E_USAGE, "target '%.*s': plugin %s has %s",
                     PQ_STR_ARG(target->text.target), target->plugin->name,
                     known.n > 0 ? known.p : "no targets");
    }
    pq_strbuf_deinit(&known);
    return st;
}

static ptqc_status
no_such_plugin(pq_targets *t, pq_str name)
{
    pq_strbuf names;
    pq_strbuf_init(&names, t->ctx);
    for (uint32_t i = 0; i < pq_plugins_count(t->plugins); i++) {
        pq_strbuf_addf(&names, "%s%s", i > 0 ? ", " : "",
                       pq_plugins_at(t->plugins, i)->name);
    }
    ptqc_status st = PQ_FAIL(t->ctx, PTQC_E_USAGE,
                             "target '%.*s': no such backend; there are: %s",
                             PQ_STR_ARG(name), names.n > 0 ? names.p : "none");
    pq_strbuf_deinit(&names);
    return st;
}

static bool
has_plugin(const pq_targets *t, pq_str name)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (pq_str_equal(t->all[i].text.plugin, name)) {
            return true;
        }
    }
    return false;
}

static ptqc_status
add_target(pq_targets *t, pq_str text, bool is_asked)
{
    pq_target target = {.given = text, .is_asked = is_asked, .is_exact = true};
    PQ_TRY(pq_target_parse(t->ctx, text, &target.text));
    target.plugin = pq_plugins_find(t->plugins, target.text.plugin);
    if (target.plugin == NULL) {
        return is_asked ? no_such_plugin(t, target.text.plugin) : PTQC_OK;
    }
    if (t->count == PQ_TARGET_LIMIT) {
        return PQ_FAIL(t->ctx, PTQC_E_USAGE, "more than %u targets",
                       PQ_TARGET_LIMIT);
    }
    PQ_TRY(pq_plugin_load(t->plugins, target.plugin));
    PQ_TRY(check_target(t, &target));
    t->all[t->count++] = target;
    return PTQC_OK;
}

// What an asked target declines goes to cpu, finally to ref.
static ptqc_status
add_fallbacks(pq_targets *t)
{
    static const char *const names[] = {"cpu", "ref"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pq_str name = pq_str_of(names[i]);
        if (!has_plugin(t, name)) {
            PQ_TRY(add_target(t, name, false));
        }
    }
    return PTQC_OK;
}

// ---- rules ----------------------------------------------------------------

typedef struct pq_rule_sink {
    pq_targets *t;
    uint32_t target;
    pq_caps_rule *rules; // owned while collecting
    uint32_t count, capacity;
    ptqc_status st;
} pq_rule_sink;

static pq_caps_operand
read_operand(const ptqc_rule *rule, uint32_t i)
{
    ptqc_operand_rule o;
    uint32_t stride = rule->operand_stride != 0
                          ? rule->operand_stride
                          : (uint32_t)sizeof(ptqc_operand_rule);
    pq_record_read(&o, sizeof o,
                   (const ptqc_hdr *)((const uint8_t *)rule->operands +
                                      (size_t)i * stride));
    pq_caps_operand out = {
        .is_output = o.role == PTQC_ROLE_OUTPUT,
        .index = o.index,
        .dtypes = o.dtypes,
        .granularities = o.granularities,
        .is_optional = (o.flags & PTQC_OPERAND_OPTIONAL) != 0,
        .needs_constant = (o.flags & PTQC_OPERAND_CONSTANT) != 0,
        .needs_symmetric = (o.flags & PTQC_OPERAND_SYMMETRIC) != 0};
    memcpy(out.group_sizes, o.group_sizes, sizeof out.group_sizes);
    return out;
}

static ptqc_status
keep_rule(pq_rule_sink *sink, const ptqc_rule *rule)
{
    pq_opcode code;
    if (!pq_opcode_parse(rule->op.p, rule->op.n, &code)) {
        return PTQC_OK; // an op this ptqc does not have
    }
    pq_caps_operand *operands =
        pq_arena_array(&sink->t->arena, rule->operand_count, sizeof *operands);
    PQ_TRY_ALLOC(operands);
    for (uint32_t i = 0; i < rule->operand_count; i++) {
        operands[i] = read_operand(rule, i);
    }
    if (rule->numerics != PTQC_NUMERICS_BIT_EXACT) {
        sink->t->all[sink->target].is_exact = false;
    }
    void *rules = sink->rules;
    PQ_TRY(pq_vec_reserve(sink->t->ctx, &rules, &sink->capacity,
                          (size_t)sink->count + 1, sizeof *sink->rules));
    sink->rules = rules;
    sink->rules[sink->count++] =
        (pq_caps_rule){.op = code,
                       .target = sink->target,
                       .operands = operands,
                       .operand_count = rule->operand_count,
                       .rank_min = rule->rank_min,
                       .rank_max = rule->rank_max};
    return PTQC_OK;
}

static ptqc_be_status
take_rule(void *user, const ptqc_hdr *record)
{
    pq_rule_sink *sink = user;
    if (sink->st == PTQC_OK && record->type == PTQC_REC_RULE) {
        ptqc_rule rule;
        pq_record_read(&rule, sizeof rule, record);
        sink->st = keep_rule(sink, &rule);
    }
    return sink->st == PTQC_OK ? PTQC_BE_OK : PTQC_BE_RESOURCE;
}

static ptqc_status
collect_rules(pq_targets *t)
{
    pq_rule_sink sink = {.t = t};
    ptqc_sink be_sink = {.emit = take_rule, .user = &sink};
    ptqc_status st = PTQC_OK;
    for (uint32_t i = 0; i < t->count && st == PTQC_OK; i++) {
        const pq_target *target = &t->all[i];
        ptqc_call call;
        sink.target = i;
        pq_call_init(&call, t->ctx, target->plugin);
        ptqc_str text = {target->text.target.p, target->text.target.n};
        ptqc_be_status answer = target->plugin->table->vt->rules(
            &call, target->plugin->instance, text, &be_sink);
        st = sink.st != PTQC_OK ? sink.st
                                : pq_call_end(&call, answer, "list rules");
    }
    if (st == PTQC_OK) {
        t->caps.rules = pq_arena_memdup(&t->arena, sink.rules,
                                        sink.count * sizeof *sink.rules);
        t->caps.rule_count = sink.count;
        st = t->caps.rules == NULL ? PTQC_E_RESOURCE : PTQC_OK;
    }
    pq_free(t->ctx, sink.rules);
    return st;
}

// ---- all ------------------------------------------------------------------

static ptqc_status
choose_runner(pq_targets *t)
{
    pq_strbuf text;
    pq_strbuf_init(&text, t->ctx);
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->all[i].is_asked && t->all[i].is_exact) {
            pq_strbuf_addf(&text, "%s%.*s", text.n > 0 ? "," : "",
                           PQ_STR_ARG(t->all[i].given));
        }
    }
    if (text.n == 0) {
        pq_strbuf_add_z(&text, "cpu");
    }
    t->runner =
        text.failed ? NULL : pq_arena_strndup(&t->arena, text.p, text.n);
    pq_strbuf_deinit(&text);
    PQ_TRY_ALLOC(t->runner);
    return PTQC_OK;
}

static ptqc_status
open_all(pq_targets *t, const char *text, const ptqc_backend_dirs *dirs)
{
    const char *given = text == NULL || text[0] == '\0' ? "cpu" : text;
    pq_str rest = pq_str_of(pq_arena_strndup(&t->arena, given, strlen(given)));
    PQ_TRY_ALLOC(rest.p);
    PQ_TRY(pq_plugins_create(t->ctx, dirs, &t->plugins));
    while (rest.n > 0) {
        pq_str part;
        (void)pq_str_split(rest, ',', &part, &rest);
        PQ_TRY(add_target(t, part, true));
    }
    PQ_TRY(add_fallbacks(t));
    PQ_TRY(collect_rules(t));
    return choose_runner(t);
}

ptqc_status
pq_targets_open(ptqc_ctx *ctx, const char *text, const ptqc_backend_dirs *dirs,
                pq_targets *out)
{
    *out = (pq_targets){.ctx = ctx};
    pq_arena_init(&out->arena, ctx);
    ptqc_status st = open_all(out, text, dirs);
    if (st != PTQC_OK) {
        pq_targets_close(out);
    }
    return st;
}

void
pq_targets_close(pq_targets *t)
{
    pq_plugins_destroy(t->plugins);
    if (t->ctx != NULL) {
        pq_arena_deinit(&t->arena);
    }
    *t = (pq_targets){0};
}
