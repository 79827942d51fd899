// SPDX-License-Identifier: Apache-2.0
//
// The header is JSON of at most 100 MB that begins with "{"; every entry but
// __metadata__ is {"dtype", "shape", "data_offsets"}, the extents tile the
// rest of the file.
#include "frontend/hf/safetensors.h"

#include <stdlib.h>

#include "base/bits.h"
#include "base/json.h"

#define HEADER_BYTES_MAX 100000000u

typedef struct reader {
    ptqc_ctx *ctx;
    pq_arena *arena;
    const char *path;
    const uint8_t *data; // behind the header
    size_t data_bytes;
    pq_llm_tensors *out;
} reader;

typedef struct stored_type {
    const char *text;
    unsigned bits;
    ptqc_dtype dtype;
} stored_type;

static const stored_type stored_types[] = {
#define DTYPE(text, bits, ours) {text, bits, PTQC_##ours},
#include "frontend/hf/dtypes.def"
#undef DTYPE
};

static ptqc_status
refuse(const reader *r, pq_str name, const char *reason)
{
    return PQ_FAIL(r->ctx, PTQC_E_INPUT, "%s: tensor '%.*s': %s", r->path,
                   PQ_STR_ARG(name), reason);
}

static ptqc_status
read_shape(const reader *r, const pq_json *entry, pq_llm_tensor *t)
{
    const pq_json *shape = pq_json_get(entry, "shape");
    size_t rank = pq_json_array_count(shape);
    if (!pq_json_is_array(shape)) {
        return refuse(r, t->name, "expected an array as 'shape'");
    }
    t->count = 1;
    for (size_t i = 0; i < rank; i++) {
        int64_t dim;
        if (!pq_json_i64(pq_json_at(shape, i), &dim) || dim < 0 ||
            __builtin_mul_overflow(t->count, (uint64_t)dim, &t->count)) {
            return refuse(r, t->name,
                          "expected integers from 0 as 'shape', whose product "
                          "fits 64 bits");
        }
        if (i < PTQC_MAX_RANK) {
            t->dims[i] = dim;
        }
    }
    if (rank > PTQC_MAX_RANK) {
        return PQ_FAIL(r->ctx, PTQC_E_UNSUPPORTED,
                       "%s: tensor '%.*s': %zu dimensions, at most %d are "
                       "supported",
                       r->path, PQ_STR_ARG(t->name), rank, PTQC_MAX_RANK);
    }
    t->rank = (uint32_t)rank;
    return PTQC_OK;
}

static ptqc_status
read_type(const reader *r, const pq_json *entry, pq_llm_tensor *t,
          unsigned *out_bits)
{
    pq_str text;
    if (!pq_json_str(pq_json_get(entry, "dtype"), &text)) {
        return refuse(r, t->name, "expected a string as 'dtype'");
    }
    for (size_t i = 0; i < sizeof stored_types / sizeof stored_types[0]; i++) {
        if (pq_str_equal_z(text, stored_types[i].text)) {
            t->type = pq_str_of(stored_types[i].text);
            t->dtype = stored_types[i].dtype;
            *out_bits = stored_types[i].bits;
            return PTQC_OK;
        }
    }
    return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                   "%s: tensor '%.*s': there is no type '%.*s'", r->path,
                   PQ_STR_ARG(t->name), PQ_STR_ARG(text));
}

static ptqc_status
read_extent(const reader *r, const pq_json *entry, unsigned bits,
            pq_llm_tensor *t)
{
    const pq_json *offsets = pq_json_get(entry, "data_offsets");
    int64_t begin, end;
    uint64_t all_bits;
    bool are_two = pq_json_array_count(offsets) == 2 &&
                   pq_json_i64(pq_json_at(offsets, 0), &begin) &&
                   pq_json_i64(pq_json_at(offsets, 1), &end);
    if (!are_two || begin < 0 || end < begin || (uint64_t)end > r->data_bytes) {
        return refuse(r, t->name,
                      "expected two ascending offsets within the file as "
                      "'data_offsets'");
    }
    t->p = r->data + begin;
    t->bytes = (size_t)(end - begin);
    if (__builtin_mul_overflow(t->count, (uint64_t)bits, &all_bits) ||
        all_bits % 8 != 0 || all_bits / 8 != t->bytes) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "%s: tensor '%.*s': %zu bytes do not fit its type and "
                       "shape",
                       r->path, PQ_STR_ARG(t->name), t->bytes);
    }
    return PTQC_OK;
}

