// SPDX-License-Identifier: Apache-2.0
//
// Levels, the kernel cache, the object loader on damaged objects, and
// cross-emission: aarch64 objects of the heavy kernels are linked with a
// small C program and run under qemu-user.

#include "backends/cpu/code.h"
#include "backends/cpu/depthwise_kernel.h"
#include "backends/cpu/emit.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/jit.h"
#include "backends/cpu/tile.h"
#include "cpu_host.h"
#include "tests/support/random.h"

// ---- a small kernel -------------------------------------------------------

typedef struct add_desc {
    int32_t addend;
} add_desc;

// void kernel(int32_t *x): *x += addend
static ptqc_be_status
emit_add(pq_emitter *e, const void *desc)
{
    const add_desc *d = desc;
    pq_emit_function(e, &e->t_ptr, 1);
    LLVMValueRef v_x = pq_emit_load(e, e->t_i32, pq_emit_param(e, 0), 4);
    pq_emit_store(e,
                  LLVMBuildAdd(e->builder, v_x, pq_emit_i32(e, d->addend), ""),
                  pq_emit_param(e, 0), 4);
    pq_emit_return(e);
    return PTQC_BE_OK;
}

static const pq_kernel_class add_class = {"test_add", 1, sizeof(add_desc),
                                          emit_add};

static ptqc_be_status
emit_nothing(pq_emitter *e, const void *desc)
{
    (void)e;
    (void)desc;
    return PTQC_BE_UNSUPPORTED;
}

static const pq_kernel_class bad_class = {"test_bad", 1, sizeof(add_desc),
                                          emit_nothing};

static int
x86_level(void)
{
    int best = pq_isa_detect();
    if (best < 0 || best == PQ_ISA_AARCH64) {
        print_message("skipped: not an x86 machine with AVX2 and FMA\n");
        skip();
    }
    return best;
}

static pq_jit *
new_jit(const ptqc_host *host)
{
    pq_jit *jit = NULL;
    assert_int_equal(pq_jit_create(NULL, host, (pq_isa)x86_level(), &jit),
                     PTQC_BE_OK);
    return jit;
}

static void
test_levels(void **state)
{
    (void)state;
    for (int i = 0; i < PQ_ISA_COUNT; i++) {
        const char *name = pq_isa_name((pq_isa)i);
        pq_isa parsed = PQ_ISA_COUNT;
        assert_true(pq_isa_parse(name, strlen(name), &parsed));
        assert_int_equal(parsed, i);
    }
    pq_isa untouched = PQ_ISA_VNNI;
    assert_false(pq_isa_parse("avx", 3, &untouched));
    assert_false(pq_isa_parse("avx2 ", 5, &untouched));
    assert_false(pq_isa_parse("", 0, &untouched));
    assert_int_equal(untouched, PQ_ISA_VNNI);
    assert_true(strncmp(pq_jit_llvm_version(), "LLVM ", 5) == 0);
}

static void
test_process_cache(void **state)
{
    (void)state;
    pq_jit *jit = new_jit(&cpu_host);
    void (*first)(void), (*again)(void), (*other)(void);
    add_desc three = {3}, four = {4};
    assert_int_equal(pq_jit_get(jit, NULL, &add_class, &three, &first), 0);
    assert_int_equal(pq_jit_get(jit, NULL, &add_class, &three, &again), 0);
    assert_int_equal(pq_jit_get(jit, NULL, &add_class, &four, &other), 0);
    assert_true(first == again);
    assert_true(first != other);
    int32_t x = 10;
    ((void (*)(int32_t *))first)(&x);
    assert_int_equal(x, 13);
    ((void (*)(int32_t *))other)(&x);
    assert_int_equal(x, 17);
    assert_int_equal(pq_jit_get(jit, NULL, &bad_class, &three, &other),
                     PTQC_BE_UNSUPPORTED);
    assert_true(strstr(cpu_host_message, "test_bad") != NULL);
    pq_jit_destroy(jit);
    pq_jit_destroy(NULL);
}

// ---- the host's cache -----------------------------------------------------

typedef struct one_cache {
    uint8_t key[32];
    uint8_t object[16384];
    uint64_t bytes;
    int puts, hits;
} one_cache;

static ptqc_be_status
one_get(void *self, const uint8_t key[32], ptqc_bytes *out)
{
    one_cache *cache = self;
    if (cache->bytes == 0 || memcmp(key, cache->key, 32) != 0) {
        return PTQC_BE_UNSUPPORTED;
    }
    void *copy = cpu_host_alloc(self, cache->bytes, 64);
    memcpy(copy, cache->object, cache->bytes);
    *out = (ptqc_bytes){copy, cache->bytes};
    cache->hits++;
    return PTQC_BE_OK;
}

