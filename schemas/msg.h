/* msg: what controller and agent say to each other, as structs and as frames.
 *
 * A frame is one JSON object on a line of at most GRETA_FRAME_MAX bytes, followed by exactly "bytes" raw bytes where
 * the object has that field ("body_bytes" of them, in front, are the rest of a message too long for a line). Unknown
 * fields are ignored, unknown types refused by name. The agent's first output is the line "GRETA-AGENT <nonce>
 * <protocol>"; what a login shell prints before it is skipped. docs/protocol.md tells the whole conversation,
 * schemas/message.schema.json the fields.
 *
 * Order: controller hello -> agent hello (or refused); then, in any order: start, attach, ack, cancel, credit, ping,
 * list, gc, probe, quarantine from the controller; event, pong, attempts, facts, quarantined, done, refused from the
 * agent. Every request carries `re`, repeated in its answer. Start of an attempt that has a spool attaches to it.
 */
#ifndef SCHEMAS_MSG_H
#define SCHEMAS_MSG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/uuid.h"
#include "schemas/campaign.h"
#include "schemas/outcome.h"
#include "schemas/result.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define GRETA_PROTOCOL_MIN 1
#define GRETA_PROTOCOL_MAX 2
#define GRETA_PROTOCOL_QUARANTINE 2 /* from here on an agent knows the message `quarantine` */
#define GRETA_MAGIC "GRETA-AGENT"
#define GRETA_FRAME_MAX (64 * 1024)
#define GRETA_FRAME_BYTES_MAX (256 * 1024) /* raw bytes behind one frame */

/* ---- what an attempt is told to do */

struct greta_spec {
	char attempt[GRETA_UUID_LEN + 1];
	char *campaign, *variant;       /* names, for people who look at the node */
	int64_t context, repeat, try_no;
	struct greta_strs argv;         /* placeholders replaced, except those only the node knows: "{slot}" */
	struct greta_strs env;          /* set on top of the agent's allow-listed environment, "K=V" */
	struct greta_strs unstored;     /* names in it whose values may be written down nowhere but in the spool */
	char *cwd;                      /* NULL: the attempt's scratch folder in the spool */
	char *model;                    /* file whose hash is the model's identity, told with `started`; NULL: none */
	enum greta_adapter adapter;
	int64_t samples, warmup;
	struct greta_expect *expect;
	size_t n_expect, cap_expect;
	enum greta_slot_kind slot;
	int64_t n_gpus, cpus;
	struct greta_strs devices;      /* GPU UUIDs to choose n_gpus from; empty: any free ones */
	double slot_wait_s;             /* how long to wait for a slot before `infra`; 0: for ever */
	double wall_s;                  /* budget from exec to exit */
	double term_grace_s;            /* between TERM and KILL */
	struct greta_phase_limit phases[GRETA_PHASE_COUNT];
	enum greta_on_slow on_slow;
	double telemetry_interval_s;
	int64_t log_limit_bytes;
	bool keep_logits;               /* GRETA_LOGITS_FILE is set, and what the engine leaves there goes with the attempt */
	bool keep_kernels;              /* the engine's kernel resources (schemas/kernels.h) go with the attempt */
	bool no_spill;                  /* refused before it starts when they use scratch memory, or can't be seen */
	struct greta_strs verify;       /* "SHA256 PATH": refused as infra when a file differs */
};

/* ---- what a node says of itself */

struct greta_device {
	char *uuid, *kind, *name;       /* kind: "amd", "nvidia" */
	char *arch;                     /* "gfx942", "sm_90"; NULL: unknown */
	char *path;                     /* what is locked: /dev/dri/renderD128 */
	char *pci;
	int64_t vram_bytes;
	int64_t compute_units;
};

struct greta_fact { /* one row of the environment or of the identity: "rocm.version" = "6.2.1" */
	char *key, *value;
};

struct greta_facts {
	char *node_id;                  /* stable: machine-id and GPU UUIDs, hashed */
	char *hostname;
	char *machine_id;               /* hashed, never the raw one */
	char *boot_id;
	int64_t n_cpus, mem_bytes, spool_free_bytes;
	bool survives_logout;           /* a detached supervisor outlives its SSH session */
	char *survives_why;             /* how that is known, or what to do about it */
	struct greta_device *devices;
	size_t n_devices, cap_devices;
	struct greta_fact *env;         /* configuration that results depend on; readings are telemetry */
	size_t n_env, cap_env;
};

