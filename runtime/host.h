// SPDX-License-Identifier: Apache-2.0
//
// The services a plugin gets: ptqc_host_vt on top of a context.
#ifndef PTQC_RUNTIME_HOST_H
#define PTQC_RUNTIME_HOST_H

#include "ptqc/backend.h"

#include "base/ctx.h"

// Fills *out; `self` of the host is the context, which outlives it.
void pq_host_init(ptqc_ctx *ctx, ptqc_host *out);

// Kernel cache below `dir` (a folder of this user that nobody else can
// write), one file per key. A missing, foreign or damaged entry is "not
// there"; failures to store are silent: the cache is only ever a shortcut.
ptqc_be_status pq_kernel_cache_get(ptqc_ctx *ctx, const char *dir,
                                   const uint8_t key[32], ptqc_bytes *out);
ptqc_be_status pq_kernel_cache_put(ptqc_ctx *ctx, const char *dir,
                                   const uint8_t key[32], ptqc_bytes data);

// Memory for plugins: align is a power of two.
void *pq_host_alloc(void *self, uint64_t bytes, uint64_t align);
void pq_host_free(void *self, void *p);

#endif
