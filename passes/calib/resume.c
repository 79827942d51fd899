// SPDX-License-Identifier: Apache-2.0
//
// Points to resume from, see resume.h. Little-endian:
//
//   0   "PTQCLIVE"
//   8   u32 version, u32 number of values
//   16  [32] fingerprint
//   48  u64 XXH3 of all that follows
//   56  u32 next piece, u32 bytes of sinks, u64 samples
//   72  sinks (sinks.h)
//   ..  per value: u32 value, u32 0; per sample: u32 dtype, u32 rank,
//       i64 dims[rank], u64 offset, u64 XXH3 of the tensor's bytes
#include "passes/calib/resume.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/dtype.h"

#define RESUME_VERSION 1u

enum {
    HEAD_BYTES = 56,
    HASH_AT = 48,
    POINT_BYTES = 16,
    PATH_BYTES = 4096,
};

static const char resume_magic[8] = {'P', 'T', 'Q', 'C', 'L', 'I', 'V', 'E'};

// ---- names ----------------------------------------------------------------

static bool
live_path(const pq_checkpoint *c, uint32_t value, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s-%08u.live", c->dir, c->pass,
                     (unsigned)value);
    return n > 0 && n < PATH_BYTES;
}

static bool
point_path(const pq_checkpoint *c, char out[PATH_BYTES])
{
    int n = snprintf(out, PATH_BYTES, "%s/%s.resume", c->dir, c->pass);
    return n > 0 && n < PATH_BYTES;
}

static ptqc_status
refuse_path(const pq_checkpoint *c)
{
    return PQ_FAIL(c->ctx, PTQC_E_USAGE, "%s: path too long", c->dir);
}

ptqc_status
pq_resume_create_live(const pq_checkpoint *c, uint32_t value, pq_live *out)
{
    char path[PATH_BYTES];
    return live_path(c, value, path) ? pq_live_create(c->ctx, path, out)
                                     : refuse_path(c);
}

void
pq_resume_remove_live(const pq_checkpoint *c, uint32_t value)
{
    char path[PATH_BYTES];
    if (live_path(c, value, path)) {
        (void)unlink(path);
    }
}

void
pq_resume_remove(const pq_checkpoint *c)
{
    char path[PATH_BYTES];
    if (point_path(c, path)) {
        (void)unlink(path);
    }
}

// ---- writing --------------------------------------------------------------

static void
add_live(pq_strbuf *b, uint32_t value, const pq_live *live)
{
    pq_strbuf_add_le32(b, value);
    pq_strbuf_add_le32(b, 0);
    for (uint32_t i = 0; i < live->count; i++) {
        const pq_live_sample *s = &live->samples[i];
        pq_strbuf_add_le32(b, (uint32_t)s->tensor.dtype);
        pq_strbuf_add_le32(b, s->tensor.rank);
        for (uint32_t k = 0; k < s->tensor.rank; k++) {
            pq_strbuf_add_le64(b, (uint64_t)s->tensor.dims[k]);
        }
        pq_strbuf_add_le64(b, s->offset);
        pq_strbuf_add_le64(b, s->hash);
    }
}

// What the hash is of; -> how many values live.
static uint32_t
add_body(pq_strbuf *b, const pq_resume_point *point, const pq_live *live,
         uint32_t value_count, const pq_strbuf *sinks)
{
    uint32_t count = 0;
    pq_strbuf_add_le32(b, point->next_piece);
    pq_strbuf_add_le32(b, (uint32_t)sinks->n);
    pq_strbuf_add_le64(b, point->sample_count);
    pq_strbuf_add(b, (pq_str){sinks->p, sinks->n});
    for (uint32_t i = 0; i < value_count; i++) {
        if (live[i].scratch != NULL) {
            add_live(b, i, &live[i]);
            count++;
        }
    }
    return count;
}

static ptqc_status
write_file(const pq_checkpoint *c, uint32_t count, const pq_strbuf *body)
{
    char path[PATH_BYTES];
    uint8_t head[HEAD_BYTES];
    pq_writer *w = NULL;
    memcpy(head, resume_magic, sizeof resume_magic);
    pq_store_le32(head + 8, RESUME_VERSION);
    pq_store_le32(head + 12, count);
    memcpy(head + 16, &c->fingerprint, sizeof c->fingerprint);
    pq_store_le64(head + HASH_AT, pq_hash64(body->p, body->n));
    if (!point_path(c, path)) {
        return refuse_path(c);
    }
    PQ_TRY(pq_writer_open(c->ctx, path, PQ_WRITE_REPLACE, &w));
    ptqc_status st = pq_writer_write(w, head, sizeof head);
    if (st == PTQC_OK) {
        st = pq_writer_write(w, body->p, body->n);
    }
    if (st != PTQC_OK) {
        pq_writer_abort(w);
        return st;
    }
    return pq_writer_commit(w);
}

ptqc_status
pq_resume_write(const pq_checkpoint *c, const pq_resume_point *point,
                const pq_live *live, uint32_t value_count,
                const pq_sinks *sinks)
{
    pq_strbuf flags, body;
    pq_strbuf_init(&flags, c->ctx);
    pq_strbuf_init(&body, c->ctx);
    if (sinks != NULL) {
        pq_sinks_write(sinks, &flags);
    }
    uint32_t count = add_body(&body, point, live, value_count, &flags);
    ptqc_status st = flags.failed || body.failed || flags.n > UINT32_MAX
                         ? PTQC_E_RESOURCE
                         : write_file(c, count, &body);
    pq_strbuf_deinit(&body);
    pq_strbuf_deinit(&flags);
    return st;
}

