// SPDX-License-Identifier: Apache-2.0
//
// libyaml's events to a tree, see yaml.h. libyaml takes its memory with
// malloc; the bound of the text bounds it.

#include "passes/yaml.h"

#include <yaml.h>

typedef struct pq_yaml_reader {
    ptqc_ctx *ctx;
    const pq_yaml_desc *desc;
    pq_arena *arena;
    pq_yaml *root;                    // NULL: nothing yet
    pq_yaml *open[PQ_YAML_DEPTH_MAX]; // mappings and lists around
    pq_yaml *key[PQ_YAML_DEPTH_MAX];  // key that waits for its value
    uint32_t depth, node_count;
    bool is_done; // the document ended
} pq_yaml_reader;

static ptqc_status
fail_at(const pq_yaml_reader *r, const yaml_mark_t *mark, const char *message)
{
    return PQ_FAIL(r->ctx, r->desc->bad, "%s:%zu:%zu: %s", r->desc->what,
                   mark->line + 1, mark->column + 1, message);
}

// ---- the tree -------------------------------------------------------------

static ptqc_status
check_key(const pq_yaml_reader *r, const pq_yaml *map, const pq_yaml *key)
{
    const yaml_mark_t mark = {.line = key->line - 1, .column = key->column - 1};
    if (key->kind != PQ_YAML_SCALAR) {
        return fail_at(r, &mark, "expected text as a key");
    }
    if (map->count >= PQ_YAML_MEMBER_MAX) {
        return fail_at(r, &mark, "a mapping with more than 1024 keys");
    }
    for (const pq_yaml *m = map->first; m != NULL; m = m->next) {
        if (pq_str_equal(m->key, key->text)) {
            return PQ_FAIL(r->ctx, r->desc->bad,
                           "%s:%u:%u: key '%.*s' is there already, in line %u",
                           r->desc->what, key->line, key->column,
                           PQ_STR_ARG(key->text), m->key_line);
        }
    }
    return PTQC_OK;
}

static void
append(pq_yaml *parent, pq_yaml *node)
{
    if (parent->last != NULL) {
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    parent->last = node;
    parent->count++;
}

// Puts a new node where it belongs: the root, an element, a key or its value.
static ptqc_status
place(pq_yaml_reader *r, pq_yaml *node)
{
    if (r->depth == 0) {
        r->root = node;
        return PTQC_OK;
    }
    pq_yaml *parent = r->open[r->depth - 1];
    pq_yaml **key = &r->key[r->depth - 1];
    if (parent->kind == PQ_YAML_MAP && *key == NULL) {
        PQ_TRY(check_key(r, parent, node));
        *key = node;
        return PTQC_OK;
    }
    if (*key != NULL) {
        node->key = (*key)->text;
        node->key_line = (*key)->line;
        node->key_column = (*key)->column;
        *key = NULL;
    }
    append(parent, node);
    return PTQC_OK;
}

static ptqc_status
add(pq_yaml_reader *r, const yaml_mark_t *mark, pq_yaml_kind kind,
    pq_yaml **out)
{
    if (r->node_count++ >= r->desc->nodes_max) {
        return fail_at(r, mark, "too many values");
    }
    pq_yaml *node = pq_arena_alloc(r->arena, sizeof *node);
    PQ_TRY_ALLOC(node);
    *node = (pq_yaml){.kind = kind,
                      .line = (uint32_t)mark->line + 1,
                      .column = (uint32_t)mark->column + 1};
    *out = node;
    return PTQC_OK;
}

static ptqc_status
open_node(pq_yaml_reader *r, const yaml_mark_t *mark, pq_yaml_kind kind)
{
    pq_yaml *node;
    PQ_TRY(add(r, mark, kind, &node));
    PQ_TRY(place(r, node));
    if (r->depth == PQ_YAML_DEPTH_MAX) {
        return fail_at(r, mark, "more than 16 levels");
    }
    r->key[r->depth] = NULL;
    r->open[r->depth++] = node;
    return PTQC_OK;
}

static ptqc_status
add_scalar(pq_yaml_reader *r, const yaml_event_t *e)
{
    pq_yaml *node;
    PQ_TRY(add(r, &e->start_mark, PQ_YAML_SCALAR, &node));
    size_t n = e->data.scalar.length;
    char *text =
        pq_arena_strndup(r->arena, (const char *)e->data.scalar.value, n);
    PQ_TRY_ALLOC(text);
    node->text = (pq_str){text, n};
    node->is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return place(r, node);
}

// ---- events ---------------------------------------------------------------

static ptqc_status
refuse_extras(const pq_yaml_reader *r, const yaml_event_t *e,
              const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL) {
        return fail_at(r, &e->start_mark, "anchors (&) are not read");
    }
    return tag != NULL ? fail_at(r, &e->start_mark, "tags (!) are not read")
                       : PTQC_OK;
}

