// SPDX-License-Identifier: Apache-2.0
//
// Finding and loading plugins: manifests, search order, what is refused.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/plugins.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"

typedef struct fixture {
    pq_test_folder folder;
    pq_test_sink sink;
    ptqc_ctx *ctx;
    pq_plugins *set;
} fixture;

static int
set_up(void **state)
{
    static fixture f;
    f = (fixture){0};
    pq_test_folder_create(&f.folder);
    f.ctx = pq_test_ctx_create(&f.sink, NULL, 1);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;
    pq_plugins_destroy(f->set);
    int leaked = pq_live_bytes(f->ctx) != 0;
    ptqc_ctx_destroy(f->ctx);
    pq_test_folder_remove(&f->folder);
    return leaked;
}

static ptqc_status
find_in(fixture *f, const char *const *dirs, uint32_t count)
{
    const ptqc_backend_dirs d = {dirs, count};
    pq_test_sink_clear(&f->sink);
    pq_plugins_destroy(f->set);
    f->set = NULL;
    ptqc_status st = pq_plugins_create(f->ctx, &d, &f->set);
    assert_int_equal(f->sink.error_count, st == PTQC_OK ? 0 : 1);
    return st;
}

static pq_plugin *
find_fake(fixture *f, const char *name)
{
    char dir[512];
    const char *dirs[] = {dir};
    snprintf(dir, sizeof dir, "%s/%s", PTQC_FAKE_DIR, name);
    assert_int_equal(find_in(f, dirs, 1), PTQC_OK);
    pq_plugin *p = pq_plugins_find(f->set, pq_str_of(name));
    assert_non_null(p);
    return p;
}

static void
write_manifest(fixture *f, const char *file, const char *text)
{
    char path[PQ_TEST_PATH_BYTES];
    pq_test_folder_path(&f->folder, file, path);
    pq_test_file_write(path, text, strlen(text));
}

// ---- loading ----------------------------------------------------------------

static void
test_finds_and_loads(void **state)
{
    fixture *f = *state;
    pq_plugin *p = find_fake(f, "fake");
    assert_string_equal(p->version, "0.1"); // of the manifest
    assert_null(p->table);
    assert_int_equal(pq_plugin_load(f->set, p), PTQC_OK);
    assert_non_null(p->instance);
    assert_string_equal(p->version, "0.9 (fake)"); // its own
    const ptqc_instance *first = p->instance;
    assert_int_equal(pq_plugin_load(f->set, p), PTQC_OK); // once
    assert_ptr_equal(p->instance, first);
    assert_null(pq_plugins_find(f->set, PQ_STR("nobody")));
}

// The message is said each time, and the reason is kept.
static void
refuses(fixture *f, const char *name, const char *reason)
{
    pq_plugin *p = find_fake(f, name);
    for (int i = 0; i < 2; i++) {
        pq_test_sink_clear(&f->sink);
        assert_int_equal(pq_plugin_load(f->set, p), PTQC_E_BACKEND);
        assert_int_equal(f->sink.error_count, 1);
        assert_non_null(strstr(f->sink.text, name));
        assert_non_null(strstr(f->sink.text, reason));
    }
    assert_non_null(p->failure);
    assert_null(p->instance);
}

static void
test_other_abi_names_both(void **state)
{
    refuses(*state, "skew", "version 77");
    refuses(*state, "skew", "has 2");
}

static void
test_hollow_table(void **state)
{
    refuses(*state, "hollow", "lacks required functions");
}

static void
test_no_query(void **state)
{
    refuses(*state, "mute", PTQC_QUERY_SYMBOL);
}

static void
test_library_is_missing(void **state)
{
    fixture *f = *state;
    const char *dirs[] = {f->folder.path};
    write_manifest(f, "gone.ptqc.json",
                   "{\"manifest\": 1, \"name\": \"gone\", "
                   "\"library\": \"gone.so\"}");
    assert_int_equal(find_in(f, dirs, 1), PTQC_OK);
    pq_plugin *p = pq_plugins_find(f->set, PQ_STR("gone"));
    assert_non_null(p);
    assert_int_equal(pq_plugin_load(f->set, p), PTQC_E_BACKEND);
    assert_int_equal(f->sink.error_count, 1);
}

