// SPDX-License-Identifier: Apache-2.0
//
// The context. Every block of memory carries a header in the 64 bytes before
// it, which tells its size and where the allocator's block begins:
//
//     raw ... [block_header ... padding to 64][user bytes]
//                                             ^ 64-byte aligned
//
// The counters are atomic, because tasks of the thread pool may allocate;
// everything else follows the one-thread rule of ptqc/context.h.
#include "base/ctx.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/str.h"
#include "base/threads.h"

enum {
    BLOCK_ALIGN = 64,
    MESSAGE_BYTES = 2048, // of one diagnostic before escaping, with its NUL
    ESCAPED_BYTES = 4 * MESSAGE_BYTES,
};

typedef struct block_header {
    void *raw;    // what the allocator gave
    size_t bytes; // what was asked for
} block_header;

_Static_assert(sizeof(block_header) <= BLOCK_ALIGN, "header fits its slot");

struct ptqc_ctx {
    ptqc_ctx_desc desc; // cache_dir unused: it is below
    char *cache_dir;    // owned, NULL = none
    pq_pool *pool;      // owned, made at first use
    _Atomic uint64_t live_bytes, peak_bytes;
    _Atomic uint64_t fail_count;
    atomic_int cancelled; // lock-free: set from signal handlers
    atomic_int said_cancelled;
    atomic_int stopping;   // as soon as no unit is at work
    atomic_int is_in_unit; // written by the context's thread
    atomic_int said_last;  // the last message was shown: so are its notes
};

_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "cancel is async-signal-safe");

static void *
default_alloc(void *user, size_t bytes)
{
    (void)user;
    return calloc(1, bytes);
}

static void
default_free(void *user, void *p)
{
    (void)user;
    free(p);
}

// Counts bytes as live; false when that passes the limit.
static bool
charge(ptqc_ctx *ctx, uint64_t bytes)
{
    uint64_t limit = ctx->desc.memory_limit_bytes;
    uint64_t live = atomic_load(&ctx->live_bytes);
    do {
        if (bytes > UINT64_MAX - live || (limit != 0 && live + bytes > limit)) {
            return false;
        }
    } while (
        !atomic_compare_exchange_weak(&ctx->live_bytes, &live, live + bytes));
    uint64_t now = live + bytes;
    uint64_t peak = atomic_load(&ctx->peak_bytes);
    while (peak < now &&
           !atomic_compare_exchange_weak(&ctx->peak_bytes, &peak, now)) {
    }
    return true;
}

static block_header *
header_of(void *p)
{
    return (block_header *)(void *)((char *)p - BLOCK_ALIGN);
}

static void
say_out_of_memory(ptqc_ctx *ctx, size_t bytes)
{
    uint64_t limit = ctx->desc.memory_limit_bytes;
    unsigned long long live = atomic_load(&ctx->live_bytes);
    if (limit != 0) {
        (void)PQ_FAIL(ctx, PTQC_E_RESOURCE,
                      "out of memory: %zu bytes asked, %llu in use, limit "
                      "%llu",
                      bytes, live, (unsigned long long)limit);
    } else {
        (void)PQ_FAIL(ctx, PTQC_E_RESOURCE,
                      "out of memory: %zu bytes asked, %llu in use", bytes,
                      live);
    }
}

void *
pq_alloc(ptqc_ctx *ctx, size_t bytes)
{
    size_t raw_bytes;
    if (!pq_add_size(bytes, 2 * BLOCK_ALIGN, &raw_bytes) ||
        raw_bytes > PTRDIFF_MAX || !charge(ctx, bytes)) {
        say_out_of_memory(ctx, bytes);
        return NULL;
    }
    void *raw = ctx->desc.alloc(ctx->desc.alloc_user, raw_bytes);
    if (raw == NULL) {
        atomic_fetch_sub(&ctx->live_bytes, bytes);
        say_out_of_memory(ctx, bytes);
        return NULL;
    }
    // One full slot for the header, then up to the next multiple.
    size_t skip = BLOCK_ALIGN +
                  (BLOCK_ALIGN - (uintptr_t)raw % BLOCK_ALIGN) % BLOCK_ALIGN;
    char *p = (char *)raw + skip;
    *header_of(p) = (block_header){.raw = raw, .bytes = bytes};
    if (ctx->desc.alloc != default_alloc) { // calloc gave zeros
        memset(p, 0, bytes);
    }
    return p;
}

