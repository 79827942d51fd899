// SPDX-License-Identifier: Apache-2.0
//
// What conv and conv_transpose are, for every device.
#ifndef PTQC_BACKENDS_KGEN_LOWER_CONV_H
#define PTQC_BACKENDS_KGEN_LOWER_CONV_H

#include "lower.h"

// Sizes that do not depend on the image. w: [OC][C/groups][KD][KH][KW];
// transposed: [C][OC/groups][KD][KH][KW].
typedef struct pq_lower_window {
    uint32_t spatial; // axes, 1 to 3
    bool is_transposed;
    int64_t groups;
    int64_t in_channels, out_channels; // of all groups
    // axes D, H, W; unused ones are 1 (pads 0)
    int64_t kernel[3], stride[3], dilation[3], pad_begin[3];
} pq_lower_window;

// Of the current node. false: declined.
bool pq_lower_conv_window(pq_lower *l, pq_lower_window *out);

#endif
