// SPDX-License-Identifier: Apache-2.0
//
// The table of operators, searched by domain and name.
#include "frontend/onnx/ops.h"

#include <string.h>

static const pq_onnx_op ops[] = {
#define ONNX(domain, name, since, until, min, max, outputs, codes, import,     \
             param)                                                            \
    {domain, name,    since,           until,  min,                            \
     max,    outputs, PQ_ONNX_##codes, import, param},
#include "frontend/onnx/ops.def"
#undef ONNX
};

static int
compare(pq_str s, const char *z)
{
    size_t n = strlen(z);
    int order = memcmp(s.n == 0 ? "" : s.p, z, s.n < n ? s.n : n);
    return order != 0 ? order : (s.n > n) - (s.n < n);
}

const pq_onnx_op *
pq_onnx_op_find(pq_str domain, pq_str name)
{
    size_t low = 0, high = sizeof ops / sizeof ops[0];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(domain, ops[middle].domain);
        order = order != 0 ? order : compare(name, ops[middle].name);
        if (order == 0) {
            return &ops[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}
