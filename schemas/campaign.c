#include "schemas/campaign.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "schemas/campaign_parts.h"
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_DEFAULT_S 1800
#define REPEATS_DEFAULT 3
#define LOG_LIMIT_DEFAULT (16 << 20)

/* clang-format off */
const char *const greta_infer_command[] = {
	"greta-infer", "--model", "{model}", "--ctx", "{context}", "--max-tokens", "1", "--greedy",
	"--warmup", "{warmup}", "--repeat", "{samples}", NULL,
};
/* clang-format on */

/* Silence only makes the watchdog look; what it then sees decides. No phase has a limit unless the campaign sets one: what
 * moves is never ended before its wall budget. */
static const struct greta_phase_limit phase_defaults[GRETA_PHASE_COUNT] = {
	[GRETA_PHASE_STARTING] = {.silence_s = 60},
	[GRETA_PHASE_LOAD] = {.silence_s = 60},
	[GRETA_PHASE_TOKENIZE] = {.silence_s = 30},
	[GRETA_PHASE_WARMUP] = {.silence_s = 60},
	[GRETA_PHASE_PREFILL] = {.silence_s = 60},
	[GRETA_PHASE_DECODE] = {.silence_s = 60},
	[GRETA_PHASE_FINISH] = {.silence_s = 30},
};

void campaign_defaults(struct greta_campaign *c)
{
	*c = (struct greta_campaign){
		.samples_per_attempt = 1,
		.seed = 1,
		.slot = GRETA_SLOT_GPU,
		.n_gpus = 1,
		.telemetry_interval_s = 1,
		.log_limit_bytes = LOG_LIMIT_DEFAULT,
	};
	for (const char *const *arg = greta_infer_command; *arg; arg++)
		greta_strs_add(&c->engine.command, *arg);
	*GRETA_PUSH(c->repeats, c->n_repeats, c->cap_repeats) = (struct greta_repeat){.n = REPEATS_DEFAULT};
	*GRETA_PUSH(c->timeouts, c->n_timeouts, c->cap_timeouts) = (struct greta_timeout){.seconds = TIMEOUT_DEFAULT_S};
	memcpy(c->phases, phase_defaults, sizeof(phase_defaults));
	for (int o = 0; o < GRETA_OUTCOME_COUNT; o++)
		c->retries[o] = greta_outcome_default_retries((enum greta_outcome)o);
}

/* ---- parse */

static int compare_places(const void *a, const void *b)
{
	const struct greta_problem *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->column < y->column ? -1 : x->column > y->column;
}

/* "name:line:column: text" as a problem. */
static void add_json_error(struct greta_problems *problems, const char *name, const char *error)
{
	size_t prefix = strlen(name);
	int line = 0, column = 0, used = 0;

	if (!strncmp(error, name, prefix) && error[prefix] == ':')
		error += prefix + 1;
	if (sscanf(error, "%d:%d:%n", &line, &column, &used) == 2 && used)
		error += used;
	else
		line = column = 0;
	greta_problems_add(problems, false, line, column, NULL, "%s", error + strspn(error, " "));
}

static int parse_document(const struct greta_json *doc, struct greta_campaign *out, struct greta_problems *problems)
{
	struct reader r = {doc, problems, out};

	campaign_read(&r);
	campaign_check(&r);
	if (problems->n)
		qsort(problems->items, problems->n, sizeof(*problems->items), compare_places);
	if (!greta_problems_errors(problems))
		return 0;
	greta_campaign_release(out);
	return -1;
}

int greta_campaign_parse(const char *name, const char *text, size_t n, struct greta_campaign *out,
			 struct greta_problems *problems)
{
	struct greta_err e = {0};
	struct greta_json *doc = greta_json_parse_past(name, text, n, problems, &e);
	int rc;

	*out = (struct greta_campaign){0};
	if (!doc) {
		add_json_error(problems, name, e.text);
		return -1;
	}
	rc = parse_document(doc, out, problems);
	greta_json_destroy(doc);
	return rc;
}

