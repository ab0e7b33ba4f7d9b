/* Campaigns, jobs and attempts in memory: loaded from the database, moved by job_fsm, put on nodes by sched. */
#include "orchestrator/ctl.h"

#include "base/clock.h"
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include "orchestrator/gates.h"
#include "schemas/spec.h"

#include <math.h>
#include <string.h>

#define TRIES_MAX 20     /* of one job, free retries included: never infinite */
#define INFRA_IN_A_ROW 6 /* then the node is put aside */
#define PAGE 5000

struct ctl_set {
	struct ctl_campaign *campaign;
	int variant;
};

#define node_of(s) ((struct ctl_node *)((char *)(s) - offsetof(struct ctl_node, sched)))
#define job_of(s) ((struct ctl_job *)((char *)(s) - offsetof(struct ctl_job, sched)))

/* ---- which nodes */

static bool label_matches(const struct ctl_node *n, const char *wanted)
{
	struct greta_json *j = greta_json_parse("labels", n->labels, strlen(n->labels), NULL);
	const char *equal = strchr(wanted, '='), *value = NULL;
	cleanup_free char *key = greta_strndup(wanted, equal ? (size_t)(equal - wanted) : strlen(wanted));
	bool matches = j && greta_json_str(greta_json_get(greta_json_root(j), key), &value) == 0 &&
		       (!equal || greta_str_eq(value, equal + 1));

	greta_json_destroy(j);
	return matches;
}

static bool named(const struct greta_strs *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (greta_str_eq(names->items[i], name))
			return true;
	return names->n == 0;
}

bool work_may_use(const struct ctl_campaign *cc, const struct ctl_node *n)
{
	if (!named(&cc->spec.nodes, n->name))
		return false;
	for (size_t i = 0; i < cc->spec.labels.n; i++)
		if (!label_matches(n, cc->spec.labels.items[i]))
			return false;
	return true;
}

bool work_may_use_for(const struct ctl_campaign *cc, int variant, const struct ctl_node *n)
{
	return work_may_use(cc, n) && named(&cc->spec.variants[variant].nodes, n->name);
}

static bool set_allows(const struct sched_node *sn, const void *arg)
{
	const struct ctl_set *set = arg;
	struct ctl_node *n = node_of(sn);
	const char *why;

	return work_may_use_for(set->campaign, set->variant, n) &&
	       prepare_check(n, set->campaign, set->variant, &why) == PREPARE_READY;
}

/* ---- loading */

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

static struct ctl_job *find_job(const struct ctl_campaign *cc, int64_t id)
{
	const struct ctl_job key = {.id = id};

	return bsearch(&key, cc->jobs, cc->n_jobs, sizeof *cc->jobs, by_id);
}

