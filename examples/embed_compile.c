// SPDX-License-Identifier: Apache-2.0
//
// Compiles a model from inside another program:
//
//   embed_compile MODEL.onnx OUT.ptqc [TARGET [BACKEND_DIR]]
//
// Quantizes nothing; desc.scheme = "w8a8" with desc.samples would. Prints the
// artifact's metadata: which plugin got what.
#include <ptqc/ptqc.h>
#include <stdio.h>
#include <stdlib.h>

static void
print_diag(void *user, ptqc_severity severity, ptqc_status status,
           const char *text)
{
    (void)user;
    (void)status;
    (void)fprintf(stderr, "%s%s\n",
                  severity == PTQC_SEVERITY_ERROR ? "error: " : "", text);
}

static void
print_report(void *user, const char *metadata, uint64_t bytes)
{
    (void)user;
    printf("%s\n%llu bytes\n", metadata, (unsigned long long)bytes);
}

int
main(int argc, char **argv)
{
    if (argc < 3 || argc > 5) {
        (void)fprintf(stderr, "usage: %s MODEL OUT [TARGET [BACKEND_DIR]]\n",
                      argv[0]);
        return PTQC_E_USAGE;
    }
    const char *dirs[] = {argc > 4 ? argv[4] : NULL};
    const ptqc_ctx_desc ctx_desc = {.diag = print_diag};
    const ptqc_compile_desc desc = {
        .target = argc > 3 ? argv[3] : NULL,
        .backends = {.dirs = dirs, .dir_count = argc > 4 ? 1 : 0},
        .report = print_report,
    };
    ptqc_ctx *ctx = NULL;
    ptqc_model *model = NULL;
    ptqc_status st = ptqc_ctx_create(&ctx_desc, &ctx);
    if (st == PTQC_OK) {
        st = ptqc_model_open(ctx, argv[1], &model);
    }
    if (st == PTQC_OK) {
        st =
            ptqc_compile_file(ctx, model, &desc, argv[2], PTQC_COMPILE_REPLACE);
    }
    ptqc_model_close(model);
    ptqc_ctx_destroy(ctx);
    return (int)st;
}
