// SPDX-License-Identifier: Apache-2.0
//
// Error metrics, see metrics.h.

#include "quant/metrics.h"

#include <math.h>

static double
sum_squared_difference(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        sum += d * d;
    }
    return sum;
}

static double
dot(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)y[i];
    }
    return sum;
}

double
pq_mse(const float *x, const float *y, size_t n)
{
    return n == 0 ? 0 : sum_squared_difference(x, y, n) / (double)n;
}

double
pq_sqnr_db(const float *x, const float *y, size_t n)
{
    double error = sum_squared_difference(x, y, n);
    return error > 0 ? 10 * log10(dot(x, x, n) / error) : HUGE_VAL;
}

double
pq_cosine(const float *x, const float *y, size_t n)
{
    double xx = dot(x, x, n);
    double yy = dot(y, y, n);
    if (!(xx > 0) || !(yy > 0)) {
        return xx > 0 || yy > 0 ? 0 : 1;
    }
    return dot(x, y, n) / (sqrt(xx) * sqrt(yy));
}

double
pq_kl(const double *p, const double *q, size_t n)
{
    double sum_p = 0;
    double sum_q = 0;
    for (size_t i = 0; i < n; i++) {
        sum_p += p[i];
        sum_q += q[i];
    }
    double kl = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] > 0 && !(q[i] > 0)) {
            return HUGE_VAL;
        }
        if (p[i] > 0) {
            kl += p[i] / sum_p * log(p[i] / sum_p * (sum_q / q[i]));
        }
    }
    return kl > 0 ? kl : 0;
}
