#include "kernels/code_meta.h"
#include <elf.h>
#include <stdlib.h>
#include <string.h>

/* A reader that stays inside its bytes: after a read beyond the end, `bad` is set and all reads give zeros. */
struct reader {
	const unsigned char *p, *end;
	bool bad;
};

static uint64_t big_endian(struct reader *r, int bytes)
{
	uint64_t x = 0;

	if (r->end - r->p < bytes) {
		r->bad = true;
		return 0;
	}
	while (bytes-- > 0)
		x = x << 8 | *r->p++;
	return x;
}

enum kind { NIL, BOOL, INT, STR, LIST, MAP, OTHER };

struct value {
	enum kind kind;
	uint64_t n;      /* the number, or the length of a string, list or map */
	const char *str; /* not terminated */
};

static struct value counted(struct reader *r, enum kind kind, uint64_t n)
{
	struct value v = { .kind = kind, .n = n };

	if (kind == STR) {
		v.str = (const char *)r->p;
		if ((uint64_t)(r->end - r->p) < n)
			r->bad = true;
		else
			r->p += n;
	}
	return v;
}

/* MessagePack, as far as this metadata uses it; what else comes is bad. */
static struct value next(struct reader *r)
{
	unsigned c = (unsigned)big_endian(r, 1);

	if (c < 0x80)
		return counted(r, INT, c);
	if (c < 0x90)
		return counted(r, MAP, c & 15);
	if (c < 0xa0)
		return counted(r, LIST, c & 15);
	if (c < 0xc0)
		return counted(r, STR, c & 31);
	switch (c) {
	case 0xc0: return counted(r, NIL, 0);
	case 0xc2:
	case 0xc3: return counted(r, BOOL, c & 1);
	case 0xcc: return counted(r, INT, big_endian(r, 1));
	case 0xcd: return counted(r, INT, big_endian(r, 2));
	case 0xce: return counted(r, INT, big_endian(r, 4));
	case 0xcf: return counted(r, INT, big_endian(r, 8));
	case 0xd9: return counted(r, STR, big_endian(r, 1));
	case 0xda: return counted(r, STR, big_endian(r, 2));
	case 0xdc: return counted(r, LIST, big_endian(r, 2));
	case 0xde: return counted(r, MAP, big_endian(r, 2));
	}
	r->bad = true;
	return (struct value){ .kind = OTHER };
}

static void skip_value(struct reader *r, int depth)
{
	struct value v = next(r);
	uint64_t n = v.kind == MAP ? 2 * v.n : v.kind == LIST ? v.n : 0;

	if (depth > 16)
		r->bad = true;
	while (n-- > 0 && !r->bad)
		skip_value(r, depth + 1);
}

static bool is(struct value v, const char *s)
{
	return v.kind == STR && v.n == strlen(s) && memcmp(v.str, s, v.n) == 0;
}

static void copy_str(char *dst, size_t cap, struct value v)
{
	size_t n = v.kind == STR ? (v.n < cap - 1 ? v.n : cap - 1) : 0;

	memcpy(dst, v.kind == STR ? v.str : "", n);
	dst[n] = 0;
}

static void read_arg(struct reader *r, struct code_arg *a)
{
	struct value map = next(r);

	for (uint64_t i = 0; map.kind == MAP && i < map.n && !r->bad; i++) {
		struct value key = next(r);

		if (is(key, ".offset"))
			a->offset = (uint32_t)next(r).n;
		else if (is(key, ".size"))
			a->size = (uint32_t)next(r).n;
		else if (is(key, ".value_kind"))
			copy_str(a->kind, sizeof a->kind, next(r));
		else
			skip_value(r, 0);
	}
}

static void read_args(struct reader *r, struct code_kernel *k)
{
	struct value list = next(r);

	for (uint64_t i = 0; list.kind == LIST && i < list.n && !r->bad; i++) {
		struct code_arg beyond;

		read_arg(r, i < CODE_META_ARGS ? &k->args[i] : &beyond);
		k->n_args++;
	}
}

