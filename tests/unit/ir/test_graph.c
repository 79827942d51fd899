// SPDX-License-Identifier: Apache-2.0
//
// The tables of a graph: names, constants, boundary, uses; changing it:
// replacing, erasing, moving, attributes, re-inference; clones.
#include <string.h>

#include "ir/builder.h"
#include "ir/rewrite.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

typedef struct fixture {
    ptqc_ctx *ctx;
    pq_test_sink sink;
    pq_graph *g;
} fixture;

static int
setup(void **state)
{
    static fixture f;
    f = (fixture){0};
    f.ctx = pq_test_ctx_create(&f.sink, NULL, 1);
    assert_int_equal(pq_graph_create(f.ctx, &f.g), PTQC_OK);
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    fixture *f = *state;
    pq_graph_destroy(f->g);
    assert_true(pq_live_bytes(f->ctx) == 0);
    ptqc_ctx_destroy(f->ctx);
    return 0;
}

static pq_value_id
add_input(fixture *f, const char *name, int64_t n)
{
    pq_dim dim = pq_dim_const(f->g, n);
    pq_type type;
    assert_true(pq_type_make(f->g, PTQC_F32, &dim, 1, &type));
    pq_value_id v = pq_graph_add_value(f->g, pq_str_of(name), type);
    assert_false(pq_value_is_none(v));
    assert_int_equal(pq_graph_add_input(f->g, v), PTQC_OK);
    return v;
}

static pq_value_id
unary(fixture *f, pq_op_id before, pq_opcode code, pq_value_id x)
{
    pq_value_id y = PQ_NO_VALUE;
    assert_int_equal(pq_build_unary(f->g, before, code, x, &y), PTQC_OK);
    return y;
}

static pq_op_id
producer(fixture *f, pq_value_id v)
{
    return pq_graph_value(f->g, v)->producer;
}

static const pq_op_id at_end = {0};

static void
test_names(void **state)
{
    fixture *f = *state;
    pq_value_id a = add_input(f, "x", 3);
    pq_value_id b = add_input(f, "x", 3);
    pq_value_id c = add_input(f, "", 3);
    assert_int_equal(a.index, 1);
    assert_string_equal(pq_graph_value(f->g, a)->name.p, "x");
    assert_false(pq_str_equal(pq_graph_value(f->g, a)->name,
                              pq_graph_value(f->g, b)->name));
    assert_true(pq_graph_value(f->g, c)->name.n != 0);
    pq_value_id found =
        pq_graph_find_value(f->g, pq_graph_value(f->g, b)->name);
    assert_int_equal(found.index, b.index);
    assert_true(pq_value_is_none(pq_graph_find_value(f->g, PQ_STR("missing"))));
    assert_null(pq_graph_value(f->g, PQ_NO_VALUE));
    assert_null(pq_graph_value(f->g, (pq_value_id){99}));
    // A made-up name that is taken already still gives a name of its own.
    add_input(f, "t5", 1);
    pq_value_id d = add_input(f, "", 1);
    assert_int_equal(d.index, 5);
    assert_false(pq_str_equal_z(pq_graph_value(f->g, d)->name, "t5"));
}

static void
test_constants(void **state)
{
    fixture *f = *state;
    int64_t dims[2] = {2, 2};
    int32_t numbers[4] = {1, -2, 3, 4};
    pq_value_id v;
    assert_int_equal(
        pq_build_constant(f->g, PQ_STR("k"), PTQC_I32, dims, 2, numbers, &v),
        PTQC_OK);
    const pq_value *value = pq_graph_value(f->g, v);
    const pq_constant *c = pq_graph_constant(f->g, value->constant);
    assert_int_equal(c->bytes, 16);
    assert_memory_equal(c->p, numbers, 16);
    assert_int_equal(value->element_count, 4);
    int64_t second;
    assert_true(pq_dim_is_const(f->g, value->elements[1], &second));
    assert_true(second == -2);
    const pq_sha256 *hash;
    const pq_sha256 *again;
    assert_int_equal(pq_graph_constant_hash(f->g, value->constant, &hash),
                     PTQC_OK);
    assert_int_equal(pq_graph_constant_hash(f->g, value->constant, &again),
                     PTQC_OK);
    assert_ptr_equal(hash, again);
    pq_constant wrong = *c;
    wrong.bytes = 15;
    assert_true(pq_const_is_none(pq_graph_add_constant(f->g, &wrong)));
    assert_int_equal(pq_graph_failure(f->g), PTQC_E_INPUT);
    wrong = (pq_constant){.dtype = PTQC_I8, .rank = 9, .dims = dims};
    assert_true(pq_const_is_none(pq_graph_add_constant(f->g, &wrong)));
    assert_int_equal(pq_graph_failure(f->g), PTQC_E_UNSUPPORTED);
    int64_t huge[2] = {INT64_MAX, 16};
    assert_int_equal(
        pq_build_constant(f->g, PQ_STR("k"), PTQC_I32, huge, 2, numbers, &v),
        PTQC_E_INPUT);
    assert_int_equal(f->sink.error_count, 3);
}

