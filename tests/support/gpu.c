// SPDX-License-Identifier: Apache-2.0
//
// A bare Vulkan device (gpu.h); the loader is opened with dlopen.
#include "gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// ---- compiling -------------------------------------------------------------

static char tool_output[4096];

// Runs a command; its output goes to tool_output. -> exit status.
static int
run_tool(const char *command)
{
    FILE *p = popen(command, "r");
    size_t n = 0;
    if (p == NULL) {
        return 127;
    }
    for (size_t got = 1; got > 0 && n + 1 < sizeof tool_output; n += got) {
        got = fread(tool_output + n, 1, sizeof tool_output - 1 - n, p);
    }
    tool_output[n] = '\0';
    char rest[256];
    while (fread(rest, 1, sizeof rest, p) > 0) {
    }
    int status = pclose(p);
    return status < 0 ? 127 : status >> 8 & 255;
}

static uint32_t *
read_words(const char *path, size_t *out_bytes)
{
    FILE *f = fopen(path, "rb");
    uint32_t *words = NULL;
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        return NULL;
    }
    long n = ftell(f);
    rewind(f);
    if (n > 0) {
        words = malloc((size_t)n);
    }
    if (words != NULL && fread(words, 1, (size_t)n, f) != (size_t)n) {
        free(words);
        words = NULL;
    }
    fclose(f);
    *out_bytes = (size_t)n;
    return words;
}

