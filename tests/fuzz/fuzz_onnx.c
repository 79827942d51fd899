// SPDX-License-Identifier: Apache-2.0
//
// ONNX models from hostile bytes, through decoding, import and verification.
// The first byte chooses options: two-sided, file and caller. Whatever the
// bytes: a graph that verifies, or one error that is the file's fault.
#include <stdlib.h>
#include <string.h>

#include "frontend/import.h"
#include "tests/fuzz/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
import(ptqc_ctx *ctx, const uint8_t *p, size_t n, bool gives_dim, said *s)
{
    const pq_import_dim dim = {PQ_STR("N"), 3};
    const pq_import_options options = {
        .dims = &dim, .dim_count = gives_dim ? 1 : 0, .no_hash = true};
    pq_model *model = NULL;
    ptqc_status st =
        pq_import_check_bytes(ctx, "/nowhere/fuzz", p, n, &options, &model);
    judge_import(st, model, gives_dim, s);
    pq_model_destroy(model);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    said s = {0};
    const ptqc_ctx_desc desc = fuzz_context(&s);
    ptqc_ctx *ctx;
    if (n < 1 || ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    // An exact copy, so that reading past its end is noticed.
    uint8_t *bytes = malloc(n);
    if (bytes != NULL) {
        memcpy(bytes, p + 1, n - 1);
        import(ctx, bytes, n - 1, (p[0] & 1) != 0, &s);
        free(bytes);
    }
    ptqc_ctx_destroy(ctx);
    return 0;
}
