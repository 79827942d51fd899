// SPDX-License-Identifier: Apache-2.0
//
// A host for tests of cpu kernels: malloc, no pool, no cache; errors are
// kept so that a test can read them. And helpers to run a step on several
// workers one after the other and to walk over the machine's levels.
#ifndef PTQC_TESTS_CPU_HOST_H
#define PTQC_TESTS_CPU_HOST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/cpu/jit.h"
#include "backends/kgen/worker.h"
#include "tests/support/cmocka_test.h"

static char cpu_host_message[512];
// Allocations that still succeed; -1 = all.
static int cpu_host_allocations_left = -1;

static void *
cpu_host_alloc(void *self, uint64_t bytes, uint64_t align)
{
    (void)self;
    void *p = NULL;
    if (cpu_host_allocations_left == 0) {
        return NULL;
    }
    cpu_host_allocations_left -= cpu_host_allocations_left > 0;
    align = align < sizeof(void *) ? sizeof(void *) : align;
    return posix_memalign(&p, align, bytes == 0 ? 1 : bytes) == 0 ? p : NULL;
}

static void
cpu_host_free(void *self, void *p)
{
    (void)self;
    free(p);
}

static void
cpu_host_diag(ptqc_call *call, const ptqc_diag *d)
{
    (void)call;
    snprintf(cpu_host_message, sizeof cpu_host_message, "%.*s", (int)d->text.n,
             d->text.p);
}

static ptqc_be_status
cpu_host_cache_get(void *self, const uint8_t key[32], ptqc_bytes *out)
{
    (void)self;
    (void)key;
    (void)out;
    return PTQC_BE_UNSUPPORTED;
}

static ptqc_be_status
cpu_host_cache_put(void *self, const uint8_t key[32], ptqc_bytes data)
{
    (void)self;
    (void)key;
    (void)data;
    return PTQC_BE_OK;
}

static const ptqc_host_vt cpu_host_vt = {
    .h = {.size = sizeof(ptqc_host_vt), .type = PTQC_REC_HOST_VT},
    .alloc = cpu_host_alloc,
    .free = cpu_host_free,
    .diag = cpu_host_diag,
    .cache_get = cpu_host_cache_get,
    .cache_put = cpu_host_cache_put,
};

static const ptqc_host cpu_host = {
    .h = {.size = sizeof(ptqc_host), .type = PTQC_REC_HOST},
    .abi_version = PTQC_ABI_VERSION,
    .vt = &cpu_host_vt,
};

// Runs `test(jit)` at every level that this machine has.
static inline void
cpu_host_each_level(void (*test)(pq_jit *jit))
{
    int best = pq_isa_detect();
    if (best < 0) {
        print_message("skipped: this machine has no AVX2 and FMA\n");
        skip();
    }
    for (int isa = 0; isa <= best; isa++) {
        pq_jit *jit = NULL;
        assert_int_equal(pq_jit_create(NULL, &cpu_host, (pq_isa)isa, &jit),
                         PTQC_BE_OK);
        test(jit);
        pq_jit_destroy(jit);
    }
}

#endif
