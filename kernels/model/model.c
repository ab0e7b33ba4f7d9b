/* model: queues the small kernels of a forward pass. */
#include "kernels/gpu_internal.h"

#define BY_TYPE(name)                                                                                                  \
	static const enum gpu_kernel kernels[] = { GPU_K_##name##_f16, GPU_K_##name##_bf16 }

int greta_gpu_embed(struct greta_gpu *g, enum greta_gpu_dtype t, const struct embed_args *a, int n, struct greta_err *e)
{
	BY_TYPE(embed);
	return gpu_launch(g, kernels[t], (unsigned)n, 1, 1, a, e);
}

int greta_gpu_norm(struct greta_gpu *g, enum greta_gpu_dtype t, const struct norm_args *a, int n, struct greta_err *e)
{
	BY_TYPE(norm);
	return gpu_launch(g, kernels[t], (unsigned)n, 1, 1, a, e);
}

int greta_gpu_rope(struct greta_gpu *g, enum greta_gpu_dtype t, const struct rope_args *a, int n, struct greta_err *e)
{
	BY_TYPE(rope);
	return gpu_launch(g, kernels[t], (unsigned)n, 1, 1, a, e);
}

int greta_gpu_swiglu(struct greta_gpu *g, enum greta_gpu_dtype t, const struct swiglu_args *a, int n, struct greta_err *e)
{
	BY_TYPE(swiglu);
	return gpu_launch(g, kernels[t], (unsigned)n, 1, 1, a, e);
}

int greta_gpu_bias(struct greta_gpu *g, const struct bias_args *a, int n, struct greta_err *e)
{
	return gpu_launch(g, GPU_K_add_bias, (unsigned)n, 1, 1, a, e);
}

int greta_gpu_convert(struct greta_gpu *g, enum greta_gpu_dtype t, const struct convert_args *a, int64_t rows,
		      struct greta_err *e)
{
	BY_TYPE(convert);
	return gpu_launch(g, kernels[t], (unsigned)rows, 1, 1, a, e);
}

int greta_gpu_spin(struct greta_gpu *g, struct gpu_crumb crumb, struct greta_err *e)
{
	uint32_t *stop = greta_gpu_alloc(g, sizeof *stop, "a word that stays 0", e);
	struct spin_args a = { .crumb = crumb, .stop = stop };

	a.crumb.counter = stop;
	if (!stop || greta_gpu_fill(g, stop, 0, sizeof *stop, e))
		return -1;
	return gpu_launch(g, GPU_K_spin, 1, 1, 1, &a, e);
}
