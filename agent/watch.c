#include "agent/watch.h"
#include "agent/devices.h"
#include "agent/evidence.h"
#include "agent/files.h"
#include "agent/kernel_lines.h"
#include "agent/kill.h"
#include "agent/supervise.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include "base/log.h"
#include "base/mem.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TICK_MAX_MS 1000
#define TICK_MIN_MS 50
#define TICKS_PER_SILENCE 10       /* short bounds, as tests set them, are sampled more often */
#define GAUGE_STALE_NS (5 * GRETA_NS_PER_S)
#define EXTEND_FACTOR 1.25         /* beyond the projection */
#define EXTEND_MAX 4.0             /* times the budget, in all */
#define LOG_TAIL 16384
#define WALL_AGAIN_MS 1000         /* a budget that ended while evidence was gathered is asked for again */
#define FROZEN_NS (5 * GRETA_NS_PER_S) /* beyond a tick's time: five of the longest */
#define TOGETHER_MAX_S 3600.0      /* a longer time between lines of one read is the engine's mistake */

/* events */

static void tell_verdict(struct supervise *s)
{
	const struct watchdog_verdict *v = &s->watch.dog.verdict;
	cleanup_buf struct greta_buf detail = {0};
	struct greta_jsonw w = greta_jsonw(&detail);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "class", greta_class_name(v->class_));
	greta_jsonw_str(&w, "certainty", greta_certainty_name(v->certainty));
	greta_jsonw_str(&w, "text", v->text);
	greta_jsonw_f64(&w, "projection_s", v->projection_s);
	greta_jsonw_bool(&w, "rerun", v->rerun);
	if (v->blamed)
		greta_jsonw_str(&w, "blamed", v->blamed);
	if (v->blind[0])
		greta_jsonw_str(&w, "blind", v->blind);
	greta_jsonw_end_object(&w);
	journal_add(&s->journal, GRETA_EVENT_VERDICT, detail.data);
}

void watch_tell_item(void *arg, const char *name, const char *text, size_t n)
{
	struct supervise *s = arg;
	size_t parts = n ? (n + EVIDENCE_PART - 1) / EVIDENCE_PART : 1;
	for (size_t i = 0; i < parts; i++) {
		cleanup_buf struct greta_buf detail = {0};
		struct greta_jsonw w = greta_jsonw(&detail);
		size_t from = i * EVIDENCE_PART, len = n - from < EVIDENCE_PART ? n - from : EVIDENCE_PART;
		greta_jsonw_object(&w, NULL);
		greta_jsonw_str(&w, "name", name);
		greta_jsonw_i64(&w, "part", (int64_t)i + 1);
		greta_jsonw_i64(&w, "parts", (int64_t)parts);
		greta_jsonw_end_object(&w);
		journal_add_bytes(&s->journal, GRETA_EVENT_EVIDENCE, detail.data, text + from, len);
	}
}

static void tell_telemetry(struct supervise *s, bool all)
{
	cleanup_buf struct greta_buf detail = {0};
	if (telemetry_event(&s->watch.telemetry, all, &detail))
		journal_add(&s->journal, GRETA_EVENT_TELEMETRY, detail.data);
}

/* sampling */

static void find_devices(struct supervise *s)
{
	struct watch *w = &s->watch;
	struct greta_facts all = {0};
	devices_find(s->paths->sys, s->paths->proc, s->paths->dev, &all);
	for (size_t i = 0; i < all.n_devices; i++) {
		if (!greta_strs_has(&s->slots.devices, all.devices[i].uuid))
			continue;
		*GRETA_PUSH(w->gpus.devices, w->gpus.n_devices, w->gpus.cap_devices) = all.devices[i];
		all.devices[i] = (struct greta_device){0};
	}
	greta_facts_release(&all);
}

/* What the GPU says it executes is nearer than what the engine last told; a load or a tokenizer runs beside a stale page. */
static void take_crumb(struct supervise *s, struct watchdog_sample *sample)
{
	struct breadcrumb now, before = s->watch.crumb;
	enum greta_phase p = s->progress.last.phase;
	sample->gpu.work_delta = NAN;
	if (!breadcrumb_read(s->engine.page, &now))
		return;
	s->watch.crumb = now;
	sample->gpu.work_delta = breadcrumb_work(&before, &now);
	if (!now.executing[0] || (p != GRETA_PHASE_WARMUP && p != GRETA_PHASE_PREFILL && p != GRETA_PHASE_DECODE))
		return;
	greta_str_copy(s->progress.last.at, sizeof s->progress.last.at, now.executing);
	sample->executing = s->watch.crumb.executing;
	sample->enqueued = s->watch.crumb.enqueued;
}

