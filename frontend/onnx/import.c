// SPDX-License-Identifier: Apache-2.0
//
// From the decoded file to a graph: opsets, initializers, inputs, outputs,
// and the order of things. Nodes are walked in nodes.c.
//
// Diagnostics are held back while the import runs: what a callee says about
// its fact gets the place and the file put in front, and is said once. What is
// unsupported becomes a problem of the model and the walk goes on.
#include <stdio.h>
#include <string.h>

#include "frontend/onnx/importer.h"
#include "frontend/onnx/onnx.h"
#include "ir/rewrite.h"

enum {
    OPSET_MIN = 7, // broadcasting as today, batch norm without training parts
    OPSET_MAX = 27,
    EXPANSION = 64, // nodes that inlining makes, per byte of the file
    EXPANSION_LIMIT = 1000000,
};

// ---- messages held back -----------------------------------------------------

static void
hold_back(void *user, ptqc_severity severity, ptqc_status status,
          const char *text)
{
    pq_onnx_importer *im = user;
    if (severity != PTQC_SEVERITY_ERROR) {
        if (im->diag != NULL) {
            im->diag(im->diag_user, severity, status, text);
        }
        return;
    }
    im->said_status = status;
    snprintf(im->said, sizeof im->said, "%s", text);
}

void
pq_onnx_prefix(pq_onnx_importer *im, const char *what, pq_str name,
               pq_str detail)
{
    enum {
        NAME_SHOWN = 200,
        TEXT_SHOWN = 3000,
    };
    char before[TEXT_SHOWN];
    snprintf(before, sizeof before, "%.*s", TEXT_SHOWN - 1, im->said);
    int name_shown = name.n < NAME_SHOWN ? (int)name.n : NAME_SHOWN;
    int detail_shown = detail.n < NAME_SHOWN ? (int)detail.n : NAME_SHOWN;
    if (detail.n == 0) {
        snprintf(im->said, sizeof im->said, "%s '%.*s': %s", what, name_shown,
                 name.p, before);
    } else {
        snprintf(im->said, sizeof im->said, "%s '%.*s' (%.*s): %s", what,
                 name_shown, name.p, detail_shown, detail.p, before);
    }
}

ptqc_status
pq_onnx_add_problem(pq_onnx_importer *im, pq_str op, pq_str place)
{
    pq_onnx_problem *p = pq_arena_alloc(im->arena, sizeof *p);
    PQ_TRY_ALLOC(p);
    size_t n = strlen(im->said);
    char *reason = pq_arena_strndup(im->arena, im->said, n);
    PQ_TRY_ALLOC(reason);
    *p = (pq_onnx_problem){im->problems, op, {reason, n}, place};
    im->problems = p;
    im->problem_count++;
    return PTQC_OK;
}

// ---- opsets -----------------------------------------------------------------

static ptqc_status
check_opsets(pq_onnx_importer *im)
{
    const pq_onnx_opsets *opsets = &im->file.opsets;
    if (opsets->n == 0) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected an opset_import, found none");
    }
    for (size_t i = 0; i < opsets->n; i++) {
        const pq_onnx_opset *o = &opsets->p[i];
        if (o->version < 1) {
            return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                           "opset_import of '%.*s': expected a version of at "
                           "least 1, found %lld",
                           PQ_STR_ARG(o->domain), (long long)o->version);
        }
        for (size_t k = 0; k < i; k++) {
            if (pq_onnx_domain_equal(o->domain, opsets->p[k].domain)) {
                return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                               "expected one version of each domain, found "
                               "'%.*s' twice",
                               PQ_STR_ARG(o->domain));
            }
        }
        bool is_base = pq_onnx_domain_equal(o->domain, (pq_str){0});
        if (is_base && (o->version < OPSET_MIN || o->version > OPSET_MAX)) {
            return PQ_FAIL(im->ctx, PTQC_E_UNSUPPORTED,
                           "opset %lld is not supported, %d to %d are",
                           (long long)o->version, OPSET_MIN, OPSET_MAX);
        }
    }
    return PTQC_OK;
}

// ---- initializers -----------------------------------------------------------

// A new name in the scope; the value is a value's index or POISON.
ptqc_status
pq_onnx_define(pq_onnx_importer *im, pq_onnx_scope *scope, pq_str name,
               uint64_t value)
{
    bool existed = false;
    if (name.n == 0) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected a name, found an empty one");
    }
    PQ_TRY(pq_strmap_set(&scope->values, name, value, &existed));
    if (existed) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected every value to be defined once, found "
                       "'%.*s' again",
                       PQ_STR_ARG(name));
    }
    return PTQC_OK;
}

