// SPDX-License-Identifier: Apache-2.0
//
// The strided copy. Loops run over rows of the output that are contiguous
// where possible: as memcpy when the input is contiguous too, in 16 x 16
// tiles when another axis of the input is (three planes: a register's worth
// of pixels at a time), element by element otherwise.
#include "move.h"

#include <string.h>

#define TILE       16
#define PLANE_TILE 1024 // pixels of interleaved planes

uint32_t
pq_kg_element_bytes(uint32_t dtype)
{
    switch (dtype) {
#define CASE(NAME, number, text, bits)                                         \
    case number:                                                               \
        return bits / 8;
        PTQC_DTYPES(CASE)
#undef CASE
    default:
        return 0;
    }
}

void
pq_move_strides(const int64_t *dims, uint32_t rank, int64_t element,
                int64_t *out)
{
    int64_t stride = element;
    for (uint32_t i = rank; i-- > 0;) {
        out[i] = stride;
        stride *= dims[i];
    }
}

static void
drop_axis(pq_move *m, uint32_t axis)
{
    for (uint32_t i = axis; i + 1 < m->rank; i++) {
        m->dims[i] = m->dims[i + 1];
        m->in[i] = m->in[i + 1];
        m->out[i] = m->out[i + 1];
    }
    m->rank--;
}

static void
simplify(pq_move *m)
{
    for (uint32_t i = m->rank; i-- > 0;) {
        if (m->dims[i] == 1) {
            drop_axis(m, i);
        }
    }
    for (uint32_t i = m->rank; i-- > 1;) {
        if (m->in[i - 1] == m->in[i] * m->dims[i] &&
            m->out[i - 1] == m->out[i] * m->dims[i]) {
            m->dims[i - 1] *= m->dims[i];
            m->in[i - 1] = m->in[i];
            m->out[i - 1] = m->out[i];
            drop_axis(m, i);
        }
    }
    if (m->rank == 0) {
        m->rank = 1;
        m->dims[0] = 1;
        m->in[0] = m->out[0] = m->element;
    }
}

static void
swap_axes(pq_move *m, uint32_t a, uint32_t b)
{
    int64_t d = m->dims[a], i = m->in[a], o = m->out[a];
    m->dims[a] = m->dims[b];
    m->in[a] = m->in[b];
    m->out[a] = m->out[b];
    m->dims[b] = d;
    m->in[b] = i;
    m->out[b] = o;
}

// Few planes that become neighbouring elements: [C][pixels] -> [pixels][C].
static bool
is_planes(const pq_move *m)
{
    uint32_t b = m->rank - 1;
    return m->tiled && m->dims[b] == 3 &&
           (m->element == 1 || m->element == 4) && m->out[b] == m->element &&
           m->out[b - 1] == 3 * (int64_t)m->element;
}

void
pq_move_finish(pq_move *m)
{
    m->items = 1;
    m->tiled = false;
    for (uint32_t i = 0; i < m->rank; i++) {
        m->items = m->dims[i] == 0 ? 0 : m->items;
    }
    if (m->items == 0) {
        return;
    }
    simplify(m);
    uint32_t last = m->rank - 1;
    if (m->in[last] != m->element) {
        for (uint32_t i = 0; i < last; i++) {
            if (m->in[i] == m->element && m->dims[i] > 1) {
                swap_axes(m, i, last - 1);
                m->tiled = true;
                break;
            }
        }
    }
    m->tile = is_planes(m) ? PLANE_TILE : TILE;
    for (uint32_t i = 0; i + 1 < m->rank; i++) {
        bool tile = m->tiled && i + 2 == m->rank;
        m->items *= tile ? (m->dims[i] + m->tile - 1) / m->tile : m->dims[i];
    }
}

