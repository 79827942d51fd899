// SPDX-License-Identifier: Apache-2.0
//
// The target side of a plugin that lowers to programs: rules, check, and the
// first half of compile. Reads what the device's tables say.
#ifndef PTQC_BACKENDS_KGEN_TARGET_H
#define PTQC_BACKENDS_KGEN_TARGET_H

#include "device.h"
#include "plan.h"

// A row of a device's rules (a .def file of RULE lines). `operands` lists the
// output, then the inputs, in terms:
//   F f32    H f16, bf16    J i64    I i32    B bool
//   Q codes i8 or u8 with one scale         T i8 codes, one scale per row
//   V i8 or u8 weights, one scale or one per channel, any zero points
//   W unsigned, S signed (zero point 0) weight codes of 8 or 4 bits, any
//   granularity
//   E weights that are floats of 8 bits, N numbers of 4 bits, any granularity
//   P plain i8, u8    K plain i8    - nothing
//   C weight codes of 8 or 4 bits, one scale or one per channel, any zero
//   points
//   L i32 bias, with or without scales
// o before a term: optional; k after it: constant only. Ranks: 0 = any.
typedef struct pq_kg_rule {
    const char *ops; // separated by spaces
    uint32_t rank_min, rank_max;
    const char *operands;
    float tolerance; // of its results (ptqc_rule); 0: bit-exact
} pq_kg_rule;

ptqc_be_status pq_kg_emit_rules(const ptqc_host *host, ptqc_sink *sink,
                                const pq_kg_rule *rules, uint32_t count);

// Lowers each of the nodes alone and dry; a verdict for one that is declined.
// INVALID was said: the graph block is damaged, or has no such node.
ptqc_be_status pq_kg_check(const pq_kg_teller *t, const pq_kg_device *device,
                           ptqc_bytes graph, const uint32_t *nodes,
                           uint64_t node_count, ptqc_sink *sink);

// Lowers all entries over one set of constants, which go to the sink as they
// are made. out->cap stays; its arrays live in mem. What fails was said.
ptqc_be_status pq_kg_lower_entries(const pq_kg_teller *t,
                                   const pq_kg_device *device,
                                   const ptqc_entry *entries,
                                   uint64_t entry_count, pq_mem *mem,
                                   ptqc_sink *sink, pq_kg_program *out);

#endif
