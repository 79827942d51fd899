// SPDX-License-Identifier: Apache-2.0
//
// The kernel cache: what is stored comes back; what is damaged, renamed or
// could have been written by somebody else does not.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "runtime/host.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"

typedef struct fixture {
    pq_test_folder folder;
    char dir[PQ_TEST_PATH_BYTES];   // the cache, made by put
    char entry[PQ_TEST_PATH_BYTES]; // file of the key
    pq_test_sink sink;
    ptqc_ctx *ctx;
    uint8_t key[32];
} fixture;

static const char kernel[] = "machine code of a kernel";

static int
set_up(void **state)
{
    static fixture f;
    char name[80];
    pq_sha256 as_hash;
    f = (fixture){0};
    pq_test_folder_create(&f.folder);
    pq_test_folder_path(&f.folder, "cache", f.dir);
    for (int i = 0; i < 32; i++) {
        f.key[i] = (uint8_t)(i * 7);
    }
    memcpy(as_hash.bytes, f.key, 32);
    snprintf(name, sizeof name, "cache/");
    pq_sha256_hex(&as_hash, name + 6);
    pq_test_folder_path(&f.folder, name, f.entry);
    f.ctx = pq_test_ctx_create(&f.sink, NULL, 1);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;
    int leaked = pq_live_bytes(f->ctx) != 0;
    ptqc_ctx_destroy(f->ctx);
    pq_test_folder_remove(&f->folder);
    return leaked || f->sink.error_count != 0; // never an error for the user
}

static void
put(fixture *f)
{
    assert_int_equal(pq_kernel_cache_put(f->ctx, f->dir, f->key,
                                         (ptqc_bytes){kernel, sizeof kernel}),
                     PTQC_BE_OK);
}

// Whether the stored kernel is found, whole.
static bool
is_there(fixture *f)
{
    ptqc_bytes found = {0};
    ptqc_be_status st = pq_kernel_cache_get(f->ctx, f->dir, f->key, &found);
    if (st != PTQC_BE_OK) {
        assert_int_equal(st, PTQC_BE_UNSUPPORTED);
        return false;
    }
    assert_int_equal(found.n, sizeof kernel);
    assert_memory_equal(found.p, kernel, sizeof kernel);
    assert_int_equal((uintptr_t)found.p % 64, 0);
    pq_host_free(f->ctx, (void *)(uintptr_t)found.p);
    return true;
}

static void
test_round_trip(void **state)
{
    fixture *f = *state;
    assert_false(is_there(f)); // not even the folder
    put(f);
    assert_true(is_there(f));
    put(f); // again
    assert_true(is_there(f));
    uint8_t other = f->key[31]++;
    assert_false(is_there(f));
    f->key[31] = other;
}

static void
test_empty_entry(void **state)
{
    fixture *f = *state;
    ptqc_bytes found = {0};
    assert_int_equal(
        pq_kernel_cache_put(f->ctx, f->dir, f->key, (ptqc_bytes){"", 0}),
        PTQC_BE_OK);
    assert_int_equal(pq_kernel_cache_get(f->ctx, f->dir, f->key, &found),
                     PTQC_BE_OK);
    assert_int_equal(found.n, 0);
    pq_host_free(f->ctx, (void *)(uintptr_t)found.p);
}

// ---- damage -----------------------------------------------------------------

static size_t
read_entry(const fixture *f, uint8_t *p, size_t room)
{
    FILE *file = fopen(f->entry, "rb");
    assert_non_null(file);
    size_t n = fread(p, 1, room, file);
    assert_int_equal(fclose(file), 0);
    return n;
}

static void
test_damaged_entries(void **state)
{
    fixture *f = *state;
    uint8_t whole[512];
    put(f);
    size_t n = read_entry(f, whole, sizeof whole);
    for (size_t i = 0; i < n; i++) {
        whole[i] ^= 1;
        pq_test_file_write(f->entry, whole, n);
        assert_int_equal(chmod(f->entry, 0600), 0);
        assert_false(is_there(f));
        whole[i] ^= 1;
        pq_test_file_write(f->entry, whole, i); // cut
        assert_int_equal(chmod(f->entry, 0600), 0);
        assert_false(is_there(f));
    }
    put(f); // a damaged one is replaced
    assert_true(is_there(f));
}

static void
test_entry_under_another_name(void **state)
{
    fixture *f = *state;
    char other[PQ_TEST_PATH_BYTES];
    put(f);
    snprintf(other, sizeof other, "%s", f->entry);
    size_t last = strlen(other) - 1;
    other[last] = other[last] == '0' ? '1' : '0';
    assert_int_equal(rename(f->entry, other), 0);
    f->key[31] ^= 1; // the key of that name
    assert_false(is_there(f));
    f->key[31] ^= 1;
}

// ---- who may write ----------------------------------------------------------

static void
test_writable_by_others(void **state)
{
    fixture *f = *state;
    put(f);
    assert_int_equal(chmod(f->entry, 0602), 0);
    assert_false(is_there(f));
    assert_int_equal(chmod(f->entry, 0600), 0);
    assert_true(is_there(f));
    assert_int_equal(chmod(f->dir, 0770), 0);
    assert_false(is_there(f));
    assert_int_equal(pq_kernel_cache_put(f->ctx, f->dir, f->key,
                                         (ptqc_bytes){kernel, sizeof kernel}),
                     PTQC_BE_UNSUPPORTED);
    assert_int_equal(chmod(f->dir, 0700), 0);
    assert_true(is_there(f));
}

static void
test_symbolic_links(void **state)
{
    fixture *f = *state;
    char elsewhere[PQ_TEST_PATH_BYTES], linked[PQ_TEST_PATH_BYTES];
    put(f);
    pq_test_folder_path(&f->folder, "elsewhere", elsewhere);
    assert_int_equal(rename(f->entry, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, f->entry), 0);
    assert_false(is_there(f));
    put(f); // replaces the link, not what it points at
    assert_true(is_there(f));
    pq_test_folder_path(&f->folder, "linked", linked);
    assert_int_equal(symlink(f->dir, linked), 0);
    snprintf(f->dir, sizeof f->dir, "%s", linked);
    assert_false(is_there(f));
}

static void
test_no_such_parent(void **state)
{
    fixture *f = *state;
    snprintf(f->dir, sizeof f->dir, "/nonexistent/cache");
    assert_int_equal(pq_kernel_cache_put(f->ctx, f->dir, f->key,
                                         (ptqc_bytes){kernel, sizeof kernel}),
                     PTQC_BE_UNSUPPORTED);
    assert_false(is_there(f));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),         TEST(test_empty_entry),
        TEST(test_damaged_entries),    TEST(test_entry_under_another_name),
        TEST(test_writable_by_others), TEST(test_symbolic_links),
        TEST(test_no_such_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
