// SPDX-License-Identifier: Apache-2.0
//
// GPTQ (Frantar et al., 2022) in the form of LDLQ (Chee et al., 2023, theorem
// 1), with one Cholesky factor and no inverse: h = r r', r upper triangular;
// columns in order, t_i = w_i + sum over j < i of (w_j - q_j) r[j][i] /
// r[i][i], q_i = the code of t_i. Equal to the recurrence of the paper.
//
// Two objects: a pq_factor belongs to the inputs of a layer (all layers that
// share the inputs share it), pq_gptq_solve to one weight. Shapes: weights
// [rows][cols] f32 row-major, rows are outputs; h [cols][cols] f32. Scales and
// zero points [rows][groups] as quantize.h has them.
//
// Numerical safety: what goes wrong makes one step of a ladder and a warning,
// never a failure. Damping grows by 4 until the factor exists; a matrix that
// is not finite, or whose factor does not exist with damping 1, gives plain
// rounding.
//
// Threads: as linalg.h. Same bytes for any number of them.
#ifndef PTQC_QUANT_GPTQ_H
#define PTQC_QUANT_GPTQ_H

#include "quant/linalg.h"
#include "quant/quantize.h"

// Order in which columns are quantized. Scales always belong to the groups of
// the columns' own order, chosen before anything moves ("static groups"): no
// kernel needs an index per column.
typedef enum pq_column_order {
    PQ_ORDER_GROUP,   // default: groups by their largest diagonal of h,
                      // within a group by the diagonal, both descending
                      // (GPTQModel's group-aware reordering)
    PQ_ORDER_GIVEN,   // 0, 1, 2, ...
    PQ_ORDER_DIAGONAL // by the diagonal, descending ("act-order")
} pq_column_order;

const char *pq_column_order_name(pq_column_order order); // "group"

typedef struct pq_factor_desc {
    const char *name; // of the layer, for diagnostics; NULL: "layer"
    const float *h;   // [d][d] Gram matrix of the inputs as the quantized
                      // layers before give them, times any positive factor;
                      // the lower triangle is read
    int64_t d;
    double tokens; // that h was made of (effective number when weighted:
                   // (sum w)^2 / sum w^2); 0: not known, no guard
    float damping; // of the mean diagonal; 0: PQ_DAMPING
    pq_column_order order;
    int64_t group;  // of PQ_ORDER_GROUP; 0: all columns are one
    bool is_warned; // of too few tokens, of another layer: once is enough
} pq_factor_desc;

#define PQ_DAMPING 0.05f // algorithms 1.4: never worse than .01

typedef struct pq_factor_report {
    float damping;         // used, of the mean diagonal
    uint32_t ladder_steps; // dampings that did not suffice
    int64_t dead_count;    // inputs that were always 0: plainly rounded
    double gain;           // tr(D) / tr(h): loss over that of rounding,
                           // predicted (D = squared diagonal of r)
    double tokens_needed;  // 0: enough; else what the guard asks for (8 d)
    bool is_plain;         // the ladder's end: columns are rounded one by one
} pq_factor_report;

typedef struct pq_factor pq_factor;

// Where the number of tokens is known, the damping is at least that of a
// shrunken covariance (Chen et al., 2010); one that was asked for is only
// raised below 4 d tokens, and a warning then tells the number needed (unless
// is_warned). Does not keep h. Memory: d * d floats.
PTQC_MUST_USE ptqc_status pq_factor_create(ptqc_ctx *ctx,
                                           const pq_factor_desc *desc,
                                           pq_factor **out);
void pq_factor_destroy(ptqc_ctx *ctx, pq_factor *factor); // NULL allowed
const pq_factor_report *pq_factor_get_report(const pq_factor *factor);
// What was added to the diagonal, in units of h.
double pq_factor_damping(const pq_factor *factor);

typedef struct pq_gptq_desc {
    const char *name; // of the weight, for diagnostics; NULL: "weight"
    const float *w;   // [rows][d of the factor]; what is not finite counts as 0
    int64_t rows;
    const float *h;     // that the factor was made of
    const float *cross; // [d][d] for the target of pq_target; NULL: w itself
    float blend;        // as there
    pq_scheme scheme;   // integer formats of 2 to 8 bits, symmetric or not;
                        // tensor, channel (axis 0) or group (axis 1)
    pq_scale_search search;
    // Scales that were chosen elsewhere: [pq_weights_scale_count] each; NULL:
    // chosen by `search` of w, errors weighted by the diagonal of h.
    const float *scales;
    const int32_t *zero_points;
    // Sweeps of coordinate descent after it (polish.h). Each begins with one
    // over the scales, unless there is one for all.
    uint32_t polish_sweeps;
    bool keeps_scales; // no such sweeps over scales
    bool zeroes_dead;  // weights of dead inputs become 0 (the reference
                       // does that); default: they are rounded
} pq_gptq_desc;

// Losses are tr(e h e'), e = codes' numbers - target, in units of h. All 0 for
// a plain factor, whose h tells nothing.
typedef struct pq_gptq_report {
    double rounding_loss;  // of plain rounding with the same scales
    double loss;           // of the result
    double gptq_loss;      // before polishing
    double energy;         // tr(target h target'), to compare with
    double identity_error; // |sum r_ii^2 (t_i - q_i)^2 / tr(e h_damped e') - 1|
    int64_t moved_count;   // codes that polishing changed
    int64_t scale_count;   // changes of scales by it
    int64_t bad_count;     // weights that were not finite
} pq_gptq_report;

// out_scales, out_zero_points: [pq_weights_scale_count]; out_codes: [rows][d]
// one byte each, as pq_encode_weights. out_report may be NULL (then losses are
// not computed). PTQC_E_UNSUPPORTED: other schemes.
PTQC_MUST_USE ptqc_status pq_gptq_solve(ptqc_ctx *ctx, const pq_factor *factor,
                                        const pq_gptq_desc *desc,
                                        float *out_scales,
                                        int32_t *out_zero_points,
                                        uint8_t *out_codes,
                                        pq_gptq_report *out_report);

// The weight whose outputs on the quantized layers' inputs x~ are nearest to
// those of w on the float layers' inputs x (algorithms 7.3):
//   w* = w (cross + l) (h + l)^-1,  cross = sum x' x~ = pq_gram_cross_add(x,
//   x~), h = the Gram matrix of x~ in the same units, l the factor's damping.
// out [rows][d] = w + blend (w* - w); blend 0 means 1. A plain factor gives w.
PTQC_MUST_USE ptqc_status pq_target(ptqc_ctx *ctx, const pq_factor *factor,
                                    const float *w, int64_t rows,
                                    const float *cross, float blend,
                                    float *out);

#endif
