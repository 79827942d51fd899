// SPDX-License-Identifier: Apache-2.0
//
// Calibration samples: arrays whose first axis counts samples (each is fed as
// a batch of one), .npz files with one array per input, and what is read one
// sample at a time (source.c): pictures, test data sets, random numbers, and
// texts of language models (calib_text.c).
// Several --calib follow one another.

#include <stdlib.h>
#include <string.h>

#include "cli/feed.h"
#include "cli/image.h"

static ptqc_status
add_note(cli_samples *s, const char *path)
{
    const char *name = strrchr(path, '/');
    name = name != NULL ? name + 1 : path;
    size_t old = s->note != NULL ? strlen(s->note) : 0;
    char *note = realloc(s->note, old + strlen(name) + 3);
    if (note == NULL) {
        return cli_fail(s->c, PTQC_E_RESOURCE, "out of memory");
    }
    sprintf(note + old, "%s%s", old > 0 ? ", " : "", name);
    s->note = note;
    return PTQC_OK;
}

static bool
ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), k = strlen(end);
    return n >= k && strcmp(path + n - k, end) == 0;
}

// One array per model input from each file; a .npz is asked by input name.
static ptqc_status
read_file(cli_samples *s, const char *path, cli_array *arrays)
{
    uint32_t inputs = ptqc_model_input_count(s->model);
    ptqc_tensor_info info;
    ptqc_model_input(s->model, 0, &info);
    if (cli_takes_text(s->model) && !ends_with(path, ".npy") &&
        !ends_with(path, ".npz")) {
        return cli_text_samples(s->c, s->model, path, arrays);
    }
    if (!ends_with(path, ".npz")) {
        if (inputs != 1) {
            return cli_fail(s->c, PTQC_E_USAGE,
                            "--calib %s: the model has %u inputs; give a "
                            ".npz with one array for each",
                            path, inputs);
        }
        return cli_array_read(s->c, path, &arrays[0]);
    }
    for (uint32_t i = 0; i < inputs; i++) {
        char member[4096];
        ptqc_model_input(s->model, i, &info);
        if (snprintf(member, sizeof member, "%s:%s", path, info.name) >=
            (int)sizeof member) {
            return cli_fail(s->c, PTQC_E_USAGE, "path too long");
        }
        ptqc_status st = cli_array_read(s->c, member, &arrays[i]);
        if (st != PTQC_OK) {
            return st;
        }
    }
    return PTQC_OK;
}

// Every array of a file has the same number of samples and the input's type.
static ptqc_status
check_file(cli_samples *s, const char *path, const cli_array *arrays)
{
    for (uint32_t i = 0; i < ptqc_model_input_count(s->model); i++) {
        ptqc_tensor_info info;
        const ptqc_tensor *t = &arrays[i].tensor;
        ptqc_model_input(s->model, i, &info);
        if (t->dtype != info.dtype) {
            return cli_fail(s->c, PTQC_E_INPUT,
                            "--calib %s: input '%s' expects %s, found %s", path,
                            info.name, cli_dtype_name(info.dtype),
                            cli_dtype_name(t->dtype));
        }
        if (t->rank != info.rank || t->rank == 0) {
            return cli_fail(s->c, PTQC_E_INPUT,
                            "--calib %s: input '%s' expects %u dimensions "
                            "(the first counts samples), found %u",
                            path, info.name, info.rank, t->rank);
        }
        if (t->dims[0] != arrays[0].tensor.dims[0] || t->dims[0] == 0) {
            return cli_fail(s->c, PTQC_E_INPUT,
                            "--calib %s: the numbers of samples differ or "
                            "are zero",
                            path);
        }
        if (info.dims[0] > 0 && t->dims[0] % info.dims[0] != 0) {
            return cli_fail(s->c, PTQC_E_INPUT,
                            "--calib %s: input '%s' takes %lld samples at a "
                            "time, %lld are there",
                            path, info.name, (long long)info.dims[0],
                            (long long)t->dims[0]);
        }
    }
    return PTQC_OK;
}

ptqc_status
cli_samples_open(cli *c, const ptqc_model *model, cli_samples *out)
{
    return cli_samples_open_of(c, model, CLI_CALIB, out);
}

// ---- one at a time --------------------------------------------------------

static void
drop_single(cli_samples *s)
{
    for (uint32_t i = 0;
         s->single != NULL && i < ptqc_model_input_count(s->model); i++) {
        cli_array_deinit(&s->single[i]);
    }
    s->single_source = 0;
}

// Sample `index` of source i into s->single.
static ptqc_status
read_single(cli_samples *s, size_t i, uint64_t index)
{
    ptqc_tensor_info info;
    const cli_source *source = &s->sources.all[i];
    if (s->single_source == i + 1 && s->single_index == index) {
        return PTQC_OK;
    }
    drop_single(s);
    ptqc_model_input(s->model, 0, &info);
    if (source->kind == CLI_SOURCE_IMAGE && info.dims[0] > 1) {
        return cli_fail(s->c, PTQC_E_USAGE,
                        "--calib %s: input '%s' takes %lld samples at a time, "
                        "a picture is one",
                        source->path, info.name, (long long)info.dims[0]);
    }
    ptqc_status st = cli_source_read(s->c, s->model, source, index, s->single);
    if (st == PTQC_OK) {
        s->single_source = i + 1;
        s->single_index = index;
    }
    return st;
}

