// SPDX-License-Identifier: Apache-2.0
//
// Streaming calibration and the pass that quantizes by it: what the stream
// shows is what the whole graph computes; codes do not depend on threads,
// folders or interruptions; checkpoints of another compile are refused,
// damaged ones made again.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ir/text.h"
#include "passes/calib/samples.h"
#include "passes/calib/stream.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"
#include "tests/unit/passes/pass_test.h"

enum {
    WIDTH = 8,
    TOKENS = 24,
    SAMPLES = 12,
    GROUPS = 5,
};

// A block of a transformer without its attention: two products read one
// value, one adds a value that waits, one is stored the other way round.
static const char body[] =
    "input %x: f32[T, 8]\n"
    "%g: f32[8] = c1\n%wa: f32[8, 8] = c2\n%wb: f32[8, 8] = c3\n"
    "%wd: f32[8, 8] = c4\n%we: f32[8, 8] = c5\n%wh: f32[8, 8] = c6\n"
    "%n: f32[T, 8] = rms_norm(%x, %g)\n"
    "%a: f32[T, 8] = matmul \"a\"(%n, %wa) {trans_b = 1}\n"
    "%b: f32[T, 8] = matmul \"b\"(%n, %wb) {trans_b = 1}\n"
    "%c: f32[T, 8] = mul(%a, %b)\n"
    "%d: f32[T, 8] = matmul \"d\"(%c, %wd, _, %x) {trans_b = 1}\n"
    "%m: f32[T, 8] = rms_norm(%d, %g)\n"
    "%e: f32[T, 8] = matmul \"e\"(%m, %we) {trans_b = 1}\n"
    "%f: f32[T, 8] = gelu(%e)\n"
    "%h: f32[T, 8] = matmul \"h\"(%f, %wh, _, %d)\n"
    "%i: f32[T, 8] = matmul \"i\"(%h, %wa) {trans_b = 1}\n"
    "output %i\n";

static void
add_numbers(pq_strbuf *text, int number, const char *type, int n,
            pq_test_random *r)
{
    pq_strbuf_addf(text, "const c%d: f32[%s] = [", number, type);
    for (int i = 0; i < n; i++) {
        pq_strbuf_addf(text, "%s%.4f", i > 0 ? ", " : "",
                       (double)pq_test_random_f32(r, -1, 1));
    }
    pq_strbuf_add_z(text, "]\n");
}

static pq_graph *
make_graph(ptqc_ctx *ctx)
{
    pq_test_random r = pq_test_random_seed(3);
    pq_graph *g = NULL;
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    pq_strbuf_add_z(&text, "ptir 1\ngraph \"block\" stage float\n"
                           "symbol T = [1, inf]\n");
    add_numbers(&text, 1, "8", WIDTH, &r);
    for (int i = 2; i <= 6; i++) {
        add_numbers(&text, i, "8, 8", WIDTH * WIDTH, &r);
    }
    pq_strbuf_add_z(&text, body);
    assert_int_equal(pq_graph_parse(ctx, "test", (pq_str){text.p, text.n}, &g),
                     PTQC_OK);
    pq_strbuf_deinit(&text);
    return g;
}

// ---- samples --------------------------------------------------------------

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
    for (int k = 0; k < WIDTH; k++) {
        s->x[k] *= 50; // a token that stands out
    }
    tensors[0] = (pq_tensor){.dtype = PTQC_F32,
                             .rank = 2,
                             .dims = {TOKENS, WIDTH},
                             .p = s->x,
                             .bytes = sizeof s->x};
    return PTQC_OK;
}

typedef struct setting {
    const char *scheme, *method;
    const char *work_dir;
    const pq_sha256 *fingerprint;
    uint64_t limit, stop_at; // of the source
    uint64_t *calls;         // of the source: how many; NULL: not wanted
    pq_rules *rules;
} setting;

