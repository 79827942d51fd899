// SPDX-License-Identifier: Apache-2.0
//
// Normalizers one by one and in a row; the limit of growth.
#include "tests/unit/tokenizer/texts.h"
#include "tokenizer/steps.h"

static pq_tokenizer *
create(ptqc_ctx *ctx, const char *normalizer)
{
    pq_strbuf b;
    pq_strbuf_init(&b, ctx);
    pq_strbuf_addf(&b,
                   "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
                   "\"merges\":[]},\"normalizer\":%s}",
                   normalizer);
    pq_tokenizer *t = from_text(ctx, b.p);
    assert_non_null(t);
    pq_strbuf_deinit(&b);
    return t;
}

static void
kinds(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *step, *in, *out;
    } cases[] = {
        {"{\"type\":\"Lowercase\"}", "ABc\xc3\x89", "abc\xc3\xa9"},
        {"{\"type\":\"Lowercase\"}", "", ""},
        {"{\"type\":\"Strip\"}", " \xe3\x80\x80 a b\n\xc2\xa0", "a b"},
        {"{\"type\":\"Strip\"}", " \n ", ""},
        {"{\"type\":\"Strip\",\"strip_left\":false}", " a ", " a"},
        {"{\"type\":\"Strip\",\"strip_right\":false}", " a ", "a "},
        {"{\"type\":\"StripAccents\"}",
         "e\xcc\x81"
         "a",
         "ea"},
        {"{\"type\":\"Prepend\",\"prepend\":\"__\"}", "a", "__a"},
        {"{\"type\":\"Prepend\",\"prepend\":\"__\"}", "", ""},
        {"{\"type\":\"Replace\",\"pattern\":{\"String\":\"aa\"},\"content\":"
         "\"b\"}",
         "aaaxa", "baxa"},
        {"{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a+\"},\"content\":"
         "\"\"}",
         "aaxaya", "xy"},
        {"{\"type\":\"NFD\"}", "\xc3\xa9", "e\xcc\x81"},
        {"{\"type\":\"BertNormalizer\"}",
         "\xc3\x89\x01\t\xe4\xbd\xa0\xef\xbf\xbdX\xc2\xa0",
         "e  \xe4\xbd\xa0 x "},
        {"{\"type\":\"BertNormalizer\",\"clean_text\":false,"
         "\"handle_chinese_chars\":false,\"lowercase\":false}",
         "\xc3\x89\t\xe4\xbd\xa0", "\xc3\x89\t\xe4\xbd\xa0"},
        {"{\"type\":\"BertNormalizer\",\"strip_accents\":false}", "\xc3\x89",
         "\xc3\xa9"},
        {"{\"type\":\"Sequence\",\"normalizers\":[]}", "a A", "a A"},
        {"{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKD\"},"
         "{\"type\":\"StripAccents\"},{\"type\":\"Lowercase\"},"
         "{\"type\":\"Prepend\",\"prepend\":\"x\"}]}",
         "\xc3\x89\xef\xac\x81", "xefi"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pq_strbuf b;
        pq_strbuf_init(&b, f->ctx);
        pq_tokenizer *t = create(f->ctx, cases[i].step);
        assert_int_equal(
            pq_tok_normalize(f->ctx, t, pq_str_of(cases[i].in), &b), PTQC_OK);
        assert_string_equal(b.p, cases[i].out);
        pq_strbuf_deinit(&b);
        pq_tokenizer_destroy(t);
    }
}

// Each step makes 64 bytes of one: the third is refused.
static void
growth_is_limited(void **state)
{
    fixture *f = *state;
    pq_strbuf step, all, out;
    pq_strbuf_init(&step, f->ctx);
    pq_strbuf_init(&all, f->ctx);
    pq_strbuf_init(&out, f->ctx);
    pq_strbuf_add_z(&step, "{\"type\":\"Replace\",\"pattern\":{\"String\":"
                           "\"a\"},\"content\":\"");
    for (int i = 0; i < 64; i++) {
        pq_strbuf_add_z(&step, "a");
    }
    pq_strbuf_add_z(&step, "\"}");
    pq_strbuf_addf(&all,
                   "{\"type\":\"Sequence\",\"normalizers\":[%s,%s,%s,%s]}",
                   step.p, step.p, step.p, step.p);
    pq_tokenizer *t = create(f->ctx, all.p);
    assert_int_equal(pq_tok_normalize(f->ctx, t, PQ_STR("a"), &out),
                     PTQC_E_INPUT);
    assert_int_equal(f->sink.error_count, 1);
    pq_tokenizer_destroy(t);
    pq_strbuf_deinit(&step);
    pq_strbuf_deinit(&all);
    pq_strbuf_deinit(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(growth_is_limited, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
