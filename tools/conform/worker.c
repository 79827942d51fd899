// SPDX-License-Identifier: Apache-2.0
//
// The child process that has the plugin loaded: goes through the rules from
// where the last child stopped and writes on the shared board.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/conform/conform.h"

// ---- a counting context ---------------------------------------------------

static void *
counting_alloc(void *user, size_t bytes)
{
    uint64_t *count = user;
    __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
    return malloc(bytes);
}

static void
counting_free(void *user, void *p)
{
    (void)user;
    free(p);
}

typedef struct pq_last_error {
    char text[PQ_KIT_TEXT];
} pq_last_error;

static void
keep_error(void *user, ptqc_severity severity, ptqc_status status,
           const char *text)
{
    pq_last_error *last = user;
    (void)status;
    if (severity == PTQC_SEVERITY_ERROR) {
        snprintf(last->text, sizeof last->text, "%s", text);
    }
}

// ---- rules ----------------------------------------------------------------

static void
judge(const pq_subject *s, pq_result *r)
{
    if (r->verdict == PQ_FAIL || r->executed > 0) {
        pq_result_say(r, PQ_PASS, "%u run, %u declined", r->executed,
                      r->declined);
    } else if (s->device[0] == '\0') {
        pq_result_say(r, PQ_UNSUPPORTED, "no usable device");
    } else {
        pq_result_say(r, PQ_FAIL, "no trial could be run (%u declined)",
                      r->declined);
    }
}

static bool
is_first_of_op(const pq_subject *s, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++) {
        if (s->rules[i].op == s->rules[index].op) {
            return false;
        }
    }
    return true;
}

static void
try_rule(const pq_options *o, pq_subject *s, uint32_t index, pq_board *board)
{
    const pq_kit_rule *rule = &s->rules[index];
    pq_result *r = &board->rules[index];
    if (pq_kit_case_count(rule->op) == 0) {
        pq_result_say(r, PQ_UNSUPPORTED, "the kit has no cases for the op");
        return;
    }
    uint32_t n = pq_instance_count(rule, o->samples);
    bool with_damage = is_first_of_op(s, index);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t executed = r->executed;
        (void)alarm(o->seconds);
        pq_trial(s, rule, k, board, r, with_damage);
        with_damage = with_damage && r->executed == executed;
    }
    judge(s, r);
}

// ---- what no rule admits --------------------------------------------------

// For every op: plain f32 operands. What check declines, compile refuses.
static void
try_beyond_rules(const pq_options *o, pq_subject *s, pq_board *board)
{
    for (unsigned op = PQ_OP_NONE + 1; op < PQ_OP_COUNT; op++) {
        pq_kit_rule rule = {.op = (pq_opcode)op, .tolerance = 1e-3f};
        for (uint32_t i = 0; i < 8; i++) {
            bool is_index =
                i == 1 && (op == PQ_OP_GATHER || op == PQ_OP_GATHER_ELEMENTS ||
                           op == PQ_OP_GATHER_ND);
            rule.operands[rule.operand_count++] = (pq_kit_operand){
                .index = i,
                .dtypes = PTQC_DTYPE_BIT(is_index ? PTQC_I64 : PTQC_F32),
                .flags = PTQC_OPERAND_OPTIONAL};
        }
        pq_result ignored = {0};
        (void)alarm(o->seconds);
        pq_trial(s, &rule, 0, board, &ignored, false);
    }
    pq_result_say(&board->parts[PQ_PART_DECLINED], PQ_PASS,
                  "what check declines, compile refuses");
}

static bool
is_wanted(const pq_options *o, uint32_t index)
{
    return (o->only_rule == 0 || o->only_rule == index + 1) &&
           (o->parts == 0 || index % o->parts + 1 == o->part);
}

// ---- the worker -----------------------------------------------------------

