#include "tests/unit/unit.h"

#include "agent/fence.h"
#include "agent/gc.h"
#include "agent/hash.h"
#include "agent/journal.h"
#include "agent/spool.h"
#include "agent/tail.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "tests/unit/agent_trees.h"
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#define DB "11111111-1111-4111-8111-111111111111"

static char *made_spool(const char *root)
{
	struct greta_err e = {0};
	char *spool = greta_format("%s/spool", root);
	assert_ok(spool_prepare(spool, false, &e));
	return spool;
}

static char *made_attempt(const char *spool, struct greta_spec *spec, int *lock)
{
	struct greta_err e = {0};
	*spec = (struct greta_spec){0};
	greta_uuid_new(spec->attempt);
	greta_strs_add(&spec->argv, "true");
	assert_ok(spool_create(spool, spec, DB, lock, &e));
	return spool_attempt_dir(spool, spec->attempt);
}

static void end_attempt(const char *dir, enum greta_outcome outcome)
{
	struct greta_err e = {0};
	struct greta_buf text = {0};
	struct greta_end end = {.outcome = outcome, .wall_s = NAN, .finished_wall_ns = 42};
	greta_end_print(&end, &text);
	assert_ok(spool_publish(dir, text.data, text.len, &e));
	greta_buf_release(&text);
}

static void test_spool__a_life(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec, back = {0};
	struct greta_strs ids = {0};
	int lock = -1, again = -1;
	char db[GRETA_UUID_LEN + 1], text[SPOOL_RECORD];
	char *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	assert_fails(spool_create(spool, &spec, DB, &again, &e), GRETA_EEXIST);
	assert_fails(spool_lock(dir, &e), GRETA_EBUSY);
	spool_list(spool, &ids);
	assert_int_equal(ids.n, 1);
	assert_ok(spool_read_spec(dir, &back, &e));
	assert_string_equal(back.argv.items[0], "true");
	assert_ok(spool_read_owner(dir, db, &e));
	assert_string_equal(db, DB);
	assert_false(spool_is_of_another_boot(dir));
	assert_false(spool_cancel_asked(dir, text));
	assert_ok(spool_cancel(dir, "by bob", &e));
	assert_true(spool_cancel_asked(dir, text));
	assert_string_equal(text, "by bob");
	assert_false(spool_engine_note(dir, text));
	assert_ok(spool_note_engine(dir, "cgroup -\n", &e));
	assert_true(spool_engine_note(dir, text));
	assert_int_equal(spool_acked(dir), 0);
	spool_ack(dir, 17);
	spool_ack(dir, 5);
	assert_int_equal(spool_acked(dir), 5);
	assert_ok(spool_lock_write(lock, &e));
	assert_int_equal(spool_lock_pid(dir), getpid());
	assert_false(spool_is_finished(dir));
	end_attempt(dir, GRETA_OUTCOME_FAILED);
	assert_true(spool_is_finished(dir));
	close(lock);
	lock = spool_lock(dir, &e);
	assert_true(lock >= 0);
	close(lock);
	assert_ok(spool_remove(spool, spec.attempt, &e));
	greta_strs_release(&ids);
	spool_list(spool, &ids);
	assert_int_equal(ids.n, 0);
	greta_spec_release(&spec), greta_spec_release(&back);
	free(dir), free(spool);
}

static void rewrite_boot(const char *dir)
{
	struct greta_err e = {0};
	struct greta_buf text = {0};
	char *path = greta_format("%s/spec.json", dir);
	assert_ok(greta_fs_read(path, 1 << 20, &text, &e));
	char *boot = strstr(text.data, "\"boot\":\"") + 8;
	if (*boot != '"')
		*boot = *boot == '0' ? '1' : '0';
	assert_ok(greta_fs_write_atomic(path, text.data, text.len, 0600, &e));
	free(path);
	greta_buf_release(&text);
}

