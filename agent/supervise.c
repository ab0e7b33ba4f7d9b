#include "agent/supervise.h"
#include "agent/logits.h"
#include "agent/after.h"
#include "agent/allocation.h"
#include "agent/capture.h"
#include "agent/kill.h"
#include "agent/spool.h"
#include "agent/stop.h"
#include "agent/verify.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICK_MS 1000

extern char **environ;

/* the outcome */

/* What the kernel or the engine says about memory; the caller frees. */
static char *memory_proof(struct supervise *s)
{
	char tail[8192];
	bool killed = (WIFSIGNALED(s->status) && WTERMSIG(s->status) == SIGKILL) ||
		      (WIFEXITED(s->status) && WEXITSTATUS(s->status) == 128 + SIGKILL);
	if (!s->exited || s->status == 0 || s->stop != STOP_NOT)
		return NULL;
	klog_read(&s->klog);
	char *proof = oom_host_proof(&s->oom, &s->cgroup, &s->klog, s->engine.pid, killed);
	return proof ? proof : oom_engine_proof(tail, logs_tail(&s->logs, LOGS_ERR, tail, sizeof tail));
}

/* Only an engine that was stopped has a class: one that came through, or died by itself, tells its own story. */
static void put_verdict(const struct supervise *s, struct finish_input *in)
{
	const struct watchdog_verdict *v = &s->watch.dog.verdict;
	if (s->stop == STOP_NOT || s->stop == STOP_CANCEL || s->stop == STOP_PREEMPT)
		return;
	in->class_ = v->class_;
	in->certainty = v->certainty;
	in->class_text = v->text[0] ? v->text : NULL;
	in->projection = s->watch.projected ? s->watch.projection : NULL;
}

static void put_traits(struct supervise *s)
{
	const struct watchdog_verdict *v = &s->watch.dog.verdict;
	if (s->end.survivors) {
		s->end.class_ = GRETA_CLASS_UNKILLABLE;
		s->end.certainty = GRETA_ESTABLISHED;
	}
	if (s->end.class_ == GRETA_CLASS_NONE)
		return;
	bool node = s->end.survivors || s->end.class_ == GRETA_CLASS_COLLATERAL;
	s->end.blamed = greta_strdup(node ? "node" : v->blamed);
	s->end.blind = greta_strdup(v->blind[0] ? v->blind : NULL);
}

static void judge(struct supervise *s)
{
	char last[256] = "";
	cleanup_free char *proof = NULL;
	if (s->exited && s->stop == STOP_NOT && (s->told || allocation_was_told(s->status))) {
		s->stop = STOP_PREEMPT;
		greta_str_copy(s->stop_text, sizeof s->stop_text, "the job was told to end");
	}
	struct finish_input in = {
		.spec = &s->spec,
		.started = s->exec_ns != 0,
		.start_error = s->start_error.text,
		.start_cause = s->start_cause,
		.status = s->status,
		.exited = s->exited,
		.stop = s->stop,
		.stop_text = s->stop_text[0] ? s->stop_text : NULL,
		.contradicts = s->contradicts,
		.complaints = greta_buf_str(&s->complaints),
	};
	if (in.started) {
		logs_last_line(&s->logs, last, sizeof last);
		proof = memory_proof(s);
		put_verdict(s, &in);
	}
	in.last_line = last;
	in.oom_proof = proof;
	in.collateral = s->blame.certainty != GRETA_CERTAINTY_NONE ? s->blame.text : NULL;
	in.collateral_certainty = s->blame.certainty;
	finish_judge(&in, &s->end);
	put_traits(s);
	if (s->stop == STOP_PREEMPT)
		allocation_judge(&s->end);
	if (s->quarantined[0]) {
		char *reason = greta_format("%s; %s", s->end.reason ? s->end.reason : "", s->quarantined);
		free(s->end.reason);
		s->end.reason = reason;
	}
}

