#include "agent/watchdog.h"
#include "base/clock.h"
#include "base/mem.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SAMPLES_MIN 3         /* that a verdict rests on ... */
#define WINDOW_S 5.0          /* ... over at least this time, or half of the silence bound */
#define FAULT_SILENCE_S 5.0   /* a line in the kernel log needs no longer silence than this */
#define SPIN_OTHERS 1.3       /* a thread that spins has nearly all of the CPU time that its process gets */
#define IDLE_PERCENT 5.0
#define BUSY_PERCENT 90.0
#define FLAT_PERCENT 3.0      /* of the memory controller */
#define SLOW_CLOCK 0.15       /* of the clock's limit */
#define SLOW_TIMES 3          /* in a row before a missed budget is told */
#define SLOW_MIN_SHARE 0.05   /* of a phase done before a missed budget is foreseen: the first bytes of a file come late */
#define RETELL_NS (30 * GRETA_NS_PER_S)

/* Whom a class blames, and whether running it again is worth a try. */
static const struct {
	const char *blamed;
	bool rerun;
} traits[GRETA_CLASS_COUNT] = {
	[GRETA_CLASS_CLOCK_COLLAPSE] = {"device", true}, [GRETA_CLASS_HOST_IO] = {"node", true},
	[GRETA_CLASS_HOST_DEADLOCK] = {"runtime", true}, [GRETA_CLASS_HOST_SPIN] = {"runtime", true},
	[GRETA_CLASS_HOST_STOPPED] = {"node", true},     [GRETA_CLASS_GPU_KERNEL] = {"kernel", false},
	[GRETA_CLASS_MEMORY_FAULT] = {"kernel", false},  [GRETA_CLASS_QUEUE_HANG] = {"runtime", true},
	[GRETA_CLASS_RAS] = {"device", false},           [GRETA_CLASS_DEVICE_LOST] = {"device", false},
	[GRETA_CLASS_COLLATERAL] = {"node", true},       [GRETA_CLASS_UNKILLABLE] = {"node", false},
	[GRETA_CLASS_SLOW] = {NULL, false},
};

static double seconds(int64_t ns)
{
	return (double)ns / (double)GRETA_NS_PER_S;
}

void watchdog_init(struct watchdog *w, const struct greta_spec *spec, int64_t now_ns)
{
	*w = (struct watchdog){.wall_s = spec->wall_s, .on_slow = spec->on_slow, .begun_ns = now_ns};
	memcpy(w->phases, spec->phases, sizeof w->phases);
	w->moved_ns = w->phase_ns = now_ns;
	w->told_ns = INT64_MIN / 2;
	w->verdict.projection_s = NAN;
}

void watchdog_skip(struct watchdog *w, int64_t ns)
{
	w->begun_ns += ns;
	w->phase_ns += ns;
	w->moved_ns += ns;
	w->first.t_ns += ns;
}

/* limits */

static double configured_silence_s(const struct watchdog *w)
{
	double s = w->phases[w->last.phase].silence_s;
	return s > 0 ? s : WATCHDOG_SILENCE_S;
}

double watchdog_silence_s(const struct watchdog *w)
{
	double learned = WATCHDOG_LEARNED_FACTOR * seconds(w->longest_gap_ns[w->last.phase]);
	double configured = configured_silence_s(w);
	return learned > configured ? learned : configured;
}

static double silence_s(const struct watchdog *w, int64_t now_ns)
{
	return seconds(now_ns - w->moved_ns);
}

bool watchdog_wants_host(const struct watchdog *w, int64_t now_ns)
{
	return silence_s(w, now_ns) >= watchdog_silence_s(w) / 2;
}

/* Far beyond what this phase has shown before: enough to take a suspicion for more than that. */
static bool is_beyond_learned(const struct watchdog *w, int64_t now_ns)
{
	return w->n_gaps[w->last.phase] >= 2 && silence_s(w, now_ns) > 2 * watchdog_silence_s(w);
}

/* progress */

static void begin_silence(struct watchdog *w, int64_t t_ns)
{
	w->moved_ns = t_ns;
	memset(&w->always, true, sizeof w->always);
	w->n_host = w->n_gpu = w->n_work = w->n_errors = 0;
	w->throttled = false;
}

