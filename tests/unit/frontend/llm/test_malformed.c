// SPDX-License-Identifier: Apache-2.0
//
// The malformed GGUF, safetensors and index files of the data folder: what
// their manifest says, one error line each. Skipped where the data is absent.
#include <stdio.h>
#include <string.h>

#include "frontend/import.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/data.h"

typedef struct row {
    char file[256], expect[64];
} row;

static void
copy_file(ptqc_ctx *ctx, const char *from, const pq_test_folder *folder,
          const char *name)
{
    char to[PQ_TEST_PATH_BYTES];
    pq_map map;
    assert_int_equal(pq_map_open(ctx, from, &map), PTQC_OK);
    pq_test_file_write(pq_test_folder_path(folder, name, to), map.p, map.n);
    pq_map_close(&map);
}

// An index is looked at in a folder that holds what belongs to a model.
static void
make_folder(ptqc_ctx *ctx, const char *index, pq_test_folder *out)
{
    char path[PQ_TEST_PATH_BYTES];
    pq_test_folder_create(out);
    copy_file(ctx, index, out, "model.safetensors.index.json");
    copy_file(ctx, pq_test_data_need("llm/stories260k/hf/config.json", path),
              out, "config.json");
    copy_file(
        ctx,
        pq_test_data_need("malformed/safetensors/ok_minimal.safetensors", path),
        out, "ok_minimal.safetensors");
}

static bool
is_model(const pq_model *m)
{
    return m != NULL && m->problem_count == 0;
}

static bool
answers(const row *r, ptqc_status st, const pq_model *m, unsigned errors)
{
    bool is_refused = (st == PTQC_E_INPUT || st == PTQC_E_UNSUPPORTED) &&
                      errors == 1 && m == NULL;
    bool is_bare = strncmp(r->file, "safetensors/", 12) == 0;
    if (strcmp(r->expect, "reject") == 0) {
        // What is merely not supported is an answer of check.
        return is_refused || (st == PTQC_OK && errors == 0 && !is_model(m) &&
                              strncmp(r->file, "gguf/", 5) == 0);
    }
    if (strcmp(r->expect, "accept") == 0) {
        return st == PTQC_OK && errors == 0 && (is_bare || is_model(m));
    }
    if (strcmp(r->expect, "reject-or-report") == 0) {
        return is_refused || (is_model(m) && m->non_finite_count > 0);
    }
    return is_refused || (st == PTQC_OK && errors == 0);
}

static void
check_row(const row *r)
{
    static pq_test_sink sink;
    char path[PQ_TEST_PATH_BYTES], relative[512];
    pq_test_folder folder;
    pq_model *m = NULL;
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    bool is_index = strstr(r->file, ".index.json") != NULL;
    (void)snprintf(relative, sizeof relative, "malformed/%s", r->file);
    (void)pq_test_data_need(relative, path);
    if (is_index) {
        make_folder(ctx, path, &folder);
    }
    pq_test_sink_clear(&sink);
    ptqc_status st =
        pq_import_check(ctx, is_index ? folder.path : path, NULL, &m);
    bool is_fine = answers(r, st, m, sink.error_count);
    if (!is_fine) {
        print_message("%s (%s): status %d, %u problems\n%s", r->file, r->expect,
                      st, m != NULL ? m->problem_count : 0, sink.text);
    }
    assert_true(is_fine);
    if (m != NULL && m->graph != NULL) {
        assert_int_equal(pq_graph_verify(m->graph), PTQC_OK);
    }
    pq_model_destroy(m);
    if (is_index) {
        pq_test_folder_remove(&folder);
    }
    ptqc_ctx_destroy(ctx);
}

static void
manifest(void **state)
{
    (void)state;
    char path[PQ_TEST_PATH_BYTES], line[4096];
    unsigned rows = 0;
    FILE *f = fopen(pq_test_data_need("malformed/manifest.tsv", path), "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        row r;
        bool is_row =
            sscanf(line, "%255[^\t]\t%*[^\t]\t%63[^\t]", r.file, r.expect) == 2;
        if (is_row && (strncmp(r.file, "gguf/", 5) == 0 ||
                       strncmp(r.file, "safetensors/", 12) == 0)) {
            check_row(&r);
            rows++;
        }
    }
    fclose(f);
    print_message("%u files\n", rows);
    assert_true(rows > 100);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
