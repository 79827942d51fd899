// SPDX-License-Identifier: Apache-2.0
//
// Trellis codes of QTIP (Tseng et al., 2024, section 3): n numbers are one
// ring of n k bits, the i-th number is that of the L bits (a state) which
// begin at bit i k. So each number costs k bits and neighbours share L - k of
// theirs, the last with the first, too ("tail-biting"). For L = 6, k = 2, n =
// 4, the ring b0 ... b7:
//
//   state 0   b0 b1 b2 b3 b4 b5
//   state 1         b2 b3 b4 b5 b6 b7
//   state 2               b4 b5 b6 b7 b0 b1
//   state 3                     b6 b7 b0 b1 b2 b3     x_i = number(state i)
//
// The first bit of a state is its highest. Packed, bit b of the ring is bit 15
// - b % 16 of the 16-bit word b / 16, unused bits of the last word are 0, as
// the published implementation has it. No table need be stored: the number of
// a state is computed from it,
//
//   3INST   y = state * 89226354 + 64248484 modulo 2^32; z = (y & 0x8fff8fff)
//           xor 0x3b603b60; the sum, in f16, of the halves of z as f16
//   1MAD    y = state * 34038481 + 76625530 modulo 2^32; (the sum of the four
//           bytes of y - 510) / 147.8005
//
// which looks random and normal, of deviation 1.2437 and 1. The caller
// multiplies what it encodes to the deviation of least error: about that of
// the code for k = 2, .94 and .9 of it for k = 3 and 4.
#ifndef PTQC_QUANT_TRELLIS_H
#define PTQC_QUANT_TRELLIS_H

#include "base/ctx.h"

typedef enum pq_trellis_code {
    PQ_TRELLIS_3INST,
    PQ_TRELLIS_1MAD
} pq_trellis_code;

// Any thread may read one that is made.
typedef struct pq_trellis {
    pq_trellis_code code;
    unsigned state_bits; // L
    unsigned step_bits;  // k
    float *numbers;      // owned: [2^L]
} pq_trellis;

// The number of a state of at most 16 bits. Exact, the same on all machines.
float pq_trellis_number(pq_trellis_code code, uint32_t state);

// QTIP has 16 bits of state; a search costs 2^state_bits operations per
// number. PTQC_E_UNSUPPORTED: state_bits not of 2..16, or step_bits not of
// 1..8 and below state_bits. deinit may follow a failed init.
PTQC_MUST_USE ptqc_status pq_trellis_init(ptqc_ctx *ctx, pq_trellis_code code,
                                          unsigned state_bits,
                                          unsigned step_bits, pq_trellis *out);
void pq_trellis_deinit(ptqc_ctx *ctx, pq_trellis *trellis);

// Rings for the rows of x [rows][n], each for itself: out_states [rows][n], of
// the least squared error that Viterbi's algorithm finds in two passes (QTIP,
// algorithm 4): one over the row turned by half, free at its ends, chooses the
// bits that the last and first states share, the second one keeps them. x that
// is not finite counts as 0, beyond 2^16 as that. PTQC_E_UNSUPPORTED: n *
// step_bits is below state_bits.
// Rows are shared by the context's threads; same bytes for any number of them.
// Memory: per thread, n * 2^(state_bits - step_bits) bytes and 2 * 2^state_bits
// floats at most.
PTQC_MUST_USE ptqc_status pq_trellis_search(ptqc_ctx *ctx,
                                            const pq_trellis *trellis,
                                            const float *x, int64_t rows,
                                            int64_t n, uint16_t *out_states);

// 16-bit words of a ring of n numbers; n >= 0.
size_t pq_trellis_word_count(const pq_trellis *trellis, int64_t n);
// One ring: states [n] as the search gives them, words [word_count].
void pq_trellis_pack(const pq_trellis *trellis, const uint16_t *states,
                     int64_t n, uint16_t *out_words);
void pq_trellis_unpack(const pq_trellis *trellis, const uint16_t *words,
                       int64_t n, uint16_t *out_states);
// out [n]: the numbers of its states. Any words are a ring.
void pq_trellis_decode(const pq_trellis *trellis, const uint16_t *words,
                       int64_t n, float *out);

#endif
