// SPDX-License-Identifier: Apache-2.0
//
// The loader that lies.
#include "tests/unit/backends/vulkan/fake_vulkan.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#define EXPORT __attribute__((visibility("default")))

static fake_vulkan config;
static PFN_vkGetInstanceProcAddr real_get;
static PFN_vkGetDeviceProcAddr real_get_device;

EXPORT fake_vulkan *fake_vulkan_config(void);
EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL
vkGetInstanceProcAddr(VkInstance instance, const char *name);

fake_vulkan *
fake_vulkan_config(void)
{
    return &config;
}

// Whether this call has to fail.
static int
fails(const char *name)
{
    if (config.fail_name != NULL && strcmp(config.fail_name, name) != 0) {
        return 0;
    }
    config.calls++;
    if (config.fail_at == 0 || --config.fail_at > 0) {
        return 0;
    }
    config.failed++;
    config.failed_name = name;
    return 1;
}

// ---- calls that can fail ----------------------------------------------------

// WRAP(name, parameters, arguments, objects made)
#define WRAPS                                                                  \
    WRAP(CreateInstance,                                                       \
         (const VkInstanceCreateInfo *a, const VkAllocationCallbacks *b,       \
          VkInstance *c),                                                      \
         (a, b, c), 1)                                                         \
    WRAP(EnumerateInstanceVersion, (uint32_t *a), (a), 0)                      \
    WRAP(EnumeratePhysicalDevices,                                             \
         (VkInstance a, uint32_t *b, VkPhysicalDevice *c), (a, b, c), 0)       \
    WRAP(CreateDevice,                                                         \
         (VkPhysicalDevice a, const VkDeviceCreateInfo *b,                     \
          const VkAllocationCallbacks *c, VkDevice *d),                        \
         (a, b, c, d), 1)                                                      \
    WRAP(QueueSubmit,                                                          \
         (VkQueue a, uint32_t b, const VkSubmitInfo *c, VkFence d),            \
         (a, b, c, d), 0)                                                      \
    WRAP(CreateFence,                                                          \
         (VkDevice a, const VkFenceCreateInfo *b,                              \
          const VkAllocationCallbacks *c, VkFence *d),                         \
         (a, b, c, d), 1)                                                      \
    WRAP(ResetFences, (VkDevice a, uint32_t b, const VkFence *c), (a, b, c),   \
         0)                                                                    \
    WRAP(WaitForFences,                                                        \
         (VkDevice a, uint32_t b, const VkFence *c, VkBool32 d, uint64_t e),   \
         (a, b, c, d, e), 0)                                                   \
    WRAP(CreateCommandPool,                                                    \
         (VkDevice a, const VkCommandPoolCreateInfo *b,                        \
          const VkAllocationCallbacks *c, VkCommandPool *d),                   \
         (a, b, c, d), 1)                                                      \
    WRAP(AllocateCommandBuffers,                                               \
         (VkDevice a, const VkCommandBufferAllocateInfo *b,                    \
          VkCommandBuffer *c),                                                 \
         (a, b, c), 0)                                                         \
    WRAP(BeginCommandBuffer,                                                   \
         (VkCommandBuffer a, const VkCommandBufferBeginInfo *b), (a, b), 0)    \
    WRAP(EndCommandBuffer, (VkCommandBuffer a), (a), 0)                        \
    WRAP(CreateBuffer,                                                         \
         (VkDevice a, const VkBufferCreateInfo *b,                             \
          const VkAllocationCallbacks *c, VkBuffer *d),                        \
         (a, b, c, d), 1)                                                      \
    WRAP(BindBufferMemory,                                                     \
         (VkDevice a, VkBuffer b, VkDeviceMemory c, VkDeviceSize d),           \
         (a, b, c, d), 0)                                                      \
    WRAP(MapMemory,                                                            \
         (VkDevice a, VkDeviceMemory b, VkDeviceSize c, VkDeviceSize d,        \
          VkMemoryMapFlags e, void **f),                                       \
         (a, b, c, d, e, f), 0)                                                \
    WRAP(FlushMappedMemoryRanges,                                              \
         (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c), 0) \
    WRAP(InvalidateMappedMemoryRanges,                                         \
         (VkDevice a, uint32_t b, const VkMappedMemoryRange *c), (a, b, c), 0) \
    WRAP(CreateShaderModule,                                                   \
         (VkDevice a, const VkShaderModuleCreateInfo *b,                       \
          const VkAllocationCallbacks *c, VkShaderModule *d),                  \
         (a, b, c, d), 1)                                                      \
    WRAP(CreateDescriptorSetLayout,                                            \
         (VkDevice a, const VkDescriptorSetLayoutCreateInfo *b,                \
          const VkAllocationCallbacks *c, VkDescriptorSetLayout *d),           \
         (a, b, c, d), 1)                                                      \
    WRAP(CreatePipelineLayout,                                                 \
         (VkDevice a, const VkPipelineLayoutCreateInfo *b,                     \
          const VkAllocationCallbacks *c, VkPipelineLayout *d),                \
         (a, b, c, d), 1)                                                      \
    WRAP(CreatePipelineCache,                                                  \
         (VkDevice a, const VkPipelineCacheCreateInfo *b,                      \
          const VkAllocationCallbacks *c, VkPipelineCache *d),                 \
         (a, b, c, d), 1)                                                      \
    WRAP(GetPipelineCacheData,                                                 \
         (VkDevice a, VkPipelineCache b, size_t *c, void *d), (a, b, c, d), 0) \
    WRAP(CreateComputePipelines,                                               \
         (VkDevice a, VkPipelineCache b, uint32_t c,                           \
          const VkComputePipelineCreateInfo *d,                                \
          const VkAllocationCallbacks *e, VkPipeline *f),                      \
         (a, b, c, d, e, f), 1)                                                \
    WRAP(CreateDescriptorPool,                                                 \
         (VkDevice a, const VkDescriptorPoolCreateInfo *b,                     \
          const VkAllocationCallbacks *c, VkDescriptorPool *d),                \
         (a, b, c, d), 1)                                                      \
    WRAP(AllocateDescriptorSets,                                               \
         (VkDevice a, const VkDescriptorSetAllocateInfo *b,                    \
          VkDescriptorSet *c),                                                 \
         (a, b, c), 0)                                                         \
    WRAP(CreateQueryPool,                                                      \
         (VkDevice a, const VkQueryPoolCreateInfo *b,                          \
          const VkAllocationCallbacks *c, VkQueryPool *d),                     \
         (a, b, c, d), 1)                                                      \
    WRAP(GetQueryPoolResults,                                                  \
         (VkDevice a, VkQueryPool b, uint32_t c, uint32_t d, size_t e,         \
          void *f, VkDeviceSize g, VkQueryResultFlags h),                      \
         (a, b, c, d, e, f, g, h), 0)

