// SPDX-License-Identifier: Apache-2.0
//
// Short forms for saying errors.
#ifndef PTQC_BACKENDS_VULKAN_SAY_H
#define PTQC_BACKENDS_VULKAN_SAY_H

#include <string.h>

#include "backends/kgen/say.h"

static inline ptqc_str
pq_vk_str(const char *z)
{
    return (ptqc_str){z, strlen(z)};
}

static inline ptqc_be_status
pq_vk_no_memory(const ptqc_host *host, ptqc_call *call)
{
    return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "vulkan: out of memory");
}

#endif
