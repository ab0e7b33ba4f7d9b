#include "base/mem.h"
#include "schemas/campaign_parts.h"
#include "schemas/fields.h"
#include "schemas/result.h"
#include "schemas/spec.h"
#include "schemas/template.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MAX_S (30 * 86400)
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

#define AT(owner, member, type) .name = #member, .offset = FIELD_AT(owner, member, type)
#define K_I64(owner, member, lo, hi) AT(owner, member, int64_t), .kind = KEY_I64, .min = (lo), .max = (hi)
#define K_F64(owner, member, lo, hi) AT(owner, member, double), .kind = KEY_F64, .min = (lo), .max = (hi)
#define K_BOOL(owner, member) AT(owner, member, bool), .kind = KEY_BOOL
#define K_TEXT(owner, member) AT(owner, member, char *), .kind = KEY_TEXT
#define K_WORD(owner, member, type, list) AT(owner, member, enum type), .kind = KEY_WORD, .words = &(list)
#define K_READ(owner, member, fn) .name = #member, .offset = offsetof(owner, member), .kind = KEY_READ, .read = (fn)

static void read_nothing(struct reader *r, const struct greta_json_val *v, void *at)
{
	(void)r, (void)v, (void)at; /* "$schema": for editors */
}

/* ---- names, strings, environments */

static bool valid_name(const char *s)
{
	size_t n = strlen(s);

	return n >= 1 && n <= GRETA_NAME_MAX && !strchr(".-", s[0]) && !s[strspn(s, LETTERS DIGITS "._-")];
}

static void read_name(struct reader *r, const struct greta_json_val *v, void *at)
{
	const char *s;

	if (greta_json_str(v, &s) || !valid_name(s)) {
		keys_unexpected(r, v, "a name: 1 to %d letters, digits, . _ -, beginning with a letter, digit or _",
				GRETA_NAME_MAX);
		return;
	}
	free(*(char **)at);
	*(char **)at = greta_strdup(s);
}

static void check_template(struct reader *r, const struct greta_json_val *v, const char *text)
{
	struct template_hole hole;
	struct greta_buf all = {0}, hint = {0};

	for (; template_next(text, &hole); text = hole.begin + hole.len) {
		char *name;

		if (hole.which >= 0)
			continue;
		name = greta_strndup(hole.begin + 1, hole.len - 2);
		words_print(&words_placeholder, 0, &all);
		keys_suggest(name, words_placeholder.names, (size_t)words_placeholder.n, &hint);
		keys_error(r, v, "has the unknown placeholder {%s}%s; known are %s ({{%s} for the text itself)", name,
			   greta_buf_str(&hint), all.data, name);
		free(name);
		greta_buf_release(&all);
		greta_buf_release(&hint);
	}
}

static void read_args(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_strs *out = at;

	greta_strs_release(out);
	if (greta_json_type(v) != GRETA_JSON_ARRAY) {
		keys_unexpected(r, v, "a list of strings, one an argument (no shell takes them apart)");
		return;
	}
	for (const struct greta_json_val *c = greta_json_first(v); c; c = greta_json_next(c)) {
		const char *s;

		if (greta_json_str(c, &s)) {
			keys_unexpected(r, c, "a string: numbers are quoted in a command, too");
			continue;
		}
		check_template(r, c, s);
		greta_strs_add(out, s);
	}
}

static bool valid_env_name(const char *s)
{
	return s[0] && !strchr(DIGITS, s[0]) && !s[strspn(s, LETTERS DIGITS "_")];
}

/* Why a campaign may not set a variable; NULL: it may. */
static const char *reserved_env(const char *name)
{
	static const char *const agent[] = {"GRETA_ATTEMPT", "GRETA_PROGRESS_FD", "GRETA_GPU_PAGE", "GRETA_SLOT"};
	static const char *const devices[] = {"ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES",
					      "GPU_DEVICE_ORDINAL"};

	for (size_t i = 0; i < GRETA_COUNT(agent); i++)
		if (greta_str_eq(name, agent[i]))
			return "the agent sets it";
	for (size_t i = 0; i < GRETA_COUNT(devices); i++)
		if (greta_str_eq(name, devices[i]))
			return "the slot decides which GPUs an attempt sees";
	return NULL;
}

