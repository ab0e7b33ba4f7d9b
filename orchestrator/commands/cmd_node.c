/* node: which machines there are, and whether they are used. */
#include "orchestrator/commands/cmd_node.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "db/db.h"
#include "orchestrator/print/output.h"
#include "orchestrator/print/table.h"
#include "orchestrator/remote/transport.h"
#include "schemas/slurm.h"
#include <stdio.h>
#include <string.h>

/* ---- add */

struct add_values {
	struct cmd_common common;
	const char *host, *user, *identity, *ssh_config, *store;
	int64_t port;
	bool local, accept_new, no_check;
	struct greta_strs labels;
	/* a pool of Slurm */
	bool slurm;
	const char *spool, *local_spool, *partition, *account, *qos, *gres;
	int64_t nodes, cpus;
	double limit_s, idle_s;
	struct greta_strs sbatch;
};

static int labels_json(const struct greta_strs *labels, struct greta_buf *out, struct greta_err *e)
{
	struct greta_jsonw w = greta_jsonw(out);

	greta_jsonw_object(&w, NULL);
	for (size_t i = 0; i < labels->n; i++) {
		const char *equal = strchr(labels->items[i], '=');
		cleanup_free char *key = equal ? greta_strndup(labels->items[i], (size_t)(equal - labels->items[i])) : NULL;

		if (!key || !*key)
			return greta_err_set(e, GRETA_EINVAL, "--label %s: expected KEY=VALUE", labels->items[i]);
		greta_jsonw_str(&w, key, equal + 1);
	}
	greta_jsonw_end_object(&w);
	return 0;
}

static bool asks_slurm(const struct add_values *v)
{
	return v->spool || v->local_spool || v->partition || v->account || v->qos || v->gres || v->nodes || v->cpus || v->limit_s || v->idle_s ||
	       v->sbatch.n;
}

static int check_add(const struct add_values *v, struct greta_err *e)
{
	if (v->local && (v->host || v->user || v->identity || v->ssh_config || v->port || v->slurm))
		return greta_err_set(e, GRETA_EINVAL, "--local is this machine: it takes no host, user, port, key or --slurm");
	if (!v->slurm && asks_slurm(v))
		return greta_err_set(e, GRETA_EINVAL, "--partition, --account, --qos, --gres, --nodes, --cpus, --time, --idle, "
				     "--spool, --local-spool and --sbatch go with --slurm");
	if (v->local_spool && *v->local_spool != '/')
		return greta_err_set(e, GRETA_EINVAL, "--local-spool %s: a whole path is needed, of a folder on each compute node",
				     v->local_spool);
	if (v->slurm && !v->host && (v->user || v->port || v->identity))
		return greta_err_set(e, GRETA_EINVAL, "--slurm without --host means that this machine is a login node: it takes "
				     "no user, port or key");
	return 0;
}

/* The settings of a pool, as JSON; NULL: it is none. The caller frees. */
static char *slurm_json(const char *name, const struct add_values *v)
{
	struct greta_buf out = {0};
	const struct greta_slurm s = {
		.name = (char *)name, .spool = (char *)v->spool, .local_spool = (char *)v->local_spool, .partition = (char *)v->partition,
		.account = (char *)v->account, .qos = (char *)v->qos, .gres = (char *)v->gres, .options = v->sbatch,
		.nodes = v->nodes > 0 ? v->nodes : 1, .cpus = v->cpus, .limit_s = v->limit_s,
		.idle_s = v->idle_s > 0 ? v->idle_s : GRETA_SLURM_IDLE_S,
	};

	if (!v->slurm)
		return NULL;
	greta_slurm_print(&s, &out);
	return greta_buf_steal(&out);
}

