#include "tests/unit/unit.h"

#include "agent/watchdog.h"
#include "base/clock.h"
#include "base/mem.h"
#include <math.h>
#include <string.h>

/* A run told second by second: what its threads and GPU do until something is decided. */
struct play {
	struct watchdog dog;
	int64_t t_ns;
	struct sample_host host;
	struct watchdog_gpu gpu;
	struct watchdog_kernel kernel;
	int64_t cpu_per_s, switches_per_s, io_per_s, output_per_s; /* ticks and so on */
	int64_t output;
	int n_told, n_hung, n_slow, n_limit;
	double decided_s; /* since the last progress, of the first stop */
	int64_t progress_ns;
};

static void begin(struct play *p, double silence_s, double wall_s, bool gpu)
{
	struct greta_spec spec = {.wall_s = wall_s, .slot = gpu ? GRETA_SLOT_GPU : GRETA_SLOT_CPU};
	for (int i = 0; i < GRETA_PHASE_COUNT; i++)
		spec.phases[i].silence_s = silence_s;
	*p = (struct play){.t_ns = 1000 * GRETA_NS_PER_S};
	p->progress_ns = p->t_ns;
	p->host = (struct sample_host){.n_processes = 1, .n_threads = 2, .running = 2, .io_bytes = 0, .busiest = 7};
	p->gpu = (struct watchdog_gpu){.expected = gpu, .seen = gpu, .mem_busy_max = 0, .clock_ratio = 1, .work_delta = NAN,
				       .new_errors = NAN};
	p->cpu_per_s = 200, p->switches_per_s = 50;
	watchdog_init(&p->dog, &spec, p->t_ns);
}

static void count(struct play *p, enum watchdog_action a)
{
	p->n_told += a == WATCHDOG_TELL;
	p->n_hung += a == WATCHDOG_STOP_HUNG;
	p->n_slow += a == WATCHDOG_STOP_SLOW;
	p->n_limit += a == WATCHDOG_STOP_LIMIT;
	if (a > WATCHDOG_TELL && p->decided_s == 0)
		p->decided_s = (double)(p->t_ns - p->progress_ns) / 1e9;
}

static void tick(struct play *p, double seconds)
{
	p->t_ns += (int64_t)(seconds * 1e9);
	p->host.t_ns = p->t_ns;
	p->host.cpu_ticks += (int64_t)((double)p->cpu_per_s * seconds);
	p->host.busiest_ticks += (int64_t)((double)(p->cpu_per_s < 100 ? p->cpu_per_s : 100) * seconds);
	p->host.busiest_pauses += p->switches_per_s > 10;
	p->host.switches += (int64_t)((double)p->switches_per_s * seconds);
	p->host.io_bytes += (int64_t)((double)p->io_per_s * seconds);
	p->output += p->output_per_s;
	struct watchdog_sample s = {.t_ns = p->t_ns, .output_bytes = p->output, .gpu = p->gpu, .kernel = p->kernel};
	s.host = watchdog_wants_host(&p->dog, p->t_ns) ? &p->host : NULL;
	count(p, watchdog_feed(&p->dog, &s));
}

static void ticks(struct play *p, int n)
{
	for (int i = 0; i < n && p->decided_s == 0; i++)
		tick(p, 1);
}

static void progress(struct play *p, enum greta_phase phase, double done, double total)
{
	struct greta_progress g = {.phase = phase, .done = done, .total = total, .unit = "layer", .at = "layer 7 attn q_lds"};
	struct watchdog_sample s = {.t_ns = p->t_ns, .progress = &g, .output_bytes = p->output, .gpu = p->gpu,
				    .kernel = p->kernel};
	p->progress_ns = p->t_ns;
	count(p, watchdog_feed(&p->dog, &s));
}

static void layers(struct play *p, int n, double each_s)
{
	progress(p, GRETA_PHASE_PREFILL, 0, 32);
	for (int i = 1; i <= n; i++) {
		for (double t = each_s; t > 0; t -= 1)
			tick(p, t < 1 ? t : 1);
		progress(p, GRETA_PHASE_PREFILL, i, 32);
	}
}

