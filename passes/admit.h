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
// Operands of a product; NONE formats: absent.
typedef struct pq_product_schemes {
    pq_scheme x, w, bias, residual, x_scale, y;
} pq_product_schemes;

// Whether a target runs the product with these operands that is no less
// preferred than the one that runs it in f32: changing operands must not move
// an op to a slower target.
bool pq_admits_product(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                       const pq_product_schemes *s);
// Why not, as pq_caps_print_reason tells of the targets that may run it. With
// caps only.
void pq_print_refusal(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                      const pq_product_schemes *s, pq_strbuf *out);
// The same of the op as it is with r as its residual (input 3).
bool pq_admits_residual(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                        pq_value_id r);
// The same of another op with [op->input_count] inputs and one output.
bool pq_admits_op(const pq_graph *g, const pq_caps *caps, const pq_op *op,
                  const pq_scheme *inputs, const pq_scheme *output);

#endif
