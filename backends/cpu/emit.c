// SPDX-License-Identifier: Apache-2.0
//
// Helpers over the LLVM C API (emit.h). The rules behind them are those of
// docs on kernel generation: no IR passes, explicit alignment, attributes
// that keep 512-bit code at 512 bits, no fast-math flag anywhere.
#include "emit.h"

#include <assert.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <string.h>

// ---- emission as a whole --------------------------------------------------

static void
emitter_types(pq_emitter *e)
{
    LLVMContextRef c = e->context;
    e->t_void = LLVMVoidTypeInContext(c);
    e->t_i1 = LLVMInt1TypeInContext(c);
    e->t_i8 = LLVMInt8TypeInContext(c);
    e->t_i16 = LLVMInt16TypeInContext(c);
    e->t_i32 = LLVMInt32TypeInContext(c);
    e->t_i64 = LLVMInt64TypeInContext(c);
    e->t_f16 = LLVMHalfTypeInContext(c);
    e->t_f32 = LLVMFloatTypeInContext(c);
    e->t_ptr = LLVMPointerTypeInContext(c, 0);
    e->t_vf32 = LLVMVectorType(e->t_f32, PQ_LANES);
    e->t_vi32 = LLVMVectorType(e->t_i32, PQ_LANES);
    e->t_vi8 = LLVMVectorType(e->t_i8, PQ_LANES);
    e->t_vi8x64 = LLVMVectorType(e->t_i8, 4 * PQ_LANES);
}

void
pq_emitter_init(pq_emitter *e, pq_isa isa)
{
    e->isa = isa;
    e->context = LLVMContextCreate();
    e->module = LLVMModuleCreateWithNameInContext("ptqc", e->context);
    e->builder = LLVMCreateBuilderInContext(e->context);
    e->function = NULL;
    LLVMSetTarget(e->module, pq_isa_triple(isa));
    emitter_types(e);
}

void
pq_emitter_deinit(pq_emitter *e)
{
    LLVMDisposeBuilder(e->builder);
    LLVMDisposeModule(e->module);
    LLVMContextDispose(e->context);
}

static void
copy_message(char *text, size_t text_bytes, const char *message)
{
    size_t n = strlen(message);
    if (n >= text_bytes) {
        n = text_bytes - 1;
    }
    memcpy(text, message, n);
    text[n] = '\0';
}

static LLVMTargetMachineRef
target_machine(pq_isa isa, char *text, size_t text_bytes)
{
    LLVMTargetRef target = NULL;
    char *message = NULL;
    if (LLVMGetTargetFromTriple(pq_isa_triple(isa), &target, &message)) {
        copy_message(text, text_bytes, message);
        LLVMDisposeMessage(message);
        return NULL;
    }
    return LLVMCreateTargetMachine(
        target, pq_isa_triple(isa), pq_isa_cpu(isa), pq_isa_features(isa),
        LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelSmall);
}

ptqc_be_status
pq_emitter_object(pq_emitter *e, LLVMMemoryBufferRef *out, char *text,
                  size_t text_bytes)
{
    char *message = NULL;
    text[0] = '\0';
    LLVMTargetMachineRef machine = target_machine(e->isa, text, text_bytes);
    if (machine == NULL) {
        return PTQC_BE_INTERNAL;
    }
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    LLVMSetModuleDataLayout(e->module, layout);
    LLVMDisposeTargetData(layout);
    ptqc_be_status st = PTQC_BE_OK;
    if (LLVMVerifyModule(e->module, LLVMReturnStatusAction, &message) ||
        LLVMTargetMachineEmitToMemoryBuffer(machine, e->module, LLVMObjectFile,
                                            &message, out)) {
        copy_message(text, text_bytes, message);
        st = PTQC_BE_INTERNAL;
    }
    LLVMDisposeMessage(message);
    LLVMDisposeTargetMachine(machine);
    return st;
}

// ---- functions and values -------------------------------------------------

