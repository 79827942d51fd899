// SPDX-License-Identifier: Apache-2.0
//
// Maps, and what hostile files may name: every way out of the folder is
// refused, with openat2 and with the walk that replaces it.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"
#include "tests/support/process.h"

static void
test_map(void **state)
{
    (void)state;
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    char path[PQ_TEST_PATH_BYTES];
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    pq_map map;
    pq_test_folder_path(&folder, "file", path);
    pq_test_file_write(path, "hello", 5);
    assert_int_equal(pq_map_open(ctx, path, &map), PTQC_OK);
    assert_int_equal(map.n, 5);
    assert_memory_equal(map.p, "hello", 5);
    bool found;
    pq_file_id id;
    assert_int_equal(pq_file_identify(ctx, path, &found, &id), PTQC_OK);
    assert_true(found && id.inode == map.id.inode);
    assert_true(id.device == map.id.device);
    pq_map_close(&map);
    assert_null(map.p);
    pq_map_close(&map);
    pq_test_folder_path(&folder, "empty", path);
    pq_test_file_write(path, "", 0);
    assert_int_equal(pq_map_open(ctx, path, &map), PTQC_OK);
    assert_null(map.p);
    assert_int_equal(map.n, 0);
    pq_map_close(&map);
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&folder);
}

static void
test_map_refuses(void **state)
{
    (void)state;
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    char path[PQ_TEST_PATH_BYTES];
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_map map;
    pq_test_folder_path(&folder, "missing", path);
    assert_int_equal(pq_map_open(ctx, path, &map), PTQC_E_IO);
    assert_non_null(strstr(sink.text, path));
    assert_non_null(strstr(sink.text, strerror(ENOENT)));
    assert_int_equal(pq_map_open(ctx, folder.path, &map), PTQC_E_IO);
    pq_test_folder_path(&folder, "fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pq_map_open(ctx, path, &map), PTQC_E_IO); // no waiting
    assert_int_equal(pq_map_open(ctx, "/dev/zero", &map), PTQC_E_IO);
    assert_int_equal(pq_map_open(ctx, "", &map), PTQC_E_IO);
    assert_int_equal(sink.error_count, 5);
    bool found = true;
    pq_file_id id;
    assert_int_equal(pq_file_identify(ctx, "/missing", &found, &id), PTQC_OK);
    assert_false(found);
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&folder);
}

// root/
//   secret                      outside
//   model/model.onnx            the file that names others
//   model/ok  model/sub/ok      good
//   model/link -> ok            model/sublink -> sub   model/out -> ../secret
//   model/hard                  second name of ../other
//   model/fifo                  not a regular file
typedef struct scene {
    pq_test_folder root;
    char beside[PQ_TEST_PATH_BYTES];
} scene;

static void
scene_file(const scene *s, const char *name)
{
    char path[PQ_TEST_PATH_BYTES];
    pq_test_folder_path(&s->root, name, path);
    pq_test_file_write(path, "x", 1);
}

static void
scene_link(const scene *s, const char *target, const char *name)
{
    char path[PQ_TEST_PATH_BYTES];
    assert_int_equal(symlink(target, pq_test_folder_path(&s->root, name, path)),
                     0);
}

static void
scene_create(scene *s)
{
    char path[PQ_TEST_PATH_BYTES];
    char other[PQ_TEST_PATH_BYTES];
    pq_test_folder_create(&s->root);
    pq_test_folder_path(&s->root, "model", path);
    assert_int_equal(mkdir(path, 0700), 0);
    pq_test_folder_path(&s->root, "model/sub", path);
    assert_int_equal(mkdir(path, 0700), 0);
    pq_test_folder_path(&s->root, "model/model.onnx", s->beside);
    scene_file(s, "secret");
    scene_file(s, "other");
    scene_file(s, "model/model.onnx");
    scene_file(s, "model/ok");
    scene_file(s, "model/sub/ok");
    scene_link(s, "ok", "model/link");
    scene_link(s, "sub", "model/sublink");
    scene_link(s, "../secret", "model/out");
    pq_test_folder_path(&s->root, "other", other);
    pq_test_folder_path(&s->root, "model/hard", path);
    assert_int_equal(link(other, path), 0);
    pq_test_folder_path(&s->root, "model/fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0);
}

typedef struct attack {
    const char *relative;
    ptqc_status status;
} attack;

static const attack attacks[] = {
    {"ok", PTQC_OK},
    {"./ok", PTQC_OK},
    {"sub/ok", PTQC_OK},
    {"sub//ok", PTQC_OK},
    {"sub/./ok", PTQC_OK},
    {"", PTQC_E_INPUT},
    {".", PTQC_E_INPUT},
    {"..", PTQC_E_INPUT},
    {"../secret", PTQC_E_INPUT},
    {"sub/../ok", PTQC_E_INPUT},
    {"sub/../../secret", PTQC_E_INPUT},
    {"./../secret", PTQC_E_INPUT},
    {"/etc/passwd", PTQC_E_INPUT},
    {"//etc/passwd", PTQC_E_INPUT},
    {"link", PTQC_E_INPUT},
    {"out", PTQC_E_INPUT},
    {"sublink/ok", PTQC_E_INPUT},
    {"./sublink/ok", PTQC_E_INPUT},
    {"hard", PTQC_E_INPUT},
    {"fifo", PTQC_E_INPUT},
    {"sub", PTQC_E_INPUT},
    {"sub/", PTQC_E_INPUT},
    {"ok/x", PTQC_E_INPUT},
    {"missing", PTQC_E_IO},
    {"sub/missing", PTQC_E_IO},
    {"missing/ok", PTQC_E_IO},
};

// -> 0, or 1 + the number of the first attack with another outcome.
static int
run_attacks(const scene *s)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        pq_map map;
        pq_test_sink_clear(&sink);
        ptqc_status st =
            pq_map_open_beside(ctx, s->beside, attacks[i].relative, &map);
        if (st != attacks[i].status || sink.error_count != (st != PTQC_OK) ||
            (st == PTQC_OK) != (map.n == 1)) {
            (void)fprintf(stderr, "'%s': %d, want %d\n%s", attacks[i].relative,
                          st, attacks[i].status, sink.text);
            return 1 + (int)i;
        }
        pq_map_close(&map);
    }
    ptqc_ctx_destroy(ctx);
    return 0;
}

