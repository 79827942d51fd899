// SPDX-License-Identifier: Apache-2.0
//
// Convolution (conv.h): picks the way, and drives the indirect one. For a
// tile of output pixels every tap has a pointer per pixel: into the image, to
// a row of padding, or, where a merged run hangs over the left or right edge,
// to a copy in the worker's scratch.
#include "conv.h"

#include <string.h>

#include "backends/kgen/say.h"
#include "conv_shape.h"
#include "depthwise.h"
#include "product.h"

#define PATCH_BYTES_MAX 262144
// Sums of up to three of these and any offset stay negative.
#define OUTSIDE (INT64_MIN / 4)

typedef enum conv_method {
    METHOD_MATMUL,
    METHOD_DEPTHWISE,
    METHOD_INDIRECT
} conv_method;

// A pixel of the output.
typedef struct pixel {
    int64_t batch, at[3];
} pixel;

struct pq_conv {
    const ptqc_host *host; // borrowed
    pq_conv_desc desc;
    conv_method method;
    pq_depthwise *depthwise; // owned
    pq_product product;      // of one group
    int merged;
    int64_t element_bytes; // of x
    int64_t pixel_bytes;   // of x: all channels
    int64_t image_bytes;   // of x: one batch
    int64_t run_bytes;     // of a tap
    int64_t patch_bytes;   // copies of one pixel's taps; 0 = no edges
    // Byte offset of (output position, tap) along an axis, OUTSIDE when it
    // falls into the padding: [axis][out * kernel]. Merged: the W axis has
    // one entry per output position, which may hang over the edges.
    int64_t *offset[3]; // owned, one allocation
    pixel *start;       // owned: first pixel of every tile
    // Output columns whose taps are all inside of the row.
    int64_t first_inside, end_inside;
    uint8_t *padding; // owned: run_bytes of padding
};

// ---- preparation ----------------------------------------------------------

// Input position of a tap along an axis, -1 when outside.
static int64_t
input_position(const pq_conv_desc *desc, int axis, int64_t out, int64_t tap)
{
    int64_t at;
    if (desc->transposed) {
        at = out + desc->pad_begin[axis] - tap * desc->dilation[axis];
        if (at < 0 || at % desc->stride[axis] != 0) {
            return -1;
        }
        at /= desc->stride[axis];
    } else {
        at = out * desc->stride[axis] - desc->pad_begin[axis] +
             tap * desc->dilation[axis];
    }
    return at < desc->in[axis] ? at : -1;
}

static void
fill_offsets(pq_conv *op)
{
    const pq_conv_desc *desc = &op->desc;
    int64_t bytes[3] = {desc->in[1] * desc->in[2] * op->pixel_bytes,
                        desc->in[2] * op->pixel_bytes, op->pixel_bytes};
    for (int axis = 0; axis < 3; axis++) {
        int64_t *to = op->offset[axis];
        for (int64_t out = 0; out < desc->out[axis]; out++) {
            if (axis == 2 && op->merged) {
                *to++ = (out * desc->stride[2] - desc->pad_begin[2]) * bytes[2];
                continue;
            }
            for (int64_t tap = 0; tap < desc->kernel[axis]; tap++) {
                int64_t at = input_position(desc, axis, out, tap);
                *to++ = at < 0 ? OUTSIDE : at * bytes[axis];
            }
        }
    }
}

static pixel
pixel_of(const pq_conv_desc *desc, int64_t index)
{
    pixel p;
    for (int axis = 2; axis >= 0; axis--) {
        p.at[axis] = index % desc->out[axis];
        index /= desc->out[axis];
    }
    p.batch = index;
    return p;
}

static void
find_inside(pq_conv *op)
{
    const pq_conv_desc *desc = &op->desc;
    if (desc->transposed) {
        return; // taps come and go with the stride: none is regular
    }
    int64_t stride = desc->stride[2], width = desc->out[2];
    int64_t reach = (desc->kernel[2] - 1) * desc->dilation[2];
    int64_t room = desc->in[2] - 1 - reach + desc->pad_begin[2];
    int64_t first = (desc->pad_begin[2] + stride - 1) / stride;
    int64_t end = room < 0 ? 0 : room / stride + 1;
    op->first_inside = first < width ? first : width;
    op->end_inside = end < width ? end : width;
}

