/* Limits of attempts: what limits.c makes of the runs in the database, remembered for each cell and kind of device, and
 * learned anew when the campaign has come a good part further, until as many of the cell are there as one looks at. */
#include "orchestrator/control/ctl.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "orchestrator/control/limits.h"

#include <string.h>

#define FURTHER 1.25 /* times as many good runs as when it was learned */
#define REST 20      /* times what the last learning took: else those of all cells, soon due again, come at once */

struct learned {
	int variant;
	int64_t context, n_good; /* n_good: of the campaign then */
	bool for_good;           /* from as many runs of the cell as are looked at */
	char *devices;
	struct greta_phase_limit phases[GRETA_PHASE_COUNT];
};

void learn_release(struct ctl_campaign *cc)
{
	for (size_t i = 0; i < cc->n_learned; i++)
		free(cc->learned[i].devices);
	free(cc->learned);
	cc->learned = NULL;
	cc->n_learned = cc->cap_learned = 0;
}

/* What results from this node are said to come from: its GPUs' names, or its CPU's. As attempts_end.c has device_type. */
static char *device_types(const struct ctl_node *n)
{
	struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);

	greta_jsonw_array(&w, NULL);
	for (size_t i = 0; i < n->facts.n_devices; i++) {
		const struct greta_device *d = &n->facts.devices[i];

		greta_jsonw_str(&w, NULL, d->name ? d->name : d->arch ? d->arch : d->kind);
	}
	for (size_t i = 0; i < n->facts.n_env; i++)
		if (greta_str_eq(n->facts.env[i].key, "cpu.model"))
			greta_jsonw_str(&w, NULL, n->facts.env[i].value);
	greta_jsonw_end_array(&w);
	return greta_buf_steal(&out);
}

static struct learned *remembered(struct ctl_campaign *cc, int variant, int64_t context, const char *devices)
{
	for (size_t i = 0; i < cc->n_learned; i++) {
		struct learned *l = &cc->learned[i];

		if (l->variant == variant && l->context == context && greta_str_eq(l->devices, devices))
			return l;
	}
	return NULL;
}

static size_t runs_here(const struct limits_runs *runs, int64_t context)
{
	size_t n = 0;

	for (size_t i = 0; i < runs->n; i++)
		n += runs->items[i].context == context;
	return n;
}

static int learn(struct ctl_campaign *cc, struct learned *l, struct greta_err *e)
{
	int64_t begun_ns = greta_clock_mono_ns(), ended_ns;
	cleanup_with(limits_runs_release) struct limits_runs runs = {0};
	const struct limits_cell cell = {cc->id, cc->variant_ids[l->variant], l->context, cc->model_id,
					 cc->spec.model.path != NULL, l->devices};

	if (limits_load(cc->ctl->db, &cell, &runs, e) < 0)
		return -1;
	memcpy(l->phases, cc->spec.phases, sizeof l->phases);
	limits_learn(&runs, l->context, l->phases);
	l->for_good = runs_here(&runs, l->context) >= LIMITS_CELL_RUNS;
	l->n_good = cc->counts.attempts[GRETA_OUTCOME_GOOD];
	ended_ns = greta_clock_mono_ns();
	cc->learn_due_ns = ended_ns + REST * (ended_ns - begun_ns);
	return 0;
}

static bool is_due(const struct ctl_campaign *cc, const struct learned *l)
{
	return !l->for_good && (double)cc->counts.attempts[GRETA_OUTCOME_GOOD] >= FURTHER * (double)l->n_good + 1 &&
	       greta_clock_mono_ns() >= cc->learn_due_ns;
}

int learn_limits(const struct ctl_attempt *a, struct greta_phase_limit phases[GRETA_PHASE_COUNT], struct greta_err *e)
{
	struct ctl_campaign *cc = a->job->campaign;
	char *devices = device_types(a->node);
	struct learned *l = remembered(cc, a->job->variant, a->job->context, devices);
	bool known = l && !is_due(cc, l);

	if (l) {
		free(devices);
	} else {
		l = GRETA_PUSH(cc->learned, cc->n_learned, cc->cap_learned);
		*l = (struct learned){.variant = a->job->variant, .context = a->job->context, .devices = devices};
	}
	if (!known && learn(cc, l, e) < 0)
		return -1;
	memcpy(phases, l->phases, sizeof l->phases);
	return 0;
}