static void
say_who(pq_subject *s, pq_board *board)
{
    const ptqc_plugin *t = s->plugin->table;
    snprintf(board->plugin, sizeof board->plugin, "%.*s %.*s", (int)t->name.n,
             t->name.p, (int)t->version.n, t->version.p);
    snprintf(board->target, sizeof board->target, "%s", s->target);
    snprintf(board->device, sizeof board->device, "%s",
             s->device[0] != '\0' ? s->device : "none usable");
    board->rule_count = s->rule_count;
    for (uint32_t i = 0; i < s->rule_count; i++) {
        pq_kit_rule_print(s->ctx, &s->rules[i], board->rules[i].name,
                          sizeof board->rules[i].name);
    }
}

static void
check_process(const pq_process *before, pq_board *board, const char *when)
{
    pq_process now;
    pq_process_take(&now);
    const char *what = pq_process_differs(before, &now);
    if (what != NULL) {
        pq_result_say(&board->parts[PQ_PART_PROCESS], PQ_FAIL,
                      "it changes %s (%s)", what, when);
    }
}

static void
try_all(const pq_options *o, pq_subject *s, const pq_process *before,
        pq_board *board)
{
    while (board->next_rule < s->rule_count && !o->is_list) {
        uint32_t index = board->next_rule;
        if (is_wanted(o, index)) {
            try_rule(o, s, index, board);
            check_process(before, board, board->rules[index].name);
        }
        board->next_rule = index + 1;
    }
    if (!o->is_list && o->only_rule == 0) {
        try_beyond_rules(o, s, board);
    }
    check_process(before, board, "after all");
}

static void
start(const pq_options *o, pq_subject *s, const pq_process *before,
      const pq_last_error *last, pq_board *board)
{
    pq_result *r = &board->parts[PQ_PART_START];
    ptqc_status st = pq_plugins_create(s->ctx, NULL, &s->set);
    if (st == PTQC_OK) {
        st = pq_plugins_add_file(s->set, o->path, &s->plugin);
    }
    if (st == PTQC_OK) {
        st = pq_subject_open(s, o->target);
    }
    if (st != PTQC_OK) {
        pq_result_say(r, PQ_FAIL, "%s", last->text);
        return;
    }
    say_who(s, board);
    check_process(before, board, "loading");
    if (s->complaint[0] != '\0') {
        pq_result_say(r, PQ_FAIL, "%s", s->complaint);
    }
    pq_result_say(r, PQ_PASS, "targets, devices and %u rules are well-formed",
                  s->rule_count);
    board->has_started = 1;
    try_all(o, s, before, board);
}

void
pq_worker(const pq_options *o, pq_board *board)
{
    uint64_t allocations = 0;
    pq_last_error last = {""};
    const ptqc_ctx_desc desc = {.alloc = counting_alloc,
                                .free = counting_free,
                                .alloc_user = &allocations,
                                .diag = keep_error,
                                .diag_user = &last,
                                .cache_dir = o->cache_dir,
                                .threads = 2};
    pq_subject s = {.allocations = &allocations};
    pq_process before;
    if (ptqc_ctx_create(&desc, &s.ctx) != PTQC_OK) {
        pq_result_say(&board->parts[PQ_PART_START], PQ_FAIL, "no memory");
        return;
    }
    (void)pq_ctx_pool(s.ctx); // made at first use: not the plugin's memory
    pq_process_take(&before);
    uint64_t live = pq_live_bytes(s.ctx);
    start(o, &s, &before, &last, board);
    pq_free(s.ctx, s.rules);
    pq_plugins_destroy(s.set);
    uint64_t left = pq_live_bytes(s.ctx) - live;
    if (board->has_started != 0 && left != 0) {
        pq_result_say(&board->parts[PQ_PART_MEMORY], PQ_FAIL,
                      "%llu bytes of the host are not given back",
                      (unsigned long long)left);
    }
    pq_result_say(&board->parts[PQ_PART_MEMORY], PQ_PASS,
                  "all memory is given back");
    pq_result_say(&board->parts[PQ_PART_PROCESS], PQ_PASS,
                  "signals, FP control, environment, directory untouched");
    pq_result_say(&board->parts[PQ_PART_SUBMIT], PQ_PASS,
                  "submit allocates nothing");
    ptqc_ctx_destroy(s.ctx);
    board->has_ended = 1;
}
