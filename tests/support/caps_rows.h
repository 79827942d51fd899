// SPDX-License-Identifier: Apache-2.0
//
// Operands of a target's rules, as the tests of placement write them.
#ifndef PTQC_TESTS_SUPPORT_CAPS_ROWS_H
#define PTQC_TESTS_SUPPORT_CAPS_ROWS_H

#include "passes/caps.h"

#define BIT(x) (UINT64_C(1) << (x))

#define FLOAT_OUTPUT                                                           \
    {.is_output = true, .dtypes = BIT(PTQC_F32), .granularities = 1}
#define FLOAT_INPUT(i)                                                         \
    {.index = (i), .dtypes = BIT(PTQC_F32), .granularities = 1}
#define OPTIONAL_FLOAT(i)                                                      \
    {.index = (i),                                                             \
     .dtypes = BIT(PTQC_F32),                                                  \
     .granularities = 1,                                                       \
     .is_optional = true}
#define SYMMETRIC_WEIGHTS(type, gran)                                          \
    {.index = 1,                                                               \
     .dtypes = BIT(type),                                                      \
     .granularities = BIT(gran),                                               \
     .needs_constant = true,                                                   \
     .needs_symmetric = true}

#endif
