#include "kernels/code_objects.h"
#include "base/mem.h"
#include "base/str.h"
#include "kernels/kernel_list.h"

/* The linker keeps a symbol before and after each file's bytes. */
#define EMBED(symbol, file)                                                                                            \
	__asm__(".pushsection .rodata\n.balign 4096\n.globl " #symbol "\n" #symbol ":\n.incbin \"" file "\"\n.globl "  \
		#symbol "_end\n" #symbol "_end:\n.byte 0\n.popsection\n");                                              \
	extern const unsigned char symbol[], symbol##_end[];
#define EMBED_OBJECT(object, arch, suffix)                                                                             \
	EMBED(gpu_##object##_##arch, GPU_OBJECT_DIR "/" #object "." #arch suffix)                                      \
	EMBED(gpu_##object##_##arch##_notes, GPU_OBJECT_DIR "/" #object "." #arch ".notes")

#ifdef GPU_HAVE_GFX942
#define X(object) EMBED_OBJECT(object, gfx942, ".hsaco")
GPU_OBJECT_LIST(X)
#undef X
#endif
#ifdef GPU_HAVE_SM_90A
#define X(object) EMBED_OBJECT(object, sm_90a, ".cubin")
GPU_OBJECT_LIST(X)
#undef X
#endif

/* Sizes are differences of addresses, which C has no constants for: filled on first use. */
#define ROOM (2 * 32)

const struct gpu_code_object *gpu_code_objects(size_t *n)
{
	static struct gpu_code_object list[ROOM + 1];
	size_t k = 0;

#define ADD(object, arch_)                                                                                             \
	list[k++] = (struct gpu_code_object){                                                                          \
		.name = #object,                                                                                       \
		.arch = #arch_,                                                                                        \
		.data = gpu_##object##_##arch_,                                                                        \
		.size = (size_t)(gpu_##object##_##arch_##_end - gpu_##object##_##arch_),                               \
		.notes = (const char *)gpu_##object##_##arch_##_notes,                                                 \
		.notes_size = (size_t)(gpu_##object##_##arch_##_notes_end - gpu_##object##_##arch_##_notes),           \
	};
#ifdef GPU_HAVE_GFX942
#define X(object) ADD(object, gfx942)
	GPU_OBJECT_LIST(X)
#undef X
#endif
#ifdef GPU_HAVE_SM_90A
#define X(object) ADD(object, sm_90a)
	GPU_OBJECT_LIST(X)
#undef X
#endif
	*n = k;
	return list;
}

const struct gpu_code_object *gpu_code_object_find(const char *name, const char *arch)
{
	size_t n;
	const struct gpu_code_object *list = gpu_code_objects(&n);

	for (size_t i = 0; i < n; i++)
		if (greta_str_eq(list[i].name, name) && greta_str_eq(list[i].arch, arch))
			return &list[i];
	return NULL;
}
