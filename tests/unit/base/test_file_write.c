// SPDX-License-Identifier: Apache-2.0
//
// All-or-nothing writes: contents, refusals, and what is left after a failed
// system call, a full device, an abort and a kill at every system call.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"
#include "tests/support/process.h"

enum {
    BIG_BYTES = 700 * 1000, // several times the writer's buffer
    PIECE_BYTES = 10007,
    NOBODY = 65534,
};

typedef struct fixture {
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES]; // of the file that is written
    pq_test_sink sink;
    ptqc_ctx *ctx;
    unsigned flags;  // of pq_writer_open, for children
    bool is_named;   // children: no O_TMPFILE
    int deny_number; // children: this call fails, 0 = none
} fixture;

static int
set_up(void **state)
{
    static fixture f;
    f = (fixture){0};
    pq_test_folder_create(&f.folder);
    pq_test_folder_path(&f.folder, "out.ptqc", f.path);
    f.ctx = pq_test_ctx_create(&f.sink, NULL, 1);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;
    int leaked = pq_live_bytes(f->ctx) != 0;
    ptqc_ctx_destroy(f->ctx);
    pq_test_folder_remove(&f->folder);
    return leaked;
}

static pq_writer *
open_writer(fixture *f, unsigned flags)
{
    pq_writer *w;
    assert_int_equal(pq_writer_open(f->ctx, f->path, flags, &w), PTQC_OK);
    return w;
}

static uint8_t
big_byte(size_t i)
{
    return (uint8_t)(i * 31 + i / 251);
}

// The bytes 0 .. BIG_BYTES in pieces; the first piece again by a patch.
static ptqc_status
write_big(ptqc_ctx *ctx, const char *path, unsigned flags)
{
    static uint8_t piece[PIECE_BYTES];
    pq_writer *w;
    PQ_TRY(pq_writer_open(ctx, path, flags, &w));
    ptqc_status st = PTQC_OK;
    for (size_t at = 0; at < BIG_BYTES && st == PTQC_OK; at += PIECE_BYTES) {
        size_t n = BIG_BYTES - at < PIECE_BYTES ? BIG_BYTES - at : PIECE_BYTES;
        for (size_t i = 0; i < n; i++) {
            piece[i] = at == 0 ? 0xee : big_byte(at + i);
        }
        st = pq_writer_write(w, piece, n);
    }
    for (size_t i = 0; i < PIECE_BYTES; i++) {
        piece[i] = big_byte(i);
    }
    if (st == PTQC_OK) {
        st = pq_writer_patch(w, 0, piece, PIECE_BYTES);
    }
    if (st != PTQC_OK) {
        pq_writer_abort(w);
        return st;
    }
    return pq_writer_commit(w);
}

static bool
is_big(const char *path)
{
    uint8_t *want = malloc(BIG_BYTES);
    assert_non_null(want);
    for (size_t i = 0; i < BIG_BYTES; i++) {
        want[i] = big_byte(i);
    }
    bool is_same = pq_test_file_is(path, want, BIG_BYTES);
    free(want);
    return is_same;
}

static void
test_contents(void **state)
{
    fixture *f = *state;
    pq_writer *w = open_writer(f, 0);
    assert_true(pq_writer_offset(w) == 0);
    assert_int_equal(pq_writer_align(w, 16), PTQC_OK);
    assert_true(pq_writer_offset(w) == 0);
    assert_int_equal(pq_writer_write(w, "abc", 3), PTQC_OK);
    assert_int_equal(pq_writer_write(w, NULL, 0), PTQC_OK);
    assert_int_equal(pq_writer_align(w, 8), PTQC_OK);
    assert_true(pq_writer_offset(w) == 8);
    assert_int_equal(pq_writer_write(w, "def", 3), PTQC_OK);
    assert_int_equal(pq_writer_patch(w, 1, "XY", 2), PTQC_OK);
    assert_int_equal(pq_writer_patch(w, 10, "Z", 1), PTQC_OK);
    assert_int_equal(pq_writer_patch(w, 11, "", 0), PTQC_OK);
    assert_int_equal(pq_writer_write(w, "!", 1), PTQC_OK);
    assert_int_equal(pq_test_folder_count(&f->folder), 0); // no name yet
    assert_int_equal(pq_writer_commit(w), PTQC_OK);
    assert_true(pq_test_file_is(f->path, "aXY\0\0\0\0\0deZ!", 12));
    assert_int_equal(pq_test_folder_count(&f->folder), 1);
}

