// SPDX-License-Identifier: Apache-2.0
//
// Lowering of conv and conv_transpose to PLANAR_CONV and PLANAR_DEPTHWISE
// (kernels.def). Channels last.
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "lower_conv.h"
#include "planar_lower.h"
#include "planar_pack.h"
#include "planar_tail.h"

typedef struct conv {
    pq_lower_window window;
    bool is_depthwise;
    pq_kg_weight format;
    pq_kg_scales form;
    const void *weights;  // floats, or s8 codes, dense as the graph has them
    const int32_t *zeros; // [OC], or NULL
    pq_planar_part *parts;
    uint32_t part_count;
    uint32_t pad_code;
} conv;

static int64_t
tap_count(const pq_lower_window *w)
{
    return w->kernel[0] * w->kernel[1] * w->kernel[2];
}

// ---- weights ---------------------------------------------------------------

static void
read_float_weights(pq_lower *l, conv *c)
{
    const ptqc_gb_value *w = pq_in(l, 1);
    int64_t count;
    if (w->dtype != PTQC_F32 && w->dtype != PTQC_F16 && w->dtype != PTQC_BF16) {
        pq_decline(l, "type of the weights");
        return;
    }
    c->format = w->dtype == PTQC_F32   ? PQ_KG_WEIGHT_F32
                : w->dtype == PTQC_F16 ? PQ_KG_WEIGHT_F16
                                       : PQ_KG_WEIGHT_BF16;
    c->weights = pq_gv_constant(l, w, &count);
}

// Codes become one s8 each, also those of 4 bits.
static void
read_weights(pq_lower *l, pq_lower_epilogue *e, conv *c)
{
    const ptqc_gb_value *w = pq_in(l, 1);
    if (!pq_lower_ok(l)) {
        return;
    }
    if (!e->is_integer && !pq_gv_is_quantized(l, w)) {
        read_float_weights(l, c);
        return;
    }
    c->format = PQ_KG_WEIGHT_I8;
    if (e->is_integer) {
        c->pad_code = (uint32_t)e->x_zero & 0xff;
        c->weights = pq_lower_weight_s8(l, w);
    } else {
        pq_lower_weight_scales(l, c->window.out_channels,
                               c->window.is_transposed ? 1 : 0, e);
        c->weights = pq_lower_weight_codes(l, w);
    }
    c->zeros = e->weight_zero;
}

static uint32_t
element_bytes(pq_kg_weight format)
{
    return format == PQ_KG_WEIGHT_F32 ? 4 : format == PQ_KG_WEIGHT_I8 ? 1 : 2;
}

// [taps][OC of the part], rows filled up to 4 bytes.
static uint32_t
emit_depthwise(pq_lower *l, const conv *c, const pq_planar_part *part,
               const ptqc_gb_constant *constant, const char *layout)
{
    int64_t taps = tap_count(&c->window);
    size_t element = element_bytes(c->format);
    size_t row = ((size_t)part->n * element + 3) / 4 * 4;
    uint32_t found = pq_find_packed(l, constant, layout);
    if (found != PQ_KG_NONE || !pq_lower_ok(l)) {
        return found;
    }
    uint8_t *out = pq_mem_array(&l->scratch, (size_t)taps, row);
    if (out == NULL) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    const uint8_t *w = c->weights; // [OC][1][taps]
    for (int64_t i = 0; i < part->n * taps && !l->dry; i++) {
        memcpy(out + (size_t)(i % taps) * row + (size_t)(i / taps) * element,
               w + (size_t)(part->first * taps + i) * element, element);
    }
    return pq_emit_packed(l, constant, layout, out, (size_t)taps * row);
}