static int variant_index(const struct ctl_campaign *cc, int64_t variant_id)
{
	for (size_t i = 0; i < cc->spec.n_variants; i++)
		if (cc->variant_ids[i] == variant_id)
			return (int)i;
	return -1;
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
		for (size_t i = 0; i < n; i++) {
			const struct greta_job_row *r = &rows.items[i];
			struct ctl_job *job = GRETA_PUSH(cc->jobs, cc->n_jobs, *cap);

			*job = (struct ctl_job){ .campaign = cc, .id = r->id, .context = r->context,
						 .repeat = r->repeat, .variant = variant_index(cc, r->variant_id),
						 .state = state, .n_tries = r->n_attempts,
						 .sched.position = r->position};
			after = r->position;
		}
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

	cc->need = need_of(&cc->spec);
	cc->sched = sched_campaign_add(c->sched, cc->id, cc->spec.priority, cc->need, cc->spec.max_jobs_per_node);
	cc->sets = greta_alloc(cc->spec.n_variants * sizeof *cc->sets + 1);
	cc->set_args = greta_alloc(cc->spec.n_variants * sizeof *cc->set_args + 1);
	cc->environments = greta_alloc(cc->spec.n_variants * sizeof *cc->environments + 1);
	for (size_t v = 0; v < cc->spec.n_variants; v++) {
		cc->set_args[v] = (struct ctl_set){cc, (int)v};
		cc->sets[v] = sched_set_add(cc->sched, set_allows, &cc->set_args[v]);
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
		if (!cc->wanted && cc->jobs[i].state == GRETA_JOB_QUEUED && cc->jobs[i].variant >= 0)
			queue[n++] = &cc->jobs[i];
	qsort(queue, n, sizeof *queue, by_position);
	for (size_t i = 0; i < n; i++)
		sched_enqueue(cc->sets[queue[i]->variant], &queue[i]->sched);
	free(queue);
	cc->wanted = true;
	cc->loaded_ns = greta_clock_mono_ns();
}

static void campaign_destroy(struct ctl_campaign *cc)
{
	if (cc->sched)
		sched_campaign_remove(cc->sched);
	greta_campaign_release(&cc->spec);
	eta_destroy(cc->eta);
	free(cc->base_dir);
	free(cc->why);
	free(cc->sets);
	free(cc->set_args);
	free(cc->variant_ids);
	free(cc->environments);
	free(cc->jobs);
	free(cc);
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
	cc->submitted_ns = row.submitted_ns;
	cc->cancelled = row.state == GRETA_CAMPAIGN_CANCELLED;
	rc = parse_spec(cc, &row, e);
	greta_campaign_row_release(&row);
	if (rc < 0)
		return -1;
	cc->eta = eta_create(cc->spec.n_variants);
	if (load_variants(cc, e) < 0 || load_durations(cc, e) < 0 ||
	    load_state(cc, GRETA_JOB_QUEUED, &cap, e) < 0 || load_state(cc, GRETA_JOB_RUNNING, &cap, e) < 0 ||
	    greta_campaigns_counts(cc->ctl->db, cc->id, &cc->counts, e) < 0)
		return -1;
	qsort(cc->jobs, cc->n_jobs, sizeof *cc->jobs, by_id);
	make_queue(cc);
	return 0;
}

struct ctl_campaign *work_find(struct ctl *c, int64_t campaign_id)
{
	struct ctl_campaign *cc = c->campaigns;

	while (cc && cc->id != campaign_id)
		cc = cc->next;
	return cc;
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
		campaign_destroy(cc);
		return NULL;
	}
	while (*at)
		at = &(*at)->next;
	*at = cc;
	return cc;
}

/* ---- attempts */

struct ctl_attempt *work_attempt(struct ctl_node *n, const char *uuid)
{
	for (size_t i = 0; i < n->n_attempts; i++)
		if (!strcmp(n->attempts[i]->uuid, uuid))
			return n->attempts[i];
	return NULL;
}

static struct ctl_attempt *attempt_new(struct ctl_node *n, struct ctl_job *job)
{
	struct ctl_attempt *a = greta_alloc(sizeof *a);

	a->node = n;
	a->job = job;
	a->planned_ns = greta_clock_mono_ns();
	if (job)
		a->budget_s = greta_campaign_timeout_s(&job->campaign->spec, job->context);
	*GRETA_PUSH(n->attempts, n->n_attempts, n->cap_attempts) = a;
	return a;
}

static bool is_open(const struct ctl_attempt *a)
{
	return a->state < GRETA_ATTEMPT_ENDED;
}

struct ctl_attempt *work_adopt(struct ctl *c, struct ctl_node *n, const struct greta_attempt_row *row)
{
	struct ctl_campaign *cc = work_find(c, row->campaign_id);
	struct ctl_attempt *a = attempt_new(n, cc ? find_job(cc, row->job_id) : NULL);

	greta_str_copy(a->uuid, sizeof a->uuid, row->uuid);
	a->id = row->id;
	a->try_no = row->try_no;
	a->state = row->state;
	a->outcome = row->outcome;
	a->applied_seq = a->acknowledged_seq = row->committed_seq;
	a->progress.phase = row->phase;
	a->progress.t_s = NAN;
	if (a->job && is_open(a)) {
		a->job->n_open++;
		a->job->campaign->n_open++;
		a->cancel_asked = a->job->state == GRETA_JOB_CANCELLED;
		sched_charge(a->job->campaign->sched, &n->sched);
		a->charged = true;
	}
	return a;
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

static void attempt_destroy(struct ctl_attempt *a)
{
	free(a->verdict);
	free(a->waiting_for);
	free(a->slot);
	free(a);
}

void work_forget(struct ctl_attempt *a)
{
	struct ctl_node *n = a->node;

	for (size_t i = 0; i < n->n_attempts; i++) {
		if (n->attempts[i] != a)
			continue;
		n->attempts[i] = n->attempts[--n->n_attempts];
		break;
	}
	attempt_destroy(a);
}

void work_release(struct ctl *c)
{
	for (size_t i = 0; i < c->n_nodes; i++) {
		for (size_t k = 0; k < c->nodes[i]->n_attempts; k++)
			attempt_destroy(c->nodes[i]->attempts[k]);
		c->nodes[i]->n_attempts = 0;
	}
	while (c->campaigns) {
		struct ctl_campaign *cc = c->campaigns;

		c->campaigns = cc->next;
		campaign_destroy(cc);
	}
}

bool work_left(const struct ctl *c)
{
	for (const struct ctl_campaign *cc = c->campaigns; cc; cc = cc->next)
		if (cc->wanted && !cc->finished && !cc->hopeless)
			return true;
	return false;
}

static void detach_attempts(struct ctl *c, const struct ctl_campaign *cc)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		for (size_t k = 0; k < c->nodes[i]->n_attempts; k++)
			if (c->nodes[i]->attempts[k]->job && c->nodes[i]->attempts[k]->job->campaign == cc)
				c->nodes[i]->attempts[k]->job = NULL;
}

