// SPDX-License-Identifier: Apache-2.0
//
// The index of a sharded model from hostile bytes: the bytes are
// model.safetensors.index.json of a folder with a config.json and two shards
// that are good. Whatever they are: a graph that verifies, problems, or one
// error that is the file's fault, and all memory comes back.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/ctx.h"
#include "frontend/import.h"
#include "tests/fuzz/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":4,"
    "\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":2,\"vocab_size\":3,"
    "\"max_position_embeddings\":16,\"tie_word_embeddings\":true}";

// Name, rows, columns (0: a vector) and shard of every tensor.
#define BLOCK "model.layers.0."
static const struct {
    const char *name;
    int rows, columns, shard;
} tensors[] = {
    {"model.embed_tokens.weight", 3, 8, 0},
    {"model.norm.weight", 8, 0, 1},
    {BLOCK "input_layernorm.weight", 8, 0, 0},
    {BLOCK "self_attn.q_proj.weight", 8, 8, 0},
    {BLOCK "self_attn.k_proj.weight", 8, 8, 0},
    {BLOCK "self_attn.v_proj.weight", 8, 8, 0},
    {BLOCK "self_attn.o_proj.weight", 8, 8, 1},
    {BLOCK "post_attention_layernorm.weight", 8, 0, 1},
    {BLOCK "mlp.gate_proj.weight", 4, 8, 1},
    {BLOCK "mlp.up_proj.weight", 4, 8, 1},
    {BLOCK "mlp.down_proj.weight", 8, 4, 1},
};

static char folder[] = "/tmp/ptqc-fuzz-XXXXXX";
static const char *const names[] = {"config.json", "a.safetensors",
                                    "b.safetensors",
                                    "model.safetensors.index.json"};

static void
write_file(const char *name, const void *p, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, p, n) != (ssize_t)n) {
        perror(path);
        abort();
    }
    close(fd);
}

static void
write_shard(int shard)
{
    uint8_t file[4096] = {0};
    char *header = (char *)file + 8;
    size_t n = 0, data = 0, room = sizeof file - 8;
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        if (tensors[i].shard != shard) {
            continue;
        }
        int columns = tensors[i].columns, rows = tensors[i].rows;
        size_t bytes = 2 * (size_t)(rows * (columns == 0 ? 1 : columns));
        char shape[32];
        snprintf(shape, sizeof shape, columns == 0 ? "%d" : "%d,%d", rows,
                 columns);
        n += (size_t)snprintf(header + n, room - n,
                              "%c\"%s\":{\"dtype\":\"F16\",\"shape\":[%s],"
                              "\"data_offsets\":[%zu,%zu]}",
                              n == 0 ? '{' : ',', tensors[i].name, shape, data,
                              data + bytes);
        data += bytes;
    }
    header[n++] = '}';
    pq_store_le64(file, n);
    memset(file + 8 + n, 0, data);
    write_file(names[1 + shard], file, 8 + n + data);
}

static void
remove_folder(void)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (mkdtemp(folder) == NULL) {
        perror(folder);
        abort();
    }
    atexit(remove_folder);
    write_file(names[0], config, sizeof config - 1);
    write_shard(0);
    write_shard(1);
    return 0;
}

static void
import(ptqc_ctx *ctx, const said *s)
{
    const pq_import_options options = {.no_hash = true};
    pq_model *model = NULL;
    ptqc_status st = pq_import_check(ctx, folder, &options, &model);
    judge_import(st, model, false, s);
    pq_model_destroy(model);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    said s = {0};
    const ptqc_ctx_desc desc = fuzz_context(&s);
    ptqc_ctx *ctx;
    if (ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    write_file(names[3], p, n);
    import(ctx, &s);
    expect(pq_live_bytes(ctx) == 0, "memory comes back", PTQC_OK, &s);
    ptqc_ctx_destroy(ctx);
    return 0;
}
