// SPDX-License-Identifier: Apache-2.0
//
// Scales of int8 keys' channels: queries times keys stay bit for bit, rows of
// weights are scaled by powers of two that channels turned together share, and
// the outputs come much nearer to those of float keys where one channel is
// large. What takes no scales stays as it is and is said.
#include <stdio.h>
#include <stdlib.h>

#include "ir/text.h"
#include "passes/pipeline.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"
#include "tests/unit/passes/pass_test.h"

enum {
    WIDTH = 8,
    TOKENS = 5, // the states' capacity
    SAMPLES = 4,
    OUTPUTS = TOKENS * 16,
};

// Two heads of eight channels share one of keys.
#define HEAD                                                                   \
    "input %x: f32[1, 5, 8]\ninput %p: i32[1, 5]\n"                            \
    "state %ks: f16[1, 1, 5, 8]\nstate %vs: f16[1, 1, 5, 8]\n"
#define BODY                                                                   \
    "%wq: f32[16, 8] = c1\n%wk: f32[8, 8] = c2\n%wv: f32[8, 8] = c3\n"         \
    "%bk: f32[8] = c4\n%f: f32[3] = c5\n"                                      \
    "%q0: f32[1, 5, 16] = matmul \"q\"(%x, %wq) {trans_b = 1}\n"               \
    "%k0: f32[1, 5, 8] = matmul \"k\"(%x, %wk, %bk) {trans_b = 1}\n"           \
    "%v0: f32[1, 5, 8] = matmul \"v\"(%x, %wv) {trans_b = 1}\n"                \
    "%q1: f32[1, 5, 2, 8] = reshape(%q0) {shape = [1, 5, 2, 8]}\n"             \
    "%k1: f32[1, 5, 1, 8] = reshape(%k0) {shape = [1, 5, 1, 8]}\n"             \
    "%v1: f32[1, 5, 1, 8] = reshape(%v0) {shape = [1, 5, 1, 8]}\n"             \
    "%q2: f32[1, 2, 5, 8] = transpose(%q1) {perm = [0, 2, 1, 3]}\n"            \
    "%k2: f32[1, 1, 5, 8] = transpose(%k1) {perm = [0, 2, 1, 3]}\n"            \
    "%v2: f32[1, 1, 5, 8] = transpose(%v1) {perm = [0, 2, 1, 3]}\n"
#define TAIL(q, k)                                                             \
    "%K: f16[1, 1, 5, 8] = kv_update(%ks, " k ", %p)\n"                        \
    "%V: f16[1, 1, 5, 8] = kv_update(%vs, %v2, %p)\n"                          \
    "%y: f32[1, 2, 5, 8] = attention(" q ", %K, %V, _, %p)\noutput %y\n"
#define ROPES(mode)                                                            \
    "%q3: f32[1, 2, 5, 8] = rope(%q2, %p, %f) {mode = " mode "}\n"             \
    "%k3: f32[1, 1, 5, 8] = rope(%k2, %p, %f) {mode = " mode "}\n"

// Four heads of four channels, pairs of which share one of keys, each through a
// norm, before or behind the transposition.
#define NORM_HEAD                                                              \
    "input %x: f32[1, 5, 8]\ninput %p: i32[1, 5]\n"                            \
    "state %ks: f16[1, 2, 5, 4]\nstate %vs: f16[1, 2, 5, 4]\n"                 \
    "%wq: f32[16, 8] = c1\n%wk: f32[8, 8] = c2\n%wv: f32[8, 8] = c3\n"         \
    "%gq: f32[4] = c6\n%gk: f32[4] = c7\n%f: f32[1] = c8\n"                    \
    "%q0: f32[1, 5, 16] = matmul \"q\"(%x, %wq) {trans_b = 1}\n"               \
    "%k0: f32[1, 5, 8] = matmul \"k\"(%x, %wk) {trans_b = 1}\n"                \
    "%v0: f32[1, 5, 8] = matmul \"v\"(%x, %wv) {trans_b = 1}\n"                \
    "%q1: f32[1, 5, 4, 4] = reshape(%q0) {shape = [1, 5, 4, 4]}\n"             \
    "%k1: f32[1, 5, 2, 4] = reshape(%k0) {shape = [1, 5, 2, 4]}\n"             \
    "%v1: f32[1, 5, 2, 4] = reshape(%v0) {shape = [1, 5, 2, 4]}\n"             \
    "%v2: f32[1, 2, 5, 4] = transpose(%v1) {perm = [0, 2, 1, 3]}\n"
#define NORM_TAIL(q, k)                                                        \
    "%K: f16[1, 2, 5, 4] = kv_update(%ks, " k ", %p)\n"                        \
    "%V: f16[1, 2, 5, 4] = kv_update(%vs, %v2, %p)\n"                          \
    "%y: f32[1, 4, 5, 4] = attention(" q ", %K, %V, _, %p)\noutput %y\n"
