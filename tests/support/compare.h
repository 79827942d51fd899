// SPDX-License-Identifier: Apache-2.0
//
// Comparing numbers: distances, and comparisons that print the first place
// where two arrays differ.
#ifndef PTQC_TESTS_COMPARE_H
#define PTQC_TESTS_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Representable floats between a and b; -0 and +0 are 0 apart, as are any two
// NaN; a NaN and a number UINT64_MAX.
uint64_t pq_test_ulp_f32(float a, float b);
uint64_t pq_test_ulp_f64(double a, double b);

// ||got - want|| / ||want|| (2-norms); the plain norm of got when want is 0;
// infinity when a NaN or infinity stands in one of them only.
double pq_test_relative_error_f32(const float *got, const float *want,
                                  size_t n);

// An element passes when it is within any of the three. All zero: the same
// value (and NaN for NaN).
typedef struct pq_test_tolerance {
    uint64_t ulp;
    double absolute;
    double relative; // of |want|
} pq_test_tolerance;

// `what` names the arrays in the message. False after printing the first
// mismatch, the worst one and the number of them.
bool pq_test_same_f32(const char *what, const float *got, const float *want,
                      size_t n, pq_test_tolerance tolerance);
// As above; elements differing by at most `step`.
bool pq_test_same_i32(const char *what, const int32_t *got, const int32_t *want,
                      size_t n, int64_t step);
bool pq_test_same_i8(const char *what, const int8_t *got, const int8_t *want,
                     size_t n, int64_t step);
bool pq_test_same_u8(const char *what, const uint8_t *got, const uint8_t *want,
                     size_t n, int64_t step);
// Bit for bit; offsets are printed.
bool pq_test_same_bytes(const char *what, const void *got, const void *want,
                        size_t n);

#endif
