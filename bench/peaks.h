// SPDX-License-Identifier: Apache-2.0
//
// Kernels whose speed is the peak that others are compared with: f32 fma,
// u8s8 dot products, a plain read.
#ifndef PTQC_BENCH_PEAKS_H
#define PTQC_BENCH_PEAKS_H

#include "backends/cpu/emit.h"

typedef struct peak_desc {
    uint32_t is_dot;
} peak_desc;

#define CHAINS 12

// void kernel(int64_t rounds, void *io): CHAINS independent accumulators.
static inline ptqc_be_status
emit_peak(pq_emitter *e, const void *desc)
{
    const peak_desc *d = desc;
    LLVMTypeRef params[2] = {e->t_i64, e->t_ptr};
    pq_emit_function(e, params, 2);
    LLVMValueRef v_io = pq_emit_param(e, 1);
    LLVMValueRef v_x =
        pq_emit_load(e, d->is_dot ? e->t_vi8x64 : e->t_vf32, v_io, 4);
    LLVMValueRef v_acc[CHAINS];
    uint32_t chains = e->isa == PQ_ISA_AVX2 ? 4 : CHAINS;
    for (uint32_t i = 0; i < chains; i++) {
        v_acc[i] = pq_emit_load(e, d->is_dot ? e->t_vi32 : e->t_vf32,
                                pq_emit_at_const(e, v_io, 64 * i), 4);
    }
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), pq_emit_param(e, 0), 1,
                       v_acc, chains);
    for (uint32_t i = 0; i < chains; i++) {
        for (int k = 0; k < 2; k++) {
            LLVMValueRef v_in = k == 0 ? loop.v_carried[i] : v_acc[i];
            // the accumulator is an operand, too: nothing can be hoisted
            v_acc[i] = d->is_dot
                           ? pq_emit_dot4(e, v_in,
                                          LLVMBuildBitCast(e->builder, v_in,
                                                           e->t_vi8x64, ""),
                                          v_x)
                           : pq_emit_fma(e, v_x, v_x, v_in);
        }
    }
    pq_emit_loop_end(e, &loop, v_acc);
    for (uint32_t i = 0; i < chains; i++) {
        pq_emit_store(e, loop.v_carried[i], pq_emit_at_const(e, v_io, 64 * i),
                      4);
    }
    pq_emit_return(e);
    return PTQC_BE_OK;
}

// void kernel(int64_t bytes, const void *p, void *out): adds up 64-byte lines
// of four streams, a quarter of the bytes each.
static inline ptqc_be_status
emit_read(pq_emitter *e, const void *desc)
{
    (void)desc;
    LLVMTypeRef params[3] = {e->t_i64, e->t_ptr, e->t_ptr};
    pq_emit_function(e, params, 3);
    LLVMValueRef v_quarter =
        LLVMBuildLShr(e->builder, pq_emit_param(e, 0), pq_emit_i64(e, 2), "");
    LLVMValueRef v_acc[4], v_stream = pq_emit_param(e, 1), v_streams[4];
    for (uint32_t i = 0; i < 4; i++) {
        v_acc[i] = LLVMConstNull(e->t_vi32);
        v_streams[i] = v_stream;
        v_stream = pq_emit_at(e, v_stream, v_quarter);
    }
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), v_quarter, 64, v_acc, 4);
    for (uint32_t i = 0; i < 4; i++) {
        LLVMValueRef v_at = pq_emit_at(e, v_streams[i], loop.v_index);
        v_acc[i] = LLVMBuildAdd(e->builder, loop.v_carried[i],
                                pq_emit_load(e, e->t_vi32, v_at, 64), "");
    }
    pq_emit_loop_end(e, &loop, v_acc);
    for (uint32_t i = 1; i < 4; i++) {
        loop.v_carried[0] =
            LLVMBuildAdd(e->builder, loop.v_carried[0], loop.v_carried[i], "");
    }
    pq_emit_store(e, loop.v_carried[0], pq_emit_param(e, 2), 64);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

static const pq_kernel_class read_class = {"bench_read", 2, sizeof(peak_desc),
                                           emit_read};

static const pq_kernel_class peak_class = {"bench_peak", 1, sizeof(peak_desc),
                                           emit_peak};

typedef struct peak_case {
    void (*kernel)(int64_t rounds, void *io);
    int64_t rounds;
} peak_case;

#endif
