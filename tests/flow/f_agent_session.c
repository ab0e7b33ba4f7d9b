/* What a session promises its controller: order, replay, idempotence, fencing, flow control, and no trust in input. */
#include "tests/unit/unit.h"

#include "tests/flow/agent_driver.h"
#include "base/child.h"
#include "base/clock.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define OTHER_DB "22222222-2222-4222-8222-222222222222"

static void expect_refused(struct driver *d, struct greta_msg *m, enum greta_code code, const char *has)
{
	struct greta_msg answer;
	driver_answer(d, driver_send(d, m), &answer);
	assert_int_equal(answer.type, GRETA_MSG_REFUSED);
	assert_string_equal(greta_code_name(answer.code), greta_code_name(code));
	if (!strstr(answer.text, has))
		fail_msg("\"%s\" does not say \"%s\"", answer.text, has);
	greta_msg_release(&answer);
}

static struct greta_msg about(enum greta_msg_type type, const char *attempt)
{
	struct greta_msg m = {.type = type, .seq = 1000000};
	greta_str_copy(m.attempt, sizeof m.attempt, attempt);
	return m;
}

static void test_session__hello_tells_the_node(void **state)
{
	struct driver d;
	struct greta_msg hello;
	(void)state;
	driver_open(&d, DRIVER_DB, 7, &hello);
	assert_string_equal(hello.node_id, "test-node");
	assert_string_equal(hello.boot_id, greta_clock_boot_id());
	assert_int_equal(hello.fence, 7);
	assert_non_null(hello.version);
	greta_msg_release(&hello);
	driver_close(&d);
}

static void test_session__another_version_is_refused(void **state)
{
	struct driver d;
	struct greta_msg m = {.type = GRETA_MSG_HELLO, .protocol_min = 98, .protocol_max = 99, .version = (char *)"9.9"};
	struct greta_msg answer;
	int status;
	(void)state;
	driver_open_raw(&d);
	driver_send(&d, &m);
	assert_true(driver_read(&d, &answer, 5000));
	assert_int_equal(answer.type, GRETA_MSG_REFUSED);
	assert_int_equal(answer.code, GRETA_EVERSION);
	assert_non_null(strstr(answer.text, "9.9"));
	greta_msg_release(&answer);
	assert_false(driver_read(&d, &answer, 5000));
	waitpid(d.pid, &status, 0);
	close(d.fd);
	greta_buf_release(&d.in);
}

static void test_session__garbage_is_refused_and_ends(void **state)
{
	static const char *const inputs[] = {
		"hello\n",
		"{\"type\":\"launch_missiles\",\"re\":1}\n",
		"{\"type\":\"start\"}\n",
		"{\"type\":\"hello\"}\n",
		"\n\n\n",
		"[]\n",
		"{\"type\":\"pong\"}\n",
		"\xff\xfe garbage\n",
	};
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(inputs); i++) {
		struct driver d;
		struct greta_msg answer;
		int status = 0;
		driver_open_raw(&d);
		driver_send_raw(&d, inputs[i], strlen(inputs[i]));
		assert_true(driver_read(&d, &answer, 5000));
		assert_int_equal(answer.type, GRETA_MSG_REFUSED);
		assert_true(answer.text && answer.text[0]);
		greta_msg_release(&answer);
		assert_false(driver_read(&d, &answer, 5000));
		assert_int_equal(waitpid(d.pid, &status, 0), d.pid);
		assert_true(WIFEXITED(status));
		close(d.fd);
		greta_buf_release(&d.in);
	}
}

static void test_session__an_endless_line_is_not_buffered(void **state)
{
	struct driver d;
	char block[65536];
	int status = 0;
	(void)state;
	driver_open_raw(&d);
	memset(block, 'x', sizeof block);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 1000; i++)
		if (send(d.fd, block, sizeof block, MSG_NOSIGNAL) < 0)
			break;
	assert_int_equal(waitpid(d.pid, &status, 0), d.pid);
	assert_true(WIFEXITED(status));
	close(d.fd);
	greta_buf_release(&d.in);
}

