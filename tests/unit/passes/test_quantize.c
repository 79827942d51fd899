// SPDX-License-Identifier: Apache-2.0
//
// From a float graph and a scheme to codes, the whole pipeline: which ops run
// how, how close the results stay, what is refused, and that nothing depends
// on torture modes.
#include <stdio.h>

#include "ir/text.h"
#include "passes/match.h"
#include "passes/registry.h"
#include "tests/support/caps_rows.h"
#include "tests/support/context.h"
#include "tests/support/notes.h"
#include "tests/unit/passes/pass_test.h"

// conv -> relu -> (conv + residual) -> relu -> pool -> reshape -> matmul.
static const char network[] =
    "ptir 1\ngraph \"net\" stage float\nsymbol N = [1, inf]\n"
    "const c1: f32[3, 2, 1, 1] = [1, -0.5, 0.25, 2, -1, 0.75]\n"
    "const c2: f32[3] = [0.1, -0.2, 0.3]\n"
    "const c3: f32[3, 3, 1, 1] = [1, -2, 3, 0.5, 0.25, -1, 2, 0.5, 0.75]\n"
    "const c4: f32[4, 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,"
    " -1, -2, -3, -4, -5, -6, 7, 8, 9, 10, 11, 12,"
    " 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]\n"
    "input %x: f32[N, 2, 4, 4]\n"
    "%w1: f32[3, 2, 1, 1] = c1\n%b1: f32[3] = c2\n"
    "%w2: f32[3, 3, 1, 1] = c3\n%w3: f32[4, 12] = c4\n"
    "%a: f32[N, 3, 4, 4] = conv \"first\"(%x, %w1, %b1)\n"
    "%b: f32[N, 3, 4, 4] = relu(%a)\n"
    "%c: f32[N, 3, 4, 4] = conv \"second\"(%b, %w2, %b1)\n"
    "%d: f32[N, 3, 4, 4] = add(%c, %b)\n"
    "%e: f32[N, 3, 4, 4] = relu(%d)\n"
    "%f: f32[N, 3, 2, 2] = max_pool \"pool\"(%e) "
    "{kernel = [2, 2], strides = [2, 2]}\n"
    "%g: f32[N, 12] = reshape(%f) {shape = [N, 12]}\n"
    "%y: f32[N, 4] = matmul \"head\"(%g, %w3) {trans_b = 1}\n"
    "output %y\n";

// norm -> matmul -> gelu -> matmul, added to the stream: as in transformers.
static const char stream[] =
    "ptir 1\ngraph \"stream\" stage float\nsymbol T = [1, inf]\n"
    "const c1: f32[4] = [1, 0.5, -1, 2]\n"
    "const c2: f32[4, 4] = [1, 2, -3, 4, 0.5, -1, 2, 1, 1, 1, -1, 2, 0, 1, 2,"
    " 3]\n"
    "input %x: f32[T, 4]\n%g: f32[4] = c1\n%w: f32[4, 4] = c2\n"
    "%n: f32[T, 4] = layer_norm(%x, %g)\n"
    "%a: f32[T, 4] = matmul \"up\"(%n, %w, %g) {trans_b = 1}\n"
    "%b: f32[T, 4] = gelu(%a)\n"
    "%c: f32[T, 4] = matmul \"down\"(%b, %w) {trans_b = 1}\n"
    "%d: f32[T, 4] = add(%c, %n)\n"
    "%e: f32[T, 4] = layer_norm(%d, %g)\n"
    "output %e\n";

// Three products of one activation.
static const char shared[] =
    "ptir 1\ngraph \"shared\" stage float\nsymbol T = [1, inf]\n"
    "const c1: f32[4] = [1, 0.5, -1, 2]\n"
    "const c2: f32[4, 4] = [1, 2, -3, 4, 0.5, -1, 2, 1, 1, 1, -1, 2, 0, 1, 2,"
    " 3]\n"
    "const c3: f32[4, 4] = [2, 2, -3, 1, 0.5, 1, 2, 1, 3, 1, -1, 2, 0, 1, 2,"
    " 1]\n"
    "input %x: f32[T, 4]\n%g: f32[4] = c1\n%w: f32[4, 4] = c2\n%v: f32[4, 4] = "
    "c3\n"
    "%n: f32[T, 4] = layer_norm(%x, %g)\n"
    "%a: f32[T, 4] = matmul \"a\"(%n, %w, %g) {trans_b = 1}\n"
    "%b: f32[T, 4] = matmul \"b\"(%n, %w) {trans_b = 1}\n"
    "%c: f32[T, 4] = matmul \"c\"(%n, %v) {trans_b = 1}\n"
    "output %a\noutput %b\noutput %c\n";

typedef struct pq_setting {
    const char *scheme;
    bool has_samples;
    const char *keep;
    const pq_caps *caps;
    uint64_t torture;
    const char *rules; // YAML list
} pq_setting;

typedef struct pq_source {
    const pq_graph *g;
    pq_tensor t;
} pq_source;