static void read_env_value(struct reader *r, const struct greta_json_val *v, struct greta_strs *out)
{
	const char *name = greta_json_key(v), *value;

	if (greta_json_type(v) == GRETA_JSON_NULL) {
		greta_strs_add(out, name);
	} else if (greta_json_str(v, &value)) {
		keys_unexpected(r, v, "a string, or null to take it from the controller's environment");
	} else if (greta_secret_name(name)) {
		keys_error_key(r, v,
			       "looks like a secret, and a campaign is stored whole; "
			       "write null to take it from the controller's environment");
	} else {
		check_template(r, v, value);
		greta_strs_addf(out, "%s=%s", name, value);
	}
}

static void read_env(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_strs *out = at;

	greta_strs_release(out);
	if (greta_json_type(v) != GRETA_JSON_OBJECT) {
		keys_unexpected(r, v, "an object of variables: {\"NAME\": \"value\"}");
		return;
	}
	for (const struct greta_json_val *c = greta_json_first(v); c; c = greta_json_next(c)) {
		const char *name = greta_json_key(c);

		if (!valid_env_name(name))
			keys_error_key(r, c, "is no name of a variable; expected letters, digits and _");
		else if (reserved_env(name))
			keys_error_key(r, c, "can't be set here: %s", reserved_env(name));
		else
			read_env_value(r, c, out);
	}
}

/* ---- files */

static bool valid_sha256(const char *s)
{
	return strlen(s) == 64 && !s[strspn(s, DIGITS "abcdef")];
}

static void read_sha256(struct reader *r, const struct greta_json_val *v, void *at)
{
	const char *s;

	if (greta_json_str(v, &s) || !valid_sha256(s)) {
		keys_unexpected(r, v, "a SHA-256: 64 hex digits in lower case");
		return;
	}
	free(*(char **)at);
	*(char **)at = greta_strdup(s);
}

static void read_path(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_artifact *a = at;
	const char *s;

	if (greta_json_str(v, &s) || !*s) {
		keys_unexpected(r, v, "a path");
	} else if (*s == '~') {
		keys_error(r, v, "is \"%s\"; expected a path without ~, which nobody expands", s);
	} else {
		free(a->path);
		a->path = greta_strdup(s);
		a->upload = s[0] != '/';
	}
}

static const struct key artifact_keys[] = {
	{.name = "path", .kind = KEY_READ, .read = read_path, .required = true, .expected = "a path"},
	{K_BOOL(struct greta_artifact, upload)}, /* behind path, whose default it overrides */
	{K_READ(struct greta_artifact, sha256, read_sha256)},
	{0},
};

static void read_artifact(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_artifact *a = at;

	free(a->path);
	free(a->sha256);
	*a = (struct greta_artifact){0};
	if (greta_json_type(v) == GRETA_JSON_STRING) {
		read_path(r, v, a);
		return;
	}
	if (greta_json_type(v) != GRETA_JSON_OBJECT) {
		keys_unexpected(r, v, "a path, or an object with \"path\", \"upload\" and \"sha256\"");
		return;
	}
	keys_read(r, v, artifact_keys, a);
	if (a->path && a->path[0] != '/' && !a->upload)
		keys_error(r, v, "\"%s\" is not uploaded, so it is a path on the nodes; expected an absolute one",
			   a->path);
}

/* ---- engines and variants */

static void read_command(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_strs *command = at;
	struct template_hole hole;

	read_args(r, v, command);
	if (greta_json_type(v) != GRETA_JSON_ARRAY)
		return;
	if (!command->n || !command->items[0][0])
		keys_error(r, v, "names no program; expected a list that begins with one");
	else if (template_next(command->items[0], &hole))
		keys_error(r, v,
			   "has a placeholder in the program's name; give each variant an \"engine\" with its "
			   "\"executable\" instead");
}

