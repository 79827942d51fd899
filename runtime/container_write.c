// SPDX-License-Identifier: Apache-2.0
//
// Collecting and writing a .ptqc container (container.h has the drawing).
// The same calls give the same bytes: nothing here depends on time, threads
// or addresses.

#include <string.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/vec.h"
#include "runtime/container.h"

#define PQ_ALIGN 64u

typedef struct pq_bytes {
    uint8_t *p;
    uint32_t count, capacity;
} pq_bytes;

typedef struct pq_pending_constant {
    const uint8_t *p; // in the arena
    size_t bytes;
    uint64_t xxh3;
} pq_pending_constant;

struct pq_container {
    ptqc_ctx *ctx;                       // borrowed
    pq_arena arena;                      // bytes of constants
    pq_bytes sections[PQ_SECTION_COUNT]; // owned; DATA and CONSTANTS unused
    pq_pending_constant *constants;      // owned
    uint32_t constant_count, constant_capacity;
};

ptqc_status
pq_container_create(ptqc_ctx *ctx, pq_container **out)
{
    *out = NULL;
    pq_container *c = pq_alloc(ctx, sizeof *c);
    PQ_TRY_ALLOC(c);
    c->ctx = ctx;
    pq_arena_init(&c->arena, ctx);
    *out = c;
    return PTQC_OK;
}

void
pq_container_destroy(pq_container *c)
{
    if (c == NULL) {
        return;
    }
    for (unsigned i = 0; i < PQ_SECTION_COUNT; i++) {
        pq_free(c->ctx, c->sections[i].p);
    }
    pq_free(c->ctx, c->constants);
    pq_arena_deinit(&c->arena);
    pq_free(c->ctx, c);
}

// Appends n bytes to a section; *out_offset (may be NULL) = where.
static ptqc_status
append(pq_container *c, pq_section_kind kind, const void *p, size_t n,
       uint32_t *out_offset)
{
    pq_bytes *s = &c->sections[kind];
    void *bytes = s->p;
    PQ_TRY(pq_vec_reserve(c->ctx, &bytes, &s->capacity, s->count + n, 1));
    s->p = bytes;
    if (n > 0) {
        memcpy(s->p + s->count, p, n);
    }
    if (out_offset != NULL) {
        *out_offset = s->count;
    }
    s->count += (uint32_t)n;
    return PTQC_OK;
}

static ptqc_status
append_zeros(pq_container *c, pq_section_kind kind, size_t align)
{
    static const uint8_t zeros[PQ_ALIGN];
    size_t rest = c->sections[kind].count % align;
    return append(c, kind, zeros, rest == 0 ? 0 : align - rest, NULL);
}

ptqc_status
pq_container_add_constant(pq_container *c, const void *p, size_t n,
                          uint32_t *out_index)
{
    uint64_t hash = pq_hash64(p, n);
    for (uint32_t i = 0; i < c->constant_count; i++) {
        const pq_pending_constant *k = &c->constants[i];
        if (k->xxh3 == hash && k->bytes == n && memcmp(k->p, p, n) == 0) {
            *out_index = i;
            return PTQC_OK;
        }
    }
    void *all = c->constants;
    PQ_TRY(pq_vec_reserve(c->ctx, &all, &c->constant_capacity,
                          (size_t)c->constant_count + 1, sizeof *c->constants));
    c->constants = all;
    const uint8_t *copy = pq_arena_memdup(&c->arena, p, n);
    PQ_TRY_ALLOC(copy);
    c->constants[c->constant_count] =
        (pq_pending_constant){.p = copy, .bytes = n, .xxh3 = hash};
    *out_index = c->constant_count++;
    return PTQC_OK;
}

