// SPDX-License-Identifier: Apache-2.0
//
// Walks the nodes of a graph, a subgraph or a model-local function: resolves
// operands, finds the importer of the operator, and turns what is
// unsupported into problems. Recursion (subgraphs, functions) is counted.
#include <string.h>

#include "base/checked.h"
#include "base/dtype.h"
#include "frontend/onnx/importer.h"

enum {
    DEPTH_LIMIT = 32,     // subgraphs and functions inside each other
    SLOT_LIMIT = 1 << 16, // inputs or outputs of one node
    ADDRESS_BITS = 47,    // of user space on x86-64 and aarch64
};

// ---- names ------------------------------------------------------------------

pq_str
pq_onnx_node_label(const pq_onnx_node *node)
{
    for (size_t i = 0; node->name.n == 0 && i < node->outputs.n; i++) {
        if (node->outputs.p[i].n != 0) {
            return node->outputs.p[i];
        }
    }
    return node->name;
}

static pq_str
plain_domain(pq_str domain)
{
    return pq_str_equal_z(domain, "ai.onnx") ? (pq_str){0} : domain;
}

bool
pq_onnx_domain_equal(pq_str a, pq_str b)
{
    return pq_str_equal(plain_domain(a), plain_domain(b));
}

pq_str
pq_onnx_op_label(pq_arena *arena, const pq_onnx_node *node)
{
    pq_str domain = plain_domain(node->domain);
    if (domain.n == 0) {
        return node->op_type.p != NULL ? node->op_type : PQ_STR("");
    }
    size_t n = domain.n + 1 + node->op_type.n;
    char *text = pq_arena_alloc(arena, n);
    if (text == NULL) {
        return (pq_str){0};
    }
    memcpy(text, domain.p, domain.n);
    text[domain.n] = ':';
    if (node->op_type.n != 0) {
        memcpy(text + domain.n + 1, node->op_type.p, node->op_type.n);
    }
    return (pq_str){text, n};
}

bool
pq_onnx_lookup(const pq_onnx_scope *scope, pq_str name, uint64_t *out)
{
    for (; scope != NULL; scope = scope->parent) {
        if (pq_strmap_find(&scope->values, name, out)) {
            return true;
        }
    }
    return false;
}

// ---- results ----------------------------------------------------------------

ptqc_status
pq_onnx_check_size(pq_onnx_importer *im, const pq_type *type)
{
    size_t bits = pq_dtype_bits(type->dtype);
    bool fits = true;
    for (uint32_t i = 0; i < type->rank && bits != 0; i++) {
        int64_t min, max;
        pq_dim_bounds(im->g, type->dims[i], &min, &max);
        if (min < 0 && max >= 0) {
            min = 0; // an expression whose sign is not known yet
        }
        fits = fits && min >= 0 && pq_mul_size(bits, (size_t)min, &bits);
        bits = fits ? bits : 1;
    }
    if (!fits || bits >> (ADDRESS_BITS + 3) != 0) {
        return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                       "expected tensors that fit an address space of 2^%d "
                       "bytes, found a larger or negative one",
                       ADDRESS_BITS);
    }
    return PTQC_OK;
}

static ptqc_status
check_results(pq_onnx_call *c)
{
    for (uint32_t i = 0; i < c->output_count; i++) {
        if (!pq_onnx_wants(c, i)) {
            continue;
        }
        const pq_value *value = pq_graph_value(c->g, c->outputs[i]);
        if (value == NULL) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "output %u is not supported", i);
        }
        c->im->is_quantized |= !pq_quant_is_none(value->quant);
        PQ_TRY(pq_onnx_check_size(c->im, &value->type));
        PQ_TRY(pq_onnx_fold(c, &c->outputs[i]));
    }
    return PTQC_OK;
}

// ---- model-local functions --------------------------------------------------

