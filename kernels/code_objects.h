/* code_objects: the compiled kernels that this program carries, for each architecture that could be built. */
#ifndef KERNELS_CODE_OBJECTS_H
#define KERNELS_CODE_OBJECTS_H

#include <stddef.h>

struct gpu_code_object {
	const char *name;          /* "flash_v2_naive" */
	const char *arch;          /* "gfx942", "sm_90a" */
	const unsigned char *data; /* an ELF file */
	size_t size;
	const char *notes;         /* what the build recorded of it: "mma KERNEL COUNT" lines, ptxas's report; not terminated */
	size_t notes_size;
};

/* All that are inside, objects of an architecture together; *n may be 0. */
const struct gpu_code_object *gpu_code_objects(size_t *n);
const struct gpu_code_object *gpu_code_object_find(const char *name, const char *arch); /* NULL: not inside */

#endif
