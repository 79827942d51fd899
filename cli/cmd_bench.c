// SPDX-License-Identifier: Apache-2.0
//
// ptqc bench: latency of one run, with effective GB/s and GOPS, and the time
// of each step.

#include <stdlib.h>
#include <string.h>

#include "cli/feed.h"
#include "cli/lm.h"
#include "cli/subject.h"

typedef struct step_row {
    char label[96];
    uint64_t ns, ops, bytes;
} step_row;

typedef struct bench_row {
    uint32_t threads;
    double median_ms, min_ms, max_ms;
    uint64_t ops, bytes; // of one run
    step_row *steps;     // owned
    uint32_t step_count, step_room;
} bench_row;

static int
compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// ---- measuring ------------------------------------------------------------

static void
keep_step(void *user, const ptqc_profile_row *row)
{
    bench_row *out = user;
    if (out->step_count == out->step_room) {
        uint32_t room = out->step_room * 2 + 64;
        step_row *steps = realloc(out->steps, room * sizeof *steps);
        if (steps == NULL) {
            return;
        }
        out->steps = steps;
        out->step_room = room;
    }
    step_row *step = &out->steps[out->step_count++];
    *step = (step_row){.ns = row->ns, .ops = row->ops, .bytes = row->bytes};
    snprintf(step->label, sizeof step->label, "%s", row->label);
    out->ops += row->ops;
    out->bytes += row->bytes;
}

static ptqc_status
time_runs(cli *c, cli_subject *s, const cli_inputs *in, ptqc_tensor *out,
          bench_row *row)
{
    uint32_t outputs = ptqc_artifact_output_count(s->artifact);
    uint64_t warmup = cli_given(c, CLI_WARMUP)
                          ? (uint64_t)cli_get(c, CLI_WARMUP)->integer
                          : 3;
    uint64_t repeat = (uint64_t)cli_get(c, CLI_REPEAT)->integer;
    repeat = repeat == 0 ? 20 : repeat;
    uint64_t *ns = calloc(repeat, sizeof *ns);
    if (ns == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    ptqc_status st = PTQC_OK;
    for (uint64_t i = 0; i < warmup + repeat && st == PTQC_OK; i++) {
        memset(out, 0, outputs * sizeof *out);
        uint64_t start = cli_clock_ns();
        st = ptqc_session_run(s->session, in->tensors, in->count, out, outputs);
        if (i >= warmup) {
            ns[i - warmup] = cli_clock_ns() - start;
        }
    }
    qsort(ns, repeat, sizeof *ns, compare_u64);
    row->median_ms = (double)ns[repeat / 2] * 1e-6;
    row->min_ms = (double)ns[0] * 1e-6;
    row->max_ms = (double)ns[repeat - 1] * 1e-6;
    free(ns);
    if (st == PTQC_OK) {
        memset(out, 0, outputs * sizeof *out);
        st = ptqc_session_profile(s->session, in->tensors, in->count, out,
                                  outputs, keep_step, row);
    }
    return st;
}

static ptqc_status
measure(cli *c, bench_row *row)
{
    cli_subject s;
    cli_inputs in;
    ptqc_status st = cli_subject_open(c, c->args.operands[0], &s);
    if (st != PTQC_OK) {
        return st;
    }
    st = cli_given(c, CLI_INPUT) ? cli_inputs_read(c, s.artifact, &in)
                                 : cli_inputs_random(c, s.artifact, &in);
    if (st == PTQC_OK) {
        ptqc_tensor *out =
            calloc(ptqc_artifact_output_count(s.artifact) + 1, sizeof *out);
        st = out != NULL ? time_runs(c, &s, &in, out, row)
                         : cli_fail(c, PTQC_E_RESOURCE, "out of memory");
        free(out);
        cli_inputs_deinit(&in);
    }
    cli_subject_close(c, &s);
    return st;
}

// ---- printing -------------------------------------------------------------

static json_t *
row_json(const bench_row *row, bool has_profile)
{
    double s = row->median_ms * 1e-3;
    json_t *out = json_pack(
        "{s:s, s:f, s:f, s:f, s:i, s:f, s:f}", "test", "latency", "ms",
        row->median_ms, "min_ms", row->min_ms, "max_ms", row->max_ms, "threads",
        (int)row->threads, "gops", (double)row->ops / s * 1e-9, "gb_s",
        (double)row->bytes / s * 1e-9);
    if (has_profile) {
        json_t *steps = json_array();
        for (uint32_t i = 0; i < row->step_count; i++) {
            const step_row *step = &row->steps[i];
            json_array_append_new(
                steps,
                json_pack("{s:s, s:I, s:I, s:I}", "label", step->label, "ns",
                          (json_int_t)step->ns, "ops", (json_int_t)step->ops,
                          "bytes", (json_int_t)step->bytes));
        }
        json_object_set_new(out, "steps", steps);
    }
    return out;
}

static void
print_profile(const bench_row *row)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < row->step_count; i++) {
        total += row->steps[i].ns;
    }
    cli_print("\n  %-56s %9s %6s %8s %8s\n", "step", "us", "share", "GOPS",
              "GB/s");
    for (uint32_t i = 0; i < row->step_count; i++) {
        const step_row *s = &row->steps[i];
        double ns = s->ns > 0 ? (double)s->ns : 1;
        cli_print("  %-56s %9.1f %5.1f%% %8.1f %8.1f\n", s->label, ns * 1e-3,
                  100.0 * (double)s->ns / (double)(total > 0 ? total : 1),
                  (double)s->ops / ns, (double)s->bytes / ns);
    }
}

