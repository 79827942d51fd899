// SPDX-License-Identifier: Apache-2.0
//
// Notes of passes for the report, as text: "where|what|why\n" each.
#ifndef PTQC_TESTS_NOTES_H
#define PTQC_TESTS_NOTES_H

#include <stddef.h>

#include "base/str.h"

typedef struct pq_test_notes {
    char text[4096]; // cut when full
    size_t n;
} pq_test_notes;

// Matches pq_pass_env.note; user is a pq_test_notes.
void pq_test_notes_add(void *user, pq_str where, const char *what,
                       const char *why);

#endif
