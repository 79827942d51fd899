// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints of a stream that only looks (stream.h, `watched`): a unit
// (checkpoint.h) per piece, with what the client learned of the watched values
// that the piece makes. All samples of a value are shown by one piece, so that
// nothing of it is missing then.
#ifndef PTQC_PASSES_CALIB_LEARNED_H
#define PTQC_PASSES_CALIB_LEARNED_H

#include "passes/calib/pieces.h"

typedef struct pq_learned {
    const pq_graph *g;
    const pq_pieces *pieces;
    const pq_stream_client *client; // with watch, state and checkpoint
} pq_learned;

// The piece with index `piece` was run.
PTQC_MUST_USE ptqc_status pq_learned_write(const pq_learned *l, uint32_t piece);
// Into the client, which has seen none of these values; they are watched no
// more. PTQC_NO: there is no such unit, or it is damaged (said).
PTQC_MUST_USE ptqc_status pq_learned_read(const pq_learned *l, uint32_t piece);

#endif