/* An outcome that would not fit into a frame comes from an engine that talks too much about its samples. */
static void print_end(struct supervise *s, struct greta_buf *out)
{
	greta_end_print(&s->end, out);
	if (out->len <= SPOOL_OUTCOME_RESERVE)
		return;
	greta_samples_release(&s->end.samples);
	s->end.outcome = GRETA_OUTCOME_INVALID;
	free(s->end.reason);
	s->end.reason = greta_format("its results take %zu bytes as JSON; %d are allowed", out->len, SPOOL_OUTCOME_RESERVE);
	greta_buf_clear(out);
	greta_end_print(&s->end, out);
}

static void publish(struct supervise *s)
{
	struct greta_err e = {0};
	cleanup_buf struct greta_buf text = {0};
	s->end.finished_wall_ns = greta_clock_wall_ns();
	print_end(s, &text);
	if (journal_sync(&s->journal, &e) != 0)
		greta_error("%s", e.text);
	slots_release(&s->slots);
	if (spool_publish(s->dir, text.data, text.len, &e) != 0)
		greta_error("the outcome can't be published: %s", e.text);
}

static void end_build(struct supervise *s)
{
	char hex[GRETA_SHA256_HEX + 1];
	if (s->build.engine[0])
		s->end.engine_sha256 = greta_strdup(s->build.engine);
	if (s->exec_ns && build_end(&s->build, hex))
		s->end.build_sha256 = greta_strdup(hex);
	build_release(&s->build);
}

void supervise_finish(struct supervise *s)
{
	if (s->state == SUPERVISE_ENDED || after_begin(s))
		return;
	s->state = SUPERVISE_ENDED;
	verify_cancel(s);
	if (s->exec_ns) {
		capture_end(s);
		s->end.wall_s = (double)(s->exit_ns - s->exec_ns) / (double)GRETA_NS_PER_S;
	}
	judge(s);
	after_tell(s);
	logits_keep(s);
	if (s->exec_ns && s->end.outcome != GRETA_OUTCOME_GOOD && s->end.outcome != GRETA_OUTCOME_CANCELLED)
		watch_last_evidence(s);
	for (size_t i = 0; i < s->slots.devices.n; i++)
		greta_strs_add(&s->end.devices, s->slots.devices.items[i]);
	cgroup_remove(&s->cgroup);
	end_build(s);
	publish(s);
	greta_loop_stop(s->loop);
}

void supervise_fail_start(struct supervise *s, const char *cause, const struct greta_err *e)
{
	s->start_cause = cause;
	s->start_error = *e;
	supervise_finish(s);
}

/* the engine */

/* Before it runs: whoever cleans up after us must know that something may have run, and where. */
static int note_engine(const struct supervise *s, struct greta_err *e)
{
	cleanup_free char *text = greta_format("cgroup %s\nboot %s\n", s->cgroup.path ? s->cgroup.path : "-",
					       greta_clock_boot_id());
	return spool_note_engine(s->dir, text, e);
}

static void tell_started(struct supervise *s)
{
	cleanup_buf struct greta_buf detail = {0};
	struct greta_jsonw w = greta_jsonw(&detail);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_i64(&w, "pid", s->engine.pid);
	greta_jsonw_strs(&w, "devices", &s->slots.devices);
	greta_jsonw_strs(&w, "slots", &s->slots.names);
	if (s->build.engine[0])
		greta_jsonw_str(&w, "engine_sha256", s->build.engine);
	if (s->model_facts[0]) {
		greta_jsonw_str(&w, "model", s->spec.model);
		greta_jsonw_raw(&w, "model_facts", s->model_facts);
	}
	if (!s->engine.in_cgroup)
		greta_jsonw_str(&w, "no_cgroup", s->cgroup.why[0] ? s->cgroup.why : "the engine could not be put into it");
	greta_jsonw_end_object(&w);
	journal_add(&s->journal, GRETA_EVENT_STARTED, detail.data);
}