void *
pq_alloc_array(ptqc_ctx *ctx, size_t count, size_t size)
{
    size_t bytes;
    if (!pq_mul_size(count, size, &bytes)) {
        say_out_of_memory(ctx, SIZE_MAX);
        return NULL;
    }
    return pq_alloc(ctx, bytes);
}

void *
pq_realloc_array(ptqc_ctx *ctx, void *p, size_t count_old, size_t count_new,
                 size_t size)
{
    void *grown = pq_alloc_array(ctx, count_new, size);
    if (grown == NULL || p == NULL) {
        return grown;
    }
    size_t keep = count_old < count_new ? count_old : count_new;
    assert(header_of(p)->bytes == count_old * size);
    memcpy(grown, p, keep * size);
    pq_free(ctx, p);
    return grown;
}

void
pq_free(ptqc_ctx *ctx, void *p)
{
    if (p == NULL) {
        return;
    }
    block_header *header = header_of(p);
    atomic_fetch_sub(&ctx->live_bytes, header->bytes);
    ctx->desc.free(ctx->desc.alloc_user, header->raw);
}

uint64_t
pq_live_bytes(const ptqc_ctx *ctx)
{
    return atomic_load(&ctx->live_bytes);
}

uint64_t
pq_memory_left(const ptqc_ctx *ctx)
{
    uint64_t limit = ctx->desc.memory_limit_bytes;
    uint64_t live = atomic_load(&ctx->live_bytes);
    if (limit == 0) {
        return UINT64_MAX;
    }
    return live < limit ? limit - live : 0;
}

// Formats and escapes into out; a text that is too long ends in "...".
static void
format_message(char out[ESCAPED_BYTES], const char *format, va_list args)
{
    char raw[MESSAGE_BYTES] = "";
    int length = vsnprintf(raw, sizeof raw, format, args);
    // Negative: an argument makes it longer than INT_MAX.
    size_t n = length < 0 ? sizeof raw : (size_t)length;
    bool is_cut = n >= sizeof raw;
    if (is_cut) {
        n = strnlen(raw, sizeof raw - 1 - strlen("..."));
        while (n > 0 && ((unsigned char)raw[n] & 0xc0u) == 0x80u) {
            n--; // not inside a UTF-8 character
        }
    }
    size_t at = 0;
    for (size_t i = 0; i < n;) {
        size_t step = pq_str_printable((pq_str){raw + i, n - i});
        if (step == 0) {
            unsigned byte = (unsigned char)raw[i++];
            at += (size_t)snprintf(out + at, 5, "\\x%02x", byte);
        } else {
            memcpy(out + at, raw + i, step);
            at += step;
            i += step;
        }
    }
    memcpy(out + at, is_cut ? "..." : "", is_cut ? 4 : 1);
}

// The notes of a message are shown exactly when the message was.
static bool
passes_filter(ptqc_ctx *ctx, ptqc_severity severity)
{
    if (severity == PTQC_SEVERITY_NOTE) {
        return atomic_load(&ctx->said_last) != 0;
    }
    bool passes = severity <= ctx->desc.max_severity;
    atomic_store(&ctx->said_last, passes);
    return passes;
}

ptqc_status
pq_fail(ptqc_ctx *ctx, ptqc_status status, const char *format, ...)
{
    assert(status != PTQC_OK);
    atomic_fetch_add(&ctx->fail_count, 1);
    atomic_store(&ctx->said_last, 1);
    if (ctx->desc.diag != NULL) {
        char text[ESCAPED_BYTES];
        va_list args;
        va_start(args, format);
        format_message(text, format, args);
        va_end(args);
        ctx->desc.diag(ctx->desc.diag_user, PTQC_SEVERITY_ERROR, status, text);
    }
    return status;
}

void
pq_say(ptqc_ctx *ctx, ptqc_severity severity, const char *format, ...)
{
    if (!passes_filter(ctx, severity) || ctx->desc.diag == NULL) {
        return;
    }
    char text[ESCAPED_BYTES];
    va_list args;
    va_start(args, format);
    format_message(text, format, args);
    va_end(args);
    ctx->desc.diag(ctx->desc.diag_user, severity, PTQC_OK, text);
}

uint64_t
pq_fail_count(const ptqc_ctx *ctx)
{
    return atomic_load(&ctx->fail_count);
}

void
pq_ctx_swap_diag(ptqc_ctx *ctx, ptqc_diag_fn *fn, void **user)
{
    ptqc_diag_fn fn_before = ctx->desc.diag;
    void *user_before = ctx->desc.diag_user;
    ctx->desc.diag = *fn;
    ctx->desc.diag_user = *user;
    *fn = fn_before;
    *user = user_before;
}

