// SPDX-License-Identifier: Apache-2.0
//
// A shared library made of static ones needs a source file of its own.
typedef int ptqc_empty_file;
