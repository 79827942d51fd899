// SPDX-License-Identifier: Apache-2.0
//
// Every function of emit_math.h gives the bits of its C text, at every level
// of the machine, over all of f32 in strides and in random operands.
#include <llvm-c/Core.h>
#include <math.h>

#include "backends/cpu/emit_math.h"
#include "base/mathfn.h"
#include "cpu_host.h"

typedef LLVMValueRef (*emit_fn)(pq_emitter *e, LLVMValueRef v_x,
                                LLVMValueRef v_a, LLVMValueRef v_b);

typedef struct math_case {
    const char *name;
    emit_fn emit;
    float (*text)(float x, float a, float b);
    uint32_t operands;
} math_case;

#define UNARY_PAIR(name)                                                       \
    static LLVMValueRef e_##name(pq_emitter *e, LLVMValueRef x,                \
                                 LLVMValueRef a, LLVMValueRef b)               \
    {                                                                          \
        (void)a;                                                               \
        (void)b;                                                               \
        return pq_emit_##name##f(e, x);                                        \
    }                                                                          \
    static float c_##name(float x, float a, float b)                           \
    {                                                                          \
        (void)a;                                                               \
        (void)b;                                                               \
        return pq_##name##f(x);                                                \
    }
#define BINARY_PAIR(name)                                                      \
    static LLVMValueRef e_##name(pq_emitter *e, LLVMValueRef x,                \
                                 LLVMValueRef a, LLVMValueRef b)               \
    {                                                                          \
        (void)b;                                                               \
        return pq_emit_##name##f(e, x, a);                                     \
    }                                                                          \
    static float c_##name(float x, float a, float b)                           \
    {                                                                          \
        (void)b;                                                               \
        return pq_##name##f(x, a);                                             \
    }
#define TERNARY_PAIR(name)                                                     \
    static LLVMValueRef e_##name(pq_emitter *e, LLVMValueRef x,                \
                                 LLVMValueRef a, LLVMValueRef b)               \
    {                                                                          \
        return pq_emit_##name##f(e, x, a, b);                                  \
    }                                                                          \
    static float c_##name(float x, float a, float b)                           \
    {                                                                          \
        return pq_##name##f(x, a, b);                                          \
    }

#define pq_absf   fabsf
#define pq_sqrtf  sqrtf
#define pq_floorf floorf
#define pq_ceilf  ceilf

PQ_MATH_UNARY(UNARY_PAIR)
PQ_MATH_BINARY(BINARY_PAIR)
PQ_MATH_TERNARY(TERNARY_PAIR)

#define UNARY_CASE(name)   {#name, e_##name, c_##name, 1},
#define BINARY_CASE(name)  {#name, e_##name, c_##name, 2},
#define TERNARY_CASE(name) {#name, e_##name, c_##name, 3},

static const math_case math_cases[] = {PQ_MATH_UNARY(UNARY_CASE) PQ_MATH_BINARY(
    BINARY_CASE) PQ_MATH_TERNARY(TERNARY_CASE)};

#define CASE_COUNT (sizeof math_cases / sizeof math_cases[0])

// kernel(x, a, b, out, n): out[i] = f(x[i], a[i], b[i]), n a multiple of 16.
typedef struct math_desc {
    uint32_t which, is_scalar;
} math_desc;

