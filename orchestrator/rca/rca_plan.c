#include "orchestrator/rca/rca_plan.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "db/nodes.h"
#include "orchestrator/plan/estimate.h"
#include "orchestrator/plan/placing.h"
#include "schemas/campaign.h"
#include "schemas/json.h"
#include "schemas/msg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT_MIN 16	   /* smaller ones are not asked for by halving */
#define FACTOR_RUNS_MIN 20 /* fewer can't decide even what hangs each time */

/* A factor while it is planned: the design knows its name, the campaign what it does. */
struct factor {
	enum rca_factor_kind kind;
	char *name;
	char code[16];	       /* in names of variants */
	struct greta_strs env; /* of a setting */
};

struct planning {
	struct greta_db *db;
	const struct rca_request *request;
	struct rca_plan *plan;
	struct greta_attempt_row attempt;
	struct greta_campaign_row row;
	struct greta_json *text; /* of the campaign that it explains */
	struct greta_campaign spec;
	const struct greta_variant *variant;
	const char *reference; /* variant */
	struct greta_strs env; /* that it hung with */
	struct greta_strs same_gpu, other_gpus, other_nodes;
	const char *gpu_kind;
	struct factor factors[RCA_FACTORS_MAX];
	size_t n_factors;
};

static void note(struct planning *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct planning *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	greta_buf_vaddf(&p->plan->notes, fmt, ap);
	va_end(ap);
	greta_buf_addc(&p->plan->notes, '\n');
}

/* ---- which attempt */

static int find_attempt(struct greta_db *db, const char *sql, int64_t id, const char *what, int64_t *attempt_id,
			struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, sql, "i", id);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc == 0)
		return greta_err_set(e, GRETA_EINVAL,
				     "%s %lld: no attempt of it hung, so there is nothing to explain "
				     "(`greta-orch results` says how they ended)",
				     what, (long long)id);
	if (rc == 1)
		*attempt_id = greta_query_i64(q, 0);
	return rc == 1 ? 0 : -1;
}

int rca_plan_attempt_of_job(struct greta_db *db, int64_t job_id, int64_t *attempt_id, struct greta_err *e)
{
	return find_attempt(db, "SELECT id FROM attempt WHERE job_id = ? AND outcome = 'hung' ORDER BY id DESC LIMIT 1",
			    job_id, "job", attempt_id, e);
}

int rca_plan_attempt_of_campaign(struct greta_db *db, int64_t campaign_id, int64_t *attempt_id, struct greta_err *e)
{
	return find_attempt(
		db,
		"SELECT max(a.id) FROM job j JOIN attempt a ON a.job_id = j.id WHERE j.campaign_id = ? AND "
		"a.outcome = 'hung' GROUP BY j.variant_id, j.context ORDER BY count(*) DESC, j.context LIMIT 1",
		campaign_id, "campaign", attempt_id, e);
}

/* ---- what hung */

static const struct greta_variant *find_variant(const struct greta_campaign *c, const char *name)
{
	for (size_t v = 0; v < c->n_variants; v++)
		if (greta_str_eq(c->variants[v].name, name))
			return &c->variants[v];
	return NULL;
}

static int load_campaign(struct planning *p, struct greta_err *e)
{
	struct greta_problems problems = {0};
	int rc;

	if (greta_campaigns_get(p->db, p->attempt.campaign_id, &p->row, e) < 0)
		return -1;
	if (p->row.kind != GRETA_CAMPAIGN_SUBMIT)
		return greta_err_set(e, GRETA_EINVAL,
				     "attempt %lld is of campaign %lld, %s: how to run it again is not known. "
				     "Submit a campaign that runs its cell; imported runs of it are then counted too",
				     (long long)p->attempt.id, (long long)p->row.id,
				     p->row.kind == GRETA_CAMPAIGN_IMPORT ? "which was imported"
									  : "itself a search for a cause");
	rc = greta_campaign_parse(p->row.name, p->row.text, strlen(p->row.text), &p->spec, &problems);
	greta_problems_release(&problems);
	p->text = rc == 0 ? greta_json_parse(p->row.name, p->row.text, strlen(p->row.text), e) : NULL;
	p->variant = p->text ? find_variant(&p->spec, p->attempt.variant) : NULL;
	if (!p->variant)
		return greta_err_set(e, GRETA_EINVAL, "campaign %lld can't be read back: another release stored it",
				     (long long)p->row.id);
	p->reference = p->spec.reference ? p->spec.reference : p->spec.variants[0].name;
	return 0;
}

