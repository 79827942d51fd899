// SPDX-License-Identifier: Apache-2.0
//
// Building epilogues (kgen/epilogue.h) into the matmul, convolution and
// depthwise kernels.
#ifndef PTQC_BACKENDS_CPU_EPILOGUE_H
#define PTQC_BACKENDS_CPU_EPILOGUE_H

#include <llvm-c/Types.h>

#include "backends/kgen/epilogue.h"
#include "emit.h"

// The run-time scalars, splat once per kernel call.
typedef struct pq_epilogue_values {
    LLVMValueRef v_lo, v_hi, v_inv_scale, v_scale, v_residual_scale, v_alpha,
        v_beta, v_out_zero, v_residual_zero;
    LLVMValueRef v_out_zero16; // <32 x i16>, when codes are packed in fours
} pq_epilogue_values;

// Loads the scalars that `ep` needs from the pq_epilogue_args at v_args.
void pq_emit_epilogue_values(pq_emitter *e, const pq_epilogue *ep,
                             LLVMValueRef v_args, pq_epilogue_values *out);

// One 16-lane vector of the output.
typedef struct pq_epilogue_lane {
    LLVMValueRef v_acc;       // <16 x f32> (FLOAT) or <16 x i32>
    LLVMValueRef v_mult;      // <16 x f32>, NULL when unused
    LLVMValueRef v_bias;      // <16 x f32>, NULL when unused
    LLVMValueRef v_row_scale; // <16 x f32>, NULL when unused
    LLVMValueRef v_residual;  // address of the 16 residuals
    LLVMValueRef v_out;       // address of the 16 outputs
    LLVMValueRef v_mask;      // <16 x i1>, NULL = all
    int follows;              // v_out is just after the lane before
} pq_epilogue_lane;

#define PQ_EPILOGUE_GROUP 4u

// Computes and stores up to PQ_EPILOGUE_GROUP vectors.
void pq_emit_epilogue_group(pq_emitter *e, const pq_epilogue *ep,
                            const pq_epilogue_values *values,
                            const pq_epilogue_lane *lanes, uint32_t count);
// 1 when a group's codes are packed by saturating instructions.
int pq_epilogue_is_packed(const pq_emitter *e, const pq_epilogue *ep);
// The two halves of a packed group: the codes of one vector as i32, not yet
// with the zero point nor clamped from below; and four of them as <64 x i8>
// whose 128-bit lane L holds the 4 codes 4L.. of each of the four vectors.
LLVMValueRef pq_emit_epilogue_codes(pq_emitter *e, const pq_epilogue *ep,
                                    const pq_epilogue_values *values,
                                    const pq_epilogue_lane *lane);
LLVMValueRef pq_emit_epilogue_pack(pq_emitter *e,
                                   const pq_epilogue_values *values,
                                   const LLVMValueRef v_codes[4]);
// Computes and stores one vector.
void pq_emit_epilogue(pq_emitter *e, const pq_epilogue *ep,
                      const pq_epilogue_values *values,
                      const pq_epilogue_lane *lane);

#endif
