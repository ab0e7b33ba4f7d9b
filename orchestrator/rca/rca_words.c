#include "orchestrator/rca/rca_verdict.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <string.h>

/* ---- what was found */

static void add_rate(struct greta_buf *out, const char *before, struct hang_rate r, const char *after)
{
	greta_buf_adds(out, before);
	hang_rate_words(r, out);
	greta_buf_adds(out, after);
}

static void words_head(const struct rca_verdict *v, struct greta_buf *out)
{
	const struct rca_design *d = &v->rca.design;
	const struct rca_state *s = &v->state;

	if (s->end == RCA_END_NOTHING) {
		greta_buf_addf(out, "Nothing was found: %s at context %lld did not hang again. ", d->variant,
			       (long long)d->context);
		add_rate(out, "", s->again, ".\n");
		return;
	}
	if (s->end == RCA_END_GOES_ON)
		greta_buf_addf(out, "The search goes on: %lld of at most %lld runs were started.\n",
			       (long long)s->n_attempts, (long long)d->budget_runs);
	else if (s->end == RCA_END_UNDECIDED)
		greta_buf_addf(out, "Undecided %s, after %lld runs.\n",
			       s->budget_spent ? "within the budget" : "with the runs that told something",
			       (long long)s->n_attempts);
	else
		greta_buf_addf(out, "Decided after %lld of at most %lld runs.\n", (long long)s->n_attempts,
			       (long long)d->budget_runs);
	greta_buf_addf(out, "%s at context %lld, ", d->variant, (long long)d->context);
	add_rate(out,
		 rca_verdict_count(v, RCA_REMOVES_HANGS) ? "without what keeps the hang away: "
							 : "whatever else was set: ",
		 s->unchanged, ".\n");
}

static void words_factor(const struct rca_verdict *v, size_t i, struct greta_buf *out)
{
	const struct rca_factor *f = &v->state.factors[i];

	greta_buf_addf(out, "%s %s. ", v->rca.design.factors[i].name, rca_finding_words(f->finding, v->state.end));
	add_rate(out, "With it ", f->on, ";");
	add_rate(out, " without ", f->off, "");
	if (f->failed_on > 0)
		greta_buf_addf(out, ". With it %lld runs failed in another way", (long long)f->failed_on);
	greta_buf_adds(out, ".\n");
}

static void words_factors(const struct rca_verdict *v, struct greta_buf *out)
{
	static const enum rca_finding order[] = {RCA_REMOVES_HANGS, RCA_WORSENS, RCA_OPEN, RCA_DISMISSED};

	if (v->state.end == RCA_END_NOTHING || v->state.again.hung == 0)
		return;
	for (size_t o = 0; o < GRETA_COUNT(order); o++)
		for (size_t f = 0; f < v->rca.design.n_factors; f++)
			if (v->state.factors[f].finding == order[o])
				words_factor(v, f, out);
	if (v->rca.design.n_factors && rca_verdict_count(v, RCA_DISMISSED) == v->rca.design.n_factors)
		greta_buf_adds(out, "Nothing was found that influences it: it comes with and without each factor that "
				    "was tried.\n");
}

static void words_context(const struct rca_verdict *v, struct greta_buf *out)
{
	const struct rca_design *d = &v->rca.design;
	const struct rca_state *s = &v->state;

	if (s->again.hung == 0)
		return;
	greta_buf_addf(out, "The smallest context at which it hung is %lld.", (long long)s->smallest);
	for (size_t c = d->n_contexts; c-- > 0;) {
		if (d->contexts[c] >= s->smallest || s->contexts[c].runs == 0)
			continue;
		greta_buf_addf(out, " At %lld ", (long long)d->contexts[c]);
		hang_rate_words(s->contexts[c], out);
		greta_buf_addc(out, '.');
		break;
	}
	if (d->n_contexts && s->smallest == d->contexts[0])
		greta_buf_adds(out, " No smaller one was tried.");
	greta_buf_addc(out, '\n');
}

static void words_list(const struct rca_verdict *v, const char *head, bool tried, enum rca_finding finding,
		       struct greta_buf *out)
{
	static const struct {
		enum rca_factor_kind kind;
		const char *words;
	} places[] = {{RCA_VARIANT, "the kernel (variant)"}, {RCA_DEVICE, "the GPU"}, {RCA_NODE, "the node"}};
	size_t before = out->len;

	for (size_t i = 0; i < GRETA_COUNT(places); i++) {
		enum rca_finding f = RCA_OPEN;
		bool was_tried = rca_verdict_finding(v, places[i].kind, &f);

		if (was_tried == tried && (!tried || f == finding))
			greta_buf_addf(out, "%s%s", out->len == before ? head : ", ", places[i].words);
	}
	if (out->len > before)
		greta_buf_adds(out, ". ");
}

static void words_follows(const struct rca_verdict *v, struct greta_buf *out)
{
	size_t before = out->len;

	if (v->state.again.hung == 0)
		return;
	words_list(v, "It follows ", true, RCA_REMOVES_HANGS, out);
	words_list(v, "It does not follow ", true, RCA_DISMISSED, out);
	words_list(v, "Undecided whether it follows ", true, RCA_OPEN, out);
	words_list(v, "Not tried: whether it follows ", false, RCA_OPEN, out);
	if (out->len > before)
		out->data[out->len - 1] = '\n';
}

