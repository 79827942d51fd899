// SPDX-License-Identifier: Apache-2.0
//
// The target side but for compile: targets, rules, check.
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

ptqc_be_status
pq_vk_rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
            ptqc_sink *sink)
{
    (void)sink;
    return pq_vk_target_check(inst->host, call, target);
}

// ---- check -----------------------------------------------------------------

// Lowers one node with nothing emitted; a verdict when that is declined.
static ptqc_be_status
check_node(ptqc_call *call, const ptqc_host *host, const ptqc_gb *g,
           uint32_t node, ptqc_sink *sink)
{
    pq_mem mem = {host, NULL};
    pq_kg_entry entry = {0};
    pq_lower_constants pool = {0};
    pq_lower l = {
        .device = &pq_vk_lowering,
        .host = host,
        .call = call,
        .mem = &mem,
        .g = g,
        .entry = &entry,
        .pool = &pool,
        .dry = true,
    };
    ptqc_be_status st = pq_lower_try(&l, node);
    if (st == PTQC_BE_UNSUPPORTED) {
        const ptqc_verdict v = {
            .h = {.size = sizeof v, .type = PTQC_REC_VERDICT},
            .node = node,
            .reason = pq_vk_str(l.reason),
        };
        st = host->vt->emit(sink, &v.h);
    }
    pq_mem_release(&mem);
    return st;
}

ptqc_be_status
pq_vk_check(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
            ptqc_bytes graph, const uint32_t *nodes, uint64_t node_count,
            ptqc_sink *sink)
{
    ptqc_gb g;
    const char *why = "";
    ptqc_be_status st = pq_vk_target_check(inst->host, call, target);
    if (st == PTQC_BE_OK && !ptqc_gb_open(graph.p, graph.n, &g, &why)) {
        st = pq_kg_fail(inst->host, call, PTQC_BE_INVALID,
                        "vulkan: graph block: %s", why);
    }
    for (uint64_t i = 0; i < node_count && st == PTQC_BE_OK; i++) {
        if (nodes[i] >= ptqc_gb_count(&g, PTQC_GB_NODES)) {
            return pq_kg_fail(inst->host, call, PTQC_BE_INVALID,
                              "vulkan: no node %u", nodes[i]);
        }
        st = check_node(call, inst->host, &g, nodes[i], sink);
    }
    return st;
}
