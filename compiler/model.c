// SPDX-License-Identifier: Apache-2.0
//
// ptqc_model: opening a model file and telling what is in it.

#include "compiler/model.h"

#include <string.h>

#include "ptqc/lm.h"

#include "base/dtype.h"

static const char *
dup_str(ptqc_model *m, pq_str s)
{
    return pq_arena_strndup(&m->arena, s.p, s.n);
}

static ptqc_status
fill_info(ptqc_model *m, const pq_import_io *io, ptqc_tensor_info *info)
{
    info->name = dup_str(m, io->name);
    PQ_TRY_ALLOC(info->name);
    if (!pq_dtype_parse(io->dtype.p, io->dtype.n, &info->dtype)) {
        info->dtype = PTQC_DTYPE_NONE;
    }
    info->rank = io->rank < PTQC_MAX_RANK ? io->rank : PTQC_MAX_RANK;
    for (uint32_t d = 0; d < info->rank; d++) {
        if (!pq_str_to_i64(io->dims[d], &info->dims[d])) {
            info->dims[d] = -1;
            info->dim_names[d] =
                dup_str(m, io->dims[d].n > 0 ? io->dims[d] : PQ_STR("?"));
            PQ_TRY_ALLOC(info->dim_names[d]);
        }
    }
    return PTQC_OK;
}

static ptqc_status
fill_infos(ptqc_model *m)
{
    const pq_model *import = m->import;
    m->infos = pq_arena_array(
        &m->arena, (size_t)import->input_count + import->output_count,
        sizeof *m->infos);
    PQ_TRY_ALLOC(m->infos);
    for (uint32_t i = 0; i < import->input_count; i++) {
        PQ_TRY(fill_info(m, &import->inputs[i], &m->infos[i]));
    }
    for (uint32_t i = 0; i < import->output_count; i++) {
        PQ_TRY(fill_info(m, &import->outputs[i],
                         &m->infos[import->input_count + i]));
    }
    return PTQC_OK;
}

typedef ptqc_status (*pq_import_fn)(ptqc_ctx *ctx, const char *path,
                                    const pq_import_options *options,
                                    pq_model **out);

static ptqc_status
open_with(ptqc_ctx *ctx, const char *path, pq_import_fn import,
          ptqc_model **out)
{
    *out = NULL;
    ptqc_model *m = pq_alloc(ctx, sizeof *m);
    PQ_TRY_ALLOC(m);
    m->ctx = ctx;
    pq_arena_init(&m->arena, ctx);
    ptqc_status st = import(ctx, path, NULL, &m->import);
    if (st == PTQC_OK) {
        st = fill_infos(m);
    }
    if (st != PTQC_OK) {
        ptqc_model_close(m);
        return st;
    }
    *out = m;
    return PTQC_OK;
}

ptqc_status
ptqc_model_open(ptqc_ctx *ctx, const char *path, ptqc_model **out)
{
    return open_with(ctx, path, pq_import_model, out);
}

ptqc_status
ptqc_model_inspect(ptqc_ctx *ctx, const char *path, ptqc_model **out)
{
    return open_with(ctx, path, pq_import_check, out);
}

void
ptqc_model_close(ptqc_model *m)
{
    if (m == NULL) {
        return;
    }
    pq_model_destroy(m->import);
    pq_arena_deinit(&m->arena);
    pq_free(m->ctx, m);
}

uint32_t
ptqc_model_input_count(const ptqc_model *m)
{
    return m->import->input_count;
}

uint32_t
ptqc_model_output_count(const ptqc_model *m)
{
    return m->import->output_count;
}

void
ptqc_model_input(const ptqc_model *m, uint32_t i, ptqc_tensor_info *out)
{
    *out = m->infos[i];
}

void
ptqc_model_output(const ptqc_model *m, uint32_t i, ptqc_tensor_info *out)
{
    *out = m->infos[m->import->input_count + i];
}

