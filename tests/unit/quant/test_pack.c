// SPDX-License-Identifier: Apache-2.0
//
// Dense bit streams: known words of GPTQ and compressed-tensors files, round
// trips, tails.
#include <string.h>

#include "base/bits.h"
#include "quant/pack.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/random.h"

typedef struct pq_golden {
    unsigned bits;
    uint32_t n; // output channel
    uint32_t words[4];
} pq_golden;

// code(k, n) = (3 k + 5 n + 1) mod 2^b: the first words of a column of 64.
static const pq_golden goldens[] = {
    {2, 0, {0xb1b1b1b1, 0xb1b1b1b1, 0xb1b1b1b1, 0xb1b1b1b1}},
    {3, 0, {0xe1cc55e1, 0x55e1cc55, 0xcc55e1cc, 0xe1cc55e1}},
    {4, 0, {0x630da741, 0xeb852fc9, 0x630da741, 0xeb852fc9}},
    {8, 0, {0x0a070401, 0x1613100d, 0x221f1c19, 0x2e2b2825}},
};
static const pq_golden first_of_column_1[] = {
    {2, 1, {0xc6c6c6c6}},
    {3, 1, {0x0e62af0e}},
    {4, 1, {0xb852fc96}},
    {8, 1, {0x0f0c0906}},
};

static void
pack_column(unsigned bits, uint32_t n, uint8_t out[64])
{
    uint8_t codes[64];
    for (uint32_t k = 0; k < 64; k++) {
        codes[k] = (uint8_t)((3 * k + 5 * n + 1) & ((1u << bits) - 1));
    }
    memset(out, 0xff, 64);
    pq_pack_row(codes, 64, bits, out);
}

static void
golden_words(void **state)
{
    (void)state;
    uint8_t packed[64];
    for (size_t i = 0; i < 4; i++) {
        const pq_golden *g = &goldens[i];
        pack_column(g->bits, g->n, packed);
        for (size_t w = 0; w < 4; w++) {
            assert_int_equal(pq_load_le32(packed + 4 * w), g->words[w]);
        }
        g = &first_of_column_1[i];
        pack_column(g->bits, g->n, packed);
        assert_int_equal(pq_load_le32(packed), g->words[0]);
    }
}

static void
round_trips(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(11);
    for (unsigned bits = 1; bits <= 8; bits++) {
        for (size_t n = 0; n < 70; n++) {
            uint8_t codes[70], packed[72], back[70];
            for (size_t i = 0; i < n; i++) {
                codes[i] =
                    (uint8_t)(pq_test_random_u64(&r) & ((1u << bits) - 1));
            }
            memset(packed, 0xa5, sizeof packed);
            size_t bytes = pq_packed_bytes(n, bits);
            assert_int_equal(bytes, (n * bits + 7) / 8);
            pq_pack_row(codes, n, bits, packed);
            assert_int_equal(packed[bytes], 0xa5); // nothing beyond
            pq_unpack_row(packed, n, bits, false, back);
            assert_memory_equal(codes, back, n);
            unsigned tail = (unsigned)(n * bits % 8);
            if (tail != 0) {
                assert_int_equal(packed[bytes - 1] >> tail, 0);
            }
        }
    }
}

static void
signs(void **state)
{
    (void)state;
    const uint8_t codes[5] = {0xf8, 0x07, 0xff, 0x00, 0xf9}; // -8 7 -1 0 -7
    uint8_t packed[3], back[5];
    pq_pack_row(codes, 5, 4, packed);
    assert_int_equal(packed[0], 0x78);
    assert_int_equal(packed[1], 0x0f);
    assert_int_equal(packed[2], 0x09);
    pq_unpack_row(packed, 5, 4, true, back);
    assert_memory_equal(codes, back, 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_words),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(signs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
