// SPDX-License-Identifier: Apache-2.0
//
// Distances between an array and its approximation; sums in double, in
// ascending order.
#ifndef PTQC_QUANT_METRICS_H
#define PTQC_QUANT_METRICS_H

#include <stddef.h>

// mean (x - y)^2; 0 of no element.
double pq_mse(const float *x, const float *y, size_t n);
// 10 log10(sum x^2 / sum (x - y)^2) in dB; infinity when equal.
double pq_sqnr_db(const float *x, const float *y, size_t n);
// x.y / (|x| |y|); 1 when both are zero, 0 when one is.
double pq_cosine(const float *x, const float *y, size_t n);
// KL(p || q) = sum p log(p / q) in nats of two distributions given as
// unnormalised masses >= 0; infinity when q is 0 where p is not.
double pq_kl(const double *p, const double *q, size_t n);

#endif
