// SPDX-License-Identifier: Apache-2.0
//
// The conformance kit: does a plugin keep the contract of ptqc/backend.h?
//
//   file.c      the shared object itself (exports, hardening)
//   process.c   what a plugin must leave alone
//   plugin.c    its rules, and programs compiled by it
//   cases.c     shapes and attributes an op is tried with (cases.def)
//   instance.c  rule + number -> a graph of one op
//   data.c      numbers for its inputs
//   trial.c     one instance: check, compile, run, compare
//   far.c       buffers of devices with memory of their own
//   blob.c      damaged programs
//   worker.c    the trials of all rules in a process of their own
//   report.c    what is printed
//   main.c      arguments; starts workers
//
// Workers are forked, so that a plugin that crashes fails the rule at hand
// and not the kit. They tell what they find through shared memory.
#ifndef PTQC_TOOLS_CONFORM_CONFORM_H
#define PTQC_TOOLS_CONFORM_CONFORM_H

#include "ir/builder.h"
#include "ir/graph.h"
#include "ir/runner.h"
#include "runtime/plugins.h"

#define PQ_KIT_OPERANDS 16u
#define PQ_KIT_RULES    1024u
#define PQ_KIT_TEXT     400u

// ---- results --------------------------------------------------------------

typedef enum pq_verdict {
    PQ_NOT_RUN,
    PQ_PASS,
    PQ_UNSUPPORTED, // nothing to try it with; the text says why
    PQ_WARN,
    PQ_FAIL,
} pq_verdict;

typedef struct pq_result {
    pq_verdict verdict;
    uint32_t executed; // trials that ran and were compared
    uint32_t declined; // by check, in cases that it may decline
    char name[PQ_KIT_TEXT];
    char text[PQ_KIT_TEXT]; // of the first failure
} pq_result;

// Says it once: later failures of the same result are dropped.
__attribute__((format(printf, 3, 4))) void
pq_result_say(pq_result *r, pq_verdict verdict, const char *format, ...);

typedef enum pq_part {
    PQ_PART_FILE,     // the shared object
    PQ_PART_START,    // loading, devices, targets
    PQ_PART_PROCESS,  // invariants
    PQ_PART_MEMORY,   // everything is given back
    PQ_PART_SUBMIT,   // submit does not allocate
    PQ_PART_DECLINED, // what check declines, compile refuses
    PQ_PART_COUNT
} pq_part;

// Shared between the kit and its workers.
typedef struct pq_board {
    char plugin[PQ_KIT_TEXT]; // name, version
    char target[64], device[64];
    char doing[PQ_KIT_TEXT]; // the trial at hand, for crashes
    uint32_t rule_count;
    uint32_t next_rule;   // where a new worker goes on
    uint32_t has_started; // the plugin was loaded
    uint32_t has_ended;
    pq_result parts[PQ_PART_COUNT];
    pq_result rules[PQ_KIT_RULES];
} pq_board;

typedef struct pq_options {
    const char *path;
    const char *target;    // NULL: the plugin's first
    uint32_t samples;      // least trials of a rule
    uint32_t only_rule;    // number from 1; 0 = all
    uint32_t part, parts;  // every parts-th rule from the part-th; 0 = all
    const char *cache_dir; // NULL: no kernel cache
    uint32_t seconds;      // a trial may take
    bool is_list, is_json;
} pq_options;

// ---- file.c, process.c ----------------------------------------------------

void pq_kit_check_file(ptqc_ctx *ctx, const char *path, pq_result *out);

typedef struct pq_process {
    uint64_t signals, environment, directory;
    uint32_t mxcsr, x87, umask;
} pq_process;

void pq_process_take(pq_process *out);
// Text of what differs, or NULL.
const char *pq_process_differs(const pq_process *before,
                               const pq_process *after);
uint32_t pq_process_open_files(void);

// ---- plugin.c -------------------------------------------------------------

typedef struct pq_kit_operand {
    bool is_output;
    uint32_t index;
    uint64_t dtypes;
    uint32_t granularities, flags;
    uint32_t groups[8];
} pq_kit_operand;

typedef struct pq_kit_rule {
    pq_opcode op;
    pq_kit_operand operands[PQ_KIT_OPERANDS];
    uint32_t operand_count;
    uint32_t numerics, rank_min, rank_max;
    float tolerance;
} pq_kit_rule;

// The plugin under test.
typedef struct pq_subject {
    ptqc_ctx *ctx; // borrowed
    pq_plugins *set;
    pq_plugin *plugin;
    const ptqc_plugin_vt *vt;
    char target[64];
    char device[64];    // empty: no usable device
    bool is_far;        // it has memory of its own
    pq_kit_rule *rules; // owned
    uint32_t rule_count, rule_capacity;
    uint64_t *allocations;       // of the host, so far
    char complaint[PQ_KIT_TEXT]; // of a malformed record
} pq_subject;

// Reads targets, devices and rules. A complaint is a breach of the contract.
PTQC_MUST_USE ptqc_status pq_subject_open(pq_subject *s, const char *target);
void pq_kit_rule_print(ptqc_ctx *ctx, const pq_kit_rule *rule, char *out,
                       size_t bytes);

// ---- cases.c --------------------------------------------------------------

typedef struct pq_kit_case {
    pq_opcode op; // NONE: ops of the class without lines of their own
    pq_op_class cls;
    bool is_base;
    const char *shapes, *attrs;
} pq_kit_case;

typedef struct pq_kit_shape {
    bool is_given;
    uint32_t rank;
    int64_t dims[PTQC_MAX_RANK]; // -1: symbolic
    int64_t bound;               // elements in [0, bound); 0: any
    bool is_updated;             // a state after an update
} pq_kit_shape;

