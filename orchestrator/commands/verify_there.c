#include "orchestrator/commands/verify_there.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/str.h"
#include "db/nodes.h"
#include "orchestrator/commands/live.h"
#include "orchestrator/control/client.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BEGIN_S 30.0           /* until nodes are connected, the agent is there and slots are free, or Slurm's queue has moved */
#define CANCEL_NS (10 * GRETA_NS_PER_S)
#define PERIOD_MS 200

struct trial {
	const struct verify_trial *asked;
	const struct greta_campaign *campaign;
	struct verify_result *builds;
	struct live *live;
	char folder[4096];
	char *db_path;
	struct client *client;
	int64_t id;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signo)
{
	(void)signo;
	interrupted = 1;
}

static bool is_untried(const struct verify_result *b)
{
	return b->state == VERIFY_UNKNOWN && !b->late;
}

/* Of all builds that have not been tried. */
static void say_untried(struct trial *t, const char *why)
{
	for (size_t v = 0; v < t->campaign->n_variants; v++)
		if (is_untried(&t->builds[v]))
			greta_str_copy(t->builds[v].text, sizeof t->builds[v].text, why);
}

static size_t count_untried(const struct trial *t)
{
	size_t n = 0;

	for (size_t v = 0; v < t->campaign->n_variants; v++)
		n += is_untried(&t->builds[v]);
	return n;
}

/* ---- the campaign of the trial: the user's, cut down */

static struct verify_result *build_of(struct trial *t, const char *variant)
{
	for (size_t v = 0; v < t->campaign->n_variants; v++)
		if (greta_str_eq(t->campaign->variants[v].name, variant))
			return &t->builds[v];
	return NULL;
}

static void add_raw(struct greta_buf *out, const struct greta_json_val *v)
{
	if (out->data[out->len - 1] != '{' && out->data[out->len - 1] != '[')
		greta_buf_addc(out, ',');
	if (greta_json_key(v))
		greta_buf_addf(out, "\"%s\":", greta_json_key(v));
	greta_json_print(v, out);
}

static void add_variants(struct trial *t, const struct greta_json_val *variants, struct greta_buf *out)
{
	greta_buf_adds(out, ",\"variants\":[");
	for (const struct greta_json_val *v = greta_json_first(variants); v; v = greta_json_next(v)) {
		const char *name = NULL;
		const struct verify_result *b;

		greta_json_str(greta_json_get(v, "name"), &name);
		b = build_of(t, name);
		if (b && is_untried(b))
			add_raw(out, v);
	}
	greta_buf_addc(out, ']');
}

static bool is_kept(const char *key)
{
	static const char *const replaced[] = {"variants", "contexts", "repeats", "samples_per_attempt", "warmup", "timeout_s",
					       "retries",  "gates",    "reference", "order",             "seed"};

	return !greta_str_in(key, replaced, GRETA_COUNT(replaced));
}

static void add_campaign(struct trial *t, const struct greta_json_val *root, struct greta_buf *out)
{
	greta_buf_addc(out, '{');
	for (const struct greta_json_val *v = greta_json_first(root); v; v = greta_json_next(v))
		if (is_kept(greta_json_key(v)))
			add_raw(out, v);
	add_variants(t, greta_json_get(root, "variants"), out);
	greta_buf_addf(out, ",\"contexts\":[%d],\"repeats\":1,\"warmup\":0,\"timeout_s\":%g", VERIFY_CONTEXT,
		       t->asked->deadline_s);
	if (t->campaign->gates.no_spill)
		greta_buf_adds(out, ",\"gates\":{\"no_spill\":true}");
	greta_buf_adds(out, ",\"retries\":{\"infra\":0,\"lost\":0}}");
}

/* ---- its database, with the nodes of the user's */

static int add_node(struct trial *t, const struct greta_alias_row *row, struct greta_err *e)
{
	cleanup_buf struct greta_buf request = {0};
	struct greta_jsonw w = greta_jsonw(&request);
	struct greta_json *answer;

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", row->name);
	greta_jsonw_str(&w, "transport", row->transport);
	greta_jsonw_str(&w, "settings", row->settings);
	greta_jsonw_str(&w, "labels", row->labels);
	greta_jsonw_end_object(&w);
	answer = client_call(t->client, "node_add", greta_buf_str(&request), e);
	greta_json_destroy(answer);
	return answer ? 0 : -1;
}

