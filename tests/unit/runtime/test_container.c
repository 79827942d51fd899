// SPDX-License-Identifier: Apache-2.0
//
// The container: what is written is read back; cut, flipped, of another
// version or with a hostile table it is refused with a message.
#include <stdio.h>
#include <string.h>

#include "tests/support/cmocka_test.h"
#include "tests/support/context.h"
#include "tests/support/folder.h"
#include "tests/unit/runtime/checksums.h"
#include "tests/unit/runtime/sample.h"

typedef struct fixture {
    pq_test_sink sink;
    ptqc_ctx *ctx;
    uint8_t *bytes; // a sound artifact
    size_t count;
    pq_file_header header;
} fixture;

static int
set_up(void **state)
{
    static fixture f;
    f = (fixture){0};
    f.ctx = pq_test_ctx_create(&f.sink, NULL, 1);
    f.bytes = pq_sample_artifact(f.ctx, "fake", FAKE_HONEST, &f.count);
    memcpy(&f.header, f.bytes, sizeof f.header);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;
    pq_free(f->ctx, f->bytes);
    int leaked = pq_live_bytes(f->ctx) != 0;
    ptqc_ctx_destroy(f->ctx);
    return leaked;
}

static uint8_t *
copy_of(const fixture *f)
{
    uint8_t *p = pq_alloc(f->ctx, f->count);
    assert_non_null(p);
    memcpy(p, f->bytes, f->count);
    return p;
}

static ptqc_status
open_bytes(fixture *f, const void *p, size_t n, ptqc_artifact **out)
{
    pq_test_sink_clear(&f->sink);
    ptqc_status st = ptqc_artifact_open_memory(f->ctx, p, n, out);
    assert_int_equal(f->sink.error_count, st == PTQC_OK ? 0 : 1);
    assert_true((st == PTQC_OK) == (*out != NULL));
    return st;
}

// ---- round trip -------------------------------------------------------------

static void
check_info(const ptqc_tensor_info *info, const char *name)
{
    assert_string_equal(info->name, name);
    assert_int_equal(info->dtype, PTQC_F32);
    assert_int_equal(info->rank, 2);
    assert_int_equal(info->dims[0], -1);
    assert_string_equal(info->dim_names[0], "n");
    assert_int_equal(info->dims[1], SAMPLE_INNER);
    assert_null(info->dim_names[1]);
}

static void
check_contents(const ptqc_artifact *a)
{
    ptqc_tensor_info info;
    assert_int_equal(ptqc_artifact_input_count(a), 2);
    assert_int_equal(ptqc_artifact_output_count(a), 1);
    ptqc_artifact_input(a, 0, &info);
    check_info(&info, "a");
    ptqc_artifact_input(a, 1, &info);
    check_info(&info, "b");
    ptqc_artifact_output(a, 0, &info);
    check_info(&info, "y");
    assert_string_equal(ptqc_artifact_metadata(a), SAMPLE_META);
    assert_int_equal(a->program_count, 1);
    assert_int_equal(a->step_count, 1);
    const pq_file_program *p = &a->programs[0];
    assert_true(pq_str_equal_z(
        pq_artifact_text(a, p->plugin_offset, p->plugin_bytes), "fake"));
    ptqc_bytes blob = pq_artifact_blob(a, p);
    assert_int_equal(blob.n, sizeof(fake_blob));
    assert_int_equal((uintptr_t)blob.p % 64, 0);
    assert_int_equal(p->ref_count, 1);
    ptqc_bytes k = pq_artifact_constant(a, a->refs[p->first_ref]);
    const float expected = SAMPLE_K;
    assert_int_equal(k.n, sizeof expected);
    assert_memory_equal(k.p, &expected, sizeof expected);
    assert_int_equal((uintptr_t)k.p % 64, 0);
}

static void
test_round_trip(void **state)
{
    fixture *f = *state;
    ptqc_artifact *a = NULL;
    assert_int_equal(open_bytes(f, f->bytes, f->count, &a), PTQC_OK);
    check_contents(a);
    assert_int_equal(ptqc_artifact_bytes(a), f->count);
    ptqc_artifact_close(a);
    ptqc_artifact_close(NULL);
}

