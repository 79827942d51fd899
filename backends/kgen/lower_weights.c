// SPDX-License-Identifier: Apache-2.0
//
// Reading constant weights (lower_weights.h).
#include "lower_weights.h"

#include <stdio.h>

#include "base/narrow.h"

const ptqc_gb_value *
pq_lower_weights_of(const pq_lower *l, uint32_t gv)
{
    uint32_t producer = l->values[gv].producer;
    if (producer == PQ_KG_NONE || !l->fused[producer]) {
        return ptqc_gb_value_at(l->g, gv);
    }
    const ptqc_gb_node *n = ptqc_gb_node_at(l->g, producer);
    return ptqc_gb_value_at(l->g, ptqc_gb_input(l->g, n, 0));
}

// Whether a value is cast(constant f16 or bf16) to f32.
static bool
is_widened(const pq_lower *l, const ptqc_gb_value *v, uint32_t producer)
{
    if (producer == PQ_KG_NONE || v->dtype != PTQC_F32) {
        return false;
    }
    const ptqc_gb_node *n = ptqc_gb_node_at(l->g, producer);
    uint32_t from = ptqc_gb_input(l->g, n, 0);
    if (!ptqc_gb_text_is(l->g, n->op, "cast") || from == PTQC_GB_NONE) {
        return false;
    }
    const ptqc_gb_value *c = ptqc_gb_value_at(l->g, from);
    return c->constant != PTQC_GB_NONE && c->quant == PTQC_GB_NONE &&
           (c->dtype == PTQC_F16 || c->dtype == PTQC_BF16);
}

void
pq_lower_fuse_weights(pq_lower *l)
{
    for (uint32_t i = 0; i < ptqc_gb_count(l->g, PTQC_GB_NODES); i++) {
        const ptqc_gb_node *n = ptqc_gb_node_at(l->g, i);
        if (!ptqc_gb_text_is(l->g, n->op, "matmul") || n->input_count < 2) {
            continue;
        }
        uint32_t gv = ptqc_gb_input(l->g, n, 1);
        if (gv == PTQC_GB_NONE) {
            continue;
        }
        const pq_lower_value *s = &l->values[gv];
        const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
        if (s->use_count == 1 && !s->is_output && v->rank == 2 &&
            is_widened(l, v, s->producer)) {
            l->fused[s->producer] = 1;
        }
    }
}

// Whether a matmul of the block reads the constant as [N][K] weights.
static bool
is_tied(const pq_lower *l, const ptqc_gb_value *table)
{
    for (uint32_t i = 0; i < ptqc_gb_count(l->g, PTQC_GB_NODES); i++) {
        const ptqc_gb_node *n = ptqc_gb_node_at(l->g, i);
        if (!ptqc_gb_text_is(l->g, n->op, "matmul") || n->input_count < 2) {
            continue;
        }
        uint32_t gv = ptqc_gb_input(l->g, n, 1);
        const ptqc_gb_value *w =
            gv != PTQC_GB_NONE ? pq_lower_weights_of(l, gv) : NULL;
        if (w != NULL && w->constant == table->constant &&
            w->quant == table->quant && w->dtype == table->dtype &&
            ptqc_gb_attr_i64(l->g, n, "trans_b", 0) != 0) {
            return true;
        }
    }
    return false;
}

bool
pq_lower_is_packed_table(const pq_lower *l, const ptqc_gb_value *table)
{
    if (table == NULL || table->constant == PTQC_GB_NONE || table->rank != 2) {
        return false;
    }
    if (table->quant == PTQC_GB_NONE) {
        return (table->dtype == PTQC_F32 || table->dtype == PTQC_F16 ||
                table->dtype == PTQC_BF16) &&
               is_tied(l, table);
    }
    uint32_t granularity = ptqc_gb_quant_at(l->g, table->quant)->granularity;
    return granularity == PTQC_GRAN_GROUP || granularity == PTQC_GRAN_CHANNEL;
}

static bool
is_4_bit(uint32_t dtype)
{
    return dtype == PTQC_I4 || dtype == PTQC_U4 || dtype == PTQC_F4E2M1 ||
           dtype == PTQC_NF4;
}