static const pq_onnx_function *
find_function(const pq_onnx_importer *im, const pq_onnx_node *node)
{
    for (size_t i = 0; i < im->file.functions.n; i++) {
        const pq_onnx_function *f = &im->file.functions.p[i];
        if (pq_str_equal(f->name, node->op_type) &&
            pq_onnx_domain_equal(f->domain, node->domain) &&
            pq_str_equal(f->overload, node->overload)) {
            return f;
        }
    }
    return NULL;
}

static ptqc_status
check_call(pq_onnx_call *c, const pq_onnx_function *f)
{
    for (const pq_onnx_frame *at = c->frame; at != NULL; at = at->caller) {
        if (at->function == f) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "expected functions that do not call "
                                "themselves, found '%.*s' inside itself",
                                PQ_STR_ARG(f->name));
        }
    }
    if (c->node->inputs.n > f->inputs.n || c->node->outputs.n > f->outputs.n) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected at most %zu inputs and %zu outputs, "
                            "found %zu and %zu",
                            f->inputs.n, f->outputs.n, c->node->inputs.n,
                            c->node->outputs.n);
    }
    return PTQC_OK;
}

static ptqc_status
bind_inputs(pq_onnx_call *c, const pq_onnx_function *f, pq_onnx_scope *scope)
{
    for (uint32_t i = 0; i < f->inputs.n; i++) {
        pq_value_id v = pq_onnx_input(c, i);
        PQ_TRY(pq_onnx_define(c->im, scope, f->inputs.p[i], v.index));
    }
    return PTQC_OK;
}

// Value of a name that a body gives; poison is passed on.
static ptqc_status
take_result(pq_onnx_call *c, const pq_onnx_scope *scope, pq_str name,
            pq_value_id *out)
{
    uint64_t index;
    if (!pq_onnx_lookup(scope, name, &index)) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected the body to give its output '%.*s', "
                            "found no such value",
                            PQ_STR_ARG(name));
    }
    if (index == PQ_ONNX_POISON) {
        c->is_poisoned = true;
        return PTQC_OK;
    }
    *out = (pq_value_id){(uint32_t)index};
    return PTQC_OK;
}

static ptqc_status
call_body(pq_onnx_call *c, const pq_onnx_function *f, pq_onnx_scope *scope)
{
    pq_onnx_frame frame = {c->frame, f, c->node};
    PQ_TRY(bind_inputs(c, f, scope));
    PQ_TRY(pq_onnx_import_nodes(c->im, scope, &frame, &f->nodes));
    for (uint32_t i = 0; i < c->output_count; i++) {
        PQ_TRY(take_result(c, scope, f->outputs.p[i], &c->outputs[i]));
    }
    return PTQC_OK;
}

static ptqc_status
import_call(pq_onnx_call *c, const pq_onnx_function *f)
{
    PQ_TRY(check_call(c, f));
    pq_onnx_scope scope = {0};
    pq_strmap_init(&scope.values, c->ctx);
    ptqc_status st = call_body(c, f, &scope);
    pq_strmap_deinit(&scope.values);
    return st;
}

// ---- subgraphs --------------------------------------------------------------

static ptqc_status
import_body(pq_onnx_call *c, const pq_onnx_graph *body, pq_onnx_scope *scope,
            pq_value_id *outputs, uint32_t output_count)
{
    PQ_TRY(pq_onnx_import_weights(c->im, scope, body));
    PQ_TRY(pq_onnx_import_nodes(c->im, scope, c->frame, &body->nodes));
    for (uint32_t i = 0; i < output_count; i++) {
        PQ_TRY(take_result(c, scope, body->outputs.p[i].name, &outputs[i]));
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_import_subgraph(pq_onnx_call *c, const pq_onnx_graph *body,
                        pq_value_id *outputs, uint32_t output_count)
{
    if (body->inputs.n != 0 || body->outputs.n < output_count) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected a subgraph of no inputs and %u outputs, "
                            "found %zu and %zu",
                            output_count, body->inputs.n, body->outputs.n);
    }
    pq_onnx_scope scope = {.parent = c->scope};
    pq_strmap_init(&scope.values, c->ctx);
    ptqc_status st = import_body(c, body, &scope, outputs, output_count);
    pq_strmap_deinit(&scope.values);
    return st;
}