static void
test_boundary(void **state)
{
    fixture *f = *state;
    pq_value_id x = add_input(f, "x", 3);
    pq_value_id y = unary(f, at_end, PQ_OP_RELU, x);
    pq_value_id z = unary(f, at_end, PQ_OP_NEG, y);
    assert_int_equal(pq_graph_add_input(f->g, x), PTQC_E_INTERNAL);
    assert_int_equal(pq_graph_add_input(f->g, y), PTQC_E_INTERNAL);
    assert_int_equal(pq_graph_add_output(f->g, PQ_NO_VALUE), PTQC_E_INTERNAL);
    assert_int_equal(pq_graph_add_output(f->g, z), PTQC_OK);
    assert_int_equal(pq_graph_add_output(f->g, z), PTQC_OK);
    assert_int_equal(pq_graph_value(f->g, z)->use_count, 2);
    assert_int_equal(pq_graph_set_output_name(f->g, 1, PQ_STR("last")),
                     PTQC_OK);
    pq_graph_set_output(f->g, 1, y);
    assert_true(pq_str_equal_z(pq_graph_output_name(f->g, 1), "last"));
    assert_int_equal(pq_graph_value(f->g, z)->use_count, 1);
    assert_int_equal(pq_graph_value(f->g, y)->use_count, 2);
    assert_true(pq_value_is_output(f->g, y));
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
    pq_graph_drop_outputs(f->g, 1);
    assert_int_equal(pq_graph_output_count(f->g), 1);
    assert_false(pq_value_is_output(f->g, y));
    assert_true(pq_value_is_none(pq_graph_output(f->g, 1)));
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
}

static void
test_replacing(void **state)
{
    fixture *f = *state;
    pq_value_id x = add_input(f, "x", 3);
    pq_value_id y = unary(f, at_end, PQ_OP_RELU, x);
    pq_value_id square;
    assert_int_equal(pq_build_binary(f->g, at_end, PQ_OP_MUL, y, y, &square),
                     PTQC_OK);
    assert_int_equal(pq_graph_add_output(f->g, y), PTQC_OK);
    assert_int_equal(pq_graph_value(f->g, y)->use_count, 3);
    assert_true(pq_op_is_none(pq_single_user(f->g, y)));
    // An op put behind y: its own operand stays y.
    pq_value_id clipped = unary(f, producer(f, square), PQ_OP_SIGMOID, y);
    assert_int_equal(pq_replace_uses(f->g, y, clipped), PTQC_OK);
    assert_int_equal(pq_graph_value(f->g, y)->use_count, 1);
    assert_int_equal(pq_graph_value(f->g, clipped)->use_count, 3);
    assert_int_equal(pq_single_user(f->g, y).index, producer(f, clipped).index);
    assert_int_equal(pq_graph_output(f->g, 0).index, clipped.index);
    const pq_op *mul = pq_graph_op(f->g, producer(f, square));
    assert_int_equal(mul->inputs[0].index, clipped.index);
    assert_int_equal(mul->inputs[1].index, clipped.index);
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
    assert_int_equal(pq_replace_uses(f->g, y, y), PTQC_OK);
    assert_int_equal(pq_replace_uses(f->g, y, PQ_NO_VALUE), PTQC_E_INTERNAL);
}

