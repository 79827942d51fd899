// SPDX-License-Identifier: Apache-2.0
//
// Values of all samples that wait for a later part of the graph (hidden
// states of language models): in scratch files, one sample at a time in
// memory. A file with a name can be taken up again by another process.
#ifndef PTQC_PASSES_CALIB_LIVE_H
#define PTQC_PASSES_CALIB_LIVE_H

#include "base/scratch.h"
#include "ir/runner.h"

// The value in one sample.
typedef struct pq_live_sample {
    pq_tensor tensor; // without bytes
    uint64_t offset;  // in the scratch
    uint64_t hash;    // of the bytes
} pq_live_sample;

// What one value was in every sample.
typedef struct pq_live {
    pq_scratch *scratch;     // owned; NULL: the value does not live
    pq_live_sample *samples; // owned: [count]
    uint32_t count, capacity;
    void *buffer; // owned: the sample that was read last
    size_t buffer_bytes;
} pq_live;

// dir as pq_scratch_open.
PTQC_MUST_USE ptqc_status pq_live_open(ptqc_ctx *ctx, const char *dir,
                                       pq_live *out);
// In the file `path`, as pq_scratch_create.
PTQC_MUST_USE ptqc_status pq_live_create(ptqc_ctx *ctx, const char *path,
                                         pq_live *out);
void pq_live_close(ptqc_ctx *ctx, pq_live *live); // zeroed allowed
// The next sample.
PTQC_MUST_USE ptqc_status pq_live_append(ptqc_ctx *ctx, pq_live *live,
                                         const pq_tensor *t);
// Borrowed until the next call for this value.
PTQC_MUST_USE ptqc_status pq_live_get(ptqc_ctx *ctx, pq_live *live,
                                      uint64_t sample, pq_tensor *out);
// A sample as it is described lies in the scratch (from pq_scratch_reopen):
// added when its bytes have the hash. PTQC_NO: they do not.
PTQC_MUST_USE ptqc_status pq_live_add(ptqc_ctx *ctx, pq_live *live,
                                      const pq_live_sample *sample);

#endif
