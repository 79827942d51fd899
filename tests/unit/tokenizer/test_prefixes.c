// SPDX-License-Identifier: Apache-2.0
//
// Sets of texts: what a text begins with, shortest first.
#include "tests/unit/tokenizer/texts.h"
#include "tokenizer/prefixes.h"

static pq_tok_prefixes
make(pq_arena *arena, const char *const *texts, uint32_t count)
{
    pq_tok_prefixes p;
    pq_tok_prefix *at = pq_arena_array(arena, count, sizeof *at);
    assert_non_null(at);
    for (uint32_t i = 0; i < count; i++) {
        at[i] = (pq_tok_prefix){pq_str_of(texts[i]), (int32_t)i};
    }
    pq_tok_prefixes_init(&p, at, count);
    return p;
}

static void
expect(const pq_tok_prefixes *p, const char *text, const int32_t *ids,
       size_t count)
{
    pq_tok_prefix_walk w;
    pq_tok_prefix_walk_init(&w, p, pq_str_of(text));
    for (size_t i = 0; i < count; i++) {
        const pq_tok_prefix *found = pq_tok_prefix_next(&w);
        assert_non_null(found);
        assert_int_equal(found->id, ids[i]);
    }
    assert_null(pq_tok_prefix_next(&w));
    const pq_tok_prefix *longest = pq_tok_prefix_longest(p, pq_str_of(text));
    if (count == 0) {
        assert_null(longest);
    } else {
        assert_int_equal(longest->id, ids[count - 1]);
    }
}

static void
prefixes(void **state)
{
    fixture *f = *state;
    static const char *const texts[] = {"b",   "abc",  "a",  "abcd",    "ab",
                                        "abx", "\xff", "ab", "\xc3\xa9"};
    pq_arena arena;
    pq_arena_init(&arena, f->ctx);
    pq_tok_prefixes p = make(&arena, texts, 9);
    assert_int_equal(p.count, 8); // of the two "ab" the later stays
    expect(&p, "", NULL, 0);
    expect(&p, "zz", NULL, 0);
    expect(&p, "b", (const int32_t[]){0}, 1);
    expect(&p, "a", (const int32_t[]){2}, 1);
    expect(&p, "abcde", (const int32_t[]){2, 7, 1, 3}, 4);
    expect(&p, "abxabx", (const int32_t[]){2, 7, 5}, 3);
    expect(&p, "aab", (const int32_t[]){2}, 1);
    expect(&p, "\xff\xff", (const int32_t[]){6}, 1);
    expect(&p, "\xc3", NULL, 0);
    expect(&p, "\xc3\xa9", (const int32_t[]){8}, 1);
    pq_arena_deinit(&arena);
}

static void
an_empty_set(void **state)
{
    fixture *f = *state;
    pq_arena arena;
    pq_arena_init(&arena, f->ctx);
    pq_tok_prefixes p = make(&arena, NULL, 0);
    expect(&p, "a", NULL, 0);
    expect(&p, "", NULL, 0);
    pq_arena_deinit(&arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(prefixes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_empty_set, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
