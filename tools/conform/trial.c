// SPDX-License-Identifier: Apache-2.0
//
// One instance of a rule, from check to the comparison with the interpreter.
// Every buffer stands between guard bytes at exactly the alignment the
// plugin asked for; outputs and workspace are poisoned before a run.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/vec.h"
#include "ir/block.h"
#include "ir/interp/interp.h"
#include "tools/conform/conform.h"

// ---- compile --------------------------------------------------------------

// `loans` end with pq_loans_deinit, after the call.
static void
begin_call(ptqc_call *call, const pq_subject *s, const pq_instance *i,
           pq_loans *loans)
{
    *loans = (pq_loans){.ctx = s->ctx, .g = i->g};
    pq_call_init(call, s->ctx, s->plugin);
    call->constant_map = pq_loans_map;
    call->constant_release = pq_loans_release;
    call->constant_user = loans;
}

static ptqc_str
target_of(const pq_subject *s)
{
    return (ptqc_str){s->target, strlen(s->target)};
}

static bool
copy_bytes(ptqc_ctx *ctx, ptqc_bytes from, ptqc_bytes *out)
{
    uint8_t *p = pq_alloc(ctx, from.n);
    if (p == NULL) {
        return false;
    }
    if (from.n > 0) {
        memcpy(p, from.p, from.n);
    }
    *out = (ptqc_bytes){p, from.n};
    return true;
}

static ptqc_be_status
take_constant(pq_program *p, const ptqc_hdr *record)
{
    ptqc_packed_constant c;
    pq_record_read(&c, sizeof c, record);
    void *all = p->constants;
    if (pq_vec_reserve(p->ctx, &all, &p->constant_capacity,
                       (size_t)p->constant_count + 1,
                       sizeof *p->constants) != PTQC_OK) {
        return PTQC_BE_RESOURCE;
    }
    p->constants = all;
    return copy_bytes(p->ctx, c.data, &p->constants[p->constant_count++])
               ? PTQC_BE_OK
               : PTQC_BE_RESOURCE;
}

static ptqc_be_status
take_program(void *user, const ptqc_hdr *record)
{
    pq_program *p = user;
    if (record->type == PTQC_REC_CONSTANT) {
        return take_constant(p, record);
    }
    if (record->type == PTQC_REC_TEXT) {
        return PTQC_BE_OK; // for people
    }
    if (record->type != PTQC_REC_BLOB || p->has_blob) {
        return PTQC_BE_INVALID;
    }
    ptqc_blob b;
    pq_record_read(&b, sizeof b, record);
    p->has_blob = true;
    return copy_bytes(p->ctx, b.data, &p->blob) ? PTQC_BE_OK : PTQC_BE_RESOURCE;
}

static void
free_bytes(ptqc_ctx *ctx, ptqc_bytes b)
{
    pq_free(ctx, (void *)(uintptr_t)b.p);
}

void
pq_program_deinit(pq_program *p)
{
    if (p->ctx == NULL) {
        return;
    }
    for (uint32_t i = 0; i < p->constant_count; i++) {
        free_bytes(p->ctx, p->constants[i]);
    }
    pq_free(p->ctx, p->constants);
    free_bytes(p->ctx, p->blob);
    *p = (pq_program){0};
}

ptqc_be_status
pq_trial_compile(pq_subject *s, pq_instance *i, pq_program *out)
{
    void *block = NULL;
    size_t bytes = 0;
    *out = (pq_program){.ctx = s->ctx};
    if (pq_block_write(i->g, &(pq_block_desc){0}, &block, &bytes) != PTQC_OK) {
        return PTQC_BE_RESOURCE;
    }
    ptqc_sink sink = {.emit = take_program, .user = out};
    ptqc_entry entry = {.name = {"main", 4}, .graph = {block, bytes}};
    ptqc_call call;
    pq_loans loans;
    begin_call(&call, s, i, &loans);
    ptqc_be_status st = s->vt->compile(&call, s->plugin->instance, target_of(s),
                                       &entry, 1, &sink);
    pq_loans_deinit(&loans);
    pq_free(s->ctx, block);
    return st;
}

