// SPDX-License-Identifier: Apache-2.0
//
// The report of a compile: notes of the passes, placement, schemes, and the
// artifact's metadata made of them.
#ifndef PTQC_COMPILER_REPORT_H
#define PTQC_COMPILER_REPORT_H

#include "ptqc/compile.h"

#include "compiler/place.h"
#include "frontend/import.h"
#include "passes/pass.h"

typedef struct pq_note {
    pq_str where, what, why; // in the report's arena
} pq_note;

typedef struct pq_report {
    ptqc_ctx *ctx;
    pq_arena arena;
    pq_note *notes; // owned
    uint32_t note_count, note_capacity;
    pq_calib_facts calib;
    ptqc_status st; // first failure of taking notes
} pq_report;

void pq_report_init(pq_report *r, ptqc_ctx *ctx);
void pq_report_deinit(pq_report *r);
// Matches pq_pass_env.note; user is the report.
void pq_report_note(void *user, pq_str where, const char *what,
                    const char *why);
// Says what went to another target than the first asked one: one warning per
// kind of op and reason.
void pq_report_say_placement(pq_report *r, const pq_graph *g,
                             const pq_targets *targets,
                             const pq_placement *placement);

typedef struct pq_metadata_desc {
    const pq_model *model;
    const pq_graph *graph; // as placed
    const pq_recipe *recipe;
    const pq_targets *targets;
    const pq_placement *placement;
    const ptqc_compile_desc *desc;
} pq_metadata_desc;

// One JSON object, the same for the same input: no time, no host, no path
// but the file names.
void pq_report_metadata(pq_report *r, const pq_metadata_desc *desc,
                        pq_strbuf *out);

#endif
