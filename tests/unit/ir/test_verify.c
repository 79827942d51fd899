// SPDX-License-Identifier: Apache-2.0
//
// The verifier finds what a faulty pass could leave behind: each case breaks
// a good graph in one way.
#include <stdio.h>
#include <string.h>

#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

static const char good[] =
    "ptir 1\ngraph \"g\" stage quantized\nsymbol N = [1, inf]\n"
    "const c1: f32[1] = [0.5]\nconst c2: i32[1] = [0]\n"
    "const c3: i8[3, 4] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]\n"
    "const c4: f32[3] = [1, 2, 3]\nconst c5: i32[3] = [0, 0, 0]\n"
    "quant q1 = {format = u8, granularity = tensor, axis = 0, group = 0, "
    "symmetric = 0, dynamic = 0, scale = c1, zero_point = c2}\n"
    "quant q2 = {format = i8, granularity = channel, axis = 0, group = 0, "
    "symmetric = 1, dynamic = 0, scale = c4, zero_point = c5}\n"
    "input %x: f32[N, 4]\n%w: i8[3, 4] q2 = c3\n"
    "%a: u8[N, 4] q1 = quantize(%x)\n"
    "%y: u8[N, 3] q1 = matmul(%a, %w) {act = relu, trans_b = 1}\n"
    "%z: f32[N, 3] = dequantize(%y)\n"
    "%r: f32[N*3] = reshape(%z) {shape = [N*3]}\n"
    "output %r\n";

static pq_value *
value(pq_graph *g, const char *name)
{
    pq_value *v = pq_graph_value(g, pq_graph_find_value(g, pq_str_of(name)));
    assert_non_null(v);
    return v;
}

static pq_op *
op_of(pq_graph *g, const char *name)
{
    return pq_graph_op(g, value(g, name)->producer);
}

static void
break_use_count(pq_graph *g)
{
    value(g, "a")->use_count++;
}

static void
break_producer(pq_graph *g)
{
    value(g, "a")->producer = value(g, "y")->producer;
}

static void
break_output_index(pq_graph *g)
{
    value(g, "a")->output_index = 1;
}

static void
break_input_id(pq_graph *g)
{
    op_of(g, "y")->inputs[0] = (pq_value_id){1000};
}

static void
break_required_input(pq_graph *g)
{
    op_of(g, "y")->inputs[1] = PQ_NO_VALUE;
}

static void
break_arity(pq_graph *g)
{
    op_of(g, "y")->input_count = 1;
}

static void
break_dtype(pq_graph *g)
{
    value(g, "z")->type.dtype = PTQC_F16;
}

static void
break_dim(pq_graph *g)
{
    pq_dim dims[2] = {pq_dim_const(g, 7), pq_dim_const(g, 4)};
    pq_type type;
    assert_true(pq_type_make(g, PTQC_U8, dims, 2, &type));
    value(g, "y")->type = type;
}

static void
break_null_dim(pq_graph *g)
{
    static const pq_dim dims[2] = {{0}, {0}};
    value(g, "z")->type.dims = dims;
}

static void
break_attr_order(pq_graph *g)
{
    pq_op *op = op_of(g, "y");
    pq_attr first = op->attrs[0];
    op->attrs[0] = op->attrs[1];
    op->attrs[1] = first;
}

static void
break_act(pq_graph *g)
{
    op_of(g, "y")->attrs[0].i = PQ_OP_COUNT;
}

static void
break_order(pq_graph *g)
{
    pq_move_op(g, value(g, "z")->producer, value(g, "y")->producer);
}

static void
break_list(pq_graph *g)
{
    op_of(g, "z")->prev = (pq_op_id){0};
}

static void
break_dead_op(pq_graph *g)
{
    op_of(g, "z")->is_dead = true;
}

static void
break_format(pq_graph *g)
{
    pq_value_set_quant(g, pq_graph_find_value(g, PQ_STR("y")), PTQC_I8,
                       value(g, "y")->quant);
}

static void
break_quantized_output(pq_graph *g)
{
    value(g, "a")->quant = (pq_quant_id){0};
}

