// SPDX-License-Identifier: Apache-2.0
//
// MSE: the range whose codes have the least squared error, rounding and
// clipping together, on the histogram (the numbers of a bin spread evenly over
// it: as points in its middle they would meet the codes of some ranges by
// chance; zeros have no error). A grid of common shrink factors of the seen
// range, a finer one around the best of them; then so each end alone.

#include <math.h>

#include "quant/observer.h"

// Shares of the seen range are counted in thousandths.
enum {
    ALL = 1000,
    COARSE = 10, // the range shrinks in hundredths ...
    LEAST = 200, // ... down to a fifth
};

typedef struct pq_shares {
    int lo, hi; // of the least and the greatest number that were seen
} pq_shares;

typedef struct pq_range_search {
    const pq_observer *o;
    double least;
    pq_shares best; // of the least error
} pq_range_search;

// Integral from 0 to x of the squared error of rounding to whole numbers from
// lo to hi, lo <= 0 <= hi: 1/12 for each whole one, cubes at the ends.
static double
error_up_to(double x, double lo, double hi)
{
    double inside = x < lo ? lo : (x > hi ? hi : x);
    double whole = rint(inside);
    double rest = inside - whole;
    double beyond = x - inside;
    return whole / 12 + (rest * rest * rest + beyond * beyond * beyond) / 3;
}

double
pq_observer_error(const pq_observer *o, float min, float max)
{
    const pq_histogram *h = &o->histogram;
    pq_params p =
        pq_params_of_range(min, max, o->desc.format, o->desc.symmetric);
    const pq_format *f = pq_format_of(o->desc.format);
    double lo = (double)f->min - p.zero_point;
    double hi = (double)f->max - p.zero_point;
    double scale = (double)p.scale;
    double half = 0.5 * (double)h->width / scale; // of a bin, in steps
    double sum = 0;
    for (int64_t i = 0; i < h->count; i++) {
        if (h->bins[i] != 0) {
            double x = pq_histogram_middle(h, i) / scale;
            sum += (double)h->bins[i] * (error_up_to(x + half, lo, hi) -
                                         error_up_to(x - half, lo, hi));
        }
    }
    return sum / (2 * half) * scale * scale;
}

static float
part(float end, int share)
{
    return end * ((float)share / (float)ALL);
}

static void
try_shares(pq_range_search *s, pq_shares shares)
{
    double error = pq_observer_error(s->o, part(s->o->min, shares.lo),
                                     part(s->o->max, shares.hi));
    if (error < s->least) {
        s->least = error;
        s->best = shares;
    }
}

// The ends that move have one share.
static void
search(pq_range_search *s, bool lo_moves, bool hi_moves)
{
    pq_shares start = s->best;
    for (int i = ALL; i >= LEAST; i -= COARSE) {
        try_shares(
            s, (pq_shares){lo_moves ? i : start.lo, hi_moves ? i : start.hi});
    }
    int centre = lo_moves ? s->best.lo : s->best.hi;
    for (int i = centre - COARSE + 1; i < centre + COARSE && i <= ALL; i++) {
        try_shares(
            s, (pq_shares){lo_moves ? i : start.lo, hi_moves ? i : start.hi});
    }
}

ptqc_status
pq_observe_mse(const pq_observer *o, float *out_min, float *out_max)
{
    pq_range_search s = {o, HUGE_VAL, {ALL, ALL}};
    search(&s, true, true);
    if (o->min < 0 && o->max > 0 && !o->desc.symmetric) {
        search(&s, false, true);
        search(&s, true, false);
    }
    *out_min = part(o->min, s.best.lo);
    *out_max = part(o->max, s.best.hi);
    return PTQC_OK;
}
