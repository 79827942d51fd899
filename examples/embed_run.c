// SPDX-License-Identifier: Apache-2.0
//
// Runs an artifact from inside another program, with the runtime library
// alone:
//
//   embed_run MODEL.ptqc [BACKEND_DIR]
//
// Inputs are a fixed ramp; symbolic dimensions are 1. Prints the first
// numbers of each output.
#include <ptqc/runtime.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define TENSORS 16

static void
print_diag(void *user, ptqc_severity severity, ptqc_status status,
           const char *text)
{
    (void)user;
    (void)status;
    (void)fprintf(stderr, "%s%s\n",
                  severity == PTQC_SEVERITY_ERROR ? "error: " : "", text);
}

// A tensor as the artifact describes it, of f32 or of bytes.
static int
make_input(const ptqc_tensor_info *info, ptqc_tensor *out)
{
    size_t count = 1;
    *out = (ptqc_tensor){.dtype = info->dtype, .rank = info->rank};
    for (uint32_t d = 0; d < info->rank; d++) {
        out->dims[d] = info->dims[d] < 0 ? 1 : info->dims[d];
        count *= (size_t)out->dims[d];
    }
    out->bytes = info->dtype == PTQC_F32 ? count * sizeof(float) : count * 8;
    out->data = calloc(1, out->bytes + 1);
    for (size_t i = 0;
         out->data != NULL && info->dtype == PTQC_F32 && i < count; i++) {
        ((float *)out->data)[i] = (float)(i % 17) / 17.0f;
    }
    return out->data != NULL;
}

static void
print_output(const ptqc_tensor_info *info, const ptqc_tensor *t)
{
    size_t count = t->dtype == PTQC_F32 ? t->bytes / sizeof(float) : 0;
    printf("%s:", info->name);
    for (size_t i = 0; i < count && i < 10; i++) {
        printf(" %g", (double)((const float *)t->data)[i]);
    }
    printf(" (%zu bytes)\n", t->bytes);
}

static ptqc_status
run(ptqc_session *session, const ptqc_artifact *artifact)
{
    ptqc_tensor inputs[TENSORS] = {{0}}, outputs[TENSORS] = {{0}};
    ptqc_tensor_info info;
    uint32_t ins = ptqc_artifact_input_count(artifact);
    uint32_t outs = ptqc_artifact_output_count(artifact);
    ptqc_status st =
        ins <= TENSORS && outs <= TENSORS ? PTQC_OK : PTQC_E_UNSUPPORTED;
    for (uint32_t i = 0; i < ins && st == PTQC_OK; i++) {
        ptqc_artifact_input(artifact, i, &info);
        st = make_input(&info, &inputs[i]) ? PTQC_OK : PTQC_E_RESOURCE;
    }
    if (st == PTQC_OK) { // outputs: data = NULL, so memory of the session
        st = ptqc_session_run(session, inputs, ins, outputs, outs);
    }
    for (uint32_t i = 0; i < outs && st == PTQC_OK; i++) {
        ptqc_artifact_output(artifact, i, &info);
        print_output(&info, &outputs[i]);
    }
    for (uint32_t i = 0; i < ins && i < TENSORS; i++) {
        free(inputs[i].data);
    }
    return st;
}

int
main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: %s ARTIFACT [BACKEND_DIR]\n", argv[0]);
        return PTQC_E_USAGE;
    }
    const char *dirs[] = {argc > 2 ? argv[2] : NULL};
    const ptqc_ctx_desc ctx_desc = {.diag = print_diag};
    const ptqc_session_desc desc = {
        .backends = {.dirs = dirs, .dir_count = argc > 2 ? 1 : 0}};
    ptqc_ctx *ctx = NULL;
    ptqc_artifact *artifact = NULL;
    ptqc_session *session = NULL;
    ptqc_status st = ptqc_ctx_create(&ctx_desc, &ctx);
    if (st == PTQC_OK) {
        st = ptqc_artifact_open(ctx, argv[1], &artifact);
    }
    if (st == PTQC_OK) {
        st = ptqc_session_create(ctx, artifact, &desc, &session);
    }
    if (st == PTQC_OK) {
        st = run(session, artifact);
    }
    ptqc_session_destroy(session);
    ptqc_artifact_close(artifact);
    ptqc_ctx_destroy(ctx);
    return (int)st;
}
