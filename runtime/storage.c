// SPDX-License-Identifier: Apache-2.0
//
// Storage in the host's memory or behind a plugin's buf_* functions.

#include "runtime/storage.h"

#include <string.h>

#include "runtime/host.h"

// Zeros that are written to devices piece by piece.
#define PQ_ZERO_BYTES 65536u
static const uint8_t pq_zeros[PQ_ZERO_BYTES];

static ptqc_str
device_of(const pq_memory *memory)
{
    return (ptqc_str){memory->device, strlen(memory->device)};
}

ptqc_status
pq_storage_alloc(ptqc_ctx *ctx, const pq_memory *memory, uint64_t bytes,
                 uint64_t align, pq_storage *out)
{
    *out = (pq_storage){0};
    if (memory->plugin == NULL) {
        out->host = pq_host_alloc(ctx, bytes, align);
        PQ_TRY_ALLOC(out->host);
        return PTQC_OK; // pq_alloc zeroes
    }
    ptqc_call call;
    pq_call_init(&call, ctx, memory->plugin);
    ptqc_be_status st = memory->plugin->table->vt->buf_alloc(
        &call, memory->plugin->instance, device_of(memory), bytes, align,
        &out->buf);
    return pq_call_end(&call, st, "allocate on the device");
}

void
pq_storage_free(ptqc_ctx *ctx, const pq_memory *memory, pq_storage *s)
{
    if (!s->is_borrowed && s->buf != NULL) {
        memory->plugin->table->vt->buf_free(s->buf);
    }
    if (!s->is_borrowed) {
        pq_host_free(ctx, s->host);
    }
    *s = (pq_storage){0};
}

bool
pq_storage_is_empty(const pq_storage *s)
{
    return s->host == NULL && s->buf == NULL;
}

static ptqc_status
write_part(ptqc_ctx *ctx, const pq_memory *memory, ptqc_buffer *to,
           uint64_t offset, const void *from, uint64_t bytes)
{
    ptqc_call call;
    pq_call_init(&call, ctx, memory->plugin);
    ptqc_be_status st = memory->plugin->table->vt->buf_write(
        &call, to, offset, (ptqc_bytes){from, bytes});
    return pq_call_end(&call, st, "copy to the device");
}

ptqc_status
pq_storage_zero(ptqc_ctx *ctx, const pq_memory *memory, const pq_storage *s,
                uint64_t bytes)
{
    if (memory->plugin == NULL) {
        memset(s->host, 0, bytes);
        return PTQC_OK;
    }
    for (uint64_t at = 0; at < bytes; at += PQ_ZERO_BYTES) {
        uint64_t n = bytes - at < PQ_ZERO_BYTES ? bytes - at : PQ_ZERO_BYTES;
        PQ_TRY(write_part(ctx, memory, s->buf, at, pq_zeros, n));
    }
    return PTQC_OK;
}

static ptqc_status
read_all(ptqc_ctx *ctx, const pq_memory *memory, ptqc_buffer *from, void *to,
         uint64_t bytes)
{
    ptqc_call call;
    pq_call_init(&call, ctx, memory->plugin);
    ptqc_be_status st =
        memory->plugin->table->vt->buf_read(&call, from, 0, to, bytes);
    return pq_call_end(&call, st, "copy from the device");
}

ptqc_status
pq_storage_copy(ptqc_ctx *ctx, const pq_memory *from_memory,
                const pq_storage *from, const pq_memory *to_memory,
                const pq_storage *to, uint64_t bytes)
{
    if (bytes == 0) {
        return PTQC_OK;
    }
    if (to_memory->plugin != NULL) {
        return write_part(ctx, to_memory, to->buf, 0, from->host, bytes);
    }
    return read_all(ctx, from_memory, from->buf, to->host, bytes);
}
