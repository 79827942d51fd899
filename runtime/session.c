// SPDX-License-Identifier: Apache-2.0
//
// Sessions: plugins and devices chosen, programs loaded; a run binds inputs,
// finds or prepares the shape, and submits step after step.

#include "runtime/session.h"

#include <string.h>

#include "base/checked.h"
#include "base/dtype.h"
#include "runtime/host.h"

// ---- devices --------------------------------------------------------------

// Looks for the device to load a program on: the wanted number, or the first
// usable one.
typedef struct pq_device_search {
    int wanted; // -1: any
    int seen;
    bool found;
    bool host_memory;
    char id[128];
    char reason[256]; // of the last unusable one
} pq_device_search;

static ptqc_be_status
look_at_device(void *user, const ptqc_hdr *record)
{
    pq_device_search *search = user;
    if (record->type != PTQC_REC_DEVICE) {
        return PTQC_BE_OK;
    }
    ptqc_device d;
    pq_record_read(&d, sizeof d, record);
    int number = search->seen++;
    if (search->found || (search->wanted >= 0 && search->wanted != number)) {
        return PTQC_BE_OK;
    }
    if (d.state != PTQC_DEVICE_USABLE || d.id.n >= sizeof search->id) {
        size_t n = d.reason.n < sizeof search->reason
                       ? d.reason.n
                       : sizeof search->reason - 1;
        memcpy(search->reason, d.reason.p, n);
        search->reason[n] = '\0';
        return PTQC_BE_OK;
    }
    memcpy(search->id, d.id.p, d.id.n);
    search->id[d.id.n] = '\0';
    search->host_memory = (d.flags & PTQC_DEVICE_HOST_MEMORY) != 0;
    search->found = true;
    return PTQC_BE_OK;
}

static ptqc_status
find_device(ptqc_session *s, const pq_plugin *plugin, int wanted,
            pq_device_search *search)
{
    *search = (pq_device_search){.wanted = wanted};
    ptqc_sink sink = {.emit = look_at_device, .user = search};
    ptqc_call call;
    pq_call_init(&call, s->ctx, plugin);
    ptqc_be_status st =
        plugin->table->vt->devices(&call, plugin->instance, &sink);
    PQ_TRY(pq_call_end(&call, st, "list devices"));
    if (!search->found) {
        return PQ_FAIL(s->ctx, PTQC_E_BACKEND,
                       "target %s: no usable device%s%s", plugin->name,
                       search->reason[0] != '\0' ? ": " : "", search->reason);
    }
    return PTQC_OK;
}

static bool
can_move_bytes(const ptqc_plugin_vt *vt)
{
    return vt->h.size >=
               offsetof(ptqc_plugin_vt, buf_read) + sizeof vt->buf_read &&
           vt->buf_alloc != NULL && vt->buf_free != NULL &&
           vt->buf_write != NULL && vt->buf_read != NULL;
}

// The memory of the device: the host's, or its own, which programs of one
// device share.
static ptqc_status
find_memory(ptqc_session *s, const pq_plugin *plugin,
            const pq_device_search *device, uint32_t *out)
{
    *out = PQ_HOST_MEMORY;
    if (device->host_memory) {
        return PTQC_OK;
    }
    if (!can_move_bytes(plugin->table->vt)) {
        return PQ_FAIL(s->ctx, PTQC_E_BACKEND,
                       "plugin %s: device %s has memory of its own, but its "
                       "table lacks buf_alloc, buf_free, buf_write, buf_read",
                       plugin->name, device->id);
    }
    for (uint32_t i = 1; i < s->memory_count; i++) {
        if (s->memories[i].plugin == plugin &&
            strcmp(s->memories[i].device, device->id) == 0) {
            *out = i;
            return PTQC_OK;
        }
    }
    pq_memory *memory = &s->memories[s->memory_count];
    memory->plugin = plugin;
    memcpy(memory->device, device->id, sizeof memory->device);
    *out = s->memory_count++;
    return PTQC_OK;
}

// ---- loading --------------------------------------------------------------

static bool
is_same_plugin(const pq_target_text *target, pq_str plugin)
{
    return target->plugin.n > 0 && pq_str_equal(target->plugin, plugin);
}