uint32_t *
pq_test_gpu_compile(const char *text, size_t *out_bytes, bool *out_is_error,
                    const char **out_why)
{
    char folder[] = "/tmp/ptqc-kernel-XXXXXX", command[512], path[128];
    uint32_t *words = NULL;
    *out_is_error = false;
    *out_why = "glslangValidator or spirv-val is not installed";
    if (run_tool("command -v glslangValidator && command -v spirv-val && "
                 "command -v spirv-opt") != 0) {
        return NULL;
    }
    *out_is_error = true;
    *out_why = "no temporary folder";
    if (mkdtemp(folder) == NULL) {
        return NULL;
    }
    snprintf(path, sizeof path, "%s/k.comp", folder);
    FILE *f = fopen(path, "w");
    if (f != NULL) {
        fputs(text, f);
        fclose(f);
        snprintf(command, sizeof command,
                 "cd %s && glslangValidator -V --target-env vulkan1.1 k.comp "
                 "-o raw.spv 2>&1 && spirv-opt -O raw.spv -o k.spv 2>&1 && "
                 "spirv-val --target-env vulkan1.1 k.spv 2>&1",
                 folder);
        *out_why = tool_output;
        if (run_tool(command) == 0) {
            snprintf(path, sizeof path, "%s/k.spv", folder);
            words = read_words(path, out_bytes);
        }
    }
    static const char *const names[] = {"k.comp", "raw.spv", "k.spv"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    return words;
}

#if __has_include(<vulkan/vulkan.h>)

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

// ---- the device ------------------------------------------------------------

#define INSTANCE_FUNCTIONS(X)                                                  \
    X(DestroyInstance)                                                         \
    X(EnumeratePhysicalDevices)                                                \
    X(GetPhysicalDeviceProperties)                                             \
    X(GetPhysicalDeviceProperties2)                                            \
    X(GetPhysicalDeviceFeatures2)                                              \
    X(EnumerateDeviceExtensionProperties)                                      \
    X(GetPhysicalDeviceMemoryProperties)                                       \
    X(GetPhysicalDeviceQueueFamilyProperties)                                  \
    X(CreateDevice)                                                            \
    X(GetDeviceProcAddr)                                                       \
    X(DestroyDevice)                                                           \
    X(GetDeviceQueue)                                                          \
    X(CreateBuffer)                                                            \
    X(DestroyBuffer)                                                           \
    X(GetBufferMemoryRequirements)                                             \
    X(AllocateMemory)                                                          \
    X(FreeMemory)                                                              \
    X(BindBufferMemory)                                                        \
    X(MapMemory)                                                               \
    X(CreateShaderModule)                                                      \
    X(DestroyShaderModule)                                                     \
    X(CreateDescriptorSetLayout)                                               \
    X(DestroyDescriptorSetLayout)                                              \
    X(CreatePipelineLayout)                                                    \
    X(DestroyPipelineLayout)                                                   \
    X(CreateComputePipelines)                                                  \
    X(DestroyPipeline)                                                         \
    X(CreateDescriptorPool)                                                    \
    X(DestroyDescriptorPool)                                                   \
    X(AllocateDescriptorSets)                                                  \
    X(UpdateDescriptorSets)                                                    \
    X(CreateCommandPool)                                                       \
    X(DestroyCommandPool)                                                      \
    X(AllocateCommandBuffers)                                                  \
    X(BeginCommandBuffer)                                                      \
    X(EndCommandBuffer)                                                        \
    X(CmdBindPipeline)                                                         \
    X(CmdBindDescriptorSets)                                                   \
    X(CmdPushConstants)                                                        \
    X(CmdDispatch)                                                             \
    X(QueueSubmit)                                                             \
    X(QueueWaitIdle)

// What a driver leaves behind is not ours: leak checkers look away while it
// starts and ends (NULL without one).
extern void __lsan_disable(void) __attribute__((weak));
extern void __lsan_enable(void) __attribute__((weak));

static void
look_away(bool away)
{
    if (away && __lsan_disable != NULL) {
        __lsan_disable();
    } else if (!away && __lsan_enable != NULL) {
        __lsan_enable();
    }
}

struct pq_test_gpu {
    void *library;
    VkInstance instance;
    VkPhysicalDevice physical;
    VkDevice device;
    VkQueue queue;
    VkDebugUtilsMessengerEXT messenger;
    VkPhysicalDeviceProperties properties;
    uint32_t family, memory_type;
    bool has_dot, has_halves;
    uint32_t subgroup; // 0: not used
    char complaint[1024];
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
#define POINTER(name) PFN_vk##name name;
    INSTANCE_FUNCTIONS(POINTER)
#undef POINTER
};

static VKAPI_ATTR VkBool32 VKAPI_CALL
on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
           VkDebugUtilsMessageTypeFlagsEXT types,
           const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    pq_test_gpu *gpu = user;
    (void)severity;
    (void)types;
    if (gpu->complaint[0] == '\0') {
        snprintf(gpu->complaint, sizeof gpu->complaint, "%s", data->pMessage);
    }
    return VK_FALSE;
}

