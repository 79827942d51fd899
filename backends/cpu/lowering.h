// SPDX-License-Identifier: Apache-2.0
//
// What the shared lowering (backends/kgen/) is told about this device: the
// ops whose constant weights lie in its strips.
#ifndef PTQC_BACKENDS_CPU_LOWERING_H
#define PTQC_BACKENDS_CPU_LOWERING_H

#include "backends/kgen/lower.h"

extern const pq_kg_device pq_cpu_device;
extern const pq_kg_format pq_cpu_format; // of its programs

void pq_cpu_lower_matmul(pq_lower *l);
void pq_cpu_lower_conv(pq_lower *l);
void pq_cpu_lower_recurrent(pq_lower *l);
// A gather of rows of a matrix that a product reads, too, or of codes: they
// are read from the packed weights. false: it is some other gather.
bool pq_cpu_lower_embedding(pq_lower *l);

#endif
