/* KILL for sessions, supervisors and engines, at many moments: nothing is lost, nothing runs twice unseen, nobody stays. */
#include "tests/unit/unit.h"

#include "base/clock.h"
#include "base/mem.h"
#include "tests/flow/agent_driver.h"
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int ledger_lines(const char *path, const char *having)
{
	struct greta_buf text = {0};
	int n = 0;
	if (greta_fs_read(path, 1 << 20, &text, NULL) == 0)
		for (const char *at = text.data; (at = strstr(at, having)); at++)
			n++;
	greta_buf_release(&text);
	return n;
}

static void no_processes(const char *attempt)
{
	for (int i = 0; count_processes(attempt) > 0 && i < 250; i++)
		usleep(20000);
	assert_int_equal(count_processes(attempt), 0);
}

/* The session dies between start and outcome, wherever that is; another comes and starts the same attempt. */
static void test_crash__sessions_come_and_go(void **state)
{
	struct node *n = *state;
	char *ledger = greta_format("%s/ledger", n->root);
	for (int i = 0; i < 16; i++) {
		struct greta_spec spec;
		struct driver d;
		struct seen s;
		spec_make(n, &spec, ARGS("ok", "--layers", "4", "--layer-ms", "20", "--ledger", ledger));
		struct greta_msg start = {.type = GRETA_MSG_START, .spec = &spec};
		driver_open(&d, DRIVER_DB, 1, NULL);
		driver_send(&d, &start);
		usleep((useconds_t)i * 800);
		driver_kill(&d);
		driver_open(&d, DRIVER_DB, 1, NULL);
		driver_start(&d, &spec);
		if (i % 2) {
			usleep((useconds_t)i * 2000);
			driver_kill(&d);
			driver_open(&d, DRIVER_DB, 1, NULL);
			driver_attach(&d, spec.attempt, 0);
		}
		driver_follow(&d, spec.attempt, 0, &s, 30000);
		assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
		assert_int_equal(ledger_lines(ledger, spec.attempt), 1);
		driver_ack(&d, spec.attempt, s.last_seq);
		driver_close(&d);
		seen_release(&s);
		greta_spec_release(&spec);
	}
	free(ledger);
}

/* The supervisor dies at any moment of an attempt: its outcome is `lost`, or what it managed to publish. */
static void test_crash__supervisors_die(void **state)
{
	struct node *n = *state;
	int lost = 0, good = 0;
	for (int i = 0; i < 18; i++) {
		struct greta_spec spec;
		struct driver d;
		struct seen s;
		spec_make(n, &spec, ARGS(i % 3 == 2 ? "runaway" : "ok", "--layers", "3", "--layer-ms", "40"));
		driver_open(&d, DRIVER_DB, 1, NULL);
		driver_start(&d, &spec);
		usleep((useconds_t)i * 5000);
		kill(supervisor_of(n, spec.attempt), SIGKILL);
		driver_follow(&d, spec.attempt, 0, &s, 30000);
		lost += s.end.outcome == GRETA_OUTCOME_LOST;
		good += s.end.outcome == GRETA_OUTCOME_GOOD;
		if (s.end.outcome == GRETA_OUTCOME_LOST)
			assert_string_equal(s.end.cause, "supervisor");
		assert_false(s.end.survivors);
		no_processes(spec.attempt);
		driver_ack(&d, spec.attempt, s.last_seq);
		driver_close(&d);
		seen_release(&s);
		greta_spec_release(&spec);
	}
	print_message("          lost %d, ok %d of 18\n", lost, good);
	assert_int_equal(lost + good, 18);
	assert_true(lost > 0);
}

/* Supervisor and session die together, and the next controller finds the pieces. */
static void test_crash__the_next_session_cleans_up(void **state)
{
	struct node *n = *state;
	static const char *const modes[] = {"hang-sleep", "runaway-hang", "ignore-term", "stop"};
	for (size_t i = 0; i < GRETA_COUNT(modes); i++) {
		struct greta_spec spec, next;
		struct driver d;
		struct seen s = {0};
		spec_make(n, &spec, ARGS(modes[i]));
		spec_make(n, &next, ARGS("ok"));
		spec.slot = next.slot = GRETA_SLOT_NODE;
		driver_open(&d, DRIVER_DB, (int64_t)(2 * i + 1), NULL);
		driver_start(&d, &spec);
		driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
		usleep(100000);
		pid_t supervisor = supervisor_of(n, spec.attempt);
		driver_kill(&d);
		kill(supervisor, SIGKILL);
		seen_release(&s);
		driver_open(&d, DRIVER_DB, (int64_t)(2 * i + 2), NULL);
		driver_attach(&d, spec.attempt, 0);
		driver_follow(&d, spec.attempt, 0, &s, 30000);
		assert_int_equal(s.end.outcome, GRETA_OUTCOME_LOST);
		assert_true(isnan(s.end.wall_s));
		assert_int_equal(s.end.progress.phase, GRETA_PHASE_PREFILL);
		assert_true(s.end.started_wall_ns > 0);
		no_processes(spec.attempt);
		seen_release(&s);
		driver_start(&d, &next); /* the slot is free again */
		driver_follow(&d, next.attempt, 0, &s, 30000);
		assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
		driver_close(&d);
		seen_release(&s);
		greta_spec_release(&spec), greta_spec_release(&next);
	}
}

