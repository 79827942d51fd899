// SPDX-License-Identifier: Apache-2.0
//
// Minimal ELF loader for kernel objects (System V ABI, gABI chapter 4 and the
// AMD64 supplement section 4.4): allocatable sections are laid out in one
// mapping, PC-relative relocations between them applied, then the mapping is
// made read + execute. W^X: it is never writable and executable at once.
#include "code.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_SECTIONS    64u
#define MAX_IMAGE_BYTES ((size_t)64 << 20)
// Bytes before the first section: -fsanitize=function reads a word in front
// of a called function.
#define HEAD_BYTES 64u

typedef struct image {
    const uint8_t *object; // borrowed
    size_t object_bytes;
    uint32_t section_count;
    Elf64_Shdr section[MAX_SECTIONS];
    size_t place[MAX_SECTIONS]; // offset in the mapping
    size_t bytes;               // of the mapping
    uint8_t *base;
    const char *why;
} image;

static int
refuse(image *im, const char *why)
{
    im->why = why;
    return 0;
}

static int
inside(const image *im, uint64_t offset, uint64_t bytes)
{
    return offset <= im->object_bytes && bytes <= im->object_bytes - offset;
}

static int
is_placed(const Elf64_Shdr *section)
{
    return (section->sh_flags & SHF_ALLOC) != 0 && section->sh_size > 0;
}

static int
read_sections(image *im)
{
    Elf64_Ehdr header;
    if (!inside(im, 0, sizeof header)) {
        return refuse(im, "object is shorter than an ELF header");
    }
    memcpy(&header, im->object, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_type != ET_REL ||
        header.e_machine != EM_X86_64 ||
        header.e_shentsize != sizeof(Elf64_Shdr)) {
        return refuse(im, "not an x86-64 relocatable object");
    }
    im->section_count = header.e_shnum;
    if (im->section_count > MAX_SECTIONS ||
        !inside(im, header.e_shoff,
                (uint64_t)im->section_count * sizeof(Elf64_Shdr))) {
        return refuse(im, "section table out of bounds");
    }
    if (im->section_count > 0) {
        memcpy(im->section, im->object + header.e_shoff,
               im->section_count * sizeof(Elf64_Shdr));
    }
    for (uint32_t i = 0; i < im->section_count; i++) {
        const Elf64_Shdr *s = &im->section[i];
        if (s->sh_type != SHT_NOBITS && !inside(im, s->sh_offset, s->sh_size)) {
            return refuse(im, "section out of bounds");
        }
    }
    return 1;
}

static int
place_sections(image *im)
{
    size_t end = HEAD_BYTES;
    for (uint32_t i = 0; i < im->section_count; i++) {
        const Elf64_Shdr *s = &im->section[i];
        if (!is_placed(s)) {
            continue;
        }
        uint64_t align = s->sh_addralign > 0 ? s->sh_addralign : 1;
        if ((align & (align - 1)) != 0 || align > 4096 ||
            s->sh_size > MAX_IMAGE_BYTES || end > MAX_IMAGE_BYTES) {
            return refuse(im, "section size or alignment out of range");
        }
        if (s->sh_type == SHT_NOBITS || (s->sh_flags & SHF_WRITE) != 0) {
            return refuse(im, "kernel object has writable data");
        }
        end = (end + align - 1) & ~(size_t)(align - 1);
        im->place[i] = end;
        end += s->sh_size;
    }
    im->bytes = end;
    return end > HEAD_BYTES ? 1 : refuse(im, "object has no code");
}

static int
find_symbols(image *im, const Elf64_Shdr **out)
{
    for (uint32_t i = 0; i < im->section_count; i++) {
        const Elf64_Shdr *s = &im->section[i];
        if (s->sh_type == SHT_SYMTAB) {
            if (s->sh_entsize != sizeof(Elf64_Sym) ||
                s->sh_link >= im->section_count ||
                im->section[s->sh_link].sh_type != SHT_STRTAB) {
                return refuse(im, "damaged symbol table");
            }
            *out = s;
            return 1;
        }
    }
    return refuse(im, "no symbol table");
}

static int
read_symbol(image *im, const Elf64_Shdr *table, uint64_t index, Elf64_Sym *out)
{
    if (index >= table->sh_size / sizeof *out) {
        return refuse(im, "symbol index out of bounds");
    }
    memcpy(out, im->object + table->sh_offset + index * sizeof *out,
           sizeof *out);
    return 1;
}

// Offset of a symbol in the mapping.
static int
place_symbol(image *im, const Elf64_Sym *symbol, size_t *out)
{
    if (symbol->st_shndx == SHN_UNDEF ||
        symbol->st_shndx >= im->section_count) {
        return refuse(im, "undefined symbol");
    }
    const Elf64_Shdr *s = &im->section[symbol->st_shndx];
    if (!is_placed(s) || symbol->st_value > s->sh_size) {
        return refuse(im, "symbol outside of loaded sections");
    }
    *out = im->place[symbol->st_shndx] + symbol->st_value;
    return 1;
}

