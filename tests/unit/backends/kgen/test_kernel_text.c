// SPDX-License-Identifier: Apache-2.0
//
// Texts of kernels without a device: what a person reads (golden/*.txt, from
// the kernel's name on), the contract's refusals, and memory that runs out.
// `test --write` writes the golden texts anew.
#include "backends/kgen/expr.h"
#include "kernel_host.h"

#define GOLDEN "tests/unit/backends/kgen/golden/"

static bool is_writing;

// ---- steps -----------------------------------------------------------------

static int64_t
load(uint32_t dtype, uint32_t index)
{
    return kernel_op(PQ_EXPR_LOAD, dtype, 0, 0, 0, index);
}

static void
add_params(kernel_step *s, const int64_t *params, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        kernel_param(s, params[i]);
    }
}

// relu(x + bias) as codes.
static kernel_step
expr_step(void)
{
    kernel_step s = {.kind = PQ_STEP_EXPR};
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(4, 6), NULL);
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(6), NULL);
    kernel_out(&s, PTQC_U8, KERNEL_DIMS(4, 6), NULL);
    const int64_t params[] = {7,
                              2,
                              6,
                              2,
                              load(PTQC_F32, 0),
                              load(PTQC_F32, 1),
                              kernel_op(PQ_EXPR_ADD, PTQC_F32, 0, 1, 0, 0),
                              kernel_op(PQ_EXPR_RELU, PTQC_F32, 2, 0, 0, 0),
                              kernel_op(PQ_EXPR_PARAM, PTQC_F32, 0, 0, 0, 0),
                              kernel_op(PQ_EXPR_PARAM, PTQC_I32, 0, 0, 0, 1),
                              kernel_op(PQ_EXPR_QUANTIZE, PTQC_U8, 3, 4, 5, 0),
                              0x3d4ccccd,
                              3,
                              kernel_map(2, 2),
                              kernel_map(1, 2)};
    add_params(&s, params, sizeof params / sizeof params[0]);
    return s;
}

// w4a16 in groups of 32 with zero points, and a bias.
static kernel_step
matmul_step(void)
{
    kernel_step s = {.kind = PQ_STEP_PLANAR_MATMUL};
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(2, 64), NULL);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(16 * 8 * 2), NULL);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(4 * 8 * 2), NULL);
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(8), NULL);
    kernel_out(&s, PTQC_F32, KERNEL_DIMS(2, 8), NULL);
    const int64_t params[] = {8,
                              64,
                              PQ_KG_WEIGHT_I4,
                              32,
                              PQ_KG_SCALES_F16,
                              0,
                              8,
                              3,
                              0,
                              2,
                              2,
                              load(PTQC_F32, 0),
                              load(PTQC_F32, 1),
                              kernel_op(PQ_EXPR_ADD, PTQC_F32, 0, 1, 0, 0),
                              kernel_map(1, 2)};
    add_params(&s, params, sizeof params / sizeof params[0]);
    return s;
}

static kernel_step
conv_step(void)
{
    kernel_step s = {.kind = PQ_STEP_PLANAR_CONV};
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(1, 5, 5, 3), NULL);
    kernel_in(&s, PTQC_U8, KERNEL_DIMS(9 * 16 * 8), NULL);
    kernel_absent(&s);
    kernel_out(&s, PTQC_I32, KERNEL_DIMS(1, 5, 5, 8), NULL);
    const int64_t params[] = {2,
                              1,
                              3,
                              8,
                              1,
                              3,
                              3,
                              1,
                              1,
                              1,
                              1,
                              1,
                              1,
                              0,
                              1,
                              1,
                              PQ_KG_WEIGHT_I8,
                              0,
                              128,
                              PQ_KG_SCALES_NONE,
                              0,
                              8,
                              1,
                              0,
                              0,
                              4,
                              load(PTQC_I32, 0)};
    add_params(&s, params, sizeof params / sizeof params[0]);
    return s;
}

static kernel_step
softmax_step(void)
{
    kernel_step s = {.kind = PQ_STEP_SOFTMAX};
    kernel_in(&s, PTQC_F32, KERNEL_DIMS(4, 6), NULL);
    kernel_out(&s, PTQC_F32, KERNEL_DIMS(4, 6), NULL);
    kernel_param(&s, 1);
    kernel_param(&s, 0);
    return s;
}

// ---- golden texts ----------------------------------------------------------

static void
check_golden(const char *name, const kernel_step *s)
{
    static const pq_kg_dialect glsl = {.language = PQ_KG_GLSL};
    const pq_kg_tensor *args[KERNEL_ARGS];
    pq_kg_job job = kernel_job(s, args);
    pq_mem mem = {.host = &kernel_host};
    pq_kg_source source;
    const char *why = "";
    char path[256];
    static char want[65536];
    assert_int_equal(pq_kg_source_of(&mem, &job, &glsl, &source, &why),
                     PTQC_BE_OK);
    assert_int_equal(source.text_bytes, strlen(source.text));
    const char *text = strstr(source.text, "// ---- ");
    for (const char *next = text; next != NULL; text = next) {
        next = strstr(next + 1, "// ---- ");
        if (next == NULL) {
            break;
        }
    }
    assert_non_null(text);
    snprintf(path, sizeof path, GOLDEN "%s.txt", name);
    FILE *f = fopen(path, is_writing ? "w" : "r");
    assert_non_null(f);
    if (is_writing) {
        fputs(text, f);
        fclose(f);
    } else {
        size_t n = fread(want, 1, sizeof want - 1, f);
        fclose(f);
        want[n] = '\0';
        assert_string_equal(text, want);
    }
    pq_mem_release(&mem);
}

