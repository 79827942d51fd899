// SPDX-License-Identifier: Apache-2.0
//
// Small helpers over the LLVM C API for kernel emitters. IR is built in SSA
// form (phi nodes, no alloca) and goes to codegen without IR passes, so what
// is written is what runs: unroll by hand, hoist by hand.
//
// One logical vector is 16 lanes of 32 bits at every level: a zmm, two ymm or
// four q registers; LLVM splits it. Only pq_emit_dot4 knows the level.
//
// Convention in emitters: a value named v_x is an LLVM value, everything else
// is known while emitting. Addresses are bytes from opaque pointers.
// Never set fast-math flags. Always give the true alignment of a load.
#ifndef PTQC_BACKENDS_CPU_EMIT_H
#define PTQC_BACKENDS_CPU_EMIT_H

#include <llvm-c/Core.h>
#include <stddef.h>
#include <stdint.h>

#include "jit.h"

#define PQ_LANES 16u

// Scratch state of one kernel emission. Emitters read the types and the
// builder; they do not keep it.
struct pq_emitter {
    LLVMContextRef context; // owned
    LLVMModuleRef module;   // owned
    LLVMBuilderRef builder; // owned
    LLVMValueRef function;  // of pq_emit_function
    pq_isa isa;
    // scalar types
    LLVMTypeRef t_void, t_i1, t_i8, t_i16, t_i32, t_i64, t_f16, t_f32, t_ptr;
    // logical vectors: <16 x f32>, <16 x i32>, <16 x i8>, <64 x i8>
    LLVMTypeRef t_vf32, t_vi32, t_vi8, t_vi8x64;
};

// ---- emission as a whole (used by jit.c) ----------------------------------

void pq_emitter_init(pq_emitter *e, pq_isa isa);
void pq_emitter_deinit(pq_emitter *e);
// Verifies the module and generates the object. `text` receives a message of
// LLVM on failure (text_bytes > 0, always terminated).
ptqc_be_status pq_emitter_object(pq_emitter *e, LLVMMemoryBufferRef *out,
                                 char *text, size_t text_bytes);
// CPU name, feature string and triple given to LLVM for a level.
const char *pq_isa_cpu(pq_isa isa);
const char *pq_isa_features(pq_isa isa);
const char *pq_isa_triple(pq_isa isa);
// Bytes of the widest register: 64, 32 or 16.
uint32_t pq_isa_vector_bytes(pq_isa isa);

// ---- functions and values -------------------------------------------------

// Declares `void kernel(params...)`, puts the builder at its entry. Call it
// once, first. Pointer parameters may alias.
void pq_emit_function(pq_emitter *e, const LLVMTypeRef *params,
                      uint32_t param_count);
LLVMValueRef pq_emit_param(pq_emitter *e, uint32_t index);
// Ends the function.
void pq_emit_return(pq_emitter *e);

LLVMValueRef pq_emit_i32(pq_emitter *e, int32_t value);
LLVMValueRef pq_emit_i64(pq_emitter *e, int64_t value);
LLVMValueRef pq_emit_f32(pq_emitter *e, float value);
// The scalar in all 16 lanes.
LLVMValueRef pq_emit_splat(pq_emitter *e, LLVMValueRef v_scalar);
LLVMValueRef pq_emit_splat_i32(pq_emitter *e, int32_t value);
LLVMValueRef pq_emit_splat_f32(pq_emitter *e, float value);
// <lanes x element>
LLVMTypeRef pq_emit_vector_type(LLVMTypeRef element, uint32_t lanes);

// ---- memory ---------------------------------------------------------------

// base + bytes
LLVMValueRef pq_emit_at(pq_emitter *e, LLVMValueRef v_base,
                        LLVMValueRef v_bytes);
LLVMValueRef pq_emit_at_const(pq_emitter *e, LLVMValueRef v_base,
                              int64_t bytes);
// `align` in bytes: what is guaranteed, 1 when nothing is.
LLVMValueRef pq_emit_load(pq_emitter *e, LLVMTypeRef type, LLVMValueRef v_ptr,
                          uint32_t align);
void pq_emit_store(pq_emitter *e, LLVMValueRef v_value, LLVMValueRef v_ptr,
                   uint32_t align);
// numbers[v_index[i]] in lane i; v_index <16 x i32>, each < 16.
LLVMValueRef pq_emit_lookup16(pq_emitter *e, const float numbers[16],
                              LLVMValueRef v_index);
// Asks for the cache line of v_ptr, which may be any address. level 3: for all
// caches, 2: for all but the nearest.
void pq_emit_prefetch(pq_emitter *e, LLVMValueRef v_ptr, int32_t level);
// `bytes` of the kernel's own stack, 64-byte aligned. Call it in the entry
// block: before any loop or branch.
LLVMValueRef pq_emit_stack(pq_emitter *e, uint32_t bytes);
// Loads a naturally aligned field of an argument struct:
// pq_emit_field(e, v_args, e->t_ptr, offsetof(pq_tile_args, out)).
LLVMValueRef pq_emit_field(pq_emitter *e, LLVMValueRef v_struct,
                           LLVMTypeRef type, size_t offset);
