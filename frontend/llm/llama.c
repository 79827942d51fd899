// SPDX-License-Identifier: Apache-2.0
//
// The graph of Llama (Touvron et al. 2023, section 2.2; grouped queries:
// Ainslie et al. 2023). B sequences, T tokens per call, room for C tokens:
//   tokens, positions i32 [B, T]; states k.<i>, v.<i> f16 [B, KVH, C, D]
//   select i32 [B, S]: the tokens of each sequence whose scores are wanted
//   h = embedding[tokens]; per layer
//     h = h + o(attention(rope(q(x)), k, v)) with x = rms_norm(h)
//     h = h + down(silu(gate(x)) * up(x))    with x = rms_norm(h)
//   logits = output(rms_norm(h[select])) f32 [B, S, V]
// All products are x w^T with w [out][in]; sums with h are the products'
// residual input, silu is the activation of gate.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "frontend/llm/builder.h"

typedef struct linear {
    pq_llm_role role;
    int64_t in, out;
    pq_llm_bias bias;
    pq_value_id residual;
    pq_opcode act; // NONE: none
} linear;

static ptqc_status
find_bias(pq_llm_builder *b, const linear *l, pq_value_id *out)
{
    pq_llm_tensor *t;
    *out = PQ_NO_VALUE;
    if (l->bias == PQ_LLM_BIAS_NONE) {
        return PTQC_OK;
    }
    PQ_TRY(pq_llm_look_up(b, l->role, PQ_LLM_BIAS, &t));
    if (t == NULL && l->bias == PQ_LLM_BIAS_OPTIONAL) {
        return PTQC_OK;
    }
    PQ_TRY(pq_llm_require(b, l->role, PQ_LLM_BIAS, &l->out, 1, &t));
    return pq_llm_vector(b, t, out);
}

// Sums of groups of x [B, N, K]: [B, N, K / group].
static ptqc_status
sum_groups(pq_llm_builder *b, pq_value_id x, int64_t group, pq_value_id *out)
{
    static const int64_t last = 3;
    const pq_type *type = &pq_graph_value(b->g, x)->type;
    pq_dim dims[4] = {b->batch, type->dims[1], {0}, pq_dim_const(b->g, group)};
    pq_builder op;
    if (!pq_value_equal(b->sums_of, x)) { // q, k and v have one x
        dims[2] = pq_dim_make(b->g, PQ_DIM_DIV, type->dims[2], dims[3]);
        b->sums_of = x;
        PQ_TRY(pq_llm_reshape(b, x, dims, 4, &x));
        pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_REDUCE_SUM, (pq_str){0});
        pq_build_input(&op, x);
        pq_build_i64s(&op, PQ_ATTR_AXES, &last, 1);
        pq_build_i64(&op, PQ_ATTR_KEEPDIMS, 0);
        PQ_TRY(pq_build_end(&op, NULL, &b->sums, NULL));
    }
    *out = b->sums;
    return PTQC_OK;
}

// What the minima of t's blocks add to x t^T, plus `residual` (or nothing).
// *out is `residual` when there are no minima.
static ptqc_status
add_minima(pq_llm_builder *b, const pq_llm_tensor *t, pq_value_id x,
           pq_value_id residual, pq_value_id *out)
{
    pq_value_id minima;
    pq_builder op;
    PQ_TRY(pq_llm_minima(b, t, &minima));
    *out = residual;
    if (pq_value_is_none(minima)) {
        return PTQC_OK;
    }
    PQ_TRY(sum_groups(b, x, t->block->elements, &x));
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_MATMUL, (pq_str){0});
    pq_build_input(&op, x);
    pq_build_input(&op, minima);
    pq_build_input(&op, PQ_NO_VALUE); // no bias
    pq_build_input(&op, residual);
    pq_build_i64(&op, PQ_ATTR_TRANS_B, 1);
    return pq_build_end(&op, NULL, out, NULL);
}