/* Of one in a shared spool that can't be told: another machine may have made it. */
static void test_spool__knows_the_boot_that_it_is_of(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec, shared = {0}, back = {0};
	int lock = -1, other = -1;
	char *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	greta_uuid_new(shared.attempt);
	greta_strs_add(&shared.argv, "true");
	assert_ok(spool_create_shared(spool, &shared, DB, &other, &e));
	rewrite_boot(dir);
	assert_true(spool_is_of_another_boot(dir));
	assert_ok(spool_read_spec(dir, &back, &e));
	free(dir);
	dir = spool_attempt_dir(spool, shared.attempt);
	rewrite_boot(dir);
	assert_false(spool_is_of_another_boot(dir));
	close(lock), close(other);
	greta_spec_release(&spec), greta_spec_release(&shared), greta_spec_release(&back);
	free(dir), free(spool);
}

static void recycle(const char *spool, struct greta_spec *spec, char *dir, int lock)
{
	struct greta_err e = {0};
	close(lock);
	assert_ok(spool_recycle(spool, spec->attempt, &e));
	assert_int_equal(access(dir, F_OK), -1);
	greta_spec_release(spec);
	free(dir);
}

static bool has_spare(const char *spool)
{
	char path[1200];
	snprintf(path, sizeof path, "%s/spare/0", spool);
	return access(path, F_OK) == 0;
}

static void test_spool__a_recycled_folder_tells_nothing_of_the_attempt_before(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec, back = {0};
	struct greta_buf text = {0};
	struct tail t;
	int lock = -1;
	char record[SPOOL_RECORD], path[1200];
	char *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	tree_file(dir, "events", "of the one before");
	spool_cancel(dir, "by bob", &e), spool_note_engine(dir, "cgroup -\n", &e), spool_ack(dir, 17);
	spool_lock_write(lock, &e);
	end_attempt(dir, GRETA_OUTCOME_TIMED_OUT);
	recycle(spool, &spec, dir, lock);
	assert_true(has_spare(spool));

	dir = made_attempt(spool, &spec, &lock);
	assert_false(has_spare(spool));
	assert_ok(spool_read_spec(dir, &back, &e));
	assert_string_equal(back.attempt, spec.attempt);
	assert_false(spool_cancel_asked(dir, record));
	assert_false(spool_engine_note(dir, record));
	assert_int_equal(spool_acked(dir), 0);
	assert_int_equal(spool_lock_pid(dir), 0);
	assert_false(spool_is_finished(dir));
	assert_ok(tail_open(&t, dir, 0, &e));
	assert_int_equal(tail_next(&t, &e), 0);
	tail_close(&t);
	end_attempt(dir, GRETA_OUTCOME_GOOD); /* a shorter text than before */
	snprintf(path, sizeof path, "%s/outcome.json", dir);
	assert_ok(greta_fs_read(path, 4096, &text, &e));
	struct greta_end end = {0};
	assert_ok(greta_end_parse(greta_buf_str(&text), text.len, &end, &e));
	assert_int_equal(end.outcome, GRETA_OUTCOME_GOOD);
	greta_end_release(&end), greta_spec_release(&back), greta_buf_release(&text);

	recycle(spool, &spec, dir, lock);
	spool_tidy(spool);
	assert_false(has_spare(spool));
	free(spool);
}

static void test_spool__a_folder_under_the_name_of_the_attempt_before_goes(void **state)
{
	struct greta_err e = {0};
	struct greta_spec old, spec;
	int lock = -1;
	char *spool = made_spool(*state), *dir = made_attempt(spool, &old, &lock), *before;
	close(lock);
	free(dir);
	before = spool_attempt_dir(spool, old.attempt);
	end_attempt(before, GRETA_OUTCOME_GOOD);
	assert_ok(spool_recycle(spool, old.attempt, &e));
	dir = made_attempt(spool, &spec, &lock);
	assert_int_equal(rename(dir, before), 0); /* as if no rename had reached the disk */
	spool_tidy(spool);
	assert_int_equal(access(before, F_OK), -1);
	close(lock);
	greta_spec_release(&old), greta_spec_release(&spec);
	free(dir), free(before), free(spool);
}

