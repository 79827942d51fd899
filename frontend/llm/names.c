// SPDX-License-Identifier: Apache-2.0
//
// Tensors by their role: names in both formats, shapes that must hold.
#include <stdio.h>
#include <string.h>

#include "frontend/llm/builder.h"

typedef struct role_names {
    const char *own, *hugging_face, *gguf;
} role_names;

static const role_names names[] = {
#define TENSOR(ROLE, own, hugging_face, gguf) {own, hugging_face, gguf},
#define L_TENSOR                              TENSOR
#include "frontend/llm/tensors.def"
#undef L_TENSOR
#undef TENSOR
};

// The pattern with the layer's number for %u, and the ending.
static ptqc_status
make_name(pq_llm_builder *b, const char *pattern, const char *ending,
          pq_str *out)
{
    pq_str head, rest;
    pq_strbuf text;
    pq_strbuf_init(&text, b->ctx);
    bool has_layer = pq_str_split(pq_str_of(pattern), '%', &head, &rest);
    pq_strbuf_add(&text, head);
    if (has_layer) {
        pq_strbuf_addf(&text, "%u", b->layer);
        pq_strbuf_add(&text, (pq_str){rest.p + 1, rest.n - 1});
    }
    pq_strbuf_add_z(&text, ending);
    char *copy = NULL;
    if (!text.failed) {
        copy = pq_arena_strndup(pq_graph_arena(b->g), text.p, text.n);
        *out = (pq_str){copy, text.n};
    }
    pq_strbuf_deinit(&text);
    return copy != NULL ? PTQC_OK : PTQC_E_RESOURCE;
}

static ptqc_status
file_name(pq_llm_builder *b, pq_llm_role role, pq_llm_part part, pq_str *out)
{
    const role_names *n = &names[role];
    return make_name(
        b, b->params->naming == PQ_LLM_GGUF ? n->gguf : n->hugging_face,
        part == PQ_LLM_WEIGHT ? ".weight" : ".bias", out);
}

ptqc_status
pq_llm_own_name(pq_llm_builder *b, pq_llm_role role, pq_str *out)
{
    return make_name(b, names[role].own, "", out);
}

// Whether the text is the pattern with a number for %u, and ".weight".
static bool
matches(const char *pattern, pq_str text, pq_str *out_number)
{
    pq_str head, rest;
    bool has_layer = pq_str_split(pq_str_of(pattern), '%', &head, &rest);
    *out_number = (pq_str){0};
    if (!pq_str_ends(text, ".weight")) {
        return false;
    }
    text.n -= strlen(".weight");
    if (!has_layer) {
        return pq_str_equal(text, head);
    }
    rest = (pq_str){rest.p + 1, rest.n - 1}; // behind the u
    if (text.n < head.n + 1 + rest.n || memcmp(text.p, head.p, head.n) != 0 ||
        memcmp(text.p + text.n - rest.n, rest.p, rest.n) != 0) {
        return false;
    }
    uint64_t number;
    *out_number = (pq_str){text.p + head.n, text.n - head.n - rest.n};
    return pq_str_to_u64(*out_number, &number);
}

bool
pq_llm_op_name(pq_str tensor, char *out, size_t room)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        pq_str number, head, rest;
        if (!matches(names[i].gguf, tensor, &number) &&
            !matches(names[i].hugging_face, tensor, &number)) {
            continue;
        }
        bool has_layer =
            pq_str_split(pq_str_of(names[i].own), '%', &head, &rest);
        (void)snprintf(out, room, "%.*s%.*s%s", PQ_STR_ARG(head),
                       PQ_STR_ARG(number), has_layer ? rest.p + 1 : "");
        return true;
    }
    return false;
}

ptqc_status
pq_llm_look_up(pq_llm_builder *b, pq_llm_role role, pq_llm_part part,
               pq_llm_tensor **out)
{
    pq_str name;
    PQ_TRY(file_name(b, role, part, &name));
    *out = pq_llm_tensor_find(b->tensors, name);
    return PTQC_OK;
}

// "[512, 64]"
static void
add_dims(pq_strbuf *text, const int64_t *dims, uint32_t rank)
{
    pq_strbuf_add_z(text, "[");
    for (uint32_t i = 0; i < rank; i++) {
        pq_strbuf_addf(text, "%s%lld", i == 0 ? "" : ", ", (long long)dims[i]);
    }
    pq_strbuf_add_z(text, "]");
}

static ptqc_status
refuse_shape(pq_llm_builder *b, const pq_llm_tensor *t, const int64_t *dims,
             uint32_t rank)
{
    pq_strbuf text;
    pq_strbuf_init(&text, b->ctx);
    pq_strbuf_add_z(&text, "expected the shape ");
    add_dims(&text, dims, rank);
    pq_strbuf_add_z(&text, ", found ");
    add_dims(&text, t->dims, t->rank);
    ptqc_status st = PTQC_E_RESOURCE;
    if (!text.failed) {
        st = PQ_FAIL(b->ctx, PTQC_E_INPUT, "%.*s: tensor '%.*s': %s",
                     PQ_STR_ARG(b->model->files[0].path), PQ_STR_ARG(t->name),
                     text.p);
    }
    pq_strbuf_deinit(&text);
    return st;
}

ptqc_status
pq_llm_require(pq_llm_builder *b, pq_llm_role role, pq_llm_part part,
               const int64_t *dims, uint32_t rank, pq_llm_tensor **out)
{
    pq_str name;
    PQ_TRY(file_name(b, role, part, &name));
    pq_llm_tensor *t = pq_llm_tensor_find(b->tensors, name);
    if (t == NULL) {
        return PQ_FAIL(b->ctx, PTQC_E_INPUT,
                       "%.*s: the model needs a tensor '%.*s', there is none",
                       PQ_STR_ARG(b->model->files[0].path), PQ_STR_ARG(name));
    }
    if (t->rank != rank || memcmp(t->dims, dims, rank * sizeof *dims) != 0) {
        return refuse_shape(b, t, dims, rank);
    }
    *out = t;
    return PTQC_OK;
}

void
pq_llm_tell_unused(const pq_llm_builder *b)
{
    uint32_t count = 0;
    const pq_llm_tensor *first = NULL;
    for (uint32_t i = 0; i < b->tensors->count; i++) {
        const pq_llm_tensor *t = &b->tensors->p[i];
        // Buffers that old exports of rotary positions hold.
        bool is_known = pq_str_ends(t->name, "rotary_emb.inv_freq");
        if (!t->is_used && !is_known) {
            first = first == NULL ? t : first;
            count++;
        }
    }
    if (count != 0) {
        pq_say(b->ctx, PTQC_SEVERITY_WARNING,
               "%.*s: %u tensors are not used, the first is '%.*s'",
               PQ_STR_ARG(b->model->files[0].path), count,
               PQ_STR_ARG(first->name));
    }
}
