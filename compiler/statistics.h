// SPDX-License-Identifier: Apache-2.0
//
// Files of statistics.
#ifndef PTQC_COMPILER_STATISTICS_H
#define PTQC_COMPILER_STATISTICS_H

#include "passes/calib/stats.h"

// Ours, or llama.cpp's imatrix of both kinds, found by the first bytes.
PTQC_MUST_USE ptqc_status pq_stats_read(ptqc_ctx *ctx, const char *path,
                                        pq_stats **out);
// As text, by rename. flags: PQ_WRITE_REPLACE.
PTQC_MUST_USE ptqc_status pq_stats_write(ptqc_ctx *ctx, const pq_stats *s,
                                         const char *path, unsigned flags);

// ---- imatrix.c: llama.cpp's importance matrices
// ------------------------------

// Files of GGUF: per weight `NAME.in_sum2` f32 [experts][K] and `NAME.counts`
// f32 [experts][1]; mean square = sum / count. The older kind (.dat),
// little-endian: i32 entries; each i32 length, name, i32 calls, i32 n, f32 [n]
// = mean square * calls; then maybe i32 chunks, i32 length, data set. Experts
// (n_mat above 1) are left out with a warning. PTQC_E_INPUT: malformed.
PTQC_MUST_USE ptqc_status pq_imatrix_read_gguf(ptqc_ctx *ctx, const char *path,
                                               const uint8_t *p, size_t n,
                                               pq_stats *out);
PTQC_MUST_USE ptqc_status pq_imatrix_read_dat(ptqc_ctx *ctx, const char *path,
                                              const uint8_t *p, size_t n,
                                              pq_stats *out);

#endif