#define WRAP(name, parameters, arguments, makes)                               \
    static PFN_vk##name real_##name;                                           \
    static VKAPI_ATTR VkResult VKAPI_CALL wrap_##name parameters               \
    {                                                                          \
        if (fails("vk" #name)) {                                               \
            return (VkResult)config.fail_result;                               \
        }                                                                      \
        VkResult result = real_##name arguments;                               \
        config.live += result == VK_SUCCESS ? makes : 0;                       \
        return result;                                                         \
    }
WRAPS
#undef WRAP

// ---- calls that give back ---------------------------------------------------

#define DROPS                                                                  \
    DROP(DestroyFence, VkFence)                                                \
    DROP(DestroyCommandPool, VkCommandPool)                                    \
    DROP(DestroyBuffer, VkBuffer)                                              \
    DROP(FreeMemory, VkDeviceMemory)                                           \
    DROP(DestroyShaderModule, VkShaderModule)                                  \
    DROP(DestroyDescriptorSetLayout, VkDescriptorSetLayout)                    \
    DROP(DestroyPipelineLayout, VkPipelineLayout)                              \
    DROP(DestroyPipelineCache, VkPipelineCache)                                \
    DROP(DestroyPipeline, VkPipeline)                                          \
    DROP(DestroyDescriptorPool, VkDescriptorPool)                              \
    DROP(DestroyQueryPool, VkQueryPool)

#define DROP(name, type)                                                       \
    static PFN_vk##name real_##name;                                           \
    static VKAPI_ATTR void VKAPI_CALL wrap_##name(                             \
        VkDevice device, type object, const VkAllocationCallbacks *callbacks)  \
    {                                                                          \
        config.live -= object != VK_NULL_HANDLE;                               \
        real_##name(device, object, callbacks);                                \
    }
DROPS
#undef DROP

