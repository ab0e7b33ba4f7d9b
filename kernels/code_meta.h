/* code_meta: what a gfx942 code object says of its kernels. It is an ELF file whose note of type 32 (owner "AMDGPU")
 * holds MessagePack: a map with "amdhsa.kernels", a list of maps. */
#ifndef KERNELS_CODE_META_H
#define KERNELS_CODE_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CODE_META_ARGS = 16 };

struct code_arg {
	uint32_t offset, size;
	char kind[32]; /* "by_value", "global_buffer", "hidden_..." */
};

struct code_kernel {
	char name[64];
	uint32_t vgpr, agpr, sgpr; /* vgpr: the unified file, agpr counted in */
	uint32_t vgpr_spills, sgpr_spills;
	uint32_t lds_bytes, scratch_bytes;
	uint32_t max_threads, wave;
	uint32_t kernarg_bytes;
	bool dynamic_stack;
	struct code_arg args[CODE_META_ARGS];
	size_t n_args; /* beyond CODE_META_ARGS: counted, not kept */
};

struct code_meta {
	uint32_t elf_flags; /* e_flags: 0x54c for gfx942, any xnack and sramecc */
	struct code_kernel *kernels; /* owned */
	size_t n_kernels;
};

enum { CODE_META_MACHINE_MASK = 0xff, CODE_META_MACHINE_GFX942 = 0x4c };

/* False: not a code object that this reads, or cut short. On true, release it. */
bool code_meta_parse(struct code_meta *m, const void *elf, size_t size);
void code_meta_release(struct code_meta *m);
const struct code_kernel *code_meta_find(const struct code_meta *m, const char *name);

#endif
