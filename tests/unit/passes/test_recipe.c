// SPDX-License-Identifier: Apache-2.0
//
// Recipe texts: what they say, that their expanded form says the same, the
// place of every error, limits, presets, and allocation failures.
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "ir/text.h"
#include "passes/recipe.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

static ptqc_status
read(ptqc_ctx *ctx, pq_str text, pq_arena *arena, pq_recipe *out)
{
    pq_recipe_init(out);
    return pq_recipe_read(ctx, "r.yaml", text, arena, out);
}

static void
expand(ptqc_ctx *ctx, const pq_recipe *r, pq_strbuf *out)
{
    pq_json_writer w;
    pq_strbuf_init(out, ctx);
    pq_jw_init(&w, out);
    pq_jw_begin_object(&w, NULL);
    pq_recipe_write(r, &w);
    pq_jw_end_object(&w);
    assert_false(out->failed);
}

#define BYTES_MAX (1u << 20) // of a recipe's text

// ---- what is read ---------------------------------------------------------

static const char full[] =
    "# a comment\n"
    "ptqc: 1\n"
    "base: best\n"
    "description: \"of a test\"\n"
    "scheme: w4a16:g32\n"
    "observer: percentile\n"
    "percentile: 99.5\n"
    "kv: int8\n"
    "calib_samples: 12\n"
    "seed: 7\n"
    "keep: ['head*', \"re:^a$\"]\n"
    "rules:\n"
    "  - {match: 're:down_proj$', scheme: w8a16, method: rtn}\n"
    "  - match: norm\n"
    "    keep: float\n"
    "  - {op: matmul, observer: minmax, scale_search: mse, optional: true}\n";

static void
all_keys(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_arena arena;
    pq_recipe r;
    pq_arena_init(&arena, ctx);
    assert_int_equal(read(ctx, pq_str_of(full), &arena, &r), PTQC_OK);
    assert_true(r.has_scheme && r.scheme.weights.group == 32);
    assert_true(pq_recipe_quantizes(&r) && !pq_recipe_is_static(&r));
    assert_int_equal(r.observer, PQ_OBSERVER_PERCENTILE);
    assert_true(r.percentile > 99.49 && r.percentile < 99.51);
    assert_int_equal(r.kv, PQ_KV_INT8);
    assert_int_equal(r.sample_limit, 12);
    assert_int_equal(r.seed, 7);
    assert_int_equal(r.rules->count, 7); // two of them the base's, at the end
    const pq_op_rule *rules = r.rules->rules;
    assert_true(rules[0].settings.is_float);
    assert_true(pq_str_equal_z(rules[0].place, "r.yaml:11:8"));
    assert_int_equal(rules[2].sets, PQ_SETS_SCHEME | PQ_SETS_METHOD);
    assert_int_equal(rules[2].settings.scheme.weights.format, PTQC_I8);
    assert_true(rules[3].settings.is_float);
    assert_true(rules[4].has_op && rules[4].is_optional);
    assert_int_equal(rules[4].op, PQ_OP_MATMUL);
    assert_int_equal(rules[4].settings.scale_search, PQ_SCALE_MSE);
    assert_int_equal(rules[5].op, PQ_OP_CONV);
    pq_recipe_deinit(&r);
    pq_arena_deinit(&arena);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

// The expanded text is a recipe text whose expanded text is the same.
static void
expanded_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        full,
        "ptqc: 1",
        "ptqc: 1\nbase: draft",
        "ptqc: 1\nkv: f32",
        "{\"ptqc\": 1, \"scheme\": \"w8a8:dyn:t\", \"keep\": [\"a\\u0001b\"]}",
        "ptqc: 1\nrules: [{match: a, scheme: w8a8, observer: percentile}]"};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        pq_arena arena;
        pq_recipe r, again;
        pq_strbuf a, b;
        pq_arena_init(&arena, ctx);
        assert_int_equal(read(ctx, pq_str_of(texts[i]), &arena, &r), PTQC_OK);
        expand(ctx, &r, &a);
        assert_int_equal(read(ctx, (pq_str){a.p, a.n}, &arena, &again),
                         PTQC_OK);
        expand(ctx, &again, &b);
        assert_string_equal(a.p, b.p);
        pq_strbuf_deinit(&a);
        pq_strbuf_deinit(&b);
        pq_recipe_deinit(&r);
        pq_recipe_deinit(&again);
        pq_arena_deinit(&arena);
    }
    ptqc_ctx_destroy(ctx);
}

