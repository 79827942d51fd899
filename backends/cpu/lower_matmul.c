// SPDX-License-Identifier: Apache-2.0
//
// Lowering of matmul.
//
// MATMUL step (constant weights): inputs a [.., K], packed weights, init,
// mult, bias, residual, row scales, zero points of the weights (codes);
// output [.., N]. Parameters:
//     [0] k  [1] n  [2] weight format  [3] asymmetric  [4] group
//     [5] half scales  [6] digits of the rows  [7..] epilogue
// FIX_ROWS step: inputs x and, with one digit, its scales; output rows of
// fixed.h. Parameters: [0] k  [1] group  [2] digits
// BMM step (both at run time): inputs a, b, bias, residual; output.
//     [0] batch axes  [1] a  [2] b  [3] output  [4] residual  [5..] epilogue
// where each of [1..4] is 4 bits per logical axis (batch axes, row, column):
// the physical axis of that operand, 15 = none (broadcast).
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fixed.h"
#include "gemm.h"
#include "lower_epilogue.h"
#include "move.h"

#define AXIS_NONE 15u
// One scale per channel, real x: sums are exact within so many k
// (docs/numerics.md section 4).
#define PQ_CHANNEL_GROUP 512

// ---- constant weights ------------------------------------------------------

typedef struct weights {
    pq_weight_shape shape;
    pq_weight_source source;
    uint32_t digits; // FIXED8, FIXED4: of the rows
    bool trans;      // stored [N][K]
} weights;

