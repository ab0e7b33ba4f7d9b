#include "orchestrator/control/controller.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "orchestrator/control/ctl.h"
#include "orchestrator/control/file_hash.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS 100
#define TICKS_A_PREPARE 10
#define LEASE_MS (2400 * 1000)
#define RETRY_S 2                /* after the database could not be written */
#define LAST_WORDS_NS (3 * GRETA_NS_PER_S)

struct service {
	struct ctl ctl;
	int lock_fd;
	bool stay;
	bool asked_to_end;       /* by a signal or a command */
	int64_t idle_ns;         /* since when nothing is left; 0: something is */
	unsigned n_ticks;
	struct greta_watch *dispatch;
	bool dispatch_due;
};

static struct service *service_of(struct ctl *c)
{
	return (struct service *)((char *)c - offsetof(struct service, ctl));
}

void ctl_dispatch(struct ctl *c)
{
	struct service *s = service_of(c);

	if (!s->dispatch_due || c->stopping || c->batch.broken)
		return;
	s->dispatch_due = false;
	work_dispatch(c);
}

static void on_dispatch(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w;
	(void)events;
	ctl_dispatch(arg);
}

void ctl_dispatch_soon(struct ctl *c)
{
	struct service *s = service_of(c);

	s->dispatch_due = true;
	if (s->dispatch)
		greta_watch_rearm(s->dispatch, 0);
	else
		s->dispatch = greta_loop_timer(c->loop, 0, 0, on_dispatch, c);
}

void ctl_stop(struct ctl *c, const struct greta_err *why)
{
	if (why && !c->fatal.code)
		c->fatal = *why;
	if (!why)
		service_of(c)->asked_to_end = true;
	c->stopping = true;
	greta_loop_stop(c->loop);
}

/* ---- when to end */

static void find_stuck(struct ctl *c)
{
	for (struct ctl_campaign *cc = c->campaigns; cc; cc = cc->next) {
		cleanup_buf struct greta_buf why = {0};

		if (!cc->wanted || cc->finished || cc->hopeless || cc->n_open || !fleet_hopeless(c, cc, &why))
			continue;
		cc->hopeless = true;
		free(cc->why);
		cc->why = greta_buf_steal(&why);
		news_add(c, cc->id, "no node can run this campaign");
	}
}

/* A node's answer to the last acknowledgement says that its spool is gone; not waiting for it would leave work for a
 * next time that may never come. */
static bool words_pending(const struct ctl *c)
{
	for (size_t i = 0; i < c->n_nodes; i++)
		if (c->nodes[i]->ack_re && c->nodes[i]->link && link_state(c->nodes[i]->link) == LINK_UP)
			return true;
	return false;
}

static void end_when_done(struct service *s)
{
	struct ctl *c = &s->ctl;
	int64_t now = greta_clock_mono_ns();

	if (s->stay || work_left(c) || control_busy(c) || c->batch.open) {
		s->idle_ns = 0;
		return;
	}
	if (!s->idle_ns)
		s->idle_ns = now;
	if (!words_pending(c) || now - s->idle_ns > LAST_WORDS_NS)
		ctl_stop(c, NULL);
}

static void on_tick(struct greta_watch *w, uint32_t events, void *arg)
{
	struct service *s = arg;
	struct greta_err why = {0};

	(void)w;
	(void)events;
	ctl_dispatch(&s->ctl);
	/* People, too, are told only of what is stored. */
	if (batch_commit(&s->ctl, &why) < 0) {
		batch_fail(&s->ctl, &why);
		return;
	}
	find_stuck(&s->ctl);
	control_tick(&s->ctl);
	work_reap(&s->ctl);
	if (++s->n_ticks % TICKS_A_PREPARE == 0)
		work_prepare(&s->ctl);
	end_when_done(s);
}

static void on_signal(struct greta_watch *w, uint32_t signo, void *arg)
{
	struct service *s = arg;

	(void)w;
	greta_info("%s: ends in order", strsignal((int)signo));
	ctl_stop(&s->ctl, NULL);
}

/* ---- one life */

