// SPDX-License-Identifier: Apache-2.0
//
// What is done to convolutional networks before their weights become codes:
// equalization (bars A5, A6, B11), clips, dead inputs, absorbed and corrected
// biases, learned rounding. A chain of random weights: conv 1x1, depthwise
// 3x3, conv 1x1, with ReLU, ReLU6 or nothing between.
#include <stdio.h>

#include "ir/text.h"
#include "passes/channel_facts.h"
#include "passes/recipe.h"
#include "tests/unit/passes/pass_test.h"

#define CHANNELS 256
#define CH       "256" // the same as text
#define INPUTS   3
#define OUTPUTS  6
#define TAPS     9
#define SAMPLES  9

typedef struct pq_net {
    float w1[CHANNELS * INPUTS], b1[CHANNELS];
    float w2[CHANNELS * TAPS], b2[CHANNELS];
    float w3[OUTPUTS * CHANNELS], b3[OUTPUTS];
    const char *act; // "", "act = relu", ...
} pq_net;

static void
fill(pq_net *n, const char *act)
{
    pq_test_random r = pq_test_random_seed(41);
    n->act = act;
    pq_test_fill_normal(&r, n->w1, CHANNELS * INPUTS, 0.5f);
    pq_test_fill_normal(&r, n->b1, CHANNELS, 0.5f);
    pq_test_fill_normal(&r, n->w2, CHANNELS * TAPS, 0.5f);
    pq_test_fill_normal(&r, n->b2, CHANNELS, 0.5f);
    pq_test_fill_normal(&r, n->w3, OUTPUTS * CHANNELS, 0.5f);
    pq_test_fill_normal(&r, n->b3, OUTPUTS, 0.5f);
}

// The same function, channel c of the first result times s, of the second
// times t.
static void
inject(pq_net *n, const float *s, const float *t)
{
    for (int c = 0; c < CHANNELS; c++) {
        for (int i = 0; i < INPUTS; i++) {
            n->w1[c * INPUTS + i] *= s[c];
        }
        for (int i = 0; i < TAPS; i++) {
            n->w2[c * TAPS + i] *= t[c] / s[c];
        }
        for (int o = 0; o < OUTPUTS; o++) {
            n->w3[o * CHANNELS + c] /= t[c];
        }
        n->b1[c] *= s[c];
        n->b2[c] *= t[c];
    }
}

static void
add_constant(pq_strbuf *out, int id, const char *dims, const float *x, int n)
{
    pq_strbuf_addf(out, "const c%d: f32[%s] = [", id, dims);
    for (int i = 0; i < n; i++) {
        pq_strbuf_addf(out, "%s%.9g", i > 0 ? ", " : "", (double)x[i]);
    }
    pq_strbuf_add_z(out, "]\n");
}

// Lists of numbers end at 64 elements: longer constants are cut into rows.
static pq_graph *
graph_of(ptqc_ctx *ctx, const pq_net *n)
{
    pq_graph *g = NULL;
    bool is_act = n->act[0] != '\0';
    pq_strbuf t;
    pq_strbuf_init(&t, ctx);
    pq_strbuf_add_z(&t, "ptir 1\ngraph \"net\" stage float\n"
                        "symbol N = [1, inf]\n");
    add_constant(&t, 1, CH ", 3, 1, 1", n->w1, CHANNELS * INPUTS);
    add_constant(&t, 2, CH, n->b1, CHANNELS);
    add_constant(&t, 3, CH ", 1, 3, 3", n->w2, CHANNELS * TAPS);
    add_constant(&t, 4, CH, n->b2, CHANNELS);
    add_constant(&t, 5, "6, " CH ", 1, 1", n->w3, OUTPUTS * CHANNELS);
    add_constant(&t, 6, "6", n->b3, OUTPUTS);
    pq_strbuf_addf(
        &t,
        "input %%x: f32[N, 3, 6, 6]\n%%w1: f32[" CH ", 3, 1, 1] = c1\n"
        "%%b1: f32[" CH "] = c2\n%%w2: f32[" CH ", 1, 3, 3] = c3\n"
        "%%b2: f32[" CH "] = c4\n%%w3: f32[6, " CH
        ", 1, 1] = c5\n%%b3: f32[6] = c6\n"
        "%%y1: f32[N, " CH ", 6, 6] = conv \"first\"(%%x, %%w1, %%b1)%s%s%s\n"
        "%%y2: f32[N, " CH
        ", 6, 6] = conv \"depth\"(%%y1, %%w2, %%b2) {%s%spads = "
        "[1, 1, 1, 1], group = " CH "}\n"
        "%%y3: f32[N, 6, 6, 6] = conv \"last\"(%%y2, %%w3, %%b3)\noutput "
        "%%y3\n",
        is_act ? " {" : "", n->act, is_act ? "}" : "", n->act,
        is_act ? ", " : "");
    assert_false(t.failed);
    assert_int_equal(pq_graph_parse(ctx, "net", (pq_str){t.p, t.n}, &g),
                     PTQC_OK);
    pq_strbuf_deinit(&t);
    return g;
}

