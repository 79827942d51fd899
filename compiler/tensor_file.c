// SPDX-License-Identifier: Apache-2.0
//
// ptqc_read_onnx_tensor.

#include <stdio.h>
#include <string.h>

#include "ptqc/compile.h"

#include "frontend/onnx/onnx.h"

static ptqc_status
give(ptqc_ctx *ctx, const pq_constant *c, ptqc_tensor *out)
{
    void *data = pq_alloc(ctx, c->bytes);
    PQ_TRY_ALLOC(data);
    if (c->bytes > 0) {
        memcpy(data, c->p, c->bytes);
    }
    *out = (ptqc_tensor){
        .dtype = c->dtype, .rank = c->rank, .data = data, .bytes = c->bytes};
    for (uint32_t i = 0; i < c->rank; i++) {
        out->dims[i] = c->dims[i];
    }
    return PTQC_OK;
}

ptqc_status
ptqc_read_onnx_tensor(ptqc_ctx *ctx, const char *path, char *name,
                      size_t name_room, ptqc_tensor *out)
{
    pq_arena arena;
    pq_str text;
    pq_constant c;
    *out = (ptqc_tensor){0};
    pq_arena_init(&arena, ctx);
    ptqc_status st = pq_onnx_read_tensor(ctx, path, &arena, &text, &c);
    if (st == PTQC_OK) {
        st = give(ctx, &c, out);
    }
    if (st == PTQC_OK && name_room > 0) {
        (void)snprintf(name, name_room, "%.*s", PQ_STR_ARG(text));
    }
    pq_arena_deinit(&arena);
    return st;
}