static const struct key engine_keys[] = {
	{K_READ(struct greta_engine, command, read_command)},
	{K_READ(struct greta_engine, executable, read_artifact)},
	{K_WORD(struct greta_engine, adapter, greta_adapter, words_adapter)},
	{K_READ(struct greta_engine, env, read_env)},
	{K_BOOL(struct greta_engine, max_seq_len_env)},
	{K_READ(struct greta_engine, build_id, read_name)},
	{0},
};

/* Without an executable of its own, an engine is its command's first word: a bare name is the bundled engine's or on
 * the node's PATH, one with a slash is a file like any other. */
static void settle_executable(struct greta_engine *e, bool own)
{
	const char *program = e->command.n ? e->command.items[0] : NULL;

	if (own || !program)
		return;
	free(e->executable.path);
	free(e->executable.sha256);
	e->executable = (struct greta_artifact){
		.path = greta_strdup(program),
		.upload = program[0] != '/' && strchr(program, '/'),
	};
}

/* Onto the engine that *at holds: for a variant, a copy of the campaign's. */
static void read_engine(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_engine *e = at;
	const char *s;

	if (greta_json_type(v) == GRETA_JSON_OBJECT) {
		keys_read(r, v, engine_keys, e);
		if (greta_json_get(v, "command") || greta_json_get(v, "executable"))
			settle_executable(e, greta_json_get(v, "executable") != NULL);
		return;
	}
	if (greta_json_str(v, &s) || !greta_str_eq(s, greta_infer_command[0])) {
		keys_unexpected(r, v, "\"greta-infer\", or an object with a \"command\"");
		return;
	}
	engine_release(e);
	for (const char *const *arg = greta_infer_command; *arg; arg++)
		greta_strs_add(&e->command, *arg);
	settle_executable(e, false);
}

static void read_variant_engine(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_engine **engine = at;

	*engine = greta_alloc(sizeof(**engine));
	engine_copy(*engine, &r->c->engine);
	read_engine(r, v, *engine);
}

/* An expected value as the judge compares it: true is 1. */
static char *expected_text(const struct greta_json_val *v)
{
	struct greta_buf number = {0};
	const char *s;
	bool b;

	if (!greta_json_str(v, &s))
		return greta_strdup(s);
	if (!greta_json_bool(v, &b))
		return greta_strdup(b ? "1" : "0");
	if (greta_json_type(v) != GRETA_JSON_NUMBER)
		return NULL;
	greta_json_print(v, &number);
	return greta_buf_steal(&number);
}

static void read_expect(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_variant *variant = at;

	if (greta_json_type(v) != GRETA_JSON_OBJECT) {
		keys_unexpected(r, v, "an object of result fields: {\"attn_impl\": \"q_lds\"}");
		return;
	}
	for (const struct greta_json_val *c = greta_json_first(v); c; c = greta_json_next(c)) {
		const char *field = greta_json_key(c);
		char *value = expected_text(c);
		struct greta_expect *x;

		if (!field[0] || strlen(field) > GRETA_METRIC_NAME_MAX || strpbrk(field, " \t\r\n")) {
			keys_error_key(r, c, "is no result field; expected 1 to %d characters without spaces",
				       GRETA_METRIC_NAME_MAX);
		} else if (!value) {
			keys_unexpected(r, c, "a string, a number, true or false");
		} else {
			x = GRETA_PUSH(variant->expect, variant->n_expect, variant->cap_expect);
			*x = (struct greta_expect){greta_strdup(field), value};
			value = NULL;
		}
		free(value);
	}
}

static bool valid_node(const char *s)
{
	return s[0] && strlen(s) <= 255 && s[0] != '-' && !s[strcspn(s, " \t\r\n,\"'\\/")];
}