static void test_spool__what_another_session_removes_is_its_own(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec;
	int lock = -1;
	char *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	char *dead = greta_format("%s/attempts/" SPOOL_DEAD "%s", spool, spec.attempt);
	close(lock);
	end_attempt(dir, GRETA_OUTCOME_GOOD);
	assert_int_equal(rename(dir, dead), 0);
	assert_ok(spool_recycle(spool, spec.attempt, &e));
	assert_false(has_spare(spool));
	assert_ok(spool_remove(spool, spec.attempt, &e));
	assert_int_equal(access(dead, F_OK), 0);
	greta_spec_release(&spec);
	free(dir), free(dead), free(spool);
}

/* As sessions do that begin, one after the other, until it is killed. */
static pid_t tidy_all_the_time(const char *spool)
{
	pid_t parent = getpid(), pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	while (getppid() == parent)
		spool_tidy(spool);
	_exit(0);
}

static void test_spool__a_session_that_begins_spares_other_attempts(void **state)
{
	struct greta_err e = {0};
	char *spool = made_spool(*state);
	pid_t pid = tidy_all_the_time(spool);
	assert_true(pid > 0);
	for (int i = 0; i < 300; i++) {
		struct greta_spec spec, back = {0};
		int lock = -1;
		char *dir = made_attempt(spool, &spec, &lock), *part = greta_format("%s/outcome.part", dir);
		assert_ok(spool_read_spec(dir, &back, &e));
		assert_int_equal(access(part, F_OK), 0);
		end_attempt(dir, GRETA_OUTCOME_GOOD);
		recycle(spool, &spec, dir, lock);
		greta_spec_release(&back);
		free(part);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	free(spool);
}

static void leave_file(const char *dir)
{
	tree_file(dir, "scratch/core", "x");
}

static void leave_more(const char *dir)
{
	tree_file(dir, "more", "x");
}

static void replace_spec(const char *dir)
{
	char spec[1200];
	snprintf(spec, sizeof spec, "%s/spec.json", dir);
	unlink(spec);
	assert_int_equal(symlink("/etc/passwd", spec), 0);
}

static void link_outcome(const char *dir)
{
	char outcome[1200], other[1200];
	snprintf(outcome, sizeof outcome, "%s/outcome.json", dir);
	snprintf(other, sizeof other, "%s/../../other", dir);
	unlink(other);
	assert_int_equal(link(outcome, other), 0);
}

static void open_up(const char *dir)
{
	assert_int_equal(chmod(dir, 0777), 0);
}

static void test_spool__only_a_folder_as_it_was_made_is_recycled(void **state)
{
	static void (*const spoil[])(const char *) = {leave_file, leave_more, replace_spec, link_outcome, open_up};
	char *spool = made_spool(*state);
	for (size_t i = 0; i < GRETA_COUNT(spoil); i++) {
		struct greta_spec spec;
		int lock = -1;
		char *dir = made_attempt(spool, &spec, &lock);
		end_attempt(dir, GRETA_OUTCOME_GOOD);
		spoil[i](dir);
		recycle(spool, &spec, dir, lock);
		assert_false(has_spare(spool));
	}
	free(spool);
}

static void test_spool__half_made_and_half_removed_folders_go(void **state)
{
	char *spool = made_spool(*state), path[1200];
	struct timespec old[2] = {{.tv_sec = time(NULL) - 1000}, {.tv_sec = time(NULL) - 1000}};
	tree_file(spool, "attempts/.dead-x/events", "x");
	tree_file(spool, "attempts/.new-old/control", "1");
	tree_file(spool, "attempts/.new-fresh/control", "1");
	tree_file(spool, "attempts/.new-held/control", "1");
	snprintf(path, sizeof path, "%s/attempts/.new-held/control", spool);
	int fd = open(path, O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	static const char *const names[] = {".new-old", ".new-held"};
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/attempts/%s", spool, names[i]);
		assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	}
	spool_tidy(spool);
	snprintf(path, sizeof path, "%s/attempts/.dead-x", spool), assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "%s/attempts/.new-old", spool), assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "%s/attempts/.new-fresh", spool), assert_int_equal(access(path, F_OK), 0);
	snprintf(path, sizeof path, "%s/attempts/.new-held", spool), assert_int_equal(access(path, F_OK), 0);
	close(fd);
	free(spool);
}

