#include "tests/unit/unit.h"

#include "tests/flow/agent_driver.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/mem.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define ANSWER_MS 20000
#define KEEP_ALIVE_MS 4000

/* nodes */

int node_create(void **state)
{
	struct node *n = greta_alloc(sizeof *n);
	n->root = greta_strdup("/tmp/greta-flow-XXXXXX");
	if (!mkdtemp(n->root) || chdir(n->root) != 0)
		return -1;
	n->agent = greta_strdup(GRETA_BIN "/greta-agent");
	n->engine = greta_strdup(GRETA_BIN "/fake_engine");
	n->spool = greta_format("%s/spool/test-node", n->root);
	char *spool = greta_format("%s/spool", n->root), *slots = greta_format("%s/slots", n->root);
	char *cache = greta_format("%s/cache", n->root);
	setenv("GRETA_SPOOL_DIR", spool, 1);
	setenv("GRETA_SLOTS_DIR", slots, 1);
	setenv("GRETA_CACHE_DIR", cache, 1);
	setenv("GRETA_NODE_ID", "test-node", 1);
	free(spool), free(slots), free(cache);
	*state = n;
	return 0;
}

/* Calls fn for every process whose environment holds the text. */
static int each_process(const char *text, void (*fn)(pid_t pid))
{
	int n = 0;
	DIR *d = opendir("/proc");
	for (struct dirent *entry; d && (entry = readdir(d));) {
		struct greta_buf env = {0};
		char *path = greta_format("/proc/%s/environ", entry->d_name);
		if (isdigit((unsigned char)entry->d_name[0]) && greta_fs_read(path, 4 << 20, &env, NULL) == 0 && env.len &&
		    memmem(env.data, env.len, text, strlen(text))) {
			n++;
			if (fn)
				fn((pid_t)strtol(entry->d_name, NULL, 10));
		}
		free(path);
		greta_buf_release(&env);
	}
	closedir(d);
	return n;
}

static void kill_hard(pid_t pid)
{
	if (pid != getpid())
		kill(pid, SIGKILL);
}

int count_processes(const char *attempt)
{
	char *text = greta_format("GRETA_ATTEMPT=%s", attempt);
	int n = each_process(text, NULL);
	free(text);
	return n;
}

int node_remove(void **state)
{
	struct node *n = *state;
	/* Engines and supervisors alike carry the node's folder in their environment or command. */
	char *mark = greta_format("%s/spool", n->root);
	each_process(mark, kill_hard);
	free(mark);
	int rc = chdir("/") == 0 ? greta_fs_remove_tree(n->root, NULL) : -1;
	free(n->root), free(n->agent), free(n->engine), free(n->spool);
	free(n);
	return rc;
}

/* sessions */

static void spawn_session(struct driver *d)
{
	struct greta_err e = {0};
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	const char *const argv[] = {GRETA_BIN "/greta-agent", "session", "--nonce", "c0ffee", NULL};
	const struct greta_child_fd fds[] = {{pair[1], 0}, {pair[1], 1}};
	const struct greta_child_spec spec = {.argv = argv, .fds = fds, .n_fds = 2};
	d->pid = greta_child_spawn(&spec, &e);
	if (d->pid < 0)
		fail_msg("%s", e.text);
	close(pair[1]);
	d->fd = pair[0];
}

/* As controllers do, or the session would end. Credit for nobody needs no answer. */
static void keep_alive(struct driver *d)
{
	static const char frame[] = "{\"type\":\"credit\",\"credit_bytes\":0}\n";
	if (!d->greeted || greta_clock_mono_ns() - d->sent_ns < KEEP_ALIVE_MS * GRETA_NS_PER_MS)
		return;
	send(d->fd, frame, sizeof frame - 1, MSG_NOSIGNAL);
	d->sent_ns = greta_clock_mono_ns();
}

static bool wait_input(struct driver *d, int timeout_ms)
{
	struct pollfd p = {.fd = d->fd, .events = POLLIN};
	for (int left = timeout_ms; left > 0; left -= KEEP_ALIVE_MS) {
		keep_alive(d);
		if (poll(&p, 1, left < KEEP_ALIVE_MS ? left : KEEP_ALIVE_MS) == 1)
			return true;
	}
	return false;
}

/* False at the end of the stream. */
static bool read_more(struct driver *d, int timeout_ms)
{
	if (!wait_input(d, timeout_ms))
		fail_msg("nothing came from the agent within %d ms", timeout_ms);
	ssize_t n = read(d->fd, greta_buf_reserve(&d->in, 65536), 65536);
	if (n <= 0)
		return false;
	d->in.len += (size_t)n;
	d->in.data[d->in.len] = '\0';
	return true;
}

