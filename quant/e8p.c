// SPDX-License-Identifier: Apache-2.0
//
// E8P, see e8p.h. The nearest point is found for each shift: without it the
// points are all sign changes of v with an even sum, so x is folded to
// magnitudes, and where the signs of x have the other parity than v asks, the
// sign is changed that costs least.

#include "quant/e8p.h"

#include <math.h>
#include <stdbool.h>

#define NORM_10      40 // |2 v|^2 of |v|^2 = 10
#define ORDINARY     227
#define LARGEST      0x1p60f // its products and their sums are finite
#define MAGNITUDES   3       // 1/2, 3/2, 5/2: 7/2 is beyond the ball
#define ENUMERATIONS 6561    // MAGNITUDES^8

// The 29 vectors of norm 12 (QuIP#, appendix C), in the order of the published
// code: bit 7 - i is 1 where v_i = 3/2. They are a choice that nothing
// generates.
static const uint8_t norm_12[PQ_E8P_COUNT - ORDINARY] = {
    0x8f, 0x4f, 0x2f, 0x1f, 0xec, 0xea, 0xe6, 0xe9, 0xe5, 0xe3,
    0xdc, 0xda, 0xd6, 0xd9, 0xd5, 0xd3, 0xbc, 0xba, 0xb6, 0xb9,
    0xb5, 0x73, 0x7c, 0x7a, 0x76, 0x79, 0x75, 0x37, 0xce,
};

// The coordinate whose sign bit j of a code holds; bit 0 holds a parity.
static const uint8_t coordinate_of[PQ_E8P_WIDTH] = {0, 2, 4, 6, 1, 3, 5, 7};

// ---- the table ------------------------------------------------------------

// twice: 2 v.
static void
set_vector(pq_e8p *book, int index, const int twice[PQ_E8P_WIDTH])
{
    int sum = 0;
    int norm = 0;
    for (int i = 0; i < PQ_E8P_WIDTH; i++) {
        book->numbers[i][index] = (float)twice[i] / 2;
        sum += twice[i];
        norm += twice[i] * twice[i];
    }
    book->half_norms[index] = (float)norm / 8;
    book->odd[index] = (uint8_t)(sum / 2 % 2);
}

// The n-th of all vectors of magnitudes, ascending. -> |2 v|^2
static int
enumerate(int n, int out_twice[PQ_E8P_WIDTH])
{
    int norm = 0;
    for (int i = PQ_E8P_WIDTH - 1; i >= 0; i--) {
        out_twice[i] = 2 * (n % MAGNITUDES) + 1;
        norm += out_twice[i] * out_twice[i];
        n /= MAGNITUDES;
    }
    return norm;
}

void
pq_e8p_init(pq_e8p *out)
{
    int twice[PQ_E8P_WIDTH];
    int count = 0;
    for (int n = 0; n < ENUMERATIONS; n++) {
        if (enumerate(n, twice) <= NORM_10) {
            set_vector(out, count++, twice);
        }
    }
    for (int k = 0; count < PQ_E8P_COUNT; k++) {
        for (int i = 0; i < PQ_E8P_WIDTH; i++) {
            twice[i] = (norm_12[k] >> (7 - i) & 1) != 0 ? 3 : 1;
        }
        set_vector(out, count++, twice);
    }
}

// ---- codes ----------------------------------------------------------------

static unsigned
parity_of(unsigned bits)
{
    bits ^= bits >> 4;
    bits ^= bits >> 2;
    return (bits ^ bits >> 1) & 1;
}

void
pq_e8p_decode(const pq_e8p *book, uint16_t code, float out[PQ_E8P_WIDTH])
{
    unsigned index = code >> 8;
    unsigned signs = code & 255u;
    float shift = parity_of(signs) != 0 ? -.25f : .25f;
    signs ^= parity_of(signs); // bit 0: now n0
    signs ^= (unsigned)book->odd[index] << 7;
    for (int j = 0; j < PQ_E8P_WIDTH; j++) {
        float v = book->numbers[coordinate_of[j]][index];
        out[coordinate_of[j]] = ((signs >> j & 1) != 0 ? -v : v) + shift;
    }
}

