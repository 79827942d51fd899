// SPDX-License-Identifier: Apache-2.0
//
// Unaligned little-endian loads and stores (the host is little-endian: a
// build for a big-endian machine stops here).
#ifndef PTQC_BASE_BITS_H
#define PTQC_BASE_BITS_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "ptqc runs on little-endian machines only");

#define PQ_DEFINE_LOAD_STORE(type, name)                                       \
    static inline type pq_load_##name(const void *p)                           \
    {                                                                          \
        type x;                                                                \
        memcpy(&x, p, sizeof x);                                               \
        return x;                                                              \
    }                                                                          \
    static inline void pq_store_##name(void *p, type x)                        \
    {                                                                          \
        memcpy(p, &x, sizeof x);                                               \
    }

PQ_DEFINE_LOAD_STORE(uint16_t, le16)
PQ_DEFINE_LOAD_STORE(uint32_t, le32)
PQ_DEFINE_LOAD_STORE(uint64_t, le64)
PQ_DEFINE_LOAD_STORE(float, f32)
PQ_DEFINE_LOAD_STORE(double, f64)

#undef PQ_DEFINE_LOAD_STORE

#endif