// ---- one node ---------------------------------------------------------------

static ptqc_status
find_opset(pq_onnx_call *c, int64_t *out)
{
    const pq_onnx_opsets *opsets =
        c->frame != NULL ? &c->frame->function->opsets : &c->im->file.opsets;
    for (size_t i = 0; i < opsets->n; i++) {
        if (pq_onnx_domain_equal(opsets->p[i].domain, c->node->domain)) {
            *out = opsets->p[i].version;
            return PTQC_OK;
        }
    }
    return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                        "expected a domain of opset_import, found '%.*s'",
                        PQ_STR_ARG(c->node->domain));
}

static ptqc_status
check_arity(pq_onnx_call *c)
{
    const pq_onnx_op *op = c->op;
    bool is_enough = c->input_count >= op->min_inputs;
    for (uint32_t i = 0; is_enough && i < op->min_inputs; i++) {
        is_enough = !pq_value_is_none(c->inputs[i]);
    }
    if (!is_enough || c->input_count > op->max_inputs) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected %u to %u inputs, found %u",
                            op->min_inputs, op->max_inputs, c->input_count);
    }
    if (c->output_count == 0 || c->output_count > op->max_outputs) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected 1 to %u outputs, found %u",
                            op->max_outputs, c->output_count);
    }
    return PTQC_OK;
}

// Integers as they are stand in the file: a constant that carries a meaning
// for another node gets a second value without one.
static ptqc_status
plain_operand(pq_onnx_call *c, uint32_t i, pq_value_id *v)
{
    const pq_value *value = pq_graph_value(c->g, *v);
    if (value == NULL || pq_quant_is_none(value->quant)) {
        return PTQC_OK;
    }
    if (pq_const_is_none(value->constant)) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "input %u: quantized codes as plain integers are "
                            "not supported",
                            i);
    }
    *v = pq_graph_add_constant_value(c->g, value->name, value->constant);
    return pq_value_is_none(*v) ? PTQC_E_RESOURCE : PTQC_OK;
}

static ptqc_status
check_operands(pq_onnx_call *c)
{
    PQ_TRY(check_arity(c));
    for (uint32_t i = 0; c->op->codes == PQ_ONNX_PLAIN && i < c->input_count;
         i++) {
        PQ_TRY(plain_operand(c, i, &c->inputs[i]));
    }
    return PTQC_OK;
}

static ptqc_status
import_op(pq_onnx_call *c)
{
    const pq_onnx_op *op = c->op;
    if (op == NULL) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "this operator is not supported");
    }
    if (c->opset < op->since || c->opset > op->until) {
        return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                            "version %lld of the operator's domain is not "
                            "supported, %d to %d are",
                            (long long)c->opset, op->since, op->until);
    }
    PQ_TRY(check_operands(c));
    PQ_TRY(op->import(c));
    return c->is_poisoned ? PTQC_OK : pq_onnx_attrs_check(c);
}

// Operand values; names that nothing defines are an error of the file.
static ptqc_status
resolve_inputs(pq_onnx_call *c)
{
    const pq_onnx_strs *names = &c->node->inputs;
    for (uint32_t i = 0; i < names->n; i++) {
        uint64_t index = 0;
        if (names->p[i].n == 0) {
            continue;
        }
        if (!pq_onnx_lookup(c->scope, names->p[i], &index)) {
            return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                "input %u: expected a value that an input, "
                                "an initializer or an earlier node gives, "
                                "found '%.*s'",
                                i, PQ_STR_ARG(names->p[i]));
        }
        if (index == PQ_ONNX_POISON) {
            c->is_poisoned = true;
            continue;
        }
        c->inputs[i] = (pq_value_id){(uint32_t)index};
        c->input_count = index == 0 ? c->input_count : i + 1;
    }
    return PTQC_OK;
}

