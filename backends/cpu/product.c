// SPDX-License-Identifier: Apache-2.0
//
// The common driver of tile kernels (product.h). Order of work: chunks of
// tiles, in a chunk block after block, in a block tile after tile: a block of
// weights is used by all tiles of a chunk while it is near, and the pointers
// of a chunk serve all its blocks.
#include "product.h"

#include <string.h>

#include "backends/kgen/say.h"
#include "fixed.h"
#include "gemm.h"

#define LANES             16
#define POINTER_BYTES_MAX 65536
// Weights that stay in a core's L2 beside the input: then rows are shared out
// rather than columns.
#define SMALL_WEIGHT_BYTES 393216
#define CHUNKS_WANTED      16
// Divides the rows of a panel.
#define AMX_TILE_ROWS 8
// Multiplies in an unrolled tap.
#define UNROLL_MAX 500

static pq_cut
cut_axis(int64_t length, int64_t part)
{
    int64_t count = (length + part - 1) / part;
    return (pq_cut){count, length / count, length % count};
}

// ---- preparation ----------------------------------------------------------

static pq_weight_shape
weight_shape(const pq_product_desc *desc)
{
    return (pq_weight_shape){.k = desc->run,
                             .n = desc->n,
                             .format = desc->weight,
                             .asymmetric = desc->asymmetric,
                             .group = desc->group,
                             .half_scales = desc->half_scales};
}

static pq_fixed_shape
rows_shape(const pq_product_desc *desc)
{
    return (pq_fixed_shape){
        .k = desc->run, .group = desc->group, .digits = desc->digits};
}

static int
is_codes(const pq_product_desc *desc)
{
    return pq_weight_is_codes(desc->weight) || pq_weight_is_fixed(desc->weight);
}

// Elements of a step: what the kernel's main loop takes at once.
static int64_t
step_elements(const pq_product_desc *desc)
{
    return pq_weight_is_4_bit(desc->weight) ? 8 : 4;
}

static void
set_constants(pq_product *p)
{
    const pq_product_desc *desc = &p->desc;
    int64_t step = step_elements(desc);
    pq_tile_args *args = &p->constant;
    *args = (pq_tile_args){.taps = desc->taps,
                           .steps = desc->run / step,
                           .weight_stride = p->strip_bytes};
    if (is_codes(desc) && !desc->is_tapped) {
        pq_weight_shape shape = weight_shape(desc);
        int64_t group = desc->group == 0 ? desc->run : desc->group;
        // a single group that ends inside of a line is a "last" group
        int64_t full = desc->group == 0 ? 0 : desc->run / group;
        args->groups = full;
        args->group_lines = group / step;
        args->steps = (desc->run - full * group) / step;
        args->zeros_offset = pq_weight_zeros_offset(&shape);
    }
    if (pq_weight_is_fixed(desc->weight)) {
        int64_t last = desc->run % desc->group;
        args->steps = (last + step - 1) / step; // x is zero beyond k
        pq_fixed_shape rows = rows_shape(desc);
        args->low_offset = pq_fixed_plane(&rows);
        args->sums_offset = pq_fixed_sums_offset(&rows);
        args->scale_offset = pq_fixed_scale_offset(&rows);
    } else if (p->on_amx) {
        args->steps = (desc->run - pq_amx_k(&p->amx)) / step;
    }
}

static void
set_tiling(pq_product *p, pq_isa isa)
{
    const pq_product_desc *desc = &p->desc;
    pq_tile_size size = pq_tile_best(isa, desc->weight, desc->digits, desc->n);
    if (p->on_amx) {
        size = (pq_tile_size){AMX_TILE_ROWS, PQ_AMX_STRIPS};
    }
    p->blocks = cut_axis((desc->n + LANES - 1) / LANES, size.strips);
    p->tiles = cut_axis(desc->m, size.rows);
    int64_t pointers = desc->taps * (p->tiles.base + 1) * 8;
    int64_t most = POINTER_BYTES_MAX / pointers;
    int64_t total = p->strip_bytes * ((desc->n + LANES - 1) / LANES);
    int64_t chunk = p->tiles.count;
    if (total <= SMALL_WEIGHT_BYTES) {
        chunk = (chunk + CHUNKS_WANTED - 1) / CHUNKS_WANTED;
    }
    chunk = chunk < most ? chunk : most;
    p->chunk_tiles = chunk > 0 ? chunk : 1;
}

