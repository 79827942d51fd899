// SPDX-License-Identifier: Apache-2.0
//
// The op and attribute tables: names are unique and read back.
#include <string.h>

#include "ir/ops.h"
#include "tests/support/cmocka_test.h"

static void
test_ops(void **state)
{
    (void)state;
    for (unsigned i = 1; i < PQ_OP_COUNT; i++) {
        pq_opcode code = PQ_OP_NONE;
        const pq_op_info *info = pq_op_info_of((pq_opcode)i);
        assert_true(pq_opcode_parse(info->name, strlen(info->name), &code));
        assert_int_equal(code, i); // also: no name twice
        assert_true(info->min_inputs <= info->max_inputs);
        assert_in_range(info->outputs, 1, 3);
    }
    pq_opcode code;
    assert_false(pq_opcode_parse("none", 4, &code));
    assert_false(pq_opcode_parse("conv2", 5, &code));
    assert_false(pq_opcode_parse("con", 3, &code));
    assert_false(pq_opcode_parse("", 0, &code));
    assert_string_equal(pq_op_info_of(PQ_OP_COUNT)->name, "none");
}

static void
test_attrs(void **state)
{
    (void)state;
    for (unsigned i = 1; i < PQ_ATTR_COUNT; i++) {
        pq_attr_name name = PQ_ATTR_NONE;
        const char *text = pq_attr_text((pq_attr_name)i);
        assert_true(pq_attr_parse(text, strlen(text), &name));
        assert_int_equal(name, i);
    }
    pq_attr_name name;
    assert_false(pq_attr_parse("none", 4, &name));
    assert_int_equal(pq_attr_kind_of(PQ_ATTR_SHAPE), PQ_KIND_DIMS);
    assert_int_equal(pq_attr_kind_of(PQ_ATTR_ACT), PQ_KIND_OP);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops),
        cmocka_unit_test(test_attrs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