void work_reap(struct ctl *c)
{
	struct ctl_campaign **at = &c->campaigns;

	while (*at) {
		struct ctl_campaign *cc = *at;

		if (!cc->finished || cc->n_open || c->batch.open || control_watched(c, cc->id)) {
			at = &cc->next;
			continue;
		}
		*at = cc->next;
		detach_attempts(c, cc);
		campaign_destroy(cc);
	}
}

/* ---- what is said to nodes, after the commit */

static void send_start(struct ctl_attempt *a)
{
	struct greta_spec spec = {0};
	struct greta_err why = {0};
	struct greta_msg m = {.type = GRETA_MSG_START, .spec = &spec, .seq = a->applied_seq};

	if (prepare_spec(a, &spec, &why) < 0)
		work_end_here(a, ATTEMPT_EV_REFUSED, GRETA_OUTCOME_INFRA, "spec", why.text);
	else
		a->start_re = link_ask(a->node->link, &m);
	greta_spec_release(&spec);
}

static void send_attempt(struct ctl_attempt *a, enum greta_msg_type type, const char *text)
{
	struct greta_msg m = {.type = type, .seq = a->applied_seq, .text = (char *)text};

	greta_str_copy(m.attempt, sizeof m.attempt, a->uuid);
	link_ask(a->node->link, &m);
}

void work_do(struct ctl_attempt *a)
{
	enum attempt_action todo = a->todo;

	a->todo = ATTEMPT_DO_NONE;
	switch (todo) {
	case ATTEMPT_DO_START:
		send_start(a);
		break;
	case ATTEMPT_DO_ATTACH:
	case ATTEMPT_DO_RECLAIM:
		a->credit = 0;
		send_attempt(a, GRETA_MSG_ATTACH, NULL);
		break;
	case ATTEMPT_DO_CANCEL:
		break;
	default:
		return;
	}
	if (a->cancel_asked)
		send_attempt(a, GRETA_MSG_CANCEL, "cancelled by a person");
}

void work_event(struct ctl_attempt *a, enum attempt_event ev)
{
	enum greta_attempt_state next;
	enum attempt_action action;

	if (!attempt_fsm_step(a->state, ev, &next, &action))
		return;
	a->state = next;
	if (action == ATTEMPT_DO_NONE)
		return;
	a->todo = action;
	batch_touch(a);
}

/* ---- what becomes of a job */

static void set_job_state(struct ctl_job *job, enum greta_job_state state, const char *reason)
{
	struct ctl_campaign *cc = job->campaign;
	struct greta_err why = {0};

	cc->counts.by_state[job->state]--;
	cc->counts.by_state[state]++;
	job->state = state;
	if (greta_jobs_set_state(cc->ctl->db, job->id, state, reason, &why) < 0)
		batch_fail(cc->ctl, &why);
}

static void finish_if_done(struct ctl_campaign *cc)
{
	struct ctl *c = cc->ctl;
	struct greta_err why = {0};
	int64_t n_rejected = 0;

	if (cc->finished || cc->n_open || cc->counts.by_state[GRETA_JOB_QUEUED] ||
	    cc->counts.by_state[GRETA_JOB_RUNNING])
		return;
	if (!cc->cancelled && (gates_apply(c->db, cc->id, &cc->spec, &n_rejected, &why) < 0 ||
			       greta_campaigns_finish(c->db, cc->id, &why) < 0)) {
		batch_fail(c, &why);
		return;
	}
	if (n_rejected)
		news_add(c, cc->id, "%lld results did not pass the campaign's gates", (long long)n_rejected);
	cc->finished = true;
	batch_urgent(c);
}