bool
pq_lower_weights_open(pq_lower *l, uint32_t gv, bool trans, pq_lower_weights *w)
{
    const ptqc_gb_value *v = pq_lower_weights_of(l, gv);
    int64_t rows, cols;
    *w = (pq_lower_weights){.value = v, .trans = trans};
    if (!pq_gv_dim_const(l, v, v->rank - 2, &rows) ||
        !pq_gv_dim_const(l, v, v->rank - 1, &cols) || rows < 1 || cols < 1) {
        pq_decline(l, "size of the weights");
        return false;
    }
    w->k = w->trans ? cols : rows;
    w->n = w->trans ? rows : cols;
    int64_t row = cols;
    if (is_4_bit(v->dtype)) {
        row = (cols + 1) / 2 * 2; // rows start on a byte
    }
    w->source.k_stride = w->trans ? 1 : row;
    w->source.n_stride = w->trans ? row : 1;
    return true;
}

// Whether every zero point is the middle code.
static bool
is_symmetric(const int32_t *zeros, int64_t count, int32_t middle)
{
    for (int64_t i = 0; i < count; i++) {
        if (zeros[i] != middle) {
            return false;
        }
    }
    return zeros != NULL || middle == 0;
}

// Where the scale of (k, n) lies.
static bool
read_scale_strides(const ptqc_gb_quant *q, int64_t count, pq_lower_weights *w)
{
    const ptqc_gb_value *v = w->value;
    uint32_t k_axis = w->trans ? v->rank - 1 : v->rank - 2;
    uint32_t n_axis = w->trans ? v->rank - 2 : v->rank - 1;
    int64_t k = w->k, n = w->n;
    if (q->granularity == PTQC_GRAN_TENSOR || count == 1) {
        return true;
    }
    if (q->granularity == PTQC_GRAN_CHANNEL && q->axis == n_axis) {
        w->source.scale_n_stride = 1;
        return count == n;
    }
    if (q->granularity == PTQC_GRAN_GROUP && q->axis == k_axis && w->trans &&
        q->group > 0) {
        int64_t groups = (k + q->group - 1) / q->group;
        w->group = q->group;
        w->source.scale_g_stride = 1;
        w->source.scale_n_stride = groups;
        return count == groups * n;
    }
    return false;
}

bool
pq_lower_weights_codes(pq_lower *l, pq_lower_weights *w)
{
    const ptqc_gb_value *v = w->value;
    const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, v->quant);
    int64_t count, scales, zeros;
    w->source.data = pq_gv_constant(l, v, &count);
    w->source.scales = pq_quant_scales(l, q, &scales);
    w->source.zeros = pq_quant_zeros(l, q, &zeros);
    w->source.is_signed = v->dtype == PTQC_I8 || v->dtype == PTQC_I4;
    bool nibbles = v->dtype == PTQC_I4 || v->dtype == PTQC_U4;
    bool bytes = v->dtype == PTQC_I8 || v->dtype == PTQC_U8;
    bool floats = pq_narrow_of((ptqc_dtype)v->dtype) != NULL;
    if ((!nibbles && !bytes && !floats) || w->source.scales == NULL ||
        scales < 1 || (w->source.zeros != NULL && zeros != scales) ||
        !read_scale_strides(q, scales, w)) {
        pq_decline(l, "scales of the weights");
        return false;
    }
    int32_t middle = w->source.is_signed || floats ? 0 : nibbles ? 8 : 128;
    w->is_asymmetric = !is_symmetric(
        w->source.zeros, w->source.zeros != NULL ? zeros : 0, middle);
    if (floats && w->is_asymmetric) {
        pq_decline(l, "zero points of floats");
    }
    return pq_lower_ok(l);
}

// First digits of a constant's hash, "0" when it is absent.
static void
print_hash(const pq_lower *l, uint32_t constant, char out[17])
{
    out[0] = '0';
    out[1] = '\0';
    if (constant != PTQC_GB_NONE) {
        const uint8_t *hash = ptqc_gb_constant_at(l->g, constant)->sha256;
        for (int i = 0; i < 8; i++) {
            snprintf(out + 2 * i, 3, "%02x", hash[i]);
        }
    }
}

void
pq_lower_weights_key(const pq_lower *l, const ptqc_gb_value *v,
                     char out[PQ_WEIGHTS_KEY])
{
    char scales[17] = "", zeros[17] = "";
    if (v->quant != PTQC_GB_NONE) {
        const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, v->quant);
        print_hash(l, q->scale, scales);
        print_hash(l, q->zero_point, zeros);
    }
    snprintf(out, PQ_WEIGHTS_KEY, ".%s.%s", scales, zeros);
}
