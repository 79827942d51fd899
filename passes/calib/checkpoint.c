// SPDX-License-Identifier: Apache-2.0
//
// Checkpoint files, see checkpoint.h. Little-endian:
//
//   0   "PTQCUNIT"
//   8   u32 version, u32 number of weights
//   16  [32] fingerprint
//   48  u64 XXH3 of the table that follows
//   56  per weight: u64 scales, u64 zero points, u64 code bytes, u64 note
//       bytes, [4] u64 XXH3 of these parts
//   ..  per weight, each part on a multiple of 64: f32 scales, i32 zero
//       points, packed codes, note
#include "passes/calib/checkpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "passes/pass.h"

#define UNIT_VERSION 1u
#define UNIT_ALIGN   64u

typedef struct unit_header {
    char magic[8];
    uint32_t version, count;
    pq_sha256 fingerprint;
    uint64_t hash;
} unit_header;

typedef struct unit_entry {
    uint64_t scale_count, zero_count, code_bytes, note_bytes;
    uint64_t hashes[4];
} unit_entry;

_Static_assert(sizeof(unit_header) == 56, "as drawn");

static const char unit_magic[8] = {'P', 'T', 'Q', 'C', 'U', 'N', 'I', 'T'};

pq_checkpoint
pq_checkpoint_of(ptqc_ctx *ctx, const pq_pass_env *env, const char *pass)
{
    pq_checkpoint c = {.ctx = ctx, .pass = pass};
    if (env->work_dir != NULL && env->fingerprint != NULL) {
        c.dir = env->work_dir;
        c.fingerprint = *env->fingerprint;
    }
    return c;
}

static ptqc_status
unit_path(const pq_checkpoint *c, uint32_t index, char *out, size_t room)
{
    int n = snprintf(out, room, "%s/%s-%05u.unit", c->dir, c->pass, index);
    return n > 0 && (size_t)n < room
               ? PTQC_OK
               : PQ_FAIL(c->ctx, PTQC_E_USAGE, "%s: path too long", c->dir);
}

static void
hash_parts(const pq_unit_weight *w, uint64_t out[4])
{
    out[0] = pq_hash64(w->scales, w->scale_count * sizeof *w->scales);
    out[1] = pq_hash64(w->zero_points, w->zero_count * sizeof *w->zero_points);
    out[2] = pq_hash64(w->codes, w->code_bytes);
    out[3] = pq_hash64(w->note.p, w->note.n);
}

// ---- reading --------------------------------------------------------------

// n bytes from *at on, which then stands on the next part; NULL: not there.
static const void *
take_part(const pq_map *map, size_t *at, uint64_t n)
{
    const void *p = map->p + *at;
    if (n > map->n - *at) {
        return NULL;
    }
    size_t end = *at + (size_t)n;
    size_t next = (end + UNIT_ALIGN - 1) / UNIT_ALIGN * UNIT_ALIGN;
    *at = next < map->n ? next : map->n;
    return p;
}

// The parts of one weight; false: they are not what the table says.
static bool
take_weight(const pq_map *map, const unit_entry *e, size_t *at,
            pq_unit_weight *w)
{
    uint64_t hashes[4];
    w->scales = take_part(map, at, e->scale_count * sizeof *w->scales);
    w->zero_points = take_part(map, at, e->zero_count * sizeof *w->zero_points);
    w->codes = take_part(map, at, e->code_bytes);
    w->note = (pq_str){take_part(map, at, e->note_bytes), e->note_bytes};
    if (w->scales == NULL || w->zero_points == NULL || w->codes == NULL ||
        w->note.p == NULL) {
        return false;
    }
    hash_parts(w, hashes);
    return memcmp(hashes, e->hashes, sizeof hashes) == 0;
}

typedef enum unit_verdict {
    UNIT_IS_GOOD,
    UNIT_IS_DAMAGED,
    UNIT_IS_FOREIGN,
} unit_verdict;

