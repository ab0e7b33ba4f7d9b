#include "kernels/gpu_internal.h"

/* cuda.h: numbers of cuTensorMapEncodeTiled. */
enum { TMA_F16 = 6, TMA_BF16 = 9, TMA_SWIZZLE_128 = 3, TMA_L2_256 = 3 };

int gpu_tensor_map(struct greta_gpu *g, uint8_t map[128], enum greta_gpu_dtype t, const uint16_t *p, int heads, int rows,
		   int width, int64_t stride, struct greta_err *e)
{
	const uint64_t dims[] = { (uint64_t)width, (uint64_t)heads, (uint64_t)rows };
	const uint64_t strides[] = { (uint64_t)width * 2, (uint64_t)stride * 2 };
	const uint32_t box[] = { 64, 1, 128 }, ones[] = { 1, 1, 1 };
	union {
		const uint16_t *in;
		void *out;
	} base = { p };

	return gpu_check(&g->api,
			 g->api.tensor_map(map, t == GRETA_GPU_BF16 ? TMA_BF16 : TMA_F16, 3, base.out, dims, strides, box, ones, 0,
					   TMA_SWIZZLE_128, TMA_L2_256, 0),
			 e, "describing a matrix to the copy engine");
}