static const char *const norm_forms[] = {
    NORM_HEAD "%q2: f32[1, 5, 4, 4] = rms_norm \"nq\"(%q1, %gq)\n"
              "%k2: f32[1, 5, 2, 4] = rms_norm \"nk\"(%k1, %gk)\n"
              "%q3: f32[1, 4, 5, 4] = transpose(%q2) {perm = [0, 2, 1, 3]}\n"
              "%k3: f32[1, 2, 5, 4] = transpose(%k2) {perm = [0, 2, 1, 3]}\n"
              "%q4: f32[1, 4, 5, 4] = rope(%q3, %p, %f) {mode = 0}\n"
              "%k4: f32[1, 2, 5, 4] = rope(%k3, %p, %f) {mode = 0}\n" NORM_TAIL(
                  "%q4", "%k4"),
    NORM_HEAD "%q2: f32[1, 4, 5, 4] = transpose(%q1) {perm = [0, 2, 1, 3]}\n"
              "%k2: f32[1, 2, 5, 4] = transpose(%k1) {perm = [0, 2, 1, 3]}\n"
              "%q3: f32[1, 4, 5, 4] = rms_norm \"nq\"(%q2, %gq)\n"
              "%k3: f32[1, 2, 5, 4] = rms_norm \"nk\"(%k2, %gk)\n" NORM_TAIL(
                  "%q3", "%k3"),
    // Keys alone: the queries' product takes the factors, in all heads alike.
    NORM_HEAD "%q2: f32[1, 4, 5, 4] = transpose(%q1) {perm = [0, 2, 1, 3]}\n"
              "%k2: f32[1, 2, 5, 4] = transpose(%k1) {perm = [0, 2, 1, 3]}\n"
              "%k3: f32[1, 2, 5, 4] = rms_norm \"nk\"(%k2, %gk)\n" NORM_TAIL(
                  "%q2", "%k3"),
};
enum { NORM_FORMS = sizeof norm_forms / sizeof *norm_forms };

static const struct {
    const char *name, *text;
    int partner[8]; // channel that each one is turned with
} forms[] = {
    {"plain", BODY TAIL("%q2", "%k2"), {0, 1, 2, 3, 4, 5, 6, 7}},
    {"halves", BODY ROPES("0") TAIL("%q3", "%k3"), {3, 4, 5, 0, 1, 2, 6, 7}},
    {"interleaved",
     BODY ROPES("1") TAIL("%q3", "%k3"),
     {1, 0, 3, 2, 5, 4, 6, 7}},
};
enum { FORMS = sizeof forms / sizeof *forms };

static void
add_numbers(pq_strbuf *text, int number, const char *type, int n,
            pq_test_random *r)
{
    pq_strbuf_addf(text, "const c%d: f32[%s] = [", number, type);
    for (int i = 0; i < n; i++) {
        float x = pq_test_random_f32(r, 0.1f, 1) *
                  (pq_test_random_int(r, 0, 1) ? 1 : -1);
        int channel = i / 8 % 8; // a large one of the keys, small in queries
        bool is_large =
            (number == 2 && channel == 2) || (number == 7 && i == 3);
        bool is_small =
            (number == 1 && (channel == 2 || channel == 3 || channel == 5)) ||
            (number == 6 && i == 3);
        pq_strbuf_addf(text, "%s%.4f", i > 0 ? ", " : "",
                       (double)x * (is_large   ? 40
                                    : is_small ? 0.025
                                               : 1));
    }
    pq_strbuf_add_z(text, "]\n");
}

static pq_graph *
make_graph(ptqc_ctx *ctx, const char *form)
{
    pq_test_random r = pq_test_random_seed(11);
    pq_graph *g = NULL;
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    pq_strbuf_add_z(&text, "ptir 1\ngraph \"keys\" stage float\n");
    add_numbers(&text, 1, "16, 8", 128, &r);
    add_numbers(&text, 2, "8, 8", 64, &r);
    add_numbers(&text, 3, "8, 8", 64, &r);
    add_numbers(&text, 4, "8", 8, &r);
    add_numbers(&text, 5, "3", 3, &r);
    add_numbers(&text, 6, "4", 4, &r);
    add_numbers(&text, 7, "4", 4, &r);
    add_numbers(&text, 8, "1", 1, &r);
    if (strstr(form, "input ") == NULL) {
        pq_strbuf_add_z(&text, HEAD);
    }
    pq_strbuf_add_z(&text, form);
    assert_int_equal(pq_graph_parse(ctx, "test", (pq_str){text.p, text.n}, &g),
                     PTQC_OK);
    pq_strbuf_deinit(&text);
    return g;
}

