// SPDX-License-Identifier: Apache-2.0
//
// From a GGUF file to a graph: keys, types of tensors, tied and own output
// matrices, biases, scalings, truncation at every byte, failing allocations.
#include <stdio.h>
#include <stdlib.h>

#include "frontend/import.h"
#include "ir/verify.h"
#include "tests/support/context.h"
#include "tests/unit/frontend/gguf/gguf_file.h"

static gguf_file file;
static pq_test_sink sink;

typedef struct shape {
    uint32_t type; // of the matrices
    bool has_output, has_bias;
    const char *extra_key, *extra_text;
    uint32_t extra_number; // when there is no text
    uint32_t divisors;     // rope_freqs, elements; 0: none
} shape;

static ptqc_status
import(ptqc_ctx *ctx, pq_model **out)
{
    const pq_import_options options = {.no_hash = true};
    pq_test_sink_clear(&sink);
    return pq_import_check_bytes(ctx, "t.gguf", file.p, file.n, &options, out);
}

// Width 32, four heads of 8 over two, three tokens.
static void
make_model(const shape *s)
{
    gguf_begin(&file);
    gguf_pair_string(&file, "general.architecture", "llama");
    gguf_pair_u32(&file, "llama.context_length", 16);
    gguf_pair_u32(&file, "llama.embedding_length", 32);
    gguf_pair_u32(&file, "llama.block_count", 1);
    gguf_pair_u32(&file, "llama.feed_forward_length", 32);
    gguf_pair_u32(&file, "llama.attention.head_count", 4);
    gguf_pair_u32(&file, "llama.attention.head_count_kv", 2);
    gguf_pair_f32(&file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    if (s->extra_text != NULL) {
        gguf_pair_string(&file, s->extra_key, s->extra_text);
    } else if (s->extra_key != NULL) {
        gguf_pair_u32(&file, s->extra_key, s->extra_number);
    }
    gguf_tensor(&file, "token_embd.weight", s->type, 32, 3);
    gguf_tensor(&file, "output_norm.weight", 0, 32, 0);
    if (s->has_output) {
        gguf_tensor(&file, "output.weight", s->type, 32, 3);
    }
    if (s->divisors != 0) {
        gguf_tensor(&file, "rope_freqs.weight", 0, s->divisors, 0);
    }
    gguf_tensor(&file, "blk.0.attn_norm.weight", 0, 32, 0);
    gguf_tensor(&file, "blk.0.attn_q.weight", s->type, 32, 32);
    if (s->has_bias) {
        gguf_tensor(&file, "blk.0.attn_q.bias", 0, 32, 0);
    }
    gguf_tensor(&file, "blk.0.attn_k.weight", s->type, 32, 16);
    gguf_tensor(&file, "blk.0.attn_v.weight", s->type, 32, 16);
    gguf_tensor(&file, "blk.0.attn_output.weight", s->type, 32, 32);
    gguf_tensor(&file, "blk.0.ffn_norm.weight", 0, 32, 0);
    gguf_tensor(&file, "blk.0.ffn_gate.weight", s->type, 32, 32);
    gguf_tensor(&file, "blk.0.ffn_up.weight", s->type, 32, 32);
    gguf_tensor(&file, "blk.0.ffn_down.weight", s->type, 32, 32);
    gguf_end(&file);
}

static pq_model *
expect_model(ptqc_ctx *ctx)
{
    pq_model *m = NULL;
    assert_int_equal(import(ctx, &m), PTQC_OK);
    assert_int_equal(m->problem_count, 0);
    assert_non_null(m->graph);
    assert_int_equal(pq_graph_verify(m->graph), PTQC_OK);
    assert_int_equal(sink.error_count, 0);
    return m;
}

static const pq_op *
op_named(const pq_graph *g, const char *name)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (pq_str_equal_z(op->name, name)) {
            return op;
        }
    }
    return NULL;
}

