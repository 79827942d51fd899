// SPDX-License-Identifier: Apache-2.0
//
// Epilogues of conv and matmul: which arithmetic, multipliers, bounds.
#include "lower_epilogue.h"

#include <math.h>
#include <string.h>

#include "lower_expr.h"

// ---- activations -----------------------------------------------------------

typedef struct act_name {
    const char *name;
    pq_act act;
} act_name;

static const act_name ACTS[] = {
    {"identity", PQ_ACT_NONE},
    {"relu", PQ_ACT_RELU},
    {"clip", PQ_ACT_CLIP},
    {"leaky_relu", PQ_ACT_LEAKY_RELU},
    {"hardsigmoid", PQ_ACT_HARDSIGMOID},
    {"hardswish", PQ_ACT_HARDSWISH},
    {"sigmoid", PQ_ACT_SIGMOID},
    {"tanh", PQ_ACT_TANH},
    {"gelu", PQ_ACT_GELU},
    {"gelu_tanh", PQ_ACT_GELU_TANH},
    {"silu", PQ_ACT_SILU},
    {"elu", PQ_ACT_ELU},
};

static void
read_act(pq_lower *l, pq_lower_epilogue *e)
{
    pq_act_attr act = pq_fused_act(l);
    e->ep.act = PQ_ACT_NONE;
    if (act.name.n == 0) {
        return;
    }
    for (size_t i = 0; i < sizeof ACTS / sizeof ACTS[0]; i++) {
        if (strlen(ACTS[i].name) == act.name.n &&
            memcmp(ACTS[i].name, act.name.p, act.name.n) == 0) {
            e->ep.act = ACTS[i].act;
            pq_act_defaults(&act, &e->args.alpha, &e->args.beta);
            return;
        }
    }
    pq_decline(l, "fused activation %.*s",
               act.name.n < 32 ? (int)act.name.n : 32, act.name.p);
}

// ---- quantization of x and w -----------------------------------------------

static bool
has_granularity(const pq_lower *l, const ptqc_gb_value *v, uint32_t gran)
{
    return v->quant != PTQC_GB_NONE &&
           ptqc_gb_quant_at(l->g, v->quant)->granularity == gran;
}

// Scales of w, one per channel, times `factor`, in an array of the arena.
static float *
channel_scales(pq_lower *l, const ptqc_gb_value *w, int64_t channels,
               uint32_t axis, float factor)
{
    const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, w->quant);
    int64_t count;
    const float *scales = pq_quant_scales(l, q, &count);
    bool one = q->granularity == PTQC_GRAN_TENSOR || count == 1;
    bool per_channel = q->granularity == PTQC_GRAN_CHANNEL && q->axis == axis &&
                       count == channels;
    if (scales == NULL || count < 1 || !(one || per_channel)) {
        pq_decline(l, "weights need one scale or one per output channel");
        return NULL;
    }
    float *out = pq_mem_array(l->mem, (size_t)channels, sizeof *out);
    if (out == NULL) {
        pq_lower_no_memory(l);
        return NULL;
    }
    for (int64_t i = 0; i < channels; i++) {
        out[i] = factor * scales[one ? 0 : i];
    }
    return out;
}

static bool
zeros_are(pq_lower *l, const ptqc_gb_value *w, int32_t expected)
{
    const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, w->quant);
    int64_t count;
    const int32_t *zeros = pq_quant_zeros(l, q, &count);
    for (int64_t i = 0; i < count; i++) {
        if (zeros[i] != expected) {
            return false;
        }
    }
    return zeros != NULL || expected == 0;
}