static ptqc_be_status
one_put(void *self, const uint8_t key[32], ptqc_bytes data)
{
    one_cache *cache = self;
    assert_true(data.n <= sizeof cache->object);
    memcpy(cache->key, key, 32);
    memcpy(cache->object, data.p, data.n);
    cache->bytes = data.n;
    cache->puts++;
    return PTQC_BE_OK;
}

static void
use_once(const ptqc_host *host, int32_t addend)
{
    pq_jit *jit = new_jit(host);
    void (*kernel)(void);
    add_desc desc = {addend};
    int32_t x = 1;
    assert_int_equal(pq_jit_get(jit, NULL, &add_class, &desc, &kernel), 0);
    ((void (*)(int32_t *))kernel)(&x);
    assert_int_equal(x, 1 + addend);
    pq_jit_destroy(jit);
}

static void
test_host_cache(void **state)
{
    (void)state;
    one_cache cache = {.bytes = 0};
    ptqc_host_vt vt = cpu_host_vt;
    vt.cache_get = one_get;
    vt.cache_put = one_put;
    ptqc_host host = cpu_host;
    host.vt = &vt;
    host.self = &cache;
    use_once(&host, 7);
    use_once(&host, 7);
    assert_int_equal(cache.puts, 1);
    assert_int_equal(cache.hits, 1);
    use_once(&host, 8);
    assert_int_equal(cache.puts, 2);
    // a damaged entry is made anew
    memset(cache.object, 0x5a, 64);
    use_once(&host, 8);
    assert_int_equal(cache.puts, 3);
}

// ---- damaged objects ------------------------------------------------------

static ptqc_bytes
tile_object(pq_jit *jit, pq_isa isa)
{
    pq_tile_desc desc = {.weight = PQ_WEIGHT_S8,
                         .rows = 3,
                         .strips = 2,
                         .masked = 1,
                         .rest = 3,
                         .epilogue = {PQ_EPI_REAL, PQ_ACT_GELU, PQ_ELEM_NONE,
                                      PQ_ELEM_U8, PQ_EPI_BIAS}};
    ptqc_bytes object = {0};
    assert_int_equal(
        pq_jit_object(jit, NULL, isa, &pq_tile_class, &desc, &object),
        PTQC_BE_OK);
    return object;
}

static void
test_damaged_objects(void **state)
{
    (void)state;
    pq_jit *jit = new_jit(&cpu_host);
    ptqc_bytes object = tile_object(jit, PQ_ISA_AVX2);
    pq_code code;
    const char *why;
    assert_int_equal(pq_code_load(object, &code, &why), PTQC_BE_OK);
    pq_code_unload(&code);
    uint8_t *copy = malloc(object.n);
    assert_non_null(copy);
    for (uint64_t n = 0; n < object.n; n += 1 + n / 16) {
        memcpy(copy, object.p, n); // exact allocation: ASan sees overreads
        uint8_t *cut = malloc(n > 0 ? n : 1);
        assert_non_null(cut);
        memcpy(cut, copy, n);
        assert_int_equal(pq_code_load((ptqc_bytes){cut, n}, &code, &why),
                         PTQC_BE_CORRUPT);
        assert_true(why[0] != '\0');
        free(cut);
    }
    pq_test_random r = pq_test_random_seed(5);
    for (int i = 0; i < 4000; i++) {
        memcpy(copy, object.p, object.n);
        for (int k = 0; k < 3; k++) {
            int64_t at = pq_test_random_int(&r, 0, (int64_t)object.n - 1);
            copy[at] ^= (uint8_t)pq_test_random_int(&r, 1, 255);
        }
        if (pq_code_load((ptqc_bytes){copy, object.n}, &code, &why) ==
            PTQC_BE_OK) {
            pq_code_unload(&code);
        }
    }
    free(copy);
    cpu_host_free(NULL, (void *)(uintptr_t)object.p);
    // an object of another machine
    object = tile_object(jit, PQ_ISA_AARCH64);
    assert_int_equal(pq_code_load(object, &code, &why), PTQC_BE_CORRUPT);
    cpu_host_free(NULL, (void *)(uintptr_t)object.p);
    pq_jit_destroy(jit);
}

// ---- aarch64 --------------------------------------------------------------

