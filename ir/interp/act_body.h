// SPDX-License-Identifier: Apache-2.0
//
// One text of the f32 unary row, compiled twice by rows.c: with and without
// fma instructions (fmaf gives the same bits either way).
#ifndef PTQC_IR_INTERP_ACT_BODY_H
#define PTQC_IR_INTERP_ACT_BODY_H

#include "base/mathfn.h"
#include "ir/interp/eval.h"

static inline __attribute__((always_inline)) void
act_body(const pq_act *act, const float *px, float *py, int64_t n)
{
    float alpha = act->alpha;
    float beta = act->beta;
    (void)beta;
    switch ((int)act->code) {
#define UNARY_REAL(OP, f32_expr, f64_expr)                                     \
    case PQ_OP_##OP:                                                           \
        for (int64_t i = 0; i < n; i++) {                                      \
            float x = px[i];                                                   \
            py[i] = (f32_expr);                                                \
        }                                                                      \
        break;
#include "ir/interp/elementwise.def"
    default:
        break;
    }
}

#endif
