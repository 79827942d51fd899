// SPDX-License-Identifier: Apache-2.0
//
// The graph block: a graph as one flat, little-endian, offset-based block of
// bytes. It is what check, plan and compile receive, and part of the
// artifact. Same bytes in another process, in a cache key, in a bug report.
//
//   +--------+-----------------+---------+---------+-----
//   | header | section table   | section | section | ...
//   +--------+-----------------+---------+---------+-----
//     magic    PTQC_GB_SECTION_COUNT x {u64 offset, u32 count, u32 stride}
//
// Readers call ptqc_gb_open once: it checks every offset, count and index, so
// that the accessors below need no checks. A section's stride may be larger
// than the struct here (a newer writer); it is never smaller.
//
// The host guarantees topological order of nodes, unique names, finished
// shape inference. Tensors have ONNX's logical order (N, C, H, W); layouts
// are the plugin's own business. What each op means: docs/operators.md.
#ifndef PTQC_GRAPH_BLOCK_H
#define PTQC_GRAPH_BLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ptqc/backend.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define PTQC_GB_MAGIC   0x42475450u // "PTGB"
#define PTQC_GB_VERSION 1u
#define PTQC_GB_NONE    0xffffffffu // absent index

#define PTQC_GB_STRINGS       0u // bytes
#define PTQC_GB_SYMBOLS       1u // ptqc_gb_symbol
#define PTQC_GB_DIMS          2u // ptqc_gb_dim: expressions, operands before users
#define PTQC_GB_DIM_LISTS     3u  // u32: indices into DIMS
#define PTQC_GB_VALUES        4u  // ptqc_gb_value
#define PTQC_GB_QUANTS        5u  // ptqc_gb_quant
#define PTQC_GB_CONSTANTS     6u  // ptqc_gb_constant
#define PTQC_GB_NODES         7u  // ptqc_gb_node, topological order
#define PTQC_GB_OPERANDS      8u  // u32: value indices; PTQC_GB_NONE = absent
#define PTQC_GB_ATTRS         9u  // ptqc_gb_attr
#define PTQC_GB_I64S          10u // i64
#define PTQC_GB_F32S          11u // f32
#define PTQC_GB_INPUTS        12u // u32: value indices
#define PTQC_GB_STATES        13u // u32: value indices, updated in place
#define PTQC_GB_OUTPUTS       14u // u32: value indices
#define PTQC_GB_SECTION_COUNT 15u

typedef struct ptqc_gb_section {
    uint64_t offset; // from the start of the block, 8-byte aligned
    uint32_t count;  // elements
    uint32_t stride; // bytes per element
} ptqc_gb_section;

typedef struct ptqc_gb_header {
    uint32_t magic;
    uint32_t version;
    uint64_t total_bytes;
    uint32_t section_count;
    uint32_t reserved;
    ptqc_gb_section sections[PTQC_GB_SECTION_COUNT];
} ptqc_gb_header;

typedef struct ptqc_gb_text { // a slice of STRINGS
    uint32_t offset, bytes;
} ptqc_gb_text;

typedef struct ptqc_gb_symbol {
    ptqc_gb_text name;
    int64_t min, max; // inclusive; max = INT64_MAX: unbounded
    int64_t multiple; // always a multiple of this, >= 1
} ptqc_gb_symbol;

#define PTQC_GB_DIM_CONST  0u // value
#define PTQC_GB_DIM_SYMBOL 1u // value = symbol index
#define PTQC_GB_DIM_ADD    2u
#define PTQC_GB_DIM_SUB    3u
#define PTQC_GB_DIM_MUL    4u
#define PTQC_GB_DIM_DIV    5u // floor; b = 0 gives an error
#define PTQC_GB_DIM_CDIV   6u // ceiling
#define PTQC_GB_DIM_MOD    7u // floor modulus
#define PTQC_GB_DIM_MIN    8u
#define PTQC_GB_DIM_MAX    9u

