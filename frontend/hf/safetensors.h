// SPDX-License-Identifier: Apache-2.0
//
// safetensors files (huggingface/safetensors README, "Format"): the length of
// a JSON header, the header, the bytes of the tensors without holes. The file
// is hostile.
#ifndef PTQC_FRONTEND_HF_SAFETENSORS_H
#define PTQC_FRONTEND_HF_SAFETENSORS_H

#include "frontend/llm/llm.h"

// The tensors in the order of the header, their bytes borrowed from p, the
// rest in `arena`. deinit also after a failure.
PTQC_MUST_USE ptqc_status pq_safetensors_read(ptqc_ctx *ctx, pq_arena *arena,
                                              const char *path,
                                              const uint8_t *p, size_t n,
                                              pq_llm_tensors *out);
void pq_safetensors_deinit(pq_llm_tensors *tensors);

#endif
