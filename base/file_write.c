// SPDX-License-Identifier: Apache-2.0
//
// All-or-nothing writes. The new file has no name (O_TMPFILE) until it is
// complete and synced, so that a killed process leaves nothing; then it is
// linked. Only to replace an existing file it has a temporary name for the
// moment between linkat and rename. Where the file system has no O_TMPFILE
// the temporary name exists from the beginning. The folder is synced last.
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum {
    BUFFER_BYTES = 256 * 1024,
    NAME_BYTES = 48,  // of a temporary name, with its NUL
    LINK_BYTES = 64,  // of /proc/self/fd/N
    NAME_TRIES = 16,  // random 64-bit names: more means something else
    FILE_MODE = 0666, // less the umask
    SEND_BYTES = 16 << 20,
};

struct pq_writer {
    ptqc_ctx *ctx;    // borrowed
    char *path;       // owned, as given: for messages
    const char *name; // last component, inside path
    int folder;       // owned descriptor
    int fd;           // owned descriptor
    bool can_replace;
    bool failed;                // said; everything after fails quietly
    char temporary[NAME_BYTES]; // name in folder, "" = the file has none
    uint8_t *buffer;            // owned, [BUFFER_BYTES]
    size_t buffered;            // bytes in buffer
    uint64_t flushed;           // bytes in the file
    uint64_t sent;              // of these, on their way to the disk
};

static ptqc_status
fail_errno(pq_writer *w, const char *what, int error)
{
    char text[128];
    w->failed = true;
    return PQ_FAIL(w->ctx, PTQC_E_IO, "cannot %s '%s': %s", what, w->path,
                   strerror_r(error, text, sizeof text));
}

// ".ptqc-<random>.tmp"; false when there is no randomness.
static bool
make_name(char out[NAME_BYTES])
{
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random) {
        return false;
    }
    (void)snprintf(out, NAME_BYTES, ".ptqc-%016llx.tmp",
                   (unsigned long long)random);
    return true;
}

static void
link_path(int fd, char out[LINK_BYTES])
{
    (void)snprintf(out, LINK_BYTES, "/proc/self/fd/%d", fd);
}

// Opens the folder of path into w->folder, sets w->name.
static ptqc_status
open_folder(pq_writer *w)
{
    char *slash = strrchr(w->path, '/');
    w->name = slash != NULL ? slash + 1 : w->path;
    if (w->name[0] == '\0' || strcmp(w->name, ".") == 0 ||
        strcmp(w->name, "..") == 0) {
        return fail_errno(w, "write", EISDIR);
    }
    const char *folder = ".";
    if (slash == w->path) {
        folder = "/";
    } else if (slash != NULL) {
        *slash = '\0';
        folder = w->path;
    }
    w->folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int error = errno;
    if (slash != NULL) {
        *slash = '/';
    }
    return w->folder >= 0 ? PTQC_OK
                          : fail_errno(w, "open the folder of", error);
}