static void on_wall(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	(void)w, (void)events;
	if (s->state == SUPERVISE_RUNNING && !watch_wall(s))
		supervise_stop(s, STOP_WALL, NULL);
}

static void begin_build(struct supervise *s, const char *scratch)
{
	cleanup_strs struct greta_strs env = {0};
	const char *path = "/usr/bin:/bin";
	engine_environment(&s->spec, &s->slots, (const char *const *)environ, &env);
	for (size_t i = 0; i < env.n; i++)
		if (greta_str_starts(env.items[i], "PATH="))
			path = env.items[i] + 5;
	build_begin(&s->build, s->paths, &s->spec, s->spec.cwd ? s->spec.cwd : scratch, path);
}

void supervise_start(struct supervise *s)
{
	struct greta_err e = {0};
	cleanup_free char *scratch = greta_fs_join(s->dir, "scratch");
	cgroup_find_own(&s->own_groups, s->paths->proc);
	cgroup_create(&s->cgroup, &s->own_groups, s->spec.attempt);
	logits_ask(s);
	begin_build(s, scratch);
	klog_open(&s->klog);
	oom_begin(&s->oom, s->paths->proc, &s->own_groups);
	/* Taken before: phases that the engine times must never add up to more. */
	int64_t before_ns = greta_clock_mono_ns();
	s->end.started_wall_ns = greta_clock_wall_ns();
	if (note_engine(s, &e) != 0 ||
	    engine_start(&s->engine, &s->spec, &s->slots, &s->cgroup, scratch, &e) != 0) {
		s->end.started_wall_ns = 0;
		supervise_fail_start(s, "exec", &e);
		return;
	}
	s->exec_ns = before_ns;
	s->state = SUPERVISE_RUNNING;
	capture_begin(s);
	tell_started(s);
	watch_begin(s);
	if (s->spec.wall_s > 0)
		s->wall = greta_loop_timer(s->loop, (int64_t)(s->spec.wall_s * 1e3), 0, on_wall, s);
}

static void engine_exited(struct supervise *s, int status, const struct rusage *used)
{
	s->exit_ns = greta_clock_mono_ns();
	s->status = status;
	s->exited = true;
	s->end.peak_rss_bytes = (int64_t)used->ru_maxrss * 1024;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* True when no child is left: as a subreaper we are the parent of every orphan of the attempt. */
static bool reap(struct supervise *s)
{
	for (;;) {
		int status = 0;
		struct rusage used;
		pid_t pid = wait4(-1, &status, WNOHANG, &used);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid <= 0)
			return pid < 0;
		if (pid == s->probe)
			after_probed(s, status);
		if (watch_reaped(s, pid) || s->after)
			continue;
		s->end.cpu_user_s += seconds(used.ru_utime);
		s->end.cpu_system_s += seconds(used.ru_stime);
		if (pid == s->engine.pid && !s->exited)
			engine_exited(s, status, &used);
	}
}

static void on_child(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	(void)w, (void)events;
	bool was_running = !s->exited, none_left = reap(s);
	if (s->exited && was_running)
		watch_end(s);
	if (s->exited && !s->after && s->state != SUPERVISE_ENDED)
		stop_sweep(s, none_left || (was_running && reap(s)));
}

/* from outside */

static void look_for_cancel(struct supervise *s)
{
	char why[SPOOL_RECORD];
	if (spool_cancel_asked(s->dir, why))
		supervise_stop(s, STOP_CANCEL, why);
}

static void on_control(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	char drop[4096];
	(void)w, (void)events;
	while (read(s->control_fd, drop, sizeof drop) > 0)
		;
	look_for_cancel(s);
}

static void on_told_to_end(struct greta_watch *w, uint32_t signo, void *arg)
{
	struct supervise *s = arg;
	char text[96];
	(void)w;
	/* An engine that was through by then has its result, and one that a neighbour took down its cause. */
	s->told = !s->after && (s->status != 0 || !s->exited);
	snprintf(text, sizeof text, "the supervisor was told to end (%s)", strsignal((int)signo));
	supervise_stop(s, STOP_PREEMPT, text);
}