typedef struct source {
    float x[TOKENS * WIDTH];
    int32_t p[TOKENS];
    uint64_t calls;
} source;

static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    source *s = user;
    if (index >= SAMPLES || count != 2) {
        return PTQC_NO;
    }
    pq_test_random r = pq_test_random_seed(100 + index);
    pq_test_fill_normal(&r, s->x, TOKENS * WIDTH, 1);
    for (int i = 0; i < TOKENS; i++) {
        s->p[i] = i;
    }
    s->calls++;
    tensors[0] = (pq_tensor){.dtype = PTQC_F32,
                             .rank = 3,
                             .dims = {1, TOKENS, WIDTH},
                             .p = s->x,
                             .bytes = sizeof s->x};
    tensors[1] = (pq_tensor){.dtype = PTQC_I32,
                             .rank = 2,
                             .dims = {1, TOKENS},
                             .p = s->p,
                             .bytes = sizeof s->p};
    return PTQC_OK;
}

// kv-type, and smooth-keys after it; -> samples asked for.
static uint64_t
run(pq_graph **g, pq_kv_type kv, bool smooths, const pq_test_folder *folder)
{
    static const char *const passes[] = {"kv-type", "smooth-keys"};
    static const pq_sha256 fingerprint = {{9}};
    const pq_recipe recipe = {.kv = kv};
    source src = {.calls = 0};
    const pq_samples samples = {.get = get_sample, .user = &src};
    const pq_pass_env env = {.recipe = &recipe,
                             .samples = &samples,
                             .work_dir = folder != NULL ? folder->path : NULL,
                             .fingerprint = &fingerprint};
    pq_pass_test_run(g, passes, smooths ? 2 : 1, &env);
    return src.calls;
}

static ptqc_status
keep_output(void *user, pq_value_id v, const pq_tensor *t)
{
    (void)v;
    assert_int_equal(t->bytes, OUTPUTS * sizeof(float));
    memcpy(user, t->p, t->bytes);
    return PTQC_OK;
}

// Of the first sample.
static void
outputs_of(pq_graph *g, float out[OUTPUTS])
{
    source src;
    pq_tensor tensors[2];
    pq_runner *runner;
    assert_int_equal(get_sample(&src, 0, tensors, 2), PTQC_OK);
    assert_int_equal(pq_interp_make(pq_graph_ctx(g), g, NULL, 0, &runner),
                     PTQC_OK);
    assert_int_equal(runner->run(runner, tensors, keep_output, out), PTQC_OK);
    runner->destroy(runner);
}

static double
error_of(const float *a, const float *b)
{
    double sum = 0;
    for (int i = 0; i < OUTPUTS; i++) {
        sum += pow((double)a[i] - (double)b[i], 2);
    }
    return sqrt(sum / (double)OUTPUTS);
}

static const float *
constant_of(const pq_graph *g, const char *name, uint32_t i)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (pq_str_equal_z(op->name, name)) {
            return pq_graph_constant(g,
                                     pq_graph_value(g, op->inputs[i])->constant)
                ->p;
        }
    }
    fail_msg("no op '%s'", name);
    return NULL;
}

// Rows of k over s, rows of both query heads times s; s a power of two.
static void
check_weights(const pq_graph *before, const pq_graph *after, const int *partner)
{
    const float *wk = constant_of(before, "k", 1);
    const float *bk = constant_of(before, "k", 2);
    const float *wq = constant_of(before, "q", 1);
    float s[8], most = 0, least = 1e9f;
    for (int i = 0; i < 8; i++) {
        int exponent;
        s[i] = wk[i * 8] / constant_of(after, "k", 1)[i * 8];
        assert_true(frexpf(s[i], &exponent) == 0.5f);
        most = fmaxf(most, s[i]);
        least = fminf(least, s[i]);
    }
    assert_true(most >= 4 * least);
    for (int i = 0; i < 8; i++) {
        assert_true(s[i] == s[partner[i]]);
        assert_true(bk[i] == s[i] * constant_of(after, "k", 2)[i]);
        for (int k = 0; k < 8; k++) {
            assert_true(wk[i * 8 + k] ==
                        s[i] * constant_of(after, "k", 1)[i * 8 + k]);
            for (int h = 0; h < 2; h++) {
                int at = (h * 8 + i) * 8 + k;
                assert_true(wq[at] * s[i] == constant_of(after, "q", 1)[at]);
            }
        }
    }
}

