// SPDX-License-Identifier: Apache-2.0
//
// Plugins: found by manifest (NAME.ptqc.json beside the .so), loaded once per
// set, called through thin wrappers that translate status and diagnostics.
// Searched: the given directories, then the compiled-in one; never the
// current directory. Names are sorted, the first of a name wins.
#ifndef PTQC_RUNTIME_PLUGINS_H
#define PTQC_RUNTIME_PLUGINS_H

#include "ptqc/backend.h"
#include "ptqc/runtime.h"

#include "base/str.h"

typedef struct pq_plugins pq_plugins; // the set, with its host services

typedef struct pq_plugin {
    char *name;               // from the manifest
    char *version;            // from the loaded plugin, else the manifest
    char *path;               // of the .so, absolute
    const ptqc_plugin *table; // NULL until loaded
    ptqc_instance *instance;  // NULL until created
    char *failure; // why it cannot be used; NULL = usable or not tried
} pq_plugin;

// Reads manifests only. Unreadable directories: PTQC_E_IO for given ones,
// silence for the compiled-in one.
PTQC_MUST_USE ptqc_status pq_plugins_create(ptqc_ctx *ctx,
                                            const ptqc_backend_dirs *dirs,
                                            pq_plugins **out);
void pq_plugins_destroy(pq_plugins *set); // NULL allowed
uint32_t pq_plugins_count(const pq_plugins *set);
pq_plugin *pq_plugins_at(pq_plugins *set, uint32_t i);
pq_plugin *pq_plugins_find(pq_plugins *set, pq_str name); // or NULL
// dlopen, query, version check, create. PTQC_E_BACKEND with the reason, said
// once (and remembered in `failure`).
PTQC_MUST_USE ptqc_status pq_plugin_load(pq_plugins *set, pq_plugin *plugin);
// Loads one .so that need not have a manifest (the conformance kit).
PTQC_MUST_USE ptqc_status pq_plugins_add_file(pq_plugins *set, const char *path,
                                              pq_plugin **out);

// One call into a plugin: what ptqc_call is on the host's side. Diagnostics
// are kept so that a failed call says exactly one error.
struct ptqc_call {
    ptqc_ctx *ctx;
    const char *plugin;  // for messages
    uint64_t fail_count; // of the context when the call began
    bool is_short;       // constant_map had no memory, and has said it
    char text[1024];     // last error diagnostic
    char hint[512];
    const void *(*constant_map)(void *user, uint64_t id, uint64_t *out_bytes);
    void (*constant_release)(void *user, uint64_t id); // NULL: nothing to do
    void *constant_user;
};

// `sink` of a call: emit gets every record.
struct ptqc_sink {
    ptqc_be_status (*emit)(void *user, const ptqc_hdr *record);
    void *user;
};

void pq_call_init(ptqc_call *call, ptqc_ctx *ctx, const pq_plugin *plugin);
// PTQC_OK, or says the call's error ("plugin cpu: ...", with `doing` as the
// context) and translates the status. Memory that was short has been said by
// the host already: PTQC_E_RESOURCE and nothing more, whatever the plugin made
// of a constant that could not be mapped.
PTQC_MUST_USE ptqc_status pq_call_end(ptqc_call *call, ptqc_be_status status,
                                      const char *doing);
// Copies a record of `from` bytes into a zeroed one of `size` (the ABI's
// reader rule).
void pq_record_read(void *to, size_t size, const ptqc_hdr *record);

// A target as the user writes it: "cpu", "cpu;avx2", "vulkan:1".
typedef struct pq_target_text {
    pq_str plugin; // "vulkan"
    pq_str target; // "cpu;avx2": what the plugin is told
    int device;    // -1: any
} pq_target_text;
PTQC_MUST_USE ptqc_status pq_target_parse(ptqc_ctx *ctx, pq_str text,
                                          pq_target_text *out);

#endif