static uint32_t
emit_planar(pq_lower *l, const conv *c, const pq_planar_part *part,
            const ptqc_gb_constant *constant, const char *layout)
{
    const pq_lower_window *w = &c->window;
    int64_t taps = tap_count(w), length = w->in_channels / w->groups;
    int64_t rows = w->out_channels / w->groups; // of a group
    pq_planar_shape shape = {
        .format = c->format,
        .n = part->n,
        .segments = taps,
        .segment = length,
        .last = length,
    };
    pq_planar_source source = {
        .data = c->weights,
        .first = part->first,
        .inner = w->is_transposed ? rows : w->out_channels,
        .n_stride = w->is_transposed ? taps : length * taps,
        .outer_stride = length * rows * taps,
        .s_stride = 1,
        .e_stride = w->is_transposed ? rows * taps : taps,
    };
    return pq_planar_emit(l, constant, layout, &shape, &source);
}

// Bytes of a channel; 0: they overflow.
static int64_t
channel_bytes(const conv *c)
{
    const pq_lower_window *w = &c->window;
    int64_t taps = tap_count(w), length = w->in_channels / w->groups;
    int64_t bytes = c->is_depthwise
                        ? element_bytes(c->format)
                        : pq_kg_planar_blocks(c->format, length) * 16;
    return pq_mul_i64(bytes, taps, &bytes) ? bytes : 0;
}

static uint32_t
emit_part(pq_lower *l, const conv *c, const pq_planar_part *part)
{
    const ptqc_gb_value *v = pq_in(l, 1);
    const pq_lower_window *w = &c->window;
    // equal bytes may be weights of another shape or type
    char layout[PQ_LAYOUT_MAX], name[PQ_PLANAR_PART_NAME];
    pq_planar_part_name(part, w->out_channels, name);
    snprintf(layout, sizeof layout,
             "%s.%s.%u.%u.t%u.g%lld.c%lld.%lld.k%lld.%lld.%lld.v1%s",
             l->device->name, c->is_depthwise ? "depthwise" : "conv",
             (unsigned)c->format, w->is_transposed ? 1u : 0u, v->dtype,
             (long long)w->groups, (long long)w->in_channels,
             (long long)w->out_channels, (long long)w->kernel[0],
             (long long)w->kernel[1], (long long)w->kernel[2], name);
    const ptqc_gb_constant *constant = ptqc_gb_constant_at(l->g, v->constant);
    return c->is_depthwise ? emit_depthwise(l, c, part, constant, layout)
                           : emit_planar(l, c, part, constant, layout);
}

static void
emit_weights(pq_lower *l, conv *c)
{
    c->part_count =
        pq_planar_cut(l, channel_bytes(c), c->window.out_channels, &c->parts);
    for (uint32_t i = 0; i < c->part_count && pq_lower_ok(l); i++) {
        pq_planar_part *part = &c->parts[i];
        const int32_t *zeros = c->zeros != NULL ? c->zeros + part->first : NULL;
        part->scales = pq_planar_zeros(l, zeros, part->n, &c->form);
        part->value = emit_part(l, c, part);
    }
}

// ---- sums' start -----------------------------------------------------------

// Of its codes, modulo 2^32.
static uint32_t
sum_of_channel(const conv *c, int64_t channel)
{
    const pq_lower_window *w = &c->window;
    const int8_t *codes = c->weights;
    int64_t taps = tap_count(w), length = w->in_channels / w->groups;
    int64_t rows = w->out_channels / w->groups;
    int64_t first =
        w->is_transposed
            ? (channel / rows * length * rows + channel % rows) * taps
            : channel * length * taps;
    int64_t step = w->is_transposed ? rows * taps : taps;
    uint32_t sum = 0;
    for (int64_t i = 0; i < length; i++) {
        for (int64_t t = 0; t < taps; t++) {
            int32_t code = codes[first + i * step + t];
            sum += (uint32_t)code;
        }
    }
    return sum;
}

// The bias, less what the zero point of x adds: padding has its code.
static uint32_t
emit_init(pq_lower *l, const conv *c, const pq_lower_epilogue *e)
{
    int64_t n = c->window.out_channels;
    if (!pq_lower_ok(l) || (e->x_zero == 0 && e->bias_acc == NULL)) {
        return PQ_KG_NONE;
    }
    int32_t *init = pq_mem_array(&l->scratch, (size_t)n, sizeof *init);
    if (init == NULL) {
        pq_lower_no_memory(l);
        return PQ_KG_NONE;
    }
    for (int64_t i = 0; i < n && !l->dry; i++) {
        uint32_t bias = e->bias_acc != NULL ? (uint32_t)e->bias_acc[i] : 0;
        init[i] = (int32_t)(bias - (uint32_t)e->x_zero * sum_of_channel(c, i));
    }
    return pq_planar_array(l, PTQC_I32, init, n);
}

