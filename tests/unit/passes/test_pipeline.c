// SPDX-License-Identifier: Apache-2.0
//
// The loop over passes: names, stages, the hook; the table of passes; recipes
// as JSON.
#include <string.h>

#include "base/json.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

static const char text[] = "ptir 1\ngraph \"g\" stage float\n"
                           "input %x: f32[2]\n%y: f32[2] = identity(%x)\n"
                           "output %y\n";

static void
count_call(void *user, const pq_pass_info *pass, const pq_graph *g, uint64_t ns)
{
    (void)ns;
    assert_non_null(pass);
    assert_non_null(g);
    ++*(int *)user;
}

static void
the_loop(void **state)
{
    (void)state;
    static const char *const good[] = {"dce", "canonicalize"};
    static const char *const unknown[] = {"no-such-pass"};
    static const char *const early[] = {"qdq-to-integer"};
    static pq_test_sink sink;
    int calls = 0;
    const pq_pipeline_desc desc = {.hook = count_call, .hook_user = &calls};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_graph *g = NULL;
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    const pq_recipe recipe = {0};
    pq_pass_env env = {.scratch = &scratch, .recipe = &recipe};
    assert_int_equal(pq_graph_parse(ctx, "g", pq_str_of(text), &g), PTQC_OK);
    assert_int_equal(pq_pipeline_run(&g, &env, good, 2, &desc), PTQC_OK);
    assert_int_equal(calls, 2);
    assert_int_equal(pq_graph_live_op_count(g), 0);
    assert_int_equal(pq_pipeline_run(&g, &env, unknown, 1, NULL), PTQC_E_USAGE);
    assert_int_equal(pq_pipeline_run(&g, &env, early, 1, NULL),
                     PTQC_E_INTERNAL);
    ptqc_ctx_cancel(ctx);
    assert_int_equal(pq_pipeline_run(&g, &env, good, 1, NULL),
                     PTQC_E_CANCELLED);
    pq_arena_deinit(&scratch);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

static void
the_table(void **state)
{
    (void)state;
    uint32_t n = 0;
    for (const pq_pass_info *p; (p = pq_pass_at(n)) != NULL; n++) {
        assert_ptr_equal(pq_pass_find(pq_str_of(p->name)), p);
        assert_true(p->before <= p->after && p->summary[0] != '\0');
    }
    assert_true(n > 15);
    assert_null(pq_pass_find(PQ_STR("")));
    assert_true(pq_method_is_known(PQ_STR("rtn")));
    assert_false(pq_method_is_known(PQ_STR("magic")));
}

static void
recipe_text(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_recipe recipe = {.has_scheme = true,
                        .method = PQ_STR("rtn"),
                        .observer = PQ_OBSERVER_PERCENTILE,
                        .percentile = 99.5,
                        .seed = 7};
    assert_int_equal(pq_scheme_parse(ctx, PQ_STR("w4a16:g32"), &recipe.scheme),
                     PTQC_OK);
    pq_strbuf out;
    pq_json_writer w;
    pq_strbuf_init(&out, ctx);
    pq_jw_init(&w, &out);
    pq_jw_begin_object(&w, NULL);
    pq_recipe_write(&recipe, &w);
    pq_jw_end_object(&w);
    pq_json *json = NULL;
    pq_str s;
    double percentile;
    assert_int_equal(
        pq_json_parse(ctx, "recipe", (pq_str){out.p, out.n}, &json), PTQC_OK);
    assert_true(pq_json_str(pq_json_get(json, "scheme"), &s));
    assert_true(pq_str_equal_z(s, "w4a16:g32:sym"));
    assert_true(pq_json_str(pq_json_get(json, "observer"), &s));
    assert_true(pq_str_equal_z(s, "percentile"));
    assert_true(pq_json_f64(pq_json_get(json, "percentile"), &percentile));
    assert_true(percentile > 99.49 && percentile < 99.51);
    assert_int_equal(pq_json_array_count(pq_json_get(json, "rules")), 0);
    pq_json_free(json);
    pq_strbuf_deinit(&out);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_loop),
        cmocka_unit_test(the_table),
        cmocka_unit_test(recipe_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
