// SPDX-License-Identifier: Apache-2.0
//
// What is done to the accumulators of conv, conv_transpose and matmul:
// scales, bias, residual, activation, requantization (docs/numerics.md
// sections 4 and 5), and which combinations of types they take.
#include <math.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"

#define IN_W        1
#define IN_BIAS     2
#define IN_RESIDUAL 3
#define IN_X_SCALE  4

#define KIND_CODES (PQ_KIND_QUANT | PQ_KIND_QUANT4)

static bool
is_byte(ptqc_dtype t)
{
    return t == PTQC_I8 || t == PTQC_U8;
}

static bool
is_small_integer(ptqc_dtype t)
{
    return is_byte(t) || t == PTQC_I4 || t == PTQC_U4;
}

bool
pq_is_integer_product(const pq_graph *g, const pq_op *op)
{
    uint32_t x = pq_value_kind(g, op->inputs[0]);
    uint32_t w = pq_value_kind(g, op->inputs[IN_W]);
    ptqc_dtype tx = pq_graph_value(g, op->inputs[0])->type.dtype;
    ptqc_dtype tw = pq_graph_value(g, op->inputs[IN_W])->type.dtype;
    ptqc_dtype ty = pq_graph_value(g, op->outputs[0])->type.dtype;
    if (x == PQ_KIND_INT || w == PQ_KIND_INT) { // no scales: raw sums
        return is_byte(tx) && is_byte(tw) && ty == PTQC_I32 &&
               ((x | w) & ~(PQ_KIND_INT | PQ_KIND_QUANT)) == 0;
    }
    return (x & (PQ_KIND_QUANT | PQ_KIND_TOKEN)) != 0 && is_byte(tx) &&
           (w & KIND_CODES) != 0 && is_small_integer(tw);
}

static bool
has_one_scale(const pq_graph *g, pq_value_id v)
{
    const pq_quant *q = pq_graph_quant(g, pq_graph_value(g, v)->quant);
    return q == NULL || q->scheme.granularity == PQ_GRAN_TENSOR ||
           (!pq_const_is_none(q->scale) &&
            pq_graph_constant(g, q->scale)->bytes == 4);
}

// The axis of the weight that is the output channel.
static uint32_t
channel_axis(const pq_graph *g, const pq_op *op)
{
    if (op->code == PQ_OP_CONV) {
        return 0;
    }
    if (op->code == PQ_OP_CONV_TRANSPOSE) {
        return 1;
    }
    uint32_t rank = pq_graph_value(g, op->inputs[IN_W])->type.rank;
    if (rank < 2) {
        return UINT32_MAX; // a vector has no output channels
    }
    return pq_op_i64(op, PQ_ATTR_TRANS_B, 0) != 0 ? rank - 2 : rank - 1;
}

bool
pq_is_group_product(const pq_graph *g, const pq_op *op)
{
    const pq_value *w = pq_graph_value(g, op->inputs[IN_W]);
    bool is_integer = pq_is_integer_product(g, op);
    bool is_static =
        is_integer && pq_value_kind(g, op->inputs[0]) != PQ_KIND_TOKEN;
    if (op->code != PQ_OP_MATMUL || is_static || pq_quant_is_none(w->quant) ||
        w->type.rank != 2 || !is_small_integer(w->type.dtype)) {
        return false;
    }
    const pq_scheme *s = &pq_graph_quant(g, w->quant)->scheme;
    bool is_nk = pq_op_i64(op, PQ_ATTR_TRANS_B, 0) != 0;
    if (s->granularity == PQ_GRAN_GROUP) {
        return is_nk && s->axis == 1 && s->group > 0;
    }
    bool is_small = w->type.dtype == PTQC_I4 || w->type.dtype == PTQC_U4;
    return (!is_integer || is_small) && (has_one_scale(g, op->inputs[IN_W]) ||
                                         (s->granularity == PQ_GRAN_CHANNEL &&
                                          s->axis == channel_axis(g, op)));
}

// ---- which types are taken ------------------------------------------------