static void
test_forms(void **state)
{
    (void)state;
    for (int i = 0; i < FORMS; i++) {
        float real[OUTPUTS], plain[OUTPUTS], smooth[OUTPUTS];
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_graph *a = make_graph(ctx, forms[i].text);
        pq_graph *b = make_graph(ctx, forms[i].text);
        pq_graph *c = make_graph(ctx, forms[i].text);
        (void)run(&a, PQ_KV_F32, true, NULL); // nothing to do
        (void)run(&b, PQ_KV_INT8, false, NULL);
        assert_int_equal(run(&c, PQ_KV_INT8, true, NULL), SAMPLES);
        check_weights(b, c, forms[i].partner);
        outputs_of(a, real);
        outputs_of(b, plain);
        outputs_of(c, smooth);
        // The values' own error stays; that of the keys goes.
        double before = error_of(plain, real), after = error_of(smooth, real);
        if (!(after < 0.5 * before)) {
            fail_msg("%s: error %g, without scales %g", forms[i].name, after,
                     before);
        }
        pq_graph_destroy(a);
        pq_graph_destroy(b);
        pq_graph_destroy(c);
        assert_int_equal(pq_live_bytes(ctx), 0);
        ptqc_ctx_destroy(ctx);
    }
}

// Scales of a norm's channels, which all heads share.
static void
check_norms(int form, const pq_graph *before, const pq_graph *after)
{
    float s[4];
    for (int k = 0; k < 4; k++) {
        int exponent;
        s[k] = constant_of(before, "nk", 1)[k] / constant_of(after, "nk", 1)[k];
        assert_true(frexpf(s[k], &exponent) == 0.5f);
        if (form < 2) {
            assert_true(constant_of(before, "nq", 1)[k] * s[k] ==
                        constant_of(after, "nq", 1)[k]);
        }
        for (int row = k; form == 2 && row < 16; row += 4) {
            assert_true(constant_of(before, "q", 1)[row * 8] * s[k] ==
                        constant_of(after, "q", 1)[row * 8]);
        }
    }
    assert_true(s[3] >= 4);
    assert_true(form != 0 || s[0] == s[1]); // turned together
}

static void
test_norms(void **state)
{
    (void)state;
    for (int i = 0; i < NORM_FORMS; i++) {
        float real[OUTPUTS], plain[OUTPUTS], smooth[OUTPUTS];
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_graph *a = make_graph(ctx, norm_forms[i]);
        pq_graph *b = make_graph(ctx, norm_forms[i]);
        pq_graph *c = make_graph(ctx, norm_forms[i]);
        (void)run(&a, PQ_KV_F32, true, NULL);
        (void)run(&b, PQ_KV_INT8, false, NULL);
        assert_int_equal(run(&c, PQ_KV_INT8, true, NULL), SAMPLES);
        check_norms(i, b, c);
        outputs_of(a, real);
        outputs_of(b, plain);
        outputs_of(c, smooth);
        double before = error_of(plain, real), after = error_of(smooth, real);
        printf("norms, form %d: error %.3g of %.3g\n", i, after, before);
        assert_true(after < 0.5 * before);
        pq_graph_destroy(a);
        pq_graph_destroy(b);
        pq_graph_destroy(c);
        assert_int_equal(pq_live_bytes(ctx), 0);
        ptqc_ctx_destroy(ctx);
    }
}

// Piece by piece as at once, and again from what was kept.
static void
test_folder(void **state)
{
    (void)state;
    pq_test_folder folder;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    float want[OUTPUTS], got[OUTPUTS];
    pq_graph *g = make_graph(ctx, forms[1].text);
    (void)run(&g, PQ_KV_INT8, true, NULL);
    outputs_of(g, want);
    pq_graph_destroy(g);
    pq_test_folder_create(&folder);
    for (int i = 0; i < 2; i++) {
        g = make_graph(ctx, forms[1].text);
        uint64_t calls = run(&g, PQ_KV_INT8, true, &folder);
        assert_true(i == 0 ? calls >= SAMPLES : calls == 0);
        outputs_of(g, got);
        assert_memory_equal(got, want, sizeof want);
        pq_graph_destroy(g);
    }
    pq_test_folder_remove(&folder);
    ptqc_ctx_destroy(ctx);
}

// Keys behind another op: as they are, with a warning.
static void
test_left_out(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    float want[OUTPUTS], got[OUTPUTS];
    static const char form[] =
        BODY "%k3: f32[1, 1, 5, 8] = neg(%k2)\n" TAIL("%q2", "%k3");
    pq_graph *a = make_graph(ctx, form);
    pq_graph *b = make_graph(ctx, form);
    (void)run(&a, PQ_KV_INT8, false, NULL);
    assert_int_equal(run(&b, PQ_KV_INT8, true, NULL), 0);
    assert_non_null(strstr(sink.text, "int8 keys of 1 attentions"));
    outputs_of(a, want);
    outputs_of(b, got);
    assert_memory_equal(got, want, sizeof want);
    pq_graph_destroy(a);
    pq_graph_destroy(b);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