static void
test_same_bytes_every_time(void **state)
{
    fixture *f = *state;
    size_t count;
    void *again = pq_sample_artifact(f->ctx, "fake", FAKE_HONEST, &count);
    assert_int_equal(count, f->count);
    assert_memory_equal(again, f->bytes, count);
    pq_free(f->ctx, again);
}

static void
test_file(void **state)
{
    fixture *f = *state;
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    pq_container *c = NULL;
    pq_writer *writer = NULL;
    ptqc_artifact *a = NULL;
    pq_test_folder_create(&folder);
    pq_test_folder_path(&folder, "m.ptqc", path);
    assert_int_equal(pq_container_create_file(f->ctx, path, 0, &c), PTQC_OK);
    assert_int_equal(pq_sample_fill(c, f->ctx, "fake", FAKE_HONEST), PTQC_OK);
    assert_int_equal(pq_container_finish_file(c, &writer), PTQC_OK);
    assert_int_equal(pq_test_folder_count(&folder), 0); // not there yet
    assert_int_equal(pq_writer_commit(writer), PTQC_OK);
    assert_true(pq_test_file_is(path, f->bytes, f->count));
    assert_int_equal(ptqc_artifact_open(f->ctx, path, &a), PTQC_OK);
    check_contents(a);
    ptqc_artifact_close(a);
    assert_int_not_equal(ptqc_artifact_open(f->ctx, folder.path, &a), PTQC_OK);
    assert_null(a);
    pq_container_destroy(c);
    pq_test_folder_remove(&folder);
}

static void
test_equal_constants_are_stored_once(void **state)
{
    fixture *f = *state;
    static const char text[] = "the same bytes";
    pq_container *c = NULL;
    uint32_t first, second, other, empty;
    assert_int_equal(pq_container_create(f->ctx, &c), PTQC_OK);
    assert_int_equal(pq_container_add_constant(c, text, sizeof text, &first),
                     PTQC_OK);
    assert_int_equal(pq_container_add_constant(c, text, 5, &other), PTQC_OK);
    assert_int_equal(pq_container_add_constant(c, text, sizeof text, &second),
                     PTQC_OK);
    assert_int_equal(pq_container_add_constant(c, NULL, 0, &empty), PTQC_OK);
    assert_int_equal(first, second);
    assert_int_not_equal(first, other);
    assert_int_not_equal(other, empty);
    pq_container_destroy(c);
}

// What is in the file already is found again there.
static void
test_equal_constants_in_a_file(void **state)
{
    fixture *f = *state;
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    static uint8_t large[600 * 1000];
    pq_container *c = NULL;
    pq_writer *writer = NULL;
    ptqc_artifact *a = NULL;
    uint32_t first, second, other;
    pq_test_folder_create(&folder);
    pq_test_folder_path(&folder, "m.ptqc", path);
    assert_int_equal(pq_container_create_file(f->ctx, path, 0, &c), PTQC_OK);
    assert_int_equal(pq_container_add_constant(c, large, sizeof large, &first),
                     PTQC_OK);
    assert_int_equal(pq_sample_fill(c, f->ctx, "fake", FAKE_HONEST), PTQC_OK);
    assert_int_equal(pq_container_add_constant(c, large, sizeof large, &second),
                     PTQC_OK);
    large[sizeof large - 1] = 1;
    assert_int_equal(pq_container_add_constant(c, large, sizeof large, &other),
                     PTQC_OK);
    large[sizeof large - 1] = 0;
    assert_int_equal(first, second);
    assert_int_not_equal(first, other);
    assert_int_equal(pq_container_finish_file(c, &writer), PTQC_OK);
    pq_container_destroy(c);
    assert_int_equal(pq_writer_commit(writer), PTQC_OK);
    assert_int_equal(ptqc_artifact_open(f->ctx, path, &a), PTQC_OK);
    assert_memory_equal(pq_artifact_constant(a, first).p, large, sizeof large);
    assert_in_range(ptqc_artifact_bytes(a), 2 * sizeof large,
                    2 * sizeof large + 4096);
    ptqc_artifact_close(a);
    pq_test_folder_remove(&folder);
}

