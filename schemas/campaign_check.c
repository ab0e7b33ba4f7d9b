/* What no value shows alone: parts of a campaign that contradict each other, or that hardly mean what they say. */
#include "base/cleanup.h"
#include "base/mem.h"
#include "schemas/campaign_parts.h"
#include "schemas/template.h"
#include <inttypes.h>
#include <string.h>

static const struct greta_json_val *said(const struct reader *r, const char *key) /* NULL: the file does not */
{
	return greta_json_get(greta_json_root(r->doc), key);
}

/* For the place of a complaint: the root where the file does not say it. */
static const struct greta_json_val *at(const struct reader *r, const char *key)
{
	return said(r, key) ? said(r, key) : greta_json_root(r->doc);
}

static const struct greta_json_val *at_variant(const struct reader *r, size_t i)
{
	const struct greta_json_val *v = greta_json_first(said(r, "variants"));

	while (i-- > 0 && v)
		v = greta_json_next(v);
	return v;
}

static const struct greta_json_val *at_gate(const struct reader *r, const char *key)
{
	const struct greta_json_val *v = greta_json_get(said(r, "gates"), key);

	return v ? v : at(r, "gates");
}

/* ---- variants */

static void check_names(struct reader *r)
{
	const struct greta_campaign *c = r->c;

	for (size_t i = 0; i < c->n_variants; i++) {
		for (size_t k = 0; k < i; k++) {
			const struct greta_json_val *v = greta_json_get(at_variant(r, i), "name");

			if (!v || !c->variants[i].name || !greta_str_eq(c->variants[i].name, c->variants[k].name))
				continue;
			keys_error(r, v, "\"%s\" is the name of variants[%zu] already", c->variants[i].name, k);
			break;
		}
	}
}

static bool same_strs(const struct greta_strs *a, const struct greta_strs *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!greta_str_eq(a->items[i], b->items[i]))
			return false;
	return true;
}

static bool same_engine(const struct greta_engine *a, const struct greta_engine *b)
{
	return a == b ||
	       (same_strs(&a->command, &b->command) && same_strs(&a->env, &b->env) && a->adapter == b->adapter &&
		a->max_seq_len_env == b->max_seq_len_env && greta_str_eq(a->executable.path, b->executable.path) &&
		greta_str_eq(a->executable.sha256, b->executable.sha256) &&
		a->executable.upload == b->executable.upload && greta_str_eq(a->build_id, b->build_id));
}

/* A variable that holds the variant's name makes a difference, too: a placeholder is compared unfilled, so look. */
static bool names_itself(const struct greta_variant *v, const struct greta_engine *e)
{
	const struct greta_strs *const lists[] = {&e->command, &e->env, &v->args, &v->env};

	for (size_t k = 0; k < GRETA_COUNT(lists); k++)
		for (size_t i = 0; i < lists[k]->n; i++)
			if (template_uses(lists[k]->items[i], PLACEHOLDER_VARIANT))
				return true;
	return false;
}

static void check_differences(struct reader *r)
{
	const struct greta_campaign *c = r->c;

	for (size_t i = 0; i < c->n_variants; i++) {
		const struct greta_variant *a = &c->variants[i];

		for (size_t k = 0; k < i; k++) {
			const struct greta_variant *b = &c->variants[k];
			const struct greta_engine *engine = greta_campaign_engine(c, a);

			if (!same_strs(&a->args, &b->args) || !same_strs(&a->env, &b->env) ||
			    !same_engine(engine, greta_campaign_engine(c, b)) || names_itself(a, engine))
				continue;
			keys_warn(r, at_variant(r, i),
				  "runs exactly what \"%s\" runs: no argument, variable or engine differs",
				  b->name ? b->name : "?");
			break;
		}
	}
}

static void check_variant_nodes(struct reader *r)
{
	const struct greta_campaign *c = r->c;

	for (size_t i = 0; c->nodes.n && i < c->n_variants; i++)
		for (size_t k = 0; k < c->variants[i].nodes.n; k++)
			if (!greta_strs_has(&c->nodes, c->variants[i].nodes.items[k]))
				keys_error(r, greta_json_get(at_variant(r, i), "nodes"),
					   "\"%s\" is not among the campaign's \"nodes\"",
					   c->variants[i].nodes.items[k]);
}

/* A place where a variant is named. */
static void check_reference(struct reader *r, const char *name, const struct greta_json_val *v)
{
	const struct greta_campaign *c = r->c;
	cleanup_buf struct greta_buf hint = {0}, all = {0};
	const char **names = greta_alloc((c->n_variants + 1) * sizeof(*names));
	size_t n = 0;
	bool found = false;

	for (size_t i = 0; i < c->n_variants; i++) {
		if (!c->variants[i].name)
			continue;
		names[n++] = c->variants[i].name;
		greta_buf_addf(&all, "%s%s", n > 1 ? ", " : "", c->variants[i].name);
		found = found || greta_str_eq(c->variants[i].name, name);
	}
	if (!found && n) {
		keys_suggest(name, names, n, &hint);
		keys_unexpected(r, v, "one of the variants: %.200s%s", all.data, greta_buf_str(&hint));
	}
	free(names);
}

