// SPDX-License-Identifier: Apache-2.0
//
// GGUF files from hostile bytes, through the container, parameters, tokenizer,
// blocks and graph. Whatever the bytes: a graph that verifies, problems, or
// one error that is the file's fault.
#include <stdlib.h>
#include <string.h>

#include "frontend/import.h"
#include "tests/fuzz/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
import(ptqc_ctx *ctx, const uint8_t *p, size_t n, const said *s)
{
    const pq_import_options options = {.no_hash = true};
    pq_model *model = NULL;
    ptqc_status st = pq_import_check_bytes(ctx, "/nowhere/fuzz.gguf", p, n,
                                           &options, &model);
    judge_import(st, model, false, s);
    pq_model_destroy(model);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    said s = {0};
    const ptqc_ctx_desc desc = fuzz_context(&s);
    ptqc_ctx *ctx;
    // Other formats have targets of their own.
    if (n < 4 || memcmp(p, "GGUF", 4) != 0 ||
        ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    // An exact copy, so that reading past its end is noticed.
    uint8_t *bytes = malloc(n);
    if (bytes != NULL) {
        memcpy(bytes, p, n);
        import(ctx, bytes, n, &s);
        free(bytes);
    }
    ptqc_ctx_destroy(ctx);
    return 0;
}