static int
alloc_tables(pq_conv *op)
{
    const pq_conv_desc *desc = &op->desc;
    int64_t count[3], total = 0;
    for (int axis = 0; axis < 3; axis++) {
        count[axis] = desc->out[axis] *
                      (axis == 2 && op->merged ? 1 : desc->kernel[axis]);
        total += count[axis];
    }
    const ptqc_host *host = op->host;
    op->offset[0] = host->vt->alloc(host->self, 8 * (uint64_t)total, 64);
    op->padding = host->vt->alloc(host->self, (uint64_t)op->run_bytes + 64, 64);
    const pq_cut *tiles = &op->product.tiles;
    op->start = host->vt->alloc(host->self,
                                (uint64_t)tiles->count * sizeof *op->start, 64);
    if (op->offset[0] == NULL || op->padding == NULL || op->start == NULL) {
        return 0;
    }
    for (int64_t tile = 0; tile < tiles->count; tile++) {
        op->start[tile] = pixel_of(desc, pq_cut_begin(tiles, tile));
    }
    find_inside(op);
    op->offset[1] = op->offset[0] + count[0];
    op->offset[2] = op->offset[1] + count[1];
    memset(op->padding, desc->weight == PQ_WEIGHT_S8 ? (int)desc->pad_value : 0,
           (size_t)op->run_bytes + 64);
    fill_offsets(op);
    return 1;
}

// Does any merged run hang over an edge?
static int
has_edges(const pq_conv_desc *desc)
{
    int64_t last = (desc->out[2] - 1) * desc->stride[2] - desc->pad_begin[2];
    return desc->pad_begin[2] > 0 || last + desc->kernel[2] > desc->in[2];
}

static conv_method
choose_method(const pq_conv_desc *desc)
{
    if (pq_depthwise_is_match(desc)) {
        return METHOD_DEPTHWISE;
    }
    for (int axis = 0; axis < 3; axis++) {
        if (desc->kernel[axis] != 1 || desc->stride[axis] != 1 ||
            desc->pad_begin[axis] != 0 || desc->in[axis] != desc->out[axis]) {
            return METHOD_INDIRECT;
        }
    }
    return desc->groups == 1 ? METHOD_MATMUL : METHOD_INDIRECT;
}

static int64_t
tile_rows(const pq_conv *op)
{
    return op->product.tiles.base + (op->product.tiles.extra > 0);
}

static ptqc_be_status
prepare_product(pq_conv *op, pq_jit *jit, ptqc_call *call)
{
    const pq_conv_desc *desc = &op->desc;
    pq_product_desc product = {
        .m = desc->batch * desc->out[0] * desc->out[1] * desc->out[2],
        .n = desc->out_channels / desc->groups,
        .taps = pq_conv_tap_count(desc),
        .run = pq_conv_run_length(desc),
        .weight = desc->weight,
        .asymmetric = pq_conv_is_codes(desc) && desc->asymmetric,
        .is_tapped = (uint32_t)pq_conv_is_codes(desc),
        .epilogue = desc->epilogue,
    };
    op->run_bytes = product.run * op->element_bytes;
    op->merged = pq_conv_is_merged(desc);
    ptqc_be_status st = pq_product_prepare(jit, call, &product, &op->product);
    if (st != PTQC_BE_OK || op->method == METHOD_MATMUL) {
        return st;
    }
    if (op->merged && has_edges(desc)) {
        op->patch_bytes = product.taps * op->run_bytes;
        int64_t tile_bytes = tile_rows(op) * op->patch_bytes;
        int64_t most = PATCH_BYTES_MAX / tile_bytes;
        most = most > 0 ? most : 1;
        if (op->product.chunk_tiles > most) {
            op->product.chunk_tiles = most;
        }
    }
    return alloc_tables(op)
               ? PTQC_BE_OK
               : pq_kg_fail(op->host, call, PTQC_BE_RESOURCE,
                            "cpu: out of memory for a convolution");
}

ptqc_be_status
pq_conv_prepare(pq_jit *jit, ptqc_call *call, const pq_conv_desc *desc,
                pq_conv **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    const char *why;
    *out = NULL;
    if (!pq_conv_is_supported(desc, &why)) {
        return pq_kg_fail(host, call, PTQC_BE_UNSUPPORTED, "cpu: %s", why);
    }
    pq_conv *op = host->vt->alloc(host->self, sizeof *op, 64);
    if (op == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory for a convolution");
    }
    *op = (pq_conv){.host = host, .desc = *desc};
    op->method = choose_method(desc);
    op->element_bytes = desc->weight == PQ_WEIGHT_S8 ? 1 : 4;
    op->pixel_bytes = desc->in_channels * op->element_bytes;
    op->image_bytes = desc->in[0] * desc->in[1] * desc->in[2] * op->pixel_bytes;
    ptqc_be_status st =
        op->method == METHOD_DEPTHWISE
            ? pq_depthwise_prepare(jit, call, desc, &op->depthwise)
            : prepare_product(op, jit, call);
    if (st != PTQC_BE_OK) {
        pq_conv_destroy(op);
        return st;
    }
    *out = op;
    return PTQC_BE_OK;
}

