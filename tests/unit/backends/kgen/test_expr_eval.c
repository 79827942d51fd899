// SPDX-License-Identifier: Apache-2.0
//
// The interpreter of expressions against numbers worked out by hand; the
// printer and the builder of LLVM IR are compared with it (test_kernel_expr.c,
// backends/cpu/test_expr.c).
#include <math.h>
#include <string.h>

#include "backends/kgen/expr_eval.h"
#include "base/float16.h"
#include "tests/support/cmocka_test.h"

typedef struct eval_case {
    uint8_t code, result, from[3];
    int64_t in[3]; // f32, f64: the number; else the stored bits
    int64_t want;
} eval_case;

#define NONE  PTQC_DTYPE_NONE
#define MIN64 INT64_MIN

// clang-format off
static const eval_case CASES[] = {
    {PQ_EXPR_ADD, PTQC_I8, {PTQC_I8, PTQC_I8}, {127, 1}, -128},
    {PQ_EXPR_ADD, PTQC_U8, {PTQC_U8, PTQC_U8}, {255, 2}, 1},
    {PQ_EXPR_ADD, PTQC_I64, {PTQC_I64, PTQC_I64}, {INT64_MAX, 1}, MIN64},
    {PQ_EXPR_MUL, PTQC_I64, {PTQC_I64, PTQC_I64}, {1 << 30, 1 << 30},
     (int64_t)1 << 60},
    {PQ_EXPR_DIV, PTQC_I32, {PTQC_I32, PTQC_I32}, {-7, 2}, -3},
    {PQ_EXPR_DIV, PTQC_I64, {PTQC_I64, PTQC_I64}, {MIN64, -1}, MIN64},
    {PQ_EXPR_DIV, PTQC_U64, {PTQC_U64, PTQC_U64}, {-1, 2}, INT64_MAX},
    {PQ_EXPR_DIV, PTQC_I32, {PTQC_I32, PTQC_I32}, {5, 0}, 0},
    {PQ_EXPR_MOD, PTQC_I32, {PTQC_I32, PTQC_I32}, {-7, 3}, 2},
    {PQ_EXPR_FMOD, PTQC_I32, {PTQC_I32, PTQC_I32}, {-7, 3}, -1},
    {PQ_EXPR_SHR, PTQC_I8, {PTQC_I8, PTQC_I8}, {-128, 1}, 64},
    {PQ_EXPR_SHL, PTQC_I32, {PTQC_I32, PTQC_I32}, {1, 32}, 0},
    {PQ_EXPR_NOT, PTQC_BOOL, {PTQC_BOOL}, {1}, 0},
    {PQ_EXPR_LT, PTQC_BOOL, {PTQC_U32, PTQC_U32}, {1, -1}, 1},
    {PQ_EXPR_LT, PTQC_BOOL, {PTQC_I32, PTQC_I32}, {1, -1}, 0},
    {PQ_EXPR_WHERE, PTQC_I32, {PTQC_BOOL, PTQC_I32, PTQC_I32}, {0, 5, 6}, 6},
    {PQ_EXPR_CAST, PTQC_I32, {PTQC_F32}, {-2}, -2},
    {PQ_EXPR_CAST, PTQC_U8, {PTQC_F32}, {300}, 255},
    {PQ_EXPR_CAST, PTQC_U8, {PTQC_I32}, {300}, 44},
    {PQ_EXPR_CAST, PTQC_BOOL, {PTQC_I64}, {(int64_t)1 << 40}, 1},
    {PQ_EXPR_CAST, PTQC_F32, {PTQC_I64}, {(int64_t)1 << 40}, (int64_t)1 << 40},
    {PQ_EXPR_CAST, PTQC_F32, {PTQC_F16}, {0xc000}, -2},
    {PQ_EXPR_CAST, PTQC_F16, {PTQC_F32}, {-2}, 0xc000},
    {PQ_EXPR_RELU, PTQC_F32, {PTQC_F32}, {-3}, 0},
    {PQ_EXPR_FMA, PTQC_F64, {PTQC_F64, PTQC_F64, PTQC_F64}, {3, 4, 5}, 17},
    {PQ_EXPR_QUANTIZE, PTQC_U8, {PTQC_F32, PTQC_F32, PTQC_I32}, {9, 2, 3}, 7},
    {PQ_EXPR_QUANTIZE_MUL, PTQC_I8, {PTQC_F32, PTQC_F32, PTQC_I32},
     {99, 2, -3}, 127},
    {PQ_EXPR_DEQUANTIZE, PTQC_F32, {PTQC_U8, PTQC_F32, PTQC_I32}, {7, 2, 3},
     8},
};
// clang-format on

