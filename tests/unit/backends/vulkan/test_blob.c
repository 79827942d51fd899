// SPDX-License-Identifier: Apache-2.0
//
// Blobs: round trip, cut at every byte, every byte changed; SPIR-V that is
// damaged behind a right checksum.
#include "backends/vulkan/blob.h"
#include "base/bits.h"
#include "tests/unit/backends/vulkan/vk_test.h"

static const char shader[] =
    "#version 450\n"
    "layout(local_size_x_id = 0) in;\n"
    "layout(std430, set = 0, binding = 0) buffer X { uint x[]; };\n"
    "void main() { x[gl_GlobalInvocationID.x] *= 3u; }";

static ptqc_bytes
make_words(vk_fixture *f)
{
    const char *log;
    ptqc_bytes words;
    assert_int_equal(pq_vk_glsl_compile(&f->mem, "shader", shader,
                                        sizeof shader - 1, &words, &log),
                     PTQC_BE_OK);
    return words;
}

// One entry, one step of one operand.
static ptqc_bytes
make_blob(vk_fixture *f, ptqc_bytes words)
{
    static pq_kg_dim dims[1] = {{.op = 0, .value = 8}};
    static pq_kg_value values[1] = {
        {.dtype = PTQC_F32, .rank = 1, .place = PQ_PLACE_BINDING}};
    static uint32_t args[1];
    static int64_t params[1];
    static char text[] = "fill";
    static pq_kg_step steps[1] = {{.kind = PQ_STEP_FILL,
                                   .output_count = 1,
                                   .param_count = 1,
                                   .label_bytes = 4}};
    pq_kg_entry entry = {.dims = dims,
                         .values = values,
                         .steps = steps,
                         .args = args,
                         .params = params,
                         .text = text,
                         .dim_count = 1,
                         .value_count = 1,
                         .step_count = 1,
                         .arg_count = 1,
                         .param_count = 1,
                         .text_bytes = 4,
                         .binding_count = 1};
    pq_vk_kernel kernel = {.variants = {{0, 0}, {0, PQ_KG_SUBGROUPS}},
                           .variant_count = 2,
                           .buffer_count = 1,
                           .buffers = {{0, true}},
                           .has_table = true};
    pq_vk_module module = {"shader", words};
    pq_vk_program program = {.program = {.entry_count = 1, .entries = &entry},
                             .kernels = &kernel,
                             .kernel_count = 1,
                             .modules = &module,
                             .module_count = 1};
    ptqc_bytes blob = pq_vk_blob_write(&f->mem, &program);
    assert_non_null(blob.p);
    return blob;
}

static ptqc_be_status
read_blob(vk_fixture *f, const uint8_t *p, size_t n, pq_vk_program *out)
{
    const char *why = NULL;
    pq_mem mem = {&f->host, NULL};
    // Exactly as many bytes: a read beyond them is found.
    uint8_t *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, p, n);
    ptqc_be_status st =
        pq_vk_blob_read(out != NULL ? &f->mem : &mem, (ptqc_bytes){copy, n},
                        out != NULL ? out : &(pq_vk_program){0}, &why);
    assert_true(st == PTQC_BE_OK || why != NULL);
    pq_mem_release(&mem);
    free(copy);
    return st;
}

static void
test_round_trip(void **state)
{
    vk_fixture *f = *state;
    pq_vk_program p;
    ptqc_bytes words = make_words(f), blob = make_blob(f, words);
    assert_int_equal(read_blob(f, blob.p, blob.n, &p), PTQC_BE_OK);
    assert_int_equal(p.module_count, 1);
    assert_string_equal(p.modules[0].name, "shader");
    assert_int_equal(p.modules[0].words.n, words.n);
    assert_memory_equal(p.modules[0].words.p, words.p, words.n);
    assert_int_equal(p.kernel_count, 1);
    assert_true(p.kernels[0].has_table && p.kernels[0].buffers[0].is_written);
    assert_int_equal(p.kernels[0].variant_count, 2);
    assert_int_equal(p.kernels[0].variants[1].features, PQ_KG_SUBGROUPS);
    assert_int_equal(p.program.entries[0].step_count, 1);
}

static void
test_damage(void **state)
{
    vk_fixture *f = *state;
    ptqc_bytes blob = make_blob(f, make_words(f));
    uint8_t *copy = malloc(blob.n);
    assert_non_null(copy);
    for (size_t n = 0; n < blob.n; n++) {
        assert_int_equal(read_blob(f, blob.p, n, NULL), PTQC_BE_CORRUPT);
    }
    for (size_t i = 0; i < blob.n; i++) {
        memcpy(copy, blob.p, blob.n);
        copy[i] ^= 0x41;
        ptqc_be_status st = read_blob(f, copy, blob.n, NULL);
        assert_true(st == PTQC_BE_CORRUPT || st == PTQC_BE_INCOMPATIBLE);
    }
    // The same with a checksum that is right: refused or read, never worse.
    for (size_t i = 16; i < blob.n; i++) {
        memcpy(copy, blob.p, blob.n);
        copy[i] ^= 0x41;
        pq_store_le64(copy + 8, pq_kg_program_sum(copy + 16, blob.n - 16));
        (void)read_blob(f, copy, blob.n, NULL);
    }
    memcpy(copy, blob.p, blob.n);
    copy[4] = 99;
    assert_int_equal(read_blob(f, copy, blob.n, NULL), PTQC_BE_INCOMPATIBLE);
    free(copy);
}

static void
test_damaged_spirv(void **state)
{
    vk_fixture *f = *state;
    ptqc_bytes words = make_words(f);
    size_t count = words.n / 4, refused = 0;
    uint32_t *copy = malloc(words.n);
    char log[256];
    assert_non_null(copy);
    for (size_t n = 0; n < count; n++) {
        assert_false(pq_vk_spirv_is_valid(words.p, n, log, sizeof log));
        assert_true(log[0] != '\0');
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(copy, words.p, words.n);
        copy[i] ^= 0x00210101;
        refused += !pq_vk_spirv_is_valid(copy, count, log, sizeof log);
    }
    assert_true(refused > count / 2); // the rest are other good modules
    free(copy);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, vk_set_up, vk_tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_round_trip), TEST(test_damage),
                                       TEST(test_damaged_spirv)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