// ---- the step --------------------------------------------------------------

static void
write_part(pq_lower *l, const conv *c, const pq_planar_part *part, uint32_t x,
           const pq_tail *t, uint32_t y)
{
    const pq_lower_window *w = &c->window;
    pq_step_begin(
        l, c->is_depthwise ? PQ_STEP_PLANAR_DEPTHWISE : PQ_STEP_PLANAR_CONV,
        "conv%s %lldx%lld/%lld %lld->%lld%s",
        w->is_transposed ? "_transpose" : "", (long long)w->kernel[1],
        (long long)w->kernel[2], (long long)w->stride[2],
        (long long)w->in_channels, (long long)part->n,
        w->groups > 1 ? " grouped" : "");
    pq_step_in(l, x);
    pq_step_in(l, part->value);
    pq_step_in(l, part->scales);
    pq_tail_inputs(t);
    pq_step_out(l, y);
    pq_step_i64(l, w->spatial);
    pq_step_i64(l, w->groups);
    pq_step_i64(l, w->in_channels);
    pq_step_i64(l, part->n);
    const int64_t *lists[4] = {w->kernel, w->stride, w->dilation, w->pad_begin};
    for (uint32_t i = 0; i < 12; i++) {
        pq_step_i64(l, lists[i / 3][i % 3]);
    }
    pq_step_i64(l, c->format);
    pq_step_i64(l, w->is_transposed);
    pq_step_i64(l, c->pad_code);
    pq_step_i64(l, c->form);
    pq_step_i64(l, part->first);
    pq_step_i64(l, w->out_channels);
    pq_tail_params(t);
}

static bool
check_groups(pq_lower *l, const pq_lower_window *w)
{
    if (w->in_channels % w->groups != 0 || w->out_channels % w->groups != 0) {
        pq_decline(l, "%lld groups", (long long)w->groups);
    }
    return pq_lower_ok(l);
}

void
pq_planar_conv(pq_lower *l)
{
    conv c = {.form = PQ_KG_SCALES_NONE};
    if (!pq_lower_conv_window(l, &c.window) || !check_groups(l, &c.window)) {
        return;
    }
    const pq_lower_window *w = &c.window;
    c.is_depthwise =
        !w->is_transposed && w->groups == w->in_channels && w->groups > 1;
    pq_lower_epilogue e;
    pq_lower_epilogue_read(l, w->out_channels, w->is_transposed ? 1 : 0, &e);
    if (e.is_dynamic) {
        pq_decline(l, "dynamic activations");
    }
    read_weights(l, &e, &c);
    uint8_t perm[PTQC_MAX_RANK];
    uint32_t rank = pq_in(l, 0)->rank;
    pq_perm_channels_last(perm, rank);
    uint32_t x = e.is_integer
                     ? pq_use(l, pq_in_index(l, 0), perm).value
                     : pq_planar_use_float(l, pq_in_index(l, 0), perm).value;
    emit_weights(l, &c);
    pq_tail_operands o = {
        .init = e.is_integer ? emit_init(l, &c, &e) : PQ_KG_NONE,
        .mult = pq_planar_array(l, PTQC_F32, e.mult, w->out_channels),
        .bias = pq_planar_array(l, PTQC_F32, e.bias, w->out_channels),
        .row_scale = PQ_KG_NONE,
        .residual = pq_use(l, e.residual, perm).value,
        .residual_map = pq_tail_identity(rank),
    };
    pq_tail t;
    pq_tail_make(&t, l, e.is_integer ? PTQC_I32 : PTQC_F32, &e, &o);
    pq_ref y = pq_define(l, e.out, perm);
    for (uint32_t i = 0; i < c.part_count && pq_lower_ok(l); i++) {
        write_part(l, &c, &c.parts[i], x, &t, y.value);
    }
}