void
pq_move_permute(pq_move *m, uint32_t element, const int64_t *dims,
                const uint8_t *perm, uint32_t rank)
{
    int64_t in[PTQC_MAX_RANK];
    *m = (pq_move){.rank = rank, .element = element};
    pq_move_strides(dims, rank, element, in);
    for (uint32_t i = 0; i < rank; i++) {
        m->dims[i] = dims[perm[i]];
        m->in[i] = in[perm[i]];
    }
    pq_move_strides(m->dims, rank, element, m->out);
    pq_move_finish(m);
}

// ---- inner loops -----------------------------------------------------------

// X(type): copies n elements with strides, and an a x b transposed tile.
#define LOOPS(type)                                                            \
    static void row_##type(const uint8_t *in, int64_t in_stride, uint8_t *out, \
                           int64_t out_stride, int64_t n)                      \
    {                                                                          \
        for (int64_t i = 0; i < n; i++) {                                      \
            type x;                                                            \
            memcpy(&x, in + i * in_stride, sizeof x);                          \
            memcpy(out + i * out_stride, &x, sizeof x);                        \
        }                                                                      \
    }                                                                          \
    static void tile_##type(const uint8_t *in, int64_t in_stride,              \
                            uint8_t *out, int64_t out_stride, int64_t a,       \
                            int64_t b)                                         \
    {                                                                          \
        for (int64_t j = 0; j < a; j++) {                                      \
            for (int64_t i = 0; i < b; i++) {                                  \
                type x;                                                        \
                memcpy(&x, in + i * in_stride + j * (int64_t)sizeof x,         \
                       sizeof x);                                              \
                memcpy(out + j * out_stride + i * (int64_t)sizeof x, &x,       \
                       sizeof x);                                              \
            }                                                                  \
        }                                                                      \
    }

LOOPS(uint8_t)
LOOPS(uint16_t)
LOOPS(uint32_t)
LOOPS(uint64_t)

typedef void (*row_fn)(const uint8_t *, int64_t, uint8_t *, int64_t, int64_t);
typedef void (*tile_fn)(const uint8_t *, int64_t, uint8_t *, int64_t, int64_t,
                        int64_t);

static row_fn
row_of(uint32_t element)
{
    return element == 1   ? row_uint8_t
           : element == 2 ? row_uint16_t
           : element == 4 ? row_uint32_t
                          : row_uint64_t;
}

static tile_fn
tile_of(uint32_t element)
{
    return element == 1   ? tile_uint8_t
           : element == 2 ? tile_uint16_t
           : element == 4 ? tile_uint32_t
                          : tile_uint64_t;
}

typedef uint32_t lanes4 __attribute__((vector_size(16)));

// out = a0 b0 c0 a1 b1 c1 ...; the planes begin `plane` bytes apart.
static void
interleave_words(const uint8_t *in, int64_t plane, uint8_t *out, int64_t n)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        lanes4 a, b, c, t, w[3];
        memcpy(&a, in + 4 * i, 16);
        memcpy(&b, in + plane + 4 * i, 16);
        memcpy(&c, in + 2 * plane + 4 * i, 16);
        t = __builtin_shufflevector(a, b, 0, 4, 1, 5);
        w[0] = __builtin_shufflevector(t, c, 0, 1, 4, 2);
        t = __builtin_shufflevector(b, c, 1, 5, 2, 6);
        w[1] = __builtin_shufflevector(t, a, 0, 1, 6, 2);
        t = __builtin_shufflevector(c, a, 2, 7, 3, 3);
        w[2] = __builtin_shufflevector(t, b, 0, 1, 7, 2);
        memcpy(out + 12 * i, w, sizeof w);
    }
    tile_uint32_t(in + 4 * i, plane, out + 12 * i, 12, n - i, 3);
}