/* ---- how it ended */

struct greta_end {
	enum greta_outcome outcome;
	char *cause;                    /* one word beside an outcome that is not ok: "supervisor"; NULL: none */
	char *reason;                   /* one line for people; NULL for ok */
	int exit_code;                  /* -1: did not exit */
	int signal;                     /* 0: none */
	double wall_s;                  /* exec to exit; NAN: never started */
	double cpu_user_s, cpu_system_s;
	int64_t peak_rss_bytes;         /* -1: unknown */
	int tokens_verified;            /* 1 yes, 0 unknown */
	struct greta_samples samples;
	struct greta_progress progress; /* the last heard */
	int64_t progress_dropped;
	int64_t log_bytes, log_dropped; /* output in all; not kept of it */
	enum greta_class class_;        /* of a hung or slow run */
	enum greta_certainty certainty;
	char *blamed;                   /* kernel, runtime, device, node; NULL: none */
	char *blind;                    /* what could not be seen; NULL: nothing */
	char *engine_sha256;            /* of the executable that ran */
	char *build_sha256;             /* executable + non-system libraries + code objects */
	struct greta_strs devices;      /* UUIDs that it held */
	int64_t queued_wall_ns, started_wall_ns, finished_wall_ns; /* node's wall clock; 0: never */
	bool survivors;                 /* processes of the attempt were left and could not be killed */
	struct greta_strs quarantined;  /* slots that its end has left in quarantine, its own and others */
};

/* ---- events: what the supervisor writes to the spool and the session relays */

#define GRETA_EVENTS(X)                                                     \
	X(NONE,      "none")                                                \
	X(ACCEPTED,  "accepted")  /* the spec is in the spool */            \
	X(WAITING,   "waiting")   /* detail: {"for": "..."} */              \
	X(STARTED,   "started")   /* detail: {"pid","devices","engine_sha256","model_facts"} */ \
	X(PROGRESS,  "progress")  /* detail: a progress line */             \
	X(LOG,       "log")       /* detail: {"stream":"out|err","offset":N}; bytes: output */ \
	X(LOG_GAP,   "log_gap")   /* detail: {"dropped":N,"offset":N} */    \
	X(TELEMETRY, "telemetry") /* detail: {"columns":[names],"rows":[[t_ns,values...]]} */ \
	X(VERDICT,   "verdict")   /* detail: {"class","certainty","text","projection_s"} */ \
	X(EVIDENCE,  "evidence")  /* detail: {"name":"gdb","part":k,"parts":n}, k from 1; bytes: the text */ \
	X(OUTCOME,   "outcome")   /* detail: greta_end; always the last */

enum greta_event_kind {
#define X(id, name) GRETA_EVENT_##id,
	GRETA_EVENTS(X)
#undef X
	GRETA_EVENT_COUNT
};

struct greta_event {
	char attempt[GRETA_UUID_LEN + 1];
	int64_t seq;                    /* from 1, no gaps */
	enum greta_event_kind kind;
	int64_t boot_ns, wall_ns;       /* CLOCK_BOOTTIME and wall time on the node */
	char *detail;                   /* compact JSON object; "{}" if there is nothing to say */
	char *bytes;                    /* raw; NULL: none */
	size_t n_bytes;
};

const char *greta_event_kind_name(enum greta_event_kind k);
void greta_event_release(struct greta_event *ev);

/* ---- frames */

#define GRETA_MSGS(X)                 \
	X(NONE,     "none")           \
	X(HELLO,    "hello")          \
	X(START,    "start")          \
	X(ATTACH,   "attach")         \
	X(ACK,      "ack")            \
	X(CANCEL,   "cancel")         \
	X(CREDIT,   "credit")         \
	X(PING,     "ping")           \
	X(PONG,     "pong")           \
	X(LIST,     "list")           \
	X(ATTEMPTS, "attempts")       \
	X(PROBE,    "probe")          \
	X(FACTS,    "facts")          \
	X(GC,       "gc")             \
	X(QUARANTINE,  "quarantine")  \
	X(QUARANTINED, "quarantined") \
	X(DONE,     "done")           \
	X(REFUSED,  "refused")        \
	X(EVENT,    "event")

enum greta_msg_type {
#define X(id, name) GRETA_MSG_##id,
	GRETA_MSGS(X)
#undef X
	GRETA_MSG_COUNT
};

