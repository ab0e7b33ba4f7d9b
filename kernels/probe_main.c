/* greta-gpu-probe: whether a GPU still computes. Agents ask it after a hang, before the GPU's slot is used again.
 *
 * It allocates, fills the memory, launches blocks enough for every compute unit, copies back and compares each sum. A
 * broken GPU may leave any of these calls waiting for ever: a signal at the deadline says which one, and ends the process
 * without asking the driver. A call that not even that ends (D state) is its caller's to notice. */
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/version.h"
#include "kernels/gpu.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_HEALTHY = 0, EXIT_SICK = 1, EXIT_USAGE = 2, EXIT_UNSUPPORTED = 3 };
enum { BLOCKS_PER_UNIT = 4, COLUMNS = 1024 };
#define DEADLINE_S 20

struct values {
	const char *driver;
	int64_t device, deadline_s;
	bool version;
};

static const struct greta_opt options[] = {
	{"device", 0, GRETA_OPT_I64, offsetof(struct values, device), "N", "which of the visible GPUs; 0 by default"},
	{"driver", 0, GRETA_OPT_STR, offsetof(struct values, driver), "cuda|hip", "whichever is there by default, CUDA first"},
	{"deadline", 0, GRETA_OPT_I64, offsetof(struct values, deadline_s), "SECONDS", "a GPU that takes longer is not well; 20 by default"},
	{"version", 0, GRETA_OPT_FLAG, offsetof(struct values, version), NULL, "print version and what is built in"},
	{0},
};

static const struct greta_opts opts = {
	.program = "greta-gpu-probe",
	.operands = "",
	.summary = "Allocates on a GPU, runs a kernel, copies back and compares.",
	.details = "ROCR_VISIBLE_DEVICES or CUDA_VISIBLE_DEVICES names the GPU by its UUID.\n\n"
		   "Exit codes: 0 healthy; 1 not, and the line says why; 2 wrong usage; 3 no driver, or no kernels for this GPU in\n"
		   "this build: nothing is known.",
	.opts = options,
};

/* the deadline */

static const char *volatile step = "nothing yet"; /* what is being waited for */

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		_exit(EXIT_SICK);
}

static void on_deadline(int signal)
{
	(void)signal;
	say("greta-gpu-probe: no answer before the deadline: stuck in ");
	say(step);
	say("\n");
	_exit(EXIT_SICK);
}

static void set_deadline(int64_t seconds)
{
	const struct sigaction a = {.sa_handler = on_deadline};

	sigaction(SIGALRM, &a, NULL);
	alarm((unsigned)seconds);
}

/* the sums: x[i,j] += bias[j], of whole numbers below 2^17, so that each sum is exact in any order */

struct sums {
	size_t n_rows, n;
	float *x, *bias;     /* here */
	void *gpu_x, *gpu_bias;
};

static float addend(size_t i)
{
	return (float)(uint32_t)(i * 2654435761u >> 16 & 0xffff);
}

static void sums_make(struct sums *s, int n_units)
{
	s->n_rows = (size_t)n_units * BLOCKS_PER_UNIT;
	s->n = s->n_rows * COLUMNS;
	s->x = greta_alloc(s->n * sizeof *s->x);
	s->bias = greta_alloc(COLUMNS * sizeof *s->bias);
	for (size_t i = 0; i < s->n; i++)
		s->x[i] = addend(i);
	for (size_t j = 0; j < COLUMNS; j++)
		s->bias[j] = (float)(j + 1);
}

static void sums_release(struct sums *s)
{
	free(s->x);
	free(s->bias);
}

