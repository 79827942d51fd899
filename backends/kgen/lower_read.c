// SPDX-License-Identifier: Apache-2.0
//
// Lowering: reading the graph block (operands, attributes, constants,
// quantization, dims).
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "lower.h"

void
pq_decline(pq_lower *l, const char *format, ...)
{
    if (l->st != PTQC_BE_OK) {
        return;
    }
    l->st = PTQC_BE_UNSUPPORTED;
    ptqc_str op = {"", 0};
    if (l->node < ptqc_gb_count(l->g, PTQC_GB_NODES)) {
        op = ptqc_gb_str(l->g, pq_lower_node(l)->op);
    }
    int n = snprintf(l->reason, sizeof l->reason,
                     "%.*s: ", op.n < 64 ? (int)op.n : 64, op.p);
    va_list args;
    va_start(args, format);
    vsnprintf(l->reason + n, sizeof l->reason - (size_t)n, format, args);
    va_end(args);
}

void
pq_lower_no_memory(pq_lower *l)
{
    if (l->st == PTQC_BE_OK) {
        l->st = pq_kg_fail(l->host, l->call, PTQC_BE_RESOURCE,
                           "%s: out of memory", l->device->name);
    }
}

// ---- operands --------------------------------------------------------------

const ptqc_gb_node *
pq_lower_node(const pq_lower *l)
{
    return ptqc_gb_node_at(l->g, l->node);
}

uint32_t
pq_in_index(const pq_lower *l, uint32_t i)
{
    return ptqc_gb_input(l->g, pq_lower_node(l), i);
}

uint32_t
pq_out_index(const pq_lower *l, uint32_t i)
{
    return ptqc_gb_output(l->g, pq_lower_node(l), i);
}

const ptqc_gb_value *
pq_in(const pq_lower *l, uint32_t i)
{
    uint32_t v = pq_in_index(l, i);
    return v != PTQC_GB_NONE ? ptqc_gb_value_at(l->g, v) : NULL;
}

const ptqc_gb_value *
pq_out(const pq_lower *l, uint32_t i)
{
    uint32_t v = pq_out_index(l, i);
    return v != PTQC_GB_NONE ? ptqc_gb_value_at(l->g, v) : NULL;
}

// ---- attributes ------------------------------------------------------------

int64_t
pq_attr_i64(const pq_lower *l, const char *name, int64_t otherwise)
{
    return ptqc_gb_attr_i64(l->g, pq_lower_node(l), name, otherwise);
}

float
pq_attr_f32(const pq_lower *l, const char *name, float otherwise)
{
    return ptqc_gb_attr_f32(l->g, pq_lower_node(l), name, otherwise);
}

bool
pq_attr_i64s(pq_lower *l, const char *name, int64_t *out, uint32_t room,
             uint32_t *out_count)
{
    const ptqc_gb_attr *a = ptqc_gb_find_attr(l->g, pq_lower_node(l), name);
    *out_count = 0;
    if (a == NULL || a->kind != PTQC_GB_ATTR_I64S) {
        return false;
    }
    if (a->count > room) {
        pq_decline(l, "%s of %u elements", name, a->count);
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        out[i] = *(const int64_t *)ptqc_gb_at(l->g, PTQC_GB_I64S, a->first + i);
    }
    *out_count = a->count;
    return true;
}

uint32_t
pq_attr_count(const pq_lower *l, const char *name)
{
    const ptqc_gb_attr *a = ptqc_gb_find_attr(l->g, pq_lower_node(l), name);
    return a != NULL ? a->count : 0;
}

bool
pq_attr_dim(const pq_lower *l, const char *name, uint32_t i, uint32_t *out)
{
    const ptqc_gb_attr *a = ptqc_gb_find_attr(l->g, pq_lower_node(l), name);
    if (a == NULL || a->kind != PTQC_GB_ATTR_DIMS || i >= a->count) {
        return false;
    }
    *out = ptqc_gb_u32_at(l->g, PTQC_GB_DIM_LISTS, a->first + i);
    return true;
}

