#include "orchestrator/control/gates.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/attempts.h"
#include "db/campaigns.h"

#include <gsl/gsl_statistics_double.h>
#include <math.h>
#include <string.h>

struct result {
	int64_t attempt_id, context;
	bool is_reference;
	char *top1, *logits; /* NULL: not said */
};

struct results {
	struct result *items;
	size_t n, cap;
};

static void results_release(struct results *r)
{
	for (size_t i = 0; i < r->n; i++) {
		free(r->items[i].top1);
		free(r->items[i].logits);
	}
	free(r->items);
}

/* Context by context, the reference's own results first. */
static int results_load(struct greta_db *db, int64_t campaign_id, const char *reference, struct results *out,
			struct greta_err *e)
{
	static const char sql[] = "SELECT a.id, j.context, v.name = ?, " GRETA_READING("top1") ", " GRETA_READING("logits_sha256")
				  " FROM job j JOIN attempt a ON a.id = j.counted_attempt JOIN variant v ON v.id = j.variant_id "
				  "WHERE j.campaign_id = ? ORDER BY j.context, 3 DESC, j.position";
	cleanup_query struct greta_query *q = greta_query_open(db, e, sql, "si", reference, campaign_id);
	int rc;

	if (!q)
		return -1;
	while ((rc = greta_query_step(q, e)) == 1) {
		struct result *r = GRETA_PUSH(out->items, out->n, out->cap);

		r->attempt_id = greta_query_i64(q, 0);
		r->context = greta_query_i64(q, 1);
		r->is_reference = greta_query_i64(q, 2);
		r->top1 = greta_strdup(greta_query_str(q, 3));
		r->logits = greta_strdup(greta_query_str(q, 4));
	}
	return rc;
}

static char *compare(const char *what, const char *mine, const char *theirs, const char *reference)
{
	if (!mine)
		return greta_format("gate: the engine did not say its %s, so it can't be compared with %s", what, reference);
	if (!theirs)
		return greta_format("gate: %s did not say its %s, so nothing can be compared with it", reference, what);
	if (strcmp(mine, theirs))
		return greta_format("gate: %s %.16s, but %s has %.16s", what, mine, reference, theirs);
	return NULL;
}

static int count(struct greta_db *db, int64_t *out, struct greta_err *e, const char *sql, int64_t a, int64_t b)
{
	cleanup_query struct greta_query *q = greta_query_open(db, e, sql, "ii", a, b);

	if (!q || greta_query_step(q, e) < 0)
		return -1;
	*out = greta_query_i64(q, 0);
	return 0;
}

/* ---- logits, by their distance */

/* What the attempt left of them; empty: nothing, or not all of it came. */
static int load_logits(struct greta_db *db, int64_t attempt_id, struct greta_buf *out, struct greta_err *e)
{
	int64_t whole;

	if (count(db, &whole, e, "SELECT count(*) = max(parts) FROM evidence_part WHERE attempt_id = ? AND name = 'logits' AND ?",
		  attempt_id, 1) < 0)
		return -1;
	return whole ? greta_evidence_read(db, attempt_id, "logits", out, e) : 0;
}

static float logit(const struct greta_buf *b, size_t i)
{
	float x;

	memcpy(&x, b->data + i * sizeof x, sizeof x);
	return x;
}

static double deviation(const struct greta_buf *b)
{
	size_t n = b->len / sizeof(float);
	double *row = greta_alloc((n + 1) * sizeof *row), sd;

	for (size_t i = 0; i < n; i++)
		row[i] = logit(b, i);
	sd = gsl_stats_sd(row, 1, n);
	free(row);
	return sd;
}

/* Largest difference / std of the reference's row, and where; INFINITY where one of the two is no number. */
static double distance(const struct greta_buf *mine, const struct greta_buf *theirs, size_t *at)
{
	double largest = 0, sd = deviation(theirs);

	*at = 0;
	for (size_t i = 0; i < mine->len / sizeof(float); i++) {
		double d = fabs((double)logit(mine, i) - (double)logit(theirs, i)) / sd;

		if (!(d <= largest)) {
			largest = isnan(d) ? INFINITY : d;
			*at = i;
		}
	}
	return largest;
}

static char *compare_logits(const struct greta_buf *mine, const struct greta_buf *theirs, const struct greta_gates *g)
{
	double d;
	size_t at;

	if (!mine->len)
		return greta_format("gate: the engine left no logits (GRETA_LOGITS_FILE), so they can't be compared with %s's",
				    g->logits_reference);
	if (!theirs->len)
		return greta_format("gate: %s left no logits, so nothing can be compared with them", g->logits_reference);
	if (mine->len != theirs->len)
		return greta_format("gate: %zu logits, but %s has %zu", mine->len / sizeof(float), g->logits_reference,
				    theirs->len / sizeof(float));
	d = distance(mine, theirs, &at);
	return d <= g->logits_tolerance ? NULL
					: greta_format("gate: the logit of token %zu is off %s's by %.3g of its row's standard "
						       "deviation; %.3g is allowed", at, g->logits_reference, d,
						       g->logits_tolerance);
}

