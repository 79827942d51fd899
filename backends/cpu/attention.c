// SPDX-License-Identifier: Apache-2.0
//
// Driver of attention (attention.h). The queries that share a head of k and v
// are numbered query by query, in a query head by head, and cut into blocks.
// Scratch of a worker: panels of keys, then scores and sums of a block.
#include "attention.h"

#include <string.h>

#include "backends/kgen/say.h"
#include "emit_attention.h"
#include "emit_row.h"
#include "gemm.h"
#include "tile.h"

#define LANES 16
// Queries of a block: many share a transposed panel; their scores have to
// stay near.
#define BLOCK_ROWS_MAX    48
#define BLOCK_UNIT        24 // every size of a tile divides it
#define BLOCK_SCORE_BYTES ((int64_t)1 << 20)
// Keys whose values are summed up before the next queries use them.
#define CHUNK_KEYS 64

// Kernels for tiles of 1, `rows` and the rows that are left over.
enum { TILE_ONE, TILE_FULL, TILE_REST, TILE_KINDS };

struct pq_attention {
    const ptqc_host *host; // borrowed
    pq_attention_desc d;
    int64_t group;                  // query heads per head of k
    int64_t rows;                   // queries of a head of k: tq * group
    int64_t block, blocks;          // queries of a block; blocks of a head of k
    int64_t score_tile, weigh_tile; // queries of a tile
    int64_t strips;                 // panels at once
    int64_t columns;                // of dv in a call of the sums, at most
    int64_t score_stride;           // floats
    void (*panel)(const pq_panel_args *args);
    pq_tile_fn score[TILE_KINDS];
    // [kind][0: `columns` columns, 1: the last ones]
    void (*weigh[TILE_KINDS][2])(const pq_weigh_args *args);
    pq_row_kernel softmax;
};

// ---- preparation -----------------------------------------------------------

static int64_t
min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int
is_vector_512(pq_isa isa)
{
    return isa != PQ_ISA_AVX2 && isa != PQ_ISA_AARCH64;
}

static void
set_sizes(pq_attention *op, pq_isa isa)
{
    const pq_attention_desc *d = &op->d;
    int wide = is_vector_512(isa);
    op->group = d->heads / d->kv_heads;
    op->rows = d->tq * op->group;
    op->strips = wide ? 2 : 1;
    int64_t step = LANES * op->strips;
    int64_t keys = d->tk > 0 ? d->tk : 1;
    op->score_stride = (keys + step - 1) / step * step;
    op->score_tile = min_i64(wide ? 12 : 4, op->rows);
    int64_t strips = (d->dv + LANES - 1) / LANES;
    int64_t at_once = min_i64(strips, wide ? 4 : 2);
    op->columns = at_once * LANES;
    op->weigh_tile = min_i64((wide ? 24 : 4) / at_once, op->rows);
    int64_t fit = BLOCK_SCORE_BYTES / (4 * op->score_stride);
    int64_t block = min_i64(BLOCK_ROWS_MAX, fit) / BLOCK_UNIT * BLOCK_UNIT;
    op->block = min_i64(block > 0 ? block : BLOCK_UNIT, op->rows);
    op->blocks = (op->rows + op->block - 1) / op->block;
}

static ptqc_be_status
get_score(pq_attention *op, pq_jit *jit, ptqc_call *call, int kind,
          int64_t rows)
{
    pq_tile_desc desc = {
        .weight = PQ_WEIGHT_F32,
        .rows = (uint32_t)rows,
        .strips = (uint32_t)op->strips,
        .rest = (uint32_t)(op->d.d % 4),
        .epilogue = {.kind = PQ_EPI_FLOAT, .out = PQ_ELEM_F32},
    };
    void (*code)(void);
    ptqc_be_status st = pq_jit_get(jit, call, &pq_tile_class, &desc, &code);
    if (st == PTQC_BE_OK) {
        op->score[kind] = (pq_tile_fn)code;
    }
    return st;
}

