// SPDX-License-Identifier: Apache-2.0
//
// Modules, layouts, pipelines.
#include "pipeline.h"

#include <string.h>

#include "say.h"

// ---- layouts ---------------------------------------------------------------

static VkResult
make_layout(pq_vk_device *d, uint32_t buffer_count, pq_vk_layout *out)
{
    VkDescriptorSetLayoutBinding bindings[PQ_VK_BUFFERS_MAX];
    bool pushes = (d->features & PQ_VK_PUSH_DESCRIPTORS) != 0;
    for (uint32_t i = 0; i < buffer_count; i++) {
        bindings[i] = (VkDescriptorSetLayoutBinding){
            .binding = i,
            .descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER,
            .descriptorCount = 1,
            .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        };
    }
    const VkDescriptorSetLayoutCreateInfo set = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .flags = pushes
                     ? VK_DESCRIPTOR_SET_LAYOUT_CREATE_PUSH_DESCRIPTOR_BIT_KHR
                     : 0,
        .bindingCount = buffer_count,
        .pBindings = bindings,
    };
    VkResult result =
        d->vk.CreateDescriptorSetLayout(d->device, &set, NULL, &out->set);
    if (result != VK_SUCCESS) {
        return result;
    }
    const VkPushConstantRange push = {
        .stageFlags = VK_SHADER_STAGE_COMPUTE_BIT,
        .size = PQ_VK_PUSH_BYTES,
    };
    const VkPipelineLayoutCreateInfo pipeline = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = 1,
        .pSetLayouts = &out->set,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &push,
    };
    return d->vk.CreatePipelineLayout(d->device, &pipeline, NULL,
                                      &out->pipeline);
}

static ptqc_be_status
need_layout(pq_vk_pipelines *p, ptqc_call *call, uint32_t buffer_count)
{
    pq_vk_layout *layout = &p->layouts[buffer_count];
    if (layout->pipeline != VK_NULL_HANDLE) {
        return PTQC_BE_OK;
    }
    VkResult result = make_layout(p->device, buffer_count, layout);
    if (result != VK_SUCCESS) {
        p->device->vk.DestroyDescriptorSetLayout(p->device->device, layout->set,
                                                 NULL);
        *layout = (pq_vk_layout){0};
    }
    return pq_vk_device_result(p->device, call, result,
                               "make a pipeline layout");
}

// ---- pipelines -------------------------------------------------------------

static const pq_vk_pipeline *
find(const pq_vk_pipelines *p, uint32_t module, const uint32_t *specs,
     uint32_t spec_count)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const pq_vk_pipeline *one = &p->all[i];
        if (one->module == module && one->spec_count == spec_count &&
            memcmp(one->specs, specs, spec_count * sizeof *specs) == 0) {
            return one;
        }
    }
    return NULL;
}

// Groups that end inside of a subgroup use none (kgen/kernel.h).
static bool
needs_full_subgroups(const pq_vk_pipelines *p, const pq_vk_pipeline *one)
{
    return (p->features[one->module] & PQ_KG_SUBGROUPS) != 0 &&
           one->specs[0] % p->device->gpu->subgroup_size == 0;
}

static VkResult
make_pipeline(const pq_vk_pipelines *p, const pq_vk_pipeline *one,
              VkPipelineLayout layout, VkPipeline *out)
{
    VkSpecializationMapEntry entries[PQ_VK_SPECS_MAX];
    for (uint32_t i = 0; i < one->spec_count; i++) {
        entries[i] = (VkSpecializationMapEntry){
            .constantID = i,
            .offset = i * (uint32_t)sizeof one->specs[0],
            .size = sizeof one->specs[0],
        };
    }
    const VkSpecializationInfo special = {
        .mapEntryCount = one->spec_count,
        .pMapEntries = entries,
        .dataSize = one->spec_count * sizeof one->specs[0],
        .pData = one->specs,
    };
    const VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size = {
        .sType =
            VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT,
        .requiredSubgroupSize = p->device->gpu->subgroup_size,
    };
    bool is_full = needs_full_subgroups(p, one);
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage =
            {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
             .pNext = is_full && p->device->gpu->features.sets_subgroup ? &size
                                                                        : NULL,
             .flags =
                 is_full
                     ? VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT
                     : 0,
             .stage = VK_SHADER_STAGE_COMPUTE_BIT,
             .module = p->modules[one->module],
             .pName = "main",
             .pSpecializationInfo = &special},
        .layout = layout,
    };
    return p->device->vk.CreateComputePipelines(
        p->device->device, p->device->pipelines, 1, &info, NULL, out);
}