static int sums_compute(struct sums *s, struct greta_gpu *g, struct greta_err *e)
{
	const size_t x_bytes = s->n * sizeof *s->x, bias_bytes = COLUMNS * sizeof *s->bias;

	step = "allocating memory";
	s->gpu_x = greta_gpu_alloc(g, x_bytes, "the probe", e);
	s->gpu_bias = s->gpu_x ? greta_gpu_alloc(g, bias_bytes, "the probe", e) : NULL;
	if (!s->gpu_bias)
		return -1;
	step = "copying to the GPU";
	if (greta_gpu_upload(g, s->gpu_x, s->x, x_bytes, e) || greta_gpu_upload(g, s->gpu_bias, s->bias, bias_bytes, e))
		return -1;
	step = "launching a kernel";
	const struct bias_args args = {.x = s->gpu_x, .bias = s->gpu_bias, .ldx = COLUMNS, .n = COLUMNS};
	if (greta_gpu_bias(g, &args, (int)s->n_rows, e))
		return -1;
	step = "waiting for the kernel";
	if (greta_gpu_sync(g, e))
		return -1;
	step = "copying from the GPU";
	memset(s->x, 0xff, x_bytes); /* a copy that does nothing must not look right */
	return greta_gpu_download(g, s->x, s->gpu_x, x_bytes, e);
}

static int sums_compare(const struct sums *s, struct greta_err *e)
{
	size_t wrong = 0, first = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->x[i] != addend(i) + s->bias[i % COLUMNS] && wrong++ == 0)
			first = i;
	if (!wrong)
		return 0;
	return greta_err_set(e, GRETA_EFAIL, "%zu of %zu sums are wrong; the first, %zu, is %.9g instead of %.9g", wrong, s->n,
			     first, (double)s->x[first], (double)(addend(first) + s->bias[first % COLUMNS]));
}

static int probe(const struct values *v, struct greta_err *e)
{
	const struct greta_gpu_options o = {.driver = v->driver, .ordinal = (int)v->device};
	struct greta_gpu *g = NULL;
	struct sums s = {0};

	step = "opening the GPU";
	if (greta_gpu_open(&g, &o, e))
		return -1;
	const struct greta_gpu_info info = *greta_gpu_info(g);
	sums_make(&s, info.n_units);
	int rc = sums_compute(&s, g, e) || sums_compare(&s, e) ? -1 : 0;
	if (rc)
		greta_err_wrap(e, "%s, %s", info.name, info.pci);
	step = "giving back the GPU";
	greta_gpu_close(g);
	if (rc == 0)
		printf("healthy: %s, %s, %s: %zu sums are right\n", info.name, info.pci, info.driver, s.n);
	sums_release(&s);
	return rc;
}

/* A driver that shows no GPU where one was asked for has lost it: that is known, and bad. */
static int exit_code(const struct greta_err *e)
{
	if (e->code == GRETA_EINVAL)
		return EXIT_USAGE;
	return e->code == GRETA_EUNSUPPORTED && e->sys != ENODEV ? EXIT_UNSUPPORTED : EXIT_SICK;
}

static int print_help(void)
{
	cleanup_buf struct greta_buf out = {0};

	greta_opt_help(&opts, &out);
	fputs(greta_buf_str(&out), stdout);
	return EXIT_HEALTHY;
}

static int print_version(void)
{
	cleanup_buf struct greta_buf built = {0};

	greta_gpu_built_for(&built);
	printf("greta-gpu-probe %s\n%s\n", GRETA_VERSION, greta_buf_str(&built));
	return EXIT_HEALTHY;
}

int main(int argc, char **argv)
{
	struct values v = {.deadline_s = DEADLINE_S};
	cleanup_strs struct greta_strs operands = {0};
	struct greta_err e = {0};
	int rc = greta_opt_parse(&opts, argc, argv, &v, &operands, false, &e);

	if (rc == 1)
		return print_help();
	if (rc == 0 && v.version)
		return print_version();
	if (rc == 0 && (v.deadline_s < 1 || v.deadline_s > 3600))
		rc = greta_err_set(&e, GRETA_EINVAL, "--deadline %lld: from 1 to 3600 seconds", (long long)v.deadline_s);
	if (rc == 0) {
		set_deadline(v.deadline_s);
		rc = probe(&v, &e);
	}
	if (rc == 0)
		return EXIT_HEALTHY;
	fprintf(stderr, "greta-gpu-probe: %s\n", e.text);
	return exit_code(&e);
}