static const char *
rule_integer_weight(pq_graph *g, const pq_op *op)
{
    const pq_value *w = pq_graph_value(g, op->inputs[IN_W]);
    if (has_one_scale(g, op->inputs[IN_W]) || pq_is_group_product(g, op)) {
        return NULL;
    }
    const pq_scheme *s = &pq_graph_quant(g, w->quant)->scheme;
    if (s->granularity != PQ_GRAN_CHANNEL) {
        return "integer activations need weight scales per tensor or channel, "
               "or (per token) per group of k of w [n, k]";
    }
    return s->axis == channel_axis(g, op)
               ? NULL
               : "weight scales are not along the output channels";
}

// Raw mode: nothing but an i32 bias goes with the sums.
static const char *
rule_raw(pq_graph *g, const pq_op *op)
{
    pq_value_id bias = pq_op_input(op, IN_BIAS);
    bool is_bias_fit = pq_value_is_none(bias) ||
                       pq_graph_value(g, bias)->type.dtype == PTQC_I32;
    bool is_bare = is_bias_fit &&
                   pq_value_is_none(pq_op_input(op, IN_RESIDUAL)) &&
                   pq_act_fused(op).code == PQ_OP_NONE &&
                   pq_value_kind(g, op->inputs[0]) != PQ_KIND_TOKEN &&
                   pq_graph_value(g, op->outputs[0])->type.dtype == PTQC_I32;
    return is_bare ? NULL : "raw accumulators are i32, without epilogue";
}

static const char *
rule_integer_output(pq_graph *g, const pq_op *op)
{
    const pq_value *y = pq_graph_value(g, op->outputs[0]);
    if (pq_value_kind(g, op->outputs[0]) != PQ_KIND_QUANT) {
        return NULL;
    }
    bool is_code =
        !pq_dtype_is_float(y->type.dtype) && pq_dtype_bits(y->type.dtype) <= 16;
    return is_code && has_one_scale(g, op->outputs[0])
               ? NULL
               : "output codes need 8 or 16 bits and one scale";
}

static const char *
rule_integer(pq_graph *g, const pq_op *op)
{
    uint32_t x = pq_value_kind(g, op->inputs[0]);
    if (x == PQ_KIND_QUANT && !has_one_scale(g, op->inputs[0])) {
        return "activations have more than one scale";
    }
    if (pq_value_kind(g, op->outputs[0]) == PQ_KIND_INT) {
        return rule_raw(g, op);
    }
    uint32_t scale = pq_value_kind(g, pq_op_input(op, IN_X_SCALE));
    if (scale != (x == PQ_KIND_TOKEN ? PQ_KIND_FLOAT : PQ_KIND_NONE)) {
        return "x_scale and per-token activations go together";
    }
    if (x == PQ_KIND_TOKEN && pq_op_i64(op, PQ_ATTR_TRANS_A, 0) != 0) {
        return "per-token activations are transposed";
    }
    pq_value_id b = pq_op_input(op, IN_BIAS);
    uint32_t bias = pq_value_kind(g, b);
    bool is_i32 =
        bias != PQ_KIND_NONE && pq_graph_value(g, b)->type.dtype == PTQC_I32;
    if (bias != PQ_KIND_NONE && bias != PQ_KIND_FLOAT &&
        (!is_i32 || x == PQ_KIND_TOKEN)) {
        return "the bias is neither f32 nor (static activations) i32";
    }
    const char *reason = rule_integer_output(g, op);
    return reason != NULL ? reason : rule_integer_weight(g, op);
}

