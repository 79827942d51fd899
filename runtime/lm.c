// SPDX-License-Identifier: Apache-2.0
//
// Feeding tokens to a language model. The artifact is one graph:
//
//   tokens i32 [B, T], positions i32 [B, T], (select i32 [B, S])
//     -> logits f32 [B, T or S, vocabulary]
//
// and its states hold the keys and values of what was fed. Position -1 marks
// padding. `select` names the tokens of the run whose scores are wanted.

#include "runtime/lm.h"

#include <string.h>

#include "runtime/session.h"

// ---- creation -------------------------------------------------------------

static uint32_t
find_input(const ptqc_artifact *a, const char *name, uint32_t rank)
{
    for (uint32_t i = 0; i < ptqc_artifact_input_count(a); i++) {
        ptqc_tensor_info info;
        ptqc_artifact_input(a, i, &info);
        if (strcmp(info.name, name) == 0 && info.dtype == PTQC_I32 &&
            info.rank == rank) {
            return i;
        }
    }
    return UINT32_MAX;
}

// Tokens that fit the first state's third axis, for a session's wish.
static uint64_t
context_of(const ptqc_artifact *a, uint64_t wish)
{
    const ptqc_gb *g = &a->iface;
    const ptqc_gb_value *v =
        ptqc_gb_value_at(g, ptqc_gb_u32_at(g, PTQC_GB_STATES, 0));
    const ptqc_gb_dim *dim = ptqc_gb_dim_at(g, ptqc_gb_value_dim(g, v, 2));
    if (dim->op == PTQC_GB_DIM_CONST) {
        return (uint64_t)dim->value;
    }
    uint64_t capacity = (uint64_t)pq_context_capacity(
        ptqc_gb_symbol_at(g, (uint32_t)dim->value), wish);
    return wish > 0 && wish < capacity ? wish : capacity;
}

static ptqc_status
not_a_language_model(ptqc_ctx *ctx)
{
    return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                   "no language model: expected inputs tokens and positions, "
                   "states, and logits as the output");
}

static ptqc_status
read_interface(ptqc_lm *lm, uint64_t wish)
{
    const ptqc_artifact *a = lm->artifact;
    ptqc_tensor_info logits;
    lm->tokens_input = find_input(a, "tokens", 2);
    lm->positions_input = find_input(a, "positions", 2);
    lm->select_input = find_input(a, "select", 2);
    if (lm->tokens_input == UINT32_MAX || lm->positions_input == UINT32_MAX ||
        ptqc_artifact_output_count(a) != 1 ||
        ptqc_artifact_input_count(a) !=
            (lm->select_input == UINT32_MAX ? 2u : 3u) ||
        ptqc_gb_count(&a->iface, PTQC_GB_STATES) == 0) {
        return not_a_language_model(lm->ctx);
    }
    ptqc_artifact_output(a, 0, &logits);
    const ptqc_gb_value *state = ptqc_gb_value_at(
        &a->iface, ptqc_gb_u32_at(&a->iface, PTQC_GB_STATES, 0));
    if (logits.rank != 3 || logits.dtype != PTQC_F32 || logits.dims[2] < 1 ||
        state->rank != 4) {
        return not_a_language_model(lm->ctx);
    }
    lm->vocabulary = (uint32_t)logits.dims[2];
    lm->context = context_of(a, wish);
    return PTQC_OK;
}

static ptqc_status
allocate(ptqc_lm *lm)
{
    size_t n = (size_t)lm->sequences * PQ_LM_CHUNK;
    lm->lengths = pq_alloc_array(lm->ctx, lm->sequences, sizeof *lm->lengths);
    lm->tokens = pq_alloc_array(lm->ctx, n, sizeof *lm->tokens);
    lm->positions = pq_alloc_array(lm->ctx, n, sizeof *lm->positions);
    lm->selected = pq_alloc_array(lm->ctx, n, sizeof *lm->selected);
    lm->inputs = pq_alloc_array(
        lm->ctx, ptqc_artifact_input_count(lm->artifact), sizeof *lm->inputs);
    return lm->lengths != NULL && lm->tokens != NULL && lm->positions != NULL &&
                   lm->selected != NULL && lm->inputs != NULL
               ? PTQC_OK
               : PTQC_E_RESOURCE;
}