static void read_places(struct reader *r, const struct greta_json_val *v, struct greta_strs *out, const char *list,
			const char *one)
{
	if (greta_json_type(v) != GRETA_JSON_ARRAY || !greta_json_size(v)) {
		keys_unexpected(r, v, "%s", list);
		return;
	}
	for (const struct greta_json_val *c = greta_json_first(v); c; c = greta_json_next(c)) {
		const char *s;

		if (greta_json_str(c, &s) || !valid_node(s)) {
			keys_unexpected(r, c, "%s", one);
			continue;
		}
		for (size_t i = 0; i < out->n; i++)
			if (greta_str_eq(out->items[i], s))
				keys_error(r, c, "\"%s\" is in the list already", s);
		greta_strs_add(out, s);
	}
}

static void read_nodes(struct reader *r, const struct greta_json_val *v, void *at)
{
	read_places(r, v, at, "a list of node names; leave it out for every node", "the name of a node");
}

static void read_devices(struct reader *r, const struct greta_json_val *v, void *at)
{
	read_places(r, v, at, "a list of GPU UUIDs; leave it out for any GPU", "the UUID of a GPU, as `greta-orch node list` has it");
}

static const struct key variant_keys[] = {
	{K_READ(struct greta_variant, name, read_name), .required = true, .expected = "a name"},
	{K_READ(struct greta_variant, args, read_args)},
	{K_READ(struct greta_variant, env, read_env)},
	{K_READ(struct greta_variant, engine, read_variant_engine)},
	{.name = "expect", .kind = KEY_READ, .read = read_expect},
	{K_READ(struct greta_variant, nodes, read_nodes)},
	{K_READ(struct greta_variant, devices, read_devices)},
	{0},
};

static void read_variants(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_campaign *c = r->c;

	(void)at;
	if (greta_json_type(v) != GRETA_JSON_ARRAY || !greta_json_size(v)) {
		keys_unexpected(r, v, "a list of one variant or more: [{\"name\": \"baseline\"}]");
		return;
	}
	if (greta_json_size(v) > GRETA_VARIANTS_MAX) {
		keys_error(r, v, "has %zu variants; at most %d are allowed", greta_json_size(v), GRETA_VARIANTS_MAX);
		return;
	}
	for (const struct greta_json_val *e = greta_json_first(v); e; e = greta_json_next(e))
		keys_read(r, e, variant_keys, GRETA_PUSH(c->variants, c->n_variants, c->cap_variants));
}

/* ---- contexts, and what goes by them */

static bool has_context(const struct greta_campaign *c, int64_t context)
{
	for (size_t i = 0; i < c->n_contexts; i++)
		if (c->contexts[i] == context)
			return true;
	return false;
}

/* False: enough complaints were made. */
static bool add_context(struct reader *r, const struct greta_json_val *v, int64_t context)
{
	struct greta_campaign *c = r->c;

	if (has_context(c, context)) {
		keys_error(r, v, "%" PRId64 " is in the list already", context);
		return false;
	}
	if (c->n_contexts >= GRETA_CONTEXTS_MAX) {
		keys_error(r, v, "makes more than %d contexts", GRETA_CONTEXTS_MAX);
		return false;
	}
	*GRETA_PUSH(c->contexts, c->n_contexts, c->cap_contexts) = context;
	return true;
}

struct range {
	int64_t from, to, step;
	double factor;
};

static const struct key range_keys[] = {
	{K_I64(struct range, from, 1, GRETA_CONTEXT_MAX), .required = true, .expected = "the first context"},
	{K_I64(struct range, to, 1, GRETA_CONTEXT_MAX), .required = true, .expected = "the last context"},
	{K_I64(struct range, step, 1, GRETA_CONTEXT_MAX)},
	{K_F64(struct range, factor, 1.001, GRETA_CONTEXT_MAX)},
	{0},
};

/* Rounding alone must not let a range stand still. */
static int64_t range_next(const struct range *range, int64_t i)
{
	int64_t next = range->step ? i + range->step : (int64_t)llround((double)i * range->factor);

	return next > i ? next : i + 1;
}

