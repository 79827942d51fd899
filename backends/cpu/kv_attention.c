// SPDX-License-Identifier: Apache-2.0
//
// Driver of attention over states (kv_attention.h). The queries that share a
// head of k and v are rows: query by query, in a query head by head. Rows are
// computed in tiles of a kernel's registers. When there are several tiles,
// a block of keys, or a chunk of values, is widened to f32 once for all.
#include "kv_attention.h"

#include <math.h>
#include <string.h>

#include "backends/kgen/say.h"
#include "emit_kv.h"
#include "kv.h"

#define LANES 16
// Rows of a block: many share what is widened; their scores stay near.
#define BLOCK_ROWS_MAX    96
#define BLOCK_UNIT        12 // every size of a tile divides it
#define BLOCK_SCORE_BYTES ((int64_t)512 << 10)
// Keys whose values are summed up before the next rows use them.
#define CHUNK_KEYS 128
// Few heads with room for many keys are shared out by keys and by columns.
#define SPLIT_KEYS  512
#define SPLIT_HEADS 32

// Kernels for tiles of 1, `tile` and the rows that are left over.
enum { TILE_ONE, TILE_FULL, TILE_REST, TILE_KINDS };

typedef void (*score_fn)(const pq_kv_score_args *args);
typedef void (*sum_fn)(const pq_kv_sum_args *args);
typedef void (*widen_fn)(const pq_kv_widen_args *args);

// How rows are cut for one of the two products.
typedef struct tiling {
    int64_t tile;   // rows
    int64_t strips; // of 16 lanes at once
    int widened;    // operands are made f32 first
} tiling;

struct pq_kv_attention {
    const ptqc_host *host; // borrowed
    pq_kv_attention_desc d;
    int64_t group;         // query heads per head of k
    int64_t rows;          // of a head of k: tq * group
    int64_t block, blocks; // rows of a block; blocks of a head of k
    int is_split;
    int64_t k_bytes, v_bytes; // of elements
    int64_t k_line, v_line;   // elements of a line
    int64_t key_blocks;       // of the capacity
    int64_t panels;           // of values
    int64_t score_stride;     // floats
    int64_t sum_stride;       // floats
    tiling score_tiling, sum_tiling;
    score_fn score[TILE_KINDS];
    sum_fn sum[TILE_KINDS];
    widen_fn widen_k, widen_v;
    void (*softmax)(pq_kv_softmax_args *args);
};

// ---- preparation -----------------------------------------------------------

static int64_t
min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
divide_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t
dtype_bytes(uint32_t dtype)
{
    return dtype == PTQC_F32 ? 4 : dtype == PTQC_I8 ? 1 : 2;
}

// `lines`: strips of a line of the operand. One tile takes it as it lies.
static tiling
choose_tiling(pq_isa isa, int64_t rows, int64_t lines, uint32_t dtype)
{
    int wide = isa != PQ_ISA_AVX2 && isa != PQ_ISA_AARCH64;
    int64_t room = wide ? PQ_KV_ACC_MAX : 6;
    tiling t = {.strips = min_i64(lines, wide ? 2 : 1)};
    if (rows * lines <= room && rows <= 8) {
        t.strips = lines;
    }
    int64_t most = min_i64(room / t.strips, BLOCK_UNIT);
    t.tile = divide_up(rows, divide_up(rows, most));
    t.widened = rows > t.tile && dtype != PTQC_F32;
    return t;
}

