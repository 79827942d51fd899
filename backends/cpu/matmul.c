// SPDX-License-Identifier: Apache-2.0
//
// Matmul with constant weights, and batched f32 matmul of two run-time
// operands, which packs each block of columns of b into the worker's scratch
// before its tiles (gemm.h).
#include <string.h>

#include "backends/kgen/say.h"
#include "gemm.h"
#include "product.h"

// ---- matmul ---------------------------------------------------------------

struct pq_matmul {
    const ptqc_host *host; // borrowed
    pq_product product;
};

ptqc_be_status
pq_matmul_prepare(pq_jit *jit, ptqc_call *call, const pq_matmul_desc *desc,
                  pq_matmul **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    *out = NULL;
    pq_product_desc product = {
        .m = desc->m,
        .n = desc->weight.n,
        .taps = 1,
        .run = desc->weight.k,
        .group = desc->weight.group,
        .weight = desc->weight.format,
        .asymmetric = desc->weight.asymmetric,
        .half_scales = desc->weight.half_scales,
        .digits = desc->digits,
        .is_even = 1,
        .epilogue = desc->epilogue,
    };
    pq_matmul *op = host->vt->alloc(host->self, sizeof *op, 64);
    if (op == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory for a matmul");
    }
    op->host = host;
    ptqc_be_status st = pq_product_prepare(jit, call, &product, &op->product);
    if (st != PTQC_BE_OK) {
        pq_matmul_destroy(op);
        return st;
    }
    *out = op;
    return PTQC_BE_OK;
}

void
pq_matmul_destroy(pq_matmul *op)
{
    if (op != NULL) {
        op->host->vt->free(op->host->self, op);
    }
}

uint64_t
pq_matmul_scratch_bytes(const pq_matmul *op)
{
    return pq_product_scratch_bytes(&op->product);
}

typedef struct matrix_rows {
    const pq_product *product;
    const uint8_t *a;
    int64_t stride;
} matrix_rows;

static void
fill_rows(const void *user, int64_t tile, int64_t index, const void **out)
{
    const matrix_rows *rows = user;
    int64_t first = pq_cut_begin(&rows->product->tiles, tile);
    int64_t count = pq_cut_length(&rows->product->tiles, tile);
    (void)index;
    for (int64_t i = 0; i < count; i++) {
        out[i] = rows->a + (first + i) * rows->stride;
    }
}

void
pq_matmul_run(const pq_matmul *op, const pq_matmul_io *io,
              const pq_worker *worker)
{
    pq_product_io product = {io->weights, io->init, io->out, io->out_stride,
                             io->epilogue};
    matrix_rows rows = {&op->product, io->a, io->a_stride};
    pq_product_run(&op->product, &product, worker, fill_rows, &rows);
}

// ---- bmm ------------------------------------------------------------------

struct pq_bmm {
    const ptqc_host *host; // borrowed
    pq_bmm_desc desc;
    pq_product product; // of one batch
    int64_t batches;
};

ptqc_be_status
pq_bmm_prepare(pq_jit *jit, ptqc_call *call, const pq_bmm_desc *desc,
               pq_bmm **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    *out = NULL;
    if (desc->batch_rank > PQ_BMM_RANK_MAX ||
        (desc->b_k_stride != 4 && desc->b_n_stride != 4)) {
        return pq_kg_fail(host, call, PTQC_BE_INTERNAL,
                          "cpu: invalid batched matmul");
    }
    pq_bmm *op = host->vt->alloc(host->self, sizeof *op, 64);
    if (op == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory for a batched matmul");
    }
    op->host = host;
    op->desc = *desc;
    op->batches = 1;
    for (uint32_t i = 0; i < desc->batch_rank; i++) {
        op->batches *= desc->batch[i];
    }
    pq_product_desc product = {.m = desc->m,
                               .n = desc->n,
                               .taps = 1,
                               .run = desc->k,
                               .weight = PQ_WEIGHT_F32,
                               .epilogue = desc->epilogue};
    ptqc_be_status st = pq_product_prepare(jit, call, &product, &op->product);
    if (st != PTQC_BE_OK) {
        pq_bmm_destroy(op);
        return st;
    }
    *out = op;
    return PTQC_BE_OK;
}

void
pq_bmm_destroy(pq_bmm *op)
{
    if (op != NULL) {
        op->host->vt->free(op->host->self, op);
    }
}

uint64_t
pq_bmm_scratch_bytes(const pq_bmm *op)
{
    int64_t strips = pq_cut_length(&op->product.blocks, 0);
    return (uint64_t)(strips * op->product.strip_bytes);
}

