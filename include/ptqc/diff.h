// SPDX-License-Identifier: Apache-2.0
//
// Where accuracy went: a float model beside what a compile makes of it, layer
// by layer and at the outputs.
#ifndef PTQC_DIFF_H
#define PTQC_DIFF_H

#include <stdint.h>

#include "ptqc/compile.h"

#if defined(__cplusplus)
extern "C" {
#endif

// A product with constant weights. Ratios are signal to noise in dB
// (10 log10 sum x^2 / sum (x - y)^2) over all samples; infinity when nothing
// differs, NaN when there is no such number. Texts are borrowed until the
// function returns.
typedef struct ptqc_diff_layer {
    const char *name, *op; // "layers.3.down", "matmul"
    const char *scheme;    // "w8a8:ch:sym"; "float"
    const char *advice;    // what to try; ""
    double weight_db;      // weights, as their codes say
    double local_db;       // its result, given the float model's inputs
    double cumulative_db;  // its result in the model of codes
    double cosine;         // of the latter
    double range_ratio;    // largest to smallest range of an output channel
    uint64_t weight_count, value_count;
} ptqc_diff_layer;
typedef void (*ptqc_diff_layer_fn)(void *user, const ptqc_diff_layer *layer);

typedef struct ptqc_diff_output {
    const char *name;
    double sqnr_db, cosine;
    double largest_error; // of one number
    // Of the last axis as a distribution (softmax of it, unless it is one
    // already), mean over all others; NaN of outputs that have none.
    double kl;         // KL(float || codes) in nats
    double top1_agree; // share of equal decisions, 0 to 1
    uint64_t value_count;
} ptqc_diff_output;
typedef void (*ptqc_diff_output_fn)(void *user, const ptqc_diff_output *output);

typedef struct ptqc_diff_desc {
    // What is done to the model. work_dir: a folder that exists, for scratch
    // files without a name: the graphs run piece by piece, then; NULL: each is
    // in memory as a whole, and so is what waits of the samples.
    const ptqc_compile_desc *compile;
    // Whose outputs are compared; NULL: those of the compile.
    const ptqc_artifact *artifact;
    // Not 0: outputs alone, with an artifact; `compile` names targets only.
    uint32_t only_outputs;
    ptqc_sample_fn samples; // that are compared
    void *samples_user;
    uint64_t sample_limit; // 0: all
} ptqc_diff_desc;

// Runs the model in float, with each layer's codes on float inputs, and with
// all codes, on every sample; samples are asked for more than once. Layers are
// told in the order of the graph, then outputs. Either function may be NULL.
// PTQC_E_USAGE: nothing becomes codes, or no sample.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_diff(ptqc_ctx *ctx, ptqc_model *model,
                                             const ptqc_diff_desc *desc,
                                             ptqc_diff_layer_fn layer_fn,
                                             ptqc_diff_output_fn output_fn,
                                             void *user);

#if defined(__cplusplus)
}
#endif
#endif