static ptqc_be_status
get_weigh(pq_attention *op, pq_jit *jit, ptqc_call *call, int kind,
          int64_t rows)
{
    int64_t dv = op->d.dv;
    int64_t last = dv - (dv - 1) / op->columns * op->columns;
    for (int i = 0; i < 2; i++) {
        int64_t columns = i == 0 ? op->columns : last;
        pq_weigh_desc desc = {
            .dtype = op->d.v_dtype,
            .rows = (uint32_t)rows,
            .strips = (uint32_t)((columns + LANES - 1) / LANES),
            .masked = columns % LANES != 0,
        };
        void (*code)(void);
        ptqc_be_status st =
            pq_jit_get(jit, call, &pq_weigh_class, &desc, &code);
        if (st != PTQC_BE_OK) {
            return st;
        }
        op->weigh[kind][i] = (void (*)(const pq_weigh_args *))code;
    }
    return PTQC_BE_OK;
}

// Kernels of one row, of `tile` rows, and of what the last block leaves over;
// the other blocks are whole tiles.
static ptqc_be_status
get_kinds(pq_attention *op, pq_jit *jit, ptqc_call *call, int64_t tile,
          ptqc_be_status (*get)(pq_attention *, pq_jit *, ptqc_call *, int,
                                int64_t))
{
    int64_t rows[TILE_KINDS] = {
        [TILE_ONE] = 1,
        [TILE_FULL] = tile,
        [TILE_REST] = (op->rows - (op->blocks - 1) * op->block) % tile,
    };
    for (int kind = 0; kind < TILE_KINDS; kind++) {
        if (rows[kind] > 0) {
            ptqc_be_status st = get(op, jit, call, kind, rows[kind]);
            if (st != PTQC_BE_OK) {
                return st;
            }
        }
    }
    return PTQC_BE_OK;
}

static ptqc_be_status
get_kernels(pq_attention *op, pq_jit *jit, ptqc_call *call)
{
    pq_panel_desc panel = {op->d.k_dtype, (uint32_t)(op->d.d % LANES)};
    pq_row_key softmax = {.what = PQ_ROW_SOFTMAX,
                          .flags =
                              PQ_ROW_SCALE | (op->d.mask ? PQ_ROW_BIAS : 0)};
    void (*code)(void);
    ptqc_be_status st = pq_jit_get(jit, call, &pq_panel_class, &panel, &code);
    if (st != PTQC_BE_OK) {
        return st;
    }
    op->panel = (void (*)(const pq_panel_args *))code;
    st = pq_jit_get(jit, call, &pq_row_class, &softmax, &code);
    if (st != PTQC_BE_OK) {
        return st;
    }
    op->softmax = (pq_row_kernel)code;
    st = get_kinds(op, jit, call, op->score_tile, get_score);
    return st == PTQC_BE_OK
               ? get_kinds(op, jit, call, op->weigh_tile, get_weigh)
               : st;
}

ptqc_be_status
pq_attention_prepare(pq_jit *jit, ptqc_call *call,
                     const pq_attention_desc *desc, pq_attention **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    *out = NULL;
    pq_attention *op = host->vt->alloc(host->self, sizeof *op, 64);
    if (op == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory for attention");
    }
    *op = (pq_attention){.host = host, .d = *desc};
    set_sizes(op, pq_jit_isa(jit));
    ptqc_be_status st = get_kernels(op, jit, call);
    if (st != PTQC_BE_OK) {
        pq_attention_destroy(op);
        return st;
    }
    *out = op;
    return PTQC_BE_OK;
}

void
pq_attention_destroy(pq_attention *op)
{
    if (op != NULL) {
        op->host->vt->free(op->host->self, op);
    }
}

static int64_t
panel_floats(const pq_attention *op)
{
    return LANES * op->d.d * op->strips;
}

