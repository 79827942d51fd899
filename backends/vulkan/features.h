// SPDX-License-Identifier: Apache-2.0
//
// Optional features of a device: what it has, which of them pay, and asking
// for them when it is opened. Nothing needs any of them: kernels have texts
// without (kgen/kernel.h), commands bind descriptor sets of a pool.
#ifndef PTQC_BACKENDS_VULKAN_FEATURES_H
#define PTQC_BACKENDS_VULKAN_FEATURES_H

#include "api.h"
#include "backends/kgen/kernel.h"

// Beside those of kernels (PQ_KG_DOT ..).
#define PQ_VK_PUSH_DESCRIPTORS 0x100u
#define PQ_VK_FEATURES         (PQ_KG_FEATURES | PQ_VK_PUSH_DESCRIPTORS)

// Instead of bits: those that are preferred.
#define PQ_VK_PREFERRED UINT32_MAX

typedef struct pq_vk_features {
    uint32_t has;       // bits: what can be used
    uint32_t preferred; // of these: what makes it faster
    bool sets_subgroup; // pipelines may say the size of subgroups
} pq_vk_features;

// Room for a device's list of extensions; those beyond it count as absent.
#define PQ_VK_EXTENSIONS_MAX 512u

// `room`: [PQ_VK_EXTENSIONS_MAX], scratch. subgroup_size: of the device.
void pq_vk_features_read(const pq_vk_api *api, VkPhysicalDevice physical,
                         VkExtensionProperties *room, pq_vk_features *out);

// What opening a device has to ask for, to use features.
typedef struct pq_vk_request {
    const char *names[8]; // static texts: [count]
    uint32_t count;
    VkPhysicalDeviceFeatures2 features; // the head of the chain
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot;
    VkPhysicalDeviceSubgroupSizeControlFeaturesEXT subgroup;
    VkPhysicalDeviceShaderFloat16Int8FeaturesKHR halves;
} pq_vk_request;

// The request points into itself: it is not copied.
void pq_vk_request_make(pq_vk_request *r, const pq_vk_features *features,
                        uint32_t used, bool has_float64);

// "subgroups, push descriptors"; "" for none. -> out.
#define PQ_VK_FEATURES_TEXT 96
const char *pq_vk_features_print(uint32_t features,
                                 char out[PQ_VK_FEATURES_TEXT]);

#endif
