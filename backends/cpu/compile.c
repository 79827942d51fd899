// SPDX-License-Identifier: Apache-2.0
//
// compile: every entry lowered over one set of constants, then the blob.
#include <string.h>

#include "backends/kgen/say.h"
#include "backends/kgen/target.h"
#include "lowering.h"
#include "plugin.h"

static ptqc_be_status
emit_blob(ptqc_call *call, const ptqc_host *host, pq_mem *mem,
          const pq_kg_program *program, ptqc_sink *sink)
{
    ptqc_blob blob = {
        .h = {.size = sizeof blob, .type = PTQC_REC_BLOB},
        .data = pq_kg_program_write(mem, &pq_cpu_format, program),
    };
    if (blob.data.p == NULL) {
        return pq_kg_fail(host, call, PTQC_BE_RESOURCE, "cpu: out of memory");
    }
    return host->vt->emit(sink, &blob.h);
}

ptqc_be_status
pq_cpu_compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
               const ptqc_entry *entries, uint64_t entry_count, ptqc_sink *sink)
{
    pq_mem mem = {inst->host, NULL};
    pq_kg_program program = {0};
    pq_kg_teller t = {pq_cpu_device.name, inst->host, call};
    pq_isa cap = PQ_ISA_AVX2;
    ptqc_be_status st = pq_cpu_target(inst->host, call, target, &cap);
    program.cap = (uint32_t)cap;
    st = st == PTQC_BE_OK
             ? pq_kg_lower_entries(&t, &pq_cpu_device, entries, entry_count,
                                   &mem, sink, &program)
             : st;
    if (st == PTQC_BE_OK) {
        st = emit_blob(call, inst->host, &mem, &program, sink);
    }
    pq_mem_release(&mem);
    return st;
}
