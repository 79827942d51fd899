// SPDX-License-Identifier: Apache-2.0
//
// Constant weights of a matmul or an embedding in the planar layout.
#include <stdio.h>
#include <string.h>

#include "lower_epilogue.h"
#include "lower_weights.h"
#include "planar_lower.h"
#include "planar_pack.h"

pq_ref
pq_planar_use_float(pq_lower *l, uint32_t gv, const uint8_t *perm)
{
    if (!pq_lower_ok(l) || gv == PTQC_GB_NONE) {
        return (pq_ref){.value = PQ_KG_NONE};
    }
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    bool is_float =
        v->dtype == PTQC_F32 || v->dtype == PTQC_F16 || v->dtype == PTQC_BF16;
    return is_float && !pq_gv_is_quantized(l, v) ? pq_use(l, gv, perm)
                                                 : pq_use_real(l, gv, perm);
}

uint32_t
pq_planar_array(pq_lower *l, uint32_t dtype, const void *values, int64_t count)
{
    if (values == NULL || !pq_lower_ok(l)) {
        return PQ_KG_NONE;
    }
    if (count > INT32_MAX) {
        pq_decline(l, "too many channels");
        return PQ_KG_NONE;
    }
    return pq_emit_array(l, dtype, values, (uint32_t)count);
}

uint32_t
pq_planar_zeros(pq_lower *l, const int32_t *zeros, int64_t n,
                pq_kg_scales *out_form)
{
    *out_form = zeros != NULL ? PQ_KG_SCALES_ZERO : PQ_KG_SCALES_NONE;
    return pq_planar_array(l, PTQC_I32, zeros, n);
}

// ---- the matrix ------------------------------------------------------------

static bool
format_of(const ptqc_gb_value *v, pq_kg_weight *out)
{
    switch (v->dtype) {
    case PTQC_F32:
        *out = PQ_KG_WEIGHT_F32;
        return true;
    case PTQC_F16:
        *out = PQ_KG_WEIGHT_F16;
        return true;
    case PTQC_BF16:
        *out = PQ_KG_WEIGHT_BF16;
        return true;
    case PTQC_F8E4M3:
        *out = PQ_KG_WEIGHT_F8E4M3;
        return true;
    case PTQC_F8E5M2:
        *out = PQ_KG_WEIGHT_F8E5M2;
        return true;
    case PTQC_I8:
    case PTQC_U8:
        *out = PQ_KG_WEIGHT_I8;
        return true;
    case PTQC_I4:
    case PTQC_U4:
        *out = PQ_KG_WEIGHT_I4;
        return true;
    default:
        return false;
    }
}

static int32_t
middle_of(const ptqc_gb_value *v)
{
    return v->dtype == PTQC_U8 ? 128 : v->dtype == PTQC_U4 ? 8 : 0;
}

static uint32_t
emit_matrix(pq_lower *l, const pq_lower_weights *w, pq_planar_weights *out)
{
    const ptqc_gb_value *v = w->value;
    int64_t segments = (w->k + out->segment - 1) / out->segment;
    pq_planar_shape shape = {
        .format = out->format,
        .n = w->n,
        .segments = segments,
        .segment = out->segment,
        .last = w->k - (segments - 1) * out->segment,
    };
    pq_planar_source source = {
        .data = w->source.data,
        .flip = (uint32_t)middle_of(v),
        .inner = w->n,
        .n_stride = w->source.n_stride,
        .s_stride = out->segment * w->source.k_stride,
        .e_stride = w->source.k_stride,
    };
    // equal bytes may also be another type or another shape
    char layout[PQ_LAYOUT_MAX];
    snprintf(layout, sizeof layout, "%s.planar.%u.%s.k%lld.n%lld.g%lld.t%u.v1",
             l->device->name, (unsigned)out->format, w->trans ? "nk" : "kn",
             (long long)w->k, (long long)w->n, (long long)out->segment,
             v->dtype);
    return pq_planar_emit(l, ptqc_gb_constant_at(l->g, v->constant), layout,
                          &shape, &source);
}

// ---- scales of groups ------------------------------------------------------

