// SPDX-License-Identifier: Apache-2.0
//
// Expressions as text (expr_text.h): one line for an op, r<i> = register i.
#include "expr_text.h"

#include <stdio.h>
#include <string.h>

#define HEADER 4u // parameters before the ops

// ---- reading ---------------------------------------------------------------

static bool
read_op(int64_t param, uint32_t index, pq_expr_op *out)
{
    uint64_t x = (uint64_t)param;
    *out = (pq_expr_op){
        .code = (uint8_t)x,
        .dtype = (uint8_t)(x >> 8),
        .a = (uint8_t)(x >> 16),
        .b = (uint8_t)(x >> 24),
        .c = (uint8_t)(x >> 32),
        .index = (uint8_t)(x >> 40),
    };
    bool is_leaf = out->code == PQ_EXPR_LOAD || out->code == PQ_EXPR_PARAM;
    return x >> 48 == 0 &&
           (is_leaf || (out->a < index && (out->b < index || out->b == 0) &&
                        (out->c < index || out->c == 0)));
}

// Whether counts fit the parameters that are there.
static bool
read_counts(const pq_kg_job *job, uint32_t at, pq_kg_expression *e)
{
    int64_t ops = pq_kg_i64(job, at), params = pq_kg_i64(job, at + 1);
    int64_t result = pq_kg_i64(job, at + 2), rank = pq_kg_i64(job, at + 3);
    if (ops <= 0 || ops > PQ_EXPR_MAX_OPS || params < 0 ||
        params > PQ_EXPR_MAX_PARAMS || result < 0 || result >= ops ||
        rank < 0 || rank > PTQC_MAX_RANK || e->first_input > job->input_count) {
        return false;
    }
    uint32_t operands = job->input_count - e->first_input;
    uint64_t all =
        (uint64_t)at + HEADER + (uint64_t)ops + (uint64_t)params + operands;
    e->d.op_count = (uint32_t)ops;
    e->d.param_count = (uint32_t)params;
    e->d.input_count = operands + e->sums;
    e->d.output_count = 1;
    e->d.results[0] = (uint8_t)result;
    e->rank = (uint32_t)rank;
    e->first_param = at + HEADER + e->d.op_count;
    e->first_map = e->first_param + e->d.param_count;
    return all == job->param_count && e->d.input_count <= PQ_EXPR_MAX_INPUTS;
}

// Loads have the type of what they load, the result that of y.
static bool
has_types(const pq_kg_job *job, const pq_kg_expression *e, uint32_t sum)
{
    for (uint32_t i = 0; i < e->d.op_count; i++) {
        const pq_expr_op *op = &e->d.ops[i];
        if (op->code != PQ_EXPR_LOAD) {
            continue;
        }
        const pq_kg_tensor *in =
            op->index < e->sums
                ? NULL
                : pq_kg_in(job, e->first_input + op->index - e->sums);
        uint32_t dtype = op->index < e->sums ? sum
                         : in != NULL        ? in->dtype
                                             : PTQC_DTYPE_NONE;
        if (dtype != op->dtype) {
            return false;
        }
    }
    const pq_kg_tensor *y = pq_kg_out(job, 0);
    return y != NULL && y->dtype == e->d.ops[e->d.results[0]].dtype &&
           y->rank == e->rank;
}

static bool
is_wide(uint32_t dtype)
{
    return dtype == PTQC_I64 || dtype == PTQC_U64;
}

const char *
pq_kg_expression_read(const pq_kg_job *job, uint32_t at, uint32_t sum,
                      uint32_t first_input, pq_kg_expression *out)
{
    memset(out, 0, sizeof *out);
    out->sums = sum != PTQC_DTYPE_NONE ? 1 : 0;
    out->first_input = first_input;
    out->param_words = 1;
    if (!read_counts(job, at, out)) {
        return "expression: counts";
    }
    for (uint32_t i = 0; i < out->d.op_count; i++) {
        if (!read_op(job->params[at + HEADER + i], i, &out->d.ops[i])) {
            return "expression: op";
        }
        const pq_expr_op *op = &out->d.ops[i];
        if (pq_kg_dtype_name(op->dtype) == NULL) {
            return "elements of 64-bit floats";
        }
        if (is_wide(op->dtype) && out->sums > 0) {
            return "64-bit integers behind a sum";
        }
        if (is_wide(op->dtype) && op->code == PQ_EXPR_PARAM) {
            out->param_words = 2;
        }
    }
    const char *why = pq_expr_check(&out->d);
    return why != NULL                 ? why
           : !has_types(job, out, sum) ? "expression: types"
                                       : NULL;
}

