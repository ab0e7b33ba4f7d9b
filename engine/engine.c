/* engine: the public API (greta_engine.h) over file, model, tokenizer and backend. */
#include "base/mem.h"
#include "base/str.h"
#include "engine/backend.h"
#include "engine/cpu/attn.h"
#include "engine/greta_engine.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct greta_engine {
	struct gguf *gguf;
	struct model model;
	struct tokenizer *tokenizer; /* NULL: the file has no vocabulary */
	struct backend *backend;
};

struct greta_session {
	struct greta_engine *eng;
	struct backend_context *context;
	uint32_t n_ctx, n_batch, n_past;
	enum greta_kv kv;
	float *logits; /* [n_vocab] */
	greta_progress_fn *progress;
	void *progress_arg;
	struct greta_progress now; /* of the eval that runs */
	uint64_t n_blocks_done;
};

/* --- engine ------------------------------------------------------------------------------------------------------- */

static int open_parts(struct greta_engine *eng, const char *path, const struct greta_engine_params *p, struct greta_err *e)
{
	if (!(eng->gguf = gguf_open(path, e)) || model_bind(&eng->model, eng->gguf, e))
		return -1;
	if (tokenizer_present(eng->gguf) && !(eng->tokenizer = tokenizer_create(eng->gguf, e)))
		return -1;
	return backend_open(&eng->model, p, &eng->backend, e);
}

/* Touches every page of the file, so that reading it from disk is part of loading and not of the first prefill. A file
 * that is larger than what memory can hold is left to be read as it is needed. */
static void read_in(const struct greta_engine *eng, const struct greta_engine_params *p)
{
	const uint8_t *bytes = gguf_bytes(eng->gguf);
	uint64_t n = gguf_file_bytes(eng->gguf), step = UINT64_C(64) << 20, page = (uint64_t)sysconf(_SC_PAGESIZE);
	volatile uint8_t sink = 0;

	if (n > (uint64_t)sysconf(_SC_PHYS_PAGES) * page / 10 * 9)
		return;
	for (uint64_t at = 0; at < n; at += step) {
		uint64_t end = n - at < step ? n : at + step;
		madvise((void *)((uintptr_t)(bytes + at) / page * page), end - at, MADV_WILLNEED);
		for (uint64_t i = at; i < end; i += page)
			sink = bytes[i];
		if (p->on_load)
			p->on_load(p->on_load_arg, end, n);
	}
	(void)sink;
}

struct greta_engine *greta_engine_open(const char *path, const struct greta_engine_params *p, struct greta_err *e)
{
	struct greta_engine *eng = greta_alloc(sizeof *eng);

	if (open_parts(eng, path, p, e) == 0) {
		if (!eng->backend->ops->copies_weights)
			read_in(eng, p);
		return eng;
	}
	greta_engine_close(eng);
	return NULL;
}

void greta_engine_close(struct greta_engine *eng)
{
	if (!eng)
		return;
	if (eng->backend)
		eng->backend->ops->close(eng->backend);
	tokenizer_destroy(eng->tokenizer);
	model_release(&eng->model);
	gguf_close(eng->gguf);
	free(eng);
}

uint32_t greta_engine_n_vocab(const struct greta_engine *eng)
{
	return eng->model.n_vocab;
}

uint32_t greta_engine_n_layer(const struct greta_engine *eng)
{
	return eng->model.n_layer;
}

uint32_t greta_engine_context_length(const struct greta_engine *eng)
{
	return eng->model.n_ctx;
}

uint64_t greta_engine_n_params(const struct greta_engine *eng)
{
	return eng->model.n_params;
}

uint64_t greta_engine_weight_bytes(const struct greta_engine *eng)
{
	return eng->model.weight_bytes;
}

int greta_engine_n_threads(const struct greta_engine *eng)
{
	return eng->backend->ops->n_threads(eng->backend);
}

const char *greta_engine_backend(const struct greta_engine *eng)
{
	return eng->backend->ops->name;
}

const char *greta_engine_device(const struct greta_engine *eng)
{
	return eng->backend->ops->device(eng->backend);
}

const char *greta_engine_dtype(const struct greta_engine *eng)
{
	return eng->model.dtype;
}

double greta_engine_prefill_flops(const struct greta_engine *eng, uint64_t n)
{
	return model_prefill_flops(&eng->model, n);
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

int greta_engine_tokenize(const struct greta_engine *eng, const char *text, size_t n, uint32_t **out, size_t *n_out,
			  struct greta_err *e)
{
	struct tokenizer_ids ids = {0};

	if (!eng->tokenizer)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "%s has no vocabulary: give the prompt as token ids",
				     gguf_path(eng->gguf));
	if (tokenizer_encode(eng->tokenizer, text, n, TOKENIZER_BOS, &ids, e)) {
		tokenizer_ids_release(&ids);
		return -1;
	}
	*out = ids.id;
	*n_out = ids.n;
	return 0;
}

void greta_engine_piece(const struct greta_engine *eng, uint32_t token, struct greta_buf *out)
{
	if (eng->tokenizer)
		tokenizer_piece(eng->tokenizer, token, out);
}

bool greta_engine_ends(const struct greta_engine *eng, uint32_t token)
{
	return eng->tokenizer && tokenizer_ends(eng->tokenizer, token);
}

