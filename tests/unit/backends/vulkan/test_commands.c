// SPDX-License-Identifier: Apache-2.0
//
// Commands with shaders written by hand: results, replay without recording,
// barriers only where they are needed, profiles, refusals.
#include "tests/unit/backends/vulkan/vk_test.h"

#define WORDS 1000u

// y[i] = x[i] * a + b, with push words {count, a} and b a constant.
static const char mul_add[] =
    "#version 450\n"
    "layout(local_size_x_id = 0) in;\n"
    "layout(constant_id = 1) const uint b = 0;\n"
    "layout(std430, set = 0, binding = 0) buffer X { uint x[]; };\n"
    "layout(std430, set = 0, binding = 1) buffer Y { uint y[]; };\n"
    "layout(push_constant) uniform P { uint count; uint a; };\n"
    "void main() {\n"
    "    uint i = gl_GlobalInvocationID.x;\n"
    "    if (i < count) { y[i] = x[i] * a + b; }\n"
    "}\n";

// Operand 0 -> operand 1.
static void
set_dispatch(vk_fixture *f, pq_vk_pipelines *p, pq_vk_dispatch *d,
             const pq_vk_operand *operands, uint32_t a, uint32_t b)
{
    const uint32_t specs[2] = {64, b};
    *d = (pq_vk_dispatch){.operands = operands,
                          .operand_count = 2,
                          .groups = {(WORDS + 63) / 64, 1, 1},
                          .words = {WORDS, a},
                          .word_count = 2,
                          .label = {"mul_add", 7},
                          .ops = 2 * WORDS};
    assert_int_equal(pq_vk_pipelines_get(p, &f->call, 0, 2, specs, 2,
                                         &d->pipeline, &d->layout),
                     PTQC_BE_OK);
}

static void
make_pipelines(vk_fixture *f, pq_vk_pipelines *out)
{
    const char *log;
    ptqc_bytes words;
    char why[256];
    assert_int_equal(pq_vk_glsl_compile(&f->mem, "mul_add", mul_add,
                                        sizeof mul_add - 1, &words, &log),
                     PTQC_BE_OK);
    assert_true(pq_vk_spirv_is_valid(words.p, words.n / 4, why, sizeof why));
    assert_int_equal(pq_vk_pipelines_create(out, &f->call, f->device, &f->mem,
                                            &words, NULL, 1),
                     PTQC_BE_OK);
}

static ptqc_buffer *
make_buffer(vk_fixture *f)
{
    static const char id[] = "vulkan:0";
    ptqc_buffer *b = NULL;
    assert_int_equal(pq_vk_buf_alloc(&f->call, f->instance,
                                     (ptqc_str){id, sizeof id - 1}, WORDS * 4,
                                     64, &b),
                     PTQC_BE_OK);
    return b;
}

static ptqc_binding
bind_buffer(ptqc_buffer *b)
{
    return (ptqc_binding){.buf = b, .bytes = WORDS * 4};
}

static pq_vk_operand
at_binding(uint32_t index, bool is_written)
{
    return (pq_vk_operand){.home = PQ_VK_HOME_BINDING,
                           .index = index,
                           .bytes = WORDS * 4,
                           .is_written = is_written};
}

static void
write_input(vk_fixture *f, ptqc_buffer *b, uint32_t first)
{
    uint32_t x[WORDS];
    for (uint32_t i = 0; i < WORDS; i++) {
        x[i] = first + i;
    }
    assert_int_equal(pq_vk_buf_write(&f->call, b, 0, (ptqc_bytes){x, sizeof x}),
                     PTQC_BE_OK);
}

// y = (first + i) * a + b.
static void
check_output(vk_fixture *f, ptqc_buffer *y, uint32_t first, uint32_t a,
             uint32_t b)
{
    uint32_t got[WORDS];
    assert_int_equal(pq_vk_buf_read(&f->call, y, 0, got, sizeof got),
                     PTQC_BE_OK);
    for (uint32_t i = 0; i < WORDS; i++) {
        assert_int_equal(got[i], (first + i) * a + b);
    }
}

// x -> t (workspace) -> y, and x -> z beside it.
static void
run_three(vk_fixture *f)
{
    pq_vk_pipelines pipelines;
    pq_vk_dispatch d[3];
    pq_vk_commands c;
    const pq_vk_operand t_in = {.home = PQ_VK_HOME_WORKSPACE,
                                .bytes = WORDS * 4};
    pq_vk_operand t_out = t_in;
    t_out.is_written = true;
    const pq_vk_operand first[2] = {at_binding(0, false), t_out};
    const pq_vk_operand beside[2] = {at_binding(0, false), at_binding(2, true)};
    const pq_vk_operand second[2] = {t_in, at_binding(1, true)};
    make_pipelines(f, &pipelines);
    set_dispatch(f, &pipelines, &d[0], first, 3, 5);
    set_dispatch(f, &pipelines, &d[1], beside, 7, 1);
    set_dispatch(f, &pipelines, &d[2], second, 2, 5);
    assert_int_equal(pipelines.count, 2); // 5 twice, 1
    assert_int_equal(
        pq_vk_commands_create(&c, &f->call, f->device, &f->mem, d, 3, 3),
        PTQC_BE_OK);
    ptqc_buffer *b[4], *other = make_buffer(f);
    for (int i = 0; i < 4; i++) {
        b[i] = make_buffer(f);
    }
    ptqc_binding bindings[3] = {bind_buffer(b[0]), bind_buffer(b[1]),
                                bind_buffer(b[2])};
    ptqc_submit submit = {.bindings = bindings,
                          .binding_count = 3,
                          .workspace = bind_buffer(b[3])};
    for (uint32_t round = 0; round < 3; round++) {
        write_input(f, b[0], round);
        assert_int_equal(pq_vk_commands_run(&c, &f->call, &submit), PTQC_BE_OK);
        check_output(f, b[1], round, 6, 15);
        check_output(f, b[2], round, 7, 1);
    }
    assert_int_equal(c.run_count, 3);
    assert_int_equal(c.record_count, 1);  // replayed
    assert_int_equal(c.barrier_count, 1); // before the one that reads t
    bindings[1] = bind_buffer(other);
    assert_int_equal(pq_vk_commands_run(&c, &f->call, &submit), PTQC_BE_OK);
    check_output(f, other, 2, 6, 15);
    assert_int_equal(c.record_count, 2);
    bindings[1].bytes -= 4; // too small
    assert_int_equal(pq_vk_commands_run(&c, &f->call, &submit),
                     PTQC_BE_INVALID);
    submit.binding_count = 2;
    assert_int_equal(pq_vk_commands_run(&c, &f->call, &submit),
                     PTQC_BE_INVALID);
    for (int i = 0; i < 4; i++) {
        pq_vk_buf_free(b[i]);
    }
    pq_vk_buf_free(other);
    pq_vk_commands_destroy(&c);
    pq_vk_pipelines_destroy(&pipelines);
}