// Runs the annotating passes, and gptq; smoothquant or awq before, when the
// method begins with it.
static ptqc_status
run(ptqc_ctx *ctx, pq_graph **g, const setting *s)
{
    const char *passes[] = {"assign-schemes",   "dce",           "calibrate",
                            "propagate-params", "scale-weights", "gptq"};
    if (strncmp(s->method, "smoothquant", 11) == 0) {
        passes[1] = "smoothquant";
    } else if (strncmp(s->method, "awq", 3) == 0) {
        passes[1] = "awq";
    }
    const pq_pipeline_desc desc = {.flags = PQ_PIPELINE_VERIFY};
    source src = {.limit = s->limit, .stop_at = s->stop_at, .ctx = ctx};
    const pq_samples samples = {.get = get_sample, .user = &src};
    pq_recipe recipe = {.has_scheme = true,
                        .method = pq_str_of(s->method),
                        .percentile = 99.99,
                        .rules = s->rules};
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    assert_int_equal(pq_scheme_parse(ctx, pq_str_of(s->scheme), &recipe.scheme),
                     PTQC_OK);
    pq_pass_env env = {.scratch = &scratch,
                       .recipe = &recipe,
                       .samples = &samples,
                       .make_runner = pq_interp_make,
                       .runner_user = ctx,
                       .work_dir = s->work_dir,
                       .fingerprint = s->fingerprint};
    ptqc_status st =
        pq_pipeline_run(g, &env, passes, sizeof passes / sizeof *passes, &desc);
    if (s->calls != NULL) {
        *s->calls = src.calls;
    }
    pq_arena_deinit(&scratch);
    return st;
}

// The annotated graph as text, owned by the caller (free).
static char *
text_of(const setting *s, uint32_t threads)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, threads);
    pq_graph *g = make_graph(ctx);
    pq_strbuf text;
    assert_int_equal(run(ctx, &g, s), PTQC_OK);
    pq_strbuf_init(&text, ctx);
    assert_int_equal(pq_graph_print(g, 0, &text), PTQC_OK);
    char *copy = strndup(text.p, text.n);
    pq_strbuf_deinit(&text);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
    return copy;
}

static void
expect_same(char *a, const char *b)
{
    assert_string_equal(a, b);
    free(a);
}

// ---- the stream -----------------------------------------------------------

typedef struct shown {
    float x[GROUPS][SAMPLES][TOKENS * WIDTH];
    pq_value_id of[GROUPS];
    uint32_t op_counts[GROUPS], group, seen, real_count;
    bool wants_real;
} shown;

static bool
wants_all(void *user, const pq_op *op)
{
    (void)user;
    return op->code == PQ_OP_MATMUL;
}

static ptqc_status
begin_group(void *user, const pq_stream_group *group, bool *out_shows)
{
    shown *s = user;
    assert_true(*out_shows);
    assert_int_equal(group->count, GROUPS);
    s->group = group->index;
    s->of[s->group] = group->x;
    s->op_counts[s->group] = group->op_count;
    return PTQC_OK;
}

static ptqc_status
see_value(void *user, uint64_t sample, pq_value_id v, const pq_tensor *t)
{
    shown *s = user;
    (void)sample;
    (void)v;
    assert_int_equal(t->bytes, sizeof s->x[0][0]);
    s->seen++;
    return PTQC_OK;
}

static ptqc_status
take_value(void *user, uint64_t sample, const pq_tensor *x,
           const pq_tensor *real)
{
    shown *s = user;
    assert_int_equal(x->bytes, sizeof s->x[0][0]);
    assert_int_equal(real != NULL, s->wants_real);
    if (s->wants_real) { // no codes yet: both are one model
        assert_memory_equal(real->p, x->p, x->bytes);
        s->real_count++;
    }
    memcpy(s->x[s->group][sample], x->p, x->bytes);
    return PTQC_OK;
}

static ptqc_status
end_group(void *user, const pq_stream_group *group)
{
    (void)user;
    (void)group;
    return PTQC_OK;
}

typedef struct comparison {
    const shown *shown;
    uint64_t counts[GROUPS];
} comparison;

static ptqc_status
compare_value(void *user, pq_value_id v, const pq_tensor *t)
{
    comparison *w = user;
    for (uint32_t i = 0; i < GROUPS; i++) {
        if (pq_value_equal(v, w->shown->of[i])) {
            assert_memory_equal(t->p, w->shown->x[i][w->counts[i]], t->bytes);
            w->counts[i]++;
        }
    }
    return PTQC_OK;
}