static int add_nodes(struct trial *t, const struct greta_alias_rows *nodes, struct greta_err *e)
{
	size_t n = 0;

	for (size_t i = 0; i < nodes->n; i++) {
		if (nodes->items[i].state != GRETA_ALIAS_UP)
			continue;
		if (add_node(t, &nodes->items[i], e) < 0)
			return -1;
		n++;
	}
	return n ? 0 : greta_err_set(e, GRETA_ENOENT, "no node takes jobs (`greta-orch node list`)");
}

static int submit(struct trial *t, const struct greta_buf *text, struct greta_err *e)
{
	cleanup_buf struct greta_buf campaign = {0}, request = {0};
	cleanup_free char *file = t->campaign->file ? realpath(t->campaign->file, NULL) : NULL;
	cleanup_free char *base_dir = file ? greta_strndup(file, (size_t)(strrchr(file, '/') - file)) : getcwd(NULL, 0);
	struct greta_json *doc = greta_json_parse("campaign", greta_buf_str(text), text->len, e);
	struct greta_jsonw w = greta_jsonw(&request);
	struct greta_json *answer;

	if (!doc)
		return -1;
	add_campaign(t, greta_json_root(doc), &campaign);
	greta_json_destroy(doc);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", "trial");
	greta_jsonw_str(&w, "text", greta_buf_str(&campaign));
	greta_jsonw_str(&w, "base_dir", base_dir);
	greta_jsonw_end_object(&w);
	answer = client_call(t->client, "submit", greta_buf_str(&request), e);
	if (!answer)
		return -1;
	greta_json_i64(greta_json_get(greta_json_get(greta_json_root(answer), "ok"), "campaign"), &t->id);
	greta_json_destroy(answer);
	return 0;
}

/* ---- waiting for it */

static void cancel(struct trial *t)
{
	cleanup_free char *args = greta_format("{\"campaign\":%lld}", (long long)t->id);

	greta_json_destroy(client_call(t->client, "cancel", args, NULL));
}

static void draw(struct trial *t, const struct greta_json_val *status)
{
	struct status s;

	if (!status || !t->live)
		return;
	status_parse(status, &s);
	live_update(t->live, &s);
	status_release(&s);
}

/* True when the controller told of the campaign's end. why is filled when it could not run. */
static bool ended(struct trial *t, char *why, size_t cap, bool *gone)
{
	struct greta_json *line = NULL;
	const struct greta_json_val *end;
	const char *reason = NULL;
	int rc = client_next(t->client, PERIOD_MS, &line, NULL);

	*gone = rc < 0;
	if (rc > 0)
		draw(t, greta_json_get(greta_json_root(line), "status"));
	end = rc > 0 ? greta_json_get(greta_json_root(line), "end") : NULL;
	if (end && greta_json_str(greta_json_get(end, "why"), &reason) == 0)
		snprintf(why, cap, "no node could try it: %s", reason);
	greta_json_destroy(line);
	return end;
}

/* Fills why when it did not run to its end. */
static void wait_for_end(struct trial *t, char *why, size_t cap)
{
	cleanup_free char *args = greta_format("{\"campaign\":%lld,\"period_ms\":%d}", (long long)t->id, PERIOD_MS);
	double patience_s = BEGIN_S + t->asked->deadline_s * (double)count_untried(t);
	int64_t give_up_ns = greta_clock_mono_ns() + (int64_t)(patience_s * (double)GRETA_NS_PER_S);
	bool cancelled = false, gone = false;
	char patience[32];

	greta_json_destroy(client_call(t->client, "watch", args, NULL));
	while (!ended(t, why, cap, &gone)) {
		if (gone || (cancelled && greta_clock_mono_ns() > give_up_ns))
			return;
		if (cancelled || (!interrupted && greta_clock_mono_ns() < give_up_ns))
			continue;
		snprintf(why, cap, interrupted ? "interrupted" : "no node had tried it within %s",
			 greta_str_seconds(patience, sizeof patience, patience_s));
		cancel(t);
		cancelled = true;
		give_up_ns = greta_clock_mono_ns() + CANCEL_NS;
	}
}

/* ---- what came of it */