static void
add_attribute(pq_emitter *e, const char *name, const char *value)
{
    LLVMAttributeRef attribute =
        LLVMCreateStringAttribute(e->context, name, (unsigned)strlen(name),
                                  value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(
        e->function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, attribute);
}

void
pq_emit_function(pq_emitter *e, const LLVMTypeRef *params, uint32_t param_count)
{
    LLVMTypeRef types[8];
    assert(param_count <= 8);
    memcpy(types, params, param_count * sizeof *params);
    LLVMTypeRef type = LLVMFunctionType(e->t_void, types, param_count, 0);
    e->function = LLVMAddFunction(e->module, "kernel", type);
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(e->function,
                            (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->context, nounwind, 0));
    // Without both, codegen may abort on 512-bit intrinsics.
    add_attribute(e, "prefer-vector-width", "512");
    add_attribute(e, "min-legal-vector-width", "512");
    LLVMBasicBlockRef entry =
        LLVMAppendBasicBlockInContext(e->context, e->function, "entry");
    LLVMPositionBuilderAtEnd(e->builder, entry);
}

LLVMValueRef
pq_emit_param(pq_emitter *e, uint32_t index)
{
    return LLVMGetParam(e->function, index);
}

void
pq_emit_return(pq_emitter *e)
{
    LLVMBuildRetVoid(e->builder);
}

LLVMValueRef
pq_emit_i32(pq_emitter *e, int32_t value)
{
    return LLVMConstInt(e->t_i32, (unsigned long long)(int64_t)value, 1);
}

LLVMValueRef
pq_emit_i64(pq_emitter *e, int64_t value)
{
    return LLVMConstInt(e->t_i64, (unsigned long long)value, 1);
}

LLVMValueRef
pq_emit_f32(pq_emitter *e, float value)
{
    return LLVMConstReal(e->t_f32, (double)value);
}

static LLVMValueRef
splat_lanes(pq_emitter *e, LLVMValueRef v_scalar, uint32_t lanes)
{
    LLVMTypeRef type = LLVMVectorType(LLVMTypeOf(v_scalar), lanes);
    LLVMValueRef v_one = LLVMBuildInsertElement(
        e->builder, LLVMGetPoison(type), v_scalar, pq_emit_i32(e, 0), "");
    LLVMValueRef v_mask = LLVMConstNull(LLVMVectorType(e->t_i32, lanes));
    return LLVMBuildShuffleVector(e->builder, v_one, LLVMGetPoison(type),
                                  v_mask, "");
}

LLVMValueRef
pq_emit_splat(pq_emitter *e, LLVMValueRef v_scalar)
{
    return splat_lanes(e, v_scalar, PQ_LANES);
}

LLVMValueRef
pq_emit_splat_i32(pq_emitter *e, int32_t value)
{
    return splat_lanes(e, pq_emit_i32(e, value), PQ_LANES);
}

LLVMValueRef
pq_emit_splat_f32(pq_emitter *e, float value)
{
    return splat_lanes(e, pq_emit_f32(e, value), PQ_LANES);
}

LLVMTypeRef
pq_emit_vector_type(LLVMTypeRef element, uint32_t lanes)
{
    return LLVMVectorType(element, lanes);
}

// ---- memory ---------------------------------------------------------------

LLVMValueRef
pq_emit_at(pq_emitter *e, LLVMValueRef v_base, LLVMValueRef v_bytes)
{
    return LLVMBuildGEP2(e->builder, e->t_i8, v_base, &v_bytes, 1, "");
}

LLVMValueRef
pq_emit_at_const(pq_emitter *e, LLVMValueRef v_base, int64_t bytes)
{
    return bytes == 0 ? v_base : pq_emit_at(e, v_base, pq_emit_i64(e, bytes));
}

LLVMValueRef
pq_emit_load(pq_emitter *e, LLVMTypeRef type, LLVMValueRef v_ptr,
             uint32_t align)
{
    LLVMValueRef v_load = LLVMBuildLoad2(e->builder, type, v_ptr, "");
    LLVMSetAlignment(v_load, align);
    return v_load;
}

void
pq_emit_store(pq_emitter *e, LLVMValueRef v_value, LLVMValueRef v_ptr,
              uint32_t align)
{
    LLVMSetAlignment(LLVMBuildStore(e->builder, v_value, v_ptr), align);
}

LLVMValueRef
pq_emit_stack(pq_emitter *e, uint32_t bytes)
{
    LLVMValueRef v_stack =
        LLVMBuildAlloca(e->builder, LLVMArrayType2(e->t_i8, bytes), "");
    LLVMSetAlignment(v_stack, 64);
    return v_stack;
}

LLVMValueRef
pq_emit_field(pq_emitter *e, LLVMValueRef v_struct, LLVMTypeRef type,
              size_t offset)
{
    uint32_t align = type == e->t_ptr || type == e->t_i64   ? 8
                     : type == e->t_i32 || type == e->t_f32 ? 4
                                                            : 1;
    return pq_emit_load(e, type, pq_emit_at_const(e, v_struct, (int64_t)offset),
                        align);
}

LLVMValueRef
pq_emit_mask(pq_emitter *e, LLVMValueRef v_count)
{
    // (i32) min(count, 16) > lane
    LLVMValueRef v_lanes[PQ_LANES];
    for (uint32_t i = 0; i < PQ_LANES; i++) {
        v_lanes[i] = pq_emit_i32(e, (int32_t)i);
    }
    LLVMValueRef v_cap = pq_emit_i64(e, PQ_LANES);
    LLVMValueRef v_less =
        LLVMBuildICmp(e->builder, LLVMIntSLT, v_count, v_cap, "");
    LLVMValueRef v_n = LLVMBuildSelect(e->builder, v_less, v_count, v_cap, "");
    LLVMValueRef v_n32 = LLVMBuildTrunc(e->builder, v_n, e->t_i32, "");
    return LLVMBuildICmp(e->builder, LLVMIntSGT, pq_emit_splat(e, v_n32),
                         LLVMConstVector(v_lanes, PQ_LANES), "");
}

LLVMValueRef
pq_emit_intrinsic(pq_emitter *e, const char *name, const LLVMTypeRef *types,
                  uint32_t type_count, LLVMValueRef *args, uint32_t arg_count)
{
    LLVMTypeRef overloads[4];
    assert(type_count <= 4);
    if (type_count > 0) {
        memcpy(overloads, types, type_count * sizeof *types);
    }
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id != 0);
    LLVMValueRef v_callee =
        LLVMGetIntrinsicDeclaration(e->module, id, overloads, type_count);
    LLVMTypeRef type =
        LLVMIntrinsicGetType(e->context, id, overloads, type_count);
    return LLVMBuildCall2(e->builder, type, v_callee, args, arg_count, "");
}

