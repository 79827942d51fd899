// SPDX-License-Identifier: Apache-2.0
//
// Passes that only look at samples (calibrate, correct-bias, clip-dead) with
// checkpoints: cut off anywhere, resumed, the graph and the statistics of an
// uninterrupted run, and no sample asked for twice by a piece that was done.
// Damaged units are done again, hostile ones are one error.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bits.h"
#include "ir/text.h"
#include "passes/calib/checkpoint.h"
#include "passes/calib/stats.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"
#include "tests/unit/passes/pass_test.h"

enum {
    WIDTH = 8,
    TOKENS = 6,
    SAMPLES = 5,
    PIECES = 3, // the inputs of a, b and c
};

static const char body[] =
    "input %x: f32[6, 8]\n"
    "%wa: f32[8, 8] = c1\n%wb: f32[8, 8] = c2\n%wc: f32[8, 8] = c3\n"
    "%a: f32[6, 8] = matmul \"a\"(%x, %wa) {act = relu, trans_b = 1}\n"
    "%b: f32[6, 8] = matmul \"b\"(%a, %wb) {act = relu, trans_b = 1}\n"
    "%s: f32[6, 8] = add \"s\"(%a, %b)\n"
    "%c: f32[6, 8] = matmul \"c\"(%s, %wc) {trans_b = 1}\n"
    "%y: f32[6, 8] = add \"y\"(%c, %b)\n"
    "output %y\n";

static pq_graph *
make_graph(ptqc_ctx *ctx)
{
    pq_test_random r = pq_test_random_seed(3);
    pq_graph *g = NULL;
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    pq_strbuf_add_z(&text, "ptir 1\ngraph \"net\" stage float\n");
    for (int c = 1; c <= 3; c++) {
        pq_strbuf_addf(&text, "const c%d: f32[8, 8] = [", c);
        for (int i = 0; i < WIDTH * WIDTH; i++) {
            // A row of a that is never positive: a dead input of b.
            double x = (double)pq_test_random_f32(&r, -1, 1);
            x = c == 1 && i / WIDTH == 2 ? 0 : x;
            pq_strbuf_addf(&text, "%s%.4f", i > 0 ? ", " : "", x);
        }
        pq_strbuf_add_z(&text, "]\n");
    }
    pq_strbuf_add_z(&text, body);
    assert_int_equal(pq_graph_parse(ctx, "test", (pq_str){text.p, text.n}, &g),
                     PTQC_OK);
    pq_strbuf_deinit(&text);
    return g;
}

typedef struct source {
    float x[TOKENS * WIDTH];
    uint64_t calls, limit; // PTQC_E_CANCELLED after `limit` calls; 0: never
    uint64_t stop_at;      // ptqc_ctx_stop at this call; 0: never
    ptqc_ctx *ctx;
} source;

static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    source *s = user;
    if (index >= SAMPLES || count != 1) {
        return PTQC_NO;
    }
    s->calls++;
    if (s->limit > 0 && s->calls > s->limit) {
        return PTQC_E_CANCELLED;
    }
    if (s->calls == s->stop_at) {
        ptqc_ctx_stop(s->ctx);
    }
    pq_test_random r = pq_test_random_seed(100 + index);
    pq_test_fill_normal(&r, s->x, TOKENS * WIDTH, 1);
    tensors[0] = (pq_tensor){.dtype = PTQC_F32,
                             .rank = 2,
                             .dims = {TOKENS, WIDTH},
                             .p = s->x,
                             .bytes = sizeof s->x};
    return PTQC_OK;
}

typedef struct setting {
    const char *work_dir;
    bool has_stats; // are kept
    bool is_sequential;
    uint64_t limit, stop_at;
} setting;

typedef struct result {
    ptqc_status st;
    uint64_t calls;
    pq_calib_facts facts;
    char *text; // owned: the graph, then the statistics; NULL when it failed
} result;

static char *
print(ptqc_ctx *ctx, pq_graph *g, const pq_stats *stats)
{
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    assert_int_equal(pq_graph_print(g, 0, &text), PTQC_OK);
    if (stats != NULL) {
        pq_stats_print(stats, &text);
    }
    char *copy = strndup(text.p, text.n);
    pq_strbuf_deinit(&text);
    return copy;
}

