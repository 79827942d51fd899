// SPDX-License-Identifier: Apache-2.0
//
// The Vulkan loader, opened with dlopen, and its functions in tables. Nothing
// of it is linked, so the plugin loads where no Vulkan is.
#ifndef PTQC_BACKENDS_VULKAN_API_H
#define PTQC_BACKENDS_VULKAN_API_H

#define VK_NO_PROTOTYPES
#include <stdbool.h>
#include <stddef.h>
#include <vulkan/vulkan_core.h>

#define PQ_VK_LIBRARY "libvulkan.so.1"

// The loader and an instance of it.
typedef struct pq_vk_api {
    void *library; // dlopen handle; never closed: drivers live in it
    PFN_vkGetInstanceProcAddr get;
#define GLOBAL(name)   PFN_vk##name name;
#define INSTANCE(name) PFN_vk##name name;
#define DEVICE(name)
#define OPTIONAL(name)
#include "api.def"
#undef GLOBAL
#undef INSTANCE
#undef DEVICE
#undef OPTIONAL
    VkInstance instance; // owned
    uint32_t version;    // of the instance
} pq_vk_api;

// Functions of one device.
typedef struct pq_vk_functions {
#define GLOBAL(name)
#define INSTANCE(name)
#define DEVICE(name)   PFN_vk##name name;
#define OPTIONAL(name) PFN_vk##name name;
#include "api.def"
#undef GLOBAL
#undef INSTANCE
#undef DEVICE
#undef OPTIONAL
} pq_vk_functions;

// false: `reason` says why there is no Vulkan here.
bool pq_vk_api_open(pq_vk_api *api, const char *library, char *reason,
                    size_t reason_bytes);
void pq_vk_api_close(pq_vk_api *api);
// false: the driver lacks a function, which is named.
bool pq_vk_functions_get(const pq_vk_api *api, VkDevice device,
                         pq_vk_functions *out, const char **out_missing);
// "VK_ERROR_DEVICE_LOST".
const char *pq_vk_result_name(VkResult result);

#endif