static const char *
rule_float(pq_graph *g, const pq_op *op)
{
    uint32_t x = pq_value_kind(g, op->inputs[0]);
    uint32_t w = pq_value_kind(g, op->inputs[IN_W]);
    bool is_exact = x == w && (x == PQ_KIND_F64 || x == PQ_KIND_INT);
    if (is_exact) {
        bool is_bare =
            op->code == PQ_OP_MATMUL && pq_act_fused(op).code == PQ_OP_NONE &&
            pq_value_kind(g, pq_op_input(op, IN_BIAS)) == PQ_KIND_NONE &&
            pq_value_kind(g, pq_op_input(op, IN_RESIDUAL)) == PQ_KIND_NONE &&
            pq_value_kind(g, op->outputs[0]) == x;
        return is_bare ? NULL
                       : "f64 and integers only as a bare matrix product";
    }
    if ((x & (PQ_KIND_FLOAT | PQ_KIND_QUANT)) == 0 ||
        (w & (PQ_KIND_FLOAT | KIND_CODES)) == 0) {
        return "types of x and w do not go together";
    }
    if ((pq_value_kind(g, op->outputs[0]) & (PQ_KIND_FLOAT | PQ_KIND_QUANT)) ==
            0 ||
        !pq_value_is_none(pq_op_input(op, IN_X_SCALE))) {
        return "the output or x_scale does not go with float arithmetic";
    }
    uint32_t bias = pq_value_kind(g, pq_op_input(op, IN_BIAS));
    return (bias & (PQ_KIND_NONE | PQ_KIND_FLOAT | PQ_KIND_QUANT)) == 0
               ? "an integer bias has no scale"
               : NULL;
}

// A residual is a float tensor or codes with one scale.
static const char *
rule_residual(pq_graph *g, const pq_op *op)
{
    pq_value_id r = pq_op_input(op, IN_RESIDUAL);
    uint32_t kind = pq_value_kind(g, r);
    bool is_fit = kind == PQ_KIND_NONE || kind == PQ_KIND_FLOAT ||
                  (kind == PQ_KIND_QUANT && has_one_scale(g, r));
    return is_fit ? NULL
                  : "the residual is neither float nor codes of one "
                    "scale";
}

const char *
pq_rule_product(pq_graph *g, const pq_op *op)
{
    pq_act act = pq_act_fused(op);
    uint32_t rank = pq_graph_value(g, op->inputs[0])->type.rank;
    if (act.code != PQ_OP_NONE && !pq_act_is_f32(act.code)) {
        return "the fused op is no activation";
    }
    if (op->code != PQ_OP_MATMUL && (rank < 3 || rank > 2 + PQ_TAP_AXES)) {
        return "x has no 1 to 3 spatial axes";
    }
    const char *reason = rule_residual(g, op);
    if (reason != NULL) {
        return reason;
    }
    if (pq_value_kind(g, op->inputs[0]) == PQ_KIND_TOKEN ||
        pq_is_integer_product(g, op)) {
        return pq_is_integer_product(g, op)
                   ? rule_integer(g, op)
                   : "per-token activations need integer weights";
    }
    return rule_float(g, op);
}

// ---- set-up ---------------------------------------------------------------

static ptqc_status
init_bias(pq_eval *e, pq_epilogue *ep)
{
    if (!pq_has_in(e, IN_BIAS)) {
        return PTQC_OK;
    }
    const pq_tensor *t = &e->in[IN_BIAS];
    if (pq_tensor_count(t) != ep->channels) {
        return pq_eval_fail(
            e, PTQC_E_INPUT, "bias has %lld elements, %lld channels",
            (long long)pq_tensor_count(t), (long long)ep->channels);
    }
    if (ep->arith != PQ_ARITH_FLOAT && t->dtype == PTQC_I32) {
        ep->bias_acc = t->p;
        return PTQC_OK;
    }
    return pq_in_f32(e, IN_BIAS, &ep->bias);
}

static ptqc_status
init_residual(pq_eval *e, pq_epilogue *ep, const pq_qview *qy)
{
    if (!pq_has_in(e, IN_RESIDUAL)) {
        return PTQC_OK;
    }
    if (pq_tensor_count(&e->in[IN_RESIDUAL]) != pq_tensor_count(&e->out[0])) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "the residual's shape is not the output's");
    }
    if (ep->arith != PQ_ARITH_PLAIN) {
        return pq_in_f32(e, IN_RESIDUAL, &ep->residual);
    }
    pq_qview qr;
    PQ_TRY(pq_qview_of(e, e->op->inputs[IN_RESIDUAL], &qr));
    ep->residual_mult = qr.scale[0] / qy->scale[0];
    ep->residual_zero = qr.zero[0];
    return pq_codes_i32(e, &e->in[IN_RESIDUAL], &ep->residual_codes);
}

