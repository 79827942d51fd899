// SPDX-License-Identifier: Apache-2.0
//
// Packing and driver of depthwise convolutions (depthwise.h).
#include "depthwise.h"

#include <string.h>

#include "backends/kgen/say.h"
#include "conv_shape.h"
#include "depthwise_kernel.h"
#include "product.h"

#define LANES 16
#define WIDE  64

#define RATIO_MAX 4
// Rows are cut into segments only when there is little else to share out.
#define UNITS_WANTED   8
#define SEGMENT_PIXELS 32

int
pq_depthwise_is_match(const pq_conv_desc *desc)
{
    return !desc->transposed && desc->groups == desc->in_channels &&
           desc->groups == desc->out_channels && desc->groups > 1 &&
           desc->kernel[0] == 1 && desc->kernel[1] <= PQ_DEPTHWISE_TAPS_MAX &&
           desc->kernel[2] <= PQ_DEPTHWISE_TAPS_MAX &&
           desc->kernel[1] * desc->kernel[2] <= PQ_DEPTHWISE_TAPS_MAX;
}

// ---- blocks ---------------------------------------------------------------

// Consecutive blocks of one kind.
typedef struct part {
    int64_t channel; // first
    int64_t width;   // channels of a block
    int64_t blocks;
    int64_t weights;      // byte offset
    int64_t weight_bytes; // of a block
} part;

#define PART_WIDE   0
#define PART_NARROW 1
#define PART_TAIL   2

typedef struct plan {
    part part[3];
    int64_t bytes; // packed weights
} plan;

static int64_t
vector_bytes(const pq_conv_desc *desc)
{
    int64_t taps = desc->kernel[1] * desc->kernel[2];
    if (pq_conv_is_codes(desc)) {
        return LANES * taps;
    }
    return WIDE *
           (desc->weight == PQ_WEIGHT_S8
                ? pq_depthwise_group_taps(desc->kernel[1], desc->kernel[2])
                      .count
                : taps);
}

static plan
make_plan(const pq_conv_desc *desc)
{
    int64_t channels = desc->out_channels;
    int64_t bytes = vector_bytes(desc);
    int64_t wide = channels / WIDE;
    int64_t narrow = (channels - WIDE * wide) / LANES;
    int64_t tail = channels % LANES;
    plan p = {.part = {
                  {0, WIDE, wide, 0, 4 * bytes},
                  {WIDE * wide, LANES, narrow, 0, bytes},
                  {channels < LANES ? 0 : channels - LANES, LANES, tail > 0, 0,
                   bytes},
              }};
    for (int i = 0; i < 3; i++) {
        p.part[i].weights = p.bytes;
        p.bytes += p.part[i].blocks * p.part[i].weight_bytes;
    }
    p.bytes = (p.bytes + 63) / 64 * 64;
    return p;
}

// ---- packing --------------------------------------------------------------

int64_t
pq_depthwise_weight_bytes(const pq_conv_desc *desc)
{
    return make_plan(desc).bytes;
}

// 16 channels.
static void
pack_block_f32(const pq_conv_desc *desc, const float *w, int64_t channel,
               float *out)
{
    int64_t taps = desc->kernel[1] * desc->kernel[2];
    for (int64_t tap = 0; tap < taps; tap++) {
        for (int64_t c = 0; c < LANES; c++) {
            int is_real = channel + c < desc->out_channels;
            out[tap * LANES + c] = is_real ? w[(channel + c) * taps + tap] : 0;
        }
    }
}

// 16 channels.
static void
pack_block_codes(const pq_conv_desc *desc, const int8_t *w, int64_t channel,
                 int8_t *out)
{
    int64_t taps = desc->kernel[1] * desc->kernel[2];
    for (int64_t i = 0; i < taps * LANES; i++) {
        int64_t c = channel + i % LANES;
        out[i] = c < desc->out_channels ? w[c * taps + i / LANES] : 0;
    }
}

// Tap t of a group as (kernel row, kernel column); 0 when there is none.
static int
group_tap(const pq_conv_desc *desc, int64_t group, int64_t t, int64_t *out_tap)
{
    pq_depthwise_groups groups =
        pq_depthwise_group_taps(desc->kernel[1], desc->kernel[2]);
    int64_t kh = 0, kw = 4 * group + t;
    if (groups.is_vertical) {
        kh = 4 * (group % groups.per_column) + t;
        kw = group / groups.per_column;
    }
    *out_tap = kh * desc->kernel[2] + kw;
    return kh < desc->kernel[1] && kw < desc->kernel[2];
}

