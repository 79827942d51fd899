// SPDX-License-Identifier: Apache-2.0
//
// From the keys of a GGUF file (ggml: docs/gguf.md, "Standardized key-value
// pairs") to parameters, tokenizer and graph.
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "frontend/gguf/gguf.h"
#include "frontend/llm/tokens.h"

typedef struct importer {
    pq_model *model;
    pq_gguf file;
    pq_arena arena; // dies with the import
    pq_str architecture;
    const pq_llm_architecture *known; // or NULL
    pq_llm_params params;
} importer;

// ---- facts ----------------------------------------------------------------

static ptqc_status
copy_text(pq_model *model, pq_str s, pq_str *out)
{
    char *copy = pq_arena_strndup(&model->arena, s.n != 0 ? s.p : "", s.n);
    *out = (pq_str){copy, s.n};
    return copy != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

// Texts of the general.* keys.
static ptqc_status
copy_metadata(importer *im)
{
    pq_model *model = im->model;
    model->metadata = pq_arena_array(&model->arena, im->file.pair_count,
                                     sizeof *model->metadata);
    PQ_TRY_ALLOC(model->metadata);
    for (uint32_t i = 0; i < im->file.pair_count; i++) {
        const pq_gguf_pair *pair = &im->file.pairs[i];
        if (pair->kind != PQ_GGUF_STRING ||
            !pq_str_starts(pair->key, "general.")) {
            continue;
        }
        pq_import_pair *to = &model->metadata[model->metadata_count++];
        const pq_str value = {(const char *)pair->p + 8, pair->bytes - 8};
        PQ_TRY(copy_text(model, pair->key, &to->key));
        PQ_TRY(copy_text(model, value, &to->value));
    }
    return PTQC_OK;
}

static ptqc_status
collect_facts(importer *im)
{
    pq_model *model = im->model;
    model->format = PQ_STR("gguf");
    model->ir_version = im->file.version;
    PQ_TRY(pq_gguf_get_string(&im->file, "general.architecture",
                              &im->architecture));
    if (im->architecture.n == 0) {
        return PQ_FAIL(model->ctx, PTQC_E_INPUT,
                       "%s: the key 'general.architecture' is missing",
                       im->file.path);
    }
    PQ_TRY(copy_text(model, im->architecture, &model->architecture));
    PQ_TRY(copy_metadata(im));
    return pq_llm_describe_tensors(model, &im->file.tensors);
}

static ptqc_status
find_architecture(importer *im)
{
    pq_str names;
    im->known = pq_llm_architecture_find(PQ_LLM_GGUF, im->architecture);
    if (im->known != NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_llm_architecture_names(im->model, PQ_LLM_GGUF, &names));
    pq_strbuf text;
    pq_strbuf_init(&text, im->model->ctx);
    pq_strbuf_addf(&text, "the architecture '%.*s' is not supported (%.*s)",
                   PQ_STR_ARG(im->architecture), PQ_STR_ARG(names));
    const pq_str place = PQ_STR("general.architecture");
    ptqc_status st = PTQC_E_RESOURCE;
    if (!text.failed) {
        st = pq_llm_problem(im->model, (pq_str){text.p, text.n}, &place, 1);
    }
    pq_strbuf_deinit(&text);
    return st;
}

// ---- parameters -----------------------------------------------------------

enum {
    KEY_BYTES = 128, // of a key "llama.attention.head_count"
};

// The key below the architecture's name. Architectures are those of the
// table, whose names are short.
static const char *
key_of(const importer *im, const char *tail, char key[KEY_BYTES])
{
    (void)snprintf(key, KEY_BYTES, "%s.%s", im->known->name, tail);
    return key;
}

static ptqc_status
get_integer(const importer *im, const char *tail, bool is_required,
            int64_t *out)
{
    char key[KEY_BYTES];
    (void)key_of(im, tail, key);
    if (is_required && pq_gguf_find(&im->file, key) == NULL) {
        return PQ_FAIL(im->model->ctx, PTQC_E_INPUT,
                       "%s: the key '%s' is missing", im->file.path, key);
    }
    return pq_gguf_get_integer(&im->file, key, out);
}

static ptqc_status
get_real(const importer *im, const char *tail, double *out)
{
    char key[KEY_BYTES];
    return pq_gguf_get_real(&im->file, key_of(im, tail, key), out);
}

static ptqc_status
refuse(importer *im, const char *tail, const char *reason)
{
    char key[KEY_BYTES];
    const pq_str place = pq_str_of(key_of(im, tail, key));
    return pq_llm_problem(im->model, pq_str_of(reason), &place, 1);
}

// One number for all layers; arrays with one per layer are another kind of
// model.
static ptqc_status
refuse_arrays(importer *im)
{
    static const char *const tails[] = {"attention.head_count",
                                        "attention.head_count_kv",
                                        "feed_forward_length"};
    for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++) {
        char key[KEY_BYTES];
        const pq_gguf_pair *pair =
            pq_gguf_find(&im->file, key_of(im, tails[i], key));
        if (pair != NULL && pair->kind == PQ_GGUF_ARRAY) {
            PQ_TRY(refuse(im, tails[i],
                          "layers of different sizes are not supported"));
        }
    }
    return PTQC_OK;
}

