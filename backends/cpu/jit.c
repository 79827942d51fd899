// SPDX-License-Identifier: Apache-2.0
//
// The kernel cache of a process (jit.h): key -> code in a hash table under a
// mutex, behind it the host's cache of objects, behind that LLVM. Emission
// runs outside of the mutex, so kernels may be made in parallel; when two
// threads make the same one, the first to store wins.
#include "jit.h"

#include <llvm-c/Core.h>
#include <llvm-c/Target.h>
#include <llvm/Config/llvm-config.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "backends/kgen/say.h"
#include "code.h"
#include "emit.h"

#define BUCKET_COUNT 1024u // power of two

// Goes into every cache key: bump when emit.c or the key itself changes.
#define GENERATOR_TAG "ptqc cpu kernels 2"

typedef struct kernel {
    struct kernel *next;
    uint8_t key[32];
    pq_code code; // owned
} kernel;

struct pq_jit {
    const ptqc_host *host; // borrowed, outlives the jit
    pq_isa isa;
    uint32_t read_ahead;   // bytes
    pthread_mutex_t mutex; // guards buckets
    kernel *bucket[BUCKET_COUNT];
    char version[32]; // "LLVM 19.1.7"
};

const char *
pq_jit_llvm_version(void)
{
    return "LLVM " LLVM_VERSION_STRING;
}

// Registration is idempotent: every call stores the same pointers.
static void
init_targets(void)
{
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
}

ptqc_be_status
pq_jit_create(ptqc_call *call, const ptqc_host *host, pq_isa isa, pq_jit **out)
{
    pq_jit *jit = host->vt->alloc(host->self, sizeof *jit, 64);
    if (jit == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                          "cpu: out of memory for the kernel cache");
    }
    memset(jit, 0, sizeof *jit);
    jit->host = host;
    jit->isa = isa;
    jit->read_ahead = pq_isa_read_ahead();
    unsigned major = 0, minor = 0, patch = 0;
    LLVMGetVersion(&major, &minor, &patch);
    snprintf(jit->version, sizeof jit->version, "LLVM %u.%u.%u", major, minor,
             patch);
    if (pthread_mutex_init(&jit->mutex, NULL) != 0) {
        host->vt->free(host->self, jit);
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE,
                          "cpu: no mutex for the kernel cache");
    }
    init_targets();
    *out = jit;
    return PTQC_BE_OK;
}

static void
kernel_free(const ptqc_host *host, kernel *k)
{
    pq_code_unload(&k->code);
    host->vt->free(host->self, k);
}

void
pq_jit_destroy(pq_jit *jit)
{
    if (jit == NULL) {
        return;
    }
    const ptqc_host *host = jit->host;
    for (uint32_t i = 0; i < BUCKET_COUNT; i++) {
        while (jit->bucket[i] != NULL) {
            kernel *k = jit->bucket[i];
            jit->bucket[i] = k->next;
            kernel_free(host, k);
        }
    }
    pthread_mutex_destroy(&jit->mutex);
    host->vt->free(host->self, jit);
}

pq_isa
pq_jit_isa(const pq_jit *jit)
{
    return jit->isa;
}

uint32_t
pq_jit_read_ahead(const pq_jit *jit)
{
    return jit->read_ahead;
}

void
pq_jit_set_read_ahead(pq_jit *jit, uint32_t bytes)
{
    jit->read_ahead = bytes;
}

const ptqc_host *
pq_jit_host(const pq_jit *jit)
{
    return jit->host;
}

static void
hash_text(XXH3_state_t *low, XXH3_state_t *high, const void *p, size_t bytes)
{
    uint64_t length = bytes; // separates neighbours
    XXH3_128bits_update(low, &length, sizeof length);
    XXH3_128bits_update(high, &length, sizeof length);
    XXH3_128bits_update(low, p, bytes);
    XXH3_128bits_update(high, p, bytes);
}

static void
make_key(const pq_jit *jit, const pq_kernel_class *cls, const void *desc,
         uint8_t out[32])
{
    XXH3_state_t low = {0}, high = {0};
    XXH3_128bits_reset(&low);
    XXH3_128bits_reset_withSeed(&high, UINT64_C(0x9e3779b97f4a7c15));
    const char *texts[] = {GENERATOR_TAG, jit->version, cls->name,
                           pq_isa_cpu(jit->isa), pq_isa_features(jit->isa)};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        hash_text(&low, &high, texts[i], strlen(texts[i]));
    }
    hash_text(&low, &high, &cls->version, sizeof cls->version);
    hash_text(&low, &high, desc, cls->desc_bytes);
    XXH128_canonicalFromHash((XXH128_canonical_t *)(void *)out,
                             XXH3_128bits_digest(&low));
    XXH128_canonicalFromHash((XXH128_canonical_t *)(void *)(out + 16),
                             XXH3_128bits_digest(&high));
}

static kernel **
bucket_of(pq_jit *jit, const uint8_t key[32])
{
    uint32_t index;
    memcpy(&index, key, sizeof index);
    return &jit->bucket[index & (BUCKET_COUNT - 1)];
}

static kernel *
find_kernel(pq_jit *jit, const uint8_t key[32])
{
    for (kernel *k = *bucket_of(jit, key); k != NULL; k = k->next) {
        if (memcmp(k->key, key, sizeof k->key) == 0) {
            return k;
        }
    }
    return NULL;
}

