// SPDX-License-Identifier: Apache-2.0
//
// A program with known dims: shapes of its values, and where its temporaries
// lie in one workspace.
//
// Temporaries share memory by lifetime: every one lives from the first step
// that touches it to the last; large ones are placed first, each at the lowest
// offset where nothing alive at the same time lies. An output may take over
// the place of an input that ends with its step. So steps may run at the same
// time only when neither writes memory that the other touches: memory, not
// values, decides where a device needs barriers.
#ifndef PTQC_BACKENDS_KGEN_PLAN_H
#define PTQC_BACKENDS_KGEN_PLAN_H

#include <stdint.h>

#include "program.h"

// Who is told of errors, and by what name.
typedef struct pq_kg_teller {
    const char *name; // of the plugin: begins messages
    const ptqc_host *host;
    ptqc_call *call;
} pq_kg_teller;

// A value with known dims, dense and row-major.
typedef struct pq_kg_shape {
    uint32_t dtype, rank;
    int64_t dims[PTQC_MAX_RANK];
    int64_t count; // elements
    int64_t bytes;
    int64_t element_bytes;
} pq_kg_shape;

// The values of the entry's dim expressions for its symbols: out[dim_count].
// INVALID was said: not as many symbols as the entry has, one out of its
// range, an overflow or a division by zero.
ptqc_be_status pq_kg_plan_dims(const pq_kg_teller *t, const pq_kg_entry *entry,
                               const int64_t *symbols, uint64_t symbol_count,
                               int64_t *out);

// Shapes of the entry's values: out[value_count]. constant_bytes[i]: size of
// packed constant i. INVALID (a dimension is negative or too large) or CORRUPT
// (a value exceeds its storage) was said.
ptqc_be_status pq_kg_plan_shapes(const pq_kg_teller *t,
                                 const pq_kg_entry *entry, const int64_t *dims,
                                 const uint64_t *constant_bytes,
                                 pq_kg_shape *out);

typedef struct pq_kg_plan_desc {
    const pq_kg_entry *entry;
    const pq_kg_shape *shapes; // [value_count]
    // [step_count]: bit i: output 0 may lie on input i, when they have the
    // same size; NULL: none may
    const uint32_t *inplace;
    uint64_t align; // of every temporary; a power of two
    uint64_t guard; // bytes behind every temporary that may be read, at least
} pq_kg_plan_desc;

// out_offsets[value_count]: of root temporaries (pq_kg_root), others stay.
// *out_bytes: of the workspace. RESOURCE was said.
ptqc_be_status pq_kg_plan_workspace(const pq_kg_teller *t, pq_mem *mem,
                                    const pq_kg_plan_desc *desc,
                                    uint64_t *out_offsets, uint64_t *out_bytes);

#endif