static ptqc_status
refuse_experts(importer *im)
{
    int64_t experts = 0;
    PQ_TRY(get_integer(im, "expert_count", false, &experts));
    return experts == 0 ? PTQC_OK
                        : refuse(im, "expert_count",
                                 "mixtures of experts are not supported");
}

static ptqc_status
read_scaling(importer *im)
{
    pq_llm_rope *rope = &im->params.rope;
    pq_str type = PQ_STR("none");
    double factor = 1.0;
    char key[KEY_BYTES];
    PQ_TRY(get_real(im, "rope.scale_linear", &factor)); // of old files
    if (factor != 1.0) {
        type = PQ_STR("linear");
    }
    PQ_TRY(pq_gguf_get_string(&im->file, key_of(im, "rope.scaling.type", key),
                              &type));
    PQ_TRY(get_real(im, "rope.scaling.factor", &factor));
    rope->factor = factor;
    if (pq_str_equal_z(type, "linear")) {
        rope->scaling = PQ_LLM_SCALING_LINEAR;
        return PTQC_OK;
    }
    if (pq_str_equal_z(type, "none")) {
        return PTQC_OK;
    }
    pq_strbuf text;
    pq_strbuf_init(&text, im->model->ctx);
    pq_strbuf_addf(&text,
                   "rotary scaling of type '%.*s' is not supported (none, "
                   "linear)",
                   PQ_STR_ARG(type));
    ptqc_status st =
        text.failed ? PTQC_E_RESOURCE : refuse(im, "rope.scaling.type", text.p);
    pq_strbuf_deinit(&text);
    return st;
}

static ptqc_status
read_heads(importer *im)
{
    pq_llm_params *p = &im->params;
    PQ_TRY(get_integer(im, "attention.head_count", true, &p->heads));
    p->kv_heads = p->heads;
    PQ_TRY(get_integer(im, "attention.head_count_kv", false, &p->kv_heads));
    p->head_dim =
        p->heads > 0 && p->width % p->heads == 0 ? p->width / p->heads : 0;
    int64_t value_dim;
    PQ_TRY(get_integer(im, "attention.key_length", false, &p->head_dim));
    value_dim = p->head_dim;
    PQ_TRY(get_integer(im, "attention.value_length", false, &value_dim));
    if (value_dim != p->head_dim) {
        PQ_TRY(refuse(im, "attention.value_length",
                      "keys and values of different lengths are not "
                      "supported"));
    }
    p->rope.dims = p->head_dim;
    return get_integer(im, "rope.dimension_count", false, &p->rope.dims);
}

static ptqc_status
read_params(importer *im)
{
    pq_llm_params *p = &im->params;
    *p = (pq_llm_params){.naming = PQ_LLM_GGUF,
                         .rope = {.base = 10000.0},
                         .attention_bias = PQ_LLM_BIAS_OPTIONAL,
                         .mlp_bias = PQ_LLM_BIAS_OPTIONAL};
    PQ_TRY(get_integer(im, "context_length", true, &p->context));
    PQ_TRY(get_integer(im, "embedding_length", true, &p->width));
    PQ_TRY(get_integer(im, "block_count", true, &p->layers));
    PQ_TRY(get_integer(im, "feed_forward_length", true, &p->ffn));
    PQ_TRY(get_integer(im, "vocab_size", false, &p->vocabulary));
    const pq_gguf_pair *tokens =
        pq_gguf_find(&im->file, "tokenizer.ggml.tokens");
    if (tokens != NULL) { // as many as the embedding has rows
        p->vocabulary = (int64_t)tokens->count;
    }
    PQ_TRY(read_heads(im));
    PQ_TRY(get_real(im, "attention.layer_norm_rms_epsilon", &p->epsilon));
    PQ_TRY(get_real(im, "rope.freq_base", &p->rope.base));
    return read_scaling(im);
}

// ---- tokenizer ------------------------------------------------------------

static ptqc_status
read_flag(const pq_gguf *f, const char *key, pq_tok_choice *out)
{
    bool is_on = false;
    PQ_TRY(pq_gguf_get_bool(f, key, &is_on));
    if (pq_gguf_find(f, key) != NULL) {
        *out = is_on ? PQ_TOK_YES : PQ_TOK_NO;
    }
    return PTQC_OK;
}