static void
test_large_and_empty(void **state)
{
    fixture *f = *state;
    assert_int_equal(write_big(f->ctx, f->path, 0), PTQC_OK);
    assert_true(is_big(f->path));
    pq_writer *w = open_writer(f, PQ_WRITE_REPLACE);
    static uint8_t zeros[1000000];
    assert_int_equal(pq_writer_write(w, zeros, sizeof zeros), PTQC_OK);
    assert_int_equal(pq_writer_align(w, 1 << 20), PTQC_OK);
    assert_true(pq_writer_offset(w) == 1 << 20);
    assert_int_equal(pq_writer_commit(w), PTQC_OK);
    w = open_writer(f, PQ_WRITE_REPLACE);
    assert_int_equal(pq_writer_commit(w), PTQC_OK);
    assert_true(pq_test_file_is(f->path, "", 0));
    assert_int_equal(pq_test_folder_count(&f->folder), 1);
}

static void
test_existing_files(void **state)
{
    fixture *f = *state;
    pq_writer *w;
    pq_test_file_write(f->path, "old", 3);
    assert_int_equal(pq_writer_open(f->ctx, f->path, 0, &w), PTQC_E_IO);
    assert_null(w);
    w = open_writer(f, PQ_WRITE_REPLACE);
    assert_int_equal(pq_writer_write(w, "new", 3), PTQC_OK);
    assert_true(pq_test_file_is(f->path, "old", 3));
    pq_writer_abort(w);
    pq_writer_abort(NULL);
    assert_true(pq_test_file_is(f->path, "old", 3));
    w = open_writer(f, PQ_WRITE_REPLACE);
    assert_int_equal(pq_writer_write(w, "new", 3), PTQC_OK);
    assert_int_equal(pq_writer_commit(w), PTQC_OK);
    assert_true(pq_test_file_is(f->path, "new", 3));
    assert_int_equal(pq_test_folder_count(&f->folder), 1);
}

// A file that appears meanwhile is not overwritten; one that becomes a
// folder is not replaced.
static void
test_races(void **state)
{
    fixture *f = *state;
    pq_writer *w = open_writer(f, 0);
    pq_test_file_write(f->path, "theirs", 6);
    assert_int_equal(pq_writer_commit(w), PTQC_E_IO);
    assert_true(pq_test_file_is(f->path, "theirs", 6));
    assert_int_equal(pq_test_folder_count(&f->folder), 1);
    w = open_writer(f, PQ_WRITE_REPLACE);
    assert_int_equal(unlink(f->path), 0);
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(pq_writer_commit(w), PTQC_E_IO);
    assert_int_equal(pq_test_folder_count(&f->folder), 1);
    assert_int_equal(f->sink.error_count, 2);
}

