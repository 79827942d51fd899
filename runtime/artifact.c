// SPDX-License-Identifier: Apache-2.0
//
// Opening an artifact: everything that later code relies on is checked here,
// once, on a private copy of header and tables.

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/threads.h"
#include "runtime/container.h"
#include "tokenizer/tokenizer.h"

#define PQ_FRONT_LIMIT (UINT64_C(1) << 30)
// Less is hashed before a thread has started.
#define PQ_PARALLEL_BYTES (UINT64_C(4) << 20)

static ptqc_status
damaged(const ptqc_artifact *a, const char *what)
{
    return PQ_FAIL(a->ctx, PTQC_E_INTEGRITY, "%s: %s; the file is damaged",
                   a->name, what);
}

static ptqc_status
check_header(ptqc_artifact *a, size_t count)
{
    if (count < sizeof a->header) {
        return PQ_FAIL(a->ctx,
                       count >= 8 && memcmp(a->p, PQ_CONTAINER_MAGIC, 8) == 0
                           ? PTQC_E_INTEGRITY
                           : PTQC_E_INPUT,
                       "%s: expected at least %zu bytes, found %zu", a->name,
                       sizeof a->header, count);
    }
    memcpy(&a->header, a->p, sizeof a->header);
    if (memcmp(a->header.magic, PQ_CONTAINER_MAGIC, 8) != 0) {
        return PQ_FAIL(a->ctx, PTQC_E_INPUT, "%s: no .ptqc file (wrong magic)",
                       a->name);
    }
    if (a->header.version != PQ_CONTAINER_VERSION) {
        return PQ_FAIL(a->ctx, PTQC_E_INTEGRITY,
                       "%s: expected version %u, found %u", a->name,
                       PQ_CONTAINER_VERSION, a->header.version);
    }
    if (a->header.section_count != PQ_SECTION_COUNT ||
        a->header.file_bytes != count) {
        return PQ_FAIL(a->ctx, PTQC_E_INTEGRITY,
                       "%s: header says %llu bytes, the file has %zu", a->name,
                       (unsigned long long)a->header.file_bytes, count);
    }
    return PTQC_OK;
}

static uint64_t
tables_offset(const ptqc_artifact *a)
{
    return a->header.sections[PQ_SECTION_META].offset;
}

// Where a section, not DATA, is in `front`.
static const uint8_t *
section_at(const ptqc_artifact *a, pq_section_kind kind)
{
    return a->front + PQ_DATA_OFFSET +
           (a->header.sections[kind].offset - tables_offset(a));
}

static ptqc_status
check_sections(const ptqc_artifact *a, size_t count)
{
    uint64_t end = sizeof a->header;
    for (unsigned i = 0; i < PQ_SECTION_COUNT; i++) {
        const pq_file_section *s = &a->header.sections[i];
        if (s->offset % 64 != 0 || s->offset < end || s->offset > count ||
            s->bytes > count - s->offset) {
            return damaged(a, "section table");
        }
        end = s->offset + s->bytes;
    }
    const pq_file_section *data = &a->header.sections[PQ_SECTION_DATA];
    return data->offset == PQ_DATA_OFFSET &&
                   data->offset + data->bytes == tables_offset(a)
               ? PTQC_OK
               : damaged(a, "section table");
}

// Copies [0, DATA) and the tables and compares their hash.
static ptqc_status
copy_front(ptqc_artifact *a, size_t count)
{
    size_t tables = count - tables_offset(a);
    size_t n = PQ_DATA_OFFSET + tables;
    if (tables > PQ_FRONT_LIMIT) {
        return damaged(a, "tables over 1 GiB");
    }
    a->front = pq_alloc(a->ctx, n);
    PQ_TRY_ALLOC(a->front);
    memcpy(a->front, a->p, PQ_DATA_OFFSET);
    memcpy(a->front + PQ_DATA_OFFSET, a->p + tables_offset(a), tables);
    size_t at = offsetof(pq_file_header, sha256);
    memset(a->front + at, 0, sizeof a->header.sha256);
    pq_sha256 hash;
    PQ_TRY(pq_sha256_of(a->ctx, a->front, n, &hash));
    memcpy(a->front + at, a->header.sha256, sizeof a->header.sha256);
    if (memcmp(hash.bytes, a->header.sha256, sizeof hash.bytes) != 0) {
        return damaged(a, "checksum of header and tables differs");
    }
    return PTQC_OK;
}

