// SPDX-License-Identifier: Apache-2.0
//
// The plugin's table, for its entry and for tests that change one function.
#include "plugin.h"

static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    return pq_vk_instance_create(call, host, PQ_VK_LIBRARY, out);
}

const ptqc_plugin_vt pq_vk_table = {
    .h = {.size = sizeof(ptqc_plugin_vt), .type = PTQC_REC_PLUGIN_VT},
    .create = create,
    .destroy = pq_vk_instance_destroy,
    .devices = pq_vk_devices,
    .targets = pq_vk_targets,
    .rules = pq_vk_rules,
    .check = pq_vk_check,
    .compile = pq_vk_compile,
    .load = pq_vk_load,
    .exe_free = pq_vk_exe_free,
    .specialize = pq_vk_specialize,
    .needs = pq_vk_needs,
    .spec_free = pq_vk_spec_free,
    .submit = pq_vk_submit,
    .buf_alloc = pq_vk_buf_alloc,
    .buf_free = pq_vk_buf_free,
    .buf_write = pq_vk_buf_write,
    .buf_read = pq_vk_buf_read,
};
