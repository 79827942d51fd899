// SPDX-License-Identifier: Apache-2.0
//
// Whole tokenizers on texts whose ids and decoded forms come from the
// reference library (make_fixtures.py), read from JSON and from the saved
// form; what the reference cannot be asked: malformed UTF-8.
#include "base/json.h"
#include "tests/unit/tokenizer/texts.h"
#include "tokenizer/unicode.h"

static const char *const names[] = {
    "gpt2",      "llama3",    "smollm",  "roberta", "sentencepiece",
    "metaspace", "wordpiece", "unigram", "regex",   "words",
};

enum { NAME_COUNT = sizeof names / sizeof *names };

static pq_tokenizer *
save_and_read(ptqc_ctx *ctx, const pq_tokenizer *t)
{
    void *bytes;
    size_t n;
    pq_tokenizer *again;
    assert_int_equal(pq_tokenizer_write(ctx, t, &bytes, &n), PTQC_OK);
    assert_int_equal(pq_tokenizer_read(ctx, bytes, n, &again), PTQC_OK);
    pq_free(ctx, bytes);
    return again;
}

static void
compare_ids(const char *name, pq_str text, const pq_token_ids *found,
            const pq_json *expected)
{
    size_t count = pq_json_array_count(expected);
    bool is_same = found->count == count;
    for (size_t i = 0; i < count && is_same; i++) {
        int64_t id = -1;
        is_same =
            pq_json_i64(pq_json_at(expected, i), &id) && id == found->ids[i];
    }
    if (!is_same) {
        print_error("%s: '%.*s': %zu ids, expected %zu or others\n", name,
                    PQ_STR_ARG(text), found->count, count);
    }
    assert_true(is_same);
}

static void
compare_decoded(ptqc_ctx *ctx, const pq_tokenizer *t, const pq_token_ids *ids,
                uint32_t flags, pq_str expected)
{
    pq_strbuf b;
    pq_detokenizer d;
    pq_strbuf_init(&b, ctx);
    assert_int_equal(
        pq_tokenizer_decode(ctx, t, ids->ids, ids->count, flags, &b), PTQC_OK);
    assert_string_equal(b.p, expected.p);
    b.n = 0;
    pq_detokenizer_init(&d, t, flags);
    for (size_t i = 0; i < ids->count; i++) {
        assert_int_equal(pq_detokenizer_add(&d, ids->ids[i], &b), PTQC_OK);
        assert_true(pq_text_is_well_formed((pq_str){b.p, b.n}));
    }
    assert_int_equal(pq_detokenizer_finish(&d, &b), PTQC_OK);
    assert_int_equal(b.n, expected.n);
    assert_memory_equal(b.p, expected.p, b.n);
    pq_strbuf_deinit(&b);
}

static void
compare_case(ptqc_ctx *ctx, const char *name, const pq_tokenizer *t,
             const pq_json *c)
{
    pq_str text, decoded, clean;
    pq_token_ids ids, plain;
    uint32_t parse = PQ_ENCODE_PARSE_SPECIAL;
    assert_true(pq_json_str(pq_json_get(c, "text"), &text));
    assert_true(pq_json_str(pq_json_get(c, "decoded"), &decoded));
    assert_true(pq_json_str(pq_json_get(c, "clean"), &clean));
    assert_int_equal(
        pq_tokenizer_encode(ctx, t, text, parse | PQ_ENCODE_ADD_SPECIAL, &ids),
        PTQC_OK);
    assert_int_equal(pq_tokenizer_encode(ctx, t, text, parse, &plain), PTQC_OK);
    compare_ids(name, text, &ids, pq_json_get(c, "ids"));
    compare_ids(name, text, &plain, pq_json_get(c, "plain"));
    compare_decoded(ctx, t, &ids, 0, decoded);
    compare_decoded(ctx, t, &ids, PQ_DECODE_SKIP_SPECIAL, clean);
    pq_free(ctx, ids.ids);
    pq_free(ctx, plain.ids);
}

static void
equals_the_reference(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        char path[256];
        pq_map map;
        pq_json *cases;
        assert_true(snprintf(path, sizeof path, FIXTURES "%s.expected.json",
                             names[i]) > 0);
        assert_int_equal(pq_map_open(f->ctx, path, &map), PTQC_OK);
        assert_int_equal(pq_json_parse(f->ctx, path, text_of_map(&map), &cases),
                         PTQC_OK);
        pq_map_close(&map);
        pq_tokenizer *t = open_fixture(f->ctx, names[i]);
        pq_tokenizer *again = save_and_read(f->ctx, t);
        assert_true(pq_json_array_count(cases) > 30);
        for (size_t k = 0; k < pq_json_array_count(cases); k++) {
            compare_case(f->ctx, names[i], t, pq_json_at(cases, k));
            compare_case(f->ctx, names[i], again, pq_json_at(cases, k));
        }
        pq_json_free(cases);
        pq_tokenizer_destroy(t);
        pq_tokenizer_destroy(again);
    }
    assert_int_equal(f->sink.error_count, 0);
}

