// SPDX-License-Identifier: Apache-2.0
//
// Pooling (pool.h): per axis and output index the taps that lie inside the
// input, then runs of pixels with equal windows for the kernel.
#include "pool.h"

#include <string.h>

#include "backends/kgen/say.h"
#include "emit_pool.h"

// Window of one output index along one axis.
typedef struct window {
    int64_t first;  // input index of the first tap inside
    int64_t taps;   // inside the input
    int64_t padded; // inside the input or its padding
} window;

struct pq_pooling {
    const ptqc_host *host; // borrowed
    pq_pooling_kernel kernel;
    pq_pooling_desc desc;
    int64_t element_bytes, out_bytes;
    window *axis[PQ_POOL_DIMS]; // [out], in the block behind this struct
    window windows[];           // of all axes
};

static window
make_window(const pq_pooling_desc *d, uint32_t axis, int64_t o)
{
    window w = {0, 0, 0};
    int64_t start = o * d->strides[axis] - d->pads[axis];
    for (int64_t k = 0; k < d->kernel[axis]; k++) {
        int64_t at = start + k * d->dilations[axis];
        if (at >= 0 && at < d->in[axis]) {
            w.first = w.taps == 0 ? at : w.first;
            w.taps++;
        }
        w.padded += at < d->in[axis] + d->pads_end[axis];
    }
    return w;
}

static const char *
check(const pq_pooling_desc *d)
{
    if (d->kind > PQ_POOL_AVG ||
        (d->dtype != PTQC_F32 && d->dtype != PTQC_U8 && d->dtype != PTQC_I8)) {
        return "pooling of this element type";
    }
    for (uint32_t i = 0; i < PQ_POOL_DIMS; i++) {
        if (d->kernel[i] < 1 || d->strides[i] < 1 || d->dilations[i] < 1 ||
            d->in[i] < 0 || d->out[i] < 0 || d->out[i] > INT32_MAX ||
            d->kernel[i] > INT32_MAX) {
            return "pooling window";
        }
    }
    return NULL;
}