// ---- search ---------------------------------------------------------------

// x folded: without shift and sign.
typedef struct pq_folded {
    float sizes[PQ_E8P_WIDTH];
    bool is_negative[PQ_E8P_WIDTH];
    unsigned odd; // 1: an odd number of them is
} pq_folded;

static pq_folded
fold(const float x[PQ_E8P_WIDTH], float shift)
{
    pq_folded f = {.odd = 0};
    for (int i = 0; i < PQ_E8P_WIDTH; i++) {
        float y = x[i] - shift;
        f.sizes[i] = fabsf(y);
        f.is_negative[i] = y < 0;
        f.odd ^= f.is_negative[i];
    }
    return f;
}

// The index of the nearest v: the largest sizes v - |v|^2 / 2, less twice the
// smallest product where one sign has to change.
static int
find_nearest(const pq_e8p *book, const pq_folded *f)
{
    float dots[PQ_E8P_COUNT] = {0};
    float least[PQ_E8P_COUNT];
    for (int c = 0; c < PQ_E8P_COUNT; c++) {
        least[c] = INFINITY;
    }
    for (int i = 0; i < PQ_E8P_WIDTH; i++) {
        for (int c = 0; c < PQ_E8P_COUNT; c++) {
            float product = f->sizes[i] * book->numbers[i][c];
            dots[c] += product;
            least[c] = product < least[c] ? product : least[c];
        }
    }
    int best = 0;
    float most = -INFINITY;
    for (int c = 0; c < PQ_E8P_COUNT; c++) {
        float penalty = book->odd[c] != f->odd ? 2 * least[c] : 0;
        float score = dots[c] - book->half_norms[c] - penalty;
        if (score > most) {
            most = score;
            best = c;
        }
    }
    return best;
}

// The coordinate whose sign costs least to change.
static int
cheapest_sign(const pq_e8p *book, const pq_folded *f, int index)
{
    int best = 0;
    for (int i = 1; i < PQ_E8P_WIDTH; i++) {
        if (f->sizes[i] * book->numbers[i][index] <
            f->sizes[best] * book->numbers[best][index]) {
            best = i;
        }
    }
    return best;
}

static uint16_t
encode_shifted(const pq_e8p *book, const float x[PQ_E8P_WIDTH], bool is_down)
{
    pq_folded f = fold(x, is_down ? -.25f : .25f);
    int index = find_nearest(book, &f);
    if (book->odd[index] != f.odd) {
        int i = cheapest_sign(book, &f, index);
        f.is_negative[i] = !f.is_negative[i];
    }
    unsigned code = (unsigned)index << 8;
    for (int j = 1; j < PQ_E8P_WIDTH; j++) {
        code |= (unsigned)f.is_negative[coordinate_of[j]] << j;
    }
    code ^= (unsigned)book->odd[index] << 7;
    return (uint16_t)(code | (parity_of(code & 254u) ^ (is_down ? 1u : 0)));
}

static double
distance(const pq_e8p *book, const float x[PQ_E8P_WIDTH], uint16_t code)
{
    float point[PQ_E8P_WIDTH];
    double sum = 0;
    pq_e8p_decode(book, code, point);
    for (int i = 0; i < PQ_E8P_WIDTH; i++) {
        double e = (double)x[i] - (double)point[i];
        sum += e * e;
    }
    return sum;
}

uint16_t
pq_e8p_encode(const pq_e8p *book, const float x[PQ_E8P_WIDTH])
{
    float y[PQ_E8P_WIDTH];
    for (int i = 0; i < PQ_E8P_WIDTH; i++) {
        y[i] = !isfinite(x[i]) ? 0 : fminf(fmaxf(x[i], -LARGEST), LARGEST);
    }
    uint16_t up = encode_shifted(book, y, false);
    uint16_t down = encode_shifted(book, y, true);
    return distance(book, y, down) < distance(book, y, up) ? down : up;
}
