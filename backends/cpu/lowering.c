// SPDX-License-Identifier: Apache-2.0
//
// The device's table (lowering.h).
#include "lowering.h"

#include "jit.h"

static const pq_lower_op OPS[] = {
    {"conv", pq_cpu_lower_conv},     {"conv_transpose", pq_cpu_lower_conv},
    {"matmul", pq_cpu_lower_matmul}, {"lstm", pq_cpu_lower_recurrent},
    {"gru", pq_cpu_lower_recurrent}, {"rnn", pq_cpu_lower_recurrent},
};

const pq_kg_device pq_cpu_device = {
    .name = "cpu",
    .ops = OPS,
    .op_count = sizeof OPS / sizeof OPS[0],
    .embedding = pq_cpu_lower_embedding,
    .has_kv_lines = true,
};

const pq_kg_format pq_cpu_format = {
    .magic = 0x50435150u, // "PQCP"
    .version = 4,
    .cap_count = PQ_ISA_COUNT,
};
