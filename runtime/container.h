// SPDX-License-Identifier: Apache-2.0
//
// The .ptqc container, version 2: what is in the file and how it is read and
// written. All numbers little-endian, all sections 64-byte aligned.
//
//   +-----------------------------+------+------+-------+- ... -+-----------+
//   | header with section table   | DATA | META | IFACE |       | TOKENIZER |
//   +-----------------------------+------+------+-------+- ... -+-----------+
//
// DATA       the constants' bytes, each 64-byte aligned, one copy per content
// META       JSON text: version, provenance, recipe, report
// IFACE      a graph block without nodes: every boundary value of the plan
//            with its symbolic dims; its inputs/outputs are the artifact's
// PROGRAMS   table of pq_file_program
// STEPS      table of pq_file_step: the plan
// OPERANDS   u32 indices that steps have slices of
// TEXT       names of plugins and targets
// BLOBS      the plugins' programs
// CONSTANTS  table of pq_file_constant
// REFS       u32 indices into CONSTANTS that programs have slices of
// TOKENIZER  a language model's tokenizer, or nothing
//
// DATA comes first because constants are written as soon as they are made;
// the rest, the tables, is small and known at the end.
//
// The header holds the SHA-256 of itself (with that field zero) and of the
// tables; each constant has its XXH3-64. Everything is checked at open.
#ifndef PTQC_RUNTIME_CONTAINER_H
#define PTQC_RUNTIME_CONTAINER_H

#include "ptqc/graph_block.h"
#include "ptqc/runtime.h"

#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"

#define PQ_CONTAINER_MAGIC   "PTQC\r\n\x1a\n" // 8 bytes: broken by text transfer
#define PQ_CONTAINER_VERSION 2u

typedef enum pq_section_kind {
    PQ_SECTION_DATA,
    PQ_SECTION_META, // the first of the tables
    PQ_SECTION_IFACE,
    PQ_SECTION_PROGRAMS,
    PQ_SECTION_STEPS,
    PQ_SECTION_OPERANDS,
    PQ_SECTION_TEXT,
    PQ_SECTION_BLOBS,
    PQ_SECTION_CONSTANTS,
    PQ_SECTION_REFS,
    PQ_SECTION_TOKENIZER, // tokenizer.h's saved form; empty: none
    PQ_SECTION_COUNT
} pq_section_kind;

typedef struct pq_file_section {
    uint64_t offset, bytes;
} pq_file_section;

typedef struct pq_file_header {
    uint8_t magic[8];
    uint32_t version;
    uint32_t section_count;
    uint64_t file_bytes;
    uint8_t sha256[32]; // of [0, DATA) and the tables, this field zero
    uint64_t reserved;
    pq_file_section sections[PQ_SECTION_COUNT];
} pq_file_header;

// Where DATA begins: the header, padded.
#define PQ_DATA_OFFSET ((sizeof(pq_file_header) + 63) / 64 * 64)

// One plugin's program. Texts are slices of TEXT, constants a slice of REFS
// (u32 indices into CONSTANTS).
typedef struct pq_file_program {
    uint32_t plugin_offset, plugin_bytes; // "cpu"
    uint32_t target_offset, target_bytes; // "cpu;avx2"
    uint64_t blob_offset, blob_bytes;     // in BLOBS, 64-byte aligned
    uint32_t first_ref, ref_count;
    uint32_t entry_count;
    uint32_t reserved;
} pq_file_program;

// Runs one entry of a program. Operands are IFACE value indices: inputs,
// states, then outputs, in the order of the entry's graph block. dims: for each
// symbol of the entry's block the IFACE dim expression that gives it.
typedef struct pq_file_step {
    uint32_t program, entry;
    uint32_t first_operand, input_count, state_count, output_count;
    uint32_t first_dim, dim_count; // also slices of OPERANDS
} pq_file_step;

