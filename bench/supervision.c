/* supervision: what it costs an engine to be supervised, with the real greta-agent, session, spool and slots.
 *
 *   latency   from the start frame to the engine's first instruction, and from its last to the outcome's frame, of an
 *             engine that does nothing; and the CPU time of supervisor and session for it
 *   cpu       the supervisor's CPU time beside an engine that reports progress and writes a log line ten times a second
 *   paired    wall time of an engine with a fixed amount of work, bare and supervised in turn, as its own clock tells it;
 *             mean difference with its 95 % interval (Student, n - 1)
 *
 * Usage: supervision [--runs N] [--seconds S] [--pairs N] [--json]
 */
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "base/opt.h"
#include "schemas/msg.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DB "11111111-1111-4111-8111-111111111111"

struct values {
	int64_t runs, pairs;
	double seconds;
	bool json;
};

static const struct greta_opt options[] = {
	{"runs", 0, GRETA_OPT_I64, offsetof(struct values, runs), "N", "attempts for the latencies (100)"},
	{"seconds", 0, GRETA_OPT_SECONDS, offsetof(struct values, seconds), "TIME", "length of an engine (10 s)"},
	{"pairs", 0, GRETA_OPT_I64, offsetof(struct values, pairs), "N", "bare and supervised runs to compare (5)"},
	{"json", 0, GRETA_OPT_FLAG, offsetof(struct values, json), NULL, "one JSON line"},
	{0},
};

static const struct greta_opts opts = {
	.program = "supervision",
	.operands = "",
	.summary = "measure what supervision costs",
	.opts = options,
};

static _Noreturn void die(const char *what, const struct greta_err *e)
{
	fprintf(stderr, "supervision: %s: %s\n", what, e ? e->text : "");
	exit(3);
}

/* the engine: this program again */

static void say(const char *name, int64_t ns)
{
	printf("%s %" PRId64 "\n", name, ns);
	fflush(stdout);
}

static volatile uint64_t sink;

