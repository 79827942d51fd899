// SPDX-License-Identifier: Apache-2.0
//
// .ptir from hostile text: what is accepted verifies, and prints as text
// that reads back to the same text.
#include <stdlib.h>
#include <string.h>

#include "ir/text.h"
#include "ir/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
need(bool is_good)
{
    if (!is_good) {
        abort();
    }
}

static void
print(const pq_graph *g, pq_strbuf *out)
{
    pq_strbuf_init(out, pq_graph_ctx(g));
    need(pq_graph_print(g, 0, out) == PTQC_OK);
}

static void
check_accepted(ptqc_ctx *ctx, const pq_graph *g)
{
    pq_strbuf first;
    pq_strbuf second;
    pq_graph *again;
    need(pq_graph_verify(g) == PTQC_OK);
    print(g, &first);
    need(pq_graph_parse(ctx, "again", (pq_str){first.p, first.n}, &again) ==
         PTQC_OK);
    print(again, &second);
    need(first.n == second.n && memcmp(first.p, second.p, first.n) == 0);
    pq_strbuf_deinit(&second);
    pq_strbuf_deinit(&first);
    pq_graph_destroy(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    ptqc_ctx *ctx;
    pq_graph *g;
    if (ptqc_ctx_create(NULL, &ctx) != PTQC_OK) {
        return 0;
    }
    char *text = malloc(n != 0 ? n : 1); // an exact copy, no NUL behind it
    if (text != NULL) {
        memcpy(text, p, n);
        if (pq_graph_parse(ctx, "fuzz", (pq_str){text, n}, &g) == PTQC_OK) {
            check_accepted(ctx, g);
            pq_graph_destroy(g);
        }
    }
    free(text);
    need(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
    return 0;
}
