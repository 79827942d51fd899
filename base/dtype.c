// SPDX-License-Identifier: Apache-2.0
//
// Facts about ptqc_dtype, all derived from PTQC_DTYPES of ptqc/types.h.
#include "base/dtype.h"

#include <string.h>

#include "base/bits.h"
#include "base/checked.h"

typedef struct dtype_fact {
    const char *name;
    unsigned bits;
} dtype_fact;

// Indexed by ptqc_dtype.
static const dtype_fact dtype_facts[] = {[PTQC_DTYPE_NONE] = {"none", 0},
#define PQ_DTYPE_FACT(NAME, number, text, bits) [PTQC_##NAME] = {text, bits},
                                         PTQC_DTYPES(PQ_DTYPE_FACT)
#undef PQ_DTYPE_FACT
};

#define DTYPE_COUNT (sizeof dtype_facts / sizeof dtype_facts[0])

// Numbers from files may be out of range: they count as none.
static const dtype_fact *
fact_of(ptqc_dtype t)
{
    size_t i = (size_t)t;
    return &dtype_facts[i < DTYPE_COUNT ? i : PTQC_DTYPE_NONE];
}

const char *
pq_dtype_name(ptqc_dtype t)
{
    return fact_of(t)->name;
}

bool
pq_dtype_parse(const char *p, size_t n, ptqc_dtype *out)
{
    for (size_t i = PTQC_DTYPE_NONE + 1; i < DTYPE_COUNT; i++) {
        const char *name = dtype_facts[i].name;
        if (strlen(name) == n && memcmp(name, p, n) == 0) {
            *out = (ptqc_dtype)i;
            return true;
        }
    }
    return false;
}

unsigned
pq_dtype_bits(ptqc_dtype t)
{
    return fact_of(t)->bits;
}

// The first letter of the name tells the family: f, bf, nf, i, u, b(ool).
bool
pq_dtype_is_float(ptqc_dtype t)
{
    return fact_of(t)->name[0] == 'f' || t == PTQC_BF16 || t == PTQC_NF4;
}

bool
pq_dtype_is_signed(ptqc_dtype t)
{
    return fact_of(t)->name[0] == 'i';
}

bool
pq_dtype_bytes(ptqc_dtype t, const int64_t *dims, unsigned rank, size_t *out)
{
    size_t row = rank == 0 ? 1 : (size_t)dims[rank - 1];
    size_t rows = 1;
    for (unsigned i = 0; i < rank; i++) {
        if (dims[i] < 0) {
            return false;
        }
        if (i + 1 < rank && !pq_mul_size(rows, (size_t)dims[i], &rows)) {
            return false;
        }
    }
    size_t row_bits;
    size_t row_bytes;
    if (!pq_mul_size(row, pq_dtype_bits(t), &row_bits) ||
        !pq_add_size(row_bits, 7, &row_bytes)) {
        return false;
    }
    return pq_mul_size(rows, row_bytes / 8, out);
}

bool
pq_dtype_load_integer(ptqc_dtype t, const void *p, int64_t *out)
{
    switch (t) {
    case PTQC_I8:
        *out = *(const int8_t *)p;
        return true;
    case PTQC_U8:
    case PTQC_BOOL:
        *out = *(const uint8_t *)p;
        return true;
    case PTQC_I16:
        *out = (int16_t)pq_load_le16(p);
        return true;
    case PTQC_U16:
        *out = pq_load_le16(p);
        return true;
    case PTQC_I32:
        *out = (int32_t)pq_load_le32(p);
        return true;
    case PTQC_U32:
        *out = pq_load_le32(p);
        return true;
    case PTQC_I64:
        *out = (int64_t)pq_load_le64(p);
        return true;
    case PTQC_U64:
        *out = (int64_t)pq_load_le64(p);
        return *out >= 0;
    default: // floats and packed types
        return false;
    }
}
