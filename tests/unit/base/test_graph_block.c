// SPDX-License-Identifier: Apache-2.0
//
// The graph-block reader on a block made by hand: every field that may be
// wrong is made wrong. (Blocks of real graphs: tests/unit/ir/test_block.c.)
#include <stdlib.h>
#include <string.h>

#include "ptqc/graph_block.h"

#include "tests/support/cmocka_test.h"

// One symbol N, dims N and N + 2, input x: f32[N + 2], y = relu(x), a
// constant with a scale.
typedef struct block {
    ptqc_gb_header header;
    char strings[16]; // "N" "x" "y" "relu" "alpha"
    ptqc_gb_symbol symbols[1];
    ptqc_gb_dim dims[3];
    uint32_t dim_lists[2];
    ptqc_gb_value values[2];
    ptqc_gb_quant quants[1];
    ptqc_gb_constant constants[1];
    ptqc_gb_node nodes[1];
    uint32_t operands[2];
    ptqc_gb_attr attrs[2];
    int64_t i64s[1];
    float f32s[2];
    uint32_t inputs[2]; // the second is padding
    uint32_t outputs[2];
} block;

#define SECTION(member, n, size) {offsetof(block, member), n, size}

static block
good_block(void)
{
    block b = {
        .header = {.magic = PTQC_GB_MAGIC,
                   .version = PTQC_GB_VERSION,
                   .total_bytes = sizeof b,
                   .section_count = PTQC_GB_SECTION_COUNT,
                   .sections =
                       {
                           SECTION(strings, 12, 1),
                           SECTION(symbols, 1, sizeof(ptqc_gb_symbol)),
                           SECTION(dims, 3, sizeof(ptqc_gb_dim)),
                           SECTION(dim_lists, 1, 4),
                           SECTION(values, 2, sizeof(ptqc_gb_value)),
                           SECTION(quants, 1, sizeof(ptqc_gb_quant)),
                           SECTION(constants, 1, sizeof(ptqc_gb_constant)),
                           SECTION(nodes, 1, sizeof(ptqc_gb_node)),
                           SECTION(operands, 2, 4),
                           SECTION(attrs, 2, sizeof(ptqc_gb_attr)),
                           SECTION(i64s, 1, 8),
                           SECTION(f32s, 2, 4),
                           SECTION(inputs, 1, 4),
                           SECTION(inputs, 0, 4),
                           SECTION(outputs, 1, 4),
                       }},
        .strings = "Nxyrelualpha",
        .symbols = {{{0, 1}, 1, 100, 1}},
        .dims = {{PTQC_GB_DIM_SYMBOL, 0, 0, 0, 0},
                 {PTQC_GB_DIM_CONST, 0, 0, 0, 2},
                 {PTQC_GB_DIM_ADD, 0, 1, 0, 0}},
        .dim_lists = {2},
        .values = {{{1, 1}, PTQC_F32, 1, 0, PTQC_GB_NONE, PTQC_GB_NONE, 0},
                   {{2, 1}, PTQC_F32, 1, 0, 0, PTQC_GB_NONE, 0}},
        .quants = {{PTQC_GRAN_TENSOR, 0, 0, 0, 0, PTQC_GB_NONE}},
        .constants = {{.id = 5, .bytes = 4}},
        .nodes = {{.op = {3, 4},
                   .name = {0, 0},
                   .version = 1,
                   .first_input = 0,
                   .input_count = 1,
                   .first_output = 1,
                   .output_count = 1,
                   .first_attr = 0,
                   .attr_count = 2}},
        .operands = {0, 1},
        .attrs = {{{7, 5}, PTQC_GB_ATTR_F32, 0, 0, 0.5f, 0},
                  {{0, 1}, PTQC_GB_ATTR_I64S, 0, 1, 0, 0}},
        .i64s = {-7},
        .inputs = {0},
        .outputs = {1},
    };
    return b;
}

static int
opens(const block *b)
{
    ptqc_gb g;
    const char *reason = NULL;
    int is_open = ptqc_gb_open(b, sizeof *b, &g, &reason);
    assert_true(is_open || reason != NULL);
    return is_open;
}

static void
test_reading(void **state)
{
    (void)state;
    block b = good_block();
    ptqc_gb g;
    const char *reason;
    assert_true(ptqc_gb_open(&b, sizeof b, &g, &reason));
    const ptqc_gb_node *n = ptqc_gb_node_at(&g, 0);
    assert_true(ptqc_gb_text_is(&g, n->op, "relu"));
    assert_int_equal(ptqc_gb_input(&g, n, 0), 0);
    assert_int_equal(ptqc_gb_input(&g, n, 1), PTQC_GB_NONE);
    assert_int_equal(ptqc_gb_output(&g, n, 0), 1);
    assert_true(ptqc_gb_attr_f32(&g, n, "alpha", 1) == 0.5f); // exact
    assert_true(ptqc_gb_attr_f32(&g, n, "beta", 2) == 2);
    assert_true(ptqc_gb_attr_i64(&g, n, "alpha", 3) == 3); // another kind
    const ptqc_gb_attr *list = ptqc_gb_find_attr(&g, n, "N");
    assert_non_null(list);
    const int64_t *numbers = ptqc_gb_at(&g, PTQC_GB_I64S, list->first);
    assert_true(numbers[0] == -7);
    assert_int_equal(ptqc_gb_value_dim(&g, ptqc_gb_value_at(&g, 0), 0), 2);
}