static void
test_stream(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    pq_graph *g = make_graph(ctx);
    shown *s = calloc(1, sizeof *s);
    source src = {0};
    const pq_samples samples = {.get = get_sample, .user = &src};
    pq_stream_client client = {.user = s,
                               .wants = wants_all,
                               .begin = begin_group,
                               .see = see_value,
                               .take = take_value,
                               .end = end_group};
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    const pq_pass_env env = {.scratch = &scratch,
                             .samples = &samples,
                             .make_runner = pq_interp_make,
                             .runner_user = ctx};
    assert_non_null(s);
    assert_int_equal(pq_stream_run(g, &env, "test", &client), PTQC_OK);
    assert_int_equal(s->op_counts[0], 2); // a and b
    assert_int_equal(s->seen, SAMPLES);   // d waits; x is an input
    s->wants_real = client.wants_real = true;
    assert_int_equal(pq_stream_run(g, &env, "test", &client), PTQC_OK);
    assert_int_equal(s->real_count, GROUPS * SAMPLES);
    assert_int_equal(s->seen, 2 * SAMPLES); // of one model alone
    comparison w = {.shown = s};
    const pq_watcher watcher = {.user = &w, .observe = compare_value};
    assert_int_equal(pq_run_samples(g, &env, "test", s->of, GROUPS, &watcher),
                     PTQC_OK);
    for (uint32_t i = 0; i < GROUPS; i++) {
        assert_int_equal(w.counts[i], SAMPLES);
    }
    free(s);
    pq_arena_deinit(&scratch);
    pq_graph_destroy(g);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

// ---- gptq -----------------------------------------------------------------

static void
test_schemes(void **state)
{
    (void)state;
    static const char *const schemes[] = {
        "w4a16:g4", "w4a16:g4:asym", "w3a16:ch",     "w8a8",
        "w8a8:dyn", "w4a8:dyn:g4",   "w4a16:ch:asym"};
    static const char *const methods[] = {"gptq", "gptq:target=asymmetric"};
    const size_t count = sizeof schemes / sizeof *schemes;
    for (size_t i = 0; i < 2 * count; i++) {
        const setting s = {.scheme = schemes[i % count],
                           .method = methods[i / count]};
        char *one = text_of(&s, 1);
        assert_non_null(strstr(one, "codes = c"));
        for (uint32_t threads = 2; threads <= 5; threads += 3) {
            expect_same(text_of(&s, threads), one);
        }
        free(one);
    }
}

// One op by a rule, all others rounded to nearest.
static void
test_rule(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = make_graph(ctx);
    setting s = {.scheme = "w4a16:g4", .method = "rtn"};
    const pq_op_rule rule = {.match = PQ_STR("e"),
                             .sets = PQ_SETS_METHOD,
                             .settings = {.method = PQ_STR("gptq")}};
    assert_int_equal(pq_rules_create(ctx, &s.rules), PTQC_OK);
    assert_int_equal(pq_rules_add(s.rules, &rule), PTQC_OK);
    assert_int_equal(pq_rules_bind(s.rules, g), PTQC_OK);
    assert_int_equal(run(ctx, &g, &s), PTQC_OK);
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (op->code == PQ_OP_MATMUL) {
            const pq_value *w = pq_graph_value(g, op->inputs[1]);
            const pq_quant *q = pq_graph_quant(g, w->quant);
            assert_int_equal(!pq_const_is_none(q->codes),
                             pq_str_equal_z(op->name, "e"));
        }
    }
    pq_rules_destroy(s.rules);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// From codes to integer arithmetic: the codes of the annotation are those of
// the graph.
static void
test_encoding(void **state)
{
    (void)state;
    static const char *const rest[] = {"correct-bias", "insert-qdq"};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = make_graph(ctx);
    pq_graph *real = make_graph(ctx);
    const setting s = {.scheme = "w8a16:ch", .method = "gptq"};
    assert_int_equal(run(ctx, &g, &s), PTQC_OK);
    pq_pass_test_run(&g, &rest[1], 1, NULL);
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (op->code == PQ_OP_MATMUL) {
            const pq_value *w = pq_graph_value(g, op->inputs[1]);
            assert_int_equal(w->type.dtype, PTQC_I8);
            assert_non_null(pq_graph_constant(g, w->constant)->p);
        }
    }
    pq_pass_test_compare("gptq w8", real, g, 0.05);
    pq_graph_destroy(real);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

typedef struct outputs {
    float y[SAMPLES][TOKENS * WIDTH];
    uint32_t count;
} outputs;

static ptqc_status
take_output(void *user, pq_value_id v, const pq_tensor *t)
{
    outputs *o = user;
    (void)v;
    memcpy(o->y[o->count++], t->p, sizeof o->y[0]);
    return PTQC_OK;
}

static void
run_outputs(pq_graph *g, outputs *out)
{
    ptqc_ctx *ctx = pq_graph_ctx(g);
    source src = {0};
    const pq_samples samples = {.get = get_sample, .user = &src};
    pq_value_id y = pq_graph_output(g, 0);
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    const pq_pass_env env = {.scratch = &scratch,
                             .samples = &samples,
                             .make_runner = pq_interp_make,
                             .runner_user = ctx};
    const pq_watcher watcher = {.user = out, .observe = take_output};
    out->count = 0;
    assert_int_equal(pq_run_graph(g, &env, "test", &y, 1, &watcher), PTQC_OK);
    assert_int_equal(out->count, SAMPLES);
    pq_arena_deinit(&scratch);
}

// Squared error of the model's outputs on the calibration samples.
static double
output_error(const char *scheme, const char *method)
{
    static const char *const rest[] = {"insert-qdq"};
    static outputs of[2];
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *real = make_graph(ctx);
    pq_graph *g = make_graph(ctx);
    const setting s = {.scheme = scheme, .method = method};
    assert_int_equal(run(ctx, &g, &s), PTQC_OK);
    pq_pass_test_run(&g, rest, 1, NULL);
    run_outputs(real, &of[0]);
    run_outputs(g, &of[1]);
    double sum = 0;
    for (int i = 0; i < SAMPLES; i++) {
        for (int k = WIDTH; k < TOKENS * WIDTH; k++) { // not the sink's
            double e = (double)of[0].y[i][k] - (double)of[1].y[i][k];
            sum += e * e;
        }
    }
    pq_graph_destroy(real);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
    return sum;
}

// Products that aim at the float model's outputs make up for the errors of
// those before them (algorithms 18 B5: at most .92 of GPTQ's error in a
// chain).
static void
test_target(void **state)
{
    (void)state;
    static const char *const schemes[] = {"w3a16:g4", "w4a16:g4"};
    for (int i = 0; i < 2; i++) {
        double own = output_error(schemes[i], "gptq");
        double target = output_error(schemes[i], "gptq:target=asymmetric");
        printf("%s: error of outputs %.3f of gptq's\n", schemes[i],
               target / own);
        assert_true(target < .92 * own);
    }
}

// Ranges that clip lower the error of three bits; not those of scores, which
// this graph does not have.
static void
test_clip(void **state)
{
    (void)state;
    double kept = output_error("w3a16:ch", "gptq:clip=off");
    double clipped = output_error("w3a16:ch", "gptq");
    printf("w3a16:ch: error of outputs %.3f of that without clipping\n",
           clipped / kept);
    assert_true(clipped < kept);
}

// ---- checkpoints ----------------------------------------------------------

static uint32_t
count_units(const pq_test_folder *folder, const char *pass)
{
    char name[64], path[PQ_TEST_PATH_BYTES];
    uint32_t n = 0;
    for (uint32_t i = 0; i < GROUPS; i++) {
        (void)snprintf(name, sizeof name, "%s-%05u.unit", pass, i);
        n += access(pq_test_folder_path(folder, name, path), F_OK) == 0;
    }
    return n;
}

// Ends with PTQC_E_CANCELLED and gives back what it took.
static void
run_cancelled(const setting *s, const char *said)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 2);
    assert_non_null(pq_ctx_pool(ctx));
    uint64_t before = pq_live_bytes(ctx);
    pq_graph *g = make_graph(ctx);
    assert_int_equal(run(ctx, &g, s), PTQC_E_CANCELLED);
    assert_true(said == NULL || strstr(sink.text, said) != NULL);
    pq_graph_destroy(g);
    assert_int_equal(pq_live_bytes(ctx), before);
    ptqc_ctx_destroy(ctx);
}

