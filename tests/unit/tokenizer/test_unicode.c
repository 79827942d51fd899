// SPDX-License-Identifier: Apache-2.0
//
// Characters: reading and writing, malformed parts, normalization forms (with
// long runs of marks), lower case, stand-ins of bytes.
#include "tests/unit/tokenizer/texts.h"
#include "tokenizer/unicode.h"

static void
written_and_read(void **state)
{
    (void)state;
    static const uint32_t chars[] = {0,      0x7f,   0x80,   0x7ff,   0x800,
                                     0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff};
    for (size_t i = 0; i < sizeof chars / sizeof *chars; i++) {
        char bytes[4];
        size_t n = pq_char_put(chars[i], bytes), again;
        assert_int_equal(pq_str_utf8((pq_str){bytes, n}), n);
        assert_int_equal(pq_char_get((pq_str){bytes, n}, &again), chars[i]);
        assert_int_equal(again, n);
    }
}

static void
expect_lossy(ptqc_ctx *ctx, pq_str s, bool is_end, size_t used,
             const char *expected)
{
    pq_strbuf b;
    pq_strbuf_init(&b, ctx);
    assert_int_equal(pq_text_add_lossy(&b, s, is_end), used);
    assert_string_equal(b.p, expected);
    pq_strbuf_deinit(&b);
}

#define FFFD "\xef\xbf\xbd"