// An existing file is as it was, and nothing else is there.
static void
check_old(const pq_test_folder *folder, const char *path)
{
    assert_int_equal(pq_test_folder_count(folder), 1);
    assert_true(pq_test_file_is(path, "old", 3));
}

static void
test_unfinished_files_leave_nothing(void **state)
{
    fixture *f = *state;
    ptqc_ctx *ctx = f->ctx;
    static uint8_t large[600 * 1000];
    pq_test_folder folder;
    char path[PQ_TEST_PATH_BYTES];
    pq_container *c = NULL;
    pq_writer *writer = NULL;
    uint32_t index;
    pq_test_folder_create(&folder);
    pq_test_folder_path(&folder, "m.ptqc", path);
    pq_test_file_write(path, "old", 3);
    assert_int_not_equal(pq_container_create_file(ctx, path, 0, &c), PTQC_OK);
    assert_null(c);
    check_old(&folder, path);
    assert_int_equal(pq_container_create_file(ctx, path, PQ_WRITE_REPLACE, &c),
                     PTQC_OK);
    assert_int_equal(pq_sample_fill(c, ctx, "fake", FAKE_HONEST), PTQC_OK);
    ptqc_ctx_cancel(ctx);
    assert_int_equal(pq_container_add_constant(c, large, sizeof large, &index),
                     PTQC_E_CANCELLED);
    assert_int_equal(pq_container_finish_file(c, &writer), PTQC_E_CANCELLED);
    assert_null(writer);
    pq_container_destroy(c);
    check_old(&folder, path);
    pq_test_folder_remove(&folder);
}

// ---- damage -----------------------------------------------------------------

static void
test_every_truncation_is_refused(void **state)
{
    fixture *f = *state;
    for (size_t n = 0; n < f->count; n++) {
        // A copy of exactly n bytes, so that a sanitizer sees over-reads.
        uint8_t *cut = pq_alloc(f->ctx, n);
        ptqc_artifact *a = NULL;
        assert_non_null(cut);
        memcpy(cut, f->bytes, n);
        ptqc_status st = open_bytes(f, cut, n, &a);
        assert_true(st == PTQC_E_INTEGRITY || st == PTQC_E_INPUT);
        assert_true(st == PTQC_E_INTEGRITY || n < sizeof(pq_file_header));
        pq_free(f->ctx, cut);
    }
}

static void
test_longer_is_refused(void **state)
{
    fixture *f = *state;
    uint8_t *p = pq_alloc(f->ctx, f->count + 1);
    ptqc_artifact *a = NULL;
    assert_non_null(p);
    memcpy(p, f->bytes, f->count);
    assert_int_equal(open_bytes(f, p, f->count + 1, &a), PTQC_E_INTEGRITY);
    pq_free(f->ctx, p);
}

// Bytes of DATA that belong to no constant.
static bool
is_padding(const fixture *f, size_t at)
{
    const pq_file_section *data = &f->header.sections[PQ_SECTION_DATA];
    const pq_file_section *table = &f->header.sections[PQ_SECTION_CONSTANTS];
    if (at < data->offset || at - data->offset >= data->bytes) {
        return false;
    }
    for (uint64_t i = 0; i < table->bytes; i += sizeof(pq_file_constant)) {
        pq_file_constant c;
        memcpy(&c, f->bytes + table->offset + i, sizeof c);
        if (at - data->offset >= c.offset &&
            at - data->offset < c.offset + c.bytes) {
            return false;
        }
    }
    return true;
}

static void
test_every_flipped_byte_is_refused(void **state)
{
    fixture *f = *state;
    uint8_t *p = copy_of(f);
    size_t harmless = 0;
    for (size_t i = 0; i < f->count; i++) {
        ptqc_artifact *a = NULL;
        p[i] ^= (uint8_t)(1u << (i % 8));
        ptqc_status st = open_bytes(f, p, f->count, &a);
        if (st == PTQC_OK) {
            assert_true(is_padding(f, i));
            check_contents(a);
            harmless++;
        } else {
            assert_false(is_padding(f, i));
            assert_int_equal(st, i < 8 ? PTQC_E_INPUT : PTQC_E_INTEGRITY);
        }
        ptqc_artifact_close(a);
        p[i] = f->bytes[i];
    }
    assert_true(harmless < 2 * 64); // behind each of two constants
    pq_free(f->ctx, p);
}

