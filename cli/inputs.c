// SPDX-License-Identifier: Apache-2.0
//
// --input NAME=@FILE, NAME=2x3xf32=@FILE, NAME=@picture.png; and seeded
// numbers for bench.

#include <stdlib.h>
#include <string.h>

#include "cli/feed.h"
#include "cli/image.h"

static bool
find_input(const ptqc_artifact *artifact, const char *name, size_t n,
           uint32_t *out)
{
    for (uint32_t i = 0; i < ptqc_artifact_input_count(artifact); i++) {
        ptqc_tensor_info info;
        ptqc_artifact_input(artifact, i, &info);
        if (strlen(info.name) == n && memcmp(info.name, name, n) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

// "2x3xf32": dims, then the type.
static bool
read_raw_type(const char *text, size_t n, ptqc_dtype *out_dtype,
              int64_t dims[PTQC_MAX_RANK], uint32_t *out_rank)
{
    const char *p = text, *end = text + n;
    *out_rank = 0;
    while (p < end && *p >= '0' && *p <= '9') {
        char *stop;
        if (*out_rank == PTQC_MAX_RANK) {
            return false;
        }
        dims[(*out_rank)++] = strtoll(p, &stop, 10);
        if (stop >= end || *stop != 'x') {
            return false;
        }
        p = stop + 1;
    }
#define ROW(NAME, number, name, bits)                                          \
    if ((size_t)(end - p) == strlen(name) &&                                   \
        memcmp(p, name, strlen(name)) == 0 && (bits) >= 8) {                   \
        *out_dtype = PTQC_##NAME;                                              \
        return true;                                                           \
    }
    PTQC_DTYPES(ROW)
#undef ROW
    return false;
}

static ptqc_status
read_value(cli *c, const char *value, const ptqc_tensor_info *info,
           cli_array *out)
{
    const char *raw = strstr(value, "=@");
    if (value[0] == '@') {
        return cli_is_image(value + 1)
                   ? cli_image_input(c, value + 1, info, out)
                   : cli_array_read(c, value + 1, out);
    }
    ptqc_dtype dtype;
    int64_t dims[PTQC_MAX_RANK];
    uint32_t rank;
    if (raw == NULL ||
        !read_raw_type(value, (size_t)(raw - value), &dtype, dims, &rank)) {
        return cli_fail(c, PTQC_E_USAGE,
                        "--input %s: expected =@FILE or =2x3xf32=@FILE",
                        info->name);
    }
    return cli_array_read_raw(c, raw + 2, dtype, dims, rank, out);
}

static ptqc_status
read_one(cli *c, const char *spec, const ptqc_artifact *artifact,
         cli_inputs *in)
{
    // Names may hold '=': the file part starts at the first "=@", before it
    // perhaps a raw type.
    const char *at = strstr(spec, "=@");
    char escaped[200];
    uint32_t i;
    if (at == NULL) {
        return cli_fail(c, PTQC_E_USAGE, "--input '%s': expected NAME=@FILE",
                        cli_escape(spec, escaped, sizeof escaped));
    }
    size_t n = (size_t)(at - spec);
    const char *value = at + 1;
    if (!find_input(artifact, spec, n, &i)) {
        const char *type = memchr(spec, '=', n);
        n = type != NULL ? (size_t)(type - spec) : n;
        value = type != NULL ? type + 1 : value;
        if (type == NULL || !find_input(artifact, spec, n, &i)) {
            return cli_fail(c, PTQC_E_USAGE,
                            "--input '%s': the model has no such input",
                            cli_escape(spec, escaped, sizeof escaped));
        }
    }
    if (in->arrays[i].tensor.data != NULL) {
        return cli_fail(c, PTQC_E_USAGE, "--input '%.*s': given twice", (int)n,
                        spec);
    }
    ptqc_tensor_info info;
    ptqc_artifact_input(artifact, i, &info);
    return read_value(c, value, &info, &in->arrays[i]);
}

static ptqc_status
make_inputs(cli *c, const ptqc_artifact *artifact, cli_inputs *out)
{
    out->count = ptqc_artifact_input_count(artifact);
    out->arrays = calloc(out->count + 1, sizeof *out->arrays);
    out->tensors = calloc(out->count + 1, sizeof *out->tensors);
    return out->arrays != NULL && out->tensors != NULL
               ? PTQC_OK
               : cli_fail(c, PTQC_E_RESOURCE, "out of memory");
}

static void
list_tensors(cli_inputs *in)
{
    for (uint32_t i = 0; i < in->count; i++) {
        in->tensors[i] = in->arrays[i].tensor;
    }
}

ptqc_status
cli_inputs_read(cli *c, const ptqc_artifact *artifact, cli_inputs *out)
{
    const cli_value *v = cli_get(c, CLI_INPUT);
    *out = (cli_inputs){0};
    ptqc_status st = make_inputs(c, artifact, out);
    for (uint32_t i = 0; i < v->count && st == PTQC_OK; i++) {
        st = read_one(c, v->list[i], artifact, out);
    }
    for (uint32_t i = 0; i < out->count && st == PTQC_OK; i++) {
        ptqc_tensor_info info;
        ptqc_artifact_input(artifact, i, &info);
        if (out->arrays[i].tensor.data == NULL) {
            char name[200];
            st = cli_fail(c, PTQC_E_USAGE,
                          "input '%s' is missing: --input NAME=@FILE",
                          cli_escape(info.name, name, sizeof name));
        }
    }
    list_tensors(out);
    if (st != PTQC_OK) {
        cli_inputs_deinit(out);
    }
    return st;
}

void
cli_inputs_deinit(cli_inputs *in)
{
    for (uint32_t i = 0; in->arrays != NULL && i < in->count; i++) {
        cli_array_deinit(&in->arrays[i]);
    }
    free(in->arrays);
    free(in->tensors);
    *in = (cli_inputs){0};
}

// ---- seeded numbers -------------------------------------------------------

// splitmix64 (Steele, Lea, Flood 2014).
static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// Floats in [-1, 1), bools 0 or 1, integers 0: the one index that every axis
// has.
void
cli_fill_random(ptqc_tensor *t, uint64_t *state)
{
    size_t n = cli_array_elements(t);
    for (size_t i = 0; i < n; i++) {
        uint64_t r = next_random(state);
        if (t->dtype == PTQC_F32) {
            ((float *)t->data)[i] = (float)(r >> 40) / (float)(1u << 23) - 1.0f;
        } else if (t->dtype == PTQC_F64) {
            ((double *)t->data)[i] =
                (double)(r >> 11) / (double)(UINT64_C(1) << 52) - 1.0;
        } else if (t->dtype == PTQC_BOOL) {
            ((uint8_t *)t->data)[i] = (uint8_t)(r & 1);
        }
    }
}

// Whether `setting` is "DIM=..." for the symbolic dim d.
static bool
is_shape_of(const char *setting, const ptqc_tensor_info *info, uint32_t d)
{
    size_t n = info->dims[d] < 0 ? strlen(info->dim_names[d]) : 0;
    return n > 0 && strncmp(setting, info->dim_names[d], n) == 0 &&
           setting[n] == '=';
}

// --shape DIM=N for a symbolic dim, else 1; -1: N is no number.
static int64_t
dim_value(const cli *c, const ptqc_tensor_info *info, uint32_t d)
{
    const cli_value *v = cli_get(c, CLI_SHAPE);
    if (info->dims[d] >= 0) {
        return info->dims[d];
    }
    for (uint32_t i = 0; i < v->count; i++) {
        if (is_shape_of(v->list[i], info, d)) {
            const char *number = v->list[i] + strlen(info->dim_names[d]) + 1;
            char *end;
            int64_t x = strtoll(number, &end, 10);
            return end != number && *end == '\0' ? x : -1;
        }
    }
    return 1;
}

// Every --shape names a symbolic dim of some input.
static ptqc_status
check_shapes(cli *c, const ptqc_artifact *artifact)
{
    const cli_value *v = cli_get(c, CLI_SHAPE);
    for (uint32_t i = 0; i < v->count; i++) {
        bool is_known = false;
        for (uint32_t k = 0; k < ptqc_artifact_input_count(artifact); k++) {
            ptqc_tensor_info info;
            ptqc_artifact_input(artifact, k, &info);
            for (uint32_t d = 0; d < info.rank; d++) {
                is_known |= is_shape_of(v->list[i], &info, d);
            }
        }
        if (!is_known) {
            return cli_fail(c, PTQC_E_USAGE,
                            "--shape %s: expected DIM=N with a symbolic "
                            "dimension of an input",
                            v->list[i]);
        }
    }
    return PTQC_OK;
}

ptqc_status
cli_inputs_random(cli *c, const ptqc_artifact *artifact, cli_inputs *out)
{
    uint64_t state = (uint64_t)cli_get(c, CLI_SEED)->integer;
    *out = (cli_inputs){0};
    ptqc_status st = check_shapes(c, artifact);
    if (st != PTQC_OK) {
        return st;
    }
    st = make_inputs(c, artifact, out);
    for (uint32_t i = 0; i < out->count && st == PTQC_OK; i++) {
        ptqc_tensor_info info;
        ptqc_artifact_input(artifact, i, &info);
        ptqc_tensor *t = &out->arrays[i].tensor;
        *t = (ptqc_tensor){.dtype = info.dtype, .rank = info.rank};
        for (uint32_t d = 0; d < info.rank; d++) {
            t->dims[d] = dim_value(c, &info, d);
            if (t->dims[d] < 1 || t->dims[d] > 1 << 24) {
                st = cli_fail(c, PTQC_E_USAGE, "--shape %s: expected 1 to %d",
                              info.dim_names[d], 1 << 24);
            }
        }
        t->bytes = cli_array_elements(t) * cli_dtype_bytes(t->dtype);
        if (st == PTQC_OK) {
            t->data = out->arrays[i].own = calloc(t->bytes + 1, 1);
            st = t->data != NULL
                     ? PTQC_OK
                     : cli_fail(c, PTQC_E_RESOURCE, "out of memory");
        }
        if (st == PTQC_OK) {
            cli_fill_random(t, &state);
        }
    }
    list_tensors(out);
    if (st != PTQC_OK) {
        cli_inputs_deinit(out);
    }
    return st;
}
