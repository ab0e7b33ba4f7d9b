#include "schemas/spec.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "schemas/campaign_parts.h"
#include "schemas/template.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What debug mode sets: every launch waited for, kernels serialised before and after, copies without SDMA engines. */
static const char *const debug_env[] = {"HIP_LAUNCH_BLOCKING=1", "AMD_SERIALIZE_KERNEL=3", "HSA_ENABLE_SDMA=0"};

struct filling {
	const char *values[PLACEHOLDER_COUNT];
	char numbers[PLACEHOLDER_COUNT][24];
};

static void set_number(struct filling *f, enum placeholder which, int64_t n)
{
	snprintf(f->numbers[which], sizeof(f->numbers[which]), "%" PRId64, n);
	f->values[which] = f->numbers[which];
}

/* ---- environment */

static void put_env(struct greta_strs *env, const char *entry)
{
	size_t name = strcspn(entry, "=") + 1;

	for (size_t i = 0; i < env->n; i++) {
		if (strncmp(env->items[i], entry, name) != 0)
			continue;
		free(env->items[i]);
		env->items[i] = greta_strdup(entry);
		return;
	}
	greta_strs_add(env, entry);
}

static int put_inherited(struct greta_strs *env, const char *name, struct greta_err *e)
{
	const char *value = getenv(name);
	cleanup_free char *entry = NULL;

	if (!value)
		return greta_err_set(e, GRETA_EINVAL,
				     "the campaign takes %s from the controller's environment, where it is not set: start the "
				     "controller from a shell that has it", name);
	entry = greta_format("%s=%s", name, value);
	put_env(env, entry);
	return 0;
}

/* One that is written down takes the place of one from the environment, and is stored as others are. */
static void put_plain(struct greta_spec *spec, const char *entry)
{
	size_t name = strcspn(entry, "="), n = 0;

	put_env(&spec->env, entry);
	for (size_t i = 0; i < spec->unstored.n; i++) {
		char *other = spec->unstored.items[i];

		if (strlen(other) == name && strncmp(other, entry, name) == 0)
			free(other);
		else
			spec->unstored.items[n++] = other;
	}
	spec->unstored.n = n;
}

static int add_env(struct greta_spec *spec, const struct greta_strs *from, const struct filling *f, struct greta_err *e)
{
	for (size_t i = 0; i < from->n; i++) {
		cleanup_free char *entry = NULL;

		if (!strchr(from->items[i], '=')) {
			if (put_inherited(&spec->env, from->items[i], e))
				return -1;
			greta_strs_add(&spec->unstored, from->items[i]);
			continue;
		}
		entry = template_fill(from->items[i], f->values);
		put_plain(spec, entry);
	}
	return 0;
}

static int build_env(const struct greta_campaign *c, const struct greta_variant *v, const struct filling *f,
		     struct greta_spec *out, struct greta_err *e)
{
	const struct greta_engine *engine = greta_campaign_engine(c, v);

	if (engine->max_seq_len_env)
		greta_strs_addf(&out->env, "GRETA_MAX_SEQ_LEN=%s", f->values[PLACEHOLDER_MAX_SEQ_LEN]);
	if (add_env(out, &engine->env, f, e) || add_env(out, &c->env, f, e) || add_env(out, &v->env, f, e))
		return -1;
	for (size_t i = 0; c->mode == GRETA_MODE_DEBUG && i < GRETA_COUNT(debug_env); i++)
		put_env(&out->env, debug_env[i]);
	return 0;
}

/* ---- the rest */

static void build_argv(const struct greta_engine *engine, const struct greta_variant *v, const struct filling *f,
		       const char *executable, struct greta_strs *argv)
{
	for (size_t i = 0; i < engine->command.n + v->args.n; i++) {
		const char *arg =
			i < engine->command.n ? engine->command.items[i] : v->args.items[i - engine->command.n];
		cleanup_free char *filled = template_fill(arg, f->values);

		greta_strs_add(argv, i == 0 && executable ? executable : filled);
	}
}

static void add_verify(struct greta_strs *verify, const struct greta_artifact *a, const char *path)
{
	if (a->sha256 && path)
		greta_strs_addf(verify, "%s %s", a->sha256, path);
}

static void copy_expect(const struct greta_variant *v, struct greta_spec *out)
{
	for (size_t i = 0; i < v->n_expect; i++) {
		struct greta_expect *x = GRETA_PUSH(out->expect, out->n_expect, out->cap_expect);

		x->field = greta_strdup(v->expect[i].field);
		x->value = greta_strdup(v->expect[i].value);
	}
}

/* Our own engine tells what its kernels take; another may take the question for an order to run. */
static bool is_bundled(const struct greta_engine *engine)
{
	return greta_str_eq(engine->executable.path, "greta-infer");
}