uint32_t
pq_kg_expression_operands(const pq_kg_expression *e)
{
    return e->d.input_count - e->sums;
}

// ---- words and operands ----------------------------------------------------

void
pq_kg_expression_declare(pq_kg_module *m, const pq_kg_expression *e)
{
    for (uint32_t i = 0; i < pq_kg_expression_operands(e); i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "e%u", i);
        pq_kg_module_buffer(m, e->first_input + i, name, PQ_KG_READS);
    }
    if (e->d.param_count > 0) {
        pq_kg_module_words(m, "param", e->d.param_count * e->param_words);
    }
}

void
pq_kg_expression_put(pq_kg_launcher *l, const pq_kg_expression *e)
{
    for (uint32_t i = 0; i < e->d.param_count; i++) {
        int64_t param = pq_kg_i64(l->job, e->first_param + i);
        pq_kg_put_bits(l, (uint32_t)param);
        if (e->param_words == 2) {
            pq_kg_put_bits(l, (uint32_t)((uint64_t)param >> 32));
        }
    }
}

void
pq_kg_expression_view(pq_kg_launcher *l, const pq_kg_expression *e, uint32_t i,
                      const pq_kg_tensor *y, int64_t *out)
{
    const pq_kg_tensor *in = pq_kg_in(l->job, e->first_input + i);
    uint64_t map = (uint64_t)pq_kg_i64(l->job, e->first_map + i);
    uint32_t seen = 0;
    int64_t stride = 1;
    memset(out, 0, sizeof *out * PTQC_MAX_RANK);
    if (!PQ_KG_NEED(l, in != NULL && in->rank <= y->rank)) {
        return;
    }
    for (uint32_t j = in->rank; j-- > 0;) {
        uint32_t axis = (uint32_t)(map >> (4 * j)) & 15u;
        if (!PQ_KG_NEED(l, axis < y->rank && (seen >> axis & 1) == 0) ||
            !PQ_KG_NEED(l, in->dims[j] == 1 || in->dims[j] == y->dims[axis])) {
            return;
        }
        seen |= 1u << axis;
        out[axis] = in->dims[j] == 1 ? 0 : stride;
        stride *= in->dims[j];
    }
}

void
pq_kg_put_columns(pq_kg_launcher *l, const pq_kg_expression *e)
{
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    for (uint32_t i = 0; i < pq_kg_expression_operands(e); i++) {
        int64_t strides[PTQC_MAX_RANK], stride = -1, count = 1;
        pq_kg_expression_view(l, e, i, y, strides);
        if (l->st != PTQC_BE_OK || !PQ_KG_NEED(l, y->rank > 0)) {
            return;
        }
        for (uint32_t d = y->rank - 1; d-- > 0;) {
            if (y->dims[d] == 1) {
                continue;
            }
            if (stride < 0) {
                stride = strides[d];
            }
            PQ_KG_NEED(l, strides[d] == stride * count);
            count *= y->dims[d];
        }
        pq_kg_put(l, strides[y->rank - 1]);
        pq_kg_put(l, stride > 0 ? stride : 0);
    }
}

void
pq_kg_expression_name(pq_kg_module *m, const pq_kg_expression *e)
{
    for (uint32_t i = 0; i < e->d.op_count; i++) {
        const pq_expr_op *op = &e->d.ops[i];
        if (op->code != PQ_EXPR_PARAM && op->code != PQ_EXPR_LOAD &&
            m->name.count < 80) {
            pq_kg_module_name(m, "_%s", pq_expr_name((pq_expr_code)op->code));
        }
    }
}

// ---- printing --------------------------------------------------------------

// How an op is written: $a $b $c are its operands. NULL: f32 is the function
// <name>_f32 of math.kg, others do not occur.
typedef struct op_text {
    const char *f32, *i32, *u32, *boolean;
} op_text;

