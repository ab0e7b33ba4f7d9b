/* infer_result: what a sample came to, as one line on stdout. Field names are the contract with supervisors:
 * docs/engine.md tells what each means. */
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/sha256.h"
#include "base/version.h"
#include "engine/infer.h"
#include <math.h>
#include <stdio.h>
#include <sys/resource.h>

void result_digest(struct sample_result *r, const float *logits, size_t n)
{
	r->top1 = greta_argmax(logits, n);
	r->finite = true;
	for (size_t i = 0; i < n; i++)
		r->finite &= isfinite(logits[i]) != 0;
	greta_sha256_of(logits, n * sizeof *logits, r->logits_sha256);
}

static int64_t peak_rss_bytes(void)
{
	struct rusage usage;
	return getrusage(RUSAGE_SELF, &usage) ? 0 : (int64_t)usage.ru_maxrss * 1024;
}

static void add_fields(struct greta_jsonw *w, const struct run_info *run, const struct sample_result *r)
{
	const struct infer_options *o = run->o;

	greta_jsonw_i64(w, "sample", r->sample);
	greta_jsonw_f64(w, "model_load_s", run->model_load_s);
	greta_jsonw_f64(w, "tokenize_s", run->tokenize_s);
	greta_jsonw_f64(w, "prefill_s", r->prefill_s);
	greta_jsonw_f64(w, "decode_s", r->decode_s);
	greta_jsonw_f64(w, "prefill_cpu_s", r->prefill_cpu_s);
	greta_jsonw_str(w, "attn_impl", greta_session_attn(run->session));
	greta_jsonw_i64(w, "prompt_tokens", (int64_t)r->prompt_tokens);
	greta_jsonw_i64(w, "generated_tokens", (int64_t)r->n_generated);
	greta_jsonw_str(w, "backend", greta_engine_backend(run->eng));
	greta_jsonw_str(w, "device", greta_engine_device(run->eng));
	greta_jsonw_str(w, "dtype", greta_engine_dtype(run->eng));
	greta_jsonw_str(w, "precision", o->precision);
	greta_jsonw_str(w, "kv", greta_session_kv(run->session));
	greta_jsonw_bool(w, "deterministic", o->deterministic);
	greta_jsonw_i64(w, "n_threads", greta_engine_n_threads(run->eng));
	greta_jsonw_i64(w, "n_batch", greta_session_n_batch(run->session));
	greta_jsonw_str(w, "logits_sha256", r->logits_sha256);
	greta_jsonw_bool(w, "logits_finite", r->finite);
	greta_jsonw_i64(w, "top1", r->top1);
	greta_jsonw_f64(w, "flops", greta_engine_prefill_flops(run->eng, r->prompt_tokens));
	greta_jsonw_i64(w, "n_params", (int64_t)greta_engine_n_params(run->eng));
	greta_jsonw_i64(w, "weight_bytes", (int64_t)greta_engine_weight_bytes(run->eng));
	greta_jsonw_i64(w, "peak_rss_bytes", peak_rss_bytes());
	if (progress_dropped())
		greta_jsonw_i64(w, "progress_dropped", (int64_t)progress_dropped());
	greta_jsonw_str(w, "engine", "greta-infer");
	greta_jsonw_str(w, "version", GRETA_VERSION);
}

static void print_generated(const struct run_info *run, const struct sample_result *r)
{
	cleanup_buf struct greta_buf text = {0};
	cleanup_buf struct greta_buf line = {0};
	struct greta_jsonw w = greta_jsonw(&line);

	greta_jsonw_array(&w, NULL);
	for (size_t i = 0; i < r->n_generated; i++) {
		greta_jsonw_i64(&w, NULL, r->generated[i]);
		greta_engine_piece(run->eng, r->generated[i], &text);
	}
	greta_jsonw_end_array(&w);
	printf("Generated ids: %s\n", greta_buf_str(&line));
	greta_buf_clear(&line);
	w = greta_jsonw(&line);
	greta_jsonw_strn(&w, NULL, greta_buf_str(&text), text.len);
	printf("Generated text: %s\n", greta_buf_str(&line));
}

int result_print(const struct run_info *run, const struct sample_result *r, struct greta_err *e)
{
	cleanup_buf struct greta_buf line = {0};
	struct greta_jsonw w = greta_jsonw(&line);

	greta_jsonw_object(&w, NULL);
	add_fields(&w, run, r);
	greta_jsonw_end_object(&w);
	if (r->n_generated)
		print_generated(run, r);
	printf("[PERF_TIMING] %s\n", greta_buf_str(&line));
	return fflush(stdout) ? greta_err_sys(e, "the result can't be written to standard output") : 0;
}
