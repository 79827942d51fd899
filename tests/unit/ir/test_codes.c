// SPDX-License-Identifier: Apache-2.0
//
// Constants of codes: their bytes are what quant/ makes of the whole weight,
// for any number of threads; they are given back; clones and texts keep them.
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/builder.h"
#include "ir/graph_internal.h"
#include "ir/text.h"
#include "ir/weights.h"
#include "quant/pack.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

typedef struct sample {
    ptqc_dtype format;
    pq_granularity granularity;
    uint32_t axis, group;
    int64_t dims[3];
    uint32_t rank;
} sample;

static const sample samples[] = {
    {PTQC_I8, PQ_GRAN_CHANNEL, 0, 0, {300, 517}, 2},
    {PTQC_U8, PQ_GRAN_CHANNEL, 1, 0, {300, 517}, 2},
    {PTQC_U4, PQ_GRAN_GROUP, 1, 32, {700, 165}, 2},
    {PTQC_I4, PQ_GRAN_CHANNEL, 0, 0, {300, 517}, 2},
    {PTQC_I4, PQ_GRAN_CHANNEL, 1, 0, {300, 517}, 2},
    {PTQC_I8, PQ_GRAN_CHANNEL, 1, 0, {21, 90, 77}, 3},
    {PTQC_I8, PQ_GRAN_TENSOR, 0, 0, {300, 517}, 2},
    {PTQC_U4, PQ_GRAN_GROUP, 1, 32, {3, 5}, 2},
};

#define SAMPLES (sizeof samples / sizeof *samples)

static int64_t
count_of(const sample *s)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < s->rank; i++) {
        n *= s->dims[i];
    }
    return n;
}

static float *
make_reals(const sample *s)
{
    size_t n = (size_t)count_of(s);
    float *w = malloc(n * sizeof *w);
    pq_test_random r = pq_test_random_seed(11);
    assert_non_null(w);
    pq_test_fill_normal(&r, w, n, 1);
    return w;
}

static pq_const_id
add_array(pq_graph *g, ptqc_dtype dtype, const void *p, int64_t n)
{
    pq_constant c = {
        .dtype = dtype, .rank = 1, .dims = &n, .bytes = (size_t)n * 4};
    c.p = pq_arena_memdup(pq_graph_arena(g), p, c.bytes);
    return c.p != NULL ? pq_graph_add_constant(g, &c) : (pq_const_id){0};
}

// A graph with the weight and its codes; *out_plain: the codes by the whole
// weight at once, packed (malloc).
static ptqc_status
make_graph(ptqc_ctx *ctx, const sample *s, const float *w, pq_graph **out,
           pq_const_id *out_codes, uint8_t **out_plain)
{
    pq_constant c = {.dtype = PTQC_F32,
                     .rank = s->rank,
                     .dims = s->dims,
                     .p = w,
                     .bytes = (size_t)count_of(s) * sizeof *w};
    pq_quant q = {.scheme = {.format = s->format,
                             .granularity = s->granularity,
                             .axis = s->axis,
                             .group = s->group,
                             .symmetric = s->format != PTQC_U8}};
    pq_weights view = pq_weights_view(&c, &q.scheme);
    view.w = w;
    int64_t scales = pq_weights_scale_count(&view);
    float *scale = malloc((size_t)scales * sizeof *scale);
    int32_t *zero = malloc((size_t)scales * sizeof *zero);
    uint8_t *codes = malloc((size_t)count_of(s));
    pq_choose_weight_params(&view, scale, zero);
    pq_encode_weights(&view, scale, zero, codes);
    ptqc_status st = pq_graph_create(ctx, out);
    if (st == PTQC_OK) {
        pq_const_id weight = pq_graph_add_constant(*out, &c);
        q.scale = add_array(*out, PTQC_F32, scale, scales);
        q.zero_point = add_array(*out, PTQC_I32, zero, scales);
        pq_quant_id quant = pq_graph_add_quant(*out, &q);
        bool is_good =
            !pq_const_is_none(weight) && !pq_const_is_none(q.scale) &&
            !pq_const_is_none(q.zero_point) && !pq_quant_is_none(quant);
        *out_codes = is_good ? pq_graph_add_codes(*out, weight, quant)
                             : (pq_const_id){0};
    }
    if (out_plain != NULL) {
        size_t row = (size_t)s->dims[s->rank - 1];
        unsigned bits = pq_dtype_bits(s->format);
        size_t row_bytes = pq_packed_bytes(row, bits);
        size_t rows = (size_t)count_of(s) / row;
        *out_plain = malloc(rows * row_bytes);
        for (size_t i = 0; i < rows; i++) {
            pq_pack_row(codes + i * row, row, bits, *out_plain + i * row_bytes);
        }
    }
    free(scale);
    free(zero);
    free(codes);
    return st;
}