// Malformed text gives the ids of the text with U+FFFD in its places.
static void
malformed_text(void **state)
{
    fixture *f = *state;
    static const struct {
        pq_str bad, good;
    } pairs[] = {
        {{"the\xff and", 8}, {"the\xef\xbf\xbd and", 10}},
        {{"\xe4\xbd", 2}, {"\xef\xbf\xbd", 3}},
        {{"\xf0\x9f\x98 x", 5}, {"\xef\xbf\xbd x", 5}},
        {{"\xed\xa0\x80", 3}, {"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 9}},
        {{"\xc0\xaf", 2}, {"\xef\xbf\xbd\xef\xbf\xbd", 6}},
    };
    for (size_t n = 0; n < NAME_COUNT; n++) {
        pq_tokenizer *t = open_fixture(f->ctx, names[n]);
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
            pq_token_ids a, b;
            assert_int_equal(
                pq_tokenizer_encode(f->ctx, t, pairs[i].bad, 0, &a), PTQC_OK);
            assert_int_equal(
                pq_tokenizer_encode(f->ctx, t, pairs[i].good, 0, &b), PTQC_OK);
            assert_int_equal(a.count, b.count);
            for (size_t k = 0; k < a.count; k++) {
                assert_int_equal(a.ids[k], b.ids[k]);
            }
            pq_free(f->ctx, a.ids);
            pq_free(f->ctx, b.ids);
        }
        pq_tokenizer_destroy(t);
    }
}

static void
special_tokens_only_when_asked(void **state)
{
    fixture *f = *state;
    pq_tokenizer *t = open_fixture(f->ctx, "gpt2");
    pq_token s = pq_tokenizer_find(t, PQ_STR("<s>"));
    assert_int_equal(s, 0);
    expect_ids(f->ctx, t, PQ_STR("<s>"), PQ_ENCODE_PARSE_SPECIAL, "0");
    pq_token_ids ids;
    assert_int_equal(pq_tokenizer_encode(f->ctx, t, PQ_STR("<s>"), 0, &ids),
                     PTQC_OK);
    assert_int_equal(ids.count, 3);
    pq_free(f->ctx, ids.ids);
    pq_tokenizer_destroy(t);
}

// A long word takes the heap, a text of many words the cache: both must give
// what the parts give.
static void
long_texts_equal_their_parts(void **state)
{
    fixture *f = *state;
    enum { REPEATS = 3000 };
    static const pq_str part = {"hello the\n", 10};
    static char text[REPEATS * 10];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = part.p[i % part.n];
    }
    pq_tokenizer *t = open_fixture(f->ctx, "gpt2");
    pq_token_ids one, all;
    assert_int_equal(pq_tokenizer_encode(f->ctx, t, part, 0, &one), PTQC_OK);
    assert_int_equal(
        pq_tokenizer_encode(f->ctx, t, (pq_str){text, sizeof text}, 0, &all),
        PTQC_OK);
    assert_int_equal(all.count, one.count * REPEATS);
    for (size_t i = 0; i < all.count; i++) {
        assert_int_equal(all.ids[i], one.ids[i % one.count]);
    }
    pq_free(f->ctx, one.ids);
    pq_free(f->ctx, all.ids);
    pq_tokenizer_destroy(t);
}

static ptqc_status
encode_body(ptqc_ctx *ctx, void *user)
{
    const pq_tokenizer *t = user;
    pq_token_ids ids;
    PQ_TRY(pq_tokenizer_encode(
        ctx, t,
        PQ_STR("the \xff ring hello \xc3\xa9 aaaaaaaaaaaaaaaaaaaaaaaa"
               "aaaaaaaaaaaaaaaa <s> 123"),
        PQ_ENCODE_PARSE_SPECIAL | PQ_ENCODE_ADD_SPECIAL, &ids));
    pq_free(ctx, ids.ids);
    return PTQC_OK;
}

static void
failing_allocations(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        pq_tokenizer *t = open_fixture(f->ctx, names[i]);
        assert_true(pq_test_alloc_sweep(encode_body, t) > 3);
        pq_tokenizer_destroy(t);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(equals_the_reference, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(malformed_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(special_tokens_only_when_asked, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(long_texts_equal_their_parts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(failing_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