static bool
has_layer(pq_test_gpu *gpu, const char *name)
{
    VkLayerProperties layers[64];
    uint32_t count = 64;
    PFN_vkEnumerateInstanceLayerProperties enumerate =
        (PFN_vkEnumerateInstanceLayerProperties)gpu->GetInstanceProcAddr(
            NULL, "vkEnumerateInstanceLayerProperties");
    if (enumerate == NULL || enumerate(&count, layers) < 0) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(layers[i].layerName, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool
create_instance(pq_test_gpu *gpu, bool validates)
{
    static const char *const layer = "VK_LAYER_KHRONOS_validation";
    static const char *const extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkApplicationInfo app = {.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                             .apiVersion = VK_API_VERSION_1_1};
    VkInstanceCreateInfo info = {.sType =
                                     VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
                                 .pApplicationInfo = &app};
    validates = validates && has_layer(gpu, layer);
    if (validates) {
        info.enabledLayerCount = 1;
        info.ppEnabledLayerNames = &layer;
        info.enabledExtensionCount = 1;
        info.ppEnabledExtensionNames = &extension;
    }
    PFN_vkCreateInstance create =
        (PFN_vkCreateInstance)gpu->GetInstanceProcAddr(NULL,
                                                       "vkCreateInstance");
    if (create == NULL || create(&info, NULL, &gpu->instance) != VK_SUCCESS) {
        return false;
    }
#define LOAD(name)                                                             \
    gpu->name =                                                                \
        (PFN_vk##name)gpu->GetInstanceProcAddr(gpu->instance, "vk" #name);     \
    if (gpu->name == NULL) {                                                   \
        return false;                                                          \
    }
    INSTANCE_FUNCTIONS(LOAD)
#undef LOAD
    PFN_vkCreateDebugUtilsMessengerEXT messenger =
        (PFN_vkCreateDebugUtilsMessengerEXT)gpu->GetInstanceProcAddr(
            gpu->instance, "vkCreateDebugUtilsMessengerEXT");
    if (validates && messenger != NULL) {
        VkDebugUtilsMessengerCreateInfoEXT m = {
            .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
            .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT |
                               VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT,
            .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
            .pfnUserCallback = on_message,
            .pUserData = gpu};
        (void)messenger(gpu->instance, &m, NULL, &gpu->messenger);
    }
    return true;
}

// ---- optional features -----------------------------------------------------

#define EXTENSIONS 512u

static bool
has_extension(pq_test_gpu *gpu, const char *name)
{
    static VkExtensionProperties all[EXTENSIONS];
    uint32_t count = EXTENSIONS;
    if (gpu->EnumerateDeviceExtensionProperties(gpu->physical, NULL, &count,
                                                all) < 0) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(all[i].extensionName, name) == 0) {
            return true;
        }
    }
    return false;
}

// What kernels may use, and what has to be asked for: names, features.
typedef struct optional {
    const char *names[4];
    uint32_t name_count;
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot;
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT control;
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR halves;
    VkPhysicalDeviceFeatures2 features;
} optional;

static void
find_dot(pq_test_gpu *gpu, optional *o)
{
    static const char name[] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
    o->dot.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
    if (has_extension(gpu, name)) {
        VkPhysicalDeviceFeatures2 all = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
            .pNext = &o->dot};
        gpu->GetPhysicalDeviceFeatures2(gpu->physical, &all);
    }
    gpu->has_dot = o->dot.shaderIntegerDotProduct == VK_TRUE;
    if (gpu->has_dot) {
        o->names[o->name_count++] = name;
        o->dot.pNext = o->features.pNext;
        o->features.pNext = &o->dot;
    }
}

static void
find_subgroups(pq_test_gpu *gpu, optional *o)
{
    static const char name[] = VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME;
    VkPhysicalDeviceSubgroupProperties subgroup = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &subgroup};
    VkPhysicalDeviceFeatures2 all = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &o->control};
    const VkSubgroupFeatureFlags needed =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT |
        VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT;
    o->control.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT;
    if (!has_extension(gpu, name)) {
        return;
    }
    gpu->GetPhysicalDeviceProperties2(gpu->physical, &properties);
    gpu->GetPhysicalDeviceFeatures2(gpu->physical, &all);
    if (o->control.computeFullSubgroups == VK_TRUE &&
        (subgroup.supportedOperations & needed) == needed) {
        gpu->subgroup = subgroup.subgroupSize;
        o->names[o->name_count++] = name;
        o->control.pNext = o->features.pNext;
        o->features.pNext = &o->control;
    }
}

static void
find_halves(pq_test_gpu *gpu, optional *o)
{
    VkPhysicalDeviceFloatControlsPropertiesKHR rounding = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = &rounding};
    VkPhysicalDeviceFeatures2 all = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &o->halves};
    o->halves.sType =
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR;
    if (!has_extension(gpu, VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME) ||
        !has_extension(gpu, VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME)) {
        return;
    }
    gpu->GetPhysicalDeviceProperties2(gpu->physical, &properties);
    gpu->GetPhysicalDeviceFeatures2(gpu->physical, &all);
    if (o->halves.shaderFloat16 == VK_TRUE &&
        rounding.shaderRoundingModeRTEFloat16 == VK_TRUE) {
        gpu->has_halves = true;
        o->names[o->name_count++] = VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME;
        o->names[o->name_count++] = VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME;
        o->halves.pNext = o->features.pNext;
        o->features.pNext = &o->halves;
    }
}