// A table section: pointer into front, *out_count elements.
static const void *
table(const ptqc_artifact *a, pq_section_kind kind, size_t size,
      uint32_t *out_count)
{
    const pq_file_section *s = &a->header.sections[kind];
    *out_count = (uint32_t)(s->bytes / size);
    return section_at(a, kind);
}

static ptqc_status
check_tables(ptqc_artifact *a)
{
    a->programs =
        table(a, PQ_SECTION_PROGRAMS, sizeof *a->programs, &a->program_count);
    a->steps = table(a, PQ_SECTION_STEPS, sizeof *a->steps, &a->step_count);
    a->operands =
        table(a, PQ_SECTION_OPERANDS, sizeof *a->operands, &a->operand_count);
    a->refs = table(a, PQ_SECTION_REFS, sizeof *a->refs, &a->ref_count);
    a->constants = table(a, PQ_SECTION_CONSTANTS, sizeof *a->constants,
                         &a->constant_count);
    const pq_file_section *iface = &a->header.sections[PQ_SECTION_IFACE];
    const char *reason = NULL;
    if (!ptqc_gb_open(section_at(a, PQ_SECTION_IFACE), iface->bytes, &a->iface,
                      &reason)) {
        return damaged(a, reason);
    }
    return PTQC_OK;
}

// Inputs, states and outputs are different values: each has one memory.
static ptqc_status
check_boundary(const ptqc_artifact *a)
{
    static const uint32_t lists[] = {PTQC_GB_INPUTS, PTQC_GB_STATES,
                                     PTQC_GB_OUTPUTS};
    const ptqc_gb *g = &a->iface;
    ptqc_status st = PTQC_OK;
    bool *is_listed = pq_alloc_array(a->ctx, ptqc_gb_count(g, PTQC_GB_VALUES),
                                     sizeof *is_listed);
    PQ_TRY_ALLOC(is_listed);
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        for (uint32_t i = 0; i < ptqc_gb_count(g, lists[l]); i++) {
            bool *mark = &is_listed[ptqc_gb_u32_at(g, lists[l], i)];
            if (*mark && st == PTQC_OK) {
                st = damaged(a, "a value is listed twice in the interface");
            }
            *mark = true;
        }
    }
    pq_free(a->ctx, is_listed);
    return st;
}

static bool
slice_fits(uint64_t first, uint64_t count, uint64_t total)
{
    return first <= total && count <= total - first;
}

static ptqc_status
check_programs(const ptqc_artifact *a)
{
    uint64_t text = a->header.sections[PQ_SECTION_TEXT].bytes;
    uint64_t blobs = a->header.sections[PQ_SECTION_BLOBS].bytes;
    for (uint32_t i = 0; i < a->program_count; i++) {
        const pq_file_program *p = &a->programs[i];
        if (!slice_fits(p->plugin_offset, p->plugin_bytes, text) ||
            !slice_fits(p->target_offset, p->target_bytes, text) ||
            !slice_fits(p->blob_offset, p->blob_bytes, blobs) ||
            p->blob_offset % 64 != 0 ||
            !slice_fits(p->first_ref, p->ref_count, a->ref_count)) {
            return damaged(a, "program table");
        }
    }
    for (uint32_t i = 0; i < a->ref_count; i++) {
        if (a->refs[i] >= a->constant_count) {
            return damaged(a, "constant reference");
        }
    }
    return PTQC_OK;
}

