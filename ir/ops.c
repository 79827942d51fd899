// SPDX-License-Identifier: Apache-2.0
//
// The tables of ops.def and attrs.def as data, and lookup by name.
#include "ir/ops.h"

#include <string.h>

static const pq_op_info op_infos[PQ_OP_COUNT] = {
    [PQ_OP_NONE] = {"none", PQ_CLASS_OTHER, 0, 0, 0},
#define OP(NAME, text, cls, min, max, outputs, infer)                          \
    [PQ_OP_##NAME] = {text, PQ_CLASS_##cls, min, max, outputs},
#include "ir/ops.def"
#undef OP
};

static const struct {
    const char *text;
    pq_attr_kind kind;
} attr_infos[PQ_ATTR_COUNT] = {
    [PQ_ATTR_NONE] = {"none", PQ_KIND_I64},
#define ATTR(NAME, text, kind) [PQ_ATTR_##NAME] = {text, PQ_KIND_##kind},
#include "ir/attrs.def"
#undef ATTR
};

static bool
text_is(const char *z, const char *p, size_t n)
{
    return strlen(z) == n && memcmp(z, p, n) == 0;
}

const pq_op_info *
pq_op_info_of(pq_opcode code)
{
    return &op_infos[(unsigned)code < PQ_OP_COUNT ? code : PQ_OP_NONE];
}

bool
pq_opcode_parse(const char *p, size_t n, pq_opcode *out)
{
    for (unsigned i = PQ_OP_NONE + 1; i < PQ_OP_COUNT; i++) {
        if (text_is(op_infos[i].name, p, n)) {
            *out = (pq_opcode)i;
            return true;
        }
    }
    return false;
}

const char *
pq_attr_text(pq_attr_name name)
{
    return attr_infos[(unsigned)name < PQ_ATTR_COUNT ? name : 0].text;
}

bool
pq_attr_is_fact(pq_attr_name name)
{
    return name == PQ_ATTR_CHANNEL_MEAN || name == PQ_ATTR_CHANNEL_DEVIATION;
}

pq_attr_kind
pq_attr_kind_of(pq_attr_name name)
{
    return attr_infos[(unsigned)name < PQ_ATTR_COUNT ? name : 0].kind;
}

bool
pq_attr_parse(const char *p, size_t n, pq_attr_name *out)
{
    for (unsigned i = PQ_ATTR_NONE + 1; i < PQ_ATTR_COUNT; i++) {
        if (text_is(attr_infos[i].text, p, n)) {
            *out = (pq_attr_name)i;
            return true;
        }
    }
    return false;
}
