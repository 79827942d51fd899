// SPDX-License-Identifier: Apache-2.0
//
// The table of passes.

#include "passes/registry.h"

static const pq_pass_info passes[] = {
#define PASS(name, function, before, after, is_exact, summary)                 \
    {name, summary, PQ_STAGE_##before, PQ_STAGE_##after, function, is_exact},
#include "passes/registry.def"
#undef PASS
};

const pq_pass_info *
pq_pass_at(uint32_t index)
{
    return index < sizeof passes / sizeof *passes ? &passes[index] : NULL;
}

const pq_pass_info *
pq_pass_find(pq_str name)
{
    const pq_pass_info *info = NULL;
    for (uint32_t i = 0; (info = pq_pass_at(i)) != NULL; i++) {
        if (pq_str_equal_z(name, info->name)) {
            return info;
        }
    }
    return NULL;
}
