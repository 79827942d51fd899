// SPDX-License-Identifier: Apache-2.0
//
// The kernel cache on disk. What is read here becomes machine code, so an
// entry counts only when the folder and the file belong to this user, nobody
// else can write them, no symbolic link is involved and the digest fits.
//
//   entry = magic[8] | key[32] | bytes u64 | sha256[32] | payload

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/hash.h"
#include "runtime/host.h"

#define PQ_ENTRY_MAGIC  "PTQCKRN1"
#define PQ_ENTRY_HEADER (8 + 32 + 8 + 32)
#define PQ_ENTRY_LIMIT  (UINT64_C(16) << 20)

static bool
is_mine(const struct stat *s, mode_t kind)
{
    return (s->st_mode & S_IFMT) == kind && s->st_uid == geteuid() &&
           (s->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// -> descriptor of the cache folder, -1 when it cannot be trusted.
static int
open_folder(const char *dir, bool create)
{
    if (create) {
        (void)mkdir(dir, 0700);
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct stat s;
    if (fd >= 0 && (fstat(fd, &s) != 0 || !is_mine(&s, S_IFDIR))) {
        close(fd);
        return -1;
    }
    return fd;
}

static void
entry_name(const uint8_t key[32], char out[65])
{
    pq_sha256 h;
    memcpy(h.bytes, key, sizeof h.bytes);
    pq_sha256_hex(&h, out);
}

static bool
read_all(int fd, uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, p, n);
        if (got <= 0) {
            if (got < 0 && errno == EINTR) {
                continue;
            }
            return false;
        }
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static bool
write_all(int fd, const uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, p, n);
        if (put < 0) {
            if (errno == EINTR) {
                continue;
            }
            return false;
        }
        p += put;
        n -= (size_t)put;
    }
    return true;
}

// Reads and checks the open entry; fills *out from pq_host_alloc.
static ptqc_be_status
read_entry(ptqc_ctx *ctx, int fd, const uint8_t key[32], ptqc_bytes *out)
{
    struct stat s;
    uint8_t header[PQ_ENTRY_HEADER];
    if (fstat(fd, &s) != 0 || !is_mine(&s, S_IFREG) ||
        !read_all(fd, header, sizeof header) ||
        memcmp(header, PQ_ENTRY_MAGIC, 8) != 0 ||
        memcmp(header + 8, key, 32) != 0) {
        return PTQC_BE_UNSUPPORTED;
    }
    uint64_t n = pq_load_le64(header + 40);
    if (n > PQ_ENTRY_LIMIT || (uint64_t)s.st_size != n + PQ_ENTRY_HEADER) {
        return PTQC_BE_UNSUPPORTED;
    }
    uint8_t *p = pq_host_alloc(ctx, n, 64);
    if (p == NULL) {
        return PTQC_BE_RESOURCE;
    }
    pq_sha256 hash;
    if (!read_all(fd, p, n) || pq_sha256_of(ctx, p, n, &hash) != PTQC_OK ||
        memcmp(hash.bytes, header + 48, 32) != 0) {
        pq_host_free(ctx, p);
        return PTQC_BE_UNSUPPORTED;
    }
    *out = (ptqc_bytes){p, n};
    return PTQC_BE_OK;
}

ptqc_be_status
pq_kernel_cache_get(ptqc_ctx *ctx, const char *dir, const uint8_t key[32],
                    ptqc_bytes *out)
{
    char name[65];
    entry_name(key, name);
    int folder = open_folder(dir, false);
    if (folder < 0) {
        return PTQC_BE_UNSUPPORTED;
    }
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ptqc_be_status st = PTQC_BE_UNSUPPORTED;
    if (fd >= 0) {
        st = read_entry(ctx, fd, key, out);
        close(fd);
    }
    close(folder);
    return st;
}

static bool
write_entry(ptqc_ctx *ctx, int fd, const uint8_t key[32], ptqc_bytes data)
{
    pq_sha256 hash;
    uint8_t header[PQ_ENTRY_HEADER];
    if (pq_sha256_of(ctx, data.p, data.n, &hash) != PTQC_OK) {
        return false;
    }
    memcpy(header, PQ_ENTRY_MAGIC, 8);
    memcpy(header + 8, key, 32);
    pq_store_le64(header + 40, data.n);
    memcpy(header + 48, hash.bytes, 32);
    return write_all(fd, header, sizeof header) &&
           write_all(fd, data.p, data.n);
}

// A complete file appears under its name or nothing does: an unnamed
// temporary is linked in when it is whole.
ptqc_be_status
pq_kernel_cache_put(ptqc_ctx *ctx, const char *dir, const uint8_t key[32],
                    ptqc_bytes data)
{
    char name[65], self[64];
    entry_name(key, name);
    int folder = open_folder(dir, true);
    if (folder < 0) {
        return PTQC_BE_UNSUPPORTED;
    }
    ptqc_be_status st = PTQC_BE_RESOURCE;
    int fd = openat(folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0 && write_entry(ctx, fd, key, data)) {
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        if (linkat(AT_FDCWD, self, folder, name, AT_SYMLINK_FOLLOW) != 0 &&
            errno == EEXIST) { // perhaps a damaged one: replace it
            (void)unlinkat(folder, name, 0);
            (void)linkat(AT_FDCWD, self, folder, name, AT_SYMLINK_FOLLOW);
        }
        st = PTQC_BE_OK;
    }
    if (fd >= 0) {
        close(fd);
    }
    close(folder);
    return st;
}
