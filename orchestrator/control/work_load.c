/* Campaigns, jobs and open attempts out of the database: after a start, after a submit, after a commit that failed. */
#include "orchestrator/control/work.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "schemas/spec.h"

#include <math.h>
#include <string.h>

#define PAGE 5000

static struct sched_need need_of(const struct greta_campaign *spec)
{
	if (spec->slot == GRETA_SLOT_NODE)
		return (struct sched_need){.whole_node = true};
	if (spec->slot == GRETA_SLOT_GPU)
		return (struct sched_need){.gpus = spec->n_gpus > 0 ? spec->n_gpus : 1, .cpus = spec->cpus};
	return (struct sched_need){.cpus = spec->cpus};
}

static int by_id(const void *a, const void *b)
{
	int64_t x = ((const struct ctl_job *)a)->id, y = ((const struct ctl_job *)b)->id;

	return (x > y) - (x < y);
}

struct ctl_job *work_find_job(const struct ctl_campaign *cc, int64_t id)
{
	const struct ctl_job key = {.id = id};

	return cc->n_jobs ? bsearch(&key, cc->jobs, cc->n_jobs, sizeof *cc->jobs, by_id) : NULL;
}

static int variant_index(const struct ctl_campaign *cc, int64_t variant_id)
{
	for (size_t i = 0; i < cc->spec.n_variants; i++)
		if (cc->variant_ids[i] == variant_id)
			return (int)i;
	return -1;
}

static void add_jobs(struct ctl_campaign *cc, const struct greta_job_rows *rows, size_t *cap)
{
	for (size_t i = 0; i < rows->n; i++) {
		const struct greta_job_row *r = &rows->items[i];
		struct ctl_job *job = GRETA_PUSH(cc->jobs, cc->n_jobs, *cap);

		*job = (struct ctl_job){ .campaign = cc, .id = r->id, .context = r->context,
					 .repeat = r->repeat, .variant = variant_index(cc, r->variant_id),
					 .state = r->state, .n_tries = r->n_attempts,
					 .sched.position = r->position};
	}
}

static int load_outlived(struct ctl_campaign *cc, size_t *cap, struct greta_err *e)
{
	struct greta_job_rows rows = {0};
	int rc = greta_jobs_outlived(cc->ctl->db, cc->id, &rows, e);

	add_jobs(cc, &rows, cap);
	greta_job_rows_release(&rows);
	return rc;
}

static int load_state(struct ctl_campaign *cc, enum greta_job_state state, size_t *cap, struct greta_err *e)
{
	int64_t after = -1;

	for (;;) {
		struct greta_job_rows rows = {0};
		size_t n;

		if (greta_jobs_next(cc->ctl->db, cc->id, state, after, PAGE, &rows, e) < 0)
			return -1;
		n = rows.n;
		add_jobs(cc, &rows, cap);
		after = n ? rows.items[n - 1].position : after;
		greta_job_rows_release(&rows);
		if (n < PAGE)
			return 0;
	}
}

static int load_variants(struct ctl_campaign *cc, struct greta_err *e)
{
	struct greta_variant_rows rows = {0};

	cc->variant_ids = greta_alloc(cc->spec.n_variants * sizeof *cc->variant_ids + 1);
	if (greta_campaigns_variants(cc->ctl->db, cc->id, &rows, e) < 0)
		return -1;
	for (size_t i = 0; i < rows.n; i++)
		for (size_t v = 0; v < cc->spec.n_variants; v++)
			if (greta_str_eq(rows.items[i].name, cc->spec.variants[v].name))
				cc->variant_ids[v] = rows.items[i].id;
	greta_variant_rows_release(&rows);
	return 0;
}

