// SPDX-License-Identifier: Apache-2.0
//
// What the model says about itself: producer, opsets, metadata, declared
// inputs and outputs, how often each operator occurs; and the problems that
// were met, grouped. Texts are copied: the file may be closed before the
// model ends.
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "frontend/onnx/importer.h"

static ptqc_status
copy_text(pq_model *model, pq_str s, pq_str *out)
{
    char *copy = pq_arena_strndup(&model->arena, s.p, s.n);
    PQ_TRY_ALLOC(copy);
    *out = (pq_str){copy, s.n};
    return PTQC_OK;
}

// Takes the text of `b`, which ends here.
static ptqc_status
copy_built(pq_model *model, pq_strbuf *b, pq_str *out)
{
    ptqc_status st = PTQC_E_RESOURCE;
    if (!b->failed) {
        st = copy_text(model, (pq_str){b->p, b->n}, out);
    }
    pq_strbuf_deinit(b);
    return st;
}

static ptqc_status
copy_number(pq_model *model, int64_t x, pq_str *out)
{
    pq_strbuf text;
    pq_strbuf_init(&text, model->ctx);
    pq_strbuf_addf(&text, "%lld", (long long)x);
    return copy_built(model, &text, out);
}

static ptqc_status
copy_producer(pq_model *model, const pq_onnx_model *file)
{
    pq_strbuf text;
    pq_strbuf_init(&text, model->ctx);
    pq_strbuf_add(&text, file->producer_name);
    if (file->producer_version.n != 0) {
        pq_strbuf_add_z(&text, text.n == 0 ? "" : " ");
        pq_strbuf_add(&text, file->producer_version);
    }
    return copy_built(model, &text, &model->producer);
}

static ptqc_status
copy_opsets(pq_model *model, const pq_onnx_model *file)
{
    model->opsets =
        pq_arena_array(&model->arena, file->opsets.n, sizeof *model->opsets);
    PQ_TRY_ALLOC(model->opsets);
    for (size_t i = 0; i < file->opsets.n; i++) {
        const pq_onnx_opset *o = &file->opsets.p[i];
        pq_import_pair *pair = &model->opsets[i];
        pq_str domain = o->domain.n == 0 ? PQ_STR("ai.onnx") : o->domain;
        PQ_TRY(copy_text(model, domain, &pair->key));
        PQ_TRY(copy_number(model, o->version, &pair->value));
        model->opset_count++;
    }
    return PTQC_OK;
}

static ptqc_status
copy_metadata(pq_model *model, const pq_onnx_model *file)
{
    model->metadata = pq_arena_array(&model->arena, file->metadata.n,
                                     sizeof *model->metadata);
    PQ_TRY_ALLOC(model->metadata);
    for (size_t i = 0; i < file->metadata.n; i++) {
        const pq_onnx_pair *from = &file->metadata.p[i];
        PQ_TRY(copy_text(model, from->key, &model->metadata[i].key));
        PQ_TRY(copy_text(model, from->value, &model->metadata[i].value));
        model->metadata_count++;
    }
    return PTQC_OK;
}

// ---- inputs and outputs -----------------------------------------------------

static ptqc_status
describe_shape(pq_model *model, const pq_onnx_shape *shape, pq_import_io *io)
{
    pq_str *dims = pq_arena_array(&model->arena, shape->dims.n, sizeof *dims);
    PQ_TRY_ALLOC(dims);
    for (size_t i = 0; i < shape->dims.n; i++) {
        const pq_onnx_dim *d = &shape->dims.p[i];
        if (PQ_ONNX_HAS(d, PQ_ONNX_DIM_VALUE)) {
            PQ_TRY(copy_number(model, d->value, &dims[i]));
        } else {
            PQ_TRY(copy_text(model, d->param, &dims[i]));
        }
    }
    io->dims = dims;
    io->rank = (uint32_t)shape->dims.n;
    io->has_shape = true;
    return PTQC_OK;
}