static void
pack_block_s8(const pq_conv_desc *desc, const int8_t *w, const part *from,
              int64_t channel, int8_t *out)
{
    int64_t taps = desc->kernel[1] * desc->kernel[2];
    int64_t vectors = from->width / LANES;
    int64_t groups = from->weight_bytes / (WIDE * vectors);
    for (int64_t i = 0; i < groups * vectors * LANES; i++) {
        // dword i: group, quarter, lane of 4 channels, channel
        int64_t group = i / (vectors * LANES);
        int64_t dword = i % (vectors * LANES);
        int64_t c = dword;
        if (vectors > 1) {
            int64_t quarter = dword / LANES;
            c = 16 * (dword % LANES / 4) + 4 * quarter + dword % 4;
        }
        for (int64_t t = 0; t < 4; t++) {
            int64_t tap;
            int is_real = group_tap(desc, group, t, &tap) &&
                          channel + c < desc->out_channels;
            out[4 * i + t] = is_real ? w[(channel + c) * taps + tap] : 0;
        }
    }
}

void
pq_depthwise_weight_pack(const pq_conv_desc *desc, const void *w, void *out)
{
    plan p = make_plan(desc);
    uint8_t *to = out;
    memset(out, 0, (size_t)p.bytes);
    for (int i = 0; i < 3; i++) {
        for (int64_t b = 0; b < p.part[i].blocks;
             b++, to += p.part[i].weight_bytes) {
            int64_t channel = p.part[i].channel + b * p.part[i].width;
            if (desc->weight == PQ_WEIGHT_S8) {
                pack_block_s8(desc, w, &p.part[i], channel, (int8_t *)to);
                continue;
            }
            for (int64_t v = 0; v < p.part[i].width / LANES; v++) {
                uint8_t *vector = to + v * vector_bytes(desc);
                if (pq_conv_is_codes(desc)) {
                    pack_block_codes(desc, w, channel + v * LANES,
                                     (int8_t *)vector);
                    continue;
                }
                pack_block_f32(desc, w, channel + v * LANES,
                               (float *)(void *)vector);
            }
        }
    }
}

// ---- preparation ----------------------------------------------------------

struct pq_depthwise {
    const ptqc_host *host; // borrowed
    pq_conv_desc desc;
    plan plan;
    pq_depthwise_fn inside[3];        // of the parts: runs of whole windows
    pq_depthwise_fn edge[3];          // single outputs with a pointer per tap
    int64_t tail_skip;                // lanes that a masked tail leaves out
    int64_t element_bytes;            // of x
    int64_t pixel_bytes;              // of x: all channels
    int64_t first_inside, end_inside; // outputs of a row with whole windows
    int64_t units;    // blocks of a row shared out; the tail goes with the last
    pq_cut segments;  // of a row
    uint8_t *padding; // owned: a row of padding
};

// Levels with few registers take a wide block vector by vector.
static int
is_split(pq_isa isa, int kind)
{
    return kind == PART_WIDE && pq_isa_vector_bytes(isa) < 64;
}

// As many outputs as have room for their accumulators (and sums of x); far
// apart, f32 outputs share little.
static uint32_t
pixels_per_round(int kind, const pq_conv_desc *desc)
{
    int is_far = kind == PART_WIDE && desc->weight != PQ_WEIGHT_S8 &&
                 desc->stride[2] > 1;
    return is_far || (desc->epilogue.flags & PQ_EPI_WEIGHT_ZERO) ? 2 : 4;
}

