/* gpu_internal: what the files of this folder share of a GPU. */
#ifndef KERNELS_GPU_INTERNAL_H
#define KERNELS_GPU_INTERNAL_H

#include "kernels/gpu.h"
#include "kernels/gpu_api.h"
#include "kernels/kernel_list.h"

enum gpu_kernel {
#define X(object, name, args, amd, nvidia, dynamic) GPU_K_##name,
	GPU_KERNEL_LIST(X)
#undef X
	GPU_N_KERNELS
};

struct gpu_kernel_info {
	const char *object, *name;
	size_t args_size;
	int threads_amd, threads_nvidia, dynamic_lds_nvidia;
};
extern const struct gpu_kernel_info gpu_kernel_info[GPU_N_KERNELS];

struct gpu_allocation {
	void *p;
	size_t bytes;
};

struct gpu_blas; /* gemm/gemm.c */

struct greta_gpu {
	struct gpu_api api;
	struct greta_gpu_info info;
	int device;
	void *ctx;
	gpu_stream stream;
	gpu_event marks[GRETA_GPU_MARKS];
	gpu_module *modules; /* by position in gpu_code_objects; loaded when first used */
	gpu_function functions[GPU_N_KERNELS];
	struct gpu_allocation *allocations;
	size_t n_allocations, cap_allocations;
	size_t used_bytes, peak_bytes;
	struct gpu_blas *blas; /* NULL: own products */
	const char *gemm_name;
	struct greta_gpu_page *page;
};

/* Queues one kernel; args points to its argument struct. Loads its code object when first used. */
int gpu_launch(struct greta_gpu *g, enum gpu_kernel k, unsigned gx, unsigned gy, unsigned gz, const void *args,
	       struct greta_err *e);

/* Loads it now, so that no launch pays for it. */
int gpu_kernel_load(struct greta_gpu *g, enum gpu_kernel k, struct greta_err *e);

/* Describes [rows][heads][width] to Hopper's copy engine, in boxes of 64 columns of one head by 128 rows; what is beyond the
 * end reads as zeros. Only where the api has tensor_map. */
int gpu_tensor_map(struct greta_gpu *g, uint8_t map[128], enum greta_gpu_dtype t, const uint16_t *p, int heads, int rows,
		   int width, int64_t stride, struct greta_err *e);

void gpu_blas_stop(struct greta_gpu *g);
void gpu_watch_stop(struct greta_gpu *g);

/* The architecture of the device at this PCI address, from KFD's topology: "gfx942". EUNSUPPORTED names one that has no
 * kernels here. */
int gpu_kfd_arch(const char *root, const char *pci, char arch[16], struct greta_err *e);

#endif
