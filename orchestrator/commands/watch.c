#include "orchestrator/commands/watch.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/campaigns.h"
#include "orchestrator/analysis/regress.h"
#include "orchestrator/commands/live.h"
#include "orchestrator/control/gates.h"
#include "orchestrator/print/term.h"
#include "orchestrator/rca/rca_verdict.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PERIOD_MS 200
#define ATTEMPTS_DRAWN 500 /* more than a terminal has lines */

static volatile sig_atomic_t interrupts, terminated;

static void on_interrupt(int signo)
{
	if (signo == SIGINT)
		interrupts++;
	else
		terminated = 1;
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_interrupt};

	interrupts = terminated = 0;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
}

struct watching {
	struct cmd_ctx *ctx;
	struct client *client;
	struct live *live;
	int64_t campaign_id;
	bool holds, asked;
};

static void say(struct watching *w, const char *text)
{
	if (w->live)
		live_say(w->live, text);
	else
		fprintf(stderr, "%s\n", text);
}

/* ask: only whether it would. */
static bool leave(struct watching *w, bool ask)
{
	struct greta_json *answer = w->holds ? client_call(w->client, "leave", ask ? "{\"ask\":true}" : NULL, NULL) : NULL;
	bool stops = false;

	if (answer)
		greta_json_bool(greta_json_get(greta_json_get(greta_json_root(answer), "ok"), "stops"), &stops);
	greta_json_destroy(answer);
	return stops;
}

static void say_consequence(struct watching *w)
{
	cleanup_free char *text = NULL;

	if (leave(w, true))
		text = greta_format("Ctrl-C again leaves: running attempts go on on their nodes, queued jobs wait, "
				    "and `greta-orch resume --db %s` goes on from there. Press nothing to stay.",
				    w->ctx->db_path);
	else
		text = greta_format("Ctrl-C again stops watching; the controller (pid %d) goes on by itself.",
				    (int)client_pid(w->client));
	say(w, text);
}

/* True: leave now. The first Ctrl-C asks; a SIGTERM does not. */
static bool leaving(struct watching *w)
{
	if (interrupts == 1 && !w->asked && !terminated) {
		w->asked = true;
		say_consequence(w);
	}
	if (interrupts < 2 && !terminated)
		return false;
	leave(w, false);
	return true;
}

/* 1: the end was told, -1: the controller is gone. */
static int take_line(struct watching *w, const struct greta_json_val *line, const char **end_state, const char **why)
{
	const struct greta_json_val *status = greta_json_get(line, "status"), *end = greta_json_get(line, "end");
	struct status s;

	if (status && w->live) {
		status_parse(status, &s);
		live_update(w->live, &s);
		status_release(&s);
	}
	if (!end)
		return 0;
	*end_state = "ended";
	*why = NULL;
	greta_json_str(greta_json_get(end, "state"), end_state);
	greta_json_str(greta_json_get(end, "why"), why);
	return 1;
}

static int finish(struct watching *w, const char *state, const char *why, struct greta_err *e)
{
	if (w->live)
		live_finish(w->live);
	w->live = NULL;
	if (greta_str_eq(state, "stuck"))
		return greta_err_set(e, GRETA_EFAIL, "no node can run campaign %lld: %s. It is stored; `greta-orch resume` "
				     "tries again", (long long)w->campaign_id, why ? why : "no reason given");
	if (greta_str_eq(state, "stopped"))
		return greta_err_set(e, GRETA_ECLOSED, "the controller stopped%s%s; `greta-orch resume` goes on",
				     why ? ": " : "", why ? why : "");
	return watch_verdict(w->ctx, w->campaign_id, e);
}

static int follow(struct watching *w, struct greta_err *e)
{
	for (;;) {
		struct greta_json *line = NULL;
		const char *state, *why;
		int rc = client_next(w->client, PERIOD_MS, &line, e);

		if (rc > 0 && take_line(w, greta_json_root(line), &state, &why)) {
			rc = finish(w, state, why, e);
			greta_json_destroy(line);
			return rc;
		}
		greta_json_destroy(line);
		if (rc < 0)
			return -1;
		if (leaving(w))
			return CMD_INTERRUPTED;
	}
}

