// SPDX-License-Identifier: Apache-2.0
//
// The messages of onnx.proto (ONNX IR version 3 to 12) as C structs: decoded
// syntax, not yet checked for meaning. Texts and raw data are views into the
// file; arrays live in the arena it was decoded with.
#ifndef PTQC_FRONTEND_ONNX_MODEL_H
#define PTQC_FRONTEND_ONNX_MODEL_H

#include "base/arena.h"
#include "base/str.h"
#include "frontend/onnx/wire.h"

typedef struct pq_onnx_graph pq_onnx_graph;
typedef struct pq_onnx_attr pq_onnx_attr;

// Every message begins with the set of field numbers (below 64) it had.
#define PQ_ONNX_HAS(message, number) (((message)->seen >> (number) & 1) != 0)

// Lists share one layout: pointer, count.
typedef struct pq_onnx_strs {
    pq_str *p;
    size_t n;
} pq_onnx_strs;
typedef struct pq_onnx_i64s {
    int64_t *p; // varints as they are; unsigned ones by their bits
    size_t n;
} pq_onnx_i64s;
typedef struct pq_onnx_f32s {
    float *p;
    size_t n;
} pq_onnx_f32s;
typedef struct pq_onnx_f64s {
    double *p;
    size_t n;
} pq_onnx_f64s;

typedef struct pq_onnx_pair { // StringStringEntryProto
    uint64_t seen;
    pq_str key, value;
} pq_onnx_pair;
typedef struct pq_onnx_pairs {
    pq_onnx_pair *p;
    size_t n;
} pq_onnx_pairs;

// TensorProto.DataType
enum {
    PQ_ONNX_FLOAT = 1,
    PQ_ONNX_UINT8,
    PQ_ONNX_INT8,
    PQ_ONNX_UINT16,
    PQ_ONNX_INT16,
    PQ_ONNX_INT32,
    PQ_ONNX_INT64,
    PQ_ONNX_STRING,
    PQ_ONNX_BOOL,
    PQ_ONNX_FLOAT16,
    PQ_ONNX_DOUBLE,
    PQ_ONNX_UINT32,
    PQ_ONNX_UINT64,
    PQ_ONNX_COMPLEX64,
    PQ_ONNX_COMPLEX128,
    PQ_ONNX_BFLOAT16,
    PQ_ONNX_FLOAT8E4M3FN,
    PQ_ONNX_FLOAT8E4M3FNUZ,
    PQ_ONNX_FLOAT8E5M2,
    PQ_ONNX_FLOAT8E5M2FNUZ,
    PQ_ONNX_UINT4,
    PQ_ONNX_INT4,
    PQ_ONNX_FLOAT4E2M1,
    PQ_ONNX_FLOAT8E8M0,
    PQ_ONNX_UINT2,
    PQ_ONNX_INT2,
    PQ_ONNX_DATA_TYPE_END,
};

enum {
    PQ_ONNX_TENSOR_INT32_DATA = 5, // field numbers of TensorProto
    PQ_ONNX_TENSOR_RAW_DATA = 9,
};

typedef struct pq_onnx_tensor { // TensorProto
    uint64_t seen;
    pq_onnx_i64s dims;
    int64_t data_type;
    int64_t data_location; // 1: external
    pq_str name;
    pq_span raw_data, segment;
    pq_onnx_f32s float_data;
    pq_onnx_i64s int32_data, int64_data, uint64_data;
    pq_onnx_f64s double_data;
    pq_onnx_strs string_data;
    pq_onnx_pairs external_data;
} pq_onnx_tensor;
typedef struct pq_onnx_tensors {
    pq_onnx_tensor *p;
    size_t n;
} pq_onnx_tensors;

typedef struct pq_onnx_sparse { // SparseTensorProto
    uint64_t seen;
    pq_onnx_tensor *values, *indices;
    pq_onnx_i64s dims;
} pq_onnx_sparse;
typedef struct pq_onnx_sparses {
    pq_onnx_sparse *p;
    size_t n;
} pq_onnx_sparses;

enum {
    PQ_ONNX_DIM_VALUE = 1, // field numbers of Dimension
    PQ_ONNX_DIM_PARAM = 2,
    PQ_ONNX_TENSOR_SHAPE = 2, // of TypeProto.Tensor
};