static ptqc_status
check_step(const ptqc_artifact *a, const pq_file_step *s)
{
    uint64_t operands =
        (uint64_t)s->input_count + s->state_count + s->output_count;
    if (s->program >= a->program_count ||
        s->entry >= a->programs[s->program].entry_count ||
        !slice_fits(s->first_operand, operands, a->operand_count) ||
        !slice_fits(s->first_dim, s->dim_count, a->operand_count)) {
        return damaged(a, "step table");
    }
    for (uint64_t i = 0; i < operands; i++) {
        if (a->operands[s->first_operand + i] >=
            ptqc_gb_count(&a->iface, PTQC_GB_VALUES)) {
            return damaged(a, "step operand");
        }
    }
    for (uint32_t i = 0; i < s->dim_count; i++) {
        if (a->operands[s->first_dim + i] >=
            ptqc_gb_count(&a->iface, PTQC_GB_DIMS)) {
            return damaged(a, "step dimension");
        }
    }
    return PTQC_OK;
}

static ptqc_status
check_constant_table(const ptqc_artifact *a)
{
    const pq_file_section *data = &a->header.sections[PQ_SECTION_DATA];
    for (uint32_t i = 0; i < a->constant_count; i++) {
        const pq_file_constant *c = &a->constants[i];
        if (c->offset % 64 != 0 ||
            !slice_fits(c->offset, c->bytes, data->bytes)) {
            return damaged(a, "constant table");
        }
    }
    return PTQC_OK;
}

// Hashing of all constants: every worker takes the next one.
typedef struct hash_job {
    const ptqc_artifact *a;
    atomic_uint next;
    atomic_bool is_damaged;
} hash_job;

static void
hash_constants(void *user, uint32_t worker, uint32_t width, void *region)
{
    hash_job *job = user;
    const ptqc_artifact *a = job->a;
    (void)width;
    (void)region;
    if (worker == 0) {
        pq_map_prefetch(&a->map); // the others hash what has come
    }
    while (!pq_is_cancelled(a->ctx) && !atomic_load(&job->is_damaged)) {
        uint32_t i = atomic_fetch_add(&job->next, 1);
        if (i >= a->constant_count) {
            return;
        }
        ptqc_bytes c = pq_artifact_constant(a, i);
        if (pq_hash64(c.p, c.n) != a->constants[i].xxh3) {
            atomic_store(&job->is_damaged, true);
        }
    }
}

static ptqc_status
check_constants(const ptqc_artifact *a)
{
    hash_job job = {.a = a};
    PQ_TRY(check_constant_table(a));
    if (a->header.sections[PQ_SECTION_DATA].bytes < PQ_PARALLEL_BYTES) {
        hash_constants(&job, 0, 1, NULL);
    } else {
        pq_pool *pool = pq_ctx_pool(a->ctx);
        PQ_TRY_ALLOC(pool);
        pq_pool_run(pool, hash_constants, &job);
    }
    if (atomic_load(&job.is_damaged)) {
        return damaged(a, "checksum of a constant differs");
    }
    return pq_check_cancelled(a->ctx);
}

static ptqc_status
check_all(ptqc_artifact *a, size_t count)
{
    PQ_TRY(check_header(a, count));
    PQ_TRY(check_sections(a, count));
    PQ_TRY(copy_front(a, count));
    PQ_TRY(check_tables(a));
    PQ_TRY(check_boundary(a));
    PQ_TRY(check_programs(a));
    for (uint32_t i = 0; i < a->step_count; i++) {
        PQ_TRY(check_step(a, &a->steps[i]));
    }
    return check_constants(a);
}

static ptqc_status
read_tokenizer(ptqc_artifact *a)
{
    const pq_file_section *s = &a->header.sections[PQ_SECTION_TOKENIZER];
    return s->bytes == 0
               ? PTQC_OK
               : pq_tokenizer_read(a->ctx, section_at(a, PQ_SECTION_TOKENIZER),
                                   s->bytes, &a->tokenizer);
}