static void
set_sizes(pq_kv_attention *op, pq_isa isa)
{
    const pq_kv_attention_desc *d = &op->d;
    op->group = d->heads / d->kv_heads;
    op->rows = d->tq * op->group;
    op->k_bytes = dtype_bytes(d->k_dtype);
    op->v_bytes = dtype_bytes(d->v_dtype);
    op->k_line = pq_kv_line(op->k_bytes);
    op->v_line = pq_kv_line(op->v_bytes);
    op->key_blocks = pq_kv_lines(d->tk, op->k_bytes);
    op->panels = pq_kv_lines(d->dv, op->v_bytes);
    // rows do not begin in the same set of a cache
    op->score_stride = op->key_blocks * op->k_line + LANES;
    op->sum_stride = op->panels * op->v_line;
    int64_t fit = BLOCK_SCORE_BYTES / (4 * op->score_stride);
    int64_t block = min_i64(BLOCK_ROWS_MAX, fit) / BLOCK_UNIT * BLOCK_UNIT;
    op->block = min_i64(block > 0 ? block : BLOCK_UNIT, op->rows);
    op->blocks = divide_up(op->rows, op->block);
    op->score_tiling =
        choose_tiling(isa, op->block, op->k_line / LANES, d->k_dtype);
    op->sum_tiling =
        choose_tiling(isa, op->block, op->v_line / LANES, d->v_dtype);
    op->is_split = op->blocks == 1 && d->tk > SPLIT_KEYS &&
                   d->batch * d->kv_heads < SPLIT_HEADS;
}

static ptqc_be_status
get_code(pq_jit *jit, ptqc_call *call, const pq_kernel_class *kind,
         const void *desc, void (**out)(void))
{
    return pq_jit_get(jit, call, kind, desc, out);
}

static ptqc_be_status
get_widen(pq_jit *jit, ptqc_call *call, const tiling *t, uint32_t dtype,
          widen_fn *out)
{
    pq_kv_widen_desc desc = {dtype};
    void (*code)(void);
    if (!t->widened) {
        return PTQC_BE_OK;
    }
    ptqc_be_status st = get_code(jit, call, &pq_kv_widen_class, &desc, &code);
    *out = st == PTQC_BE_OK ? (widen_fn)code : NULL;
    return st;
}

// Rows of a kind of tile; 0: there are none.
static int64_t
rows_of_kind(const pq_kv_attention *op, const tiling *t, int kind)
{
    int64_t last = op->rows - (op->blocks - 1) * op->block;
    switch (kind) {
    case TILE_ONE:
        return 1;
    case TILE_FULL:
        return t->tile;
    default: // the blocks before the last one are whole tiles
        return last % t->tile;
    }
}

// How far ahead of the arithmetic of so many rows lines are asked for. With
// few rows the processor itself is ahead enough (measured on Zen 4).
static uint32_t
lines_ahead(const tiling *t, int64_t rows)
{
    return t->widened || rows < 3 ? 0 : rows < 6 ? 512 : 2048;
}

static ptqc_be_status
get_tiles(pq_kv_attention *op, pq_jit *jit, ptqc_call *call, int kind)
{
    const pq_kv_attention_desc *d = &op->d;
    const tiling *k = &op->score_tiling, *v = &op->sum_tiling;
    int64_t score_rows = rows_of_kind(op, k, kind);
    int64_t sum_rows = rows_of_kind(op, v, kind);
    pq_kv_score_desc score = {
        k->widened ? PTQC_F32 : d->k_dtype, (uint32_t)score_rows,
        (uint32_t)k->strips, d->k_dtype == PTQC_I8, lines_ahead(k, score_rows)};
    pq_kv_sum_desc sum = {v->widened ? PTQC_F32 : d->v_dtype,
                          (uint32_t)sum_rows, (uint32_t)v->strips,
                          lines_ahead(v, sum_rows)};
    void (*code)(void);
    ptqc_be_status st = PTQC_BE_OK;
    if (score_rows > 0 && kind != TILE_ONE) {
        st = get_code(jit, call, &pq_kv_score_class, &score, &code);
        op->score[kind] = st == PTQC_BE_OK ? (score_fn)code : NULL;
    }
    if (sum_rows > 0 && st == PTQC_BE_OK) {
        st = get_code(jit, call, &pq_kv_sum_class, &sum, &code);
        op->sum[kind] = st == PTQC_BE_OK ? (sum_fn)code : NULL;
    }
    return st;
}

