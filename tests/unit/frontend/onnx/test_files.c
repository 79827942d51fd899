// SPDX-License-Identifier: Apache-2.0
//
// Real and hostile files, when they are there: every model is imported and
// verified, every hostile file is answered as its manifest says.
#include <dirent.h>

#include "ir/interp/interp.h"
#include "tests/support/data.h"
#include "tests/unit/frontend/onnx/onnx_test.h"

static void
import_one(const char *path, const char *file)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    const pq_import_options options = {.no_hash = true};
    pq_model *model = NULL;
    if (pq_import_check(ctx, path, &options, &model) != PTQC_OK) {
        fail_msg("%s: %s", file, sink.text);
    }
    if (model->problem_count != 0) {
        fail_msg("%s: %.*s: %.*s", file, PQ_STR_ARG(model->problems[0].op),
                 PQ_STR_ARG(model->problems[0].reason));
    }
    assert_int_equal(pq_graph_verify(model->graph), PTQC_OK);
    assert_int_equal(pq_graph_output_count(model->graph), model->output_count);
    assert_int_equal(pq_graph_input_count(model->graph), model->input_count);
    PQ_FOR_EACH_OP(model->graph, id)
    {
        const pq_op *op = pq_graph_op(model->graph, id);
        const char *why = pq_interp_declines(model->graph, op);
        if (why != NULL) {
            fail_msg("%s: %s: %s", file, pq_op_info_of(op->code)->name, why);
        }
    }
    pq_model_destroy(model);
    ptqc_ctx_destroy(ctx);
}

static bool
is_onnx(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && strcmp(name + n - 5, ".onnx") == 0;
}

static void
models(void **state)
{
    (void)state;
    char folder[PQ_TEST_PATH_BYTES], path[2 * PQ_TEST_PATH_BYTES];
    pq_test_data_need("models", folder);
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    unsigned count = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (is_onnx(e->d_name)) {
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            import_one(path, e->d_name);
            count++;
        }
    }
    closedir(dir);
    assert_true(count >= 20);
}

static void
fetched_models(void **state)
{
    (void)state;
    static const char *const files[] = {
        "minilm/minilm_f32.onnx",
        "efficientnet_lite0/efficientnet_lite0.onnx",
        "whisper_tiny_en/whisper_encoder.onnx",
        "whisper_tiny_en/whisper_decoder.onnx",
        "ppocrv5/ppocrv5_det.onnx",
        "ppocrv5/ppocrv5_rec.onnx",
        "smollm2/smollm2_f32.onnx"};
    char path[PQ_TEST_PATH_BYTES];
    unsigned count = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (pq_test_model_find(files[i], path)) {
            import_one(path, files[i]);
            count++;
        }
    }
    if (count == 0) {
        pq_test_model_need(files[0], path); // says what is absent
    }
}

// ---- hostile files ----------------------------------------------------------

static void
check_row(const char *folder, const char *file, const char *expect)
{
    char path[2 * PQ_TEST_PATH_BYTES];
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    ptqc_status st = pq_import_model(ctx, path, NULL, &model);
    if (st == PTQC_OK) {
        if (strcmp(expect, "reject") == 0) {
            fail_msg("%s: accepted", file);
        }
        if (strcmp(expect, "reject-or-report") == 0) {
            assert_int_equal(sink.warning_count, 1);
        }
        assert_int_equal(sink.error_count, 0);
        assert_int_equal(pq_graph_verify(model->graph), PTQC_OK);
    } else {
        if (strcmp(expect, "accept") == 0) {
            fail_msg("%s: refused: %s", file, sink.text);
        }
        assert_true(st == PTQC_E_INPUT || st == PTQC_E_UNSUPPORTED);
        assert_int_equal(sink.error_count, 1);
        assert_int_equal(sink.last_status, st);
        assert_non_null(strstr(sink.text, file + strlen("onnx/")));
    }
    for (const char *s = sink.text; *s != '\0'; s++) {
        assert_true((unsigned char)*s >= ' ' || *s == '\n');
    }
    pq_model_destroy(model);
    ptqc_ctx_destroy(ctx);
}

static void
malformed(void **state)
{
    (void)state;
    char folder[PQ_TEST_PATH_BYTES], path[2 * PQ_TEST_PATH_BYTES];
    char line[1024];
    pq_test_data_need("malformed", folder);
    snprintf(path, sizeof path, "%s/manifest.tsv", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    unsigned count = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        char file[128], expect[64];
        if (sscanf(line, "%127s %*s %63s", file, expect) == 2 &&
            strncmp(file, "onnx/", 5) == 0) {
            check_row(folder, file, expect);
            count++;
        }
    }
    fclose(f);
    assert_true(count >= 80);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models),
        cmocka_unit_test(fetched_models),
        cmocka_unit_test(malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