// numbers[first ..] as a constant of `count` lanes.
static LLVMValueRef
float_table(pq_emitter *e, const float *numbers, uint32_t count)
{
    LLVMValueRef v_lanes[PQ_LANES];
    for (uint32_t i = 0; i < count; i++) {
        v_lanes[i] = LLVMConstReal(e->t_f32, (double)numbers[i]);
    }
    return LLVMConstVector(v_lanes, count);
}

// 8 lanes: one permutation per half of the table, bit 3 chooses.
static LLVMValueRef
lookup8(pq_emitter *e, const float numbers[16], LLVMValueRef v_index)
{
    LLVMValueRef v_part[2];
    for (uint32_t half = 0; half < 2; half++) {
        LLVMValueRef args[2] = {float_table(e, numbers + 8 * half, 8), v_index};
        v_part[half] =
            pq_emit_intrinsic(e, "llvm.x86.avx2.permps", NULL, 0, args, 2);
    }
    LLVMValueRef v_seven[8];
    for (uint32_t i = 0; i < 8; i++) {
        v_seven[i] = pq_emit_i32(e, 7);
    }
    LLVMValueRef v_is_high = LLVMBuildICmp(e->builder, LLVMIntUGT, v_index,
                                           LLVMConstVector(v_seven, 8), "");
    return LLVMBuildSelect(e->builder, v_is_high, v_part[1], v_part[0], "");
}