void driver_open_raw(struct driver *d)
{
	*d = (struct driver){0};
	spawn_session(d);
	while (!memchr(greta_buf_str(&d->in), '\n', d->in.len))
		if (!read_more(d, ANSWER_MS))
			fail_msg("the session ended before its first line");
	char magic[64];
	int n = snprintf(magic, sizeof magic, GRETA_MAGIC " c0ffee %d\n", GRETA_PROTOCOL_MAX);
	assert_memory_equal(d->in.data, magic, (size_t)n);
	greta_buf_consume(&d->in, (size_t)n);
}

void driver_open(struct driver *d, const char *db, int64_t fence, struct greta_msg *hello)
{
	struct greta_msg m = {.type = GRETA_MSG_HELLO, .protocol_min = GRETA_PROTOCOL_MIN, .protocol_max = GRETA_PROTOCOL_MAX, .version = (char *)"0.1.0",
			      .fence = fence, .peer = (char *)"testhost:1"};
	struct greta_msg answer = {0};
	driver_open_raw(d);
	greta_str_copy(m.db, sizeof m.db, db);
	driver_answer(d, driver_send(d, &m), &answer);
	assert_int_equal(answer.type, GRETA_MSG_HELLO);
	d->greeted = true;
	if (hello)
		*hello = answer;
	else
		greta_msg_release(&answer);
}

void driver_close(struct driver *d)
{
	int status = 0;
	shutdown(d->fd, SHUT_WR);
	while (read_more(d, ANSWER_MS))
		greta_buf_clear(&d->in);
	close(d->fd);
	assert_int_equal(waitpid(d->pid, &status, 0), d->pid);
	assert_int_equal(status, 0);
	greta_buf_release(&d->in);
}

void driver_kill(struct driver *d)
{
	kill(d->pid, SIGKILL);
	waitpid(d->pid, NULL, 0);
	close(d->fd);
	greta_buf_release(&d->in);
}

void driver_send_raw(struct driver *d, const void *bytes, size_t n)
{
	struct greta_err e = {0};
	assert_ok(greta_fs_write_all(d->fd, bytes, n, &e));
	d->sent_ns = greta_clock_mono_ns();
}

int64_t driver_send(struct driver *d, struct greta_msg *m)
{
	struct greta_err e = {0};
	struct greta_buf frame = {0};
	m->re = ++d->re;
	assert_ok(greta_msg_encode(m, &frame, &e));
	driver_send_raw(d, frame.data, frame.len);
	greta_buf_release(&frame);
	return m->re;
}

bool driver_read(struct driver *d, struct greta_msg *out, int timeout_ms)
{
	struct greta_err e = {0};
	for (;;) {
		*out = (struct greta_msg){0};
		ssize_t n = greta_msg_decode(greta_buf_str(&d->in), d->in.len, out, &e);
		if (n < 0)
			fail_msg("unreadable frame: %s", e.text);
		if (n > 0) {
			greta_buf_consume(&d->in, (size_t)n);
			return true;
		}
		if (!read_more(d, timeout_ms))
			return false;
	}
}

/* Takes the answer out of the middle: events before it wait for whoever reads them. */
void driver_answer(struct driver *d, int64_t re, struct greta_msg *out)
{
	struct greta_err e = {0};
	for (size_t at = 0;;) {
		*out = (struct greta_msg){0};
		ssize_t n = greta_msg_decode(greta_buf_str(&d->in) + at, d->in.len - at, out, &e);
		if (n < 0)
			fail_msg("unreadable frame: %s", e.text);
		if (n > 0 && out->re == re) {
			memmove(d->in.data + at, d->in.data + at + n, d->in.len - at - (size_t)n);
			d->in.len -= (size_t)n;
			return;
		}
		greta_msg_release(out);
		at += (size_t)n;
		if (n == 0 && !read_more(d, ANSWER_MS))
			fail_msg("the session ended before it answered request %d", (int)re);
	}
}

/* requests */

void spec_make(const struct node *n, struct greta_spec *spec, const char *const *args)
{
	*spec = (struct greta_spec){
		.campaign = greta_strdup("flow"),
		.variant = greta_strdup(args[0]),
		.context = 4096,
		.repeat = 1,
		.samples = 1,
		.slot = GRETA_SLOT_CPU,
		.cpus = 1,
		.wall_s = 60,
		.term_grace_s = 1,
		.log_limit_bytes = 256 * 1024,
	};
	greta_uuid_new(spec->attempt);
	greta_strs_add(&spec->argv, n->engine);
	for (size_t i = 0; args[i]; i++)
		greta_strs_add(&spec->argv, args[i]);
}

