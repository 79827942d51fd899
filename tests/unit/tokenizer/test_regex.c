// SPDX-License-Identifier: Apache-2.0
//
// Regular expressions: matches in order, empty ones left out, what does not
// compile, expressions that would take forever.
#include "tests/unit/tokenizer/texts.h"
#include "tokenizer/regex.h"

static pq_tok_regex *
compile(ptqc_ctx *ctx, const char *pattern)
{
    pq_tok_regex *re = NULL;
    assert_int_equal(
        pq_tok_regex_create(ctx, "t", PTQC_E_INPUT, pq_str_of(pattern), &re),
        PTQC_OK);
    return re;
}

// The matches as "start-end start-end".
static void
expect_matches(ptqc_ctx *ctx, const char *pattern, const char *text,
               const char *expected)
{
    pq_tok_regex *re = compile(ctx, pattern);
    pq_tok_matcher m;
    pq_strbuf b;
    size_t start, end;
    bool found = true;
    pq_strbuf_init(&b, ctx);
    assert_int_equal(pq_tok_matcher_init(&m, ctx, re, pq_str_of(text)),
                     PTQC_OK);
    for (;;) {
        assert_int_equal(pq_tok_matcher_next(&m, &found, &start, &end),
                         PTQC_OK);
        if (!found) {
            break;
        }
        pq_strbuf_addf(&b, b.n == 0 ? "%zu-%zu" : " %zu-%zu", start, end);
    }
    assert_string_equal(b.p, expected);
    pq_tok_matcher_deinit(&m);
    pq_strbuf_deinit(&b);
    pq_tok_regex_destroy(re);
}

static void
matches(void **state)
{
    fixture *f = *state;
    expect_matches(f->ctx, "a+", "", "");
    expect_matches(f->ctx, "a+", "xaabax", "1-3 4-5");
    expect_matches(f->ctx, "a*", "baac", "1-3"); // empty ones are left out
    expect_matches(f->ctx, "", "ab", "");
    expect_matches(f->ctx, "(?=a)", "aa", "");
    expect_matches(f->ctx, "\\p{L}", "1\xc3\xa9z", "1-3 3-4");
    expect_matches(f->ctx, "\\s+(?!\\S)|\\s+", "  a ", "0-1 1-2 3-4");
    expect_matches(f->ctx, "(?<=a)b", "abb", "1-2");
    expect_matches(f->ctx, "\\w", "\xc3\xa9", "0-2");
}

static void
does_not_compile(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {"(",         "[a",  "a{2,1}",
                                      "\\p{Nope}", "\\C", "\xff"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pq_tok_regex *re;
        pq_test_sink_clear(&f->sink);
        assert_int_equal(pq_tok_regex_create(f->ctx, "t", PTQC_E_INPUT,
                                             pq_str_of(bad[i]), &re),
                         PTQC_E_INPUT);
        assert_null(re);
        assert_int_equal(f->sink.error_count, 1);
    }
}

// Exponential backtracking is stopped with an error.
static void
takes_too_long(void **state)
{
    fixture *f = *state;
    pq_tok_regex *re = compile(f->ctx, "(a+)+$");
    pq_tok_matcher m;
    size_t start, end;
    bool found;
    static const char text[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    assert_int_equal(pq_tok_matcher_init(&m, f->ctx, re, pq_str_of(text)),
                     PTQC_OK);
    assert_int_equal(pq_tok_matcher_next(&m, &found, &start, &end),
                     PTQC_E_INPUT);
    assert_int_equal(f->sink.error_count, 1);
    pq_tok_matcher_deinit(&m);
    pq_tok_regex_destroy(re);
}

// Long runs need many steps, which is no error.
static void
long_runs(void **state)
{
    fixture *f = *state;
    enum { LENGTH = 100000 };
    static char text[LENGTH];
    memset(text, ' ', sizeof text);
    text[LENGTH - 1] = 'x';
    pq_tok_regex *re = compile(f->ctx, "\\s+(?!\\S)|\\s+");
    pq_tok_matcher m;
    size_t start, end;
    bool found;
    assert_int_equal(
        pq_tok_matcher_init(&m, f->ctx, re, (pq_str){text, sizeof text}),
        PTQC_OK);
    assert_int_equal(pq_tok_matcher_next(&m, &found, &start, &end), PTQC_OK);
    assert_true(found);
    assert_int_equal(start, 0);
    assert_int_equal(end, LENGTH - 2);
    pq_tok_matcher_deinit(&m);
    pq_tok_regex_destroy(re);
}

static ptqc_status
regex_body(ptqc_ctx *ctx, void *user)
{
    (void)user;
    pq_tok_regex *re;
    pq_tok_matcher m;
    size_t start, end;
    bool found;
    PQ_TRY(pq_tok_regex_create(ctx, "t", PTQC_E_INPUT, PQ_STR("(a|b)+c"), &re));
    ptqc_status st = pq_tok_matcher_init(&m, ctx, re, PQ_STR("ababc"));
    if (st == PTQC_OK) {
        st = pq_tok_matcher_next(&m, &found, &start, &end);
    }
    pq_tok_matcher_deinit(&m);
    pq_tok_regex_destroy(re);
    return st;
}

static void
failing_allocations(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(regex_body, NULL) > 4);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(matches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(does_not_compile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_too_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_runs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
