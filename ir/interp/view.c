// SPDX-License-Identifier: Apache-2.0
//
// Operands as arrays of a work type, and results back into the stored type.
#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/float16.h"
#include "base/narrow.h"
#include "ir/interp/eval.h"

pq_work
pq_work_of(ptqc_dtype dtype, bool is_quantized)
{
    if (is_quantized) {
        return PQ_WORK_F32;
    }
    if (dtype == PTQC_F64) {
        return PQ_WORK_F64;
    }
    if (pq_dtype_is_float(dtype)) {
        return PQ_WORK_F32;
    }
    return dtype == PTQC_U64 ? PQ_WORK_U64 : PQ_WORK_I64;
}

static bool
is_codes(const pq_eval *e, pq_value_id v)
{
    return (pq_value_kind(e->g, v) &
            (PQ_KIND_QUANT | PQ_KIND_QUANT4 | PQ_KIND_TOKEN)) != 0;
}

pq_work
pq_in_work(const pq_eval *e, uint32_t i)
{
    return pq_work_of(e->in[i].dtype, is_codes(e, e->op->inputs[i]));
}

pq_work
pq_out_work(const pq_eval *e, uint32_t i)
{
    return pq_work_of(e->out[i].dtype, is_codes(e, e->op->outputs[i]));
}

#define EACH(expr)                                                             \
    for (int64_t i = 0; i < n; i++) {                                          \
        expr;                                                                  \
    }

// Rows of 4-bit numbers start on a byte, first element in the low bits.
static void
load_nibbles(const pq_narrow *narrow, const pq_tensor *t, float *out)
{
    int64_t row = t->rank > 0 ? t->dims[t->rank - 1] : 1;
    int64_t n = pq_tensor_count(t);
    const uint8_t *p = t->p;
    for (int64_t i = 0; i < n; i++) {
        int64_t j = i % row;
        unsigned byte = p[i / row * ((row + 1) / 2) + j / 2];
        out[i] = narrow->to_f32((uint8_t)(byte >> (j % 2 * 4) & 15u));
    }
}

static void
load_narrow(const pq_tensor *t, float *out)
{
    const pq_narrow *narrow = pq_narrow_of(t->dtype);
    int64_t n = pq_tensor_count(t);
    const uint8_t *byte = t->p;
    if (pq_dtype_bits(t->dtype) == 4) {
        load_nibbles(narrow, t, out);
    } else {
        EACH(out[i] = narrow->to_f32(byte[i]))
    }
}

void
pq_load_f32s(const pq_tensor *t, float *out)
{
    int64_t n = pq_tensor_count(t);
    const uint16_t *half = t->p;
    switch ((int)t->dtype) {
    case PTQC_F32:
        memmove(out, t->p, (size_t)n * 4);
        break;
    case PTQC_F16:
        EACH(out[i] = pq_f16_to_f32(half[i]))
        break;
    case PTQC_BF16:
        EACH(out[i] = pq_bf16_to_f32(half[i]))
        break;
    default:
        load_narrow(t, out);
        break;
    }
}

void
pq_store_f32s(pq_tensor *t, const float *p)
{
    int64_t n = pq_tensor_count(t);
    uint16_t *half = t->p;
    uint8_t *byte = t->p;
    switch ((int)t->dtype) {
    case PTQC_F32:
        memmove(t->p, p, (size_t)n * 4);
        break;
    case PTQC_F16:
        EACH(half[i] = pq_f32_to_f16(p[i]))
        break;
    case PTQC_BF16:
        EACH(half[i] = pq_f32_to_bf16(p[i]))
        break;
    default: // 4-bit outputs are declined
        EACH(byte[i] = pq_narrow_of(t->dtype)->from_f32(p[i]))
        break;
    }
}

ptqc_status
pq_in_f32(pq_eval *e, uint32_t i, const float **out)
{
    const pq_tensor *t = &e->in[i];
    pq_qview q;
    PQ_TRY(pq_qview_of(e, e->op->inputs[i], &q));
    if (t->dtype == PTQC_F32 && !q.is_on) {
        *out = t->p;
        return PTQC_OK;
    }
    float *p = pq_scratch(e, pq_tensor_count(t), sizeof *p);
    PQ_TRY_ALLOC(p);
    if (q.is_on) {
        PQ_TRY(pq_dequantize_all(e, t, &q, p));
    } else {
        pq_load_f32s(t, p);
    }
    *out = p;
    return PTQC_OK;
}

