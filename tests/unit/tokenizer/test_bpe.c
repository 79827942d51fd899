// SPDX-License-Identifier: Apache-2.0
//
// Merging against the definition (all pairs searched anew for every merge) on
// random vocabularies and words, short ones and those that take the heap;
// merges from scores; time on long words.
#include <time.h>

#include "tests/support/random.h"
#include "tests/unit/tokenizer/texts.h"

enum {
    LETTERS = 3,
    MERGES = 40,
    TOKENS = LETTERS + MERGES,
    TEXT_MAX = 16,
    WORD_MAX = 300,
};

typedef struct vocabulary {
    char texts[TOKENS][TEXT_MAX]; // a, b, c, then what each merge makes
    int merges[MERGES][2];
    int count; // tokens
} vocabulary;

static bool
has(const vocabulary *v, const char *text)
{
    for (int i = 0; i < v->count; i++) {
        if (strcmp(v->texts[i], text) == 0) {
            return true;
        }
    }
    return false;
}

static void
make_vocabulary(vocabulary *v, pq_test_random *random)
{
    *v = (vocabulary){.texts = {"a", "b", "c"}, .count = LETTERS};
    while (v->count < TOKENS) {
        int left = (int)pq_test_random_int(random, 0, v->count - 1);
        int right = (int)pq_test_random_int(random, 0, v->count - 1);
        char text[2 * TEXT_MAX];
        int n = snprintf(text, sizeof text, "%s%s", v->texts[left],
                         v->texts[right]);
        if (n < TEXT_MAX && !has(v, text)) {
            memcpy(v->texts[v->count], text, (size_t)n + 1);
            v->merges[v->count - LETTERS][0] = left;
            v->merges[v->count - LETTERS][1] = right;
            v->count++;
        }
    }
}

static pq_tokenizer *
create(ptqc_ctx *ctx, const vocabulary *v)
{
    pq_strbuf b;
    pq_strbuf_init(&b, ctx);
    pq_strbuf_add_z(&b, "{\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < TOKENS; i++) {
        pq_strbuf_addf(&b, "%s\"%s\":%d", i == 0 ? "" : ",", v->texts[i], i);
    }
    pq_strbuf_add_z(&b, "},\"merges\":[");
    for (int i = 0; i < MERGES; i++) {
        pq_strbuf_addf(&b, "%s\"%s %s\"", i == 0 ? "" : ",",
                       v->texts[v->merges[i][0]], v->texts[v->merges[i][1]]);
    }
    pq_strbuf_add_z(&b, "]}}");
    pq_tokenizer *t = from_text(ctx, b.p);
    assert_non_null(t);
    pq_strbuf_deinit(&b);
    return t;
}

// The definition; -> ids left.
static size_t
merge_slowly(const vocabulary *v, int *ids, size_t n)
{
    for (;;) {
        int best = MERGES;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            for (int m = 0; m < best; m++) {
                if (v->merges[m][0] == ids[i] &&
                    v->merges[m][1] == ids[i + 1]) {
                    best = m;
                    at = i;
                }
            }
        }
        if (best == MERGES) {
            return n;
        }
        ids[at] = LETTERS + best;
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void
equals_the_definition(void **state)
{
    fixture *f = *state;
    pq_test_random random = pq_test_random_seed(77);
    for (int round = 0; round < 40; round++) {
        vocabulary v;
        make_vocabulary(&v, &random);
        pq_tokenizer *t = create(f->ctx, &v);
        for (int word = 0; word < 40; word++) {
            char text[WORD_MAX];
            int ids[WORD_MAX];
            int64_t most = word % 2 == 0 ? 30 : WORD_MAX;
            size_t n = (size_t)pq_test_random_int(&random, 1, most);
            for (size_t i = 0; i < n; i++) {
                ids[i] = (int)pq_test_random_int(&random, 0, LETTERS - 1);
                text[i] = (char)('a' + ids[i]);
            }
            size_t count = merge_slowly(&v, ids, n);
            pq_token_ids found;
            assert_int_equal(
                pq_tokenizer_encode(f->ctx, t, (pq_str){text, n}, 0, &found),
                PTQC_OK);
            assert_int_equal(found.count, count);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(found.ids[i], ids[i]);
            }
            pq_free(f->ctx, found.ids);
        }
        pq_tokenizer_destroy(t);
    }
}

static double
seconds_to_encode(fixture *f, const pq_tokenizer *t, pq_str text)
{
    struct timespec before, after;
    pq_token_ids ids;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before), 0);
    assert_int_equal(pq_tokenizer_encode(f->ctx, t, text, 0, &ids), PTQC_OK);
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after), 0);
    assert_true(ids.count > 0);
    pq_free(f->ctx, ids.ids);
    return (double)(after.tv_sec - before.tv_sec) +
           1e-9 * (double)(after.tv_nsec - before.tv_nsec);
}

// One word of 2 MB: quadratic time would take hours, 30 s of processor time
// are far more than the half second that it takes.
static void
long_words_take_linear_time(void **state)
{
    fixture *f = *state;
    enum { LENGTH = 2000000 };
    static char text[LENGTH];
    static const char *const patterns[] = {"a", "ab", "the", "hello", " "};
    pq_tokenizer *t = open_fixture(f->ctx, "gpt2");
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        size_t n = strlen(patterns[p]);
        for (size_t i = 0; i < LENGTH; i++) {
            text[i] = patterns[p][i % n];
        }
        assert_true(seconds_to_encode(f, t, (pq_str){text, LENGTH}) < 30);
    }
    pq_tokenizer_destroy(t);
}

// Unknown characters next to known ones, alone and in rows.
static void
unknown_characters(void **state)
{
    fixture *f = *state;
    static const char json[] =
        "{\"model\":{\"type\":\"BPE\",\"unk_token\":\"?\",\"fuse_unk\":%s,"
        "\"vocab\":{\"?\":0,\"a\":1},\"merges\":[]}}";
    char text[sizeof json + 8];
    assert_true(snprintf(text, sizeof text, json, "true") > 0);
    pq_tokenizer *t = from_text(f->ctx, text);
    expect_ids(f->ctx, t, PQ_STR("axya"), 0, "1 0 1");
    expect_ids(f->ctx, t, PQ_STR("xy"), 0, "0");
    pq_tokenizer_destroy(t);
    assert_true(snprintf(text, sizeof text, json, "false") > 0);
    t = from_text(f->ctx, text);
    expect_ids(f->ctx, t, PQ_STR("axyaz"), 0, "1 0 0 1 0");
    pq_tokenizer_destroy(t);
    t = from_text(f->ctx, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
                          "\"merges\":[]}}");
    expect_ids(f->ctx, t, PQ_STR("xax"), 0, "0"); // left out
    pq_tokenizer_destroy(t);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(equals_the_definition, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(long_words_take_linear_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(unknown_characters, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