ptqc_be_status
pq_pooling_prepare(pq_jit *jit, ptqc_call *call, const pq_pooling_desc *desc,
                   pq_pooling **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    const char *why = check(desc);
    if (why != NULL) {
        return pq_kg_fail(host, call, PTQC_BE_UNSUPPORTED, "cpu: %s", why);
    }
    pq_pooling_key key = {
        .kind = desc->kind,
        .dtype = desc->dtype,
        .real_out = desc->dtype != PTQC_F32 && desc->kind == PQ_POOL_AVG &&
                    desc->real_out != 0,
    };
    int is_real = desc->dtype == PTQC_F32 || key.real_out;
    void (*code)(void) = NULL;
    ptqc_be_status st = pq_jit_get(jit, call, &pq_pooling_class, &key, &code);
    if (st != PTQC_BE_OK) {
        return st;
    }
    uint64_t windows = (uint64_t)(desc->out[0] + desc->out[1] + desc->out[2]);
    pq_pooling *pool = host->vt->alloc(
        host->self, sizeof *pool + windows * sizeof(window), 64);
    if (pool == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    *pool = (pq_pooling){.host = host,
                         .kernel = (pq_pooling_kernel)code,
                         .desc = *desc,
                         .element_bytes = desc->dtype == PTQC_F32 ? 4 : 1,
                         .out_bytes = is_real ? 4 : 1};
    window *w = pool->windows;
    for (uint32_t d = 0; d < PQ_POOL_DIMS; d++) {
        pool->axis[d] = w;
        for (int64_t o = 0; o < desc->out[d]; o++) {
            *w++ = make_window(desc, d, o);
        }
    }
    *out = pool;
    return PTQC_BE_OK;
}

void
pq_pooling_destroy(pq_pooling *pool)
{
    if (pool != NULL) {
        pool->host->vt->free(pool->host->self, pool);
    }
}

// One row of output pixels: depth and height windows are fixed.
typedef struct pool_row {
    const uint8_t *in; // of the batch element
    uint8_t *out;      // of the row
    window depth, height;
    pq_range channels;
} pool_row;

// Divisor and, for codes, the requantization of a window.
static void
set_divisor(const pq_pooling_desc *d, const pool_row *r, window w,
            pq_pooling_args *args)
{
    int64_t inside = r->depth.taps * r->height.taps * w.taps;
    int64_t n =
        d->include_pad ? r->depth.padded * r->height.padded * w.padded : inside;
    args->divisor = (float)n;
    if (d->dtype != PTQC_F32 && d->kind == PQ_POOL_AVG) {
        float scale = d->real_out ? d->x_scale : d->x_scale / d->y_scale;
        args->mult = n == 0 ? 0.0f : scale * (1.0f / (float)n);
        args->lo = (float)(d->code_low - d->y_zero);
        args->hi = (float)(d->code_high - d->y_zero);
        args->subtract = (int32_t)((uint32_t)inside * (uint32_t)d->x_zero);
        args->y_zero = d->y_zero;
    }
}

// Output pixels [begin, end) of the row have window `w`, moved by the stride.
static void
run_pixels(const pq_pooling *pool, const pool_row *r, window w, int64_t begin,
           int64_t end)
{
    const pq_pooling_desc *d = &pool->desc;
    int64_t pixel = d->channels * pool->element_bytes;
    int64_t line = d->in[2] * pixel;
    int64_t plane = d->in[1] * line;
    pq_pooling_args args = {
        .in = r->in + r->depth.first * plane + r->height.first * line +
              w.first * pixel + r->channels.begin * pool->element_bytes,
        .out = r->out +
               (begin * d->channels + r->channels.begin) * pool->out_bytes,
        .taps = {r->depth.taps, r->height.taps, w.taps},
        .tap_step = {d->dilations[0] * plane, d->dilations[1] * line,
                     d->dilations[2] * pixel},
        .pixels = end - begin,
        .in_step = d->strides[2] * pixel,
        .out_step = d->channels * pool->out_bytes,
        .channels = r->channels.end - r->channels.begin,
    };
    set_divisor(d, r, w, &args);
    pool->kernel(&args);
}

static void
run_row(const pq_pooling *pool, const pool_row *r)
{
    const window *w = pool->axis[2];
    int64_t out = pool->desc.out[2];
    int64_t stride = pool->desc.strides[2];
    for (int64_t begin = 0; begin < out;) {
        int64_t end = begin + 1;
        while (end < out && w[end].taps == w[begin].taps &&
               w[end].padded == w[begin].padded &&
               w[end].first == w[begin].first + (end - begin) * stride) {
            end++;
        }
        run_pixels(pool, r, w[begin], begin, end);
        begin = end;
    }
}

void
pq_pooling_run(const pq_pooling *pool, const void *in, void *out,
               const pq_worker *worker)
{
    const pq_pooling_desc *d = &pool->desc;
    int64_t rows = d->batch * d->out[0] * d->out[1];
    int64_t pixel = d->channels * pool->element_bytes;
    pq_range range = {0, rows};
    pq_range channels = {0, d->channels};
    if (rows < (int64_t)worker->count) { // few pixels: share the channels
        channels = pq_worker_range(worker, d->channels, 64);
    } else {
        range = pq_worker_range(worker, rows, 1);
    }
    if (channels.begin >= channels.end) {
        return;
    }
    for (int64_t i = range.begin; i < range.end; i++) {
        int64_t batch = i / d->out[1] / d->out[0];
        pool_row r = {
            .in = (const uint8_t *)in +
                  batch * d->in[0] * d->in[1] * d->in[2] * pixel,
            .out =
                (uint8_t *)out + i * d->out[2] * d->channels * pool->out_bytes,
            .depth = pool->axis[0][i / d->out[1] % d->out[0]],
            .height = pool->axis[1][i % d->out[1]],
            .channels = channels,
        };
        run_row(pool, &r);
    }
}
