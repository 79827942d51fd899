// SPDX-License-Identifier: Apache-2.0
//
// Notes of passes.
#include "tests/support/notes.h"

#include <stdio.h>

void
pq_test_notes_add(void *user, pq_str where, const char *what, const char *why)
{
    pq_test_notes *notes = user;
    size_t room = sizeof notes->text - notes->n;
    int n = snprintf(notes->text + notes->n, room, "%.*s|%s|%s\n",
                     PQ_STR_ARG(where), what, why);
    notes->n += n > 0 && (size_t)n < room ? (size_t)n : 0;
}
