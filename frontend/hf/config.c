// SPDX-License-Identifier: Apache-2.0
//
// config.json (transformers: configuration_llama.py, modeling_rope_utils.py)
// to parameters. Absent keys and null mean the defaults of transformers where
// it has safe ones.
#include "frontend/hf/hf.h"

typedef struct config {
    pq_model *model;
    const char *path;
    const pq_json *root;
} config;

static ptqc_status
refuse(const config *c, const char *key, const char *expected)
{
    return PQ_FAIL(c->model->ctx, PTQC_E_INPUT, "%s: expected %s as '%s'",
                   c->path, expected, key);
}

// The member, NULL when absent or null.
static const pq_json *
member(const pq_json *object, const char *key)
{
    const pq_json *v = pq_json_get(object, key);
    return pq_json_is_null(v) ? NULL : v;
}

static ptqc_status
get_i64(const config *c, const char *key, bool is_required, int64_t *out)
{
    const pq_json *v = member(c->root, key);
    if (v == NULL && !is_required) {
        return PTQC_OK;
    }
    return pq_json_i64(v, out) ? PTQC_OK : refuse(c, key, "an integer");
}

static ptqc_status
get_f64(const config *c, const pq_json *object, const char *key, double *out)
{
    const pq_json *v = member(object, key);
    return v == NULL || pq_json_f64(v, out) ? PTQC_OK
                                            : refuse(c, key, "a number");
}

static ptqc_status
get_bool(const config *c, const char *key, bool *out)
{
    const pq_json *v = member(c->root, key);
    return v == NULL || pq_json_bool(v, out) ? PTQC_OK
                                             : refuse(c, key, "a boolean");
}

static ptqc_status
get_str(const config *c, const pq_json *object, const char *key, pq_str *out)
{
    const pq_json *v = member(object, key);
    return v == NULL || pq_json_str(v, out) ? PTQC_OK
                                            : refuse(c, key, "a string");
}

// "<before> '<text>' <after>"; the place is the key.
static ptqc_status
add_problem(const config *c, const char *key, const char *before, pq_str text,
            const char *after)
{
    pq_strbuf reason;
    const pq_str place = pq_str_of(key);
    pq_strbuf_init(&reason, c->model->ctx);
    pq_strbuf_addf(&reason, "%s '%.*s' %s", before, PQ_STR_ARG(text), after);
    ptqc_status st = PTQC_E_RESOURCE;
    if (!reason.failed) {
        st = pq_llm_problem(c->model, (pq_str){reason.p, reason.n}, &place, 1);
    }
    pq_strbuf_deinit(&reason);
    return st;
}

// ---- rotary positions -----------------------------------------------------

static ptqc_status
read_llama3(const config *c, const pq_json *o, pq_llm_rope *rope)
{
    rope->scaling = PQ_LLM_SCALING_LLAMA3;
    PQ_TRY(get_f64(c, o, "low_freq_factor", &rope->low_freq_factor));
    PQ_TRY(get_f64(c, o, "high_freq_factor", &rope->high_freq_factor));
    return get_f64(c, o, "original_max_position_embeddings",
                   &rope->original_context);
}

static ptqc_status
read_scaling(const config *c, const pq_json *o, pq_llm_rope *rope)
{
    pq_str type = PQ_STR("default");
    if (o == NULL) {
        return PTQC_OK;
    }
    if (!pq_json_is_object(o)) {
        return refuse(c, "rope_scaling", "an object");
    }
    PQ_TRY(get_str(c, o, "type", &type)); // the older name
    PQ_TRY(get_str(c, o, "rope_type", &type));
    PQ_TRY(get_f64(c, o, "factor", &rope->factor));
    PQ_TRY(get_f64(c, o, "rope_theta", &rope->base));
    if (pq_str_equal_z(type, "default")) {
        return PTQC_OK;
    }
    if (pq_str_equal_z(type, "linear")) {
        rope->scaling = PQ_LLM_SCALING_LINEAR;
        return PTQC_OK;
    }
    if (pq_str_equal_z(type, "llama3")) {
        return read_llama3(c, o, rope);
    }
    return add_problem(c, "rope_scaling", "rotary scaling of type", type,
                       "is not supported (default, linear, llama3)");
}

static ptqc_status
read_rope(const config *c, pq_llm_params *p)
{
    const pq_json *scaling = member(c->root, "rope_scaling");
    const pq_json *parameters = member(c->root, "rope_parameters");
    p->rope.base = 10000.0;
    p->rope.dims = p->head_dim;
    PQ_TRY(get_f64(c, c->root, "rope_theta", &p->rope.base));
    return read_scaling(c, scaling != NULL ? scaling : parameters, &p->rope);
}

// ---- sizes ----------------------------------------------------------------

