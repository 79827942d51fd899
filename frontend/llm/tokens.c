// SPDX-License-Identifier: Apache-2.0
//
// Tokenizers and options of language models, see tokens.h.
#include "frontend/llm/tokens.h"

#include <string.h>

enum {
    TEXT_BYTES = 2048, // what a diagnostic holds at most
};

// Holds errors back, hands everything else on.
typedef struct listener {
    ptqc_diag_fn next;
    void *next_user;
    char error[TEXT_BYTES + 1];
} listener;

static void
listen(void *user, ptqc_severity severity, ptqc_status status, const char *text)
{
    listener *l = user;
    if (severity == PTQC_SEVERITY_ERROR) {
        size_t n = strlen(text);
        n = n < TEXT_BYTES ? n : TEXT_BYTES;
        memcpy(l->error, text, n);
        l->error[n] = '\0';
    } else if (l->next != NULL) {
        l->next(l->next_user, severity, status, text);
    }
}

ptqc_status
pq_llm_adopt_tokenizer(pq_model *model, pq_llm_tokenizer_fn make, void *user)
{
    ptqc_ctx *ctx = model->ctx;
    listener l = {0};
    ptqc_diag_fn fn = listen;
    void *fn_user = &l;
    pq_ctx_swap_diag(ctx, &fn, &fn_user);
    l.next = fn;
    l.next_user = fn_user;
    ptqc_status st = make(user, ctx, &model->tokenizer);
    pq_ctx_swap_diag(ctx, &fn, &fn_user);
    if (st == PTQC_OK) {
        return PTQC_OK;
    }
    model->tokenizer = NULL;
    if (st == PTQC_E_UNSUPPORTED) {
        pq_say(ctx, PTQC_SEVERITY_WARNING, "%s; the model takes token ids only",
               l.error);
        return PTQC_OK;
    }
    return PQ_FAIL(ctx, st, "%s", l.error);
}

ptqc_status
pq_llm_check_tokenizer(const pq_model *model)
{
    const pq_graph *g = model->graph;
    if (model->tokenizer == NULL || g == NULL) {
        return PTQC_OK;
    }
    const pq_type *logits = &pq_graph_value(g, pq_graph_output(g, 0))->type;
    size_t tokens = pq_tokenizer_count(model->tokenizer);
    int64_t rows = 0;
    (void)pq_dim_is_const(g, logits->dims[logits->rank - 1], &rows);
    if ((uint64_t)rows < tokens) {
        return PQ_FAIL(model->ctx, PTQC_E_INPUT,
                       "%.*s: the tokenizer has %zu tokens, the model only "
                       "%lld",
                       PQ_STR_ARG(model->files[0].path), tokens,
                       (long long)rows);
    }
    return PTQC_OK;
}

ptqc_status
pq_llm_refuse_dims(const pq_model *model, const pq_import_options *options)
{
    if (options == NULL || options->dim_count == 0) {
        return PTQC_OK;
    }
    return PQ_FAIL(model->ctx, PTQC_E_USAGE,
                   "%.*s: dimension '%.*s': those of a language model stay "
                   "open",
                   PQ_STR_ARG(model->files[0].path),
                   PQ_STR_ARG(options->dims[0].name));
}
