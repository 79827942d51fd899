// SPDX-License-Identifier: Apache-2.0
//
// The graph: values, ops, constants, quantization parameters, symbolic
// dimensions. Everything lives in the graph's arena and dies with it, except
// mapped files that constants point into, which the graph also owns.
//
// Stages (checked by the verifier, written in the text form):
//   FLOAT      as imported; arithmetic in the model's own types
//   ANNOTATED  values carry the scheme they will get; arithmetic unchanged
//   QUANTIZED  codes and integer arithmetic explicit in value types
//   LEGAL      every op is accepted by the target it is placed on
//
// Threads: one at a time.
#ifndef PTQC_IR_GRAPH_H
#define PTQC_IR_GRAPH_H

#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "base/strmap.h"
#include "ir/ids.h"
#include "ir/ops.h"
#include "quant/scheme.h"

typedef enum pq_stage {
    PQ_STAGE_FLOAT,
    PQ_STAGE_ANNOTATED,
    PQ_STAGE_QUANTIZED,
    PQ_STAGE_LEGAL,
} pq_stage;

typedef struct pq_graph pq_graph;

PTQC_MUST_USE ptqc_status pq_graph_create(ptqc_ctx *ctx, pq_graph **out);
void pq_graph_destroy(pq_graph *g); // NULL allowed
ptqc_ctx *pq_graph_ctx(const pq_graph *g);
pq_arena *pq_graph_arena(pq_graph *g);
// Status to return after a call of this header gave a null id or false; the
// message has been said.
ptqc_status pq_graph_failure(const pq_graph *g);
pq_stage pq_graph_stage(const pq_graph *g);
void pq_graph_set_stage(pq_graph *g, pq_stage stage);
pq_str pq_graph_name(const pq_graph *g);
PTQC_MUST_USE ptqc_status pq_graph_set_name(pq_graph *g, pq_str name);
// The graph closes the map when it is destroyed. On failure it stays the
// caller's.
PTQC_MUST_USE ptqc_status pq_graph_adopt_map(pq_graph *g, pq_map map);
// Deep copy, also of values nothing uses; ids keep their numbers. Constants
// share the source's bytes, in its arena and its maps (the clone must not
// outlive its source) unless `own_bytes`.
PTQC_MUST_USE ptqc_status pq_graph_clone(pq_graph *g, bool own_bytes,
                                         pq_graph **out);

// ---- dimensions -----------------------------------------------------------

typedef enum pq_dim_op { // numbers as PTQC_GB_DIM_* of graph_block.h
    PQ_DIM_CONST,
    PQ_DIM_SYMBOL,
    PQ_DIM_ADD,
    PQ_DIM_SUB,
    PQ_DIM_MUL,
    PQ_DIM_DIV,  // floor
    PQ_DIM_CDIV, // ceiling
    PQ_DIM_MOD,
    PQ_DIM_MIN,
    PQ_DIM_MAX,
} pq_dim_op;

typedef struct pq_dim_expr {
    pq_dim_op op;
    pq_dim a, b;
    int64_t value; // CONST: the number; SYMBOL: index of the symbol
} pq_dim_expr;

typedef struct pq_symbol {
    pq_str name;
    int64_t min, max, multiple; // max INT64_MAX = unbounded
} pq_symbol;

// Expressions are kept in a normal form (sums of products; dim_rules.c), so
// that equal dimensions get equal ids in all common cases. DIV, CDIV and MOD
// suppose a divisor that is not 0. All return the null dim when out of memory
// or when a constant overflows or divides by zero, with pq_graph_failure
// telling which; a null operand gives a null result and says nothing.
pq_dim pq_dim_const(pq_graph *g, int64_t value);
pq_dim pq_dim_make(pq_graph *g, pq_dim_op op, pq_dim a, pq_dim b); // simplifies
// The symbol of that name, made when new (a later range only narrows it).
// Its `multiple` is 1; set it through pq_graph_symbol before it is used.
pq_dim pq_dim_symbol(pq_graph *g, pq_str name, int64_t min, int64_t max);
// out may be NULL.
bool pq_dim_is_const(const pq_graph *g, pq_dim d, int64_t *out);
const pq_dim_expr *pq_dim_get(const pq_graph *g, pq_dim d);
// Bounds from the symbols' ranges (saturating at INT64_MIN/MAX).
void pq_dim_bounds(const pq_graph *g, pq_dim d, int64_t *out_min,
                   int64_t *out_max);