// A resumed run asks for the samples of no piece twice.
static void
test_resume(void **state)
{
    (void)state;
    pq_test_folder folder;
    const pq_sha256 fingerprint = {{1, 2, 3}};
    uint64_t calls;
    setting s = {.scheme = "w4a16:g4", .method = "gptq"};
    char *expected = text_of(&s, 1);
    s.fingerprint = &fingerprint;
    s.calls = &calls;
    for (uint64_t limit = SAMPLES / 2; limit < GROUPS * SAMPLES;
         limit += SAMPLES) {
        uint64_t done = limit / SAMPLES;
        pq_test_folder_create(&folder);
        s.work_dir = folder.path;
        s.limit = limit;
        run_cancelled(&s, NULL);
        assert_int_equal(count_units(&folder, "gptq"), done);
        s.limit = 0;
        expect_same(text_of(&s, 3), expected);
        assert_int_equal(calls, (GROUPS - done) * SAMPLES);
        expect_same(text_of(&s, 1), expected); // all of it was there
        assert_int_equal(calls, 0);
        assert_int_equal(pq_test_folder_count(&folder), GROUPS);
        pq_test_folder_remove(&folder);
    }
    free(expected);
}

// Who asks to stop gets the group at hand finished and kept.
static void
test_stop(void **state)
{
    (void)state;
    pq_test_folder folder;
    const pq_sha256 fingerprint = {{4}};
    uint64_t calls;
    setting s = {.scheme = "w4a16:g4", .method = "gptq"};
    char *expected = text_of(&s, 1);
    for (uint64_t at = SAMPLES / 2; at < GROUPS * SAMPLES; at += SAMPLES) {
        uint64_t done = at / SAMPLES + 1;
        char said[64];
        pq_test_folder_create(&folder);
        (void)snprintf(said, sizeof said, "stopped after group %u of 5",
                       (unsigned)done);
        s.work_dir = folder.path;
        s.fingerprint = &fingerprint;
        s.stop_at = at;
        run_cancelled(&s, said);
        assert_int_equal(count_units(&folder, "gptq"), done);
        s.stop_at = 0;
        s.calls = &calls;
        expect_same(text_of(&s, 1), expected);
        assert_int_equal(calls, (GROUPS - done) * SAMPLES);
        pq_test_folder_remove(&folder);
    }
    s.work_dir = NULL; // nothing would be kept: at once
    s.fingerprint = NULL;
    s.stop_at = 3;
    run_cancelled(&s, "cancelled");
    free(expected);
}

