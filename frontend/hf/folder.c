// SPDX-License-Identifier: Apache-2.0
//
// Files of a model folder. Their fixed names are opened below the folder that
// the user gave; names of shards come from the index and must be plain ones
// of files beside it.
#include <string.h>

#include "frontend/hf/hf.h"
#include "frontend/hf/safetensors.h"
#include "frontend/llm/tokens.h"

enum {
    SHARD_LIMIT = 4096,
};

typedef struct shard {
    pq_str name;
    pq_map map; // owned by the graph at the end
    pq_llm_tensors tensors;
} shard;

typedef struct importer {
    pq_model *model;
    const pq_import_options *options;
    const char *config_path; // "<folder>/config.json"
    pq_arena arena;          // dies with the import
    shard *shards;           // [shard_count]
    uint32_t shard_count;
    pq_strmap by_name;      // indices into shards
    pq_llm_tensors tensors; // of all shards
} importer;

static ptqc_status
path_in(pq_arena *arena, const char *folder, const char *name, const char **out)
{
    size_t n = strlen(folder), k = strlen(name);
    bool has_slash = n != 0 && folder[n - 1] == '/';
    char *path = pq_arena_alloc(arena, n + k + 2);
    PQ_TRY_ALLOC(path);
    memcpy(path, folder, n);
    path[n] = '/';
    memcpy(path + n + !has_slash, name, k);
    *out = path;
    return PTQC_OK;
}

// Appends to the model's list.
static ptqc_status
note_file(importer *im, const char *path, const pq_map *map)
{
    pq_model *model = im->model;
    uint32_t n = model->file_count;
    pq_import_file *all =
        pq_arena_array(&model->arena, (size_t)n + 1, sizeof *all);
    char *copy = pq_arena_strndup(&model->arena, path, strlen(path));
    if (all == NULL || copy == NULL) {
        return PTQC_E_RESOURCE;
    }
    memcpy(all, model->files, n * sizeof *all);
    all[n] = (pq_import_file){.path = pq_str_of(copy), .bytes = map->n};
    if (im->options == NULL || !im->options->no_hash) {
        PQ_TRY(pq_sha256_of(model->ctx, map->p, map->n, &all[n].sha256));
    }
    model->files = all;
    model->file_count = n + 1;
    return PTQC_OK;
}

// A file of the folder by its fixed name; an empty map when there is none.
static ptqc_status
open_optional(importer *im, const char *name, pq_map *out)
{
    bool is_there;
    pq_file_id id;
    const char *folder_end = strrchr(im->config_path, '/');
    size_t n = (size_t)(folder_end - im->config_path);
    char *folder = pq_arena_strndup(&im->arena, im->config_path, n + 1);
    const char *path;
    *out = (pq_map){0};
    PQ_TRY_ALLOC(folder);
    PQ_TRY(path_in(&im->arena, folder, name, &path));
    PQ_TRY(pq_file_identify(im->model->ctx, path, &is_there, &id));
    if (!is_there) {
        return PTQC_OK;
    }
    PQ_TRY(pq_map_open(im->model->ctx, path, out));
    ptqc_status st = note_file(im, path, out);
    if (st != PTQC_OK) {
        pq_map_close(out);
    }
    return st;
}

// ---- weights --------------------------------------------------------------

static ptqc_status
read_shard(importer *im, shard *s)
{
    char *name = pq_arena_strndup(&im->arena, s->name.p, s->name.n);
    PQ_TRY_ALLOC(name);
    return pq_safetensors_read(im->model->ctx, &im->arena, name, s->map.p,
                               s->map.n, &s->tensors);
}

static bool
is_plain_name(pq_str name)
{
    return pq_str_ends(name, ".safetensors") && name.n < 256 &&
           memchr(name.p, '/', name.n) == NULL &&
           memchr(name.p, '\\', name.n) == NULL &&
           memchr(name.p, '\0', name.n) == NULL && name.p[0] != '.';
}

// Opens and reads the shard of that name, if that has not been done.
static ptqc_status
find_shard(importer *im, pq_str name, shard **out)
{
    uint64_t i;
    ptqc_ctx *ctx = im->model->ctx;
    if (pq_strmap_find(&im->by_name, name, &i)) {
        *out = &im->shards[i];
        return PTQC_OK;
    }
    if (!is_plain_name(name)) {
        return PQ_FAIL(ctx, PTQC_E_INPUT,
                       "%s: weight_map: expected the plain name of a "
                       ".safetensors file, found '%.*s'",
                       im->config_path, PQ_STR_ARG(name));
    }
    if (im->shard_count == SHARD_LIMIT) {
        return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                       "%s: more than %d weight files are not supported",
                       im->config_path, SHARD_LIMIT);
    }
    char *copy = pq_arena_strndup(&im->arena, name.p, name.n);
    PQ_TRY_ALLOC(copy);
    shard *s = &im->shards[im->shard_count];
    s->name = pq_str_of(copy);
    ptqc_status st = pq_map_open_beside(ctx, im->config_path, copy, &s->map);
    if (st != PTQC_OK) {
        return st == PTQC_E_IO ? PTQC_E_INPUT : st;
    }
    PQ_TRY(pq_strmap_set(&im->by_name, s->name, im->shard_count++, NULL));
    PQ_TRY(note_file(im, copy, &s->map));
    *out = s;
    return read_shard(im, s);
}

