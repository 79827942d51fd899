// SPDX-License-Identifier: Apache-2.0
//
// Depthwise convolution (one input channel per output channel, 1-d or 2-d,
// channels last), used through conv.h.
//
// The kernel computes a run of output pixels of one row for all channels: it
// is given one pointer per kernel row and walks by fixed steps; rows above and
// below the image are a row of padding. Pixels whose window hangs over the
// left or right edge have a kernel of their own with a pointer per tap.
//
// Blocks of 64 channels, then of 16; a rest of less than 16 channels is
// done by a block that overlaps its neighbour, under a mask where it must not
// write twice.
// Packed weights, block after block:
//   f32              [tap][16]
//   codes (f32 x)    [tap][16] s8
//   u8, 16 channels  [group][16][4]: byte 4c+t = tap t of the group
//   u8, 64 channels  [group][quarter q][64]: byte 4(4L + j) + t = tap t of
//                    channel 16L + 4q + j
// with groups of 4 taps as pq_depthwise_group_taps says, missing taps zero.
#ifndef PTQC_BACKENDS_CPU_DEPTHWISE_H
#define PTQC_BACKENDS_CPU_DEPTHWISE_H

#include "conv.h"

// 1 when pq_conv computes the descriptor with the depthwise kernel.
int pq_depthwise_is_match(const pq_conv_desc *desc);

// The parts of conv.h for descriptors that match.
int64_t pq_depthwise_weight_bytes(const pq_conv_desc *desc);
void pq_depthwise_weight_pack(const pq_conv_desc *desc, const void *w,
                              void *out);

typedef struct pq_depthwise pq_depthwise;

ptqc_be_status pq_depthwise_prepare(pq_jit *jit, ptqc_call *call,
                                    const pq_conv_desc *desc,
                                    pq_depthwise **out);
void pq_depthwise_destroy(pq_depthwise *op);

void pq_depthwise_run(const pq_depthwise *op, const pq_conv_io *io,
                      const pq_worker *worker);

#endif