// ---- reading --------------------------------------------------------------

// A file that is read: p moves on, n bytes are left.
typedef struct pq_cursor {
    const uint8_t *p;
    size_t n;
} pq_cursor;

// NULL: not so many are left.
static const uint8_t *
take(pq_cursor *at, size_t n)
{
    const uint8_t *p = at->p;
    if (n > at->n) {
        return NULL;
    }
    at->p += n;
    at->n -= n;
    return p;
}

static bool
take_sample(pq_cursor *at, pq_live_sample *out)
{
    const uint8_t *p = take(at, 8);
    *out = (pq_live_sample){0};
    if (p == NULL) {
        return false;
    }
    uint32_t dtype = pq_load_le32(p), rank = pq_load_le32(p + 4);
    if (dtype < 1 || dtype > PQ_DTYPE_LAST || rank > PTQC_MAX_RANK) {
        return false;
    }
    p = take(at, 8 * (size_t)rank + 16);
    if (p == NULL) {
        return false;
    }
    for (uint32_t k = 0; k < rank; k++) {
        out->tensor.dims[k] = (int64_t)pq_load_le64(p + 8 * (size_t)k);
    }
    out->tensor.dtype = (ptqc_dtype)dtype;
    out->tensor.rank = rank;
    out->offset = pq_load_le64(p + 8 * (size_t)rank);
    out->hash = pq_load_le64(p + 8 * (size_t)rank + 8);
    return pq_dtype_bytes(out->tensor.dtype, out->tensor.dims, rank,
                          &out->tensor.bytes);
}

static ptqc_status
take_live(const pq_checkpoint *c, pq_cursor *at, uint64_t samples,
          pq_live *live, uint32_t value_count)
{
    char path[PATH_BYTES];
    const uint8_t *p = take(at, 8);
    uint32_t value = p != NULL ? pq_load_le32(p) : UINT32_MAX;
    if (value >= value_count || live[value].scratch != NULL ||
        !live_path(c, value, path)) {
        return PTQC_NO;
    }
    PQ_TRY(pq_scratch_reopen(c->ctx, path, &live[value].scratch));
    for (uint64_t i = 0; i < samples; i++) {
        pq_live_sample sample;
        if (!take_sample(at, &sample)) {
            return PTQC_NO;
        }
        PQ_TRY(pq_live_add(c->ctx, &live[value], &sample));
    }
    return PTQC_OK;
}

// PTQC_NO: not as drawn.
static ptqc_status
take_body(const pq_checkpoint *c, pq_cursor *at, uint32_t count,
          pq_resume_point *out, pq_live *live, uint32_t value_count,
          pq_sinks *sinks)
{
    const uint8_t *p = take(at, POINT_BYTES);
    if (p == NULL) {
        return PTQC_NO;
    }
    size_t sink_bytes = pq_load_le32(p + 4);
    const uint8_t *flags = take(at, sink_bytes);
    out->next_piece = pq_load_le32(p);
    out->sample_count = pq_load_le64(p + 8);
    if (flags == NULL || out->next_piece < 1 || out->sample_count < 1) {
        return PTQC_NO;
    }
    if (sinks != NULL) {
        PQ_TRY(pq_sinks_read(sinks, flags, sink_bytes));
    }
    for (uint32_t i = 0; i < count; i++) {
        PQ_TRY(take_live(c, at, out->sample_count, live, value_count));
    }
    return at->n == 0 ? PTQC_OK : PTQC_NO;
}

// *out_count: of values. PTQC_NO: not a point of this compile.
static ptqc_status
take_head(const pq_checkpoint *c, pq_cursor *at, uint32_t *out_count)
{
    const uint8_t *p = take(at, HEAD_BYTES);
    if (p == NULL || memcmp(p, resume_magic, sizeof resume_magic) != 0 ||
        pq_load_le32(p + 8) != RESUME_VERSION ||
        memcmp(p + 16, &c->fingerprint, sizeof c->fingerprint) != 0 ||
        pq_load_le64(p + HASH_AT) != pq_hash64(at->p, at->n)) {
        return PTQC_NO;
    }
    *out_count = pq_load_le32(p + 12);
    return PTQC_OK;
}

static void
forget(const pq_checkpoint *c, pq_live *live, uint32_t value_count,
       pq_sinks *sinks)
{
    for (uint32_t i = 0; i < value_count; i++) {
        pq_live_close(c->ctx, &live[i]);
    }
    if (sinks != NULL) {
        pq_sinks_reset(sinks);
    }
}

ptqc_status
pq_resume_read(const pq_checkpoint *c, pq_resume_point *out, pq_live *live,
               uint32_t value_count, pq_sinks *sinks)
{
    char path[PATH_BYTES];
    bool is_there;
    pq_file_id id;
    pq_map map;
    uint32_t count = 0;
    if (!point_path(c, path)) {
        return refuse_path(c);
    }
    PQ_TRY(pq_file_identify(c->ctx, path, &is_there, &id));
    if (!is_there) {
        return PTQC_NO;
    }
    PQ_TRY(pq_map_open(c->ctx, path, &map));
    pq_cursor at = {map.p, map.n};
    ptqc_status st = take_head(c, &at, &count);
    if (st == PTQC_OK) {
        st = take_body(c, &at, count, out, live, value_count, sinks);
    }
    pq_map_close(&map);
    if (st != PTQC_OK) {
        forget(c, live, value_count, sinks);
    }
    if (st == PTQC_NO) {
        pq_say(c->ctx, PTQC_SEVERITY_WARNING,
               "'%s' is damaged or of another compile: finished pieces run "
               "once more",
               path);
    }
    return st;
}