/* ---- a result beside its reference */

struct reference {
	const struct result *result; /* of this context; NULL: none */
	struct greta_buf logits;     /* where a tolerance asks for them */
};

static int take_reference(struct greta_db *db, const struct greta_gates *g, const struct result *first,
			  struct reference *out, struct greta_err *e)
{
	out->result = first->is_reference ? first : NULL;
	greta_buf_clear(&out->logits);
	return out->result && g->logits_tolerance > 0 ? load_logits(db, first->attempt_id, &out->logits, e) : 0;
}

/* *why stays NULL when it passes. */
static int judge_logits(struct greta_db *db, const struct greta_gates *g, const struct result *r,
			const struct reference *reference, char **why, struct greta_err *e)
{
	cleanup_buf struct greta_buf mine = {0};

	if (g->logits_tolerance == 0) {
		*why = compare("logits_sha256", r->logits, reference->result->logits, g->logits_reference);
		return 0;
	}
	if (load_logits(db, r->attempt_id, &mine, e) < 0)
		return -1;
	*why = compare_logits(&mine, &reference->logits, g);
	return 0;
}

static int judge(struct greta_db *db, const struct greta_gates *g, const struct result *r,
		 const struct reference *reference, char **why, struct greta_err *e)
{
	*why = NULL;
	if (!reference->result)
		*why = greta_format("gate: %s has no counted result at context %lld to compare with", g->logits_reference,
				    (long long)r->context);
	else if (g->same_top1)
		*why = compare("top1", r->top1, reference->result->top1, g->logits_reference);
	return *why ? 0 : judge_logits(db, g, r, reference, why, e);
}

static int reject(struct greta_db *db, const struct result *r, const char *why, int64_t *n_rejected, struct greta_err *e)
{
	int64_t now_counted;

	++*n_rejected;
	return greta_attempts_reject(db, r->attempt_id, "gate", why, &now_counted, e);
}

int gates_apply(struct greta_db *db, int64_t campaign_id, const struct greta_campaign *c, int64_t *n_rejected,
		struct greta_err *e)
{
	struct results results = {0};
	struct reference reference = {0};
	int rc;

	*n_rejected = 0;
	if (!c->gates.logits_reference)
		return 0;
	rc = results_load(db, campaign_id, c->gates.logits_reference, &results, e);
	for (size_t i = 0; i < results.n && rc == 0; i++) {
		const struct result *r = &results.items[i];
		cleanup_free char *why = NULL;

		if (i == 0 || r->context != results.items[i - 1].context)
			rc = take_reference(db, &c->gates, r, &reference, e);
		if (rc == 0)
			rc = judge(db, &c->gates, r, &reference, &why, e);
		if (rc == 0 && why)
			rc = reject(db, r, why, n_rejected, e);
	}
	greta_buf_release(&reference.logits);
	results_release(&results);
	return rc;
}

static int min_counted(struct greta_db *db, int64_t campaign_id, int64_t *out, struct greta_err *e)
{
	struct greta_campaign_row row = {0};
	struct greta_campaign c = {0};
	struct greta_problems problems = {0};

	*out = 0;
	if (greta_campaigns_get(db, campaign_id, &row, e) < 0)
		return -1;
	/* An import's text is no campaign file, and a search for a cause has no gates. */
	if (row.kind == GRETA_CAMPAIGN_SUBMIT &&
	    greta_campaign_parse(row.name, row.text, strlen(row.text), &c, &problems) == 0)
		*out = c.gates.min_counted;
	greta_campaign_release(&c);
	greta_problems_release(&problems);
	greta_campaign_row_release(&row);
	return 0;
}

int gates_verdict(struct greta_db *db, int64_t campaign_id, enum gates_verdict *out, struct greta_err *e)
{
	int64_t least, n_short = 0, n_gated = 0;

	if (min_counted(db, campaign_id, &least, e) < 0 ||
	    count(db, &n_gated, e, "SELECT count(*) FROM attempt a JOIN job j ON j.id = a.job_id WHERE j.campaign_id = ? "
		  "AND a.cause = 'gate' AND ?", campaign_id, 1) < 0 ||
	    count(db, &n_short, e, "SELECT count(*) FROM (SELECT count(counted_attempt) AS n FROM job WHERE "
		  "campaign_id = ? GROUP BY variant_id, context) WHERE n < ?", campaign_id, least) < 0)
		return -1;
	*out = n_gated || n_short ? GATES_FAILED : least ? GATES_ENOUGH : GATES_NONE;
	return 0;
}
