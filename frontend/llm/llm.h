// SPDX-License-Identifier: Apache-2.0
//
// Language models whatever file they come from: the table of their tensors,
// the parameters of their architecture, and the graph that is built of both
// (docs/llm-models.md). The readers of GGUF and of Hugging Face folders fill
// the first two.
#ifndef PTQC_FRONTEND_LLM_LLM_H
#define PTQC_FRONTEND_LLM_LLM_H

#include "base/strmap.h"
#include "frontend/import.h"

// ---- tensors --------------------------------------------------------------

// Elements that lie in blocks along the innermost dimension, which holds
// whole blocks.
typedef struct pq_llm_block {
    const char *name;         // "Q4_0"
    uint32_t elements, bytes; // of one block
    // Codes that stay codes, w = scale * (code - zero_point) + minimum, one
    // scale per block; NONE: the elements become f16.
    ptqc_dtype codes;
    int32_t zero_point;
    uint32_t minimum_at; // byte of a block's minimum, f16; 0: there is none
    // One block to codes (dense, first element in the lowest bits) and scale.
    void (*split)(const uint8_t *block, uint8_t *out_codes, float *out_scale);
    // One block to elements; NULL: the type is known and not supported.
    void (*expand)(const uint8_t *block, float *out);
} pq_llm_block;

typedef struct pq_llm_tensor {
    pq_str name;
    pq_str type; // the format's own word, "BF16"
    uint32_t rank;
    int64_t dims[PTQC_MAX_RANK]; // outermost first, all at least 1 when used
    ptqc_dtype dtype;            // of plain elements; NONE: see block
    const pq_llm_block *block;   // NULL: plain, or of a type not supported
    const uint8_t *p;            // in the mapped file, any alignment
    size_t bytes;
    uint64_t count; // elements
    bool is_used;   // by the graph
} pq_llm_tensor;

typedef struct pq_llm_tensors {
    pq_llm_tensor *p; // [count], in the order of the file
    uint32_t count;
    pq_strmap by_name; // indices into p
} pq_llm_tensors;

// NULL when there is none.
pq_llm_tensor *pq_llm_tensor_find(const pq_llm_tensors *tensors, pq_str name);
// Tensors, elements, bytes and the histogram of types, into the model.
PTQC_MUST_USE ptqc_status
pq_llm_describe_tensors(pq_model *model, const pq_llm_tensors *tensors);
// One problem per type that cannot be used.
PTQC_MUST_USE ptqc_status pq_llm_check_types(pq_model *model,
                                             const pq_llm_tensors *tensors);
// What is well formed and not supported; everything is copied.
PTQC_MUST_USE ptqc_status pq_llm_problem(pq_model *model, pq_str reason,
                                         const pq_str *places, uint32_t count);

// ---- architecture ---------------------------------------------------------

typedef enum pq_llm_naming { // of tensors
    PQ_LLM_HUGGING_FACE,
    PQ_LLM_GGUF,
} pq_llm_naming;

typedef enum pq_llm_scaling { // of rotary frequencies
    PQ_LLM_SCALING_NONE,
    PQ_LLM_SCALING_LINEAR,
    PQ_LLM_SCALING_LLAMA3,
} pq_llm_scaling;

typedef struct pq_llm_rope {
    int64_t dims; // elements of a head that turn
    double base;
    pq_llm_scaling scaling;
    double factor;
    double low_freq_factor, high_freq_factor; // llama3
    double original_context;                  // llama3
} pq_llm_rope;

typedef enum pq_llm_bias {
    PQ_LLM_BIAS_NONE,
    PQ_LLM_BIAS_REQUIRED,
    PQ_LLM_BIAS_OPTIONAL, // when the file has one
} pq_llm_bias;

typedef struct pq_llm_params {
    pq_llm_naming naming;
    int64_t context, layers;
    int64_t width, ffn; // elements of the residual and the inner stream
    int64_t heads, kv_heads, head_dim;
    int64_t vocabulary; // 0: as many as the embedding has rows
    double epsilon;     // of the norms
    pq_llm_rope rope;
    pq_llm_bias attention_bias, mlp_bias;
    bool is_tied; // the embedding is the output matrix, whatever the file has
} pq_llm_params;

typedef ptqc_status (*pq_llm_build_fn)(pq_model *model,
                                       const pq_llm_params *params,
                                       const pq_llm_tensors *tensors);

// A row of architectures.def.
typedef struct pq_llm_architecture {
    const char *name;       // general.architecture of GGUF
    const char *model_type; // of config.json
    pq_llm_build_fn build;
} pq_llm_architecture;

// NULL when the table has none.
const pq_llm_architecture *pq_llm_architecture_find(pq_llm_naming naming,
                                                    pq_str name);
// The name that the graph's op has whose weight a file calls so, in either
// naming: "layers.0.q" of "blk.0.attn_q.weight". false: none is known; else
// the text is in `out`, cut to the room.
bool pq_llm_op_name(pq_str tensor, char *out, size_t room);
// "llama, qwen2", for messages; borrowed from the model.
PTQC_MUST_USE ptqc_status pq_llm_architecture_names(pq_model *model,
                                                    pq_llm_naming naming,
                                                    pq_str *out);
// Numbers that no model can have: PTQC_E_INPUT.
PTQC_MUST_USE ptqc_status pq_llm_check_params(pq_model *model,
                                              const pq_llm_params *params,
                                              const pq_llm_tensors *tensors);
// Checks, builds the graph (model->graph), describes its inputs and outputs.
// The tensors' bytes must live as long as the graph.
PTQC_MUST_USE ptqc_status pq_llm_build(pq_model *model,
                                       const pq_llm_architecture *architecture,
                                       const pq_llm_params *params,
                                       const pq_llm_tensors *tensors);

#endif
