// SPDX-License-Identifier: Apache-2.0
//
// A TensorProto alone in a file, as in the test_data_set folders of ONNX
// models. It is read as a weight of a model would be, into a graph that is
// thrown away.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "frontend/onnx/importer.h"
#include "frontend/onnx/onnx.h"

typedef struct tensor_reader {
    ptqc_ctx *ctx;
    const char *path;
    pq_arena scratch;
    pq_model model;
    pq_graph *g;
    char said[512]; // held back, to be said with the path
} tensor_reader;

static void
hold(void *user, ptqc_severity severity, ptqc_status status, const char *text)
{
    tensor_reader *r = user;
    (void)status;
    if (severity == PTQC_SEVERITY_ERROR) {
        snprintf(r->said, sizeof r->said, "%s", text);
    }
}

static ptqc_status
to_constant(tensor_reader *r, const pq_onnx_tensor *t, pq_const_id *out)
{
    pq_onnx_importer im = {.ctx = r->ctx,
                           .path = r->path,
                           .model = &r->model,
                           .g = r->g,
                           .arena = &r->scratch};
    ptqc_diag_fn fn = hold;
    void *user = r;
    if (t->data_location != 0) {
        return PQ_FAIL(r->ctx, PTQC_E_UNSUPPORTED,
                       "%s: a tensor with external data", r->path);
    }
    pq_ctx_swap_diag(r->ctx, &fn, &user);
    ptqc_status st = pq_onnx_tensor_constant(&im, t, t->name, out);
    pq_ctx_swap_diag(r->ctx, &fn, &user);
    return st == PTQC_OK ? st : PQ_FAIL(r->ctx, st, "%s: %s", r->path, r->said);
}

static ptqc_status
copy_out(const pq_graph *g, pq_const_id id, const pq_onnx_tensor *t,
         pq_arena *arena, pq_str *out_name, pq_constant *out)
{
    const pq_constant *c = pq_graph_constant(g, id);
    *out = *c;
    out->dims = pq_arena_memdup(arena, c->dims, c->rank * sizeof *c->dims);
    out->p = pq_arena_memdup(arena, c->p, c->bytes);
    *out_name =
        (pq_str){pq_arena_strndup(arena, t->name.p, t->name.n), t->name.n};
    return out->dims != NULL && out->p != NULL && out_name->p != NULL
               ? PTQC_OK
               : PTQC_E_RESOURCE;
}

static ptqc_status
read_bytes(tensor_reader *r, const pq_map *map, pq_arena *arena,
           pq_str *out_name, pq_constant *out)
{
    pq_onnx_tensor t;
    pq_const_id id;
    PQ_TRY(pq_onnx_decode_tensor(&r->scratch, r->path, map->p, map->n, &t));
    PQ_TRY(pq_graph_create(r->ctx, &r->g));
    PQ_TRY(to_constant(r, &t, &id));
    return copy_out(r->g, id, &t, arena, out_name, out);
}

ptqc_status
pq_onnx_read_tensor(ptqc_ctx *ctx, const char *path, pq_arena *arena,
                    pq_str *out_name, pq_constant *out)
{
    pq_map map;
    tensor_reader r = {.ctx = ctx, .path = path, .said = "out of memory"};
    PQ_TRY(pq_map_open(ctx, path, &map));
    pq_arena_init(&r.scratch, ctx);
    ptqc_status st = read_bytes(&r, &map, arena, out_name, out);
    pq_graph_destroy(r.g);
    pq_arena_deinit(&r.scratch);
    pq_map_close(&map);
    return st;
}
