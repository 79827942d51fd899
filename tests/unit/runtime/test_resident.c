// SPDX-License-Identifier: Apache-2.0
//
// A copy of an artifact's constants: the same bytes, aligned, for any number
// of threads; nothing is left behind when memory is short.
#include <string.h>

#include "runtime/resident.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

// Several of what a task copies at least, and a tail.
#define LARGE_BYTES ((5u << 20) + 37u)

// An artifact that is nothing but these constants.
typedef struct constants {
    ptqc_artifact artifact;
    pq_file_constant table[5];
    uint8_t *bytes; // owned
} constants;

static void
make_constants(ptqc_ctx *ctx, constants *c)
{
    static const uint64_t sizes[5] = {1, 0, 64, LARGE_BYTES, 63};
    pq_test_random r = pq_test_random_seed(7);
    uint64_t at = 0;
    *c = (constants){0};
    for (int i = 0; i < 5; i++) {
        c->table[i] = (pq_file_constant){.offset = at, .bytes = sizes[i]};
        at += (sizes[i] + 63) / 64 * 64;
    }
    c->bytes = pq_alloc(ctx, at);
    assert_non_null(c->bytes);
    pq_test_fill_bytes(&r, c->bytes, at);
    c->artifact = (ptqc_artifact){
        .p = c->bytes, .constants = c->table, .constant_count = 5};
}

static void
copies(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        pq_test_sink sink;
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, threads);
        constants c;
        pq_resident r;
        assert_non_null(pq_ctx_pool(ctx)); // stays with the context
        uint64_t before = pq_live_bytes(ctx);
        make_constants(ctx, &c);
        assert_int_equal(pq_resident_init(ctx, &c.artifact, &r), PTQC_OK);
        for (uint32_t i = 0; i < 5; i++) {
            ptqc_bytes own = pq_artifact_constant(&c.artifact, i);
            ptqc_bytes copy = pq_resident_constant(&r, &c.artifact, i);
            assert_int_equal(copy.n, own.n);
            assert_true(copy.p != own.p);
            assert_int_equal((uintptr_t)copy.p % 64, 0);
            assert_memory_equal(copy.p, own.p, own.n);
        }
        pq_resident_deinit(ctx, &r);
        pq_free(ctx, c.bytes);
        assert_int_equal(pq_live_bytes(ctx), before);
        ptqc_ctx_destroy(ctx);
    }
}

static void
none(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(&(pq_test_sink){0}, NULL, 1);
    constants c;
    const pq_resident r = {0};
    make_constants(ctx, &c);
    assert_ptr_equal(pq_resident_constant(&r, &c.artifact, 3).p,
                     pq_artifact_constant(&c.artifact, 3).p);
    pq_free(ctx, c.bytes);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
copy_body(ptqc_ctx *ctx, void *user)
{
    pq_resident r;
    ptqc_status st = pq_resident_init(ctx, user, &r);
    pq_resident_deinit(ctx, &r);
    return st;
}

static void
no_memory(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(&(pq_test_sink){0}, NULL, 1);
    constants c;
    make_constants(ctx, &c);
    assert_true(pq_test_alloc_sweep(copy_body, &c.artifact) > 1);
    pq_free(ctx, c.bytes);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies),
        cmocka_unit_test(none),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
