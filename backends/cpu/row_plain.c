// SPDX-License-Identifier: Apache-2.0
//
// Row operations whose order is sequential anyway, as plain loops: integer
// reductions, arg max and min, running sums, local response normalization.
#include "row_plain.h"

#include <math.h>
#include <string.h>

#include "backends/kgen/move.h"
#include "base/mathfn.h"
#include "emit_expr.h"
#include "row.h"

// Kernels exist only where the machine has AVX2 and FMA (pq_isa_detect), and
// so do these loops.
#if defined(__x86_64__)
#define FAST __attribute__((target("avx2,fma")))
#else
#define FAST
#endif

// Element types that the loops read: X(DTYPE, type).
#define INT_TYPES(X)                                                           \
    X(PTQC_I8, int8_t)                                                         \
    X(PTQC_U8, uint8_t)                                                        \
    X(PTQC_I32, int32_t)                                                       \
    X(PTQC_I64, int64_t)

static int
is_int_type(uint32_t dtype)
{
    switch (dtype) {
#define CASE(DTYPE, type) case DTYPE:
        INT_TYPES(CASE)
#undef CASE
        return 1;
    default:
        return 0;
    }
}

// Element at `index` of integers; 0 for other types.
static int64_t
load_int(uint32_t dtype, const void *p, int64_t index)
{
    switch (dtype) {
#define CASE(DTYPE, type)                                                      \
    case DTYPE:                                                                \
        return ((const type *)p)[index];
        INT_TYPES(CASE)
#undef CASE
    default:
        return 0;
    }
}

static void
store_int(uint32_t dtype, void *p, int64_t index, int64_t value)
{
    size_t bytes = pq_kg_element_bytes(dtype);
    memcpy((uint8_t *)p + (size_t)index * bytes, &value, bytes);
}

// Offset of element 0 of row i (of outer * inner).
static int64_t
row_start(const pq_row_shape *s, int64_t i)
{
    return i / s->inner * s->length * s->inner + i % s->inner;
}

// ---- integer reductions --------------------------------------------------

int
pq_reduce_int_has(uint32_t op, uint32_t dtype)
{
    return is_int_type(dtype) && op <= PQ_REDUCE_SUM_SQUARE &&
           op != PQ_REDUCE_L2;
}

static int64_t
lowest(uint32_t dtype)
{
    return dtype == PTQC_U8    ? 0
           : dtype == PTQC_I8  ? INT8_MIN
           : dtype == PTQC_I32 ? INT32_MIN
                               : INT64_MIN;
}

static int64_t
highest(uint32_t dtype)
{
    return dtype == PTQC_U8    ? UINT8_MAX
           : dtype == PTQC_I8  ? INT8_MAX
           : dtype == PTQC_I32 ? INT32_MAX
                               : INT64_MAX;
}

// a after element x.
static int64_t
fold_int(uint32_t op, int64_t a, int64_t x)
{
    uint64_t ua = (uint64_t)a, ux = (uint64_t)x;
    switch (op) {
    case PQ_REDUCE_MAX:
        return a > x ? a : x;
    case PQ_REDUCE_MIN:
        return a < x ? a : x;
    case PQ_REDUCE_PROD:
        return (int64_t)(ua * ux);
    case PQ_REDUCE_L1:
        return (int64_t)(ua + (x < 0 ? 0 - ux : ux));
    case PQ_REDUCE_SUM_SQUARE:
        return (int64_t)(ua + ux * ux);
    default:
        return (int64_t)(ua + ux);
    }
}

void
pq_reduce_int_run(const pq_row_shape *shape, uint32_t op, uint32_t dtype,
                  const void *in, void *out, const pq_worker *worker)
{
    int64_t start = op == PQ_REDUCE_MAX    ? lowest(dtype)
                    : op == PQ_REDUCE_MIN  ? highest(dtype)
                    : op == PQ_REDUCE_PROD ? 1
                                           : 0;
    pq_range rows = pq_worker_range(worker, shape->outer * shape->inner, 1);
    for (int64_t i = rows.begin; i < rows.end; i++) {
        int64_t first = row_start(shape, i);
        int64_t a = start;
        for (int64_t k = 0; k < shape->length; k++) {
            a = fold_int(op, a, load_int(dtype, in, first + k * shape->inner));
        }
        if (op == PQ_REDUCE_MEAN && shape->length > 0) {
            a /= shape->length;
        }
        store_int(dtype, out, i, a);
    }
}

// ---- arg max, arg min ----------------------------------------------------

