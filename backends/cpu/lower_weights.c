// SPDX-License-Identifier: Apache-2.0
//
// Constant weights of a matmul: what they are, and packing them (gemm.h).
#include "lower_weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lower_epilogue.h"

// One scale per channel, real x: sums are exact within so many k
// (docs/numerics.md section 4).
#define PQ_CHANNEL_GROUP 512

const ptqc_gb_value *
pq_lower_weights_of(const pq_lower *l, uint32_t gv)
{
    uint32_t producer = l->values[gv].producer;
    if (producer == PQ_CPU_NONE || !l->fused[producer]) {
        return ptqc_gb_value_at(l->g, gv);
    }
    const ptqc_gb_node *n = ptqc_gb_node_at(l->g, producer);
    return ptqc_gb_value_at(l->g, ptqc_gb_input(l->g, n, 0));
}

// Whether a value is cast(constant f16 or bf16) to f32.
static bool
is_widened(const pq_lower *l, const ptqc_gb_value *v, uint32_t producer)
{
    if (producer == PQ_CPU_NONE || v->dtype != PTQC_F32) {
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
    w->shape.k = w->trans ? cols : rows;
    w->shape.n = w->trans ? rows : cols;
    int64_t row = cols;
    if (v->dtype == PTQC_I4 || v->dtype == PTQC_U4) {
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
    int64_t k = w->shape.k, n = w->shape.n;
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
        w->shape.group = q->group;
        w->source.scale_g_stride = 1;
        w->source.scale_n_stride = groups;
        return count == groups * n;
    }
    return false;
}

// The rest of read_codes for floats of 8 bits.
static void
read_float8(pq_lower *l, uint32_t dtype, int64_t scale_count,
            pq_lower_weights *w)
{
    bool is_e4m3 = dtype == PTQC_F8E4M3;
    w->shape.format = is_e4m3 ? PQ_WEIGHT_E4M3 : PQ_WEIGHT_E5M2;
    for (int64_t i = 0; is_e4m3 && i < scale_count; i++) {
        if (isfinite(w->source.scales[i]) &&
            !isfinite(w->source.scales[i] * 256.0f)) {
            pq_decline(l, "scales of the weights"); // as they are packed
        }
    }
    if (!is_symmetric(w->source.zeros, scale_count, 0)) {
        pq_decline(l, "zero points of floats");
    }
}

static void
read_codes(pq_lower *l, bool is_token, pq_lower_weights *w)
{
    const ptqc_gb_value *v = w->value;
    const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, v->quant);
    int64_t scales, zeros;
    w->source.scales = pq_quant_scales(l, q, &scales);
    w->source.zeros = pq_quant_zeros(l, q, &zeros);
    w->source.is_signed = v->dtype == PTQC_I8 || v->dtype == PTQC_I4;
    bool nibbles = v->dtype == PTQC_I4 || v->dtype == PTQC_U4;
    bool bytes = v->dtype == PTQC_I8 || v->dtype == PTQC_U8;
    bool floats =
        (v->dtype == PTQC_F8E4M3 || v->dtype == PTQC_F8E5M2) && !is_token;
    if ((!nibbles && !bytes && !floats) || w->source.scales == NULL ||
        scales < 1 || (w->source.zeros != NULL && zeros != scales) ||
        !read_scale_strides(q, scales, w)) {
        pq_decline(l, "scales of the weights");
        return;
    }
    if (floats) {
        read_float8(l, v->dtype, scales, w);
        return;
    }
    if (v->rank != 2) {
        pq_decline(l, "codes of rank %u", v->rank);
        return;
    }
    w->shape.format = nibbles ? PQ_WEIGHT_FIXED4 : PQ_WEIGHT_FIXED8;
    w->shape.half_scales =
        pq_scales_are_half(w->source.scales, scales) ? 1u : 0u;
    w->digits = is_token ? 1 : 2;
    if (w->shape.group == 0) {
        w->shape.group =
            is_token ? (w->shape.k + 15) / 16 * 16 : PQ_CHANNEL_GROUP;
    }
    int32_t middle = w->source.is_signed ? 0 : nibbles ? 8 : 128;
    bool symmetric = is_symmetric(w->source.zeros,
                                  w->source.zeros != NULL ? zeros : 0, middle);
    w->shape.asymmetric = symmetric ? 0 : 1;
}

