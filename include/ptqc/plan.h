// SPDX-License-Identifier: Apache-2.0
//
// What a compile would do, told before it is done: which op gets which scheme
// and why not another, who runs it, how large and how costly the result is.
#ifndef PTQC_PLAN_H
#define PTQC_PLAN_H

#include <stdint.h>

#include "ptqc/compile.h"

#if defined(__cplusplus)
extern "C" {
#endif

// One op after the model is simplified. Texts are borrowed until the function
// returns.
typedef struct ptqc_plan_row {
    const char *name;   // the op's, else its first result's
    const char *op;     // "conv"
    const char *scheme; // "w8a8:ch:sym"; "codes": an op between products that
                        // works on them; "stored": codes of the model itself;
                        // "float"
    const char *target; // plugin that runs it; "": fused into another op, or
                        // not asked (PTQC_PLAN_SCHEMES)
    const char *rule;   // of the recipe: "r.yaml:12:5", "--keep"; "": none
    const char *why;    // what is not as asked, and why; ""
    uint64_t macs;      // multiply-adds; dims that are symbols count as the
                        // least that they may be
    uint64_t weight_bytes; // of its constant weights, as the model stores them
    uint64_t coded_bytes;  // as the artifact will
    uint32_t is_product;   // conv, conv_transpose or matmul with weights
} ptqc_plan_row;
typedef void (*ptqc_plan_fn)(void *user, const ptqc_plan_row *row);

typedef struct ptqc_plan_facts {
    uint64_t op_count, product_count;
    uint64_t coded_product_count;  // products whose weights become codes
    uint64_t macs, coded_macs;     // of products; on codes of weights
    uint64_t weight_bytes;         // of the model
    uint64_t constant_bytes;       // of the artifact, about its size
    uint64_t activation_bytes;     // that live together at most while running
    uint64_t calibration_bytes;    // that a sample's observed values take
    uint64_t largest_weight_bytes; // of one weight, in f32
    uint64_t sample_count;         // of calibration, 0: none is needed
    uint32_t has_method;           // a method looks at samples, too: its memory
                                   // is not in these facts
    double weight_seconds;         // measured: scales of all weights
    double calibration_seconds;    // of all that looks at samples: a guess
                                   // (docs/recipes.md: how good)
} ptqc_plan_facts;

// Schemes alone: fast, weights are not read; targets and sizes stay 0.
#define PTQC_PLAN_SCHEMES 1u

// Runs all passes of the compile but those that need samples; writes nothing.
// A recipe with static activations is planned as if samples were there
// (desc->samples may be NULL; of others the first is asked for its shape, and
// desc->sample_count is believed). Errors as ptqc_compile_file, a rule
// that matches nothing among them. fn may be NULL.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_compile_plan(
    ptqc_ctx *ctx, ptqc_model *model, const ptqc_compile_desc *desc,
    uint32_t flags, ptqc_plan_fn fn, void *user, ptqc_plan_facts *out);

// Words that schemes begin with, as far as something runs them ("w8a8:dyn");
// NULL past the end.
PTQC_API const char *ptqc_scheme_word(uint32_t i);

#if defined(__cplusplus)
}
#endif
#endif
