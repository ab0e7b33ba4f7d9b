/* Which GPU of a node a job takes, where that matters: a variant that names its devices, repeats of a cell that are to
 * stay on one GPU, or to be spread over all.
 *
 * What is known: the GPUs that open attempts were given or said they took, and per cell how many attempts a GPU has that
 * gave a result or may still give one. Both follow from the rows. An attempt of somebody else's, or one of ours that has
 * not said yet which GPU it took, is not seen from here: then the job waits for its GPU on the node. */
#include "orchestrator/control/ctl.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "orchestrator/plan/placing.h"

#include <stdio.h>
#include <string.h>

struct cell_gpu {
	int variant;
	int64_t context, n;
	char *uuid;
};

bool gpus_matter(const struct ctl_campaign *cc, int variant)
{
	return cc->spec.slot == GRETA_SLOT_GPU && cc->need.gpus == 1 &&
	       (cc->spec.placement != GRETA_PLACEMENT_ANY || cc->spec.variants[variant].devices.n);
}

/* ---- what cells have */

static int64_t count_of(const struct ctl_job *job, const char *uuid)
{
	const struct ctl_campaign *cc = job->campaign;

	for (size_t i = 0; i < cc->n_cell_gpus; i++) {
		const struct cell_gpu *g = &cc->cell_gpus[i];

		if (g->variant == job->variant && g->context == job->context && greta_str_eq(g->uuid, uuid))
			return g->n;
	}
	return 0;
}

static void count(struct ctl_campaign *cc, int variant, int64_t context, const char *uuid, int64_t delta)
{
	struct cell_gpu *g;

	for (size_t i = 0; i < cc->n_cell_gpus; i++) {
		g = &cc->cell_gpus[i];
		if (g->variant == variant && g->context == context && greta_str_eq(g->uuid, uuid)) {
			g->n += delta;
			return;
		}
	}
	g = GRETA_PUSH(cc->cell_gpus, cc->n_cell_gpus, cc->cap_cell_gpus);
	*g = (struct cell_gpu){variant, context, delta, greta_strdup(uuid)};
}

void gpus_count(struct ctl_job *job, const char *gpu, int64_t delta)
{
	if (gpu && job->campaign->spec.placement != GRETA_PLACEMENT_ANY)
		count(job->campaign, job->variant, job->context, gpu, delta);
}

const char *gpus_home(const struct ctl_job *job)
{
	const struct ctl_campaign *cc = job->campaign;

	if (cc->spec.placement != GRETA_PLACEMENT_SAME_GPU)
		return NULL;
	for (size_t i = 0; i < cc->n_cell_gpus; i++) {
		const struct cell_gpu *g = &cc->cell_gpus[i];

		if (g->n > 0 && g->variant == job->variant && g->context == job->context)
			return g->uuid;
	}
	return NULL;
}

void gpus_release(struct ctl_campaign *cc)
{
	for (size_t i = 0; i < cc->n_cell_gpus; i++)
		free(cc->cell_gpus[i].uuid);
	free(cc->cell_gpus);
}

/* ---- out of the database */

int gpus_load(struct ctl_campaign *cc, struct greta_err *e)
{
	static const char sql[] =
		"SELECT j.variant_id, j.context, s.text ->> '$.devices[0]', count(*) FROM job j "
		"JOIN attempt a ON a.job_id = j.id JOIN spec s ON s.id = a.spec_id "
		"WHERE j.campaign_id = ? AND (a.outcome = 'ok' OR a.state NOT IN ('ended', 'pruned')) "
		"AND s.text ->> '$.devices[0]' IS NOT NULL GROUP BY 1, 2, 3";
	cleanup_query struct greta_query *q = NULL;
	int rc;

	if (cc->spec.placement == GRETA_PLACEMENT_ANY)
		return 0;
	q = greta_query_open(cc->ctl->db, e, sql, "i", cc->id);
	while (q && (rc = greta_query_step(q, e)) == 1)
		for (size_t v = 0; v < cc->spec.n_variants; v++)
			if (cc->variant_ids[v] == greta_query_i64(q, 0))
				count(cc, (int)v, greta_query_i64(q, 1), greta_query_str(q, 2), greta_query_i64(q, 3));
	return q ? rc : -1;
}

/* What it took; before it said so, the one that it was told to take. */
int gpus_adopt(struct ctl_attempt *a, struct greta_err *e)
{
	static const char sql[] =
		"SELECT d.uuid FROM attempt_device t JOIN device d ON d.id = t.device_id WHERE t.attempt_id = ?1 "
		"UNION SELECT s.text ->> '$.devices[0]' FROM attempt a JOIN spec s ON s.id = a.spec_id WHERE a.id = ?1 "
		"AND json_array_length(s.text, '$.devices') = 1";
	cleanup_query struct greta_query *q = greta_query_open(a->node->ctl->db, e, sql, "i", a->id);
	int rc = q ? 0 : -1;

	while (q && (rc = greta_query_step(q, e)) == 1)
		greta_strs_add(&a->gpus, greta_query_str(q, 0));
	return rc;
}

