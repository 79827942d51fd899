// SPDX-License-Identifier: Apache-2.0
//
// A plugin that breaks the contract in one way, EVIL, to prove that the
// conformance kit sees it. Otherwise it is sound: it runs relu of f32.
#include <fenv.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ptqc/graph_block.h"

#define EVIL_NOTHING      0
#define EVIL_WRONG        1  // the last element is off by one bit
#define EVIL_OUTSIDE      2  // writes behind the output
#define EVIL_BEFORE       3  // and before the workspace
#define EVIL_INPUT        4  // changes an input
#define EVIL_CRASH        5  // submit ends the process
#define EVIL_HANG         6  // compile does not come to an end
#define EVIL_SIGNALS      7  // installs a handler
#define EVIL_ROUNDING     8  // leaves another rounding mode
#define EVIL_LEAK         9  // keeps memory of the host
#define EVIL_TRUSTING     10 // loads damaged programs
#define EVIL_RANDOM       11 // compiles other bytes each time
#define EVIL_BOASTING     12 // its rule admits what check declines
#define EVIL_BREAKING     13 // check accepts what compile refuses
#define EVIL_SHY          14 // declines everything its rule admits
#define EVIL_STUBBORN     15 // compiles what check declines
#define EVIL_CHANGING_CWD 16
#define EVIL_EXPORTS      17 // a second symbol
#define EVIL_STALE        18 // reads the output before it is written
#define EVIL_UNKNOWN_OP   19 // a rule of no op
#define EVIL_KEEPING      20 // reads a constant that it has released

struct ptqc_instance {
    ptqc_host host;
    uint32_t compiled;
};

struct ptqc_exe {
    ptqc_instance *inst;
    uint64_t count;  // elements, of a plain shape
    uint64_t factor; // elements per unit of the symbol; 0: no symbol
};

struct ptqc_spec {
    ptqc_exe *exe;
    uint64_t count;
};

typedef struct evil_blob {
    uint64_t count, factor, sum, salt;
} evil_blob;

#if EVIL == EVIL_EXPORTS
PTQC_EXPORT int evil_second_export(void);

int
evil_second_export(void)
{
    return 1;
}
#endif

static ptqc_str
str_of(const char *z)
{
    return (ptqc_str){z, strlen(z)};
}

