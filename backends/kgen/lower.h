// SPDX-License-Identifier: Apache-2.0
//
// Lowering: a graph block -> an entry of the program. Nodes are taken in
// order; each writes steps (lower_*.c). check runs the same code for one node
// with `dry` set (nothing is packed or emitted), so that what check accepts
// compile can do.
//
// Axis order. A program value is dense, but its axes may be permuted: a
// pq_ref says which logical axis each physical one is. Transposes only change
// the pq_ref; convolutions want channels last; steps that need another order
// ask for it and a MOVE is made once.
//
// Failures are sticky: after the first one (st != OK) every function does
// nothing and returns zeros. UNSUPPORTED carries the reason of the verdict.
#ifndef PTQC_BACKENDS_KGEN_LOWER_H
#define PTQC_BACKENDS_KGEN_LOWER_H

#include <stdbool.h>
#include <stdint.h>

#include "ptqc/graph_block.h"

#include "device.h"
#include "mem.h"
#include "program.h"
#include "say.h"

// A program value and the order of its axes: physical axis i is the logical
// axis perm[i].
typedef struct pq_ref {
    uint32_t value; // PQ_KG_NONE = absent
    uint32_t rank;
    uint8_t perm[PTQC_MAX_RANK];
} pq_ref;

#define PQ_FORMS_MAX 4u

// What is known about a value of the block.
typedef struct pq_lower_value {
    uint32_t form_count;
    pq_ref forms[PQ_FORMS_MAX]; // the same elements in several orders
    uint32_t use_count;         // operands of nodes plus outputs
    uint32_t producer;          // node, or PQ_KG_NONE
    uint32_t consumer;          // the last node that reads it
    uint32_t kv;                // pq_kv_layout of a state; else 0
    uint32_t kv_value;          // it, instead of forms
    bool is_output;
} pq_lower_value;

// Bytes of a layout's text, the zero at its end included.
#define PQ_LAYOUT_MAX 192

// A packed constant that was emitted, for reuse.
typedef struct pq_lower_constant {
    uint8_t sha256[32];
    char layout[PQ_LAYOUT_MAX];
    uint64_t bytes;
    uint32_t index;
} pq_lower_constant;

// Constants of all entries.
typedef struct pq_lower_constants {
    pq_lower_constant *items;
    uint32_t item_count, item_room;
    uint32_t constant_count;
    ptqc_sink *sink;
} pq_lower_constants;

struct pq_lower {
    const pq_kg_device *device; // borrowed
    const ptqc_host *host;
    ptqc_call *call;
    pq_mem *mem;
    const ptqc_gb *g;
    pq_kg_entry *entry;
    pq_lower_constants *pool;
    pq_lower_value *values; // [values of the block]
    uint8_t *fused;         // [nodes]: computed inside its consumer
    uint8_t *made;          // [nodes]: computed with an operand's own step
    uint32_t node;          // being lowered
    // Of the node being lowered, gone after it: constants that were mapped,
    // and copies of constants on their way to the host.
    uint64_t *mapped;
    uint32_t mapped_count, mapped_room;
    pq_mem scratch;
    // the last FIX_ROWS step: of value fixed_from; fixed_group 0 = none
    uint32_t fixed_from, fixed_scales, fixed_rows;
    int64_t fixed_group;
    uint32_t asked_count; // steps that the device was asked about
    bool dry;
    ptqc_be_status st;
    char reason[192]; // of UNSUPPORTED
};

// ---- as a whole ------------------------------------------------------------

// Lowers all nodes; the entry's arrays live in l->mem. The error was said.
ptqc_be_status pq_lower_entry(pq_lower *l);
// Whether one node can be lowered: OK, or UNSUPPORTED with l->reason. The
// lower is used for nothing else.
ptqc_be_status pq_lower_try(pq_lower *l, uint32_t node);
// Prepares l->values, copies the dims; device, g, host, call, mem, entry are
// set.
void pq_lower_begin(pq_lower *l);
// A node is done: gives back what it mapped and copied.
void pq_lower_release(pq_lower *l);

