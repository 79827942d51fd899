// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of linear algebra, one set per instruction set, all with the
// bits of linalg.h's order of sums. Internal to quant/.
//
// Panels: a product is computed in tiles of mr rows and nr columns from packed
// panels, a as [k][mr], b as [k][nr]. Columns that depend on each other are
// worked on in strips of PQ_LANES rows, stored column by column: [columns]
// [PQ_LANES], so that rows are lanes.
#ifndef PTQC_QUANT_LINALG_MICRO_H
#define PTQC_QUANT_LINALG_MICRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PQ_LANES     64
#define PQ_TILE_MAX  (16 * 32) // elements of a tile at most
#define PQ_WIDTH_MAX 32        // mr and nr at most

struct pq_narrow;

// How the rows of a strip become codes: q = rne(t / scale) within [min - zero,
// max - zero], + zero; or the nearest number of a narrow format.
typedef struct pq_rounding {
    const float *scales;            // [PQ_LANES]
    const float *zeros;             // [PQ_LANES] zero points
    float min, max;                 // codes
    float root;                     // factor of the errors that are squared
    const struct pq_narrow *narrow; // NULL: integers
} pq_rounding;

typedef struct pq_micro {
    const char *name; // "avx512"
    int mr, nr;
    // tile [mr][nr] = sum over k of a b, each element one chain of fma's.
    void (*product)(int64_t k, const float *a, const float *b, float *tile);
    // The panel of `lanes` (at most width) rows or columns: out [k][width],
    // zero beyond lanes; out[i][l] = p[i * k_step + l * lane_step], times
    // weights[i] unless NULL.
    void (*pack_mr)(const float *p, ptrdiff_t lane_step, ptrdiff_t k_step,
                    int lanes, int64_t k, const float *weights, float *out);
    void (*pack_nr)(const float *p, ptrdiff_t lane_step, ptrdiff_t k_step,
                    int lanes, int64_t k, const float *weights, float *out);
    // c [m][n] of rows c_ld apart += tile, or -=.
    void (*add)(const float *tile, int m, int n, bool is_subtracted, float *c,
                ptrdiff_t c_ld);
    // A column of a strip: y += sum over t < n of x[t] factors[t * step], or
    // -=, one fma per term and lane in order of t. x: n columns.
    void (*combine)(const float *x, const float *factors, ptrdiff_t step,
                    int64_t n, bool is_subtracted, float *y);
    // A column of a strip: y *= factor.
    void (*scale)(float factor, float *y);
    // Rows of a matrix to columns of a strip and back: strip[j][l] <->
    // p[l * ld + j], j < cols, l < lanes. Lanes beyond become 0.
    void (*load)(const float *p, ptrdiff_t ld, int lanes, int64_t cols,
                 float *strip);
    void (*store)(const float *strip, int lanes, int64_t cols, float *p,
                  ptrdiff_t ld);
    // A column of a strip: the codes of t; e = w - what the codes stand for;
    // squares += (root (t - what they stand for))^2.
    void (*round)(const pq_rounding *rounding, const float *t, const float *w,
                  uint8_t *codes, float *e, float *squares);
    // sum of factors[i] (t - q)^2, t = w[i] / scale, q = rne(t) within
    // [lo, hi], in f32: i goes to lane i mod 16, then lanes l and l + 8, l + 4,
    // l + 2, l + 1 are combined. factors NULL: all 1.
    float (*rounding_error)(const float *w, const float *factors, int64_t n,
                            float scale, float lo, float hi);
    // e[i] = w[i] - scale q, q as above.
    void (*residues)(const float *w, int64_t n, float scale, float lo, float hi,
                     float *e);
    // sum of a[i] b[i] in double: lanes as those of rounding_error.
    double (*dot)(const float *a, const float *b, int64_t n);
} pq_micro;

// The best set of this machine.
const pq_micro *pq_micro_best(void);
// All sets that this machine runs: 0, 1, ... until NULL. For tests.
const pq_micro *pq_micro_variant(unsigned index);

#endif
