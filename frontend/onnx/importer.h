// SPDX-License-Identifier: Apache-2.0
//
// The inside of the ONNX importer: its state, and what the importer functions
// of single operators (ops_*.c, listed in ops.def) work with.
//
// An importer function gets one node with its operands resolved, checks what
// is particular to the operator, and builds graph ops. It says errors without
// file, node and operator: the caller puts these in front.
#ifndef PTQC_FRONTEND_ONNX_IMPORTER_H
#define PTQC_FRONTEND_ONNX_IMPORTER_H

#include "frontend/import.h"
#include "frontend/onnx/model.h"
#include "ir/builder.h"

typedef struct pq_onnx_call pq_onnx_call;
typedef ptqc_status (*pq_onnx_import_fn)(pq_onnx_call *c);

// Whether quantized operands may reach an importer: to operators that take
// integers as numbers, codes would mean something else.
typedef enum pq_onnx_codes {
    PQ_ONNX_PLAIN,
    PQ_ONNX_CODES,
} pq_onnx_codes;

// One row of ops.def.
typedef struct pq_onnx_op {
    const char *domain; // "" = ai.onnx
    const char *name;
    int since, until; // versions of the domain the importer knows
    uint32_t min_inputs, max_inputs;
    uint32_t max_outputs;
    pq_onnx_codes codes;
    pq_onnx_import_fn import;
    int param; // what tells apart operators that share an importer
} pq_onnx_op;

const pq_onnx_op *pq_onnx_op_find(pq_str domain, pq_str name);

// Names visible to a node. A name whose value could not be imported is
// poisoned: nodes that read it are skipped without a message of their own.
typedef struct pq_onnx_scope pq_onnx_scope;
struct pq_onnx_scope {
    const pq_onnx_scope *parent; // of a subgraph; NULL: model or function
    pq_strmap values;            // name -> value index, or POISON
};
#define PQ_ONNX_POISON UINT64_MAX

// The call of a model-local function that is being inlined.
typedef struct pq_onnx_frame pq_onnx_frame;
struct pq_onnx_frame {
    const pq_onnx_frame *caller; // NULL: none
    const pq_onnx_function *function;
    const pq_onnx_node *node; // whose attributes the body refers to
};

typedef struct pq_onnx_external pq_onnx_external; // an open data file

typedef struct pq_onnx_problem pq_onnx_problem;
struct pq_onnx_problem {
    pq_onnx_problem *next; // that occurred before
    pq_str op;             // empty: no node
    pq_str reason, place;
};

typedef struct pq_onnx_importer {
    ptqc_ctx *ctx;
    const char *path;
    const pq_import_options *options;
    pq_model *model; // being filled
    pq_graph *g;
    pq_arena *arena; // scratch, and the decoded file
    pq_onnx_model file;
    uint64_t node_budget;        // nodes that may still be imported
    unsigned depth;              // of subgraphs and functions
    unsigned guesses;            // branches being imported that may never run
    pq_onnx_external *externals; // list
    uint64_t *dim_used;          // [options->dim_count] times applied
    pq_onnx_problem *problems;   // list, newest first
    uint32_t problem_count;
    uint32_t input_index; // for names of unnamed dims
    bool is_quantized;
    // The message an importer function said, held back.
    ptqc_diag_fn diag;
    void *diag_user;
    ptqc_status said_status;
    char said[4096];
} pq_onnx_importer;

struct pq_onnx_call {
    pq_onnx_importer *im;
    ptqc_ctx *ctx;
    pq_graph *g;
    pq_arena *arena;
    const pq_onnx_node *node;
    const pq_onnx_op *op;
    int64_t opset; // version of the node's domain
    pq_onnx_scope *scope;
    const pq_onnx_frame *frame;
    pq_value_id *inputs;   // [input_count], none = absent
    uint32_t input_count;  // absent ones at the end are not counted
    pq_value_id *outputs;  // [output_count], to be filled
    uint32_t output_count; // absent ones at the end are not counted
    uint64_t attrs_read;   // bit i: node->attrs.p[i] was asked for
    bool is_poisoned;      // outputs are unknown, and it has been said
};

// ---- graphs (import.c, nodes.c) --------------------------------------------

// Imports the nodes in order; every output is defined in the scope.
PTQC_MUST_USE ptqc_status pq_onnx_import_nodes(pq_onnx_importer *im,
                                               pq_onnx_scope *scope,
                                               const pq_onnx_frame *frame,
                                               const pq_onnx_nodes *nodes);
// Defines the initializers of a graph.
PTQC_MUST_USE ptqc_status pq_onnx_import_weights(pq_onnx_importer *im,
                                                 pq_onnx_scope *scope,
                                                 const pq_onnx_graph *graph);
// Imports the body of a subgraph in a scope below c's; outputs[i] = value of
// its output i. Sets c->is_poisoned when the body has problems of its own.
PTQC_MUST_USE ptqc_status pq_onnx_import_subgraph(pq_onnx_call *c,
                                                  const pq_onnx_graph *body,
                                                  pq_value_id *outputs,
                                                  uint32_t output_count);