static LLVMValueRef
lookup_by_halves(pq_emitter *e, const float numbers[16], LLVMValueRef v_index)
{
    static const int halves[2][8] = {{0, 1, 2, 3, 4, 5, 6, 7},
                                     {8, 9, 10, 11, 12, 13, 14, 15}};
    static const int both[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                 8, 9, 10, 11, 12, 13, 14, 15};
    LLVMValueRef v_part[2];
    for (uint32_t i = 0; i < 2; i++) {
        v_part[i] = lookup8(e, numbers,
                            pq_emit_shuffle(e, v_index, v_index, halves[i], 8));
    }
    return pq_emit_shuffle(e, v_part[0], v_part[1], both, 16);
}

LLVMValueRef
pq_emit_lookup16(pq_emitter *e, const float numbers[16], LLVMValueRef v_index)
{
    if (pq_isa_vector_bytes(e->isa) == 64) {
        LLVMValueRef args[2] = {float_table(e, numbers, 16), v_index};
        return pq_emit_intrinsic(e, "llvm.x86.avx512.permvar.sf.512", NULL, 0,
                                 args, 2);
    }
    if (e->isa == PQ_ISA_AVX2) {
        return lookup_by_halves(e, numbers, v_index);
    }
    LLVMValueRef v_y = pq_emit_splat_f32(e, numbers[0]);
    for (int32_t i = 1; i < 16; i++) {
        LLVMValueRef v_is_past = LLVMBuildICmp(e->builder, LLVMIntUGE, v_index,
                                               pq_emit_splat_i32(e, i), "");
        v_y = LLVMBuildSelect(e->builder, v_is_past,
                              pq_emit_splat_f32(e, numbers[i]), v_y, "");
    }
    return v_y;
}

void
pq_emit_prefetch(pq_emitter *e, LLVMValueRef v_ptr, int32_t level)
{
    // for reading, as data
    LLVMValueRef args[4] = {v_ptr, pq_emit_i32(e, 0), pq_emit_i32(e, level),
                            pq_emit_i32(e, 1)};
    pq_emit_intrinsic(e, "llvm.prefetch", &e->t_ptr, 1, args, 4);
}

LLVMValueRef
pq_emit_masked_load(pq_emitter *e, LLVMTypeRef type, LLVMValueRef v_ptr,
                    LLVMValueRef v_mask, uint32_t align)
{
    LLVMTypeRef types[2] = {type, e->t_ptr};
    LLVMValueRef args[4] = {v_ptr, pq_emit_i32(e, (int32_t)align), v_mask,
                            LLVMConstNull(type)};
    return pq_emit_intrinsic(e, "llvm.masked.load", types, 2, args, 4);
}

void
pq_emit_masked_store(pq_emitter *e, LLVMValueRef v_value, LLVMValueRef v_ptr,
                     LLVMValueRef v_mask, uint32_t align)
{
    LLVMTypeRef types[2] = {LLVMTypeOf(v_value), e->t_ptr};
    LLVMValueRef args[4] = {v_value, v_ptr, pq_emit_i32(e, (int32_t)align),
                            v_mask};
    pq_emit_intrinsic(e, "llvm.masked.store", types, 2, args, 4);
}

// ---- arithmetic -----------------------------------------------------------

LLVMValueRef
pq_emit_fma(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b, LLVMValueRef v_c)
{
    LLVMTypeRef type = LLVMTypeOf(v_a);
    LLVMValueRef args[3] = {v_a, v_b, v_c};
    return pq_emit_intrinsic(e, "llvm.fma", &type, 1, args, 3);
}

LLVMValueRef
pq_emit_max(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b)
{
    LLVMValueRef v_more = LLVMBuildFCmp(e->builder, LLVMRealOGT, v_a, v_b, "");
    return LLVMBuildSelect(e->builder, v_more, v_a, v_b, "");
}

LLVMValueRef
pq_emit_min(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b)
{
    LLVMValueRef v_less = LLVMBuildFCmp(e->builder, LLVMRealOLT, v_a, v_b, "");
    return LLVMBuildSelect(e->builder, v_less, v_a, v_b, "");
}

