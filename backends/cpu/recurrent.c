// SPDX-License-Identifier: Apache-2.0
//
// Recurrent cells (recurrent.h): packing, the workspace, and the walk over
// time. Work is split by panels of 16 hidden units; a worker keeps its
// panels through all steps and meets the others once per step (gru without
// linear_before_reset: twice).
#include "recurrent.h"

#include <stdbool.h>
#include <string.h>

#include "backends/kgen/say.h"
#include "emit_recurrent.h"

#define LANES 16

struct pq_recurrent {
    const ptqc_host *host; // borrowed
    pq_recurrent_desc desc;
    int64_t gates, panels, directions;
    pq_cell_kernel sums, cell, cell_new; // cell_new: gru's second half
};

static int64_t
gate_count(uint32_t kind)
{
    return kind == PQ_RECURRENT_LSTM ? 4 : kind == PQ_RECURRENT_GRU ? 3 : 1;
}

static int64_t
direction_count(const pq_recurrent_desc *d)
{
    return d->direction == 2 ? 2 : 1;
}

static int64_t
panel_count(const pq_recurrent_desc *d)
{
    return (d->hidden + LANES - 1) / LANES;
}

// ---- weights -------------------------------------------------------------

// The blob, in f32, one block per direction: w [panels][I][gates][16],
// r [panels][H][gates][16], bias [panels][gates][16], bias_h [panels][16],
// peephole [panels][3][16]. Units beyond H are zeros.
typedef struct blob_layout {
    int64_t w, r, bias, bias_h, peephole; // first element
    int64_t total;                        // elements of a direction
} blob_layout;

static blob_layout
layout_of(const pq_recurrent_desc *d)
{
    int64_t unit = panel_count(d) * LANES;
    int64_t gates = gate_count(d->kind);
    blob_layout l = {.w = 0};
    l.r = l.w + unit * d->input * gates;
    l.bias = l.r + unit * d->hidden * gates;
    l.bias_h = l.bias + unit * gates;
    l.peephole = l.bias_h + unit;
    l.total = l.peephole + unit * 3;
    return l;
}

uint64_t
pq_recurrent_weight_bytes(const pq_recurrent_desc *desc)
{
    // 2^24 units and inputs at most: 2^24 * 2^24 * 4 gates * 2 * 4 bytes fit
    const int64_t limit = INT64_C(1) << 24;
    if (desc->input <= 0 || desc->hidden <= 0 || desc->input > limit ||
        desc->hidden > limit) {
        return 0;
    }
    return (uint64_t)(layout_of(desc).total * direction_count(desc)) * 4;
}

// source [gates * H][columns] -> [panels][columns][gates][16]
static void
pack_matrix(const pq_recurrent_desc *d, const float *source, int64_t columns,
            float *out)
{
    int64_t gates = gate_count(d->kind);
    for (int64_t g = 0; g < gates; g++) {
        for (int64_t j = 0; j < d->hidden; j++) {
            const float *row = source + (g * d->hidden + j) * columns;
            float *to =
                out + (j / LANES * columns * gates + g) * LANES + j % LANES;
            for (int64_t k = 0; k < columns; k++) {
                to[k * gates * LANES] = row[k];
            }
        }
    }
}

static void
pack_bias(const pq_recurrent_desc *d, const float *wb, float *bias,
          float *bias_h)
{
    int64_t gates = gate_count(d->kind);
    const float *rb = wb + gates * d->hidden;
    for (int64_t g = 0; g < gates; g++) {
        bool is_apart = d->kind == PQ_RECURRENT_GRU && g == 2 &&
                        d->linear_before_reset != 0;
        for (int64_t j = 0; j < d->hidden; j++) {
            int64_t from = g * d->hidden + j;
            int64_t to = (j / LANES * gates + g) * LANES + j % LANES;
            bias[to] = is_apart ? wb[from] : wb[from] + rb[from];
            if (is_apart) {
                bias_h[j] = rb[from];
            }
        }
    }
}

