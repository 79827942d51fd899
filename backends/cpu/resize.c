// SPDX-License-Identifier: Apache-2.0
//
// Resize after ONNX (pool.h): tables of taps per axis, made once; nearest as
// copies of pixels, linear and cubic through the kernel of emit_resize.c.
#include <math.h>
#include <string.h>

#include "backends/kgen/move.h"
#include "backends/kgen/say.h"
#include "emit_expr.h"
#include "emit_resize.h"
#include "pool.h"

// Taps of one output index: nearest uses index[0]; linear index[0..1] and
// weight[0] (of the second); cubic all.
typedef struct resize_taps {
    int64_t index[PQ_RESIZE_TAPS_MAX];
    float weight[PQ_RESIZE_TAPS_MAX];
} resize_taps;

struct pq_resize {
    const ptqc_host *host;   // borrowed
    pq_resize_kernel kernel; // NULL: nearest
    pq_resize_desc desc;
    uint32_t taps[PQ_POOL_DIMS];
    int64_t pixel_bytes;
    resize_taps *axis[PQ_POOL_DIMS]; // [out]; depth and height, behind this
    int64_t *offsets;                // width: [out][taps] bytes
    float *weights;                  // width: [out][taps]
};

// ---- coordinates ---------------------------------------------------------

// Position in the input of output index o.
static float
coordinate(const pq_resize_desc *d, uint32_t axis, int64_t o)
{
    int64_t in = d->in[axis], out = d->out[axis];
    float scale =
        d->scales[axis] != 0.0f ? d->scales[axis] : (float)out / (float)in;
    float at = (float)o;
    switch ((pq_resize_coordinates)d->coordinates) {
    case PQ_COORDINATES_HALF_PIXEL:
        break;
    case PQ_COORDINATES_PYTORCH_HALF_PIXEL:
        if (out <= 1) {
            return 0.0f;
        }
        break;
    case PQ_COORDINATES_ASYMMETRIC:
        return at / scale;
    case PQ_COORDINATES_ALIGN_CORNERS:
        return out > 1 ? at * ((float)(in - 1) / (float)(out - 1)) : 0.0f;
    }
    return (at + 0.5f) / scale - 0.5f;
}

static int64_t
clamp_index(float at, int64_t size)
{
    float t = at > 0.0f ? at : 0.0f;
    return t < (float)(size - 1) ? (int64_t)t : size - 1;
}

static int64_t
nearest_index(const pq_resize_desc *d, float at, int64_t size)
{
    switch ((pq_resize_rounding)d->rounding) {
    case PQ_ROUNDING_PREFER_FLOOR:
        break;
    case PQ_ROUNDING_PREFER_CEIL:
        return clamp_index(floorf(at + 0.5f), size);
    case PQ_ROUNDING_FLOOR:
        return clamp_index(floorf(at), size);
    case PQ_ROUNDING_CEIL:
        return clamp_index(ceilf(at), size);
    }
    return clamp_index(ceilf(at - 0.5f), size);
}

// Keys' cubic convolution kernel with parameter a at distance d: within one
// element, and between one and two.
static float
cubic_near(float a, float d)
{
    return ((a + 2.0f) * d - (a + 3.0f)) * d * d + 1.0f;
}

static float
cubic_far(float a, float d)
{
    return ((a * d - 5.0f * a) * d + 8.0f * a) * d - 4.0f * a;
}

static void
cubic_taps(float at, int64_t size, float a, resize_taps *t)
{
    float base = floorf(at);
    float d = at - base;
    for (int i = 0; i < PQ_RESIZE_TAPS_MAX; i++) {
        t->index[i] = clamp_index(base + (float)(i - 1), size);
    }
    t->weight[0] = cubic_far(a, d + 1.0f);
    t->weight[1] = cubic_near(a, d);
    t->weight[2] = cubic_near(a, 1.0f - d);
    t->weight[3] = cubic_far(a, 2.0f - d);
}

static void
linear_taps(float at, int64_t size, resize_taps *t)
{
    float c = at > 0.0f ? at : 0.0f;
    c = c < (float)(size - 1) ? c : (float)(size - 1);
    t->index[0] = (int64_t)floorf(c);
    t->index[1] = t->index[0] + 1 < size ? t->index[0] + 1 : size - 1;
    t->weight[0] = c - floorf(c);
}

static resize_taps
make_taps(const pq_resize_desc *d, uint32_t axis, int64_t o)
{
    resize_taps t = {{o}, {0.0f}};
    if (d->in[axis] == d->out[axis]) {
        return t;
    }
    float at = coordinate(d, axis, o);
    if (d->kind == PQ_RESIZE_NEAREST) {
        t.index[0] = nearest_index(d, at, d->in[axis]);
    } else if (d->kind == PQ_RESIZE_LINEAR) {
        linear_taps(at, d->in[axis], &t);
    } else {
        cubic_taps(at, d->in[axis], d->cubic_a, &t);
    }
    return t;
}

// ---- prepare -------------------------------------------------------------

static const char *
check(const pq_resize_desc *d)
{
    if (d->kind > PQ_RESIZE_CUBIC ||
        d->coordinates > PQ_COORDINATES_ALIGN_CORNERS ||
        d->rounding > PQ_ROUNDING_CEIL) {
        return "resize mode";
    }
    if (d->kind == PQ_RESIZE_NEAREST ? pq_kg_element_bytes(d->dtype) == 0
                                     : d->dtype != PTQC_F32) {
        return "resize of this element type";
    }
    for (uint32_t i = 0; i < PQ_POOL_DIMS; i++) {
        if (d->in[i] < 0 || d->out[i] < 0 || d->out[i] > INT32_MAX ||
            (d->in[i] == 0 && d->out[i] != 0)) {
            return "resize from an empty size";
        }
    }
    return NULL;
}

