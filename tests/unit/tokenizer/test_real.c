// SPDX-License-Identifier: Apache-2.0
//
// Tokenizers of real models on real texts, against ids that the reference
// library gave. Skipped where the data is absent.
#include "base/hash.h"
#include "base/json.h"
#include "tests/support/data.h"
#include "tests/unit/tokenizer/texts.h"

static pq_map
open_map(ptqc_ctx *ctx, const char *path)
{
    pq_map map;
    assert_int_equal(pq_map_open(ctx, path, &map), PTQC_OK);
    return map;
}

static pq_json *
open_json(ptqc_ctx *ctx, const char *path)
{
    pq_map map = open_map(ctx, path);
    pq_json *document;
    assert_int_equal(pq_json_parse(ctx, path, text_of_map(&map), &document),
                     PTQC_OK);
    pq_map_close(&map);
    return document;
}

static pq_tokenizer *
open_tokenizer(ptqc_ctx *ctx, const char *path)
{
    pq_tokenizer *t;
    pq_map map = open_map(ctx, path);
    assert_int_equal(pq_tokenizer_from_json(ctx, path, text_of_map(&map),
                                            (pq_str){"", 0}, &t),
                     PTQC_OK);
    pq_map_close(&map);
    return t;
}

// Byte-level BPE with single digits: 1.1 MB as one text.
static void
smollm2_on_wikitext(void **state)
{
    fixture *f = *state;
    char model[PQ_TEST_PATH_BYTES], text[PQ_TEST_PATH_BYTES];
    char known[PQ_TEST_PATH_BYTES];
    // what is absent skips the test before anything is open
    (void)pq_test_model_need("smollm2/hf/tokenizer.json", model);
    (void)pq_test_data_need("data/text/wikitext2_valid_tokens.txt", text);
    (void)pq_test_data_need("pypi/smollm2_wikitext2_tokens.json", known);
    pq_tokenizer *t = open_tokenizer(f->ctx, model);
    pq_map map = open_map(f->ctx, text);
    pq_json *expected = open_json(f->ctx, known);
    pq_token_ids ids;
    assert_int_equal(pq_tokenizer_encode(f->ctx, t, text_of_map(&map), 0, &ids),
                     PTQC_OK);
    int64_t count;
    pq_str hash;
    assert_true(pq_json_i64(pq_json_get(expected, "total_tokens"), &count));
    assert_true(pq_json_str(pq_json_get(expected, "sha256_first_32768_ids_i32"),
                            &hash));
    assert_int_equal(ids.count, count);
    pq_sha256 found;
    char hex[65];
    assert_int_equal(
        pq_sha256_of(f->ctx, ids.ids, 32768 * sizeof *ids.ids, &found),
        PTQC_OK);
    pq_sha256_hex(&found, hex);
    assert_string_equal(hex, hash.p);
    pq_strbuf b; // and back
    pq_strbuf_init(&b, f->ctx);
    assert_int_equal(pq_tokenizer_decode(f->ctx, t, ids.ids, ids.count, 0, &b),
                     PTQC_OK);
    assert_int_equal(b.n, map.n);
    assert_memory_equal(b.p, map.p, map.n);
    pq_strbuf_deinit(&b);
    pq_free(f->ctx, ids.ids);
    pq_json_free(expected);
    pq_map_close(&map);
    pq_tokenizer_destroy(t);
}

