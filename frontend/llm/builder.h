// SPDX-License-Identifier: Apache-2.0
//
// What the builders of architectures share: weights by role, the usual ops,
// rotary frequencies. Inside of frontend/llm.
#ifndef PTQC_FRONTEND_LLM_BUILDER_H
#define PTQC_FRONTEND_LLM_BUILDER_H

#include "frontend/llm/llm.h"
#include "ir/builder.h"

typedef enum pq_llm_role {
#define TENSOR(ROLE, own, hugging_face, gguf) PQ_LLM_##ROLE,
#define L_TENSOR                              TENSOR
#include "frontend/llm/tensors.def"
#undef L_TENSOR
#undef TENSOR
} pq_llm_role;

// `count` times the zero point `middle`.
typedef struct pq_llm_zeros {
    pq_const_id id;
    uint64_t count;
    int32_t middle;
} pq_llm_zeros;

typedef struct pq_llm_builder {
    ptqc_ctx *ctx; // borrowed, as all here
    pq_model *model;
    pq_graph *g;
    const pq_llm_params *params;
    const pq_llm_tensors *tensors;
    uint32_t layer;                // of the L_TENSOR roles
    pq_dim batch, tokens, context; // B, T, C
    pq_value_id token_ids, positions, select;
    pq_value_id sums_of, sums; // of groups of the last x that needed them
    pq_llm_zeros zeros[16];    // [zeros_count], shared by weights of one size
    uint32_t zeros_count;
} pq_llm_builder;

typedef enum pq_llm_part {
    PQ_LLM_WEIGHT,
    PQ_LLM_BIAS,
} pq_llm_part;

// "layers.3.q", in the graph's arena.
PTQC_MUST_USE ptqc_status pq_llm_own_name(pq_llm_builder *b, pq_llm_role role,
                                          pq_str *out);
// NULL when the file has none.
PTQC_MUST_USE ptqc_status pq_llm_look_up(pq_llm_builder *b, pq_llm_role role,
                                         pq_llm_part part, pq_llm_tensor **out);
// The tensor of that role, which must be there with that shape.
PTQC_MUST_USE ptqc_status pq_llm_require(pq_llm_builder *b, pq_llm_role role,
                                         pq_llm_part part, const int64_t *dims,
                                         uint32_t rank, pq_llm_tensor **out);
// A matrix as constant: plain elements as stored, codes with their meaning.
PTQC_MUST_USE ptqc_status pq_llm_constant(pq_llm_builder *b, pq_llm_tensor *t,
                                          pq_value_id *out);
// A matrix as operand of a product: the constant as stored, or what
// dequantize makes of its codes, without their minima.
PTQC_MUST_USE ptqc_status pq_llm_matrix(pq_llm_builder *b, pq_llm_tensor *t,
                                        pq_value_id *out);
// The minima of a matrix of codes [N, K], f16 [N, K / group]; the null value
// when it has none. x w^T is then x codes^T + sums(x) minima^T, where sums(x)
// are those of groups of x.
PTQC_MUST_USE ptqc_status pq_llm_minima(pq_llm_builder *b,
                                        const pq_llm_tensor *t,
                                        pq_value_id *out);
// A vector, widened to f32.
PTQC_MUST_USE ptqc_status pq_llm_vector(pq_llm_builder *b, pq_llm_tensor *t,
                                        pq_value_id *out);
// The rows of table [V, d] that the tokens choose: f32 [B, T, d].
PTQC_MUST_USE ptqc_status pq_llm_embed(pq_llm_builder *b, pq_llm_tensor *table,
                                       pq_value_id *out);
// The f32 [dims / 2] that positions are multiplied with.
PTQC_MUST_USE ptqc_status pq_llm_frequencies(pq_llm_builder *b,
                                             pq_value_id *out);
// Warns of tensors that nothing used.
void pq_llm_tell_unused(const pq_llm_builder *b);

PTQC_MUST_USE ptqc_status pq_llm_reshape(pq_llm_builder *b, pq_value_id x,
                                         const pq_dim *dims, uint32_t rank,
                                         pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_llm_cast(pq_llm_builder *b, pq_value_id x,
                                      ptqc_dtype to, pq_value_id *out);

#define PQ_LLM_ARCHITECTURE(builder)                                           \
    ptqc_status pq_llm_build_##builder(pq_model *model,                        \
                                       const pq_llm_params *params,            \
                                       const pq_llm_tensors *tensors)

PQ_LLM_ARCHITECTURE(llama);

#endif