static result
run_in(ptqc_ctx *ctx, const setting *s)
{
    static const char *const passes[] = {"assign-schemes", "clip-dead",
                                         "calibrate",      "propagate-params",
                                         "scale-weights",  "correct-bias"};
    static const pq_sha256 fingerprint = {{8}};
    result r = {0};
    source src = {.limit = s->limit, .stop_at = s->stop_at, .ctx = ctx};
    const pq_samples samples = {.get = get_sample, .user = &src};
    pq_recipe recipe;
    pq_stats *stats = NULL;
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    pq_recipe_init(&recipe);
    recipe.has_scheme = true;
    recipe.bias_correction =
        s->is_sequential ? PQ_BIAS_SEQUENTIAL : PQ_BIAS_EMPIRICAL;
    assert_int_equal(pq_scheme_parse(ctx, PQ_STR("w8a8:t"), &recipe.scheme),
                     PTQC_OK);
    if (s->has_stats) {
        assert_int_equal(pq_stats_create(ctx, &stats), PTQC_OK);
    }
    pq_graph *g = make_graph(ctx);
    pq_pass_env env = {.scratch = &scratch,
                       .recipe = &recipe,
                       .samples = &samples,
                       .make_runner = pq_interp_make,
                       .runner_user = ctx,
                       .work_dir = s->work_dir,
                       .fingerprint = &fingerprint,
                       .calib_facts = &r.facts,
                       .stats_out = stats};
    r.st =
        pq_pipeline_run(&g, &env, passes, sizeof passes / sizeof *passes, NULL);
    r.calls = src.calls;
    r.text = r.st == PTQC_OK ? print(ctx, g, stats) : NULL;
    pq_graph_destroy(g);
    pq_stats_destroy(stats);
    pq_recipe_deinit(&recipe);
    pq_arena_deinit(&scratch);
    return r;
}

static result
run(const setting *s, uint32_t threads, pq_test_sink *sink)
{
    ptqc_ctx *ctx = pq_test_ctx_create(sink, NULL, threads);
    assert_true(threads == 1 || pq_ctx_pool(ctx) != NULL);
    uint64_t before = pq_live_bytes(ctx);
    result r = run_in(ctx, s);
    assert_int_equal(pq_live_bytes(ctx), before);
    ptqc_ctx_destroy(ctx);
    return r;
}

static void
expect(const setting *s, uint32_t threads, const result *expected,
       uint64_t calls)
{
    pq_test_sink sink = {0};
    result r = run(s, threads, &sink);
    assert_int_equal(r.st, PTQC_OK);
    assert_string_equal(r.text, expected->text);
    assert_memory_equal(&r.facts, &expected->facts, sizeof r.facts);
    assert_int_equal(r.calls, calls);
    free(r.text);
}

// Three passes of PIECES each look: cut off after any number of samples.
static void
test_resume(void **state)
{
    (void)state;
    const setting whole = {.has_stats = false};
    result expected[2] = {run(&whole, 1, NULL),
                          run(&(setting){.has_stats = true}, 1, NULL)};
    assert_int_equal(expected[0].calls, 3 * SAMPLES); // the graph at once
    assert_non_null(strstr(expected[0].text, "quant"));
    for (uint64_t limit = 1; limit < 3 * PIECES * SAMPLES; limit += 2) {
        pq_test_sink sink = {0};
        pq_test_folder folder;
        pq_test_folder_create(&folder);
        setting s = {.work_dir = folder.path,
                     .has_stats = limit % 4 == 1,
                     .limit = limit};
        result cut = run(&s, 2, &sink);
        const result *e = &expected[s.has_stats];
        assert_int_equal(cut.st, PTQC_E_CANCELLED);
        s.limit = 0;
        expect(&s, 1 + (uint32_t)limit % 3, e,
               3 * PIECES * SAMPLES - limit / SAMPLES * SAMPLES);
        expect(&s, 1, e, 0); // all of it was there
        assert_int_equal(pq_test_folder_count(&folder), 3 * PIECES);
        pq_test_folder_remove(&folder);
    }
    free(expected[0].text);
    free(expected[1].text);
}

// The same of the bias corrections that follow one another.
static void
test_sequence(void **state)
{
    (void)state;
    setting s = {.is_sequential = true};
    result expected = run(&s, 1, NULL);
    const uint64_t first = 3 * PIECES * SAMPLES; // of the sequence's samples
    for (uint64_t limit = first + 1; limit < first + PIECES * SAMPLES;
         limit += 3) {
        pq_test_sink sink = {0};
        pq_test_folder folder;
        pq_test_folder_create(&folder);
        s.work_dir = folder.path;
        s.limit = limit;
        assert_int_equal(run(&s, 2, &sink).st, PTQC_E_CANCELLED);
        s.limit = 0;
        expect(&s, 1 + (uint32_t)limit % 3, &expected,
               first + PIECES * SAMPLES - limit / SAMPLES * SAMPLES);
        expect(&s, 1, &expected, 0);
        pq_test_folder_remove(&folder);
    }
    free(expected.text);
}

// Who asks to stop gets the piece at hand finished and kept.
static void
test_stop(void **state)
{
    (void)state;
    pq_test_folder folder;
    pq_test_sink sink = {0};
    result expected = run(&(setting){.limit = 0}, 1, NULL);
    pq_test_folder_create(&folder);
    setting s = {.work_dir = folder.path,
                 .stop_at = PIECES * SAMPLES + SAMPLES + 2};
    assert_int_equal(run(&s, 1, &sink).st, PTQC_E_CANCELLED);
    assert_non_null(strstr(sink.text, "calibrate: stopped after piece 2 of 3"));
    s.stop_at = 0;
    expect(&s, 2, &expected, (2 * PIECES - 2) * SAMPLES);
    pq_test_folder_remove(&folder);
    free(expected.text);
}