// Operand 1, or the constant under a cast that is left out.
static const ptqc_gb_value *
weights_of(const pq_lower *l)
{
    uint32_t producer = l->values[pq_in_index(l, 1)].producer;
    if (producer == PQ_CPU_NONE || !l->fused[producer]) {
        return pq_in(l, 1);
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

static bool
read_weight_dims(pq_lower *l, weights *w)
{
    const ptqc_gb_value *v = weights_of(l);
    int64_t rows, cols;
    w->trans = pq_attr_i64(l, "trans_b", 0) != 0;
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

// Every zero point the middle code? Fills *out_middle.
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
read_scale_strides(pq_lower *l, const ptqc_gb_quant *q, int64_t count,
                   weights *w)
{
    const ptqc_gb_value *v = weights_of(l);
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
    if (q->granularity == PTQC_GRAN_GROUP && q->axis == k_axis &&
        q->group > 0) {
        int64_t groups = (k + q->group - 1) / q->group;
        w->shape.group = q->group;
        w->source.scale_g_stride = 1;
        w->source.scale_n_stride = k_axis == 0 ? 0 : groups;
        return count == (k_axis == 0 ? groups : groups * n);
    }
    return false;
}

// The rest of read_weight_only for floats of 8 bits.
static void
read_float8(pq_lower *l, uint32_t dtype, int64_t scale_count, weights *w)
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
read_codes(pq_lower *l, const pq_lower_epilogue *e, weights *w)
{
    const ptqc_gb_value *v = weights_of(l);
    const ptqc_gb_quant *q = ptqc_gb_quant_at(l->g, v->quant);
    int64_t scales, zeros;
    w->source.scales = pq_quant_scales(l, q, &scales);
    w->source.zeros = pq_quant_zeros(l, q, &zeros);
    w->source.is_signed = v->dtype == PTQC_I8 || v->dtype == PTQC_I4;
    bool nibbles = v->dtype == PTQC_I4 || v->dtype == PTQC_U4;
    bool bytes = v->dtype == PTQC_I8 || v->dtype == PTQC_U8;
    bool floats =
        (v->dtype == PTQC_F8E4M3 || v->dtype == PTQC_F8E5M2) && !e->is_grouped;
    if ((!nibbles && !bytes && !floats) || w->source.scales == NULL ||
        scales < 1 || (w->source.zeros != NULL && zeros != scales) ||
        !read_scale_strides(l, q, scales, w)) {
        pq_decline(l, "scales of the weights");
        return;
    }
    w->shape.format = nibbles ? PQ_WEIGHT_W4 : PQ_WEIGHT_W8;
    if (floats) {
        read_float8(l, v->dtype, scales, w);
        return;
    }
    if (e->is_grouped || q->granularity != PTQC_GRAN_GROUP || w->trans) {
        w->shape.format = nibbles ? PQ_WEIGHT_FIXED4 : PQ_WEIGHT_FIXED8;
        w->shape.half_scales =
            pq_scales_are_half(w->source.scales, scales) ? 1u : 0u;
        w->digits = e->is_grouped ? 1 : 2;
    }
    if (w->shape.group == 0 && pq_weight_is_fixed(w->shape.format)) {
        w->shape.group =
            e->is_grouped ? (w->shape.k + 15) / 16 * 16 : PQ_CHANNEL_GROUP;
    }
    int32_t middle = w->source.is_signed ? 0 : nibbles ? 8 : 128;
    bool symmetric = is_symmetric(w->source.zeros,
                                  w->source.zeros != NULL ? zeros : 0, middle);
    w->shape.asymmetric = symmetric ? 0 : 1;
    if (!symmetric && v->dtype == PTQC_I8 && w->shape.format == PQ_WEIGHT_W8) {
        pq_decline(l, "asymmetric i8 weights");
    }
}

static void
read_weights(pq_lower *l, const pq_lower_epilogue *e, weights *w)
{
    const ptqc_gb_value *v = weights_of(l);
    int64_t count;
    if (e->is_integer) {
        w->shape.format = PQ_WEIGHT_S8;
        w->source.data = pq_lower_weight_s8(l, v);
    } else if (pq_gv_is_quantized(l, v)) {
        w->source.data = pq_gv_constant(l, v, &count);
        read_codes(l, e, w);
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
    const weights *w;
    uint8_t *out;
} packing;

// Bytes from column 0 to column n of the source; n is even.
static int64_t
column_bytes(const weights *w, int64_t n)
{
    static const uint8_t BITS[PQ_WEIGHT_COUNT] = {
        [PQ_WEIGHT_F32] = 32,   [PQ_WEIGHT_S8] = 8,     [PQ_WEIGHT_W8] = 8,
        [PQ_WEIGHT_W4] = 4,     [PQ_WEIGHT_F16] = 16,   [PQ_WEIGHT_BF16] = 16,
        [PQ_WEIGHT_FIXED8] = 8, [PQ_WEIGHT_FIXED4] = 4, [PQ_WEIGHT_E4M3] = 8,
        [PQ_WEIGHT_E5M2] = 8,
    };
    return n * w->source.n_stride * BITS[w->shape.format] / 8;
}

// Strips [begin, end): the packing of those columns alone.
static void
pack_strips(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const packing *p = user;
    const weights *w = p->w;
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
pack_and_emit(pq_lower *l, const weights *w, const ptqc_gb_constant *c,
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

static uint32_t
emit_weights(pq_lower *l, const weights *w)
{
    const ptqc_gb_constant *c =
        ptqc_gb_constant_at(l->g, weights_of(l)->constant);
    char layout[64];
    snprintf(layout, sizeof layout, "cpu.strip16.%u%s%s.%s.g%lld.v2",
             w->shape.format, w->shape.asymmetric ? "a" : "",
             w->shape.half_scales ? "h" : "", w->trans ? "nk" : "kn",
             (long long)w->shape.group);
    // Codes of one constant may carry other scales elsewhere.
    bool shared = !pq_weight_is_codes(w->shape.format) &&
                  !pq_weight_is_fixed(w->shape.format);
    uint32_t found = shared ? pq_find_packed(l, c, layout) : PQ_CPU_NONE;
    if (found != PQ_CPU_NONE || !pq_lower_ok(l)) {
        return found;
    }
    return pack_and_emit(l, w, shared ? c : NULL, layout);
}

// [n] 4-byte elements, padded to whole strips.
static uint32_t
emit_columns(pq_lower *l, int64_t n, const void *values, uint32_t dtype)
{
    if (values == NULL || !pq_lower_ok(l)) {
        return PQ_CPU_NONE;
    }
    int64_t count = pq_strip_columns(n);
    void *padded = pq_mem_array(l->mem, (size_t)count, 4);
    if (padded == NULL) {
        pq_lower_no_memory(l);
        return PQ_CPU_NONE;
    }
    memcpy(padded, values, (size_t)n * 4);
    return pq_emit_array(l, dtype, padded, (uint32_t)count);
}

static uint32_t
emit_init(pq_lower *l, const weights *w, const pq_lower_epilogue *e)
{
    int64_t count = pq_strip_columns(w->shape.n);
    int32_t *init = pq_mem_array(l->mem, (size_t)count, sizeof *init);
    if (init == NULL || !pq_lower_ok(l)) {
        pq_lower_no_memory(l);
        return PQ_CPU_NONE;
    }
    if (!l->dry) {
        pq_weight_init(&w->shape, &w->source, e->bias_acc, e->x_zero, init);
    }
    return pq_emit_array(l, PTQC_I32, init, (uint32_t)count);
}

// Order of a whose last axis is K (logical axis k_axis).
static void
order_of_a(const pq_lower *l, uint32_t gv, uint32_t k_axis, uint8_t *perm)
{
    const pq_lower_value *s = &l->values[gv];
    uint32_t rank = ptqc_gb_value_at(l->g, gv)->rank;
    for (uint32_t i = 0; i < s->form_count; i++) {
        if (s->forms[i].perm[rank - 1] == k_axis) {
            memcpy(perm, s->forms[i].perm, rank);
            return;
        }
    }
    pq_perm_identity(perm, rank);
    perm[rank - 1] = (uint8_t)k_axis;
    perm[rank - 2] = (uint8_t)(k_axis == rank - 1 ? rank - 2 : rank - 1);
}

// Rows of fixed point numbers of x, made once for the products that follow.
// scales: PQ_CPU_NONE, or of the rows when x are codes.
static uint32_t
use_fixed(pq_lower *l, uint32_t x, uint32_t scales, const weights *w)
{
    pq_fixed_shape shape = {
        .k = w->shape.k, .group = w->shape.group, .digits = w->digits};
    if (!pq_lower_ok(l) ||
        (l->fixed_group == shape.group && l->fixed_from == x)) {
        return l->fixed_rows;
    }
    const pq_cpu_value *v = &l->entry->values[x];
    uint32_t dims[PTQC_MAX_RANK], rank = v->rank;
    memcpy(dims, v->dims, rank * sizeof *dims);
    dims[rank - 1] = pq_dim_of(l, pq_fixed_row_bytes(&shape));
    uint32_t rows = pq_new_temp(l, PTQC_U8, dims, rank);
    pq_step_begin(l, PQ_STEP_FIX_ROWS, "fixed point rows");
    pq_step_in(l, x);
    pq_step_in(l, scales);
    pq_step_out(l, rows);
    pq_step_i64(l, shape.k);
    pq_step_i64(l, shape.group);
    pq_step_i64(l, shape.digits);
    l->fixed_from = x;
    l->fixed_group = shape.group;
    l->fixed_rows = rows;
    return rows;
}

static void
write_matmul(pq_lower *l, const weights *w, const pq_lower_epilogue *e,
             const uint32_t *args, uint32_t out)
{
    static const char *const FORMATS[] = {
        "f32",  "u8s8",     "f32w8",    "f32w4", "f16",
        "bf16", "fixed w8", "fixed w4", "e4m3",  "e5m2"};
    pq_step_begin(l, PQ_STEP_MATMUL, "matmul k%lld n%lld %s",
                  (long long)w->shape.k, (long long)w->shape.n,
                  FORMATS[w->shape.format]);
    for (uint32_t i = 0; i < 8; i++) {
        pq_step_in(l, args[i]);
    }
    pq_step_out(l, out);
    pq_step_i64(l, w->shape.k);
    pq_step_i64(l, w->shape.n);
    pq_step_i64(l, w->shape.format);
    pq_step_i64(l, w->shape.asymmetric);
    pq_step_i64(l, w->shape.group);
    pq_step_i64(l, w->shape.half_scales);
    pq_step_i64(l, w->digits);
    pq_step_epilogue(l, e);
}

static void
lower_constant(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0), *b = weights_of(l);
    weights w = {0};
    if (a->rank < 2 || pq_out(l, 0)->rank != a->rank ||
        !read_weight_dims(l, &w)) {
        pq_decline(l, "rank");
        return;
    }
    pq_lower_epilogue e;
    pq_lower_epilogue_read(l, w.shape.n, w.trans ? b->rank - 2 : b->rank - 1,
                           &e);
    if (pq_lower_ok(l)) {
        read_weights(l, &e, &w);
    }
    if (!pq_lower_ok(l)) {
        return;
    }
    bool trans_a = pq_attr_i64(l, "trans_a", 0) != 0;
    uint32_t k_axis = trans_a ? a->rank - 2 : a->rank - 1;
    uint8_t perm[PTQC_MAX_RANK], out_perm[PTQC_MAX_RANK];
    order_of_a(l, pq_in_index(l, 0), k_axis, perm);
    for (uint32_t i = 0; i < a->rank; i++) {
        out_perm[i] = perm[i] == k_axis         ? (uint8_t)(a->rank - 1)
                      : perm[i] + 2u >= a->rank ? (uint8_t)(a->rank - 2)
                                                : perm[i];
    }
    bool codes = e.is_integer;
    uint32_t args[8] = {
        codes || e.is_grouped ? pq_use(l, pq_in_index(l, 0), perm).value
                              : pq_use_real(l, pq_in_index(l, 0), perm).value,
        emit_weights(l, &w),
        codes ? emit_init(l, &w, &e) : PQ_CPU_NONE,
        emit_columns(l, w.shape.n, e.mult, PTQC_F32),
        emit_columns(l, w.shape.n, e.bias, PTQC_F32),
        pq_use(l, pq_in_index(l, 3), out_perm).value,
        PQ_CPU_NONE,
        emit_columns(l, w.shape.n, e.weight_zero, PTQC_I32),
    };
    if (e.is_dynamic) {
        const ptqc_gb_value *s = pq_in(l, 4);
        if (s == NULL || s->rank != a->rank || s->dtype != PTQC_F32) {
            pq_decline(l, "scales of the rows");
            return;
        }
        args[6] = pq_use(l, pq_in_index(l, 4), perm).value;
    }
    if (pq_weight_is_fixed(w.shape.format)) {
        args[0] = use_fixed(l, args[0], args[6], &w);
        args[6] = PQ_CPU_NONE; // the rows have them
    }
    pq_ref out = pq_lower_epilogue_define(l, &e, out_perm);
    write_matmul(l, &w, &e, args, out.value);
    pq_lower_epilogue_end(l, &e, &out);
}

// ---- both operands at run time ---------------------------------------------

// 4 bits per logical axis (batch axes, row, column) of the physical axis.
static int64_t
axis_map(const pq_ref *ref, uint32_t batch_rank, bool swapped)
{
    uint64_t map = 0;
    uint32_t skip = batch_rank + 2 - ref->rank; // leading axes it has not
    for (uint32_t i = 0; i < batch_rank + 2; i++) {
        uint32_t logical = i;
        if (swapped && i >= batch_rank) {
            logical = i == batch_rank ? batch_rank + 1 : batch_rank;
        }
        uint32_t axis = AXIS_NONE;
        if (logical >= skip) {
            axis = pq_ref_axis(ref, logical - skip);
        }
        map |= (uint64_t)axis << (4 * i);
    }
    return (int64_t)map;
}

// b may be used as it is when K or N is innermost.
static void
order_of_b(const pq_lower *l, uint32_t gv, uint8_t *perm)
{
    const pq_lower_value *s = &l->values[gv];
    uint32_t rank = ptqc_gb_value_at(l->g, gv)->rank;
    pq_perm_identity(perm, rank);
    for (uint32_t i = 0; i < s->form_count; i++) {
        if (s->forms[i].perm[rank - 1] + 2u >= rank) {
            memcpy(perm, s->forms[i].perm, rank);
            return;
        }
    }
}

void
pq_lower_result_order(const pq_lower *l, uint8_t *perm)
{
    uint32_t gv = pq_out_index(l, 0);
    const ptqc_gb_value *v = ptqc_gb_value_at(l->g, gv);
    const pq_lower_value *s = &l->values[gv];
    pq_perm_identity(perm, v->rank);
    if (s->use_count != 1 || s->consumer == PQ_CPU_NONE || s->is_output) {
        return;
    }
    const ptqc_gb_node *n = ptqc_gb_node_at(l->g, s->consumer);
    const ptqc_gb_attr *a = ptqc_gb_find_attr(l->g, n, "perm");
    if (!ptqc_gb_text_is(l->g, n->op, "transpose") || a == NULL ||
        a->kind != PTQC_GB_ATTR_I64S || a->count != v->rank) {
        return;
    }
    uint8_t order[PTQC_MAX_RANK];
    uint32_t seen = 0;
    for (uint32_t i = 0; i < v->rank; i++) {
        int64_t x =
            *(const int64_t *)ptqc_gb_at(l->g, PTQC_GB_I64S, a->first + i);
        if (x < 0 || x >= (int64_t)v->rank) {
            return;
        }
        order[i] = (uint8_t)x;
        seen |= 1u << x;
    }
    if (seen == (1u << v->rank) - 1 && order[v->rank - 1] == v->rank - 1) {
        memcpy(perm, order, v->rank);
    }
}

static void
lower_both(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0), *b = pq_in(l, 1);
    const ptqc_gb_value *y = pq_out(l, 0);
    uint32_t batch_rank = y->rank >= 2 ? y->rank - 2 : 0;
    if (a->rank < 2 || b->rank < 2 || y->rank < 2 ||
        batch_rank > PQ_BMM_RANK_MAX) {
        pq_decline(l, "rank");
        return;
    }
    if (pq_gv_is_quantized(l, a) && pq_gv_is_quantized(l, b)) {
        pq_decline(l, "codes on both sides, neither constant");
        return;
    }
    if (pq_in(l, 2) != NULL) {
        pq_decline(l, "bias without constant weights");
        return;
    }
    pq_lower_epilogue e;
    pq_lower_epilogue_read(l, 1, 0, &e);
    bool trans_a = pq_attr_i64(l, "trans_a", 0) != 0;
    bool trans_b = pq_attr_i64(l, "trans_b", 0) != 0;
    uint8_t perm_a[PTQC_MAX_RANK], perm_b[PTQC_MAX_RANK], perm_y[PTQC_MAX_RANK];
    order_of_a(l, pq_in_index(l, 0), trans_a ? a->rank - 2 : a->rank - 1,
               perm_a);
    order_of_b(l, pq_in_index(l, 1), perm_b);
    pq_lower_result_order(l, perm_y);
    pq_ref ra = pq_use_real(l, pq_in_index(l, 0), perm_a);
    pq_ref rb = pq_use_real(l, pq_in_index(l, 1), perm_b);
    pq_ref rr = pq_use(l, pq_in_index(l, 3), perm_y);
    pq_ref out = pq_lower_epilogue_define(l, &e, perm_y);
    if (!pq_lower_ok(l)) {
        return;
    }
    pq_step_begin(l, PQ_STEP_BMM, "matmul of two results f32");
    pq_step_in(l, ra.value);
    pq_step_in(l, rb.value);
    pq_step_in(l, PQ_CPU_NONE);
    pq_step_in(l, rr.value);
    pq_step_out(l, out.value);
    pq_step_i64(l, batch_rank);
    pq_step_i64(l, axis_map(&ra, batch_rank, trans_a));
    pq_step_i64(l, axis_map(&rb, batch_rank, trans_b));
    pq_step_i64(l, axis_map(&out, batch_rank, false));
    pq_step_i64(l,
                rr.value != PQ_CPU_NONE ? axis_map(&rr, batch_rank, false) : 0);
    pq_step_epilogue(l, &e);
    pq_lower_epilogue_end(l, &e, &out);
}

void
pq_lower_matmul(pq_lower *l)
{
    const ptqc_gb_value *a = pq_in(l, 0), *b = pq_in(l, 1);
    if (a == NULL || b == NULL || b->rank < 2) {
        pq_decline(l, "operands of rank 1");
        return;
    }
    bool constant = weights_of(l)->constant != PTQC_GB_NONE;
    for (uint32_t i = 0; i + 2 < b->rank; i++) {
        int64_t d;
        constant = constant && pq_gv_dim_const(l, b, i, &d) && d == 1;
    }
    if (constant && b->rank <= a->rank) {
        lower_constant(l);
    } else {
        lower_both(l);
    }
}
