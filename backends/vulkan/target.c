// SPDX-License-Identifier: Apache-2.0
//
// The target side but for compile: targets, rules, check.
#include "backends/kgen/target.h"

#include <string.h>

#include "lowering.h"
#include "plugin.h"
#include "say.h"

ptqc_be_status
pq_vk_targets(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_target t = {
        .h = {.size = sizeof t, .type = PTQC_REC_TARGET},
        .name = pq_vk_str(PQ_VK_TARGET),
        .summary = pq_vk_str("any device with Vulkan 1.1 or newer"),
    };
    return inst->host->vt->emit(sink, &t.h);
}

ptqc_be_status
pq_vk_target_check(const ptqc_host *host, ptqc_call *call, ptqc_str target)
{
    if (target.n == strlen(PQ_VK_TARGET) &&
        memcmp(target.p, PQ_VK_TARGET, target.n) == 0) {
        return PTQC_BE_OK;
    }
    return pq_kg_fail(host, call, PTQC_BE_UNSUPPORTED,
                      "vulkan: no target '%.*s' (" PQ_VK_TARGET ")",
                      target.n < 64 ? (int)target.n : 64, target.p);
}

// ---- rules and check -------------------------------------------------------

static const pq_kg_rule RULES[] = {
#define RULE(ops, min, max, operands, tolerance)                               \
    {ops, min, max, operands, tolerance},
#include "backends/kgen/rules.def"
#undef RULE
};

ptqc_be_status
pq_vk_rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
            ptqc_sink *sink)
{
    ptqc_be_status st = pq_vk_target_check(inst->host, call, target);
    return st == PTQC_BE_OK ? pq_kg_emit_rules(inst->host, sink, RULES,
                                               sizeof RULES / sizeof RULES[0])
                            : st;
}

ptqc_be_status
pq_vk_check(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
            ptqc_bytes graph, const uint32_t *nodes, uint64_t node_count,
            ptqc_sink *sink)
{
    ptqc_be_status st = pq_vk_target_check(inst->host, call, target);
    const pq_kg_teller t = {pq_vk_lowering.name, inst->host, call};
    const pq_kg_device device = pq_vk_lowering_of(inst->range_bytes);
    return st == PTQC_BE_OK
               ? pq_kg_check(&t, &device, graph, nodes, node_count, sink)
               : st;
}