static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    pq_source *s = user;
    if (index >= 16 || count != 1) {
        return PTQC_NO;
    }
    pq_test_random r = pq_test_random_seed(1 + index);
    pq_free(pq_graph_ctx(s->g), s->t.p);
    pq_pass_test_input(s->g, pq_graph_input(s->g, 0), &r, &s->t);
    tensors[0] = s->t;
    return s->t.p != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
compile(pq_graph **g, const pq_setting *setting, pq_test_notes *notes)
{
    const pq_pipeline_desc desc = {.flags = PQ_PIPELINE_VERIFY};
    ptqc_ctx *ctx = pq_graph_ctx(*g);
    pq_recipe recipe = {.has_scheme = true,
                        .method = PQ_STR("rtn"),
                        .observer = PQ_OBSERVER_MINMAX,
                        .percentile = 99.99};
    const pq_op_rule keep = {.match = pq_str_of(setting->keep),
                             .sets = PQ_SETS_SCHEME,
                             .settings = {.is_float = true}};
    if (setting->keep != NULL) {
        assert_int_equal(pq_rules_create(ctx, &recipe.rules), PTQC_OK);
        assert_int_equal(pq_rules_add(recipe.rules, &keep), PTQC_OK);
    }
    recipe.has_scheme = setting->scheme != NULL;
    if (recipe.has_scheme) {
        assert_int_equal(
            pq_scheme_parse(ctx, pq_str_of(setting->scheme), &recipe.scheme),
            PTQC_OK);
    }
    pq_arena texts;
    pq_arena_init(&texts, ctx);
    if (setting->rules != NULL) {
        char text[512];
        snprintf(text, sizeof text, "ptqc: 1\nrules: %s", setting->rules);
        assert_int_equal(
            pq_recipe_read(ctx, "rules", pq_str_of(text), &texts, &recipe),
            PTQC_OK);
    }
    pq_graph *original = NULL;
    assert_int_equal(pq_graph_clone(*g, true, &original), PTQC_OK);
    pq_source source = {.g = original};
    const pq_samples samples = {.get = get_sample, .user = &source};
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    pq_pass_env env = {.scratch = &scratch,
                       .recipe = &recipe,
                       .caps = setting->caps,
                       .samples = setting->has_samples ? &samples : NULL,
                       .make_runner = pq_interp_make,
                       .runner_user = ctx,
                       .note = pq_test_notes_add,
                       .note_user = notes};
    ptqc_status st = pq_pipeline_compile(g, &env, &desc);
    pq_arena_deinit(&scratch);
    pq_recipe_deinit(&recipe);
    pq_arena_deinit(&texts);
    pq_free(ctx, source.t.p);
    pq_graph_destroy(original);
    return st;
}

static pq_graph *
parse(ptqc_ctx *ctx, const char *text)
{
    pq_graph *g = NULL;
    assert_int_equal(pq_graph_parse(ctx, "test", pq_str_of(text), &g), PTQC_OK);
    return g;
}

static uint32_t
count_ops(const pq_graph *g, pq_opcode code)
{
    uint32_t n = 0;
    PQ_FOR_EACH_OP(g, id)
    {
        n += pq_graph_op(g, id)->code == code;
    }
    return n;
}

static const pq_op *
find_op(const pq_graph *g, const char *name)
{
    PQ_FOR_EACH_OP(g, id)
    {
        if (pq_str_equal_z(pq_graph_op(g, id)->name, name)) {
            return pq_graph_op(g, id);
        }
    }
    fail_msg("no op '%s'", name);
    return NULL;
}

static ptqc_dtype
input_type(const pq_graph *g, const pq_op *op, uint32_t i)
{
    const pq_value *v = pq_graph_value(g, pq_op_input(op, i));
    return v != NULL ? v->type.dtype : PTQC_DTYPE_NONE;
}

static ptqc_dtype
output_type(const pq_graph *g, const pq_op *op)
{
    return pq_graph_value(g, op->outputs[0])->type.dtype;
}

// ---- static ---------------------------------------------------------------

static void
static_network(void **state)
{
    (void)state;
    static const uint64_t tortures[] = {0, PTQC_TORTURE_CLONE,
                                        PTQC_TORTURE_CLONE | PTQC_TORTURE_TEXT};
    for (size_t i = 0; i < 3; i++) {
        ptqc_ctx *ctx = pq_pass_test_ctx(tortures[i]);
        pq_graph *before = parse(ctx, network);
        pq_graph *g = parse(ctx, network);
        pq_test_notes notes = {0};
        const pq_setting s = {.scheme = "w8a8", .has_samples = true};
        assert_int_equal(compile(&g, &s, &notes), PTQC_OK);
        assert_int_equal(pq_graph_stage(g), PQ_STAGE_QUANTIZED);
        assert_int_equal(count_ops(g, PQ_OP_QUANTIZE), 1);
        assert_int_equal(count_ops(g, PQ_OP_DEQUANTIZE), 0);
        assert_int_equal(count_ops(g, PQ_OP_ADD), 0);
        const pq_op *second = find_op(g, "second");
        assert_int_equal(input_type(g, second, 0), PTQC_U8);
        assert_int_equal(input_type(g, second, 1), PTQC_I8);
        assert_int_equal(input_type(g, second, 2), PTQC_I32);
        assert_int_equal(input_type(g, second, 3), PTQC_U8);
        assert_int_equal(output_type(g, second), PTQC_U8);
        assert_int_equal(output_type(g, find_op(g, "pool")), PTQC_U8);
        assert_int_equal(output_type(g, find_op(g, "head")), PTQC_F32);
        pq_pass_test_compare("w8a8", before, g, 0.03);
        pq_graph_destroy(before);
        pq_graph_destroy(g);
        assert_int_equal(pq_live_bytes(ctx), 0);
        ptqc_ctx_destroy(ctx);
    }
}

