// SPDX-License-Identifier: Apache-2.0
//
// Reading: maps of regular files. What a hostile file names is opened below
// one folder by openat2 (RESOLVE_BENEATH, no symbolic links), or where the
// kernel lacks it or a sandbox forbids it, by walking the path with
// O_NOFOLLOW.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/str.h"

enum {
    PATH_BYTES = 4096, // of a relative path, with its NUL
    // O_NONBLOCK: opening a FIFO or device must not wait or act.
    OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
};

static ptqc_status
fail_errno(ptqc_ctx *ctx, const char *path, const char *what, int error)
{
    char text[128];
    return PQ_FAIL(ctx, PTQC_E_IO, "%s '%s': %s", what, path,
                   strerror_r(error, text, sizeof text));
}

static pq_file_id
id_of(const struct stat *info)
{
    return (pq_file_id){.device = info->st_dev, .inode = info->st_ino};
}

// Maps the file behind fd; closes fd in every case.
static ptqc_status
map_descriptor(ptqc_ctx *ctx, const char *path, int fd, const struct stat *info,
               pq_map *out)
{
    ptqc_status st = PTQC_OK;
    size_t n = (size_t)info->st_size;
    void *p = NULL;
    if (n != 0) {
        p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            st = fail_errno(ctx, path, "cannot map", errno);
        }
    }
    if (st == PTQC_OK) {
        *out = (pq_map){.p = p, .n = n, .id = id_of(info)};
    }
    (void)close(fd); // read only: nothing can be lost
    return st;
}

ptqc_status
pq_map_open(ptqc_ctx *ctx, const char *path, pq_map *out)
{
    *out = (pq_map){0};
    int fd = open(path, OPEN_FLAGS);
    if (fd < 0) {
        return fail_errno(ctx, path, "cannot open", errno);
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        int error = errno;
        (void)close(fd);
        return fail_errno(ctx, path, "cannot look at", error);
    }
    if (!S_ISREG(info.st_mode)) {
        (void)close(fd);
        return PQ_FAIL(ctx, PTQC_E_IO, "cannot open '%s': %s", path,
                       S_ISDIR(info.st_mode) ? "it is a folder"
                                             : "it is not a regular file");
    }
    return map_descriptor(ctx, path, fd, &info, out);
}

void
pq_map_prefetch(const pq_map *map)
{
    if (map->p != NULL) {
        (void)madvise((void *)(uintptr_t)map->p, map->n, MADV_WILLNEED);
    }
}

void
pq_map_close(pq_map *map)
{
    if (map->p != NULL) {
        (void)munmap((void *)(uintptr_t)map->p, map->n);
    }
    *map = (pq_map){0};
}

// -> why the path may not be opened, NULL when its form is fine.
static const char *
refusal_of(const char *relative)
{
    pq_str rest = pq_str_of(relative);
    if (rest.n == 0) {
        return "it is empty";
    }
    if (rest.n >= PATH_BYTES) {
        return "it is too long";
    }
    if (relative[0] == '/') {
        return "it is absolute";
    }
    while (rest.n != 0) {
        pq_str part;
        (void)pq_str_split(rest, '/', &part, &rest);
        if (pq_str_equal_z(part, "..")) {
            return "it leaves the folder";
        }
    }
    return NULL;
}