int watch_campaign(struct cmd_ctx *ctx, struct client *client, int64_t campaign_id, bool holds, struct greta_err *e)
{
	struct watching w = {.ctx = ctx, .client = client, .campaign_id = campaign_id, .holds = holds};
	struct term term = term_of(STDOUT_FILENO, ctx->color);
	int drawn = !ctx->json && term.tty ? ATTEMPTS_DRAWN : 0;
	cleanup_free char *args = greta_format("{\"campaign\":%lld,\"period_ms\":%d,\"holds\":%s,\"attempts\":%d,\"up\":false}",
						(long long)campaign_id, PERIOD_MS, holds ? "true" : "false", drawn);
	struct greta_json *answer;
	const char *state = "";
	bool waiting;
	int rc;

	catch_signals();
	answer = client_call(client, "watch", args, e);
	if (!answer)
		return -1;
	greta_json_str(greta_json_get(greta_json_get(greta_json_root(answer), "ok"), "state"), &state);
	waiting = greta_str_eq(state, "waiting");
	greta_json_destroy(answer);
	if (waiting) {
		if (!ctx->json)
			puts("it waits to be resumed (`greta-orch resume`)");
		return watch_verdict(ctx, campaign_id, e);
	}
	if (!ctx->json)
		w.live = live_create(term, campaign_id);
	rc = follow(&w, e);
	if (w.live)
		live_finish(w.live);
	return rc;
}

static void print_verdict(const struct cmd_ctx *ctx, const struct greta_campaign_row *row,
			  const struct greta_campaign_counts *n, enum gates_verdict gates)
{
	static const char *const said[] = {"", "", ": a gate failed"};
	cleanup_buf struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);

	if (!ctx->json) {
		printf("campaign %lld (%s) %s: %lld of %lld jobs have a counted result%s\n", (long long)row->id,
		       row->name, greta_campaign_state_name(row->state), (long long)n->n_counted, (long long)n->n_jobs,
		       said[gates]);
		return;
	}
	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "campaign", row->id);
	greta_jsonw_str(&w, "uuid", row->uuid);
	greta_jsonw_str(&w, "name", row->name);
	greta_jsonw_str(&w, "state", greta_campaign_state_name(row->state));
	greta_jsonw_i64(&w, "jobs", n->n_jobs);
	greta_jsonw_i64(&w, "counted", n->n_counted);
	greta_jsonw_bool(&w, "gate_failed", gates == GATES_FAILED);
	greta_jsonw_object(&w, "attempts");
	for (int i = 0; i < GRETA_OUTCOME_COUNT; i++)
		if (n->attempts[i])
			greta_jsonw_i64(&w, greta_outcome_name(i), n->attempts[i]);
	greta_jsonw_end_object(&w);
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&out));
}

/* What earlier campaigns say to this one's times; `regress` has it in full, and an exit code. */
static void print_regressions(const struct cmd_ctx *ctx, struct greta_db *db, int64_t campaign_id)
{
	cleanup_buf struct greta_buf words = {0};
	struct greta_err why = {0};

	if (ctx->json)
		return;
	if (regress_after_campaign(db, campaign_id, &words, NULL, &why) < 0)
		greta_buf_addf(&words, "not compared with history: %s\n", why.text);
	fputs(greta_buf_str(&words), stdout);
}

int watch_verdict(struct cmd_ctx *ctx, int64_t campaign_id, struct greta_err *e)
{
	struct greta_db *db = greta_db_open_reader(ctx->db_path, e);
	struct greta_campaign_row row = {0};
	struct greta_campaign_counts counts = {0};
	enum gates_verdict gates;
	int rc = -1;

	if (db && greta_campaigns_get(db, campaign_id, &row, e) == 0 && row.kind == GRETA_CAMPAIGN_RCA)
		rc = rca_verdict_show(ctx, db, campaign_id, e);
	else if (row.id && greta_campaigns_counts(db, campaign_id, &counts, e) == 0 && gates_verdict(db, campaign_id, &gates, e) == 0) {
		bool all = counts.n_counted == counts.n_jobs;

		print_verdict(ctx, &row, &counts, gates);
		print_regressions(ctx, db, campaign_id);
		rc = all || gates == GATES_ENOUGH ? CMD_OK : CMD_NOT_ALL_OK;
		if (gates == GATES_FAILED && row.state != GRETA_CAMPAIGN_ACTIVE)
			rc = CMD_GATE;
	}
	greta_campaign_row_release(&row);
	greta_db_close(db);
	return rc;
}