static void expect_done(struct driver *d, struct greta_msg *m)
{
	struct greta_msg answer;
	driver_answer(d, driver_send(d, m), &answer);
	if (answer.type != GRETA_MSG_DONE)
		fail_msg("%s: %s", greta_msg_type_name(answer.type), answer.text);
	greta_msg_release(&answer);
}

void driver_start(struct driver *d, struct greta_spec *spec)
{
	struct greta_msg m = {.type = GRETA_MSG_START, .spec = spec, .credit_bytes = 1 << 20};
	expect_done(d, &m);
}

void driver_attach(struct driver *d, const char *attempt, int64_t seq)
{
	struct greta_msg m = {.type = GRETA_MSG_ATTACH, .seq = seq, .credit_bytes = 1 << 20};
	greta_str_copy(m.attempt, sizeof m.attempt, attempt);
	expect_done(d, &m);
}

void driver_ack(struct driver *d, const char *attempt, int64_t seq)
{
	struct greta_msg m = {.type = GRETA_MSG_ACK, .seq = seq};
	greta_str_copy(m.attempt, sizeof m.attempt, attempt);
	expect_done(d, &m);
}

void driver_cancel(struct driver *d, const char *attempt, const char *why)
{
	struct greta_msg m = {.type = GRETA_MSG_CANCEL, .text = (char *)why};
	greta_str_copy(m.attempt, sizeof m.attempt, attempt);
	expect_done(d, &m);
}

/* events */

static void keep_text(char **to, const char *text)
{
	free(*to);
	*to = greta_strdup(text);
}

static void (*on_event)(void *arg, const struct greta_event *ev);
static void *on_event_arg;

void driver_on_event(void (*fn)(void *arg, const struct greta_event *ev), void *arg)
{
	on_event = fn;
	on_event_arg = arg;
}

static void see(struct seen *s, const struct greta_event *ev)
{
	if (on_event)
		on_event(on_event_arg, ev);
	s->n[ev->kind]++;
	assert_int_equal(ev->seq, s->last_seq + 1);
	s->last_seq = ev->seq;
	if (ev->kind == GRETA_EVENT_LOG)
		greta_buf_add(strstr(ev->detail, "\"err\"") ? &s->err : &s->out, ev->bytes, ev->n_bytes);
	else if (ev->kind == GRETA_EVENT_LOG_GAP)
		s->dropped += strtoll(strstr(ev->detail, "\"dropped\":") + 10, NULL, 10);
	else if (ev->kind == GRETA_EVENT_WAITING)
		keep_text(&s->waiting, ev->detail);
	else if (ev->kind == GRETA_EVENT_STARTED)
		keep_text(&s->started, ev->detail);
	else if (ev->kind == GRETA_EVENT_OUTCOME)
		assert_int_equal(greta_end_parse(ev->detail, strlen(ev->detail), &s->end, NULL), 0);
}

static void grant(struct driver *d, const char *attempt, size_t bytes)
{
	struct greta_err e = {0};
	struct greta_buf frame = {0};
	struct greta_msg m = {.type = GRETA_MSG_CREDIT, .credit_bytes = (int64_t)bytes + 4000};
	greta_str_copy(m.attempt, sizeof m.attempt, attempt);
	assert_ok(greta_msg_encode(&m, &frame, &e));
	driver_send_raw(d, frame.data, frame.len);
	greta_buf_release(&frame);
}

void driver_see(struct driver *d, struct seen *s, const struct greta_event *ev)
{
	see(s, ev);
	if (ev->n_bytes || ev->kind == GRETA_EVENT_TELEMETRY)
		grant(d, ev->attempt, ev->n_bytes);
}

void driver_until(struct driver *d, const char *attempt, enum greta_event_kind kind, struct seen *out, int timeout_ms)
{
	int64_t end_ns = greta_clock_mono_ns() + timeout_ms * GRETA_NS_PER_MS;
	for (bool found = false; !found;) {
		struct greta_msg m;
		int64_t left = (end_ns - greta_clock_mono_ns()) / GRETA_NS_PER_MS;
		if (left <= 0)
			fail_msg("no %s within %d ms", greta_event_kind_name(kind), timeout_ms);
		if (!driver_read(d, &m, (int)left))
			fail_msg("the session ended before %s", greta_event_kind_name(kind));
		if (m.type == GRETA_MSG_EVENT && strcmp(m.event->attempt, attempt) == 0) {
			driver_see(d, out, m.event);
			found = m.event->kind == kind;
			if (!found && m.event->kind == GRETA_EVENT_OUTCOME)
				fail_msg("outcome %s: %s, before %s", greta_outcome_name(out->end.outcome), out->end.reason,
					 greta_event_kind_name(kind));
		}
		greta_msg_release(&m);
	}
}