/* Beyond what the counters said when they were first read: errors of days before are not this attempt's. */
static double new_errors(struct watch *w)
{
	double sum = NAN;
	for (int i = 0; i < w->gauge.n; i++) {
		double errors = w->gauge.gpus[i].ras_ue;
		if (isnan(errors))
			continue;
		if (!w->errors_known[i])
			w->errors_before[i] = errors;
		w->errors_known[i] = true;
		sum = (isnan(sum) ? 0 : sum) + fmax(0, errors - w->errors_before[i]);
	}
	return sum;
}

static void take_gauge(struct supervise *s, int64_t now_ns, struct watchdog_gpu *out)
{
	struct watch *w = &s->watch;
	struct gauge_record before = w->gauge;
	bool fresh = gauge_take(w->gauge_fd, &w->gauge);
	*out = (struct watchdog_gpu){.expected = s->spec.slot == GRETA_SLOT_GPU, .clock_ratio = NAN, .mem_busy_max = NAN,
				     .new_errors = new_errors(w)};
	out->seen = w->gauge.n > 0 && now_ns - w->gauge.t_ns < GAUGE_STALE_NS;
	out->busy_min = INFINITY;
	for (int i = 0; out->seen && i < w->gauge.n; i++) {
		const struct gauge_gpu *g = &w->gauge.gpus[i];
		if (isnan(g->busy)) {
			out->seen = false;
			return;
		}
		out->busy_min = fmin(out->busy_min, g->busy);
		out->busy_max = fmax(out->busy_max, g->busy);
		out->mem_busy_max = fmax(out->mem_busy_max, g->mem_busy);
		out->clock_ratio = fmin(out->clock_ratio, g->sclk_mhz / g->sclk_max_mhz);
		out->throttled_more |= fresh && i < before.n && g->throttle > before.gpus[i].throttle;
	}
}

/* A neighbour's reset explains a silence that began about then: not one of long after, nor one that lasted too long before. */
static void keep_recent(struct supervise *s, struct kernel_finding *f)
{
	const struct watchdog *dog = &s->watch.dog;
	int64_t window_ns = (int64_t)(NEIGHBOURS_WINDOW_S * (double)GRETA_NS_PER_S);
	int64_t judged_ns = dog->moved_ns + (int64_t)(watchdog_silence_s(dog) * (double)GRETA_NS_PER_S);
	cleanup_free char *log = klog_between(&s->klog, dog->moved_ns - window_ns, judged_ns);
	kernel_lines_read(log, s->watch.gpus.devices, s->watch.gpus.n_devices, f);
}

static void take_kernel(struct supervise *s, struct kernel_finding *f, struct watchdog_kernel *out)
{
	*f = (struct kernel_finding){0};
	if (s->spec.slot == GRETA_SLOT_GPU && s->klog.lines.len)
		kernel_lines_read(greta_buf_str(&s->klog.lines), s->watch.gpus.devices, s->watch.gpus.n_devices, f);
	if (f->class_ == GRETA_CLASS_COLLATERAL)
		keep_recent(s, f);
	*out = (struct watchdog_kernel){.class_ = f->class_, .line = f->line, .blind = s->klog.fd < 0};
}

/* The engine's own process, for telemetry: cheap enough for every second. */
static void engine_usage(const struct supervise *s, int64_t *ticks, int64_t *rss_bytes)
{
	char dir[FILE_PATH_MAX], text[1024];
	unsigned long long user = 0, kernel = 0;
	long rss = 0;
	*ticks = *rss_bytes = -1;
	if (file_text(file_path(dir, "%s/%d", s->paths->proc, (int)s->engine.pid), "stat", text, sizeof text) != 0)
		return;
	const char *after = strrchr(text, ')');
	if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %*u %*u %ld",
			     &user, &kernel, &rss) != 3)
		return;
	*ticks = (int64_t)(user + kernel);
	*rss_bytes = (int64_t)rss * sysconf(_SC_PAGESIZE);
}

static void add_helper(struct watch *w, pid_t pid)
{
	*GRETA_PUSH(w->helpers.items, w->helpers.n, w->helpers.cap) = pid;
}

/* The attempt's processes, the engine first; what lost its parent is our child. */
static void find_pids(const struct supervise *s, struct kill_pids *out)
{
	const struct kill_target t = {.proc = "/proc", .ancestor = getpid(), .helpers = &s->watch.helpers};
	struct kill_pids all = {0};
	kill_find(&t, &all);
	*GRETA_PUSH(out->items, out->n, out->cap) = s->engine.pid;
	for (size_t i = 0; i < all.n; i++)
		if (all.items[i] != s->engine.pid)
			*GRETA_PUSH(out->items, out->n, out->cap) = all.items[i];
	kill_pids_release(&all);
}

