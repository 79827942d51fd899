// SPDX-License-Identifier: Apache-2.0
//
// Dispatches recorded once: a list of them over operands that lie in bindings
// of the submit, in its workspace or in memory of the executable. The first
// run with a set of bindings writes descriptors and records one command
// buffer; runs with the same bindings only submit it again.
//
// Barriers stand only in front of a dispatch that reads or writes what an
// earlier one since the last barrier wrote, or writes what it read.
#ifndef PTQC_BACKENDS_VULKAN_COMMANDS_H
#define PTQC_BACKENDS_VULKAN_COMMANDS_H

#include "pipeline.h"

#define PQ_VK_WORDS_MAX 32u

struct ptqc_buffer {
    pq_vk_device *device; // borrowed
    pq_vk_block block;    // owned
    uint64_t serial;      // never used twice, unlike addresses
};

typedef enum pq_vk_home {
    PQ_VK_HOME_BINDING,   // index = binding
    PQ_VK_HOME_WORKSPACE, // offset in it
    PQ_VK_HOME_BLOCK,     // block, offset in it
} pq_vk_home;

typedef struct pq_vk_operand {
    pq_vk_home home;
    uint32_t index;
    const pq_vk_block *block; // borrowed
    uint64_t offset, bytes;   // bytes > 0
    bool is_written;
} pq_vk_operand;

typedef struct pq_vk_dispatch {
    VkPipeline pipeline;
    pq_vk_layout layout;
    const pq_vk_operand *operands; // [operand_count]
    uint32_t operand_count;
    uint32_t groups[3]; // none is 0
    uint32_t words[PQ_VK_WORDS_MAX];
    uint32_t word_count;
    // for profiles
    ptqc_str label;
    uint64_t ops, bytes;
} pq_vk_dispatch;

// What the recorded commands were recorded for.
typedef struct pq_vk_bound {
    uint64_t serial, offset, bytes;
} pq_vk_bound;

typedef struct pq_vk_commands {
    pq_vk_device *device;       // borrowed
    pq_vk_dispatch *dispatches; // borrowed: [count]
    uint32_t count;
    uint32_t binding_count;
    pq_vk_bound *bound;        // [binding_count + 1], the workspace last
    VkDescriptorPool sets_of;  // owned; none with push descriptors
    VkDescriptorSet *sets;     // [count]
    VkCommandPool pool;        // owned
    VkCommandBuffer commands;  // replayed
    VkCommandBuffer profiling; // with time stamps, recorded per profile
    VkQueryPool stamps;        // owned; made for the first profile
    uint64_t *times;           // [count + 1]
    VkFence fence;             // owned
    struct pq_vk_span *spans;  // scratch of recording
    bool is_recorded;
    uint64_t record_count, run_count, barrier_count; // for tests
} pq_vk_commands;

// Makes everything that running needs; memory is mem's.
ptqc_be_status pq_vk_commands_create(pq_vk_commands *c, ptqc_call *call,
                                     pq_vk_device *device, pq_mem *mem,
                                     pq_vk_dispatch *dispatches, uint32_t count,
                                     uint32_t binding_count);
void pq_vk_commands_destroy(pq_vk_commands *c);
// Bindings and workspace are in buffers of the same device, and large enough
// for the operands.
ptqc_be_status pq_vk_commands_run(pq_vk_commands *c, ptqc_call *call,
                                  const ptqc_submit *submit);

#endif
