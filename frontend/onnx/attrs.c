// SPDX-License-Identifier: Apache-2.0
//
// Attributes of a node: typed access, references from function bodies to the
// call's attributes, and the check that none was left unread (an attribute
// nobody looked at could change the meaning).
#include "frontend/onnx/importer.h"

enum {
    ATTR_LIMIT = 64, // of one node; bits of attrs_read
};

// Field numbers of AttributeProto, to tell the type in files of IR version 1
// and 2, which do not write it.
static int64_t
type_of(const pq_onnx_attr *a)
{
    static const struct {
        unsigned field;
        pq_onnx_attr_type type;
    } by_field[] = {{2, PQ_ONNX_ATTR_FLOAT},         {3, PQ_ONNX_ATTR_INT},
                    {4, PQ_ONNX_ATTR_STRING},        {5, PQ_ONNX_ATTR_TENSOR},
                    {6, PQ_ONNX_ATTR_GRAPH},         {7, PQ_ONNX_ATTR_FLOATS},
                    {8, PQ_ONNX_ATTR_INTS},          {9, PQ_ONNX_ATTR_STRINGS},
                    {22, PQ_ONNX_ATTR_SPARSE_TENSOR}};
    if (a->type != 0) {
        return a->type;
    }
    for (size_t i = 0; i < sizeof by_field / sizeof by_field[0]; i++) {
        if (PQ_ONNX_HAS(a, by_field[i].field)) {
            return by_field[i].type;
        }
    }
    return 0;
}

static const pq_onnx_attr *
find_in(const pq_onnx_attrs *attrs, pq_str name, uint64_t *read)
{
    for (size_t i = 0; i < attrs->n; i++) {
        if (pq_str_equal(attrs->p[i].name, name)) {
            *read |= UINT64_C(1) << i % ATTR_LIMIT;
            return &attrs->p[i];
        }
    }
    return NULL;
}

// Follows a reference outwards through the calls it stands in; NULL: the
// call does not give it.
static const pq_onnx_attr *
resolve(const pq_onnx_attr *a, const pq_onnx_frame *frame)
{
    while (a != NULL && a->ref_name.n != 0 && frame != NULL) {
        uint64_t unused = 0;
        pq_str name = a->ref_name;
        a = find_in(&frame->node->attrs, name, &unused);
        if (a == NULL) {
            return find_in(&frame->function->attr_defaults, name, &unused);
        }
        frame = frame->caller;
    }
    return a;
}

ptqc_status
pq_onnx_attr_find(pq_onnx_call *c, const char *name, pq_onnx_attr_type type,
                  const pq_onnx_attr **out)
{
    *out = NULL;
    const pq_onnx_attr *a =
        find_in(&c->node->attrs, pq_str_of(name), &c->attrs_read);
    a = resolve(a, c->frame);
    if (a == NULL) {
        return PTQC_OK;
    }
    if (type_of(a) != (int64_t)type) {
        return PQ_ONNX_FAIL(
            c, PTQC_E_INPUT, "attribute '%s': expected type %s, found %s", name,
            pq_onnx_attr_type_name(type), pq_onnx_attr_type_name(type_of(a)));
    }
    *out = a;
    return PTQC_OK;
}

ptqc_status
pq_onnx_attr_i64(pq_onnx_call *c, const char *name, int64_t *out)
{
    const pq_onnx_attr *a;
    PQ_TRY(pq_onnx_attr_find(c, name, PQ_ONNX_ATTR_INT, &a));
    *out = a != NULL ? a->i : *out;
    return PTQC_OK;
}

ptqc_status
pq_onnx_attr_range(pq_onnx_call *c, const char *name, int64_t min, int64_t max,
                   int64_t *out)
{
    PQ_TRY(pq_onnx_attr_i64(c, name, out));
    if (*out < min || *out > max) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "attribute '%s': expected %lld to %lld, found %lld",
                            name, (long long)min, (long long)max,
                            (long long)*out);
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_attr_f32(pq_onnx_call *c, const char *name, float *out)
{
    const pq_onnx_attr *a;
    PQ_TRY(pq_onnx_attr_find(c, name, PQ_ONNX_ATTR_FLOAT, &a));
    *out = a != NULL ? a->f : *out;
    return PTQC_OK;
}

ptqc_status
pq_onnx_attr_str(pq_onnx_call *c, const char *name, pq_str *out)
{
    const pq_onnx_attr *a;
    PQ_TRY(pq_onnx_attr_find(c, name, PQ_ONNX_ATTR_STRING, &a));
    *out = a != NULL ? a->s : *out;
    return PTQC_OK;
}

ptqc_status
pq_onnx_attr_i64s(pq_onnx_call *c, const char *name, pq_onnx_i64s *out)
{
    const pq_onnx_attr *a;
    PQ_TRY(pq_onnx_attr_find(c, name, PQ_ONNX_ATTR_INTS, &a));
    *out = a != NULL ? a->ints : *out;
    return PTQC_OK;
}

ptqc_status
pq_onnx_attr_f32s(pq_onnx_call *c, const char *name, pq_onnx_f32s *out)
{
    const pq_onnx_attr *a;
    PQ_TRY(pq_onnx_attr_find(c, name, PQ_ONNX_ATTR_FLOATS, &a));
    *out = a != NULL ? a->floats : *out;
    return PTQC_OK;
}

void
pq_onnx_attr_ignore(pq_onnx_call *c, const char *name)
{
    find_in(&c->node->attrs, pq_str_of(name), &c->attrs_read);
}

ptqc_status
pq_onnx_attrs_unique(pq_onnx_call *c)
{
    const pq_onnx_attrs *attrs = &c->node->attrs;
    if (attrs->n > ATTR_LIMIT) {
        return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                            "expected at most %d attributes, found %zu",
                            ATTR_LIMIT, attrs->n);
    }
    for (size_t i = 0; i < attrs->n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (pq_str_equal(attrs->p[i].name, attrs->p[k].name)) {
                return PQ_ONNX_FAIL(c, PTQC_E_INPUT,
                                    "expected each attribute once, found "
                                    "'%.*s' twice",
                                    PQ_STR_ARG(attrs->p[i].name));
            }
        }
    }
    return PTQC_OK;
}

ptqc_status
pq_onnx_attrs_check(pq_onnx_call *c)
{
    const pq_onnx_attrs *attrs = &c->node->attrs;
    for (size_t i = 0; i < attrs->n; i++) {
        if ((c->attrs_read >> i & 1) == 0) {
            return PQ_ONNX_FAIL(c, PTQC_E_UNSUPPORTED,
                                "attribute '%.*s' is not known",
                                PQ_STR_ARG(attrs->p[i].name));
        }
    }
    return PTQC_OK;
}
