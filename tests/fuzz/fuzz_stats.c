// SPDX-License-Identifier: Apache-2.0
//
// Statistics and importance matrices, hostile: the first byte chooses the
// reader. What is accepted prints as a text that reads back the same, and
// merges with itself.
#include <string.h>

#include "compiler/statistics.h"
#include "tests/fuzz/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_accepted(ptqc_ctx *ctx, const pq_stats *s, const said *said)
{
    pq_strbuf a, b;
    pq_stats *again;
    pq_strbuf_init(&a, ctx);
    pq_strbuf_init(&b, ctx);
    pq_stats_print(s, &a);
    ptqc_status st = pq_stats_parse(ctx, "again", (pq_str){a.p, a.n}, &again);
    expect(st == PTQC_OK || st == PTQC_E_RESOURCE, "reads back", st, said);
    if (st == PTQC_OK) {
        pq_stats_print(again, &b);
        expect(a.n == b.n && memcmp(a.p, b.p, a.n) == 0, "is the same", st,
               said);
        st = pq_stats_merge(again, s, "itself");
        expect(st == PTQC_OK || st == PTQC_E_RESOURCE, "merges", st, said);
        pq_stats_destroy(again);
    }
    pq_strbuf_deinit(&b);
    pq_strbuf_deinit(&a);
}

static ptqc_status
read(ptqc_ctx *ctx, unsigned kind, const uint8_t *p, size_t n, pq_stats **out)
{
    if (kind == 0) {
        return pq_stats_parse(ctx, "fuzz", (pq_str){(const char *)p, n}, out);
    }
    ptqc_status st = pq_stats_create(ctx, out);
    if (st == PTQC_OK) {
        st = kind == 1 ? pq_imatrix_read_dat(ctx, "fuzz", p, n, *out)
                       : pq_imatrix_read_gguf(ctx, "fuzz", p, n, *out);
    }
    if (st != PTQC_OK) {
        pq_stats_destroy(*out);
        *out = NULL;
    }
    return st;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    said s = {0};
    const ptqc_ctx_desc desc = fuzz_context(&s);
    ptqc_ctx *ctx;
    pq_stats *stats = NULL;
    if (n < 1 || ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    uint8_t *bytes = malloc(n); // an exact copy
    if (bytes != NULL) {
        memcpy(bytes, p + 1, n - 1);
        ptqc_status st = read(ctx, p[0] % 3, bytes, n - 1, &stats);
        if (st == PTQC_OK) {
            expect(s.errors == 0, "no error", st, &s);
            check_accepted(ctx, stats, &s);
        } else {
            expect(st == PTQC_E_INPUT || st == PTQC_E_RESOURCE ||
                       st == PTQC_E_UNSUPPORTED,
                   "status", st, &s);
            expect(s.errors == 1, "one error", st, &s);
        }
    }
    pq_stats_destroy(stats);
    free(bytes);
    expect(pq_live_bytes(ctx) == 0, "no memory left", PTQC_OK, &s);
    ptqc_ctx_destroy(ctx);
    return 0;
}