static void sample_host(const struct supervise *s, struct sample_host *out)
{
	struct kill_pids pids = {0};
	find_pids(s, &pids);
	sample_read(s->paths->proc, pids.items, (int)pids.n, out);
	kill_pids_release(&pids);
}

/* evidence */

static void tell_crumb(struct supervise *s)
{
	cleanup_buf struct greta_buf text = {0};
	if (s->watch.crumb.place == 0)
		return;
	breadcrumb_tell(&s->watch.crumb, &text);
	watch_tell_item(s, "breadcrumb", text.data, text.len);
}

/* Again after the kill, when more has come: whoever stores it replaces the first. */
static void tell_kernel_log(struct supervise *s)
{
	const char *text = s->klog.blind[0] ? s->klog.blind : greta_buf_str(&s->klog.lines);
	s->watch.kernel_log_told = s->klog.lines.len;
	watch_tell_item(s, "kernel_log", text, strlen(text));
}

/* Where nothing else tells of progress, output does. */
static bool has_printed(const struct supervise *s)
{
	return !s->watch.dog.speaks && logs_total(&s->logs) > s->watch.dog.output_bytes;
}

static void evidence_done(struct supervise *s)
{
	struct watch *w = &s->watch;
	char tail[LOG_TAIL];
	if (!w->evidence)
		return;
	greta_watch_remove(w->evidence);
	greta_watch_remove(w->evidence_deadline);
	w->evidence = w->evidence_deadline = NULL;
	close(w->evidence_fd);
	greta_buf_clear(&w->items); /* the half of an item, where the deadline has cut it */
	if (w->collector > 0)
		kill(w->collector, SIGKILL);
	tell_crumb(s);
	watch_tell_item(s, "log_tail", tail, logs_tail(&s->logs, s->logs.streams[LOGS_ERR].total ? LOGS_ERR : LOGS_OUT, tail, sizeof tail));
	tell_kernel_log(s);
	if (w->stop_after == STOP_VERDICT && (w->moved || has_printed(s))) { /* it came back to life while it was looked at */
		w->moved = false;
		return;
	}
	supervise_stop(s, w->stop_after, w->stop_text[0] ? w->stop_text : NULL);
}

static void on_evidence(struct greta_watch *watch, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	struct watch *w = &s->watch;
	(void)watch, (void)events;
	ssize_t n = read(w->evidence_fd, greta_buf_reserve(&w->items, 65536), 65536);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		w->items.len += (size_t)n;
		w->items.data[w->items.len] = '\0';
		evidence_take(&w->items, watch_tell_item, s);
		return;
	}
	evidence_done(s);
}

static void on_evidence_deadline(struct greta_watch *watch, uint32_t events, void *arg)
{
	(void)watch, (void)events;
	evidence_done(arg);
}

static void gather_then_stop(struct supervise *s, enum stop_why why, const char *text)
{
	struct watch *w = &s->watch;
	struct greta_err e = {0};
	struct kill_pids pids = {0};
	if (w->evidence)
		return;
	w->stop_after = why;
	w->moved = false;
	greta_str_copy(w->stop_text, sizeof w->stop_text, text ? text : "");
	find_pids(s, &pids);
	const struct evidence_plan plan = {
		.sys = s->paths->sys,
		.proc = s->paths->proc,
		.spec = &s->spec,
		.devices = w->gpus.devices,
		.n_devices = w->gpus.n_devices,
		.pids = pids.items,
		.n_pids = pids.n,
		.debugger = w->dog.now.blocked == 0,
	};
	w->collector = evidence_start(&plan, &w->evidence_fd, &e);
	kill_pids_release(&pids);
	if (w->collector < 0) {
		greta_error("%s", e.text);
		supervise_stop(s, why, text);
		return;
	}
	add_helper(w, w->collector);
	w->evidence = greta_loop_fd(s->loop, w->evidence_fd, EPOLLIN, on_evidence, s);
	w->evidence_deadline = greta_loop_timer(s->loop, EVIDENCE_DEADLINE_MS, 0, on_evidence_deadline, s);
}

/* feeding */