// SentencePiece BPE: stories, each beginning with BOS in the file of ids.
static void
stories260k_on_stories(void **state)
{
    fixture *f = *state;
    static const char between[] = "\n<|endoftext|>\n";
    char model[PQ_TEST_PATH_BYTES], text[PQ_TEST_PATH_BYTES];
    char known[PQ_TEST_PATH_BYTES];
    (void)pq_test_data_need("llm/stories260k/hf/tokenizer.json", model);
    (void)pq_test_data_need("data/text/tinystories_eval.txt", text);
    (void)pq_test_data_need("data/text/tinystories_eval.tokens.i32", known);
    pq_tokenizer *t = open_tokenizer(f->ctx, model);
    pq_map map = open_map(f->ctx, text);
    pq_map tokens = open_map(f->ctx, known);
    const char *at = (const char *)map.p, *end = at + map.n;
    size_t done = 0;
    while (at < end) {
        const char *stop =
            memmem(at, (size_t)(end - at), between, sizeof between - 1);
        pq_str story = {at, (size_t)((stop != NULL ? stop : end) - at)};
        pq_token_ids ids;
        assert_int_equal(
            pq_tokenizer_encode(f->ctx, t, story, PQ_ENCODE_ADD_SPECIAL, &ids),
            PTQC_OK);
        size_t bytes = ids.count * sizeof *ids.ids;
        if (done == 0) { // what ends the file is not a story's business
            assert_true(bytes <= tokens.n);
        }
        if (done + bytes <= tokens.n && stop != NULL) {
            assert_memory_equal(ids.ids, tokens.p + done, bytes);
        }
        done += bytes;
        pq_free(f->ctx, ids.ids);
        at = stop != NULL ? stop + sizeof between - 1 : end;
    }
    assert_true(done >= tokens.n);
    pq_map_close(&map);
    pq_map_close(&tokens);
    pq_tokenizer_destroy(t);
}

static void
minilm_on_sentences(void **state)
{
    fixture *f = *state;
    char model[PQ_TEST_PATH_BYTES], known[PQ_TEST_PATH_BYTES];
    (void)pq_test_model_need("minilm/hf/tokenizer.json", model);
    (void)pq_test_data_need("pypi/minilm_reference.json", known);
    pq_tokenizer *t = open_tokenizer(f->ctx, model);
    pq_json *root = open_json(f->ctx, known);
    const pq_json *sentences = pq_json_get(root, "sentences");
    const pq_json *all = pq_json_get(root, "ids");
    assert_int_equal(pq_json_array_count(sentences), 16);
    for (size_t i = 0; i < 16; i++) {
        pq_str s;
        pq_token_ids ids;
        const pq_json *expected = pq_json_at(all, i);
        assert_true(pq_json_str(pq_json_at(sentences, i), &s));
        assert_int_equal(
            pq_tokenizer_encode(f->ctx, t, s, PQ_ENCODE_ADD_SPECIAL, &ids),
            PTQC_OK);
        assert_int_equal(ids.count, pq_json_array_count(expected));
        for (size_t k = 0; k < ids.count; k++) {
            int64_t id = -1;
            assert_true(pq_json_i64(pq_json_at(expected, k), &id));
            assert_int_equal(ids.ids[k], id);
        }
        pq_free(f->ctx, ids.ids);
    }
    pq_json_free(root);
    pq_tokenizer_destroy(t);
}

static void
whisper_decodes_segments(void **state)
{
    fixture *f = *state;
    char model[PQ_TEST_PATH_BYTES], known[PQ_TEST_PATH_BYTES];
    (void)pq_test_model_need("whisper_tiny_en/hf/tokenizer.json", model);
    (void)pq_test_data_need("pypi/whisper_reference.json", known);
    pq_tokenizer *t = open_tokenizer(f->ctx, model);
    pq_json *root = open_json(f->ctx, known);
    const pq_json *segments = pq_json_get(root, "segments");
    assert_int_equal(pq_json_array_count(segments), 2);
    for (size_t i = 0; i < 2; i++) {
        const pq_json *ids = pq_json_get(pq_json_at(segments, i), "ids");
        pq_str text;
        pq_detokenizer d;
        pq_strbuf b;
        pq_strbuf_init(&b, f->ctx);
        pq_detokenizer_init(&d, t, PQ_DECODE_SKIP_SPECIAL);
        assert_true(
            pq_json_str(pq_json_get(pq_json_at(segments, i), "text"), &text));
        for (size_t k = 0; k < pq_json_array_count(ids); k++) {
            int64_t id = -1;
            assert_true(pq_json_i64(pq_json_at(ids, k), &id));
            assert_int_equal(pq_detokenizer_add(&d, (pq_token)id, &b), PTQC_OK);
        }
        assert_int_equal(pq_detokenizer_finish(&d, &b), PTQC_OK);
        assert_string_equal(b.p, text.p);
        pq_strbuf_deinit(&b);
    }
    pq_json_free(root);
    pq_tokenizer_destroy(t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(smollm2_on_wikitext, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stories260k_on_stories, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(minilm_on_sentences, set_up, tear_down),
        cmocka_unit_test_setup_teardown(whisper_decodes_segments, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
