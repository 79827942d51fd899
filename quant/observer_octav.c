// SPDX-License-Identifier: Apache-2.0
//
// OCTAV (Sakr et al., Optimal Clipping and Magnitude-aware Differentiation,
// 2022, equation 3): Newton's fixed point of the squared error of clipping and
// rounding. With steps d = (hi - lo) / L inside and P the share of the numbers
// inside, the error d^2 P / 12 + E[(x - hi)^2; x > hi] + E[(lo - x)^2; x < lo]
// is least where
//
//   hi = (E[x; x > hi] + c lo) / (P(x > hi) + c),   c = P / (12 L^2)
//
// and likewise lo. Symmetric codes: lo = -hi and L = 2^bits, the formula of
// the paper. Zeros are left out: they are codes. On the histogram, every
// number at its bin's middle. Below 5 bits the fixed point lies below the
// optimum (the rounding error is not uniform there), so that a grid around it
// has the last word.

#include <math.h>

#include "quant/observer.h"

#define ITERATIONS 30
#define GRID       40 // the fixed point times 40/40 ...
#define GRID_TOP   60 // ... to 60/40
#define GRID_BITS  4  // formats of so many bits and fewer

// Numbers beyond a border, and their sum.
typedef struct pq_tail {
    double count, sum;
} pq_tail;

// side 1: numbers above the border, -1: below it.
static pq_tail
beyond(const pq_histogram *h, double border, int side)
{
    pq_tail t = {0};
    for (int64_t i = 0; i < h->count; i++) {
        double x = pq_histogram_middle(h, i);
        if (side * x > side * border) {
            t.count += (double)h->bins[i];
            t.sum += (double)h->bins[i] * x;
        }
    }
    return t;
}

double
pq_octav_symmetric(const pq_histogram *h, unsigned bits)
{
    double total = (double)h->others;
    double noise = ldexp(1, -2 * (int)bits) / 3;
    pq_tail above = beyond(h, 0, 1);
    pq_tail below = beyond(h, 0, -1);
    double s = total > 0 ? (above.sum - below.sum) / total : 0;
    for (int i = 0; i < ITERATIONS && s > 0; i++) {
        above = beyond(h, s, 1);
        below = beyond(h, -s, -1);
        double out = above.count + below.count;
        double next = (above.sum - below.sum) / (noise * (total - out) + out);
        s = next > 0 ? next : s;
    }
    return s;
}

void
pq_octav_range(const pq_histogram *h, double steps, double *out_lo,
               double *out_hi)
{
    double total = (double)h->others;
    pq_tail above = beyond(h, 0, 1);
    pq_tail below = beyond(h, 0, -1);
    double hi = above.count > 0 ? above.sum / above.count : 0;
    double lo = below.count > 0 ? below.sum / below.count : 0;
    for (int i = 0; i < ITERATIONS; i++) {
        above = beyond(h, hi, 1);
        below = beyond(h, lo, -1);
        double inside = total - above.count - below.count;
        double c = inside / (12 * steps * steps);
        hi = hi > 0 && above.count + c > 0
                 ? fmax((above.sum + c * lo) / (above.count + c), 0)
                 : 0;
        lo = lo < 0 && below.count + c > 0
                 ? fmin((below.sum + c * hi) / (below.count + c), 0)
                 : 0;
    }
    *out_lo = lo;
    *out_hi = hi;
}

static void
refine(const pq_observer *o, double *lo, double *hi)
{
    double least = HUGE_VAL;
    double best = 1;
    for (int i = GRID; i <= GRID_TOP; i++) {
        double share = (double)i / GRID;
        double error =
            pq_observer_error(o, (float)(*lo * share), (float)(*hi * share));
        if (error < least) {
            least = error;
            best = share;
        }
    }
    *lo *= best;
    *hi *= best;
}

ptqc_status
pq_observe_octav(const pq_observer *o, float *out_min, float *out_max)
{
    const pq_format *f = pq_format_of(o->desc.format);
    double lo, hi;
    if (o->desc.symmetric) {
        hi = pq_octav_symmetric(&o->histogram, f->bits);
        lo = -hi;
    } else {
        pq_octav_range(&o->histogram, (double)f->max - f->min, &lo, &hi);
    }
    if (f->bits <= GRID_BITS) {
        refine(o, &lo, &hi);
    }
    *out_min = (float)lo;
    *out_max = (float)hi;
    return PTQC_OK;
}