static void job_step(struct ctl_job *job, enum job_event ev, struct ctl_attempt *a, const char *reason)
{
	enum greta_job_state next, was = job->state;
	enum job_action action;

	if (!job_fsm_step(job->state, ev, &next, &action))
		return;
	if (next != was)
		set_job_state(job, next, reason);
	if (action == JOB_DO_ENQUEUE) {
		job->sched.avoid = a ? &a->node->sched : NULL;
		if (job->campaign->wanted)
			sched_enqueue(job->campaign->sets[job->variant], &job->sched);
	}
	if (was == GRETA_JOB_QUEUED && next != GRETA_JOB_QUEUED)
		sched_dequeue(&job->sched);
	finish_if_done(job->campaign);
}

static enum job_event what_next(const struct ctl_job *job, enum greta_outcome outcome)
{
	int64_t tries[GRETA_OUTCOME_COUNT] = {0}, all = 0;
	struct greta_err why = {0};
	int allowed = job->campaign->spec.retries[outcome];

	if (outcome == GRETA_OUTCOME_GOOD)
		return JOB_EV_GOOD;
	if (greta_jobs_tries(job->campaign->ctl->db, job->id, tries, &why) < 0) {
		batch_fail(job->campaign->ctl, &why);
		return JOB_EV_GAVE_UP;
	}
	for (size_t i = 0; i < GRETA_OUTCOME_COUNT; i++)
		all += tries[i];
	if (all < TRIES_MAX && (allowed < 0 || tries[outcome] <= allowed))
		return JOB_EV_RETRY;
	return JOB_EV_GAVE_UP;
}

static void free_slot(struct ctl_attempt *a)
{
	if (a->charged)
		sched_release(a->job->campaign->sched, &a->node->sched);
	a->charged = false;
	ctl_dispatch_soon(a->node->ctl);
}

static char *reason_of(struct ctl_attempt *a, enum greta_outcome outcome)
{
	struct greta_attempt_row row = {0};
	char *reason = NULL;

	if (outcome == GRETA_OUTCOME_GOOD || greta_attempts_get(a->node->ctl->db, a->id, &row, NULL) < 0)
		return NULL;
	reason = greta_format("%s%s%s", greta_outcome_name(outcome), row.reason ? ": " : "",
			      row.reason ? row.reason : "");
	greta_attempt_row_release(&row);
	return reason;
}

static void tell(const struct ctl_attempt *a, enum greta_outcome outcome, enum job_event next, const char *reason)
{
	const struct ctl_campaign *cc = a->job->campaign;
	char took[64] = "", text[32];

	if (a->started_ns)
		snprintf(took, sizeof took, ", %s",
			 greta_str_seconds(text, sizeof text, (double)(greta_clock_mono_ns() - a->started_ns) / 1e9));
	news_add(cc->ctl, cc->id, "%s context %lld repeat %lld on %s: %s%s%s", cc->spec.variants[a->job->variant].name,
		 (long long)a->job->context, (long long)a->job->repeat + 1, a->node->name,
		 reason ? reason : greta_outcome_name(outcome), took, next == JOB_EV_RETRY ? " (tried again)" : "");
}

/* A node that can't start anything would burn every job's retries. */
static void judge_node(struct ctl_node *n, enum greta_outcome outcome, const char *reason)
{
	struct greta_err why = {0};
	char text[300];

	if (outcome != GRETA_OUTCOME_INFRA) {
		n->n_infra = 0;
		return;
	}
	if (++n->n_infra < INFRA_IN_A_ROW || n->state != GRETA_ALIAS_UP)
		return;
	snprintf(text, sizeof text, "%d attempts in a row could not start, the last: %s", n->n_infra,
		 reason ? reason : "no reason given");
	if (fleet_set_state(n->ctl, n, GRETA_ALIAS_QUARANTINED, text, &why) < 0)
		batch_fail(n->ctl, &why);
}