ptqc_status
pq_container_add_program(pq_container *c, const pq_program_desc *desc,
                         uint32_t *out_index)
{
    pq_file_program f = {.plugin_bytes = (uint32_t)desc->plugin.n,
                         .target_bytes = (uint32_t)desc->target.n,
                         .blob_bytes = desc->blob_bytes,
                         .ref_count = desc->constant_count,
                         .entry_count = desc->entry_count};
    uint32_t offset = 0;
    PQ_TRY(append(c, PQ_SECTION_TEXT, desc->plugin.p, desc->plugin.n,
                  &f.plugin_offset));
    PQ_TRY(append(c, PQ_SECTION_TEXT, desc->target.p, desc->target.n,
                  &f.target_offset));
    PQ_TRY(append_zeros(c, PQ_SECTION_BLOBS, PQ_ALIGN));
    PQ_TRY(append(c, PQ_SECTION_BLOBS, desc->blob, desc->blob_bytes, &offset));
    f.blob_offset = offset;
    PQ_TRY(append(c, PQ_SECTION_REFS, desc->constants,
                  desc->constant_count * sizeof(uint32_t), &offset));
    f.first_ref = offset / (uint32_t)sizeof(uint32_t);
    PQ_TRY(append(c, PQ_SECTION_PROGRAMS, &f, sizeof f, &offset));
    *out_index = offset / (uint32_t)sizeof f;
    return PTQC_OK;
}

static ptqc_status
append_operands(pq_container *c, const uint32_t *p, uint32_t n,
                uint32_t *out_first)
{
    uint32_t offset = 0;
    PQ_TRY(append(c, PQ_SECTION_OPERANDS, p, n * sizeof *p, &offset));
    *out_first = offset / (uint32_t)sizeof *p;
    return PTQC_OK;
}

ptqc_status
pq_container_add_step(pq_container *c, const pq_step_desc *desc)
{
    pq_file_step f = {.program = desc->program,
                      .entry = desc->entry,
                      .input_count = desc->input_count,
                      .state_count = desc->state_count,
                      .output_count = desc->output_count,
                      .dim_count = desc->dim_count};
    uint32_t ignored = 0;
    PQ_TRY(
        append_operands(c, desc->inputs, desc->input_count, &f.first_operand));
    PQ_TRY(append_operands(c, desc->states, desc->state_count, &ignored));
    PQ_TRY(append_operands(c, desc->outputs, desc->output_count, &ignored));
    PQ_TRY(append_operands(c, desc->dims, desc->dim_count, &f.first_dim));
    return append(c, PQ_SECTION_STEPS, &f, sizeof f, NULL);
}

ptqc_status
pq_container_set_iface(pq_container *c, const void *block, size_t n)
{
    c->sections[PQ_SECTION_IFACE].count = 0;
    return append(c, PQ_SECTION_IFACE, block, n, NULL);
}

ptqc_status
pq_container_set_tokenizer(pq_container *c, const void *saved, size_t n)
{
    c->sections[PQ_SECTION_TOKENIZER].count = 0;
    return append(c, PQ_SECTION_TOKENIZER, saved, n, NULL);
}

ptqc_status
pq_container_set_meta(pq_container *c, pq_str json)
{
    c->sections[PQ_SECTION_META].count = 0;
    return append(c, PQ_SECTION_META, json.p, json.n, NULL);
}

// ---- layout ---------------------------------------------------------------

// Fills CONSTANTS with offsets into DATA; -> bytes of DATA.
static ptqc_status
place_constants(pq_container *c, uint64_t *out_bytes)
{
    size_t at = 0;
    c->sections[PQ_SECTION_CONSTANTS].count = 0;
    for (uint32_t i = 0; i < c->constant_count; i++) {
        const pq_pending_constant *k = &c->constants[i];
        pq_file_constant f = {.offset = at, .bytes = k->bytes, .xxh3 = k->xxh3};
        PQ_TRY(append(c, PQ_SECTION_CONSTANTS, &f, sizeof f, NULL));
        if (!pq_add_size(at, k->bytes, &at) ||
            !pq_align_size(at, PQ_ALIGN, &at)) {
            return PQ_FAIL(c->ctx, PTQC_E_RESOURCE, "artifact too large");
        }
    }
    *out_bytes = at;
    return PTQC_OK;
}

