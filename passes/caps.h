// SPDX-License-Identifier: Apache-2.0
//
// What the chosen targets can run, as data: the kernel rules their plugins
// emitted. Passes ask; they never know a target's name.
#ifndef PTQC_PASSES_CAPS_H
#define PTQC_PASSES_CAPS_H

#include "ir/graph.h"

typedef struct pq_caps_operand {
    bool is_output;
    uint32_t index;
    uint64_t dtypes;         // bit number = ptqc_dtype; 0: must be absent
    uint32_t granularities;  // bit number = pq_granularity
    uint32_t group_sizes[8]; // 0-terminated, empty = any
    bool is_optional, needs_constant, needs_symmetric;
} pq_caps_operand;

typedef struct pq_caps_rule {
    pq_opcode op;
    uint32_t target; // order of preference, 0 = first
    const pq_caps_operand *operands;
    uint32_t operand_count;
    uint32_t rank_min, rank_max; // of input 0; 0 = no bound
} pq_caps_rule;

typedef struct pq_caps {
    const pq_caps_rule *rules;
    uint32_t rule_count;
} pq_caps;

// One operand of an op as it would be.
typedef struct pq_caps_query {
    pq_opcode op;
    const pq_scheme *inputs; // format NONE: absent. Float operands: format =
                             // their dtype, granularity NONE
    uint32_t input_count;
    uint64_t constants; // bit i: input i is a constant
    pq_scheme output;
    uint32_t rank; // of input 0
} pq_caps_query;

#define PQ_CAPS_NONE UINT32_MAX

// The most preferred target with a rule that admits it, PQ_CAPS_NONE when
// there is none; 0 without caps. Attributes are the plugin's check's business.
// Of ops with any number of inputs the last input rule stands for all further
// ones.
uint32_t pq_caps_target(const pq_caps *caps, const pq_caps_query *query);
// Why no rule of the targets up to `last` admits it: what the rule that comes
// nearest takes instead.
void pq_caps_print_reason(const pq_caps *caps, const pq_caps_query *query,
                          uint32_t last, pq_strbuf *out);
bool pq_caps_admit(const pq_caps *caps, const pq_caps_query *query);

#endif
