// SPDX-License-Identifier: Apache-2.0
//
// The board as text or JSON.
#include <stdio.h>

#include "base/json.h"
#include "tools/conform/conform.h"

static const char *const verdict_names[] = {[PQ_NOT_RUN] = "NOT RUN",
                                            [PQ_PASS] = "PASS",
                                            [PQ_UNSUPPORTED] = "UNSUPPORTED",
                                            [PQ_WARN] = "WARN",
                                            [PQ_FAIL] = "FAIL"};

static const char *const part_names[PQ_PART_COUNT] = {
    [PQ_PART_FILE] = "file",       [PQ_PART_START] = "start",
    [PQ_PART_PROCESS] = "process", [PQ_PART_MEMORY] = "memory",
    [PQ_PART_SUBMIT] = "submit",   [PQ_PART_DECLINED] = "declined"};

typedef struct pq_totals {
    uint32_t passed, failed, unsupported, warned;
    uint64_t executed, declined;
} pq_totals;

static void
count(pq_totals *t, const pq_result *r)
{
    t->passed += r->verdict == PQ_PASS;
    t->failed += r->verdict == PQ_FAIL;
    t->unsupported += r->verdict == PQ_UNSUPPORTED;
    t->warned += r->verdict == PQ_WARN;
    t->executed += r->executed;
    t->declined += r->declined;
}

static pq_totals
count_all(const pq_board *b)
{
    pq_totals t = {0};
    for (uint32_t i = 0; i < PQ_PART_COUNT; i++) {
        count(&t, &b->parts[i]);
    }
    for (uint32_t i = 0; i < b->rule_count; i++) {
        count(&t, &b->rules[i]);
    }
    return t;
}

static void
print_text(const pq_options *o, const pq_board *b, const pq_totals *t)
{
    printf("%s, ABI %u, target %s, device %s\n", b->plugin, PTQC_ABI_VERSION,
           b->target, b->device);
    for (uint32_t i = 0; i < PQ_PART_COUNT; i++) {
        if (b->parts[i].verdict != PQ_NOT_RUN) {
            printf("%-11s %s: %s\n", verdict_names[b->parts[i].verdict],
                   part_names[i], b->parts[i].text);
        }
    }
    for (uint32_t i = 0; i < b->rule_count; i++) {
        const pq_result *r = &b->rules[i];
        if (o->is_list) {
            printf("%4u %s\n", i + 1, r->name);
        } else if (r->verdict != PQ_NOT_RUN) {
            printf("%-11s rule %u %s: %s\n", verdict_names[r->verdict], i + 1,
                   r->name, r->text);
        }
    }
    if (!o->is_list) {
        printf("%u passed, %u failed, %u unsupported, %u warnings; %llu trials "
               "run, %llu declined\n",
               t->passed, t->failed, t->unsupported, t->warned,
               (unsigned long long)t->executed,
               (unsigned long long)t->declined);
    }
}

static void
write_result(pq_json_writer *w, const pq_result *r, const char *name)
{
    pq_jw_begin_object(w, NULL);
    pq_jw_str(w, "name", pq_str_of(name));
    pq_jw_str(w, "verdict", pq_str_of(verdict_names[r->verdict]));
    pq_jw_i64(w, "executed", r->executed);
    pq_jw_i64(w, "declined", r->declined);
    pq_jw_str(w, "text", pq_str_of(r->text));
    pq_jw_end_object(w);
}

static void
print_json(ptqc_ctx *ctx, const pq_board *b, const pq_totals *t)
{
    pq_strbuf out;
    pq_json_writer w;
    pq_strbuf_init(&out, ctx);
    pq_jw_init(&w, &out);
    pq_jw_begin_object(&w, NULL);
    pq_jw_str(&w, "plugin", pq_str_of(b->plugin));
    pq_jw_i64(&w, "abi", PTQC_ABI_VERSION);
    pq_jw_str(&w, "target", pq_str_of(b->target));
    pq_jw_str(&w, "device", pq_str_of(b->device));
    pq_jw_begin_array(&w, "parts");
    for (uint32_t i = 0; i < PQ_PART_COUNT; i++) {
        write_result(&w, &b->parts[i], part_names[i]);
    }
    pq_jw_end_array(&w);
    pq_jw_begin_array(&w, "rules");
    for (uint32_t i = 0; i < b->rule_count; i++) {
        write_result(&w, &b->rules[i], b->rules[i].name);
    }
    pq_jw_end_array(&w);
    pq_jw_i64(&w, "passed", t->passed);
    pq_jw_i64(&w, "failed", t->failed);
    pq_jw_i64(&w, "unsupported", t->unsupported);
    pq_jw_i64(&w, "warnings", t->warned);
    pq_jw_end_object(&w);
    printf("%s\n", out.failed ? "{}" : out.p);
    pq_strbuf_deinit(&out);
}

int
pq_report(const pq_options *o, const pq_board *board)
{
    pq_totals t = count_all(board);
    ptqc_ctx *ctx = NULL;
    if (o->is_json && ptqc_ctx_create(NULL, &ctx) == PTQC_OK) {
        print_json(ctx, board, &t);
        ptqc_ctx_destroy(ctx);
    } else {
        print_text(o, board, &t);
    }
    return t.failed > 0 ? 1 : 0;
}
