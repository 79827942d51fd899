// SPDX-License-Identifier: Apache-2.0
//
// Trellis codes: the published numbers, states and words; rings that overlap,
// also at the end; the least error of all rings where those can be tried; the
// error on normal numbers (algorithms 10 and 18 A9).
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/hash.h"
#include "quant/trellis.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/unit/quant/synthetic.h"

enum { STATES = 65536 };

// SHA-256 of the numbers of all states, little-endian f32, from qtip e90c668
// (decode_3inst, decode_1mad), and their deviations.
static void
numbers_are_the_published_ones(void **state)
{
    (void)state;
    static const struct {
        pq_trellis_code code;
        double deviation;
        const char *hash;
    } codes[] = {
        {PQ_TRELLIS_3INST, 1.2437109,
         "0540d77c8b460a6a2c9c8441594e2810736c34745a6783488787ce1c03b927ec"},
        {PQ_TRELLIS_1MAD, 1.0000883,
         "ad576609c75b73bdf51f9d934c24aa514e155891cb5166d3befe6951a696d10d"},
    };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    uint8_t *bytes = malloc((size_t)STATES * 4);
    assert_non_null(bytes);
    for (size_t k = 0; k < 2; k++) {
        double sum = 0;
        double squares = 0;
        for (uint32_t s = 0; s < STATES; s++) {
            float x = pq_trellis_number(codes[k].code, s);
            uint32_t u;
            memcpy(&u, &x, sizeof u);
            pq_store_le32(bytes + (size_t)s * 4, u);
            sum += (double)x;
            squares += (double)x * (double)x;
        }
        double mean = sum / (double)STATES;
        double deviation = sqrt(squares / (double)STATES - mean * mean);
        assert_true(fabs(deviation - codes[k].deviation) < 1e-6);
        pq_sha256 hash;
        char text[65];
        assert_int_equal(pq_sha256_of(ctx, bytes, (size_t)STATES * 4, &hash),
                         PTQC_OK);
        pq_sha256_hex(&hash, text);
        assert_string_equal(text, codes[k].hash);
    }
    free(bytes);
    ptqc_ctx_destroy(ctx);
}

typedef struct golden {
    pq_trellis_code code;
    unsigned state_bits, step_bits;
    int64_t n;
    uint16_t states[33];
    uint16_t words[4];
} golden;

// Of x_i = ((5 i^2 + 37 i + 11) mod 64 - 32) / 16, from qtip e90c668 (quantize,
// pack_trellis).
static const golden goldens[] = {
    {PQ_TRELLIS_3INST,
     8,
     2,
     24,
     {220, 115, 207, 62, 251, 237, 183, 220, 115, 207, 61,  247,
      220, 115, 206, 58, 233, 167, 156, 114, 201, 39,  157, 119},
     {0xdcfb, 0x73dc, 0xe9c9}},
    {PQ_TRELLIS_1MAD,
     9,
     3,
     20,
     {334, 115, 413, 234, 336, 132, 32,  262, 48,  385,
      14,  113, 394, 82,  150, 182, 437, 426, 341, 169},
     {0xa73a, 0x8418, 0x1c52, 0xdaa0}},
    {PQ_TRELLIS_3INST,
     6,
     1,
     33,
     {1, 2, 4, 8, 16, 32, 0,  1,  2, 4, 8, 16, 32, 0,  0,  0, 0,
      0, 0, 1, 2, 4,  8,  16, 32, 0, 1, 2, 4,  8,  16, 32, 0},
     {0x0408, 0x0081, 0x0000}},
    {PQ_TRELLIS_1MAD,
     16,
     4,
     8,
     {54134, 14183, 30333, 26586, 32165, 55901, 42451, 23863},
     {0xd376, 0x7da5}},
};

