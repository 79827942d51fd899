// SPDX-License-Identifier: Apache-2.0
//
// Turns sandwiches of dequantize, float op, quantize into ops on codes:
//
//   products   x and w from dequantize: integer arithmetic. The result is
//              codes when one quantize is its only use, else real numbers.
//              Bias: i32 in units of sx * sw where the result is requantized
//              by one multiplication (plain mode of docs/numerics.md), else
//              f32. A residual from dequantize is read as codes then.
//   others     all float operands from dequantize, result to one quantize:
//              the op reads and writes codes
//   moves      dequantize goes behind ops that only move elements
//   pairs      quantize of dequantize with the same parameters is nothing
//
// The same pass serves models that come with quantize and dequantize.

#include <math.h>

#include "ir/builder.h"
#include "passes/admit.h"
#include "passes/match.h"
#include "passes/params.h"
#include "passes/plan.h"
#include "passes/registry.h"

typedef struct pq_to_integer {
    pq_graph *g;
    const pq_pass_env *env;
    bool has_changed;
} pq_to_integer;

// The codes that v is made of, or the null value.
static pq_value_id
codes_of(const pq_graph *g, pq_value_id v)
{
    const pq_op *op = pq_producer(g, v, PQ_OP_DEQUANTIZE);
    return op != NULL ? op->inputs[0] : PQ_NO_VALUE;
}

static bool
has_one_scale(const pq_graph *g, pq_value_id v)
{
    pq_params p;
    return pq_is_codes(g, v) &&
           pq_tensor_params(g, pq_graph_quant(g, pq_graph_value(g, v)->quant),
                            &p);
}

static bool
is_byte(const pq_graph *g, pq_value_id v)
{
    ptqc_dtype t = pq_graph_value(g, v)->type.dtype;
    return t == PTQC_I8 || t == PTQC_U8;
}

// 8-bit codes with one scale behind v, or the null value.
static pq_value_id
byte_codes_of(const pq_graph *g, pq_value_id v)
{
    pq_value_id codes = codes_of(g, v);
    return !pq_value_is_none(codes) && is_byte(g, codes) &&
                   has_one_scale(g, codes)
               ? codes
               : PQ_NO_VALUE;
}

// The quantize that alone uses the op's result.
static pq_op_id
sole_quantize(const pq_graph *g, const pq_op *op)
{
    pq_op_id user = pq_single_user(g, op->outputs[0]);
    const pq_op *q = pq_graph_op(g, user);
    return q != NULL && q->code == PQ_OP_QUANTIZE &&
                   is_byte(g, q->outputs[0]) && has_one_scale(g, q->outputs[0])
               ? user
               : (pq_op_id){0};
}

// The op's result takes the place and the parameters of the quantize's.
static ptqc_status
absorb_quantize(pq_graph *g, pq_op_id id, pq_op_id quantize)
{
    pq_value_id y = pq_graph_op(g, id)->outputs[0];
    pq_value_id codes = pq_graph_op(g, quantize)->outputs[0];
    const pq_value *value = pq_graph_value(g, codes);
    pq_value_set_quant(g, y, value->type.dtype, value->quant);
    PQ_TRY(pq_replace_uses(g, codes, y));
    pq_erase_op(g, quantize);
    return PTQC_OK;
}

// ---- products -------------------------------------------------------------

typedef struct pq_product_parts {
    pq_value_id x, w;     // codes
    pq_value_id residual; // codes; null: none or float
    pq_op_id quantize;
    bool is_plain; // requantized by one multiplication
} pq_product_parts;

static bool
is_range_activation(const pq_op *op)
{
    pq_opcode act = (pq_opcode)pq_op_i64(op, PQ_ATTR_ACT, PQ_OP_NONE);
    return act == PQ_OP_NONE || act == PQ_OP_RELU || act == PQ_OP_CLIP ||
           act == PQ_OP_IDENTITY;
}

