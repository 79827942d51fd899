// SPDX-License-Identifier: Apache-2.0
//
// Sums of matrix products by AMX tiles, for many rows: exact int32 sums of
// u8 x s8, or, for rows of fixed.h and codes with scales per group, the float
// sums of docs/numerics.md. The tile kernel (tile.h, `resumes`) goes on from
// them: it adds what is left of k and runs the epilogue. Same bits as without.
//
// A panel is up to 32 rows and 1 or 2 strips. Tiles: 0..3 sums [a][strip],
// 4 and 5 the input [a], 6 and 7 the weights [strip]; `a` is the half of the
// rows or, with two digits, the digit (then 16 rows at most). An input tile is
// 16 rows x `chunk` bytes of k, a weight tile chunk / 4 lines of a strip: a
// line of 16 columns x 4 k is a row of the tile as the instruction wants it.
//
// Codes of groups are unpacked first, per block of strips:
//     per strip and group: [16] f32 scales, [16] i32 zero points,
//     [chunks][chunk / 4][16][4] u8 codes, zero beyond the group
// Intel SDM volume 1, chapter 18; LLVM's x86 tile intrinsics.
#ifndef PTQC_BACKENDS_CPU_AMX_H
#define PTQC_BACKENDS_CPU_AMX_H

#include <stdint.h>

#include "fixed.h"
#include "gemm.h"
#include "jit.h"

#define PQ_AMX_ROWS_MAX 32
#define PQ_AMX_STRIPS   2

// Key of the kernel.
typedef struct pq_amx_key {
    uint32_t is_fixed;   // else u8 x s8
    uint32_t digits;     // fixed: 1 or 2
    uint32_t row_tiles;  // 1 or 2; with two digits 1
    uint32_t strips;     // 1 or 2
    uint32_t chunk;      // bytes of k in a tile: 64, 32 or 16
    uint32_t asymmetric; // fixed: zero points from the panel
    uint32_t zero;       // fixed, symmetric: 8 or 128
    uint32_t reserved;
} pq_amx_key;

typedef struct pq_amx_args {
    const void *config;     // what ldtilecfg reads
    const uint8_t *x;       // the first row
    int64_t x_stride;       // bytes from row to row
    int64_t plane;          // two digits: from one to the other
    int64_t sums_offset;    // fixed: see fixed.h
    int64_t rows;           // of the panel
    const uint8_t *weights; // first strip; fixed: unpacked
    int64_t weight_stride;  // bytes from strip to strip
    int64_t chunks;         // u8 x s8: whole chunks; fixed: of a full group
    int64_t groups;         // fixed: full groups
    int64_t last_chunks;    // fixed: of the last, shorter group, or 0
    void *tiles;            // fixed: 4 KiB
    void *out; // [rows rounded up to 16][strips][16] i32, or f32: added to
} pq_amx_args;

extern const pq_kernel_class pq_amx_class;

// What a product on AMX needs; zero: not on AMX.
typedef struct pq_amx {
    pq_amx_key key; // strips and row_tiles vary
    int64_t k, weight_stride, group_bytes, unpacked_strip;
    int64_t chunks, groups, last_chunks;
    pq_weight_shape shape;
    pq_fixed_shape rows;
    void (*kernel[2][PQ_AMX_STRIPS])(const pq_amx_args *args);
} pq_amx;

// Whether a product of m rows (equally far apart) is worth it.
int pq_amx_is_useful(pq_isa isa, int64_t m, const pq_weight_shape *shape,
                     const pq_fixed_shape *rows);
// rows: of FIXED weights.
ptqc_be_status pq_amx_prepare(pq_jit *jit, ptqc_call *call,
                              const pq_weight_shape *shape,
                              const pq_fixed_shape *rows, pq_amx *out);
// k that the sums cover: the tile kernel goes on there.
int64_t pq_amx_k(const pq_amx *amx);
// Rows of a panel at most.
int64_t pq_amx_rows(const pq_amx *amx);
uint64_t pq_amx_scratch_bytes(const pq_amx *amx); // a multiple of 64

// Prepares `strips` strips from `weights` on, for pq_amx_sums.
void pq_amx_begin(const pq_amx *amx, const uint8_t *weights, int64_t strips,
                  void *scratch);
// -> sums [rows][strips][16] in the scratch, until the next call.
const void *pq_amx_sums(const pq_amx *amx, const uint8_t *weights,
                        int64_t strips, const uint8_t *x, int64_t x_stride,
                        int64_t rows, void *scratch);

#endif
