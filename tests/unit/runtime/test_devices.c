// SPDX-License-Identifier: Apache-2.0
//
// Listing plugins and devices: usable ones, unusable ones with the reason,
// plugins that cannot be loaded.
#include <string.h>

#include "ptqc/runtime.h"

#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"

#define MOST 8

typedef struct seen {
    uint32_t count;
    char ids[MOST][32], reasons[MOST][160], targets[MOST][32];
    uint32_t is_usable[MOST];
} seen;

static void
copy_text(char *to, size_t room, const char *from)
{
    size_t n = strlen(from);
    n = n < room ? n : room - 1;
    memcpy(to, from, n);
    to[n] = '\0';
}

static void
see_device(void *user, const ptqc_device_info *d)
{
    seen *s = user;
    assert_true(s->count < MOST);
    copy_text(s->ids[s->count], sizeof s->ids[0], d->id);
    copy_text(s->reasons[s->count], sizeof s->reasons[0], d->reason);
    copy_text(s->targets[s->count], sizeof s->targets[0], d->target);
    s->is_usable[s->count++] = d->is_usable;
}

static void
test_devices(void **state)
{
    (void)state;
    static const char *const dirs[] = {PTQC_FAKE_DIR "/fake",
                                       PTQC_FAKE_DIR "/skew"};
    const ptqc_backend_dirs d = {dirs, 2};
    pq_test_sink sink = {0};
    pq_test_heap heap = {0};
    seen s = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, &heap, 1);
    assert_int_equal(ptqc_list_devices(ctx, &d, see_device, &s), PTQC_OK);
    assert_int_equal(s.count, 3);
    assert_string_equal(s.ids[0], "fake:0");
    assert_string_equal(s.targets[0], "fake");
    assert_int_equal(s.is_usable[0], 1);
    assert_string_equal(s.ids[1], "fake:1");
    assert_int_equal(s.is_usable[1], 0);
    assert_string_equal(s.reasons[1], "switched off");
    assert_string_equal(s.ids[2], "skew");
    assert_int_equal(s.is_usable[2], 0);
    assert_non_null(strstr(s.reasons[2], "version 77"));
    ptqc_ctx_destroy(ctx);
    assert_int_equal(heap.live, 0);
}

static void
see_plugin(void *user, const char *name, const char *version, const char *path)
{
    seen *s = user;
    assert_true(s->count < MOST);
    assert_int_equal(path[0], '/');
    copy_text(s->ids[s->count], sizeof s->ids[0], name);
    copy_text(s->reasons[s->count++], sizeof s->reasons[0], version);
}

static void
test_plugins(void **state)
{
    (void)state;
    static const char *const dirs[] = {PTQC_FAKE_DIR "/fake",
                                       PTQC_FAKE_DIR "/mute"};
    const ptqc_backend_dirs d = {dirs, 2};
    pq_test_sink sink = {0};
    seen s = {0};
    ptqc_ctx *ctx = pq_test_ctx_create(&sink, NULL, 1);
    assert_int_equal(ptqc_list_plugins(ctx, &d, see_plugin, &s), PTQC_OK);
    assert_int_equal(s.count, 2);
    assert_string_equal(s.ids[0], "fake");
    assert_string_equal(s.reasons[0], "0.9 (fake)");
    assert_string_equal(s.ids[1], "mute");
    assert_string_equal(s.reasons[1], "unusable");
    ptqc_ctx_destroy(ctx);
}

static void
test_version(void **state)
{
    (void)state;
    assert_true(strlen(ptqc_version()) >= 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_plugins),
        cmocka_unit_test(test_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