static void
check(const sample *s, uint32_t threads)
{
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, threads);
    float *w = make_reals(s);
    pq_graph *g = NULL, *clone = NULL;
    pq_const_id id;
    uint8_t *plain;
    assert_non_null(pq_ctx_pool(ctx));
    assert_int_equal(make_graph(ctx, s, w, &g, &id, &plain), PTQC_OK);
    const pq_constant *c = pq_graph_constant(g, id);
    assert_null(c->p);
    assert_int_equal(c->dtype, s->format);
    uint64_t before = pq_live_bytes(ctx);
    const void *p = pq_graph_constant_bytes(g, id);
    assert_non_null(p);
    assert_memory_equal(p, plain, c->bytes);
    assert_ptr_equal(pq_graph_constant_bytes(g, id), p); // made once
    pq_graph_release_constant(g, id);
    assert_int_equal(pq_live_bytes(ctx), before);
    for (int own = 0; own < 2; own++) {
        assert_int_equal(pq_graph_clone(g, own != 0, &clone), PTQC_OK);
        assert_memory_equal(pq_graph_constant_bytes(clone, id), plain,
                            c->bytes);
        pq_graph_destroy(clone); // with bytes that nobody gave back
    }
    pq_graph_destroy(g);
    free(plain);
    free(w);
    ptqc_ctx_destroy(ctx);
}

static void
test_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        for (uint32_t threads = 1; threads <= 5; threads++) {
            check(&samples[i], threads);
        }
    }
}

static const pq_sha256 *
hash_of(pq_graph *g, pq_const_id id)
{
    const pq_sha256 *hash = NULL;
    assert_int_equal(pq_graph_constant_hash(g, id, &hash), PTQC_OK);
    return hash;
}

// Of codes that are made of the same 48 bytes by the same scale.
static pq_sha256
hash_of_view(ptqc_ctx *ctx, ptqc_dtype dtype, const int64_t *dims,
             uint32_t rank)
{
    static const uint8_t bytes[48] = {1, 2, 3};
    const float scale = 1;
    const int32_t zero = 0;
    pq_graph *g;
    pq_constant c = {.dtype = dtype, .rank = rank, .dims = dims, .p = bytes};
    pq_quant q = {.scheme = {.format = PTQC_I8, .symmetric = true}};
    q.scheme.granularity = PQ_GRAN_TENSOR;
    assert_true(pq_dtype_bytes(dtype, dims, rank, &c.bytes));
    assert_int_equal(c.bytes, sizeof bytes);
    assert_int_equal(pq_graph_create(ctx, &g), PTQC_OK);
    pq_const_id weight = pq_graph_add_constant(g, &c);
    q.scale = add_array(g, PTQC_F32, &scale, 1);
    q.zero_point = add_array(g, PTQC_I32, &zero, 1);
    pq_sha256 hash =
        *hash_of(g, pq_graph_add_codes(g, weight, pq_graph_add_quant(g, &q)));
    pq_graph_destroy(g);
    return hash;
}

// Bytes that are read as other elements, or lie in another shape.
static void
test_hash_of_views(void **state)
{
    (void)state;
    static const struct {
        ptqc_dtype dtype;
        int64_t dims[3];
        uint32_t rank;
    } views[] = {
        {PTQC_F32, {3, 4}, 2},    {PTQC_F32, {4, 3}, 2},
        {PTQC_F32, {12}, 1},      {PTQC_F32, {3, 4, 1}, 3},
        {PTQC_F32, {1, 3, 4}, 3}, {PTQC_F16, {4, 6}, 2},
        {PTQC_BF16, {4, 6}, 2},
    };
    const size_t count = sizeof views / sizeof *views;
    pq_sha256 hashes[sizeof views / sizeof *views];
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (size_t i = 0; i < count; i++) {
        hashes[i] =
            hash_of_view(ctx, views[i].dtype, views[i].dims, views[i].rank);
        for (size_t k = 0; k < i; k++) {
            assert_memory_not_equal(&hashes[i], &hashes[k], sizeof *hashes);
        }
    }
    ptqc_ctx_destroy(ctx);
}

