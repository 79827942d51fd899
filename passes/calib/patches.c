// SPDX-License-Identifier: Apache-2.0
//
// Patches, see patches.h.

#include "passes/calib/patches.h"

#include <string.h>

#include "passes/match.h"

static bool
conv_window(const pq_graph *g, const pq_op *op, pq_window *w)
{
    const pq_tensor *x = w->x;
    const pq_constant *c =
        pq_graph_constant(g, pq_graph_value(g, op->inputs[1])->constant);
    w->axes = x->rank - 2;
    w->inputs = c->dims[1];
    w->places = x->dims[0];
    for (uint32_t a = 0; a < w->axes; a++) {
        w->kernel[a] = c->dims[a + 2];
        w->stride[a] = pq_op_int_at(op, PQ_ATTR_STRIDES, a, 1);
        w->step[a] = pq_op_int_at(op, PQ_ATTR_DILATIONS, a, 1);
        w->begin[a] = pq_op_int_at(op, PQ_ATTR_PADS, a, 0);
        int64_t pads =
            w->begin[a] + pq_op_int_at(op, PQ_ATTR_PADS, a + w->axes, 0);
        int64_t span = w->step[a] * (w->kernel[a] - 1) + 1;
        int64_t room = x->dims[a + 2] + pads - span;
        w->out[a] = room < 0 ? 0 : room / w->stride[a] + 1;
        w->taps *= w->kernel[a];
        w->places *= w->out[a];
    }
    return w->places > 0;
}

bool
pq_window_of(const pq_graph *g, const pq_op *op, const pq_tensor *x,
             pq_window *out)
{
    *out = (pq_window){.x = x, .taps = 1, .is_conv = op->code == PQ_OP_CONV};
    if (x->dtype != PTQC_F32 || x->rank < (out->is_conv ? 3 : 1)) {
        return false;
    }
    if (out->is_conv) {
        return conv_window(g, op, out);
    }
    int64_t rows = pq_channel_count(g, op);
    const pq_constant *w =
        pq_graph_constant(g, pq_graph_value(g, op->inputs[1])->constant);
    out->inputs = rows > 0 ? pq_element_count(w) / rows : 0;
    if (out->inputs < 1 || x->dims[x->rank - 1] != out->inputs) {
        return false;
    }
    out->places = (int64_t)(x->bytes / sizeof(float)) / out->inputs;
    return out->places > 0;
}

// What tap `tap` reads for place `place` of channel `channel`; 0 outside.
static float
read_tap(const pq_window *w, int64_t place, int64_t channel, int64_t tap)
{
    const float *x = w->x->p;
    int64_t offset = 0;
    int64_t size = 1;
    for (uint32_t a = w->axes; a-- > 0;) {
        int64_t at = place % w->out[a] * w->stride[a] - w->begin[a] +
                     tap % w->kernel[a] * w->step[a];
        if (at < 0 || at >= w->x->dims[a + 2]) {
            return 0;
        }
        offset += at * size;
        size *= w->x->dims[a + 2];
        place /= w->out[a];
        tap /= w->kernel[a];
    }
    return x[(place * w->x->dims[1] + channel) * size + offset];
}

void
pq_window_read(const pq_window *w, int64_t place, int64_t group, float *out)
{
    if (!w->is_conv) {
        const float *x = w->x->p;
        memcpy(out, x + place * w->inputs, (size_t)w->inputs * sizeof *x);
        return;
    }
    for (int64_t c = 0; c < w->inputs; c++) {
        for (int64_t t = 0; t < w->taps; t++) {
            *out++ = read_tap(w, place, group * w->inputs + c, t);
        }
    }
}

pq_places
pq_places_of(int64_t all, int64_t most, uint64_t sample)
{
    pq_places p = {.step = (all + most - 1) / most};
    p.first = (int64_t)(sample * 7919 % (uint64_t)p.step);
    p.count = (all - p.first + p.step - 1) / p.step;
    return p;
}
