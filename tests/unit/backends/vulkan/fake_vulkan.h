// SPDX-License-Identifier: Apache-2.0
//
// A Vulkan loader for tests: everything goes to the real one, but calls can be
// made to fail, memory and limits look otherwise than they are, and objects
// are counted. It is a shared object (fake_vulkan.so); tests open it and set
// its configuration; processes that find it as libvulkan.so.1 on the library
// path get theirs from FAKE_VULKAN ("fail_at=3", "no_driver").
#ifndef PTQC_TESTS_FAKE_VULKAN_H
#define PTQC_TESTS_FAKE_VULKAN_H

#include <stdint.h>

typedef struct fake_vulkan {
    // The fail_at-th call of a function that can fail (1 = the next) gives
    // fail_result; 0 = none. fail_name narrows it to one function.
    uint64_t fail_at;
    int32_t fail_result;
    const char *fail_name;
    const char *missing; // a function that is not there; NULL = none
    // Memory of the device and of the host apart: staging is needed.
    uint32_t has_far_memory;
    uint64_t max_storage_range; // 0 = as it is
    uint32_t storage_buffers;   // of a shader; 0 = as it is
    uint32_t api_version;       // of devices; 0 = as it is
    uint32_t no_devices;
    uint32_t no_float64;
    uint32_t no_extensions; // of devices
    // Counters.
    uint64_t calls, live, failed;
    const char *failed_name; // of the last call that failed
} fake_vulkan;

// Exported: the configuration, which may be changed at any time.
fake_vulkan *fake_vulkan_config(void);

#endif
