// SPDX-License-Identifier: Apache-2.0
//
// A host for one plugin, in process, without files: what the compiler and the
// runtime do with a plugin, in the smallest form. One graph block is checked,
// compiled, loaded and run.
#ifndef PTQC_TESTS_PLUGIN_HOST_H
#define PTQC_TESTS_PLUGIN_HOST_H

#include "ptqc/backend.h"

#include "base/threads.h"

typedef struct pq_test_plugin pq_test_plugin;

// Bytes of a constant id; valid until the plugin is closed.
typedef const void *(*pq_test_constant_fn)(void *user, uint64_t id,
                                           uint64_t *out_bytes);

// Fails the running test when the plugin cannot be made. `pool` is borrowed.
pq_test_plugin *pq_test_plugin_open(ptqc_plugin_query_fn query, pq_pool *pool);
void pq_test_plugin_close(pq_test_plugin *p); // NULL allowed

// The host that the plugin was given.
const ptqc_host *pq_test_plugin_host(const pq_test_plugin *p);
// The last error the plugin said.
const char *pq_test_plugin_message(const pq_test_plugin *p);

// Number of nodes of the block that are declined; the reasons are in the
// message ("node 3: conv: rank\n" ...).
uint32_t pq_test_plugin_check(pq_test_plugin *p, const char *target,
                              ptqc_bytes block, pq_test_constant_fn map,
                              void *user);
// Compiles the block; keeps blob and constants until the next compile.
ptqc_be_status pq_test_plugin_compile(pq_test_plugin *p, const char *target,
                                      ptqc_bytes block, pq_test_constant_fn map,
                                      void *user);
// What compile emitted.
ptqc_bytes pq_test_plugin_blob(const pq_test_plugin *p);
uint32_t pq_test_plugin_constant_count(const pq_test_plugin *p);

// Loads and specializes what was compiled (or `blob` instead, when its p is
// not NULL).
ptqc_be_status pq_test_plugin_load(pq_test_plugin *p, ptqc_bytes blob,
                                   const int64_t *dims, uint64_t dim_count);
// Bytes a binding needs.
uint64_t pq_test_plugin_need(const pq_test_plugin *p, uint32_t binding);
// Plugins must not allocate while they run, unless this was called.
void pq_test_plugin_let_allocate(pq_test_plugin *p);
// The workspace is poisoned before, guards behind it are checked after. A
// plugin whose buffers are a device's own gets copies of the bindings, and all
// of them are copied back.
// profile may be NULL.
ptqc_be_status pq_test_plugin_run(pq_test_plugin *p,
                                  const ptqc_binding *bindings,
                                  uint64_t binding_count,
                                  ptqc_profile_fn profile, void *user);
void pq_test_plugin_unload(pq_test_plugin *p);

// Allocations the plugin made so far.
uint64_t pq_test_plugin_allocations(const pq_test_plugin *p);

#endif