// The hash tells other codes apart, and does not make them.
static void
test_hash(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    const sample *a = &samples[7];
    sample b = *a;
    float *w = make_reals(a);
    pq_graph *first, *second, *other;
    pq_const_id id;
    b.group = 16; // one group all the same: only the scheme differs
    assert_int_equal(make_graph(ctx, a, w, &first, &id, NULL), PTQC_OK);
    assert_int_equal(make_graph(ctx, a, w, &second, &id, NULL), PTQC_OK);
    assert_int_equal(make_graph(ctx, &b, w, &other, &id, NULL), PTQC_OK);
    assert_memory_equal(hash_of(first, id), hash_of(second, id),
                        sizeof(pq_sha256));
    assert_memory_not_equal(hash_of(first, id), hash_of(other, id),
                            sizeof(pq_sha256));
    assert_null(pq_graph_constant_slot(first, id)->made);
    pq_graph_destroy(first);
    pq_graph_destroy(second);
    pq_graph_destroy(other);
    free(w);
    ptqc_ctx_destroy(ctx);
}

// The text has the codes themselves.
static void
test_text(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    const sample *s = &samples[7];
    float *w = make_reals(s);
    pq_graph *g, *parsed = NULL;
    pq_const_id id;
    uint8_t *plain;
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    assert_int_equal(make_graph(ctx, s, w, &g, &id, &plain), PTQC_OK);
    pq_value_id v = pq_graph_add_constant_value(g, PQ_STR("w"), id);
    pq_value_set_quant(g, v, s->format, pq_graph_constant_slot(g, id)->quant);
    pq_graph_set_stage(g, PQ_STAGE_QUANTIZED);
    assert_int_equal(pq_graph_add_output(g, v), PTQC_OK);
    assert_int_equal(pq_graph_print(g, 0, &text), PTQC_OK);
    assert_null(pq_graph_constant_slot(g, id)->made); // given back
    assert_int_equal(
        pq_graph_parse(ctx, "test", (pq_str){text.p, text.n}, &parsed),
        PTQC_OK);
    const pq_value *back =
        pq_graph_value(parsed, pq_graph_find_value(parsed, PQ_STR("w")));
    const pq_constant *c = pq_graph_constant(parsed, back->constant);
    assert_memory_equal(c->p, plain, c->bytes);
    pq_graph_destroy(parsed);
    pq_graph_destroy(g);
    pq_strbuf_deinit(&text);
    free(plain);
    free(w);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
make_and_read(ptqc_ctx *ctx, void *user)
{
    pq_graph *g = NULL;
    pq_const_id id = {0};
    ptqc_status st = make_graph(ctx, &samples[7], user, &g, &id, NULL);
    if (st == PTQC_OK && pq_const_is_none(id)) {
        st = PTQC_E_RESOURCE;
    }
    if (st == PTQC_OK && pq_graph_constant_bytes(g, id) == NULL) {
        st = PTQC_E_RESOURCE;
    }
    pq_graph_destroy(g);
    return st;
}

static void
test_out_of_memory(void **state)
{
    (void)state;
    float *w = make_reals(&samples[7]);
    assert_true(pq_test_alloc_sweep(make_and_read, w) > 5);
    free(w);
}

static ptqc_status
make_and_clone(ptqc_ctx *ctx, void *user)
{
    pq_graph *g = NULL, *clone = NULL;
    pq_const_id id = {0};
    ptqc_status st = make_graph(ctx, &samples[7], user, &g, &id, NULL);
    if (st == PTQC_OK &&
        (pq_const_is_none(id) || pq_graph_constant_bytes(g, id) == NULL)) {
        st = PTQC_E_RESOURCE;
    }
    // so many that tables and arena grow behind the slot of the codes
    for (uint32_t i = 0; i < 500 && st == PTQC_OK; i++) {
        pq_const_id more = add_array(g, PTQC_F32, &(float){1}, 1);
        st = pq_const_is_none(more) ? PTQC_E_RESOURCE : PTQC_OK;
    }
    if (st == PTQC_OK) {
        st = pq_graph_clone(g, true, &clone);
    }
    pq_graph_destroy(clone);
    pq_graph_destroy(g);
    return st;
}

// A clone that fails half-way leaves made bytes to the graph that owns them.
static void
test_clone_out_of_memory(void **state)
{
    (void)state;
    float *w = make_reals(&samples[7]);
    assert_true(pq_test_alloc_sweep(make_and_clone, w) > 10);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_hash_of_views),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_clone_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
