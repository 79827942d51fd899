// SPDX-License-Identifier: Apache-2.0
//
// Base64 (RFC 4648 section 4) of constants in the text form, and which
// constants are written as lists of numbers instead.
#ifndef PTQC_IR_TEXT_DATA_H
#define PTQC_IR_TEXT_DATA_H

#include "ir/graph.h"

// Constants of at most that many elements are lists where numbers say all.
#define PQ_TEXT_MAX_LIST 64u

void pq_base64_print(pq_strbuf *out, const void *p, size_t n);
// Whole text to exactly n bytes; false when it is malformed or has another
// length.
bool pq_base64_parse(pq_str text, void *out, size_t n);
// Whether element values can be written as numbers without loss.
bool pq_constant_is_list(const pq_constant *c);
void pq_element_print(pq_strbuf *out, const pq_constant *c, size_t i);
// Stores element i of an array of dtype; false when text is no such number.
bool pq_element_parse(pq_str text, ptqc_dtype dtype, void *array, size_t i);

#endif
