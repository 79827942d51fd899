// SPDX-License-Identifier: Apache-2.0
//
// Notes, placement report and metadata.

#include "compiler/report.h"

#include <string.h>

#include "base/json.h"
#include "base/vec.h"
#include "compiler/model.h"

void
pq_report_init(pq_report *r, ptqc_ctx *ctx)
{
    *r = (pq_report){.ctx = ctx};
    pq_arena_init(&r->arena, ctx);
}

void
pq_report_deinit(pq_report *r)
{
    if (r->ctx != NULL) {
        pq_free(r->ctx, r->notes);
        pq_arena_deinit(&r->arena);
    }
    *r = (pq_report){0};
}

static pq_str
keep(pq_report *r, pq_str s)
{
    const char *p = pq_arena_strndup(&r->arena, s.p, s.n);
    if (p == NULL) {
        r->st = PTQC_E_RESOURCE;
        return PQ_STR("");
    }
    return (pq_str){p, s.n};
}

void
pq_report_note(void *user, pq_str where, const char *what, const char *why)
{
    pq_report *r = user;
    void *notes = r->notes;
    if (r->st != PTQC_OK) {
        return;
    }
    r->st = pq_vec_reserve(r->ctx, &notes, &r->note_capacity,
                           (size_t)r->note_count + 1, sizeof *r->notes);
    if (r->st == PTQC_OK) {
        r->notes = notes;
        r->notes[r->note_count++] = (pq_note){.where = keep(r, where),
                                              .what = keep(r, pq_str_of(what)),
                                              .why = keep(r, pq_str_of(why))};
    }
}

// ---- placement ------------------------------------------------------------

void
pq_report_say_placement(pq_report *r, const pq_graph *g,
                        const pq_targets *targets,
                        const pq_placement *placement)
{
    for (uint32_t i = 0; i < placement->decline_count; i++) {
        const pq_decline *d = &placement->declines[i];
        uint32_t count = pq_decline_count_like(g, placement, i);
        if (!targets->all[d->target].is_asked || count == 0) {
            continue;
        }
        const pq_target *home =
            &targets->all[placement->target_of[d->op.index]];
        pq_say(r->ctx, PTQC_SEVERITY_WARNING,
               "%u x %s runs on %s instead of %s: %s", count,
               pq_op_info_of(pq_graph_op(g, d->op)->code)->name,
               home->plugin->name, targets->all[d->target].plugin->name,
               d->reason);
    }
}

// ---- metadata -------------------------------------------------------------

static void
write_source(pq_json_writer *w, const pq_model *m)
{
    pq_jw_begin_object(w, "source");
    pq_jw_str(w, "format", m->format);
    pq_jw_str(w, "producer", m->producer);
    pq_jw_begin_array(w, "files");
    for (uint32_t i = 0; i < m->file_count; i++) {
        char hex[65];
        pq_str name = m->files[i].path;
        for (size_t k = name.n; k > 0; k--) {
            if (name.p[k - 1] == '/') {
                name = (pq_str){name.p + k, name.n - k};
                break;
            }
        }
        pq_sha256_hex(&m->files[i].sha256, hex);
        pq_jw_begin_object(w, NULL);
        pq_jw_str(w, "name", name);
        pq_jw_i64(w, "bytes", (int64_t)m->files[i].bytes);
        pq_jw_str(w, "sha256", pq_str_of(hex));
        pq_jw_end_object(w);
    }
    pq_jw_end_array(w);
    pq_jw_end_object(w);
}

static void
write_count(void *user, const char *what, uint64_t count)
{
    pq_jw_i64(user, what, (int64_t)count);
}

static void
write_placement(pq_json_writer *w, const pq_metadata_desc *desc)
{
    const pq_placement *p = desc->placement;
    pq_jw_begin_array(w, "programs");
    for (uint32_t i = 0; i < p->part_count; i++) {
        const pq_target *t = &desc->targets->all[p->parts[i].target];
        pq_jw_begin_object(w, NULL);
        pq_jw_str(w, "plugin", pq_str_of(t->plugin->name));
        pq_jw_str(w, "target", t->text.target);
        pq_jw_i64(w, "ops", p->parts[i].op_count);
        pq_jw_end_object(w);
    }
    pq_jw_end_array(w);
    pq_jw_begin_array(w, "declined");
    for (uint32_t i = 0; i < p->decline_count; i++) {
        const pq_decline *d = &p->declines[i];
        uint32_t count = pq_decline_count_like(desc->graph, p, i);
        if (!desc->targets->all[d->target].is_asked || count == 0) {
            continue;
        }
        pq_jw_begin_object(w, NULL);
        pq_jw_str(
            w, "op",
            pq_str_of(
                pq_op_info_of(pq_graph_op(desc->graph, d->op)->code)->name));
        pq_jw_str(w, "by",
                  pq_str_of(desc->targets->all[d->target].plugin->name));
        pq_jw_i64(w, "count", count);
        pq_jw_str(w, "reason", pq_str_of(d->reason));
        pq_jw_end_object(w);
    }
    pq_jw_end_array(w);
}

static void
write_calibration(pq_json_writer *w, const pq_calib_facts *f)
{
    if (f->values == 0) {
        return;
    }
    pq_jw_begin_object(w, "calibration_facts");
    pq_jw_i64(w, "samples", (int64_t)f->samples);
    pq_jw_i64(w, "activations", (int64_t)f->values);
    pq_jw_i64(w, "numbers", (int64_t)f->numbers);
    pq_jw_i64(w, "outside_range", (int64_t)f->saturated);
    pq_jw_i64(w, "still_growing", (int64_t)f->late_values);
    pq_jw_i64(w, "channels", (int64_t)f->channels);
    pq_jw_i64(w, "never_active", (int64_t)f->dead_channels);
    pq_jw_end_object(w);
}

static void
write_notes(pq_json_writer *w, const pq_report *r)
{
    pq_jw_begin_array(w, "notes");
    for (uint32_t i = 0; i < r->note_count; i++) {
        pq_jw_begin_object(w, NULL);
        pq_jw_str(w, "where", r->notes[i].where);
        pq_jw_str(w, "what", r->notes[i].what);
        pq_jw_str(w, "why", r->notes[i].why);
        pq_jw_end_object(w);
    }
    pq_jw_end_array(w);
}

void
pq_report_metadata(pq_report *r, const pq_metadata_desc *desc, pq_strbuf *out)
{
    pq_json_writer w;
    pq_jw_init(&w, out);
    pq_jw_begin_object(&w, NULL);
    pq_jw_str(&w, "schema", PQ_STR("ptqc.artifact/1"));
    pq_jw_str(&w, "version", pq_str_of(ptqc_version()));
    write_source(&w, desc->model);
    pq_jw_begin_object(&w, "recipe");
    pq_recipe_write(desc->recipe, &w);
    pq_jw_end_object(&w);
    pq_jw_str(&w, "calibration", pq_str_of(desc->desc->calibration_note));
    write_calibration(&w, &r->calib);
    pq_jw_begin_object(&w, "schemes");
    pq_graph_schemes(desc->graph, write_count, &w);
    pq_jw_end_object(&w);
    write_placement(&w, desc);
    write_notes(&w, r);
    pq_jw_end_object(&w);
}
