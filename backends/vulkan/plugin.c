// SPDX-License-Identifier: Apache-2.0
//
// The vulkan plugin's entry.
#include "plugin.h"

#ifndef PTQC_PLUGIN_VERSION
#define PTQC_PLUGIN_VERSION "0"
#endif
#ifndef PTQC_SHADERC_VERSION
#define PTQC_SHADERC_VERSION "unknown"
#endif
#define TEXT(literal) {literal, sizeof(literal) - 1}

static const ptqc_plugin PLUGIN = {
    .h = {.size = sizeof(ptqc_plugin), .type = PTQC_REC_PLUGIN},
    .abi_version = PTQC_ABI_VERSION,
    .name = TEXT("vulkan"),
    .vendor = TEXT("ptqc"),
    .version = TEXT(PTQC_PLUGIN_VERSION " (shaderc " PTQC_SHADERC_VERSION ")"),
    .vt = &pq_vk_table,
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