static int load_attempt(struct planning *p, struct greta_err *e)
{
	cleanup_free char *id = greta_format("%lld", (long long)p->request->attempt_id);
	cleanup_buf struct greta_buf text = {0};
	struct greta_spec sent = {0};

	if (greta_attempts_find(p->db, id, &p->attempt, e) < 0)
		return -1;
	if (p->attempt.outcome != GRETA_OUTCOME_HUNG)
		return greta_err_set(e, GRETA_EINVAL,
				     "attempt %lld ended %s, not hung%s%s: rca looks for causes of hangs",
				     (long long)p->attempt.id, greta_outcome_name(p->attempt.outcome),
				     p->attempt.reason ? ", " : "", p->attempt.reason ? p->attempt.reason : "");
	if (load_campaign(p, e) < 0 || greta_attempts_spec(p->db, p->attempt.id, &text, e) < 0)
		return -1;
	if (greta_spec_parse(greta_buf_str(&text), text.len, &sent, e) < 0)
		return greta_err_wrap(e, "attempt %lld, as it was sent", (long long)p->attempt.id);
	for (size_t i = 0; i < sent.env.n; i++)
		greta_strs_add(&p->env, sent.env.items[i]);
	greta_spec_release(&sent);
	return 0;
}

/* ---- where */

static int load_nodes(struct planning *p, struct greta_err *e)
{
	struct greta_alias_rows rows = {0};
	int rc = greta_nodes_list(p->db, false, &rows, e);

	for (size_t i = 0; i < rows.n && rc == 0; i++) {
		const struct greta_alias_row *n = &rows.items[i];
		bool here = greta_str_eq(n->name, p->attempt.alias);
		bool allowed = placing_allows(&p->spec, n->name, n->labels) && placing_names(&p->variant->nodes, n->name);

		if (here && n->state != GRETA_ALIAS_UP)
			rc = greta_err_set(e, GRETA_EBUSY,
					   "it hung on node %s, which is %s%s%s: `greta-orch node resume %s` first", n->name,
					   greta_alias_state_name(n->state), n->reason ? ", " : "", n->reason ? n->reason : "",
					   n->name);
		else if (!here && allowed && n->state == GRETA_ALIAS_UP &&
			 (!n->node_id || n->node_id != p->attempt.node_id))
			greta_strs_add(&p->other_nodes, n->name);
	}
	greta_alias_rows_release(&rows);
	return rc;
}

/* GPUs are pinned only where it ran on one, and where there are others to try. */
static int load_gpus(struct planning *p, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		p->db, e,
		"SELECT d.uuid, d.kind, NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.node_id = d.node_id AND "
		"q.slot IN ('node', 'gpu-' || d.uuid)), EXISTS (SELECT 1 FROM attempt_device t WHERE t.attempt_id = ? "
		"AND t.device_id = d.id) FROM device d WHERE d.node_id = ? ORDER BY d.uuid",
		"ii", p->attempt.id, p->attempt.node_id);
	int rc = q ? 0 : -1;

	while (q && (rc = greta_query_step(q, e)) == 1) {
		bool held = greta_query_i64(q, 3);

		if (held)
			p->gpu_kind = greta_str_eq(greta_query_str(q, 1), "nvidia") ? "nvidia" : "amd";
		if (held && !greta_query_i64(q, 2))
			return greta_err_set(e, GRETA_EBUSY,
					     "it hung on GPU %s, which is quarantined: `greta-orch node resume %s` "
					     "first",
					     greta_query_str(q, 0), p->attempt.alias);
		if (greta_query_i64(q, 2))
			greta_strs_add(held ? &p->same_gpu : &p->other_gpus, greta_query_str(q, 0));
	}
	if (p->same_gpu.n != 1 || p->spec.slot != GRETA_SLOT_GPU || p->spec.n_gpus > 1 || p->variant->devices.n) {
		greta_strs_release(&p->same_gpu);
		greta_strs_release(&p->other_gpus);
	}
	return rc;
}