static void
types(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        ptqc_dtype dtype; // of the weights
        bool has_codes;
    } cases[] = {{0, PTQC_F32, false}, {1, PTQC_F16, false},
                 {2, PTQC_U4, true},   {3, PTQC_U4, true},
                 {8, PTQC_I8, true},   {30, PTQC_BF16, false}};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_model(&(shape){.type = cases[i].type});
        pq_model *m = expect_model(ctx);
        const pq_graph *g = m->graph;
        pq_value_id w = pq_graph_find_value(g, PQ_STR("blk.0.attn_q.weight"));
        const pq_value *value = pq_graph_value(g, w);
        assert_int_equal(value->type.dtype, cases[i].dtype);
        assert_int_equal(!pq_quant_is_none(value->quant), cases[i].has_codes);
        assert_int_equal(m->tensor_count, 11);
        assert_int_equal(m->parameter_count, 3 * 32 + 3 * 32 + 6 * 1024);
        assert_int_equal(pq_graph_input_count(g), 3);
        assert_int_equal(pq_graph_state_count(g), 2);
        assert_true(pq_str_equal_z(pq_graph_output_name(g, 0), "logits"));
        assert_true(pq_str_equal_z(m->outputs[0].dims[2], "3"));
        assert_true(pq_str_equal_z(m->inputs[0].dims[1], "T"));
        assert_true(pq_str_equal_z(m->inputs[2].dims[1], "S"));
        pq_model_destroy(m);
    }
    ptqc_ctx_destroy(ctx);
}

static void
output_and_bias(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    make_model(&(shape){.has_output = true, .has_bias = true});
    pq_model *m = expect_model(ctx);
    const pq_op *output = op_named(m->graph, "output");
    const pq_op *q = op_named(m->graph, "layers.0.q");
    const pq_op *k = op_named(m->graph, "layers.0.k");
    assert_int_equal(
        output->inputs[1].index,
        pq_graph_find_value(m->graph, PQ_STR("output.weight")).index);
    assert_int_equal(
        pq_op_input(q, 2).index,
        pq_graph_find_value(m->graph, PQ_STR("blk.0.attn_q.bias")).index);
    assert_true(pq_value_is_none(pq_op_input(k, 2)));
    assert_int_equal(sink.warning_count, 0);
    pq_model_destroy(m);
    make_model(&(shape){0});
    m = expect_model(ctx);
    output = op_named(m->graph, "output");
    assert_int_equal(
        output->inputs[1].index,
        pq_graph_find_value(m->graph, PQ_STR("token_embd.weight")).index);
    pq_model_destroy(m);
    ptqc_ctx_destroy(ctx);
}

static float
frequency(const pq_graph *g, size_t i)
{
    pq_value_id v = pq_graph_find_value(g, PQ_STR("rope.frequencies"));
    const pq_constant *c = pq_graph_constant(g, pq_graph_value(g, v)->constant);
    assert_int_equal(c->bytes, 4 * sizeof(float));
    return pq_load_f32((const uint8_t *)c->p + 4 * i);
}

static void
keys(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text;
        uint32_t number;
        ptqc_status status;
        const char *says; // an error or a problem; NULL: a model
    } cases[] = {
        {"llama.rope.scaling.type", "none", 0, PTQC_OK, NULL},
        {"llama.rope.scaling.type", "yarn", 0, PTQC_OK, "'yarn'"},
        {"llama.rope.scaling.type", NULL, 1, PTQC_E_INPUT, "a string"},
        {"llama.expert_count", NULL, 8, PTQC_OK, "experts"},
        {"llama.expert_count", NULL, 0, PTQC_OK, NULL},
        {"llama.attention.value_length", NULL, 4, PTQC_OK, "different"},
        {"llama.rope.dimension_count", NULL, 7, PTQC_E_INPUT, "even number"},
        {"llama.rope.dimension_count", NULL, 10, PTQC_E_INPUT, "even number"},
        {"llama.vocab_size", NULL, 4, PTQC_E_INPUT, "[4, 32], found [3, 32]"},
        {"llama.rope.freq_base", "10000", 0, PTQC_E_INPUT, "a real number"},
        {"general.alignment", NULL, 3, PTQC_E_INPUT, "power of two"},
    };
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pq_model *m = NULL;
        make_model(&(shape){.extra_key = cases[i].key,
                            .extra_text = cases[i].text,
                            .extra_number = cases[i].number});
        ptqc_status st = import(ctx, &m);
        assert_int_equal(st, cases[i].status);
        if (st != PTQC_OK) {
            assert_int_equal(sink.error_count, 1);
            assert_non_null(strstr(sink.text, cases[i].says));
        } else if (cases[i].says != NULL) {
            assert_int_equal(m->problem_count, 1);
            assert_null(m->graph);
            assert_non_null(strstr(m->problems[0].reason.p, cases[i].says));
        } else {
            assert_non_null(m->graph);
            assert_true(frequency(m->graph, 0) == 1.0f);
            assert_true(frequency(m->graph, 2) == 0.01f);
        }
        pq_model_destroy(m);
    }
    ptqc_ctx_destroy(ctx);
}