// The device text a program is loaded for: the user's cap ("cpu;avx2"), else
// what the program was compiled for, plus the device's number as its id says.
static ptqc_status
load_program(ptqc_session *s, uint32_t index, const pq_target_text *wanted)
{
    const ptqc_artifact *a = s->artifact;
    const pq_file_program *file = &a->programs[index];
    pq_session_program *program = &s->programs[index];
    pq_str name = pq_artifact_text(a, file->plugin_offset, file->plugin_bytes);
    program->plugin = pq_plugins_find(s->plugins, name);
    if (program->plugin == NULL) {
        return PQ_FAIL(s->ctx, PTQC_E_BACKEND,
                       "the artifact needs plugin '%.*s', which is not "
                       "installed",
                       PQ_STR_ARG(name));
    }
    PQ_TRY(pq_plugin_load(s->plugins, program->plugin));
    bool is_wanted = is_same_plugin(wanted, name);
    pq_device_search device;
    PQ_TRY(find_device(s, program->plugin, is_wanted ? wanted->device : -1,
                       &device));
    PQ_TRY(find_memory(s, program->plugin, &device, &program->memory));
    program->constants =
        pq_alloc_array(s->ctx, file->ref_count, sizeof *program->constants);
    PQ_TRY_ALLOC(program->constants);
    for (uint32_t i = 0; i < file->ref_count; i++) {
        program->constants[i] =
            pq_resident_constant(&s->resident, a, a->refs[file->first_ref + i]);
    }
    // "cpu:0;avx2": the device, then the cap.
    pq_strbuf text;
    pq_strbuf_init(&text, s->ctx);
    pq_strbuf_add_z(&text, device.id);
    if (is_wanted && wanted->target.n > wanted->plugin.n) {
        pq_strbuf_add(&text, (pq_str){wanted->target.p + wanted->plugin.n,
                                      wanted->target.n - wanted->plugin.n});
    }
    ptqc_status st = text.failed ? PTQC_E_RESOURCE : PTQC_OK;
    if (st == PTQC_OK) {
        ptqc_call call;
        pq_call_init(&call, s->ctx, program->plugin);
        ptqc_be_status loaded = program->plugin->table->vt->load(
            &call, program->plugin->instance, (ptqc_str){text.p, text.n},
            pq_artifact_blob(a, file), program->constants, file->ref_count,
            &program->exe);
        st = pq_call_end(&call, loaded, "load");
    }
    pq_strbuf_deinit(&text);
    return st;
}

// desc->target may be a list "vulkan,cpu:0": each part concerns the programs
// of its plugin.
static ptqc_status
load_all(ptqc_session *s, const ptqc_session_desc *desc)
{
    const ptqc_artifact *a = s->artifact;
    for (uint32_t i = 0; i < a->program_count; i++) {
        pq_str plugin = pq_artifact_text(a, a->programs[i].plugin_offset,
                                         a->programs[i].plugin_bytes);
        pq_str rest = pq_str_of(desc != NULL ? desc->target : NULL);
        pq_target_text wanted = {.device = -1};
        while (rest.n > 0) {
            pq_str part;
            pq_target_text t;
            (void)pq_str_split(rest, ',', &part, &rest);
            PQ_TRY(pq_target_parse(s->ctx, part, &t));
            if (is_same_plugin(&t, plugin)) {
                wanted = t;
                break;
            }
        }
        PQ_TRY(load_program(s, i, &wanted));
    }
    return PTQC_OK;
}

ptqc_status
ptqc_session_create(ptqc_ctx *ctx, const ptqc_artifact *artifact,
                    const ptqc_session_desc *desc, ptqc_session **out)
{
    *out = NULL;
    ptqc_session *s = pq_alloc(ctx, sizeof *s);
    PQ_TRY_ALLOC(s);
    s->ctx = ctx;
    s->artifact = artifact;
    ptqc_status st = PTQC_OK;
    PQ_TRY_OR(done,
              pq_plugins_create(ctx, desc != NULL ? &desc->backends : NULL,
                                &s->plugins));
    s->programs =
        pq_alloc_array(ctx, artifact->program_count, sizeof *s->programs);
    s->memories = pq_alloc_array(ctx, (size_t)artifact->program_count + 1,
                                 sizeof *s->memories);
    s->memory_count = 1; // the host's
    s->symbols =
        pq_alloc_array(ctx, ptqc_gb_count(&artifact->iface, PTQC_GB_SYMBOLS),
                       sizeof *s->symbols);
    s->states =
        pq_alloc_array(ctx, ptqc_gb_count(&artifact->iface, PTQC_GB_STATES),
                       sizeof *s->states);
    s->context = desc != NULL ? desc->context : 0;
    if (s->programs == NULL || s->memories == NULL || s->symbols == NULL ||
        s->states == NULL) {
        st = PTQC_E_RESOURCE;
        goto done;
    }
    if (desc != NULL && desc->huge_pages != 0) {
        PQ_TRY_OR(done, pq_resident_init(ctx, artifact, &s->resident));
    }
    PQ_TRY_OR(done, load_all(s, desc));
    st = pq_transfers_plan(s, &s->transfers);
done:
    if (st != PTQC_OK) {
        ptqc_session_destroy(s);
        return st;
    }
    *out = s;
    return PTQC_OK;
}