// Weights: codes per tensor or along the output channels.
static bool
is_weight(const pq_graph *g, const pq_op *op, pq_value_id w)
{
    uint32_t w_axis, y_axis;
    if (pq_value_is_none(w) || !is_byte(g, w)) {
        return false;
    }
    if (has_one_scale(g, w)) {
        return true;
    }
    const pq_quant *q = pq_graph_quant(g, pq_graph_value(g, w)->quant);
    return q->scheme.granularity == PQ_GRAN_CHANNEL &&
           pq_channel_axes(g, op, &w_axis, &y_axis) && q->scheme.axis == w_axis;
}

// A bias that is constant: f32 numbers, or codes behind dequantize.
static bool
is_constant_bias(const pq_graph *g, pq_value_id bias)
{
    pq_value_id codes = codes_of(g, bias);
    return pq_value_is_none(bias) || pq_is_float_constant(g, bias) ||
           (pq_is_constant(g, codes) && pq_is_codes(g, codes) &&
            pq_graph_value(g, codes)->type.dtype == PTQC_I32);
}

static bool
find_parts(const pq_graph *g, const pq_op *op, pq_product_parts *out)
{
    pq_value_id residual = pq_op_input(op, 3);
    *out = (pq_product_parts){.x = byte_codes_of(g, op->inputs[0])};
    out->w = pq_is_codes(g, op->inputs[1]) ? op->inputs[1]
                                           : codes_of(g, op->inputs[1]);
    if (pq_value_is_none(out->x) || !is_weight(g, op, out->w) ||
        !is_constant_bias(g, pq_op_input(op, 2))) {
        return false;
    }
    out->quantize = sole_quantize(g, op);
    if (!pq_value_is_none(residual)) {
        out->residual = byte_codes_of(g, residual);
    }
    bool is_float_residual =
        !pq_value_is_none(residual) && pq_value_is_none(out->residual);
    out->is_plain = !pq_op_is_none(out->quantize) && is_range_activation(op) &&
                    !is_float_residual;
    return true;
}

static bool
is_admitted(const pq_to_integer *c, const pq_op *op,
            const pq_product_parts *parts)
{
    const pq_graph *g = c->g;
    const pq_scheme none = {0};
    pq_value_id r = pq_value_is_none(parts->residual) ? pq_op_input(op, 3)
                                                      : parts->residual;
    bool has_bias = !pq_value_is_none(pq_op_input(op, 2));
    const pq_op *q = pq_graph_op(g, parts->quantize);
    pq_product_schemes s = {
        .x = pq_scheme_of_value(g, parts->x),
        .w = pq_scheme_of_value(g, parts->w),
        .bias = none,
        .residual = pq_scheme_of_value(g, r),
        .y = pq_scheme_of_value(g, q != NULL ? q->outputs[0] : op->outputs[0]),
    };
    if (has_bias) {
        s.bias.format = parts->is_plain ? PTQC_I32 : PTQC_F32;
    }
    return pq_admits_product(g, c->env->caps, op, &s);
}

// As found; else with a residual in reals; else with a result in reals, which
// the quantize behind it then rounds.
static bool
fit_parts(const pq_to_integer *c, const pq_op *op, pq_product_parts *parts)
{
    if (is_admitted(c, op, parts)) {
        return true;
    }
    if (!pq_value_is_none(parts->residual)) {
        parts->residual = PQ_NO_VALUE;
        parts->is_plain = false;
        if (is_admitted(c, op, parts)) {
            return true;
        }
    }
    parts->quantize = (pq_op_id){0};
    parts->is_plain = false;
    return is_admitted(c, op, parts);
}