// Compares take the type of their operands, the others that of the result.
static const op_text TEXTS[PQ_EXPR_CODE_COUNT] = {
    [PQ_EXPR_NEG] = {"-$a", "-$a", "0u - $a", NULL},
    [PQ_EXPR_ABS] = {"ABS($a)", "$a < 0 ? -$a : $a", "$a", NULL},
    [PQ_EXPR_SQRT] = {"SQRT($a)", NULL, NULL, NULL},
    [PQ_EXPR_FLOOR] = {"FLOOR($a)", NULL, NULL, NULL},
    [PQ_EXPR_CEIL] = {"CEIL($a)", NULL, NULL, NULL},
    [PQ_EXPR_ROUND] = {"RNE($a)", NULL, NULL, NULL},
    [PQ_EXPR_SIGN] = {"sign_f32($a)", "$a < 0 ? -1 : ($a > 0 ? 1 : 0)",
                      "$a > 0u ? 1u : 0u", NULL},
    [PQ_EXPR_RSQRT] = {"1.0f / SQRT($a)", NULL, NULL, NULL},
    [PQ_EXPR_RECIPROCAL] = {"1.0f / $a", NULL, NULL, NULL},
    [PQ_EXPR_RELU] = {"relu_f32($a)", "$a < 0 ? 0 : $a", "$a", NULL},
    [PQ_EXPR_IS_NAN] = {"$a != $a", NULL, NULL, NULL},
    [PQ_EXPR_IS_INF] = {"ABS($a) == INF_F32", NULL, NULL, NULL},
    [PQ_EXPR_NOT] = {NULL, "~$a", "~$a", "!$a"},
    [PQ_EXPR_CLIP] = {"clip_f32($a, $b, $c)", "clip_i32($a, $b, $c)",
                      "clip_u32($a, $b, $c)", NULL},
    [PQ_EXPR_LEAKY_RELU] = {"leaky_relu_f32($a, $b)", NULL, NULL, NULL},
    [PQ_EXPR_THRESHOLDED_RELU] = {"thresholded_relu_f32($a, $b)", NULL, NULL,
                                  NULL},
    [PQ_EXPR_SHRINK] = {"shrink_f32($a, $b, $c)", NULL, NULL, NULL},
    [PQ_EXPR_ADD] = {"$a + $b", "$a + $b", "$a + $b", NULL},
    [PQ_EXPR_SUB] = {"$a - $b", "$a - $b", "$a - $b", NULL},
    [PQ_EXPR_MUL] = {"$a * $b", "$a * $b", "$a * $b", NULL},
    [PQ_EXPR_DIV] = {"$a / $b", "div_i32($a, $b)", "div_u32($a, $b)", NULL},
    [PQ_EXPR_MIN] = {"min_f32($a, $b)", "$a < $b ? $a : $b",
                     "$a < $b ? $a : $b", NULL},
    [PQ_EXPR_MAX] = {"max_f32($a, $b)", "$a > $b ? $a : $b",
                     "$a > $b ? $a : $b", NULL},
    [PQ_EXPR_MOD] = {NULL, "floor_mod_i32($a, $b)", "mod_u32($a, $b)", NULL},
    [PQ_EXPR_FMOD] = {NULL, "fmod_i32($a, $b)", "mod_u32($a, $b)", NULL},
    [PQ_EXPR_AND] = {NULL, "$a & $b", "$a & $b", "$a && $b"},
    [PQ_EXPR_OR] = {NULL, "$a | $b", "$a | $b", "$a || $b"},
    [PQ_EXPR_XOR] = {NULL, "$a ^ $b", "$a ^ $b", "$a != $b"},
    [PQ_EXPR_FMA] = {"FMA($a, $b, $c)", NULL, NULL, NULL},
    [PQ_EXPR_EQ] = {"$a == $b", "$a == $b", "$a == $b", "$a == $b"},
    [PQ_EXPR_NE] = {"$a != $b", "$a != $b", "$a != $b", "$a != $b"},
    [PQ_EXPR_LT] = {"$a < $b", "$a < $b", "$a < $b", NULL},
    [PQ_EXPR_LE] = {"$a <= $b", "$a <= $b", "$a <= $b", NULL},
    [PQ_EXPR_GT] = {"$a > $b", "$a > $b", "$a > $b", NULL},
    [PQ_EXPR_GE] = {"$a >= $b", "$a >= $b", "$a >= $b", NULL},
    [PQ_EXPR_WHERE] = {"$a ? $b : $c", "$a ? $b : $c", "$a ? $b : $c",
                       "$a ? $b : $c"},
    [PQ_EXPR_DEQUANTIZE] = {"F32(I32($a) - $c) * $b", NULL, NULL, NULL},
};

