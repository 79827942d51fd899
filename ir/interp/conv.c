// SPDX-License-Identifier: Apache-2.0
//
// conv and conv_transpose, 1 to 3 spatial axes, groups, dilations, float and
// integer. Both are the same gather: an output pixel takes, per kernel tap,
// one input pixel or none (padding, or between strides), in the order depth,
// row, column, input channel of the group.
//
//   x    [N][C][P]      -> pixels [P][C]
//   w    -> panels      [group][panel][tap][C/group][32], or when a group has
//                       one input and few output channels [tap][OC rounded
//                       up to 32]
//   acc  [P'][OC]       -> epilogue -> [N][OC][P']
#include <string.h>

#include "ir/interp/eval.h"
#include "ir/interp/families.h"

// Output channels per input channel up to which pixels are repeated; more
// would take too much memory and gain nothing.
#define MAX_MULTIPLIER 4

typedef struct conv {
    int64_t batch, channels, out_channels, groups;
    int64_t in_group, out_group; // channels of a group
    pq_taps at;
    bool is_transposed, is_integer;
    bool is_depthwise;    // one input channel per group
    size_t size;          // bytes of an element of x and w
    int64_t x_row;        // elements of a pixel of `x`
    const uint8_t *x, *w; // operands as stored in the op, f32 or i16
    uint8_t *pixel_x, *packed_w;
    uint32_t *acc; // [out_pixels][out_channels], f32 or i32
} conv;

static ptqc_status
init_shape(pq_eval *e, conv *c)
{
    const pq_tensor *x = &e->in[0], *w = &e->in[1], *y = &e->out[0];
    c->is_transposed = e->op->code == PQ_OP_CONV_TRANSPOSE;
    c->groups = pq_op_i64(e->op, PQ_ATTR_GROUP, 1);
    if (x->rank < 3 || w->rank != x->rank || y->rank != x->rank) {
        return pq_eval_fail(e, PTQC_E_INPUT, "x has rank %u, w %u", x->rank,
                            w->rank);
    }
    c->batch = x->dims[0];
    c->channels = x->dims[1];
    c->out_channels = y->dims[1];
    if (c->groups < 1 || c->channels % c->groups != 0 ||
        c->out_channels % c->groups != 0) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "%lld groups of %lld and %lld channels",
                            (long long)c->groups, (long long)c->channels,
                            (long long)c->out_channels);
    }
    c->in_group = c->channels / c->groups;
    c->out_group = c->out_channels / c->groups;
    int64_t w0 = c->is_transposed ? c->channels : c->out_channels;
    int64_t w1 = c->is_transposed ? c->out_group : c->in_group;
    if (w->dims[0] != w0 || w->dims[1] != w1 || y->dims[0] != c->batch) {
        return pq_eval_fail(e, PTQC_E_INPUT,
                            "w is [%lld, %lld, ...], expected [%lld, %lld]",
                            (long long)w->dims[0], (long long)w->dims[1],
                            (long long)w0, (long long)w1);
    }
    return pq_taps_init(e, w->dims + 2, c->is_transposed, &c->at);
}

static ptqc_status
init_operands(pq_eval *e, conv *c)
{
    c->is_integer = pq_is_integer_product(e->g, e->op);
    c->size = c->is_integer ? sizeof(int16_t) : sizeof(float);
    if (c->is_integer) {
        const int16_t *x, *w;
        PQ_TRY(pq_centered_i16(e, 0, &x));
        PQ_TRY(pq_centered_i16(e, 1, &w));
        c->x = (const uint8_t *)x;
        c->w = (const uint8_t *)w;
    } else {
        const float *x, *w;
        PQ_TRY(pq_in_f32(e, 0, &x));
        PQ_TRY(pq_in_f32(e, 1, &w));
        c->x = (const uint8_t *)x;
        c->w = (const uint8_t *)w;
    }
    c->is_depthwise = c->in_group == 1 && c->out_group <= MAX_MULTIPLIER;
    int64_t rounded = pq_panels(c->out_channels) * PQ_PANEL;
    c->x_row = c->is_depthwise ? rounded : c->channels;
    int64_t w_count = c->is_depthwise ? c->at.taps * rounded
                                      : c->groups * pq_panels(c->out_group) *
                                            c->at.taps * c->in_group * PQ_PANEL;
    c->pixel_x = pq_scratch(e, c->at.pixels * c->x_row, c->size);
    PQ_TRY_ALLOC(c->pixel_x);
    c->packed_w = pq_scratch(e, w_count, c->size);
    PQ_TRY_ALLOC(c->packed_w);
    c->acc = pq_scratch(e, c->at.out_pixels * c->out_channels, sizeof *c->acc);
    PQ_TRY_ALLOC(c->acc);
    return PTQC_OK;
}

static void
pack_depthwise(const conv *c)
{
    uint8_t *to = c->packed_w;
    for (int64_t tap = 0; tap < c->at.taps; tap++) {
        pq_copy_strided(to, c->w + (size_t)tap * c->size, c->out_channels,
                        c->at.taps, c->size);
        to += (size_t)c->x_row * c->size;
    }
}

