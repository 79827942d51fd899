// SPDX-License-Identifier: Apache-2.0
//
// Block types against golden values that the reference implementation gave:
// block byte i = (37 i + 11) & 255, then d = 0.5 and the second f16 = 0.25;
// the first elements and S = sum of (i + 1) w[i].
#include <math.h>

#include "base/bits.h"
#include "frontend/gguf/gguf.h"
#include "tests/support/cmocka_test.h"

enum {
    HALF = 0x3800,    // 0.5 in f16
    QUARTER = 0x3400, // 0.25
};

typedef struct golden {
    uint32_t type;
    int d, second; // byte offsets of the f16 fields; -1: none
    float first[3];
    double sum;
} golden;

static const golden goldens[] = {
    {2, 0, -1, {-1.5f, 1.0f, 3.5f}, -259.0},
    {3, 0, 2, {7.75f, 2.25f, 4.75f}, 2123.5},
    {8, 0, -1, {42.5f, 61.0f, -48.5f}, -4040.0},
    {12, 0, 2, {157.75f, -12.75f, 64.75f}, 3786420.0},
    {14, 208, -1, {-715.5f, 848.0f, 291.5f}, 392210.0},
};

static void
fill(const golden *g, const pq_llm_block *block, uint8_t *p)
{
    for (uint32_t i = 0; i < block->bytes; i++) {
        p[i] = (uint8_t)(37 * i + 11);
    }
    pq_store_le16(p + g->d, HALF);
    if (g->second >= 0) {
        pq_store_le16(p + g->second, QUARTER);
    }
}

static void
expansion(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof goldens / sizeof goldens[0]; k++) {
        const golden *g = &goldens[k];
        const pq_llm_block *block = &pq_gguf_type_of(g->type)->block;
        uint8_t p[256];
        float w[256];
        double sum = 0.0;
        fill(g, block, p);
        block->expand(p, w);
        for (uint32_t i = 0; i < block->elements; i++) {
            sum += (double)(i + 1) * (double)w[i];
        }
        for (int i = 0; i < 3; i++) {
            assert_true(w[i] == g->first[i]);
        }
        assert_true(sum == g->sum);
    }
}

static int
code_at(const pq_llm_block *block, const uint8_t *codes, uint32_t i)
{
    if (block->codes == PTQC_I8) {
        return (int8_t)codes[i];
    }
    return i % 2 == 0 ? codes[i / 2] & 15 : codes[i / 2] >> 4;
}

// Codes and scale say the same as the elements, bit for bit.
static void
splitting(void **state)
{
    (void)state;
    unsigned count = 0;
    for (size_t k = 0; k < sizeof goldens / sizeof goldens[0]; k++) {
        const pq_llm_block *block = &pq_gguf_type_of(goldens[k].type)->block;
        uint8_t p[256], codes[256];
        float w[256], scale;
        if (block->codes == PTQC_DTYPE_NONE) {
            assert_null(block->split);
            continue;
        }
        fill(&goldens[k], block, p);
        block->expand(p, w);
        block->split(p, codes, &scale);
        assert_true(scale == 0.5f);
        float minimum = block->minimum_at != 0 ? 0.25f : 0.0f;
        for (uint32_t i = 0; i < block->elements; i++) {
            int q = code_at(block, codes, i) - block->zero_point;
            assert_true(w[i] == scale * (float)q + minimum);
        }
        count++;
    }
    assert_int_equal(count, 3);
}

// A negative scale is one: Q4_0 files have them.
static void
negative_scale(void **state)
{
    (void)state;
    const pq_llm_block *block = &pq_gguf_type_of(2)->block;
    uint8_t p[18] = {0}, codes[32];
    float w[32], scale;
    pq_store_le16(p, HALF | 0x8000);
    p[2] = 0xf0; // element 0 = code 0, element 16 = code 15
    block->expand(p, w);
    block->split(p, codes, &scale);
    assert_true(scale == -0.5f && w[0] == 4.0f && w[16] == -3.5f);
    assert_int_equal(code_at(block, codes, 0), 0);
    assert_int_equal(code_at(block, codes, 16), 15);
}

static void
table(void **state)
{
    (void)state;
    static const uint32_t none[] = {4,  5,  31, 32,  33,         36,
                                    37, 38, 43, 200, 0x7fffffff, 0xffffffff};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        assert_null(pq_gguf_type_of(none[i]));
    }
    assert_int_equal(pq_gguf_type_of(0)->dtype, PTQC_F32);
    assert_int_equal(pq_gguf_type_of(30)->dtype, PTQC_BF16);
    // Sizes must be known also of types that are not supported.
    const pq_gguf_type *q5_k = pq_gguf_type_of(13);
    assert_int_equal(q5_k->block.bytes, 176);
    assert_null(q5_k->block.expand);
    assert_int_equal(q5_k->dtype, PTQC_DTYPE_NONE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expansion),
        cmocka_unit_test(splitting),
        cmocka_unit_test(negative_scale),
        cmocka_unit_test(table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
