// SPDX-License-Identifier: Apache-2.0
//
// Collecting and writing a .ptqc container (container.h has the drawing).
// The same calls give the same bytes: nothing here depends on time, threads
// or addresses.

#include <string.h>

#include "base/checked.h"
#include "base/vec.h"
#include "runtime/container.h"

#define PQ_ALIGN 64u
// A cancelled write of a large constant stops after so many bytes.
#define PQ_PIECE_BYTES ((size_t)8 << 20)

typedef struct pq_bytes {
    uint8_t *p;
    uint32_t count, capacity;
} pq_bytes;

typedef struct pq_pending_constant {
    uint8_t *p; // owned; NULL: in the file
    pq_file_constant entry;
} pq_pending_constant;

struct pq_container {
    ptqc_ctx *ctx;                       // borrowed
    pq_writer *writer;                   // owned; NULL: in memory
    pq_bytes sections[PQ_SECTION_COUNT]; // owned; DATA and CONSTANTS unused
    pq_pending_constant *constants;      // owned
    uint32_t constant_count, constant_capacity;
    uint64_t data_bytes;
};

ptqc_status
pq_container_create(ptqc_ctx *ctx, pq_container **out)
{
    *out = NULL;
    pq_container *c = pq_alloc(ctx, sizeof *c);
    PQ_TRY_ALLOC(c);
    c->ctx = ctx;
    *out = c;
    return PTQC_OK;
}

ptqc_status
pq_container_create_file(ptqc_ctx *ctx, const char *path, unsigned flags,
                         pq_container **out)
{
    const uint8_t header[PQ_DATA_OFFSET] = {0}; // filled at the end
    pq_container *c = NULL;
    *out = NULL;
    PQ_TRY(pq_container_create(ctx, &c));
    ptqc_status st = pq_writer_open(ctx, path, flags, &c->writer);
    if (st == PTQC_OK) {
        st = pq_writer_write(c->writer, header, sizeof header);
    }
    if (st != PTQC_OK) {
        pq_container_destroy(c);
        return st;
    }
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
    for (uint32_t i = 0; i < c->constant_count; i++) {
        pq_free(c->ctx, c->constants[i].p);
    }
    pq_free(c->ctx, c->constants);
    pq_writer_abort(c->writer);
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

// ---- constants ------------------------------------------------------------

static ptqc_status
has_bytes(const pq_container *c, const pq_pending_constant *k, const void *p,
          bool *out)
{
    if (c->writer != NULL) {
        return pq_writer_compare(c->writer, PQ_DATA_OFFSET + k->entry.offset, p,
                                 k->entry.bytes, out);
    }
    *out = memcmp(k->p, p, k->entry.bytes) == 0;
    return PTQC_OK;
}

// *out_index = constant_count when there is no such constant.
static ptqc_status
find_constant(const pq_container *c, uint64_t hash, const void *p, size_t n,
              uint32_t *out_index)
{
    bool is_same = false;
    uint32_t i = 0;
    for (; i < c->constant_count; i++) {
        const pq_pending_constant *k = &c->constants[i];
        if (k->entry.xxh3 != hash || k->entry.bytes != n) {
            continue;
        }
        PQ_TRY(has_bytes(c, k, p, &is_same));
        if (is_same) {
            break;
        }
    }
    *out_index = i;
    return PTQC_OK;
}

static ptqc_status
write_constant(pq_container *c, const uint8_t *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t piece = n - at < PQ_PIECE_BYTES ? n - at : PQ_PIECE_BYTES;
        PQ_TRY(pq_check_cancelled(c->ctx));
        PQ_TRY(pq_writer_write(c->writer, p + at, piece));
        at += piece;
    }
    return pq_writer_align(c->writer, PQ_ALIGN);
}

static ptqc_status
keep_constant(pq_container *c, const void *p, size_t n, uint8_t **out_copy)
{
    if (c->writer != NULL) {
        return write_constant(c, p, n);
    }
    *out_copy = pq_alloc(c->ctx, n);
    PQ_TRY_ALLOC(*out_copy);
    if (n > 0) {
        memcpy(*out_copy, p, n);
    }
    return PTQC_OK;
}

