// SPDX-License-Identifier: Apache-2.0
//
// What outlives a process: SPIR-V of texts and the driver's pipeline cache,
// both in the host's kernel cache under 32-byte keys.
#ifndef PTQC_BACKENDS_VULKAN_CACHE_H
#define PTQC_BACKENDS_VULKAN_CACHE_H

#include "device.h"

// Hash of byte strings; their borders count.
void pq_vk_hash(const ptqc_bytes *parts, uint32_t count, uint8_t out[32]);

// The pipeline cache of the device: what the host has of it is used when its
// header names this very driver, else it begins empty.
ptqc_be_status pq_vk_cache_open(pq_vk_device *d, ptqc_call *call);
// Hands it to the host when it has grown. Best effort.
void pq_vk_cache_store(pq_vk_device *d);
void pq_vk_cache_close(pq_vk_device *d);

#endif
