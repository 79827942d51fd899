// SPDX-License-Identifier: Apache-2.0
//
// Each pass on its own: tests/ptir/passes/CASE.before.ptir must become
// CASE.after.ptir, with torture modes, too, and the interpreter must give the
// same outputs for both: bit for bit when the pass calls itself exact.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "ir/text.h"
#include "passes/pipeline.h"
#include "tests/unit/passes/pass_test.h"

typedef struct pq_case {
    const char *name; // of the files
    const char *pass;
    double tolerance; // of numeric passes, relative to the largest output
    bool keeps_bits;  // of passes that are exact on this graph
} pq_case;

static const pq_case cases[] = {
    {"fold-constants", "fold-constants", 0, true},
    {"canonicalize-move", "canonicalize", 0, true},
    {"canonicalize-math", "canonicalize", 1e-6, false},
    {"cse", "cse", 0, true},
    {"dce", "dce", 0, true},
    {"fold-batchnorm", "fold-batchnorm", 1e-6, false},
    {"fold-scale", "fold-scale", 1e-6, false},
    {"fuse-bias", "fuse-bias", 0, true},
    {"fuse-residual", "fuse-residual", 0, true},
    {"fuse-activation", "fuse-activation", 0, true},
    {"detect-norm", "detect-norm", 1e-5, false},
    {"detect-gelu", "detect-gelu", 1e-5, false},
    {"detect-gate", "detect-gate", 1e-5, false},
    {"detect-softmax", "detect-softmax", 1e-6, false},
    // One step of the coarsest scale.
    {"qdq-to-integer", "qdq-to-integer", 0.02, false},
    {"drop-fake-quant", "drop-fake-quant", 0.03, false},
    {"insert-dynamic-groups", "insert-qdq", 0.3, false},
    {"insert-three-bits", "insert-qdq", 0.5, false},
};

static bool
changes_stage(const pq_case *c)
{
    return strcmp(c->pass, "insert-qdq") == 0;
}

static pq_str
read_text(ptqc_ctx *ctx, const char *name, const char *side, pq_map *map)
{
    char path[256];
    snprintf(path, sizeof path, "tests/ptir/passes/%s.%s.ptir", name, side);
    assert_int_equal(pq_map_open(ctx, path, map), PTQC_OK);
    return (pq_str){(const char *)map->p, map->n};
}

static void
check_text(const pq_case *c, const pq_graph *g, pq_str expected)
{
    pq_strbuf text;
    pq_strbuf_init(&text, pq_graph_ctx(g));
    assert_int_equal(pq_graph_print(g, 0, &text), PTQC_OK);
    if (!pq_str_equal((pq_str){text.p, text.n}, expected)) {
        print_error("%s gives\n%s\nexpected\n%.*s\n", c->name, text.p,
                    PQ_STR_ARG(expected));
    }
    assert_true(pq_str_equal((pq_str){text.p, text.n}, expected));
    pq_strbuf_deinit(&text);
}

static void
run_case(const pq_case *c, uint64_t torture)
{
    ptqc_ctx *ctx = pq_pass_test_ctx(torture);
    pq_map before_map, after_map;
    pq_graph *before, *after;
    pq_str text = read_text(ctx, c->name, "before", &before_map);
    assert_int_equal(pq_graph_parse(ctx, c->name, text, &before), PTQC_OK);
    assert_int_equal(pq_graph_parse(ctx, c->name, text, &after), PTQC_OK);
    pq_pass_test_run(&after, &c->pass, 1, NULL);
    pq_str expected = read_text(ctx, c->name, "after", &after_map);
    check_text(c, after, expected);
    pq_pass_test_compare(c->name, before, after,
                         c->keeps_bits ? 0 : c->tolerance);
    pq_graph_destroy(before);
    pq_graph_destroy(after);
    pq_map_close(&before_map);
    pq_map_close(&after_map);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

static void
plain(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_case(&cases[i], 0);
    }
}

static void
tortured(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_case(&cases[i], PTQC_TORTURE_CLONE);
        run_case(&cases[i], PTQC_TORTURE_CLONE | PTQC_TORTURE_TEXT);
    }
}

// A second run finds nothing to do.
static void
settled(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (changes_stage(&cases[i])) {
            continue;
        }
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_map map;
        pq_graph *g;
        pq_str text = read_text(ctx, cases[i].name, "after", &map);
        assert_int_equal(pq_graph_parse(ctx, cases[i].name, text, &g), PTQC_OK);
        pq_pass_test_run(&g, &cases[i].pass, 1, NULL);
        check_text(&cases[i], g, text);
        pq_graph_destroy(g);
        pq_map_close(&map);
        ptqc_ctx_destroy(ctx);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(tortured),
        cmocka_unit_test(settled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
