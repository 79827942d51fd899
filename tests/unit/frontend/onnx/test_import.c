// SPDX-License-Identifier: Apache-2.0
//
// The graph around the operators: opsets, names, order, functions, If,
// facts, problems, symbolic dimensions given by the caller.
#include "tests/support/folder.h"
#include "tests/unit/frontend/onnx/onnx_test.h"

static onnx_model m;

static void
start(void)
{
    model_begin(&m, 17);
    model_input(&m, "x", T_F32, "N,3");
    model_output(&m, "z");
}

static void
opsets(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *text; // NULL: fine
    } cases[] = {{7, NULL},
                 {27, NULL},
                 {0, "at least 1, found 0"},
                 {-3, "at least 1, found -3"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start();
        m.opset = cases[i].version;
        model_node(&m, "Relu", "x", "z", "");
        if (cases[i].text == NULL) {
            expect_graph(&m, "relu f32[N,3]");
        } else {
            expect_refused(&m, cases[i].text);
        }
    }
    start();
    m.opset = 6;
    model_node(&m, "Relu", "x", "z", "");
    expect_problem(&m, "", "opset 6 is not supported, 7 to 27 are");
    start();
    pb again = opset_proto("ai.onnx", 17);
    pb_message(&m.extra, 8, &again);
    model_node(&m, "Relu", "x", "z", "");
    expect_refused(&m, "one version of each domain");
    start();
    model_node(&m, "my.ops:Relu", "x", "z", "");
    expect_refused(&m, "expected a domain of opset_import, found 'my.ops'");
    start();
    m.opset = 19;
    model_node(&m, "Gelu", "x", "z", "");
    expect_problem(&m, "Gelu", "20 to 27 are");
}

static void
names(void **state)
{
    (void)state;
    start();
    model_node(&m, "Relu", "y", "z", "");
    expect_refused(&m, "found 'y'");
    start();
    model_node(&m, "Relu", "z", "z", "");
    expect_refused(&m, "an earlier node gives, found 'z'");
    start();
    model_node(&m, "Add", "x,b", "a", "");
    model_node(&m, "Add", "x,a", "b", "");
    model_node(&m, "Add", "a,b", "z", "");
    expect_refused(&m, "found 'b'");
    start();
    model_node(&m, "Relu", "x", "z", "");
    model_node(&m, "Relu", "x", "z", "");
    expect_refused(&m, "found 'z' again");
    start();
    model_node(&m, "Relu", "x", "y", "");
    expect_refused(&m, "output 'z'");
    start();
    model_input(&m, "x", T_F32, "3");
    model_node(&m, "Relu", "x", "z", "");
    expect_refused(&m, "found 'x' again");
    start();
    model_output(&m, "z");
    model_node(&m, "Relu", "x", "z", "");
    expect_refused(&m, "each output once");
    model_begin(&m, 17);
    model_input(&m, "x", T_F32, "N,3");
    expect_refused(&m, "graph with outputs");
    start();
    model_node(&m, "Relu", "", "z", "");
    expect_refused(&m, "expected 1 to 1 inputs, found 0");
    start();
    model_node(&m, "Relu", "x", "z,y", "");
    expect_refused(&m, "expected 1 to 1 outputs, found 2");
}

// Text of the file reaches messages escaped.
static void
hostile_names(void **state)
{
    (void)state;
    start();
    model_node(&m, "Relu", "evil\n\x1b[31m", "z", "");
    expect_refused(&m, "evil\\x0a\\x1b[31m");
    char name[5000];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    start();
    pb node = {.n = 0};
    pb_text(&node, 1, name);
    pb_text(&node, 2, "z");
    pb_text(&node, 4, "Relu");
    pb_message(&m.graph, 1, &node);
    expect_refused(&m, "a name of at most 4096 bytes");
}

static void
attributes(void **state)
{
    (void)state;
    start();
    model_node(&m, "Softmax", "x", "z", "axis:f=1");
    expect_refused(&m, "attribute 'axis': expected type INT, found FLOAT");
    start();
    model_node(&m, "Softmax", "x", "z", "axis:i=1 axis:i=0");
    expect_refused(&m, "each attribute once");
    start();
    model_node(&m, "Softmax", "x", "z", "axis:i=2");
    expect_refused(&m, "expected an axis from -2 to 1, found 2");
}