static ptqc_status
import_resolved(pq_onnx_call *c)
{
    if (c->node->op_type.n == 0) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT, "expected an op_type, found none");
    }
    PQ_TRY(pq_onnx_attrs_unique(c));
    const pq_onnx_function *f = find_function(c->im, c->node);
    PQ_TRY(find_opset(c, &c->opset));
    c->op = pq_onnx_op_find(plain_domain(c->node->domain), c->node->op_type);
    if (c->is_poisoned && (f != NULL || c->op != NULL)) {
        return PTQC_OK; // the cause has been said
    }
    if (c->im->depth == DEPTH_LIMIT) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected subgraphs and functions at most %d "
                            "deep, found more",
                            DEPTH_LIMIT);
    }
    c->im->depth++;
    ptqc_status st = f != NULL ? import_call(c, f) : import_op(c);
    c->im->depth--;
    PQ_TRY(st);
    return c->is_poisoned ? PTQC_OK : check_results(c);
}

static ptqc_status
define_outputs(pq_onnx_call *c)
{
    for (uint32_t i = 0; i < c->output_count; i++) {
        if (pq_onnx_wants(c, i)) {
            PQ_TRY(pq_onnx_define(c->im, c->scope, c->node->outputs.p[i],
                                  c->is_poisoned ? PQ_ONNX_POISON
                                                 : c->outputs[i].index));
        }
    }
    return PTQC_OK;
}

static ptqc_status
prepare_call(pq_onnx_call *c)
{
    const pq_onnx_node *node = c->node;
    if (node->inputs.n > SLOT_LIMIT || node->outputs.n > SLOT_LIMIT) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected at most %d inputs and outputs, found "
                            "%zu and %zu",
                            SLOT_LIMIT, node->inputs.n, node->outputs.n);
    }
    c->inputs = pq_arena_array(c->arena, node->inputs.n, sizeof *c->inputs);
    c->outputs = pq_arena_array(c->arena, node->outputs.n, sizeof *c->outputs);
    if (c->inputs == NULL || c->outputs == NULL) {
        return PTQC_E_RESOURCE;
    }
    for (uint32_t i = 0; i < node->outputs.n; i++) {
        c->output_count = node->outputs.p[i].n != 0 ? i + 1 : c->output_count;
    }
    return resolve_inputs(c);
}

// What is unsupported is noted, and the node's outputs are poisoned. So is a
// contradiction in a branch that may never run.
static ptqc_status
import_node(pq_onnx_call *c)
{
    pq_onnx_importer *im = c->im;
    ptqc_status st = prepare_call(c);
    st = st == PTQC_OK ? import_resolved(c) : st;
    pq_str label = pq_onnx_node_label(c->node);
    if (st == PTQC_E_UNSUPPORTED || (st == PTQC_E_INPUT && im->guesses != 0)) {
        pq_str op = pq_onnx_op_label(im->arena, c->node);
        PQ_TRY_ALLOC(op.p);
        PQ_TRY(pq_onnx_add_problem(im, op, label));
        c->is_poisoned = true;
        st = PTQC_OK;
    }
    st = st == PTQC_OK ? define_outputs(c) : st;
    if (st != PTQC_OK) {
        pq_onnx_prefix(im, "node", label, c->node->op_type);
    }
    return st;
}

ptqc_status
pq_onnx_import_nodes(pq_onnx_importer *im, pq_onnx_scope *scope,
                     const pq_onnx_frame *frame, const pq_onnx_nodes *nodes)
{
    for (size_t i = 0; i < nodes->n; i++) {
        PQ_TRY(pq_check_cancelled(im->ctx));
        if (im->node_budget == 0) {
            return PQ_FAIL(im->ctx, PTQC_E_INPUT,
                           "expected functions that stay in proportion to "
                           "the file, found too many nodes when inlined");
        }
        im->node_budget--;
        pq_onnx_call c = {.im = im,
                          .ctx = im->ctx,
                          .g = im->g,
                          .arena = im->arena,
                          .node = &nodes->p[i],
                          .scope = scope,
                          .frame = frame};
        PQ_TRY(import_node(&c));
    }
    return PTQC_OK;
}
