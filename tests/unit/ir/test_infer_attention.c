// SPDX-License-Identifier: Apache-2.0
//
// attention, rope and kv_update.
#include "tests/unit/ir/ir_test.h"

#define QKV "%q: f32[N, 8, M, 16]; %k: f32[N, 2, 5, 16]; %v: f32[N, 2, 5, 32]"

#define CODES "%q: f32[N, 8, M, 16]; %k: i8[N, 2, 5, 16]; %v: i8[N, 2, 5, 32]"

static const ir_case attention_cases[] = {
    {QKV, "%y: f32[N, 8, M, 32] = attention(%q, %k, %v)", NULL},
    {QKV "; %m: f32[N, 1, 1, 5]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, %m) {scale = 0.25}", NULL},
    {QKV "; %m: f32[M, 5]", "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, %m)",
     NULL},
    {QKV "; %m: f32[M, 6]", "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, %m)",
     "input 3"},
    {"%q: f32[1, 8, 4, 16]; %k: f32[1, 3, 5, 16]; %v: f32[1, 3, 5, 32]",
     "%y: f32[1, 8, 4, 32] = attention(%q, %k, %v)", "do not divide"},
    {"%q: f32[1, 8, 4, 16]; %k: f32[1, 8, 5, 15]; %v: f32[1, 8, 5, 32]",
     "%y: f32[1, 8, 4, 32] = attention(%q, %k, %v)", "input 1"},
    {"%q: f32[8, 4, 16]; %k: f32[8, 5, 16]; %v: f32[8, 5, 32]",
     "%y: f32[8, 4, 32] = attention(%q, %k, %v)", "expected rank 4"},
    {QKV "; %p: i32[N, M]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, %p)", NULL},
    {"%q: f32[N, 8, M, 16]; %k: f16[N, 2, 5, 16]; %v: bf16[N, 2, 5, 32]; "
     "%m: f32[M, 5]; %p: i32[N, M]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, %m, %p)", NULL},
    {QKV "; %p: i64[N, M]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, %p)",
     "input 4: positions are i32, found i64"},
    {QKV "; %p: i32[M]", "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, %p)",
     "input 4: expected rank 2"},
    {"%q: f32[1, 8, 4, 16]; %k: f32[1, 8, 5, 16]; %v: f32[1, 8, 5, 32]; "
     "%p: i32[1, 5]",
     "%y: f32[1, 8, 4, 32] = attention(%q, %k, %v, _, %p)",
     "input 4: expected 4 elements on axis 1, found 5"},
    {QKV "; %p: i32[N, M]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, %p) {causal = 1}",
     "exclude each other"},
    {CODES "; %s: f32[N, 2, 5]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, _, %s, %s)", NULL},
    {CODES "; %s: f32[N, 2, 5]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, _, %s)",
     "input 2: i8 codes and scales come together"},
    {QKV "; %s: f32[N, 2, 5]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, _, %s)",
     "input 1: i8 codes and scales come together"},
    {CODES "; %s: f16[N, 2, 5]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, _, %s, %s)",
     "input 5: scales are f32, found f16"},
    {CODES "; %s: f32[N, 2, 5]; %t: f32[N, 2, 6]",
     "%y: f32[N, 8, M, 32] = attention(%q, %k, %v, _, _, %s, %t)", "input 6"},
};

#define XPF "%x: f32[N, 3, M, 8]; %p: i32[N, M]; "