struct greta_held { /* one spool on the node */
	char attempt[GRETA_UUID_LEN + 1];
	char db[GRETA_UUID_LEN + 1];
	int64_t last_seq, acked_seq;
	bool running;          /* its supervisor lives */
	bool finished;         /* outcome.json is there */
};

struct greta_quarantine { /* a slot that is not used until a person says so */
	char *slot;            /* "node", or "gpu-UUID" */
	char *reason;
	int64_t since_wall_ns; /* by the node's clock */
};

/* One message. Which members count is said by type; everything else is zero. Owned: greta_msg_release. */
struct greta_msg {
	enum greta_msg_type type;
	int64_t re;                     /* request number, repeated in the answer; 0: none */
	/* hello, both ways */
	int64_t protocol_min, protocol_max;
	char *version;                  /* greta's */
	char db[GRETA_UUID_LEN + 1];    /* controller -> agent: the database on whose behalf */
	int64_t fence;                  /* controller: its fence; agent: the highest it has seen */
	char *peer;                     /* "host:pid" of the sender, for messages to people */
	char *node_id, *boot_id;        /* agent */
	/* ping, pong */
	int64_t stamp_ns;               /* the controller's, returned untouched */
	int64_t boot_ns, wall_ns;       /* agent's clocks */
	/* start */
	struct greta_spec *spec;
	const char *printed_spec;       /* to be sent in its place: the same by greta_spec_print; borrowed, never received */
	/* attach, ack, cancel, credit, event */
	char attempt[GRETA_UUID_LEN + 1];
	int64_t seq;                    /* attach: last committed; ack: committed up to */
	int64_t credit_bytes;
	/* event */
	struct greta_event *event;
	/* attempts */
	struct greta_held *held;
	size_t n_held, cap_held;
	/* facts */
	struct greta_facts *facts;
	/* gc */
	int64_t keep_bytes;             /* of the artifact store */
	/* quarantine: slots to be released first; quarantined: what is in it then */
	struct greta_strs release;
	struct greta_quarantine *slots;
	size_t n_slots, cap_slots;
	/* refused, done, cancel */
	enum greta_code code;
	char *text;
};

const char *greta_msg_type_name(enum greta_msg_type t);
void greta_msg_release(struct greta_msg *m);
void greta_spec_release(struct greta_spec *s);
void greta_facts_release(struct greta_facts *f);
void greta_quarantine_release(struct greta_quarantine *q);
void greta_end_release(struct greta_end *end);

/* Appends the whole frame (line and raw bytes), or nothing and -1 with EINVAL when more than GRETA_FRAME_BYTES_MAX
 * would stand behind the line. What is too long for a line travels behind it; decode puts it back. */
int greta_msg_encode(const struct greta_msg *m, struct greta_buf *out, struct greta_err *e);

/* Takes one frame from the front of in[0..n). Returns the bytes it used, 0 when more are needed, -1 with EPROTO (an
 * unknown type is named, an over-long line refused without buffering it). */
ssize_t greta_msg_decode(const char *in, size_t n, struct greta_msg *out, struct greta_err *e);

/* Looks for the magic line of this nonce in what came so far. Returns the bytes up to its end and sets *protocol; 0:
 * not yet there; -1 with EPROTO: GRETA_FRAME_MAX bytes of something else, of which the text shows the start. */
ssize_t greta_msg_find_magic(const char *in, size_t n, const char *nonce, int *protocol, struct greta_err *e);

/* The same structs as JSON texts, for spec.json, outcome.json and event details. */
void greta_spec_print(const struct greta_spec *s, struct greta_buf *out);
/* Where in what it printed the members begin that are alike for all attempts of a cell: behind attempt, repeat, try_no. */
const char *greta_spec_alike(const char *printed);
int greta_spec_parse(const char *text, size_t n, struct greta_spec *out, struct greta_err *e);
void greta_end_print(const struct greta_end *end, struct greta_buf *out);
int greta_end_parse(const char *text, size_t n, struct greta_end *out, struct greta_err *e);
void greta_facts_print(const struct greta_facts *f, struct greta_buf *out);
int greta_facts_parse(const char *text, size_t n, struct greta_facts *out, struct greta_err *e);
void greta_progress_print(const struct greta_progress *p, struct greta_buf *out);

#endif
