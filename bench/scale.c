/* scale: what many nodes cost the controller, and how long their slots stand empty.
 *
 * Real: the whole controller (loop, links, frames, scheduling, ingest, database with synchronous=FULL on a real disk,
 * its socket), in a process of its own, and the commands that feed it. Simulated: the nodes. They live in one process,
 * behind one Unix socket each instead of sshd, and answer with the real frame codec as an agent would: hello, list,
 * facts, and for each job accepted, started, a log line and the outcome after its time. No agent, spool or engine runs,
 * so nothing of what a node spends is in these figures (bench/dispatch has that), nor what SSH costs the controller.
 *
 *   latency   from an outcome's leaving the node to the next start's arrival there, while jobs are queued: how long a
 *             slot stands empty, dispatch included. The first filling of all slots is told apart, as `filled in`
 *   CPU       of the controller, submit and connecting included
 *
 *	scale                     10, 100 and 1,000 nodes of 8 slots with 12.5 jobs a slot; the last with jobs of 4 to
 *	                          12 s, the others ten times as fast, so that the last two have the same rate
 *	scale --nodes 300 --jobs 5000 --min 1 --max 3
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/version.h"
#include "db/db.h"
#include "orchestrator/control/client.h"
#include "orchestrator/control/controller.h"
#include "orchestrator/control/link.h"
#include "schemas/msg.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NODES_MAX 10000
#define REPEATS_MAX 10000 /* of one context */
#define FILE_LIMIT 40000

struct values {
	int64_t nodes, slots, jobs;
	double min_s, max_s;
};

struct figures {
	double filled_s, p50_s, p99_s, p999_s, max_s;
	int64_t n;
};

static const char simulated[] = "simulated";
static char sim_path[108]; /* where the simulated nodes listen */

/* ---- the controller's way to them */

struct sim_transport {
	struct transport base;
	struct greta_loop *loop;
	const struct transport_events *ev;
	void *arg;
	struct greta_watch *soon;
};

struct sim_stream {
	struct stream base;
	const struct stream_events *ev;
	void *arg;
	int fd;
	struct greta_watch *io;
};

static ssize_t stream_write(struct stream *base, const void *bytes, size_t n)
{
	struct sim_stream *s = (struct sim_stream *)base;
	ssize_t wrote = send(s->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (wrote < 0 && errno != EAGAIN)
		return -1;
	greta_watch_events(s->io, EPOLLIN | (wrote < (ssize_t)n ? EPOLLOUT : 0));
	return wrote < 0 ? 0 : wrote;
}

static void stream_close(struct stream *base)
{
	struct sim_stream *s = (struct sim_stream *)base;

	greta_watch_remove(s->io);
	close(s->fd);
	free(s);
}

static const struct stream_ops stream_ops = {stream_write, stream_close};

static void on_stream(struct greta_watch *w, uint32_t events, void *arg)
{
	struct sim_stream *s = arg;
	char bytes[16384];
	ssize_t n = events & (EPOLLIN | EPOLLHUP) ? recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT) : -1;

	if (events & EPOLLOUT) {
		greta_watch_events(w, EPOLLIN);
		s->ev->writable(s->arg);
	}
	if (n > 0)
		s->ev->data(s->arg, bytes, (size_t)n);
	else if (n == 0)
		s->ev->closed(s->arg, -1, "");
}

static struct stream *sim_agent(struct transport *base, const char *const *args, const struct stream_events *ev, void *arg,
				struct greta_err *e)
{
	struct sim_transport *t = (struct sim_transport *)base;
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	struct sim_stream *s = greta_alloc(sizeof *s);
	cleanup_buf struct greta_buf line = {0};

	greta_str_copy(to.sun_path, sizeof to.sun_path, sim_path);
	*s = (struct sim_stream){.base.ops = &stream_ops, .ev = ev, .arg = arg};
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	greta_buf_addf(&line, "%s\n", args[2]); /* the nonce */
	if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&to, sizeof to) != 0 ||
	    greta_fs_write_all(s->fd, line.data, line.len, e) != 0) {
		greta_err_sys(e, "%s", sim_path);
		free(s);
		return NULL;
	}
	greta_fs_set_nonblock(s->fd, e);
	s->io = greta_loop_fd(t->loop, s->fd, EPOLLIN, on_stream, s);
	return &s->base;
}