static void
test_add_file(void **state)
{
    fixture *f = *state;
    pq_plugin *p = NULL;
    assert_int_equal(find_in(f, NULL, 0), PTQC_OK);
    assert_int_equal(
        pq_plugins_add_file(f->set, PTQC_FAKE_DIR "/fake/fake.so", &p),
        PTQC_OK);
    assert_string_equal(p->name, "fake");
    assert_int_not_equal(
        pq_plugins_add_file(f->set, PTQC_FAKE_DIR "/fake/none.so", &p),
        PTQC_OK);
    assert_null(p);
}

// ---- searching --------------------------------------------------------------

static void
test_never_the_current_directory(void **state)
{
    fixture *f = *state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(PTQC_FAKE_DIR "/fake"), 0);
    ptqc_status st = find_in(f, NULL, 0);
    assert_int_equal(chdir(before), 0);
    assert_int_equal(st, PTQC_OK);
    assert_null(pq_plugins_find(f->set, PQ_STR("fake")));
}

static void
test_first_of_a_name_wins(void **state)
{
    fixture *f = *state;
    const char *dirs[] = {f->folder.path, PTQC_FAKE_DIR "/fake"};
    write_manifest(f, "fake.ptqc.json",
                   "{\"manifest\": 1, \"name\": \"fake\", \"version\": "
                   "\"mine\", \"library\": \"fake.so\"}");
    assert_int_equal(find_in(f, dirs, 2), PTQC_OK);
    pq_plugin *p = pq_plugins_find(f->set, PQ_STR("fake"));
    assert_non_null(p);
    assert_string_equal(p->version, "mine");
}

static void
test_other_files_do_not_matter(void **state)
{
    fixture *f = *state;
    const char *dirs[] = {f->folder.path};
    write_manifest(f, "readme.txt", "{");
    write_manifest(f, ".hidden.ptqc.json", "{");
    assert_int_equal(find_in(f, dirs, 1), PTQC_OK);
}

static void
test_directory_must_exist(void **state)
{
    fixture *f = *state;
    const char *dirs[] = {"/nonexistent/backends"};
    assert_int_equal(find_in(f, dirs, 1), PTQC_E_IO);
    assert_non_null(strstr(f->sink.text, "/nonexistent/backends"));
    assert_null(f->set);
}

static void
test_world_writable_directory(void **state)
{
    fixture *f = *state;
    const char *dirs[] = {f->folder.path};
    write_manifest(f, "x.ptqc.json",
                   "{\"manifest\": 1, \"name\": \"x\", \"library\": \"x.so\"}");
    assert_int_equal(chmod(f->folder.path, 0777), 0);
    assert_int_equal(find_in(f, dirs, 1), PTQC_E_BACKEND);
    assert_int_equal(chmod(f->folder.path, 0700), 0);
    assert_int_equal(find_in(f, dirs, 1), PTQC_OK);
}

static void
test_bad_manifests(void **state)
{
    fixture *f = *state;
    const char *dirs[] = {f->folder.path};
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"manifest\": 2, \"name\": \"x\", \"library\": \"x.so\"}",
        "{\"name\": \"x\", \"library\": \"x.so\"}",
        "{\"manifest\": 1, \"library\": \"x.so\"}",
        "{\"manifest\": 1, \"name\": \"\", \"library\": \"x.so\"}",
        "{\"manifest\": 1, \"name\": \"x\"}",
        "{\"manifest\": 1, \"name\": \"x\", \"library\": \"../x.so\"}",
        "{\"manifest\": 1, \"name\": \"x\", \"library\": \"/lib/x.so\"}",
        "{\"manifest\": 1, \"name\": 7, \"library\": \"x.so\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_manifest(f, "x.ptqc.json", texts[i]);
        assert_int_not_equal(find_in(f, dirs, 1), PTQC_OK);
        assert_non_null(strstr(f->sink.text, "x.ptqc.json"));
        assert_null(f->set);
    }
}

// ---- target texts -----------------------------------------------------------

static void
expect_target(fixture *f, const char *text, const char *plugin,
              const char *target, int device)
{
    pq_target_text t;
    assert_int_equal(pq_target_parse(f->ctx, pq_str_of(text), &t), PTQC_OK);
    assert_true(pq_str_equal_z(t.plugin, plugin));
    assert_true(pq_str_equal_z(t.target, target));
    assert_int_equal(t.device, device);
}

