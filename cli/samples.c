// SPDX-License-Identifier: Apache-2.0
//
// Calibration samples: arrays whose first axis counts samples (each is fed as
// a batch of one), .npz files with one array per input, pictures, and texts of
// language models (calib_text.c). Several --calib follow one another.

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
    if (cli_is_image(path)) {
        return cli_image_input(s->c, path, &info, &arrays[0]);
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
    const cli_value *v = cli_get(c, CLI_CALIB);
    uint32_t inputs = ptqc_model_input_count(model);
    *out = (cli_samples){.c = c, .model = model, .array_count = v->count};
    if (inputs == 0) {
        return cli_fail(c, PTQC_E_USAGE, "--calib: the model has no input");
    }
    out->arrays = calloc((size_t)v->count * inputs, sizeof *out->arrays);
    if (out->arrays == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    ptqc_status st = PTQC_OK;
    for (uint32_t i = 0; i < v->count && st == PTQC_OK; i++) {
        cli_array *arrays = out->arrays + (size_t)i * inputs;
        st = read_file(out, v->list[i], arrays);
        if (st == PTQC_OK) {
            st = check_file(out, v->list[i], arrays);
        }
        if (st == PTQC_OK) {
            ptqc_tensor_info info;
            ptqc_model_input(model, 0, &info);
            out->sample_count +=
                (uint64_t)(arrays[0].tensor.dims[0] /
                           (info.dims[0] > 0 ? info.dims[0] : 1));
            st = add_note(out, v->list[i]);
        }
    }
    if (st != PTQC_OK) {
        cli_samples_close(out);
    }
    return st;
}

void
cli_samples_close(cli_samples *s)
{
    size_t n = s->arrays != NULL
                   ? (size_t)s->array_count * ptqc_model_input_count(s->model)
                   : 0;
    for (size_t i = 0; i < n; i++) {
        cli_array_deinit(&s->arrays[i]);
    }
    free(s->arrays);
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

ptqc_status
cli_samples_get(void *user, uint64_t index, ptqc_tensor *inputs,
                uint32_t input_count)
{
    const cli_samples *s = user;
    ptqc_tensor_info info;
    ptqc_model_input(s->model, 0, &info);
    int64_t step = info.dims[0] > 0 ? info.dims[0] : 1;
    uint64_t at = index * (uint64_t)step;
    for (uint32_t f = 0; f < s->array_count; f++) {
        const cli_array *arrays = s->arrays + (size_t)f * input_count;
        uint64_t n = (uint64_t)arrays[0].tensor.dims[0];
        if (at < n) {
            for (uint32_t i = 0; i < input_count; i++) {
                inputs[i] = slice(&arrays[i].tensor, (int64_t)at, step);
            }
            return PTQC_OK;
        }
        at -= n;
    }
    return PTQC_NO;
}
