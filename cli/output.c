// SPDX-License-Identifier: Apache-2.0
//
// Results go to stdout, everything else to stderr.

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"

ptqc_status
cli_fail(cli *c, ptqc_status status, const char *format, ...)
{
    char text[2048], escaped[4096];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "ptqc: error: %s\n",
            cli_escape(text, escaped, sizeof escaped));
    c->error_count++;
    return status;
}

void
cli_print(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
}

ptqc_status
cli_finish_output(cli *c)
{
    bool is_bad = fflush(stdout) != 0 || ferror(stdout) != 0;
    return is_bad
               ? cli_fail(c, PTQC_E_IO, "standard output: %s", strerror(errno))
               : PTQC_OK;
}

ptqc_status
cli_print_json(cli *c, json_t *document)
{
    if (document == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    int bad =
        json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(document);
    fputc('\n', stdout);
    return bad != 0 ? cli_fail(c, PTQC_E_IO, "standard output: cannot write")
                    : cli_finish_output(c);
}

const char *
cli_size_text(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double x = (double)bytes;
    size_t i = 0;
    while (x >= 1000 && i + 1 < sizeof units / sizeof *units) {
        x /= 1000;
        i++;
    }
    snprintf(out, 32, i == 0 ? "%.0f %s" : "%.2f %s", x, units[i]);
    return out;
}

const char *
cli_escape(const char *text, char *out, size_t room)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text;
         *p != '\0' && n + 5 < room; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            n += (size_t)snprintf(out + n, room - n, "\\x%02x", *p);
        } else {
            out[n++] = (char)*p;
        }
    }
    out[n] = '\0';
    return out;
}