static void
test_bad_targets(void **state)
{
    fixture *f = *state;
    char path[PQ_TEST_PATH_BYTES];
    static const char *const names[] = {"missing/x", "", ".", ".."};
    pq_writer *w = (pq_writer *)f; // must be set to NULL
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        pq_test_folder_path(&f->folder, names[i], path);
        assert_int_equal(pq_writer_open(f->ctx, path, PQ_WRITE_REPLACE, &w),
                         PTQC_E_IO);
        assert_null(w);
    }
    assert_int_equal(pq_writer_open(f->ctx, "", 0, &w), PTQC_E_IO);
    assert_int_equal(pq_writer_open(f->ctx, "/", 0, &w), PTQC_E_IO);
    pq_test_folder_path(&f->folder, "fifo", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(pq_writer_open(f->ctx, path, PQ_WRITE_REPLACE, &w),
                     PTQC_E_IO);
    assert_int_equal(pq_writer_open(f->ctx, "/dev/null", PQ_WRITE_REPLACE, &w),
                     PTQC_E_IO);
    assert_int_equal(f->sink.error_count, 8);
}

static void
test_patch_behind_the_end(void **state)
{
    fixture *f = *state;
    pq_writer *w = open_writer(f, 0);
    assert_int_equal(pq_writer_write(w, "abc", 3), PTQC_OK);
    assert_int_equal(pq_writer_patch(w, 2, "xy", 2), PTQC_E_INTERNAL);
    assert_int_equal(pq_writer_write(w, "d", 1), PTQC_E_IO); // stays failed
    assert_int_equal(pq_writer_patch(w, UINT64_MAX, "x", 1), PTQC_E_IO);
    assert_int_equal(pq_writer_commit(w), PTQC_E_IO);
    assert_int_equal(f->sink.error_count, 1);
    assert_int_equal(pq_test_folder_count(&f->folder), 0);
}

static void
test_permissions(void **state)
{
    fixture *f = *state;
    mode_t before = umask(027);
    pq_writer *w = open_writer(f, 0);
    umask(before);
    assert_int_equal(pq_writer_commit(w), PTQC_OK);
    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
}

// What the children do: the scene is set by the fixture's fields.
static int
child_write(void *user)
{
    fixture *f = user;
    // O_TMPFILE without its O_DIRECTORY bit: ordinary folders still open.
    uint32_t nameless = O_TMPFILE & ~O_DIRECTORY;
    if ((f->is_named && !pq_test_deny(SYS_openat, 2, nameless, EOPNOTSUPP)) ||
        (f->deny_number != 0 && !pq_test_deny(f->deny_number, -1, 0, EIO))) {
        return PQ_TEST_CHILD_SKIP;
    }
    ptqc_status st = write_big(f->ctx, f->path, f->flags);
    if (f->deny_number == 0) {
        return st == PTQC_OK ? 0 : 1;
    }
    bool is_good = st == PTQC_E_IO && f->sink.error_count == 1;
    if (!is_good) {
        (void)fprintf(stderr, "status %d: %s\n", st, f->sink.text);
    }
    return is_good ? 0 : 1;
}

static void
run_child(fixture *f)
{
    int code = pq_test_child_run(child_write, f);
    if (code == PQ_TEST_CHILD_SKIP) {
        print_message("skipped: no seccomp filters here\n");
        skip();
    }
    assert_int_equal(code, 0);
}

static void
test_without_nameless_files(void **state)
{
    fixture *f = *state;
    f->is_named = true;
    run_child(f);
    assert_true(is_big(f->path));
    pq_test_file_write(f->path, "old", 3);
    f->flags = PQ_WRITE_REPLACE;
    run_child(f);
    assert_true(is_big(f->path));
    assert_int_equal(pq_test_folder_count(&f->folder), 1);
}

// Each system call of the way fails once, in all four modes.
static void
test_failing_calls(void **state)
{
    fixture *f = *state;
    static const int both[] = {SYS_write, SYS_pwrite64, SYS_fsync};
    for (int mode = 0; mode < 4; mode++) {
        f->is_named = mode % 2 != 0;
        f->flags = mode / 2 != 0 ? PQ_WRITE_REPLACE : 0;
        for (size_t i = 0; i < sizeof both / sizeof both[0]; i++) {
            f->deny_number = both[i];
            run_child(f);
            assert_int_equal(pq_test_folder_count(&f->folder), 0);
        }
        if (f->is_named) {
            f->deny_number = f->flags != 0 ? SYS_renameat : SYS_renameat2;
        } else {
            f->deny_number = SYS_linkat;
        }
        run_child(f);
        assert_int_equal(pq_test_folder_count(&f->folder), 0);
    }
    f->is_named = false;
    f->flags = PQ_WRITE_REPLACE;
    pq_test_file_write(f->path, "old", 3);
    f->deny_number = SYS_renameat;
    run_child(f);
    assert_true(pq_test_file_is(f->path, "old", 3));
    assert_int_equal(pq_test_folder_count(&f->folder), 1);
}

