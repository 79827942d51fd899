// SPDX-License-Identifier: Apache-2.0
//
// Model folders: one file and shards, names of shards, keys of config.json,
// the header of safetensors, tied and own output matrices.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "frontend/import.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"

static pq_test_sink sink;

// ---- files ----------------------------------------------------------------

typedef struct tensors {
    char header[16384];
    size_t header_bytes, data_bytes;
} tensors;

static void
begin(tensors *t)
{
    *t = (tensors){.header = "{", .header_bytes = 1};
}

static void
add(tensors *t, const char *name, int rows, int columns)
{
    size_t bytes = (size_t)(rows * (columns == 0 ? 1 : columns)) * 2;
    char shape[64];
    (void)snprintf(shape, sizeof shape, "%d,%d", rows, columns);
    if (columns == 0) {
        (void)snprintf(shape, sizeof shape, "%d", rows);
    }
    t->header_bytes += (size_t)snprintf(
        t->header + t->header_bytes, sizeof t->header - t->header_bytes,
        "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]"
        "}",
        t->header_bytes == 1 ? "" : ",", name, shape, t->data_bytes,
        t->data_bytes + bytes);
    t->data_bytes += bytes;
}

static void
write_tensors(const pq_test_folder *folder, const char *name, tensors *t)
{
    char path[PQ_TEST_PATH_BYTES];
    t->header[t->header_bytes++] = '}';
    size_t n = 8 + t->header_bytes + t->data_bytes;
    uint8_t *p = calloc(1, n);
    assert_non_null(p);
    pq_store_le64(p, t->header_bytes);
    memcpy(p + 8, t->header, t->header_bytes);
    pq_test_file_write(pq_test_folder_path(folder, name, path), p, n);
    free(p);
}

static void
write_text(const pq_test_folder *folder, const char *name, const char *text)
{
    char path[PQ_TEST_PATH_BYTES];
    pq_test_file_write(pq_test_folder_path(folder, name, path), text,
                       strlen(text));
}

static void
add_first_half(tensors *t)
{
    add(t, "model.embed_tokens.weight", 3, 8);
    add(t, "model.norm.weight", 8, 0);
    add(t, "model.layers.0.input_layernorm.weight", 8, 0);
    add(t, "model.layers.0.self_attn.q_proj.weight", 8, 8);
    add(t, "model.layers.0.self_attn.k_proj.weight", 4, 8);
}

static void
add_second_half(tensors *t)
{
    add(t, "model.layers.0.self_attn.v_proj.weight", 4, 8);
    add(t, "model.layers.0.self_attn.o_proj.weight", 8, 8);
    add(t, "model.layers.0.post_attention_layernorm.weight", 8, 0);
    add(t, "model.layers.0.mlp.gate_proj.weight", 5, 8);
    add(t, "model.layers.0.mlp.up_proj.weight", 5, 8);
    add(t, "model.layers.0.mlp.down_proj.weight", 8, 5);
}

// `more`: further members; later ones would be refused as duplicates.
static void
write_config(const pq_test_folder *folder, const char *more)
{
    char text[2048];
    (void)snprintf(text, sizeof text,
                   "{\"model_type\":\"llama\",\"hidden_size\":8,"
                   "\"intermediate_size\":5,\"num_hidden_layers\":1,"
                   "\"num_attention_heads\":2,\"num_key_value_heads\":1,"
                   "\"vocab_size\":3,\"max_position_embeddings\":16%s}",
                   more);
    write_text(folder, "config.json", text);
}

static void
make_folder(pq_test_folder *folder, const char *more)
{
    tensors t;
    pq_test_folder_create(folder);
    write_config(folder, more);
    begin(&t);
    add_first_half(&t);
    add_second_half(&t);
    write_tensors(folder, "model.safetensors", &t);
}

static ptqc_status
import(ptqc_ctx *ctx, const pq_test_folder *folder, pq_model **out)
{
    pq_test_sink_clear(&sink);
    *out = NULL;
    return pq_import_check(ctx, folder->path, NULL, out);
}

static pq_model *
expect_model(ptqc_ctx *ctx, const pq_test_folder *folder)
{
    pq_model *m;
    assert_int_equal(import(ctx, folder, &m), PTQC_OK);
    assert_int_equal(m->problem_count, 0);
    assert_int_equal(sink.error_count, 0);
    assert_int_equal(pq_graph_verify(m->graph), PTQC_OK);
    return m;
}