// ---- check ----------------------------------------------------------------

typedef struct pq_verdicts {
    uint32_t node_count;
    uint32_t count;
    bool is_malformed;
    char reason[160];
} pq_verdicts;

static ptqc_be_status
take_verdict(void *user, const ptqc_hdr *record)
{
    pq_verdicts *all = user;
    ptqc_verdict v;
    if (record->type != PTQC_REC_VERDICT || record->size < sizeof v) {
        all->is_malformed = true;
        return PTQC_BE_OK;
    }
    pq_record_read(&v, sizeof v, record);
    all->is_malformed |= v.node >= all->node_count || v.reason.n == 0;
    all->count++;
    snprintf(all->reason, sizeof all->reason, "%.*s", (int)v.reason.n,
             v.reason.n > 0 ? v.reason.p : "");
    return PTQC_BE_OK;
}

static ptqc_be_status
ask_check(pq_subject *s, pq_instance *i, pq_verdicts *out)
{
    void *block = NULL;
    size_t bytes = 0;
    *out = (pq_verdicts){.node_count = i->op_count};
    if (pq_block_write(i->g, &(pq_block_desc){0}, &block, &bytes) != PTQC_OK) {
        return PTQC_BE_RESOURCE;
    }
    ptqc_sink sink = {.emit = take_verdict, .user = out};
    ptqc_call call;
    pq_loans loans;
    static const uint32_t nodes[3] = {0, 1, 2}; // the op, after its updates
    begin_call(&call, s, i, &loans);
    ptqc_be_status st =
        s->vt->check(&call, s->plugin->instance, target_of(s),
                     (ptqc_bytes){block, bytes}, nodes, i->op_count, &sink);
    pq_loans_deinit(&loans);
    pq_free(s->ctx, block);
    return st;
}

// ---- buffers --------------------------------------------------------------

#define GUARD  256u
#define POISON 0xcb // as f32 about -27 million: no plausible result

typedef struct pq_buffer {
    uint8_t *block; // owned
    uint8_t *p;
    size_t bytes;
} pq_buffer;

// Aligned to `align` and to nothing larger.
static bool
buffer_init(pq_buffer *b, uint64_t bytes, uint64_t align, int fill)
{
    size_t step = align < 1 ? 1 : align;
    size_t room = 3 * 4096 + GUARD + bytes;
    if (bytes > (UINT64_C(1) << 32) || step > 4096 ||
        (step & (step - 1)) != 0 ||
        posix_memalign((void **)&b->block, 8192, room) != 0) {
        b->block = NULL;
        return false;
    }
    memset(b->block, 0xa5, room);
    b->p = b->block + 4096 + (step < 4096 ? step : 0);
    b->bytes = bytes;
    memset(b->p, fill, bytes);
    return true;
}

static bool
is_guard_whole(const pq_buffer *b)
{
    for (size_t i = 0; i < GUARD; i++) {
        if (b->p[-(ptrdiff_t)i - 1] != 0xa5 || b->p[b->bytes + i] != 0xa5) {
            return false;
        }
    }
    return true;
}

// ---- one run --------------------------------------------------------------

#define BINDINGS (PQ_KIT_OPERANDS + 8)

typedef struct pq_exec {
    const pq_run *run;
    ptqc_exe *exe;
    ptqc_spec *spec;
    uint32_t input_count, state_count, binding_count;
    // inputs (owned memory), states (nothing), outputs wanted
    pq_tensor tensors[BINDINGS];
    ptqc_needs needs;
    ptqc_buffer_need buffer_needs[BINDINGS];
    uint32_t need_count;
    bool has_needs;
    pq_buffer buffers[BINDINGS + 1]; // the last: workspace
    pq_far fars[BINDINGS + 1];       // of a device with memory of its own
    char *text;
    size_t text_bytes;
} pq_exec;

