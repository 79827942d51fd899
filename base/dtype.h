// SPDX-License-Identifier: Apache-2.0
//
// Facts about ptqc_dtype, from the table in ptqc/types.h.
#ifndef PTQC_BASE_DTYPE_H
#define PTQC_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ptqc/types.h"

// Types are 1 .. PQ_DTYPE_LAST.
#define PQ_DTYPE_ONE(NAME, number, text, bits) +1
enum { PQ_DTYPE_LAST = 0 PTQC_DTYPES(PQ_DTYPE_ONE) };
#undef PQ_DTYPE_ONE

const char *pq_dtype_name(ptqc_dtype t); // "f32"; "none"
bool pq_dtype_parse(const char *p, size_t n, ptqc_dtype *out);
unsigned pq_dtype_bits(ptqc_dtype t);  // 0 for none
bool pq_dtype_is_float(ptqc_dtype t);  // f4, nf4, f8 .. f64
bool pq_dtype_is_signed(ptqc_dtype t); // of integers
// Bytes of a dense tensor: sub-byte rows (last dim) each start on a byte.
// false on overflow or a negative dim.
bool pq_dtype_bytes(ptqc_dtype t, const int64_t *dims, unsigned rank,
                    size_t *out);
// One integer or bool of at least 8 bits at p (any alignment). false for other
// types, and for u64 above INT64_MAX.
bool pq_dtype_load_integer(ptqc_dtype t, const void *p, int64_t *out);

#endif