void
ptqc_session_destroy(ptqc_session *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < PQ_SHAPE_LIMIT; i++) {
        pq_shape_deinit(s, &s->shapes[i]);
    }
    for (uint32_t i = 0; s->programs != NULL && i < s->artifact->program_count;
         i++) {
        if (s->programs[i].exe != NULL) {
            s->programs[i].plugin->table->vt->exe_free(s->programs[i].exe);
        }
        pq_free(s->ctx, s->programs[i].constants);
    }
    for (uint32_t i = 0; s->states != NULL && s->memories != NULL &&
                         i < ptqc_gb_count(&s->artifact->iface, PTQC_GB_STATES);
         i++) {
        pq_storage_free(s->ctx, &s->memories[s->states[i].memory],
                        &s->states[i].storage);
    }
    pq_transfers_deinit(s->ctx, &s->transfers);
    pq_resident_deinit(s->ctx, &s->resident);
    pq_free(s->ctx, s->states);
    pq_free(s->ctx, s->programs);
    pq_free(s->ctx, s->memories);
    pq_free(s->ctx, s->symbols);
    pq_plugins_destroy(s->plugins);
    pq_free(s->ctx, s);
}

void
ptqc_session_reset(ptqc_session *s)
{
    for (uint32_t i = 0; i < ptqc_gb_count(&s->artifact->iface, PTQC_GB_STATES);
         i++) {
        s->states[i].is_stale = true;
    }
}

// ---- running --------------------------------------------------------------

int64_t
pq_context_capacity(const ptqc_gb_symbol *symbol, uint64_t asked)
{
    int64_t most = symbol->max / symbol->multiple; // in multiples
    int64_t steps = pq_ceil_div(PQ_DEFAULT_CONTEXT, symbol->multiple);
    int64_t capacity;
    steps = steps < most ? steps : most;
    if (asked > 0) {
        uint64_t want = asked < INT64_MAX ? asked : INT64_MAX;
        steps = pq_ceil_div((int64_t)want, symbol->multiple);
    }
    return pq_mul_i64(steps, symbol->multiple, &capacity) ? capacity
                                                          : INT64_MAX;
}

// Symbols that only states have.
static void
choose_capacities(ptqc_session *s)
{
    const ptqc_gb *g = &s->artifact->iface;
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_STATES); i++) {
        const ptqc_gb_value *v =
            ptqc_gb_value_at(g, ptqc_gb_u32_at(g, PTQC_GB_STATES, i));
        for (uint32_t d = 0; d < v->rank; d++) {
            const ptqc_gb_dim *dim =
                ptqc_gb_dim_at(g, ptqc_gb_value_dim(g, v, d));
            if (dim->op == PTQC_GB_DIM_SYMBOL && s->symbols[dim->value] < 0) {
                s->symbols[dim->value] = pq_context_capacity(
                    ptqc_gb_symbol_at(g, (uint32_t)dim->value), s->context);
            }
        }
    }
}

static ptqc_status
wrong_input(ptqc_session *s, uint32_t i, const char *what, int64_t expected,
            int64_t found)
{
    ptqc_tensor_info info;
    ptqc_artifact_input(s->artifact, i, &info);
    return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                   "input '%s': %s: expected %lld, found %lld", info.name, what,
                   (long long)expected, (long long)found);
}

// Takes symbol values from dims that are a plain symbol; -1 = not seen yet.
static ptqc_status
bind_symbols(ptqc_session *s, uint32_t i, const ptqc_tensor *t)
{
    const ptqc_gb *g = &s->artifact->iface;
    const ptqc_gb_value *v =
        ptqc_gb_value_at(g, ptqc_gb_u32_at(g, PTQC_GB_INPUTS, i));
    if (t->dtype != (ptqc_dtype)v->dtype) {
        ptqc_tensor_info info;
        ptqc_artifact_input(s->artifact, i, &info);
        return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                       "input '%s': expected dtype %s, found %s", info.name,
                       pq_dtype_name((ptqc_dtype)v->dtype),
                       pq_dtype_name(t->dtype));
    }
    if (t->rank != v->rank) {
        return wrong_input(s, i, "rank", v->rank, t->rank);
    }
    for (uint32_t d = 0; d < v->rank; d++) {
        const ptqc_gb_dim *dim = ptqc_gb_dim_at(g, ptqc_gb_value_dim(g, v, d));
        if (dim->op == PTQC_GB_DIM_SYMBOL && s->symbols[dim->value] < 0) {
            s->symbols[dim->value] = t->dims[d];
        }
    }
    return PTQC_OK;
}