uint32_t
pq_axis(pq_lower *l, int64_t axis, uint32_t rank)
{
    int64_t a = axis < 0 ? axis + rank : axis;
    if (a < 0 || a >= (int64_t)rank) {
        pq_decline(l, "axis %lld of rank %u", (long long)axis, rank);
        return 0;
    }
    return (uint32_t)a;
}

// ---- shapes ----------------------------------------------------------------

uint32_t
pq_gv_dim(const pq_lower *l, const ptqc_gb_value *v, uint32_t axis)
{
    return ptqc_gb_value_dim(l->g, v, axis);
}

bool
pq_gv_dim_const(const pq_lower *l, const ptqc_gb_value *v, uint32_t axis,
                int64_t *out)
{
    return pq_dim_known(l, pq_gv_dim(l, v, axis), out);
}

static bool
same_dim(const pq_lower *l, uint32_t a, uint32_t b)
{
    int64_t x, y;
    if (a == b) {
        return true;
    }
    return pq_dim_known(l, a, &x) && pq_dim_known(l, b, &y) && x == y;
}

bool
pq_same_shape(const pq_lower *l, const ptqc_gb_value *a, const ptqc_gb_value *b)
{
    if (a->rank != b->rank) {
        return false;
    }
    for (uint32_t i = 0; i < a->rank; i++) {
        if (!same_dim(l, pq_gv_dim(l, a, i), pq_gv_dim(l, b, i))) {
            return false;
        }
    }
    return true;
}

// ---- constants -------------------------------------------------------------

static int64_t
dtype_bits(uint32_t dtype)
{
    switch (dtype) {
#define CASE(NAME, number, text, bits)                                         \
    case number:                                                               \
        return bits;
        PTQC_DTYPES(CASE)
#undef CASE
    default:
        return 0;
    }
}

// Stands for the codes of weights in a dry run, which does not read them: the
// host need not make them.
static const uint8_t NO_CODES = 0;

static const void *
map_constant(pq_lower *l, uint64_t id, uint64_t *out_bytes)
{
    *out_bytes = 0;
    if (!pq_mem_grow(l->mem, (void **)&l->mapped, &l->mapped_room,
                     l->mapped_count, sizeof *l->mapped)) {
        pq_lower_no_memory(l);
        return NULL;
    }
    l->mapped[l->mapped_count++] = id;
    return l->host->vt->constant_map(l->call, id, out_bytes);
}

void
pq_lower_release(pq_lower *l)
{
    for (uint32_t i = 0; i < l->mapped_count; i++) {
        l->host->vt->constant_release(l->call, l->mapped[i]);
    }
    l->mapped_count = 0;
    pq_mem_release(&l->scratch);
}

const void *
pq_gv_constant(pq_lower *l, const ptqc_gb_value *v, int64_t *out_count)
{
    *out_count = 0;
    if (v == NULL || v->constant == PTQC_GB_NONE) {
        pq_decline(l, "an operand has to be a constant");
        return NULL;
    }
    int64_t count = 1;
    int64_t last = 1;
    for (uint32_t i = 0; i < v->rank; i++) {
        int64_t d;
        if (!pq_gv_dim_const(l, v, i, &d) || d < 0 || d > INT32_MAX ||
            __builtin_mul_overflow(count, d, &count)) {
            pq_decline(l, "size of a constant");
            return NULL;
        }
        last = d;
    }
    if (l->dry && v->rank > 1 && count > 1 && pq_gv_is_quantized(l, v)) {
        *out_count = count;
        return &NO_CODES;
    }
    int64_t row_bytes = (last * dtype_bits(v->dtype) + 7) / 8;
    int64_t need = last > 0 ? count / last * row_bytes : 0;
    const ptqc_gb_constant *c = ptqc_gb_constant_at(l->g, v->constant);
    uint64_t bytes = 0;
    const void *p = map_constant(l, c->id, &bytes);
    if (p == NULL || bytes < (uint64_t)need || bytes < c->bytes) {
        if (l->st == PTQC_BE_OK) {
            l->st = pq_kg_fail(l->host, l->call, PTQC_BE_INVALID,
                               "%s: constant %llu has %llu bytes, %lld "
                               "needed",
                               l->device->name, (unsigned long long)c->id,
                               (unsigned long long)bytes, (long long)need);
        }
        return NULL;
    }
    *out_count = count;
    return p;
}

