// SPDX-License-Identifier: Apache-2.0
//
// Initializers: raw and typed data, alignment, 4-bit rows, sparse tensors,
// external data, and numbers that do not fit.
#include "tests/support/folder.h"
#include "tests/unit/frontend/onnx/onnx_test.h"

static onnx_model m;

// Imports a model of one weight that is added to its input; fails the test
// when it cannot. The model is destroyed by the caller.
typedef struct imported {
    ptqc_ctx *ctx;
    pq_model *model;
    pq_test_sink sink;
    const pq_constant *weight;
} imported;

static void
start(int type, const char *dims)
{
    model_begin(&m, 13);
    model_input(&m, "x", type, dims);
    model_output(&m, "z");
    model_node(&m, "Cast", "w", "c", "to:i=1");
    model_node(&m, "Identity", "c", "z", "");
}

static void
finish(imported *im)
{
    memset(im, 0, sizeof *im);
    im->ctx = pq_test_ctx_create(&im->sink, NULL, 1);
    if (import_model(im->ctx, &m, &im->model) != PTQC_OK) {
        fail_msg("refused: %s", im->sink.text);
    }
    if (im->model->problem_count != 0) {
        fail_msg("%.*s", PQ_STR_ARG(im->model->problems[0].reason));
    }
    const pq_graph *g = im->model->graph;
    pq_value_id v = pq_graph_find_value(g, PQ_STR("w"));
    assert_false(pq_value_is_none(v));
    im->weight = pq_graph_constant(g, pq_graph_value(g, v)->constant);
    assert_non_null(im->weight);
}

static void
end(imported *im)
{
    pq_model_destroy(im->model);
    ptqc_ctx_destroy(im->ctx);
}

static void
add_tensor(const pb *t)
{
    pb_message(&m.graph, 5, t);
}

static void
raw_data(void **state)
{
    (void)state;
    imported im;
    const float x[3] = {1.5f, -2.0f, 3.0f};
    start(T_F32, "1");
    model_weight(&m, "w", T_F32, "3,1", x, sizeof x);
    finish(&im);
    assert_int_equal(im.weight->dtype, PTQC_F32);
    assert_int_equal(im.weight->rank, 2);
    assert_int_equal(im.weight->dims[0], 3);
    assert_int_equal((uintptr_t)im.weight->p % 4, 0);
    assert_memory_equal(im.weight->p, x, sizeof x);
    assert_int_equal(im.model->tensor_count, 1);
    assert_int_equal(im.model->parameter_count, 3);
    assert_int_equal(im.model->weight_bytes, 12);
    end(&im);
}

// Whatever the offset of the data in the file, the constant is aligned; data
// that is aligned already is not copied.
static void
aligned_or_copied(void **state)
{
    (void)state;
    const double x[2] = {1.0, 2.0};
    unsigned in_place = 0;
    for (size_t shift = 0; shift < 8; shift++) {
        imported im;
        const char *filler = "abcdefgh";
        start(T_F32, "1");
        pb_bytes(&m.graph, 10, filler, shift); // doc_string
        model_weight(&m, "w", 11, "2", x, sizeof x);
        finish(&im);
        const uint8_t *p = im.weight->p;
        assert_int_equal((uintptr_t)p % 8, 0);
        assert_memory_equal(p, x, sizeof x);
        in_place += p >= m.file.p && p < m.file.p + m.file.n;
        end(&im);
    }
    assert_int_equal(in_place, 1);
}

static void
typed_data(void **state)
{
    (void)state;
    imported im;
    pb t = {.n = 0};
    start(T_F32, "1"); // float_data, not packed
    pb_int(&t, 1, 2);
    pb_int(&t, 2, T_F32);
    pb_text(&t, 8, "w");
    pb_float(&t, 4, 1.5f);
    pb_float(&t, 4, -0.5f);
    add_tensor(&t);
    finish(&im);
    const float expected[2] = {1.5f, -0.5f};
    assert_memory_equal(im.weight->p, expected, sizeof expected);
    end(&im);

    const uint8_t packed[] = {0x05, 0xff, 0xff, 0xff, 0xff, 0xff,
                              0xff, 0xff, 0xff, 0xff, 0x01}; // 5, -1
    start(T_F32, "1");
    t.n = 0;
    pb_int(&t, 1, 2);
    pb_int(&t, 2, T_I8);
    pb_text(&t, 8, "w");
    pb_bytes(&t, 5, packed, sizeof packed);
    add_tensor(&t);
    finish(&im);
    assert_int_equal(im.weight->dtype, PTQC_I8);
    assert_memory_equal(im.weight->p, "\x05\xff", 2);
    end(&im);
}

