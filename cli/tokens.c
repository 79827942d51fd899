// SPDX-License-Identifier: Apache-2.0
//
// Token ids of a file: text by the model's tokenizer, or ids as they are
// (.i32, little-endian).

#include <stdlib.h>
#include <string.h>

#include "cli/lm.h"

static ptqc_status
copy_ids(cli *c, const int32_t *ids, size_t count, int32_t **out,
         size_t *out_count)
{
    *out = malloc((count > 0 ? count : 1) * sizeof **out);
    if (*out == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    memcpy(*out, ids, count * sizeof *ids);
    *out_count = count;
    return PTQC_OK;
}

static ptqc_status
encode(cli *c, const char *path, const ptqc_tokenizer *tokenizer,
       const char *text, size_t n, uint32_t flags, int32_t **out,
       size_t *out_count)
{
    int32_t *ids;
    size_t count;
    if (tokenizer == NULL) {
        return cli_fail(c, PTQC_E_UNSUPPORTED,
                        "%s: the model has no tokenizer; give ids (.i32)",
                        path);
    }
    ptqc_status st =
        ptqc_encode(c->ctx, tokenizer, text, n, flags, &ids, &count);
    if (st == PTQC_OK) {
        st = copy_ids(c, ids, count, out, out_count);
        ptqc_buffer_free(c->ctx, ids);
    }
    return st;
}

ptqc_status
cli_read_tokens(cli *c, const char *path, const ptqc_tokenizer *tokenizer,
                uint32_t flags, int32_t **out, size_t *out_count)
{
    char *bytes = NULL;
    size_t n = 0, k = strlen(path);
    bool is_ids = k > 4 && strcmp(path + k - 4, ".i32") == 0;
    *out = NULL;
    ptqc_status st = cli_read_text(c, path, &bytes, &n);
    if (st == PTQC_OK && is_ids && n % sizeof(int32_t) != 0) {
        st =
            cli_fail(c, PTQC_E_INPUT,
                     "%s: expected whole 32-bit ids, found %zu bytes", path, n);
    }
    if (st == PTQC_OK) {
        st = is_ids
                 ? copy_ids(c, (const int32_t *)(const void *)bytes,
                            n / sizeof(int32_t), out, out_count)
                 : encode(c, path, tokenizer, bytes, n, flags, out, out_count);
    }
    free(bytes);
    return st;
}
