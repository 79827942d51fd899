// SPDX-License-Identifier: Apache-2.0
//
// llama.cpp's importance matrices, see statistics.h (tools/imatrix and
// common/imatrix-loader.cpp there).

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "compiler/statistics.h"
#include "frontend/gguf/gguf.h"

static ptqc_status
add_squares(pq_stats *s, const char *path, pq_str name, const uint8_t *p,
            int64_t n, double rows, double divisor)
{
    pq_stat *stat;
    char own[256]; // our op's name: models of both namings have it
    if (pq_llm_op_name(name, own, sizeof own)) {
        name = pq_str_of(own);
    }
    if (pq_stats_find(s, name) != NULL) {
        return PQ_FAIL(s->ctx, PTQC_E_INPUT, "%s: '%.*s' is there twice", path,
                       PQ_STR_ARG(name));
    }
    PQ_TRY(pq_stats_get(s, name, &stat));
    stat->squares = pq_arena_array(&s->arena, (size_t)n, sizeof *stat->squares);
    PQ_TRY_ALLOC(stat->squares);
    stat->column_count = n;
    stat->row_count = rows;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = pq_load_le32(p + 4 * i);
        float x;
        memcpy(&x, &bits, sizeof x);
        // A matrix that nothing went through says nothing: all columns alike.
        double mean = divisor > 0 ? (double)x / divisor : 1;
        if (!(mean >= 0 && mean <= (double)FLT_MAX)) {
            return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                           "%s: '%.*s' column %lld: expected a mean square, "
                           "found %g",
                           path, PQ_STR_ARG(name), (long long)i, mean);
        }
        stat->squares[i] = (float)mean;
    }
    return PTQC_OK;
}

// ---- GGUF -----------------------------------------------------------------

static bool
is_f32(const pq_llm_tensor *t)
{
    return t != NULL && t->dtype == PTQC_F32 && t->rank >= 1;
}

static ptqc_status
read_pair(pq_stats *s, const char *path, const pq_gguf *f,
          const pq_llm_tensor *sums, pq_str name, uint32_t *out_experts)
{
    pq_strbuf text;
    pq_strbuf_init(&text, s->ctx);
    pq_strbuf_add(&text, name);
    pq_strbuf_add_z(&text, ".counts");
    const pq_llm_tensor *counts =
        text.failed ? NULL
                    : pq_llm_tensor_find(&f->tensors, (pq_str){text.p, text.n});
    bool failed = text.failed;
    pq_strbuf_deinit(&text);
    if (failed) {
        return PTQC_E_RESOURCE;
    }
    if (!is_f32(sums) || !is_f32(counts) || counts->count < 1) {
        return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                       "%s: '%.*s': expected f32 sums and counts", path,
                       PQ_STR_ARG(name));
    }
    if (counts->count > 1) {
        ++*out_experts;
        return PTQC_OK;
    }
    uint32_t bits = pq_load_le32(counts->p);
    float rows;
    memcpy(&rows, &bits, sizeof rows);
    if (!(rows >= 0 && rows <= FLT_MAX)) {
        return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                       "%s: '%.*s': expected a count, found %g", path,
                       PQ_STR_ARG(name), (double)rows);
    }
    return add_squares(s, path, name, sums->p, (int64_t)sums->count,
                       (double)rows, (double)rows);
}

static ptqc_status
read_tensors(pq_stats *s, const char *path, const pq_gguf *f)
{
    static const pq_str end = {".in_sum2", 8};
    uint32_t experts = 0;
    for (uint32_t i = 0; i < f->tensors.count; i++) {
        const pq_llm_tensor *t = &f->tensors.p[i];
        if (pq_str_ends(t->name, ".in_sum2")) {
            pq_str name = {t->name.p, t->name.n - end.n};
            PQ_TRY(read_pair(s, path, f, t, name, &experts));
        }
    }
    if (experts > 0) {
        pq_say(s->ctx, PTQC_SEVERITY_WARNING,
               "%s: %u matrices of several experts are left out", path,
               experts);
    }
    return s->count > 0 || experts > 0
               ? PTQC_OK
               : PQ_FAIL(s->ctx, PTQC_E_INPUT,
                         "%s: a GGUF file without importance matrices", path);
}

ptqc_status
pq_imatrix_read_gguf(ptqc_ctx *ctx, const char *path, const uint8_t *p,
                     size_t n, pq_stats *out)
{
    pq_arena arena;
    pq_gguf f = {0};
    pq_arena_init(&arena, ctx);
    ptqc_status st = pq_gguf_read(ctx, &arena, path, p, n, &f);
    if (st == PTQC_OK) {
        st = read_tensors(out, path, &f);
    }
    pq_gguf_deinit(&f);
    pq_arena_deinit(&arena);
    return st;
}

// ---- .dat -----------------------------------------------------------------

typedef struct pq_dat {
    ptqc_ctx *ctx;
    const char *path;
    const uint8_t *p;
    size_t at, n;
} pq_dat;

static ptqc_status
read_i32(pq_dat *d, const char *what, int32_t least, int32_t most, int32_t *out)
{
    if (d->n - d->at < 4) {
        return PQ_FAIL(d->ctx, PTQC_E_INPUT,
                       "%s: at byte %zu: expected %s, found the end", d->path,
                       d->at, what);
    }
    *out = (int32_t)pq_load_le32(d->p + d->at);
    if (*out < least || *out > most) {
        return PQ_FAIL(d->ctx, PTQC_E_INPUT,
                       "%s: at byte %zu: expected %s from %d to %d, found %d",
                       d->path, d->at, what, least, most, *out);
    }
    d->at += 4;
    return PTQC_OK;
}

static ptqc_status
take(pq_dat *d, size_t bytes, const uint8_t **out)
{
    if (d->n - d->at < bytes) {
        return PQ_FAIL(d->ctx, PTQC_E_INPUT,
                       "%s: at byte %zu: expected %zu bytes, found %zu",
                       d->path, d->at, bytes, d->n - d->at);
    }
    *out = d->p + d->at;
    d->at += bytes;
    return PTQC_OK;
}

#define PQ_NAME_MAX 4096

static ptqc_status
read_entry(pq_dat *d, pq_stats *out)
{
    int32_t length, calls, count;
    const uint8_t *name, *values;
    PQ_TRY(read_i32(d, "the length of a name", 1, PQ_NAME_MAX, &length));
    PQ_TRY(take(d, (size_t)length, &name));
    PQ_TRY(read_i32(d, "a number of calls", 0, INT32_MAX, &calls));
    PQ_TRY(read_i32(d, "a number of columns", 1, INT32_MAX / 4, &count));
    PQ_TRY(take(d, (size_t)count * 4, &values));
    return add_squares(out, d->path,
                       (pq_str){(const char *)name, (size_t)length}, values,
                       count, calls, calls);
}

ptqc_status
pq_imatrix_read_dat(ptqc_ctx *ctx, const char *path, const uint8_t *p, size_t n,
                    pq_stats *out)
{
    pq_dat d = {.ctx = ctx, .path = path, .p = p, .n = n};
    int32_t entries;
    PQ_TRY(read_i32(&d, "a number of entries", 1, INT32_MAX, &entries));
    for (int32_t i = 0; i < entries; i++) {
        PQ_TRY(read_entry(&d, out));
    }
    return PTQC_OK; // what follows tells of the data set
}
