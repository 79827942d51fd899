// SPDX-License-Identifier: Apache-2.0
//
// Text that grows in an arena (text.h).
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Room for n more bytes and the NUL.
static bool
reserve(pq_kg_text *t, uint32_t n)
{
    if (t->has_failed || n >= UINT32_MAX - t->count - 1) {
        t->has_failed = true;
        return false;
    }
    uint32_t need = t->count + n + 1;
    if (need <= t->room) {
        return true;
    }
    uint32_t room = t->room < 1024 ? 1024 : t->room;
    while (room < need) {
        room = room > UINT32_MAX / 2 ? need : room * 2;
    }
    char *p = pq_mem_alloc(t->mem, room);
    if (p == NULL) {
        t->has_failed = true;
        return false;
    }
    if (t->count > 0) {
        memcpy(p, t->p, t->count);
    }
    t->p = p;
    t->room = room;
    return true;
}

void
pq_kg_text_bytes(pq_kg_text *t, const char *from, uint32_t n)
{
    if (reserve(t, n)) {
        memcpy(t->p + t->count, from, n);
        t->count += n;
        t->p[t->count] = '\0';
    }
}

void
pq_kg_text_add(pq_kg_text *t, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0) {
        t->has_failed = true;
    } else if (reserve(t, (uint32_t)n)) {
        (void)vsnprintf(t->p + t->count, (size_t)n + 1, format, again);
        t->count += (uint32_t)n;
    }
    va_end(again);
}

void
pq_kg_text_indented(pq_kg_text *t, const char *text, uint32_t spaces)
{
    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        size_t n = end != NULL ? (size_t)(end - text) + 1 : strlen(text);
        if (*text != '\n' && *text != '#') {
            pq_kg_text_add(t, "%*s", (int)spaces, "");
        }
        pq_kg_text_bytes(t, text, (uint32_t)n);
        text += n;
    }
}

void
pq_kg_text_numbered(pq_kg_text *t, const char *text, uint32_t number)
{
    for (; *text != '\0'; text++) {
        if (*text == '$') {
            pq_kg_text_add(t, "%u", number);
        } else {
            pq_kg_text_bytes(t, text, 1);
        }
    }
}

const char *
pq_kg_text_get(const pq_kg_text *t)
{
    return t->has_failed ? NULL : t->p != NULL ? t->p : "";
}
