// SPDX-License-Identifier: Apache-2.0
//
// Scratch files: in memory, without a name, and with one, which another owner
// takes up again.
#include <string.h>

#include "base/scratch.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"

static const char first[] = "one and", second[] = " two";

static void
append_both(pq_scratch *s)
{
    uint64_t at;
    assert_int_equal(pq_scratch_append(s, first, sizeof first, &at), PTQC_OK);
    assert_int_equal(at, 0);
    assert_int_equal(pq_scratch_append(s, second, sizeof second, &at), PTQC_OK);
    assert_int_equal(at, sizeof first);
    assert_int_equal(pq_scratch_bytes(s), sizeof first + sizeof second);
}

static void
expect_both(pq_scratch *s)
{
    char a[sizeof first], b[sizeof second];
    assert_int_equal(pq_scratch_read(s, 0, a, sizeof a), PTQC_OK);
    assert_int_equal(pq_scratch_read(s, sizeof a, b, sizeof b), PTQC_OK);
    assert_string_equal(a, first);
    assert_string_equal(b, second);
}

static void
nameless(void **state)
{
    (void)state;
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    const char *const dirs[] = {NULL, folder.path};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (int i = 0; i < 2; i++) {
        pq_scratch *s;
        pq_map map;
        assert_int_equal(pq_scratch_open(ctx, dirs[i], &s), PTQC_OK);
        append_both(s);
        expect_both(s);
        assert_int_equal(pq_scratch_map(s, &map), i == 0 ? PTQC_NO : PTQC_OK);
        pq_scratch_close(s);
        assert_true(i == 0 || memcmp(map.p, first, sizeof first) == 0);
        pq_map_close(&map);
        assert_int_equal(pq_test_folder_count(&folder), 0);
    }
    pq_scratch_close(NULL);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&folder);
}

static void
named(void **state)
{
    (void)state;
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    pq_scratch *s, *other;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_test_folder_create(&folder);
    pq_test_folder_path(&folder, "x.live", path);
    assert_int_equal(pq_scratch_reopen(ctx, path, &s), PTQC_NO);
    pq_test_file_write(path, "what was there before", 21);
    assert_int_equal(pq_scratch_create(ctx, path, &s), PTQC_OK);
    append_both(s);
    pq_scratch_close(s);
    assert_int_equal(pq_scratch_reopen(ctx, path, &s), PTQC_OK);
    assert_int_equal(pq_scratch_bytes(s), sizeof first + sizeof second);
    expect_both(s);
    // Replaced while it is open: who has it keeps it.
    assert_int_equal(pq_scratch_create(ctx, path, &other), PTQC_OK);
    expect_both(s);
    assert_int_equal(pq_scratch_bytes(other), 0);
    pq_scratch_close(other);
    pq_scratch_close(s);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&folder);
}

static void
failures(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    pq_scratch *s;
    char byte;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_test_folder_create(&folder);
    pq_test_folder_path(&folder, "none/x", path);
    assert_int_equal(pq_scratch_open(ctx, path, &s), PTQC_E_IO);
    assert_int_equal(pq_scratch_create(ctx, path, &s), PTQC_E_IO);
    assert_int_equal(pq_scratch_reopen(ctx, folder.path, &s), PTQC_E_IO);
    pq_test_folder_path(&folder, "x", path);
    assert_int_equal(pq_scratch_create(ctx, path, &s), PTQC_OK);
    assert_int_equal(pq_scratch_read(s, 0, &byte, 1), PTQC_E_IO);
    assert_int_equal(sink.error_count, 4);
    assert_non_null(strstr(sink.text, "x': cannot read a scratch file"));
    pq_scratch_close(s);
    pq_test_sink_clear(&sink);
    assert_int_equal(pq_scratch_open(ctx, folder.path, &s), PTQC_OK);
    assert_int_equal(pq_scratch_read(s, 0, &byte, 1), PTQC_E_IO);
    assert_non_null(strstr(sink.text, folder.path));
    pq_scratch_close(s);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nameless),
        cmocka_unit_test(named),
        cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