static void test_spool__foreign_folders_are_refused(void **state)
{
	struct greta_err e = {0};
	char link[1100], target[1100];
	snprintf(link, sizeof link, "%s/link", (char *)*state);
	snprintf(target, sizeof target, "%s/target", (char *)*state);
	assert_int_equal(mkdir(target, 0700), 0);
	assert_int_equal(symlink(target, link), 0);
	assert_fails(spool_own_folder(link, &e), GRETA_EINVAL);
	assert_int_equal(chmod(target, 0755), 0);
	assert_fails(spool_own_folder(target, &e), GRETA_EAUTH);
	assert_int_equal(chmod(target, 0700), 0);
	assert_ok(spool_own_folder(target, &e));
	if (geteuid() == 0) {
		assert_int_equal(chown(target, 1, 1), 0);
		assert_fails(spool_own_folder(target, &e), GRETA_EAUTH);
	}
}

/* Every tail sees the same frames, however the writer's bytes come to it. */
static void test_journal__is_read_back_while_it_grows(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec;
	struct journal j;
	struct tail t;
	int lock = -1;
	char *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	assert_ok(journal_open(&j, dir, spec.attempt, &e));
	assert_ok(tail_open(&t, dir, 0, &e));
	assert_int_equal(tail_next(&t, &e), 0);
	for (int i = 1; i <= 200; i++) {
		char *detail = greta_format("{\"done\":%d}", i);
		assert_true(journal_add_bytes(&j, i % 3 ? GRETA_EVENT_PROGRESS : GRETA_EVENT_LOG, detail, "bytes\n{}\n", 9));
		free(detail);
		assert_int_equal(tail_next(&t, &e), 1);
		assert_int_equal(t.seq, i);
		assert_int_equal(t.offset, j.bytes);
		assert_int_equal(tail_next(&t, &e), 0);
	}
	end_attempt(dir, GRETA_OUTCOME_GOOD);
	assert_int_equal(tail_next(&t, &e), 1);
	assert_int_equal(t.kind, GRETA_EVENT_OUTCOME);
	assert_int_equal(t.seq, 201);
	assert_true(t.ended);
	assert_int_equal(tail_next(&t, &e), 0);
	tail_close(&t);
	assert_ok(tail_open(&t, dir, 199, &e));
	assert_int_equal(tail_next(&t, &e), 1);
	assert_int_equal(t.seq, 200);
	tail_close(&t);
	assert_ok(tail_open(&t, dir, 201, &e)); /* 201 may have been an event that a power cut took: told once more */
	assert_int_equal(tail_next(&t, &e), 1);
	assert_int_equal(t.seq, 202);
	assert_true(t.ended);
	tail_close(&t);
	assert_ok(tail_open(&t, dir, 500, &e)); /* knows more than is left after a power cut: the outcome still comes */
	assert_int_equal(tail_next(&t, &e), 1);
	assert_int_equal(t.seq, 501);
	tail_close(&t);
	journal_close(&j);
	close(lock);
	greta_spec_release(&spec);
	free(dir), free(spool);
}

/* Cut at every length: whole frames are kept, numbering goes on behind them. */
static void test_journal__torn_anywhere(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec;
	struct journal j;
	int lock = -1;
	char *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	char *path = greta_format("%s/events", dir);
	struct greta_buf whole = {0};
	int64_t ends[4] = {0};
	assert_ok(journal_open(&j, dir, spec.attempt, &e));
	for (int i = 1; i <= 3; i++) {
		journal_add_bytes(&j, GRETA_EVENT_LOG, "{\"stream\":\"out\"}", "abc\n", 4);
		ends[i] = j.bytes;
	}
	journal_close(&j);
	assert_ok(greta_fs_read(path, 1 << 20, &whole, &e));
	for (size_t cut = 0; cut <= whole.len; cut++) {
		int64_t frames = 0;
		while (frames < 3 && ends[frames + 1] <= (int64_t)cut)
			frames++;
		tree_file(dir, "events", "%s", "");
		int fd = open(path, O_WRONLY);
		assert_ok(greta_fs_write_all(fd, whole.data, cut, &e));
		close(fd);
		assert_ok(journal_open(&j, dir, spec.attempt, &e));
		assert_int_equal(j.seq, frames);
		assert_int_equal(j.bytes, ends[frames]);
		journal_close(&j);
	}
	greta_buf_release(&whole);
	close(lock);
	greta_spec_release(&spec);
	free(dir), free(spool), free(path);
}