// Opens the folder that contains `beside`; -1 and errno when it cannot.
static int
open_folder_of(const char *beside)
{
    const char *slash = strrchr(beside, '/');
    if (slash == NULL) {
        return open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    size_t n = (size_t)(slash - beside) + 1; // "/" stays for the root
    char folder[PATH_BYTES];
    if (n >= sizeof folder) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(folder, beside, n);
    folder[n] = '\0';
    return open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

// One component after the other, none of them a link. `relative` has no "..".
// Takes folder over.
static int
open_walking(int folder, const char *relative)
{
    pq_str rest = pq_str_of(relative);
    for (;;) {
        char name[PATH_BYTES];
        pq_str part;
        bool is_folder = pq_str_split(rest, '/', &part, &rest);
        if (part.n == 0) { // "a//b"; "a/" names the folder itself
            part = PQ_STR(".");
        }
        memcpy(name, part.p, part.n);
        name[part.n] = '\0';
        int flags = is_folder ? O_PATH | O_DIRECTORY | O_CLOEXEC : OPEN_FLAGS;
        int next = openat(folder, name, flags | O_NOFOLLOW);
        int error = errno;
        (void)close(folder);
        if (next < 0 || !is_folder) {
            errno = error;
            return next;
        }
        folder = next;
    }
}

// Takes folder over. -1 and errno when it cannot.
static int
open_beneath(int folder, const char *relative)
{
    struct open_how how = {
        .flags = OPEN_FLAGS,
        .resolve =
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, folder, relative, &how, sizeof how);
    // EPERM and ENOSYS come from sandboxes and kernels before 5.6.
    if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL)) {
        return open_walking(folder, relative);
    }
    int error = errno;
    (void)close(folder);
    errno = error;
    return (int)fd;
}

static ptqc_status
refuse(ptqc_ctx *ctx, const char *beside, const char *relative,
       const char *reason)
{
    return PQ_FAIL(ctx, PTQC_E_INPUT, "'%s' names the file '%s': refused, %s",
                   beside, relative, reason);
}

ptqc_status
pq_map_open_beside(ptqc_ctx *ctx, const char *beside, const char *relative,
                   pq_map *out)
{
    *out = (pq_map){0};
    const char *reason = refusal_of(relative);
    if (reason != NULL) {
        return refuse(ctx, beside, relative, reason);
    }
    int folder = open_folder_of(beside);
    if (folder < 0) {
        return fail_errno(ctx, beside, "cannot open the folder of", errno);
    }
    int fd = open_beneath(folder, relative);
    if (fd < 0) {
        // A link within gives ELOOP, as a folder in the walk ENOTDIR.
        if (errno == ELOOP || errno == EXDEV || errno == ENOTDIR) {
            return refuse(ctx, beside, relative,
                          "it goes through a link or a file");
        }
        return fail_errno(ctx, relative, "cannot open", errno);
    }
    struct stat info;
    if (fstat(fd, &info) != 0) {
        int error = errno;
        (void)close(fd);
        return fail_errno(ctx, relative, "cannot look at", error);
    }
    if (!S_ISREG(info.st_mode) || info.st_nlink != 1) {
        (void)close(fd);
        return refuse(ctx, beside, relative,
                      S_ISREG(info.st_mode) ? "it has several hard links"
                                            : "it is not a regular file");
    }
    return map_descriptor(ctx, relative, fd, &info, out);
}

ptqc_status
pq_file_identify(ptqc_ctx *ctx, const char *path, bool *out_found,
                 pq_file_id *out)
{
    struct stat info;
    *out_found = false;
    if (stat(path, &info) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return PTQC_OK;
        }
        return fail_errno(ctx, path, "cannot look at", errno);
    }
    *out_found = true;
    *out = id_of(&info);
    return PTQC_OK;
}

ptqc_status
pq_make_dir(ptqc_ctx *ctx, const char *path)
{
    if (mkdir(path, 0777) == 0) {
        return PTQC_OK;
    }
    int error = errno;
    struct stat info;
    if (error == EEXIST && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return PTQC_OK;
    }
    return fail_errno(ctx, path, "cannot make the folder", error);
}

ptqc_status
pq_dir_lock(ptqc_ctx *ctx, const char *path, int *out_fd)
{
    char text[128];
    *out_fd = -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return PQ_FAIL(ctx, PTQC_E_IO, "cannot open folder '%s': %s", path,
                       strerror_r(errno, text, sizeof text));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "folder '%s' is in use by another compile", path);
    }
    *out_fd = fd;
    return PTQC_OK;
}

void
pq_dir_unlock(int fd)
{
    if (fd >= 0) {
        (void)close(fd);
    }
}
