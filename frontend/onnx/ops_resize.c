// SPDX-License-Identifier: Apache-2.0
//
// Resize and Upsample. Given sizes become the SHAPE of the op, given scales
// its SCALES: coordinates are computed from what the model gave.
#include "frontend/onnx/ops.h"

typedef struct name_number {
    const char *name;
    int number;
} name_number;

static const name_number modes[] = {{"nearest", PQ_RESIZE_NEAREST},
                                    {"linear", PQ_RESIZE_LINEAR},
                                    {"bilinear", PQ_RESIZE_LINEAR}, // opset 7
                                    {"cubic", PQ_RESIZE_CUBIC},
                                    {NULL, 0}};
static const name_number coordinates[] = {
    {"half_pixel", PQ_COORD_HALF_PIXEL},
    {"pytorch_half_pixel", PQ_COORD_PYTORCH_HALF_PIXEL},
    {"asymmetric", PQ_COORD_ASYMMETRIC},
    {"align_corners", PQ_COORD_ALIGN_CORNERS},
    {NULL, 0}};
static const name_number roundings[] = {
    {"round_prefer_floor", PQ_NEAREST_ROUND_PREFER_FLOOR},
    {"round_prefer_ceil", PQ_NEAREST_ROUND_PREFER_CEIL},
    {"floor", PQ_NEAREST_FLOOR},
    {"ceil", PQ_NEAREST_CEIL},
    {NULL, 0}};

// The attribute's number; `text` comes with the default.
static ptqc_status
read_choice(pq_onnx_call *c, const char *attr, const name_number *names,
            pq_str text, int64_t *out)
{
    PQ_TRY(pq_onnx_attr_str(c, attr, &text));
    for (; names->name != NULL; names++) {
        if (pq_str_equal_z(text, names->name)) {
            *out = names->number;
            return PTQC_OK;
        }
    }
    return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                        "attribute '%s': '%.*s' is not supported", attr,
                        PQ_STR_ARG(text));
}

typedef struct resize {
    int64_t mode, coordinates, nearest;
    float cubic_a;
    pq_onnx_f32s scales; // all axes, or none
    const pq_dim *sizes; // all axes, or NULL
} resize;

static ptqc_status
refuse_variants(pq_onnx_call *c)
{
    int64_t antialias = 0, exclude_outside = 0;
    pq_str policy = PQ_STR("stretch");
    pq_onnx_attr_ignore(c, "extrapolation_value"); // of tf_crop_and_resize
    PQ_TRY(pq_onnx_attr_i64(c, "antialias", &antialias));
    PQ_TRY(pq_onnx_attr_i64(c, "exclude_outside", &exclude_outside));
    PQ_TRY(pq_onnx_attr_str(c, "keep_aspect_ratio_policy", &policy));
    if (antialias != 0 || exclude_outside != 0 ||
        !pq_str_equal_z(policy, "stretch")) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "antialias, exclude_outside and keeping the "
                            "aspect ratio are not supported");
    }
    return PTQC_OK;
}

// Opset 10 has neither coordinates nor rounding: asymmetric and floor.
static ptqc_status
read_how(pq_onnx_call *c, resize *r)
{
    bool is_old = c->opset < 11;
    r->cubic_a = -0.75f; // ONNX Resize-11
    PQ_TRY(refuse_variants(c));
    PQ_TRY(pq_onnx_attr_f32(c, "cubic_coeff_a", &r->cubic_a));
    PQ_TRY(read_choice(c, "mode", modes, PQ_STR("nearest"), &r->mode));
    PQ_TRY(read_choice(c, "coordinate_transformation_mode", coordinates,
                       is_old ? PQ_STR("asymmetric") : PQ_STR("half_pixel"),
                       &r->coordinates));
    return read_choice(c, "nearest_mode", roundings,
                       is_old ? PQ_STR("floor") : PQ_STR("round_prefer_floor"),
                       &r->nearest);
}

// Spreads values of the named axes over all; others keep their size.
static ptqc_status
spread_sizes(pq_onnx_call *c, pq_onnx_i64s axes, const pq_type *type,
             const pq_dim *given, pq_dim **out)
{
    *out = pq_arena_array(c->arena, type->rank, sizeof **out);
    PQ_TRY_ALLOC(*out);
    for (uint32_t i = 0; i < type->rank; i++) {
        (*out)[i] = type->dims[i];
    }
    for (size_t i = 0; i < axes.n; i++) {
        (*out)[axes.p[i]] = given[i];
    }
    return PTQC_OK;
}