// E_INPUT when the name is taken or empty.
PTQC_MUST_USE ptqc_status pq_onnx_define(pq_onnx_importer *im,
                                         pq_onnx_scope *scope, pq_str name,
                                         uint64_t value);
// Looks in the scope and those around it.
bool pq_onnx_lookup(const pq_onnx_scope *scope, pq_str name, uint64_t *out);
// E_INPUT when a tensor of that type fits no address space.
PTQC_MUST_USE ptqc_status pq_onnx_check_size(pq_onnx_importer *im,
                                             const pq_type *type);
// Makes *v a constant when it is small and known: integers from shapes, or
// what an op gives for constants (fold.c).
PTQC_MUST_USE ptqc_status pq_onnx_fold(pq_onnx_call *c, pq_value_id *v);
// The name a node goes by in messages: its own, else its first output.
pq_str pq_onnx_node_label(const pq_onnx_node *node);
// "Conv", "com.microsoft:QLinearAdd"; p is NULL when out of memory (said).
pq_str pq_onnx_op_label(pq_arena *arena, const pq_onnx_node *node);
// "" and "ai.onnx" are one domain.
bool pq_onnx_domain_equal(pq_str a, pq_str b);

// ---- messages held back (import.c) -----------------------------------------

// Puts "what 'name' (detail): " in front of the message that is held back.
void pq_onnx_prefix(pq_onnx_importer *im, const char *what, pq_str name,
                    pq_str detail);
// Makes the held-back message a problem of the model.
PTQC_MUST_USE ptqc_status pq_onnx_add_problem(pq_onnx_importer *im, pq_str op,
                                              pq_str place);

// ---- what the file says about itself (facts.c) -----------------------------

// Fills the facts of im->model from the decoded file; the file may be closed
// before the model ends.
PTQC_MUST_USE ptqc_status pq_onnx_collect_facts(pq_onnx_importer *im);
// Groups the problems by operator and reason, in order of occurrence.
PTQC_MUST_USE ptqc_status pq_onnx_collect_problems(pq_onnx_importer *im);

// ---- tensors (tensor.c, external_data.c) -----------------------------------

// Adds the tensor to the graph's constants; non-finite elements are counted
// and warned of under `name`. E_UNSUPPORTED for types ptqc does not have.
PTQC_MUST_USE ptqc_status pq_onnx_tensor_constant(pq_onnx_importer *im,
                                                  const pq_onnx_tensor *t,
                                                  pq_str name,
                                                  pq_const_id *out);
PTQC_MUST_USE ptqc_status pq_onnx_sparse_constant(pq_onnx_importer *im,
                                                  const pq_onnx_sparse *t,
                                                  pq_str name,
                                                  pq_const_id *out);
// ptqc's type of an ONNX data type. E_INPUT when there is no such number.
PTQC_MUST_USE ptqc_status pq_onnx_dtype(ptqc_ctx *ctx, int64_t data_type,
                                        ptqc_dtype *out);
// The same without a message; none for what ptqc does not have.
ptqc_dtype pq_onnx_dtype_or_none(int64_t data_type);
// The bytes of an external tensor: `bytes` long, inside the file.
PTQC_MUST_USE ptqc_status pq_onnx_external_bytes(pq_onnx_importer *im,
                                                 const pq_onnx_tensor *t,
                                                 size_t bytes, pq_span *out);
// Hands the open files to the graph and lists them in the model.
PTQC_MUST_USE ptqc_status pq_onnx_external_finish(pq_onnx_importer *im);
// Closes those that were not handed over.
void pq_onnx_external_close(pq_onnx_importer *im);

// ---- attributes (attrs.c)
// ----------------------------------------------------- Absent attributes leave
// *out as it is. A wrong type is E_INPUT. References of function bodies are
// followed. *out_found may be NULL.

PTQC_MUST_USE ptqc_status pq_onnx_attr_find(pq_onnx_call *c, const char *name,
                                            pq_onnx_attr_type type,
                                            const pq_onnx_attr **out);
PTQC_MUST_USE ptqc_status pq_onnx_attr_i64(pq_onnx_call *c, const char *name,
                                           int64_t *out);
// Refuses values outside [min, max].
PTQC_MUST_USE ptqc_status pq_onnx_attr_range(pq_onnx_call *c, const char *name,
                                             int64_t min, int64_t max,
                                             int64_t *out);
PTQC_MUST_USE ptqc_status pq_onnx_attr_f32(pq_onnx_call *c, const char *name,
                                           float *out);
PTQC_MUST_USE ptqc_status pq_onnx_attr_str(pq_onnx_call *c, const char *name,
                                           pq_str *out);
PTQC_MUST_USE ptqc_status pq_onnx_attr_i64s(pq_onnx_call *c, const char *name,
                                            pq_onnx_i64s *out);
PTQC_MUST_USE ptqc_status pq_onnx_attr_f32s(pq_onnx_call *c, const char *name,
                                            pq_onnx_f32s *out);