static void
test_target_texts(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {
        "", ":1", ";avx2", "cpu:", "cpu:x", "cpu:-1", "cpu:1024"};
    expect_target(f, "cpu", "cpu", "cpu", -1);
    expect_target(f, "cpu;avx2", "cpu", "cpu;avx2", -1);
    expect_target(f, "vulkan:1", "vulkan", "vulkan", 1);
    expect_target(f, "cpu;avx2:0", "cpu", "cpu;avx2", 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pq_target_text t;
        assert_int_equal(pq_target_parse(f->ctx, pq_str_of(bad[i]), &t),
                         PTQC_E_USAGE);
    }
}

// ---- records and calls ------------------------------------------------------

static void
test_record_reader(void **state)
{
    (void)state;
    ptqc_target full = {.h = {.size = sizeof full, .type = PTQC_REC_TARGET},
                        .name = {"n", 1},
                        .summary = {"s", 1}};
    ptqc_target read;
    pq_record_read(&read, sizeof read, &full.h);
    assert_int_equal(read.summary.n, 1);
    full.h.size = offsetof(ptqc_target, summary); // of an older plugin
    pq_record_read(&read, sizeof read, &full.h);
    assert_int_equal(read.name.n, 1);
    assert_int_equal(read.summary.n, 0);
    assert_null(read.summary.p);
    struct {
        ptqc_target known;
        uint64_t tail;
    } newer = {.known = full, .tail = 1};
    newer.known.h.size = sizeof newer; // of a newer one
    memset(&read, 0xff, sizeof read);
    pq_record_read(&read, sizeof read, &newer.known.h);
    assert_int_equal(read.summary.n, 1);
}

static void
test_statuses(void **state)
{
    fixture *f = *state;
    static const struct {
        ptqc_be_status from;
        ptqc_status to;
    } rows[] = {{PTQC_BE_OK, PTQC_OK},
                {PTQC_BE_UNSUPPORTED, PTQC_E_UNSUPPORTED},
                {PTQC_BE_RESOURCE, PTQC_E_RESOURCE},
                {PTQC_BE_INVALID, PTQC_E_INTERNAL},
                {PTQC_BE_INCOMPATIBLE, PTQC_E_BACKEND},
                {PTQC_BE_CANCELLED, PTQC_E_CANCELLED},
                {PTQC_BE_DEVICE_LOST, PTQC_E_BACKEND},
                {PTQC_BE_INTERNAL, PTQC_E_BACKEND},
                {PTQC_BE_CORRUPT, PTQC_E_INTEGRITY},
                {-99, PTQC_E_BACKEND}};
    char name[] = "fake";
    const pq_plugin plugin = {.name = name};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ptqc_call call;
        pq_test_sink_clear(&f->sink);
        pq_call_init(&call, f->ctx, &plugin);
        assert_int_equal(pq_call_end(&call, rows[i].from, "dance"), rows[i].to);
        bool is_good = rows[i].to == PTQC_OK;
        assert_int_equal(f->sink.error_count, is_good ? 0 : 1);
        assert_true(is_good || strstr(f->sink.text, "fake: dance: ") != NULL);
    }
}

static ptqc_status
find_and_load(ptqc_ctx *ctx, void *user)
{
    const char *dirs[] = {PTQC_FAKE_DIR "/fake"};
    const ptqc_backend_dirs d = {dirs, 1};
    pq_plugins *set = NULL;
    (void)user;
    PQ_TRY(pq_plugins_create(ctx, &d, &set));
    ptqc_status st = pq_plugin_load(set, pq_plugins_find(set, PQ_STR("fake")));
    pq_plugins_destroy(set);
    return st;
}

static void
test_out_of_memory(void **state)
{
    (void)state;
    assert_true(pq_test_alloc_sweep(find_and_load, NULL) > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_finds_and_loads),
        TEST(test_other_abi_names_both),
        TEST(test_hollow_table),
        TEST(test_no_query),
        TEST(test_library_is_missing),
        TEST(test_add_file),
        TEST(test_never_the_current_directory),
        TEST(test_first_of_a_name_wins),
        TEST(test_other_files_do_not_matter),
        TEST(test_directory_must_exist),
        TEST(test_world_writable_directory),
        TEST(test_bad_manifests),
        TEST(test_target_texts),
        TEST(test_record_reader),
        TEST(test_statuses),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