static void act(struct supervise *s, enum watchdog_action action)
{
	const struct watchdog_verdict *v = &s->watch.dog.verdict;
	if (action == WATCHDOG_NOTHING)
		return;
	tell_verdict(s);
	if (action == WATCHDOG_STOP_HUNG)
		gather_then_stop(s, STOP_VERDICT, v->text);
	else if (action == WATCHDOG_STOP_SLOW)
		supervise_stop(s, STOP_SLOW, v->text);
	else if (action == WATCHDOG_STOP_LIMIT)
		supervise_stop(s, STOP_LIMIT, v->text);
}

static void feed(struct supervise *s, const struct greta_progress *progress, const struct sample_host *host)
{
	struct kernel_finding finding;
	struct watchdog_sample sample = {.t_ns = greta_clock_mono_ns(), .progress = progress,
					 .output_bytes = logs_total(&s->logs), .host = host};
	take_gauge(s, sample.t_ns, &sample.gpu);
	take_crumb(s, &sample);
	take_kernel(s, &finding, &sample.kernel);
	act(s, watchdog_feed(&s->watch.dog, &sample));
}

/* The time, for judging by it. Whoever freezes an attempt (a freezer, Slurm's suspend, a signal) freezes its supervisor as well;
 * after that, pipes and the budget may be served before the tick that is late. */
static int64_t look_at_time(struct supervise *s)
{
	struct watch *w = &s->watch;
	int64_t now = greta_clock_mono_ns(), late_ns = now - w->looked_ns - w->period_ns;
	if (late_ns > FROZEN_NS) {
		watchdog_skip(&w->dog, late_ns);
		w->frozen_ns += late_ns;
	}
	w->looked_ns = now;
	return now;
}

/* Lines that were read together came one by one: the engine's own clock says how long before the last. */
static int64_t made_at(const struct progress *p, size_t i, int64_t last_ns)
{
	double before_s = p->fresh[p->n_fresh - 1].t_s - p->fresh[i].t_s;
	return before_s > 0 && before_s < TOGETHER_MAX_S ? last_ns - (int64_t)(before_s * (double)GRETA_NS_PER_S) : last_ns;
}

void watch_progress(struct supervise *s)
{
	const struct progress *p = &s->progress;
	s->watch.moved = true;
	if (s->state != SUPERVISE_RUNNING)
		return;
	int64_t now = look_at_time(s);
	for (size_t i = 0; i + 1 < p->n_fresh; i++)
		watchdog_learn(&s->watch.dog, &p->fresh[i], made_at(p, i, now));
	feed(s, &p->last, NULL);
}

static void tick_telemetry(struct supervise *s, int64_t now_ns)
{
	struct watch *w = &s->watch;
	int64_t ticks, rss;
	if (now_ns - w->second_ns < GRETA_NS_PER_S - 50 * GRETA_NS_PER_MS)
		return;
	w->second_ns = now_ns;
	engine_usage(s, &ticks, &rss);
	bool seen = w->gauge.n > 0 && now_ns - w->gauge.t_ns < GAUGE_STALE_NS;
	const struct telemetry_place place = {
		.phase = s->progress.last.phase,
		.done = s->progress.last.done,
		.total = s->progress.last.total,
		.silent_s = (double)(now_ns - w->dog.moved_ns) / (double)GRETA_NS_PER_S,
	};
	telemetry_tick(&w->telemetry, now_ns, seen ? &w->gauge : NULL, ticks, rss, &place);
	tell_telemetry(s, false);
}

static void on_tick(struct greta_watch *watch, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	struct sample_host host;
	(void)watch, (void)events;
	if (s->state != SUPERVISE_RUNNING)
		return;
	int64_t now = look_at_time(s);
	tick_telemetry(s, now);
	klog_read(&s->klog);
	if (s->watch.evidence && !has_printed(s))
		return; /* decided, unless it moves; and a debugger changes what threads do */
	s->watch.moved |= has_printed(s);
	bool look = !s->watch.evidence && watchdog_wants_host(&s->watch.dog, now);
	if (look)
		sample_host(s, &host);
	feed(s, NULL, look ? &host : NULL);
}

static int64_t tick_ms(const struct greta_spec *spec)
{
	double shortest = WATCHDOG_SILENCE_S;
	for (int i = 0; i < GRETA_PHASE_COUNT; i++)
		if (spec->phases[i].silence_s > 0 && spec->phases[i].silence_s < shortest)
			shortest = spec->phases[i].silence_s;
	int64_t ms = (int64_t)(shortest * 1e3 / TICKS_PER_SILENCE);
	return ms > TICK_MAX_MS ? TICK_MAX_MS : ms < TICK_MIN_MS ? TICK_MIN_MS : ms;
}

/* Half a tick after the engine, which has not reached a GPU by then: the first tick takes the first reading, and an attempt
 * that ends before it is spared a process. */