// Marks attributes that change nothing here as read.
void pq_onnx_attr_ignore(pq_onnx_call *c, const char *name);
// E_UNSUPPORTED when an attribute was not asked for.
PTQC_MUST_USE ptqc_status pq_onnx_attrs_check(pq_onnx_call *c);
// E_INPUT when an attribute is given twice; asked before the others.
PTQC_MUST_USE ptqc_status pq_onnx_attrs_unique(pq_onnx_call *c);

// ---- operands (operands.c) -------------------------------------------------

pq_value_id pq_onnx_input(const pq_onnx_call *c, uint32_t i); // none: absent
const pq_type *pq_onnx_type_of(const pq_onnx_call *c, pq_value_id v);
// Whether output i is asked for.
bool pq_onnx_wants(const pq_onnx_call *c, uint32_t i);
// An integer vector or scalar known before running, symbolic where it must
// be. E_UNSUPPORTED, naming `what`, when it is only known while running.
PTQC_MUST_USE ptqc_status pq_onnx_known_dims(pq_onnx_call *c, pq_value_id v,
                                             const char *what,
                                             const pq_dim **out,
                                             uint32_t *out_count);
// The same, and every element a number.
PTQC_MUST_USE ptqc_status pq_onnx_known_i64s(pq_onnx_call *c, pq_value_id v,
                                             const char *what,
                                             pq_onnx_i64s *out);
// Numbers of a constant of any arithmetic type, as f32.
PTQC_MUST_USE ptqc_status pq_onnx_known_f32s(pq_onnx_call *c, pq_value_id v,
                                             const char *what,
                                             pq_onnx_f32s *out);
// Integers of a constant, 4-bit ones too.
PTQC_MUST_USE ptqc_status pq_onnx_known_codes(pq_onnx_call *c, pq_value_id v,
                                              const char *what,
                                              pq_onnx_i64s *out);
// One number of a constant; more or fewer elements than one are E_INPUT.
PTQC_MUST_USE ptqc_status pq_onnx_known_f32(pq_onnx_call *c, pq_value_id v,
                                            const char *what, float *out);
// Whether v's elements are known numbers or a constant (no messages).
bool pq_onnx_is_known(const pq_onnx_call *c, pq_value_id v);
// axis in [-rank, rank) -> [0, rank); E_INPUT outside.
PTQC_MUST_USE ptqc_status pq_onnx_axis(pq_onnx_call *c, int64_t axis,
                                       uint32_t rank, int64_t *out);
// Axes without repeats, ascending order not required; converts in place.
PTQC_MUST_USE ptqc_status pq_onnx_axes(pq_onnx_call *c, pq_onnx_i64s axes,
                                       uint32_t rank);

// A copy that may be changed.
PTQC_MUST_USE ptqc_status pq_onnx_own_i64s(pq_onnx_call *c, pq_onnx_i64s *list);
// The failure behind a null dim, which was said; OK for others.
PTQC_MUST_USE ptqc_status pq_onnx_dim_check(pq_onnx_call *c, pq_dim d);
PTQC_MUST_USE ptqc_status pq_onnx_product(pq_onnx_call *c, const pq_dim *dims,
                                          uint32_t n, pq_dim *out);

// ---- building (operands.c) -------------------------------------------------

// Begins an op with the node's name.
void pq_onnx_begin(pq_onnx_call *c, pq_builder *b, pq_opcode code);
// Ends an op with one output. When `out` is a slot of c->outputs the value gets
// the node's name for it; so do all functions below.
PTQC_MUST_USE ptqc_status pq_onnx_end(pq_onnx_call *c, pq_builder *b,
                                      pq_value_id *out);
// Ends the op whose outputs are the node's outputs.
PTQC_MUST_USE ptqc_status pq_onnx_finish(pq_onnx_call *c, pq_builder *b);
PTQC_MUST_USE ptqc_status pq_onnx_unary(pq_onnx_call *c, pq_opcode code,
                                        pq_value_id x, pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_onnx_binary(pq_onnx_call *c, pq_opcode code,
                                         pq_value_id a, pq_value_id b,
                                         pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_onnx_reshape(pq_onnx_call *c, pq_value_id x,
                                          const pq_dim *shape, uint32_t rank,
                                          pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_onnx_transpose(pq_onnx_call *c, pq_value_id x,
                                            const int64_t *perm, uint32_t rank,
                                            pq_value_id *out);
PTQC_MUST_USE ptqc_status pq_onnx_cast(pq_onnx_call *c, pq_value_id x,
                                       ptqc_dtype to, pq_value_id *out);
// A scalar constant of a type, from a number.
PTQC_MUST_USE ptqc_status pq_onnx_scalar(pq_onnx_call *c, ptqc_dtype dtype,
                                         double value, pq_value_id *out);
#define PQ_ONNX_FAIL(c, status, ...) PQ_FAIL((c)->ctx, status, __VA_ARGS__)

#endif
