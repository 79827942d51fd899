// SPDX-License-Identifier: Apache-2.0
//
// Writing and reading the blob of program.h. The reader trusts nothing: every
// count is compared with the bytes that are left before memory is taken, and
// every index with the array it points into.
#include "program.h"

#include <string.h>

#include "ptqc/graph_block.h"

#include "base/bits.h"
#include "base/checked.h"

#define ENTRIES_MAX  64u
#define HEADER_BYTES 28u
#define SYMBOL_BYTES 24u
#define DIM_BYTES    20u
#define VALUE_BYTES  16u // without dims
#define STEP_BYTES   32u

static const pq_step_info STEPS[PQ_STEP_KIND_COUNT] = {
#define STEP(NAME, text, fn, ins_min, ins_max, outs, params_min)               \
    [PQ_STEP_##NAME] = {text, ins_min, ins_max, outs, params_min},
#include "steps.def"
#undef STEP
};

const pq_step_info *
pq_step_info_of(uint32_t kind)
{
    return kind < PQ_STEP_KIND_COUNT ? &STEPS[kind] : NULL;
}

// FNV-1a, 64 bits: any single changed byte changes it.
uint64_t
pq_kg_program_sum(const uint8_t *p, size_t n)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++) {
        sum = (sum ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return sum;
}

// ---- writing ---------------------------------------------------------------

static uint8_t *
put_u32(uint8_t *p, uint32_t x)
{
    pq_store_le32(p, x);
    return p + 4;
}

static uint8_t *
put_i64(uint8_t *p, int64_t x)
{
    pq_store_le64(p, (uint64_t)x);
    return p + 8;
}

static size_t
entry_bytes(const pq_kg_entry *e)
{
    size_t bytes =
        32 + (size_t)e->symbol_count * SYMBOL_BYTES +
        (size_t)e->dim_count * DIM_BYTES + (size_t)e->step_count * STEP_BYTES +
        (size_t)e->arg_count * 4 + (size_t)e->param_count * 8 + e->text_bytes;
    for (uint32_t i = 0; i < e->value_count; i++) {
        bytes += VALUE_BYTES + (size_t)e->values[i].rank * 4;
    }
    return bytes;
}

static uint8_t *
put_dims(uint8_t *p, const pq_kg_entry *e)
{
    for (uint32_t i = 0; i < e->symbol_count; i++) {
        p = put_i64(p, e->symbols[i].min);
        p = put_i64(p, e->symbols[i].max);
        p = put_i64(p, e->symbols[i].multiple);
    }
    for (uint32_t i = 0; i < e->dim_count; i++) {
        p = put_u32(p, e->dims[i].op);
        p = put_u32(p, e->dims[i].a);
        p = put_u32(p, e->dims[i].b);
        p = put_i64(p, e->dims[i].value);
    }
    return p;
}

static uint8_t *
put_values(uint8_t *p, const pq_kg_entry *e)
{
    for (uint32_t i = 0; i < e->value_count; i++) {
        const pq_kg_value *v = &e->values[i];
        p = put_u32(p, v->dtype);
        p = put_u32(p, v->rank);
        p = put_u32(p, v->place);
        p = put_u32(p, v->index);
        for (uint32_t d = 0; d < v->rank; d++) {
            p = put_u32(p, v->dims[d]);
        }
    }
    return p;
}

static uint8_t *
put_steps(uint8_t *p, const pq_kg_entry *e)
{
    for (uint32_t i = 0; i < e->step_count; i++) {
        const pq_kg_step *s = &e->steps[i];
        p = put_u32(p, s->kind);
        p = put_u32(p, s->first_arg);
        p = put_u32(p, s->input_count);
        p = put_u32(p, s->output_count);
        p = put_u32(p, s->first_param);
        p = put_u32(p, s->param_count);
        p = put_u32(p, s->label);
        p = put_u32(p, s->label_bytes);
    }
    for (uint32_t i = 0; i < e->arg_count; i++) {
        p = put_u32(p, e->args[i]);
    }
    for (uint32_t i = 0; i < e->param_count; i++) {
        p = put_i64(p, e->params[i]);
    }
    if (e->text_bytes > 0) {
        memcpy(p, e->text, e->text_bytes);
    }
    return p + e->text_bytes;
}

static uint8_t *
put_entry(uint8_t *p, const pq_kg_entry *e)
{
    p = put_u32(p, e->symbol_count);
    p = put_u32(p, e->dim_count);
    p = put_u32(p, e->value_count);
    p = put_u32(p, e->step_count);
    p = put_u32(p, e->arg_count);
    p = put_u32(p, e->param_count);
    p = put_u32(p, e->text_bytes);
    p = put_u32(p, e->binding_count);
    p = put_dims(p, e);
    p = put_values(p, e);
    return put_steps(p, e);
}

ptqc_bytes
pq_kg_program_write(pq_mem *mem, const pq_kg_format *format,
                    const pq_kg_program *program)
{
    size_t bytes = HEADER_BYTES;
    for (uint32_t i = 0; i < program->entry_count; i++) {
        bytes += entry_bytes(&program->entries[i]);
    }
    uint8_t *start = pq_mem_alloc(mem, bytes);
    ptqc_bytes out = {start, bytes};
    if (start == NULL) {
        return out;
    }
    uint8_t *p = put_u32(start, format->magic);
    p = put_u32(p, format->version);
    p = put_i64(p, 0);
    p = put_u32(p, program->cap);
    p = put_u32(p, program->constant_count);
    p = put_u32(p, program->entry_count);
    for (uint32_t i = 0; i < program->entry_count; i++) {
        p = put_entry(p, &program->entries[i]);
    }
    pq_store_le64(start + 8, pq_kg_program_sum(start + 16, bytes - 16));
    return out;
}

// ---- reading ---------------------------------------------------------------

typedef struct reader {
    const uint8_t *p;
    size_t left;
    pq_mem *mem;
    const char *why; // first failure
    ptqc_be_status st;
} reader;

static void
refuse(reader *r, ptqc_be_status st, const char *why)
{
    if (r->st == PTQC_BE_OK) {
        r->st = st;
        r->why = why;
    }
}

static uint32_t
get_u32(reader *r)
{
    if (r->left < 4) {
        refuse(r, PTQC_BE_CORRUPT, "truncated");
        r->left = 0;
        return 0;
    }
    uint32_t x = pq_load_le32(r->p);
    r->p += 4;
    r->left -= 4;
    return x;
}

static int64_t
get_i64(reader *r)
{
    if (r->left < 8) {
        refuse(r, PTQC_BE_CORRUPT, "truncated");
        r->left = 0;
        return 0;
    }
    int64_t x = (int64_t)pq_load_le64(r->p);
    r->p += 8;
    r->left -= 8;
    return x;
}

// An array of `count` records that take at least `file_bytes` each in the
// blob; NULL after a refusal.
static void *
take_array(reader *r, uint32_t count, size_t file_bytes, size_t bytes)
{
    if (r->st != PTQC_BE_OK || count > r->left / file_bytes) {
        refuse(r, PTQC_BE_CORRUPT, "a count exceeds the bytes that are there");
        return NULL;
    }
    void *p = pq_mem_array(r->mem, count, bytes);
    if (p == NULL) {
        refuse(r, PTQC_BE_RESOURCE, "out of memory");
    }
    return p;
}

static void
need(reader *r, bool condition, const char *why)
{
    if (!condition) {
        refuse(r, PTQC_BE_CORRUPT, why);
    }
}

static void
get_symbols(reader *r, pq_kg_entry *e)
{
    e->symbols =
        take_array(r, e->symbol_count, SYMBOL_BYTES, sizeof *e->symbols);
    for (uint32_t i = 0; i < e->symbol_count && r->st == PTQC_BE_OK; i++) {
        e->symbols[i].min = get_i64(r);
        e->symbols[i].max = get_i64(r);
        e->symbols[i].multiple = get_i64(r);
        need(r, e->symbols[i].multiple >= 1, "multiple of a symbol");
    }
}

static void
get_dims(reader *r, pq_kg_entry *e)
{
    e->dims = take_array(r, e->dim_count, DIM_BYTES, sizeof *e->dims);
    for (uint32_t i = 0; i < e->dim_count && r->st == PTQC_BE_OK; i++) {
        pq_kg_dim *d = &e->dims[i];
        d->op = get_u32(r);
        d->a = get_u32(r);
        d->b = get_u32(r);
        d->value = get_i64(r);
        need(r, d->op <= PTQC_GB_DIM_MAX, "operator of a dimension");
        if (d->op == PTQC_GB_DIM_SYMBOL) {
            need(r, d->value >= 0 && d->value < e->symbol_count,
                 "symbol of a dimension");
        } else if (d->op != PTQC_GB_DIM_CONST) {
            need(r, d->a < i && d->b < i, "operand of a dimension");
        }
    }
}

static bool
is_stored_dtype(uint32_t dtype)
{
    switch (dtype) {
#define CASE(NAME, number, text, bits)                                         \
    case number:                                                               \
        return bits >= 8;
        PTQC_DTYPES(CASE)
#undef CASE
    default:
        return false;
    }
}

static void
get_value(reader *r, const pq_kg_entry *e, uint32_t constant_count, uint32_t i)
{
    pq_kg_value *v = &e->values[i];
    v->dtype = get_u32(r);
    v->rank = get_u32(r);
    v->place = get_u32(r);
    v->index = get_u32(r);
    need(r, is_stored_dtype(v->dtype), "element type of a value");
    need(r, v->rank <= PTQC_MAX_RANK, "rank of a value");
    need(r, v->place < PQ_PLACE_COUNT, "place of a value");
    for (uint32_t d = 0; d < v->rank && r->st == PTQC_BE_OK; d++) {
        v->dims[d] = get_u32(r);
        need(r, v->dims[d] < e->dim_count, "dimension of a value");
    }
    uint32_t limit = v->place == PQ_PLACE_BINDING    ? e->binding_count
                     : v->place == PQ_PLACE_CONSTANT ? constant_count
                     : v->place == PQ_PLACE_VIEW     ? i
                                                     : UINT32_MAX;
    need(r, v->index < limit || v->place == PQ_PLACE_TEMP, "index of a value");
}

static void
get_step(reader *r, const pq_kg_entry *e, pq_kg_step *s)
{
    s->kind = get_u32(r);
    s->first_arg = get_u32(r);
    s->input_count = get_u32(r);
    s->output_count = get_u32(r);
    s->first_param = get_u32(r);
    s->param_count = get_u32(r);
    s->label = get_u32(r);
    s->label_bytes = get_u32(r);
    const pq_step_info *info = pq_step_info_of(s->kind);
    if (info == NULL) {
        refuse(r, PTQC_BE_CORRUPT, "kind of a step");
        return;
    }
    need(r,
         s->input_count >= info->inputs_min &&
             s->input_count <= info->inputs_max &&
             s->output_count == info->outputs,
         "operand count of a step");
    uint64_t args = (uint64_t)s->first_arg + s->input_count + s->output_count;
    need(r, args <= e->arg_count, "operands of a step");
    need(r, s->param_count >= info->params_min, "parameter count of a step");
    need(r, (uint64_t)s->first_param + s->param_count <= e->param_count,
         "parameters of a step");
    need(r, (uint64_t)s->label + s->label_bytes <= e->text_bytes,
         "label of a step");
}

uint32_t
pq_kg_root(const pq_kg_entry *entry, uint32_t value)
{
    while (entry->values[value].place == PQ_PLACE_VIEW) {
        value = entry->values[value].index;
    }
    return value;
}

static bool
is_shared(const pq_kg_entry *e, uint32_t a, uint32_t b)
{
    const pq_kg_value *x = &e->values[pq_kg_root(e, a)];
    const pq_kg_value *y = &e->values[pq_kg_root(e, b)];
    return x == y || (x->place == PQ_PLACE_BINDING &&
                      y->place == PQ_PLACE_BINDING && x->index == y->index);
}

// An output is written: it must be a temporary, a view of one, or a binding,
// and nothing else that the step touches (the state that an update changes
// apart). What the planner merges comes later.
static void
check_output(reader *r, const pq_kg_entry *e, const pq_kg_step *s,
             uint32_t index)
{
    uint32_t out = e->args[s->first_arg + index];
    if (out == PQ_KG_NONE) {
        return;
    }
    need(r, e->values[pq_kg_root(e, out)].place != PQ_PLACE_CONSTANT,
         "a step writes a constant");
    for (uint32_t i = 0; i < index; i++) {
        uint32_t v = e->args[s->first_arg + i];
        bool in_place = s->kind == PQ_STEP_KV_UPDATE && i < 2;
        need(r, in_place || v == PQ_KG_NONE || !is_shared(e, v, out),
             "a step writes its operand");
    }
}

static void
check_operands(reader *r, const pq_kg_entry *e, const pq_kg_step *s)
{
    uint32_t count = s->input_count + s->output_count;
    for (uint32_t i = 0; i < count && r->st == PTQC_BE_OK; i++) {
        uint32_t v = e->args[s->first_arg + i];
        need(r, v == PQ_KG_NONE || v < e->value_count, "operand of a step");
        if (r->st == PTQC_BE_OK && i >= s->input_count) {
            check_output(r, e, s, i);
        }
    }
}

static void
get_steps(reader *r, pq_kg_entry *e)
{
    e->steps = take_array(r, e->step_count, STEP_BYTES, sizeof *e->steps);
    for (uint32_t i = 0; i < e->step_count && r->st == PTQC_BE_OK; i++) {
        get_step(r, e, &e->steps[i]);
    }
    e->args = take_array(r, e->arg_count, 4, sizeof *e->args);
    for (uint32_t i = 0; i < e->arg_count && r->st == PTQC_BE_OK; i++) {
        e->args[i] = get_u32(r);
    }
    e->params = take_array(r, e->param_count, 8, sizeof *e->params);
    for (uint32_t i = 0; i < e->param_count && r->st == PTQC_BE_OK; i++) {
        e->params[i] = get_i64(r);
    }
    e->text = take_array(r, e->text_bytes, 1, 1);
    if (r->st == PTQC_BE_OK && e->text_bytes > 0) {
        memcpy(e->text, r->p, e->text_bytes);
        r->p += e->text_bytes;
        r->left -= e->text_bytes;
    }
    for (uint32_t i = 0; i < e->step_count && r->st == PTQC_BE_OK; i++) {
        check_operands(r, e, &e->steps[i]);
    }
}

static void
get_entry(reader *r, uint32_t constant_count, pq_kg_entry *e)
{
    e->symbol_count = get_u32(r);
    e->dim_count = get_u32(r);
    e->value_count = get_u32(r);
    e->step_count = get_u32(r);
    e->arg_count = get_u32(r);
    e->param_count = get_u32(r);
    e->text_bytes = get_u32(r);
    e->binding_count = get_u32(r);
    // Every binding is at least one value.
    need(r, e->binding_count <= e->value_count, "binding count");
    get_symbols(r, e);
    get_dims(r, e);
    e->values = take_array(r, e->value_count, VALUE_BYTES, sizeof *e->values);
    for (uint32_t i = 0; i < e->value_count && r->st == PTQC_BE_OK; i++) {
        get_value(r, e, constant_count, i);
    }
    get_steps(r, e);
}

ptqc_be_status
pq_kg_program_read(pq_mem *mem, const pq_kg_format *format, ptqc_bytes blob,
                   pq_kg_program *out, const char **out_why)
{
    reader r = {blob.p, (size_t)blob.n, mem, "", PTQC_BE_OK};
    need(&r, get_u32(&r) == format->magic, "not a program of this plugin");
    if (r.st == PTQC_BE_OK && get_u32(&r) != format->version) {
        refuse(&r, PTQC_BE_INCOMPATIBLE, "program of another version");
    }
    uint64_t sum = (uint64_t)get_i64(&r);
    need(&r, sum == pq_kg_program_sum(r.p, r.left), "checksum differs");
    uint32_t cap = get_u32(&r);
    need(&r, cap < format->cap_count, "level");
    pq_kg_program p = {.cap = cap};
    p.constant_count = get_u32(&r);
    p.entry_count = get_u32(&r);
    need(&r, p.entry_count <= ENTRIES_MAX, "entry count");
    p.entries = take_array(&r, p.entry_count, 32, sizeof *p.entries);
    for (uint32_t i = 0; i < p.entry_count && r.st == PTQC_BE_OK; i++) {
        get_entry(&r, p.constant_count, &p.entries[i]);
    }
    need(&r, r.left == 0, "bytes after the end");
    *out_why = r.why;
    if (r.st == PTQC_BE_OK) {
        *out = p;
    }
    return r.st;
}