// ---- running --------------------------------------------------------------

typedef struct pq_source {
    ptqc_ctx *ctx;
    pq_tensor t;
    bool is_smooth;      // one number per channel and little noise
    uint64_t first_seed; // of the samples
} pq_source;

enum {
    SEED_OTHER = 100, // numbers that pq_pass_test_compare does not use
    SEED_COMPARE = 1, // those that it uses
};

static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    pq_source *s = user;
    float all[PQ_PASS_TEST_SYMBOL * INPUTS * 36]; // a batch of the tests
    pq_test_random r =
        pq_test_random_seed(s->first_seed + index / PQ_PASS_TEST_SYMBOL);
    if (index >= SAMPLES || count != 1) {
        return PTQC_NO;
    }
    pq_test_fill_normal(&r, all, sizeof all / sizeof *all, 2);
    float *x = s->t.p;
    memcpy(x, all + index % PQ_PASS_TEST_SYMBOL * INPUTS * 36, s->t.bytes);
    for (int i = 0; s->is_smooth && i < INPUTS * 36; i++) {
        x[i] = i % 36 == 0 ? x[i] : x[i - i % 36] + 0.02f * x[i];
    }
    tensors[0] = s->t;
    return PTQC_OK;
}

// Share of rounding's error that learned rounding left in "last".
static void
take_note(void *user, pq_str where, const char *what, const char *why)
{
    double *share = user;
    if (pq_str_equal_z(where, "last") && strcmp(what, "adaround") == 0) {
        assert_int_equal(sscanf(why, "output error %lf", share), 1);
    }
}

static double
run_passes(pq_graph **g, const char *const *passes, uint32_t count,
           pq_recipe *recipe, const char *scheme)
{
    ptqc_ctx *ctx = pq_graph_ctx(*g);
    pq_source source = {.ctx = ctx, .t = {.dtype = PTQC_F32, .rank = 4}};
    const int64_t dims[4] = {1, INPUTS, 6, 6};
    memcpy(source.t.dims, dims, sizeof dims);
    source.t.bytes = sizeof(float) * INPUTS * 36;
    source.t.p = pq_alloc(ctx, source.t.bytes);
    source.is_smooth = recipe->seed == 1;
    source.first_seed = recipe->seed == 2 ? SEED_COMPARE : SEED_OTHER;
    const pq_samples samples = {.get = get_sample, .user = &source};
    double share = -1;
    const pq_pass_env env = {.recipe = recipe,
                             .samples = &samples,
                             .note = take_note,
                             .note_user = &share};
    recipe->has_scheme = true;
    assert_int_equal(pq_scheme_parse(ctx, pq_str_of(scheme), &recipe->scheme),
                     PTQC_OK);
    pq_pass_test_run(g, passes, count, &env);
    pq_free(ctx, source.t.p);
    return share;
}

static pq_recipe
recipe(void)
{
    pq_recipe r;
    pq_recipe_init(&r);
    r.observer = PQ_OBSERVER_MINMAX;
    return r;
}

// Signal to noise of b's first output beside a's, in dB.
static double
sqnr(pq_graph *a, pq_graph *b)
{
    double signal = 0;
    double noise = 0;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        pq_pass_test_outputs x, y;
        pq_pass_test_execute(a, seed, &x);
        pq_pass_test_execute(b, seed, &y);
        const float *p = x.t[0].p;
        const float *q = y.t[0].p;
        for (size_t i = 0; i < x.t[0].bytes / sizeof *p; i++) {
            signal += (double)p[i] * (double)p[i];
            noise +=
                ((double)p[i] - (double)q[i]) * ((double)p[i] - (double)q[i]);
        }
        pq_pass_test_release(&x);
        pq_pass_test_release(&y);
    }
    return 10 * log10(signal / noise);
}

