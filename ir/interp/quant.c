// SPDX-License-Identifier: Apache-2.0
//
// Codes and numbers: which parameters an element has, dequantization,
// quantization (docs/numerics.md section 6).
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mathfn.h"
#include "ir/interp/eval.h"

static ptqc_status
copy_constant(pq_eval *e, pq_const_id id, const void **out, int64_t *out_count)
{
    const pq_constant *c = pq_graph_constant(e->g, id);
    int64_t n = (int64_t)(c->bytes / 4);
    void *p = pq_scratch(e, n, 4);
    PQ_TRY_ALLOC(p);
    memcpy(p, c->p, (size_t)n * 4);
    *out = p;
    *out_count = n;
    return PTQC_OK;
}

bool
pq_is_code_format(ptqc_dtype t)
{
    unsigned bits = pq_dtype_bits(t);
    return t == PTQC_I32 || bits == 4 || (bits == 8 && t != PTQC_BOOL) ||
           (bits == 16 && !pq_dtype_is_float(t));
}

ptqc_status
pq_qview_of(pq_eval *e, pq_value_id v, pq_qview *out)
{
    *out = (pq_qview){0};
    const pq_value *value = pq_graph_value(e->g, v);
    const pq_quant *q =
        value != NULL ? pq_graph_quant(e->g, value->quant) : NULL;
    if (q == NULL || value->type.dtype != q->scheme.format ||
        !pq_is_code_format(q->scheme.format)) {
        return PTQC_OK;
    }
    out->scheme = q->scheme;
    out->is_on = true;
    if (pq_const_is_none(q->scale)) {
        return PTQC_OK;
    }
    const void *p;
    PQ_TRY(copy_constant(e, q->scale, &p, &out->count));
    out->scale = p;
    int64_t zeros = 0;
    if (!pq_const_is_none(q->zero_point)) {
        PQ_TRY(copy_constant(e, q->zero_point, &p, &zeros));
    } else {
        p = pq_scratch(e, out->count, 4);
        PQ_TRY_ALLOC(p);
        zeros = out->count;
    }
    out->zero = p;
    if (zeros != out->count || zeros == 0) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "scales and zero points differ in number (%lld, "
                            "%lld)",
                            (long long)out->count, (long long)zeros);
    }
    return PTQC_OK;
}

static bool
same_params(const pq_qview *a, const pq_qview *b)
{
    return a->scheme.format == b->scheme.format &&
           a->scheme.granularity == b->scheme.granularity &&
           a->scheme.axis == b->scheme.axis &&
           a->scheme.group == b->scheme.group && a->count == b->count &&
           a->scale != NULL && b->scale != NULL &&
           memcmp(a->scale, b->scale, (size_t)a->count * 4) == 0 &&
           memcmp(a->zero, b->zero, (size_t)a->count * 4) == 0;
}

ptqc_status
pq_same_codes(pq_eval *e, pq_value_id a, pq_value_id b, bool *out)
{
    const pq_value *va = pq_graph_value(e->g, a);
    const pq_value *vb = pq_graph_value(e->g, b);
    *out = false;
    if (va->type.dtype != vb->type.dtype) {
        return PTQC_OK;
    }
    pq_qview qa, qb;
    PQ_TRY(pq_qview_of(e, a, &qa));
    PQ_TRY(pq_qview_of(e, b, &qb));
    *out = (!qa.is_on && !qb.is_on) ||
           (qa.is_on && qb.is_on &&
            (pq_quant_equal(va->quant, vb->quant) || same_params(&qa, &qb)));
    return PTQC_OK;
}

#define WIDEN(type)                                                            \
    do {                                                                       \
        const type *p = t->p;                                                  \
        for (int64_t i = 0; i < n; i++) {                                      \
            to[i] = (int32_t)p[i];                                             \
        }                                                                      \
    } while (0)

// Rows of 4-bit codes start on a byte, first element in the low bits.
static void
unpack_nibbles(const pq_tensor *t, bool is_signed, int32_t *to)
{
    int64_t row = t->rank > 0 ? t->dims[t->rank - 1] : 1;
    int64_t n = pq_tensor_count(t);
    int64_t row_bytes = (row + 1) / 2;
    const uint8_t *p = t->p;
    for (int64_t i = 0; i < n; i++) {
        int64_t j = i % row;
        unsigned byte = p[i / row * row_bytes + j / 2];
        int32_t code = (int32_t)((byte >> (j % 2 * 4)) & 15u);
        to[i] = is_signed && code > 7 ? code - 16 : code;
    }
}

