// SPDX-License-Identifier: Apache-2.0
//
// Passes that move scales of activations: in real numbers nothing changes,
// whatever takes the inverse (norms, rows of a gated product, values of an
// attention whose heads share them); outliers that were put in are undone; and
// static scales that one token ruins become scales per token.
#include <stdio.h>
#include <stdlib.h>

#include "ir/text.h"
#include "passes/calib/checkpoint.h"
#include "passes/calib/samples.h"
#include "passes/plan.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"
#include "tests/support/notes.h"
#include "tests/unit/passes/pass_test.h"

enum {
    WIDTH = 8, // two heads of four channels share one of keys and values
    TOKENS = 16,
    SAMPLES = 8,
};

static const char body[] =
    "input %x: f32[1, T, 8]\n"
    "%g: f32[8] = c1\n%wq: f32[8, 8] = c2\n%wk: f32[4, 8] = c3\n"
    "%wv: f32[4, 8] = c4\n%bv: f32[4] = c5\n%wo: f32[8, 8] = c6\n"
    "%wg: f32[8, 8] = c7\n%wu: f32[8, 8] = c8\n%wd: f32[8, 8] = c9\n"
    "%n: f32[1, T, 8] = rms_norm \"norm\"(%x, %g)\n"
    "%q0: f32[1, T, 8] = matmul \"q\"(%n, %wq) {trans_b = 1}\n"
    "%k0: f32[1, T, 4] = matmul \"k\"(%n, %wk) {trans_b = 1}\n"
    "%v0: f32[1, T, 4] = matmul \"v\"(%n, %wv, %bv) {trans_b = 1}\n"
    "%q1: f32[1, T, 2, 4] = reshape(%q0) {shape = [1, T, 2, 4]}\n"
    "%k1: f32[1, T, 1, 4] = reshape(%k0) {shape = [1, T, 1, 4]}\n"
    "%v1: f32[1, T, 1, 4] = reshape(%v0) {shape = [1, T, 1, 4]}\n"
    "%q2: f32[1, 2, T, 4] = transpose(%q1) {perm = [0, 2, 1, 3]}\n"
    "%k2: f32[1, 1, T, 4] = transpose(%k1) {perm = [0, 2, 1, 3]}\n"
    "%v2: f32[1, 1, T, 4] = transpose(%v1) {perm = [0, 2, 1, 3]}\n"
    "%y0: f32[1, 2, T, 4] = attention(%q2, %k2, %v2) {scale = 0.5}\n"
    "%y1: f32[1, T, 2, 4] = transpose(%y0) {perm = [0, 2, 1, 3]}\n"
    "%y2: f32[1, T, 8] = reshape(%y1) {shape = [1, T, 8]}\n"
    "%h: f32[1, T, 8] = matmul \"o\"(%y2, %wo, _, %x) {trans_b = 1}\n"
    "%m: f32[1, T, 8] = layer_norm \"norm2\"(%h, %g, %g)\n"
    "%e: f32[1, T, 8] = matmul \"gate\"(%m, %wg) {act = silu, trans_b = 1}\n"
    "%u: f32[1, T, 8] = matmul \"up\"(%m, %wu) {trans_b = 1}\n"
    "%f: f32[1, T, 8] = mul(%e, %u)\n"
    "%z: f32[1, T, 8] = matmul \"down\"(%f, %wd) {trans_b = 1}\n"
    "output %z\n";

static void
add_numbers(pq_strbuf *text, int number, int rows, int columns,
            pq_test_random *r)
{
    pq_strbuf_addf(text, "const c%d: f32[", number);
    if (columns > 0) {
        pq_strbuf_addf(text, "%d, %d] = [", rows, columns);
    } else {
        pq_strbuf_addf(text, "%d] = [", rows);
    }
    for (int i = 0; i < rows * (columns > 0 ? columns : 1); i++) {
        pq_strbuf_addf(text, "%s%.4f", i > 0 ? ", " : "",
                       (double)pq_test_random_f32(r, 0.1f, 1) *
                           (pq_test_random_int(r, 0, 1) ? 1 : -1));
    }
    pq_strbuf_add_z(text, "]\n");
}