static const ir_case rope_cases[] = {
    {XPF "%f: f32[4]", "%y: f32[N, 3, M, 8] = rope(%x, %p, %f)", NULL},
    {XPF "%f: f32[3]", "%y: f32[N, 3, M, 8] = rope(%x, %p, %f) {mode = 1}",
     NULL},
    {XPF "%f: f32[5]", "%y: f32[N, 3, M, 8] = rope(%x, %p, %f)", "at most"},
    {XPF "%f: f16[4]", "%y: f32[N, 3, M, 8] = rope(%x, %p, %f)", "input 2"},
    {XPF "%f: f32[4, 1]", "%y: f32[N, 3, M, 8] = rope(%x, %p, %f)",
     "expected rank 1"},
    {XPF "%f: f32[4]", "%y: f32[N, 3, M, 8] = rope(%x, %p, %f) {mode = 2}",
     "mode"},
    {"%x: f32[N, 3, 7, 8]; %p: i32[N, 6]; %f: f32[4]",
     "%y: f32[N, 3, 7, 8] = rope(%x, %p, %f)", "input 1"},
    {"%x: f32[N, 3, 8]; %p: i32[N, 3]; %f: f32[4]",
     "%y: f32[N, 3, 8] = rope(%x, %p, %f)", "expected rank 4"},
    {"%x: f16[N, 3, M, E]; %p: i32[N, M]; %f: f32[1]",
     "%y: f16[N, 3, M, E] = rope(%x, %p, %f)", "at most"}, // E may be 0
};

#define STATES "!state %s: i8[N, 3, 9, 8] ; !state %t: f32[N, 3, 9] ; "
#define UPDATE                                                                 \
    "%y: i8[N, 3, 9, 8], %z: f32[N, 3, 9] = kv_update_codes(%s, %t, %x, %p)"

// '!' takes a line as it is: the state.
static const ir_case update_cases[] = {
    {"!state %s: f16[N, 3, 9, 8] ; %x: f32[N, 3, M, 8]; %p: i32[N, M]",
     "%y: f16[N, 3, 9, 8] = kv_update(%s, %x, %p)", NULL},
    {"!state %s: f16[N, 3, 9, 8] ; %x: f32[N, 3, M, 7]; %p: i32[N, M]",
     "%y: f16[N, 3, 9, 8] = kv_update(%s, %x, %p)", "input 1"},
    {"!state %s: f16[N, 3, 9, 8] ; %x: f32[N, 2, M, 8]; %p: i32[N, M]",
     "%y: f16[N, 3, 9, 8] = kv_update(%s, %x, %p)", "input 1"},
    {"!state %s: f16[2, 3, 9, 8] ; %x: f32[2, 3, 4, 8]; %p: i32[2, 5]",
     "%y: f16[2, 3, 9, 8] = kv_update(%s, %x, %p)", "input 2"},
    {"!state %s: f16[2, 3, 9, 8] ; %x: f32[2, 3, 4, 8]; %p: u32[2, 4]",
     "%y: f16[2, 3, 9, 8] = kv_update(%s, %x, %p)", "positions are i32"},
    {"!state %s: f16[2, 3, 9] ; %x: f32[2, 3, 4]; %p: i32[2, 4]",
     "%y: f16[2, 3, 9] = kv_update(%s, %x, %p)", "expected rank 4"},
    {STATES "%x: f32[N, 3, M, 8]; %p: i32[N, M]", UPDATE, NULL},
    {STATES "%x: f32[N, 3, M, 7]; %p: i32[N, M]", UPDATE, "input 2"},
    {STATES "%x: f32[N, 3, M, 8]; %p: i32[N, 4]", UPDATE, NULL}, // M may be 4
    {STATES "%x: f32[N, 3, 5, 8]; %p: i32[N, 4]", UPDATE, "input 3"},
    {"!state %s: i8[N, 3, 9, 8] ; !state %t: f32[N, 3, 8] ; "
     "%x: f32[N, 3, M, 8]; %p: i32[N, M]",
     UPDATE, "input 1"},
    {"!state %s: f16[N, 3, 9, 8] ; !state %t: f32[N, 3, 9] ; "
     "%x: f32[N, 3, M, 8]; %p: i32[N, M]",
     "%y: f16[N, 3, 9, 8], %z: f32[N, 3, 9] = "
     "kv_update_codes(%s, %t, %x, %p)",
     "i8 codes, f32 scales"},
};

static void
test_attention(void **state)
{
    (void)state;
    IR_CHECK(attention_cases);
}

static void
test_rope(void **state)
{
    (void)state;
    IR_CHECK(rope_cases);
}

static void
test_kv_update(void **state)
{
    (void)state;
    IR_CHECK(update_cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_kv_update),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
