// SPDX-License-Identifier: Apache-2.0
//
// The tokenizer of a language model: made from the model's own files, held
// against the embedding.
#ifndef PTQC_FRONTEND_LLM_TOKENS_H
#define PTQC_FRONTEND_LLM_TOKENS_H

#include "frontend/import.h"

typedef ptqc_status (*pq_llm_tokenizer_fn)(void *user, ptqc_ctx *ctx,
                                           pq_tokenizer **out);

// The model gets the tokenizer that `make` makes. A kind that is not
// supported is a warning: the model runs on token ids without it.
PTQC_MUST_USE ptqc_status pq_llm_adopt_tokenizer(pq_model *model,
                                                 pq_llm_tokenizer_fn make,
                                                 void *user);
// Every token must have a row in the embedding of the model's graph.
PTQC_MUST_USE ptqc_status pq_llm_check_tokenizer(const pq_model *model);
// B, T and C stay symbols: PTQC_E_USAGE when the caller gives any.
PTQC_MUST_USE ptqc_status pq_llm_refuse_dims(const pq_model *model,
                                             const pq_import_options *options);

#endif
