#include "agent/pool.h"
#include "agent/allocation.h"
#include "agent/pool_quarantine.h"
#include "agent/queue.h"
#include "agent/slurm.h"
#include "agent/spool.h"
#include "agent/unsupervised.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 500           /* at the queue, a folder */
#define SQUEUE_EVERY_MS 5000  /* while something waits or runs; GRETA_SLURM_POLL_S changes it */
#define RETRY_LOOKS 3         /* after "not now": so many times as long */
#define SETTLED_NS (2 * GRETA_NS_PER_S) /* by then a pilot with room has taken it */
#define ORPHANS_EVERY_NS (30 * GRETA_NS_PER_S)
#define ORPHAN_MIN_AGE_S 10   /* else it is being made */
#define BAD_IN_A_ROW 3
#define LOG_MAX (1024 * 1024)
#define GIVE_UP_S 300         /* on a lock of a dead machine that its file server keeps; GRETA_SLURM_GIVE_UP_S changes it */

struct gone { /* a pilot whose job is over, with attempts that are still locked */
	char pilot[64];
	int64_t since_ns;
};

struct pool {
	const struct greta_slurm *settings;
	const char *spool;
	char *agent;                  /* this program, as compute nodes see it */
	struct slurm_jobs jobs;       /* as squeue told last */
	int64_t told_ns, next_submit_ns;
	struct gone *gone;
	size_t n_gone, cap_gone;
	int64_t *submitted;           /* by us, and not over yet */
	size_t n_submitted, cap_submitted;
	int n_bad;                    /* of them in a row that never began */
	int64_t orphans_ns;
	char said[400];               /* the last line for people */
};

/* Each thing once, until another is said. */
__attribute__((format(printf, 2, 3))) static void say(struct pool *p, const char *fmt, ...)
{
	char line[sizeof p->said];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (strcmp(line, p->said) == 0)
		return;
	greta_str_copy(p->said, sizeof p->said, line);
	printf("%s\n", line);
	fflush(stdout);
}

/* The caller owns it. */
static char *log_path(const struct pool *p, int64_t job)
{
	return greta_format("%s/log/%" PRId64, p->spool, job);
}

/* attempts that nobody runs */

enum end_result { END_DONE, END_LATER };

static void put_end(const char *dir, const struct ticket *t, enum greta_outcome outcome, const char *reason)
{
	struct greta_err e = {0};
	struct greta_end end = {.outcome = outcome, .cause = greta_strdup("slurm"), .reason = greta_strdup(reason)};
	unsupervised_read(dir, &end);
	if (!spool_is_finished(dir) && unsupervised_end(dir, &end, &e) != 0)
		greta_error("attempt %s: %s", t->attempt, e.text);
	greta_end_release(&end);
}

/* Under its lock: returns END_LATER while a supervisor somewhere holds it. */
static enum end_result end_attempt(struct pool *p, const struct ticket *t, enum greta_outcome outcome, const char *reason)
{
	struct greta_err e = {0};
	cleanup_free char *dir = spool_attempt_dir(p->spool, t->attempt);
	cleanup_fd int lock = spool_lock(dir, &e);
	if (lock >= 0)
		put_end(dir, t, outcome, reason);
	return lock < 0 && e.code == GRETA_EBUSY ? END_LATER : END_DONE;
}

static void refuse_waiting(struct pool *p, const char *reason)
{
	struct tickets waiting = {0};
	queue_list(p->spool, &waiting);
	for (size_t i = 0; i < waiting.n; i++)
		if (queue_drop(p->spool, &waiting.items[i]))
			end_attempt(p, &waiting.items[i], GRETA_OUTCOME_INFRA, reason);
	tickets_release(&waiting);
}

static bool has_ticket(const struct tickets *t, const char *attempt)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->items[i].attempt, attempt) == 0)
			return true;
	return false;
}

static void list_tickets(const char *spool, struct tickets *out)
{
	cleanup_strs struct greta_strs pilots = {0};
	queue_list(spool, out);
	queue_pilots(spool, &pilots);
	for (size_t i = 0; i < pilots.n; i++)
		queue_taken(spool, pilots.items[i], out);
}

static bool is_old(const char *dir)
{
	struct stat st;
	cleanup_free char *spec = greta_fs_join(dir, "spec.json");
	return stat(spec, &st) == 0 && time(NULL) - st.st_mtime >= ORPHAN_MIN_AGE_S;
}

