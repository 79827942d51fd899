// SPDX-License-Identifier: Apache-2.0
//
// Building elementwise chains while lowering: registers are added one by one,
// pq_chain_end writes the EXPR step.
#ifndef PTQC_BACKENDS_KGEN_LOWER_EXPR_H
#define PTQC_BACKENDS_KGEN_LOWER_EXPR_H

#include "expr.h"
#include "lower.h"
#include "move.h"

typedef struct pq_chain {
    pq_lower *l;
    pq_expr_desc d;                   // without dims and views
    uint32_t gvs[PQ_EXPR_MAX_INPUTS]; // values of the block that are loaded
    uint32_t channel_inputs;          // mask: rank 1, along the channel axis
} pq_chain;

void pq_chain_init(pq_chain *c, pq_lower *l);
// Each returns a register.
uint32_t pq_chain_op(pq_chain *c, uint32_t code, uint32_t dtype, uint32_t a,
                     uint32_t b, uint32_t d);
uint32_t pq_chain_f32(pq_chain *c, float x);
uint32_t pq_chain_integer(pq_chain *c, uint32_t dtype, int64_t x);
uint32_t pq_chain_load(pq_chain *c, uint32_t gv, uint32_t dtype);
uint32_t pq_chain_value(pq_chain *c, uint32_t gv); // real number
uint32_t pq_chain_dequantize(pq_chain *c, uint32_t r, const pq_codes *q);
uint32_t pq_chain_quantize(pq_chain *c, uint32_t r, const pq_codes *q);
// Real number -> register as value v is stored.
uint32_t pq_chain_store(pq_chain *c, uint32_t r, const ptqc_gb_value *v);

// A fused activation as the attributes act, act_alpha, act_beta say.
typedef struct pq_act_attr {
    ptqc_str name; // empty: none
    float alpha, beta;
    bool has_alpha, has_beta;
} pq_act_attr;

pq_act_attr pq_fused_act(const pq_lower *l);
// alpha and beta with the op's defaults for absent ones.
void pq_act_defaults(const pq_act_attr *act, float *alpha, float *beta);
uint32_t pq_chain_act(pq_chain *c, const pq_act_attr *act, uint32_t r,
                      uint32_t dtype);

// Parameters of an expression but for its maps; rank of its iteration space.
void pq_chain_params(const pq_chain *c, uint32_t rank);
// Writes the step for a value of the block.
void pq_chain_end(pq_chain *c, uint32_t result, uint32_t gv);
// The only load of the chain is program value `from`; result goes to `to` of
// the same shape.
void pq_chain_end_values(pq_chain *c, uint32_t result, uint32_t from,
                         uint32_t to);

#endif
