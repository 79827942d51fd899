// SPDX-License-Identifier: Apache-2.0
//
// Elementwise kernels on a device: every op with every type kernels have,
// broadcasts, tails of words.
#include "backends/kgen/expr_eval.h"
#include "backends/kgen/move.h"
#include "base/float16.h"
#include "kernel_host.h"

#define COUNT_MAX 4096

static uint8_t INPUTS[3][COUNT_MAX * 8];
static uint8_t GOT[COUNT_MAX * 8], WANT[COUNT_MAX * 8];

static const uint8_t KERNEL_TYPES[] = {
    PTQC_F32, PTQC_F16, PTQC_BF16, PTQC_I8,  PTQC_U8,  PTQC_I16,
    PTQC_U16, PTQC_I32, PTQC_U32,  PTQC_I64, PTQC_U64, PTQC_BOOL};
#define TYPE_COUNT (sizeof KERNEL_TYPES)

// Elements of a type: special values, small values, any bits.
static void
fill(uint32_t dtype, uint8_t *p, int64_t n, uint64_t seed)
{
    static const float special[] = {
        0.0f, -0.0f, 1.0f, -1.0f, 2.5f, -3.5f, 1e20f, -1e9f, 300.0f, 0.5f,
        1e-30f, INFINITY, -INFINITY, NAN, 127.5f, 65520.0f,
        // f16: denormals, ties between them, the least normal one
        3.1e-6f, 2.98023224e-8f, 8.94069672e-8f, 6.1e-5f, 6.10351562e-5f};
    pq_test_random r = pq_test_random_seed(seed);
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = pq_test_random_u64(&r);
        float x = (bits & 3) == 0
                      ? special[(bits >> 4) % (sizeof special / 4)]
                      : (float)((int32_t)(bits >> 20) % 4000) * 0.013f;
        pq_expr_scalar v = {.whole = (int64_t)(bits >> 8), .f32 = x};
        if (pq_kg_element_bytes(dtype) == 8) {
            v.whole = (int64_t)(bits * UINT64_C(0x9e3779b97f4a7c15));
        }
        if (dtype == PTQC_F16) {
            v.whole = pq_f32_to_f16(x);
        } else if (dtype == PTQC_BF16) {
            v.whole = pq_f32_to_bf16(x);
        } else if (dtype == PTQC_BOOL) {
            v.whole = (int64_t)(bits >> 33 & 1);
        } else if ((bits & 1) != 0) {
            v.whole = (int64_t)(bits >> 40) % 9 -
                      (pq_expr_dtype_is_signed(dtype) ? 4 : 0);
        }
        pq_expr_store(dtype, v, p + i * (int64_t)pq_kg_element_bytes(dtype));
    }
}

static const uint8_t arg_counts[PQ_EXPR_CODE_COUNT] = {
#define EXPR(NAME, text, args, check) args,
#include "backends/kgen/expr_ops.def"
#undef EXPR
};

// n elements: LOAD of each operand's type, then the op.
static pq_expr_desc
one_op(uint32_t code, uint32_t result, const uint32_t *from)
{
    pq_expr_desc d = {.output_count = 1};
    uint32_t args = arg_counts[code];
    for (uint32_t i = 0; i < args; i++) {
        d.ops[i] = (pq_expr_op){.code = PQ_EXPR_LOAD,
                                .dtype = (uint8_t)from[i],
                                .index = (uint8_t)i};
    }
    d.ops[args] = (pq_expr_op){.code = (uint8_t)code,
                               .dtype = (uint8_t)result,
                               .b = args > 1,
                               .c = args > 2 ? 2 : 0};
    d.op_count = args + 1;
    d.input_count = args;
    d.results[0] = (uint8_t)args;
    return d;
}

static void
add_desc(kernel_step *s, const pq_expr_desc *d, uint32_t rank)
{
    kernel_param(s, d->op_count);
    kernel_param(s, d->param_count);
    kernel_param(s, d->results[0]);
    kernel_param(s, rank);
    for (uint32_t i = 0; i < d->op_count; i++) {
        const pq_expr_op *op = &d->ops[i];
        kernel_param(
            s, kernel_op(op->code, op->dtype, op->a, op->b, op->c, op->index));
    }
    for (uint32_t i = 0; i < d->param_count; i++) {
        kernel_param(s, d->params[i].integer);
    }
}

