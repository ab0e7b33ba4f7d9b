/* gpu_model: a model's weights on a GPU, as 16-bit elements (BF16 where the model's matrices are, else F16). Other formats
 * are converted once, as they are loaded: F32, Q8_0 and Q4_K on the device, the rest here. Rows are padded with zeros to a
 * multiple of GPU_K_MULTIPLE values, as the matrix products want. */
#ifndef ENGINE_GPU_MODEL_H
#define ENGINE_GPU_MODEL_H

#include "engine/backend.h"
#include "kernels/gpu.h"

struct gpu_matrix {
	uint16_t *data; /* on the device, [n_out][ld] */
	int64_t ld;
	int32_t n_in, n_out;
};

struct gpu_layer {
	struct gpu_matrix qkv, o, gate_up, down;
	float *attn_norm, *ffn_norm;
	float *qkv_bias, *o_bias, *down_bias; /* NULL: none */
};

struct gpu_model {
	enum greta_gpu_dtype dtype;
	struct gpu_matrix embd, output; /* may be the same (tied) */
	float *output_norm, *output_bias;
	struct gpu_layer *layers;
};

int64_t gpu_padded(size_t n); /* values of a row */

/* Device memory is the GPU's, and goes with it. p: number of threads (0: the cores) and who is told of progress. */
int gpu_model_load(struct gpu_model *g, struct greta_gpu *gpu, const struct model *m, const struct greta_engine_params *p,
		   struct greta_err *e);
void gpu_model_release(struct gpu_model *g);

#endif
