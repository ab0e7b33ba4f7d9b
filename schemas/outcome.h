/* outcome: the words for how an attempt ended and what was found, each list written once: enum, name, meaning.
 * Zero is UNKNOWN everywhere, and nothing unknown is ever shown as good. */
#ifndef SCHEMAS_OUTCOME_H
#define SCHEMAS_OUTCOME_H

#include <stdbool.h>

/*      enum          name          retries by default (-1: free, does not use up the job's budget) */
#define GRETA_OUTCOMES(X)                       \
	X(UNKNOWN,    "unknown",     0)         \
	X(GOOD,       "ok",          0)         \
	X(INVALID,    "invalid",     0)         \
	X(FAILED,     "failed",      0)         \
	X(INFRA,      "infra",       2)         \
	X(OOM,        "oom",         0)         \
	X(TIMED_OUT,  "timed_out",   0)         \
	X(HUNG,       "hung",        0)         \
	X(LOST,       "lost",        1)         \
	X(PREEMPTED,  "preempted",  -1)         \
	X(COLLATERAL, "collateral", -1)         \
	X(CANCELLED,  "cancelled",   0)

enum greta_outcome {
#define X(id, name, retries) GRETA_OUTCOME_##id,
	GRETA_OUTCOMES(X)
#undef X
	GRETA_OUTCOME_COUNT
};

/*      enum        name */
#define GRETA_PHASES(X)                  \
	X(NONE,     "none")              \
	X(QUEUED,   "queued")            \
	X(WAITING,  "waiting")           \
	X(STARTING, "starting")          \
	X(LOAD,     "load")              \
	X(TOKENIZE, "tokenize")          \
	X(WARMUP,   "warmup")            \
	X(PREFILL,  "prefill")           \
	X(DECODE,   "decode")            \
	X(FINISH,   "finish")

enum greta_phase {
#define X(id, name) GRETA_PHASE_##id,
	GRETA_PHASES(X)
#undef X
	GRETA_PHASE_COUNT
};

/* Verdict classes of a run that stopped moving, or of why it did (docs/hangs.md). */
#define GRETA_CLASSES(X)                         \
	X(NONE,           "none")                \
	X(SLOW,           "slow")                \
	X(CLOCK_COLLAPSE, "clock_collapse")      \
	X(HOST_IO,        "host_io")             \
	X(HOST_DEADLOCK,  "host_deadlock")       \
	X(HOST_SPIN,      "host_spin")           \
	X(HOST_STOPPED,   "host_stopped")        \
	X(GPU_KERNEL,     "gpu_kernel")          \
	X(MEMORY_FAULT,   "memory_fault")        \
	X(QUEUE_HANG,     "queue_hang")          \
	X(RAS,            "ras")                 \
	X(DEVICE_LOST,    "device_lost")         \
	X(COLLATERAL,     "collateral")          \
	X(UNKILLABLE,     "unkillable")          \
	X(UNCLASSIFIED,   "unclassified")

enum greta_class {
#define X(id, name) GRETA_CLASS_##id,
	GRETA_CLASSES(X)
#undef X
	GRETA_CLASS_COUNT
};

#define GRETA_CERTAINTIES(X)                      \
	X(CERTAINTY_NONE, "none")                \
	X(HYPOTHESIS,     "hypothesis")          \
	X(SUPPORTED,      "supported")           \
	X(ESTABLISHED,    "established")

enum greta_certainty {
#define X(id, name) GRETA_##id,
	GRETA_CERTAINTIES(X)
#undef X
};

const char *greta_outcome_name(enum greta_outcome o);
enum greta_outcome greta_outcome_parse(const char *name); /* UNKNOWN for anything else */
int greta_outcome_default_retries(enum greta_outcome o);
const char *greta_phase_name(enum greta_phase p);
enum greta_phase greta_phase_parse(const char *name);     /* NONE for anything else */
const char *greta_class_name(enum greta_class c);
bool greta_class_is_hang(enum greta_class c); /* not of what is only slow, and not of NONE */
enum greta_class greta_class_parse(const char *name);
const char *greta_certainty_name(enum greta_certainty c);
enum greta_certainty greta_certainty_parse(const char *name);

#endif
