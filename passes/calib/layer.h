// SPDX-License-Identifier: Apache-2.0
//
// A product whose codes adaround learns, as rows of weights: [groups][rows][d].
#ifndef PTQC_PASSES_CALIB_LAYER_H
#define PTQC_PASSES_CALIB_LAYER_H

#include "passes/method.h"
#include "passes/pass.h"
#include "passes/plan.h"
#include "quant/adaround.h"

typedef struct pq_layer {
    pq_op_id op;
    pq_mode mode;
    bool is_turned; // stored [d][rows]
    int64_t groups, rows, d;
} pq_layer;

// The weight of a layer, in an arena.
typedef struct pq_layer_weight {
    const char *name; // the layer's, for diagnostics
    const float *w;   // [groups][rows][d]
    pq_scheme scheme;
    const float *scales; // of all rows
    const int32_t *zero_points;
    int64_t scale_step; // scales of a group of channels; 0: all share one
} pq_layer_weight;

// Whether adaround learns the codes of the product; *out is filled in then. All
// its scales are known, it has no codes.
bool pq_layer_of(const pq_graph *g, const pq_recipe *recipe, pq_op_id id,
                 pq_mode mode, pq_layer *out, pq_method *out_method);
PTQC_MUST_USE ptqc_status pq_layer_read(const pq_graph *g, const pq_layer *l,
                                        pq_arena *arena, pq_layer_weight *out);
// codes [groups][rows][d], one byte each, become the annotation's.
PTQC_MUST_USE ptqc_status pq_layer_annotate(pq_graph *g, const pq_layer *l,
                                            uint8_t *codes, pq_arena *arena);
// What the report tells of a layer, in the arena; NULL: out of memory.
const char *pq_layer_describe(const pq_adaround_report *report, double places,
                              pq_arena *arena);
void pq_layer_tell(const pq_graph *g, const pq_pass_env *env, const pq_layer *l,
                   const char *text);

#endif
