/* node check and node ping: asking many nodes at once. */
#include "orchestrator/commands/cmd_node.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/db.h"
#include "db/nodes.h"
#include "orchestrator/analysis/stats.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *node_text(const struct greta_json_val *o, const char *key)
{
	const char *s = NULL;

	return greta_json_str(greta_json_get(o, key), &s) == 0 ? s : NULL;
}

double node_number(const struct greta_json_val *o, const char *key)
{
	double x = NAN;

	greta_json_f64(greta_json_get(o, key), &x);
	return x;
}

/* ---- all at once */

/* A question to nodes. */
struct question {
	const char *op;                                                /* of the controller */
	void (*answered)(const struct greta_json_val *ok, void *arg);  /* told to people */
	void (*failed)(const char *name, const struct greta_err *why, void *arg);
	void *arg;
};

static int64_t ask(struct client *client, const char *op, const char *name, struct greta_err *e)
{
	cleanup_buf struct greta_buf request = {0};
	struct greta_jsonw w = greta_jsonw(&request);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", name);
	greta_jsonw_end_object(&w);
	return client_ask(client, op, greta_buf_str(&request), e);
}

static int show_answer(struct cmd_ctx *ctx, struct client *client, const struct question *q, int64_t re, struct greta_err *e)
{
	cleanup_buf struct greta_buf out = {0};
	struct greta_json *answer = client_answer(client, re, e);
	const struct greta_json_val *ok;

	if (!answer)
		return -1;
	ok = greta_json_get(greta_json_root(answer), "ok");
	if (ctx->json) {
		greta_json_print(ok, &out);
		puts(greta_buf_str(&out));
	} else {
		q->answered(ok, q->arg);
	}
	fflush(stdout);
	greta_json_destroy(answer);
	return 0;
}

/* Asks all, then tells the answers in the order of the names, so that two runs can be compared. Returns how many failed,
 * the last one's reason in *e, or -1 where it could not ask. */
static int ask_nodes(struct cmd_ctx *ctx, struct client *client, const struct greta_strs *names, const struct question *q,
		     struct greta_err *e)
{
	cleanup_free int64_t *asked = greta_alloc((names->n + 1) * sizeof *asked);
	int n_bad = 0;

	for (size_t i = 0; i < names->n; i++) {
		asked[i] = ask(client, q->op, names->items[i], e);
		if (asked[i] < 0)
			return -1;
	}
	for (size_t i = 0; i < names->n; i++) {
		struct greta_err why = {0};

		if (show_answer(ctx, client, q, asked[i], &why) == 0)
			continue;
		n_bad++;
		greta_err_set(e, why.code, "%s", why.text);
		q->failed(names->items[i], &why, q->arg);
	}
	return n_bad;
}

static int all_names(struct cmd_ctx *ctx, struct greta_strs *names, struct greta_err *e)
{
	struct greta_db *db = greta_db_open_reader(ctx->db_path, e);
	struct greta_alias_rows rows = {0};
	int rc = db ? greta_nodes_list(db, false, &rows, e) : -1;

	for (size_t i = 0; i < rows.n && rc == 0; i++)
		greta_strs_add(names, rows.items[i].name);
	greta_alias_rows_release(&rows);
	greta_db_close(db);
	return rc;
}

typedef int nodes_fn(struct cmd_ctx *ctx, struct client *client, const struct greta_strs *names, struct greta_err *e);

/* Of those that are named, or of all. */
static int with_nodes(struct cmd_ctx *ctx, nodes_fn *fn, struct greta_err *e)
{
	cleanup_strs struct greta_strs all = {0};
	struct client *client;
	int rc;

	if (!ctx->operands.n && all_names(ctx, &all, e) < 0)
		return -1;
	client = client_open(ctx->db_path, true, e);
	if (!client)
		return -1;
	rc = fn(ctx, client, ctx->operands.n ? &ctx->operands : &all, e);
	client_close(client);
	return rc;
}

/* ---- check */

static void print_devices(const struct greta_json_val *list)
{
	size_t i = 0;

	if (!list || !greta_json_size(list)) {
		puts("  gpus        none found");
		return;
	}
	for (const struct greta_json_val *d = greta_json_first(list); d; d = greta_json_next(d)) {
		char vram[32];

		printf("  gpu %zu       %s, %s, %s, %s\n", i++, node_text(d, "name") ? node_text(d, "name") : "?",
		       node_text(d, "arch") ? node_text(d, "arch") : "unknown architecture",
		       greta_str_bytes(vram, sizeof vram, node_number(d, "vram_bytes")), node_text(d, "uuid"));
	}
}

