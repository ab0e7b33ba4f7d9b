#include "agent/allocation.h"
#include "agent/files.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TERM_WAIT_MS 5000  /* who else would end an engine so? */
#define KILL_WAIT_MS 500   /* the kernel does, when memory runs out */
#define WORDS_WAIT_MS 2000 /* the log may lie on a file server */
#define LOOK_MS 100
#define LOG_TAIL 4096

int allocation_name(char out[64], struct greta_err *e)
{
	const char *job = getenv("SLURM_JOB_ID"), *restarts = getenv("SLURM_RESTART_COUNT");
	if (!job || !*job || job[strspn(job, "0123456789")])
		return greta_err_set(e, GRETA_ENOENT, "SLURM_JOB_ID is not set: a pilot is started by sbatch");
	snprintf(out, 64, "%.20s.%.20s", job, restarts && isdigit((unsigned char)*restarts) ? restarts : "0");
	return 0;
}

void allocation_machine(char out[64])
{
	const char *name = getenv("SLURMD_NODENAME");
	out[0] = '\0';
	if (name && *name && !strchr(name, '/'))
		greta_str_copy(out, 64, name);
	else
		gethostname(out, 63);
}

/* devices */

static const char *value_of(const char *const *env, const char *name)
{
	size_t n = strlen(name);
	for (; *env; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=' && (*env)[n + 1])
			return *env + n + 1;
	return NULL;
}

/* The number of a device as Slurm counts: NVIDIA's minor, or the place among render nodes. */
static int64_t number_of(const struct greta_facts *found, const struct greta_device *d)
{
	int64_t n = 0;
	const char *digits = d->path + strlen(d->path);
	while (digits > d->path && isdigit((unsigned char)digits[-1]))
		digits--;
	if (greta_str_eq(d->kind, "nvidia") && greta_str_i64(digits, &n) == 0)
		return n;
	for (size_t i = 0; i < found->n_devices; i++)
		n += strcmp(found->devices[i].kind, d->kind) == 0 && strcmp(found->devices[i].path, d->path) < 0;
	return n;
}

static bool is_named(const struct greta_facts *found, const struct greta_device *d, const char *word, size_t len)
{
	cleanup_free char *text = greta_strndup(word, len);
	int64_t number;
	if (greta_str_i64(text, &number) == 0)
		return number == number_of(found, d);
	return len > 4 && greta_str_starts(d->uuid, text); /* the runtimes take a beginning of a UUID, too */
}

static bool is_in(const struct greta_facts *found, const struct greta_device *d, const char *list)
{
	while (*list) {
		size_t len = strcspn(list, ",");
		if (is_named(found, d, list, len))
			return true;
		list += len + (list[len] == ',');
	}
	return false;
}

char *allocation_devices(const struct greta_facts *found, const char *const *env)
{
	/* The first counts all of the node's GPUs; the others may count those that a cgroup leaves. */
	static const char *const names[] = {"SLURM_STEP_GPUS", "SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES",
					    "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"};
	cleanup_buf struct greta_buf out = {0};
	const char *list = NULL;
	for (size_t i = 0; i < GRETA_COUNT(names) && !list; i++)
		list = value_of(env, names[i]);
	for (size_t i = 0; list && i < found->n_devices; i++)
		if (is_in(found, &found->devices[i], list))
			greta_buf_addf(&out, "%s%s", out.len ? "," : "", found->devices[i].uuid);
	return greta_buf_steal(&out);
}

/* the end */

static void read_tail(const char *path, char *out)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t end = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	off_t from = end > LOG_TAIL ? end - LOG_TAIL : 0;
	ssize_t n = fd >= 0 ? pread(fd, out, LOG_TAIL, from) : 0;
	out[n > 0 ? n : 0] = '\0';
}

/* What stands in the log about this pilot's life: other lives of a requeued job come before and after it. */
static char *section_of(char *log, const char *pilot)
{
	cleanup_free char *begins = pilot ? greta_format(ALLOCATION_BEGINS ": %s on ", pilot) : greta_strdup(ALLOCATION_BEGINS);
	char *begin = NULL;
	for (char *at = log; (at = strstr(at, begins)); at++)
		begin = at;
	if (!begin)
		return pilot ? NULL : log;
	char *next = strstr(begin + 1, ALLOCATION_BEGINS);
	if (next)
		*next = '\0';
	return begin;
}

/* "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-31T10:00:00 DUE TO TIME LIMIT ***" */
enum greta_outcome allocation_end(const char *log, const char *pilot, char text[320])
{
	static const struct {
		const char *words;
		enum greta_outcome outcome;
	} ends[] = {
		{"DUE TO TIME LIMIT", GRETA_OUTCOME_TIMED_OUT}, {"DUE TO PREEMPTION", GRETA_OUTCOME_PREEMPTED},
		{"DUE TO NODE FAILURE", GRETA_OUTCOME_LOST},    {"DUE TO JOB REQUEUE", GRETA_OUTCOME_PREEMPTED},
		{"CANCELLED AT", GRETA_OUTCOME_PREEMPTED},
	};
	char tail[LOG_TAIL + 1];
	const char *last = NULL;
	read_tail(log, tail);
	for (const char *at = section_of(tail, pilot); at && (at = strstr(at, "*** JOB ")); at++)
		last = at + strlen("*** ");
	if (!last)
		return GRETA_OUTCOME_UNKNOWN;
	size_t len = strcspn(last, "\n*");
	while (len && last[len - 1] == ' ')
		len--;
	snprintf(text, 320, "Slurm said: %.*s", len < 280 ? (int)len : 280, last);
	for (size_t i = 0; i < GRETA_COUNT(ends); i++)
		if (strstr(text, ends[i].words))
			return ends[i].outcome;
	return GRETA_OUTCOME_PREEMPTED;
}

static int signal_of(int status)
{
	return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status) - 128;
}

/* Slurm's signal reaches the processes of a job one after the other, its words the log at about the same time. */
bool allocation_was_told(int status)
{
	const char *log = getenv(ALLOCATION_LOG);
	int64_t left_ms = signal_of(status) == SIGTERM ? TERM_WAIT_MS : signal_of(status) == SIGKILL ? KILL_WAIT_MS : 0;
	const struct timespec wait = {.tv_nsec = left_ms ? LOOK_MS * GRETA_NS_PER_MS : 0};
	char text[320];
	sigset_t term;
	if (!log || status == 0)
		return false;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM); /* blocked, since the loop reads it from a descriptor */
	for (; left_ms >= 0; left_ms -= LOOK_MS)
		if (sigtimedwait(&term, NULL, &wait) == SIGTERM || allocation_end(log, NULL, text) != GRETA_OUTCOME_UNKNOWN)
			return true;
	return false;
}

void allocation_judge(struct greta_end *end)
{
	const char *log = getenv(ALLOCATION_LOG);
	char text[320] = "";
	enum greta_outcome outcome = GRETA_OUTCOME_UNKNOWN;
	if (!log)
		return;
	for (int waited = 0; waited < WORDS_WAIT_MS && outcome == GRETA_OUTCOME_UNKNOWN; waited += LOOK_MS) {
		outcome = allocation_end(log, NULL, text);
		if (outcome == GRETA_OUTCOME_UNKNOWN)
			usleep(LOOK_MS * 1000);
	}
	if (outcome == GRETA_OUTCOME_UNKNOWN)
		return;
	end->outcome = outcome;
	free(end->cause);
	end->cause = greta_strdup("slurm");
	free(end->reason);
	end->reason = greta_strdup(text);
}
