// SPDX-License-Identifier: Apache-2.0
//
// The runner: symbols and their errors, watched values, memory, constants at
// odd addresses; what is declined; allocation failures.
#include "ir/rewrite.h"
#include "tests/unit/ir/interp/op_case.h"

// y = (x + k) * x, z = y summed; x is f32 [n, 3].
typedef struct fixture {
    pq_test_sink sink;
    ptqc_ctx *ctx;
    pq_graph *g;
    pq_value_id x, k, sum, y, z;
} fixture;

static const float three[3] = {10, 20, 30};

static ptqc_status
build(ptqc_ctx *ctx, fixture *f)
{
    pq_type type;
    PQ_TRY(pq_graph_create(ctx, &f->g));
    pq_dim dims[2] = {pq_dim_symbol(f->g, PQ_STR("n"), 1, 8),
                      pq_dim_const(f->g, 3)};
    if (!pq_type_make(f->g, PTQC_F32, dims, 2, &type)) {
        return PTQC_E_RESOURCE;
    }
    f->x = pq_graph_add_value(f->g, PQ_STR("x"), type);
    if (pq_value_is_none(f->x)) {
        return PTQC_E_RESOURCE;
    }
    PQ_TRY(pq_graph_add_input(f->g, f->x));
    const int64_t k_dims[1] = {3};
    PQ_TRY(pq_build_constant(f->g, PQ_STR("k"), PTQC_F32, k_dims, 1, three,
                             &f->k));
    pq_op_id end = {0};
    PQ_TRY(pq_build_binary(f->g, end, PQ_OP_ADD, f->x, f->k, &f->sum));
    PQ_TRY(pq_build_binary(f->g, end, PQ_OP_MUL, f->sum, f->x, &f->y));
    PQ_TRY(pq_build_unary(f->g, end, PQ_OP_REDUCE_SUM, f->y, &f->z));
    PQ_TRY(pq_graph_add_output(f->g, f->y));
    return pq_graph_add_output(f->g, f->z);
}

static void
begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->ctx = pq_test_ctx_create(&f->sink, NULL, 1);
    assert_int_equal(build(f->ctx, f), PTQC_OK);
}

static void
end(fixture *f)
{
    pq_graph_destroy(f->g);
    ptqc_ctx_destroy(f->ctx);
}

typedef struct seen {
    const fixture *f;
    unsigned count[8]; // by value index
    float y[6], z;
    float sum0;
    uint64_t live_bytes; // when z was shown
} seen;

static ptqc_status
observe(void *user, pq_value_id v, const pq_tensor *t)
{
    seen *s = user;
    assert_true(v.index < 8);
    s->count[v.index]++;
    if (pq_value_equal(v, s->f->y)) {
        assert_int_equal(t->bytes, sizeof s->y);
        memcpy(s->y, t->p, t->bytes);
    } else if (pq_value_equal(v, s->f->z)) {
        s->z = *(float *)t->p;
        s->live_bytes = pq_live_bytes(s->f->ctx);
    } else if (pq_value_equal(v, s->f->sum)) {
        s->sum0 = *(float *)t->p;
    }
    return PTQC_OK;
}

static pq_tensor
tensor(const float *x, int64_t rows, int64_t columns)
{
    return (pq_tensor){.dtype = PTQC_F32,
                       .rank = 2,
                       .dims = {rows, columns},
                       .p = (void *)(uintptr_t)x,
                       .bytes = (size_t)(rows * columns) * 4};
}

static void
outputs_and_watched(void **state)
{
    (void)state;
    fixture f;
    pq_runner *r;
    begin(&f);
    const pq_value_id watched[3] = {f.sum, f.x, f.k};
    const float x[6] = {1, 2, 3, 4, 5, 6};
    pq_tensor in = tensor(x, 2, 3);
    assert_int_equal(pq_interp_make(f.ctx, f.g, watched, 3, &r), PTQC_OK);
    for (int run = 0; run < 2; run++) {
        seen s = {.f = &f};
        assert_int_equal(r->run(r, &in, observe, &s), PTQC_OK);
        assert_int_equal(s.count[f.x.index], 1);
        assert_int_equal(s.count[f.k.index], 1);
        assert_int_equal(s.count[f.sum.index], 1);
        assert_int_equal(s.count[f.y.index], 1);
        assert_int_equal(s.count[f.z.index], 1);
        assert_true(s.sum0 == 11);
        assert_true(s.y[5] == 36 * 6);
        assert_true(s.z == 11 + 44 + 99 + 56 + 125 + 216);
    }
    r->destroy(r);
    end(&f);
}