/* A crash between making a spool and its ticket leaves an attempt that no pilot would find. */
static void queue_orphans(struct pool *p)
{
	struct tickets tickets = {0};
	cleanup_strs struct greta_strs all = {0};
	spool_list(p->spool, &all);
	list_tickets(p->spool, &tickets);
	for (size_t i = 0; i < all.n; i++) {
		struct greta_spec spec = {0};
		cleanup_free char *dir = spool_attempt_dir(p->spool, all.items[i]);
		if (has_ticket(&tickets, all.items[i]) || spool_is_finished(dir) || !is_old(dir))
			continue;
		if (spool_read_spec(dir, &spec, NULL) == 0)
			queue_add(p->spool, &spec, NULL);
		greta_spec_release(&spec);
	}
	tickets_release(&tickets);
}

/* pilots that are gone */

static const struct slurm_job *find_job(const struct pool *p, int64_t id)
{
	for (size_t i = 0; i < p->jobs.n; i++)
		if (p->jobs.items[i].id == id)
			return &p->jobs.items[i];
	return NULL;
}

/* Is this pilot's life over? Then *out says how its job stands. */
static bool is_gone(const struct pool *p, const char *pilot, struct slurm_job *out)
{
	int64_t id = 0, restarts = 0;
	if (sscanf(pilot, "%" SCNd64 ".%" SCNd64, &id, &restarts) != 2)
		return false;
	const struct slurm_job *job = find_job(p, id);
	if (job)
		*out = *job;
	else
		slurm_find(id, out);
	enum slurm_life life = slurm_state_life(out->state);
	if (life == SLURM_WAITS || (life != SLURM_OVER && out->restarts != restarts)) {
		out->state = SLURM_REQUEUED;
		return true;
	}
	return life == SLURM_OVER;
}

static void describe(const struct slurm_job *job, char out[320])
{
	char status[64];
	if (job->state == SLURM_UNKNOWN)
		snprintf(out, 320, "Slurm no longer knows job %" PRId64 ", which ran it", job->id);
	else if (job->wait_status > 0)
		snprintf(out, 320, "Slurm ended job %" PRId64 ", which ran it: %s, %s", job->id, slurm_state_name(job->state),
			 greta_child_status_text(job->wait_status, status));
	else
		snprintf(out, 320, "Slurm ended job %" PRId64 ", which ran it: %s", job->id, slurm_state_name(job->state));
}

static int64_t gone_for_ns(struct pool *p, const char *pilot)
{
	int64_t now = greta_clock_mono_ns();
	for (size_t i = 0; i < p->n_gone; i++)
		if (strcmp(p->gone[i].pilot, pilot) == 0)
			return now - p->gone[i].since_ns;
	struct gone *g = GRETA_PUSH(p->gone, p->n_gone, p->cap_gone);
	greta_str_copy(g->pilot, sizeof g->pilot, pilot);
	g->since_ns = now;
	return 0;
}

/* By what Slurm said to the job, else by what it says of it. */
static enum greta_outcome judge(const struct pool *p, const char *pilot, const struct slurm_job *job, char reason[320])
{
	cleanup_free char *log = log_path(p, job->id);
	enum greta_outcome outcome = allocation_end(log, pilot, reason);
	if (outcome != GRETA_OUTCOME_UNKNOWN)
		return outcome;
	describe(job, reason);
	return slurm_state_outcome(job->state);
}

static bool is_given_up(struct pool *p, const char *pilot)
{
	double s = GIVE_UP_S;
	const char *set = getenv("GRETA_SLURM_GIVE_UP_S");
	if (set)
		greta_str_f64(set, &s);
	return (double)gone_for_ns(p, pilot) > s * (double)GRETA_NS_PER_S;
}

/* Slurm says that nobody runs it: a lock that is still there after a while is nobody's. Without an outcome the attempt would be
 * queued again, for pilots that could not take the lock either. */
static void settle(struct pool *p, const char *pilot, const struct ticket *t, const struct slurm_job *job)
{
	char reason[320], note[SPOOL_RECORD];
	cleanup_free char *dir = spool_attempt_dir(p->spool, t->attempt);
	if (access(dir, F_OK) != 0 || spool_is_finished(dir)) {
		queue_done(p->spool, pilot, t);
		return;
	}
	if (!spool_engine_note(dir, note)) {
		cleanup_fd int lock = spool_lock(dir, NULL);
		if (lock >= 0 && !spool_engine_note(dir, note))
			queue_return(p->spool, pilot, t);
		if (lock >= 0 || !is_given_up(p, pilot))
			return;
	}
	enum greta_outcome outcome = judge(p, pilot, job, reason);
	if (end_attempt(p, t, outcome, reason) == END_LATER) {
		if (!is_given_up(p, pilot))
			return;
		put_end(dir, t, outcome, reason);
	}
	queue_done(p->spool, pilot, t);
}