static ptqc_be_status
get_kernels(pq_kv_attention *op, pq_jit *jit, ptqc_call *call)
{
    const pq_kv_attention_desc *d = &op->d;
    pq_kv_softmax_desc softmax = {d->v_dtype == PTQC_I8};
    void (*code)(void);
    ptqc_be_status st =
        get_code(jit, call, &pq_kv_softmax_class, &softmax, &code);
    if (st != PTQC_BE_OK) {
        return st;
    }
    op->softmax = (void (*)(pq_kv_softmax_args *))code;
    st = get_widen(jit, call, &op->score_tiling, d->k_dtype, &op->widen_k);
    if (st == PTQC_BE_OK) {
        st = get_widen(jit, call, &op->sum_tiling, d->v_dtype, &op->widen_v);
    }
    for (int kind = 0; kind < TILE_KINDS && st == PTQC_BE_OK; kind++) {
        st = get_tiles(op, jit, call, kind);
    }
    return st;
}

ptqc_be_status
pq_kv_attention_prepare(pq_jit *jit, ptqc_call *call,
                        const pq_kv_attention_desc *desc, pq_kv_attention **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    *out = NULL;
    pq_kv_attention *op = host->vt->alloc(host->self, sizeof *op, 64);
    if (op == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory for attention");
    }
    *op = (pq_kv_attention){.host = host, .d = *desc};
    set_sizes(op, pq_jit_isa(jit));
    ptqc_be_status st = get_kernels(op, jit, call);
    if (st != PTQC_BE_OK) {
        pq_kv_attention_destroy(op);
        return st;
    }
    *out = op;
    return PTQC_BE_OK;
}

void
pq_kv_attention_destroy(pq_kv_attention *op)
{
    if (op != NULL) {
        op->host->vt->free(op->host->self, op);
    }
}

// ---- memory ----------------------------------------------------------------

// Floats, each part a multiple of a line.
typedef struct parts {
    int64_t q, scores, sums, wide, all;
} parts;

static int64_t
whole_lines(int64_t floats)
{
    return divide_up(floats, LANES) * LANES;
}

static parts
parts_of(const pq_kv_attention *op)
{
    int64_t keys = op->d.d * op->k_line, values = CHUNK_KEYS * op->v_line;
    parts p = {.q = 0};
    p.scores = p.q + whole_lines(op->block * op->d.d);
    p.sums = p.scores + whole_lines(op->block * op->score_stride);
    p.wide = p.sums + whole_lines(op->block * op->sum_stride);
    p.all = p.wide + whole_lines(keys > values ? keys : values);
    return p;
}

uint64_t
pq_kv_attention_scratch_bytes(const pq_kv_attention *op)
{
    return (uint64_t)(4 * parts_of(op).all);
}

// Split: floats of scores and sums of each head in shared memory; those of the
// worker's scratch are not used then, its queries are.
static int64_t
head_floats(const parts *p)
{
    return p->wide - p->scores;
}

uint64_t
pq_kv_attention_shared_bytes(const pq_kv_attention *op)
{
    int64_t heads = op->d.batch * op->d.kv_heads;
    parts p = parts_of(op);
    return op->is_split ? (uint64_t)(4 * heads * head_floats(&p)) : 0;
}

// ---- one block -------------------------------------------------------------

typedef struct block {
    const pq_kv_attention *op;
    const pq_kv_attention_io *io;
    int64_t batch, kv;    // head of k and v
    int64_t first, count; // rows
    int64_t keys;         // the most that one of them sees
    float *q;             // tiles of [d][rows]
    float *scores, *sums, *wide;
    int64_t seen[BLOCK_ROWS_MAX]; // keys that each row sees
} block;

static int64_t
head_index(const block *b)
{
    return b->batch * b->op->d.kv_heads + b->kv;
}

static int64_t
row_offset(const block *b, const pq_attention_strides *s, int64_t row)
{
    int64_t at = b->first + row, group = b->op->group;
    return b->batch * s->batch + (b->kv * group + at % group) * s->head +
           at / group * s->row;
}

static const uint8_t *
keys_of(const block *b)
{
    const pq_kv_attention *op = b->op;
    return (const uint8_t *)b->io->k +
           head_index(b) * op->key_blocks * 64 * op->d.d;
}

static const uint8_t *
values_of(const block *b, int64_t panel)
{
    const pq_kv_attention *op = b->op;
    return (const uint8_t *)b->io->v +
           (head_index(b) * op->panels + panel) * op->d.tk * 64;
}