static void
break_scale_count(pq_graph *g) // three scales for an axis of four
{
    pq_quant q = *pq_graph_quant(g, value(g, "w")->quant);
    q.scheme.axis = 1;
    value(g, "w")->quant = pq_graph_add_quant(g, &q);
}

static void
break_granularity(pq_graph *g) // a scale per index of a symbolic axis
{
    value(g, "a")->quant = value(g, "w")->quant;
    value(g, "a")->type.dtype = PTQC_I8;
}

static void
break_missing_scale(pq_graph *g)
{
    pq_scheme s = {.format = PTQC_U8, .granularity = PQ_GRAN_TENSOR};
    value(g, "a")->quant = pq_graph_add_quant(g, &(pq_quant){.scheme = s});
}

static void
break_stage(pq_graph *g) // an annotation where codes must be
{
    value(g, "z")->quant = value(g, "y")->quant;
}

static void
break_constant(pq_graph *g)
{
    value(g, "w")->constant = (pq_const_id){4};
}

static void
break_output(pq_graph *g)
{
    pq_dim n = pq_dim_const(g, 1);
    pq_type type;
    assert_true(pq_type_make(g, PTQC_F32, &n, 1, &type));
    pq_graph_set_output(g, 0, pq_graph_add_value(g, PQ_STR("o"), type));
}

static const struct {
    const char *what;
    void (*damage)(pq_graph *g);
    const char *error;
} cases[] = {
    {"use count", break_use_count, "miscounted"},
    {"producer", break_producer, "does not belong"},
    {"output index", break_output_index, "does not belong"},
    {"input id", break_input_id, "not defined before it"},
    {"required input", break_required_input, "required input is absent"},
    {"arity", break_arity, "wrong number of inputs"},
    {"dtype", break_dtype, "inference gives"},
    {"dim", break_dim, "inference gives"},
    {"null dim", break_null_dim, "a dim is out of range"},
    {"attribute order", break_attr_order, "out of order"},
    {"act", break_act, "an attribute is malformed"},
    {"order", break_order, "not defined before it"},
    {"list", break_list, "the list of ops is broken"},
    {"dead op", break_dead_op, "the list of ops is broken"},
    {"format", break_format, "codes have another type"},
    {"quantized output", break_quantized_output, "no quantization"},
    {"scale count", break_scale_count, "do not fit its shape"},
    {"granularity", break_granularity, "the granularity does not fit"},
    {"missing scale", break_missing_scale, "do not fit its shape"},
    {"stage", break_stage, "codes have another type"},
    {"constant", break_constant, "type and constant differ"},
    {"output", break_output, "that nothing defines"},
};

static void
test_damage(void **state)
{
    (void)state;
    static pq_test_sink sink;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pq_graph *g;
        pq_test_sink_clear(&sink);
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        assert_int_equal(pq_graph_parse(ctx, "good", PQ_STR(good), &g),
                         PTQC_OK);
        assert_int_equal(pq_graph_verify(g), PTQC_OK);
        cases[i].damage(g);
        ptqc_status st = pq_graph_verify(g);
        if (st != PTQC_E_INTERNAL || sink.error_count != 1 ||
            strstr(sink.text, cases[i].error) == NULL) {
            print_error("%s: status %d\n%s", cases[i].what, (int)st, sink.text);
        }
        assert_int_equal(st, PTQC_E_INTERNAL);
        assert_int_equal(sink.error_count, 1);
        assert_non_null(strstr(sink.text, cases[i].error));
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

// Annotations are allowed in their stage, with and without scales.
static void
test_annotated(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g;
    assert_int_equal(pq_graph_parse(ctx, "good", PQ_STR(good), &g), PTQC_OK);
    pq_scheme s = {.format = PTQC_I8, .granularity = PQ_GRAN_TENSOR};
    value(g, "z")->quant = pq_graph_add_quant(g, &(pq_quant){.scheme = s});
    assert_int_equal(pq_graph_verify(g), PTQC_E_INTERNAL);
    pq_graph_set_stage(g, PQ_STAGE_ANNOTATED);
    assert_int_equal(pq_graph_verify(g), PTQC_OK);
    value(g, "z")->quant = value(g, "y")->quant;
    assert_int_equal(pq_graph_verify(g), PTQC_OK);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_annotated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