typedef struct pq_file_constant {
    uint64_t offset; // in DATA
    uint64_t bytes;
    uint64_t xxh3;
} pq_file_constant;

struct ptqc_artifact {
    ptqc_ctx *ctx;         // borrowed
    const char *name;      // borrowed, for messages; NULL once it is open
    pq_map map;            // owned; zero when from memory
    const uint8_t *p;      // the whole file
    pq_file_header header; // private copy: what is interpreted
    uint8_t *front;        // owned private copy of [0, DATA) and the tables
    ptqc_gb iface;         // in front
    const pq_file_program *programs;
    const pq_file_step *steps;
    const uint32_t *operands;
    const uint32_t *refs;
    const pq_file_constant *constants;
    uint32_t program_count, step_count, operand_count, ref_count,
        constant_count;
    char *meta;                     // owned, NUL-terminated
    pq_arena *names;                // owned: NUL-terminated texts of infos
    ptqc_tensor_info *infos;        // owned: inputs, then outputs
    struct pq_tokenizer *tokenizer; // owned; NULL: none
};

pq_str pq_artifact_text(const ptqc_artifact *a, uint32_t offset,
                        uint32_t bytes);
ptqc_bytes pq_artifact_constant(const ptqc_artifact *a, uint32_t index);
ptqc_bytes pq_artifact_blob(const ptqc_artifact *a,
                            const pq_file_program *program);

// ---- writing --------------------------------------------------------------

// Collects an artifact. Its constants go to the file at once, or are copied
// (in memory); those with equal bytes are kept once.
typedef struct pq_container pq_container;

PTQC_MUST_USE ptqc_status pq_container_create(ptqc_ctx *ctx,
                                              pq_container **out);
// For a file at `path`; flags of pq_writer_open.
PTQC_MUST_USE ptqc_status pq_container_create_file(ptqc_ctx *ctx,
                                                   const char *path,
                                                   unsigned flags,
                                                   pq_container **out);
// NULL allowed. Nothing is left of a file that was not finished.
void pq_container_destroy(pq_container *c);
// -> index of the constant (an equal one that is already there).
PTQC_MUST_USE ptqc_status pq_container_add_constant(pq_container *c,
                                                    const void *p, size_t n,
                                                    uint32_t *out_index);
typedef struct pq_program_desc {
    pq_str plugin, target;
    const void *blob; // copied
    size_t blob_bytes;
    const uint32_t *constants; // [constant_count] indices
    uint32_t constant_count;
    uint32_t entry_count;
} pq_program_desc;
PTQC_MUST_USE ptqc_status pq_container_add_program(pq_container *c,
                                                   const pq_program_desc *desc,
                                                   uint32_t *out_index);
typedef struct pq_step_desc {
    uint32_t program, entry;
    const uint32_t *inputs, *states, *outputs; // IFACE value indices
    uint32_t input_count, state_count, output_count;
    const uint32_t *dims; // IFACE dim indices
    uint32_t dim_count;
} pq_step_desc;
PTQC_MUST_USE ptqc_status pq_container_add_step(pq_container *c,
                                                const pq_step_desc *desc);
PTQC_MUST_USE ptqc_status pq_container_set_iface(pq_container *c,
                                                 const void *block, size_t n);
PTQC_MUST_USE ptqc_status pq_container_set_tokenizer(pq_container *c,
                                                     const void *saved,
                                                     size_t n);
PTQC_MUST_USE ptqc_status pq_container_set_meta(pq_container *c, pq_str json);
// Writes what is left; the container can then only be destroyed. The file
// appears when the caller commits *out.
PTQC_MUST_USE ptqc_status pq_container_finish_file(pq_container *c,
                                                   pq_writer **out);
// 64-byte aligned, freed with pq_free.
PTQC_MUST_USE ptqc_status pq_container_finish_memory(pq_container *c,
                                                     void **out_bytes,
                                                     size_t *out_count);

#endif
