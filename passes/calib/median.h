// SPDX-License-Identifier: Apache-2.0
#ifndef PTQC_PASSES_CALIB_MEDIAN_H
#define PTQC_PASSES_CALIB_MEDIAN_H

#include <stdint.h>

// x[n / 2] of x [n] in rising order, in which it is left; n >= 1, no NaN.
float pq_sort_median(float *x, int64_t n);

#endif
