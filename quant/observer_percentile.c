// SPDX-License-Identifier: Apache-2.0
//
// Percentile: `percentile` % of the numbers lie inside, half of the rest on
// each side; of symmetric codes, of |x|. Resolution is one histogram bin.

#include <math.h>

#include "quant/observer.h"

// Outer end of the bins, from the end of `step`, that hold at most `out`
// numbers (0: no number lies on that side).
static double
end_of(const pq_histogram *h, int64_t step, double out)
{
    double passed = 0;
    int64_t i = step > 0 ? 0 : h->count - 1;
    for (; i >= 0 && i < h->count; i += step) {
        passed += (double)h->bins[i];
        if (passed > out) {
            break;
        }
    }
    return (double)(h->first + i + (step > 0 ? 0 : 1)) * (double)h->width;
}

// As end_of for the bins of |x|.
static double
end_of_magnitude(const pq_histogram *h, double out)
{
    int64_t low = -h->first;
    int64_t high = h->first + h->count;
    double passed = 0;
    int64_t k = low > high ? low : high; // bins k - 1 and -k
    for (; k > 0; k--) {
        int64_t up = k - 1 - h->first;
        int64_t down = -k - h->first;
        passed += up >= 0 && up < h->count ? (double)h->bins[up] : 0;
        passed += down >= 0 && down < h->count ? (double)h->bins[down] : 0;
        if (passed > out) {
            break;
        }
    }
    return (double)k * (double)h->width;
}

ptqc_status
pq_observe_percentile(const pq_observer *o, float *out_min, float *out_max)
{
    const pq_histogram *h = &o->histogram;
    double total = (double)(h->zeros + h->others);
    double out = total * (1 - o->desc.percentile / 100);
    if (h->count == 0) {
        return PTQC_OK;
    }
    if (o->desc.symmetric) {
        double end = end_of_magnitude(h, out);
        *out_max = (float)end;
        *out_min = (float)-end;
        return PTQC_OK;
    }
    *out_min = (float)fmin(end_of(h, 1, out / 2), 0);
    *out_max = (float)fmax(end_of(h, -1, out / 2), 0);
    return PTQC_OK;
}
