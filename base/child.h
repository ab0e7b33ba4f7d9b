/* child: spawn a program, bound it, reap it.
 *
 * Commands are argv arrays; nothing here passes through a shell. Descriptors not named are closed in the child, the
 * signal mask is emptied and dispositions are reset. death_signal comes when the thread that spawned it ends.
 */
#ifndef BASE_CHILD_H
#define BASE_CHILD_H

#include "base/buf.h"
#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct greta_child_fd {
	int parent_fd; /* the descriptor here ... */
	int child_fd;  /* ... becomes this one there */
};

struct greta_child_spec {
	const char *const *argv;        /* argv[0] is searched in the PATH it will see, unless it has a slash */
	const char *const *env;         /* NULL: inherit; else the whole environment, "K=V" */
	const char *cwd;                /* NULL: inherit */
	const struct greta_child_fd *fds; /* 0, 1 and 2 not named here become /dev/null (0) or are inherited (1, 2) */
	int n_fds;
	bool new_session;               /* setsid */
	bool new_group;                 /* setpgid(0, 0) */
	int death_signal;               /* PR_SET_PDEATHSIG; 0: none */
	int cgroup_procs_fd;            /* joins this cgroup.procs before exec; 0 or -1: none */
	bool allow_ptrace;              /* PR_SET_PTRACER_ANY, so that a debugger that is no ancestor may attach */
};

/* Starts it; returns the pid, or -1 with *e naming the program and why exec failed (not found, not executable). */
pid_t greta_child_spawn(const struct greta_child_spec *spec, struct greta_err *e);

/* Runs it to its end, or kills its process group deadline_ms after its start (TERM, KILL 500 ms later; -1: no limit).
 * A deadline that passes is no error: the result tells. Output that it wrote is kept; of what its descendants write
 * after its end, nothing. */
struct greta_child_result {
	int status;         /* as waitpid gives it; -1, neither exited nor signalled: not known */
	bool timed_out;
	bool unreaped;      /* still not dead 2 s after KILL (D state): left behind, never waited for */
	bool truncated;     /* output was longer than max_output */
};
int greta_child_run(const struct greta_child_spec *spec, int64_t deadline_ms, size_t max_output, struct greta_buf *out,
		    struct greta_child_result *result, struct greta_err *e); /* out: stdout and stderr; NULL: dropped */

/* Lets this process, and those that it forks, open as many files as it may. Programs that they start have the limit of before,
 * and what they are given on top: they may take it for a number of files to close, or to wait for with select. */
void greta_child_raise_files(void);

/* For a child that was forked and goes on as what we are, without exec. */
void greta_child_reset_signals(void);   /* default dispositions, nothing blocked */
void greta_child_close_from(int first); /* all descriptors from this one on */

/* "exit 3", "signal 11 (Segmentation fault)" into a caller's buffer, returning it. */
char *greta_child_status_text(int status, char out[64]);

#endif
