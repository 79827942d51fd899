// SPDX-License-Identifier: Apache-2.0
//
// Decoding pictures. libjpeg reports errors by calling back: the callback
// may not return, so it jumps to the one place that cleans up.

#include "cli/image.h"

#include <jpeglib.h>
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// Pictures larger than this are refused before anything is allocated.
#define SIDE_LIMIT 32768

bool
cli_is_image(const char *path)
{
    static const char *const suffixes[] = {".png", ".jpg", ".jpeg"};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t k = strlen(suffixes[i]);
        if (n > k && strcasecmp(path + n - k, suffixes[i]) == 0) {
            return true;
        }
    }
    return false;
}

static ptqc_status
make_picture(cli *c, int64_t height, int64_t width, uint32_t channels,
             cli_array *out)
{
    *out = (cli_array){0};
    size_t bytes = (size_t)height * (size_t)width * channels;
    out->own = malloc(bytes > 0 ? bytes : 1);
    if (out->own == NULL) {
        return cli_fail(c, PTQC_E_RESOURCE, "out of memory");
    }
    out->tensor = (ptqc_tensor){.dtype = PTQC_U8,
                                .rank = 3,
                                .dims = {height, width, channels},
                                .data = out->own,
                                .bytes = bytes};
    return PTQC_OK;
}

static ptqc_status
bad_picture(cli *c, const char *what, const char *why)
{
    char text[300];
    return cli_fail(c, PTQC_E_INPUT, "%s: %s", what,
                    cli_escape(why, text, sizeof text));
}

// ---- PNG ------------------------------------------------------------------

static ptqc_status
parse_png(cli *c, const char *what, const void *bytes, size_t count,
          uint32_t channels, cli_array *out)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&image, bytes, count)) {
        return bad_picture(c, what, image.message);
    }
    if (image.width > SIDE_LIMIT || image.height > SIDE_LIMIT) {
        png_image_free(&image);
        return bad_picture(c, what, "larger than 32768 pixels a side");
    }
    image.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
    ptqc_status st = make_picture(c, image.height, image.width, channels, out);
    if (st != PTQC_OK) {
        png_image_free(&image);
        return st;
    }
    png_color black = {0, 0, 0}; // what transparent pixels lie on
    if (!png_image_finish_read(&image, &black, out->own, 0, NULL)) {
        cli_array_deinit(out);
        return bad_picture(c, what, image.message);
    }
    return PTQC_OK;
}

// ---- JPEG -----------------------------------------------------------------

typedef struct jpeg_trap {
    struct jpeg_error_mgr base; // first: libjpeg sees only this
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
} jpeg_trap;

static void
on_jpeg_error(j_common_ptr info)
{
    jpeg_trap *trap = (jpeg_trap *)info->err;
    trap->base.format_message(info, trap->text);
    longjmp(trap->jump, 1);
}

static void
on_jpeg_message(j_common_ptr info, int level)
{
    // A corrupt stream is an error here, not a guess.
    if (level < 0) {
        on_jpeg_error(info);
    }
}

static ptqc_status
decode_jpeg(cli *c, struct jpeg_decompress_struct *info, const void *bytes,
            size_t count, uint32_t channels, cli_array *out)
{
    jpeg_mem_src(info, bytes, count);
    jpeg_read_header(info, TRUE);
    info->out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(info);
    ptqc_status st =
        make_picture(c, info->output_height, info->output_width, channels, out);
    while (st == PTQC_OK && info->output_scanline < info->output_height) {
        JSAMPROW row = (uint8_t *)out->own + (size_t)info->output_scanline *
                                                 info->output_width * channels;
        jpeg_read_scanlines(info, &row, 1);
    }
    if (st == PTQC_OK) {
        jpeg_finish_decompress(info);
    }
    return st;
}

static ptqc_status
parse_jpeg(cli *c, const char *what, const void *bytes, size_t count,
           uint32_t channels, cli_array *out)
{
    struct jpeg_decompress_struct info;
    jpeg_trap trap;
    info.err = jpeg_std_error(&trap.base);
    trap.base.error_exit = on_jpeg_error;
    trap.base.emit_message = on_jpeg_message;
    *out = (cli_array){0};
    jpeg_create_decompress(&info);
    if (setjmp(trap.jump) != 0) {
        jpeg_destroy_decompress(&info);
        cli_array_deinit(out);
        return bad_picture(c, what, trap.text);
    }
    ptqc_status st = decode_jpeg(c, &info, bytes, count, channels, out);
    jpeg_destroy_decompress(&info);
    return st;
}

// ---- both -----------------------------------------------------------------

ptqc_status
cli_image_parse(cli *c, const char *what, const void *bytes, size_t count,
                uint32_t channels, cli_array *out)
{
    const uint8_t *p = bytes;
    if (count >= 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0) {
        return parse_png(c, what, bytes, count, channels, out);
    }
    if (count >= 3 && memcmp(p, "\xff\xd8\xff", 3) == 0) {
        return parse_jpeg(c, what, bytes, count, channels, out);
    }
    return bad_picture(c, what, "neither PNG nor JPEG");
}

ptqc_status
cli_image_read(cli *c, const char *path, uint32_t channels, cli_array *out)
{
    void *map;
    size_t bytes;
    *out = (cli_array){0};
    ptqc_status st = cli_map_file(c, path, &map, &bytes);
    if (st == PTQC_OK) {
        st = cli_image_parse(c, path, map, bytes, channels, out);
        cli_unmap_file(map, bytes);
    }
    return st;
}

// Source position of pixel i of `to` pixels over `from` pixels.
static void
tap(int64_t i, int64_t from, int64_t to, int64_t *out_low, float *out_share)
{
    float x = ((float)i + 0.5f) * (float)from / (float)to - 0.5f;
    x = x < 0 ? 0 : x;
    int64_t low = (int64_t)x;
    *out_low = low > from - 1 ? from - 1 : low;
    *out_share = x - (float)*out_low;
}

ptqc_status
cli_image_resize(cli *c, const cli_array *from, int64_t height, int64_t width,
                 cli_array *out)
{
    const int64_t *d = from->tensor.dims;
    const uint8_t *p = from->tensor.data;
    int64_t channels = d[2];
    ptqc_status st = make_picture(c, height, width, (uint32_t)channels, out);
    if (st != PTQC_OK) {
        return st;
    }
    uint8_t *q = out->own;
    for (int64_t y = 0; y < height; y++) {
        int64_t y0, x0;
        float fy, fx;
        tap(y, d[0], height, &y0, &fy);
        int64_t y1 = y0 + 1 < d[0] ? y0 + 1 : y0;
        for (int64_t x = 0; x < width; x++) {
            tap(x, d[1], width, &x0, &fx);
            int64_t x1 = x0 + 1 < d[1] ? x0 + 1 : x0;
            for (int64_t k = 0; k < channels; k++) {
                float a = p[(y0 * d[1] + x0) * channels + k];
                float b = p[(y0 * d[1] + x1) * channels + k];
                float e = p[(y1 * d[1] + x0) * channels + k];
                float f = p[(y1 * d[1] + x1) * channels + k];
                float top = a + (b - a) * fx, low = e + (f - e) * fx;
                *q++ = (uint8_t)(top + (low - top) * fy + 0.5f);
            }
        }
    }
    return PTQC_OK;
}