static void learn_gap(struct watchdog *w, int64_t t_ns)
{
	int64_t gap = t_ns - w->moved_ns;
	if (gap > w->longest_gap_ns[w->last.phase])
		w->longest_gap_ns[w->last.phase] = gap;
	w->n_gaps[w->last.phase]++;
}

static bool begins_phase(const struct watchdog *w, const struct greta_progress *p)
{
	return !w->speaks || p->phase != w->last.phase || p->done < w->last.done;
}

void watchdog_learn(struct watchdog *w, const struct greta_progress *progress, int64_t t_ns)
{
	if (t_ns < w->moved_ns)
		t_ns = w->moved_ns;
	if (begins_phase(w, progress)) {
		w->phase_ns = t_ns;
		w->phase_from = progress->done;
	} else {
		learn_gap(w, t_ns);
	}
	w->last = *progress;
	w->speaks = true;
	begin_silence(w, t_ns);
}

static bool take_progress(struct watchdog *w, const struct watchdog_sample *s)
{
	bool grew = s->output_bytes > w->output_bytes;
	w->output_bytes = s->output_bytes;
	if (s->progress) {
		watchdog_learn(w, s->progress, s->t_ns);
	} else if (grew && !w->speaks) {
		learn_gap(w, s->t_ns);
		begin_silence(w, s->t_ns);
	}
	return s->progress || (grew && !w->speaks);
}

/* what the silence shows */

static void take_host(struct watchdog *w, const struct sample_host *h)
{
	struct watchdog_always *a = &w->always;
	if (h->n_threads == 0)
		return;
	if (w->n_host++ > 0) {
		a->host_still &= h->cpu_ticks == w->now.cpu_ticks && h->switches == w->now.switches &&
				 h->io_bytes == w->now.io_bytes && h->n_threads == w->now.n_threads;
	} else {
		w->first = *h;
	}
	a->spinning &= h->busiest == w->first.busiest && h->busiest_runs && h->busiest_pauses == w->first.busiest_pauses;
	a->parked &= h->parked == h->n_threads;
	a->asleep &= h->asleep == h->n_threads;
	a->stopped &= h->stopped == h->n_threads;
	a->blocked &= h->blocked > 0;
	w->now = *h;
}

static void take_gpu(struct watchdog *w, const struct watchdog_gpu *g)
{
	struct watchdog_always *a = &w->always;
	w->gpu_expected = g->expected;
	if (!isnan(g->work_delta) && g->expected) {
		w->n_work++;
		a->work_still &= !(g->work_delta > 0);
	}
	if (!g->expected || !g->seen)
		return;
	w->n_gpu++;
	w->n_errors += !isnan(g->new_errors);
	w->gpu_busy = g->busy_max;
	a->gpu_idle &= g->busy_max <= IDLE_PERCENT;
	a->gpu_busy &= g->busy_max >= BUSY_PERCENT;
	a->gpu_mem_flat &= !(g->mem_busy_max > FLAT_PERCENT);
	a->gpu_slow_clock &= g->clock_ratio < SLOW_CLOCK;
	w->throttled |= g->throttled_more;
}

static void take_fault(struct watchdog *w, const struct watchdog_sample *s)
{
	w->kernel_blind = s->kernel.blind;
	if (s->kernel.class_ != GRETA_CLASS_NONE) {
		w->fault_class = s->kernel.class_;
		snprintf(w->fault, sizeof w->fault, "the kernel says: %s", s->kernel.line);
	} else if (s->gpu.new_errors > 0) {
		w->fault_class = GRETA_CLASS_RAS;
		snprintf(w->fault, sizeof w->fault, "the GPU has counted %.0f uncorrectable errors since it began", s->gpu.new_errors);
	} else if (w->fault_class == GRETA_CLASS_COLLATERAL) {
		w->fault_class = GRETA_CLASS_NONE; /* it has come through that */
	}
}

/* judging */

__attribute__((format(printf, 5, 6))) static void say(struct watchdog_verdict *v, enum greta_class class_,
						      enum greta_certainty certainty, bool act, const char *fmt, ...)
{
	va_list ap;
	v->class_ = class_;
	v->certainty = certainty;
	v->act = act;
	va_start(ap, fmt);
	vsnprintf(v->text, sizeof v->text, fmt, ap);
	va_end(ap);
}

