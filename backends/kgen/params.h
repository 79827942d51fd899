// SPDX-License-Identifier: Apache-2.0
//
// Words of step parameters that lowering writes and devices read: kinds,
// flags. The meaning is the arithmetic of docs/numerics.md; the order of float
// sums is the device's business.
#ifndef PTQC_BACKENDS_KGEN_PARAMS_H
#define PTQC_BACKENDS_KGEN_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "ptqc/types.h"

// ---- MOVE: the first parameter ---------------------------------------------

#define PQ_MOVE_PERMUTE 0 // then: input axis of every output axis
#define PQ_MOVE_SLICE   1 // then, per axis: dim expression of the start, step
#define PQ_MOVE_REPEAT  2 // broadcast or tile, axes aligned at the end

// ---- REDUCE, ARG_REDUCE, CUMSUM, NORM --------------------------------------

typedef enum pq_reduce_op {
    PQ_REDUCE_SUM,         // sum(x)
    PQ_REDUCE_MEAN,        // sum(x) / f32(length); integers: truncated
    PQ_REDUCE_MAX,         // empty row: -infinity; integers: lowest value
    PQ_REDUCE_MIN,         // empty row: infinity; integers: highest value
    PQ_REDUCE_PROD,        // lanes start at 1
    PQ_REDUCE_L1,          // sum(|x|)
    PQ_REDUCE_L2,          // sqrt(sum of squares)
    PQ_REDUCE_SUM_SQUARE,  // lane = fma(x, x, lane)
    PQ_REDUCE_LOG_SUM,     // log(sum(x))
    PQ_REDUCE_LOG_SUM_EXP, // m = max(x), 0 when not finite;
                           // m + log(sum(exp(x - m)))
    PQ_REDUCE_COUNT
} pq_reduce_op;

#define PQ_ARG_MIN  1u
#define PQ_ARG_LAST 2u

static inline bool
pq_arg_reduce_has_dtype(uint32_t dtype)
{
    return dtype == PTQC_F32 || dtype == PTQC_I32 || dtype == PTQC_I64 ||
           dtype == PTQC_U8 || dtype == PTQC_I8;
}

#define PQ_CUMSUM_EXCLUSIVE 1u
#define PQ_CUMSUM_REVERSE   2u

static inline bool
pq_cumsum_has_dtype(uint32_t dtype)
{
    return dtype == PTQC_F32 || dtype == PTQC_I32 || dtype == PTQC_I64;
}

typedef enum pq_norm_kind {
    PQ_NORM_LAYER,
    PQ_NORM_RMS,
} pq_norm_kind;

// ---- POOL, RESIZE ----------------------------------------------------------

typedef enum pq_pooling_kind {
    PQ_POOL_MAX, // NaN when a tap is NaN; a window without taps gives
                 // -infinity (u8, i8: the lowest code)
    PQ_POOL_AVG,
} pq_pooling_kind;

typedef enum pq_resize_kind {
    PQ_RESIZE_NEAREST,
    PQ_RESIZE_LINEAR,
    PQ_RESIZE_CUBIC,
} pq_resize_kind;

// ONNX coordinate_transformation_mode. Coordinates are computed in f32.
typedef enum pq_resize_coordinates {
    PQ_COORDINATES_HALF_PIXEL,         // (x + 0.5) / scale - 0.5
    PQ_COORDINATES_PYTORCH_HALF_PIXEL, // the same, 0 when out size is 1
    PQ_COORDINATES_ASYMMETRIC,         // x / scale
    PQ_COORDINATES_ALIGN_CORNERS,      // x * ((in - 1) / (out - 1)), 0 for 1
} pq_resize_coordinates;

typedef enum pq_resize_rounding {
    PQ_ROUNDING_PREFER_FLOOR, // ceil(x - 0.5)
    PQ_ROUNDING_PREFER_CEIL,  // floor(x + 0.5)
    PQ_ROUNDING_FLOOR,
    PQ_ROUNDING_CEIL,
} pq_resize_rounding;

// ---- RECURRENT -------------------------------------------------------------

typedef enum pq_recurrent_kind {
    PQ_RECURRENT_LSTM,
    PQ_RECURRENT_GRU,
    PQ_RECURRENT_RNN,
} pq_recurrent_kind;

#endif