static float
as_real(uint32_t dtype, const uint8_t *p)
{
    pq_expr_scalar v = pq_expr_load(dtype, p);
    return dtype == PTQC_F32    ? v.f32
           : dtype == PTQC_F16  ? pq_f16_to_f32((uint16_t)v.whole)
           : dtype == PTQC_BF16 ? pq_bf16_to_f32((uint16_t)v.whole)
                                : 0.0f;
}

// Floats of functions may be off by some ulp where fma rounds twice, all else
// is equal.
static bool
is_same(uint32_t dtype, uint32_t code, const uint8_t *a, const uint8_t *b,
        float exponent)
{
    if (!(dtype == PTQC_F32 || dtype == PTQC_F16 || dtype == PTQC_BF16)) {
        return memcmp(a, b, pq_kg_element_bytes(dtype)) == 0;
    }
    float x = as_real(dtype, a), y = as_real(dtype, b);
    if (isnan(x) || isnan(y)) {
        return isnan(x) && isnan(y);
    }
    bool is_function = code == PQ_EXPR_POW || code == PQ_EXPR_FMOD ||
                       code == PQ_EXPR_MOD || code == PQ_EXPR_FMA ||
                       (code >= PQ_EXPR_EXP && code <= PQ_EXPR_HARDSWISH) ||
                       (code >= PQ_EXPR_CLIP && code <= PQ_EXPR_SHRINK);
    float size = fabsf(y) > 1.0f ? fabsf(y) : 1.0f;
    uint64_t ulp = is_function ? 8 : 0;
    if (code == PQ_EXPR_POW) { // pow_positive in math.kg
        ulp += (uint64_t)(4.0f * fminf(fabsf(exponent), 1e6f));
    }
    return pq_test_ulp_f32(x, y) <= ulp ||
           (is_function && fabsf(x - y) <= 4e-7f * size) ||
           (fabsf(x) < 1.2e-38f && fabsf(y) < 1.2e-38f);
}

static void
check_op(const pq_expr_desc *d, int64_t n)
{
    kernel_step s = {.kind = PQ_STEP_EXPR};
    uint32_t code = d->ops[d->op_count - 1].code;
    uint32_t result = d->ops[d->results[0]].dtype;
    const uint8_t *in[PQ_EXPR_MAX_INPUTS];
    for (uint32_t i = 0; i < d->input_count; i++) {
        uint32_t t = d->ops[i].dtype;
        fill(t, INPUTS[i], n, 77 + i);
        if (i == 2 && code >= PQ_EXPR_QUANTIZE) { // zero points
            for (int64_t k = 0; k < n; k++) {
                int32_t zero =
                    (int32_t)(k % 256) - (result == PTQC_U8 ? 0 : 128);
                memcpy(INPUTS[i] + 4 * k, &zero, sizeof zero);
            }
        }
        kernel_in(&s, t, KERNEL_DIMS(n), INPUTS[i]);
    }
    kernel_out(&s, result, KERNEL_DIMS(n), GOT);
    add_desc(&s, d, 1);
    for (uint32_t i = 0; i < d->input_count; i++) {
        kernel_param(&s, kernel_map(1, 1));
    }
    kernel_run(&s);
    for (int64_t i = 0; i < n; i++) {
        uint8_t want[8] = {0}, *out[1] = {want};
        for (uint32_t k = 0; k < d->input_count; k++) {
            in[k] = INPUTS[k] + i * pq_kg_element_bytes(d->ops[k].dtype);
        }
        const uint8_t *got = GOT + i * pq_kg_element_bytes(result);
        pq_expr_eval(d, in, out);
        float exponent =
            d->input_count > 1 ? as_real(d->ops[1].dtype, in[1]) : 0.0f;
        bool is_far = (code == PQ_EXPR_MOD || code == PQ_EXPR_FMOD) &&
                      result == PTQC_F32 &&
                      fabsf(as_real(PTQC_F32, in[0]) / exponent) >= 0x1p+24f;
        if (!is_far && !is_same(result, code, got, want, exponent)) {
            pq_expr_scalar v = pq_expr_load(result, got),
                           w = pq_expr_load(result, want);
            pq_expr_scalar x = pq_expr_load(d->ops[0].dtype, in[0]);
            pq_expr_scalar y = d->input_count > 1
                                   ? pq_expr_load(d->ops[1].dtype, in[1])
                                   : (pq_expr_scalar){0};
            fail_msg("%s %u -> %u of %.9g %.9g (%lld): got %.9g (%lld), want "
                     "%.9g (%lld)",
                     pq_expr_name((pq_expr_code)code), d->ops[0].dtype, result,
                     (double)x.f32, (double)y.f32, (long long)x.whole,
                     (double)v.f32, (long long)v.whole, (double)w.f32,
                     (long long)w.whole);
        }
    }
}