static ptqc_status
add_tensor(importer *im, const pq_llm_tensor *t)
{
    uint32_t i = im->tensors.count++;
    im->tensors.p[i] = *t;
    return pq_strmap_set(&im->tensors.by_name, t->name, i, NULL);
}

static ptqc_status
read_map(importer *im, const pq_json *map)
{
    pq_json_iter it = {0};
    pq_str name, file;
    const pq_json *value;
    shard *s;
    if (!pq_json_is_object(map)) {
        return PQ_FAIL(im->model->ctx, PTQC_E_INPUT,
                       "%s: the index of the weights: expected an object as "
                       "'weight_map'",
                       im->config_path);
    }
    im->tensors.p = pq_arena_array(&im->arena, pq_json_member_count(map),
                                   sizeof *im->tensors.p);
    PQ_TRY_ALLOC(im->tensors.p);
    while (pq_json_next(map, &it, &name, &value)) {
        if (!pq_json_str(value, &file)) {
            return PQ_FAIL(im->model->ctx, PTQC_E_INPUT,
                           "%s: weight_map: expected a file name for '%.*s'",
                           im->config_path, PQ_STR_ARG(name));
        }
        PQ_TRY(find_shard(im, file, &s));
        const pq_llm_tensor *t = pq_llm_tensor_find(&s->tensors, name);
        if (t == NULL) {
            return PQ_FAIL(im->model->ctx, PTQC_E_INPUT,
                           "%s: weight_map says that '%.*s' holds the tensor "
                           "'%.*s', it does not",
                           im->config_path, PQ_STR_ARG(file), PQ_STR_ARG(name));
        }
        PQ_TRY(add_tensor(im, t));
    }
    return PTQC_OK;
}

static ptqc_status
read_index(importer *im, const pq_map *index)
{
    pq_json *root;
    im->shards = pq_arena_array(&im->arena, SHARD_LIMIT, sizeof *im->shards);
    PQ_TRY_ALLOC(im->shards);
    PQ_TRY(pq_json_parse(im->model->ctx, "model.safetensors.index.json",
                         (pq_str){(const char *)index->p, index->n}, &root));
    ptqc_status st = read_map(im, pq_json_get(root, "weight_map"));
    pq_json_free(root);
    return st;
}

// One file holds all.
static ptqc_status
read_single(importer *im, pq_map map)
{
    im->shards = pq_arena_array(&im->arena, 1, sizeof *im->shards);
    if (im->shards == NULL) {
        pq_map_close(&map);
        return PTQC_E_RESOURCE;
    }
    im->shards[0] = (shard){.name = PQ_STR("model.safetensors"), .map = map};
    im->shard_count = 1;
    PQ_TRY(read_shard(im, &im->shards[0]));
    const pq_llm_tensors *all = &im->shards[0].tensors;
    im->tensors.p = all->p;
    for (uint32_t i = 0; i < all->count; i++) {
        PQ_TRY(add_tensor(im, &all->p[i]));
    }
    return PTQC_OK;
}

static ptqc_status
read_weights(importer *im)
{
    pq_map single, index;
    PQ_TRY(open_optional(im, "model.safetensors", &single));
    if (single.n != 0) {
        return read_single(im, single);
    }
    PQ_TRY(open_optional(im, "model.safetensors.index.json", &index));
    if (index.n == 0) {
        return PQ_FAIL(im->model->ctx, PTQC_E_INPUT,
                       "%s: there is neither model.safetensors nor "
                       "model.safetensors.index.json beside it, or it is "
                       "empty",
                       im->config_path);
    }
    ptqc_status st = read_index(im, &index);
    pq_map_close(&index);
    return st;
}

// ---- tokenizer ------------------------------------------------------------

typedef struct tokenizer_texts {
    pq_map json, config;
} tokenizer_texts;