static void sim_destroy(struct transport *base)
{
	greta_watch_remove(((struct sim_transport *)base)->soon);
	free(base);
}

static const char *no_host_key(const struct transport *t)
{
	(void)t;
	return NULL;
}

static const struct transport_ops sim_ops = {
	.name = "simulated", .agent = sim_agent, .host_key = no_host_key, .destroy = sim_destroy};

static void on_soon(struct greta_watch *w, uint32_t events, void *arg)
{
	struct sim_transport *t = arg;

	(void)events;
	greta_watch_remove(w);
	t->soon = NULL;
	t->ev->connected(t->arg);
}

static struct transport *sim_open(struct greta_loop *loop, const struct node_settings *settings,
				  const struct transport_events *ev, void *arg)
{
	struct sim_transport *t = greta_alloc(sizeof *t);

	(void)settings;
	*t = (struct sim_transport){.base.ops = &sim_ops, .loop = loop, .ev = ev, .arg = arg};
	t->soon = greta_loop_timer(loop, 0, 0, on_soon, t);
	return &t->base;
}

static int run_controller(const char *db, int ready_fd)
{
	struct greta_err e = {0};

	link_open_by(sim_open);
	if (controller_run(db, ready_fd, true, &e) == 0)
		return 0;
	fprintf(stderr, "scale: controller: %s\n", e.text);
	return 3;
}

/* ---- the nodes */

struct sim {
	struct greta_loop *loop;
	const struct values *v;
	int listen_fd;
	int64_t n_nodes, n_started, n_ended;
	int64_t first_ns, filled_ns;
	double *idle_s;          /* one a slot that was filled again while jobs were queued */
	size_t n_idle;
	unsigned random;
};

struct sim_node {
	struct sim *sim;
	int64_t number;
	int fd;
	struct greta_watch *io, *flush;
	struct greta_buf in, out;
	bool greeted;            /* the nonce was read */
	int64_t *ended_ns;       /* when slots fell free, oldest first */
	size_t n_ended, cap_ended;
};

struct sim_attempt {
	struct sim_node *node;
	char uuid[GRETA_UUID_LEN + 1];
	int64_t seq;
	double took_s;
	struct greta_watch *end;
};