static unit_verdict
take_all(const pq_checkpoint *c, const pq_map *map, pq_unit_weight *weights,
         uint32_t count)
{
    unit_header h;
    size_t at = sizeof h;
    size_t table_bytes = count * sizeof(unit_entry);
    if (map->n < sizeof h) {
        return UNIT_IS_DAMAGED;
    }
    memcpy(&h, map->p, sizeof h);
    if (memcmp(h.magic, unit_magic, sizeof unit_magic) != 0) {
        return UNIT_IS_DAMAGED;
    }
    if (h.version != UNIT_VERSION || h.count != count ||
        memcmp(&h.fingerprint, &c->fingerprint, sizeof h.fingerprint) != 0) {
        return UNIT_IS_FOREIGN;
    }
    const uint8_t *table = take_part(map, &at, table_bytes);
    if (table == NULL || pq_hash64(table, table_bytes) != h.hash) {
        return UNIT_IS_DAMAGED;
    }
    for (uint32_t i = 0; i < count; i++) {
        unit_entry e;
        memcpy(&e, table + i * sizeof e, sizeof e);
        if (e.scale_count != weights[i].scale_count ||
            e.zero_count != weights[i].zero_count ||
            e.code_bytes != weights[i].code_bytes) {
            return UNIT_IS_FOREIGN;
        }
        if (!take_weight(map, &e, &at, &weights[i])) {
            return UNIT_IS_DAMAGED;
        }
    }
    return UNIT_IS_GOOD;
}

static ptqc_status
refuse(ptqc_ctx *ctx, const char *path)
{
    return PQ_FAIL(ctx, PTQC_E_USAGE,
                   "checkpoint '%s' belongs to another model, recipe, "
                   "calibration or version: remove its folder or name "
                   "another one",
                   path);
}

static ptqc_status
check_unit(const pq_checkpoint *c, const char *path, const pq_map *map,
           pq_unit_weight *weights, uint32_t count)
{
    switch (take_all(c, map, weights, count)) {
    case UNIT_IS_GOOD:
        return PTQC_OK;
    case UNIT_IS_DAMAGED:
        break;
    case UNIT_IS_FOREIGN:
        return refuse(c->ctx, path);
    }
    pq_say(c->ctx, PTQC_SEVERITY_WARNING,
           "checkpoint '%s' is damaged: its unit is done again", path);
    return PTQC_NO;
}

ptqc_status
pq_unit_read(const pq_checkpoint *c, uint32_t index, pq_unit_weight *weights,
             uint32_t count, pq_map *out_map)
{
    char path[4096];
    bool is_there;
    pq_file_id id;
    pq_map map;
    PQ_TRY(unit_path(c, index, path, sizeof path));
    PQ_TRY(pq_file_identify(c->ctx, path, &is_there, &id));
    if (!is_there) {
        return PTQC_NO;
    }
    PQ_TRY(pq_map_open(c->ctx, path, &map));
    ptqc_status st = check_unit(c, path, &map, weights, count);
    if (st != PTQC_OK) {
        pq_map_close(&map);
        return st;
    }
    *out_map = map;
    return PTQC_OK;
}

// ---- writing --------------------------------------------------------------

static ptqc_status
write_part(pq_writer *w, const void *p, size_t n)
{
    PQ_TRY(pq_writer_write(w, p, n));
    return pq_writer_align(w, UNIT_ALIGN);
}

static ptqc_status
write_head(const pq_checkpoint *c, pq_writer *w, const unit_entry *table,
           uint32_t count)
{
    unit_header h = {.version = UNIT_VERSION,
                     .count = count,
                     .fingerprint = c->fingerprint,
                     .hash = pq_hash64(table, count * sizeof *table)};
    memcpy(h.magic, unit_magic, sizeof unit_magic);
    PQ_TRY(pq_writer_write(w, &h, sizeof h));
    return write_part(w, table, count * sizeof *table);
}

