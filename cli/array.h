// SPDX-License-Identifier: Apache-2.0
//
// Arrays in files: .npy (versions 1 to 3, C order), .npz (stored and
// deflated members), raw bytes, and the writer of .npy.
// All input is hostile: sizes are compared with the bytes that are there.
#ifndef PTQC_CLI_ARRAY_H
#define PTQC_CLI_ARRAY_H

#include "cli/cli.h"

typedef struct cli_array {
    ptqc_tensor tensor; // data points into owned memory or the map
    void *own;          // owned; NULL when mapped
    void *map;          // owned map of the file
    size_t map_bytes;
} cli_array;

// `path` is "x.npy", or "x.npz:KEY" (without a key: the only member).
// PTQC_E_IO: cannot be read; PTQC_E_INPUT: malformed.
ptqc_status cli_array_read(cli *c, const char *path, cli_array *out);
// Raw bytes of a given type and shape.
ptqc_status cli_array_read_raw(cli *c, const char *path, ptqc_dtype dtype,
                               const int64_t *dims, uint32_t rank,
                               cli_array *out);
void cli_array_deinit(cli_array *a); // zeroed array allowed
// Elements along the first axis; 0 for scalars.
// Element i as a number.
double cli_array_number(const cli_array *a, size_t i);
size_t cli_array_elements(const ptqc_tensor *t);

// Parses a whole .npy file in memory; `what` names it. The tensor points
// into `bytes` (copied into own memory when misaligned).
ptqc_status cli_npy_parse(cli *c, const char *what, const void *bytes,
                          size_t count, cli_array *out);
// Writes by rename.
ptqc_status cli_npy_write(cli *c, const char *path, const ptqc_tensor *t);

// ---- files (file.c) -------------------------------------------------------

ptqc_status cli_map_file(cli *c, const char *path, void **out,
                         size_t *out_bytes);
void cli_unmap_file(void *map, size_t bytes);
// Finds one member of a .npz in memory; key NULL: the only one.
// *out is owned (free).
ptqc_status cli_npz_member(cli *c, const char *what, const void *bytes,
                           size_t count, const char *key, void **out,
                           size_t *out_count);

#endif