// Steps of a tap when they are few enough to be unrolled, else 0. One long
// run needs no unrolling.
static uint32_t
unrolled_steps(const pq_product *p, int64_t rows, int64_t strips)
{
    const pq_product_desc *desc = &p->desc;
    int64_t steps = desc->run / 4;
    int64_t multiplies = desc->weight == PQ_WEIGHT_F32 ? 4 : 1;
    return !is_codes(desc) && desc->taps > 1 &&
                   steps * multiplies * rows * strips <= UNROLL_MAX
               ? (uint32_t)steps
               : 0;
}

static uint32_t
rest_elements(const pq_product_desc *desc)
{
    if (pq_weight_is_fixed(desc->weight)) {
        return desc->run % desc->group > 0;
    }
    return (uint32_t)(desc->run % step_elements(desc));
}

// Few rows read each line once, as fast as memory gives it. With more the
// arithmetic is slower than that, and a line is read again for other rows.
static uint32_t
bytes_ahead(const pq_product_desc *desc, const pq_jit *jit, int64_t rows)
{
    return pq_weight_is_fixed(desc->weight) && rows <= 2
               ? pq_jit_read_ahead(jit)
               : 0;
}

static ptqc_be_status
get_kernel(pq_product *p, pq_jit *jit, ptqc_call *call, int tile_kind,
           int block_kind)
{
    const pq_product_desc *desc = &p->desc;
    int64_t rows = p->tiles.base + (tile_kind == 0);
    int64_t strips = p->blocks.base + (block_kind == 0);
    if (block_kind == 2) {
        strips = pq_cut_length(&p->blocks, p->blocks.count - 1);
    }
    pq_tile_desc tile = {
        .weight = desc->weight,
        .asymmetric = desc->asymmetric,
        .is_tapped = desc->is_tapped,
        .rows = (uint32_t)rows,
        .strips = (uint32_t)strips,
        .masked = block_kind == 2 && desc->n % LANES != 0,
        .rest = rest_elements(desc),
        .lines = pq_weight_is_fixed(desc->weight)
                     ? (uint32_t)(desc->group / step_elements(desc))
                     : 0,
        .digits = desc->digits,
        .half_scales = desc->half_scales,
        .is_odd = desc->half_scales && p->constant.groups % 2 != 0,
        .resumes = p->on_amx ? 1u : 0u,
        .is_short = desc->weight == PQ_WEIGHT_S8 && desc->run < 4,
        .steps = unrolled_steps(p, rows, strips),
        .ahead = bytes_ahead(desc, jit, rows),
        .epilogue = desc->epilogue,
    };
    void (*entry)(void);
    ptqc_be_status st = pq_jit_get(jit, call, &pq_tile_class, &tile, &entry);
    if (st == PTQC_BE_OK) {
        p->kernel[tile_kind][block_kind] = (pq_tile_fn)entry;
    }
    return st;
}

// Only the kernels that some (tile, block) needs.
static ptqc_be_status
get_kernels(pq_product *p, pq_jit *jit, ptqc_call *call)
{
    int64_t inner = p->blocks.count - 1; // the last block has its own kernel
    int64_t larger = p->blocks.extra < inner ? p->blocks.extra : inner;
    int is_used[3] = {larger > 0, inner - larger > 0, 1};
    for (int tile = 0; tile < 2; tile++) {
        if (tile == 0 ? p->tiles.extra == 0
                      : p->tiles.extra == p->tiles.count) {
            continue;
        }
        for (int block = 0; block < 3; block++) {
            if (is_used[block]) {
                ptqc_be_status st = get_kernel(p, jit, call, tile, block);
                if (st != PTQC_BE_OK) {
                    return st;
                }
            }
        }
    }
    return PTQC_BE_OK;
}

static int
is_valid(const pq_product_desc *desc)
{
    uint32_t kind = desc->epilogue.kind;
    pq_fixed_shape rows = rows_shape(desc);
    return desc->m > 0 && desc->n > 0 && desc->taps > 0 && desc->run > 0 &&
           desc->weight < PQ_WEIGHT_COUNT &&
           (desc->is_tapped ||
            (desc->weight != PQ_WEIGHT_W8 && desc->weight != PQ_WEIGHT_W4)) &&
           pq_epilogue_is_valid(&desc->epilogue) &&
           (!pq_weight_is_fixed(desc->weight) || pq_fixed_is_valid(&rows)) &&
           (kind == PQ_EPI_FLOAT) == (desc->weight != PQ_WEIGHT_S8);
}