/* A GPU run that has done seven layers, a second each. */
static void begin_on_gpu(struct play *p)
{
	begin(p, 60, 3600, true);
	layers(p, 7, 1);
}

static void sleep_all(struct play *p, bool for_ever)
{
	p->host.running = 0;
	p->host.busiest_runs = false;
	p->host.asleep = p->host.n_threads;
	p->host.parked = for_ever ? p->host.n_threads : 0;
	p->cpu_per_s = p->switches_per_s = p->io_per_s = 0;
}

static void spin_one(struct play *p)
{
	p->host.running = 1;
	p->host.asleep = p->host.n_threads - 1;
	p->host.busiest_runs = true;
	p->cpu_per_s = 30; /* others have the CPU too */
	p->switches_per_s = 3;
}

static void expect(const struct play *p, enum greta_class class_, enum greta_certainty certainty)
{
	assert_string_equal(greta_class_name(p->dog.verdict.class_), greta_class_name(class_));
	assert_string_equal(greta_certainty_name(p->dog.verdict.certainty), greta_certainty_name(certainty));
}

static void expect_hung(struct play *p, int within_s, enum greta_class class_, enum greta_certainty certainty)
{
	ticks(p, within_s + 1);
	expect(p, class_, certainty);
	assert_int_equal(p->n_hung, 1);
	assert_true(p->decided_s <= within_s);
	assert_non_null(strstr(p->dog.verdict.text, "layer 7 attn q_lds"));
}

/* Not acted on, whatever time passes. */
static void expect_left_alone(struct play *p, int for_s, enum greta_class class_, enum greta_certainty certainty)
{
	ticks(p, for_s);
	expect(p, class_, certainty);
	assert_int_equal(p->n_hung + p->n_slow + p->n_limit, 0);
	assert_int_equal(p->n_told, 1); /* and said once, not every second */
}

/* CPU backend */

static void test_watchdog__deadlock(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 3600, false);
	layers(&p, 6, 1);
	sleep_all(&p, true);
	expect_hung(&p, 61, GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
	assert_true(p.decided_s >= 60);
	assert_string_equal(p.dog.verdict.blamed, "runtime");
}

static void test_watchdog__asleep_with_a_time_limit_is_left_alone(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 3600, false);
	progress(&p, GRETA_PHASE_PREFILL, 0, 32);
	sleep_all(&p, false);
	expect_left_alone(&p, 1000, GRETA_CLASS_UNCLASSIFIED, GRETA_HYPOTHESIS);
}

static void test_watchdog__stopped(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 3600, false);
	layers(&p, 6, 1);
	sleep_all(&p, false);
	p.host.asleep = 0, p.host.stopped = 2;
	expect_hung(&p, 61, GRETA_CLASS_HOST_STOPPED, GRETA_ESTABLISHED);
	begin(&p, 60, 3600, false);
	layers(&p, 6, 1);
	sleep_all(&p, false);
	p.host.asleep = 0, p.host.stopped = 2, p.host.traced = true; /* somebody debugs it */
	expect_left_alone(&p, 600, GRETA_CLASS_HOST_STOPPED, GRETA_ESTABLISHED);
}

static void test_watchdog__blocked_in_the_kernel(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 3600, false);
	layers(&p, 6, 1);
	sleep_all(&p, false);
	p.host.asleep = 1, p.host.blocked = 1;
	expect_hung(&p, 61, GRETA_CLASS_HOST_IO, GRETA_SUPPORTED);
	begin(&p, 60, 3600, false); /* a slow disk: D state too, but bytes move */
	layers(&p, 6, 1);
	sleep_all(&p, false);
	p.host.asleep = 1, p.host.blocked = 1, p.io_per_s = 4096;
	expect_left_alone(&p, 600, GRETA_CLASS_SLOW, GRETA_HYPOTHESIS);
}

static void test_watchdog__a_busy_cpu_is_no_proof(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 3600, false);
	progress(&p, GRETA_PHASE_PREFILL, 0, 32);
	spin_one(&p);
	expect_left_alone(&p, 3000, GRETA_CLASS_HOST_SPIN, GRETA_HYPOTHESIS);
	begin(&p, 60, 3600, false);
	progress(&p, GRETA_PHASE_PREFILL, 0, 32);
	expect_left_alone(&p, 3000, GRETA_CLASS_SLOW, GRETA_HYPOTHESIS);
}

