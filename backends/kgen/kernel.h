// SPDX-License-Identifier: Apache-2.0
//
// Kernels as text: one step of a program is one kernel.
//
//     source   at compile: step -> text in a dialect. Needs types, ranks and
//              parameters, no dims: layers of one form share one text (and so
//              one module; compare texts, they are deterministic).
//     launch   at specialize: the same step with known dims -> words, groups,
//              specialization values.
//
// What a device does with them:
//
//   Buffers.  buffers[i] is bound at set 0, binding i: the storage of operand
//   buffers[i].arg, from its first byte, as u32 words (storage of a value is
//   a multiple of 16 bytes and starts at a multiple of 16). A kernel may read
//   any byte of these and writes nothing outside of its result's; what lies
//   between the end of a tensor and the next multiple of 4 bytes may become
//   anything. With has_table one more binding follows the others: the words
//   of launch.table (read only; made once per specialization). No buffer is
//   larger than 2^32 - 1 bytes. An operand may be bound twice (the result of
//   an update in place is the state itself: then only the result is bound).
//
//   Words.    word_count push words (push constants from byte 0 on; kernel
//   parameters elsewhere), at most PQ_KG_WORDS_MAX, after those of launch.
//   has_table: word_count is 0.
//
//   Specialization. specs[i] is constant i of the module; 0 is always the
//   local size along x, the other local sizes are 1. All are u32. A module
//   need not have all of them.
//
//   Features. A text may use optional features of devices that its dialect
//   names; `features` of the source says which it does use. Devices without
//   them get another text of the same step: buffers and words are the same,
//   launch is told which of them is meant. Results have the same bits.
//
//   Groups.   groups[3] work groups; 0 in any of them: nothing to do.
//
// Everything here is pure: no device, no state. Reasons and texts live in the
// arena or are static.
#ifndef PTQC_BACKENDS_KGEN_KERNEL_H
#define PTQC_BACKENDS_KGEN_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ptqc/backend.h"
#include "ptqc/types.h"

#include "mem.h"

#define PQ_KG_WORDS_MAX   32u
#define PQ_KG_BUFFERS_MAX 12u // beside the table
#define PQ_KG_SPECS_MAX   12u

typedef enum pq_kg_language {
    PQ_KG_GLSL, // Vulkan 1.1, GLSL 450
    PQ_KG_LANGUAGE_COUNT
} pq_kg_language;

// Optional features of devices, bits.
#define PQ_KG_DOT       1u // sums of four products of packed 8-bit integers
#define PQ_KG_SUBGROUPS 2u // values of other items of a subgroup, by shuffles
#define PQ_KG_HALVES    4u // 16-bit floats, rounded to nearest even
#define PQ_KG_FEATURES  7u // all
// Subgroups: groups whose size is a multiple of a subgroup's consist of full
// ones, and a subgroup has 8 items or more, a power of two.
#define PQ_KG_SUBGROUP_MIN 8u

// What the text is for; part of the compile target, so the same on every
// machine.
typedef struct pq_kg_dialect {
    pq_kg_language language;
    uint32_t features; // that the text may use
} pq_kg_dialect;

// An operand. dims are those of the program's value (dense, row-major).
typedef struct pq_kg_tensor {
    uint32_t dtype; // ptqc_dtype of the stored elements
    uint32_t rank;
    int64_t dims[PTQC_MAX_RANK]; // launch only
} pq_kg_tensor;

// A step. `params` and what they mean: steps.def, and kernels.def for kinds
// that only devices with kgen kernels have.
typedef struct pq_kg_job {
    uint32_t kind;                   // pq_step_kind
    const pq_kg_tensor *const *args; // inputs, then outputs; NULL = absent
    uint32_t input_count, output_count;
    const int64_t *params;
    uint32_t param_count;
    const int64_t *dims; // launch: values of the entry's dim expressions
    uint32_t dim_count;
} pq_kg_job;

typedef struct pq_kg_buffer {
    uint32_t arg; // index into the job's args
    bool is_written;
} pq_kg_buffer;

typedef struct pq_kg_source {
    const char *name; // readable, an identifier: "matmul_i4_f32"
    const char *text; // whole text of the module, ends with a NUL
    size_t text_bytes;
    pq_kg_buffer buffers[PQ_KG_BUFFERS_MAX];
    uint32_t buffer_count;
    uint32_t features; // that the text uses
    bool has_table;
} pq_kg_source;

// What decides schedules and limits launches; zero: unknown.
typedef struct pq_kg_limits {
    uint32_t max_groups[3];  // 0: 65535
    uint32_t max_local_size; // invocations of a group along x; 0: 128
    uint32_t subgroup_size;  // of features with PQ_KG_SUBGROUPS
    uint32_t features;       // that the text of the step uses
    uint32_t max_turns;      // of an item's loops, all together; 0: any
    bool is_cpu;             // a device that runs on the host's cpu
} pq_kg_limits;

typedef struct pq_kg_launch {
    uint32_t groups[3];
    uint32_t specs[PQ_KG_SPECS_MAX];
    uint32_t spec_count;
    uint32_t words[PQ_KG_WORDS_MAX];
    uint32_t word_count;
    const uint32_t *table; // NULL without has_table
    uint32_t table_words;
    uint64_t work_ops; // for profiles; multiply-add counts 2
} pq_kg_launch;

// The text of a step. UNSUPPORTED: no such kernel, *out_why says why (static
// text, "conv: 3 spatial axes"); RESOURCE: out of memory. `out` lives in mem.
ptqc_be_status pq_kg_source_of(pq_mem *mem, const pq_kg_job *job,
                               const pq_kg_dialect *dialect, pq_kg_source *out,
                               const char **out_why);
// The launch of a step. INVALID: dims and parameters do not fit together (a
// damaged blob, or sizes that do not broadcast); UNSUPPORTED: too large for
// 32-bit indices. *out_why as above.
ptqc_be_status pq_kg_launch_of(pq_mem *mem, const pq_kg_job *job,
                               const pq_kg_limits *limits, pq_kg_launch *out,
                               const char **out_why);
// Whether steps of the kind have kernels at all.
bool pq_kg_has_kernel(uint32_t kind);

#endif
