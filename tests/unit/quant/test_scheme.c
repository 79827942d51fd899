// SPDX-License-Identifier: Apache-2.0
//
// Spelling of schemes.
#include <string.h>

#include "quant/scheme.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

typedef struct pq_case {
    const char *text;
    ptqc_status status;
    const char *canonical; // when accepted
} pq_case;

static const pq_case cases[] = {
    {"w8a8", PTQC_OK, "w8a8:ch:sym"},
    {"w8a8:dyn", PTQC_OK, "w8a8:dyn:ch:sym"},
    {"w8a8:t", PTQC_OK, "w8a8:t:sym"},
    {"w8a8:ch:asym", PTQC_OK, "w8a8:ch:asym"},
    {"w8a16", PTQC_OK, "w8a16:ch:sym"},
    {"w8a16:ch", PTQC_OK, "w8a16:ch:sym"},
    {"w8a16:g64:asym", PTQC_OK, "w8a16:g64:asym"},
    {"w4a16", PTQC_OK, "w4a16:g128:sym"},
    {"w4a16:g128:sym", PTQC_OK, "w4a16:g128:sym"},
    {"w4a16:g32", PTQC_OK, "w4a16:g32:sym"},
    {"w4a16:ch", PTQC_OK, "w4a16:ch:sym"},
    {"w4a8:dyn", PTQC_OK, "w4a8:dyn:g128:sym"},
    {"w4a8", PTQC_OK, "w4a8:dyn:g128:sym"},
    {"w4a8:dyn:g32:asym", PTQC_OK, "w4a8:dyn:g32:asym"},
    {"w4a8:dyn:ch", PTQC_OK, "w4a8:dyn:ch:sym"},
    {"w8a8:dyn:g32", PTQC_OK, "w8a8:dyn:g32:sym"},
    {"w3a16", PTQC_OK, "w3a16:g128:sym"},
    {"w3a16:g64:asym", PTQC_OK, "w3a16:g64:asym"},
    {"w3a16:ch", PTQC_OK, "w3a16:ch:sym"},
    {"w2a16", PTQC_OK, "w2a16:g64:sym"},
    {"w2a16:g32:asym", PTQC_OK, "w2a16:g32:asym"},
    {"w5a16", PTQC_OK, "w5a16:ch:sym"},
    {"w6a16:g32", PTQC_OK, "w6a16:g32:sym"},
    {"w7a16:t:asym", PTQC_OK, "w7a16:t:asym"},
    {"nf4", PTQC_OK, "nf4:g64:scale=f32"},
    {"nf4:g32:scale=f16", PTQC_OK, "nf4:g32:scale=f16"},
    {"nf4:asym", PTQC_E_UNSUPPORTED, NULL},
    {"mxfp4", PTQC_OK, "mxfp4:g32:scale=e8m0"},
    {"mxfp4:e4m3", PTQC_E_USAGE, NULL},
    {"w4a16:scale=bf16", PTQC_OK, "w4a16:g128:sym:scale=bf16"},
    {"w4a16:scale=f64", PTQC_E_USAGE, NULL},
    {"w4a16:scale=f16:scale=f16", PTQC_E_USAGE, NULL},
    {"w4a4", PTQC_E_UNSUPPORTED, NULL},
    {"nvfp4", PTQC_E_UNSUPPORTED, NULL},
    {"fp8", PTQC_OK, "fp8:ch"},
    {"fp8:e4m3:g32", PTQC_OK, "fp8:g32"},
    {"fp8:e5m2", PTQC_OK, "fp8:e5m2:ch"},
    {"fp8:t:e5m2", PTQC_OK, "fp8:e5m2:t"},
    {"fp8:sym", PTQC_OK, "fp8:ch"},
    {"fp8:asym", PTQC_E_UNSUPPORTED, NULL},
    {"fp8:dyn", PTQC_E_UNSUPPORTED, NULL},
    {"w4a16:dyn", PTQC_E_UNSUPPORTED, NULL},
    {"fp8:e4m3:e5m2", PTQC_E_USAGE, NULL},
    {"w8a8:g32", PTQC_E_UNSUPPORTED, NULL},
    {"", PTQC_E_USAGE, NULL},
    {"w9q7", PTQC_E_USAGE, NULL},
    {"W8A8", PTQC_E_USAGE, NULL},
    {"w4a16:gx", PTQC_E_USAGE, NULL},
    {"w4a16:g", PTQC_E_USAGE, NULL},
    {"w4a16:g0", PTQC_E_USAGE, NULL},
    {"w4a16:g-8", PTQC_E_USAGE, NULL},
    {"w4a16:g9999999999999", PTQC_E_USAGE, NULL},
    {"w4a16:", PTQC_E_USAGE, NULL},
    {"w4a16::sym", PTQC_E_USAGE, NULL},
    {"w8a8:e4m3", PTQC_E_USAGE, NULL},
    {"w8a8:ch:t", PTQC_E_USAGE, NULL},
    {"w8a8:sym:asym", PTQC_E_USAGE, NULL},
    {"w8a8 ", PTQC_E_USAGE, NULL},
};

