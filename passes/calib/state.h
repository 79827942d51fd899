// SPDX-License-Identifier: Apache-2.0
//
// What a pass has learned of a value, as bytes: for the checkpoints of streams
// that only look (learned.h). One function says what there is, for both ways,
// so that what is read is what was written. Little-endian, nothing aligned.
#ifndef PTQC_PASSES_CALIB_STATE_H
#define PTQC_PASSES_CALIB_STATE_H

#include "base/str.h"
#include "quant/observer.h"

typedef struct pq_state {
    pq_strbuf *out;   // written to; NULL: read
    const uint8_t *p; // read from: moves on, n bytes are left
    size_t n;
    bool is_bad; // what was read cannot have been written
} pq_state;

// n bytes at p, to or from the state; without effect on a bad one.
void pq_state_bytes(pq_state *s, void *p, size_t n);
// Of an observer (read: one that has seen nothing), all but its desc.
// PTQC_E_RESOURCE: out of memory.
PTQC_MUST_USE ptqc_status pq_state_observer(pq_state *s, pq_observer *o);

#define PQ_STATE(s, lvalue) pq_state_bytes(s, &(lvalue), sizeof(lvalue))

#endif
