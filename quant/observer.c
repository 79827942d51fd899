// SPDX-License-Identifier: Apache-2.0
//
// What all observers share: collecting, and the table of rules.

#include "quant/observer.h"

#include <math.h>

#define AVERAGED 100 // samples that a moving average remembers

typedef struct pq_observer_rule {
    const char *name;
    bool needs_histogram;
    pq_observe_fn_range range;
} pq_observer_rule;

static const pq_observer_rule rules[] = {
#define OBSERVER(NAME, text, needs_histogram, function)                        \
    [PQ_OBSERVER_##NAME] = {text, needs_histogram, function},
#include "quant/observers.def"
#undef OBSERVER
};

void
pq_observer_init(pq_observer *o, ptqc_ctx *ctx, const pq_observer_desc *desc)
{
    *o = (pq_observer){.desc = *desc};
    pq_histogram_init(&o->histogram, ctx);
}

void
pq_observer_deinit(pq_observer *o)
{
    pq_histogram_deinit(&o->histogram);
}

ptqc_status
pq_observer_take(pq_observer *o, const float *x, size_t n)
{
    float min, max;
    o->refused += pq_finite_range(x, n, &min, &max);
    o->min = min < o->min ? min : o->min;
    o->max = max > o->max ? max : o->max;
    o->count += n;
    if (n > 0) {
        o->samples++;
        double share =
            o->samples < AVERAGED ? 1 / (double)o->samples : 1.0 / AVERAGED;
        o->mean_min += share * ((double)min - o->mean_min);
        o->mean_max += share * ((double)max - o->mean_max);
    }
    return rules[o->desc.kind].needs_histogram || o->desc.keeps_histogram
               ? pq_histogram_take(&o->histogram, x, n, min, max)
               : PTQC_OK;
}

ptqc_status
pq_observer_range(const pq_observer *o, float *out_min, float *out_max)
{
    float min = o->min;
    float max = o->max;
    PQ_TRY(rules[o->desc.kind].range(o, &min, &max));
    *out_min = min < o->min ? o->min : fminf(min, 0.0f);
    *out_max = max > o->max ? o->max : fmaxf(max, 0.0f);
    return PTQC_OK;
}

const char *
pq_observer_name(pq_observer_kind kind)
{
    return rules[kind].name;
}

bool
pq_observer_needs_histogram(pq_observer_kind kind)
{
    return rules[kind].needs_histogram;
}