typedef struct ptqc_gb_dim {
    uint32_t op;
    uint32_t a, b; // indices of smaller expressions
    uint32_t reserved;
    int64_t value;
} ptqc_gb_dim;

typedef struct ptqc_gb_value {
    ptqc_gb_text name;
    uint32_t dtype; // ptqc_dtype
    uint32_t rank;
    uint32_t first_dim; // into DIM_LISTS
    uint32_t quant;     // index or PTQC_GB_NONE
    uint32_t constant;  // index or PTQC_GB_NONE
    uint32_t flags;
} ptqc_gb_value;

// real = scale * (code - zero_point). Scales are f32, zero points i32, both
// constants with one element per tensor / per channel / per group
// ([channels][groups], row-major). Granularity TOKEN: the scales are a value
// (another operand), so both constants are absent.
typedef struct ptqc_gb_quant {
    uint32_t granularity; // PTQC_GRAN_*
    uint32_t axis;
    uint32_t group; // elements per group along axis
    uint32_t flags; // PTQC_GB_QUANT_*
    uint32_t scale; // constant index or PTQC_GB_NONE
    uint32_t zero_point;
} ptqc_gb_quant;

#define PTQC_GB_QUANT_SYMMETRIC 1u
#define PTQC_GB_QUANT_DYNAMIC   2u
// Bits 8 to 15: how many bits of the dtype codes use; 0: all. Information:
// codes mean the same without it.
#define PTQC_GB_QUANT_BITS_SHIFT 8u
#define PTQC_GB_QUANT_BITS_MASK  0xff00u

// Bytes come from ptqc_host_vt.constant_map(call, id).
typedef struct ptqc_gb_constant {
    uint64_t id;
    uint64_t bytes;
    uint8_t sha256[32];
} ptqc_gb_constant;

typedef struct ptqc_gb_node {
    ptqc_gb_text op;   // "conv"
    ptqc_gb_text name; // of the source model's node, for messages
    uint32_t version;  // of the op's meaning, 1
    uint32_t first_input, input_count;   // into OPERANDS
    uint32_t first_output, output_count; // into OPERANDS
    uint32_t first_attr, attr_count;     // into ATTRS
    uint32_t reserved;
} ptqc_gb_node;

#define PTQC_GB_ATTR_I64  1u // i
#define PTQC_GB_ATTR_F32  2u // f
#define PTQC_GB_ATTR_I64S 3u // first, count into I64S
#define PTQC_GB_ATTR_F32S 4u // into F32S
#define PTQC_GB_ATTR_DIMS 5u // into DIM_LISTS
#define PTQC_GB_ATTR_TEXT 6u // first, count into STRINGS

typedef struct ptqc_gb_attr {
    ptqc_gb_text name;
    uint32_t kind; // PTQC_GB_ATTR_*
    uint32_t first, count;
    float f;
    int64_t i;
} ptqc_gb_attr;

// ---- reading --------------------------------------------------------------

typedef struct ptqc_gb {
    const uint8_t *base;
    const ptqc_gb_header *header;
} ptqc_gb;

static inline uint32_t
ptqc_gb_count(const ptqc_gb *g, uint32_t section)
{
    return g->header->sections[section].count;
}

static inline const void *
ptqc_gb_at(const ptqc_gb *g, uint32_t section, uint32_t index)
{
    const ptqc_gb_section *s = &g->header->sections[section];
    return g->base + s->offset + (uint64_t)index * s->stride;
}

