#include "orchestrator/analysis/regress.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "db/records.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- series */

static struct regress_series *series_of(struct regress *r, const char *variant, int64_t context)
{
	for (size_t i = 0; i < r->n_series; i++)
		if (r->series[i].context == context && greta_str_eq(r->series[i].variant, variant))
			return &r->series[i];
	struct regress_series *s = GRETA_PUSH(r->series, r->n_series, r->cap_series);
	s->variant = variant;
	s->context = context;
	return s;
}

static bool in_cell(const struct history_run *r, const struct history_run *cell)
{
	return r->context == cell->context && greta_str_eq(r->kind->variant, cell->kind->variant) &&
	       history_comparable(r->kind, cell->kind);
}

/* Campaign by campaign: runs come in that order. */
static void add_points(struct regress_series *s, const struct history *h, const struct history_run *cell)
{
	for (size_t i = 0, k; i < h->n; i = k) {
		struct stats_sample runs = {0};
		int64_t ended_ns = 0;
		for (k = i; k < h->n && h->items[k].kind->campaign_id == h->items[i].kind->campaign_id; k++)
			if (in_cell(&h->items[k], cell)) {
				stats_add(&runs, h->items[k].prefill_s);
				ended_ns = h->items[k].ended_ns;
			}
		if (runs.n)
			*GRETA_PUSH(s->points, s->n, s->cap) = (struct regress_point){
				h->items[i].kind->campaign_id, ended_ns, h->items[i].kind->campaign, stats_median(&runs).median, runs.n};
		stats_release(&runs);
	}
}

static void find_changes(const struct regress_series *s, size_t n, struct changes *out)
{
	double *x = greta_alloc((n + 1) * sizeof *x);
	for (size_t i = 0; i < n; i++)
		x[i] = s->points[i].median;
	changes_find(x, n, out);
	free(x);
}

/* ---- what a cell is compared with */

static void add_yardstick(struct regress *r, struct compare_cell *cell, const struct history_run *like,
			  const struct regress_series *s, size_t n_past)
{
	struct changes before;
	find_changes(s, n_past, &before);
	size_t from = before.n ? before.items[before.n - 1].at : 0;
	changes_release(&before);
	for (size_t i = from; i < n_past; i++)
		stats_add(&cell->before, s->points[i].median);
	for (size_t i = 0; n_past && i < r->past.n; i++) {
		const struct history_run *run = &r->past.items[i];
		bool recent = false;
		if (!in_cell(run, like))
			continue;
		for (size_t k = from; k < n_past; k++)
			recent |= s->points[k].campaign_id == run->kind->campaign_id;
		if (!recent)
			continue;
		stats_add(&cell->a, run->prefill_s);
		*GRETA_PUSH(r->yardstick.items, r->yardstick.n, r->yardstick.cap) = *run;
	}
}

static void add_cell(struct regress *r, const struct history_run *like)
{
	struct compare_cell *cell = compare_cell(&r->cells, like->kind->variant, like->context);
	if (cell->b.n)
		return;
	struct regress_series *s = series_of(r, like->kind->variant, like->context);
	for (size_t i = 0; i < r->runs.n; i++)
		if (in_cell(&r->runs.items[i], like))
			stats_add(&cell->b, r->runs.items[i].prefill_s);
	add_points(s, &r->past, like);
	size_t n_past = s->n;
	add_points(s, &r->runs, like);
	find_changes(s, s->n, &s->changes);
	add_yardstick(r, cell, like, s, n_past);
}

/* What nobody verified is no yardstick: a prompt that was cut looks fast. */
static void drop_unverified(struct regress *r)
{
	size_t kept = 0;
	for (size_t i = 0; i < r->past.n; i++)
		if (r->past.items[i].verified)
			r->past.items[kept++] = r->past.items[i];
	r->n_unverified = r->past.n - kept;
	r->past.n = kept;
}

static size_t n_campaigns(const struct history *h)
{
	size_t n = 0;
	for (size_t i = 0; i < h->n; i++)
		n += i == 0 || h->items[i].kind->campaign_id != h->items[i - 1].kind->campaign_id;
	return n;
}

static int load_history(struct greta_db *db, struct regress *r, struct greta_err *e)
{
	struct history_filter f = {.before_campaign_id = r->campaign_id, .last_campaigns = REGRESS_PAST_CAMPAIGNS,
				   .mode = r->runs.items[0].kind->mode, .with_marked = r->with_marked};
	if (history_load(db, &f, &r->past, e))
		return -1;
	drop_unverified(r);
	size_t n = n_campaigns(&r->past);
	r->against = greta_format("%zu earlier campaign%s", n, n == 1 ? "" : "s");
	return 0;
}

