// SPDX-License-Identifier: Apache-2.0
//
// Weights by blocks, see weights.h. A block is some outer indices times some
// channels; one of both is whole. A worker has one block in f32 at a time.

#include "ir/weights.h"

#include <string.h>

#include "base/dtype.h"
#include "base/float16.h"
#include "base/threads.h"

// Elements that a block is made of, roughly: with their f32 copies they stay
// in the second cache level.
#define PQ_BLOCK_ELEMENTS (INT64_C(1) << 16)

typedef struct pq_weight_job {
    const pq_constant *c;
    pq_weights all;        // the view of the whole weight
    bool cuts_outer;       // blocks are outer indices, else channels
    int64_t unit_count;    // outer indices or channels of the weight
    int64_t unit_elements; // of one of them
    int64_t block_units;
    int64_t block_elements; // of the largest block
    float *floats;          // owned: [workers][block_elements]
    uint8_t *bytes;         // owned: [workers][block_elements]
    pq_weight_block_fn fn;
    void *user;
} pq_weight_job;

pq_weights
pq_weights_view(const pq_constant *c, const pq_scheme *scheme)
{
    // Groups lie along axis 1 of [N, K].
    uint32_t axis = scheme->granularity == PQ_GRAN_GROUP ? 0 : scheme->axis;
    pq_weights w = {.outer = 1, .channels = 1, .inner = 1, .scheme = *scheme};
    for (uint32_t i = 0; i < c->rank; i++) {
        int64_t *part = i < axis    ? &w.outer
                        : i == axis ? &w.channels
                                    : &w.inner;
        *part *= c->dims[i];
    }
    return w;
}

// n elements of the weight from element `first` on.
static void
read_reals(const pq_constant *c, int64_t first, int64_t n, float *out)
{
    const uint8_t *p = c->p;
    if (c->dtype == PTQC_F32) {
        memcpy(out, p + (size_t)first * sizeof *out, (size_t)n * sizeof *out);
    } else if (c->dtype == PTQC_F16) {
        pq_f16_row_to_f32(p + (size_t)first * 2, (size_t)n, out);
    } else {
        pq_bf16_row_to_f32(p + (size_t)first * 2, (size_t)n, out);
    }
}

static void
make_block(const pq_weight_job *job, int64_t first, uint32_t worker,
           pq_weight_block *out)
{
    const pq_weights *all = &job->all;
    float *w = job->floats + worker * job->block_elements;
    int64_t left = job->unit_count - first;
    int64_t units = left < job->block_units ? left : job->block_units;
    *out = (pq_weight_block){
        .weights = *all, .bytes = job->bytes + worker * job->block_elements};
    out->weights.w = w;
    if (job->cuts_outer) {
        out->weights.outer = units;
        out->first_element = first * job->unit_elements;
        read_reals(job->c, out->first_element, units * job->unit_elements, w);
        return;
    }
    out->weights.channels = units;
    out->first_channel = first;
    out->first_element = first * all->inner;
    for (int64_t o = 0; o < all->outer; o++) {
        read_reals(job->c, (o * all->channels + first) * all->inner,
                   units * all->inner, w + o * units * all->inner);
    }
}

static void
run_blocks(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    const pq_weight_job *job = user;
    for (uint64_t i = begin; i < end; i++) {
        pq_weight_block block;
        make_block(job, (int64_t)i * job->block_units, worker, &block);
        job->fn(job->user, &block);
    }
}

// How the weight is cut. One scale for all is chosen of all elements; rows of
// the last axis stay whole.
static void
plan(pq_weight_job *job, pq_weight_cut cut)
{
    const pq_weights *all = &job->all;
    bool is_one = cut == PQ_CUT_CHANNELS
                      ? all->scheme.granularity == PQ_GRAN_TENSOR
                      : all->outer == 1 && all->inner == 1;
    job->cuts_outer = is_one || (cut == PQ_CUT_ROWS && all->outer > 1);
    job->unit_count = job->cuts_outer ? all->outer : all->channels;
    job->unit_elements =
        job->cuts_outer ? all->channels * all->inner : all->outer * all->inner;
    int64_t units =
        PQ_BLOCK_ELEMENTS / (job->unit_elements > 0 ? job->unit_elements : 1);
    units = units < 1 ? 1 : units;
    units = units < job->unit_count ? units : job->unit_count;
    job->block_units = is_one ? job->unit_count : units;
    job->block_elements = job->block_units * job->unit_elements;
}

ptqc_status
pq_weights_for_blocks(ptqc_ctx *ctx, const pq_constant *c,
                      const pq_scheme *scheme, pq_weight_cut cut,
                      pq_weight_block_fn fn, void *user)
{
    pq_weight_job job = {
        .c = c, .all = pq_weights_view(c, scheme), .fn = fn, .user = user};
    plan(&job, cut);
    if (job.block_elements == 0) {
        return PTQC_OK;
    }
    int64_t blocks = (job.unit_count - 1) / job.block_units + 1;
    int64_t workers = 1;
    pq_pool *pool = NULL;
    if (blocks > 1) {
        pool = pq_ctx_pool(ctx);
        PQ_TRY_ALLOC(pool);
        // Scratch is by seat: few blocks may be taken by any of all workers.
        workers = pq_pool_width(pool);
    }
    size_t room = (size_t)workers * (size_t)job.block_elements;
    job.floats = pq_alloc_array(ctx, room, sizeof *job.floats);
    job.bytes = job.floats != NULL ? pq_alloc(ctx, room) : NULL;
    ptqc_status st = job.bytes != NULL ? PTQC_OK : PTQC_E_RESOURCE;
    if (st == PTQC_OK && pool != NULL) {
        pq_pool_for(pool, (uint64_t)blocks, 1, run_blocks, &job);
    } else if (st == PTQC_OK) {
        run_blocks(&job, 0, 1, 0);
    }
    pq_free(ctx, job.bytes);
    pq_free(ctx, job.floats);
    return st;
}
