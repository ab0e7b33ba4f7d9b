/* infer_inject: real faults on demand. Each says on stderr what it is about to do, so that nobody mistakes it. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "engine/infer.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* X(identifier, name on the command line, takes "=VALUE", what it does) */
#define INJECT_KINDS(X)                                                                                                \
	X(HOST_SPIN, "host-spin", false, "one thread runs at 100 % for ever")                                          \
	X(SLEEP, "sleep", false, "all threads sleep for ever")                                                         \
	X(DEADLOCK, "deadlock", false, "two threads, two mutexes, each waits for the other's")                         \
	X(HOST_IO, "host-io", false, "the main thread waits in the kernel, state D (the parent of a vfork)")           \
	X(SLOW, "slow", true, "from that layer on each layer takes VALUE times as long, the processor's doing")         \
	X(EXIT, "exit", true, "exits with code VALUE")                                                                 \
	X(SEGV, "segv", false, "writes to address 0")                                                                  \
	X(ABORT, "abort", false, "calls abort")                                                                        \
	X(GPU_SPIN, "gpu-spin", false, "a kernel that never ends (--backend gpu)")                                     \
	X(OOM_DEVICE, "oom-device", false, "takes GPU memory until there is none (--backend gpu)")                     \
	X(OOM_HOST, "oom-host", false, "takes memory until the kernel kills it (it asks to be the first to go)")       \
	X(TRUNCATE_PROMPT, "truncate-prompt", false, "prefills half of the prompt and says nothing more")              \
	X(WRONG_LOGITS, "wrong-logits", false, "negates the logits")

enum inject_kind {
#define X(id, name, valued, what) INJECT_##id,
	INJECT_KINDS(X)
#undef X
	INJECT_COUNT
};

static const struct {
	const char *name;
	bool valued;
} kinds[] = {
#define X(id, name, valued, what) [INJECT_##id] = {name, valued},
	INJECT_KINDS(X)
#undef X
};

const char inject_help[] = "Faults for --inject, as NAME[=VALUE][@layer=K]; K counts from 0, the default:\n"
#define X(id, name, valued, what) "  " name ": " what "\n"
	INJECT_KINDS(X)
#undef X
	;

struct inject {
	enum inject_kind kind;
	int64_t value;
	int64_t layer;
	const char *spec;
	int64_t last_ns; /* slow: when the last layer began, its delay not counted */
	bool told;
};

static void tell(struct inject *f, const char *what)
{
	if (!f->told)
		fprintf(stderr, "greta-infer: INJECTED FAULT %s: %s\n", f->spec, what);
	f->told = true;
}

/* --- parsing ------------------------------------------------------------------------------------------------------ */

static int parse_into(struct inject *f, char *text, struct greta_err *e)
{
	char *layer = strstr(text, "@layer="), *value = NULL;

	if (layer) {
		*layer = '\0';
		if (greta_str_i64(layer + 7, &f->layer) || f->layer < 0)
			return greta_err_set(e, GRETA_EINVAL, "--inject %s: after @layer= comes the number of a layer", f->spec);
	}
	if ((value = strchr(text, '=')))
		*value++ = '\0';
	for (f->kind = 0; f->kind < INJECT_COUNT; f->kind++)
		if (greta_str_eq(text, kinds[f->kind].name))
			break;
	if (f->kind == INJECT_COUNT)
		return greta_err_set(e, GRETA_EINVAL, "--inject %s: there is no fault \"%s\"; --help lists them", f->spec, text);
	if (kinds[f->kind].valued != (value != NULL))
		return greta_err_set(e, GRETA_EINVAL, "--inject %s: %s takes %s", f->spec, text,
				     value ? "no value" : "a value, as in slow=20@layer=1");
	if (value && (greta_str_i64(value, &f->value) || f->value < 1))
		return greta_err_set(e, GRETA_EINVAL, "--inject %s: \"%s\" is no number above 0", f->spec, value);
	return 0;
}

static bool is_gpu_fault(const struct inject *f)
{
	return f->kind == INJECT_GPU_SPIN || f->kind == INJECT_OOM_DEVICE;
}

/* What the gpu backend does itself, when it has a device; of a slow processor it must know, so as not to run ahead of it. */
static void tell_backend(const struct inject *f)
{
	const char *name = f->kind == INJECT_GPU_SPIN     ? "GRETA_INJECT_GPU_SPIN"
			   : f->kind == INJECT_OOM_DEVICE ? "GRETA_INJECT_OOM_DEVICE"
			   : f->kind == INJECT_SLOW       ? "GRETA_INJECT_SLOW"
							  : NULL;
	char layer[24];

	snprintf(layer, sizeof layer, "%lld", (long long)f->layer);
	if (name)
		setenv(name, layer, 1);
}