ptqc_be_status
pq_product_prepare(pq_jit *jit, ptqc_call *call, const pq_product_desc *desc,
                   pq_product *out)
{
    *out = (pq_product){.desc = *desc};
    if (!is_valid(desc)) {
        return pq_kg_fail(pq_jit_host(jit), call, PTQC_BE_INTERNAL,
                          "cpu: invalid matrix product");
    }
    int64_t step = step_elements(desc);
    int64_t lines = desc->weight == PQ_WEIGHT_S8 || desc->is_tapped
                        ? (desc->run + step - 1) / step
                        : desc->run;
    pq_weight_shape shape = weight_shape(desc);
    int packed =
        !desc->is_tapped && (is_codes(desc) || desc->weight == PQ_WEIGHT_F16 ||
                             desc->weight == PQ_WEIGHT_BF16);
    out->strip_bytes =
        packed ? pq_weight_strip_bytes(&shape) : desc->taps * lines * 64;
    pq_fixed_shape rows = rows_shape(desc);
    out->on_amx = desc->is_even &&
                  pq_amx_is_useful(pq_jit_isa(jit), desc->m, &shape, &rows);
    ptqc_be_status st = PTQC_BE_OK;
    if (out->on_amx) {
        st = pq_amx_prepare(jit, call, &shape, &rows, &out->amx);
    }
    set_constants(out);
    set_tiling(out, pq_jit_isa(jit));
    return st == PTQC_BE_OK ? get_kernels(out, jit, call) : st;
}

// ---- single steps ---------------------------------------------------------

void
pq_product_begin(const pq_product *p, const pq_product_io *io,
                 pq_tile_args *args)
{
    *args = p->constant;
    args->out_stride = io->out_stride;
    args->epilogue = io->epilogue;
}

void
pq_product_block(const pq_product *p, const pq_product_io *io, int64_t block,
                 const void *weights, pq_tile_args *args)
{
    const pq_epilogue *ep = &p->desc.epilogue;
    int64_t column = LANES * pq_cut_begin(&p->blocks, block);
    int64_t end = column + LANES * pq_cut_length(&p->blocks, block);
    args->weights = weights;
    args->columns = (end < p->desc.n ? end : p->desc.n) - column;
    if (io->init != NULL) {
        args->init = io->init + column;
    }
    if (ep->kind != PQ_EPI_FLOAT || p->desc.is_tapped) {
        args->epilogue.mult = io->epilogue.mult + column;
    }
    if (ep->flags & PQ_EPI_BIAS) {
        args->epilogue.bias = io->epilogue.bias + column;
    }
    if ((ep->flags & PQ_EPI_WEIGHT_ZERO) ||
        (p->desc.is_tapped && p->desc.asymmetric)) {
        args->epilogue.weight_zero = io->epilogue.weight_zero + column;
    }
}

void
pq_product_tile(const pq_product *p, const pq_product_io *io, int64_t block,
                int64_t tile, const void *const *rows, pq_tile_args *args)
{
    const pq_epilogue *ep = &p->desc.epilogue;
    int64_t column = LANES * pq_cut_begin(&p->blocks, block);
    int64_t row = pq_cut_begin(&p->tiles, tile);
    int64_t out_bytes = ep->out == PQ_ELEM_F32 ? 4 : 1;
    args->rows = rows;
    args->out = (uint8_t *)io->out + row * io->out_stride + column * out_bytes;
    if (ep->residual != PQ_ELEM_NONE) {
        int64_t bytes = ep->residual == PQ_ELEM_F32 ? 4 : 1;
        args->epilogue.residual = (const uint8_t *)io->epilogue.residual +
                                  row * io->epilogue.residual_stride +
                                  column * bytes;
    }
    if (ep->flags & PQ_EPI_ROW_SCALE) {
        args->epilogue.row_scale = io->epilogue.row_scale + row;
    }
    int tile_kind = tile >= p->tiles.extra;
    int block_kind =
        block == p->blocks.count - 1 ? 2 : block >= p->blocks.extra;
    p->kernel[tile_kind][block_kind](args);
}

