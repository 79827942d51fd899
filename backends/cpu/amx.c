// SPDX-License-Identifier: Apache-2.0
//
// Driver of the AMX kernels (amx.h): unpacking of codes, tile configuration.
#include "amx.h"

#include <string.h>

#define LINE_BYTES 64
// A worker's scratch: tile configuration, sums, tiles in memory, then the
// unpacked strips.
#define CONFIG_BYTES 64
#define SUMS_BYTES   (PQ_AMX_ROWS_MAX * PQ_AMX_STRIPS * LINE_BYTES)
#define TILES_BYTES  4096
#define PANEL_OFFSET (CONFIG_BYTES + SUMS_BYTES + TILES_BYTES)
// From here on tiles are faster than registers; unpacking codes costs about
// as much as 16 rows.
#define ROWS_MIN       16
#define FIXED_ROWS_MIN 48

int
pq_amx_is_useful(pq_isa isa, int64_t m, const pq_weight_shape *shape,
                 const pq_fixed_shape *rows)
{
    if (isa != PQ_ISA_AMX) {
        return 0;
    }
    if (pq_weight_is_fixed(shape->format)) {
        return m >= FIXED_ROWS_MIN && rows->k >= 16;
    }
    return shape->format == PQ_WEIGHT_S8 && m >= ROWS_MIN && shape->k >= 64;
}

// ---- preparation ------------------------------------------------------------

static int64_t
line_elements(const pq_amx *amx)
{
    return amx->shape.format == PQ_WEIGHT_FIXED4 ? 8 : 4;
}

static void
set_groups(pq_amx *amx)
{
    const pq_fixed_shape *r = &amx->rows;
    int64_t chunk = amx->key.chunk, last = r->k % r->group;
    amx->chunks = r->group / chunk;
    amx->groups = r->k / r->group;
    amx->last_chunks = (last + chunk - 1) / chunk;
    amx->group_bytes = 2 * LINE_BYTES + amx->chunks * chunk * 16;
    amx->unpacked_strip = amx->groups * amx->group_bytes;
    if (last > 0) {
        amx->unpacked_strip += 2 * LINE_BYTES + amx->last_chunks * chunk * 16;
    }
}

static ptqc_be_status
get_kernels(pq_amx *amx, pq_jit *jit, ptqc_call *call)
{
    uint32_t tiles = amx->key.digits == 2 ? 1 : 2;
    for (uint32_t i = 0; i < tiles * PQ_AMX_STRIPS; i++) {
        pq_amx_key key = amx->key;
        void (*code)(void);
        key.row_tiles = 1 + i / PQ_AMX_STRIPS;
        key.strips = 1 + i % PQ_AMX_STRIPS;
        ptqc_be_status st = pq_jit_get(jit, call, &pq_amx_class, &key, &code);
        if (st != PTQC_BE_OK) {
            return st;
        }
        amx->kernel[key.row_tiles - 1][key.strips - 1] =
            (void (*)(const pq_amx_args *))code;
    }
    return PTQC_BE_OK;
}

ptqc_be_status
pq_amx_prepare(pq_jit *jit, ptqc_call *call, const pq_weight_shape *shape,
               const pq_fixed_shape *rows, pq_amx *out)
{
    int is_fixed = pq_weight_is_fixed(shape->format);
    *out = (pq_amx){.shape = *shape};
    out->key.is_fixed = is_fixed ? 1u : 0u;
    out->key.chunk = 64;
    out->weight_stride = pq_weight_strip_bytes(shape);
    out->k = shape->k / 64 * 64;
    out->chunks = shape->k / 64;
    if (is_fixed) {
        out->rows = *rows;
        out->key.chunk = rows->group % 64 == 0   ? 64
                         : rows->group % 32 == 0 ? 32
                                                 : 16;
        out->key.digits = rows->digits;
        out->key.asymmetric = shape->asymmetric;
        out->key.zero = shape->format == PQ_WEIGHT_FIXED4 ? 8 : 128;
        out->k = rows->k;
        set_groups(out);
    }
    return get_kernels(out, jit, call);
}

int64_t
pq_amx_k(const pq_amx *amx)
{
    return amx->k;
}

int64_t
pq_amx_rows(const pq_amx *amx)
{
    return amx->key.digits == 2 ? 16 : PQ_AMX_ROWS_MAX;
}

uint64_t
pq_amx_scratch_bytes(const pq_amx *amx)
{
    return PANEL_OFFSET + PQ_AMX_STRIPS * (uint64_t)amx->unpacked_strip;
}

// ---- unpacking --------------------------------------------------------------

// A line of 8 k as two of 4 k.
static void
unpack_nibbles(const uint8_t *line, uint8_t *out)
{
    for (int i = 0; i < LINE_BYTES; i++) {
        out[i] = line[i] & 15;
        out[LINE_BYTES + i] = line[i] >> 4;
    }
}

