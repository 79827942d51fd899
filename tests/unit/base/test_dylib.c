// SPDX-License-Identifier: Apache-2.0
//
// Shared objects: a good one, a missing one, one that is no object, a path
// that the loader would search for.
#include <dlfcn.h>
#include <math.h>
#include <string.h>

#include "base/dylib.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"

static void
test_symbols(void **state)
{
    (void)state;
    Dl_info info; // where the mathematics library of this process lies
    double (*const any)(double, double) = nextafter;
    void *address;
    memcpy(&address, &any, sizeof address);
    if (dladdr(address, &info) == 0 || info.dli_fname[0] != '/') {
        print_message("skipped: no shared library is known by path\n");
        skip();
    }
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_dylib *lib;
    assert_int_equal(pq_dylib_open(ctx, info.dli_fname, &lib), PTQC_OK);
    assert_non_null(pq_dylib_symbol(lib, "nextafter"));
    assert_null(pq_dylib_symbol(lib, "ptqc_no_such_symbol"));
    pq_dylib_close(lib, true);
    assert_int_equal(pq_dylib_open(ctx, info.dli_fname, &lib), PTQC_OK);
    pq_dylib_close(lib, false);
    pq_dylib_close(NULL, true);
    assert_true(pq_live_bytes(ctx) == 0);
    ptqc_ctx_destroy(ctx);
}

static void
test_refusals(void **state)
{
    (void)state;
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    char path[PQ_TEST_PATH_BYTES];
    pq_test_folder_path(&folder, "fake.so", path);
    pq_test_file_write(path,
                       "\x7f"
                       "ELF is not enough",
                       18);
    pq_dylib *lib = (pq_dylib *)&sink; // must be set to NULL
    assert_int_equal(pq_dylib_open(ctx, path, &lib), PTQC_E_BACKEND);
    assert_null(lib);
    assert_non_null(strstr(sink.text, path));
    pq_test_folder_path(&folder, "missing.so", path);
    assert_int_equal(pq_dylib_open(ctx, path, &lib), PTQC_E_BACKEND);
    assert_int_equal(pq_dylib_open(ctx, "libm.so.6", &lib), PTQC_E_USAGE);
    assert_int_equal(pq_dylib_open(ctx, "", &lib), PTQC_E_USAGE);
    assert_int_equal(sink.error_count, 4);
    assert_true(pq_live_bytes(ctx) == 0);
    pq_test_folder_remove(&folder);
    ptqc_ctx_destroy(ctx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_symbols),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