static void
typed_numbers_must_fit(void **state)
{
    (void)state;
    static const struct {
        int type;
        int64_t value;
        bool fits;
    } cases[] = {{T_I8, 127, true},     {T_I8, 128, false},
                 {T_I8, -128, true},    {T_I8, -129, false},
                 {T_U8, 255, true},     {T_U8, 256, false},
                 {T_U8, -1, false},     {T_BOOL, 1, true},
                 {T_BOOL, 2, false},    {T_F16, 65535, true},
                 {T_F16, 65536, false}, {T_I32, -2147483648LL, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pb t = {.n = 0};
        start(T_F32, "1");
        pb_int(&t, 2, cases[i].type);
        pb_text(&t, 8, "w");
        pb_int(&t, 5, cases[i].value);
        add_tensor(&t);
        if (cases[i].fits) {
            imported im;
            finish(&im);
            end(&im);
        } else {
            expect_refused(&m, "expected int32_data");
        }
    }
}

// ONNX packs 3 rows of 3 nibbles densely, ptqc starts each on a byte.
static void
nibble_rows(void **state)
{
    (void)state;
    imported im;
    const uint8_t dense[5] = {0x21, 0x43, 0x65, 0x87, 0x09};
    const uint8_t rows[6] = {0x21, 0x03, 0x54, 0x06, 0x87, 0x09};
    model_begin(&m, 21);
    model_scalar(&m, "s", 1.0f);
    model_weight(&m, "w", T_U4, "3,3", dense, sizeof dense);
    model_node(&m, "DequantizeLinear", "w,s", "z", "");
    model_output(&m, "z");
    finish(&im);
    assert_int_equal(im.weight->bytes, 6);
    assert_memory_equal(im.weight->p, rows, sizeof rows);
    end(&im);
}

static void
sizes_must_agree(void **state)
{
    (void)state;
    const float x[3] = {0};
    static const struct {
        const char *dims, *text;
    } cases[] = {{"2", "expected 8 bytes of raw_data"},
                 {"4", "expected 16 bytes of raw_data"},
                 {"-3", "found dimension 0 = -3"},
                 {"4294967296,4294967296", "product fits 64 bits"},
                 {"4611686018427387904,3", "fits 64 bits"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        start(T_F32, "1");
        model_weight(&m, "w", T_F32, cases[i].dims, x, sizeof x);
        expect_refused(&m, cases[i].text);
    }
    pb t = {.n = 0};
    start(T_F32, "1");
    pb_int(&t, 1, INT64_C(1) << 40); // dims without data cost nothing
    pb_int(&t, 2, T_F32);
    pb_text(&t, 8, "w");
    add_tensor(&t);
    expect_refused(&m, "found none");
    pb_float(&t, 4, 1.0f);
    start(T_F32, "1");
    add_tensor(&t);
    expect_refused(&m, "entries of typed data");
}

static void
types(void **state)
{
    (void)state;
    start(T_F32, "1");
    model_weight(&m, "w", 99, "1", "abcd", 4);
    expect_refused(&m, "expected a data type from 1 to 26, found 99");
    start(T_F32, "1");
    model_weight(&m, "w", T_STRING, "1", "abcd", 4);
    expect_problem(&m, "", "type STRING");
    start(T_F32, "1");
    model_weight(&m, "w", T_BOOL, "2", "\x01\x02", 2);
    expect_refused(&m, "expected booleans 0 or 1, found 2 at element 1");
}

static void
non_finite_is_said(void **state)
{
    (void)state;
    imported im;
    const float x[4] = {0.0f, (float)(0.0 / 0.0), 1.0f, (float)(1.0 / 0.0)};
    start(T_F32, "1");
    model_weight(&m, "w", T_F32, "4", x, sizeof x);
    finish(&im);
    assert_int_equal(im.model->non_finite_count, 2);
    assert_int_equal(im.sink.warning_count, 1);
    assert_non_null(
        strstr(im.sink.text, "'w': 2 of 4 elements are non-finite"));
    assert_non_null(strstr(im.sink.text, "index 1"));
    end(&im);
}

static void
add_sparse(const char *index_dims, const int64_t *indices, size_t count,
           const char *dims)
{
    const float values[2] = {7.0f, 9.0f};
    pb v = tensor_proto("w", T_F32, "2", values, sizeof values);
    pb i = tensor_proto("", T_I64, index_dims, indices, count * 8);
    pb sparse_tensor = {.n = 0};
    pb_message(&sparse_tensor, 1, &v);
    pb_message(&sparse_tensor, 2, &i);
    const char *s = dims;
    while (*s != '\0') {
        char *next;
        pb_int(&sparse_tensor, 3, strtoll(s, &next, 10));
        s = *next == ',' ? next + 1 : next;
    }
    pb_message(&m.graph, 15, &sparse_tensor);
}

static void
sparse(void **state)
{
    (void)state;
    imported im;
    const int64_t flat[2] = {1, 5}, coordinates[4] = {0, 1, 1, 2};
    const float expected[6] = {0, 7, 0, 0, 0, 9};
    start(T_F32, "1");
    add_sparse("2", flat, 2, "2,3");
    finish(&im);
    assert_memory_equal(im.weight->p, expected, sizeof expected);
    end(&im);
    start(T_F32, "1");
    add_sparse("2,2", coordinates, 4, "2,3");
    finish(&im);
    assert_memory_equal(im.weight->p, expected, sizeof expected);
    end(&im);
    const int64_t outside[2] = {1, 6}, negative[2] = {-1, 0};
    start(T_F32, "1");
    add_sparse("2", outside, 2, "2,3");
    expect_refused(&m, "sparse indices from 0 to 5, found 6");
    start(T_F32, "1");
    add_sparse("2", negative, 2, "2,3");
    expect_refused(&m, "found -1");
    start(T_F32, "1");
    add_sparse("2", flat, 2, "1048576,1048576");
    expect_problem(&m, "", "sparse tensor of");
}

// ---- external data ----------------------------------------------------------

static pb
external_tensor(const char *location, const char *offset, const char *length)
{
    const char *keys[3] = {"location", "offset", "length"};
    const char *values[3] = {location, offset, length};
    pb t = {.n = 0};
    pb_int(&t, 1, 2);
    pb_int(&t, 2, T_F32);
    pb_text(&t, 8, "w");
    pb_int(&t, 14, 1);
    for (int i = 0; i < 3; i++) {
        pb pair = {.n = 0};
        if (values[i] != NULL) {
            pb_text(&pair, 1, keys[i]);
            pb_text(&pair, 2, values[i]);
            pb_message(&t, 13, &pair);
        }
    }
    return t;
}

static ptqc_status
import_beside(const pq_test_folder *folder, const pb *t, ptqc_ctx *ctx,
              pq_model **out)
{
    char path[PQ_TEST_PATH_BYTES];
    start(T_F32, "1");
    add_tensor(t);
    model_finish(&m);
    pq_test_folder_path(folder, "m.onnx", path);
    pq_test_file_write(path, m.file.p, m.file.n);
    return pq_import_model(ctx, path, NULL, out);
}

static void
external(void **state)
{
    (void)state;
    static const struct {
        const char *location, *offset, *length, *text; // NULL: accepted
    } cases[] = {
        {"d.bin", "4", "8", NULL},
        {"d.bin", NULL, NULL, NULL},
        {"d.bin", "8", "8", "8 bytes from offset 8"},
        {"d.bin", "18446744073709551615", "8", "from offset 18446744"},
        {"d.bin", "-4", "8", "unsigned number as offset"},
        {"d.bin", "4x", "8", "unsigned number as offset"},
        {"d.bin", "4", "7", "expected a length of 8 bytes"},
        {"../d.bin", "4", "8", "d.bin"},
        {"/etc/passwd", "0", "8", "passwd"},
        {"none.bin", "0", "8", "none.bin"},
        {"", "0", "8", "file name as location"},
        {NULL, "0", "8", "file name as location"},
        {".", "0", "8", "'.'"},
    };
    const float x[3] = {1.0f, 2.0f, 3.0f};
    char path[PQ_TEST_PATH_BYTES];
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    pq_test_file_write(pq_test_folder_path(&folder, "d.bin", path), x,
                       sizeof x);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pq_test_sink sink = {0};
        ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
        pq_model *model = NULL;
        pb t = external_tensor(cases[i].location, cases[i].offset,
                               cases[i].length);
        ptqc_status st = import_beside(&folder, &t, ctx, &model);
        if (cases[i].text == NULL) {
            assert_int_equal(st, PTQC_OK);
            assert_int_equal(model->file_count, 2);
            assert_true(pq_str_equal_z(model->files[1].path, "d.bin"));
            assert_int_equal(model->files[1].bytes, sizeof x);
        } else {
            assert_int_equal(st, PTQC_E_INPUT);
            assert_int_equal(sink.error_count, 1);
            if (strstr(sink.text, cases[i].text) == NULL) {
                fail_msg("expected '%s' in: %s", cases[i].text, sink.text);
            }
        }
        pq_model_destroy(model);
        ptqc_ctx_destroy(ctx);
    }
    pq_test_folder_remove(&folder);
}

typedef struct sweep {
    const pq_test_folder *folder;
    const pb *tensor;
} sweep;

static ptqc_status
import_once(ptqc_ctx *ctx, void *user)
{
    const sweep *s = user;
    pq_model *model = NULL;
    ptqc_status st = import_beside(s->folder, s->tensor, ctx, &model);
    pq_model_destroy(model);
    return st;
}

// From a file with external data, hashes included.
static void
every_allocation_fails(void **state)
{
    (void)state;
    const float x[3] = {1.0f, 2.0f, 3.0f};
    char path[PQ_TEST_PATH_BYTES];
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    pq_test_file_write(pq_test_folder_path(&folder, "d.bin", path), x,
                       sizeof x);
    pb t = external_tensor("d.bin", "4", "8");
    sweep s = {&folder, &t};
    assert_true(pq_test_alloc_sweep(import_once, &s) > 10);
    pq_test_folder_remove(&folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw_data),
        cmocka_unit_test(aligned_or_copied),
        cmocka_unit_test(typed_data),
        cmocka_unit_test(typed_numbers_must_fit),
        cmocka_unit_test(nibble_rows),
        cmocka_unit_test(sizes_must_agree),
        cmocka_unit_test(types),
        cmocka_unit_test(non_finite_is_said),
        cmocka_unit_test(sparse),
        cmocka_unit_test(external),
        cmocka_unit_test(every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
