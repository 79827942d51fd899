// SPDX-License-Identifier: Apache-2.0
//
// The cpu plugin's entry and table.
#include "plugin.h"

#include <llvm/Config/llvm-config.h>

#include "backends/kgen/say.h"
#include "spec.h"

#ifndef PTQC_PLUGIN_VERSION
#define PTQC_PLUGIN_VERSION "0"
#endif
#define PTQC_PLUGIN_LLVM "LLVM " LLVM_VERSION_STRING
#define TEXT(literal)    {literal, sizeof(literal) - 1}

static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    ptqc_instance *inst = host->vt->alloc(host->self, sizeof *inst, 16);
    if (inst == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    inst->host = host;
    inst->detected = pq_isa_detect();
    *out = inst;
    return PTQC_BE_OK;
}

static void
destroy(ptqc_instance *inst)
{
    if (inst != NULL) {
        inst->host->vt->free(inst->host->self, inst);
    }
}

static const ptqc_plugin_vt TABLE = {
    .h = {.size = sizeof(ptqc_plugin_vt), .type = PTQC_REC_PLUGIN_VT},
    .create = create,
    .destroy = destroy,
    .devices = pq_cpu_devices,
    .targets = pq_cpu_targets,
    .rules = pq_cpu_rules,
    .check = pq_cpu_check,
    .compile = pq_cpu_compile,
    .load = pq_cpu_load,
    .exe_free = pq_cpu_exe_free,
    .specialize = pq_spec_create,
    .needs = pq_cpu_needs,
    .spec_free = pq_spec_destroy,
    .submit = pq_spec_run,
};

static const ptqc_plugin PLUGIN = {
    .h = {.size = sizeof(ptqc_plugin), .type = PTQC_REC_PLUGIN},
    .abi_version = PTQC_ABI_VERSION,
    .name = TEXT("cpu"),
    .vendor = TEXT("ptqc"),
    .version = TEXT(PTQC_PLUGIN_VERSION " (" PTQC_PLUGIN_LLVM ")"),
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
