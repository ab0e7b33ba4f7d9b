/* model: a llama-architecture model out of a GGUF file: hyperparameters and where each weight lies.
 *
 * model_bind takes nothing on trust: every tensor that the architecture wants must be there with the right shape and a
 * format that has arithmetic, every tensor that is there must be known, and keys that would change the result must be
 * understood. Errors name the file and the key or tensor. Weights stay in the mapping; only norm weights, biases and
 * rotary frequencies are copied, as float32.
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "base/err.h"
#include "engine/gguf.h"
#include <stdint.h>

struct weight { /* y[n_out] = W x[n_in] (+ bias) */
	const char *name;
	const struct quant_traits *traits;
	const void *data; /* [n_out] rows of row_bytes, in the mapping */
	size_t row_bytes;
	size_t n_in, n_out;
	float *bias; /* [n_out] or NULL; owned by the model */
};

struct model_layer {
	float *attn_norm, *ffn_norm; /* [n_embd] */
	struct weight q, k, v, o;
	struct weight gate, up, down;
};

struct model {
	const struct gguf *gguf; /* borrowed; outlives the model */
	uint32_t n_vocab, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff, n_rot;
	uint32_t n_ctx; /* llama.context_length */
	float rms_eps;
	struct weight embd;   /* [n_vocab] rows of n_embd */
	struct weight output; /* may be embd (tied) */
	float *output_norm;
	double *rope_freq; /* [n_rot / 2]: radians per position, scaling and frequency factors included */
	struct model_layer *layers;
	const char *dtype; /* format of most weight bytes: "F16" */
	uint64_t weight_bytes;
	uint64_t n_params;
};

int model_bind(struct model *m, const struct gguf *g, struct greta_err *e); /* on error *m is released */
void model_release(struct model *m);

/* Multiply-adds count two. Prefill of n tokens from an empty cache, with the logits of the last token only. */
double model_prefill_flops(const struct model *m, uint64_t n);

#endif