static void
test_erasing(void **state)
{
    fixture *f = *state;
    pq_value_id x = add_input(f, "x", 3);
    pq_value_id a = unary(f, at_end, PQ_OP_RELU, x);
    pq_value_id b = unary(f, at_end, PQ_OP_NEG, a);
    pq_value_id c = unary(f, at_end, PQ_OP_ABS, b);
    unary(f, at_end, PQ_OP_EXP, b); // dead
    assert_int_equal(pq_graph_add_output(f->g, a), PTQC_OK);
    uint32_t seen = 0;
    PQ_FOR_EACH_OP(f->g, id)
    {
        seen++;
        if (pq_op_equal(id, producer(f, c))) {
            pq_erase_op(f->g, id); // while walking
        }
    }
    assert_int_equal(seen, 4);
    assert_true(pq_value_is_none(
        pq_graph_find_value(f->g, pq_graph_value(f->g, c)->name)));
    assert_int_equal(pq_erase_dead(f->g), 2); // exp, then neg
    assert_int_equal(pq_graph_live_op_count(f->g), 1);
    assert_int_equal(pq_graph_value(f->g, a)->use_count, 1);
    assert_int_equal(pq_graph_first_op(f->g).index,
                     pq_graph_last_op(f->g).index);
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
}

static void
test_moving_and_order(void **state)
{
    fixture *f = *state;
    pq_value_id x = add_input(f, "x", 3);
    pq_value_id a = unary(f, at_end, PQ_OP_RELU, x);
    pq_value_id b = unary(f, at_end, PQ_OP_NEG, x);
    pq_value_id c = unary(f, at_end, PQ_OP_ABS, a);
    pq_move_op(f->g, producer(f, b), producer(f, a));
    assert_int_equal(pq_graph_first_op(f->g).index, producer(f, b).index);
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
    pq_move_op(f->g, producer(f, c), producer(f, a));
    assert_int_equal(pq_graph_verify(f->g), PTQC_E_INTERNAL);
    assert_non_null(strstr(f->sink.text, "not defined before it"));
    pq_move_op(f->g, producer(f, c), at_end);
    assert_int_equal(pq_graph_last_op(f->g).index, producer(f, c).index);
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
}

static void
test_operands_and_attributes(void **state)
{
    fixture *f = *state;
    pq_value_id x = add_input(f, "x", 3);
    pq_value_id s = add_input(f, "s", 3);
    pq_value_id t = add_input(f, "t", 3);
    pq_builder b;
    pq_op_id op;
    pq_build_begin(&b, f->g, at_end, PQ_OP_LAYER_NORM, PQ_STR("n"));
    pq_build_input(&b, x);
    pq_build_input(&b, s);
    pq_build_input(&b, PQ_NO_VALUE); // trailing: dropped
    pq_build_f32(&b, PQ_ATTR_EPSILON, 1e-5f);
    pq_build_i64(&b, PQ_ATTR_AXIS, -1);
    assert_int_equal(pq_build_end(&b, NULL, NULL, &op), PTQC_OK);
    const pq_op *n = pq_graph_op(f->g, op);
    assert_int_equal(n->input_count, 2);
    assert_true(pq_op_i64(n, PQ_ATTR_AXIS, 7) == 0); // normalized
    assert_int_equal(pq_set_input(f->g, op, 2, t), PTQC_OK);
    assert_int_equal(n->input_count, 3);
    assert_int_equal(pq_graph_value(f->g, t)->use_count, 1);
    assert_int_equal(pq_set_input(f->g, op, 2, s), PTQC_OK);
    assert_int_equal(pq_graph_value(f->g, t)->use_count, 0);
    assert_int_equal(pq_graph_value(f->g, s)->use_count, 2);
    assert_int_equal(pq_set_input(f->g, op, 3, s), PTQC_E_INTERNAL);
    assert_int_equal(
        pq_set_attr(f->g, op, &(pq_attr){.name = PQ_ATTR_ALPHA, .f = 2}),
        PTQC_OK);
    assert_int_equal(
        pq_set_attr(f->g, op, &(pq_attr){.name = PQ_ATTR_ALPHA, .f = 3}),
        PTQC_OK);
    assert_int_equal(n->attr_count, 3);
    assert_int_equal(n->attrs[0].name, PQ_ATTR_ALPHA); // ascending
    assert_true(pq_op_f32(n, PQ_ATTR_ALPHA, 0) == 3);  // exact
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
    pq_drop_attr(f->g, op, PQ_ATTR_ALPHA);
    pq_drop_attr(f->g, op, PQ_ATTR_ALPHA);
    assert_int_equal(n->attr_count, 2);
    assert_null(pq_op_attr(n, PQ_ATTR_ALPHA));
    assert_true(pq_op_int_at(n, PQ_ATTR_STRIDES, 0, 5) == 5);
}