static const pq_op *
find(const pq_graph *g, const char *name)
{
    PQ_FOR_EACH_OP(g, id)
    {
        if (pq_str_equal_z(pq_graph_op(g, id)->name, name)) {
            return pq_graph_op(g, id);
        }
    }
    fail_msg("no op '%s'", name);
    return NULL;
}

static const float *
numbers(const pq_graph *g, const char *op, uint32_t input)
{
    const pq_value *v = pq_graph_value(g, find(g, op)->inputs[input]);
    return pq_graph_constant(g, v->constant)->p;
}

// A net as the equalizer leaves it, float arithmetic.
static pq_graph *
equalized(ptqc_ctx *ctx, const pq_net *n, uint64_t seed)
{
    static const char *const passes[] = {"assign-schemes", "equalize"};
    pq_recipe r = recipe();
    r.seed = seed;
    pq_graph *g = graph_of(ctx, n);
    run_passes(&g, passes, 2, &r, "w8a8:t");
    return g;
}

static pq_graph *
quantized(ptqc_ctx *ctx, const pq_net *n, pq_recipe *r, const char *scheme)
{
    static const char *const passes[] = {
        "assign-schemes",   "clip-dead",     "equalize",     "calibrate",
        "propagate-params", "scale-weights", "correct-bias", "insert-qdq"};
    pq_graph *g = graph_of(ctx, n);
    run_passes(&g, passes, 8, r, scheme);
    return g;
}

// ---- equalization ---------------------------------------------------------