// x t^T + bias + residual, then act.
static ptqc_status
product(pq_llm_builder *b, const linear *l, pq_value_id x, pq_llm_tensor *t,
        pq_value_id *out)
{
    pq_value_id w, residual;
    pq_value_id bias;
    pq_str name;
    pq_builder op;
    PQ_TRY(pq_llm_matrix(b, t, &w));
    PQ_TRY(add_minima(b, t, x, l->residual, &residual));
    PQ_TRY(find_bias(b, l, &bias));
    PQ_TRY(pq_llm_own_name(b, l->role, &name));
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_MATMUL, name);
    pq_build_input(&op, x);
    pq_build_input(&op, w);
    pq_build_input(&op, bias);
    pq_build_input(&op, residual);
    pq_build_i64(&op, PQ_ATTR_TRANS_B, 1);
    if (l->act != PQ_OP_NONE) {
        pq_build_i64(&op, PQ_ATTR_ACT, l->act);
    }
    return pq_build_end(&op, &name, out, NULL);
}

static ptqc_status
run_linear(pq_llm_builder *b, const linear *l, pq_value_id x, pq_value_id *out)
{
    const int64_t dims[2] = {l->out, l->in};
    pq_llm_tensor *t;
    PQ_TRY(pq_llm_require(b, l->role, PQ_LLM_WEIGHT, dims, 2, &t));
    return product(b, l, x, t, out);
}

static ptqc_status
run_norm(pq_llm_builder *b, pq_llm_role role, pq_value_id x, pq_value_id *out)
{
    pq_llm_tensor *t;
    pq_value_id w;
    pq_str name;
    pq_builder op;
    PQ_TRY(pq_llm_require(b, role, PQ_LLM_WEIGHT, &b->params->width, 1, &t));
    PQ_TRY(pq_llm_vector(b, t, &w));
    PQ_TRY(pq_llm_own_name(b, role, &name));
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_RMS_NORM, name);
    pq_build_input(&op, x);
    pq_build_input(&op, w);
    pq_build_f32(&op, PQ_ATTR_EPSILON, (float)b->params->epsilon);
    return pq_build_end(&op, &name, out, NULL);
}

// ---- attention ------------------------------------------------------------

static ptqc_status
swap_heads_and_tokens(pq_llm_builder *b, pq_value_id x, pq_value_id *out)
{
    static const int64_t perm[4] = {0, 2, 1, 3};
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_TRANSPOSE, (pq_str){0});
    pq_build_input(&op, x);
    pq_build_i64s(&op, PQ_ATTR_PERM, perm, 4);
    return pq_build_end(&op, NULL, out, NULL);
}

// [B, T, heads * D] -> [B, heads, T, D]
static ptqc_status
split_heads(pq_llm_builder *b, pq_value_id x, int64_t heads, pq_value_id *out)
{
    const pq_dim dims[4] = {b->batch, b->tokens, pq_dim_const(b->g, heads),
                            pq_dim_const(b->g, b->params->head_dim)};
    PQ_TRY(pq_llm_reshape(b, x, dims, 4, &x));
    return swap_heads_and_tokens(b, x, out);
}

static ptqc_status
join_heads(pq_llm_builder *b, pq_value_id x, pq_value_id *out)
{
    const pq_llm_params *p = b->params;
    const pq_dim dims[3] = {b->batch, b->tokens,
                            pq_dim_const(b->g, p->heads * p->head_dim)};
    PQ_TRY(swap_heads_and_tokens(b, x, &x));
    return pq_llm_reshape(b, x, dims, 3, out);
}

// GGUF files of Llama have the rows of q and k interleaved for their rope.
static ptqc_status
turn(pq_llm_builder *b, pq_value_id x, pq_value_id frequencies,
     pq_value_id *out)
{
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_ROPE, (pq_str){0});
    pq_build_input(&op, x);
    pq_build_input(&op, b->positions);
    pq_build_input(&op, frequencies);
    pq_build_i64(&op, PQ_ATTR_MODE,
                 b->params->naming == PQ_LLM_GGUF ? PQ_ROPE_INTERLEAVED
                                                  : PQ_ROPE_HALVES);
    return pq_build_end(&op, NULL, out, NULL);
}

