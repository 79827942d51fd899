// SPDX-License-Identifier: Apache-2.0
//
// Hugging Face model folders: config.json says what the model is,
// model.safetensors or the shards of model.safetensors.index.json hold its
// weights, tokenizer.json its tokenizer.
#ifndef PTQC_FRONTEND_HF_HF_H
#define PTQC_FRONTEND_HF_HF_H

#include "base/json.h"
#include "frontend/llm/llm.h"

PTQC_MUST_USE ptqc_status pq_hf_import_folder(pq_model *model,
                                              const char *folder,
                                              const pq_import_options *options);
// A file of tensors alone: the facts, and the problem that it is no model.
PTQC_MUST_USE ptqc_status pq_hf_import_tensors(pq_model *model,
                                               const char *path,
                                               const void *bytes, size_t n);

// What config.json says. *out_known is NULL, and the model has a problem,
// when the architecture is not supported; other problems may be added.
PTQC_MUST_USE ptqc_status pq_hf_read_config(
    pq_model *model, const char *path, pq_str text,
    const pq_llm_architecture **out_known, pq_llm_params *out_params);

#endif
