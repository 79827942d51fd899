// SPDX-License-Identifier: Apache-2.0
//
// Tensor data in files beside the model (onnx/docs/ExternalData.md). Names
// are confined to the model's folder by pq_map_open_beside; keys are an
// allow-list, numbers are unsigned and extents lie inside the file
// (CVE-2022-25882, CVE-2024-27318, CVE-2026-34445 and their kin).
#include <string.h>

#include "base/checked.h"
#include "frontend/onnx/importer.h"

enum {
    FILE_LIMIT = 4096, // different data files of one model
};

struct pq_onnx_external {
    pq_onnx_external *next;
    pq_str location;
    pq_map map; // owned by the graph after pq_onnx_external_finish
};

typedef struct extent {
    pq_str location;
    uint64_t offset, length;
    bool has_length;
} extent;

static ptqc_status
parse_number(ptqc_ctx *ctx, const pq_onnx_pair *pair, uint64_t *out)
{
    if (pq_str_to_u64(pair->value, out)) {
        return PTQC_OK;
    }
    return PQ_FAIL(ctx, PTQC_E_INPUT,
                   "external data: expected an unsigned number as %.*s, "
                   "found '%.*s'",
                   PQ_STR_ARG(pair->key), PQ_STR_ARG(pair->value));
}

static ptqc_status
parse_pair(ptqc_ctx *ctx, const pq_onnx_pair *pair, extent *e)
{
    if (pq_str_equal_z(pair->key, "location")) {
        e->location = pair->value;
        return PTQC_OK;
    }
    if (pq_str_equal_z(pair->key, "offset")) {
        return parse_number(ctx, pair, &e->offset);
    }
    if (pq_str_equal_z(pair->key, "length")) {
        e->has_length = true;
        return parse_number(ctx, pair, &e->length);
    }
    if (pq_str_equal_z(pair->key, "checksum")) {
        return PTQC_OK; // SHA-1 of the file, optional; ours is SHA-256
    }
    return PQ_FAIL(ctx, PTQC_E_INPUT,
                   "external data: expected the keys location, offset, "
                   "length or checksum, found '%.*s'",
                   PQ_STR_ARG(pair->key));
}

static ptqc_status
parse_extent(ptqc_ctx *ctx, const pq_onnx_pairs *pairs, extent *e)
{
    for (size_t i = 0; i < pairs->n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (pq_str_equal(pairs->p[i].key, pairs->p[k].key)) {
                return PQ_FAIL(ctx, PTQC_E_INPUT,
                               "external data: expected each key once, found "
                               "'%.*s' twice",
                               PQ_STR_ARG(pairs->p[i].key));
            }
        }
        PQ_TRY(parse_pair(ctx, &pairs->p[i], e));
    }
    bool is_name = e->location.n != 0 &&
                   memchr(e->location.p, '\0', e->location.n) == NULL;
    if (!is_name) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "external data: expected a file name as location, "
                       "found '%.*s'",
                       PQ_STR_ARG(e->location));
    }
    return PTQC_OK;
}

// The open file of that name, opened when it is the first time.
static ptqc_status
open_file(pq_onnx_importer *im, pq_str location, pq_onnx_external **out)
{
    unsigned count = 0;
    for (pq_onnx_external *x = im->externals; x != NULL; x = x->next) {
        if (pq_str_equal(x->location, location)) {
            *out = x;
            return PTQC_OK;
        }
        count++;
    }
    if (count == FILE_LIMIT) {
        return PQ_FAIL(im->ctx, PTQC_E_UNSUPPORTED,
                       "more than %d external data files are not supported",
                       FILE_LIMIT);
    }
    pq_onnx_external *x = pq_arena_alloc(im->arena, sizeof *x);
    PQ_TRY_ALLOC(x);
    char *name = pq_arena_strndup(im->arena, location.p, location.n);
    PQ_TRY_ALLOC(name);
    ptqc_status st = pq_map_open_beside(im->ctx, im->path, name, &x->map);
    if (st != PTQC_OK) {
        // A model whose data is not there is a model that is not whole.
        return st == PTQC_E_IO ? PTQC_E_INPUT : st;
    }
    x->location = location;
    x->next = im->externals;
    im->externals = x;
    *out = x;
    return PTQC_OK;
}

ptqc_status
pq_onnx_external_bytes(pq_onnx_importer *im, const pq_onnx_tensor *t,
                       size_t bytes, pq_span *out)
{
    extent e = {0};
    PQ_TRY(parse_extent(im->ctx, &t->external_data, &e));
    if (e.has_length && e.length != bytes) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "external data: expected a length of %zu bytes for "
                       "the dimensions, found %llu",
                       bytes, (unsigned long long)e.length);
    }
    pq_onnx_external *x = NULL;
    PQ_TRY(open_file(im, e.location, &x));
    size_t end;
    if (!pq_add_size(e.offset, bytes, &end) || end > x->map.n) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "external data: expected %zu bytes from offset %llu "
                       "within '%.*s', found %zu bytes in the file",
                       bytes, (unsigned long long)e.offset,
                       PQ_STR_ARG(e.location), x->map.n);
    }
    static const uint8_t nothing;
    *out = (pq_span){x->map.n == 0 ? &nothing : x->map.p + e.offset, bytes};
    return PTQC_OK;
}

static ptqc_status
describe(pq_onnx_importer *im, const pq_onnx_external *x, pq_import_file *out)
{
    pq_arena *arena = &im->model->arena;
    char *path = pq_arena_strndup(arena, x->location.p, x->location.n);
    PQ_TRY_ALLOC(path);
    out->path = (pq_str){path, x->location.n};
    out->bytes = x->map.n;
    bool is_hashed = im->options == NULL || !im->options->no_hash;
    return is_hashed ? pq_sha256_of(im->ctx, x->map.p, x->map.n, &out->sha256)
                     : PTQC_OK;
}

ptqc_status
pq_onnx_external_finish(pq_onnx_importer *im)
{
    uint32_t count = im->model->file_count;
    for (pq_onnx_external *x = im->externals; x != NULL; x = x->next) {
        count++;
    }
    pq_import_file *files =
        pq_arena_array(&im->model->arena, count, sizeof *files);
    PQ_TRY_ALLOC(files);
    memcpy(files, im->model->files, im->model->file_count * sizeof *files);
    // The list is newest first, the table in order of use.
    uint32_t at = count;
    for (pq_onnx_external *x = im->externals; x != NULL; x = x->next) {
        PQ_TRY(describe(im, x, &files[--at]));
    }
    im->model->files = files;
    im->model->file_count = count;
    while (im->externals != NULL) {
        pq_onnx_external *x = im->externals;
        PQ_TRY(pq_graph_adopt_map(im->g, x->map));
        im->externals = x->next;
    }
    return PTQC_OK;
}

void
pq_onnx_external_close(pq_onnx_importer *im)
{
    for (pq_onnx_external *x = im->externals; x != NULL; x = x->next) {
        pq_map_close(&x->map);
    }
    im->externals = NULL;
}