bool
pq_test_gpu_has_dot(const pq_test_gpu *gpu)
{
    return gpu->has_dot;
}

bool
pq_test_gpu_has_halves(const pq_test_gpu *gpu)
{
    return gpu->has_halves;
}

uint32_t
pq_test_gpu_subgroup(const pq_test_gpu *gpu)
{
    return gpu->subgroup;
}

static bool
create_device(pq_test_gpu *gpu)
{
    uint32_t count = 1, families = 16;
    VkQueueFamilyProperties family[16];
    VkPhysicalDeviceMemoryProperties memory;
    if (gpu->EnumeratePhysicalDevices(gpu->instance, &count, &gpu->physical) <
            0 ||
        count == 0) {
        return false;
    }
    gpu->GetPhysicalDeviceProperties(gpu->physical, &gpu->properties);
    gpu->GetPhysicalDeviceQueueFamilyProperties(gpu->physical, &families,
                                                family);
    while (gpu->family < families &&
           (family[gpu->family].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0) {
        gpu->family++;
    }
    gpu->GetPhysicalDeviceMemoryProperties(gpu->physical, &memory);
    const VkMemoryPropertyFlags wanted = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                         VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    while (gpu->memory_type < memory.memoryTypeCount &&
           (memory.memoryTypes[gpu->memory_type].propertyFlags & wanted) !=
               wanted) {
        gpu->memory_type++;
    }
    float priority = 1.0f;
    optional o = {.features.sType =
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
    find_dot(gpu, &o);
    find_subgroups(gpu, &o);
    find_halves(gpu, &o);
    VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = gpu->family,
        .queueCount = 1,
        .pQueuePriorities = &priority};
    VkDeviceCreateInfo info = {.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
                               .pNext = &o.features,
                               .queueCreateInfoCount = 1,
                               .pQueueCreateInfos = &queue,
                               .enabledExtensionCount = o.name_count,
                               .ppEnabledExtensionNames = o.names};
    if (gpu->CreateDevice(gpu->physical, &info, NULL, &gpu->device) !=
        VK_SUCCESS) {
        return false;
    }
    gpu->GetDeviceQueue(gpu->device, gpu->family, 0, &gpu->queue);
    return true;
}

pq_test_gpu *
pq_test_gpu_open(bool validates, const char **out_why)
{
    pq_test_gpu *gpu = calloc(1, sizeof *gpu);
    *out_why = "no memory";
    if (gpu == NULL) {
        return NULL;
    }
    *out_why = "libvulkan.so.1 is not installed";
    gpu->library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (gpu->library != NULL) {
        *(void **)&gpu->GetInstanceProcAddr =
            dlsym(gpu->library, "vkGetInstanceProcAddr");
        *out_why = "no Vulkan device";
        look_away(true);
        bool is_open = gpu->GetInstanceProcAddr != NULL &&
                       create_instance(gpu, validates) && create_device(gpu);
        look_away(false);
        if (is_open) {
            return gpu;
        }
    }
    pq_test_gpu_close(gpu);
    return NULL;
}

void
pq_test_gpu_close(pq_test_gpu *gpu)
{
    if (gpu == NULL) {
        return;
    }
    if (gpu->device != NULL) {
        gpu->DestroyDevice(gpu->device, NULL);
    }
    if (gpu->messenger != VK_NULL_HANDLE) {
        PFN_vkDestroyDebugUtilsMessengerEXT destroy =
            (PFN_vkDestroyDebugUtilsMessengerEXT)gpu->GetInstanceProcAddr(
                gpu->instance, "vkDestroyDebugUtilsMessengerEXT");
        destroy(gpu->instance, gpu->messenger, NULL);
    }
    if (gpu->instance != NULL && gpu->DestroyInstance != NULL) {
        gpu->DestroyInstance(gpu->instance, NULL);
    }
    // The library stays: drivers do not like to be unloaded.
    free(gpu);
}

const char *
pq_test_gpu_complaint(const pq_test_gpu *gpu)
{
    return gpu->complaint[0] != '\0' ? gpu->complaint : NULL;
}

const char *
pq_test_gpu_name(const pq_test_gpu *gpu)
{
    return gpu->properties.deviceName;
}

bool
pq_test_gpu_is_cpu(const pq_test_gpu *gpu)
{
    return gpu->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
}

// ---- buffers ---------------------------------------------------------------

bool
pq_test_gpu_buffer_create(pq_test_gpu *gpu, size_t bytes,
                          pq_test_gpu_buffer *out)
{
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                               .size = bytes > 0 ? bytes : 16,
                               .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT};
    VkBuffer buffer = VK_NULL_HANDLE;
    VkDeviceMemory memory = VK_NULL_HANDLE;
    VkMemoryRequirements needs;
    memset(out, 0, sizeof *out);
    if (gpu->CreateBuffer(gpu->device, &info, NULL, &buffer) != VK_SUCCESS) {
        return false;
    }
    gpu->GetBufferMemoryRequirements(gpu->device, buffer, &needs);
    VkMemoryAllocateInfo allocate = {.sType =
                                         VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .allocationSize = needs.size,
                                     .memoryTypeIndex = gpu->memory_type};
    out->buffer = buffer;
    out->bytes = bytes;
    if (gpu->AllocateMemory(gpu->device, &allocate, NULL, &memory) !=
        VK_SUCCESS) {
        return false;
    }
    out->memory = memory;
    if (gpu->BindBufferMemory(gpu->device, buffer, memory, 0) != VK_SUCCESS ||
        gpu->MapMemory(gpu->device, memory, 0, VK_WHOLE_SIZE, 0, &out->data) !=
            VK_SUCCESS) {
        return false;
    }
    memset(out->data, 0, bytes);
    return true;
}