static ptqc_status
describe_io(pq_model *model, const pq_onnx_value *value, pq_import_io *io)
{
    PQ_TRY(copy_text(model, value->name, &io->name));
    if (value->type == NULL || value->type->tensor == NULL) {
        io->dtype = PQ_STR("not a tensor");
        return PTQC_OK;
    }
    const pq_onnx_tensor_type *t = value->type->tensor;
    ptqc_dtype dtype = pq_onnx_dtype_or_none(t->elem_type);
    io->dtype = pq_str_of(dtype == PTQC_DTYPE_NONE
                              ? pq_onnx_data_type_name(t->elem_type)
                              : pq_dtype_name(dtype));
    return t->shape == NULL ? PTQC_OK : describe_shape(model, t->shape, io);
}

// Inputs that an initializer of the same name gives are none.
static ptqc_status
describe_inputs(pq_model *model, const pq_onnx_graph *graph)
{
    pq_strmap weights;
    pq_strmap_init(&weights, model->ctx);
    ptqc_status st = PTQC_OK;
    for (size_t i = 0; i < graph->initializers.n; i++) {
        PQ_TRY_OR(done, pq_strmap_set(&weights, graph->initializers.p[i].name,
                                      1, NULL));
    }
    model->inputs =
        pq_arena_array(&model->arena, graph->inputs.n, sizeof *model->inputs);
    if (model->inputs == NULL) {
        st = PTQC_E_RESOURCE;
        goto done;
    }
    for (size_t i = 0; i < graph->inputs.n; i++) {
        uint64_t unused;
        if (!pq_strmap_find(&weights, graph->inputs.p[i].name, &unused)) {
            pq_import_io *io = &model->inputs[model->input_count++];
            PQ_TRY_OR(done, describe_io(model, &graph->inputs.p[i], io));
        }
    }
done:
    pq_strmap_deinit(&weights);
    return st;
}

static ptqc_status
describe_outputs(pq_model *model, const pq_onnx_graph *graph)
{
    model->outputs =
        pq_arena_array(&model->arena, graph->outputs.n, sizeof *model->outputs);
    PQ_TRY_ALLOC(model->outputs);
    for (size_t i = 0; i < graph->outputs.n; i++) {
        pq_import_io *io = &model->outputs[model->output_count++];
        PQ_TRY(describe_io(model, &graph->outputs.p[i], io));
    }
    return PTQC_OK;
}

// ---- operators --------------------------------------------------------------

static ptqc_status count_ops(pq_strmap *counts, pq_arena *arena,
                             const pq_onnx_nodes *nodes);

// Subgraphs of a node. Recursion ends with the decoder's depth limit.
static ptqc_status
count_inner_ops(pq_strmap *counts, pq_arena *arena, const pq_onnx_node *node)
{
    for (size_t i = 0; i < node->attrs.n; i++) {
        if (node->attrs.p[i].g != NULL) {
            PQ_TRY(count_ops(counts, arena, &node->attrs.p[i].g->nodes));
        }
    }
    return PTQC_OK;
}

static ptqc_status
count_ops(pq_strmap *counts, pq_arena *arena, const pq_onnx_nodes *nodes)
{
    for (size_t i = 0; i < nodes->n; i++) {
        const pq_onnx_node *node = &nodes->p[i];
        pq_str name = pq_onnx_op_label(arena, node);
        PQ_TRY_ALLOC(name.p);
        uint64_t count = 0;
        (void)pq_strmap_find(counts, name, &count);
        PQ_TRY(pq_strmap_set(counts, name, count + 1, NULL));
        PQ_TRY(count_inner_ops(counts, arena, node));
    }
    return PTQC_OK;
}