void driver_hold_node(struct driver *d, const struct node *n, struct greta_spec *holder, struct seen *out)
{
	spec_make(n, holder, (const char *const[]){"hang-sleep", NULL});
	holder->slot = GRETA_SLOT_NODE;
	driver_start(d, holder);
	driver_until(d, holder->attempt, GRETA_EVENT_STARTED, out, 20000);
}

void driver_follow(struct driver *d, const char *attempt, int64_t after, struct seen *out, int timeout_ms)
{
	*out = (struct seen){.last_seq = after};
	driver_until(d, attempt, GRETA_EVENT_OUTCOME, out, timeout_ms);
}

void seen_release(struct seen *s)
{
	greta_end_release(&s->end);
	greta_buf_release(&s->out);
	greta_buf_release(&s->err);
	free(s->waiting);
	free(s->started);
}

/* Its own words are for when something is wrong with it; a sanitizer's report lands there too. */
static void quiet_supervisor(const struct node *n, pid_t supervisor)
{
	struct greta_buf text = {0};
	char *path = greta_format("%s/supervisor.log", n->spool);
	for (int i = 0; kill(supervisor, 0) == 0 && i < 500; i++)
		usleep(10000); /* leaks are told at its exit, after the session's */
	assert_int_equal(greta_fs_read(path, 1 << 20, &text, NULL), 0);
	if (text.len)
		fail_msg("the supervisor said: %s", text.data);
	free(path);
	greta_buf_release(&text);
}

void run_attempt(struct node *n, const char *const *args, struct greta_spec *spec, struct seen *out)
{
	struct driver d;
	struct greta_spec own;
	if (!spec) {
		spec_make(n, &own, args);
		spec = &own;
	}
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, spec);
	driver_follow(&d, spec->attempt, 0, out, 90000);
	pid_t supervisor = supervisor_of(n, spec->attempt);
	driver_ack(&d, spec->attempt, out->last_seq);
	driver_close(&d);
	quiet_supervisor(n, supervisor);
	assert_int_equal(count_processes(spec->attempt), 0);
	char *dir = greta_format("%s/attempts/%s", n->spool, spec->attempt);
	assert_int_not_equal(access(dir, F_OK), 0);
	free(dir);
	greta_spec_release(spec);
}

/* processes */

/* Waits until it has noted its pid. */
pid_t supervisor_of(const struct node *n, const char *attempt)
{
	struct greta_buf text = {0};
	char *path = greta_format("%s/attempts/%s/control", n->spool, attempt);
	pid_t pid = 0;
	for (int i = 0; pid == 0 && i < 20000; i++, usleep(500)) {
		greta_buf_clear(&text);
		assert_int_equal(greta_fs_read(path, 8192, &text, NULL), 0);
		pid = (pid_t)strtol(text.data, NULL, 10);
	}
	assert_true(pid > 1);
	free(path);
	greta_buf_release(&text);
	return pid;
}

bool wait_until(bool (*question)(void *), void *arg, int timeout_ms)
{
	for (int waited = 0; waited < timeout_ms; waited += 20) {
		if (question(arg))
			return true;
		usleep(20000);
	}
	return question(arg);
}

/* side by side */

struct run {
	pid_t pid;
	FILE *said;
};

static void run_begin(struct run *r, const struct CMUnitTest *test)
{
	fflush(stdout);
	r->said = tmpfile();
	r->pid = r->said ? fork() : -1;
	if (r->pid == 0) {
		dup2(fileno(r->said), STDOUT_FILENO);
		dup2(fileno(r->said), STDERR_FILENO);
		exit(_cmocka_run_group_tests(test->name, test, 1, NULL, NULL));
	}
	if (r->pid < 0)
		abort();
}

/* True when it has passed. What it said comes in one piece. */
static bool run_end(struct run *r, int status)
{
	char line[4096];
	rewind(r->said);
	while (fgets(line, sizeof line, r->said))
		fputs(line, stdout);
	fclose(r->said);
	*r = (struct run){0};
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int run_side_by_side(const struct CMUnitTest *tests, size_t n, size_t at_once)
{
	struct run *runs = greta_alloc(at_once * sizeof *runs);
	size_t begun = 0, n_failed = 0;
	for (size_t running = 0; begun < n || running > 0;) {
		int status;
		for (size_t i = 0; i < at_once && begun < n; i++)
			if (!runs[i].pid) {
				run_begin(&runs[i], &tests[begun++]);
				running++;
			}
		pid_t pid = wait(&status);
		for (size_t i = 0; i < at_once; i++)
			if (runs[i].pid == pid) {
				n_failed += !run_end(&runs[i], status);
				running--;
			}
	}
	free(runs);
	return (int)n_failed;
}