static void
spellings(void **state)
{
    (void)state;
    static pq_test_sink sink;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pq_scheme_request request;
        pq_test_sink_clear(&sink);
        ptqc_status st =
            pq_scheme_parse(ctx, pq_str_of(cases[i].text), &request);
        if (st != cases[i].status) {
            print_error("'%s' gives %d\n", cases[i].text, (int)st);
        }
        assert_int_equal(st, cases[i].status);
        assert_int_equal(sink.error_count, st == PTQC_OK ? 0 : 1);
        if (st != PTQC_OK) {
            continue;
        }
        pq_strbuf text;
        pq_strbuf_init(&text, ctx);
        pq_scheme_request_print(&request, &text);
        assert_string_equal(text.p, cases[i].canonical);
        pq_strbuf_deinit(&text);
    }
    ptqc_ctx_destroy(ctx);
}

static void
meaning(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_scheme_request r;
    assert_int_equal(pq_scheme_parse(ctx, PQ_STR("w8a8"), &r), PTQC_OK);
    assert_int_equal(r.weights.format, PTQC_I8);
    assert_int_equal(r.weights.granularity, PQ_GRAN_CHANNEL);
    assert_int_equal(r.activations.format, PTQC_U8);
    assert_false(r.activations.symmetric);
    assert_int_equal(pq_scheme_parse(ctx, PQ_STR("w8a8:dyn"), &r), PTQC_OK);
    assert_int_equal(r.activations.format, PTQC_I8);
    assert_int_equal(r.activations.granularity, PQ_GRAN_TOKEN);
    assert_true(r.activations.dynamic && r.activations.symmetric);
    assert_int_equal(pq_scheme_parse(ctx, PQ_STR("w4a16:g32:asym"), &r),
                     PTQC_OK);
    assert_int_equal(r.weights.format, PTQC_U4);
    assert_int_equal(r.weights.group, 32);
    assert_false(r.weights.symmetric);
    assert_int_equal(r.activations.format, PTQC_DTYPE_NONE);
    assert_int_equal(pq_scheme_parse(ctx, PQ_STR("w3a16"), &r), PTQC_OK);
    assert_true(r.weights.format == PTQC_I4 && r.weights.bits == 3);
    assert_int_equal(pq_scheme_parse(ctx, PQ_STR("w3a16:asym"), &r), PTQC_OK);
    assert_true(r.weights.format == PTQC_U4 && r.weights.bits == 3);
    assert_int_equal(pq_scheme_parse(ctx, PQ_STR("fp8"), &r), PTQC_OK);
    assert_true(r.weights.format == PTQC_F8E4M3 && r.weights.symmetric);
    ptqc_ctx_destroy(ctx);
}

// Zero points that are no parameter: 0, or the middle of all the format's
// codes.
static void
symmetric_forms(void **state)
{
    (void)state;
    static const struct {
        ptqc_dtype format;
        uint32_t bits;
        ptqc_dtype symmetric;
    } rows[] = {{PTQC_U8, 0, PTQC_I8},
                {PTQC_I8, 0, PTQC_I8},
                {PTQC_U4, 0, PTQC_U4},
                {PTQC_U4, 3, PTQC_I4},
                {PTQC_F8E4M3, 0, PTQC_F8E4M3}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const pq_scheme s = {.format = rows[i].format, .bits = rows[i].bits};
        pq_scheme symmetric = pq_scheme_symmetric(&s);
        assert_true(symmetric.symmetric);
        assert_int_equal(symmetric.format, rows[i].symmetric);
        assert_int_equal(symmetric.bits, rows[i].bits);
    }
}

static void
granularity_names(void **state)
{
    (void)state;
    pq_granularity found;
    for (int i = 0; i < PQ_GRAN_COUNT; i++) {
        pq_str name = pq_str_of(pq_granularity_name((pq_granularity)i));
        assert_true(pq_granularity_parse(name, &found));
        assert_int_equal(found, i);
    }
    assert_false(pq_granularity_parse(PQ_STR("rows"), &found));
    assert_false(pq_granularity_parse(PQ_STR(""), &found));
}

// Words that are offered are schemes, and begin their own spelling.
static void
offered_words(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    uint32_t n = 0;
    for (const char *word; (word = pq_scheme_word_at(n)) != NULL; n++) {
        pq_scheme_request r;
        pq_strbuf text;
        pq_strbuf_init(&text, ctx);
        assert_int_equal(pq_scheme_parse(ctx, pq_str_of(word), &r), PTQC_OK);
        pq_scheme_request_print(&r, &text);
        assert_true(pq_str_starts((pq_str){text.p, text.n}, word));
        pq_strbuf_deinit(&text);
    }
    assert_true(n > 8);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings),       cmocka_unit_test(meaning),
        cmocka_unit_test(symmetric_forms), cmocka_unit_test(granularity_names),
        cmocka_unit_test(offered_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