static pq_outcome
wrong(pq_exec *e, const char *what)
{
    snprintf(e->text, e->text_bytes, "%s", what);
    return PQ_WRONG;
}

static bool
make_inputs(pq_exec *e)
{
    const pq_instance *in = e->run->instance;
    pq_random random = {e->run->seed};
    e->input_count = in->input_count;
    e->state_count = pq_graph_state_count(in->g);
    for (uint32_t i = 0; i < in->input_count; i++) {
        pq_tensor *t = &e->tensors[i];
        t->dtype = in->fills[i].dtype;
        t->rank = in->shapes[i].rank;
        for (uint32_t d = 0; d < t->rank; d++) {
            int64_t dim = in->shapes[i].dims[d];
            t->dims[d] = dim < 0 ? e->run->symbol : dim;
        }
        if (!pq_dtype_bytes(t->dtype, t->dims, t->rank, &t->bytes)) {
            return false;
        }
        t->p = calloc(1, t->bytes + 1);
        if (t->p == NULL) {
            return false;
        }
        pq_kit_fill(&random, &in->fills[i], t->p, t->bytes,
                    t->rank > 0 ? t->dims[t->rank - 1] : 1);
    }
    return true;
}

// Keeps what the interpreter computes.
static ptqc_status
keep_output(void *user, pq_value_id value, const pq_tensor *tensor)
{
    pq_exec *e = user;
    const pq_graph *g = e->run->instance->g;
    for (uint32_t i = 0; i < pq_graph_output_count(g); i++) {
        if (pq_value_equal(pq_graph_output(g, i), value)) {
            pq_tensor *t = &e->tensors[e->input_count + e->state_count + i];
            *t = *tensor;
            t->p = calloc(1, t->bytes + 1);
            if (t->p == NULL) {
                return PTQC_E_RESOURCE;
            }
            if (t->bytes > 0) {
                memcpy(t->p, tensor->p, t->bytes);
            }
        }
    }
    return PTQC_OK;
}

static bool
run_interpreter(pq_exec *e)
{
    pq_graph *g = e->run->instance->g;
    pq_runner *runner = NULL;
    ptqc_status st = pq_interp_make(e->run->s->ctx, g, NULL, 0, &runner);
    if (st == PTQC_OK) {
        st = runner->run(runner, e->tensors, keep_output, e);
        runner->destroy(runner);
    }
    e->binding_count =
        e->input_count + e->state_count + pq_graph_output_count(g);
    return st == PTQC_OK;
}

static ptqc_be_status
take_need(void *user, const ptqc_hdr *record)
{
    pq_exec *e = user;
    if (record->type == PTQC_REC_NEEDS && !e->has_needs) {
        pq_record_read(&e->needs, sizeof e->needs, record);
        e->has_needs = true;
    } else if (record->type == PTQC_REC_BUFFER_NEED &&
               e->need_count < BINDINGS) {
        pq_record_read(&e->buffer_needs[e->need_count++],
                       sizeof *e->buffer_needs, record);
    }
    return PTQC_BE_OK;
}

// load and specialize may refuse; needs may not.
static pq_outcome
prepare(pq_exec *e, const pq_program *p)
{
    const pq_subject *s = e->run->s;
    ptqc_call call;
    pq_call_init(&call, s->ctx, s->plugin);
    ptqc_be_status st = s->vt->load(
        &call, s->plugin->instance, (ptqc_str){s->device, strlen(s->device)},
        p->blob, p->constants, p->constant_count, &e->exe);
    if (st != PTQC_BE_OK) {
        snprintf(e->text, e->text_bytes, "load refuses (status %d): %s", st,
                 call.text);
        e->exe = NULL;
        return PQ_REFUSED;
    }
    pq_call_init(&call, s->ctx, s->plugin);
    st = s->vt->specialize(&call, e->exe, 0, &e->run->symbol,
                           e->run->instance->has_symbol ? 1 : 0, &e->spec);
    if (st != PTQC_BE_OK) {
        snprintf(e->text, e->text_bytes, "specialize refuses (status %d): %s",
                 st, call.text);
        e->spec = NULL;
        return PQ_REFUSED;
    }
    pq_call_init(&call, s->ctx, s->plugin);
    ptqc_sink sink = {.emit = take_need, .user = e};
    st = s->vt->needs(&call, e->spec, &sink);
    if (st != PTQC_BE_OK || !e->has_needs) {
        return wrong(e, "needs fails or tells nothing");
    }
    return PQ_RAN;
}

