// SPDX-License-Identifier: Apache-2.0
//
// Files: read-only maps, and all-or-nothing writes (a temporary file in the
// same folder, renamed when complete; gone on any failure).
#ifndef PTQC_BASE_FILE_H
#define PTQC_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ctx.h"

// Identity of a file, to tell whether two paths name the same one.
typedef struct pq_file_id {
    uint64_t device, inode;
} pq_file_id;

typedef struct pq_map {
    const uint8_t *p; // NULL for an empty file
    size_t n;
    pq_file_id id;
} pq_map;

// Regular files only. PTQC_E_IO when it cannot be opened.
PTQC_MUST_USE ptqc_status pq_map_open(ptqc_ctx *ctx, const char *path,
                                      pq_map *out);
// `relative` (from a hostile file) is opened below the folder that contains
// `beside`: no absolute path, no "..", no symbolic link anywhere, regular
// files with one link only. PTQC_E_INPUT when it tries to leave.
PTQC_MUST_USE ptqc_status pq_map_open_beside(ptqc_ctx *ctx, const char *beside,
                                             const char *relative, pq_map *out);
void pq_map_close(pq_map *map); // zeroed map allowed
// Has the file read from the disk ahead of its use, in large pieces. Best
// effort; a zeroed map is allowed.
void pq_map_prefetch(const pq_map *map);

// *out_found = false (and OK) when nothing is there.
PTQC_MUST_USE ptqc_status pq_file_identify(ptqc_ctx *ctx, const char *path,
                                           bool *out_found, pq_file_id *out);

typedef struct pq_writer pq_writer;
#define PQ_WRITE_REPLACE 1u // an existing file may be replaced
// PTQC_E_IO when the folder is missing or read-only, or when path exists and
// PQ_WRITE_REPLACE is not given.
PTQC_MUST_USE ptqc_status pq_writer_open(ptqc_ctx *ctx, const char *path,
                                         unsigned flags, pq_writer **out);
PTQC_MUST_USE ptqc_status pq_writer_write(pq_writer *w, const void *p,
                                          size_t n);
uint64_t pq_writer_offset(const pq_writer *w);
// Zero bytes up to a multiple of align.
PTQC_MUST_USE ptqc_status pq_writer_align(pq_writer *w, size_t align);
// Overwrites bytes written before (a header).
PTQC_MUST_USE ptqc_status pq_writer_patch(pq_writer *w, uint64_t offset,
                                          const void *p, size_t n);
// Flushes, syncs, renames and frees. On failure the temporary file is gone.
PTQC_MUST_USE ptqc_status pq_writer_commit(pq_writer *w);
void pq_writer_abort(pq_writer *w); // removes and frees; NULL allowed
// Whether the n bytes written at `offset` are those at p.
PTQC_MUST_USE ptqc_status pq_writer_compare(pq_writer *w, uint64_t offset,
                                            const void *p, size_t n,
                                            bool *out_is_same);

// mkdir -p of one level; OK when it exists.
PTQC_MUST_USE ptqc_status pq_make_dir(ptqc_ctx *ctx, const char *path);
// Keeps others that ask for the same lock away from a folder until the
// descriptor is closed (pq_dir_unlock). PTQC_E_USAGE: somebody has it.
PTQC_MUST_USE ptqc_status pq_dir_lock(ptqc_ctx *ctx, const char *path,
                                      int *out_fd);
void pq_dir_unlock(int fd); // -1 allowed

#endif
