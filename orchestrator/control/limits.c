#include "orchestrator/control/limits.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/db.h"
#include "orchestrator/analysis/fit.h"
#include "orchestrator/analysis/stats.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGMA 1.4826        /* standard deviations in a median absolute deviation, of a normal distribution */
#define SPREADS 3
#define CAMPAIGNS_MAX "5"

static const enum greta_phase learned[] = {GRETA_PHASE_NONE,   GRETA_PHASE_LOAD,    GRETA_PHASE_TOKENIZE,
					    GRETA_PHASE_WARMUP, GRETA_PHASE_PREFILL, GRETA_PHASE_DECODE};

void limits_runs_release(struct limits_runs *r)
{
	free(r->items);
	*r = (struct limits_runs){0};
}

static int by_context(const void *a, const void *b)
{
	int64_t x = ((const struct limits_run *)a)->context, y = ((const struct limits_run *)b)->context;
	return (x > y) - (x < y);
}

/* ---- one phase */

static bool from_history(const struct stats_sample *here, struct greta_phase_limit *out)
{
	char median[32], spread[32], longest[32];
	struct stats_median m = stats_median(here);
	int factor = m.n >= LIMITS_SURE_RUNS ? LIMITS_FACTOR_SURE : LIMITS_FACTOR;
	if (m.n < LIMITS_MIN_RUNS)
		return false;
	out->bound_s = factor * fmax(m.max, m.median + SPREADS * SIGMA * m.mad);
	snprintf(out->basis, sizeof out->basis, "history: %zu runs of this cell, median %s, spread %s, longest %s; %d times that",
		 m.n, greta_str_seconds(median, sizeof median, m.median),
		 greta_str_seconds(spread, sizeof spread, SIGMA * m.mad), greta_str_seconds(longest, sizeof longest, m.max), factor);
	return true;
}

static bool from_curve(const struct fit_cell *shorter, size_t n, int64_t context, struct greta_phase_limit *out)
{
	char most[32];
	struct fit f;
	fit_make(shorter, n, &f);
	double high = fit_exists(&f) ? fit_predict(&f, (double)context).high : NAN;
	if (high > 0) {
		out->bound_s = LIMITS_FACTOR * high;
		snprintf(out->basis, sizeof out->basis, "curve: %zu runs at %zu shorter contexts, at most %s here (97.5 %%); %d times that",
			 f.n_runs, n, greta_str_seconds(most, sizeof most, high), LIMITS_FACTOR);
	}
	fit_release(&f);
	return high > 0;
}

static void from_campaign(size_t n_here, size_t n_shorter, struct greta_phase_limit *out)
{
	out->bound_s = 0;
	snprintf(out->basis, sizeof out->basis, "configured: %zu runs of this cell (%d are needed), %zu shorter contexts (%d are needed)",
		 n_here, LIMITS_MIN_RUNS, n_shorter, FIT_MIN_CONTEXTS);
}

/* runs: by context */
static void learn_phase(const struct limits_runs *runs, int64_t context, enum greta_phase phase, struct greta_phase_limit *out)
{
	struct stats_sample *samples = greta_alloc((runs->n + 1) * sizeof *samples), here = {0};
	struct fit_cell *shorter = greta_alloc((runs->n + 1) * sizeof *shorter);
	size_t n = 0;
	for (size_t i = 0; i < runs->n; i++) {
		const struct limits_run *r = &runs->items[i];
		bool new_context = n == 0 || shorter[n - 1].n < (double)r->context;
		if (!(r->phase_s[phase] > 0) || r->context > context)
			continue;
		if (r->context < context && new_context) {
			shorter[n] = (struct fit_cell){(double)r->context, &samples[n]};
			n++;
		}
		stats_add(r->context == context ? &here : &samples[n - 1], r->phase_s[phase]);
	}
	if (!from_history(&here, out) && !from_curve(shorter, n, context, out))
		from_campaign(here.n, n, out);
	for (size_t i = 0; i < n; i++)
		stats_release(&samples[i]);
	stats_release(&here);
	free(samples);
	free(shorter);
}