static pq_graph *
make_graph(ptqc_ctx *ctx)
{
    static const int shapes[9][2] = {{8, 0}, {8, 8}, {4, 8}, {4, 8}, {4, 0},
                                     {8, 8}, {8, 8}, {8, 8}, {8, 8}};
    pq_test_random r = pq_test_random_seed(7);
    pq_graph *g = NULL;
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    pq_strbuf_add_z(&text, "ptir 1\ngraph \"block\" stage float\n"
                           "symbol T = [1, inf]\n");
    for (int i = 0; i < 9; i++) {
        add_numbers(&text, i + 1, shapes[i][0], shapes[i][1], &r);
    }
    pq_strbuf_add_z(&text, body);
    assert_int_equal(pq_graph_parse(ctx, "test", (pq_str){text.p, text.n}, &g),
                     PTQC_OK);
    pq_strbuf_deinit(&text);
    return g;
}

typedef struct source {
    float x[TOKENS * WIDTH];
    float outlier; // factor of the first token
} source;

static ptqc_status
get_sample(void *user, uint64_t index, pq_tensor *tensors, uint32_t count)
{
    source *s = user;
    if (index >= SAMPLES || count != 1) {
        return PTQC_NO;
    }
    pq_test_random r = pq_test_random_seed(100 + index);
    pq_test_fill_normal(&r, s->x, TOKENS * WIDTH, 1);
    for (int k = 0; k < WIDTH; k++) {
        s->x[k] *= s->outlier;
    }
    tensors[0] = (pq_tensor){.dtype = PTQC_F32,
                             .rank = 3,
                             .dims = {1, TOKENS, WIDTH},
                             .p = s->x,
                             .bytes = sizeof s->x};
    return PTQC_OK;
}

static pq_test_notes notes;

typedef struct setting {
    const char *scheme, *method, *pass, *work_dir;
    float outlier;
    pq_rules *rules;
    const pq_sha256 *fingerprint;
} setting;

