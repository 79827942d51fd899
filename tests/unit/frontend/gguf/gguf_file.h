// SPDX-License-Identifier: Apache-2.0
//
// GGUF files written by hand for tests.
#ifndef PTQC_TESTS_GGUF_FILE_H
#define PTQC_TESTS_GGUF_FILE_H

#include <string.h>

#include "base/bits.h"
#include "frontend/gguf/gguf.h"
#include "tests/support/cmocka_test.h"

typedef struct gguf_file {
    size_t n;
    uint64_t tensors, pairs; // counted; tensors come after all pairs
    size_t blob;             // bytes of the tensors so far
    uint8_t p[65536];
} gguf_file;

static inline void
gguf_bytes(gguf_file *f, const void *p, size_t n)
{
    assert_true(n <= sizeof f->p - f->n);
    memcpy(f->p + f->n, p, n);
    f->n += n;
}

static inline void
gguf_u32(gguf_file *f, uint32_t x)
{
    gguf_bytes(f, &x, sizeof x);
}

static inline void
gguf_u64(gguf_file *f, uint64_t x)
{
    gguf_bytes(f, &x, sizeof x);
}

static inline void
gguf_string(gguf_file *f, const char *s)
{
    gguf_u64(f, strlen(s));
    gguf_bytes(f, s, strlen(s));
}

static inline void
gguf_begin(gguf_file *f)
{
    memset(f, 0, sizeof *f);
    gguf_bytes(f, "GGUF", 4);
    gguf_u32(f, 3);
    gguf_u64(f, 0);
    gguf_u64(f, 0);
}

static inline void
gguf_key(gguf_file *f, const char *key, pq_gguf_kind kind)
{
    gguf_string(f, key);
    gguf_u32(f, kind);
    f->pairs++;
}

static inline void
gguf_pair_u32(gguf_file *f, const char *key, uint32_t x)
{
    gguf_key(f, key, PQ_GGUF_U32);
    gguf_u32(f, x);
}

static inline void
gguf_pair_f32(gguf_file *f, const char *key, float x)
{
    gguf_key(f, key, PQ_GGUF_F32);
    gguf_bytes(f, &x, sizeof x);
}

static inline void
gguf_pair_string(gguf_file *f, const char *key, const char *s)
{
    gguf_key(f, key, PQ_GGUF_STRING);
    gguf_string(f, s);
}

// Dimensions innermost first; cols 0: a vector of `rows`.
static inline void
gguf_tensor(gguf_file *f, const char *name, uint32_t type, uint64_t inner,
            uint64_t outer)
{
    const pq_llm_block *block = &pq_gguf_type_of(type)->block;
    uint64_t count = inner * (outer == 0 ? 1 : outer);
    gguf_string(f, name);
    gguf_u32(f, outer == 0 ? 1 : 2);
    gguf_u64(f, inner);
    if (outer != 0) {
        gguf_u64(f, outer);
    }
    gguf_u32(f, type);
    gguf_u64(f, f->blob);
    f->blob += (count / block->elements * block->bytes + 31) & ~31ull;
    f->tensors++;
}

// The counts, padding, and tensors of zeros.
static inline void
gguf_end(gguf_file *f)
{
    pq_store_le64(f->p + 8, f->tensors);
    pq_store_le64(f->p + 16, f->pairs);
    f->n = (f->n + 31) & ~(size_t)31;
    assert_true(f->blob <= sizeof f->p - f->n);
    f->n += f->blob;
}

#endif
