#include "agent/cmd.h"
#include "agent/slots.h"
#include "agent/spool.h"
#include "agent/tail.h"
#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct values {
	bool json;
};

static const struct greta_opt options[] = {
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL, "as JSON"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent status",
	.operands = "",
	.summary = "attempts and slots on this node",
	.opts = options,
};

struct seen {
	char id[GRETA_UUID_LEN + 1], db[GRETA_UUID_LEN + 1];
	struct greta_spec spec;
	const char *state;   /* "waiting", "running", "done", "orphaned": its supervisor died, nobody has ended it yet */
	struct greta_end end;
	struct greta_progress progress;
	int64_t last_seq, acked_seq;
	pid_t supervisor;
};

static void take_event(struct seen *a, const struct greta_event *ev)
{
	a->last_seq = ev->seq;
	if (ev->kind == GRETA_EVENT_WAITING || ev->kind == GRETA_EVENT_ACCEPTED)
		a->state = "waiting";
	else if (ev->kind == GRETA_EVENT_STARTED)
		a->state = "running";
	else if (ev->kind == GRETA_EVENT_PROGRESS)
		greta_progress_parse(ev->detail, strlen(ev->detail), &a->progress, NULL);
	else if (ev->kind == GRETA_EVENT_OUTCOME)
		greta_end_parse(ev->detail, strlen(ev->detail), &a->end, NULL);
}

static void look(const char *spool, const char *id, struct seen *a)
{
	struct tail t;
	cleanup_free char *dir = spool_attempt_dir(spool, id);
	*a = (struct seen){.state = "waiting", .supervisor = spool_lock_pid(dir), .acked_seq = spool_acked(dir)};
	greta_str_copy(a->id, sizeof a->id, id);
	spool_read_owner(dir, a->db, NULL);
	spool_read_spec(dir, &a->spec, NULL);
	if (tail_open(&t, dir, 0, NULL) != 0)
		return;
	while (tail_next(&t, NULL) == 1) {
		struct greta_msg m = {0};
		if (tail_decode(&t, &m, NULL) == 0)
			take_event(a, m.event);
		greta_msg_release(&m);
	}
	cleanup_fd int lock = t.ended ? -1 : spool_lock(dir, NULL);
	if (t.ended)
		a->state = "done";
	else if (lock >= 0 && !spool_is_finished(dir))
		a->state = "orphaned";
	tail_close(&t);
}

static void release(struct seen *a)
{
	greta_spec_release(&a->spec);
	greta_end_release(&a->end);
}

static void json_attempt(struct greta_jsonw *w, const struct seen *a)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "attempt", a->id);
	greta_jsonw_str(w, "db", a->db);
	greta_jsonw_str(w, "campaign", a->spec.campaign);
	greta_jsonw_str(w, "variant", a->spec.variant);
	greta_jsonw_i64(w, "context", a->spec.context);
	greta_jsonw_i64(w, "repeat", a->spec.repeat);
	greta_jsonw_str(w, "state", a->state);
	greta_jsonw_i64(w, "supervisor", a->supervisor);
	greta_jsonw_i64(w, "last_seq", a->last_seq);
	greta_jsonw_i64(w, "acked_seq", a->acked_seq);
	greta_jsonw_str(w, "phase", greta_phase_name(a->progress.phase));
	greta_jsonw_f64(w, "done", a->progress.done);
	greta_jsonw_f64(w, "total", a->progress.total);
	if (a->end.outcome != GRETA_OUTCOME_UNKNOWN)
		greta_jsonw_str(w, "outcome", greta_outcome_name(a->end.outcome));
	if (a->end.reason)
		greta_jsonw_str(w, "reason", a->end.reason);
	greta_jsonw_end_object(w);
}

static void text_attempt(const struct seen *a)
{
	printf("%s  %-8s  %s/%s ctx %" PRId64 " repeat %" PRId64, a->id, a->state, a->spec.campaign ? a->spec.campaign : "?",
	       a->spec.variant ? a->spec.variant : "?", a->spec.context, a->spec.repeat);
	if (a->end.outcome != GRETA_OUTCOME_UNKNOWN)
		printf("  %s%s%s", greta_outcome_name(a->end.outcome), a->end.reason ? ": " : "",
		       a->end.reason ? a->end.reason : "");
	else if (a->progress.phase != GRETA_PHASE_NONE)
		printf("  %s %g of %g %s", greta_phase_name(a->progress.phase), a->progress.done, a->progress.total,
		       a->progress.unit);
	putchar('\n');
}

static void json_slot(struct greta_jsonw *w, const struct slots_holder *h)
{
	greta_jsonw_object(w, NULL);
	greta_jsonw_str(w, "slot", h->name);
	greta_jsonw_bool(w, "held", h->held);
	if (h->held && h->pid) {
		greta_jsonw_i64(w, "pid", h->pid);
		greta_jsonw_i64(w, "uid", h->uid);
		greta_jsonw_str(w, "attempt", h->attempt);
	}
	greta_jsonw_end_object(w);
}

static void print_json(const struct agent_paths *paths, const struct seen *attempts, size_t n,
		       const struct slots_holder *slots, size_t n_slots)
{
	cleanup_buf struct greta_buf text = {0};
	struct greta_jsonw w = greta_jsonw(&text);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "node_id", paths->node_id);
	greta_jsonw_str(&w, "spool", paths->spool);
	greta_jsonw_array(&w, "attempts");
	for (size_t i = 0; i < n; i++)
		json_attempt(&w, &attempts[i]);
	greta_jsonw_end_array(&w);
	greta_jsonw_array(&w, "slots");
	for (size_t i = 0; i < n_slots; i++)
		json_slot(&w, &slots[i]);
	greta_jsonw_end_array(&w);
	greta_jsonw_end_object(&w);
	puts(greta_buf_str(&text));
}

static void print_text(const struct agent_paths *paths, const struct seen *attempts, size_t n,
		       const struct slots_holder *slots, size_t n_slots)
{
	printf("node %s, spool %s\n", paths->node_id, paths->spool);
	if (n == 0)
		puts("no attempts");
	for (size_t i = 0; i < n; i++)
		text_attempt(&attempts[i]);
	for (size_t i = 0; i < n_slots; i++)
		if (slots[i].held)
			printf("slot %s: held by pid %d, uid %u, attempt %s\n", slots[i].name, slots[i].pid, slots[i].uid,
			       slots[i].attempt[0] ? slots[i].attempt : "-");
}

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct values v = {0};
	cleanup_strs struct greta_strs ids = {0};
	int rc = cmd_parse(&opts, argc, argv, &v, NULL, false, e);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	spool_list(paths->spool, &ids);
	struct seen *attempts = greta_alloc((ids.n + 1) * sizeof *attempts);
	for (size_t i = 0; i < ids.n; i++)
		look(paths->spool, ids.items[i], &attempts[i]);
	struct slots_holder *slots = NULL;
	size_t n_slots = slots_holders(paths->slots, &slots);
	if (v.json)
		print_json(paths, attempts, ids.n, slots, n_slots);
	else
		print_text(paths, attempts, ids.n, slots, n_slots);
	for (size_t i = 0; i < ids.n; i++)
		release(&attempts[i]);
	free(attempts);
	free(slots);
	return 0;
}

const struct agent_cmd cmd_status = {
	.name = "status",
	.summary = "attempts and slots on this node",
	.needs_spool = true,
	.exec = run,
};