// Whether a and b differ whatever the symbols are. (Equal: same id.)
bool pq_dim_differs(const pq_graph *g, pq_dim a, pq_dim b);
// Whether a <= b whatever the symbols are.
bool pq_dim_is_le(const pq_graph *g, pq_dim a, pq_dim b);
uint32_t pq_graph_dim_count(const pq_graph *g);    // incl. null
uint32_t pq_graph_symbol_count(const pq_graph *g); // symbols from 0
pq_symbol *pq_graph_symbol(pq_graph *g, uint32_t index);
// values[i] = value of symbol i. PTQC_E_INPUT names symbol or expression when
// out of range, overflowing or dividing by zero.
PTQC_MUST_USE ptqc_status pq_dim_eval(const pq_graph *g, pq_dim d,
                                      const int64_t *symbols, int64_t *out);

// ---- types, constants, quantization ---------------------------------------

typedef struct pq_type {
    ptqc_dtype dtype; // of the stored elements (codes when quantized)
    uint32_t rank;
    const pq_dim *dims; // [rank], in the graph's arena
} pq_type;

typedef struct pq_constant {
    ptqc_dtype dtype;
    uint32_t rank;
    const int64_t *dims; // [rank]
    // Dense, row-major; mapped or in the arena. NULL: codes, whose bytes
    // pq_graph_constant_bytes makes.
    const void *p;
    size_t bytes;
} pq_constant;

// Parameters of a quantized or annotated value. ANNOTATED: the value's dtype
// stays float and this says what it will become. QUANTIZED: dtype equals
// scheme.format and this gives the codes their meaning.
typedef struct pq_quant {
    pq_scheme scheme;
    pq_const_id scale;      // f32: [1], [channels] or [channels][groups]
    pq_const_id zero_point; // i32, same shape
    // ANNOTATED weights: the codes that a solver chose, of the weight's shape
    // and the scheme's format; none: round to nearest.
    pq_const_id codes;
} pq_quant;

// Adds a constant whose bytes the graph does not copy: they must live in the
// arena, in an adopted map or otherwise as long as the graph. dims are copied.
// `bytes` must be what dtype and dims need (else none, PTQC_E_INPUT).
pq_const_id pq_graph_add_constant(pq_graph *g, const pq_constant *c);
const pq_constant *pq_graph_constant(const pq_graph *g, pq_const_id id);
uint32_t pq_graph_constant_count(const pq_graph *g); // incl. null
// Adds the codes that `weight` (f32, f16 or bf16, with bytes of its own) has
// by the scales and zero points of `quant`. Only these are kept.
pq_const_id pq_graph_add_codes(pq_graph *g, pq_const_id weight,
                               pq_quant_id quant);
// Bytes of any constant. Codes are made by the first call, on the threads of
// the context, and stay until they are released or the graph is destroyed.
// NULL: out of memory (said), or there are none.
const void *pq_graph_constant_bytes(const pq_graph *g, pq_const_id id);
// Gives the memory of made codes back; of other constants nothing happens.
void pq_graph_release_constant(const pq_graph *g, pq_const_id id);
void pq_graph_release_constants(const pq_graph *g); // of all constants
// SHA-256 of a constant's bytes, or of everything that decides them (codes);
// computed once.
PTQC_MUST_USE ptqc_status pq_graph_constant_hash(pq_graph *g, pq_const_id id,
                                                 const pq_sha256 **out);
pq_quant_id pq_graph_add_quant(pq_graph *g, const pq_quant *q);
const pq_quant *pq_graph_quant(const pq_graph *g, pq_quant_id id); // NULL: none
uint32_t pq_graph_quant_count(const pq_graph *g);

// ---- values ---------------------------------------------------------------

typedef struct pq_value {
    pq_str name; // unique in the graph
    pq_type type;
    pq_op_id producer; // none: input, state or constant
    uint32_t output_index;
    pq_const_id constant; // none: not a constant
    pq_quant_id quant;    // none: real numbers
    // Elements of a small (at most 256) integer value known from shapes
    // (row-major), or NULL: what lets Shape/Gather/Concat/Reshape chains fold
    // away. Also of bool values (0, 1) and of float values that are integers.
    const pq_dim *elements;
    uint32_t element_count;
    uint32_t use_count; // op operands plus graph outputs
    bool is_state;      // one of the graph's states
} pq_value;