static uint32_t
pack_scales(pq_lower *l, const pq_lower_weights *w, pq_kg_scales form,
            int64_t segments)
{
    const ptqc_gb_value *v = w->value;
    const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, v->quant);
    const ptqc_gb_constant *c = ptqc_gb_constant_at(l->g, q->scale);
    char layout[PQ_LAYOUT_MAX], key[PQ_WEIGHTS_KEY];
    pq_lower_weights_key(l, v, key);
    snprintf(layout, sizeof layout, "%s.planar.scales.%u.n%lld.s%lld.t%u.v1%s",
             l->device->name, (unsigned)form, (long long)w->n,
             (long long)segments, v->dtype, key);
    uint32_t found = pq_find_packed(l, c, layout);
    if (found != PQ_KG_NONE || !pq_lower_ok(l)) {
        return found;
    }
    int64_t bytes = pq_planar_scales_bytes(form, segments, w->n);
    uint8_t *packed = NULL;
    if (!l->dry) {
        packed = pq_mem_array(&l->scratch, (size_t)bytes, 1);
        if (packed == NULL || bytes == 0) {
            pq_lower_no_memory(l);
            return PQ_KG_NONE;
        }
        pq_planar_pack_scales(&w->source, form, segments, w->n, middle_of(v),
                              packed);
    }
    return pq_emit_packed(l, c, layout, packed, (uint64_t)bytes);
}

static void
use_scales(pq_lower *l, pq_lower_weights *w, pq_planar_weights *out)
{
    if (!pq_lower_weights_codes(l, w)) {
        return;
    }
    out->segment = w->group > 0 && w->group < w->k ? w->group : w->k;
    int64_t segments = (w->k + out->segment - 1) / out->segment;
    out->form =
        pq_planar_scales_form(&w->source, segments, w->n, middle_of(w->value));
    out->scales = pack_scales(l, w, out->form, segments);
}

void
pq_planar_weights_use(pq_lower *l, uint32_t gv, bool trans, bool is_integer,
                      const int32_t *zeros, pq_planar_weights *out)
{
    pq_lower_weights w;
    int64_t count;
    *out = (pq_planar_weights){
        .form = PQ_KG_SCALES_NONE, .value = PQ_KG_NONE, .scales = PQ_KG_NONE};
    if (!pq_lower_ok(l) || !pq_lower_weights_open(l, gv, trans, &w)) {
        return;
    }
    if (!format_of(w.value, &out->format)) {
        pq_decline(l, "type of the weights");
        return;
    }
    out->k = w.k;
    out->n = w.n;
    out->segment = w.k;
    if (is_integer) {
        out->scales = pq_planar_zeros(l, zeros, w.n, &out->form);
    } else if (pq_gv_is_quantized(l, w.value)) {
        use_scales(l, &w, out);
    }
    w.source.data = pq_gv_constant(l, w.value, &count);
    if (pq_lower_ok(l)) {
        out->value = emit_matrix(l, &w, out);
    }
}

// ---- embeddings ------------------------------------------------------------

static void
write_embed(pq_lower *l, const pq_planar_weights *w)
{
    pq_ref ids = pq_use_identity(l, pq_in_index(l, 1));
    pq_ref y = pq_define_identity(l, pq_out_index(l, 0));
    pq_step_begin(l, PQ_STEP_PLANAR_EMBED, "embedding k%lld n%lld",
                  (long long)w->k, (long long)w->n);
    pq_step_in(l, w->value);
    pq_step_in(l, w->scales);
    pq_step_in(l, ids.value);
    pq_step_out(l, y.value);
    pq_step_i64(l, w->n);
    pq_step_i64(l, w->k);
    pq_step_i64(l, w->format);
    pq_step_i64(l, w->segment);
    pq_step_i64(l, w->form);
}

bool
pq_planar_embedding(pq_lower *l)
{
    const ptqc_gb_value *table = pq_in(l, 0), *ids = pq_in(l, 1);
    if (!pq_lower_is_packed_table(l, table) || pq_attr_i64(l, "axis", 0) != 0 ||
        pq_attr_i64(l, "batch_dims", 0) != 0) {
        return false;
    }
    if (ids == NULL || (ids->dtype != PTQC_I32 && ids->dtype != PTQC_I64)) {
        pq_decline(l, "indices have to be i32 or i64");
        return true;
    }
    pq_planar_weights w;
    pq_planar_weights_use(l, pq_in_index(l, 0), true, false, NULL, &w);
    if (pq_lower_ok(l)) {
        write_embed(l, &w);
    }
    return true;
}
