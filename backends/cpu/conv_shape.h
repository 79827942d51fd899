// SPDX-License-Identifier: Apache-2.0
//
// How a convolution is cut for the tile kernel, shared by its packing and
// its driver. Taps of a kernel row whose pixels lie side by side in memory
// (no dilation, one group) are merged into one run of KW * C elements: fewer
// pointers, and first layers with 3 channels fill their dwords.
#ifndef PTQC_BACKENDS_CPU_CONV_SHAPE_H
#define PTQC_BACKENDS_CPU_CONV_SHAPE_H

#include "conv.h"

// f32 activations times codes.
static inline int
pq_conv_is_codes(const pq_conv_desc *desc)
{
    return desc->weight == PQ_WEIGHT_W8 || desc->weight == PQ_WEIGHT_W4;
}

int pq_conv_is_merged(const pq_conv_desc *desc);
// Runs per output pixel and elements per run, of one group.
int64_t pq_conv_tap_count(const pq_conv_desc *desc);
int64_t pq_conv_run_length(const pq_conv_desc *desc);
// Packed bytes of one group's weights.
int64_t pq_conv_group_bytes(const pq_conv_desc *desc);

#endif