static ptqc_status
check_symbols(ptqc_session *s)
{
    const ptqc_gb *g = &s->artifact->iface;
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_SYMBOLS); i++) {
        const ptqc_gb_symbol *symbol = ptqc_gb_symbol_at(g, i);
        ptqc_str name = ptqc_gb_str(g, symbol->name);
        int64_t x = s->symbols[i];
        if (x < 0) {
            return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                           "no input tells the value of dimension '%.*s'",
                           (int)name.n, name.p);
        }
        if (x < symbol->min || x > symbol->max || x % symbol->multiple != 0) {
            return PQ_FAIL(s->ctx, PTQC_E_INPUT,
                           "dimension '%.*s': expected %lld..%lld in steps "
                           "of %lld, found %lld",
                           (int)name.n, name.p, (long long)symbol->min,
                           (long long)symbol->max, (long long)symbol->multiple,
                           (long long)x);
        }
    }
    return PTQC_OK;
}

static ptqc_status
bind_input(ptqc_session *s, pq_shape *shape, uint32_t i, const ptqc_tensor *t)
{
    const ptqc_gb *g = &s->artifact->iface;
    pq_slot *slot = &shape->slots[ptqc_gb_u32_at(g, PTQC_GB_INPUTS, i)];
    for (uint32_t d = 0; d < t->rank; d++) {
        if (t->dims[d] != slot->tensor.dims[d]) {
            return wrong_input(s, i, "dimension", slot->tensor.dims[d],
                               t->dims[d]);
        }
    }
    if (t->bytes < slot->tensor.bytes) {
        return wrong_input(s, i, "bytes", (int64_t)slot->tensor.bytes,
                           (int64_t)t->bytes);
    }
    // Only copied to devices: read where it is.
    const pq_storage *own = pq_shape_storage(
        s, shape, PQ_HOST_MEMORY, ptqc_gb_u32_at(g, PTQC_GB_INPUTS, i));
    bool fits =
        own->host == NULL || (t->bytes >= slot->need_bytes &&
                              (uintptr_t)t->data % slot->need_align == 0);
    slot->tensor.data = fits ? t->data : own->host;
    if (!fits && slot->tensor.bytes > 0) {
        memcpy(own->host, t->data, slot->tensor.bytes);
    }
    return PTQC_OK;
}

static ptqc_status
zero_stale_states(ptqc_session *s)
{
    const ptqc_gb *g = &s->artifact->iface;
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_STATES); i++) {
        pq_state *state = &s->states[i];
        if (state->is_stale && !pq_storage_is_empty(&state->storage)) {
            PQ_TRY(pq_storage_zero(s->ctx, &s->memories[state->memory],
                                   &state->storage, state->bytes));
        }
        state->is_stale = false;
    }
    return PTQC_OK;
}

static ptqc_binding
binding_of(const ptqc_session *s, const pq_shape *shape, uint32_t memory,
           uint32_t value)
{
    const pq_slot *slot = &shape->slots[value];
    return memory == PQ_HOST_MEMORY
               ? (ptqc_binding){.host = slot->tensor.data,
                                .bytes = slot->need_bytes}
               : (ptqc_binding){
                     .buf = pq_shape_storage(s, shape, memory, value)->buf,
                     .bytes = slot->need_bytes};
}

static ptqc_status
submit_step(ptqc_session *s, pq_shape *shape, uint32_t index,
            ptqc_profile_fn profile, void *user)
{
    const ptqc_artifact *a = s->artifact;
    const pq_file_step *file = &a->steps[index];
    pq_shape_step *step = &shape->steps[index];
    uint32_t memory = s->programs[file->program].memory;
    for (uint32_t i = 0; i < step->binding_count; i++) {
        step->bindings[i] =
            binding_of(s, shape, memory, a->operands[file->first_operand + i]);
    }
    ptqc_submit submit = {
        .h = {.size = sizeof submit},
        .bindings = step->bindings,
        .binding_count = step->binding_count,
        .workspace = {.host = shape->workspaces[memory].host,
                      .buf = shape->workspaces[memory].buf,
                      .bytes = shape->workspace_bytes[memory]},
        .profile = profile,
        .profile_user = user,
    };
    const pq_plugin *plugin = s->programs[file->program].plugin;
    ptqc_call call;
    pq_call_init(&call, s->ctx, plugin);
    ptqc_be_status st = plugin->table->vt->submit(&call, step->spec, &submit);
    return pq_call_end(&call, st, "run");
}