static ptqc_status
spread_scales(pq_onnx_call *c, pq_onnx_i64s axes, uint32_t rank,
              pq_onnx_f32s *scales)
{
    float *all = pq_arena_array(c->arena, rank, sizeof *all);
    PQ_TRY_ALLOC(all);
    for (uint32_t i = 0; i < rank; i++) {
        all[i] = 1.0f;
    }
    for (size_t i = 0; i < axes.n; i++) {
        all[axes.p[i]] = scales->p[i];
    }
    *scales = (pq_onnx_f32s){all, rank};
    return PTQC_OK;
}

// The axes that sizes or scales are given for: all unless named.
static ptqc_status
read_axes(pq_onnx_call *c, uint32_t rank, size_t count, pq_onnx_i64s *out)
{
    *out = (pq_onnx_i64s){0};
    PQ_TRY(pq_onnx_attr_i64s(c, "axes", out));
    PQ_TRY(pq_onnx_own_i64s(c, out));
    PQ_TRY(pq_onnx_axes(c, *out, rank));
    if (out->n == 0) {
        int64_t *all = pq_arena_array(c->arena, rank, sizeof *all);
        PQ_TRY_ALLOC(all);
        for (uint32_t i = 0; i < rank; i++) {
            all[i] = i;
        }
        *out = (pq_onnx_i64s){all, rank};
    }
    if (out->n != count) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected %zu sizes or scales, found %zu", out->n,
                            count);
    }
    return PTQC_OK;
}

static ptqc_status
read_sizes(pq_onnx_call *c, pq_value_id v, const pq_type *type, resize *r)
{
    const pq_dim *given = NULL;
    pq_dim *all = NULL;
    uint32_t count = 0;
    pq_onnx_i64s axes;
    PQ_TRY(pq_onnx_known_dims(c, v, "sizes", &given, &count));
    PQ_TRY(read_axes(c, type->rank, count, &axes));
    PQ_TRY(spread_sizes(c, axes, type, given, &all));
    r->sizes = all;
    return PTQC_OK;
}

// Absent, or a constant without elements, as exporters write it.
static bool
is_empty(pq_onnx_call *c, pq_value_id v)
{
    int64_t size = 1;
    if (pq_value_is_none(v)) {
        return true;
    }
    const pq_type *type = pq_onnx_type_of(c, v);
    return type->rank == 1 && pq_dim_is_const(c->g, type->dims[0], &size) &&
           size == 0;
}

static ptqc_status
read_targets(pq_onnx_call *c, const pq_type *type, resize *r)
{
    pq_onnx_i64s axes;
    pq_value_id sizes = c->opset < 11 ? PQ_NO_VALUE : pq_onnx_input(c, 3);
    pq_value_id scales = pq_onnx_input(c, c->opset < 11 ? 1 : 2);
    if (!is_empty(c, sizes)) {
        return read_sizes(c, sizes, type, r);
    }
    if (c->opset < 9) { // Upsample-7
        PQ_TRY(pq_onnx_attr_f32s(c, "scales", &r->scales));
    } else if (is_empty(c, scales)) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected scales or sizes, found neither");
    } else {
        PQ_TRY(pq_onnx_known_f32s(c, scales, "scales", &r->scales));
    }
    PQ_TRY(read_axes(c, type->rank, r->scales.n, &axes));
    return spread_scales(c, axes, type->rank, &r->scales);
}

ptqc_status
pq_onnx_import_resize(pq_onnx_call *c)
{
    resize r = {0};
    pq_value_id x = pq_onnx_input(c, 0);
    const pq_type *type = pq_onnx_type_of(c, x);
    PQ_TRY(read_how(c, &r));
    PQ_TRY(read_targets(c, type, &r));
    pq_builder b;
    pq_onnx_begin(c, &b, PQ_OP_RESIZE);
    pq_build_input(&b, x);
    if (r.sizes != NULL) {
        pq_build_dims(&b, PQ_ATTR_SHAPE, r.sizes, type->rank);
    } else {
        pq_build_f32s(&b, PQ_ATTR_SCALES, r.scales.p, type->rank);
    }
    pq_build_i64(&b, PQ_ATTR_MODE, r.mode);
    pq_build_i64(&b, PQ_ATTR_COORDINATES, r.coordinates);
    if (r.mode == PQ_RESIZE_NEAREST) {
        pq_build_i64(&b, PQ_ATTR_NEAREST, r.nearest);
    }
    if (r.mode == PQ_RESIZE_CUBIC) {
        pq_build_f32(&b, PQ_ATTR_CUBIC_A, r.cubic_a);
    }
    return pq_onnx_end(c, &b, &c->outputs[0]);
}
