// SPDX-License-Identifier: Apache-2.0
//
// For kernel_*.c: building a kernel's text (module) and its launch, with the
// checks and small calculations that they share.
//
// A text is: the prelude of the language, access.kg, what else is asked for
// (exact.kg, math.kg), declarations, and one skeleton as the body of the
// kernel. In a skeleton a line `@name` is replaced by the text of that hook,
// indented as the line is. Words of the launch are read by the names they are
// declared with, in that order; launch puts them in the same order.
//
// Failures are sticky: after the first one functions do nothing.
#ifndef PTQC_BACKENDS_KGEN_MODULE_H
#define PTQC_BACKENDS_KGEN_MODULE_H

#include "kernel.h"
#include "move.h"
#include "skeletons.h"
#include "text.h"

// ---- text ------------------------------------------------------------------

#define PQ_KG_USES_VALUES 1u  // values.kg
#define PQ_KG_USES_EXACT  2u  // exact.kg
#define PQ_KG_USES_MATH   4u  // math.kg, which uses these
#define PQ_KG_USES_BLOCKS 8u  // blocks.kg
#define PQ_KG_USES_ROWS   16u // rows.kg
#define PQ_KG_USES_WIDE   32u // wide.kg

#define PQ_KG_READS  0u
#define PQ_KG_WRITES 1u
#define PQ_KG_WIDE   2u // also as <name>4, of four words each
#define PQ_KG_PAIRS  4u // also as <name>2, of two

#define PQ_KG_HOOKS_MAX 12u

typedef struct pq_kg_hook {
    const char *name, *text;
} pq_kg_hook;

typedef struct pq_kg_module {
    pq_mem *mem;
    const pq_kg_job *job;
    const pq_kg_dialect *dialect;
    pq_kg_source *out;
    pq_kg_text name, constants, names, storage;
    const char *skeleton;
    pq_kg_hook hooks[PQ_KG_HOOKS_MAX];
    uint32_t hook_count;
    uint32_t word_count, spec_count, uses;
    ptqc_be_status st;
    const char *why; // of a failure
} pq_kg_module;

// The name is printf-like.
__attribute__((format(printf, 2, 3))) void
pq_kg_module_name(pq_kg_module *m, const char *format, ...);
// Operand `arg` of the job as buffer `name`; flags PQ_KG_WRITES, PQ_KG_WIDE.
void pq_kg_module_buffer(pq_kg_module *m, uint32_t arg, const char *name,
                         uint32_t flags);
// The next word of the launch; `words`: the next `count`, name(i).
void pq_kg_module_word(pq_kg_module *m, const char *name);
void pq_kg_module_words(pq_kg_module *m, const char *name, uint32_t count);
// The next specialization constant; the first three are declared by the
// generator: local size, CAREFUL, and SUBGROUP where subgroups are used (the
// size of one).
void pq_kg_module_spec(pq_kg_module *m, const char *name);
// Whether the text may use a feature (PQ_KG_DOT ..), which it then does.
bool pq_kg_module_may(pq_kg_module *m, uint32_t feature);
// #define; the value is printf-like.
__attribute__((format(printf, 3, 4))) void
pq_kg_module_define(pq_kg_module *m, const char *name, const char *format, ...);
// An array of the work group.
void pq_kg_module_shared(pq_kg_module *m, const char *type, const char *name,
                         uint32_t count);
// The same, of as many elements as an expression of specialization constants
// says.
void pq_kg_module_array(pq_kg_module *m, const char *type, const char *name,
                        const char *count);
// The body: one of skeletons.h, and the text of a hook in it.
void pq_kg_module_body(pq_kg_module *m, const char *skeleton);
void pq_kg_module_hook(pq_kg_module *m, const char *name, const char *text);
// The hooks gather and store, and LANES: `result` of element word * LANES +
// lane goes into `bits`, which becomes word `word` of y.
void pq_kg_module_store(pq_kg_module *m, uint32_t dtype, const char *result);
// The same for kernels that make rows of `row` results, which are at `at`:
// words of neighbours when these never reach over the end of a row, else one by
// one (LANES 1).
void pq_kg_module_store_row(pq_kg_module *m, uint32_t dtype, int64_t row,
                            const char *result);
// The module's text (bytes of `t`); NULL, and the module fails, without memory.
const char *pq_kg_module_text(pq_kg_module *m, const pq_kg_text *t);
void pq_kg_module_decline(pq_kg_module *m, const char *why);
void pq_kg_module_no_memory(pq_kg_module *m);
// Writes m->out; the status is the module's.
ptqc_be_status pq_kg_module_finish(pq_kg_module *m);