/* ---- factors */

static void make_code(struct planning *p, struct factor *f, const char *code)
{
	size_t n = 0;
	bool taken = false;

	for (const char *s = code; *s && n + 1 < sizeof f->code; s++)
		f->code[n++] = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_", *s) ? *s : '-';
	f->code[n] = '\0';
	for (struct factor *o = p->factors; o < f; o++)
		taken |= greta_str_eq(o->code, f->code);
	if (taken)
		snprintf(f->code, sizeof f->code, "f%d", (int)(f - p->factors) + 1);
}

static struct factor *add_factor(struct planning *p, enum rca_factor_kind kind, const char *code, char *name)
{
	struct factor *f = &p->factors[p->n_factors++];

	f->kind = kind;
	f->name = name;
	make_code(p, f, code);
	return f;
}

/* "A=1,B=2": a comma parts two variables only where a name and '=' follow it. */
static void split_setting(const char *text, struct greta_strs *env)
{
	const char *from = text;

	for (const char *s = text; *s; s++) {
		size_t name = strspn(s + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");

		if (*s != ',' || name == 0 || s[1 + name] != '=')
			continue;
		greta_strs_addf(env, "%.*s", (int)(s - from), from);
		from = s + 1;
	}
	greta_strs_add(env, from);
}

static int add_setting(struct planning *p, const char *code, const char *text, struct greta_err *e)
{
	struct greta_strs env = {0};
	size_t n_set = 0;

	if (!strchr(text, '=') || text[0] == '=')
		return greta_err_set(e, GRETA_EINVAL, "setting \"%s\": expected NAME=VALUE", text);
	split_setting(text, &env);
	for (size_t i = 0; i < env.n; i++)
		n_set += greta_strs_has(&p->env, env.items[i]);
	if (n_set == env.n) {
		note(p, "%s is not tried: it hung with that", text);
		greta_strs_release(&env);
		return 0;
	}
	if (p->n_factors == RCA_FACTORS_MAX) {
		greta_strs_release(&env);
		return greta_err_set(e, GRETA_EINVAL, "%s: more than %d factors can't be told apart in one search",
				     text, RCA_FACTORS_MAX);
	}
	add_factor(p, RCA_SETTING, code, greta_strdup(text))->env = env;
	return 0;
}

/* In the order in which a person would try them one by one; both serialisations at once come about by the coins. */
static int add_settings(struct planning *p, struct greta_err *e)
{
	static const struct {
		const char *kind, *code, *text;
	} usual[] = {
		{"amd", "sdma0", "HSA_ENABLE_SDMA=0"},
		{"amd", "copy3", "AMD_SERIALIZE_COPY=3"},
		{"amd", "kernel3", "AMD_SERIALIZE_KERNEL=3"},
		{"amd", "queues1", "GPU_MAX_HW_QUEUES=1"},
		{"nvidia", "blocking1", "CUDA_LAUNCH_BLOCKING=1"},
		{"nvidia", "connections1", "CUDA_DEVICE_MAX_CONNECTIONS=1"},
	};
	const struct greta_strs *asked = &p->request->settings;
	int rc = 0;

	for (size_t i = 0; i < asked->n && rc == 0; i++)
		rc = add_setting(p, asked->items[i], asked->items[i], e);
	for (size_t i = 0; i < GRETA_COUNT(usual) && !asked->n && rc == 0; i++)
		if (greta_str_eq(usual[i].kind, p->gpu_kind))
			rc = add_setting(p, usual[i].code, usual[i].text, e);
	return rc;
}

static int add_factors(struct planning *p, struct greta_err *e)
{
	if (add_settings(p, e) < 0)
		return -1;
	if (p->n_factors + 3 > RCA_FACTORS_MAX)
		return greta_err_set(e, GRETA_EINVAL,
				     "%zu settings beside variant, GPU and node are more than %d factors, which "
				     "can't be told apart in one search",
				     p->n_factors, RCA_FACTORS_MAX);
	if (greta_str_eq(p->reference, p->variant->name))
		note(p, "no other variant is tried: %s is the campaign's reference", p->reference);
	else
		add_factor(p, RCA_VARIANT, "", greta_format("variant %s", p->reference));
	if (p->same_gpu.n && p->other_gpus.n)
		add_factor(p, RCA_DEVICE, "gpu", greta_format("another GPU than %s", p->same_gpu.items[0]));
	else
		note(p, "no other GPU is tried: %s",
		     p->same_gpu.n ? "the node has one" : "it did not run on one GPU alone");
	if (p->other_nodes.n)
		add_factor(p, RCA_NODE, "node", greta_format("another node than %s", p->attempt.alias));
	else
		note(p, "no other node is tried: the campaign may use no other that is up");
	return 0;
}

/* ---- the design */

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void add_context(struct rca_design *d, int64_t context)
{
	for (size_t i = 0; i < d->n_contexts; i++)
		if (d->contexts[i] == context)
			return;
	if (context >= 1 && context < d->context && d->n_contexts < RCA_CONTEXTS_MAX)
		d->contexts[d->n_contexts++] = context;
}

/* Those that a person named, else the campaign's own; where these are few, halves, quarters and eighths too. */
static void choose_contexts(struct planning *p, struct rca_design *d)
{
	const struct rca_request *r = p->request;

	for (size_t i = 0; i < r->n_contexts; i++)
		add_context(d, r->contexts[i]);
	for (size_t i = 0; i < p->spec.n_contexts && !r->n_contexts; i++)
		add_context(d, p->spec.contexts[i]);
	for (int64_t c = d->context / 2, n = d->n_contexts < 3 ? 3 : 0; n > 0 && c >= CONTEXT_MIN && !r->n_contexts;
	     c /= 2, n--)
		add_context(d, c);
	qsort(d->contexts, d->n_contexts, sizeof *d->contexts, ascending);
}

static int make_design(struct planning *p, struct greta_err *e)
{
	struct rca_design *d = &p->plan->design;
	int64_t wanted;

	d->rate = p->request->rate > 0 ? p->request->rate : RCA_RATE;
	d->budget_s = p->request->budget_s;
	d->variant = greta_strdup(p->variant->name);
	d->reference = greta_str_eq(p->reference, p->variant->name) ? NULL : greta_strdup(p->reference);
	d->context = p->attempt.context;
	choose_contexts(p, d);
	for (size_t f = 0; f < p->n_factors; f++) {
		d->factors[f].kind = p->factors[f].kind;
		d->factors[f].name = greta_strdup(p->factors[f].name);
	}
	d->n_factors = p->n_factors;
	d->same_device = p->same_gpu.n && p->other_gpus.n ? 1 : 0;
	d->other_devices = (int64_t)p->other_gpus.n;
	wanted = rca_budget_wanted(d);
	d->budget_runs = p->request->budget_runs ? p->request->budget_runs : wanted;
	if (d->n_factors && rca_runs_at_most(d, RCA_FACTORS) < FACTOR_RUNS_MIN)
		return greta_err_set(
			e, GRETA_EINVAL,
			"a budget of %lld runs can decide nothing: up to %lld are needed to see the "
			"hang again, up to %lld for contexts. Give %lld, or name a larger --rate, or fewer --contexts",
			(long long)d->budget_runs, (long long)rca_runs_at_most(d, RCA_AGAIN),
			(long long)rca_runs_at_most(d, RCA_CONTEXTS), (long long)wanted);
	return 0;
}

/* ---- the campaign file */

static const struct greta_json_val *variant_text(const struct planning *p, const char *name)
{
	const struct greta_json_val *v = greta_json_first(greta_json_get(greta_json_root(p->text), "variants"));
	const char *s;

	while (v && !(greta_json_str(greta_json_get(v, "name"), &s) == 0 && greta_str_eq(s, name)))
		v = greta_json_next(v);
	return v;
}

static void copy(struct greta_jsonw *w, const struct greta_json_val *member)
{
	cleanup_buf struct greta_buf text = {0};

	greta_json_print(member, &text);
	greta_jsonw_raw(w, greta_json_key(member), greta_buf_str(&text));
}

static const struct factor *overrides(const struct planning *p, unsigned on, const char *name)
{
	size_t n = strlen(name);

	for (size_t f = 0; f < p->n_factors; f++)
		for (size_t i = 0; on >> f & 1 && i < p->factors[f].env.n; i++)
			if (!strncmp(p->factors[f].env.items[i], name, n) && p->factors[f].env.items[i][n] == '=')
				return &p->factors[f];
	return NULL;
}

static void write_env(const struct planning *p, const struct greta_json_val *variant, unsigned on,
		      struct greta_jsonw *w)
{
	const struct greta_json_val *own = greta_json_get(variant, "env");

	greta_jsonw_object(w, "env");
	for (const struct greta_json_val *v = own ? greta_json_first(own) : NULL; v; v = greta_json_next(v))
		if (!overrides(p, on, greta_json_key(v)))
			copy(w, v);
	for (size_t f = 0; f < p->n_factors; f++)
		for (size_t i = 0; on >> f & 1 && i < p->factors[f].env.n; i++) {
			const char *kv = p->factors[f].env.items[i], *equal = strchr(kv, '=');
			cleanup_free char *name = greta_strndup(kv, (size_t)(equal - kv));

			/* Of two settings of one variable the first one's holds. */
			if (overrides(p, on, name) == &p->factors[f])
				greta_jsonw_str(w, name, equal + 1);
		}
	greta_jsonw_end_object(w);
}

static void write_places(const struct planning *p, unsigned on, struct greta_jsonw *w)
{
	const struct rca_design *d = &p->plan->design;
	struct greta_strs here = {.items = (char **)&p->attempt.alias, .n = 1};

	if (on & rca_design_bits(d, RCA_NODE)) {
		greta_jsonw_strs(w, "nodes", &p->other_nodes);
		return;
	}
	greta_jsonw_strs(w, "nodes", &here);
	if (d->same_device)
		greta_jsonw_strs(w, "devices", on & rca_design_bits(d, RCA_DEVICE) ? &p->other_gpus : &p->same_gpu);
}

static const char *base_of(const struct planning *p, unsigned on)
{
	return on & rca_design_bits(&p->plan->design, RCA_VARIANT) ? p->reference : p->variant->name;
}

/* "v3.sdma0.queues1"; by its number where that would be too long. */
static char *variant_name(const struct planning *p, unsigned on)
{
	const char *base = base_of(p, on);
	cleanup_buf struct greta_buf name = {0};

	greta_buf_adds(&name, base);
	for (size_t f = 0; f < p->n_factors; f++)
		if (on >> f & 1 && *p->factors[f].code)
			greta_buf_addf(&name, ".%s", p->factors[f].code);
	if (name.len <= GRETA_NAME_MAX)
		return greta_buf_steal(&name);
	return greta_format("%.50s.%x", base, on);
}

static void write_variant(const struct planning *p, unsigned on, struct greta_jsonw *w)
{
	static const char *const kept[] = {"args", "engine", "expect"};
	const struct greta_json_val *base = variant_text(p, base_of(p, on));
	cleanup_free char *name = variant_name(p, on);

	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "name", name);
	for (size_t i = 0; i < GRETA_COUNT(kept); i++)
		if (greta_json_get(base, kept[i]))
			copy(w, greta_json_get(base, kept[i]));
	write_env(p, base, on, w);
	write_places(p, on, w);
	greta_jsonw_end_object(w);
}

