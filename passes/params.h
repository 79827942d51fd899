// SPDX-License-Identifier: Apache-2.0
//
// Scales and zero points in a graph.
#ifndef PTQC_PASSES_PARAMS_H
#define PTQC_PASSES_PARAMS_H

#include "ir/graph.h"
#include "quant/quantize.h"

// Gives v's annotation these parameters (one scale for the tensor).
PTQC_MUST_USE ptqc_status pq_annotate_params(pq_graph *g, pq_value_id v,
                                             pq_params p);
// Quantization `scheme` with the given parameters, copied; count each.
PTQC_MUST_USE ptqc_status pq_make_quant(pq_graph *g, const pq_scheme *scheme,
                                        const float *scales,
                                        const int32_t *zero_points,
                                        const int64_t *dims, uint32_t rank,
                                        pq_quant_id *out);
// Parameters of one scale; false when there are none or more.
bool pq_tensor_params(const pq_graph *g, const pq_quant *q, pq_params *out);
// Number of scales (0: none).
int64_t pq_scale_count(const pq_graph *g, const pq_quant *q);
// Scale and zero point i; i counts row-major.
pq_params pq_params_at(const pq_graph *g, const pq_quant *q, int64_t i);
// Whether equal codes of both mean equal numbers.
bool pq_same_params(const pq_graph *g, pq_quant_id a, pq_quant_id b);

#endif