/* A file that may not grow further, as a full disk: nothing torn is left, numbers have no gap. */
static void test_journal__no_room(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec;
	struct journal j;
	struct tail t;
	int lock = -1, written = 0;
	struct rlimit before, small;
	char *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	char block[3000];
	memset(block, 'x', sizeof block);
	assert_ok(journal_open(&j, dir, spec.attempt, &e));
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small = before;
	small.rlim_cur = 10000;
	setrlimit(RLIMIT_FSIZE, &small);
	for (int i = 0; i < 10; i++)
		written += journal_add_bytes(&j, GRETA_EVENT_LOG, NULL, block, sizeof block);
	bool small_one = journal_add(&j, GRETA_EVENT_PROGRESS, "{}");
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(written, 3);
	assert_int_equal(j.lost[GRETA_EVENT_LOG], 7);
	assert_int_equal(journal_lost(&j), 7 + !small_one);
	assert_true(journal_add(&j, GRETA_EVENT_PROGRESS, "{}"));
	assert_ok(tail_open(&t, dir, 0, &e));
	int64_t seen = 0;
	while (tail_next(&t, &e) == 1)
		assert_int_equal(t.seq, ++seen);
	assert_int_equal(seen, j.seq);
	tail_close(&t);
	journal_close(&j);
	close(lock);
	greta_spec_release(&spec);
	free(dir), free(spool);
}

/* What a full disk, or a KILL, leaves of a frame is seen by a reader before its writer takes it back: at any length, and
 * whatever comes in its place. */
static void test_journal__what_is_taken_back_is_not_read(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec;
	int lock = -1;
	char *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	char *path = greta_format("%s/events", dir);
	struct greta_buf torn = {0};
	struct greta_event ev = {.seq = 2, .kind = GRETA_EVENT_LOG, .bytes = (char *)"gone\n", .n_bytes = 5};
	struct greta_msg m = {.type = GRETA_MSG_EVENT, .event = &ev};
	greta_str_copy(ev.attempt, sizeof ev.attempt, spec.attempt);
	assert_ok(greta_msg_encode(&m, &torn, &e));
	for (size_t n = 1; n < torn.len; n++) {
		struct journal j;
		struct tail t;
		tree_file(dir, "events", "%s", "");
		assert_ok(journal_open(&j, dir, spec.attempt, &e));
		assert_true(journal_add(&j, GRETA_EVENT_ACCEPTED, NULL));
		assert_ok(tail_open(&t, dir, 0, &e));
		assert_int_equal(tail_next(&t, &e), 1);
		int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
		assert_ok(greta_fs_write_all(fd, torn.data, n, &e));
		assert_int_equal(tail_next(&t, &e), 0);
		assert_int_equal(ftruncate(fd, j.bytes), 0);
		close(fd);
		for (int i = 2; i <= 4; i++)
			assert_true(journal_add_bytes(&j, GRETA_EVENT_LOG, NULL, "ab\n", i == 3 ? 3 : 0));
		for (int i = 2; i <= 4; i++) {
			assert_int_equal(tail_next(&t, &e), 1);
			assert_int_equal(t.seq, i);
		}
		assert_int_equal(t.offset, j.bytes);
		assert_int_equal(tail_next(&t, &e), 0);
		tail_close(&t);
		journal_close(&j);
	}
	greta_buf_release(&torn);
	close(lock);
	greta_spec_release(&spec);
	free(dir), free(spool), free(path);
}

