/* The reader of an engine's stdout: splits lines with bounded memory, and hands each to the adapter that knows how the
 * engine speaks.
 *
 *   perf_timing   "Prompt tokens: N" and "[PERF_TIMING] {json}", the latter anywhere in a line
 *   llama-bench   the objects of llama-bench -o json (an array over many lines) or -o jsonl
 *   json          lines that are one JSON object with a "prefill_s"
 *
 * Everything else is noise, and never an error: engines print what they like. */
#include "base/mem.h"
#include "base/str.h"
#include "schemas/json.h"
#include "schemas/result.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WHY_MAX 1024
#define MARKER "[PERF_TIMING]"
#define TOKENS "Prompt tokens:"

struct greta_result_reader {
	enum greta_adapter adapter;
	struct greta_buf line; /* the unfinished one */
	bool skipping;	       /* the rest of a line that is too long */
	int64_t lines_skipped;
	int64_t prompt_tokens; /* as the log said last; -1: not said */
	int64_t n_results;     /* results that were looked at, readable or not */
	struct greta_samples samples;
	size_t sample_bytes;	 /* of readings in them, as JSON */
	struct greta_buf object; /* of llama-bench, as far as it came */
	int depth;		 /* of brackets in it; 0: none begun */
	bool quoted, escaped;
	struct greta_buf why;
	bool contradicts;
};

__attribute__((format(printf, 2, 3))) static void complain(struct greta_result_reader *r, const char *fmt, ...)
{
	cleanup_buf struct greta_buf text = {0};
	va_list ap;

	va_start(ap, fmt);
	greta_buf_vaddf(&text, fmt, ap);
	va_end(ap);
	if (r->why.len > WHY_MAX || strstr(greta_buf_str(&r->why), text.data)) /* said already */
		return;
	greta_buf_addf(&r->why, "%s%s", r->why.len ? "; " : "", text.data);
}

/* ---- samples */

static bool same_metric(const struct greta_metric *a, const struct greta_metric *b)
{
	return b && (a->text || b->text ? greta_str_eq(a->text, b->text) : a->value == b->value);
}

static bool same_readings(const struct greta_sample *a, const struct greta_sample *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!same_metric(&a->metrics[i], greta_sample_get(b, a->metrics[i].name)))
			return false;
	return true;
}

static struct greta_sample *find_sample(struct greta_result_reader *r, int64_t no)
{
	for (size_t i = 0; i < r->samples.n; i++)
		if (r->samples.items[i].sample_no == no)
			return &r->samples.items[i];
	return NULL;
}

static int64_t next_number(const struct greta_result_reader *r)
{
	int64_t last = 0;

	for (size_t i = 0; i < r->samples.n; i++)
		if (r->samples.items[i].sample_no > last)
			last = r->samples.items[i].sample_no;
	return last + 1;
}

/* An upper bound of what the readings take as JSON, so that an outcome always fits its frame. */
static size_t json_bytes(const struct greta_sample *s)
{
	size_t bytes = 32;

	for (size_t i = 0; i < s->n; i++) {
		bytes += strlen(s->metrics[i].name) + 32;
		for (const char *c = s->metrics[i].text; c && *c; c++)
			bytes += (unsigned char)*c < 0x20 ? 6 : *c == '"' || *c == '\\' ? 2 : 1;
	}
	return bytes;
}

static void keep_sample(struct greta_result_reader *r, int64_t no, struct greta_sample *s)
{
	if (r->samples.n >= GRETA_SAMPLES_MAX || r->sample_bytes + json_bytes(s) > GRETA_SAMPLES_BYTES_MAX) {
		complain(r, "more samples than are kept (%zu)", r->samples.n);
		greta_sample_release(s);
		return;
	}
	r->sample_bytes += json_bytes(s);
	s->sample_no = no;
	*GRETA_PUSH(r->samples.items, r->samples.n, r->samples.cap) = *s;
}