// An unsupported tensor poisons its name; other failures end the import.
static ptqc_status
define_weight(pq_onnx_importer *im, pq_onnx_scope *scope, pq_str name,
              ptqc_status st, pq_const_id constant)
{
    uint64_t value = PQ_ONNX_POISON;
    if (st == PTQC_OK) {
        pq_value_id v = pq_graph_add_constant_value(im->g, name, constant);
        if (pq_value_is_none(v)) {
            return PTQC_E_RESOURCE;
        }
        value = v.index;
    } else if (st == PTQC_E_UNSUPPORTED) {
        PQ_TRY(pq_onnx_add_problem(im, (pq_str){0}, name));
    } else {
        pq_onnx_prefix(im, "initializer", name, (pq_str){0});
        return st;
    }
    st = pq_onnx_define(im, scope, name, value);
    if (st != PTQC_OK) {
        pq_onnx_prefix(im, "initializer", name, (pq_str){0});
    }
    return st;
}

ptqc_status
pq_onnx_import_weights(pq_onnx_importer *im, pq_onnx_scope *scope,
                       const pq_onnx_graph *graph)
{
    pq_const_id constant = {0};
    for (size_t i = 0; i < graph->initializers.n; i++) {
        const pq_onnx_tensor *t = &graph->initializers.p[i];
        ptqc_status st = pq_onnx_tensor_constant(im, t, t->name, &constant);
        PQ_TRY(define_weight(im, scope, t->name, st, constant));
    }
    for (size_t i = 0; i < graph->sparse_initializers.n; i++) {
        const pq_onnx_sparse *t = &graph->sparse_initializers.p[i];
        pq_str name = t->values == NULL ? (pq_str){0} : t->values->name;
        ptqc_status st = pq_onnx_sparse_constant(im, t, name, &constant);
        PQ_TRY(define_weight(im, scope, name, st, constant));
    }
    return PTQC_OK;
}

// ---- inputs -----------------------------------------------------------------

// A number the caller gave for a symbolic dimension.
static bool
find_override(pq_onnx_importer *im, pq_str name, int64_t *out)
{
    uint32_t count = im->options == NULL ? 0 : im->options->dim_count;
    for (uint32_t i = 0; i < count; i++) {
        if (pq_str_equal(im->options->dims[i].name, name)) {
            im->dim_used[i]++;
            *out = im->options->dims[i].value;
            return true;
        }
    }
    return false;
}

static ptqc_status
import_dim(pq_onnx_importer *im, const pq_onnx_value *value, size_t axis,
           pq_dim *out)
{
    const pq_onnx_dim *d = &value->type->tensor->shape->dims.p[axis];
    if (PQ_ONNX_HAS(d, PQ_ONNX_DIM_VALUE)) {
        if (d->value < 0) {
            return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                           "dimension %zu: expected no negative number, found "
                           "%lld",
                           axis, (long long)d->value);
        }
        *out = pq_dim_const(im->g, d->value);
        return pq_dim_is_none(*out) ? PTQC_E_RESOURCE : PTQC_OK;
    }
    char made_up[64];
    pq_str name = d->param;
    if (name.n == 0) {
        int n = snprintf(made_up, sizeof made_up, "input%u_dim%zu",
                         im->input_index, axis);
        name = (pq_str){made_up, (size_t)n};
    }
    int64_t number;
    *out = find_override(im, name, &number)
               ? pq_dim_const(im->g, number)
               : pq_dim_symbol(im->g, name, 1, INT64_MAX);
    return pq_dim_is_none(*out) ? PTQC_E_RESOURCE : PTQC_OK;
}

