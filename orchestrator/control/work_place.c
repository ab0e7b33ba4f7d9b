/* Jobs on nodes: sched picks, the attempt is planned in the database, and starts behind the commit. */
#include "orchestrator/control/work.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "orchestrator/plan/placing.h"
#include "schemas/spec.h"

#include <math.h>
#include <string.h>

#define node_of(s) ((struct ctl_node *)((char *)(s) - offsetof(struct ctl_node, sched)))
#define job_of(s) ((struct ctl_job *)((char *)(s) - offsetof(struct ctl_job, sched)))

/* ---- which nodes */

bool work_may_use(const struct ctl_campaign *cc, const struct ctl_node *n)
{
	return placing_allows(&cc->spec, n->name, n->labels);
}

/* A node of which nothing is known yet may have them. */
static bool has_devices(const struct ctl_node *n, const struct greta_strs *wanted, int64_t n_gpus)
{
	int64_t there = 0;

	for (size_t i = 0; i < n->facts.n_devices && wanted->n; i++)
		there += placing_names(wanted, n->facts.devices[i].uuid) && !quarantine_has_gpu(n, n->facts.devices[i].uuid);
	return !wanted->n || !n->facts_known || there >= n_gpus;
}

bool work_may_use_for(const struct ctl_campaign *cc, int variant, const struct ctl_node *n)
{
	const struct greta_variant *v = &cc->spec.variants[variant];

	return work_may_use(cc, n) && placing_names(&v->nodes, n->name) && has_devices(n, &v->devices, cc->need.gpus);
}

bool work_set_allows(const struct sched_node *sn, const void *arg)
{
	const struct ctl_set *set = arg;
	struct ctl_node *n = node_of(sn);
	const char *why;

	return work_may_use_for(set->campaign, set->variant, n) && !quarantine_forbids(n, &set->campaign->need) &&
	       prepare_check(n, set->campaign, set->variant, &why) == PREPARE_READY;
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

	if (prepare_model(n, cc, &facts) && !greta_str_eq(facts.file_sha256, cc->model_sha256)) {
		if (greta_models_record(cc->ctl->db, &facts, &cc->model_id, e) < 0)
			return -1;
		greta_str_copy(cc->model_sha256, sizeof cc->model_sha256, facts.file_sha256);
	}
	*id = cc->model_id;
	return 0;
}

static int plan_rows(struct ctl_attempt *a, struct greta_err *e)
{
	struct ctl_node *n = a->node;
	struct ctl *c = n->ctl;
	cleanup_buf struct greta_buf text = {0};
	struct greta_new_attempt row = {
		.uuid = a->uuid,
		.job_id = a->job->id,
		.place = {.alias_id = n->alias_id, .node_id = n->ids.node_id, .boot_id = n->boot_id},
	};
	struct greta_spec spec = {0};
	bool hidden;

	if (prepare_spec(a, &spec, e) < 0)
		return -1;
	hidden = prepare_redact(&spec);
	greta_spec_print(&spec, &text);
	greta_spec_release(&spec);
	row.spec = greta_buf_str(&text);
	if (environment_of(n, a->job->campaign, a->job->variant, &row.place.environment_id, e) < 0 ||
	    model_of(n, a->job->campaign, &row.place.model_id, e) < 0)
		return -1;
	if (greta_attempts_plan(c->db, &row, &a->id, e) < 0)
		return -1;
	a->spec = hidden ? NULL : greta_buf_steal(&text);
	return 0;
}

static void plan(struct ctl_node *n, struct ctl_job *job)
{
	struct ctl *c = n->ctl;
	struct ctl_campaign *cc = job->campaign;
	struct ctl_attempt *a = work_attempt_new(n, job);
	struct greta_err why = {0};

	greta_uuid_next(a->uuid);
	a->campaign_id = cc->id;
	a->state = GRETA_ATTEMPT_PLANNED;
	a->progress.t_s = NAN;
	a->charged = true;
	a->try_no = ++job->n_tries;
	if (gpus_matter(cc, job->variant)) {
		const char *gpu = gpus_choose(n, job);

		gpus_count(job, gpu, 1);
		greta_strs_add(&a->gpus, gpu);
	}
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

/* Nodes that are full are not asked by sched whether they have what a job needs; by the time that they fall free it
 * should be there. */
void work_prepare(struct ctl *c)
{
	const char *why;

	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *n = c->nodes[i];

		for (struct ctl_campaign *cc = c->campaigns; cc && n->sched.open; cc = cc->next)
			for (size_t v = 0; v < cc->spec.n_variants; v++)
				if (!sched_set_empty(cc->sets[v]) && work_may_use_for(cc, (int)v, n))
					prepare_check(n, cc, (int)v, &why);
	}
}

/* Another node that is open and may run it; one to which files are on their way is waited for. */
static bool elsewhere_open(const struct sched_job *sj, const struct sched_node *sn)
{
	const struct ctl_job *job = job_of(sj);
	struct ctl_campaign *cc = job->campaign;
	struct ctl *c = cc->ctl;
	const char *why;

	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *n = c->nodes[i];

		if (&n->sched != sn && n->sched.open && work_may_use_for(cc, job->variant, n) && !quarantine_forbids(n, &cc->need) &&
		    sched_slots(&n->sched, &cc->need) > 0 && prepare_check(n, cc, job->variant, &why) != PREPARE_FAILED)
			return true;
	}
	return false;
}

void work_dispatch(struct ctl *c)
{
	for (size_t i = 0; i < c->n_nodes && !sched_idle(c->sched); i++) {
		struct ctl_node *n = c->nodes[i];
		struct sched_campaign *sc;
		struct sched_job *job;

		if (!n->sched.open)
			continue;
		while ((job = sched_pick(c->sched, &n->sched, elsewhere_open, &sc))) {
			if (batch_begin(c) < 0)
				return;
			plan(n, job_of(job));
			if (c->batch.broken)
				return;
		}
	}
}