// What stands at path now must be replaceable, or nothing.
static ptqc_status
check_target(pq_writer *w)
{
    struct stat info;
    if (fstatat(w->folder, w->name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? PTQC_OK : fail_errno(w, "look at", errno);
    }
    if (!w->can_replace) {
        return fail_errno(w, "write", EEXIST);
    }
    if (S_ISDIR(info.st_mode)) {
        return fail_errno(w, "replace", EISDIR);
    }
    if (!S_ISREG(info.st_mode) && !S_ISLNK(info.st_mode)) {
        w->failed = true;
        return PQ_FAIL(w->ctx, PTQC_E_IO,
                       "cannot replace '%s': it is not a regular file",
                       w->path);
    }
    return PTQC_OK;
}

// A file without a name, if file system and /proc allow one.
static bool
open_nameless(pq_writer *w)
{
    char link[LINK_BYTES];
    int fd = openat(w->folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        return false;
    }
    link_path(fd, link);
    if (faccessat(AT_FDCWD, link, F_OK, 0) != 0) { // needed to give it a name
        (void)close(fd);
        return false;
    }
    w->fd = fd;
    return true;
}

static ptqc_status
open_named(pq_writer *w)
{
    int error = EEXIST;
    for (int i = 0; i < NAME_TRIES && error == EEXIST; i++) {
        char name[NAME_BYTES];
        if (!make_name(name)) {
            return fail_errno(w, "name a temporary file for", errno);
        }
        w->fd = openat(w->folder, name,
                       O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR | O_CLOEXEC,
                       FILE_MODE);
        error = w->fd >= 0 ? 0 : errno;
        if (error == 0) {
            memcpy(w->temporary, name, sizeof name);
        }
    }
    return error == 0 ? PTQC_OK : fail_errno(w, "write", error);
}

ptqc_status
pq_writer_open(ptqc_ctx *ctx, const char *path, unsigned flags, pq_writer **out)
{
    *out = NULL;
    pq_writer *w = pq_alloc(ctx, sizeof *w);
    PQ_TRY_ALLOC(w);
    ptqc_status st = PTQC_E_RESOURCE;
    w->ctx = ctx;
    w->folder = -1;
    w->fd = -1;
    w->can_replace = (flags & PQ_WRITE_REPLACE) != 0;
    size_t path_bytes = strlen(path) + 1;
    w->path = pq_alloc(ctx, path_bytes);
    w->buffer = pq_alloc(ctx, BUFFER_BYTES);
    if (w->path == NULL || w->buffer == NULL) {
        goto done;
    }
    memcpy(w->path, path, path_bytes);
    PQ_TRY_OR(done, open_folder(w));
    PQ_TRY_OR(done, check_target(w));
    if (!open_nameless(w)) {
        PQ_TRY_OR(done, open_named(w));
    }
    *out = w;
    w = NULL;
done:
    pq_writer_abort(w);
    return st;
}

// Lets the disk work while the caller makes the next bytes, so that the sync
// at the end has little left to wait for. Best effort.
static void
send_early(pq_writer *w)
{
    if (w->flushed - w->sent >= SEND_BYTES) {
        (void)sync_file_range(w->fd, (off_t)w->sent,
                              (off_t)(w->flushed - w->sent),
                              SYNC_FILE_RANGE_WRITE);
        w->sent = w->flushed;
    }
}

// All n bytes at the end of the file.
static ptqc_status
flush_bytes(pq_writer *w, const uint8_t *p, size_t n)
{
    while (n != 0) {
        ssize_t written = write(w->fd, p, n);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return fail_errno(w, "write", written < 0 ? errno : ENOSPC);
        }
        p += written;
        n -= (size_t)written;
        w->flushed += (uint64_t)written;
    }
    send_early(w);
    return PTQC_OK;
}

static ptqc_status
flush_buffer(pq_writer *w)
{
    size_t n = w->buffered;
    w->buffered = 0;
    return flush_bytes(w, w->buffer, n);
}

ptqc_status
pq_writer_write(pq_writer *w, const void *p, size_t n)
{
    if (w->failed) {
        return PTQC_E_IO;
    }
    if (n > BUFFER_BYTES - w->buffered) {
        PQ_TRY(flush_buffer(w));
    }
    if (n >= BUFFER_BYTES) {
        return flush_bytes(w, p, n);
    }
    if (n != 0) {
        memcpy(w->buffer + w->buffered, p, n);
        w->buffered += n;
    }
    return PTQC_OK;
}

uint64_t
pq_writer_offset(const pq_writer *w)
{
    return w->flushed + w->buffered;
}

ptqc_status
pq_writer_align(pq_writer *w, size_t align)
{
    static const uint8_t zeros[4096] = {0};
    assert(align != 0);
    uint64_t past = pq_writer_offset(w) % align;
    uint64_t left = past != 0 ? align - past : 0;
    while (left != 0) {
        size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
        PQ_TRY(pq_writer_write(w, zeros, n));
        left -= n;
    }
    return PTQC_OK;
}

ptqc_status
pq_writer_patch(pq_writer *w, uint64_t offset, const void *p, size_t n)
{
    if (w->failed) {
        return PTQC_E_IO;
    }
    uint64_t end = pq_writer_offset(w);
    if (offset > end || n > end - offset) {
        w->failed = true;
        return PQ_FAIL(w->ctx, PTQC_E_INTERNAL, "patch behind the end of '%s'",
                       w->path);
    }
    PQ_TRY(flush_buffer(w));
    const uint8_t *from = p;
    while (n != 0) {
        ssize_t written = pwrite(w->fd, from, n, (off_t)offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return fail_errno(w, "write", written < 0 ? errno : ENOSPC);
        }
        from += written;
        n -= (size_t)written;
        offset += (uint64_t)written;
    }
    return PTQC_OK;
}

// n <= BUFFER_BYTES bytes of the file into the (empty) buffer.
static ptqc_status
read_back(pq_writer *w, uint64_t offset, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got =
            pread(w->fd, w->buffer + at, n - at, (off_t)(offset + at));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return fail_errno(w, "read back", got < 0 ? errno : EIO);
        }
        at += (size_t)got;
    }
    return PTQC_OK;
}

