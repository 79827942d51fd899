// SPDX-License-Identifier: Apache-2.0
//
// The compiled program, the language that lowering and devices share: what
// compile writes into the blob and load reads back. It depends on no sizes of
// symbolic dims.
//
// An entry is a list of steps over values. A value is a dense row-major
// tensor; its axes may stand in another order than the graph's (channels
// last), only the lowering knows. Steps name values by index.
//
// The blob, all little-endian, no padding (u8 text, u32, i64):
//     u32 magic, u32 version, u64 checksum of all that follows,
//     u32 cap, u32 constant_count, u32 entry_count, then per entry
//     u32 x 8: symbols, dims, values, steps, args, params, text bytes,
//              bindings
//     symbols {i64 min, max, multiple}  dims {u32 op, a, b; i64 value}
//     values {u32 dtype, rank, place, index; u32 dims[rank]}
//     steps {u32 kind, first_arg, inputs, outputs, first_param, params,
//            label offset, label bytes}
//     args u32[]  params i64[]  text
// Quantized activations are u8 codes here, also those that are s8 in the
// graph (stored with 128 added).
#ifndef PTQC_BACKENDS_KGEN_PROGRAM_H
#define PTQC_BACKENDS_KGEN_PROGRAM_H

#include <stdint.h>

#include "ptqc/types.h"

#include "mem.h"

#define PQ_KG_NONE 0xffffffffu

// Kinds of steps; see steps.def.
typedef enum pq_step_kind {
#define STEP(NAME, text, fn, ins_min, ins_max, outs, params_min) PQ_STEP_##NAME,
#include "steps.def"
#undef STEP
    PQ_STEP_KIND_COUNT
} pq_step_kind;

typedef enum pq_place {
    PQ_PLACE_TEMP,     // workspace; index unused
    PQ_PLACE_BINDING,  // index = binding of the entry
    PQ_PLACE_CONSTANT, // index = packed constant
    PQ_PLACE_VIEW,     // index = smaller value whose bytes these are
    PQ_PLACE_COUNT
} pq_place;

typedef struct pq_kg_symbol {
    int64_t min, max, multiple;
} pq_kg_symbol;

typedef struct pq_kg_dim {
    uint32_t op; // PTQC_GB_DIM_*
    uint32_t a, b;
    int64_t value;
} pq_kg_dim;

typedef struct pq_kg_value {
    uint32_t dtype; // ptqc_dtype of the stored elements
    uint32_t rank;
    uint32_t place; // pq_place
    uint32_t index;
    uint32_t dims[PTQC_MAX_RANK]; // indices of dim expressions
} pq_kg_value;

typedef struct pq_kg_step {
    uint32_t kind; // pq_step_kind
    uint32_t first_arg, input_count, output_count;
    uint32_t first_param, param_count;
    uint32_t label, label_bytes; // slice of text
} pq_kg_step;

typedef struct pq_kg_entry {
    pq_kg_symbol *symbols;
    pq_kg_dim *dims; // operands before users
    pq_kg_value *values;
    pq_kg_step *steps;
    uint32_t *args; // value indices, PQ_KG_NONE = absent
    int64_t *params;
    char *text;
    uint32_t symbol_count, dim_count, value_count, step_count;
    uint32_t arg_count, param_count, text_bytes, binding_count;
    // while being built
    uint32_t dim_room, value_room, step_room, arg_room, param_room, text_room;
} pq_kg_entry;

typedef struct pq_kg_program {
    uint32_t cap; // the device's own word (cpu: highest level to use)
    uint32_t constant_count;
    uint32_t entry_count;
    pq_kg_entry *entries;
} pq_kg_program;

// Whose blobs: readers refuse those of other devices and versions.
typedef struct pq_kg_format {
    uint32_t magic, version;
    uint32_t cap_count; // caps are smaller
} pq_kg_format;

// Name and bounds of a step kind.
typedef struct pq_step_info {
    const char *name;
    uint32_t inputs_min, inputs_max, outputs, params_min;
} pq_step_info;

const pq_step_info *pq_step_info_of(uint32_t kind);

// Checksum of the bytes behind it.
uint64_t pq_kg_program_sum(const uint8_t *p, size_t n);

// NULL p when out of memory.
ptqc_bytes pq_kg_program_write(pq_mem *mem, const pq_kg_format *format,
                               const pq_kg_program *program);
// Checks everything that does not need sizes: counts, indices, enums, order.
// CORRUPT or INCOMPATIBLE with *out_why set (static text).
ptqc_be_status pq_kg_program_read(pq_mem *mem, const pq_kg_format *format,
                                  ptqc_bytes blob, pq_kg_program *out,
                                  const char **out_why);

// The value whose storage `value` shares: itself but for a view.
uint32_t pq_kg_root(const pq_kg_entry *entry, uint32_t value);

#endif