static void
test_builder_refusals(void **state)
{
    fixture *f = *state;
    pq_value_id x = add_input(f, "x", 3);
    pq_builder b;
    pq_build_begin(&b, f->g, at_end, PQ_OP_RELU, PQ_STR("r"));
    pq_build_input(&b, (pq_value_id){77});
    assert_int_equal(pq_build_end(&b, NULL, NULL, NULL), PTQC_E_INTERNAL);
    pq_build_begin(&b, f->g, at_end, PQ_OP_COUNT, PQ_STR("r"));
    assert_int_equal(pq_build_end(&b, NULL, NULL, NULL), PTQC_E_INTERNAL);
    pq_build_begin(&b, f->g, at_end, PQ_OP_RELU, PQ_STR("r"));
    pq_build_input(&b, x);
    pq_build_f32(&b, PQ_ATTR_AXIS, 1);
    pq_build_i64(&b, PQ_ATTR_AXIS, 1); // after a failure: nothing
    assert_int_equal(pq_build_end(&b, NULL, NULL, NULL), PTQC_E_INTERNAL);
    pq_build_begin(&b, f->g, at_end, PQ_OP_CAST, PQ_STR("r"));
    pq_build_input(&b, x);
    pq_build_i64(&b, PQ_ATTR_TO, (INT64_C(1) << 32) + 1);
    assert_int_equal(pq_build_end(&b, NULL, NULL, NULL), PTQC_E_INTERNAL);
    pq_build_begin(&b, f->g, at_end, PQ_OP_RELU, PQ_STR("r"));
    for (int i = 0; i < 300; i++) {
        pq_build_input(&b, x);
    }
    assert_int_equal(pq_build_end(&b, NULL, NULL, NULL), PTQC_E_INTERNAL);
    assert_int_equal(f->sink.error_count, 5);
    assert_int_equal(pq_graph_op_count(f->g), 1); // the null op only
    assert_int_equal(pq_graph_value(f->g, x)->use_count, 0);
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
}

static void
test_reinference(void **state)
{
    fixture *f = *state;
    pq_value_id x = add_input(f, "x", 3);
    pq_value_id wide = add_input(f, "wide", 5);
    pq_value_id y = unary(f, at_end, PQ_OP_RELU, x);
    pq_value_id z = unary(f, at_end, PQ_OP_NEG, y);
    assert_int_equal(pq_set_input(f->g, producer(f, y), 0, wide), PTQC_OK);
    assert_int_equal(pq_graph_verify(f->g), PTQC_E_INTERNAL);
    assert_non_null(strstr(f->sink.text, "not what inference gives"));
    assert_int_equal(pq_reinfer(f->g, producer(f, y)), PTQC_OK);
    assert_int_equal(pq_reinfer(f->g, producer(f, z)), PTQC_OK);
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
    int64_t n;
    assert_true(
        pq_dim_is_const(f->g, pq_graph_value(f->g, z)->type.dims[0], &n));
    assert_true(n == 5);
    // A quantized output keeps its type.
    pq_scheme scheme = {
        .format = PTQC_I8, .granularity = PQ_GRAN_TOKEN, .dynamic = true};
    pq_quant_id q = pq_graph_add_quant(f->g, &(pq_quant){.scheme = scheme});
    pq_value_set_quant(f->g, y, PTQC_I8, q);
    assert_int_equal(pq_reinfer(f->g, producer(f, y)), PTQC_OK);
    assert_int_equal(pq_graph_value(f->g, y)->type.dtype, PTQC_I8);
}

static const char text[] =
    "ptir 1\ngraph \"g\" stage float\nsymbol N = [1, inf]\n"
    "const c1: f32[4] = [1, 2, 3, 4]\n"
    "input %x: f32[N, 4]\n%k: f32[4] = c1\n"
    "%y: f32[N, 4] = mul \"m\"(%x, %k)\n"
    "%z: f32[N/2, 8] = reshape(%y) {shape = [N/2, 8]}\n"
    "output %z as \"out\"\n";