// name empty: one is made up. Name clashes get a suffix.
pq_value_id pq_graph_add_value(pq_graph *g, pq_str name, pq_type type);
pq_value_id pq_graph_add_constant_value(pq_graph *g, pq_str name,
                                        pq_const_id constant);
pq_value *pq_graph_value(const pq_graph *g, pq_value_id id); // NULL: none
pq_value_id pq_graph_find_value(const pq_graph *g, pq_str name);
uint32_t pq_graph_value_count(const pq_graph *g); // incl. null and dead ones
// Copies dims into the arena; false when out of memory.
bool pq_type_make(pq_graph *g, ptqc_dtype dtype, const pq_dim *dims,
                  uint32_t rank, pq_type *out);

// Boundary, in order. Names are those of the values.
PTQC_MUST_USE ptqc_status pq_graph_add_input(pq_graph *g, pq_value_id v);
PTQC_MUST_USE ptqc_status pq_graph_add_output(pq_graph *g, pq_value_id v);
uint32_t pq_graph_input_count(const pq_graph *g);
pq_value_id pq_graph_input(const pq_graph *g, uint32_t i);
uint32_t pq_graph_output_count(const pq_graph *g);
pq_value_id pq_graph_output(const pq_graph *g, uint32_t i);
void pq_graph_set_output(pq_graph *g, uint32_t i, pq_value_id v);
// The name an output is known by outside (stays when passes replace values).
pq_str pq_graph_output_name(const pq_graph *g, uint32_t i);
PTQC_MUST_USE ptqc_status pq_graph_set_output_name(pq_graph *g, uint32_t i,
                                                   pq_str name);
void pq_graph_drop_outputs(pq_graph *g, uint32_t keep); // keeps the first
// States: values without producer that whoever runs the graph keeps from run
// to run, zero at first. Only kv_update (as input 0), kv_update_codes (as 0
// and 1) and attention (as k or v, or their scales) read them; at most one
// update changes a state, in place, and its output is then the state: nothing
// reads the state itself after that op.
PTQC_MUST_USE ptqc_status pq_graph_add_state(pq_graph *g, pq_value_id v);
uint32_t pq_graph_state_count(const pq_graph *g);
pq_value_id pq_graph_state(const pq_graph *g, uint32_t i);

// ---- ops ------------------------------------------------------------------

typedef struct pq_attr {
    pq_attr_name name;
    union {
        int64_t i; // I64, OP (pq_opcode), DTYPE
        float f;
        struct {
            const int64_t *p;
            uint32_t n;
        } ints;
        struct {
            const float *p;
            uint32_t n;
        } floats;
        struct {
            const pq_dim *p;
            uint32_t n;
        } dims;
    };
} pq_attr;

typedef struct pq_op {
    pq_opcode code;
    pq_str name; // of the source model's node
    uint32_t input_count, output_count, attr_count;
    pq_value_id *inputs;  // [input_count]; change only through rewrite.h
    pq_value_id *outputs; // [output_count]
    pq_attr *attrs;       // [attr_count], ascending by name
    pq_op_id prev, next;  // list in topological order
    bool is_dead;         // erased
} pq_op;

pq_op *pq_graph_op(const pq_graph *g, pq_op_id id); // NULL: none
pq_op_id pq_graph_first_op(const pq_graph *g);
pq_op_id pq_graph_last_op(const pq_graph *g);
uint32_t pq_graph_op_count(const pq_graph *g); // ids below this, incl. null
uint32_t pq_graph_live_op_count(const pq_graph *g);

// The body may erase or move the current op: an erased op keeps its `next`.
#define PQ_FOR_EACH_OP(g, id)                                                  \
    for (pq_op_id id = pq_graph_first_op(g); id.index != 0;                    \
         id = pq_graph_op(g, id)->next)

static inline pq_value_id
pq_op_input(const pq_op *op, uint32_t i)
{
    return i < op->input_count ? op->inputs[i] : PQ_NO_VALUE;
}

const pq_attr *pq_op_attr(const pq_op *op, pq_attr_name name); // or NULL
int64_t pq_op_i64(const pq_op *op, pq_attr_name name, int64_t otherwise);
float pq_op_f32(const pq_op *op, pq_attr_name name, float otherwise);
// Element i of an I64S attribute.
int64_t pq_op_int_at(const pq_op *op, pq_attr_name name, uint32_t i,
                     int64_t otherwise);

#endif