// Plain mode's activation is a narrower range of codes.
static void
init_range(pq_epilogue *ep, const pq_qview *qy, ptqc_dtype format)
{
    int32_t lo, hi;
    float sy = qy->scale[0];
    int32_t zy = qy->zero[0];
    pq_code_limits(format, &lo, &hi);
    float full_lo = (float)(lo - zy);
    float full_hi = (float)(hi - zy);
    ep->lo = full_lo;
    ep->hi = full_hi;
    if (ep->arith == PQ_ARITH_PLAIN && ep->act.code == PQ_OP_RELU) {
        ep->lo = full_lo > 0.0f ? full_lo : 0.0f;
    }
    if (ep->arith == PQ_ARITH_PLAIN && ep->act.code == PQ_OP_CLIP) {
        ep->lo = (float)pq_round_code(ep->act.alpha / sy, full_lo, full_hi);
        ep->hi = (float)pq_round_code(ep->act.beta / sy, full_lo, full_hi);
    }
    ep->inv_scale = 1.0f / sy;
    ep->out_zero = zy;
}

static ptqc_status
init_mult(pq_eval *e, pq_epilogue *ep, const pq_qview *qy)
{
    pq_qview qx, qw;
    PQ_TRY(pq_qview_of(e, e->op->inputs[0], &qx));
    PQ_TRY(pq_qview_of(e, e->op->inputs[IN_W], &qw));
    bool is_dynamic = qx.scale == NULL;
    if (is_dynamic) {
        PQ_TRY(pq_in_f32(e, IN_X_SCALE, &ep->row_scale));
    }
    if (pq_is_group_product(e->g, e->op)) {
        return PTQC_OK; // the sums have their scales
    }
    float *mult = pq_scratch(e, ep->channels, sizeof *mult);
    PQ_TRY_ALLOC(mult);
    if (qw.count != 1 && ep->channels % qw.count != 0) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "%lld weight scales, %lld "
                            "channels",
                            (long long)qw.count, (long long)ep->channels);
    }
    for (int64_t c = 0; c < ep->channels; c++) {
        // Grouped transposed convolutions share scales between groups.
        float sw = qw.scale[c % qw.count];
        mult[c] = is_dynamic ? sw : qx.scale[0] * sw;
        if (ep->arith == PQ_ARITH_PLAIN) {
            mult[c] = mult[c] / qy->scale[0];
        }
    }
    ep->mult = mult;
    return PTQC_OK;
}

static pq_arith
arith_of(const pq_eval *e, const pq_act *act)
{
    const pq_op *op = e->op;
    if (!pq_is_integer_product(e->g, op)) {
        return PQ_ARITH_FLOAT;
    }
    uint32_t out = pq_value_kind(e->g, op->outputs[0]);
    if (out == PQ_KIND_INT) {
        return PQ_ARITH_RAW;
    }
    bool is_range = act->code == PQ_OP_NONE || act->code == PQ_OP_RELU ||
                    act->code == PQ_OP_CLIP;
    bool is_i32_bias =
        !pq_has_in(e, IN_BIAS) || e->in[IN_BIAS].dtype == PTQC_I32;
    uint32_t residual = pq_value_kind(e->g, pq_op_input(op, IN_RESIDUAL));
    bool is_static = pq_value_kind(e->g, op->inputs[0]) != PQ_KIND_TOKEN;
    return out == PQ_KIND_QUANT && is_static && is_range && is_i32_bias &&
                   (residual & (PQ_KIND_NONE | PQ_KIND_QUANT)) != 0
               ? PQ_ARITH_PLAIN
               : PQ_ARITH_REAL;
}

