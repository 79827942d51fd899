// SPDX-License-Identifier: Apache-2.0
//
// Sample artifacts.
#include "tests/unit/runtime/sample.h"

#include <string.h>

#include "tests/support/cmocka_test.h"

// ---- the interface block ----------------------------------------------------

#define VALUES (2 + SAMPLE_STEPS_MAX)

// Values a, b, y, and for chains more behind them.
typedef struct sample_block {
    ptqc_gb_header header;
    char strings[16]; // "n" "a" "b" "y" ...
    ptqc_gb_symbol symbols[1];
    ptqc_gb_dim dims[2];   // n, 3
    uint32_t dim_lists[2]; // [n, 3]
    ptqc_gb_value values[VALUES];
    uint32_t inputs[2];
    uint32_t outputs[2]; // one, and padding
    uint32_t states[2];  // b, of FAKE_STATE, and padding
} sample_block;

#define SECTION(section, member, number)                                       \
    b->header.sections[section] = (ptqc_gb_section)                            \
    {                                                                          \
        offsetof(sample_block, member), number, sizeof b->member[0]            \
    }

static void
set_sections(sample_block *b)
{
    static const uint32_t strides[PTQC_GB_SECTION_COUNT] = {
        [PTQC_GB_QUANTS] = sizeof(ptqc_gb_quant),
        [PTQC_GB_CONSTANTS] = sizeof(ptqc_gb_constant),
        [PTQC_GB_NODES] = sizeof(ptqc_gb_node),
        [PTQC_GB_OPERANDS] = 4,
        [PTQC_GB_ATTRS] = sizeof(ptqc_gb_attr),
        [PTQC_GB_I64S] = 8,
        [PTQC_GB_F32S] = 4,
    };
    for (unsigned i = 0; i < PTQC_GB_SECTION_COUNT; i++) {
        b->header.sections[i] =
            (ptqc_gb_section){sizeof b->header, 0, strides[i]};
    }
    SECTION(PTQC_GB_STRINGS, strings, 10);
    SECTION(PTQC_GB_SYMBOLS, symbols, 1);
    SECTION(PTQC_GB_DIMS, dims, 2);
    SECTION(PTQC_GB_DIM_LISTS, dim_lists, 2);
    SECTION(PTQC_GB_VALUES, values, 3);
    SECTION(PTQC_GB_INPUTS, inputs, 2);
    SECTION(PTQC_GB_OUTPUTS, outputs, 1);
    SECTION(PTQC_GB_STATES, states, 0);
}

void *
pq_sample_iface(ptqc_ctx *ctx, size_t *out_count)
{
    sample_block *b = pq_alloc(ctx, sizeof *b);
    *out_count = sizeof *b;
    if (b == NULL) {
        return NULL;
    }
    b->header.magic = PTQC_GB_MAGIC;
    b->header.version = PTQC_GB_VERSION;
    b->header.total_bytes = sizeof *b;
    b->header.section_count = PTQC_GB_SECTION_COUNT;
    set_sections(b);
    memcpy(b->strings, "nabyxwvuts", 10);
    b->symbols[0] = (ptqc_gb_symbol){{0, 1}, 1, 64, 1};
    b->dims[0] = (ptqc_gb_dim){.op = PTQC_GB_DIM_SYMBOL};
    b->dims[1] = (ptqc_gb_dim){.op = PTQC_GB_DIM_CONST, .value = SAMPLE_INNER};
    b->dim_lists[1] = 1;
    for (uint32_t i = 0; i < VALUES; i++) {
        b->values[i] = (ptqc_gb_value){.name = {i + 1, 1},
                                       .dtype = PTQC_F32,
                                       .rank = 2,
                                       .quant = PTQC_GB_NONE,
                                       .constant = PTQC_GB_NONE};
    }
    b->inputs[1] = 1;
    b->outputs[0] = 2;
    b->states[0] = 1;
    return b;
}

// b is a state instead of the second input.
static void
make_state(sample_block *b)
{
    b->header.sections[PTQC_GB_INPUTS].count = 1;
    b->header.sections[PTQC_GB_STATES].count = 1;
}

// ---- the container ----------------------------------------------------------