static int add_request(const char *name, const struct add_values *v, struct greta_buf *out, struct greta_err *e)
{
	cleanup_free char *slurm = slurm_json(name, v);
	struct node_settings s = {.host = (char *)(v->host || v->slurm ? v->host : name), .slurm = slurm, .user = (char *)v->user,
				   .identity = (char *)v->identity, .ssh_config = (char *)v->ssh_config,
				   .store = (char *)v->store, .port = v->port, .accept_new = v->accept_new};
	cleanup_buf struct greta_buf settings = {0}, labels = {0};
	struct greta_jsonw w = greta_jsonw(out);

	if (check_add(v, e) < 0)
		return -1;
	if (labels_json(&v->labels, &labels, e) < 0)
		return -1;
	node_settings_print(&s, &settings);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "name", name);
	greta_jsonw_str(&w, "transport", v->slurm ? "slurm" : v->local ? "local" : "ssh");
	greta_jsonw_str(&w, "settings", v->local ? "{}" : greta_buf_str(&settings));
	greta_jsonw_str(&w, "labels", greta_buf_str(&labels));
	greta_jsonw_end_object(&w);
	return 0;
}

static int add_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	const struct add_values *v = values;
	const char *name = ctx->operands.items[0];
	cleanup_buf struct greta_buf request = {0};
	struct client *client;
	struct greta_json *answer;
	int rc = CMD_OK;

	if (add_request(name, v, &request, e) < 0)
		return -1;
	client = client_open(ctx->db_path, true, e);
	if (!client)
		return -1;
	answer = client_call(client, "node_add", greta_buf_str(&request), e);
	if (!answer) {
		client_close(client);
		return -1;
	}
	greta_json_destroy(answer);
	if (!ctx->json)
		printf("node %s added\n", name);
	fflush(stdout);
	if (!v->no_check)
		rc = node_check(ctx, client, &ctx->operands, e);
	client_close(client);
	return rc;
}

static const struct greta_opt add_opts[] = {
	{"host", 0, GRETA_OPT_STR, offsetof(struct add_values, host), "HOST",
	 "host name, or alias of your ssh config (default: NAME)"},
	{"user", 'l', GRETA_OPT_STR, offsetof(struct add_values, user), "USER", "user there"},
	{"port", 'p', GRETA_OPT_I64, offsetof(struct add_values, port), "N", "port there"},
	{"identity", 'i', GRETA_OPT_STR, offsetof(struct add_values, identity), "FILE", "private key file"},
	{"ssh-config", 'F', GRETA_OPT_STR, offsetof(struct add_values, ssh_config), "FILE",
	 "another file than ~/.ssh/config"},
	{"store", 0, GRETA_OPT_STR, offsetof(struct add_values, store), "DIR",
	 "folder there for what is uploaded (default: .cache/greta/store)"},
	{"label", 0, GRETA_OPT_STRS, offsetof(struct add_values, labels), "KEY=VALUE", "for campaigns to choose by"},
	{"accept-new", 0, GRETA_OPT_FLAG, offsetof(struct add_values, accept_new), NULL,
	 "trust a host key that was never seen, and remember it; a changed one is refused all the same"},
	{"local", 0, GRETA_OPT_FLAG, offsetof(struct add_values, local), NULL, "this machine, without ssh"},
	{"slurm", 0, GRETA_OPT_FLAG, offsetof(struct add_values, slurm), NULL,
	 "a pool: attempts run in jobs of Slurm; --host is its login node, without it this machine is one"},
	{"partition", 0, GRETA_OPT_STR, offsetof(struct add_values, partition), "NAME", "of Slurm (default: its own)"},
	{"account", 0, GRETA_OPT_STR, offsetof(struct add_values, account), "NAME", "of Slurm (default: yours)"},
	{"qos", 0, GRETA_OPT_STR, offsetof(struct add_values, qos), "NAME", "of Slurm (default: its own)"},
	{"gres", 0, GRETA_OPT_STR, offsetof(struct add_values, gres), "GRES",
	 "what an allocation, which is one node, asks for: gpu:mi300x:8"},
	{"cpus", 0, GRETA_OPT_I64, offsetof(struct add_values, cpus), "N", "CPUs of an allocation (default: Slurm's)"},
	{"nodes", 0, GRETA_OPT_I64, offsetof(struct add_values, nodes), "N", "allocations at once, at most (default: 1)"},
	{"time", 0, GRETA_OPT_SECONDS, offsetof(struct add_values, limit_s), "TIME",
	 "longest allocation (default: eight attempts at their full budgets)"},
	{"idle", 0, GRETA_OPT_SECONDS, offsetof(struct add_values, idle_s), "TIME",
	 "an allocation without work is given back after this (default: 60 s)"},
	{"spool", 0, GRETA_OPT_STR, offsetof(struct add_values, spool), "DIR",
	 "folder that login and compute nodes share (default: .local/state/greta/slurm/NAME in the home there)"},
	{"local-spool", 0, GRETA_OPT_STR, offsetof(struct add_values, local_spool), "DIR",
	 "folder on each compute node's own disk where attempts run, to be collected from (default: in --spool)"},
	{"sbatch", 0, GRETA_OPT_STRS, offsetof(struct add_values, sbatch), "OPTION",
	 "another option for sbatch: --sbatch=--constraint=mi300x"},
	{"no-check", 0, GRETA_OPT_FLAG, offsetof(struct add_values, no_check), NULL, "do not connect now"},
	{0},
};

