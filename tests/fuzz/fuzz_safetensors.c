// SPDX-License-Identifier: Apache-2.0
//
// safetensors and config.json from hostile bytes. The first two bytes are the
// length of a config.json, which comes next; the rest is a file of tensors.
// Length 0: the tensors alone. Whatever the bytes: a graph that verifies,
// problems, or one error that is the file's fault.
#include <stdlib.h>
#include <string.h>

#include "frontend/hf/hf.h"
#include "frontend/hf/safetensors.h"
#include "tests/fuzz/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static ptqc_status
import(pq_model *model, pq_arena *arena, const uint8_t *p, size_t n)
{
    const pq_llm_architecture *known;
    pq_llm_params params;
    pq_llm_tensors tensors;
    size_t length = (size_t)p[0] | (size_t)p[1] << 8;
    length = length < n - 2 ? length : n - 2;
    const pq_str config = {(const char *)p + 2, length};
    const uint8_t *rest = p + 2 + length;
    size_t rest_bytes = n - 2 - length;
    if (length == 0) {
        return pq_hf_import_tensors(model, "fuzz", rest, rest_bytes);
    }
    PQ_TRY(pq_hf_read_config(model, "fuzz", config, &known, &params));
    ptqc_status st = pq_safetensors_read(model->ctx, arena, "fuzz", rest,
                                         rest_bytes, &tensors);
    if (st == PTQC_OK) {
        st = pq_llm_describe_tensors(model, &tensors);
    }
    if (st == PTQC_OK) {
        st = pq_llm_check_types(model, &tensors);
    }
    if (st == PTQC_OK && model->problem_count == 0) {
        st = pq_llm_build(model, known, &params, &tensors);
    }
    pq_safetensors_deinit(&tensors);
    return st;
}

static void
import_model(ptqc_ctx *ctx, const uint8_t *p, size_t n, const said *s)
{
    pq_model *model = pq_alloc(ctx, sizeof *model);
    pq_import_file file = {.path = PQ_STR("fuzz")};
    pq_arena arena;
    if (model == NULL) {
        return;
    }
    model->ctx = ctx;
    model->files = &file;
    model->file_count = 1;
    pq_arena_init(&model->arena, ctx);
    pq_arena_init(&arena, ctx);
    ptqc_status st = import(model, &arena, p, n);
    judge_import(st, model, false, s);
    pq_model_destroy(model);
    pq_arena_deinit(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    said s = {0};
    const ptqc_ctx_desc desc = fuzz_context(&s);
    ptqc_ctx *ctx;
    if (n < 2 || ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    // An exact copy, so that reading past its end is noticed.
    uint8_t *bytes = malloc(n);
    if (bytes != NULL) {
        memcpy(bytes, p, n);
        import_model(ctx, bytes, n, &s);
        free(bytes);
    }
    ptqc_ctx_destroy(ctx);
    return 0;
}