static void read_range(struct reader *r, const struct greta_json_val *v)
{
	struct range range = {0};
	size_t before = r->problems->n;
	int64_t last = 0;

	keys_read(r, v, range_keys, &range);
	if (!greta_json_get(v, "step") == !greta_json_get(v, "factor"))
		keys_error(r, v, "expected either \"step\" or \"factor\" beside \"from\" and \"to\"");
	else if (r->problems->n == before && range.from > range.to)
		keys_error(r, v, "runs from %" PRId64 " down to %" PRId64 "; expected \"from\" to be the smaller one",
			   range.from, range.to);
	if (r->problems->n > before)
		return;
	for (int64_t i = range.from; i <= range.to; i = range_next(&range, i)) {
		if (!add_context(r, v, i))
			return;
		last = i;
	}
	if (last != range.to)
		keys_warn(r, v, "ends at %" PRId64 ", its last step before %" PRId64, last, range.to);
}

static void read_contexts(struct reader *r, const struct greta_json_val *v, void *at)
{
	(void)at;
	if (greta_json_type(v) != GRETA_JSON_ARRAY || !greta_json_size(v)) {
		keys_unexpected(r, v,
				"a list of numbers of tokens and ranges: [4096, {\"from\": 8192, \"to\": 32768, "
				"\"factor\": 2}]");
		return;
	}
	for (const struct greta_json_val *c = greta_json_first(v); c; c = greta_json_next(c)) {
		int64_t context;

		if (greta_json_type(c) == GRETA_JSON_OBJECT)
			read_range(r, c);
		else if (greta_json_i64(c, &context) || context < 1 || context > GRETA_CONTEXT_MAX)
			keys_unexpected(r, c,
					"a number of tokens from 1 to %d, or a range {\"from\", \"to\", \"step\" or "
					"\"factor\"}",
					GRETA_CONTEXT_MAX);
		else
			add_context(r, c, context);
	}
}

/* The context that a key names: 0 for "default", -1 after a complaint. */
static int64_t context_of_key(struct reader *r, const struct greta_json_val *v)
{
	const char *key = greta_json_key(v);
	int64_t context;

	if (greta_str_eq(key, "default"))
		return 0;
	if (greta_str_i64(key, &context) || context < 1 || key[0] == '+' || key[0] == '0') {
		keys_error_key(r, v, "expected \"default\" or a context as key, like \"16384\"");
		return -1;
	}
	if (r->c->n_contexts && !has_context(r->c, context)) {
		keys_error_key(r, v, "is for a context that is not in \"contexts\"");
		return -1;
	}
	return context;
}

static void read_repeat(struct reader *r, const struct greta_json_val *v, int64_t context)
{
	struct greta_campaign *c = r->c;
	int64_t n;

	if (!keys_i64(r, v, 1, GRETA_REPEATS_MAX, &n))
		return;
	if (context == 0)
		c->repeats[0].n = n;
	else
		*GRETA_PUSH(c->repeats, c->n_repeats, c->cap_repeats) = (struct greta_repeat){context, n};
}

static void read_timeout(struct reader *r, const struct greta_json_val *v, int64_t context)
{
	struct greta_campaign *c = r->c;
	double s;

	if (!keys_f64(r, v, 1, TIMEOUT_MAX_S, &s))
		return;
	if (context == 0)
		c->timeouts[0].seconds = s;
	else
		*GRETA_PUSH(c->timeouts, c->n_timeouts, c->cap_timeouts) = (struct greta_timeout){context, s};
}

/* One value for all, or an object with a default and values by context. */
static void read_by_context(struct reader *r, const struct greta_json_val *v,
			    void (*read)(struct reader *, const struct greta_json_val *, int64_t))
{
	if (greta_json_type(v) != GRETA_JSON_OBJECT) {
		read(r, v, 0);
		return;
	}
	for (const struct greta_json_val *c = greta_json_first(v); c; c = greta_json_next(c)) {
		int64_t context = context_of_key(r, c);

		if (context >= 0)
			read(r, c, context);
	}
}

static void read_repeats(struct reader *r, const struct greta_json_val *v, void *at)
{
	(void)at;
	read_by_context(r, v, read_repeat);
}

static void read_timeouts(struct reader *r, const struct greta_json_val *v, void *at)
{
	(void)at;
	read_by_context(r, v, read_timeout);
}

