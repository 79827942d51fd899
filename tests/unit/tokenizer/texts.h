// SPDX-License-Identifier: Apache-2.0
//
// What the tests of this folder share: a context whose diagnostics are caught,
// whole files, ids as text.
#ifndef PTQC_TESTS_TOKENIZER_TEXTS_H
#define PTQC_TESTS_TOKENIZER_TEXTS_H

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tokenizer/tokenizer.h"

#define FIXTURES "tests/unit/tokenizer/fixtures/"

typedef struct fixture {
    pq_test_sink sink;
    ptqc_ctx *ctx;
} fixture;

static inline int
set_up(void **state)
{
    static fixture f;
    pq_test_sink_clear(&f.sink);
    f.ctx = pq_test_ctx_create(&f.sink, NULL, 1);
    *state = &f;
    return 0;
}

static inline int
tear_down(void **state)
{
    fixture *f = *state;
    int leaked = pq_live_bytes(f->ctx) != 0;
    ptqc_ctx_destroy(f->ctx);
    return leaked;
}

static inline pq_str
text_of_map(const pq_map *map)
{
    return (pq_str){(const char *)map->p, map->n};
}

// The tokenizer of fixtures/NAME.json.
static inline pq_tokenizer *
open_fixture(ptqc_ctx *ctx, const char *name)
{
    char path[256];
    pq_map map;
    pq_tokenizer *t = NULL;
    assert_true(snprintf(path, sizeof path, FIXTURES "%s.json", name) > 0);
    assert_int_equal(pq_map_open(ctx, path, &map), PTQC_OK);
    assert_int_equal(pq_tokenizer_from_json(ctx, name, text_of_map(&map),
                                            (pq_str){"", 0}, &t),
                     PTQC_OK);
    pq_map_close(&map);
    return t;
}

// From JSON text; NULL with its diagnostic in the sink.
static inline pq_tokenizer *
from_text(ptqc_ctx *ctx, const char *json)
{
    pq_tokenizer *t = NULL;
    (void)!pq_tokenizer_from_json(ctx, "t.json", pq_str_of(json),
                                  (pq_str){"", 0}, &t);
    return t;
}

// The ids of text must be those written in `expected`: "3 1 4".
static inline void
expect_ids(ptqc_ctx *ctx, const pq_tokenizer *t, pq_str text, uint32_t flags,
           const char *expected)
{
    pq_token_ids found;
    pq_strbuf b;
    pq_strbuf_init(&b, ctx);
    assert_int_equal(pq_tokenizer_encode(ctx, t, text, flags, &found), PTQC_OK);
    for (size_t i = 0; i < found.count; i++) {
        pq_strbuf_addf(&b, i == 0 ? "%d" : " %d", found.ids[i]);
    }
    assert_string_equal(b.p, expected);
    pq_strbuf_deinit(&b);
    pq_free(ctx, found.ids);
}

static inline void
expect_text(ptqc_ctx *ctx, const pq_tokenizer *t, const pq_token *ids,
            size_t count, uint32_t flags, const char *expected)
{
    pq_strbuf b;
    pq_strbuf_init(&b, ctx);
    assert_int_equal(pq_tokenizer_decode(ctx, t, ids, count, flags, &b),
                     PTQC_OK);
    assert_string_equal(b.p, expected);
    pq_strbuf_deinit(&b);
}

#endif
