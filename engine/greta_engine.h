/* greta_engine: the inference engine as a library.
 *
 * An engine is a model loaded on a device; a session is one sequence of tokens in a KV cache on it. Load once, make a
 * session, evaluate a prompt, then one token at a time:
 *
 *	struct greta_engine *eng = greta_engine_open("model.gguf", &(struct greta_engine_params){0}, &e);
 *	struct greta_session *s = greta_session_create(eng, &(struct greta_session_params){.n_ctx = 512}, &e);
 *	greta_session_eval(s, tokens, n_tokens, &e);
 *	uint32_t next = greta_argmax(greta_session_logits(s), greta_engine_n_vocab(eng));
 *
 * engine/example.c is that, whole. Zero in a params struct means the default. An engine may serve several sessions, one
 * call at a time. Nothing here prints, exits or changes signal handlers. Errors: base/err.h.
 */
#ifndef GRETA_ENGINE_H
#define GRETA_ENGINE_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum greta_precision {
	GRETA_PRECISION_FAST, /* quantised weights meet 16-bit integer activations where the machine has the instructions */
	GRETA_PRECISION_F32,  /* all arithmetic in float32 on the dequantised weights */
};

enum greta_kv { GRETA_KV_F32, GRETA_KV_F16 };

struct greta_engine_params {
	const char *backend; /* "cpu", "auto"; NULL: auto */
	const char *isa;     /* CPU kernels: "generic", "avx2", "avx512"; NULL: the best that the processor has */
	int n_threads;       /* 0: as many as the process may run on */
	enum greta_precision precision;
	bool deterministic; /* the same bits whatever the number of threads and the block size; decode is slower */
	/* While the file's pages are read in: bytes done and in all. May be NULL. */
	void (*on_load)(void *arg, uint64_t done, uint64_t total);
	void *on_load_arg;
};

struct greta_engine;
struct greta_engine *greta_engine_open(const char *path, const struct greta_engine_params *p, struct greta_err *e);
void greta_engine_close(struct greta_engine *eng); /* after its sessions; NULL is fine */

uint32_t greta_engine_n_vocab(const struct greta_engine *eng);
uint32_t greta_engine_n_layer(const struct greta_engine *eng);
uint32_t greta_engine_context_length(const struct greta_engine *eng); /* what the model was made for */
uint64_t greta_engine_n_params(const struct greta_engine *eng);
uint64_t greta_engine_weight_bytes(const struct greta_engine *eng);
int greta_engine_n_threads(const struct greta_engine *eng);
const char *greta_engine_backend(const struct greta_engine *eng); /* "cpu" */
const char *greta_engine_device(const struct greta_engine *eng);  /* what a person would call it */
const char *greta_engine_dtype(const struct greta_engine *eng);   /* of most weight bytes: "F16" */
/* Multiply-adds, counted two each, of a prefill of n tokens with the logits of the last one. */
double greta_engine_prefill_flops(const struct greta_engine *eng, uint64_t n);

/* Text to token ids, with BOS as the model asks; *out is the caller's to free. */
int greta_engine_tokenize(const struct greta_engine *eng, const char *text, size_t n, uint32_t **out, size_t *n_out,
			  struct greta_err *e);
void greta_engine_piece(const struct greta_engine *eng, uint32_t token, struct greta_buf *out); /* appends its bytes */
bool greta_engine_ends(const struct greta_engine *eng, uint32_t token); /* EOS or the like: a reason to stop */
/* A valid synthetic prompt of exactly n tokens: BOS where the model has one, then seeded draws from the vocabulary. */
void greta_engine_synthetic(const struct greta_engine *eng, uint64_t seed, uint32_t *out, size_t n);

enum greta_phase { GRETA_PHASE_PREFILL, GRETA_PHASE_DECODE };

/* One call per layer of each block as it begins, and per half of a layer. */
struct greta_progress {
	enum greta_phase phase;
	uint64_t done, total; /* layers of all blocks of this eval */
	uint32_t layer;
	const char *op; /* "attn q_lds", "ffn": what runs next */
};
typedef void greta_progress_fn(void *arg, const struct greta_progress *p);

struct greta_session_params {
	uint32_t n_ctx;   /* positions to have room for; 0: the model's context length */
	uint32_t n_batch; /* tokens per block of a prefill; 0: chosen to keep scratch memory at a few percent of the model */
	enum greta_kv kv;
	const char *attn; /* attention implementation; NULL or "auto": the fastest */
	greta_progress_fn *progress; /* may be NULL */
	void *progress_arg;
};

struct greta_session;
struct greta_session *greta_session_create(struct greta_engine *eng, const struct greta_session_params *p,
					   struct greta_err *e);
void greta_session_destroy(struct greta_session *s); /* NULL is fine */
void greta_session_reset(struct greta_session *s);   /* an empty sequence again; memory stays */
uint32_t greta_session_n_batch(const struct greta_session *s);
const char *greta_session_attn(const struct greta_session *s); /* what runs: "fast" */
const char *greta_session_kv(const struct greta_session *s);   /* the KV cache's format: a GPU's is its own choice */

/* Takes the logits of token n_past + i of an eval, n_vocab of them; non-zero ends the eval with ECANCELLED. */
typedef int greta_logits_fn(void *arg, uint64_t i, const float *logits);

/* Appends n tokens to the sequence. Refuses tokens outside the vocabulary and sequences beyond n_ctx (EINVAL). */
int greta_session_eval(struct greta_session *s, const uint32_t *tokens, size_t n, struct greta_err *e);
int greta_session_eval_all(struct greta_session *s, const uint32_t *tokens, size_t n, greta_logits_fn *fn, void *arg,
			   struct greta_err *e); /* as eval, and hands out the logits of every token */
float *greta_session_logits(struct greta_session *s);            /* n_vocab, after the last token; valid till next eval */

uint32_t greta_argmax(const float *logits, size_t n); /* the lowest index wins a tie; NaN never wins */

struct greta_sampling {
	float temperature; /* 0: greedy */
	uint32_t top_k;    /* 0: all */
	float top_p;       /* 0 or 1: all */
	uint64_t seed;
};
/* One draw; *state carries the generator from call to call and starts at sampling->seed. */
uint32_t greta_sample(const struct greta_sampling *sampling, uint64_t *state, const float *logits, size_t n);

/* What is built in, one line each: backends and attention implementations. */
void greta_engine_describe(struct greta_buf *out);

/* The GPU kernels inside and what each takes of its machine, as text or JSON. Returns how many break the static gate
 * (scratch memory above all), each marked. */
int greta_engine_kernel_resources(struct greta_buf *out, bool json);

#endif
