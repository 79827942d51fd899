// SPDX-License-Identifier: Apache-2.0
//
// Test data that is not part of the project.
#include "tests/support/data.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/cmocka_test.h"

bool
pq_test_data_find(const char *relative, char out[PQ_TEST_PATH_BYTES])
{
    const char *root = getenv("PTQC_TEST_DATA");
    int n = snprintf(out, PQ_TEST_PATH_BYTES, "%s/%s",
                     root != NULL ? root : "../shared/data", relative);
    return n > 0 && n < PQ_TEST_PATH_BYTES && access(out, R_OK) == 0;
}

bool
pq_test_model_find(const char *relative, char out[PQ_TEST_PATH_BYTES])
{
    const char *root = getenv("PTQC_MODELS");
    const char *home = getenv("HOME");
    int n = 0;
    if (root != NULL) {
        n = snprintf(out, PQ_TEST_PATH_BYTES, "%s/%s", root, relative);
    } else if (home != NULL) {
        n = snprintf(out, PQ_TEST_PATH_BYTES, "%s/.cache/ptqc-models/%s", home,
                     relative);
    }
    return n > 0 && n < PQ_TEST_PATH_BYTES && access(out, R_OK) == 0;
}

const char *
pq_test_data_need(const char *relative, char out[PQ_TEST_PATH_BYTES])
{
    if (!pq_test_data_find(relative, out)) {
        print_message("skipped: no test data '%s' (PTQC_TEST_DATA)\n",
                      relative);
        skip();
    }
    return out;
}

const char *
pq_test_model_need(const char *relative, char out[PQ_TEST_PATH_BYTES])
{
    if (!pq_test_model_find(relative, out)) {
        print_message("skipped: no model '%s' (PTQC_MODELS)\n", relative);
        skip();
    }
    return out;
}