/* A slot stays taken while any process of the tree lives, although its supervisor is dead and nobody has looked. */
static void test_crash__a_slot_is_held_by_the_tree(void **state)
{
	struct node *n = *state;
	struct greta_spec spec, next;
	struct driver d;
	struct seen s = {0};
	spec_make(n, &spec, ARGS("runaway-hang")); /* PDEATHSIG ends its first process; the other one stays */
	spec_make(n, &next, ARGS("ok"));
	spec.slot = next.slot = GRETA_SLOT_NODE;
	next.slot_wait_s = 1;
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	usleep(300000);
	pid_t supervisor = supervisor_of(n, spec.attempt);
	driver_kill(&d);
	kill(supervisor, SIGKILL);
	seen_release(&s);
	usleep(300000);
	assert_int_equal(count_processes(spec.attempt), 1);
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &next);
	driver_follow(&d, next.attempt, 0, &s, 30000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_INFRA);
	assert_non_null(strstr(s.end.reason, spec.attempt));
	seen_release(&s);
	driver_attach(&d, spec.attempt, 0);
	driver_follow(&d, spec.attempt, 0, &s, 30000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_LOST);
	no_processes(spec.attempt);
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec), greta_spec_release(&next);
}

static void test_crash__engines_die(void **state)
{
	struct node *n = *state;
	for (int i = 0; i < 10; i++) {
		struct greta_spec spec;
		struct driver d;
		struct seen s = {0};
		spec_make(n, &spec, ARGS("hang-sleep"));
		driver_open(&d, DRIVER_DB, 1, NULL);
		driver_start(&d, &spec);
		driver_until(&d, spec.attempt, GRETA_EVENT_STARTED, &s, 20000);
		pid_t engine = (pid_t)strtol(strstr(s.started, "\"pid\":") + 6, NULL, 10);
		usleep((useconds_t)i * 1000);
		kill(engine, SIGKILL);
		driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
		assert_int_equal(s.end.outcome, GRETA_OUTCOME_FAILED);
		assert_int_equal(s.end.signal, SIGKILL);
		driver_close(&d);
		seen_release(&s);
		greta_spec_release(&spec);
	}
}

static void test_crash__a_supervisor_told_to_end_is_preempted(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct seen s = {0};
	spec_make(n, &spec, ARGS("hang-sleep"));
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	kill(supervisor_of(n, spec.attempt), SIGHUP); /* a connection that ends must not matter */
	usleep(100000);
	kill(supervisor_of(n, spec.attempt), SIGTERM);
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_PREEMPTED);
	no_processes(spec.attempt);
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec);
}

/* A power cut leaves torn frames; what was whole stays, and the attempt is lost, whatever the controller knows. */
static void test_crash__torn_events_are_cut_off(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct seen s = {0};
	spec_make(n, &spec, ARGS("hang-sleep"));
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	usleep(400000);
	pid_t supervisor = supervisor_of(n, spec.attempt);
	driver_kill(&d);
	kill(supervisor, SIGKILL);
	seen_release(&s);
	no_processes(spec.attempt);
	char *events = greta_format("%s/attempts/%s/events", n->spool, spec.attempt);
	struct stat st;
	assert_int_equal(stat(events, &st), 0);
	assert_int_equal(truncate(events, st.st_size - 7), 0);
	for (int64_t known = 0; known < 12; known++) { /* more than is left, too */
		driver_open(&d, DRIVER_DB, 1, NULL);
		driver_attach(&d, spec.attempt, known);
		driver_follow(&d, spec.attempt, known, &s, 20000);
		assert_int_equal(s.end.outcome, GRETA_OUTCOME_LOST);
		assert_true(s.last_seq > known);
		seen_release(&s);
		driver_close(&d);
	}
	free(events);
	greta_spec_release(&spec);
}

