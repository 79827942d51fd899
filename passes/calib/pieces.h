// SPDX-License-Identifier: Apache-2.0
//
// How a stream cuts a graph (stream.h): which products form a group, in which
// piece each op runs, how long each value is waited for.
#ifndef PTQC_PASSES_CALIB_PIECES_H
#define PTQC_PASSES_CALIB_PIECES_H

#include "passes/calib/stream.h"

// Piece i ends with the value of group i; one more may follow, with what is
// watched behind the last group. Arrays are the arena's.
typedef struct pq_pieces {
    pq_stream_group *groups; // [group_count] as their values are made
    uint32_t group_count;
    uint32_t count;     // of pieces
    uint32_t *piece_of; // [ops] index of its piece + 1; 0: never runs
    uint32_t *last_use; // [values] index + 1 of the last that reads it; 0: none
    bool *is_watched;   // [values]
} pq_pieces;

PTQC_MUST_USE ptqc_status pq_pieces_find(const pq_graph *g, pq_arena *arena,
                                         const pq_stream_client *client,
                                         pq_pieces *out);
// A state that pieces on both sides of a cut use, whose content would have to
// move from one to the other; none: PQ_NO_VALUE.
pq_value_id pq_pieces_find_cut_state(const pq_graph *g, const pq_pieces *p);

#endif
