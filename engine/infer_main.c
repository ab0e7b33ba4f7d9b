/* greta-infer: loads a GGUF model, prefills a prompt, decodes a few tokens, and says what it took.
 *
 * What the times cover. model_load_s: opening and checking the file, the vocabulary, and touching every page of the
 * mapping, so that no disk read falls into a prefill. tokenize_s: reading the prompt and turning it into ids. Between:
 * KV cache and scratch memory are made and touched, in no window. prefill_s: from the first token's embedding to the
 * logits of the last prompt token, nothing else. decode_s: the forward passes for generated tokens after the first one,
 * which comes out of the prefill, and the choice of each; 0 with --max-tokens 1.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/str.h"
#include "base/trace.h"
#include "base/version.h"
#include "engine/infer.h"
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

static const struct greta_opt options[] = {
#define OPT(name_, type_, field_, arg_, help_)                                                                         \
	{.name = name_, .type = GRETA_OPT_##type_, .offset = offsetof(struct infer_options, field_), .arg = arg_, .help = help_}
	OPT("model", STR, model, "FILE", "the GGUF model"),
	OPT("prompt-file", STR, prompt_file, "FILE", "prefill this text"),
	OPT("prompt", STR, prompt, "TEXT", "prefill this text"),
	OPT("tokens-file", STR, tokens_file, "FILE", "prefill these ids: a JSON array, taken as it is"),
	OPT("ctx", I64, ctx, "N", "prefill exactly N seeded tokens"),
	OPT("max-tokens", I64, max_tokens, "N", "tokens to generate; 1 by default"),
	OPT("greedy", FLAG, greedy, NULL, "always the likeliest token (the default)"),
	OPT("temperature", F64, temperature, "T", "sample instead, at this temperature"),
	OPT("top-k", I64, top_k, "K", "from the K likeliest tokens only"),
	OPT("top-p", F64, top_p, "P", "from the likeliest tokens that add up to P"),
	OPT("seed", I64, seed, "S", "of sampling and of --ctx"),
	OPT("stop-at-eos", FLAG, stop_at_eos, NULL, "end at an end-of-text token (else exactly --max-tokens)"),
	OPT("attn", STR, attn, "NAME", "attention: auto, flash_v2_naive, q_lds, q_lds_v2; cpu: fast, reference; gpu: flash_mma, flash_mma_v2"),
	OPT("max-seq-len", I64, max_seq_len, "N", "most positions, instead of the model's own (also GRETA_MAX_SEQ_LEN)"),
	OPT("threads", I64, n_threads, "N", "all cores by default"),
	OPT("batch", I64, batch, "N", "tokens per block of the prefill"),
	OPT("kv", STR, kv, "f32|f16", "format of the KV cache; f32 by default"),
	OPT("precision", STR, precision, "f32|fast", "fast (default): integer products for quantised weights"),
	OPT("deterministic", FLAG, deterministic, NULL, "the same bits for any --threads and --batch"),
	OPT("backend", STR, backend, "cpu|gpu|auto", "where to run; auto: a GPU where there is one"),
	OPT("isa", STR, isa, "generic|avx2|avx512", "CPU kernels; the best that the processor has by default"),
	OPT("logits", STR, logits_file, "FILE", "write the last prompt token's logits (float32, little-endian)"),
	OPT("logits-all", FLAG, logits_all, NULL, "write those of every prompt token"),
	OPT("repeat", I64, repeat, "N", "samples to take in this process, each a [PERF_TIMING] line"),
	OPT("warmup", I64, warmup, "N", "runs before them; the last one is reported as sample 0"),
	OPT("inject", STR, inject, "FAULT", "go wrong on purpose: see below"),
	OPT("kernel-resources", FLAG, kernel_resources, NULL, "print what each GPU kernel inside takes of its machine"),
	OPT("json", FLAG, json, NULL, "that table as JSON"),
	OPT("version", FLAG, version, NULL, "print version and what is built in"),
#undef OPT
	{0},
};

static const char details_head[] =
	"The result is one line on standard output for each sample, \"[PERF_TIMING] {json}\". Progress goes as JSON lines\n"
	"to the descriptor that the variable GRETA_PROGRESS_FD names. GRETA_LOGITS_FILE stands for --logits.\n\n"
	"Exit codes: 0 good; 1 failed; 2 wrong usage, prompt or model file; 3 not supported by this build or machine;\n"
	"4 not enough memory; 5 the logits hold NaN or infinity.\n\n";

struct infer {
	struct infer_options o;
	struct greta_engine *eng;
	struct greta_session *session;
	struct inject *inject;
	struct prompt prompt;
	struct run_info run;
	FILE *logits;
	uint32_t limit; /* positions */
	const char *prefill_phase; /* "warmup" before the timed ones */
	uint64_t prefill_total;
};

