// SPDX-License-Identifier: Apache-2.0
//
// Programs with known dims: expressions, shapes, and workspaces of random
// programs, in which nothing that is alive is overwritten.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptqc/graph_block.h"

#include "backends/kgen/plan.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/random.h"

static char SAID[256];
static uint64_t LEFT; // allocations that succeed

static void *
host_alloc(void *self, uint64_t bytes, uint64_t align)
{
    (void)self;
    (void)align;
    if (LEFT == 0) {
        return NULL;
    }
    LEFT--;
    return malloc(bytes);
}

static void
host_free(void *self, void *p)
{
    (void)self;
    free(p);
}

static void
host_diag(ptqc_call *call, const ptqc_diag *d)
{
    (void)call;
    (void)snprintf(SAID, sizeof SAID, "%.*s", (int)d->text.n, d->text.p);
}

static const ptqc_host_vt HOST_VT = {
    .alloc = host_alloc, .free = host_free, .diag = host_diag};
static const ptqc_host HOST = {.vt = &HOST_VT};
static const pq_kg_teller TELLER = {"dev", &HOST, NULL};

static int
setup(void **state)
{
    (void)state;
    LEFT = UINT64_MAX;
    SAID[0] = '\0';
    return 0;
}

// ---- dims and shapes -------------------------------------------------------

static void
test_dims(void **state)
{
    (void)state;
    pq_kg_symbol symbol = {.min = 2, .max = 64, .multiple = 2};
    pq_kg_dim dims[] = {
        {PTQC_GB_DIM_SYMBOL, 0, 0, 0}, {PTQC_GB_DIM_CONST, 0, 0, 7},
        {PTQC_GB_DIM_ADD, 0, 1, 0},    {PTQC_GB_DIM_SUB, 1, 0, 0},
        {PTQC_GB_DIM_MUL, 0, 1, 0},    {PTQC_GB_DIM_DIV, 4, 3, 0},
        {PTQC_GB_DIM_CDIV, 2, 1, 0},   {PTQC_GB_DIM_MIN, 0, 1, 0},
        {PTQC_GB_DIM_MAX, 0, 1, 0},
    };
    pq_kg_entry e = {
        .symbols = &symbol, .symbol_count = 1, .dims = dims, .dim_count = 9};
    int64_t out[9];
    int64_t value = 4;
    assert_int_equal(pq_kg_plan_dims(&TELLER, &e, &value, 1, out), PTQC_BE_OK);
    const int64_t want[9] = {4, 7, 11, 3, 28, 9, 2, 4, 7};
    assert_memory_equal(out, want, sizeof want);
    const int64_t bad[] = {1, 3, 66};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(pq_kg_plan_dims(&TELLER, &e, &bad[i], 1, out),
                         PTQC_BE_INVALID);
        assert_non_null(strstr(SAID, "dev: dim 0"));
    }
    assert_int_equal(pq_kg_plan_dims(&TELLER, &e, &value, 0, out),
                     PTQC_BE_INVALID);
    value = 8; // 7 - 8 is below zero: what is divided by it has no value
    assert_int_equal(pq_kg_plan_dims(&TELLER, &e, &value, 1, out),
                     PTQC_BE_INVALID);
    dims[1].value = INT64_MAX;
    assert_int_equal(pq_kg_plan_dims(&TELLER, &e, &value, 1, out),
                     PTQC_BE_INVALID);
    assert_non_null(strstr(SAID, "overflows"));
}

static void
test_shapes(void **state)
{
    (void)state;
    const int64_t dims[] = {3, 5, -1, (int64_t)1 << 40};
    pq_kg_value values[] = {
        {PTQC_F16, 2, PQ_PLACE_TEMP, 0, {0, 1}},
        {PTQC_U8, 1, PQ_PLACE_CONSTANT, 0, {1}},
        {PTQC_U8, 2, PQ_PLACE_VIEW, 0, {0, 1}},
    };
    pq_kg_entry e = {.values = values, .value_count = 3, .dim_count = 4};
    uint64_t bytes = 5;
    pq_kg_shape out[3];
    assert_int_equal(pq_kg_plan_shapes(&TELLER, &e, dims, &bytes, out),
                     PTQC_BE_OK);
    assert_int_equal(out[0].count, 15);
    assert_int_equal(out[0].bytes, 30);
    assert_int_equal(out[1].element_bytes, 1);
    bytes = 4;
    assert_int_equal(pq_kg_plan_shapes(&TELLER, &e, dims, &bytes, out),
                     PTQC_BE_CORRUPT);
    bytes = 5;
    values[2].dtype = PTQC_F32; // larger than what it is a view of
    assert_int_equal(pq_kg_plan_shapes(&TELLER, &e, dims, &bytes, out),
                     PTQC_BE_CORRUPT);
    values[2].dtype = PTQC_U8;
    values[0].dims[1] = 2;
    assert_int_equal(pq_kg_plan_shapes(&TELLER, &e, dims, &bytes, out),
                     PTQC_BE_INVALID);
    values[0].dims[0] = values[0].dims[1] = 3;
    assert_int_equal(pq_kg_plan_shapes(&TELLER, &e, dims, &bytes, out),
                     PTQC_BE_INVALID);
}