static void
test_dims(void **state)
{
    (void)state;
    block b = good_block();
    ptqc_gb g;
    const char *reason;
    int64_t out[3];
    int64_t n = 100;
    uint32_t bad = 7;
    assert_true(ptqc_gb_open(&b, sizeof b, &g, &reason));
    assert_true(ptqc_gb_eval_dims(&g, &n, out, &bad));
    assert_true(out[2] == 102);
    n = 101;
    assert_false(ptqc_gb_eval_dims(&g, &n, out, &bad));
    assert_int_equal(bad, 0);
    n = 9;
    const struct {
        uint32_t op;
        int64_t constant, result;
    } cases[] = {
        {PTQC_GB_DIM_SUB, 2, 7},  {PTQC_GB_DIM_MUL, 2, 18},
        {PTQC_GB_DIM_DIV, 2, 4},  {PTQC_GB_DIM_DIV, -2, -5},
        {PTQC_GB_DIM_CDIV, 2, 5}, {PTQC_GB_DIM_CDIV, -2, -4},
        {PTQC_GB_DIM_MOD, 4, 1},  {PTQC_GB_DIM_MOD, -4, -3},
        {PTQC_GB_DIM_MIN, 4, 4},  {PTQC_GB_DIM_MAX, 4, 9},
        {PTQC_GB_DIM_CDIV, 3, 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        b.dims[1].value = cases[i].constant;
        b.dims[2].op = cases[i].op;
        assert_true(ptqc_gb_eval_dims(&g, &n, out, &bad));
        assert_true(out[2] == cases[i].result);
    }
    b.dims[1].value = 0;
    b.dims[2].op = PTQC_GB_DIM_MOD;
    assert_false(ptqc_gb_eval_dims(&g, &n, out, &bad));
    assert_int_equal(bad, 2);
    b.dims[1].value = INT64_MAX;
    b.dims[2].op = PTQC_GB_DIM_ADD;
    assert_false(ptqc_gb_eval_dims(&g, &n, out, NULL));
}

// A wider record, as a newer writer makes it, reads the same.
static void
test_wider_stride(void **state)
{
    (void)state;
    block b = good_block();
    b.header.sections[PTQC_GB_CONSTANTS].stride += 8;
    assert_true(opens(&b)); // one element: the next 8 bytes belong to it
    b.header.sections[PTQC_GB_CONSTANTS].stride += 4;
    assert_false(opens(&b));
    b = good_block();
    b.header.sections[PTQC_GB_I64S].stride += 8;
    assert_false(opens(&b)); // read as a plain array
}

#define REFUSES(statement)                                                     \
    do {                                                                       \
        block b = good_block();                                                \
        assert_true(opens(&b));                                                \
        statement;                                                             \
        assert_false(opens(&b));                                               \
    } while (0)

static void
test_damage(void **state)
{
    (void)state;
    REFUSES(b.header.magic ^= 1);
    REFUSES(b.header.version = 2);
    REFUSES(b.header.section_count = 14);
    REFUSES(b.header.total_bytes--);
    for (uint32_t i = 0; i < PTQC_GB_SECTION_COUNT; i++) {
        REFUSES(b.header.sections[i].stride--);
        REFUSES(b.header.sections[i].offset += 4);
        REFUSES(b.header.sections[i].offset = 8);
        REFUSES(b.header.sections[i].offset = UINT64_MAX - 7);
        REFUSES(b.header.sections[i].count = UINT32_MAX);
    }
    REFUSES(b.symbols[0].name.bytes = 13);
    REFUSES(b.symbols[0].max = 0);
    REFUSES(b.symbols[0].multiple = 0);
    REFUSES(b.dims[0].value = 1);
    REFUSES(b.dims[0].value = -1);
    REFUSES(b.dims[2].a = 2); // itself
    REFUSES(b.dims[2].op = 10);
    REFUSES(b.dim_lists[0] = 3);
    REFUSES(b.values[0].name.offset = UINT32_MAX);
    REFUSES(b.values[0].dtype = 0);
    REFUSES(b.values[0].dtype = 99);
    REFUSES(b.values[0].rank = 9);
    REFUSES(b.values[0].first_dim = 1);
    REFUSES(b.values[1].quant = 1);
    REFUSES(b.values[1].constant = 1);
    REFUSES(b.quants[0].granularity = 5);
    REFUSES(b.quants[0].scale = 1);
    REFUSES(b.quants[0].zero_point = 1);
    REFUSES(b.nodes[0].op.offset = 10);
    REFUSES(b.nodes[0].input_count = 3);
    REFUSES(b.nodes[0].first_output = 2);
    REFUSES(b.nodes[0].attr_count = 3);
    REFUSES(b.operands[0] = 2);
    REFUSES(b.attrs[0].kind = 0);
    REFUSES(b.attrs[0].kind = 7);
    REFUSES(b.attrs[0].name.bytes = 9);
    REFUSES(b.attrs[1].count = 2);
    REFUSES(b.inputs[0] = 2);
    REFUSES(b.outputs[0] = PTQC_GB_NONE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_dims),
        cmocka_unit_test(test_wider_stride),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
