// SPDX-License-Identifier: Apache-2.0
//
// What the readers of language models share: facts about tensors, problems,
// the table of architectures, checks of parameters, and the frame around the
// builders.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "frontend/llm/builder.h"
#include "frontend/llm/llm.h"

static ptqc_status
copy_text(pq_model *model, pq_str s, pq_str *out)
{
    char *copy = pq_arena_strndup(&model->arena, s.n != 0 ? s.p : "", s.n);
    *out = (pq_str){copy, s.n};
    return copy != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

// ---- tensors --------------------------------------------------------------

pq_llm_tensor *
pq_llm_tensor_find(const pq_llm_tensors *tensors, pq_str name)
{
    uint64_t i;
    return pq_strmap_find(&tensors->by_name, name, &i) ? &tensors->p[i] : NULL;
}

static int
by_count(const void *a, const void *b)
{
    const pq_import_count *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1)
                                : strcmp(x->name.p, y->name.p);
}

// Sorted names and numbers of `counts`, copied.
static ptqc_status
list_counts(pq_model *model, const pq_strmap *counts, pq_import_count **out,
            uint32_t *out_count)
{
    pq_import_count *p =
        pq_arena_array(&model->arena, counts->entry_count, sizeof *p);
    PQ_TRY_ALLOC(p);
    for (size_t i = 0; i < counts->entry_count; i++) {
        PQ_TRY(copy_text(model, counts->entries[i].key, &p[i].name));
        p[i].count = counts->entries[i].value;
    }
    if (counts->entry_count > 1) {
        qsort(p, counts->entry_count, sizeof *p, by_count);
    }
    *out = p;
    *out_count = (uint32_t)counts->entry_count;
    return PTQC_OK;
}

static ptqc_status
count_one(pq_strmap *counts, pq_str name)
{
    uint64_t n = 0;
    (void)pq_strmap_find(counts, name, &n);
    return pq_strmap_set(counts, name, n + 1, NULL);
}

ptqc_status
pq_llm_describe_tensors(pq_model *model, const pq_llm_tensors *tensors)
{
    pq_strmap counts;
    ptqc_status st = PTQC_OK;
    pq_strmap_init(&counts, model->ctx);
    for (uint32_t i = 0; i < tensors->count; i++) {
        const pq_llm_tensor *t = &tensors->p[i];
        model->tensor_count++;
        model->parameter_count += t->count;
        model->weight_bytes += t->bytes;
        PQ_TRY_OR(done, count_one(&counts, t->type));
    }
    st = list_counts(model, &counts, &model->tensor_types,
                     &model->tensor_type_count);
done:
    pq_strmap_deinit(&counts);
    return st;
}

// ---- problems -------------------------------------------------------------

ptqc_status
pq_llm_problem(pq_model *model, pq_str reason, const pq_str *places,
               uint32_t count)
{
    uint32_t n = model->problem_count;
    pq_import_problem *all =
        pq_arena_array(&model->arena, (size_t)n + 1, sizeof *all);
    PQ_TRY_ALLOC(all);
    if (n != 0) {
        memcpy(all, model->problems, n * sizeof *all);
    }
    pq_import_problem *p = &all[n];
    p->status = PTQC_E_UNSUPPORTED;
    p->nodes = pq_arena_array(&model->arena, count, sizeof *p->nodes);
    PQ_TRY_ALLOC(p->nodes);
    PQ_TRY(copy_text(model, reason, &p->reason));
    for (uint32_t i = 0; i < count; i++) {
        PQ_TRY(copy_text(model, places[i], &p->nodes[i]));
    }
    p->node_count = count;
    model->problems = all;
    model->problem_count = n + 1;
    return PTQC_OK;
}

static bool
is_usable(const pq_llm_tensor *t)
{
    return t->block != NULL ? t->block->expand != NULL
                            : t->dtype == PTQC_F32 || t->dtype == PTQC_F16 ||
                                  t->dtype == PTQC_BF16;
}

static ptqc_status
refuse_type(pq_model *model, const pq_llm_tensors *tensors, pq_str type)
{
    pq_str *places =
        pq_arena_array(&model->arena, tensors->count, sizeof *places);
    PQ_TRY_ALLOC(places);
    uint32_t count = 0;
    for (uint32_t i = 0; i < tensors->count; i++) {
        if (pq_str_equal(tensors->p[i].type, type)) {
            places[count++] = tensors->p[i].name;
        }
    }
    pq_strbuf text;
    pq_strbuf_init(&text, model->ctx);
    pq_strbuf_addf(&text, "tensors of type %.*s are not supported",
                   PQ_STR_ARG(type));
    ptqc_status st = PTQC_E_RESOURCE;
    if (!text.failed) {
        st = pq_llm_problem(model, (pq_str){text.p, text.n}, places, count);
    }
    pq_strbuf_deinit(&text);
    return st;
}