// Codes of both sides of a move are the same numbers.
static void
shared_scales(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_graph *g = parse(ctx, network);
    const pq_setting s = {.scheme = "w8a8:t", .has_samples = true};
    assert_int_equal(compile(&g, &s, &(pq_test_notes){0}), PTQC_OK);
    const pq_op *pool = find_op(g, "pool");
    const pq_value *x = pq_graph_value(g, pool->inputs[0]);
    const pq_value *y = pq_graph_value(g, pool->outputs[0]);
    assert_int_equal(x->quant.index, y->quant.index);
    const pq_op *head = find_op(g, "head");
    const pq_value *w = pq_graph_value(g, head->inputs[1]);
    assert_int_equal(pq_graph_quant(g, w->quant)->scheme.granularity,
                     PQ_GRAN_TENSOR);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

static void
kept_ops(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_graph *before = parse(ctx, network);
    pq_graph *g = parse(ctx, network);
    pq_test_notes notes = {0};
    const pq_setting s = {
        .scheme = "w8a8", .has_samples = true, .keep = "*eco?d"};
    assert_int_equal(compile(&g, &s, &notes), PTQC_OK);
    assert_non_null(strstr(notes.text, "second|float|kept"));
    assert_int_equal(input_type(g, find_op(g, "second"), 1), PTQC_F32);
    assert_int_equal(input_type(g, find_op(g, "first"), 1), PTQC_I8);
    assert_int_equal(input_type(g, find_op(g, "head"), 1), PTQC_I8);
    pq_pass_test_compare("keep", before, g, 0.03);
    pq_graph_destroy(before);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// Codes that a product's activation and weights are in the result: of the
// weight, or what dequantize reads.
static ptqc_dtype
stored_type(const pq_graph *g, const pq_op *op, uint32_t i)
{
    const pq_op *real = pq_producer(g, op->inputs[i], PQ_OP_DEQUANTIZE);
    pq_value_id v = real != NULL ? real->inputs[0] : op->inputs[i];
    return pq_graph_value(g, v)->type.dtype;
}

typedef struct pq_mix {
    const char *graph, *scheme, *rules;
    const char *op[3];
    ptqc_dtype x[3], w[3]; // of each op
    double tolerance;
} pq_mix;

// Schemes of single ops take effect, beside each other and on shared
// activations; nothing of the helpers' copies is left.
static const pq_mix mixes[] = {
    {network,
     "w8a8",
     "[{match: second, scheme: w8a16}]",
     {"first", "second", "head"},
     {PTQC_U8, PTQC_F32, PTQC_U8},
     {PTQC_I8, PTQC_I8, PTQC_I8},
     0.03},
    {network,
     "w8a8",
     "[{match: head, scheme: 'w8a8:dyn'}, {match: first, keep: float}]",
     {"first", "second", "head"},
     {PTQC_F32, PTQC_U8, PTQC_I8},
     {PTQC_F32, PTQC_I8, PTQC_I8},
     0.03},
    {network,
     NULL,
     "[{op: matmul, scheme: 'w4a16:g4'}]",
     {"first", "second", "head"},
     {PTQC_F32, PTQC_F32, PTQC_F32},
     {PTQC_F32, PTQC_F32, PTQC_U4},
     0.2},
    {shared,
     "w8a8",
     "[{match: b, scheme: 'w8a8:dyn'}, {match: c, scheme: w4a16}]",
     {"a", "b", "c"},
     {PTQC_U8, PTQC_I8, PTQC_F32},
     {PTQC_I8, PTQC_I8, PTQC_U4},
     0.2},
    {shared,
     "w8a16",
     "[{match: c, scheme: w8a8}, {match: a, scheme: 'w8a8:dyn'}]",
     {"a", "b", "c"},
     {PTQC_I8, PTQC_F32, PTQC_U8},
     {PTQC_I8, PTQC_I8, PTQC_I8},
     0.03},
    {shared,
     "w8a16",
     "[{match: b, scheme: 'w8a8:dyn'}]",
     {"a", "b", "c"},
     {PTQC_F32, PTQC_I8, PTQC_F32},
     {PTQC_I8, PTQC_I8, PTQC_I8},
     0.03},
};

static void
run_mix(const pq_mix *mix, uint64_t torture)
{
    ptqc_ctx *ctx = pq_pass_test_ctx(torture);
    pq_graph *before = parse(ctx, mix->graph);
    pq_graph *g = parse(ctx, mix->graph);
    pq_test_notes notes = {0};
    const pq_setting s = {
        .scheme = mix->scheme, .has_samples = true, .rules = mix->rules};
    assert_int_equal(compile(&g, &s, &notes), PTQC_OK);
    for (int i = 0; i < 3; i++) {
        const pq_op *op = find_op(g, mix->op[i]);
        assert_int_equal(stored_type(g, op, 0), mix->x[i]);
        assert_int_equal(stored_type(g, op, 1), mix->w[i]);
    }
    assert_int_equal(count_ops(g, PQ_OP_IDENTITY), 0);
    pq_pass_test_compare(mix->rules, before, g, mix->tolerance);
    pq_graph_destroy(before);
    pq_graph_destroy(g);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
}

static void
mixed_schemes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
        run_mix(&mixes[i], 0);
        run_mix(&mixes[i], PTQC_TORTURE_CLONE | PTQC_TORTURE_TEXT);
    }
}