LLVMValueRef
pq_emit_round_i32(pq_emitter *e, LLVMValueRef v_value)
{
    // f + 1.5 * 2^23 has an ulp of 1: the addition rounds to nearest even
    // and the low bits of the sum are the integer.
    int is_vector = LLVMGetTypeKind(LLVMTypeOf(v_value)) == LLVMVectorTypeKind;
    LLVMValueRef v_magic = is_vector ? pq_emit_splat_f32(e, 12582912.0f)
                                     : pq_emit_f32(e, 12582912.0f);
    LLVMValueRef v_bits = is_vector ? pq_emit_splat_i32(e, 0x4b400000)
                                    : pq_emit_i32(e, 0x4b400000);
    LLVMValueRef v_sum = LLVMBuildFAdd(e->builder, v_value, v_magic, "");
    return LLVMBuildSub(
        e->builder, LLVMBuildBitCast(e->builder, v_sum, LLVMTypeOf(v_bits), ""),
        v_bits, "");
}

LLVMValueRef
pq_emit_shuffle(pq_emitter *e, LLVMValueRef v_first, LLVMValueRef v_second,
                const int *index, uint32_t lanes)
{
    LLVMValueRef v_index[64];
    assert(lanes <= 64);
    for (uint32_t i = 0; i < lanes; i++) {
        v_index[i] =
            index[i] < 0 ? LLVMGetPoison(e->t_i32) : pq_emit_i32(e, index[i]);
    }
    return LLVMBuildShuffleVector(e->builder, v_first, v_second,
                                  LLVMConstVector(v_index, lanes), "");
}

// Lanes [first, first + lanes) of a vector.
static LLVMValueRef
slice(pq_emitter *e, LLVMValueRef v_vector, uint32_t first, uint32_t lanes)
{
    int index[64];
    for (uint32_t i = 0; i < lanes; i++) {
        index[i] = (int)(first + i);
    }
    return pq_emit_shuffle(e, v_vector, LLVMGetPoison(LLVMTypeOf(v_vector)),
                           index, lanes);
}

static LLVMValueRef
concat(pq_emitter *e, LLVMValueRef v_low, LLVMValueRef v_high)
{
    int index[64];
    uint32_t lanes = 2 * LLVMGetVectorSize(LLVMTypeOf(v_low));
    for (uint32_t i = 0; i < lanes; i++) {
        index[i] = (int)i;
    }
    return pq_emit_shuffle(e, v_low, v_high, index, lanes);
}

// i32 lane = a[2i] * b[2i] + a[2i+1] * b[2i+1] over i16 vectors of the width
// of one register.
static LLVMValueRef
multiply_pairs(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b)
{
    LLVMValueRef args[2] = {v_a, v_b};
    const char *name = e->isa == PQ_ISA_AVX2 ? "llvm.x86.avx2.pmadd.wd"
                                             : "llvm.x86.avx512.pmaddw.d.512";
    return pq_emit_intrinsic(e, name, NULL, 0, args, 2);
}

// u8 x s8 without VNNI: even and odd bytes widened to 16 bits; 2*255*128 fits
// easily, unlike in the saturating byte forms.
static LLVMValueRef
dot4_words(pq_emitter *e, LLVMValueRef v_acc, LLVMValueRef v_u8,
           LLVMValueRef v_s8)
{
    LLVMBuilderRef b = e->builder;
    uint32_t words = LLVMGetVectorSize(LLVMTypeOf(v_u8)) / 2;
    LLVMTypeRef type = LLVMVectorType(e->t_i16, words);
    LLVMValueRef v_eight = splat_lanes(e, LLVMConstInt(e->t_i16, 8, 0), words);
    LLVMValueRef v_low = splat_lanes(e, LLVMConstInt(e->t_i16, 255, 0), words);
    LLVMValueRef v_u = LLVMBuildBitCast(b, v_u8, type, "");
    LLVMValueRef v_s = LLVMBuildBitCast(b, v_s8, type, "");
    LLVMValueRef v_even = multiply_pairs(
        e, LLVMBuildAnd(b, v_u, v_low, ""),
        LLVMBuildAShr(b, LLVMBuildShl(b, v_s, v_eight, ""), v_eight, ""));
    LLVMValueRef v_odd = multiply_pairs(e, LLVMBuildLShr(b, v_u, v_eight, ""),
                                        LLVMBuildAShr(b, v_s, v_eight, ""));
    return LLVMBuildAdd(b, v_acc, LLVMBuildAdd(b, v_even, v_odd, ""), "");
}