static void settle(struct ctl_attempt *a, enum attempt_event ev, enum greta_outcome outcome)
{
	bool was_open = is_open(a);
	cleanup_free char *reason = NULL;
	enum greta_attempt_state next;
	enum attempt_action action;
	enum job_event job_ev;

	if (!attempt_fsm_step(a->state, ev, &next, &action))
		return;
	a->state = next;
	batch_touch(a);
	batch_urgent(a->node->ctl);
	reason = reason_of(a, outcome);
	judge_node(a->node, outcome, reason);
	if (!a->job)
		return;
	if (was_open) {
		a->job->n_open--;
		a->job->campaign->n_open--;
	} else {
		a->job->campaign->counts.attempts[a->outcome]--;
	}
	free_slot(a);
	a->outcome = outcome;
	a->job->campaign->counts.attempts[outcome]++;
	if (outcome == GRETA_OUTCOME_GOOD && a->started_ns)
		eta_add(a->job->campaign->eta, (size_t)a->job->variant, a->job->context,
			(double)(greta_clock_mono_ns() - a->planned_ns) / 1e9, false);
	job_ev = what_next(a->job, outcome);
	tell(a, outcome, job_ev, reason);
	job_step(a->job, job_ev, outcome == GRETA_OUTCOME_INFRA || outcome == GRETA_OUTCOME_LOST ? a : NULL, reason);
}

void work_settle(struct ctl_attempt *a, const struct greta_applied *applied)
{
	a->final = true;
	settle(a, ATTEMPT_EV_OUTCOME, applied->outcome);
	if (applied->contradicts)
		news_add(a->node->ctl, a->job ? a->job->campaign->id : 0,
			 "%s: two results of one job contradict each other: neither counts", a->node->name);
}

void work_end_here(struct ctl_attempt *a, enum attempt_event ev, enum greta_outcome outcome, const char *cause,
		   const char *reason)
{
	struct ctl *c = a->node->ctl;
	struct greta_err why = {0};

	if (!is_open(a) || batch_begin(c) < 0)
		return;
	if (greta_attempts_end_here(c->db, a->id, outcome, cause, reason, &why) < 0) {
		batch_fail(c, &why);
		return;
	}
	settle(a, ev, outcome);
	/* One that may still come back stays known; the others are done with. */
	a->final = ev != ATTEMPT_EV_LEASE_OUT;
}

/* ---- putting jobs on nodes */

static bool secret(const char *kv, const char *equal)
{
	cleanup_free char *name = greta_strndup(kv, (size_t)(equal - kv));

	return greta_secret_name(name);
}

static int environment_of(struct ctl_node *n, struct ctl_campaign *cc, int variant, int64_t *id, struct greta_err *e)
{
	const struct greta_strs *lists[] = {&cc->spec.env, &cc->spec.variants[variant].env};
	struct greta_fact *rows = NULL;
	size_t n_rows = 0, cap = 0;
	int rc;

	if (cc->env_node != n->ids.environment_id) {
		memset(cc->environments, 0, cc->spec.n_variants * sizeof *cc->environments);
		cc->env_node = n->ids.environment_id;
	}
	*id = cc->environments[variant];
	if (*id)
		return 0;
	*GRETA_PUSH(rows, n_rows, cap) = (struct greta_fact){ greta_strdup("mode"),
							      greta_strdup(greta_mode_name(cc->spec.mode))};
	for (size_t l = 0; l < GRETA_COUNT(lists); l++) {
		for (size_t i = 0; i < lists[l]->n; i++) {
			const char *kv = lists[l]->items[i], *equal = strchr(kv, '=');

			if (equal && !secret(kv, equal))
				*GRETA_PUSH(rows, n_rows, cap) = (struct greta_fact){
					greta_format("env.%.*s", (int)(equal - kv), kv), greta_strdup(equal + 1)};
		}
	}
	rc = greta_environments_add(cc->ctl->db, n->ids.environment_id, rows, n_rows, id, e);
	cc->environments[variant] = rc == 0 ? *id : 0;
	for (size_t i = 0; i < n_rows; i++) {
		free(rows[i].key);
		free(rows[i].value);
	}
	free(rows);
	return rc;
}

static int model_of(struct ctl_node *n, struct ctl_campaign *cc, int64_t *id, struct greta_err *e)
{
	struct greta_model_facts facts;

	if (!cc->model_id && prepare_model(n, cc, &facts) &&
	    greta_models_record(cc->ctl->db, &facts, &cc->model_id, e) < 0)
		return -1;
	*id = cc->model_id;
	return 0;
}

