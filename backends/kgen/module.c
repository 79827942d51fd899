// SPDX-License-Identifier: Apache-2.0
//
// Putting a kernel's text together (module.h). What differs between languages
// is the prelude, and the declarations in here.
#include "module.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SUBGROUP_SPEC 2u // the last constant that the generator declares

void
pq_kg_module_decline(pq_kg_module *m, const char *why)
{
    if (m->st == PTQC_BE_OK) {
        m->st = PTQC_BE_UNSUPPORTED;
        m->why = why;
    }
}

void
pq_kg_module_no_memory(pq_kg_module *m)
{
    if (m->st == PTQC_BE_OK) {
        m->st = PTQC_BE_RESOURCE;
        m->why = "out of memory";
    }
}

void
pq_kg_module_name(pq_kg_module *m, const char *format, ...)
{
    char name[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(name, sizeof name, format, args);
    va_end(args);
    pq_kg_text_add(&m->name, "%s", name);
}

void
pq_kg_module_buffer(pq_kg_module *m, uint32_t arg, const char *name,
                    uint32_t flags)
{
    uint32_t i = m->out->buffer_count;
    if (i >= PQ_KG_BUFFERS_MAX) {
        pq_kg_module_decline(m, "too many operands for one kernel");
        return;
    }
    bool writes = (flags & PQ_KG_WRITES) != 0;
    m->out->buffers[i] = (pq_kg_buffer){.arg = arg, .is_written = writes};
    m->out->buffer_count = i + 1;
    const char *access = writes ? "" : "readonly ";
    pq_kg_text_add(&m->storage,
                   "layout(std430, binding = %u) %sbuffer Buffer%u\n"
                   "{\n    u32 %s[];\n};\n",
                   i, access, i, name);
    for (uint32_t n = 2; n <= 4; n += 2) {
        if ((flags & (n == 4 ? PQ_KG_WIDE : PQ_KG_PAIRS)) != 0) {
            pq_kg_text_add(&m->storage,
                           "layout(std430, binding = %u) %sbuffer Buffer%u%s\n"
                           "{\n    u32x%u %s%u[];\n};\n",
                           i, access, i, n == 4 ? "Wide" : "Pairs", n, name, n);
        }
    }
}

void
pq_kg_module_word(pq_kg_module *m, const char *name)
{
    pq_kg_text_add(&m->names, "#define %s W(%uu)\n", name, m->word_count);
    m->word_count++;
}

void
pq_kg_module_words(pq_kg_module *m, const char *name, uint32_t count)
{
    pq_kg_text_add(&m->names, "#define %s(i) W(%uu + (i))\n", name,
                   m->word_count);
    m->word_count += count;
}

void
pq_kg_module_spec(pq_kg_module *m, const char *name)
{
    m->spec_count++;
    pq_kg_text_add(&m->constants,
                   "layout(constant_id = %u) const u32 %s = 1u;\n",
                   SUBGROUP_SPEC + m->spec_count, name);
}

bool
pq_kg_module_may(pq_kg_module *m, uint32_t feature)
{
    bool may = (m->dialect->features & feature) != 0;
    m->out->features |= may ? feature : 0;
    return may;
}

void
pq_kg_module_define(pq_kg_module *m, const char *name, const char *format, ...)
{
    char value[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(value, sizeof value, format, args);
    va_end(args);
    pq_kg_text_add(&m->names, "#define %s %s\n", name, value);
}

void
pq_kg_module_shared(pq_kg_module *m, const char *type, const char *name,
                    uint32_t count)
{
    pq_kg_text_add(&m->storage, "shared %s %s[%u];\n", type, name, count);
}

void
pq_kg_module_array(pq_kg_module *m, const char *type, const char *name,
                   const char *count)
{
    pq_kg_text_add(&m->storage, "shared %s %s[%s];\n", type, name, count);
}

void
pq_kg_module_body(pq_kg_module *m, const char *skeleton)
{
    m->skeleton = skeleton;
}

void
pq_kg_module_hook(pq_kg_module *m, const char *name, const char *text)
{
    if (m->hook_count >= PQ_KG_HOOKS_MAX) {
        pq_kg_module_decline(m, "too many hooks");
        return;
    }
    m->hooks[m->hook_count] = (pq_kg_hook){name, text};
    m->hook_count++;
}

const char *
pq_kg_module_text(pq_kg_module *m, const pq_kg_text *t)
{
    const char *p = pq_kg_text_get(t);
    if (p == NULL) {
        pq_kg_module_no_memory(m);
    }
    return p;
}

// ---- the body --------------------------------------------------------------

static const char *
find_hook(const pq_kg_module *m, const char *name, size_t n)
{
    for (uint32_t i = 0; i < m->hook_count; i++) {
        if (strlen(m->hooks[i].name) == n &&
            memcmp(m->hooks[i].name, name, n) == 0) {
            return m->hooks[i].text;
        }
    }
    return NULL;
}

// One line of the skeleton: a hook, or text.
static void
add_line(pq_kg_module *m, pq_kg_text *t, const char *line, size_t n)
{
    size_t indent = 0;
    while (indent < n && line[indent] == ' ') {
        indent++;
    }
    bool is_hook = indent < n && line[indent] == '@';
    if (is_hook) {
        const char *text = find_hook(m, line + indent + 1, n - indent - 1);
        if (text == NULL) {
            pq_kg_module_decline(m, "skeleton with an unknown hook");
            return;
        }
        pq_kg_text_indented(t, text, (uint32_t)indent + 4);
        return;
    }
    bool is_bare = n == 0 || line[0] == '#';
    pq_kg_text_add(t, "%*s", is_bare ? 0 : 4, "");
    pq_kg_text_bytes(t, line, (uint32_t)n);
    pq_kg_text_bytes(t, "\n", 1);
}

static void
add_body(pq_kg_module *m, pq_kg_text *t)
{
    pq_kg_text_add(t, "void main()\n{\n");
    const char *p = m->skeleton;
    while (p != NULL && *p != '\0') {
        const char *end = strchr(p, '\n');
        size_t n = end != NULL ? (size_t)(end - p) : strlen(p);
        add_line(m, t, p, n);
        p += n + (end != NULL ? 1 : 0);
    }
    pq_kg_text_add(t, "}\n");
}

// ---- as a whole ------------------------------------------------------------

static void
add_words(pq_kg_module *m, pq_kg_text *t)
{
    if (m->word_count > PQ_KG_WORDS_MAX) {
        m->out->has_table = true;
        pq_kg_text_add(t,
                       "layout(std430, binding = %u) readonly buffer Table\n"
                       "{\n    u32 table[];\n};\n#define W(i) table[i]\n",
                       m->out->buffer_count);
    } else if (m->word_count > 0) {
        pq_kg_text_add(t,
                       "layout(push_constant, std430) uniform Words\n"
                       "{\n    u32 words[%u];\n};\n#define W(i) words[i]\n",
                       m->word_count);
    }
}

// Whether elements become f16: not what access.kg defines, but what the rest
// says.
static bool
makes_halves(const pq_kg_module *m, const char *names)
{
    static const char *const MAKERS[] = {"BITS_f16(", "f32_to_f16("};
    bool makes = false;
    for (uint32_t k = 0; k < 2 && !makes; k++) {
        makes = strstr(names, MAKERS[k]) != NULL ||
                (m->skeleton != NULL && strstr(m->skeleton, MAKERS[k]) != NULL);
        for (uint32_t i = 0; i < m->hook_count && !makes; i++) {
            makes = strstr(m->hooks[i].text, MAKERS[k]) != NULL;
        }
    }
    return makes;
}

static void
add_head(const pq_kg_module *m, pq_kg_text *t, const char *name)
{
    bool has_dot = (m->out->features & PQ_KG_DOT) != 0;
    bool has_subgroups = (m->out->features & PQ_KG_SUBGROUPS) != 0;
    pq_kg_text_add(t, "#version 450\n"
                      "#extension GL_EXT_control_flow_attributes : enable\n");
    if (has_dot) {
        pq_kg_text_add(t, "#extension GL_EXT_spirv_intrinsics : enable\n"
                          "#define HAS_DOT\n");
    }
    if ((m->out->features & PQ_KG_HALVES) != 0) {
        pq_kg_text_add(
            t,
            "%s#extension GL_EXT_shader_explicit_arithmetic_types_float16 : "
            "enable\n#define HAS_HALVES\n",
            has_dot ? "" : "#extension GL_EXT_spirv_intrinsics : enable\n");
    }
    if (has_subgroups) {
        pq_kg_text_add(
            t, "#extension GL_KHR_shader_subgroup_basic : enable\n"
               "#extension GL_KHR_shader_subgroup_shuffle : enable\n"
               "#extension GL_KHR_shader_subgroup_shuffle_relative : enable\n"
               "#define HAS_SUBGROUPS\n");
    }
    pq_kg_text_add(t, "// %s\n%s\n", name != NULL ? name : "",
                   pq_kg_text_prelude_glsl);
    pq_kg_text_add(t, "layout(local_size_x_id = 0) in;\n"
                      "layout(constant_id = 1) const u32 CAREFUL = 0u;\n");
    if (has_subgroups) {
        pq_kg_text_add(t,
                       "layout(constant_id = %u) const u32 SUBGROUP = %uu;\n",
                       SUBGROUP_SPEC, PQ_KG_SUBGROUP_MIN);
    }
}

ptqc_be_status
pq_kg_module_finish(pq_kg_module *m)
{
    pq_kg_text t = {.mem = m->mem};
    const char *name = pq_kg_module_text(m, &m->name);
    const pq_kg_text *parts[] = {&m->constants, &m->storage, &m->names};
    const char *texts[3];
    for (uint32_t i = 0; i < 3; i++) {
        texts[i] = pq_kg_module_text(m, parts[i]);
    }
    if (m->st != PTQC_BE_OK) {
        return m->st;
    }
    if (makes_halves(m, texts[2])) {
        (void)pq_kg_module_may(m, PQ_KG_HALVES);
    }
    add_head(m, &t, name);
    pq_kg_text_add(&t, "%s\n%s", texts[0], pq_kg_text_access);
    uint32_t uses = m->uses;
    if ((uses & PQ_KG_USES_MATH) != 0) {
        uses |= PQ_KG_USES_VALUES | PQ_KG_USES_EXACT;
    }
    const char *const libraries[] = {pq_kg_text_values, pq_kg_text_exact,
                                     pq_kg_text_math,   pq_kg_text_blocks,
                                     pq_kg_text_rows,   pq_kg_text_wide};
    for (uint32_t i = 0; i < 6; i++) {
        if ((uses >> i & 1) != 0) {
            pq_kg_text_add(&t, "\n%s", libraries[i]);
        }
    }
    pq_kg_text_add(&t, "\n// ---- %s\n\n%s", name, texts[1]);
    add_words(m, &t);
    pq_kg_text_add(&t, "%s\n", texts[2]);
    add_body(m, &t);
    m->out->name = name;
    m->out->text = pq_kg_module_text(m, &t);
    m->out->text_bytes = t.count;
    return m->st;
}
