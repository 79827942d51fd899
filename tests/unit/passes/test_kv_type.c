// SPDX-License-Identifier: Apache-2.0
//
// Types of key and value states: what becomes of a layer, that the outputs
// stay near, and what is refused.
#include "ir/text.h"
#include "tests/unit/passes/pass_test.h"

#define HEAD                                                                   \
    "ptir 1\ngraph \"kv\" stage float\nsymbol T = [1, inf]\n"                  \
    "input %q: f32[1, 4, T, 8]\ninput %x: f32[1, 2, T, 8]\n"                   \
    "input %y: f32[1, 2, T, 8]\ninput %p: i32[1, T]\n"

#define LAYER(type)                                                            \
    HEAD "state %k.0: " type "[1, 2, 5, 8]\nstate %v.0: " type                 \
         "[1, 2, 5, 8]\n%K: " type                                             \
         "[1, 2, 5, 8] = kv_update(%k.0, %x, %p)\n%V: " type                   \
         "[1, 2, 5, 8] = kv_update(%v.0, %y, %p)\n"                            \
         "%out: f32[1, 4, T, 8] = attention(%q, %K, %V)\noutput %out\n"

static const char codes[] =
    HEAD "state %k.0: i8[1, 2, 5, 8]\nstate %v.0: i8[1, 2, 5, 8]\n"
         "state %k.0.scale: f32[1, 2, 5]\nstate %v.0.scale: f32[1, 2, 5]\n"
         "%t11: i8[1, 2, 5, 8], %t12: f32[1, 2, 5] = "
         "kv_update_codes(%k.0, %k.0.scale, %x, %p)\n"
         "%t14: i8[1, 2, 5, 8], %t15: f32[1, 2, 5] = "
         "kv_update_codes(%v.0, %v.0.scale, %y, %p)\n"
         "%out: f32[1, 4, T, 8] = attention(%q, %t11, %t14, _, _, %t12, %t15)\n"
         "output %out\n";

static pq_graph *
parse(ptqc_ctx *ctx, const char *text)
{
    pq_graph *g;
    assert_int_equal(pq_graph_parse(ctx, "kv", pq_str_of(text), &g), PTQC_OK);
    return g;
}

static ptqc_status
run(pq_graph **g, pq_kv_type type)
{
    static const char *const pass[] = {"kv-type"};
    const pq_recipe recipe = {.kv = type};
    pq_arena scratch;
    pq_arena_init(&scratch, pq_graph_ctx(*g));
    pq_pass_env env = {.scratch = &scratch, .recipe = &recipe};
    const pq_pipeline_desc desc = {.flags = PQ_PIPELINE_VERIFY};
    ptqc_status st = pq_pipeline_run(g, &env, pass, 1, &desc);
    pq_arena_deinit(&scratch);
    return st;
}

static void
expect_text(const pq_graph *g, const char *want)
{
    pq_strbuf text;
    pq_strbuf_init(&text, pq_graph_ctx(g));
    assert_int_equal(pq_graph_print(g, 0, &text), PTQC_OK);
    assert_string_equal(text.p, want);
    pq_strbuf_deinit(&text);
}

static void
types(void **state)
{
    (void)state;
    static const struct {
        pq_kv_type type;
        const char *want;
        double tolerance;
    } cases[] = {
        {PQ_KV_AS_IS, LAYER("f16"), 0},
        {PQ_KV_F16, LAYER("f16"), 0},
        {PQ_KV_F32, LAYER("f32"), 1e-3},
        {PQ_KV_INT8, codes, 3e-2},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        ptqc_ctx *ctx = pq_pass_test_ctx(i % 2 != 0 ? PTQC_TORTURE_TEXT : 0);
        pq_graph *before = parse(ctx, LAYER("f16"));
        pq_graph *after = parse(ctx, LAYER("f16"));
        assert_int_equal(run(&after, cases[i / 2].type), PTQC_OK);
        expect_text(after, cases[i / 2].want);
        pq_pass_test_compare("kv", before, after, cases[i / 2].tolerance);
        pq_graph_destroy(before);
        pq_graph_destroy(after);
        assert_int_equal(pq_live_bytes(ctx), 0);
        ptqc_ctx_destroy(ctx);
    }
}

static void
refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        pq_kv_type type;
        ptqc_status status;
    } cases[] = {
        {HEAD "%n: f32[1, 4, T, 8] = neg(%q)\noutput %n\n", PQ_KV_F32,
         PTQC_E_USAGE},
        {HEAD "state %s: f16[1, 2, 5, 8]\n"
              "%n: f16[1, 2, 5, 8] = kv_update(%s, %x, %p)\noutput %n\n",
         PQ_KV_INT8, PTQC_E_UNSUPPORTED},
        {HEAD "state %s: f16[1, 2, 5, 8]\n"
              "%o: f32[1, 4, T, 8] = attention(%q, %s, %s)\n"
              "%n: f16[1, 2, 5, 8] = kv_update(%s, %x, %p)\n"
              "%m: f32[1, 4, T, 8] = attention(%o, %n, %n)\noutput %m\n",
         PQ_KV_INT8, PTQC_E_UNSUPPORTED},
        // keys that are the mask, too
        {"ptir 1\ngraph \"kv\" stage float\nsymbol T = [1, inf]\n"
         "input %q: f32[1, 2, 8, 8]\ninput %x: f32[1, 2, T, 8]\n"
         "input %p: i32[1, T]\nstate %s: f32[1, 2, 8, 8]\n"
         "%n: f32[1, 2, 8, 8] = kv_update(%s, %x, %p)\n"
         "%o: f32[1, 2, 8, 8] = attention(%q, %n, %n, %n)\noutput %o\n",
         PQ_KV_INT8, PTQC_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_graph *g = parse(ctx, cases[i].text);
        assert_int_equal(run(&g, cases[i].type), cases[i].status);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

static void
names(void **state)
{
    (void)state;
    static const char *const all[] = {"f16", "f32", "int8"};
    pq_kv_type type;
    for (int i = 0; i < 3; i++) {
        assert_true(pq_kv_type_parse(pq_str_of(all[i]), &type));
        assert_int_equal(type, PQ_KV_F16 + i);
    }
    assert_false(pq_kv_type_parse(PQ_STR(""), &type));
    assert_false(pq_kv_type_parse(PQ_STR("i8"), &type));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),
        cmocka_unit_test(refused),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
