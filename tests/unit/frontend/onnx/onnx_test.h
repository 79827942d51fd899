// SPDX-License-Identifier: Apache-2.0
//
// Hand-made ONNX files: a small protobuf writer, a builder of models with one
// line per input, weight and node, and a one-line description of what they
// are imported as.
#ifndef PTQC_TESTS_ONNX_TEST_H
#define PTQC_TESTS_ONNX_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "frontend/import.h"
#include "ir/verify.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

// ---- protobuf ---------------------------------------------------------------

typedef struct pb {
    uint8_t p[1 << 14];
    size_t n;
} pb;

static inline void
pb_raw(pb *b, const void *p, size_t n)
{
    assert_true(b->n + n <= sizeof b->p);
    if (n != 0) {
        memcpy(b->p + b->n, p, n);
    }
    b->n += n;
}

static inline void
pb_varint(pb *b, uint64_t x)
{
    do {
        uint8_t byte = (uint8_t)((x & 0x7f) | (x >= 0x80 ? 0x80 : 0));
        pb_raw(b, &byte, 1);
        x >>= 7;
    } while (x != 0);
}

static inline void
pb_int(pb *b, unsigned field, int64_t x)
{
    pb_varint(b, (uint64_t)field << 3);
    pb_varint(b, (uint64_t)x);
}

static inline void
pb_float(pb *b, unsigned field, float x)
{
    pb_varint(b, (uint64_t)field << 3 | 5);
    pb_raw(b, &x, sizeof x);
}

static inline void
pb_bytes(pb *b, unsigned field, const void *p, size_t n)
{
    pb_varint(b, (uint64_t)field << 3 | 2);
    pb_varint(b, n);
    pb_raw(b, p, n);
}

static inline void
pb_text(pb *b, unsigned field, const char *z)
{
    pb_bytes(b, field, z, strlen(z));
}

static inline void
pb_message(pb *b, unsigned field, const pb *inner)
{
    pb_bytes(b, field, inner->p, inner->n);
}

// ---- models
// -------------------------------------------------------------------

enum { // TensorProto.DataType
    T_F32 = 1,
    T_U8 = 2,
    T_I8 = 3,
    T_I32 = 6,
    T_I64 = 7,
    T_STRING = 8,
    T_BOOL = 9,
    T_F16 = 10,
    T_U4 = 21,
    T_I4 = 22,
};

typedef struct onnx_model {
    pb graph;  // GraphProto
    pb extra;  // more fields of ModelProto
    pb file;   // the finished file
    int opset; // of ai.onnx
} onnx_model;

static inline void
model_begin(onnx_model *m, int opset)
{
    memset(m, 0, sizeof *m);
    m->opset = opset;
}

// Calls add for each comma-separated part of the text ("" has none).
static inline void
for_each_part(const char *text, void (*add)(void *user, const char *part),
              void *user)
{
    char part[256];
    while (*text != '\0') {
        size_t n = strcspn(text, ",");
        assert_true(n < sizeof part);
        memcpy(part, text, n);
        part[n] = '\0';
        add(user, part);
        text += n + (text[n] == ',');
    }
}

static inline void
add_shape_dim(void *user, const char *part)
{
    pb dim = {.n = 0};
    char *end;
    long long number = strtoll(part, &end, 10);
    if (*part != '\0' && *end == '\0') {
        pb_int(&dim, 1, number);
    } else if (strcmp(part, "?") != 0) {
        pb_text(&dim, 2, part);
    }
    pb_message(user, 1, &dim);
}

// dims: "N,3,8,?" (? = a dim without a name), "" = scalar.
static inline pb
value_info(const char *name, int type, const char *dims)
{
    pb shape = {.n = 0}, tensor = {.n = 0}, kind = {.n = 0}, info = {.n = 0};
    for_each_part(dims, add_shape_dim, &shape);
    pb_int(&tensor, 1, type);
    pb_message(&tensor, 2, &shape);
    pb_message(&kind, 1, &tensor);
    pb_text(&info, 1, name);
    pb_message(&info, 2, &kind);
    return info;
}

static inline void
model_input(onnx_model *m, const char *name, int type, const char *dims)
{
    pb info = value_info(name, type, dims);
    pb_message(&m->graph, 11, &info);
}

static inline void
model_output(onnx_model *m, const char *name)
{
    pb info = {.n = 0};
    pb_text(&info, 1, name);
    pb_message(&m->graph, 12, &info);
}

static inline void
add_dim_number(void *user, const char *part)
{
    pb_int(user, 1, strtoll(part, NULL, 10));
}

// dims: "2,3". Data as raw bytes.
static inline pb
tensor_proto(const char *name, int type, const char *dims, const void *p,
             size_t bytes)
{
    pb t = {.n = 0};
    for_each_part(dims, add_dim_number, &t);
    pb_int(&t, 2, type);
    pb_text(&t, 8, name);
    pb_bytes(&t, 9, p, bytes);
    return t;
}