static void
presets(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    const pq_preset *p;
    uint32_t n = 0;
    for (; (p = pq_preset_at(n)) != NULL; n++) {
        pq_arena arena;
        pq_recipe r;
        pq_arena_init(&arena, ctx);
        pq_recipe_init(&r);
        assert_int_equal(pq_recipe_load(ctx, p->name, &arena, &r), PTQC_OK);
        assert_false(r.has_scheme);
        assert_ptr_equal(pq_preset_find(pq_str_of(p->name)), p);
        pq_recipe_deinit(&r);
        pq_arena_deinit(&arena);
    }
    assert_int_equal(n, 3);
    ptqc_ctx_destroy(ctx);
}

// ---- what is refused ------------------------------------------------------

typedef struct refusal {
    const char *text, *said; // said: what the message begins with
} refusal;

static const refusal refusals[] = {
    {"", "r.yaml:1:1: an empty text"},
    {"# nothing\n", "r.yaml:1:1: an empty text"},
    {"[]", "r.yaml:1:1: no recipe"},
    {"scheme: w8a8", "r.yaml:1:1: no recipe"},
    {"ptqc: 2", "r.yaml:1:7: ptqc: expected version 1"},
    {"ptqc: '1'", "r.yaml:1:7: ptqc: expected version 1"},
    {"ptqc: 1\nshceme: w8a8",
     "r.yaml:2:1: unknown key 'shceme'; did you mean 'scheme'?"},
    {"ptqc: 1\nzzzzzzzz: 1",
     "r.yaml:2:1: unknown key 'zzzzzzzz'; expected one"},
    {"ptqc: 1\nmatch: a", "r.yaml:2:1: unknown key 'match'"},
    {"ptqc: 1\nscheme: w9a9", "r.yaml:2:9: scheme 'w9a9': expected"},
    {"ptqc: 1\nscheme: [w8a8]",
     "r.yaml:2:9: scheme: expected text, found a list"},
    {"ptqc: 1\nmethod: magic", "r.yaml:2:9: method: expected rtn, or"},
    {"ptqc: 1\nrules: [{match: a, method: magic}]",
     "r.yaml:2:28: method: expected rtn, or"},
    {"ptqc: 1\nobserver: eye", "r.yaml:2:11: observer: expected an observer"},
    {"ptqc: 1\nobserver: percentile\npercentile: 50",
     "r.yaml:3:13: percentile: expected a number above 50"},
    {"ptqc: 1\npercentile: 99", "r.yaml:2:13: percentile without"},
    {"ptqc: 1\nscale_search: x", "r.yaml:2:15: scale_search: expected minmax"},
    {"ptqc: 1\nkv: i4", "r.yaml:2:5: kv: expected f16"},
    {"ptqc: 1\ncalib_samples: 0",
     "r.yaml:2:16: calib_samples: expected a whole number above 0"},
    {"ptqc: 1\nseed: -1", "r.yaml:2:7: seed: expected a whole number, 0"},
    {"ptqc: 1\nseed: 18446744073709551615", "r.yaml:2:7: seed: expected"},
    {"ptqc: 1\nbase: bset", "r.yaml:2:7: base: expected a preset"},
    {"ptqc: 1\nkeep: a", "r.yaml:2:7: keep: expected a list"},
    {"ptqc: 1\nkeep: ['']", "r.yaml:2:8: expected a name"},
    {"ptqc: 1\nrules: {a: 1}", "r.yaml:2:8: rules: expected a list of rules"},
    {"ptqc: 1\nrules: [a]", "r.yaml:2:9: expected a rule"},
    {"ptqc: 1\nrules: [{match: a}]", "r.yaml:2:9: a rule that sets nothing"},
    {"ptqc: 1\nrules: [{scheme: w8a8}]", "r.yaml:2:9: a rule without match"},
    {"ptqc: 1\nrules: [{match: a, kv: f16}]", "r.yaml:2:20: unknown key 'kv'"},
    {"ptqc: 1\nrules: [{match: a, keep: int}]",
     "r.yaml:2:26: keep: expected float"},
    {"ptqc: 1\nrules: [{match: a, keep: float, scheme: w8a8}]",
     "r.yaml:2:41: keep and scheme in one rule"},
    {"ptqc: 1\nrules: [{match: a, keep: float, method: rtn}]",
     "r.yaml:2:9: a rule that keeps ops float sets nothing else"},
    {"ptqc: 1\nrules: [{op: konv, keep: float}]",
     "r.yaml:2:14: op: expected an op"},
    {"ptqc: 1\nrules: [{match: 're:(', keep: float}]",
     "r.yaml:2:9: regular expression '('"},
    {"ptqc: 1\nrules: [{match: a, keep: float, optional: 1}]",
     "r.yaml:2:43: optional: expected true or false"},
    // YAML that is not read.
    {"ptqc: &a 1", "r.yaml:1:7: anchors"},
    {"ptqc: *a", "r.yaml:1:7: aliases"},
    {"ptqc: !!int 1", "r.yaml:1:7: tags"},
    {"!x {ptqc: 1}", "r.yaml:1:1: tags"},
    {"%TAG ! tag:x,2000:\n---\nptqc: 1", "r.yaml:1:1: tags"},
    {"ptqc: 1\n---\nptqc: 1", "r.yaml:2:1: a second document"},
    {"ptqc: 1\nptqc: 1", "r.yaml:2:1: key 'ptqc' is there already, in line 1"},
    {"{[a]: 1}", "r.yaml:1:2: expected text as a key"},
    {"ptqc: 1\n<<: {scheme: w8a8}", "r.yaml:2:1: unknown key '<<'"},
    {"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "r.yaml:1:17: more than 16 levels"},
    {"a: [", "r.yaml:"},
    {"a: b: c", "r.yaml:1:5: "},
    {"a: \x01", "r.yaml: byte 3: control characters"},
    {"a: \xff", "r.yaml: byte 3: "},
};

static void
refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_arena arena;
        pq_recipe r;
        char said[256];
        pq_arena_init(&arena, ctx);
        assert_int_equal(read(ctx, pq_str_of(refusals[i].text), &arena, &r),
                         PTQC_E_USAGE);
        snprintf(said, sizeof said, "error: %s", refusals[i].said);
        if (strncmp(sink.text, said, strlen(said)) != 0) {
            print_error("%s\nsaid %s, expected %s\n", refusals[i].text,
                        sink.text, said);
        }
        assert_int_equal(sink.error_count, 1);
        assert_int_equal(strncmp(sink.text, said, strlen(said)), 0);
        pq_recipe_deinit(&r);
        pq_arena_deinit(&arena);
        assert_int_equal(pq_live_bytes(ctx), 0);
        ptqc_ctx_destroy(ctx);
    }
}