// Inputs that are weights, outputs that are inputs or twice the same value.
static void
boundary(void **state)
{
    (void)state;
    start();
    model_input(&m, "w", T_F32, "3");
    model_floats(&m, "w", "3", 1.0f);
    model_node(&m, "Add", "x,w", "z", "");
    expect_graph(&m, "add f32[N,3]");
    start();
    model_output(&m, "x");
    model_output(&m, "y");
    model_node(&m, "Relu", "x", "z", "");
    model_node(&m, "Identity", "z", "y", "");
    expect_graph(&m, "relu f32[N,3]; identity f32[N,3]; identity f32[N,3]");
    start();
    model_input(&m, "s", T_STRING, "1");
    model_node(&m, "Relu", "s", "z", "");
    expect_problem(&m, "", "type STRING");
    start();
    model_input(&m, "y", T_F32, "-5");
    model_node(&m, "Relu", "x", "z", "");
    expect_refused(&m, "input 'y': dimension 0");
    start();
    model_input(&m, "y", T_F32, "?,4");
    model_node(&m, "Relu", "x", "z", "");
    expect_graph(&m, "relu f32[N,3]");
}

// ---- functions --------------------------------------------------------------

static void
add_function(const char *name, const pb *node, const char *attr)
{
    pb f = {.n = 0};
    pb_text(&f, 1, name);
    pb_text(&f, 4, "a");
    pb_text(&f, 5, "b");
    if (attr != NULL) {
        pb_text(&f, 6, attr);
    }
    pb_message(&f, 7, node);
    pb base = opset_proto("", 17), mine = opset_proto("my.ops", 1);
    pb_message(&f, 9, &base);
    pb_message(&f, 9, &mine);
    pb_text(&f, 10, "my.ops");
    pb_message(&m.extra, 25, &f);
}

static void
functions(void **state)
{
    (void)state;
    start();
    pb mine = opset_proto("my.ops", 1);
    pb_message(&m.extra, 8, &mine);
    pb inner = node_proto("my.ops:Leaky", "a", "b", "slope:f=0.25");
    add_function("Outer", &inner, NULL);
    pb body = node_proto("LeakyRelu", "a", "b", "");
    pb ref = {.n = 0};
    pb_text(&ref, 1, "alpha");
    pb_text(&ref, 21, "slope");
    pb_int(&ref, 20, 1);
    pb_message(&body, 5, &ref);
    add_function("Leaky", &body, "slope");
    model_node(&m, "my.ops:Outer", "x", "y", "");
    model_node(&m, "my.ops:Leaky", "y", "z", "");
    expect_graph(&m, "leaky_relu f32[N,3]; leaky_relu f32[N,3]");
}

static void
recursive_function(void **state)
{
    (void)state;
    start();
    pb mine = opset_proto("my.ops", 1);
    pb_message(&m.extra, 8, &mine);
    pb even = node_proto("my.ops:Odd", "a", "b", "");
    add_function("Even", &even, NULL);
    pb odd = node_proto("my.ops:Even", "a", "b", "");
    add_function("Odd", &odd, NULL);
    model_node(&m, "my.ops:Even", "x", "z", "");
    expect_refused(&m, "functions that do not call themselves");
}

// Doubling functions would make 2^20 nodes of a small file.
static void
exploding_functions(void **state)
{
    (void)state;
    start();
    pb mine = opset_proto("my.ops", 1);
    pb_message(&m.extra, 8, &mine);
    for (int i = 0; i < 20; i++) {
        char name[8], callee[16];
        snprintf(name, sizeof name, "F%d", i);
        snprintf(callee, sizeof callee, "my.ops:F%d", i + 1);
        pb f = {.n = 0};
        pb_text(&f, 1, name);
        pb_text(&f, 4, "a");
        pb_text(&f, 5, "c");
        pb first = node_proto(i == 19 ? "Relu" : callee, "a", "b", "");
        pb second = node_proto(i == 19 ? "Relu" : callee, "b", "c", "");
        pb_message(&f, 7, &first);
        pb_message(&f, 7, &second);
        pb base = opset_proto("", 17), other = opset_proto("my.ops", 1);
        pb_message(&f, 9, &base);
        pb_message(&f, 9, &other);
        pb_text(&f, 10, "my.ops");
        pb_message(&m.extra, 25, &f);
    }
    model_node(&m, "my.ops:F0", "x", "z", "");
    expect_refused(&m, "too many nodes when inlined");
}

