// SPDX-License-Identifier: Apache-2.0
//
// The context: allocator, diagnostics, log level, threads, cancellation and
// memory limit of everything made with it. The library itself never prints,
// exits, reads the environment or keeps global state.
//
// Threads: a context is used by one thread at a time, except
// ptqc_ctx_cancel, which may be called from any thread or signal handler.
#ifndef PTQC_CONTEXT_H
#define PTQC_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/status.h"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct ptqc_ctx ptqc_ctx;

typedef enum ptqc_severity {
    PTQC_SEVERITY_ERROR = 1, // the user must act; one per failed call
    PTQC_SEVERITY_WARNING,   // the result may differ from what was asked
    PTQC_SEVERITY_NOTE,      // belongs to the message before
    PTQC_SEVERITY_INFO,      // one line per phase
    PTQC_SEVERITY_DEBUG,     // per tensor
} ptqc_severity;

// `text` is one line of UTF-8 with control bytes escaped, without a newline;
// valid during the call.
typedef void (*ptqc_diag_fn)(void *user, ptqc_severity severity,
                             ptqc_status status, const char *text);

// Progress of a long phase: `done` of `total` units (0 = unknown).
typedef void (*ptqc_progress_fn)(void *user, const char *phase, uint64_t done,
                                 uint64_t total);

// Zero means default everywhere.
typedef struct ptqc_ctx_desc {
    void *(*alloc)(void *user, size_t bytes); // default: malloc
    void (*free)(void *user, void *p);        // default: free
    void *alloc_user;
    ptqc_diag_fn diag; // default: dropped
    void *diag_user;
    ptqc_severity max_severity; // default: WARNING; NOTE follows its message
    ptqc_progress_fn progress;
    void *progress_user;
    uint32_t threads;            // default: cores this process may use
    uint64_t memory_limit_bytes; // default: none; counts live allocations
    const char *cache_dir;       // kernel cache; default NULL: none. Copied.
    uint64_t torture_flags;      // tests: PTQC_TORTURE_*
} ptqc_ctx_desc;

#define PTQC_TORTURE_CLONE 1u // passes run on a clone of the graph
#define PTQC_TORTURE_TEXT  2u // graphs go through text after every pass

// NULL desc = all defaults. *out is NULL on failure.
PTQC_API PTQC_MUST_USE ptqc_status ptqc_ctx_create(const ptqc_ctx_desc *desc,
                                                   ptqc_ctx **out);
// Everything made with the context must be gone. NULL allowed.
PTQC_API void ptqc_ctx_destroy(ptqc_ctx *ctx);
// Makes running calls return PTQC_E_CANCELLED soon. Async-signal-safe.
PTQC_API void ptqc_ctx_cancel(ptqc_ctx *ctx);
// The same, but a unit of work whose result is kept on disk (a group of
// weights in a compile with a work folder) is finished first.
// Async-signal-safe.
PTQC_API void ptqc_ctx_stop(ptqc_ctx *ctx);
// Threads that work is shared by, >= 1.
PTQC_API uint32_t ptqc_ctx_threads(const ptqc_ctx *ctx);
// Largest sum of live allocations so far, in bytes.
PTQC_API uint64_t ptqc_ctx_peak_bytes(const ptqc_ctx *ctx);

#if defined(__cplusplus)
}
#endif
#endif
