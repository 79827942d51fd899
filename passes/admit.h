// SPDX-License-Identifier: Apache-2.0
//
// Asking the targets' rules about ops of a graph as they are or as they would
// be.
#ifndef PTQC_PASSES_ADMIT_H
#define PTQC_PASSES_ADMIT_H

#include "ir/graph.h"
#include "passes/caps.h"

// Scheme of v as stored: its codes, or its dtype as real numbers.
pq_scheme pq_scheme_of_value(const pq_graph *g, pq_value_id v);
// Whether `op` would be run with r as its residual (input 3).
bool pq_admits_residual(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                        pq_value_id r);
// Whether a product with these operands would be run; NONE formats: absent.
typedef struct pq_product_schemes {
    pq_scheme x, w, bias, residual, x_scale, y;
} pq_product_schemes;
bool pq_admits_product(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                       const pq_product_schemes *s);

#endif