void
pq_conv_destroy(pq_conv *op)
{
    if (op == NULL) {
        return;
    }
    const ptqc_host *host = op->host;
    pq_depthwise_destroy(op->depthwise);
    host->vt->free(host->self, op->offset[0]);
    host->vt->free(host->self, op->padding);
    host->vt->free(host->self, op->start);
    host->vt->free(host->self, op);
}

uint64_t
pq_conv_scratch_bytes(const pq_conv *op)
{
    if (op->method == METHOD_DEPTHWISE) {
        return 0;
    }
    return pq_product_scratch_bytes(&op->product) +
           (uint64_t)(op->product.chunk_tiles * tile_rows(op) *
                      op->patch_bytes);
}

const char *
pq_conv_method(const pq_conv *op)
{
    static const char *const names[] = {"matmul", "depthwise", "indirect"};
    return names[op->method];
}

// ---- running --------------------------------------------------------------

typedef struct conv_rows {
    const pq_conv *op;
    const uint8_t *x; // first channel of the group
    uint8_t *patches; // worker's scratch
} conv_rows;

static void
next_pixel(const pq_conv_desc *desc, pixel *p)
{
    for (int axis = 2; axis >= 0; axis--) {
        if (++p->at[axis] < desc->out[axis]) {
            return;
        }
        p->at[axis] = 0;
    }
    p->batch++;
}

// Pointers of one pixel, one per tap, `step` apart.
static void
pixel_taps(const conv_rows *rows, const pixel *p, int64_t step,
           const void **out)
{
    const pq_conv *op = rows->op;
    const int64_t *k = op->desc.kernel;
    const uint8_t *image = rows->x + p->batch * op->image_bytes;
    const int64_t *d = op->offset[0] + p->at[0] * k[0];
    const int64_t *h = op->offset[1] + p->at[1] * k[1];
    const int64_t *w = op->offset[2] + p->at[2] * k[2];
    for (int64_t kd = 0; kd < k[0]; kd++) {
        for (int64_t kh = 0; kh < k[1]; kh++) {
            int64_t row = d[kd] + h[kh];
            for (int64_t kw = 0; kw < k[2]; kw++, out += step) {
                int64_t at = row + w[kw];
                *out = at < 0 ? op->padding : image + at;
            }
        }
    }
}

// A run of kernel row `line` (its first pixel at x = 0) that starts at
// column `start`: what is inside of the image between padding.
static const void *
copy_run(const pq_conv *op, const uint8_t *line, int64_t start, uint8_t *out)
{
    int64_t width = op->desc.kernel[2];
    int64_t left = start < 0 ? -start : 0;
    int64_t end = op->desc.in[2] - start;
    left = left < width ? left : width;
    end = end < left ? left : end < width ? end : width;
    size_t pixel_bytes = (size_t)op->pixel_bytes;
    memcpy(out, op->padding, (size_t)left * pixel_bytes);
    memcpy(out + (size_t)left * pixel_bytes,
           line + (start + left) * op->pixel_bytes,
           (size_t)(end - left) * pixel_bytes);
    memcpy(out + (size_t)end * pixel_bytes, op->padding,
           (size_t)(width - end) * pixel_bytes);
    return out;
}

static void
merged_taps(const conv_rows *rows, const pixel *p, uint8_t *patch, int64_t step,
            const void **out)
{
    const pq_conv *op = rows->op;
    const pq_conv_desc *desc = &op->desc;
    const int64_t *k = desc->kernel;
    const uint8_t *image = rows->x + p->batch * op->image_bytes;
    const int64_t *d = op->offset[0] + p->at[0] * k[0];
    const int64_t *h = op->offset[1] + p->at[1] * k[1];
    int64_t start = p->at[2] * desc->stride[2] - desc->pad_begin[2];
    int inside = start >= 0 && start + k[2] <= desc->in[2];
    int64_t column = op->offset[2][p->at[2]];
    for (int64_t kd = 0; kd < k[0]; kd++) {
        for (int64_t kh = 0; kh < k[1]; kh++, out += step) {
            int64_t row = d[kd] + h[kh];
            if (row < 0) {
                *out = op->padding;
            } else if (inside) {
                *out = image + row + column;
            } else {
                *out = copy_run(op, image + row, start, patch);
                patch += op->run_bytes;
            }
        }
    }
}

// Pointers of `count` neighbouring pixels that are all inside, `step` taps
// apart: per tap they lie at equal distances.
static void
inside_taps(const conv_rows *rows, const pixel *p, int64_t count, int64_t step,
            const void **out)
{
    const pq_conv *op = rows->op;
    const int64_t *k = op->desc.kernel;
    int64_t columns = op->merged ? 1 : k[2];
    int64_t distance = op->desc.stride[2] * op->pixel_bytes;
    const uint8_t *image = rows->x + p->batch * op->image_bytes;
    const int64_t *d = op->offset[0] + p->at[0] * k[0];
    const int64_t *h = op->offset[1] + p->at[1] * k[1];
    const int64_t *w = op->offset[2] + p->at[2] * columns;
    for (int64_t line = 0; line < k[0] * k[1]; line++) {
        int64_t row =
            k[0] == 1 ? d[0] + h[line] : d[line / k[1]] + h[line % k[1]];
        for (int64_t kw = 0; kw < columns; kw++, out += step) {
            const uint8_t *at = row < 0 ? op->padding : image + row + w[kw];
            int64_t move = row < 0 ? 0 : distance;
            for (int64_t i = 0; i < count; i++, at += move) {
                out[i] = at;
            }
        }
    }
}