// Numbers of an array at any address, copied to aligned memory.
static ptqc_status
read_numbers(importer *im, const char *key, pq_gguf_kind element,
             const void **out, size_t *out_count)
{
    const pq_gguf_pair *pair;
    PQ_TRY(pq_gguf_get_array(&im->file, key, element, &pair));
    if (pair == NULL) {
        return PTQC_OK;
    }
    *out = pq_arena_memdup(&im->arena, pair->p, pair->bytes);
    *out_count = (size_t)pair->count;
    return *out != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
read_strings(importer *im, const char *key, const pq_str **out,
             size_t *out_count)
{
    const pq_gguf_pair *pair;
    pq_str *all;
    PQ_TRY(pq_gguf_get_array(&im->file, key, PQ_GGUF_STRING, &pair));
    if (pair == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_gguf_strings(&im->arena, pair, &all));
    *out = all;
    *out_count = (size_t)pair->count;
    return PTQC_OK;
}

static ptqc_status
read_vocabulary(importer *im, pq_tokenizer_desc *d)
{
    const void *scores = NULL, *types = NULL;
    PQ_TRY(
        read_strings(im, "tokenizer.ggml.tokens", &d->tokens, &d->token_count));
    PQ_TRY(
        read_strings(im, "tokenizer.ggml.merges", &d->merges, &d->merge_count));
    PQ_TRY(read_numbers(im, "tokenizer.ggml.scores", PQ_GGUF_F32, &scores,
                        &d->score_count));
    PQ_TRY(read_numbers(im, "tokenizer.ggml.token_type", PQ_GGUF_I32, &types,
                        &d->type_count));
    d->scores = scores;
    d->types = types;
    return PTQC_OK;
}

static ptqc_status
read_special(const pq_gguf *f, pq_tokenizer_desc *d)
{
    PQ_TRY(pq_gguf_get_integer(f, "tokenizer.ggml.bos_token_id", &d->bos));
    PQ_TRY(pq_gguf_get_integer(f, "tokenizer.ggml.eos_token_id", &d->eos));
    PQ_TRY(pq_gguf_get_integer(f, "tokenizer.ggml.eot_token_id", &d->eot));
    PQ_TRY(pq_gguf_get_integer(f, "tokenizer.ggml.unknown_token_id", &d->unk));
    PQ_TRY(pq_gguf_get_integer(f, "tokenizer.ggml.padding_token_id", &d->pad));
    PQ_TRY(read_flag(f, "tokenizer.ggml.add_bos_token", &d->add_bos));
    PQ_TRY(read_flag(f, "tokenizer.ggml.add_eos_token", &d->add_eos));
    return read_flag(f, "tokenizer.ggml.add_space_prefix",
                     &d->add_space_prefix);
}

static ptqc_status
make_tokenizer(void *user, ptqc_ctx *ctx, pq_tokenizer **out)
{
    return pq_tokenizer_from_desc(ctx, user, out);
}

static ptqc_status
read_tokenizer(importer *im)
{
    const pq_gguf *f = &im->file;
    pq_tokenizer_desc d;
    pq_tokenizer_desc_init(&d);
    d.what = f->path;
    PQ_TRY(pq_gguf_get_string(f, "tokenizer.ggml.model", &d.model));
    PQ_TRY(pq_gguf_get_string(f, "tokenizer.ggml.pre", &d.pre));
    PQ_TRY(read_vocabulary(im, &d));
    PQ_TRY(read_special(f, &d));
    if (d.model.n == 0 || pq_str_equal_z(d.model, "none") ||
        pq_str_equal_z(d.model, "no_vocab")) {
        return PTQC_OK;
    }
    return pq_llm_adopt_tokenizer(im->model, make_tokenizer, &d);
}

// ---- the whole ------------------------------------------------------------

static ptqc_status
import(importer *im, const void *bytes, size_t n)
{
    pq_model *model = im->model;
    PQ_TRY(pq_gguf_read(model->ctx, &im->arena, im->file.path, bytes, n,
                        &im->file));
    PQ_TRY(collect_facts(im));
    PQ_TRY(find_architecture(im));
    PQ_TRY(pq_llm_check_types(model, &im->file.tensors));
    PQ_TRY(read_tokenizer(im));
    if (im->known == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(refuse_arrays(im));
    if (model->problem_count != 0) {
        return PTQC_OK;
    }
    PQ_TRY(refuse_experts(im));
    PQ_TRY(read_params(im));
    model->context_length =
        im->params.context > 0 ? (uint64_t)im->params.context : 0;
    if (model->problem_count != 0) {
        return PTQC_OK;
    }
    PQ_TRY(pq_llm_build(model, im->known, &im->params, &im->file.tensors));
    return pq_llm_check_tokenizer(model);
}

ptqc_status
pq_gguf_import(pq_model *model, const char *path, const void *bytes, size_t n,
               const pq_import_options *options)
{
    importer im = {.model = model, .file = {.path = path}};
    PQ_TRY(pq_llm_refuse_dims(model, options));
    pq_arena_init(&im.arena, model->ctx);
    ptqc_status st = import(&im, bytes, n);
    pq_gguf_deinit(&im.file);
    pq_arena_deinit(&im.arena);
    return st;
}