const struct cmd cmd_node_add = {
	.name = "node add",
	.group = "Nodes",
	.summary = "add a node, and check it",
	.operands = "NAME",
	.min_operands = 1,
	.max_operands = 1,
	.details = "What your ssh config says of the host holds: HostName, User, Port, IdentityFile, ProxyJump. Keys come\n"
		   "from the ssh-agent and from files; passwords are never asked for nor stored.",
	.opts = add_opts,
	.values_size = sizeof(struct add_values),
	.exec = add_exec,
};

/* ---- list */

static const struct table_column list_columns[] = {
	{"node", "node", TABLE_TEXT, 0},
	{"transport", "transport", TABLE_TEXT, 0},
	{"state", "state", TABLE_TEXT, 0},
	{"since", "since", TABLE_TEXT, 0},
	{"machine", "machine", TABLE_TEXT, 0},
	{"cpus", "cpus", TABLE_INT, 0},
	{"gpus", "gpus", TABLE_INT, 0},
	{"labels", "labels", TABLE_TEXT, 0},
	{"quarantine", "quarantine", TABLE_TEXT, 0},
	{"reason", "reason", TABLE_TEXT, 0},
};

#define ISO(ns) "strftime('%Y-%m-%dT%H:%M:%SZ', (" ns ") / 1000000000, 'unixepoch')"

/* A node that is in quarantine as a whole by its own word is called so, while people say that it is up. */
static const char list_sql[] =
	"SELECT a.name, a.transport, iif(a.state = 'up' AND q.whole, 'quarantined', a.state),"
	" " ISO("iif(a.state = 'up', q.since_ns, a.state_ns)") ", n.hostname, n.n_cpus,"
	" iif(n.id IS NULL, NULL, (SELECT count(*) FROM device d WHERE d.node_id = n.id)), nullif(a.labels, '{}'), q.slots,"
	" nullif(trim(coalesce(a.state_reason, iif(n.id IS NULL, 'never checked', '')) || coalesce('; ' || q.reasons, ''), '; '), '')"
	" FROM alias a LEFT JOIN node n ON n.id = a.node_id LEFT JOIN (SELECT node_id, max(slot = 'node') AS whole,"
	" min(since_ns) AS since_ns, group_concat(slot, ' ') AS slots,"
	" group_concat(slot || ' since ' || " ISO("since_ns") " || ': ' || reason, '; ') AS reasons"
	" FROM quarantine GROUP BY node_id) q ON q.node_id = n.id WHERE a.state <> 'removed' ORDER BY a.name";

static int list_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(ctx->db, e, list_sql, "");
	struct output output = output_of(ctx, NULL);
	struct table *t;
	int rc;

	(void)values;
	if (!q)
		return -1;
	t = table_create(list_columns, GRETA_COUNT(list_columns));
	while ((rc = greta_query_step(q, e)) == 1) {
		table_row(t);
		for (int i = 0; i < (int)GRETA_COUNT(list_columns); i++)
			if (list_columns[i].format == TABLE_INT && greta_query_str(q, i)) /* NULL: never checked */
				table_int(t, greta_query_i64(q, i));
			else
				table_str(t, greta_query_str(q, i));
	}
	if (rc == 0)
		output_table(&output, t);
	table_destroy(t);
	return rc < 0 ? -1 : CMD_OK;
}