// ---- failures --------------------------------------------------------------

// "op: reason" of a verdict; printf-like.
__attribute__((format(printf, 2, 3))) void pq_decline(pq_lower *l,
                                                      const char *format, ...);
void pq_lower_no_memory(pq_lower *l);
static inline bool
pq_lower_ok(const pq_lower *l)
{
    return l->st == PTQC_BE_OK;
}

// ---- reading the block -----------------------------------------------------

const ptqc_gb_node *pq_lower_node(const pq_lower *l);
// Operand of the current node; NULL = absent.
const ptqc_gb_value *pq_in(const pq_lower *l, uint32_t i);
const ptqc_gb_value *pq_out(const pq_lower *l, uint32_t i);
uint32_t pq_in_index(const pq_lower *l, uint32_t i);
uint32_t pq_out_index(const pq_lower *l, uint32_t i);
int64_t pq_attr_i64(const pq_lower *l, const char *name, int64_t otherwise);
float pq_attr_f32(const pq_lower *l, const char *name, float otherwise);
// Integer list; false = absent. At most `room` are read, more decline.
bool pq_attr_i64s(pq_lower *l, const char *name, int64_t *out, uint32_t room,
                  uint32_t *out_count);
// Dim expression i of a DIMS attribute; false when there is none.
bool pq_attr_dim(const pq_lower *l, const char *name, uint32_t i,
                 uint32_t *out);
uint32_t pq_attr_count(const pq_lower *l, const char *name);
// Axis in [0, rank); declines when out of range.
uint32_t pq_axis(pq_lower *l, int64_t axis, uint32_t rank);

uint32_t pq_gv_dim(const pq_lower *l, const ptqc_gb_value *v, uint32_t axis);
// The dimension when it does not depend on symbols.
bool pq_gv_dim_const(const pq_lower *l, const ptqc_gb_value *v, uint32_t axis,
                     int64_t *out);
bool pq_same_shape(const pq_lower *l, const ptqc_gb_value *a,
                   const ptqc_gb_value *b);
// Bytes of a constant; declines (NULL) when it is none. Checks that all
// elements are there and gives their number.
const void *pq_gv_constant(pq_lower *l, const ptqc_gb_value *v,
                           int64_t *out_count);
// The only element of a one-element constant as f32 or i64.
bool pq_gv_scalar(pq_lower *l, const ptqc_gb_value *v, double *out);

// Per-tensor quantization of a value. false: not quantized. Declines other
// granularities. `zero` is that of the storage (s8 that is kept as u8: + 128).
typedef struct pq_codes {
    float scale;
    int32_t zero;
    int32_t low, high; // codes in storage: 0..255, or -128..127
} pq_codes;
static inline uint32_t
pq_codes_dtype(const pq_codes *q)
{
    return q->low < 0 ? PTQC_I8 : PTQC_U8;
}
bool pq_gv_codes(pq_lower *l, const ptqc_gb_value *v, pq_codes *out);
bool pq_gv_is_quantized(const pq_lower *l, const ptqc_gb_value *v);
const float *pq_quant_scales(pq_lower *l, const ptqc_gb_quant *q,
                             int64_t *out_count);
const int32_t *pq_quant_zeros(pq_lower *l, const ptqc_gb_quant *q,
                              int64_t *out_count);
// Equal codes mean equal numbers (both unquantized counts; scales of tokens
// travel with their codes).
bool pq_lower_same_codes(pq_lower *l, const ptqc_gb_value *a,
                         const ptqc_gb_value *b);
// Element type in storage: s8 codes of activations may be kept as u8
// (pq_kg_device.keeps_s8).
uint32_t pq_stored_dtype(const pq_lower *l, const ptqc_gb_value *v);

// ---- dims ------------------------------------------------------------------

uint32_t pq_dim_of(pq_lower *l, int64_t value);
uint32_t pq_dim_binary(pq_lower *l, uint32_t op, uint32_t a, uint32_t b);
bool pq_dim_known(const pq_lower *l, uint32_t dim, int64_t *out);

