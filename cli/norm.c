// SPDX-License-Identifier: Apache-2.0
//
// Preprocessing of pixels.

#include <stdlib.h>
#include <string.h>

#include "cli/feed.h"
#include "cli/image.h"

static ptqc_status
read_channels(cli *c, cli_option option, float otherwise, float out[16],
              uint32_t *out_count)
{
    const cli_value *v = cli_get(c, option);
    if (v->count == 0) {
        out[0] = otherwise;
        *out_count = 1;
        return PTQC_OK;
    }
    if (v->number_count > 16) {
        return cli_fail(c, PTQC_E_USAGE, "--mean, --std: more than 16 values");
    }
    for (uint32_t i = 0; i < v->number_count; i++) {
        out[i] = (float)v->numbers[i];
    }
    *out_count = v->number_count;
    return PTQC_OK;
}

ptqc_status
cli_norm_read(cli *c, cli_norm *out)
{
    const cli_value *scale = cli_get(c, CLI_SCALE);
    *out =
        (cli_norm){.scale = scale->count > 0 ? (float)scale->number : 1.0f,
                   .is_given = cli_given(c, CLI_SCALE) ||
                               cli_given(c, CLI_MEAN) || cli_given(c, CLI_STD)};
    ptqc_status st =
        read_channels(c, CLI_MEAN, 0.0f, out->mean, &out->mean_count);
    if (st == PTQC_OK) {
        st = read_channels(c, CLI_STD, 1.0f, out->std, &out->std_count);
    }
    for (uint32_t i = 0; st == PTQC_OK && i < out->std_count; i++) {
        if (!(out->std[i] > 0)) {
            st = cli_fail(c, PTQC_E_USAGE, "--std: expected numbers above 0");
        }
    }
    return st;
}

bool
cli_wants_nchw(const ptqc_tensor_info *info, int64_t channels)
{
    return info->rank != 4 || info->dims[1] == channels ||
           info->dims[3] != channels;
}

static float
pixel(const ptqc_tensor *t, size_t i)
{
    return t->dtype == PTQC_U8 ? (float)((const uint8_t *)t->data)[i]
                               : ((const float *)t->data)[i];
}

void
cli_norm_apply(const cli_norm *n, const ptqc_tensor *array,
               size_t first_element, const int64_t dims[3], bool is_nchw,
               bool to_nchw, float *to)
{
    int64_t channels = is_nchw ? dims[0] : dims[2];
    int64_t height = is_nchw ? dims[1] : dims[0];
    int64_t width = is_nchw ? dims[2] : dims[1];
    int64_t area = height * width;
    for (int64_t k = 0; k < channels; k++) {
        float mean = n->mean[k < n->mean_count ? k : n->mean_count - 1];
        float std = n->std[k < n->std_count ? k : n->std_count - 1];
        for (int64_t i = 0; i < area; i++) {
            int64_t from = is_nchw ? k * area + i : i * channels + k;
            int64_t at = to_nchw ? k * area + i : i * channels + k;
            float x = pixel(array, first_element + (size_t)from);
            to[at] = (x * n->scale - mean) / std;
        }
    }
}

// Channels and size of a picture as the model input says; -1 unknown.
static void
picture_size(const ptqc_tensor_info *info, bool *out_nchw,
             uint32_t *out_channels, int64_t out_size[2])
{
    *out_nchw = info->dims[1] == 1 || info->dims[1] == 3 ||
                !(info->dims[3] == 1 || info->dims[3] == 3);
    int64_t channels = *out_nchw ? info->dims[1] : info->dims[3];
    *out_channels = channels == 1 ? 1 : 3;
    out_size[0] = *out_nchw ? info->dims[2] : info->dims[1];
    out_size[1] = *out_nchw ? info->dims[3] : info->dims[2];
}

static ptqc_status
lay_out(cli *c, const cli_array *picture, bool nchw, cli_array *out)
{
    const int64_t *d = picture->tensor.dims;
    cli_norm norm;
    ptqc_status st = cli_norm_read(c, &norm);
    if (st != PTQC_OK) {
        return st;
    }
    size_t n = cli_array_elements(&picture->tensor);
    float *data = malloc((n > 0 ? n : 1) * sizeof *data);
    if (data == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    cli_norm_apply(&norm, &picture->tensor, 0, d, false, nchw, data);
    *out =
        (cli_array){.own = data,
                    .tensor = {.dtype = PTQC_F32,
                               .rank = 4,
                               .dims = {1, nchw ? d[2] : d[0],
                                        nchw ? d[0] : d[1], nchw ? d[1] : d[2]},
                               .data = data,
                               .bytes = n * sizeof *data}};
    return PTQC_OK;
}

ptqc_status
cli_image_input(cli *c, const char *path, const ptqc_tensor_info *info,
                cli_array *out)
{
    if (info->rank != 4 || info->dtype != PTQC_F32) {
        return cli_fail(c, PTQC_E_USAGE,
                        "input '%s': a picture needs a model input of four "
                        "dimensions and type f32",
                        info->name);
    }
    bool nchw;
    uint32_t channels;
    int64_t size[2];
    cli_array picture, resized = {0};
    picture_size(info, &nchw, &channels, size);
    ptqc_status st = cli_image_read(c, path, channels, &picture);
    if (st != PTQC_OK) {
        return st;
    }
    const int64_t *d = picture.tensor.dims;
    if (size[0] > 0 && size[1] > 0 && (d[0] != size[0] || d[1] != size[1])) {
        st = cli_image_resize(c, &picture, size[0], size[1], &resized);
        if (st == PTQC_OK) {
            cli_array_deinit(&picture);
            picture = resized;
        }
    }
    if (st == PTQC_OK) {
        st = lay_out(c, &picture, nchw, out);
    }
    cli_array_deinit(&picture);
    return st;
}
