// SPDX-License-Identifier: Apache-2.0
//
// The inside of the ref plugin: the reference interpreter as a backend. It is
// the oracle: slow, exact, takes every op and type the interpreter runs.
//
// Unlike other plugins it includes ir/ (linked in, hidden) and it allocates
// while running: the interpreter takes scratch memory op by op from the
// host's allocator. Its blob is the graph block itself (blob.h).
//
// Threads: everything that works with a graph has a context of its own, so
// instances and exes may be shared; a spec is used by one submit at a time.
#ifndef PTQC_BACKENDS_REF_REF_H
#define PTQC_BACKENDS_REF_REF_H

#include "ptqc/backend.h"
#include "ptqc/graph_block.h"

#include "base/ctx.h"
#include "ir/graph.h"

#define REF_NAME "ref"

struct ptqc_instance {
    ptqc_host host; // copy
};

// A context whose memory is the host's and whose first error message goes to
// the call at hand.
typedef struct pq_ref_ctx {
    const ptqc_host *host; // borrowed from the instance
    ptqc_call *call;       // of the moment; NULL between calls
    ptqc_ctx *ctx;         // owned
} pq_ref_ctx;

ptqc_be_status pq_ref_ctx_init(pq_ref_ctx *r, const ptqc_host *host,
                               ptqc_call *call);
void pq_ref_ctx_deinit(pq_ref_ctx *r);
// What a core status means to the host.
ptqc_be_status pq_ref_status(ptqc_status st);
// Says why a call fails; returns `status`.
ptqc_be_status pq_ref_say(const ptqc_host *host, ptqc_call *call,
                          ptqc_be_status status, const char *text);
ptqc_str pq_ref_str(const char *z);

// ---- the functions of the table, by file ------------------------------------

// rules.c
ptqc_be_status pq_ref_rules(ptqc_call *call, ptqc_instance *inst,
                            ptqc_str target, ptqc_sink *sink);
// compile.c
ptqc_be_status pq_ref_check(ptqc_call *call, ptqc_instance *inst,
                            ptqc_str target, ptqc_bytes graph,
                            const uint32_t *nodes, uint64_t node_count,
                            ptqc_sink *sink);
ptqc_be_status pq_ref_compile(ptqc_call *call, ptqc_instance *inst,
                              ptqc_str target, const ptqc_entry *entries,
                              uint64_t entry_count, ptqc_sink *sink);
// run.c
ptqc_be_status pq_ref_load(ptqc_call *call, ptqc_instance *inst,
                           ptqc_str device, ptqc_bytes blob,
                           const ptqc_bytes *constants, uint64_t constant_count,
                           ptqc_exe **out);
void pq_ref_exe_free(ptqc_exe *exe);
ptqc_be_status pq_ref_specialize(ptqc_call *call, ptqc_exe *exe, uint32_t entry,
                                 const int64_t *dims, uint64_t dim_count,
                                 ptqc_spec **out);
ptqc_be_status pq_ref_needs(ptqc_call *call, ptqc_spec *spec, ptqc_sink *sink);
void pq_ref_spec_free(ptqc_spec *spec);
ptqc_be_status pq_ref_submit(ptqc_call *call, ptqc_spec *spec,
                             const ptqc_submit *submit);

// UNSUPPORTED, said, unless it is "ref".
ptqc_be_status pq_ref_check_target(const ptqc_instance *inst, ptqc_call *call,
                                   ptqc_str target);

#endif
