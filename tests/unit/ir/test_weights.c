// SPDX-License-Identifier: Apache-2.0
//
// Weights by blocks: every element comes once, at its place, whatever the
// layout, the element type, the size and the number of threads.
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/float16.h"
#include "base/threads.h"
#include "ir/weights.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

typedef struct layout {
    int64_t dims[4];
    uint32_t rank, axis;
    pq_granularity granularity;
    int64_t outer, channels, inner; // expected
} layout;

static const layout layouts[] = {
    {{7, 5}, 2, 0, PQ_GRAN_CHANNEL, 1, 7, 5},
    {{900, 333}, 2, 0, PQ_GRAN_CHANNEL, 1, 900, 333}, // several blocks
    {{900, 333}, 2, 1, PQ_GRAN_CHANNEL, 900, 333, 1},
    {{900, 333}, 2, 1, PQ_GRAN_GROUP, 1, 900, 333},
    {{900, 333}, 2, 0, PQ_GRAN_TENSOR, 1, 900, 333},
    {{40, 30, 17, 11}, 4, 0, PQ_GRAN_CHANNEL, 1, 40, 5610},
    {{40, 30, 17, 11}, 4, 1, PQ_GRAN_CHANNEL, 40, 30, 187},
    {{3, 90000}, 2, 0, PQ_GRAN_CHANNEL, 1, 3, 90000}, // larger than a block
    {{200000}, 1, 0, PQ_GRAN_CHANNEL, 1, 200000, 1},
    {{5, 1}, 2, 0, PQ_GRAN_CHANNEL, 1, 5, 1},
    {{0, 4}, 2, 0, PQ_GRAN_CHANNEL, 1, 0, 4},
};

#define LAYOUTS (sizeof layouts / sizeof *layouts)

typedef struct seen {
    const layout *l;
    pq_weight_cut cut;
    int64_t row;
    atomic_uchar *count; // [elements]
    atomic_bool is_wrong;
} seen;

// Element i of every weight.
static float
element(int64_t i)
{
    return (float)(i % 2039) - 1000; // exact in f16
}

static void
look(void *user, const pq_weight_block *block)
{
    seen *s = user;
    const pq_weights *w = &block->weights;
    const layout *l = s->l;
    int64_t at = 0;
    if (s->cut == PQ_CUT_ROWS &&
        (block->first_element % s->row != 0 ||
         w->outer * w->channels * w->inner % s->row != 0)) {
        atomic_store(&s->is_wrong, true);
    }
    for (int64_t o = 0; o < w->outer; o++) {
        for (int64_t c = 0; c < w->channels; c++) {
            for (int64_t k = 0; k < w->inner; k++, at++) {
                int64_t i = s->cut == PQ_CUT_ROWS
                                ? block->first_element + at
                                : (o * l->channels + block->first_channel + c) *
                                          l->inner +
                                      k;
                atomic_fetch_add(&s->count[i], 1);
                if (w->w[at] != element(i)) {
                    atomic_store(&s->is_wrong, true);
                }
                block->bytes[at] = 1;
            }
        }
    }
}

// At an odd address, as maps of files may be.
static uint8_t *
make_elements(ptqc_dtype dtype, int64_t count)
{
    uint8_t *p = malloc((size_t)count * 4 + 2);
    assert_non_null(p);
    for (int64_t i = 0; i < count; i++) {
        float x = element(i);
        uint16_t half = pq_f32_to_f16(x);
        if (dtype == PTQC_F32) {
            memcpy(p + 1 + i * 4, &x, 4);
        } else {
            memcpy(p + 1 + i * 2, &half, 2);
        }
    }
    return p;
}

