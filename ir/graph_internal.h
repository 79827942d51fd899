// SPDX-License-Identifier: Apache-2.0
//
// The inside of pq_graph, for the files of ir/ that implement graph.h,
// builder.h and rewrite.h. Table elements live in the arena, so pointers to
// values, ops and constants stay valid while the graph grows.
#ifndef PTQC_IR_GRAPH_INTERNAL_H
#define PTQC_IR_GRAPH_INTERNAL_H

#include "ir/graph.h"
#include "ir/rewrite.h"

// Pointers to arena elements; item 0 of id tables is NULL (the null id).
typedef struct pq_table {
    void **items; // owned
    uint32_t count, capacity;
} pq_table;

typedef struct pq_value_slot {
    pq_value value; // first: pq_value * and pq_value_slot * convert
    pq_use *uses;   // one per operand that is this value
    uint32_t output_uses;
} pq_value_slot;

typedef struct pq_constant_slot {
    pq_constant constant; // first, as in pq_value_slot
    bool has_hash;
    pq_sha256 hash; // when asked for the first time
    // Codes: what they are made of; else none.
    pq_const_id weight;
    pq_quant_id quant;
    void *made; // owned: their bytes, as long as somebody reads them
} pq_constant_slot;

typedef struct pq_dim_node {
    pq_dim_expr expr;
    uint64_t hash;   // of the structure, the same in every graph
    uint32_t weight; // nodes of the expression written as a tree
    bool is_opaque;  // a sum or product too large for the normal form
} pq_dim_node;

// Larger expressions are refused: bounds every recursion and every text.
#define PQ_DIM_MAX_WEIGHT 1024u

typedef struct pq_output {
    pq_value_id value;
    pq_str name;
} pq_output;

struct pq_graph {
    ptqc_ctx *ctx; // borrowed
    pq_arena arena;
    pq_stage stage;
    pq_str name;
    pq_table values, ops, constants, quants, dims, symbols, maps;
    pq_table inputs, states, outputs; // of pq_value_id *; pq_output *
    pq_strmap value_names, symbol_names;
    uint32_t *dim_slots; // owned; open addressing, index of a dim or 0
    uint32_t dim_slot_count;
    pq_use *free_uses;
    pq_op_id first_op, last_op;
    uint32_t live_ops;
    ptqc_status failure; // of the last call that returned a null id
};

// Grows `t` by one; false when out of memory (said).
bool pq_table_push(pq_graph *g, pq_table *t, void *item);
// Notes why a null id is returned.
void pq_graph_note(pq_graph *g, ptqc_status st);
pq_value_slot *pq_graph_slot(const pq_graph *g, pq_value_id v);
pq_constant_slot *pq_graph_constant_slot(const pq_graph *g, pq_const_id id);
// Of a slot of codes.
PTQC_MUST_USE ptqc_status pq_codes_hash(pq_graph *g,
                                        const pq_constant_slot *slot,
                                        pq_sha256 *out);
bool pq_copy_str(pq_graph *g, pq_str s, pq_str *out);
// Replaces the array of `a`, if its kind has one, by a copy that the graph
// owns.
bool pq_attr_own(pq_graph *g, pq_attr *a);
// Elements of integer constants of at most PQ_MAX_ELEMENTS elements.
void pq_constant_elements(pq_graph *g, pq_value *v);
#define PQ_MAX_ELEMENTS 256u

// Puts op into the list before `before` (none: last) / takes it out.
void pq_op_link(pq_graph *g, pq_op_id id, pq_op_id before);
void pq_op_unlink(pq_graph *g, pq_op_id id);
// Records that op uses v, in the memory of `use`.
void pq_use_add(pq_graph *g, pq_value_id v, pq_op_id op, pq_use *use);
void pq_use_remove(pq_graph *g, pq_value_id v, pq_op_id op);
pq_use *pq_use_alloc(pq_graph *g); // NULL: out of memory (said)

// pq_graph_verify with the status that a broken rule gives.
PTQC_MUST_USE ptqc_status pq_graph_check(const pq_graph *g, ptqc_status st);

// Whether an attribute of kind DTYPE may be i.
bool pq_dtype_is_number(int64_t i);

// dims.c, for the simplifier: the node itself, hash-consed.
pq_dim pq_dim_intern(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b,
                     int64_t value, bool is_opaque);
const pq_dim_node *pq_dim_node_of(const pq_graph *g, pq_dim d);
// dim_rules.c: op on operands that are not both constant.
pq_dim pq_dim_simplify(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b);
// false: overflow or division by zero.
bool pq_dim_compute(pq_dim_op op, int64_t a, int64_t b, int64_t *out);

#endif
