// SPDX-License-Identifier: Apache-2.0
//
// Graph blocks from hostile bytes: what ptqc_gb_open accepts is safe to read
// and evaluate, what pq_block_read accepts verifies and can be written again.
#include <stdlib.h>
#include <string.h>

#include "ir/block.h"
#include "ir/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { MAX_CONSTANT_BYTES = 65536 };

static const uint8_t zeros[MAX_CONSTANT_BYTES];

static void
need(bool is_good)
{
    if (!is_good) {
        abort();
    }
}

// As many zero bytes as the block says, when they are few.
static const void *
map_constant(void *user, uint64_t id, uint64_t *out_bytes)
{
    const ptqc_gb *gb = user;
    for (uint32_t i = 0; i < ptqc_gb_count(gb, PTQC_GB_CONSTANTS); i++) {
        const ptqc_gb_constant *c = ptqc_gb_constant_at(gb, i);
        if (c->id == id && c->bytes <= sizeof zeros) {
            *out_bytes = c->bytes;
            return zeros;
        }
    }
    return NULL;
}

static void
evaluate(const ptqc_gb *gb)
{
    uint32_t symbol_count = ptqc_gb_count(gb, PTQC_GB_SYMBOLS);
    uint32_t dim_count = ptqc_gb_count(gb, PTQC_GB_DIMS);
    int64_t *symbols = calloc((size_t)symbol_count + 1, sizeof *symbols);
    int64_t *dims = calloc((size_t)dim_count + 1, sizeof *dims);
    if (symbols != NULL && dims != NULL) {
        for (uint32_t i = 0; i < symbol_count; i++) {
            symbols[i] = ptqc_gb_symbol_at(gb, i)->min;
        }
        uint32_t bad = 0;
        if (!ptqc_gb_eval_dims(gb, symbols, dims, &bad)) {
            need(bad < dim_count);
        }
    }
    free(symbols);
    free(dims);
}

static void
check_accepted(ptqc_ctx *ctx, pq_graph *g)
{
    void *bytes;
    size_t n;
    ptqc_gb gb;
    const char *reason;
    need(pq_graph_verify(g) == PTQC_OK);
    need(pq_block_write(g, NULL, &bytes, &n) == PTQC_OK);
    need(ptqc_gb_open(bytes, n, &gb, &reason));
    pq_free(ctx, bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    ptqc_ctx *ctx;
    pq_graph *g;
    ptqc_gb gb;
    const char *reason;
    uint64_t *bytes = malloc(n + 8);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, p, n);
    if (n >= sizeof(ptqc_gb_header)) { // let changes of length through
        ((ptqc_gb_header *)(void *)bytes)->total_bytes = n;
    }
    if (ptqc_gb_open(bytes, n, &gb, &reason) &&
        ptqc_ctx_create(NULL, &ctx) == PTQC_OK) {
        evaluate(&gb);
        if (pq_block_read(ctx, bytes, n, map_constant, &gb, &g) == PTQC_OK) {
            check_accepted(ctx, g);
            pq_graph_destroy(g);
        }
        need(pq_live_bytes(ctx) == 0);
        ptqc_ctx_destroy(ctx);
    }
    free(bytes);
    return 0;
}
