/* sample: what the processes of an attempt are doing, from /proc: states, CPU time, what they wait in, bytes read.
 *
 * Two samples some seconds apart and their difference are what a verdict rests on. Only files that never block are
 * read: stat, status, wchan, syscall, io (environ, maps and cmdline wait for the target's memory lock). */
#ifndef AGENT_SAMPLE_H
#define AGENT_SAMPLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sample_host {
	int64_t t_ns;             /* monotonic */
	int n_processes, n_threads;
	int running, blocked, stopped; /* threads in R, in D, in T or t */
	int parked;               /* asleep in a wait that has no time limit: futex, pause, wait for a child */
	int in_device;            /* asleep in an ioctl or a poll: perhaps waiting for a GPU */
	int asleep;               /* all sleepers, those above included */
	int64_t cpu_ticks;        /* of all threads that are there */
	int64_t busiest_ticks;    /* of the thread with most */
	pid_t busiest;
	int64_t busiest_pauses;   /* how often it went to sleep by itself */
	bool busiest_runs;        /* it is in R now: also when others have the CPU */
	int64_t switches;         /* context switches of all threads */
	int64_t io_bytes;         /* read and written; -1: not told */
	bool traced;              /* somebody debugs it */
	bool blind_waits;         /* wchan and syscall could not be read: parked is not known */
	char wait[48];            /* what the first sleeper or blocked thread waits in */
};

/* pids: the processes meant. */
void sample_read(const char *proc, const pid_t *pids, int n, struct sample_host *out);

#endif
