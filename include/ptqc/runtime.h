// SPDX-License-Identifier: Apache-2.0
//
// Running artifacts: open, make a session, run. This header and the library
// behind it (libptqc_rt) need nothing of the compiler.
//
// Threads: an artifact is immutable and may be shared; a session is used by
// one thread at a time and holds its own memory.
#ifndef PTQC_RUNTIME_H
#define PTQC_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/context.h"
#include "ptqc/model.h"
#include "ptqc/types.h"

#if defined(__cplusplus)
extern "C" {
#endif

// A dense, row-major tensor in host memory.
typedef struct ptqc_tensor {
    ptqc_dtype dtype;
    uint32_t rank;
    int64_t dims[PTQC_MAX_RANK];
    void *data;
    size_t bytes;
} ptqc_tensor;

// ---- artifacts ------------------------------------------------------------

typedef struct ptqc_artifact ptqc_artifact;

// Maps the file and checks it once. PTQC_E_INTEGRITY: damaged;
// PTQC_E_INPUT: not an artifact.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_artifact_open(ptqc_ctx *ctx,
                                                      const char *path,
                                                      ptqc_artifact **out);
// Bytes are borrowed, 64-byte aligned.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_artifact_open_memory(
    ptqc_ctx *ctx, const void *bytes, size_t count, ptqc_artifact **out);
PTQC_API void ptqc_artifact_close(ptqc_artifact *artifact); // NULL allowed
PTQC_API uint32_t ptqc_artifact_input_count(const ptqc_artifact *artifact);
PTQC_API uint32_t ptqc_artifact_output_count(const ptqc_artifact *artifact);
PTQC_API void ptqc_artifact_input(const ptqc_artifact *artifact, uint32_t i,
                                  ptqc_tensor_info *out);
PTQC_API void ptqc_artifact_output(const ptqc_artifact *artifact, uint32_t i,
                                   ptqc_tensor_info *out);
// Provenance and report as one JSON text: version, inputs with hashes,
// recipe, placement, scheme histogram. Borrowed.
PTQC_API const char *ptqc_artifact_metadata(const ptqc_artifact *artifact);
PTQC_API uint64_t ptqc_artifact_bytes(const ptqc_artifact *artifact);

// ---- devices --------------------------------------------------------------

// Where plugins are looked for, besides the compiled-in directory.
typedef struct ptqc_backend_dirs {
    const char *const *dirs; // absolute or relative paths of folders
    uint32_t dir_count;
} ptqc_backend_dirs;

typedef struct ptqc_device_info {
    const char *id, *name, *target, *reason;
    uint32_t is_usable;
    uint64_t memory_bytes;
} ptqc_device_info;
typedef void (*ptqc_device_fn)(void *user, const ptqc_device_info *device);

PTQC_API PTQC_MUST_USE ptqc_status
ptqc_list_devices(ptqc_ctx *ctx, const ptqc_backend_dirs *dirs,
                  ptqc_device_fn fn, void *user);
typedef void (*ptqc_plugin_fn)(void *user, const char *name,
                               const char *version, const char *path);
PTQC_API PTQC_MUST_USE ptqc_status
ptqc_list_plugins(ptqc_ctx *ctx, const ptqc_backend_dirs *dirs,
                  ptqc_plugin_fn fn, void *user);

// ---- sessions -------------------------------------------------------------

typedef struct ptqc_session ptqc_session;

typedef struct ptqc_session_desc {
    ptqc_backend_dirs backends;
    // Device or cap of a target, as --target: "cpu;avx2", "vulkan:1". NULL:
    // the first usable device of each target in the artifact.
    const char *target;
    // Tokens that a sequence may have (language models); 0 = what the model
    // allows, at most 4096. Memory for it is taken at the first run.
    uint64_t context;
    // Not 0: weights are copied into huge pages, which are read faster than a
    // mapped file; takes memory of their size and the time of one copy.
    uint32_t huge_pages;
} ptqc_session_desc;

// artifact outlives the session. PTQC_E_BACKEND names plugin or device.
PTQC_API PTQC_MUST_USE ptqc_status
ptqc_session_create(ptqc_ctx *ctx, const ptqc_artifact *artifact,
                    const ptqc_session_desc *desc, ptqc_session **out);
PTQC_API void ptqc_session_destroy(ptqc_session *session); // NULL allowed

// Runs once. inputs[i] belongs to artifact input i; its dtype must be the
// input's and its dims must fit. outputs[i]: with data = NULL it is set to
// memory of the session, valid until the next run; else the result is copied
// there (`bytes` = room). dtype, rank, dims, bytes are set.
// The first run with new dims prepares code and memory; further ones with
// the same dims allocate nothing.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_session_run(ptqc_session *session,
                                                    const ptqc_tensor *inputs,
                                                    uint32_t input_count,
                                                    ptqc_tensor *outputs,
                                                    uint32_t output_count);

// Forgets everything that runs left behind in states (KV caches).
PTQC_API void ptqc_session_reset(ptqc_session *session);

typedef struct ptqc_profile_row {
    const char *label;
    uint64_t ns, ops, bytes;
} ptqc_profile_row;
typedef void (*ptqc_profile_row_fn)(void *user, const ptqc_profile_row *row);
// As run, step by step, telling the time of each.
PTQC_API PTQC_MUST_USE ptqc_status
ptqc_session_profile(ptqc_session *session, const ptqc_tensor *inputs,
                     uint32_t input_count, ptqc_tensor *outputs,
                     uint32_t output_count, ptqc_profile_row_fn fn, void *user);

// ---- memory ----------------------------------------------------------------

// Frees what a call documents to be freed so. NULL allowed.
PTQC_API void ptqc_buffer_free(ptqc_ctx *ctx, void *bytes);

// ---- version --------------------------------------------------------------

// "0.1.0"
PTQC_API const char *ptqc_version(void);

#if defined(__cplusplus)
}
#endif
#endif
