// SPDX-License-Identifier: Apache-2.0
//
// The backend plugin ABI, version 0: everything a plugin and its host say to
// each other. This header and graph_block.h (the graph's bytes) are all a
// vendor needs; both use standard headers only and compile as C17 and C++17.
//
// A plugin is a shared object with ONE exported symbol,
// ptqc_plugin_query_v0, which returns a constant table. It never resolves a
// symbol from the host: host services arrive as a table too.
//
//   target side (never touches a device)     device side
//   ------------------------------------     --------------------------------
//   targets  what can be compiled for        devices     what is in the machine
//   rules    what its kernels can run        load        blob -> executable
//   check    exact answer for given nodes    specialize  dims -> spec (may JIT)
//   plan     which nodes it wants together   needs       memory a spec asks for
//   compile  graph -> blob + packed consts   submit      run
//
// Layout rules. Every record starts with ptqc_hdr; `size` is set by whoever
// fills the record to its own sizeof; a reader uses min(size, its sizeof) and
// treats the rest as zero; zero means default everywhere. Arrays of records
// carry a stride. Only fixed-width integers, floats and pointers; no enums,
// bool, long or bit-fields. Text is UTF-8 (pointer, length). Who allocates
// frees; a plugin's results leave only through the sink of a call (the host
// copies) or as opaque handles with a free function.
//
// Status = what the host does next; the text goes through ptqc_host_vt.diag.
//
// Threads: query is pure. An instance may be called from several threads.
// exe is immutable after load; a spec is used by one submit at a time.
// Process state (signals, environment, locale, FP control, stdout, cwd) is
// left alone.
#ifndef PTQC_BACKEND_H
#define PTQC_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "ptqc/types.h"

