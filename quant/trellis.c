// SPDX-License-Identifier: Apache-2.0
//
// Trellis codes, see trellis.h. Of a state, the k highest bits are its oldest,
// the others its kept ones: the next state is the kept bits and k new ones.
// All states with the same kept bits may come before the same next ones, so a
// step of the search finds the best of each such family of 2^k once.

#include "quant/trellis.h"

#include <math.h>

#include "base/checked.h"
#include "base/float16.h"
#include "base/threads.h"

#define STATE_BITS_MAX 16
#define STEP_BITS_MAX  8 // the oldest bits of a state are a byte
#define LARGEST        0x1p16f
#define BLOCK          16 // families at a time
#define CHUNK_ROWS     64 // between two looks at whether to stop

#define INLINE static inline __attribute__((always_inline))

// ---- numbers --------------------------------------------------------------

static float
number_3inst(uint32_t state)
{
    uint32_t z = ((state * 89226354u + 64248484u) & 0x8fff8fffu) ^ 0x3b603b60u;
    float sum = pq_f16_to_f32((uint16_t)(z >> 16)) + pq_f16_to_f32((uint16_t)z);
    return pq_f16_to_f32(pq_f32_to_f16(sum));
}

static float
number_1mad(uint32_t state)
{
    uint32_t y = state * 34038481u + 76625530u;
    uint32_t sum = (y & 255u) + (y >> 8 & 255u) + (y >> 16 & 255u) + (y >> 24);
    return ((float)sum - 510) / 147.800537109375f;
}

float
pq_trellis_number(pq_trellis_code code, uint32_t state)
{
    return code == PQ_TRELLIS_3INST ? number_3inst(state) : number_1mad(state);
}

ptqc_status
pq_trellis_init(ptqc_ctx *ctx, pq_trellis_code code, unsigned state_bits,
                unsigned step_bits, pq_trellis *out)
{
    *out = (pq_trellis){code, state_bits, step_bits, NULL};
    if (state_bits < 2 || state_bits > STATE_BITS_MAX || step_bits < 1 ||
        step_bits > STEP_BITS_MAX || step_bits >= state_bits) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "trellis: states of %u bits, steps of %u; expected 2 "
                       "to %d, and 1 to %d that are fewer",
                       state_bits, step_bits, STATE_BITS_MAX, STEP_BITS_MAX);
    }
    uint32_t count = 1u << state_bits;
    out->numbers = pq_alloc_array(ctx, count, sizeof *out->numbers);
    PQ_TRY_ALLOC(out->numbers);
    for (uint32_t s = 0; s < count; s++) {
        out->numbers[s] = pq_trellis_number(code, s);
    }
    return PTQC_OK;
}

void
pq_trellis_deinit(ptqc_ctx *ctx, pq_trellis *trellis)
{
    pq_free(ctx, trellis->numbers);
    trellis->numbers = NULL;
}

// ---- rings ----------------------------------------------------------------

size_t
pq_trellis_word_count(const pq_trellis *trellis, int64_t n)
{
    return ((size_t)n * trellis->step_bits + 15) / 16;
}

void
pq_trellis_pack(const pq_trellis *trellis, const uint16_t *states, int64_t n,
                uint16_t *out_words)
{
    const unsigned k = trellis->step_bits;
    const unsigned kept_bits = trellis->state_bits - k;
    uint32_t pending = 0; // bits not yet written, first highest
    unsigned have = 0;
    for (int64_t i = 0; i < n; i++) {
        pending = pending << k | (uint32_t)states[i] >> kept_bits;
        have += k;
        if (have >= 16) {
            have -= 16;
            *out_words++ = (uint16_t)(pending >> have);
        }
    }
    if (have > 0) {
        *out_words = (uint16_t)(pending << (16 - have));
    }
}

// Reads the states of a ring one after the other.
typedef struct pq_reader {
    const pq_trellis *trellis;
    const uint16_t *words;
    size_t ring, at; // bits; the next one
    uint32_t state;
} pq_reader;

static void
read_bits(pq_reader *r, unsigned count)
{
    for (; count > 0; count--) {
        uint32_t bit = r->words[r->at / 16] >> (15 - r->at % 16) & 1u;
        r->state = r->state << 1 | bit;
        r->at = r->at + 1 < r->ring ? r->at + 1 : 0;
    }
    r->state &= (1u << r->trellis->state_bits) - 1;
}

// At the state before the first.
static pq_reader
open_ring(const pq_trellis *trellis, const uint16_t *words, int64_t n)
{
    pq_reader r = {.trellis = trellis,
                   .words = words,
                   .ring = (size_t)n * trellis->step_bits};
    if (n > 0) {
        read_bits(&r, trellis->state_bits - trellis->step_bits);
    }
    return r;
}

