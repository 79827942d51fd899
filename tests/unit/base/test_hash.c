// SPDX-License-Identifier: Apache-2.0
//
// Hashes against published vectors.
#include <string.h>

#include "base/hash.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

static void
test_hash64(void **state)
{
    (void)state;
    // XXH3_64bits of the empty text (xxHash's own self test).
    assert_true(pq_hash64("", 0) == 0x2d06800538d394c2u);
    assert_true(pq_hash64("ab", 2) != pq_hash64("ba", 2));
    assert_true(pq_hash64("ab", 2) == pq_hash64("abc", 2));
}

typedef struct sha_case {
    const char *text, *hex;
} sha_case;

// FIPS 180-4 examples.
static const sha_case sha_cases[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
};

static void
test_sha256(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (size_t i = 0; i < sizeof sha_cases / sizeof sha_cases[0]; i++) {
        pq_sha256 h;
        char hex[65];
        const char *text = sha_cases[i].text;
        assert_int_equal(pq_sha256_of(ctx, text, strlen(text), &h), PTQC_OK);
        pq_sha256_hex(&h, hex);
        assert_string_equal(hex, sha_cases[i].hex);
    }
    pq_sha256 empty;
    assert_int_equal(pq_sha256_of(ctx, NULL, 0, &empty), PTQC_OK);
    assert_int_equal(empty.bytes[0], 0xe3);
    ptqc_ctx_destroy(ctx);
}

// A long hash, as of a model file, stops when it is asked to.
static void
test_cancelled(void **state)
{
    (void)state;
    enum { BYTES = 40 << 20 };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    void *p = pq_alloc(ctx, BYTES);
    pq_sha256 h;
    assert_non_null(p);
    ptqc_ctx_cancel(ctx);
    assert_int_equal(pq_sha256_of(ctx, p, BYTES, &h), PTQC_E_CANCELLED);
    pq_free(ctx, p);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash64),
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
