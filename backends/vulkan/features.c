// SPDX-License-Identifier: Apache-2.0
//
// Finding optional features and asking for them. Each is looked for by its
// extension, whose name devices keep when it has become part of Vulkan.
#include "features.h"

#include <stdio.h>
#include <string.h>

#define DOT_NAME      VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME
#define SUBGROUP_NAME VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME
#define PUSH_NAME     VK_KHR_PUSH_DESCRIPTOR_EXTENSION_NAME
#define HALF_NAME     VK_KHR_SHADER_FLOAT16_INT8_EXTENSION_NAME
#define ROUND_NAME    VK_KHR_SHADER_FLOAT_CONTROLS_EXTENSION_NAME
// Buffers of a kernel (kgen/kernel.h): operands and a table.
#define PUSHED_NEEDED (PQ_KG_BUFFERS_MAX + 1u)

// ---- what there is ---------------------------------------------------------

typedef struct reader {
    const pq_vk_api *api;
    VkPhysicalDevice physical;
    const VkExtensionProperties *extensions;
    uint32_t count;
} reader;

static bool
has_extension(const reader *r, const char *name)
{
    for (uint32_t i = 0; i < r->count; i++) {
        if (strcmp(r->extensions[i].extensionName, name) == 0) {
            return true;
        }
    }
    return false;
}

// Structures that one extension adds: `features` or `properties` may be NULL.
static void
ask(const reader *r, void *features, void *properties)
{
    VkPhysicalDeviceFeatures2 f = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = features};
    VkPhysicalDeviceProperties2 p = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
        .pNext = properties};
    if (features != NULL) {
        r->api->GetPhysicalDeviceFeatures2(r->physical, &f);
    }
    if (properties != NULL) {
        r->api->GetPhysicalDeviceProperties2(r->physical, &p);
    }
}

// Lowered dot products are no faster than shifts and products.
static void
read_dot(const reader *r, pq_vk_features *out)
{
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR f = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR};
    VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR p = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR};
    if (!has_extension(r, DOT_NAME)) {
        return;
    }
    ask(r, &f, &p);
    bool is_fast =
        p.integerDotProduct4x8BitPackedSignedAccelerated == VK_TRUE &&
        p.integerDotProduct4x8BitPackedMixedSignednessAccelerated == VK_TRUE;
    if (f.shaderIntegerDotProduct == VK_TRUE) {
        out->has |= PQ_KG_DOT;
        out->preferred |= is_fast ? PQ_KG_DOT : 0;
    }
}

static void
read_subgroups(const reader *r, pq_vk_features *out)
{
    const VkSubgroupFeatureFlags needed =
        VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_SHUFFLE_BIT |
        VK_SUBGROUP_FEATURE_SHUFFLE_RELATIVE_BIT;
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT f = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT};
    VkPhysicalDeviceSubgroupProperties p = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
    VkPhysicalDeviceSubgroupSizeControlPropertiesEXT control = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT,
        .pNext = &p};
    if (!has_extension(r, SUBGROUP_NAME)) {
        return;
    }
    ask(r, &f, &control);
    uint32_t size = p.subgroupSize;
    if (f.computeFullSubgroups == VK_TRUE && size >= PQ_KG_SUBGROUP_MIN &&
        (size & (size - 1)) == 0 &&
        (p.supportedOperations & needed) == needed &&
        (p.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0) {
        out->has |= PQ_KG_SUBGROUPS;
        out->preferred |= PQ_KG_SUBGROUPS;
        out->sets_subgroup = f.subgroupSizeControl == VK_TRUE &&
                             (control.requiredSubgroupSizeStages &
                              VK_SHADER_STAGE_COMPUTE_BIT) != 0 &&
                             control.minSubgroupSize <= size &&
                             size <= control.maxSubgroupSize;
    }
}

