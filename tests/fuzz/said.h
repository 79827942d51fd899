// SPDX-License-Identifier: Apache-2.0
//
// What an importer said while it was fuzzed: errors are counted, control
// bytes in a text end the run.
#ifndef PTQC_TESTS_FUZZ_SAID_H
#define PTQC_TESTS_FUZZ_SAID_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "ptqc/context.h"

typedef struct said {
    unsigned errors;
    char last[512];
} said;

static inline void
listen(void *user, ptqc_severity severity, ptqc_status status, const char *text)
{
    said *s = user;
    (void)status;
    if (severity == PTQC_SEVERITY_ERROR) {
        s->errors++;
        snprintf(s->last, sizeof s->last, "%s", text);
    }
    for (const char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ') {
            fprintf(stderr, "a control byte in: %s\n", text);
            abort();
        }
    }
}

static inline void
expect(bool is_true, const char *what, ptqc_status st, const said *s)
{
    if (!is_true) {
        fprintf(stderr, "%s: status %d, %u errors, last: %s\n", what, (int)st,
                s->errors, s->last);
        abort();
    }
}

#endif
