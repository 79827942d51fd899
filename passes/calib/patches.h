// SPDX-License-Identifier: Apache-2.0
//
// What a product reads at one place of its input: a row of a matrix, or a
// convolution's patch (im2col), in the order of its weight's columns.
#ifndef PTQC_PASSES_CALIB_PATCHES_H
#define PTQC_PASSES_CALIB_PATCHES_H

#include "ir/graph.h"
#include "ir/runner.h"

// A product's window over one input tensor.
typedef struct pq_window {
    const pq_tensor *x; // [N][C][space...]; of a matmul [..][d]
    bool is_conv;
    uint32_t axes; // of space
    int64_t kernel[PTQC_MAX_RANK], out[PTQC_MAX_RANK];
    int64_t stride[PTQC_MAX_RANK], step[PTQC_MAX_RANK], begin[PTQC_MAX_RANK];
    int64_t taps;   // product of kernel
    int64_t inputs; // channels per group; of a matmul d
    int64_t places; // there are
} pq_window;

// false: x is not what the product reads (f32, of width d), or has no place.
bool pq_window_of(const pq_graph *g, const pq_op *op, const pq_tensor *x,
                  pq_window *out);
// out [inputs * taps]: what the product's group reads; 0 outside of x.
void pq_window_read(const pq_window *w, int64_t place, int64_t group,
                    float *out);

// Places of one sample, spread evenly: first, first + step, ...
typedef struct pq_places {
    int64_t first, step, count;
} pq_places;

// At most `most` (>= 1) of `all`; other ones in each sample.
pq_places pq_places_of(int64_t all, int64_t most, uint64_t sample);

#endif