static ptqc_be_status
create(ptqc_call *call, const ptqc_host *host, ptqc_instance **out)
{
    (void)call;
    ptqc_instance *inst = host->vt->alloc(host->self, sizeof *inst, 16);
    if (inst == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *inst = (ptqc_instance){.host = *host};
    *out = inst;
    return PTQC_BE_OK;
}

static void
destroy(ptqc_instance *inst)
{
    inst->host.vt->free(inst->host.self, inst);
}

static ptqc_be_status
devices(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_device d = {.h = {.size = sizeof d, .type = PTQC_REC_DEVICE},
                           .id = str_of("evil:0"),
                           .state = PTQC_DEVICE_USABLE,
                           .flags = PTQC_DEVICE_HOST_MEMORY};
    return inst->host.vt->emit(sink, &d.h);
}

static ptqc_be_status
targets(ptqc_call *call, ptqc_instance *inst, ptqc_sink *sink)
{
    (void)call;
    const ptqc_target t = {.h = {.size = sizeof t, .type = PTQC_REC_TARGET},
                           .name = str_of("evil")};
    return inst->host.vt->emit(sink, &t.h);
}

static bool
is_evil_target(ptqc_str target)
{
    return target.n == 4 && memcmp(target.p, "evil", 4) == 0;
}

static ptqc_be_status
rules(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_sink *sink)
{
    (void)call;
    ptqc_operand_rule o[2] = {{.h = {.size = sizeof *o}}};
    o[0].dtypes = PTQC_DTYPE_BIT(PTQC_F32);
    if (EVIL == EVIL_BOASTING) {
        o[0].dtypes |= PTQC_DTYPE_BIT(PTQC_F16);
    }
    o[0].flags = EVIL == EVIL_KEEPING ? PTQC_OPERAND_CONSTANT : 0;
    o[1] = o[0];
    o[1].flags = 0;
    o[1].role = PTQC_ROLE_OUTPUT;
    const ptqc_rule r = {
        .h = {.size = sizeof r, .type = PTQC_REC_RULE},
        .op = str_of(EVIL == EVIL_UNKNOWN_OP ? "conjure" : "relu"),
        .operands = o,
        .operand_count = 2,
        .operand_stride = sizeof *o,
        .numerics = PTQC_NUMERICS_BIT_EXACT};
    return is_evil_target(target) ? inst->host.vt->emit(sink, &r.h)
                                  : PTQC_BE_UNSUPPORTED;
}

// Whether the plugin can run the node at all.
static bool
can_run(const ptqc_gb *g, uint32_t node)
{
    const ptqc_gb_node *n = ptqc_gb_node_at(g, node);
    return ptqc_gb_text_is(g, n->op, "relu") &&
           ptqc_gb_value_at(g, ptqc_gb_input(g, n, 0))->dtype == PTQC_F32;
}

static ptqc_be_status
check(ptqc_call *call, ptqc_instance *inst, ptqc_str target, ptqc_bytes graph,
      const uint32_t *nodes, uint64_t node_count, ptqc_sink *sink)
{
    (void)call;
    ptqc_gb g;
    ptqc_be_status st = PTQC_BE_OK;
    if (!is_evil_target(target) || !ptqc_gb_open(graph.p, graph.n, &g, NULL)) {
        return PTQC_BE_INVALID;
    }
    for (uint64_t i = 0; i < node_count && st == PTQC_BE_OK; i++) {
        if (EVIL != EVIL_SHY && can_run(&g, nodes[i])) {
            continue;
        }
        const ptqc_verdict v = {
            .h = {.size = sizeof v, .type = PTQC_REC_VERDICT},
            .node = nodes[i],
            .reason = str_of("only relu of f32")};
        st = inst->host.vt->emit(sink, &v.h);
    }
    return st;
}

// count = factor * symbol, or a plain number.
static evil_blob
measure(const ptqc_gb *g)
{
    evil_blob b = {.count = 1, .factor = 0};
    const ptqc_gb_value *v =
        ptqc_gb_value_at(g, ptqc_gb_u32_at(g, PTQC_GB_OUTPUTS, 0));
    for (uint32_t i = 0; i < v->rank; i++) {
        const ptqc_gb_dim *d = ptqc_gb_dim_at(g, ptqc_gb_value_dim(g, v, i));
        if (d->op == PTQC_GB_DIM_CONST) {
            b.count *= (uint64_t)d->value;
        } else {
            b.factor = 1;
        }
    }
    b.factor *= b.count;
    b.sum = b.count * 31 + b.factor * 17;
    return b;
}

// Maps the input's constant, gives it back and adds its first byte to b.
static void
read_released(ptqc_call *call, const ptqc_host *host, const ptqc_gb *g,
              evil_blob *b)
{
    uint32_t input = ptqc_gb_input(g, ptqc_gb_node_at(g, 0), 0);
    uint32_t constant = ptqc_gb_value_at(g, input)->constant;
    if (constant == PTQC_GB_NONE) {
        return;
    }
    uint64_t bytes, id = ptqc_gb_constant_at(g, constant)->id;
    const volatile uint8_t *p = host->vt->constant_map(call, id, &bytes);
    host->vt->constant_release(call, id);
    b->salt += p != NULL && bytes > 0 ? p[0] : 0;
}

static ptqc_be_status
compile(ptqc_call *call, ptqc_instance *inst, ptqc_str target,
        const ptqc_entry *entries, uint64_t entry_count, ptqc_sink *sink)
{
    (void)call;
    ptqc_gb g;
    if (!is_evil_target(target) || entry_count != 1 ||
        !ptqc_gb_open(entries[0].graph.p, entries[0].graph.n, &g, NULL)) {
        return PTQC_BE_INVALID;
    }
    bool is_refused =
        EVIL == EVIL_BREAKING || EVIL == EVIL_SHY || !can_run(&g, 0);
    if (is_refused && EVIL != EVIL_STUBBORN) {
        return PTQC_BE_UNSUPPORTED;
    }
    while (EVIL == EVIL_HANG) {
        (void)usleep(1000);
    }
    evil_blob b = measure(&g);
    b.salt = EVIL == EVIL_RANDOM ? ++inst->compiled : 0;
    if (EVIL == EVIL_KEEPING) {
        read_released(call, &inst->host, &g, &b);
    }
    const ptqc_blob record = {
        .h = {.size = sizeof record, .type = PTQC_REC_BLOB},
        .data = {&b, sizeof b}};
    return inst->host.vt->emit(sink, &record.h);
}

static ptqc_be_status
load(ptqc_call *call, ptqc_instance *inst, ptqc_str device, ptqc_bytes blob,
     const ptqc_bytes *constants, uint64_t constant_count, ptqc_exe **out)
{
    (void)call;
    (void)device;
    (void)constants;
    evil_blob b = {0};
    if (blob.n != sizeof b || constant_count != 0) {
        return PTQC_BE_CORRUPT;
    }
    memcpy(&b, blob.p, sizeof b);
    bool is_good = b.sum == b.count * 31 + b.factor * 17;
    bool is_small = b.count < 1 << 16 && b.factor < 1 << 16;
    if ((!is_good && EVIL != EVIL_TRUSTING) || !is_small ||
        (b.salt != 0 && EVIL != EVIL_RANDOM && EVIL != EVIL_TRUSTING)) {
        return PTQC_BE_CORRUPT;
    }
    ptqc_exe *exe = inst->host.vt->alloc(inst->host.self, sizeof *exe, 16);
    if (exe == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *exe = (ptqc_exe){inst, b.count, b.factor};
    *out = exe;
    return PTQC_BE_OK;
}

static void
exe_free(ptqc_exe *exe)
{
    exe->inst->host.vt->free(exe->inst->host.self, exe);
}

static ptqc_be_status
specialize(ptqc_call *call, ptqc_exe *exe, uint32_t entry, const int64_t *dims,
           uint64_t dim_count, ptqc_spec **out)
{
    (void)call;
    (void)entry;
    const ptqc_host *host = &exe->inst->host;
    ptqc_spec *s = host->vt->alloc(host->self, sizeof *s, 16);
    if (s == NULL) {
        return PTQC_BE_RESOURCE;
    }
    *s = (ptqc_spec){exe, exe->count};
    if (dim_count > 0) {
        s->count = exe->factor * (uint64_t)dims[0];
    }
    *out = s;
    return PTQC_BE_OK;
}

static ptqc_be_status
needs(ptqc_call *call, ptqc_spec *s, ptqc_sink *sink)
{
    (void)call;
    const ptqc_host_vt *vt = s->exe->inst->host.vt;
    const ptqc_needs n = {.h = {.size = sizeof n, .type = PTQC_REC_NEEDS},
                          .workspace_bytes = 64,
                          .workspace_align = 64};
    const ptqc_buffer_need b = {
        .h = {.size = sizeof b, .type = PTQC_REC_BUFFER_NEED},
        .bytes = s->count * sizeof(float),
        .align = 16};
    ptqc_be_status st = vt->emit(sink, &n.h);
    st = st == PTQC_BE_OK ? vt->emit(sink, &b.h) : st;
    return st == PTQC_BE_OK ? vt->emit(sink, &b.h) : st;
}

static void
spec_free(ptqc_spec *s)
{
    const ptqc_host *host = &s->exe->inst->host;
    if (EVIL != EVIL_LEAK) {
        host->vt->free(host->self, s);
    }
}

static void
ignore_signal(int number)
{
    (void)number;
}

static void
do_evil(const ptqc_spec *s, const ptqc_submit *run, float *x, float *y)
{
    uint8_t *workspace = run->workspace.host;
    switch (EVIL) {
    case EVIL_WRONG:
        if (s->count > 0) {
            uint32_t bits;
            memcpy(&bits, &y[s->count - 1], sizeof bits);
            bits ^= 1;
            memcpy(&y[s->count - 1], &bits, sizeof bits);
        }
        break;
    case EVIL_OUTSIDE:
        y[s->count] = 0.0f;
        break;
    case EVIL_BEFORE:
        workspace[-1] = 0;
        break;
    case EVIL_INPUT:
        if (s->count > 0) {
            x[0] = 12345.0f;
        }
        break;
    case EVIL_CRASH:
        abort();
    case EVIL_SIGNALS:
        (void)signal(SIGUSR2, ignore_signal);
        break;
    case EVIL_ROUNDING:
        (void)fesetround(FE_UPWARD);
        break;
    case EVIL_CHANGING_CWD:
        if (chdir("/tmp") != 0) {
            abort();
        }
        break;
    default: // evil elsewhere
        break;
    }
}

static ptqc_be_status
submit(ptqc_call *call, ptqc_spec *s, const ptqc_submit *run)
{
    (void)call;
    if (run->binding_count != 2 ||
        run->bindings[1].bytes < s->count * sizeof(float)) {
        return PTQC_BE_INVALID;
    }
    float *x = run->bindings[0].host, *y = run->bindings[1].host;
    for (uint64_t i = 0; i < s->count; i++) {
        float stale = EVIL == EVIL_STALE ? y[i] * 0x1p-40f : 0.0f;
        y[i] = x[i] < 0.0f ? 0.0f + stale : x[i];
    }
    do_evil(s, run, x, y);
    return PTQC_BE_OK;
}

static const ptqc_plugin_vt functions = {
    .h = {.size = sizeof(ptqc_plugin_vt), .type = PTQC_REC_PLUGIN_VT},
    .create = create,
    .destroy = destroy,
    .devices = devices,
    .targets = targets,
    .rules = rules,
    .check = check,
    .compile = compile,
    .load = load,
    .exe_free = exe_free,
    .specialize = specialize,
    .needs = needs,
    .spec_free = spec_free,
    .submit = submit,
};

static const ptqc_plugin plugin = {
    .h = {.size = sizeof(ptqc_plugin), .type = PTQC_REC_PLUGIN},
    .abi_version = PTQC_ABI_VERSION,
    .name = {"evil", 4},
    .version = {"6.66", 4},
    .vt = &functions,
};

PTQC_EXPORT ptqc_be_status ptqc_plugin_query_v0(const ptqc_host *offer,
                                                const ptqc_plugin **out);

ptqc_be_status
ptqc_plugin_query_v0(const ptqc_host *offer, const ptqc_plugin **out)
{
    *out = &plugin;
    return offer->abi_version == PTQC_ABI_VERSION ? PTQC_BE_OK
                                                  : PTQC_BE_INCOMPATIBLE;
}
