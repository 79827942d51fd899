// SPDX-License-Identifier: Apache-2.0
//
// Kernels of elementwise chains, rows, pooling, resize and cells are emitted
// for every level, aarch64 too, and call nothing outside of themselves.
#include <elf.h>

#include "backends/cpu/amx.h"
#include "backends/cpu/emit_attention.h"
#include "backends/cpu/emit_expr.h"
#include "backends/cpu/emit_pool.h"
#include "backends/cpu/emit_recurrent.h"
#include "backends/cpu/emit_resize.h"
#include "backends/cpu/emit_row.h"
#include "backends/cpu/fixed.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/tile.h"
#include "cpu_host.h"

static const uint16_t machines[PQ_ISA_COUNT] = {
    [PQ_ISA_AVX2] = EM_X86_64,     [PQ_ISA_AVX512] = EM_X86_64,
    [PQ_ISA_VNNI] = EM_X86_64,     [PQ_ISA_AMX] = EM_X86_64,
    [PQ_ISA_AARCH64] = EM_AARCH64,
};

// The symbol table holds no undefined symbol but the first, reserved one.
static void
assert_closed(const char *name, pq_isa isa, ptqc_bytes object)
{
    const uint8_t *p = object.p;
    Elf64_Ehdr head;
    memcpy(&head, p, sizeof head);
    assert_int_equal(head.e_machine, machines[isa]);
    uint32_t symbols = 0;
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr s;
        memcpy(&s, p + head.e_shoff + i * sizeof s, sizeof s);
        if (s.sh_type != SHT_SYMTAB) {
            continue;
        }
        for (uint64_t k = 1; k < s.sh_size / sizeof(Elf64_Sym); k++) {
            Elf64_Sym symbol;
            memcpy(&symbol, p + s.sh_offset + k * sizeof symbol, sizeof symbol);
            if (symbol.st_shndx == SHN_UNDEF) {
                fail_msg("%s for %s calls something", name, pq_isa_name(isa));
            }
            symbols++;
        }
    }
    assert_true(symbols > 0);
}

static void
check_level(pq_jit *jit, pq_isa isa, const pq_kernel_class *cls,
            const void *desc)
{
    ptqc_bytes object = {0};
    assert_int_equal(pq_jit_object(jit, NULL, isa, cls, desc, &object),
                     PTQC_BE_OK);
    assert_closed(cls->name, isa, object);
    cpu_host_free(NULL, (void *)(uintptr_t)object.p);
}

static void
check_kernel(pq_jit *jit, const pq_kernel_class *cls, const void *desc)
{
    for (int isa = 0; isa < PQ_ISA_COUNT; isa++) {
        check_level(jit, (pq_isa)isa, cls, desc);
    }
}

static pq_jit *
create_jit(void)
{
    int best = pq_isa_detect();
    if (best < 0) {
        print_message("skipped: this machine has no AVX2 and FMA\n");
        skip();
    }
    pq_jit *jit = NULL;
    assert_int_equal(pq_jit_create(NULL, &cpu_host, (pq_isa)best, &jit),
                     PTQC_BE_OK);
    return jit;
}

static const uint8_t arg_counts[PQ_EXPR_CODE_COUNT] = {
#define EXPR(NAME, text, args, check) args,
#include "backends/kgen/expr_ops.def"
#undef EXPR
};

// All f32 functions, a few per kernel; casts between all types.
static void
test_expr(void **state)
{
    (void)state;
    pq_jit *jit = create_jit();
    static const uint8_t casts[] = {PTQC_F16, PTQC_BF16, PTQC_F64, PTQC_I8,
                                    PTQC_U8,  PTQC_I16,  PTQC_I32, PTQC_U32,
                                    PTQC_I64, PTQC_U64,  PTQC_BOOL};
    for (uint32_t code = PQ_EXPR_NEG; code <= PQ_EXPR_FMA; code++) {
        pq_expr_key key = {.op_count = 4,
                           .input_count = 3,
                           .output_count = 1,
                           .is_contiguous = {1, 1, 0},
                           .results = {3}};
        for (uint8_t i = 0; i < 3; i++) {
            key.ops[i] = (pq_expr_op){.dtype = PTQC_F32, .index = i};
        }
        uint32_t args = arg_counts[code];
        key.ops[3] = (pq_expr_op){.code = (uint8_t)code,
                                  .dtype = PTQC_F32,
                                  .b = args > 1,
                                  .c = args > 2 ? 2 : 0};
        pq_expr_desc desc = {
            .op_count = 4, .input_count = 3, .output_count = 1, .results = {3}};
        memcpy(desc.ops, key.ops, sizeof desc.ops);
        if (pq_expr_check(&desc) == NULL) {
            check_kernel(jit, &pq_expr_class, &key);
        }
    }
    for (uint32_t i = 0; i < sizeof casts; i++) {
        pq_expr_key key = {.op_count = 4,
                           .input_count = 1,
                           .output_count = 2,
                           .is_contiguous = {1},
                           .results = {2, 3},
                           .ops = {{PQ_EXPR_LOAD, casts[i], 0, 0, 0, 0},
                                   {PQ_EXPR_CAST, PTQC_F32, 0, 0, 0, 0},
                                   {PQ_EXPR_CAST, casts[i], 1, 0, 0, 0},
                                   {PQ_EXPR_CAST, PTQC_U8, 0, 0, 0, 0}}};
        check_kernel(jit, &pq_expr_class, &key);
    }
    pq_jit_destroy(jit);
}

