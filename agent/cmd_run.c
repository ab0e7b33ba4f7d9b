/* run: an attempt by hand. The same supervisor, spool and slots as under a controller; this process only watches. */
#include "agent/cmd.h"
#include "agent/launch.h"
#include "agent/spool.h"
#include "agent/tail.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/uuid.h"
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_US 20000
#define LOCAL_DB "00000000-0000-4000-8000-000000000000" /* no controller owns what is run by hand */

struct values {
	const char *slot, *adapter, *attn;
	int64_t cpus, gpus, context, samples;
	double wall_s, grace_s, wait_s;
	bool json, keep;
};

static const struct greta_opt options[] = {
	{"slot", 0, GRETA_OPT_STR, offsetof(struct values, slot), "cpu|gpu|node", "what to hold while it runs (cpu)"},
	{"cpus", 0, GRETA_OPT_I64, offsetof(struct values, cpus), "N", "of a cpu slot: this many CPUs, bound to them (0: all)"},
	{"gpus", 0, GRETA_OPT_I64, offsetof(struct values, gpus), "N", "of a gpu slot: this many GPUs (1)"},
	{"wait", 0, GRETA_OPT_SECONDS, offsetof(struct values, wait_s), "TIME", "give up when the slot is not free by then"},
	{"wall", 0, GRETA_OPT_SECONDS, offsetof(struct values, wall_s), "TIME", "budget; TERM after it, then KILL"},
	{"grace", 0, GRETA_OPT_SECONDS, offsetof(struct values, grace_s), "TIME", "between TERM and KILL (30 s)"},
	{"samples", 0, GRETA_OPT_I64, offsetof(struct values, samples), "N", "results expected of an engine (0: any command)"},
	{"context", 0, GRETA_OPT_I64, offsetof(struct values, context), "N", "tokens the engine is asked to prefill"},
	{"adapter", 0, GRETA_OPT_STR, offsetof(struct values, adapter), "perf_timing|llama-bench|json",
	 "how the engine tells its results (perf_timing)"},
	{"attn", 0, GRETA_OPT_STR, offsetof(struct values, attn), "NAME", "the attn_impl that its results must name"},
	{"keep", 0, GRETA_OPT_FLAG, offsetof(struct values, keep), NULL, "leave the attempt's spool folder"},
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL, "print the outcome as JSON, and nothing else on stdout"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-agent run",
	.operands = "-- COMMAND [ARG...]",
	.min_operands = 1,
	.max_operands = -1,
	.summary = "run a command under supervision",
	.details = "Exits 0 when the outcome is ok, 1 when it is not, 2 for wrong usage, 3 when the node can't serve.\n\n"
		   "  greta-agent run --wall 60s -- greta-infer --model m.gguf --ctx 4096",
	.opts = options,
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signo)
{
	(void)signo;
	interrupted++;
}

static enum greta_slot_kind slot_of(const char *name)
{
	return greta_str_eq(name, "gpu") ? GRETA_SLOT_GPU : greta_str_eq(name, "node") ? GRETA_SLOT_NODE : GRETA_SLOT_CPU;
}

static enum greta_adapter adapter_of(const char *name)
{
	return greta_str_eq(name, "json")	 ? GRETA_ADAPTER_JSON
	       : greta_str_eq(name, "llama-bench") ? GRETA_ADAPTER_LLAMA_BENCH
						   : GRETA_ADAPTER_PERF_TIMING;
}

static void make_spec(const struct values *v, const struct greta_strs *command, struct greta_spec *spec)
{
	char here[4096];
	*spec = (struct greta_spec){
		.campaign = greta_strdup("by hand"),
		.variant = greta_strdup(command->items[0]),
		.context = v->context,
		.samples = v->samples,
		.adapter = adapter_of(v->adapter),
		.slot = slot_of(v->slot),
		.n_gpus = v->gpus ? v->gpus : 1,
		.cpus = v->cpus,
		.slot_wait_s = v->wait_s,
		.wall_s = v->wall_s,
		.term_grace_s = v->grace_s,
		.cwd = getcwd(here, sizeof here) ? greta_strdup(here) : NULL,
	};
	greta_uuid_new(spec->attempt);
	for (size_t i = 0; i < command->n; i++)
		greta_strs_add(&spec->argv, command->items[i]);
	if (v->attn) {
		struct greta_expect *x = GRETA_PUSH(spec->expect, spec->n_expect, spec->cap_expect);
		x->field = greta_strdup("attn_impl");
		x->value = greta_strdup(v->attn);
	}
}