// Large artifacts are hashed by all threads: one damaged byte is found,
// wherever it is.
static void
test_damage_in_many_constants(void **state)
{
    (void)state;
    enum { COUNT = 9, BYTES = 1 << 20 };
    static uint8_t k[BYTES];
    for (uint32_t threads = 1; threads <= 4; threads++) {
        ptqc_ctx *ctx = pq_test_ctx_create(NULL, NULL, threads);
        pq_container *c = NULL;
        ptqc_artifact *a = NULL;
        void *bytes = NULL;
        size_t count;
        assert_int_equal(pq_sample_container(ctx, "fake", FAKE_HONEST, &c),
                         PTQC_OK);
        for (uint32_t i = 0; i < COUNT; i++) {
            uint32_t index;
            memset(k, (int)i, sizeof k);
            assert_int_equal(pq_container_add_constant(c, k, BYTES, &index),
                             PTQC_OK);
        }
        assert_int_equal(pq_container_finish_memory(c, &bytes, &count),
                         PTQC_OK);
        pq_container_destroy(c);
        assert_int_equal(ptqc_artifact_open_memory(ctx, bytes, count, &a),
                         PTQC_OK);
        const pq_file_section data = a->header.sections[PQ_SECTION_DATA];
        ptqc_artifact_close(a);
        for (uint32_t i = 0; i < COUNT; i++) {
            uint8_t *p = (uint8_t *)bytes + data.offset + data.bytes -
                         i * (size_t)BYTES - 1;
            *p ^= 64;
            assert_int_equal(ptqc_artifact_open_memory(ctx, bytes, count, &a),
                             PTQC_E_INTEGRITY);
            *p ^= 64;
        }
        pq_free(ctx, bytes);
        ptqc_ctx_destroy(ctx);
    }
}

static void
test_other_version_names_both(void **state)
{
    fixture *f = *state;
    uint8_t *p = copy_of(f);
    ptqc_artifact *a = NULL;
    uint32_t version = 77;
    memcpy(p + offsetof(pq_file_header, version), &version, sizeof version);
    pq_fix_checksums(f->ctx, p, f->count);
    assert_int_equal(open_bytes(f, p, f->count, &a), PTQC_E_INTEGRITY);
    assert_non_null(strstr(f->sink.text, "expected version 2"));
    assert_non_null(strstr(f->sink.text, "found 77"));
    pq_free(f->ctx, p);
}

static void
test_no_artifact(void **state)
{
    fixture *f = *state;
    static const char text[] = "PK\3\4 this is a zip, or so it says, but no "
                               "artifact, and longer than a header would be "
                               "if it were one: see how it goes on and on, "
                               "until it is certainly long enough, at last, "
                               "to be taken for something with sections.";
    ptqc_artifact *a = NULL;
    assert_int_equal(open_bytes(f, text, sizeof text, &a), PTQC_E_INPUT);
}

// ---- hostile tables with right checksums ------------------------------------

// Sets a field and expects the artifact to be refused.
static void
refuses(fixture *f, size_t at, const void *value, size_t bytes)
{
    uint8_t *p = copy_of(f);
    ptqc_artifact *a = NULL;
    assert_true(at + bytes <= f->count);
    memcpy(p + at, value, bytes);
    pq_fix_checksums(f->ctx, p, f->count);
    assert_int_equal(open_bytes(f, p, f->count, &a), PTQC_E_INTEGRITY);
    pq_free(f->ctx, p);
}

static size_t
section(const fixture *f, pq_section_kind kind)
{
    return f->header.sections[kind].offset;
}

