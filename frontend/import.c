// SPDX-License-Identifier: Apache-2.0
//
// Opens a model, tells its format by its first bytes and hands it to the
// frontend that reads it. Owns the life of pq_model.
#include "frontend/import.h"

#include <string.h>
#include <sys/stat.h>

#include "base/bits.h"
#include "frontend/gguf/gguf.h"
#include "frontend/hf/hf.h"
#include "frontend/onnx/onnx.h"

// A format that is recognized and refused.
typedef struct refused_format {
    size_t offset; // of the magic bytes
    const char *magic;
    const char *reason;
} refused_format;

static const refused_format refused_formats[] = {
    {4, "TFL3",
     "TensorFlow Lite models are not supported; convert the model "
     "to ONNX"},
    {0, "PK\x03\x04",
     "zip archives (PyTorch files hold code) are not "
     "supported; export the model to ONNX"},
};

// A length, then that many bytes of JSON.
static bool
is_safetensors(const uint8_t *p, size_t n)
{
    return n > 9 && p[8] == '{' && pq_load_le64(p) <= n - 8;
}

static ptqc_status
refuse_other_formats(ptqc_ctx *ctx, const char *path, const uint8_t *p,
                     size_t n)
{
    for (size_t i = 0; i < sizeof refused_formats / sizeof refused_formats[0];
         i++) {
        const refused_format *f = &refused_formats[i];
        if (n >= f->offset + 4 && memcmp(p + f->offset, f->magic, 4) == 0) {
            return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED, "%s: %s", path, f->reason);
        }
    }
    return PTQC_OK;
}

static ptqc_status
model_create(ptqc_ctx *ctx, const char *path, size_t bytes, pq_model **out)
{
    *out = NULL;
    pq_model *model = pq_alloc(ctx, sizeof *model);
    PQ_TRY_ALLOC(model);
    model->ctx = ctx;
    pq_arena_init(&model->arena, ctx);
    model->files = pq_arena_array(&model->arena, 1, sizeof *model->files);
    size_t n = strlen(path);
    char *copy = pq_arena_strndup(&model->arena, path, n);
    if (model->files == NULL || copy == NULL) {
        pq_model_destroy(model);
        return PTQC_E_RESOURCE;
    }
    model->files[0] = (pq_import_file){.path = {copy, n}, .bytes = bytes};
    model->file_count = 1;
    *out = model;
    return PTQC_OK;
}

static ptqc_status
import_bytes(pq_model *model, const char *path, const void *bytes, size_t n,
             const pq_import_options *options)
{
    ptqc_ctx *ctx = model->ctx;
    if (n == 0) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "%s: expected a model, found an empty file", path);
    }
    PQ_TRY(refuse_other_formats(ctx, path, bytes, n));
    if (options == NULL || !options->no_hash) {
        PQ_TRY(pq_sha256_of(ctx, bytes, n, &model->files[0].sha256));
    }
    pq_str name = pq_str_of(path);
    if (n >= 4 && memcmp(bytes, "GGUF", 4) == 0) {
        return pq_gguf_import(model, path, bytes, n, options);
    }
    if (pq_str_ends(name, ".safetensors") || is_safetensors(bytes, n)) {
        return pq_hf_import_tensors(model, path, bytes, n);
    }
    return pq_onnx_import(model, path, bytes, n, options);
}

ptqc_status
pq_import_check_bytes(ptqc_ctx *ctx, const char *path, const void *bytes,
                      size_t n, const pq_import_options *options,
                      pq_model **out)
{
    *out = NULL;
    pq_model *model;
    PQ_TRY(model_create(ctx, path, n, &model));
    ptqc_status st = import_bytes(model, path, bytes, n, options);
    if (st != PTQC_OK) {
        pq_model_destroy(model);
        return st;
    }
    *out = model;
    return PTQC_OK;
}

static ptqc_status
check_folder(ptqc_ctx *ctx, const char *path, const pq_import_options *options,
             pq_model **out)
{
    pq_model *model;
    PQ_TRY(model_create(ctx, path, 0, &model));
    ptqc_status st = pq_hf_import_folder(model, path, options);
    if (st != PTQC_OK) {
        pq_model_destroy(model);
        return st;
    }
    *out = model;
    return PTQC_OK;
}

ptqc_status
pq_import_check(ptqc_ctx *ctx, const char *path,
                const pq_import_options *options, pq_model **out)
{
    *out = NULL;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return check_folder(ctx, path, options, out);
    }
    pq_map map;
    PQ_TRY(pq_map_open(ctx, path, &map));
    pq_model *model;
    ptqc_status st =
        pq_import_check_bytes(ctx, path, map.p, map.n, options, &model);
    if (st == PTQC_OK && model->graph != NULL) {
        st = pq_graph_adopt_map(model->graph, map);
        if (st == PTQC_OK) {
            map = (pq_map){0};
        }
    }
    // What refers to the file goes before the file.
    if (st != PTQC_OK) {
        pq_model_destroy(model);
        model = NULL;
    }
    pq_map_close(&map);
    *out = model;
    return st;
}

static ptqc_status
fail_of_problems(const pq_model *model, const char *path)
{
    enum {
        SHOWN = 4, // problems in the one line
    };
    pq_strbuf text;
    pq_strbuf_init(&text, model->ctx);
    for (uint32_t i = 0; i < model->problem_count && i < SHOWN; i++) {
        const pq_import_problem *p = &model->problems[i];
        pq_strbuf_addf(&text, "%s%.*s%s%.*s (%u time%s, first: '%.*s')",
                       i == 0 ? "" : "; ", PQ_STR_ARG(p->op),
                       p->op.n == 0 ? "" : ": ", PQ_STR_ARG(p->reason),
                       p->node_count, p->node_count == 1 ? "" : "s",
                       PQ_STR_ARG(p->nodes[0]));
    }
    if (model->problem_count > SHOWN) {
        pq_strbuf_addf(&text, "; and %u more kinds",
                       model->problem_count - SHOWN);
    }
    ptqc_status st = PTQC_E_RESOURCE;
    if (!text.failed) {
        st = PQ_FAIL(model->ctx, PTQC_E_UNSUPPORTED, "%s: unsupported: %s",
                     path, text.p);
    }
    pq_strbuf_deinit(&text);
    return st;
}

ptqc_status
pq_import_model(ptqc_ctx *ctx, const char *path,
                const pq_import_options *options, pq_model **out)
{
    pq_model *model;
    *out = NULL;
    PQ_TRY(pq_import_check(ctx, path, options, &model));
    if (model->problem_count != 0) {
        ptqc_status st = fail_of_problems(model, path);
        pq_model_destroy(model);
        return st;
    }
    *out = model;
    return PTQC_OK;
}

void
pq_model_destroy(pq_model *model)
{
    if (model == NULL) {
        return;
    }
    pq_graph_destroy(model->graph);
    pq_tokenizer_destroy(model->tokenizer);
    pq_arena_deinit(&model->arena);
    pq_free(model->ctx, model);
}

pq_graph *
pq_model_take_graph(pq_model *model)
{
    pq_graph *g = model->graph;
    model->graph = NULL;
    return g;
}
