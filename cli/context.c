// SPDX-License-Identifier: Apache-2.0
//
// The library context for the command: diagnostics to stderr, progress with
// time left, the kernel cache.

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

uint64_t
cli_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// ---- diagnostics ----------------------------------------------------------

static const char *const severity_words[] = {
    [PTQC_SEVERITY_ERROR] = "ptqc: error: ",
    [PTQC_SEVERITY_WARNING] = "ptqc: warning: ",
    [PTQC_SEVERITY_NOTE] = "ptqc: note: ",
    [PTQC_SEVERITY_INFO] = "",
    [PTQC_SEVERITY_DEBUG] = "",
};

static void
clear_progress(cli *c)
{
    if (c->phase != NULL && c->shows_progress) {
        fputs("\r\033[K", stderr);
        c->phase = NULL;
    }
}

static void
on_diagnostic(void *user, ptqc_severity severity, ptqc_status status,
              const char *text)
{
    cli *c = user;
    (void)status;
    clear_progress(c);
    c->error_count += severity == PTQC_SEVERITY_ERROR;
    fprintf(stderr, "%s%s\n", severity_words[severity], text);
}

// ---- progress -------------------------------------------------------------

#define REDRAW_NS UINT64_C(100000000)
#define PLAIN_NS  UINT64_C(10000000000)

static void
on_progress(void *user, const char *phase, uint64_t done, uint64_t total)
{
    cli *c = user;
    uint64_t now = cli_clock_ns();
    if (c->is_quiet) {
        return;
    }
    if (c->phase == NULL || strcmp(c->phase, phase) != 0) {
        c->progress_start_ns = now;
        c->progress_ns = now;
        c->phase = phase;
        return; // nothing is known of its speed yet
    }
    if (now - c->progress_ns < (c->shows_progress ? REDRAW_NS : PLAIN_NS)) {
        return;
    }
    c->progress_ns = now;
    double spent = (double)(now - c->progress_start_ns) * 1e-9;
    fprintf(stderr, "%s%s %llu", c->shows_progress ? "\r\033[K" : "", phase,
            (unsigned long long)done);
    if (total > 0) {
        fprintf(stderr, "/%llu", (unsigned long long)total);
    }
    if (done > 0 && total > done) {
        fprintf(stderr, ", %.0f s left",
                spent * (double)(total - done) / (double)done);
    }
    fprintf(stderr, "%s", c->shows_progress ? "" : "\n");
}

// ---- kernel cache ---------------------------------------------------------

// NULL: none. `out` holds the text.
static const char *
cache_dir(const cli *c, char *out, size_t room)
{
    if (cli_given(c, CLI_NO_CACHE)) {
        return NULL;
    }
    if (cli_given(c, CLI_CACHE_DIR)) {
        return cli_get(c, CLI_CACHE_DIR)->text;
    }
    const char *base = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int n;
    if (base != NULL && base[0] == '/') {
        n = snprintf(out, room, "%s/ptqc", base);
    } else if (home != NULL && home[0] == '/') {
        n = snprintf(out, room, "%s/.cache", home);
        (void)mkdir(out, 0700);
        n = snprintf(out, room, "%s/.cache/ptqc", home);
    } else {
        return NULL;
    }
    return n > 0 && (size_t)n < room ? out : NULL;
}

ptqc_status
cli_make_ctx(cli *c, uint32_t threads)
{
    char cache[4096];
    c->is_quiet = cli_given(c, CLI_QUIET);
    c->shows_progress = isatty(STDERR_FILENO) && !c->is_quiet;
    ptqc_ctx_desc desc = {
        .diag = on_diagnostic,
        .diag_user = c,
        .max_severity = c->is_quiet                 ? PTQC_SEVERITY_ERROR
                        : cli_given(c, CLI_VERBOSE) ? PTQC_SEVERITY_INFO
                                                    : PTQC_SEVERITY_WARNING,
        .progress = on_progress,
        .progress_user = c,
        .threads =
            threads > 0 ? threads : (uint32_t)cli_get(c, CLI_THREADS)->integer,
        .memory_limit_bytes = (uint64_t)cli_get(c, CLI_MEMORY_LIMIT)->integer,
        .cache_dir = cache_dir(c, cache, sizeof cache),
    };
    if (ptqc_ctx_create(&desc, &c->ctx) != PTQC_OK) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    return PTQC_OK;
}

ptqc_backend_dirs
cli_backend_dirs(const cli *c)
{
    const cli_value *v = cli_get(c, CLI_BACKEND_PATH);
    return (ptqc_backend_dirs){.dirs = v->list, .dir_count = v->count};
}

// ---- dtypes ---------------------------------------------------------------

typedef struct dtype_row {
    ptqc_dtype dtype;
    const char *name;
    uint32_t bits;
} dtype_row;

static const dtype_row dtypes[] = {
#define ROW(NAME, number, text, bits) {PTQC_##NAME, text, bits},
    PTQC_DTYPES(ROW)
#undef ROW
};

const char *
cli_dtype_name(ptqc_dtype dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (dtypes[i].dtype == dtype) {
            return dtypes[i].name;
        }
    }
    return "none";
}

uint32_t
cli_dtype_bytes(ptqc_dtype dtype)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (dtypes[i].dtype == dtype) {
            return dtypes[i].bits / 8;
        }
    }
    return 0;
}