static void print_check(const struct greta_json_val *o)
{
	char memory[32], disk[32];
	bool survives = false, pool = node_text(o, "transport") && greta_str_eq(node_text(o, "transport"), "slurm");

	greta_json_bool(greta_json_get(o, "survives_logout"), &survives);
	printf("node %s\n", node_text(o, "name"));
	printf("  machine     %s (%s)\n", node_text(o, "hostname"), node_text(o, "node_id"));
	printf("  agent       greta %s, round trip %.1f ms, clock %+.1f ms\n", node_text(o, "agent_version"),
	       node_number(o, "rtt_s") * 1e3, node_number(o, "clock_offset_s") * 1e3);
	if (node_text(o, "host_key"))
		printf("  host key    %s\n", node_text(o, "host_key"));
	printf("  cpus        %.0f, memory %s\n", node_number(o, "cpus"),
	       node_number(o, "mem_bytes") > 0 ? greta_str_bytes(memory, sizeof memory, node_number(o, "mem_bytes")) : "not known yet");
	if (pool)
		printf("  slots       %.0f GPUs and %.0f CPUs in %.0f allocations at once\n", node_number(o, "slot_gpus"),
		       node_number(o, "slot_cpus"), node_number(o, "allocations"));
	printf("  spool       %s free\n", greta_str_bytes(disk, sizeof disk, node_number(o, "spool_free_bytes")));
	if (!pool) /* its slots are Slurm's to give */
		print_devices(greta_json_get(o, "devices"));
	printf("  logout      attempts %s%s%s\n", survives ? "go on without a connection" : "may END with the connection",
	       node_text(o, "survives_why") ? ": " : "", node_text(o, "survives_why") ? node_text(o, "survives_why") : "");
}

static void check_answered(const struct greta_json_val *ok, void *arg)
{
	(void)arg;
	print_check(ok);
}

static void check_failed(const char *name, const struct greta_err *why, void *arg)
{
	const struct greta_strs *names = arg;

	if (names->n > 1) /* else it is what the command itself says */
		fprintf(stderr, "node %s: %s\n", name, why->text);
}

int node_check(struct cmd_ctx *ctx, struct client *client, const struct greta_strs *names, struct greta_err *e)
{
	const struct question q = {"node_check", check_answered, check_failed, (void *)names};
	int n_bad = ask_nodes(ctx, client, names, &q, e);

	if (n_bad > 0 && names->n > 1)
		return greta_err_set(e, GRETA_EFAIL, "%d of %zu nodes can't be used", n_bad, names->n);
	return n_bad ? -1 : CMD_OK;
}

static int check_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	(void)values;
	return with_nodes(ctx, node_check, e);
}

const struct cmd cmd_node_check = {
	.name = "node check",
	.group = "Nodes",
	.summary = "connect to nodes and show what they are",
	.operands = "[NAME...]",
	.max_operands = -1,
	.details = "Asks all that are named, or all there are, at once. Says whether attempts survive the end of the connection,\n"
		   "which GPUs there are, how much disk is free, and how far the node's clock is off. Exit code 3 when a node\n"
		   "can't be used.",
	.exec = check_exec,
};

/* ---- ping */

struct pinging {
	int width;                      /* of the longest name */
	struct stats_sample rtts_s;
	double slowest_s;
	char slowest[128];              /* the node */
};

static void ping_answered(const struct greta_json_val *ok, void *arg)
{
	struct pinging *p = arg;
	const char *name = node_text(ok, "name"), *version = node_text(ok, "agent_version");
	double rtt_s = node_number(ok, "rtt_s");

	printf("%-*s  %8.2f ms  clock %+.1f ms  greta %s\n", p->width, name, rtt_s * 1e3,
	       node_number(ok, "clock_offset_s") * 1e3, version ? version : "?");
	stats_add(&p->rtts_s, rtt_s);
	if (rtt_s <= p->slowest_s)
		return;
	p->slowest_s = rtt_s;
	greta_str_copy(p->slowest, sizeof p->slowest, name);
}

static void ping_failed(const char *name, const struct greta_err *why, void *arg)
{
	fprintf(stderr, "%-*s  no answer: %s\n", ((struct pinging *)arg)->width, name, why->text);
}

static void print_summary(const struct pinging *p, size_t n_nodes)
{
	struct stats_median rtt_s = stats_median(&p->rtts_s);

	printf("%zu of %zu nodes answer", rtt_s.n, n_nodes);
	if (rtt_s.n > 1)
		printf("; round trip %.2f ms (median), at most %.2f ms (%s)", rtt_s.median * 1e3, rtt_s.max * 1e3, p->slowest);
	puts("");
}

static int ping_nodes(struct cmd_ctx *ctx, struct client *client, const struct greta_strs *names, struct greta_err *e)
{
	struct pinging p = {.slowest_s = -1};
	const struct question q = {"node_ping", ping_answered, ping_failed, &p};
	int n_bad;

	for (size_t i = 0; i < names->n; i++)
		if ((int)strlen(names->items[i]) > p.width)
			p.width = (int)strlen(names->items[i]);
	n_bad = ask_nodes(ctx, client, names, &q, e);
	if (n_bad >= 0 && !ctx->json)
		print_summary(&p, names->n);
	stats_release(&p.rtts_s);
	if (n_bad < 0)
		return -1;
	return n_bad ? greta_err_set(e, GRETA_EFAIL, "%d of %zu nodes did not answer", n_bad, names->n) : CMD_OK;
}

static int ping_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	(void)values;
	return with_nodes(ctx, ping_nodes, e);
}

const struct cmd cmd_node_ping = {
	.name = "node ping",
	.group = "Nodes",
	.summary = "ask nodes for a sign of life",
	.operands = "[NAME...]",
	.max_operands = -1,
	.details = "Of all that are named, or all there are, at once, over connections that are there or new ones: the agent's\n"
		   "answer to a question that it does not have to think about. `node check` asks what a node is. Exit code 3\n"
		   "when a node does not answer.",
	.exec = ping_exec,
};