// ---- the whole ------------------------------------------------------------

static int64_t
tile_rows(const pq_product *p)
{
    return p->tiles.base + (p->tiles.extra > 0);
}

// Row pointers of a chunk; the sums of its rows follow them.
static int64_t
pointer_bytes(const pq_product *p)
{
    return p->chunk_tiles * p->desc.taps * tile_rows(p) * 8;
}

static int
has_sums(const pq_product *p)
{
    return (p->desc.epilogue.flags & PQ_EPI_WEIGHT_ZERO) != 0;
}

// Of the row pointers and sums, a multiple of 64; what AMX needs follows.
static uint64_t
rows_bytes(const pq_product *p)
{
    int64_t sums = has_sums(p) ? p->chunk_tiles * tile_rows(p) * 4 : 0;
    return ((uint64_t)(pointer_bytes(p) + sums) + 63) / 64 * 64;
}

uint64_t
pq_product_scratch_bytes(const pq_product *p)
{
    return rows_bytes(p) + (p->on_amx ? pq_amx_scratch_bytes(&p->amx) : 0);
}

// Words whose bytes sum to less than 2^16.
#define WORD_SUMS_MAX 32

static uint32_t
sum_bytes(const uint8_t *bytes, int64_t count)
{
    const uint64_t even = UINT64_C(0x00ff00ff00ff00ff);
    uint32_t sum = 0;
    while (count >= 8) {
        int64_t words = count / 8 < WORD_SUMS_MAX ? count / 8 : WORD_SUMS_MAX;
        uint64_t pairs = 0; // 4 sums of 16 bits
        for (int64_t i = 0; i < words; i++) {
            uint64_t word;
            memcpy(&word, bytes + 8 * i, sizeof word);
            pairs += (word & even) + (word >> 8 & even);
        }
        // the product's highest 16 bits are the sum of all four
        sum += (uint32_t)(pairs * UINT64_C(0x0001000100010001) >> 48);
        bytes += 8 * words;
        count -= 8 * words;
    }
    for (int64_t i = 0; i < count; i++) {
        sum += bytes[i];
    }
    return sum;
}

// Sums of x over all taps, padding included, of a tile's rows.
static void
sum_rows(const pq_product *p, int64_t tile, const void *const *rows,
         int32_t *out)
{
    int64_t count = pq_cut_length(&p->tiles, tile);
    for (int64_t r = 0; r < count; r++) {
        uint32_t sum = 0;
        for (int64_t tap = 0; tap < p->desc.taps; tap++) {
            sum += sum_bytes(rows[tap * count + r], p->desc.run);
        }
        out[r] = (int32_t)sum;
    }
}

typedef struct pq_walk {
    const pq_product *p;
    const pq_product_io *io;
    const void **pointers; // worker's scratch
    int64_t tile_pointers; // pointers of a tile
    int32_t *sums;         // worker's scratch; NULL when not wanted
    uint8_t *amx;          // worker's scratch
    int64_t first;         // tile that the chunk starts with
} pq_walk;

// Tile number `tile` of the chunk, with its row pointers.
static void
run_tile(const pq_walk *walk, int64_t block, int64_t tile,
         const void *const *rows, pq_tile_args *args)
{
    if (walk->sums != NULL) {
        args->epilogue.row_sum = walk->sums + tile * tile_rows(walk->p);
    }
    pq_product_tile(walk->p, walk->io, block, walk->first + tile, rows, args);
}