static int plan_rows(struct ctl_attempt *a, struct greta_err *e)
{
	struct ctl_node *n = a->node;
	struct ctl *c = n->ctl;
	cleanup_buf struct greta_buf text = {0};
	struct greta_attempt_place place = {.alias_id = n->alias_id, .node_id = n->ids.node_id, .boot_id = n->boot_id};
	struct greta_new_attempt row = {.uuid = a->uuid, .job_id = a->job->id, .alias_id = n->alias_id};
	struct greta_spec spec = {0};

	if (prepare_spec(a, &spec, e) < 0)
		return -1;
	prepare_redact(a, &spec);
	greta_spec_print(&spec, &text);
	greta_spec_release(&spec);
	row.spec = greta_buf_str(&text);
	if (greta_attempts_plan(c->db, &row, &a->id, e) < 0 ||
	    environment_of(n, a->job->campaign, a->job->variant, &place.environment_id, e) < 0 ||
	    model_of(n, a->job->campaign, &place.model_id, e) < 0)
		return -1;
	return greta_attempts_place(c->db, a->id, &place, e);
}

static void plan(struct ctl_node *n, struct ctl_job *job)
{
	struct ctl *c = n->ctl;
	struct ctl_campaign *cc = job->campaign;
	struct ctl_attempt *a = attempt_new(n, job);
	struct greta_err why = {0};

	greta_uuid_new(a->uuid);
	a->state = GRETA_ATTEMPT_PLANNED;
	a->progress.t_s = NAN;
	a->charged = true;
	a->try_no = ++job->n_tries;
	job->n_open++;
	cc->n_open++;
	if (plan_rows(a, &why) < 0) {
		batch_fail(c, &why);
		return;
	}
	cc->counts.by_state[job->state]--;
	cc->counts.by_state[GRETA_JOB_RUNNING]++;
	job->state = GRETA_JOB_RUNNING;
	c->n_dispatched++;
	a->todo = ATTEMPT_DO_START;
	batch_touch(a);
	batch_urgent(c);
}

void work_dispatch(struct ctl *c)
{
	for (size_t i = 0; i < c->n_nodes && !sched_idle(c->sched); i++) {
		struct ctl_node *n = c->nodes[i];
		struct sched_campaign *sc;
		struct sched_job *job;
		bool elsewhere;

		if (!n->sched.open)
			continue;
		elsewhere = fleet_elsewhere_open(c, n);
		while ((job = sched_pick(c->sched, &n->sched, elsewhere, &sc))) {
			if (batch_begin(c) < 0)
				return;
			plan(n, job_of(job));
			if (c->batch.broken)
				return;
		}
	}
}

/* ---- cancelling */

static bool matches(const struct ctl_job *job, const char *variant, int64_t context, int64_t repeat)
{
	return (!variant || greta_str_eq(variant, job->campaign->spec.variants[job->variant].name)) &&
	       (!context || context == job->context) && (repeat < 0 || repeat == job->repeat);
}

static void cancel_attempts(struct ctl *c, const struct ctl_job *job)
{
	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *n = c->nodes[i];

		for (size_t k = 0; k < n->n_attempts; k++) {
			if (n->attempts[k]->job != job || !is_open(n->attempts[k]))
				continue;
			n->attempts[k]->cancel_asked = true;
			work_event(n->attempts[k], ATTEMPT_EV_CANCEL);
		}
	}
}

static void cancel_job(struct ctl_job *job, const char *reason)
{
	enum greta_job_state next, was = job->state;
	enum job_action action;

	if (!job_fsm_step(was, JOB_EV_CANCEL, &next, &action) || next == was)
		return;
	set_job_state(job, next, reason);
	if (action == JOB_DO_DEQUEUE)
		sched_dequeue(&job->sched);
	else if (action == JOB_DO_STOP)
		cancel_attempts(job->campaign->ctl, job);
}

int work_cancel(struct ctl *c, struct ctl_campaign *cc, const char *variant, int64_t context, int64_t repeat,
		const char *reason, int64_t *n, struct greta_err *e)
{
	bool whole = !variant && !context && repeat < 0;

	*n = 0;
	if (batch_begin(c) < 0)
		return greta_err_set(e, GRETA_EFAIL, "the database can't be written just now");
	if (whole && greta_campaigns_cancel(c->db, cc->id, reason, e) < 0)
		return -1;
	cc->cancelled = cc->cancelled || whole;
	for (size_t i = 0; i < cc->n_jobs; i++) {
		struct ctl_job *job = &cc->jobs[i];

		if (job->state > GRETA_JOB_RUNNING || !matches(job, variant, context, repeat))
			continue;
		cancel_job(job, reason);
		++*n;
	}
	finish_if_done(cc);
	batch_urgent(c);
	return 0;
}
