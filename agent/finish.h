/* finish: decides how an attempt ended, from what was seen. Pure. */
#ifndef AGENT_FINISH_H
#define AGENT_FINISH_H

#include "schemas/msg.h"

/* Why the supervisor ended the engine, if it did. */
enum stop_why {
	STOP_NOT,
	STOP_CANCEL,   /* a person or a controller asked */
	STOP_WALL,     /* over its budget */
	STOP_VERDICT,  /* hung, on evidence good enough to act on */
	STOP_SLOW,     /* slow, and the campaign says on_slow: stop */
	STOP_LIMIT,    /* moving, but a phase took longer than its limit */
	STOP_PREEMPT,  /* the supervisor itself was told to end */
};

struct finish_input {
	const struct greta_spec *spec;
	bool started;               /* the engine ran */
	const char *start_error;    /* else why not, ... */
	const char *start_cause;    /* ... in a word: "slot", "verify", "gate", "exec", "spool" */
	int status;                 /* wait status of the engine */
	bool exited;                /* status is valid; false: could not be ended */
	enum stop_why stop;
	const char *stop_text;      /* who asked, or which limit; NULL: nothing to add */
	bool contradicts;           /* the same sample twice with different values */
	const char *complaints;     /* about unreadable results; "" if none */
	const char *oom_proof;      /* NULL: no sign of it */
	const char *collateral;     /* whose doing its end is; NULL: its own */
	enum greta_certainty collateral_certainty;
	const char *last_line;      /* of the output; "" if none */
	enum greta_class class_;    /* what the watchdog thought at the end */
	enum greta_certainty certainty;
	const char *class_text;     /* its words; NULL: none */
	const char *projection;     /* "layer 11 of 32, ..."; NULL: none */
};

/* end->samples and the measured members are filled already; this adds outcome, cause, reason, exit_code, signal,
 * class, certainty and tokens_verified. */
void finish_judge(const struct finish_input *in, struct greta_end *end);

#endif
