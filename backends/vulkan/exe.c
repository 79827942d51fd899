// SPDX-License-Identifier: Apache-2.0
//
// load: the blob is checked, its modules are validated and taken in, the
// constants copied to the device, many to a block of memory.
#include "exe.h"

#include <string.h>

#include "glsl.h"
#include "plugin.h"
#include "say.h"

// Blocks that constants share; larger ones have their own.
#define BLOCK_BYTES ((uint64_t)64 << 20)

// ---- constants -------------------------------------------------------------

static uint64_t
align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

// Places constants one behind the other; a block ends where the next one does
// not fit. Gives the number of blocks, and their sizes when `sizes` is given.
static uint32_t
place_constants(ptqc_exe *exe, const ptqc_bytes *constants, uint64_t count,
                uint64_t *sizes)
{
    uint64_t align = exe->device->gpu->limits.minStorageBufferOffsetAlignment;
    align = align < 16 ? 16 : align;
    uint32_t blocks = 0;
    uint64_t end = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t bytes =
            align_up(constants[i].n < 16 ? 16 : constants[i].n, 16);
        uint64_t at = align_up(end, align);
        if (blocks == 0 || at + bytes > BLOCK_BYTES) {
            blocks++;
            at = 0;
        }
        end = at + bytes;
        if (sizes != NULL) {
            exe->constants[i] = (pq_vk_constant){&exe->blocks[blocks - 1], at,
                                                 bytes, constants[i].n};
            sizes[blocks - 1] = end;
        }
    }
    return blocks;
}

static ptqc_be_status
upload(ptqc_exe *exe, ptqc_call *call, const ptqc_bytes *constants,
       uint64_t count)
{
    ptqc_be_status st = PTQC_BE_OK;
    for (uint64_t i = 0; i < count && st == PTQC_BE_OK; i++) {
        const pq_vk_constant *c = &exe->constants[i];
        st = pq_vk_block_write(exe->device, call, c->block, c->offset,
                               constants[i].p, constants[i].n);
        if (st == PTQC_BE_OK && exe->host->vt->cancelled(call) != 0) {
            st = PTQC_BE_CANCELLED;
        }
    }
    return st;
}

static ptqc_be_status
take_constants(ptqc_exe *exe, ptqc_call *call, const ptqc_bytes *constants,
               uint64_t count)
{
    if (count != exe->program.program.constant_count) {
        return pq_kg_fail(exe->host, call, PTQC_BE_INVALID,
                          "vulkan: %llu constants given, the program has %u",
                          (unsigned long long)count,
                          exe->program.program.constant_count);
    }
    uint32_t blocks = place_constants(exe, constants, count, NULL);
    uint64_t *sizes = pq_mem_array(&exe->mem, blocks, sizeof *sizes);
    exe->blocks = pq_mem_array(&exe->mem, blocks, sizeof *exe->blocks);
    exe->constants = pq_mem_array(&exe->mem, count, sizeof *exe->constants);
    if (sizes == NULL || exe->blocks == NULL || exe->constants == NULL) {
        return pq_vk_no_memory(exe->host, call);
    }
    (void)place_constants(exe, constants, count, sizes);
    for (; exe->block_count < blocks; exe->block_count++) {
        ptqc_be_status st = pq_vk_block_create(
            exe->device, call, sizes[exe->block_count], PQ_VK_USE_DEVICE,
            &exe->blocks[exe->block_count]);
        if (st != PTQC_BE_OK) {
            return st;
        }
    }
    return upload(exe, call, constants, count);
}

// ---- the program -----------------------------------------------------------

// The variant that uses most of what the device has.
static uint32_t
choose(const pq_vk_kernel *k, uint32_t features)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < k->variant_count; i++) {
        if ((k->variants[i].features & ~features) == 0 &&
            __builtin_popcount(k->variants[i].features) >
                __builtin_popcount(k->variants[best].features)) {
            best = i;
        }
    }
    return best;
}