bool
pq_gv_scalar(pq_lower *l, const ptqc_gb_value *v, double *out)
{
    if (v == NULL || v->constant == PTQC_GB_NONE) {
        return false;
    }
    for (uint32_t i = 0; i < v->rank; i++) {
        int64_t d;
        if (!pq_gv_dim_const(l, v, i, &d) || d != 1) {
            return false;
        }
    }
    int64_t count;
    const uint8_t *p = pq_gv_constant(l, v, &count);
    if (p == NULL) {
        return false;
    }
    switch (v->dtype) {
    case PTQC_F32:
        *out = (double)pq_load_f32(p);
        return true;
    case PTQC_F64:
        *out = pq_load_f64(p);
        return true;
    case PTQC_I32:
        *out = (double)(int32_t)pq_load_le32(p);
        return true;
    case PTQC_I64: {
        int64_t x = (int64_t)pq_load_le64(p);
        *out = (double)x;
        return x >= -(INT64_C(1) << 52) && x <= INT64_C(1) << 52;
    }
    case PTQC_U8:
    case PTQC_BOOL:
        *out = (double)p[0];
        return true;
    default:
        return false;
    }
}

// ---- quantization ----------------------------------------------------------

bool
pq_gv_is_quantized(const pq_lower *l, const ptqc_gb_value *v)
{
    return v->quant != PTQC_GB_NONE &&
           ptqc_gb_quant_at(l->g, v->quant)->granularity != PTQC_GRAN_NONE;
}

static const void *
quant_array(pq_lower *l, uint32_t constant, int64_t *out_count)
{
    *out_count = 0;
    if (constant == PTQC_GB_NONE) {
        return NULL;
    }
    const ptqc_gb_constant *c = ptqc_gb_constant_at(l->g, constant);
    uint64_t bytes = 0;
    const void *p = map_constant(l, c->id, &bytes);
    if (p == NULL || ((uintptr_t)p & 3) != 0) {
        pq_decline(l, "scales or zero points are not there");
        return NULL;
    }
    *out_count = (int64_t)(bytes / 4);
    return p;
}

const float *
pq_quant_scales(pq_lower *l, const ptqc_gb_quant *q, int64_t *out_count)
{
    return quant_array(l, q->scale, out_count);
}

const int32_t *
pq_quant_zeros(pq_lower *l, const ptqc_gb_quant *q, int64_t *out_count)
{
    return quant_array(l, q->zero_point, out_count);
}

bool
pq_gv_codes(pq_lower *l, const ptqc_gb_value *v, pq_codes *out)
{
    *out = (pq_codes){1.0f, 0, 0, 255};
    if (!pq_gv_is_quantized(l, v)) {
        return false;
    }
    const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, v->quant);
    if (q->granularity != PTQC_GRAN_TENSOR ||
        (v->dtype != PTQC_I8 && v->dtype != PTQC_U8)) {
        pq_decline(l, "activations need i8 or u8 codes with one scale");
        return false;
    }
    int64_t scales, zeros;
    const float *scale = pq_quant_scales(l, q, &scales);
    const int32_t *zero = pq_quant_zeros(l, q, &zeros);
    if (scale == NULL || scales < 1) {
        pq_decline(l, "activations need a constant scale");
        return false;
    }
    out->scale = scale[0];
    out->zero = zero != NULL && zeros > 0 ? zero[0] : 0;
    if (v->dtype == PTQC_I8 && l->device->keeps_s8) {
        out->low = -128;
        out->high = 127;
    } else {
        out->zero += v->dtype == PTQC_I8 ? 128 : 0;
    }
    if (!(out->scale > 0.0f) || !isfinite(out->scale) || out->zero < out->low ||
        out->zero > out->high) {
        pq_decline(l, "scale %g, zero point %d", (double)out->scale, out->zero);
    }
    return true;
}

