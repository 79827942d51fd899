// SPDX-License-Identifier: Apache-2.0
//
// Instruction-set levels: names, what LLVM is told, and detection from cpuid
// and XGETBV. Never LLVMGetHostCPUName: a virtual machine's name can promise
// what cpuid denies.
#include <string.h>

#include "emit.h"
#include "jit.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define X86_TRIPLE "x86_64-unknown-linux-gnu"

// level, name, LLVM cpu, features, triple, bytes of a register
#define ISA_LEVELS(X)                                                          \
    X(PQ_ISA_AVX2, "avx2", "haswell", "", X86_TRIPLE, 32)                      \
    X(PQ_ISA_AVX512, "avx512", "skylake-avx512", "", X86_TRIPLE, 64)           \
    X(PQ_ISA_VNNI, "vnni", "skylake-avx512", "+avx512vnni", X86_TRIPLE, 64)    \
    X(PQ_ISA_AMX, "amx", "skylake-avx512", "+avx512vnni,+amx-tile,+amx-int8",  \
      X86_TRIPLE, 64)                                                          \
    X(PQ_ISA_AARCH64, "aarch64", "generic", "+neon,+dotprod,+i8mm,+fullfp16",  \
      "aarch64-unknown-linux-gnu", 16)

typedef struct isa_level {
    const char *name, *cpu, *features, *triple;
    uint32_t vector_bytes;
} isa_level;

static const isa_level levels[PQ_ISA_COUNT] = {
#define LEVEL(isa, name, cpu, features, triple, bytes)                         \
    [isa] = {name, cpu, features, triple, bytes},
    ISA_LEVELS(LEVEL)
#undef LEVEL
};

const char *
pq_isa_name(pq_isa isa)
{
    return levels[isa].name;
}

const char *
pq_isa_cpu(pq_isa isa)
{
    return levels[isa].cpu;
}

const char *
pq_isa_features(pq_isa isa)
{
    return levels[isa].features;
}

const char *
pq_isa_triple(pq_isa isa)
{
    return levels[isa].triple;
}

uint32_t
pq_isa_vector_bytes(pq_isa isa)
{
    return levels[isa].vector_bytes;
}

int
pq_isa_parse(const char *text, size_t bytes, pq_isa *out)
{
    for (int i = 0; i < PQ_ISA_COUNT; i++) {
        if (strlen(levels[i].name) == bytes &&
            memcmp(levels[i].name, text, bytes) == 0) {
            *out = (pq_isa)i;
            return 1;
        }
    }
    return 0;
}

#if defined(__x86_64__)

typedef struct cpu_bits {
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_ecx, leaf7_edx, ext1_ecx;
    uint64_t xcr0;
} cpu_bits;

static uint64_t
read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static cpu_bits
read_cpu(void)
{
    cpu_bits bits = {0};
    uint32_t a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        bits.leaf1_ecx = c;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        bits.leaf7_ebx = b;
        bits.leaf7_ecx = c;
        bits.leaf7_edx = d;
    }
    if (__get_cpuid(0x80000001u, &a, &b, &c, &d)) {
        bits.ext1_ecx = c;
    }
    if (bits.leaf1_ecx & bit_OSXSAVE) {
        bits.xcr0 = read_xcr0();
    }
    return bits;
}

static int
has_all(uint64_t value, uint64_t bits)
{
    return (value & bits) == bits;
}

// Linux gives a process its tile state on demand (arch_prctl
// ARCH_REQ_XCOMP_PERM of XFEATURE_XTILEDATA); once is enough for all threads,
// again does nothing.
static int
may_use_tiles(void)
{
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}

int
pq_isa_detect(void)
{
    cpu_bits cpu = read_cpu();
    // What -mcpu=haswell may use: x86-64-v3. XCR0: SSE and AVX state.
    if (!has_all(cpu.leaf1_ecx, bit_AVX | bit_FMA | bit_F16C | bit_MOVBE |
                                    bit_POPCNT | bit_SSE4_2) ||
        !has_all(cpu.leaf7_ebx, bit_AVX2 | bit_BMI | bit_BMI2) ||
        !has_all(cpu.ext1_ecx, bit_LZCNT) || !has_all(cpu.xcr0, 0x6)) {
        return -1;
    }
    // XCR0: opmask, upper halves, upper registers.
    if (!has_all(cpu.leaf7_ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ |
                                    bit_AVX512VL | bit_AVX512CD | bit_ADX |
                                    bit_CLFLUSHOPT) ||
        !has_all(cpu.xcr0, 0xe6)) {
        return PQ_ISA_AVX2;
    }
    if (!has_all(cpu.leaf7_ecx, bit_AVX512VNNI)) {
        return PQ_ISA_AVX512;
    }
    // EDX 24, 25: AMX-TILE, AMX-INT8. XCR0: tile configuration and data.
    return has_all(cpu.leaf7_edx, (1u << 24) | (1u << 25)) &&
                   has_all(cpu.xcr0, 0x60000) && may_use_tiles()
               ? PQ_ISA_AMX
               : PQ_ISA_VNNI;
}

uint32_t
pq_isa_read_ahead(void)
{
    uint32_t a, b, c, d;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_INTEL_ebx &&
                   c == signature_INTEL_ecx && d == signature_INTEL_edx
               ? 4096
               : 0;
}

#elif defined(__aarch64__)

#include <sys/auxv.h>

int
pq_isa_detect(void)
{
    // HWCAP_ASIMDDP and HWCAP2_I8MM of the Linux arm64 ABI.
    return (getauxval(AT_HWCAP) & (1ul << 20)) &&
                   (getauxval(AT_HWCAP2) & (1ul << 13))
               ? PQ_ISA_AARCH64
               : -1;
}

uint32_t
pq_isa_read_ahead(void)
{
    return 0;
}

#else

int
pq_isa_detect(void)
{
    return -1;
}

uint32_t
pq_isa_read_ahead(void)
{
    return 0;
}

#endif