// Random numbers are no data: they stand alone, and it is said.
static ptqc_status
check_random(cli_samples *s)
{
    for (size_t i = 0; i < s->sources.count; i++) {
        if (s->sources.all[i].kind != CLI_SOURCE_RANDOM) {
            continue;
        }
        if (s->sources.count > 1) {
            return cli_fail(s->c, PTQC_E_USAGE,
                            "--calib random: nothing goes beside it");
        }
        char note[96];
        (void)snprintf(note, sizeof note, "random, seed %lld",
                       (long long)cli_get(s->c, CLI_SEED)->integer);
        free(s->note);
        s->note = strdup(note);
        if (s->note == NULL) {
            return cli_fail(s->c, PTQC_E_RESOURCE, "out of memory");
        }
        if (!s->c->is_quiet) {
            fprintf(stderr, "ptqc: warning: --calib random: ranges of random "
                            "numbers are not those of real data\n");
        }
    }
    return PTQC_OK;
}

// ---- all ------------------------------------------------------------------

static ptqc_status
open_arrays(cli_samples *s, cli_source *source)
{
    uint32_t inputs = ptqc_model_input_count(s->model);
    ptqc_tensor_info info;
    source->arrays = calloc(inputs, sizeof *source->arrays);
    if (source->arrays == NULL) {
        return cli_fail(s->c, PTQC_E_RESOURCE, "out of memory");
    }
    ptqc_status st = read_file(s, source->path, source->arrays);
    if (st == PTQC_OK) {
        st = check_file(s, source->path, source->arrays);
    }
    if (st == PTQC_OK) {
        ptqc_model_input(s->model, 0, &info);
        source->count = (uint64_t)(source->arrays[0].tensor.dims[0] /
                                   (info.dims[0] > 0 ? info.dims[0] : 1));
    }
    return st;
}

// Sources [from, end) of one --calib. What is read one sample at a time is
// tried once, so that what is wrong with all of it shows before any work.
static ptqc_status
open_sources(cli_samples *s, size_t from)
{
    ptqc_status st = PTQC_OK;
    for (size_t i = from; i < s->sources.count && st == PTQC_OK; i++) {
        cli_source *source = &s->sources.all[i];
        if (source->kind == CLI_SOURCE_ARRAYS) {
            st = open_arrays(s, source);
        } else if (i == from) {
            st = read_single(s, i, 0);
        }
        s->sample_count += source->count;
    }
    return st;
}

ptqc_status
cli_samples_open_of(cli *c, const ptqc_model *model, cli_option option,
                    cli_samples *out)
{
    const cli_value *v = cli_get(c, option);
    uint32_t inputs = ptqc_model_input_count(model);
    *out = (cli_samples){.c = c, .model = model};
    if (inputs == 0) {
        return cli_fail(c, PTQC_E_USAGE, "--calib: the model has no input");
    }
    out->single = calloc(inputs, sizeof *out->single);
    ptqc_status st = out->single != NULL
                         ? PTQC_OK
                         : cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    for (uint32_t i = 0; i < v->count && st == PTQC_OK; i++) {
        size_t from = out->sources.count;
        st = cli_sources_add(c, v->list[i], &out->sources);
        if (st == PTQC_OK) {
            st = open_sources(out, from);
        }
        if (st == PTQC_OK) {
            st = add_note(out, v->list[i]);
        }
    }
    if (st == PTQC_OK) {
        st = check_random(out);
    }
    if (st != PTQC_OK) {
        cli_samples_close(out);
    }
    return st;
}

void
cli_samples_close(cli_samples *s)
{
    if (s->model == NULL) {
        return; // not open
    }
    drop_single(s);
    cli_sources_free(&s->sources, ptqc_model_input_count(s->model));
    free(s->single);
    free(s->note);
    *s = (cli_samples){0};
}

// A batch of `step` samples from `first` on.
static ptqc_tensor
slice(const ptqc_tensor *t, int64_t first, int64_t step)
{
    ptqc_tensor out = *t;
    size_t each = t->bytes / (size_t)t->dims[0];
    out.dims[0] = step;
    out.data = (uint8_t *)t->data + each * (size_t)first;
    out.bytes = each * (size_t)step;
    return out;
}

static ptqc_status
take_sample(cli_samples *s, size_t i, uint64_t index, ptqc_tensor *inputs,
            uint32_t input_count)
{
    const cli_source *source = &s->sources.all[i];
    ptqc_tensor_info info;
    ptqc_model_input(s->model, 0, &info);
    int64_t step = info.dims[0] > 0 ? info.dims[0] : 1;
    if (source->kind == CLI_SOURCE_ARRAYS) {
        for (uint32_t k = 0; k < input_count; k++) {
            inputs[k] =
                slice(&source->arrays[k].tensor, (int64_t)index * step, step);
        }
        return PTQC_OK;
    }
    ptqc_status st = read_single(s, i, index);
    for (uint32_t k = 0; k < input_count && st == PTQC_OK; k++) {
        inputs[k] = s->single[k].tensor;
    }
    return st;
}

ptqc_status
cli_samples_get(void *user, uint64_t index, ptqc_tensor *inputs,
                uint32_t input_count)
{
    cli_samples *s = user;
    for (size_t i = 0; i < s->sources.count; i++) {
        if (index < s->sources.all[i].count) {
            return take_sample(s, i, index, inputs, input_count);
        }
        index -= s->sources.all[i].count;
    }
    return PTQC_NO;
}