ptqc_status
pq_codes_i32(pq_eval *e, const pq_tensor *t, const int32_t **out)
{
    int64_t n = pq_tensor_count(t);
    if (t->dtype == PTQC_I32) {
        *out = t->p;
        return PTQC_OK;
    }
    int32_t *to = pq_scratch(e, n, sizeof *to);
    PQ_TRY_ALLOC(to);
    switch ((int)t->dtype) {
    case PTQC_I8:
        WIDEN(int8_t);
        break;
    case PTQC_U8:
        WIDEN(uint8_t);
        break;
    case PTQC_I16:
        WIDEN(int16_t);
        break;
    case PTQC_U16:
        WIDEN(uint16_t);
        break;
    case PTQC_U32:
        WIDEN(uint32_t);
        break;
    case PTQC_I64:
        WIDEN(int64_t);
        break;
    case PTQC_I4:
    case PTQC_U4:
        unpack_nibbles(t, t->dtype == PTQC_I4, to);
        break;
    default:
        return pq_eval_fail(e, PTQC_E_UNSUPPORTED, "%s are no integer codes",
                            pq_dtype_name(t->dtype));
    }
    *out = to;
    return PTQC_OK;
}

// Parameter of element `first` and how many elements from there share it.
static int64_t
param_span(const pq_qview *q, const pq_tensor *t, int64_t first,
           int64_t *out_span)
{
    uint32_t a = q->scheme.axis;
    if (q->count == 1 || a >= t->rank) {
        *out_span = pq_tensor_count(t) - first;
        return 0;
    }
    int64_t inner = pq_size_product(t->dims, a + 1, t->rank);
    int64_t ia = first / inner % t->dims[a];
    *out_span = inner - first % inner;
    if (q->scheme.granularity != PQ_GRAN_GROUP) {
        return ia < q->count ? ia : q->count - 1;
    }
    int64_t group = q->scheme.group > 0 ? (int64_t)q->scheme.group : 1;
    int64_t groups = (t->dims[a] + group - 1) / group;
    int64_t i0 = first / pq_size_product(t->dims, 1, t->rank);
    if (inner == 1) {
        int64_t left = group - ia % group;
        *out_span = left < t->dims[a] - ia ? left : t->dims[a] - ia;
    }
    int64_t param = (a == 0 ? 0 : i0 * groups) + ia / group;
    return param < q->count ? param : q->count - 1;
}

// Number of parameters the shape asks for.
static int64_t
param_count(const pq_qview *q, const pq_tensor *t)
{
    uint32_t a = q->scheme.axis;
    if (q->scheme.granularity == PQ_GRAN_TENSOR || a >= t->rank) {
        return 1;
    }
    if (q->scheme.granularity != PQ_GRAN_GROUP) {
        return t->dims[a];
    }
    int64_t group = q->scheme.group > 0 ? (int64_t)q->scheme.group : 1;
    return (a == 0 ? 1 : t->dims[0]) * ((t->dims[a] + group - 1) / group);
}

void
pq_code_limits(ptqc_dtype format, int32_t *out_lo, int32_t *out_hi)
{
    unsigned bits = pq_dtype_bits(format);
    if (pq_dtype_is_signed(format)) {
        *out_hi = (int32_t)((UINT32_C(1) << (bits - 1)) - 1);
        *out_lo = -*out_hi - 1;
    } else {
        *out_lo = 0;
        *out_hi = bits >= 31 ? INT32_MAX : (int32_t)((1 << bits) - 1);
    }
}