static void
states_are_the_published_ones(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (size_t k = 0; k < sizeof goldens / sizeof *goldens; k++) {
        const golden *g = &goldens[k];
        pq_trellis t;
        float x[33];
        uint16_t states[33];
        uint16_t words[4] = {0};
        for (int64_t i = 0; i < g->n; i++) {
            x[i] = (float)((5 * i * i + 37 * i + 11) % 64 - 32) / 16;
        }
        assert_int_equal(
            pq_trellis_init(ctx, g->code, g->state_bits, g->step_bits, &t),
            PTQC_OK);
        assert_int_equal(pq_trellis_search(ctx, &t, x, 1, g->n, states),
                         PTQC_OK);
        assert_memory_equal(states, g->states, (size_t)g->n * sizeof *states);
        pq_trellis_pack(&t, states, g->n, words);
        assert_memory_equal(words, g->words, sizeof words);
        pq_trellis_deinit(ctx, &t);
    }
    ptqc_ctx_destroy(ctx);
}

// ---- rings ----------------------------------------------------------------

typedef struct shape {
    unsigned state_bits, step_bits;
    int64_t n;
} shape;

static const shape shapes[] = {
    {2, 1, 2},  {2, 1, 9}, {5, 1, 5},  {6, 2, 3},   {7, 3, 3},   {8, 2, 256},
    {9, 4, 37}, {9, 8, 2}, {9, 8, 17}, {12, 2, 64}, {16, 1, 16}, {16, 7, 11}};

static void
check_ring(const pq_trellis *t, const uint16_t *states, int64_t n)
{
    const unsigned k = t->step_bits;
    const uint32_t kept = (1u << (t->state_bits - k)) - 1;
    for (int64_t i = 0; i < n; i++) {
        uint32_t next = states[i + 1 < n ? i + 1 : 0];
        assert_int_equal(states[i] & kept, next >> k);
        assert_true(states[i] >> t->state_bits == 0);
    }
}

static void
states_overlap_and_come_back(void **state)
{
    (void)state;
    enum { ROWS = 3 };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (size_t c = 0; c < sizeof shapes / sizeof *shapes; c++) {
        int64_t n = shapes[c].n;
        float *x = normal_floats(c, ROWS * n);
        float *y = new_floats(n);
        uint16_t *states = calloc((size_t)(ROWS * n), sizeof *states);
        uint16_t *back = calloc((size_t)n, sizeof *back);
        pq_trellis t;
        assert_int_equal(pq_trellis_init(ctx, (pq_trellis_code)(c % 2),
                                         shapes[c].state_bits,
                                         shapes[c].step_bits, &t),
                         PTQC_OK);
        x[0] = NAN;
        x[1] = 3e38f; // have codes all the same
        x[n] = -INFINITY;
        assert_int_equal(pq_trellis_search(ctx, &t, x, ROWS, n, states),
                         PTQC_OK);
        size_t words = pq_trellis_word_count(&t, n);
        assert_int_equal(words, ((size_t)n * t.step_bits + 15) / 16);
        uint16_t *ring = calloc(words + 1, sizeof *ring);
        for (int r = 0; r < ROWS; r++) {
            check_ring(&t, states + r * n, n);
            ring[words] = 0xa5a5;
            pq_trellis_pack(&t, states + r * n, n, ring);
            assert_int_equal(ring[words], 0xa5a5); // nothing beyond
            pq_trellis_unpack(&t, ring, n, back);
            assert_memory_equal(states + r * n, back, (size_t)n * sizeof *back);
            pq_trellis_decode(&t, ring, n, y);
            for (int64_t i = 0; i < n; i++) {
                assert_true(y[i] == t.numbers[states[r * n + i]]);
            }
        }
        free(x);
        free(y);
        free(states);
        free(back);
        free(ring);
        pq_trellis_deinit(ctx, &t);
    }
    ptqc_ctx_destroy(ctx);
}

static double
error_of_row(const pq_trellis *t, const uint16_t *states, const float *x,
             int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = (double)x[i] - (double)t->numbers[states[i]];
        sum += e * e;
    }
    return sum;
}