// The first bytes of a tensor of the file.
static uint8_t *
tensor_bytes(ptqc_ctx *ctx, const char *name)
{
    pq_gguf f;
    pq_arena arena;
    pq_arena_init(&arena, ctx);
    assert_int_equal(pq_gguf_read(ctx, &arena, "t", file.p, file.n, &f),
                     PTQC_OK);
    const pq_llm_tensor *t = pq_llm_tensor_find(&f.tensors, pq_str_of(name));
    assert_non_null(t);
    uint8_t *p = file.p + (t->p - file.p);
    pq_gguf_deinit(&f);
    pq_arena_deinit(&arena);
    return p;
}

static void
divisors(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *m;
    make_model(&(shape){.divisors = 4});
    assert_int_equal(import(ctx, &m), PTQC_E_INPUT); // zeros
    assert_non_null(strstr(sink.text, "above 0, found 0"));
    uint8_t *p = tensor_bytes(ctx, "rope_freqs.weight");
    for (int i = 0; i < 4; i++) {
        pq_store_f32(p + 4 * i, i < 2 ? 1.0f : 8.0f);
    }
    m = expect_model(ctx);
    assert_true(frequency(m->graph, 0) == 1.0f);
    assert_true(frequency(m->graph, 2) == 0.00125f);
    assert_int_equal(sink.warning_count, 0);
    pq_model_destroy(m);
    make_model(&(shape){.divisors = 3});
    assert_int_equal(import(ctx, &m), PTQC_E_INPUT);
    assert_non_null(strstr(sink.text, "expected f32 [4]"));
    ptqc_ctx_destroy(ctx);
}

// Scales, minima and elements that are not finite are counted.
static void
non_finite(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        size_t at;
        uint64_t count;
    } cases[] = {{1, 2, 1}, {30, 0, 1}, {2, 18, 1}, {3, 2, 1}, {8, 0, 1}};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        make_model(&(shape){.type = cases[i].type});
        uint8_t *p = tensor_bytes(ctx, "blk.0.ffn_up.weight");
        pq_store_le16(p + cases[i].at, 0x7f80); // NaN in f16, inf in bf16
        pq_model *m = expect_model(ctx);
        assert_int_equal(m->non_finite_count, cases[i].count);
        assert_int_equal(sink.warning_count, 1);
        pq_model_destroy(m);
    }
    ptqc_ctx_destroy(ctx);
}

static void
types_not_supported(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *m;
    make_model(&(shape){.type = 6});
    assert_int_equal(import(ctx, &m), PTQC_OK);
    assert_null(m->graph);
    assert_int_equal(m->problem_count, 1);
    assert_int_equal(m->problems[0].node_count, 8);
    assert_non_null(strstr(m->problems[0].reason.p, "Q5_0"));
    pq_model_destroy(m);
    ptqc_ctx_destroy(ctx);
}

// Cut anywhere, a file is refused with one line.
static void
truncation(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    make_model(&(shape){.type = 8});
    size_t whole = file.n;
    for (file.n = 0; file.n < whole; file.n += file.n < 1600 ? 1 : 97) {
        pq_model *m = NULL;
        uint8_t *copy = malloc(file.n + 1);
        assert_non_null(copy);
        memcpy(copy, file.p, file.n);
        pq_test_sink_clear(&sink);
        ptqc_status st =
            pq_import_check_bytes(ctx, "t.gguf", copy, file.n,
                                  &(pq_import_options){.no_hash = true}, &m);
        assert_int_equal(st, PTQC_E_INPUT);
        assert_int_equal(sink.error_count, 1);
        assert_null(m);
        free(copy);
    }
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
import_body(ptqc_ctx *ctx, void *user)
{
    pq_model *m = NULL;
    (void)user;
    ptqc_status st =
        pq_import_check_bytes(ctx, "t.gguf", file.p, file.n,
                              &(pq_import_options){.no_hash = true}, &m);
    pq_model_destroy(m);
    return st;
}

static void
allocations(void **state)
{
    (void)state;
    for (uint32_t type = 2; type <= 8; type += 6) {
        make_model(&(shape){.type = type, .has_bias = true});
        assert_true(pq_test_alloc_sweep(import_body, NULL) > 20);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),      cmocka_unit_test(output_and_bias),
        cmocka_unit_test(keys),       cmocka_unit_test(divisors),
        cmocka_unit_test(non_finite), cmocka_unit_test(types_not_supported),
        cmocka_unit_test(truncation), cmocka_unit_test(allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