ptqc_status
pq_in_f64(pq_eval *e, uint32_t i, const double **out)
{
    (void)e;
    *out = e->in[i].p;
    return PTQC_OK;
}

#define WIDEN(type)                                                            \
    do {                                                                       \
        const type *from = t->p;                                               \
        EACH(p[i] = (int64_t)from[i])                                          \
    } while (0)

ptqc_status
pq_in_i64(pq_eval *e, uint32_t operand, const int64_t **out)
{
    const pq_tensor *t = &e->in[operand];
    int64_t n = pq_tensor_count(t);
    if (t->dtype == PTQC_I64 || t->dtype == PTQC_U64) {
        *out = t->p;
        return PTQC_OK;
    }
    int64_t *p = pq_scratch(e, n, sizeof *p);
    PQ_TRY_ALLOC(p);
    const uint8_t *flag = t->p;
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
    case PTQC_I32:
        WIDEN(int32_t);
        break;
    case PTQC_U32:
        WIDEN(uint32_t);
        break;
    case PTQC_BOOL:
        EACH(p[i] = flag[i] != 0)
        break;
    default:
        return pq_eval_fail(e, PTQC_E_UNSUPPORTED,
                            "input %u of type %s is no integer", operand,
                            pq_dtype_name(t->dtype));
    }
    *out = p;
    return PTQC_OK;
}

ptqc_status
pq_out_f32(pq_eval *e, uint32_t i, float **out)
{
    pq_tensor *t = &e->out[i];
    if (t->dtype == PTQC_F32) {
        *out = t->p;
        return PTQC_OK;
    }
    *out = pq_scratch(e, pq_tensor_count(t), sizeof **out);
    PQ_TRY_ALLOC(*out);
    return PTQC_OK;
}

ptqc_status
pq_out_f64(pq_eval *e, uint32_t i, double **out)
{
    *out = e->out[i].p;
    return PTQC_OK;
}

ptqc_status
pq_out_i64(pq_eval *e, uint32_t i, int64_t **out)
{
    pq_tensor *t = &e->out[i];
    if (t->dtype == PTQC_I64 || t->dtype == PTQC_U64) {
        *out = t->p;
        return PTQC_OK;
    }
    *out = pq_scratch(e, pq_tensor_count(t), sizeof **out);
    PQ_TRY_ALLOC(*out);
    return PTQC_OK;
}

ptqc_status
pq_end_f32(pq_eval *e, uint32_t i, const float *p)
{
    pq_tensor *t = &e->out[i];
    pq_qview q;
    PQ_TRY(pq_qview_of(e, e->op->outputs[i], &q));
    if (q.is_on) {
        return pq_quantize_all(e, p, &q, t);
    }
    if (p != t->p) {
        pq_store_f32s(t, p);
    }
    return PTQC_OK;
}

ptqc_status
pq_end_f64(pq_eval *e, uint32_t i, const double *p)
{
    if (p != e->out[i].p) {
        memcpy(e->out[i].p, p, e->out[i].bytes);
    }
    return PTQC_OK;
}

#define NARROW(type)                                                           \
    do {                                                                       \
        type *to = t->p;                                                       \
        EACH(to[i] = (type)p[i])                                               \
    } while (0)

ptqc_status
pq_end_i64(pq_eval *e, uint32_t output, const int64_t *p)
{
    pq_tensor *t = &e->out[output];
    int64_t n = pq_tensor_count(t);
    uint8_t *flag = t->p;
    if (p == t->p) {
        return PTQC_OK;
    }
    switch ((int)t->dtype) {
    case PTQC_I8:
    case PTQC_U8:
        NARROW(uint8_t);
        break;
    case PTQC_I16:
    case PTQC_U16:
        NARROW(uint16_t);
        break;
    case PTQC_I32:
    case PTQC_U32:
        NARROW(uint32_t);
        break;
    case PTQC_I64:
    case PTQC_U64:
        NARROW(uint64_t);
        break;
    case PTQC_BOOL:
        EACH(flag[i] = p[i] != 0)
        break;
    default:
        return pq_eval_fail(e, PTQC_E_UNSUPPORTED,
                            "output %u of type %s is no integer", output,
                            pq_dtype_name(t->dtype));
    }
    return PTQC_OK;
}