// The lines of a group of `length` k into `chunks` chunks.
static void
unpack_lines(const pq_amx *amx, const uint8_t *lines, int64_t length,
             int64_t chunks, uint8_t *out)
{
    int64_t step = line_elements(amx), count = (length + step - 1) / step;
    int64_t line_bytes = LINE_BYTES * step / 4;
    int64_t room = chunks * amx->key.chunk * 16;
    for (int64_t i = 0; i < count; i++) {
        if (step == 8) {
            unpack_nibbles(lines + i * LINE_BYTES, out + i * line_bytes);
        } else {
            memcpy(out + i * line_bytes, lines + i * LINE_BYTES, LINE_BYTES);
        }
    }
    memset(out + count * line_bytes, 0, (size_t)(room - count * line_bytes));
}

// Scales and zero points of group g, whose scale line is `scales`.
static void
unpack_scales(const pq_amx *amx, const uint8_t *scales, const uint8_t *zeros,
              int64_t g, uint8_t *out)
{
    for (int64_t lane = 0; lane < 16; lane++) {
        float scale = pq_weight_scale(&amx->shape, scales, g, lane);
        int32_t zero = zeros[g * 16 + lane];
        memcpy(out + 4 * lane, &scale, sizeof scale);
        memcpy(out + LINE_BYTES + 4 * lane, &zero, sizeof zero);
    }
}

static void
unpack_strip(const pq_amx *amx, const uint8_t *strip, uint8_t *out)
{
    const pq_fixed_shape *r = &amx->rows;
    int64_t share = amx->shape.half_scales ? 2 : 1, step = line_elements(amx);
    const uint8_t *zeros = strip, *scales = strip;
    if (amx->shape.asymmetric) {
        zeros += pq_weight_zeros_offset(&amx->shape);
    }
    for (int64_t g = 0; g < pq_fixed_groups(r); g++) {
        int64_t rest = r->k - g * r->group;
        int64_t length = rest < r->group ? rest : r->group;
        int64_t chunks = g < amx->groups ? amx->chunks : amx->last_chunks;
        if (g % share == 0) {
            scales = strip;
            strip += LINE_BYTES;
        }
        unpack_scales(amx, scales, zeros, g, out);
        out += 2 * LINE_BYTES;
        unpack_lines(amx, strip, length, chunks, out);
        out += chunks * amx->key.chunk * 16;
        strip += (length + step - 1) / step * LINE_BYTES;
    }
}

void
pq_amx_begin(const pq_amx *amx, const uint8_t *weights, int64_t strips,
             void *scratch)
{
    if (!amx->key.is_fixed) {
        return;
    }
    uint8_t *panel = (uint8_t *)scratch + PANEL_OFFSET;
    for (int64_t s = 0; s < strips; s++) {
        unpack_strip(amx, weights + s * amx->weight_stride,
                     panel + s * amx->unpacked_strip);
    }
}

// ---- one panel --------------------------------------------------------------

// Palette 1: bytes of a row at 16 + 2 * tile, rows at 48 + tile.
static void
set_tile(uint8_t *config, uint32_t tile, int64_t rows, uint32_t row_bytes)
{
    uint16_t bytes = (uint16_t)row_bytes;
    memcpy(config + 16 + 2 * tile, &bytes, sizeof bytes);
    config[48 + tile] = (uint8_t)rows;
}

static void
configure(const pq_amx *amx, int64_t rows, int64_t strips, uint8_t *config)
{
    uint32_t chunk = amx->key.chunk;
    int64_t second = amx->key.digits == 2 ? rows : rows - 16;
    memset(config, 0, CONFIG_BYTES);
    config[0] = 1;
    for (uint32_t a = 0; a < 2; a++) {
        int64_t count = a == 1 ? second : rows < 16 ? rows : 16;
        if (count <= 0) {
            continue;
        }
        for (uint32_t s = 0; s < (uint32_t)strips; s++) {
            set_tile(config, 2 * a + s, count, LINE_BYTES);
            set_tile(config, 6 + s, chunk / 4, LINE_BYTES);
        }
        set_tile(config, 4 + a, count, chunk);
    }
}

const void *
pq_amx_sums(const pq_amx *amx, const uint8_t *weights, int64_t strips,
            const uint8_t *x, int64_t x_stride, int64_t rows, void *scratch)
{
    uint8_t *config = scratch, *sums = config + CONFIG_BYTES;
    uint8_t *tiles = sums + SUMS_BYTES;
    configure(amx, rows, strips, config);
    pq_amx_args args = {
        .config = config,
        .x = x,
        .x_stride = x_stride,
        .rows = rows,
        .weights = weights,
        .weight_stride = amx->weight_stride,
        .chunks = amx->chunks,
        .tiles = tiles,
        .out = sums,
    };
    if (amx->key.is_fixed) {
        args.plane = pq_fixed_plane(&amx->rows);
        args.sums_offset = pq_fixed_sums_offset(&amx->rows);
        args.weights = (const uint8_t *)scratch + PANEL_OFFSET;
        args.weight_stride = amx->unpacked_strip;
        args.groups = amx->groups;
        args.last_chunks = amx->last_chunks;
        memset(sums, 0, (size_t)(rows * strips * LINE_BYTES));
    }
    amx->kernel[rows > 16][strips - 1](&args);
    return sums;
}