/* A copy of each of the first n runs, as if it were of that variant. */
static void add_as(struct history *h, size_t n, size_t n_kinds, const char *variant)
{
	size_t first = h->n_kinds;
	for (size_t k = 0; k < n_kinds; k++) {
		struct history_kind *copy = greta_alloc(sizeof *copy);
		*copy = *h->kinds[k];
		copy->variant = variant;
		*GRETA_PUSH(h->kinds, h->n_kinds, h->cap_kinds) = copy;
	}
	for (size_t i = 0; i < n; i++) {
		struct history_run run = h->items[i];
		size_t k = 0;
		while (h->kinds[k] != run.kind)
			k++;
		run.kind = h->kinds[first + k];
		*GRETA_PUSH(h->items, h->n, h->cap) = run;
	}
}

/* A baseline's one variant stands for each variant of the campaign: its runs take their names. */
static void spread_variant(struct regress *r)
{
	struct history *past = &r->past;
	size_t n = past->n, n_kinds = past->n_kinds;
	for (size_t i = 0; i < r->runs.n_kinds; i++) {
		bool known = false;
		for (size_t k = 0; k < i; k++)
			known |= greta_str_eq(r->runs.kinds[k]->variant, r->runs.kinds[i]->variant);
		if (!known)
			add_as(past, n, n_kinds, r->runs.kinds[i]->variant);
	}
	past->n -= n;
	if (past->n)
		memmove(past->items, past->items + n, past->n * sizeof *past->items);
}

static int load_baseline(struct greta_db *db, const char *name, struct regress *r, struct greta_err *e)
{
	struct greta_baseline_rows rows = {0};
	if (greta_baselines_list(db, &rows, e))
		return -1;
	const struct greta_baseline_row *found = NULL;
	for (size_t i = 0; i < rows.n; i++)
		if (greta_str_eq(rows.items[i].name, name))
			found = &rows.items[i];
	int rc = -1;
	if (found) {
		struct history_filter f = {.campaign_id = found->campaign_id, .variant = found->variant,
					   .with_marked = r->with_marked};
		r->against = greta_format("baseline %s (%s%s%s)", name, found->campaign, found->variant ? ":" : "",
					  found->variant ? found->variant : "");
		rc = history_load(db, &f, &r->past, e);
		if (rc == 0)
			drop_unverified(r);
		if (rc == 0 && found->variant)
			spread_variant(r);
	} else {
		greta_err_set(e, GRETA_EINVAL, "there is no baseline '%s' (greta-orch baseline list shows them)", name);
	}
	greta_baseline_rows_release(&rows);
	return rc;
}

/* ---- all cells */

static int load_campaign(struct greta_db *db, struct regress *r, struct greta_err *e)
{
	struct greta_campaign_row row;
	struct history_filter f = {.campaign_id = r->campaign_id, .with_marked = r->with_marked};
	if (greta_campaigns_get(db, r->campaign_id, &row, e))
		return -1;
	r->campaign = greta_strdup(row.name);
	greta_campaign_row_release(&row);
	return history_load(db, &f, &r->runs, e);
}

static int by_cell(const void *a, const void *b)
{
	const struct regress_series *x = a, *y = b;
	int order = strcmp(x->variant, y->variant);
	return order ? order : (x->context > y->context) - (x->context < y->context);
}

int regress_make(struct greta_db *db, int64_t campaign_id, const struct regress_how *how, struct regress *out,
		 struct greta_err *e)
{
	*out = (struct regress){.campaign_id = campaign_id, .with_marked = how->with_marked};
	int rc = load_campaign(db, out, e);
	if (rc == 0 && out->runs.n)
		rc = how->baseline ? load_baseline(db, how->baseline, out, e) : load_history(db, out, e);
	for (size_t i = 0; rc == 0 && i < out->runs.n; i++)
		add_cell(out, &out->runs.items[i]);
	if (rc == 0) {
		compare_judge(&out->cells, how->threshold > 0 ? how->threshold : COMPARE_THRESHOLD);
		if (out->n_series)
			qsort(out->series, out->n_series, sizeof *out->series, by_cell);
		rc = envdiff_make(db, &out->yardstick, &out->runs, &out->past, &out->differs, e);
	}
	if (rc)
		regress_release(out);
	return rc;
}

void regress_release(struct regress *r)
{
	for (size_t i = 0; i < r->n_series; i++) {
		changes_release(&r->series[i].changes);
		free(r->series[i].points);
	}
	free(r->series);
	free(r->yardstick.items);
	compare_release(&r->cells);
	envdiff_release(&r->differs);
	history_release(&r->runs);
	history_release(&r->past);
	free(r->campaign);
	free(r->against);
	*r = (struct regress){0};
}