static kernel *
lookup(pq_jit *jit, const uint8_t key[32])
{
    pthread_mutex_lock(&jit->mutex);
    kernel *k = find_kernel(jit, key);
    pthread_mutex_unlock(&jit->mutex);
    return k;
}

// Stores the code under the key -> the kernel to use.
static kernel *
store(pq_jit *jit, const uint8_t key[32], const pq_code *code)
{
    const ptqc_host *host = jit->host;
    kernel *mine = host->vt->alloc(host->self, sizeof *mine, 64);
    if (mine == NULL) {
        return NULL;
    }
    memcpy(mine->key, key, sizeof mine->key);
    mine->code = *code;
    pthread_mutex_lock(&jit->mutex);
    kernel *other = find_kernel(jit, key);
    if (other == NULL) {
        kernel **bucket = bucket_of(jit, key);
        mine->next = *bucket;
        *bucket = mine;
    }
    pthread_mutex_unlock(&jit->mutex);
    if (other != NULL) {
        kernel_free(host, mine);
        return other;
    }
    return mine;
}

// Diagnostics of LLVM are returned as text, never printed.
static void
swallow_diagnostic(LLVMDiagnosticInfoRef info, void *user)
{
    int *failed = user;
    *failed |= LLVMGetDiagInfoSeverity(info) == LLVMDSError;
}

ptqc_be_status
pq_jit_object(pq_jit *jit, ptqc_call *call, pq_isa isa,
              const pq_kernel_class *cls, const void *desc, ptqc_bytes *out)
{
    const ptqc_host *host = jit->host;
    char text[256] = "";
    int failed = 0;
    LLVMMemoryBufferRef buffer = NULL;
    pq_emitter e;
    pq_emitter_init(&e, isa);
    LLVMContextSetDiagnosticHandler(e.context, swallow_diagnostic, &failed);
    ptqc_be_status st = cls->emit(&e, desc);
    if (st == PTQC_BE_OK) {
        st = pq_emitter_object(&e, &buffer, text, sizeof text);
    }
    pq_emitter_deinit(&e);
    if (st == PTQC_BE_OK && failed) {
        st = PTQC_BE_INTERNAL;
    }
    if (st == PTQC_BE_OK) {
        size_t bytes = LLVMGetBufferSize(buffer);
        void *copy = host->vt->alloc(host->self, bytes, 64);
        if (copy == NULL) {
            st = PTQC_BE_RESOURCE;
        } else {
            memcpy(copy, LLVMGetBufferStart(buffer), bytes);
            *out = (ptqc_bytes){copy, bytes};
        }
    }
    if (buffer != NULL) {
        LLVMDisposeMemoryBuffer(buffer);
    }
    return st == PTQC_BE_OK
               ? st
               : pq_kg_fail(host, call, st,
                            "cpu: kernel %s (%s) cannot be made: %s", cls->name,
                            pq_isa_name(isa), text);
}

// Code from the host's cache; a damaged entry counts as absent.
static int
load_cached(pq_jit *jit, const uint8_t key[32], pq_code *out)
{
    const ptqc_host *host = jit->host;
    ptqc_bytes object = {0};
    const char *why;
    if (host->vt->cache_get == NULL ||
        host->vt->cache_get(host->self, key, &object) != PTQC_BE_OK) {
        return 0;
    }
    ptqc_be_status st = pq_code_load(object, out, &why);
    host->vt->free(host->self, (void *)(uintptr_t)object.p);
    return st == PTQC_BE_OK;
}

static ptqc_be_status
make_code(pq_jit *jit, ptqc_call *call, const pq_kernel_class *cls,
          const void *desc, const uint8_t key[32], pq_code *out)
{
    const ptqc_host *host = jit->host;
    ptqc_bytes object = {0};
    const char *why = "";
    ptqc_be_status st = pq_jit_object(jit, call, jit->isa, cls, desc, &object);
    if (st != PTQC_BE_OK) {
        return st;
    }
    st = pq_code_load(object, out, &why);
    if (st != PTQC_BE_OK) {
        pq_kg_fail(host, call, st, "cpu: kernel %s cannot be loaded: %s",
                   cls->name, why);
    } else if (host->vt->cache_put != NULL) {
        host->vt->cache_put(host->self, key, object);
    }
    host->vt->free(host->self, (void *)(uintptr_t)object.p);
    return st;
}

ptqc_be_status
pq_jit_get(pq_jit *jit, ptqc_call *call, const pq_kernel_class *cls,
           const void *desc, void (**out)(void))
{
    uint8_t key[32];
    make_key(jit, cls, desc, key);
    kernel *k = lookup(jit, key);
    if (k == NULL) {
        pq_code code;
        if (!load_cached(jit, key, &code)) {
            ptqc_be_status st = make_code(jit, call, cls, desc, key, &code);
            if (st != PTQC_BE_OK) {
                return st;
            }
        }
        k = store(jit, key, &code);
        if (k == NULL) {
            pq_code_unload(&code);
            return pq_kg_fail(jit->host, call, PTQC_BE_RESOURCE,
                              "cpu: out of memory for a kernel");
        }
    }
    *out = k->code.entry;
    return PTQC_BE_OK;
}
