// SPDX-License-Identifier: Apache-2.0
//
// Temporary folders and small files for tests.
#ifndef PTQC_TESTS_FOLDER_H
#define PTQC_TESTS_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#define PQ_TEST_PATH_BYTES 1024

typedef struct pq_test_folder {
    char path[PQ_TEST_PATH_BYTES];
} pq_test_folder;

// A new folder below TMPDIR or /tmp. All of these fail the running test when
// something goes wrong.
void pq_test_folder_create(pq_test_folder *out);
void pq_test_folder_remove(const pq_test_folder *folder); // with contents
// folder/name into out; -> out.
const char *pq_test_folder_path(const pq_test_folder *folder, const char *name,
                                char out[PQ_TEST_PATH_BYTES]);
// Entries of the folder, hidden ones included, without . and ..
size_t pq_test_folder_count(const pq_test_folder *folder);

void pq_test_file_write(const char *path, const void *p, size_t n);
// True when the file exists and holds exactly these bytes.
bool pq_test_file_is(const char *path, const void *p, size_t n);

#endif