#if defined(__cplusplus)
extern "C" {
#endif

#if defined(_WIN32)
#define PTQC_EXPORT __declspec(dllexport)
#else
#define PTQC_EXPORT __attribute__((visibility("default")))
#endif

// Until v1 both sides must be built for the same number; another one is
// refused, naming both.
#define PTQC_ABI_VERSION  2u
#define PTQC_QUERY_SYMBOL "ptqc_plugin_query_v0"

// ---- elementary records ---------------------------------------------------

typedef struct ptqc_hdr {
    uint32_t size; // bytes of the whole record as its writer sees it
    uint32_t type; // PTQC_REC_*
    const struct ptqc_hdr *next; // extension chain; unknown types are skipped
} ptqc_hdr;

typedef struct ptqc_str {
    const char *p; // not NUL-terminated
    uint64_t n;
} ptqc_str;

typedef struct ptqc_bytes {
    const void *p;
    uint64_t n;
} ptqc_bytes;

#define PTQC_REC_HOST        1u
#define PTQC_REC_HOST_VT     2u
#define PTQC_REC_PLUGIN      3u
#define PTQC_REC_PLUGIN_VT   4u
#define PTQC_REC_DIAG        5u
#define PTQC_REC_DEVICE      6u
#define PTQC_REC_TARGET      7u
#define PTQC_REC_RULE        8u
#define PTQC_REC_VERDICT     9u
#define PTQC_REC_CLAIM       10u
#define PTQC_REC_CONSTANT    11u
#define PTQC_REC_BLOB        12u
#define PTQC_REC_NEEDS       13u
#define PTQC_REC_BUFFER_NEED 14u
#define PTQC_REC_TEXT        15u

// ---- status ---------------------------------------------------------------

typedef int32_t ptqc_be_status;
#define PTQC_BE_OK           0
#define PTQC_BE_UNSUPPORTED  (-1) // not mine: the host places it elsewhere
#define PTQC_BE_RESOURCE     (-2) // out of memory or handles
#define PTQC_BE_INVALID      (-3) // the host broke the contract
#define PTQC_BE_INCOMPATIBLE (-4) // version or blob mismatch: recompile
#define PTQC_BE_CANCELLED    (-5)
#define PTQC_BE_DEVICE_LOST  (-6)
#define PTQC_BE_INTERNAL     (-7) // plugin bug
#define PTQC_BE_CORRUPT      (-8) // blob failed validation

#define PTQC_SEV_ERROR   1u
#define PTQC_SEV_WARNING 2u
#define PTQC_SEV_INFO    3u
#define PTQC_SEV_DEBUG   4u

// ---- host -----------------------------------------------------------------

typedef struct ptqc_call ptqc_call;         // host: diagnostics, cancellation
typedef struct ptqc_sink ptqc_sink;         // host: receives emitted records
typedef struct ptqc_instance ptqc_instance; // plugin
typedef struct ptqc_exe ptqc_exe;           // plugin
typedef struct ptqc_spec ptqc_spec;         // plugin
typedef struct ptqc_buffer ptqc_buffer;     // plugin: memory of its device

typedef struct ptqc_diag {
    ptqc_hdr h;
    uint32_t severity; // PTQC_SEV_*
    int32_t vendor_code;
    uint32_t node; // node index in the graph block + 1; 0 = none
    uint32_t reserved;
    ptqc_str text; // one line
    ptqc_str hint; // what the user can do; may be empty
} ptqc_diag;

// Runs items [begin, end) of a parallel_for. `worker` < pool_width.
typedef void (*ptqc_task_fn)(void *user, uint64_t begin, uint64_t end,
                             uint32_t worker);
// Body of a parallel region: called once on each of `width` workers, which
// may meet at ptqc_host_vt.barrier.
typedef void (*ptqc_region_fn)(void *user, uint32_t worker, uint32_t width,
                               void *region);

// Services of the host. `self` is ptqc_host.self. All but those for constants
// may be called from any thread, also from tasks; none from the query
// function.
typedef struct ptqc_host_vt {
    ptqc_hdr h;
    // align is a power of two >= 1; NULL when out of memory. Not zeroed.
    void *(*alloc)(void *self, uint64_t bytes, uint64_t align);
    void (*free)(void *self, void *p); // NULL allowed
    void (*diag)(ptqc_call *call, const ptqc_diag *d);
    uint32_t (*cancelled)(ptqc_call *call); // non-zero: return CANCELLED soon
    // Delivers one record; the host copies what it needs before returning.
    ptqc_be_status (*emit)(ptqc_sink *sink, const ptqc_hdr *record);
    // Threads that parallel_for and pool_run use, >= 1.
    uint32_t (*pool_width)(void *self);
    // Splits [0, count) into at most pool_width contiguous ranges of at least
    // `grain` items (the same split for the same count, grain and width).
    // A call from inside a task runs serially on that worker.
    void (*parallel_for)(void *self, uint64_t count, uint64_t grain,
                         ptqc_task_fn fn, void *user);
    // One parallel region over all workers; barrier(region) waits for all.
    void (*pool_run)(void *self, ptqc_region_fn fn, void *user);
    void (*barrier)(void *region);
    // Kernel cache, keyed by 32 bytes (a hash of everything that matters).
    // get: fills `out` with a copy from alloc(align 64), to be freed by the
    // plugin; UNSUPPORTED = not there. put: best effort.
    ptqc_be_status (*cache_get)(void *self, const uint8_t key[32],
                                ptqc_bytes *out);
    ptqc_be_status (*cache_put)(void *self, const uint8_t key[32],
                                ptqc_bytes data);
    // Bytes of a graph constant during check, plan and compile: valid until
    // they are released or the call returns. NULL when the id is unknown or
    // memory is short: fail with RESOURCE. They may be made at this moment, so
    // map late. On the thread of the call only.
    const void *(*constant_map)(ptqc_call *call, uint64_t constant_id,
                                uint64_t *out_bytes);
    // Monotonic nanoseconds, for profiles.
    uint64_t (*clock_ns)(void *self);
    // The bytes are not read any more: the host may give their memory back.
    // Another constant_map gives them again. A plugin that releases what it
    // has packed compiles models that do not fit in memory. On the thread of
    // the call only.
    void (*constant_release)(ptqc_call *call, uint64_t constant_id);
} ptqc_host_vt;

typedef struct ptqc_host {
    ptqc_hdr h;
    uint32_t abi_version; // PTQC_ABI_VERSION of the host
    uint32_t reserved;
    const ptqc_host_vt *vt; // NULL while querying
    void *self;
    ptqc_str product; // "ptqc 0.1.0"
} ptqc_host;

// ---- what a plugin tells about itself -------------------------------------

#define PTQC_DEVICE_USABLE   1u
#define PTQC_DEVICE_UNUSABLE 2u // present, `reason` says why not

typedef struct ptqc_device {
    ptqc_hdr h;
    ptqc_str id;     // "cpu:0"; stable across runs
    ptqc_str name;   // for people
    ptqc_str target; // what compile would be told: "cpu;vnni"
    ptqc_str reason; // of being unusable
    uint32_t state;  // PTQC_DEVICE_*
    uint32_t flags;  // PTQC_DEVICE_HOST_MEMORY
    uint64_t memory_bytes;
} ptqc_device;

// Bindings of submit are plain host memory; buf_* are not needed.
// Without this flag the host keeps bindings in buffers of the device.
#define PTQC_DEVICE_HOST_MEMORY 1u

typedef struct ptqc_target {
    ptqc_hdr h;
    ptqc_str name;    // accepted by --target: "cpu", "cpu;avx2"
    ptqc_str summary; // one line
} ptqc_target;

// Masks over ptqc_dtype: bit number = dtype.
#define PTQC_DTYPE_BIT(dtype) (UINT64_C(1) << (dtype))

// How codes of an operand share scales.
#define PTQC_GRAN_NONE    0u // not quantized
#define PTQC_GRAN_TENSOR  1u // one scale
#define PTQC_GRAN_CHANNEL 2u // one per index of `axis`
#define PTQC_GRAN_GROUP   3u // one per `group` consecutive indices of `axis`
#define PTQC_GRAN_TOKEN   4u // one per row (all axes but the last), dynamic
#define PTQC_GRAN_BIT(g)  (1u << (g))

#define PTQC_ROLE_INPUT  0u
#define PTQC_ROLE_OUTPUT 1u

// What one operand of a rule may look like.
typedef struct ptqc_operand_rule {
    ptqc_hdr h;
    uint32_t role;           // PTQC_ROLE_*
    uint32_t index;          // operand position
    uint64_t dtypes;         // mask; 0 = operand must be absent
    uint32_t granularities;  // mask of PTQC_GRAN_BIT
    uint32_t flags;          // PTQC_OPERAND_*
    uint32_t group_sizes[8]; // allowed groups, 0-terminated; empty = any
} ptqc_operand_rule;

#define PTQC_OPERAND_OPTIONAL 1u
#define PTQC_OPERAND_CONSTANT 2u // only as a constant
#define PTQC_OPERAND_SYMMETRIC                                                 \
    4u // zero point must be zero (the middle code
       // for unsigned storage)

#define PTQC_NUMERICS_BIT_EXACT 1u // equals the reference interpreter
#define PTQC_NUMERICS_TOLERANCE 2u // ||out - ref|| <= tolerance * ||ref||

// One kernel family: an op and what its operands may be. A node that a rule
// admits passes check; what check admits, compile delivers.
typedef struct ptqc_rule {
    ptqc_hdr h;
    ptqc_str op; // name as in graph_block.h
    const ptqc_operand_rule *operands;
    uint32_t operand_count;
    uint32_t operand_stride; // bytes
    uint32_t numerics;       // PTQC_NUMERICS_*
    float tolerance;
    uint32_t rank_min, rank_max; // of input 0; 0 = no bound
    uint32_t flags;
    uint32_t reserved;
} ptqc_rule;

// Answer of check for one node that is NOT accepted.
typedef struct ptqc_verdict {
    ptqc_hdr h;
    uint32_t node; // index in the block
    uint32_t reserved;
    ptqc_str reason; // "resize: cubic mode"
} ptqc_verdict;

// A set of nodes the plugin wants as one program (plan).
typedef struct ptqc_claim {
    ptqc_hdr h;
    const uint32_t *nodes;
    uint64_t node_count;
    double estimated_us; // 0 = unknown
} ptqc_claim;

// A constant in the plugin's own layout, emitted by compile. The host stores
// it once per content, 64-byte aligned, and hands it back at load under the
// index of its emission (0, 1, ...).
typedef struct ptqc_packed_constant {
    ptqc_hdr h;
    uint64_t source_id; // graph constant it was made of; 0 = of several
    ptqc_str layout;    // "cpu.strip16.s8.v1"
    ptqc_bytes data;
} ptqc_packed_constant;

// The program, emitted once by compile. Little-endian, plugin-private, to be
// validated by load like any hostile input.
typedef struct ptqc_blob {
    ptqc_hdr h;
    ptqc_bytes data;
} ptqc_blob;

// Text for people that compile may emit besides: kernels before another
// compiler takes them. The host keeps it when the user wants to see it.
typedef struct ptqc_text {
    ptqc_hdr h;
    ptqc_str name; // a file name, letters, digits, "_" and "."
    ptqc_str text;
} ptqc_text;

// ---- running --------------------------------------------------------------

// One entry of compile: a graph block whose boundary lists give the order of
// the bindings: inputs, then states, then outputs.
typedef struct ptqc_entry {
    ptqc_str name; // "main", "prefill", "decode"
    ptqc_bytes graph;
} ptqc_entry;

// What one boundary value must look like in memory.
typedef struct ptqc_buffer_need {
    ptqc_hdr h;
    uint64_t bytes; // at least
    uint64_t align; // power of two
} ptqc_buffer_need;

// Emitted by `needs`; ptqc_buffer_need records follow, one per binding.
typedef struct ptqc_needs {
    ptqc_hdr h;
    uint64_t workspace_bytes;
    uint64_t workspace_align;
} ptqc_needs;

typedef struct ptqc_binding {
    void *host;       // host memory devices: the bytes themselves
    ptqc_buffer *buf; // other devices
    uint64_t offset;  // into buf; 0 for host memory
    uint64_t bytes;
} ptqc_binding;

// Time spent per step of a submit, when asked for with PTQC_SUBMIT_PROFILE.
typedef struct ptqc_step_profile {
    ptqc_str label; // "conv 3x3 64->64 u8s8"
    uint64_t ns;
    uint64_t ops;   // multiply-add counts 2
    uint64_t bytes; // read + written
} ptqc_step_profile;
typedef void (*ptqc_profile_fn)(void *user, const ptqc_step_profile *step);

typedef struct ptqc_submit {
    ptqc_hdr h;
    const ptqc_binding *bindings; // inputs, states, outputs of the entry
    uint64_t binding_count;
    ptqc_binding workspace;
    ptqc_profile_fn profile; // NULL = none
    void *profile_user;
} ptqc_submit;

// ---- the plugin's table ---------------------------------------------------

// Optional slots may be NULL: targets' `plan` (this host never asks it and
// groups accepted nodes), and buf_* when every device has
// PTQC_DEVICE_HOST_MEMORY.
typedef struct ptqc_plugin_vt {
    ptqc_hdr h;
    ptqc_be_status (*create)(ptqc_call *call, const ptqc_host *host,
                             ptqc_instance **out);
    void (*destroy)(ptqc_instance *inst); // everything else freed before
    ptqc_be_status (*devices)(ptqc_call *call, ptqc_instance *inst,
                              ptqc_sink *sink); // ptqc_device
    ptqc_be_status (*targets)(ptqc_call *call, ptqc_instance *inst,
                              ptqc_sink *sink); // ptqc_target
    ptqc_be_status (*rules)(ptqc_call *call, ptqc_instance *inst,
                            ptqc_str target, ptqc_sink *sink); // ptqc_rule
    // Emits a ptqc_verdict for each of `nodes` that it does not take.
    // UNSUPPORTED: the target itself is unknown.
    ptqc_be_status (*check)(ptqc_call *call, ptqc_instance *inst,
                            ptqc_str target, ptqc_bytes graph,
                            const uint32_t *nodes, uint64_t node_count,
                            ptqc_sink *sink);
    ptqc_be_status (*plan)(ptqc_call *call, ptqc_instance *inst,
                           ptqc_str target, ptqc_bytes graph,
                           ptqc_sink *sink); // ptqc_claim
    // All entries over one set of constants: emits ptqc_packed_constant
    // records and then one ptqc_blob. Same input, same bytes.
    ptqc_be_status (*compile)(ptqc_call *call, ptqc_instance *inst,
                              ptqc_str target, const ptqc_entry *entries,
                              uint64_t entry_count, ptqc_sink *sink);
    // device: an id from `devices`, with ";CAP" behind it when the user caps
    // the target ("cpu:0;avx2"). `constants` (the emitted ones, in order) and
    // their bytes stay valid as long as the exe.
    ptqc_be_status (*load)(ptqc_call *call, ptqc_instance *inst,
                           ptqc_str device, ptqc_bytes blob,
                           const ptqc_bytes *constants, uint64_t constant_count,
                           ptqc_exe **out);
    void (*exe_free)(ptqc_exe *exe);
    // dims[i] = value of symbol i of the entry's graph block.
    ptqc_be_status (*specialize)(ptqc_call *call, ptqc_exe *exe, uint32_t entry,
                                 const int64_t *dims, uint64_t dim_count,
                                 ptqc_spec **out);
    ptqc_be_status (*needs)(ptqc_call *call, ptqc_spec *spec, ptqc_sink *sink);
    void (*spec_free)(ptqc_spec *spec);
    // Runs to completion. Must not allocate.
    ptqc_be_status (*submit)(ptqc_call *call, ptqc_spec *spec,
                             const ptqc_submit *submit);
    // Memory of a device without PTQC_DEVICE_HOST_MEMORY, filled with zeros.
    // Bindings and the workspace of its programs lie in such buffers
    // (ptqc_binding.buf); the host writes and reads them by the functions
    // below, while no submit of theirs runs. bytes may be 0.
    ptqc_be_status (*buf_alloc)(ptqc_call *call, ptqc_instance *inst,
                                ptqc_str device, uint64_t bytes, uint64_t align,
                                ptqc_buffer **out);
    void (*buf_free)(ptqc_buffer *buf);
    ptqc_be_status (*buf_write)(ptqc_call *call, ptqc_buffer *buf,
                                uint64_t offset, ptqc_bytes from);
    ptqc_be_status (*buf_read)(ptqc_call *call, ptqc_buffer *buf,
                               uint64_t offset, void *to, uint64_t bytes);
} ptqc_plugin_vt;

typedef struct ptqc_plugin {
    ptqc_hdr h;
    uint32_t abi_version; // PTQC_ABI_VERSION the plugin was built for
    uint32_t flags;       // PTQC_PLUGIN_*
    ptqc_str name;        // "cpu"
    ptqc_str vendor;
    ptqc_str version; // of the plugin, with its compiler: "0.1.0 (LLVM 19.1.7)"
    const ptqc_plugin_vt *vt;
} ptqc_plugin;

#define PTQC_PLUGIN_UNLOADABLE 1u // dlclose after destroy is safe

// Signature of ptqc_plugin_query_v0. Pure: no I/O, threads or allocation.
// Fills *out even when offer->abi_version differs, so that the host can name
// both versions.
typedef ptqc_be_status (*ptqc_plugin_query_fn)(const ptqc_host *offer,
                                               const ptqc_plugin **out);

#if defined(__cplusplus)
}
#endif
#endif
