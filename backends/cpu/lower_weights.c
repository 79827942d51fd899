// SPDX-License-Identifier: Apache-2.0
//
// Constant weights of a matmul: what they are, and packing them (gemm.h).
#include "lower_weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backends/kgen/lower_epilogue.h"

// One scale per channel, real x: sums are exact within so many k
// (docs/numerics.md section 4).
#define PQ_CHANNEL_GROUP 512

bool
pq_cpu_weights_open(pq_lower *l, uint32_t gv, bool trans, pq_cpu_weights *w)
{
    *w = (pq_cpu_weights){.digits = 0};
    if (!pq_lower_weights_open(l, gv, trans, &w->read)) {
        return false;
    }
    w->shape.k = w->read.k;
    w->shape.n = w->read.n;
    return true;
}

// Codes that are numbers: their format, and what their scales are packed times.
typedef struct number_format {
    uint32_t dtype, weight;
    float factor;
} number_format;

static const number_format NUMBERS[] = {
    {PTQC_F8E4M3, PQ_WEIGHT_E4M3, 256.0f},
    {PTQC_F8E5M2, PQ_WEIGHT_E5M2, 1.0f},
    {PTQC_F4E2M1, PQ_WEIGHT_E2M1, 0x1p14f},
    {PTQC_NF4, PQ_WEIGHT_NF4, 1.0f},
};

static const number_format *
number_format_of(uint32_t dtype)
{
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        if (NUMBERS[i].dtype == dtype) {
            return &NUMBERS[i];
        }
    }
    return NULL;
}

// The rest of read_codes for numbers.
static void
read_numbers(pq_lower *l, const number_format *format, pq_cpu_weights *w)
{
    int64_t count;
    const float *scales = pq_quant_scales(
        l, ptqc_gb_quant_at(l->g, w->read.value->quant), &count);
    w->shape.format = format->weight;
    for (int64_t i = 0; scales != NULL && i < count; i++) {
        if (isfinite(scales[i]) && !isfinite(scales[i] * format->factor)) {
            pq_decline(l, "scales of the weights"); // as they are packed
        }
    }
}

static void
read_codes(pq_lower *l, bool is_token, pq_cpu_weights *w)
{
    const ptqc_gb_value *v = w->read.value;
    if (!pq_lower_weights_codes(l, &w->read)) {
        return;
    }
    w->shape.group = w->read.group;
    const number_format *numbers = number_format_of(v->dtype);
    if (numbers != NULL) {
        if (is_token) {
            pq_decline(l, "scales of the weights");
        }
        read_numbers(l, numbers, w);
        return;
    }
    if (v->rank != 2) {
        pq_decline(l, "codes of rank %u", v->rank);
        return;
    }
    bool nibbles = v->dtype == PTQC_I4 || v->dtype == PTQC_U4;
    int64_t scales;
    const float *scale =
        pq_quant_scales(l, ptqc_gb_quant_at(l->g, v->quant), &scales);
    w->shape.format = nibbles ? PQ_WEIGHT_FIXED4 : PQ_WEIGHT_FIXED8;
    w->shape.half_scales = pq_scales_are_half(scale, scales) ? 1u : 0u;
    w->digits = is_token ? 1 : 2;
    if (w->shape.group == 0) {
        w->shape.group =
            is_token ? (w->shape.k + 15) / 16 * 16 : PQ_CHANNEL_GROUP;
    }
    w->shape.asymmetric = w->read.is_asymmetric ? 1 : 0;
}

void
pq_cpu_weights_read(pq_lower *l, bool is_integer, bool is_token,
                    pq_cpu_weights *w)
{
    const ptqc_gb_value *v = w->read.value;
    int64_t count;
    if (is_integer) {
        w->shape.format = PQ_WEIGHT_S8;
        w->read.source.data = pq_lower_weight_s8(l, v);
    } else if (pq_gv_is_quantized(l, v)) {
        read_codes(l, is_token, w);
    } else if (v->dtype == PTQC_F32 || v->dtype == PTQC_F16 ||
               v->dtype == PTQC_BF16) {
        w->shape.format = v->dtype == PTQC_F32   ? PQ_WEIGHT_F32
                          : v->dtype == PTQC_F16 ? PQ_WEIGHT_F16
                                                 : PQ_WEIGHT_BF16;
        w->read.source.data = pq_gv_constant(l, v, &count);
    } else {
        pq_decline(l, "type of the weights");
    }
    if (pq_lower_ok(l) && pq_weight_bytes(&w->shape) <= 0) {
        pq_decline(l, "group size of the weights");
    }
}

