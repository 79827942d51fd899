// SPDX-License-Identifier: Apache-2.0
//
// Writing and reading of blobs.
#include "blob.h"

#include <string.h>

#include "base/bits.h"
#include "base/checked.h"

#define MAGIC        0x4b565150u // "PQVK"
#define VERSION      3u
#define HEADER_BYTES 32u
#define TABLE_BIT    (1u << 16)
#define COUNT_MASK   0xffu
#define WRITTEN_BIT  (1u << 31)
#define NAME_MAX     256u

static const pq_kg_format FORMAT = {
    .magic = 0x50565150u, // "PQVP"
    .version = 1,
    .cap_count = 1,
};

// ---- writing ---------------------------------------------------------------

static size_t
filled(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t
measure(const pq_vk_program *p, size_t program_bytes)
{
    size_t n = HEADER_BYTES + filled(program_bytes, 8);
    for (uint32_t i = 0; i < p->kernel_count; i++) {
        n += 4 + 8 * (size_t)p->kernels[i].variant_count +
             4 * (size_t)p->kernels[i].buffer_count;
    }
    for (uint32_t i = 0; i < p->module_count; i++) {
        n += 8 + filled(strlen(p->modules[i].name), 4) + p->modules[i].words.n;
    }
    return n;
}

static uint8_t *
put(uint8_t *at, uint32_t x)
{
    pq_store_le32(at, x);
    return at + 4;
}

static uint8_t *
put_kernel(uint8_t *at, const pq_vk_kernel *k)
{
    at = put(at, k->buffer_count | k->variant_count << 8 |
                     (k->has_table ? TABLE_BIT : 0));
    for (uint32_t i = 0; i < k->variant_count; i++) {
        at = put(at, k->variants[i].module);
        at = put(at, k->variants[i].features);
    }
    for (uint32_t i = 0; i < k->buffer_count; i++) {
        at = put(at, k->buffers[i].arg |
                         (k->buffers[i].is_written ? WRITTEN_BIT : 0));
    }
    return at;
}

static uint8_t *
put_module(uint8_t *at, const pq_vk_module *m)
{
    size_t n = strlen(m->name);
    at = put(at, (uint32_t)(m->words.n / 4));
    at = put(at, (uint32_t)n);
    memcpy(at, m->name, n);
    at += filled(n, 4);
    memcpy(at, m->words.p, m->words.n);
    return at + m->words.n;
}

ptqc_bytes
pq_vk_blob_write(pq_mem *mem, const pq_vk_program *p)
{
    ptqc_bytes program = pq_kg_program_write(mem, &FORMAT, &p->program);
    size_t n = measure(p, program.n);
    uint8_t *bytes = program.p == NULL ? NULL : pq_mem_alloc(mem, n);
    if (bytes == NULL) {
        return (ptqc_bytes){0};
    }
    pq_store_le32(bytes, MAGIC);
    pq_store_le32(bytes + 4, VERSION);
    pq_store_le64(bytes + 16, program.n);
    pq_store_le32(bytes + 24, p->module_count);
    pq_store_le32(bytes + 28, p->kernel_count);
    uint8_t *at = bytes + HEADER_BYTES;
    memcpy(at, program.p, program.n);
    at += filled(program.n, 8);
    for (uint32_t i = 0; i < p->kernel_count; i++) {
        at = put_kernel(at, &p->kernels[i]);
    }
    for (uint32_t i = 0; i < p->module_count; i++) {
        at = put_module(at, &p->modules[i]);
    }
    pq_store_le64(bytes + 8, pq_kg_program_sum(bytes + 16, n - 16));
    return (ptqc_bytes){bytes, n};
}

// ---- reading ---------------------------------------------------------------

typedef struct reader {
    const uint8_t *p;
    size_t left;
    bool has_failed;
} reader;

static const uint8_t *
take(reader *r, size_t n)
{
    const uint8_t *p = r->p;
    if (r->has_failed || n > r->left) {
        r->has_failed = true;
        return NULL;
    }
    r->p += n;
    r->left -= n;
    return p;
}

static uint32_t
take_u32(reader *r)
{
    const uint8_t *p = take(r, 4);
    return p != NULL ? pq_load_le32(p) : 0;
}

static bool
read_variants(reader *r, uint32_t module_count, pq_vk_kernel *out)
{
    bool is_good =
        out->variant_count >= 1 && out->variant_count <= PQ_VK_VARIANTS_MAX;
    for (uint32_t i = 0; is_good && i < out->variant_count; i++) {
        pq_vk_variant *v = &out->variants[i];
        v->module = take_u32(r);
        v->features = take_u32(r);
        is_good = v->module < module_count &&
                  (v->features & ~PQ_KG_FEATURES) == 0 &&
                  (i > 0 || v->features == 0);
    }
    return is_good;
}

static bool
read_kernel(reader *r, const pq_kg_step *step, uint32_t module_count,
            pq_vk_kernel *out)
{
    uint32_t word = take_u32(r);
    out->has_table = (word & TABLE_BIT) != 0;
    out->buffer_count = word & COUNT_MASK;
    out->variant_count = word >> 8 & COUNT_MASK;
    bool is_good = word <= (TABLE_BIT | (TABLE_BIT - 1)) &&
                   out->buffer_count <= PQ_KG_BUFFERS_MAX &&
                   read_variants(r, module_count, out);
    for (uint32_t i = 0; is_good && i < out->buffer_count; i++) {
        word = take_u32(r);
        out->buffers[i] =
            (pq_kg_buffer){word & ~WRITTEN_BIT, (word & WRITTEN_BIT) != 0};
        is_good = out->buffers[i].arg <
                  (uint64_t)step->input_count + step->output_count;
    }
    return is_good && !r->has_failed;
}

static bool
read_kernels(reader *r, pq_vk_program *out)
{
    uint32_t at = 0;
    for (uint32_t e = 0; e < out->program.entry_count; e++) {
        const pq_kg_entry *entry = &out->program.entries[e];
        for (uint32_t i = 0; i < entry->step_count; i++) {
            if (at == out->kernel_count ||
                !read_kernel(r, &entry->steps[i], out->module_count,
                             &out->kernels[at++])) {
                return false;
            }
        }
    }
    return at == out->kernel_count;
}

// Names and words are copied: they need alignment and an end.
static ptqc_be_status
read_module(reader *r, pq_mem *mem, pq_vk_module *out)
{
    uint32_t words = take_u32(r), name_bytes = take_u32(r);
    if (name_bytes > NAME_MAX || words > r->left / 4) {
        return PTQC_BE_CORRUPT;
    }
    const uint8_t *name = take(r, filled(name_bytes, 4));
    const uint8_t *code = take(r, (size_t)words * 4);
    if (name == NULL || code == NULL) {
        return PTQC_BE_CORRUPT;
    }
    char *text = pq_mem_alloc(mem, name_bytes + 1);
    uint32_t *copy = pq_mem_array(mem, words, sizeof *copy);
    if (text == NULL || copy == NULL) {
        return PTQC_BE_RESOURCE;
    }
    memcpy(text, name, name_bytes);
    memcpy(copy, code, (size_t)words * 4);
    *out = (pq_vk_module){text, {copy, (size_t)words * 4}};
    return PTQC_BE_OK;
}

// Everything behind the header, whose counts are in *out.
static ptqc_be_status
read_body(reader *r, pq_mem *mem, uint64_t program_bytes, pq_vk_program *out,
          const char **out_why)
{
    *out_why = "it is cut off";
    if (program_bytes > r->left) {
        return PTQC_BE_CORRUPT;
    }
    const uint8_t *program = take(r, filled((size_t)program_bytes, 8));
    if (program == NULL || out->module_count > r->left / 8 ||
        out->kernel_count > r->left / 8) {
        return PTQC_BE_CORRUPT;
    }
    ptqc_be_status st =
        pq_kg_program_read(mem, &FORMAT, (ptqc_bytes){program, program_bytes},
                           &out->program, out_why);
    if (st != PTQC_BE_OK) {
        return st;
    }
    out->kernels = pq_mem_array(mem, out->kernel_count, sizeof *out->kernels);
    out->modules = pq_mem_array(mem, out->module_count, sizeof *out->modules);
    if (out->kernels == NULL || out->modules == NULL) {
        *out_why = "out of memory";
        return PTQC_BE_RESOURCE;
    }
    *out_why = "its kernels do not fit its steps";
    st = read_kernels(r, out) ? PTQC_BE_OK : PTQC_BE_CORRUPT;
    for (uint32_t i = 0; i < out->module_count && st == PTQC_BE_OK; i++) {
        *out_why = "a module is cut off";
        st = read_module(r, mem, &out->modules[i]);
    }
    return st == PTQC_BE_OK && r->left > 0 ? PTQC_BE_CORRUPT : st;
}

ptqc_be_status
pq_vk_blob_read(pq_mem *mem, ptqc_bytes blob, pq_vk_program *out,
                const char **out_why)
{
    const uint8_t *p = blob.p;
    *out = (pq_vk_program){0};
    *out_why = "it is no program of this plugin";
    if (blob.n < HEADER_BYTES || pq_load_le32(p) != MAGIC) {
        return PTQC_BE_CORRUPT;
    }
    if (pq_load_le32(p + 4) != VERSION) {
        *out_why = "it is of another version of the plugin";
        return PTQC_BE_INCOMPATIBLE;
    }
    if (pq_load_le64(p + 8) != pq_kg_program_sum(p + 16, blob.n - 16)) {
        *out_why = "its checksum is wrong";
        return PTQC_BE_CORRUPT;
    }
    out->module_count = pq_load_le32(p + 24);
    out->kernel_count = pq_load_le32(p + 28);
    reader r = {p + HEADER_BYTES, blob.n - HEADER_BYTES, false};
    return read_body(&r, mem, pq_load_le64(p + 16), out, out_why);
}
