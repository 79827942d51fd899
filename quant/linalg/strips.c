// SPDX-License-Identifier: Apache-2.0
//
// Triangular solves by substitution, rows as lanes, see strips.h.

#include "quant/linalg/strips.h"

#include "base/threads.h"

#define GRAIN 2 // strips: some 10 us

// x r = b, columns ascending: x_i = (b_i - sum over j < i of x_j r[j][i]) /
// r_ii
static void
substitute(const pq_strips *s, float *strip)
{
    const pq_micro *micro = s->space->micro;
    for (int64_t i = 0; i < s->n; i++) {
        float *column = strip + i * PQ_LANES;
        micro->combine(strip, s->r + i, s->r_ld, i, true, column);
        micro->scale(1.0f / s->r[i * s->r_ld + i], column);
    }
}

// x r' = b, columns descending: x_i = (b_i - sum over j > i of x_j r[i][j]) /
// r_ii
static void
substitute_back(const pq_strips *s, float *strip)
{
    const pq_micro *micro = s->space->micro;
    for (int64_t i = s->n - 1; i >= 0; i--) {
        float *column = strip + i * PQ_LANES;
        const float *row = s->r + i * s->r_ld;
        micro->combine(column + PQ_LANES, row + i + 1, 1, s->n - 1 - i, true,
                       column);
        micro->scale(1.0f / row[i], column);
    }
}

static void
solve_strips(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_strips *s = user;
    const pq_micro *micro = s->space->micro;
    _Alignas(64) float strip[PQ_STEP * PQ_LANES];
    (void)worker;
    for (int64_t i = (int64_t)begin; i < (int64_t)end; i++) {
        float *b = s->b + i * PQ_LANES * s->b_ld;
        int64_t left = s->rows - i * PQ_LANES;
        int lanes = (int)(left < PQ_LANES ? left : PQ_LANES);
        micro->load(b, s->b_ld, lanes, s->n, strip);
        if (s->side == PQ_SOLVE_R) {
            substitute(s, strip);
        } else {
            substitute_back(s, strip);
        }
        micro->store(strip, lanes, s->n, b, s->b_ld);
    }
}

void
pq_strips_solve(const pq_strips *strips)
{
    pq_strips copy = *strips;
    uint64_t count = (uint64_t)(strips->rows + PQ_LANES - 1) / PQ_LANES;
    pq_pool_for(strips->space->pool, count, GRAIN, solve_strips, &copy);
}