static const float *
scales_of(const block *b, const float *all)
{
    int64_t stride = divide_up(b->op->d.tk, PQ_KV_SCALE_TOKENS);
    return all == NULL ? NULL
                       : all + head_index(b) * stride * PQ_KV_SCALE_TOKENS;
}

static void
count_keys(block *b)
{
    const pq_kv_attention_desc *d = &b->op->d;
    b->keys = 0;
    for (int64_t i = 0; i < b->count; i++) {
        int64_t q = (b->first + i) / b->op->group;
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
tile_kind(const block *b, const tiling *t, int64_t at, int64_t *out_rows)
{
    int64_t rest = b->count - at;
    *out_rows = rest < t->tile ? rest : t->tile;
    return rest < t->tile ? TILE_REST : TILE_FULL;
}

// Rows of q as the score kernel reads them.
static void
pack_queries(const block *b)
{
    int64_t d = b->op->d.d, rows;
    for (int64_t at = 0; at < b->count; at += rows) {
        (void)tile_kind(b, &b->op->score_tiling, at, &rows);
        float *to = b->q + at * d;
        for (int64_t r = 0; r < rows; r++) {
            const uint8_t *q =
                (const uint8_t *)b->io->q + row_offset(b, &b->op->d.q, at + r);
            const float *from = (const float *)(const void *)q;
            for (int64_t i = 0; i < d; i++) {
                to[i * rows + r] = from[i];
            }
        }
    }
}

// ---- scores ----------------------------------------------------------------

static int64_t
most_seen(const block *b, int64_t at, int64_t rows)
{
    int64_t most = 0;
    for (int64_t i = at; i < at + rows; i++) {
        most = b->seen[i] > most ? b->seen[i] : most;
    }
    return most;
}

// Scores of the tiles whose rows see keys from `key` on. `k` is the first of
// `blocks` blocks, whose lines have `line` bytes.
static void
score_tiles(const block *b, int64_t key, const uint8_t *k, int64_t line,
            int64_t blocks)
{
    const pq_kv_attention *op = b->op;
    const tiling *t = &op->score_tiling;
    const float *scales = scales_of(b, b->io->k_scale);
    pq_kv_score_args args = {.line = line,
                             .d = op->d.d,
                             .blocks = blocks,
                             .block_stride = line * op->d.d,
                             .out_stride = 4 * op->score_stride,
                             .out_step = 4 * op->k_line,
                             .scale = op->d.scale};
    int64_t rows;
    for (int64_t at = 0; at < b->count; at += rows) {
        int kind = tile_kind(b, t, at, &rows);
        if (most_seen(b, at, rows) <= key) {
            continue;
        }
        args.q = b->q + at * op->d.d;
        for (int64_t i = 0; i < op->k_line; i += LANES * t->strips) {
            args.k = k + i * (line / op->k_line);
            args.key_scale = scales != NULL ? scales + key + i : NULL;
            args.out = b->scores + at * op->score_stride + key + i;
            op->score[kind](&args);
        }
    }
}

// Keys [from, to), `from` the first of a block.
static void
score_keys(const block *b, int64_t from, int64_t to)
{
    const pq_kv_attention *op = b->op;
    const tiling *t = &op->score_tiling;
    int is_one = !t->widened && t->strips * LANES == op->k_line;
    int64_t blocks = divide_up(to - from, op->k_line);
    int64_t bytes = 64 * op->d.d;
    const uint8_t *k = keys_of(b) + from / op->k_line * bytes;
    if (is_one && blocks > 0) {
        score_tiles(b, from, k, 64, blocks);
        return;
    }
    for (int64_t i = 0; i < blocks; i++, k += bytes) {
        pq_kv_widen_args wide = {k, b->wide, op->d.d * op->k_line};
        if (t->widened) {
            op->widen_k(&wide);
        }
        score_tiles(b, from + i * op->k_line,
                    t->widened ? (const uint8_t *)b->wide : k,
                    t->widened ? 4 * op->k_line : 64, 1);
    }
}

// ---- sums ------------------------------------------------------------------

// Scores of row i, filled up to whole vectors; -> keys with those that fill.
static int64_t
fill_row(const block *b, int64_t i)
{
    float *row = b->scores + i * b->op->score_stride;
    int64_t keys = divide_up(b->seen[i], LANES) * LANES;
    for (int64_t k = b->seen[i]; k < keys; k++) {
        row[k] = -INFINITY;
    }
    return keys;
}

// Softmax of rows [first, end): each is divided while the next one's
// exponentials are computed.
static void
weigh_rows(const block *b, int64_t first, int64_t end)
{
    const uint8_t *ahead = values_of(b, 0);
    pq_kv_softmax_args args = {.value_scale = scales_of(b, b->io->v_scale)};
    for (int64_t i = first; i <= end; i++) {
        args.row = b->scores + i * b->op->score_stride;
        args.keys = i < end ? fill_row(b, i) : 0;
        args.ahead = ahead;
        b->op->softmax(&args);
        ahead += PQ_KV_AHEAD_BYTES(args.keys);
        args.before = args.row;
        args.keys_before = args.keys;
        args.sum_before = args.sum;
    }
}

// Values of the keys from `from` on, in a panel.
typedef struct value_lines {
    int64_t panel, from;
    const uint8_t *v;
    int64_t line; // bytes from key to key
} value_lines;

// Adds keys [from, to) of these lines to the sums of the tile at row `at`.
static void
sum_tile(const block *b, const value_lines *c, int64_t at, int kind,
         int64_t from, int64_t to)
{
    const pq_kv_attention *op = b->op;
    int64_t step = LANES * op->sum_tiling.strips;
    const uint8_t *v = c->v + (from - c->from) * c->line;
    float *out = b->sums + at * op->sum_stride + c->panel * op->v_line;
    pq_kv_sum_args args = {.p = b->scores + at * op->score_stride + from,
                           .p_stride = 4 * op->score_stride,
                           .v_stride = c->line,
                           .keys = to - from,
                           .out_stride = 4 * op->sum_stride};
    for (int64_t i = 0; i < op->v_line && from < to; i += step) {
        args.v = v + i * (c->line / op->v_line);
        args.out = out + i;
        op->sum[kind](&args);
    }
}

// Keys [from, to): as far as all rows of a tile see them at once, then row by
// row.
static void
sum_chunk(const block *b, int64_t panel, int64_t from, int64_t to)
{
    const pq_kv_attention *op = b->op;
    const tiling *t = &op->sum_tiling;
    value_lines c = {panel, from, values_of(b, panel) + from * 64, 64};
    int64_t rows;
    if (t->widened) {
        pq_kv_widen_args wide = {c.v, b->wide, (to - from) * op->v_line};
        op->widen_v(&wide);
        c.v = (const uint8_t *)b->wide;
        c.line = 4 * op->v_line;
    }
    for (int64_t at = 0; at < b->count; at += rows) {
        int kind = tile_kind(b, t, at, &rows);
        int64_t common = to;
        for (int64_t i = at; i < at + rows; i++) {
            common = min_i64(common, b->seen[i]);
        }
        sum_tile(b, &c, at, kind, from, common);
        common = common > from ? common : from;
        for (int64_t i = at; i < at + rows; i++) {
            sum_tile(b, &c, i, TILE_ONE, common, min_i64(to, b->seen[i]));
        }
    }
}

// One tile reads a panel in one go.
static void
sum_panel(const block *b, int64_t panel)
{
    const pq_kv_attention *op = b->op;
    const tiling *t = &op->sum_tiling;
    int is_one =
        b->count <= t->tile && !t->widened && t->strips * LANES == op->v_line;
    int64_t chunk = is_one ? b->keys : CHUNK_KEYS;
    for (int64_t key = 0; key < b->keys; key += chunk) {
        sum_chunk(b, panel, key, min_i64(key + chunk, b->keys));
    }
}

static void
store_rows(const block *b, int64_t panel)
{
    const pq_kv_attention *op = b->op;
    int64_t first = panel * op->v_line;
    int64_t columns = min_i64(op->v_line, op->d.dv - first);
    for (int64_t i = 0; i < b->count; i++) {
        uint8_t *y = (uint8_t *)b->io->y + row_offset(b, &op->d.y, i);
        memcpy(y + 4 * first, b->sums + i * op->sum_stride + first,
               (size_t)(4 * columns));
    }
}

static void
finish_panel(const block *b, int64_t panel)
{
    const pq_kv_attention *op = b->op;
    for (int64_t i = 0; i < b->count; i++) {
        memset(b->sums + i * op->sum_stride + panel * op->v_line, 0,
               (size_t)(4 * op->v_line));
    }
    sum_panel(b, panel);
    store_rows(b, panel);
}

// ---- running ---------------------------------------------------------------

// Queries and what is widened are the worker's own; `scores` is room for
// scores and sums.
static void
set_memory(block *b, const pq_worker *worker, float *scores)
{
    parts p = parts_of(b->op);
    float *own = worker->scratch;
    b->q = own + p.q;
    b->scores = scores;
    b->sums = scores + (p.sums - p.scores);
    b->wide = own + p.wide;
}

static void
run_block(block *b)
{
    const pq_kv_attention *op = b->op;
    count_keys(b);
    pack_queries(b);
    score_keys(b, 0, b->keys);
    weigh_rows(b, 0, b->count);
    for (int64_t panel = 0; panel < op->panels; panel++) {
        finish_panel(b, panel);
    }
}

static void
run_blocks(const pq_kv_attention *op, const pq_kv_attention_io *io,
           const pq_worker *worker)
{
    int64_t heads = op->d.batch * op->d.kv_heads;
    pq_range mine = pq_worker_range(worker, heads * op->blocks, 1);
    block b = {.op = op, .io = io};
    set_memory(&b, worker, (float *)worker->scratch + parts_of(op).scores);
    for (int64_t i = mine.begin; i < mine.end; i++) {
        int64_t head = i / op->blocks;
        b.batch = head / op->d.kv_heads;
        b.kv = head % op->d.kv_heads;
        b.first = i % op->blocks * op->block;
        b.count = min_i64(op->block, op->rows - b.first);
        run_block(&b);
    }
}

// The only block of a head, its scores and sums in shared memory.
static void
set_head(block *b, int64_t head, const pq_worker *worker)
{
    const pq_kv_attention *op = b->op;
    parts p = parts_of(op);
    b->batch = head / op->d.kv_heads;
    b->kv = head % op->d.kv_heads;
    b->count = op->rows;
    set_memory(b, worker, (float *)b->io->shared + head * head_floats(&p));
    count_keys(b);
}

// The worker's part of the keys of every head.
static void
split_scores(block *b, const pq_worker *worker)
{
    const pq_kv_attention *op = b->op;
    for (int64_t i = 0; i < op->d.batch * op->d.kv_heads; i++) {
        set_head(b, i, worker);
        pack_queries(b); // each worker packs its own
        pq_range mine = pq_worker_range(worker, b->keys, op->k_line);
        score_keys(b, mine.begin, mine.end);
    }
}

static void
run_split(const pq_kv_attention *op, const pq_kv_attention_io *io,
          const pq_worker *worker)
{
    int64_t heads = op->d.batch * op->d.kv_heads;
    block b = {.op = op, .io = io};
    split_scores(&b, worker);
    io->barrier(io->region);
    pq_range rows = pq_worker_range(worker, heads * op->rows, 1);
    while (rows.begin < rows.end) {
        int64_t first = rows.begin % op->rows;
        int64_t count = min_i64(op->rows - first, rows.end - rows.begin);
        set_head(&b, rows.begin / op->rows, worker);
        weigh_rows(&b, first, first + count);
        rows.begin += count;
    }
    io->barrier(io->region);
    pq_range panels = pq_worker_range(worker, heads * op->panels, 1);
    for (int64_t i = panels.begin; i < panels.end; i++) {
        set_head(&b, i / op->panels, worker);
        finish_panel(&b, i % op->panels);
    }
}

void
pq_kv_attention_run(const pq_kv_attention *op, const pq_kv_attention_io *io,
                    const pq_worker *worker)
{
    if (op->is_split && worker->count > 1) {
        run_split(op, io, worker);
    } else {
        run_blocks(op, io, worker);
    }
}