ptqc_status
pq_sample_fill(pq_container *c, ptqc_ctx *ctx, const char *plugin,
               fake_mode mode)
{
    static const float k = SAMPLE_K;
    static const char filler[100] = "bytes that no program uses";
    const uint32_t inputs[] = {0, 1}, outputs[] = {2}, dims[] = {0};
    uint32_t state_count = mode == FAKE_STATE ? 1 : 0;
    uint32_t constant, unused, program;
    size_t n;
    fake_blob blob = {FAKE_MAGIC, (uint32_t)mode, SAMPLE_INNER, 0};
    void *iface = pq_sample_iface(ctx, &n);
    PQ_TRY_ALLOC(iface);
    if (mode == FAKE_STATE) {
        make_state(iface);
    }
    ptqc_status st = pq_container_set_iface(c, iface, n);
    pq_free(ctx, iface);
    PQ_TRY(st);
    PQ_TRY(pq_container_set_meta(c, PQ_STR(SAMPLE_META)));
    PQ_TRY(pq_container_add_constant(c, filler, sizeof filler, &unused));
    PQ_TRY(pq_container_add_constant(c, &k, sizeof k, &constant));
    pq_program_desc desc = {.plugin = pq_str_of(plugin),
                            .target = pq_str_of(plugin),
                            .blob = &blob,
                            .blob_bytes = sizeof blob,
                            .constants = &constant,
                            .constant_count = 1,
                            .entry_count = 1};
    PQ_TRY(pq_container_add_program(c, &desc, &program));
    pq_step_desc step = {.program = program,
                         .inputs = inputs,
                         .states = inputs + 1,
                         .outputs = outputs,
                         .input_count = 2 - state_count,
                         .state_count = state_count,
                         .output_count = 1,
                         .dims = dims,
                         .dim_count = 1};
    return pq_container_add_step(c, &step);
}

ptqc_status
pq_sample_container(ptqc_ctx *ctx, const char *plugin, fake_mode mode,
                    pq_container **out)
{
    pq_container *c = NULL;
    *out = NULL;
    PQ_TRY(pq_container_create(ctx, &c));
    ptqc_status st = pq_sample_fill(c, ctx, plugin, mode);
    if (st != PTQC_OK) {
        pq_container_destroy(c);
        return st;
    }
    *out = c;
    return PTQC_OK;
}

void *
pq_sample_artifact(ptqc_ctx *ctx, const char *plugin, fake_mode mode,
                   size_t *out_count)
{
    pq_container *c = NULL;
    void *bytes = NULL;
    assert_int_equal(pq_sample_container(ctx, plugin, mode, &c), PTQC_OK);
    assert_int_equal(pq_container_finish_memory(c, &bytes, out_count), PTQC_OK);
    pq_container_destroy(c);
    return bytes;
}

// ---- chains -----------------------------------------------------------------

static void
fill_chain(pq_container *c, ptqc_ctx *ctx, const char *const *plugins,
           uint32_t count)
{
    static const float k = SAMPLE_K;
    uint32_t constant;
    size_t n;
    fake_blob blob = {FAKE_MAGIC, FAKE_HONEST, SAMPLE_INNER, 0};
    sample_block *iface = pq_sample_iface(ctx, &n);
    assert_non_null(iface);
    iface->header.sections[PTQC_GB_VALUES].count = 2 + count;
    iface->outputs[0] = 1 + count;
    assert_int_equal(pq_container_set_iface(c, iface, n), PTQC_OK);
    pq_free(ctx, iface);
    assert_int_equal(pq_container_set_meta(c, PQ_STR(SAMPLE_META)), PTQC_OK);
    assert_int_equal(pq_container_add_constant(c, &k, sizeof k, &constant),
                     PTQC_OK);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t inputs[] = {i == 0 ? 0 : 1 + i, 1};
        const uint32_t outputs[] = {2 + i}, dims[] = {0};
        pq_program_desc desc = {.plugin = pq_str_of(plugins[i]),
                                .target = pq_str_of(plugins[i]),
                                .blob = &blob,
                                .blob_bytes = sizeof blob,
                                .constants = &constant,
                                .constant_count = 1,
                                .entry_count = 1};
        pq_step_desc step = {.inputs = inputs,
                             .outputs = outputs,
                             .input_count = 2,
                             .output_count = 1,
                             .dims = dims,
                             .dim_count = 1};
        assert_int_equal(pq_container_add_program(c, &desc, &step.program),
                         PTQC_OK);
        assert_int_equal(pq_container_add_step(c, &step), PTQC_OK);
    }
}

void *
pq_sample_chain(ptqc_ctx *ctx, const char *const *plugins, uint32_t count,
                size_t *out_count)
{
    pq_container *c = NULL;
    void *bytes = NULL;
    assert_true(count <= SAMPLE_STEPS_MAX);
    assert_int_equal(pq_container_create(ctx, &c), PTQC_OK);
    fill_chain(c, ctx, plugins, count);
    assert_int_equal(pq_container_finish_memory(c, &bytes, out_count), PTQC_OK);
    pq_container_destroy(c);
    return bytes;
}