// Killed at every stop: the old file or the complete new one, and nothing
// else but, in the modes with a temporary name, that one.
static void
check_kills(fixture *f, bool has_old)
{
    unsigned kills = 0;
    for (unsigned k = 1;; k++) {
        (void)unlink(f->path);
        if (has_old) {
            pq_test_file_write(f->path, "old", 3);
        }
        bool can_trace;
        bool was_killed = pq_test_child_kill(child_write, f, k, &can_trace);
        if (!can_trace) {
            print_message("skipped: tracing is forbidden here\n");
            skip();
        }
        bool is_new = is_big(f->path);
        bool is_old = has_old ? pq_test_file_is(f->path, "old", 3)
                              : access(f->path, F_OK) != 0;
        assert_true(is_new || is_old);
        size_t names = pq_test_folder_count(&f->folder);
        size_t own = is_new || has_old ? 1 : 0;
        bool may_leave = f->is_named || f->flags != 0;
        assert_in_range(names, own, own + may_leave);
        if (names > own) { // the left temporary must not add up
            pq_test_folder_remove(&f->folder);
            assert_int_equal(mkdir(f->folder.path, 0700), 0);
        }
        if (!was_killed) {
            assert_true(is_new);
            break;
        }
        kills++;
    }
    assert_true(kills > 20);
}

static void
test_kills_of_new_files(void **state)
{
    check_kills(*state, false);
}

static void
test_kills_of_replacing(void **state)
{
    fixture *f = *state;
    f->flags = PQ_WRITE_REPLACE;
    check_kills(f, true);
}

static void
test_kills_with_named_temporaries(void **state)
{
    fixture *f = *state;
    f->is_named = true;
    f->flags = PQ_WRITE_REPLACE;
    check_kills(f, true);
}

static int
write_as_nobody(void *user)
{
    fixture *f = user;
    if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) != 0) {
        return PQ_TEST_CHILD_SKIP;
    }
    return write_big(f->ctx, f->path, 0) == PTQC_E_IO ? 0 : 1;
}

static void
test_folder_without_rights(void **state)
{
    fixture *f = *state;
    assert_int_equal(chmod(f->folder.path, 0555), 0);
    int code = pq_test_child_run(write_as_nobody, f);
    assert_int_equal(chmod(f->folder.path, 0700), 0);
    if (code == PQ_TEST_CHILD_SKIP) {
        print_message("skipped: cannot become another user\n");
        skip();
    }
    assert_int_equal(code, 0);
    assert_int_equal(pq_test_folder_count(&f->folder), 0);
}

static int
write_over_size_limit(void *user)
{
    fixture *f = user;
    const struct rlimit limit = {BIG_BYTES / 2, BIG_BYTES / 2};
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR ||
        setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        return PQ_TEST_CHILD_SKIP;
    }
    return write_big(f->ctx, f->path, 0) == PTQC_E_IO ? 0 : 1;
}

static void
test_file_size_limit(void **state)
{
    fixture *f = *state;
    assert_int_equal(pq_test_child_run(write_over_size_limit, f), 0);
    assert_int_equal(pq_test_folder_count(&f->folder), 0);
}

