// SPDX-License-Identifier: Apache-2.0
//
// Units of what was learned, see learned.h: a unit of one weight without codes
// whose note is, little-endian, per watched value of the piece, in the order
// of client->watched:
//
//   u32 value, u32 0, u64 bytes, what the client says of it

#include "passes/calib/learned.h"

#include <string.h>

#include "base/bits.h"
#include "passes/match.h"

enum { VALUE_BYTES = 16 };

// Whether the piece shows the value; graph inputs come with the first.
static bool
is_of(const pq_learned *l, pq_value_id v, uint32_t piece)
{
    pq_op_id producer = pq_producer_id(l->g, v);
    uint32_t number =
        pq_op_is_none(producer) ? 1 : l->pieces->piece_of[producer.index];
    return number == piece + 1;
}

// ---- writing --------------------------------------------------------------

static ptqc_status
add_value(const pq_learned *l, pq_value_id v, pq_strbuf *out)
{
    pq_strbuf own;
    pq_strbuf_init(&own, out->ctx);
    pq_state s = {.out = &own};
    ptqc_status st = l->client->state(l->client->user, v, &s);
    pq_strbuf_add_le32(out, v.index);
    pq_strbuf_add_le32(out, 0);
    pq_strbuf_add_le64(out, own.n);
    pq_strbuf_add(out, (pq_str){own.p, own.n});
    st = st == PTQC_OK && own.failed ? PTQC_E_RESOURCE : st;
    pq_strbuf_deinit(&own);
    return st;
}

static ptqc_status
add_values(const pq_learned *l, uint32_t piece, pq_strbuf *out)
{
    const pq_stream_client *client = l->client;
    for (uint32_t i = 0; i < client->watched_count; i++) {
        if (is_of(l, client->watched[i], piece)) {
            PQ_TRY(add_value(l, client->watched[i], out));
        }
    }
    return out->failed ? PTQC_E_RESOURCE : PTQC_OK;
}

ptqc_status
pq_learned_write(const pq_learned *l, uint32_t piece)
{
    const pq_checkpoint *c = l->client->checkpoint;
    pq_strbuf all;
    pq_strbuf_init(&all, c->ctx);
    ptqc_status st = add_values(l, piece, &all);
    if (st == PTQC_OK) {
        const pq_unit_weight unit = {.note = {all.p, all.n}};
        st = pq_unit_write(c, piece, &unit, 1);
    }
    pq_strbuf_deinit(&all);
    return st;
}

// ---- reading --------------------------------------------------------------

// *rest moves behind the value.
static ptqc_status
take_value(const pq_learned *l, pq_value_id v, pq_str *rest)
{
    const uint8_t *p = (const uint8_t *)rest->p;
    uint64_t bytes = rest->n >= VALUE_BYTES ? pq_load_le64(p + 8) : UINT64_MAX;
    if (bytes == UINT64_MAX || pq_load_le32(p) != v.index ||
        bytes > rest->n - VALUE_BYTES) {
        return PTQC_NO;
    }
    pq_state s = {.p = p + VALUE_BYTES, .n = (size_t)bytes};
    PQ_TRY(l->client->state(l->client->user, v, &s));
    rest->p += VALUE_BYTES + bytes;
    rest->n -= VALUE_BYTES + (size_t)bytes;
    return s.is_bad || s.n > 0 ? PTQC_NO : PTQC_OK;
}

static ptqc_status
take_values(const pq_learned *l, uint32_t piece, pq_str all)
{
    const pq_stream_client *client = l->client;
    for (uint32_t i = 0; i < client->watched_count; i++) {
        pq_value_id v = client->watched[i];
        if (is_of(l, v, piece)) {
            PQ_TRY(take_value(l, v, &all));
            l->pieces->is_watched[v.index] = false;
        }
    }
    return all.n == 0 ? PTQC_OK : PTQC_NO;
}

ptqc_status
pq_learned_read(const pq_learned *l, uint32_t piece)
{
    const pq_checkpoint *c = l->client->checkpoint;
    pq_unit_weight unit = {0};
    pq_map map;
    PQ_TRY(pq_unit_read(c, piece, &unit, 1, &map));
    ptqc_status st = take_values(l, piece, unit.note);
    pq_map_close(&map);
    // Its hash is right: it was not damaged by chance.
    return st != PTQC_NO
               ? st
               : PQ_FAIL(c->ctx, PTQC_E_USAGE,
                         "checkpoint %u of '%s' in '%s' does not hold "
                         "what it should: remove the folder",
                         (unsigned)piece, c->pass, c->dir);
}