void
pq_trellis_unpack(const pq_trellis *trellis, const uint16_t *words, int64_t n,
                  uint16_t *out_states)
{
    pq_reader r = open_ring(trellis, words, n);
    for (int64_t i = 0; i < n; i++) {
        read_bits(&r, trellis->step_bits);
        out_states[i] = (uint16_t)r.state;
    }
}

void
pq_trellis_decode(const pq_trellis *trellis, const uint16_t *words, int64_t n,
                  float *out)
{
    pq_reader r = open_ring(trellis, words, n);
    for (int64_t i = 0; i < n; i++) {
        read_bits(&r, trellis->step_bits);
        out[i] = trellis->numbers[r.state];
    }
}

// ---- search ---------------------------------------------------------------

// What one worker writes to.
typedef struct pq_walk {
    float *costs;  // [2^L] of the best way to each state
    float *best;   // [2^(L - k)] the least of each family
    uint8_t *from; // [n][2^(L - k)] oldest bits of the state before
} pq_walk;

typedef struct pq_search {
    const pq_trellis *trellis;
    const float *x; // [rows][n]
    int64_t n;
    int64_t first;    // row of this chunk
    pq_walk *walks;   // [workers]
    uint16_t *states; // result: [rows][n]
} pq_search;

#define ANY_OVERLAP UINT32_MAX

static float
element(const float *x, int64_t i)
{
    return !isfinite(x[i]) ? 0 : fminf(fmaxf(x[i], -LARGEST), LARGEST);
}

// Costs of the first number. overlap: the highest bits, which are kept from
// the last state; others cannot be.
static void
begin(const pq_trellis *t, float x, uint32_t overlap, float *costs)
{
    uint32_t count = 1u << t->state_bits;
    for (uint32_t s = 0; s < count; s++) {
        float e = t->numbers[s] - x;
        bool can_be = overlap == ANY_OVERLAP || s >> t->step_bits == overlap;
        costs[s] = can_be ? e * e : INFINITY;
    }
}

// The best of `n` families, of equals that of the lowest oldest bits. costs,
// best and from begin at the first of them. Constant counts make vectors.
INLINE void
choose_some(const float *costs, uint32_t families, uint32_t members, uint32_t n,
            float *best, uint8_t *from)
{
    float least[BLOCK];
    uint32_t which[BLOCK];
    for (uint32_t f = 0; f < n; f++) {
        least[f] = costs[f];
        which[f] = 0;
    }
    for (uint32_t oldest = 1; oldest < members; oldest++) {
        const float *row = costs + oldest * families;
        for (uint32_t f = 0; f < n; f++) {
            which[f] = row[f] < least[f] ? oldest : which[f];
            least[f] = row[f] < least[f] ? row[f] : least[f];
        }
    }
    for (uint32_t f = 0; f < n; f++) {
        best[f] = least[f];
        from[f] = (uint8_t)which[f];
    }
}

static void
choose(const pq_trellis *t, const float *costs, float *best, uint8_t *from)
{
    const uint32_t families = 1u << (t->state_bits - t->step_bits);
    const uint32_t members = 1u << t->step_bits;
    if (families < BLOCK) {
        choose_some(costs, families, members, families, best, from);
        return;
    }
    for (uint32_t f = 0; f < families; f += BLOCK) {
        choose_some(costs + f, families, members, BLOCK, best + f, from + f);
    }
}

INLINE void
extend_all(const pq_trellis *t, uint32_t members, const float *restrict best,
           float x, float *restrict costs)
{
    const uint32_t families = 1u << (t->state_bits - t->step_bits);
    const float *restrict numbers = t->numbers;
    for (uint32_t f = 0; f < families; f++) {
        for (uint32_t j = 0; j < members; j++) {
            float e = numbers[f * members + j] - x;
            costs[f * members + j] = best[f] + e * e;
        }
    }
}

// costs [2^L] = those of the families and of the next number.
static void
extend(const pq_trellis *t, const float *best, float x, float *costs)
{
    switch (t->step_bits) {
    case 2:
        extend_all(t, 4, best, x, costs);
        break;
    case 3:
        extend_all(t, 8, best, x, costs);
        break;
    case 4:
        extend_all(t, 16, best, x, costs);
        break;
    default:
        extend_all(t, 1u << t->step_bits, best, x, costs);
    }
}

// The cheapest last state, of those that keep `overlap`.
static uint32_t
cheapest(const pq_trellis *t, const float *costs, uint32_t overlap)
{
    uint32_t step =
        overlap == ANY_OVERLAP ? 1 : 1u << (t->state_bits - t->step_bits);
    uint32_t best = overlap == ANY_OVERLAP ? 0 : overlap;
    for (uint32_t s = best; s < 1u << t->state_bits; s += step) {
        best = costs[s] < costs[best] ? s : best;
    }
    return best;
}

