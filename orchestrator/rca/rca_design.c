#include "orchestrator/rca/rca_design.h"

#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "orchestrator/analysis/hang_rate.h"
#include "schemas/json.h"

#include <gsl/gsl_rng.h>
#include <string.h>

#define RUNS_MAX 2000	/* of the factors' stage and each coin, however large the budget */
#define HANGS_WANTED 30 /* that decide the factors nearly always (tests/unit/u_rca_decide.c) */

static const char *const kind_names[] = {
#define X(id, name) name,
	RCA_FACTOR_KINDS(X)
#undef X
};

const char *rca_factor_kind_name(enum rca_factor_kind k)
{
	return kind_names[k];
}

void rca_design_release(struct rca_design *d)
{
	for (size_t f = 0; f < d->n_factors; f++)
		free(d->factors[f].name);
	free(d->variant);
	free(d->reference);
	free(d->variants);
	*d = (struct rca_design){0};
}

void rca_runs_release(struct rca_runs *r)
{
	free(r->items);
	*r = (struct rca_runs){0};
}

unsigned rca_design_bits(const struct rca_design *d, enum rca_factor_kind kind)
{
	unsigned bits = 0;

	for (size_t f = 0; f < d->n_factors; f++)
		bits |= d->factors[f].kind == kind ? 1u << f : 0;
	return bits;
}

/* ---- as JSON */

void rca_design_print(const struct rca_design *d, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_f64(&w, "rate", d->rate);
	greta_jsonw_i64(&w, "budget_runs", d->budget_runs);
	greta_jsonw_f64(&w, "budget_s", d->budget_s);
	greta_jsonw_str(&w, "variant", d->variant);
	greta_jsonw_str(&w, "reference", d->reference);
	greta_jsonw_i64(&w, "context", d->context);
	greta_jsonw_i64(&w, "same_device", d->same_device);
	greta_jsonw_i64(&w, "other_devices", d->other_devices);
	greta_jsonw_array(&w, "contexts");
	for (size_t i = 0; i < d->n_contexts; i++)
		greta_jsonw_i64(&w, NULL, d->contexts[i]);
	greta_jsonw_end_array(&w);
	greta_jsonw_array(&w, "factors");
	for (size_t f = 0; f < d->n_factors; f++) {
		greta_jsonw_object(&w, NULL);
		greta_jsonw_str(&w, "kind", kind_names[d->factors[f].kind]);
		greta_jsonw_str(&w, "name", d->factors[f].name);
		greta_jsonw_end_object(&w);
	}
	greta_jsonw_end_array(&w);
	greta_jsonw_array(&w, "variants");
	for (size_t v = 0; v < d->n_variants; v++)
		greta_jsonw_i64(&w, NULL, d->variants[v]);
	greta_jsonw_end_array(&w);
	greta_jsonw_end_object(&w);
}

static int read_factor(const struct greta_json_val *v, struct rca_design *out)
{
	const char *kind, *name;

	if (out->n_factors == RCA_FACTORS_MAX || greta_json_str(greta_json_get(v, "kind"), &kind) ||
	    greta_json_str(greta_json_get(v, "name"), &name))
		return -1;
	for (int k = 0; k < RCA_FACTOR_KIND_COUNT; k++) {
		if (strcmp(kind_names[k], kind))
			continue;
		out->factors[out->n_factors].kind = (enum rca_factor_kind)k;
		out->factors[out->n_factors++].name = greta_strdup(name);
		return 0;
	}
	return -1;
}

static int read_lists(const struct greta_json_val *o, struct rca_design *out)
{
	const struct greta_json_val *contexts = greta_json_get(o, "contexts"), *factors = greta_json_get(o, "factors"),
				    *variants = greta_json_get(o, "variants");
	int64_t bits;

	if (!contexts || !factors || !variants)
		return -1;
	for (const struct greta_json_val *v = greta_json_first(contexts); v; v = greta_json_next(v))
		if (out->n_contexts == RCA_CONTEXTS_MAX || greta_json_i64(v, &out->contexts[out->n_contexts++]))
			return -1;
	for (const struct greta_json_val *v = greta_json_first(factors); v; v = greta_json_next(v))
		if (read_factor(v, out))
			return -1;
	for (const struct greta_json_val *v = greta_json_first(variants); v; v = greta_json_next(v)) {
		if (greta_json_i64(v, &bits))
			return -1;
		*GRETA_PUSH(out->variants, out->n_variants, out->cap_variants) = (unsigned)bits;
	}
	return 0;
}