PTQC_API void
ptqc_ctx_cancel(ptqc_ctx *ctx)
{
    atomic_store(&ctx->cancelled, 1);
}

PTQC_API void
ptqc_ctx_stop(ptqc_ctx *ctx)
{
    atomic_store(&ctx->stopping, 1);
}

void
pq_unit_begin(ptqc_ctx *ctx)
{
    atomic_store(&ctx->is_in_unit, 1);
}

void
pq_unit_end(ptqc_ctx *ctx)
{
    atomic_store(&ctx->is_in_unit, 0);
}

bool
pq_is_cancelled(const ptqc_ctx *ctx)
{
    return atomic_load_explicit(&ctx->cancelled, memory_order_relaxed) != 0 ||
           (atomic_load_explicit(&ctx->stopping, memory_order_relaxed) != 0 &&
            atomic_load_explicit(&ctx->is_in_unit, memory_order_relaxed) == 0);
}

ptqc_status
pq_check_cancelled(ptqc_ctx *ctx)
{
    if (!pq_is_cancelled(ctx)) {
        return PTQC_OK;
    }
    if (atomic_exchange(&ctx->said_cancelled, 1) != 0) {
        return PTQC_E_CANCELLED;
    }
    return PQ_FAIL(ctx, PTQC_E_CANCELLED, "cancelled");
}

void
pq_progress(ptqc_ctx *ctx, const char *phase, uint64_t done, uint64_t total)
{
    if (ctx->desc.progress != NULL) {
        ctx->desc.progress(ctx->desc.progress_user, phase, done, total);
    }
}

uint64_t
pq_torture_flags(const ptqc_ctx *ctx)
{
    return ctx->desc.torture_flags;
}

uint64_t
pq_memory_limit(const ptqc_ctx *ctx)
{
    return ctx->desc.memory_limit_bytes;
}

const char *
pq_cache_dir(const ptqc_ctx *ctx)
{
    return ctx->cache_dir;
}

PTQC_API uint32_t
ptqc_ctx_threads(const ptqc_ctx *ctx)
{
    uint32_t threads = ctx->desc.threads;
    return threads != 0 ? threads : pq_core_count();
}

struct pq_pool *
pq_ctx_pool(ptqc_ctx *ctx)
{
    if (ctx->pool == NULL) {
        if (pq_pool_create(ctx, ptqc_ctx_threads(ctx), &ctx->pool) != PTQC_OK) {
            return NULL;
        }
    }
    return ctx->pool;
}

static ptqc_ctx_desc
with_defaults(const ptqc_ctx_desc *given)
{
    ptqc_ctx_desc desc = given != NULL ? *given : (ptqc_ctx_desc){0};
    if (desc.alloc == NULL) {
        desc.alloc = default_alloc;
        desc.free = default_free;
    }
    if (desc.max_severity == 0) {
        desc.max_severity = PTQC_SEVERITY_WARNING;
    }
    return desc;
}

PTQC_API ptqc_status
ptqc_ctx_create(const ptqc_ctx_desc *given, ptqc_ctx **out)
{
    *out = NULL;
    if (given != NULL && (given->alloc == NULL) != (given->free == NULL)) {
        return PTQC_E_USAGE; // memory from one, freed by the other
    }
    ptqc_ctx_desc desc = with_defaults(given);
    ptqc_ctx *ctx = desc.alloc(desc.alloc_user, sizeof *ctx);
    if (ctx == NULL) {
        return PTQC_E_RESOURCE;
    }
    memset(ctx, 0, sizeof *ctx);
    ctx->desc = desc;
    ctx->desc.cache_dir = NULL;
    if (desc.cache_dir != NULL) {
        size_t bytes = strlen(desc.cache_dir) + 1;
        char *copy = pq_alloc(ctx, bytes);
        if (copy == NULL) {
            desc.free(desc.alloc_user, ctx);
            return PTQC_E_RESOURCE;
        }
        memcpy(copy, desc.cache_dir, bytes);
        ctx->cache_dir = copy;
    }
    *out = ctx;
    return PTQC_OK;
}

PTQC_API void
ptqc_ctx_destroy(ptqc_ctx *ctx)
{
    if (ctx == NULL) {
        return;
    }
    pq_pool_destroy(ctx->pool);
    pq_free(ctx, ctx->cache_dir);
    ctx->desc.free(ctx->desc.alloc_user, ctx);
}

PTQC_API uint64_t
ptqc_ctx_peak_bytes(const ptqc_ctx *ctx)
{
    return atomic_load(&ctx->peak_bytes);
}
