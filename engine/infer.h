/* infer: the parts of greta-infer. infer_main.c puts them in order: options, load, prompt, samples, result. */
#ifndef ENGINE_INFER_H
#define ENGINE_INFER_H

#include "base/err.h"
#include "engine/greta_engine.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes, documented in --help. */
enum infer_exit {
	INFER_OK = 0,
	INFER_FAILED = 1,
	INFER_USAGE = 2,       /* the command line, the prompt or the model file is wrong */
	INFER_UNSUPPORTED = 3, /* this build or machine can't */
	INFER_NO_MEMORY = 4,
	INFER_NOT_FINITE = 5,  /* ran, but the logits hold NaN or infinity */
};

struct infer_options {
	const char *model, *prompt_file, *prompt, *tokens_file;
	const char *attn, *backend, *isa, *kv, *precision, *logits_file, *inject;
	int64_t ctx, max_tokens, max_seq_len, n_threads, batch, repeat, warmup, seed, top_k;
	double temperature, top_p;
	bool greedy, deterministic, logits_all, stop_at_eos, version, kernel_resources, json;
};

struct prompt {
	uint32_t *tokens;
	size_t n;
	double tokenize_s;
};

/* Exactly one source of the options; the caller frees tokens. */
int prompt_read(struct prompt *p, const struct greta_engine *eng, const struct infer_options *o, struct greta_err *e);

/* --- progress: JSON lines to the descriptor that GRETA_PROGRESS_FD names -------------------------------------------
 * A line is written whole or not at all, and never waited for: a full pipe drops it (counted), a closed one ends the
 * telling. Phases: load, tokenize, prefill, decode, done. `t` is seconds since the program started. */
void progress_init(void);
void progress_tell(const char *phase, uint64_t done, uint64_t total, const char *unit, const char *at); /* at: may be NULL */
uint64_t progress_dropped(void);

/* --- faults on demand, for tests of whoever supervises this program ------------------------------------------------ */
struct inject;
struct inject *inject_create(const char *spec, struct greta_err *e); /* NULL spec: NULL, and all below do nothing */
void inject_destroy(struct inject *f);
int inject_at_start(struct inject *f, const struct greta_engine *eng, struct greta_err *e); /* once, before the prompt */
void inject_at_layer(struct inject *f, const struct greta_progress *p); /* may never return */
void inject_prompt(struct inject *f, struct prompt *p);
void inject_logits(struct inject *f, float *logits, size_t n);
extern const char inject_help[];

/* --- results ------------------------------------------------------------------------------------------------------- */
struct sample_result {
	int64_t sample; /* 0: warm-up */
	double prefill_s, decode_s;
	double prefill_cpu_s; /* of all threads: far below prefill_s * n_threads, others had the cores */
	size_t prompt_tokens, n_generated;
	uint32_t *generated;
	char logits_sha256[65]; /* of the logits after the prompt's last token, little-endian float32 */
	uint32_t top1;
	bool finite;
};

struct run_info { /* what does not change from sample to sample */
	const struct infer_options *o;
	const struct greta_engine *eng;
	const struct greta_session *session;
	double model_load_s, tokenize_s;
};

void result_digest(struct sample_result *r, const float *logits, size_t n);
int result_print(const struct run_info *run, const struct sample_result *r, struct greta_err *e);

#endif