static ptqc_be_status
get_kernel(pq_depthwise *op, pq_jit *jit, ptqc_call *call, int kind,
           int is_indirect)
{
    const pq_conv_desc *desc = &op->desc;
    int64_t ratio = desc->stride[2] % desc->dilation[2] == 0
                        ? desc->stride[2] / desc->dilation[2]
                        : 0;
    pq_depthwise_kernel_desc kernel = {
        .element = desc->weight == PQ_WEIGHT_S8 ? PQ_ELEM_U8 : PQ_ELEM_F32,
        .kernel_h = (uint32_t)desc->kernel[1],
        .kernel_w = (uint32_t)desc->kernel[2],
        .vectors = kind == PART_WIDE ? 4 : 1,
        .is_split = (uint32_t)is_split(pq_jit_isa(jit), kind),
        // an overlapping block may write again what it wrote, but not after
        // a residual in the same place was overwritten
        .masked =
            kind == PART_TAIL && (desc->out_channels < LANES ||
                                  desc->epilogue.residual != PQ_ELEM_NONE),
        .pixels = 1,
        .is_indirect = (uint32_t)is_indirect,
        .codes = !pq_conv_is_codes(desc) ? 0
                 : desc->asymmetric      ? 2
                                         : 1,
        .epilogue = desc->epilogue,
    };
    if (!is_indirect) {
        kernel.ratio = ratio > RATIO_MAX ? 0 : (uint32_t)ratio;
        kernel.pixels = pixels_per_round(kind, desc);
    }
    void (*entry)(void);
    ptqc_be_status st =
        pq_jit_get(jit, call, &pq_depthwise_class, &kernel, &entry);
    if (st == PTQC_BE_OK) {
        (is_indirect ? op->edge : op->inside)[kind] = (pq_depthwise_fn)entry;
    }
    return st;
}

// Of the parts and kinds of outputs that there are.
static ptqc_be_status
get_kernels(pq_depthwise *op, pq_jit *jit, ptqc_call *call)
{
    int has_inside = op->first_inside < op->end_inside;
    int has_edge = op->first_inside > 0 || op->end_inside < op->desc.out[2];
    ptqc_be_status st = PTQC_BE_OK;
    for (int kind = 0; kind < 3 && st == PTQC_BE_OK; kind++) {
        if (op->plan.part[kind].blocks == 0) {
            continue;
        }
        if (has_inside) {
            st = get_kernel(op, jit, call, kind, 0);
        }
        if (has_edge && st == PTQC_BE_OK) {
            st = get_kernel(op, jit, call, kind, 1);
        }
    }
    return st;
}

static void
set_geometry(pq_depthwise *op)
{
    const pq_conv_desc *desc = &op->desc;
    int64_t reach = (desc->kernel[2] - 1) * desc->dilation[2];
    int64_t pad = desc->pad_begin[2], stride = desc->stride[2];
    int64_t first = (pad + stride - 1) / stride;
    // last output whose window ends inside: o * stride - pad + reach < width
    int64_t room = desc->in[2] - 1 - reach + pad;
    int64_t end = room < 0 ? 0 : room / stride + 1;
    int64_t width = desc->out[2];
    op->first_inside = first < width ? first : width;
    end = end < width ? end : width;
    op->end_inside = end > op->first_inside ? end : op->first_inside;
    op->units =
        op->plan.part[PART_WIDE].blocks + op->plan.part[PART_NARROW].blocks;
    op->units = op->units > 0 ? op->units : 1;
    int64_t items = desc->batch * desc->out[0] * desc->out[1] * op->units;
    int64_t count = 1;
    if (items < UNITS_WANTED) {
        count = width / SEGMENT_PIXELS;
        count = count < 1 ? 1 : count > UNITS_WANTED ? UNITS_WANTED : count;
    }
    op->segments = (pq_cut){count, width / count, width % count};
}

ptqc_be_status
pq_depthwise_prepare(pq_jit *jit, ptqc_call *call, const pq_conv_desc *desc,
                     pq_depthwise **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    *out = NULL;
    pq_depthwise *op = host->vt->alloc(host->self, sizeof *op, 64);
    if (op == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory for a convolution");
    }
    *op = (pq_depthwise){.host = host, .desc = *desc};
    int is_u8 = desc->weight == PQ_WEIGHT_S8;
    op->plan = make_plan(desc);
    op->element_bytes = is_u8 ? 1 : 4;
    op->pixel_bytes = desc->in_channels * op->element_bytes;
    op->tail_skip =
        desc->out_channels < LANES ? 0 : LANES - desc->out_channels % LANES;
    set_geometry(op);
    uint64_t bytes = (uint64_t)(desc->in[2] * op->pixel_bytes);
    op->padding = host->vt->alloc(host->self, bytes, 64);
    ptqc_be_status st = PTQC_BE_OK;
    if (op->padding == NULL) {
        st = pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                        "cpu: out of memory for a convolution");
    } else {
        memset(op->padding, is_u8 ? (int)desc->pad_value : 0, bytes);
    }
    if (st == PTQC_BE_OK) {
        st = get_kernels(op, jit, call);
    }
    if (st != PTQC_BE_OK) {
        pq_depthwise_destroy(op);
        return st;
    }
    *out = op;
    return PTQC_BE_OK;
}

