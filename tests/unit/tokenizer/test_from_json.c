// SPDX-License-Identifier: Apache-2.0
//
// tokenizer.json: what is refused, with which status and one message; ids of
// gaps and of added tokens; tokenizer_config.json; truncation and failing
// allocations.
#include "tests/unit/tokenizer/texts.h"

#define BPE "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"
#define AB  BPE ",\"merges\":[\"a b\"]}"

static const struct {
    ptqc_status status;
    const char *json, *says;
} cases[] = {
    {PTQC_E_INPUT, "", "t.json"},
    {PTQC_E_INPUT, "[]", "the model"},
    {PTQC_E_INPUT, "{\"model\":7}", "the model"},
    {PTQC_E_UNSUPPORTED, "{\"model\":{\"type\":\"X\"}}", "'X'"},
    {PTQC_E_INPUT, "{\"model\":{\"type\":\"BPE\"}}", "the vocabulary"},
    {PTQC_E_INPUT, "{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}", "0 tokens"},
    {PTQC_E_INPUT, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1}}}",
     "id of a token"},
    {PTQC_E_INPUT, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":\"b\"}}}",
     "id of a token"},
    {PTQC_E_INPUT, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999999}}}",
     "id of a token"},
    {PTQC_E_INPUT,
     "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},"
     "\"merges\":[]}}",
     "token 0 is both"},
    {PTQC_E_INPUT, BPE "}}", "merges"},
    {PTQC_E_INPUT, BPE ",\"merges\":[\"ab\"]}}", "merge 0"},
    {PTQC_E_INPUT, BPE ",\"merges\":[\"a x\"]}}", "merge 0"},
    {PTQC_E_INPUT, BPE ",\"merges\":[\"a b c\"]}}", "merge 0"},
    {PTQC_E_INPUT, BPE ",\"merges\":[[\"a\"]]}}", "merge 0"},
    {PTQC_E_INPUT, BPE ",\"merges\":[\"b a\"]}}", "'ba'"},
    {PTQC_E_INPUT, BPE ",\"merges\":[],\"unk_token\":\"?\"}}", "'?'"},
    {PTQC_E_UNSUPPORTED, BPE ",\"merges\":[],\"dropout\":0.5}}", "dropout"},
    {PTQC_E_UNSUPPORTED, BPE ",\"merges\":[],\"end_of_word_suffix\":\"</w>\"}}",
     "end_of_word_suffix"},
    {PTQC_E_INPUT, AB ",\"added_tokens\":[{\"id\":1,\"content\":\"c\"}]}",
     "token 1 is both"},
    {PTQC_E_UNSUPPORTED, AB ",\"normalizer\":{\"type\":\"Precompiled\"}}",
     "normalizer 'Precompiled'"},
    {PTQC_E_INPUT, AB ",\"normalizer\":{\"type\":\"Prepend\"}}", "'prepend'"},
    {PTQC_E_INPUT,
     AB ",\"normalizer\":{\"type\":\"Replace\",\"content\":\"\","
        "\"pattern\":{\"String\":\"\"}}}",
     "no characters"},
    {PTQC_E_INPUT,
     AB ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
        "\"pattern\":{\"Regex\":\"(a\"}}}",
     "regular expression '(a'"},
    {PTQC_E_INPUT,
     AB ",\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\","
        "\"pattern\":{\"String\":\"a\"}}}",
     "'behavior'"},
    {PTQC_E_UNSUPPORTED,
     AB ",\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":"
        "[{\"type\":\"ByteLevel\"},{\"type\":\"Whitespace\"}]}}",
     "ByteLevel"},
    {PTQC_E_UNSUPPORTED, AB ",\"pre_tokenizer\":{\"type\":\"Nope\"}}",
     "'Nope'"},
    {PTQC_E_UNSUPPORTED, AB ",\"decoder\":{\"type\":\"CTC\"}}", "'CTC'"},
    {PTQC_E_UNSUPPORTED,
     AB ",\"decoder\":{\"type\":\"Strip\",\"content\":\" \",\"start\":0,"
        "\"stop\":1}}",
     "strips the end"},
    {PTQC_E_UNSUPPORTED,
     AB ",\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":"
        "\"ByteLevel\"},{\"type\":\"Fuse\"}]}}",
     "sequence of decoders"},
    {PTQC_E_INPUT,
     AB ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":"
        "[{\"SpecialToken\":{\"id\":\"q\"}}],\"special_tokens\":{}}}",
     "special token"},
    {PTQC_E_INPUT,
     AB ",\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"a\","
        "0],\"cls\":[\"a\",77]}}",
     "token 77"},
    {PTQC_E_INPUT, "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}",
     "unknown token"},
    {PTQC_E_INPUT, "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}",
     "entry of the vocabulary"},
    {PTQC_E_INPUT,
     "{\"model\":{\"type\":\"Unigram\",\"unk_id\":1,\"vocab\":"
     "[[\"a\",0]]}}",
     "unk_id"},
    {PTQC_E_INPUT,
     "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",1e300]]}}", "score"},
};