ptqc_status
pq_epilogue_init(pq_eval *e, int64_t channels, int64_t max_span,
                 pq_epilogue *out)
{
    pq_act act = pq_act_fused(e->op);
    *out = (pq_epilogue){.e = e, .act = act, .channels = channels};
    out->arith = arith_of(e, &act);
    pq_qview qy;
    PQ_TRY(pq_qview_of(e, e->op->outputs[0], &qy));
    out->v = pq_scratch(e, max_span, sizeof *out->v);
    PQ_TRY_ALLOC(out->v);
    out->codes = pq_scratch(e, max_span, sizeof *out->codes);
    PQ_TRY_ALLOC(out->codes);
    PQ_TRY(init_bias(e, out));
    if (out->arith == PQ_ARITH_RAW) {
        return PTQC_OK;
    }
    PQ_TRY(init_residual(e, out, &qy));
    if (out->arith != PQ_ARITH_FLOAT) {
        PQ_TRY(init_mult(e, out, &qy));
        if (qy.is_on) {
            out->is_out_quantized = true;
            init_range(out, &qy, e->out[0].dtype);
            return PTQC_OK;
        }
    }
    return pq_out_f32(e, 0, &out->out_f32);
}

// ---- running --------------------------------------------------------------

static int32_t
acc_at(const pq_epilogue *ep, const pq_span *s, int64_t i)
{
    uint32_t acc = (uint32_t)s->acc_i32[i * s->stride];
    if (ep->bias_acc != NULL) {
        acc += (uint32_t)ep->bias_acc[s->channel + i * s->channel_step];
    }
    return (int32_t)acc;
}

static void
run_plain(pq_epilogue *ep, const pq_span *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        float t = (float)acc_at(ep, s, i) *
                  ep->mult[s->channel + i * s->channel_step];
        if (ep->residual_codes != NULL) {
            int32_t r = ep->residual_codes[s->out + i] - ep->residual_zero;
            t = fmaf((float)r, ep->residual_mult, t);
        }
        ep->codes[i] = pq_round_code(t, ep->lo, ep->hi) + ep->out_zero;
    }
    pq_store_codes(&ep->e->out[0], s->out, ep->codes, s->n);
}

static void
run_raw(pq_epilogue *ep, const pq_span *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        ep->codes[i] = acc_at(ep, s, i);
    }
    pq_store_codes(&ep->e->out[0], s->out, ep->codes, s->n);
}

static void
run_real(pq_epilogue *ep, const pq_span *s)
{
    float *v = ep->v;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t c = s->channel + i * s->channel_step;
        if (ep->mult == NULL) {
            v[i] = s->acc_f32[i * s->stride];
        } else {
            v[i] = (float)acc_at(ep, s, i) * ep->mult[c];
        }
        if (ep->row_scale != NULL) {
            v[i] *= ep->row_scale[s->row];
        }
        if (ep->bias != NULL) {
            v[i] += ep->bias[c];
        }
        if (ep->residual != NULL) {
            v[i] += ep->residual[s->out + i];
        }
    }
    float *to = ep->out_f32 != NULL ? ep->out_f32 + s->out : v;
    if (ep->act.code != PQ_OP_NONE) {
        pq_act_row(&ep->act, v, v, s->n);
    }
    if (!ep->is_out_quantized) {
        for (int64_t i = 0; i < s->n; i++) {
            to[i] = v[i];
        }
        return;
    }
    for (int64_t i = 0; i < s->n; i++) {
        ep->codes[i] =
            pq_round_code(v[i] * ep->inv_scale, ep->lo, ep->hi) + ep->out_zero;
    }
    pq_store_codes(&ep->e->out[0], s->out, ep->codes, s->n);
}

void
pq_epilogue_run(pq_epilogue *ep, const pq_span *s)
{
    switch (ep->arith) {
    case PQ_ARITH_PLAIN:
        run_plain(ep, s);
        break;
    case PQ_ARITH_RAW:
        run_raw(ep, s);
        break;
    case PQ_ARITH_FLOAT:
    case PQ_ARITH_REAL:
        run_real(ep, s);
        break;
    }
}

ptqc_status
pq_epilogue_end(pq_epilogue *ep)
{
    return ep->out_f32 != NULL ? pq_end_f32(ep->e, 0, ep->out_f32) : PTQC_OK;
}