static ptqc_status
start_document(pq_yaml_reader *r, const yaml_event_t *e)
{
    if (r->is_done) {
        return fail_at(r, &e->start_mark, "a second document");
    }
    bool has_tags = e->data.document_start.tag_directives.start !=
                    e->data.document_start.tag_directives.end;
    return has_tags ? fail_at(r, &e->start_mark, "tags (!) are not read")
                    : PTQC_OK;
}

static ptqc_status
take(pq_yaml_reader *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
        return PTQC_OK;
    case YAML_DOCUMENT_START_EVENT:
        return start_document(r, e);
    case YAML_DOCUMENT_END_EVENT:
        r->is_done = true;
        return PTQC_OK;
    case YAML_ALIAS_EVENT:
        return fail_at(r, &e->start_mark, "aliases (*) are not read");
    case YAML_SCALAR_EVENT:
        PQ_TRY(refuse_extras(r, e, e->data.scalar.anchor, e->data.scalar.tag));
        return add_scalar(r, e);
    case YAML_SEQUENCE_START_EVENT:
        PQ_TRY(refuse_extras(r, e, e->data.sequence_start.anchor,
                             e->data.sequence_start.tag));
        return open_node(r, &e->start_mark, PQ_YAML_LIST);
    case YAML_MAPPING_START_EVENT:
        PQ_TRY(refuse_extras(r, e, e->data.mapping_start.anchor,
                             e->data.mapping_start.tag));
        return open_node(r, &e->start_mark, PQ_YAML_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        r->depth--;
        return PTQC_OK;
    }
    return PTQC_OK;
}

static ptqc_status
fail_of_parser(const pq_yaml_reader *r, const yaml_parser_t *p)
{
    if (p->error == YAML_MEMORY_ERROR) {
        return PQ_FAIL(r->ctx, PTQC_E_RESOURCE, "%s: out of memory",
                       r->desc->what);
    }
    // Of a byte that is no character libyaml knows the offset alone.
    if (p->error == YAML_READER_ERROR) {
        return PQ_FAIL(r->ctx, r->desc->bad, "%s: byte %zu: %s", r->desc->what,
                       p->problem_offset, p->problem);
    }
    return fail_at(r, &p->problem_mark,
                   p->problem != NULL ? p->problem : "not YAML");
}

static ptqc_status
read_events(pq_yaml_reader *r, yaml_parser_t *p)
{
    for (bool is_end = false; !is_end;) {
        yaml_event_t e;
        if (!yaml_parser_parse(p, &e)) {
            return fail_of_parser(r, p);
        }
        is_end = e.type == YAML_STREAM_END_EVENT;
        ptqc_status st = take(r, &e);
        yaml_event_delete(&e);
        PQ_TRY(st);
    }
    return PTQC_OK;
}

ptqc_status
pq_yaml_parse(ptqc_ctx *ctx, const pq_yaml_desc *desc, pq_str text,
              pq_arena *arena, const pq_yaml **out)
{
    yaml_parser_t parser;
    pq_yaml_reader r = {.ctx = ctx, .desc = desc, .arena = arena};
    if (text.n > desc->bytes_max) {
        return PQ_FAIL(ctx, desc->bad,
                       "%s: expected at most %zu bytes, found %zu", desc->what,
                       desc->bytes_max, text.n);
    }
    if (!yaml_parser_initialize(&parser)) {
        return PQ_FAIL(ctx, PTQC_E_RESOURCE, "%s: out of memory", desc->what);
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(
        &parser, (const unsigned char *)(text.n > 0 ? text.p : ""), text.n);
    ptqc_status st = read_events(&r, &parser);
    yaml_parser_delete(&parser);
    PQ_TRY(st);
    if (r.root == NULL) {
        return PQ_FAIL(ctx, desc->bad, "%s:1:1: an empty text", desc->what);
    }
    *out = r.root;
    return PTQC_OK;
}

bool
pq_yaml_is_null(const pq_yaml *node)
{
    return node->kind == PQ_YAML_SCALAR && node->is_plain &&
           (node->text.n == 0 || pq_str_equal_z(node->text, "null") ||
            pq_str_equal_z(node->text, "~"));
}

const pq_yaml *
pq_yaml_get(const pq_yaml *map, const char *key)
{
    for (const pq_yaml *m = map->kind == PQ_YAML_MAP ? map->first : NULL;
         m != NULL; m = m->next) {
        if (pq_str_equal_z(m->key, key)) {
            return m;
        }
    }
    return NULL;
}
