// SPDX-License-Identifier: Apache-2.0
//
// The protobuf cursor: well-formed fields, and every way a field can end too
// early or mean nothing.
#include <string.h>

#include "frontend/onnx/wire.h"
#include "tests/support/cmocka_test.h"
#include "tests/support/random.h"

static pq_wire
open_bytes(const void *p, size_t n, pq_wire_error *error)
{
    pq_wire w;
    memset(error, 0, sizeof *error);
    pq_wire_init(&w, p, n, error);
    return w;
}

static void
reads_all_types(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x08, 0x96, 0x01,                       // 1: 150
                             0x11, 1,    2,    3,   4,   5, 6, 7, 8, // 2: fixed
                             0x1a, 2,    'a',  'b',                  // 3: "ab"
                             0x25, 1,    0,    0,   0x80};           // 4: fixed
    pq_wire_error error;
    pq_wire_field f;
    pq_wire w = open_bytes(bytes, sizeof bytes, &error);
    assert_true(pq_wire_next(&w, &f));
    assert_int_equal(f.number, 1);
    assert_int_equal(f.value, 150);
    assert_true(pq_wire_next(&w, &f));
    assert_int_equal(f.value, 0x0807060504030201);
    assert_int_equal(f.offset, 3);
    assert_true(pq_wire_next(&w, &f));
    assert_int_equal(f.bytes.n, 2);
    assert_memory_equal(f.bytes.p, "ab", 2);
    assert_true(pq_wire_next(&w, &f));
    assert_int_equal(f.value, 0x80000001);
    assert_false(pq_wire_next(&w, &f));
    assert_false(pq_wire_failed(&w));
}

static void
varint_limits(void **state)
{
    (void)state;
    const uint8_t most[] = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff,
                            0xff, 0xff, 0xff, 0xff, 0x01};
    const uint8_t over[] = {0x08, 0xff, 0xff, 0xff, 0xff, 0xff,
                            0xff, 0xff, 0xff, 0xff, 0x02};
    const uint8_t eleven[] = {0x08, 0x80, 0x80, 0x80, 0x80, 0x80,
                              0x80, 0x80, 0x80, 0x80, 0x81, 0x00};
    pq_wire_error error;
    pq_wire_field f;
    pq_wire w = open_bytes(most, sizeof most, &error);
    assert_true(pq_wire_next(&w, &f));
    assert_true(f.value == UINT64_MAX);
    w = open_bytes(over, sizeof over, &error);
    assert_false(pq_wire_next(&w, &f));
    assert_true(pq_wire_failed(&w));
    assert_int_equal(error.offset, 1);
    w = open_bytes(eleven, sizeof eleven, &error);
    assert_false(pq_wire_next(&w, &f));
    assert_true(pq_wire_failed(&w));
}

static void
refuses(const void *p, size_t n, size_t offset, const char *found)
{
    pq_wire_error error;
    pq_wire_field f;
    pq_wire w = open_bytes(p, n, &error);
    while (pq_wire_next(&w, &f)) {
    }
    assert_true(pq_wire_failed(&w));
    assert_int_equal(error.offset, offset);
    assert_string_equal(error.found, found);
    assert_false(pq_wire_next(&w, &f)); // sticky
}

static void
bad_fields(void **state)
{
    (void)state;
    refuses("\x00\x01", 2, 0, "field");
    refuses("\x0b", 1, 0, "wire type"); // 3: group
    refuses("\x0f\x01", 2, 0, "wire type");
    refuses("\x08", 1, 1, "the end after byte");
    refuses("\x08\x80", 2, 1, "the end after byte");
    refuses("\x0a\x02z", 3, 1, "length");
    refuses("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, 1, "length");
    refuses("\x0d\x01\x02\x03", 4, 1, "bytes that are left:");
    refuses("\x09\x01\x02\x03\x04\x05\x06\x07", 8, 1, "bytes that are left:");
}

static void
packed_fields(void **state)
{
    (void)state;
    const uint8_t bytes[] = {1, 0x80, 0x01, 0x7f};
    pq_wire_error error;
    pq_wire w = open_bytes(bytes, sizeof bytes, &error);
    pq_span all = {bytes, sizeof bytes};
    uint64_t x;
    assert_int_equal(pq_wire_packed_count(&w, all, PQ_WIRE_VARINT), 3);
    assert_int_equal(pq_wire_packed_count(&w, all, PQ_WIRE_FIXED32), 1);
    assert_true(pq_wire_packed_next(&w, PQ_WIRE_VARINT, &x) && x == 1);
    assert_true(pq_wire_packed_next(&w, PQ_WIRE_VARINT, &x) && x == 128);
    assert_true(pq_wire_packed_next(&w, PQ_WIRE_VARINT, &x) && x == 127);
    assert_false(pq_wire_packed_next(&w, PQ_WIRE_VARINT, &x));
    assert_false(pq_wire_failed(&w));
    assert_int_equal(pq_wire_packed_count(&w, all, PQ_WIRE_FIXED64), 0);
    assert_true(pq_wire_failed(&w));
    w = open_bytes(bytes, 2, &error);
    all.n = 2;
    assert_int_equal(pq_wire_packed_count(&w, all, PQ_WIRE_VARINT), 0);
    assert_true(pq_wire_failed(&w));
}

static void
wrong_type_is_an_error(void **state)
{
    (void)state;
    pq_wire_error error;
    pq_wire_field f;
    pq_wire w = open_bytes("\x08\x01", 2, &error);
    assert_true(pq_wire_next(&w, &f));
    assert_true(pq_wire_expect(&w, &f, PQ_WIRE_VARINT));
    assert_false(pq_wire_expect(&w, &f, PQ_WIRE_BYTES));
    assert_true(pq_wire_failed(&w));
}

// Whatever the bytes, spans lie inside them and the cursor ends.
static void
random_bytes(void **state)
{
    (void)state;
    pq_test_random r = pq_test_random_seed(7);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[24];
        size_t n = (size_t)pq_test_random_int(&r, 0, sizeof bytes);
        pq_test_fill_bytes(&r, bytes, n);
        pq_wire_error error;
        pq_wire_field f;
        pq_wire w = open_bytes(bytes, n, &error);
        size_t fields = 0;
        while (pq_wire_next(&w, &f)) {
            fields++;
            assert_true(f.number != 0);
            if (f.type == PQ_WIRE_BYTES) {
                assert_true(f.bytes.p >= bytes &&
                            f.bytes.p + f.bytes.n <= bytes + n);
            }
        }
        assert_true(fields <= n / 2);
        assert_true(!pq_wire_failed(&w) || error.offset <= n);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_all_types),
        cmocka_unit_test(varint_limits),
        cmocka_unit_test(bad_fields),
        cmocka_unit_test(packed_fields),
        cmocka_unit_test(wrong_type_is_an_error),
        cmocka_unit_test(random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
