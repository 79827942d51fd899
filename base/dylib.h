// SPDX-License-Identifier: Apache-2.0
//
// Shared objects, opened by absolute path with RTLD_NOW | RTLD_LOCAL and
// never closed unless asked: plugins own threads and code that may be live.
#ifndef PTQC_BASE_DYLIB_H
#define PTQC_BASE_DYLIB_H

#include "base/ctx.h"

typedef struct pq_dylib pq_dylib;

// PTQC_E_BACKEND with the loader's text when it cannot be opened.
PTQC_MUST_USE ptqc_status pq_dylib_open(ptqc_ctx *ctx, const char *path,
                                        pq_dylib **out);
void *pq_dylib_symbol(const pq_dylib *lib, const char *name); // NULL if absent
// Frees the handle; `unload` also closes the object.
void pq_dylib_close(pq_dylib *lib, bool unload);

#endif
