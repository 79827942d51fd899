// SPDX-License-Identifier: Apache-2.0
//
// Recipe texts, hostile: what is accepted expands to a text that says the
// same; what is refused says one error, that is the user's.
#include <string.h>

#include "base/json.h"
#include "passes/recipe.h"
#include "tests/fuzz/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
expand(ptqc_ctx *ctx, const pq_recipe *r, pq_strbuf *out)
{
    pq_json_writer w;
    pq_strbuf_init(out, ctx);
    pq_jw_init(&w, out);
    pq_jw_begin_object(&w, NULL);
    pq_recipe_write(r, &w);
    pq_jw_end_object(&w);
}

static void
check_accepted(ptqc_ctx *ctx, const pq_recipe *r, const said *s)
{
    pq_arena arena;
    pq_recipe again;
    pq_strbuf a, b;
    pq_arena_init(&arena, ctx);
    pq_recipe_init(&again);
    expand(ctx, r, &a);
    ptqc_status st =
        pq_recipe_read(ctx, "again", (pq_str){a.p, a.n}, &arena, &again);
    expect(st == PTQC_OK, "reads back", st, s);
    expand(ctx, &again, &b);
    expect(a.n == b.n && memcmp(a.p, b.p, a.n) == 0, "is the same", st, s);
    pq_strbuf_deinit(&b);
    pq_strbuf_deinit(&a);
    pq_recipe_deinit(&again);
    pq_arena_deinit(&arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    said s = {0};
    const ptqc_ctx_desc desc = fuzz_context(&s);
    ptqc_ctx *ctx;
    if (ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    char *text = malloc(n != 0 ? n : 1); // an exact copy, no NUL behind it
    pq_arena arena;
    pq_recipe r;
    pq_arena_init(&arena, ctx);
    pq_recipe_init(&r);
    if (text != NULL) {
        memcpy(text, p, n);
        ptqc_status st =
            pq_recipe_read(ctx, "fuzz", (pq_str){text, n}, &arena, &r);
        if (st == PTQC_OK) {
            expect(s.errors == 0, "no error", st, &s);
            check_accepted(ctx, &r, &s);
        } else {
            expect(st == PTQC_E_USAGE || st == PTQC_E_UNSUPPORTED ||
                       st == PTQC_E_RESOURCE,
                   "status", st, &s);
            expect(s.errors == 1, "one error", st, &s);
        }
    }
    free(text);
    pq_recipe_deinit(&r);
    pq_arena_deinit(&arena);
    expect(pq_live_bytes(ctx) == 0, "no memory left", PTQC_OK, &s);
    ptqc_ctx_destroy(ctx);
    return 0;
}
