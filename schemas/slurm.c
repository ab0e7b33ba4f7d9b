#include "schemas/slurm.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "schemas/fields.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void init(void *obj)
{
	struct greta_slurm *s = obj;

	s->nodes = 1;
	s->idle_s = GRETA_SLURM_IDLE_S;
}

static const struct field slurm_fields[] = {
	{F_STR(struct greta_slurm, name), .required = true},
	{F_STR(struct greta_slurm, spool)},
	{F_STR(struct greta_slurm, local_spool)},
	{F_STR(struct greta_slurm, partition)},
	{F_STR(struct greta_slurm, account)},
	{F_STR(struct greta_slurm, qos)},
	{F_STR(struct greta_slurm, gres)},
	{F_STRS(struct greta_slurm, options)},
	{F_I64(struct greta_slurm, nodes)},
	{F_I64(struct greta_slurm, cpus)},
	{F_F64(struct greta_slurm, limit_s)},
	{F_F64(struct greta_slurm, idle_s)},
	{0},
};
static const struct shape shape_slurm = {"slurm", sizeof(struct greta_slurm), slurm_fields, init};

int greta_slurm_parse(const char *text, size_t n, struct greta_slurm *out, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse("slurm", text, n, e);
	int rc = j ? fields_parse(&shape_slurm, j, greta_json_root(j), out, e) : -1;

	greta_json_destroy(j);
	return rc;
}

void greta_slurm_print(const struct greta_slurm *s, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);

	fields_print(&shape_slurm, s, &w, NULL);
}

void greta_slurm_release(struct greta_slurm *s)
{
	fields_release(&shape_slurm, s);
}

/* "gpu", "gpu:8", "gpu:mi300x:8", perhaps one of several: "gpu:8,nic:1" */
int64_t greta_slurm_gpus(const struct greta_slurm *s)
{
	const char *at = s->gres ? strstr(s->gres, "gpu") : NULL;
	int64_t n = 1;

	if (!at || (at > s->gres && at[-1] != ',') || (at[3] && at[3] != ':' && at[3] != ','))
		return 0;
	cleanup_free char *one = greta_strndup(at, strcspn(at, ","));
	const char *last = strrchr(one, ':');
	if (last && greta_str_i64(last + 1, &n) != 0)
		n = 1;
	return n;
}

int greta_slurm_limit_s(const struct greta_slurm *s, double longest_s, double *out, struct greta_err *e)
{
	double one = (longest_s > 0 ? longest_s : GRETA_SLURM_NO_BUDGET_S) + GRETA_SLURM_MARGIN_S;
	char asked[32], most[32];

	if (s->limit_s > 0 && s->limit_s < one)
		return greta_err_set(e, GRETA_EINVAL, "an attempt may take %s with what belongs to it, but allocations of node %s "
				     "end after %s (node add --time)", greta_str_seconds(asked, sizeof asked, one), s->name,
				     greta_str_seconds(most, sizeof most, s->limit_s));
	*out = one * GRETA_SLURM_ROUNDS;
	if (s->limit_s > 0 && *out > s->limit_s)
		*out = s->limit_s;
	return 0;
}

static void add_option(struct greta_strs *argv, const char *name, const char *value)
{
	if (value)
		greta_strs_addf(argv, "--%s=%s", name, value);
}

void greta_slurm_argv(const struct greta_slurm *s, const char *spool, double limit_s, struct greta_strs *argv)
{
	greta_strs_add(argv, "sbatch");
	greta_strs_add(argv, "--parsable");
	greta_strs_addf(argv, "--job-name=greta-%s", s->name);
	greta_strs_add(argv, "--nodes=1");
	greta_strs_add(argv, "--ntasks=1");
	greta_strs_addf(argv, "--time=%" PRId64, (int64_t)ceil(limit_s / 60)); /* minutes */
	add_option(argv, "partition", s->partition);
	add_option(argv, "account", s->account);
	add_option(argv, "qos", s->qos);
	add_option(argv, "gres", s->gres);
	if (s->cpus > 0)
		greta_strs_addf(argv, "--cpus-per-task=%" PRId64, s->cpus);
	greta_strs_add(argv, "--no-requeue"); /* so that its end has a name; the pool asks for another one */
	greta_strs_add(argv, "--open-mode=append");
	greta_strs_addf(argv, "--chdir=%s", spool);
	greta_strs_addf(argv, "--output=%s/log/%%j", spool);
	for (size_t i = 0; i < s->options.n; i++)
		greta_strs_add(argv, s->options.items[i]);
}

void greta_slurm_script(const struct greta_slurm *s, const char *agent, const char *spool, double limit_s,
			struct greta_buf *out)
{
	greta_buf_adds(out, "#!/bin/sh\n# Runs attempts that wait in the spool, until none is left.\nexec ");
	greta_buf_add_word(out, agent);
	greta_buf_adds(out, " pilot --spool ");
	greta_buf_add_word(out, spool);
	if (s->local_spool) {
		greta_buf_adds(out, " --local-spool ");
		greta_buf_add_word(out, s->local_spool);
	}
	greta_buf_addf(out, " --limit-s %.0f --idle-s %g\n", limit_s, s->idle_s);
}
