// SPDX-License-Identifier: Apache-2.0
//
// Every prepare function with every allocation failing in turn: it reports
// RESOURCE once, leaves the result alone and leaks nothing (ASan builds).
#include "backends/cpu/attention.h"
#include "backends/cpu/expr.h"
#include "backends/cpu/pool.h"
#include "backends/cpu/recurrent.h"
#include "backends/cpu/row.h"
#include "cpu_host.h"

// Prepares and destroys one object.
typedef ptqc_be_status (*prepare_fn)(pq_jit *jit);

static ptqc_be_status
prepare_expr(pq_jit *jit)
{
    pq_expr_desc d = {.rank = 1,
                      .dims = {4},
                      .op_count = 2,
                      .input_count = 1,
                      .output_count = 1,
                      .ops = {{PQ_EXPR_LOAD, PTQC_F32, 0, 0, 0, 0},
                              {PQ_EXPR_ABS, PTQC_F32, 0, 0, 0, 0}},
                      .inputs = {{{1}}},
                      .outputs = {{{1}}},
                      .results = {1}};
    pq_expr *out = NULL;
    ptqc_be_status st = pq_expr_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_expr_destroy(out);
    return st;
}

static ptqc_be_status
prepare_attention(pq_jit *jit)
{
    pq_attention_strides s = {4, 4, 4};
    pq_attention_desc d = {.batch = 1,
                           .heads = 1,
                           .kv_heads = 1,
                           .tq = 1,
                           .tk = 1,
                           .d = 1,
                           .dv = 1,
                           .k_dtype = PTQC_F32,
                           .v_dtype = PTQC_F32,
                           .q = s,
                           .k = s,
                           .v = s,
                           .y = s};
    pq_attention *out = NULL;
    ptqc_be_status st = pq_attention_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_attention_destroy(out);
    return st;
}

static ptqc_be_status
prepare_reduce(pq_jit *jit)
{
    pq_reduce_desc d = {.shape = {1, 4, 1}, .dtype = PTQC_F32};
    pq_reduce *out = NULL;
    ptqc_be_status st = pq_reduce_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_reduce_destroy(out);
    return st;
}

static ptqc_be_status
prepare_softmax(pq_jit *jit)
{
    pq_softmax_desc d = {.shape = {1, 4, 1}};
    pq_softmax *out = NULL;
    ptqc_be_status st = pq_softmax_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_softmax_destroy(out);
    return st;
}

static ptqc_be_status
prepare_norm(pq_jit *jit)
{
    pq_norm_desc d = {.shape = {1, 4, 1}};
    pq_norm *out = NULL;
    ptqc_be_status st = pq_norm_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_norm_destroy(out);
    return st;
}

static ptqc_be_status
prepare_row_quantize(pq_jit *jit)
{
    pq_row_quantize_desc d = {.rows = 1, .length = 4, .code_stride = 4};
    pq_row_quantize *out = NULL;
    ptqc_be_status st = pq_row_quantize_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_row_quantize_destroy(out);
    return st;
}

static ptqc_be_status
prepare_pooling(pq_jit *jit)
{
    pq_pooling_desc d = {.dtype = PTQC_F32,
                         .batch = 1,
                         .channels = 1,
                         .in = {1, 2, 2},
                         .out = {1, 2, 2},
                         .kernel = {1, 1, 1},
                         .strides = {1, 1, 1},
                         .dilations = {1, 1, 1}};
    pq_pooling *out = NULL;
    ptqc_be_status st = pq_pooling_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_pooling_destroy(out);
    return st;
}

static ptqc_be_status
prepare_resize(pq_jit *jit)
{
    pq_resize_desc d = {.kind = PQ_RESIZE_LINEAR,
                        .dtype = PTQC_F32,
                        .batch = 1,
                        .channels = 1,
                        .in = {1, 2, 2},
                        .out = {1, 4, 4}};
    pq_resize *out = NULL;
    ptqc_be_status st = pq_resize_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_resize_destroy(out);
    return st;
}

static ptqc_be_status
prepare_recurrent(pq_jit *jit)
{
    pq_recurrent_desc d = {.kind = PQ_RECURRENT_GRU,
                           .steps = 1,
                           .batch = 1,
                           .input = 2,
                           .hidden = 2};
    pq_recurrent *out = NULL;
    ptqc_be_status st = pq_recurrent_prepare(jit, NULL, &d, &out);
    assert_int_equal(st == PTQC_BE_OK, out != NULL);
    pq_recurrent_destroy(out);
    return st;
}

static void
sweep(prepare_fn prepare)
{
    int failures = 0;
    for (ptqc_be_status st = PTQC_BE_RESOURCE; st != PTQC_BE_OK; failures++) {
        pq_jit *jit = NULL;
        cpu_host_message[0] = '\0';
        assert_int_equal(pq_jit_create(NULL, &cpu_host, PQ_ISA_AVX2, &jit),
                         PTQC_BE_OK);
        cpu_host_allocations_left = failures;
        st = prepare(jit);
        cpu_host_allocations_left = -1;
        pq_jit_destroy(jit);
        assert_true(st == PTQC_BE_OK || st == PTQC_BE_RESOURCE);
        assert_int_equal(st == PTQC_BE_OK, cpu_host_message[0] == '\0');
    }
    assert_true(failures >= 3); // the object and the kernel's memory
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    static const prepare_fn all[] = {
        prepare_expr,    prepare_attention, prepare_reduce,
        prepare_softmax, prepare_norm,      prepare_row_quantize,
        prepare_pooling, prepare_resize,    prepare_recurrent};
    if (pq_isa_detect() < 0) {
        print_message("skipped: this machine has no AVX2 and FMA\n");
        skip();
    }
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        sweep(all[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
