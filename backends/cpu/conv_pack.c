// SPDX-License-Identifier: Apache-2.0
//
// Packing of convolution weights and channel arrays (conv.h), and how a
// convolution is cut into taps and runs.
#include <string.h>

#include "base/checked.h"
#include "conv_shape.h"
#include "depthwise.h"
#include "strip.h"

#define LANES 16

int
pq_conv_is_merged(const pq_conv_desc *desc)
{
    return !desc->transposed && desc->groups == 1 && desc->kernel[2] > 1 &&
           desc->dilation[2] == 1;
}

int64_t
pq_conv_tap_count(const pq_conv_desc *desc)
{
    int64_t rows = desc->kernel[0] * desc->kernel[1];
    return pq_conv_is_merged(desc) ? rows : rows * desc->kernel[2];
}

int64_t
pq_conv_run_length(const pq_conv_desc *desc)
{
    int64_t channels = desc->in_channels / desc->groups;
    return pq_conv_is_merged(desc) ? channels * desc->kernel[2] : channels;
}

static int
is_small(int64_t value, int64_t limit)
{
    return value > 0 && value <= limit;
}

// Checks what packing reads; makes all products below overflow-free.
static int
check_weights(const pq_conv_desc *desc, const char **out_why)
{
    *out_why = "convolution: channels, groups or kernel out of range";
    int64_t elements = 1;
    for (int i = 0; i < 3; i++) {
        if (!is_small(desc->kernel[i], 1 << 20) ||
            !is_small(desc->dilation[i], 1 << 20) ||
            !pq_mul_i64(elements, desc->kernel[i], &elements)) {
            return 0;
        }
    }
    return is_small(desc->in_channels, 1 << 24) &&
           is_small(desc->out_channels, 1 << 24) &&
           is_small(desc->groups, desc->in_channels) &&
           desc->in_channels % desc->groups == 0 &&
           desc->out_channels % desc->groups == 0 &&
           is_small(elements, 1 << 20) &&
           pq_mul_i64(elements, desc->in_channels, &elements) &&
           pq_mul_i64(elements, desc->out_channels + 16 * desc->groups,
                      &elements) &&
           is_small(elements, INT64_C(1) << 40) && desc->weight <= PQ_WEIGHT_W4;
}

int
pq_conv_is_supported(const pq_conv_desc *desc, const char **out_why)
{
    if (!check_weights(desc, out_why)) {
        return 0;
    }
    *out_why = "convolution: image size out of range";
    int64_t in = desc->in_channels, out = desc->out_channels;
    if (!is_small(desc->batch, 1 << 30)) {
        return 0;
    }
    for (int i = 0; i < 3; i++) {
        if (!is_small(desc->in[i], 1 << 30) ||
            !is_small(desc->out[i], 1 << 30) ||
            !is_small(desc->stride[i], 1 << 20) || desc->pad_begin[i] < 0 ||
            desc->pad_begin[i] > 1 << 30 || !pq_mul_i64(in, desc->in[i], &in) ||
            !pq_mul_i64(out, desc->out[i], &out)) {
            return 0;
        }
    }
    if (!pq_mul_i64(in, desc->batch, &in) ||
        !pq_mul_i64(out, desc->batch, &out) ||
        !is_small(in, INT64_C(1) << 50) || !is_small(out, INT64_C(1) << 50)) {
        return 0;
    }
    *out_why = "convolution: epilogue not supported";
    uint32_t kind = desc->epilogue.kind;
    return pq_epilogue_is_valid(&desc->epilogue) &&
           (desc->epilogue.flags & PQ_EPI_ROW_SCALE) == 0 &&
           (kind == PQ_EPI_FLOAT) == (desc->weight != PQ_WEIGHT_S8);
}

// ---- weights --------------------------------------------------------------

static pq_strip_shape
strip_shape(const pq_conv_desc *desc)
{
    return (pq_strip_shape){.taps = pq_conv_tap_count(desc),
                            .run = pq_conv_run_length(desc),
                            .columns = desc->out_channels / desc->groups};
}

static int
code_bits(const pq_conv_desc *desc)
{
    return desc->weight == PQ_WEIGHT_W4 ? 4 : 8;
}

int64_t
pq_conv_group_bytes(const pq_conv_desc *desc)
{
    pq_strip_shape shape = strip_shape(desc);
    int64_t bytes = pq_conv_is_codes(desc)
                        ? pq_strip_bytes_codes(&shape, code_bits(desc))
                    : desc->weight == PQ_WEIGHT_S8 ? pq_strip_bytes_s8(&shape)
                                                   : pq_strip_bytes_f32(&shape);
    return pq_strip_total(&shape, bytes);
}