/* pilots: as seen before squeue was asked, since it can't tell of one that began later. */
static void settle_pilots(struct pool *p, const struct greta_strs *pilots)
{
	for (size_t i = 0; i < pilots->n; i++) {
		struct tickets taken = {0};
		struct slurm_job job;
		if (!is_gone(p, pilots->items[i], &job))
			continue;
		queue_taken(p->spool, pilots->items[i], &taken);
		for (size_t k = 0; k < taken.n; k++)
			settle(p, pilots->items[i], &taken.items[k], &job);
		queue_pilot_end(p->spool, pilots->items[i]);
		tickets_release(&taken);
	}
}

/* Jobs that ended before the pilot could say that it begins, as its first line: a wrong path, a file system that compute
 * nodes don't see. To ask for more of them would never end. */
static bool began(const struct pool *p, int64_t id, struct greta_buf *log)
{
	cleanup_free char *path = log_path(p, id);
	return greta_fs_read(path, LOG_MAX, log, NULL) != 0 || strstr(greta_buf_str(log), ALLOCATION_BEGINS);
}

static void judge_begun(struct pool *p)
{
	for (size_t i = 0; i < p->n_submitted;) {
		cleanup_buf struct greta_buf log = {0};
		const struct slurm_job *job = find_job(p, p->submitted[i]);
		if (job && slurm_state_life(job->state) != SLURM_OVER) {
			i++;
			continue;
		}
		p->n_bad = began(p, p->submitted[i], &log) ? 0 : p->n_bad + 1;
		if (p->n_bad >= BAD_IN_A_ROW) {
			cleanup_free char *reason = greta_format(
				"%d allocations in a row ended before they took work; job %" PRId64 " said: %.200s", p->n_bad,
				p->submitted[i], greta_buf_str(&log));
			reason[strcspn(reason, "\n")] = '\0';
			say(p, "%s", reason);
			refuse_waiting(p, reason);
			p->n_bad = 0;
		}
		p->submitted[i] = p->submitted[--p->n_submitted];
	}
}

/* A job that was requeued waits for minutes, and its turn in the queue was lost: another one is asked for instead. */
static void cancel_requeued(struct pool *p)
{
	for (size_t i = 0; i < p->jobs.n; i++) {
		struct slurm_job *job = &p->jobs.items[i];
		if (job->restarts > 0 && slurm_state_life(job->state) == SLURM_WAITS && slurm_cancel(job->id) == 0)
			job->state = SLURM_CANCELLED;
	}
}

/* new ones */

struct demand {
	int64_t machines;  /* that all waiting tickets together could fill */
	double longest_s;
};

/* some: pilots are there or come, who will take what has just arrived if they have room for it. */
static struct demand demand_of(const struct pool *p, const struct tickets *waiting, bool some)
{
	struct demand d = {0};
	int64_t since_ns = greta_clock_wall_ns() - (some ? SETTLED_NS : 0);
	double share = 0, gpus = (double)greta_slurm_gpus(p->settings), cpus = (double)p->settings->cpus;
	for (size_t i = 0; i < waiting->n; i++) {
		const struct ticket *t = &waiting->items[i];
		if (t->came_ns > since_ns)
			continue;
		if (t->slot == GRETA_SLOT_GPU)
			share += gpus > 0 ? (double)t->gpus / gpus : 1;
		else
			share += t->slot == GRETA_SLOT_CPU && t->cpus > 0 && cpus > 0 ? (double)t->cpus / cpus : 1;
		if (d.longest_s < (double)t->wall_s)
			d.longest_s = (double)t->wall_s;
		if (t->wall_s == 0 && d.longest_s < GRETA_SLURM_NO_BUDGET_S)
			d.longest_s = GRETA_SLURM_NO_BUDGET_S;
	}
	d.machines = (int64_t)(share + 0.999);
	return d;
}

struct standing {
	int64_t pending, running;
	int64_t held;       /* pending too, but nobody knows for how long */
	const char *reason;
};

static bool is_held(const struct slurm_job *job)
{
	return strcmp(job->reason, "BeginTime") == 0 || strcmp(job->reason, "Dependency") == 0 ||
	       greta_str_starts(job->reason, "JobHeld");
}

static struct standing standing_of(const struct pool *p)
{
	struct standing s = {.reason = ""};
	for (size_t i = 0; i < p->jobs.n; i++) {
		const struct slurm_job *job = &p->jobs.items[i];
		enum slurm_life life = slurm_state_life(job->state);
		s.pending += life == SLURM_WAITS;
		s.running += life == SLURM_RUNS;
		s.held += life == SLURM_WAITS && is_held(job);
		if (life == SLURM_WAITS)
			s.reason = job->reason;
	}
	return s;
}

static int64_t squeue_every_ns(void)
{
	double s;
	const char *set = getenv("GRETA_SLURM_POLL_S");
	return set && greta_str_f64(set, &s) == 0 ? (int64_t)(s * (double)GRETA_NS_PER_S) : SQUEUE_EVERY_MS * GRETA_NS_PER_MS;
}