/* ---- choosing */

static bool may_take(const struct ctl_node *n, const struct ctl_job *job, const char *uuid)
{
	return placing_names(&job->campaign->spec.variants[job->variant].devices, uuid) && !quarantine_has_gpu(n, uuid);
}

static bool is_taken(const struct ctl_node *n, const char *uuid)
{
	for (size_t i = 0; i < n->n_attempts; i++)
		for (size_t g = 0; n->attempts[i]->state < GRETA_ATTEMPT_ENDED && g < n->attempts[i]->gpus.n; g++)
			if (greta_str_eq(n->attempts[i]->gpus.items[g], uuid))
				return true;
	return false;
}

/* The smallest count of the job's cell over all GPUs that it could take now or soon. */
static int64_t least(const struct ctl_job *job)
{
	const struct ctl *c = job->campaign->ctl;
	int64_t smallest = INT64_MAX;

	for (size_t i = 0; i < c->n_nodes; i++) {
		const struct ctl_node *n = c->nodes[i];

		if (!n->sched.open || !work_may_use_for(job->campaign, job->variant, n))
			continue;
		for (size_t d = 0; d < n->facts.n_devices; d++)
			if (may_take(n, job, n->facts.devices[d].uuid) &&
			    count_of(job, n->facts.devices[d].uuid) < smallest)
				smallest = count_of(job, n->facts.devices[d].uuid);
	}
	return smallest;
}

static bool placement_lets(const struct ctl_job *job, const char *uuid, const char *home, int64_t smallest)
{
	return (!home || greta_str_eq(home, uuid)) && count_of(job, uuid) <= smallest;
}

/* Cells that have no home yet should not all move into one GPU. */
static int64_t load_of(const struct ctl_campaign *cc, const char *uuid)
{
	int64_t n = 0;

	for (size_t i = 0; i < cc->n_cell_gpus; i++)
		n += greta_str_eq(cc->cell_gpus[i].uuid, uuid) ? cc->cell_gpus[i].n : 0;
	return n;
}

const char *gpus_choose(const struct ctl_node *n, const struct ctl_job *job)
{
	const struct ctl_campaign *cc = job->campaign;
	const char *home = gpus_home(job), *best = NULL;
	int64_t smallest = cc->spec.placement == GRETA_PLACEMENT_SPREAD ? least(job) : INT64_MAX;

	for (size_t i = 0; i < n->facts.n_devices && !n->settings.slurm; i++) {
		const char *uuid = n->facts.devices[i].uuid;

		if (may_take(n, job, uuid) && !is_taken(n, uuid) && placement_lets(job, uuid, home, smallest) &&
		    (!best || load_of(cc, uuid) < load_of(cc, best)))
			best = uuid;
	}
	return best;
}

bool gpus_suit(const struct sched_job *sj, const struct sched_node *sn)
{
	const struct ctl_job *job = (const struct ctl_job *)((const char *)sj - offsetof(struct ctl_job, sched));
	const struct ctl_node *n = (const struct ctl_node *)((const char *)sn - offsetof(struct ctl_node, sched));

	if (n->settings.slurm)
		return job->campaign->spec.placement == GRETA_PLACEMENT_ANY;
	return gpus_choose(n, job) != NULL;
}

/* ---- waiting in vain */

static bool has_gpu(const struct ctl_node *n, const char *uuid)
{
	for (size_t i = 0; i < n->facts.n_devices; i++)
		if (greta_str_eq(n->facts.devices[i].uuid, uuid))
			return true;
	return false;
}

const char *gpus_no_hope(struct ctl_node *n, const struct ctl_campaign *cc, int variant)
{
	const char *home = NULL;

	if (cc->spec.placement == GRETA_PLACEMENT_ANY)
		return NULL;
	if (n->settings.slurm)
		return "the GPUs of a pool can't be chosen, as \"placement\" asks for";
	for (size_t i = 0; i < cc->n_jobs; i++) {
		if (!cc->jobs[i].sched.set || cc->jobs[i].variant != variant)
			continue;
		home = gpus_home(&cc->jobs[i]);
		if (!home || (has_gpu(n, home) && !quarantine_has_gpu(n, home)))
			return NULL;
	}
	if (!home)
		return NULL;
	snprintf(n->note, sizeof n->note, "repeats stay on the GPU of a cell's first result (\"placement\": \"same_gpu\"): %s, %s",
		 home, has_gpu(n, home) ? "which is in quarantine" : "which is not here");
	return n->note;
}
