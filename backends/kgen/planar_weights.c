// SPDX-License-Identifier: Apache-2.0
//
// Constant weights of a matmul or an embedding in the planar layout.
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "lower_epilogue.h"
#include "lower_weights.h"
#include "module.h"
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

// ---- formats ---------------------------------------------------------------

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
    case PTQC_F4E2M1:
        *out = PQ_KG_WEIGHT_F4E2M1;
        return true;
    case PTQC_NF4:
        *out = PQ_KG_WEIGHT_NF4;
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

// ---- parts -----------------------------------------------------------------

// Parts begin at multiples of this, so that words of results are whole.
#define PART_ROWS 16

static int64_t
segments_of(const pq_planar_weights *w)
{
    return (w->k + w->segment - 1) / w->segment;
}

// Rows of the parts but the last: as even as can be, none above the range.
static int64_t
rows_of_parts(pq_lower *l, int64_t row_bytes, int64_t n)
{
    int64_t range = l->device->range_bytes, whole;
    if (range == 0 ||
        (row_bytes > 0 && pq_mul_i64(row_bytes, n, &whole) && whole <= range)) {
        return n;
    }
    int64_t most = row_bytes > 0 ? range / row_bytes : 0;
    if (most < 1) {
        pq_decline(l, "a row of the weights is larger than a buffer can be");
        return n;
    }
    int64_t parts = (n + most - 1) / most;
    int64_t rows = (n + parts - 1) / parts;
    int64_t round = (rows + PART_ROWS - 1) / PART_ROWS * PART_ROWS;
    return round <= most
               ? round
               : (most >= PART_ROWS ? most / PART_ROWS * PART_ROWS : most);
}

uint32_t
pq_planar_cut(pq_lower *l, int64_t row_bytes, int64_t n,
              pq_planar_part **out_parts)
{
    *out_parts = NULL;
    if (!pq_lower_ok(l)) {
        return 0;
    }
    int64_t rows = rows_of_parts(l, row_bytes, n);
    int64_t count = rows > 0 ? (n + rows - 1) / rows : 1; // of no rows
    pq_planar_part *parts =
        count <= UINT32_MAX
            ? pq_mem_array(&l->scratch, (size_t)count, sizeof *parts)
            : NULL;
    if (parts == NULL) {
        pq_lower_no_memory(l);
    }
    if (!pq_lower_ok(l)) {
        return 0;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t left = n - i * rows;
        parts[i] = (pq_planar_part){.first = i * rows,
                                    .n = left < rows ? left : rows,
                                    .value = PQ_KG_NONE,
                                    .scales = PQ_KG_NONE};
    }
    *out_parts = parts;
    return (uint32_t)count;
}

void
pq_planar_part_name(const pq_planar_part *part, int64_t n,
                    char out[PQ_PLANAR_PART_NAME])
{
    out[0] = '\0';
    if (part->n != n) {
        snprintf(out, PQ_PLANAR_PART_NAME, ".r%lld.%lld",
                 (long long)part->first, (long long)part->n);
    }
}

static pq_planar_part *
make_parts(pq_lower *l, pq_planar_weights *w)
{
    pq_planar_part *parts;
    int64_t row = pq_kg_planar_blocks(w->format, w->segment) * 16;
    if (!pq_mul_i64(row, segments_of(w), &row)) {
        row = 0;
    }
    w->part_count = pq_planar_cut(l, row, w->n, &parts);
    w->parts = parts;
    return parts;
}

static uint32_t
emit_matrix(pq_lower *l, const pq_lower_weights *w,
            const pq_planar_weights *whole, const pq_planar_part *part)
{
    const ptqc_gb_value *v = w->value;
    int64_t segments = segments_of(whole);
    pq_planar_shape shape = {
        .format = whole->format,
        .n = part->n,
        .segments = segments,
        .segment = whole->segment,
        .last = w->k - (segments - 1) * whole->segment,
    };
    pq_planar_source source = {
        .data = w->source.data,
        .flip = (uint32_t)middle_of(v),
        .first = part->first,
        .inner = w->n,
        .n_stride = w->source.n_stride,
        .s_stride = whole->segment * w->source.k_stride,
        .e_stride = w->source.k_stride,
    };
    // equal bytes may also be another type or another shape
    char layout[PQ_LAYOUT_MAX], name[PQ_PLANAR_PART_NAME];
    pq_planar_part_name(part, whole->n, name);
    snprintf(layout, sizeof layout,
             "%s.planar.%u.%s.k%lld.n%lld.g%lld.t%u.v1%s", l->device->name,
             (unsigned)whole->format, w->trans ? "nk" : "kn", (long long)w->k,
             (long long)w->n, (long long)whole->segment, v->dtype, name);
    return pq_planar_emit(l, ptqc_gb_constant_at(l->g, v->constant), layout,
                          &shape, &source);
}

// ---- scales of groups ------------------------------------------------------

static void
fill_scales(const pq_lower_weights *w, const pq_planar_weights *whole,
            const pq_planar_part *part, uint8_t *out)
{
    pq_weight_source source = w->source;
    int64_t first = part->first * source.scale_n_stride;
    source.scales += first;
    source.zeros += source.zeros != NULL ? first : 0;
    pq_planar_pack_scales(&source, whole->form, segments_of(whole), part->n,
                          middle_of(w->value), out);
}