static int64_t
arg_f32(const float *x, int64_t length, int64_t step, uint32_t flags)
{
    int64_t best = 0;
    float b = x[0];
    for (int64_t k = 1; k < length; k++) {
        float v = x[k * step];
        int is_more = flags & PQ_ARG_MIN ? v < b : v > b;
        int is_tie = v == b || (v != v && b != b);
        is_more |= v != v && b == b; // NaN wins
        if (is_more || (is_tie && flags & PQ_ARG_LAST)) {
            best = k;
            b = v;
        }
    }
    return best;
}

static int64_t
arg_int(uint32_t dtype, const void *x, int64_t first, const pq_row_shape *s,
        uint32_t flags)
{
    int64_t best = 0;
    int64_t b = load_int(dtype, x, first);
    for (int64_t k = 1; k < s->length; k++) {
        int64_t v = load_int(dtype, x, first + k * s->inner);
        int is_more = flags & PQ_ARG_MIN ? v < b : v > b;
        if (is_more || (v == b && flags & PQ_ARG_LAST)) {
            best = k;
            b = v;
        }
    }
    return best;
}

void
pq_arg_reduce_run(const pq_row_shape *shape, uint32_t dtype, uint32_t flags,
                  const void *in, int64_t *out, const pq_worker *worker)
{
    pq_range rows = pq_worker_range(worker, shape->outer * shape->inner, 1);
    for (int64_t i = rows.begin; i < rows.end; i++) {
        int64_t first = row_start(shape, i);
        out[i] = dtype == PTQC_F32 ? arg_f32((const float *)in + first,
                                             shape->length, shape->inner, flags)
                                   : arg_int(dtype, in, first, shape, flags);
    }
}

// ---- running sums --------------------------------------------------------

static void
cumsum_f32(const float *x, float *y, int64_t length, int64_t step,
           int is_exclusive)
{
    float sum = 0.0f;
    for (int64_t k = 0; k < length; k++) {
        float v = x[k * step];
        float next = sum + v;
        y[k * step] = is_exclusive ? sum : next;
        sum = next;
    }
}

void
pq_cumsum_run(const pq_row_shape *shape, uint32_t dtype, uint32_t flags,
              const void *in, void *out, const pq_worker *worker)
{
    pq_range rows = pq_worker_range(worker, shape->outer * shape->inner, 1);
    int is_exclusive = (flags & PQ_CUMSUM_EXCLUSIVE) != 0;
    int64_t step = flags & PQ_CUMSUM_REVERSE ? -shape->inner : shape->inner;
    for (int64_t i = rows.begin; i < rows.end && shape->length > 0; i++) {
        int64_t first = row_start(shape, i);
        if (flags & PQ_CUMSUM_REVERSE) {
            first += (shape->length - 1) * shape->inner;
        }
        if (dtype == PTQC_F32) {
            cumsum_f32((const float *)in + first, (float *)out + first,
                       shape->length, step, is_exclusive);
            continue;
        }
        uint64_t sum = 0;
        for (int64_t k = 0; k < shape->length; k++) {
            int64_t at = first + k * step;
            uint64_t next = sum + (uint64_t)load_int(dtype, in, at);
            store_int(dtype, out, at, (int64_t)(is_exclusive ? sum : next));
            sum = next;
        }
    }
}

// ---- local response normalization ----------------------------------------

FAST static void
lrn_row(const pq_lrn_desc *d, const float *x, float *y, int64_t step)
{
    int64_t length = d->shape.length;
    float factor = d->alpha / (float)d->size;
    for (int64_t c = 0; c < length; c++) {
        int64_t begin = c - (d->size - 1) / 2;
        int64_t end = c + d->size / 2 + 1;
        begin = begin < 0 ? 0 : begin;
        end = end < length ? end : length;
        float s = 0.0f;
        for (int64_t k = begin; k < end; k++) {
            s = fmaf(x[k * step], x[k * step], s);
        }
        float scaled = factor * s;
        y[c * step] = x[c * step] / pq_powf(d->bias + scaled, d->beta);
    }
}

void
pq_lrn_run(const pq_lrn_desc *desc, const float *in, float *out,
           const pq_worker *worker)
{
    const pq_row_shape *s = &desc->shape;
    pq_range rows = pq_worker_range(worker, s->outer * s->inner, 1);
    for (int64_t i = rows.begin; i < rows.end; i++) {
        int64_t first = row_start(s, i);
        lrn_row(desc, in + first, out + first, s->inner);
    }
}
