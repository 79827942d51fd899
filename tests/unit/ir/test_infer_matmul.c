// SPDX-License-Identifier: Apache-2.0
//
// matmul and recurrent cells.
#include "tests/unit/ir/ir_test.h"

static const ir_case matmul_cases[] = {
    {"%x: f32[2, 3]; %w: f32[3, 5]", "%y: f32[2, 5] = matmul(%x, %w)", NULL},
    {"%x: f32[3, 2]; %w: f32[5, 3]",
     "%y: f32[2, 5] = matmul(%x, %w) {trans_a = 1, trans_b = 1}", NULL},
    {"%x: f32[N, 4, M, 3]; %w: f32[3, 5]",
     "%y: f32[N, 4, M, 5] = matmul(%x, %w)", NULL},
    {"%x: f32[4, 1, 2, 3]; %w: f32[7, 3, 5]",
     "%y: f32[4, 7, 2, 5] = matmul(%x, %w)", NULL},
    {"%x: f32[3]; %w: f32[3, 5]", "%y: f32[5] = matmul(%x, %w)", NULL},
    {"%x: f32[2, 3]; %w: f32[3]", "%y: f32[2] = matmul(%x, %w)", NULL},
    {"%x: f32[3]; %w: f32[3]", "%y: f32[] = matmul(%x, %w)", NULL},
    {"%x: f32[2, 3]; %w: f32[3, 5]; %b: f32[5]; %r: f32[2, 5]",
     "%y: f32[2, 5] = matmul(%x, %w, %b, %r) {act = gelu}", NULL},
    {"%x: f32[2, 3]; %w: f32[3, 5]; %s: f32[2, 1]",
     "%y: f32[2, 5] = matmul(%x, %w, _, _, %s)", NULL},
    {"%x: f32[2, 3]; %w: f32[4, 5]", "%y: f32[2, 5] = matmul(%x, %w)",
     "input 1: expected 3 elements on axis 0, found 4"},
    {"%x: f32[2, 3]; %w: f32[5, 4]",
     "%y: f32[2, 5] = matmul(%x, %w) {trans_b = 1}",
     "input 1: expected 3 elements on axis 1, found 4"},
    {"%x: f32[2, 2, 3]; %w: f32[3, 3, 5]", "%y: f32[2, 2, 5] = matmul(%x, %w)",
     "does not broadcast"},
    {"%x: f32[2, 3]; %w: f32[3, 5]; %b: f32[1]",
     "%y: f32[2, 5] = matmul(%x, %w, %b)", "input 2"},
    {"%x: f32[2, 3]; %w: f32[3, 5]; %s: f32[2, 3]",
     "%y: f32[2, 5] = matmul(%x, %w, _, _, %s)", "input 4"},
    {"%x: f32[]; %w: f32[3, 5]", "%y: f32[5] = matmul(%x, %w)", "rank"},
};

#define XWR "%x: f32[M, N, 10]; %w: f32[1, 24, 10]; %r: f32[1, 24, 6]"
#define OUT "%y: f32[M, 1, N, 6], %h: f32[1, N, 6], %c: f32[1, N, 6] = "

static const ir_case recurrent_cases[] = {
    {XWR, OUT "lstm(%x, %w, %r) {hidden = 6}", NULL},
    {XWR "; %b: f32[1, 48]; %s: i32[N]; %h0: f32[1, N, 6]; "
         "%c0: f32[1, N, 6]; %p: f32[1, 18]",
     OUT "lstm(%x, %w, %r, %b, %s, %h0, %c0, %p)", NULL},
    {"%x: f32[N, M, 10]; %w: f32[2, 18, 10]; %r: f32[2, 18, 6]; "
     "%h0: f32[N, 2, 6]",
     "%y: f32[N, M, 2, 6], %h: f32[N, 2, 6] = gru(%x, %w, %r, _, _, %h0) "
     "{direction = 2, batch_first = 1}",
     NULL},
    {"%x: f32[4, 2, 10]; %w: f32[1, 6, 10]; %r: f32[1, 6, 6]",
     "%y: f32[4, 1, 2, 6], %h: f32[1, 2, 6] = rnn(%x, %w, %r)", NULL},
    {XWR "; %b: f32[1, 47]", OUT "lstm(%x, %w, %r, %b)", "input 3"},
    {XWR, OUT "lstm(%x, %w, %r) {hidden = 7}", "input 2"},
    {XWR, OUT "lstm(%x, %w, %r) {direction = 3}", "direction"},
    {XWR, OUT "lstm(%x, %w, %r) {direction = 2}", "input 1"},
    {"%x: f32[M, N, 11]; %w: f32[1, 24, 10]; %r: f32[1, 24, 6]",
     OUT "lstm(%x, %w, %r)", "input 1"},
};

static void
test_matmul(void **state)
{
    (void)state;
    IR_CHECK(matmul_cases);
}

static void
test_recurrent(void **state)
{
    (void)state;
    IR_CHECK(recurrent_cases);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_recurrent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