struct inject *inject_create(const char *spec, struct greta_err *e)
{
	if (!spec)
		return NULL;
	struct inject *f = greta_alloc(sizeof *f);
	char *text = greta_strdup(spec);

	f->spec = spec;
	int failed = parse_into(f, text, e);
	free(text);
	if (!failed) {
		tell_backend(f);
		return f;
	}
	free(f);
	return NULL;
}

void inject_destroy(struct inject *f)
{
	free(f);
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

static void spin_until(int64_t until_ns)
{
	while (greta_clock_mono_ns() < until_ns)
		;
}

static pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER, second = PTHREAD_MUTEX_INITIALIZER;

static void *other_side(void *arg)
{
	pthread_barrier_t *both = arg;

	pthread_mutex_lock(&second);
	pthread_barrier_wait(both);
	pthread_mutex_lock(&first);
	return NULL;
}

static void deadlock(void)
{
	pthread_t other;
	static pthread_barrier_t both;

	pthread_barrier_init(&both, NULL, 2);
	pthread_mutex_lock(&first);
	if (pthread_create(&other, NULL, other_side, &both))
		abort();
	pthread_barrier_wait(&both);
	pthread_mutex_lock(&second);
}

/* The child shares our memory and stack, so it makes system calls only. */
static void host_io(void)
{
	pid_t child = vfork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			syscall(SYS_pause);
	}
}

static void oom_host(void)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "we");
	const size_t step = (size_t)64 << 20;

	if (f) {
		fputs("1000", f);
		fclose(f);
	}
	for (;;) {
		char *at = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED) { /* a limit said no before the kernel's killer: the end is the same */
			fprintf(stderr, "greta-infer: out of memory\n");
			raise(SIGKILL);
		}
		memset(at, 1, step);
	}
}

static void slow_down(struct inject *f)
{
	int64_t now = greta_clock_mono_ns();

	if (f->last_ns)
		spin_until(now + (now - f->last_ns) * (f->value - 1));
	f->last_ns = greta_clock_mono_ns();
}

static void strike(struct inject *f)
{
	switch (f->kind) {
	case INJECT_HOST_SPIN:
		for (volatile uint64_t i = 0;; i++)
			;
	case INJECT_SLEEP:
		for (;;)
			sleep(3600);
	case INJECT_DEADLOCK:
		deadlock();
		break;
	case INJECT_HOST_IO:
		host_io();
		break;
	case INJECT_EXIT:
		_exit((int)f->value);
	case INJECT_SEGV:
		signal(SIGSEGV, SIG_DFL); /* a sanitizer's report would end it with an exit code */
		raise(SIGSEGV);
		break;
	case INJECT_ABORT:
		abort();
	case INJECT_OOM_HOST:
		oom_host();
		break;
	default:
		break;
	}
}

int inject_at_start(struct inject *f, const struct greta_engine *eng, struct greta_err *e)
{
	uint32_t n_layer = greta_engine_n_layer(eng);

	if (!f)
		return 0;
	if (is_gpu_fault(f) && !greta_str_eq(greta_engine_backend(eng), "gpu"))
		return greta_err_set(e, GRETA_EINVAL, "--inject %s: needs --backend gpu, this runs on %s", f->spec,
				     greta_engine_backend(eng));
	if (f->layer >= n_layer)
		return greta_err_set(e, GRETA_EINVAL, "--inject %s: the model has layers 0 to %u", f->spec, n_layer - 1);
	fprintf(stderr, "greta-infer: running with --inject %s: this run will be faulty on purpose\n", f->spec);
	return 0;
}

void inject_at_layer(struct inject *f, const struct greta_progress *p)
{
	if (!f || f->kind == INJECT_TRUNCATE_PROMPT || f->kind == INJECT_WRONG_LOGITS)
		return;
	if (f->kind == INJECT_SLOW && p->layer >= f->layer) {
		tell(f, "slows down from here");
		slow_down(f);
	} else if (f->kind == INJECT_SLOW) {
		f->last_ns = greta_clock_mono_ns();
	} else if (p->phase == GRETA_PHASE_PREFILL && p->layer == f->layer) {
		tell(f, "strikes now");
		strike(f);
	}
}

void inject_prompt(struct inject *f, struct prompt *p)
{
	if (!f || f->kind != INJECT_TRUNCATE_PROMPT)
		return;
	tell(f, "cuts the prompt");
	p->n = (p->n + 1) / 2;
}

void inject_logits(struct inject *f, float *logits, size_t n)
{
	if (!f || f->kind != INJECT_WRONG_LOGITS)
		return;
	tell(f, "falsifies the logits");
	for (size_t i = 0; i < n; i++)
		logits[i] = -logits[i];
}