/* 12 layers of one second each, then one that never ends: more than a suspicion when the budget is over. */
static void test_watchdog__learns_from_the_layers_before(void **state)
{
	struct play p;
	struct watchdog_verdict v;
	(void)state;
	begin(&p, 5, 3600, false);
	layers(&p, 12, 1);
	spin_one(&p);
	ticks(&p, 30);
	watchdog_judge(&p.dog, p.t_ns, &v);
	assert_int_equal(v.class_, GRETA_CLASS_HOST_SPIN);
	assert_int_equal(v.certainty, GRETA_SUPPORTED);
	assert_int_equal(p.n_hung, 0);
	/* layers of 20 s each teach that 20 s mean nothing, though the bound was set to 5 */
	begin(&p, 5, 3600, false);
	layers(&p, 3, 20);
	sleep_all(&p, true);
	ticks(&p, 90);
	assert_int_equal(p.n_hung, 0);
	expect_hung(&p, 101, GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
}

static void test_watchdog__healthy_runs_are_never_stopped(void **state)
{
	static const double layer_s[] = {0.01, 1, 10, 30, 59};
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(layer_s); i++) {
		for (int how = 0; how < 3; how++) { /* computing, spinning, asleep between layers */
			struct play p;
			begin(&p, 60, 36000, false);
			if (how == 1)
				spin_one(&p);
			else if (how == 2)
				sleep_all(&p, false);
			layers(&p, 32, layer_s[i]);
			assert_int_equal(p.n_hung + p.n_slow + p.n_limit, 0);
		}
	}
}

static void test_watchdog__output_counts_for_engines_that_tell_no_progress(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 36000, false);
	sleep_all(&p, true);
	p.output_per_s = 10;
	ticks(&p, 1000);
	assert_int_equal(p.n_hung + p.n_told, 0);
	p.output_per_s = 0;
	ticks(&p, 70);
	assert_int_equal(p.n_hung, 1);
	begin(&p, 60, 36000, false); /* one that speaks, and then only chatters */
	progress(&p, GRETA_PHASE_PREFILL, 0, 32);
	sleep_all(&p, true);
	p.output_per_s = 10;
	expect_hung(&p, 61, GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
}

/* GPU backend */

static void test_watchdog__spin_beside_an_idle_gpu(void **state)
{
	struct play p;
	(void)state;
	begin_on_gpu(&p);
	spin_one(&p);
	p.gpu.busy_max = 0;
	expect_hung(&p, 61, GRETA_CLASS_HOST_SPIN, GRETA_SUPPORTED);
	assert_non_null(strstr(p.dog.verdict.text, "lost completion"));
	begin(&p, 60, 3600, true); /* while loading that is what work looks like */
	progress(&p, GRETA_PHASE_LOAD, 0, 32);
	spin_one(&p);
	expect_left_alone(&p, 1000, GRETA_CLASS_HOST_SPIN, GRETA_HYPOTHESIS);
}

static void test_watchdog__a_busy_gpu_is_a_hypothesis(void **state)
{
	struct play p;
	(void)state;
	begin_on_gpu(&p);
	spin_one(&p);
	p.gpu.busy_min = p.gpu.busy_max = 100, p.gpu.mem_busy_max = 0;
	expect_left_alone(&p, 3000, GRETA_CLASS_GPU_KERNEL, GRETA_HYPOTHESIS); /* as v3 at 32768 looks for minutes */
	begin_on_gpu(&p);
	sleep_all(&p, false);
	p.gpu.busy_min = p.gpu.busy_max = 100, p.gpu.mem_busy_max = 40;
	expect_left_alone(&p, 3000, GRETA_CLASS_SLOW, GRETA_SUPPORTED);
}

static void test_watchdog__a_work_counter_decides(void **state)
{
	struct play p;
	(void)state;
	begin_on_gpu(&p);
	spin_one(&p);
	p.gpu.busy_min = p.gpu.busy_max = 100, p.gpu.work_delta = 0;
	expect_hung(&p, 61, GRETA_CLASS_GPU_KERNEL, GRETA_ESTABLISHED);
	assert_string_equal(p.dog.verdict.blamed, "kernel");
	begin_on_gpu(&p);
	spin_one(&p);
	p.gpu.busy_min = p.gpu.busy_max = 100, p.gpu.work_delta = 17;
	expect_left_alone(&p, 3000, GRETA_CLASS_SLOW, GRETA_ESTABLISHED);
}