static bool
is_state(const pq_exec *e, uint32_t binding)
{
    return binding >= e->input_count &&
           binding < e->input_count + e->state_count;
}

static pq_outcome
make_buffers(pq_exec *e)
{
    if (e->need_count != e->binding_count) {
        return wrong(e, "needs tells of another number of buffers");
    }
    for (uint32_t i = 0; i < e->binding_count; i++) {
        const pq_tensor *t = &e->tensors[i];
        uint64_t bytes = e->buffer_needs[i].bytes;
        bytes = bytes < t->bytes ? t->bytes : bytes;
        if (!buffer_init(&e->buffers[i], bytes, e->buffer_needs[i].align,
                         POISON)) {
            return wrong(e, "needs asks for a buffer that cannot be");
        }
        if (i < e->input_count && t->bytes > 0) {
            memcpy(e->buffers[i].p, t->p, t->bytes);
        } else if (is_state(e, i)) { // zero at first, in any layout
            memset(e->buffers[i].p, 0, e->buffers[i].bytes);
        }
    }
    return buffer_init(&e->buffers[BINDINGS], e->needs.workspace_bytes,
                       e->needs.workspace_align, 0xff)
               ? PQ_RAN
               : wrong(e, "needs asks for a workspace that cannot be");
}

// Copies of all buffers, on the device.
static pq_outcome
copy_up(pq_exec *e)
{
    const pq_subject *s = e->run->s;
    for (uint32_t i = 0; s->is_far && i <= BINDINGS; i++) {
        uint64_t align =
            i == BINDINGS ? e->needs.workspace_align : e->buffer_needs[i].align;
        const pq_buffer *b = &e->buffers[i];
        if (b->block != NULL &&
            (pq_far_make(s, b->bytes, align, GUARD, &e->fars[i]) !=
                 PTQC_BE_OK ||
             pq_far_write(s, &e->fars[i], b->p) != PTQC_BE_OK)) {
            return wrong(e, "a buffer of the device cannot be made");
        }
    }
    return PQ_RAN;
}

static pq_outcome
copy_down(pq_exec *e)
{
    const pq_subject *s = e->run->s;
    for (uint32_t i = 0; s->is_far && i <= BINDINGS; i++) {
        if (e->buffers[i].block != NULL &&
            pq_far_read(s, &e->fars[i], e->buffers[i].p) != PTQC_BE_OK) {
            return wrong(e, "a buffer of the device cannot be read");
        }
    }
    return PQ_RAN;
}

static ptqc_binding
binding_of(const pq_exec *e, uint32_t i)
{
    const pq_buffer *b = &e->buffers[i];
    return e->run->s->is_far ? (ptqc_binding){.buf = e->fars[i].buf,
                                              .offset = e->fars[i].lead,
                                              .bytes = b->bytes}
                             : (ptqc_binding){.host = b->p, .bytes = b->bytes};
}