static int
is_named(const image *im, const Elf64_Shdr *table, const Elf64_Sym *symbol,
         const char *name)
{
    const Elf64_Shdr *names = &im->section[table->sh_link];
    size_t bytes = strlen(name) + 1;
    return symbol->st_name < names->sh_size &&
           bytes <= names->sh_size - symbol->st_name &&
           memcmp(im->object + names->sh_offset + symbol->st_name, name,
                  bytes) == 0;
}

static int
find_kernel(image *im, const Elf64_Shdr *table, size_t *out)
{
    size_t found = SIZE_MAX;
    for (uint64_t i = 1; i < table->sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym symbol;
        if (!read_symbol(im, table, i, &symbol)) {
            return 0;
        }
        if (symbol.st_shndx == SHN_UNDEF) {
            return refuse(im, "undefined symbol");
        }
        if (is_named(im, table, &symbol, "kernel") &&
            !place_symbol(im, &symbol, &found)) {
            return 0;
        }
    }
    *out = found;
    return found < im->bytes ? 1 : refuse(im, "no function \"kernel\"");
}

static int
apply_relocation(image *im, uint32_t target, const Elf64_Shdr *table,
                 const Elf64_Rela *rela)
{
    Elf64_Sym symbol;
    size_t at;
    uint32_t type = (uint32_t)ELF64_R_TYPE(rela->r_info);
    if (type != R_X86_64_PC32 && type != R_X86_64_PLT32) {
        return refuse(im, "relocation is not PC-relative");
    }
    if (!read_symbol(im, table, ELF64_R_SYM(rela->r_info), &symbol) ||
        !place_symbol(im, &symbol, &at)) {
        return 0;
    }
    uint64_t bytes = im->section[target].sh_size;
    if (rela->r_offset > bytes || bytes - rela->r_offset < 4) {
        return refuse(im, "relocation out of bounds");
    }
    size_t from = im->place[target] + rela->r_offset;
    int64_t value = (int64_t)at + rela->r_addend - (int64_t)from;
    if (value < INT32_MIN || value > INT32_MAX) {
        return refuse(im, "relocation overflows");
    }
    int32_t word = (int32_t)value;
    memcpy(im->base + from, &word, sizeof word);
    return 1;
}

static int
apply_relocations(image *im, const Elf64_Shdr *symbols)
{
    for (uint32_t i = 0; i < im->section_count; i++) {
        const Elf64_Shdr *s = &im->section[i];
        if (s->sh_type == SHT_REL) {
            return refuse(im, "relocations without addends");
        }
        if (s->sh_type != SHT_RELA || s->sh_info >= im->section_count ||
            !is_placed(&im->section[s->sh_info])) {
            continue;
        }
        for (uint64_t k = 0; k < s->sh_size / sizeof(Elf64_Rela); k++) {
            Elf64_Rela rela;
            memcpy(&rela, im->object + s->sh_offset + k * sizeof rela,
                   sizeof rela);
            if (!apply_relocation(im, s->sh_info, symbols, &rela)) {
                return 0;
            }
        }
    }
    return 1;
}

static void
copy_sections(image *im)
{
    for (uint32_t i = 0; i < im->section_count; i++) {
        const Elf64_Shdr *s = &im->section[i];
        if (is_placed(s)) {
            memcpy(im->base + im->place[i], im->object + s->sh_offset,
                   s->sh_size);
        }
    }
}

ptqc_be_status
pq_code_load(ptqc_bytes object, pq_code *out, const char **out_why)
{
    image im = {.object = object.p, .object_bytes = (size_t)object.n};
    const Elf64_Shdr *symbols = NULL;
    size_t entry = 0;
    *out_why = "";
    if (!read_sections(&im) || !place_sections(&im) ||
        !find_symbols(&im, &symbols) || !find_kernel(&im, symbols, &entry)) {
        *out_why = im.why;
        return PTQC_BE_CORRUPT;
    }
    void *pages = mmap(NULL, im.bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        *out_why = "no memory for code";
        return PTQC_BE_RESOURCE;
    }
    im.base = pages;
    copy_sections(&im);
    ptqc_be_status st = PTQC_BE_OK;
    if (!apply_relocations(&im, symbols)) {
        *out_why = im.why;
        st = PTQC_BE_CORRUPT;
    } else if (mprotect(pages, im.bytes, PROT_READ | PROT_EXEC) != 0) {
        *out_why = "the system refuses executable memory";
        st = PTQC_BE_RESOURCE;
    }
    if (st != PTQC_BE_OK) {
        munmap(pages, im.bytes);
        return st;
    }
    uintptr_t address = (uintptr_t)pages + entry;
    *out = (pq_code){.pages = pages, .bytes = im.bytes};
    memcpy(&out->entry, &address, sizeof address);
    return PTQC_BE_OK;
}

void
pq_code_unload(pq_code *code)
{
    munmap(code->pages, code->bytes);
    *code = (pq_code){0};
}