// The same for 64 bits: functions of wide.kg.
typedef struct wide_text {
    const char *i64, *u64;
} wide_text;

static const wide_text WIDE_TEXTS[PQ_EXPR_CODE_COUNT] = {
    [PQ_EXPR_NEG] = {"neg_64($a)", "neg_64($a)"},
    [PQ_EXPR_ABS] = {"abs_i64($a)", "$a"},
    [PQ_EXPR_SIGN] = {"sign_i64($a)", "min_u64($a, MAKE_U32X2(1u, 0u))"},
    [PQ_EXPR_RELU] = {"max_i64($a, MAKE_U32X2(0u, 0u))", "$a"},
    [PQ_EXPR_NOT] = {"MAKE_U32X2(~$a.x, ~$a.y)", "MAKE_U32X2(~$a.x, ~$a.y)"},
    [PQ_EXPR_CLIP] = {"min_i64(max_i64($a, $b), $c)",
                      "min_u64(max_u64($a, $b), $c)"},
    [PQ_EXPR_ADD] = {"add_64($a, $b)", "add_64($a, $b)"},
    [PQ_EXPR_SUB] = {"sub_64($a, $b)", "sub_64($a, $b)"},
    [PQ_EXPR_MUL] = {"mul_64($a, $b)", "mul_64($a, $b)"},
    [PQ_EXPR_DIV] = {"div_i64($a, $b)", "div_u64($a, $b)"},
    [PQ_EXPR_MIN] = {"min_i64($a, $b)", "min_u64($a, $b)"},
    [PQ_EXPR_MAX] = {"max_i64($a, $b)", "max_u64($a, $b)"},
    [PQ_EXPR_MOD] = {"floor_mod_i64($a, $b)", "mod_u64($a, $b)"},
    [PQ_EXPR_FMOD] = {"fmod_i64($a, $b)", "mod_u64($a, $b)"},
    [PQ_EXPR_AND] = {"MAKE_U32X2($a.x & $b.x, $a.y & $b.y)",
                     "MAKE_U32X2($a.x & $b.x, $a.y & $b.y)"},
    [PQ_EXPR_OR] = {"MAKE_U32X2($a.x | $b.x, $a.y | $b.y)",
                    "MAKE_U32X2($a.x | $b.x, $a.y | $b.y)"},
    [PQ_EXPR_XOR] = {"MAKE_U32X2($a.x ^ $b.x, $a.y ^ $b.y)",
                     "MAKE_U32X2($a.x ^ $b.x, $a.y ^ $b.y)"},
    [PQ_EXPR_SHL] = {"left_64($a, $b)", "left_64($a, $b)"},
    [PQ_EXPR_SHR] = {"right_64($a, $b)", "right_64($a, $b)"},
    [PQ_EXPR_EQ] = {"equal_64($a, $b)", "equal_64($a, $b)"},
    [PQ_EXPR_NE] = {"!equal_64($a, $b)", "!equal_64($a, $b)"},
    [PQ_EXPR_LT] = {"less_i64($a, $b)", "less_u64($a, $b)"},
    [PQ_EXPR_LE] = {"!less_i64($b, $a)", "!less_u64($b, $a)"},
    [PQ_EXPR_GT] = {"less_i64($b, $a)", "less_u64($b, $a)"},
    [PQ_EXPR_GE] = {"!less_i64($a, $b)", "!less_u64($a, $b)"},
    [PQ_EXPR_WHERE] = {"$a ? $b : $c", "$a ? $b : $c"},
};

static const char *
register_type(uint32_t dtype)
{
    return is_wide(dtype) ? "u32x2" : pq_kg_register_type(dtype);
}

