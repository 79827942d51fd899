// SPDX-License-Identifier: Apache-2.0
//
// One op as a graph of its own, run by the interpreter: inputs are graph
// inputs with their data, the outputs are kept.
//
//   op_case c;
//   op_case_begin(&c, PQ_OP_ADD);
//   op_case_in(&c, PTQC_F32, DIMS(2), (float[]){1, 2});
//   op_case_in(&c, PTQC_F32, DIMS(2), (float[]){3, 4});
//   op_case_run(&c);
//   ... op_case_f32(&c, 0) ...
//   op_case_end(&c);
#ifndef PTQC_TESTS_INTERP_OP_CASE_H
#define PTQC_TESTS_INTERP_OP_CASE_H

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "ir/builder.h"
#include "ir/interp/interp.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/compare.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

#define DIMS(...)                                                              \
    (const int64_t[]){__VA_ARGS__},                                            \
        (uint32_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))
#define NO_DIMS  NULL, 0
#define CASE_MAX 12

static const pq_test_tolerance op_case_exact = {0};

typedef struct op_case {
    pq_test_sink sink;
    ptqc_ctx *ctx;
    pq_graph *g;
    pq_builder b;
    pq_opcode code;
    pq_tensor in[CASE_MAX];
    uint32_t in_count;
    pq_quant_id out_quant[3]; // none: as inferred
    ptqc_dtype out_dtype[3];
    pq_op_id op;
    pq_value_id outs[3];
    uint32_t out_count;
    pq_tensor out[3]; // copies
    ptqc_status st;   // of the run
} op_case;

static inline void
op_case_begin(op_case *c, pq_opcode code)
{
    memset(c, 0, sizeof *c);
    c->ctx = pq_test_ctx_create(&c->sink, NULL, 1);
    assert_int_equal(pq_graph_create(c->ctx, &c->g), PTQC_OK);
    c->code = code;
    pq_build_begin(&c->b, c->g, (pq_op_id){0}, code, PQ_STR("op"));
}

static inline pq_value_id
op_case_in(op_case *c, ptqc_dtype dtype, const int64_t *dims, uint32_t rank,
           const void *p)
{
    pq_dim d[PTQC_MAX_RANK];
    pq_type type;
    pq_tensor *t = &c->in[c->in_count];
    *t = (pq_tensor){.dtype = dtype, .rank = rank};
    for (uint32_t i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        d[i] = pq_dim_const(c->g, dims[i]);
    }
    assert_true(pq_dtype_bytes(dtype, t->dims, rank, &t->bytes));
    t->p = pq_alloc(c->ctx, t->bytes);
    memcpy(t->p, p, t->bytes);
    assert_true(pq_type_make(c->g, dtype, d, rank, &type));
    pq_value_id v = pq_graph_add_value(c->g, (pq_str){0}, type);
    assert_int_equal(pq_graph_add_input(c->g, v), PTQC_OK);
    c->in_count++;
    pq_build_input(&c->b, v);
    return v;
}

static inline void
op_case_absent(op_case *c)
{
    pq_build_input(&c->b, PQ_NO_VALUE);
}

static inline pq_const_id
op_case_constant(op_case *c, ptqc_dtype dtype, const void *p, int64_t n)
{
    int64_t *dims = pq_arena_memdup(pq_graph_arena(c->g), &n, sizeof n);
    size_t bytes = (size_t)n * 4;
    pq_constant k = {.dtype = dtype,
                     .rank = 1,
                     .dims = dims,
                     .p = pq_arena_memdup(pq_graph_arena(c->g), p, bytes),
                     .bytes = bytes};
    return pq_graph_add_constant(c->g, &k);
}

// n scales along `axis` (n = 1: per tensor); group 0: per channel.
static inline pq_quant_id
op_case_scales(op_case *c, ptqc_dtype format, const float *scale,
               const int32_t *zero, int64_t n, uint32_t axis, uint32_t group)
{
    pq_quant q = {.scheme = {.format = format,
                             .granularity = group > 0 ? PQ_GRAN_GROUP
                                            : n > 1   ? PQ_GRAN_CHANNEL
                                                      : PQ_GRAN_TENSOR,
                             .axis = axis,
                             .group = group}};
    q.scale = op_case_constant(c, PTQC_F32, scale, n);
    q.zero_point = op_case_constant(c, PTQC_I32, zero, n);
    return pq_graph_add_quant(c->g, &q);
}