const int8_t *
pq_lower_weight_s8(pq_lower *l, const ptqc_gb_value *w)
{
    int64_t count;
    const uint8_t *codes = pq_gv_constant(l, w, &count);
    bool is_signed = w->dtype == PTQC_I8;
    if (codes == NULL) {
        return NULL;
    }
    if (!is_signed && w->dtype != PTQC_U8) {
        pq_decline(l, "weights have to be 8-bit codes");
        return NULL;
    }
    if (is_signed || l->dry) {
        return (const int8_t *)codes;
    }
    uint8_t *copy = pq_mem_array(&l->scratch, (size_t)count, 1);
    if (copy == NULL) {
        pq_lower_no_memory(l);
        return NULL;
    }
    for (int64_t i = 0; i < count; i++) {
        copy[i] = codes[i] ^ 0x80;
    }
    return (const int8_t *)copy;
}

// ---- parts -----------------------------------------------------------------

static void
read_bias(pq_lower *l, int64_t channels, pq_lower_epilogue *e)
{
    const ptqc_gb_value *b = pq_in(l, 2);
    if (b == NULL || !pq_lower_ok(l)) {
        return;
    }
    int64_t count;
    const void *p = pq_gv_constant(l, b, &count);
    if (p == NULL) {
        return;
    }
    if (count != channels || ((uintptr_t)p & 3) != 0) {
        pq_decline(l, "bias of %lld elements for %lld channels",
                   (long long)count, (long long)channels);
    } else if (b->dtype == PTQC_I32 && e->is_integer) {
        e->bias_acc = p;
    } else if (b->dtype == PTQC_F32 && !pq_gv_is_quantized(l, b)) {
        e->bias = p;
        e->ep.flags |= PQ_EPI_BIAS;
    } else {
        pq_decline(l, "bias type");
    }
}

// Residual operand: f32, or codes.
static void
read_residual(pq_lower *l, pq_lower_epilogue *e, pq_codes *q)
{
    const ptqc_gb_value *r = pq_in(l, 3);
    e->ep.residual = PQ_ELEM_NONE;
    if (r == NULL || !pq_lower_ok(l)) {
        return;
    }
    if (!pq_same_shape(l, r, pq_out(l, 0))) {
        pq_decline(l, "shape of the residual");
    } else if (pq_gv_codes(l, r, q)) {
        e->ep.residual = PQ_ELEM_U8;
    } else if (r->dtype == PTQC_F32) {
        e->ep.residual = PQ_ELEM_F32;
    } else {
        pq_decline(l, "type of the residual");
    }
    e->args.residual_zero = q->zero;
    e->args.residual_scale = q->scale;
}

// Code of a bound in steps above the zero point, within the codes' range.
static float
bound_steps(float bound, float scale, float low, float high)
{
    float t = bound / scale;
    t = t > low ? t : low;
    t = t < high ? t : high;
    return nearbyintf(t);
}

static void
set_bounds(pq_lower_epilogue *e, const pq_codes *y)
{
    float lo = (float)(y->low - y->zero);
    float hi = (float)(y->high - y->zero);
    if (e->ep.kind == PQ_EPI_INTEGER && e->ep.act == PQ_ACT_RELU) {
        lo = lo > 0.0f ? lo : 0.0f;
        e->ep.act = PQ_ACT_NONE;
    } else if (e->ep.kind == PQ_EPI_INTEGER && e->ep.act == PQ_ACT_CLIP) {
        float a = bound_steps(e->args.alpha, y->scale, lo, hi);
        float b = bound_steps(e->args.beta, y->scale, lo, hi);
        lo = a;
        hi = b;
        e->ep.act = PQ_ACT_NONE;
    }
    e->args.lo = lo;
    e->args.hi = hi;
    e->args.out_zero = y->zero;
    e->args.inv_scale = 1.0f / y->scale;
}

// The code in the middle: what is subtracted when codes are stored as s8.
static int32_t
middle_code(const ptqc_gb_value *w)
{
    return w->dtype == PTQC_U8 ? 128 : w->dtype == PTQC_U4 ? 8 : 0;
}

