// SPDX-License-Identifier: Apache-2.0
//
// MSE: the range whose codes have the least squared error, rounding and
// clipping together, on the histogram (every number at its bin's middle;
// zeros have none). A grid of common shrink factors of the seen range, then
// each end alone.

#include <math.h>

#include "quant/observer.h"

#define STEPS 100 // the range shrinks in hundredths ...
#define LEAST 20  // ... down to a fifth

typedef struct pq_range_search {
    const pq_observer *o;
    double least;
    float min, max; // of the least error
} pq_range_search;

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
    double sum = 0;
    for (int64_t i = 0; i < h->count; i++) {
        if (h->bins[i] == 0) {
            continue;
        }
        double x = pq_histogram_middle(h, i) / scale;
        double q = rint(x < lo ? lo : (x > hi ? hi : x));
        sum += (double)h->bins[i] * (x - q) * (x - q);
    }
    return sum * scale * scale;
}

static void
try_range(pq_range_search *s, float min, float max)
{
    double error = pq_observer_error(s->o, min, max);
    if (error < s->least) {
        s->least = error;
        s->min = min;
        s->max = max;
    }
}

ptqc_status
pq_observe_mse(const pq_observer *o, float *out_min, float *out_max)
{
    pq_range_search s = {o, HUGE_VAL, o->min, o->max};
    for (int i = STEPS; i >= LEAST; i--) {
        float share = (float)i / STEPS;
        try_range(&s, o->min * share, o->max * share);
    }
    bool has_both = o->min < 0 && o->max > 0 && !o->desc.symmetric;
    for (int i = STEPS; has_both && i >= LEAST; i--) {
        try_range(&s, s.min, o->max * ((float)i / STEPS));
    }
    for (int i = STEPS; has_both && i >= LEAST; i--) {
        try_range(&s, o->min * ((float)i / STEPS), s.max);
    }
    *out_min = s.min;
    *out_max = s.max;
    return PTQC_OK;
}