/* ---- placeholders */

static bool list_uses(const struct greta_strs *list, enum placeholder which)
{
	for (size_t i = 0; i < list->n; i++)
		if (template_uses(list->items[i], which))
			return true;
	return false;
}

static bool variant_uses(const struct greta_campaign *c, const struct greta_variant *v, enum placeholder which)
{
	const struct greta_engine *e = greta_campaign_engine(c, v);

	if (which == PLACEHOLDER_MAX_SEQ_LEN && e->max_seq_len_env)
		return true;
	return list_uses(&e->command, which) || list_uses(&e->env, which) || list_uses(&c->env, which) ||
	       list_uses(&v->args, which) || list_uses(&v->env, which);
}

/* One complaint for all variants that do (or do not) use a placeholder, at the first of them. */
static void check_use(struct reader *r, enum placeholder which, bool uses, keys_complain_fn *complain, const char *so)
{
	const struct greta_campaign *c = r->c;
	const struct greta_json_val *where = NULL;
	cleanup_buf struct greta_buf who = {0};

	for (size_t i = 0; i < c->n_variants; i++) {
		const struct greta_variant *v = &c->variants[i];
		bool does = variant_uses(c, v, which) ||
			    (which == PLACEHOLDER_CONTEXT && variant_uses(c, v, PLACEHOLDER_MAX_SEQ_LEN));

		if (does != uses)
			continue;
		greta_buf_addf(&who, "%s%s", who.len ? ", " : "", v->name ? v->name : "?");
		where = where ? where : at_variant(r, i);
	}
	if (where)
		complain(r, where, "{%s} stands in %s command, argument or variable of %.200s: %s",
			 words_name(&words_placeholder, which), uses ? "a" : "no", who.data, so);
}

static void check_placeholders(struct reader *r, bool sound)
{
	const struct greta_campaign *c = r->c;

	if (!said(r, "model"))
		check_use(r, PLACEHOLDER_MODEL, true, keys_error, "expected a \"model\" in the campaign");
	if (!sound)
		return;
	if (c->model.path)
		check_use(r, PLACEHOLDER_MODEL, false, keys_warn, "the campaign's model is not used");
	if (c->n_contexts > 1)
		check_use(r, PLACEHOLDER_CONTEXT, false, keys_warn, "it runs the same at every context");
	if (c->samples_per_attempt > 1)
		check_use(r, PLACEHOLDER_SAMPLES, false, keys_warn, "it is not told of \"samples_per_attempt\"");
	if (c->warmup > 0)
		check_use(r, PLACEHOLDER_WARMUP, false, keys_warn, "it is not told of \"warmup\"");
}

/* ---- mode and environment */

static const char *const debug_names[] = {"HIP_LAUNCH_BLOCKING", "AMD_SERIALIZE_KERNEL", "HSA_ENABLE_SDMA"};

static void check_env(struct reader *r, const struct greta_strs *env, const struct greta_json_val *where)
{
	const struct greta_campaign *c = r->c;

	for (size_t i = 0; i < GRETA_COUNT(debug_names); i++) {
		const struct greta_json_val *v = greta_json_get(where, debug_names[i]);

		if (!env_find(env, debug_names[i]) || !v)
			continue;
		if (c->mode == GRETA_MODE_DEBUG)
			keys_error_key(r, v, "contradicts mode debug, which sets it itself");
		else
			keys_warn(r, v,
				  "serialises the GPU's work, which is what mode debug is for; these times will stand "
				  "beside those of mode perf");
	}
}

static void check_max_seq_len(struct reader *r, const struct greta_strs *env, const struct greta_json_val *where,
			      const struct greta_engine *e)
{
	const struct greta_json_val *v = greta_json_get(where, "GRETA_MAX_SEQ_LEN");

	if (v && e->max_seq_len_env && env_find(env, "GRETA_MAX_SEQ_LEN"))
		keys_error_key(r, v, "contradicts \"max_seq_len_env\", which sets it to the context + 2");
}

