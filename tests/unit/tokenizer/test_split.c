// SPDX-License-Identifier: Apache-2.0
//
// Splitters: the behaviors at the ends of a text and in rows of matches,
// steps after steps, Metaspace's schemes. The words are read off the ids of
// a tokenizer whose characters are tokens, by what merges.
#include "tests/unit/tokenizer/texts.h"
#include "tokenizer/steps.h"

// The words of text as "a|b|c" by the pre-tokenizer in JSON.
static void
expect_words(ptqc_ctx *ctx, const char *pre_tokenizer, pq_str text,
             bool is_at_start, const char *expected)
{
    pq_strbuf b;
    pq_tok_pieces p;
    pq_strbuf_init(&b, ctx);
    pq_strbuf_addf(&b,
                   "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
                   "\"merges\":[]},\"pre_tokenizer\":%s}",
                   pre_tokenizer);
    pq_tokenizer *t = from_text(ctx, b.p);
    assert_non_null(t);
    pq_tok_pieces_init(&p, ctx);
    for (int round = 0; round < 2; round++) { // the memory is used again
        assert_int_equal(pq_tok_split(&p, t, text, is_at_start), PTQC_OK);
        b.n = 0;
        pq_strbuf_add_z(&b, "");
        for (uint32_t i = 0; i < p.count; i++) {
            pq_strbuf_add_z(&b, i == 0 ? "" : "|");
            pq_strbuf_add(&b, (pq_str){p.text.p + p.at[i].at, p.at[i].n});
        }
        if (p.count == 0) {
            assert_string_equal("", expected);
        } else {
            assert_string_equal(b.p, expected);
        }
    }
    pq_tok_pieces_deinit(&p);
    pq_strbuf_deinit(&b);
    pq_tokenizer_destroy(t);
}

#define SPLIT(pattern, behavior, invert)                                       \
    "{\"type\":\"Split\",\"pattern\":{" pattern "},\"behavior\":\"" behavior   \
    "\",\"invert\":" invert "}"
#define DASH  "\"String\":\"-\""
#define DASHR "\"Regex\":\"-\""

static void
behaviors(void **state)
{
    fixture *f = *state;
    pq_str text = PQ_STR("-a--b-");
    static const struct {
        const char *step, *words;
    } cases[] = {
        {SPLIT(DASH, "Removed", "false"), "a|b"},
        {SPLIT(DASH, "Isolated", "false"), "-|a|-|-|b|-"},
        {SPLIT(DASH, "Contiguous", "false"), "-|a|--|b|-"},
        {SPLIT(DASH, "MergedWithPrevious", "false"), "-|a-|-|b-"},
        {SPLIT(DASH, "MergedWithNext", "false"), "-a|-|-b|-"},
        {SPLIT(DASH, "Removed", "true"), "-|-|-|-"},
        {SPLIT(DASHR, "Removed", "false"), "a|b"},
        {SPLIT(DASHR, "Isolated", "false"), "-|a|-|-|b|-"},
        {SPLIT(DASHR, "Contiguous", "false"), "-|a|--|b|-"},
        {SPLIT(DASHR, "MergedWithPrevious", "false"), "-|a-|-|b-"},
        {SPLIT(DASHR, "MergedWithNext", "false"), "-a|-|-b|-"},
        {SPLIT(DASHR, "Removed", "true"), "-|-|-|-"},
        {SPLIT("\"Regex\":\"x*\"", "Isolated", "false"), "-a--b-"},
        {"{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}", "a|b"},
        {"{\"type\":\"Punctuation\"}", "-|a|-|-|b|-"},
        {"{\"type\":\"WhitespaceSplit\"}", "-a--b-"},
        {"{\"type\":\"Whitespace\"}", "-|a|--|b|-"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_words(f->ctx, cases[i].step, text, true, cases[i].words);
        expect_words(f->ctx, cases[i].step, PQ_STR(""), true, "");
    }
}

static void
steps_after_steps(void **state)
{
    fixture *f = *state;
    expect_words(f->ctx,
                 "{\"type\":\"Sequence\",\"pretokenizers\":["
                 "{\"type\":\"WhitespaceSplit\"},{\"type\":\"Digits\","
                 "\"individual_digits\":true},{\"type\":\"Punctuation\"}]}",
                 PQ_STR(" a12\t3.b \n"), true, "a|1|2|3|.|b");
    expect_words(f->ctx, "{\"type\":\"Digits\"}", PQ_STR("a12 3"), true,
                 "a|12| |3");
    expect_words(f->ctx, "{\"type\":\"BertPreTokenizer\"}", PQ_STR("it's  (a)"),
                 true, "it|'|s|(|a|)");
    expect_words(f->ctx, "{\"type\":\"ByteLevel\"}", PQ_STR("a b\n\nc"), true,
                 " a| b|\n|\n|c");
    expect_words(f->ctx,
                 "{\"type\":\"ByteLevel\",\"use_regex\":false,"
                 "\"add_prefix_space\":false}",
                 PQ_STR("a b"), true, "a b");
}

#define META(scheme)                                                           \
    "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":"        \
    "\"" scheme "\"}"

static void
metaspace(void **state)
{
    fixture *f = *state;
    expect_words(f->ctx, META("always"), PQ_STR("a b  c"), false, "_a|_b|_|_c");
    expect_words(f->ctx, META("first"), PQ_STR("a b"), true, "_a|_b");
    expect_words(f->ctx, META("first"), PQ_STR("a b"), false, "a|_b");
    expect_words(f->ctx, META("never"), PQ_STR("a b"), true, "a|_b");
    expect_words(f->ctx, META("always"), PQ_STR(" a"), true, "_a");
    expect_words(f->ctx, META("always"), PQ_STR("_a"), true, "_a");
    expect_words(f->ctx,
                 "{\"type\":\"Metaspace\",\"replacement\":\"_\","
                 "\"split\":false}",
                 PQ_STR("a b"), true, "_a_b");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(behaviors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(steps_after_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(metaspace, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