// The struct with its tables behind it: taps of depth and height, offsets
// and weights of width.
static pq_resize *
allocate(const ptqc_host *host, const pq_resize_desc *d)
{
    uint64_t rows = (uint64_t)(d->out[0] + d->out[1]);
    uint64_t columns = (uint64_t)d->out[2] * PQ_RESIZE_TAPS_MAX;
    uint64_t head = (sizeof(pq_resize) + 63) / 64 * 64;
    uint64_t bytes = head + rows * sizeof(resize_taps) +
                     columns * (sizeof(int64_t) + sizeof(float));
    uint8_t *p = host->vt->alloc(host->self, bytes, 64);
    if (p == NULL) {
        return NULL;
    }
    memset(p, 0, bytes);
    pq_resize *r = (pq_resize *)(void *)p;
    p += head;
    r->axis[0] = (resize_taps *)(void *)p;
    r->axis[1] = r->axis[0] + d->out[0];
    r->offsets = (int64_t *)(void *)(r->axis[1] + d->out[1]);
    r->weights = (float *)(void *)(r->offsets + columns);
    return r;
}

static void
fill_tables(pq_resize *r)
{
    const pq_resize_desc *d = &r->desc;
    for (uint32_t axis = 0; axis < 2; axis++) {
        for (int64_t o = 0; o < d->out[axis]; o++) {
            r->axis[axis][o] = make_taps(d, axis, o);
        }
    }
    for (int64_t o = 0; o < d->out[2]; o++) {
        resize_taps t = make_taps(d, 2, o);
        for (uint32_t k = 0; k < r->taps[2]; k++) {
            int64_t at = o * r->taps[2] + k;
            r->offsets[at] = t.index[k] * r->pixel_bytes;
            r->weights[at] = t.weight[k];
        }
    }
}

ptqc_be_status
pq_resize_prepare(pq_jit *jit, ptqc_call *call, const pq_resize_desc *desc,
                  pq_resize **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    const char *why = check(desc);
    if (why != NULL) {
        return pq_kg_fail(host, call, PTQC_BE_UNSUPPORTED, "cpu: %s", why);
    }
    pq_resize_key key;
    for (uint32_t i = 0; i < PQ_POOL_DIMS; i++) {
        int changes =
            desc->kind != PQ_RESIZE_NEAREST && desc->in[i] != desc->out[i];
        key.taps[i] = !changes                         ? 1
                      : desc->kind == PQ_RESIZE_LINEAR ? 2
                                                       : PQ_RESIZE_TAPS_MAX;
    }
    void (*code)(void) = NULL;
    if (desc->kind != PQ_RESIZE_NEAREST) {
        ptqc_be_status st =
            pq_jit_get(jit, call, &pq_resize_class, &key, &code);
        if (st != PTQC_BE_OK) {
            return st;
        }
    }
    pq_resize *r = allocate(host, desc);
    if (r == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    r->host = host;
    r->kernel = (pq_resize_kernel)code;
    r->desc = *desc;
    memcpy(r->taps, key.taps, sizeof r->taps);
    r->pixel_bytes = desc->channels * pq_kg_element_bytes(desc->dtype);
    fill_tables(r);
    *out = r;
    return PTQC_BE_OK;
}

void
pq_resize_destroy(pq_resize *resize)
{
    if (resize != NULL) {
        resize->host->vt->free(resize->host->self, resize);
    }
}

// ---- run -----------------------------------------------------------------

static void
nearest_row(const pq_resize *r, const uint8_t *row, uint8_t *out)
{
    size_t bytes = (size_t)r->pixel_bytes;
    for (int64_t o = 0; o < r->desc.out[2]; o++) {
        memcpy(out, row + r->offsets[o], bytes);
        out += bytes;
    }
}

static void
blended_row(const pq_resize *r, const uint8_t *in, const resize_taps *depth,
            const resize_taps *height, uint8_t *out)
{
    const pq_resize_desc *d = &r->desc;
    int64_t line = d->in[2] * r->pixel_bytes;
    pq_resize_args args = {.offsets = r->offsets,
                           .weights = r->weights,
                           .out = out,
                           .pixels = d->out[2],
                           .channels = d->channels};
    memcpy(args.depth, depth->weight, sizeof args.depth);
    memcpy(args.height, height->weight, sizeof args.height);
    for (uint32_t i = 0; i < r->taps[0]; i++) {
        for (uint32_t k = 0; k < r->taps[1]; k++) {
            args.rows[i * r->taps[1] + k] =
                in + (depth->index[i] * d->in[1] + height->index[k]) * line;
        }
    }
    r->kernel(&args);
}

void
pq_resize_run(const pq_resize *resize, const void *in, void *out,
              const pq_worker *worker)
{
    const pq_resize_desc *d = &resize->desc;
    int64_t line = d->in[2] * resize->pixel_bytes;
    int64_t out_line = d->out[2] * resize->pixel_bytes;
    pq_range rows =
        pq_worker_range(worker, d->batch * d->out[0] * d->out[1], 1);
    for (int64_t i = rows.begin; i < rows.end; i++) {
        int64_t batch = i / d->out[1] / d->out[0];
        const resize_taps *depth = &resize->axis[0][i / d->out[1] % d->out[0]];
        const resize_taps *height = &resize->axis[1][i % d->out[1]];
        const uint8_t *image =
            (const uint8_t *)in + batch * d->in[0] * d->in[1] * line;
        uint8_t *to = (uint8_t *)out + i * out_line;
        if (resize->kernel != NULL) {
            blended_row(resize, image, depth, height, to);
        } else {
            nearest_row(
                resize,
                image + (depth->index[0] * d->in[1] + height->index[0]) * line,
                to);
        }
    }
}
