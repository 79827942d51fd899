// SPDX-License-Identifier: Apache-2.0
//
// Facts about code formats, from formats.def.
#ifndef PTQC_QUANT_FORMAT_H
#define PTQC_QUANT_FORMAT_H

#include <stdbool.h>
#include <stdint.h>

#include "ptqc/types.h"

typedef struct pq_format {
    ptqc_dtype dtype;
    unsigned bits; // of a code; the dtype may have more
    int32_t min, max, narrow_min;
    int32_t middle; // zero point of symmetric codes
} pq_format;

// Codes that use all bits of the dtype. NULL: not a format of codes.
const pq_format *pq_format_of(ptqc_dtype dtype);
// Codes of `bits` bits stored as dtype; 0: of all its bits. NULL: none such.
const pq_format *pq_format_find(ptqc_dtype dtype, unsigned bits);

#endif