// The k-th case of an op, or NULL.
const pq_kit_case *pq_kit_case_at(pq_opcode op, uint32_t k);
uint32_t pq_kit_case_count(pq_opcode op);
// -> shapes parsed
uint32_t pq_kit_case_shapes(const pq_kit_case *c,
                            pq_kit_shape out[PQ_KIT_OPERANDS]);
void pq_kit_case_attrs(const pq_kit_case *c, pq_builder *b);

// ---- data.c ---------------------------------------------------------------

typedef struct pq_random {
    uint64_t state;
} pq_random;

uint64_t pq_random_next(pq_random *r);
uint32_t pq_random_below(pq_random *r, uint32_t n); // n > 0
float pq_random_unit(pq_random *r);                 // [0, 1)
// Fills `count` elements. bound as pq_kit_shape's. spread: codes and reals
// use their whole range, extremes included.
typedef struct pq_fill {
    ptqc_dtype dtype;
    int64_t bound;
    bool is_positive; // variances
    bool is_scale;    // of rows of codes: positive, some 0
    bool is_extreme;
    bool is_bias; // i32 sums: small
} pq_fill;
void pq_kit_fill(pq_random *r, const pq_fill *how, void *p, size_t bytes,
                 int64_t last_dim);
// Same bits, or both NaN; else the relative error is at most `tolerance`.
bool pq_kit_equal(const pq_tensor *got, const pq_tensor *want, float tolerance,
                  char *out_text, size_t text_bytes);

// ---- instance.c -----------------------------------------------------------

typedef struct pq_instance {
    pq_graph *g; // owned
    const pq_kit_case *its_case;
    pq_kit_shape shapes[PQ_KIT_OPERANDS]; // of graph inputs, in their order
    pq_fill fills[PQ_KIT_OPERANDS];
    uint32_t input_count, op_count;
    bool has_symbol;
    char text[PQ_KIT_TEXT];
} pq_instance;

// Trials of a rule: every case and every type of every operand occurs.
uint32_t pq_instance_count(const pq_kit_rule *rule, uint32_t least);
// PTQC_E_UNSUPPORTED: the k-th combination is no graph (types that do not go
// together).
PTQC_MUST_USE ptqc_status pq_instance_make(ptqc_ctx *ctx,
                                           const pq_kit_rule *rule, uint32_t k,
                                           pq_instance *out);
void pq_instance_deinit(pq_instance *i);

// ---- loans.c --------------------------------------------------------------

// Constants of a graph in the hands of a plugin, during one call.
typedef struct pq_loan {
    uint64_t id;
    void *pages; // owned, mapped; at their start the constant's bytes
    size_t bytes, page_bytes;
    bool is_released; // the pages cannot be read any more
} pq_loan;

typedef struct pq_loans {
    ptqc_ctx *ctx;  // borrowed
    pq_graph *g;    // borrowed
    pq_loan *items; // owned
    uint32_t count, capacity;
} pq_loans;

// ptqc_host_vt.constant_map and .constant_release; user is the pq_loans.
const void *pq_loans_map(void *user, uint64_t id, uint64_t *out_bytes);
void pq_loans_release(void *user, uint64_t id);
void pq_loans_deinit(pq_loans *loans);

// ---- far.c ----------------------------------------------------------------

// A mirror of `bytes` bytes at p with as much before them as lead says, and
// `guard` bytes behind them.
typedef struct pq_far {
    ptqc_buffer *buf; // owned
    uint64_t lead, bytes;
} pq_far;

ptqc_be_status pq_far_make(const pq_subject *s, uint64_t bytes, uint64_t align,
                           uint64_t guard, pq_far *out);
ptqc_be_status pq_far_write(const pq_subject *s, const pq_far *f,
                            const uint8_t *p);
ptqc_be_status pq_far_read(const pq_subject *s, const pq_far *f, uint8_t *p);
void pq_far_free(const pq_subject *s, pq_far *f);

// ---- trial.c --------------------------------------------------------------

typedef struct pq_program {
    ptqc_bytes *constants; // owned copies
    uint32_t constant_count, constant_capacity;
    ptqc_bytes blob; // owned copy
    ptqc_ctx *ctx;
    bool has_blob;
} pq_program;

void pq_program_deinit(pq_program *p);
// Compiles the instance; the plugin's status.
ptqc_be_status pq_trial_compile(pq_subject *s, pq_instance *i, pq_program *out);

// One run of a program on given inputs.
typedef struct pq_run {
    pq_subject *s;
    const pq_instance *instance;
    int64_t symbol;    // value of the instance's symbol
    uint64_t seed;     // of the inputs
    float tolerance;   // 0: bit-exact
    bool *out_alloced; // may be NULL: set when submit allocates
} pq_run;

typedef enum pq_outcome {
    PQ_RAN,     // and the results are right
    PQ_REFUSED, // by load or specialize
    PQ_WRONG,   // text says what
} pq_outcome;

pq_outcome pq_trial_run(const pq_run *run, const pq_program *p, char *out_text,
                        size_t text_bytes);
// Everything of the k-th instance of a rule; counts in *result.
void pq_trial(pq_subject *s, const pq_kit_rule *rule, uint32_t k,
              pq_board *board, pq_result *result, bool with_damage);

// ---- blob.c ---------------------------------------------------------------

// Loads damaged copies of the program: each must be refused or run right.
void pq_trial_damage(const pq_run *run, const pq_program *p, pq_result *result);

// ---- worker.c, report.c ---------------------------------------------------

// Runs in the child; goes on at board->next_rule.
void pq_worker(const pq_options *o, pq_board *board);
// -> exit code
int pq_report(const pq_options *o, const pq_board *board);

#endif