ptqc_status
pq_llm_check_types(pq_model *model, const pq_llm_tensors *tensors)
{
    pq_strmap told;
    ptqc_status st = PTQC_OK;
    pq_strmap_init(&told, model->ctx);
    for (uint32_t i = 0; i < tensors->count; i++) {
        const pq_llm_tensor *t = &tensors->p[i];
        bool is_told = false;
        if (is_usable(t)) {
            continue;
        }
        PQ_TRY_OR(done, pq_strmap_set(&told, t->type, 1, &is_told));
        if (!is_told) {
            PQ_TRY_OR(done, refuse_type(model, tensors, t->type));
        }
    }
done:
    pq_strmap_deinit(&told);
    return st;
}

// ---- architectures --------------------------------------------------------

static const pq_llm_architecture architectures[] = {
#define ARCHITECTURE(gguf, model_type, builder)                                \
    {gguf, model_type, pq_llm_build_##builder},
#include "frontend/llm/architectures.def"
#undef ARCHITECTURE
};

enum {
    ARCHITECTURE_COUNT = sizeof architectures / sizeof architectures[0],
};

static const char *
name_of(pq_llm_naming naming, size_t i)
{
    return naming == PQ_LLM_GGUF ? architectures[i].name
                                 : architectures[i].model_type;
}

const pq_llm_architecture *
pq_llm_architecture_find(pq_llm_naming naming, pq_str name)
{
    for (size_t i = 0; i < ARCHITECTURE_COUNT; i++) {
        if (pq_str_equal_z(name, name_of(naming, i))) {
            return &architectures[i];
        }
    }
    return NULL;
}

ptqc_status
pq_llm_architecture_names(pq_model *model, pq_llm_naming naming, pq_str *out)
{
    pq_strbuf text;
    pq_strbuf_init(&text, model->ctx);
    for (size_t i = 0; i < ARCHITECTURE_COUNT; i++) {
        pq_strbuf_add_z(&text, i == 0 ? "" : ", ");
        pq_strbuf_add_z(&text, name_of(naming, i));
    }
    ptqc_status st = PTQC_E_RESOURCE;
    if (!text.failed) {
        st = copy_text(model, (pq_str){text.p, text.n}, out);
    }
    pq_strbuf_deinit(&text);
    return st;
}

// ---- parameters -----------------------------------------------------------

typedef struct rule {
    bool holds;
    const char *text;
} rule;

static ptqc_status
check_rules(pq_model *model, const rule *rules, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!rules[i].holds) {
            return PQ_FAIL(model->ctx, PTQC_E_INPUT, "%.*s: expected %s",
                           PQ_STR_ARG(model->files[0].path), rules[i].text);
        }
    }
    return PTQC_OK;
}

static bool
is_size(int64_t x)
{
    return x >= 1 && x <= INT32_MAX;
}

static bool
is_above_zero(double x)
{
    return x > 0.0 && isfinite(x);
}

static ptqc_status
check_rope(pq_model *model, const pq_llm_params *p)
{
    const pq_llm_rope *r = &p->rope;
    bool is_llama3 = r->scaling == PQ_LLM_SCALING_LLAMA3;
    const rule rules[] = {
        {r->dims >= 2 && r->dims % 2 == 0 && r->dims <= p->head_dim,
         "an even number of rotating elements, at most those of a head"},
        {is_above_zero(r->base), "a finite rotary base above 0"},
        {r->scaling == PQ_LLM_SCALING_NONE || is_above_zero(r->factor),
         "a finite factor above 0 of the rotary scaling"},
        {!is_llama3 || (is_above_zero(r->low_freq_factor) &&
                        is_above_zero(r->high_freq_factor) &&
                        r->high_freq_factor > r->low_freq_factor),
         "frequency factors of the rotary scaling, the high one above the "
         "low one"},
        {!is_llama3 || is_above_zero(r->original_context),
         "the original context length of the rotary scaling"},
    };
    return check_rules(model, rules, sizeof rules / sizeof rules[0]);
}

ptqc_status
pq_llm_check_params(pq_model *model, const pq_llm_params *p,
                    const pq_llm_tensors *tensors)
{
    const rule rules[] = {
        {is_size(p->context), "a context length above 0"},
        {is_size(p->layers) && p->layers <= tensors->count,
         "a number of layers that the tensors suffice for"},
        {is_size(p->width), "an embedding length above 0"},
        {is_size(p->ffn), "a feed-forward length above 0"},
        {is_size(p->heads) && is_size(p->kv_heads) && p->kv_heads <= p->heads &&
             p->heads % p->kv_heads == 0,
         "attention heads above 0, a multiple of the key-value heads"},
        {is_size(p->head_dim) &&
             p->head_dim <= INT32_MAX / (p->heads > 0 ? p->heads : 1),
         "heads of at least one element that divide the embedding length"},
        {p->vocabulary == 0 || is_size(p->vocabulary),
         "a vocabulary of at least one token"},
        {is_above_zero(p->epsilon) && p->epsilon < 1.0,
         "an epsilon of the norms between 0 and 1"},
    };
    PQ_TRY(check_rules(model, rules, sizeof rules / sizeof rules[0]));
    return check_rope(model, p);
}