static void
nothing_else_is_shown(void **state)
{
    (void)state;
    fixture f;
    pq_runner *r;
    begin(&f);
    const float x[3] = {1, 2, 3};
    pq_tensor in = tensor(x, 1, 3);
    seen s = {.f = &f};
    assert_int_equal(pq_interp_make(f.ctx, f.g, NULL, 0, &r), PTQC_OK);
    in.dims[0] = 2; // says so before it reads
    assert_int_equal(r->run(r, &in, observe, &s), PTQC_E_INPUT);
    in.dims[0] = 1;
    pq_graph_drop_outputs(f.g, 0);
    r->destroy(r);
    assert_int_equal(pq_interp_make(f.ctx, f.g, NULL, 0, &r), PTQC_OK);
    assert_int_equal(r->run(r, &in, observe, &s), PTQC_OK);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(s.count[i], 0);
    }
    r->destroy(r);
    end(&f);
}

static void
refused_inputs(void **state)
{
    (void)state;
    static const struct {
        int64_t rows, columns;
        ptqc_dtype dtype;
        uint32_t rank;
        const char *text;
    } cases[] = {
        {2, 4, PTQC_F32, 2, "input 'x': dimension 1 is 4, expected 3"},
        {9, 3, PTQC_F32, 2, "n"},
        {0, 3, PTQC_F32, 2, "n"},
        {2, 3, PTQC_I32, 2, "input 'x': type is i32, expected f32"},
        {2, 3, PTQC_F32, 1, "input 'x': rank is 1, expected 2"},
    };
    static const float x[64] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture f;
        pq_runner *r;
        begin(&f);
        seen s = {.f = &f};
        pq_tensor in = tensor(x, cases[i].rows, cases[i].columns);
        in.dtype = cases[i].dtype;
        in.rank = cases[i].rank;
        in.bytes = in.rank == 1 ? (size_t)cases[i].rows * 4 : in.bytes;
        assert_int_equal(pq_interp_make(f.ctx, f.g, NULL, 0, &r), PTQC_OK);
        assert_int_equal(r->run(r, &in, observe, &s), PTQC_E_INPUT);
        assert_int_equal(f.sink.error_count, 1);
        assert_non_null(strstr(f.sink.text, cases[i].text));
        r->destroy(r);
        end(&f);
    }
}

static pq_value_id
add_input(pq_graph *g, const char *name, pq_dim d)
{
    pq_type type;
    assert_true(pq_type_make(g, PTQC_F32, &d, 1, &type));
    pq_value_id v = pq_graph_add_value(g, pq_str_of(name), type);
    assert_int_equal(pq_graph_add_input(g, v), PTQC_OK);
    return v;
}

static ptqc_status
count_only(void *user, pq_value_id v, const pq_tensor *t)
{
    (void)v;
    *(int64_t *)user = t->dims[0];
    return PTQC_OK;
}