// Zero points of the weights less the middle code, one per channel; NULL when
// all are that, or after a refusal.
static int32_t *
channel_zeros(pq_lower *l, const ptqc_gb_value *w, int64_t channels)
{
    int32_t middle = middle_code(w);
    int64_t count;
    if (!pq_lower_ok(l) || zeros_are(l, w, middle)) {
        return NULL;
    }
    const int32_t *zeros =
        pq_quant_zeros(l, ptqc_gb_quant_at(l->g, w->quant), &count);
    if (zeros != NULL && count != 1 && count != channels) {
        pq_decline(l, "zero points of the weights");
        return NULL;
    }
    int32_t *out = pq_mem_array(l->mem, (size_t)channels, sizeof *out);
    if (out == NULL) {
        pq_lower_no_memory(l);
        return NULL;
    }
    for (int64_t c = 0; c < channels; c++) {
        int32_t z = zeros == NULL ? 0 : zeros[count == 1 ? 0 : c];
        out[c] = (int32_t)((uint32_t)z - (uint32_t)middle);
    }
    return out;
}

// Zero points of the weights, and their share of the accumulators' start.
static void
read_weight_zeros(pq_lower *l, const ptqc_gb_value *w, int64_t channels,
                  pq_lower_epilogue *e)
{
    int64_t elements;
    const int32_t *zeros = channel_zeros(l, w, channels);
    if (zeros == NULL || pq_gv_constant(l, w, &elements) == NULL) {
        return;
    }
    int32_t *start = pq_mem_array(l->mem, (size_t)channels, sizeof *start);
    if (start == NULL) {
        pq_lower_no_memory(l);
        return;
    }
    uint32_t k_times_x = (uint32_t)(elements / channels) * (uint32_t)e->x_zero;
    for (int64_t c = 0; c < channels; c++) {
        uint32_t bias = e->bias_acc == NULL ? 0 : (uint32_t)e->bias_acc[c];
        start[c] = (int32_t)(bias + k_times_x * (uint32_t)zeros[c]);
    }
    e->weight_zero = zeros;
    e->bias_acc = start;
    e->ep.flags |= PQ_EPI_WEIGHT_ZERO;
}

void
pq_lower_weight_scales(pq_lower *l, int64_t channels, uint32_t channel_axis,
                       pq_lower_epilogue *e)
{
    const ptqc_gb_value *w = pq_in(l, 1);
    if (pq_lower_ok(l)) {
        e->mult = channel_scales(l, w, channels, channel_axis, 1.0f);
        e->weight_zero = channel_zeros(l, w, channels);
    }
}

// Rows of the last axis, each starting on a byte, to one s8 per code.
static const int8_t *
spread_nibbles(pq_lower *l, const ptqc_gb_value *w, const uint8_t *codes)
{
    int64_t row = 1, count = 1;
    for (uint32_t i = 0; i < w->rank; i++) {
        if (!pq_gv_dim_const(l, w, i, &row)) {
            pq_decline(l, "size of the weights");
            return NULL;
        }
        count *= row; // as many as the constant was found to have
    }
    int8_t *out = pq_mem_array(&l->scratch, (size_t)count, 1);
    if (out == NULL) {
        pq_lower_no_memory(l);
        return NULL;
    }
    int64_t row_bytes = (row + 1) / 2;
    for (int64_t i = 0; i < count && !l->dry; i++) {
        int64_t at = i / row * row_bytes + i % row / 2;
        int code = codes[at] >> (i % row % 2 * 4) & 15;
        bool is_low = w->dtype == PTQC_I4 && code >= 8;
        out[i] = (int8_t)(code - (is_low ? 16 : middle_code(w)));
    }
    return out;
}

const int8_t *
pq_lower_weight_codes(pq_lower *l, const ptqc_gb_value *w)
{
    if (w->dtype != PTQC_I4 && w->dtype != PTQC_U4) {
        return pq_lower_weight_s8(l, w);
    }
    int64_t count;
    const uint8_t *codes = pq_gv_constant(l, w, &count);
    return codes == NULL ? NULL : spread_nibbles(l, w, codes);
}

