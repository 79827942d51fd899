// SPDX-License-Identifier: Apache-2.0
//
// Calibration texts of language models: the tokens of a text, after the first
// --calib-skip, cut into sequences of --calib-length that follow one another;
// a token that the tokenizer puts before every text (BOS) begins each of
// them. As arrays per model input: tokens and positions [N, T], select [N, 1]
// (the last token).

#include <stdlib.h>
#include <string.h>

#include "cli/feed.h"
#include "cli/lm.h"

enum {
    DEFAULT_LENGTH = 512,
    DEFAULT_SEQUENCES = 64, // 8 tokens per input of a width of 4096
};

typedef struct text_task {
    cli *c;
    const ptqc_model *model;
    const char *path;
    int32_t *ids; // owned: [count]
    size_t count;
    int32_t bos; // -1: none
    size_t length, sequences;
} text_task;

static bool
is_token_input(const ptqc_model *model, const char *name)
{
    for (uint32_t i = 0; i < ptqc_model_input_count(model); i++) {
        ptqc_tensor_info info;
        ptqc_model_input(model, i, &info);
        if (strcmp(info.name, name) == 0) {
            return info.dtype == PTQC_I32 && info.rank == 2;
        }
    }
    return false;
}

bool
cli_takes_text(const ptqc_model *model)
{
    uint32_t inputs = ptqc_model_input_count(model);
    return is_token_input(model, "tokens") &&
           is_token_input(model, "positions") &&
           (inputs == 2 || (inputs == 3 && is_token_input(model, "select")));
}

// The token that texts begin with: what no text becomes.
static ptqc_status
find_bos(text_task *t)
{
    const ptqc_tokenizer *tokenizer = ptqc_model_tokenizer(t->model);
    size_t k = strlen(t->path), count;
    int32_t *ids;
    t->bos = -1;
    if (tokenizer == NULL || (k > 4 && strcmp(t->path + k - 4, ".i32") == 0)) {
        return PTQC_OK;
    }
    ptqc_status st = ptqc_encode(t->c->ctx, tokenizer, "", 0,
                                 PTQC_ENCODE_ADD_SPECIAL, &ids, &count);
    if (st == PTQC_OK) {
        t->bos = count == 1 ? ids[0] : -1;
        ptqc_buffer_free(t->c->ctx, ids);
    }
    return st;
}

static ptqc_status
check_ids(const text_task *t)
{
    ptqc_tensor_info logits;
    ptqc_model_output(t->model, 0, &logits);
    int64_t vocabulary = logits.rank > 0 ? logits.dims[logits.rank - 1] : -1;
    for (size_t i = 0; i < t->count; i++) {
        if (t->ids[i] < 0 || (vocabulary > 0 && t->ids[i] >= vocabulary)) {
            return cli_fail(t->c, PTQC_E_INPUT,
                            "--calib %s: token %zu: expected an id below the "
                            "model's %lld, found %d",
                            t->path, i, (long long)vocabulary, t->ids[i]);
        }
    }
    return PTQC_OK;
}

// Leaves the skipped tokens out and counts the sequences.
static ptqc_status
cut(text_task *t)
{
    size_t skip = (size_t)cli_get(t->c, CLI_CALIB_SKIP)->integer;
    size_t wanted = (size_t)cli_get(t->c, CLI_CALIB_SAMPLES)->integer;
    t->length = (size_t)cli_get(t->c, CLI_CALIB_LENGTH)->integer;
    t->length = t->length > 0 ? t->length : DEFAULT_LENGTH;
    size_t own = t->length - (t->bos >= 0 ? 1 : 0); // tokens of the text
    if (own == 0) {
        return cli_fail(t->c, PTQC_E_USAGE,
                        "--calib-length: expected at least 2");
    }
    size_t left = t->count > skip ? t->count - skip : 0;
    size_t need = wanted > 0 ? wanted : 1;
    if (left / own < need) {
        return cli_fail(t->c, PTQC_E_INPUT,
                        "--calib %s: too little: expected at least %zu x %zu "
                        "tokens after the skipped %zu, found %zu",
                        t->path, need, own, skip, left);
    }
    t->sequences = left / own;
    need = wanted > 0 ? wanted : DEFAULT_SEQUENCES;
    t->sequences = t->sequences < need ? t->sequences : need;
    memmove(t->ids, t->ids + skip, left * sizeof *t->ids);
    t->count = left;
    return PTQC_OK;
}

static void
fill(const text_task *t, const char *name, size_t sequence, int32_t *out)
{
    size_t before = t->bos >= 0 ? 1 : 0;
    size_t own = t->length - before;
    if (strcmp(name, "select") == 0) {
        out[0] = (int32_t)t->length - 1;
        return;
    }
    for (size_t i = 0; i < t->length; i++) {
        bool is_bos = i < before;
        out[i] = strcmp(name, "positions") == 0
                     ? (int32_t)i
                     : (is_bos ? t->bos : t->ids[sequence * own + i - before]);
    }
}

static ptqc_status
make_array(const text_task *t, const char *name, cli_array *out)
{
    size_t width = strcmp(name, "select") == 0 ? 1 : t->length;
    if (t->sequences > SIZE_MAX / sizeof(int32_t) / width) {
        return cli_fail(t->c, PTQC_E_USAGE, "--calib-length: too long");
    }
    int32_t *p = malloc(t->sequences * width * sizeof *p);
    if (p == NULL) {
        return cli_fail(t->c, PTQC_E_RESOURCE, "out of memory");
    }
    for (size_t i = 0; i < t->sequences; i++) {
        fill(t, name, i, p + i * width);
    }
    *out =
        (cli_array){.own = p,
                    .tensor = {.dtype = PTQC_I32,
                               .rank = 2,
                               .dims = {(int64_t)t->sequences, (int64_t)width},
                               .data = p,
                               .bytes = t->sequences * width * sizeof *p}};
    return PTQC_OK;
}

ptqc_status
cli_text_samples(cli *c, const ptqc_model *model, const char *path,
                 cli_array *arrays)
{
    text_task t = {.c = c, .model = model, .path = path};
    ptqc_status st = cli_read_tokens(c, path, ptqc_model_tokenizer(model), 0,
                                     &t.ids, &t.count);
    if (st == PTQC_OK) {
        st = check_ids(&t);
    }
    if (st == PTQC_OK) {
        st = find_bos(&t);
    }
    if (st == PTQC_OK) {
        st = cut(&t);
    }
    for (uint32_t i = 0; i < ptqc_model_input_count(model) && st == PTQC_OK;
         i++) {
        ptqc_tensor_info info;
        ptqc_model_input(model, i, &info);
        st = make_array(&t, info.name, &arrays[i]);
    }
    free(t.ids);
    return st;
}
