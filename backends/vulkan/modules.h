// SPDX-License-Identifier: Apache-2.0
//
// Modules of a program while it is compiled: steps whose texts are equal share
// one, and all are made into SPIR-V at the end, by all threads of the host.
#ifndef PTQC_BACKENDS_VULKAN_MODULES_H
#define PTQC_BACKENDS_VULKAN_MODULES_H

#include "blob.h"

typedef struct pq_vk_text {
    const char *name;
    const char *text;
    size_t bytes;
    ptqc_bytes words;  // made by pq_vk_texts_compile
    const char *log;   // of a failure
    ptqc_be_status st; // of making it
    struct pq_mem mem; // of words and log: threads share no arena
} pq_vk_text;

typedef struct pq_vk_texts {
    pq_mem *mem; // borrowed
    pq_vk_text *all;
    uint32_t count, room;
} pq_vk_texts;

// Index of the text, which is kept (it lives in mem) when it is new. false:
// out of memory.
bool pq_vk_texts_add(pq_vk_texts *t, const pq_kg_source *source,
                     uint32_t *out_index);
// SPIR-V of all, from the host's cache where it has it. The error was said,
// and the compiler's log handed to the host beside the texts.
ptqc_be_status pq_vk_texts_compile(pq_vk_texts *t, ptqc_call *call,
                                   ptqc_sink *sink);
// Hands every text to the host, for people (PTQC_REC_TEXT).
ptqc_be_status pq_vk_texts_emit(const pq_vk_texts *t, ptqc_sink *sink);
void pq_vk_texts_release(pq_vk_texts *t);

#endif