/* Takes what s owns. numbered: the engine said which sample it is. */
static void add_sample(struct greta_result_reader *r, bool numbered, int64_t no, struct greta_sample *s)
{
	struct greta_sample *before = numbered ? find_sample(r, no) : NULL;

	for (size_t i = 0; !numbered && !before && i < r->samples.n; i++)
		if (same_readings(&r->samples.items[i], s))
			before = &r->samples.items[i];
	if (!before) {
		keep_sample(r, numbered ? no : next_number(r), s);
		return;
	}
	if (same_readings(before, s)) {
		complain(r, "sample %" PRId64 " was printed twice, the same", before->sample_no);
	} else {
		complain(r, "sample %" PRId64 " was printed twice and differs: prefill_s %.9g and %.9g",
			 before->sample_no, greta_sample_number(before, "prefill_s"),
			 greta_sample_number(s, "prefill_s"));
		r->contradicts = true;
	}
	greta_sample_release(s);
}

/* What the log said of prompt tokens goes to a result that says nothing itself. */
static void settle_tokens(struct greta_result_reader *r, struct greta_sample *s)
{
	const struct greta_metric *said = greta_sample_get(s, "prompt_tokens");

	if (r->prompt_tokens < 0)
		return;
	if (!said) {
		greta_sample_set_number(s, "prompt_tokens", (double)r->prompt_tokens);
	} else if (said->text || said->value != (double)r->prompt_tokens) {
		complain(r, "the result says %.17g prompt tokens, the log %" PRId64, said->value, r->prompt_tokens);
		r->contradicts = true;
	}
}

/* False: there were so many that this is a flood. What is in the rest can't be vouched for, so nothing is. */
static bool within_flood_limit(struct greta_result_reader *r)
{
	if (r->n_results++ < GRETA_RESULTS_MAX)
		return true;
	if (!r->contradicts)
		complain(r, "more than %d results; the rest was not read", GRETA_RESULTS_MAX);
	r->contradicts = true;
	return false;
}

/* One object with our field names. */
static void take_result(struct greta_result_reader *r, const char *text, size_t n)
{
	struct greta_err e = {0};
	struct greta_json *j;
	const struct greta_json_val *root, *number;
	struct greta_sample s = {0};
	int64_t no = 0;

	if (!within_flood_limit(r))
		return;
	j = greta_json_parse("result", text, n, &e);
	if (!j) {
		complain(r, "unreadable %s", e.text);
		return;
	}
	root = greta_json_root(j);
	number = greta_json_get(root, "sample");
	if (greta_json_type(root) != GRETA_JSON_OBJECT || (number && (greta_json_i64(number, &no) || no < 0))) {
		complain(r, "unreadable result: expected an object whose \"sample\" is a number from 0");
	} else {
		greta_sample_read(&s, root, r->why.len > WHY_MAX ? NULL : &r->why);
		settle_tokens(r, &s);
		add_sample(r, number != NULL, no, &s);
	}
	greta_json_destroy(j);
}

/* ---- perf_timing */

static void take_prompt_tokens(struct greta_result_reader *r, const char *text, size_t n)
{
	char *digits = greta_strndup(text, n < 32 ? n : 32);
	char *end;
	long long tokens = strtoll(digits, &end, 10);

	if (end > digits && tokens >= 0)
		r->prompt_tokens = tokens;
	free(digits);
	for (size_t i = 0; i < r->samples.n; i++) /* results that came before this line */
		if (r->prompt_tokens >= 0 && !greta_sample_get(&r->samples.items[i], "prompt_tokens"))
			greta_sample_set_number(&r->samples.items[i], "prompt_tokens", (double)r->prompt_tokens);
}

static void perf_timing_line(struct greta_result_reader *r, const char *line, size_t n)
{
	const char *at = memmem(line, n, MARKER, strlen(MARKER));
	size_t blank = 0;

	if (at) {
		at += strlen(MARKER);
		take_result(r, at, n - (size_t)(at - line));
		return;
	}
	while (blank < n && (line[blank] == ' ' || line[blank] == '\t'))
		blank++;
	if (n - blank > strlen(TOKENS) && !memcmp(line + blank, TOKENS, strlen(TOKENS)))
		take_prompt_tokens(r, line + blank + strlen(TOKENS), n - blank - strlen(TOKENS));
}

/* ---- json */