static void
test_hostile_tables(void **state)
{
    fixture *f = *state;
    const uint32_t big = 0x7fffffff, all = 0xffffffff, odd = 3;
    const uint64_t huge = UINT64_C(1) << 62, one = 1;
    size_t program = section(f, PQ_SECTION_PROGRAMS);
    size_t step = section(f, PQ_SECTION_STEPS);
    size_t constant = section(f, PQ_SECTION_CONSTANTS);
#define AT(type, field) offsetof(type, field)
#define TABLE_CASES(CASE)                                                      \
    CASE(program + AT(pq_file_program, plugin_offset), big)                    \
    CASE(program + AT(pq_file_program, plugin_bytes), all)                     \
    CASE(program + AT(pq_file_program, target_bytes), big)                     \
    CASE(program + AT(pq_file_program, blob_offset), huge)                     \
    CASE(program + AT(pq_file_program, blob_offset), one)                      \
    CASE(program + AT(pq_file_program, blob_bytes), huge)                      \
    CASE(program + AT(pq_file_program, first_ref), all)                        \
    CASE(program + AT(pq_file_program, ref_count), big)                        \
    CASE(step + AT(pq_file_step, program), odd)                                \
    CASE(step + AT(pq_file_step, entry), odd)                                  \
    CASE(step + AT(pq_file_step, first_operand), all)                          \
    CASE(step + AT(pq_file_step, input_count), all)                            \
    CASE(step + AT(pq_file_step, output_count), all)                           \
    CASE(step + AT(pq_file_step, first_dim), all)                              \
    CASE(step + AT(pq_file_step, dim_count), big)                              \
    CASE(section(f, PQ_SECTION_OPERANDS), odd)                                 \
    CASE(section(f, PQ_SECTION_REFS), big)                                     \
    CASE(constant + AT(pq_file_constant, offset), huge)                        \
    CASE(constant + AT(pq_file_constant, offset), one)                         \
    CASE(constant + AT(pq_file_constant, bytes), huge)                         \
    CASE(section(f, PQ_SECTION_IFACE), big)                                    \
    CASE(AT(pq_file_header, section_count), odd)                               \
    CASE(AT(pq_file_header, file_bytes), one)                                  \
    CASE(AT(pq_file_header, sections), huge)                                   \
    CASE(AT(pq_file_header, sections), one)                                    \
    CASE(AT(pq_file_header, sections) + 8, huge)
#define REFUSES(at, value) refuses(f, at, &value, sizeof value);
    TABLE_CASES(REFUSES)
}

// A value that is input and output at once would have two memories.
static void
test_value_listed_twice(void **state)
{
    fixture *f = *state;
    size_t iface = section(f, PQ_SECTION_IFACE);
    ptqc_gb_header gb;
    memcpy(&gb, f->bytes + iface, sizeof gb);
    uint32_t input;
    memcpy(&input, f->bytes + iface + gb.sections[PTQC_GB_INPUTS].offset,
           sizeof input);
    refuses(f, iface + gb.sections[PTQC_GB_OUTPUTS].offset, &input,
            sizeof input);
}

// ---- memory -----------------------------------------------------------------

static ptqc_status
open_and_close(ptqc_ctx *ctx, void *user)
{
    fixture *f = user;
    ptqc_artifact *a = NULL;
    PQ_TRY(ptqc_artifact_open_memory(ctx, f->bytes, f->count, &a));
    ptqc_artifact_close(a);
    return PTQC_OK;
}

static ptqc_status
write_all(ptqc_ctx *ctx, void *user)
{
    pq_container *c = NULL;
    void *bytes = NULL;
    size_t count;
    (void)user;
    PQ_TRY(pq_sample_container(ctx, "fake", FAKE_HONEST, &c));
    ptqc_status st = pq_container_finish_memory(c, &bytes, &count);
    pq_free(ctx, bytes);
    pq_container_destroy(c);
    return st;
}

static void
test_out_of_memory(void **state)
{
    assert_true(pq_test_alloc_sweep(open_and_close, *state) > 5);
    assert_true(pq_test_alloc_sweep(write_all, NULL) > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),
        TEST(test_same_bytes_every_time),
        TEST(test_file),
        TEST(test_equal_constants_are_stored_once),
        TEST(test_equal_constants_in_a_file),
        TEST(test_unfinished_files_leave_nothing),
        TEST(test_damage_in_many_constants),
        TEST(test_every_truncation_is_refused),
        TEST(test_longer_is_refused),
        TEST(test_every_flipped_byte_is_refused),
        TEST(test_other_version_names_both),
        TEST(test_no_artifact),
        TEST(test_hostile_tables),
        TEST(test_value_listed_twice),
        TEST(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
