// SPDX-License-Identifier: Apache-2.0
//
// Artifacts of arbitrary bytes: opening must refuse or succeed, never read
// outside the bytes; what opens is asked for everything, gets a session over
// the fake plugin of the runtime's tests and is run. Each input is tried as
// it is and with its checksums made right.
#include <stdlib.h>
#include <string.h>

#include "base/ctx.h"
#include "tests/unit/runtime/checksums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TENSORS 8

static void
touch(const void *p, size_t n)
{
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum = (uint8_t)(sum + ((const uint8_t *)p)[i]);
    }
}

static void
look_at(const ptqc_artifact *a)
{
    ptqc_tensor_info info;
    const char *meta = ptqc_artifact_metadata(a);
    touch(meta, strlen(meta));
    for (uint32_t i = 0; i < ptqc_artifact_input_count(a); i++) {
        ptqc_artifact_input(a, i, &info);
        touch(info.name, strlen(info.name));
    }
    for (uint32_t i = 0; i < ptqc_artifact_output_count(a); i++) {
        ptqc_artifact_output(a, i, &info);
        touch(info.name, strlen(info.name));
    }
    for (uint32_t i = 0; i < a->program_count; i++) {
        const pq_file_program *p = &a->programs[i];
        ptqc_bytes blob = pq_artifact_blob(a, p);
        touch(blob.p, blob.n);
        touch(pq_artifact_text(a, p->plugin_offset, p->plugin_bytes).p,
              p->plugin_bytes);
    }
    for (uint32_t i = 0; i < a->constant_count; i++) {
        ptqc_bytes c = pq_artifact_constant(a, i);
        touch(c.p, c.n);
    }
}

#if defined(PTQC_FAKE_DIR)
// Inputs as the artifact describes them, symbols `n`.
static void
run(ptqc_session *s, const ptqc_artifact *a, int64_t n)
{
    static float zeros[1 << 12];
    ptqc_tensor inputs[TENSORS] = {{0}}, outputs[TENSORS] = {{0}};
    uint32_t ins = ptqc_artifact_input_count(a);
    uint32_t outs = ptqc_artifact_output_count(a);
    if (ins > TENSORS || outs > TENSORS) {
        return;
    }
    for (uint32_t i = 0; i < ins; i++) {
        ptqc_tensor_info info;
        ptqc_artifact_input(a, i, &info);
        inputs[i].dtype = info.dtype;
        inputs[i].rank = info.rank;
        for (uint32_t d = 0; d < info.rank; d++) {
            inputs[i].dims[d] = info.dims[d] < 0 ? n : info.dims[d];
        }
        inputs[i].data = zeros;
        inputs[i].bytes = sizeof zeros;
    }
    if (ptqc_session_run(s, inputs, ins, outputs, outs) == PTQC_OK) {
        for (uint32_t i = 0; i < outs; i++) {
            touch(outputs[i].data, outputs[i].bytes);
        }
    }
}

static void
try_session(ptqc_ctx *ctx, const ptqc_artifact *a)
{
    static const char *const dirs[] = {PTQC_FAKE_DIR "/fake"};
    const ptqc_session_desc desc = {.backends = {dirs, 1}};
    ptqc_session *s = NULL;
    if (ptqc_session_create(ctx, a, &desc, &s) == PTQC_OK) {
        run(s, a, 1);
        run(s, a, 3);
    }
    ptqc_session_destroy(s);
}
#else
static void
try_session(ptqc_ctx *ctx, const ptqc_artifact *a)
{
    (void)ctx;
    (void)a;
}
#endif

static void
try_bytes(ptqc_ctx *ctx, const void *p, size_t n)
{
    ptqc_artifact *a = NULL;
    if (ptqc_artifact_open_memory(ctx, p, n, &a) == PTQC_OK) {
        look_at(a);
        try_session(ctx, a);
    }
    ptqc_artifact_close(a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ptqc_ctx *ctx = NULL;
    const ptqc_ctx_desc desc = {.threads = 1,
                                .memory_limit_bytes = UINT64_C(256) << 20};
    if (ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    uint8_t *copy = NULL; // exactly `size` bytes, 64-byte aligned
    if (posix_memalign((void **)&copy, 64, size + (size == 0)) == 0) {
        if (size > 0) {
            memcpy(copy, data, size);
        }
        try_bytes(ctx, copy, size);
        pq_fix_checksums(ctx, copy, size);
        try_bytes(ctx, copy, size);
    }
    free(copy);
    if (pq_live_bytes(ctx) != 0) {
        abort(); // something is leaked
    }
    ptqc_ctx_destroy(ctx);
    return 0;
}
