// SPDX-License-Identifier: Apache-2.0
//
// The null plugin: a complete backend that claims nothing. Clone it to begin
// a new one: every function of the table is here, answers as the contract
// (docs/plugin-abi.md) demands, and says in its comment what a real backend
// does at this place. Needs ptqc/backend.h, ptqc/graph_block.h and the SDK's
// ptqc_gb_open, nothing else.
//
// In what order a host calls:
//
//   query -> create -> targets, rules, check, compile          (no device)
//                   -> devices, load -> specialize -> needs -> submit
//   then backwards: spec_free, exe_free, destroy
#include <stdbool.h>
#include <string.h>

#include "ptqc/backend.h"
#include "ptqc/graph_block.h"

#define NULL_NAME   "null"
#define NULL_TARGET "null"

// What a plugin keeps between calls hangs on its instance; there are no
// globals. Everything here is written by create and only read afterwards, so
// that calls from several threads need no lock.
struct ptqc_instance {
    ptqc_host host; // a copy: the host's record may be gone after create
};

// ---- texts and records ----------------------------------------------------

static ptqc_str
str_of(const char *z)
{
    return (ptqc_str){z, strlen(z)};
}

static bool
is_text(ptqc_str s, const char *z)
{
    return s.n == strlen(z) && memcmp(s.p, z, s.n) == 0;
}

// Says why a call fails, for people; the status alone tells the host what to
// do next. `node` is the node's index in the graph block + 1, 0 = none.
static ptqc_be_status
say(const ptqc_instance *inst, ptqc_call *call, ptqc_be_status status,
    const char *text)
{
    const ptqc_diag diag = {
        .h = {.size = sizeof diag, .type = PTQC_REC_DIAG},
        .severity = PTQC_SEV_ERROR,
        .text = str_of(text),
    };
    inst->host.vt->diag(call, &diag);
    return status;
}

static ptqc_be_status
emit(const ptqc_instance *inst, ptqc_sink *sink, const ptqc_hdr *record)
{
    return inst->host.vt->emit(sink, record);
}

// ---- the instance ---------------------------------------------------------

// A real backend opens its driver here (dlopen, never linked), but finding no
// driver is no error: `devices` then has nothing to tell or tells why.
static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    (void)call;
    ptqc_instance *inst =
        host->vt->alloc(host->self, sizeof *inst, _Alignof(ptqc_instance));
    if (inst == NULL) {
        return PTQC_BE_RESOURCE;
    }
    inst->host = *host;
    *out = inst;
    return PTQC_BE_OK;
}

// The host has freed all specs, exes and buffers. Threads of the plugin must
// be gone when this returns.
static void
destroy(ptqc_instance *inst)
{
    inst->host.vt->free(inst->host.self, inst);
}

// ---- device side: what is in the machine ----------------------------------

// One record per device. A device that is there but cannot be used is told
// too, with the reason: users look for it.
static ptqc_be_status
devices(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_device device = {
        .h = {.size = sizeof device, .type = PTQC_REC_DEVICE},
        .id = str_of(NULL_NAME ":0"),
        .name = str_of("no device"),
        .target = str_of(NULL_TARGET),
        .reason = str_of("a template for new plugins, it runs nothing"),
        .state = PTQC_DEVICE_UNUSABLE,
        .flags = PTQC_DEVICE_HOST_MEMORY,
    };
    return emit(inst, sink, &device.h);
}

// ---- target side: what can be compiled, without any device ------------------

// All names that --target accepts: "acme", and capped or special variants
// such as "acme;v2".
static ptqc_be_status
targets(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_target target = {
        .h = {.size = sizeof target, .type = PTQC_REC_TARGET},
        .name = str_of(NULL_TARGET),
        .summary = str_of("declines everything (template for plugins)"),
    };
    return emit(inst, sink, &target.h);
}

static ptqc_be_status
check_target(const ptqc_instance *inst, ptqc_call *call, ptqc_str target)
{
    return is_text(target, NULL_TARGET)
               ? PTQC_BE_OK
               : say(inst, call, PTQC_BE_UNSUPPORTED, "no such target");
}

// One ptqc_rule per kernel family: an op and what each operand may look like.
// The quantizer picks schemes by these; an honest plugin's `check` accepts
// what a rule admits. This one has no kernels, so it emits none.
static ptqc_be_status
rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_sink *sink)
{
    (void)sink;
    return check_target(inst, call, target);
}

// Opens a block that the host hands in. The host wrote it, so a bad one is
// the host's fault: INVALID, not CORRUPT.
static ptqc_be_status
open_graph(const ptqc_instance *inst, ptqc_call *call, ptqc_bytes graph,
           ptqc_gb *out)
{
    const char *reason = "";
    return ptqc_gb_open(graph.p, graph.n, out, &reason)
               ? PTQC_BE_OK
               : say(inst, call, PTQC_BE_INVALID, reason);
}