static void on_gauge(struct greta_watch *watch, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	struct watch *w = &s->watch;
	struct greta_err e = {0};
	(void)watch, (void)events;
	w->reader = gauge_start(s->paths->sys, w->gpus.devices, w->gpus.n_devices, tick_ms(&s->spec), &w->gauge_fd, &e);
	if (w->reader < 0)
		greta_error("%s", e.text);
	else
		add_helper(w, w->reader);
}

void watch_begin(struct supervise *s)
{
	struct watch *w = &s->watch;
	int64_t period = tick_ms(&s->spec);
	w->gauge_fd = w->evidence_fd = -1;
	w->period_ns = period * GRETA_NS_PER_MS;
	w->looked_ns = greta_clock_mono_ns();
	if (s->slots.devices.n) {
		find_devices(s);
		w->gauge_due = greta_loop_timer(s->loop, period / 2, 0, on_gauge, s);
	}
	watchdog_init(&w->dog, &s->spec, s->exec_ns);
	telemetry_init(&w->telemetry, s->paths->proc, w->gpus.n_devices, s->spec.telemetry_interval_s, s->exec_ns);
	w->tick = greta_loop_timer(s->loop, period, period, on_tick, s);
}

/* the budget */

/* on_slow: extend moves the budget behind the projection, once or more, never beyond EXTEND_MAX times the first. */
static bool extend(struct supervise *s, int64_t now_ns)
{
	double end_s, ran_s = (double)(now_ns - s->watch.dog.begun_ns) / (double)GRETA_NS_PER_S;
	char text[160];
	double most = s->spec.wall_s * EXTEND_MAX;
	if (s->spec.on_slow != GRETA_ON_SLOW_EXTEND || ran_s >= most ||
	    !watchdog_projection(&s->watch.dog, now_ns, &end_s, text, sizeof text))
		return false;
	double until = fmin(most, end_s * EXTEND_FACTOR);
	greta_watch_rearm(s->wall, (int64_t)((until - ran_s) * 1e3) + 1);
	return true;
}

bool watch_wall(struct supervise *s)
{
	struct watch *w = &s->watch;
	struct watchdog_verdict v;
	int64_t now = look_at_time(s);
	bool silent = watchdog_wants_host(&w->dog, now);
	if (w->frozen_ns || w->evidence) { /* one that is looked at may come back to life */
		greta_watch_rearm(s->wall, w->frozen_ns ? w->frozen_ns / GRETA_NS_PER_MS : WALL_AGAIN_MS);
		w->frozen_ns = 0;
		return true;
	}
	if (!silent && extend(s, now))
		return true;
	if (!silent)
		return false;
	watchdog_judge(&w->dog, now, &v);
	w->dog.verdict = v;
	tell_verdict(s);
	gather_then_stop(s, STOP_WALL, NULL);
	return true;
}

/* the end */

bool watch_reaped(struct supervise *s, pid_t pid)
{
	pid_t *const helpers[] = {&s->watch.reader, &s->watch.collector};
	for (size_t i = 0; i < GRETA_COUNT(helpers); i++)
		if (*helpers[i] == pid) {
			*helpers[i] = 0;
			return true;
		}
	return false;
}

void watch_end(struct supervise *s)
{
	struct watch *w = &s->watch;
	greta_watch_remove(w->tick);
	greta_watch_remove(w->gauge_due);
	greta_watch_remove(w->evidence);
	greta_watch_remove(w->evidence_deadline);
	w->tick = w->gauge_due = w->evidence = w->evidence_deadline = NULL;
	if (w->reader > 0)
		kill(w->reader, SIGKILL);
	if (w->collector > 0)
		kill(w->collector, SIGKILL);
	tell_telemetry(s, true);
	w->projected = watchdog_projection(&w->dog, greta_clock_mono_ns(), &w->projection_s, w->projection, sizeof w->projection);
}

void watch_last_evidence(struct supervise *s)
{
	cleanup_buf struct greta_buf text = {0};
	klog_read(&s->klog);
	if (s->klog.lines.len > s->watch.kernel_log_told)
		tell_kernel_log(s);
	telemetry_black_box(&s->watch.telemetry, &text);
	watch_tell_item(s, "black_box", text.data, text.len);
}

void watch_release(struct supervise *s)
{
	struct watch *w = &s->watch;
	if (w->gauge_fd >= 0)
		close(w->gauge_fd);
	telemetry_release(&w->telemetry);
	greta_buf_release(&w->items);
	kill_pids_release(&w->helpers);
	greta_facts_release(&w->gpus);
}