// Writes x [B, KVH, T, D] to the state "k.<layer>" or "v.<layer>".
static ptqc_status
remember(pq_llm_builder *b, const char *which, pq_value_id x, pq_value_id *out)
{
    const pq_llm_params *p = b->params;
    const pq_dim dims[4] = {b->batch, pq_dim_const(b->g, p->kv_heads),
                            b->context, pq_dim_const(b->g, p->head_dim)};
    char name[32];
    pq_type type;
    pq_builder op;
    (void)snprintf(name, sizeof name, "%s.%u", which, b->layer);
    if (!pq_type_make(b->g, PTQC_F16, dims, 4, &type)) {
        return pq_graph_failure(b->g);
    }
    pq_value_id state = pq_graph_add_value(b->g, pq_str_of(name), type);
    if (pq_value_is_none(state)) {
        return pq_graph_failure(b->g);
    }
    PQ_TRY(pq_graph_add_state(b->g, state));
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_KV_UPDATE, (pq_str){0});
    pq_build_input(&op, state);
    pq_build_input(&op, x);
    pq_build_input(&op, b->positions);
    return pq_build_end(&op, NULL, out, NULL);
}

static ptqc_status
attend(pq_llm_builder *b, const pq_value_id qkv[3], pq_value_id *out)
{
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_ATTENTION, (pq_str){0});
    for (int i = 0; i < 3; i++) {
        pq_build_input(&op, qkv[i]);
    }
    pq_build_input(&op, PQ_NO_VALUE); // no mask
    pq_build_input(&op, b->positions);
    pq_build_f32(&op, PQ_ATTR_SCALE,
                 (float)(1.0 / sqrt((double)b->params->head_dim)));
    return pq_build_end(&op, NULL, out, NULL);
}

static ptqc_status
attention_block(pq_llm_builder *b, pq_value_id frequencies, pq_value_id *h)
{
    const pq_llm_params *p = b->params;
    const pq_llm_role roles[3] = {PQ_LLM_Q, PQ_LLM_K, PQ_LLM_V};
    pq_value_id x, qkv[3];
    PQ_TRY(run_norm(b, PQ_LLM_ATTN_NORM, *h, &x));
    for (int i = 0; i < 3; i++) {
        int64_t heads = i == 0 ? p->heads : p->kv_heads;
        const linear l = {.role = roles[i],
                          .in = p->width,
                          .out = heads * p->head_dim,
                          .bias = p->attention_bias};
        PQ_TRY(run_linear(b, &l, x, &qkv[i]));
        PQ_TRY(split_heads(b, qkv[i], heads, &qkv[i]));
    }
    PQ_TRY(turn(b, qkv[0], frequencies, &qkv[0]));
    PQ_TRY(turn(b, qkv[1], frequencies, &qkv[1]));
    PQ_TRY(remember(b, "k", qkv[1], &qkv[1]));
    PQ_TRY(remember(b, "v", qkv[2], &qkv[2]));
    PQ_TRY(attend(b, qkv, &x));
    PQ_TRY(join_heads(b, x, &x));
    const linear o = {.role = PQ_LLM_O,
                      .in = p->heads * p->head_dim,
                      .out = p->width,
                      .bias = p->attention_bias,
                      .residual = *h};
    return run_linear(b, &o, x, h);
}

// ---- the rest -------------------------------------------------------------

static ptqc_status
ffn_block(pq_llm_builder *b, pq_value_id *h)
{
    const pq_llm_params *p = b->params;
    pq_value_id x, gate, up;
    PQ_TRY(run_norm(b, PQ_LLM_FFN_NORM, *h, &x));
    linear l = {.role = PQ_LLM_GATE,
                .in = p->width,
                .out = p->ffn,
                .bias = p->mlp_bias,
                .act = PQ_OP_SILU};
    PQ_TRY(run_linear(b, &l, x, &gate));
    l.role = PQ_LLM_UP;
    l.act = PQ_OP_NONE;
    PQ_TRY(run_linear(b, &l, x, &up));
    PQ_TRY(pq_build_binary(b->g, (pq_op_id){0}, PQ_OP_MUL, gate, up, &x));
    const linear down = {.role = PQ_LLM_DOWN,
                         .in = p->ffn,
                         .out = p->width,
                         .bias = p->mlp_bias,
                         .residual = *h};
    return run_linear(b, &down, x, h);
}

static ptqc_status
add_input(pq_llm_builder *b, pq_str name, pq_dim count, pq_value_id *out)
{
    const pq_dim dims[2] = {b->batch, count};
    pq_type type;
    if (!pq_type_make(b->g, PTQC_I32, dims, 2, &type)) {
        return pq_graph_failure(b->g);
    }
    *out = pq_graph_add_value(b->g, name, type);
    if (pq_value_is_none(*out)) {
        return pq_graph_failure(b->g);
    }
    return pq_graph_add_input(b->g, *out);
}