void
pq_depthwise_destroy(pq_depthwise *op)
{
    if (op != NULL) {
        op->host->vt->free(op->host->self, op->padding);
        op->host->vt->free(op->host->self, op);
    }
}

// ---- running --------------------------------------------------------------

// One row of output and the blocks of it that are due.
typedef struct row_job {
    const pq_depthwise *op;
    const pq_conv_io *io;
    int64_t row;                             // of all batches
    const void *line[PQ_DEPTHWISE_TAPS_MAX]; // input rows at x = 0, channel 0;
                                             // NULL = padding
    pq_range units;
} row_job;

// `pixels` outputs from `first` on, whose taps at channel 0 are `rows`: a
// pointer per kernel row, or, with pixels = 0 for one output at an edge, per
// tap.
typedef struct pixel_run {
    int64_t first, pixels;
    const void *rows[PQ_DEPTHWISE_TAPS_MAX];
} pixel_run;

// Blocks [begin, end) of a part.
static void
run_part(const row_job *job, int kind, pq_range blocks, const pixel_run *run)
{
    const pq_depthwise *op = job->op;
    const part *p = &op->plan.part[kind];
    const pq_epilogue *ep = &op->desc.epilogue;
    int64_t channels = op->desc.out_channels;
    int64_t channel = p->channel + blocks.begin * p->width;
    int64_t pixel = job->row * op->desc.out[2] + run->first;
    int64_t out_bytes = pq_epilogue_out_bytes(ep);
    const void *shifted[PQ_DEPTHWISE_TAPS_MAX];
    int64_t pointers =
        op->desc.kernel[1] * (run->pixels == 0 ? op->desc.kernel[2] : 1);
    for (int64_t i = 0; i < pointers; i++) {
        shifted[i] =
            (const uint8_t *)run->rows[i] + channel * op->element_bytes;
    }
    pq_depthwise_args args = {
        .rows = shifted,
        .column_bytes = op->desc.dilation[2] * op->pixel_bytes,
        .pixel_bytes = op->desc.stride[2] * op->pixel_bytes,
        .pixels = run->pixels,
        .blocks = blocks.end - blocks.begin,
        .weights = (const uint8_t *)job->io->weights + p->weights +
                   blocks.begin * p->weight_bytes,
        .init = job->io->init == NULL ? NULL : job->io->init + channel,
        .out =
            (uint8_t *)job->io->out + (pixel * channels + channel) * out_bytes,
        .out_stride = channels * out_bytes,
        .skip = op->tail_skip,
        .channels = channels < LANES ? channels : LANES,
        .epilogue = job->io->epilogue,
    };
    if (ep->kind != PQ_EPI_FLOAT || pq_conv_is_codes(&op->desc)) {
        args.epilogue.mult += channel;
    }
    if (ep->flags & PQ_EPI_BIAS) {
        args.epilogue.bias += channel;
    }
    if ((ep->flags & PQ_EPI_WEIGHT_ZERO) || op->desc.asymmetric) {
        args.epilogue.weight_zero += channel;
    }
    if (ep->residual != PQ_ELEM_NONE) {
        int64_t bytes = ep->residual == PQ_ELEM_F32 ? 4 : 1;
        args.epilogue.residual = (const uint8_t *)job->io->epilogue.residual +
                                 (pixel * channels + channel) * bytes;
        args.epilogue.residual_stride = channels * bytes;
    }
    (run->pixels == 0 ? op->edge : op->inside)[kind](&args);
}