/* ---- limits, retries, places, gates */

static const struct key phase_keys[] = {
	{K_F64(struct greta_phase_limit, silence_s, 0, TIMEOUT_MAX_S)},
	{K_F64(struct greta_phase_limit, limit_s, 0, TIMEOUT_MAX_S)},
	{0},
};

static void read_phase(struct reader *r, const struct greta_json_val *v, void *at)
{
	keys_read(r, v, phase_keys, at);
}

static void read_phases(struct reader *r, const struct greta_json_val *v, void *at)
{
	static const struct key keys[] = {
#define PHASE(id, phase)                                                                                               \
	{.name = (phase),                                                                                              \
	 .kind = KEY_READ,                                                                                             \
	 .offset = GRETA_PHASE_##id * sizeof(struct greta_phase_limit),                                                \
	 .read = read_phase}
		PHASE(STARTING, "starting"), PHASE(LOAD, "load"),
		PHASE(TOKENIZE, "tokenize"), PHASE(WARMUP, "warmup"),
		PHASE(PREFILL, "prefill"),   PHASE(DECODE, "decode"),
		PHASE(FINISH, "finish"),     {0},
#undef PHASE
	};

	keys_read(r, v, keys, at);
}

static void read_retry(struct reader *r, const struct greta_json_val *v, void *at)
{
	int64_t n = -1;
	const char *s;

	if ((greta_json_str(v, &s) || !greta_str_eq(s, "free")) && (greta_json_i64(v, &n) || n < 0 || n > 100)) {
		keys_unexpected(r, v, "a number from 0 to 100, or \"free\"");
		return;
	}
	*(int *)at = (int)n;
}

