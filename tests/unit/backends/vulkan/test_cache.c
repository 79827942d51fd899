// SPDX-License-Identifier: Apache-2.0
//
// The pipeline cache: stored under the device's key, taken back when it is of
// this driver, ignored when it is damaged or of another one.
#include "backends/vulkan/cache.h"
#include "base/bits.h"
#include "tests/unit/backends/vulkan/vk_test.h"

// What the host "has" and got; one device at a time.
static struct {
    uint8_t bytes[4096];
    size_t count;
    uint64_t gets, puts;
    uint8_t got_key[32], put_key[32];
} store;

static ptqc_be_status
cache_get(void *self, const uint8_t key[32], ptqc_bytes *out)
{
    store.gets++;
    memcpy(store.got_key, key, 32);
    if (store.count == 0) {
        return PTQC_BE_UNSUPPORTED;
    }
    void *p = pq_host_alloc(self, store.count, 64);
    assert_non_null(p);
    memcpy(p, store.bytes, store.count);
    *out = (ptqc_bytes){p, store.count};
    return PTQC_BE_OK;
}

static ptqc_be_status
cache_put(void *self, const uint8_t key[32], ptqc_bytes data)
{
    (void)self;
    store.puts++;
    memcpy(store.put_key, key, 32);
    store.count = data.n < sizeof store.bytes ? data.n : sizeof store.bytes;
    memcpy(store.bytes, data.p, store.count);
    return PTQC_BE_OK;
}

static void
use_store(vk_fixture *f, ptqc_host_vt *vt)
{
    *vt = *f->host.vt;
    vt->cache_get = cache_get;
    vt->cache_put = cache_put;
    f->host.vt = vt;
    memset(&store, 0, sizeof store);
}

static void
reopen(vk_fixture *f)
{
    pq_vk_instance_destroy(f->instance);
    f->instance = NULL;
    vk_open(f);
}

static void
test_stored_and_taken(void **state)
{
    vk_fixture *f = *state;
    static ptqc_host_vt vt;
    use_store(f, &vt);
    vk_open(f);
    assert_int_equal(store.gets, 1);
    pq_vk_cache_store(f->device);
    assert_int_equal(store.puts, 1);
    assert_memory_equal(store.got_key, store.put_key, 32);
    pq_vk_cache_store(f->device); // it has not grown
    assert_int_equal(store.puts, 1);
    uint64_t bytes = store.count;
    reopen(f);
    assert_int_equal(f->device->pipelines_bytes, bytes);
}

static void
test_damaged_or_foreign(void **state)
{
    vk_fixture *f = *state;
    static ptqc_host_vt vt;
    use_store(f, &vt);
    vk_open(f);
    pq_vk_cache_store(f->device);
    uint8_t good[4096];
    size_t count = store.count;
    memcpy(good, store.bytes, sizeof good);
    for (size_t i = 0; i < 32; i++) { // every byte of the header
        memcpy(store.bytes, good, sizeof good);
        store.count = count;
        store.bytes[i] ^= 0x80;
        reopen(f);
        assert_int_equal(f->device->pipelines_bytes, 0);
    }
    for (size_t n = 1; n < 32; n++) {
        memcpy(store.bytes, good, sizeof good);
        store.count = n;
        reopen(f);
        assert_int_equal(f->device->pipelines_bytes, 0);
    }
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, vk_set_up, vk_tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_stored_and_taken),
                                       TEST(test_damaged_or_foreign)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
