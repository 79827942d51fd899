// SPDX-License-Identifier: Apache-2.0
//
// The only loop over passes: builds the list for a recipe, runs it, verifies
// after each pass (in debug and test builds, or when asked), times, dumps,
// and applies the torture modes of the context.
#ifndef PTQC_PASSES_PIPELINE_H
#define PTQC_PASSES_PIPELINE_H

#include "passes/pass.h"

#define PQ_PIPELINE_VERIFY 1u // after every pass, whatever the build

// Called after each pass, for --emit and timing; may be NULL.
typedef void (*pq_pipeline_hook)(void *user, const pq_pass_info *pass,
                                 const pq_graph *g, uint64_t ns);

typedef struct pq_pipeline_desc {
    unsigned flags;
    pq_pipeline_hook hook;
    void *hook_user;
} pq_pipeline_desc;

// Runs the named passes in order. The graph may be replaced (torture modes):
// *g is the result either way; on failure it is still owned by the caller.
PTQC_MUST_USE ptqc_status pq_pipeline_run(pq_graph **g, pq_pass_env *env,
                                          const char *const *passes,
                                          uint32_t pass_count,
                                          const pq_pipeline_desc *desc);
// Simplifies and fuses the imported graph (stage FLOAT, or QUANTIZED for
// models that come quantized); then, when the recipe has a scheme, annotates,
// quantizes and fuses requantization.
PTQC_MUST_USE ptqc_status pq_pipeline_compile(pq_graph **g, pq_pass_env *env,
                                              const pq_pipeline_desc *desc);
// The same up to and with assign-schemes: the graph is annotated then, or,
// without a scheme, simplified only.
PTQC_MUST_USE ptqc_status pq_pipeline_assign(pq_graph **g, pq_pass_env *env,
                                             const pq_pipeline_desc *desc);
// What the method changes in the annotated graph before there are codes:
// scales move between weights. Its float arithmetic stays equal but for
// rounding.
PTQC_MUST_USE ptqc_status pq_pipeline_prepare(pq_graph **g, pq_pass_env *env,
                                              const pq_pipeline_desc *desc);
// From what pq_pipeline_prepare left to codes: quantize and dequantize stand
// around float arithmetic, which pq_pipeline_integrate makes integer.
PTQC_MUST_USE ptqc_status pq_pipeline_encode(pq_graph **g, pq_pass_env *env,
                                             const pq_pipeline_desc *desc);
PTQC_MUST_USE ptqc_status pq_pipeline_integrate(pq_graph **g, pq_pass_env *env,
                                                const pq_pipeline_desc *desc);

#endif
