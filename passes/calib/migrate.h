// SPDX-License-Identifier: Apache-2.0
//
// Scales of the inputs of products, moved: consumers' columns * s, the inputs
// / s by whatever makes them. In real numbers nothing changes. What can take
// 1 / s ("home", algorithms 1.8 and section 8):
//
//   rms_norm, layer_norm   scale (and bias)
//   mul(a, b)              rows of the product that makes a or b (gated
//                          feed-forward: up), without activation
//   attention              rows of the product that makes v, through kv_update,
//                          reshape and transpose; heads that share keys and
//                          values must then have one scale (a tie)
//
// Scales are collected first and applied at once: a weight whose rows and
// columns are scaled is written once, to a scratch file.
#ifndef PTQC_PASSES_CALIB_MIGRATE_H
#define PTQC_PASSES_CALIB_MIGRATE_H

#include "passes/calib/checkpoint.h"
#include "passes/calib/stream.h"
#include "quant/awq.h"

typedef struct pq_migration {
    pq_graph *g;      // borrowed
    pq_arena *arena;  // borrowed
    double **columns; // [ops] factors of a product's columns, NULL: none
    double **rows;    // [ops] factors of a product's rows, or of a norm
} pq_migration;

PTQC_MUST_USE ptqc_status pq_migration_init(pq_migration *m, pq_graph *g,
                                            pq_arena *arena);
// Whether the rows of the product that makes v can be scaled: v is its only
// output's only use, linear in the weights.
bool pq_has_linear_rows(const pq_graph *g, pq_value_id v, int64_t channels);
// v [B, heads, T, D] made of [B, T, heads * D] -> that; PQ_NO_VALUE: it is not.
pq_value_id pq_heads_source(const pq_graph *g, pq_value_id v);
// The norm of each head's `size` channels that makes v [B, heads, T, size],
// before or behind the transposition, for nobody else; none: there is none.
pq_op_id pq_find_head_norm(const pq_graph *g, pq_value_id v, int64_t size);
// Whether the group's input can be divided by scales, and which channels must
// have the same.
bool pq_migration_find(const pq_migration *m, const pq_stream_group *group,
                       pq_tie *out_tie);
// Why it cannot: for the report.
const char *pq_migration_refusal(const pq_migration *m,
                                 const pq_stream_group *group);
// Whether it is a norm that divides it.
bool pq_migration_is_norm(const pq_migration *m, const pq_stream_group *group);
// s [width of the group], positive. The group has a home.
PTQC_MUST_USE ptqc_status pq_migration_add(pq_migration *m,
                                           const pq_stream_group *group,
                                           const float *s);
// The scales of the group from a checkpoint, added, with the note for the
// report (in the arena); PTQC_NO: not there.
PTQC_MUST_USE ptqc_status pq_migration_read(pq_migration *m,
                                            const pq_checkpoint *c,
                                            const pq_stream_group *group,
                                            const char **out_note);
// Adds them and keeps them in the checkpoint, if there is one.
PTQC_MUST_USE ptqc_status pq_migration_keep(pq_migration *m,
                                            const pq_checkpoint *c,
                                            const pq_stream_group *group,
                                            const float *s, const char *note);
// dir as pq_scratch_open: where scaled weights go. Computes in f64 and rounds
// to f32 once.
PTQC_MUST_USE ptqc_status pq_migration_apply(pq_migration *m, const char *dir);

#endif
