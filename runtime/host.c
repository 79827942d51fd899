// SPDX-License-Identifier: Apache-2.0
//
// Host services: thin adapters from the ABI's table to base/.

#include "runtime/host.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/threads.h"
#include "runtime/plugins.h"

// The block from pq_alloc is kept just below the aligned address.
void *
pq_host_alloc(void *self, uint64_t bytes, uint64_t align)
{
    size_t want = align < sizeof(void *) ? sizeof(void *) : align;
    size_t total;
    if (!pq_add_size(bytes, want + sizeof(void *), &total)) {
        return NULL;
    }
    uint8_t *block = pq_alloc(self, total);
    if (block == NULL) {
        return NULL;
    }
    uintptr_t at = (uintptr_t)block + sizeof(void *);
    at = (at + want - 1) & ~(uintptr_t)(want - 1);
    memcpy((void *)(at - sizeof(void *)), &block, sizeof block);
    return (void *)at;
}

void
pq_host_free(void *self, void *p)
{
    if (p == NULL) {
        return;
    }
    void *block;
    memcpy(&block, (uint8_t *)p - sizeof(void *), sizeof block);
    pq_free(self, block);
}

static void
keep_error(ptqc_call *call, const ptqc_diag *d)
{
    if (call->text[0] != '\0') {
        return; // the first error is the cause
    }
    snprintf(call->text, sizeof call->text, "%.*s", PQ_STR_ARG(d->text));
    snprintf(call->hint, sizeof call->hint, "%.*s", PQ_STR_ARG(d->hint));
}

static void
host_diag(ptqc_call *call, const ptqc_diag *record)
{
    ptqc_diag d;
    pq_record_read(&d, sizeof d, &record->h);
    if (d.severity == PTQC_SEV_ERROR) {
        keep_error(call, &d);
        return;
    }
    static const ptqc_severity map[] = {
        [PTQC_SEV_WARNING] = PTQC_SEVERITY_WARNING,
        [PTQC_SEV_INFO] = PTQC_SEVERITY_INFO,
        [PTQC_SEV_DEBUG] = PTQC_SEVERITY_DEBUG,
    };
    ptqc_severity severity =
        d.severity < sizeof map / sizeof *map && d.severity > PTQC_SEV_ERROR
            ? map[d.severity]
            : PTQC_SEVERITY_DEBUG;
    pq_say(call->ctx, severity, "plugin %s: %.*s", call->plugin,
           PQ_STR_ARG(d.text));
}

static uint32_t
host_cancelled(ptqc_call *call)
{
    return pq_is_cancelled(call->ctx) ? 1 : 0;
}

static ptqc_be_status
host_emit(ptqc_sink *sink, const ptqc_hdr *record)
{
    return sink->emit(sink->user, record);
}

static uint32_t
host_pool_width(void *self)
{
    pq_pool *pool = pq_ctx_pool(self);
    return pool == NULL ? 1 : pq_pool_width(pool);
}

static void
host_parallel_for(void *self, uint64_t count, uint64_t grain, ptqc_task_fn fn,
                  void *user)
{
    pq_pool *pool = pq_ctx_pool(self);
    if (pool == NULL) {
        fn(user, 0, count, 0);
        return;
    }
    pq_pool_for(pool, count, grain, fn, user);
}

static void
host_pool_run(void *self, ptqc_region_fn fn, void *user)
{
    pq_pool *pool = pq_ctx_pool(self);
    if (pool == NULL) {
        fn(user, 0, 1, NULL);
        return;
    }
    pq_pool_run(pool, fn, user);
}

static void
host_barrier(void *region)
{
    if (region != NULL) {
        pq_region_barrier(region);
    }
}

static ptqc_be_status
host_cache_get(void *self, const uint8_t key[32], ptqc_bytes *out)
{
    const char *dir = pq_cache_dir(self);
    return dir == NULL ? PTQC_BE_UNSUPPORTED
                       : pq_kernel_cache_get(self, dir, key, out);
}

static ptqc_be_status
host_cache_put(void *self, const uint8_t key[32], ptqc_bytes data)
{
    const char *dir = pq_cache_dir(self);
    return dir == NULL ? PTQC_BE_UNSUPPORTED
                       : pq_kernel_cache_put(self, dir, key, data);
}

static const void *
host_constant_map(ptqc_call *call, uint64_t id, uint64_t *out_bytes)
{
    if (call->constant_map == NULL) {
        return NULL;
    }
    uint64_t fail_count = pq_fail_count(call->ctx);
    const void *p = call->constant_map(call->constant_user, id, out_bytes);
    call->is_short |= p == NULL && pq_fail_count(call->ctx) != fail_count;
    return p;
}

static void
host_constant_release(ptqc_call *call, uint64_t id)
{
    if (call->constant_release != NULL) {
        call->constant_release(call->constant_user, id);
    }
}

static uint64_t
host_clock_ns(void *self)
{
    (void)self;
    return pq_clock_ns();
}

static const ptqc_host_vt pq_host_table = {
    .h = {.size = sizeof(ptqc_host_vt), .type = PTQC_REC_HOST_VT},
    .alloc = pq_host_alloc,
    .free = pq_host_free,
    .diag = host_diag,
    .cancelled = host_cancelled,
    .emit = host_emit,
    .pool_width = host_pool_width,
    .parallel_for = host_parallel_for,
    .pool_run = host_pool_run,
    .barrier = host_barrier,
    .cache_get = host_cache_get,
    .cache_put = host_cache_put,
    .constant_map = host_constant_map,
    .clock_ns = host_clock_ns,
    .constant_release = host_constant_release,
};

void
pq_host_init(ptqc_ctx *ctx, ptqc_host *out)
{
    const char *product = "ptqc " PTQC_VERSION_TEXT;
    *out = (ptqc_host){
        .h = {.size = sizeof *out, .type = PTQC_REC_HOST},
        .abi_version = PTQC_ABI_VERSION,
        .vt = &pq_host_table,
        .self = ctx,
        .product = {product, strlen(product)},
    };
}
