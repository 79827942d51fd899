// SPDX-License-Identifier: Apache-2.0
//
// Elementwise chains against a scalar reference, bit for bit: every op with
// every element type it takes, odd lengths, broadcasts, strides, workers.
#include <math.h>

#include "backends/cpu/expr.h"
#include "backends/kgen/expr_eval.h"
#include "backends/kgen/move.h"
#include "base/float16.h"
#include "cpu_host.h"

static const uint8_t all_dtypes[] = {
    PTQC_F32, PTQC_F16, PTQC_BF16, PTQC_F64, PTQC_I8,  PTQC_U8,  PTQC_I16,
    PTQC_U16, PTQC_I32, PTQC_U32,  PTQC_I64, PTQC_U64, PTQC_BOOL};
#define DTYPE_COUNT (sizeof all_dtypes / sizeof all_dtypes[0])

// ---- running and comparing -----------------------------------------------

#define BUFFER 65536

typedef struct buffers {
    uint8_t in[PQ_EXPR_MAX_INPUTS][BUFFER];
    uint8_t out[PQ_EXPR_MAX_OUTPUTS][BUFFER];
    uint8_t want[PQ_EXPR_MAX_OUTPUTS][BUFFER];
} buffers;

static buffers B;

static uint64_t
next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return *seed ^ (*seed >> 29);
}

// Elements of a type: special values, small values, any bits.
static void
fill(uint32_t dtype, uint8_t *p, int64_t n, uint64_t seed)
{
    static const float special[] = {
        0.0f,   -0.0f, 1.0f,   -1.0f,    2.5f,      -3.5f, 1e20f,  -1e9f,
        300.0f, 0.5f,  1e-41f, INFINITY, -INFINITY, NAN,   127.5f, 65520.0f};
    for (int64_t i = 0; i < n; i++) {
        uint64_t r = next_random(&seed);
        pq_expr_scalar v = {.whole = (int64_t)(r >> 8)};
        float x = (r & 3) == 0 ? special[(r >> 4) % 16]
                               : (float)((int32_t)(r >> 20) % 4000) * 0.013f;
        memcpy(&v.f32, &r, sizeof v.f32);
        memcpy(&v.f64, &r, sizeof v.f64);
        v.f32 = (r & 7) == 7 ? v.f32 : x;
        v.f64 = (r & 7) == 7 ? v.f64 : (double)x;
        if (dtype == PTQC_F16 && (r & 1) != 0) {
            v.whole = pq_f32_to_f16(x);
        } else if (dtype == PTQC_BF16 && (r & 1) != 0) {
            v.whole = pq_f32_to_bf16(x);
        } else if (dtype == PTQC_BOOL) {
            v.whole = (int64_t)(r >> 33 & 1);
        } else if (pq_expr_dtype_is_int(dtype) && (r & 1) != 0) {
            v.whole = (int64_t)(r >> 40) % 9 -
                      (pq_expr_dtype_is_signed(dtype) ? 4 : 0);
        }
        pq_expr_store(dtype, v, p + i * (int64_t)pq_kg_element_bytes(dtype));
    }
}

static int
same_value(uint32_t dtype, const uint8_t *a, const uint8_t *b)
{
    pq_expr_scalar x = pq_expr_load(dtype, a), y = pq_expr_load(dtype, b);
    if (dtype == PTQC_F32) { // which NaN is left open
        return memcmp(a, b, 4) == 0 || (isnan(x.f32) && isnan(y.f32));
    }
    if (dtype == PTQC_F64) {
        return memcmp(a, b, 8) == 0 || (isnan(x.f64) && isnan(y.f64));
    }
    if (dtype == PTQC_F16 || dtype == PTQC_BF16) {
        float f = dtype == PTQC_F16 ? pq_f16_to_f32((uint16_t)x.whole)
                                    : pq_bf16_to_f32((uint16_t)x.whole);
        float g = dtype == PTQC_F16 ? pq_f16_to_f32((uint16_t)y.whole)
                                    : pq_bf16_to_f32((uint16_t)y.whole);
        return x.whole == y.whole || (isnan(f) && isnan(g));
    }
    return x.whole == y.whole;
}