static void
read_halves(const reader *r, pq_vk_features *out)
{
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR f = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR};
    VkPhysicalDeviceFloatControlsPropertiesKHR p = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FLOAT_CONTROLS_PROPERTIES_KHR};
    if (!has_extension(r, HALF_NAME) || !has_extension(r, ROUND_NAME)) {
        return;
    }
    ask(r, &f, &p);
    if (f.shaderFloat16 == VK_TRUE &&
        p.shaderRoundingModeRTEFloat16 == VK_TRUE) {
        out->has |= PQ_KG_HALVES;
        out->preferred |= PQ_KG_HALVES;
    }
}

static void
read_push(const reader *r, pq_vk_features *out)
{
    VkPhysicalDevicePushDescriptorPropertiesKHR p = {
        .sType =
            VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PUSH_DESCRIPTOR_PROPERTIES_KHR};
    if (!has_extension(r, PUSH_NAME)) {
        return;
    }
    ask(r, NULL, &p);
    if (p.maxPushDescriptors >= PUSHED_NEEDED) {
        out->has |= PQ_VK_PUSH_DESCRIPTORS;
        out->preferred |= PQ_VK_PUSH_DESCRIPTORS;
    }
}

void
pq_vk_features_read(const pq_vk_api *api, VkPhysicalDevice physical,
                    VkExtensionProperties *room, pq_vk_features *out)
{
    reader r = {api, physical, room, PQ_VK_EXTENSIONS_MAX};
    *out = (pq_vk_features){0};
    VkResult result =
        api->EnumerateDeviceExtensionProperties(physical, NULL, &r.count, room);
    if (result != VK_SUCCESS && result != VK_INCOMPLETE) {
        return; // a device without extensions works as well
    }
    read_dot(&r, out);
    read_subgroups(&r, out);
    read_halves(&r, out);
    read_push(&r, out);
}

// ---- asking for them -------------------------------------------------------

void
pq_vk_request_make(pq_vk_request *r, const pq_vk_features *features,
                   uint32_t used, bool has_float64)
{
    *r = (pq_vk_request){
        .features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2}};
    r->features.features.shaderFloat64 = has_float64 ? VK_TRUE : VK_FALSE;
    if ((used & PQ_KG_DOT) != 0) {
        r->names[r->count++] = DOT_NAME;
        r->dot = (VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR){
            .sType =
                VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
            .pNext = r->features.pNext,
            .shaderIntegerDotProduct = VK_TRUE};
        r->features.pNext = &r->dot;
    }
    if ((used & PQ_KG_SUBGROUPS) != 0) {
        r->names[r->count++] = SUBGROUP_NAME;
        r->subgroup = (VkPhysicalDeviceSubgroupSizeControlFeaturesEXT){
            .sType =
                VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT,
            .pNext = r->features.pNext,
            .subgroupSizeControl = features->sets_subgroup ? VK_TRUE : VK_FALSE,
            .computeFullSubgroups = VK_TRUE};
        r->features.pNext = &r->subgroup;
    }
    if ((used & PQ_KG_HALVES) != 0) {
        r->names[r->count++] = HALF_NAME;
        r->names[r->count++] = ROUND_NAME;
        r->halves = (VkPhysicalDeviceShaderFloat16Int8FeaturesKHR){
            .sType =
                VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES_KHR,
            .pNext = r->features.pNext,
            .shaderFloat16 = VK_TRUE};
        r->features.pNext = &r->halves;
    }
    if ((used & PQ_VK_PUSH_DESCRIPTORS) != 0) {
        r->names[r->count++] = PUSH_NAME;
    }
}

// ---- for people ------------------------------------------------------------

const char *
pq_vk_features_print(uint32_t features, char out[PQ_VK_FEATURES_TEXT])
{
    static const struct {
        uint32_t bit;
        const char *name;
    } NAMES[] = {
        {PQ_KG_DOT, "integer dot products"},
        {PQ_KG_SUBGROUPS, "subgroups"},
        {PQ_KG_HALVES, "float16"},
        {PQ_VK_PUSH_DESCRIPTORS, "push descriptors"},
    };
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if ((features & NAMES[i].bit) != 0) {
            n += (size_t)snprintf(out + n, PQ_VK_FEATURES_TEXT - n, "%s%s",
                                  n > 0 ? ", " : "", NAMES[i].name);
        }
    }
    return out;
}
