#include "orchestrator/control/status.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

void status_release(struct status *s)
{
	for (size_t i = 0; i < s->n_campaigns; i++) {
		free(s->campaigns[i].name);
		free(s->campaigns[i].state);
	}
	for (size_t i = 0; i < s->n_attempts; i++) {
		struct status_attempt *a = &s->attempts[i];

		free(a->variant);
		free(a->node);
		free(a->slot);
		free(a->verdict);
		free(a->waiting_for);
	}
	for (size_t i = 0; i < s->n_nodes; i++) {
		free(s->nodes[i].name);
		free(s->nodes[i].transport);
		free(s->nodes[i].state);
		free(s->nodes[i].reason);
	}
	for (size_t i = 0; i < s->n_news; i++)
		free(s->news[i].text);
	free(s->controller);
	free(s->campaigns);
	free(s->attempts);
	free(s->nodes);
	free(s->news);
	*s = (struct status){0};
}

/* ---- out */

static void print_campaign(struct greta_jsonw *w, const struct status_campaign *c)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_i64(w, "id", c->id);
	greta_jsonw_str(w, "name", c->name);
	greta_jsonw_str(w, "state", c->state);
	greta_jsonw_i64(w, "jobs", c->n_jobs);
	greta_jsonw_i64(w, "queued", c->n_queued);
	greta_jsonw_i64(w, "running", c->n_running);
	greta_jsonw_i64(w, "done", c->n_done);
	greta_jsonw_i64(w, "skipped", c->n_skipped);
	greta_jsonw_i64(w, "cancelled", c->n_cancelled);
	greta_jsonw_object(w, "attempts");
	for (int i = 0; i < GRETA_OUTCOME_COUNT; i++)
		if (c->ended_by[i])
			greta_jsonw_i64(w, greta_outcome_name(i), c->ended_by[i]);
	greta_jsonw_end_object(w);
	greta_jsonw_f64(w, "elapsed_s", c->elapsed_s);
	greta_jsonw_f64(w, "eta_s", c->eta_s);
	greta_jsonw_f64(w, "eta_low_s", c->eta_low_s);
	greta_jsonw_f64(w, "eta_high_s", c->eta_high_s);
	greta_jsonw_end_object(w);
}

static void print_progress(struct greta_jsonw *w, const struct greta_progress *p)
{
	greta_jsonw_str(w, "phase", greta_phase_name(p->phase));
	greta_jsonw_f64(w, "done", p->done);
	greta_jsonw_f64(w, "total", p->total);
	greta_jsonw_str(w, "unit", p->unit);
	greta_jsonw_f64(w, "t_s", p->t_s);
	greta_jsonw_str(w, "at", p->at);
}

static void print_attempt(struct greta_jsonw *w, const struct status_attempt *a)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "uuid", a->uuid);
	greta_jsonw_i64(w, "campaign", a->campaign_id);
	greta_jsonw_i64(w, "job", a->job_id);
	greta_jsonw_str(w, "variant", a->variant);
	greta_jsonw_i64(w, "context", a->context);
	greta_jsonw_i64(w, "repeat", a->repeat);
	greta_jsonw_i64(w, "try", a->try_no);
	greta_jsonw_str(w, "node", a->node);
	greta_jsonw_str(w, "slot", a->slot);
	print_progress(w, &a->progress);
	greta_jsonw_f64(w, "running_s", a->running_s);
	greta_jsonw_f64(w, "phase_s", a->phase_s);
	greta_jsonw_f64(w, "since_progress_s", a->since_progress_s);
	greta_jsonw_f64(w, "eta_s", a->eta_s);
	greta_jsonw_f64(w, "budget_s", a->budget_s);
	greta_jsonw_str(w, "verdict", a->verdict);
	greta_jsonw_str(w, "waiting_for", a->waiting_for);
	greta_jsonw_end_object(w);
}

static void print_node(struct greta_jsonw *w, const struct status_node *n)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "name", n->name);
	greta_jsonw_str(w, "transport", n->transport);
	greta_jsonw_str(w, "state", n->state);
	greta_jsonw_str(w, "reason", n->reason);
	greta_jsonw_i64(w, "slots", n->n_slots);
	greta_jsonw_i64(w, "busy", n->n_busy);
	greta_jsonw_f64(w, "rtt_s", n->rtt_s);
	greta_jsonw_end_object(w);
}