static void
check(const layout *l, ptqc_dtype dtype, pq_weight_cut cut, uint32_t threads)
{
    int64_t count = l->outer * l->channels * l->inner;
    uint8_t *p = make_elements(dtype, count);
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, threads);
    const pq_scheme scheme = {.format = PTQC_I8,
                              .granularity = l->granularity,
                              .group = 32,
                              .axis = l->axis};
    const pq_constant c = {
        .dtype = dtype, .rank = l->rank, .dims = l->dims, .p = p + 1};
    const pq_weights view = pq_weights_view(&c, &scheme);
    assert_int_equal(view.outer, l->outer);
    assert_int_equal(view.channels, l->channels);
    assert_int_equal(view.inner, l->inner);
    seen s = {.l = l, .cut = cut, .row = l->dims[l->rank - 1]};
    s.count = calloc((size_t)count + 1, sizeof *s.count);
    assert_non_null(s.count);
    assert_int_equal(pq_weights_for_blocks(ctx, &c, &scheme, cut, look, &s),
                     PTQC_OK);
    assert_false(atomic_load(&s.is_wrong));
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(s.count[i], 1);
    }
    free(s.count);
    free(p);
    ptqc_ctx_destroy(ctx);
}

static void
test_every_element_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < LAYOUTS; i++) {
        for (uint32_t threads = 1; threads <= 3; threads += 2) {
            check(&layouts[i], PTQC_F32, PQ_CUT_CHANNELS, threads);
            check(&layouts[i], PTQC_F16, PQ_CUT_CHANNELS, threads);
            check(&layouts[i], PTQC_F32, PQ_CUT_ROWS, threads);
            check(&layouts[i], PTQC_F16, PQ_CUT_ROWS, threads);
        }
    }
}

// Whole shares of scales: all of outer, and everything for one scale.
static void
count_blocks(void *user, const pq_weight_block *block)
{
    atomic_uint *count = user;
    assert_int_equal(block->weights.outer, 1);
    assert_int_equal(block->weights.channels, 900);
    atomic_fetch_add(count, 1);
}

static void
test_one_scale_is_one_block(void **state)
{
    (void)state;
    const layout *l = &layouts[4];
    uint8_t *p = make_elements(PTQC_F32, 900 * 333);
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 2);
    const pq_scheme scheme = {.format = PTQC_I8, .granularity = PQ_GRAN_TENSOR};
    const pq_constant c = {
        .dtype = PTQC_F32, .rank = 2, .dims = l->dims, .p = p + 1};
    atomic_uint count = 0;
    assert_int_equal(pq_weights_for_blocks(ctx, &c, &scheme, PQ_CUT_CHANNELS,
                                           count_blocks, &count),
                     PTQC_OK);
    assert_int_equal(count, 1);
    free(p);
    ptqc_ctx_destroy(ctx);
}

typedef struct seated {
    ptqc_ctx *ctx;
    const pq_constant *c;
    atomic_uint failures;
} seated;

static void
write_block(void *user, const pq_weight_block *block)
{
    const pq_weights *w = &block->weights;
    size_t count = (size_t)(w->outer * w->channels * w->inner);
    (void)user;
    memset(block->bytes, 1, count);
}

static void
walk_from_a_seat(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    seated *s = user;
    const pq_scheme scheme = {.format = PTQC_I8,
                              .granularity = PQ_GRAN_CHANNEL};
    (void)worker;
    for (uint64_t i = begin; i < end; i++) {
        if (pq_weights_for_blocks(s->ctx, s->c, &scheme, PQ_CUT_ROWS,
                                  write_block, NULL) != PTQC_OK) {
            atomic_fetch_add(&s->failures, 1);
        }
    }
}

// Three blocks, walked by the last of more workers: its scratch is there.
static void
test_few_blocks_many_seats(void **state)
{
    (void)state;
    const layout *l = &layouts[7];
    uint8_t *p = make_elements(PTQC_F32, 3 * 90000);
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 8);
    const pq_constant c = {
        .dtype = PTQC_F32, .rank = 2, .dims = l->dims, .p = p + 1};
    seated s = {.ctx = ctx, .c = &c};
    assert_non_null(pq_ctx_pool(ctx));
    pq_pool_for(pq_ctx_pool(ctx), 8, 1, walk_from_a_seat, &s);
    assert_int_equal(atomic_load(&s.failures), 0);
    free(p);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_element_once),
        cmocka_unit_test(test_one_scale_is_one_block),
        cmocka_unit_test(test_few_blocks_many_seats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