size_t regress_count(const struct regress *r, enum compare_verdict v)
{
	size_t n = 0;
	for (size_t i = 0; i < r->cells.n; i++)
		n += r->cells.items[i].verdict == v;
	return n;
}

bool regress_has_yardstick(const struct regress *r)
{
	return r->yardstick.n > 0;
}

/* ---- words */

/* Where a campaign shifted many cells, it is said once. */
struct shift {
	const struct regress_series *first;
	const struct regress_point *point;
	size_t n_cells;
	double least, most, p; /* ratios; the largest p */
};

static struct shift *shift_at(struct shift *all, size_t *n, const struct regress_series *s, const struct regress_point *p)
{
	for (size_t i = 0; i < *n; i++)
		if (all[i].point->campaign_id == p->campaign_id)
			return &all[i];
	all[*n] = (struct shift){.first = s, .point = p, .least = INFINITY};
	return &all[(*n)++];
}

static void say_shift(const struct shift *s, struct greta_buf *out)
{
	const struct regress_point *p = s->point;
	char when[GRETA_ISO_LEN + 1];
	greta_buf_addf(out, "%s at %" PRId64, s->first->variant, s->first->context);
	if (s->n_cells == 1)
		greta_buf_addf(out, ": its history shifts by %.3gx", s->most);
	else
		greta_buf_addf(out, " and %zu more: their history shifts by %.3gx to %.3gx", s->n_cells - 1, s->least, s->most);
	greta_buf_addf(out, " with campaign %s (%" PRId64 ", %.10s), p %s %.3f\n", p->campaign, p->campaign_id,
		       p->ended_ns ? greta_clock_iso(when, p->ended_ns) : "no date", s->n_cells == 1 ? "=" : "at most", s->p);
}

static void say_changes(const struct regress *r, struct greta_buf *out)
{
	size_t n = 0, most = 0;
	for (size_t i = 0; i < r->n_series; i++)
		most += r->series[i].changes.n;
	struct shift *all = greta_alloc((most + 1) * sizeof *all);
	for (size_t i = 0; i < r->n_series; i++)
		for (size_t k = 0; k < r->series[i].changes.n; k++) {
			const struct change *c = &r->series[i].changes.items[k];
			struct shift *s = shift_at(all, &n, &r->series[i], &r->series[i].points[c->at]);
			s->n_cells++;
			s->least = fmin(s->least, c->ratio);
			s->most = fmax(s->most, c->ratio);
			s->p = fmax(s->p, c->p);
		}
	for (size_t i = 0; i < n; i++)
		say_shift(&all[i], out);
	free(all);
}

static void say_differences(const struct regress *r, struct greta_buf *out)
{
	bool moved = regress_count(r, COMPARE_SLOWER) + regress_count(r, COMPARE_FASTER) +
			     regress_count(r, COMPARE_SUSPECTED_SLOWER) + regress_count(r, COMPARE_SUSPECTED_FASTER) > 0;
	if (!moved)
		return;
	for (size_t i = 0; i < r->differs.n && i < 8; i++) {
		const struct envdiff_item *d = &r->differs.items[i];
		greta_buf_addf(out, "%s differs: %s before, %s now", d->key, d->a, d->b);
		if (!isnan(d->explains))
			greta_buf_addf(out, " (explains %.0f %% of history)", 100 * d->explains);
		greta_buf_addc(out, '\n');
	}
	if (r->differs.same_code)
		greta_buf_adds(out, "code and command are the same: this is drift of the environment, not of the engine\n");
	else if (r->differs.n == 0)
		greta_buf_adds(out, "nothing that is recorded of environment, build, model or node differs\n");
}

static void say_marked(const char *of, const struct validity_tally *t, bool included, struct greta_buf *out)
{
	if (t->total == 0)
		return;
	greta_buf_addf(out, "%s: ", of);
	validity_tally_text(t, included, out);
}

void regress_words(const struct regress *r, struct greta_buf *out)
{
	if (r->runs.n == 0) {
		greta_buf_addf(out, "%s has no counted run%s, so nothing can be said about it\n", r->campaign,
			       r->runs.marked.total ? " that is not marked" : "");
		say_marked(r->campaign, &r->runs.marked, r->with_marked, out);
		return;
	}
	if (!regress_has_yardstick(r))
		greta_buf_addf(out, "there is nothing comparable to hold %s against in %s\n", r->campaign, r->against);
	else
		compare_words(&r->cells, out);
	if (r->n_unverified)
		greta_buf_addf(out, "%zu earlier runs are no yardstick: nothing says how many tokens they prefilled\n",
			       r->n_unverified);
	say_marked(r->campaign, &r->runs.marked, r->with_marked, out);
	say_marked("history", &r->past.marked, r->with_marked, out);
	if (regress_has_yardstick(r))
		say_differences(r, out);
	say_changes(r, out);
}