static ptqc_status
add_inputs(pq_llm_builder *b)
{
    b->batch = pq_dim_symbol(b->g, PQ_STR("B"), 1, INT32_MAX);
    b->tokens = pq_dim_symbol(b->g, PQ_STR("T"), 1, INT32_MAX);
    b->context = pq_dim_symbol(b->g, PQ_STR("C"), 1, b->params->context);
    pq_dim selected = pq_dim_symbol(b->g, PQ_STR("S"), 1, INT32_MAX);
    PQ_TRY(add_input(b, PQ_STR("tokens"), b->tokens, &b->token_ids));
    PQ_TRY(add_input(b, PQ_STR("positions"), b->tokens, &b->positions));
    return add_input(b, PQ_STR("select"), selected, &b->select);
}

// The rows of h [B, T, d] that are wanted: [B, S, d].
static ptqc_status
select_rows(pq_llm_builder *b, pq_value_id *h)
{
    pq_builder op;
    pq_build_begin(&op, b->g, (pq_op_id){0}, PQ_OP_GATHER, PQ_STR("select"));
    pq_build_input(&op, *h);
    pq_build_input(&op, b->select);
    pq_build_i64(&op, PQ_ATTR_AXIS, 1);
    pq_build_i64(&op, PQ_ATTR_BATCH_DIMS, 1);
    return pq_build_end(&op, NULL, h, NULL);
}

// The output matrix; its absence means that it is the embedding.
static ptqc_status
add_logits(pq_llm_builder *b, pq_llm_tensor *embedding, pq_value_id h)
{
    const linear l = {.role = PQ_LLM_OUTPUT};
    pq_llm_tensor *t = NULL;
    pq_value_id logits;
    if (!b->params->is_tied) {
        PQ_TRY(pq_llm_look_up(b, PQ_LLM_OUTPUT, PQ_LLM_WEIGHT, &t));
        if (t != NULL || b->params->naming == PQ_LLM_HUGGING_FACE) {
            PQ_TRY(pq_llm_require(b, PQ_LLM_OUTPUT, PQ_LLM_WEIGHT,
                                  embedding->dims, 2, &t));
        }
    }
    PQ_TRY(select_rows(b, &h));
    PQ_TRY(run_norm(b, PQ_LLM_NORM, h, &h));
    PQ_TRY(product(b, &l, h, t != NULL ? t : embedding, &logits));
    PQ_TRY(pq_graph_add_output(b->g, logits));
    return pq_graph_set_output_name(b->g, 0, PQ_STR("logits"));
}

// The embedding's rows say how large the vocabulary is.
static ptqc_status
find_embedding(pq_llm_builder *b, pq_llm_tensor **out)
{
    int64_t dims[2] = {b->params->vocabulary, b->params->width};
    PQ_TRY(pq_llm_look_up(b, PQ_LLM_EMBEDDING, PQ_LLM_WEIGHT, out));
    if (*out != NULL && dims[0] == 0) {
        dims[0] = (*out)->dims[0];
    }
    return pq_llm_require(b, PQ_LLM_EMBEDDING, PQ_LLM_WEIGHT, dims, 2, out);
}

PQ_LLM_ARCHITECTURE(llama)
{
    pq_llm_builder b = {.ctx = model->ctx,
                        .model = model,
                        .g = model->graph,
                        .params = params,
                        .tensors = tensors};
    pq_llm_tensor *embedding;
    pq_value_id h, frequencies;
    PQ_TRY(add_inputs(&b));
    PQ_TRY(find_embedding(&b, &embedding));
    PQ_TRY(pq_llm_frequencies(&b, &frequencies));
    PQ_TRY(pq_llm_embed(&b, embedding, &h));
    for (b.layer = 0; b.layer < (uint64_t)params->layers; b.layer++) {
        PQ_TRY(pq_check_cancelled(b.ctx));
        PQ_TRY(attention_block(&b, frequencies, &h));
        PQ_TRY(ffn_block(&b, &h));
    }
    PQ_TRY(add_logits(&b, embedding, h));
    pq_llm_tell_unused(&b);
    return PTQC_OK;
}