static uint32_t
input_dtype(const pq_expr_desc *d, uint32_t input)
{
    for (uint32_t i = 0; i < d->op_count; i++) {
        if (d->ops[i].code == PQ_EXPR_LOAD && d->ops[i].index == input) {
            return d->ops[i].dtype;
        }
    }
    return PTQC_U8;
}

static int64_t
element_offset(const pq_expr_desc *d, const pq_expr_view *view, int64_t index)
{
    int64_t offset = 0;
    for (uint32_t k = d->rank; k-- > 0;) {
        offset += index % d->dims[k] * view->strides[k];
        index /= d->dims[k];
    }
    return offset;
}

static int64_t
element_count(const pq_expr_desc *d)
{
    int64_t count = 1;
    for (uint32_t k = 0; k < d->rank; k++) {
        count *= d->dims[k];
    }
    return count;
}

static void
run_reference(const pq_expr_desc *d)
{
    int64_t count = element_count(d);
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *in[PQ_EXPR_MAX_INPUTS];
        uint8_t *out[PQ_EXPR_MAX_OUTPUTS];
        for (uint32_t k = 0; k < d->input_count; k++) {
            in[k] = B.in[k] + element_offset(d, &d->inputs[k], i) *
                                  pq_kg_element_bytes(input_dtype(d, k));
        }
        for (uint32_t k = 0; k < d->output_count; k++) {
            out[k] = B.want[k] +
                     element_offset(d, &d->outputs[k], i) *
                         pq_kg_element_bytes(d->ops[d->results[k]].dtype);
        }
        pq_expr_eval(d, in, out);
    }
}

// Runs the chain on `workers` workers and compares all output bytes.
static void
check_desc(pq_jit *jit, const pq_expr_desc *d, uint32_t workers)
{
    for (uint32_t k = 0; k < d->input_count; k++) {
        uint32_t t = input_dtype(d, k);
        fill(t, B.in[k], BUFFER / pq_kg_element_bytes(t), 77 + k);
    }
    memset(B.out, 0xee, sizeof B.out);
    memset(B.want, 0xee, sizeof B.want);
    run_reference(d);
    pq_expr *expr = NULL;
    assert_int_equal(pq_expr_prepare(jit, NULL, d, &expr), PTQC_BE_OK);
    pq_expr_io io;
    for (uint32_t k = 0; k < PQ_EXPR_MAX_INPUTS; k++) {
        io.inputs[k] = B.in[k];
    }
    for (uint32_t k = 0; k < PQ_EXPR_MAX_OUTPUTS; k++) {
        io.outputs[k] = B.out[k];
    }
    for (uint32_t w = 0; w < workers; w++) {
        pq_worker worker = {.index = w, .count = workers};
        pq_expr_run(expr, &io, &worker);
    }
    pq_expr_destroy(expr);
    for (uint32_t k = 0; k < d->output_count; k++) {
        uint32_t t = d->ops[d->results[k]].dtype;
        int64_t bytes = pq_kg_element_bytes(t);
        for (int64_t i = 0; i < BUFFER; i += bytes) {
            if (!same_value(t, B.out[k] + i, B.want[k] + i)) {
                uint32_t code = d->ops[d->results[k]].code;
                fail_msg("%s (%s) dtype %u, element %ld of %ld",
                         pq_expr_name((pq_expr_code)code),
                         pq_isa_name(pq_jit_isa(jit)), t, (long)(i / bytes),
                         (long)element_count(d));
            }
        }
    }
}

static const uint8_t arg_counts[PQ_EXPR_CODE_COUNT] = {
#define EXPR(NAME, text, args, check) args,
#include "backends/kgen/expr_ops.def"
#undef EXPR
};