void
pq_recurrent_weight_pack(const pq_recurrent_desc *desc,
                         const pq_recurrent_weights *weights, void *out)
{
    blob_layout l = layout_of(desc);
    int64_t rows = gate_count(desc->kind) * desc->hidden;
    memset(out, 0, pq_recurrent_weight_bytes(desc));
    for (int64_t d = 0; d < direction_count(desc); d++) {
        float *to = (float *)out + d * l.total;
        pack_matrix(desc, weights->w + d * rows * desc->input, desc->input,
                    to + l.w);
        pack_matrix(desc, weights->r + d * rows * desc->hidden, desc->hidden,
                    to + l.r);
        if (weights->bias != NULL) {
            pack_bias(desc, weights->bias + d * 2 * rows, to + l.bias,
                      to + l.bias_h);
        }
        for (int64_t i = 0; weights->peephole != NULL && i < 3 * desc->hidden;
             i++) {
            int64_t j = i % desc->hidden;
            int64_t at = (j / LANES * 3 + i / desc->hidden) * LANES + j % LANES;
            to[l.peephole + at] = weights->peephole[d * 3 * desc->hidden + i];
        }
    }
}

// ---- prepare -------------------------------------------------------------

static ptqc_be_status
get_kernel(pq_jit *jit, ptqc_call *call, const pq_recurrent *r, uint32_t what,
           pq_cell_kernel *out)
{
    pq_cell_key key = {.what = what,
                       .gates = (uint32_t)r->gates,
                       .has_peephole =
                           what == PQ_CELL_LSTM && r->desc.peephole != 0};
    void (*code)(void) = NULL;
    ptqc_be_status st = pq_jit_get(jit, call, &pq_cell_class, &key, &code);
    *out = (pq_cell_kernel)code;
    return st;
}

static ptqc_be_status
get_kernels(pq_jit *jit, ptqc_call *call, pq_recurrent *r)
{
    uint32_t what = PQ_CELL_LSTM;
    bool has_new = false;
    if (r->desc.kind == PQ_RECURRENT_RNN) {
        what = PQ_CELL_RNN;
    } else if (r->desc.kind == PQ_RECURRENT_GRU) {
        has_new = r->desc.linear_before_reset == 0;
        what = has_new ? PQ_CELL_GRU_RESET : PQ_CELL_GRU_LINEAR;
    }
    ptqc_be_status st = get_kernel(jit, call, r, PQ_CELL_SUMS, &r->sums);
    if (st == PTQC_BE_OK) {
        st = get_kernel(jit, call, r, what, &r->cell);
    }
    if (st == PTQC_BE_OK && has_new) {
        st = get_kernel(jit, call, r, PQ_CELL_GRU_NEW, &r->cell_new);
    }
    return st;
}

