// SPDX-License-Identifier: Apache-2.0
//
// Dense codes: a row of K codes of b bits is one little-endian, LSB-first bit
// stream, code k in bits [b*k, b*k + b):
//
//   b = 4   byte  0              1              2
//           bits  3..0   7..4    3..0   7..4    3..0 ...
//           code  k=0    k=1     k=2    k=3     k=4
//   b = 3   byte  0                       1
//           bits  2..0  5..3  7..6|0      3..1 ...
//           code  k=0   k=1   k=2 (2+1)   k=3
//   b = 8   byte k is code k
//
// Each row starts on a byte; unused high bits of its last byte are 0. This is
// the canonical order of GPTQ columns, compressed-tensors rows and ONNX
// MatMulNBits. Signed codes are stored in two's complement of b bits.
#ifndef PTQC_QUANT_PACK_H
#define PTQC_QUANT_PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes of a row of `count` codes of 1..8 bits.
size_t pq_packed_bytes(size_t count, unsigned bits);
// codes: one byte each, the low `bits` bits count. out: pq_packed_bytes.
void pq_pack_row(const uint8_t *codes, size_t count, unsigned bits,
                 uint8_t *out);
// is_signed: codes are extended to the byte's sign.
void pq_unpack_row(const uint8_t *packed, size_t count, unsigned bits,
                   bool is_signed, uint8_t *out);

#endif