// Functions of math.kg whose name is not the op's.
static const char *
function_of(uint32_t code)
{
    return code == PQ_EXPR_GELU   ? "gelu_erf"
           : code == PQ_EXPR_MOD  ? "floor_mod"
           : code == PQ_EXPR_FMOD ? "fmod"
                                  : pq_expr_name((pq_expr_code)code);
}

static bool
is_code_dtype(uint32_t dtype)
{
    return dtype == PTQC_I8 || dtype == PTQC_U8 || dtype == PTQC_I16 ||
           dtype == PTQC_U16;
}

static void
code_range(uint32_t dtype, int32_t *low, int32_t *high)
{
    *low = dtype == PTQC_I8 ? -128 : dtype == PTQC_I16 ? -32768 : 0;
    *high = dtype == PTQC_I8    ? 127
            : dtype == PTQC_I16 ? 32767
            : dtype == PTQC_U8  ? 255
                                : 65535;
}

// Writes `text` with the operands' registers in place of $a, $b, $c.
static void
add_operands(pq_kg_text *t, const char *text, const pq_expr_op *op)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '$') {
            p++;
            pq_kg_text_add(t, "r%u",
                           *p == 'a'   ? op->a
                           : *p == 'b' ? op->b
                                       : op->c);
        } else {
            pq_kg_text_bytes(t, p, 1);
        }
    }
}

static void
add_cast_to_wide(pq_kg_text *t, uint32_t from, uint32_t to, uint32_t r)
{
    pq_kg_text_add(t,
                   is_wide(from)       ? "r%u"
                   : from == PTQC_BOOL ? "MAKE_U32X2(r%u ? 1u : 0u, 0u)"
                   : !pq_kg_is_float(from)
                       ? (pq_expr_dtype_is_signed(from) ? "wide_of_i32(r%u)"
                                                        : "MAKE_U32X2(r%u, 0u)")
                   : to == PTQC_I64 ? "f32_to_i64(r%u)"
                                    : "f32_to_u64(r%u)",
                   r);
}

static void
add_cast_from_wide(pq_kg_text *t, uint32_t from, uint32_t to, uint32_t r)
{
    const char *real = from == PTQC_I64 ? "i64" : "u64";
    if (to == PTQC_BOOL) {
        pq_kg_text_add(t, "(r%u.x | r%u.y) != 0u", r, r);
    } else if (pq_kg_is_float(to)) {
        pq_kg_text_add(t, to == PTQC_F16    ? "f16_to_f32(f32_to_f16("
                          : to == PTQC_BF16 ? "bf16_to_f32(f32_to_bf16("
                                            : "((");
        pq_kg_text_add(t, "%s_to_f32(r%u)))", real, r);
    } else {
        pq_kg_text_add(
            t, pq_expr_dtype_is_signed(to) ? "I32(r%u.x)" : "U32(r%u.x)", r);
    }
}

// A register of type `from` as a register of type `to`, neither of 64 bits.
static void
add_cast(pq_kg_text *t, uint32_t from, uint32_t to, uint32_t r)
{
    bool is_real = pq_kg_is_float(from), is_bool = from == PTQC_BOOL;
    int32_t low, high;
    if (to == PTQC_BOOL) {
        pq_kg_text_add(t,
                       is_bool                         ? "r%u"
                       : is_real                       ? "r%u != 0.0f"
                       : pq_expr_dtype_is_signed(from) ? "r%u != 0"
                                                       : "r%u != 0u",
                       r);
    } else if (pq_kg_is_float(to)) {
        pq_kg_text_add(t, to == PTQC_F16    ? "f16_to_f32(f32_to_f16("
                          : to == PTQC_BF16 ? "bf16_to_f32(f32_to_bf16("
                                            : "((");
        pq_kg_text_add(t, is_bool ? "r%u ? 1.0f : 0.0f" : "F32(r%u)", r);
        pq_kg_text_add(t, "))");
    } else if (is_bool) {
        pq_kg_text_add(
            t, pq_expr_dtype_is_signed(to) ? "r%u ? 1 : 0" : "r%u ? 1u : 0u",
            r);
    } else if (is_real && is_code_dtype(to)) {
        code_range(to, &low, &high);
        pq_kg_text_add(t, "%s(f32_to_small(r%u, %d, %d))",
                       pq_expr_dtype_is_signed(to) ? "I32" : "U32", r, low,
                       high);
    } else if (is_real) {
        pq_kg_text_add(t,
                       pq_expr_dtype_is_signed(to) ? "f32_to_i32(r%u)"
                                                   : "f32_to_u32(r%u)",
                       r);
    } else {
        pq_kg_text_add(t, pq_expr_dtype_is_signed(to) ? "I32(r%u)" : "U32(r%u)",
                       r);
    }
}

