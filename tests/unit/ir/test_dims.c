// SPDX-License-Identifier: Apache-2.0
//
// Symbolic dims: equal expressions get equal ids, and simplification never
// changes a value (random expressions against plain evaluation).
#include <string.h>

#include "ir/graph.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/random.h"

typedef struct fixture {
    ptqc_ctx *ctx;
    pq_test_sink sink;
    pq_graph *g;
    pq_dim n, m, e; // e: a multiple of 32
} fixture;

static int
setup(void **state)
{
    static fixture f;
    f = (fixture){0};
    f.ctx = pq_test_ctx_create(&f.sink, NULL, 1);
    assert_int_equal(pq_graph_create(f.ctx, &f.g), PTQC_OK);
    f.n = pq_dim_symbol(f.g, PQ_STR("N"), 1, INT64_MAX);
    f.m = pq_dim_symbol(f.g, PQ_STR("M"), 1, 1000);
    f.e = pq_dim_symbol(f.g, PQ_STR("E"), 0, 4096);
    pq_graph_symbol(f.g, 2)->multiple = 32;
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

static pq_dim
with(fixture *f, pq_dim_op op, pq_dim a, int64_t b)
{
    return pq_dim_make(f->g, op, a, pq_dim_const(f->g, b));
}

#define ADD PQ_DIM_ADD
#define SUB PQ_DIM_SUB
#define MUL PQ_DIM_MUL
#define DIV PQ_DIM_DIV

static void
assert_same(pq_dim a, pq_dim b)
{
    assert_int_not_equal(a.index, 0);
    assert_int_equal(a.index, b.index);
}

static void
test_sums_and_products(void **state)
{
    fixture *f = *state;
    pq_graph *g = f->g;
    assert_same(with(f, ADD, f->n, 0), f->n);
    assert_same(with(f, MUL, f->n, 1), f->n);
    assert_same(with(f, MUL, f->n, 0), pq_dim_const(g, 0));
    assert_same(with(f, DIV, f->n, 1), f->n);
    assert_same(with(f, SUB, with(f, ADD, f->n, 1), 1), f->n);
    assert_same(pq_dim_make(g, MUL, f->n, f->m),
                pq_dim_make(g, MUL, f->m, f->n));
    assert_same(pq_dim_make(g, SUB, f->n, f->n), pq_dim_const(g, 0));
    assert_same(pq_dim_make(g, ADD, f->n, f->n), with(f, MUL, f->n, 2));
    // (N + M)(N - M) = N*N - M*M
    pq_dim left = pq_dim_make(g, MUL, pq_dim_make(g, ADD, f->n, f->m),
                              pq_dim_make(g, SUB, f->n, f->m));
    pq_dim right = pq_dim_make(g, SUB, pq_dim_make(g, MUL, f->n, f->n),
                               pq_dim_make(g, MUL, f->m, f->m));
    assert_same(left, right);
    pq_dim seven = pq_dim_const(g, 7);
    int64_t value;
    assert_true(pq_dim_is_const(g, seven, &value) && value == 7);
    assert_false(pq_dim_is_const(g, f->n, NULL));
}

static void
test_divisions(void **state)
{
    fixture *f = *state;
    pq_graph *g = f->g;
    assert_same(with(f, DIV, with(f, MUL, f->n, 4), 4), f->n);
    assert_same(with(f, DIV, with(f, ADD, with(f, MUL, f->n, 4), 3), 4), f->n);
    assert_same(with(f, DIV, with(f, DIV, f->n, 2), 3), with(f, DIV, f->n, 6));
    assert_same(with(f, PQ_DIM_CDIV, f->n, 2),
                with(f, DIV, with(f, ADD, f->n, 1), 2));
    // Pooling: ((N + 1) - 2)/2 + 1 = (N + 1)/2.
    pq_dim pooled = with(f, DIV, with(f, SUB, with(f, ADD, f->n, 1), 2), 2);
    assert_same(with(f, ADD, pooled, 1),
                with(f, DIV, with(f, ADD, f->n, 1), 2));
    // (N/2)*2 is not N, (E/8)*8 is E.
    assert_int_not_equal(with(f, MUL, with(f, DIV, f->n, 2), 2).index,
                         f->n.index);
    assert_same(with(f, MUL, with(f, DIV, f->e, 8), 8), f->e);
    assert_same(with(f, MUL, with(f, DIV, f->e, 8), 4), with(f, DIV, f->e, 2));
    pq_dim eighth = with(f, DIV, f->e, 8);
    pq_dim sum = pq_dim_make(g, ADD, eighth, eighth);
    assert_same(sum, with(f, DIV, f->e, 4));
    assert_same(with(f, PQ_DIM_MOD, f->e, 16), pq_dim_const(g, 0));
    assert_same(with(f, PQ_DIM_MOD, with(f, ADD, f->e, 5), 4),
                pq_dim_const(g, 1));
    // ((N + 1)*12*M) / (N + 1) = 12*M
    pq_dim over = with(f, ADD, f->n, 1);
    pq_dim product = pq_dim_make(g, MUL, with(f, MUL, over, 12), f->m);
    assert_same(pq_dim_make(g, DIV, product, over), with(f, MUL, f->m, 12));
    assert_same(pq_dim_make(g, DIV, over, over), pq_dim_const(g, 1));
    assert_same(pq_dim_make(g, PQ_DIM_MOD, product, over), pq_dim_const(g, 0));
}

static void
test_extrema(void **state)
{
    fixture *f = *state;
    pq_graph *g = f->g;
    pq_dim more = with(f, ADD, f->n, 3);
    assert_same(pq_dim_make(g, PQ_DIM_MAX, f->n, more), more);
    assert_same(pq_dim_make(g, PQ_DIM_MIN, f->n, more), f->n);
    assert_same(with(f, PQ_DIM_MAX, f->n, 0), f->n);
    assert_same(with(f, PQ_DIM_MIN, f->m, 1000), f->m);
    assert_same(pq_dim_make(g, PQ_DIM_MIN, f->m, f->n),
                pq_dim_make(g, PQ_DIM_MIN, f->n, f->m));
    pq_dim least = pq_dim_make(g, PQ_DIM_MIN, f->m, f->n);
    assert_same(pq_dim_make(g, PQ_DIM_MIN, least, f->n), least);
}

static void
test_bounds_and_order(void **state)
{
    fixture *f = *state;
    pq_graph *g = f->g;
    int64_t min;
    int64_t max;
    pq_dim_bounds(g, with(f, SUB, with(f, MUL, f->m, 3), 1), &min, &max);
    assert_true(min == 2 && max == 2999);
    pq_dim_bounds(g, with(f, ADD, f->n, 5), &min, &max);
    assert_true(min == 6 && max == INT64_MAX);
    pq_dim_bounds(g, pq_dim_make(g, SUB, f->m, f->n), &min, &max);
    assert_true(min == INT64_MIN && max == 999);
    pq_dim_bounds(g, with(f, DIV, f->m, 7), &min, &max);
    assert_true(min == 0 && max == 142);
    assert_true(pq_dim_differs(g, f->n, with(f, ADD, f->n, 1)));
    assert_false(pq_dim_differs(g, f->n, f->m));
    assert_true(pq_dim_differs(g, f->n, pq_dim_const(g, 0)));
    assert_true(pq_dim_is_le(g, f->n, with(f, ADD, f->n, 1)));
    assert_true(pq_dim_is_le(g, f->n, f->n));
    assert_false(pq_dim_is_le(g, f->n, f->m));
}

static void
test_evaluation(void **state)
{
    fixture *f = *state;
    pq_graph *g = f->g;
    int64_t out;
    int64_t symbols[3] = {5, 6, 64};
    pq_dim d = pq_dim_make(g, DIV, with(f, MUL, f->n, 7), f->m);
    assert_int_equal(pq_dim_eval(g, d, symbols, &out), PTQC_OK);
    assert_true(out == 35 / 6);
    assert_int_equal(pq_dim_eval(g,
                                 with(f, PQ_DIM_MOD, with(f, SUB, f->m, 13), 5),
                                 symbols, &out),
                     PTQC_OK);
    assert_true(out == 3); // -7 mod 5
    symbols[1] = 0;
    assert_int_equal(pq_dim_eval(g, d, symbols, &out), PTQC_E_INPUT);
    assert_non_null(strstr(f->sink.text, "'M' is 0, expected 1 to 1000"));
    symbols[2] = 33;
    assert_int_equal(pq_dim_eval(g, f->e, symbols, &out), PTQC_E_INPUT);
    assert_non_null(strstr(f->sink.text, "a multiple of 32"));
    symbols[0] = INT64_MAX;
    assert_int_equal(pq_dim_eval(g, with(f, ADD, f->n, 1), symbols, &out),
                     PTQC_E_INPUT);
    assert_non_null(strstr(f->sink.text, "overflows"));
}

static void
test_refusals(void **state)
{
    fixture *f = *state;
    pq_graph *g = f->g;
    pq_dim none = {0};
    pq_dim big = pq_dim_const(g, INT64_MAX);
    assert_true(pq_dim_is_none(with(f, ADD, big, 1)));
    assert_int_equal(pq_graph_failure(g), PTQC_E_INPUT);
    assert_true(pq_dim_is_none(with(f, DIV, f->n, 0)));
    assert_true(pq_dim_is_none(with(f, DIV, big, 0)));
    assert_true(pq_dim_is_none(
        pq_dim_make(g, DIV, pq_dim_const(g, INT64_MIN), pq_dim_const(g, -1))));
    assert_int_equal(f->sink.error_count, 4);
    assert_true(pq_dim_is_none(with(f, ADD, none, 1)));
    assert_int_equal(f->sink.error_count, 4); // was said before
    // Expressions that double each time end with an error, not with memory.
    pq_dim d = f->n;
    for (int i = 0; i < 64 && !pq_dim_is_none(d); i++) {
        pq_dim half = pq_dim_make(g, DIV, f->m, d);
        d = pq_dim_make(g, MUL, with(f, PQ_DIM_MIN, half, 7), d);
        d = pq_dim_make(g, DIV, d, with(f, SUB, f->n, i + 2));
    }
    assert_true(pq_dim_is_none(d));
    assert_int_equal(pq_graph_failure(g), PTQC_E_UNSUPPORTED);
}

// ---- random expressions -----------------------------------------------------

enum {
    POOL = 40,
    ROUNDS = 300,
};

static bool
compute(pq_dim_op op, int64_t a, int64_t b, int64_t *out)
{
    __int128 x = a;
    __int128 y = b;
    __int128 r;
    if ((op == DIV || op == PQ_DIM_CDIV || op == PQ_DIM_MOD) && b == 0) {
        return false;
    }
    __int128 floor = b == 0 ? 0 : x / y - (x % y != 0 && (x < 0) != (y < 0));
    switch (op) {
    case PQ_DIM_ADD:
        r = x + y;
        break;
    case PQ_DIM_SUB:
        r = x - y;
        break;
    case PQ_DIM_MUL:
        r = x * y;
        break;
    case PQ_DIM_DIV:
        r = floor;
        break;
    case PQ_DIM_CDIV:
        r = floor + (x % y != 0);
        break;
    case PQ_DIM_MOD:
        r = x - floor * y;
        break;
    case PQ_DIM_MIN:
        r = x < y ? x : y;
        break;
    case PQ_DIM_MAX:
        r = x > y ? x : y;
        break;
    default:
        return false;
    }
    *out = (int64_t)r;
    return r > -(INT64_C(1) << 40) && r < INT64_C(1) << 40;
}

// Builds expressions from a pool, keeping the true value of each for three
// sets of symbol values; what leaves the range is not kept.
static void
check_round(fixture *f, pq_test_random *r)
{
    enum { SETS = 3 };
    int64_t symbols[SETS][3];
    pq_dim pool[POOL] = {f->n, f->m, f->e};
    int64_t values[POOL][SETS];
    int count = 3;
    for (int s = 0; s < SETS; s++) {
        symbols[s][0] = pq_test_random_int(r, 1, 50);
        symbols[s][1] = pq_test_random_int(r, 1, 1000);
        symbols[s][2] = 32 * pq_test_random_int(r, 0, 128);
        for (int i = 0; i < 3; i++) {
            values[i][s] = symbols[s][i];
        }
    }
    while (count < POOL) {
        bool is_const = pq_test_random_int(r, 0, 3) == 0;
        pq_dim_op op = (pq_dim_op)pq_test_random_int(r, ADD, PQ_DIM_MAX);
        int a = (int)pq_test_random_int(r, 0, count - 1);
        int b = (int)pq_test_random_int(r, 0, count - 1);
        int64_t c = pq_test_random_int(r, -8, 64);
        bool is_good = true;
        for (int s = 0; s < SETS && is_good; s++) {
            is_good = compute(op, values[a][s], is_const ? c : values[b][s],
                              &values[count][s]);
        }
        if (!is_good || (is_const && c == 0 && op >= DIV)) {
            continue;
        }
        pq_dim d = pq_dim_make(f->g, op, pool[a],
                               is_const ? pq_dim_const(f->g, c) : pool[b]);
        if (pq_dim_is_none(d)) {
            assert_int_equal(pq_graph_failure(f->g), PTQC_E_UNSUPPORTED);
            return; // too large: a fresh start
        }
        int64_t min;
        int64_t max;
        pq_dim_bounds(f->g, d, &min, &max);
        for (int s = 0; s < SETS; s++) {
            int64_t got;
            assert_int_equal(pq_dim_eval(f->g, d, symbols[s], &got), PTQC_OK);
            assert_true(got == values[count][s]);
            assert_true(got >= min && got <= max);
            if (pq_dim_differs(f->g, d, pool[a])) {
                assert_true(got != values[a][s]);
            }
            if (pq_dim_is_le(f->g, d, pool[a])) {
                assert_true(got <= values[a][s]);
            }
        }
        pool[count++] = d;
    }
}

static void
test_random_expressions(void **state)
{
    fixture *f = *state;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        pq_test_random r = pq_test_random_seed(seed);
        check_round(f, &r);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sums_and_products, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_divisions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extrema, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds_and_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_evaluation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_expressions, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
