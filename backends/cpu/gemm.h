// SPDX-License-Identifier: Apache-2.0
//
// Matrix products.
//   pq_matmul  out[m][n] = epilogue(sum_k a[m][k] * w[k][n]), w constant and
//              packed in strips of 16 columns
//   pq_bmm     the same for f32 with both operands computed at run time,
//              over broadcast batch axes (attention)
//
// Order of a float sum: one fused multiply-add per k, ascending k, from +0;
// integer sums are exact. Nothing depends on the level, the number of
// threads or the tiling.
//
// Packed weights (the same at every level). strip = 16 columns, padded with
// zeros; within a strip ("[]" outermost first):
//   F32  [K][16] f32
//   F16, BF16  [K][16] of 2 bytes, padded to 64 bytes
//   S8   [ceil(K/4)][16][4] s8; a last partial line as strip.h says
//   E4M3, E5M2  per group: [ceil(G/4)][16][4] floats of 8 bits, then [16] f32
//        scales; E4M3's scales are packed times 256 (tile.c), and NaN where
//        the group has a NaN
//   E2M1, NF4   the same with R16 lines (FIXED4) of 8 numbers of 4 bits, lines
//        [ceil(G/8)]; E2M1's scales are packed times 2^14 (tile.c)
//   FIXED8  lines as those, of unsigned codes (symmetric ones have zero 128);
//        FIXED4  R16 lines of 8 k: byte 4r+b of a line = low nibble
//        code[k0+b][r], high nibble code[k0+4+b][r] (zero 8). Scales stand
//        before the lines that they are of: [16] f32 and a group, or, when
//        they are f16, two groups at once (the second one's half of the line
//        is zero when there is none):
//            +--------------------------+-----------+-----------+
//            | [16] f16 s0, [16] f16 s1 | group 0   | group 1   |
//            +--------------------------+-----------+-----------+
//              64 bytes                   lines of 64 bytes
//        w4 g32 is 4.5 bits per weight, g128 4.125. After the strip's last
//        group, when asymmetric, [groups][16] u8 zero points, padded to 64
//        bytes. value = (code - zero) * scale
// The last group may be shorter; numbers: group 0 = one group of K.
#ifndef PTQC_BACKENDS_CPU_GEMM_H
#define PTQC_BACKENDS_CPU_GEMM_H

#include <stdint.h>

#include "backends/kgen/weight_source.h"
#include "backends/kgen/worker.h"
#include "epilogue.h"
#include "jit.h"

#define PQ_WEIGHT_F32  0u // activations f32
#define PQ_WEIGHT_S8   1u // activations u8
#define PQ_WEIGHT_W8   2u // activations f32, codes of 8 bits: convolutions
#define PQ_WEIGHT_W4   3u // activations f32, codes of 4 bits: convolutions
#define PQ_WEIGHT_F16  4u // activations f32
#define PQ_WEIGHT_BF16 5u // activations f32
// activations are rows of fixed.h; codes of 8 and 4 bits with group > 0
#define PQ_WEIGHT_FIXED8 6u
#define PQ_WEIGHT_FIXED4 7u
#define PQ_WEIGHT_E4M3   8u  // activations f32
#define PQ_WEIGHT_E5M2   9u  // activations f32
#define PQ_WEIGHT_E2M1   10u // activations f32
#define PQ_WEIGHT_NF4    11u // activations f32
#define PQ_WEIGHT_COUNT  12u

static inline int
pq_weight_is_fixed(uint32_t format)
{
    return format == PQ_WEIGHT_FIXED8 || format == PQ_WEIGHT_FIXED4;
}

// Codes that are numbers themselves, without zero point.
static inline int
pq_weight_is_number(uint32_t format)
{
    return format == PQ_WEIGHT_E4M3 || format == PQ_WEIGHT_E5M2 ||
           format == PQ_WEIGHT_E2M1 || format == PQ_WEIGHT_NF4;
}

// Codes of 4 bits, 8 to a line of a column.
static inline int
pq_weight_is_4_bit(uint32_t format)
{
    return format == PQ_WEIGHT_W4 || format == PQ_WEIGHT_FIXED4 ||
           format == PQ_WEIGHT_E2M1 || format == PQ_WEIGHT_NF4;
}

// Codes that become f32 weights, with scales beside them.
static inline int
pq_weight_is_codes(uint32_t format)
{
    return format == PQ_WEIGHT_W8 || format == PQ_WEIGHT_W4 ||
           pq_weight_is_number(format);
}

// Rounded up to whole strips.
static inline int64_t
pq_strip_columns(int64_t columns)
{
    return (columns + 15) / 16 * 16;
}

// ---- packing (target side; needs no jit) ----------------------------------