// One pass over x, which begins at its element `turn`: out_states [n] in the
// order of the pass.
static void
walk(const pq_search *search, const pq_walk *w, const float *x, int64_t turn,
     uint32_t overlap, uint16_t *out_states)
{
    const pq_trellis *t = search->trellis;
    const unsigned kept_bits = t->state_bits - t->step_bits;
    const int64_t n = search->n;
    begin(t, element(x, turn), overlap, w->costs);
    for (int64_t i = 1; i < n; i++) {
        choose(t, w->costs, w->best, w->from + (i << kept_bits));
        extend(t, w->best, element(x, (i + turn) % n), w->costs);
    }
    uint32_t state = cheapest(t, w->costs, overlap);
    for (int64_t i = n - 1; i > 0; i--) {
        uint32_t family = state >> t->step_bits;
        out_states[i] = (uint16_t)state;
        state =
            (uint32_t)w->from[(i << kept_bits) + family] << kept_bits | family;
    }
    out_states[0] = (uint16_t)state;
}

static void
search_rows(void *user, uint64_t begin_row, uint64_t end_row, uint32_t worker)
{
    const pq_search *s = user;
    const pq_walk *w = &s->walks[worker];
    int64_t half = s->n / 2;
    for (uint64_t r = begin_row; r < end_row; r++) {
        int64_t at = (s->first + (int64_t)r) * s->n;
        uint16_t *states = s->states + at;
        // Turned by half, the first number is the `half`-th.
        walk(s, w, s->x + at, s->n - half, ANY_OVERLAP, states);
        uint32_t overlap = (uint32_t)states[half] >> s->trellis->step_bits;
        walk(s, w, s->x + at, 0, overlap, states);
    }
}

static ptqc_status
search_chunks(ptqc_ctx *ctx, struct pq_pool *pool, pq_search *s, int64_t rows)
{
    for (; s->first < rows; s->first += CHUNK_ROWS) {
        int64_t left = rows - s->first;
        PQ_TRY(pq_check_cancelled(ctx));
        pq_pool_for(pool, (uint64_t)(left < CHUNK_ROWS ? left : CHUNK_ROWS), 1,
                    search_rows, s);
    }
    return PTQC_OK;
}

static ptqc_status
make_walk(ptqc_ctx *ctx, const pq_trellis *t, int64_t n, pq_walk *w)
{
    size_t families = (size_t)1 << (t->state_bits - t->step_bits);
    w->costs = pq_alloc_array(ctx, (size_t)1 << t->state_bits, sizeof(float));
    w->best = pq_alloc_array(ctx, families, sizeof(float));
    w->from = pq_alloc_array(ctx, (size_t)n, families);
    return w->costs != NULL && w->best != NULL && w->from != NULL
               ? PTQC_OK
               : PTQC_E_RESOURCE;
}

static ptqc_status
check_length(ptqc_ctx *ctx, const pq_trellis *t, int64_t n)
{
    int64_t bits;
    if (n < 1 || !pq_mul_i64(n, t->step_bits, &bits) || bits < t->state_bits) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "trellis: rows of %lld numbers of %u bits; expected at "
                       "least the %u bits of a state",
                       (long long)n, t->step_bits, t->state_bits);
    }
    return PTQC_OK;
}

ptqc_status
pq_trellis_search(ptqc_ctx *ctx, const pq_trellis *trellis, const float *x,
                  int64_t rows, int64_t n, uint16_t *out_states)
{
    pq_search s = {.trellis = trellis, .x = x, .n = n, .states = out_states};
    ptqc_status st = PTQC_OK;
    PQ_TRY(check_length(ctx, trellis, n));
    struct pq_pool *pool = pq_ctx_pool(ctx);
    PQ_TRY_ALLOC(pool);
    uint32_t workers = pq_pool_width(pool);
    s.walks = pq_alloc_array(ctx, workers, sizeof *s.walks);
    PQ_TRY_ALLOC(s.walks);
    for (uint32_t i = 0; i < workers; i++) {
        PQ_TRY_OR(done, make_walk(ctx, trellis, n, &s.walks[i]));
    }
    st = search_chunks(ctx, pool, &s, rows);
done:
    for (uint32_t i = 0; i < workers; i++) {
        pq_free(ctx, s.walks[i].costs);
        pq_free(ctx, s.walks[i].best);
        pq_free(ctx, s.walks[i].from);
    }
    pq_free(ctx, s.walks);
    return st;
}
