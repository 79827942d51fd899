// SPDX-License-Identifier: Apache-2.0
//
// The strided copy. Loops run over rows of the output that are contiguous
// where possible: as memcpy when the input is contiguous too, in 16 x 16
// tiles when another axis of the input is, element by element otherwise.
#include "move.h"

#include <string.h>

#define TILE 16

uint32_t
pq_cpu_dtype_bytes(uint32_t dtype)
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
pq_cpu_strides(const int64_t *dims, uint32_t rank, int64_t element,
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
    for (uint32_t i = 0; i + 1 < m->rank; i++) {
        bool tile = m->tiled && i + 2 == m->rank;
        m->items *= tile ? (m->dims[i] + TILE - 1) / TILE : m->dims[i];
    }
}

void
pq_move_permute(pq_move *m, uint32_t element, const int64_t *dims,
                const uint8_t *perm, uint32_t rank)
{
    int64_t in[PTQC_MAX_RANK];
    *m = (pq_move){.rank = rank, .element = element};
    pq_cpu_strides(dims, rank, element, in);
    for (uint32_t i = 0; i < rank; i++) {
        m->dims[i] = dims[perm[i]];
        m->in[i] = in[perm[i]];
    }
    pq_cpu_strides(m->dims, rank, element, m->out);
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

// Axis `a` (in contiguous) x axis `b` (out contiguous, or nearly): a tile of
// 16 of a, all of b.
static void
run_tile(const pq_move *m, const uint8_t *in, uint8_t *out, int64_t start)
{
    uint32_t a = m->rank - 2, b = m->rank - 1;
    int64_t rows = m->dims[a] - start < TILE ? m->dims[a] - start : TILE;
    in += start * m->in[a];
    out += start * m->out[a];
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
        sizes[i] = tile ? (m->dims[i] + TILE - 1) / TILE : m->dims[i];
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
            run_tile(m, from, to, index[axes - 1] * TILE);
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
