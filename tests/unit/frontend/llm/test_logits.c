// SPDX-License-Identifier: Apache-2.0
//
// Real models against reference logits: every file form of one small Llama,
// and a larger one. Skipped where the data is absent.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "frontend/import.h"
#include "ir/interp/interp.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/compare.h"
#include "tests/support/context.h"
#include "tests/support/data.h"

enum {
    TOKENS_MAX = 64,
};

typedef struct prompt {
    int32_t ids[TOKENS_MAX];
    uint32_t count;
} prompt;

typedef struct output {
    float *p; // [count]
    size_t count;
} output;

static ptqc_status
keep_output(void *user, pq_value_id value, const pq_tensor *t)
{
    output *out = user;
    (void)value;
    assert_int_equal(t->dtype, PTQC_F32);
    assert_int_equal(t->bytes, out->count * sizeof(float));
    memcpy(out->p, t->p, t->bytes);
    return PTQC_OK;
}

// The logits of the tokens `select`, [count][vocabulary].
static void
run_selected(pq_graph *g, const prompt *x, int32_t *select, uint32_t count,
             output *out)
{
    int32_t positions[TOKENS_MAX];
    for (uint32_t i = 0; i < x->count; i++) {
        positions[i] = (int32_t)i;
    }
    pq_runner *r;
    assert_int_equal(pq_interp_make(pq_graph_ctx(g), g, NULL, 0, &r), PTQC_OK);
    assert_int_equal(pq_interp_set_symbol(r, PQ_STR("C"), x->count), PTQC_OK);
    pq_tensor in[3] = {{.dtype = PTQC_I32,
                        .rank = 2,
                        .dims = {1, x->count},
                        .bytes = x->count * sizeof(int32_t)}};
    in[1] = in[0];
    in[0].p = (void *)(uintptr_t)x->ids;
    in[1].p = positions;
    in[2] = (pq_tensor){PTQC_I32, 2, {1, count}, select, count * 4u};
    assert_int_equal(r->run(r, in, keep_output, out), PTQC_OK);
    r->destroy(r);
}

// The logits of all tokens.
static void
run(pq_graph *g, const prompt *x, output *out)
{
    int32_t all[TOKENS_MAX];
    for (uint32_t i = 0; i < x->count; i++) {
        all[i] = (int32_t)i;
    }
    run_selected(g, x, all, x->count, out);
}

// Rows that are selected, in any order and twice, are those of all.
static void
check_selection(pq_graph *g, const prompt *x, const output *all)
{
    float rows[3 * 512];
    output out = {rows, 3 * 512};
    int32_t select[3] = {(int32_t)x->count - 1, 0, 0};
    run_selected(g, x, select, 3, &out);
    for (size_t i = 0; i < 3; i++) {
        assert_true(pq_test_same_bytes("selected row", rows + i * 512,
                                       all->p + select[i] * 512,
                                       512 * sizeof(float)));
    }
}

static size_t
read_file(ptqc_ctx *ctx, const char *path, pq_map *out)
{
    assert_int_equal(pq_map_open(ctx, path, out), PTQC_OK);
    return out->n;
}

static void
read_prompt(ptqc_ctx *ctx, const char *path, prompt *out)
{
    pq_map map;
    pq_json *root;
    size_t n = read_file(ctx, path, &map);
    assert_int_equal(
        pq_json_parse(ctx, path, (pq_str){(const char *)map.p, n}, &root),
        PTQC_OK);
    const pq_json *ids = pq_json_get(root, "prompt_ids");
    out->count = (uint32_t)pq_json_array_count(ids);
    assert_in_range(out->count, 1, TOKENS_MAX);
    for (uint32_t i = 0; i < out->count; i++) {
        int64_t id;
        assert_true(pq_json_i64(pq_json_at(ids, i), &id));
        out->ids[i] = (int32_t)id;
    }
    pq_json_free(root);
    pq_map_close(&map);
}

typedef struct form {
    const char *file;
    double error; // largest relative error of the logits
    const char *types;
    bool has_codes;
} form;

static const form forms[] = {
    {"stories260K-f32.gguf", 1e-3, "F32", false},
    {"hf", 1e-3, "F32", false},
    {"hf-bf16-sharded", 1e-2, "BF16", false},
    {"stories260K-f16.gguf", 2e-3, "F16", false},
    {"stories260K-q8_0.gguf", 3e-2, "Q8_0", true},
    {"stories260K-q4_0.gguf", 1.5e-1, "Q4_0", true},
    {"stories260K-outlier-dev-f32.gguf", 1e-3, "F32", false},
    {"hf-outlier-dev", 1e-3, "F32", false},
};

// Keys and values in f32 instead of f16.
static void
widen_states(pq_graph *g)
{
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        if (op->code == PQ_OP_KV_UPDATE) {
            pq_graph_value(g, op->inputs[0])->type.dtype = PTQC_F32;
            pq_graph_value(g, op->outputs[0])->type.dtype = PTQC_F32;
        }
    }
    assert_int_equal(pq_graph_verify(g), PTQC_OK);
}

