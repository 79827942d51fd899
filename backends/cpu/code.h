// SPDX-License-Identifier: Apache-2.0
//
// A relocatable x86-64 ELF object of one kernel -> executable memory. No
// symbol is ever resolved outside the object.
#ifndef PTQC_BACKENDS_CPU_CODE_H
#define PTQC_BACKENDS_CPU_CODE_H

#include <stddef.h>

#include "ptqc/backend.h"

typedef struct pq_code {
    void *pages; // owned; read and execute
    size_t bytes;
    void (*entry)(void); // the function "kernel"
} pq_code;

// Every offset of the object is checked. CORRUPT with *out_why set (static
// text) when it is damaged, has undefined symbols or relocations that are
// not PC-relative within it; RESOURCE when pages are refused.
ptqc_be_status pq_code_load(ptqc_bytes object, pq_code *out,
                            const char **out_why);
void pq_code_unload(pq_code *code);

#endif
