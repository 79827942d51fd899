// SPDX-License-Identifier: Apache-2.0
//
// Packing (planar_pack.h). Rows are taken in tiles, so that a line of a row is
// read once for the blocks it has.
#include "planar_pack.h"

#include <string.h>

#include "base/bits.h"
#include "base/checked.h"
#include "base/float16.h"

#define BLOCK_BYTES 16
#define TILE_ROWS   64

// ---- sizes -----------------------------------------------------------------

int64_t
pq_planar_bytes(const pq_planar_shape *s)
{
    int64_t bytes = BLOCK_BYTES;
    if (s->n < 1 || s->segments < 1 || s->segment < 1 || s->last < 1 ||
        s->last > s->segment ||
        !pq_mul_i64(bytes, pq_kg_planar_blocks(s->format, s->segment),
                    &bytes) ||
        !pq_mul_i64(bytes, s->segments, &bytes) ||
        !pq_mul_i64(bytes, s->n, &bytes)) {
        return 0;
    }
    return bytes;
}

int64_t
pq_planar_scales_bytes(pq_kg_scales form, int64_t segments, int64_t n)
{
    int64_t bytes = form == PQ_KG_SCALES_WIDE ? 8 : 4;
    return pq_mul_i64(bytes, segments, &bytes) && pq_mul_i64(bytes, n, &bytes)
               ? bytes
               : 0;
}

// ---- elements --------------------------------------------------------------

// The block of elements from `at` on, `count` of them in steps of `step`.
static void
pack_wide(const pq_planar_source *s, int64_t at, int64_t step, int64_t count,
          int64_t element, uint8_t *out)
{
    const uint8_t *data = s->data;
    for (int64_t i = 0; i < count; i++) {
        memcpy(out + i * element, data + (at + i * step) * element,
               (size_t)element);
    }
}

static void
pack_bytes(const pq_planar_source *s, int64_t at, int64_t step, int64_t count,
           uint8_t *out)
{
    const uint8_t *data = s->data;
    for (int64_t i = 0; i < count; i++) {
        out[i] = (uint8_t)(data[at + i * step] ^ s->flip);
    }
}

static void
pack_nibbles(const pq_planar_source *s, int64_t at, int64_t step, int64_t count,
             uint8_t *out)
{
    const uint8_t *data = s->data;
    for (int64_t i = 0; i < count; i++) {
        int64_t from = at + i * step;
        uint32_t code = (data[from / 2] >> (from % 2 * 4) & 15u) ^ s->flip;
        out[i % 16] = (uint8_t)(out[i % 16] | code << (i / 16 * 4));
    }
}

static void
pack_block(const pq_planar_shape *shape, const pq_planar_source *s, int64_t at,
           int64_t count, uint8_t *out)
{
    memset(out, 0, BLOCK_BYTES);
    switch (shape->format) {
    case PQ_KG_WEIGHT_F32:
        pack_wide(s, at, s->e_stride, count, 4, out);
        break;
    case PQ_KG_WEIGHT_F16:
    case PQ_KG_WEIGHT_BF16:
        pack_wide(s, at, s->e_stride, count, 2, out);
        break;
    case PQ_KG_WEIGHT_F8E4M3:
    case PQ_KG_WEIGHT_F8E5M2:
    case PQ_KG_WEIGHT_I8:
        pack_bytes(s, at, s->e_stride, count, out);
        break;
    case PQ_KG_WEIGHT_I4:
    case PQ_KG_WEIGHT_F4E2M1:
    case PQ_KG_WEIGHT_NF4:
        pack_nibbles(s, at, s->e_stride, count, out);
        break;
    case PQ_KG_WEIGHT_COUNT:
        break;
    }
}

static void
pack_tile(const pq_planar_shape *shape, const pq_planar_source *s,
          int64_t begin, int64_t end, uint8_t *out)
{
    int64_t block = pq_kg_planar_block(shape->format);
    int64_t blocks = pq_kg_planar_blocks(shape->format, shape->segment);
    for (int64_t b = 0; b < shape->segments * blocks; b++) {
        int64_t segment = b / blocks, first = b % blocks * block;
        int64_t length =
            segment + 1 < shape->segments ? shape->segment : shape->last;
        int64_t count = length - first < block ? length - first : block;
        for (int64_t n = begin; n < end; n++) {
            int64_t r = s->first + n;
            int64_t at = r % s->inner * s->n_stride +
                         r / s->inner * s->outer_stride +
                         segment * s->s_stride + first * s->e_stride;
            pack_block(shape, s, at, count,
                       out + (b * shape->n + n) * BLOCK_BYTES);
        }
    }
}

