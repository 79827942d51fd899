// SPDX-License-Identifier: Apache-2.0
//
// The table of code formats.

#include "quant/format.h"

#include <stddef.h>

static const pq_format formats[] = {
#define FORMAT(NAME, bits, min, max, narrow_min, middle)                       \
    {PTQC_##NAME, bits, min, max, narrow_min, middle},
#include "quant/formats.def"
#undef FORMAT
};

const pq_format *
pq_format_find(ptqc_dtype dtype, unsigned bits)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (formats[i].dtype == dtype &&
            (bits == 0 || formats[i].bits == bits)) {
            return &formats[i];
        }
    }
    return NULL;
}

const pq_format *
pq_format_of(ptqc_dtype dtype)
{
    return pq_format_find(dtype, 0);
}