ptqc_be_status
pq_recurrent_prepare(pq_jit *jit, ptqc_call *call,
                     const pq_recurrent_desc *desc, pq_recurrent **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    if (desc->kind > PQ_RECURRENT_RNN || desc->direction > 2 ||
        desc->steps < 0 || desc->batch < 0 ||
        pq_recurrent_weight_bytes(desc) == 0) {
        return pq_kg_fail(host, call, PTQC_BE_UNSUPPORTED,
                          "cpu: recurrent cell with these sizes");
    }
    pq_recurrent *r = host->vt->alloc(host->self, sizeof *r, 64);
    if (r == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    *r = (pq_recurrent){.host = host,
                        .desc = *desc,
                        .gates = gate_count(desc->kind),
                        .panels = panel_count(desc),
                        .directions = direction_count(desc)};
    ptqc_be_status st = get_kernels(jit, call, r);
    if (st != PTQC_BE_OK) {
        pq_recurrent_destroy(r);
        return st;
    }
    *out = r;
    return PTQC_BE_OK;
}

void
pq_recurrent_destroy(pq_recurrent *cell)
{
    if (cell != NULL) {
        cell->host->vt->free(cell->host->self, cell);
    }
}

// ---- workspace -----------------------------------------------------------

// In f32: per direction xw [T*B][panels][gates][16] and the states h (two,
// in turn), c, z, r*h, each [B][panels][16].
#define STATES 5

static int64_t
state_elements(const pq_recurrent *r)
{
    return r->desc.batch * r->panels * LANES;
}

static int64_t
xw_elements(const pq_recurrent *r)
{
    return r->desc.steps * r->desc.batch * r->panels * r->gates * LANES;
}

uint64_t
pq_recurrent_shared_bytes(const pq_recurrent *cell)
{
    int64_t n = xw_elements(cell) + STATES * state_elements(cell);
    return (uint64_t)(n * cell->directions) * sizeof(float);
}

static float *
xw_of(const pq_recurrent *r, const pq_recurrent_io *io, int64_t direction)
{
    return (float *)io->shared + direction * xw_elements(r);
}

static float *
state_of(const pq_recurrent *r, const pq_recurrent_io *io, int64_t direction,
         int64_t which)
{
    return (float *)io->shared + r->directions * xw_elements(r) +
           (direction * STATES + which) * state_elements(r);
}

#define STATE_C     2
#define STATE_Z     3
#define STATE_RESET 4

// ---- run -----------------------------------------------------------------

// Arguments for panels [first, first + count) of a direction, operand rows
// not set.
static pq_cell_args
panel_args(const pq_recurrent *r, const pq_recurrent_io *io, int64_t direction,
           pq_range panels)
{
    const pq_recurrent_desc *d = &r->desc;
    blob_layout l = layout_of(d);
    const float *blob = (const float *)io->weights + direction * l.total;
    int64_t units = panels.begin * LANES;
    pq_cell_args args = {
        .bias = blob + l.bias + units * r->gates,
        .bias_h = blob + l.bias_h + units,
        .peephole = blob + l.peephole + units * 3,
        .c = state_of(r, io, direction, STATE_C) + units,
        .z = state_of(r, io, direction, STATE_Z) + units,
        .reset = state_of(r, io, direction, STATE_RESET) + units,
        .xw_stride = r->panels * r->gates * LANES * 4,
        .state_stride = r->panels * LANES * 4,
        .panels = panels.end - panels.begin,
    };
    return args;
}

// x W of all steps for rows [begin, end) of [T*B] and the given panels.
static void
input_sums(const pq_recurrent *r, const pq_recurrent_io *io, int64_t direction,
           pq_range rows, pq_range panels)
{
    const pq_recurrent_desc *d = &r->desc;
    blob_layout l = layout_of(d);
    if (rows.begin >= rows.end || panels.begin >= panels.end) {
        return;
    }
    pq_cell_args args = panel_args(r, io, direction, panels);
    int64_t panel = d->input * r->gates * LANES;
    args.w = (const float *)io->weights + direction * l.total + l.w +
             panels.begin * panel;
    args.a = io->x + rows.begin * d->input;
    args.a_stride = d->input * 4;
    args.k = d->input;
    args.rows = rows.end - rows.begin;
    args.xw = xw_of(r, io, direction) +
              (rows.begin * r->panels + panels.begin) * r->gates * LANES;
    r->sums(&args);
}

// State rows from the caller's [B][H], or zeros; padding units are zeros.
static void
set_state(const pq_recurrent *r, const float *from, float *to, pq_range rows)
{
    int64_t hidden = r->desc.hidden, stride = r->panels * LANES;
    for (int64_t b = rows.begin; b < rows.end; b++) {
        memset(to + b * stride, 0, (size_t)stride * 4);
        if (from != NULL) {
            memcpy(to + b * stride, from + b * hidden, (size_t)hidden * 4);
        }
    }
}

static void
begin_run(const pq_recurrent *r, const pq_recurrent_io *io,
          const pq_worker *worker)
{
    const pq_recurrent_desc *d = &r->desc;
    pq_range batch = pq_worker_range(worker, d->batch, 1);
    int64_t all = d->steps * d->batch;
    pq_range rows = {0, all};
    pq_range panels = {0, r->panels};
    if (all >= 4 * (int64_t)worker->count) {
        rows = pq_worker_range(worker, all, 4);
    } else {
        panels = pq_worker_range(worker, r->panels, 1);
    }
    for (int64_t i = 0; i < r->directions; i++) {
        int64_t offset = i * d->batch * d->hidden;
        set_state(r, io->h0 == NULL ? NULL : io->h0 + offset,
                  state_of(r, io, i, 0), batch);
        set_state(r, io->c0 == NULL ? NULL : io->c0 + offset,
                  state_of(r, io, i, STATE_C), batch);
        input_sums(r, io, i, rows, panels);
    }
}

// Copies this worker's units of a state to `out` [B][H].
static void
get_state(const pq_recurrent *r, const float *state, pq_range panels,
          float *out)
{
    int64_t hidden = r->desc.hidden, stride = r->panels * LANES;
    int64_t begin = panels.begin * LANES;
    int64_t end = panels.end * LANES < hidden ? panels.end * LANES : hidden;
    for (int64_t b = 0; out != NULL && b < r->desc.batch; b++) {
        memcpy(out + b * hidden + begin, state + b * stride + begin,
               (size_t)(end - begin) * 4);
    }
}

// One step of a direction for a range of panels; `half` 1 = gru's new gate.
static void
run_step(const pq_recurrent *r, const pq_recurrent_io *io, int64_t direction,
         pq_range panels, int64_t step, int half)
{
    const pq_recurrent_desc *d = &r->desc;
    blob_layout l = layout_of(d);
    bool is_reverse = d->direction == 1 || direction == 1;
    int64_t time = is_reverse ? d->steps - 1 - step : step;
    int64_t units = panels.begin * LANES;
    bool has_two = r->cell_new != NULL;
    float *h = state_of(r, io, direction, step & 1);
    float *h_next = state_of(r, io, direction, (step & 1) ^ 1);
    pq_cell_args args = panel_args(r, io, direction, panels);
    args.a = half ? state_of(r, io, direction, STATE_RESET) : h;
    args.a_stride = args.state_stride;
    args.k = d->hidden;
    args.rows = d->batch;
    args.w = (const float *)io->weights + direction * l.total + l.r +
             units * d->hidden * r->gates;
    args.xw = xw_of(r, io, direction) +
              (time * d->batch * r->panels + panels.begin) * r->gates * LANES;
    args.h = h + units;
    args.h_next = h_next + units;
    if (half) {
        r->cell_new(&args);
    } else {
        r->cell(&args);
    }
    if ((half || !has_two) && io->y != NULL) {
        int64_t row = (time * r->directions + direction) * d->batch;
        get_state(r, h_next, panels, io->y + row * d->hidden);
    }
}

// Calls run_step for the panels [begin, end) counted through all directions.
static void
run_items(const pq_recurrent *r, const pq_recurrent_io *io, pq_range items,
          int64_t step, int half)
{
    while (items.begin < items.end) {
        int64_t direction = items.begin / r->panels;
        int64_t first = items.begin % r->panels;
        int64_t left = r->panels - first;
        int64_t count = items.end - items.begin;
        count = count < left ? count : left;
        pq_range panels = {first, first + count};
        run_step(r, io, direction, panels, step, half);
        items.begin += count;
    }
}

static void
end_run(const pq_recurrent *r, const pq_recurrent_io *io, pq_range items)
{
    const pq_recurrent_desc *d = &r->desc;
    for (int64_t i = items.begin; i < items.end; i++) {
        int64_t direction = i / r->panels;
        pq_range panel = {i % r->panels, i % r->panels + 1};
        int64_t offset = direction * d->batch * d->hidden;
        get_state(r, state_of(r, io, direction, d->steps & 1), panel,
                  io->y_h == NULL ? NULL : io->y_h + offset);
        get_state(r, state_of(r, io, direction, STATE_C), panel,
                  io->y_c == NULL ? NULL : io->y_c + offset);
    }
}

void
pq_recurrent_run(const pq_recurrent *cell, const pq_recurrent_io *io,
                 const pq_worker *worker, void (*barrier)(void *region),
                 void *region)
{
    bool is_shared = worker->count > 1;
    pq_range items =
        pq_worker_range(worker, cell->directions * cell->panels, 1);
    begin_run(cell, io, worker);
    for (int64_t step = 0; step < cell->desc.steps; step++) {
        if (is_shared) {
            barrier(region);
        }
        run_items(cell, io, items, step, 0);
        if (cell->cell_new != NULL) {
            if (is_shared) {
                barrier(region);
            }
            run_items(cell, io, items, step, 1);
        }
    }
    if (is_shared && cell->desc.steps == 0) {
        barrier(region); // states were set by rows, are read by panels
    }
    end_run(cell, io, items);
}
