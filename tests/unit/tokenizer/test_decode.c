// SPDX-License-Identifier: Apache-2.0
//
// Decoding: characters split over tokens, malformed bytes, ids out of range,
// texts that go on.
#include "tests/unit/tokenizer/texts.h"

// The id of the token that stands for a byte in fixtures/gpt2.json.
static pq_token
byte_token(const pq_tokenizer *t, const char *text)
{
    pq_token id = pq_tokenizer_find(t, pq_str_of(text));
    assert_true(id >= 0);
    return id;
}

static void
characters_come_whole(void **state)
{
    fixture *f = *state;
    pq_tokenizer *t = open_fixture(f->ctx, "gpt2");
    pq_detokenizer d;
    pq_strbuf b;
    pq_strbuf_init(&b, f->ctx);
    pq_detokenizer_init(&d, t, 0);
    // U+1F600 is f0 9f 98 80; GPT-2 writes f0 9f as one token of two.
    const struct {
        const char *token, *text;
    } steps[] = {{"\xc3\xb0\xc5\x81", ""},
                 {"\xc4\xba", ""},
                 {"\xc4\xa2", "\xf0\x9f\x98\x80"},
                 {"a", "\xf0\x9f\x98\x80"
                       "a"}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(
            pq_detokenizer_add(&d, byte_token(t, steps[i].token), &b), PTQC_OK);
        assert_string_equal(b.p, steps[i].text);
    }
    assert_int_equal(pq_detokenizer_finish(&d, &b), PTQC_OK);
    assert_string_equal(b.p, steps[3].text);
    pq_strbuf_deinit(&b);
    pq_tokenizer_destroy(t);
}

static void
an_incomplete_end_is_replaced(void **state)
{
    fixture *f = *state;
    pq_tokenizer *t = open_fixture(f->ctx, "gpt2");
    pq_token ids[] = {byte_token(t, "a"), byte_token(t, "\xc3\xb0\xc5\x81"),
                      byte_token(t, "b")};
    expect_text(f->ctx, t, ids, 2, 0, "a\xef\xbf\xbd");
    expect_text(f->ctx, t, ids, 3, 0,
                "a\xef\xbf\xbd"
                "b");
    expect_text(f->ctx, t, ids, 0, 0, "");
    pq_tokenizer_destroy(t);
}

// A run of byte tokens is text as a whole or not at all; token by token the
// good part comes out.
static void
runs_of_byte_tokens(void **state)
{
    fixture *f = *state;
    pq_tokenizer *t = open_fixture(f->ctx, "sentencepiece");
    pq_token ids[] = {byte_token(t, "<0xC3>"), byte_token(t, "<0xA9>"),
                      byte_token(t, "<0xFF>"), byte_token(t, "a")};
    expect_text(f->ctx, t, ids, 2, 0, "\xc3\xa9");
    expect_text(f->ctx, t, ids, 4, 0,
                "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                "a");
    pq_detokenizer d;
    pq_strbuf b;
    pq_strbuf_init(&b, f->ctx);
    pq_detokenizer_init(&d, t, 0);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pq_detokenizer_add(&d, ids[i], &b), PTQC_OK);
    }
    assert_string_equal(b.p, "\xc3\xa9\xef\xbf\xbd"
                             "a");
    pq_strbuf_deinit(&b);
    pq_tokenizer_destroy(t);
}

static void
texts_that_go_on(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"sentencepiece", "metaspace",
                                        "unigram"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pq_tokenizer *t = open_fixture(f->ctx, names[i]);
        pq_token id = byte_token(t, "\xe2\x96\x81the");
        expect_text(f->ctx, t, &id, 1, 0, "the");
        expect_text(f->ctx, t, &id, 1, PQ_DECODE_CONTINUE, " the");
        pq_tokenizer_destroy(t);
    }
    pq_tokenizer *t = open_fixture(f->ctx, "wordpiece");
    pq_token ids[] = {byte_token(t, "##s"), byte_token(t, "the")};
    expect_text(f->ctx, t, ids, 2, PQ_DECODE_CONTINUE, "s the");
    expect_text(f->ctx, t, ids, 2, 0, "##s the");
    pq_tokenizer_destroy(t);
}

static void
ids_out_of_range(void **state)
{
    fixture *f = *state;
    pq_tokenizer *t = open_fixture(f->ctx, "gpt2");
    pq_token count = (pq_token)pq_tokenizer_count(t);
    const pq_token bad[] = {-1, count, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pq_strbuf b;
        pq_strbuf_init(&b, f->ctx);
        pq_test_sink_clear(&f->sink);
        assert_int_equal(pq_tokenizer_decode(f->ctx, t, &bad[i], 1, 0, &b),
                         PTQC_E_INPUT);
        assert_int_equal(f->sink.error_count, 1);
        pq_strbuf_deinit(&b);
    }
    pq_tokenizer_destroy(t);
}

static ptqc_status
decode_body(ptqc_ctx *ctx, void *user)
{
    const pq_tokenizer *t = user;
    pq_token ids[64];
    pq_strbuf b;
    size_t count = pq_tokenizer_count(t) < 64 ? pq_tokenizer_count(t) : 64;
    for (size_t i = 0; i < count; i++) {
        ids[i] = (pq_token)i;
    }
    pq_strbuf_init(&b, ctx);
    ptqc_status st = pq_tokenizer_decode(ctx, t, ids, count, 0, &b);
    pq_strbuf_deinit(&b);
    return st;
}

static void
failing_allocations(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"gpt2", "sentencepiece", "wordpiece",
                                        "metaspace", "words"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pq_tokenizer *t = open_fixture(f->ctx, names[i]);
        assert_true(pq_test_alloc_sweep(decode_body, t) >= 2);
        pq_tokenizer_destroy(t);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(characters_come_whole, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_incomplete_end_is_replaced, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(runs_of_byte_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(texts_that_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ids_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