/* Computing on the host beside an idle GPU is what loading and tokenizing look like. */
static bool is_gpu_phase(const struct watchdog *w)
{
	enum greta_phase p = w->last.phase;
	return p == GRETA_PHASE_PREFILL || p == GRETA_PHASE_DECODE || p == GRETA_PHASE_WARMUP;
}

/* One thread that never goes to sleep by itself: on a crowded host it gets far less than 100 %, and spins all the same. */
static bool is_spinning(const struct watchdog *w)
{
	double ticks = (double)(w->now.busiest_ticks - w->first.busiest_ticks);
	return w->always.spinning && ticks > 0 && (double)(w->now.cpu_ticks - w->first.cpu_ticks) <= SPIN_OTHERS * ticks;
}

/* one, or many with their number in place of "%d" */
static const char *threads_all(const struct watchdog *w, const char *one, const char *many, char *out, size_t cap)
{
	snprintf(out, cap, w->now.n_threads == 1 ? one : many, w->now.n_threads);
	return out;
}

static bool judge_stopped(const struct watchdog *w, struct watchdog_verdict *v)
{
	char all[40];
	if (!w->always.stopped)
		return false;
	say(v, GRETA_CLASS_HOST_STOPPED, GRETA_ESTABLISHED, !w->now.traced, "%s stopped%s",
	    threads_all(w, "its only thread is", "all %d threads are", all, sizeof all),
	    w->now.traced ? " by a debugger" : " by a signal");
	return true;
}

static bool judge_blocked(const struct watchdog *w, struct watchdog_verdict *v)
{
	if (!w->always.blocked || !w->always.host_still)
		return false;
	say(v, GRETA_CLASS_HOST_IO, GRETA_SUPPORTED, true, "%d of %d threads are blocked in the kernel (%s), no CPU time, no bytes",
	    w->now.blocked, w->now.n_threads, w->now.wait[0] ? w->now.wait : "where is hidden");
	return true;
}

/* A thread that waits for the GPU sleeps too; what the GPU does then decides. */
static bool judge_asleep(const struct watchdog *w, int64_t now_ns, struct watchdog_verdict *v)
{
	bool idle = !w->gpu_expected || (w->n_gpu > 0 && w->always.gpu_idle);
	const char *where = w->now.wait[0] ? w->now.wait : "wait";
	char all[64];
	if (!w->always.asleep || !w->always.host_still || (w->n_gpu > 0 && !w->always.gpu_idle))
		return false;
	threads_all(w, "its only thread is", "all %d threads are", all, sizeof all);
	if (w->always.parked)
		say(v, GRETA_CLASS_HOST_DEADLOCK, idle ? GRETA_ESTABLISHED : GRETA_SUPPORTED, idle,
		    "%s (%s)%s",
		    threads_all(w, "its only thread waits for ever", "all %d threads wait for each other or for ever", all, sizeof all),
		    where,
		    !w->gpu_expected ? "" : idle ? ", the GPU is idle" : ", what the GPU does is not known");
	else if (w->gpu_expected && idle)
		say(v, GRETA_CLASS_HOST_DEADLOCK, GRETA_SUPPORTED, is_gpu_phase(w),
		    "%s asleep (%s) and the GPU is idle: a lost completion or a deadlock", all, where);
	else
		say(v, GRETA_CLASS_UNCLASSIFIED, is_beyond_learned(w, now_ns) ? GRETA_SUPPORTED : GRETA_HYPOTHESIS, false,
		    "%s asleep (%s), with a time limit or a device to wake up for", all, where);
	return true;
}