ptqc_status
pq_move_begin(pq_eval *e, pq_move *out)
{
    bool is_same;
    PQ_TRY(pq_same_codes(e, e->op->inputs[0], e->op->outputs[0], &is_same));
    // Scales that move with the elements are passed on as they are.
    is_same =
        is_same || (e->in[0].dtype == e->out[0].dtype &&
                    pq_value_kind(e->g, e->op->inputs[0]) == PQ_KIND_TOKEN);
    if (is_same) {
        out->src = e->in[0].p;
        out->dst = e->out[0].p;
        out->size = pq_dtype_bits(e->in[0].dtype) / 8;
        out->is_f32 = false;
        return PTQC_OK;
    }
    const float *src;
    float *dst;
    PQ_TRY(pq_in_f32(e, 0, &src));
    PQ_TRY(pq_out_f32(e, 0, &dst));
    out->src = (const uint8_t *)src;
    out->dst = (uint8_t *)dst;
    out->size = sizeof(float);
    out->is_f32 = true;
    return PTQC_OK;
}

ptqc_status
pq_move_end(pq_eval *e, const pq_move *m)
{
    return m->is_f32 ? pq_end_f32(e, 0, (const float *)(const void *)m->dst)
                     : PTQC_OK;
}

void
pq_move_tables(const pq_move *m, const int64_t *dims, uint32_t rank,
               int64_t *const *table, const uint8_t *fill)
{
    int64_t n = pq_size_product(dims, 0, rank);
    int64_t index[PTQC_MAX_RANK] = {0};
    uint8_t *to = m->dst;
    for (int64_t i = 0; i < n; i++, to += m->size) {
        int64_t at = 0;
        bool inside = true;
        for (uint32_t a = 0; a < rank; a++) {
            int64_t step = table[a][index[a]];
            inside = inside && step >= 0;
            at += step;
        }
        memcpy(to, inside ? m->src + (size_t)at * m->size : fill, m->size);
        for (uint32_t a = rank; a-- > 0;) {
            if (++index[a] < dims[a]) {
                break;
            }
            index[a] = 0;
        }
    }
}

const char *
pq_rule_move(pq_graph *g, const pq_op *op)
{
    uint32_t x = pq_value_kind(g, op->inputs[0]);
    uint32_t y = pq_value_kind(g, op->outputs[0]);
    bool is_real = (x & (PQ_KIND_FLOAT | PQ_KIND_QUANT | PQ_KIND_QUANT4)) != 0;
    if (is_real && (y & (PQ_KIND_FLOAT | PQ_KIND_QUANT)) != 0) {
        return NULL;
    }
    if (x != y || pq_graph_value(g, op->inputs[0])->type.dtype !=
                      pq_graph_value(g, op->outputs[0])->type.dtype) {
        return "input and output differ in type";
    }
    return (x & (PQ_KIND_QUANT4 | PQ_KIND_SUB)) != 0
               ? "4-bit elements cannot be moved"
               : NULL;
}

#define STRIDED(type)                                                          \
    do {                                                                       \
        for (int64_t i = 0; i < n; i++) {                                      \
            memcpy(dst + i * (int64_t)sizeof(type),                            \
                   src + i * stride * (int64_t)sizeof(type), sizeof(type));    \
        }                                                                      \
    } while (0)

void
pq_copy_strided(uint8_t *dst, const uint8_t *src, int64_t n, int64_t stride,
                size_t size)
{
    if (stride == 1) {
        memcpy(dst, src, (size_t)n * size);
        return;
    }
    switch (size) {
    case 1:
        STRIDED(uint8_t);
        break;
    case 2:
        STRIDED(uint16_t);
        break;
    case 4:
        STRIDED(uint32_t);
        break;
    default:
        STRIDED(uint64_t);
        break;
    }
}