static ptqc_status
read_entry(const reader *r, pq_str name, const pq_json *entry)
{
    pq_llm_tensor *t = &r->out->p[r->out->count];
    unsigned bits;
    char *copy = pq_arena_strndup(r->arena, name.n != 0 ? name.p : "", name.n);
    PQ_TRY_ALLOC(copy);
    t->name = (pq_str){copy, name.n};
    if (!pq_json_is_object(entry)) {
        return refuse(r, name, "expected an object");
    }
    PQ_TRY(read_type(r, entry, t, &bits));
    PQ_TRY(read_shape(r, entry, t));
    PQ_TRY(read_extent(r, entry, bits, t));
    // The parser has refused names that occur twice.
    return pq_strmap_set(&r->out->by_name, t->name, r->out->count++, NULL);
}

static ptqc_status
check_metadata(const reader *r, const pq_json *metadata)
{
    pq_json_iter it = {0};
    pq_str key, text;
    const pq_json *value;
    if (!pq_json_is_object(metadata)) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "%s: expected an object as __metadata__", r->path);
    }
    while (pq_json_next(metadata, &it, &key, &value)) {
        if (!pq_json_str(value, &text)) {
            return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                           "%s: __metadata__: expected a string as '%.*s'",
                           r->path, PQ_STR_ARG(key));
        }
    }
    return PTQC_OK;
}

static ptqc_status
read_entries(const reader *r, const pq_json *header)
{
    size_t members = pq_json_member_count(header);
    pq_json_iter it = {0};
    pq_str key;
    const pq_json *value;
    r->out->p = pq_arena_array(r->arena, members, sizeof *r->out->p);
    PQ_TRY_ALLOC(r->out->p);
    while (pq_json_next(header, &it, &key, &value)) {
        PQ_TRY(pq_str_equal_z(key, "__metadata__") ? check_metadata(r, value)
                                                   : read_entry(r, key, value));
    }
    return PTQC_OK;
}

// ---- holes and overlaps ---------------------------------------------------

static int
by_extent(const void *a, const void *b)
{
    const pq_llm_tensor *x = *(const pq_llm_tensor *const *)a;
    const pq_llm_tensor *y = *(const pq_llm_tensor *const *)b;
    if (x->p != y->p) {
        return x->p < y->p ? -1 : 1;
    }
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static ptqc_status
check_tiling(const reader *r)
{
    uint32_t count = r->out->count;
    const pq_llm_tensor **order =
        pq_arena_array(r->arena, count, sizeof *order);
    PQ_TRY_ALLOC(order);
    for (uint32_t i = 0; i < count; i++) {
        order[i] = &r->out->p[i];
    }
    if (count > 1) {
        qsort(order, count, sizeof *order, by_extent);
    }
    const uint8_t *at = r->data;
    for (uint32_t i = 0; i < count; i++) {
        if (order[i]->p != at) {
            return refuse(r, order[i]->name,
                          "its bytes do not follow on those before it");
        }
        at += order[i]->bytes;
    }
    if (at != r->data + r->data_bytes) {
        return PQ_FAIL(r->ctx, PTQC_E_INPUT,
                       "%s: %zu bytes at the end belong to no tensor", r->path,
                       (size_t)(r->data + r->data_bytes - at));
    }
    return PTQC_OK;
}

ptqc_status
pq_safetensors_read(ptqc_ctx *ctx, pq_arena *arena, const char *path,
                    const uint8_t *p, size_t n, pq_llm_tensors *out)
{
    *out = (pq_llm_tensors){0};
    pq_strmap_init(&out->by_name, ctx);
    uint64_t length = n >= 8 ? pq_load_le64(p) : 0;
    if (n < 8 || length > HEADER_BYTES_MAX || length > n - 8 || length < 2 ||
        p[8] != '{') {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "%s: expected a safetensors header: its length, at "
                       "most %u, then JSON that begins with '{'",
                       path, HEADER_BYTES_MAX);
    }
    size_t start = 8 + (size_t)length;
    reader r = {.ctx = ctx,
                .arena = arena,
                .path = path,
                .data = p + start,
                .data_bytes = n - start,
                .out = out};
    pq_json *header = NULL;
    ptqc_status st = pq_json_parse(
        ctx, path, (pq_str){(const char *)p + 8, (size_t)length}, &header);
    if (st == PTQC_OK && !pq_json_is_object(header)) {
        st = PQ_FAIL(ctx, PTQC_E_INPUT, "%s: the header is no object", path);
    }
    if (st == PTQC_OK) {
        st = read_entries(&r, header);
    }
    pq_json_free(header);
    return st == PTQC_OK ? check_tiling(&r) : st;
}

void
pq_safetensors_deinit(pq_llm_tensors *tensors)
{
    pq_strmap_deinit(&tensors->by_name);
}
