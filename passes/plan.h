// SPDX-License-Identifier: Apache-2.0
//
// How an annotated graph will run: read from the annotations alone, so that
// every pass between annotation and rewriting sees the same plan.
//
//   product (conv, conv_transpose, matmul), w annotated:
//     x annotated, static    STATIC       integer; y codes when annotated
//     x annotated, dynamic   DYNAMIC      integer per token, y float (matmul)
//     else                   WEIGHT_ONLY  codes of w, float arithmetic
//   other ops that can work on codes (roles.def): integer when the output is
//   annotated and every float operand comes, annotated, from an integer op.
#ifndef PTQC_PASSES_PLAN_H
#define PTQC_PASSES_PLAN_H

#include "passes/pass.h"

typedef enum pq_role {
    PQ_ROLE_FLOAT,   // stays in float
    PQ_ROLE_PRODUCT, // worth integer arithmetic
    PQ_ROLE_PASSING, // follows its neighbours; output has its own scale
    PQ_ROLE_SHARING, // ... output shares the input's scale: codes move
} pq_role;

typedef enum pq_mode {
    PQ_MODE_FLOAT,
    PQ_MODE_WEIGHT_ONLY,
    PQ_MODE_DYNAMIC,
    PQ_MODE_STATIC, // also of PASSING and SHARING ops that run on codes
} pq_mode;

pq_role pq_role_of(const pq_graph *g, const pq_op *op);
// Whether input i of the op is an activation that would be codes: f32, not
// constant, not a bias or a scale.
bool pq_is_data_operand(const pq_graph *g, const pq_op *op, uint32_t i);
// NULL when v is not annotated.
const pq_quant *pq_annotation(const pq_graph *g, pq_value_id v);

// Mode of every op: modes[op index], in the arena.
PTQC_MUST_USE ptqc_status pq_plan_modes(const pq_graph *g,
                                        const pq_recipe *recipe,
                                        pq_arena *arena, pq_mode **out_modes);
// Real values lose their annotations: the graph is as it was before
// assign-schemes.
void pq_drop_annotations(pq_graph *g);
// Spelling of a product's scheme: its weights' and what its mode makes of
// activations.
void pq_product_scheme_print(const pq_scheme *weights, pq_mode mode,
                             pq_strbuf *out);

#endif