static void judge_busy_gpu(const struct watchdog *w, struct watchdog_verdict *v)
{
	if (w->n_work >= SAMPLES_MIN && w->always.work_still)
		say(v, GRETA_CLASS_GPU_KERNEL, GRETA_ESTABLISHED, true,
		    "the GPU is at %.0f %% and the kernel's work counter stands still%s%s", w->gpu_busy,
		    w->enqueued[0] ? ", queued up to " : "", w->enqueued);
	else if (w->n_work >= SAMPLES_MIN)
		say(v, GRETA_CLASS_SLOW, GRETA_ESTABLISHED, false, "the GPU is at %.0f %% and the kernel's work counter moves", w->gpu_busy);
	else if (w->always.gpu_slow_clock)
		say(v, GRETA_CLASS_CLOCK_COLLAPSE, w->throttled ? GRETA_ESTABLISHED : GRETA_SUPPORTED, false,
		    "the GPU is at %.0f %% with its clock under %.0f %% of its limit%s", w->gpu_busy, SLOW_CLOCK * 100,
		    w->throttled ? ", throttled" : "");
	else if (w->always.gpu_mem_flat)
		say(v, GRETA_CLASS_GPU_KERNEL, GRETA_HYPOTHESIS, false,
		    "the GPU is at %.0f %% and its memory is quiet: an endless kernel, or a long one", w->gpu_busy);
	else
		say(v, GRETA_CLASS_SLOW, GRETA_SUPPORTED, false, "the GPU is at %.0f %% and uses its memory", w->gpu_busy);
}

static bool judge_gpu(const struct watchdog *w, struct watchdog_verdict *v)
{
	if (!w->gpu_expected || w->n_gpu < SAMPLES_MIN)
		return false;
	if (w->always.gpu_busy)
		judge_busy_gpu(w, v);
	else if (w->always.gpu_idle && is_spinning(w))
		say(v, GRETA_CLASS_HOST_SPIN, is_gpu_phase(w) ? GRETA_SUPPORTED : GRETA_HYPOTHESIS, is_gpu_phase(w),
		    "thread %d spins, never sleeping, and the GPU is idle: a lost completion is suspected", (int)w->now.busiest);
	else
		say(v, GRETA_CLASS_SLOW, GRETA_HYPOTHESIS, false, "host and GPU (%.0f %%) both do something", w->gpu_busy);
	return true;
}

/* On the cpu backend a long computation and an endless loop look alike. */
static void judge_cpu(const struct watchdog *w, int64_t now_ns, struct watchdog_verdict *v)
{
	if (is_spinning(w))
		say(v, GRETA_CLASS_HOST_SPIN, is_beyond_learned(w, now_ns) ? GRETA_SUPPORTED : GRETA_HYPOTHESIS, false,
		    "thread %d never sleeps: an endless loop, or a long computation", (int)w->now.busiest);
	else if (w->always.host_still)
		say(v, GRETA_CLASS_UNCLASSIFIED, GRETA_HYPOTHESIS, false, "no thread does anything");
	else
		say(v, GRETA_CLASS_SLOW, GRETA_HYPOTHESIS, false, "its threads run and sleep in turn");
}

static bool judge_fault(const struct watchdog *w, struct watchdog_verdict *v)
{
	if (w->fault_class == GRETA_CLASS_NONE || w->fault_class == GRETA_CLASS_COLLATERAL)
		return false;
	bool explains = w->fault_class != GRETA_CLASS_RAS;
	say(v, w->fault_class, explains ? GRETA_ESTABLISHED : GRETA_SUPPORTED, explains, "%s", w->fault);
	return true;
}

/* Not every reset strikes every GPU: what is seen here says whether this is a hang, and the neighbour's reset whose. */
static void judge_neighbour(const struct watchdog *w, struct watchdog_verdict *v)
{
	char finding[sizeof v->text];
	if (w->fault_class != GRETA_CLASS_COLLATERAL || !greta_class_is_hang(v->class_))
		return;
	greta_str_copy(finding, sizeof finding, v->text);
	say(v, GRETA_CLASS_COLLATERAL, v->certainty < GRETA_SUPPORTED ? GRETA_SUPPORTED : v->certainty, v->act, "%.120s; %.100s",
	    w->fault, finding);
}

/* Silence beyond what is known of such runs. A debugger's doing is none of the engine's. */
static void judge_bound(const struct watchdog *w, int64_t now_ns, struct watchdog_verdict *v)
{
	const struct greta_phase_limit *limit = &w->phases[w->last.phase];
	size_t n = strlen(v->text);
	if (v->act || !greta_class_is_hang(v->class_) || v->class_ == GRETA_CLASS_HOST_STOPPED || !(limit->bound_s > 0) ||
	    silence_s(w, now_ns) < limit->bound_s)
		return;
	v->act = true;
	if (v->certainty < GRETA_SUPPORTED)
		v->certainty = GRETA_SUPPORTED;
	snprintf(v->text + n, sizeof v->text - n, "; %s", limit->basis);
}

