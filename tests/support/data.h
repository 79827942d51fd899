// SPDX-License-Identifier: Apache-2.0
//
// Test data that is not part of the project. It stands in $PTQC_TEST_DATA
// (default ../shared/data, seen from the source folder, where tests run) and
// fetched models in $PTQC_MODELS (default ~/.cache/ptqc-models).
#ifndef PTQC_TESTS_DATA_H
#define PTQC_TESTS_DATA_H

#include "tests/support/folder.h"

// The path of a data file or folder into out; -> out. When it is absent the
// running test is skipped and the reason printed: the call does not return.
const char *pq_test_data_need(const char *relative,
                              char out[PQ_TEST_PATH_BYTES]);
const char *pq_test_model_need(const char *relative,
                               char out[PQ_TEST_PATH_BYTES]);
// The same without skipping: false when it is absent.
bool pq_test_data_find(const char *relative, char out[PQ_TEST_PATH_BYTES]);
bool pq_test_model_find(const char *relative, char out[PQ_TEST_PATH_BYTES]);

#endif