static ptqc_status
run(ptqc_ctx *ctx, pq_graph **g, const setting *s)
{
    const char *passes[] = {"assign-schemes", s->pass};
    const pq_pipeline_desc desc = {.flags = PQ_PIPELINE_VERIFY};
    source src = {.outlier = s->outlier};
    const pq_samples samples = {.get = get_sample, .user = &src};
    pq_recipe recipe = {.has_scheme = true,
                        .method = pq_str_of(s->method),
                        .percentile = 99.99,
                        .rules = s->rules};
    pq_arena scratch;
    pq_arena_init(&scratch, ctx);
    notes = (pq_test_notes){.n = 0};
    assert_int_equal(pq_scheme_parse(ctx, pq_str_of(s->scheme), &recipe.scheme),
                     PTQC_OK);
    pq_pass_env env = {.scratch = &scratch,
                       .recipe = &recipe,
                       .samples = &samples,
                       .make_runner = pq_interp_make,
                       .runner_user = ctx,
                       .note = pq_test_notes_add,
                       .note_user = &notes,
                       .work_dir = s->work_dir,
                       .fingerprint = s->fingerprint};
    if (s->rules != NULL) {
        PQ_TRY(pq_rules_bind(s->rules, *g));
    }
    ptqc_status st = pq_pipeline_run(g, &env, passes, 2, &desc);
    pq_arena_deinit(&scratch);
    return st;
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

// Largest |a - b| of input i of the op in both graphs.
static double
difference(const pq_graph *a, const pq_graph *b, const char *name, uint32_t i)
{
    double most = 0;
    const pq_graph *graphs[2] = {a, b};
    const float *p[2];
    size_t n = 0;
    for (int k = 0; k < 2; k++) {
        const pq_op *op = find_op(graphs[k], name);
        const pq_constant *c = pq_graph_constant(
            graphs[k], pq_graph_value(graphs[k], op->inputs[i])->constant);
        p[k] = c->p;
        n = c->bytes / sizeof(float);
    }
    for (size_t k = 0; k < n; k++) {
        most = fmax(most, fabs((double)p[0][k] - (double)p[1][k]));
    }
    return most;
}

static void
test_nothing_changes(void **state)
{
    (void)state;
    static const setting settings[] = {
        {.scheme = "w8a8:dyn",
         .method = "smoothquant:alpha=0.5",
         .pass = "smoothquant",
         .outlier = 1},
        {.scheme = "w8a8:dyn",
         .method = "smoothquant",
         .pass = "smoothquant",
         .outlier = 1},
        {.scheme = "w8a8:dyn",
         .method = "smoothquant:alpha=0.5:inputs=all",
         .pass = "smoothquant",
         .outlier = 1},
        {.scheme = "w8a8",
         .method = "smoothquant:alpha=0.9",
         .pass = "smoothquant",
         .outlier = 50},
        {.scheme = "w4a16:g4", .method = "awq", .pass = "awq", .outlier = 1},
        {.scheme = "w3a16:ch",
         .method = "awq",
         .pass = "awq",
         .work_dir = "folder",
         .outlier = 50},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
        pq_test_folder folder;
        setting s = settings[i];
        pq_test_folder_create(&folder);
        s.work_dir = s.work_dir != NULL ? folder.path : NULL;
        pq_graph *before = make_graph(ctx);
        pq_graph *after = make_graph(ctx);
        assert_int_equal(run(ctx, &after, &s), PTQC_OK);
        pq_pass_test_compare(s.method, before, after, 1e-5);
        assert_true(notes.n > 0);
        assert_int_equal(pq_test_folder_count(&folder), 0);
        pq_graph_destroy(before);
        pq_graph_destroy(after);
        ptqc_ctx_destroy(ctx);
        pq_test_folder_remove(&folder);
    }
}

static const float *
weight_of(const pq_graph *g, const char *name)
{
    const pq_op *op = find_op(g, name);
    return pq_graph_constant(g, pq_graph_value(g, op->inputs[1])->constant)->p;
}

// Heads that share keys and values have one scale: channel k of both.
static void
check_tie(const pq_graph *before, const pq_graph *after)
{
    const float *a = weight_of(before, "o");
    const float *b = weight_of(after, "o");
    for (int k = 0; k < 4; k++) {
        assert_float_equal(b[k] / a[k], b[4 + k] / a[4 + k], 1e-5);
    }
}

// Every kind of home takes scales; where the search finds none better, none.
static void
test_homes(void **state)
{
    (void)state;
    static const char *const schemes[] = {"w2a16:ch", "w3a16:ch", "w4a16:ch",
                                          "w2a16:g4", "w3a16:g4:asym"};
    static const struct {
        const char *op;
        uint32_t input;
    } parts[] = {{"norm", 1}, {"norm2", 1}, {"norm2", 2}, {"v", 2},
                 {"o", 1},    {"up", 1},    {"down", 1}};
    enum { PARTS = sizeof parts / sizeof *parts };
    bool has_moved[PARTS] = {false};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        const setting s = {
            .scheme = schemes[i], .method = "awq", .pass = "awq", .outlier = 1};
        pq_graph *before = make_graph(ctx);
        pq_graph *after = make_graph(ctx);
        assert_int_equal(run(ctx, &after, &s), PTQC_OK);
        for (int k = 0; k < PARTS; k++) {
            has_moved[k] |=
                difference(before, after, parts[k].op, parts[k].input) > 0.01;
        }
        check_tie(before, after);
        pq_graph_destroy(before);
        pq_graph_destroy(after);
    }
    for (int k = 0; k < PARTS; k++) {
        if (!has_moved[k]) {
            print_error("input %u of %s\n", parts[k].input, parts[k].op);
        }
        assert_true(has_moved[k]);
    }
    ptqc_ctx_destroy(ctx);
}

