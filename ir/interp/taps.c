// SPDX-License-Identifier: Apache-2.0
//
// Which input pixel each kernel tap of each output pixel reads: convolution
// and pooling, 1 to 3 spatial axes (fewer axes have leading ones of size 1).
#include "base/checked.h"
#include "ir/interp/eval.h"

#define AXES PQ_TAP_AXES

// Input coordinate of tap k of output o along one axis, or -1.
static int64_t
source(const pq_eval *e, const pq_taps *t, uint32_t axis, int64_t o, int64_t k)
{
    uint32_t skip = AXES - (e->in[0].rank - 2);
    if (axis < skip) {
        return 0;
    }
    uint32_t a = axis - skip;
    int64_t stride = pq_op_int_at(e->op, PQ_ATTR_STRIDES, a, 1);
    int64_t dilation = pq_op_int_at(e->op, PQ_ATTR_DILATIONS, a, 1);
    int64_t pad = pq_op_int_at(e->op, PQ_ATTR_PADS, a, 0);
    int64_t at;
    if (!t->is_transposed) {
        at = o * stride - pad + k * dilation;
    } else {
        int64_t up = o + pad - k * dilation;
        at = up >= 0 && up % stride == 0 ? up / stride : -1;
    }
    return at >= 0 && at < t->in[axis] ? at : -1;
}

static ptqc_status
axis_table(pq_eval *e, const pq_taps *t, uint32_t axis, int64_t **out)
{
    int64_t *to = pq_scratch(e, t->out[axis] * t->kernel[axis], sizeof *to);
    PQ_TRY_ALLOC(to);
    for (int64_t o = 0; o < t->out[axis]; o++) {
        for (int64_t k = 0; k < t->kernel[axis]; k++) {
            to[o * t->kernel[axis] + k] = source(e, t, axis, o, k);
        }
    }
    *out = to;
    return PTQC_OK;
}

// Taps of one output pixel, given the rows of the three axis tables.
static void
pixel_taps(const pq_taps *t, const int64_t *const row[AXES], int64_t *to)
{
    for (int64_t d = 0; d < t->kernel[0]; d++) {
        for (int64_t h = 0; h < t->kernel[1]; h++) {
            for (int64_t w = 0; w < t->kernel[2]; w++) {
                bool inside =
                    row[0][d] >= 0 && row[1][h] >= 0 && row[2][w] >= 0;
                *to++ = inside ? (row[0][d] * t->in[1] + row[1][h]) * t->in[2] +
                                     row[2][w]
                               : -1;
            }
        }
    }
}

static ptqc_status
init_sizes(pq_eval *e, const int64_t *kernel, pq_taps *t)
{
    const pq_tensor *x = &e->in[0], *y = &e->out[0];
    uint32_t spatial = x->rank - 2;
    if (x->rank < 3 || spatial > AXES || y->rank != x->rank) {
        return pq_eval_fail(e, PTQC_E_UNSUPPORTED,
                            "x has rank %u, 3 to 5 can be run", x->rank);
    }
    for (uint32_t a = 0; a < AXES; a++) {
        bool used = a >= AXES - spatial;
        uint32_t s = used ? a - (AXES - spatial) : 0;
        t->in[a] = used ? x->dims[s + 2] : 1;
        t->out[a] = used ? y->dims[s + 2] : 1;
        t->kernel[a] = used ? kernel[s] : 1;
        if (used && (pq_op_int_at(e->op, PQ_ATTR_STRIDES, s, 1) < 1 ||
                     pq_op_int_at(e->op, PQ_ATTR_DILATIONS, s, 1) < 1 ||
                     t->kernel[a] < 0)) {
            return pq_eval_fail(e, PTQC_E_INPUT,
                                "strides and dilations must be positive");
        }
    }
    t->pixels = pq_size_product(t->in, 0, AXES);
    t->out_pixels = pq_size_product(t->out, 0, AXES);
    t->taps = pq_size_product(t->kernel, 0, AXES);
    return PTQC_OK;
}

ptqc_status
pq_taps_init(pq_eval *e, const int64_t *kernel, bool is_transposed,
             pq_taps *out)
{
    pq_taps *t = out;
    *t = (pq_taps){.is_transposed = is_transposed};
    PQ_TRY(init_sizes(e, kernel, t));
    int64_t *table[AXES];
    for (uint32_t a = 0; a < AXES; a++) {
        PQ_TRY(axis_table(e, t, a, &table[a]));
    }
    int64_t count;
    if (!pq_mul_i64(t->out_pixels, t->taps, &count)) {
        return pq_eval_fail(e, PTQC_E_RESOURCE, "too many kernel taps");
    }
    int64_t *pixel = pq_scratch(e, count, sizeof *pixel);
    PQ_TRY_ALLOC(pixel);
    for (int64_t p = 0; p < t->out_pixels; p++) {
        const int64_t *const row[AXES] = {
            table[0] + p / (t->out[1] * t->out[2]) * t->kernel[0],
            table[1] + p / t->out[2] % t->out[1] * t->kernel[1],
            table[2] + p % t->out[2] * t->kernel[2],
        };
        pixel_taps(t, row, pixel + p * t->taps);
    }
    t->pixel = pixel;
    return PTQC_OK;
}