// Modules of variants in use: words and features by module.
static bool
choose_all(ptqc_exe *exe, ptqc_bytes **out_words, uint32_t **out_features)
{
    const pq_vk_program *p = &exe->program;
    ptqc_bytes *words = pq_mem_array(&exe->mem, p->module_count, sizeof *words);
    uint32_t *features =
        pq_mem_array(&exe->mem, p->module_count, sizeof *features);
    exe->chosen = pq_mem_array(&exe->mem, p->kernel_count, sizeof *exe->chosen);
    if (words == NULL || features == NULL || exe->chosen == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < p->module_count; i++) {
        words[i] = p->modules[i].words;
        features[i] = PQ_VK_UNUSED;
    }
    for (uint32_t i = 0; i < p->kernel_count; i++) {
        exe->chosen[i] = choose(&p->kernels[i], exe->device->features);
        const pq_vk_variant *v = &p->kernels[i].variants[exe->chosen[i]];
        features[v->module] = v->features;
    }
    *out_words = words;
    *out_features = features;
    return true;
}

static ptqc_be_status
take_modules(ptqc_exe *exe, ptqc_call *call)
{
    const pq_vk_program *p = &exe->program;
    ptqc_bytes *words;
    uint32_t *features;
    if (!choose_all(exe, &words, &features)) {
        return pq_vk_no_memory(exe->host, call);
    }
    for (uint32_t i = 0; i < p->module_count; i++) {
        char log[256];
        if (features[i] != PQ_VK_UNUSED &&
            !pq_vk_spirv_is_valid(words[i].p, words[i].n / 4, log,
                                  sizeof log)) {
            return pq_kg_fail(exe->host, call, PTQC_BE_CORRUPT,
                              "vulkan: shader module %u (%s) is damaged: %s", i,
                              p->modules[i].name, log);
        }
    }
    return pq_vk_pipelines_create(&exe->pipelines, call, exe->device, &exe->mem,
                                  words, features, p->module_count);
}

static ptqc_be_status
take_program(ptqc_exe *exe, ptqc_call *call, ptqc_bytes blob)
{
    const char *why = "";
    ptqc_be_status st = pq_vk_blob_read(&exe->mem, blob, &exe->program, &why);
    if (st != PTQC_BE_OK) {
        return pq_kg_fail(exe->host, call, st, "vulkan: program: %s", why);
    }
    const pq_kg_program *p = &exe->program.program;
    exe->first_kernel =
        pq_mem_array(&exe->mem, p->entry_count, sizeof *exe->first_kernel);
    if (exe->first_kernel == NULL) {
        return pq_vk_no_memory(exe->host, call);
    }
    for (uint32_t e = 1; e < p->entry_count; e++) {
        exe->first_kernel[e] =
            exe->first_kernel[e - 1] + p->entries[e - 1].step_count;
    }
    return take_modules(exe, call);
}

ptqc_be_status
pq_vk_load(ptqc_call *call, ptqc_instance *inst, ptqc_str device,
           ptqc_bytes blob, const ptqc_bytes *constants,
           uint64_t constant_count, ptqc_exe **out)
{
    pq_vk_device *d = NULL;
    pq_mem mem = {inst->host, NULL};
    *out = NULL;
    ptqc_be_status st = pq_vk_instance_device(call, inst, device, &d);
    if (st != PTQC_BE_OK) {
        return st;
    }
    ptqc_exe *exe = pq_mem_alloc(&mem, sizeof *exe);
    if (exe == NULL) {
        return pq_vk_no_memory(inst->host, call);
    }
    exe->mem = mem;
    exe->host = inst->host;
    exe->device = d;
    st = take_program(exe, call, blob);
    if (st == PTQC_BE_OK) {
        st = take_constants(exe, call, constants, constant_count);
    }
    if (st != PTQC_BE_OK) {
        pq_vk_exe_free(exe);
        return st;
    }
    *out = exe;
    return PTQC_BE_OK;
}

void
pq_vk_exe_free(ptqc_exe *exe)
{
    if (exe == NULL) {
        return;
    }
    pq_vk_pipelines_destroy(&exe->pipelines);
    for (uint32_t i = 0; i < exe->block_count; i++) {
        pq_vk_block_destroy(exe->device, &exe->blocks[i]);
    }
    pq_mem mem = exe->mem; // the exe itself lives in it
    pq_mem_release(&mem);
}
