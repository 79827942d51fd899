// SPDX-License-Identifier: Apache-2.0
//
// Lowering of conv and conv_transpose.
//
// CONV step: inputs x [N][spatial][C], packed weights, init (codes), mult
// (scales of weights that are codes), bias, residual, zero points of the
// weights; output [N][spatial][OC].
// Parameters:
//     [0] spatial axes  [1] groups  [2] C  [3] OC  [4..6] kernel
//     [7..9] stride  [10..12] dilation  [13..15] pad begin (D, H, W each)
//     [16] weight format  [17] transposed  [18] pad value  [19..] epilogue
#include "backends/kgen/lower_conv.h"

#include <stdio.h>
#include <string.h>

#include "backends/kgen/lower_epilogue.h"
#include "conv.h"
#include "lowering.h"

// The window as the descriptor has it.
static bool
read_sizes(pq_lower *l, pq_conv_desc *d, uint32_t *out_spatial)
{
    pq_lower_window w;
    if (!pq_lower_conv_window(l, &w)) {
        return false;
    }
    *out_spatial = w.spatial;
    d->transposed = w.is_transposed ? 1 : 0;
    d->groups = w.groups;
    d->in_channels = w.in_channels;
    d->out_channels = w.out_channels;
    for (uint32_t i = 0; i < 3; i++) {
        d->in[i] = d->out[i] = 1;
        d->kernel[i] = w.kernel[i];
        d->stride[i] = w.stride[i];
        d->dilation[i] = w.dilation[i];
        d->pad_begin[i] = w.pad_begin[i];
    }
    return true;
}

// Sizes for a question that needs some: unknown dims count as their smallest.
static int64_t
sample_dim(const pq_lower *l, const ptqc_gb_value *v, uint32_t axis)
{
    int64_t d;
    return pq_gv_dim_const(l, v, axis, &d) ? d : 64;
}

static void
check_supported(pq_lower *l, pq_conv_desc *d, uint32_t spatial)
{
    const ptqc_gb_value *x = pq_in(l, 0), *y = pq_out(l, 0);
    d->batch = sample_dim(l, x, 0);
    for (uint32_t i = 0; i < spatial; i++) {
        d->in[3 - spatial + i] = sample_dim(l, x, 2 + i);
        d->out[3 - spatial + i] = sample_dim(l, y, 2 + i);
    }
    const char *why = "";
    if (pq_lower_ok(l) && !pq_conv_is_supported(d, &why)) {
        pq_decline(l, "%s", why);
    }
}

// Packed channel array as a constant; absent when values is NULL.
static uint32_t
emit_channels(pq_lower *l, const pq_conv_desc *d, const void *values,
              uint32_t dtype)
{
    if (values == NULL || !pq_lower_ok(l)) {
        return PQ_KG_NONE;
    }
    int64_t count = pq_conv_channel_count(d);
    void *packed = pq_mem_array(l->mem, (size_t)count, 4);
    if (packed == NULL) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    pq_conv_channel_pack(d, values, packed);
    return pq_emit_array(l, dtype, packed, (uint32_t)count);
}

static void *
aligned_temp(pq_lower *l, int64_t bytes)
{
    uint8_t *p = pq_mem_array(&l->scratch, (size_t)bytes + 64, 1);
    if (p == NULL) {
        pq_lower_no_memory(l);
        return NULL;
    }
    return p + (-(uintptr_t)p & 63);
}

static uint32_t
emit_weights(pq_lower *l, const pq_conv_desc *d, const void *codes)
{
    const ptqc_gb_constant *c =
        ptqc_gb_constant_at(l->g, pq_in(l, 1)->constant);
    int64_t bytes = pq_conv_weight_bytes(d);
    if (bytes <= 0) {
        pq_decline(l, "weights cannot be packed");
        return PQ_KG_NONE;
    }
    // equal bytes may be weights of another shape or type
    char layout[PQ_LAYOUT_MAX];
    snprintf(
        layout, sizeof layout,
        "cpu.conv.%u.%u.t%u.g%lld.c%lld.%lld.k%lld.%lld.%lld.d%lld.%lld.v2",
        d->weight, d->transposed, pq_in(l, 1)->dtype, (long long)d->groups,
        (long long)d->in_channels, (long long)d->out_channels,
        (long long)d->kernel[0], (long long)d->kernel[1],
        (long long)d->kernel[2], (long long)d->dilation[1],
        (long long)d->dilation[2]);
    uint32_t found = pq_find_packed(l, c, layout);
    if (found != PQ_KG_NONE) {
        return found;
    }
    void *packed = NULL;
    if (!l->dry) {
        packed = aligned_temp(l, bytes);
        if (packed == NULL) {
            return PQ_KG_NONE;
        }
        pq_conv_weight_pack(d, codes, packed);
    }
    return pq_emit_packed(l, c, layout, packed, (uint64_t)bytes);
}

