#include "agent/collect.h"
#include "agent/launch.h"
#include "agent/spool.h"
#include "agent/unsupervised.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void one_release(struct collected *one)
{
	tail_close(&one->tail);
	if (one->events >= 0)
		close(one->events);
	if (one->lock >= 0)
		close(one->lock);
	free(one->from);
	free(one->to);
}

static struct collected *find(const struct collect *c, const char *attempt)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->items[i].attempt, attempt) == 0)
			return &c->items[i];
	return NULL;
}

/* bringing over */

static int cut_events(struct collected *one, struct greta_err *e)
{
	if (ftruncate(one->events, one->events_bytes) == 0 && lseek(one->events, one->events_bytes, SEEK_SET) >= 0)
		return 0;
	return greta_err_sys(e, "can't cut the events of %s", one->to);
}

/* Behind the last whole event that is there already; a torn one is cut off. */
static int open_events(struct collected *one, struct greta_err *e)
{
	struct tail there;
	cleanup_free char *path = greta_fs_join(one->to, "events");
	if (tail_open(&there, one->to, 0, e) != 0)
		return -1;
	while (tail_next_written(&there) == 1)
		one->events_bytes = there.offset;
	int rc = tail_open(&one->tail, one->from, there.seq, e);
	tail_close(&there);
	if (rc != 0)
		return -1;
	one->events = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	return one->events >= 0 ? cut_events(one, e) : greta_err_sys(e, "can't open %s", path);
}

/* All or nothing, as they were written. */
static int put_frame(struct collected *one, struct greta_err *e)
{
	if (greta_fs_write_all(one->events, one->tail.frame, one->tail.n_frame, e) != 0) {
		greta_err_wrap(e, "%s/events", one->to);
		cut_events(one, NULL);
		return -1;
	}
	one->events_bytes += (off_t)one->tail.n_frame;
	return 0;
}

/* In their order and without gaps: where one has no room, those after it wait, but not the outcome. */
static void bring_events(struct collected *one)
{
	while (one->waits || tail_next_written(&one->tail) == 1) {
		struct greta_err e = {0};
		bool waited = one->waits;
		one->waits = one->tail.seq > one->tail.after && put_frame(one, &e) != 0;
		if (one->waits && !waited)
			greta_error("attempt %s: %s", one->attempt, e.text);
		if (one->waits)
			return;
	}
}

/* True when the shared folder has its outcome. */
static bool bring_outcome(struct collected *one, struct greta_err *e)
{
	cleanup_free char *path = greta_fs_join(one->from, "outcome.json");
	cleanup_buf struct greta_buf text = {0};
	if (spool_is_finished(one->to))
		return true;
	if (greta_fs_read(path, SPOOL_OUTCOME_RESERVE, &text, e) != 0)
		return false;
	if (fdatasync(one->events) == 0)
		return spool_publish(one->to, text.data, text.len, e) == 0;
	greta_err_sys(e, "can't sync the events of %s", one->to);
	return false;
}

static void pass_cancel(struct collected *one)
{
	char why[SPOOL_RECORD];
	if (!one->cancelled && spool_cancel_asked(one->to, why))
		one->cancelled = spool_cancel(one->from, why, NULL) == 0;
}

/* running */

static void end_broken(const struct collected *one, const struct greta_err *why)
{
	struct greta_err e = {0};
	struct greta_end end = {
		.outcome = GRETA_OUTCOME_INFRA,
		.cause = greta_strdup("spool"),
		.reason = greta_strdup(why->text),
	};
	if (unsupervised_end(one->to, &end, &e) != 0)
		greta_error("attempt %s: %s", one->attempt, e.text);
	greta_end_release(&end);
}

/* Whoever looks after the pool must know that something may have run, and which boot of which machine ended it. */
static int start_near(const struct collect *c, struct collected *one, struct greta_err *e)
{
	int lock = -1;
	struct greta_spec spec = {0};
	char db[GRETA_UUID_LEN + 1];
	cleanup_free char *note = greta_format("cgroup -\nboot %s\n", greta_clock_boot_id());
	int rc = spool_note_engine(one->to, note, e);
	if (rc == 0)
		rc = spool_read_owner(one->to, db, e);
	if (rc == 0)
		rc = spool_read_spec(one->to, &spec, e);
	if (rc == 0)
		rc = spool_create(c->paths.spool, &spec, db, &lock, e);
	if (rc == 0)
		rc = open_events(one, e);
	if (rc == 0)
		rc = launch_supervisor(&c->paths, one->from, lock, false, e);
	else if (lock >= 0)
		close(lock);
	greta_spec_release(&spec);
	return rc;
}