static void write_timeouts(const struct planning *p, struct greta_jsonw *w)
{
	const struct rca_design *d = &p->plan->design;

	greta_jsonw_object(w, "timeout_s");
	greta_jsonw_f64(w, "default", greta_campaign_timeout_s(&p->spec, d->context));
	for (size_t i = 0; i < d->n_contexts; i++) {
		cleanup_free char *key = greta_format("%lld", (long long)d->contexts[i]);

		greta_jsonw_f64(w, key, greta_campaign_timeout_s(&p->spec, d->contexts[i]));
	}
	greta_jsonw_end_object(w);
}

/* All that a run depends on stays as it was; what says how often, in which order and to what end is the search's own. A
 * result that a gate would refuse did not hang either. */
static bool is_own(const char *key)
{
	static const char *const own[] = {"$schema", "name",  "description", "variants",  "reference", "contexts",
					  "repeats", "order", "seed",	     "timeout_s", "retries",   "gates"};

	return greta_str_in(key, own, GRETA_COUNT(own));
}

static void write_campaign(struct planning *p)
{
	struct rca_plan *plan = p->plan;
	struct greta_jsonw w = greta_jsonw(&plan->text);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", plan->name);
	for (const struct greta_json_val *m = greta_json_first(greta_json_root(p->text)); m; m = greta_json_next(m))
		if (!is_own(greta_json_key(m)))
			copy(&w, m);
	greta_jsonw_i64(&w, "repeats", 1);
	write_timeouts(p, &w);
	greta_jsonw_array(&w, "contexts");
	for (size_t i = 0; i < plan->design.n_contexts; i++)
		greta_jsonw_i64(&w, NULL, plan->design.contexts[i]);
	greta_jsonw_i64(&w, NULL, plan->design.context);
	greta_jsonw_end_array(&w);
	greta_jsonw_array(&w, "variants");
	for (size_t v = 0; v < plan->design.n_variants; v++)
		write_variant(p, plan->design.variants[v], &w);
	greta_jsonw_end_array(&w);
	greta_jsonw_end_object(&w);
}