ptqc_status
ptqc_lm_create(ptqc_ctx *ctx, const ptqc_artifact *artifact,
               const ptqc_lm_desc *desc, ptqc_lm **out)
{
    *out = NULL;
    ptqc_lm *lm = pq_alloc(ctx, sizeof *lm);
    PQ_TRY_ALLOC(lm);
    lm->ctx = ctx;
    lm->artifact = artifact;
    lm->sequences = desc != NULL && desc->sequences > 0 ? desc->sequences : 1;
    ptqc_session_desc session = {0};
    if (desc != NULL) {
        session = desc->session;
    }
    ptqc_status st = read_interface(lm, session.context);
    session.context = lm->context;
    if (st == PTQC_OK) {
        st = allocate(lm);
    }
    if (st == PTQC_OK) {
        st = ptqc_session_create(ctx, artifact, &session, &lm->session);
    }
    if (st != PTQC_OK) {
        ptqc_lm_destroy(lm);
        return st;
    }
    *out = lm;
    return PTQC_OK;
}

void
ptqc_lm_destroy(ptqc_lm *lm)
{
    if (lm == NULL) {
        return;
    }
    ptqc_session_destroy(lm->session);
    pq_free(lm->ctx, lm->lengths);
    pq_free(lm->ctx, lm->tokens);
    pq_free(lm->ctx, lm->positions);
    pq_free(lm->ctx, lm->selected);
    pq_free(lm->ctx, lm->inputs);
    pq_free(lm->ctx, lm);
}

uint32_t
ptqc_lm_vocabulary(const ptqc_lm *lm)
{
    return lm->vocabulary;
}

uint64_t
ptqc_lm_context(const ptqc_lm *lm)
{
    return lm->context;
}

void
ptqc_lm_reset(ptqc_lm *lm)
{
    memset(lm->lengths, 0, lm->sequences * sizeof *lm->lengths);
    ptqc_session_reset(lm->session);
}

// ---- feeding --------------------------------------------------------------

// What one call of feed hands from run to run.
typedef struct pq_feed {
    ptqc_lm *lm;
    const int32_t *const *tokens;
    const size_t *counts;
    bool last_only;
    ptqc_logits_fn fn;
    void *user;
    size_t at; // tokens of each sequence that earlier runs took
} pq_feed;

static ptqc_status
check_tokens(const ptqc_lm *lm, const int32_t *const *tokens,
             const size_t *counts)
{
    for (uint32_t s = 0; s < lm->sequences; s++) {
        if (counts[s] > lm->context - lm->lengths[s]) {
            return PQ_FAIL(lm->ctx, PTQC_E_INPUT,
                           "%zu tokens after %llu do not fit the context of "
                           "%llu",
                           counts[s], (unsigned long long)lm->lengths[s],
                           (unsigned long long)lm->context);
        }
        for (size_t i = 0; i < counts[s]; i++) {
            if (tokens[s][i] < 0 || (uint32_t)tokens[s][i] >= lm->vocabulary) {
                return PQ_FAIL(lm->ctx, PTQC_E_INPUT,
                               "token %zu: expected an id below %u, found %d",
                               i, lm->vocabulary, tokens[s][i]);
            }
        }
    }
    return PTQC_OK;
}

static size_t
left_of(const pq_feed *f, uint32_t s)
{
    return f->counts[s] > f->at ? f->counts[s] - f->at : 0;
}

// Tokens per sequence of the next run: the longest rest, at most a chunk.
static size_t
width_of(const pq_feed *f)
{
    size_t most = 0;
    for (uint32_t s = 0; s < f->lm->sequences; s++) {
        size_t left = left_of(f, s);
        most = left > most ? left : most;
    }
    return most < PQ_LM_CHUNK ? most : PQ_LM_CHUNK;
}

static void
fill_inputs(const pq_feed *f, size_t width, size_t selected)
{
    ptqc_lm *lm = f->lm;
    for (uint32_t s = 0; s < lm->sequences; s++) {
        size_t left = left_of(f, s);
        for (size_t i = 0; i < width; i++) {
            size_t k = s * width + i;
            bool is_token = i < left;
            lm->tokens[k] = is_token ? f->tokens[s][f->at + i] : 0;
            lm->positions[k] = is_token ? (int32_t)(lm->lengths[s] + i) : -1;
        }
        for (size_t i = 0; i < selected; i++) {
            size_t last = left < width ? left : width;
            lm->selected[s * selected + i] =
                (int32_t)(f->last_only ? (last > 0 ? last - 1 : 0) : i);
        }
    }
}

static ptqc_tensor
row_tensor(const ptqc_lm *lm, int32_t *p, size_t width)
{
    return (ptqc_tensor){.dtype = PTQC_I32,
                         .rank = 2,
                         .dims = {lm->sequences, (int64_t)width},
                         .data = p,
                         .bytes = lm->sequences * width * sizeof *p};
}

