// SPDX-License-Identifier: Apache-2.0
//
// Machine code at run time: LLVM IR built in SSA form through the C API, no
// IR passes, one object per kernel, copied into W^X memory. A kernel is a
// pure function of (class, descriptor, ISA level); it is looked up in the
// process, then in the host's kernel cache, and emitted only when neither
// has it.
//
// Threads: pq_jit_get may be called from several threads.
#ifndef PTQC_BACKENDS_CPU_JIT_H
#define PTQC_BACKENDS_CPU_JIT_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/backend.h"

// Instruction-set levels in ascending order on x86; --target "cpu;LEVEL"
// caps the level. AARCH64 objects are only emitted (cross), never loaded on
// x86. Every level gives the same bits.
typedef enum pq_isa {
    PQ_ISA_AVX2,    // AVX2 + FMA + F16C
    PQ_ISA_AVX512,  // F, BW, DQ, VL
    PQ_ISA_VNNI,    // AVX512 + AVX512_VNNI
    PQ_ISA_AMX,     // VNNI + AMX-INT8 (amx.h: products of many rows)
    PQ_ISA_AARCH64, // NEON + dotprod + i8mm
    PQ_ISA_COUNT
} pq_isa;

// "avx2", "avx512", "vnni", "amx", "aarch64".
const char *pq_isa_name(pq_isa isa);
// Name -> level; 0 when unknown (out untouched).
int pq_isa_parse(const char *text, size_t bytes, pq_isa *out);
// Highest level of this machine from cpuid and XGETBV (and, on Linux, whether
// the process may use tiles: it asks for that); -1 when it has no
// AVX2 + FMA (the ref backend serves such machines).
int pq_isa_detect(void);
// How far ahead a kernel that streams from memory should ask for lines on this
// processor, in bytes; 0: its own prefetching is better left alone. Intel's
// server cores reach a third more with it, AMD's Zen 4 loses a tenth and more.
uint32_t pq_isa_read_ahead(void);

typedef struct pq_jit pq_jit;
typedef struct pq_emitter pq_emitter; // see emit.h

// A kernel family. emit() builds one function named "kernel" into the
// emitter's module from the descriptor; descriptors are plain structs of
// fixed-width integers without padding, compared and hashed as bytes.
// `version` goes into the cache key: bump it when emit changes.
typedef struct pq_kernel_class {
    const char *name;
    uint32_t version;
    uint32_t desc_bytes;
    ptqc_be_status (*emit)(pq_emitter *e, const void *desc);
} pq_kernel_class;

// `host` outlives the jit.
ptqc_be_status pq_jit_create(ptqc_call *call, const ptqc_host *host, pq_isa isa,
                             pq_jit **out);
void pq_jit_destroy(pq_jit *jit); // code becomes invalid; NULL allowed
pq_isa pq_jit_isa(const pq_jit *jit);
const ptqc_host *pq_jit_host(const pq_jit *jit);
// pq_isa_read_ahead of this machine, or what the setter said (before the first
// kernel; tests run other machines' kernels so).
uint32_t pq_jit_read_ahead(const pq_jit *jit);
void pq_jit_set_read_ahead(pq_jit *jit, uint32_t bytes);

// -> the kernel's code (cast to the class's function type), valid as long as
// the jit.
ptqc_be_status pq_jit_get(pq_jit *jit, ptqc_call *call,
                          const pq_kernel_class *cls, const void *desc,
                          void (**out)(void));

// The relocatable object of a kernel for any level (cross-emission, tests,
// --emit). Free with host->vt->free.
ptqc_be_status pq_jit_object(pq_jit *jit, ptqc_call *call, pq_isa isa,
                             const pq_kernel_class *cls, const void *desc,
                             ptqc_bytes *out);

// One line of LLVM and version, static storage: "LLVM 19.1.7".
const char *pq_jit_llvm_version(void);

#endif
