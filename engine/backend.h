/* backend: where a model runs. One table of functions for the noun `backend` (a model on a device) and one for the noun
 * `context` (a KV cache and the memory of a forward pass on it); each starts with a pointer to its table.
 *
 * A backend owns nothing of the model: weights are read from the mapping or copied to the device by open. Calls come from
 * one thread at a time. Adding a device means one file with one `const struct backend_ops` and a line in backend.c.
 */
#ifndef ENGINE_BACKEND_H
#define ENGINE_BACKEND_H

#include "base/buf.h"
#include "base/err.h"
#include "engine/greta_engine.h"
#include "engine/model.h"
#include <stdbool.h>
#include <stdint.h>

struct backend {
	const struct backend_ops *ops;
};

struct backend_context {
	const struct backend_ops *ops;
};

/* One forward call tells its progress through this; `layer` begins, `op` is what it does next. */
typedef void backend_progress_fn(void *arg, uint32_t layer, const char *op);

struct backend_context_params {
	uint32_t n_ctx;      /* positions of the KV cache */
	uint32_t n_batch;    /* most tokens per forward call */
	enum greta_kv kv;
	const char *attn;    /* name of an attention implementation; NULL: the backend's best */
	backend_progress_fn *progress;
	void *progress_arg;
};

struct backend_ops {
	const char *name; /* "cpu" */
	bool copies_weights; /* open reads every weight, so the file's pages need not be brought in for later */
	const char *kv;      /* format of the KV cache where it is the backend's choice and not the caller's; NULL: it is not */

	/* GRETA_EUNSUPPORTED if this machine has no such device: the text is a plain sentence. */
	int (*open)(const struct model *m, const struct greta_engine_params *p, struct backend **out, struct greta_err *e);
	void (*close)(struct backend *b);
	const char *(*device)(const struct backend *b); /* "AMD EPYC 9655, 2 threads, avx512" */
	int (*n_threads)(const struct backend *b);
	/* Largest n_batch for which the memory of a context stays near a small share of the model. */
	uint32_t (*default_batch)(const struct backend *b);

	int (*context_create)(struct backend *b, const struct backend_context_params *p, struct backend_context **out,
			      struct greta_err *e);
	void (*context_destroy)(struct backend_context *c);
	const char *(*attn)(const struct backend_context *c); /* what runs: "fast" */

	/* Positions pos .. pos + n - 1 of tokens (all below n_vocab): fills the cache, keeps the hidden states. */
	int (*forward)(struct backend_context *c, const uint32_t *tokens, uint32_t n, uint32_t pos, struct greta_err *e);
	/* Logits of rows row .. row + n - 1 of the last forward call, [n][n_vocab]. */
	int (*logits)(struct backend_context *c, uint32_t row, uint32_t n, float *out, struct greta_err *e);
};

extern const struct backend_ops backend_cpu, backend_gpu;

/* By name; "auto" tries all, the fastest kind first. `e` says why none would. */
int backend_open(const struct model *m, const struct greta_engine_params *p, struct backend **out, struct greta_err *e);
/* "cpu", one per line, with what is built in. */
void backend_list(struct greta_buf *out);

/* The GPU kernels inside: a line for --version; the table of what each takes of its machine, and how many of them break
 * the rules that a build checks (scratch memory above all). */
void backend_gpu_describe(struct greta_buf *out);
int backend_gpu_resources(struct greta_buf *out, bool json);

#endif