static void
add_quantize(pq_kg_module *m, pq_kg_text *t, const pq_expr_op *op)
{
    int32_t low, high;
    code_range(op->dtype, &low, &high);
    if (op->code == PQ_EXPR_QUANTIZE) {
        m->uses |= PQ_KG_USES_EXACT;
    }
    pq_kg_text_add(t, "%s(code_of(",
                   pq_expr_dtype_is_signed(op->dtype) ? "I32" : "U32");
    add_operands(
        t, op->code == PQ_EXPR_QUANTIZE ? "div_exact($a, $b)" : "$a * $b", op);
    pq_kg_text_add(t, ", %d, %d, r%u))", low, high, op->c);
}

static void
add_param(pq_kg_text *t, const pq_kg_expression *e, const pq_expr_op *op)
{
    const char *type = pq_kg_register_type(op->dtype);
    uint32_t at = op->index * e->param_words;
    if (is_wide(op->dtype)) {
        pq_kg_text_add(t, "MAKE_U32X2(param(%uu), param(%uu))", at, at + 1);
        return;
    }
    pq_kg_text_add(t,
                   strcmp(type, "f32") == 0    ? "AS_F32(param(%uu))"
                   : strcmp(type, "bool") == 0 ? "param(%uu) != 0u"
                   : strcmp(type, "i32") == 0  ? "I32(param(%uu))"
                                               : "param(%uu)",
                   at);
}

// Whether fma's have to be exact: what they make becomes codes.
static bool
is_exact(const pq_kg_expression *e)
{
    return !pq_kg_is_float(e->d.ops[e->d.results[0]].dtype);
}

static void
add_function(pq_kg_module *m, pq_kg_text *t, const pq_expr_op *op,
             uint32_t args)
{
    m->uses |= PQ_KG_USES_MATH;
    pq_kg_text_add(t, "%s_f32(", function_of(op->code));
    add_operands(t, args == 1 ? "$a" : args == 2 ? "$a, $b" : "$a, $b, $c", op);
    pq_kg_text_add(t, ")");
}

static void
add_shift(pq_kg_text *t, const pq_expr_op *op)
{
    uint32_t bits = 8 * pq_kg_element_bytes(op->dtype);
    bool is_signed = pq_expr_dtype_is_signed(op->dtype);
    uint32_t mask = bits < 32 ? (1u << bits) - 1 : UINT32_MAX;
    pq_kg_text_add(t,
                   "%s(U32(r%u) < %uu ? (U32(r%u) & 0x%xu) %s (U32(r%u) & 31u) "
                   ": 0u)",
                   is_signed ? "I32" : "U32", op->b, bits, op->a, mask,
                   op->code == PQ_EXPR_SHL ? "<<" : ">>", op->b);
}

// Codes with one text for all of their types, and those without.
static void
add_value(pq_kg_module *m, pq_kg_text *t, const pq_kg_expression *e,
          const pq_expr_op *op)
{
    static const uint8_t ARGS[PQ_EXPR_CODE_COUNT] = {
#define EXPR(NAME, text, args, check) [PQ_EXPR_##NAME] = args,
#include "expr_ops.def"
#undef EXPR
    };
    uint32_t dtype = op->dtype;
    if (op->code == PQ_EXPR_FMA && is_exact(e)) {
        m->uses |= PQ_KG_USES_EXACT;
        add_operands(t, "fma_exact($a, $b, $c)", op);
        return;
    }
    if (op->code >= PQ_EXPR_EQ && op->code <= PQ_EXPR_GE) {
        dtype = e->d.ops[op->a].dtype;
    } else if (op->code == PQ_EXPR_IS_NAN || op->code == PQ_EXPR_IS_INF) {
        dtype = PTQC_F32;
    }
    if (is_wide(dtype)) {
        const wide_text *wide = &WIDE_TEXTS[op->code];
        add_operands(t, dtype == PTQC_I64 ? wide->i64 : wide->u64, op);
        return;
    }
    const op_text *row = &TEXTS[op->code];
    const char *type = pq_kg_register_type(dtype);
    const char *text = strcmp(type, "f32") == 0    ? row->f32
                       : strcmp(type, "i32") == 0  ? row->i32
                       : strcmp(type, "bool") == 0 ? row->boolean
                                                   : row->u32;
    if (text != NULL) {
        add_operands(t, text, op);
    } else {
        add_function(m, t, op, ARGS[op->code]);
    }
}