static ptqc_status
write_unit(const pq_checkpoint *c, pq_writer *w, const pq_unit_weight *weights,
           uint32_t count)
{
    unit_entry *table = pq_alloc_array(c->ctx, count, sizeof *table);
    PQ_TRY_ALLOC(table);
    for (uint32_t i = 0; i < count; i++) {
        table[i] = (unit_entry){.scale_count = weights[i].scale_count,
                                .zero_count = weights[i].zero_count,
                                .code_bytes = weights[i].code_bytes,
                                .note_bytes = weights[i].note.n};
        hash_parts(&weights[i], table[i].hashes);
    }
    ptqc_status st = write_head(c, w, table, count);
    pq_free(c->ctx, table);
    for (uint32_t i = 0; i < count && st == PTQC_OK; i++) {
        const pq_unit_weight *u = &weights[i];
        PQ_TRY(write_part(w, u->scales, u->scale_count * sizeof *u->scales));
        PQ_TRY(write_part(w, u->zero_points,
                          u->zero_count * sizeof *u->zero_points));
        PQ_TRY(write_part(w, u->codes, u->code_bytes));
        PQ_TRY(write_part(w, u->note.p, u->note.n));
    }
    return st;
}

ptqc_status
pq_unit_write(const pq_checkpoint *c, uint32_t index,
              const pq_unit_weight *weights, uint32_t count)
{
    char path[4096];
    pq_writer *w = NULL;
    PQ_TRY(unit_path(c, index, path, sizeof path));
    PQ_TRY(pq_writer_open(c->ctx, path, PQ_WRITE_REPLACE, &w));
    ptqc_status st = write_unit(c, w, weights, count);
    if (st != PTQC_OK) {
        pq_writer_abort(w);
        return st;
    }
    return pq_writer_commit(w);
}

static bool
ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), k = strlen(end);
    return n > k && strcmp(name + n - k, end) == 0;
}

// PASS-DIGITS and the ending.
static bool
is_numbered(const char *name, const char *ending)
{
    if (!ends_with(name, ending)) {
        return false;
    }
    size_t end = strlen(name) - strlen(ending);
    size_t n = end;
    while (n > 0 && name[n - 1] >= '0' && name[n - 1] <= '9') {
        n--;
    }
    return n < end && n > 0 && name[n - 1] == '-';
}

static bool
is_ours(const char *name)
{
    return is_numbered(name, ".unit") || is_numbered(name, ".live") ||
           ends_with(name, ".resume");
}

// PTQC_E_USAGE: the file is a unit of another compile. What cannot be read is
// said when it is needed.
static ptqc_status
check_owner(ptqc_ctx *ctx, int dir_fd, const char *dir, const char *name,
            const pq_sha256 *fingerprint)
{
    unit_header h = {.version = 0};
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, &h, sizeof h) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    bool is_foreign =
        n == (ssize_t)sizeof h &&
        memcmp(h.magic, unit_magic, sizeof unit_magic) == 0 &&
        (h.version != UNIT_VERSION ||
         memcmp(&h.fingerprint, fingerprint, sizeof h.fingerprint) != 0);
    if (!is_foreign) {
        return PTQC_OK;
    }
    pq_strbuf path;
    pq_strbuf_init(&path, ctx);
    pq_strbuf_addf(&path, "%s/%s", dir, name);
    ptqc_status st = path.failed ? PTQC_E_RESOURCE : refuse(ctx, path.p);
    pq_strbuf_deinit(&path);
    return st;
}

ptqc_status
pq_units_check(ptqc_ctx *ctx, const char *dir, const pq_sha256 *fingerprint)
{
    ptqc_status st = PTQC_OK;
    DIR *d = opendir(dir);
    if (d == NULL) {
        return PTQC_OK; // who uses it says why
    }
    for (struct dirent *e = readdir(d); e != NULL && st == PTQC_OK;
         e = readdir(d)) {
        if (is_ours(e->d_name)) {
            st = check_owner(ctx, dirfd(d), dir, e->d_name, fingerprint);
        }
    }
    (void)closedir(d);
    return st;
}

void
pq_units_remove(const char *dir)
{
    DIR *d = opendir(dir);
    if (d == NULL) {
        return;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (is_ours(e->d_name)) {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    (void)closedir(d);
    (void)rmdir(dir);
}

static bool
has_unit(const char *dir)
{
    bool has = false;
    DIR *d = opendir(dir);
    if (d == NULL) {
        return false;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        has |= ends_with(e->d_name, ".unit");
    }
    (void)closedir(d);
    return has;
}

bool
pq_units_leave(const char *dir)
{
    bool has = has_unit(dir);
    if (!has) {
        pq_units_remove(dir);
    }
    return has;
}