// The exact answer for the given nodes: attributes, shapes, constants and all
// that rules cannot express. A verdict only for those not taken, with a
// reason that helps a user ("resize: cubic mode"). A real backend looks at
// ptqc_gb_node_at(&g, nodes[i]), its operands and attributes.
static ptqc_be_status
check(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_bytes graph,
      const uint32_t *nodes, uint64_t node_count, ptqc_sink *sink)
{
    ptqc_gb g;
    ptqc_be_status st = check_target(inst, call, target);
    if (st == PTQC_BE_OK) {
        st = open_graph(inst, call, graph, &g);
    }
    for (uint64_t i = 0; i < node_count && st == PTQC_BE_OK; i++) {
        if (nodes[i] >= ptqc_gb_count(&g, PTQC_GB_NODES)) {
            return say(inst, call, PTQC_BE_INVALID, "no such node");
        }
        const ptqc_verdict verdict = {
            .h = {.size = sizeof verdict, .type = PTQC_REC_VERDICT},
            .node = nodes[i],
            .reason = str_of("the null plugin runs nothing"),
        };
        st = emit(inst, sink, &verdict.h);
    }
    return st;
}

// Turns graphs into one program: emits its constants in the plugin's own
// layout (ptqc_packed_constant, in the order load will get them), then one
// ptqc_blob. The same input must give the same bytes, on any machine and with
// any number of threads. A graph with a node that check declines: UNSUPPORTED.
static ptqc_be_status
compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
        const ptqc_entry *entries, uint64_t entry_count, ptqc_sink *sink)
{
    (void)sink;
    ptqc_be_status st = check_target(inst, call, target);
    for (uint64_t i = 0; i < entry_count && st == PTQC_BE_OK; i++) {
        ptqc_gb g;
        st = open_graph(inst, call, entries[i].graph, &g);
    }
    return st != PTQC_BE_OK ? st
                            : say(inst, call, PTQC_BE_UNSUPPORTED,
                                  "the null plugin runs nothing");
}

// ---- device side: running -------------------------------------------------

// Blob -> executable. The blob may come from a damaged or hostile file: every
// offset and count of it is checked here, once. CORRUPT: it fails that check;
// INCOMPATIBLE: it is good, but of another version or for another device, so
// that compiling again helps.
static ptqc_be_status
load(ptqc_call *call, ptqc_instance *inst, ptqc_str device, ptqc_bytes blob,
     const ptqc_bytes *constants, uint64_t constant_count, ptqc_exe **out)
{
    (void)device;
    (void)blob;
    (void)constants;
    (void)constant_count;
    (void)out;
    return say(inst, call, PTQC_BE_CORRUPT, "no program of the null plugin");
}

// The four functions below cannot be reached, since load gives no exe.

static void
exe_free(ptqc_exe *exe)
{
    (void)exe;
}

// Fixes the symbolic dims of one entry (one number per symbol of its block),
// plans the memory, makes code that depends on sizes. Everything that submit
// would otherwise have to allocate is allocated here.
static ptqc_be_status
specialize(ptqc_call *call, ptqc_exe *exe, uint32_t entry, const int64_t *dims,
           uint64_t dim_count, ptqc_spec **out)
{
    (void)call;
    (void)exe;
    (void)entry;
    (void)dims;
    (void)dim_count;
    (void)out;
    return PTQC_BE_INVALID;
}

// Emits one ptqc_needs, then one ptqc_buffer_need per binding.
static ptqc_be_status
needs(ptqc_call *call, ptqc_spec *spec, ptqc_sink *sink)
{
    (void)call;
    (void)spec;
    (void)sink;
    return PTQC_BE_INVALID;
}

static void
spec_free(ptqc_spec *spec)
{
    (void)spec;
}

// Runs to completion: bindings are the entry's inputs, states and outputs.
// Uses the workspace it asked for and allocates nothing; threads come from
// the host's parallel_for and pool_run.
static ptqc_be_status
submit(ptqc_call *call, ptqc_spec *spec, const ptqc_submit *run)
{
    (void)call;
    (void)spec;
    (void)run;
    return PTQC_BE_INVALID;
}

// ---- the table ------------------------------------------------------------

// `plan` is left out: the host groups the accepted nodes. buf_* are left out:
// all devices run on host memory.
static const ptqc_plugin_vt null_functions = {
    .h = {.size = sizeof(ptqc_plugin_vt), .type = PTQC_REC_PLUGIN_VT},
    .create = create,
    .destroy = destroy,
    .devices = devices,
    .targets = targets,
    .rules = rules,
    .check = check,
    .compile = compile,
    .load = load,
    .exe_free = exe_free,
    .specialize = specialize,
    .needs = needs,
    .spec_free = spec_free,
    .submit = submit,
};

#define TEXT(literal) {literal, sizeof(literal) - 1}

static const ptqc_plugin null_plugin = {
    .h = {.size = sizeof(ptqc_plugin), .type = PTQC_REC_PLUGIN},
    .abi_version = PTQC_ABI_VERSION,
    .name = TEXT(NULL_NAME),
    .vendor = TEXT("ptqc"),
    .version = TEXT(PTQC_PLUGIN_VERSION),
    .vt = &null_functions,
};

PTQC_EXPORT ptqc_be_status ptqc_plugin_query_v0(const ptqc_host *offer,
                                                const ptqc_plugin **out);

// The one exported symbol. Pure: no I/O, no threads, no allocation. Fills
// *out also when the versions differ, so that the host can name both.
ptqc_be_status
ptqc_plugin_query_v0(const ptqc_host *offer, const ptqc_plugin **out)
{
    *out = &null_plugin;
    return offer->abi_version == PTQC_ABI_VERSION ? PTQC_BE_OK
                                                  : PTQC_BE_INCOMPATIBLE;
}
