#include "orchestrator/control/slurm.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "db/nodes.h"
#include "orchestrator/plan/placing.h"
#include "orchestrator/remote/transport.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define AHEAD 4 /* of so many allocations one more is filled with attempts that wait there */

void slurm_size(const char *settings, struct sched_node *out)
{
	struct greta_slurm s = {0};

	if (greta_slurm_parse(settings, strlen(settings), &s, NULL) < 0)
		return; /* as it was when it was stored: it stays as the node says */
	out->machines = s.nodes + (s.nodes + AHEAD - 1) / AHEAD;
	out->n_gpus = greta_slurm_gpus(&s) * out->machines;
	out->n_cpus = (s.cpus > 0 ? s.cpus : 1) * out->machines;
	greta_slurm_release(&s);
}

void slurm_write_size(const char *settings, struct greta_jsonw *w)
{
	struct greta_slurm s = {0};

	if (greta_slurm_parse(settings, strlen(settings), &s, NULL) < 0)
		return;
	greta_jsonw_i64(w, "allocations", s.nodes);
	greta_jsonw_i64(w, "slot_gpus", greta_slurm_gpus(&s) * s.nodes);
	greta_jsonw_i64(w, "slot_cpus", (s.cpus > 0 ? s.cpus : 1) * s.nodes);
	greta_slurm_release(&s);
}

/* ---- plan */

/* What one pool would be asked for. */
struct asking {
	struct greta_slurm settings;
	char *spool;        /* on the cluster, as far as is known here */
	double limit_s;
	int64_t allocations;
	struct greta_strs argv;
	struct greta_buf script;
	struct greta_err why_not; /* code OK: it would be submitted */
};

static void asking_release(struct asking *a)
{
	greta_slurm_release(&a->settings);
	free(a->spool);
	greta_strs_release(&a->argv);
	greta_buf_release(&a->script);
}

static double longest_budget_s(const struct greta_campaign *c)
{
	double longest = 0;

	for (size_t i = 0; i < c->n_contexts; i++) {
		double s = greta_campaign_timeout_s(c, c->contexts[i]);

		longest = s > longest ? s : longest;
	}
	return longest;
}

static int64_t count_jobs(const struct greta_campaign *c)
{
	int64_t n = 0;

	for (size_t i = 0; i < c->n_contexts; i++)
		n += greta_campaign_repeats(c, c->contexts[i]) * (int64_t)c->n_variants;
	return n;
}

/* Attempts that one allocation runs side by side. */
static int64_t slots_of(const struct greta_slurm *s, const struct greta_campaign *c)
{
	int64_t each = c->slot == GRETA_SLOT_GPU ? (c->n_gpus > 0 ? c->n_gpus : 1) : c->cpus;
	int64_t have = c->slot == GRETA_SLOT_GPU ? greta_slurm_gpus(s) : s->cpus;

	if (c->slot == GRETA_SLOT_NODE || each <= 0 || have < each)
		return 1;
	return have / each;
}

static int asking_make(struct asking *a, const struct greta_alias_row *row, const struct greta_campaign *c,
		       struct greta_err *e)
{
	struct node_settings settings;
	int64_t slots, n_jobs = count_jobs(c);
	int rc;

	*a = (struct asking){0};
	if (node_settings_parse(row->settings, &settings, e) < 0)
		return -1;
	rc = settings.slurm ? greta_slurm_parse(settings.slurm, strlen(settings.slurm), &a->settings, e)
			    : greta_err_set(e, GRETA_EINVAL, "node %s has no settings for Slurm", row->name);
	node_settings_release(&settings);
	if (rc < 0)
		return -1;
	a->spool = a->settings.spool ? greta_strdup(a->settings.spool)
				     : greta_format("~/.local/state/greta/slurm/%s", a->settings.name);
	if (greta_slurm_limit_s(&a->settings, longest_budget_s(c), &a->limit_s, &a->why_not) < 0)
		return 0;
	slots = slots_of(&a->settings, c);
	a->allocations = (n_jobs + slots - 1) / slots;
	if (a->allocations > a->settings.nodes)
		a->allocations = a->settings.nodes;
	greta_slurm_argv(&a->settings, a->spool, a->limit_s, &a->argv);
	greta_slurm_script(&a->settings, "greta-agent", a->spool, a->limit_s, &a->script);
	return 0;
}

static void print_asking(const struct asking *a, bool script)
{
	char limit[32];

	if (a->why_not.code != GRETA_OK) {
		printf("  %s: nothing: %s\n", a->settings.name, a->why_not.text);
		return;
	}
	printf("  %s: up to %" PRId64 " allocations of %s at once, each ends when it has no more work:\n   ",
	       a->settings.name, a->allocations, greta_str_seconds(limit, sizeof limit, a->limit_s));
	for (size_t i = 0; i < a->argv.n; i++)
		printf(" %s", a->argv.items[i]);
	puts("");
	if (script)
		printf("\n%s\n  with whole paths where it says %sgreta-agent\n", greta_buf_str(&a->script),
		       a->spool[0] == '~' ? "~ or " : "");
}

static void write_asking(const struct asking *a, struct greta_jsonw *w)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "node", a->settings.name);
	greta_jsonw_i64(w, "allocations", a->allocations);
	greta_jsonw_f64(w, "limit_s", a->limit_s);
	greta_jsonw_strs(w, "argv", &a->argv);
	greta_jsonw_str(w, "script", greta_buf_str(&a->script));
	greta_jsonw_str(w, "why_not", a->why_not.code != GRETA_OK ? a->why_not.text : NULL);
	greta_jsonw_end_object(w);
}

/* Calls for each pool that the campaign may use. */
static int each_pool(struct greta_db *db, const struct greta_campaign *c, void (*fn)(const struct asking *, void *),
		     void *arg, struct greta_err *e)
{
	struct greta_alias_rows rows = {0};
	int rc = db ? greta_nodes_list(db, false, &rows, e) : 0;

	for (size_t i = 0; i < rows.n && rc == 0; i++) {
		const struct greta_alias_row *row = &rows.items[i];
		struct asking a;

		if (!greta_str_eq(row->transport, "slurm") || !placing_allows(c, row->name, row->labels))
			continue;
		rc = asking_make(&a, row, c, e);
		if (rc == 0)
			fn(&a, arg);
		asking_release(&a);
	}
	greta_alias_rows_release(&rows);
	return rc;
}

struct printing {
	bool script, begun;
};

static void on_print(const struct asking *a, void *arg)
{
	struct printing *p = arg;

	if (!p->begun)
		puts("\nsubmitted to Slurm");
	p->begun = true;
	print_asking(a, p->script);
}

static void on_write(const struct asking *a, void *arg)
{
	write_asking(a, arg);
}

int slurm_plan_print(struct greta_db *db, const struct greta_campaign *c, bool script, struct greta_err *e)
{
	struct printing p = {.script = script};

	return each_pool(db, c, on_print, &p, e);
}

int slurm_plan_json(struct greta_db *db, const struct greta_campaign *c, struct greta_jsonw *w, struct greta_err *e)
{
	int rc;

	greta_jsonw_array(w, "slurm");
	rc = each_pool(db, c, on_write, w, e);
	greta_jsonw_end_array(w);
	return rc;
}