// The due blocks of all parts.
static void
run_pixels(const row_job *job, const pixel_run *run)
{
    const part *parts = job->op->plan.part;
    int64_t base = 0;
    for (int kind = PART_WIDE; kind <= PART_NARROW; kind++) {
        int64_t begin = job->units.begin - base, end = job->units.end - base;
        pq_range blocks = {begin > 0 ? begin : 0,
                           end < parts[kind].blocks ? end : parts[kind].blocks};
        if (blocks.begin < blocks.end) {
            run_part(job, kind, blocks, run);
        }
        base += parts[kind].blocks;
    }
    if (parts[PART_TAIL].blocks > 0 && job->units.end == job->op->units) {
        run_part(job, PART_TAIL, (pq_range){0, 1}, run);
    }
}

// One output whose window hangs over the left or right edge.
static void
run_edge(const row_job *job, int64_t at)
{
    const pq_depthwise *op = job->op;
    const pq_conv_desc *desc = &op->desc;
    pixel_run run = {.first = at};
    int64_t start = at * desc->stride[2] - desc->pad_begin[2];
    const void **to = run.rows;
    for (int64_t kh = 0; kh < desc->kernel[1]; kh++) {
        const uint8_t *line = job->line[kh];
        for (int64_t kw = 0; kw < desc->kernel[2]; kw++) {
            int64_t x = start + kw * desc->dilation[2];
            int is_inside = line != NULL && x >= 0 && x < desc->in[2];
            *to++ = is_inside ? line + x * op->pixel_bytes : op->padding;
        }
    }
    run_pixels(job, &run);
}

static void
run_inside(const row_job *job, int64_t first, int64_t end)
{
    const pq_depthwise *op = job->op;
    const pq_conv_desc *desc = &op->desc;
    pixel_run run = {.first = first, .pixels = end - first};
    int64_t start = first * desc->stride[2] - desc->pad_begin[2];
    for (int64_t kh = 0; kh < desc->kernel[1]; kh++) {
        const uint8_t *line = job->line[kh];
        run.rows[kh] =
            line == NULL ? op->padding : line + start * op->pixel_bytes;
    }
    run_pixels(job, &run);
}

static int64_t
clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void
run_segment(const row_job *job, int64_t segment)
{
    const pq_depthwise *op = job->op;
    int64_t begin = pq_cut_begin(&op->segments, segment);
    int64_t end = begin + pq_cut_length(&op->segments, segment);
    int64_t first = clamp(op->first_inside, begin, end);
    int64_t last = clamp(op->end_inside, first, end);
    for (int64_t at = begin; at < first; at++) {
        run_edge(job, at);
    }
    if (first < last) {
        run_inside(job, first, last);
    }
    for (int64_t at = last; at < end; at++) {
        run_edge(job, at);
    }
}

static void
set_lines(row_job *job, const uint8_t *x)
{
    const pq_conv_desc *desc = &job->op->desc;
    int64_t line_bytes = desc->in[2] * job->op->pixel_bytes;
    int64_t batch = job->row / (desc->out[0] * desc->out[1]);
    int64_t depth = job->row / desc->out[1] % desc->out[0] * desc->stride[0] -
                    desc->pad_begin[0];
    int64_t top =
        job->row % desc->out[1] * desc->stride[1] - desc->pad_begin[1];
    for (int64_t kh = 0; kh < desc->kernel[1]; kh++) {
        int64_t y = top + kh * desc->dilation[1];
        int is_inside =
            depth >= 0 && depth < desc->in[0] && y >= 0 && y < desc->in[1];
        int64_t line = (batch * desc->in[0] + depth) * desc->in[1] + y;
        job->line[kh] = is_inside ? x + line * line_bytes : NULL;
    }
}

void
pq_depthwise_run(const pq_depthwise *op, const pq_conv_io *io,
                 const pq_worker *worker)
{
    const pq_conv_desc *desc = &op->desc;
    int64_t rows = desc->batch * desc->out[0] * desc->out[1];
    int64_t segments = op->segments.count;
    pq_range mine = pq_worker_range(worker, rows * segments * op->units, 1);
    row_job job = {.op = op, .io = io};
    for (int64_t at = mine.begin; at < mine.end;) {
        int64_t item = at / op->units; // row and segment
        int64_t base = item * op->units;
        int64_t end = base + op->units < mine.end ? base + op->units : mine.end;
        job.row = item / segments;
        job.units = (pq_range){at - base, end - base};
        set_lines(&job, io->x);
        run_segment(&job, item % segments);
        at = end;
    }
}