static uint32_t
pack_scales(pq_lower *l, const pq_lower_weights *w,
            const pq_planar_weights *whole, const pq_planar_part *part)
{
    const ptqc_gb_value *v = w->value;
    const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, v->quant);
    const ptqc_gb_constant *c = ptqc_gb_constant_at(l->g, q->scale);
    int64_t segments = segments_of(whole);
    char layout[PQ_LAYOUT_MAX], key[PQ_WEIGHTS_KEY], name[PQ_PLANAR_PART_NAME];
    pq_lower_weights_key(l, v, key);
    pq_planar_part_name(part, whole->n, name);
    snprintf(layout, sizeof layout,
             "%s.planar.scales.%u.n%lld.s%lld.t%u.v1%s%s", l->device->name,
             (unsigned)whole->form, (long long)w->n, (long long)segments,
             v->dtype, key, name);
    uint32_t found = pq_find_packed(l, c, layout);
    if (found != PQ_KG_NONE || !pq_lower_ok(l)) {
        return found;
    }
    int64_t bytes = pq_planar_scales_bytes(whole->form, segments, part->n);
    uint8_t *packed = NULL;
    if (!l->dry) {
        packed = pq_mem_array(&l->scratch, (size_t)bytes, 1);
        if (packed == NULL || bytes == 0) {
            pq_lower_no_memory(l);
            return PQ_KG_NONE;
        }
        fill_scales(w, whole, part, packed);
    }
    return pq_emit_packed(l, c, layout, packed, (uint64_t)bytes);
}

// How scales lie: segments and their form.
static void
read_scales(pq_lower *l, pq_lower_weights *w, pq_planar_weights *out)
{
    if (!pq_lower_weights_codes(l, w)) {
        return;
    }
    out->segment = w->group > 0 && w->group < w->k ? w->group : w->k;
    out->form = pq_planar_scales_form(&w->source, segments_of(out), w->n,
                                      middle_of(w->value));
}

void
pq_planar_weights_use(pq_lower *l, uint32_t gv, bool trans, bool is_integer,
                      const int32_t *zeros, pq_planar_weights *out)
{
    pq_lower_weights w;
    int64_t count;
    *out = (pq_planar_weights){.form = PQ_KG_SCALES_NONE};
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
    if (!is_integer && pq_gv_is_quantized(l, w.value)) {
        read_scales(l, &w, out);
    }
    bool is_scaled = out->form != PQ_KG_SCALES_NONE;
    w.source.data = pq_gv_constant(l, w.value, &count);
    pq_planar_part *parts = make_parts(l, out);
    for (uint32_t i = 0; i < out->part_count && pq_lower_ok(l); i++) {
        pq_planar_part *part = &parts[i];
        if (is_integer) {
            part->scales =
                pq_planar_zeros(l, zeros != NULL ? zeros + part->first : NULL,
                                part->n, &out->form);
        } else if (is_scaled) {
            part->scales = pack_scales(l, &w, out, part);
        }
        part->value = emit_matrix(l, &w, out, part);
    }
}

// ---- embeddings ------------------------------------------------------------

static void
write_part(pq_lower *l, const pq_planar_weights *w, const pq_planar_part *part,
           uint32_t ids, uint32_t y)
{
    pq_step_begin(l, PQ_STEP_PLANAR_EMBED, "embedding k%lld n%lld",
                  (long long)w->k, (long long)part->n);
    pq_step_in(l, part->value);
    pq_step_in(l, part->scales);
    pq_step_in(l, ids);
    pq_step_out(l, y);
    pq_step_i64(l, part->n);
    pq_step_i64(l, w->k);
    pq_step_i64(l, w->format);
    pq_step_i64(l, w->segment);
    pq_step_i64(l, w->form);
    pq_step_i64(l, part->first);
    pq_step_i64(l, w->n);
}

static void
write_embed(pq_lower *l, const pq_planar_weights *w)
{
    pq_ref ids = pq_use_identity(l, pq_in_index(l, 1));
    pq_ref y = pq_define_identity(l, pq_out_index(l, 0));
    for (uint32_t i = 0; i < w->part_count; i++) {
        write_part(l, w, &w->parts[i], ids.value, y.value);
    }
}

// A table of floats that no device has to be able to bind as it lies.
static bool
is_large_table(const pq_lower *l, const ptqc_gb_value *v)
{
    int64_t rows, bytes;
    return v != NULL && l->device->range_bytes > 0 &&
           v->constant != PTQC_GB_NONE && v->quant == PTQC_GB_NONE &&
           v->rank == 2 && pq_kg_is_float(v->dtype) &&
           pq_gv_dim_const(l, v, 0, &rows) &&
           pq_gv_dim_const(l, v, 1, &bytes) &&
           (!pq_mul_i64(bytes, rows, &bytes) ||
            !pq_mul_i64(bytes, pq_kg_element_bytes(v->dtype), &bytes) ||
            bytes > l->device->range_bytes);
}

bool
pq_planar_embedding(pq_lower *l)
{
    const ptqc_gb_value *table = pq_in(l, 0), *ids = pq_in(l, 1);
    bool is_packed =
        pq_lower_is_packed_table(l, table) || is_large_table(l, table);
    if (!is_packed || pq_attr_i64(l, "axis", 0) != 0 ||
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