/* What earlier campaigns of this name took, and what this one took before we came. */
static int load_durations(struct ctl_campaign *cc, struct greta_err *e)
{
	static const char sql[] =
		"SELECT v.name, j.context, avg(a.wall_s), c.id = ? FROM campaign c JOIN variant v ON v.campaign_id = c.id "
		"JOIN job j ON j.variant_id = v.id JOIN attempt a ON a.job_id = j.id "
		"WHERE c.id IN (SELECT id FROM campaign WHERE name = ? AND mode = ? ORDER BY id DESC LIMIT 5) "
		"AND a.outcome = 'ok' GROUP BY 4, 1, 2 ORDER BY 4";
	cleanup_query struct greta_query *q =
		greta_query_open(cc->ctl->db, e, sql, "iss", cc->id, cc->spec.name, greta_mode_name(cc->spec.mode));
	int rc;

	if (!q)
		return -1;
	while ((rc = greta_query_step(q, e)) == 1)
		for (size_t v = 0; v < cc->spec.n_variants; v++)
			if (greta_str_eq(greta_query_str(q, 0), cc->spec.variants[v].name))
				eta_add(cc->eta, v, greta_query_i64(q, 1), greta_query_f64(q, 2),
					!greta_query_i64(q, 3));
	return rc;
}

static int parse_spec(struct ctl_campaign *cc, const struct greta_campaign_row *row, struct greta_err *e)
{
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf text = {0};
	int rc = greta_campaign_parse(row->name, row->text, strlen(row->text), &cc->spec, &problems);

	if (rc < 0) {
		greta_problems_print(&problems, row->name, &text);
		greta_err_set(e, GRETA_EINVAL, "campaign %lld can't be read back: %.300s", (long long)row->id,
			      greta_buf_str(&text));
	}
	greta_problems_release(&problems);
	return rc;
}

static void make_queue(struct ctl_campaign *cc)
{
	struct ctl *c = cc->ctl;
	struct greta_err why = {0};

	cc->need = need_of(&cc->spec);
	cc->sched = sched_campaign_add(c->sched, cc->id, cc->spec.priority, cc->need, cc->spec.max_jobs_per_node);
	cc->sets = greta_alloc(cc->spec.n_variants * sizeof *cc->sets + 1);
	cc->set_args = greta_alloc(cc->spec.n_variants * sizeof *cc->set_args + 1);
	cc->environments = greta_alloc(cc->spec.n_variants * sizeof *cc->environments + 1);
	cc->lacks = greta_alloc(cc->spec.n_variants * sizeof *cc->lacks + 1);
	for (size_t v = 0; v < cc->spec.n_variants; v++) {
		cc->set_args[v] = (struct ctl_set){cc, (int)v};
		cc->sets[v] = sched_set_add(cc->sched, work_set_allows, &cc->set_args[v]);
		if (gpus_matter(cc, (int)v))
			sched_set_suits(cc->sets[v], gpus_suit);
		if (greta_spec_check_env(&cc->spec, v, &why) < 0)
			cc->lacks[v] = greta_strdup(why.text);
	}
}

/* Jobs go in by position, which sched_enqueue likes best. */
static int by_position(const void *a, const void *b)
{
	int64_t x = (*(struct ctl_job *const *)a)->sched.position, y = (*(struct ctl_job *const *)b)->sched.position;

	return (x > y) - (x < y);
}

void work_want(struct ctl_campaign *cc)
{
	struct ctl_job **queue = greta_alloc(cc->n_jobs * sizeof *queue + 1);
	size_t n = 0;

	cc->hopeless = false;
	for (size_t i = 0; i < cc->n_jobs; i++)
		if (!cc->wanted && !cc->is_rca && cc->jobs[i].state == GRETA_JOB_QUEUED && cc->jobs[i].variant >= 0)
			queue[n++] = &cc->jobs[i];
	qsort(queue, n, sizeof *queue, by_position);
	for (size_t i = 0; i < n; i++)
		sched_enqueue(cc->sets[queue[i]->variant], &queue[i]->sched);
	free(queue);
	cc->wanted = true;
	cc->loaded_ns = greta_clock_mono_ns();
	work_rca(cc);
}