static bool submit_one(struct pool *p, double limit_s)
{
	struct greta_err e = {0};
	cleanup_free char *without = pool_quarantine_machines(p->spool, greta_slurm_gpus(p->settings));
	int64_t id = slurm_submit(p->settings, p->spool, p->agent, limit_s, without, &e);
	if (id < 0 && *without) {
		greta_err_wrap(&e, "without %s, in quarantine (`greta-orch node resume %s`)", without, p->settings->name);
		e.code = GRETA_EBUSY; /* a person may let them go at any time */
	}
	if (id < 0) {
		say(p, "%s", e.text);
		p->next_submit_ns = greta_clock_mono_ns() + RETRY_LOOKS * squeue_every_ns();
		if (e.code != GRETA_EBUSY)
			refuse_waiting(p, e.text);
		return false;
	}
	*GRETA_PUSH(p->submitted, p->n_submitted, p->cap_submitted) = id;
	*GRETA_PUSH(p->jobs.items, p->jobs.n, p->jobs.cap) =
		(struct slurm_job){.id = id, .state = SLURM_PENDING, .wait_status = -1};
	return true;
}

static void submit(struct pool *p, const struct tickets *waiting)
{
	struct greta_err e = {0};
	struct standing s = standing_of(p);
	struct demand d = demand_of(p, waiting, s.pending - s.held + s.running > 0);
	double limit_s = 0;
	int64_t n = d.machines - (s.pending - s.held), room = p->settings->nodes - s.pending - s.running, done = 0;
	if (n > room)
		n = room;
	if (n <= 0 || greta_clock_mono_ns() < p->next_submit_ns)
		return;
	if (greta_slurm_limit_s(p->settings, d.longest_s, &limit_s, &e) != 0) {
		refuse_waiting(p, e.text);
		return;
	}
	while (done < n && submit_one(p, limit_s))
		done++;
	if (done)
		say(p, "%" PRId64 " allocations asked for, of %.0f min each; %" PRId64 " were running, %" PRId64 " waiting", done,
		    limit_s / 60, s.running, s.pending);
}

/* the loop */

static bool ask(struct pool *p)
{
	struct greta_err e = {0};
	struct slurm_jobs jobs = {0};
	if (slurm_list(p->settings, &jobs, &e) != 0) {
		say(p, "%s", e.text);
		if (e.code == GRETA_EUNSUPPORTED)
			refuse_waiting(p, e.text);
		return false;
	}
	slurm_jobs_release(&p->jobs);
	p->jobs = jobs;
	return true;
}

static void tell_standing(struct pool *p)
{
	struct standing s = standing_of(p);
	if (s.pending && *s.reason)
		say(p, "%" PRId64 " allocations running, %" PRId64 " waiting (%s)", s.running, s.pending, s.reason);
	else if (s.pending || s.running)
		say(p, "%" PRId64 " allocations running, %" PRId64 " waiting", s.running, s.pending);
}

static void turn(struct pool *p)
{
	struct tickets waiting = {0};
	cleanup_strs struct greta_strs pilots = {0};
	int64_t now = greta_clock_mono_ns();
	if (!p->orphans_ns || now - p->orphans_ns > ORPHANS_EVERY_NS) {
		queue_orphans(p);
		p->orphans_ns = now;
	}
	queue_list(p->spool, &waiting);
	queue_pilots(p->spool, &pilots);
	if ((waiting.n || pilots.n) && (!p->told_ns || now - p->told_ns >= squeue_every_ns())) {
		if (ask(p)) {
			settle_pilots(p, &pilots);
			judge_begun(p);
			cancel_requeued(p);
			submit(p, &waiting);
			tell_standing(p);
		}
		p->told_ns = greta_clock_mono_ns();
	}
	tickets_release(&waiting);
}

int pool_run(const struct greta_slurm *s, const char *spool)
{
	struct pool p = {.settings = s, .spool = spool};
	cleanup_free char *lock_path = greta_fs_join(spool, "pool.lock");
	cleanup_free char *dir = greta_fs_self_dir();
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	cleanup_fd int lock = -1;
	char drop[64];
	p.agent = greta_fs_join(dir, "greta-agent");
	for (;;) {
		if (lock < 0)
			lock = greta_fs_lock(lock_path, 0600, NULL);
		if (lock >= 0)
			turn(&p);
		if (poll(&input, 1, LOOK_MS) > 0 && read(STDIN_FILENO, drop, sizeof drop) <= 0)
			break;
	}
	free(p.agent);
	free(p.gone);
	free(p.submitted);
	slurm_jobs_release(&p.jobs);
	return 0;
}