// Two passes that stream, stopped at each tenth of the samples that they ask
// for, at one and two threads; static activations besides.
static void
test_tenths(void **state)
{
    (void)state;
    static const struct {
        const char *scheme, *method;
    } cases[] = {{"w8a8:dyn", "smoothquant+gptq"},
                 {"w8a8", "smoothquant+gptq"},
                 {"w3a16:g4", "awq+gptq:target=asymmetric"}};
    pq_test_folder folder;
    const pq_sha256 fingerprint = {{5}};
    uint64_t total, calls;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        setting s = {.scheme = cases[k].scheme,
                     .method = cases[k].method,
                     .calls = &total};
        char *expected = text_of(&s, 1); // static ranges of the graph at once
        pq_test_folder_create(&folder);
        s.work_dir = folder.path;
        s.fingerprint = &fingerprint;
        expect_same(text_of(&s, 1), expected); // and piece by piece
        pq_test_folder_remove(&folder);
        for (uint64_t tenth = 1; tenth < 10; tenth++) {
            pq_test_folder_create(&folder);
            setting cut = s;
            cut.work_dir = folder.path;
            cut.fingerprint = &fingerprint;
            cut.calls = &calls;
            cut.limit = total * tenth / 10;
            run_cancelled(&cut, NULL);
            cut.limit = 0;
            expect_same(text_of(&cut, 1 + tenth % 2), expected);
            assert_true(calls < total || tenth < 5);
            pq_test_folder_remove(&folder);
        }
        free(expected);
    }
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