uint64_t
pq_attention_scratch_bytes(const pq_attention *op)
{
    int64_t floats =
        panel_floats(op) + op->block * (op->score_stride + op->d.dv);
    return (uint64_t)(4 * floats);
}

// ---- one block -------------------------------------------------------------

typedef struct block {
    const pq_attention *op;
    const pq_attention_io *io;
    int64_t batch, kv;    // head of k and v
    int64_t first, count; // queries
    int64_t keys;         // the most that one of them sees
    float *panel, *scores, *sums;
    int64_t seen[BLOCK_ROWS_MAX]; // keys that each query sees
} block;

static const uint8_t *
at_row(const void *p, const pq_attention_strides *s, int64_t batch,
       int64_t head, int64_t row)
{
    return (const uint8_t *)p + batch * s->batch + head * s->head +
           row * s->row;
}

static int64_t
head_of(const block *b, int64_t row)
{
    return b->kv * b->op->group + (b->first + row) % b->op->group;
}

static int64_t
query_of(const block *b, int64_t row)
{
    return (b->first + row) / b->op->group;
}

static float *
y_of(const block *b, int64_t row)
{
    const pq_attention_strides *s = &b->op->d.y;
    uint8_t *y = (uint8_t *)b->io->y + b->batch * s->batch +
                 head_of(b, row) * s->head + query_of(b, row) * s->row;
    return (float *)(void *)y;
}

static void
count_keys(block *b)
{
    const pq_attention_desc *d = &b->op->d;
    b->keys = 0;
    for (int64_t i = 0; i < b->count; i++) {
        int64_t q = query_of(b, i);
        int64_t n = d->positions
                        ? (int64_t)b->io->positions[b->batch * d->tq + q] + 1
                    : d->causal ? q + d->tk - d->tq + 1
                                : d->tk;
        b->seen[i] = n < 0 ? 0 : min_i64(n, d->tk);
        b->keys = b->seen[i] > b->keys ? b->seen[i] : b->keys;
    }
}

// The kind of the tile at row `at` of the block, and its rows.
static int
tile_kind(const block *b, int64_t tile, int64_t at, int64_t *out_rows)
{
    int64_t rest = b->count - at;
    *out_rows = rest < tile ? rest : tile;
    return rest < tile ? TILE_REST : TILE_FULL;
}

// Scores of all queries with the keys of the panels, which begin at `key`.
static void
score_panels(const block *b, int64_t key)
{
    const pq_attention *op = b->op;
    pq_tile_args args = {
        .taps = 1,
        .steps = op->d.d / 4,
        .weights = b->panel,
        .weight_stride = 64 * op->d.d,
        .out_stride = 4 * op->score_stride,
    };
    for (int64_t at = 0; at < b->count; at += op->score_tile) {
        const void *rows[PQ_TILE_ROWS_MAX];
        int64_t count;
        int kind = tile_kind(b, op->score_tile, at, &count);
        for (int64_t i = 0; i < count; i++) {
            rows[i] = at_row(b->io->q, &op->d.q, b->batch, head_of(b, at + i),
                             query_of(b, at + i));
        }
        args.rows = rows;
        args.out = b->scores + at * op->score_stride + key;
        op->score[kind](&args);
    }
}

static void
score_block(const block *b)
{
    const pq_attention *op = b->op;
    pq_panel_args args = {.stride = op->d.k.row, .d = op->d.d};
    for (int64_t key = 0; key < b->keys; key += LANES * op->strips) {
        for (int64_t s = 0; s < op->strips; s++) {
            int64_t first = key + LANES * s;
            // panels beyond the last key repeat it
            first = first < b->keys ? first : b->keys - 1;
            args.rows = at_row(b->io->k, &op->d.k, b->batch, b->kv, first);
            args.last = b->keys - 1 - first;
            args.out = b->panel + s * LANES * op->d.d;
            op->panel(&args);
        }
        score_panels(b, key);
    }
}

