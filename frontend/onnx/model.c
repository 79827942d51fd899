// SPDX-License-Identifier: Apache-2.0
//
// Decodes onnx.proto messages by table (fields.def). Each message is walked
// twice: to check it and count its repeated fields, then to fill arrays of
// exactly that size. Nesting and the memory that decoded structs take are
// limited, the latter in proportion to the file.
#include "frontend/onnx/model.h"

#include <string.h>

#include "base/bits.h"
#include "base/checked.h"

enum {
    DEPTH_LIMIT = 64,     // messages inside messages; a subgraph takes 3
    NAME_LIMIT = 4096,    // bytes of a name
    NODE_LIMIT = 1000000, // in one file
    GROWTH_LIMIT = 32,    // decoded bytes per byte of the file, beyond
    SLACK_MIB = 64,       // what small files may take
    LIST_LIMIT = 64,      // field numbers of repeated fields are below
};

typedef enum field_kind {
    KIND_STR,
    KIND_NAME,
    KIND_I64,
    KIND_F32,
    KIND_SPAN,
    KIND_ONE,
    KIND_MANY,
    KIND_STRS,
    KIND_NAMES,
    KIND_I64S,
    KIND_F32S,
    KIND_F64S,
} field_kind;

typedef enum message_kind {
    MESSAGE_none,
#define MESSAGE(name) MESSAGE_##name,
#define FIELD(message, number, kind, member, sub)
#define END()
#include "frontend/onnx/fields.def"
#undef MESSAGE
#undef FIELD
#undef END
} message_kind;

typedef struct field_desc {
    uint32_t number; // 0 ends the list
    field_kind kind;
    size_t offset; // of the member
    message_kind sub;
} field_desc;

typedef struct message_desc {
    size_t bytes; // of the struct
    const field_desc *fields;
} message_desc;

