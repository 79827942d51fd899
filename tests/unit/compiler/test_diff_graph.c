// SPDX-License-Identifier: Apache-2.0
//
// The graphs of ptqc_diff: the local graph's float side is the float model,
// bit for bit; what it gives for a layer is what a graph gives in which that
// layer alone has codes; errors of weights are those of their codes.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compiler/diff_graph.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "tests/support/context.h"
#include "tests/unit/passes/pass_test.h"

#define VALUES 8

static const char network[] =
    "ptir 1\ngraph \"net\" stage float\n"
    "const c1: f32[3, 2, 1, 1] = [1, -0.5, 0.25, 2, -1, 0.75]\n"
    "const c2: f32[3] = [0.1, -0.2, 0.3]\n"
    "const c3: f32[3, 3, 1, 1] = [1, -2, 3, 0.5, 0.25, -1, 2, 0.5, 0.75]\n"
    "const c4: f32[4, 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,"
    " -1, -2, -3, -4, -5, -6, 7, 8, 9, 10, 11, 12,"
    " 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]\n"
    "input %x: f32[1, 2, 4, 4]\n"
    "%w1: f32[3, 2, 1, 1] = c1\n%b1: f32[3] = c2\n"
    "%w2: f32[3, 3, 1, 1] = c3\n%w3: f32[4, 12] = c4\n"
    "%b: f32[1, 3, 4, 4] = conv \"first\"(%x, %w1, %b1) {act = relu}\n"
    "%d: f32[1, 3, 4, 4] = conv \"second\"(%b, %w2, %b1, %b)\n"
    "%e: f32[1, 3, 4, 4] = relu(%d)\n"
    "%f: f32[1, 3, 2, 2] = max_pool \"pool\"(%e) "
    "{kernel = [2, 2], strides = [2, 2]}\n"
    "%g: f32[1, 12] = reshape(%f) {shape = [1, 12]}\n"
    "%y: f32[1, 4] = matmul \"head\"(%g, %w3) {trans_b = 1}\n"
    "output %y\n";

typedef struct pq_source {
    float x[32];
    pq_test_random random;
} pq_source;

static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    pq_source *s = user;
    if (index >= 4 || count != 1) {
        return PTQC_NO;
    }
    s->random = pq_test_random_seed(index + 1);
    pq_test_fill_normal(&s->random, s->x, 32, 2);
    tensors[0] = (pq_tensor){.dtype = PTQC_F32,
                             .rank = 4,
                             .dims = {1, 2, 4, 4},
                             .p = s->x,
                             .bytes = sizeof s->x};
    return PTQC_OK;
}

// The float graph and that of codes by a recipe.
typedef struct pair {
    ptqc_ctx *ctx;
    pq_arena arena, scratch;
    pq_recipe recipe;
    pq_graph *real, *coded;
} pair;

static ptqc_status
make_pair(pair *p, ptqc_ctx *ctx, const char *recipe)
{
    pq_source source;
    const pq_samples samples = {.get = get_sample, .user = &source};
    *p = (pair){.ctx = ctx};
    pq_arena_init(&p->arena, ctx);
    pq_arena_init(&p->scratch, ctx);
    pq_recipe_init(&p->recipe);
    const pq_pass_env env = {.scratch = &p->scratch,
                             .recipe = &p->recipe,
                             .samples = &samples,
                             .make_runner = pq_interp_make,
                             .runner_user = ctx};
    PQ_TRY(pq_recipe_read(ctx, "r", pq_str_of(recipe), &p->arena, &p->recipe));
    PQ_TRY(pq_graph_parse(ctx, "net", pq_str_of(network), &p->coded));
    pq_pass_env own = env;
    PQ_TRY(pq_pipeline_assign(&p->coded, &own, NULL));
    PQ_TRY(pq_graph_clone(p->coded, true, &p->real));
    pq_drop_annotations(p->real);
    pq_graph_set_stage(p->real, PQ_STAGE_FLOAT);
    return pq_pipeline_encode(&p->coded, &own, NULL);
}

static void
free_pair(pair *p)
{
    pq_graph_destroy(p->real);
    pq_graph_destroy(p->coded);
    pq_recipe_deinit(&p->recipe);
    pq_arena_deinit(&p->scratch);
    pq_arena_deinit(&p->arena);
}

// ---- running --------------------------------------------------------------

typedef struct seen {
    uint32_t count;
    pq_value_id v[VALUES];
    float p[VALUES][64];
    size_t n[VALUES];
} seen;

static ptqc_status
see(void *user, pq_value_id v, const pq_tensor *t)
{
    seen *s = user;
    for (uint32_t i = 0; i < s->count; i++) {
        if (pq_value_equal(s->v[i], v)) {
            assert_true(t->bytes <= sizeof s->p[i]);
            memcpy(s->p[i], t->p, t->bytes);
            s->n[i] = t->bytes;
        }
    }
    return PTQC_OK;
}

static void
run(pq_graph *g, seen *s)
{
    pq_source source;
    pq_tensor input;
    pq_runner *runner;
    assert_int_equal(get_sample(&source, 2, &input, 1), PTQC_OK);
    assert_int_equal(
        pq_interp_make(pq_graph_ctx(g), g, s->v, s->count, &runner), PTQC_OK);
    assert_int_equal(runner->run(runner, &input, see, s), PTQC_OK);
    runner->destroy(runner);
}

// ---- tests ----------------------------------------------------------------

typedef struct scheme_case {
    const char *scheme;
    pq_mode modes[3];
} scheme_case;