// <16 x i1>: lane < count (count i64, any value >= 0).
LLVMValueRef pq_emit_mask(pq_emitter *e, LLVMValueRef v_count);
// Lanes whose mask is off read as zero and touch no memory.
LLVMValueRef pq_emit_masked_load(pq_emitter *e, LLVMTypeRef type,
                                 LLVMValueRef v_ptr, LLVMValueRef v_mask,
                                 uint32_t align);
void pq_emit_masked_store(pq_emitter *e, LLVMValueRef v_value,
                          LLVMValueRef v_ptr, LLVMValueRef v_mask,
                          uint32_t align);

// ---- arithmetic (scalars or vectors, by the type of the operands) ---------

// a * b + c, one rounding.
LLVMValueRef pq_emit_fma(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b,
                         LLVMValueRef v_c);
// a > b ? a : b and a < b ? a : b: b when a is NaN.
LLVMValueRef pq_emit_max(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b);
LLVMValueRef pq_emit_min(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b);
// f32 -> i32, to nearest even. |value| <= 2^22.
LLVMValueRef pq_emit_round_i32(pq_emitter *e, LLVMValueRef v_value);
// Calls an LLVM intrinsic by name, overloaded on `types`.
LLVMValueRef pq_emit_intrinsic(pq_emitter *e, const char *name,
                               const LLVMTypeRef *types, uint32_t type_count,
                               LLVMValueRef *args, uint32_t arg_count);
// acc[i] + sum over j = 0..3 of u8[4i+j] * s8[4i+j], exact in 32 bits.
// acc <16 x i32>, u8 and s8 <64 x i8>.
LLVMValueRef pq_emit_dot4(pq_emitter *e, LLVMValueRef v_acc, LLVMValueRef v_u8,
                          LLVMValueRef v_s8);
// result[i] = first..second concatenated, picked by index[i]; -1 = any.
LLVMValueRef pq_emit_shuffle(pq_emitter *e, LLVMValueRef v_first,
                             LLVMValueRef v_second, const int *index,
                             uint32_t lanes);
// The 16 lanes in the fixed order of reductions: l and l+8, l and l+4, l+2,
// l+1; returns a scalar. `op` is PQ_LANES_ADD or PQ_LANES_MAX.
#define PQ_LANES_ADD 0
#define PQ_LANES_MAX 1
#define PQ_LANES_MIN 2
#define PQ_LANES_MUL 3
LLVMValueRef pq_emit_reduce(pq_emitter *e, LLVMValueRef v_vector, int op);

// ---- control flow ---------------------------------------------------------

#define PQ_CARRIED_MAX 64u

// for (index = begin; index < end; index += step) with values carried from
// one round to the next. Zero rounds are allowed.
//
//     pq_loop loop;
//     pq_emit_loop_begin(e, &loop, v_begin, v_end, 1, v_init, n);
//     ... use loop.v_index (i64) and loop.v_carried[0..n) ...
//     pq_emit_loop_end(e, &loop, v_next);
//     ... loop.v_carried[] now hold the values after the loop ...
typedef struct pq_loop {
    LLVMValueRef v_index;
    LLVMValueRef v_carried[PQ_CARRIED_MAX];
    uint32_t carried_count;
    // private
    LLVMValueRef v_end;
    LLVMValueRef v_init[PQ_CARRIED_MAX];
    LLVMBasicBlockRef b_before, b_body;
    int64_t step;
} pq_loop;

// v_begin and v_end are i64.
void pq_emit_loop_begin(pq_emitter *e, pq_loop *loop, LLVMValueRef v_begin,
                        LLVMValueRef v_end, int64_t step,
                        const LLVMValueRef *v_init, uint32_t count);
void pq_emit_loop_end(pq_emitter *e, pq_loop *loop, const LLVMValueRef *v_next);

// if (condition) { ... } with values that the branch may replace.
//
//     pq_branch branch;
//     pq_emit_if_begin(e, &branch, v_condition);
//     ...
//     pq_emit_if_end(e, &branch, v_before, v_now, n, v_out);
//
// v_out[i] = condition ? v_now[i] : v_before[i]; n may be 0. v_out may be
// v_before or v_now.
typedef struct pq_branch {
    LLVMBasicBlockRef b_before, b_exit;
} pq_branch;

void pq_emit_if_begin(pq_emitter *e, pq_branch *branch, LLVMValueRef v_cond);
void pq_emit_if_end(pq_emitter *e, pq_branch *branch,
                    const LLVMValueRef *v_before, const LLVMValueRef *v_now,
                    uint32_t count, LLVMValueRef *v_out);

#endif