static LLVMValueRef
dot4_part(pq_emitter *e, LLVMValueRef v_acc, LLVMValueRef v_u8,
          LLVMValueRef v_s8)
{
    LLVMValueRef args[3] = {v_acc, v_u8, v_s8};
    if (e->isa == PQ_ISA_AARCH64) {
        LLVMTypeRef types[2] = {LLVMTypeOf(v_acc), LLVMTypeOf(v_u8)};
        // usdot(acc, unsigned, signed)
        return pq_emit_intrinsic(e, "llvm.aarch64.neon.usdot", types, 2, args,
                                 3);
    }
    if (e->isa == PQ_ISA_VNNI || e->isa == PQ_ISA_AMX) {
        args[1] = LLVMBuildBitCast(e->builder, v_u8, e->t_vi32, "");
        args[2] = LLVMBuildBitCast(e->builder, v_s8, e->t_vi32, "");
        return pq_emit_intrinsic(e, "llvm.x86.avx512.vpdpbusd.512", NULL, 0,
                                 args, 3);
    }
    return dot4_words(e, v_acc, v_u8, v_s8);
}

LLVMValueRef
pq_emit_dot4(pq_emitter *e, LLVMValueRef v_acc, LLVMValueRef v_u8,
             LLVMValueRef v_s8)
{
    uint32_t parts = 64 / pq_isa_vector_bytes(e->isa);
    uint32_t lanes = PQ_LANES / parts;
    if (parts == 1) {
        return dot4_part(e, v_acc, v_u8, v_s8);
    }
    LLVMValueRef v_part[4];
    for (uint32_t p = 0; p < parts; p++) {
        v_part[p] = dot4_part(e, slice(e, v_acc, p * lanes, lanes),
                              slice(e, v_u8, 4 * p * lanes, 4 * lanes),
                              slice(e, v_s8, 4 * p * lanes, 4 * lanes));
    }
    for (; parts > 1; parts /= 2) {
        for (uint32_t p = 0; p < parts / 2; p++) {
            v_part[p] = concat(e, v_part[2 * p], v_part[2 * p + 1]);
        }
    }
    return v_part[0];
}

static LLVMValueRef
combine(pq_emitter *e, LLVMValueRef v_a, LLVMValueRef v_b, int op)
{
    switch (op) {
    case PQ_LANES_ADD:
        return LLVMBuildFAdd(e->builder, v_a, v_b, "");
    case PQ_LANES_MUL:
        return LLVMBuildFMul(e->builder, v_a, v_b, "");
    case PQ_LANES_MAX:
        return pq_emit_max(e, v_a, v_b);
    default:
        return pq_emit_min(e, v_a, v_b);
    }
}

LLVMValueRef
pq_emit_reduce(pq_emitter *e, LLVMValueRef v_vector, int op)
{
    for (uint32_t lanes = PQ_LANES / 2; lanes > 0; lanes /= 2) {
        v_vector = combine(e, slice(e, v_vector, 0, lanes),
                           slice(e, v_vector, lanes, lanes), op);
    }
    return LLVMBuildExtractElement(e->builder, v_vector, pq_emit_i32(e, 0), "");
}

// ---- control flow ---------------------------------------------------------

static LLVMBasicBlockRef
new_block(pq_emitter *e)
{
    return LLVMAppendBasicBlockInContext(e->context, e->function, "");
}

