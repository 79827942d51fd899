// SPDX-License-Identifier: Apache-2.0
//
// From opcode to function, and what the interpreter declines.
#include <stdarg.h>
#include <stdio.h>

#include "base/dtype.h"
#include "ir/interp/eval.h"
#include "ir/interp/families.h"
#include "ir/interp/interp.h"

// Short names of evals.def.
#define ABSENT PQ_KIND_NONE
#define FLOATS PQ_KIND_FLOAT
#define F64    PQ_KIND_F64
#define INT    PQ_KIND_INT
#define BOOL   PQ_KIND_BOOL
#define SUB    PQ_KIND_SUB
#define QUANT  PQ_KIND_QUANT
#define TOKEN  PQ_KIND_TOKEN
#define Q4     PQ_KIND_QUANT4
#define REAL   (FLOATS | QUANT) // computed in f32
#define NUMBER (REAL | F64 | INT)
#define ANY    (NUMBER | BOOL | Q4 | TOKEN)
#define OPT    (REAL | INT | ABSENT)

static const pq_eval_info eval_infos[PQ_OP_COUNT] = {
#define EVAL(OP, fn, rule, in0, in1, rest, outputs, one_class)                 \
    [PQ_OP_##OP] = {fn, rule, {in0, in1, rest}, outputs, one_class},
#include "ir/interp/evals.def"
#undef EVAL
};

const pq_eval_info *
pq_eval_info_of(pq_opcode code)
{
    bool is_known =
        code > PQ_OP_NONE && code < PQ_OP_COUNT && eval_infos[code].run != NULL;
    return is_known ? &eval_infos[code] : NULL;
}

uint32_t
pq_value_kind(const pq_graph *g, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    if (value == NULL) {
        return PQ_KIND_NONE;
    }
    ptqc_dtype t = value->type.dtype;
    const pq_quant *q = pq_graph_quant(g, value->quant);
    bool has_codes = q != NULL && q->scheme.format == t;
    if (has_codes && pq_is_code_format(t)) {
        if (pq_const_is_none(q->scale)) {
            return PQ_KIND_TOKEN;
        }
        return pq_dtype_bits(t) == 4 ? PQ_KIND_QUANT4 : PQ_KIND_QUANT;
    }
    if (has_codes && !pq_dtype_is_float(t)) {
        return PQ_KIND_OTHER;
    }
    if (t == PTQC_BOOL) {
        return PQ_KIND_BOOL;
    }
    if (t == PTQC_F64) {
        return PQ_KIND_F64;
    }
    if (pq_dtype_is_float(t)) {
        return PQ_KIND_FLOAT;
    }
    return pq_dtype_bits(t) == 4 ? PQ_KIND_SUB : PQ_KIND_INT;
}

const char *
pq_reason(pq_graph *g, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t length = n < 0                     ? 0
                    : (size_t)n < sizeof text ? (size_t)n
                                              : sizeof text - 1;
    const char *copy = pq_arena_strndup(pq_graph_arena(g), text, length);
    return copy != NULL ? copy : "not supported";
}

// Kinds that are computed alike.
static uint32_t
work_class(uint32_t kind)
{
    return (kind & (REAL | Q4 | TOKEN)) != 0 ? REAL : kind;
}

static const char *
kind_name(uint32_t kind)
{
    switch (kind) {
    case PQ_KIND_NONE:
        return "absent";
    case PQ_KIND_QUANT:
    case PQ_KIND_QUANT4:
        return "quantized";
    case PQ_KIND_TOKEN:
        return "quantized per token";
    default:
        return "plain";
    }
}

static const char *
refuse(pq_graph *g, const char *what, uint32_t i, pq_value_id v)
{
    const pq_value *value = pq_graph_value(g, v);
    return pq_reason(g, "%s %u of type %s (%s)", what, i,
                     value != NULL ? pq_dtype_name(value->type.dtype) : "none",
                     kind_name(pq_value_kind(g, v)));
}

const char *
pq_interp_declines(pq_graph *g, const pq_op *op)
{
    const pq_eval_info *info = pq_eval_info_of(op->code);
    if (info == NULL) {
        return "no such op";
    }
    uint32_t first = op->input_count > 0
                         ? work_class(pq_value_kind(g, op->inputs[0]))
                         : PQ_KIND_NONE;
    for (uint32_t i = 0; i < op->input_count; i++) {
        uint32_t kind = pq_value_kind(g, op->inputs[i]);
        if ((kind & info->in[i < 2 ? i : 2]) == 0) {
            return refuse(g, "input", i, op->inputs[i]);
        }
        if (info->is_one_class && kind != PQ_KIND_NONE &&
            work_class(kind) != first) {
            return refuse(g, "different types: input", i, op->inputs[i]);
        }
    }
    for (uint32_t i = 0; i < op->output_count; i++) {
        uint32_t kind = pq_value_kind(g, op->outputs[i]);
        if ((kind & info->out) == 0) {
            return refuse(g, "output", i, op->outputs[i]);
        }
        if (i == 0 && info->is_one_class && work_class(kind) != first) {
            return refuse(g, "different types: output", i, op->outputs[i]);
        }
    }
    return info->rule != NULL ? info->rule(g, op) : NULL;
}
