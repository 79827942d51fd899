// SPDX-License-Identifier: Apache-2.0
//
// Where a stream (stream.h) stood after a piece, in the folder of its
// checkpoints: so that a resumed one runs no piece twice. The values that later
// pieces read lie in files of their own (live.h), one table says which they are
// and of what; it is replaced whole when a piece is done.
#ifndef PTQC_PASSES_CALIB_RESUME_H
#define PTQC_PASSES_CALIB_RESUME_H

#include "passes/calib/checkpoint.h"
#include "passes/calib/live.h"
#include "passes/calib/sinks.h"

typedef struct pq_resume_point {
    uint32_t next_piece;   // the first that has not been run
    uint64_t sample_count; // of every value
} pq_resume_point;

// The file in which value `value` of the stream waits.
PTQC_MUST_USE ptqc_status pq_resume_create_live(const pq_checkpoint *c,
                                                uint32_t value, pq_live *out);
// Best effort.
void pq_resume_remove_live(const pq_checkpoint *c, uint32_t value);

// Replaces the point before. live [value_count]; sinks NULL: there are none.
PTQC_MUST_USE ptqc_status pq_resume_write(const pq_checkpoint *c,
                                          const pq_resume_point *point,
                                          const pq_live *live,
                                          uint32_t value_count,
                                          const pq_sinks *sinks);
// live [value_count] zeroed, sinks new. PTQC_NO: there is no point, or it is
// of another compile or damaged (said as a warning); live and sinks are as
// before, then.
PTQC_MUST_USE ptqc_status pq_resume_read(const pq_checkpoint *c,
                                         pq_resume_point *out, pq_live *live,
                                         uint32_t value_count, pq_sinks *sinks);
void pq_resume_remove(const pq_checkpoint *c); // best effort

#endif