static void
test_golden(void **state)
{
    (void)state;
    kernel_step steps[] = {expr_step(), matmul_step(), conv_step(),
                           softmax_step()};
    static const char *const names[] = {"expr", "matmul", "conv", "softmax"};
    for (size_t i = 0; i < 4; i++) {
        check_golden(names[i], &steps[i]);
    }
}

// ---- the contract ----------------------------------------------------------

static ptqc_be_status
make(pq_mem *mem, const kernel_step *s, pq_kg_source *source,
     pq_kg_launch *launch, const char **why)
{
    static const pq_kg_dialect glsl = {.language = PQ_KG_GLSL};
    static const pq_kg_limits limits = {.is_cpu = true};
    const pq_kg_tensor *args[KERNEL_ARGS];
    pq_kg_job job = kernel_job(s, args);
    ptqc_be_status st = pq_kg_source_of(mem, &job, &glsl, source, why);
    return st == PTQC_BE_OK ? pq_kg_launch_of(mem, &job, &limits, launch, why)
                            : st;
}

// Layers of one form share a text; the words tell them apart.
static void
test_same_text(void **state)
{
    (void)state;
    kernel_step a = matmul_step(), b = matmul_step();
    pq_mem mem = {.host = &kernel_host};
    pq_kg_source sources[2];
    pq_kg_launch launches[2];
    const char *why = "";
    b.params[0] = b.params[6] = 4;
    b.tensors[3].dims[0] = b.tensors[4].dims[1] = 4;
    assert_int_equal(make(&mem, &a, &sources[0], &launches[0], &why),
                     PTQC_BE_OK);
    assert_int_equal(make(&mem, &b, &sources[1], &launches[1], &why),
                     PTQC_BE_OK);
    assert_string_equal(sources[0].text, sources[1].text);
    assert_int_equal(launches[0].words[0], 8);
    assert_int_equal(launches[1].words[0], 4);
    pq_mem_release(&mem);
}

static void
test_refusals(void **state)
{
    (void)state;
    pq_mem mem = {.host = &kernel_host};
    pq_kg_source source;
    pq_kg_launch launch;
    const char *why = NULL;
    kernel_step s = expr_step();
    s.tensors[0].dtype = PTQC_F64;
    assert_int_equal(make(&mem, &s, &source, &launch, &why),
                     PTQC_BE_UNSUPPORTED);
    assert_non_null(why);
    s = expr_step();
    s.tensors[1].dims[0] = 5; // does not broadcast
    assert_int_equal(make(&mem, &s, &source, &launch, &why), PTQC_BE_INVALID);
    s = expr_step();
    s.tensors[0].dims[0] = s.tensors[2].dims[0] = INT32_MAX;
    assert_int_equal(make(&mem, &s, &source, &launch, &why),
                     PTQC_BE_UNSUPPORTED);
    s = matmul_step();
    s.tensors[1].dims[0]--; // weights that are not all there
    assert_int_equal(make(&mem, &s, &source, &launch, &why), PTQC_BE_INVALID);
    s = matmul_step();
    s.params[2] = PQ_KG_WEIGHT_COUNT;
    assert_int_equal(make(&mem, &s, &source, &launch, &why),
                     PTQC_BE_UNSUPPORTED);
    s = conv_step();
    s.params[1] = 2; // groups of 3 channels
    assert_int_equal(make(&mem, &s, &source, &launch, &why),
                     PTQC_BE_UNSUPPORTED);
    s = conv_step();
    s.param_count -= 1;
    assert_int_equal(make(&mem, &s, &source, &launch, &why),
                     PTQC_BE_UNSUPPORTED);
    pq_mem_release(&mem);
}

// ---- memory ----------------------------------------------------------------

static int allocations_left;

static void *
scarce_alloc(void *self, uint64_t bytes, uint64_t align)
{
    if (allocations_left == 0) {
        return NULL;
    }
    allocations_left--;
    return kernel_host_alloc(self, bytes, align);
}

static void
test_no_memory(void **state)
{
    (void)state;
    static const ptqc_host_vt vt = {.alloc = scarce_alloc,
                                    .free = kernel_host_free};
    static const ptqc_host host = {.vt = &vt};
    kernel_step steps[] = {expr_step(), matmul_step(), conv_step(),
                           softmax_step()};
    for (size_t i = 0; i < 4; i++) {
        ptqc_be_status st = PTQC_BE_RESOURCE;
        int n = 0;
        for (; st != PTQC_BE_OK; n++) {
            pq_mem mem = {.host = &host};
            pq_kg_source source;
            pq_kg_launch launch;
            const char *why = "";
            allocations_left = n;
            st = make(&mem, &steps[i], &source, &launch, &why);
            assert_true(st == PTQC_BE_OK || st == PTQC_BE_RESOURCE);
            pq_mem_release(&mem);
        }
        assert_true(n > 1);
    }
}

int
main(int argc, char **argv)
{
    is_writing = argc > 1 && strcmp(argv[1], "--write") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_same_text),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