/* As a power cut soon after the start leaves it: what is synced, from another boot. */
static void cut_power(const char *dir)
{
	static const char other[] = "99999999-9999-4999-8999-999999999999";
	char *spec = greta_format("%s/spec.json", dir), *events = greta_format("%s/events", dir);
	char *control = greta_format("%s/control", dir);
	struct greta_buf text = {0};
	struct stat st;
	assert_int_equal(stat(control, &st), 0);
	assert_int_equal(truncate(control, 0), 0);
	assert_int_equal(truncate(control, st.st_size), 0);
	assert_int_equal(truncate(events, 0), 0);
	assert_int_equal(greta_fs_read(spec, 1 << 20, &text, NULL), 0);
	char *boot = strstr(text.data, greta_clock_boot_id());
	if (boot)
		memcpy(boot, other, sizeof other - 1);
	assert_int_equal(greta_fs_write_atomic(spec, text.data, text.len, 0600, NULL), 0);
	free(spec), free(events), free(control);
	greta_buf_release(&text);
}

/* That it has run is on no disk: it must not run again under the same name, behind events of before. */
static void test_crash__a_power_cut_takes_the_note_that_it_ran(void **state)
{
	struct node *n = *state;
	struct greta_spec spec;
	struct driver d;
	struct seen s = {0};
	char *ledger, *dir;
	spec_make(n, &spec, ARGS("hang-sleep", "--ledgers", n->root));
	ledger = greta_format("%s/%s", n->root, spec.attempt);
	dir = greta_format("%s/attempts/%s", n->spool, spec.attempt);
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_PROGRESS, &s, 20000);
	pid_t supervisor = supervisor_of(n, spec.attempt);
	driver_kill(&d);
	kill(supervisor, SIGKILL);
	no_processes(spec.attempt);
	int64_t known = s.last_seq;
	seen_release(&s);
	cut_power(dir);
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_attach(&d, spec.attempt, known);
	driver_follow(&d, spec.attempt, known, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_LOST);
	assert_string_equal(s.end.cause, "reboot");
	assert_int_equal(s.last_seq, known + 1);
	assert_int_equal(ledger_lines(ledger, "begin"), 1);
	driver_close(&d);
	seen_release(&s);
	greta_spec_release(&spec);
	free(ledger), free(dir);
}

/* A spool that can't be run says so, instead of being tried again and again. */
static void test_crash__an_unreadable_spec_is_infra(void **state)
{
	struct node *n = *state;
	struct greta_spec spec, holder;
	struct driver d;
	struct seen s = {0}, h = {0};
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_hold_node(&d, n, &holder, &h);
	spec_make(n, &spec, ARGS("ok"));
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_WAITING, &s, 20000);
	char *path = greta_format("%s/attempts/%s/spec.json", n->spool, spec.attempt);
	assert_int_equal(truncate(path, 10), 0);
	kill(supervisor_of(n, spec.attempt), SIGKILL);
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_INFRA);
	assert_string_equal(s.end.cause, "spool");
	driver_cancel(&d, holder.attempt, "");
	driver_close(&d);
	free(path);
	seen_release(&s), seen_release(&h);
	greta_spec_release(&spec), greta_spec_release(&holder);
}

/* A supervisor that dies while it waits has run nothing: another one waits on, and the attempt is ok in the end. */
static void test_crash__waiting_goes_on(void **state)
{
	struct node *n = *state;
	struct greta_spec spec, holder;
	struct driver d;
	struct seen s = {0}, h = {0};
	driver_open(&d, DRIVER_DB, 1, NULL);
	driver_hold_node(&d, n, &holder, &h);
	spec_make(n, &spec, ARGS("ok"));
	driver_start(&d, &spec);
	driver_until(&d, spec.attempt, GRETA_EVENT_WAITING, &s, 20000);
	kill(supervisor_of(n, spec.attempt), SIGKILL);
	driver_until(&d, spec.attempt, GRETA_EVENT_WAITING, &s, 20000);
	driver_cancel(&d, holder.attempt, "");
	driver_until(&d, spec.attempt, GRETA_EVENT_OUTCOME, &s, 20000);
	assert_int_equal(s.end.outcome, GRETA_OUTCOME_GOOD);
	assert_int_equal(s.n[GRETA_EVENT_ACCEPTED], 1);
	driver_close(&d);
	seen_release(&s), seen_release(&h);
	greta_spec_release(&spec), greta_spec_release(&holder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, node_create, node_remove)
		T(test_crash__sessions_come_and_go),
		T(test_crash__supervisors_die),
		T(test_crash__the_next_session_cleans_up),
		T(test_crash__a_slot_is_held_by_the_tree),
		T(test_crash__engines_die),
		T(test_crash__a_supervisor_told_to_end_is_preempted),
		T(test_crash__torn_events_are_cut_off),
		T(test_crash__a_power_cut_takes_the_note_that_it_ran),
		T(test_crash__an_unreadable_spec_is_infra),
		T(test_crash__waiting_goes_on),
	};
	return run_side_by_side(tests, GRETA_COUNT(tests), 3);
}
