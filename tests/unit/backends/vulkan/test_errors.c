// SPDX-License-Identifier: Apache-2.0
//
// What can be missing or fail: the loader, its functions, devices, memory;
// every call of a whole life fails once. One clear message, nothing leaked.
#include "tests/unit/backends/vulkan/vk_test.h"

static ptqc_be_status
look(vk_fixture *f, const char *library)
{
    assert_int_equal(
        pq_vk_instance_create(&f->call, &f->host, library, &f->instance),
        PTQC_BE_OK);
    return pq_vk_instance_look(&f->call, f->instance);
}

// The reason that `devices` tells.
typedef struct told {
    uint32_t count, state;
    char id[32], reason[256];
} told;

static ptqc_be_status
take_device(void *user, const ptqc_hdr *record)
{
    told *t = user;
    ptqc_device d;
    pq_record_read(&d, sizeof d, record);
    t->count++;
    t->state = d.state;
    snprintf(t->id, sizeof t->id, "%.*s", (int)d.id.n, d.id.p);
    snprintf(t->reason, sizeof t->reason, "%.*s", (int)d.reason.n, d.reason.p);
    return PTQC_BE_OK;
}

static told
ask(vk_fixture *f)
{
    told t = {0};
    ptqc_sink sink = {.emit = take_device, .user = &t};
    assert_int_equal(pq_vk_devices(&f->call, f->instance, &sink), PTQC_BE_OK);
    return t;
}

static void
check_absence(vk_fixture *f, const char *text)
{
    static const char id[] = "vulkan:0";
    pq_vk_device *d = NULL;
    told t = ask(f);
    assert_int_equal(t.count, 1);
    assert_int_equal(t.state, PTQC_DEVICE_UNUSABLE);
    if (strstr(t.reason, text) == NULL) {
        fail_msg("'%s' in '%s'", text, t.reason);
    }
    assert_int_equal(pq_vk_instance_device(&f->call, f->instance,
                                           (ptqc_str){id, sizeof id - 1}, &d),
                     PTQC_BE_UNSUPPORTED);
    assert_non_null(strstr(f->call.text, text));
}

static void
test_no_loader(void **state)
{
    vk_fixture *f = *state;
    assert_int_equal(look(f, "libvulkan-of-nobody.so.1"), PTQC_BE_OK);
    check_absence(f, "libvulkan-of-nobody.so.1 cannot be opened");
}

static void
test_no_device(void **state)
{
    vk_fixture *f = *state;
    f->fake->no_devices = 1;
    assert_int_equal(look(f, FAKE_VULKAN_FILE), PTQC_BE_OK);
    check_absence(f, "no Vulkan device");
}

static void
test_no_driver(void **state)
{
    vk_fixture *f = *state;
    f->fake->fail_name = "vkCreateInstance";
    f->fake->fail_at = 1;
    f->fake->fail_result = VK_ERROR_INCOMPATIBLE_DRIVER;
    assert_int_equal(look(f, FAKE_VULKAN_FILE), PTQC_BE_OK);
    check_absence(f, "no Vulkan driver is installed");
}

static void
test_lacking_functions(void **state)
{
    vk_fixture *f = *state;
    f->fake->missing = "vkEnumeratePhysicalDevices";
    assert_int_equal(look(f, FAKE_VULKAN_FILE), PTQC_BE_OK);
    check_absence(f, "lacks vkEnumeratePhysicalDevices");
}

static void
test_lacking_function_of_the_device(void **state)
{
    static const char id[] = "vulkan:0";
    vk_fixture *f = *state;
    pq_vk_device *d = NULL;
    f->fake->missing = "vkCmdDispatch";
    assert_int_equal(look(f, FAKE_VULKAN_FILE), PTQC_BE_OK);
    if (f->instance->reason[0] != '\0') {
        skip();
    }
    assert_int_equal(pq_vk_instance_device(&f->call, f->instance,
                                           (ptqc_str){id, sizeof id - 1}, &d),
                     PTQC_BE_INTERNAL);
    assert_non_null(strstr(f->call.text, "lacks vkCmdDispatch"));
}

