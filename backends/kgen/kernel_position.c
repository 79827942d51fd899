// SPDX-License-Identifier: Apache-2.0
//
// ROPE and KV_UPDATE steps (skeletons/rope.kg, kv_update.kg).
#include "kernel_axes.h"
#include "kv_layout.h"

// ---- rope ------------------------------------------------------------------

static bool
is_f32(const pq_kg_tensor *t)
{
    return t != NULL && t->dtype == PTQC_F32;
}

void
pq_kg_source_rope(pq_kg_module *m)
{
    const pq_kg_job *job = m->job;
    if (!is_f32(pq_kg_in(job, 0)) || !is_f32(pq_kg_in(job, 2)) ||
        !is_f32(pq_kg_out(job, 0)) || pq_kg_in(job, 1) == NULL ||
        pq_kg_in(job, 0)->rank != 4) {
        pq_kg_module_decline(m, "rope of this type");
        return;
    }
    bool interleaved = pq_kg_i64(job, 1) != 0;
    static const char *const WORDS[] = {"count", "row_items", "pairs", "heads",
                                        "tokens"};
    pq_kg_module_name(m, interleaved ? "rope_interleaved" : "rope");
    m->uses |= PQ_KG_USES_MATH;
    pq_kg_module_define(m, "FIRST(i)", interleaved ? "2u * (i)" : "(i)");
    pq_kg_module_define(m, "SECOND(i)",
                        interleaved ? "2u * (i) + 1u" : "(i) + pairs");
    for (uint32_t i = 0; i < 5; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_module_words(m, "stride", 3);
    pq_kg_module_buffer(m, 0, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 1, "positions", PQ_KG_READS);
    pq_kg_module_buffer(m, 2, "frequencies", PQ_KG_READS);
    pq_kg_module_buffer(m, 3, "y", PQ_KG_WRITES);
    pq_kg_module_body(m, pq_kg_text_rope);
}

void
pq_kg_launch_rope(pq_kg_launcher *l)
{
    const pq_kg_tensor *x = pq_kg_in(l->job, 0), *f = pq_kg_in(l->job, 2);
    const pq_kg_tensor *y = pq_kg_out(l->job, 0);
    pq_kg_axes a;
    pq_kg_launch_axes(l, x, 0, &a);
    if (!PQ_KG_NEED(l, f->rank == 1 && f->dims[0] <= a.dims[3] / 2 &&
                           y->rank == 4)) {
        return;
    }
    for (uint32_t i = 0; i < 4; i++) {
        PQ_KG_NEED(l, x->dims[i] == y->dims[i]);
    }
    pq_kg_need_positions(l, pq_kg_in(l->job, 1), a.dims[0], a.dims[2]);
    int64_t items = a.dims[3] - f->dims[0];
    int64_t count = a.dims[0] * a.dims[1] * a.dims[2] * items;
    const int64_t words[] = {count, items, f->dims[0], a.dims[1], a.dims[2]};
    for (uint32_t i = 0; i < 5; i++) {
        pq_kg_put(l, words[i]);
    }
    for (uint32_t i = 0; i < 3; i++) {
        pq_kg_put(l, a.strides[i]);
    }
    pq_kg_launch_items(l, count, pq_kg_flat_local(l->limits));
    l->out->work_ops = (uint64_t)count * 6;
}

// ---- updates of states -----------------------------------------------------

#define UPDATE_LOCAL 32u

// The scale of a row of codes, as dynamic_quantize makes it, by the group.
static const char SCALE_TEXT[] =
    "f32 a = 0.0f;\n"
    "for (u32 i = LOCAL_ID; i < row_words * LANES; i += LOCAL_SIZE) {\n"
    "    a = max_f32(a, ABS(AS_F32(x[from + i])));\n"
    "}\n"
    "largest[LOCAL_ID] = a;\n"
    "BARRIER();\n"
    "for (u32 i = 0u; i < LOCAL_SIZE; i++) {\n"
    "    a = max_f32(a, largest[i]);\n"
    "}\n"
    "f32 scale = div_exact(a, 127.0f);\n"
    "scale = scale < 1.17549435e-38f ? 0.0f : scale;\n"
    "f32 inverse = scale == 0.0f ? 0.0f : div_exact(1.0f, scale);\n"
    "if (LOCAL_ID == 0u) {\n"
    "    scales[to] = AS_U32(scale);\n"
    "}\n";

static const char *
convert_text(uint32_t dtype)
{
    return dtype == PTQC_F32   ? "u32 element = AS_U32(v);\n"
           : dtype == PTQC_F16 ? "u32 element = BITS_f16(v);\n"
           : dtype == PTQC_BF16
               ? "u32 element = BITS_bf16(v);\n"
               : "PRECISE f32 t = v * inverse;\n"
                 "u32 element = U32(code_of(t, -127, 127, 0)) & 0xffu;\n";
}

static const char *
update_fault(const pq_kg_job *job)
{
    const pq_kg_tensor *state = pq_kg_out(job, 0), *x = pq_kg_in(job, 2);
    bool fits = state != NULL && state->rank == 4 &&
                pq_kv_is_dtype(state->dtype) && is_f32(x) && x->rank == 4 &&
                pq_kg_in(job, 3) != NULL;
    bool codes = fits && state->dtype == PTQC_I8;
    if (!fits || codes != is_f32(pq_kg_out(job, 1))) {
        return "update of a state of this type";
    }
    return pq_kg_i64(job, 1) == PQ_KV_ROWS ? NULL
                                           : "update of a state in lines";
}

void
pq_kg_source_kv_update(pq_kg_module *m)
{
    const char *why = update_fault(m->job);
    if (why != NULL) {
        pq_kg_module_decline(m, why);
        return;
    }
    static const char *const WORDS[] = {"rows", "heads", "tokens", "capacity",
                                        "row_words"};
    uint32_t dtype = pq_kg_out(m->job, 0)->dtype;
    uint32_t bytes = pq_kg_element_bytes(dtype);
    bool codes = dtype == PTQC_I8;
    pq_kg_module_name(m, "kv_update_%s", pq_kg_dtype_name(dtype));
    m->uses |= codes ? PQ_KG_USES_VALUES | PQ_KG_USES_EXACT : 0;
    pq_kg_module_define(m, "LANES", "%uu", 4 / bytes);
    pq_kg_module_define(m, "SHIFT", "%uu", 8 * bytes % 32);
    for (uint32_t i = 0; i < 5; i++) {
        pq_kg_module_word(m, WORDS[i]);
    }
    pq_kg_module_words(m, "stride", 3);
    pq_kg_module_buffer(m, 2, "x", PQ_KG_READS);
    pq_kg_module_buffer(m, 3, "positions", PQ_KG_READS);
    pq_kg_module_buffer(m, 4, "state", PQ_KG_WRITES);
    if (codes) {
        pq_kg_module_buffer(m, 5, "scales", PQ_KG_WRITES);
        pq_kg_module_shared(m, "f32", "largest", UPDATE_LOCAL);
    }
    pq_kg_module_hook(m, "scale", codes ? SCALE_TEXT : "");
    pq_kg_module_hook(m, "convert", convert_text(dtype));
    pq_kg_module_body(m, pq_kg_text_kv_update);
}

void
pq_kg_launch_kv_update(pq_kg_launcher *l)
{
    const pq_kg_tensor *state = pq_kg_out(l->job, 0);
    const pq_kg_tensor *scales = pq_kg_out(l->job, 1);
    const char *why = update_fault(l->job);
    pq_kg_axes a;
    if (!pq_kg_launch_need(l, why == NULL, why)) {
        return;
    }
    pq_kg_launch_axes(l, pq_kg_in(l->job, 2), 0, &a);
    int64_t bytes = pq_kg_element_bytes(state->dtype) * state->dims[3];
    PQ_KG_NEED(l, state->dims[0] == a.dims[0] && state->dims[1] == a.dims[1] &&
                      state->dims[3] == a.dims[3] && bytes % 4 == 0);
    PQ_KG_NEED(l, scales == NULL ||
                      (scales->rank == 3 && scales->dims[0] == state->dims[0] &&
                       scales->dims[1] == state->dims[1] &&
                       scales->dims[2] == state->dims[2]));
    pq_kg_need_positions(l, pq_kg_in(l->job, 3), a.dims[0], a.dims[2]);
    int64_t rows = a.dims[0] * a.dims[1] * a.dims[2];
    const int64_t words[] = {rows, a.dims[1], a.dims[2], state->dims[2],
                             bytes / 4};
    for (uint32_t i = 0; i < 5; i++) {
        pq_kg_put(l, words[i]);
    }
    for (uint32_t i = 0; i < 3; i++) {
        pq_kg_put(l, a.strides[i]);
    }
    pq_kg_launch_rows(l, rows, UPDATE_LOCAL);
}
