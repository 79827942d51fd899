// SPDX-License-Identifier: Apache-2.0
//
// Opcodes, attribute names and their tables.
#ifndef PTQC_IR_OPS_H
#define PTQC_IR_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum pq_opcode {
    PQ_OP_NONE,
#define OP(NAME, text, cls, min, max, outputs, infer) PQ_OP_##NAME,
#include "ir/ops.def"
#undef OP
    PQ_OP_COUNT
} pq_opcode;

typedef enum pq_op_class {
    PQ_CLASS_UNARY,
    PQ_CLASS_BINARY,
    PQ_CLASS_COMPARE,
    PQ_CLASS_REDUCE,
    PQ_CLASS_SAME,
    PQ_CLASS_OTHER,
} pq_op_class;

typedef enum pq_attr_name {
    PQ_ATTR_NONE,
#define ATTR(NAME, text, kind) PQ_ATTR_##NAME,
#include "ir/attrs.def"
#undef ATTR
    PQ_ATTR_COUNT
} pq_attr_name;

typedef enum pq_attr_kind {
    PQ_KIND_I64,
    PQ_KIND_F32,
    PQ_KIND_I64S,
    PQ_KIND_F32S,
    PQ_KIND_DIMS,
    PQ_KIND_OP,
    PQ_KIND_DTYPE,
} pq_attr_kind;

// Most inputs of any op; max_inputs of those that take any number up to it.
#define PQ_MAX_INPUTS 255

typedef struct pq_op_info {
    const char *name;
    pq_op_class cls;
    uint8_t min_inputs, max_inputs, outputs;
} pq_op_info;

const pq_op_info *pq_op_info_of(pq_opcode code);
// How many of its first inputs an op changes in place: output i is then state
// i after the change.
static inline uint32_t
pq_op_updates(pq_opcode code)
{
    return code == PQ_OP_KV_UPDATE ? 1 : code == PQ_OP_KV_UPDATE_CODES ? 2 : 0;
}
bool pq_opcode_parse(const char *p, size_t n, pq_opcode *out);
const char *pq_attr_text(pq_attr_name name);
pq_attr_kind pq_attr_kind_of(pq_attr_name name);
// Known about the result, without part in computing it.
bool pq_attr_is_fact(pq_attr_name name);
bool pq_attr_parse(const char *p, size_t n, pq_attr_name *out);

typedef enum pq_pad_mode {
    PQ_PAD_CONSTANT,
    PQ_PAD_REFLECT,
    PQ_PAD_EDGE,
    PQ_PAD_WRAP,
} pq_pad_mode;

typedef enum pq_resize_mode {
    PQ_RESIZE_NEAREST,
    PQ_RESIZE_LINEAR,
    PQ_RESIZE_CUBIC,
} pq_resize_mode;

typedef enum pq_resize_coord {
    PQ_COORD_HALF_PIXEL,
    PQ_COORD_PYTORCH_HALF_PIXEL,
    PQ_COORD_ASYMMETRIC,
    PQ_COORD_ALIGN_CORNERS,
} pq_resize_coord;

typedef enum pq_resize_nearest {
    PQ_NEAREST_ROUND_PREFER_FLOOR,
    PQ_NEAREST_ROUND_PREFER_CEIL,
    PQ_NEAREST_FLOOR,
    PQ_NEAREST_CEIL,
} pq_resize_nearest;

typedef enum pq_rope_mode {
    PQ_ROPE_HALVES,      // element i turns with i + r (Hugging Face)
    PQ_ROPE_INTERLEAVED, // 2 i with 2 i + 1 (GGUF)
} pq_rope_mode;

typedef enum pq_scatter_reduction {
    PQ_SCATTER_NONE,
    PQ_SCATTER_ADD,
    PQ_SCATTER_MUL,
    PQ_SCATTER_MAX,
    PQ_SCATTER_MIN,
} pq_scatter_reduction;

#endif
