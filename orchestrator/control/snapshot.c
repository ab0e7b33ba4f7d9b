#include "orchestrator/control/ctl.h"

#include "base/clock.h"
#include "base/mem.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#define ETA_EVERY_NS GRETA_NS_PER_S
#define ETA_REST 1000 /* times what the last one took: of a hundred thousand jobs, some 10 ms */

void news_add(struct ctl *c, int64_t campaign_id, const char *fmt, ...)
{
	struct news_item *item = &c->news.items[c->news.n % (int64_t)GRETA_COUNT(c->news.items)];
	struct greta_buf text = {0};
	va_list ap;

	va_start(ap, fmt);
	greta_buf_vaddf(&text, fmt, ap);
	va_end(ap);
	free(item->text);
	*item = (struct news_item){ c->news.n++, campaign_id, greta_clock_wall_ns(), greta_buf_steal(&text) };
}

void news_release(struct ctl *c)
{
	for (size_t i = 0; i < GRETA_COUNT(c->news.items); i++)
		free(c->news.items[i].text);
	memset(&c->news, 0, sizeof c->news);
}

static double since_s(int64_t then_ns, int64_t now)
{
	return then_ns ? (double)(now - then_ns) / 1e9 : NAN;
}

/* ---- the picture */

static void update_eta(struct ctl *c, struct ctl_campaign *cc)
{
	int64_t begun_ns = greta_clock_mono_ns(), ended_ns, rest_ns;

	if (begun_ns < cc->eta_due_ns)
		return;
	forecast_make(c, cc, begun_ns);
	ended_ns = greta_clock_mono_ns();
	rest_ns = ETA_REST * (ended_ns - begun_ns);
	cc->eta_due_ns = ended_ns + (rest_ns > ETA_EVERY_NS ? rest_ns : ETA_EVERY_NS);
}

static void add_campaign(struct ctl *c, struct ctl_campaign *cc, int64_t now, struct status *out)
{
	const int64_t *by = cc->counts.by_state;
	struct status_campaign *s = GRETA_PUSH(out->campaigns, out->n_campaigns, out->cap_campaigns);

	update_eta(c, cc);
	*s = (struct status_campaign){
		.id = cc->id,
		.name = greta_strdup(cc->spec.name),
		.state = greta_strdup(cc->finished ? (cc->cancelled ? "cancelled" : "done") : "active"),
		.n_jobs = cc->counts.n_jobs,
		.n_queued = by[GRETA_JOB_QUEUED],
		.n_running = by[GRETA_JOB_RUNNING],
		.n_done = by[GRETA_JOB_DONE],
		.n_skipped = by[GRETA_JOB_SKIPPED],
		.n_cancelled = by[GRETA_JOB_CANCELLED],
		.elapsed_s = (double)(now - cc->submitted_ns) / 1e9,
		.eta_s = cc->eta_s - since_s(cc->eta_at_ns, now),
		.eta_low_s = cc->eta_low_s,
		.eta_high_s = cc->eta_high_s,
	};
	if (s->eta_s < 0)
		s->eta_s = 0;
	memcpy(s->ended_by, cc->counts.attempts, sizeof s->ended_by);
}

static void add_attempt(const struct ctl_attempt *a, int64_t now, struct status *out)
{
	const struct ctl_job *job = a->job;
	const struct ctl_campaign *cc = job->campaign;
	struct status_attempt *s = GRETA_PUSH(out->attempts, out->n_attempts, out->cap_attempts);
	bool measured;
	double expected = eta_expect(cc->eta, (size_t)job->variant, job->context, &measured);

	*s = (struct status_attempt){
		.campaign_id = cc->id,
		.job_id = job->id,
		.context = job->context,
		.repeat = job->repeat + 1,
		.try_no = a->try_no,
		.variant = greta_strdup(cc->spec.variants[job->variant].name),
		.node = greta_strdup(a->node->name),
		.slot = greta_strdup(a->slot),
		.progress = a->progress,
		.running_s = since_s(a->started_ns ? a->started_ns : a->planned_ns, now),
		.phase_s = since_s(a->phase_ns, now),
		.since_progress_s = since_s(a->progress_ns, now),
		.budget_s = a->budget_s,
		.verdict = greta_strdup(a->verdict),
		.waiting_for = greta_strdup(a->waiting_for),
	};
	s->eta_s = expected - since_s(a->planned_ns, now);
	if (s->eta_s < 0)
		s->eta_s = NAN; /* it takes longer than expected: no promise */
	greta_str_copy(s->uuid, sizeof s->uuid, a->uuid);
	if (!a->started_ns && s->progress.phase == GRETA_PHASE_NONE)
		s->progress.phase = a->waiting_for ? GRETA_PHASE_WAITING : GRETA_PHASE_STARTING;
}

static void add_node(struct ctl_node *n, bool up, struct status *out)
{
	const char *reason, *state = fleet_node_state(n, &reason);
	struct status_node *s;

	if (!up && greta_str_eq(state, "up"))
		return;
	s = GRETA_PUSH(out->nodes, out->n_nodes, out->cap_nodes);
	*s = (struct status_node){
		.name = greta_strdup(n->name),
		.transport = greta_strdup(n->transport),
		.state = greta_strdup(state),
		.reason = greta_strdup(reason),
		.n_slots = n->sched.n_gpus > 0 ? n->sched.n_gpus : 1,
		.n_busy = n->sched.n_running,
		.rtt_s = n->link ? link_rtt_s(n->link) : NAN,
	};
}

void snapshot_take(struct ctl *c, int64_t campaign_id, int64_t most, bool up, struct status *out)
{
	int64_t now = greta_clock_mono_ns();

	*out = (struct status){ .controller = greta_strdup(c->peer), .fence = c->fence };
	for (struct ctl_campaign *cc = c->campaigns; cc; cc = cc->next)
		if (!campaign_id || campaign_id == cc->id)
			add_campaign(c, cc, now, out);
	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *n = c->nodes[i];

		if (n->state == GRETA_ALIAS_REMOVED)
			continue;
		add_node(n, up, out);
		for (size_t k = 0; k < n->n_attempts && (int64_t)out->n_attempts < most; k++)
			if (n->attempts[k]->job && n->attempts[k]->state < GRETA_ATTEMPT_ENDED &&
			    (!campaign_id || n->attempts[k]->job->campaign->id == campaign_id))
				add_attempt(n->attempts[k], now, out);
	}
}