// ---- values ----------------------------------------------------------------

// Logical order; NHWC: axis 1 last.
void pq_perm_identity(uint8_t *perm, uint32_t rank);
void pq_perm_channels_last(uint8_t *perm, uint32_t rank);
bool pq_perm_is_identity(const uint8_t *perm, uint32_t rank);
// Physical axis that is logical axis `axis`.
uint32_t pq_ref_axis(const pq_ref *ref, uint32_t axis);

// A value of the block in any order, as it was made first.
pq_ref pq_use_any(pq_lower *l, uint32_t gv);
// In the given order; makes a MOVE when it is there in no such order.
pq_ref pq_use(pq_lower *l, uint32_t gv, const uint8_t *perm);
pq_ref pq_use_identity(pq_lower *l, uint32_t gv);
pq_ref pq_use_channels_last(pq_lower *l, uint32_t gv);
// Storage for a value of the block that the next step makes.
pq_ref pq_define(pq_lower *l, uint32_t gv, const uint8_t *perm);
pq_ref pq_define_identity(pq_lower *l, uint32_t gv);
pq_ref pq_define_channels_last(pq_lower *l, uint32_t gv);
// gv is the bytes of `base` seen with gv's own dims in order `perm`.
void pq_define_view(pq_lower *l, uint32_t gv, uint32_t base,
                    const uint8_t *perm);
// Program values that are no value of the block.
uint32_t pq_new_temp(pq_lower *l, uint32_t dtype, const uint32_t *dims,
                     uint32_t rank);
uint32_t pq_new_view(pq_lower *l, uint32_t base, uint32_t dtype,
                     const uint32_t *dims, uint32_t rank);

// ---- constants -------------------------------------------------------------

// Emits bytes; returns the program value (u8 [bytes]). `source` (may be NULL)
// and `layout` are the key under which it is found again.
uint32_t pq_emit_packed(pq_lower *l, const ptqc_gb_constant *source,
                        const char *layout, const void *data, uint64_t bytes);
// A constant emitted before under that key; PQ_KG_NONE when there is none.
uint32_t pq_find_packed(pq_lower *l, const ptqc_gb_constant *source,
                        const char *layout);
// Dense array of 4-byte elements as value [count] of the dtype.
uint32_t pq_emit_array(pq_lower *l, uint32_t dtype, const void *data,
                       uint32_t count);

// ---- steps -----------------------------------------------------------------

// Label for profiles, printf-like; then operands in order, then parameters.
__attribute__((format(printf, 3, 4))) void
pq_step_begin(pq_lower *l, pq_step_kind kind, const char *label, ...);
void pq_step_in(pq_lower *l, uint32_t value);
void pq_step_out(pq_lower *l, uint32_t value);
void pq_step_i64(pq_lower *l, int64_t x);
void pq_step_f32(pq_lower *l, float x);

// Real numbers of a value: itself, or a dequantized copy in f32.
pq_ref pq_use_real(pq_lower *l, uint32_t gv, const uint8_t *perm);
// Storage for the real numbers of a value; pq_end_real then makes the codes
// of a quantized one (after the step that writes it).
pq_ref pq_define_real(pq_lower *l, uint32_t gv, const uint8_t *perm);
void pq_end_real(pq_lower *l, uint32_t gv, const pq_ref *ref);

// The bytes of number x as one element of v: as stored (codes), or as f32.
int64_t pq_lower_fill(pq_lower *l, const ptqc_gb_value *v, bool as_codes,
                      float x);

// ---- families (lower_*.c) --------------------------------------------------

void pq_lower_elementwise(pq_lower *l);
bool pq_lower_is_elementwise(const pq_lower *l, uint32_t node);
// Marks nodes that are computed inside their consumer.
void pq_lower_fuse(pq_lower *l);
#define LOWER(op, fn) void pq_lower_##fn(pq_lower *l);
#include "lower_ops.def"
#undef LOWER

#endif