static const char *headline(const struct regress *r)
{
	if (!regress_has_yardstick(r))
		return "Nothing to compare with";
	if (regress_count(r, COMPARE_SLOWER))
		return "Regression";
	return regress_count(r, COMPARE_SUSPECTED_SLOWER) ? "Regression suspected" : "No regression found";
}

void regress_markdown(const struct regress *r, struct greta_buf *out)
{
	cleanup_buf struct greta_buf words = {0};
	struct table *cells = compare_table(&r->cells), *differs = envdiff_table(&r->differs);
	greta_buf_addf(out, "### %s: %s\n\n", headline(r), r->campaign);
	if (r->against)
		greta_buf_addf(out, "B is %s, A is %s.\n\n", r->campaign, r->against);
	regress_words(r, &words);
	for (const char *line = greta_buf_str(&words); *line;) {
		size_t n = strcspn(line, "\n");
		greta_buf_addf(out, "- %.*s\n", (int)n, line);
		line += n + (line[n] == '\n');
	}
	if (table_rows(cells)) {
		greta_buf_addc(out, '\n');
		table_print_markdown(cells, out);
	}
	if (table_rows(differs)) {
		greta_buf_addc(out, '\n');
		table_print_markdown(differs, out);
	}
	table_destroy(cells);
	table_destroy(differs);
}

/* ---- JUnit */

static void add_xml(struct greta_buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '&')
			greta_buf_adds(out, "&amp;");
		else if (*text == '<')
			greta_buf_adds(out, "&lt;");
		else if (*text == '"')
			greta_buf_adds(out, "&quot;");
		else if ((unsigned char)*text < 0x20)
			greta_buf_addc(out, ' '); /* XML 1.0 has no way to write most of them */
		else
			greta_buf_addc(out, *text);
	}
}

static void add_case(const struct compare_cell *c, struct greta_buf *out)
{
	greta_buf_adds(out, "    <testcase classname=\"");
	add_xml(out, c->variant);
	greta_buf_addf(out, "\" name=\"context %" PRId64 "\" time=\"%.6g\">", c->context, isnan(c->median_b) ? 0 : c->median_b);
	if (c->verdict == COMPARE_SLOWER)
		greta_buf_addf(out, "<failure message=\"%.3gx slower: %.5g s to %.5g s\"/>", c->ratio, c->median_a, c->median_b);
	else if (c->verdict != COMPARE_FASTER && c->verdict != COMPARE_SAME)
		greta_buf_addf(out, "<skipped message=\"%s\"/>", compare_verdict_name(c->verdict));
	greta_buf_adds(out, "</testcase>\n");
}

void regress_junit(const struct regress *r, struct greta_buf *out)
{
	size_t skipped = r->cells.n - regress_count(r, COMPARE_SLOWER) - regress_count(r, COMPARE_FASTER) -
			 regress_count(r, COMPARE_SAME);
	cleanup_buf struct greta_buf words = {0};
	greta_buf_adds(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"");
	add_xml(out, r->campaign);
	greta_buf_addf(out, "\" tests=\"%zu\" failures=\"%zu\" skipped=\"%zu\" errors=\"0\">\n", r->cells.n,
		       regress_count(r, COMPARE_SLOWER), skipped);
	for (size_t i = 0; i < r->cells.n; i++)
		add_case(&r->cells.items[i], out);
	regress_words(r, &words);
	greta_buf_adds(out, "    <system-out>");
	for (const char *s = greta_buf_str(&words); *s; s++) {
		char one[2] = {*s, 0};
		if (*s == '\n')
			greta_buf_addc(out, '\n');
		else
			add_xml(out, one);
	}
	greta_buf_adds(out, "</system-out>\n  </testsuite>\n</testsuites>\n");
}

int regress_after_campaign(struct greta_db *db, int64_t campaign_id, struct greta_buf *out, bool *regressed,
			   struct greta_err *e)
{
	struct regress r;
	if (regress_make(db, campaign_id, &(struct regress_how){0}, &r, e))
		return -1;
	if (regress_has_yardstick(&r)) {
		greta_buf_addf(out, "against %s: ", r.against);
		regress_words(&r, out);
	}
	if (regressed)
		*regressed = regress_count(&r, COMPARE_SLOWER) > 0;
	regress_release(&r);
	return 0;
}