static void
read_integer(pq_lower *l, int64_t channels, uint32_t axis, pq_lower_epilogue *e)
{
    const ptqc_gb_value *x = pq_in(l, 0), *w = pq_in(l, 1);
    pq_codes qx = {1.0f, l->device->keeps_s8 ? 0 : 128, 0, 255};
    pq_codes qy = {0}, qr = {0};
    if (!e->is_dynamic) {
        pq_gv_codes(l, x, &qx);
    } else if (x->dtype != PTQC_I8) {
        pq_decline(l, "dynamic codes have to be i8");
    }
    e->x_zero = qx.zero;
    bool out_codes = pq_gv_codes(l, pq_out(l, 0), &qy);
    read_bias(l, channels, e);
    read_residual(l, e, &qr);
    uint32_t act = e->ep.act;
    bool plain =
        out_codes && !e->is_dynamic && e->bias == NULL &&
        e->ep.residual != PQ_ELEM_F32 &&
        (act == PQ_ACT_NONE || act == PQ_ACT_RELU || act == PQ_ACT_CLIP);
    e->ep.kind = plain ? PQ_EPI_INTEGER : PQ_EPI_REAL;
    e->ep.out = out_codes ? PQ_ELEM_U8 : PQ_ELEM_F32;
    e->ep.flags |= e->is_dynamic ? PQ_EPI_ROW_SCALE : 0;
    if (!pq_lower_ok(l)) {
        return;
    }
    float *mult = channel_scales(l, w, channels, axis, qx.scale);
    read_weight_zeros(l, w, channels, e);
    for (int64_t i = 0; plain && mult != NULL && i < channels; i++) {
        mult[i] = mult[i] / qy.scale;
    }
    e->mult = mult;
    if (plain) {
        e->args.residual_scale = e->args.residual_scale / qy.scale;
    }
    if (out_codes) {
        set_bounds(e, &qy);
    } else if (pq_out(l, 0)->dtype == PTQC_I32) {
        pq_decline(l, "accumulators as output");
    } else {
        e->is_real_out = pq_out(l, 0)->dtype != PTQC_F32;
    }
}

static void
read_float(pq_lower *l, int64_t channels, pq_lower_epilogue *e)
{
    pq_codes qr = {0};
    e->ep.kind = PQ_EPI_FLOAT;
    e->ep.out = PQ_ELEM_F32;
    read_bias(l, channels, e);
    read_residual(l, e, &qr);
    const ptqc_gb_value *y = pq_out(l, 0);
    e->is_real_out = y->dtype != PTQC_F32 || pq_gv_is_quantized(l, y);
}

void
pq_lower_epilogue_read(pq_lower *l, int64_t channels, uint32_t channel_axis,
                       pq_lower_epilogue *out)
{
    memset(out, 0, sizeof *out);
    const ptqc_gb_value *x = pq_in(l, 0), *w = pq_in(l, 1);
    if (!pq_lower_ok(l) || x == NULL || w == NULL) {
        pq_decline(l, "operand is absent");
        return;
    }
    out->out = pq_out_index(l, 0);
    out->residual = pq_in_index(l, 3);
    out->is_dynamic = has_granularity(l, x, PTQC_GRAN_TOKEN);
    bool are_codes = pq_gv_is_quantized(l, x) && pq_gv_is_quantized(l, w);
    out->is_grouped = are_codes && out->is_dynamic &&
                      (has_granularity(l, w, PTQC_GRAN_GROUP) ||
                       w->dtype == PTQC_I4 || w->dtype == PTQC_U4);
    out->is_integer = are_codes && !out->is_grouped;
    read_act(l, out);
    if (out->is_integer) {
        read_integer(l, channels, channel_axis, out);
    } else if (out->is_dynamic && !out->is_grouped) {
        pq_decline(l, "dynamic codes times float weights");
    } else {
        read_float(l, channels, out);
    }
    if (pq_lower_ok(l) && !pq_epilogue_is_valid(&out->ep)) {
        pq_decline(l, "combination of residual, activation and output");
    }
}

