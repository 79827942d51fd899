// SPDX-License-Identifier: Apache-2.0
//
// The command itself, in a child: outputs that would share a file, a --target
// that the artifact was not compiled for.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/cmocka_test.h"
#include "tests/support/folder.h"
#include "tests/support/process.h"
#include "tests/unit/frontend/onnx/onnx_test.h"

// ---- running --------------------------------------------------------------

#define ARGUMENTS_MAX 16

typedef struct command {
    const char *arguments[ARGUMENTS_MAX]; // after the program, NULL at the end
    char said[PQ_TEST_PATH_BYTES];        // file for stderr
} command;

static int
become_command(void *user)
{
    const command *c = user;
    const char *argv[ARGUMENTS_MAX + 2] = {PTQC_COMMAND};
    memcpy(argv + 1, c->arguments, sizeof c->arguments);
    int said = open(c->said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int nothing = open("/dev/null", O_WRONLY);
    if (said < 0 || nothing < 0 || dup2(said, 2) < 0 || dup2(nothing, 1) < 0) {
        return 100;
    }
    execv(PTQC_COMMAND, (char *const *)(uintptr_t)argv);
    return 101;
}

// Lines of the file that begin with the text.
static unsigned
count_lines(const char *path, const char *begin)
{
    char line[1024];
    unsigned count = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        count += strncmp(line, begin, strlen(begin)) == 0;
    }
    assert_int_equal(fclose(f), 0);
    return count;
}

typedef struct scene {
    pq_test_folder folder;
    char model[PQ_TEST_PATH_BYTES], artifact[PQ_TEST_PATH_BYTES],
        results[PQ_TEST_PATH_BYTES];
    command command;
} scene;

static int
run(scene *s, const char *const *arguments)
{
    size_t n = 0;
    memset(s->command.arguments, 0, sizeof s->command.arguments);
    for (; arguments[n] != NULL; n++) {
        assert_true(n + 1 < ARGUMENTS_MAX);
        s->command.arguments[n] = arguments[n];
    }
    return pq_test_child_run(become_command, &s->command);
}

// A model of two outputs, compiled for cpu.
static void
set_scene(scene *s, const char *first, const char *second)
{
    static onnx_model m;
    pq_test_folder_create(&s->folder);
    pq_test_folder_path(&s->folder, "m.onnx", s->model);
    pq_test_folder_path(&s->folder, "m.ptqc", s->artifact);
    pq_test_folder_path(&s->folder, "results", s->results);
    pq_test_folder_path(&s->folder, "said", s->command.said);
    model_begin(&m, 13);
    model_input(&m, "x", T_F32, "2,3");
    model_node(&m, "Relu", "x", first, "");
    model_node(&m, "Neg", "x", second, "");
    model_output(&m, first);
    model_output(&m, second);
    model_finish(&m);
    pq_test_file_write(s->model, m.file.p, m.file.n);
    const char *compile[] = {"compile",    s->model,   "-o",  s->artifact,
                             "--no-cache", "--target", "cpu", NULL};
    assert_int_equal(run(s, compile), 0);
    float x[6] = {1, -2, 3, -4, 5, -6};
    char raw[PQ_TEST_PATH_BYTES];
    pq_test_file_write(pq_test_folder_path(&s->folder, "x.bin", raw), x,
                       sizeof x);
}

// ptqc run with two more arguments.
static int
run_artifact(scene *s, const char *option, const char *value)
{
    char input[PQ_TEST_PATH_BYTES + 32];
    (void)snprintf(input, sizeof input, "x=2x3xf32=@%s/x.bin", s->folder.path);
    const char *arguments[] = {"run",        s->artifact, "--input", input,
                               "--no-cache", option,      value,     NULL};
    return run(s, arguments);
}

// ---- tests ----------------------------------------------------------------

static void
outputs_never_share_a_file(void **state)
{
    (void)state;
    scene s;
    struct stat info;
    set_scene(&s, "y/1", "y:1");
    size_t before = pq_test_folder_count(&s.folder);
    assert_int_equal(run_artifact(&s, "--output-dir", s.results), 4);
    assert_int_equal(count_lines(s.command.said, "ptqc: error: "), 1);
    assert_int_equal(count_lines(s.command.said,
                                 "ptqc: error: --output-dir: outputs 'y/1' and "
                                 "'y:1' would both be y_1.npy"),
                     1);
    assert_int_not_equal(stat(s.results, &info), 0);
    assert_int_equal(pq_test_folder_count(&s.folder), before);
    pq_test_folder_remove(&s.folder);
}

static void
outputs_have_their_files(void **state)
{
    (void)state;
    scene s;
    pq_test_folder results;
    set_scene(&s, "y/1", "y/2");
    assert_int_equal(run_artifact(&s, "--output-dir", s.results), 0);
    memcpy(results.path, s.results, sizeof results.path);
    assert_int_equal(pq_test_folder_count(&results), 2);
    pq_test_folder_remove(&s.folder);
}

static void
another_target_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        unsigned warnings;
    } rows[] = {{"ref", 1},      {"cp", 1},        {"cpux", 1},
                {"cpu", 0},      {"ref,cpu", 0},   {"cpu:0", 0},
                {"cpu;avx2", 0}, {"ref,cpux:1", 1}};
    scene s;
    set_scene(&s, "y", "z");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(run_artifact(&s, "--target", rows[i].target), 0);
        assert_int_equal(count_lines(s.command.said, "ptqc: warning: "),
                         rows[i].warnings);
        assert_int_equal(count_lines(s.command.said, ""), rows[i].warnings);
    }
    assert_int_equal(run_artifact(&s, "--target", "ref"), 0);
    char line[PQ_TEST_PATH_BYTES + 128];
    (void)snprintf(line, sizeof line,
                   "ptqc: warning: %s: was not compiled for --target ref; it "
                   "runs on cpu\n",
                   s.artifact);
    assert_true(pq_test_file_is(s.command.said, line, strlen(line)));
    pq_test_folder_remove(&s.folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_never_share_a_file),
        cmocka_unit_test(outputs_have_their_files),
        cmocka_unit_test(another_target_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