static pq_outcome
submit(pq_exec *e)
{
    const pq_subject *s = e->run->s;
    ptqc_binding bindings[BINDINGS];
    for (uint32_t i = 0; i < e->binding_count; i++) {
        bindings[i] = binding_of(e, i);
    }
    const ptqc_submit record = {
        .h = {.size = sizeof record},
        .bindings = bindings,
        .binding_count = e->binding_count,
        .workspace = binding_of(e, BINDINGS),
    };
    ptqc_call call;
    pq_call_init(&call, s->ctx, s->plugin);
    uint64_t allocations = *s->allocations;
    ptqc_be_status st = s->vt->submit(&call, e->spec, &record);
    if (e->run->out_alloced != NULL && *s->allocations != allocations) {
        *e->run->out_alloced = true;
    }
    if (st != PTQC_BE_OK) {
        snprintf(e->text, e->text_bytes, "submit fails (status %d): %s", st,
                 call.text);
        return PQ_WRONG;
    }
    return PQ_RAN;
}

static pq_outcome
compare(pq_exec *e)
{
    for (uint32_t i = 0; i <= BINDINGS; i++) {
        if (e->buffers[i].block != NULL && !is_guard_whole(&e->buffers[i])) {
            return wrong(e, i == BINDINGS ? "it writes outside the workspace"
                                          : "it writes outside a buffer");
        }
    }
    for (uint32_t i = 0; i < e->binding_count; i++) {
        pq_tensor got = e->tensors[i];
        char text[160];
        got.p = e->buffers[i].p;
        if (i < e->input_count) {
            if (got.bytes > 0 &&
                memcmp(got.p, e->tensors[i].p, got.bytes) != 0) {
                return wrong(e, "it changes an input");
            }
        } else if (!is_state(e, i) &&
                   !pq_kit_equal(&got, &e->tensors[i], e->run->tolerance, text,
                                 sizeof text)) {
            snprintf(e->text, e->text_bytes, "output %u: %s",
                     i - e->input_count - e->state_count, text);
            return PQ_WRONG;
        }
    }
    return PQ_RAN;
}

static void
exec_deinit(pq_exec *e)
{
    const pq_subject *s = e->run->s;
    if (e->spec != NULL) {
        s->vt->spec_free(e->spec);
    }
    for (uint32_t i = 0; i <= BINDINGS; i++) {
        pq_far_free(s, &e->fars[i]);
    }
    if (e->exe != NULL) {
        s->vt->exe_free(e->exe);
    }
    for (uint32_t i = 0; i < BINDINGS; i++) {
        free(e->tensors[i].p);
        free(e->buffers[i].block);
    }
    free(e->buffers[BINDINGS].block);
}

static pq_outcome
run_all(pq_exec *e, const pq_program *p)
{
    if (!make_inputs(e) || !run_interpreter(e)) {
        return wrong(e, "the kit's interpreter fails");
    }
    pq_outcome outcome = prepare(e, p);
    outcome = outcome == PQ_RAN ? make_buffers(e) : outcome;
    outcome = outcome == PQ_RAN ? copy_up(e) : outcome;
    outcome = outcome == PQ_RAN ? submit(e) : outcome;
    outcome = outcome == PQ_RAN ? copy_down(e) : outcome;
    return outcome == PQ_RAN ? compare(e) : outcome;
}

pq_outcome
pq_trial_run(const pq_run *run, const pq_program *p, char *out_text,
             size_t text_bytes)
{
    pq_exec e = {.run = run, .text = out_text, .text_bytes = text_bytes};
    pq_outcome outcome = run_all(&e, p);
    exec_deinit(&e);
    return outcome;
}

// ---- the whole trial --------------------------------------------------------

typedef struct pq_trial_state {
    pq_subject *s;
    const pq_kit_rule *rule;
    uint32_t k;
    bool with_damage;
    pq_board *board;
    pq_result *result;
    pq_instance i; // owned
} pq_trial_state;

static bool
equal_programs(const pq_program *a, const pq_program *b)
{
    bool is_same = a->constant_count == b->constant_count &&
                   a->blob.n == b->blob.n &&
                   memcmp(a->blob.p, b->blob.p, a->blob.n) == 0;
    for (uint32_t i = 0; is_same && i < a->constant_count; i++) {
        is_same = a->constants[i].n == b->constants[i].n &&
                  memcmp(a->constants[i].p, b->constants[i].p,
                         a->constants[i].n) == 0;
    }
    return is_same;
}