static void
test_weak_device(void **state)
{
    vk_fixture *f = *state;
    f->fake->storage_buffers = 4;
    assert_int_equal(look(f, FAKE_VULKAN_FILE), PTQC_BE_OK);
    if (f->instance->reason[0] != '\0') {
        skip();
    }
    check_absence(f, "4 storage buffers");
}

static void
test_old_device(void **state)
{
    vk_fixture *f = *state;
    f->fake->api_version = VK_API_VERSION_1_0;
    assert_int_equal(look(f, FAKE_VULKAN_FILE), PTQC_BE_OK);
    if (f->instance->reason[0] != '\0') {
        skip();
    }
    check_absence(f, "it has Vulkan 1.0");
}

static void
test_no_such_device(void **state)
{
    static const char *const ids[] = {"vulkan:99",     "vulkan", "vulkan:",
                                      "vulkan:0;fast", "cpu:0",  "vulkan:0x0"};
    vk_fixture *f = *state;
    assert_int_equal(look(f, FAKE_VULKAN_FILE), PTQC_BE_OK);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        pq_vk_device *d = NULL;
        assert_int_equal(
            pq_vk_instance_device(&f->call, f->instance,
                                  (ptqc_str){ids[i], strlen(ids[i])}, &d),
            PTQC_BE_UNSUPPORTED);
    }
}

// ---- every call fails once --------------------------------------------------

static const char copy_text[] =
    "#version 450\n"
    "layout(local_size_x_id = 0) in;\n"
    "layout(std430, set = 0, binding = 0) buffer X { uint x[]; };\n"
    "layout(std430, set = 0, binding = 1) buffer Y { uint y[]; };\n"
    "void main() { y[gl_GlobalInvocationID.x] = x[gl_GlobalInvocationID.x]; }";

typedef struct life {
    ptqc_instance *instance;
    pq_vk_pipelines pipelines;
    pq_vk_commands commands;
    ptqc_buffer *buffers[2];
    pq_mem mem;
} life;

static void
ignore_row(void *user, const ptqc_step_profile *row)
{
    (void)user;
    (void)row;
}

#define TRY(expression)                                                        \
    do {                                                                       \
        ptqc_be_status try_st = (expression);                                  \
        if (try_st != PTQC_BE_OK) {                                            \
            return try_st;                                                     \
        }                                                                      \
    } while (0)

static ptqc_be_status
run_copy(vk_fixture *f, life *l, ptqc_bytes words)
{
    static const pq_vk_operand operands[2] = {
        {.home = PQ_VK_HOME_BINDING, .bytes = 256},
        {.home = PQ_VK_HOME_BINDING,
         .index = 1,
         .bytes = 256,
         .is_written = true}};
    static const uint32_t specs[1] = {64};
    static const char id[] = "vulkan:0";
    const ptqc_str name = {id, sizeof id - 1};
    uint32_t x[64] = {1, 2, 3}, y[64] = {0};
    pq_vk_dispatch d = {
        .operands = operands, .operand_count = 2, .groups = {1, 1, 1}};
    pq_vk_device *device = NULL;
    TRY(pq_vk_instance_device(&f->call, l->instance, name, &device));
    TRY(pq_vk_pipelines_create(&l->pipelines, &f->call, device, &l->mem, &words,
                               NULL, 1));
    TRY(pq_vk_pipelines_get(&l->pipelines, &f->call, 0, 2, specs, 1,
                            &d.pipeline, &d.layout));
    TRY(pq_vk_commands_create(&l->commands, &f->call, device, &l->mem, &d, 1,
                              2));
    ptqc_binding bindings[2];
    for (int i = 0; i < 2; i++) {
        TRY(pq_vk_buf_alloc(&f->call, l->instance, name, 256, 64,
                            &l->buffers[i]));
        bindings[i] = (ptqc_binding){.buf = l->buffers[i], .bytes = 256};
    }
    ptqc_submit submit = {.bindings = bindings, .binding_count = 2};
    TRY(pq_vk_buf_write(&f->call, l->buffers[0], 0, (ptqc_bytes){x, sizeof x}));
    TRY(pq_vk_commands_run(&l->commands, &f->call, &submit));
    submit.profile = ignore_row;
    TRY(pq_vk_commands_run(&l->commands, &f->call, &submit));
    TRY(pq_vk_buf_read(&f->call, l->buffers[1], 0, y, sizeof y));
    assert_memory_equal(x, y, sizeof x);
    return PTQC_BE_OK;
}