// ---- the graph ------------------------------------------------------------

static ptqc_status
describe_dim(pq_model *model, pq_dim d, pq_str *out)
{
    const pq_graph *g = model->graph;
    const pq_dim_expr *e = pq_dim_get(g, d);
    if (e->op == PQ_DIM_SYMBOL) {
        return copy_text(
            model, pq_graph_symbol(model->graph, (uint32_t)e->value)->name,
            out);
    }
    pq_strbuf text;
    pq_strbuf_init(&text, model->ctx);
    pq_strbuf_addf(&text, "%lld", (long long)e->value);
    ptqc_status st = PTQC_E_RESOURCE;
    if (!text.failed) {
        st = copy_text(model, (pq_str){text.p, text.n}, out);
    }
    pq_strbuf_deinit(&text);
    return st;
}

static ptqc_status
describe_value(pq_model *model, pq_value_id id, pq_str name, pq_import_io *io)
{
    const pq_value *v = pq_graph_value(model->graph, id);
    pq_str *dims = pq_arena_array(&model->arena, v->type.rank, sizeof *dims);
    PQ_TRY_ALLOC(dims);
    for (uint32_t i = 0; i < v->type.rank; i++) {
        PQ_TRY(describe_dim(model, v->type.dims[i], &dims[i]));
    }
    *io = (pq_import_io){.dtype = pq_str_of(pq_dtype_name(v->type.dtype)),
                         .dims = dims,
                         .rank = v->type.rank,
                         .has_shape = true};
    return copy_text(model, name, &io->name);
}

static ptqc_status
describe_boundary(pq_model *model)
{
    const pq_graph *g = model->graph;
    uint32_t in = pq_graph_input_count(g), out = pq_graph_output_count(g);
    model->inputs = pq_arena_array(&model->arena, in, sizeof *model->inputs);
    model->outputs = pq_arena_array(&model->arena, out, sizeof *model->outputs);
    if (model->inputs == NULL || model->outputs == NULL) {
        return PTQC_E_RESOURCE;
    }
    for (uint32_t i = 0; i < in; i++) {
        pq_value_id v = pq_graph_input(g, i);
        PQ_TRY(describe_value(model, v, pq_graph_value(g, v)->name,
                              &model->inputs[i]));
        model->input_count++;
    }
    for (uint32_t i = 0; i < out; i++) {
        PQ_TRY(describe_value(model, pq_graph_output(g, i),
                              pq_graph_output_name(g, i), &model->outputs[i]));
        model->output_count++;
    }
    return PTQC_OK;
}

static ptqc_status
describe_ops(pq_model *model)
{
    const pq_graph *g = model->graph;
    pq_strmap counts;
    ptqc_status st = PTQC_OK;
    pq_strmap_init(&counts, model->ctx);
    PQ_FOR_EACH_OP(g, id)
    {
        const char *name = pq_op_info_of(pq_graph_op(g, id)->code)->name;
        PQ_TRY_OR(done, count_one(&counts, pq_str_of(name)));
    }
    model->node_count = pq_graph_live_op_count(g);
    st = list_counts(model, &counts, &model->op_counts, &model->op_count);
done:
    pq_strmap_deinit(&counts);
    return st;
}

static ptqc_status
build(pq_model *model, const pq_llm_architecture *architecture,
      const pq_llm_params *params, const pq_llm_tensors *tensors)
{
    PQ_TRY(pq_graph_create(model->ctx, &model->graph));
    PQ_TRY(architecture->build(model, params, tensors));
    PQ_TRY(describe_boundary(model));
    return describe_ops(model);
}

static void
tell_expanded(const pq_model *model, const pq_llm_tensors *tensors)
{
    for (uint32_t k = 0; k < model->tensor_type_count; k++) {
        pq_str type = model->tensor_types[k].name;
        for (uint32_t i = 0; i < tensors->count; i++) {
            const pq_llm_tensor *t = &tensors->p[i];
            if (pq_str_equal(t->type, type) && t->is_used && t->block != NULL &&
                t->block->codes == PTQC_DTYPE_NONE) {
                pq_say(model->ctx, PTQC_SEVERITY_INFO,
                       "%.*s: the %llu tensors of type %.*s become f16: "
                       "their codes are not kept yet",
                       PQ_STR_ARG(model->files[0].path),
                       (unsigned long long)model->tensor_types[k].count,
                       PQ_STR_ARG(type));
                break;
            }
        }
    }
}

ptqc_status
pq_llm_build(pq_model *model, const pq_llm_architecture *architecture,
             const pq_llm_params *params, const pq_llm_tensors *tensors)
{
    PQ_TRY(pq_llm_check_params(model, params, tensors));
    ptqc_status st = build(model, architecture, params, tensors);
    if (st != PTQC_OK) {
        pq_graph_destroy(model->graph);
        model->graph = NULL;
        return st;
    }
    tell_expanded(model, tensors);
    return PTQC_OK;
}
