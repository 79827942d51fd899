// SPDX-License-Identifier: Apache-2.0
//
// Min-max: all that was seen.

#include "quant/observer.h"

ptqc_status
pq_observe_minmax(const pq_observer *o, float *out_min, float *out_max)
{
    *out_min = o->min;
    *out_max = o->max;
    return PTQC_OK;
}