static const scheme_case schemes[] = {
    {"w8a8", {PQ_MODE_STATIC, PQ_MODE_STATIC, PQ_MODE_STATIC}},
    {"w8a16", {PQ_MODE_WEIGHT_ONLY, PQ_MODE_WEIGHT_ONLY, PQ_MODE_WEIGHT_ONLY}},
    {"w4a16:g4:asym",
     {PQ_MODE_WEIGHT_ONLY, PQ_MODE_WEIGHT_ONLY, PQ_MODE_WEIGHT_ONLY}},
    {"w8a8:dyn", {PQ_MODE_WEIGHT_ONLY, PQ_MODE_WEIGHT_ONLY, PQ_MODE_DYNAMIC}},
};

static const char *const names[3] = {"first", "second", "head"};

// Codes of one layer alone, the others float.
static void
run_alone(ptqc_ctx *ctx, const char *scheme, int i, float *out, size_t bytes)
{
    char text[256];
    pair p;
    pq_layer *layers;
    uint32_t count;
    seen s = {.count = 1};
    snprintf(text, sizeof text, "ptqc: 1\nrules: [{match: %s, scheme: '%s'}]",
             names[i], scheme);
    assert_int_equal(make_pair(&p, ctx, text), PTQC_OK);
    assert_int_equal(pq_layers_find(p.real, p.coded, &p.arena, &layers, &count),
                     PTQC_OK);
    assert_int_equal(count, 3);
    s.v[0] = layers[i].coded;
    run(p.coded, &s);
    assert_int_equal(s.n[0], bytes);
    memcpy(out, s.p[0], bytes);
    free_pair(&p);
}

// Static codes of a layer's input and residual depend on its neighbours':
// they share scales, and a residual of codes is rounded.
static void
check_local(pq_mode mode, const float *local, const float *alone, size_t bytes)
{
    float largest = 0;
    if (mode != PQ_MODE_STATIC) {
        assert_memory_equal(local, alone, bytes);
        return;
    }
    for (size_t i = 0; i < bytes / sizeof *alone; i++) {
        largest = fmaxf(largest, fabsf(alone[i]));
    }
    for (size_t i = 0; i < bytes / sizeof *alone; i++) {
        assert_true(fabsf(local[i] - alone[i]) <= largest / 50);
    }
}

static void
run_case(const scheme_case *c)
{
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    char text[128];
    pair p;
    pq_layer *layers;
    uint32_t count;
    pq_graph *local;
    seen real = {.count = 3}, own = {.count = 6};
    snprintf(text, sizeof text, "ptqc: 1\nscheme: %s", c->scheme);
    assert_int_equal(make_pair(&p, ctx, text), PTQC_OK);
    assert_int_equal(pq_layers_find(p.real, p.coded, &p.arena, &layers, &count),
                     PTQC_OK);
    assert_int_equal(count, 3);
    assert_int_equal(pq_local_graph(p.real, p.coded, layers, count, &local),
                     PTQC_OK);
    assert_int_equal(pq_graph_verify(local), PTQC_OK);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(layers[i].mode, c->modes[i]);
        real.v[i] = pq_graph_op(p.real, layers[i].op)->outputs[0];
        own.v[i] = layers[i].exact;
        own.v[3 + i] = layers[i].local;
    }
    run(p.real, &real);
    run(local, &own);
    for (int i = 0; i < 3; i++) {
        float alone[64];
        assert_int_equal(own.n[i], real.n[i]);
        assert_memory_equal(own.p[i], real.p[i], real.n[i]);
        run_alone(ctx, c->scheme, i, alone, real.n[i]);
        check_local(c->modes[i], own.p[3 + i], alone, real.n[i]);
        assert_memory_not_equal(own.p[3 + i], real.p[i], real.n[i]);
    }
    pq_graph_destroy(local);
    free_pair(&p);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

static void
local_results(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        run_case(&schemes[i]);
    }
}

// Scales of 8-bit codes per channel: an error is at most half of one.
static void
weight_errors(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pair p;
    pq_layer *layers;
    uint32_t count;
    assert_int_equal(make_pair(&p, ctx, "ptqc: 1\nscheme: w8a16"), PTQC_OK);
    assert_int_equal(pq_layers_find(p.real, p.coded, &p.arena, &layers, &count),
                     PTQC_OK);
    assert_int_equal(pq_layers_weigh(p.real, p.coded, layers, count), PTQC_OK);
    assert_int_equal(layers[0].weight_count, 6);
    assert_int_equal(layers[2].weight_count, 48);
    // 1 + .25 + .0625 + 4 + 1 + .5625
    assert_true(fabs(layers[0].weight_signal - 6.875) < 1e-9);
    assert_true(layers[0].weight_error > 0 &&
                layers[0].weight_error < 6 * pow(2. / 127 / 2, 2));
    assert_true(layers[0].range_ratio == 2); // channels of 1, 2 and 1
    assert_true(layers[2].range_ratio == 12);
    free_pair(&p);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

static ptqc_status
sweep_body(ptqc_ctx *ctx, void *user)
{
    pair p;
    pq_layer *layers;
    uint32_t count;
    pq_graph *local = NULL;
    (void)user;
    ptqc_status st = make_pair(&p, ctx, "ptqc: 1\nscheme: w8a8:dyn");
    if (st == PTQC_OK) {
        st = pq_layers_find(p.real, p.coded, &p.arena, &layers, &count);
    }
    if (st == PTQC_OK) {
        st = pq_local_graph(p.real, p.coded, layers, count, &local);
    }
    if (st == PTQC_OK) {
        st = pq_layers_weigh(p.real, p.coded, layers, count);
    }
    pq_graph_destroy(local);
    free_pair(&p);
    return st;
}

static void
failing_allocations(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(sweep_body, NULL) > 50);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_results),
        cmocka_unit_test(weight_errors),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
