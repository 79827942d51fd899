// SPDX-License-Identifier: Apache-2.0
//
// A copy of an artifact's constants in huge pages. Memory that is mapped from a
// file lies in small pages: on the machines measured, weights are read 1.2 to
// 1.3 times faster from huge ones. It costs their size in memory and the time
// of one copy.
#ifndef PTQC_RUNTIME_RESIDENT_H
#define PTQC_RUNTIME_RESIDENT_H

#include "runtime/container.h"

typedef struct pq_resident {
    uint8_t *p;       // owned; NULL: there is no copy
    uint64_t *offset; // owned: [constant count]
} pq_resident;

// Copied by all threads. Where the system has no huge pages it is a plain copy.
// Deinit also after a failure.
PTQC_MUST_USE ptqc_status pq_resident_init(ptqc_ctx *ctx,
                                           const ptqc_artifact *artifact,
                                           pq_resident *out);
void pq_resident_deinit(ptqc_ctx *ctx, pq_resident *r);
// The copy of constant `index`, else the artifact's own.
ptqc_bytes pq_resident_constant(const pq_resident *r,
                                const ptqc_artifact *artifact, uint32_t index);

#endif