ptqc_status
pq_container_add_constant(pq_container *c, const void *p, size_t n,
                          uint32_t *out_index)
{
    uint64_t end;
    pq_pending_constant k = {.entry = {.offset = c->data_bytes,
                                       .bytes = n,
                                       .xxh3 = pq_hash64(p, n)}};
    PQ_TRY(find_constant(c, k.entry.xxh3, p, n, out_index));
    if (*out_index < c->constant_count) {
        return PTQC_OK;
    }
    if (!pq_add_size(c->data_bytes, n, &end) ||
        !pq_align_size(end, PQ_ALIGN, &end)) {
        return PQ_FAIL(c->ctx, PTQC_E_RESOURCE, "artifact too large");
    }
    void *all = c->constants;
    PQ_TRY(pq_vec_reserve(c->ctx, &all, &c->constant_capacity,
                          (size_t)c->constant_count + 1, sizeof *c->constants));
    c->constants = all;
    PQ_TRY(keep_constant(c, p, n, &k.p));
    c->constants[c->constant_count++] = k;
    c->data_bytes = end;
    return PTQC_OK;
}

// ---- programs and steps ---------------------------------------------------

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

// ---- the end --------------------------------------------------------------

static ptqc_status
list_constants(pq_container *c)
{
    for (uint32_t i = 0; i < c->constant_count; i++) {
        PQ_TRY(append(c, PQ_SECTION_CONSTANTS, &c->constants[i].entry,
                      sizeof c->constants[i].entry, NULL));
    }
    return PTQC_OK;
}

static ptqc_status
make_header(pq_container *c, pq_file_header *out)
{
    pq_file_header h = {.version = PQ_CONTAINER_VERSION,
                        .section_count = PQ_SECTION_COUNT};
    memcpy(h.magic, PQ_CONTAINER_MAGIC, sizeof h.magic);
    size_t at = sizeof h;
    PQ_TRY(list_constants(c));
    for (unsigned i = 0; i < PQ_SECTION_COUNT; i++) {
        uint64_t n =
            i == PQ_SECTION_DATA ? c->data_bytes : c->sections[i].count;
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

// The file without DATA, hash included; *out is owned by the caller.
static ptqc_status
make_front(pq_container *c, pq_file_header *h, uint8_t **out, size_t *out_bytes)
{
    PQ_TRY(make_header(c, h));
    size_t tables = h->sections[PQ_SECTION_META].offset;
    size_t n = PQ_DATA_OFFSET + (h->file_bytes - tables);
    uint8_t *front = pq_alloc(c->ctx, n);
    PQ_TRY_ALLOC(front);
    memcpy(front, h, sizeof *h);
    for (unsigned i = PQ_SECTION_META; i < PQ_SECTION_COUNT; i++) {
        if (c->sections[i].count > 0) {
            memcpy(front + PQ_DATA_OFFSET + (h->sections[i].offset - tables),
                   c->sections[i].p, c->sections[i].count);
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
    *out_bytes = n;
    return PTQC_OK;
}

ptqc_status
pq_container_finish_file(pq_container *c, pq_writer **out)
{
    ptqc_status st = PTQC_OK;
    pq_file_header h;
    uint8_t *front = NULL;
    size_t n = 0;
    *out = NULL;
    PQ_TRY_OR(done, pq_check_cancelled(c->ctx));
    PQ_TRY_OR(done, make_front(c, &h, &front, &n));
    PQ_TRY_OR(done, pq_writer_write(c->writer, front + PQ_DATA_OFFSET,
                                    n - PQ_DATA_OFFSET));
    PQ_TRY_OR(done, pq_writer_patch(c->writer, 0, front, PQ_DATA_OFFSET));
    *out = c->writer;
    c->writer = NULL;
done:
    pq_free(c->ctx, front);
    return st;
}

// Each constant is freed when it is copied, so that there is hardly ever more
// than one copy.
static void
move_constants(pq_container *c, uint8_t *data)
{
    for (uint32_t i = 0; i < c->constant_count; i++) {
        pq_pending_constant *k = &c->constants[i];
        if (k->entry.bytes > 0) {
            memcpy(data + k->entry.offset, k->p, k->entry.bytes);
        }
        pq_free(c->ctx, k->p);
        k->p = NULL;
    }
}

ptqc_status
pq_container_finish_memory(pq_container *c, void **out_bytes, size_t *out_count)
{
    ptqc_status st = PTQC_OK;
    pq_file_header h;
    uint8_t *front = NULL, *all = NULL;
    size_t n = 0;
    *out_bytes = NULL;
    PQ_TRY_OR(done, make_front(c, &h, &front, &n));
    all = pq_alloc(c->ctx, h.file_bytes);
    if (all == NULL) {
        st = PTQC_E_RESOURCE;
        goto done;
    }
    memcpy(all, front, PQ_DATA_OFFSET);
    move_constants(c, all + PQ_DATA_OFFSET);
    memcpy(all + h.sections[PQ_SECTION_META].offset, front + PQ_DATA_OFFSET,
           n - PQ_DATA_OFFSET);
    *out_bytes = all;
    *out_count = h.file_bytes;
done:
    pq_free(c->ctx, front);
    return st;
}
