// SPDX-License-Identifier: Apache-2.0
//
// The shared object as a file (ELF, 64 bits, little-endian): exactly one
// exported symbol, nothing unique, no text relocations, no executable stack,
// read-only relocations. ELF gABI 4.1; GNU extensions: PT_GNU_STACK,
// PT_GNU_RELRO, STB_GNU_UNIQUE.
#include "base/file.h"

#include <elf.h>
#include <string.h>

#include "tools/conform/conform.h"

typedef struct pq_elf {
    const uint8_t *p;
    size_t n;
    Elf64_Ehdr header;
    const char *wrong; // first breach
} pq_elf;

static bool
fits(const pq_elf *e, uint64_t at, uint64_t bytes)
{
    return at <= e->n && bytes <= e->n - at;
}

static void
complain(pq_elf *e, const char *what)
{
    e->wrong = e->wrong != NULL ? e->wrong : what;
}

// ---- segments -------------------------------------------------------------

static void
check_segments(pq_elf *e)
{
    bool has_stack = false, has_relro = false;
    for (unsigned i = 0; i < e->header.e_phnum; i++) {
        Elf64_Phdr s;
        uint64_t at = e->header.e_phoff + (uint64_t)i * sizeof s;
        if (!fits(e, at, sizeof s)) {
            complain(e, "its program headers are cut off");
            return;
        }
        memcpy(&s, e->p + at, sizeof s);
        has_relro |= s.p_type == PT_GNU_RELRO;
        if (s.p_type == PT_GNU_STACK) {
            has_stack = true;
            if ((s.p_flags & PF_X) != 0) {
                complain(e, "it asks for an executable stack");
            }
        }
        if (s.p_type == PT_LOAD && (s.p_flags & PF_X) != 0 &&
            (s.p_flags & PF_W) != 0) {
            complain(e, "a segment is writable and executable");
        }
    }
    if (!has_stack) {
        complain(e, "no PT_GNU_STACK: the stack would be executable");
    }
    if (!has_relro) {
        complain(e, "no PT_GNU_RELRO (link with -z relro)");
    }
}

// ---- dynamic section and symbols ------------------------------------------

static void
check_dynamic(pq_elf *e, const Elf64_Shdr *section)
{
    bool is_now = false;
    for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= section->sh_size;
         at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn d;
        memcpy(&d, e->p + section->sh_offset + at, sizeof d);
        if (d.d_tag == DT_TEXTREL ||
            (d.d_tag == DT_FLAGS && (d.d_un.d_val & DF_TEXTREL) != 0)) {
            complain(e, "it has text relocations (compile with -fPIC)");
        }
        is_now |= d.d_tag == DT_BIND_NOW ||
                  (d.d_tag == DT_FLAGS && (d.d_un.d_val & DF_BIND_NOW) != 0) ||
                  (d.d_tag == DT_FLAGS_1 && (d.d_un.d_val & DF_1_NOW) != 0);
    }
    if (!is_now) {
        complain(e, "its relocations stay writable (link with -z now)");
    }
}

static bool
is_query(const pq_elf *e, const Elf64_Shdr *strings, uint32_t name)
{
    size_t n = sizeof PTQC_QUERY_SYMBOL; // with the NUL
    return name <= strings->sh_size && n <= strings->sh_size - name &&
           memcmp(e->p + strings->sh_offset + name, PTQC_QUERY_SYMBOL, n) == 0;
}

static void
check_symbols(pq_elf *e, const Elf64_Shdr *symbols, const Elf64_Shdr *strings)
{
    bool has_query = false;
    unsigned exports = 0;
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols->sh_size;
         at += sizeof(Elf64_Sym)) {
        Elf64_Sym s;
        memcpy(&s, e->p + symbols->sh_offset + at, sizeof s);
        unsigned bind = ELF64_ST_BIND(s.st_info);
        if (bind == STB_LOCAL || s.st_shndx == SHN_UNDEF) {
            continue;
        }
        exports++;
        has_query |= is_query(e, strings, s.st_name);
        if (bind == STB_GNU_UNIQUE) {
            complain(e, "it has a GNU unique symbol, which is process-wide");
        }
    }
    if (!has_query) {
        complain(e, "it does not export " PTQC_QUERY_SYMBOL);
    }
    if (exports > 1) {
        complain(e, "it exports more than " PTQC_QUERY_SYMBOL
                    " (use a version script)");
    }
}

static bool
section_at(const pq_elf *e, unsigned i, Elf64_Shdr *out)
{
    uint64_t at = e->header.e_shoff + (uint64_t)i * sizeof *out;
    if (i >= e->header.e_shnum || !fits(e, at, sizeof *out)) {
        return false;
    }
    memcpy(out, e->p + at, sizeof *out);
    return out->sh_type == SHT_NOBITS || fits(e, out->sh_offset, out->sh_size);
}

static void
check_sections(pq_elf *e)
{
    bool has_dynamic = false, has_symbols = false;
    Elf64_Shdr s, strings;
    for (unsigned i = 0; section_at(e, i, &s); i++) {
        if (s.sh_type == SHT_DYNAMIC) {
            has_dynamic = true;
            check_dynamic(e, &s);
        }
        if (s.sh_type == SHT_DYNSYM && section_at(e, s.sh_link, &strings)) {
            has_symbols = true;
            check_symbols(e, &s, &strings);
        }
    }
    if (!has_dynamic || !has_symbols) {
        complain(e, "it has no dynamic section or symbols");
    }
}

void
pq_kit_check_file(ptqc_ctx *ctx, const char *path, pq_result *out)
{
    pq_map map = {0};
    if (pq_map_open(ctx, path, &map) != PTQC_OK) {
        pq_result_say(out, PQ_FAIL, "cannot be read");
        return;
    }
    pq_elf e = {.p = map.p, .n = map.n};
    if (e.n >= sizeof e.header) {
        memcpy(&e.header, e.p, sizeof e.header);
    }
    if (e.n < sizeof e.header ||
        memcmp(e.header.e_ident, ELFMAG, SELFMAG) != 0 ||
        e.header.e_ident[EI_CLASS] != ELFCLASS64 ||
        e.header.e_ident[EI_DATA] != ELFDATA2LSB || e.header.e_type != ET_DYN) {
        complain(&e, "no 64-bit little-endian shared object");
    } else {
        check_segments(&e);
        check_sections(&e);
    }
    pq_map_close(&map);
    if (e.wrong != NULL) {
        pq_result_say(out, PQ_FAIL, "%s", e.wrong);
    } else {
        pq_result_say(out, PQ_PASS, "one export, hardened");
    }
}