static int
by_count(const void *a, const void *b)
{
    const pq_import_count *x = a, *y = b;
    if (x->count != y->count) {
        return x->count < y->count ? 1 : -1;
    }
    size_t n = x->name.n < y->name.n ? x->name.n : y->name.n;
    int order = memcmp(x->name.p, y->name.p, n);
    return order != 0 ? order
                      : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

static ptqc_status
list_counts(pq_model *model, const pq_strmap *counts)
{
    model->op_counts = pq_arena_array(&model->arena, counts->entry_count,
                                      sizeof *model->op_counts);
    PQ_TRY_ALLOC(model->op_counts);
    for (size_t i = 0; i < counts->entry_count; i++) {
        pq_import_count *c = &model->op_counts[model->op_count++];
        PQ_TRY(copy_text(model, counts->entries[i].key, &c->name));
        c->count = counts->entries[i].value;
    }
    qsort(model->op_counts, model->op_count, sizeof *model->op_counts,
          by_count);
    return PTQC_OK;
}

static ptqc_status
count_all_ops(pq_onnx_importer *im)
{
    pq_strmap counts;
    pq_strmap_init(&counts, im->ctx);
    ptqc_status st = PTQC_OK;
    PQ_TRY_OR(done, count_ops(&counts, im->arena, &im->file.graph->nodes));
    for (size_t i = 0; i < im->file.functions.n; i++) {
        PQ_TRY_OR(done, count_ops(&counts, im->arena,
                                  &im->file.functions.p[i].nodes));
    }
    PQ_TRY_OR(done, list_counts(im->model, &counts));
done:
    pq_strmap_deinit(&counts);
    return st;
}

ptqc_status
pq_onnx_collect_facts(pq_onnx_importer *im)
{
    pq_model *model = im->model;
    model->format = PQ_STR("onnx");
    model->ir_version = im->file.ir_version;
    model->node_count = im->file.node_count;
    PQ_TRY(copy_producer(model, &im->file));
    PQ_TRY(copy_opsets(model, &im->file));
    PQ_TRY(copy_metadata(model, &im->file));
    PQ_TRY(describe_inputs(model, im->file.graph));
    PQ_TRY(describe_outputs(model, im->file.graph));
    return count_all_ops(im);
}

// ---- problems ---------------------------------------------------------------

// Index of the problem's kind in model->problems, new or known.
static ptqc_status
kind_of(pq_model *model, pq_strmap *kinds, pq_arena *arena,
        const pq_onnx_problem *p, uint64_t *out)
{
    size_t n = p->op.n + 1 + p->reason.n;
    char *key = pq_arena_alloc(arena, n);
    PQ_TRY_ALLOC(key);
    memcpy(key, p->op.p == NULL ? "" : p->op.p, p->op.n);
    memcpy(key + p->op.n + 1, p->reason.p, p->reason.n);
    if (pq_strmap_find(kinds, (pq_str){key, n}, out)) {
        return PTQC_OK;
    }
    *out = model->problem_count;
    PQ_TRY(pq_strmap_set(kinds, (pq_str){key, n}, *out, NULL));
    pq_import_problem *kind = &model->problems[model->problem_count++];
    kind->status = PTQC_E_UNSUPPORTED;
    PQ_TRY(copy_text(model, p->op, &kind->op));
    return copy_text(model, p->reason, &kind->reason);
}

static ptqc_status
group_problems(pq_onnx_importer *im, pq_strmap *kinds,
               const pq_onnx_problem *const *ordered)
{
    pq_model *model = im->model;
    uint32_t count = im->problem_count;
    uint64_t *kind = pq_arena_array(im->arena, count, sizeof *kind);
    PQ_TRY_ALLOC(kind);
    for (uint32_t i = 0; i < count; i++) {
        PQ_TRY(kind_of(model, kinds, im->arena, ordered[i], &kind[i]));
        model->problems[kind[i]].node_count++;
    }
    for (uint32_t k = 0; k < model->problem_count; k++) {
        pq_import_problem *p = &model->problems[k];
        p->nodes =
            pq_arena_array(&model->arena, p->node_count, sizeof *p->nodes);
        PQ_TRY_ALLOC(p->nodes);
        p->node_count = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        pq_import_problem *p = &model->problems[kind[i]];
        PQ_TRY(copy_text(model, ordered[i]->place, &p->nodes[p->node_count++]));
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_collect_problems(pq_onnx_importer *im)
{
    uint32_t count = im->problem_count;
    const pq_onnx_problem **ordered =
        pq_arena_array(im->arena, count, sizeof *ordered);
    im->model->problems =
        pq_arena_array(&im->model->arena, count, sizeof *im->model->problems);
    if (ordered == NULL || im->model->problems == NULL) {
        return PTQC_E_RESOURCE;
    }
    uint32_t at = count;
    for (const pq_onnx_problem *p = im->problems; p != NULL; p = p->next) {
        ordered[--at] = p;
    }
    pq_strmap kinds;
    pq_strmap_init(&kinds, im->ctx);
    ptqc_status st = group_problems(im, &kinds, ordered);
    pq_strmap_deinit(&kinds);
    return st;
}