typedef struct packing {
    const pq_cpu_weights *w;
    uint8_t *out;
} packing;

// Bytes from column 0 to column n of the source; n is even.
static int64_t
column_bytes(const pq_cpu_weights *w, int64_t n)
{
    static const uint8_t BITS[PQ_WEIGHT_COUNT] = {
        [PQ_WEIGHT_F32] = 32,  [PQ_WEIGHT_S8] = 8,     [PQ_WEIGHT_F16] = 16,
        [PQ_WEIGHT_BF16] = 16, [PQ_WEIGHT_FIXED8] = 8, [PQ_WEIGHT_FIXED4] = 4,
        [PQ_WEIGHT_E4M3] = 8,  [PQ_WEIGHT_E5M2] = 8,   [PQ_WEIGHT_E2M1] = 4,
        [PQ_WEIGHT_NF4] = 4,
    };
    return n * w->read.source.n_stride * BITS[w->shape.format] / 8;
}

// Strips [begin, end): the packing of those columns alone.
static void
pack_strips(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const packing *p = user;
    const pq_cpu_weights *w = p->w;
    int64_t first = 16 * (int64_t)begin, last = 16 * (int64_t)end;
    pq_weight_shape shape = w->shape;
    pq_weight_source source = w->read.source;
    (void)worker;
    shape.n = (last < w->shape.n ? last : w->shape.n) - first;
    source.data = (const uint8_t *)source.data + column_bytes(w, first);
    if (source.scales != NULL) {
        source.scales += first * source.scale_n_stride;
    }
    if (source.zeros != NULL) {
        source.zeros += first * source.scale_n_stride;
    }
    pq_weight_pack(&shape, &source,
                   p->out + (int64_t)begin * pq_weight_strip_bytes(&w->shape));
}

// The packed weights live until they are emitted.
static uint32_t
pack_and_emit(pq_lower *l, const pq_cpu_weights *w, const ptqc_gb_constant *c,
              const char *layout)
{
    const ptqc_host_vt *vt = l->host->vt;
    uint64_t bytes = (uint64_t)pq_weight_bytes(&w->shape);
    if (l->dry) {
        return pq_emit_packed(l, c, layout, NULL, bytes);
    }
    packing p = {w, vt->alloc(l->host->self, bytes, 64)};
    if (p.out == NULL) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    vt->parallel_for(l->host->self, (uint64_t)pq_strip_columns(w->shape.n) / 16,
                     1, pack_strips, &p);
    uint32_t value = pq_emit_packed(l, c, layout, p.out, bytes);
    vt->free(l->host->self, p.out);
    return value;
}

uint32_t
pq_cpu_weights_emit(pq_lower *l, const pq_cpu_weights *w)
{
    const ptqc_gb_value *v = w->read.value;
    const ptqc_gb_constant *c = ptqc_gb_constant_at(l->g, v->constant);
    char layout[PQ_LAYOUT_MAX], key[PQ_WEIGHTS_KEY] = "..";
    if (w->read.source.scales != NULL) {
        pq_lower_weights_key(l, v, key);
    }
    // equal bytes may also be another type or another shape
    snprintf(layout, sizeof layout, "cpu.%u%s%s.%s.k%lld.n%lld.g%lld.t%u.v3%s",
             w->shape.format, w->shape.asymmetric ? "a" : "",
             w->shape.half_scales ? "h" : "", w->read.trans ? "nk" : "kn",
             (long long)w->shape.k, (long long)w->shape.n,
             (long long)w->shape.group, v->dtype, key);
    uint32_t found = pq_find_packed(l, c, layout);
    return found != PQ_KG_NONE || !pq_lower_ok(l)
               ? found
               : pack_and_emit(l, w, c, layout);
}