static bool read_number(struct reader *r, struct value key, struct code_kernel *k)
{
	static const struct {
		const char *name;
		size_t offset;
	} fields[] = {
		{ ".vgpr_count", offsetof(struct code_kernel, vgpr) },
		{ ".agpr_count", offsetof(struct code_kernel, agpr) },
		{ ".sgpr_count", offsetof(struct code_kernel, sgpr) },
		{ ".vgpr_spill_count", offsetof(struct code_kernel, vgpr_spills) },
		{ ".sgpr_spill_count", offsetof(struct code_kernel, sgpr_spills) },
		{ ".group_segment_fixed_size", offsetof(struct code_kernel, lds_bytes) },
		{ ".private_segment_fixed_size", offsetof(struct code_kernel, scratch_bytes) },
		{ ".max_flat_workgroup_size", offsetof(struct code_kernel, max_threads) },
		{ ".wavefront_size", offsetof(struct code_kernel, wave) },
		{ ".kernarg_segment_size", offsetof(struct code_kernel, kernarg_bytes) },
	};

	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		if (!is(key, fields[i].name))
			continue;
		*(uint32_t *)((char *)k + fields[i].offset) = (uint32_t)next(r).n;
		return true;
	}
	return false;
}

static void read_kernel(struct reader *r, struct code_kernel *k)
{
	struct value map = next(r);

	for (uint64_t i = 0; map.kind == MAP && i < map.n && !r->bad; i++) {
		struct value key = next(r);

		if (read_number(r, key, k))
			continue;
		if (is(key, ".name"))
			copy_str(k->name, sizeof k->name, next(r));
		else if (is(key, ".uses_dynamic_stack"))
			k->dynamic_stack = next(r).n != 0;
		else if (is(key, ".args"))
			read_args(r, k);
		else
			skip_value(r, 0);
	}
}

static bool read_metadata(struct code_meta *m, struct reader r)
{
	struct value map = next(&r);

	for (uint64_t i = 0; map.kind == MAP && i < map.n && !r.bad; i++) {
		struct value key = next(&r), list;

		if (!is(key, "amdhsa.kernels")) {
			skip_value(&r, 0);
			continue;
		}
		list = next(&r);
		if (list.kind != LIST || m->kernels || list.n > (uint64_t)(r.end - r.p))
			return false;
		m->kernels = calloc(list.n ? list.n : 1, sizeof *m->kernels);
		while (m->kernels && m->n_kernels < list.n && !r.bad)
			read_kernel(&r, &m->kernels[m->n_kernels++]);
	}
	return m->kernels && !r.bad;
}

/* The metadata note among a segment's notes. */
static bool find_note(const unsigned char *p, const unsigned char *end, struct reader *out)
{
	while (end - p >= (ptrdiff_t)sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr h;
		uint64_t name, desc;

		memcpy(&h, p, sizeof h);
		p += sizeof h;
		name = ((uint64_t)h.n_namesz + 3) & ~UINT64_C(3);
		desc = ((uint64_t)h.n_descsz + 3) & ~UINT64_C(3);
		if ((uint64_t)(end - p) < name + desc)
			return false;
		if (h.n_type == 32 && h.n_namesz == 7 && memcmp(p, "AMDGPU", 7) == 0) {
			*out = (struct reader){ .p = p + name, .end = p + name + h.n_descsz };
			return true;
		}
		p += name + desc;
	}
	return false;
}

bool code_meta_parse(struct code_meta *m, const void *elf, size_t size)
{
	const unsigned char *base = elf;
	struct reader r;
	Elf64_Ehdr h;

	memset(m, 0, sizeof *m);
	if (size < sizeof h || memcmp(base, ELFMAG, SELFMAG) != 0)
		return false;
	memcpy(&h, base, sizeof h);
	m->elf_flags = h.e_flags;
	for (unsigned i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr ph;
		uint64_t at = h.e_phoff + (uint64_t)i * sizeof ph;

		if (at > size || size - at < sizeof ph)
			return false;
		memcpy(&ph, base + at, sizeof ph);
		if (ph.p_type != PT_NOTE || ph.p_offset > size || size - ph.p_offset < ph.p_filesz)
			continue;
		if (!find_note(base + ph.p_offset, base + ph.p_offset + ph.p_filesz, &r))
			continue;
		if (read_metadata(m, r))
			return true;
		code_meta_release(m);
		return false;
	}
	return false;
}

void code_meta_release(struct code_meta *m)
{
	free(m->kernels);
	m->kernels = NULL;
	m->n_kernels = 0;
}

const struct code_kernel *code_meta_find(const struct code_meta *m, const char *name)
{
	for (size_t i = 0; i < m->n_kernels; i++)
		if (strcmp(m->kernels[i].name, name) == 0)
			return &m->kernels[i];
	return NULL;
}