const struct cmd cmd_node_list = {
	.name = "node list",
	.group = "Nodes",
	.summary = "list the nodes, and what is kept out of use",
	.operands = "",
	.needs = CMD_NEEDS_READER,
	.exec = list_exec,
};

/* ---- drain, resume, remove */

struct state_values {
	struct cmd_common common;
	const char *reason;
};

static void print_state(const struct cmd_ctx *ctx, const struct greta_json_val *ok)
{
	cleanup_buf struct greta_buf out = {0};
	const struct greta_json_val *released = greta_json_get(ok, "released");

	if (ctx->json) {
		greta_json_print(ok, &out);
		puts(greta_buf_str(&out));
		return;
	}
	printf("node %s: %s (%.0f attempts are running there)\n", node_text(ok, "name"), node_text(ok, "state"), node_number(ok, "running"));
	for (const struct greta_json_val *v = released ? greta_json_first(released) : NULL; v; v = greta_json_next(v)) {
		const char *slot = "?";

		greta_json_str(v, &slot);
		printf("  %s is out of quarantine\n", slot);
	}
}

static int set_state(struct cmd_ctx *ctx, const char *state, const char *reason, struct greta_err *e)
{
	struct client *client = client_open(ctx->db_path, true, e);
	int rc = client ? CMD_OK : -1;

	for (size_t i = 0; i < ctx->operands.n && rc == CMD_OK; i++) {
		cleanup_buf struct greta_buf args = {0};
		struct greta_jsonw w = greta_jsonw(&args);
		struct greta_json *answer;

		greta_jsonw_object(&w, NULL);
		greta_jsonw_str(&w, "name", ctx->operands.items[i]);
		greta_jsonw_str(&w, "state", state);
		if (reason)
			greta_jsonw_str(&w, "reason", reason);
		greta_jsonw_end_object(&w);
		answer = client_call(client, "node_state", greta_buf_str(&args), e);
		if (answer)
			print_state(ctx, greta_json_get(greta_json_root(answer), "ok"));
		else
			rc = -1;
		if (answer)
			greta_json_destroy(answer);
	}
	client_close(client);
	return rc;
}

static int drain_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	return set_state(ctx, "draining", ((const struct state_values *)values)->reason, e);
}

static int up_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	(void)values;
	return set_state(ctx, "up", NULL, e);
}

static int remove_exec(struct cmd_ctx *ctx, const void *values, struct greta_err *e)
{
	return set_state(ctx, "removed", ((const struct state_values *)values)->reason, e);
}

static const struct greta_opt state_opts[] = {
	{"reason", 0, GRETA_OPT_STR, offsetof(struct state_values, reason), "TEXT", "why, for those who come after you"},
	{0},
};

const struct cmd cmd_node_drain = {
	.name = "node drain",
	.group = "Nodes",
	.summary = "give a node no new jobs; what runs there goes on",
	.operands = "NAME...",
	.min_operands = 1,
	.max_operands = -1,
	.opts = state_opts,
	.values_size = sizeof(struct state_values),
	.exec = drain_exec,
};

const struct cmd cmd_node_resume = {
	.name = "node resume",
	.group = "Nodes",
	.summary = "use a drained or quarantined node again",
	.operands = "NAME...",
	.min_operands = 1,
	.max_operands = -1,
	.details = "What the node itself keeps out of use (a GPU that failed its probe, see `node list`) is let go there: for that\n"
		   "the node must be reached. Campaigns that could not go on wait for `resume`.",
	.exec = up_exec,
};

const struct cmd cmd_node_remove = {
	.name = "node remove",
	.group = "Nodes",
	.summary = "forget how to reach a node; its history stays",
	.operands = "NAME...",
	.min_operands = 1,
	.max_operands = -1,
	.opts = state_opts,
	.values_size = sizeof(struct state_values),
	.exec = remove_exec,
};