// In a mount namespace of its own; the checks are made there too, since
// nobody else sees the device.
static int
write_to_full_device(void *user)
{
    fixture *f = user;
    uid_t uid = getuid();
    if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", f->folder.path, "tmpfs", 0, "size=262144") != 0) {
        return PQ_TEST_CHILD_SKIP;
    }
    ptqc_status st = write_big(f->ctx, f->path, 0);
    bool is_good = st == PTQC_E_IO && f->sink.error_count == 1 &&
                   strstr(f->sink.text, strerror(ENOSPC)) != NULL &&
                   rmdir(f->folder.path) != 0 && // busy: it is a mount
                   access(f->path, F_OK) != 0;
    // A file of the size of the device fits, so nothing was left behind.
    pq_writer *w;
    static const uint8_t zeros[200 * 1024];
    is_good = is_good && pq_writer_open(f->ctx, f->path, 0, &w) == PTQC_OK &&
              pq_writer_write(w, zeros, sizeof zeros) == PTQC_OK &&
              pq_writer_commit(w) == PTQC_OK;
    return is_good ? 0 : 1;
}

static void
test_full_device(void **state)
{
    fixture *f = *state;
    int code = pq_test_child_run(write_to_full_device, f);
    if (code == PQ_TEST_CHILD_SKIP) {
        print_message("skipped: cannot mount a small device\n");
        skip();
    }
    assert_int_equal(code, 0);
}

// What was written, flushed or not, is compared byte by byte.
static void
test_compare(void **state)
{
    fixture *f = *state;
    static uint8_t bytes[BIG_BYTES];
    bool is_same;
    for (size_t i = 0; i < BIG_BYTES; i++) {
        bytes[i] = big_byte(i);
    }
    pq_writer *w = open_writer(f, 0);
    assert_int_equal(pq_writer_write(w, bytes, BIG_BYTES), PTQC_OK);
    assert_int_equal(pq_writer_write(w, "end", 3), PTQC_OK);
    assert_int_equal(pq_writer_compare(w, 0, bytes, BIG_BYTES, &is_same),
                     PTQC_OK);
    assert_true(is_same);
    assert_int_equal(pq_writer_compare(w, BIG_BYTES, "end", 3, &is_same),
                     PTQC_OK);
    assert_true(is_same);
    assert_int_equal(pq_writer_compare(w, BIG_BYTES, "", 0, &is_same), PTQC_OK);
    assert_true(is_same);
    bytes[BIG_BYTES - 1] ^= 1;
    assert_int_equal(pq_writer_compare(w, 0, bytes, BIG_BYTES, &is_same),
                     PTQC_OK);
    assert_false(is_same);
    assert_int_equal(pq_writer_write(w, "!", 1), PTQC_OK); // still at the end
    assert_int_equal(pq_writer_offset(w), BIG_BYTES + 4);
    pq_writer_abort(w);
}

static ptqc_status
write_once(ptqc_ctx *ctx, void *user)
{
    return write_big(ctx, user, PQ_WRITE_REPLACE);
}

static void
test_allocation_failures(void **state)
{
    fixture *f = *state;
    assert_int_equal(pq_test_alloc_sweep(write_once, f->path), 4);
    assert_true(is_big(f->path));
}

int
main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_contents),
        IN_FOLDER(test_large_and_empty),
        IN_FOLDER(test_existing_files),
        IN_FOLDER(test_races),
        IN_FOLDER(test_bad_targets),
        IN_FOLDER(test_patch_behind_the_end),
        IN_FOLDER(test_permissions),
        IN_FOLDER(test_without_nameless_files),
        IN_FOLDER(test_failing_calls),
        IN_FOLDER(test_kills_of_new_files),
        IN_FOLDER(test_kills_of_replacing),
        IN_FOLDER(test_kills_with_named_temporaries),
        IN_FOLDER(test_folder_without_rights),
        IN_FOLDER(test_file_size_limit),
        IN_FOLDER(test_full_device),
        IN_FOLDER(test_compare),
        IN_FOLDER(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