static void watch_control(struct supervise *s)
{
	cleanup_free char *path = greta_fs_join(s->dir, "control");
	s->control_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->control_fd >= 0 && inotify_add_watch(s->control_fd, path, IN_MODIFY) >= 0)
		greta_loop_fd(s->loop, s->control_fd, EPOLLIN, on_control, s);
}

/* Inotify may be used up on the node. */
static void on_tick(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	(void)w, (void)events;
	look_for_cancel(s);
}

/* the frame */

static int set_up(struct supervise *s, struct greta_err *e)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGHUP, &ignore, NULL);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	s->loop = greta_loop_create(e);
	if (!s->loop)
		return -1;
	if (!greta_loop_signal(s->loop, SIGCHLD, on_child, s) || !greta_loop_signal(s->loop, SIGTERM, on_told_to_end, s) ||
	    !greta_loop_signal(s->loop, SIGINT, on_told_to_end, s))
		return greta_err_sys(e, "can't watch for signals");
	watch_control(s);
	greta_loop_timer(s->loop, TICK_MS, TICK_MS, on_tick, s);
	return 0;
}

static int supervise_init(struct supervise *s, const struct agent_paths *paths, const char *dir, int lock_fd,
			  struct greta_err *e)
{
	*s = (struct supervise){.paths = paths, .dir = dir, .lock_fd = lock_fd, .control_fd = -1, .klog.fd = -1};
	s->end.queued_wall_ns = greta_clock_wall_ns();
	s->end.wall_s = NAN;
	s->end.peak_rss_bytes = -1;
	if (spool_lock_write(lock_fd, e) != 0 || spool_read_spec(dir, &s->spec, e) != 0)
		return -1;
	return journal_open(&s->journal, dir, s->spec.attempt, e);
}

static void supervise_release(struct supervise *s)
{
	greta_loop_destroy(s->loop);
	journal_close(&s->journal);
	if (s->reader)
		greta_result_reader_destroy(s->reader);
	if (s->exec_ns) {
		logs_release(&s->logs);
		watch_release(s);
	}
	progress_release(&s->progress);
	klog_close(&s->klog);
	slots_release(&s->slots);
	cgroup_release(&s->cgroup);
	greta_buf_release(&s->complaints);
	greta_spec_release(&s->spec);
	greta_end_release(&s->end);
	if (s->control_fd >= 0)
		close(s->control_fd);
}

/* Without a spec, a journal or a loop: the controller must hear of it all the same, and nobody try for ever. */
static void publish_broken(struct supervise *s, const struct greta_err *why)
{
	cleanup_buf struct greta_buf text = {0};
	if (s->state == SUPERVISE_ENDED)
		return;
	s->end.finished_wall_ns = greta_clock_wall_ns();
	finish_judge(&(struct finish_input){.spec = &s->spec, .start_error = why->text, .start_cause = "spool"}, &s->end);
	greta_end_print(&s->end, &text);
	spool_publish(s->dir, text.data, text.len, NULL);
}

int supervise_run(const struct agent_paths *paths, const char *dir, int lock_fd, struct greta_err *e)
{
	struct supervise s;
	int rc = supervise_init(&s, paths, dir, lock_fd, e);
	if (rc == 0 && (rc = set_up(&s, e)) == 0) {
		if (s.journal.seq == 0) /* else a supervisor before us died while it waited */
			journal_add(&s.journal, GRETA_EVENT_ACCEPTED, NULL);
		look_for_cancel(&s);
		if (s.state == SUPERVISE_WAITING)
			verify_begin(&s);
		if (s.state != SUPERVISE_ENDED)
			rc = greta_loop_run(s.loop, e);
	}
	if (rc != 0)
		publish_broken(&s, e);
	supervise_release(&s);
	return rc;
}
