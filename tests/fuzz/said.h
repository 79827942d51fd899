// SPDX-License-Identifier: Apache-2.0
//
// What an importer said while it was fuzzed: errors are counted, control
// bytes in a text end the run. And the verdict on what it gave.
#ifndef PTQC_TESTS_FUZZ_SAID_H
#define PTQC_TESTS_FUZZ_SAID_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "ptqc/context.h"

#include "frontend/import.h"
#include "ir/verify.h"

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

// A graph that verifies, problems, or one error that is the input's fault
// (or, where options go with it, theirs). model may be NULL after an error.
static inline void
judge_import(ptqc_status st, const pq_model *model, bool has_options,
             const said *s)
{
    if (st != PTQC_OK) {
        expect(st == PTQC_E_INPUT || st == PTQC_E_UNSUPPORTED ||
                   st == PTQC_E_RESOURCE || (has_options && st == PTQC_E_USAGE),
               "status", st, s);
        expect(s->errors == 1, "one error", st, s);
    } else {
        expect(s->errors == 0, "no error", st, s);
        expect((model->graph == NULL) == (model->problem_count != 0),
               "a graph or problems", st, s);
    }
    if (model != NULL && model->graph != NULL) {
        st = pq_graph_verify(model->graph);
        expect(st == PTQC_OK || st == PTQC_E_RESOURCE, "verifies", st, s);
    }
}

// A context that is listened to, without threads and with bounded memory:
// files claim, memory answers.
static inline ptqc_ctx_desc
fuzz_context(said *s)
{
    return (ptqc_ctx_desc){
        .diag = listen,
        .diag_user = s,
        .threads = 1,
        .memory_limit_bytes = UINT64_C(1) << 30,
    };
}

#endif
