// SPDX-License-Identifier: Apache-2.0
//
// An instance of the plugin's inside over the test's host, on the real loader
// or on the one that lies (fake_vulkan.h). Tests skip where no Vulkan device
// is.
#ifndef PTQC_TESTS_VULKAN_TEST_H
#define PTQC_TESTS_VULKAN_TEST_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/vulkan/commands.h"
#include "backends/vulkan/glsl.h"
#include "backends/vulkan/plugin.h"
#include "runtime/host.h"
#include "runtime/plugins.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/unit/backends/vulkan/fake_vulkan.h"

typedef struct vk_fixture {
    pq_test_sink sink;
    pq_test_heap heap;
    ptqc_ctx *ctx;
    ptqc_host host;
    pq_plugin plugin; // for messages
    ptqc_call call;
    fake_vulkan *fake; // configuration of the lying loader
    ptqc_instance *instance;
    pq_vk_device *device; // NULL until vk_open
    pq_mem mem;
} vk_fixture;

static inline int
vk_set_up(void **state)
{
    vk_fixture *f = calloc(1, sizeof *f);
    fake_vulkan *(*config)(void);
    void *library = dlopen(FAKE_VULKAN_FILE, RTLD_NOW | RTLD_LOCAL);
    void *symbol =
        library != NULL ? dlsym(library, "fake_vulkan_config") : NULL;
    if (symbol == NULL) {
        fprintf(stderr, "%s: %s\n", FAKE_VULKAN_FILE, dlerror());
        free(f);
        return 1;
    }
    memcpy(&config, &symbol, sizeof symbol);
    f->fake = config();
    *f->fake = (fake_vulkan){.fail_result = VK_ERROR_DEVICE_LOST};
    f->ctx = pq_test_ctx_create(&f->sink, &f->heap, 1);
    f->plugin.name = "vulkan";
    pq_host_init(f->ctx, &f->host);
    pq_call_init(&f->call, f->ctx, &f->plugin);
    f->mem = (pq_mem){&f->host, NULL};
    *state = f;
    return 0;
}

static inline int
vk_tear_down(void **state)
{
    vk_fixture *f = *state;
    pq_mem_release(&f->mem);
    pq_vk_instance_destroy(f->instance);
    int leaked = pq_live_bytes(f->ctx) != 0;
    leaked |= f->fake->live != 0; // objects of Vulkan
    ptqc_ctx_destroy(f->ctx);
    leaked |= f->heap.live != 0;
    free(f);
    return leaked;
}

// The instance and its first device; skips when there is none.
static inline void
vk_open(vk_fixture *f)
{
    static const char id[] = "vulkan:0";
    assert_int_equal(pq_vk_instance_create(&f->call, &f->host, FAKE_VULKAN_FILE,
                                           &f->instance),
                     PTQC_BE_OK);
    assert_int_equal(pq_vk_instance_look(&f->call, f->instance), PTQC_BE_OK);
    if (f->instance->reason[0] != '\0') {
        print_message("skipped: %s\n", f->instance->reason);
        skip();
    }
    assert_int_equal(pq_vk_instance_device(&f->call, f->instance,
                                           (ptqc_str){id, sizeof id - 1},
                                           &f->device),
                     PTQC_BE_OK);
}

#endif