static ptqc_be_status
add(pq_vk_pipelines *p, ptqc_call *call, const pq_vk_pipeline *one,
    uint32_t buffer_count)
{
    void *all = p->all;
    if (!pq_mem_grow(p->mem, &all, &p->room, p->count, sizeof *p->all)) {
        return pq_vk_no_memory(p->device->host, call);
    }
    p->all = all;
    p->all[p->count] = *one;
    VkResult result = make_pipeline(p, one, p->layouts[buffer_count].pipeline,
                                    &p->all[p->count].pipeline);
    if (result == VK_SUCCESS) {
        p->count++;
    }
    return pq_vk_device_result(p->device, call, result, "make a pipeline");
}

ptqc_be_status
pq_vk_pipelines_get(pq_vk_pipelines *p, ptqc_call *call, uint32_t module,
                    uint32_t buffer_count, const uint32_t *specs,
                    uint32_t spec_count, VkPipeline *out,
                    pq_vk_layout *out_layout)
{
    pq_vk_pipeline one = {.module = module, .spec_count = spec_count};
    if (spec_count > PQ_VK_SPECS_MAX || buffer_count > PQ_VK_BUFFERS_MAX) {
        return pq_kg_fail(p->device->host, call, PTQC_BE_INTERNAL,
                          "a kernel with %u buffers and %u constants",
                          buffer_count, spec_count);
    }
    memcpy(one.specs, specs, spec_count * sizeof *specs);
    pthread_mutex_lock(&p->lock);
    ptqc_be_status st = need_layout(p, call, buffer_count);
    const pq_vk_pipeline *found = find(p, module, specs, spec_count);
    if (st == PTQC_BE_OK && found == NULL) {
        st = add(p, call, &one, buffer_count);
        found = st == PTQC_BE_OK ? &p->all[p->count - 1] : NULL;
    }
    if (st == PTQC_BE_OK) {
        *out = found->pipeline;
        *out_layout = p->layouts[buffer_count];
    }
    pthread_mutex_unlock(&p->lock);
    return st;
}

// ---- all -------------------------------------------------------------------

static VkResult
make_module(pq_vk_device *d, ptqc_bytes words, VkShaderModule *out)
{
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = words.n,
        .pCode = words.p,
    };
    return d->vk.CreateShaderModule(d->device, &info, NULL, out);
}

ptqc_be_status
pq_vk_pipelines_create(pq_vk_pipelines *p, ptqc_call *call,
                       pq_vk_device *device, pq_mem *mem,
                       const ptqc_bytes *words, const uint32_t *features,
                       uint32_t module_count)
{
    *p = (pq_vk_pipelines){.mem = mem};
    p->modules = pq_mem_array(mem, module_count, sizeof *p->modules);
    p->features = pq_mem_array(mem, module_count, sizeof *p->features);
    if (p->modules == NULL || p->features == NULL ||
        pthread_mutex_init(&p->lock, NULL) != 0) {
        return pq_vk_no_memory(device->host, call);
    }
    p->device = device;
    for (uint32_t i = 0; i < module_count; i++) {
        p->features[i] = features != NULL ? features[i] : 0;
        VkResult result = p->features[i] != PQ_VK_UNUSED
                              ? make_module(device, words[i], &p->modules[i])
                              : VK_SUCCESS;
        if (result != VK_SUCCESS) {
            return pq_vk_device_result(device, call, result,
                                       "take in a shader module");
        }
        p->module_count++;
    }
    return PTQC_BE_OK;
}

void
pq_vk_pipelines_destroy(pq_vk_pipelines *p)
{
    pq_vk_device *d = p->device;
    if (d == NULL) {
        return;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        d->vk.DestroyPipeline(d->device, p->all[i].pipeline, NULL);
    }
    for (uint32_t i = 0; i <= PQ_VK_BUFFERS_MAX; i++) {
        d->vk.DestroyPipelineLayout(d->device, p->layouts[i].pipeline, NULL);
        d->vk.DestroyDescriptorSetLayout(d->device, p->layouts[i].set, NULL);
    }
    for (uint32_t i = 0; i < p->module_count; i++) {
        d->vk.DestroyShaderModule(d->device, p->modules[i], NULL);
    }
    pthread_mutex_destroy(&p->lock);
    p->device = NULL;
}
