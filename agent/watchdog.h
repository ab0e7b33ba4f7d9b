/* watchdog: tells slow from hung, from what it is fed. Pure: no clock, no files; time comes with every sample.
 *
 * A verdict is not a kill. It is acted on before the budget ends only on positive evidence: a fault line, a lost device,
 * all threads parked for ever with the GPU idle, a host spin beside an idle GPU, a phase beyond its limit, or silence
 * beyond the bound that runs of this cell and phase have taught (bound_s; orchestrator/control/limits.h). What also fits a long
 * computation (a busy GPU, a busy CPU on the cpu backend) stays a hypothesis without one, is shown, and runs on.
 *
 *   QUIET     progress comes                                     nothing to say but a projection
 *   SILENT    none for half of the phase's silence bound         host and GPU are sampled at every tick
 *   JUDGED    none for all of it, and enough samples             a verdict, again whenever it changes
 *   back to QUIET with the next progress
 *
 * The silence bound of a phase is what the spec says, and never less than LEARNED_FACTOR times the longest silence that
 * this attempt itself has shown in that phase before: a healthy engine with slow layers teaches it.
 */
#ifndef AGENT_WATCHDOG_H
#define AGENT_WATCHDOG_H

#include "agent/sample.h"
#include "schemas/msg.h"

#define WATCHDOG_SILENCE_S 60.0 /* where the spec does not say */
#define WATCHDOG_LEARNED_FACTOR 5

/* What the GPUs of the attempt did since the sample before, of the one that did least or most as it says. */
struct watchdog_gpu {
	bool expected;         /* the attempt holds GPUs */
	bool seen;             /* their counters could be read */
	double busy_min, busy_max;   /* percent */
	double mem_busy_max;   /* percent; NAN: not told */
	double clock_ratio;    /* of the clock's limit, the slowest GPU's; NAN: not told */
	bool throttled_more;   /* throttling counters rose */
	double work_delta;     /* tiles counted by the engine's own kernels since the last sample; NAN: it does not count */
	double new_errors;     /* uncorrectable ones since the attempt began, by the GPUs' own counters; NAN: not told */
};

/* What the kernel log has said since the attempt began. The line is borrowed until the call returns. */
struct watchdog_kernel {
	enum greta_class class_; /* NONE: nothing that explains a hang */
	const char *line;
	bool blind;
};

struct watchdog_sample {
	int64_t t_ns;
	const struct greta_progress *progress; /* the newest, if one came since the last call; else NULL */
	int64_t output_bytes;                  /* in all */
	const struct sample_host *host;        /* NULL: not sampled */
	struct watchdog_gpu gpu;
	struct watchdog_kernel kernel;
	const char *executing, *enqueued;      /* by the engine's GPU, in its own words; NULL: not known */
};

enum watchdog_action {
	WATCHDOG_NOTHING,
	WATCHDOG_TELL,         /* the verdict is new or has changed: an event */
	WATCHDOG_STOP_HUNG,    /* positive evidence: stop it, after collecting more */
	WATCHDOG_STOP_SLOW,    /* on_slow: stop, and it will miss its budget */
	WATCHDOG_STOP_LIMIT,   /* over the phase's limit while still moving */
};

struct watchdog_verdict {
	enum greta_class class_;
	enum greta_certainty certainty;
	const char *blamed;    /* kernel, runtime, device, node; NULL: none */
	bool rerun;            /* a rerun may well go through */
	bool act;              /* positive evidence: need not wait for the budget */
	double projection_s;   /* wall time at which it would end; NAN: can't be said */
	char text[400];
	char blind[160];       /* what could not be seen; "" if all */
};

/* What has held for every sample of the present silence; each starts true and can only fall. */
struct watchdog_always {
	bool parked, asleep, stopped, blocked, spinning;      /* of the host's threads */
	bool host_still;       /* no CPU time, no context switch, no byte */
	bool gpu_idle, gpu_busy, gpu_mem_flat, gpu_slow_clock; /* of the GPUs, where they were seen */
	bool work_still;       /* the engine's own counter */
};

struct watchdog {
	/* what was set */
	struct greta_phase_limit phases[GRETA_PHASE_COUNT];
	double wall_s;
	enum greta_on_slow on_slow;
	int64_t begun_ns;
	/* what was learned */
	struct greta_progress last;
	bool speaks;               /* progress lines came: output alone is no progress any more */
	int64_t phase_ns;          /* when the phase began ... */
	double phase_from;         /* ... and `done` at that time */
	int64_t moved_ns;          /* the last progress */
	int64_t longest_gap_ns[GRETA_PHASE_COUNT];
	int n_gaps[GRETA_PHASE_COUNT];
	int64_t output_bytes;
	/* the present silence */
	struct watchdog_always always;
	struct sample_host first, now;
	int n_host, n_gpu, n_work, n_errors; /* samples with each of them seen */
	bool gpu_expected, kernel_blind, throttled;
	double gpu_busy;           /* percent, of the last sample */
	char enqueued[96];         /* what its host queued last, where that is known */
	char fault[200];           /* what kernel or GPU themselves say of it */
	enum greta_class fault_class;
	/* what was said */
	struct watchdog_verdict verdict;
	int64_t told_ns;
	int n_slow;                /* times in a row that a missed budget was foreseen */
};

void watchdog_init(struct watchdog *w, const struct greta_spec *spec, int64_t now_ns);

/* True when the next sample should carry the host (it costs some reads per thread). */
bool watchdog_wants_host(const struct watchdog *w, int64_t now_ns);

/* How long a silence the present phase may show before it is judged. */
double watchdog_silence_s(const struct watchdog *w);

enum watchdog_action watchdog_feed(struct watchdog *w, const struct watchdog_sample *s);

/* Progress that is no longer the newest, and when it was made: of several lines that were read together, all but the last.
 * Nothing is judged by it, but what it teaches of the engine's pace is learned. */
void watchdog_learn(struct watchdog *w, const struct greta_progress *progress, int64_t t_ns);

/* Nothing could move for so long, by no fault of the engine's: neither silence, phase nor budget counts that time. */
void watchdog_skip(struct watchdog *w, int64_t ns);

/* What it thinks at this moment, also before a verdict was due: for a budget that ends. */
void watchdog_judge(struct watchdog *w, int64_t now_ns, struct watchdog_verdict *out);

/* "layer 11 of 32 of prefill, on course for 981 s of a 1800 s budget"; false: no progress to speak of. */
bool watchdog_projection(const struct watchdog *w, int64_t now_ns, double *end_s, char *text, size_t cap);

#endif
