// SPDX-License-Identifier: Apache-2.0
//
// Shared objects through dlopen.
#include "base/dylib.h"

#include <dlfcn.h>

struct pq_dylib {
    ptqc_ctx *ctx; // borrowed
    void *handle;  // owned; closed only when asked
};

ptqc_status
pq_dylib_open(ptqc_ctx *ctx, const char *path, pq_dylib **out)
{
    *out = NULL;
    if (path[0] != '/') { // else the loader would search its own path
        return PQ_FAIL(ctx, PTQC_E_USAGE,
                       "'%s': a shared object needs an absolute path", path);
    }
    pq_dylib *lib = pq_alloc(ctx, sizeof *lib);
    PQ_TRY_ALLOC(lib);
    lib->ctx = ctx;
    lib->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (lib->handle == NULL) {
        const char *reason = dlerror();
        pq_free(ctx, lib);
        return PQ_FAIL(ctx, PTQC_E_BACKEND, "cannot load '%s': %s", path,
                       reason != NULL ? reason : "unknown reason");
    }
    *out = lib;
    return PTQC_OK;
}

void *
pq_dylib_symbol(const pq_dylib *lib, const char *name)
{
    return dlsym(lib->handle, name);
}

void
pq_dylib_close(pq_dylib *lib, bool unload)
{
    if (lib == NULL) {
        return;
    }
    if (unload) {
        (void)dlclose(lib->handle); // nothing can be done about a failure
    }
    pq_free(lib->ctx, lib);
}
