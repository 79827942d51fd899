// SPDX-License-Identifier: Apache-2.0
#include "passes/calib/median.h"

#include <stdlib.h>

static int
compare_floats(const void *a, const void *b)
{
    const float *x = a;
    const float *y = b;
    return (*x > *y) - (*x < *y);
}

float
pq_sort_median(float *x, int64_t n)
{
    qsort(x, (size_t)n, sizeof *x, compare_floats);
    return x[n / 2];
}