ptqc_status
pq_writer_compare(pq_writer *w, uint64_t offset, const void *p, size_t n,
                  bool *out_is_same)
{
    assert(offset <= pq_writer_offset(w) && n <= pq_writer_offset(w) - offset);
    const uint8_t *expected = p;
    *out_is_same = false;
    if (w->failed) {
        return PTQC_E_IO;
    }
    PQ_TRY(flush_buffer(w));
    for (size_t at = 0; at < n;) {
        size_t piece = n - at < BUFFER_BYTES ? n - at : BUFFER_BYTES;
        PQ_TRY(read_back(w, offset + at, piece));
        if (memcmp(w->buffer, expected + at, piece) != 0) {
            return PTQC_OK;
        }
        at += piece;
    }
    *out_is_same = true;
    return PTQC_OK;
}

// Names the nameless file w->temporary.
static ptqc_status
link_temporary(pq_writer *w)
{
    char link[LINK_BYTES];
    link_path(w->fd, link);
    int error = EEXIST;
    for (int i = 0; i < NAME_TRIES && error == EEXIST; i++) {
        char name[NAME_BYTES];
        if (!make_name(name)) {
            return fail_errno(w, "name a temporary file for", errno);
        }
        bool linked =
            linkat(AT_FDCWD, link, w->folder, name, AT_SYMLINK_FOLLOW) == 0;
        error = linked ? 0 : errno;
        if (linked) {
            memcpy(w->temporary, name, sizeof name);
        }
    }
    return error == 0 ? PTQC_OK : fail_errno(w, "finish", error);
}

// temporary -> name, which must not exist.
static int
rename_to_new(pq_writer *w)
{
    if (renameat2(w->folder, w->temporary, w->folder, w->name,
                  RENAME_NOREPLACE) == 0) {
        w->temporary[0] = '\0';
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return errno;
    }
    // A file system without that flag: a hard link never replaces either;
    // the temporary name is removed by release.
    return linkat(w->folder, w->temporary, w->folder, w->name, 0) == 0 ? 0
                                                                       : errno;
}

// Gives the complete file its name.
static ptqc_status
publish(pq_writer *w)
{
    if (!w->can_replace) {
        int error = 0;
        char link[LINK_BYTES];
        link_path(w->fd, link);
        if (w->temporary[0] != '\0') {
            error = rename_to_new(w);
        } else if (linkat(AT_FDCWD, link, w->folder, w->name,
                          AT_SYMLINK_FOLLOW) != 0) {
            error = errno;
        }
        return error == 0 ? PTQC_OK : fail_errno(w, "write", error);
    }
    PQ_TRY(check_target(w)); // it may have changed since the opening
    if (w->temporary[0] == '\0') {
        PQ_TRY(link_temporary(w));
    }
    if (renameat(w->folder, w->temporary, w->folder, w->name) != 0) {
        return fail_errno(w, "replace", errno);
    }
    w->temporary[0] = '\0';
    return PTQC_OK;
}

static ptqc_status
sync_folder(pq_writer *w)
{
    int fd = openat(w->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        // A folder that may be written but not read cannot be synced.
        return errno == EACCES ? PTQC_OK : fail_errno(w, "sync", errno);
    }
    int error = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    // EINVAL: the file system does not sync folders.
    return error == 0 || error == EINVAL ? PTQC_OK
                                         : fail_errno(w, "sync", error);
}

// Frees everything; what still has a temporary name loses it.
static void
release(pq_writer *w)
{
    if (w->fd >= 0) {
        (void)close(w->fd); // synced before, or given up
    }
    if (w->temporary[0] != '\0') {
        (void)unlinkat(w->folder, w->temporary, 0);
    }
    if (w->folder >= 0) {
        (void)close(w->folder);
    }
    pq_free(w->ctx, w->buffer);
    pq_free(w->ctx, w->path);
    pq_free(w->ctx, w);
}

ptqc_status
pq_writer_commit(pq_writer *w)
{
    ptqc_status st = w->failed ? PTQC_E_IO : PTQC_OK;
    PQ_TRY_OR(done, st);
    PQ_TRY_OR(done, flush_buffer(w));
    if (fsync(w->fd) != 0) {
        st = fail_errno(w, "sync", errno);
        goto done;
    }
    PQ_TRY_OR(done, publish(w));
    st = sync_folder(w);
done:
    release(w);
    return st;
}

void
pq_writer_abort(pq_writer *w)
{
    if (w != NULL) {
        release(w);
    }
}
