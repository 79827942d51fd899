// SPDX-License-Identifier: Apache-2.0
//
// The device side: an executable (blob + constants + jit), a specialization
// (an entry with known dims: ready ops, a workspace plan) and running it.
//
// One step = one op. pq_prepare_<fn> (step_*.c) checks the step's shapes and
// parameters against its operands, makes its kernels and fills a pq_op; what
// it lets through cannot fail while running, except for indices that are
// data, which are reported through pq_run.failed.
#ifndef PTQC_BACKENDS_CPU_SPEC_H
#define PTQC_BACKENDS_CPU_SPEC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "backends/kgen/mem.h"
#include "backends/kgen/plan.h"
#include "backends/kgen/worker.h"
#include "jit.h"

typedef pq_kg_shape pq_shape;

// What a step sees while it runs.
typedef struct pq_run {
    const pq_worker *worker;
    void *const *args; // inputs, then outputs; NULL = absent
    void *shared;      // pq_op.shared_bytes, the same on every worker
    void (*barrier)(void *region);
    void *region;
    atomic_uint *failed; // set to 1: an index in the data is out of range
} pq_run;

typedef struct pq_op pq_op;
struct pq_op {
    void (*run)(const void *state, const pq_run *run);
    void (*destroy)(void *state); // NULL: the state lives in the arena
    void *state;
    uint64_t scratch_bytes; // per worker
    uint64_t shared_bytes;
    uint64_t work_ops;   // multiply-add counts 2
    uint64_t work_bytes; // moved; 0 = all of the operands
    uint32_t inplace;    // bit i: output 0 may lie on input i
    bool serial;         // worker 0 alone
    bool meets;          // run() uses the barrier
    const char *method;  // for profiles; may be NULL
};

// What pq_prepare_* gets.
typedef struct pq_prep {
    const ptqc_host *host;
    ptqc_call *call;
    pq_jit *jit;
    pq_mem *mem;
    const pq_shape *const *ins; // NULL = absent
    const pq_shape *const *outs;
    const void *const *constants; // bytes of constant inputs, else NULL
    uint32_t in_count, out_count;
    const int64_t *params;
    uint32_t param_count;
    const int64_t *dims; // of the entry's dim expressions
    uint32_t dim_count;
} pq_prep;

// Refuses the blob unless the condition holds.
#define PQ_NEED(prep, condition)                                               \
    do {                                                                       \
        if (!(condition)) {                                                    \
            return pq_prep_refuse((prep), #condition);                         \
        }                                                                      \
    } while (0)

ptqc_be_status pq_prep_refuse(const pq_prep *prep, const char *what);
ptqc_be_status pq_prep_no_memory(const pq_prep *prep);
// Elements that the axes [begin, end) span; 1 when there are none.
int64_t pq_shape_product(const pq_shape *shape, uint32_t begin, uint32_t end);
// Parameter i; 0 beyond the end (checked by the caller where it matters).
int64_t pq_prep_i64(const pq_prep *prep, uint32_t i);
float pq_prep_f32(const pq_prep *prep, uint32_t i);
// The value of the dim expression named by parameter i.
bool pq_prep_dim(const pq_prep *prep, uint32_t i, int64_t *out);

#define STEP(NAME, text, fn, ins_min, ins_max, outs, params_min)               \
    ptqc_be_status pq_prepare_##fn(const pq_prep *prep, pq_op *op);
#define STEP_KGEN(NAME, text, fn, ins_min, ins_max, outs, params_min)
#include "backends/kgen/steps.def"
#undef STEP

// ---- executable and specialization ----------------------------------------

struct ptqc_exe {
    pq_mem mem; // owns what follows; the exe itself lives in it
    const ptqc_host *host;
    pq_jit *jit; // owned
    pq_kg_program program;
    ptqc_bytes *constants;    // [program.constant_count], bytes borrowed
    uint64_t *constant_bytes; // of each
};

typedef struct pq_spec_step {
    pq_op op;
    const pq_kg_step *step; // borrowed from the exe
    bool barrier;           // workers meet after it
    uint64_t bytes;         // of its operands
    void **args;            // [inputs + outputs], filled by submit
} pq_spec_step;

struct ptqc_spec {
    pq_mem mem;
    ptqc_exe *exe;
    const pq_kg_entry *entry;
    pq_shape *shapes; // [value_count]
    pq_spec_step *steps;
    uint64_t *offsets; // workspace offset of each root temporary
    void **pointers;   // [value_count], filled by submit
    uint32_t width;    // workers the workspace is made for
    uint64_t temp_bytes, shared_offset, scratch_offset, scratch_bytes;
    uint64_t workspace_bytes;
};

ptqc_be_status pq_spec_create(ptqc_call *call, ptqc_exe *exe, uint32_t entry,
                              const int64_t *dims, uint64_t dim_count,
                              ptqc_spec **out);
void pq_spec_destroy(ptqc_spec *spec);
ptqc_be_status pq_spec_run(ptqc_call *call, ptqc_spec *spec,
                           const ptqc_submit *submit);
// Sets pq_spec_step.barrier; the workspace is planned.
void pq_spec_barriers(ptqc_spec *spec);

#endif
