// SPDX-License-Identifier: Apache-2.0
//
// Programs from outside are hostile: cut, flipped and with other constants
// they must be refused, or be harmless and give the right results.
#include <stdio.h>
#include <string.h>

#include "tools/conform/conform.h"

#define CUTS  24u
#define FLIPS 96u

typedef struct pq_damage {
    const pq_run *run;
    pq_result *result;
    pq_program p; // constants and blob are copies to damage
} pq_damage;

static void
try_it(pq_damage *d, const char *what, uint64_t at)
{
    char text[PQ_KIT_TEXT / 2] = "";
    if (pq_trial_run(d->run, &d->p, text, sizeof text) == PQ_WRONG) {
        pq_result_say(d->result, PQ_FAIL, "%s%s at %llu is not refused: %s",
                      d->run->instance->text, what, (unsigned long long)at,
                      text);
    }
}

static void
cut_blob(pq_damage *d)
{
    uint64_t whole = d->p.blob.n;
    for (uint32_t i = 0; i < CUTS; i++) {
        d->p.blob.n = whole * i / CUTS;
        try_it(d, "a program cut", d->p.blob.n);
    }
    if (whole > 0) {
        d->p.blob.n = whole - 1;
        try_it(d, "a program cut", d->p.blob.n);
    }
    d->p.blob.n = whole;
}

static void
flip_blob(pq_damage *d)
{
    pq_random random = {d->run->seed};
    uint8_t *bytes = (uint8_t *)(uintptr_t)d->p.blob.p;
    for (uint32_t i = 0; i < FLIPS && d->p.blob.n > 0; i++) {
        // The front, where headers are, byte by byte; then anywhere.
        uint32_t at = i < FLIPS / 2 && i < d->p.blob.n
                          ? i
                          : pq_random_below(&random, (uint32_t)d->p.blob.n);
        uint8_t bit = (uint8_t)(1u << pq_random_below(&random, 8));
        bytes[at] ^= bit;
        try_it(d, "a program with a flipped bit", at);
        bytes[at] ^= bit;
    }
}

static void
spoil_constants(pq_damage *d)
{
    uint32_t count = d->p.constant_count;
    if (count > 0) {
        d->p.constant_count = count - 1;
        try_it(d, "a program with one constant less", count - 1);
        d->p.constant_count = count;
    }
    for (uint32_t i = 0; i < count && i < 8; i++) {
        uint64_t bytes = d->p.constants[i].n;
        d->p.constants[i].n = bytes > 0 ? bytes / 2 : 0;
        if (bytes > 0) {
            try_it(d, "a program with a shorter constant", i);
        }
        d->p.constants[i].n = bytes;
    }
}

// The blob is copied to memory that is 64-byte aligned, as in an artifact.
void
pq_trial_damage(const pq_run *run, const pq_program *p, pq_result *result)
{
    pq_damage d = {.run = run, .result = result, .p = *p};
    cut_blob(&d);
    flip_blob(&d);
    spoil_constants(&d);
}