// a: [n], b: [2 * n]: n comes from a, b is checked; [2 * n] alone is refused.
static void
symbols_across_inputs(void **state)
{
    (void)state;
    for (int with_plain = 0; with_plain < 2; with_plain++) {
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_graph *g;
        pq_runner *r;
        pq_value_id out;
        int64_t size = 0;
        static float x[8];
        assert_int_equal(pq_graph_create(ctx, &g), PTQC_OK);
        pq_dim n = pq_dim_symbol(g, PQ_STR("n"), 1, INT64_MAX);
        pq_dim twice = pq_dim_make(g, PQ_DIM_MUL, n, pq_dim_const(g, 2));
        pq_value_id b = add_input(g, "b", twice);
        pq_value_id a = with_plain ? add_input(g, "a", n) : b;
        assert_int_equal(pq_build_unary(g, (pq_op_id){0}, PQ_OP_NEG, b, &out),
                         PTQC_OK);
        assert_int_equal(pq_graph_add_output(g, out), PTQC_OK);
        (void)a;
        pq_tensor in[2] = {
            {.dtype = PTQC_F32, .rank = 1, .dims = {6}, .p = x, .bytes = 24},
            {.dtype = PTQC_F32, .rank = 1, .dims = {3}, .p = x, .bytes = 12}};
        assert_int_equal(pq_interp_make(ctx, g, NULL, 0, &r), PTQC_OK);
        ptqc_status st = r->run(r, in, count_only, &size);
        if (with_plain) {
            assert_int_equal(st, PTQC_OK);
            assert_int_equal(size, 6);
            in[0].dims[0] = 4;
            in[0].bytes = 16;
            assert_int_equal(r->run(r, in, count_only, &size), PTQC_E_INPUT);
            assert_non_null(
                strstr(sink.text, "input 'b': dimension 0 is 4, expected 6"));
        } else {
            assert_int_equal(st, PTQC_E_INPUT);
            assert_non_null(strstr(sink.text, "no input's shape gives"));
        }
        r->destroy(r);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

// A long chain: only two tensors are alive at a time.
static void
intermediates_are_freed(void **state)
{
    (void)state;
    enum { LENGTH = 40, ELEMENTS = 65536 };
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g;
    pq_runner *r;
    int64_t size = 0;
    assert_int_equal(pq_graph_create(ctx, &g), PTQC_OK);
    pq_value_id v = add_input(g, "x", pq_dim_const(g, ELEMENTS));
    for (int i = 0; i < LENGTH; i++) {
        assert_int_equal(pq_build_unary(g, (pq_op_id){0}, PQ_OP_NEG, v, &v),
                         PTQC_OK);
    }
    assert_int_equal(pq_graph_add_output(g, v), PTQC_OK);
    float *x = pq_alloc_array(ctx, ELEMENTS, sizeof *x);
    pq_tensor in = {.dtype = PTQC_F32,
                    .rank = 1,
                    .dims = {ELEMENTS},
                    .p = x,
                    .bytes = ELEMENTS * 4};
    assert_int_equal(pq_interp_make(ctx, g, NULL, 0, &r), PTQC_OK);
    uint64_t before = pq_live_bytes(ctx);
    assert_int_equal(r->run(r, &in, count_only, &size), PTQC_OK);
    assert_int_equal(pq_live_bytes(ctx), before);
    assert_true(ptqc_ctx_peak_bytes(ctx) < before + 4 * (ELEMENTS * 4 + 4096));
    r->destroy(r);
    pq_free(ctx, x);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// Constants in mapped files may start at any byte.
static void
unaligned_constant(void **state)
{
    (void)state;
    fixture f;
    pq_runner *r;
    begin(&f);
    char bytes[13];
    const float k[3] = {1, 2, 4};
    memcpy(bytes + 1, k, sizeof k);
    static const int64_t dims[1] = {3};
    pq_constant c = {.dtype = PTQC_F32,
                     .rank = 1,
                     .dims = dims,
                     .p = bytes + 1,
                     .bytes = sizeof k};
    pq_value_id v = pq_graph_add_constant_value(f.g, PQ_STR("odd"),
                                                pq_graph_add_constant(f.g, &c));
    assert_int_equal(pq_replace_uses(f.g, f.k, v), PTQC_OK);
    const float x[3] = {1, 1, 1};
    pq_tensor in = tensor(x, 1, 3);
    int64_t size = 0;
    assert_int_equal(pq_interp_make(f.ctx, f.g, NULL, 0, &r), PTQC_OK);
    assert_int_equal(r->run(r, &in, count_only, &size), PTQC_OK);
    r->destroy(r);
    end(&f);
}

// An empty tensor may have no address at all.
static void
empty_without_address(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_CONCAT);
    op_case_in(&c, PTQC_F32, DIMS(0), "");
    op_case_in(&c, PTQC_F32, DIMS(2), (float[]){1, 2});
    pq_free(c.ctx, c.in[0].p);
    c.in[0].p = NULL;
    op_case_run(&c);
    EXPECT_F32(&c, 1, 2);
    op_case_end(&c);
}

static void
declines_names_the_operand(void **state)
{
    (void)state;
    op_case c;
    op_case_begin(&c, PQ_OP_SOFTMAX);
    op_case_in(&c, PTQC_I32, DIMS(2), (int32_t[]){1, 2});
    op_case_build(&c);
    const char *why = pq_interp_declines(c.g, pq_graph_op(c.g, c.op));
    assert_non_null(why);
    assert_string_equal(why, "input 0 of type i32 (plain)");
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_SOFTMAX);
    op_case_in(&c, PTQC_F16, DIMS(2), (uint16_t[]){0, 0});
    op_case_build(&c);
    assert_null(pq_interp_declines(c.g, pq_graph_op(c.g, c.op)));
    op_case_end(&c);

    op_case_begin(&c, PQ_OP_MAX);
    op_case_codes(&c, PTQC_I8, DIMS(1), (int8_t[]){1},
                  op_case_scale(&c, PTQC_I8, 1, 0));
    op_case_in(&c, PTQC_I32, DIMS(1), (int32_t[]){1});
    op_case_build(&c);
    assert_string_equal(pq_interp_declines(c.g, pq_graph_op(c.g, c.op)),
                        "different types: input 1 of type i32 (plain)");
    op_case_end(&c);
}

static ptqc_status
sweep_body(ptqc_ctx *ctx, void *user)
{
    (void)user;
    static const float x[3] = {1, 2, 3};
    fixture f = {.ctx = ctx};
    pq_runner *r = NULL;
    pq_tensor in = tensor(x, 1, 3);
    int64_t size = 0;
    ptqc_status st = build(ctx, &f);
    if (st == PTQC_OK) {
        st = pq_interp_make(ctx, f.g, NULL, 0, &r);
    }
    if (st == PTQC_OK) {
        st = r->run(r, &in, count_only, &size);
    }
    if (r != NULL) {
        r->destroy(r);
    }
    pq_graph_destroy(f.g);
    return st;
}

static void
allocation_failures(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(sweep_body, NULL) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_and_watched),
        cmocka_unit_test(nothing_else_is_shown),
        cmocka_unit_test(refused_inputs),
        cmocka_unit_test(symbols_across_inputs),
        cmocka_unit_test(intermediates_are_freed),
        cmocka_unit_test(unaligned_constant),
        cmocka_unit_test(empty_without_address),
        cmocka_unit_test(declines_names_the_operand),
        cmocka_unit_test(allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
