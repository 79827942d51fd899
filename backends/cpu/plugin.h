// SPDX-License-Identifier: Apache-2.0
//
// The parts behind the plugin's table.
#ifndef PTQC_BACKENDS_CPU_PLUGIN_H
#define PTQC_BACKENDS_CPU_PLUGIN_H

#include "ptqc/backend.h"

#include "jit.h"

struct ptqc_instance {
    const ptqc_host *host; // borrowed, outlives the instance
    int detected;          // pq_isa of this machine; -1: none of ours
};

ptqc_str pq_cpu_text(const char *z);
// "cpu" or "cpu;LEVEL" -> highest level to use; UNSUPPORTED was said.
ptqc_be_status pq_cpu_target(const ptqc_host *host, ptqc_call *call,
                             ptqc_str target, pq_isa *out_cap);

ptqc_be_status pq_cpu_targets(ptqc_call *call, ptqc_instance *inst,
                              ptqc_sink *sink);
ptqc_be_status pq_cpu_rules(ptqc_call *call, ptqc_instance *inst,
                            ptqc_str target, ptqc_sink *sink);
ptqc_be_status pq_cpu_check(ptqc_call *call, ptqc_instance *inst,
                            ptqc_str target, ptqc_bytes graph,
                            const uint32_t *nodes, uint64_t node_count,
                            ptqc_sink *sink);
ptqc_be_status pq_cpu_compile(ptqc_call *call, ptqc_instance *inst,
                              ptqc_str target, const ptqc_entry *entries,
                              uint64_t entry_count, ptqc_sink *sink);

ptqc_be_status pq_cpu_devices(ptqc_call *call, ptqc_instance *inst,
                              ptqc_sink *sink);
ptqc_be_status pq_cpu_load(ptqc_call *call, ptqc_instance *inst,
                           ptqc_str device, ptqc_bytes blob,
                           const ptqc_bytes *constants, uint64_t constant_count,
                           ptqc_exe **out);
void pq_cpu_exe_free(ptqc_exe *exe);
ptqc_be_status pq_cpu_needs(ptqc_call *call, ptqc_spec *spec, ptqc_sink *sink);

#endif
