// SPDX-License-Identifier: Apache-2.0
//
// Opening array files by name.

#include "cli/array.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

ptqc_status
cli_map_file(cli *c, const char *path, void **out, size_t *out_bytes)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &s) != 0) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return cli_fail(c, PTQC_E_IO, "%s: %s", path, strerror(error));
    }
    if (!S_ISREG(s.st_mode) || s.st_size == 0) {
        close(fd);
        return cli_fail(c, S_ISREG(s.st_mode) ? PTQC_E_INPUT : PTQC_E_IO,
                        "%s: %s", path,
                        S_ISREG(s.st_mode) ? "empty file" : "no regular file");
    }
    void *map = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int error = errno;
    close(fd);
    if (map == MAP_FAILED) {
        return cli_fail(c, PTQC_E_IO, "%s: %s", path, strerror(error));
    }
    *out = map;
    *out_bytes = (size_t)s.st_size;
    return PTQC_OK;
}

void
cli_unmap_file(void *map, size_t bytes)
{
    if (map != NULL) {
        munmap(map, bytes);
    }
}

void
cli_array_deinit(cli_array *a)
{
    free(a->own);
    cli_unmap_file(a->map, a->map_bytes);
    *a = (cli_array){0};
}

static bool
ends_with(const char *text, size_t n, const char *suffix)
{
    size_t k = strlen(suffix);
    return n >= k && memcmp(text + n - k, suffix, k) == 0;
}

// Splits "x.npz:KEY"; key NULL when there is none.
static const char *
npz_key(const char *path, char *out_path, size_t room)
{
    const char *colon = strrchr(path, ':');
    size_t n = colon != NULL ? (size_t)(colon - path) : strlen(path);
    if (colon != NULL && ends_with(path, n, ".npz") && n < room) {
        memcpy(out_path, path, n);
        out_path[n] = '\0';
        return colon + 1;
    }
    snprintf(out_path, room, "%s", path);
    return NULL;
}

ptqc_status
cli_array_read(cli *c, const char *path, cli_array *out)
{
    char file[4096];
    void *map, *member = NULL;
    size_t bytes, member_bytes = 0;
    const char *key = npz_key(path, file, sizeof file);
    *out = (cli_array){0};
    ptqc_status st = cli_map_file(c, file, &map, &bytes);
    if (st != PTQC_OK) {
        return st;
    }
    if (!ends_with(file, strlen(file), ".npz")) {
        st = cli_npy_parse(c, file, map, bytes, out);
        out->map = map;
        out->map_bytes = bytes;
    } else {
        st = cli_npz_member(c, file, map, bytes, key, &member, &member_bytes);
        if (st == PTQC_OK) {
            st = cli_npy_parse(c, file, member, member_bytes, out);
            if (out->own != NULL) {
                free(member); // parse made an aligned copy
            } else {
                out->own = member;
            }
        }
        cli_unmap_file(map, bytes);
    }
    if (st != PTQC_OK) {
        cli_array_deinit(out);
    }
    return st;
}

ptqc_status
cli_array_read_raw(cli *c, const char *path, ptqc_dtype dtype,
                   const int64_t *dims, uint32_t rank, cli_array *out)
{
    void *map;
    size_t bytes, want = cli_dtype_bytes(dtype);
    *out = (cli_array){0};
    ptqc_status st = cli_map_file(c, path, &map, &bytes);
    if (st != PTQC_OK) {
        return st;
    }
    out->map = map;
    out->map_bytes = bytes;
    out->tensor = (ptqc_tensor){.dtype = dtype, .rank = rank, .data = map};
    for (uint32_t i = 0; i < rank; i++) {
        out->tensor.dims[i] = dims[i];
        if (__builtin_mul_overflow(want, (size_t)dims[i], &want)) {
            want = SIZE_MAX;
        }
    }
    out->tensor.bytes = want;
    if (want != bytes) {
        cli_array_deinit(out);
        return cli_fail(c, PTQC_E_INPUT, "%s: expected %zu bytes, found %zu",
                        path, want, bytes);
    }
    return PTQC_OK;
}

size_t
cli_array_elements(const ptqc_tensor *t)
{
    size_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        n *= (size_t)t->dims[i];
    }
    return n;
}

double
cli_array_number(const cli_array *a, size_t i)
{
    const void *p = a->tensor.data;
    switch (a->tensor.dtype) {
    case PTQC_F32:
        return (double)((const float *)p)[i];
    case PTQC_F64:
        return ((const double *)p)[i];
    case PTQC_I8:
        return ((const int8_t *)p)[i];
    case PTQC_U8:
    case PTQC_BOOL:
        return ((const uint8_t *)p)[i];
    case PTQC_I16:
        return ((const int16_t *)p)[i];
    case PTQC_U16:
        return ((const uint16_t *)p)[i];
    case PTQC_I32:
        return ((const int32_t *)p)[i];
    case PTQC_U32:
        return ((const uint32_t *)p)[i];
    case PTQC_I64:
        return (double)((const int64_t *)p)[i];
    case PTQC_U64:
        return (double)((const uint64_t *)p)[i];
    default: // types that arrays in files do not have here
        return 0;
    }
}