static void
test_rows(void **state)
{
    (void)state;
    pq_jit *jit = create_jit();
    for (uint32_t column = 0; column < 2; column++) {
        for (uint32_t op = 0; op < PQ_REDUCE_COUNT; op++) {
            pq_row_key key = {.what = PQ_ROW_REDUCE + op, .is_column = column};
            check_kernel(jit, &pq_row_class, &key);
        }
        for (uint32_t what = PQ_ROW_SOFTMAX; what <= PQ_ROW_LP_NORM; what++) {
            pq_row_key key = {.what = what, .is_column = column};
            check_kernel(jit, &pq_row_class, &key);
        }
    }
    pq_row_key key = {.what = PQ_ROW_QUANTIZE, .flags = PQ_ROW_BIASED};
    check_kernel(jit, &pq_row_class, &key);
    key = (pq_row_key){.what = PQ_ROW_LAYER_NORM,
                       .flags = PQ_ROW_SCALE | PQ_ROW_BIAS | PQ_ROW_SEGMENTS};
    check_kernel(jit, &pq_row_class, &key);
    pq_jit_destroy(jit);
}

static void
test_windows(void **state)
{
    (void)state;
    pq_jit *jit = create_jit();
    static const uint32_t dtypes[] = {PTQC_F32, PTQC_U8, PTQC_I8};
    for (uint32_t i = 0; i < 6; i++) {
        pq_pooling_key key = {.kind = i / 3, .dtype = dtypes[i % 3]};
        check_kernel(jit, &pq_pooling_class, &key);
    }
    static const pq_resize_key keys[] = {{{1, 2, 2}}, {{2, 2, 2}}, {{1, 4, 4}}};
    for (uint32_t i = 0; i < 3; i++) {
        check_kernel(jit, &pq_resize_class, &keys[i]);
    }
    pq_jit_destroy(jit);
}

static void
test_cells(void **state)
{
    (void)state;
    pq_jit *jit = create_jit();
    static const pq_cell_key keys[] = {
        {PQ_CELL_SUMS, 4, 0},      {PQ_CELL_LSTM, 4, 1},
        {PQ_CELL_RNN, 1, 0},       {PQ_CELL_GRU_LINEAR, 3, 0},
        {PQ_CELL_GRU_RESET, 3, 0}, {PQ_CELL_GRU_NEW, 3, 0},
    };
    for (uint32_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        check_kernel(jit, &pq_cell_class, &keys[i]);
    }
    pq_jit_destroy(jit);
}

static void
test_attention(void **state)
{
    (void)state;
    pq_jit *jit = create_jit();
    static const uint32_t dtypes[] = {PTQC_F32, PTQC_F16, PTQC_BF16};
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t rest = 0; rest < 2; rest++) {
            pq_panel_desc panel = {dtypes[i], 5 * rest};
            pq_weigh_desc weigh = {dtypes[i], 6, 4, rest};
            pq_narrow_desc narrow = {dtypes[i], 3 * rest};
            check_kernel(jit, &pq_panel_class, &panel);
            check_kernel(jit, &pq_weigh_class, &weigh);
            if (dtypes[i] != PTQC_F32) {
                check_kernel(jit, &pq_narrow_class, &narrow);
            }
        }
    }
    for (uint32_t i = 0; i < 4; i++) {
        pq_rope_key key = {i % 2, i / 2 * 9};
        check_kernel(jit, &pq_rope_class, &key);
    }
    pq_jit_destroy(jit);
}

static void
test_fixed(void **state)
{
    (void)state;
    pq_jit *jit = create_jit();
    for (uint32_t i = 0; i < 4; i++) {
        pq_fixed_key key = {i / 2 * 3, i % 2, 1 + i % 2, 0};
        check_kernel(jit, &pq_fixed_class, &key);
    }
    for (uint32_t weight = PQ_WEIGHT_F16; weight < PQ_WEIGHT_COUNT; weight++) {
        for (uint32_t i = 0; i < 4; i++) {
            pq_tile_desc desc = {
                .weight = weight,
                .asymmetric = i % 2,
                .rows = i % 2 > 0 ? 3 : 1,
                .strips = 1,
                .rest = i % 2,
                .lines = pq_weight_is_fixed(weight) ? 4 + 4 * (i % 2) : 0,
                .digits = 1 + i / 2,
                .half_scales = i / 2,
                .is_odd = i == 3,
                .epilogue = {.kind = PQ_EPI_FLOAT, .out = PQ_ELEM_F32}};
            check_kernel(jit, &pq_tile_class, &desc);
        }
    }
    pq_jit_destroy(jit);
}

// Kernels of one level only.
static void
test_amx(void **state)
{
    (void)state;
    pq_jit *jit = create_jit();
    for (uint32_t i = 0; i < 12; i++) {
        uint32_t digits = 1 + i / 4 % 2;
        pq_amx_key key = {.is_fixed = i < 8,
                          .digits = digits,
                          .row_tiles = digits == 2 ? 1 : 1 + i % 2,
                          .strips = 1 + i / 2 % 2,
                          .chunk = 64 >> i % 3,
                          .asymmetric = i % 2,
                          .zero = 8};
        check_level(jit, PQ_ISA_AMX, &pq_amx_class, &key);
    }
    pq_jit_destroy(jit);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expr),      cmocka_unit_test(test_rows),
        cmocka_unit_test(test_windows),   cmocka_unit_test(test_cells),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_fixed),
        cmocka_unit_test(test_amx),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