typedef struct pq_onnx_dim { // TensorShapeProto.Dimension
    uint64_t seen;
    int64_t value;
    pq_str param;
} pq_onnx_dim;
typedef struct pq_onnx_dims {
    pq_onnx_dim *p;
    size_t n;
} pq_onnx_dims;
typedef struct pq_onnx_shape {
    uint64_t seen;
    pq_onnx_dims dims;
} pq_onnx_shape;
typedef struct pq_onnx_tensor_type {
    uint64_t seen;
    int64_t elem_type;
    pq_onnx_shape *shape;
} pq_onnx_tensor_type;
typedef struct pq_onnx_type { // TypeProto; other kinds only as "seen"
    uint64_t seen;
    pq_onnx_tensor_type *tensor;
} pq_onnx_type;
typedef struct pq_onnx_value { // ValueInfoProto
    uint64_t seen;
    pq_str name;
    pq_onnx_type *type;
} pq_onnx_value;
typedef struct pq_onnx_values {
    pq_onnx_value *p;
    size_t n;
} pq_onnx_values;

// AttributeProto.AttributeType
typedef enum pq_onnx_attr_type {
    PQ_ONNX_ATTR_FLOAT = 1,
    PQ_ONNX_ATTR_INT,
    PQ_ONNX_ATTR_STRING,
    PQ_ONNX_ATTR_TENSOR,
    PQ_ONNX_ATTR_GRAPH,
    PQ_ONNX_ATTR_FLOATS,
    PQ_ONNX_ATTR_INTS,
    PQ_ONNX_ATTR_STRINGS,
    PQ_ONNX_ATTR_TENSORS,
    PQ_ONNX_ATTR_GRAPHS,
    PQ_ONNX_ATTR_SPARSE_TENSOR,
    PQ_ONNX_ATTR_SPARSE_TENSORS,
    PQ_ONNX_ATTR_TYPE_PROTO,
    PQ_ONNX_ATTR_TYPE_PROTOS,
    PQ_ONNX_ATTR_TYPE_END,
} pq_onnx_attr_type;

struct pq_onnx_attr { // AttributeProto
    uint64_t seen;
    pq_str name, ref_name;
    int64_t type; // 0 in files of IR version 1 and 2
    float f;
    int64_t i;
    pq_str s;
    pq_onnx_tensor *t;
    pq_onnx_graph *g;
    pq_onnx_sparse *sparse;
    pq_onnx_f32s floats;
    pq_onnx_i64s ints;
    pq_onnx_strs strings;
};
typedef struct pq_onnx_attrs {
    pq_onnx_attr *p;
    size_t n;
} pq_onnx_attrs;

typedef struct pq_onnx_node { // NodeProto
    uint64_t seen;
    pq_str name, op_type, domain, overload;
    pq_onnx_strs inputs, outputs;
    pq_onnx_attrs attrs;
} pq_onnx_node;
typedef struct pq_onnx_nodes {
    pq_onnx_node *p;
    size_t n;
} pq_onnx_nodes;

struct pq_onnx_graph { // GraphProto
    uint64_t seen;
    pq_str name;
    pq_onnx_nodes nodes;
    pq_onnx_tensors initializers;
    pq_onnx_sparses sparse_initializers;
    pq_onnx_values inputs, outputs, value_infos;
};

typedef struct pq_onnx_opset { // OperatorSetIdProto
    uint64_t seen;
    pq_str domain;
    int64_t version;
} pq_onnx_opset;
typedef struct pq_onnx_opsets {
    pq_onnx_opset *p;
    size_t n;
} pq_onnx_opsets;

typedef struct pq_onnx_function { // FunctionProto
    uint64_t seen;
    pq_str name, domain, overload;
    pq_onnx_strs inputs, outputs, attr_names;
    pq_onnx_attrs attr_defaults;
    pq_onnx_nodes nodes;
    pq_onnx_opsets opsets;
} pq_onnx_function;
typedef struct pq_onnx_functions {
    pq_onnx_function *p;
    size_t n;
} pq_onnx_functions;

typedef struct pq_onnx_model { // ModelProto
    uint64_t seen;
    int64_t ir_version, model_version;
    pq_str producer_name, producer_version, domain;
    pq_onnx_graph *graph;
    pq_onnx_opsets opsets;
    pq_onnx_pairs metadata;
    pq_onnx_functions functions;
    uint64_t node_count; // of all graphs and functions
} pq_onnx_model;

// Decodes the whole file. PTQC_E_INPUT names the byte at which it stops
// being ONNX. `path` is for messages.
PTQC_MUST_USE ptqc_status pq_onnx_decode(pq_arena *arena, const char *path,
                                         const void *bytes, size_t n,
                                         pq_onnx_model *out);
// The same of a file that is one TensorProto.
PTQC_MUST_USE ptqc_status pq_onnx_decode_tensor(pq_arena *arena,
                                                const char *path,
                                                const void *bytes, size_t n,
                                                pq_onnx_tensor *out);
// "FLOAT"; "unknown" for numbers that are none.
const char *pq_onnx_data_type_name(int64_t data_type);
const char *pq_onnx_attr_type_name(int64_t type);

#endif