void
pq_emit_loop_begin(pq_emitter *e, pq_loop *loop, LLVMValueRef v_begin,
                   LLVMValueRef v_end, int64_t step, const LLVMValueRef *v_init,
                   uint32_t count)
{
    assert(count <= PQ_CARRIED_MAX);
    loop->b_before = LLVMGetInsertBlock(e->builder);
    loop->b_body = new_block(e);
    loop->carried_count = count;
    loop->step = step;
    loop->v_end = v_end;
    LLVMPositionBuilderAtEnd(e->builder, loop->b_body);
    loop->v_index = LLVMBuildPhi(e->builder, e->t_i64, "");
    LLVMAddIncoming(loop->v_index, &v_begin, &loop->b_before, 1);
    for (uint32_t i = 0; i < count; i++) {
        loop->v_init[i] = v_init[i];
        loop->v_carried[i] =
            LLVMBuildPhi(e->builder, LLVMTypeOf(v_init[i]), "");
        LLVMAddIncoming(loop->v_carried[i], &loop->v_init[i], &loop->b_before,
                        1);
    }
}

void
pq_emit_loop_end(pq_emitter *e, pq_loop *loop, const LLVMValueRef *v_next)
{
    LLVMBuilderRef b = e->builder;
    LLVMBasicBlockRef b_exit = new_block(e);
    LLVMBasicBlockRef b_last = LLVMGetInsertBlock(b);
    LLVMValueRef v_begin = LLVMGetIncomingValue(loop->v_index, 0);
    // last: index += step; if (index < end) goto body; else goto exit
    LLVMValueRef v_index =
        LLVMBuildAdd(b, loop->v_index, pq_emit_i64(e, loop->step), "");
    LLVMAddIncoming(loop->v_index, &v_index, &b_last, 1);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, v_index, loop->v_end, ""),
                    loop->b_body, b_exit);
    // before: if (begin < end) goto body; else goto exit
    LLVMPositionBuilderAtEnd(b, loop->b_before);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, v_begin, loop->v_end, ""),
                    loop->b_body, b_exit);
    LLVMPositionBuilderAtEnd(b, b_exit);
    for (uint32_t i = 0; i < loop->carried_count; i++) {
        LLVMValueRef v_value = v_next[i];
        LLVMAddIncoming(loop->v_carried[i], &v_value, &b_last, 1);
        LLVMValueRef v_out = LLVMBuildPhi(b, LLVMTypeOf(v_value), "");
        LLVMAddIncoming(v_out, &v_value, &b_last, 1);
        LLVMAddIncoming(v_out, &loop->v_init[i], &loop->b_before, 1);
        loop->v_carried[i] = v_out;
    }
}

void
pq_emit_if_begin(pq_emitter *e, pq_branch *branch, LLVMValueRef v_cond)
{
    LLVMBasicBlockRef b_then = new_block(e);
    branch->b_before = LLVMGetInsertBlock(e->builder);
    branch->b_exit = new_block(e);
    LLVMBuildCondBr(e->builder, v_cond, b_then, branch->b_exit);
    LLVMPositionBuilderAtEnd(e->builder, b_then);
}

void
pq_emit_if_end(pq_emitter *e, pq_branch *branch, const LLVMValueRef *v_before,
               const LLVMValueRef *v_now, uint32_t count, LLVMValueRef *v_out)
{
    LLVMBasicBlockRef b_last = LLVMGetInsertBlock(e->builder);
    LLVMBuildBr(e->builder, branch->b_exit);
    LLVMPositionBuilderAtEnd(e->builder, branch->b_exit);
    LLVMMoveBasicBlockAfter(branch->b_exit, b_last);
    for (uint32_t i = 0; i < count; i++) {
        LLVMValueRef v_then = v_now[i];
        LLVMValueRef v_skip = v_before[i];
        LLVMValueRef v_phi = LLVMBuildPhi(e->builder, LLVMTypeOf(v_then), "");
        LLVMAddIncoming(v_phi, &v_then, &b_last, 1);
        LLVMAddIncoming(v_phi, &v_skip, &branch->b_before, 1);
        v_out[i] = v_phi;
    }
}