// n elements: LOAD of each operand's type, then the op.
static pq_expr_desc
one_op(uint32_t code, uint32_t result, const uint32_t *from, int64_t n)
{
    pq_expr_desc d = {.rank = 1, .dims = {n}, .output_count = 1};
    uint32_t args = arg_counts[code];
    for (uint32_t i = 0; i < args; i++) {
        d.ops[i] = (pq_expr_op){.code = PQ_EXPR_LOAD,
                                .dtype = (uint8_t)from[i],
                                .index = (uint8_t)i};
        d.inputs[i].strides[0] = 1;
    }
    d.ops[args] = (pq_expr_op){.code = (uint8_t)code,
                               .dtype = (uint8_t)result,
                               .a = 0,
                               .b = args > 1,
                               .c = args > 2 ? 2 : 0};
    d.outputs[0].strides[0] = 1;
    d.op_count = args + 1;
    d.input_count = args;
    d.results[0] = (uint8_t)args;
    return d;
}

// Every op with every combination of types that the check admits (operands
// of equal type, or the op's own mix).
static void
for_each_combination(pq_jit *jit, void (*visit)(pq_jit *, pq_expr_desc *),
                     uint32_t *seen)
{
    for (uint32_t code = 0; code < PQ_EXPR_CODE_COUNT; code++) {
        if (arg_counts[code] == 0) {
            continue;
        }
        for (uint32_t i = 0; i < DTYPE_COUNT * DTYPE_COUNT; i++) {
            uint32_t a = all_dtypes[i / DTYPE_COUNT];
            uint32_t r = all_dtypes[i % DTYPE_COUNT];
            uint32_t mixes[3][3] = {
                {a, a, a}, {PTQC_BOOL, r, r}, {a, PTQC_F32, PTQC_I32}};
            uint32_t mix = code == PQ_EXPR_WHERE ? 1
                           : code == PQ_EXPR_QUANTIZE ||
                                   code == PQ_EXPR_QUANTIZE_MUL ||
                                   code == PQ_EXPR_DEQUANTIZE
                               ? 2
                               : 0;
            if (mix == 1 && a != PTQC_BOOL) {
                continue;
            }
            pq_expr_desc d = one_op(code, r, mixes[mix], 131);
            if (pq_expr_check(&d) == NULL) {
                visit(jit, &d);
                *seen += 1;
            }
        }
    }
}

static void
visit_combination(pq_jit *jit, pq_expr_desc *d)
{
    check_desc(jit, d, 1);
    d->dims[0] = 1000;
    check_desc(jit, d, 3);
}

static void
all_combinations(pq_jit *jit)
{
    uint32_t seen = 0;
    for_each_combination(jit, visit_combination, &seen);
    print_message("%s: %u combinations of op and types\n",
                  pq_isa_name(pq_jit_isa(jit)), seen);
    assert_true(seen > 380);
}

static void
test_all_combinations(void **state)
{
    (void)state;
    cpu_host_each_level(all_combinations);
}

// quantized add with relu, two outputs: codes and the real value
static pq_expr_desc
chain(void)
{
    pq_expr_desc d = {
        .op_count = 14,
        .input_count = 3,
        .output_count = 2,
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
        .results = {13, 10},
        .params = {{.f32 = 0.031f},
                   {.integer = 121},
                   {.f32 = 0.017f},
                   {.integer = -3},
                   {.f32 = 0.4f},
                   {.integer = 30}},
    };
    return d;
}

static void
dense(pq_expr_view *view, const pq_expr_desc *d)
{
    pq_expr_view_broadcast(view, d->rank, d->dims, d->rank);
}

