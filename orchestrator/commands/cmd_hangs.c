/* hangs: all attempts that hung, by what they are known by, and what made them vanish. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "db/fingerprint.h"
#include "orchestrator/analysis/hang_rate.h"
#include "orchestrator/analysis/hangs.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/output.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTINGS_SHOWN 4 /* of those that the same runs had */
#define VANISHED_SHOWN 8

/* ---- for people */

static void print_counts(const struct hang_group *g, struct greta_buf *out)
{
	for (int by = 0; by < HANG_BY_COUNT; by++) {
		greta_buf_addf(out, "  %-10s", hang_by_names[by]);
		for (size_t i = 0; i < g->by[by].n; i++)
			greta_buf_addf(out, "%s%s (%" PRId64 ")", i ? ", " : "", g->by[by].items[i].name, g->by[by].items[i].n);
		greta_buf_addc(out, '\n');
	}
}

static void print_with(const struct greta_strs *with, struct greta_buf *out)
{
	for (size_t i = 0; i < with->n && i < SETTINGS_SHOWN; i++)
		greta_buf_addf(out, "%s%s", i ? ", " : "", with->items[i]);
	if (with->n > SETTINGS_SHOWN)
		greta_buf_addf(out, " and %zu more that always came with them", with->n - SETTINGS_SHOWN);
}

static void print_vanished(const struct vanish_list *v, struct greta_buf *out)
{
	for (size_t i = 0; i < v->n && i < VANISHED_SHOWN; i++) {
		const struct vanish *one = &v->items[i];
		greta_buf_addf(out, "  %-10s0 of %" PRId64 " with ", i ? "" : "vanished", one->n);
		print_with(&one->with, out);
		greta_buf_addf(out, " (hang rate under %.1f %%, one-sided 95 %% bound); %" PRId64 " of %" PRId64 " without\n",
			       hang_rate_bound((struct hang_rate){0, one->n}) * 100, one->hung_without, one->n_without);
	}
	if (v->n > VANISHED_SHOWN)
		greta_buf_addf(out, "  %-10sand with %zu other settings, in fewer runs each: --json has them\n", "", v->n - VANISHED_SHOWN);
	if (v->n_unchanged)
		greta_buf_addf(out, "  %-10s0 of %" PRId64 " since the last one, with nothing changed that is recorded\n",
			       v->n ? "" : "vanished", v->n_unchanged);
	if (v->n == 0 && v->n_unchanged == 0)
		greta_buf_adds(out, "  vanished  under nothing that was tried since\n");
}

static void print_group(const struct hang_group *g, const struct term *term, struct greta_buf *out)
{
	char first[GRETA_ISO_LEN + 1], last[GRETA_ISO_LEN + 1];
	term_add(term, out, TERM_BOLD, g->fingerprint);
	greta_buf_addf(out, "\n  %s %" PRId64 "x, first %s, last %s\n", "seen     ", g->n, greta_clock_iso(first, g->first_ns),
		       greta_clock_iso(last, g->last_ns));
	print_counts(g, out);
	print_vanished(&g->vanished, out);
	greta_buf_addf(out, "  last one  greta-orch show %.8s; greta-orch repro %.8s\n", g->attempts.items[g->attempts.n - 1],
		       g->attempts.items[g->attempts.n - 1]);
}

/* ---- as data */

