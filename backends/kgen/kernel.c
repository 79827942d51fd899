// SPDX-License-Identifier: Apache-2.0
//
// Kernels by kind of step (kernel.h), and what the families share about
// launches, operands and parameters (module.h).
#include "kernel.h"

#include <string.h>

#include "module.h"
#include "program.h"

// ---- operands and parameters -----------------------------------------------

const pq_kg_tensor *
pq_kg_in(const pq_kg_job *job, uint32_t i)
{
    return i < job->input_count ? job->args[i] : NULL;
}

const pq_kg_tensor *
pq_kg_out(const pq_kg_job *job, uint32_t i)
{
    return i < job->output_count ? job->args[job->input_count + i] : NULL;
}

int64_t
pq_kg_i64(const pq_kg_job *job, uint32_t i)
{
    return i < job->param_count ? job->params[i] : 0;
}

float
pq_kg_f32(const pq_kg_job *job, uint32_t i)
{
    uint32_t bits = (uint32_t)pq_kg_i64(job, i);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

bool
pq_kg_dim_of(const pq_kg_job *job, uint32_t i, int64_t *out)
{
    int64_t dim = pq_kg_i64(job, i);
    bool is_there = i < job->param_count && dim >= 0 && dim < job->dim_count;
    if (is_there) {
        *out = job->dims[dim];
    }
    return is_there;
}

typedef struct dtype_info {
    const char *name, *type;
} dtype_info;

static const dtype_info *
dtype_of(uint32_t dtype)
{
    static const dtype_info F32 = {"f32", "f32"}, F16 = {"f16", "f32"},
                            BF16 = {"bf16", "f32"}, I8 = {"i8", "i32"},
                            U8 = {"u8", "u32"}, I16 = {"i16", "i32"},
                            U16 = {"u16", "u32"}, I32 = {"i32", "i32"},
                            U32 = {"u32", "u32"}, I64 = {"i64", "i32"},
                            U64 = {"u64", "u32"}, BOOL = {"bool", "bool"},
                            NONE = {NULL, NULL};
    switch (dtype) {
    case PTQC_F32:
        return &F32;
    case PTQC_F16:
        return &F16;
    case PTQC_BF16:
        return &BF16;
    case PTQC_I8:
        return &I8;
    case PTQC_U8:
        return &U8;
    case PTQC_I16:
        return &I16;
    case PTQC_U16:
        return &U16;
    case PTQC_I32:
        return &I32;
    case PTQC_U32:
        return &U32;
    case PTQC_I64:
        return &I64;
    case PTQC_U64:
        return &U64;
    case PTQC_BOOL:
        return &BOOL;
    default:
        return &NONE;
    }
}

const char *
pq_kg_dtype_name(uint32_t dtype)
{
    return dtype_of(dtype)->name;
}

const char *
pq_kg_register_type(uint32_t dtype)
{
    return dtype_of(dtype)->type;
}

bool
pq_kg_is_float(uint32_t dtype)
{
    return dtype == PTQC_F32 || dtype == PTQC_F16 || dtype == PTQC_BF16;
}

bool
pq_kg_count(const pq_kg_tensor *t, int64_t *out)
{
    int64_t count = 1;
    bool fits = true, is_empty = false;
    for (uint32_t i = 0; i < t->rank; i++) {
        is_empty = is_empty || t->dims[i] == 0;
        fits = fits && t->dims[i] >= 0 &&
               !__builtin_mul_overflow(count, t->dims[i], &count) &&
               count <= INT32_MAX;
    }
    *out = is_empty ? 0 : count;
    return fits || is_empty;
}

int64_t
pq_kg_extent(const pq_kg_tensor *t, uint32_t from, uint32_t to)
{
    int64_t n = 1;
    for (uint32_t i = from; i < to; i++) {
        n *= t->dims[i];
    }
    return n;
}

void
pq_kg_strides(const pq_kg_tensor *t, int64_t *out)
{
    int64_t stride = 1;
    for (uint32_t i = t->rank; i-- > 0;) {
        out[i] = stride;
        stride *= t->dims[i];
    }
}

int64_t
pq_kg_words_of(uint32_t dtype, int64_t n)
{
    int64_t bytes = pq_kg_element_bytes(dtype);
    return bytes == 8 ? n : (n * bytes + 3) / 4;
}

// ---- launch ----------------------------------------------------------------

static void
fail(pq_kg_launcher *l, ptqc_be_status st, const char *why)
{
    if (l->st == PTQC_BE_OK) {
        l->st = st;
        l->why = why;
    }
}

bool
pq_kg_launch_need(pq_kg_launcher *l, int holds, const char *what)
{
    if (!holds) {
        fail(l, PTQC_BE_INVALID, what);
    }
    return l->st == PTQC_BE_OK;
}

bool
pq_kg_launch_turns(pq_kg_launcher *l, int64_t turns)
{
    if (l->limits->max_turns > 0 && turns > (int64_t)l->limits->max_turns) {
        fail(l, PTQC_BE_RESOURCE,
             "more turns of a loop than this device makes; run it on cpu");
    }
    return l->st == PTQC_BE_OK;
}

void
pq_kg_put_bits(pq_kg_launcher *l, uint32_t x)
{
    if (l->word_count < PQ_KG_TABLE_MAX) {
        l->words[l->word_count] = x;
    }
    l->word_count++;
}

void
pq_kg_put(pq_kg_launcher *l, int64_t x)
{
    if (x < 0 || x > UINT32_MAX) {
        fail(l, PTQC_BE_UNSUPPORTED, "a size beyond 32 bits");
    }
    pq_kg_put_bits(l, (uint32_t)x);
}

void
pq_kg_put_i32(pq_kg_launcher *l, int64_t x)
{
    if (x < INT32_MIN || x > INT32_MAX) {
        fail(l, PTQC_BE_UNSUPPORTED, "a number beyond 32 bits");
    }
    pq_kg_put_bits(l, (uint32_t)x);
}

void
pq_kg_put_f32(pq_kg_launcher *l, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    pq_kg_put_bits(l, bits);
}

void
pq_kg_launch_spec(pq_kg_launcher *l, uint32_t value)
{
    if (l->out->spec_count < PQ_KG_SPECS_MAX) {
        l->out->specs[l->out->spec_count] = value;
        l->out->spec_count++;
    }
}

static int64_t
max_groups(const pq_kg_launcher *l, uint32_t axis)
{
    uint32_t n = l->limits->max_groups[axis];
    return n > 0 ? n : 65535;
}

void
pq_kg_launch_rows(pq_kg_launcher *l, int64_t count, uint32_t local)
{
    int64_t x = count < max_groups(l, 0) ? count : max_groups(l, 0);
    int64_t y = x > 0 ? (count + x - 1) / x : 0;
    if (count < 0 || y > max_groups(l, 1)) {
        fail(l, PTQC_BE_UNSUPPORTED, "more work than fits a launch");
        return;
    }
    // even rows, so that few groups are idle
    x = y > 0 ? (count + y - 1) / y : 0;
    l->out->groups[0] = (uint32_t)x;
    l->out->groups[1] = (uint32_t)y;
    l->out->groups[2] = x > 0 ? 1 : 0;
    l->out->specs[0] = local;
}

void
pq_kg_launch_items(pq_kg_launcher *l, int64_t items, uint32_t local)
{
    pq_kg_launch_rows(l, items / local + (items % local != 0), local);
}

void
pq_kg_launch_grid(pq_kg_launcher *l, int64_t x, int64_t y, int64_t z,
                  uint32_t local)
{
    const int64_t sizes[3] = {x, y, z};
    for (uint32_t i = 0; i < 3; i++) {
        if (sizes[i] < 0 || sizes[i] > max_groups(l, i)) {
            fail(l, PTQC_BE_UNSUPPORTED, "more work than fits a launch");
            return;
        }
        l->out->groups[i] = (uint32_t)sizes[i];
    }
    l->out->specs[0] = local;
}

uint32_t
pq_kg_subgroup(const pq_kg_limits *limits)
{
    bool has_subgroups = (limits->features & PQ_KG_SUBGROUPS) != 0;
    return has_subgroups ? limits->subgroup_size : 0;
}

uint32_t
pq_kg_flat_local(const pq_kg_limits *limits)
{
    uint32_t most = limits->max_local_size > 0 ? limits->max_local_size : 128;
    return most < 128 ? most : 128;
}

void
pq_kg_spatial(pq_kg_launcher *l, const pq_kg_tensor *t, int64_t channels,
              int64_t *out)
{
    int64_t spatial = pq_kg_i64(l->job, 0);
    out[0] = out[1] = out[2] = 1;
    if (!PQ_KG_NEED(l, t->rank == spatial + 2) ||
        !PQ_KG_NEED(l, t->dims[t->rank - 1] == channels)) {
        return;
    }
    for (uint32_t i = 0; i < (uint32_t)spatial; i++) {
        out[3 - (uint32_t)spatial + i] = t->dims[1 + i];
    }
}

// ---- by kind ---------------------------------------------------------------

typedef struct family {
    void (*source)(pq_kg_module *m);
    void (*launch)(pq_kg_launcher *l);
} family;

static const family *
family_of(uint32_t kind)
{
    static const family FAMILIES[PQ_STEP_KIND_COUNT] = {
#define KERNEL(NAME, fn)                                                       \
    [PQ_STEP_##NAME] = {pq_kg_source_##fn, pq_kg_launch_##fn},
#include "kernels.def"
#undef KERNEL
    };
    return kind < PQ_STEP_KIND_COUNT && FAMILIES[kind].source != NULL
               ? &FAMILIES[kind]
               : NULL;
}

bool
pq_kg_has_kernel(uint32_t kind)
{
    return family_of(kind) != NULL;
}

ptqc_be_status
pq_kg_source_of(pq_mem *mem, const pq_kg_job *job, const pq_kg_dialect *dialect,
                pq_kg_source *out, const char **out_why)
{
    const family *f = family_of(job->kind);
    if (f == NULL || dialect->language != PQ_KG_GLSL) {
        *out_why = f == NULL ? "no kernel" : "no such language";
        return PTQC_BE_UNSUPPORTED;
    }
    memset(out, 0, sizeof *out);
    pq_kg_module m = {.mem = mem, .job = job, .dialect = dialect, .out = out};
    pq_kg_text *texts[] = {&m.name, &m.constants, &m.names, &m.storage};
    for (uint32_t i = 0; i < 4; i++) {
        texts[i]->mem = mem;
    }
    f->source(&m);
    ptqc_be_status st = m.st == PTQC_BE_OK ? pq_kg_module_finish(&m) : m.st;
    *out_why = m.why;
    return st;
}

// The words to where the device reads them.
static void
place_words(pq_kg_launcher *l)
{
    if (l->word_count > PQ_KG_TABLE_MAX) {
        fail(l, PTQC_BE_UNSUPPORTED, "too many numbers for one launch");
    } else if (l->word_count > PQ_KG_WORDS_MAX) {
        uint32_t *table = pq_mem_array(l->mem, l->word_count, sizeof *table);
        if (table == NULL) {
            fail(l, PTQC_BE_RESOURCE, "out of memory");
            return;
        }
        memcpy(table, l->words, l->word_count * sizeof *table);
        l->out->table = table;
        l->out->table_words = l->word_count;
    } else {
        memcpy(l->out->words, l->words,
               l->word_count * sizeof l->out->words[0]);
        l->out->word_count = l->word_count;
    }
}

ptqc_be_status
pq_kg_launch_of(pq_mem *mem, const pq_kg_job *job, const pq_kg_limits *limits,
                pq_kg_launch *out, const char **out_why)
{
    const family *f = family_of(job->kind);
    if (f == NULL) {
        *out_why = "no kernel";
        return PTQC_BE_INVALID;
    }
    memset(out, 0, sizeof *out);
    pq_kg_launcher l = {.mem = mem, .job = job, .limits = limits, .out = out};
    out->specs[0] = 1;
    out->specs[1] = limits->is_cpu ? 0 : 1;
    out->specs[2] = pq_kg_subgroup(limits);
    out->spec_count = 3;
    for (uint32_t i = 0; i < job->input_count + job->output_count; i++) {
        int64_t count;
        if (job->args[i] != NULL && !pq_kg_count(job->args[i], &count)) {
            fail(&l, PTQC_BE_UNSUPPORTED, "a tensor of 2^31 elements or more");
        }
    }
    if (l.st == PTQC_BE_OK) {
        f->launch(&l);
    }
    place_words(&l);
    *out_why = l.why;
    return l.st;
}