static void
print_row(const bench_row *row, bool has_profile)
{
    double s = row->median_ms * 1e-3;
    cli_print("| %3u | %9.3f | %9.3f | %9.3f | %8.1f | %7.1f |\n", row->threads,
              row->median_ms, row->min_ms, row->max_ms,
              (double)row->ops / s * 1e-9, (double)row->bytes / s * 1e-9);
    if (has_profile) {
        print_profile(row);
    }
}

// ---- all thread counts ----------------------------------------------------

static ptqc_status
check_options(cli *c)
{
    const cli_value *t = cli_get(c, CLI_BENCH_THREADS);
    for (uint32_t i = 0; i < t->number_count; i++) {
        if (!(t->numbers[i] >= 1 && t->numbers[i] <= 1024)) {
            return cli_fail(c, PTQC_E_USAGE,
                            "-t: expected thread counts from 1 to 1024");
        }
    }
    return PTQC_OK;
}

ptqc_status
cli_bench(cli *c)
{
    if (cli_given(c, CLI_PROMPT_TOKENS) || cli_given(c, CLI_N)) {
        return cli_bench_lm(c);
    }
    const cli_value *t = cli_get(c, CLI_BENCH_THREADS);
    bool is_json = cli_given(c, CLI_JSON), profile = cli_given(c, CLI_PROFILE);
    uint32_t counts = t->number_count > 0 ? t->number_count : 1;
    json_t *rows = json_array();
    ptqc_status st = check_options(c);
    if (st == PTQC_OK && !is_json) {
        cli_print("|   t | median ms |    min ms |    max ms |     GOPS |"
                  "    GB/s |\n|----:|----------:|----------:|----------:|"
                  "---------:|--------:|\n");
    }
    for (uint32_t i = 0; i < counts && st == PTQC_OK; i++) {
        bench_row row = {0};
        uint32_t threads = t->number_count > 0
                               ? (uint32_t)t->numbers[i]
                               : (uint32_t)cli_get(c, CLI_THREADS)->integer;
        ptqc_ctx_destroy(c->ctx);
        c->ctx = NULL;
        st = cli_make_ctx(c, threads);
        if (st == PTQC_OK) {
            row.threads = ptqc_ctx_threads(c->ctx);
            st = measure(c, &row);
        }
        if (st == PTQC_OK && is_json) {
            json_array_append_new(rows, row_json(&row, profile));
        } else if (st == PTQC_OK) {
            print_row(&row, profile);
        }
        free(row.steps);
    }
    if (st != PTQC_OK || !is_json) {
        json_decref(rows);
        return st == PTQC_OK ? cli_finish_output(c) : st;
    }
    return cli_print_json(c, json_pack("{s:s, s:s, s:o}", "schema",
                                       "ptqc.bench/1", "subject",
                                       c->args.operands[0], "rows", rows));
}
