// SPDX-License-Identifier: Apache-2.0
//
// Scratch files, see scratch.h. In memory each appended piece is a block of
// its own: nothing is moved when more comes.
#include "base/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/vec.h"

typedef struct pq_piece {
    uint64_t offset;
    void *p; // owned
} pq_piece;

struct pq_scratch {
    ptqc_ctx *ctx; // borrowed
    int fd;        // owned descriptor; -1: in memory
    char *path;    // owned: for messages, the folder of a nameless one
    uint64_t bytes;
    pq_piece *pieces; // owned, ascending: in memory
    uint32_t piece_count, piece_capacity;
};

static ptqc_status
fail_path(ptqc_ctx *ctx, const char *path, const char *what, int error)
{
    char text[128];
    return PQ_FAIL(ctx, PTQC_E_IO, "'%s': cannot %s a scratch file: %s", path,
                   what, strerror_r(error, text, sizeof text));
}

static ptqc_status
fail_errno(const pq_scratch *s, const char *what, int error)
{
    return fail_path(s->ctx, s->path, what, error);
}

// Where the file system has no O_TMPFILE the name lives for a moment.
static int
open_nameless(const char *dir)
{
    char path[4096];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) {
        return fd;
    }
    int n = snprintf(path, sizeof path, "%s/.ptqc-scratch-%ld", dir,
                     (long)getpid());
    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW,
              S_IRUSR | S_IWUSR);
    if (fd >= 0) {
        (void)unlink(path);
    }
    return fd;
}

static ptqc_status
adopt(ptqc_ctx *ctx, const char *path, int fd, uint64_t bytes, pq_scratch **out)
{
    size_t n = path != NULL ? strlen(path) + 1 : 0;
    pq_scratch *s = pq_alloc(ctx, sizeof *s);
    char *copy = n > 0 ? pq_alloc(ctx, n) : NULL;
    if (s == NULL || (n > 0 && copy == NULL)) {
        pq_free(ctx, s);
        pq_free(ctx, copy);
        if (fd >= 0) {
            (void)close(fd);
        }
        return PTQC_E_RESOURCE;
    }
    if (n > 0) {
        memcpy(copy, path, n);
    }
    *s = (pq_scratch){.ctx = ctx, .fd = fd, .path = copy, .bytes = bytes};
    *out = s;
    return PTQC_OK;
}

ptqc_status
pq_scratch_open(ptqc_ctx *ctx, const char *dir, pq_scratch **out)
{
    *out = NULL;
    if (dir == NULL) {
        return adopt(ctx, NULL, -1, 0, out);
    }
    int fd = open_nameless(dir);
    return fd >= 0 ? adopt(ctx, dir, fd, 0, out)
                   : fail_path(ctx, dir, "create", errno);
}

ptqc_status
pq_scratch_create(ptqc_ctx *ctx, const char *path, pq_scratch **out)
{
    *out = NULL;
    // Not the old file: somebody may have it open.
    if (unlink(path) != 0 && errno != ENOENT) {
        return fail_path(ctx, path, "replace", errno);
    }
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW,
                  S_IRUSR | S_IWUSR);
    return fd >= 0 ? adopt(ctx, path, fd, 0, out)
                   : fail_path(ctx, path, "create", errno);
}

ptqc_status
pq_scratch_reopen(ptqc_ctx *ctx, const char *path, pq_scratch **out)
{
    struct stat info;
    *out = NULL;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? PTQC_NO : fail_path(ctx, path, "open", errno);
    }
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        (void)close(fd);
        return fail_path(ctx, path, "open", EINVAL);
    }
    return adopt(ctx, path, fd, (uint64_t)info.st_size, out);
}

uint64_t
pq_scratch_bytes(const pq_scratch *s)
{
    return s->bytes;
}

void
pq_scratch_close(pq_scratch *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->piece_count; i++) {
        pq_free(s->ctx, s->pieces[i].p);
    }
    if (s->fd >= 0) {
        (void)close(s->fd);
    }
    pq_free(s->ctx, s->pieces);
    pq_free(s->ctx, s->path);
    pq_free(s->ctx, s);
}

static ptqc_status
append_piece(pq_scratch *s, const void *p, size_t n)
{
    void *all = s->pieces;
    PQ_TRY(pq_vec_reserve(s->ctx, &all, &s->piece_capacity,
                          (size_t)s->piece_count + 1, sizeof *s->pieces));
    s->pieces = all;
    void *copy = pq_alloc(s->ctx, n);
    PQ_TRY_ALLOC(copy);
    memcpy(copy, p, n);
    s->pieces[s->piece_count++] = (pq_piece){.offset = s->bytes, .p = copy};
    return PTQC_OK;
}

static ptqc_status
append_file(const pq_scratch *s, const uint8_t *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = pwrite(s->fd, p + done, n - done, (off_t)(s->bytes + done));
        if (k < 0 && errno != EINTR) {
            return fail_errno(s, "write", errno);
        }
        done += k > 0 ? (size_t)k : 0;
    }
    return PTQC_OK;
}

ptqc_status
pq_scratch_append(pq_scratch *s, const void *p, size_t n, uint64_t *out_offset)
{
    PQ_TRY(s->fd < 0 ? append_piece(s, p, n) : append_file(s, p, n));
    *out_offset = s->bytes;
    s->bytes += n;
    return PTQC_OK;
}

static const uint8_t *
find_bytes(const pq_scratch *s, uint64_t offset)
{
    uint32_t low = 0, high = s->piece_count;
    while (low + 1 < high) {
        uint32_t middle = low + (high - low) / 2;
        *(s->pieces[middle].offset <= offset ? &low : &high) = middle;
    }
    const uint8_t *p = s->pieces[low].p;
    return p + (offset - s->pieces[low].offset);
}

// errno, 0: all is read.
static int
read_bytes(const pq_scratch *s, uint64_t offset, uint8_t *p, size_t n)
{
    if (s->fd < 0 && n > 0) {
        memcpy(p, find_bytes(s, offset), n);
        return 0;
    }
    for (size_t done = 0; done < n;) {
        ssize_t k = pread(s->fd, p + done, n - done, (off_t)(offset + done));
        if (k == 0 || (k < 0 && errno != EINTR)) {
            return k == 0 ? EIO : errno;
        }
        done += k > 0 ? (size_t)k : 0;
    }
    return 0;
}

bool
pq_scratch_try_read(const pq_scratch *s, uint64_t offset, void *p, size_t n)
{
    return read_bytes(s, offset, p, n) == 0;
}

ptqc_status
pq_scratch_read(pq_scratch *s, uint64_t offset, void *p, size_t n)
{
    int error = read_bytes(s, offset, p, n);
    return error == 0 ? PTQC_OK : fail_errno(s, "read", error);
}

ptqc_status
pq_scratch_map(pq_scratch *s, pq_map *out)
{
    *out = (pq_map){0};
    if (s->fd < 0) {
        return PTQC_NO;
    }
    if (s->bytes == 0) {
        return PTQC_OK;
    }
    void *p = mmap(NULL, s->bytes, PROT_READ, MAP_SHARED, s->fd, 0);
    if (p == MAP_FAILED) {
        return fail_errno(s, "map", errno);
    }
    *out = (pq_map){.p = p, .n = s->bytes};
    return PTQC_OK;
}