static PFN_vkDestroyInstance real_DestroyInstance;
static PFN_vkDestroyDevice real_DestroyDevice;

static VKAPI_ATTR void VKAPI_CALL
wrap_DestroyInstance(VkInstance instance, const VkAllocationCallbacks *c)
{
    config.live -= instance != VK_NULL_HANDLE;
    real_DestroyInstance(instance, c);
}

static VKAPI_ATTR void VKAPI_CALL
wrap_DestroyDevice(VkDevice device, const VkAllocationCallbacks *c)
{
    config.live -= device != VK_NULL_HANDLE;
    real_DestroyDevice(device, c);
}

// ---- what devices look like -------------------------------------------------

static PFN_vkGetPhysicalDeviceProperties real_GetPhysicalDeviceProperties;
static PFN_vkGetPhysicalDeviceProperties2 real_GetPhysicalDeviceProperties2;
static PFN_vkGetPhysicalDeviceFeatures2 real_GetPhysicalDeviceFeatures2;
static PFN_vkGetPhysicalDeviceMemoryProperties
    real_GetPhysicalDeviceMemoryProperties;
static PFN_vkGetBufferMemoryRequirements real_GetBufferMemoryRequirements;
static PFN_vkAllocateMemory real_AllocateMemory;

static void
disguise(VkPhysicalDeviceProperties *p)
{
    if (config.api_version != 0) {
        p->apiVersion = config.api_version;
    }
    if (config.max_storage_range != 0) {
        p->limits.maxStorageBufferRange = (uint32_t)config.max_storage_range;
    }
    if (config.storage_buffers != 0) {
        p->limits.maxPerStageDescriptorStorageBuffers = config.storage_buffers;
    }
}

static VKAPI_ATTR void VKAPI_CALL
wrap_GetPhysicalDeviceProperties(VkPhysicalDevice device,
                                 VkPhysicalDeviceProperties *p)
{
    real_GetPhysicalDeviceProperties(device, p);
    disguise(p);
}

static VKAPI_ATTR void VKAPI_CALL
wrap_GetPhysicalDeviceProperties2(VkPhysicalDevice device,
                                  VkPhysicalDeviceProperties2 *p)
{
    real_GetPhysicalDeviceProperties2(device, p);
    disguise(&p->properties);
}

static VKAPI_ATTR void VKAPI_CALL
wrap_GetPhysicalDeviceFeatures2(VkPhysicalDevice device,
                                VkPhysicalDeviceFeatures2 *p)
{
    real_GetPhysicalDeviceFeatures2(device, p);
    if (config.no_float64 != 0) {
        p->features.shaderFloat64 = VK_FALSE;
    }
}

// Type 0: the device's alone; type 1: the host's, not coherent.
static VKAPI_ATTR void VKAPI_CALL
wrap_GetPhysicalDeviceMemoryProperties(VkPhysicalDevice device,
                                       VkPhysicalDeviceMemoryProperties *p)
{
    real_GetPhysicalDeviceMemoryProperties(device, p);
    if (config.has_far_memory != 0) {
        p->memoryTypeCount = 2;
        p->memoryTypes[0].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
        p->memoryTypes[1] = (VkMemoryType){
            .propertyFlags = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                             VK_MEMORY_PROPERTY_HOST_CACHED_BIT,
            .heapIndex = p->memoryTypes[0].heapIndex};
    }
}

static VKAPI_ATTR void VKAPI_CALL
wrap_GetBufferMemoryRequirements(VkDevice device, VkBuffer buffer,
                                 VkMemoryRequirements *r)
{
    real_GetBufferMemoryRequirements(device, buffer, r);
    if (config.has_far_memory != 0) {
        r->memoryTypeBits = 3;
    }
}

static VKAPI_ATTR VkResult VKAPI_CALL
wrap_AllocateMemory(VkDevice device, const VkMemoryAllocateInfo *info,
                    const VkAllocationCallbacks *callbacks, VkDeviceMemory *out)
{
    VkMemoryAllocateInfo real = *info;
    if (fails("vkAllocateMemory")) {
        return (VkResult)config.fail_result;
    }
    if (config.has_far_memory != 0) {
        real.memoryTypeIndex = 0;
    }
    VkResult result = real_AllocateMemory(device, &real, callbacks, out);
    config.live += result == VK_SUCCESS;
    return result;
}

static PFN_vkEnumerateDeviceExtensionProperties
    real_EnumerateDeviceExtensionProperties;