static void test_watchdog__clock_collapse(void **state)
{
	struct play p;
	(void)state;
	begin_on_gpu(&p);
	p.gpu.busy_min = p.gpu.busy_max = 100, p.gpu.clock_ratio = 0.06, p.gpu.throttled_more = true;
	expect_left_alone(&p, 600, GRETA_CLASS_CLOCK_COLLAPSE, GRETA_ESTABLISHED);
}

static void test_watchdog__asleep_beside_the_gpu(void **state)
{
	struct play p;
	(void)state;
	begin_on_gpu(&p);
	sleep_all(&p, false);
	p.host.in_device = 1;
	expect_hung(&p, 61, GRETA_CLASS_HOST_DEADLOCK, GRETA_SUPPORTED);
	begin(&p, 60, 3600, true); /* blind to the GPU, parked threads may well wait for it */
	layers(&p, 7, 1);
	sleep_all(&p, true);
	p.gpu.seen = false;
	ticks(&p, 600);
	expect(&p, GRETA_CLASS_HOST_DEADLOCK, GRETA_SUPPORTED);
	assert_int_equal(p.n_hung, 0);
	assert_non_null(strstr(p.dog.verdict.blind, "GPU counters"));
}

static void test_watchdog__what_the_kernel_says(void **state)
{
	static const enum greta_class explains[] = {GRETA_CLASS_MEMORY_FAULT, GRETA_CLASS_QUEUE_HANG, GRETA_CLASS_DEVICE_LOST};
	struct play p;
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(explains); i++) {
		begin_on_gpu(&p);
		p.kernel = (struct watchdog_kernel){.class_ = explains[i], .line = "amdgpu: alas"};
		p.gpu.busy_max = 100;
		expect_hung(&p, 10, explains[i], GRETA_ESTABLISHED);
		assert_non_null(strstr(p.dog.verdict.text, "the kernel says: amdgpu: alas"));
	}
	begin(&p, 60, 3600, true); /* an error or a sibling's reset is no reason to stop what moves */
	p.kernel = (struct watchdog_kernel){.class_ = GRETA_CLASS_COLLATERAL, .line = "amdgpu 0000:05:00.0: amdgpu: GPU reset begin!"};
	layers(&p, 32, 10);
	assert_int_equal(p.n_hung, 0);
}

/* Of a neighbour: what is seen here says that it hangs, and the neighbour's reset whose doing that is. */
static void test_watchdog__a_neighbour_s_reset(void **state)
{
	static const struct watchdog_kernel reset = {.class_ = GRETA_CLASS_COLLATERAL,
						     .line = "amdgpu 0000:05:00.0: amdgpu: GPU reset begin!"};
	struct play p;
	(void)state;
	begin_on_gpu(&p);
	p.kernel = reset;
	sleep_all(&p, true);
	expect_hung(&p, 61, GRETA_CLASS_COLLATERAL, GRETA_ESTABLISHED);
	assert_true(p.decided_s >= 60); /* no sooner than without: not every reset strikes every GPU */
	assert_non_null(strstr(p.dog.verdict.text, "0000:05:00.0"));
	assert_non_null(strstr(p.dog.verdict.text, "wait for each other"));
	begin(&p, 60, 3600, true); /* a busy GPU is no more than a suspicion, after a reset as well */
	p.gpu.busy_min = p.gpu.busy_max = 100;
	layers(&p, 7, 1);
	p.kernel = reset;
	expect_left_alone(&p, 600, GRETA_CLASS_COLLATERAL, GRETA_SUPPORTED);
	begin(&p, 60, 3600, true); /* one that it came through explains nothing of later */
	p.kernel = reset;
	layers(&p, 7, 1);
	p.kernel = (struct watchdog_kernel){0};
	sleep_all(&p, true);
	expect_hung(&p, 61, GRETA_CLASS_HOST_DEADLOCK, GRETA_ESTABLISHED);
}