// ---- gates -----------------------------------------------------------------

static bool
is_plain_f32(const pq_lower *l, uint32_t gv)
{
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    return v->dtype == PTQC_F32 && !pq_gv_is_quantized(l, v);
}

// The value that node multiplies `gv` with, of the same shape and made before;
// PTQC_GB_NONE when it is no such product.
static uint32_t
gate_of(const pq_lower *l, uint32_t node, uint32_t gv)
{
    const ptqc_gb_node *n = ptqc_gb_node_at(l->g, node);
    if (l->fused[node] || n->input_count != 2 ||
        !ptqc_gb_text_is(l->g, n->op, "mul") ||
        ptqc_gb_find_attr(l->g, n, "act") != NULL) {
        return PTQC_GB_NONE;
    }
    uint32_t a = ptqc_gb_input(l->g, n, 0), b = ptqc_gb_input(l->g, n, 1);
    uint32_t other = a == gv ? b : a, out = ptqc_gb_output(l->g, n, 0);
    if (other == PTQC_GB_NONE || out == PTQC_GB_NONE ||
        l->values[other].form_count == 0 || !is_plain_f32(l, other) ||
        !is_plain_f32(l, out) ||
        !pq_same_shape(l, ptqc_gb_value_at(l->g, gv),
                       ptqc_gb_value_at(l->g, other))) {
        return PTQC_GB_NONE;
    }
    return other;
}

void
pq_lower_epilogue_gate(pq_lower *l, pq_lower_epilogue *e)
{
    const pq_lower_value *s = &l->values[e->out];
    if (!pq_lower_ok(l) || e->ep.out != PQ_ELEM_F32 || e->is_real_out ||
        e->ep.residual != PQ_ELEM_NONE || s->use_count != 1 || s->is_output) {
        return;
    }
    uint32_t gate = gate_of(l, s->consumer, e->out);
    if (gate == PTQC_GB_NONE) {
        return;
    }
    l->made[s->consumer] = 1;
    e->out = ptqc_gb_output(l->g, ptqc_gb_node_at(l->g, s->consumer), 0);
    e->residual = gate;
    e->ep.residual = PQ_ELEM_F32;
    e->ep.flags |= PQ_EPI_GATE;
}

// ---- output ----------------------------------------------------------------

pq_ref
pq_lower_epilogue_define(pq_lower *l, const pq_lower_epilogue *e,
                         const uint8_t *perm)
{
    return e->is_real_out ? pq_define_real(l, e->out, perm)
                          : pq_define(l, e->out, perm);
}

void
pq_lower_epilogue_end(pq_lower *l, const pq_lower_epilogue *e,
                      const pq_ref *ref)
{
    if (e->is_real_out) {
        pq_end_real(l, e->out, ref);
    }
}

void
pq_step_epilogue(pq_lower *l, const pq_lower_epilogue *e)
{
    pq_step_i64(l, e->ep.kind);
    pq_step_i64(l, e->ep.act);
    pq_step_i64(l, e->ep.residual);
    pq_step_i64(l, e->ep.out);
    pq_step_i64(l, e->ep.flags);
    pq_step_f32(l, e->args.lo);
    pq_step_f32(l, e->args.hi);
    pq_step_f32(l, e->args.inv_scale);
    pq_step_f32(l, e->args.scale);
    pq_step_f32(l, e->args.residual_scale);
    pq_step_f32(l, e->args.alpha);
    pq_step_f32(l, e->args.beta);
    pq_step_i64(l, e->args.out_zero);
    pq_step_i64(l, e->args.residual_zero);
}