static void
test_mapped_memory(void **state)
{
    vk_fixture *f = *state;
    vk_open(f);
    run_three(f);
}

static void
test_far_memory(void **state)
{
    vk_fixture *f = *state;
    f->fake->has_far_memory = 1;
    f->fake->no_extensions = 1; // pools of descriptors
    vk_open(f);
    run_three(f);
    assert_non_null(f->device->upload.mapped);
    assert_non_null(f->device->readback.mapped);
}

// More than the staging memory holds at once.
static void
test_large_copies(void **state)
{
    static const char id[] = "vulkan:0";
    const uint64_t bytes = 20000004;
    vk_fixture *f = *state;
    f->fake->has_far_memory = 1;
    vk_open(f);
    ptqc_buffer *b = NULL;
    assert_int_equal(pq_vk_buf_alloc(&f->call, f->instance,
                                     (ptqc_str){id, sizeof id - 1}, bytes, 64,
                                     &b),
                     PTQC_BE_OK);
    uint32_t *x = malloc(bytes), *y = malloc(bytes);
    assert_non_null(x);
    assert_non_null(y);
    assert_int_equal(pq_vk_buf_read(&f->call, b, 0, y, bytes), PTQC_BE_OK);
    for (uint64_t i = 0; i < bytes / 4; i++) {
        assert_int_equal(y[i], 0);
        x[i] = (uint32_t)i * 2654435761u;
    }
    assert_int_equal(
        pq_vk_buf_write(&f->call, b, 4, (ptqc_bytes){x, bytes - 4}),
        PTQC_BE_OK);
    assert_int_equal(pq_vk_buf_read(&f->call, b, 4, y, bytes - 4), PTQC_BE_OK);
    assert_memory_equal(x, y, bytes - 4);
    assert_int_equal(pq_vk_buf_write(&f->call, b, 17, (ptqc_bytes){x, bytes}),
                     PTQC_BE_INVALID);
    assert_int_equal(pq_vk_buf_read(&f->call, b, bytes + 16, y, 1),
                     PTQC_BE_INVALID);
    free(x);
    free(y);
    pq_vk_buf_free(b);
}

static void
count_row(void *user, const ptqc_step_profile *row)
{
    assert_int_equal(row->label.n, 7);
    assert_int_equal(row->ops, 2 * WORDS);
    ++*(int *)user;
}

static void
test_profile(void **state)
{
    vk_fixture *f = *state;
    pq_vk_pipelines pipelines;
    pq_vk_dispatch d[1];
    pq_vk_commands c;
    int rows = 0;
    const pq_vk_operand operands[2] = {at_binding(0, false),
                                       at_binding(1, true)};
    vk_open(f);
    make_pipelines(f, &pipelines);
    set_dispatch(f, &pipelines, &d[0], operands, 3, 5);
    assert_int_equal(
        pq_vk_commands_create(&c, &f->call, f->device, &f->mem, d, 1, 2),
        PTQC_BE_OK);
    ptqc_buffer *x = make_buffer(f), *y = make_buffer(f);
    ptqc_binding bindings[2] = {bind_buffer(x), bind_buffer(y)};
    ptqc_submit submit = {.bindings = bindings,
                          .binding_count = 2,
                          .profile = count_row,
                          .profile_user = &rows};
    write_input(f, x, 1);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(pq_vk_commands_run(&c, &f->call, &submit), PTQC_BE_OK);
        assert_int_equal(rows, i);
    }
    check_output(f, y, 1, 3, 5);
    pq_vk_buf_free(x);
    pq_vk_buf_free(y);
    pq_vk_commands_destroy(&c);
    pq_vk_pipelines_destroy(&pipelines);
}

static void
test_wrong_text(void **state)
{
    vk_fixture *f = *state;
    static const char text[] = "#version 450\nvoid main() { nonsense; }\n";
    const char *log;
    ptqc_bytes words;
    assert_int_equal(pq_vk_glsl_compile(&f->mem, "wrong", text, sizeof text - 1,
                                        &words, &log),
                     PTQC_BE_INTERNAL);
    assert_non_null(strstr(log, "nonsense"));
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, vk_set_up, vk_tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mapped_memory), TEST(test_far_memory),
        TEST(test_large_copies),  TEST(test_profile),
        TEST(test_wrong_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