static inline pq_quant_id
op_case_scale(op_case *c, ptqc_dtype format, float scale, int32_t zero)
{
    return op_case_scales(c, format, &scale, &zero, 1, 0, 0);
}

static inline pq_value_id
op_case_codes(op_case *c, ptqc_dtype format, const int64_t *dims, uint32_t rank,
              const void *p, pq_quant_id q)
{
    pq_value_id v = op_case_in(c, format, dims, rank, p);
    pq_value_set_quant(c->g, v, format, q);
    return v;
}

static inline void
op_case_out_quant(op_case *c, uint32_t i, ptqc_dtype dtype, pq_quant_id q)
{
    c->out_quant[i] = q;
    c->out_dtype[i] = dtype;
}

static inline ptqc_status
op_case_observe(void *user, pq_value_id v, const pq_tensor *t)
{
    op_case *c = user;
    for (uint32_t i = 0; i < c->out_count; i++) {
        if (pq_value_equal(c->outs[i], v)) {
            c->out[i] = *t;
            c->out[i].p = pq_alloc(c->ctx, t->bytes);
            memcpy(c->out[i].p, t->p, t->bytes);
        }
    }
    return PTQC_OK;
}

static inline void
op_case_build(op_case *c)
{
    ptqc_status st = pq_build_end(&c->b, NULL, c->outs, &c->op);
    if (st != PTQC_OK) {
        print_error("%s", c->sink.text);
    }
    assert_int_equal(st, PTQC_OK);
    const pq_op *op = pq_graph_op(c->g, c->op);
    c->out_count = op->output_count;
    for (uint32_t i = 0; i < c->out_count; i++) {
        if (c->out_dtype[i] != 0) {
            pq_value_set_quant(c->g, c->outs[i], c->out_dtype[i],
                               c->out_quant[i]);
        }
        assert_int_equal(pq_graph_add_output(c->g, c->outs[i]), PTQC_OK);
    }
}

// Builds and runs; c->st says how it went.
static inline void
op_case_try(op_case *c)
{
    pq_runner *r;
    op_case_build(c);
    assert_int_equal(pq_interp_make(c->ctx, c->g, NULL, 0, &r), PTQC_OK);
    c->st = r->run(r, c->in, op_case_observe, c);
    r->destroy(r);
}

static inline void
op_case_run(op_case *c)
{
    op_case_try(c);
    if (c->st != PTQC_OK) {
        print_error("%s", c->sink.text);
    }
    assert_int_equal(c->st, PTQC_OK);
}

static inline void
op_case_end(op_case *c)
{
    for (uint32_t i = 0; i < CASE_MAX; i++) {
        pq_free(c->ctx, c->in[i].p);
    }
    for (uint32_t i = 0; i < 3; i++) {
        pq_free(c->ctx, c->out[i].p);
    }
    pq_graph_destroy(c->g);
    ptqc_ctx_destroy(c->ctx);
}

// Output i has these elements.
static inline void
op_case_expect_f32(const op_case *c, uint32_t i, const float *want, size_t n,
                   pq_test_tolerance tolerance)
{
    assert_int_equal(c->out[i].dtype, PTQC_F32);
    assert_int_equal(c->out[i].bytes, n * 4);
    assert_true(pq_test_same_f32(pq_op_info_of(c->code)->name, c->out[i].p,
                                 want, n, tolerance));
}

static inline void
op_case_expect_bytes(const op_case *c, uint32_t i, const void *want,
                     size_t bytes)
{
    assert_int_equal(c->out[i].bytes, bytes);
    assert_true(pq_test_same_bytes(pq_op_info_of(c->code)->name, c->out[i].p,
                                   want, bytes));
}

#define EXPECT_F32(c, ...)                                                     \
    op_case_expect_f32((c), 0, (const float[]){__VA_ARGS__},                   \
                       sizeof((const float[]){__VA_ARGS__}) / sizeof(float),   \
                       op_case_exact)
#define EXPECT(c, type, ...)                                                   \
    op_case_expect_bytes((c), 0, (const type[]){__VA_ARGS__},                  \
                         sizeof((const type[]){__VA_ARGS__}))

#endif