static ptqc_status
deliver(ptqc_session *s, pq_shape *shape, uint32_t i, ptqc_tensor *out)
{
    const ptqc_gb *g = &s->artifact->iface;
    const ptqc_tensor *from =
        &shape->slots[ptqc_gb_u32_at(g, PTQC_GB_OUTPUTS, i)].tensor;
    if (out->data == NULL) {
        *out = *from;
        return PTQC_OK;
    }
    if (out->bytes < from->bytes) {
        return PQ_FAIL(s->ctx, PTQC_E_USAGE,
                       "output %u: needs %zu bytes, given %zu", i, from->bytes,
                       out->bytes);
    }
    void *to = out->data;
    if (from->bytes > 0) {
        memcpy(to, from->data, from->bytes);
    }
    *out = *from;
    out->data = to;
    return PTQC_OK;
}

static ptqc_status
run(ptqc_session *s, const ptqc_tensor *inputs, uint32_t input_count,
    ptqc_tensor *outputs, uint32_t output_count, ptqc_profile_fn profile,
    void *user)
{
    const ptqc_artifact *a = s->artifact;
    const ptqc_gb *g = &a->iface;
    if (input_count != ptqc_artifact_input_count(a) ||
        output_count != ptqc_artifact_output_count(a)) {
        return PQ_FAIL(s->ctx, PTQC_E_USAGE,
                       "expected %u inputs and %u outputs, given %u and %u",
                       ptqc_artifact_input_count(a),
                       ptqc_artifact_output_count(a), input_count,
                       output_count);
    }
    for (uint32_t i = 0; i < ptqc_gb_count(g, PTQC_GB_SYMBOLS); i++) {
        s->symbols[i] = -1;
    }
    for (uint32_t i = 0; i < input_count; i++) {
        PQ_TRY(bind_symbols(s, i, &inputs[i]));
    }
    choose_capacities(s);
    PQ_TRY(check_symbols(s));
    pq_shape *shape = NULL;
    PQ_TRY(pq_session_shape(s, &shape));
    shape->last_used = ++s->clock;
    for (uint32_t i = 0; i < input_count; i++) {
        PQ_TRY(bind_input(s, shape, i, &inputs[i]));
    }
    PQ_TRY(zero_stale_states(s));
    for (uint32_t i = 0; i < a->step_count; i++) {
        PQ_TRY(pq_check_cancelled(s->ctx));
        PQ_TRY(pq_transfers_run(s, shape, i));
        PQ_TRY(submit_step(s, shape, i, profile, user));
    }
    PQ_TRY(pq_transfers_run(s, shape, a->step_count));
    for (uint32_t i = 0; i < output_count; i++) {
        PQ_TRY(deliver(s, shape, i, &outputs[i]));
    }
    return PTQC_OK;
}

ptqc_status
ptqc_session_run(ptqc_session *s, const ptqc_tensor *inputs,
                 uint32_t input_count, ptqc_tensor *outputs,
                 uint32_t output_count)
{
    return run(s, inputs, input_count, outputs, output_count, NULL, NULL);
}

// ---- profile --------------------------------------------------------------

typedef struct pq_profile_adapter {
    ptqc_profile_row_fn fn;
    void *user;
} pq_profile_adapter;

static void
adapt_row(void *user, const ptqc_step_profile *step)
{
    const pq_profile_adapter *adapter = user;
    char label[128];
    size_t n = step->label.n < sizeof label ? step->label.n : sizeof label - 1;
    memcpy(label, step->label.p, n);
    label[n] = '\0';
    adapter->fn(adapter->user, &(ptqc_profile_row){.label = label,
                                                   .ns = step->ns,
                                                   .ops = step->ops,
                                                   .bytes = step->bytes});
}

ptqc_status
ptqc_session_profile(ptqc_session *s, const ptqc_tensor *inputs,
                     uint32_t input_count, ptqc_tensor *outputs,
                     uint32_t output_count, ptqc_profile_row_fn fn, void *user)
{
    pq_profile_adapter adapter = {.fn = fn, .user = user};
    return run(s, inputs, input_count, outputs, output_count, adapt_row,
               &adapter);
}