static void work(uint64_t rounds)
{
	uint64_t x = 88172645463325252u;
	for (uint64_t i = 0; i < rounds; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	sink = x;
}

static int engine_nothing(void)
{
	say("began", greta_clock_mono_ns());
	say("ended", greta_clock_mono_ns());
	_exit(0);
}

static int engine_work(uint64_t rounds)
{
	int64_t begun = greta_clock_mono_ns();
	work(rounds);
	say("worked", greta_clock_mono_ns() - begun);
	return 0;
}

static int engine_talk(double seconds)
{
	char line[128];
	const char *fd = getenv("GRETA_PROGRESS_FD");
	for (int i = 0; i < (int)(seconds * 10); i++) {
		int n = snprintf(line, sizeof line, "{\"phase\":\"prefill\",\"done\":%d,\"total\":1000,\"unit\":\"layer\"}\n", i);
		if (fd && write((int)strtol(fd, NULL, 10), line, (size_t)n) < 0)
			return 1;
		printf("layer %d done\n", i);
		fflush(stdout);
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	}
	return 0;
}

static int engine(int argc, char **argv)
{
	if (argc > 3 && strcmp(argv[2], "work") == 0)
		return engine_work(strtoull(argv[3], NULL, 10));
	if (argc > 3 && strcmp(argv[2], "talk") == 0)
		return engine_talk(strtod(argv[3], NULL));
	return engine_nothing();
}

/* the controller's side */

struct session {
	pid_t pid;
	int fd;
	struct greta_buf in;
};

static void session_send(struct session *s, struct greta_msg *m)
{
	struct greta_err e = {0};
	cleanup_buf struct greta_buf frame = {0};
	if (greta_msg_encode(m, &frame, &e) != 0 || greta_fs_write_all(s->fd, frame.data, frame.len, &e) != 0)
		die("can't send", &e);
}

static void session_more(struct session *s)
{
	ssize_t n = read(s->fd, greta_buf_reserve(&s->in, 65536), 65536);
	if (n <= 0)
		die("the session ended", NULL);
	s->in.len += (size_t)n;
	s->in.data[s->in.len] = '\0';
}

static void session_read(struct session *s, struct greta_msg *m)
{
	struct greta_err e = {0};
	for (;;) {
		*m = (struct greta_msg){0};
		ssize_t n = greta_msg_decode(greta_buf_str(&s->in), s->in.len, m, &e);
		if (n < 0)
			die("unreadable frame", &e);
		if (n > 0) {
			greta_buf_consume(&s->in, (size_t)n);
			return;
		}
		session_more(s);
	}
}

static void session_open(struct session *s, const char *agent)
{
	struct greta_err e = {0};
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		die("socketpair", NULL);
	const char *const argv[] = {agent, "session", "--nonce", "be", NULL};
	const struct greta_child_fd fds[] = {{pair[1], 0}, {pair[1], 1}};
	const struct greta_child_spec spec = {.argv = argv, .fds = fds, .n_fds = 2};
	*s = (struct session){.pid = greta_child_spawn(&spec, &e), .fd = pair[0]};
	if (s->pid < 0)
		die("can't start greta-agent", &e);
	close(pair[1]);
	while (!memchr(greta_buf_str(&s->in), '\n', s->in.len))
		session_more(s);
	greta_buf_consume(&s->in, strcspn(s->in.data, "\n") + 1);
	struct greta_msg hello = {.type = GRETA_MSG_HELLO, .protocol_min = 1, .protocol_max = 1, .fence = 1};
	greta_str_copy(hello.db, sizeof hello.db, DB);
	session_send(s, &hello);
	session_read(s, &hello);
	greta_msg_release(&hello);
}

static void session_close(struct session *s)
{
	close(s->fd);
	waitpid(s->pid, NULL, 0);
	greta_buf_release(&s->in);
}

/* CPU time of one process so far, in ns. */
static int64_t cpu_ns(pid_t pid)
{
	char path[64], text[128];
	snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
	cleanup_file FILE *f = fopen(path, "re");
	return f && fgets(text, sizeof text, f) ? strtoll(text, NULL, 10) : 0;
}

static pid_t supervisor_of(const char *spool, const char *attempt)
{
	char text[64] = "";
	cleanup_free char *path = greta_format("%s/bench/attempts/%s/control", spool, attempt);
	cleanup_file FILE *f = fopen(path, "re");
	return f && fread(text, 1, 32, f) == 32 ? (pid_t)strtol(text, NULL, 10) : 0;
}

struct attempt {
	int64_t sent_ns, outcome_ns;    /* here */
	int64_t began_ns, ended_ns, worked_ns; /* by the engine */
	int64_t supervisor_cpu_ns;      /* as last seen */
	double wall_s;
	enum greta_outcome outcome;
};

static void read_log(struct attempt *a, const char *text)
{
	const char *at;
	if ((at = strstr(text, "began ")))
		a->began_ns = strtoll(at + 6, NULL, 10);
	if ((at = strstr(text, "ended ")))
		a->ended_ns = strtoll(at + 6, NULL, 10);
	if ((at = strstr(text, "worked ")))
		a->worked_ns = strtoll(at + 7, NULL, 10);
}

static void take_event(struct attempt *a, const struct greta_event *ev)
{
	struct greta_end end = {0};
	if (ev->kind == GRETA_EVENT_LOG) {
		cleanup_free char *text = greta_strndup(ev->bytes, ev->n_bytes);
		read_log(a, text);
	}
	if (ev->kind != GRETA_EVENT_OUTCOME)
		return;
	a->outcome_ns = greta_clock_mono_ns();
	greta_end_parse(ev->detail, strlen(ev->detail), &end, NULL);
	a->outcome = end.outcome;
	a->wall_s = end.wall_s;
	greta_end_release(&end);
}

static void run(struct session *s, const char *spool, const char *const *args, struct attempt *a)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	struct greta_spec spec = {.slot = GRETA_SLOT_CPU, .cpus = 1, .log_limit_bytes = 1 << 20};
	struct greta_msg start = {.type = GRETA_MSG_START, .re = 1, .spec = &spec, .credit_bytes = 1 << 24}, m;
	self[n > 0 ? n : 0] = '\0';
	*a = (struct attempt){0};
	greta_uuid_new(spec.attempt);
	greta_strs_add(&spec.argv, self);
	greta_strs_add(&spec.argv, "--engine");
	for (size_t i = 0; args[i]; i++)
		greta_strs_add(&spec.argv, args[i]);
	a->sent_ns = greta_clock_mono_ns();
	session_send(s, &start);
	while (!a->outcome_ns) {
		session_read(s, &m);
		if (m.type == GRETA_MSG_REFUSED) {
			fprintf(stderr, "supervision: %s\n", m.text);
			exit(3);
		}
		int64_t cpu = cpu_ns(supervisor_of(spool, spec.attempt));
		a->supervisor_cpu_ns = cpu > a->supervisor_cpu_ns ? cpu : a->supervisor_cpu_ns;
		int64_t seq = m.type == GRETA_MSG_EVENT ? m.event->seq : 0;
		if (seq)
			take_event(a, m.event);
		greta_msg_release(&m);
		if (a->outcome_ns) {
			struct greta_msg ack = {.type = GRETA_MSG_ACK, .seq = seq};
			greta_str_copy(ack.attempt, sizeof ack.attempt, spec.attempt);
			session_send(s, &ack);
		}
	}
	greta_spec_release(&spec);
}

