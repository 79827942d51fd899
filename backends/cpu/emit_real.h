// SPDX-License-Identifier: Apache-2.0
//
// 16 elements of a float type in memory <-> 16 lanes of f32.
#ifndef PTQC_BACKENDS_CPU_EMIT_REAL_H
#define PTQC_BACKENDS_CPU_EMIT_REAL_H

#include <stdint.h>

#include "ptqc/types.h"

#include "emit.h"

static inline uint32_t
pq_emit_real_bytes(uint32_t dtype)
{
    return dtype == PTQC_F32 ? 4 : 2;
}

// F32, F16 or BF16 at an address aligned to the element; v_mask may be NULL,
// lanes that are off read as zero. Exact.
LLVMValueRef pq_emit_load_real(pq_emitter *e, uint32_t dtype,
                               LLVMValueRef v_ptr, LLVMValueRef v_mask);
// Rounds 16 lanes of f32 to F16 or BF16 (nearest even) and stores them.
void pq_emit_store_short(pq_emitter *e, uint32_t dtype, LLVMValueRef v_x,
                         LLVMValueRef v_ptr, LLVMValueRef v_mask);

#endif