// ---- workspaces ------------------------------------------------------------

#define STEPS  24u
#define VALUES (STEPS + 8u)

typedef struct program {
    pq_kg_entry e;
    pq_kg_value values[VALUES];
    pq_kg_step steps[STEPS];
    uint32_t args[3 * STEPS], inplace[STEPS];
    pq_kg_shape shapes[VALUES];
    uint64_t offsets[VALUES];
} program;

// Step i makes value i + 4 of two that are older; some values are views.
static void
make_program(program *p, pq_test_random *r)
{
    memset(p, 0, sizeof *p);
    p->e = (pq_kg_entry){.values = p->values,
                         .steps = p->steps,
                         .args = p->args,
                         .value_count = STEPS + 4,
                         .step_count = STEPS,
                         .arg_count = 3 * STEPS};
    for (uint32_t i = 0; i < STEPS + 4; i++) {
        p->shapes[i].bytes = pq_test_random_int(r, 0, 5) * 100;
        p->values[i].place = PQ_PLACE_TEMP;
    }
    for (uint32_t i = 0; i < STEPS; i++) {
        for (uint32_t k = 0; k < 2; k++) {
            p->args[3 * i + k] =
                (uint32_t)pq_test_random_int(r, 0, (int64_t)i + 3);
        }
        if (pq_test_random_int(r, 0, 5) == 0) {
            p->args[3 * i + 1] = PQ_KG_NONE;
        }
        p->args[3 * i + 2] = i + 4;
        p->steps[i] = (pq_kg_step){
            .first_arg = 3 * i, .input_count = 2, .output_count = 1};
        p->inplace[i] = (uint32_t)pq_test_random_int(r, 0, 3);
    }
    p->values[6].place = PQ_PLACE_VIEW;
    p->values[6].index = 5;
    p->shapes[6].bytes = p->shapes[5].bytes;
    p->values[0].place = PQ_PLACE_CONSTANT;
    p->values[1].place = PQ_PLACE_BINDING;
}

// Runs the program on bytes: each temporary holds the number of its step, and
// must hold it still whenever it is read.
static void
run_program(const program *p, uint64_t bytes)
{
    uint8_t *memory = calloc(bytes + 1, 1);
    uint8_t owner[VALUES] = {0};
    assert_non_null(memory);
    for (uint32_t i = 0; i < STEPS; i++) {
        for (uint32_t k = 0; k < 2; k++) {
            uint32_t v = p->args[3 * i + k];
            uint32_t root = v != PQ_KG_NONE ? pq_kg_root(&p->e, v) : 0;
            for (int64_t b = 0; owner[root] != 0 && b < p->shapes[root].bytes;
                 b++) {
                assert_int_equal(memory[p->offsets[root] + (uint64_t)b],
                                 owner[root]);
            }
        }
        uint32_t to = pq_kg_root(&p->e, i + 4);
        owner[to] = (uint8_t)(i + 1);
        uint64_t n = (uint64_t)p->shapes[to].bytes;
        assert_true(p->offsets[to] % 16 == 0 && p->offsets[to] + n <= bytes);
        memset(memory + p->offsets[to], owner[to], n);
    }
    free(memory);
}

static void
test_workspace(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(21);
    uint64_t together = 0, apart = 0;
    for (uint32_t i = 0; i < 300; i++) {
        static program p;
        pq_mem mem = {&HOST, NULL};
        uint64_t bytes;
        make_program(&p, &r);
        const pq_kg_plan_desc desc = {.entry = &p.e,
                                      .shapes = p.shapes,
                                      .inplace = i % 2 ? p.inplace : NULL,
                                      .align = 16,
                                      .guard = 16};
        assert_int_equal(
            pq_kg_plan_workspace(&TELLER, &mem, &desc, p.offsets, &bytes),
            PTQC_BE_OK);
        run_program(&p, bytes);
        together += bytes;
        for (uint32_t v = 2; v < STEPS + 4; v++) {
            apart += (uint64_t)p.shapes[v].bytes;
        }
        pq_mem_release(&mem);
    }
    assert_true(together < apart); // memory is shared
}

static void
test_workspace_fails(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(2);
    static program p;
    pq_mem mem = {&HOST, NULL};
    uint64_t bytes;
    make_program(&p, &r);
    const pq_kg_plan_desc desc = {
        .entry = &p.e, .shapes = p.shapes, .align = 16, .guard = 16};
    LEFT = 0;
    assert_int_equal(
        pq_kg_plan_workspace(&TELLER, &mem, &desc, p.offsets, &bytes),
        PTQC_BE_RESOURCE);
    LEFT = UINT64_MAX;
    for (uint32_t i = 0; i < STEPS + 4; i++) {
        p.shapes[i].bytes = (int64_t)1 << 60;
    }
    assert_int_equal(
        pq_kg_plan_workspace(&TELLER, &mem, &desc, p.offsets, &bytes),
        PTQC_BE_RESOURCE);
    assert_non_null(strstr(SAID, "workspace too large"));
    pq_mem_release(&mem);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_dims, setup),
        cmocka_unit_test_setup(test_shapes, setup),
        cmocka_unit_test_setup(test_workspace, setup),
        cmocka_unit_test_setup(test_workspace_fails, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