static double seconds_since(int64_t begun_ns)
{
	return (double)(greta_clock_mono_ns() - begun_ns) / 1e9;
}

static double cpu_seconds(void) /* of all threads */
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* --- options ------------------------------------------------------------------------------------------------------ */

static int check_range(const char *name, int64_t value, int64_t min, int64_t max, struct greta_err *e)
{
	if (value >= min && value <= max)
		return 0;
	return greta_err_set(e, GRETA_EINVAL, "--%s %lld: give %lld to %lld", name, (long long)value, (long long)min,
			     (long long)max);
}

static int check_source(const struct infer_options *o, struct greta_err *e)
{
	int n = (o->prompt != NULL) + (o->prompt_file != NULL) + (o->tokens_file != NULL) + (o->ctx != -1);

	if (!o->model)
		return greta_err_set(e, GRETA_EINVAL, "--model is missing: name a GGUF file");
	if (n != 1)
		return greta_err_set(e, GRETA_EINVAL, "%s: give one of --prompt, --prompt-file, --tokens-file and --ctx",
				     n ? "more than one prompt" : "no prompt");
	if (o->logits_all && !o->logits_file)
		return greta_err_set(e, GRETA_EINVAL, "--logits-all needs --logits FILE");
	if (o->greedy && o->temperature > 0)
		return greta_err_set(e, GRETA_EINVAL, "--greedy and --temperature exclude each other");
	return 0;
}

static int check_options(struct infer_options *o, struct greta_err *e)
{
	const char *env = getenv("GRETA_MAX_SEQ_LEN");

	if (!o->max_seq_len && env && (greta_str_i64(env, &o->max_seq_len) || o->max_seq_len < 1))
		return greta_err_set(e, GRETA_EINVAL, "GRETA_MAX_SEQ_LEN is \"%s\": it takes a number of tokens", env);
	if (!o->logits_file && !o->logits_all)
		o->logits_file = getenv("GRETA_LOGITS_FILE");
	if (check_source(o, e) || check_range("max-tokens", o->max_tokens, 0, 1 << 24, e) ||
	    check_range("max-seq-len", o->max_seq_len, 0, 1 << 24, e) || check_range("threads", o->n_threads, 0, 1024, e) ||
	    check_range("batch", o->batch, 0, 1 << 16, e) || check_range("repeat", o->repeat, 1, 1000000, e) ||
	    check_range("warmup", o->warmup, 0, 1000000, e) || check_range("top-k", o->top_k, 0, 1 << 26, e))
		return -1;
	if (o->temperature < 0 || o->top_p < 0 || o->top_p > 1)
		return greta_err_set(e, GRETA_EINVAL, "--temperature takes 0 or more, --top-p 0 to 1");
	return 0;
}

/* --- the model ---------------------------------------------------------------------------------------------------- */

static void on_load(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	progress_tell("load", done, total, "byte", NULL);
}

static int load(struct infer *in, struct greta_err *e)
{
	const struct infer_options *o = &in->o;
	const struct greta_engine_params params = {
		.backend = o->backend,
		.isa = o->isa,
		.n_threads = (int)o->n_threads,
		.precision = greta_str_eq(o->precision, "f32") ? GRETA_PRECISION_F32 : GRETA_PRECISION_FAST,
		.deterministic = o->deterministic,
		.on_load = on_load,
	};
	int64_t begun = greta_clock_mono_ns();

	struct stat file = {0};

	stat(o->model, &file);
	progress_tell("load", 0, (uint64_t)file.st_size, "byte", NULL);
	in->eng = greta_engine_open(o->model, &params, e);
	if (!in->eng)
		return -1;
	in->run.model_load_s = seconds_since(begun);
	in->limit = o->max_seq_len ? (uint32_t)o->max_seq_len : greta_engine_context_length(in->eng);
	return 0;
}

/* --- the prompt --------------------------------------------------------------------------------------------------- */

/* Positions that prompt and generation need: the last generated token is never evaluated. */
static uint64_t positions_needed(const struct infer *in)
{
	return in->prompt.n + (in->o.max_tokens > 1 ? (uint64_t)in->o.max_tokens - 1 : 0);
}

static int check_length(const struct infer *in, struct greta_err *e)
{
	const char *whose = in->o.max_seq_len ? "--max-seq-len or GRETA_MAX_SEQ_LEN" : "the model's llama.context_length";
	uint64_t need = positions_needed(in);

	if (need <= in->limit)
		return 0;
	return greta_err_set(e, GRETA_EINVAL, "the prompt of %zu tokens and %lld to generate need %llu positions, the maximum is "
			     "%u (%s): nothing is cut; give a shorter prompt or --max-seq-len %llu", in->prompt.n,
			     (long long)in->o.max_tokens, (unsigned long long)need, in->limit, whose, (unsigned long long)need);
}