// SmoothQuant moves scales to norms, and to other homes when it is asked to.
static void
test_smoothed_inputs(void **state)
{
    (void)state;
    static const char *const methods[] = {"smoothquant:alpha=0.5",
                                          "smoothquant:alpha=0.5:inputs=all"};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    for (int i = 0; i < 2; i++) {
        const setting s = {.scheme = "w8a8:dyn",
                           .method = methods[i],
                           .pass = "smoothquant",
                           .outlier = 1};
        pq_graph *before = make_graph(ctx);
        pq_graph *after = make_graph(ctx);
        assert_int_equal(run(ctx, &after, &s), PTQC_OK);
        assert_true(difference(before, after, "norm", 1) > 0.01);
        assert_int_equal(difference(before, after, "o", 1) > 0.01, i);
        assert_int_equal(difference(before, after, "down", 1) > 0.01, i);
        pq_graph_destroy(before);
        pq_graph_destroy(after);
    }
    ptqc_ctx_destroy(ctx);
}

// ---- ranges that clip -----------------------------------------------------

static bool
has_scales(const pq_graph *g, const char *name)
{
    return !pq_const_is_none(
        pq_annotation(g, find_op(g, name)->inputs[1])->scale);
}

// Products of scores keep their ranges; whoever is told not to clip, too.
static void
test_clips(void **state)
{
    (void)state;
    static const setting on = {
        .scheme = "w3a16:ch", .method = "awq", .pass = "awq", .outlier = 1};
    static const setting off = {.scheme = "w3a16:ch",
                                .method = "awq:clip=off",
                                .pass = "awq",
                                .outlier = 1};
    static const char *const names[] = {"v", "o", "gate", "up", "down"};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *clipped = make_graph(ctx);
    pq_graph *plain = make_graph(ctx);
    assert_int_equal(run(ctx, &clipped, &on), PTQC_OK);
    assert_non_null(strstr(notes.text, "scales clip: error 0."));
    assert_int_equal(run(ctx, &plain, &off), PTQC_OK);
    assert_null(strstr(notes.text, "clip"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(has_scales(clipped, names[i]));
        assert_false(has_scales(plain, names[i]));
        assert_true(difference(clipped, plain, names[i], 1) == 0);
    }
    assert_false(has_scales(clipped, "q"));
    assert_false(has_scales(clipped, "k"));
    pq_graph_destroy(clipped);
    pq_graph_destroy(plain);
    ptqc_ctx_destroy(ctx);
}

static char *
text_of(const setting *s)
{
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = make_graph(ctx);
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    assert_int_equal(run(ctx, &g, s), PTQC_OK);
    assert_int_equal(pq_graph_print(g, 0, &text), PTQC_OK);
    pq_strbuf_addf(&text, "%s", notes.text);
    char *copy = strdup(text.p);
    pq_strbuf_deinit(&text);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
    return copy;
}

// What checkpoints hold is what was found.
static void
test_resumes(void **state)
{
    (void)state;
    static const pq_sha256 fingerprint = {{7}};
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    setting s = {.scheme = "w3a16:g4",
                 .method = "awq",
                 .pass = "awq",
                 .work_dir = folder.path,
                 .outlier = 1};
    char *without = text_of(&s);
    s.fingerprint = &fingerprint;
    char *first = text_of(&s);
    assert_int_equal(pq_test_folder_count(&folder), 8); // 4 groups, two each
    char *second = text_of(&s);
    assert_string_equal(first, without);
    assert_string_equal(first, second);
    free(without);
    free(first);
    free(second);
    pq_units_remove(folder.path); // and the folder
}

// ---- methods of rules -----------------------------------------------------

typedef struct rule_case {
    const char *match[2], *method[2]; // NULL: none
    ptqc_status st;
    const char *in_notes, *not_in_notes; // or in the diagnostics, when it fails
} rule_case;

static void
test_methods_of_rules(void **state)
{
    (void)state;
    static const rule_case cases[] = {
        {{"re:^[qkv]$"}, {"awq"}, PTQC_OK, "q|awq|inputs scaled", "down|"},
        {{"down"}, {"awq:clip=off"}, PTQC_OK, "down|awq|inputs", "q|awq|"},
        {{"q"}, {"awq"}, PTQC_OK, "q|awq|others read the value, too", "k|"},
        {{"re:^[qv]$", "k"},
         {"awq", "awq:clip=off"},
         PTQC_E_USAGE,
         "'q' and 'k' read one value",
         NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const rule_case *c = &cases[i];
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        setting s = {
            .scheme = "w3a16:g4", .method = "rtn", .pass = "awq", .outlier = 1};
        pq_graph *g = make_graph(ctx);
        assert_int_equal(pq_rules_create(ctx, &s.rules), PTQC_OK);
        for (int k = 0; k < 2 && c->match[k] != NULL; k++) {
            const pq_op_rule rule = {
                .match = pq_str_of(c->match[k]),
                .place = PQ_STR("test"),
                .sets = PQ_SETS_METHOD,
                .settings = {.method = pq_str_of(c->method[k])}};
            assert_int_equal(pq_rules_add(s.rules, &rule), PTQC_OK);
        }
        assert_int_equal(run(ctx, &g, &s), c->st);
        const char *said = c->st == PTQC_OK ? notes.text : sink.text;
        assert_non_null(strstr(said, c->in_notes));
        if (c->not_in_notes != NULL) {
            assert_null(strstr(said, c->not_in_notes));
        }
        pq_rules_destroy(s.rules);
        pq_graph_destroy(g);
        ptqc_ctx_destroy(ctx);
    }
}

// ---- one token that ruins a scale ----------------------------------------

// The stream itself is read by a product: nothing takes the token back.
static const char direct[] =
    "ptir 1\ngraph \"direct\" stage float\nsymbol T = [1, inf]\n"
    "const c1: f32[2, 8] = [1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1]\n"
    "input %x: f32[1, T, 8]\n%w: f32[2, 8] = c1\n"
    "%a: f32[1, T, 8] = gelu(%x)\n"
    "%y: f32[1, T, 2] = matmul \"direct\"(%a, %w) {trans_b = 1}\n"
    "output %y\n";

static bool
is_dynamic(const pq_graph *g, const char *name)
{
    const pq_quant *q = pq_annotation(g, find_op(g, name)->inputs[0]);
    assert_non_null(q);
    return q->scheme.dynamic;
}

static void
test_spare_outliers(void **state)
{
    (void)state;
    static const setting calm = {.scheme = "w8a8",
                                 .method = "rtn",
                                 .pass = "spare-outliers",
                                 .outlier = 1};
    static const setting wild = {.scheme = "w8a8",
                                 .method = "rtn",
                                 .pass = "spare-outliers",
                                 .outlier = 3000};
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_graph *g = make_graph(ctx);
    assert_int_equal(run(ctx, &g, &calm), PTQC_OK);
    assert_false(is_dynamic(g, "down"));
    pq_graph_destroy(g);
    // The token passes the residual stream; norms make it like the others.
    g = make_graph(ctx);
    assert_int_equal(run(ctx, &g, &wild), PTQC_OK);
    assert_false(is_dynamic(g, "q"));
    assert_false(is_dynamic(g, "gate"));
    pq_graph_destroy(g);
    assert_int_equal(pq_graph_parse(ctx, "test", pq_str_of(direct), &g),
                     PTQC_OK);
    assert_int_equal(run(ctx, &g, &wild), PTQC_OK);
    assert_true(is_dynamic(g, "direct"));
    assert_non_null(strstr(notes.text, "direct|scales per token|"));
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_changes),
        cmocka_unit_test(test_homes),
        cmocka_unit_test(test_smoothed_inputs),
        cmocka_unit_test(test_clips),
        cmocka_unit_test(test_resumes),
        cmocka_unit_test(test_methods_of_rules),
        cmocka_unit_test(test_spare_outliers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
