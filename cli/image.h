// SPDX-License-Identifier: Apache-2.0
//
// Pictures as u8 arrays [H, W, C]: PNG (libpng) and JPEG (libjpeg).
#ifndef PTQC_CLI_IMAGE_H
#define PTQC_CLI_IMAGE_H

#include "cli/array.h"

// Whether the name ends in .png, .jpg or .jpeg.
bool cli_is_image(const char *path);
// channels 1 (gray) or 3 (RGB). PTQC_E_INPUT: malformed.
ptqc_status cli_image_read(cli *c, const char *path, uint32_t channels,
                           cli_array *out);
ptqc_status cli_image_parse(cli *c, const char *what, const void *bytes,
                            size_t count, uint32_t channels, cli_array *out);
// Bilinear with half-pixel centres into [height, width, channels].
ptqc_status cli_image_resize(cli *c, const cli_array *from, int64_t height,
                             int64_t width, cli_array *out);

#endif