static void read_retries(struct reader *r, const struct greta_json_val *v, void *at)
{
	static const struct key keys[] = {
#define OUTCOME(id, outcome)                                                                                           \
	{.name = (outcome), .kind = KEY_READ, .offset = GRETA_OUTCOME_##id * sizeof(int), .read = read_retry}
		OUTCOME(INVALID, "invalid"),
		OUTCOME(FAILED, "failed"),
		OUTCOME(INFRA, "infra"),
		OUTCOME(OOM, "oom"),
		OUTCOME(TIMED_OUT, "timed_out"),
		OUTCOME(HUNG, "hung"),
		OUTCOME(LOST, "lost"),
		OUTCOME(PREEMPTED, "preempted"),
		OUTCOME(COLLATERAL, "collateral"),
		{0},
#undef OUTCOME
	};

	keys_read(r, v, keys, at);
}

static void read_labels(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_strs *out = at;

	if (greta_json_type(v) != GRETA_JSON_OBJECT) {
		keys_unexpected(r, v, "an object of labels: {\"gpu\": \"mi300x\"}");
		return;
	}
	for (const struct greta_json_val *c = greta_json_first(v); c; c = greta_json_next(c)) {
		const char *name = greta_json_key(c), *value;

		if (!name[0] || name[strspn(name, LETTERS DIGITS "._-/")])
			keys_error_key(r, c, "is no label; expected letters, digits, . _ - /");
		else if (greta_json_str(c, &value))
			keys_unexpected(r, c, "a string");
		else
			greta_strs_addf(out, "%s=%s", name, value);
	}
}

static const struct key slot_keys[] = {
	{.name = "gpus",
	 .offset = FIELD_AT(struct greta_campaign, n_gpus, int64_t),
	 .kind = KEY_I64,
	 .min = 1,
	 .max = 64},
	{K_I64(struct greta_campaign, cpus, 1, 4096)},
	{0},
};

static void read_slot(struct reader *r, const struct greta_json_val *v, void *at)
{
	struct greta_campaign *c = r->c;
	int kind;

	(void)at;
	c->n_gpus = 0;
	if (greta_json_type(v) == GRETA_JSON_OBJECT) {
		c->slot = greta_json_get(v, "cpus") ? GRETA_SLOT_CPU : GRETA_SLOT_GPU;
		keys_read(r, v, slot_keys, c);
		if (!greta_json_get(v, "gpus") == !greta_json_get(v, "cpus"))
			keys_error(r, v, "expected either \"gpus\" or \"cpus\"");
	} else if (greta_json_type(v) != GRETA_JSON_STRING) {
		keys_unexpected(r, v, "\"cpu\", \"gpu\", \"node\", {\"gpus\": N} or {\"cpus\": N}");
	} else if (keys_word(r, v, &words_slot, &kind)) {
		c->slot = (enum greta_slot_kind)kind;
		c->n_gpus = c->slot == GRETA_SLOT_GPU;
	}
}

static const struct key gate_keys[] = {
	{K_BOOL(struct greta_gates, no_spill)},
	{K_TEXT(struct greta_gates, logits_reference)},
	{K_F64(struct greta_gates, logits_tolerance, 0, 1000)},
	{K_BOOL(struct greta_gates, same_top1)},
	{K_I64(struct greta_gates, min_counted, 0, GRETA_REPEATS_MAX)},
	{0},
};

static void read_gates(struct reader *r, const struct greta_json_val *v, void *at)
{
	keys_read(r, v, gate_keys, at);
}

static void read_seed(struct reader *r, const struct greta_json_val *v, void *at)
{
	int64_t seed;

	if (keys_i64(r, v, 0, INT64_C(1) << 53, &seed))
		*(uint64_t *)at = (uint64_t)seed;
}

/* ---- the whole. Variants rest on the engine before them; repeats and timeouts on the contexts. */

static const struct key campaign_keys[] = {
	{.name = "$schema", .kind = KEY_READ, .read = read_nothing},
	{K_READ(struct greta_campaign, name, read_name), .required = true, .expected = "a name"},
	{K_TEXT(struct greta_campaign, description)},
	{K_WORD(struct greta_campaign, mode, greta_mode, words_mode)},
	{K_READ(struct greta_campaign, model, read_artifact)},
	{K_READ(struct greta_campaign, engine, read_engine)},
	{K_READ(struct greta_campaign, env, read_env)},
	{K_READ(struct greta_campaign, variants, read_variants), .required = true, .expected = "a list of variants"},
	{K_TEXT(struct greta_campaign, reference)},
	{K_READ(struct greta_campaign, contexts, read_contexts), .required = true, .expected = "a list of contexts"},
	{K_READ(struct greta_campaign, repeats, read_repeats)},
	{K_I64(struct greta_campaign, samples_per_attempt, 1, 100)},
	{K_I64(struct greta_campaign, warmup, 0, 100)},
	{K_WORD(struct greta_campaign, order, greta_order, words_order)},
	{K_READ(struct greta_campaign, seed, read_seed)},
	{.name = "timeout_s", .kind = KEY_READ, .read = read_timeouts},
	{K_READ(struct greta_campaign, phases, read_phases)},
	{K_WORD(struct greta_campaign, on_slow, greta_on_slow, words_on_slow)},
	{K_READ(struct greta_campaign, retries, read_retries)},
	{K_READ(struct greta_campaign, nodes, read_nodes)},
	{K_READ(struct greta_campaign, labels, read_labels)},
	{.name = "slot", .kind = KEY_READ, .read = read_slot},
	{K_WORD(struct greta_campaign, placement, greta_placement, words_placement)},
	{K_I64(struct greta_campaign, max_jobs_per_node, 0, 4096)},
	{K_I64(struct greta_campaign, priority, -1000000, 1000000)},
	{K_F64(struct greta_campaign, telemetry_interval_s, 0, 3600)},
	{K_I64(struct greta_campaign, log_limit_bytes, 4096, 1 << 30)},
	{K_READ(struct greta_campaign, gates, read_gates)},
	{0},
};

void campaign_read(struct reader *r)
{
	campaign_defaults(r->c);
	settle_executable(&r->c->engine, false);
	keys_read(r, greta_json_root(r->doc), campaign_keys, r->c);
	if (!r->c->reference && r->c->n_variants)
		r->c->reference = greta_strdup(r->c->variants[0].name);
}