static void flush(struct sim_node *n)
{
	ssize_t wrote = n->out.len ? send(n->fd, n->out.data, n->out.len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

	if (wrote > 0)
		greta_buf_consume(&n->out, (size_t)wrote);
	greta_watch_events(n->io, EPOLLIN | (n->out.len ? EPOLLOUT : 0));
}

static void say(struct sim_node *n, const struct greta_msg *m)
{
	struct greta_err e = {0};

	if (greta_msg_encode(m, &n->out, &e) != 0)
		fprintf(stderr, "scale: %s\n", e.text);
}

static void say_done(struct sim_node *n, const struct greta_msg *to)
{
	struct greta_msg m = {.type = GRETA_MSG_DONE, .re = to->re};

	if (to->re)
		say(n, &m);
}

static void say_event(struct sim_attempt *a, enum greta_event_kind kind, const char *detail, const char *bytes)
{
	struct greta_event ev = {.seq = ++a->seq, .kind = kind, .boot_ns = greta_clock_boot_ns(),
				 .wall_ns = greta_clock_wall_ns(), .detail = (char *)detail, .bytes = (char *)bytes,
				 .n_bytes = bytes ? strlen(bytes) : 0};
	struct greta_msg m = {.type = GRETA_MSG_EVENT, .event = &ev};

	greta_str_copy(ev.attempt, sizeof ev.attempt, a->uuid);
	greta_str_copy(m.attempt, sizeof m.attempt, a->uuid);
	say(a->node, &m);
}

static void on_end(struct greta_watch *w, uint32_t events, void *arg)
{
	struct sim_attempt *a = arg;
	struct sim_node *n = a->node;
	cleanup_buf struct greta_buf text = {0};
	static char line[] = "[PERF_TIMING] {\"prefill_s\":0.0001,\"prompt_tokens\":1}\n";
	struct greta_end end = {.outcome = GRETA_OUTCOME_GOOD, .wall_s = a->took_s, .peak_rss_bytes = 1 << 20,
				.tokens_verified = 1, .finished_wall_ns = greta_clock_wall_ns()};
	struct greta_sample *sample = GRETA_PUSH(end.samples.items, end.samples.n, end.samples.cap);

	(void)events;
	greta_watch_remove(w);
	sample->sample_no = 1;
	greta_sample_set_number(sample, "prefill_s", 0.0001);
	greta_sample_set_number(sample, "prompt_tokens", 1);
	end.started_wall_ns = end.queued_wall_ns = end.finished_wall_ns - (int64_t)(a->took_s * 1e9);
	greta_end_print(&end, &text);
	greta_end_release(&end);
	say_event(a, GRETA_EVENT_LOG, "{\"stream\":\"out\",\"offset\":0}", line);
	say_event(a, GRETA_EVENT_OUTCOME, text.data, NULL);
	flush(n);
	n->sim->n_ended++;
	*GRETA_PUSH(n->ended_ns, n->n_ended, n->cap_ended) = greta_clock_mono_ns();
	free(a);
}

static void note_start(struct sim_node *n, int64_t now)
{
	struct sim *s = n->sim;

	s->first_ns = s->first_ns ? s->first_ns : now;
	if (++s->n_started == s->v->nodes * s->v->slots)
		s->filled_ns = now;
	if (!n->n_ended)
		return;
	s->idle_s[s->n_idle++] = (double)(now - n->ended_ns[0]) / 1e9;
	memmove(n->ended_ns, n->ended_ns + 1, --n->n_ended * sizeof *n->ended_ns);
}

static void on_start(struct sim_node *n, const struct greta_msg *m)
{
	const struct values *v = n->sim->v;
	struct sim_attempt *a = greta_alloc(sizeof *a);

	note_start(n, greta_clock_mono_ns());
	a->node = n;
	greta_str_copy(a->uuid, sizeof a->uuid, m->spec->attempt);
	a->took_s = v->min_s + (v->max_s - v->min_s) * rand_r(&n->sim->random) / RAND_MAX;
	say_done(n, m);
	say_event(a, GRETA_EVENT_ACCEPTED, NULL, NULL);
	say_event(a, GRETA_EVENT_STARTED, "{\"pid\":1,\"devices\":[],\"slots\":[\"cpu-0\"]}", NULL);
	a->end = greta_loop_timer(n->sim->loop, (int64_t)(a->took_s * 1e3), 0, on_end, a);
}

static void say_facts(struct sim_node *n, int64_t re)
{
	char id[64];
	static struct greta_fact cpu = {(char *)"cpu.model", (char *)simulated}; /* else no run would be like another: nothing is learned */
	struct greta_facts facts = {.node_id = id, .hostname = (char *)simulated, .machine_id = id, .boot_id = (char *)simulated,
				    .n_cpus = n->sim->v->slots, .mem_bytes = 1 << 30, .spool_free_bytes = 1 << 30,
				    .survives_logout = true, .env = &cpu, .n_env = 1};
	struct greta_msg m = {.type = GRETA_MSG_FACTS, .re = re, .facts = &facts};

	snprintf(id, sizeof id, "%032llx", (unsigned long long)n->number + 1);
	say(n, &m);
}

static void answer(struct sim_node *n, const struct greta_msg *m)
{
	struct greta_msg hello = {.type = GRETA_MSG_HELLO, .re = m->re, .protocol_min = GRETA_PROTOCOL_MIN,
				  .protocol_max = GRETA_PROTOCOL_MAX, .version = (char *)GRETA_VERSION, .fence = m->fence,
				  .peer = (char *)simulated, .node_id = (char *)simulated, .boot_id = (char *)simulated};
	struct greta_msg pong = {.type = GRETA_MSG_PONG, .re = m->re, .stamp_ns = m->stamp_ns,
				 .boot_ns = greta_clock_boot_ns(), .wall_ns = greta_clock_wall_ns()};
	struct greta_msg none = {.type = GRETA_MSG_ATTEMPTS, .re = m->re};
	struct greta_msg sound = {.type = GRETA_MSG_QUARANTINED, .re = m->re};

	if (m->type == GRETA_MSG_HELLO)
		say(n, &hello);
	else if (m->type == GRETA_MSG_PING)
		say(n, &pong);
	else if (m->type == GRETA_MSG_LIST)
		say(n, &none);
	else if (m->type == GRETA_MSG_PROBE)
		say_facts(n, m->re);
	else if (m->type == GRETA_MSG_QUARANTINE)
		say(n, &sound);
	else if (m->type == GRETA_MSG_START)
		on_start(n, m);
	else
		say_done(n, m);
}

static void take_frames(struct sim_node *n)
{
	size_t used = 0;

	for (;;) {
		struct greta_msg m = {0};
		struct greta_err e = {0};
		ssize_t got = greta_msg_decode(n->in.data + used, n->in.len - used, &m, &e);

		if (got <= 0)
			break;
		used += (size_t)got;
		answer(n, &m);
		greta_msg_release(&m);
	}
	greta_buf_consume(&n->in, used);
}

static void on_node(struct greta_watch *w, uint32_t events, void *arg)
{
	struct sim_node *n = arg;
	ssize_t got = events & (EPOLLIN | EPOLLHUP) ? recv(n->fd, greta_buf_reserve(&n->in, 16384), 16384, 0) : -1;
	char *end;

	if (got == 0)
		greta_watch_events(w, 0);
	if (got > 0) {
		n->in.len += (size_t)got;
		n->in.data[n->in.len] = '\0';
	}
	if (!n->greeted && n->in.len && (end = memchr(n->in.data, '\n', n->in.len))) {
		greta_buf_addf(&n->out, GRETA_MAGIC " %.*s %d\n", (int)(end - n->in.data), n->in.data, GRETA_PROTOCOL_MAX);
		greta_buf_consume(&n->in, (size_t)(end - n->in.data) + 1);
		n->greeted = true;
	}
	if (n->greeted && n->in.len)
		take_frames(n);
	if (got != 0)
		flush(n);
}

static void on_accept(struct greta_watch *w, uint32_t events, void *arg)
{
	struct sim *s = arg;
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct sim_node *n;

	(void)w;
	(void)events;
	if (fd < 0)
		return;
	n = greta_alloc(sizeof *n);
	*n = (struct sim_node){.sim = s, .number = s->n_nodes++, .fd = fd};
	n->io = greta_loop_fd(s->loop, fd, EPOLLIN, on_node, n);
}

static void on_told_to_end(struct greta_watch *w, uint32_t signo, void *arg)
{
	(void)w;
	(void)signo;
	greta_loop_stop(((struct sim *)arg)->loop);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double quantile(const struct sim *s, double q)
{
	return s->n_idle ? s->idle_s[(size_t)(q * (double)(s->n_idle - 1))] : NAN;
}

/* Until SIGTERM; then the figures go out through fd. */
static int run_nodes(const struct values *v, int listen_fd, int fd)
{
	struct greta_err e = {0};
	struct sim s = {.v = v, .listen_fd = listen_fd, .random = 1};
	struct figures f;

	s.idle_s = greta_alloc((size_t)v->jobs * sizeof *s.idle_s);
	s.loop = greta_loop_create(&e);
	greta_loop_signal(s.loop, SIGTERM, on_told_to_end, &s);
	greta_loop_fd(s.loop, listen_fd, EPOLLIN, on_accept, &s);
	greta_loop_run(s.loop, &e);
	qsort(s.idle_s, s.n_idle, sizeof *s.idle_s, by_size);
	f = (struct figures){.filled_s = s.filled_ns ? (double)(s.filled_ns - s.first_ns) / 1e9 : NAN, .n = s.n_ended,
			     .p50_s = quantile(&s, 0.5), .p99_s = quantile(&s, 0.99), .p999_s = quantile(&s, 0.999),
			     .max_s = quantile(&s, 1)};
	return write(fd, &f, sizeof f) == (ssize_t)sizeof f ? 0 : 3;
}

/* ---- the commands */

static int call(struct client *c, const char *op, const char *args, struct greta_err *e)
{
	struct greta_json *answer = client_call(c, op, args, e);

	greta_json_destroy(answer);
	return answer ? 0 : -1;
}

static int add_nodes(struct client *c, int64_t n, struct greta_err *e)
{
	for (int64_t i = 0; i < n; i++) {
		char args[200];

		snprintf(args, sizeof args, "{\"name\":\"n%lld\",\"transport\":\"ssh\",\"settings\":\"{}\"}", (long long)i);
		if (call(c, "node_add", args, e) != 0)
			return -1;
	}
	return 0;
}

static int submit(struct client *c, int64_t jobs, struct greta_err *e)
{
	cleanup_buf struct greta_buf args = {0}, contexts = {0};
	int64_t n_contexts = (jobs + REPEATS_MAX - 1) / REPEATS_MAX;

	for (int64_t i = 1; i <= n_contexts; i++)
		greta_buf_addf(&contexts, "%s%lld", i > 1 ? "," : "", (long long)i);
	greta_buf_addf(&args, "{\"name\":\"scale\",\"base_dir\":\"/\",\"who\":\"scale\",\"text\":\"{\\\"name\\\":\\\"scale\\\","
		       "\\\"slot\\\":{\\\"cpus\\\":1},\\\"contexts\\\":[%s],\\\"repeats\\\":%lld,\\\"engine\\\":{"
		       "\\\"command\\\":[\\\"/bin/true\\\"],\\\"adapter\\\":\\\"perf_timing\\\"},"
		       "\\\"variants\\\":[{\\\"name\\\":\\\"a\\\"}]}\"}", greta_buf_str(&contexts), (long long)(jobs / n_contexts));
	return call(c, "submit", greta_buf_str(&args), e);
}

static int wait_end(struct client *c, struct greta_err *e)
{
	if (call(c, "watch", "{\"campaign\":1,\"period_ms\":200,\"holds\":true,\"attempts\":0,\"up\":false}", e) != 0)
		return -1;
	for (;;) {
		struct greta_json *j = NULL;
		bool ended;

		if (client_next(c, -1, &j, e) < 0)
			return -1;
		ended = j && greta_json_get(greta_json_root(j), "end");
		greta_json_destroy(j);
		if (ended)
			return 0;
	}
}

/* ---- one run */

static int listen_nodes(const char *dir, struct greta_err *e)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(sim_path, sizeof sim_path, "%s/nodes.sock", dir);
	greta_str_copy(at.sun_path, sizeof at.sun_path, sim_path);
	unlink(sim_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 4096) != 0)
		return greta_err_sys(e, "%s", sim_path);
	return fd;
}