// All 2^(n k) rings are tried: the two passes find one of the least error, or
// the least that keeps the first pass's overlap.
static void
no_ring_is_better(void **state)
{
    (void)state;
    enum { N = 8, TRIES = 40 };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_trellis t;
    int best_count = 0;
    assert_int_equal(pq_trellis_init(ctx, PQ_TRELLIS_3INST, 5, 2, &t), PTQC_OK);
    float *x = normal_floats(3, TRIES * N);
    for (int k = 0; k < TRIES; k++) {
        uint16_t states[N];
        uint16_t other[N];
        assert_int_equal(pq_trellis_search(ctx, &t, x + k * N, 1, N, states),
                         PTQC_OK);
        double error = error_of_row(&t, states, x + k * N, N);
        double least = (double)INFINITY;
        double least_kept = (double)INFINITY;
        for (uint32_t bits = 0; bits < 1u << 16; bits++) {
            uint16_t word = (uint16_t)bits;
            pq_trellis_unpack(&t, &word, N, other);
            double e = error_of_row(&t, other, x + k * N, N);
            least = fmin(least, e);
            if (other[0] >> 2 == states[0] >> 2) {
                least_kept = fmin(least_kept, e);
            }
        }
        assert_true(error <= least_kept * (1 + 1e-5));
        best_count += error <= least * (1 + 1e-5);
    }
    print_message("of %d rings %d are the best of all\n", TRIES, best_count);
    assert_true(best_count >= TRIES / 2);
    free(x);
    pq_trellis_deinit(ctx, &t);
    ptqc_ctx_destroy(ctx);
}

// ---- errors on normal numbers ---------------------------------------------

// Squared error of a number of variance 1, rows of 256, as QTIP's tiles.
static double
normal_error(ptqc_ctx *ctx, pq_trellis_code code, unsigned state_bits,
             unsigned step_bits, int64_t rows, float scale)
{
    enum { N = 256 };
    pq_trellis t;
    assert_int_equal(pq_trellis_init(ctx, code, state_bits, step_bits, &t),
                     PTQC_OK);
    float *x = normal_floats(91, rows * N);
    uint16_t *states = calloc((size_t)(rows * N), sizeof *states);
    for (int64_t i = 0; i < rows * N; i++) {
        x[i] *= scale;
    }
    assert_int_equal(pq_trellis_search(ctx, &t, x, rows, N, states), PTQC_OK);
    double sum = error_of_row(&t, states, x, rows * N);
    free(x);
    free(states);
    pq_trellis_deinit(ctx, &t);
    return sum / (double)(rows * N) / ((double)scale * (double)scale);
}

// More bits of state, less error; 16 bits: algorithms 10. No code of 2 bits is
// better than 2^-4 (Shannon).
static void
error_on_normal_numbers(void **state)
{
    (void)state;
    static const float scales[2] = {1.2437f, 1};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    for (int c = 0; c < 2; c++) {
        pq_trellis_code code = (pq_trellis_code)c;
        double before = .16;
        for (unsigned bits = 6; bits <= 12; bits += 2) {
            double error = normal_error(ctx, code, bits, 2, 64, scales[c]);
            print_message("code %d, %u bits of state: %.5f\n", c, bits, error);
            assert_true(error < before * .97);
            before = error;
        }
        assert_true(before > .0625 && before < .075);
    }
    double all = normal_error(ctx, PQ_TRELLIS_3INST, 16, 2, 16, scales[0]);
    print_message("16 bits of state: %.5f\n", all);
    assert_true(all >= .066 && all <= .073);
    ptqc_ctx_destroy(ctx);
}

