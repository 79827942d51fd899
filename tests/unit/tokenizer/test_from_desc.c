// SPDX-License-Identifier: Apache-2.0
//
// Tokenizers from arrays, as GGUF has them: the three kinds on small
// vocabularies, and what is refused.
#include "tests/unit/tokenizer/texts.h"

#define MARK "\xe2\x96\x81"

enum { TOKENS_MAX = 24 };

typedef struct arrays {
    pq_tokenizer_desc desc;
    pq_str tokens[TOKENS_MAX], merges[TOKENS_MAX];
    float scores[TOKENS_MAX];
    int32_t types[TOKENS_MAX];
} arrays;

static void
add(arrays *a, const char *text, int32_t type, float score)
{
    size_t i = a->desc.token_count++;
    assert_true(i < TOKENS_MAX);
    a->tokens[i] = pq_str_of(text);
    a->types[i] = type;
    a->scores[i] = score;
    a->desc.tokens = a->tokens;
    a->desc.types = a->types;
    a->desc.scores = a->scores;
    a->desc.type_count = a->desc.score_count = i + 1;
}

static void
add_merge(arrays *a, const char *text)
{
    a->merges[a->desc.merge_count++] = pq_str_of(text);
    a->desc.merges = a->merges;
}

static void
make_llama(arrays *a)
{
    *a = (arrays){0};
    pq_tokenizer_desc_init(&a->desc);
    a->desc.model = PQ_STR("llama");
    add(a, "<unk>", 2, 0);    // 0
    add(a, "<s>", 3, 0);      // 1
    add(a, "</s>", 3, 0);     // 2
    add(a, "<0xC3>", 6, 0);   // 3
    add(a, "<0xA9>", 6, 0);   // 4
    add(a, MARK, 1, -9);      // 5
    add(a, "a", 1, -9);       // 6
    add(a, "b", 1, -9);       // 7
    add(a, "ab", 1, -1);      // 8
    add(a, "bb", 1, -1);      // 9: as good as ab: the left one goes first
    add(a, MARK "a", 1, -2);  // 10
    add(a, MARK "ab", 1, -3); // 11
    add(a, "[tool]", 4, 0);   // 12
    a->desc.bos = 1;
    a->desc.eos = 2;
}

static void
make_gpt2(arrays *a)
{
    *a = (arrays){0};
    pq_tokenizer_desc_init(&a->desc);
    a->desc.model = PQ_STR("gpt2");
    a->desc.pre = PQ_STR("smollm");
    add(a, "a", 1, 0);        // 0
    add(a, "b", 1, 0);        // 1
    add(a, "\xc4\xa0", 1, 0); // 2: a space
    add(a, "1", 1, 0);        // 3
    add(a, "ab", 1, 0);       // 4
    add(a,
        "\xc4\xa0"
        "ab",
        1, 0);               // 5
    add(a, "11", 1, 0);      // 6
    add(a, "<|end|>", 3, 0); // 7
    add_merge(a, "a b");
    add_merge(a, "\xc4\xa0 ab");
    add_merge(a, "1 1");
    a->desc.eos = 7;
}

static pq_tokenizer *
create(fixture *f, const arrays *a)
{
    pq_tokenizer *t = NULL;
    ptqc_status st = pq_tokenizer_from_desc(f->ctx, &a->desc, &t);
    assert_int_equal(f->sink.error_count, st != PTQC_OK);
    assert_true((t != NULL) == (st == PTQC_OK));
    return t;
}

static void
llama(void **state)
{
    fixture *f = *state;
    arrays a;
    make_llama(&a);
    pq_tokenizer *t = create(f, &a);
    assert_non_null(t);
    expect_ids(f->ctx, t, PQ_STR("ab"), 3, "1 11");
    expect_ids(f->ctx, t, PQ_STR("ab"), 0, "11");
    expect_ids(f->ctx, t, PQ_STR("abb"), 0, "11 7"); // ab before bb
    expect_ids(f->ctx, t, PQ_STR("bb b"), 0, "5 9 5 7");
    expect_ids(f->ctx, t, PQ_STR("\xc3\xa9"), 0, "5 3 4");
    expect_ids(f->ctx, t, PQ_STR("zzb"), 0, "5 0 7");
    expect_ids(f->ctx, t, PQ_STR("a<s>a[tool]b"), 2, "10 1 10 12 5 7");
    expect_ids(f->ctx, t, PQ_STR("[tool]"), 0, "12"); // not a special one
    expect_ids(f->ctx, t, PQ_STR(""), 3, "1");
    assert_int_equal(pq_tokenizer_unk(t), 0);
    static const pq_token ids[] = {1, 11, 7, 5, 3, 4};
    expect_text(f->ctx, t, ids, 6, PQ_DECODE_SKIP_SPECIAL, "abb \xc3\xa9");
    expect_text(f->ctx, t, ids + 1, 2, PQ_DECODE_CONTINUE, " abb");
    pq_tokenizer_destroy(t);

    a.desc.add_space_prefix = PQ_TOK_NO;
    a.desc.add_bos = PQ_TOK_NO;
    a.desc.add_eos = PQ_TOK_YES;
    t = create(f, &a);
    expect_ids(f->ctx, t, PQ_STR("ab"), 3, "8 2");
    expect_text(f->ctx, t, ids + 1, 1, 0, " ab");
    pq_tokenizer_destroy(t);
}