// The cases of Unicode's table 3-8, and ends that may go on.
static void
malformed_parts(void **state)
{
    fixture *f = *state;
    expect_lossy(f->ctx, PQ_STR(""), true, 0, "");
    expect_lossy(f->ctx, PQ_STR("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"), true,
                 9, FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A");
    expect_lossy(f->ctx, PQ_STR("\xed\xa0\x80\xed\xbf\xbf\x41"), true, 7,
                 FFFD FFFD FFFD FFFD FFFD FFFD "A");
    expect_lossy(f->ctx, PQ_STR("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"), true,
                 9, FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B");
    expect_lossy(f->ctx, PQ_STR("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), true,
                 9, FFFD FFFD FFFD FFFD "A");
    expect_lossy(f->ctx, PQ_STR("a\xf0\x9f\x98"), false, 1, "a");
    expect_lossy(f->ctx, PQ_STR("a\xf0\x9f\x98"), true, 4, "a" FFFD);
    expect_lossy(f->ctx, PQ_STR("\xc3"), false, 0, "");
    expect_lossy(f->ctx, PQ_STR("\xff"), false, 1, FFFD);
    expect_lossy(f->ctx, PQ_STR("\xed\xa0"), false, 2, FFFD FFFD);
}

static void
expect_form(ptqc_ctx *ctx, pq_text_form form, const char *in, const char *out)
{
    pq_strbuf b;
    pq_strbuf_init(&b, ctx);
    assert_int_equal(pq_text_normalize(ctx, pq_str_of(in), form, &b), PTQC_OK);
    assert_string_equal(b.p, out);
    pq_strbuf_deinit(&b);
}

static void
normalization_forms(void **state)
{
    fixture *f = *state;
    expect_form(f->ctx, PQ_TEXT_NFC, "", "");
    expect_form(f->ctx, PQ_TEXT_NFC, "e\xcc\x81", "\xc3\xa9");
    expect_form(f->ctx, PQ_TEXT_NFD, "\xc3\xa9", "e\xcc\x81");
    expect_form(f->ctx, PQ_TEXT_NFC, "\xef\xac\x81", "\xef\xac\x81");
    expect_form(f->ctx, PQ_TEXT_NFKC, "\xef\xac\x81", "fi");
    expect_form(f->ctx, PQ_TEXT_NFKD, "\xef\xb7\xba",
                "\xd8\xb5\xd9\x84\xd9\x89 \xd8\xa7\xd9\x84\xd9\x84\xd9\x87 "
                "\xd8\xb9\xd9\x84\xd9\x8a\xd9\x87 \xd9\x88\xd8\xb3\xd9\x84"
                "\xd9\x85");
    expect_form(f->ctx, PQ_TEXT_NFD, "\xea\xb0\x81", // a syllable of three
                "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8");
    expect_form(f->ctx, PQ_TEXT_NFC, "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8",
                "\xea\xb0\x81");
    // Above (230) and below (220): the one below goes first.
    expect_form(f->ctx, PQ_TEXT_NFD, "a\xcc\x81\xcc\xa3", "a\xcc\xa3\xcc\x81");
    expect_form(f->ctx, PQ_TEXT_NFC, "\xe2\x84\xab", "\xc3\x85");
}

// Runs longer than the insertion sort takes: all below, then all above.
static void
long_runs_of_marks(void **state)
{
    fixture *f = *state;
    enum { PAIRS = 50000 };
    pq_strbuf in, out;
    pq_strbuf_init(&in, f->ctx);
    pq_strbuf_init(&out, f->ctx);
    for (int i = 0; i < PAIRS; i++) {
        pq_strbuf_add_z(&in, "\xcc\x81\xcc\xa3");
    }
    assert_int_equal(
        pq_text_normalize(f->ctx, (pq_str){in.p, in.n}, PQ_TEXT_NFD, &out),
        PTQC_OK);
    assert_int_equal(out.n, in.n);
    for (size_t i = 0; i < PAIRS; i++) {
        assert_memory_equal(out.p + 2 * i, "\xcc\xa3", 2);
        assert_memory_equal(out.p + 2 * (PAIRS + i), "\xcc\x81", 2);
    }
    pq_strbuf_deinit(&in);
    pq_strbuf_deinit(&out);
}

static void
lower_case(void **state)
{
    fixture *f = *state;
    pq_strbuf b;
    pq_strbuf_init(&b, f->ctx);
    pq_text_lower(PQ_STR("aBC\xc3\x89\xce\xa3\xc4\xb0\xe1\xba\x9e"
                         "1"),
                  &b);
    assert_string_equal(b.p, "abc\xc3\xa9\xcf\x83i\xcc\x87\xc3\x9f"
                             "1");
    pq_strbuf_deinit(&b);
}

static void
stand_ins_of_bytes(void **state)
{
    (void)state;
    bool seen[324] = {false};
    for (unsigned b = 0; b < 256; b++) {
        uint32_t c = pq_byte_to_char((uint8_t)b);
        assert_true(c < 324 && !seen[c]);
        seen[c] = true;
        assert_int_equal(pq_char_to_byte(c), b);
    }
    assert_int_equal(pq_byte_to_char(' '), 0x120);
    assert_int_equal(pq_byte_to_char('\n'), 0x10a);
    assert_int_equal(pq_byte_to_char(0xad), 0x143);
    assert_int_equal(pq_char_to_byte(' '), -1);
    assert_int_equal(pq_char_to_byte(0xad), -1);
    assert_int_equal(pq_char_to_byte(0x144), -1);
    assert_int_equal(pq_char_to_byte(0x10ffff), -1);
}

static void
kinds(void **state)
{
    (void)state;
    assert_int_equal(pq_char_kinds('a'), PQ_CHAR_LETTER);
    assert_int_equal(pq_char_kinds(0x4f60), PQ_CHAR_LETTER);
    assert_int_equal(pq_char_kinds(0xbd), PQ_CHAR_NUMBER);
    assert_int_equal(pq_char_kinds('\n'), PQ_CHAR_SPACE | PQ_CHAR_NEWLINE);
    assert_int_equal(pq_char_kinds(0x3000), PQ_CHAR_SPACE);
    assert_int_equal(pq_char_kinds(0x180e), 0);
    assert_int_equal(pq_char_kinds('.'), 0);
    assert_true(pq_char_is_punctuation('$'));     // ASCII symbols are
    assert_false(pq_char_is_punctuation(0x20ac)); // other symbols aren't
    assert_true(pq_char_is_punctuation(0x2014));
    assert_false(pq_char_is_punctuation(' '));
    assert_false(pq_char_is_punctuation(0x7f));
    assert_true(pq_char_is_word('_') && pq_char_is_word(0x200d));
    assert_false(pq_char_is_word('-') || pq_char_is_word(0xbd));
    assert_true(pq_char_is_control(0xad) && pq_char_is_control(0xe000));
    assert_true(pq_char_is_mark(0x301) && !pq_char_is_mark(0x903));
    assert_true(pq_char_is_any_mark(0x903) && !pq_char_is_any_mark('a'));
    assert_true(pq_char_is_chinese(0x4e00) && !pq_char_is_chinese(0x3042));
}

static ptqc_status
normalize_body(ptqc_ctx *ctx, void *user)
{
    (void)user;
    pq_strbuf b;
    pq_strbuf_init(&b, ctx);
    ptqc_status st = pq_text_normalize(ctx, PQ_STR("e\xcc\x81\xef\xb7\xba"),
                                       PQ_TEXT_NFKC, &b);
    st = st == PTQC_OK && b.failed ? PTQC_E_RESOURCE : st;
    pq_strbuf_deinit(&b);
    return st;
}

static void
failing_allocations(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(normalize_body, NULL) > 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written_and_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(malformed_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(normalization_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_runs_of_marks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lower_case, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stand_ins_of_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
