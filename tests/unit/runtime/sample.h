// SPDX-License-Identifier: Apache-2.0
//
// Small artifacts for the runtime's tests, made by hand: two inputs a and b
// of f32 [n, 3] with n in 1..64, one output y = k * a + b of the same shape,
// one program of the fake plugin (fake_plugin.c). With FAKE_STATE b is a state
// that holds the y of the run before.
#ifndef PTQC_TESTS_RUNTIME_SAMPLE_H
#define PTQC_TESTS_RUNTIME_SAMPLE_H

#include "runtime/container.h"
#include "tests/unit/runtime/fake_blob.h"

#define SAMPLE_K     2.5f
#define SAMPLE_INNER 3
#define SAMPLE_META  "{\"schema\": \"test\"}"

// A graph block without nodes; freed with pq_free.
void *pq_sample_iface(ptqc_ctx *ctx, size_t *out_count);
// Adds everything to an empty container.
PTQC_MUST_USE ptqc_status pq_sample_fill(pq_container *c, ptqc_ctx *ctx,
                                         const char *plugin, fake_mode mode);
// The container before it is written. `plugin`: name of the program's plugin.
PTQC_MUST_USE ptqc_status pq_sample_container(ptqc_ctx *ctx, const char *plugin,
                                              fake_mode mode,
                                              pq_container **out);
// Written into memory; freed with pq_free. Fails the running test when it
// cannot be made.
void *pq_sample_artifact(ptqc_ctx *ctx, const char *plugin, fake_mode mode,
                         size_t *out_count);

// Several programs one after the other: x0 = a, x(i+1) = k * x(i) + b in the
// i-th plugin; the last x is the output. In memory, as above.
#define SAMPLE_STEPS_MAX 6u
void *pq_sample_chain(ptqc_ctx *ctx, const char *const *plugins, uint32_t count,
                      size_t *out_count);

#endif