// ---- If ---------------------------------------------------------------------

static pb
branch(const char *op, const char *inputs, const char *output)
{
    pb graph = {.n = 0}, info = {.n = 0};
    pb node = node_proto(op, inputs, output, "");
    pb_message(&graph, 1, &node);
    pb_text(&graph, 2, "branch");
    pb_text(&info, 1, output);
    pb_message(&graph, 12, &info);
    return graph;
}

static void
add_if(const char *condition, const pb *yes, const pb *no)
{
    pb node = node_proto("If", condition, "z", "");
    const char *names[2] = {"then_branch", "else_branch"};
    const pb *graphs[2] = {yes, no};
    for (int i = 0; i < 2; i++) {
        pb a = {.n = 0};
        if (graphs[i] != NULL) {
            pb_text(&a, 1, names[i]);
            pb_message(&a, 6, graphs[i]);
            pb_int(&a, 20, 5);
            pb_message(&node, 5, &a);
        }
    }
    pb_message(&m.graph, 1, &node);
}

static void
known_condition(void **state)
{
    (void)state;
    pb yes = branch("Relu", "x", "y"), no = branch("Neg", "x", "n");
    start();
    model_weight(&m, "c", T_BOOL, "", "\x01", 1);
    add_if("c", &yes, &no);
    expect_graph(&m, "relu f32[N,3]");
    start();
    model_weight(&m, "c", T_BOOL, "", "\x00", 1);
    add_if("c", &yes, &no);
    expect_graph(&m, "neg f32[N,3]");
    start(); // decided by the shape: 3 == 3
    const int64_t one = 1, three = 3;
    model_weight(&m, "one", T_I64, "", &one, sizeof one);
    model_weight(&m, "three", T_I64, "", &three, sizeof three);
    model_node(&m, "Shape", "x", "s", "");
    model_node(&m, "Gather", "s,one", "d", "");
    model_node(&m, "Equal", "d,three", "c", "");
    add_if("c", &yes, &no);
    expect_graph(&m, "relu f32[N,3]");
}

static void
computed_condition(void **state)
{
    (void)state;
    pb yes = branch("Relu", "x", "y"), no = branch("Neg", "x", "n");
    start();
    model_input(&m, "c", T_BOOL, "");
    add_if("c", &yes, &no);
    expect_graph(&m, "relu f32[N,3]; neg f32[N,3]; where f32[N,3]");
    pb other = branch("Shape", "x", "n");
    start();
    model_input(&m, "c", T_BOOL, "");
    add_if("c", &yes, &other);
    expect_problem(&m, "If", "branches whose outputs differ");
    // A branch that contradicts itself is not the file's fault when it may
    // never run.
    pb broken = branch("MatMul", "x,x", "n");
    start();
    model_floats(&m, "w", "5,5", 1.0f);
    broken = branch("MatMul", "x,w", "n");
    model_input(&m, "c", T_BOOL, "");
    add_if("c", &yes, &broken);
    expect_problem(&m, "MatMul", "expected 3 elements");
    start();
    model_input(&m, "c", T_BOOL, "");
    add_if("c", &yes, NULL);
    expect_refused(&m, "expected the attribute 'else_branch'");
}

