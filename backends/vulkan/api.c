// SPDX-License-Identifier: Apache-2.0
//
// Opening the loader.
#include "api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef struct result_name {
    VkResult result;
    const char *name;
} result_name;

#define NAME(result) {result, #result}
static const result_name RESULT_NAMES[] = {
    NAME(VK_SUCCESS),
    NAME(VK_NOT_READY),
    NAME(VK_TIMEOUT),
    NAME(VK_INCOMPLETE),
    NAME(VK_ERROR_OUT_OF_HOST_MEMORY),
    NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY),
    NAME(VK_ERROR_INITIALIZATION_FAILED),
    NAME(VK_ERROR_DEVICE_LOST),
    NAME(VK_ERROR_MEMORY_MAP_FAILED),
    NAME(VK_ERROR_LAYER_NOT_PRESENT),
    NAME(VK_ERROR_EXTENSION_NOT_PRESENT),
    NAME(VK_ERROR_FEATURE_NOT_PRESENT),
    NAME(VK_ERROR_INCOMPATIBLE_DRIVER),
    NAME(VK_ERROR_TOO_MANY_OBJECTS),
    NAME(VK_ERROR_FRAGMENTED_POOL),
    NAME(VK_ERROR_OUT_OF_POOL_MEMORY),
    NAME(VK_ERROR_INVALID_SHADER_NV),
    NAME(VK_ERROR_UNKNOWN),
};

const char *
pq_vk_result_name(VkResult result)
{
    for (size_t i = 0; i < sizeof RESULT_NAMES / sizeof RESULT_NAMES[0]; i++) {
        if (RESULT_NAMES[i].result == result) {
            return RESULT_NAMES[i].name;
        }
    }
    return "an unknown error";
}

// ---- functions -------------------------------------------------------------

static bool
get_globals(pq_vk_api *api, const char **out_missing)
{
#define GLOBAL(name)                                                           \
    api->name = (PFN_vk##name)api->get(VK_NULL_HANDLE, "vk" #name);            \
    if (api->name == NULL) {                                                   \
        *out_missing = "vk" #name;                                             \
        return false;                                                          \
    }
#define INSTANCE(name)
#define DEVICE(name)
#define OPTIONAL(name)
#include "api.def"
#undef GLOBAL
#undef INSTANCE
#undef DEVICE
#undef OPTIONAL
    return true;
}

static bool
get_instance_functions(pq_vk_api *api, const char **out_missing)
{
#define GLOBAL(name)
#define INSTANCE(name)                                                         \
    api->name = (PFN_vk##name)api->get(api->instance, "vk" #name);             \
    if (api->name == NULL) {                                                   \
        *out_missing = "vk" #name;                                             \
        return false;                                                          \
    }
#define DEVICE(name)
#define OPTIONAL(name)
#include "api.def"
#undef GLOBAL
#undef INSTANCE
#undef DEVICE
#undef OPTIONAL
    return true;
}

bool
pq_vk_functions_get(const pq_vk_api *api, VkDevice device, pq_vk_functions *out,
                    const char **out_missing)
{
#define GLOBAL(name)
#define INSTANCE(name)
#define DEVICE(name)                                                           \
    out->name = (PFN_vk##name)api->GetDeviceProcAddr(device, "vk" #name);      \
    if (out->name == NULL) {                                                   \
        *out_missing = "vk" #name;                                             \
        return false;                                                          \
    }
#define OPTIONAL(name)                                                         \
    out->name = (PFN_vk##name)api->GetDeviceProcAddr(device, "vk" #name);
#include "api.def"
#undef GLOBAL
#undef INSTANCE
#undef DEVICE
#undef OPTIONAL
    return true;
}

// ---- the instance ----------------------------------------------------------

static bool
create_instance(pq_vk_api *api, char *reason, size_t n)
{
    VkResult result = api->EnumerateInstanceVersion(&api->version);
    if (result != VK_SUCCESS || api->version < VK_API_VERSION_1_1) {
        snprintf(reason, n, "the Vulkan loader is older than 1.1");
        return false;
    }
    const VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "ptqc",
        .pEngineName = "ptqc",
        .apiVersion = api->version < VK_API_VERSION_1_3 ? api->version
                                                        : VK_API_VERSION_1_3,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &app,
    };
    result = api->CreateInstance(&info, NULL, &api->instance);
    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        snprintf(reason, n, "no Vulkan driver is installed");
    } else if (result != VK_SUCCESS) {
        snprintf(reason, n, "vkCreateInstance: %s", pq_vk_result_name(result));
    }
    return result == VK_SUCCESS;
}

bool
pq_vk_api_open(pq_vk_api *api, const char *library, char *reason,
               size_t reason_bytes)
{
    const char *missing = NULL;
    *api = (pq_vk_api){0};
    api->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (api->library == NULL) {
        snprintf(reason, reason_bytes,
                 "no Vulkan loader: %s cannot be opened (is libvulkan1 "
                 "installed?)",
                 library);
        return false;
    }
    void *symbol = dlsym(api->library, "vkGetInstanceProcAddr");
    memcpy(&api->get, &symbol, sizeof symbol);
    if (api->get == NULL) {
        missing = "vkGetInstanceProcAddr";
    } else if (get_globals(api, &missing)) {
        if (!create_instance(api, reason, reason_bytes)) {
            return false;
        }
        if (get_instance_functions(api, &missing)) {
            return true;
        }
        // Without its own destructor there is no way to give it back.
        if (api->DestroyInstance != NULL) {
            api->DestroyInstance(api->instance, NULL);
        }
        api->instance = VK_NULL_HANDLE;
    }
    snprintf(reason, reason_bytes, "the Vulkan loader lacks %s", missing);
    return false;
}

void
pq_vk_api_close(pq_vk_api *api)
{
    if (api->instance != VK_NULL_HANDLE) {
        api->DestroyInstance(api->instance, NULL);
    }
    *api = (pq_vk_api){0};
}