int greta_campaign_load(const char *path, struct greta_campaign *out, struct greta_problems *problems,
			struct greta_buf *text)
{
	cleanup_buf struct greta_buf own = {0};
	struct greta_buf *into = text ? text : &own;
	struct greta_err e = {0};
	size_t begin = into->len;

	*out = (struct greta_campaign){0};
	if (greta_fs_read(path, GRETA_CAMPAIGN_TEXT_MAX, into, &e)) {
		add_json_error(problems, path, e.text);
		return -1;
	}
	if (greta_campaign_parse(path, greta_buf_str(into) + begin, into->len - begin, out, problems))
		return -1;
	out->file = greta_strdup(path);
	return 0;
}

/* ---- what holds where */

int64_t greta_campaign_repeats(const struct greta_campaign *c, int64_t context)
{
	for (size_t i = 1; i < c->n_repeats; i++)
		if (c->repeats[i].context == context)
			return c->repeats[i].n;
	return c->n_repeats ? c->repeats[0].n : 0;
}

double greta_campaign_timeout_s(const struct greta_campaign *c, int64_t context)
{
	for (size_t i = 1; i < c->n_timeouts; i++)
		if (c->timeouts[i].context == context)
			return c->timeouts[i].seconds;
	return c->n_timeouts ? c->timeouts[0].seconds : 0;
}

const struct greta_engine *greta_campaign_engine(const struct greta_campaign *c, const struct greta_variant *v)
{
	return v->engine ? v->engine : &c->engine;
}

const char *env_find(const struct greta_strs *env, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < env->n; i++)
		if (!strncmp(env->items[i], name, n) && (env->items[i][n] == '=' || !env->items[i][n]))
			return env->items[i];
	return NULL;
}

/* ---- copies and release */

void strs_copy(struct greta_strs *to, const struct greta_strs *from)
{
	for (size_t i = 0; i < from->n; i++)
		greta_strs_add(to, from->items[i]);
}

static void artifact_release(struct greta_artifact *a)
{
	free(a->path);
	free(a->sha256);
}

void engine_copy(struct greta_engine *to, const struct greta_engine *from)
{
	*to = (struct greta_engine){
		.executable = {greta_strdup(from->executable.path), from->executable.upload,
			       greta_strdup(from->executable.sha256)},
		.adapter = from->adapter,
		.max_seq_len_env = from->max_seq_len_env,
		.build_id = greta_strdup(from->build_id),
	};
	strs_copy(&to->command, &from->command);
	strs_copy(&to->env, &from->env);
}

void engine_release(struct greta_engine *e)
{
	greta_strs_release(&e->command);
	greta_strs_release(&e->env);
	artifact_release(&e->executable);
	free(e->build_id);
	*e = (struct greta_engine){0};
}

static void variant_release(struct greta_variant *v)
{
	free(v->name);
	greta_strs_release(&v->args);
	greta_strs_release(&v->env);
	greta_strs_release(&v->nodes);
	greta_strs_release(&v->devices);
	if (v->engine)
		engine_release(v->engine);
	free(v->engine);
	for (size_t i = 0; i < v->n_expect; i++) {
		free(v->expect[i].field);
		free(v->expect[i].value);
	}
	free(v->expect);
}

void greta_campaign_release(struct greta_campaign *c)
{
	for (size_t i = 0; i < c->n_variants; i++)
		variant_release(&c->variants[i]);
	free(c->variants);
	free(c->name);
	free(c->description);
	free(c->file);
	free(c->reference);
	artifact_release(&c->model);
	engine_release(&c->engine);
	greta_strs_release(&c->env);
	free(c->contexts);
	free(c->repeats);
	free(c->timeouts);
	greta_strs_release(&c->nodes);
	greta_strs_release(&c->labels);
	free(c->gates.logits_reference);
	*c = (struct greta_campaign){0};
}