static int read_prompt(struct infer *in, struct greta_err *e)
{
	progress_tell("tokenize", 0, 1, "prompt", NULL);
	if (prompt_read(&in->prompt, in->eng, &in->o, e))
		return -1;
	in->run.tokenize_s = in->prompt.tokenize_s;
	if (check_length(in, e))
		return -1;
	inject_prompt(in->inject, &in->prompt);
	printf("Prompt tokens: %zu\n", in->prompt.n);
	return 0;
}

/* --- samples ------------------------------------------------------------------------------------------------------ */

static void on_progress(void *arg, const struct greta_progress *p)
{
	struct infer *in = arg;
	char at[64];

	if (p->phase == GRETA_PHASE_PREFILL) {
		snprintf(at, sizeof at, "layer %u %s", p->layer, p->op);
		progress_tell(in->prefill_phase, p->done, p->total, "layer", at);
		in->prefill_total = p->total;
	}
	inject_at_layer(in->inject, p);
}

static int open_session(struct infer *in, struct greta_err *e)
{
	const struct greta_session_params params = {
		.n_ctx = (uint32_t)positions_needed(in),
		.n_batch = (uint32_t)in->o.batch,
		.kv = greta_str_eq(in->o.kv, "f16") ? GRETA_KV_F16 : GRETA_KV_F32,
		.attn = in->o.attn,
		.progress = on_progress,
		.progress_arg = in,
	};
	in->session = greta_session_create(in->eng, &params, e);
	return in->session ? 0 : -1;
}

static int write_logits(struct infer *in, const float *logits, struct greta_err *e)
{
	size_t n = greta_engine_n_vocab(in->eng);

	if (fwrite(logits, sizeof *logits, n, in->logits) != n)
		return greta_err_sys(e, "%s", in->o.logits_file);
	return 0;
}

struct all_logits {
	struct infer *in;
	struct greta_err *e;
};

static int on_logits(void *arg, uint64_t i, const float *logits)
{
	struct all_logits *all = arg;

	(void)i;
	return write_logits(all->in, logits, all->e);
}

/* With --logits-all the time contains the writing: such a run measures nothing. */
static int prefill(struct infer *in, bool last, struct greta_err *e)
{
	struct all_logits all = {in, e};

	if (last && in->o.logits_all)
		return greta_session_eval_all(in->session, in->prompt.tokens, in->prompt.n, on_logits, &all, e);
	return greta_session_eval(in->session, in->prompt.tokens, in->prompt.n, e);
}

static int decode(struct infer *in, struct sample_result *r, struct greta_err *e)
{
	const struct infer_options *o = &in->o;
	const struct greta_sampling sampling = {.temperature = (float)o->temperature, .top_k = (uint32_t)o->top_k,
						.top_p = (float)o->top_p};
	uint64_t state = (uint64_t)o->seed;
	size_t max = (size_t)o->max_tokens;

	while (r->n_generated < max) {
		uint32_t token = greta_sample(&sampling, &state, greta_session_logits(in->session), greta_engine_n_vocab(in->eng));
		r->generated[r->n_generated++] = token;
		if (r->n_generated == max || (o->stop_at_eos && greta_engine_ends(in->eng, token)))
			break;
		progress_tell("decode", r->n_generated, max, "token", NULL);
		if (greta_session_eval(in->session, &token, 1, e))
			return -1;
	}
	return 0;
}

static int take_sample(struct infer *in, struct sample_result *r, bool last, struct greta_err *e)
{
	size_t n_vocab = greta_engine_n_vocab(in->eng);

	greta_session_reset(in->session);
	r->prompt_tokens = in->prompt.n;
	in->prefill_phase = r->sample ? "prefill" : "warmup";
	int64_t begun = greta_clock_mono_ns();
	double cpu_begun = cpu_seconds();
	if (prefill(in, last, e))
		return -1;
	r->prefill_s = seconds_since(begun);
	r->prefill_cpu_s = cpu_seconds() - cpu_begun;
	progress_tell(in->prefill_phase, in->prefill_total, in->prefill_total, "layer", NULL);
	float *logits = greta_session_logits(in->session);
	inject_logits(in->inject, logits, n_vocab);
	result_digest(r, logits, n_vocab);
	if (last && in->logits && !in->o.logits_all && write_logits(in, logits, e))
		return -1;
	progress_tell("decode", 0, (uint64_t)in->o.max_tokens, "token", NULL);
	begun = greta_clock_mono_ns();
	if (decode(in, r, e))
		return -1;
	r->decode_s = in->o.max_tokens > 1 ? seconds_since(begun) : 0.0;
	return 0;
}