// The program that runs the kernels: a u8 x s8 tile with a masked strip and
// an f32 tile, against scalar C. Structs are those of tile.h, included by
// the compiler's -I.
static const char aarch64_main[] =
    "#include <math.h>\n"
    "#include <stdio.h>\n"
    "#include <string.h>\n"
    "#include \"tile_args.h\"\n"
    "void kernel_s8(const tile_args *args);\n"
    "void kernel_f32(const tile_args *args);\n"
    "enum { M = 5, N = 21, K = 27 };\n"
    "static unsigned seed = 12345;\n"
    "static int next(void) { seed = seed * 1664525u + 1013904223u;\n"
    "    return (int)(seed >> 24); }\n"
    "static unsigned char x[M][K]; static float xf[M][K];\n"
    "static signed char w[K][N]; static float wf[K][N];\n"
    "static _Alignas(64) signed char pw[2][7][16][4];\n"
    "static _Alignas(64) float pf[2][K][16];\n"
    "static int init[32]; static float mult[32];\n"
    "static unsigned char out[M][N]; static float outf[M][N];\n"
    "int main(void) {\n"
    "    const void *rows[M]; tile_args a; int bad = 0;\n"
    "    for (int k = 0; k < K; k++) for (int n = 0; n < N; n++) {\n"
    "        w[k][n] = (signed char)next(); wf[k][n] = next() / 128.0f - 1;\n"
    "        pw[n / 16][k / 4][n % 16][k < 24 ? k % 4 : k - 23] = w[k][n];\n"
    "        pf[n / 16][k][n % 16] = wf[k][n]; }\n"
    "    for (int m = 0; m < M; m++) for (int k = 0; k < K; k++) {\n"
    "        x[m][k] = (unsigned char)next(); xf[m][k] = next() / 99.0f; }\n"
    "    for (int n = 0; n < 32; n++) { init[n] = next() * 50;\n"
    "        mult[n] = next() / 1.0e6f; }\n"
    "    memset(&a, 0, sizeof a);\n"
    "    for (int m = 0; m < M; m++) rows[m] = x[m];\n"
    "    a.rows = rows; a.taps = 1; a.steps = K / 4; a.weights = pw;\n"
    "    a.weight_stride = sizeof pw[0]; a.init = init; a.out = out;\n"
    "    a.out_stride = N; a.columns = N; a.epilogue.mult = mult;\n"
    "    a.epilogue.lo = -100; a.epilogue.hi = 155;\n"
    "    a.epilogue.out_zero = 100;\n"
    "    kernel_s8(&a);\n"
    "    for (int m = 0; m < M; m++) for (int n = 0; n < N; n++) {\n"
    "        int acc = init[n];\n"
    "        for (int k = 0; k < K; k++) acc += x[m][k] * w[k][n];\n"
    "        float t = (float)acc * mult[n];\n"
    "        t = t > -100 ? t : -100; t = t < 155 ? t : 155;\n"
    "        bad += out[m][n] != (unsigned char)((int)rintf(t) + 100); }\n"
    "    for (int m = 0; m < M; m++) rows[m] = xf[m];\n"
    "    a.weights = pf; a.weight_stride = sizeof pf[0]; a.out = outf;\n"
    "    a.out_stride = sizeof outf[0];\n"
    "    kernel_f32(&a);\n"
    "    for (int m = 0; m < M; m++) for (int n = 0; n < N; n++) {\n"
    "        float acc = 0;\n"
    "        for (int k = 0; k < K; k++) acc = fmaf(xf[m][k], wf[k][n], acc);\n"
    "        bad += memcmp(&outf[m][n], &acc, 4) != 0; }\n"
    "    printf(\"%d wrong of %d\\n\", bad, 2 * M * N);\n"
    "    return bad != 0; }\n";

// The structs of tile.h and epilogue.h without LLVM's headers.
static const char aarch64_args[] =
    "#include <stdint.h>\n"
    "typedef struct { const float *mult, *bias, *row_scale;\n"
    "    const void *residual; int64_t residual_stride;\n"
    "    float lo, hi, inv_scale, scale, residual_scale, alpha, beta;\n"
    "    int32_t out_zero, residual_zero, reserved;\n"
    "    const int32_t *weight_zero, *row_sum; } epilogue_args;\n"
    "typedef struct { const void *const *rows; int64_t taps, steps;\n"
    "    const void *weights; int64_t weight_stride, groups, group_lines,\n"
    "    zeros_offset, low_offset, sums_offset, scale_offset;\n"
    "    const int32_t *init; const void *start; void *out;\n"
    "    int64_t out_stride, columns; epilogue_args epilogue; } tile_args;\n";

static void
write_bytes(const char *folder, const char *name, const void *p, size_t bytes)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static int
has_tool(const char *name)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", name);
    return system(command) == 0;
}

static void
write_kernel(pq_jit *jit, const char *folder, const char *name, uint32_t weight,
             const pq_epilogue *epilogue)
{
    pq_tile_desc desc = {.weight = weight,
                         .rows = 5,
                         .strips = 2,
                         .masked = 1,
                         .rest = 3,
                         .epilogue = *epilogue};
    ptqc_bytes object = {0};
    assert_int_equal(pq_jit_object(jit, NULL, PQ_ISA_AARCH64, &pq_tile_class,
                                   &desc, &object),
                     PTQC_BE_OK);
    write_bytes(folder, name, object.p, object.n);
    cpu_host_free(NULL, (void *)(uintptr_t)object.p);
}