void
pq_planar_pack(const pq_planar_shape *shape, const pq_planar_source *source,
               int64_t begin, int64_t end, uint8_t *out)
{
    for (int64_t n = begin; n < end; n += TILE_ROWS) {
        int64_t last = n + TILE_ROWS < end ? n + TILE_ROWS : end;
        pack_tile(shape, source, n, last, out);
    }
}

// ---- scales ----------------------------------------------------------------

static float
scale_at(const pq_weight_source *s, int64_t segment, int64_t n)
{
    return s->scales[segment * s->scale_g_stride + n * s->scale_n_stride];
}

static int32_t
zero_at(const pq_weight_source *s, int64_t segment, int64_t n, int32_t middle)
{
    int32_t zero =
        s->zeros == NULL
            ? 0
            : s->zeros[segment * s->scale_g_stride + n * s->scale_n_stride];
    return (int32_t)((uint32_t)zero - (uint32_t)middle);
}

// Whether f16 has the number as it is (NaN: no).
static bool
is_half(float x)
{
    return pq_f16_to_f32(pq_f32_to_f16(x)) == x;
}

pq_kg_scales
pq_planar_scales_form(const pq_weight_source *s, int64_t segments, int64_t n,
                      int32_t middle)
{
    bool halves = true, symmetric = true;
    for (int64_t g = 0; g < segments; g++) {
        for (int64_t i = 0; i < n; i++) {
            int32_t zero = zero_at(s, g, i, middle);
            halves = halves && is_half(scale_at(s, g, i)) && zero >= -2048 &&
                     zero <= 2048; // f16 has these
            symmetric = symmetric && zero == 0;
        }
    }
    return halves      ? PQ_KG_SCALES_F16
           : symmetric ? PQ_KG_SCALES_F32
                       : PQ_KG_SCALES_WIDE;
}

static uint32_t
bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

void
pq_planar_pack_scales(const pq_weight_source *s, pq_kg_scales form,
                      int64_t segments, int64_t n, int32_t middle, uint8_t *out)
{
    for (int64_t i = 0; i < segments * n; i++) {
        int64_t g = i / n, row = i % n;
        int32_t zero = zero_at(s, g, row, middle);
        float scale = form == PQ_KG_SCALES_ZERO ? 0.0f : scale_at(s, g, row);
        uint32_t half = pq_f32_to_f16(scale);
        switch (form) {
        case PQ_KG_SCALES_F16:
            pq_store_le32(out + 4 * i,
                          half | (uint32_t)pq_f32_to_f16((float)zero) << 16);
            break;
        case PQ_KG_SCALES_F32:
            pq_store_le32(out + 4 * i, bits_of(scale));
            break;
        case PQ_KG_SCALES_WIDE:
            pq_store_le32(out + 8 * i, bits_of(scale));
            pq_store_le32(out + 8 * i + 4, (uint32_t)zero);
            break;
        case PQ_KG_SCALES_ZERO:
            pq_store_le32(out + 4 * i, (uint32_t)zero);
            break;
        case PQ_KG_SCALES_NONE:
        case PQ_KG_SCALES_COUNT:
            break;
        }
    }
}

// ---- emitting --------------------------------------------------------------

typedef struct packing {
    const pq_planar_shape *shape;
    const pq_planar_source *source;
    uint8_t *out;
} packing;

static void
pack_tiles(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const packing *p = user;
    int64_t first = TILE_ROWS * (int64_t)begin, last = TILE_ROWS * (int64_t)end;
    (void)worker;
    pq_planar_pack(p->shape, p->source, first,
                   last < p->shape->n ? last : p->shape->n, p->out);
}

uint32_t
pq_planar_emit(pq_lower *l, const ptqc_gb_constant *constant,
               const char *layout, const pq_planar_shape *shape,
               const pq_planar_source *source)
{
    const ptqc_host_vt *vt = l->host->vt;
    int64_t bytes = pq_planar_bytes(shape);
    if (bytes <= 0) {
        pq_decline(l, "size of the weights");
    }
    uint32_t found =
        pq_lower_ok(l) ? pq_find_packed(l, constant, layout) : PQ_KG_NONE;
    if (found != PQ_KG_NONE || !pq_lower_ok(l)) {
        return found;
    }
    if (l->dry) {
        return pq_emit_packed(l, constant, layout, NULL, (uint64_t)bytes);
    }
    packing p = {shape, source, vt->alloc(l->host->self, (uint64_t)bytes, 64)};
    if (p.out == NULL) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    uint64_t tiles = (uint64_t)(shape->n + TILE_ROWS - 1) / TILE_ROWS;
    vt->parallel_for(l->host->self, tiles, 1, pack_tiles, &p);
    uint32_t value =
        pq_emit_packed(l, constant, layout, p.out, (uint64_t)bytes);
    vt->free(l->host->self, p.out);
    return value;
}