static void check_environments(struct reader *r)
{
	const struct greta_campaign *c = r->c;
	const struct greta_json_val *engine_env = greta_json_get(said(r, "engine"), "env");

	check_env(r, &c->engine.env, engine_env);
	check_max_seq_len(r, &c->engine.env, engine_env, &c->engine);
	check_env(r, &c->env, said(r, "env"));
	check_max_seq_len(r, &c->env, said(r, "env"), &c->engine);
	for (size_t i = 0; i < c->n_variants; i++) {
		const struct greta_json_val *env = greta_json_get(at_variant(r, i), "env");

		check_env(r, &c->variants[i].env, env);
		check_max_seq_len(r, &c->variants[i].env, env, greta_campaign_engine(c, &c->variants[i]));
	}
	if (c->mode == GRETA_MODE_DEBUG)
		keys_warn(r, at(r, "mode"),
			  "debug turns SDMA off and serialises kernels: it may hide SDMA hangs, and its times "
			  "are never compared with those of perf");
}

/* ---- budgets and gates */

static void check_phases(struct reader *r)
{
	const struct greta_campaign *c = r->c;
	double longest = 0;

	for (size_t i = 0; i < c->n_timeouts; i++)
		if (c->timeouts[i].seconds > longest)
			longest = c->timeouts[i].seconds;
	for (int p = 0; p < GRETA_PHASE_COUNT; p++) {
		const struct greta_json_val *v =
			greta_json_get(said(r, "phases"), greta_phase_name((enum greta_phase)p));
		const struct greta_phase_limit *limit = &c->phases[p];

		if (!v)
			continue;
		if (limit->limit_s > longest)
			keys_warn(r, v, "its limit of %g s never comes to bear: no attempt may take longer than %g s",
				  limit->limit_s, longest);
		if (limit->limit_s > 0 && limit->silence_s > limit->limit_s)
			keys_error(r, v, "silence_s (%g) is more than limit_s (%g), which ends the phase before",
				   limit->silence_s, limit->limit_s);
		if (c->on_slow == GRETA_ON_SLOW_EXTEND && limit->limit_s > 0)
			keys_warn(r, v, "\"on_slow\": \"extend\" moves the wall budget, but not this limit of %g s",
				  limit->limit_s);
	}
}

static void check_gates(struct reader *r)
{
	const struct greta_campaign *c = r->c;
	const struct greta_gates *g = &c->gates;

	if (g->logits_reference)
		check_reference(r, g->logits_reference, at_gate(r, "logits_reference"));
	else if (g->same_top1 || g->logits_tolerance > 0)
		keys_error(r, at(r, "gates"),
			   "compares logits with no reference; expected \"logits_reference\": the name of a variant");
	for (size_t i = 0; i < c->n_contexts; i++) {
		int64_t repeats = greta_campaign_repeats(c, c->contexts[i]);

		if (g->min_counted <= repeats)
			continue;
		keys_error(r, at_gate(r, "min_counted"),
			   "asks for %" PRId64 " results of each cell, but context %" PRId64 " is repeated %" PRId64
			   " times",
			   g->min_counted, c->contexts[i], repeats);
		break;
	}
	if (g->no_spill && c->slot == GRETA_SLOT_CPU)
		keys_warn(r, at_gate(r, "no_spill"), "has nothing to look at: a cpu slot runs no GPU kernels");
}

static void check_placement(struct reader *r)
{
	const struct greta_campaign *c = r->c;

	if (c->placement != GRETA_PLACEMENT_ANY && (c->slot != GRETA_SLOT_GPU || c->n_gpus > 1))
		keys_error(r, at(r, "placement"), "\"%s\" is about single GPUs; expected \"slot\": \"gpu\" beside it",
			   greta_placement_name(c->placement));
}

static void check_size(struct reader *r)
{
	const struct greta_campaign *c = r->c;
	double jobs = 0;

	for (size_t i = 0; i < c->n_contexts; i++)
		jobs += (double)c->n_variants * (double)greta_campaign_repeats(c, c->contexts[i]);
	if (jobs > GRETA_JOBS_MAX)
		keys_error(r, at(r, "repeats"), "variants x contexts x repeats make %.0f jobs; at most %d are allowed",
			   jobs, GRETA_JOBS_MAX);
	if (c->slot == GRETA_SLOT_NODE && c->max_jobs_per_node > 1)
		keys_error(r, at(r, "max_jobs_per_node"),
			   "contradicts \"slot\": \"node\", which holds one job on a node");
}

void campaign_check(struct reader *r)
{
	const struct greta_campaign *c = r->c;

	if (greta_json_type(greta_json_root(r->doc)) != GRETA_JSON_OBJECT)
		return;
	if (!greta_problems_errors(r->problems)) /* what was not understood would look the same, or unused */
		check_differences(r);
	check_placeholders(r, !greta_problems_errors(r->problems));
	check_names(r);
	check_variant_nodes(r);
	if (said(r, "reference") && c->reference)
		check_reference(r, c->reference, at(r, "reference"));
	check_environments(r);
	check_phases(r);
	check_placement(r);
	check_gates(r);
	check_size(r);
}
