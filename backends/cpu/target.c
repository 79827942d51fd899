// SPDX-License-Identifier: Apache-2.0
//
// The target side but for compile: targets, rules, check.
#include "backends/kgen/target.h"

#include <stdio.h>
#include <string.h>

#include "backends/kgen/say.h"
#include "lowering.h"
#include "plugin.h"

ptqc_str
pq_cpu_text(const char *z)
{
    ptqc_str s = {z, strlen(z)};
    return s;
}

// ---- targets ---------------------------------------------------------------

typedef struct target_name {
    const char *name, *summary;
    pq_isa cap;
} target_name;

static const target_name TARGETS[] = {
    {"cpu", "x86-64 with AVX2 and FMA or better; code is made at load",
     PQ_ISA_AMX},
    {"cpu;avx2", "as cpu, AVX2 at most", PQ_ISA_AVX2},
    {"cpu;avx512", "as cpu, AVX-512 without VNNI at most", PQ_ISA_AVX512},
    {"cpu;vnni", "as cpu, AVX-512 with VNNI at most", PQ_ISA_VNNI},
    {"cpu;amx", "as cpu, AMX at most", PQ_ISA_AMX},
};

ptqc_be_status
pq_cpu_target(const ptqc_host *host, ptqc_call *call, ptqc_str target,
              pq_isa *out_cap)
{
    for (size_t i = 0; i < sizeof TARGETS / sizeof TARGETS[0]; i++) {
        if (strlen(TARGETS[i].name) == target.n &&
            memcmp(TARGETS[i].name, target.p, target.n) == 0) {
            *out_cap = TARGETS[i].cap;
            return PTQC_BE_OK;
        }
    }
    return pq_kg_fail(host, call, PTQC_BE_UNSUPPORTED,
                      "cpu: no target '%.*s' (cpu, cpu;avx2, cpu;avx512, "
                      "cpu;vnni, cpu;amx)",
                      target.n < 64 ? (int)target.n : 64, target.p);
}

ptqc_be_status
pq_cpu_targets(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    ptqc_be_status st = PTQC_BE_OK;
    for (size_t i = 0;
         i < sizeof TARGETS / sizeof TARGETS[0] && st == PTQC_BE_OK; i++) {
        ptqc_target t = {
            .h = {.size = sizeof t, .type = PTQC_REC_TARGET},
            .name = pq_cpu_text(TARGETS[i].name),
            .summary = pq_cpu_text(TARGETS[i].summary),
        };
        st = inst->host->vt->emit(sink, &t.h);
    }
    return st;
}

// ---- rules, check ----------------------------------------------------------

static const pq_kg_rule RULES[] = {
#define RULE(ops, min, max, operands) {ops, min, max, operands, 0.0f},
#include "rules.def"
#undef RULE
};

ptqc_be_status
pq_cpu_rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
             ptqc_sink *sink)
{
    pq_isa cap;
    ptqc_be_status st = pq_cpu_target(inst->host, call, target, &cap);
    return st == PTQC_BE_OK ? pq_kg_emit_rules(inst->host, sink, RULES,
                                               sizeof RULES / sizeof RULES[0])
                            : st;
}

ptqc_be_status
pq_cpu_check(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
             ptqc_bytes graph, const uint32_t *nodes, uint64_t node_count,
             ptqc_sink *sink)
{
    pq_isa cap;
    ptqc_be_status st = pq_cpu_target(inst->host, call, target, &cap);
    pq_kg_teller t = {pq_cpu_device.name, inst->host, call};
    return st == PTQC_BE_OK
               ? pq_kg_check(&t, &pq_cpu_device, graph, nodes, node_count, sink)
               : st;
}