static inline void
model_weight(onnx_model *m, const char *name, int type, const char *dims,
             const void *p, size_t bytes)
{
    pb t = tensor_proto(name, type, dims, p, bytes);
    pb_message(&m->graph, 5, &t);
}

static inline void
add_i64(void *user, const char *part)
{
    int64_t x = strtoll(part, NULL, 10);
    pb_raw(user, &x, sizeof x);
}

// An i64 vector: "1,-1,4". "" is empty.
static inline void
model_ints(onnx_model *m, const char *name, const char *values)
{
    pb data = {.n = 0};
    char dims[32];
    for_each_part(values, add_i64, &data);
    snprintf(dims, sizeof dims, "%zu", data.n / 8);
    model_weight(m, name, T_I64, dims, data.p, data.n);
}

// f32 of that shape: 0, 1, 2, ... times step.
static inline void
model_floats(onnx_model *m, const char *name, const char *dims, float step)
{
    pb data = {.n = 0};
    size_t count = 1;
    for (const char *s = dims; *s != '\0';) {
        char *end;
        count *= (size_t)strtoll(s, &end, 10);
        s = *end == ',' ? end + 1 : end;
    }
    for (size_t i = 0; i < count; i++) {
        float x = (float)i * step;
        pb_raw(&data, &x, sizeof x);
    }
    model_weight(m, name, T_F32, dims, data.p, data.n);
}

static inline void
model_scalar(onnx_model *m, const char *name, float x)
{
    model_weight(m, name, T_F32, "", &x, sizeof x);
}

static inline void
add_attr_int(void *user, const char *part)
{
    pb_int(user, 8, strtoll(part, NULL, 10));
}

static inline void
add_attr_float(void *user, const char *part)
{
    pb_float(user, 7, strtof(part, NULL));
}

// "axis:i=1", "alpha:f=0.5", "mode:s=linear", "pads:I=1,1", "scales:F=2,2"
static inline pb
attribute(const char *text)
{
    pb a = {.n = 0};
    char name[64];
    size_t n = strcspn(text, ":");
    assert_true(n < sizeof name && text[n] == ':' && text[n + 2] == '=');
    memcpy(name, text, n);
    name[n] = '\0';
    const char *value = text + n + 3;
    pb_text(&a, 1, name);
    switch (text[n + 1]) {
    case 'i':
        pb_int(&a, 3, strtoll(value, NULL, 10));
        pb_int(&a, 20, 2);
        break;
    case 'f':
        pb_float(&a, 2, strtof(value, NULL));
        pb_int(&a, 20, 1);
        break;
    case 's':
        pb_text(&a, 4, value);
        pb_int(&a, 20, 3);
        break;
    case 'I':
        for_each_part(value, add_attr_int, &a);
        pb_int(&a, 20, 7);
        break;
    case 'F':
        for_each_part(value, add_attr_float, &a);
        pb_int(&a, 20, 6);
        break;
    default:
        fail_msg("attribute '%s'", text);
    }
    return a;
}

static inline void
add_node_input(void *user, const char *part)
{
    pb_text(user, 1, strcmp(part, "_") == 0 ? "" : part);
}

static inline void
add_node_output(void *user, const char *part)
{
    pb_text(user, 2, strcmp(part, "_") == 0 ? "" : part);
}

// op: "Conv" or "com.microsoft:QLinearAdd". inputs, outputs: "x,w,_,b", _ =
// absent. attrs: separated by spaces.
static inline pb
node_proto(const char *op, const char *inputs, const char *outputs,
           const char *attrs)
{
    pb node = {.n = 0};
    const char *colon = strchr(op, ':');
    for_each_part(inputs, add_node_input, &node);
    for_each_part(outputs, add_node_output, &node);
    pb_text(&node, 4, colon != NULL ? colon + 1 : op);
    if (colon != NULL) {
        pb_bytes(&node, 7, op, (size_t)(colon - op));
    }
    char text[256];
    while (*attrs != '\0') {
        size_t n = strcspn(attrs, " ");
        assert_true(n < sizeof text);
        memcpy(text, attrs, n);
        text[n] = '\0';
        pb a = attribute(text);
        pb_message(&node, 5, &a);
        attrs += n + (attrs[n] == ' ');
    }
    return node;
}

static inline void
model_node(onnx_model *m, const char *op, const char *inputs,
           const char *outputs, const char *attrs)
{
    pb node = node_proto(op, inputs, outputs, attrs);
    pb_message(&m->graph, 1, &node);
}

static inline pb
opset_proto(const char *domain, int version)
{
    pb o = {.n = 0};
    pb_text(&o, 1, domain);
    pb_int(&o, 2, version);
    return o;
}