// Types kernels are tried with: of integers one of each width and sign.
static bool
is_tried(uint32_t code, uint32_t a, uint32_t r)
{
    bool is_cast = code == PQ_EXPR_CAST;
    if (a == PTQC_F64 || r == PTQC_F64) {
        return false;
    }
    if (is_cast) {
        return a == PTQC_F32 || r == PTQC_F32 || a == PTQC_I32 ||
               a == PTQC_I64 || a == PTQC_U64 || r == PTQC_I64 ||
               (a == PTQC_U8 && r == PTQC_I8) || r == PTQC_BOOL;
    }
    return a != PTQC_U32 && a != PTQC_I16;
}

static void
test_ops(void **state)
{
    (void)state;
    uint32_t seen = 0;
    for (uint32_t code = 0; code < PQ_EXPR_CODE_COUNT; code++) {
        for (uint32_t i = 0; i < TYPE_COUNT * TYPE_COUNT; i++) {
            uint32_t a = KERNEL_TYPES[i / TYPE_COUNT];
            uint32_t r = KERNEL_TYPES[i % TYPE_COUNT];
            const uint32_t mixes[3][3] = {
                {a, a, a}, {PTQC_BOOL, r, r}, {a, PTQC_F32, PTQC_I32}};
            uint32_t mix =
                code == PQ_EXPR_WHERE                                    ? 1
                : code >= PQ_EXPR_QUANTIZE && code <= PQ_EXPR_DEQUANTIZE ? 2
                                                                         : 0;
            if (arg_counts[code] == 0 || !is_tried(code, a, r) ||
                (mix == 1 && a != PTQC_BOOL)) {
                continue;
            }
            pq_expr_desc d = one_op(code, r, mixes[mix]);
            if (pq_expr_check(&d) == NULL) {
                check_op(&d, 333);
                seen++;
            }
        }
    }
    print_message("%u combinations of op and types\n", seen);
    assert_true(seen > 100);
}