// Every prefix is read or refused with one message.
static void
cut_texts(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof full; n++) {
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_arena arena;
        pq_recipe r;
        pq_arena_init(&arena, ctx);
        ptqc_status st = read(ctx, (pq_str){full, n}, &arena, &r);
        assert_int_equal(sink.error_count, st != PTQC_OK);
        pq_recipe_deinit(&r);
        pq_arena_deinit(&arena);
        ptqc_ctx_destroy(ctx);
    }
}

static void
limits(void **state)
{
    (void)state;
    static char text[BYTES_MAX + 2];
    static const struct {
        const char *begin, *repeat, *said;
        size_t n; // of the whole text
    } cases[] = {
        {"ptqc: 1 #", "#", "at most 1048576 bytes", BYTES_MAX + 1},
        {"[", "1,", "too many values", 300000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        size_t n = strlen(cases[i].begin);
        memcpy(text, cases[i].begin, n);
        for (size_t k = strlen(cases[i].repeat); n + k <= cases[i].n; n += k) {
            memcpy(text + n, cases[i].repeat, k);
        }
        pq_arena arena;
        pq_recipe r;
        pq_arena_init(&arena, ctx);
        assert_int_equal(read(ctx, (pq_str){text, n}, &arena, &r),
                         PTQC_E_USAGE);
        assert_non_null(strstr(sink.text, cases[i].said));
        pq_arena_deinit(&arena);
        ptqc_ctx_destroy(ctx);
    }
}

// ---- rules and graphs -----------------------------------------------------

static const char network[] = "ptir 1\ngraph \"net\" stage float\n"
                              "const c1: f32[2, 2] = [1, 2, 3, 4]\n"
                              "input %x: f32[1, 2]\n%w: f32[2, 2] = c1\n"
                              "%a: f32[1, 2] = matmul \"layers/0\"(%x, %w)\n"
                              "%b: f32[1, 2] = relu(%a)\n"
                              "%y: f32[1, 2] = matmul \"layers/1\"(%b, %w)\n"
                              "output %y\n";

static const refusal bindings[] = {
    {"{match: 'layers/?', keep: float}", NULL},
    {"{match: 're:s/1$', keep: float}", NULL},
    {"{match: x, observer: minmax}", NULL},
    {"{op: relu, keep: float}", NULL},
    {"{match: none, keep: float, optional: true}", NULL},
    {"{match: w, scheme: w8a16}", NULL}, // its weight's name
    {"{match: layer, keep: float}",
     "r.yaml:2:9: rule 'layer' matches nothing; a name of the model is "
     "'layers/"},
    {"{op: conv, keep: float}", "r.yaml:2:9: rule '' for conv matches nothing"},
    {"{match: 're:(a+)+(a+)+b|x*x*x*x*$', keep: float}", NULL},
};

static void
bound_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bindings / sizeof *bindings; i++) {
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_graph *g;
        pq_arena arena;
        pq_recipe r;
        char text[256];
        pq_arena_init(&arena, ctx);
        snprintf(text, sizeof text, "ptqc: 1\nrules: [%s]", bindings[i].text);
        assert_int_equal(pq_graph_parse(ctx, "net", pq_str_of(network), &g),
                         PTQC_OK);
        assert_int_equal(read(ctx, pq_str_of(text), &arena, &r), PTQC_OK);
        ptqc_status st = pq_rules_bind(r.rules, g);
        if (bindings[i].said == NULL) {
            assert_int_equal(st, PTQC_OK);
            assert_int_equal(pq_rules_bind(r.rules, g), PTQC_OK); // again
        } else {
            assert_int_equal(st, PTQC_E_USAGE);
            assert_non_null(strstr(sink.text, bindings[i].said));
        }
        pq_recipe_deinit(&r);
        pq_graph_destroy(g);
        pq_arena_deinit(&arena);
        assert_int_equal(pq_live_bytes(ctx), 0);
        ptqc_ctx_destroy(ctx);
    }
}