static inline void
model_finish(onnx_model *m)
{
    m->file.n = 0;
    pb_int(&m->file, 1, 8);
    pb_text(&m->file, 2, "test");
    pb_message(&m->file, 7, &m->graph);
    pb base = opset_proto("", m->opset);
    pb_message(&m->file, 8, &base);
    pb contrib = opset_proto("com.microsoft", 1);
    pb_message(&m->file, 8, &contrib);
    pb_raw(&m->file, m->extra.p, m->extra.n);
}

// ---- importing
// ----------------------------------------------------------------

static inline ptqc_status
import_model(ptqc_ctx *ctx, onnx_model *m, pq_model **out)
{
    const pq_import_options options = {.no_hash = true};
    model_finish(m);
    return pq_import_check_bytes(ctx, "test.onnx", m->file.p, m->file.n,
                                 &options, out);
}

static inline void
describe_dims(const pq_graph *g, const pq_type *type, char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < type->rank && at < n; i++) {
        int64_t number;
        const pq_dim_expr *e = pq_dim_get(g, type->dims[i]);
        const char *comma = i == 0 ? "" : ",";
        if (pq_dim_is_const(g, type->dims[i], &number)) {
            at += (size_t)snprintf(out + at, n - at, "%s%lld", comma,
                                   (long long)number);
        } else if (e->op == PQ_DIM_SYMBOL) {
            pq_str name =
                pq_graph_symbol((pq_graph *)g, (uint32_t)e->value)->name;
            at += (size_t)snprintf(out + at, n - at, "%s%.*s", comma,
                                   PQ_STR_ARG(name));
        } else {
            at += (size_t)snprintf(out + at, n - at, "%s?", comma);
        }
    }
}

// "conv f32[N,4,6,6]; relu f32[N,4,6,6]": the live ops with their first
// output, * behind the type when it is quantized.
static inline void
describe_graph(const pq_graph *g, char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    PQ_FOR_EACH_OP(g, id)
    {
        const pq_op *op = pq_graph_op(g, id);
        const pq_value *v = pq_graph_value(g, op->outputs[0]);
        char dims[256];
        describe_dims(g, &v->type, dims, sizeof dims);
        at += (size_t)snprintf(
            out + at, n - at, "%s%s %s%s[%s]", at == 0 ? "" : "; ",
            pq_op_info_of(op->code)->name, pq_dtype_name(v->type.dtype),
            pq_quant_is_none(v->quant) ? "" : "*", dims);
        assert_true(at < n);
    }
}

// Imports, verifies and compares the description.
static inline void
expect_graph(onnx_model *m, const char *expected)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    char found[4096];
    if (import_model(ctx, m, &model) != PTQC_OK) {
        fail_msg("refused: %s", sink.text);
    }
    if (model->problem_count != 0) {
        fail_msg("%.*s: %.*s", PQ_STR_ARG(model->problems[0].op),
                 PQ_STR_ARG(model->problems[0].reason));
    }
    assert_int_equal(pq_graph_verify(model->graph), PTQC_OK);
    describe_graph(model->graph, found, sizeof found);
    assert_string_equal(found, expected);
    pq_model_destroy(model);
    ptqc_ctx_destroy(ctx);
}

// Refused with one error that has the text in it.
static inline void
expect_refused(onnx_model *m, const char *text)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    ptqc_status st = import_model(ctx, m, &model);
    if (st == PTQC_OK) {
        fail_msg("accepted, expected \"%s\"", text);
    }
    assert_int_equal(st, PTQC_E_INPUT);
    assert_null(model);
    assert_int_equal(sink.error_count, 1);
    assert_non_null(strstr(sink.text, "test.onnx"));
    if (strstr(sink.text, text) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", text, sink.text);
    }
    ptqc_ctx_destroy(ctx);
}

// Imported with a problem whose reason has the text in it, no diagnostic.
static inline void
expect_problem(onnx_model *m, const char *op, const char *text)
{
    pq_test_sink sink = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    pq_model *model = NULL;
    if (import_model(ctx, m, &model) != PTQC_OK) {
        fail_msg("refused: %s", sink.text);
    }
    assert_int_equal(sink.error_count, 0);
    assert_null(model->graph);
    assert_int_equal(model->problem_count, 1);
    const pq_import_problem *p = &model->problems[0];
    assert_int_equal(p->status, PTQC_E_UNSUPPORTED);
    assert_true(pq_str_equal_z(p->op, op));
    char reason[1024];
    snprintf(reason, sizeof reason, "%.*s", PQ_STR_ARG(p->reason));
    if (strstr(reason, text) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", text, reason);
    }
    pq_model_destroy(model);
    ptqc_ctx_destroy(ctx);
}

#endif