static ptqc_status
make_header(pq_container *c, pq_file_header *out)
{
    uint64_t data_bytes = 0;
    PQ_TRY(place_constants(c, &data_bytes));
    pq_file_header h = {.version = PQ_CONTAINER_VERSION,
                        .section_count = PQ_SECTION_COUNT};
    memcpy(h.magic, PQ_CONTAINER_MAGIC, sizeof h.magic);
    size_t at = sizeof h;
    for (unsigned i = 0; i < PQ_SECTION_COUNT; i++) {
        uint64_t n = i == PQ_SECTION_DATA ? data_bytes : c->sections[i].count;
        if (!pq_align_size(at, PQ_ALIGN, &at)) {
            return PQ_FAIL(c->ctx, PTQC_E_RESOURCE, "artifact too large");
        }
        h.sections[i] = (pq_file_section){.offset = at, .bytes = n};
        if (!pq_add_size(at, n, &at)) {
            return PQ_FAIL(c->ctx, PTQC_E_RESOURCE, "artifact too large");
        }
    }
    h.file_bytes = at;
    *out = h;
    return PTQC_OK;
}

// The file up to DATA, hash included; owned by the caller.
static ptqc_status
make_front(pq_container *c, const pq_file_header *h, uint8_t **out)
{
    size_t n = h->sections[PQ_SECTION_DATA].offset;
    uint8_t *front = pq_alloc(c->ctx, n);
    PQ_TRY_ALLOC(front);
    memcpy(front, h, sizeof *h);
    for (unsigned i = 0; i < PQ_SECTION_DATA; i++) {
        if (c->sections[i].count > 0) {
            memcpy(front + h->sections[i].offset, c->sections[i].p,
                   c->sections[i].count);
        }
    }
    pq_sha256 hash;
    ptqc_status st = pq_sha256_of(c->ctx, front, n, &hash);
    if (st != PTQC_OK) {
        pq_free(c->ctx, front);
        return st;
    }
    memcpy(front + offsetof(pq_file_header, sha256), hash.bytes,
           sizeof hash.bytes);
    *out = front;
    return PTQC_OK;
}

static ptqc_status
write_all(const pq_container *c, const pq_file_header *h, const uint8_t *front,
          pq_writer *w)
{
    PQ_TRY(pq_writer_write(w, front, h->sections[PQ_SECTION_DATA].offset));
    for (uint32_t i = 0; i < c->constant_count; i++) {
        PQ_TRY(pq_check_cancelled(c->ctx));
        PQ_TRY(pq_writer_write(w, c->constants[i].p, c->constants[i].bytes));
        PQ_TRY(pq_writer_align(w, PQ_ALIGN));
    }
    return PTQC_OK;
}

ptqc_status
pq_container_write_file(pq_container *c, const char *path, unsigned flags,
                        pq_writer **out)
{
    ptqc_status st = PTQC_OK;
    pq_file_header h;
    uint8_t *front = NULL;
    pq_writer *w = NULL;
    *out = NULL;
    PQ_TRY_OR(done, make_header(c, &h));
    PQ_TRY_OR(done, make_front(c, &h, &front));
    PQ_TRY_OR(done, pq_writer_open(c->ctx, path, flags, &w));
    PQ_TRY_OR(done, write_all(c, &h, front, w));
    PQ_TRY_OR(done, pq_check_cancelled(c->ctx));
    *out = w;
    w = NULL;
done:
    pq_writer_abort(w);
    pq_free(c->ctx, front);
    return st;
}

ptqc_status
pq_container_write_memory(pq_container *c, void **out_bytes, size_t *out_count)
{
    ptqc_status st = PTQC_OK;
    pq_file_header h;
    uint8_t *front = NULL, *all = NULL;
    *out_bytes = NULL;
    PQ_TRY_OR(done, make_header(c, &h));
    PQ_TRY_OR(done, make_front(c, &h, &front));
    all = pq_alloc(c->ctx, h.file_bytes);
    if (all == NULL) {
        st = PTQC_E_RESOURCE;
        goto done;
    }
    memcpy(all, front, h.sections[PQ_SECTION_DATA].offset);
    const pq_file_constant *table = (const pq_file_constant *)(const void *)c
                                        ->sections[PQ_SECTION_CONSTANTS]
                                        .p;
    for (uint32_t i = 0; i < c->constant_count; i++) {
        if (c->constants[i].bytes > 0) {
            memcpy(all + h.sections[PQ_SECTION_DATA].offset + table[i].offset,
                   c->constants[i].p, c->constants[i].bytes);
        }
    }
    *out_bytes = all;
    *out_count = h.file_bytes;
done:
    pq_free(c->ctx, front);
    return st;
}