// Pixels of a tile from its `r`th on that are in the row of `p` and inside
// -> their number, 0 when the first one is not.
static int64_t
count_inside(const pq_conv *op, const pixel *p, int64_t most)
{
    int64_t column = p->at[2];
    if (column < op->first_inside || column >= op->end_inside) {
        return 0;
    }
    int64_t count = op->end_inside - column;
    return count < most ? count : most;
}

static void
fill_rows(const void *user, int64_t tile, int64_t index, const void **out)
{
    const conv_rows *rows = user;
    const pq_conv *op = rows->op;
    int64_t count = pq_cut_length(&op->product.tiles, tile);
    uint8_t *patch = rows->patches + index * tile_rows(op) * op->patch_bytes;
    pixel p = op->start[tile];
    for (int64_t r = 0; r < count;) {
        int64_t inside = count_inside(op, &p, count - r);
        if (inside > 0) {
            inside_taps(rows, &p, inside, count, out + r);
        } else if (op->merged) {
            merged_taps(rows, &p, patch + r * op->patch_bytes, count, out + r);
        } else {
            pixel_taps(rows, &p, count, out + r);
        }
        inside = inside > 0 ? inside : 1;
        r += inside;
        p.at[2] += inside - 1;
        next_pixel(&op->desc, &p);
    }
}

static void
fill_pixels(const void *user, int64_t tile, int64_t index, const void **out)
{
    const conv_rows *rows = user;
    const pq_conv *op = rows->op;
    int64_t first = pq_cut_begin(&op->product.tiles, tile);
    int64_t count = pq_cut_length(&op->product.tiles, tile);
    (void)index;
    for (int64_t i = 0; i < count; i++) {
        out[i] = rows->x + (first + i) * op->pixel_bytes;
    }
}

// What group `group` reads and writes.
static pq_product_io
group_io(const pq_conv *op, const pq_conv_io *io, int64_t group)
{
    const pq_conv_desc *desc = &op->desc;
    const pq_epilogue *ep = &desc->epilogue;
    int64_t channels = desc->out_channels / desc->groups;
    int64_t packed = group * pq_strip_columns(channels);
    int64_t out_bytes = pq_epilogue_out_bytes(ep);
    int64_t residual_bytes = ep->residual == PQ_ELEM_F32 ? 4 : 1;
    pq_product_io out = {
        .weights =
            (const uint8_t *)io->weights + group * pq_conv_group_bytes(desc),
        .init = io->init == NULL ? NULL : io->init + packed,
        .out = (uint8_t *)io->out + group * channels * out_bytes,
        .out_stride = desc->out_channels * out_bytes,
        .epilogue = io->epilogue,
    };
    if (ep->kind != PQ_EPI_FLOAT || pq_conv_is_codes(desc)) {
        out.epilogue.mult += packed;
    }
    if (ep->flags & PQ_EPI_BIAS) {
        out.epilogue.bias += packed;
    }
    if ((ep->flags & PQ_EPI_WEIGHT_ZERO) || desc->asymmetric) {
        out.epilogue.weight_zero += packed;
    }
    if (ep->residual != PQ_ELEM_NONE) {
        out.epilogue.residual = (const uint8_t *)io->epilogue.residual +
                                group * channels * residual_bytes;
        out.epilogue.residual_stride = desc->out_channels * residual_bytes;
    }
    return out;
}

void
pq_conv_run(const pq_conv *op, const pq_conv_io *io, const pq_worker *worker)
{
    if (op->method == METHOD_DEPTHWISE) {
        pq_depthwise_run(op->depthwise, io, worker);
        return;
    }
    pq_rows_fn fill = op->method == METHOD_MATMUL ? fill_pixels : fill_rows;
    int64_t group_bytes =
        op->desc.in_channels / op->desc.groups * op->element_bytes;
    uint8_t *scratch = worker->scratch;
    for (int64_t group = 0; group < op->desc.groups; group++) {
        pq_product_io product = group_io(op, io, group);
        conv_rows rows = {op, (const uint8_t *)io->x + group * group_bytes,
                          scratch + pq_product_scratch_bytes(&op->product)};
        pq_product_run(&op->product, &product, worker, fill, &rows);
    }
}
