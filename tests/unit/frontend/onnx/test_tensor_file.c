// SPDX-License-Identifier: Apache-2.0
//
// Tensors alone in files (input_0.pb): what is read, every cut of one, types
// and forms that are not read, failing allocations.
#include <string.h>

#include "frontend/onnx/model.h"
#include "frontend/onnx/onnx.h"
#include "tests/support/folder.h"
#include "tests/unit/frontend/onnx/onnx_test.h"

typedef struct scene {
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
} scene;

static void
set_scene(scene *s, const void *p, size_t n)
{
    pq_test_folder_create(&s->folder);
    pq_test_folder_path(&s->folder, "input_0.pb", s->path);
    pq_test_file_write(s->path, p, n);
}

static ptqc_status
read_body(ptqc_ctx *ctx, void *user)
{
    scene *s = user;
    pq_arena arena;
    pq_str name;
    pq_constant c;
    pq_arena_init(&arena, ctx);
    ptqc_status st = pq_onnx_read_tensor(ctx, s->path, &arena, &name, &c);
    pq_arena_deinit(&arena);
    return st;
}

static const float numbers[6] = {1, 2, 3, 4, 5, 6};

static void
whole_tensor(void **state)
{
    (void)state;
    scene s;
    pb t = tensor_proto("x", PQ_ONNX_FLOAT, "2,3", numbers, sizeof numbers);
    set_scene(&s, t.p, t.n);
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_arena arena;
    pq_str name;
    pq_constant c;
    pq_arena_init(&arena, ctx);
    assert_int_equal(pq_onnx_read_tensor(ctx, s.path, &arena, &name, &c),
                     PTQC_OK);
    assert_true(pq_str_equal_z(name, "x"));
    assert_int_equal(c.dtype, PTQC_F32);
    assert_int_equal(c.rank, 2);
    assert_int_equal(c.dims[0], 2);
    assert_int_equal(c.dims[1], 3);
    assert_memory_equal(c.p, numbers, sizeof numbers);
    pq_arena_deinit(&arena);
    assert_int_equal(pq_live_bytes(ctx), 0);
    ptqc_ctx_destroy(ctx);
    assert_true(pq_test_alloc_sweep(read_body, &s) > 3);
    pq_test_folder_remove(&s.folder);
}

static void
refuse(const void *p, size_t n, ptqc_status expected)
{
    scene s;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    set_scene(&s, p, n);
    ptqc_status st = read_body(ctx, &s);
    assert_int_equal(st, expected);
    assert_int_equal(sink.error_count, 1);
    assert_non_null(strstr(sink.text, "input_0.pb"));
    assert_int_equal(pq_live_bytes(ctx), 0);
    pq_test_folder_remove(&s.folder);
    ptqc_ctx_destroy(ctx);
}

static void
cut_tensor(void **state)
{
    (void)state;
    pb t = tensor_proto("x", PQ_ONNX_FLOAT, "2,3", numbers, sizeof numbers);
    for (size_t n = 0; n < t.n; n++) {
        refuse(t.p, n, PTQC_E_INPUT);
    }
}

static void
other_tensors(void **state)
{
    (void)state;
    pb text = tensor_proto("x", PQ_ONNX_STRING, "1", "", 0);
    pb few = tensor_proto("x", PQ_ONNX_FLOAT, "2,4", numbers, sizeof numbers);
    pb external = tensor_proto("x", PQ_ONNX_FLOAT, "6", numbers, 0);
    pb_int(&external, 14, 1);
    refuse(text.p, text.n, PTQC_E_UNSUPPORTED);
    refuse(few.p, few.n, PTQC_E_INPUT);
    refuse(external.p, external.n, PTQC_E_UNSUPPORTED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_tensor),
        cmocka_unit_test(cut_tensor),
        cmocka_unit_test(other_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