/* ---- the jobs */

static size_t variant_of(struct rca_design *d, unsigned on)
{
	for (size_t v = 0; v < d->n_variants; v++)
		if (d->variants[v] == on)
			return v;
	*GRETA_PUSH(d->variants, d->n_variants, d->cap_variants) = on;
	return d->n_variants - 1;
}

static void make_jobs(struct rca_plan *plan)
{
	for (size_t i = 0; i < plan->runs.n; i++) {
		const struct rca_run *r = &plan->runs.items[i];
		struct plan_job job = {variant_of(&plan->design, r->on), r->context, 0, r->stage};

		for (size_t k = 0; k < i; k++)
			job.repeat += plan->jobs.jobs[k].variant == job.variant && plan->jobs.jobs[k].context == job.context;
		*GRETA_PUSH(plan->jobs.jobs, plan->jobs.n, plan->jobs.cap) = job;
	}
}

static int make_plan(struct planning *p, struct greta_err *e)
{
	struct rca_plan *plan = p->plan;
	struct estimate est;

	if (load_attempt(p, e) < 0 || load_nodes(p, e) < 0 || load_gpus(p, e) < 0 || add_factors(p, e) < 0 ||
	    make_design(p, e) < 0 || estimate_job(p->db, &p->spec, p->variant->name, p->attempt.context, &est, e) < 0)
		return -1;
	plan->attempt_id = p->attempt.id;
	plan->campaign_id = p->attempt.campaign_id;
	plan->run_s = est.wall_s;
	plan->budget_run_s = est.budget_s;
	plan->name = greta_format("rca-%.40s-%lld", p->row.name, (long long)p->attempt.id);
	plan->base_dir = greta_strdup(p->row.base_dir);
	rca_design_runs(&plan->design, (uint64_t)p->attempt.id, &plan->runs);
	make_jobs(plan);
	write_campaign(p);
	return 0;
}

int rca_plan_make(struct greta_db *db, const struct rca_request *r, struct rca_plan *out, struct greta_err *e)
{
	struct planning p = {.db = db, .request = r, .plan = out, .gpu_kind = "amd"};
	int rc;

	*out = (struct rca_plan){0};
	rc = make_plan(&p, e);
	for (size_t f = 0; f < p.n_factors; f++) {
		free(p.factors[f].name);
		greta_strs_release(&p.factors[f].env);
	}
	greta_strs_release(&p.env);
	greta_strs_release(&p.same_gpu);
	greta_strs_release(&p.other_gpus);
	greta_strs_release(&p.other_nodes);
	greta_attempt_row_release(&p.attempt);
	greta_campaign_row_release(&p.row);
	greta_campaign_release(&p.spec);
	greta_json_destroy(p.text);
	if (rc < 0)
		rca_plan_release(out);
	return rc;
}

void rca_plan_release(struct rca_plan *p)
{
	rca_design_release(&p->design);
	rca_runs_release(&p->runs);
	plan_release(&p->jobs);
	free(p->name);
	free(p->base_dir);
	greta_buf_release(&p->text);
	greta_buf_release(&p->notes);
	*p = (struct rca_plan){0};
}