static void
expect_refused(ptqc_ctx *ctx, const pq_test_folder *folder, const char *says)
{
    pq_model *m;
    assert_int_equal(import(ctx, folder, &m), PTQC_E_INPUT);
    assert_null(m);
    assert_int_equal(sink.error_count, 1);
    if (strstr(sink.text, says) == NULL) {
        print_message("expected '%s' in %s", says, sink.text);
    }
    assert_non_null(strstr(sink.text, says));
}

// ---- config.json ----------------------------------------------------------

#define TIED ",\"tie_word_embeddings\":true"

static void
configs(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        ptqc_status status;
        const char *says; // an error or a problem; NULL: a model
    } cases[] = {
        {TIED, PTQC_OK, NULL},
        {TIED ",\"rope_scaling\":null,\"head_dim\":null", PTQC_OK, NULL},
        {TIED ",\"rope_parameters\":{\"rope_type\":\"default\","
              "\"rope_theta\":5}",
         PTQC_OK, NULL},
        {TIED ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}", PTQC_OK,
         NULL},
        {TIED ",\"rope_scaling\":{\"type\":\"linear\"}", PTQC_E_INPUT,
         "factor above 0"},
        {TIED ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
              "\"low_freq_factor\":4,\"high_freq_factor\":1,"
              "\"original_max_position_embeddings\":8}",
         PTQC_E_INPUT, "the high one above"},
        {TIED ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":8}",
         PTQC_OK, "'yarn'"},
        {TIED ",\"rope_scaling\":3", PTQC_E_INPUT, "rope_scaling"},
        {TIED ",\"hidden_act\":\"gelu\"", PTQC_OK, "'gelu'"},
        {TIED ",\"quantization_config\":{\"quant_method\":\"awq\"}", PTQC_OK,
         "'awq'"},
        {TIED ",\"attention_bias\":1", PTQC_E_INPUT, "attention_bias"},
        {TIED ",\"attention_bias\":true", PTQC_E_INPUT, "q_proj.bias"},
        {TIED ",\"mlp_bias\":true", PTQC_E_INPUT, "gate_proj.bias"},
        {TIED ",\"rms_norm_eps\":0", PTQC_E_INPUT, "epsilon"},
        {TIED ",\"rms_norm_eps\":\"1\"", PTQC_E_INPUT, "rms_norm_eps"},
        {TIED ",\"head_dim\":3", PTQC_E_INPUT, "even number"},
        {TIED ",\"head_dim\":6", PTQC_E_INPUT, "[12, 8], found [8, 8]"},
        {"", PTQC_E_INPUT, "lm_head.weight"},
        {TIED ",\"vocab_size\":4", PTQC_E_INPUT, "uplicate"},
    };
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pq_test_folder folder;
        make_folder(&folder, cases[i].more);
        if (cases[i].status != PTQC_OK) {
            expect_refused(ctx, &folder, cases[i].says);
        } else if (cases[i].says == NULL) {
            pq_model_destroy(expect_model(ctx, &folder));
        } else {
            pq_model *m;
            assert_int_equal(import(ctx, &folder, &m), PTQC_OK);
            assert_int_equal(m->problem_count, 1);
            assert_null(m->graph);
            assert_non_null(strstr(m->problems[0].reason.p, cases[i].says));
            pq_model_destroy(m);
        }
        pq_test_folder_remove(&folder);
    }
    ptqc_ctx_destroy(ctx);
}

// ---- rotary frequencies ---------------------------------------------------

static float
frequency(const pq_graph *g, size_t i)
{
    pq_value_id v = pq_graph_find_value(g, PQ_STR("rope.frequencies"));
    const pq_constant *c = pq_graph_constant(g, pq_graph_value(g, v)->constant);
    assert_int_equal(c->bytes, 2 * sizeof(float));
    return pq_load_f32((const uint8_t *)c->p + 4 * i);
}

static void
scalings(void **state)
{
    (void)state;
    // Frequencies 1 and 0.01 of base 10000 over 4 elements. llama3, factor 8,
    // original context 32: 32 / 2 pi = 5.09 periods of the first one, .05 of
    // the second: above 4 it stays, below 1 it is divided; with high 8 it is
    // 1/8 (1 - s) + s, s = (5.09296 - 1) / (8 - 1).
    static const struct {
        const char *more;
        float want[2];
    } cases[] = {
        {TIED, {1.0f, 0.01f}},
        {TIED ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0}",
         {0.25f, 0.0025f}},
        {TIED ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
              "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
              "\"original_max_position_embeddings\":32}",
         {1.0f, 0.00125f}},
        {TIED ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
              "\"low_freq_factor\":1.0,\"high_freq_factor\":8.0,"
              "\"original_max_position_embeddings\":32}",
         {0.63661977f, 0.00125f}},
        {TIED ",\"rope_theta\":100.0", {1.0f, 0.1f}},
    };
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pq_test_folder folder;
        make_folder(&folder, cases[i].more);
        pq_model *m = expect_model(ctx, &folder);
        for (size_t k = 0; k < 2; k++) {
            float got = frequency(m->graph, k);
            float error = got / cases[i].want[k] - 1.0f;
            assert_true(error < 1e-6f && error > -1e-6f);
        }
        pq_model_destroy(m);
        pq_test_folder_remove(&folder);
    }
    ptqc_ctx_destroy(ctx);
}