static int campaign_load(struct ctl_campaign *cc, struct greta_err *e)
{
	struct greta_campaign_row row = {0};
	size_t cap = 0;
	int rc;

	if (greta_campaigns_get(cc->ctl->db, cc->id, &row, e) < 0)
		return -1;
	greta_str_copy(cc->uuid, sizeof cc->uuid, row.uuid);
	cc->base_dir = greta_strdup(row.base_dir);
	cc->submitted_ns = greta_clock_mono_ns() - (greta_clock_wall_ns() - row.submitted_ns);
	cc->cancelled = row.state == GRETA_CAMPAIGN_CANCELLED;
	cc->is_rca = row.kind == GRETA_CAMPAIGN_RCA;
	rc = parse_spec(cc, &row, e);
	greta_campaign_row_release(&row);
	if (rc < 0)
		return -1;
	cc->eta = eta_create(cc->spec.n_variants);
	if (load_variants(cc, e) < 0 || load_durations(cc, e) < 0 || gpus_load(cc, e) < 0 ||
	    load_state(cc, GRETA_JOB_QUEUED, &cap, e) < 0 || load_state(cc, GRETA_JOB_RUNNING, &cap, e) < 0 ||
	    load_outlived(cc, &cap, e) < 0 ||
	    greta_campaigns_counts(cc->ctl->db, cc->id, &cc->counts, e) < 0)
		return -1;
	if (cc->n_jobs)
		qsort(cc->jobs, cc->n_jobs, sizeof *cc->jobs, by_id);
	make_queue(cc);
	return 0;
}

struct ctl_campaign *work_add(struct ctl *c, int64_t campaign_id, struct greta_err *e)
{
	struct ctl_campaign *cc = work_find(c, campaign_id), **at = &c->campaigns;

	if (cc)
		return cc;
	cc = greta_alloc(sizeof *cc);
	cc->ctl = c;
	cc->id = campaign_id;
	cc->eta_s = cc->eta_low_s = cc->eta_high_s = NAN;
	if (campaign_load(cc, e) < 0) {
		work_campaign_destroy(cc);
		return NULL;
	}
	while (*at)
		at = &(*at)->next;
	*at = cc;
	return cc;
}

/* An open attempt whose campaign is not active: cancelled, and its node has not heard of it. */
static int adopt_open(struct ctl *c, const struct greta_attempt_row *row, struct greta_err *e)
{
	struct ctl_node *n = fleet_by_alias(c, row->alias_id);
	struct ctl_attempt *a;

	if (!n) {
		greta_warn("attempt %s is open but has no node: ended as lost", row->uuid);
		return greta_attempts_end_here(c->db, row->id, GRETA_OUTCOME_LOST, "node", "its node was removed", e);
	}
	if (!work_find(c, row->campaign_id) && !work_add(c, row->campaign_id, e))
		return -1;
	a = work_adopt(c, n, row);
	if (gpus_adopt(a, e) < 0)
		return -1;
	n->wanted = true;
	if (a->job && work_find(c, row->campaign_id)->cancelled)
		a->cancel_asked = true;
	return 0;
}

static int load_attempts(struct ctl *c, struct greta_err *e)
{
	struct greta_attempt_rows rows = {0};
	int rc = greta_attempts_open(c->db, &rows, e);

	for (size_t i = 0; i < rows.n && rc == 0; i++)
		rc = adopt_open(c, &rows.items[i], e);
	greta_attempt_rows_release(&rows);
	return rc;
}

/* A job that the database calls running without an open attempt has lost it between two releases: it waits again. */
static int requeue_orphans(struct ctl_campaign *cc, struct greta_err *e)
{
	for (size_t i = 0; i < cc->n_jobs; i++) {
		struct ctl_job *job = &cc->jobs[i];

		if (job->state != GRETA_JOB_RUNNING || job->n_open)
			continue;
		if (greta_jobs_set_state(cc->ctl->db, job->id, GRETA_JOB_QUEUED, NULL, e) < 0)
			return -1;
		job->state = GRETA_JOB_QUEUED;
		cc->counts.by_state[GRETA_JOB_RUNNING]--;
		cc->counts.by_state[GRETA_JOB_QUEUED]++;
	}
	return 0;
}

int work_load(struct ctl *c, struct greta_err *e)
{
	struct greta_campaign_rows rows = {0};
	int rc = greta_campaigns_active(c->db, &rows, e);

	for (size_t i = 0; i < rows.n && rc == 0; i++)
		rc = work_add(c, rows.items[i].id, e) ? 0 : -1;
	greta_campaign_rows_release(&rows);
	if (rc == 0)
		rc = load_attempts(c, e);
	for (struct ctl_campaign *cc = c->campaigns; cc && rc == 0; cc = cc->next)
		rc = requeue_orphans(cc, e);
	return rc;
}