static VKAPI_ATTR VkResult VKAPI_CALL
wrap_EnumerateDeviceExtensionProperties(VkPhysicalDevice device,
                                        const char *layer, uint32_t *count,
                                        VkExtensionProperties *out)
{
    if (fails("vkEnumerateDeviceExtensionProperties")) {
        return (VkResult)config.fail_result;
    }
    if (config.no_extensions != 0) {
        *count = 0;
        return VK_SUCCESS;
    }
    return real_EnumerateDeviceExtensionProperties(device, layer, count, out);
}

static VKAPI_ATTR VkResult VKAPI_CALL
no_devices(VkInstance instance, uint32_t *count, VkPhysicalDevice *out)
{
    (void)instance;
    (void)out;
    *count = 0;
    return VK_SUCCESS;
}

// ---- lookup -----------------------------------------------------------------

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device(VkDevice device,
                                                           const char *name);

#define FOUND(function) (PFN_vkVoidFunction)(function)

// The wrapper of a function found by the real loader.
static PFN_vkVoidFunction
wrap(const char *name, PFN_vkVoidFunction found)
{
#define WRAP(function, parameters, arguments, makes)                           \
    if (strcmp(name, "vk" #function) == 0) {                                   \
        real_##function = (PFN_vk##function)found;                             \
        return FOUND(wrap_##function);                                         \
    }
#define DROP(function, type) WRAP(function, , , )
    WRAPS
    DROPS
    WRAP(DestroyInstance, , , )
    WRAP(DestroyDevice, , , )
    WRAP(GetPhysicalDeviceProperties, , , )
    WRAP(GetPhysicalDeviceProperties2, , , )
    WRAP(GetPhysicalDeviceFeatures2, , , )
    WRAP(GetPhysicalDeviceMemoryProperties, , , )
    WRAP(GetBufferMemoryRequirements, , , )
    WRAP(AllocateMemory, , , )
    WRAP(EnumerateDeviceExtensionProperties, , , )
#undef WRAP
#undef DROP
    return found;
}

static PFN_vkVoidFunction
disguised(const char *name, PFN_vkVoidFunction found)
{
    if (found == NULL ||
        (config.missing != NULL && strcmp(config.missing, name) == 0)) {
        return NULL;
    }
    if (strcmp(name, "vkGetDeviceProcAddr") == 0) {
        real_get_device = (PFN_vkGetDeviceProcAddr)found;
        return FOUND(get_device);
    }
    if (config.no_devices != 0 &&
        strcmp(name, "vkEnumeratePhysicalDevices") == 0) {
        return FOUND(no_devices);
    }
    return wrap(name, found);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL
get_device(VkDevice device, const char *name)
{
    return disguised(name, real_get_device(device, name));
}

VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL
vkGetInstanceProcAddr(VkInstance instance, const char *name)
{
    return real_get == NULL ? NULL : disguised(name, real_get(instance, name));
}

// ---- beginning --------------------------------------------------------------

// "fail_at=3,name=vkQueueSubmit" and words, separated by commas.
static void
read_environment(void)
{
    static char name[64];
    const char *text = getenv("FAKE_VULKAN");
    config.fail_result = VK_ERROR_DEVICE_LOST;
    if (text == NULL) {
        return;
    }
    const char *at = strstr(text, "fail_at=");
    config.fail_at = at != NULL ? strtoull(at + 8, NULL, 10) : 0;
    at = strstr(text, "name=");
    if (at != NULL && sscanf(at + 5, "%63[A-Za-z0-9]", name) == 1) {
        config.fail_name = name;
    }
    config.no_devices = strstr(text, "no_devices") != NULL;
    config.has_far_memory = strstr(text, "far_memory") != NULL;
    if (strstr(text, "out_of_memory") != NULL) {
        config.fail_result = VK_ERROR_OUT_OF_DEVICE_MEMORY;
    }
    config.max_storage_range = strstr(text, "small_range") != NULL ? 4096 : 0;
    if (strstr(text, "old_device") != NULL) {
        config.api_version = VK_API_VERSION_1_0;
    }
}

__attribute__((constructor)) static void
begin(void)
{
    void *library = dlopen(REAL_VULKAN, RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) {
        void *symbol = dlsym(library, "vkGetInstanceProcAddr");
        memcpy(&real_get, &symbol, sizeof symbol);
    }
    read_environment();
}