static void
pack_groups(const conv *c)
{
    uint8_t *to = c->packed_w;
    int64_t stride = c->is_transposed ? c->at.taps : c->in_group * c->at.taps;
    int64_t panels = pq_panels(c->out_group);
    for (int64_t i = 0; i < c->groups * panels * c->at.taps * c->in_group;
         i++) {
        int64_t ci = i % c->in_group;
        int64_t tap = i / c->in_group % c->at.taps;
        int64_t j = i / c->in_group / c->at.taps % panels * PQ_PANEL;
        int64_t g = i / c->in_group / c->at.taps / panels;
        int64_t from =
            c->is_transposed
                ? ((g * c->in_group + ci) * c->out_group + j) * c->at.taps + tap
                : ((g * c->out_group + j) * c->in_group + ci) * c->at.taps +
                      tap;
        int64_t n = c->out_group - j;
        pq_copy_strided(to, c->w + (size_t)from * c->size,
                        n < PQ_PANEL ? n : PQ_PANEL, stride, c->size);
        to += PQ_PANEL * c->size;
    }
}

// Channels last; a depthwise pixel has each channel once per output channel.
static void
spread_pixels(const conv *c, int64_t image)
{
    const uint8_t *from =
        c->x + (size_t)(image * c->channels * c->at.pixels) * c->size;
    for (int64_t p = 0; p < c->at.pixels; p++) {
        uint8_t *to = c->pixel_x + (size_t)(p * c->x_row) * c->size;
        const uint8_t *x = from + (size_t)p * c->size;
        if (!c->is_depthwise || c->out_group == 1) {
            pq_copy_strided(to, x, c->channels, c->at.pixels, c->size);
            continue;
        }
        for (int64_t i = 0; i < c->out_channels; i++) {
            memcpy(to + (size_t)i * c->size,
                   x + (size_t)(i / c->out_group * c->at.pixels) * c->size,
                   c->size);
        }
    }
}

static void
store_acc(const conv *c, int64_t pixel, int64_t channel, int64_t left,
          const void *acc)
{
    int64_t n = left < PQ_PANEL ? left : PQ_PANEL;
    memcpy(c->acc + pixel * c->out_channels + channel, acc,
           (size_t)n * sizeof *c->acc);
}

static void
run_depthwise(const conv *c, const pq_rows *rows)
{
    for (int64_t p = 0; p < c->at.out_pixels; p++) {
        const int64_t *tap = c->at.pixel + p * c->at.taps;
        for (int64_t j = 0; j < c->out_channels; j += PQ_PANEL) {
            float acc_f[PQ_PANEL] = {0};
            uint32_t acc_i[PQ_PANEL] = {0};
            for (int64_t t = 0; t < c->at.taps; t++) {
                if (tap[t] < 0) {
                    continue;
                }
                const void *x =
                    c->pixel_x + (size_t)(tap[t] * c->x_row + j) * c->size;
                const void *w =
                    c->packed_w + (size_t)(t * c->x_row + j) * c->size;
                if (c->is_integer) {
                    rows->mac_i16(acc_i, x, w);
                } else {
                    rows->mac_f32(acc_f, x, w);
                }
            }
            store_acc(c, p, j, c->out_channels - j,
                      c->is_integer ? (const void *)acc_i : acc_f);
        }
    }
}

// One panel of 32 output channels over all output pixels.
static void
run_panel(const conv *c, const pq_rows *rows, int64_t group, int64_t panel)
{
    size_t step = (size_t)(c->in_group * PQ_PANEL) * c->size;
    int64_t panels = pq_panels(c->out_group);
    const uint8_t *w =
        c->packed_w + (size_t)((group * panels + panel) * c->at.taps) * step;
    for (int64_t p = 0; p < c->at.out_pixels; p++) {
        const int64_t *tap = c->at.pixel + p * c->at.taps;
        float acc_f[PQ_PANEL] = {0};
        uint32_t acc_i[PQ_PANEL] = {0};
        for (int64_t t = 0; t < c->at.taps; t++) {
            if (tap[t] < 0) {
                continue;
            }
            const void *x =
                c->pixel_x +
                (size_t)(tap[t] * c->x_row + group * c->in_group) * c->size;
            const void *wt = w + (size_t)t * step;
            if (c->is_integer) {
                rows->dot_i16(acc_i, x, wt, c->in_group);
            } else {
                rows->dot_f32(acc_f, x, wt, c->in_group);
            }
        }
        int64_t j = panel * PQ_PANEL;
        store_acc(c, p, group * c->out_group + j, c->out_group - j,
                  c->is_integer ? (const void *)acc_i : acc_f);
    }
}

ptqc_status
pq_eval_conv(pq_eval *e)
{
    conv c = {0};
    pq_epilogue ep;
    PQ_TRY(init_shape(e, &c));
    PQ_TRY(init_operands(e, &c));
    PQ_TRY(pq_epilogue_init(e, c.out_channels, c.at.out_pixels, &ep));
    if (c.is_depthwise) {
        pack_depthwise(&c);
    } else {
        pack_groups(&c);
    }
    const pq_rows *rows = pq_rows_get();
    for (int64_t n = 0; n < c.batch; n++) {
        spread_pixels(&c, n);
        if (c.is_depthwise) {
            run_depthwise(&c, rows);
        }
        for (int64_t g = 0; !c.is_depthwise && g < c.groups; g++) {
            for (int64_t panel = 0; panel < pq_panels(c.out_group); panel++) {
                run_panel(&c, rows, g, panel);
            }
        }
        for (int64_t i = 0; i < c.out_channels; i++) {
            pq_span s = {.acc_f32 = (const float *)(const void *)c.acc + i,
                         .acc_i32 = (const int32_t *)c.acc + i,
                         .stride = c.out_channels,
                         .out = (n * c.out_channels + i) * c.at.out_pixels,
                         .n = c.at.out_pixels,
                         .channel = i};
            pq_epilogue_run(&ep, &s);
        }
    }
    return pq_epilogue_end(&ep);
}