static int read_design(const struct greta_json_val *o, struct rca_design *out)
{
	const char *variant, *reference = NULL;

	greta_json_str(greta_json_get(o, "reference"), &reference);
	if (greta_json_f64(greta_json_get(o, "rate"), &out->rate) ||
	    greta_json_i64(greta_json_get(o, "budget_runs"), &out->budget_runs) ||
	    greta_json_f64(greta_json_get(o, "budget_s"), &out->budget_s) ||
	    greta_json_str(greta_json_get(o, "variant"), &variant) ||
	    greta_json_i64(greta_json_get(o, "context"), &out->context) ||
	    greta_json_i64(greta_json_get(o, "same_device"), &out->same_device) ||
	    greta_json_i64(greta_json_get(o, "other_devices"), &out->other_devices))
		return -1;
	out->variant = greta_strdup(variant);
	out->reference = greta_strdup(reference);
	return read_lists(o, out);
}

int rca_design_parse(const char *text, struct rca_design *out, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse("design", text, strlen(text), e);
	int rc = j ? 0 : -1;

	*out = (struct rca_design){0};
	if (j && read_design(greta_json_root(j), out)) {
		rca_design_release(out);
		rc = greta_err_set(e, GRETA_EINVAL,
				   "the design of this rca campaign can't be read: another release wrote it");
	}
	greta_json_destroy(j);
	return rc;
}

/* ---- how many */

/* Contexts that bisection looks at, at most. */
static int64_t bisections(size_t n_contexts)
{
	int64_t steps = 0;

	for (size_t left = n_contexts; left > 0; left /= 2)
		steps++;
	return steps;
}

int64_t rca_runs_at_most(const struct rca_design *d, enum rca_stage stage)
{
	int64_t each = hang_rate_runs(d->rate, RCA_BETA), others = each * (1 + bisections(d->n_contexts));

	if (stage == RCA_AGAIN)
		return each;
	if (stage == RCA_CONTEXTS)
		return others - each;
	return d->n_factors && d->budget_runs > others ? d->budget_runs - others : 0;
}

int64_t rca_budget_wanted(const struct rca_design *d)
{
	int64_t each = hang_rate_runs(d->rate, RCA_BETA);

	return each * (1 + bisections(d->n_contexts)) + (d->n_factors ? (int64_t)(HANGS_WANTED / d->rate) : 0);
}

/* ---- the runs */

double rca_stage_coin(enum rca_stage s)
{
	return s == RCA_FACTORS ? 0.5 : s == RCA_SPARSE ? 0.3 : 0;
}

static void add(struct rca_runs *runs, enum rca_stage stage, int64_t context, unsigned on)
{
	*GRETA_PUSH(runs->items, runs->n, runs->cap) = (struct rca_run){.stage = stage, .context = context, .on = on};
}

/* Elsewhere the GPU that hung is not there, so the coin for another one is not told apart. */
static unsigned throw_coins(const struct rca_design *d, enum rca_stage stage, gsl_rng *rng)
{
	unsigned on = 0;

	for (size_t f = 0; f < d->n_factors; f++)
		on |= (unsigned)(gsl_rng_uniform(rng) < rca_stage_coin(stage)) << f;
	return on & rca_design_bits(d, RCA_NODE) ? on & ~rca_design_bits(d, RCA_DEVICE) : on;
}

void rca_design_runs(const struct rca_design *d, uint64_t seed, struct rca_runs *out)
{
	int64_t each = rca_runs_at_most(d, RCA_AGAIN), factors = 2 * rca_runs_at_most(d, RCA_FACTORS);
	gsl_rng *rng = gsl_rng_alloc(gsl_rng_mt19937);

	gsl_rng_set(rng, (unsigned long)seed);
	for (int64_t i = 0; i < each + each / 4; i++)
		add(out, RCA_AGAIN, d->context, 0);
	for (int64_t i = 0; i < factors && i < RUNS_MAX; i++) {
		add(out, RCA_FACTORS, d->context, throw_coins(d, RCA_FACTORS, rng));
		add(out, RCA_SPARSE, d->context, throw_coins(d, RCA_SPARSE, rng));
	}
	for (size_t c = 0; c < d->n_contexts; c++)
		for (int64_t i = 0; i < each + each / 4; i++)
			add(out, RCA_CONTEXTS, d->contexts[c], 0);
	gsl_rng_free(rng);
}
