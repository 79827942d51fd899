// SPDX-License-Identifier: Apache-2.0
//
// Reading of the steps of tokenizer.json: normalizer, pre_tokenizer,
// post_processor, decoder.
#ifndef PTQC_TOKENIZER_JSON_STEPS_H
#define PTQC_TOKENIZER_JSON_STEPS_H

#include "base/json.h"
#include "tokenizer/steps.h"

typedef struct pq_tok_reader {
    const char *what; // names the file in errors
    pq_tokenizer *t;  // what is read; its tokens come before its steps
} pq_tok_reader;

PTQC_MUST_USE ptqc_status pq_tok_read_steps(pq_tok_reader *r,
                                            const pq_json *root);

#endif