static void append_event(const char *dir, const char *attempt, enum greta_event_kind kind, int64_t re)
{
	struct greta_err e = {0};
	struct greta_buf frame = {0};
	struct greta_event ev = {.seq = 2, .kind = kind};
	struct greta_msg m = {.type = GRETA_MSG_EVENT, .event = &ev, .re = re};
	char *path = greta_format("%s/events", dir);
	greta_str_copy(ev.attempt, sizeof ev.attempt, attempt);
	assert_ok(greta_msg_encode(&m, &frame, &e));
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_ok(greta_fs_write_all(fd, frame.data, frame.len, &e));
	close(fd);
	greta_buf_release(&frame);
	free(path);
}

/* An engine can write into its attempt's folder. */
static void test_tail__gives_events_of_its_own_attempt_only(void **state)
{
	static const struct {
		bool other;
		enum greta_event_kind kind;
		int64_t re;
		int got;
	} cases[] = {
		{false, GRETA_EVENT_PROGRESS, 0, 1},
		{true, GRETA_EVENT_PROGRESS, 0, -1},
		{true, GRETA_EVENT_OUTCOME, 0, -1},
		{false, GRETA_EVENT_OUTCOME, 0, -1},
		{false, GRETA_EVENT_PROGRESS, 7, -1},
	};
	struct greta_err e = {0};
	struct greta_spec spec;
	int lock = -1;
	char other[GRETA_UUID_LEN + 1], *spool = made_spool(*state), *dir = made_attempt(spool, &spec, &lock);
	greta_uuid_new(other);
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		struct journal j;
		struct tail t;
		tree_file(dir, "events", "%s", "");
		assert_ok(journal_open(&j, dir, spec.attempt, &e));
		assert_true(journal_add(&j, GRETA_EVENT_ACCEPTED, NULL));
		append_event(dir, cases[i].other ? other : spec.attempt, cases[i].kind, cases[i].re);
		assert_ok(tail_open(&t, dir, 0, &e));
		assert_int_equal(tail_next(&t, &e), 1);
		assert_int_equal(tail_next(&t, &e), cases[i].got);
		tail_close(&t);
		journal_close(&j);
	}
	close(lock);
	greta_spec_release(&spec);
	free(dir), free(spool);
}

static void test_fence__only_rises(void **state)
{
	struct greta_err e = {0};
	struct fence old, fresh, other;
	char *spool = made_spool(*state);
	assert_ok(fence_raise(&old, spool, DB, 3, "one:1", &e));
	int fd = fence_enter(&old, "start", &e);
	assert_true(fd >= 0);
	close(fd);
	assert_ok(fence_raise(&fresh, spool, DB, 5, "two:2", &e));
	assert_fails(fence_enter(&old, "start", &e), GRETA_EFENCED);
	assert_non_null(strstr(e.text, "two:2"));
	assert_non_null(strstr(e.text, "start"));
	assert_ok(fence_raise(&other, spool, DB, 4, "three:3", &e));
	assert_int_equal(other.highest, 5);
	assert_fails(fence_enter(&other, "ack", &e), GRETA_EFENCED);
	fence_release(&other);
	assert_ok(fence_raise(&other, spool, "22222222-2222-4222-8222-222222222222", 1, "four:4", &e));
	fd = fence_enter(&other, "start", &e);
	assert_true(fd >= 0);
	close(fd);
	fence_release(&old), fence_release(&fresh), fence_release(&other);
	free(spool);
}