static ptqc_be_status
live(vk_fixture *f, ptqc_bytes words)
{
    life l = {.mem = {&f->host, NULL}};
    pq_call_init(&f->call, f->ctx, &f->plugin);
    ptqc_be_status st = pq_vk_instance_create(&f->call, &f->host,
                                              FAKE_VULKAN_FILE, &l.instance);
    if (st == PTQC_BE_OK) {
        st = run_copy(f, &l, words);
    }
    pq_vk_commands_destroy(&l.commands);
    pq_vk_pipelines_destroy(&l.pipelines);
    pq_vk_buf_free(l.buffers[0]);
    pq_vk_buf_free(l.buffers[1]);
    pq_vk_instance_destroy(l.instance);
    pq_mem_release(&l.mem);
    return st;
}

static void
sweep(vk_fixture *f, int32_t result, ptqc_be_status expected)
{
    const char *log;
    ptqc_bytes words;
    assert_int_equal(pq_vk_glsl_compile(&f->mem, "copy", copy_text,
                                        sizeof copy_text - 1, &words, &log),
                     PTQC_BE_OK);
    pq_vk_instance_destroy(f->instance); // the one that told of a device
    f->instance = NULL;
    f->fake->fail_result = result;
    uint64_t runs = 0, right = 0;
    for (bool has_failed = true; has_failed; runs++) {
        f->fake->fail_at = runs + 1;
        f->fake->failed = 0;
        ptqc_be_status st = live(f, words);
        has_failed = f->fake->failed > 0;
        if (f->fake->live != 0) {
            fail_msg("%s: %llu objects are left", f->fake->failed_name,
                     (unsigned long long)f->fake->live);
        }
        // A cache that cannot be stored is no failure, and nothing needs
        // extensions.
        bool is_optional =
            has_failed &&
            (strcmp(f->fake->failed_name, "vkGetPipelineCacheData") == 0 ||
             strcmp(f->fake->failed_name,
                    "vkEnumerateDeviceExtensionProperties") == 0);
        if (has_failed && !is_optional) {
            assert_int_not_equal(st, PTQC_BE_OK);
            assert_true(f->call.text[0] != '\0');
            right += st == expected;
        } else {
            assert_int_equal(st, PTQC_BE_OK);
        }
    }
    assert_true(runs > 30);
    assert_true(right + 5 >= runs); // before there is a device: UNSUPPORTED
}

static void
test_every_call_loses_the_device(void **state)
{
    vk_fixture *f = *state;
    vk_open(f);
    sweep(f, VK_ERROR_DEVICE_LOST, PTQC_BE_DEVICE_LOST);
}

static void
test_every_call_finds_no_memory(void **state)
{
    vk_fixture *f = *state;
    vk_open(f);
    sweep(f, VK_ERROR_OUT_OF_DEVICE_MEMORY, PTQC_BE_RESOURCE);
}

static void
test_every_call_fails_on_a_plain_device(void **state)
{
    vk_fixture *f = *state;
    f->fake->has_far_memory = 1;
    f->fake->no_extensions = 1;
    vk_open(f);
    sweep(f, VK_ERROR_OUT_OF_HOST_MEMORY, PTQC_BE_RESOURCE);
}

// A lost device stays lost.
static void
test_lost_for_good(void **state)
{
    vk_fixture *f = *state;
    vk_open(f);
    f->device->is_lost = true;
    assert_int_equal(pq_vk_device_run(f->device, &f->call, f->device->commands,
                                      f->device->fence),
                     PTQC_BE_DEVICE_LOST);
    assert_non_null(strstr(f->call.text, "the device was lost"));
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, vk_set_up, vk_tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_loader),
        TEST(test_no_device),
        TEST(test_no_driver),
        TEST(test_lacking_functions),
        TEST(test_lacking_function_of_the_device),
        TEST(test_weak_device),
        TEST(test_old_device),
        TEST(test_no_such_device),
        TEST(test_every_call_loses_the_device),
        TEST(test_every_call_finds_no_memory),
        TEST(test_every_call_fails_on_a_plain_device),
        TEST(test_lost_for_good),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
