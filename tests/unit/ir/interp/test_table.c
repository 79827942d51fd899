// SPDX-License-Identifier: Apache-2.0
//
// Every op has a row in the table, and what is not declined runs: all
// elementwise and reduction ops over all types, plain and quantized.
#include "base/dtype.h"
#include "ir/interp/eval.h"
#include "tests/unit/ir/interp/op_case.h"

static void
every_op_has_a_row(void **state)
{
    (void)state;
    assert_null(pq_eval_info_of(PQ_OP_NONE));
    assert_null(pq_eval_info_of(PQ_OP_COUNT));
    for (int code = PQ_OP_NONE + 1; code < PQ_OP_COUNT; code++) {
        if (pq_eval_info_of((pq_opcode)code) == NULL) {
            fail_msg("%s", pq_op_info_of((pq_opcode)code)->name);
        }
    }
}

// Codes of any type, in rows of two: nothing that overflows a format.
static const uint8_t codes[64] = {1, 0, 1};

// Builds the op of one or two operands of type t; false when inference
// refuses it (then the interpreter never sees it).
static bool
begin_case(op_case *c, pq_opcode code, ptqc_dtype t, bool is_quantized)
{
    const pq_op_info *info = pq_op_info_of(code);
    op_case_begin(c, code);
    pq_quant_id q = op_case_scale(c, t, 0.5f, 0);
    for (uint32_t i = 0; i < info->min_inputs; i++) {
        if (is_quantized) {
            op_case_codes(c, t, DIMS(1, 2), codes, q);
        } else {
            op_case_in(c, t, DIMS(1, 2), codes);
        }
    }
    if (code == PQ_OP_CAST) {
        pq_build_i64(&c->b, PQ_ATTR_TO, PTQC_F32);
    }
    if (pq_build_end(&c->b, NULL, c->outs, &c->op) != PTQC_OK) {
        return false;
    }
    c->out_count = 1;
    if (is_quantized && info->cls != PQ_CLASS_COMPARE && code != PQ_OP_CAST) {
        pq_value_set_quant(c->g, c->outs[0], t, q);
    }
    assert_int_equal(pq_graph_add_output(c->g, c->outs[0]), PTQC_OK);
    return true;
}

static bool
is_covered(pq_opcode code)
{
    pq_op_class cls = pq_op_info_of(code)->cls;
    return cls == PQ_CLASS_UNARY || cls == PQ_CLASS_BINARY ||
           cls == PQ_CLASS_COMPARE || cls == PQ_CLASS_REDUCE ||
           code == PQ_OP_SOFTMAX || code == PQ_OP_CUMSUM ||
           code == PQ_OP_ARG_MAX || code == PQ_OP_CONCAT || code == PQ_OP_TRILU;
}

static void
what_is_not_declined_runs(void **state)
{
    (void)state;
    unsigned ran = 0, declined = 0;
    for (int code = PQ_OP_NONE + 1; code < PQ_OP_COUNT; code++) {
        for (int t = PTQC_F32; t <= PQ_DTYPE_LAST; t++) {
            for (int is_quantized = 0; is_quantized < 2; is_quantized++) {
                op_case c;
                pq_runner *r;
                if (!is_covered((pq_opcode)code)) {
                    continue;
                }
                if (begin_case(&c, (pq_opcode)code, (ptqc_dtype)t,
                               is_quantized != 0)) {
                    const char *why =
                        pq_interp_declines(c.g, pq_graph_op(c.g, c.op));
                    assert_int_equal(pq_interp_make(c.ctx, c.g, NULL, 0, &r),
                                     PTQC_OK);
                    c.st = r->run(r, c.in, op_case_observe, &c);
                    r->destroy(r);
                    ptqc_status want =
                        why == NULL ? PTQC_OK : PTQC_E_UNSUPPORTED;
                    if (c.st != want) {
                        fail_msg("%s %s: %s",
                                 pq_op_info_of((pq_opcode)code)->name,
                                 pq_dtype_name((ptqc_dtype)t), c.sink.text);
                    }
                    ran += why == NULL;
                    declined += why != NULL;
                }
                op_case_end(&c);
            }
        }
    }
    print_message("%u combinations ran, %u declined\n", ran, declined);
    assert_true(ran > 500);
    assert_true(declined > 100);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_a_row),
        cmocka_unit_test(what_is_not_declined_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