static void teach(struct play *p, double bound_s)
{
	p->dog.phases[GRETA_PHASE_PREFILL].bound_s = bound_s;
	greta_str_copy(p->dog.phases[GRETA_PHASE_PREFILL].basis, sizeof p->dog.phases[0].basis, "history: 8 runs");
}

static void test_watchdog__silence_beyond_what_runs_have_taught(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 3600, true);
	teach(&p, 300);
	p.gpu.busy_min = p.gpu.busy_max = 100;
	layers(&p, 7, 1);
	expect_left_alone(&p, 290, GRETA_CLASS_GPU_KERNEL, GRETA_HYPOTHESIS);
	expect_hung(&p, 301, GRETA_CLASS_GPU_KERNEL, GRETA_SUPPORTED);
	assert_true(p.decided_s >= 300);
	assert_non_null(strstr(p.dog.verdict.text, "history: 8 runs"));
	begin(&p, 60, 3600, false); /* the cpu backend */
	teach(&p, 300);
	layers(&p, 7, 1);
	spin_one(&p);
	ticks(&p, 290);
	assert_int_equal(p.n_hung, 0);
	ticks(&p, 20);
	expect(&p, GRETA_CLASS_HOST_SPIN, GRETA_SUPPORTED);
	assert_int_equal(p.n_hung, 1);
}

/* Not what moves, in whatever way, nor what somebody looks at with a debugger. */
static void test_watchdog__a_bound_is_none_for_what_moves(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 360000, true);
	teach(&p, 300);
	p.gpu.busy_min = p.gpu.busy_max = 100;
	layers(&p, 32, 200); /* 20 times slower than the runs that taught it, layer by layer */
	assert_int_equal(p.n_hung + p.n_slow + p.n_limit, 0);
	begin(&p, 60, 360000, true);
	teach(&p, 300);
	p.gpu.busy_min = p.gpu.busy_max = 100;
	p.gpu.work_delta = 5;
	layers(&p, 2, 1);
	ticks(&p, 6000);
	assert_int_equal(p.n_hung, 0);
	begin(&p, 60, 360000, false);
	teach(&p, 300);
	layers(&p, 2, 1);
	ticks(&p, 6000); /* threads run and sleep in turn */
	assert_int_equal(p.n_hung, 0);
	begin(&p, 60, 360000, false);
	teach(&p, 300);
	layers(&p, 2, 1);
	sleep_all(&p, false);
	p.host.asleep = 0;
	p.host.stopped = p.host.n_threads;
	p.host.traced = true;
	ticks(&p, 6000);
	expect(&p, GRETA_CLASS_HOST_STOPPED, GRETA_ESTABLISHED);
	assert_int_equal(p.n_hung, 0);
}

static void test_watchdog__errors_that_the_gpu_counts(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 3600, true);
	p.gpu.busy_min = p.gpu.busy_max = 100;
	p.gpu.new_errors = 1;
	layers(&p, 7, 1);
	ticks(&p, 10);
	expect(&p, GRETA_CLASS_RAS, GRETA_SUPPORTED);
	assert_non_null(strstr(p.dog.verdict.text, "1 uncorrectable errors"));
	assert_string_equal(p.dog.verdict.blamed, "device");
	begin(&p, 60, 3600, true); /* none told: it says that it is blind there, and what else is seen decides */
	p.gpu.busy_min = p.gpu.busy_max = 100;
	layers(&p, 7, 1);
	ticks(&p, 90);
	expect(&p, GRETA_CLASS_GPU_KERNEL, GRETA_HYPOTHESIS);
	assert_non_null(strstr(p.dog.verdict.blind, "error counters"));
}

