// SPDX-License-Identifier: Apache-2.0
//
// What the plugin tells about itself: targets, devices, rules; each record is
// checked for what the header demands of it.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/dtype.h"
#include "base/vec.h"
#include "tools/conform/conform.h"

void
pq_result_say(pq_result *r, pq_verdict verdict, const char *format, ...)
{
    if (r->verdict >= verdict && r->verdict != PQ_NOT_RUN) {
        return;
    }
    r->verdict = verdict;
    va_list args;
    va_start(args, format);
    vsnprintf(r->text, sizeof r->text, format, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static void
complain(pq_subject *s, const char *format, ...)
{
    if (s->complaint[0] != '\0') {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(s->complaint, sizeof s->complaint, format, args);
    va_end(args);
}

static bool
is_sound(pq_subject *s, const ptqc_hdr *record, uint32_t type, size_t least,
         const char *what)
{
    if (record->type != type) {
        complain(s, "%s emits a record of type %u", what, record->type);
        return false;
    }
    if (record->size < least) {
        complain(s, "%s emits a record of %u bytes, its type has %zu", what,
                 record->size, least);
        return false;
    }
    return true;
}

static void
copy_text(char *to, size_t room, ptqc_str from)
{
    snprintf(to, room, "%.*s", (int)(from.n < room ? from.n : room - 1),
             from.n > 0 ? from.p : "");
}

// ---- targets and devices --------------------------------------------------

typedef struct pq_search {
    pq_subject *s;
    const char *wanted; // NULL: the first
    bool found;
} pq_search;

static ptqc_be_status
take_target(void *user, const ptqc_hdr *record)
{
    pq_search *search = user;
    ptqc_target t;
    if (!is_sound(search->s, record, PTQC_REC_TARGET, sizeof t, "targets")) {
        return PTQC_BE_OK;
    }
    pq_record_read(&t, sizeof t, record);
    if (t.name.n == 0 || t.name.n >= sizeof search->s->target) {
        complain(search->s, "targets emits a target without a usable name");
        return PTQC_BE_OK;
    }
    bool is_it =
        search->wanted == NULL
            ? !search->found
            : pq_str_equal_z((pq_str){t.name.p, t.name.n}, search->wanted);
    if (is_it) {
        copy_text(search->s->target, sizeof search->s->target, t.name);
        search->found = true;
    }
    return PTQC_BE_OK;
}

static bool
has_buffers(const ptqc_plugin_vt *vt)
{
    return vt->h.size >= sizeof *vt && vt->buf_alloc != NULL &&
           vt->buf_free != NULL && vt->buf_write != NULL &&
           vt->buf_read != NULL;
}

static ptqc_be_status
take_device(void *user, const ptqc_hdr *record)
{
    pq_search *search = user;
    ptqc_device d;
    if (!is_sound(search->s, record, PTQC_REC_DEVICE, sizeof d, "devices")) {
        return PTQC_BE_OK;
    }
    pq_record_read(&d, sizeof d, record);
    if (d.id.n == 0 || d.id.n >= sizeof search->s->device ||
        (d.state != PTQC_DEVICE_USABLE && d.state != PTQC_DEVICE_UNUSABLE)) {
        complain(search->s, "devices emits a device without id or state");
        return PTQC_BE_OK;
    }
    if (d.state == PTQC_DEVICE_UNUSABLE && d.reason.n == 0) {
        complain(search->s, "device %.*s is unusable without a reason",
                 (int)d.id.n, d.id.p);
    }
    if (search->found || d.state != PTQC_DEVICE_USABLE) {
        return PTQC_BE_OK;
    }
    search->s->is_far = (d.flags & PTQC_DEVICE_HOST_MEMORY) == 0;
    if (search->s->is_far && !has_buffers(search->s->vt)) {
        complain(search->s,
                 "device %.*s has memory of its own, but there is "
                 "no buf_alloc, buf_free, buf_write, buf_read",
                 (int)d.id.n, d.id.p);
        return PTQC_BE_OK;
    }
    copy_text(search->s->device, sizeof search->s->device, d.id);
    search->found = true;
    return PTQC_BE_OK;
}

// ---- rules ----------------------------------------------------------------

static void
take_operand(pq_subject *s, const ptqc_rule *rule, uint32_t i, pq_kit_rule *out)
{
    ptqc_operand_rule o;
    uint32_t stride = rule->operand_stride != 0
                          ? rule->operand_stride
                          : (uint32_t)sizeof(ptqc_operand_rule);
    const uint8_t *at = (const uint8_t *)rule->operands + (size_t)i * stride;
    pq_record_read(&o, sizeof o, (const ptqc_hdr *)(const void *)at);
    if (o.h.size < sizeof(ptqc_hdr) || o.role > PTQC_ROLE_OUTPUT ||
        o.index >= 256) {
        complain(s, "a rule of %.*s has a malformed operand", (int)rule->op.n,
                 rule->op.p);
        return;
    }
    pq_kit_operand *to = &out->operands[out->operand_count++];
    *to = (pq_kit_operand){.is_output = o.role == PTQC_ROLE_OUTPUT,
                           .index = o.index,
                           .dtypes = o.dtypes,
                           .granularities = o.granularities,
                           .flags = o.flags};
    memcpy(to->groups, o.group_sizes, sizeof to->groups);
}

static ptqc_status
keep_rule(pq_subject *s, const pq_kit_rule *rule)
{
    void *rules = s->rules;
    PQ_TRY(pq_vec_reserve(s->ctx, &rules, &s->rule_capacity,
                          (size_t)s->rule_count + 1, sizeof *s->rules));
    s->rules = rules;
    s->rules[s->rule_count++] = *rule;
    return PTQC_OK;
}

static ptqc_be_status
take_rule(void *user, const ptqc_hdr *record)
{
    pq_subject *s = user;
    ptqc_rule r;
    pq_kit_rule rule = {.op = PQ_OP_NONE};
    if (!is_sound(s, record, PTQC_REC_RULE, sizeof r, "rules")) {
        return PTQC_BE_OK;
    }
    pq_record_read(&r, sizeof r, record);
    if (!pq_opcode_parse(r.op.p, r.op.n, &rule.op)) {
        complain(s, "a rule names the unknown op '%.*s'", (int)r.op.n, r.op.p);
        return PTQC_BE_OK;
    }
    if (r.operand_count > PQ_KIT_OPERANDS || s->rule_count == PQ_KIT_RULES) {
        complain(s, "a rule of %.*s is over the kit's limits", (int)r.op.n,
                 r.op.p);
        return PTQC_BE_OK;
    }
    bool is_exact = r.numerics == PTQC_NUMERICS_BIT_EXACT;
    bool is_near = r.numerics == PTQC_NUMERICS_TOLERANCE && r.tolerance > 0.0f;
    if (!is_exact && !(is_near && isfinite(r.tolerance))) {
        complain(s, "a rule of %.*s does not state its numerics", (int)r.op.n,
                 r.op.p);
    }
    rule.numerics = r.numerics;
    rule.tolerance = is_exact ? 0.0f : r.tolerance;
    rule.rank_min = r.rank_min;
    rule.rank_max = r.rank_max;
    for (uint32_t i = 0; i < r.operand_count; i++) {
        take_operand(s, &r, i, &rule);
    }
    return keep_rule(s, &rule) == PTQC_OK ? PTQC_BE_OK : PTQC_BE_RESOURCE;
}

// ---- all ------------------------------------------------------------------

static ptqc_status
ask(pq_subject *s, pq_search *search,
    ptqc_be_status (*take)(void *user, const ptqc_hdr *record),
    ptqc_be_status (*function)(ptqc_call *, ptqc_instance *, ptqc_sink *),
    const char *doing)
{
    ptqc_sink sink = {.emit = take, .user = search};
    ptqc_call call;
    pq_call_init(&call, s->ctx, s->plugin);
    return pq_call_end(&call, function(&call, s->plugin->instance, &sink),
                       doing);
}

ptqc_status
pq_subject_open(pq_subject *s, const char *target)
{
    pq_search targets = {.s = s, .wanted = target};
    pq_search devices = {.s = s};
    s->vt = s->plugin->table->vt;
    PQ_TRY(ask(s, &targets, take_target, s->vt->targets, "targets"));
    if (!targets.found) {
        return PQ_FAIL(s->ctx, PTQC_E_USAGE, "the plugin has no target %s",
                       target == NULL ? "at all" : target);
    }
    PQ_TRY(ask(s, &devices, take_device, s->vt->devices, "devices"));
    ptqc_sink sink = {.emit = take_rule, .user = s};
    ptqc_call call;
    pq_call_init(&call, s->ctx, s->plugin);
    ptqc_be_status st =
        s->vt->rules(&call, s->plugin->instance,
                     (ptqc_str){s->target, strlen(s->target)}, &sink);
    PQ_TRY(pq_call_end(&call, st, "rules"));
    pq_call_init(&call, s->ctx, s->plugin);
    st = s->vt->rules(&call, s->plugin->instance,
                      (ptqc_str){"no such target", 14}, &sink);
    if (st != PTQC_BE_UNSUPPORTED) {
        complain(s, "rules takes an unknown target (status %d)", st);
    }
    return PTQC_OK;
}

// ---- printing -------------------------------------------------------------

// "f32|f16", "i8|u8 tensor|channel".
static void
print_operand(const pq_kit_operand *o, pq_strbuf *out)
{
    static const char *const grans[] = {"", "tensor", "channel", "group",
                                        "token"};
    const char *bar = "";
    if (o->dtypes == 0) {
        pq_strbuf_add_z(out, "-");
    }
    for (ptqc_dtype t = PTQC_F32; (int)t <= PQ_DTYPE_LAST; t++) {
        if ((o->dtypes & PTQC_DTYPE_BIT(t)) != 0) {
            pq_strbuf_addf(out, "%s%s", bar, pq_dtype_name(t));
            bar = "|";
        }
    }
    bar = " ";
    for (uint32_t g = PTQC_GRAN_TENSOR; g <= PTQC_GRAN_TOKEN; g++) {
        if ((o->granularities & PTQC_GRAN_BIT(g)) != 0) {
            pq_strbuf_addf(out, "%s%s", bar, grans[g]);
            bar = "|";
        }
    }
    if ((o->flags & PTQC_OPERAND_SYMMETRIC) != 0) {
        pq_strbuf_add_z(out, " sym");
    }
    if ((o->flags & PTQC_OPERAND_CONSTANT) != 0) {
        pq_strbuf_add_z(out, " const");
    }
    if ((o->flags & PTQC_OPERAND_OPTIONAL) != 0) {
        pq_strbuf_add_z(out, "?");
    }
}

void
pq_kit_rule_print(ptqc_ctx *ctx, const pq_kit_rule *rule, char *out,
                  size_t bytes)
{
    pq_strbuf text;
    pq_strbuf_init(&text, ctx);
    pq_strbuf_addf(&text, "%s(", pq_op_info_of(rule->op)->name);
    for (int is_output = 0; is_output < 2; is_output++) {
        const char *comma = "";
        for (uint32_t i = 0; i < rule->operand_count; i++) {
            if (rule->operands[i].is_output == (is_output != 0)) {
                pq_strbuf_add_z(&text, comma);
                print_operand(&rule->operands[i], &text);
                comma = ", ";
            }
        }
        pq_strbuf_add_z(&text, is_output == 0 ? ") -> " : "");
    }
    snprintf(out, bytes, "%s", text.failed ? "" : text.p);
    pq_strbuf_deinit(&text);
}