static ptqc_status
import_type(pq_onnx_importer *im, const pq_onnx_value *value, pq_type *out)
{
    if (value->type == NULL || value->type->tensor == NULL) {
        return PQ_FAIL(im->ctx, PTQC_E_UNSUPPORTED,
                       "inputs that are no tensors are not supported");
    }
    const pq_onnx_tensor_type *t = value->type->tensor;
    ptqc_dtype dtype = PTQC_DTYPE_NONE;
    PQ_TRY(pq_onnx_dtype(im->ctx, t->elem_type, &dtype));
    if (t->shape == NULL) {
        return PQ_FAIL(im->ctx, PTQC_E_UNSUPPORTED,
                       "inputs of unknown rank are not supported");
    }
    size_t rank = t->shape->dims.n;
    if (rank > PTQC_MAX_RANK) {
        return PQ_FAIL(im->ctx, PTQC_E_UNSUPPORTED,
                       "inputs of rank %zu are not supported, at most %d", rank,
                       PTQC_MAX_RANK);
    }
    pq_dim dims[PTQC_MAX_RANK] = {{0}};
    for (size_t i = 0; i < rank; i++) {
        PQ_TRY(import_dim(im, value, i, &dims[i]));
    }
    bool made = pq_type_make(im->g, dtype, dims, (uint32_t)rank, out);
    return made ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
import_input(pq_onnx_importer *im, pq_onnx_scope *scope,
             const pq_onnx_value *value)
{
    pq_type type;
    ptqc_status st = import_type(im, value, &type);
    if (st == PTQC_E_UNSUPPORTED) {
        PQ_TRY(pq_onnx_add_problem(im, (pq_str){0}, value->name));
        return pq_onnx_define(im, scope, value->name, PQ_ONNX_POISON);
    }
    PQ_TRY(st);
    PQ_TRY(pq_onnx_check_size(im, &type));
    pq_value_id v = pq_graph_add_value(im->g, value->name, type);
    if (pq_value_is_none(v)) {
        return PTQC_E_RESOURCE;
    }
    PQ_TRY(pq_graph_add_input(im->g, v));
    return pq_onnx_define(im, scope, value->name, v.index);
}

// Files of IR version 3 list initializers among the inputs too.
static bool
is_weight(const pq_onnx_importer *im, const pq_onnx_scope *scope, pq_str name)
{
    uint64_t index;
    if (!pq_strmap_find(&scope->values, name, &index)) {
        return false;
    }
    return index == PQ_ONNX_POISON ||
           !pq_const_is_none(
               pq_graph_value(im->g, (pq_value_id){(uint32_t)index})->constant);
}

static ptqc_status
import_inputs(pq_onnx_importer *im, pq_onnx_scope *scope,
              const pq_onnx_graph *graph)
{
    for (size_t i = 0; i < graph->inputs.n; i++) {
        const pq_onnx_value *value = &graph->inputs.p[i];
        if (is_weight(im, scope, value->name)) {
            continue;
        }
        ptqc_status st = import_input(im, scope, value);
        if (st != PTQC_OK) {
            pq_onnx_prefix(im, "input", value->name, (pq_str){0});
            return st;
        }
        im->input_index++;
    }
    return PTQC_OK;
}

static ptqc_status
check_given_dims(pq_onnx_importer *im)
{
    uint32_t count = im->options == NULL ? 0 : im->options->dim_count;
    for (uint32_t i = 0; i < count; i++) {
        const pq_import_dim *d = &im->options->dims[i];
        if (d->value < 1) {
            return PQ_FAIL(im->ctx, PTQC_E_USAGE,
                           "dimension '%.*s': expected a size of at least 1, "
                           "found %lld",
                           PQ_STR_ARG(d->name), (long long)d->value);
        }
    }
    return PTQC_OK;
}

static ptqc_status
check_used_dims(pq_onnx_importer *im)
{
    uint32_t count = im->options == NULL ? 0 : im->options->dim_count;
    for (uint32_t i = 0; i < count; i++) {
        if (im->dim_used[i] == 0) {
            return PQ_FAIL(im->ctx, PTQC_E_USAGE,
                           "expected the name of a symbolic dimension of an "
                           "input, found '%.*s'",
                           PQ_STR_ARG(im->options->dims[i].name));
        }
    }
    return PTQC_OK;
}

// ---- outputs ----------------------------------------------------------------

// A graph output is made by an op and is no other output too.
static ptqc_status
own_output(pq_onnx_importer *im, pq_str name, pq_value_id *v)
{
    bool is_own = !pq_op_is_none(pq_graph_value(im->g, *v)->producer);
    for (uint32_t i = 0; i < pq_graph_output_count(im->g); i++) {
        is_own = is_own && !pq_value_equal(pq_graph_output(im->g, i), *v);
    }
    if (is_own) {
        return PTQC_OK;
    }
    pq_builder b;
    pq_build_begin(&b, im->g, (pq_op_id){0}, PQ_OP_IDENTITY, name);
    pq_build_input(&b, *v);
    return pq_build_end(&b, &name, v, NULL);
}

static ptqc_status
import_output(pq_onnx_importer *im, const pq_onnx_scope *scope,
              const pq_onnx_value *value)
{
    uint64_t index;
    if (!pq_onnx_lookup(scope, value->name, &index)) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected a value that a node, an input or an "
                       "initializer gives, found none of that name");
    }
    if (index == PQ_ONNX_POISON) {
        return PTQC_OK;
    }
    pq_value_id v = {(uint32_t)index};
    PQ_TRY(own_output(im, value->name, &v));
    PQ_TRY(pq_graph_add_output(im->g, v));
    uint32_t i = pq_graph_output_count(im->g) - 1;
    return pq_graph_set_output_name(im->g, i, value->name);
}