void limits_learn(const struct limits_runs *runs, int64_t context, struct greta_phase_limit phases[GRETA_PHASE_COUNT])
{
	if (runs->n)
		qsort(runs->items, runs->n, sizeof *runs->items, by_context);
	for (size_t i = 0; i < GRETA_COUNT(learned); i++)
		learn_phase(runs, context, learned[i], &phases[learned[i]]);
}

/* ---- what is known */

/* A campaign's variables, as they make runs faster and slower; one with comments is compared as a whole. */
#define VARIABLES(campaign) "iif(json_valid(" campaign ".text), json_extract(" campaign ".text, '$.env'), " campaign ".text)"

/* Cells are found from one context to the next shorter one: a campaign may have a hundred thousand jobs. */
static const char runs_sql[] =
	"WITH RECURSIVE akin(variant_id, campaign_id) AS MATERIALIZED (SELECT v.id, v.campaign_id"
	"  FROM variant own JOIN campaign oc ON oc.id = own.campaign_id JOIN variant v ON v.name = own.name"
	"  AND (v.id = own.id OR (v.detail = own.detail AND ?4 AND v.campaign_id IN (SELECT c.id FROM campaign c"
	"   WHERE c.name = oc.name AND c.mode = oc.mode AND " VARIABLES("c") " IS " VARIABLES("oc")
	"   ORDER BY c.id DESC LIMIT " CAMPAIGNS_MAX "))) WHERE own.id = ?1 AND own.campaign_id = ?2),"
	" cell(variant_id, campaign_id, context) AS (SELECT k.variant_id, k.campaign_id, (SELECT max(j.context) FROM job j"
	"   WHERE j.campaign_id = k.campaign_id AND j.variant_id = k.variant_id AND j.context <= ?3) FROM akin k"
	"  UNION ALL SELECT l.variant_id, l.campaign_id, (SELECT max(j.context) FROM job j"
	"   WHERE j.campaign_id = l.campaign_id AND j.variant_id = l.variant_id AND j.context < l.context) FROM cell l"
	"   WHERE l.context IS NOT NULL),"
	" run(id, context) AS (SELECT a.id, j.context FROM cell l CROSS JOIN job j ON j.campaign_id = l.campaign_id"
	"  AND j.variant_id = l.variant_id AND j.context = l.context AND j.repeat < ?8 CROSS JOIN attempt a ON a.job_id = j.id"
	"  WHERE a.outcome = 'ok' AND (j.variant_id = ?1 OR a.model_id IS nullif(?5, 0))"
	"  AND a.device_type IN (SELECT value FROM json_each(?6)) ORDER BY a.id DESC LIMIT ?7)"
	"SELECT r.context, a.wall_s, a.model_load_s, a.tokenize_s, a.prefill_max_s, a.decode_s,"
	" (SELECT max(s.value) FROM sample s WHERE s.attempt_id = a.id AND s.sample_no = 0 AND s.name = 'prefill_s')"
	" FROM run r JOIN attempt a ON a.id = r.id ORDER BY a.id DESC";

int limits_load(struct greta_db *db, const struct limits_cell *cell, struct limits_runs *out, struct greta_err *e)
{
	bool same_model = !cell->has_model || cell->model_id;
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, runs_sql, "iiiiisii", cell->variant_id, cell->campaign_id, cell->context,
				 (int64_t)same_model, cell->model_id, cell->devices, (int64_t)LIMITS_RUNS_MAX,
				 (int64_t)LIMITS_CELL_RUNS);
	int rc = q ? greta_query_step(q, e) : -1;
	for (; rc == 1; rc = greta_query_step(q, e)) {
		struct limits_run *r = GRETA_PUSH(out->items, out->n, out->cap);
		static const enum greta_phase columns[] = {GRETA_PHASE_NONE,    GRETA_PHASE_LOAD,   GRETA_PHASE_TOKENIZE,
							   GRETA_PHASE_PREFILL, GRETA_PHASE_DECODE, GRETA_PHASE_WARMUP};
		r->context = greta_query_i64(q, 0);
		for (int p = 0; p < GRETA_PHASE_COUNT; p++)
			r->phase_s[p] = NAN;
		for (int c = 0; c < (int)GRETA_COUNT(columns); c++)
			r->phase_s[columns[c]] = greta_query_f64(q, c + 1);
	}
	return rc;
}
