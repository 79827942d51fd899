// SPDX-License-Identifier: Apache-2.0
//
// The vulkan plugin's entry and table.
#include "plugin.h"

#ifndef PTQC_PLUGIN_VERSION
#define PTQC_PLUGIN_VERSION "0"
#endif
#ifndef PTQC_SHADERC_VERSION
#define PTQC_SHADERC_VERSION "unknown"
#endif
#define TEXT(literal) {literal, sizeof(literal) - 1}

static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    return pq_vk_instance_create(call, host, PQ_VK_LIBRARY, out);
}

static const ptqc_plugin_vt TABLE = {
    .h = {.size = sizeof(ptqc_plugin_vt), .type = PTQC_REC_PLUGIN_VT},
    .create = create,
    .destroy = pq_vk_instance_destroy,
    .devices = pq_vk_devices,
    .targets = pq_vk_targets,
    .rules = pq_vk_rules,
    .check = pq_vk_check,
    .compile = pq_vk_compile,
    .load = pq_vk_load,
    .exe_free = pq_vk_exe_free,
    .specialize = pq_vk_specialize,
    .needs = pq_vk_needs,
    .spec_free = pq_vk_spec_free,
    .submit = pq_vk_submit,
    .buf_alloc = pq_vk_buf_alloc,
    .buf_free = pq_vk_buf_free,
    .buf_write = pq_vk_buf_write,
    .buf_read = pq_vk_buf_read,
};

static const ptqc_plugin PLUGIN = {
    .h = {.size = sizeof(ptqc_plugin), .type = PTQC_REC_PLUGIN},
    .abi_version = PTQC_ABI_VERSION,
    .name = TEXT("vulkan"),
    .vendor = TEXT("ptqc"),
    .version = TEXT(PTQC_PLUGIN_VERSION " (shaderc " PTQC_SHADERC_VERSION ")"),
    .vt = &TABLE,
};

PTQC_EXPORT ptqc_be_status ptqc_plugin_query_v0(const ptqc_host *offer,
                                                const ptqc_plugin **out);

ptqc_be_status
ptqc_plugin_query_v0(const ptqc_host *offer, const ptqc_plugin **out)
{
    *out = &PLUGIN;
    return offer->abi_version == PTQC_ABI_VERSION ? PTQC_BE_OK
                                                  : PTQC_BE_INCOMPATIBLE;
}