static void pass_output(const struct greta_event *ev, bool json)
{
	bool is_err = ev->detail && strstr(ev->detail, "\"err\"");
	int fd = json || is_err ? STDERR_FILENO : STDOUT_FILENO;
	greta_fs_write_all(fd, ev->bytes, ev->n_bytes, NULL);
}

/* What is told of an event while it runs; the outcome comes back in *end. */
static void show(const struct greta_event *ev, const struct values *v, struct greta_end *end)
{
	if (ev->kind == GRETA_EVENT_LOG)
		pass_output(ev, v->json);
	else if (ev->kind == GRETA_EVENT_WAITING || ev->kind == GRETA_EVENT_LOG_GAP || ev->kind == GRETA_EVENT_VERDICT)
		greta_info("%s: %s", greta_event_kind_name(ev->kind), ev->detail);
	else if (ev->kind == GRETA_EVENT_OUTCOME)
		greta_end_parse(ev->detail, strlen(ev->detail), end, NULL);
}

static void pass_interrupt(const char *dir)
{
	static int passed;
	if (!interrupted || passed++)
		return;
	spool_cancel(dir, "interrupted by Ctrl-C", NULL);
}

static int follow(const struct agent_paths *paths, const char *dir, const struct values *v, struct greta_end *end,
		  struct greta_err *e)
{
	struct tail t;
	int got = 0;
	if (tail_open(&t, dir, 0, e) != 0)
		return -1;
	while (!t.ended && (got = tail_next(&t, e)) >= 0) {
		struct greta_msg m = {0};
		pass_interrupt(dir);
		if (got == 0)
			usleep(LOOK_US);
		else if ((got = tail_decode(&t, &m, e)) == 0)
			show(m.event, v, end);
		greta_msg_release(&m);
		if (got == 0)
			launch_adopt(paths, dir, NULL);
	}
	tail_close(&t);
	return got < 0 ? -1 : 0;
}

static void print_end(const struct greta_end *end, const struct values *v)
{
	cleanup_buf struct greta_buf text = {0};
	char wall[32];
	if (v->json) {
		greta_end_print(end, &text);
		puts(greta_buf_str(&text));
		return;
	}
	greta_str_seconds(wall, sizeof wall, end->wall_s);
	greta_info("%s%s%s%s%s", greta_outcome_name(end->outcome), end->reason ? ": " : "", end->reason ? end->reason : "",
		   end->exit_code >= 0 || end->signal ? ", after " : "", end->exit_code >= 0 || end->signal ? wall : "");
}

static int supervise(const struct agent_paths *paths, const struct values *v, const struct greta_spec *spec,
		     struct greta_err *e)
{
	int lock_fd = -1;
	struct greta_end end = {0};
	struct sigaction act = {.sa_handler = on_interrupt};
	cleanup_free char *dir = spool_attempt_dir(paths->spool, spec->attempt);
	if (spool_create(paths->spool, spec, LOCAL_DB, &lock_fd, e) != 0)
		return -1;
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	if (launch_supervisor(paths, dir, lock_fd, false, e) != 0 || follow(paths, dir, v, &end, e) != 0)
		return -1;
	print_end(&end, v);
	int code = end.outcome == GRETA_OUTCOME_GOOD ? 0 : end.outcome == GRETA_OUTCOME_INFRA ? 3 : 1;
	if (v->keep)
		greta_info("kept in %s", dir);
	else
		spool_remove(paths->spool, spec->attempt, NULL);
	greta_end_release(&end);
	return code;
}

static int run(const struct agent_paths *paths, int argc, char **argv, struct greta_err *e)
{
	struct values v = {0};
	struct greta_spec spec;
	cleanup_strs struct greta_strs command = {0};
	int rc = cmd_parse(&opts, argc, argv, &v, &command, true, e);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	make_spec(&v, &command, &spec);
	rc = supervise(paths, &v, &spec, e);
	greta_spec_release(&spec);
	return rc;
}

const struct agent_cmd cmd_run = {
	.name = "run",
	.summary = "run a command under supervision, in the foreground",
	.needs_spool = true,
	.exec = run,
};