static void
softmax_block(const block *b)
{
    const pq_attention_desc *d = &b->op->d;
    for (int64_t i = 0; i < b->count; i++) {
        float *row = b->scores + i * b->op->score_stride;
        pq_row_args args = {.in = {row},
                            .out = row,
                            .rows = 1,
                            .length = b->seen[i],
                            .scale = d->scale};
        if (d->mask) {
            args.in[1] = b->io->mask + b->batch * d->mask_strides[0] +
                         head_of(b, i) * d->mask_strides[1] +
                         query_of(b, i) * d->mask_strides[2];
        }
        if (b->seen[i] > 0) {
            b->op->softmax(&args);
        }
    }
}

// Adds the values of keys [from, to), which the rows of the tile at `at` all
// see, to their sums.
static void
weigh_tile(const block *b, int64_t at, int kind, int64_t from, int64_t to)
{
    const pq_attention *op = b->op;
    int64_t bytes = op->d.v_dtype == PTQC_F32 ? 4 : 2;
    const uint8_t *v = at_row(b->io->v, &op->d.v, b->batch, b->kv, from);
    pq_weigh_args args = {
        .p = b->scores + at * op->score_stride + from,
        .p_stride = 4 * op->score_stride,
        .v_stride = op->d.v.row,
        .keys = to - from,
        .out_stride = 4 * op->d.dv,
    };
    for (int64_t c = 0; c < op->d.dv && from < to; c += op->columns) {
        int is_last = op->d.dv - c <= op->columns;
        args.v = v + c * bytes;
        args.out = b->sums + at * op->d.dv + c;
        args.columns = is_last ? op->d.dv - c : op->columns;
        op->weigh[kind][is_last](&args);
    }
}

// Keys [from, to): as far as all rows of a tile see them at once, then row by
// row.
static void
weigh_chunk(const block *b, int64_t from, int64_t to)
{
    int64_t tile = b->op->weigh_tile;
    for (int64_t at = 0; at < b->count; at += tile) {
        int64_t rows;
        int kind = tile_kind(b, tile, at, &rows);
        int64_t common = to;
        for (int64_t i = at; i < at + rows; i++) {
            common = min_i64(common, b->seen[i]);
        }
        weigh_tile(b, at, kind, from, common);
        common = common > from ? common : from;
        for (int64_t i = at; i < at + rows; i++) {
            weigh_tile(b, i, TILE_ONE, common, min_i64(to, b->seen[i]));
        }
    }
}

static void
run_block(block *b)
{
    const pq_attention *op = b->op;
    size_t bytes = (size_t)op->d.dv * sizeof(float);
    count_keys(b);
    score_block(b);
    softmax_block(b);
    memset(b->sums, 0, (size_t)b->count * bytes);
    for (int64_t key = 0; key < b->keys; key += CHUNK_KEYS) {
        weigh_chunk(b, key, min_i64(key + CHUNK_KEYS, b->keys));
    }
    for (int64_t i = 0; i < b->count; i++) {
        memcpy(y_of(b, i), b->sums + i * op->d.dv, bytes);
    }
}

void
pq_attention_run(const pq_attention *op, const pq_attention_io *io,
                 const pq_worker *worker)
{
    int64_t heads = op->d.batch * op->d.kv_heads;
    pq_range mine = pq_worker_range(worker, heads * op->blocks, 1);
    block b = {.op = op, .io = io, .panel = worker->scratch};
    b.scores = b.panel + panel_floats(op);
    b.sums = b.scores + op->block * op->score_stride;
    for (int64_t i = mine.begin; i < mine.end; i++) {
        int64_t head = i / op->blocks;
        b.batch = head / op->d.kv_heads;
        b.kv = head % op->d.kv_heads;
        b.first = i % op->blocks * op->block;
        b.count = min_i64(op->block, op->rows - b.first);
        run_block(&b);
    }
}