int64_t
pq_conv_weight_bytes(const pq_conv_desc *desc)
{
    const char *why;
    if (!check_weights(desc, &why)) {
        return 0;
    }
    return pq_depthwise_is_match(desc)
               ? pq_depthwise_weight_bytes(desc)
               : desc->groups * pq_conv_group_bytes(desc);
}

typedef struct conv_layout {
    const pq_conv_desc *desc;
    int64_t group;
    int64_t inputs, outputs; // channels of a group
    int64_t taps;            // of the whole kernel
    int64_t width;           // kernel columns merged into a run, else 1
} conv_layout;

// [OC][C/groups][taps], transposed [C][OC/groups][taps]
static int64_t
kernel_index(const void *user, int64_t tap, int64_t element, int64_t column)
{
    const conv_layout *l = user;
    int64_t channel = element % l->inputs;
    int64_t at = tap * l->width + element / l->inputs;
    int64_t plane =
        l->desc->transposed
            ? (l->group * l->inputs + channel) * l->outputs + column
            : (l->group * l->outputs + column) * l->inputs + channel;
    return plane * l->taps + at;
}

static conv_layout
layout_of(const pq_conv_desc *desc, int64_t group)
{
    return (conv_layout){
        .desc = desc,
        .group = group,
        .inputs = desc->in_channels / desc->groups,
        .outputs = desc->out_channels / desc->groups,
        .taps = desc->kernel[0] * desc->kernel[1] * desc->kernel[2],
        .width = pq_conv_is_merged(desc) ? desc->kernel[2] : 1,
    };
}

void
pq_conv_weight_pack(const pq_conv_desc *desc, const void *w, void *out)
{
    if (pq_depthwise_is_match(desc)) {
        pq_depthwise_weight_pack(desc, w, out);
        return;
    }
    pq_strip_shape shape = strip_shape(desc);
    uint8_t *to = out;
    for (int64_t g = 0; g < desc->groups; g++) {
        conv_layout layout = layout_of(desc, g);
        pq_strip_source source = {w, kernel_index, &layout};
        if (desc->weight == PQ_WEIGHT_S8) {
            pq_strip_pack_s8(&shape, &source, (int8_t *)to);
        } else if (pq_conv_is_codes(desc)) {
            pq_strip_pack_codes(&shape, &source, code_bits(desc), to);
        } else {
            pq_strip_pack_f32(&shape, &source, (float *)(void *)to);
        }
        to += pq_conv_group_bytes(desc);
    }
}

// ---- channel arrays -------------------------------------------------------

// Groups of packed channel arrays: one of a depthwise convolution.
static int64_t
channel_groups(const pq_conv_desc *desc)
{
    return pq_depthwise_is_match(desc) ? 1 : desc->groups;
}

int64_t
pq_conv_channel_count(const pq_conv_desc *desc)
{
    int64_t groups = channel_groups(desc);
    return groups * pq_strip_columns(desc->out_channels / groups);
}

void
pq_conv_channel_pack(const pq_conv_desc *desc, const void *values, void *out)
{
    int64_t groups = channel_groups(desc);
    int64_t channels = desc->out_channels / groups;
    const uint8_t *from = values;
    uint8_t *to = out;
    memset(to, 0, 4 * (size_t)pq_conv_channel_count(desc));
    for (int64_t g = 0; g < groups; g++) {
        memcpy(to + 4 * g * pq_strip_columns(channels), from + 4 * g * channels,
               4 * (size_t)channels);
    }
}

void
pq_conv_init_pack(const pq_conv_desc *desc, const int8_t *w,
                  const int32_t *bias, int32_t *out)
{
    int64_t groups = desc->groups;
    int64_t channels = desc->out_channels / groups;
    int64_t packed =
        pq_strip_columns(desc->out_channels / channel_groups(desc));
    pq_strip_shape shape = strip_shape(desc);
    memset(out, 0, 4 * (size_t)pq_conv_channel_count(desc));
    for (int64_t g = 0; g < groups; g++) {
        conv_layout layout = layout_of(desc, g);
        pq_strip_source source = {w, kernel_index, &layout};
        const int32_t *start = bias == NULL ? NULL : bias + g * channels;
        // a depthwise group is one channel: write it, not its padding
        int64_t step = channel_groups(desc) == 1 ? channels : packed;
        for (int64_t c = 0; c < channels; c++) {
            out[g * step + c] = pq_strip_start(&shape, &source, start, c,
                                               (int32_t)desc->pad_value);
        }
    }
}
