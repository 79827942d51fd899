// SPDX-License-Identifier: Apache-2.0
//
// Drivers of the row kernels (row.h): which form a shape takes and which
// rows or columns belong to a worker.
#include "row.h"

#include <string.h>

#include "backends/kgen/say.h"
#include "emit_row.h"
#include "row_plain.h"

// What all families share. Row form: inner == 1; else columns.
typedef struct row_plan {
    const ptqc_host *host; // borrowed
    pq_row_kernel kernel;
    pq_row_shape shape;
} row_plan;

struct pq_reduce {
    row_plan plan; // no kernel for integers
    uint32_t op, dtype;
};

struct pq_softmax {
    row_plan plan;
    float scale;
    uint32_t mask;
    int64_t row_dims[4], mask_strides[4];
};

struct pq_norm {
    row_plan plan;
    float epsilon;
    int64_t segments, groups;
};

struct pq_lp_norm {
    row_plan plan;
};

struct pq_row_quantize {
    row_plan plan;
    int64_t code_stride;
    uint32_t biased;
};

static int
is_column(const pq_row_shape *shape)
{
    return shape->inner > 1;
}

// Allocates `bytes`, which begin with a row_plan, and makes the kernel.
static ptqc_be_status
plan_make(pq_jit *jit, ptqc_call *call, const pq_row_key *key,
          const pq_row_shape *shape, size_t bytes, void **out)
{
    const ptqc_host *host = pq_jit_host(jit);
    row_plan *plan = host->vt->alloc(host->self, bytes, 64);
    if (plan == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    memset(plan, 0, bytes);
    plan->host = host;
    plan->shape = *shape;
    if (key != NULL) {
        void (*code)(void) = NULL;
        ptqc_be_status st = pq_jit_get(jit, call, &pq_row_class, key, &code);
        if (st != PTQC_BE_OK) {
            host->vt->free(host->self, plan);
            return st;
        }
        plan->kernel = (pq_row_kernel)code;
    }
    *out = plan;
    return PTQC_BE_OK;
}

static void
plan_free(row_plan *plan)
{
    if (plan != NULL) {
        plan->host->vt->free(plan->host->self, plan);
    }
}

// Runs the column kernel over this worker's blocks of 16 columns. `args` has
// the addresses of outer index 0; result_length is the length of an output
// column (1 for reductions).
static void
run_columns(const row_plan *plan, const pq_row_args *args,
            int64_t result_length, const pq_worker *worker)
{
    const pq_row_shape *s = &plan->shape;
    int64_t blocks = (s->inner + 15) / 16;
    pq_range range = pq_worker_range(worker, s->outer * blocks, 1);
    while (range.begin < range.end) {
        int64_t outer = range.begin / blocks;
        int64_t first = range.begin % blocks;
        int64_t left = blocks - first;
        int64_t count = range.end - range.begin;
        count = count < left ? count : left;
        int64_t columns = s->inner - first * 16;
        columns = columns < count * 16 ? columns : count * 16;
        pq_row_args a = *args;
        a.in[0] = (const float *)args->in[0] + outer * s->length * s->inner +
                  first * 16;
        a.in[1] = args->in[1] == NULL ? NULL
                                      : (const float *)args->in[1] + first * 16;
        a.in[2] = args->in[2] == NULL ? NULL
                                      : (const float *)args->in[2] + first * 16;
        a.out =
            (float *)args->out + outer * result_length * s->inner + first * 16;
        a.rows = columns;
        a.length = s->length;
        a.stride = s->inner * 4;
        plan->kernel(&a);
        range.begin += count;
    }
}

// Rows [begin, end) in row form; in_step[0] and out_step are the caller's.
static void
run_rows(const row_plan *plan, const pq_row_args *args, pq_range rows)
{
    if (rows.begin >= rows.end) {
        return;
    }
    pq_row_args a = *args;
    for (uint32_t i = 0; i < 3; i++) {
        if (a.in[i] != NULL) {
            a.in[i] = (const uint8_t *)a.in[i] + rows.begin * a.in_step[i];
        }
    }
    a.out = (uint8_t *)a.out + rows.begin * a.out_step;
    a.first_row = rows.begin;
    a.rows = rows.end - rows.begin;
    a.length = plan->shape.length;
    plan->kernel(&a);
}

// ---- reductions ----------------------------------------------------------

ptqc_be_status
pq_reduce_prepare(pq_jit *jit, ptqc_call *call, const pq_reduce_desc *desc,
                  pq_reduce **out)
{
    int is_int = pq_reduce_int_has(desc->op, desc->dtype);
    if (desc->op >= PQ_REDUCE_COUNT || (desc->dtype != PTQC_F32 && !is_int)) {
        return pq_kg_fail(pq_jit_host(jit), call, PTQC_BE_UNSUPPORTED,
                          "cpu: reduction %u of element type %u", desc->op,
                          desc->dtype);
    }
    pq_row_key key = {.what = PQ_ROW_REDUCE + desc->op,
                      .is_column = (uint32_t)is_column(&desc->shape)};
    void *made = NULL;
    ptqc_be_status st = plan_make(jit, call, is_int ? NULL : &key, &desc->shape,
                                  sizeof(pq_reduce), &made);
    if (st == PTQC_BE_OK) {
        *out = made;
        (*out)->op = desc->op;
        (*out)->dtype = desc->dtype;
    }
    return st;
}

void
pq_reduce_destroy(pq_reduce *reduce)
{
    plan_free(reduce == NULL ? NULL : &reduce->plan);
}

void
pq_reduce_run(const pq_reduce *reduce, const void *in, void *out,
              const pq_worker *worker)
{
    const pq_row_shape *s = &reduce->plan.shape;
    if (reduce->dtype != PTQC_F32) {
        pq_reduce_int_run(s, reduce->op, reduce->dtype, in, out, worker);
        return;
    }
    pq_row_args args = {.in = {in}, .out = out};
    if (is_column(s)) {
        run_columns(&reduce->plan, &args, 1, worker);
        return;
    }
    args.in_step[0] = s->length * 4;
    args.out_step = 4;
    run_rows(&reduce->plan, &args,
             pq_worker_range(worker, s->outer * s->inner, 1));
}

// ---- softmax -------------------------------------------------------------

ptqc_be_status
pq_softmax_prepare(pq_jit *jit, ptqc_call *call, const pq_softmax_desc *desc,
                   pq_softmax **out)
{
    if (desc->mask && is_column(&desc->shape)) {
        return pq_kg_fail(pq_jit_host(jit), call, PTQC_BE_UNSUPPORTED,
                          "cpu: softmax with a mask over an outer axis");
    }
    pq_row_key key = {.what = desc->log ? PQ_ROW_LOG_SOFTMAX : PQ_ROW_SOFTMAX,
                      .is_column = (uint32_t)is_column(&desc->shape),
                      .flags = (desc->scale != 0.0f ? PQ_ROW_SCALE : 0) |
                               (desc->mask ? PQ_ROW_BIAS : 0)};
    void *made = NULL;
    ptqc_be_status st =
        plan_make(jit, call, &key, &desc->shape, sizeof(pq_softmax), &made);
    if (st != PTQC_BE_OK) {
        return st;
    }
    pq_softmax *softmax = made;
    softmax->scale = desc->scale;
    softmax->mask = desc->mask;
    memcpy(softmax->row_dims, desc->row_dims, sizeof softmax->row_dims);
    memcpy(softmax->mask_strides, desc->mask_strides,
           sizeof softmax->mask_strides);
    *out = softmax;
    return PTQC_BE_OK;
}

void
pq_softmax_destroy(pq_softmax *softmax)
{
    plan_free(softmax == NULL ? NULL : &softmax->plan);
}

// Rows in runs along the last row dim, where the mask advances evenly.
static void
run_masked(const pq_softmax *softmax, const pq_row_args *args,
           const float *mask, pq_range rows)
{
    int64_t run = softmax->row_dims[3];
    while (rows.begin < rows.end) {
        int64_t left = run - rows.begin % run;
        int64_t count = rows.end - rows.begin;
        count = count < left ? count : left;
        int64_t offset = 0;
        int64_t row = rows.begin;
        for (uint32_t d = 4; d-- > 0;) {
            offset += row % softmax->row_dims[d] * softmax->mask_strides[d];
            row /= softmax->row_dims[d];
        }
        pq_row_args a = *args;
        a.in[0] = (const uint8_t *)a.in[0] + rows.begin * a.in_step[0];
        a.in[1] = mask + offset;
        a.in_step[1] = softmax->mask_strides[3] * 4;
        a.out = (uint8_t *)a.out + rows.begin * a.out_step;
        a.rows = count;
        a.length = softmax->plan.shape.length;
        softmax->plan.kernel(&a);
        rows.begin += count;
    }
}

void
pq_softmax_run(const pq_softmax *softmax, const float *in, const float *mask,
               float *out, const pq_worker *worker)
{
    const pq_row_shape *s = &softmax->plan.shape;
    pq_row_args args = {.in = {in}, .out = out, .scale = softmax->scale};
    if (is_column(s)) {
        run_columns(&softmax->plan, &args, s->length, worker);
        return;
    }
    args.in_step[0] = s->length * 4;
    args.out_step = s->length * 4;
    pq_range rows = pq_worker_range(worker, s->outer * s->inner, 1);
    if (softmax->mask) {
        run_masked(softmax, &args, mask, rows);
    } else {
        run_rows(&softmax->plan, &args, rows);
    }
}

// ---- normalizations ------------------------------------------------------

static const char *
check_norm(const pq_norm_desc *desc)
{
    if (desc->kind > PQ_NORM_RMS) {
        return "unknown norm";
    }
    if (is_column(&desc->shape)) {
        return desc->segments == 1 && desc->groups == 1
                   ? NULL
                   : "norm over an outer axis with groups";
    }
    if (desc->segments < 0 ||
        (desc->segments > 0 &&
         (desc->groups <= 0 || desc->shape.length % desc->segments != 0))) {
        return "norm whose segments do not divide the row";
    }
    return NULL;
}

ptqc_be_status
pq_norm_prepare(pq_jit *jit, ptqc_call *call, const pq_norm_desc *desc,
                pq_norm **out)
{
    const char *why = check_norm(desc);
    if (why != NULL) {
        return pq_kg_fail(pq_jit_host(jit), call, PTQC_BE_UNSUPPORTED,
                          "cpu: %s", why);
    }
    pq_row_key key = {.what = desc->kind == PQ_NORM_RMS ? PQ_ROW_RMS_NORM
                                                        : PQ_ROW_LAYER_NORM,
                      .is_column = (uint32_t)is_column(&desc->shape),
                      .flags = (desc->scale ? PQ_ROW_SCALE : 0) |
                               (desc->bias ? PQ_ROW_BIAS : 0) |
                               (desc->segments > 0 ? PQ_ROW_SEGMENTS : 0)};
    void *made = NULL;
    ptqc_be_status st =
        plan_make(jit, call, &key, &desc->shape, sizeof(pq_norm), &made);
    if (st == PTQC_BE_OK) {
        *out = made;
        (*out)->epsilon = desc->epsilon;
        (*out)->segments = desc->segments;
        (*out)->groups = desc->groups;
    }
    return st;
}

void
pq_norm_destroy(pq_norm *norm)
{
    plan_free(norm == NULL ? NULL : &norm->plan);
}

void
pq_norm_run(const pq_norm *norm, const pq_norm_io *io, const pq_worker *worker)
{
    const pq_row_shape *s = &norm->plan.shape;
    pq_row_args args = {.in = {io->in, io->scale, io->bias},
                        .out = io->out,
                        .segments = norm->segments,
                        .groups = norm->groups,
                        .epsilon = norm->epsilon};
    if (is_column(s)) {
        run_columns(&norm->plan, &args, s->length, worker);
        return;
    }
    args.in_step[0] = s->length * 4;
    args.out_step = s->length * 4;
    run_rows(&norm->plan, &args,
             pq_worker_range(worker, s->outer * s->inner, 1));
}

ptqc_be_status
pq_lp_norm_prepare(pq_jit *jit, ptqc_call *call, const pq_lp_norm_desc *desc,
                   pq_lp_norm **out)
{
    if (desc->p != 1 && desc->p != 2) {
        return pq_kg_fail(pq_jit_host(jit), call, PTQC_BE_UNSUPPORTED,
                          "cpu: lp norm with p = %u", desc->p);
    }
    pq_row_key key = {.what = PQ_ROW_LP_NORM,
                      .is_column = (uint32_t)is_column(&desc->shape),
                      .flags = desc->p == 2 ? PQ_ROW_P2 : 0};
    void *made = NULL;
    ptqc_be_status st =
        plan_make(jit, call, &key, &desc->shape, sizeof(pq_lp_norm), &made);
    if (st == PTQC_BE_OK) {
        *out = made;
    }
    return st;
}

void
pq_lp_norm_destroy(pq_lp_norm *norm)
{
    plan_free(norm == NULL ? NULL : &norm->plan);
}

void
pq_lp_norm_run(const pq_lp_norm *norm, const float *in, float *out,
               const pq_worker *worker)
{
    const pq_row_shape *s = &norm->plan.shape;
    pq_row_args args = {.in = {in}, .out = out};
    if (is_column(s)) {
        run_columns(&norm->plan, &args, s->length, worker);
        return;
    }
    args.in_step[0] = s->length * 4;
    args.out_step = s->length * 4;
    run_rows(&norm->plan, &args,
             pq_worker_range(worker, s->outer * s->inner, 1));
}

// ---- dynamic quantization ------------------------------------------------

ptqc_be_status
pq_row_quantize_prepare(pq_jit *jit, ptqc_call *call,
                        const pq_row_quantize_desc *desc, pq_row_quantize **out)
{
    pq_row_shape shape = {desc->rows, desc->length, 1};
    pq_row_key key = {.what = PQ_ROW_QUANTIZE,
                      .flags = desc->biased ? PQ_ROW_BIASED : 0};
    if (desc->code_stride < desc->length) {
        return pq_kg_fail(pq_jit_host(jit), call, PTQC_BE_INVALID,
                          "cpu: rows of codes overlap");
    }
    void *made = NULL;
    ptqc_be_status st =
        plan_make(jit, call, &key, &shape, sizeof(pq_row_quantize), &made);
    if (st == PTQC_BE_OK) {
        *out = made;
        (*out)->code_stride = desc->code_stride;
        (*out)->biased = desc->biased;
    }
    return st;
}

void
pq_row_quantize_destroy(pq_row_quantize *q)
{
    plan_free(q == NULL ? NULL : &q->plan);
}

void
pq_row_quantize_run(const pq_row_quantize *q, const float *in, void *codes,
                    float *scales, const pq_worker *worker)
{
    const pq_row_shape *s = &q->plan.shape;
    pq_range rows = pq_worker_range(worker, s->outer, 1);
    if (rows.begin >= rows.end) {
        return;
    }
    pq_row_args args = {.in = {in},
                        .in_step = {s->length * 4},
                        .out = codes,
                        .out2 = scales + rows.begin,
                        .out_step = q->code_stride};
    run_rows(&q->plan, &args, rows);
    size_t padding = (size_t)(q->code_stride - s->length);
    for (int64_t r = rows.begin; padding > 0 && r < rows.end; r++) {
        memset((uint8_t *)codes + r * q->code_stride + s->length,
               q->biased ? 128 : 0, padding);
    }
}