// Bias numbers in double: f32 constants, or codes times their scales.
static ptqc_status
read_bias(const pq_graph *g, pq_value_id bias, pq_arena *scratch, double **out,
          int64_t *out_count)
{
    pq_value_id codes = codes_of(g, bias);
    bool is_codes = !pq_value_is_none(codes);
    pq_value_id source = is_codes ? codes : bias;
    const pq_value *value = pq_graph_value(g, source);
    const pq_constant *c = pq_graph_constant(g, value->constant);
    int64_t n = pq_element_count(c);
    void *p = pq_arena_memdup(scratch, c->p, c->bytes);
    double *b = pq_arena_array(scratch, (size_t)n, sizeof *b);
    PQ_TRY_ALLOC(p);
    PQ_TRY_ALLOC(b);
    const pq_quant *q = pq_graph_quant(g, value->quant);
    int64_t scales = is_codes ? pq_scale_count(g, q) : 0;
    for (int64_t i = 0; i < n; i++) {
        if (!is_codes) {
            b[i] = (double)((const float *)p)[i];
            continue;
        }
        pq_params s = pq_params_at(g, q, scales == n ? i : 0);
        b[i] =
            ((double)((const int32_t *)p)[i] - s.zero_point) * (double)s.scale;
    }
    *out = b;
    *out_count = n;
    return PTQC_OK;
}

static int32_t
saturate(double code, bool *out_saturated)
{
    if (code > 2147483647.0 || code < -2147483648.0) {
        *out_saturated = true;
        return code > 0 ? INT32_MAX : INT32_MIN;
    }
    return (int32_t)code;
}

// i32 in units of sx * sw[c].
static ptqc_status
make_code_bias(const pq_to_integer *c, const pq_op *op,
               const pq_product_parts *parts, const double *b, int64_t n,
               pq_value_id *out)
{
    pq_graph *g = c->g;
    const pq_quant *qx = pq_graph_quant(g, pq_graph_value(g, parts->x)->quant);
    const pq_quant *qw = pq_graph_quant(g, pq_graph_value(g, parts->w)->quant);
    pq_params x = pq_params_at(g, qx, 0);
    int64_t scales = pq_scale_count(g, qw);
    bool has_saturated = false;
    int32_t *codes = pq_arena_array(c->env->scratch, (size_t)n, sizeof *codes);
    PQ_TRY_ALLOC(codes);
    for (int64_t i = 0; i < n; i++) {
        pq_params w = pq_params_at(g, qw, scales == n ? i : 0);
        float unit = x.scale * w.scale;
        codes[i] = saturate(rint(b[i] / (double)unit), &has_saturated);
    }
    if (has_saturated) {
        pq_say(pq_graph_ctx(g), PTQC_SEVERITY_WARNING,
               "%s '%.*s': a bias is beyond 32 bits in units of its scales",
               pq_op_info_of(op->code)->name, PQ_STR_ARG(pq_op_label(g, op)));
    }
    return pq_build_constant(g, (pq_str){0}, PTQC_I32, &n, 1, codes, out);
}

static ptqc_status
make_real_bias(const pq_to_integer *c, const double *b, int64_t n,
               pq_value_id *out)
{
    float *f = pq_arena_array(c->env->scratch, (size_t)n, sizeof *f);
    PQ_TRY_ALLOC(f);
    for (int64_t i = 0; i < n; i++) {
        f[i] = (float)b[i];
    }
    return pq_make_vector(c->g, f, n, out);
}

static ptqc_status
change_bias(const pq_to_integer *c, pq_op_id id, const pq_product_parts *parts)
{
    const pq_op *op = pq_graph_op(c->g, id);
    pq_value_id bias = pq_op_input(op, 2);
    double *b;
    int64_t n;
    pq_value_id changed;
    if (pq_value_is_none(bias)) {
        return PTQC_OK;
    }
    PQ_TRY(read_bias(c->g, bias, c->env->scratch, &b, &n));
    if (parts->is_plain) {
        PQ_TRY(make_code_bias(c, op, parts, b, n, &changed));
    } else {
        PQ_TRY(make_real_bias(c, b, n, &changed));
    }
    return pq_set_input(c->g, id, 2, changed);
}

