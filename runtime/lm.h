// SPDX-License-Identifier: Apache-2.0
//
// The inside of ptqc_lm.
#ifndef PTQC_RUNTIME_LM_H
#define PTQC_RUNTIME_LM_H

#include "ptqc/lm.h"

#include "runtime/container.h"
#include "tokenizer/tokenizer.h"

struct ptqc_lm {
    ptqc_ctx *ctx;                 // borrowed
    const ptqc_artifact *artifact; // borrowed
    ptqc_session *session;         // owned
    uint32_t sequences, vocabulary;
    uint64_t context;
    uint64_t *lengths;           // owned: [sequences] tokens fed
    int32_t *tokens, *positions; // owned: [sequences][chunk] of one run
    int32_t *selected;           // owned: [sequences][chunk]
    ptqc_tensor *inputs;         // owned: [input count]
    uint32_t tokens_input, positions_input;
    uint32_t select_input; // UINT32_MAX: logits come for all tokens
};

// Tokens of one sequence that one run takes.
#define PQ_LM_CHUNK 256u

#endif
