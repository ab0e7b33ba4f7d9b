#include "orchestrator/import/b389.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "schemas/json.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_DEPTH 6
#define MAX_PERF_BYTES (1 << 20)
#define MAX_EVENTS_BYTES (64 << 20)

/* ---- small readers */

static double number_or_nan(const struct greta_json_val *object, const char *key)
{
	double v;
	return greta_json_f64(greta_json_get(object, key), &v) == 0 ? v : NAN;
}

static int64_t integer_or(const struct greta_json_val *object, const char *key, int64_t otherwise)
{
	int64_t v;
	return greta_json_i64(greta_json_get(object, key), &v) == 0 ? v : otherwise;
}

static char *string_or_null(const struct greta_json_val *object, const char *key)
{
	const char *s;
	return greta_json_str(greta_json_get(object, key), &s) == 0 ? greta_strdup(s) : NULL;
}

/* "ctx_4096_run1" or "ctx_4096_1": the context and the repeat. */
static bool parse_dir_name(const char *name, int64_t *context, int64_t *repeat)
{
	long long c, r;
	int used = 0;
	if (sscanf(name, "ctx_%lld_run%lld%n", &c, &r, &used) < 2 || name[used]) {
		used = 0;
		if (sscanf(name, "ctx_%lld_%lld%n", &c, &r, &used) < 2 || name[used])
			return false;
	}
	*context = c;
	*repeat = r;
	return c > 0 && r >= 0;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* The folder above a run's: the variant, unless it is the flat form's "runs". */
static char *variant_of_dir(const char *dir)
{
	const char *slash = strrchr(dir, '/');
	if (!slash)
		return NULL;
	cleanup_free char *above = greta_strndup(dir, (size_t)(slash - dir));
	const char *name = base_name(above);
	return greta_str_eq(name, "runs") ? NULL : greta_strdup(name);
}

/* ---- perf.json */

/* With --max-tokens 1 the engine decodes nothing and prints what its clock took. */
static bool is_unmeasured(const char *name, double value)
{
	return greta_str_eq(name, "decode_s") && value < 1e-6;
}

static void read_timings(const struct greta_json_val *timings, struct b389_run *run)
{
	if (!timings || greta_json_size(timings) == 0)
		return;
	struct greta_sample *s = GRETA_PUSH(run->samples.items, run->samples.n, run->samples.cap);
	*s = (struct greta_sample){.sample_no = 1};
	for (const struct greta_json_val *v = greta_json_first(timings); v; v = greta_json_next(v)) {
		double number;
		const char *text;
		if (greta_json_f64(v, &number) == 0 && !is_unmeasured(greta_json_key(v), number))
			greta_sample_set_number(s, greta_json_key(v), number);
		else if (greta_json_str(v, &text) == 0)
			greta_sample_set_text(s, greta_json_key(v), text);
	}
}

/* What the log says of the tokens, since perf.json does not. */
static void read_log_tokens(const struct b389_tree *t, struct b389_run *run)
{
	if (!run->samples.n || !isnan(greta_sample_number(&run->samples.items[0], "prompt_tokens")))
		return;
	cleanup_buf struct greta_buf log = {0};
	if (b389_read_text(t, run, "run.log", 64 << 20, &log, NULL))
		return;
	struct greta_result_reader *reader = greta_result_reader_create(GRETA_ADAPTER_PERF_TIMING);
	greta_result_reader_feed(reader, greta_buf_str(&log), log.len);
	struct greta_samples said = {0};
	cleanup_buf struct greta_buf why = {0};
	bool contradicts = false;
	greta_result_reader_finish(reader, &said, &why, &contradicts);
	greta_result_reader_destroy(reader);
	double tokens = said.n ? greta_sample_number(&said.items[0], "prompt_tokens") : NAN;
	if (!isnan(tokens))
		greta_sample_set_number(&run->samples.items[0], "prompt_tokens", tokens);
	greta_samples_release(&said);
}

static bool has_file(const struct b389_tree *t, const char *dir, const char *name)
{
	cleanup_free char *path = greta_format("%s/%s/%s", t->root, dir, name);
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int read_perf(struct b389_tree *t, const char *dir, struct b389_run *run, struct greta_err *e)
{
	cleanup_free char *path = greta_format("%s/%s/perf.json", t->root, dir);
	cleanup_buf struct greta_buf text = {0};
	char hex[GRETA_SHA256_HEX + 1];
	if (greta_fs_read(path, MAX_PERF_BYTES, &text, e))
		return -1;
	struct greta_json *json = greta_json_parse(path, greta_buf_str(&text), text.len, e);
	if (!json)
		return -1;
	const struct greta_json_val *root = greta_json_root(json);
	parse_dir_name(base_name(dir), &run->context, &run->repeat);
	run->dir = greta_strdup(dir);
	run->context = integer_or(root, "context_len", run->context);
	run->repeat = integer_or(root, "repetition", run->repeat);
	run->variant = string_or_null(root, "variant");
	if (!run->variant)
		run->variant = variant_of_dir(dir);
	run->mode = string_or_null(root, "mode");
	run->exit_status = string_or_null(root, "exit_status");
	run->failed = !greta_str_eq(run->exit_status, "OK");
	run->wall_s = number_or_nan(root, "wall_time_sec");
	run->exit_code = -1;
	run->sha256 = greta_strdup(greta_sha256_of(text.data, text.len, hex));
	read_timings(greta_json_get(root, "timings"), run);
	if (!t->ticket)
		t->ticket = string_or_null(root, "ticket");
	greta_json_destroy(json);
	run->has_log = has_file(t, dir, "run.log");
	run->has_diag = has_file(t, dir, "diag.txt");
	run->has_vram = has_file(t, dir, "vram_samples.jsonl");
	read_log_tokens(t, run);
	return 0;
}

static void run_release(struct b389_run *r)
{
	free(r->dir);
	free(r->variant);
	free(r->mode);
	free(r->exit_status);
	free(r->sha256);
	greta_samples_release(&r->samples);
}

static void add_run(struct b389_tree *t, const char *dir, struct greta_problems *problems)
{
	struct greta_err err = {0};
	struct b389_run run = {0};
	if (!has_file(t, dir, "perf.json")) {
		greta_problems_add(problems, true, 0, 0, dir, "has no perf.json: left out");
		return;
	}
	if (read_perf(t, dir, &run, &err)) {
		greta_problems_add(problems, false, 0, 0, dir, "%s", err.text);
		run_release(&run);
		return;
	}
	*GRETA_PUSH(t->runs, t->n_runs, t->cap_runs) = run;
}

/* ---- the executor's event log */

static struct b389_run *find_run(struct b389_tree *t, const char *variant, int64_t context, int64_t repeat)
{
	for (size_t i = 0; i < t->n_runs; i++) {
		struct b389_run *r = &t->runs[i];
		if (r->context == context && r->repeat == repeat && (!r->variant || greta_str_eq(r->variant, variant)))
			return r;
	}
	return NULL;
}

static int64_t event_time_ns(const struct greta_json_val *event)
{
	const struct greta_json_val *ts = greta_json_get(event, "ts");
	const char *text;
	double seconds;
	int64_t ns = 0;
	if (greta_json_str(ts, &text) == 0)
		return greta_clock_parse_iso(text, &ns) == 0 ? ns : 0;
	if (greta_json_f64(ts, &seconds) == 0)
		return (int64_t)(seconds * 1e9);
	return 0;
}

static void add_skip(struct b389_tree *t, const struct greta_json_val *event, int64_t context, int64_t repeat)
{
	struct b389_skip *s = GRETA_PUSH(t->skips, t->n_skips, t->cap_skips);
	*s = (struct b389_skip){
		.variant = string_or_null(event, "variant"),
		.context = context,
		.repeat = repeat,
		.reason = string_or_null(event, "reason"),
	};
}

static void take_event(struct b389_tree *t, const struct greta_json_val *event)
{
	const char *kind, *variant = NULL;
	if (greta_json_str(greta_json_get(event, "event"), &kind))
		return;
	greta_json_str(greta_json_get(event, "variant"), &variant);
	int64_t context = integer_or(event, "ctx", 0), repeat = integer_or(event, "run_idx", -1);
	if (context <= 0 || repeat < 0)
		return;
	if (greta_str_eq(kind, "TEST_SKIP")) {
		add_skip(t, event, context, repeat);
		return;
	}
	struct b389_run *r = find_run(t, variant, context, repeat);
	if (!r)
		return;
	if (greta_str_eq(kind, "TEST_START"))
		r->started_ns = event_time_ns(event);
	if (greta_str_eq(kind, "TEST_END")) {
		r->ended_ns = event_time_ns(event);
		r->exit_code = (int)integer_or(event, "exit_code", -1);
	}
}

/* One JSON object a line; what is no JSON is passed over, since the executor's own chatter stands between. */
static void take_events(struct b389_tree *t, const char *text)
{
	for (const char *line = text; *line;) {
		const char *end = strchrnul(line, '\n');
		if (*line == '{') {
			struct greta_json *j = greta_json_parse("event", line, (size_t)(end - line), NULL);
			if (j)
				take_event(t, greta_json_root(j));
			greta_json_destroy(j);
		}
		line = *end ? end + 1 : end;
	}
}

static void read_events(struct b389_tree *t, const struct greta_strs *files)
{
	for (size_t i = 0; i < files->n; i++) {
		cleanup_free char *path = greta_format("%s/%s", t->root, files->items[i]);
		cleanup_buf struct greta_buf text = {0};
		if (greta_fs_read(path, MAX_EVENTS_BYTES, &text, NULL) == 0 &&
		    strstr(greta_buf_str(&text), "\"event\""))
			take_events(t, greta_buf_str(&text));
	}
}

/* ---- walking the tree */

static bool may_hold_events(const char *name)
{
	return (greta_str_ends(name, ".jsonl") || greta_str_ends(name, ".log") || greta_str_ends(name, ".json")) &&
	       !greta_str_starts(name, "vram_") && !greta_str_eq(name, "run.log") && !greta_str_eq(name, "perf.json");
}

struct walk {
	struct b389_tree *tree;
	struct greta_problems *problems;
	struct greta_strs event_files;
};

static void walk_dir(struct walk *w, const char *rel, int depth);

static void walk_entry(struct walk *w, const char *rel, const char *name, int depth)
{
	cleanup_free char *child = *rel ? greta_format("%s/%s", rel, name) : greta_strdup(name);
	cleanup_free char *path = greta_format("%s/%s", w->tree->root, child);
	struct stat st;
	int64_t context, repeat;
	if (lstat(path, &st))
		return;
	if (S_ISDIR(st.st_mode) && parse_dir_name(name, &context, &repeat))
		add_run(w->tree, child, w->problems);
	else if (S_ISDIR(st.st_mode) && depth < MAX_DEPTH)
		walk_dir(w, child, depth + 1);
	else if (S_ISREG(st.st_mode) && may_hold_events(name))
		greta_strs_add(&w->event_files, child);
}

static void walk_dir(struct walk *w, const char *rel, int depth)
{
	cleanup_free char *path = *rel ? greta_format("%s/%s", w->tree->root, rel) : greta_strdup(w->tree->root);
	struct dirent **names;
	int n = scandir(path, &names, NULL, versionsort); /* the same order on every machine */
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.')
			walk_entry(w, rel, names[i]->d_name, depth);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

int b389_read(const char *root, struct b389_tree *out, struct greta_problems *problems, struct greta_err *e)
{
	struct stat st;
	if (stat(root, &st))
		return greta_err_sys(e, "%s", root);
	if (!S_ISDIR(st.st_mode))
		return greta_err_set(e, GRETA_EINVAL, "%s is no folder: import takes the root of an artifact tree", root);
	*out = (struct b389_tree){.root = greta_strdup(root)};
	struct walk w = {.tree = out, .problems = problems};
	walk_dir(&w, "", 0);
	read_events(out, &w.event_files);
	greta_strs_release(&w.event_files);
	if (out->n_runs == 0 && out->n_skips == 0 && greta_problems_errors(problems) == 0)
		return greta_err_set(e, GRETA_EINVAL,
				     "%s: no run found: expected <variant>/ctx_<N>_run<i>/perf.json or runs/ctx_<N>_<i>/perf.json",
				     root);
	return 0;
}

void b389_release(struct b389_tree *t)
{
	for (size_t i = 0; i < t->n_runs; i++)
		run_release(&t->runs[i]);
	for (size_t i = 0; i < t->n_skips; i++) {
		free(t->skips[i].variant);
		free(t->skips[i].reason);
	}
	free(t->runs);
	free(t->skips);
	free(t->root);
	free(t->ticket);
	*t = (struct b389_tree){0};
}

int b389_read_text(const struct b389_tree *t, const struct b389_run *r, const char *name, size_t max_bytes,
		   struct greta_buf *out, struct greta_err *e)
{
	cleanup_free char *path = greta_format("%s/%s/%s", t->root, r->dir, name);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : greta_err_sys(e, "%s", path);
	struct stat st;
	if (fstat(fd, &st))
		return greta_err_sys(e, "%s", path);
	if ((size_t)st.st_size > max_bytes && lseek(fd, -(off_t)max_bytes, SEEK_END) < 0)
		return greta_err_sys(e, "%s", path);
	for (;;) {
		char *room = greta_buf_reserve(out, 65536);
		ssize_t n = read(fd, room, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return greta_err_sys(e, "%s", path);
		if (n == 0)
			return 0;
		out->len += (size_t)n;
		out->data[out->len] = 0;
	}
}

/* rocm-smi prints {"card0": {"VRAM Total Memory (B)": "...", "VRAM Total Used Memory (B)": "..."}}, numbers as text. */
static int64_t used_vram(const struct greta_json_val *sample)
{
	int64_t most = -1;
	for (const struct greta_json_val *card = greta_json_first(sample); card; card = greta_json_next(card)) {
		if (greta_json_type(card) != GRETA_JSON_OBJECT)
			continue;
		const struct greta_json_val *used = greta_json_get(card, "VRAM Total Used Memory (B)");
		const char *text;
		int64_t bytes = -1;
		if (greta_json_str(used, &text) == 0)
			greta_str_i64(text, &bytes);
		else
			greta_json_i64(used, &bytes);
		if (bytes > most)
			most = bytes;
	}
	return most;
}

int64_t b389_peak_vram(const struct b389_tree *t, const struct b389_run *r)
{
	cleanup_buf struct greta_buf text = {0};
	int64_t peak = -1;
	if (b389_read_text(t, r, "vram_samples.jsonl", MAX_EVENTS_BYTES, &text, NULL))
		return -1;
	for (const char *line = greta_buf_str(&text); *line;) {
		const char *end = strchrnul(line, '\n');
		struct greta_json *j = greta_json_parse("sample", line, (size_t)(end - line), NULL);
		int64_t used = j ? used_vram(greta_json_root(j)) : -1;
		if (used > peak)
			peak = used;
		greta_json_destroy(j);
		line = *end ? end + 1 : end;
	}
	return peak;
}