// Hands the scores of one run to the caller, sequence by sequence.
static ptqc_status
deliver(const pq_feed *f, const ptqc_tensor *logits, size_t width)
{
    const ptqc_lm *lm = f->lm;
    size_t rows = (size_t)logits->dims[1];
    for (uint32_t s = 0; s < lm->sequences; s++) {
        size_t left = left_of(f, s);
        size_t fed = left < width ? left : width;
        bool ends = left <= width;
        for (size_t i = 0; i < fed; i++) {
            if (f->last_only && !(ends && i + 1 == fed)) {
                continue;
            }
            size_t row =
                lm->select_input == UINT32_MAX || !f->last_only ? i : 0;
            const float *p =
                (const float *)logits->data + (s * rows + row) * lm->vocabulary;
            PQ_TRY(f->fn(f->user, s, lm->lengths[s] + i, p));
        }
    }
    return PTQC_OK;
}

static ptqc_status
run_chunk(pq_feed *f, size_t width)
{
    ptqc_lm *lm = f->lm;
    size_t selected = f->last_only ? 1 : width;
    ptqc_tensor logits = {0};
    fill_inputs(f, width, selected);
    lm->inputs[lm->tokens_input] = row_tensor(lm, lm->tokens, width);
    lm->inputs[lm->positions_input] = row_tensor(lm, lm->positions, width);
    if (lm->select_input != UINT32_MAX) {
        lm->inputs[lm->select_input] = row_tensor(lm, lm->selected, selected);
    }
    PQ_TRY(ptqc_session_run(lm->session, lm->inputs,
                            ptqc_artifact_input_count(lm->artifact), &logits,
                            1));
    if (f->fn != NULL) {
        PQ_TRY(deliver(f, &logits, width));
    }
    for (uint32_t s = 0; s < lm->sequences; s++) {
        size_t left = left_of(f, s);
        lm->lengths[s] += left < width ? left : width;
    }
    f->at += width;
    return PTQC_OK;
}

ptqc_status
ptqc_lm_feed(ptqc_lm *lm, const int32_t *const *tokens, const size_t *counts,
             uint32_t flags, ptqc_logits_fn fn, void *user)
{
    pq_feed f = {.lm = lm,
                 .tokens = tokens,
                 .counts = counts,
                 .last_only = (flags & PTQC_LM_LAST_ONLY) != 0,
                 .fn = fn,
                 .user = user};
    PQ_TRY(check_tokens(lm, tokens, counts));
    for (size_t width = width_of(&f); width > 0; width = width_of(&f)) {
        PQ_TRY(pq_check_cancelled(lm->ctx));
        PQ_TRY(run_chunk(&f, width));
    }
    return PTQC_OK;
}

// ---- tokens ---------------------------------------------------------------

const ptqc_tokenizer *
ptqc_artifact_tokenizer(const ptqc_artifact *artifact)
{
    return (const ptqc_tokenizer *)artifact->tokenizer;
}

ptqc_status
ptqc_encode(ptqc_ctx *ctx, const ptqc_tokenizer *tokenizer, const char *text,
            size_t bytes, uint32_t flags, int32_t **out_ids, size_t *out_count)
{
    pq_token_ids ids = {0};
    *out_ids = NULL;
    *out_count = 0;
    PQ_TRY(pq_tokenizer_encode(ctx, (const pq_tokenizer *)tokenizer,
                               (pq_str){text, bytes}, flags, &ids));
    *out_ids = ids.ids;
    *out_count = ids.count;
    return PTQC_OK;
}

ptqc_status
ptqc_decode(ptqc_ctx *ctx, const ptqc_tokenizer *tokenizer, const int32_t *ids,
            size_t count, char **out_text, size_t *out_bytes)
{
    pq_strbuf text;
    *out_text = NULL;
    pq_strbuf_init(&text, ctx);
    ptqc_status st =
        pq_tokenizer_decode(ctx, (const pq_tokenizer *)tokenizer, ids, count,
                            PQ_DECODE_SKIP_SPECIAL, &text);
    if (st == PTQC_OK) {
        char *copy = pq_alloc(ctx, text.n + 1);
        st = copy != NULL && !text.failed ? PTQC_OK : PTQC_E_RESOURCE;
        if (st == PTQC_OK && text.n > 0) {
            memcpy(copy, text.p, text.n);
        }
        *out_text = copy;
        *out_bytes = text.n;
    }
    pq_strbuf_deinit(&text);
    return st;
}

void
ptqc_buffer_free(ptqc_ctx *ctx, void *bytes)
{
    pq_free(ctx, bytes);
}
