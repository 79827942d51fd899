// SPDX-License-Identifier: Apache-2.0
//
// Arrays in files: what numpy writes is read, what is cut or lies is refused.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/array.h"
#include "cli/feed.h"
#include "cli/image.h"
#include "tests/support/cmocka_test.h"

// A .npy of version 1 around a header text and data.
static size_t
make_npy(uint8_t *out, const char *header, const void *data, size_t n)
{
    size_t h = strlen(header);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (uint8_t)(h & 255);
    out[9] = (uint8_t)(h >> 8);
    memcpy(out + 10, header, h);
    memcpy(out + 10 + h, data, n);
    return 10 + h + n;
}

static void
test_reads_types_and_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        ptqc_dtype dtype;
        uint32_t rank;
        size_t bytes;
    } rows[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n",
         PTQC_F32, 2, 24},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (5,), }", PTQC_U8,
         1, 5},
        {"{'descr': '<i8', 'fortran_order': False, 'shape': (), }", PTQC_I64, 0,
         8},
        {"{'shape': (0, 4), 'fortran_order': False, 'descr': '<f8'}", PTQC_F64,
         2, 0},
        {"{'descr': '|b1', 'fortran_order': True, 'shape': (3,), }", PTQC_BOOL,
         1, 3},
    };
    static const uint8_t data[64] = {1};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t file[512];
        cli c = {0};
        cli_array a;
        size_t n = make_npy(file, rows[i].header, data, rows[i].bytes);
        assert_int_equal(cli_npy_parse(&c, "t", file, n, &a), PTQC_OK);
        assert_int_equal(a.tensor.dtype, rows[i].dtype);
        assert_int_equal(a.tensor.rank, rows[i].rank);
        assert_int_equal(a.tensor.bytes, rows[i].bytes);
        cli_array_deinit(&a);
    }
}

static void
test_refuses_bad_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        ptqc_status status;
    } rows[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }",
         PTQC_E_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }",
         PTQC_E_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99,), }",
         PTQC_E_INPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': "
         "(4611686018427387904, 4), }",
         PTQC_E_INPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
         PTQC_E_INPUT},
        {"{'descr': '<f4', 'shape': (1,), }", PTQC_E_INPUT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
         PTQC_E_INPUT},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,), }",
         PTQC_E_INPUT},
        {"", PTQC_E_INPUT},
    };
    static const uint8_t data[16];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t file[512];
        cli c = {0};
        cli_array a;
        size_t n = make_npy(file, rows[i].header, data, sizeof data);
        assert_int_equal(cli_npy_parse(&c, "t", file, n, &a), rows[i].status);
        assert_int_equal(c.error_count, 1);
        cli_array_deinit(&a);
    }
}

static void
test_refuses_every_truncation(void **state)
{
    (void)state;
    uint8_t file[512];
    float data[6] = {1, 2, 3, 4, 5, 6};
    size_t n = make_npy(
        file, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
        data, sizeof data);
    for (size_t cut = 0; cut < n; cut++) {
        cli c = {0};
        cli_array a;
        uint8_t *copy = malloc(cut + 1);
        assert_non_null(copy);
        memcpy(copy, file, cut);
        assert_int_equal(cli_npy_parse(&c, "t", copy, cut, &a), PTQC_E_INPUT);
        cli_array_deinit(&a);
        free(copy);
    }
}

static void
test_writes_what_it_reads(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "/tmp/ptqc-test-%ld.npy", (long)getpid());
    float data[6] = {1, -2, 3, 4, 5, 6};
    ptqc_tensor t = {.dtype = PTQC_F32,
                     .rank = 2,
                     .dims = {2, 3},
                     .data = data,
                     .bytes = sizeof data};
    cli c = {0};
    cli_array a;
    assert_int_equal(cli_npy_write(&c, path, &t), PTQC_OK);
    assert_int_equal(cli_array_read(&c, path, &a), PTQC_OK);
    assert_int_equal(a.tensor.dims[1], 3);
    assert_memory_equal(a.tensor.data, data, sizeof data);
    assert_int_equal((uintptr_t)a.tensor.data % 64, 0);
    cli_array_deinit(&a);
    unlink(path);
}

static void
test_norm_moves_channels(void **state)
{
    (void)state;
    // [H=1, W=2, C=3]
    uint8_t pixels[6] = {0, 10, 20, 1, 11, 21};
    ptqc_tensor t = {.dtype = PTQC_U8, .data = pixels, .bytes = 6};
    cli_norm n = {.scale = 2,
                  .mean = {0, 1, 2},
                  .std = {1, 2, 4},
                  .mean_count = 3,
                  .std_count = 3};
    int64_t dims[3] = {1, 2, 3};
    float out[6];
    cli_norm_apply(&n, &t, 0, dims, false, true, out);
    float want[6] = {0, 2, 9.5f, 10.5f, 9.5f, 10};
    assert_memory_equal(out, want, sizeof want);
}

static void
test_resize_keeps_a_constant(void **state)
{
    (void)state;
    uint8_t pixels[3 * 5 * 1];
    memset(pixels, 77, sizeof pixels);
    cli_array from = {.tensor = {.dtype = PTQC_U8,
                                 .rank = 3,
                                 .dims = {3, 5, 1},
                                 .data = pixels,
                                 .bytes = sizeof pixels}};
    cli c = {0};
    cli_array to;
    assert_int_equal(cli_image_resize(&c, &from, 7, 2, &to), PTQC_OK);
    for (size_t i = 0; i < 14; i++) {
        assert_int_equal(((uint8_t *)to.tensor.data)[i], 77);
    }
    cli_array_deinit(&to);
}

static void
test_refuses_bad_pictures(void **state)
{
    (void)state;
    static const char *const files[] = {"", "\x89PNG\r\n\x1a\n",
                                        "\xff\xd8\xff\xe0", "hello",
                                        "\xff\xd8\xff\xd9"};
    static const size_t sizes[] = {0, 8, 4, 5, 4};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        cli c = {0};
        cli_array a;
        assert_int_equal(cli_image_parse(&c, "t", files[i], sizes[i], 3, &a),
                         PTQC_E_INPUT);
        cli_array_deinit(&a);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_types_and_shapes),
        cmocka_unit_test(test_refuses_bad_headers),
        cmocka_unit_test(test_refuses_every_truncation),
        cmocka_unit_test(test_writes_what_it_reads),
        cmocka_unit_test(test_norm_moves_channels),
        cmocka_unit_test(test_resize_keeps_a_constant),
        cmocka_unit_test(test_refuses_bad_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
