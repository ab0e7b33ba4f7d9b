#include "agent/sample.h"
#include "agent/files.h"
#include "base/clock.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#define THREADS_MAX 4096    /* of one process; more are not looked at */
#define FOR_EVER_S 600      /* nobody who works sleeps this long in one go */

struct thread {
	char state;
	int64_t ticks;
	int64_t switches, pauses;
	bool traced;
	char wchan[48];
	char syscall[96];
	bool blind;
	double limit_s;      /* of the sleep it asked for; NAN: not known */
};

/* Field 14 and 15 of stat are its user and system ticks; the name before may hold anything. */
static bool read_stat(const char *dir, struct thread *t)
{
	char text[1024];
	unsigned long long user = 0, kernel = 0;
	if (file_text(dir, "stat", text, sizeof text) != 0)
		return false;
	const char *after = strrchr(text, ')');
	if (!after || sscanf(after + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &t->state, &user, &kernel) != 3)
		return false;
	t->ticks = (int64_t)(user + kernel);
	return true;
}

static void read_status(const char *dir, struct thread *t)
{
	char text[8192];
	int64_t voluntary = 0, forced = 0, tracer = 0;
	if (file_text(dir, "status", text, sizeof text) != 0)
		return;
	file_field_i64(text, "voluntary_ctxt_switches", &voluntary);
	file_field_i64(text, "nonvoluntary_ctxt_switches", &forced);
	file_field_i64(text, "TracerPid", &tracer);
	t->switches = voluntary + forced;
	t->pauses = voluntary;
	t->traced = tracer != 0;
}

/* wchan is "0" for who does not wait, and may be hidden from other users; syscall needs the right to trace. */
static void read_wait(const char *dir, struct thread *t)
{
	bool no_wchan = file_text(dir, "wchan", t->wchan, sizeof t->wchan) != 0;
	bool no_syscall = file_text(dir, "syscall", t->syscall, sizeof t->syscall) != 0;
	t->blind = no_wchan && no_syscall;
}

static bool read_thread(const char *dir, struct thread *t)
{
	*t = (struct thread){.limit_s = NAN};
	if (!read_stat(dir, t))
		return false;
	read_status(dir, t);
	if (t->state == 'S' || t->state == 'D')
		read_wait(dir, t);
	return true;
}

/* "202 0x7f.. 0x189 0x2 0x0 ...": the number, then six arguments. */
static bool parse_syscall(const char *text, long *number, unsigned long long arg[6])
{
	return sscanf(text, "%ld %llx %llx %llx %llx %llx %llx", number, &arg[0], &arg[1], &arg[2], &arg[3], &arg[4],
		      &arg[5]) == 7;
}

/* The time limit of a sleep lies in the sleeper's memory. */
static void read_limit(pid_t pid, struct thread *t)
{
	long number;
	unsigned long long arg[6];
	struct timespec limit;
	if (!parse_syscall(t->syscall, &number, arg))
		return;
	int which = number == SYS_nanosleep ? 0 : number == SYS_clock_nanosleep && arg[1] == 0 ? 2 : -1;
	if (which < 0)
		return;
	const struct iovec here = {&limit, sizeof limit}, there = {(void *)(uintptr_t)arg[which], sizeof limit};
	if (process_vm_readv(pid, &here, 1, &there, 1, 0) == sizeof limit)
		t->limit_s = (double)limit.tv_sec;
}

static bool waits_without_limit(const struct thread *t)
{
	long number;
	unsigned long long arg[6];
	if (t->limit_s >= FOR_EVER_S)
		return true;
	if (!parse_syscall(t->syscall, &number, arg))
		return strncmp(t->wchan, "futex", 5) == 0 || strcmp(t->wchan, "do_wait") == 0;
	return (number == SYS_futex && arg[3] == 0) || number == SYS_pause || number == SYS_wait4 || number == SYS_waitid ||
	       number == SYS_rt_sigsuspend || (number == SYS_rt_sigtimedwait && arg[2] == 0);
}

static bool waits_for_device(const struct thread *t)
{
	long number = strtol(t->syscall, NULL, 10);
	return number == SYS_ioctl || number == SYS_poll || number == SYS_ppoll || number == SYS_epoll_wait ||
	       number == SYS_epoll_pwait || strncmp(t->wchan, "kfd_", 4) == 0 || strncmp(t->wchan, "nv", 2) == 0;
}

static void add_sleeper(struct sample_host *h, const struct thread *t)
{
	h->asleep++;
	h->parked += waits_without_limit(t);
	h->in_device += waits_for_device(t);
}

static void add_thread(struct sample_host *h, const struct thread *t, pid_t tid)
{
	h->n_threads++;
	h->running += t->state == 'R';
	h->blocked += t->state == 'D';
	h->stopped += t->state == 'T' || t->state == 't';
	h->cpu_ticks += t->ticks;
	h->switches += t->switches;
	h->traced |= t->traced;
	h->blind_waits |= t->blind;
	if (t->ticks > h->busiest_ticks) {
		h->busiest_ticks = t->ticks;
		h->busiest = tid;
		h->busiest_pauses = t->pauses;
		h->busiest_runs = t->state == 'R';
	}
	if (t->state == 'S')
		add_sleeper(h, t);
	if (!h->wait[0] && (t->state == 'S' || t->state == 'D') && t->wchan[0] && strcmp(t->wchan, "0") != 0)
		greta_str_copy(h->wait, sizeof h->wait, t->wchan);
}

static void add_io(struct sample_host *h, const char *dir)
{
	char text[1024];
	int64_t read_bytes = 0, read_chars = 0, written = 0;
	if (file_text(dir, "io", text, sizeof text) != 0)
		return;
	file_field_i64(text, "rchar", &read_chars);
	file_field_i64(text, "read_bytes", &read_bytes);
	file_field_i64(text, "write_bytes", &written);
	h->io_bytes = (h->io_bytes < 0 ? 0 : h->io_bytes) + read_chars + read_bytes + written;
}

static void add_process(struct sample_host *h, const char *proc, pid_t pid)
{
	char dir[FILE_PATH_MAX], tasks[FILE_PATH_MAX];
	cleanup_strs struct greta_strs tids = {0};
	int before = h->n_threads;
	file_path(dir, "%s/%d", proc, (int)pid);
	file_names(file_path(tasks, "%s/task", dir), "", &tids);
	for (size_t i = 0; i < tids.n && i < THREADS_MAX; i++) {
		struct thread t;
		char task[FILE_PATH_MAX];
		if (!read_thread(file_path(task, "%s/%s", tasks, tids.items[i]), &t) || t.state == 'Z' || t.state == 'X')
			continue;
		if (t.state == 'S' && strcmp(proc, "/proc") == 0)
			read_limit(pid, &t);
		add_thread(h, &t, (pid_t)strtol(tids.items[i], NULL, 10));
	}
	if (h->n_threads == before)
		return;
	h->n_processes++;
	add_io(h, dir);
}

void sample_read(const char *proc, const pid_t *pids, int n, struct sample_host *out)
{
	*out = (struct sample_host){.t_ns = greta_clock_mono_ns(), .io_bytes = -1};
	for (int i = 0; i < n; i++)
		add_process(out, proc, pids[i]);
}