static ptqc_status
import_outputs(pq_onnx_importer *im, const pq_onnx_scope *scope,
               const pq_onnx_graph *graph)
{
    if (graph->outputs.n == 0) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected a graph with outputs, found none");
    }
    pq_strmap seen;
    pq_strmap_init(&seen, im->ctx);
    ptqc_status st = PTQC_OK;
    for (size_t i = 0; i < graph->outputs.n && st == PTQC_OK; i++) {
        const pq_onnx_value *value = &graph->outputs.p[i];
        bool existed = false;
        st = pq_strmap_set(&seen, value->name, 1, &existed);
        if (st == PTQC_OK && existed) {
            st = PQ_FAIL(im->ctx, PTQC_E_INPUT,
                         "expected each output once, found it again");
        }
        st = st == PTQC_OK ? import_output(im, scope, value) : st;
        if (st != PTQC_OK) {
            pq_onnx_prefix(im, "output", value->name, (pq_str){0});
        }
    }
    pq_strmap_deinit(&seen);
    return st;
}

// ---- all of it -------------------------------------------------------------

static ptqc_status
import_main(pq_onnx_importer *im, pq_onnx_scope *scope)
{
    const pq_onnx_graph *graph = im->file.graph;
    PQ_TRY(check_given_dims(im));
    PQ_TRY(pq_onnx_import_weights(im, scope, graph));
    PQ_TRY(import_inputs(im, scope, graph));
    PQ_TRY(check_used_dims(im));
    PQ_TRY(pq_onnx_import_nodes(im, scope, NULL, &graph->nodes));
    PQ_TRY(import_outputs(im, scope, graph));
    return PTQC_OK;
}

static ptqc_status
import_file(pq_onnx_importer *im)
{
    if (im->file.graph == NULL) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected an ONNX model with a graph, found none");
    }
    PQ_TRY(pq_onnx_collect_facts(im));
    ptqc_status st = check_opsets(im);
    if (st == PTQC_E_UNSUPPORTED) {
        PQ_TRY(pq_onnx_add_problem(im, (pq_str){0}, PQ_STR("opset_import")));
        return pq_onnx_collect_problems(im);
    }
    PQ_TRY(st);
    PQ_TRY(pq_graph_set_name(im->g, im->file.graph->name));
    pq_onnx_scope scope = {0};
    pq_strmap_init(&scope.values, im->ctx);
    st = import_main(im, &scope);
    pq_strmap_deinit(&scope.values);
    PQ_TRY(st);
    PQ_TRY(pq_onnx_external_finish(im));
    if (im->problem_count != 0) {
        return pq_onnx_collect_problems(im);
    }
    pq_erase_dead(im->g);
    pq_graph_set_stage(im->g,
                       im->is_quantized ? PQ_STAGE_QUANTIZED : PQ_STAGE_FLOAT);
    return PTQC_OK;
}

static uint64_t
expansion_budget(size_t bytes)
{
    return bytes < EXPANSION_LIMIT / EXPANSION ? (uint64_t)bytes * EXPANSION
                                               : EXPANSION_LIMIT;
}

// Runs the import with messages held back; says the one that ended it.
static ptqc_status
import_held_back(pq_onnx_importer *im)
{
    im->diag = hold_back;
    im->diag_user = im;
    pq_ctx_swap_diag(im->ctx, &im->diag, &im->diag_user);
    ptqc_status st = import_file(im);
    pq_ctx_swap_diag(im->ctx, &im->diag, &im->diag_user);
    if (st == PTQC_OK) {
        return PTQC_OK;
    }
    return PQ_FAIL(im->ctx, st, "%s: onnx: %s", im->path, im->said);
}

static ptqc_status
prepare(pq_onnx_importer *im, size_t bytes)
{
    size_t dims = im->options == NULL ? 0 : im->options->dim_count;
    im->node_budget = expansion_budget(bytes);
    im->dim_used = pq_arena_array(im->arena, dims, sizeof *im->dim_used);
    PQ_TRY_ALLOC(im->dim_used);
    return pq_graph_create(im->ctx, &im->g);
}

ptqc_status
pq_onnx_import(pq_model *model, const char *path, const void *bytes, size_t n,
               const pq_import_options *options)
{
    pq_arena arena;
    pq_arena_init(&arena, model->ctx);
    ptqc_status st = PTQC_OK;
    pq_onnx_importer *im = pq_arena_alloc(&arena, sizeof *im);
    if (im == NULL) {
        return PTQC_E_RESOURCE;
    }
    *im = (pq_onnx_importer){.ctx = model->ctx,
                             .path = path,
                             .options = options,
                             .model = model,
                             .arena = &arena};
    PQ_TRY_OR(done, pq_onnx_decode(&arena, path, bytes, n, &im->file));
    PQ_TRY_OR(done, prepare(im, n));
    PQ_TRY_OR(done, import_held_back(im));
    if (im->problem_count == 0) {
        model->graph = im->g;
        im->g = NULL;
    }
done:
    pq_onnx_external_close(im);
    pq_graph_destroy(im->g);
    pq_arena_deinit(&arena);
    return st;
}