static double cpu_s(const struct rusage *r)
{
	return (double)r->ru_utime.tv_sec + (double)r->ru_stime.tv_sec +
	       (double)(r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1e6;
}

static void print_row(const struct values *v, const struct figures *f, double wall_s, const struct rusage *used)
{
	double ms = 1e3;

	printf("%6lld %8lld %8.1f %8.0f %9.2f %8.3f %8.2f %9.2f %9.1f %9.1f %9.1f %9.1f\n", (long long)v->nodes,
	       (long long)f->n, wall_s, (double)f->n / wall_s, cpu_s(used) / wall_s, cpu_s(used) * ms / (double)f->n,
	       (double)used->ru_maxrss / 1024, f->filled_s, f->p50_s * ms, f->p99_s * ms, f->p999_s * ms, f->max_s * ms);
	fflush(stdout);
}

static int feed(const char *db, const struct values *v, double *wall_s, struct greta_err *e)
{
	struct client *c = client_open(db, false, e);
	int64_t begun;
	int rc = c ? add_nodes(c, v->nodes, e) : -1;

	begun = greta_clock_mono_ns();
	rc = rc == 0 && submit(c, v->jobs, e) == 0 ? wait_end(c, e) : -1;
	*wall_s = (double)(greta_clock_mono_ns() - begun) / 1e9;
	client_close(c);
	return rc;
}

static int run_one(const char *dir, const struct values *v, struct greta_err *e)
{
	cleanup_free char *db = greta_format("%s/%lld.db", dir, (long long)v->nodes);
	int ready[2], figures[2], listen_fd = listen_nodes(dir, e), rc;
	struct figures f = {0};
	struct rusage used;
	double wall_s = NAN;
	char line[16];
	pid_t nodes, controller;

	if (listen_fd < 0 || pipe2(ready, O_CLOEXEC) != 0 || pipe2(figures, O_CLOEXEC) != 0)
		return listen_fd < 0 ? -1 : greta_err_sys(e, "pipe");
	nodes = fork();
	if (nodes == 0)
		_exit(run_nodes(v, listen_fd, figures[1]));
	controller = fork();
	if (controller == 0)
		_exit(run_controller(db, ready[1]));
	close(listen_fd);
	close(ready[1]);
	close(figures[1]);
	rc = read(ready[0], line, sizeof line) > 0 ? feed(db, v, &wall_s, e) : greta_err_set(e, GRETA_EFAIL, "no controller");
	kill(nodes, SIGTERM);
	if (rc == 0 && read(figures[0], &f, sizeof f) != (ssize_t)sizeof f)
		rc = greta_err_set(e, GRETA_EFAIL, "the nodes said nothing");
	kill(controller, SIGTERM);
	wait4(controller, NULL, 0, &used);
	waitpid(nodes, NULL, 0);
	close(ready[0]);
	close(figures[0]);
	if (rc == 0)
		print_row(v, &f, wall_s, &used);
	return rc;
}

static const struct greta_opt options[] = {
	{"nodes", 0, GRETA_OPT_I64, offsetof(struct values, nodes), "N", "one run with so many nodes (10, 100 and 1000 in turn)"},
	{"slots", 0, GRETA_OPT_I64, offsetof(struct values, slots), "N", "of a node (8)"},
	{"jobs", 0, GRETA_OPT_I64, offsetof(struct values, jobs), "N", "in all (12.5 a slot)"},
	{"min", 0, GRETA_OPT_SECONDS, offsetof(struct values, min_s), "TIME", "shortest job (4 s; 0.4 s in the small runs)"},
	{"max", 0, GRETA_OPT_SECONDS, offsetof(struct values, max_s), "TIME", "longest job (12 s; 1.2 s in the small runs)"},
	{0},
};

static const struct greta_opts opts = {
	.program = "scale", .operands = "", .summary = "what many nodes cost the controller", .opts = options};

static struct values completed(const struct values *asked, int64_t nodes)
{
	double s = nodes < 1000 ? 0.1 : 1;
	struct values v = *asked;

	v.nodes = nodes;
	v.slots = v.slots ? v.slots : 8;
	v.jobs = v.jobs ? v.jobs : v.nodes * v.slots * 25 / 2;
	v.min_s = v.min_s > 0 ? v.min_s : 4 * s;
	v.max_s = v.max_s > 0 ? v.max_s : 12 * s;
	return v;
}

int main(int argc, char **argv)
{
	static const int64_t usual[] = {10, 100, 1000};
	char dir[] = "/tmp/greta-scale-XXXXXX";
	struct rlimit files = {FILE_LIMIT, FILE_LIMIT};
	struct values asked = {0};
	struct greta_err e = {0};
	cleanup_strs struct greta_strs none = {0};
	cleanup_buf struct greta_buf help = {0};
	size_t n;
	int rc = greta_opt_parse(&opts, argc, argv, &asked, &none, false, &e);

	if (rc == 1) {
		greta_opt_help(&opts, &help);
		fputs(greta_buf_str(&help), stdout);
		return 0;
	}
	if (rc != 0 || asked.nodes > NODES_MAX || !mkdtemp(dir)) {
		fprintf(stderr, "scale: %s\n", rc ? e.text : "too many nodes, or no folder in /tmp");
		return 2;
	}
	setrlimit(RLIMIT_NOFILE, &files);
	n = asked.nodes ? 1 : GRETA_COUNT(usual);
	printf("%6s %8s %8s %8s %9s %8s %8s %9s %9s %9s %9s %9s\n", "nodes", "jobs", "wall s", "jobs/s", "CPU cores", "ms/job",
	       "MiB", "filled s", "p50 ms", "p99 ms", "p99.9 ms", "max ms");
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct values v = completed(&asked, asked.nodes ? asked.nodes : usual[i]);

		rc = run_one(dir, &v, &e);
	}
	if (rc != 0)
		fprintf(stderr, "scale: %s\n", e.text);
	greta_fs_remove_tree(dir, NULL);
	return rc == 0 ? 0 : 3;
}