void
pq_test_gpu_buffer_destroy(pq_test_gpu *gpu, pq_test_gpu_buffer *buffer)
{
    gpu->DestroyBuffer(gpu->device, (VkBuffer)buffer->buffer, NULL);
    gpu->FreeMemory(gpu->device, (VkDeviceMemory)buffer->memory, NULL);
    memset(buffer, 0, sizeof *buffer);
}

// ---- kernels ---------------------------------------------------------------

#define BUFFERS 16u

struct pq_test_gpu_kernel {
    pq_test_gpu *gpu;
    VkShaderModule module;
    VkDescriptorSetLayout set_layout;
    VkPipelineLayout layout;
    VkPipeline pipeline;
    VkDescriptorPool pool;
    VkCommandPool commands;
    VkCommandBuffer command;
};

static bool
create_layouts(pq_test_gpu_kernel *k, const pq_test_gpu_desc *d)
{
    VkDescriptorSetLayoutBinding bindings[BUFFERS];
    for (uint32_t i = 0; i < d->buffer_count; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT};
    }
    VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = d->buffer_count,
        .pBindings = bindings};
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
                                 .size = 4 * d->word_count};
    VkPipelineLayoutCreateInfo layout = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &k->set_layout,
        .pushConstantRangeCount = d->word_count > 0 ? 1 : 0,
        .pPushConstantRanges = &range};
    pq_test_gpu *gpu = k->gpu;
    return gpu->CreateDescriptorSetLayout(gpu->device, &set, NULL,
                                          &k->set_layout) == VK_SUCCESS &&
           gpu->CreatePipelineLayout(gpu->device, &layout, NULL, &k->layout) ==
               VK_SUCCESS;
}