static int one_sample(struct infer *in, int64_t i, bool *finite, struct greta_err *e)
{
	const struct infer_options *o = &in->o;
	struct sample_result r = {.sample = i < o->warmup ? 0 : i - o->warmup + 1};
	bool last = i + 1 == o->warmup + o->repeat;

	r.generated = greta_alloc(((size_t)o->max_tokens + 1) * sizeof *r.generated);
	int rc = take_sample(in, &r, last, e);
	if (rc == 0 && i + 1 >= o->warmup)
		rc = result_print(&in->run, &r, e);
	*finite &= r.finite;
	free(r.generated);
	return rc;
}

static int run_samples(struct infer *in, struct greta_err *e)
{
	bool finite = true;

	for (int64_t i = 0; i < in->o.warmup + in->o.repeat; i++)
		if (one_sample(in, i, &finite, e))
			return -1;
	if (in->logits && fflush(in->logits))
		return greta_err_sys(e, "%s", in->o.logits_file);
	progress_tell("finish", 1, 1, "run", NULL);
	if (finite)
		return INFER_OK;
	fprintf(stderr, "greta-infer: %s: the logits hold NaN or infinity: the weights are broken (greta-gguf verify tells "
			"which), or the engine is\n", in->o.model);
	return INFER_NOT_FINITE;
}

/* --- the whole ---------------------------------------------------------------------------------------------------- */

static int run(struct infer *in, struct greta_err *e)
{
	if (in->o.inject && !(in->inject = inject_create(in->o.inject, e)))
		return -1;
	if (load(in, e) || inject_at_start(in->inject, in->eng, e) || read_prompt(in, e) ||
	    open_session(in, e))
		return -1;
	if (in->o.logits_file && !(in->logits = fopen(in->o.logits_file, "wbe")))
		return greta_err_sys(e, "%s", in->o.logits_file);
	in->run.o = &in->o;
	in->run.eng = in->eng;
	in->run.session = in->session;
	return run_samples(in, e);
}

static void release(struct infer *in)
{
	if (in->logits)
		fclose(in->logits);
	greta_session_destroy(in->session);
	greta_engine_close(in->eng);
	inject_destroy(in->inject);
	free(in->prompt.tokens);
}

static int exit_code(enum greta_code code)
{
	switch (code) {
	case GRETA_EINVAL:
	case GRETA_ENOENT:
	case GRETA_EVERSION:
		return INFER_USAGE;
	case GRETA_EUNSUPPORTED:
		return INFER_UNSUPPORTED;
	case GRETA_ENOMEM:
		return INFER_NO_MEMORY;
	default:
		return INFER_FAILED;
	}
}

static int print_version(void)
{
	cleanup_buf struct greta_buf out = {0};

	greta_engine_describe(&out);
	printf("greta-infer %s\n%s", GRETA_VERSION, greta_buf_str(&out));
	return fflush(stdout) ? INFER_FAILED : INFER_OK;
}

/* Fails where a kernel breaks the static gate, so that a campaign can ask before it spends node hours. */
static int print_kernel_resources(bool json)
{
	cleanup_buf struct greta_buf out = {0};
	int broken = greta_engine_kernel_resources(&out, json);

	fputs(greta_buf_str(&out), stdout);
	return fflush(stdout) || broken ? INFER_FAILED : INFER_OK;
}

static int print_help(const struct greta_opts *o)
{
	cleanup_buf struct greta_buf out = {0};

	greta_opt_help(o, &out);
	fputs(greta_buf_str(&out), stdout);
	return fflush(stdout) ? INFER_FAILED : INFER_OK;
}

int main(int argc, char **argv)
{
	cleanup_buf struct greta_buf details = {0};
	cleanup_strs struct greta_strs operands = {0};
	struct infer in = {.o = {.ctx = -1, .max_tokens = 1, .repeat = 1, .seed = 1, .kv = "f32", .precision = "fast"}};
	struct greta_err e = {0};

	progress_init();
	greta_trace_start("greta-infer", argv);
	signal(SIGPIPE, SIG_IGN);
	greta_buf_addf(&details, "%s%s", details_head, inject_help);
	const struct greta_opts opts = {.program = "greta-infer", .operands = "", .opts = options, .details = details.data,
					.summary = "Runs a GGUF model and says how long it took."};
	int code = greta_opt_parse(&opts, argc, argv, &in.o, &operands, false, &e);
	if (code == 1)
		code = print_help(&opts);
	else if (code == 0 && in.o.version)
		code = print_version();
	else if (code == 0 && in.o.kernel_resources)
		code = print_kernel_resources(in.o.json);
	else if (code == 0 && (code = check_options(&in.o, &e)) == 0)
		code = run(&in, &e);
	if (code < 0) {
		fprintf(stderr, "greta-infer: %s\n", e.text);
		code = exit_code(e.code);
	}
	release(&in);
	greta_trace_exit(code);
	return code;
}
