// SPDX-License-Identifier: Apache-2.0
//
// Language models: text to token ids and back, feeding tokens, generating.
//
// Threads: a tokenizer is immutable and may be shared; a ptqc_lm is used by
// one thread at a time.
#ifndef PTQC_LM_H
#define PTQC_LM_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/runtime.h"

#if defined(__cplusplus)
extern "C" {
#endif

// ---- tokens ---------------------------------------------------------------

// Borrowed from the artifact or model that it belongs to.
typedef struct ptqc_tokenizer ptqc_tokenizer;

// NULL: the artifact (model) has none.
PTQC_API const ptqc_tokenizer *
ptqc_artifact_tokenizer(const ptqc_artifact *artifact);
PTQC_API const ptqc_tokenizer *ptqc_model_tokenizer(const ptqc_model *model);

// Put the tokens around the text that the model wants there (BOS).
#define PTQC_ENCODE_ADD_SPECIAL 1u
// Special tokens spelled in the text become their ids.
#define PTQC_ENCODE_PARSE_SPECIAL 2u

// *out_ids is freed with ptqc_buffer_free.
PTQC_API PTQC_MUST_USE ptqc_status
ptqc_encode(ptqc_ctx *ctx, const ptqc_tokenizer *tokenizer, const char *text,
            size_t bytes, uint32_t flags, int32_t **out_ids, size_t *out_count);
// Leaves special tokens out. *out_text ends with a NUL that *out_bytes does
// not count; freed with ptqc_buffer_free. PTQC_E_INPUT: an id out of range.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_decode(ptqc_ctx *ctx,
                                               const ptqc_tokenizer *tokenizer,
                                               const int32_t *ids, size_t count,
                                               char **out_text,
                                               size_t *out_bytes);

// ---- models ---------------------------------------------------------------

typedef struct ptqc_lm ptqc_lm;

typedef struct ptqc_lm_desc {
    ptqc_session_desc session;
    uint32_t sequences; // fed side by side; default 1
} ptqc_lm_desc;

// The artifact outlives it. PTQC_E_UNSUPPORTED: no language model.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_lm_create(ptqc_ctx *ctx,
                                                  const ptqc_artifact *artifact,
                                                  const ptqc_lm_desc *desc,
                                                  ptqc_lm **out);
PTQC_API void ptqc_lm_destroy(ptqc_lm *lm); // NULL allowed
PTQC_API uint32_t ptqc_lm_vocabulary(const ptqc_lm *lm);
// Tokens a sequence may have.
PTQC_API uint64_t ptqc_lm_context(const ptqc_lm *lm);
// Forgets all sequences.
PTQC_API void ptqc_lm_reset(ptqc_lm *lm);

// The scores after one token: logits[vocabulary], valid during the call.
// Another status than OK ends the feeding with it.
typedef ptqc_status (*ptqc_logits_fn)(void *user, uint32_t sequence,
                                      uint64_t position, const float *logits);

#define PTQC_LM_LAST_ONLY 1u // scores only after the last token of each call

// Appends counts[s] tokens to sequence s (0 allowed). The results do not
// depend on how the tokens are spread over calls. PTQC_E_INPUT: an id outside
// the vocabulary, or more tokens than the context holds; then nothing was
// fed.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_lm_feed(ptqc_lm *lm,
                                                const int32_t *const *tokens,
                                                const size_t *counts,
                                                uint32_t flags,
                                                ptqc_logits_fn fn, void *user);

// How the next token is chosen. Zero temperature: the likeliest (the lowest
// id among equals); else drawn from softmax(logits / temperature) after
// top_k, top_p and min_p have cut it.
typedef struct ptqc_sampling {
    float temperature;
    uint32_t top_k; // 0 = all
    float top_p;    // 0 = all; keep the likeliest that sum to at least this
    float min_p;    // keep those at least this times as likely as the best
    uint64_t seed;  // the same seed gives the same tokens
} ptqc_sampling;

typedef struct ptqc_generate_desc {
    ptqc_sampling sampling;
    uint64_t token_limit;    // per sequence; 0 = until the context is full
    const char *const *stop; // [stop_count] texts that end a sequence; they
    uint32_t stop_count;     // are not delivered
    uint32_t ignores_end;    // go on after the model's end-of-text token
} ptqc_generate_desc;

// One generated token, with the text that has become complete (maybe none).
// Non-zero ends all sequences.
typedef int (*ptqc_token_fn)(void *user, uint32_t sequence, int32_t token,
                             const char *text, size_t bytes);

// Feeds the prompts (each at least one token, also when tokens were fed
// before) and generates until every sequence has ended. PTQC_E_INPUT when a
// prompt does not fit.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_lm_generate(
    ptqc_lm *lm, const int32_t *const *prompts, const size_t *counts,
    const ptqc_generate_desc *desc, ptqc_token_fn fn, void *user);

#if defined(__cplusplus)
}
#endif
#endif