static void
add_load(pq_kg_text *t, const pq_kg_expression *e, const pq_expr_op *op,
         const char *sum)
{
    uint32_t k = op->index - e->sums;
    if (op->index < e->sums) {
        pq_kg_text_add(t, "%s", sum);
    } else {
        pq_kg_text_add(
            t, "LD_%s(e%u, at%u)",
            is_wide(op->dtype) ? "WIDE" : pq_kg_dtype_name(op->dtype), k, k);
    }
}

static void
add_any_cast(pq_kg_text *t, const pq_kg_expression *e, const pq_expr_op *op)
{
    uint32_t from = e->d.ops[op->a].dtype;
    if (is_wide(op->dtype)) {
        add_cast_to_wide(t, from, op->dtype, op->a);
    } else if (is_wide(from)) {
        add_cast_from_wide(t, from, op->dtype, op->a);
    } else {
        add_cast(t, from, op->dtype, op->a);
    }
}

static void
add_op(pq_kg_module *m, pq_kg_text *t, const pq_kg_expression *e, uint32_t i,
       const char *sum)
{
    const pq_expr_op *op = &e->d.ops[i];
    const char *type = register_type(op->dtype);
    uint32_t bits = 8 * pq_kg_element_bytes(op->dtype);
    bool is_int = pq_expr_dtype_is_int(op->dtype) != 0;
    bool wraps = is_int && bits < 32 && op->code != PQ_EXPR_LOAD;
    bool is_signed = pq_expr_dtype_is_signed(op->dtype) != 0;
    pq_kg_text_add(t, "%s%s r%u = ", strcmp(type, "f32") == 0 ? "PRECISE " : "",
                   type, i);
    if (wraps) {
        pq_kg_text_add(t, is_signed ? "BITS_I(U32(" : "(U32(");
    }
    switch (op->code) {
    case PQ_EXPR_LOAD:
        add_load(t, e, op, sum);
        break;
    case PQ_EXPR_PARAM:
        add_param(t, e, op);
        break;
    case PQ_EXPR_CAST:
        add_any_cast(t, e, op);
        break;
    case PQ_EXPR_QUANTIZE:
    case PQ_EXPR_QUANTIZE_MUL:
        add_quantize(m, t, op);
        break;
    case PQ_EXPR_SHL:
    case PQ_EXPR_SHR:
        if (is_wide(op->dtype)) {
            add_value(m, t, e, op);
        } else {
            add_shift(t, op);
        }
        break;
    default:
        add_value(m, t, e, op);
        break;
    }
    if (wraps && is_signed) {
        pq_kg_text_add(t, "), 0u, %u)", bits);
    } else if (wraps) {
        pq_kg_text_add(t, ") & 0x%xu)", (1u << bits) - 1);
    }
    pq_kg_text_add(t, ";\n");
}

const char *
pq_kg_expression_text(pq_kg_module *m, const pq_kg_expression *e,
                      const char *sum, char out_result[16])
{
    pq_kg_text t = {.mem = m->mem};
    m->uses |= PQ_KG_USES_VALUES;
    for (uint32_t i = 0; i < e->d.op_count; i++) {
        m->uses |= is_wide(e->d.ops[i].dtype) ? PQ_KG_USES_WIDE : 0;
        add_op(m, &t, e, i, sum);
    }
    (void)snprintf(out_result, 16, "r%u", e->d.results[0]);
    return pq_kg_module_text(m, &t);
}