// 3 and 4 bits: between Shannon's 4^-k and the errors of 16 bits of state
// (algorithms 10: .019, .0056), which 12 reach.
static void
error_of_more_bits(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    double three = normal_error(ctx, PQ_TRELLIS_3INST, 12, 3, 64, 1.17f);
    double four = normal_error(ctx, PQ_TRELLIS_3INST, 12, 4, 64, 1.1f);
    print_message("3 bits: %.5f, 4 bits: %.5f\n", three, four);
    assert_true(three > .0156 && three < .0195);
    assert_true(four > .0039 && four < .0056);
    ptqc_ctx_destroy(ctx);
}

// ---- the rest -------------------------------------------------------------

static void
same_bytes_for_any_threads(void **state)
{
    (void)state;
    enum { ROWS = 70, N = 32 }; // more than one chunk
    float *x = normal_floats(8, ROWS * N);
    uint16_t *states[2];
    for (int k = 0; k < 2; k++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, k == 0 ? 1 : 3);
        pq_trellis t;
        states[k] = calloc(ROWS * N, sizeof **states);
        assert_int_equal(pq_trellis_init(ctx, PQ_TRELLIS_1MAD, 8, 2, &t),
                         PTQC_OK);
        assert_int_equal(pq_trellis_search(ctx, &t, x, ROWS, N, states[k]),
                         PTQC_OK);
        check_ring(&t, states[k] + (ROWS - 1) * N, N);
        pq_trellis_deinit(ctx, &t);
        ptqc_ctx_destroy(ctx);
    }
    assert_memory_equal(states[0], states[1], ROWS * N * sizeof **states);
    free(states[0]);
    free(states[1]);
    free(x);
}

static void
other_shapes_are_refused(void **state)
{
    (void)state;
    static const unsigned bits[][2] = {{1, 1},  {17, 2}, {8, 0},
                                       {16, 9}, {4, 4},  {4, 5}};
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_trellis t;
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        assert_int_equal(
            pq_trellis_init(ctx, PQ_TRELLIS_3INST, bits[i][0], bits[i][1], &t),
            PTQC_E_UNSUPPORTED);
        assert_non_null(strstr(sink.text, "trellis: states of"));
        pq_trellis_deinit(ctx, &t);
        pq_test_sink_clear(&sink);
    }
    const float x[4] = {0};
    uint16_t states[4];
    assert_int_equal(pq_trellis_init(ctx, PQ_TRELLIS_3INST, 9, 2, &t), PTQC_OK);
    assert_int_equal(pq_trellis_search(ctx, &t, x, 1, 4, states),
                     PTQC_E_UNSUPPORTED);
    assert_non_null(strstr(sink.text, "rows of 4 numbers of 2 bits"));
    assert_int_equal(pq_trellis_search(ctx, &t, x, 1, 0, states),
                     PTQC_E_UNSUPPORTED);
    assert_int_equal(pq_trellis_search(ctx, &t, x, 1, INT64_MAX, states),
                     PTQC_E_UNSUPPORTED);
    pq_trellis_deinit(ctx, &t);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
search_in(ptqc_ctx *ctx, void *user)
{
    pq_trellis t;
    uint16_t states[16];
    ptqc_status st = pq_trellis_init(ctx, PQ_TRELLIS_3INST, 6, 2, &t);
    if (st == PTQC_OK) {
        st = pq_trellis_search(ctx, &t, user, 1, 16, states);
    }
    pq_trellis_deinit(ctx, &t);
    return st;
}

static void
memory_runs_out(void **state)
{
    (void)state;
    float *x = normal_floats(7, 16);
    assert_true(pq_test_alloc_sweep(search_in, x) > 4);
    free(x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_the_published_ones),
        cmocka_unit_test(states_are_the_published_ones),
        cmocka_unit_test(states_overlap_and_come_back),
        cmocka_unit_test(no_ring_is_better),
        cmocka_unit_test(error_on_normal_numbers),
        cmocka_unit_test(error_of_more_bits),
        cmocka_unit_test(same_bytes_for_any_threads),
        cmocka_unit_test(other_shapes_are_refused),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
