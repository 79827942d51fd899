// SPDX-License-Identifier: Apache-2.0
//
// Matching ops against kernel rules: types, granularities, groups, absent
// operands, constants, ranks, variadic ops, order of preference.
#include "tests/support/caps_rows.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

#define F32 {.format = PTQC_F32}

static const pq_caps_operand matmul_operands[] = {
    FLOAT_OUTPUT,
    FLOAT_INPUT(0),
    {.index = 1,
     .dtypes = BIT(PTQC_I8) | BIT(PTQC_U4),
     .granularities = (uint32_t)(BIT(PQ_GRAN_CHANNEL) | BIT(PQ_GRAN_GROUP)),
     .group_sizes = {32, 128},
     .needs_constant = true,
     .needs_symmetric = true},
    OPTIONAL_FLOAT(2),
};
static const pq_caps_operand concat_operands[] = {
    FLOAT_OUTPUT,
    FLOAT_INPUT(0),
    OPTIONAL_FLOAT(1),
};
static const pq_caps_rule rules[] = {
    {.op = PQ_OP_MATMUL,
     .target = 1,
     .operands = matmul_operands,
     .operand_count = 4,
     .rank_min = 2,
     .rank_max = 4},
    {.op = PQ_OP_CONCAT, .operands = concat_operands, .operand_count = 3},
};
static const pq_caps caps = {.rules = rules, .rule_count = 2};

typedef struct pq_case {
    pq_scheme w;
    pq_scheme bias;
    pq_scheme residual;
    uint64_t constants;
    uint32_t rank;
    bool is_admitted;
} pq_case;

#define CHANNEL                                                                \
    {.format = PTQC_I8, .granularity = PQ_GRAN_CHANNEL, .symmetric = true}
#define GROUP(n)                                                               \
    {.format = PTQC_U4,                                                        \
     .granularity = PQ_GRAN_GROUP,                                             \
     .group = n,                                                               \
     .symmetric = true}
#define NONE {.format = PTQC_DTYPE_NONE}

static const pq_case cases[] = {
    {CHANNEL, NONE, NONE, 2, 2, true},
    {CHANNEL, F32, NONE, 2, 4, true},
    {CHANNEL, F32, NONE, 2, 5, false}, // rank
    {CHANNEL, F32, NONE, 2, 1, false},
    {CHANNEL, F32, NONE, 0, 2, false},                  // not constant
    {CHANNEL, F32, F32, 2, 2, false},                   // no such operand
    {CHANNEL, {.format = PTQC_I32}, NONE, 2, 2, false}, // type
    {GROUP(32), NONE, NONE, 2, 2, true},
    {GROUP(128), NONE, NONE, 2, 2, true},
    {GROUP(64), NONE, NONE, 2, 2, false},
    {{.format = PTQC_I8, .granularity = PQ_GRAN_TENSOR, .symmetric = true},
     NONE,
     NONE,
     2,
     2,
     false},
    {{.format = PTQC_I8, .granularity = PQ_GRAN_CHANNEL},
     NONE,
     NONE,
     2,
     2,
     false}, // zero points
    {F32, NONE, NONE, 2, 2, false},
    {NONE, NONE, NONE, 2, 2, false}, // not optional
};

static void
products(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const pq_scheme inputs[] = {F32, cases[i].w, cases[i].bias,
                                    cases[i].residual};
        const pq_caps_query query = {.op = PQ_OP_MATMUL,
                                     .inputs = inputs,
                                     .input_count = 4,
                                     .constants = cases[i].constants,
                                     .output = F32,
                                     .rank = cases[i].rank};
        if (pq_caps_admit(&caps, &query) != cases[i].is_admitted) {
            print_error("case %zu\n", i);
        }
        assert_int_equal(pq_caps_admit(&caps, &query), cases[i].is_admitted);
        assert_int_equal(pq_caps_target(&caps, &query),
                         cases[i].is_admitted ? 1 : PQ_CAPS_NONE);
        assert_true(pq_caps_admit(NULL, &query));
    }
}

static void
any_number_of_inputs(void **state)
{
    (void)state;
    const pq_scheme inputs[] = {F32, F32, F32, F32, F32};
    const pq_scheme mixed[] = {F32, F32, F32, {.format = PTQC_I64}};
    pq_caps_query query = {
        .op = PQ_OP_CONCAT, .inputs = inputs, .output = F32, .rank = 2};
    for (query.input_count = 1; query.input_count <= 5; query.input_count++) {
        assert_true(pq_caps_admit(&caps, &query));
    }
    query.inputs = mixed;
    query.input_count = 4;
    assert_false(pq_caps_admit(&caps, &query));
    query.op = PQ_OP_ADD;
    assert_false(pq_caps_admit(&caps, &query));
}

// What the nearest rule takes, of the operand that does not fit.
static void
reasons(void **state)
{
    (void)state;
    static const struct {
        pq_scheme w;
        uint32_t last;
        const char *text;
    } rows[] = {
        {GROUP(64), 1,
         "input 1 would be u4 per group of 64, the nearest kernel rule takes "
         "i8 or u4 per channel, group of 32, 128, symmetric, constant"},
        {{.format = PTQC_F8E4M3, .granularity = PQ_GRAN_TENSOR},
         1,
         "input 1 would be f8e4m3 per tensor, the nearest"},
        {GROUP(64), 0, "no target has a rule for it"},
    };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const pq_scheme inputs[] = {F32, rows[i].w, F32};
        const pq_caps_query query = {.op = PQ_OP_MATMUL,
                                     .inputs = inputs,
                                     .input_count = 3,
                                     .constants = BIT(1),
                                     .output = F32,
                                     .rank = 2};
        pq_strbuf text;
        pq_strbuf_init(&text, ctx);
        pq_caps_print_reason(&caps, &query, rows[i].last, &text);
        assert_true(pq_str_starts((pq_str){text.p, text.n}, rows[i].text));
        pq_strbuf_deinit(&text);
    }
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products),
        cmocka_unit_test(any_number_of_inputs),
        cmocka_unit_test(reasons),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