// A strip of b whose columns are contiguous: 16 floats of every row.
static void
pack_rows(const uint8_t *b, int64_t k, int64_t k_stride, int64_t columns,
          float *out)
{
    if (columns == 16) {
        for (int64_t i = 0; i < k; i++) {
            memcpy(out + 16 * i, b + i * k_stride, 64);
        }
        return;
    }
    for (int64_t i = 0; i < k; i++) {
        memset(out + 16 * i, 0, 64);
        memcpy(out + 16 * i, b + i * k_stride, 4 * (size_t)columns);
    }
}

// A strip of b whose rows are contiguous: transposed.
static void
pack_columns(const uint8_t *b, int64_t k, int64_t n_stride, int64_t columns,
             float *out)
{
    if (columns < 16) {
        memset(out, 0, 64 * (size_t)k);
    }
    for (int64_t lane = 0; lane < columns; lane++) {
        const float *from = (const float *)(const void *)(b + lane * n_stride);
        for (int64_t i = 0; i < k; i++) {
            out[16 * i + lane] = from[i];
        }
    }
}

static void
pack_block(const pq_bmm *op, const uint8_t *b, int64_t block, float *out)
{
    const pq_bmm_desc *desc = &op->desc;
    int64_t first = pq_cut_begin(&op->product.blocks, block);
    int64_t strips = pq_cut_length(&op->product.blocks, block);
    for (int64_t s = 0; s < strips; s++, out += 16 * desc->k) {
        int64_t column = 16 * (first + s);
        int64_t rest = desc->n - column;
        int64_t columns = rest < 16 ? rest : 16;
        const uint8_t *from = b + column * desc->b_n_stride;
        if (desc->b_n_stride == 4) {
            pack_rows(from, desc->k, desc->b_k_stride, columns, out);
        } else {
            pack_columns(from, desc->k, desc->b_n_stride, columns, out);
        }
    }
}

// Bytes from the start to batch `index` under the given strides.
static int64_t
batch_offset(const pq_bmm_desc *desc, const int64_t *strides, int64_t index)
{
    int64_t offset = 0;
    for (uint32_t i = desc->batch_rank; i-- > 0;) {
        offset += index % desc->batch[i] * strides[i];
        index /= desc->batch[i];
    }
    return offset;
}

// Tiles [tiles.begin, tiles.end) of one block of one batch.
static void
run_block(const pq_bmm *op, const pq_bmm_io *io, int64_t item, pq_range tiles,
          void *scratch)
{
    const pq_bmm_desc *desc = &op->desc;
    const pq_product *p = &op->product;
    int64_t batch = item / p->blocks.count;
    int64_t block = item % p->blocks.count;
    pq_product_io product = {
        .out = (uint8_t *)io->out +
               batch_offset(desc, desc->out_batch_stride, batch),
        .out_stride = desc->out_stride,
        .epilogue = io->epilogue,
    };
    if (desc->epilogue.residual != PQ_ELEM_NONE) {
        product.epilogue.residual =
            (const uint8_t *)io->epilogue.residual +
            batch_offset(desc, desc->residual_batch_stride, batch);
    }
    matrix_rows rows = {p,
                        (const uint8_t *)(const void *)io->a +
                            batch_offset(desc, desc->a_batch_stride, batch),
                        desc->a_stride};
    pack_block(op,
               (const uint8_t *)(const void *)io->b +
                   batch_offset(desc, desc->b_batch_stride, batch),
               block, scratch);
    pq_tile_args args;
    pq_product_begin(p, &product, &args);
    pq_product_block(p, &product, block, scratch, &args);
    for (int64_t tile = tiles.begin; tile < tiles.end; tile++) {
        const void *pointers[PQ_TILE_ROWS_MAX];
        fill_rows(&rows, tile, 0, pointers);
        pq_product_tile(p, &product, block, tile, pointers, &args);
    }
}

void
pq_bmm_run(const pq_bmm *op, const pq_bmm_io *io, const pq_worker *worker)
{
    int64_t tiles = op->product.tiles.count;
    int64_t items = op->batches * op->product.blocks.count;
    pq_range mine = pq_worker_range(worker, items * tiles, 1);
    for (int64_t at = mine.begin; at < mine.end;) {
        int64_t item = at / tiles;
        int64_t end =
            (item + 1) * tiles < mine.end ? (item + 1) * tiles : mine.end;
        pq_range part = {at - item * tiles, end - item * tiles};
        run_block(op, io, item, part, worker->scratch);
        at = end;
    }
}
