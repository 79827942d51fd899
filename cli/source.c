// SPDX-License-Identifier: Apache-2.0
//
// Sources of samples, see source.h.

#include "cli/source.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/feed.h"
#include "cli/image.h"

#define DEPTH_LIMIT  8
#define SOURCE_LIMIT (1u << 20)
// Samples of "random" when --calib-samples says nothing.
#define RANDOM_COUNT 16

// ---- lists ----------------------------------------------------------------

static ptqc_status
add(cli *c, cli_sources *s, cli_source_kind kind, const char *path,
    uint64_t count)
{
    if (s->count >= SOURCE_LIMIT) {
        return cli_fail(c, PTQC_E_USAGE, "--calib %s: more than %u samples",
                        path, SOURCE_LIMIT);
    }
    if (s->count == s->room) {
        size_t room = s->room > 0 ? 2 * s->room : 16;
        cli_source *all = realloc(s->all, room * sizeof *all);
        if (all == NULL) {
            return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
        }
        s->all = all;
        s->room = room;
    }
    char *copy = strdup(path);
    if (copy == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    s->all[s->count++] =
        (cli_source){.kind = kind, .path = copy, .count = count};
    return PTQC_OK;
}

void
cli_sources_free(cli_sources *s, uint32_t input_count)
{
    for (size_t i = 0; i < s->count; i++) {
        for (uint32_t k = 0; s->all[i].arrays != NULL && k < input_count; k++) {
            cli_array_deinit(&s->all[i].arrays[k]);
        }
        free(s->all[i].arrays);
        free(s->all[i].path);
    }
    free(s->all);
    *s = (cli_sources){0};
}

// ---- folders --------------------------------------------------------------

static bool
is_kind(const char *path, mode_t kind)
{
    struct stat s;
    return stat(path, &s) == 0 && (s.st_mode & S_IFMT) == kind;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

// Names in a folder, sorted; freed with free_names.
typedef struct names {
    char **p;
    size_t count;
} names;

static void
free_names(names *n)
{
    for (size_t i = 0; i < n->count; i++) {
        free(n->p[i]);
    }
    free(n->p);
}

static ptqc_status
keep_name(cli *c, names *n, const char *name)
{
    char **p = realloc(n->p, (n->count + 1) * sizeof *p);
    n->p = p != NULL ? p : n->p;
    char *copy = p != NULL ? strdup(name) : NULL;
    if (copy == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    n->p[n->count++] = copy;
    return PTQC_OK;
}

static ptqc_status
list_names(cli *c, const char *path, names *out)
{
    *out = (names){0};
    DIR *dir = opendir(path);
    ptqc_status st = dir != NULL
                         ? PTQC_OK
                         : cli_fail(c, PTQC_E_IO, "%s: cannot be opened", path);
    for (struct dirent *e; st == PTQC_OK && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            st = out->count < SOURCE_LIMIT
                     ? keep_name(c, out, e->d_name)
                     : cli_fail(c, PTQC_E_USAGE, "%s: more than %u files", path,
                                SOURCE_LIMIT);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    if (out->count > 0) {
        qsort(out->p, out->count, sizeof *out->p, by_name);
    }
    return st;
}

// What a file or folder inside a folder is.
static ptqc_status add_folder(cli *c, const char *path, unsigned depth,
                              cli_sources *out);

static ptqc_status
add_member(cli *c, const char *folder, const char *name, unsigned depth,
           cli_sources *out)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >=
        (int)sizeof path) {
        return cli_fail(c, PTQC_E_USAGE, "--calib %s: path too long", folder);
    }
    if (is_kind(path, S_IFDIR)) {
        return depth < DEPTH_LIMIT
                   ? add_folder(c, path, depth + 1, out)
                   : cli_fail(c, PTQC_E_USAGE,
                              "--calib %s: more than %d folders deep", path,
                              DEPTH_LIMIT);
    }
    return cli_is_image(path) && is_kind(path, S_IFREG)
               ? add(c, out, CLI_SOURCE_IMAGE, path, 1)
               : PTQC_OK;
}

static ptqc_status
add_folder(cli *c, const char *path, unsigned depth, cli_sources *out)
{
    char first[4096];
    names n;
    (void)snprintf(first, sizeof first, "%s/input_0.pb", path);
    if (is_kind(first, S_IFREG)) {
        return add(c, out, CLI_SOURCE_TEST_DATA, path, 1);
    }
    ptqc_status st = list_names(c, path, &n);
    for (size_t i = 0; i < n.count && st == PTQC_OK; i++) {
        st = add_member(c, path, n.p[i], depth, out);
    }
    free_names(&n);
    return st;
}

ptqc_status
cli_sources_add(cli *c, const char *path, cli_sources *out)
{
    if (strcmp(path, "random") == 0) {
        int64_t given = cli_get(c, CLI_CALIB_SAMPLES)->integer;
        return add(c, out, CLI_SOURCE_RANDOM, path,
                   given > 0 ? (uint64_t)given : RANDOM_COUNT);
    }
    if (!is_kind(path, S_IFDIR)) {
        return add(c, out,
                   cli_is_image(path) ? CLI_SOURCE_IMAGE : CLI_SOURCE_ARRAYS,
                   path, 1);
    }
    size_t before = out->count;
    ptqc_status st = add_folder(c, path, 0, out);
    return st == PTQC_OK && out->count == before
               ? cli_fail(c, PTQC_E_INPUT,
                          "--calib %s: neither pictures (.png, .jpg, .jpeg) "
                          "nor input_0.pb are in the folder",
                          path)
               : st;
}

// ---- samples --------------------------------------------------------------

// A tensor of a test data set belongs to the input of its name, else to that
// of its number.
static uint32_t
input_of(const ptqc_model *model, const char *name, uint32_t number)
{
    for (uint32_t i = 0; i < ptqc_model_input_count(model); i++) {
        ptqc_tensor_info info;
        ptqc_model_input(model, i, &info);
        if (strcmp(info.name, name) == 0) {
            return i;
        }
    }
    return number;
}

static ptqc_status
check_tensor(cli *c, const ptqc_tensor_info *info, const ptqc_tensor *t,
             const char *path)
{
    bool fits = t->dtype == info->dtype && t->rank == info->rank;
    for (uint32_t d = 0; fits && d < t->rank; d++) {
        fits = info->dims[d] < 0 || info->dims[d] == t->dims[d];
    }
    return fits ? PTQC_OK
                : cli_fail(c, PTQC_E_INPUT,
                           "--calib %s: its type or shape is not that of "
                           "input '%s'",
                           path, info->name);
}

static ptqc_status
read_test_data(cli *c, const ptqc_model *model, const char *folder,
               cli_array *arrays)
{
    uint32_t inputs = ptqc_model_input_count(model);
    for (uint32_t i = 0; i < inputs; i++) {
        char path[4096], name[256];
        ptqc_tensor_info info;
        ptqc_tensor t;
        (void)snprintf(path, sizeof path, "%s/input_%u.pb", folder, i);
        ptqc_status st =
            ptqc_read_onnx_tensor(c->ctx, path, name, sizeof name, &t);
        if (st != PTQC_OK) {
            return st;
        }
        uint32_t at = input_of(model, name, i);
        cli_array *a = &arrays[at];
        ptqc_model_input(model, at, &info);
        a->own = a->own == NULL ? malloc(t.bytes + 1) : NULL;
        st = a->own == NULL
                 ? cli_fail(c, PTQC_E_INPUT, "--calib %s: input '%s' twice",
                            path, info.name)
                 : check_tensor(c, &info, &t, path);
        if (st == PTQC_OK) {
            memcpy(a->own, t.data, t.bytes);
            a->tensor = t;
            a->tensor.data = a->own;
        }
        ptqc_buffer_free(c->ctx, t.data);
        if (st != PTQC_OK) {
            return st;
        }
    }
    return PTQC_OK;
}

static ptqc_status
make_random(cli *c, const ptqc_model *model, uint64_t index, cli_array *arrays)
{
    uint64_t state = (uint64_t)cli_get(c, CLI_SEED)->integer + (index << 32);
    for (uint32_t i = 0; i < ptqc_model_input_count(model); i++) {
        ptqc_tensor_info info;
        ptqc_tensor *t = &arrays[i].tensor;
        ptqc_model_input(model, i, &info);
        *t = (ptqc_tensor){.dtype = info.dtype, .rank = info.rank};
        for (uint32_t d = 0; d < info.rank; d++) {
            t->dims[d] = info.dims[d] >= 0 ? info.dims[d] : 1;
        }
        if (info.dtype != PTQC_F32) {
            return cli_fail(c, PTQC_E_USAGE,
                            "--calib random: input '%s' is %s: only f32 can "
                            "be drawn",
                            info.name, cli_dtype_name(info.dtype));
        }
        t->bytes = cli_array_elements(t) * sizeof(float);
        t->data = arrays[i].own = calloc(t->bytes + 1, 1);
        if (t->data == NULL) {
            return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
        }
        cli_fill_random(t, &state);
    }
    return PTQC_OK;
}

ptqc_status
cli_source_read(cli *c, const ptqc_model *model, const cli_source *source,
                uint64_t index, cli_array *arrays)
{
    ptqc_tensor_info info;
    switch (source->kind) {
    case CLI_SOURCE_ARRAYS:
        break;
    case CLI_SOURCE_IMAGE:
        if (ptqc_model_input_count(model) != 1) {
            return cli_fail(c, PTQC_E_USAGE,
                            "--calib %s: the model has %u inputs, a picture "
                            "feeds one",
                            source->path, ptqc_model_input_count(model));
        }
        ptqc_model_input(model, 0, &info);
        return cli_image_input(c, source->path, &info, &arrays[0]);
    case CLI_SOURCE_TEST_DATA:
        return read_test_data(c, model, source->path, arrays);
    case CLI_SOURCE_RANDOM:
        return make_random(c, model, index, arrays);
    }
    return cli_fail(c, PTQC_E_INTERNAL, "a source that is no single sample");
}