/* Lines that came in one read, each at its own time. */
static void test_watchdog__learns_from_all_lines(void **state)
{
	struct play p;
	struct greta_progress g = {.phase = GRETA_PHASE_PREFILL, .total = 32, .at = "layer 7 attn q_lds"};
	double end_s = 0;
	char text[200];
	(void)state;
	begin(&p, 60, 1800, false);
	p.t_ns += 8 * GRETA_NS_PER_S;
	for (g.done = 1; g.done < 5; g.done++)
		watchdog_learn(&p.dog, &g, p.t_ns - (5 - (int64_t)g.done) * 2 * GRETA_NS_PER_S);
	progress(&p, GRETA_PHASE_PREFILL, 5, 32);
	assert_int_equal(p.dog.n_gaps[GRETA_PHASE_PREFILL], 4);
	assert_int_equal(p.dog.longest_gap_ns[GRETA_PHASE_PREFILL], 2 * GRETA_NS_PER_S);
	assert_true(watchdog_projection(&p.dog, p.t_ns, &end_s, text, sizeof text));
	assert_true(fabs(end_s - 8 - 27 * 2) < 0.1);
	g.done = 6;
	watchdog_learn(&p.dog, &g, p.t_ns - 100 * GRETA_NS_PER_S); /* a clock that lies never runs backwards here */
	assert_int_equal(p.dog.moved_ns, p.t_ns);
}

/* slow, limits */

static void test_watchdog__slow_has_a_projection(void **state)
{
	struct play p;
	double end_s = 0;
	char text[200];
	(void)state;
	begin(&p, 60, 1800, false);
	layers(&p, 11, 30); /* 32 layers of 30 s: 960 s, inside the budget */
	assert_true(watchdog_projection(&p.dog, p.t_ns, &end_s, text, sizeof text));
	assert_true(fabs(end_s - 960) < 1);
	assert_non_null(strstr(text, "layer 11 of 32"));
	assert_int_equal(p.n_told, 0);
	begin(&p, 60, 100, false); /* will miss it: said, not killed */
	layers(&p, 11, 30);
	expect(&p, GRETA_CLASS_SLOW, GRETA_SUPPORTED);
	assert_true(p.n_told >= 1 && p.n_told <= 11);
	assert_int_equal(p.n_slow, 0);
	begin(&p, 60, 100, false);
	p.dog.on_slow = GRETA_ON_SLOW_STOP;
	layers(&p, 11, 30);
	assert_true(p.n_slow > 0);
	begin(&p, 60, 1, false); /* one layer of 32 is too little to foresee anything from */
	for (int i = 0; i < 6; i++, tick(&p, 1))
		progress(&p, GRETA_PHASE_PREFILL, 0.2 * i, 32);
	assert_int_equal(p.n_told, 0);
}

static void test_watchdog__a_phase_has_a_limit(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 36000, false);
	p.dog.phases[GRETA_PHASE_PREFILL].limit_s = 100;
	layers(&p, 32, 10);
	assert_true(p.n_limit > 0); /* moving, but too long */
	assert_int_equal(p.n_hung, 0);
	begin(&p, 60, 36000, true); /* a kernel that is silent beyond what this very cell has ever needed */
	p.dog.phases[GRETA_PHASE_PREFILL].limit_s = 200;
	layers(&p, 7, 1);
	spin_one(&p);
	p.gpu.busy_min = p.gpu.busy_max = 100, p.gpu.mem_busy_max = 0;
	ticks(&p, 300);
	expect(&p, GRETA_CLASS_GPU_KERNEL, GRETA_SUPPORTED);
	assert_int_equal(p.n_hung, 1);
}

static void test_watchdog__a_time_that_does_not_count(void **state)
{
	struct play p;
	double end_s;
	char text[160];
	(void)state;
	begin(&p, 60, 600, false);
	p.dog.phases[GRETA_PHASE_PREFILL].limit_s = p.dog.phases[GRETA_PHASE_PREFILL].bound_s = 100;
	layers(&p, 7, 1);
	p.t_ns += 3600 * GRETA_NS_PER_S;
	watchdog_skip(&p.dog, 3600 * GRETA_NS_PER_S);
	assert_false(watchdog_wants_host(&p.dog, p.t_ns));
	ticks(&p, 2);
	progress(&p, GRETA_PHASE_PREFILL, 8, 32);
	assert_int_equal(p.n_told + p.n_hung + p.n_limit, 0);
	assert_true(watchdog_silence_s(&p.dog) == 60); /* it has taught nothing */
	assert_true(watchdog_projection(&p.dog, p.t_ns, &end_s, text, sizeof text));
	assert_true(end_s > 9 && end_s < 60);
}