static bool
create_pipeline(pq_test_gpu_kernel *k, const pq_test_gpu_desc *d)
{
    VkSpecializationMapEntry entries[BUFFERS];
    for (uint32_t i = 0; i < d->spec_count; i++) {
        entries[i] = (VkSpecializationMapEntry){i, 4 * i, 4};
    }
    VkSpecializationInfo specs = {d->spec_count, entries, 4u * d->spec_count,
                                  d->specs};
    VkShaderModuleCreateInfo module = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = d->spirv_bytes,
        .pCode = d->spirv};
    pq_test_gpu *gpu = k->gpu;
    if (gpu->CreateShaderModule(gpu->device, &module, NULL, &k->module) !=
        VK_SUCCESS) {
        return false;
    }
    VkPipelineShaderStageCreateFlags full =
        VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT;
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .flags = d->needs_full_subgroups ? full : 0,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = k->module,
                  .pName = "main",
                  .pSpecializationInfo = &specs},
        .layout = k->layout};
    return gpu->CreateComputePipelines(gpu->device, VK_NULL_HANDLE, 1, &info,
                                       NULL, &k->pipeline) == VK_SUCCESS;
}

static bool
create_set(pq_test_gpu_kernel *k, const pq_test_gpu_desc *d,
           VkDescriptorSet *out)
{
    pq_test_gpu *gpu = k->gpu;
    VkDescriptorPoolSize size = {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, BUFFERS};
    VkDescriptorPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .maxSets = 1,
        .poolSizeCount = 1,
        .pPoolSizes = &size};
    if (gpu->CreateDescriptorPool(gpu->device, &pool, NULL, &k->pool) !=
        VK_SUCCESS) {
        return false;
    }
    VkDescriptorSetAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = k->pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &k->set_layout};
    if (gpu->AllocateDescriptorSets(gpu->device, &allocate, out) !=
        VK_SUCCESS) {
        return false;
    }
    for (uint32_t i = 0; i < d->buffer_count; i++) {
        VkDescriptorBufferInfo buffer = {(VkBuffer)d->buffers[i]->buffer, 0,
                                         VK_WHOLE_SIZE};
        VkWriteDescriptorSet write = {
            .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
            .dstSet = *out,
            .dstBinding = i,
            .descriptorCount = 1,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .pBufferInfo = &buffer};
        gpu->UpdateDescriptorSets(gpu->device, 1, &write, 0, NULL);
    }
    return true;
}

static bool
record(pq_test_gpu_kernel *k, const pq_test_gpu_desc *d, VkDescriptorSet set)
{
    pq_test_gpu *gpu = k->gpu;
    VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .queueFamilyIndex = gpu->family};
    if (gpu->CreateCommandPool(gpu->device, &pool, NULL, &k->commands) !=
        VK_SUCCESS) {
        return false;
    }
    VkCommandBufferAllocateInfo allocate = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = k->commands,
        .commandBufferCount = 1};
    VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    if (gpu->AllocateCommandBuffers(gpu->device, &allocate, &k->command) !=
            VK_SUCCESS ||
        gpu->BeginCommandBuffer(k->command, &begin) != VK_SUCCESS) {
        return false;
    }
    gpu->CmdBindPipeline(k->command, VK_PIPELINE_BIND_POINT_COMPUTE,
                         k->pipeline);
    gpu->CmdBindDescriptorSets(k->command, VK_PIPELINE_BIND_POINT_COMPUTE,
                               k->layout, 0, 1, &set, 0, NULL);
    if (d->word_count > 0) {
        gpu->CmdPushConstants(k->command, k->layout,
                              VK_SHADER_STAGE_COMPUTE_BIT, 0, 4 * d->word_count,
                              d->words);
    }
    gpu->CmdDispatch(k->command, d->groups[0], d->groups[1], d->groups[2]);
    return gpu->EndCommandBuffer(k->command) == VK_SUCCESS;
}

