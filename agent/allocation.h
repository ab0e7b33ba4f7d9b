/* allocation: what Slurm gave the job that we run in, from its environment; in a supervisor, that of its pilot. */
#ifndef AGENT_ALLOCATION_H
#define AGENT_ALLOCATION_H

#include "schemas/msg.h"
#include <stdbool.h>

#define ALLOCATION_LOG "GRETA_ALLOCATION_LOG" /* the job's output, where Slurm says why it ends it */

/* "<job>.<restarts>" as the pilot is called; ENOENT outside of a job. */
int allocation_name(char out[64], struct greta_err *e);

/* What Slurm calls the machine, else its host name. */
void allocation_machine(char out[64]);

/* Those GPUs of the node that Slurm gave us, as a list of UUIDs with commas; "" if none. The caller owns it. */
char *allocation_devices(const struct greta_facts *found, const char *const *env);

/* A pilot prints this first, and its name: a job that was requeued has a pilot for each of its lives, and one log. */
#define ALLOCATION_BEGINS "greta pilot begins"

/* Why Slurm ends the job, from its last words about a pilot (NULL: the last one) in the log: an outcome, and a line for
 * people. UNKNOWN: it did not say. */
enum greta_outcome allocation_end(const char *log, const char *pilot, char text[320]);

/* For a supervisor whose engine has ended with this status: Slurm signals every process of a job, and the engine may be
 * heard of first. True when we were told to end too, or the log says so: already, or, if the engine died as those do that
 * are told, within a moment. */
bool allocation_was_told(int status);

/* Of a supervisor in a job that was told to end: the outcome that Slurm's words mean, put into *end. */
void allocation_judge(struct greta_end *end);

#endif