// ---- names and infos ------------------------------------------------------

static const char *
dup_text(ptqc_artifact *a, ptqc_gb_text t)
{
    ptqc_str s = ptqc_gb_str(&a->iface, t);
    return pq_arena_strndup(a->names, s.p, s.n);
}

// Operators of printed dimension expressions, by PTQC_GB_DIM_*.
static const char *const pq_dim_signs[] = {"",  "",   "+", "-",     "*",
                                           "/", "/^", "%", " min ", " max "};

// Text of a dim expression, built from the texts of its operands; operands
// come before their users, so one forward pass makes all.
static const char *
dim_text(ptqc_artifact *a, const char *const *texts, uint32_t i)
{
    const ptqc_gb_dim *d = ptqc_gb_dim_at(&a->iface, i);
    char text[256];
    if (d->op == PTQC_GB_DIM_SYMBOL) {
        return dup_text(a,
                        ptqc_gb_symbol_at(&a->iface, (uint32_t)d->value)->name);
    }
    if (d->op == PTQC_GB_DIM_CONST) {
        snprintf(text, sizeof text, "%lld", (long long)d->value);
    } else {
        snprintf(text, sizeof text, "(%.100s%s%.100s)", texts[d->a],
                 pq_dim_signs[d->op], texts[d->b]);
    }
    return pq_arena_strndup(a->names, text, strlen(text));
}

static ptqc_status
fill_info(ptqc_artifact *a, uint32_t value, const char *const *texts,
          ptqc_tensor_info *info)
{
    const ptqc_gb_value *v = ptqc_gb_value_at(&a->iface, value);
    info->name = dup_text(a, v->name);
    PQ_TRY_ALLOC(info->name);
    info->dtype = (ptqc_dtype)v->dtype;
    info->rank = v->rank;
    for (uint32_t d = 0; d < v->rank; d++) {
        uint32_t e = ptqc_gb_value_dim(&a->iface, v, d);
        const ptqc_gb_dim *dim = ptqc_gb_dim_at(&a->iface, e);
        info->dims[d] = dim->op == PTQC_GB_DIM_CONST ? dim->value : -1;
        info->dim_names[d] = info->dims[d] < 0 ? texts[e] : NULL;
    }
    return PTQC_OK;
}

static ptqc_status
fill_infos(ptqc_artifact *a)
{
    a->names = pq_alloc(a->ctx, sizeof *a->names);
    PQ_TRY_ALLOC(a->names);
    pq_arena_init(a->names, a->ctx);
    uint32_t dims = ptqc_gb_count(&a->iface, PTQC_GB_DIMS);
    const char **texts = pq_arena_array(a->names, dims, sizeof *texts);
    PQ_TRY_ALLOC(texts);
    for (uint32_t i = 0; i < dims; i++) {
        texts[i] = dim_text(a, texts, i);
        PQ_TRY_ALLOC(texts[i]);
    }
    uint32_t ins = ptqc_gb_count(&a->iface, PTQC_GB_INPUTS);
    uint32_t outs = ptqc_gb_count(&a->iface, PTQC_GB_OUTPUTS);
    a->infos = pq_alloc_array(a->ctx, (size_t)ins + outs, sizeof *a->infos);
    PQ_TRY_ALLOC(a->infos);
    for (uint32_t i = 0; i < ins + outs; i++) {
        uint32_t v = i < ins
                         ? ptqc_gb_u32_at(&a->iface, PTQC_GB_INPUTS, i)
                         : ptqc_gb_u32_at(&a->iface, PTQC_GB_OUTPUTS, i - ins);
        PQ_TRY(fill_info(a, v, texts, &a->infos[i]));
    }
    const pq_file_section *meta = &a->header.sections[PQ_SECTION_META];
    a->meta = pq_alloc(a->ctx, meta->bytes + 1);
    PQ_TRY_ALLOC(a->meta);
    memcpy(a->meta, section_at(a, PQ_SECTION_META), meta->bytes);
    return PTQC_OK;
}