static void test_hash__is_remembered_until_the_file_changes(void **state)
{
	struct greta_err e = {0};
	char first[GRETA_SHA256_HEX + 1], again[GRETA_SHA256_HEX + 1], *path = greta_format("%s/file", (char *)*state);
	char *cache = greta_format("%s/cache", (char *)*state), *entries = greta_format("%s/hashes", cache);
	tree_file(*state, "file", "content");
	assert_ok(hash_file(cache, path, first, &e)); /* too young to be remembered */
	assert_int_equal(access(entries, F_OK), -1);
	usleep(2100000);
	assert_ok(hash_file(cache, path, again, &e));
	assert_string_equal(first, again);
	assert_int_equal(access(entries, F_OK), 0);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	tree_file(*state, "file", "CONTENT"); /* same size, same times put back: ctime still tells */
	assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){st.st_atim, st.st_mtim}, 0), 0);
	assert_ok(hash_file(cache, path, again, &e));
	assert_string_not_equal(first, again);
	assert_fails(hash_file(cache, "/nonexistent", again, &e), GRETA_ENOENT);
	free(path), free(cache), free(entries);
}

static void test_gc__least_recently_used_goes_first(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec = {0};
	struct gc_report r;
	int lock = -1;
	char *spool = made_spool(*state), *cache = greta_format("%s/cache", (char *)*state), path[1200];
	struct agent_paths paths = {.spool = spool, .cache = cache};
	/* An upload that goes on, in a folder as old as the others; and one that nobody went on with. */
	static const char *const names[] = {"aaaa/file", "bbbb/file", "cccc/file", "dddd/file", "eeee/file.part", "ffff/file.part"};
	for (int i = 0; i < 6; i++) {
		struct timespec used[2] = {{.tv_sec = 1000000 + i}, {.tv_sec = 1000000 + i}};
		snprintf(path, sizeof path, "store/%s", names[i]);
		tree_file(cache, path, "%10000s", "x");
		snprintf(path, sizeof path, "%s/store/%s", cache, names[i]);
		if (i != 4)
			assert_int_equal(utimensat(AT_FDCWD, path, used, 0), 0);
		snprintf(path, sizeof path, "%s/store/%.4s", cache, names[i]);
		assert_int_equal(utimensat(AT_FDCWD, path, used, 0), 0);
	}
	snprintf(path, sizeof path, "%s/store/aaaa/file", cache);
	greta_uuid_new(spec.attempt);
	greta_strs_add(&spec.argv, path); /* an attempt needs it, old as it is */
	assert_ok(spool_create(spool, &spec, DB, &lock, &e));
	snprintf(path, sizeof path, "%s/store/bbbb/file", cache);
	gc_touch(&paths, path);
	gc_touch(&paths, "/etc/passwd");
	assert_ok(gc_store(&paths, 62000, &r, &e)); /* of some 72,000 in blocks */
	assert_int_equal(r.removed, 1);
	snprintf(path, sizeof path, "%s/store/cccc", cache), assert_int_equal(access(path, F_OK), -1);
	assert_ok(gc_store(&paths, 0, &r, &e));
	snprintf(path, sizeof path, "%s/store/aaaa", cache), assert_int_equal(access(path, F_OK), 0);
	snprintf(path, sizeof path, "%s/store/eeee", cache), assert_int_equal(access(path, F_OK), 0);
	snprintf(path, sizeof path, "%s/store/ffff", cache), assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof path, "%s/store/bbbb", cache), assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(r.kept, 2);
	close(lock);
	greta_spec_release(&spec);
	free(spool), free(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, unit_tmp_create, unit_tmp_remove)
		T(test_spool__a_life),
		T(test_spool__knows_the_boot_that_it_is_of),
		T(test_spool__a_recycled_folder_tells_nothing_of_the_attempt_before),
		T(test_spool__a_folder_under_the_name_of_the_attempt_before_goes),
		T(test_spool__what_another_session_removes_is_its_own),
		T(test_spool__a_session_that_begins_spares_other_attempts),
		T(test_spool__only_a_folder_as_it_was_made_is_recycled),
		T(test_spool__half_made_and_half_removed_folders_go),
		T(test_spool__foreign_folders_are_refused),
		T(test_journal__is_read_back_while_it_grows),
		T(test_journal__torn_anywhere),
		T(test_journal__no_room),
		T(test_journal__what_is_taken_back_is_not_read),
		T(test_tail__gives_events_of_its_own_attempt_only),
		T(test_fence__only_rises),
		T(test_hash__is_remembered_until_the_file_changes),
		T(test_gc__least_recently_used_goes_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