// x in reals and constant codes of w, whatever their scales: weight-only.
static ptqc_status
convert_weights(pq_to_integer *c, pq_op_id id)
{
    pq_graph *g = c->g;
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id w = codes_of(g, op->inputs[1]);
    if (pq_value_is_none(w) || !pq_is_constant(g, w) ||
        pq_is_codes(g, op->inputs[0]) ||
        !pq_value_is_none(codes_of(g, op->inputs[0]))) {
        return PTQC_OK;
    }
    pq_value_id bias = pq_op_input(op, 2), residual = pq_op_input(op, 3);
    const pq_scheme none = {0};
    pq_product_schemes s = {
        .x = pq_scheme_of_value(g, op->inputs[0]),
        .w = pq_scheme_of_value(g, w),
        .bias = pq_value_is_none(bias) ? none : pq_scheme_of_value(g, bias),
        .residual =
            pq_value_is_none(residual) ? none : pq_scheme_of_value(g, residual),
        .y = pq_scheme_of_value(g, op->outputs[0]),
    };
    if (!pq_admits_product(g, c->env->caps, op, &s)) {
        return PTQC_OK;
    }
    c->has_changed = true;
    return pq_set_input(g, id, 1, w);
}

static ptqc_status
convert_product(pq_to_integer *c, pq_op_id id)
{
    pq_graph *g = c->g;
    pq_product_parts parts;
    const pq_op *op = pq_graph_op(g, id);
    if (!find_parts(g, op, &parts)) {
        return convert_weights(c, id);
    }
    if (!fit_parts(c, op, &parts)) {
        return PTQC_OK;
    }
    c->has_changed = true;
    PQ_TRY(change_bias(c, id, &parts));
    PQ_TRY(pq_set_input(g, id, 0, parts.x));
    PQ_TRY(pq_set_input(g, id, 1, parts.w));
    if (!pq_value_is_none(parts.residual)) {
        PQ_TRY(pq_set_input(g, id, 3, parts.residual));
    }
    return pq_op_is_none(parts.quantize)
               ? PTQC_OK
               : absorb_quantize(g, id, parts.quantize);
}

// ---- other ops ------------------------------------------------------------

// Whether every float operand has codes (or is a constant that stays as it
// is), and at least one has.
static bool
operands_have_codes(const pq_graph *g, const pq_op *op)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (!pq_is_data_operand(g, op, i)) {
            continue;
        }
        if (pq_value_is_none(byte_codes_of(g, op->inputs[i]))) {
            return false;
        }
        count++;
    }
    return count > 0;
}

// concat wants one type.
static bool
operands_have_type(const pq_graph *g, const pq_op *op, ptqc_dtype type)
{
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_value_id codes = byte_codes_of(g, op->inputs[i]);
        if (pq_value_is_none(codes) ||
            pq_graph_value(g, codes)->type.dtype != type) {
            return false;
        }
    }
    return true;
}

static bool
admits_codes(const pq_to_integer *c, const pq_op *op, pq_value_id y)
{
    pq_scheme inputs[PQ_MAX_INPUTS];
    for (uint32_t i = 0; i < op->input_count; i++) {
        pq_value_id codes = pq_is_data_operand(c->g, op, i)
                                ? byte_codes_of(c->g, op->inputs[i])
                                : op->inputs[i];
        inputs[i] = pq_scheme_of_value(c->g, codes);
    }
    pq_scheme output = pq_scheme_of_value(c->g, y);
    return pq_admits_op(c->g, c->env->caps, op, inputs, &output);
}

static ptqc_status
read_codes(pq_graph *g, pq_op_id id)
{
    const pq_op *op = pq_graph_op(g, id);
    for (uint32_t i = 0; i < op->input_count; i++) {
        if (pq_is_data_operand(g, op, i)) {
            PQ_TRY(pq_set_input(g, id, i, byte_codes_of(g, op->inputs[i])));
        }
    }
    return PTQC_OK;
}

