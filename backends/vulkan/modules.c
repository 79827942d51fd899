// SPDX-License-Identifier: Apache-2.0
//
// Texts to modules.
#include "modules.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "cache.h"
#include "glsl.h"
#include "say.h"

bool
pq_vk_texts_add(pq_vk_texts *t, const pq_kg_source *source, uint32_t *out_index)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->all[i].bytes == source->text_bytes &&
            memcmp(t->all[i].text, source->text, source->text_bytes) == 0) {
            *out_index = i;
            return true;
        }
    }
    void *all = t->all;
    if (!pq_mem_grow(t->mem, &all, &t->room, t->count, sizeof *t->all)) {
        return false;
    }
    t->all = all;
    t->all[t->count] = (pq_vk_text){.name = source->name,
                                    .text = source->text,
                                    .bytes = source->text_bytes,
                                    .mem = {t->mem->host, NULL}};
    *out_index = t->count++;
    return true;
}

// ---- for people ------------------------------------------------------------

// Equal names, equal texts: programs of one model may share a folder.
static uint32_t
hash_of(const pq_vk_text *text)
{
    const ptqc_bytes part = {text->text, text->bytes};
    uint8_t hash[32];
    pq_vk_hash(&part, 1, hash);
    return pq_load_le32(hash);
}

static ptqc_be_status
emit_text(const pq_vk_texts *t, ptqc_sink *sink, const char *name,
          ptqc_str text)
{
    const ptqc_text record = {
        .h = {.size = sizeof record, .type = PTQC_REC_TEXT},
        .name = pq_vk_str(name),
        .text = text,
    };
    return t->mem->host->vt->emit(sink, &record.h);
}

ptqc_be_status
pq_vk_texts_emit(const pq_vk_texts *t, ptqc_sink *sink)
{
    ptqc_be_status st = PTQC_BE_OK;
    for (uint32_t i = 0; i < t->count && st == PTQC_BE_OK; i++) {
        const pq_vk_text *text = &t->all[i];
        char name[128];
        snprintf(name, sizeof name, "%s_%08x.comp", text->name, hash_of(text));
        st = emit_text(t, sink, name, (ptqc_str){text->text, text->bytes});
    }
    return st;
}

// ---- SPIR-V ----------------------------------------------------------------

static void
make_key(const pq_vk_text *text, uint8_t out[32])
{
    static const char tag[] = "ptqc vulkan spirv 1";
    const char *version = pq_vk_glsl_version();
    const ptqc_bytes parts[] = {
        {tag, sizeof tag},
        {version, strlen(version)},
        {text->name, strlen(text->name)},
        {text->text, text->bytes},
    };
    pq_vk_hash(parts, sizeof parts / sizeof parts[0], out);
}

// From the host's cache; what is damaged there counts as absent.
static bool
take_cached(pq_vk_text *text, const ptqc_host *host, const uint8_t key[32])
{
    char log[8];
    ptqc_bytes found = {0};
    if (host->vt->cache_get(host->self, key, &found) != PTQC_BE_OK) {
        return false;
    }
    void *copy = NULL;
    if (found.n % 4 == 0 &&
        pq_vk_spirv_is_valid(found.p, found.n / 4, log, sizeof log)) {
        copy = pq_mem_alloc(&text->mem, found.n);
    }
    if (copy != NULL) {
        memcpy(copy, found.p, found.n);
        text->words = (ptqc_bytes){copy, found.n};
    }
    host->vt->free(host->self, (void *)(uintptr_t)found.p);
    return copy != NULL;
}

static void
make_module(pq_vk_text *text)
{
    const ptqc_host *host = text->mem.host;
    uint8_t key[32];
    make_key(text, key);
    if (take_cached(text, host, key)) {
        return;
    }
    text->st = pq_vk_glsl_compile(&text->mem, text->name, text->text,
                                  text->bytes, &text->words, &text->log);
    if (text->st == PTQC_BE_OK) {
        (void)host->vt->cache_put(host->self, key, text->words);
    }
}

static void
make_some(void *user, uint64_t begin, uint64_t end, uint32_t worker)
{
    pq_vk_texts *t = user;
    (void)worker;
    for (uint64_t i = begin; i < end; i++) {
        make_module(&t->all[i]);
    }
}

// The first line of a compiler's log says most.
static ptqc_be_status
tell_failure(const pq_vk_texts *t, const pq_vk_text *text, ptqc_call *call,
             ptqc_sink *sink)
{
    const ptqc_host *host = text->mem.host;
    char name[128];
    if (text->st == PTQC_BE_RESOURCE) {
        return pq_vk_no_memory(host, call);
    }
    snprintf(name, sizeof name, "%s_%08x.log", text->name, hash_of(text));
    (void)emit_text(t, sink, name, pq_vk_str(text->log));
    size_t n = strcspn(text->log, "\n");
    return pq_kg_fail(host, call, text->st,
                      "vulkan: kernel %s does not compile: %.*s (--emit "
                      "kernels=DIR saves text and log)",
                      text->name, n < 300 ? (int)n : 300, text->log);
}

ptqc_be_status
pq_vk_texts_compile(pq_vk_texts *t, ptqc_call *call, ptqc_sink *sink)
{
    const ptqc_host *host = t->mem->host;
    host->vt->parallel_for(host->self, t->count, 1, make_some, t);
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->all[i].st != PTQC_BE_OK) {
            return tell_failure(t, &t->all[i], call, sink);
        }
    }
    return host->vt->cancelled(call) != 0 ? PTQC_BE_CANCELLED : PTQC_BE_OK;
}

void
pq_vk_texts_release(pq_vk_texts *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        pq_mem_release(&t->all[i].mem);
    }
    t->count = 0;
}
