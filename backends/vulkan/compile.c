// SPDX-License-Identifier: Apache-2.0
//
// compile: every entry lowered over one set of constants, each step given its
// kernel, equal kernels made once, then the blob.
#include <string.h>

#include "backends/kgen/target.h"
#include "lowering.h"
#include "modules.h"
#include "plugin.h"
#include "say.h"

typedef struct compiler {
    const ptqc_host *host;
    ptqc_call *call;
    pq_kg_device device;
    pq_mem mem;
    pq_vk_texts texts;
    pq_vk_program program;
    uint32_t kernel_room;
} compiler;

// The step's text that uses `features`, as the next variant of the kernel.
static ptqc_be_status
add_variant(compiler *c, const pq_kg_entry *entry, const pq_kg_step *step,
            uint32_t features, pq_vk_kernel *k)
{
    pq_kg_source source;
    const char *why = "";
    ptqc_be_status st =
        pq_vk_source(&c->mem, entry, step, features, &source, &why);
    if (st != PTQC_BE_OK) {
        return pq_kg_fail(c->host, c->call, st, "vulkan: %s", why);
    }
    k->buffer_count = source.buffer_count;
    k->has_table = source.has_table;
    memcpy(k->buffers, source.buffers, sizeof k->buffers);
    pq_vk_variant *v = &k->variants[k->variant_count++];
    v->features = source.features;
    return pq_vk_texts_add(&c->texts, &source, &v->module)
               ? PTQC_BE_OK
               : pq_vk_no_memory(c->host, c->call);
}

// Features that texts of the step can use.
static ptqc_be_status
find_features(compiler *c, const pq_kg_entry *entry, const pq_kg_step *step,
              uint32_t *out)
{
    pq_mem scratch = {c->host, NULL};
    pq_kg_source source;
    const char *why = "";
    ptqc_be_status st =
        pq_vk_source(&scratch, entry, step, PQ_KG_FEATURES, &source, &why);
    *out = st == PTQC_BE_OK ? source.features : 0;
    if (st != PTQC_BE_OK) { // reasons are static text
        st = pq_kg_fail(c->host, c->call, st, "vulkan: %s", why);
    }
    pq_mem_release(&scratch);
    return st;
}

// The plain text first, then one for each set of features.
static ptqc_be_status
add_kernel(compiler *c, const pq_kg_entry *entry, const pq_kg_step *step)
{
    void *all = c->program.kernels;
    uint32_t useful;
    if (!pq_mem_grow(&c->mem, &all, &c->kernel_room, c->program.kernel_count,
                     sizeof *c->program.kernels)) {
        return pq_vk_no_memory(c->host, c->call);
    }
    c->program.kernels = all;
    pq_vk_kernel *k = &c->program.kernels[c->program.kernel_count++];
    *k = (pq_vk_kernel){0};
    ptqc_be_status st = find_features(c, entry, step, &useful);
    for (uint32_t set = 0; set <= useful && st == PTQC_BE_OK; set++) {
        if ((set & ~useful) == 0) {
            st = add_variant(c, entry, step, set, k);
        }
    }
    return st;
}

static ptqc_be_status
add_kernels(compiler *c)
{
    const pq_kg_program *p = &c->program.program;
    ptqc_be_status st = PTQC_BE_OK;
    for (uint32_t i = 0; i < p->entry_count; i++) {
        const pq_kg_entry *entry = &p->entries[i];
        for (uint32_t k = 0; k < entry->step_count && st == PTQC_BE_OK; k++) {
            st = add_kernel(c, entry, &entry->steps[k]);
        }
    }
    return st;
}

static ptqc_be_status
emit_blob(compiler *c, ptqc_sink *sink)
{
    c->program.module_count = c->texts.count;
    c->program.modules =
        pq_mem_array(&c->mem, c->texts.count, sizeof *c->program.modules);
    for (uint32_t i = 0; c->program.modules != NULL && i < c->texts.count;
         i++) {
        c->program.modules[i] =
            (pq_vk_module){c->texts.all[i].name, c->texts.all[i].words};
    }
    ptqc_blob blob = {.h = {.size = sizeof blob, .type = PTQC_REC_BLOB}};
    if (c->program.modules != NULL) {
        blob.data = pq_vk_blob_write(&c->mem, &c->program);
    }
    return blob.data.p != NULL ? c->host->vt->emit(sink, &blob.h)
                               : pq_vk_no_memory(c->host, c->call);
}

static ptqc_be_status
compile(compiler *c, const ptqc_entry *entries, uint64_t entry_count,
        ptqc_sink *sink)
{
    const pq_kg_teller t = {c->device.name, c->host, c->call};
    ptqc_be_status st =
        pq_kg_lower_entries(&t, &c->device, entries, entry_count, &c->mem, sink,
                            &c->program.program);
    if (st == PTQC_BE_OK) {
        st = add_kernels(c);
    }
    if (st == PTQC_BE_OK) {
        st = pq_vk_texts_emit(&c->texts, sink);
    }
    if (st == PTQC_BE_OK) {
        st = pq_vk_texts_compile(&c->texts, c->call, sink);
    }
    return st == PTQC_BE_OK ? emit_blob(c, sink) : st;
}

ptqc_be_status
pq_vk_compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
              const ptqc_entry *entries, uint64_t entry_count, ptqc_sink *sink)
{
    compiler c = {.host = inst->host,
                  .call = call,
                  .device = pq_vk_lowering_of(inst->range_bytes),
                  .mem = {inst->host, NULL}};
    c.texts.mem = &c.mem;
    ptqc_be_status st = pq_vk_target_check(inst->host, call, target);
    if (st == PTQC_BE_OK) {
        st = compile(&c, entries, entry_count, sink);
    }
    pq_vk_texts_release(&c.texts);
    pq_mem_release(&c.mem);
    return st;
}