// ---- launch ----------------------------------------------------------------

#define PQ_KG_TABLE_MAX 192u

typedef struct pq_kg_launcher {
    pq_mem *mem;
    const pq_kg_job *job;
    const pq_kg_limits *limits;
    pq_kg_launch *out;
    uint32_t words[PQ_KG_TABLE_MAX];
    uint32_t word_count;
    ptqc_be_status st;
    const char *why;
} pq_kg_launcher;

// Fails the launch with INVALID unless the condition holds.
#define PQ_KG_NEED(l, condition)                                               \
    pq_kg_launch_need((l), (condition) ? 1 : 0, #condition)

bool pq_kg_launch_need(pq_kg_launcher *l, int holds, const char *what);
// The next word; a number that is not in [0, 2^32) fails the launch.
void pq_kg_put(pq_kg_launcher *l, int64_t x);
void pq_kg_put_i32(pq_kg_launcher *l, int64_t x); // in [-2^31, 2^31)
void pq_kg_put_f32(pq_kg_launcher *l, float x);
void pq_kg_put_bits(pq_kg_launcher *l, uint32_t x);
// Specialization constants after the first three, in order of declaration.
void pq_kg_launch_spec(pq_kg_launcher *l, uint32_t value);
// Groups of `local` items for `items` in all, spread over groups[0] and [1] as
// the device's limits want: kernels number them by ITEM and check the number.
void pq_kg_launch_items(pq_kg_launcher *l, int64_t items, uint32_t local);
// `count` groups of `local` items each: numbered by ROW.
void pq_kg_launch_rows(pq_kg_launcher *l, int64_t count, uint32_t local);
// groups as they are; a size beyond the device's limit fails.
void pq_kg_launch_grid(pq_kg_launcher *l, int64_t x, int64_t y, int64_t z,
                       uint32_t local);
// Fails the launch with RESOURCE when the loops of an item turn more often than
// the device lets them: it would leave them without a word. Loops that are
// unrolled by their text do not count.
bool pq_kg_launch_turns(pq_kg_launcher *l, int64_t turns);
// Sizes of t = [N][spatial][channels] as three axes, the missing ones 1; the
// step's parameter 0 is the number of spatial axes.
void pq_kg_spatial(pq_kg_launcher *l, const pq_kg_tensor *t, int64_t channels,
                   int64_t *out);
// Items of a subgroup for texts that use subgroups; else 0.
uint32_t pq_kg_subgroup(const pq_kg_limits *limits);
// Local size for kernels that do little per item.
uint32_t pq_kg_flat_local(const pq_kg_limits *limits);

// ---- operands and parameters -----------------------------------------------

// Operand i; NULL = absent. Outputs follow inputs.
const pq_kg_tensor *pq_kg_in(const pq_kg_job *job, uint32_t i);
const pq_kg_tensor *pq_kg_out(const pq_kg_job *job, uint32_t i);
// Parameter i; 0 beyond the end.
int64_t pq_kg_i64(const pq_kg_job *job, uint32_t i);
float pq_kg_f32(const pq_kg_job *job, uint32_t i);
// Value of the dim expression that parameter i names.
bool pq_kg_dim_of(const pq_kg_job *job, uint32_t i, int64_t *out);
// Name of an element type in LD_* and BITS_*; NULL: kernels have none.
const char *pq_kg_dtype_name(uint32_t dtype);
bool pq_kg_is_float(uint32_t dtype); // f32, f16, bf16
// "f32", "i32", "u32" or "bool": what registers of the type are in a text.
const char *pq_kg_register_type(uint32_t dtype);
// Elements of an operand; false when they are more than 2^31 - 1.
bool pq_kg_count(const pq_kg_tensor *t, int64_t *out);
// Product of dims [from, to).
int64_t pq_kg_extent(const pq_kg_tensor *t, uint32_t from, uint32_t to);
// Elements from one index to the next of each axis.
void pq_kg_strides(const pq_kg_tensor *t, int64_t *out);
// Words of storage a kernel writes for n elements.
int64_t pq_kg_words_of(uint32_t dtype, int64_t n);

// ---- families --------------------------------------------------------------

#define KERNEL(NAME, fn)                                                       \
    void pq_kg_source_##fn(pq_kg_module *m);                                   \
    void pq_kg_launch_##fn(pq_kg_launcher *l);
#include "kernels.def"
#undef KERNEL

#endif
