// SPDX-License-Identifier: Apache-2.0
//
// kv_update on states: rows where positions say, rounding, padding, rows out
// of range; states that persist, are cleared, change their shape.
#include "base/float16.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tests/unit/ir/interp/op_case.h"

// Not a state: the output starts as a copy.
static void
plain_value(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_KV_UPDATE);
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 3, 2), (float[]){1, 2, 3, 4, 5, 6});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 2), (float[]){-1, -2});
    op_case_in(&c, PTQC_I32, DIMS(1, 1), (int32_t[]){1});
    op_case_run(&c);
    EXPECT_F32(&c, 1, 2, -1, -2, 5, 6);
    op_case_end(&c);
}

// [batch 2][heads 2][capacity 3][1]
static void
rows_and_sequences(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_KV_UPDATE);
    op_case_in(&c, PTQC_F32, DIMS(2, 2, 3, 1), (float[12]){0});
    op_case_in(
        &c, PTQC_F32, DIMS(2, 2, 4, 1),
        (float[]){1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
    // Sequence 0: 3 lies outside, -1 is padding. 1: the last of 0 and 0 stays.
    op_case_in(&c, PTQC_I32, DIMS(2, 4),
               (int32_t[]){2, 3, -1, 0, 0, 0, INT32_MAX, INT32_MIN});
    op_case_run(&c);
    EXPECT_F32(&c, 4, 0, 1, 8, 0, 5, 10, 0, 0, 14, 0, 0);
    op_case_end(&c);
}

static void
rounding(void **state)
{
    (void)state;
    const float x[6] = {1.0f + 0x1p-11f, 1.0f + 0x1.8p-10f, 65519.0f,
                        65520.0f,        -0x1p-25f,         -0.0f};
    uint16_t want[6];
    for (int i = 0; i < 6; i++) {
        want[i] = pq_f32_to_f16(x[i]);
    }
    assert_int_equal(want[3], 0x7c00);
    op_case c;
    op_case_begin(&c, PQ_OP_KV_UPDATE);
    op_case_in(&c, PTQC_F16, DIMS(1, 1, 1, 6), (uint16_t[6]){0});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 1, 6), x);
    op_case_in(&c, PTQC_I32, DIMS(1, 1), (int32_t[]){0});
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, want, sizeof want);
    op_case_end(&c);
}

// Codes and their scale by the rule of dynamic_quantize; zeros have scale 0.
static void
codes(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_KV_UPDATE_CODES);
    op_case_in(&c, PTQC_I8, DIMS(1, 1, 4, 2),
               (int8_t[]){1, 2, 3, 4, 5, 6, 7, 8});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 4), (float[]){1, 2, 3, 4});
    op_case_in(&c, PTQC_F32, DIMS(1, 1, 3, 2),
               (float[]){127, -254, 0, 0, 9, 9});
    op_case_in(&c, PTQC_I32, DIMS(1, 3), (int32_t[]){2, 0, 4});
    op_case_run(&c);
    op_case_expect_bytes(&c, 0, (int8_t[]){0, 0, 3, 4, 64, -127, 7, 8}, 8);
    op_case_expect_bytes(&c, 1, (float[]){0, 2, 2, 4}, 4 * sizeof(float));
    op_case_end(&c);
}

// ---- states of a runner -----------------------------------------------------

static const char text[] =
    "ptir 1\ngraph \"s\" stage float\n"
    "symbol B = [1, inf]\nsymbol T = [0, inf]\nsymbol C = [1, 5] multiple 2\n"
    "input %x: f32[B, 1, T, 1]\ninput %p: i32[B, T]\n"
    "state %s: f32[B, 1, C, 1]\n"
    "%y: f32[B, 1, C, 1] = kv_update(%s, %x, %p)\n"
    "%z: f32[B, 1, C, 1] = neg(%y)\n"
    "output %y\noutput %z\n";

typedef struct runs {
    pq_test_sink sink;
    ptqc_ctx *ctx;
    pq_graph *g;
    pq_runner *r;
    float y[16];
    size_t count;
    bool is_negated; // the second output follows the first
} runs;

static ptqc_status
keep(void *user, pq_value_id v, const pq_tensor *t)
{
    runs *k = user;
    const float *p = t->p;
    assert_true(t->bytes <= sizeof k->y);
    if (pq_value_equal(v, pq_graph_output(k->g, 0))) {
        memcpy(k->y, p, t->bytes);
        k->count = t->bytes / sizeof *p;
        return PTQC_OK;
    }
    k->is_negated = true;
    for (size_t i = 0; i < k->count; i++) {
        k->is_negated = k->is_negated && p[i] == -k->y[i];
    }
    return PTQC_OK;
}

static void
begin(runs *k)
{
    memset(k, 0, sizeof *k);
    k->ctx = pq_test_ctx_create(&k->sink, NULL, 1);
    assert_int_equal(pq_graph_parse(k->ctx, "s", PQ_STR(text), &k->g), PTQC_OK);
    assert_int_equal(pq_interp_make(k->ctx, k->g, NULL, 0, &k->r), PTQC_OK);
}