// The tiles [tile, end) of the chunk that one panel has room for: AMX sums,
// then the tile kernels finish. args->weights are the block's. -> their number.
static int64_t
run_panel(const pq_walk *walk, int64_t block, int64_t tile, int64_t end,
          const pq_tile_args *block_args)
{
    const pq_product *p = walk->p;
    pq_tile_args args = *block_args;
    int64_t count = 0, rows = 0, strips = pq_cut_length(&p->blocks, block);
    while (tile + count < end) {
        int64_t more = pq_cut_length(&p->tiles, walk->first + tile + count);
        if (rows + more > pq_amx_rows(&p->amx)) {
            break;
        }
        rows += more;
        count++;
    }
    const void **pointers = walk->pointers + tile * walk->tile_pointers;
    const uint8_t *x = pointers[0];
    args.start = pq_amx_sums(&p->amx, args.weights, strips, x,
                             (const uint8_t *)pointers[1] - x, rows, walk->amx);
    int64_t done = p->desc.weight == PQ_WEIGHT_S8 ? pq_amx_k(&p->amx) : 0;
    args.weights = (const uint8_t *)args.weights + done * LANES;
    for (int64_t i = 0; i < count; i++, pointers += walk->tile_pointers) {
        int64_t length = pq_cut_length(&p->tiles, walk->first + tile + i);
        const void *rest[PQ_TILE_ROWS_MAX];
        for (int64_t r = 0; r < length; r++) {
            rest[r] = (const uint8_t *)pointers[r] + done;
        }
        run_tile(walk, block, tile + i, rest, &args);
        args.start = (const uint8_t *)args.start + length * strips * 64;
    }
    return count;
}

// Tiles [tile, end) of a block.
static void
run_tiles(const pq_walk *walk, int64_t block, int64_t tile, int64_t end,
          pq_tile_args *args)
{
    const pq_product *p = walk->p;
    if (p->on_amx) {
        pq_amx_begin(&p->amx, args->weights, pq_cut_length(&p->blocks, block),
                     walk->amx);
    }
    while (tile < end) {
        if (p->on_amx) {
            tile += run_panel(walk, block, tile, end, args);
            continue;
        }
        run_tile(walk, block, tile, walk->pointers + tile * walk->tile_pointers,
                 args);
        tile++;
    }
}

// Pairs [begin, end) of the chunk of `tiles` tiles, numbered block * tiles +
// tile. The chunk's row pointers are there.
static void
run_pairs(const pq_walk *walk, int64_t tiles, pq_range pairs)
{
    const pq_product *p = walk->p;
    pq_tile_args args;
    pq_product_begin(p, walk->io, &args);
    int64_t block = pairs.begin / tiles;
    int64_t tile = pairs.begin % tiles;
    for (int64_t at = pairs.begin; at < pairs.end; block++, tile = 0) {
        const uint8_t *weights = walk->io->weights;
        weights += pq_cut_begin(&p->blocks, block) * p->strip_bytes;
        pq_product_block(p, walk->io, block, weights, &args);
        int64_t left = pairs.end - at;
        int64_t end = left < tiles - tile ? tile + left : tiles;
        run_tiles(walk, block, tile, end, &args);
        at += end - tile;
    }
}

void
pq_product_run(const pq_product *p, const pq_product_io *io,
               const pq_worker *worker, pq_rows_fn rows, const void *user)
{
    int64_t tiles = p->tiles.count, blocks = p->blocks.count;
    pq_range mine = pq_worker_range(worker, tiles * blocks, 1);
    pq_walk walk = {.p = p,
                    .io = io,
                    .pointers = worker->scratch,
                    .tile_pointers = p->desc.taps * tile_rows(p),
                    .amx = (uint8_t *)worker->scratch + rows_bytes(p)};
    if (has_sums(p)) {
        uint8_t *scratch = worker->scratch;
        walk.sums = (int32_t *)(void *)(scratch + pointer_bytes(p));
    }
    int64_t first = mine.begin / blocks / p->chunk_tiles * p->chunk_tiles;
    for (; first < tiles && first * blocks < mine.end;
         first += p->chunk_tiles) {
        int64_t rest = tiles - first;
        int64_t count = rest < p->chunk_tiles ? rest : p->chunk_tiles;
        int64_t base = first * blocks;
        pq_range pairs = {mine.begin > base ? mine.begin - base : 0,
                          mine.end - base < count * blocks ? mine.end - base
                                                           : count * blocks};
        if (pairs.begin >= pairs.end) {
            continue;
        }
        // one block only: its tiles; else all
        int64_t from = 0, to = count;
        if (pairs.begin / count == (pairs.end - 1) / count) {
            from = pairs.begin % count;
            to = (pairs.end - 1) % count + 1;
        }
        for (int64_t t = from; t < to; t++) {
            const void **pointers = walk.pointers + t * walk.tile_pointers;
            rows(user, first + t, t, pointers);
            if (walk.sums != NULL) {
                sum_rows(p, first + t, pointers, walk.sums + t * tile_rows(p));
            }
        }
        walk.first = first;
        run_pairs(&walk, count, pairs);
    }
}