static void
assert_prints(const pq_graph *g, ptqc_ctx *ctx)
{
    pq_strbuf out;
    pq_strbuf_init(&out, ctx);
    assert_int_equal(pq_graph_print(g, 0, &out), PTQC_OK);
    assert_string_equal(out.p, text);
    pq_strbuf_deinit(&out);
}

static void
test_clone(void **state)
{
    fixture *f = *state;
    pq_graph *g;
    pq_graph *copy;
    pq_graph *own;
    assert_int_equal(pq_graph_parse(f->ctx, "t", PQ_STR(text), &g), PTQC_OK);
    pq_value_id dead;
    pq_value_id x = pq_graph_input(g, 0);
    assert_int_equal(pq_build_unary(g, at_end, PQ_OP_ABS, x, &dead), PTQC_OK);
    pq_erase_op(g, pq_graph_value(g, dead)->producer);
    assert_int_equal(pq_graph_clone(g, false, &copy), PTQC_OK);
    assert_int_equal(pq_graph_clone(g, true, &own), PTQC_OK);
    assert_int_equal(pq_graph_verify(copy), PTQC_OK);
    assert_int_equal(pq_graph_value_count(copy), pq_graph_value_count(g));
    assert_int_equal(pq_graph_op_count(copy), pq_graph_op_count(g));
    assert_int_equal(pq_graph_find_value(copy, PQ_STR("z")).index,
                     pq_graph_find_value(g, PQ_STR("z")).index);
    assert_prints(copy, f->ctx);
    // Changing the clone leaves the source alone.
    pq_value_id y;
    assert_int_equal(
        pq_build_unary(copy, at_end, PQ_OP_NEG, pq_graph_output(copy, 0), &y),
        PTQC_OK);
    pq_graph_set_output(copy, 0, y);
    assert_int_equal(pq_graph_verify(copy), PTQC_OK);
    pq_graph_destroy(copy);
    assert_prints(g, f->ctx);
    pq_graph_destroy(g);
    assert_prints(own, f->ctx); // outlives its source
    assert_int_equal(pq_graph_verify(own), PTQC_OK);
    pq_graph_destroy(own);
}

// Large enough that tables grow; uses stay consistent.
static void
test_many_ops(void **state)
{
    fixture *f = *state;
    pq_value_id x = add_input(f, "x", 3);
    pq_value_id first = unary(f, at_end, PQ_OP_RELU, x);
    pq_value_id y = first;
    const pq_value *kept = pq_graph_value(f->g, first);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(pq_build_binary(f->g, at_end, PQ_OP_ADD, y, first, &y),
                         PTQC_OK);
    }
    assert_int_equal(pq_graph_add_output(f->g, y), PTQC_OK);
    assert_ptr_equal(kept, pq_graph_value(f->g, first)); // pointers stay
    assert_int_equal(kept->use_count, 3001);
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
    assert_int_equal(pq_replace_uses(f->g, first, x), PTQC_OK);
    assert_int_equal(kept->use_count, 0);
    assert_int_equal(pq_erase_dead(f->g), 1);
    assert_int_equal(pq_graph_verify(f->g), PTQC_OK);
}

static ptqc_status
clone_body(ptqc_ctx *ctx, void *user)
{
    pq_graph *g;
    pq_graph *copy = NULL;
    (void)user;
    PQ_TRY(pq_graph_parse(ctx, "sweep", PQ_STR(text), &g));
    ptqc_status st = pq_graph_clone(g, true, &copy);
    if (st == PTQC_OK) {
        st = pq_graph_verify(copy);
    }
    pq_graph_destroy(copy);
    pq_graph_destroy(g);
    return st;
}

static void
test_allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(clone_body, NULL) > 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_constants),
        TEST(test_boundary),
        TEST(test_replacing),
        TEST(test_erasing),
        TEST(test_moving_and_order),
        TEST(test_operands_and_attributes),
        TEST(test_builder_refusals),
        TEST(test_reinference),
        TEST(test_clone),
        TEST(test_many_ops),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
