// SPDX-License-Identifier: Apache-2.0
//
// Arrays and pictures from hostile files: the first byte chooses the reader.

#include <stdlib.h>
#include <string.h>

#include "cli/array.h"
#include "cli/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

// Reads everything the tensor claims to have, so that a wrong size is seen.
static void
touch(const cli_array *a)
{
    uint8_t sum = 0;
    const uint8_t *data = a->tensor.data;
    for (size_t i = 0; i < a->tensor.bytes; i++) {
        sum ^= data[i];
    }
    volatile uint8_t sink = sum;
    (void)sink;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    cli c = {0};
    cli_array a = {0};
    if (n < 1) {
        return 0;
    }
    // An exact copy, so that reading past its end is noticed.
    uint8_t *bytes = malloc(n);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, p + 1, n - 1);
    ptqc_status st = PTQC_E_INPUT;
    void *member = NULL;
    size_t member_bytes = 0;
    if (p[0] % 3 == 0) {
        st = cli_npy_parse(&c, "fuzz", bytes, n - 1, &a);
    } else if (p[0] % 3 == 1) {
        st = cli_image_parse(&c, "fuzz", bytes, n - 1, 3, &a);
    } else if (cli_npz_member(&c, "fuzz", bytes, n - 1, NULL, &member,
                              &member_bytes) == PTQC_OK) {
        st = cli_npy_parse(&c, "fuzz", member, member_bytes, &a);
    }
    if (st == PTQC_OK) {
        touch(&a);
    }
    cli_array_deinit(&a);
    free(member);
    free(bytes);
    return 0;
}