// The same input gives the same bytes.
static void
check_determinism(pq_trial_state *t, const pq_program *first)
{
    pq_program again;
    if (pq_trial_compile(t->s, &t->i, &again) != PTQC_BE_OK ||
        !again.has_blob || !equal_programs(first, &again)) {
        pq_result_say(t->result, PQ_FAIL, "%scompiling again gives other bytes",
                      t->i.text);
    }
    pq_program_deinit(&again);
}

static void
run_program(pq_trial_state *t, const pq_program *p)
{
    static const int64_t symbols[] = {3, 1, 17};
    uint32_t runs = t->i.has_symbol ? 3 : 1;
    bool has_alloced = false;
    pq_run run = {.s = t->s,
                  .instance = &t->i,
                  .seed = t->k + 1,
                  .tolerance = t->rule->tolerance,
                  .out_alloced = &has_alloced};
    for (uint32_t r = 0; r < runs; r++) {
        char text[PQ_KIT_TEXT / 2] = "";
        run.symbol = symbols[r];
        if (pq_trial_run(&run, p, text, sizeof text) != PQ_RAN) {
            pq_result_say(t->result, PQ_FAIL, "%s%s", t->i.text, text);
            return;
        }
    }
    t->result->executed++;
    if (has_alloced) {
        pq_result_say(&t->board->parts[PQ_PART_SUBMIT], PQ_WARN,
                      "submit allocates: %s", t->i.text);
    }
    if (t->with_damage) {
        run.symbol = symbols[0];
        pq_trial_damage(&run, p, t->result);
    }
}

static void
compile_and_run(pq_trial_state *t)
{
    pq_program p;
    ptqc_be_status st = pq_trial_compile(t->s, &t->i, &p);
    if (st != PTQC_BE_OK || !p.has_blob) {
        pq_result_say(t->result, PQ_FAIL,
                      "%scheck accepts, compile fails (status %d)", t->i.text,
                      st);
    } else {
        check_determinism(t, &p);
        if (t->s->device[0] != '\0') {
            run_program(t, &p);
        }
    }
    pq_program_deinit(&p);
}

// check has declined: compile must say UNSUPPORTED.
static void
compile_declined(pq_trial_state *t, const char *reason)
{
    pq_program p;
    ptqc_be_status st = pq_trial_compile(t->s, &t->i, &p);
    pq_program_deinit(&p);
    t->result->declined++;
    if (st != PTQC_BE_UNSUPPORTED) {
        pq_result_say(&t->board->parts[PQ_PART_DECLINED], PQ_FAIL,
                      "%scheck declines (%s), compile gives status %d",
                      t->i.text, reason, st);
    }
    if (t->i.its_case->is_base) {
        pq_result_say(t->result, PQ_FAIL,
                      "%sthe rule admits it, check says: %s", t->i.text,
                      reason);
    }
}

void
pq_trial(pq_subject *s, const pq_kit_rule *rule, uint32_t k, pq_board *board,
         pq_result *result, bool with_damage)
{
    pq_trial_state t = {.s = s,
                        .rule = rule,
                        .k = k,
                        .with_damage = with_damage,
                        .board = board,
                        .result = result};
    pq_verdicts verdicts;
    if (pq_instance_make(s->ctx, rule, k, &t.i) != PTQC_OK) {
        return; // no graph has these types
    }
    snprintf(board->doing, sizeof board->doing, "%s", t.i.text);
    ptqc_be_status st = ask_check(s, &t.i, &verdicts);
    if (st != PTQC_BE_OK || verdicts.is_malformed) {
        pq_result_say(result, PQ_FAIL,
                      "%scheck fails (status %d) or gives a verdict without "
                      "node or reason",
                      t.i.text, st);
    } else if (verdicts.count > 0) {
        compile_declined(&t, verdicts.reason);
    } else {
        compile_and_run(&t);
    }
    pq_instance_deinit(&t.i);
}
