// SPDX-License-Identifier: Apache-2.0
//
// What follows the accumulators of conv and matmul, found from the op's
// operands and attributes (docs/numerics.md sections 4 and 5).
#ifndef PTQC_BACKENDS_KGEN_LOWER_EPILOGUE_H
#define PTQC_BACKENDS_KGEN_LOWER_EPILOGUE_H

#include "epilogue.h"
#include "lower.h"

#define PQ_EPILOGUE_PARAMS 14u // written by pq_step_epilogue

typedef struct pq_lower_epilogue {
    pq_epilogue ep;
    pq_epilogue_args args;   // scalars only
    bool is_integer;         // x and w are codes, summed over all of K
    bool is_dynamic;         // x are codes, their scales are operand 4
    bool is_grouped;         // is_dynamic, and w are codes of 4 bits or with
                             // scales per group: the epilogue is of floats
    bool is_real_out;        // the step writes f32, pq_end_real follows
    uint32_t out;            // value of the block that the step gives
    uint32_t residual;       // value of the block, or PTQC_GB_NONE
    int32_t x_zero;          // zero point of x in its storage
    const float *mult;       // [channels] or NULL
    const float *bias;       // [channels] or NULL
    const int32_t *bias_acc; // [channels] or NULL
    // Zero points of the weights as pq_lower_weight_s8 gives them, [channels];
    // NULL when all are 0. bias_acc then has K * x_zero * weight_zero[c], too.
    const int32_t *weight_zero;
} pq_lower_epilogue;

// Reads operands 0 x, 1 w, 2 bias, 3 residual and output 0. Channels run
// along axis `channel_axis` of w (scales of w: one, or `channels`).
void pq_lower_epilogue_read(pq_lower *l, int64_t channels,
                            uint32_t channel_axis, pq_lower_epilogue *out);
// Codes of the weights as s8; those of u8 are less 128. The result may be the
// constant's own bytes.
const int8_t *pq_lower_weight_s8(pq_lower *l, const ptqc_gb_value *w);
// Of weights for float activations: mult = their scales, weight_zero = their
// zero points, both one per channel. Per tensor or along `channel_axis`.
void pq_lower_weight_scales(pq_lower *l, int64_t channels,
                            uint32_t channel_axis, pq_lower_epilogue *e);
// As pq_lower_weight_s8, also of 4 bits; those of u4 are less 8.
const int8_t *pq_lower_weight_codes(pq_lower *l, const ptqc_gb_value *w);
// Takes a product of the output with a value that is there already into the
// step (PQ_EPI_GATE), when nothing else reads the output.
void pq_lower_epilogue_gate(pq_lower *l, pq_lower_epilogue *e);
// Output storage for the epilogue, and what follows the step.
pq_ref pq_lower_epilogue_define(pq_lower *l, const pq_lower_epilogue *e,
                                const uint8_t *perm);
void pq_lower_epilogue_end(pq_lower *l, const pq_lower_epilogue *e,
                           const pq_ref *ref);
void pq_step_epilogue(pq_lower *l, const pq_lower_epilogue *e);

#endif
