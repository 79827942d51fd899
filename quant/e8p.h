// SPDX-License-Identifier: Apache-2.0
//
// E8P, the 2-bit codebook of QuIP# (Tseng et al., 2024, section 4.2 and
// appendix C): 65 536 points of E8 + 1/4, eight numbers by one code of 16 bits,
// whose magnitudes fit a table of 256 vectors. A code is that of the published
// implementation, bit for bit:
//
//   bit     15 ......... 8    7    6   5   4   3   2   1    0
//           index of v        n7'  n5  n3  n1  n6  n4  n2   parity
//
//   x_i = (-1)^n_i v_i + (shift ? -1/4 : 1/4)
//
//   v      [8] magnitudes 1/2, 3/2, 5/2: the 227 of D8 + 1/2 with |v|^2 <= 10
//          in ascending (lexicographic) order, then 29 of the 56 with
//          five 3/2 and three 1/2 (|v|^2 = 12)
//   n7     n7' xor (sum of v is odd): the sum of (-1)^n_i v_i is even, as D8
//          asks
//   n0     the parity of bits 7..1
//   shift  the parity of bits 7..0
//
// Numbers of deviation 1 are multiplied by PQ_E8P_SCALE before they are
// encoded: then the mean squared error per number is least, .091 of theirs.
//
// Threads: any number of them may share one book, which nothing changes.
#ifndef PTQC_QUANT_E8P_H
#define PTQC_QUANT_E8P_H

#include <stdint.h>

#define PQ_E8P_WIDTH 8   // numbers of a code
#define PQ_E8P_COUNT 256 // vectors of magnitudes
#define PQ_E8P_SCALE 1.03f

typedef struct pq_e8p {
    float numbers[PQ_E8P_WIDTH][PQ_E8P_COUNT]; // v
    float half_norms[PQ_E8P_COUNT];            // |v|^2 / 2
    uint8_t odd[PQ_E8P_COUNT];                 // 1: the sum of v is odd
} pq_e8p;

// The table, generated: 9.5 KB that the caller holds.
void pq_e8p_init(pq_e8p *out);

// The point of a code; every code has one, no two the same. Exact.
void pq_e8p_decode(const pq_e8p *book, uint16_t code, float out[PQ_E8P_WIDTH]);

// The code of the nearest point; of equally near ones that without shift, then
// that of the lowest index. x that is not finite counts as 0, beyond 2^60 as
// that.
uint16_t pq_e8p_encode(const pq_e8p *book, const float x[PQ_E8P_WIDTH]);

#endif