/* Imported runs of one kind, over their contexts. */
static void words_imported(const struct rca_verdict *v, struct greta_buf *out)
{
	for (size_t i = 0; i < v->n_cells;) {
		const struct rca_cell *first = &v->cells[i];
		struct hang_rate all = {0};
		int64_t low = first->context, high = first->context;

		for (; i < v->n_cells && greta_str_eq(v->cells[i].where, first->where) &&
		       greta_str_eq(v->cells[i].variant, first->variant) &&
		       greta_str_eq(v->cells[i].setting, first->setting);
		     i++) {
			all.hung += v->cells[i].rate.hung;
			all.runs += v->cells[i].rate.runs;
			low = v->cells[i].context < low ? v->cells[i].context : low;
			high = v->cells[i].context > high ? v->cells[i].context : high;
		}
		if (!first->imported)
			continue;
		greta_buf_addf(out, "Before this search (%s), %s%s%s at contexts %lld to %lld: ", first->where,
			       first->variant, *first->setting ? " with " : "", first->setting, (long long)low,
			       (long long)high);
		add_rate(out, "", all, ".\n");
	}
}

/* ---- what to do next */

static const struct {
	const char *setting, *next;
} known[] = {
	{"HSA_ENABLE_SDMA=0",
	 "A lost completion of the SDMA copy engines is likely. Run with HSA_ENABLE_SDMA=0 until a newer driver or "
	 "firmware is in; take the evidence of the hung attempts to the driver's maintainers."},
	{"AMD_SERIALIZE_COPY=3",
	 "Copies that overlap with other work are needed for it: look at which copy waits for which event "
	 "in the engine, and run with AMD_SERIALIZE_COPY=3 meanwhile."},
	{"AMD_SERIALIZE_KERNEL=3",
	 "Kernels that overlap are needed for it: look for a missing dependency between kernels "
	 "(streams, events), and run with AMD_SERIALIZE_KERNEL=3 meanwhile."},
	{"GPU_MAX_HW_QUEUES=1",
	 "Several hardware queues are needed for it: look for waits across streams, and run with "
	 "GPU_MAX_HW_QUEUES=1 meanwhile."},
	{"CUDA_LAUNCH_BLOCKING=1",
	 "Kernels that overlap are needed for it: look for a missing dependency between kernels "
	 "(streams, events), and run with CUDA_LAUNCH_BLOCKING=1 meanwhile."},
	{"CUDA_DEVICE_MAX_CONNECTIONS=1",
	 "Several hardware queues are needed for it: look for waits across streams, and run with "
	 "CUDA_DEVICE_MAX_CONNECTIONS=1 meanwhile."},
};

static void next_setting(const char *name, struct greta_buf *out)
{
	for (size_t i = 0; i < GRETA_COUNT(known); i++) {
		if (!greta_str_eq(known[i].setting, name))
			continue;
		greta_buf_addf(out, "Next: %s\n", known[i].next);
		return;
	}
	greta_buf_addf(out, "Next: run with %s meanwhile, and look at what it switches off.\n", name);
}

static void next_factor(const struct rca_verdict *v, size_t f, struct greta_buf *out)
{
	switch (v->rca.design.factors[f].kind) {
	case RCA_VARIANT:
		greta_buf_addf(out,
			       "Next: compare the kernel of %s with that of %s at context %lld; the breadcrumbs and "
			       "stacks of the "
			       "hung attempts say where it stands (`greta-orch show --attempt %lld`).\n",
			       v->rca.design.variant, v->rca.design.reference, (long long)v->state.smallest,
			       (long long)v->rca.explains);
		break;
	case RCA_DEVICE:
		greta_buf_adds(
			out,
			"Next: take that GPU out of use and have it checked; the others of its node do not hang.\n");
		break;
	case RCA_NODE:
		greta_buf_adds(out, "Next: drain that node, and compare its driver, firmware and kernel with those of "
				    "nodes that do "
				    "not hang (`greta-orch show --attempt`, section environment).\n");
		break;
	default:
		next_setting(v->rca.design.factors[f].name, out);
		break;
	}
}

static void words_next(const struct rca_verdict *v, struct greta_buf *out)
{
	size_t before = out->len;
	enum rca_finding follows;

	if (v->state.end == RCA_END_GOES_ON)
		return;
	for (size_t f = 0; f < v->rca.design.n_factors; f++) {
		follows = v->state.factors[f].finding;
		if (v->rca.design.factors[f].kind == RCA_NODE)
			rca_verdict_finding(v, RCA_NODE, &follows);
		if (follows == RCA_REMOVES_HANGS)
			next_factor(v, f, out);
	}
	if (v->state.end == RCA_END_UNDECIDED)
		greta_buf_addf(
			out,
			"Next: search again with a larger --budget (`greta-orch rca --attempt %lld`), or with fewer "
			"settings (--set).\n",
			(long long)v->rca.explains);
	else if (v->state.end == RCA_END_NOTHING)
		greta_buf_addf(out,
			       "Next: wait until it comes back, or look for a rarer one: `greta-orch rca --attempt "
			       "%lld --rate "
			       "%g`.\n",
			       (long long)v->rca.explains, 100 * v->rca.design.rate / 2);
	else if (out->len == before && v->state.end == RCA_END_DECIDED)
		greta_buf_adds(out, "Next: try other settings (--set NAME=VALUE), another driver or firmware, or let "
				    "the debug agent "
				    "dump the waves of a hang (--set HSA_TOOLS_LIB=librocm-debug-agent.so.2,"
				    "ROCM_DEBUG_AGENT_OPTIONS=--all).\n");
	if (v->state.again.hung > 0)
		greta_buf_addf(out, "By hand: `greta-orch repro %lld` prints a script that runs the attempt again.\n",
			       (long long)v->rca.explains);
}

void rca_verdict_words(const struct rca_verdict *v, struct greta_buf *out)
{
	words_head(v, out);
	words_factors(v, out);
	words_context(v, out);
	words_follows(v, out);
	words_imported(v, out);
	words_next(v, out);
}