static void json_line(struct greta_result_reader *r, const char *line, size_t n)
{
	size_t blank = 0;

	while (blank < n && isspace((unsigned char)line[blank]))
		blank++;
	if (blank < n && line[blank] == '{' && memmem(line, n, "\"prefill_s\"", strlen("\"prefill_s\"")))
		take_result(r, line, n);
}

/* ---- llama-bench */

/* What of a test's description goes with each of its samples. */
static void copy_bench_readings(const struct greta_json_val *test, struct greta_sample *s)
{
	static const char *const names[] = {
		"build_commit", "build_number",	  "cpu_info",	"gpu_info", "backends",	 "model_type",
		"model_size",	"model_n_params", "n_batch",	"n_ubatch", "n_threads", "type_k",
		"type_v",	"n_gpu_layers",	  "flash_attn", "use_mmap", "test_time", "avg_ts",
		"stddev_ts",
	};

	for (size_t i = 0; i < GRETA_COUNT(names); i++) {
		const struct greta_json_val *v = greta_json_get(test, names[i]);
		const char *text;
		double number;
		bool flag;

		if (!greta_json_str(v, &text) && strlen(text) <= GRETA_METRIC_TEXT_MAX)
			greta_sample_set_text(s, names[i], text);
		else if (!greta_json_f64(v, &number))
			greta_sample_set_number(s, names[i], number);
		else if (!greta_json_bool(v, &flag))
			greta_sample_set_number(s, names[i], flag);
	}
}

static void take_bench_sample(struct greta_result_reader *r, const struct greta_json_val *test, int64_t n_prompt,
			      const struct greta_json_val *ns)
{
	struct greta_sample s = {0};
	double v;

	if (greta_json_f64(ns, &v)) {
		complain(r, "llama-bench: \"samples_ns\" holds something that is no number");
		return;
	}
	greta_sample_set_number(&s, "prefill_s", v / 1e9);
	greta_sample_set_number(&s, "prompt_tokens", (double)n_prompt);
	copy_bench_readings(test, &s);
	keep_sample(r, next_number(r), &s);
}

static void take_bench_test(struct greta_result_reader *r, const struct greta_json_val *test)
{
	const struct greta_json_val *samples = greta_json_get(test, "samples_ns");
	int64_t n_prompt, n_gen, n_depth = 0;

	if (greta_json_i64(greta_json_get(test, "n_prompt"), &n_prompt) ||
	    greta_json_i64(greta_json_get(test, "n_gen"), &n_gen))
		return; /* some other object */
	greta_json_i64(greta_json_get(test, "n_depth"), &n_depth); /* older ones have none */
	if (n_depth != 0) {
		complain(r, "llama-bench: a test behind %" PRId64 " tokens in the cache is no prefill; run it with -d 0", n_depth);
		return;
	}
	if (n_prompt <= 0 || n_gen != 0) {
		complain(r,
			 "llama-bench: a test of %" PRId64 " prompt and %" PRId64
			 " generated tokens is no prefill; run it with -n 0",
			 n_prompt, n_gen);
		return;
	}
	if (!samples || greta_json_type(samples) != GRETA_JSON_ARRAY || !greta_json_size(samples))
		complain(r, "llama-bench: a test without \"samples_ns\"");
	else
		for (const struct greta_json_val *v = greta_json_first(samples); v; v = greta_json_next(v))
			take_bench_sample(r, test, n_prompt, v);
}

static void end_object(struct greta_result_reader *r)
{
	struct greta_err e = {0};
	struct greta_json *j = NULL;

	if (!within_flood_limit(r))
		return greta_buf_clear(&r->object);
	j = greta_json_parse("llama-bench", r->object.data, r->object.len, &e);
	if (j)
		take_bench_test(r, greta_json_root(j));
	else if (memmem(r->object.data, r->object.len, "\"n_prompt\"", strlen("\"n_prompt\"")))
		complain(r, "unreadable %s", e.text);
	greta_json_destroy(j);
	greta_buf_clear(&r->object);
}

static void drop_object(struct greta_result_reader *r)
{
	r->depth = 0;
	r->quoted = r->escaped = false;
	greta_buf_clear(&r->object);
}