/* figures */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double quantile(double *v, size_t n, double q)
{
	qsort(v, n, sizeof *v, by_value);
	return v[(size_t)(q * (double)(n - 1) + 0.5)];
}

static double children_cpu_s(void)
{
	struct rusage u;
	getrusage(RUSAGE_CHILDREN, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void latency(const char *agent, const char *spool, size_t n, struct greta_jsonw *w)
{
	struct session s;
	double *start = greta_alloc(n * sizeof *start), *finish = greta_alloc(n * sizeof *finish);
	double *sum = greta_alloc(n * sizeof *sum);
	session_open(&s, agent);
	int64_t begun = greta_clock_mono_ns();
	for (size_t i = 0; i < n; i++) {
		struct attempt a;
		run(&s, spool, (const char *const[]){"nothing", NULL}, &a);
		start[i] = (double)(a.began_ns - a.sent_ns) / 1e6;
		finish[i] = (double)(a.outcome_ns - a.ended_ns) / 1e6;
		sum[i] = start[i] + finish[i];
	}
	double rate = (double)n / ((double)(greta_clock_mono_ns() - begun) / 1e9);
	session_close(&s);
	greta_jsonw_f64(w, "start_ms_median", quantile(start, n, 0.5));
	greta_jsonw_f64(w, "finish_ms_median", quantile(finish, n, 0.5));
	greta_jsonw_f64(w, "together_ms_median", quantile(sum, n, 0.5));
	greta_jsonw_f64(w, "together_ms_p95", quantile(sum, n, 0.95));
	greta_jsonw_f64(w, "one_after_the_other_per_s", rate);
	greta_jsonw_f64(w, "session_cpu_ms_per_attempt", children_cpu_s() * 1e3 / (double)n);
	free(start), free(finish), free(sum);
}

static void cpu(const char *agent, const char *spool, double seconds, struct greta_jsonw *w)
{
	struct session s;
	struct attempt a;
	char length[32];
	snprintf(length, sizeof length, "%.3f", seconds);
	session_open(&s, agent);
	run(&s, spool, (const char *const[]){"talk", length, NULL}, &a);
	session_close(&s);
	greta_jsonw_f64(w, "supervisor_cpu_percent", (double)a.supervisor_cpu_ns / 1e9 / a.wall_s * 100);
}

/* Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom. */
static double student(size_t df)
{
	static const double t[] = {12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
				   2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
				   2.052, 2.048, 2.045, 2.042};
	return df == 0 ? INFINITY : df <= GRETA_COUNT(t) ? t[df - 1] : 1.96;
}

static double bare_s(const char *rounds)
{
	struct greta_err e = {0};
	struct greta_child_result r;
	struct attempt a = {0};
	cleanup_buf struct greta_buf out = {0};
	const char *const argv[] = {"/proc/self/exe", "--engine", "work", rounds, NULL};
	const struct greta_child_spec spec = {.argv = argv};
	if (greta_child_run(&spec, -1, 4096, &out, &r, &e) != 0)
		die("can't run the bare engine", &e);
	read_log(&a, greta_buf_str(&out));
	return (double)a.worked_ns / 1e9;
}

/* In a session of its own: one in which nothing was said for 10 s starts nothing more. */
static double supervised_s(const char *agent, const char *spool, const char *rounds)
{
	struct session s;
	struct attempt a = {0};
	session_open(&s, agent);
	run(&s, spool, (const char *const[]){"work", rounds, NULL}, &a);
	session_close(&s);
	return (double)a.worked_ns / 1e9;
}

static void paired(const char *agent, const char *spool, double seconds, size_t pairs, struct greta_jsonw *w)
{
	char rounds[32];
	double sum = 0, squares = 0, base = 0;
	int64_t begun = greta_clock_mono_ns();
	work(100000000);
	double one = (double)(greta_clock_mono_ns() - begun) / 1e9 / 100000000;
	snprintf(rounds, sizeof rounds, "%.0f", seconds / one);
	for (size_t i = 0; i < pairs; i++) {
		double bare = 0, supervised = 0;
		for (size_t k = 0; k < 2; k++) { /* who goes first alternates */
			if ((i + k) % 2 == 0)
				bare = bare_s(rounds);
			else
				supervised = supervised_s(agent, spool, rounds);
		}
		double difference = supervised - bare;
		sum += difference;
		squares += difference * difference;
		base += bare;
	}
	double n = (double)pairs, mean = sum / n, variance = pairs > 1 ? (squares - sum * mean) / (n - 1) : INFINITY;
	double half = student(pairs - 1) * sqrt(variance / n);
	greta_jsonw_f64(w, "bare_s_mean", base / n);
	greta_jsonw_f64(w, "supervised_minus_bare_percent", mean / (base / n) * 100);
	greta_jsonw_f64(w, "interval_low_percent", (mean - half) / (base / n) * 100);
	greta_jsonw_f64(w, "interval_high_percent", (mean + half) / (base / n) * 100);
	greta_jsonw_i64(w, "pairs", (int64_t)pairs);
}

static char *prepare(void)
{
	static char root[] = "/var/tmp/greta-bench-XXXXXX";
	if (!mkdtemp(root))
		die("can't make a folder in /var/tmp", NULL);
	cleanup_free char *spool = greta_format("%s/spool", root), *slots = greta_format("%s/slots", root);
	cleanup_free char *cache = greta_format("%s/cache", root);
	setenv("GRETA_SPOOL_DIR", spool, 1);
	setenv("GRETA_SLOTS_DIR", slots, 1);
	setenv("GRETA_CACHE_DIR", cache, 1);
	setenv("GRETA_NODE_ID", "bench", 1);
	return root;
}

static void print_lines(const char *json)
{
	for (const char *at = json + 1; *at && *at != '}'; at += strcspn(at, ",}"), at += *at == ',') {
		const char *colon = strchr(at, ':');
		printf("%-32.*s %.*s\n", (int)(colon - at - 2), at + 1, (int)strcspn(colon + 1, ",}"), colon + 1);
	}
}

int main(int argc, char **argv)
{
	struct values v = {.runs = 100, .pairs = 5, .seconds = 10};
	struct greta_err e = {0};
	cleanup_strs struct greta_strs none = {0};
	cleanup_buf struct greta_buf text = {0}, help = {0};
	if (argc > 2 && strcmp(argv[1], "--engine") == 0)
		return engine(argc, argv);
	int rc = greta_opt_parse(&opts, argc, argv, &v, &none, false, &e);
	if (rc != 0) {
		greta_opt_help(&opts, &help);
		fputs(rc > 0 ? greta_buf_str(&help) : e.text, rc > 0 ? stdout : stderr);
		return rc > 0 ? 0 : 2;
	}
	cleanup_free char *dir = greta_fs_self_dir(), *agent = greta_fs_join(dir, "greta-agent");
	char *root = prepare();
	struct greta_jsonw w = greta_jsonw(&text);
	greta_jsonw_object(&w, NULL);
	latency(agent, getenv("GRETA_SPOOL_DIR"), (size_t)v.runs, &w);
	cpu(agent, getenv("GRETA_SPOOL_DIR"), v.seconds, &w);
	paired(agent, getenv("GRETA_SPOOL_DIR"), v.seconds, (size_t)v.pairs, &w);
	greta_jsonw_end_object(&w);
	greta_fs_remove_tree(root, NULL);
	if (v.json)
		puts(greta_buf_str(&text));
	else
		print_lines(greta_buf_str(&text));
	return 0;
}