void status_print(const struct status *s, struct greta_jsonw *w)
{
	greta_jsonw_str(w, "controller", s->controller);
	greta_jsonw_i64(w, "fence", s->fence);
	greta_jsonw_array(w, "campaigns");
	for (size_t i = 0; i < s->n_campaigns; i++)
		print_campaign(w, &s->campaigns[i]);
	greta_jsonw_end_array(w);
	greta_jsonw_array(w, "attempts");
	for (size_t i = 0; i < s->n_attempts; i++)
		print_attempt(w, &s->attempts[i]);
	greta_jsonw_end_array(w);
	greta_jsonw_array(w, "nodes");
	for (size_t i = 0; i < s->n_nodes; i++)
		print_node(w, &s->nodes[i]);
	greta_jsonw_end_array(w);
	greta_jsonw_array(w, "news");
	for (size_t i = 0; i < s->n_news; i++) {
		greta_jsonw_object(w, NULL);
		greta_jsonw_i64(w, "wall_ns", s->news[i].wall_ns);
		greta_jsonw_str(w, "text", s->news[i].text);
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
}

/* ---- in: what is missing stays zero, or NAN for a duration */

static char *get_str(const struct greta_json_val *o, const char *key)
{
	const char *s;

	return greta_json_str(greta_json_get(o, key), &s) == 0 ? greta_strdup(s) : NULL;
}

static int64_t get_i64(const struct greta_json_val *o, const char *key)
{
	int64_t n = 0;

	greta_json_i64(greta_json_get(o, key), &n);
	return n;
}

static double get_f64(const struct greta_json_val *o, const char *key)
{
	double x = NAN;

	greta_json_f64(greta_json_get(o, key), &x);
	return x;
}

static void get_text(const struct greta_json_val *o, const char *key, char *out, size_t cap)
{
	const char *s = "";

	greta_json_str(greta_json_get(o, key), &s);
	greta_str_copy(out, cap, s);
}

static void parse_campaign(const struct greta_json_val *o, struct status_campaign *c)
{
	const struct greta_json_val *attempts = greta_json_get(o, "attempts");

	*c = (struct status_campaign){
		.id = get_i64(o, "id"),
		.name = get_str(o, "name"),
		.state = get_str(o, "state"),
		.n_jobs = get_i64(o, "jobs"),
		.n_queued = get_i64(o, "queued"),
		.n_running = get_i64(o, "running"),
		.n_done = get_i64(o, "done"),
		.n_skipped = get_i64(o, "skipped"),
		.n_cancelled = get_i64(o, "cancelled"),
		.elapsed_s = get_f64(o, "elapsed_s"),
		.eta_s = get_f64(o, "eta_s"),
		.eta_low_s = get_f64(o, "eta_low_s"),
		.eta_high_s = get_f64(o, "eta_high_s"),
	};
	for (int i = 0; attempts && i < GRETA_OUTCOME_COUNT; i++)
		c->ended_by[i] = get_i64(attempts, greta_outcome_name(i));
}

static void parse_attempt(const struct greta_json_val *o, struct status_attempt *a)
{
	const char *phase = NULL;

	*a = (struct status_attempt){
		.campaign_id = get_i64(o, "campaign"),
		.job_id = get_i64(o, "job"),
		.variant = get_str(o, "variant"),
		.context = get_i64(o, "context"),
		.repeat = get_i64(o, "repeat"),
		.try_no = get_i64(o, "try"),
		.node = get_str(o, "node"),
		.slot = get_str(o, "slot"),
		.running_s = get_f64(o, "running_s"),
		.phase_s = get_f64(o, "phase_s"),
		.since_progress_s = get_f64(o, "since_progress_s"),
		.eta_s = get_f64(o, "eta_s"),
		.budget_s = get_f64(o, "budget_s"),
		.verdict = get_str(o, "verdict"),
		.waiting_for = get_str(o, "waiting_for"),
	};
	get_text(o, "uuid", a->uuid, sizeof a->uuid);
	greta_json_str(greta_json_get(o, "phase"), &phase);
	a->progress.phase = phase ? greta_phase_parse(phase) : GRETA_PHASE_NONE;
	greta_json_f64(greta_json_get(o, "done"), &a->progress.done);
	greta_json_f64(greta_json_get(o, "total"), &a->progress.total);
	get_text(o, "unit", a->progress.unit, sizeof a->progress.unit);
	get_text(o, "at", a->progress.at, sizeof a->progress.at);
	a->progress.t_s = get_f64(o, "t_s");
}

static void parse_node(const struct greta_json_val *o, struct status_node *n)
{
	*n = (struct status_node){
		.name = get_str(o, "name"),
		.transport = get_str(o, "transport"),
		.state = get_str(o, "state"),
		.reason = get_str(o, "reason"),
		.n_slots = get_i64(o, "slots"),
		.n_busy = get_i64(o, "busy"),
		.rtt_s = get_f64(o, "rtt_s"),
	};
}

static const struct greta_json_val *first_of(const struct greta_json_val *o, const char *key)
{
	const struct greta_json_val *list = greta_json_get(o, key);

	return list ? greta_json_first(list) : NULL;
}

void status_parse(const struct greta_json_val *o, struct status *out)
{
	*out = (struct status){ .controller = get_str(o, "controller"), .fence = get_i64(o, "fence") };
	for (const struct greta_json_val *v = first_of(o, "campaigns"); v; v = greta_json_next(v))
		parse_campaign(v, GRETA_PUSH(out->campaigns, out->n_campaigns, out->cap_campaigns));
	for (const struct greta_json_val *v = first_of(o, "attempts"); v; v = greta_json_next(v))
		parse_attempt(v, GRETA_PUSH(out->attempts, out->n_attempts, out->cap_attempts));
	for (const struct greta_json_val *v = first_of(o, "nodes"); v; v = greta_json_next(v))
		parse_node(v, GRETA_PUSH(out->nodes, out->n_nodes, out->cap_nodes));
	for (const struct greta_json_val *v = first_of(o, "news"); v; v = greta_json_next(v)) {
		GRETA_PUSH(out->news, out->n_news, out->cap_news);
		out->news[out->n_news - 1].text = get_str(v, "text");
		out->news[out->n_news - 1].wall_ns = get_i64(v, "wall_ns");
	}
}