// clang-format off: one table row a line
#define MESSAGE(name) static const field_desc fields_##name[] = {
#define FIELD(message, number, kind, member, sub)                              \
    {number, KIND_##kind, offsetof(pq_onnx_##message, member), MESSAGE_##sub},
#define END() {0, KIND_STR, 0, MESSAGE_none}};
#include "frontend/onnx/fields.def"
#undef MESSAGE
#undef FIELD
#undef END
// clang-format on

static const message_desc messages[] = {
    [MESSAGE_none] = {0, NULL},
#define MESSAGE(name)                                                          \
    [MESSAGE_##name] = {sizeof(pq_onnx_##name), fields_##name},
#define FIELD(message, number, kind, member, sub)
#define END()
#include "frontend/onnx/fields.def"
#undef MESSAGE
#undef FIELD
#undef END
};

// Any of the pointer-and-count lists of model.h.
typedef struct list {
    void *p;
    size_t n;
} list;
_Static_assert(sizeof(list) == sizeof(pq_onnx_nodes) &&
                   offsetof(pq_onnx_nodes, n) == offsetof(list, n),
               "lists share one layout");

typedef struct decoder {
    ptqc_ctx *ctx;
    pq_arena *arena;
    const char *path;
    pq_wire_error error;
    size_t budget_bytes; // that decoded structs may still take
    uint64_t node_count;
    unsigned depth;
} decoder;

static const field_desc *
find_field(const message_desc *m, uint32_t number)
{
    for (const field_desc *f = m->fields; f->number != 0; f++) {
        if (f->number == number) {
            return f;
        }
    }
    return NULL;
}

static bool
is_list(field_kind kind)
{
    return kind >= KIND_MANY;
}

static pq_wire_type
packed_type(field_kind kind)
{
    return kind == KIND_I64S   ? PQ_WIRE_VARINT
           : kind == KIND_F32S ? PQ_WIRE_FIXED32
                               : PQ_WIRE_FIXED64;
}

static size_t
element_bytes(const field_desc *f)
{
    switch (f->kind) {
    case KIND_MANY:
        return messages[f->sub].bytes;
    case KIND_F32S:
        return sizeof(float);
    case KIND_STRS:
    case KIND_NAMES:
        return sizeof(pq_str);
    default:
        return sizeof(int64_t);
    }
}

// The wire type must be the table's; numbers may come packed.
static bool
check_type(pq_wire *w, const field_desc *f, const pq_wire_field *got)
{
    switch (f->kind) {
    case KIND_I64:
        return pq_wire_expect(w, got, PQ_WIRE_VARINT);
    case KIND_F32:
        return pq_wire_expect(w, got, PQ_WIRE_FIXED32);
    case KIND_I64S:
    case KIND_F32S:
    case KIND_F64S:
        return got->type == PQ_WIRE_BYTES ||
               pq_wire_expect(w, got, packed_type(f->kind));
    default:
        return pq_wire_expect(w, got, PQ_WIRE_BYTES);
    }
}

static bool
check_field(pq_wire *w, const field_desc *f, const pq_wire_field *got,
            uint64_t seen)
{
    if (!check_type(w, f, got)) {
        return false;
    }
    bool is_name = f->kind == KIND_NAME || f->kind == KIND_NAMES;
    if (is_name && got->bytes.n > NAME_LIMIT) {
        pq_wire_fail(w, got->offset, "a name of at most 4096 bytes",
                     "bytes:", got->bytes.n);
        return false;
    }
    if (f->kind == KIND_ONE && (seen >> f->number & 1) != 0) {
        pq_wire_fail(w, got->offset, "a message that is given once",
                     "again field", f->number);
        return false;
    }
    return true;
}

// First walk: the wire format of the message and the size of its lists.
static bool
count_fields(pq_wire w, const message_desc *m, size_t counts[static LIST_LIMIT])
{
    uint64_t seen = 0;
    pq_wire_field got;
    while (pq_wire_next(&w, &got)) {
        const field_desc *f = find_field(m, got.number);
        if (f == NULL) {
            continue;
        }
        if (!check_field(&w, f, &got, seen)) {
            return false;
        }
        seen |= UINT64_C(1) << f->number;
        bool is_packed = f->kind >= KIND_I64S && got.type == PQ_WIRE_BYTES;
        if (is_list(f->kind)) {
            counts[f->number] +=
                is_packed
                    ? pq_wire_packed_count(&w, got.bytes, packed_type(f->kind))
                    : 1;
        }
    }
    return !pq_wire_failed(&w);
}

// Arena memory that counts against the budget.
static ptqc_status
take(decoder *d, size_t count, size_t size, void **out)
{
    size_t bytes;
    if (!pq_mul_size(count, size, &bytes) || bytes > d->budget_bytes) {
        return PQ_FAIL(d->ctx, PTQC_E_INPUT,
                       "%s: onnx: expected messages with content, found %zu "
                       "that are all but empty",
                       d->path, count);
    }
    d->budget_bytes -= bytes;
    *out = pq_arena_alloc(d->arena, bytes);
    PQ_TRY_ALLOC(*out);
    return PTQC_OK;
}

static ptqc_status
allocate_lists(decoder *d, const message_desc *m,
               const size_t counts[static LIST_LIMIT], char *message)
{
    for (const field_desc *f = m->fields; f->number != 0; f++) {
        if (is_list(f->kind) && counts[f->number] != 0) {
            list *l = (list *)(void *)(message + f->offset);
            PQ_TRY(take(d, counts[f->number], element_bytes(f), &l->p));
        }
    }
    return PTQC_OK;
}

static void
store_number(const field_desc *f, list *l, uint64_t bits)
{
    if (f->kind == KIND_F32S) {
        pq_store_le32((float *)l->p + l->n, (uint32_t)bits);
    } else {
        pq_store_le64((int64_t *)l->p + l->n, bits);
    }
    l->n++;
}

static void
store_numbers(pq_wire *w, const field_desc *f, const pq_wire_field *got,
              list *l)
{
    if (got->type != PQ_WIRE_BYTES) {
        store_number(f, l, got->value);
        return;
    }
    pq_wire packed = pq_wire_nested(w, got->bytes);
    uint64_t bits;
    while (pq_wire_packed_next(&packed, packed_type(f->kind), &bits)) {
        store_number(f, l, bits);
    }
}

static pq_str
text_of(pq_span bytes)
{
    return (pq_str){(const char *)bytes.p, bytes.n};
}

static ptqc_status decode_message(decoder *d, const pq_wire *parent,
                                  pq_span bytes, message_kind kind, void *out);

static ptqc_status
store_field(decoder *d, pq_wire *w, const field_desc *f,
            const pq_wire_field *got, char *message)
{
    void *member = message + f->offset;
    list *l = member;
    switch (f->kind) {
    case KIND_STR:
    case KIND_NAME:
        *(pq_str *)member = text_of(got->bytes);
        return PTQC_OK;
    case KIND_I64:
        *(int64_t *)member = (int64_t)got->value;
        return PTQC_OK;
    case KIND_F32:
        pq_store_le32(member, (uint32_t)got->value);
        return PTQC_OK;
    case KIND_SPAN:
        *(pq_span *)member = got->bytes;
        return PTQC_OK;
    case KIND_ONE: {
        void *one;
        PQ_TRY(take(d, 1, messages[f->sub].bytes, &one));
        *(void **)member = one;
        return decode_message(d, w, got->bytes, f->sub, one);
    }
    case KIND_MANY: {
        char *p = (char *)l->p + l->n++ * messages[f->sub].bytes;
        return decode_message(d, w, got->bytes, f->sub, p);
    }
    case KIND_STRS:
    case KIND_NAMES:
        ((pq_str *)l->p)[l->n++] = text_of(got->bytes);
        return PTQC_OK;
    case KIND_I64S:
    case KIND_F32S:
    case KIND_F64S:
        store_numbers(w, f, got, l);
        return PTQC_OK;
    }
    return PTQC_OK;
}

static ptqc_status
say_error(decoder *d)
{
    const pq_wire_error *e = &d->error;
    return PQ_FAIL(d->ctx, PTQC_E_INPUT,
                   "%s: onnx: at byte %zu: expected %s, found %s %llu", d->path,
                   e->offset, e->expected, e->found,
                   (unsigned long long)e->number);
}

// Second walk. Recursion is limited by DEPTH_LIMIT.
static ptqc_status
decode_message(decoder *d, const pq_wire *parent, pq_span bytes,
               message_kind kind, void *out)
{
    const message_desc *m = &messages[kind];
    pq_wire w = pq_wire_nested(parent, bytes);
    if (d->depth == DEPTH_LIMIT) {
        pq_wire_fail(&w, (size_t)(w.p - w.base), "messages at most 64 deep",
                     "depth", DEPTH_LIMIT + 1);
        return say_error(d);
    }
    if (kind == MESSAGE_node && ++d->node_count > NODE_LIMIT) {
        pq_wire_fail(&w, (size_t)(w.p - w.base), "at most a million nodes",
                     "node", d->node_count);
        return say_error(d);
    }
    size_t counts[LIST_LIMIT] = {0};
    if (!count_fields(w, m, counts)) {
        return say_error(d);
    }
    PQ_TRY(allocate_lists(d, m, counts, out));
    d->depth++;
    uint64_t seen = 0;
    pq_wire_field got;
    while (pq_wire_next(&w, &got)) {
        const field_desc *f = find_field(m, got.number);
        seen |= got.number < 64 ? UINT64_C(1) << got.number : 0;
        if (f != NULL) {
            PQ_TRY(store_field(d, &w, f, &got, out));
        }
    }
    d->depth--;
    *(uint64_t *)out = seen;
    return pq_wire_failed(&w) ? say_error(d) : PTQC_OK;
}

static void
decoder_init(decoder *d, pq_arena *arena, const char *path, size_t n)
{
    size_t slack = (size_t)SLACK_MIB << 20;
    *d = (decoder){.ctx = arena->ctx, .arena = arena, .path = path};
    if (!pq_mul_size(n, GROWTH_LIMIT, &d->budget_bytes) ||
        !pq_add_size(d->budget_bytes, slack, &d->budget_bytes)) {
        d->budget_bytes = SIZE_MAX;
    }
}

ptqc_status
pq_onnx_decode(pq_arena *arena, const char *path, const void *bytes, size_t n,
               pq_onnx_model *out)
{
    decoder d;
    decoder_init(&d, arena, path, n);
    *out = (pq_onnx_model){0};
    pq_wire w;
    pq_wire_init(&w, bytes, n, &d.error);
    pq_span all = {bytes, n};
    PQ_TRY(decode_message(&d, &w, all, MESSAGE_model, out));
    out->node_count = d.node_count;
    return PTQC_OK;
}

ptqc_status
pq_onnx_decode_tensor(pq_arena *arena, const char *path, const void *bytes,
                      size_t n, pq_onnx_tensor *out)
{
    decoder d;
    decoder_init(&d, arena, path, n);
    *out = (pq_onnx_tensor){0};
    pq_wire w;
    pq_wire_init(&w, bytes, n, &d.error);
    return decode_message(&d, &w, (pq_span){bytes, n}, MESSAGE_tensor, out);
}

const char *
pq_onnx_data_type_name(int64_t data_type)
{
    static const char *const names[PQ_ONNX_DATA_TYPE_END] = {
        "UNDEFINED",      "FLOAT",      "UINT8",
        "INT8",           "UINT16",     "INT16",
        "INT32",          "INT64",      "STRING",
        "BOOL",           "FLOAT16",    "DOUBLE",
        "UINT32",         "UINT64",     "COMPLEX64",
        "COMPLEX128",     "BFLOAT16",   "FLOAT8E4M3FN",
        "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ",
        "UINT4",          "INT4",       "FLOAT4E2M1",
        "FLOAT8E8M0",     "UINT2",      "INT2"};
    bool is_known = data_type >= 0 && data_type < PQ_ONNX_DATA_TYPE_END;
    return is_known ? names[data_type] : "unknown";
}

const char *
pq_onnx_attr_type_name(int64_t type)
{
    static const char *const names[PQ_ONNX_ATTR_TYPE_END] = {
        "UNDEFINED",      "FLOAT",      "INT",        "STRING",
        "TENSOR",         "GRAPH",      "FLOATS",     "INTS",
        "STRINGS",        "TENSORS",    "GRAPHS",     "SPARSE_TENSOR",
        "SPARSE_TENSORS", "TYPE_PROTO", "TYPE_PROTOS"};
    bool is_known = type >= 0 && type < PQ_ONNX_ATTR_TYPE_END;
    return is_known ? names[type] : "unknown";
}