static void
refused(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pq_test_sink_clear(&f->sink);
        assert_null(from_text(f->ctx, cases[i].json));
        if (f->sink.last_status != cases[i].status ||
            f->sink.error_count != 1 ||
            strstr(f->sink.text, cases[i].says) == NULL) {
            print_error("%s\n-> %s\n", cases[i].json, f->sink.text);
        }
        assert_int_equal(f->sink.last_status, cases[i].status);
        assert_int_equal(f->sink.error_count, 1);
        assert_non_null(strstr(f->sink.text, cases[i].says));
    }
}

static void
every_truncation_is_refused(void **state)
{
    fixture *f = *state;
    pq_map map;
    pq_tokenizer *t;
    assert_int_equal(pq_map_open(f->ctx, FIXTURES "unigram.json", &map),
                     PTQC_OK);
    for (size_t n = 0; n + 1 < map.n; n++) {
        pq_str cut = {(const char *)map.p, n};
        pq_test_sink_clear(&f->sink);
        assert_int_equal(
            pq_tokenizer_from_json(f->ctx, "cut", cut, (pq_str){"", 0}, &t),
            PTQC_E_INPUT);
        assert_int_equal(f->sink.error_count, 1);
    }
    pq_map_close(&map);
}

static void
gaps_and_added_tokens(void **state)
{
    fixture *f = *state;
    pq_tokenizer *t = from_text(
        f->ctx, "{\"model\":{\"vocab\":{\"a\":0,\"b\":4},\"merges\":[]},"
                "\"added_tokens\":[{\"id\":6,\"content\":\"<x>\",\"special\":"
                "true},{\"id\":9,\"content\":\"b\"}]}");
    assert_non_null(t);
    assert_int_equal(pq_tokenizer_count(t), 10); // 9: the id that b declares
    assert_int_equal(pq_tokenizer_text(t, 2).n, 0);
    assert_int_equal(pq_tokenizer_text(t, -1).n, 0);
    assert_int_equal(pq_tokenizer_text(t, 10).n, 0);
    assert_true(pq_str_equal_z(pq_tokenizer_text(t, 6), "<x>"));
    assert_int_equal(pq_tokenizer_find(t, PQ_STR("b")), 4);
    assert_int_equal(pq_tokenizer_find(t, PQ_STR("c")), PQ_TOKEN_NONE);
    assert_true(pq_tokenizer_is_special(t, 6));
    assert_false(pq_tokenizer_is_special(t, 4));
    assert_false(pq_tokenizer_is_special(t, 77));
    expect_ids(f->ctx, t, PQ_STR("ab<x>ba"), 3, "0 4 6 4 0");
    pq_tokenizer_destroy(t);
}

static void
configuration(void **state)
{
    fixture *f = *state;
    pq_tokenizer *t;
    pq_str json =
        PQ_STR(AB ",\"added_tokens\":[{\"id\":3,\"content\":\"<|im_end|>\"},"
                  "{\"id\":4,\"content\":\"<s>\",\"special\":true}]}");
    pq_str config = PQ_STR("{\"bos_token\":{\"content\":\"<s>\"},"
                           "\"eos_token\":\"b\",\"pad_token\":null}");
    assert_int_equal(pq_tokenizer_from_json(f->ctx, "t", json, config, &t),
                     PTQC_OK);
    assert_int_equal(pq_tokenizer_bos(t), 4);
    assert_int_equal(pq_tokenizer_eos(t), 1);
    assert_int_equal(pq_tokenizer_eot(t), 1);
    assert_int_equal(pq_tokenizer_pad(t), PQ_TOKEN_NONE);
    assert_int_equal(pq_tokenizer_unk(t), PQ_TOKEN_NONE);
    assert_true(pq_tokenizer_is_end(t, 1));
    assert_true(pq_tokenizer_is_end(t, 3)); // by its spelling
    assert_false(pq_tokenizer_is_end(t, 0));
    assert_false(pq_tokenizer_is_end(t, 99));
    pq_tokenizer_destroy(t);
    assert_int_equal(pq_tokenizer_from_json(f->ctx, "t", json, PQ_STR("{"), &t),
                     PTQC_E_INPUT);
    assert_int_equal(f->sink.error_count, 1);
}

static ptqc_status
read_body(ptqc_ctx *ctx, void *user)
{
    const pq_map *map = user;
    pq_tokenizer *t;
    PQ_TRY(pq_tokenizer_from_json(ctx, "t", text_of_map(map), (pq_str){"", 0},
                                  &t));
    pq_tokenizer_destroy(t);
    return PTQC_OK;
}

static void
failing_allocations(void **state)
{
    fixture *f = *state;
    static const char *const names[] = {"llama3", "metaspace", "wordpiece",
                                        "unigram", "regex"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        pq_map map;
        assert_true(snprintf(path, sizeof path, FIXTURES "%s.json", names[i]) >
                    0);
        assert_int_equal(pq_map_open(f->ctx, path, &map), PTQC_OK);
        assert_true(pq_test_alloc_sweep(read_body, &map) > 2);
        pq_map_close(&map);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_truncation_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(gaps_and_added_tokens, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(configuration, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