void
pq_lower_weights_read(pq_lower *l, bool is_integer, bool is_token,
                      pq_lower_weights *w)
{
    const ptqc_gb_value *v = w->value;
    int64_t count;
    if (is_integer) {
        w->shape.format = PQ_WEIGHT_S8;
        w->source.data = pq_lower_weight_s8(l, v);
    } else if (pq_gv_is_quantized(l, v)) {
        w->source.data = pq_gv_constant(l, v, &count);
        read_codes(l, is_token, w);
    } else if (v->dtype == PTQC_F32 || v->dtype == PTQC_F16 ||
               v->dtype == PTQC_BF16) {
        w->shape.format = v->dtype == PTQC_F32   ? PQ_WEIGHT_F32
                          : v->dtype == PTQC_F16 ? PQ_WEIGHT_F16
                                                 : PQ_WEIGHT_BF16;
        w->source.data = pq_gv_constant(l, v, &count);
    } else {
        pq_decline(l, "type of the weights");
    }
    if (pq_lower_ok(l) && pq_weight_bytes(&w->shape) <= 0) {
        pq_decline(l, "group size of the weights");
    }
}

typedef struct packing {
    const pq_lower_weights *w;
    uint8_t *out;
} packing;

// Bytes from column 0 to column n of the source; n is even.
static int64_t
column_bytes(const pq_lower_weights *w, int64_t n)
{
    static const uint8_t BITS[PQ_WEIGHT_COUNT] = {
        [PQ_WEIGHT_F32] = 32,  [PQ_WEIGHT_S8] = 8,     [PQ_WEIGHT_F16] = 16,
        [PQ_WEIGHT_BF16] = 16, [PQ_WEIGHT_FIXED8] = 8, [PQ_WEIGHT_FIXED4] = 4,
        [PQ_WEIGHT_E4M3] = 8,  [PQ_WEIGHT_E5M2] = 8,
    };
    return n * w->source.n_stride * BITS[w->shape.format] / 8;
}

// Strips [begin, end): the packing of those columns alone.
static void
pack_strips(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const packing *p = user;
    const pq_lower_weights *w = p->w;
    int64_t first = 16 * (int64_t)begin, last = 16 * (int64_t)end;
    pq_weight_shape shape = w->shape;
    pq_weight_source source = w->source;
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
pack_and_emit(pq_lower *l, const pq_lower_weights *w, const ptqc_gb_constant *c,
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
        return PQ_CPU_NONE;
    }
    vt->parallel_for(l->host->self, (uint64_t)pq_strip_columns(w->shape.n) / 16,
                     1, pack_strips, &p);
    uint32_t value = pq_emit_packed(l, c, layout, p.out, bytes);
    vt->free(l->host->self, p.out);
    return value;
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

uint32_t
pq_lower_weights_emit(pq_lower *l, const pq_lower_weights *w)
{
    const ptqc_gb_value *v = w->value;
    const ptqc_gb_constant *c = ptqc_gb_constant_at(l->g, v->constant);
    char layout[PQ_LAYOUT_MAX], scales[17] = "", zeros[17] = "";
    if (v->quant != PTQC_GB_NONE && w->source.scales != NULL) {
        // codes of one constant may carry other scales elsewhere
        const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, v->quant);
        print_hash(l, q->scale, scales);
        print_hash(l, q->zero_point, zeros);
    }
    // equal bytes may also be another type or another shape
    snprintf(layout, sizeof layout,
             "cpu.%u%s%s.%s.k%lld.n%lld.g%lld.t%u.v3.%s.%s", w->shape.format,
             w->shape.asymmetric ? "a" : "", w->shape.half_scales ? "h" : "",
             w->trans ? "nk" : "kn", (long long)w->shape.k,
             (long long)w->shape.n, (long long)w->shape.group, v->dtype, scales,
             zeros);
    uint32_t found = pq_find_packed(l, c, layout);
    return found != PQ_CPU_NONE || !pq_lower_ok(l)
               ? found
               : pack_and_emit(l, w, c, layout);
}