static void list_blind(const struct watchdog *w, struct watchdog_verdict *v)
{
	snprintf(v->blind, sizeof v->blind, "%s%s%s%s%s", w->n_host == 0 ? "threads; " : "",
		 w->n_host > 0 && w->now.blind_waits ? "what threads wait in; " : "",
		 w->gpu_expected && w->n_gpu == 0 ? "GPU counters; " : "",
		 w->n_gpu > 0 && w->n_errors == 0 ? "the GPU's error counters; " : "", w->kernel_blind ? "kernel log; " : "");
	size_t n = strlen(v->blind);
	v->blind[n > 2 ? n - 2 : 0] = '\0';
}

/* "no progress for 61 s in prefill at layer 7 attn q_lds: " in front of the finding. */
static void put_place(const struct watchdog *w, int64_t now_ns, struct watchdog_verdict *v)
{
	char finding[sizeof v->text];
	greta_str_copy(finding, sizeof finding, v->text);
	int n = snprintf(v->text, sizeof v->text, "no progress for %.0f s in %s%s%s: ", silence_s(w, now_ns),
			 w->last.phase ? greta_phase_name(w->last.phase) : "its first phase", w->last.at[0] ? " at " : "", w->last.at);
	greta_str_copy(v->text + n, sizeof v->text - (size_t)n, finding);
}

void watchdog_judge(struct watchdog *w, int64_t now_ns, struct watchdog_verdict *out)
{
	char projection[160];
	*out = (struct watchdog_verdict){.projection_s = NAN};
	list_blind(w, out);
	if (!judge_fault(w, out) && w->n_host >= 2 && !judge_stopped(w, out) && !judge_blocked(w, out) &&
	    !judge_asleep(w, now_ns, out) && !judge_gpu(w, out))
		judge_cpu(w, now_ns, out);
	if (out->class_ == GRETA_CLASS_NONE)
		say(out, GRETA_CLASS_UNCLASSIFIED, GRETA_HYPOTHESIS, false, "nothing of it could be seen");
	judge_neighbour(w, out);
	judge_bound(w, now_ns, out);
	out->blamed = traits[out->class_].blamed;
	out->rerun = traits[out->class_].rerun;
	put_place(w, now_ns, out);
	watchdog_projection(w, now_ns, &out->projection_s, projection, sizeof projection);
}

/* slow */

bool watchdog_projection(const struct watchdog *w, int64_t now_ns, double *end_s, char *text, size_t cap)
{
	const struct greta_progress *p = &w->last;
	double ran = seconds(w->moved_ns - w->phase_ns), done = p->done - w->phase_from, left = p->total - p->done;
	char at[32], budget[32];
	if (!w->speaks || !(p->total > 0) || !(done > 0) || !(ran > 0) || !(left >= 0))
		return false;
	/* Since the last unit was told, a part of the next has passed; at least that long it will take. */
	double waited = seconds(now_ns - w->moved_ns), rest = ran / done * left;
	*end_s = seconds(now_ns - w->begun_ns) + (rest > waited ? rest - waited : 0);
	snprintf(text, cap, "%s %g of %g in %s, on course for %s of a %s budget", p->unit[0] ? p->unit : "unit", p->done, p->total,
		 greta_phase_name(p->phase), greta_str_seconds(at, sizeof at, *end_s),
		 greta_str_seconds(budget, sizeof budget, w->wall_s));
	return true;
}