static void test_watchdog__says_when_it_moves_again(void **state)
{
	struct play p;
	(void)state;
	begin(&p, 60, 36000, false);
	progress(&p, GRETA_PHASE_PREFILL, 1, 32);
	spin_one(&p);
	ticks(&p, 100);
	assert_int_equal(p.n_told, 1);
	progress(&p, GRETA_PHASE_PREFILL, 2, 32);
	assert_int_equal(p.n_told, 2);
	expect(&p, GRETA_CLASS_NONE, GRETA_CERTAINTY_NONE);
}

static void test_watchdog__blind_is_not_healthy(void **state)
{
	struct play p;
	struct watchdog_verdict v;
	(void)state;
	begin(&p, 60, 3600, true);
	p.gpu.seen = false;
	p.kernel.blind = true;
	p.host.n_threads = 0; /* /proc can't be read */
	progress(&p, GRETA_PHASE_PREFILL, 1, 32);
	ticks(&p, 200);
	watchdog_judge(&p.dog, p.t_ns, &v);
	assert_int_equal(v.class_, GRETA_CLASS_UNCLASSIFIED);
	assert_string_equal(v.blind, "threads; GPU counters; kernel log");
	assert_int_equal(p.n_hung, 0);
}

/* Random lives: never stopped while it moves within its bound, always one answer, no verdict UNKNOWN. */
static void test_watchdog__random_lives(void **state)
{
	unsigned seed = 1;
	(void)state;
	for (int life = 0; life < 2000; life++) {
		struct play p;
		begin(&p, 10, 1e6, life & 1);
		for (int i = 0; i < 60; i++) {
			seed = seed * 1664525 + 1013904223;
			if (seed >> 28 < 4)
				spin_one(&p);
			else if (seed >> 28 < 6)
				sleep_all(&p, seed & 65536);
			p.gpu.busy_min = p.gpu.busy_max = (seed >> 20 & 3) * 33;
			for (unsigned k = 0; k < (seed >> 16 & 7); k++) /* up to 7 s, under the bound */
				tick(&p, 1);
			progress(&p, GRETA_PHASE_PREFILL, i, 60);
		}
		assert_int_equal(p.n_hung + p.n_limit + p.n_slow, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watchdog__deadlock),
		cmocka_unit_test(test_watchdog__asleep_with_a_time_limit_is_left_alone),
		cmocka_unit_test(test_watchdog__stopped),
		cmocka_unit_test(test_watchdog__blocked_in_the_kernel),
		cmocka_unit_test(test_watchdog__a_busy_cpu_is_no_proof),
		cmocka_unit_test(test_watchdog__learns_from_the_layers_before),
		cmocka_unit_test(test_watchdog__healthy_runs_are_never_stopped),
		cmocka_unit_test(test_watchdog__output_counts_for_engines_that_tell_no_progress),
		cmocka_unit_test(test_watchdog__spin_beside_an_idle_gpu),
		cmocka_unit_test(test_watchdog__a_busy_gpu_is_a_hypothesis),
		cmocka_unit_test(test_watchdog__a_work_counter_decides),
		cmocka_unit_test(test_watchdog__clock_collapse),
		cmocka_unit_test(test_watchdog__asleep_beside_the_gpu),
		cmocka_unit_test(test_watchdog__what_the_kernel_says),
		cmocka_unit_test(test_watchdog__a_neighbour_s_reset),
		cmocka_unit_test(test_watchdog__silence_beyond_what_runs_have_taught),
		cmocka_unit_test(test_watchdog__a_bound_is_none_for_what_moves),
		cmocka_unit_test(test_watchdog__errors_that_the_gpu_counts),
		cmocka_unit_test(test_watchdog__learns_from_all_lines),
		cmocka_unit_test(test_watchdog__slow_has_a_projection),
		cmocka_unit_test(test_watchdog__a_phase_has_a_limit),
		cmocka_unit_test(test_watchdog__a_time_that_does_not_count),
		cmocka_unit_test(test_watchdog__says_when_it_moves_again),
		cmocka_unit_test(test_watchdog__blind_is_not_healthy),
		cmocka_unit_test(test_watchdog__random_lives),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