uint32_t
pq_stored_dtype(const pq_lower *l, const ptqc_gb_value *v)
{
    return v->dtype == PTQC_I8 && !l->device->keeps_s8 &&
                   pq_gv_is_quantized(l, v)
               ? PTQC_U8
               : v->dtype;
}

static bool
same_array(pq_lower *l, uint32_t a, uint32_t b)
{
    if (a == b) {
        return true;
    }
    int64_t n, m;
    const void *p = quant_array(l, a, &n);
    const void *q = quant_array(l, b, &m);
    return p != NULL && q != NULL && n == m && memcmp(p, q, (size_t)n * 4) == 0;
}

bool
pq_lower_same_codes(pq_lower *l, const ptqc_gb_value *a, const ptqc_gb_value *b)
{
    if (a->dtype != b->dtype) {
        return false;
    }
    bool qa = pq_gv_is_quantized(l, a);
    bool qb = pq_gv_is_quantized(l, b);
    if (!qa || !qb) {
        return qa == qb;
    }
    const ptqc_gb_quant *x = ptqc_gb_quant_at(l->g, a->quant);
    const ptqc_gb_quant *y = ptqc_gb_quant_at(l->g, b->quant);
    if (x->granularity == PTQC_GRAN_TOKEN) {
        return y->granularity == PTQC_GRAN_TOKEN;
    }
    return x->granularity == y->granularity && x->axis == y->axis &&
           x->group == y->group && same_array(l, x->scale, y->scale) &&
           same_array(l, x->zero_point, y->zero_point);
}

// ---- dims ------------------------------------------------------------------

bool
pq_dim_known(const pq_lower *l, uint32_t dim, int64_t *out)
{
    const pq_kg_dim *d = &l->entry->dims[dim];
    *out = d->value;
    return d->op == PTQC_GB_DIM_CONST;
}

static uint32_t
add_dim(pq_lower *l, const pq_kg_dim *d)
{
    pq_kg_entry *e = l->entry;
    for (uint32_t i = 0; i < e->dim_count; i++) {
        const pq_kg_dim *o = &e->dims[i];
        if (o->op == d->op && o->a == d->a && o->b == d->b &&
            o->value == d->value) {
            return i;
        }
    }
    if (!pq_mem_grow(l->mem, (void **)&e->dims, &e->dim_room, e->dim_count,
                     sizeof *e->dims)) {
        pq_lower_no_memory(l);
        return 0;
    }
    e->dims[e->dim_count] = *d;
    return e->dim_count++;
}

uint32_t
pq_dim_of(pq_lower *l, int64_t value)
{
    pq_kg_dim d = {.op = PTQC_GB_DIM_CONST, .value = value};
    return add_dim(l, &d);
}

static bool
fold(uint32_t op, int64_t a, int64_t b, int64_t *out)
{
    switch (op) {
    case PTQC_GB_DIM_ADD:
        return !__builtin_add_overflow(a, b, out);
    case PTQC_GB_DIM_SUB:
        return !__builtin_sub_overflow(a, b, out);
    case PTQC_GB_DIM_MUL:
        return !__builtin_mul_overflow(a, b, out);
    case PTQC_GB_DIM_DIV:
        *out = b > 0 && a >= 0 ? a / b : 0;
        return b > 0 && a >= 0;
    default:
        return false;
    }
}

uint32_t
pq_dim_binary(pq_lower *l, uint32_t op, uint32_t a, uint32_t b)
{
    int64_t x, y, z;
    bool known_a = pq_dim_known(l, a, &x);
    bool known_b = pq_dim_known(l, b, &y);
    if (known_a && known_b && fold(op, x, y, &z)) {
        return pq_dim_of(l, z);
    }
    if (op == PTQC_GB_DIM_MUL && known_a && x == 1) {
        return b;
    }
    if ((op == PTQC_GB_DIM_MUL || op == PTQC_GB_DIM_DIV) && known_b && y == 1) {
        return a;
    }
    pq_kg_dim d = {.op = op, .a = a, .b = b};
    return add_dim(l, &d);
}
