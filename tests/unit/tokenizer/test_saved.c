// SPDX-License-Identifier: Apache-2.0
//
// The saved form: same bytes again, every truncation and every changed word
// refused or harmless, failing allocations.
#include "base/bits.h"
#include "tests/unit/tokenizer/texts.h"

static const char *const names[] = {"llama3", "sentencepiece", "wordpiece",
                                    "unigram", "regex"};

enum { NAME_COUNT = sizeof names / sizeof *names };

static void *
save(ptqc_ctx *ctx, const char *name, size_t *out_n)
{
    void *bytes;
    pq_tokenizer *t = open_fixture(ctx, name);
    assert_int_equal(pq_tokenizer_write(ctx, t, &bytes, out_n), PTQC_OK);
    pq_tokenizer_destroy(t);
    return bytes;
}

static void
written_again_is_the_same(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        size_t n, again_n;
        pq_tokenizer *t;
        void *again, *bytes = save(f->ctx, names[i], &n);
        assert_int_equal(pq_tokenizer_read(f->ctx, bytes, n, &t), PTQC_OK);
        assert_int_equal(pq_tokenizer_write(f->ctx, t, &again, &again_n),
                         PTQC_OK);
        assert_int_equal(n, again_n);
        assert_memory_equal(bytes, again, n);
        pq_free(f->ctx, bytes);
        pq_free(f->ctx, again);
        pq_tokenizer_destroy(t);
    }
}

static void
truncated(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        size_t n;
        uint8_t *bytes = save(f->ctx, names[i], &n);
        for (size_t cut = 0; cut < n; cut += cut < 300 ? 1 : 37) {
            pq_tokenizer *t;
            pq_test_sink_clear(&f->sink);
            assert_int_equal(pq_tokenizer_read(f->ctx, bytes, cut, &t),
                             PTQC_E_INTEGRITY);
            assert_null(t);
            assert_int_equal(f->sink.error_count, 1);
        }
        pq_free(f->ctx, bytes);
    }
}

// A word of the header or of a step set to extremes: refused with one error,
// or a tokenizer that works.
static void
changed(void **state)
{
    fixture *f = *state;
    static const uint32_t values[] = {0,          1,          255,       65536,
                                      0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < NAME_COUNT; i++) {
        size_t n;
        uint8_t *bytes = save(f->ctx, names[i], &n);
        for (size_t at = 0; at < 240; at += 4) {
            uint32_t old = pq_load_le32(bytes + at);
            for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
                pq_tokenizer *t;
                pq_token_ids ids = {0};
                pq_test_sink_clear(&f->sink);
                pq_store_le32(bytes + at, values[k]);
                ptqc_status st = pq_tokenizer_read(f->ctx, bytes, n, &t);
                assert_int_equal(f->sink.error_count, st != PTQC_OK);
                if (st == PTQC_OK) {
                    st = pq_tokenizer_encode(f->ctx, t, PQ_STR("the <s> and"),
                                             3, &ids);
                    assert_int_equal(st, PTQC_OK);
                }
                pq_free(f->ctx, ids.ids);
                pq_tokenizer_destroy(t);
            }
            pq_store_le32(bytes + at, old);
        }
        pq_free(f->ctx, bytes);
    }
}

static void
bytes_behind_the_end(void **state)
{
    fixture *f = *state;
    size_t n;
    pq_tokenizer *t;
    uint8_t *bytes = save(f->ctx, "words", &n);
    uint8_t *longer = pq_alloc(f->ctx, n + 1);
    assert_non_null(longer);
    memcpy(longer, bytes, n);
    pq_free(f->ctx, bytes);
    assert_int_equal(pq_tokenizer_read(f->ctx, longer, n + 1, &t),
                     PTQC_E_INTEGRITY);
    pq_free(f->ctx, longer);
}

typedef struct saved {
    const void *bytes;
    size_t n;
} saved;

static ptqc_status
read_and_write(ptqc_ctx *ctx, void *user)
{
    const saved *s = user;
    pq_tokenizer *t;
    void *bytes = NULL;
    size_t n;
    PQ_TRY(pq_tokenizer_read(ctx, s->bytes, s->n, &t));
    ptqc_status st = pq_tokenizer_write(ctx, t, &bytes, &n);
    pq_free(ctx, bytes);
    pq_tokenizer_destroy(t);
    return st;
}

static void
failing_allocations(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        saved s;
        void *bytes = save(f->ctx, names[i], &s.n);
        s.bytes = bytes;
        assert_true(pq_test_alloc_sweep(read_and_write, &s) > 5);
        pq_free(f->ctx, bytes);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(written_again_is_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(truncated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_behind_the_end, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(failing_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