static void service_close(struct service *s)
{
	struct ctl *c = &s->ctl;
	struct greta_err why = {0};

	if (c->batch.open && !c->batch.broken && batch_commit(c, &why) < 0)
		greta_error("database %s: %s", c->db_path, why.text);
	control_close(c);
	batch_release(c);
	work_release(c);
	fleet_release(c);
	if (c->hashes)
		file_hashes_destroy(c->hashes);
	ssh_pool_destroy(c->ssh);
	sched_destroy(c->sched);
	agent_bundle_release(&c->bundle);
	news_release(c);
	if (c->loop)
		greta_loop_destroy(c->loop);
	greta_db_close(c->db);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
}

static int64_t lease_ms(void)
{
	const char *set = getenv("GRETA_LEASE_S");
	int64_t s;

	return set && greta_str_i64(set, &s) == 0 && s > 0 ? s * 1000 : LEASE_MS;
}

static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* By hand or as a service it goes on with everything; one that a command started does as that command says. */
static void want_all(struct ctl *c)
{
	for (struct ctl_campaign *cc = c->campaigns; cc; cc = cc->next)
		work_want(cc);
}

static int service_open(struct service *s, const char *db_path, bool all, struct greta_err *e)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP};
	cleanup_free char *lock = greta_format("%s.lock", db_path);
	struct ctl *c = &s->ctl;
	char host[64] = "";

	c->db_path = (char *)db_path;
	c->lease_ms = lease_ms();
	gethostname(host, sizeof host - 1);
	snprintf(c->peer, sizeof c->peer, "%s:%d", host, (int)getpid());
	s->lock_fd = greta_fs_lock(lock, 0600, e);
	if (s->lock_fd < 0)
		return -1;
	c->db = greta_db_open_writer(db_path, e);
	if (!c->db || greta_db_raise_fence(c->db, &c->fence, e) < 0)
		return -1;
	if (all && agent_bundle_find(&c->bundle, e) < 0)
		return -1;
	c->loop = greta_loop_create(e);
	if (!c->loop)
		return -1;
	c->sched = sched_create();
	for (size_t i = 0; i < GRETA_COUNT(signals); i++)
		greta_loop_signal(c->loop, signals[i], on_signal, s);
	if (fleet_load(c, e) < 0 || batch_begin(c) < 0 || work_load(c, e) < 0 || control_open(c, e) < 0)
		return -1;
	c->tick = greta_loop_timer(c->loop, TICK_MS, TICK_MS, on_tick, s);
	if (all)
		want_all(c);
	ctl_dispatch_soon(c);
	fleet_want(c);
	return 0;
}

static void tell_ready(int *fd, const struct greta_err *why)
{
	cleanup_free char *line = why ? greta_format("%s %s\n", greta_code_name(why->code), why->text)
				      : greta_strdup("ok\n");

	if (*fd >= 0) {
		greta_fs_write_all(*fd, line, strlen(line), NULL);
		close(*fd);
	}
	*fd = -1;
}

/* Disk full, mostly: what was committed is safe, nodes keep the rest. */
static bool worth_retrying(const struct greta_err *why)
{
	return why->code != GRETA_EFENCED && why->code != GRETA_EVERSION && why->code != GRETA_EBUSY;
}

int controller_run(const char *db_path, int ready_fd, bool stay, struct greta_err *e)
{
	bool all = ready_fd < 0, detached = false;

	raise_file_limit();
	greta_mem_keep();
	for (;;) {
		struct service s = {.ctl.detached = detached, .stay = stay, .lock_fd = -1};
		struct greta_err why = {0};
		bool first = ready_fd >= 0;
		int rc = service_open(&s, db_path, all, &why);

		if (rc == 0) {
			tell_ready(&ready_fd, NULL);
			rc = greta_loop_run(s.ctl.loop, &why);
		}
		if (rc == 0 && s.ctl.fatal.code) {
			why = s.ctl.fatal;
			rc = -1;
		}
		service_close(&s);
		if (rc == 0)
			return 0;
		if ((first && ready_fd >= 0) || s.asked_to_end || !worth_retrying(&why)) {
			tell_ready(&ready_fd, &why);
			return greta_err_set(e, why.code, "%s", why.text);
		}
		all = true; /* it had begun, and nobody asks again */
		detached = s.ctl.detached;
		greta_error("%s; tried again in %d s", why.text, RETRY_S);
		sleep(RETRY_S);
	}
}
