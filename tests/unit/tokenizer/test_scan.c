// SPDX-License-Identifier: Apache-2.0
//
// The scanners against PCRE2 running the expression that they stand for, on
// hand-made and on random texts (characters of which PCRE2 and utf8proc think
// alike).
#include "tests/support/random.h"
#include "tests/unit/tokenizer/texts.h"
#include "tokenizer/steps.h"
#include "tokenizer/unicode.h"

static void
compare(ptqc_ctx *ctx, pq_tok_scan_kind kind, pq_tok_regex *re, pq_str text)
{
    pq_tok_matcher m;
    size_t start, end, at = 0;
    bool found;
    assert_int_equal(pq_tok_matcher_init(&m, ctx, re, text), PTQC_OK);
    while (at < text.n) {
        size_t n = pq_tok_scan(kind, (pq_str){text.p + at, text.n - at});
        assert_int_equal(pq_tok_matcher_next(&m, &found, &start, &end),
                         PTQC_OK);
        if (!found || start != at || end != at + n) {
            print_error("scanner %d: '%.*s' at %zu: %zu bytes, not %zu\n",
                        (int)kind, PQ_STR_ARG(text), at, n, end - start);
        }
        assert_true(found);
        assert_int_equal(start, at);
        assert_int_equal(end, at + n);
        at += n;
    }
    pq_tok_matcher_deinit(&m);
}

static const char *const parts[] = {
    "a",
    "Z",
    "\xc3\xa9",
    "\xe4\xbd\xa0",
    "\xd7\xa9",
    "1",
    "9",
    "\xc2\xbd",
    " ",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\xc2\xa0",
    "\xe3\x80\x80",
    ".",
    "'",
    "'s",
    "'LL",
    "'Re",
    "'\xc5\xbf",
    "-",
    "\xe2\x80\xa6",
    "\xf0\x9f\x98\x80",
    "\xcc\x81",
    "the",
    "_",
    "\x01",
    "\xc2\x85",
    "'d",
    "'x",
};

static void
equals_the_expression(void **state)
{
    fixture *f = *state;
    const uint64_t seed = 20261126;
    pq_test_random random = pq_test_random_seed(seed);
    for (unsigned k = PQ_TOK_SCAN_GPT2; k <= PQ_TOK_SCAN_CL100K_1; k++) {
        pq_tok_scan_kind kind = (pq_tok_scan_kind)k;
        pq_str pattern = pq_str_of(pq_tok_scan_pattern(kind));
        assert_int_equal(pq_tok_scan_find(pattern), kind);
        pq_tok_regex *re;
        assert_int_equal(
            pq_tok_regex_create(f->ctx, "t", PTQC_E_INPUT, pattern, &re),
            PTQC_OK);
        for (int i = 0; i < 3000; i++) {
            pq_strbuf b;
            pq_strbuf_init(&b, f->ctx);
            int64_t count = pq_test_random_int(&random, 1, 20);
            for (int64_t c = 0; c < count; c++) {
                int64_t part = pq_test_random_int(
                    &random, 0, (int64_t)(sizeof parts / sizeof *parts) - 1);
                pq_strbuf_add_z(&b, parts[part]);
            }
            compare(f->ctx, kind, re, (pq_str){b.p, b.n});
            pq_strbuf_deinit(&b);
        }
        pq_tok_regex_destroy(re);
    }
}

static void
other_expressions(void **state)
{
    (void)state;
    assert_int_equal(pq_tok_scan_find(PQ_STR("")), PQ_TOK_SCAN_NONE);
    assert_int_equal(pq_tok_scan_find(PQ_STR("\\s+")), PQ_TOK_SCAN_NONE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(equals_the_expression, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(other_expressions, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
