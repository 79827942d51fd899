// SPDX-License-Identifier: Apache-2.0
//
// Values of several samples that wait for the run that they are compared with:
// in a scratch file, one value of one sample at a time in memory.
#ifndef PTQC_COMPILER_DIFF_STORE_H
#define PTQC_COMPILER_DIFF_STORE_H

#include "base/scratch.h"
#include "ir/runner.h"

// A value of one sample.
typedef struct pq_shown {
    const float *p; // borrowed
    size_t count;   // 0: no f32
    int64_t last_dim;
} pq_shown;

typedef struct pq_stored {
    uint64_t offset; // in the scratch
    size_t count;
    int64_t last_dim;
} pq_stored;

typedef struct pq_diff_store {
    ptqc_ctx *ctx;
    pq_scratch *scratch; // owned
    pq_stored *all;      // owned: [slots][samples]
    uint64_t *counts;    // owned: [slots] samples so far
    uint32_t slots;
    uint64_t samples; // room
    struct pq_read_buffer {
        float *p; // owned: what was read last
        size_t count;
    } buffers[2];
} pq_diff_store;

pq_shown pq_shown_of(const pq_tensor *t);
// dir as pq_scratch_open.
PTQC_MUST_USE ptqc_status pq_diff_store_open(ptqc_ctx *ctx, const char *dir,
                                             uint32_t slots, uint64_t samples,
                                             pq_diff_store *out);
void pq_diff_store_close(pq_diff_store *s); // zeroed allowed
// The slot's next sample.
PTQC_MUST_USE ptqc_status pq_diff_store_put(pq_diff_store *s, uint32_t slot,
                                            const pq_tensor *t);
// Into buffer 0 or 1, valid until the next call with that one; count 0: it was
// not put, or is no f32.
PTQC_MUST_USE ptqc_status pq_diff_store_get(pq_diff_store *s, unsigned buffer,
                                            uint32_t slot, uint64_t sample,
                                            pq_shown *out);

#endif