static void
test_attacks(void **state)
{
    (void)state;
    scene s;
    scene_create(&s);
    assert_int_equal(run_attacks(&s), 0);
    pq_test_folder_remove(&s.root);
}

static int
attack_without_openat2(void *user)
{
    if (!pq_test_deny(SYS_openat2, -1, 0, ENOSYS)) {
        return PQ_TEST_CHILD_SKIP;
    }
    return run_attacks(user);
}

static void
test_attacks_on_the_walk(void **state)
{
    (void)state;
    scene s;
    scene_create(&s);
    int code = pq_test_child_run(attack_without_openat2, &s);
    pq_test_folder_remove(&s.root);
    if (code == PQ_TEST_CHILD_SKIP) {
        print_message("skipped: no seccomp filters here\n");
        skip();
    }
    assert_int_equal(code, 0);
}

static void
test_long_names(void **state)
{
    (void)state;
    scene s;
    scene_create(&s);
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    static char name[10000];
    memset(name, 'a', sizeof name - 1);
    pq_map map;
    assert_int_equal(pq_map_open_beside(ctx, s.beside, name, &map),
                     PTQC_E_INPUT);
    name[300] = '\0'; // longer than a file name may be
    assert_int_equal(pq_map_open_beside(ctx, s.beside, name, &map), PTQC_E_IO);
    memset(name, '/', 9000);
    name[9000] = '\0';
    assert_int_equal(pq_map_open_beside(ctx, name, "x", &map), PTQC_E_IO);
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&s.root);
}

static int
open_from_inside(void *user)
{
    const scene *s = user;
    ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, 1);
    char folder[PQ_TEST_PATH_BYTES];
    pq_map map;
    if (chdir(pq_test_folder_path(&s->root, "model", folder)) != 0 ||
        pq_map_open_beside(ctx, "model.onnx", "sub/ok", &map) != PTQC_OK) {
        return 1;
    }
    pq_map_close(&map);
    ptqc_ctx_destroy(ctx);
    return 0;
}

static void
test_beside_a_plain_name(void **state)
{
    (void)state;
    scene s;
    scene_create(&s);
    assert_int_equal(pq_test_child_run(open_from_inside, &s), 0);
    pq_test_folder_remove(&s.root);
}

static void
test_make_dir(void **state)
{
    (void)state;
    pq_test_folder folder;
    pq_test_folder_create(&folder);
    char path[PQ_TEST_PATH_BYTES];
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_test_folder_path(&folder, "new", path);
    assert_int_equal(pq_make_dir(ctx, path), PTQC_OK);
    assert_int_equal(pq_make_dir(ctx, path), PTQC_OK);
    pq_test_folder_path(&folder, "a/b", path);
    assert_int_equal(pq_make_dir(ctx, path), PTQC_E_IO);
    pq_test_folder_path(&folder, "file", path);
    pq_test_file_write(path, "x", 1);
    assert_int_equal(pq_make_dir(ctx, path), PTQC_E_IO);
    assert_int_equal(sink.error_count, 2);
    ptqc_ctx_destroy(ctx);
    pq_test_folder_remove(&folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_map_refuses),
        cmocka_unit_test(test_attacks),
        cmocka_unit_test(test_attacks_on_the_walk),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_beside_a_plain_name),
        cmocka_unit_test(test_make_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
