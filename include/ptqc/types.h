// SPDX-License-Identifier: Apache-2.0
//
// Element types and small value types shared by the public API, the plugin
// ABI and the artifact. The numbers are part of the file formats: they are
// never reused.
#ifndef PTQC_TYPES_H
#define PTQC_TYPES_H

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

// X(NAME, number, "text", bits of one element)
#define PTQC_DTYPES(X)                                                         \
    X(F32, 1, "f32", 32)                                                       \
    X(F16, 2, "f16", 16)                                                       \
    X(BF16, 3, "bf16", 16)                                                     \
    X(F64, 4, "f64", 64)                                                       \
    X(I8, 5, "i8", 8)                                                          \
    X(U8, 6, "u8", 8)                                                          \
    X(I16, 7, "i16", 16)                                                       \
    X(U16, 8, "u16", 16)                                                       \
    X(I32, 9, "i32", 32)                                                       \
    X(U32, 10, "u32", 32)                                                      \
    X(I64, 11, "i64", 64)                                                      \
    X(U64, 12, "u64", 64)                                                      \
    X(BOOL, 13, "bool", 8)                                                     \
    X(I4, 14, "i4", 4)                                                         \
    X(U4, 15, "u4", 4)                                                         \
    X(F8E4M3, 16, "f8e4m3", 8)                                                 \
    X(F8E5M2, 17, "f8e5m2", 8)                                                 \
    X(F4E2M1, 18, "f4e2m1", 4)                                                 \
    X(NF4, 19, "nf4", 4)                                                       \
    X(F8E8M0, 20, "f8e8m0", 8)

// Element type of a tensor. Sub-byte types are packed densely, first element
// in the lowest bits, each row (last axis) starting on a byte.
typedef enum ptqc_dtype {
    PTQC_DTYPE_NONE = 0,
#define PTQC_DTYPE_ENUM(NAME, number, text, bits) PTQC_##NAME = number,
    PTQC_DTYPES(PTQC_DTYPE_ENUM)
#undef PTQC_DTYPE_ENUM
} ptqc_dtype;

// Largest rank of a tensor anywhere in ptqc.
#define PTQC_MAX_RANK 8

#if defined(__cplusplus)
}
#endif
#endif