// Statistics ask for more than a compile without: each has its own units.
static void
test_statistics_later(void **state)
{
    (void)state;
    pq_test_folder folder;
    result expected = run(&(setting){.has_stats = true}, 1, NULL);
    pq_test_folder_create(&folder);
    setting s = {.work_dir = folder.path};
    free(run(&s, 1, NULL).text);
    s.has_stats = true;
    expect(&s, 1, &expected, PIECES * SAMPLES);
    pq_test_folder_remove(&folder);
    free(expected.text);
}

static void
flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    int byte = fgetc(f);
    if (byte != EOF) {
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        fputc(byte ^ 1, f);
    }
    assert_int_equal(fclose(f), 0);
}

// A damaged unit and those after it are done again; what was learned by the
// ones before it is not learned twice.
static void
test_damaged(void **state)
{
    (void)state;
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    result expected = run(&(setting){.limit = 0}, 1, NULL);
    for (long at = 48; at < 800; at += 29) {
        pq_test_sink sink = {0};
        pq_test_folder_create(&folder);
        setting s = {.work_dir = folder.path};
        free(run(&s, 1, NULL).text);
        pq_test_folder_path(&folder, "calibrate-00002.unit", path);
        flip(path, at);
        result r = run(&s, 1, &sink);
        assert_int_equal(r.st, PTQC_OK);
        assert_string_equal(r.text, expected.text);
        assert_memory_equal(&r.facts, &expected.facts, sizeof r.facts);
        assert_true(r.calls == 0 || r.calls == PIECES * SAMPLES);
        free(r.text);
        pq_test_folder_remove(&folder);
    }
    free(expected.text);
}

static ptqc_status
run_hostile(const char *note, size_t n, pq_test_sink *sink)
{
    pq_test_folder folder;
    pq_test_sink_clear(sink);
    ptqc_ctx *ctx = pq_test_ctx_create(sink, NULL, 1);
    pq_test_folder_create(&folder);
    const setting s = {.work_dir = folder.path};
    const pq_checkpoint c = {.ctx = ctx,
                             .dir = folder.path,
                             .pass = "calibrate",
                             .fingerprint = {{8}}};
    const pq_unit_weight unit = {.note = {note, n}};
    assert_int_equal(pq_unit_write(&c, 0, &unit, 1), PTQC_OK);
    result r = run_in(ctx, &s);
    free(r.text);
    pq_test_folder_remove(&folder);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
    return r.st;
}

// The note of a real unit: of piece 0, the input x.
static size_t
real_note(char *out, size_t room)
{
    pq_test_folder folder;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_test_folder_create(&folder);
    const setting s = {.work_dir = folder.path};
    const pq_checkpoint c = {.ctx = ctx,
                             .dir = folder.path,
                             .pass = "calibrate",
                             .fingerprint = {{8}}};
    pq_unit_weight unit = {.scale_count = 0};
    pq_map map;
    free(run(&s, 1, NULL).text);
    assert_int_equal(pq_unit_read(&c, 0, &unit, 1, &map), PTQC_OK);
    size_t n = unit.note.n;
    assert_true(n > 16 && n < room);
    memcpy(out, unit.note.p, n);
    pq_map_close(&map);
    pq_test_folder_remove(&folder);
    ptqc_ctx_destroy(ctx);
    return n;
}

// Right hashes over what cannot have been written.
static void
test_hostile(void **state)
{
    (void)state;
    static char note[1 << 18];
    pq_test_sink sink = {0};
    size_t n = real_note(note, sizeof note);
    assert_int_equal(run_hostile(note, n, &sink), PTQC_OK);
    for (size_t less = 1; less < n; less += n / 16) {
        assert_int_equal(run_hostile(note, n - less, &sink), PTQC_E_USAGE);
        assert_non_null(strstr(sink.text, "does not hold what it should"));
    }
    static const struct {
        size_t from_end; // of the histogram's width, bins apart
        uint64_t x;
    } cases[] = {
        {40, 0x7f800000}, {40, 0xbf800000}, {32, (uint64_t)-1}, {32, 1u << 30}};
    // width, first, count, zeros, others, bins
    size_t bins = 0;
    for (size_t at = 16; at + 36 < n && bins == 0; at++) {
        uint64_t count = pq_load_le64(note + at + 12);
        bins =
            count > 0 && count <= PQ_HISTOGRAM_BINS && at + 36 + 8 * count == n
                ? at
                : 0;
    }
    assert_true(bins > 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static char bad[sizeof note];
        memcpy(bad, note, n);
        if (cases[i].from_end == 40) {
            pq_store_le32(bad + bins, (uint32_t)cases[i].x);
        } else {
            pq_store_le64(bad + bins + 12, cases[i].x);
        }
        assert_int_equal(run_hostile(bad, n, &sink), PTQC_E_USAGE);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume),  cmocka_unit_test(test_sequence),
        cmocka_unit_test(test_stop),    cmocka_unit_test(test_statistics_later),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
