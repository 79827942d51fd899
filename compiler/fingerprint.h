// SPDX-License-Identifier: Apache-2.0
//
// What decides the results of a compile's passes, in one hash.
#ifndef PTQC_COMPILER_FINGERPRINT_H
#define PTQC_COMPILER_FINGERPRINT_H

#include "ptqc/compile.h"

#include "frontend/import.h"
#include "passes/pass.h"

typedef struct pq_fingerprint_desc {
    const pq_model *model;
    const pq_recipe *recipe;
    const pq_samples *samples; // all are read; NULL: none
    uint32_t input_count;      // of the graph
    const char *target;        // as asked
} pq_fingerprint_desc;

// SHA-256 of version, model files, recipe, target and samples.
PTQC_MUST_USE ptqc_status pq_fingerprint(ptqc_ctx *ctx,
                                         const pq_fingerprint_desc *desc,
                                         pq_sha256 *out);

#endif
