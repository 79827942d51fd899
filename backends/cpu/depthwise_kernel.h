// SPDX-License-Identifier: Apache-2.0
//
// The depthwise kernel: a run of output pixels of one row, for `blocks`
// consecutive blocks of 64 or 16 channels.
#ifndef PTQC_BACKENDS_CPU_DEPTHWISE_KERNEL_H
#define PTQC_BACKENDS_CPU_DEPTHWISE_KERNEL_H

#include <stdint.h>

#include "epilogue.h"
#include "jit.h"

#define PQ_DEPTHWISE_TAPS_MAX 64

typedef struct pq_depthwise_kernel_desc {
    uint32_t element; // PQ_ELEM_F32, PQ_ELEM_U8
    uint32_t kernel_h, kernel_w;
    // Distance of neighbouring output pixels in taps of a kernel row
    // (stride / dilation), so that they share input columns; 0 = none known.
    uint32_t ratio;
    uint32_t vectors; // 16-channel vectors per block: 4 or 1
    // vectors 4, one after the other: where registers are few
    uint32_t is_split;
    uint32_t masked;      // lanes [skip, channels) of the only block
    uint32_t pixels;      // outputs per round of the main loop
    uint32_t is_indirect; // one output, with a pointer per tap
    // F32: weights are s8, w = f32(code - weight_zero[c]) * mult[c] of the
    // epilogue's arguments; 1: without zero points, 2: with
    uint32_t codes;
    pq_epilogue epilogue;
} pq_depthwise_kernel_desc;

typedef struct pq_depthwise_args {
    // [kernel_h]: first tap of the first pixel; is_indirect: [kernel_h *
    // kernel_w] taps
    const void *const *rows;
    int64_t column_bytes; // from tap to tap in a row
    int64_t pixel_bytes;  // from output pixel to output pixel, in x
    int64_t pixels;
    int64_t blocks;
    const void *weights;
    const int32_t *init;
    void *out;
    int64_t out_stride;     // bytes from pixel to pixel
    int64_t skip, channels; // masked
    pq_epilogue_args epilogue;
} pq_depthwise_args;

typedef void (*pq_depthwise_fn)(const pq_depthwise_args *args);

extern const pq_kernel_class pq_depthwise_class;

// Taps of u8 kernels in groups of 4, one dot product each: along the kernel
// column when it has more than one row, else along the row.
typedef struct pq_depthwise_groups {
    int is_vertical;
    int64_t per_column; // vertical: groups of a kernel column
    int64_t count;      // groups of the kernel
} pq_depthwise_groups;

pq_depthwise_groups pq_depthwise_group_taps(int64_t kernel_h, int64_t kernel_w);

#endif