static uint32_t
emit_init(pq_lower *l, const pq_conv_desc *d, const int8_t *codes,
          const int32_t *bias)
{
    int64_t count = pq_conv_channel_count(d);
    int32_t *init = pq_mem_array(l->mem, (size_t)count, sizeof *init);
    if (init == NULL) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    if (!l->dry) {
        pq_conv_init_pack(d, codes, bias, init);
    }
    return pq_emit_array(l, PTQC_I32, init, (uint32_t)count);
}

static void
write_step(pq_lower *l, const pq_conv_desc *d, uint32_t spatial,
           const pq_lower_epilogue *e, const uint32_t *args, uint32_t out)
{
    static const char *const FORMATS[] = {"f32", "u8s8", "f32w8", "f32w4"};
    pq_step_begin(l, PQ_STEP_CONV, "conv%s %lldx%lld/%lld %lld->%lld%s %s",
                  d->transposed ? "_transpose" : "", (long long)d->kernel[1],
                  (long long)d->kernel[2], (long long)d->stride[2],
                  (long long)d->in_channels, (long long)d->out_channels,
                  d->groups > 1 ? " grouped" : "", FORMATS[d->weight]);
    for (uint32_t i = 0; i < 7; i++) {
        pq_step_in(l, args[i]);
    }
    pq_step_out(l, out);
    pq_step_i64(l, spatial);
    pq_step_i64(l, d->groups);
    pq_step_i64(l, d->in_channels);
    pq_step_i64(l, d->out_channels);
    const int64_t *lists[4] = {d->kernel, d->stride, d->dilation, d->pad_begin};
    for (uint32_t i = 0; i < 12; i++) {
        pq_step_i64(l, lists[i / 3][i % 3]);
    }
    pq_step_i64(l, d->weight);
    pq_step_i64(l, d->transposed);
    pq_step_i64(l, d->pad_value);
    pq_step_epilogue(l, e);
}

// Weights as the step wants them, and how; NULL after a refusal.
static const void *
read_weights(pq_lower *l, pq_conv_desc *d, pq_lower_epilogue *e)
{
    const ptqc_gb_value *w = pq_in(l, 1);
    int64_t count;
    if (e->is_integer) {
        d->weight = PQ_WEIGHT_S8;
        d->pad_value = (uint32_t)e->x_zero;
        return pq_lower_weight_s8(l, w);
    }
    if (pq_gv_is_quantized(l, w)) {
        bool is_byte = w->dtype == PTQC_I8 || w->dtype == PTQC_U8;
        d->weight = is_byte ? PQ_WEIGHT_W8 : PQ_WEIGHT_W4;
        pq_lower_weight_scales(l, d->out_channels, d->transposed ? 1 : 0, e);
        d->asymmetric = e->weight_zero != NULL;
        return pq_lower_weight_codes(l, w);
    }
    if (w->dtype != PTQC_F32) {
        pq_decline(l, "type of the weights");
        return NULL;
    }
    d->weight = PQ_WEIGHT_F32;
    return pq_gv_constant(l, w, &count);
}

void
pq_cpu_lower_conv(pq_lower *l)
{
    pq_conv_desc d = {0};
    uint32_t spatial;
    if (!read_sizes(l, &d, &spatial)) {
        return;
    }
    pq_lower_epilogue e;
    pq_lower_epilogue_read(l, d.out_channels, d.transposed ? 1 : 0, &e);
    if (e.is_dynamic) {
        pq_decline(l, "dynamic activations");
    }
    d.epilogue = e.ep;
    const void *weights = pq_lower_ok(l) ? read_weights(l, &d, &e) : NULL;
    check_supported(l, &d, spatial);
    if (!pq_lower_ok(l)) {
        return;
    }
    uint8_t perm[PTQC_MAX_RANK];
    pq_perm_channels_last(perm, pq_in(l, 0)->rank);
    uint32_t args[7] = {
        e.is_integer ? pq_use(l, pq_in_index(l, 0), perm).value
                     : pq_use_real(l, pq_in_index(l, 0), perm).value,
        emit_weights(l, &d, weights),
        e.is_integer ? emit_init(l, &d, weights, e.bias_acc) : PQ_KG_NONE,
        emit_channels(l, &d, e.mult, PTQC_F32),
        emit_channels(l, &d, e.bias, PTQC_F32),
        pq_use(l, pq_in_index(l, 3), perm).value,
        emit_channels(l, &d, e.weight_zero, PTQC_I32),
    };
    pq_ref out = pq_lower_epilogue_define(l, &e, perm);
    write_step(l, &d, spatial, &e, args, out.value);
    pq_lower_epilogue_end(l, &e, &out);
}