static ptqc_status
make_tokenizer(void *user, ptqc_ctx *ctx, pq_tokenizer **out)
{
    const tokenizer_texts *t = user;
    return pq_tokenizer_from_json(
        ctx, "tokenizer.json", (pq_str){(const char *)t->json.p, t->json.n},
        (pq_str){(const char *)t->config.p, t->config.n}, out);
}

static ptqc_status
read_tokenizer(importer *im)
{
    tokenizer_texts t = {0};
    ptqc_status st = open_optional(im, "tokenizer.json", &t.json);
    if (st == PTQC_OK && t.json.n != 0) {
        st = open_optional(im, "tokenizer_config.json", &t.config);
        if (st == PTQC_OK) {
            st = pq_llm_adopt_tokenizer(im->model, make_tokenizer, &t);
        }
    }
    pq_map_close(&t.json);
    pq_map_close(&t.config);
    return st;
}

// ---- the whole ------------------------------------------------------------

// The graph's constants point into the maps.
static ptqc_status
give_maps(importer *im)
{
    for (uint32_t i = 0; i < im->shard_count; i++) {
        PQ_TRY(pq_graph_adopt_map(im->model->graph, im->shards[i].map));
        im->shards[i].map = (pq_map){0};
    }
    return PTQC_OK;
}

static ptqc_status
read_config(importer *im, const pq_llm_architecture **out_known,
            pq_llm_params *params)
{
    pq_map map;
    PQ_TRY(pq_map_open(im->model->ctx, im->config_path, &map));
    im->model->files[0].bytes = map.n;
    ptqc_status st = PTQC_OK;
    if (im->options == NULL || !im->options->no_hash) {
        st = pq_sha256_of(im->model->ctx, map.p, map.n,
                          &im->model->files[0].sha256);
    }
    if (st == PTQC_OK) {
        st = pq_hf_read_config(im->model, im->config_path,
                               (pq_str){(const char *)map.p, map.n}, out_known,
                               params);
    }
    pq_map_close(&map);
    return st;
}

static ptqc_status
import(importer *im)
{
    pq_model *model = im->model;
    const pq_llm_architecture *known;
    pq_llm_params params;
    PQ_TRY(read_config(im, &known, &params));
    PQ_TRY(read_weights(im));
    PQ_TRY(pq_llm_describe_tensors(model, &im->tensors));
    if (known != NULL) {
        PQ_TRY(pq_llm_check_types(model, &im->tensors));
    }
    if (model->problem_count != 0) {
        return PTQC_OK;
    }
    PQ_TRY(read_tokenizer(im));
    PQ_TRY(pq_llm_build(model, known, &params, &im->tensors));
    PQ_TRY(pq_llm_check_tokenizer(model));
    return give_maps(im);
}

static void
deinit(importer *im)
{
    for (uint32_t i = 0; i < im->shard_count; i++) {
        pq_safetensors_deinit(&im->shards[i].tensors);
        pq_map_close(&im->shards[i].map);
    }
    pq_strmap_deinit(&im->tensors.by_name);
    pq_strmap_deinit(&im->by_name);
    pq_arena_deinit(&im->arena);
}

ptqc_status
pq_hf_import_folder(pq_model *model, const char *folder,
                    const pq_import_options *options)
{
    importer im = {.model = model, .options = options};
    model->format = PQ_STR("safetensors");
    PQ_TRY(pq_llm_refuse_dims(model, options));
    PQ_TRY(path_in(&model->arena, folder, "config.json", &im.config_path));
    model->files[0].path = pq_str_of(im.config_path);
    pq_arena_init(&im.arena, model->ctx);
    pq_strmap_init(&im.by_name, model->ctx);
    pq_strmap_init(&im.tensors.by_name, model->ctx);
    ptqc_status st = import(&im);
    if (st != PTQC_OK) { // its constants point into what is closed now
        pq_graph_destroy(model->graph);
        model->graph = NULL;
    }
    deinit(&im);
    return st;
}

ptqc_status
pq_hf_import_tensors(pq_model *model, const char *path, const void *bytes,
                     size_t n)
{
    pq_arena arena;
    pq_llm_tensors tensors;
    const pq_str place = pq_str_of(path);
    pq_arena_init(&arena, model->ctx);
    model->format = PQ_STR("safetensors");
    ptqc_status st =
        pq_safetensors_read(model->ctx, &arena, path, bytes, n, &tensors);
    if (st == PTQC_OK) {
        st = pq_llm_describe_tensors(model, &tensors);
    }
    if (st == PTQC_OK) {
        st = pq_llm_problem(model,
                            PQ_STR("a file of tensors is no model; give the "
                                   "folder that holds it and its config.json"),
                            &place, 1);
    }
    pq_safetensors_deinit(&tensors);
    pq_arena_deinit(&arena);
    return st;
}