// [b][r][c]: u8 codes with relu and residual by channel; broadcast operands.
static void
check_chain(int64_t b, int64_t r, int64_t c)
{
    pq_expr_desc d = {
        .op_count = 14,
        .input_count = 3,
        .output_count = 1,
        .param_count = 6,
        .ops = {{PQ_EXPR_LOAD, PTQC_U8, 0, 0, 0, 0},
                {PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 0},
                {PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 1},
                {PQ_EXPR_DEQUANTIZE, PTQC_F32, 0, 1, 2, 0},
                {PQ_EXPR_LOAD, PTQC_I8, 0, 0, 0, 1},
                {PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 2},
                {PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 3},
                {PQ_EXPR_DEQUANTIZE, PTQC_F32, 4, 5, 6, 0},
                {PQ_EXPR_ADD, PTQC_F32, 3, 7, 0, 0},
                {PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 2},
                {PQ_EXPR_FMA, PTQC_F32, 8, 9, 7, 0},
                {PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 4},
                {PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 5},
                {PQ_EXPR_QUANTIZE, PTQC_U8, 10, 11, 12, 0}},
        .results = {13},
        .params = {{.f32 = 0.031f},
                   {.integer = 121},
                   {.f32 = 0.017f},
                   {.integer = -3},
                   {.f32 = 0.4f},
                   {.integer = 30}},
    };
    kernel_step s = {.kind = PQ_STEP_EXPR};
    pq_test_random random = pq_test_random_seed((uint64_t)(b * r * c));
    pq_test_fill_bytes(&random, INPUTS[0], (size_t)(b * r * c));
    pq_test_fill_bytes(&random, INPUTS[1], (size_t)c);
    pq_test_fill_f32(&random, (float *)(void *)INPUTS[2], (size_t)b, -2, 2);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(b, r, c), INPUTS[0]);
    kernel_in(&s, PTQC_I8, KERNEL_DIMS(c), INPUTS[1]);
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(b, 1, 1), INPUTS[2]);
    kernel_out(&s, PTQC_U8, KERNEL_DIMS(b, r, c), GOT);
    add_desc(&s, &d, 3);
    kernel_param(&s, kernel_map(3, 3));
    kernel_param(&s, kernel_map(1, 3));
    kernel_param(&s, kernel_map(3, 3));
    for (int careful = 0; careful < 2; careful++) {
        kernel_run_on(&s, careful != 0);
        for (int64_t i = 0; i < b * r * c; i++) {
            const uint8_t *in[3] = {INPUTS[0] + i, INPUTS[1] + i % c,
                                    INPUTS[2] + 4 * (i / (r * c))};
            uint8_t *out[1] = {WANT + i};
            pq_expr_eval(&d, in, out);
        }
        assert_true(
            pq_test_same_u8("chain", GOT, WANT, (size_t)(b * r * c), 0));
    }
}

static void
test_chains(void **state)
{
    (void)state;
    check_chain(1, 1, 1);
    check_chain(5, 3, 7);
    check_chain(2, 4, 16);
    check_chain(3, 1, 333);
    check_chain(0, 4, 16);
}

// Parameters of 64 bits beside others.
static void
test_wide_params(void **state)
{
    (void)state;
    const pq_expr_desc d = {
        .op_count = 6,
        .input_count = 1,
        .output_count = 1,
        .param_count = 2,
        .ops = {{PQ_EXPR_LOAD, PTQC_I64, 0, 0, 0, 0},
                {PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 0},
                {PQ_EXPR_CAST, PTQC_I64, 1, 0, 0, 0},
                {PQ_EXPR_ADD, PTQC_I64, 0, 2, 0, 0},
                {PQ_EXPR_PARAM, PTQC_I64, 0, 0, 0, 1},
                {PQ_EXPR_MUL, PTQC_I64, 3, 4, 0, 0}},
        .results = {5},
        .params = {{.integer = -7}, {.integer = -((int64_t)1 << 40) + 3}},
    };
    kernel_step s = {.kind = PQ_STEP_EXPR};
    fill(PTQC_I64, INPUTS[0], 101, 5);
    kernel_in(&s, PTQC_I64, KERNEL_DIMS(101), INPUTS[0]);
    kernel_out(&s, PTQC_I64, KERNEL_DIMS(101), GOT);
    add_desc(&s, &d, 1);
    kernel_param(&s, kernel_map(1, 1));
    kernel_run(&s);
    for (int64_t i = 0; i < 101; i++) {
        const uint8_t *in[1] = {INPUTS[0] + 8 * i};
        uint8_t *out[1] = {WANT + 8 * i};
        pq_expr_eval(&d, in, out);
    }
    assert_memory_equal(GOT, WANT, 8 * 101);
}

static void
test_lookup(void **state)
{
    (void)state;
    kernel_step s = {.kind = PQ_STEP_LOOKUP};
    uint8_t table[256];
    pq_test_random random = pq_test_random_seed(3);
    pq_test_fill_bytes(&random, table, sizeof table);
    pq_test_fill_bytes(&random, INPUTS[0], 1001);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(7, 143), INPUTS[0]);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(256), table);
    kernel_out(&s, PTQC_U8, KERNEL_DIMS(7, 143), GOT);
    kernel_run(&s);
    for (uint32_t i = 0; i < 1001; i++) {
        assert_int_equal(GOT[i], table[INPUTS[0][i]]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_wide_params),
        cmocka_unit_test(test_ops),
    };
    return cmocka_run_group_tests(tests, NULL, kernel_teardown);
}