static void
test_aarch64(void **state)
{
    (void)state;
    // mirrored in aarch64_args
    assert_int_equal(sizeof(pq_tile_args), 128 + sizeof(pq_epilogue_args));
    assert_int_equal(sizeof(pq_epilogue_args), 96);
    const char *tools[] = {"aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objcopy",
                           "qemu-aarch64"};
    for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
        if (!has_tool(tools[i])) {
            print_message("skipped: no %s\n", tools[i]);
            skip();
        }
    }
    char folder[] = "/tmp/ptqc-aarch64-XXXXXX";
    assert_non_null(mkdtemp(folder));
    pq_jit *jit = new_jit(&cpu_host);
    pq_epilogue integer = {PQ_EPI_INTEGER, PQ_ACT_NONE, PQ_ELEM_NONE,
                           PQ_ELEM_U8, 0};
    pq_epilogue real = {PQ_EPI_FLOAT, PQ_ACT_NONE, PQ_ELEM_NONE, PQ_ELEM_F32,
                        0};
    write_kernel(jit, folder, "s8.o", PQ_WEIGHT_S8, &integer);
    write_kernel(jit, folder, "f32.o", PQ_WEIGHT_F32, &real);
    write_bytes(folder, "main.c", aarch64_main, strlen(aarch64_main));
    write_bytes(folder, "tile_args.h", aarch64_args, strlen(aarch64_args));
    char command[1024];
    snprintf(command, sizeof command,
             "cd %s && "
             "aarch64-linux-gnu-objcopy --redefine-sym kernel=kernel_s8 s8.o"
             " && "
             "aarch64-linux-gnu-objcopy --redefine-sym kernel=kernel_f32 "
             "f32.o && "
             "aarch64-linux-gnu-gcc -O1 -ffp-contract=off -static main.c "
             "s8.o f32.o -lm -o run && "
             "qemu-aarch64 -cpu max ./run",
             folder);
    int rc = system(command);
    snprintf(command, sizeof command, "rm -r %s", folder);
    int removed = system(command);
    assert_int_equal(rc, 0);
    assert_int_equal(removed, 0);
    pq_jit_destroy(jit);
}

// What is not run under qemu is at least generated.
static void
test_aarch64_objects(void **state)
{
    (void)state;
    pq_jit *jit = new_jit(&cpu_host);
    for (uint32_t weight = 0; weight <= PQ_WEIGHT_W4; weight++) {
        pq_tile_desc desc = {
            .weight = weight,
            .asymmetric = weight >= PQ_WEIGHT_W8,
            .is_tapped = weight >= PQ_WEIGHT_W8,
            .rows = 4,
            .strips = 1,
            .rest = 3,
            .epilogue = {weight == PQ_WEIGHT_S8 ? PQ_EPI_REAL : PQ_EPI_FLOAT,
                         PQ_ACT_SILU, PQ_ELEM_U8, PQ_ELEM_U8, PQ_EPI_BIAS}};
        ptqc_bytes object = {0};
        assert_int_equal(pq_jit_object(jit, NULL, PQ_ISA_AARCH64,
                                       &pq_tile_class, &desc, &object),
                         PTQC_BE_OK);
        assert_memory_equal(object.p, "\177ELF", 4);
        cpu_host_free(NULL, (void *)(uintptr_t)object.p);
    }
    for (uint32_t is_u8 = 0; is_u8 < 2; is_u8++) {
        pq_depthwise_kernel_desc desc = {
            .element = is_u8 ? PQ_ELEM_U8 : PQ_ELEM_F32,
            .kernel_h = 3,
            .kernel_w = 3,
            .ratio = 1,
            .vectors = 4,
            .is_split = 1,
            .pixels = 4,
            .epilogue = {is_u8 ? PQ_EPI_INTEGER : PQ_EPI_FLOAT, PQ_ACT_NONE,
                         PQ_ELEM_NONE, is_u8 ? PQ_ELEM_U8 : PQ_ELEM_F32, 0}};
        ptqc_bytes object = {0};
        assert_int_equal(pq_jit_object(jit, NULL, PQ_ISA_AARCH64,
                                       &pq_depthwise_class, &desc, &object),
                         PTQC_BE_OK);
        cpu_host_free(NULL, (void *)(uintptr_t)object.p);
    }
    pq_jit_destroy(jit);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_process_cache),
        cmocka_unit_test(test_host_cache),
        cmocka_unit_test(test_damaged_objects),
        cmocka_unit_test(test_aarch64),
        cmocka_unit_test(test_aarch64_objects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