static ptqc_status
read_sizes(const config *c, pq_llm_params *p)
{
    PQ_TRY(get_i64(c, "hidden_size", true, &p->width));
    PQ_TRY(get_i64(c, "intermediate_size", true, &p->ffn));
    PQ_TRY(get_i64(c, "num_hidden_layers", true, &p->layers));
    PQ_TRY(get_i64(c, "num_attention_heads", true, &p->heads));
    p->kv_heads = p->heads;
    PQ_TRY(get_i64(c, "num_key_value_heads", false, &p->kv_heads));
    p->head_dim =
        p->heads > 0 && p->width % p->heads == 0 ? p->width / p->heads : 0;
    PQ_TRY(get_i64(c, "head_dim", false, &p->head_dim));
    PQ_TRY(get_i64(c, "vocab_size", true, &p->vocabulary));
    PQ_TRY(get_i64(c, "max_position_embeddings", true, &p->context));
    p->epsilon = 1e-6;
    return get_f64(c, c->root, "rms_norm_eps", &p->epsilon);
}

static ptqc_status
read_flags(const config *c, pq_llm_params *p)
{
    bool attention_bias = false, mlp_bias = false;
    PQ_TRY(get_bool(c, "attention_bias", &attention_bias));
    PQ_TRY(get_bool(c, "mlp_bias", &mlp_bias));
    PQ_TRY(get_bool(c, "tie_word_embeddings", &p->is_tied));
    p->attention_bias =
        attention_bias ? PQ_LLM_BIAS_REQUIRED : PQ_LLM_BIAS_NONE;
    p->mlp_bias = mlp_bias ? PQ_LLM_BIAS_REQUIRED : PQ_LLM_BIAS_NONE;
    return PTQC_OK;
}

static ptqc_status
refuse_variants(const config *c)
{
    pq_str act = PQ_STR("silu"), method = PQ_STR("unknown");
    const pq_json *quant = member(c->root, "quantization_config");
    PQ_TRY(get_str(c, c->root, "hidden_act", &act));
    if (!pq_str_equal_z(act, "silu")) {
        PQ_TRY(add_problem(c, "hidden_act", "the activation", act,
                           "is not supported (silu)"));
    }
    if (quant == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(get_str(c, quant, "quant_method", &method));
    return add_problem(c, "quantization_config", "weights quantized by", method,
                       "are not supported");
}

// ---- the whole ------------------------------------------------------------

static ptqc_status
find_architecture(const config *c, const pq_llm_architecture **out)
{
    pq_str type = {0}, names;
    PQ_TRY(get_str(c, c->root, "model_type", &type));
    if (type.n == 0) {
        return refuse(c, "model_type", "the name of an architecture");
    }
    char *copy = pq_arena_strndup(&c->model->arena, type.p, type.n);
    PQ_TRY_ALLOC(copy);
    c->model->architecture = (pq_str){copy, type.n};
    *out = pq_llm_architecture_find(PQ_LLM_HUGGING_FACE, type);
    if (*out != NULL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_llm_architecture_names(c->model, PQ_LLM_HUGGING_FACE, &names));
    pq_strbuf after;
    pq_strbuf_init(&after, c->model->ctx);
    pq_strbuf_addf(&after, "is not supported (%.*s)", PQ_STR_ARG(names));
    ptqc_status st =
        after.failed
            ? PTQC_E_RESOURCE
            : add_problem(c, "model_type", "the architecture", type, after.p);
    pq_strbuf_deinit(&after);
    return st;
}

static ptqc_status
read_root(const config *c, const pq_llm_architecture **out_known,
          pq_llm_params *p)
{
    if (!pq_json_is_object(c->root)) {
        return PQ_FAIL(c->model->ctx, PTQC_E_INPUT, "%s: expected an object",
                       c->path);
    }
    PQ_TRY(find_architecture(c, out_known));
    if (*out_known == NULL) {
        return PTQC_OK;
    }
    PQ_TRY(read_sizes(c, p));
    PQ_TRY(read_rope(c, p));
    PQ_TRY(read_flags(c, p));
    c->model->context_length = p->context > 0 ? (uint64_t)p->context : 0;
    return refuse_variants(c);
}

ptqc_status
pq_hf_read_config(pq_model *model, const char *path, pq_str text,
                  const pq_llm_architecture **out_known,
                  pq_llm_params *out_params)
{
    pq_json *root;
    *out_known = NULL;
    *out_params = (pq_llm_params){.naming = PQ_LLM_HUGGING_FACE};
    PQ_TRY(pq_json_parse(model->ctx, path, text, &root));
    const config c = {.model = model, .path = path, .root = root};
    ptqc_status st = read_root(&c, out_known, out_params);
    pq_json_free(root);
    return st;
}
