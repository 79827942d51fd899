// SPDX-License-Identifier: Apache-2.0
//
// Hadamard rotations, see hadamard.h. A block of 2^k m numbers is seen as
// [2^k][m]: additions and subtractions along the first axis (the fast
// Walsh-Hadamard transform), products with the factor along the second.

#include "quant/hadamard.h"

#include <math.h>
#include <string.h>

#include "base/threads.h"

#define FACTOR_MAX 512 // a factor of m costs m products per number

// ---- Paley's matrices -----------------------------------------------------

static bool
is_prime(int64_t q)
{
    for (int64_t i = 2; i * i <= q; i++) {
        if (q % i == 0) {
            return false;
        }
    }
    return q > 1;
}

// 1 when a is a square modulo the prime q, -1 when not, 0 for 0: a^((q - 1) /
// 2) (Euler). q is below FACTOR_MAX.
static int
residue(int64_t a, int64_t q)
{
    int64_t power = 1;
    for (int64_t i = 0; i < (q - 1) / 2; i++) {
        power = power * a % q;
    }
    return power == q - 1 ? -1 : (int)power;
}

// Element (i, j) of Paley's conference matrix of q + 1: 0 on the diagonal,
// the border 1, the rest residues; skew for q = 3 modulo 4, symmetric for 1.
static int
conference(int64_t i, int64_t j, int64_t q)
{
    if (i == j) {
        return 0;
    }
    if (i == 0) {
        return 1;
    }
    if (j == 0) {
        return q % 4 == 3 ? -1 : 1;
    }
    return residue((i - j + q) % q, q);
}

// The prime that gives a matrix of m: m - 1 (first construction) or m / 2 - 1
// (second); 0: none does.
static int64_t
prime_of(int64_t m)
{
    if (m % 4 == 0 && is_prime(m - 1)) { // m - 1 = 3 modulo 4
        return m - 1;
    }
    int64_t q = m / 2 - 1;
    return m % 4 == 0 && q % 4 == 1 && is_prime(q) ? q : 0;
}

// First construction: 1 + S. Second: S x [1 1; 1 -1] + 1 x [1 -1; -1 -1].
static void
fill_factor(int64_t m, int64_t q, float *out)
{
    bool is_first = q == m - 1;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < m; j++) {
            int s =
                is_first ? conference(i, j, q) : conference(i / 2, j / 2, q);
            int sign = is_first || i % 2 == 0 || j % 2 == 0 ? 1 : -1;
            int other = is_first || (i % 2 == 0 && j % 2 == 0) ? 1 : -1;
            out[i * m + j] = (float)(s != 0 ? s * sign : other);
        }
    }
}

// ---- plan -----------------------------------------------------------------

ptqc_status
pq_hadamard_init(ptqc_ctx *ctx, int64_t n, pq_hadamard *out)
{
    int64_t twos = n & -n; // largest power of two that divides n
    *out = (pq_hadamard){.n = n, .block = twos, .m = 1};
    int64_t m = n == twos ? 1 : n / twos * 4;
    while (m > 1 && m <= FACTOR_MAX && n % m == 0 && prime_of(m) == 0) {
        m *= 2;
    }
    if (m == 1 || m > FACTOR_MAX || n % m != 0) {
        return PTQC_OK;
    }
    out->factor = pq_alloc_array(ctx, (size_t)m, (size_t)m * sizeof(float));
    PQ_TRY_ALLOC(out->factor);
    out->block = n;
    out->m = m;
    fill_factor(m, prime_of(m), out->factor);
    return PTQC_OK;
}

void
pq_hadamard_deinit(ptqc_ctx *ctx, pq_hadamard *hadamard)
{
    pq_free(ctx, hadamard->factor);
    hadamard->factor = NULL;
}

// ---- rotation -------------------------------------------------------------

typedef struct pq_turning {
    const pq_hadamard *h;
    pq_turn turn;
    float *x;
} pq_turning;

// x [count][m] along the first axis; count is a power of two.
static void
add_and_subtract(float *x, int64_t count, int64_t m)
{
    for (int64_t half = m; half < count * m; half *= 2) {
        for (int64_t at = 0; at < count * m; at += 2 * half) {
            for (int64_t i = at; i < at + half; i++) {
                float a = x[i];
                float b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
        }
    }
}

// x [m] times the factor, or its transpose.
static void
multiply(const pq_hadamard *h, pq_turn turn, float *x)
{
    float y[FACTOR_MAX] = {0};
    for (int64_t i = 0; i < h->m; i++) {
        for (int64_t j = 0; j < h->m; j++) {
            float f = turn == PQ_TURN_FORTH ? h->factor[i * h->m + j]
                                            : h->factor[j * h->m + i];
            y[j] += x[i] * f;
        }
    }
    memcpy(x, y, (size_t)h->m * sizeof *x);
}

static void
turn_rows(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_turning *t = user;
    const pq_hadamard *h = t->h;
    float scale = (float)(1 / sqrt((double)h->block));
    (void)worker;
    for (uint64_t row = begin; row < end; row++) {
        float *x = t->x + row * (uint64_t)h->n;
        for (int64_t at = 0; at < h->n; at += h->block) {
            add_and_subtract(x + at, h->block / h->m, h->m);
        }
        for (int64_t at = 0; h->m > 1 && at < h->n; at += h->m) {
            multiply(h, t->turn, x + at);
        }
        for (int64_t i = 0; i < h->n; i++) {
            x[i] *= scale;
        }
    }
}

ptqc_status
pq_hadamard_rows(ptqc_ctx *ctx, const pq_hadamard *hadamard, pq_turn turn,
                 float *x, int64_t rows)
{
    pq_turning t = {hadamard, turn, x};
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    PQ_TRY(pq_check_cancelled(ctx));
    pq_pool_for(pool, (uint64_t)rows, 1, turn_rows, &t);
    return PTQC_OK;
}