// ---- public ---------------------------------------------------------------

static ptqc_status
open_mapped(ptqc_ctx *ctx, const char *name, pq_map map, const void *bytes,
            size_t count, ptqc_artifact **out)
{
    ptqc_artifact *a = pq_alloc(ctx, sizeof *a);
    if (a == NULL) {
        pq_map_close(&map);
        return PTQC_E_RESOURCE;
    }
    a->ctx = ctx;
    a->name = name;
    a->map = map;
    a->p = bytes;
    ptqc_status st = check_all(a, count);
    if (st == PTQC_OK) {
        st = read_tokenizer(a);
    }
    if (st == PTQC_OK) {
        st = fill_infos(a);
    }
    if (st != PTQC_OK) {
        ptqc_artifact_close(a);
        return st;
    }
    a->name = NULL;
    *out = a;
    return PTQC_OK;
}

ptqc_status
ptqc_artifact_open(ptqc_ctx *ctx, const char *path, ptqc_artifact **out)
{
    *out = NULL;
    pq_map map = {0};
    PQ_TRY(pq_map_open(ctx, path, &map));
    return open_mapped(ctx, path, map, map.p, map.n, out);
}

ptqc_status
ptqc_artifact_open_memory(ptqc_ctx *ctx, const void *bytes, size_t count,
                          ptqc_artifact **out)
{
    *out = NULL;
    return open_mapped(ctx, "artifact", (pq_map){0}, bytes, count, out);
}

void
ptqc_artifact_close(ptqc_artifact *a)
{
    if (a == NULL) {
        return;
    }
    if (a->names != NULL) {
        pq_arena_deinit(a->names);
    }
    pq_tokenizer_destroy(a->tokenizer);
    pq_free(a->ctx, a->names);
    pq_free(a->ctx, a->infos);
    pq_free(a->ctx, a->meta);
    pq_free(a->ctx, a->front);
    pq_map_close(&a->map);
    pq_free(a->ctx, a);
}

uint32_t
ptqc_artifact_input_count(const ptqc_artifact *a)
{
    return ptqc_gb_count(&a->iface, PTQC_GB_INPUTS);
}

uint32_t
ptqc_artifact_output_count(const ptqc_artifact *a)
{
    return ptqc_gb_count(&a->iface, PTQC_GB_OUTPUTS);
}

void
ptqc_artifact_input(const ptqc_artifact *a, uint32_t i, ptqc_tensor_info *out)
{
    *out = a->infos[i];
}

void
ptqc_artifact_output(const ptqc_artifact *a, uint32_t i, ptqc_tensor_info *out)
{
    *out = a->infos[ptqc_artifact_input_count(a) + i];
}

const char *
ptqc_artifact_metadata(const ptqc_artifact *a)
{
    return a->meta;
}

uint64_t
ptqc_artifact_bytes(const ptqc_artifact *a)
{
    return a->header.file_bytes;
}

pq_str
pq_artifact_text(const ptqc_artifact *a, uint32_t offset, uint32_t bytes)
{
    const uint8_t *text = section_at(a, PQ_SECTION_TEXT);
    return (pq_str){(const char *)text + offset, bytes};
}

ptqc_bytes
pq_artifact_constant(const ptqc_artifact *a, uint32_t index)
{
    const uint8_t *data = a->p + a->header.sections[PQ_SECTION_DATA].offset;
    return (ptqc_bytes){data + a->constants[index].offset,
                        a->constants[index].bytes};
}

ptqc_bytes
pq_artifact_blob(const ptqc_artifact *a, const pq_file_program *program)
{
    const uint8_t *p = section_at(a, PQ_SECTION_BLOBS);
    return (ptqc_bytes){p + program->blob_offset, program->blob_bytes};
}