static void
interleave_bytes(const uint8_t *in, int64_t plane, uint8_t *out, int64_t n)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t a, b, c, w[3];
        memcpy(&a, in + i, 4);
        memcpy(&b, in + plane + i, 4);
        memcpy(&c, in + 2 * plane + i, 4);
        w[0] = (a & 0xff) | (b & 0xff) << 8 | (c & 0xff) << 16 |
               (a & 0xff00) << 16;
        w[1] = (b >> 8 & 0xff) | (c & 0xff00) | (a & 0xff0000) |
               (b & 0xff0000) << 8;
        w[2] = (c >> 16 & 0xff) | (a >> 24) << 8 | (b >> 24) << 16 |
               (c & 0xff000000u);
        memcpy(out + 3 * i, w, sizeof w);
    }
    tile_uint8_t(in + i, plane, out + 3 * i, 3, n - i, 3);
}

// Axis `a` (in contiguous) x axis `b` (out contiguous, or nearly): a tile of
// 16 of a, all of b.
static void
run_tile(const pq_move *m, const uint8_t *in, uint8_t *out, int64_t start)
{
    uint32_t a = m->rank - 2, b = m->rank - 1;
    int64_t left = m->dims[a] - start;
    int64_t rows = left < m->tile ? left : m->tile;
    in += start * m->in[a];
    out += start * m->out[a];
    if (m->tile == PLANE_TILE) {
        (m->element == 1 ? interleave_bytes : interleave_words)(in, m->in[b],
                                                                out, rows);
        return;
    }
    if (m->out[b] != (int64_t)m->element) {
        for (int64_t j = 0; j < rows; j++) {
            row_of(m->element)(in + j * m->in[a], m->in[b], out + j * m->out[a],
                               m->out[b], m->dims[b]);
        }
        return;
    }
    tile_fn tile = tile_of(m->element);
    for (int64_t i = 0; i < m->dims[b]; i += TILE) {
        int64_t n = m->dims[b] - i < TILE ? m->dims[b] - i : TILE;
        tile(in + i * m->in[b], m->in[b], out + i * m->out[b], m->out[a], rows,
             n);
    }
}

static void
run_row(const pq_move *m, const uint8_t *in, uint8_t *out)
{
    uint32_t b = m->rank - 1;
    int64_t element = m->element;
    if (m->in[b] == element && m->out[b] == element) {
        memcpy(out, in, (size_t)(m->dims[b] * element));
    } else {
        row_of(m->element)(in, m->in[b], out, m->out[b], m->dims[b]);
    }
}

void
pq_move_run(const pq_move *m, const void *in, void *out,
            const pq_worker *worker)
{
    if (m->items == 0) {
        return;
    }
    if (m->rank == 1 && m->in[0] == m->element && m->out[0] == m->element) {
        pq_range run = pq_worker_range(worker, m->dims[0], 64);
        memcpy((uint8_t *)out + m->out_offset + run.begin * m->element,
               (const uint8_t *)in + m->in_offset + run.begin * m->element,
               (size_t)((run.end - run.begin) * m->element));
        return;
    }
    pq_range part = pq_worker_range(worker, m->items, 1);
    uint32_t axes = m->rank - 1; // that are counted
    int64_t index[PQ_MOVE_RANK] = {0};
    int64_t sizes[PQ_MOVE_RANK];
    int64_t rest = part.begin;
    for (uint32_t i = axes; i-- > 0;) {
        bool tile = m->tiled && i + 1 == axes;
        sizes[i] = tile ? (m->dims[i] + m->tile - 1) / m->tile : m->dims[i];
        index[i] = rest % sizes[i];
        rest /= sizes[i];
    }
    for (int64_t item = part.begin; item < part.end; item++) {
        const uint8_t *from = (const uint8_t *)in + m->in_offset;
        uint8_t *to = (uint8_t *)out + m->out_offset;
        uint32_t plain = m->tiled ? axes - 1 : axes;
        for (uint32_t i = 0; i < plain; i++) {
            from += index[i] * m->in[i];
            to += index[i] * m->out[i];
        }
        if (m->tiled) {
            run_tile(m, from, to, index[axes - 1] * m->tile);
        } else {
            run_row(m, from, to);
        }
        for (uint32_t i = axes; i-- > 0;) {
            if (++index[i] < sizes[i]) {
                break;
            }
            index[i] = 0;
        }
    }
}