// The stream between norms stays float: only operands of matmul are codes.
static void
static_stream(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_graph *before = parse(ctx, stream);
    pq_graph *g = parse(ctx, stream);
    const pq_setting s = {.scheme = "w8a8", .has_samples = true};
    assert_int_equal(compile(&g, &s, &(pq_test_notes){0}), PTQC_OK);
    const pq_op *up = find_op(g, "up");
    const pq_op *down = find_op(g, "down");
    assert_int_equal(input_type(g, up, 0), PTQC_U8);
    assert_int_equal(output_type(g, up), PTQC_U8);
    assert_int_equal(input_type(g, down, 0), PTQC_U8);
    assert_int_equal(input_type(g, down, 3), PTQC_F32);
    assert_int_equal(output_type(g, down), PTQC_F32);
    pq_pass_test_compare("stream", before, g, 0.05);
    pq_graph_destroy(before);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// ---- dynamic, weight-only -------------------------------------------------

typedef struct pq_weight_case {
    const char *scheme;
    ptqc_dtype format; // three bits: I4, or U4 with zero points
    pq_granularity granularity;
    double tolerance;
} pq_weight_case;

static void
dynamic_stream(void **state)
{
    (void)state;
    static const pq_weight_case cases[] = {
        {"w8a8", PTQC_I8, PQ_GRAN_CHANNEL, 0.03},
        {"w8a8:dyn", PTQC_I8, PQ_GRAN_CHANNEL, 0.03},
        {"w8a8:dyn:g2:asym", PTQC_U8, PQ_GRAN_GROUP, 0.03},
        {"w4a8:dyn:g2", PTQC_U4, PQ_GRAN_GROUP, 0.2},
        {"w4a8:dyn:g3:asym", PTQC_U4, PQ_GRAN_GROUP, 0.2}, // 3 and 1
        {"w4a8:dyn:ch", PTQC_U4, PQ_GRAN_CHANNEL, 0.4},
        {"w4a8:dyn", PTQC_U4, PQ_GRAN_CHANNEL, 0.4}, // K = 4: one group
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_graph *before = parse(ctx, stream);
        pq_graph *g = parse(ctx, stream);
        const pq_setting s = {.scheme = cases[i].scheme};
        assert_int_equal(compile(&g, &s, &(pq_test_notes){0}), PTQC_OK);
        const pq_op *up = find_op(g, "up");
        assert_int_equal(count_ops(g, PQ_OP_DYNAMIC_QUANTIZE), 2);
        assert_int_equal(input_type(g, up, 0), PTQC_I8);
        assert_int_equal(input_type(g, up, 4), PTQC_F32);
        assert_int_equal(output_type(g, up), PTQC_F32);
        const pq_value *w = pq_graph_value(g, up->inputs[1]);
        assert_int_equal(w->type.dtype, cases[i].format);
        assert_int_equal(pq_graph_quant(g, w->quant)->scheme.granularity,
                         cases[i].granularity);
        pq_pass_test_compare(cases[i].scheme, before, g, cases[i].tolerance);
        pq_graph_destroy(before);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

static void
weight_only(void **state)
{
    (void)state;
    static const pq_weight_case cases[] = {
        {"w8a16", PTQC_I8, PQ_GRAN_CHANNEL, 0.02},
        {"w8a16:t", PTQC_I8, PQ_GRAN_TENSOR, 0.02},
        {"w8a16:asym", PTQC_U8, PQ_GRAN_CHANNEL, 0.02},
        {"w8a16:g2", PTQC_I8, PQ_GRAN_GROUP, 0.02},
        {"w4a16:g2", PTQC_U4, PQ_GRAN_GROUP, 0.2},
        // 1 of [1, 2] lies half-way between two codes of 2 / 15: which one it
        // gets hangs on the last bit of the scale (f16)
        {"w4a16:g2:asym", PTQC_U4, PQ_GRAN_GROUP, 0.25},
        {"w4a16:g128", PTQC_U4, PQ_GRAN_CHANNEL, 0.4}, // K = 4: one group
        {"w4a16:g3", PTQC_U4, PQ_GRAN_GROUP, 0.2},     // 3 and 1
        {"w4a16:ch:asym", PTQC_U4, PQ_GRAN_CHANNEL, 0.4},
        {"w3a16:g2", PTQC_I4, PQ_GRAN_GROUP, 0.4},
        {"w3a16:g2:asym", PTQC_U4, PQ_GRAN_GROUP, 0.4},
        {"w3a16:ch", PTQC_I4, PQ_GRAN_CHANNEL, 0.6},
        {"w2a16:g2:asym", PTQC_U4, PQ_GRAN_GROUP, 0.75},
        {"w5a16", PTQC_I8, PQ_GRAN_CHANNEL, 0.1},
        {"w6a16:g3:asym", PTQC_U8, PQ_GRAN_GROUP, 0.1},
        {"w7a16:t", PTQC_I8, PQ_GRAN_TENSOR, 0.1},
        {"nf4:g3", PTQC_NF4, PQ_GRAN_GROUP, 0.3},
        {"mxfp4:g2", PTQC_F4E2M1, PQ_GRAN_GROUP, 0.3},
        {"w4a16:g2:scale=e8m0", PTQC_U4, PQ_GRAN_GROUP, 0.3},
        {"fp8", PTQC_F8E4M3, PQ_GRAN_CHANNEL, 0.1},
        {"fp8:g3", PTQC_F8E4M3, PQ_GRAN_GROUP, 0.1},
        {"fp8:t", PTQC_F8E4M3, PQ_GRAN_TENSOR, 0.2},
        {"fp8:e5m2", PTQC_F8E5M2, PQ_GRAN_CHANNEL, 0.2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_graph *before = parse(ctx, stream);
        pq_graph *g = parse(ctx, stream);
        pq_test_notes notes = {0};
        const pq_setting s = {.scheme = cases[i].scheme};
        assert_int_equal(compile(&g, &s, &notes), PTQC_OK);
        const pq_op *up = find_op(g, "up");
        const pq_value *w = pq_graph_value(g, up->inputs[1]);
        assert_int_equal(w->type.dtype, cases[i].format);
        const pq_scheme *scheme = &pq_graph_quant(g, w->quant)->scheme;
        assert_int_equal(scheme->granularity, cases[i].granularity);
        // those that the container has more of
        int bits = cases[i].scheme[0] == 'w' ? cases[i].scheme[1] - '0' : 8;
        assert_int_equal(scheme->bits, bits == 8 || bits == 4 ? 0 : bits);
        assert_int_equal(input_type(g, up, 0), PTQC_F32);
        bool is_ragged = strstr(cases[i].scheme, "g128") != NULL ||
                         strstr(cases[i].scheme, "g3") != NULL;
        assert_int_equal(strstr(notes.text, "does not divide") != NULL,
                         is_ragged);
        pq_pass_test_compare(cases[i].scheme, before, g, cases[i].tolerance);
        pq_graph_destroy(before);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

// Weights without elements have nothing to scale: they stay float.
static void
no_channels(void **state)
{
    (void)state;
    static const char text[] =
        "ptir 1\ngraph \"none\" stage float\nsymbol N = [1, inf]\n"
        "const c1: f32[4, 0] = []\nconst c2: f32[0, 4] = []\n"
        "input %x: f32[N, 4]\n%v: f32[4, 0] = c1\n%w: f32[0, 4] = c2\n"
        "%y: f32[N, 0] = matmul \"a\"(%x, %v)\n"
        "%z: f32[N, 0] = matmul \"b\"(%x, %w) {trans_b = 1}\n"
        "output %y\noutput %z\n";
    static const char *const schemes[] = {"w8a16", "w8a16:t", "w4a16:g2",
                                          "fp8",   "w8a8",    "w4a8:dyn"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        for (int has_samples = 0; has_samples < 2; has_samples++) {
            ptqc_ctx *ctx = pq_pass_test_ctx(0);
            pq_graph *before = parse(ctx, text);
            pq_graph *g = parse(ctx, text);
            const pq_setting s = {.scheme = schemes[i],
                                  .has_samples = has_samples != 0};
            pq_test_notes notes = {0};
            assert_int_equal(compile(&g, &s, &notes), PTQC_OK);
            assert_non_null(strstr(notes.text, "b|float|its weights have no"));
            pq_pass_test_compare(schemes[i], before, g, 0);
            pq_graph_destroy(before);
            pq_graph_destroy(g);
            ptqc_ctx_destroy(ctx);
        }
    }
}

// Weights of a GGUF file (Q4_1): codes behind dequantize, and minima that
// multiply the sums of groups; both stay as they are, other products do not.
static void
stored_codes(void **state)
{
    (void)state;
    static const char text[] =
        "ptir 1\ngraph \"q4_1\" stage float\nsymbol T = [1, inf]\n"
        "const c1: u4[4, 4] = base64 \"IUMPhxkyVHY=\"\n"
        "const c2: f32[4, 2] = [0.5, 1, 2, 0.25, 1, 1, 0.125, 2]\n"
        "const c3: i32[4, 2] = [0, 0, 0, 0, 0, 0, 0, 0]\n"
        "const c4: f16[4, 2] = base64 \"AMQAyADMAMAAyADIALwAzA==\"\n"
        "const c5: f32[4, 4] = [1, 2, -3, 4, 0.5, -1, 2, 1, 1, 1, -1, 2, 0, 1,"
        " 2, 3]\n"
        "quant q1 = {format = u4, granularity = group, axis = 1, group = 2,"
        " scale = c2, zero_point = c3}\n"
        "input %x: f32[T, 4]\n%codes: u4[4, 4] q1 = c1\n"
        "%minima: f16[4, 2] = c4\n%v: f32[4, 4] = c5\n"
        "%w: f32[4, 4] = dequantize(%codes) {to = f32}\n"
        "%g: f32[T, 2, 2] = reshape(%x) {shape = [T, 2, 2]}\n"
        "%s: f32[T, 2] = reduce_sum(%g) {axes = [2], keepdims = 0}\n"
        "%m: f32[T, 4] = matmul \"minima\"(%s, %minima, _, %x) {trans_b = 1}\n"
        "%a: f32[T, 4] = matmul \"stored\"(%x, %w, _, %m) {trans_b = 1}\n"
        "%y: f32[T, 4] = matmul \"float\"(%a, %v) {trans_b = 1}\n"
        "output %y\n";
    static const pq_weight_case cases[] = {
        {"w8a16", PTQC_I8, PQ_GRAN_CHANNEL, 0.02},
        {"w4a16:g2", PTQC_U4, PQ_GRAN_GROUP, 0.2},
        {"w8a8:dyn", PTQC_I8, PQ_GRAN_CHANNEL, 0.02},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_graph *before = parse(ctx, text);
        pq_graph *g = parse(ctx, text);
        pq_test_notes notes = {0};
        const pq_setting s = {.scheme = cases[i].scheme};
        assert_int_equal(compile(&g, &s, &notes), PTQC_OK);
        assert_non_null(strstr(notes.text, "stored|as stored|its weights are "
                                           "codes already"));
        assert_non_null(strstr(notes.text, "minima|float|it belongs to"));
        assert_int_equal(input_type(g, find_op(g, "stored"), 1), PTQC_U4);
        assert_int_equal(input_type(g, find_op(g, "stored"), 0), PTQC_F32);
        assert_int_equal(input_type(g, find_op(g, "minima"), 1), PTQC_F16);
        assert_int_equal(input_type(g, find_op(g, "float"), 1),
                         cases[i].format);
        pq_pass_test_compare(cases[i].scheme, before, g, cases[i].tolerance);
        pq_graph_destroy(before);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

// ---- capabilities ---------------------------------------------------------

static const pq_caps_operand float_operands[] = {
    FLOAT_OUTPUT,      FLOAT_INPUT(0),    FLOAT_INPUT(1),
    OPTIONAL_FLOAT(2), OPTIONAL_FLOAT(3),
};
static const pq_caps_operand tensor_operands[] = {
    FLOAT_OUTPUT,
    FLOAT_INPUT(0),
    SYMMETRIC_WEIGHTS(PTQC_I8, PQ_GRAN_TENSOR),
    OPTIONAL_FLOAT(2),
    OPTIONAL_FLOAT(3),
};

// A target that runs 8-bit weights with one scale, and nothing else.
static void
limited_target(void **state)
{
    (void)state;
    const pq_caps_rule rules[] = {
        {.op = PQ_OP_MATMUL, .operands = float_operands, .operand_count = 5},
        {.op = PQ_OP_MATMUL, .operands = tensor_operands, .operand_count = 5},
    };
    const pq_caps caps = {.rules = rules, .rule_count = 2};
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_graph *g = parse(ctx, stream);
    pq_test_notes notes = {0};
    pq_setting s = {.scheme = "w8a16:asym", .caps = &caps};
    assert_int_equal(compile(&g, &s, &notes), PTQC_OK);
    const pq_op *up = find_op(g, "up");
    const pq_value *w = pq_graph_value(g, up->inputs[1]);
    const pq_scheme *scheme = &pq_graph_quant(g, w->quant)->scheme;
    assert_int_equal(scheme->format, PTQC_I8);
    assert_int_equal(scheme->granularity, PQ_GRAN_TENSOR);
    assert_true(scheme->symmetric);
    assert_non_null(strstr(notes.text, "one scale per tensor"));
    pq_graph_destroy(g);
    g = parse(ctx, stream);
    notes = (pq_test_notes){0};
    s.scheme = "w8a8:dyn";
    assert_int_equal(compile(&g, &s, &notes), PTQC_OK);
    assert_int_equal(input_type(g, find_op(g, "up"), 1), PTQC_F32);
    assert_non_null(strstr(notes.text, "no preferred target"));
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// A form that only a less preferred target runs is not taken.
static void
less_preferred_target(void **state)
{
    (void)state;
    const pq_caps_rule rules[] = {
        {.op = PQ_OP_MATMUL, .operands = float_operands, .operand_count = 5},
        {.op = PQ_OP_MATMUL,
         .target = 1,
         .operands = tensor_operands,
         .operand_count = 5},
    };
    const pq_caps caps = {.rules = rules, .rule_count = 2};
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_graph *g = parse(ctx, stream);
    const pq_setting s = {.scheme = "w8a16:t", .caps = &caps};
    assert_int_equal(compile(&g, &s, &(pq_test_notes){0}), PTQC_OK);
    assert_int_equal(input_type(g, find_op(g, "up"), 1), PTQC_F32);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

static const pq_caps_operand mixed_operands[] = {
    FLOAT_OUTPUT,
    {.index = 0, .dtypes = BIT(PTQC_U8), .granularities = BIT(PQ_GRAN_TENSOR)},
    SYMMETRIC_WEIGHTS(PTQC_I8, PQ_GRAN_CHANNEL),
    OPTIONAL_FLOAT(2),
    OPTIONAL_FLOAT(3),
};

// Codes in, reals out, residual in reals: what does not fit stays float.
static void
mixed_target(void **state)
{
    (void)state;
    const pq_caps_rule rules[] = {
        {.op = PQ_OP_CONV, .operands = float_operands, .operand_count = 5},
        {.op = PQ_OP_CONV, .operands = mixed_operands, .operand_count = 5},
        {.op = PQ_OP_MATMUL, .operands = float_operands, .operand_count = 5},
        {.op = PQ_OP_MAX_POOL, .operands = float_operands, .operand_count = 2},
        {.op = PQ_OP_RESHAPE, .operands = float_operands, .operand_count = 2},
    };
    const pq_caps caps = {.rules = rules, .rule_count = 5};
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_graph *before = parse(ctx, network);
    pq_graph *g = parse(ctx, network);
    const pq_setting s = {.scheme = "w8a8", .has_samples = true, .caps = &caps};
    assert_int_equal(compile(&g, &s, &(pq_test_notes){0}), PTQC_OK);
    const pq_op *second = find_op(g, "second");
    assert_int_equal(input_type(g, second, 0), PTQC_U8);
    assert_int_equal(input_type(g, second, 2), PTQC_F32);
    assert_int_equal(input_type(g, second, 3), PTQC_F32);
    assert_int_equal(output_type(g, second), PTQC_F32);
    assert_int_equal(input_type(g, find_op(g, "pool"), 0), PTQC_F32);
    assert_int_equal(input_type(g, find_op(g, "head"), 1), PTQC_F32);
    pq_pass_test_compare("mixed", before, g, 0.03);
    pq_graph_destroy(before);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// ---- refusals -------------------------------------------------------------

static void
refusals(void **state)
{
    (void)state;
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_graph *g = parse(ctx, network);
    pq_setting s = {.scheme = "w8a8"};
    assert_int_equal(compile(&g, &s, &(pq_test_notes){0}), PTQC_E_USAGE);
    pq_graph_destroy(g);
    g = parse(ctx, network);
    s = (pq_setting){.scheme = "w8a8:dyn"};
    assert_int_equal(compile(&g, &s, &(pq_test_notes){0}), PTQC_OK);
    assert_int_equal(input_type(g, find_op(g, "first"), 0), PTQC_F32);
    assert_int_equal(input_type(g, find_op(g, "first"), 1), PTQC_I8);
    assert_int_equal(compile(&g, &s, &(pq_test_notes){0}),
                     PTQC_E_USAGE); // twice
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// Constants that the bias would leave int32 with widen the weight's scale.
static void
large_bias(void **state)
{
    (void)state;
    static const char text[] =
        "ptir 1\ngraph \"bias\" stage float\nsymbol N = [1, inf]\n"
        "const c1: f32[2, 2] = [1e-12, 2e-12, 1, 2]\n"
        "const c2: f32[2] = [1000, 0.5]\n"
        "input %x: f32[N, 2]\n%w: f32[2, 2] = c1\n%b: f32[2] = c2\n"
        "%a: f32[N, 2] = matmul \"a\"(%x, %w, %b) {trans_b = 1}\n"
        "%y: f32[N, 2] = matmul \"b\"(%a, %w) {trans_b = 1}\n"
        "output %y\n";
    ptqc_ctx *ctx = pq_pass_test_ctx(0);
    pq_graph *before = parse(ctx, text);
    pq_graph *g = parse(ctx, text);
    const pq_setting s = {.scheme = "w8a8", .has_samples = true};
    assert_int_equal(compile(&g, &s, &(pq_test_notes){0}), PTQC_OK);
    assert_int_equal(output_type(g, find_op(g, "a")), PTQC_U8);
    pq_pass_test_compare("bias", before, g, 0.02);
    pq_graph_destroy(before);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

// Inputs far from 0: rounding the weights moves the mean of the outputs, and
// the bias takes it back.
static void
corrected_bias(void **state)
{
    (void)state;
    static const char text[] =
        "ptir 1\ngraph \"mean\" stage float\nsymbol N = [1, inf]\n"
        "const c1: f32[1, 1, 3, 3] = [1, 0.0019, 0.0058, 0.0021, 0.0059,"
        " 0.002, 0.006, 0.0022, 0.0057]\n"
        "const c2: f32[1, 1, 1, 1] = [1]\nconst c3: f32[] = [20]\n"
        "input %x: f32[N, 1, 8, 8]\n%w: f32[1, 1, 3, 3] = c1\n"
        "%one: f32[1, 1, 1, 1] = c2\n%k: f32[] = c3\n"
        "%s: f32[N, 1, 8, 8] = add(%x, %k)\n"
        "%a: f32[N, 1, 8, 8] = conv \"a\"(%s, %w) {pads = [1, 1, 1, 1]}\n"
        "%y: f32[N, 1, 8, 8] = conv \"b\"(%a, %one)\noutput %y\n";
    double errors[2];
    for (int is_corrected = 0; is_corrected < 2; is_corrected++) {
        static const char *const passes[] = {"assign-schemes", "calibrate",
                                             "scale-weights", "correct-bias",
                                             "insert-qdq"};
        static const char *const without[] = {"assign-schemes", "calibrate",
                                              "scale-weights", "insert-qdq"};
        ptqc_ctx *ctx = pq_pass_test_ctx(0);
        pq_graph *before = parse(ctx, text);
        pq_graph *g = parse(ctx, text);
        // sequential: test_cnn.c
        pq_recipe recipe = {.has_scheme = true,
                            .observer = PQ_OBSERVER_MINMAX,
                            .bias_correction = PQ_BIAS_EMPIRICAL};
        assert_int_equal(pq_scheme_parse(ctx, PQ_STR("w8a8"), &recipe.scheme),
                         PTQC_OK);
        pq_source source = {.g = before};
        const pq_samples samples = {.get = get_sample, .user = &source};
        const pq_pass_env env = {.recipe = &recipe, .samples = &samples};
        pq_pass_test_run(&g, is_corrected ? passes : without,
                         is_corrected ? 5 : 4, &env);
        pq_pass_test_outputs p, q;
        pq_pass_test_execute(before, 2, &p);
        pq_pass_test_execute(g, 2, &q);
        double sum = 0;
        size_t n = p.t[0].bytes / 4;
        for (size_t i = 0; i < n; i++) {
            sum +=
                (double)((float *)q.t[0].p)[i] - (double)((float *)p.t[0].p)[i];
        }
        errors[is_corrected] = fabs(sum / (double)n);
        pq_pass_test_release(&p);
        pq_pass_test_release(&q);
        pq_free(ctx, source.t.p);
        pq_graph_destroy(before);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
    assert_true(errors[1] < 0.25 * errors[0]);
}

static ptqc_status
compile_body(ptqc_ctx *ctx, void *user)
{
    const pq_setting s = {.scheme = user, .has_samples = true};
    pq_graph *g = NULL;
    PQ_TRY(pq_graph_parse(ctx, "test", pq_str_of(network), &g));
    pq_recipe recipe = {.has_scheme = true, .observer = PQ_OBSERVER_MSE};
    ptqc_status st = pq_scheme_parse(ctx, pq_str_of(s.scheme), &recipe.scheme);
    pq_source source = {.g = g};
    pq_graph *original = NULL;
    if (st == PTQC_OK) {
        st = pq_graph_clone(g, true, &original);
    }
    source.g = original;
    const pq_samples samples = {.get = get_sample, .user = &source, .limit = 2};
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    pq_pass_env env = {.scratch = &scratch,
                       .recipe = &recipe,
                       .samples = &samples,
                       .make_runner = pq_interp_make,
                       .runner_user = ctx};
    if (st == PTQC_OK) {
        st = pq_pipeline_compile(&g, &env, NULL);
    }
    pq_arena_deinit(&scratch);
    pq_free(ctx, source.t.p);
    pq_graph_destroy(original);
    pq_graph_destroy(g);
    return st;
}

static void
no_memory(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(compile_body, "w8a8") > 50);
    assert_true(pq_test_alloc_sweep(compile_body, "w4a16") > 20);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_network),
        cmocka_unit_test(shared_scales),
        cmocka_unit_test(kept_ops),
        cmocka_unit_test(mixed_schemes),
        cmocka_unit_test(static_stream),
        cmocka_unit_test(dynamic_stream),
        cmocka_unit_test(weight_only),
        cmocka_unit_test(no_channels),
        cmocka_unit_test(stored_codes),
        cmocka_unit_test(limited_target),
        cmocka_unit_test(less_preferred_target),
        cmocka_unit_test(mixed_target),
        cmocka_unit_test(refusals),
        cmocka_unit_test(large_bias),
        cmocka_unit_test(corrected_bias),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