static void take_result(const struct trial *t, struct verify_result *b, struct greta_query *q)
{
	const char *outcome = greta_query_str(q, 1), *reason = greta_query_str(q, 2), *sha = greta_query_str(q, 3);
	const char *node = greta_query_str(q, 4);
	bool good = greta_str_eq(outcome, "ok");
	bool ran = good || greta_str_eq(outcome, "invalid") || greta_str_eq(outcome, "failed") ||
		   greta_str_eq(outcome, "oom") || greta_str_eq(outcome, "hung");
	char limit[32];

	greta_str_copy(b->sha256, sizeof b->sha256, sha ? sha : "");
	b->state = good ? VERIFY_GOOD : ran ? VERIFY_BAD : VERIFY_UNKNOWN;
	if (good)
		snprintf(b->text, sizeof b->text, "on %s: sha256 %.12s, prefilled %d tokens and kept the contract%s", node,
			 b->sha256, VERIFY_CONTEXT,
			 greta_query_i64(q, 5) ? "" : " (it does not say how many tokens it prefilled)");
	else if (greta_str_eq(outcome, "timed_out"))
		snprintf(b->text, sizeof b->text, "on %s: a prefill of a few tokens had not ended within %s; --verify-timeout gives it "
			 "more", node, greta_str_seconds(limit, sizeof limit, t->asked->deadline_s));
	else
		snprintf(b->text, sizeof b->text, "on %s: %s: %s", node, outcome, reason ? reason : "no reason given");
}

static void take_results(struct trial *t)
{
	static const char sql[] = "SELECT v.name, a.outcome, a.reason, b.engine_sha256, n.name, a.tokens_verified "
				  "FROM attempt a JOIN job j ON j.id = a.job_id JOIN variant v ON v.id = j.variant_id "
				  "JOIN alias n ON n.id = a.alias_id LEFT JOIN build b ON b.id = a.build_id "
				  "WHERE a.outcome <> 'cancelled' AND a.outcome <> 'unknown' ORDER BY a.id";
	struct greta_db *db = greta_db_open_reader(t->db_path, NULL);
	struct greta_query *q = db ? greta_query_open(db, NULL, sql, "") : NULL;

	while (q && greta_query_step(q, NULL) == 1) {
		struct verify_result *b = build_of(t, greta_query_str(q, 0));

		if (b)
			take_result(t, b, q);
	}
	greta_query_close(q);
	greta_db_close(db);
}

/* ---- the trial */

static int run(struct trial *t, const struct greta_alias_rows *nodes, const struct greta_buf *text, char *why, size_t cap,
	       struct greta_err *e)
{
	t->client = client_open(t->db_path, true, e);
	if (!t->client)
		return -1;
	if (add_nodes(t, nodes, e) < 0 || submit(t, text, e) < 0)
		return -1;
	t->live = t->asked->term ? live_create(*t->asked->term, 0) : NULL;
	wait_for_end(t, why, cap);
	if (t->live)
		live_finish(t->live);
	return 0;
}

static void throw_away(struct trial *t)
{
	if (t->client) {
		pid_t controller = client_pid(t->client);

		greta_json_destroy(client_call(t->client, "stop", NULL, NULL));
		client_close(t->client);
		waitpid(controller, NULL, 0);
	}
	greta_fs_remove_tree(t->folder, NULL);
	free(t->db_path);
}

static int make_folder(struct trial *t, struct greta_err *e)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(t->folder, sizeof t->folder, "%s/greta-plan-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(t->folder)) {
		greta_err_sys(e, "can't make %s", t->folder);
		t->folder[0] = '\0';
		return -1;
	}
	t->db_path = greta_fs_join(t->folder, "trial.db");
	return 0;
}

static void try_there(struct trial *t, const struct greta_alias_rows *nodes, const struct greta_buf *text)
{
	struct greta_err e = {0};
	char why[sizeof e.text + 64] = "it has not been tried";

	if (make_folder(t, &e) < 0) {
		say_untried(t, e.text);
		return;
	}
	if (run(t, nodes, text, why, sizeof why, &e) < 0)
		snprintf(why, sizeof why, "can't be tried on a node: %s", e.text);
	say_untried(t, why);
	take_results(t);
	throw_away(t);
}

bool verify_there(struct greta_db *db, const struct verify_trial *trial, struct verify_result *builds)
{
	struct sigaction catch = {.sa_handler = on_interrupt}, before;
	struct trial t = {.asked = trial, .campaign = trial->campaign, .builds = builds};
	struct greta_alias_rows nodes = {0};

	if (!count_untried(&t) || !db || greta_nodes_list(db, false, &nodes, NULL) < 0 || !nodes.n)
		return false;
	if (t.campaign->model.upload) {
		say_untried(&t, "it is not on this machine, and a trial on a node would upload the model: its first run will tell");
		greta_alias_rows_release(&nodes);
		return false;
	}
	interrupted = 0;
	sigaction(SIGINT, &catch, &before);
	try_there(&t, &nodes, trial->text);
	sigaction(SIGINT, &before, NULL);
	greta_alias_rows_release(&nodes);
	return interrupted;
}