static ptqc_status
check_params(pq_eval *e, const pq_qview *q, const pq_tensor *t)
{
    if (q->scale == NULL) {
        return pq_eval_fail(e, PTQC_E_UNSUPPORTED,
                            "codes have no constant scale");
    }
    if (q->count != 1 && q->count != param_count(q, t)) {
        return pq_eval_fail(e, PTQC_E_INPUT, "%lld scales found, %lld expected",
                            (long long)q->count, (long long)param_count(q, t));
    }
    int32_t lo, hi;
    pq_code_limits(t->dtype, &lo, &hi);
    bool is_small =
        pq_dtype_bits(t->dtype) <= 16 && !pq_dtype_is_float(t->dtype);
    for (int64_t i = 0; is_small && i < q->count; i++) {
        if (q->zero[i] < lo || q->zero[i] > hi) {
            return pq_eval_fail(e, PTQC_E_INPUT,
                                "zero point %d is no code of %s (%d to %d)",
                                q->zero[i], pq_dtype_name(t->dtype), lo, hi);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_dequantize_all(pq_eval *e, const pq_tensor *t, const pq_qview *q, float *out)
{
    PQ_TRY(check_params(e, q, t));
    int64_t n = pq_tensor_count(t);
    bool is_float = pq_dtype_is_float(t->dtype);
    const int32_t *codes = NULL;
    if (is_float) {
        pq_load_f32s(t, out);
    } else {
        PQ_TRY(pq_codes_i32(e, t, &codes));
    }
    for (int64_t first = 0; first < n;) {
        int64_t span;
        int64_t param = param_span(q, t, first, &span);
        float s = q->scale[param];
        int32_t z = q->zero[param];
        for (int64_t i = first; i < first + span; i++) {
            // The difference of 32-bit codes may need 33 bits.
            out[i] = is_float ? out[i] * s : (float)((int64_t)codes[i] - z) * s;
        }
        first += span;
    }
    return PTQC_OK;
}

static int32_t
code_of(float v, float s, int32_t z, ptqc_dtype format)
{
    int32_t lo, hi;
    pq_code_limits(format, &lo, &hi);
    if (pq_dtype_bits(format) <= 16) {
        float t = v / s;
        return pq_round_code(t, (float)(lo - z), (float)(hi - z)) + z;
    }
    double t = rint((double)(v / s)) + (double)z;
    t = t > (double)lo ? t : (double)lo; // NaN to lo
    return t < (double)hi ? (int32_t)t : hi;
}

int32_t
pq_quantize_one(float v, const pq_qview *q, ptqc_dtype format)
{
    return code_of(v, q->scale[0], q->zero[0], format);
}

#define NARROW(type)                                                           \
    do {                                                                       \
        type *p = (type *)t->p + first;                                        \
        for (int64_t i = 0; i < n; i++) {                                      \
            p[i] = (type)codes[i];                                             \
        }                                                                      \
    } while (0)

void
pq_store_codes(pq_tensor *t, int64_t first, const int32_t *codes, int64_t n)
{
    switch (pq_dtype_bits(t->dtype)) {
    case 8:
        NARROW(uint8_t);
        break;
    case 16:
        NARROW(uint16_t);
        break;
    case 32:
        NARROW(int32_t);
        break;
    default:
        break; // 4-bit outputs are declined
    }
}

// f8: the code is itself a number, x / s rounded.
static ptqc_status
quantize_float(pq_eval *e, const float *x, const pq_qview *q, pq_tensor *t)
{
    int64_t n = pq_tensor_count(t);
    float *v = pq_scratch(e, n, sizeof *v);
    PQ_TRY_ALLOC(v);
    for (int64_t i = 0; i < n;) {
        int64_t span;
        float s = q->scale[param_span(q, t, i, &span)];
        for (int64_t end = i + span; i < end; i++) {
            v[i] = x[i] / s;
        }
    }
    pq_store_f32s(t, v);
    return PTQC_OK;
}

ptqc_status
pq_quantize_all(pq_eval *e, const float *x, const pq_qview *q, pq_tensor *t)
{
    PQ_TRY(check_params(e, q, t));
    if (pq_dtype_is_float(t->dtype)) {
        return quantize_float(e, x, q, t);
    }
    int64_t n = pq_tensor_count(t);
    for (int64_t i = 0; i < n;) {
        int64_t span;
        int64_t param = param_span(q, t, i, &span);
        for (int64_t end = i + span; i < end; i++) {
            int32_t code =
                code_of(x[i], q->scale[param], q->zero[param], t->dtype);
            pq_store_codes(t, i, &code, 1);
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_centered_i16(pq_eval *e, uint32_t i, const int16_t **out)
{
    const pq_tensor *t = &e->in[i];
    int64_t n = pq_tensor_count(t);
    pq_qview q;
    const int32_t *codes;
    PQ_TRY(pq_qview_of(e, e->op->inputs[i], &q));
    PQ_TRY(pq_codes_i32(e, t, &codes));
    int16_t *to = pq_scratch(e, n, sizeof *to);
    PQ_TRY_ALLOC(to);
    if (q.scale != NULL) {
        PQ_TRY(check_params(e, &q, t));
    }
    for (int64_t at = 0; at < n;) {
        int64_t span = n;
        int32_t z = 0; // also of per-token codes
        if (q.scale != NULL) {
            z = q.zero[param_span(&q, t, at, &span)];
        }
        for (int64_t end = at + span; at < end; at++) {
            to[at] = (int16_t)(codes[at] - z);
        }
    }
    *out = to;
    return PTQC_OK;
}