static void
chains(pq_jit *jit)
{
    static const int64_t sizes[] = {0, 1, 15, 16, 17, 33, 1000, 5000};
    for (uint32_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint32_t workers = 1; workers <= 5; workers += 2) {
            // flat, with the third operand a scalar
            pq_expr_desc d = chain();
            d.rank = 1;
            d.dims[0] = sizes[i];
            dense(&d.inputs[0], &d);
            dense(&d.inputs[1], &d);
            dense(&d.outputs[0], &d);
            dense(&d.outputs[1], &d);
            check_desc(jit, &d, workers);
        }
    }
    for (int64_t c = 1; c < 40; c += 3) {
        // [5][3][c]: second operand by channel, third [5][1][1]
        pq_expr_desc d = chain();
        d.rank = 3;
        d.dims[0] = 5;
        d.dims[1] = 3;
        d.dims[2] = c;
        dense(&d.inputs[0], &d);
        pq_expr_view_broadcast(&d.inputs[1], 3, &d.dims[2], 1);
        int64_t shape[3] = {5, 1, 1};
        pq_expr_view_broadcast(&d.inputs[2], 3, shape, 3);
        dense(&d.outputs[0], &d);
        dense(&d.outputs[1], &d);
        check_desc(jit, &d, 1);
        check_desc(jit, &d, 4);
    }
}

static void
test_chains(void **state)
{
    (void)state;
    cpu_host_each_level(chains);
}

static void
strided(pq_jit *jit)
{
    // [7][9] transposed input, output rows 20 apart, rank-0 and all-scalar
    uint32_t from[2] = {PTQC_I16, PTQC_I16};
    pq_expr_desc d = one_op(PQ_EXPR_ADD, PTQC_I16, from, 0);
    d.rank = 2;
    d.dims[0] = 7;
    d.dims[1] = 9;
    d.inputs[0] = (pq_expr_view){{1, 7}};
    d.inputs[1] = (pq_expr_view){{0, 1}};
    d.outputs[0] = (pq_expr_view){{20, 1}};
    check_desc(jit, &d, 1);
    check_desc(jit, &d, 2);
    d.inputs[0] = (pq_expr_view){{0, 0}};
    d.inputs[1] = (pq_expr_view){{0, 0}};
    check_desc(jit, &d, 2);
    d.rank = 0;
    check_desc(jit, &d, 2);
}

static void
test_strided(void **state)
{
    (void)state;
    cpu_host_each_level(strided);
}

static void
test_lookup(void **state)
{
    (void)state;
    if (pq_isa_detect() < 0) {
        print_message("skipped: this machine has no AVX2 and FMA\n");
        skip();
    }
    uint8_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = (uint8_t)(i * 7 + 3);
    }
    fill(PTQC_U8, B.in[0], 1001, 3);
    memset(B.out[0], 0xee, 1100);
    for (uint32_t w = 0; w < 3; w++) {
        pq_worker worker = {.index = w, .count = 3};
        pq_lookup8_run(table, B.in[0], B.out[0], 1001, &worker);
    }
    for (uint32_t i = 0; i < 1001; i++) {
        assert_int_equal(B.out[0][i], table[B.in[0][i]]);
    }
    assert_int_equal(B.out[0][1001], 0xee);
}

static void
test_refusals(void **state)
{
    (void)state;
    uint32_t f64[3] = {PTQC_F64, PTQC_F64, PTQC_F64};
    pq_expr_desc d = one_op(PQ_EXPR_EXP, PTQC_F64, f64, 4);
    assert_non_null(pq_expr_check(&d));
    d = one_op(PQ_EXPR_FMOD, PTQC_F64, f64, 4);
    assert_non_null(pq_expr_check(&d));
    uint32_t f16[2] = {PTQC_F16, PTQC_F16};
    d = one_op(PQ_EXPR_ADD, PTQC_F16, f16, 4);
    assert_non_null(pq_expr_check(&d));
    uint32_t i4[2] = {PTQC_I4, PTQC_I4};
    d = one_op(PQ_EXPR_ADD, PTQC_I4, i4, 4);
    assert_non_null(pq_expr_check(&d));
    uint32_t f32[2] = {PTQC_F32, PTQC_F32};
    d = one_op(PQ_EXPR_ADD, PTQC_F32, f32, 4);
    assert_null(pq_expr_check(&d));
    d.ops[2].b = 2; // itself
    assert_non_null(pq_expr_check(&d));
    d.ops[2].b = 1;
    d.results[0] = 9;
    assert_non_null(pq_expr_check(&d));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_strided),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_all_combinations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