static ptqc_be_status
emit_kernel(pq_emitter *e, const void *desc)
{
    const math_desc *d = desc;
    LLVMTypeRef params[5] = {e->t_ptr, e->t_ptr, e->t_ptr, e->t_ptr, e->t_i64};
    pq_emit_function(e, params, 5);
    LLVMTypeRef type = d->is_scalar ? e->t_f32 : e->t_vf32;
    pq_loop loop;
    pq_emit_loop_begin(e, &loop, pq_emit_i64(e, 0), pq_emit_param(e, 4),
                       d->is_scalar ? 1 : 16, NULL, 0);
    LLVMValueRef v_bytes =
        LLVMBuildMul(e->builder, loop.v_index, pq_emit_i64(e, 4), "");
    LLVMValueRef v[3];
    for (uint32_t i = 0; i < 3; i++) {
        v[i] = pq_emit_load(e, type,
                            pq_emit_at(e, pq_emit_param(e, i), v_bytes), 4);
    }
    LLVMValueRef v_y = math_cases[d->which].emit(e, v[0], v[1], v[2]);
    pq_emit_store(e, v_y, pq_emit_at(e, pq_emit_param(e, 3), v_bytes), 4);
    pq_emit_loop_end(e, &loop, NULL);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

static const pq_kernel_class math_class = {
    .name = "test.math",
    .version = 1,
    .desc_bytes = sizeof(math_desc),
    .emit = emit_kernel,
};

typedef void (*math_kernel)(const float *x, const float *a, const float *b,
                            float *out, int64_t n);

#define BLOCK 4096

static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed ^ (*seed >> 15);
}

// Block `round` of operands: one half walks over all bit patterns, the other
// is random with moderate exponents.
static void
fill(float *x, float *a, float *b, uint32_t round, uint32_t *seed)
{
    for (uint32_t i = 0; i < BLOCK; i++) {
        uint32_t u = (round * BLOCK + i) * 4177u;
        uint32_t moderate = next_random(seed);
        moderate = (moderate & 0x80ffffffu) | ((112u + i % 24u) << 23);
        x[i] = pq_bits_f32((i & 1u) != 0 ? u : moderate);
        uint32_t r = next_random(seed);
        uint32_t near = (r & 0x80ffffffu) | ((119u + r % 16u) << 23);
        a[i] = pq_bits_f32((r & 3u) == 0 ? r : near);
        a[i] = (r & 15u) == 1 ? (float)((int32_t)(r >> 8) % 5 - 2) : a[i];
        b[i] = pq_bits_f32(near ^ 0x00400000u);
    }
}

static void
check_block(const math_case *c, math_kernel run, float *const operands[4])
{
    run(operands[0], operands[1], operands[2], operands[3], BLOCK);
    for (uint32_t i = 0; i < BLOCK; i++) {
        float x = operands[0][i];
        float want = c->text(x, operands[1][i], operands[2][i]);
        float got = operands[3][i];
        // which NaN an invalid operation or a NaN operand gives is left open
        if (isnan(want) ? !isnan(got) : pq_f32_bits(got) != pq_f32_bits(want)) {
            fail_msg("%s(%a, %a, %a) = %a, want %a", c->name, (double)x,
                     (double)operands[1][i], (double)operands[2][i],
                     (double)got, (double)want);
        }
    }
}

static void
check_level(pq_jit *jit, uint32_t is_scalar, uint32_t rounds)
{
    static float x[BLOCK], a[BLOCK], b[BLOCK], out[BLOCK];
    float *const operands[4] = {x, a, b, out};
    for (uint32_t w = 0; w < CASE_COUNT; w++) {
        math_desc desc = {.which = w, .is_scalar = is_scalar};
        void (*code)(void) = NULL;
        assert_int_equal(pq_jit_get(jit, NULL, &math_class, &desc, &code),
                         PTQC_BE_OK);
        uint32_t seed = 5;
        for (uint32_t round = 0; round < rounds; round++) {
            fill(x, a, b, round, &seed);
            check_block(&math_cases[w], (math_kernel)code, operands);
        }
    }
}

static void
test_vectors(pq_jit *jit)
{
    check_level(jit, 0, 251);
}

static void
test_scalars(pq_jit *jit)
{
    check_level(jit, 1, 16);
}

static void
test_every_lane(void **state)
{
    (void)state;
    cpu_host_each_level(test_vectors);
}

static void
test_scalar_forms(void **state)
{
    (void)state;
    cpu_host_each_level(test_scalars);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_lane),
        cmocka_unit_test(test_scalar_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