// ---- shards ---------------------------------------------------------------

static void
write_index(const pq_test_folder *folder, const char *a, const char *b)
{
    static const char *const names[] = {"embed_tokens",
                                        "norm",
                                        "layers.0.input_layernorm",
                                        "layers.0.self_attn.q_proj",
                                        "layers.0.self_attn.k_proj",
                                        "layers.0.self_attn.v_proj",
                                        "layers.0.self_attn.o_proj",
                                        "layers.0.post_attention_layernorm",
                                        "layers.0.mlp.gate_proj",
                                        "layers.0.mlp.up_proj",
                                        "layers.0.mlp.down_proj"};
    char text[4096] = "{\"metadata\":{},\"weight_map\":{";
    size_t n = strlen(text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n,
                              "%s\"model.%s.weight\":\"%s\"", i == 0 ? "" : ",",
                              names[i], i < 5 ? a : b);
    }
    (void)snprintf(text + n, sizeof text - n, "}}");
    write_text(folder, "model.safetensors.index.json", text);
}

static void
make_shards(pq_test_folder *folder)
{
    tensors t;
    pq_test_folder_create(folder);
    write_config(folder, TIED);
    begin(&t);
    add_first_half(&t);
    write_tensors(folder, "a.safetensors", &t);
    begin(&t);
    add_second_half(&t);
    write_tensors(folder, "b.safetensors", &t);
}

static void
shards(void **state)
{
    (void)state;
    static const struct {
        const char *b, *says;
    } cases[] = {
        {"b.safetensors", NULL},
        {"../b.safetensors", "plain name"},
        {"/etc/b.safetensors", "plain name"},
        {"./b.safetensors", "plain name"},
        {"b.bin", "plain name"},
        {".safetensors", "plain name"},
        {"c.safetensors", "c.safetensors"},
        {"a.safetensors", "it does not"},
        {"link.safetensors", "link.safetensors"},
    };
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    make_shards(&folder);
    assert_int_equal(
        symlink("b.safetensors",
                pq_test_folder_path(&folder, "link.safetensors", path)),
        0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_index(&folder, "a.safetensors", cases[i].b);
        if (cases[i].says != NULL) {
            expect_refused(ctx, &folder, cases[i].says);
            continue;
        }
        pq_model *m = expect_model(ctx, &folder);
        assert_int_equal(m->file_count, 4);
        assert_int_equal(m->tensor_count, 11);
        pq_model_destroy(m);
    }
    pq_test_folder_remove(&folder);
    ptqc_ctx_destroy(ctx);
}

static void
missing_files(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_test_folder folder;
    pq_model *m;
    pq_test_folder_create(&folder);
    assert_int_equal(import(ctx, &folder, &m), PTQC_E_IO);
    write_config(&folder, TIED);
    expect_refused(ctx, &folder, "neither");
    write_text(&folder, "model.safetensors.index.json", "[]");
    expect_refused(ctx, &folder, "weight_map");
    write_text(&folder, "config.json", "{\"model_type\":\"llama\"}");
    expect_refused(ctx, &folder, "hidden_size");
    write_text(&folder, "config.json", "[]");
    expect_refused(ctx, &folder, "object");
    pq_test_folder_remove(&folder);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
import_body(ptqc_ctx *ctx, void *user)
{
    const pq_test_folder *folder = user;
    pq_model *m = NULL;
    ptqc_status st = pq_import_check(ctx, folder->path,
                                     &(pq_import_options){.no_hash = true}, &m);
    pq_model_destroy(m);
    return st;
}

static void
allocations(void **state)
{
    (void)state;
    pq_test_folder folder;
    make_shards(&folder);
    write_index(&folder, "a.safetensors", "b.safetensors");
    assert_true(pq_test_alloc_sweep(import_body, &folder) > 20);
    pq_test_folder_remove(&folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configs),     cmocka_unit_test(scalings),
        cmocka_unit_test(shards),      cmocka_unit_test(missing_files),
        cmocka_unit_test(allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