static void
put(uint32_t dtype, int64_t x, uint8_t out[8])
{
    pq_expr_scalar v = {(float)x, (double)x, x};
    memset(out, 0, 8);
    pq_expr_store(dtype, v, out);
}

static uint32_t
count_of(const eval_case *c)
{
    uint32_t n = 0;
    while (n < 3 && c->from[n] != NONE) {
        n++;
    }
    return n;
}

static void
test_ops(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const eval_case *c = &CASES[i];
        uint32_t n = count_of(c);
        uint8_t in[3][8], got[8] = {0}, want[8];
        pq_expr_desc d = {
            .op_count = n + 1, .input_count = n, .output_count = 1};
        for (uint32_t k = 0; k < n; k++) {
            put(c->from[k], c->in[k], in[k]);
            d.ops[k] = (pq_expr_op){
                .code = PQ_EXPR_LOAD, .dtype = c->from[k], .index = (uint8_t)k};
        }
        d.ops[n] = (pq_expr_op){.code = c->code,
                                .dtype = c->result,
                                .b = n > 1,
                                .c = n > 2 ? 2 : 0};
        d.results[0] = (uint8_t)n;
        assert_null(pq_expr_check(&d));
        const uint8_t *inputs[3] = {in[0], in[1], in[2]};
        uint8_t *outputs[1] = {got};
        pq_expr_eval(&d, inputs, outputs);
        put(c->result, c->want, want);
        if (memcmp(got, want, 8) != 0) {
            fail_msg("%zu: %s", i, pq_expr_name((pq_expr_code)c->code));
        }
    }
}

// A chain with a parameter and two results: y = relu(2 x), z = y < 3.
static void
test_chain(void **state)
{
    (void)state;
    const pq_expr_desc d = {
        .op_count = 6,
        .input_count = 1,
        .output_count = 2,
        .param_count = 2,
        .ops = {{.code = PQ_EXPR_LOAD, .dtype = PTQC_F32},
                {.code = PQ_EXPR_PARAM, .dtype = PTQC_F32},
                {.code = PQ_EXPR_MUL, .dtype = PTQC_F32, .a = 0, .b = 1},
                {.code = PQ_EXPR_RELU, .dtype = PTQC_F32, .a = 2},
                {.code = PQ_EXPR_PARAM, .dtype = PTQC_F32, .index = 1},
                {.code = PQ_EXPR_LT, .dtype = PTQC_BOOL, .a = 3, .b = 4}},
        .results = {3, 5},
        .params = {{.f32 = 2.0f}, {.f32 = 3.0f}},
    };
    static const float xs[] = {-1.0f, 1.0f, 2.0f, NAN};
    assert_null(pq_expr_check(&d));
    for (size_t i = 0; i < 4; i++) {
        uint8_t x[4], y[4], z[1];
        float got;
        const uint8_t *inputs[1] = {x};
        uint8_t *outputs[2] = {y, z};
        memcpy(x, &xs[i], 4);
        pq_expr_eval(&d, inputs, outputs);
        memcpy(&got, y, 4);
        assert_true(i == 3 ? isnan(got)
                           : got == (xs[i] < 0.0f ? 0.0f : 2.0f * xs[i]));
        assert_int_equal(z[0], i < 2);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops),
        cmocka_unit_test(test_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