static void test_session__end_of_input_is_quiet(void **state)
{
	struct driver d;
	(void)state;
	driver_open_raw(&d);
	driver_close(&d);
}

static void test_session__replays_from_any_number(void **state)
{
	struct node *n = *state;
	struct driver d;
	struct greta_spec spec;
	struct seen first, again;
	spec_make(n, &spec, ARGS("ok", "--layers", "6", "--layer-ms", "300"));
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_follow(&d, spec.attempt, 0, &first, 30000);
	driver_close(&d);
	for (int64_t from = 0; from < first.last_seq; from++) {
		driver_open(&d, DRIVER_DB, 1, NULL);
		driver_attach(&d, spec.attempt, from);
		driver_follow(&d, spec.attempt, from, &again, 5000);
		assert_int_equal(again.last_seq, first.last_seq);
		assert_int_equal(again.end.outcome, GRETA_OUTCOME_GOOD);
		seen_release(&again);
		driver_close(&d);
	}
	seen_release(&first);
	greta_spec_release(&spec);
}

static void test_session__starting_twice_attaches(void **state)
{
	struct node *n = *state;
	struct driver a, b;
	struct greta_spec spec;
	struct seen s;
	struct greta_buf ledger = {0};
	char *path = greta_format("%s/ledger", n->root);
	spec_make(n, &spec, ARGS("ok", "--layer-ms", "100", "--ledger", path));
	driver_open(&a, DRIVER_DB, 1, NULL);
	driver_open(&b, DRIVER_DB, 1, NULL);
	driver_start(&a, &spec);
	driver_start(&b, &spec);
	driver_start(&a, &spec);
	driver_follow(&b, spec.attempt, 0, &s, 30000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	seen_release(&s);
	driver_start(&b, &spec); /* finished by now: the same again, and no second run */
	driver_follow(&b, spec.attempt, 0, &s, 30000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	seen_release(&s);
	assert_int_equal(greta_fs_read(path, 4096, &ledger, NULL), 0);
	assert_ptr_equal(strchr(ledger.data, '\n'), ledger.data + ledger.len - 1); /* one line */
	driver_close(&a);
	driver_close(&b);
	free(path);
	greta_buf_release(&ledger);
	greta_spec_release(&spec);
}

static void test_session__a_newer_controller_owns_everything(void **state)
{
	struct node *n = *state;
	struct driver old, fresh;
	struct greta_spec spec, second;
	struct greta_msg hello;
	struct seen s;
	spec_make(n, &spec, ARGS("ok"));
	spec_make(n, &second, ARGS("ok"));
	driver_open(&old, DRIVER_DB, 3, NULL);
	driver_start(&old, &spec);
	driver_follow(&old, spec.attempt, 0, &s, 30000);
	driver_open(&fresh, DRIVER_DB, 4, NULL);
	struct greta_msg start = {.type = GRETA_MSG_START, .spec = &second};
	struct greta_msg cancel = about(GRETA_MSG_CANCEL, spec.attempt), ack = about(GRETA_MSG_ACK, spec.attempt);
	expect_refused(&old, &start, GRETA_EFENCED, "testhost:1");
	expect_refused(&old, &cancel, GRETA_EFENCED, "fence 4");
	expect_refused(&old, &ack, GRETA_EFENCED, "fence 4");
	driver_close(&old);
	driver_open(&old, DRIVER_DB, 3, &hello); /* also after it comes back, and across sessions */
	assert_int_equal(hello.fence, 4);
	expect_refused(&old, &start, GRETA_EFENCED, "fence 4");
	greta_msg_release(&hello);
	driver_close(&old);
	seen_release(&s);
	driver_attach(&fresh, spec.attempt, 0); /* nothing was pruned */
	driver_follow(&fresh, spec.attempt, 0, &s, 5000);
	driver_ack(&fresh, spec.attempt, s.last_seq);
	driver_close(&fresh);
	seen_release(&s);
	greta_spec_release(&spec);
	greta_spec_release(&second);
}

/* A network may have kept it back for so long, while its controller had the attempt run through another session. What can
 * do no harm is still done: it may be the last that a controller says. */
static void test_session__nothing_is_started_after_a_long_silence(void **state)
{
	struct node *n = *state;
	struct driver d;
	struct greta_spec spec, late;
	struct seen s;
	struct greta_msg start = {.type = GRETA_MSG_START, .spec = &late}, answer;
	int status = 0;
	spec_make(n, &spec, ARGS("ok"));
	spec_make(n, &late, ARGS("ok"));
	char *first = greta_format("%s/attempts/%s", n->spool, spec.attempt);
	char *second = greta_format("%s/attempts/%s", n->spool, late.attempt);
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_follow(&d, spec.attempt, 0, &s, 20000);
	usleep(10100000);
	driver_ack(&d, spec.attempt, s.last_seq);
	assert_int_not_equal(access(first, F_OK), 0);
	driver_send(&d, &start);
	assert_true(driver_read(&d, &answer, 5000));
	assert_int_equal(answer.type, GRETA_MSG_REFUSED);
	assert_int_equal(answer.code, GRETA_ETIMEOUT);
	assert_int_equal(answer.re, 0);
	greta_msg_release(&answer);
	assert_false(driver_read(&d, &answer, 5000));
	assert_int_equal(waitpid(d.pid, &status, 0), d.pid);
	assert_int_equal(status, 0);
	assert_int_not_equal(access(second, F_OK), 0);
	close(d.fd);
	greta_buf_release(&d.in);
	seen_release(&s);
	greta_spec_release(&spec), greta_spec_release(&late);
	free(first), free(second);
}

static void test_session__another_database_has_no_say(void **state)
{
	struct node *n = *state;
	struct driver mine, theirs;
	struct greta_spec spec;
	spec_make(n, &spec, ARGS("hang-sleep"));
	driver_open(&mine, DRIVER_DB, 3, NULL);
	driver_open(&theirs, OTHER_DB, 9, NULL);
	driver_start(&mine, &spec);
	struct greta_msg cancel = about(GRETA_MSG_CANCEL, spec.attempt), ack = about(GRETA_MSG_ACK, spec.attempt);
	struct greta_msg start = {.type = GRETA_MSG_START, .spec = &spec};
	expect_refused(&theirs, &cancel, GRETA_EFENCED, DRIVER_DB);
	expect_refused(&theirs, &ack, GRETA_EFENCED, DRIVER_DB);
	expect_refused(&theirs, &start, GRETA_EFENCED, DRIVER_DB);
	driver_cancel(&mine, spec.attempt, "enough");
	driver_close(&theirs);
	driver_close(&mine);
	greta_spec_release(&spec);
}

static void test_session__cancel_takes_less_than_five_seconds(void **state)
{
	struct node *n = *state;
	static const char *const modes[] = {"hang-sleep", "ignore-term", "stop", "runaway-hang"};
	for (size_t i = 0; i < GRETA_COUNT(modes); i++) {
		struct driver d;
		struct greta_spec spec;
		struct seen s = {0};
		spec_make(n, &spec, ARGS(modes[i]));
		spec.term_grace_s = 30;
		driver_open(&d, DRIVER_DB, 1, NULL);
		driver_start(&d, &spec);
		driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
		int64_t begun = greta_clock_mono_ns();
		driver_cancel(&d, spec.attempt, "the user changed their mind");
		driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 10000);
		assert_true(greta_clock_mono_ns() - begun < 5 * GRETA_NS_PER_S);
		assert_int_equal(s.end.outcome, GRETA_OUTCOME_CANCELLED);
		assert_string_equal(s.end.reason, "the user changed their mind");
		assert_int_equal(count_processes(spec.attempt), 0);
		driver_close(&d);
		seen_release(&s);
		greta_spec_release(&spec);
	}
}

static void test_session__waiting_names_the_holder(void **state)
{
	struct node *n = *state;
	struct driver d;
	struct greta_spec node_spec, cpu_spec;
	struct seen s = {0}, t = {0};
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_hold_node(&d, n, &node_spec, &s);
	spec_make(n, &cpu_spec, ARGS("ok"));
	driver_start(&d, &cpu_spec);
	driver_until(&d, cpu_spec.attempt, GRETA_EVENT_WAITING, &t, 20000);
	assert_non_null(strstr(t.waiting, node_spec.attempt));
	driver_cancel(&d, node_spec.attempt, "");
	driver_until(&d, cpu_spec.attempt, GRETA_EVENT_OUTCOME, &t, 20000);
	assert_int_equal(t.end.outcome, GRETA_OUTCOME_GOOD);
	driver_close(&d);
	seen_release(&s), seen_release(&t);
	greta_spec_release(&node_spec), greta_spec_release(&cpu_spec);
}

static void test_session__a_slot_wait_has_a_limit(void **state)
{
	struct node *n = *state;
	struct driver d;
	struct greta_spec holder, waiter;
	struct seen s = {0}, t = {0};
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_hold_node(&d, n, &holder, &s);
	spec_make(n, &waiter, ARGS("ok"));
	waiter.slot_wait_s = 0.5;
	driver_start(&d, &waiter);
	driver_follow(&d, waiter.attempt, 0, &t, 20000);
	assert_int_equal(t.end.outcome, GRETA_OUTCOME_INFRA);
	assert_string_equal(t.end.cause, "slot");
	assert_non_null(strstr(t.end.reason, holder.attempt));
	driver_cancel(&d, holder.attempt, "");
	driver_close(&d);
	seen_release(&s), seen_release(&t);
	greta_spec_release(&holder), greta_spec_release(&waiter);
}

/* A slot takes a file for each CPU, and on large nodes more than the soft limit: here that has no room for one. The engine
 * has the limit of before, and what it holds on top. */
static void test_session__slots_may_take_more_files_than_the_soft_limit(void **state)
{
	struct node *n = *state;
	struct driver d;
	struct greta_spec spec;
	struct seen s;
	struct rlimit before, few;
	spec_make(n, &spec, ARGS("ok"));
	greta_strs_release(&spec.argv);
	greta_strs_add(&spec.argv, "sh");
	greta_strs_add(&spec.argv, "-c");
	greta_strs_add(&spec.argv, "ulimit -n");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 20;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	driver_open(&d, DRIVER_DB, 1, NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	driver_start(&d, &spec);
	driver_follow(&d, spec.attempt, 0, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_INVALID); /* it ran; there are no samples */
	assert_string_equal(greta_buf_str(&s.out), "25\n");
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec);
}

static pid_t run_one(struct node *n, struct driver *d)
{
	struct greta_spec spec;
	struct seen s = {0};
	spec_make(n, &spec, ARGS("ok", "--layer-ms", "20"));
	driver_start(d, &spec);
	driver_follow(d, spec.attempt, 0, &s, 30000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	pid_t supervisor = supervisor_of(n, spec.attempt);
	driver_ack(d, spec.attempt, s.last_seq);
	seen_release(&s);
	greta_spec_release(&spec);
	return supervisor;
}

static bool is_idle(void *arg)
{
	char path[64], text[256] = "";
	snprintf(path, sizeof path, "/proc/%d/cmdline", *(pid_t *)arg);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
	close(fd);
	return n > 0 && memmem(text, (size_t)n, "(idle)", 6);
}

static bool is_gone(void *arg)
{
	return kill(*(pid_t *)arg, 0) != 0 && errno == ESRCH;
}

static void test_session__an_idle_supervisor_takes_the_next_attempt(void **state)
{
	struct node *n = *state;
	struct driver d;
	driver_open(&d, DRIVER_DB, 1, NULL);
	pid_t first = run_one(n, &d);
	assert_true(wait_until(is_idle, &first, 10000));
	assert_int_equal(run_one(n, &d), first);
	assert_true(wait_until(is_idle, &first, 10000));
	kill(first, SIGKILL);
	pid_t second = run_one(n, &d); /* nothing is lost with one that was idle */
	assert_int_not_equal(second, first);
	assert_true(wait_until(is_idle, &second, 10000));
	driver_kill(&d);
	assert_true(wait_until(is_gone, &second, 10000));
}

/* Logs without credit stay in the spool; another attempt's events and pongs pass them. */
static void test_session__logs_wait_for_credit(void **state)
{
	struct node *n = *state;
	struct driver d;
	struct greta_spec loud, quiet;
	struct seen s = {0}, t = {0};
	size_t got = 0;
	spec_make(n, &loud, ARGS("flood", "--bytes", "3000000"));
	spec_make(n, &quiet, ARGS("ok"));
	loud.log_limit_bytes = 8 << 20;
	driver_open(&d, DRIVER_DB, 1, NULL);
	struct greta_msg start = {.type = GRETA_MSG_START, .spec = &loud, .credit_bytes = 100000}, m;
	driver_answer(&d, driver_send(&d, &start), &m);
	assert_int_equal(m.type, GRETA_MSG_DONE);
	greta_msg_release(&m);
	for (struct greta_msg ping = {.type = GRETA_MSG_PING, .stamp_ns = 42};;) { /* drains what credit allows */
		usleep(300000);
		driver_send(&d, &ping);
		bool more = false;
		while (driver_read(&d, &m, 5000) && m.type != GRETA_MSG_PONG) {
			got += m.event->n_bytes;
			more = true;
			s.last_seq = m.event->seq;
			greta_msg_release(&m);
		}
		assert_int_equal(m.stamp_ns, 42);
		greta_msg_release(&m);
		if (!more && got > 0) /* else it has not begun yet */
			break;
	}
	assert_true(got > 50000 && got < 200000);
	driver_start(&d, &quiet);
	driver_follow(&d, quiet.attempt, 0, &t, 20000);
	assert_int_equal(t.end.outcome, GRETA_OUTCOME_GOOD);
	struct greta_msg credit = about(GRETA_MSG_CREDIT, loud.attempt);
	credit.credit_bytes = 100 << 20;
	driver_answer(&d, driver_send(&d, &credit), &m);
	greta_msg_release(&m);
	driver_until(&d, loud.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	driver_close(&d);
	seen_release(&s), seen_release(&t);
	greta_spec_release(&loud), greta_spec_release(&quiet);
}

static void test_session__list_and_probe(void **state)
{
	struct node *n = *state;
	struct driver d;
	struct greta_spec spec;
	struct seen s;
	struct greta_msg list = {.type = GRETA_MSG_LIST}, probe = {.type = GRETA_MSG_PROBE}, gc = {.type = GRETA_MSG_GC}, m;
	spec_make(n, &spec, ARGS("ok"));
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_follow(&d, spec.attempt, 0, &s, 20000);
	driver_answer(&d, driver_send(&d, &list), &m);
	assert_int_equal(m.type, GRETA_MSG_ATTEMPTS);
	assert_int_equal(m.n_held, 1);
	assert_string_equal(m.held[0].attempt, spec.attempt);
	assert_string_equal(m.held[0].db, DRIVER_DB);
	assert_true(m.held[0].finished && !m.held[0].running);
	assert_int_equal(m.held[0].last_seq, s.last_seq);
	greta_msg_release(&m);
	driver_answer(&d, driver_send(&d, &probe), &m);
	assert_int_equal(m.type, GRETA_MSG_FACTS);
	assert_string_equal(m.facts->node_id, "test-node");
	assert_true(m.facts->n_cpus > 0 && m.facts->mem_bytes > 0 && m.facts->spool_free_bytes > 0 && m.facts->n_env > 3);
	greta_msg_release(&m);
	gc.keep_bytes = 1000;
	driver_answer(&d, driver_send(&d, &gc), &m);
	assert_int_equal(m.type, GRETA_MSG_DONE);
	assert_non_null(strstr(m.text, "\"freed_bytes\":0"));
	greta_msg_release(&m);
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec);
}

static void test_session__refuses_a_spool_it_does_not_own(void **state)
{
	struct node *n = *state;
	struct greta_buf out = {0};
	char *base = greta_format("%s/spool", n->root), *elsewhere = greta_format("%s/elsewhere", n->root);
	const char *const argv[] = {n->agent, "status", NULL};
	const struct greta_child_spec spec = {.argv = argv};
	struct greta_child_result r;
	struct greta_err e = {0};
	assert_int_equal(mkdir(elsewhere, 0700), 0);
	assert_int_equal(symlink(elsewhere, base), 0);
	assert_ok(greta_child_run(&spec, 10000, 10000, &out, &r, &e));
	assert_true(WIFEXITED(r.status) && WEXITSTATUS(r.status) != 0);
	assert_non_null(strstr(out.data, "symbolic link"));
	unlink(base);
	greta_buf_clear(&out);
	assert_int_equal(mkdir(base, 0777), 0);
	assert_int_equal(chmod(base, 0777), 0);
	assert_ok(greta_child_run(&spec, 10000, 10000, &out, &r, &e));
	assert_true(WIFEXITED(r.status) && WEXITSTATUS(r.status) != 0);
	assert_non_null(strstr(out.data, "chmod 700"));
	free(base), free(elsewhere);
	greta_buf_release(&out);
}

/* A spool on a tmpfs of 1 MB. False: we may not mount one. */
static bool mount_small_spool(const struct node *n)
{
	char *base = greta_format("%s/spool", n->root);
	bool ok = mkdir(base, 0700) == 0 && mount("greta-test", base, "tmpfs", 0, "size=1m,mode=700") == 0;
	free(base);
	return ok;
}

static void fill_disk(const struct node *n, bool fill)
{
	char block[4096] = "";
	char *path = greta_format("%s/spool/filler", n->root);
	if (!fill)
		unlink(path);
	int fd = fill ? open(path, O_WRONLY | O_CREAT, 0600) : -1;
	while (fd >= 0 && write(fd, block, sizeof block) > 0)
		;
	close(fd);
	free(path);
}

static void test_session__a_full_disk_loses_no_outcome(void **state)
{
	struct node *n = *state;
	struct driver d;
	struct greta_spec spec, late;
	struct seen s = {0};
	if (!mount_small_spool(n)) {
		print_message("          skipped: may not mount a tmpfs\n");
		skip();
	}
	spec_make(n, &spec, ARGS("late-flood", "--bytes", "100000", "--layers", "5", "--layer-ms", "300"));
	spec_make(n, &late, ARGS("ok"));
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	fill_disk(n, true);
	struct greta_msg start = {.type = GRETA_MSG_START, .spec = &late};
	expect_refused(&d, &start, GRETA_ENOSPC, "No space");
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	assert_int_equal(s.end.samples.n, 1);
	assert_true(s.end.log_dropped > 0);
	fill_disk(n, false);
	seen_release(&s);
	s = (struct seen){0};
	driver_start(&d, &late);
	driver_follow(&d, late.attempt, 0, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec), greta_spec_release(&late);
	char *base = greta_format("%s/spool", n->root);
	assert_int_equal(umount2(base, MNT_DETACH), 0);
	free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, node_create, node_remove)
		T(test_session__hello_tells_the_node),
		T(test_session__another_version_is_refused),
		T(test_session__garbage_is_refused_and_ends),
		T(test_session__an_endless_line_is_not_buffered),
		T(test_session__end_of_input_is_quiet),
		T(test_session__replays_from_any_number),
		T(test_session__starting_twice_attaches),
		T(test_session__a_newer_controller_owns_everything),
		T(test_session__nothing_is_started_after_a_long_silence),
		T(test_session__another_database_has_no_say),
		T(test_session__cancel_takes_less_than_five_seconds),
		T(test_session__waiting_names_the_holder),
		T(test_session__a_slot_wait_has_a_limit),
		T(test_session__slots_may_take_more_files_than_the_soft_limit),
		T(test_session__an_idle_supervisor_takes_the_next_attempt),
		T(test_session__logs_wait_for_credit),
		T(test_session__list_and_probe),
		T(test_session__refuses_a_spool_it_does_not_own),
		T(test_session__a_full_disk_loses_no_outcome),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