static bool
has_codes(const pq_graph *g)
{
    bool found = false;
    for (uint32_t i = 1; i < pq_graph_value_count(g); i++) {
        const pq_value *v = pq_graph_value(g, (pq_value_id){i});
        found = found || !pq_quant_is_none(v->quant);
    }
    return found;
}

static void
check_form(ptqc_ctx *ctx, const form *f, const prompt *x, const float *want)
{
    char path[PQ_TEST_PATH_BYTES], relative[128];
    output out = {.count = x->count * 512u};
    pq_model *m;
    (void)snprintf(relative, sizeof relative, "llm/stories260k/%s", f->file);
    assert_int_equal(
        pq_import_model(ctx, pq_test_data_need(relative, path), NULL, &m),
        PTQC_OK);
    assert_int_equal(pq_graph_verify(m->graph), PTQC_OK);
    assert_true(pq_str_equal_z(m->architecture, "llama"));
    assert_int_equal(m->context_length, 512);
    assert_int_equal(m->tensor_count, 47);
    assert_true(pq_str_equal_z(m->tensor_types[0].name, f->types));
    assert_int_equal(has_codes(m->graph), f->has_codes);
    assert_non_null(m->tokenizer);
    assert_int_equal(pq_tokenizer_count(m->tokenizer), 512);
    out.p = malloc(out.count * sizeof *out.p);
    assert_non_null(out.p);
    run(m->graph, x, &out);
    double error = pq_test_relative_error_f32(out.p, want, out.count);
    print_message("%s: relative error %.3g\n", f->file, error);
    assert_true(error <= f->error);
    check_selection(m->graph, x, &out);
    if (strcmp(f->types, "F32") == 0) {
        widen_states(m->graph);
        run(m->graph, x, &out);
        error = pq_test_relative_error_f32(out.p, want, out.count);
        print_message("  with f32 states %.3g\n", error);
        assert_true(error <= 1e-5);
    }
    free(out.p);
    pq_model_destroy(m);
}

static void
all_forms(void **state)
{
    (void)state;
    char reference[PQ_TEST_PATH_BYTES], scores[PQ_TEST_PATH_BYTES];
    static pq_test_sink sink;
    (void)pq_test_data_need("llm/stories260k/reference.json", reference);
    (void)pq_test_data_need("llm/stories260k/ref_prompt_logits.f32", scores);
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    prompt x;
    pq_map logits;
    read_prompt(ctx, reference, &x);
    size_t n = read_file(ctx, scores, &logits);
    assert_int_equal(n, x.count * 512u * sizeof(float));
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        check_form(ctx, &forms[i], &x, (const float *)(const void *)logits.p);
    }
    pq_map_close(&logits);
    ptqc_ctx_destroy(ctx);
}

// SmolLM2-135M: the reference has the logits of the last two tokens, computed
// from the Q4_1 file's weights in f32.
static void
check_smollm2(ptqc_ctx *ctx, const char *file, const float *want)
{
    enum {
        VOCABULARY = 49152,
    };
    static const prompt x = {{504, 3575, 282, 4649, 314}, 5};
    char path[PQ_TEST_PATH_BYTES];
    output out = {.count = 5 * VOCABULARY};
    pq_model *m;
    assert_int_equal(
        pq_import_model(ctx, pq_test_model_need(file, path), NULL, &m),
        PTQC_OK);
    assert_int_equal(pq_graph_verify(m->graph), PTQC_OK);
    assert_int_equal(pq_tokenizer_count(m->tokenizer), VOCABULARY);
    out.p = malloc(out.count * sizeof *out.p);
    assert_non_null(out.p);
    run(m->graph, &x, &out);
    double error = pq_test_relative_error_f32(out.p + 3 * VOCABULARY, want,
                                              2 * VOCABULARY);
    print_message("%s: relative error %.3g\n", file, error);
    assert_true(error <= 3e-3);
    free(out.p);
    pq_model_destroy(m);
}

static void
smollm2(void **state)
{
    (void)state;
    // what is absent skips the test before anything is made
    char path[PQ_TEST_PATH_BYTES];
    enum {
        HEADER = 128, // bytes of the .npy
    };
    static pq_test_sink sink;
    pq_map map;
    (void)pq_test_model_need("smollm2/hf", path);
    (void)pq_test_model_need("smollm2/smollm2-135m-instruct-q4_1.gguf", path);
    (void)pq_test_data_need("pypi/smollm2_logits_plain_f32.npy", path);
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 0);
    size_t n = read_file(ctx, path, &map);
    assert_int_equal(n, HEADER + 2 * 49152 * sizeof(float));
    const float *want = (const float *)(const void *)(map.p + HEADER);
    check_smollm2(ctx, "smollm2/hf", want);
    check_smollm2(ctx, "smollm2/smollm2-135m-instruct-q4_1.gguf", want);
    pq_map_close(&map);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms),
        cmocka_unit_test(smollm2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