void
ptqc_model_get_facts(const ptqc_model *m, ptqc_model_facts *out)
{
    const pq_model *import = m->import;
    const char *producer = dup_str((ptqc_model *)m, import->producer);
    const char *format = dup_str((ptqc_model *)m, import->format);
    const char *architecture = dup_str((ptqc_model *)m, import->architecture);
    *out = (ptqc_model_facts){
        .format = format != NULL ? format : "",
        .producer = producer != NULL ? producer : "",
        .op_count = import->node_count,
        .tensor_count = import->tensor_count,
        .weight_bytes = import->weight_bytes,
        .parameter_count = import->parameter_count,
        .architecture = architecture != NULL ? architecture : "",
        .context_length = import->context_length,
    };
}

void
ptqc_model_ops(const ptqc_model *m, ptqc_count_fn fn, void *user)
{
    for (uint32_t i = 0; i < m->import->op_count; i++) {
        const pq_import_count *c = &m->import->op_counts[i];
        const char *name = dup_str((ptqc_model *)m, c->name);
        fn(user, name != NULL ? name : "", c->count);
    }
}

ptqc_status
pq_model_graph(ptqc_ctx *ctx, const pq_model *m, pq_graph **out)
{
    static const pq_import_problem nothing = {0};
    *out = m->graph;
    if (m->graph != NULL) {
        return PTQC_OK;
    }
    const pq_import_problem *p =
        m->problem_count > 0 ? &m->problems[0] : &nothing;
    return PQ_FAIL(ctx, PTQC_E_UNSUPPORTED,
                   "the model has %u kinds of unsupported parts, the first: "
                   "%.*s: %.*s",
                   m->problem_count, PQ_STR_ARG(p->op), PQ_STR_ARG(p->reason));
}

// "i8 channel", "i4 group 64 (3 bits in 4-bit containers)": how a quantized
// value is stored.
static void
add_scheme_text(const pq_scheme *s, pq_strbuf *out)
{
    pq_strbuf_addf(out, "%s %s", pq_dtype_name(s->format),
                   pq_granularity_name(s->granularity));
    if (s->granularity == PQ_GRAN_GROUP) {
        pq_strbuf_addf(out, " %u", s->group);
    }
    if (s->bits != 0) {
        pq_strbuf_addf(out, " (%u bits in %u-bit containers)", s->bits,
                       pq_dtype_bits(s->format));
    }
}

void
pq_graph_schemes(const pq_graph *g, ptqc_count_fn fn, void *user)
{
    ptqc_ctx *ctx = pq_graph_ctx(g);
    pq_strmap counts;
    pq_arena keys;
    pq_arena_init(&keys, ctx);
    pq_strmap_init(&counts, ctx);
    for (uint32_t i = 1; i < pq_graph_value_count(g); i++) {
        const pq_value *v = pq_graph_value(g, (pq_value_id){i});
        const pq_quant *q = pq_graph_quant(g, v->quant);
        if (q == NULL || v->use_count == 0 || pq_const_is_none(v->constant)) {
            continue;
        }
        pq_strbuf text;
        uint64_t count = 0;
        pq_strbuf_init(&text, ctx);
        add_scheme_text(&q->scheme, &text);
        const char *key = pq_arena_strndup(&keys, text.p, text.n);
        pq_strbuf_deinit(&text);
        if (key != NULL) {
            (void)pq_strmap_find(&counts, pq_str_of(key), &count);
            if (pq_strmap_set(&counts, pq_str_of(key), count + 1, NULL) !=
                PTQC_OK) {
                break;
            }
        }
    }
    for (size_t i = 0; i < counts.entry_count; i++) {
        fn(user, counts.entries[i].key.p, counts.entries[i].value);
    }
    pq_strmap_deinit(&counts);
    pq_arena_deinit(&keys);
}

void
ptqc_model_schemes(const ptqc_model *m, ptqc_count_fn fn, void *user)
{
    if (m->import->graph != NULL) {
        pq_graph_schemes(m->import->graph, fn, user);
    }
}

const ptqc_tokenizer *
ptqc_model_tokenizer(const ptqc_model *m)
{
    return (const ptqc_tokenizer *)m->import->tokenizer;
}