static ptqc_status
convert_passing(pq_to_integer *c, pq_op_id id)
{
    pq_graph *g = c->g;
    const pq_op *op = pq_graph_op(g, id);
    pq_op_id quantize = sole_quantize(g, op);
    if (pq_op_is_none(quantize) || !operands_have_codes(g, op)) {
        return PTQC_OK;
    }
    pq_value_id y = pq_graph_op(g, quantize)->outputs[0];
    if ((op->code == PQ_OP_CONCAT &&
         !operands_have_type(g, op, pq_graph_value(g, y)->type.dtype)) ||
        !admits_codes(c, op, y)) {
        return PTQC_OK;
    }
    c->has_changed = true;
    PQ_TRY(read_codes(g, id));
    return absorb_quantize(g, id, quantize);
}

// x = dequantize(codes): move(x) = dequantize(move(codes)).
static ptqc_status
convert_move(pq_to_integer *c, pq_op_id id)
{
    pq_graph *g = c->g;
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id codes = codes_of(g, op->inputs[0]);
    bool is_constant = pq_is_constant(g, codes); // will be folded
    if (pq_value_is_none(codes) ||
        (!has_one_scale(g, codes) &&
         (!is_constant || op->code != PQ_OP_TRANSPOSE)) ||
        (!is_constant && !admits_codes(c, op, codes))) {
        return PTQC_OK;
    }
    pq_builder b;
    pq_value_id moved, real;
    pq_build_begin(&b, g, id, op->code, op->name);
    pq_build_input(&b, codes);
    for (uint32_t i = 1; i < op->input_count; i++) {
        pq_build_input(&b, op->inputs[i]);
    }
    for (uint32_t i = 0; i < op->attr_count; i++) {
        pq_build_attr(&b, &op->attrs[i]);
    }
    PQ_TRY(pq_build_end(&b, NULL, &moved, NULL));
    pq_build_begin(&b, g, id, PQ_OP_DEQUANTIZE, (pq_str){0});
    pq_build_input(&b, moved);
    pq_build_i64(&b, PQ_ATTR_TO, PTQC_F32);
    PQ_TRY(pq_build_end(&b, NULL, &real, NULL));
    c->has_changed = true;
    return pq_replace_op(g, id, real);
}

// quantize(dequantize(codes)) with the same parameters.
static ptqc_status
drop_pair(pq_to_integer *c, pq_op_id id)
{
    pq_graph *g = c->g;
    const pq_op *op = pq_graph_op(g, id);
    pq_value_id codes = codes_of(g, op->inputs[0]);
    if (pq_value_is_none(codes) ||
        pq_graph_value(g, codes)->type.dtype !=
            pq_graph_value(g, op->outputs[0])->type.dtype ||
        !pq_same_params(g, pq_graph_value(g, codes)->quant,
                        pq_graph_value(g, op->outputs[0])->quant)) {
        return PTQC_OK;
    }
    c->has_changed = true;
    return pq_replace_op(g, id, codes);
}

// ---- all ------------------------------------------------------------------

static ptqc_status
visit(pq_to_integer *c, pq_op_id id)
{
    const pq_op *op = pq_graph_op(c->g, id);
    if (op->code == PQ_OP_QUANTIZE) {
        return drop_pair(c, id);
    }
    pq_role role = pq_role_of(c->g, op);
    if (role == PQ_ROLE_PRODUCT) {
        return convert_product(c, id);
    }
    if (role != PQ_ROLE_FLOAT &&
        pq_op_info_of(op->code)->cls == PQ_CLASS_SAME) {
        return convert_move(c, id);
    }
    return role != PQ_ROLE_FLOAT ? convert_passing(c, id) : PTQC_OK;
}

// Moving dequantize forward lets later ops match: at most once per op, so
// the walks are bounded by the ops.
ptqc_status
pq_pass_qdq_to_integer(pq_graph *g, pq_pass_env *env)
{
    pq_to_integer c = {.g = g, .env = env, .has_changed = true};
    while (c.has_changed) {
        c.has_changed = false;
        PQ_FOR_EACH_OP(g, id)
        {
            PQ_TRY(visit(&c, id));
        }
        (void)pq_erase_dead(g);
    }
    return PTQC_OK;
}