// The first rule that matches decides, and what it does not say stays.
static void
settings(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g;
    pq_arena arena;
    pq_recipe r;
    pq_arena_init(&arena, ctx);
    assert_int_equal(pq_graph_parse(ctx, "net", pq_str_of(network), &g),
                     PTQC_OK);
    assert_int_equal(
        read(ctx,
             PQ_STR("ptqc: 1\nscheme: w8a8\nrules: [{match: 'layers/0', "
                    "observer: minmax}, {match: 'layers/*', scheme: w4a16}]"),
             &arena, &r),
        PTQC_OK);
    assert_int_equal(pq_rules_bind(r.rules, g), PTQC_OK);
    pq_op_id first = pq_graph_first_op(g);
    pq_op_id last = pq_graph_last_op(g);
    pq_settings s = pq_recipe_settings(&r, g, pq_graph_op(g, first));
    assert_int_equal(s.observer, PQ_OBSERVER_MINMAX);
    assert_int_equal(s.scheme.weights.format, PTQC_I8);
    s = pq_recipe_settings(&r, g, pq_graph_op(g, last));
    assert_int_equal(s.observer, PQ_OBSERVER_MSE);
    assert_int_equal(s.scheme.weights.format, PTQC_U4);
    s = pq_recipe_settings_of_value(&r, g, pq_graph_input(g, 0));
    assert_int_equal(s.observer, PQ_OBSERVER_MSE);
    pq_recipe_deinit(&r);
    pq_graph_destroy(g);
    pq_arena_deinit(&arena);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
sweep_body(ptqc_ctx *ctx, void *user)
{
    pq_arena arena;
    pq_recipe r;
    (void)user;
    pq_arena_init(&arena, ctx);
    ptqc_status st = read(ctx, pq_str_of(full), &arena, &r);
    pq_recipe_deinit(&r);
    pq_arena_deinit(&arena);
    return st;
}

static void
failing_allocations(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(sweep_body, NULL) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_keys),
        cmocka_unit_test(expanded_text),
        cmocka_unit_test(presets),
        cmocka_unit_test(refused),
        cmocka_unit_test(cut_texts),
        cmocka_unit_test(limits),
        cmocka_unit_test(bound_rules),
        cmocka_unit_test(settings),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