typedef struct pq_weight_shape {
    int64_t k, n;
    uint32_t format;      // PQ_WEIGHT_*
    uint32_t asymmetric;  // FIXED8, FIXED4
    int64_t group;        // codes: k per scale, multiple of 4 (W4: of 8);
                          // 0 = K; FIXED8, FIXED4: a multiple of 16
    uint32_t half_scales; // FIXED8, FIXED4: every scale is exactly an f16
    uint32_t reserved;
} pq_weight_shape;

// Bytes of the packed weights; a multiple of 64. 0 when the shape is not
// supported or overflows.
int64_t pq_weight_bytes(const pq_weight_shape *shape);
// Bytes of one strip; of codes also from a strip to its zero points.
int64_t pq_weight_strip_bytes(const pq_weight_shape *shape);
int64_t pq_weight_zeros_offset(const pq_weight_shape *shape);
// FIXED8, FIXED4: the scale of group g and column `lane` of a strip, from the
// group's scale line.
float pq_weight_scale(const pq_weight_shape *shape, const uint8_t *line,
                      int64_t g, int64_t lane);
// Whether all `count` scales can be packed as f16 without a change.
int pq_scales_are_half(const float *scales, int64_t count);
// `out` is 64-byte aligned. For symmetric codes every zero point must equal
// the middle code (0 for signed codes; 128, 8 for unsigned).
void pq_weight_pack(const pq_weight_shape *shape,
                    const pq_weight_source *source, void *out);
// Accumulator start for u8 activations with zero point `zero` (in their
// storage): out[n] = bias[n] - zero * sum_k w[k][n], modulo 2^32; bias may be
// NULL. out has pq_strip_columns(n) entries, the padding is 0. shape is S8.
void pq_weight_init(const pq_weight_shape *shape,
                    const pq_weight_source *source, const int32_t *bias,
                    int32_t zero, int32_t *out);

// ---- matmul ---------------------------------------------------------------

typedef struct pq_matmul_desc {
    int64_t m;
    pq_weight_shape weight;
    uint32_t digits; // FIXED8, FIXED4: of the rows (fixed.h)
    uint32_t reserved;
    pq_epilogue epilogue; // S8: REAL or INTEGER; else FLOAT
} pq_matmul_desc;

typedef struct pq_matmul_io {
    const void *a;    // [m][k] f32 or u8, k is contiguous; or fixed.h
    int64_t a_stride; // bytes from row to row
    const void *weights;
    const int32_t *init; // S8: from pq_weight_init
    void *out;           // [m][n] f32 or u8
    int64_t out_stride;  // bytes from row to row
    pq_epilogue_args epilogue;
} pq_matmul_io;

typedef struct pq_matmul pq_matmul; // immutable after prepare

ptqc_be_status pq_matmul_prepare(pq_jit *jit, ptqc_call *call,
                                 const pq_matmul_desc *desc, pq_matmul **out);
void pq_matmul_destroy(pq_matmul *op);                 // NULL allowed
uint64_t pq_matmul_scratch_bytes(const pq_matmul *op); // per worker
// Called on every worker; reads nothing outside of the rows of a.
void pq_matmul_run(const pq_matmul *op, const pq_matmul_io *io,
                   const pq_worker *worker);

// ---- batched f32 matmul, both operands at run time ------------------------

#define PQ_BMM_RANK_MAX 6

typedef struct pq_bmm_desc {
    int64_t m, n, k;
    uint32_t batch_rank; // <= PQ_BMM_RANK_MAX
    uint32_t reserved;
    int64_t batch[PQ_BMM_RANK_MAX];
    // All strides in bytes; 0 broadcasts.
    int64_t a_batch_stride[PQ_BMM_RANK_MAX];
    int64_t b_batch_stride[PQ_BMM_RANK_MAX];
    int64_t out_batch_stride[PQ_BMM_RANK_MAX];
    int64_t residual_batch_stride[PQ_BMM_RANK_MAX];
    int64_t a_stride;               // row m to row m; k contiguous
    int64_t b_k_stride, b_n_stride; // one of them is 4
    int64_t out_stride;             // row m to row m; n contiguous
    pq_epilogue epilogue;           // FLOAT
} pq_bmm_desc;

typedef struct pq_bmm_io {
    const float *a, *b;
    void *out;
    pq_epilogue_args epilogue; // residual is an additive mask, for instance;
                               // residual_stride may be 0 (broadcast over m)
} pq_bmm_io;

typedef struct pq_bmm pq_bmm;

ptqc_be_status pq_bmm_prepare(pq_jit *jit, ptqc_call *call,
                              const pq_bmm_desc *desc, pq_bmm **out);
void pq_bmm_destroy(pq_bmm *op);
uint64_t pq_bmm_scratch_bytes(const pq_bmm *op);
void pq_bmm_run(const pq_bmm *op, const pq_bmm_io *io, const pq_worker *worker);

#endif