// What is left of a stream, byte by byte damaged: the same codes, by running
// its pieces once more.
static void
test_damaged_point(void **state)
{
    (void)state;
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    const pq_sha256 fingerprint = {{6}};
    uint64_t calls;
    setting s = {.scheme = "w4a16:g4", .method = "gptq"};
    char *expected = text_of(&s, 1);
    s.fingerprint = &fingerprint;
    for (long at = 0; at < 400; at += 13) {
        pq_test_folder_create(&folder);
        s.work_dir = folder.path;
        s.limit = 3 * SAMPLES + 2;
        run_cancelled(&s, NULL);
        s.limit = 0;
        s.calls = &calls;
        pq_test_folder_path(&folder, "gptq.resume", path);
        flip(path, at);
        expect_same(text_of(&s, 1), expected);
        assert_int_equal(calls, GROUPS * SAMPLES);
        pq_test_folder_remove(&folder);
    }
    free(expected);
}

// A hidden state that is damaged, or a group's codes that are: the pieces run
// once more.
static void
test_damaged_parts(void **state)
{
    (void)state;
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES], name[64];
    const pq_sha256 fingerprint = {{7}};
    uint64_t calls;
    setting s = {.scheme = "w4a16:g4",
                 .method = "gptq",
                 .calls = &calls,
                 .fingerprint = &fingerprint};
    for (uint32_t what = 0; what < 2; what++) {
        uint32_t found = 0;
        pq_test_folder_create(&folder);
        s.work_dir = folder.path;
        s.limit = 3 * SAMPLES + 2;
        run_cancelled(&s, NULL);
        s.limit = 0;
        for (uint32_t i = 0; what == 0 && i < 100; i++) {
            (void)snprintf(name, sizeof name, "gptq-%08u.live", i);
            pq_test_folder_path(&folder, name, path);
            if (access(path, F_OK) == 0) {
                flip(path, 100);
                found++;
            }
        }
        if (what == 1) {
            flip(pq_test_folder_path(&folder, "gptq-00001.unit", path), 60);
        }
        assert_true(what == 1 || found > 0);
        char *damaged = text_of(&s, 2);
        assert_int_equal(calls, GROUPS * SAMPLES);
        s.work_dir = NULL;
        expect_same(text_of(&s, 1), damaged);
        free(damaged);
        pq_test_folder_remove(&folder);
    }
}

static void
expect_refusal(const setting *s)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g = make_graph(ctx);
    assert_int_equal(run(ctx, &g, s), PTQC_E_USAGE);
    assert_non_null(strstr(sink.text, "belongs to another model"));
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

static void
test_foreign_and_damaged(void **state)
{
    (void)state;
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    const pq_sha256 one = {{1}}, two = {{2}};
    pq_test_folder_create(&folder);
    setting s = {.scheme = "w4a16:g4",
                 .method = "gptq",
                 .work_dir = folder.path,
                 .fingerprint = &one};
    char *expected = text_of(&s, 1);
    setting other = s;
    other.fingerprint = &two;
    expect_refusal(&other);
    other = s;
    other.scheme = "w4a16:g8"; // as if the fingerprint had not told
    expect_refusal(&other);
    pq_test_folder_path(&folder, "gptq-00002.unit", path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (long at = 0;; at += 37) { // every part, one at a time
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        int byte = fgetc(f);
        if (byte == EOF) {
            break;
        }
        fseek(f, at, SEEK_SET);
        fputc(byte ^ 1, f);
        fclose(f);
        bool is_identity = at >= 8 && at < 48; // version, count, fingerprint
        if (is_identity) {
            expect_refusal(&s);
            f = fopen(path, "r+b");
            fseek(f, at, SEEK_SET);
            fputc(byte, f);
        } else {
            expect_same(text_of(&s, 1), expected);
            f = fopen(path, "r+b");
        }
        assert_non_null(f);
    }
    fclose(f);
    pq_test_file_write(path, "x", 1);
    expect_same(text_of(&s, 1), expected);
    free(expected);
    pq_test_folder_remove(&folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),
        cmocka_unit_test(test_schemes),
        cmocka_unit_test(test_rule),
        cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_target),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_tenths),
        cmocka_unit_test(test_damaged_point),
        cmocka_unit_test(test_damaged_parts),
        cmocka_unit_test(test_foreign_and_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