static void
gpt2(void **state)
{
    fixture *f = *state;
    arrays a;
    make_gpt2(&a);
    pq_tokenizer *t = create(f, &a);
    assert_non_null(t);
    expect_ids(f->ctx, t, PQ_STR("ab ab11<|end|>"), 3, "4 5 3 3 7");
    assert_true(pq_tokenizer_is_end(t, 7));
    static const pq_token ids[] = {5, 3, 7};
    expect_text(f->ctx, t, ids, 3, 0, " ab1<|end|>");
    pq_tokenizer_destroy(t);

    a.desc.pre = PQ_STR("llama-bpe"); // digits in threes, BOS when there is one
    a.desc.bos = 7;
    t = create(f, &a);
    expect_ids(f->ctx, t, PQ_STR("111 ab"), 3, "7 6 3 5");
    pq_tokenizer_destroy(t);
}

static void
bert(void **state)
{
    fixture *f = *state;
    arrays a = {0};
    pq_tokenizer_desc_init(&a.desc);
    a.desc.model = PQ_STR("bert");
    add(&a, "[PAD]", 3, 0);
    add(&a, "[UNK]", 3, 0);
    add(&a, "[CLS]", 3, 0);
    add(&a, "[SEP]", 3, 0);
    add(&a, MARK "run", 1, 0);
    add(&a, "s", 1, 0);
    add(&a, MARK ".", 1, 0);
    a.desc.bos = 2;
    a.desc.eos = 3;
    pq_tokenizer *t = create(f, &a);
    assert_non_null(t);
    expect_ids(f->ctx, t, PQ_STR("R\xc3\x9ans. x"), 3, "2 4 5 6 1 3");
    static const pq_token ids[] = {2, 4, 5, 6, 3};
    expect_text(f->ctx, t, ids, 5, PQ_DECODE_SKIP_SPECIAL, "runs.");
    pq_tokenizer_destroy(t);
}

static void
expect_refused(fixture *f, const arrays *a, ptqc_status status,
               const char *says)
{
    pq_tokenizer *t;
    pq_test_sink_clear(&f->sink);
    assert_int_equal(pq_tokenizer_from_desc(f->ctx, &a->desc, &t), status);
    assert_null(t);
    assert_int_equal(f->sink.error_count, 1);
    if (strstr(f->sink.text, says) == NULL) {
        print_error("'%s' is not in: %s", says, f->sink.text);
    }
    assert_non_null(strstr(f->sink.text, says));
}

static void
refused(void **state)
{
    fixture *f = *state;
    arrays a;
    make_llama(&a);
    a.desc.model = PQ_STR("t5");
    expect_refused(f, &a, PTQC_E_UNSUPPORTED, "'t5'");
    make_llama(&a);
    a.desc.score_count = 0;
    expect_refused(f, &a, PTQC_E_INPUT, "0 scores");
    make_llama(&a);
    a.desc.type_count--;
    expect_refused(f, &a, PTQC_E_INPUT, "token types");
    make_llama(&a);
    a.types[3] = 77;
    expect_refused(f, &a, PTQC_E_INPUT, "type 77");
    make_llama(&a);
    a.scores[6] = __builtin_nanf("");
    expect_refused(f, &a, PTQC_E_INPUT, "score of token 6");
    make_llama(&a);
    a.desc.bos = 13;
    expect_refused(f, &a, PTQC_E_INPUT, "bos token 13");
    make_llama(&a);
    a.desc.eot = -7;
    expect_refused(f, &a, PTQC_E_INPUT, "eot token -7");
    make_llama(&a);
    a.desc.token_count = a.desc.type_count = a.desc.score_count = 0;
    expect_refused(f, &a, PTQC_E_INPUT, "0 tokens");
    make_gpt2(&a);
    a.desc.pre = PQ_STR("default");
    expect_refused(f, &a, PTQC_E_UNSUPPORTED, "'default'");
    make_gpt2(&a);
    a.merges[1] = PQ_STR("ab");
    expect_refused(f, &a, PTQC_E_INPUT, "merge 1");
    make_gpt2(&a);
    a.merges[1] = PQ_STR("b b");
    expect_refused(f, &a, PTQC_E_INPUT, "'bb'");
}

static ptqc_status
create_body(ptqc_ctx *ctx, void *user)
{
    const arrays *a = user;
    pq_tokenizer *t;
    PQ_TRY(pq_tokenizer_from_desc(ctx, &a->desc, &t));
    pq_tokenizer_destroy(t);
    return PTQC_OK;
}

static void
failing_allocations(void **state)
{
    (void)state;
    arrays a;
    make_llama(&a);
    assert_true(pq_test_alloc_sweep(create_body, &a) > 2);
    make_gpt2(&a);
    assert_true(pq_test_alloc_sweep(create_body, &a) > 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(llama, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gpt2, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bert, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