// A5: what is injected by powers of two is gone, bit for bit.
static void
undoes_injection(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_net plain, injected;
    float s[CHANNELS], t[CHANNELS];
    fill(&plain, "act = relu");
    injected = plain;
    for (int c = 0; c < CHANNELS; c++) {
        s[c] = ldexpf(1, c % 9 - 4);
        t[c] = ldexpf(1, 3 - c % 7);
    }
    inject(&injected, s, t);
    pq_graph *a = equalized(ctx, &plain, 0);
    pq_graph *b = equalized(ctx, &injected, 0);
    static const char *const ops[] = {"first", "depth", "last"};
    static const size_t sizes[] = {CHANNELS * INPUTS, CHANNELS * TAPS,
                                   OUTPUTS * CHANNELS};
    for (int i = 0; i < 3; i++) {
        assert_memory_equal(numbers(a, ops[i], 1), numbers(b, ops[i], 1),
                            sizes[i] * sizeof(float));
    }
    assert_memory_equal(numbers(a, "first", 2), numbers(b, "first", 2),
                        CHANNELS * sizeof(float));
    pq_graph_destroy(a);
    pq_graph_destroy(b);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

// A6: the function stays; and the three ranges of every channel are equal.
static void
keeps_function(void **state)
{
    (void)state;
    static const char *const acts[] = {"", "act = relu",
                                       "act = leaky_relu, act_alpha = 0.1"};
    for (size_t k = 0; k < sizeof acts / sizeof *acts; k++) {
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_net n;
        fill(&n, acts[k]);
        pq_graph *before = graph_of(ctx, &n);
        pq_graph *after = equalized(ctx, &n, 0);
        pq_pass_test_compare(acts[k], before, after, 1e-5);
        const float *w1 = numbers(after, "first", 1);
        const float *w2 = numbers(after, "depth", 1);
        const float *w3 = numbers(after, "last", 1);
        for (int c = 0; c < CHANNELS; c++) {
            float r[3] = {0};
            for (int i = 0; i < INPUTS; i++) {
                r[0] = fmaxf(r[0], fabsf(w1[c * INPUTS + i]));
            }
            for (int i = 0; i < TAPS; i++) {
                r[1] = fmaxf(r[1], fabsf(w2[c * TAPS + i]));
            }
            for (int o = 0; o < OUTPUTS; o++) {
                r[2] = fmaxf(r[2], fabsf(w3[o * CHANNELS + c]));
            }
            assert_true(fabsf(r[0] / r[1] - 1) < 1e-5f);
            assert_true(fabsf(r[1] / r[2] - 1) < 1e-5f);
        }
        pq_graph_destroy(before);
        pq_graph_destroy(after);
        ptqc_ctx_destroy(ctx);
    }
}

// B11: from less than 5 dB to within half a dB of what was not injected.
static void
saves_injected_chain(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_net n;
    pq_recipe on = recipe();
    pq_recipe off = recipe();
    float s[CHANNELS], t[CHANNELS];
    pq_test_random random = pq_test_random_seed(11);
    off.equalize = PQ_EQUALIZE_OFF;
    fill(&n, "act = relu");
    for (int c = 0; c < CHANNELS; c++) {
        s[c] = ldexpf(1, (int)rintf(2 * pq_test_random_normal(&random)));
        t[c] = ldexpf(1, (int)rintf(2 * pq_test_random_normal(&random)));
    }
    pq_graph *before = graph_of(ctx, &n);
    pq_graph *plain = quantized(ctx, &n, &on, "w8a8:t");
    inject(&n, s, t);
    pq_graph *bare = quantized(ctx, &n, &off, "w8a8:t");
    pq_graph *saved = quantized(ctx, &n, &on, "w8a8:t");
    print_message("not injected %.1f dB, injected %.1f, equalized %.1f\n",
                  sqnr(before, plain), sqnr(before, bare), sqnr(before, saved));
    assert_true(sqnr(before, bare) < 5);
    assert_true(fabs(sqnr(before, saved) - sqnr(before, plain)) < 0.5);
    pq_graph_destroy(before);
    pq_graph_destroy(plain);
    pq_graph_destroy(bare);
    pq_graph_destroy(saved);
    ptqc_ctx_destroy(ctx);
}

// ReLU6: on the samples nothing changes, although channels reach 6.
static void
respects_clips(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_net n;
    fill(&n, "act = clip, act_alpha = 0, act_beta = 6");
    for (int c = 0; c < CHANNELS; c++) {
        n.w2[c * TAPS] *= c % 5 == 0 ? 40 : 1; // far beyond 6
    }
    pq_graph *before = graph_of(ctx, &n);
    pq_graph *after = equalized(ctx, &n, 2);
    bool is_changed = false;
    const float *w1 = numbers(after, "first", 1);
    for (int i = 0; i < CHANNELS * INPUTS; i++) {
        is_changed = is_changed || fabsf(w1[i] / n.w1[i] - 1) > 0.01f;
    }
    assert_true(is_changed);
    pq_pass_test_compare("clip", before, after, 1e-5);
    pq_graph_destroy(before);
    pq_graph_destroy(after);
    ptqc_ctx_destroy(ctx);
}

// ---- dead inputs, biases, rounding ----------------------------------------

// A channel that never fires must not cost the others their scale.
static void
ignores_dead_inputs(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_net n;
    pq_recipe on = recipe();
    pq_recipe off = recipe();
    off.equalize = PQ_EQUALIZE_OFF;
    fill(&n, "act = relu");
    n.b1[5] = -1000; // never active
    for (int i = 0; i < TAPS; i++) {
        n.w2[5 * TAPS + i] *= 1000;
    }
    pq_graph *before = graph_of(ctx, &n);
    pq_graph *a = quantized(ctx, &n, &on, "w8a8:t");
    pq_graph *b = quantized(ctx, &n, &off, "w8a8:t");
    assert_true(sqnr(before, a) > sqnr(before, b) + 10);
    assert_true(sqnr(before, a) > 20);
    pq_graph_destroy(before);
    pq_graph_destroy(a);
    pq_graph_destroy(b);
    ptqc_ctx_destroy(ctx);
}

// Every correction leaves less error than none, with 4-bit weights.
static void
corrects_biases(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_net n;
    double db[4];
    fill(&n, "act = relu");
    pq_graph *before = graph_of(ctx, &n);
    for (int way = PQ_BIAS_SEQUENTIAL; way <= PQ_BIAS_OFF; way++) {
        pq_recipe r = recipe();
        r.bias_correction = (pq_bias_correction)way;
        pq_graph *g = quantized(ctx, &n, &r, "w4a8:static:t");
        db[way] = sqnr(before, g);
        pq_graph_destroy(g);
    }
    print_message("sequential %.2f dB, empirical %.2f, none %.2f\n",
                  db[PQ_BIAS_SEQUENTIAL], db[PQ_BIAS_EMPIRICAL],
                  db[PQ_BIAS_OFF]);
    assert_true(db[PQ_BIAS_EMPIRICAL] > db[PQ_BIAS_OFF]);
    assert_true(db[PQ_BIAS_SEQUENTIAL] > db[PQ_BIAS_OFF]);
    // No batch norm: analytic measures.
    assert_true(fabs(db[PQ_BIAS_ANALYTIC] - db[PQ_BIAS_EMPIRICAL]) < 1e-9);
    pq_graph_destroy(before);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

// Means behind ReLU and ReLU6 of normal numbers; of either sign of gamma.
static void
expects_means(void **state)
{
    (void)state;
    static const char *const acts[] = {
        "", "act = relu", "act = clip, act_alpha = 0, act_beta = 6"};
    static const float mean[CHANNELS] = {0, 2, -3, 5, 7, -1};
    static const float deviation[CHANNELS] = {1, 0.5f, 2, 3, 0, 0};
    for (int k = 0; k < 3; k++) {
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_test_random random = pq_test_random_seed(3);
        pq_arena arena;
        ptqc_status st;
        pq_net n;
        const pq_channel_facts facts = {CHANNELS, mean, deviation};
        pq_arena_init(&arena, ctx);
        fill(&n, acts[k]);
        pq_graph *g = graph_of(ctx, &n);
        assert_int_equal(pq_channel_facts_set(g, pq_graph_first_op(g), &facts),
                         PTQC_OK);
        const double *e = pq_expected_outputs(find(g, "first"), &arena, &st);
        assert_non_null(e);
        for (int c = 0; c < 6; c++) {
            double sum = 0;
            for (int i = 0; i < 200000; i++) {
                float x =
                    mean[c] + deviation[c] * pq_test_random_normal(&random);
                x = k > 0 ? fmaxf(x, 0) : x;
                sum += (double)(k > 1 ? fminf(x, 6) : x);
            }
            assert_true(fabs(e[c] - sum / 200000) < 0.02);
        }
        pq_arena_deinit(&arena);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

// A bias that lies 10 deviations above 0 moves on; the function stays.
static void
absorbs_biases(void **state)
{
    (void)state;
    static const char *const passes[] = {"assign-schemes", "absorb-bias"};
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_net n;
    pq_recipe r = recipe();
    float mean[CHANNELS], deviation[CHANNELS];
    fill(&n, "act = relu");
    for (int c = 0; c < CHANNELS; c++) {
        n.b2[c] = 200;
        mean[c] = 200;
        deviation[c] = 20;
    }
    const pq_channel_facts facts = {CHANNELS, mean, deviation};
    pq_graph *before = graph_of(ctx, &n);
    pq_graph *after = graph_of(ctx, &n);
    PQ_FOR_EACH_OP(after, id)
    {
        if (pq_str_equal_z(pq_graph_op(after, id)->name, "depth")) {
            assert_int_equal(pq_channel_facts_set(after, id, &facts), PTQC_OK);
        }
    }
    run_passes(&after, passes, 2, &r, "w8a8");
    assert_true(fabsf(numbers(after, "depth", 2)[0] - 60) < 1e-3f);
    pq_pass_test_compare("absorb", before, after, 1e-4);
    pq_graph_destroy(before);
    pq_graph_destroy(after);
    ptqc_ctx_destroy(ctx);
}

// Learned rounding of 4-bit weights, conv, depthwise and all: its own norm, on
// samples unlike those that sqnr feeds.
static void
learn_by(const char *method)
{
    static const char *const passes[] = {
        "assign-schemes", "calibrate",    "propagate-params", "scale-weights",
        "adaround",       "correct-bias", "insert-qdq"};
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_net n;
    pq_recipe r = recipe();
    r.equalize = PQ_EQUALIZE_OFF;
    r.seed = 1; // smooth samples
    r.method = pq_str_of(method);
    fill(&n, "act = relu");
    pq_graph *before = graph_of(ctx, &n);
    pq_graph *plain = quantized(ctx, &n, &r, "w4a8:static:ch");
    pq_graph *learned = graph_of(ctx, &n);
    double share = run_passes(&learned, passes, 7, &r, "w4a8:static:ch");
    print_message("%s: rounded %.2f dB, learned %.2f, share %.3f\n", method,
                  sqnr(before, plain), sqnr(before, learned), share);
    assert_true(share > 0 && share < 0.7);
    pq_graph_destroy(before);
    pq_graph_destroy(plain);
    pq_graph_destroy(learned);
    ptqc_ctx_destroy(ctx);
}

static void
learns_rounding(void **state)
{
    (void)state;
    learn_by("adaround");
    learn_by("adaround:from=gram");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undoes_injection),
        cmocka_unit_test(keeps_function),
        cmocka_unit_test(saves_injected_chain),
        cmocka_unit_test(respects_clips),
        cmocka_unit_test(ignores_dead_inputs),
        cmocka_unit_test(corrects_biases),
        cmocka_unit_test(expects_means),
        cmocka_unit_test(absorbs_biases),
        cmocka_unit_test(learns_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