static void copy_settings(const struct greta_campaign *c, const struct greta_variant *v, int64_t context,
			  struct greta_spec *out)
{
	out->campaign = greta_strdup(c->name);
	out->variant = greta_strdup(v->name);
	out->context = context;
	out->adapter = greta_campaign_engine(c, v)->adapter;
	out->samples = c->samples_per_attempt;
	out->warmup = c->warmup;
	out->slot = c->slot;
	out->n_gpus = c->n_gpus;
	out->cpus = c->cpus;
	out->wall_s = greta_campaign_timeout_s(c, context);
	out->term_grace_s = GRETA_TERM_GRACE_S;
	memcpy(out->phases, c->phases, sizeof(out->phases));
	out->on_slow = c->on_slow;
	out->telemetry_interval_s = c->telemetry_interval_s;
	out->log_limit_bytes = c->log_limit_bytes;
	out->no_spill = c->gates.no_spill && c->slot != GRETA_SLOT_CPU;
	out->keep_kernels = out->no_spill || (c->slot != GRETA_SLOT_CPU && is_bundled(greta_campaign_engine(c, v)));
	out->keep_logits = c->gates.logits_reference && c->gates.logits_tolerance > 0;
	for (size_t i = 0; c->slot == GRETA_SLOT_GPU && i < v->devices.n; i++)
		greta_strs_add(&out->devices, v->devices.items[i]);
	copy_expect(v, out);
}

int greta_spec_build(const struct greta_campaign *c, size_t variant, int64_t context, int64_t repeat,
		     const struct greta_spec_paths *paths, struct greta_spec *out, struct greta_err *e)
{
	const struct greta_variant *v = &c->variants[variant];
	const struct greta_engine *engine = greta_campaign_engine(c, v);
	const char *executable = paths->executable ? paths->executable : engine->executable.path;
	struct filling f = {.values = {[PLACEHOLDER_MODEL] = paths->model, [PLACEHOLDER_VARIANT] = v->name}};

	*out = (struct greta_spec){.repeat = repeat};
	set_number(&f, PLACEHOLDER_CONTEXT, context);
	set_number(&f, PLACEHOLDER_REPEAT, repeat);
	set_number(&f, PLACEHOLDER_SAMPLES, c->samples_per_attempt);
	set_number(&f, PLACEHOLDER_WARMUP, c->warmup);
	set_number(&f, PLACEHOLDER_MAX_SEQ_LEN, context + 2);
	copy_settings(c, v, context, out);
	out->model = greta_strdup(paths->model);
	build_argv(engine, v, &f, executable, &out->argv);
	add_verify(&out->verify, &c->model, paths->model);
	add_verify(&out->verify, &engine->executable, executable);
	if (build_env(c, v, &f, out, e)) {
		greta_spec_release(out);
		return -1;
	}
	return 0;
}

const char *greta_spec_attn_impl(const struct greta_spec *spec)
{
	for (size_t i = 0; i < spec->n_expect; i++)
		if (greta_str_eq(spec->expect[i].field, "attn_impl"))
			return spec->expect[i].value;
	return NULL;
}

/* ---- secrets */

bool greta_secret_name(const char *key)
{
	static const char *const inside[] = {"TOKEN_",	   "SECRET",	 "PASSWORD", "PASSWD",
					     "PASSPHRASE", "CREDENTIAL", "APIKEY"};
	static const char *const at_end[] = {"TOKEN", "_KEY", "_KEYS", "_PASS", "_PWD", "_AUTH", "_PAT"};
	static const char *const harmless[] = {"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"};
	cleanup_free char *name = greta_strdup(key);

	for (char *c = name; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	for (size_t i = 0; i < GRETA_COUNT(inside); i++)
		if (strstr(name, inside[i]))
			return true;
	for (size_t i = 0; i < GRETA_COUNT(at_end); i++)
		if (greta_str_ends(name, at_end[i]))
			return true;
	return greta_str_starts(name, "AWS_") && !greta_str_in(name, harmless, GRETA_COUNT(harmless));
}

bool greta_spec_hides(const struct greta_spec *spec, const char *name)
{
	return greta_secret_name(name) || greta_strs_has(&spec->unstored, name);
}

int greta_spec_reveal(struct greta_spec *spec, struct greta_err *e)
{
	for (size_t i = 0; i < spec->env.n; i++) {
		const char *equal = strchr(spec->env.items[i], '=');
		cleanup_free char *name = NULL;

		if (!equal || strcmp(equal + 1, GRETA_NOT_STORED) != 0)
			continue;
		name = greta_strndup(spec->env.items[i], (size_t)(equal - spec->env.items[i]));
		if (put_inherited(&spec->env, name, e))
			return -1;
	}
	return 0;
}

static int check_inherited(const struct greta_strs *env, struct greta_err *e)
{
	cleanup_strs struct greta_strs filled = {0};

	for (size_t i = 0; i < env->n; i++)
		if (!strchr(env->items[i], '=') && put_inherited(&filled, env->items[i], e))
			return -1;
	return 0;
}

int greta_spec_check_env(const struct greta_campaign *c, size_t variant, struct greta_err *e)
{
	const struct greta_variant *v = &c->variants[variant];

	return check_inherited(&greta_campaign_engine(c, v)->env, e) || check_inherited(&c->env, e) ||
	       check_inherited(&v->env, e) ? -1 : 0;
}