static void
end(runs *k)
{
    k->r->destroy(k->r);
    pq_graph_destroy(k->g);
    assert_true(pq_live_bytes(k->ctx) == 0);
    ptqc_ctx_destroy(k->ctx);
}

static void
step(runs *k, int64_t batch, int64_t tokens, const float *x,
     const int32_t *positions)
{
    size_t n = (size_t)(batch * tokens) * 4;
    const pq_tensor in[2] = {
        {PTQC_F32, 4, {batch, 1, tokens, 1}, (void *)(uintptr_t)x, n},
        {PTQC_I32, 2, {batch, tokens}, (void *)(uintptr_t)positions, n},
    };
    k->is_negated = false;
    assert_int_equal(k->r->run(k->r, in, keep, k), PTQC_OK);
    assert_true(k->is_negated);
}

static void
expect(const runs *k, const float *want, size_t n)
{
    assert_int_equal(k->count, n);
    assert_true(pq_test_same_bytes("state", k->y, want, n * sizeof *want));
}

#define EXPECT_STATE(k, ...)                                                   \
    expect((k), (const float[]){__VA_ARGS__},                                  \
           sizeof((const float[]){__VA_ARGS__}) / sizeof(float))

static void
persistence(void **state)
{
    (void)state;
    runs k;
    begin(&k);
    step(&k, 1, 2, (float[]){7, 8}, (int32_t[]){1, 0});
    EXPECT_STATE(&k, 8, 7, 0, 0); // C: the largest multiple of 2 up to 5
    step(&k, 1, 1, (float[]){9}, (int32_t[]){3});
    EXPECT_STATE(&k, 8, 7, 0, 9);
    step(&k, 1, 0, (float[]){0}, (int32_t[]){0}); // no token
    EXPECT_STATE(&k, 8, 7, 0, 9);
    pq_interp_clear_states(k.r);
    step(&k, 1, 1, (float[]){1}, (int32_t[]){-1});
    EXPECT_STATE(&k, 0, 0, 0, 0);
    end(&k);
}

static void
shapes(void **state)
{
    (void)state;
    runs k;
    begin(&k);
    step(&k, 1, 1, (float[]){7}, (int32_t[]){1});
    assert_int_equal(pq_interp_set_symbol(k.r, PQ_STR("C"), 2), PTQC_OK);
    step(&k, 1, 1, (float[]){8}, (int32_t[]){0});
    EXPECT_STATE(&k, 8, 0); // another shape: zero again
    step(&k, 2, 1, (float[]){1, 2}, (int32_t[]){0, 1});
    EXPECT_STATE(&k, 1, 0, 0, 2);
    assert_int_equal(pq_interp_set_symbol(k.r, PQ_STR("C"), 3), PTQC_E_INPUT);
    assert_int_equal(pq_interp_set_symbol(k.r, PQ_STR("C"), 6), PTQC_E_INPUT);
    assert_int_equal(pq_interp_set_symbol(k.r, PQ_STR("Q"), 2), PTQC_E_INPUT);
    assert_int_equal(k.sink.error_count, 3);
    step(&k, 2, 1, (float[]){3, 4}, (int32_t[]){1, 0});
    EXPECT_STATE(&k, 1, 3, 4, 2);
    end(&k);
}

// A capacity that nothing gives.
static void
unbound_capacity(void **state)
{
    (void)state;
    static const char open_text[] =
        "ptir 1\ngraph \"s\" stage float\nsymbol C = [1, inf]\n"
        "input %x: f32[1, 1, 1, 1]\ninput %p: i32[1, 1]\n"
        "state %s: f32[1, 1, C, 1]\n"
        "%y: f32[1, 1, C, 1] = kv_update(%s, %x, %p)\noutput %y\n";
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g;
    pq_runner *r;
    float x = 5;
    int32_t p = 1;
    const pq_tensor in[2] = {
        {PTQC_F32, 4, {1, 1, 1, 1}, &x, sizeof x},
        {PTQC_I32, 2, {1, 1}, &p, sizeof p},
    };
    runs k = {.ctx = ctx};
    assert_int_equal(pq_graph_parse(ctx, "s", PQ_STR(open_text), &g), PTQC_OK);
    k.g = g;
    assert_int_equal(pq_interp_make(ctx, g, NULL, 0, &r), PTQC_OK);
    assert_int_equal(r->run(r, in, keep, &k), PTQC_E_INPUT);
    assert_non_null(strstr(sink.text, "needs a symbol"));
    assert_int_equal(pq_interp_set_symbol(r, PQ_STR("C"), 3), PTQC_OK);
    assert_int_equal(r->run(r, in, keep, &k), PTQC_OK);
    EXPECT_STATE(&k, 0, 5, 0);
    r->destroy(r);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_value),
        cmocka_unit_test(rows_and_sequences),
        cmocka_unit_test(rounding),
        cmocka_unit_test(codes),
        cmocka_unit_test(persistence),
        cmocka_unit_test(shapes),
        cmocka_unit_test(unbound_capacity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
