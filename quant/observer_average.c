// SPDX-License-Identifier: Apache-2.0
//
// Moving average of the ranges of samples: m += c (x - m) with c = 1/100, the
// constant of onnxruntime and llm-compressor; the first 100 samples count
// alike (c = 1/n), so that the first one is not all of the result.

#include "quant/observer.h"

ptqc_status
pq_observe_average(const pq_observer *o, float *out_min, float *out_max)
{
    *out_min = (float)o->mean_min;
    *out_max = (float)o->mean_max;
    return PTQC_OK;
}
