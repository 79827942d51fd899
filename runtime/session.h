// SPDX-License-Identifier: Apache-2.0
//
// The inside of a session. A *shape* is the plan prepared for one set of
// symbol values: specs, buffers and bindings; the last few are kept. Programs
// run in *memories*: the host's, or one of a device that has its own; the
// transfers between them are planned once.
#ifndef PTQC_RUNTIME_SESSION_H
#define PTQC_RUNTIME_SESSION_H

#include "runtime/container.h"
#include "runtime/plugins.h"
#include "runtime/resident.h"
#include "runtime/storage.h"

// Context of a language model when nobody says otherwise, in tokens.
#define PQ_DEFAULT_CONTEXT 4096

#define PQ_SHAPE_LIMIT 4u // prepared shapes kept per session

typedef struct pq_session_program {
    pq_plugin *plugin;     // borrowed from the set
    ptqc_exe *exe;         // owned
    ptqc_bytes *constants; // owned; handed to load
    uint32_t memory;       // in which its bindings lie
} pq_session_program;

// One boundary value of the plan for one shape.
typedef struct pq_slot {
    ptqc_tensor tensor;  // dtype, dims, bytes; data = where the host has it
    uint64_t need_bytes; // the largest of all users
    uint64_t need_align;
    bool is_state; // its storage is the session's
} pq_slot;

typedef struct pq_shape_step {
    ptqc_spec *spec;        // owned
    ptqc_binding *bindings; // owned: inputs, then outputs
    uint32_t binding_count;
} pq_shape_step;

typedef struct pq_shape {
    int64_t *symbols;     // owned: [symbol count of IFACE]
    int64_t *dims;        // owned: [dim count of IFACE] evaluated
    pq_slot *slots;       // owned: [value count of IFACE]
    pq_shape_step *steps; // owned: [step count]
    pq_storage *storages; // owned: [memory count][value count]
    // owned: [memory count], each shared by all steps of its memory
    pq_storage *workspaces;
    uint64_t *workspace_bytes;
    uint64_t last_used;
} pq_shape;

// Memory of one state (KV cache), for all shapes.
typedef struct pq_state {
    pq_storage storage; // owned
    uint64_t bytes, align;
    uint32_t memory; // of the program that has it
    bool is_used;    // some step has it
    bool is_stale;   // to be zeroed before the next run
} pq_state;

// One copy of a value from memory to memory.
typedef struct pq_transfer {
    uint32_t value, from, to;
} pq_transfer;

typedef struct pq_transfers {
    pq_transfer *list; // owned
    // owned: [step count + 2], those before step i are list[first[i]] to
    // list[first[i + 1]]; the last slice follows the last step
    uint32_t *first;
    bool *is_used; // owned: [memory count][value count] needs storage there
} pq_transfers;

struct ptqc_session {
    ptqc_ctx *ctx;                 // borrowed
    const ptqc_artifact *artifact; // borrowed, outlives the session
    pq_plugins *plugins;           // owned
    pq_session_program *programs;  // owned: [program count]
    pq_memory *memories;           // owned: [0] is the host's
    uint32_t memory_count;         // at most program count + 1
    pq_transfers transfers;        // owned
    pq_resident resident;          // owned: what programs then read
    int64_t *symbols;              // owned scratch: [symbol count]
    pq_shape shapes[PQ_SHAPE_LIMIT];
    pq_state *states; // owned: [state count of IFACE]
    uint64_t context; // value of symbols that no input tells; 0 = default
    uint64_t clock;   // runs so far
};

// Value of a symbol that only states have: the tokens asked for, rounded up to
// its multiple (more than its maximum is refused by the run), or when 0 the
// most the model allows up to the default.
int64_t pq_context_capacity(const ptqc_gb_symbol *symbol, uint64_t asked);
// The shape for session->symbols, made when it is new.
PTQC_MUST_USE ptqc_status pq_session_shape(ptqc_session *s, pq_shape **out);
void pq_shape_deinit(ptqc_session *s, pq_shape *shape);
// Where a value lies in a memory; empty when no program of it uses the value.
pq_storage *pq_shape_storage(const ptqc_session *s, const pq_shape *shape,
                             uint32_t memory, uint32_t value);

// For the loaded programs. Tells states their memory, too.
PTQC_MUST_USE ptqc_status pq_transfers_plan(ptqc_session *s, pq_transfers *out);
void pq_transfers_deinit(ptqc_ctx *ctx, pq_transfers *t);
// The copies before a step; step count: those after the last.
PTQC_MUST_USE ptqc_status pq_transfers_run(ptqc_session *s, pq_shape *shape,
                                           uint32_t step);

#endif