static void write_counts(struct greta_jsonw *w, const char *key, const struct hang_counts *c)
{
	greta_jsonw_array(w, key);
	for (size_t i = 0; i < c->n; i++) {
		greta_jsonw_object(w, NULL);
		greta_jsonw_str(w, "name", c->items[i].name);
		greta_jsonw_i64(w, "n", c->items[i].n);
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
}

static void write_vanished(struct greta_jsonw *w, const struct vanish_list *v)
{
	greta_jsonw_array(w, "vanished");
	for (size_t i = 0; i < v->n; i++) {
		const struct vanish *one = &v->items[i];
		greta_jsonw_object(w, NULL);
		greta_jsonw_strs(w, "with", &one->with);
		greta_jsonw_i64(w, "n", one->n);
		greta_jsonw_i64(w, "hung", 0);
		greta_jsonw_f64(w, "rate_bound_95", hang_rate_bound((struct hang_rate){0, one->n}));
		greta_jsonw_i64(w, "n_without", one->n_without);
		greta_jsonw_i64(w, "hung_without", one->hung_without);
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
	greta_jsonw_i64(w, "n_unchanged_since", v->n_unchanged);
}

static void write_group(struct greta_jsonw *w, const struct hang_group *g)
{
	char iso[GRETA_ISO_LEN + 1];
	greta_jsonw_object(w, NULL);
	greta_jsonw_strn(w, "fingerprint", g->fingerprint, FINGERPRINT_HASH);
	greta_jsonw_str(w, "text", g->fingerprint + FINGERPRINT_HASH + 1);
	greta_jsonw_i64(w, "n", g->n);
	greta_jsonw_str(w, "first", greta_clock_iso(iso, g->first_ns));
	greta_jsonw_str(w, "last", greta_clock_iso(iso, g->last_ns));
	for (int by = 0; by < HANG_BY_COUNT; by++)
		write_counts(w, hang_by_names[by], &g->by[by]);
	write_vanished(w, &g->vanished);
	greta_jsonw_strs(w, "attempts", &g->attempts);
	greta_jsonw_end_object(w);
}

/* ---- the command */

static void print(const struct output *o, const struct hangs *h)
{
	cleanup_buf struct greta_buf out = {0};
	if (o->form == OUTPUT_JSON) {
		struct greta_jsonw w = greta_jsonw(&out);
		greta_jsonw_object(&w, NULL);
		greta_jsonw_array(&w, "hangs");
		for (size_t i = 0; i < h->n; i++)
			write_group(&w, &h->items[i]);
		greta_jsonw_end_array(&w);
		greta_jsonw_end_object(&w);
		greta_buf_addc(&out, '\n');
	}
	for (size_t i = 0; o->form == OUTPUT_TEXT && i < h->n; i++) {
		greta_buf_adds(&out, i ? "\n" : "");
		print_group(&h->items[i], &o->term, &out);
	}
	if (o->form == OUTPUT_TEXT && h->n == 0)
		greta_buf_adds(&out, "no attempt hung\n");
	fputs(greta_buf_str(&out), stdout);
}

static int hangs_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	struct output o = output_of(ctx, NULL);
	struct hangs h;
	cleanup_free int64_t *campaigns = greta_alloc((ctx->operands.n + 1) * sizeof *campaigns);
	(void)values;
	for (size_t i = 0; i < ctx->operands.n; i++)
		if (greta_campaigns_find(ctx->db, ctx->operands.items[i], &campaigns[i], e))
			return -1;
	if (hangs_load(ctx->db, campaigns, ctx->operands.n, &h, e))
		return -1;
	print(&o, &h);
	hangs_release(&h);
	return CMD_OK;
}

const struct cmd cmd_hangs = {
	.name = "hangs",
	.group = "Ask",
	.summary = "what hung, how often and where, and what made it vanish",
	.operands = "[CAMPAIGN]...",
	.max_operands = -1,
	.details = "Hangs are grouped by a fingerprint: verdict class, where the engine was, the frames of the stack that is stuck,\n"
		   "and lines of the kernel's and the engine's logs, without addresses, pids and the like; so the same hang on\n"
		   "another node is the same. With CAMPAIGNs, only those that occurred in them.\n\n"
		   "`vanished` tells of runs of the same variants and contexts, in any campaign, that came after the first hang, and\n"
		   "under which settings none hung, on how many runs that rests, and how many hung without. Settings that the same\n"
		   "runs had are told together. It is an observation; `rca` does the experiment.\n\n"
		   "  greta-orch hangs\n"
		   "  greta-orch hangs --json nightly | jq '.hangs[0].vanished'\n",
	.needs = CMD_NEEDS_READER,
	.exec = hangs_exec,
};