#define PTQC_GB_ACCESSOR(name, section)                                        \
    static inline const ptqc_gb_##name *ptqc_gb_##name##_at(const ptqc_gb *g,  \
                                                            uint32_t index)    \
    {                                                                          \
        return (const ptqc_gb_##name *)ptqc_gb_at(g, section, index);          \
    }

PTQC_GB_ACCESSOR(symbol, PTQC_GB_SYMBOLS)
PTQC_GB_ACCESSOR(dim, PTQC_GB_DIMS)
PTQC_GB_ACCESSOR(value, PTQC_GB_VALUES)
PTQC_GB_ACCESSOR(quant, PTQC_GB_QUANTS)
PTQC_GB_ACCESSOR(constant, PTQC_GB_CONSTANTS)
PTQC_GB_ACCESSOR(node, PTQC_GB_NODES)
PTQC_GB_ACCESSOR(attr, PTQC_GB_ATTRS)

static inline uint32_t
ptqc_gb_u32_at(const ptqc_gb *g, uint32_t section, uint32_t index)
{
    return *(const uint32_t *)ptqc_gb_at(g, section, index);
}

static inline ptqc_str
ptqc_gb_str(const ptqc_gb *g, ptqc_gb_text t)
{
    ptqc_str s;
    s.p = (const char *)g->base + g->header->sections[PTQC_GB_STRINGS].offset +
          t.offset;
    s.n = t.bytes;
    return s;
}

static inline int
ptqc_gb_text_is(const ptqc_gb *g, ptqc_gb_text t, const char *z)
{
    ptqc_str s = ptqc_gb_str(g, t);
    return strlen(z) == s.n && memcmp(s.p, z, (size_t)s.n) == 0;
}

// Value index of a node's input or output; PTQC_GB_NONE when absent.
static inline uint32_t
ptqc_gb_input(const ptqc_gb *g, const ptqc_gb_node *n, uint32_t i)
{
    return i < n->input_count
               ? ptqc_gb_u32_at(g, PTQC_GB_OPERANDS, n->first_input + i)
               : PTQC_GB_NONE;
}

static inline uint32_t
ptqc_gb_output(const ptqc_gb *g, const ptqc_gb_node *n, uint32_t i)
{
    return i < n->output_count
               ? ptqc_gb_u32_at(g, PTQC_GB_OPERANDS, n->first_output + i)
               : PTQC_GB_NONE;
}

// DIMS index of a value's dimension.
static inline uint32_t
ptqc_gb_value_dim(const ptqc_gb *g, const ptqc_gb_value *v, uint32_t i)
{
    return ptqc_gb_u32_at(g, PTQC_GB_DIM_LISTS, v->first_dim + i);
}

// NULL when the node has no such attribute.
static inline const ptqc_gb_attr *
ptqc_gb_find_attr(const ptqc_gb *g, const ptqc_gb_node *n, const char *name)
{
    uint32_t i;
    for (i = 0; i < n->attr_count; i++) {
        const ptqc_gb_attr *a = ptqc_gb_attr_at(g, n->first_attr + i);
        if (ptqc_gb_text_is(g, a->name, name)) {
            return a;
        }
    }
    return NULL;
}

static inline int64_t
ptqc_gb_attr_i64(const ptqc_gb *g, const ptqc_gb_node *n, const char *name,
                 int64_t otherwise)
{
    const ptqc_gb_attr *a = ptqc_gb_find_attr(g, n, name);
    return a != NULL && a->kind == PTQC_GB_ATTR_I64 ? a->i : otherwise;
}

static inline float
ptqc_gb_attr_f32(const ptqc_gb *g, const ptqc_gb_node *n, const char *name,
                 float otherwise)
{
    const ptqc_gb_attr *a = ptqc_gb_find_attr(g, n, name);
    return a != NULL && a->kind == PTQC_GB_ATTR_F32 ? a->f : otherwise;
}

// Evaluates every dimension expression: out has as many elements as DIMS.
// symbols[i] = value of symbol i. 0 on overflow, division by zero or a symbol
// out of its range; then *out_bad (may be NULL) is the expression.
int ptqc_gb_eval_dims(const ptqc_gb *g, const int64_t *symbols, int64_t *out,
                      uint32_t *out_bad);

// Checks the whole block; 0 when it is damaged, *out_reason then is static
// text. `bytes` must be 8-byte aligned and outlive *out.
int ptqc_gb_open(const void *bytes, uint64_t count, ptqc_gb *out,
                 const char **out_reason);

#if defined(__cplusplus)
}
#endif
#endif
