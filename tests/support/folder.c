// SPDX-License-Identifier: Apache-2.0
//
// Temporary folders and small files for tests.
#include "tests/support/folder.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cmocka_test.h"

enum {
    DESCRIPTORS = 16, // that the removal may hold open
};

void
pq_test_folder_create(pq_test_folder *out)
{
    const char *base = getenv("TMPDIR");
    int n = snprintf(out->path, sizeof out->path, "%s/ptqc-test-XXXXXX",
                     base != NULL ? base : "/tmp");
    assert_in_range(n, 1, sizeof out->path - 1);
    assert_non_null(mkdtemp(out->path));
}

static int
remove_entry(const char *path, const struct stat *info, int kind,
             struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

void
pq_test_folder_remove(const pq_test_folder *folder)
{
    assert_int_equal(
        nftw(folder->path, remove_entry, DESCRIPTORS, FTW_DEPTH | FTW_PHYS), 0);
}

const char *
pq_test_folder_path(const pq_test_folder *folder, const char *name,
                    char out[PQ_TEST_PATH_BYTES])
{
    int n = snprintf(out, PQ_TEST_PATH_BYTES, "%s/%s", folder->path, name);
    assert_in_range(n, 1, PQ_TEST_PATH_BYTES - 1);
    return out;
}

size_t
pq_test_folder_count(const pq_test_folder *folder)
{
    DIR *dir = opendir(folder->path);
    assert_non_null(dir);
    size_t count = 0;
    while (readdir(dir) != NULL) {
        count++;
    }
    assert_int_equal(closedir(dir), 0);
    return count - 2; // . and ..
}

void
pq_test_file_write(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(n == 0 ? 0 : fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

bool
pq_test_file_is(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        return false;
    }
    char *bytes = malloc(n + 1);
    assert_non_null(bytes);
    bool is_same =
        fread(bytes, 1, n + 1, f) == n && (n == 0 || memcmp(bytes, p, n) == 0);
    free(bytes);
    assert_int_equal(fclose(f), 0);
    return is_same;
}