pq_test_gpu_kernel *
pq_test_gpu_kernel_create(pq_test_gpu *gpu, const pq_test_gpu_desc *desc)
{
    VkDescriptorSet set;
    pq_test_gpu_kernel *k = calloc(1, sizeof *k);
    if (k == NULL || desc->buffer_count > BUFFERS ||
        desc->spec_count > BUFFERS) {
        free(k);
        return NULL;
    }
    k->gpu = gpu;
    look_away(true);
    bool is_made = create_layouts(k, desc) && create_pipeline(k, desc) &&
                   create_set(k, desc, &set) && record(k, desc, set);
    look_away(false);
    if (is_made) {
        return k;
    }
    pq_test_gpu_kernel_destroy(k);
    return NULL;
}

void
pq_test_gpu_kernel_destroy(pq_test_gpu_kernel *k)
{
    if (k == NULL) {
        return;
    }
    pq_test_gpu *gpu = k->gpu;
    gpu->DestroyCommandPool(gpu->device, k->commands, NULL);
    gpu->DestroyDescriptorPool(gpu->device, k->pool, NULL);
    gpu->DestroyPipeline(gpu->device, k->pipeline, NULL);
    gpu->DestroyPipelineLayout(gpu->device, k->layout, NULL);
    gpu->DestroyDescriptorSetLayout(gpu->device, k->set_layout, NULL);
    gpu->DestroyShaderModule(gpu->device, k->module, NULL);
    free(k);
}

double
pq_test_gpu_kernel_run(pq_test_gpu_kernel *k)
{
    struct timespec a, b;
    VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                           .commandBufferCount = 1,
                           .pCommandBuffers = &k->command};
    clock_gettime(CLOCK_MONOTONIC, &a);
    if (k->gpu->QueueSubmit(k->gpu->queue, 1, &submit, VK_NULL_HANDLE) !=
            VK_SUCCESS ||
        k->gpu->QueueWaitIdle(k->gpu->queue) != VK_SUCCESS) {
        return -1.0;
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (double)(b.tv_sec - a.tv_sec) +
           1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}

#else // no Vulkan headers

pq_test_gpu *
pq_test_gpu_open(bool validates, const char **out_why)
{
    (void)validates;
    *out_why = "built without Vulkan headers";
    return NULL;
}

void
pq_test_gpu_close(pq_test_gpu *gpu)
{
    (void)gpu;
}

bool
pq_test_gpu_has_dot(const pq_test_gpu *gpu)
{
    (void)gpu;
    return false;
}

bool
pq_test_gpu_has_halves(const pq_test_gpu *gpu)
{
    (void)gpu;
    return false;
}

uint32_t
pq_test_gpu_subgroup(const pq_test_gpu *gpu)
{
    (void)gpu;
    return 0;
}

const char *
pq_test_gpu_complaint(const pq_test_gpu *gpu)
{
    (void)gpu;
    return NULL;
}

const char *
pq_test_gpu_name(const pq_test_gpu *gpu)
{
    (void)gpu;
    return "";
}

bool
pq_test_gpu_is_cpu(const pq_test_gpu *gpu)
{
    (void)gpu;
    return false;
}

bool
pq_test_gpu_buffer_create(pq_test_gpu *gpu, size_t bytes,
                          pq_test_gpu_buffer *out)
{
    (void)gpu;
    (void)bytes;
    (void)out;
    return false;
}

void
pq_test_gpu_buffer_destroy(pq_test_gpu *gpu, pq_test_gpu_buffer *buffer)
{
    (void)gpu;
    (void)buffer;
}

pq_test_gpu_kernel *
pq_test_gpu_kernel_create(pq_test_gpu *gpu, const pq_test_gpu_desc *desc)
{
    (void)gpu;
    (void)desc;
    return NULL;
}

void
pq_test_gpu_kernel_destroy(pq_test_gpu_kernel *k)
{
    (void)k;
}

double
pq_test_gpu_kernel_run(pq_test_gpu_kernel *k)
{
    (void)k;
    return -1.0;
}

#endif
