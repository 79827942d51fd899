// SPDX-License-Identifier: Apache-2.0
//
// How weights are quantized, as text: steps joined by "+", each with settings
// of its own. "rtn", "gptq", "smoothquant+gptq", "gptq:damping=.01:polish=4".
//
//   rtn          round to nearest
//   smoothquant  alpha=A (0 to 1; "search": per input, the default)
//                inputs=norms|all (all: whatever something can divide)
//   awq          clip=on|off
//   adaround     from=outputs|gram; not with gptq
//   gptq         damping=D  order=group|given|diagonal  polish=SWEEPS
//                sink=FACTOR (0: sinks are tokens as others)
//                clip=on|off
//                target=weights|asymmetric  blend=B (of the latter)
#ifndef PTQC_PASSES_METHOD_H
#define PTQC_PASSES_METHOD_H

#include "base/str.h"

#define PQ_ALPHA_SEARCH (-1.0)

typedef struct pq_method {
    bool does_smooth, does_awq, does_gptq, does_adaround;
    double alpha;          // of smoothquant; PQ_ALPHA_SEARCH
    bool smooths_all;      // of smoothquant: inputs that no norm makes, too
    bool clips;            // of awq: ranges, too
    bool gptq_clips;       // the same of gptq
    double damping;        // of gptq, of the mean diagonal
    uint32_t order;        // pq_column_order of quant/gptq.h
    uint32_t polish;       // sweeps
    double sink;           // weight of a sink token; 0: as others
    bool is_asymmetric;    // of gptq: outputs of the float model
    double blend;          // how much of the way to them, 0 to 1
    bool learns_from_gram; // of adaround: Gram matrices, not outputs
} pq_method;

// false: no such method, or a setting is unknown or out of range. No text is
// "rtn". out may be NULL.
bool pq_method_parse(pq_str text, pq_method *out);
// What the recipe says of an op; false: it is no method.
struct pq_graph;
struct pq_op;
struct pq_recipe;
bool pq_method_of_op(const struct pq_graph *g, const struct pq_recipe *recipe,
                     const struct pq_op *op, pq_method *out);
// Whether all settings are equal; steps may differ.
bool pq_method_has_same_settings(const pq_method *a, const pq_method *b);
// Whether a method needs samples.
bool pq_method_streams(const pq_method *m);
// What pq_method_parse takes, for messages.
#define PQ_METHOD_SPELLING                                                     \
    "rtn, or smoothquant, awq, gptq, adaround joined by + "                    \
    "(gptq:damping=D:order=O:"                                                 \
    "clip=on|off:polish=N:sink=F:target=asymmetric:blend=B, "                  \
    "smoothquant:alpha=A:inputs=norms|all, "                                   \
    "awq:clip=on|off, adaround:from=outputs|gram)"

#endif