// squeeze(x) where exporters ask whether the axis has size 1: the size is held
// to what makes it so, and the caller is told.
static void
condition_on_a_size(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    char found[512];
    const int64_t one = 1;
    model_begin(&m, 17);
    model_input(&m, "x", T_F32, "1,1,S");
    model_output(&m, "z");
    model_floats(&m, "w", "1,1,4", 1.0f);
    model_weight(&m, "one", T_I64, "", &one, sizeof one);
    model_ints(&m, "last", "2");
    model_node(&m, "Conv", "x,w", "f", "strides:I=3");
    model_node(&m, "Shape", "f", "s", "");
    model_node(&m, "Gather", "s,last", "n", "");
    model_node(&m, "Equal", "n,one", "c", "");
    pb yes = branch("Squeeze", "f,last", "y"),
       no = branch("Identity", "f", "n");
    add_if("c", &yes, &no);
    if (import_model(ctx, &m, &model) != PTQC_OK) {
        fail_msg("refused: %s", sink.text);
    }
    assert_int_equal(model->problem_count, 0);
    assert_int_equal(pq_graph_verify(model->graph), PTQC_OK);
    describe_graph(model->graph, found, sizeof found);
    assert_string_equal(found, "conv f32[1,1,?]; reshape f32[1,1]");
    // (S - 4) / 3 + 1 == 1 for S from 4 to 6
    const pq_symbol *symbol = pq_graph_symbol(model->graph, 0);
    assert_int_equal(symbol->min, 4);
    assert_int_equal(symbol->max, 6);
    assert_int_equal(sink.warning_count, 1);
    assert_non_null(strstr(sink.text, "limited to 4 to 6"));
    pq_model_destroy(model);
    ptqc_ctx_destroy(ctx);
}

// ---- facts, problems, options -----------------------------------------------

static void
all_problems_at_once(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    start();
    model_node(&m, "NonZero", "x", "a", "");
    model_node(&m, "Relu", "a", "b", ""); // follows from the first: silent
    model_node(&m, "NonZero", "x", "c", "");
    model_node(&m, "com.microsoft:Dance", "b", "d", "");
    model_node(&m, "Relu", "d", "z", "");
    assert_int_equal(import_model(ctx, &m, &model), PTQC_OK);
    assert_int_equal(model->problem_count, 2);
    assert_true(pq_str_equal_z(model->problems[0].op, "NonZero"));
    assert_int_equal(model->problems[0].node_count, 2);
    assert_true(pq_str_equal_z(model->problems[0].nodes[1], "c"));
    assert_true(pq_str_equal_z(model->problems[1].op, "com.microsoft:Dance"));
    assert_int_equal(sink.error_count, 0);
    assert_int_equal(model->node_count, 5);
    assert_true(pq_str_equal_z(model->op_counts[0].name, "NonZero"));
    assert_int_equal(model->op_counts[0].count, 2);
    pq_model_destroy(model);
    ptqc_ctx_destroy(ctx);
}

static void
write_model(const pq_test_folder *folder, char path[PQ_TEST_PATH_BYTES])
{
    model_finish(&m);
    pq_test_folder_path(folder, "m.onnx", path);
    pq_test_file_write(path, m.file.p, m.file.n);
}

static void
problems_are_one_error(void **state)
{
    (void)state;
    char path[PQ_TEST_PATH_BYTES];
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    start();
    model_node(&m, "NonZero", "x", "z", "");
    write_model(&folder, path);
    assert_int_equal(pq_import_model(ctx, path, NULL, &model),
                     PTQC_E_UNSUPPORTED);
    assert_null(model);
    assert_int_equal(sink.error_count, 1);
    assert_non_null(strstr(sink.text, "NonZero: this operator is not "
                                      "supported (1 time, first: 'z')"));
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&folder);
}

static void
facts(void **state)
{
    (void)state;
    char path[PQ_TEST_PATH_BYTES], hex[65];
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_model *model = NULL;
    start();
    pb pair = {.n = 0};
    pb_text(&pair, 1, "task");
    pb_text(&pair, 2, "none");
    pb_message(&m.extra, 14, &pair);
    model_node(&m, "Relu", "x", "z", "");
    write_model(&folder, path);
    assert_int_equal(pq_import_model(ctx, path, NULL, &model), PTQC_OK);
    assert_true(pq_str_equal_z(model->format, "onnx"));
    assert_true(pq_str_equal_z(model->producer, "test"));
    assert_int_equal(model->opset_count, 2);
    assert_true(pq_str_equal_z(model->opsets[0].key, "ai.onnx"));
    assert_true(pq_str_equal_z(model->opsets[0].value, "17"));
    assert_int_equal(model->metadata_count, 1);
    assert_true(pq_str_equal_z(model->metadata[0].value, "none"));
    assert_int_equal(model->input_count, 1);
    assert_true(pq_str_equal_z(model->inputs[0].dtype, "f32"));
    assert_int_equal(model->inputs[0].rank, 2);
    assert_true(pq_str_equal_z(model->inputs[0].dims[0], "N"));
    assert_true(pq_str_equal_z(model->inputs[0].dims[1], "3"));
    assert_int_equal(model->files[0].bytes, m.file.n);
    pq_sha256 expected;
    assert_int_equal(pq_sha256_of(ctx, m.file.p, m.file.n, &expected), PTQC_OK);
    assert_memory_equal(&model->files[0].sha256, &expected, sizeof expected);
    pq_sha256_hex(&expected, hex);
    assert_int_equal(strlen(hex), 64);
    // The graph outlives its model.
    pq_graph *g = pq_model_take_graph(model);
    pq_model_destroy(model);
    assert_int_equal(pq_graph_verify(g), PTQC_OK);
    assert_int_equal(pq_graph_stage(g), PQ_STAGE_FLOAT);
    pq_graph_destroy(g);
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&folder);
}