static uint64_t next_random(uint64_t *state) /* splitmix64, by Steele, Lea and Flood */
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void greta_engine_synthetic(const struct greta_engine *eng, uint64_t seed, uint32_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint32_t)(next_random(&seed) % eng->model.n_vocab);
	if (n && eng->tokenizer && tokenizer_bos(eng->tokenizer) < eng->model.n_vocab)
		out[0] = tokenizer_bos(eng->tokenizer);
}

/* --- session ------------------------------------------------------------------------------------------------------ */

static void on_layer(void *arg, uint32_t layer, const char *op)
{
	struct greta_session *s = arg;

	if (!s->progress)
		return;
	s->now.layer = layer;
	s->now.op = op;
	s->now.done = s->n_blocks_done * s->eng->model.n_layer + layer;
	s->progress(s->progress_arg, &s->now);
}

struct greta_session *greta_session_create(struct greta_engine *eng, const struct greta_session_params *p,
					   struct greta_err *e)
{
	struct greta_session *s = greta_alloc(sizeof *s);
	const struct backend_ops *ops = eng->backend->ops;

	s->eng = eng;
	s->n_ctx = p->n_ctx ? p->n_ctx : eng->model.n_ctx;
	s->n_batch = p->n_batch ? p->n_batch : ops->default_batch(eng->backend);
	if (s->n_batch > s->n_ctx)
		s->n_batch = s->n_ctx;
	s->kv = p->kv;
	s->progress = p->progress;
	s->progress_arg = p->progress_arg;
	s->logits = greta_alloc(eng->model.n_vocab * sizeof *s->logits);
	const struct backend_context_params params = {.n_ctx = s->n_ctx, .n_batch = s->n_batch, .kv = p->kv, .attn = p->attn,
						      .progress = on_layer, .progress_arg = s};
	if (ops->context_create(eng->backend, &params, &s->context, e)) {
		free(s->logits);
		free(s);
		return NULL;
	}
	return s;
}

void greta_session_destroy(struct greta_session *s)
{
	if (!s)
		return;
	s->context->ops->context_destroy(s->context);
	free(s->logits);
	free(s);
}

void greta_session_reset(struct greta_session *s)
{
	s->n_past = 0;
}

const char *greta_session_attn(const struct greta_session *s)
{
	return s->context->ops->attn(s->context);
}

uint32_t greta_session_n_batch(const struct greta_session *s)
{
	return s->n_batch;
}

float *greta_session_logits(struct greta_session *s)
{
	return s->logits;
}

static int check_eval(const struct greta_session *s, const uint32_t *tokens, size_t n, struct greta_err *e)
{
	if (n == 0)
		return greta_err_set(e, GRETA_EINVAL, "no tokens to evaluate");
	if (n > s->n_ctx - s->n_past)
		return greta_err_set(e, GRETA_EINVAL, "%zu tokens do not fit: the session has room for %u, of which %u are taken",
				     n, s->n_ctx, s->n_past);
	for (size_t i = 0; i < n; i++)
		if (tokens[i] >= s->eng->model.n_vocab)
			return greta_err_set(e, GRETA_EINVAL, "token %zu is %u: the model's vocabulary ends at %u", i, tokens[i],
					     s->eng->model.n_vocab - 1);
	return 0;
}

/* The logits of all rows of a block, one after the other through the session's buffer. */
static int give_all(struct greta_session *s, uint64_t first, uint32_t n, greta_logits_fn *fn, void *arg, struct greta_err *e)
{
	for (uint32_t i = 0; i < n; i++) {
		if (s->context->ops->logits(s->context, i, 1, s->logits, e))
			return -1;
		if (fn(arg, first + i, s->logits))
			return greta_err_set(e, GRETA_ECANCELLED, "stopped at token %llu", (unsigned long long)(first + i));
	}
	return 0;
}

int greta_session_eval_all(struct greta_session *s, const uint32_t *tokens, size_t n, greta_logits_fn *fn, void *arg,
			   struct greta_err *e)
{
	if (check_eval(s, tokens, n, e))
		return -1;
	uint64_t n_blocks = (n + s->n_batch - 1) / s->n_batch;
	s->n_blocks_done = 0;
	s->now = (struct greta_progress){.phase = s->n_past && n == 1 ? GRETA_PHASE_DECODE : GRETA_PHASE_PREFILL,
					 .total = n_blocks * s->eng->model.n_layer};
	for (size_t at = 0; at < n; at += s->n_batch) {
		uint32_t count = n - at < s->n_batch ? (uint32_t)(n - at) : s->n_batch;
		if (s->context->ops->forward(s->context, tokens + at, count, s->n_past, e))
			return -1;
		s->n_past += count;
		s->n_blocks_done++;
		if (fn && give_all(s, at, count, fn, arg, e))
			return -1;
		if (!fn && at + count == n && s->context->ops->logits(s->context, count - 1, 1, s->logits, e))
			return -1;
	}
	return 0;
}

int greta_session_eval(struct greta_session *s, const uint32_t *tokens, size_t n, struct greta_err *e)
{
	return greta_session_eval_all(s, tokens, n, NULL, NULL, e);
}

void greta_engine_describe(struct greta_buf *out)
{
	backend_list(out);
	for (int i = 0; i < ATTN_COUNT; i++)
		greta_buf_addf(out, "attn: %-16s %s\n", attn_name(i), attn_about(i));
}

int greta_engine_kernel_resources(struct greta_buf *out, bool json)
{
	return backend_gpu_resources(out, json);
}

const char *greta_session_kv(const struct greta_session *s)
{
	const char *own = s->eng->backend->ops->kv;

	return own ? own : s->kv == GRETA_KV_F16 ? "f16" : "f32";
}