/* One character of an object that has begun. */
static void bench_char(struct greta_result_reader *r, char c)
{
	greta_buf_addc(&r->object, c);
	if (r->quoted) {
		if (!r->escaped && c == '"')
			r->quoted = false;
		r->escaped = !r->escaped && c == '\\';
	} else if (c == '"') {
		r->quoted = true;
	} else if (c == '{' || c == '[') {
		r->depth++;
	} else if ((c == '}' || c == ']') && --r->depth == 0) {
		end_object(r);
	}
}

/* An object opens with { and a key; a brace before anything else is somebody's log. */
static bool opens_object(const struct greta_result_reader *r, char c)
{
	return r->object.len > 1 || isspace((unsigned char)c) || c == '"' || c == '}';
}

static void bench_line(struct greta_result_reader *r, const char *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (r->depth == 0 && line[i] != '{') {
			if (!strchr(" \t\r[],", line[i]) || !line[i])
				return; /* noise to the end of the line */
			continue;
		}
		if (r->depth > 0 && !opens_object(r, line[i])) {
			drop_object(r);
			return;
		}
		if (r->object.len == 1 && isspace((unsigned char)line[i]))
			continue;
		bench_char(r, line[i]);
	}
	if (r->quoted || r->object.len > GRETA_RESULT_LINE_MAX) /* no string of JSON spans lines */
		drop_object(r);
	else if (r->object.len > 1)
		greta_buf_addc(&r->object, '\n');
}

/* ---- lines */

static void take_line(struct greta_result_reader *r, const char *line, size_t n)
{
	switch (r->adapter) {
	case GRETA_ADAPTER_PERF_TIMING:
		perf_timing_line(r, line, n);
		break;
	case GRETA_ADAPTER_LLAMA_BENCH:
		bench_line(r, line, n);
		break;
	case GRETA_ADAPTER_JSON:
		json_line(r, line, n);
		break;
	}
}

struct greta_result_reader *greta_result_reader_create(enum greta_adapter adapter)
{
	struct greta_result_reader *r = greta_alloc(sizeof(*r));

	r->adapter = adapter;
	r->prompt_tokens = -1;
	return r;
}

static void add_to_line(struct greta_result_reader *r, const char *bytes, size_t n)
{
	if (r->skipping)
		return;
	if (r->line.len + n > GRETA_RESULT_LINE_MAX) {
		r->skipping = true;
		r->lines_skipped++;
		greta_buf_release(&r->line);
		return;
	}
	greta_buf_add(&r->line, bytes, n);
}

static void end_line(struct greta_result_reader *r)
{
	if (!r->skipping)
		take_line(r, greta_buf_str(&r->line), r->line.len);
	r->skipping = false;
	greta_buf_clear(&r->line);
}

void greta_result_reader_feed(struct greta_result_reader *r, const char *bytes, size_t n)
{
	while (n > 0) {
		const char *newline = memchr(bytes, '\n', n);
		size_t len = newline ? (size_t)(newline - bytes) : n;

		if (newline && !r->skipping && !r->line.len && len <= GRETA_RESULT_LINE_MAX) {
			take_line(r, bytes, len);
		} else {
			add_to_line(r, bytes, len);
			if (newline)
				end_line(r);
		}
		len += newline != NULL;
		bytes += len;
		n -= len;
	}
}

void greta_result_reader_finish(struct greta_result_reader *r, struct greta_samples *out, struct greta_buf *why,
				bool *contradicts)
{
	if (r->line.len || r->skipping)
		end_line(r);
	if (!r->samples.n && r->lines_skipped)
		complain(r, "%" PRId64 " lines of more than %d bytes were skipped", r->lines_skipped,
			 GRETA_RESULT_LINE_MAX);
	greta_buf_add(why, greta_buf_str(&r->why), r->why.len);
	*contradicts = r->contradicts;
	*out = r->samples;
	r->samples = (struct greta_samples){0};
}

void greta_result_reader_destroy(struct greta_result_reader *r)
{
	if (!r)
		return;
	greta_buf_release(&r->line);
	greta_buf_release(&r->object);
	greta_buf_release(&r->why);
	greta_samples_release(&r->samples);
	free(r);
}