static void
given_dims(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    char found[256];
    const pq_import_dim right = {PQ_STR("N"), 4}, wrong = {PQ_STR("M"), 4};
    const pq_import_dim negative = {PQ_STR("N"), -1};
    pq_import_options options = {.dims = &right, .dim_count = 1};
    start();
    model_node(&m, "Relu", "x", "z", "");
    model_finish(&m);
    assert_int_equal(
        pq_import_check_bytes(ctx, "t", m.file.p, m.file.n, &options, &model),
        PTQC_OK);
    describe_graph(model->graph, found, sizeof found);
    assert_string_equal(found, "relu f32[4,3]");
    pq_model_destroy(model);
    options.dims = &wrong;
    assert_int_equal(
        pq_import_check_bytes(ctx, "t", m.file.p, m.file.n, &options, &model),
        PTQC_E_USAGE);
    assert_non_null(strstr(sink.text, "found 'M'"));
    options.dims = &negative;
    assert_int_equal(
        pq_import_check_bytes(ctx, "t", m.file.p, m.file.n, &options, &model),
        PTQC_E_USAGE);
    ptqc_ctx_destroy(ctx);
}

static void
other_formats(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        ptqc_status st;
        const char *text;
    } cases[] = {
        {"GGUF\x03\0\0\0", 8, PTQC_E_INPUT, "number of tensors"},
        {"\x02\0\0\0\0\0\0\0{}", 10, PTQC_E_UNSUPPORTED, "no model"},
        {"PK\x03\x04zip", 7, PTQC_E_UNSUPPORTED, "zip archives"},
        {"", 0, PTQC_E_INPUT, "empty file"},
        {"hello world\n", 12, PTQC_E_INPUT, "expected a wire type"},
        {"\x08\x08", 2, PTQC_E_INPUT, "with a graph, found none"},
    };
    char path[PQ_TEST_PATH_BYTES];
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_model *model = NULL;
        pq_test_folder_path(&folder, "f", path);
        pq_test_file_write(path, cases[i].bytes, cases[i].n);
        assert_int_equal(pq_import_model(ctx, path, NULL, &model), cases[i].st);
        assert_int_equal(sink.error_count, 1);
        if (strstr(sink.text, cases[i].text) == NULL) {
            fail_msg("expected '%s' in: %s", cases[i].text, sink.text);
        }
        if (i == 0) {
            assert_int_equal(pq_import_model(ctx, folder.path, NULL, &model),
                             PTQC_E_IO); // no config.json
            pq_test_folder_path(&folder, "absent", path);
            assert_int_equal(pq_import_model(ctx, path, NULL, &model),
                             PTQC_E_IO);
        }
        ptqc_ctx_destroy(ctx);
    }
    pq_test_folder_remove(&folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opsets),
        cmocka_unit_test(names),
        cmocka_unit_test(hostile_names),
        cmocka_unit_test(attributes),
        cmocka_unit_test(boundary),
        cmocka_unit_test(functions),
        cmocka_unit_test(recursive_function),
        cmocka_unit_test(exploding_functions),
        cmocka_unit_test(known_condition),
        cmocka_unit_test(computed_condition),
        cmocka_unit_test(condition_on_a_size),
        cmocka_unit_test(all_problems_at_once),
        cmocka_unit_test(problems_are_one_error),
        cmocka_unit_test(facts),
        cmocka_unit_test(given_dims),
        cmocka_unit_test(other_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