static void make_one(const struct collect *c, const char *attempt, int lock, struct collected *one)
{
	*one = (struct collected){.lock = lock, .events = -1};
	greta_str_copy(one->attempt, sizeof one->attempt, attempt);
	one->from = spool_attempt_dir(c->paths.spool, attempt);
	one->to = spool_attempt_dir(c->shared, attempt);
}

void collect_begin(struct collect *c, const char *attempt)
{
	struct greta_err e = {0};
	struct collected one;
	char note[SPOOL_RECORD];
	cleanup_free char *to = spool_attempt_dir(c->shared, attempt);
	int lock = spool_is_finished(to) ? -1 : spool_lock(to, NULL);
	if (lock < 0 || find(c, attempt))
		return;
	if (spool_engine_note(to, note)) {
		if (launch_supervisor(&c->paths, to, lock, true, &e) != 0)
			greta_error("attempt %s: %s", attempt, e.text);
		return;
	}
	make_one(c, attempt, lock, &one);
	if (start_near(c, &one, &e) == 0) {
		*GRETA_PUSH(c->items, c->n, c->cap) = one;
		return;
	}
	end_broken(&one, &e);
	spool_remove(c->paths.spool, attempt, NULL);
	one_release(&one);
}

void collect_tend(struct collect *c, const char *attempt)
{
	struct greta_err e = {0};
	struct collected *one = find(c, attempt);
	if (!one) {
		collect_begin(c, attempt); /* it could not be, for a moment */
		return;
	}
	bool finished = spool_is_finished(one->from); /* asked first: then what was written before is seen */
	bring_events(one);
	pass_cancel(one);
	int lock = finished ? spool_lock(one->from, NULL) : -1;
	if (!finished)
		launch_adopt(&c->paths, one->from, NULL);
	if (lock < 0)
		return;
	close(lock);
	if (!bring_outcome(one, &e)) {
		greta_error("attempt %s: %s", attempt, e.text);
		return;
	}
	spool_remove(c->paths.spool, attempt, NULL);
	one_release(one);
	*one = c->items[--c->n];
}

/* what dead pilots have left */

static void collect_one_left(const struct collect *c, const char *attempt)
{
	struct greta_err e = {0};
	struct collected one;
	cleanup_free char *from = spool_attempt_dir(c->paths.spool, attempt), *to = spool_attempt_dir(c->shared, attempt);
	cleanup_fd int near = spool_lock(from, NULL);
	if (near < 0)
		return; /* another pilot's, here and alive */
	int lock = spool_lock(to, NULL);
	if (lock >= 0 && !spool_is_finished(to) && spool_is_finished(from)) {
		make_one(c, attempt, lock, &one);
		if (open_events(&one, &e) == 0)
			bring_events(&one);
		if (e.code != GRETA_OK || !bring_outcome(&one, &e))
			greta_error("attempt %s: %s", attempt, e.text);
		one_release(&one);
	} else if (lock >= 0) {
		close(lock);
	}
	if (access(to, F_OK) != 0 || spool_is_finished(to))
		spool_remove(c->paths.spool, attempt, NULL);
}

int collect_init(struct collect *c, const struct agent_paths *paths, const char *folder, const char *shared,
		 struct greta_err *e)
{
	cleanup_strs struct greta_strs left = {0};
	cleanup_free char *ours = greta_format("%s/greta-%u", folder, (unsigned)geteuid());
	const char *slash = strrchr(shared, '/');
	*c = (struct collect){.paths = *paths, .shared = shared};
	c->paths.spool = greta_fs_join(ours, slash ? slash + 1 : shared);
	if (spool_own_folder(ours, e) != 0 || spool_prepare(c->paths.spool, false, e) != 0)
		return -1;
	spool_tidy(c->paths.spool);
	spool_list(c->paths.spool, &left);
	for (size_t i = 0; i < left.n; i++)
		collect_one_left(c, left.items[i]);
	return 0;
}

void collect_release(struct collect *c)
{
	for (size_t i = 0; i < c->n; i++)
		one_release(&c->items[i]);
	free(c->items);
	free(c->paths.spool);
	*c = (struct collect){0};
}