static enum watchdog_action foresee(struct watchdog *w, int64_t now_ns)
{
	double end_s = 0;
	char text[sizeof w->verdict.text];
	bool known = watchdog_projection(w, now_ns, &end_s, text, sizeof text) &&
		     w->last.done - w->phase_from >= SLOW_MIN_SHARE * w->last.total;
	w->n_slow = known && w->wall_s > 0 && end_s > w->wall_s ? w->n_slow + 1 : 0;
	if (w->n_slow < SLOW_TIMES)
		return WATCHDOG_NOTHING;
	bool stop = w->on_slow == GRETA_ON_SLOW_STOP;
	if (!stop && now_ns - w->told_ns < RETELL_NS)
		return WATCHDOG_NOTHING;
	w->verdict = (struct watchdog_verdict){.projection_s = end_s};
	say(&w->verdict, GRETA_CLASS_SLOW, GRETA_SUPPORTED, stop, "%s", text);
	w->told_ns = now_ns;
	return stop ? WATCHDOG_STOP_SLOW : WATCHDOG_TELL;
}

/* deciding */

/* Enough samples over enough time, and silence as long as the bound; less for what the kernel itself says. */
static bool is_due(const struct watchdog *w, int64_t now_ns)
{
	double bound = watchdog_silence_s(w), silent = silence_s(w, now_ns);
	double window = bound / 2 < WINDOW_S ? bound / 2 : WINDOW_S;
	if (w->fault_class != GRETA_CLASS_NONE && w->fault_class != GRETA_CLASS_COLLATERAL && silent >= (bound < FAULT_SILENCE_S ? bound : FAULT_SILENCE_S))
		return true;
	return silent >= bound && w->n_host >= SAMPLES_MIN && seconds(w->now.t_ns - w->first.t_ns) >= window * 0.9;
}

static bool is_over_limit(const struct watchdog *w, int64_t now_ns)
{
	double limit = w->phases[w->last.phase].limit_s;
	return limit > 0 && seconds(now_ns - w->phase_ns) > limit;
}

static enum watchdog_action over_limit(struct watchdog *w, int64_t now_ns)
{
	struct watchdog_verdict v;
	watchdog_judge(w, now_ns, &v);
	bool hung = is_due(w, now_ns) && greta_class_is_hang(v.class_);
	if (!hung) {
		say(&v, GRETA_CLASS_SLOW, GRETA_SUPPORTED, true, "%s took longer than its limit of %g s",
		    greta_phase_name(w->last.phase), w->phases[w->last.phase].limit_s);
		v.blamed = NULL;
	}
	if (v.certainty < GRETA_SUPPORTED)
		v.certainty = GRETA_SUPPORTED; /* silent beyond the bound that was set for this very cell and phase */
	v.act = true;
	w->verdict = v;
	return hung ? WATCHDOG_STOP_HUNG : WATCHDOG_STOP_LIMIT;
}

static enum watchdog_action judge_silence(struct watchdog *w, int64_t now_ns)
{
	struct watchdog_verdict v;
	if (!is_due(w, now_ns))
		return WATCHDOG_NOTHING;
	watchdog_judge(w, now_ns, &v);
	bool news = v.class_ != w->verdict.class_ || v.certainty != w->verdict.certainty;
	if (!news && !v.act)
		return WATCHDOG_NOTHING;
	w->verdict = v;
	w->told_ns = now_ns;
	return v.act ? WATCHDOG_STOP_HUNG : WATCHDOG_TELL;
}

/* Where its GPU is says more than the engine's last word. */
static void take_place(struct watchdog *w, const struct watchdog_sample *s)
{
	if (s->executing)
		greta_str_copy(w->last.at, sizeof w->last.at, s->executing);
	if (s->enqueued)
		greta_str_copy(w->enqueued, sizeof w->enqueued, s->enqueued);
}

enum watchdog_action watchdog_feed(struct watchdog *w, const struct watchdog_sample *s)
{
	bool moved = take_progress(w, s);
	take_place(w, s);
	take_fault(w, s);
	if (s->host)
		take_host(w, s->host);
	if (s->host || w->n_host > 0)
		take_gpu(w, &s->gpu);
	if (is_over_limit(w, s->t_ns))
		return over_limit(w, s->t_ns);
	if (moved && greta_class_is_hang(w->verdict.class_)) {
		w->verdict = (struct watchdog_verdict){.projection_s = NAN};
		say(&w->verdict, GRETA_CLASS_NONE, GRETA_CERTAINTY_NONE, false, "it moves again");
		return WATCHDOG_TELL;
	}
	return moved ? foresee(w, s->t_ns) : judge_silence(w, s->t_ns);
}
