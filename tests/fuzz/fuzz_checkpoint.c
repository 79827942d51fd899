// SPDX-License-Identifier: Apache-2.0
//
// What an interrupted compile left, hostile: the first byte chooses the reader
// (a unit, a point to resume from, what was learned of a value) and whether
// magic, version, fingerprint and hashes are put right, so that what stands
// behind them is reached. Whatever the bytes are: taken, done again (PTQC_NO),
// or one error; all memory comes back, and what was not taken leaves nothing
// behind.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/ctx.h"
#include "passes/calib/resume.h"
#include "passes/calib/state.h"
#include "tests/fuzz/said.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum {
    VALUES = 8,   // of the stream
    WEIGHTS = 2,  // of the unit
    HEAD = 56,    // of both files, a hash at its end
    ENTRY = 64,   // of a weight in the unit's table
    LIVE = 4096,  // bytes of a hidden state
    MOST = 65536, // of the file
};

static char folder[] = "/tmp/ptqc-fuzz-XXXXXX";
static char unit[64], point[64], live[64];

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    if (mkdtemp(folder) == NULL) {
        abort();
    }
    (void)snprintf(unit, sizeof unit, "%s/fuzz-00000.unit", folder);
    (void)snprintf(point, sizeof point, "%s/fuzz.resume", folder);
    (void)snprintf(live, sizeof live, "%s/fuzz-00000003.live", folder);
    return 0;
}

static void
write_file(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(p, 1, n, f) != n || fclose(f) != 0) {
        abort();
    }
}

// The head of either file, its hash over what follows.
static void
put_right(uint8_t *p, size_t n, bool is_unit)
{
    if (n < HEAD) {
        return;
    }
    memcpy(p, is_unit ? "PTQCUNIT" : "PTQCLIVE", 8);
    pq_store_le32(p + 8, 1);
    memset(p + 16, 0, 32);
    size_t hashed = n - HEAD;
    if (is_unit) {
        pq_store_le32(p + 12, WEIGHTS);
        hashed = hashed < WEIGHTS * ENTRY ? hashed : WEIGHTS * ENTRY;
    }
    pq_store_le64(p + HEAD - 8, pq_hash64(p + HEAD, hashed));
}

static ptqc_status
read_unit(const pq_checkpoint *c)
{
    pq_unit_weight weights[WEIGHTS] = {
        {.scale_count = 2, .zero_count = 2, .code_bytes = 16},
        {.scale_count = 1, .zero_count = 0, .code_bytes = 3}};
    pq_map map = {0};
    ptqc_status st = pq_unit_read(c, 0, weights, WEIGHTS, &map);
    volatile uint8_t sum = 0;
    for (size_t i = 0; st == PTQC_OK && i < WEIGHTS; i++) {
        for (size_t k = 0; k < weights[i].note.n; k++) {
            sum = (uint8_t)(sum + (uint8_t)weights[i].note.p[k]);
        }
        const uint8_t *codes = weights[i].codes;
        sum = (uint8_t)(sum + codes[weights[i].code_bytes - 1]);
    }
    if (st == PTQC_OK) {
        pq_map_close(&map);
    }
    return st;
}

static ptqc_status
read_point(const pq_checkpoint *c, const said *said)
{
    pq_live all[VALUES] = {0};
    pq_sinks sinks;
    pq_resume_point at;
    pq_sinks_init(&sinks, c->ctx, 1);
    ptqc_status st = pq_resume_read(c, &at, all, VALUES, &sinks);
    for (uint32_t i = 0; i < VALUES; i++) {
        pq_tensor t;
        expect(st == PTQC_OK || all[i].scratch == NULL, "nothing left", st,
               said);
        for (uint64_t k = 0; all[i].scratch != NULL && k < at.sample_count;
             k++) {
            ptqc_status got = pq_live_get(c->ctx, &all[i], k, &t);
            expect(got == PTQC_OK || got == PTQC_E_RESOURCE, "reads", got,
                   said);
        }
        pq_live_close(c->ctx, &all[i]);
    }
    pq_sinks_deinit(&sinks);
    return st;
}

static ptqc_status
read_state(ptqc_ctx *ctx, const uint8_t *p, size_t n)
{
    float min, max;
    pq_state s = {.p = p, .n = n};
    const pq_observer_desc desc = {.kind = PQ_OBSERVER_MSE, .format = PTQC_I8};
    pq_observer o;
    pq_observer_init(&o, ctx, &desc);
    ptqc_status st = pq_state_observer(&s, &o);
    if (st == PTQC_OK && !s.is_bad) {
        st = pq_observer_range(&o, &min, &max);
    }
    pq_observer_deinit(&o);
    return st;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const uint8_t hidden[LIVE];
    said s = {0};
    const ptqc_ctx_desc desc = fuzz_context(&s);
    ptqc_ctx *ctx;
    if (n < 1 || n > MOST || ptqc_ctx_create(&desc, &ctx) != PTQC_OK) {
        return 0;
    }
    bool is_unit = (p[0] & 1) != 0;
    uint8_t *bytes = malloc(n);
    if (bytes == NULL) {
        abort();
    }
    memcpy(bytes, p + 1, n - 1);
    if ((p[0] & 2) != 0) {
        put_right(bytes, n - 1, is_unit);
    }
    write_file(is_unit ? unit : point, bytes, n - 1);
    write_file(live, hidden, sizeof hidden);
    free(bytes);
    const pq_checkpoint c = {.ctx = ctx, .dir = folder, .pass = "fuzz"};
    ptqc_status st = (p[0] & 4) != 0 ? read_state(ctx, p + 1, n - 1)
                     : is_unit       ? read_unit(&c)
                                     : read_point(&c, &s);
    expect(st == PTQC_OK || st == PTQC_NO || st == PTQC_E_USAGE ||
               st == PTQC_E_RESOURCE,
           "status", st, &s);
    expect(s.errors == (st == PTQC_E_USAGE || st == PTQC_E_RESOURCE), "errors",
           st, &s);
    expect(pq_live_bytes(ctx) == 0, "no memory left", PTQC_OK, &s);
    ptqc_ctx_destroy(ctx);
    return 0;
}
