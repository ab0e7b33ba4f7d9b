/* campaign: the campaign file as structs. schemas/campaign.schema.json is the same contract for other tools; the tests
 * hold the two against each other. docs/campaign.md tells it to users. */
#ifndef SCHEMAS_CAMPAIGN_H
#define SCHEMAS_CAMPAIGN_H

#include "base/str.h"
#include "schemas/json.h"
#include "schemas/outcome.h"
#include "schemas/problems.h"
#include <stdbool.h>
#include <stdint.h>

#define GRETA_MODES(X) X(PERF, "perf") X(DEBUG, "debug")
#define GRETA_ORDERS(X) X(INTERLEAVED, "interleaved") X(SEQUENTIAL, "sequential")
#define GRETA_PLACEMENTS(X) X(ANY, "any") X(SAME_GPU, "same_gpu") X(SPREAD, "spread")
#define GRETA_ADAPTERS(X) X(PERF_TIMING, "perf_timing") X(LLAMA_BENCH, "llama-bench") X(JSON, "json")
#define GRETA_SLOT_KINDS(X) X(CPU, "cpu") X(GPU, "gpu") X(NODE, "node")
#define GRETA_ON_SLOWS(X) X(CONTINUE, "continue") X(STOP, "stop") X(EXTEND, "extend")

#define X(id, name) GRETA_MODE_##id,
enum greta_mode { GRETA_MODES(X) };
#undef X
#define X(id, name) GRETA_ORDER_##id,
enum greta_order { GRETA_ORDERS(X) };
#undef X
#define X(id, name) GRETA_PLACEMENT_##id,
enum greta_placement { GRETA_PLACEMENTS(X) }; /* of the repeats of a cell, on GPUs */
#undef X
#define X(id, name) GRETA_ADAPTER_##id,
enum greta_adapter { GRETA_ADAPTERS(X) };
#undef X
#define X(id, name) GRETA_SLOT_##id,
enum greta_slot_kind { GRETA_SLOT_KINDS(X) };
#undef X
#define X(id, name) GRETA_ON_SLOW_##id,
enum greta_on_slow { GRETA_ON_SLOWS(X) }; /* what follows when an attempt is projected to miss its wall budget */
#undef X

#define GRETA_NAME_MAX 64         /* of campaigns and variants: letters, digits, . _ -, not first . or - */
#define GRETA_CONTEXT_MAX (1 << 24)
#define GRETA_CONTEXTS_MAX 1000
#define GRETA_VARIANTS_MAX 1000
#define GRETA_REPEATS_MAX 10000
#define GRETA_JOBS_MAX 1000000
#define GRETA_CAMPAIGN_TEXT_MAX (4 << 20)

/* A file that attempts need: on the node already, or uploaded from the controller. */
struct greta_artifact {
	char *path;            /* NULL: none. Absolute for a path on the node; else relative to the campaign file */
	bool upload;           /* from the controller's disk, content-addressed */
	char *sha256;          /* NULL: not stated */
};

struct greta_engine {
	struct greta_strs command;  /* argv with placeholders (schemas/spec.h); [0] gives way to executable */
	struct greta_artifact executable; /* argv[0]: on the node, an upload, or a bare name (greta-infer: the bundled one) */
	enum greta_adapter adapter;
	struct greta_strs env;      /* "K=V"; "K" alone: taken from the controller's environment, and stored nowhere */
	bool max_seq_len_env;       /* set GRETA_MAX_SEQ_LEN = context + 2 */
	char *build_id;             /* declared id, for scripts; NULL: hashed */
};

struct greta_expect {
	char *field, *value;        /* a result field that must read so: attn_impl = q_lds */
};

struct greta_variant {
	char *name;
	struct greta_strs args;     /* appended to the engine's command */
	struct greta_strs env;      /* as the engine's */
	struct greta_engine *engine; /* another build than the campaign's; NULL: the campaign's */
	struct greta_expect *expect;
	size_t n_expect, cap_expect;
	struct greta_strs nodes;    /* only on these; empty: any */
	struct greta_strs devices;  /* only on these GPUs, by UUID; empty: any */
};

struct greta_timeout { /* what holds for one context; context 0: default */
	int64_t context;
	double seconds;
};

struct greta_repeat {
	int64_t context;       /* 0: default */
	int64_t n;
};

struct greta_phase_limit {
	double silence_s;      /* no progress for this long: look for a verdict; 0: no limit */
	double limit_s;        /* longest that the phase may take; 0: the wall budget alone */
	/* of an attempt's spec alone */
	double bound_s;        /* silence beyond what is known of such runs: no hang is a mere suspicion then; 0: not known */
	char basis[160];       /* what that rests on, in words */
};

struct greta_gates {
	bool no_spill;              /* refuse a variant whose kernels use scratch memory, before it runs */
	char *logits_reference;     /* variant whose logits are the reference; NULL: no gate */
	double logits_tolerance;    /* largest difference / std of the reference row; 0: same sha256 */
	bool same_top1;             /* top-1 token equal to the reference's */
	int64_t min_counted;        /* counted results a cell needs; 0: all repeats */
};

struct greta_campaign {
	char *name;
	char *description;          /* NULL: none */
	char *file;                 /* where it came from; NULL: standard input or the database */
	enum greta_mode mode;
	struct greta_artifact model; /* path NULL: the engine brings its own */
	struct greta_engine engine;
	struct greta_strs env;      /* for every variant; as the engine's */
	struct greta_variant *variants;
	size_t n_variants, cap_variants;
	char *reference;            /* the variant that the others are compared with; the first by default */
	int64_t *contexts;          /* expanded from list and ranges, in file order, no duplicates */
	size_t n_contexts, cap_contexts;
	struct greta_repeat *repeats; /* [0] is the default */
	size_t n_repeats, cap_repeats;
	int64_t samples_per_attempt; /* timed prefills in one process */
	int64_t warmup;             /* untimed ones before them */
	enum greta_order order;
	uint64_t seed;              /* of the interleaving */
	struct greta_timeout *timeouts; /* wall budget of an attempt; [0] is the default */
	size_t n_timeouts, cap_timeouts;
	struct greta_phase_limit phases[GRETA_PHASE_COUNT];
	enum greta_on_slow on_slow;
	int retries[GRETA_OUTCOME_COUNT]; /* -1: free */
	struct greta_strs nodes;    /* names; empty: every node */
	struct greta_strs labels;   /* "K=V", all must match */
	enum greta_slot_kind slot;
	int64_t n_gpus;             /* of a gpu slot */
	int64_t cpus;               /* of a cpu slot; 0: all of the node's */
	enum greta_placement placement; /* other than ANY: of slots of one GPU alone */
	int64_t max_jobs_per_node;  /* 0: as many as slots */
	int64_t priority;           /* higher first; default 0 */
	double telemetry_interval_s; /* 0: off */
	int64_t log_limit_bytes;    /* kept of each attempt's output: head and tail */
	struct greta_gates gates;
};

/* Reads and checks a campaign. Returns 0, with warnings perhaps; or -1 with every mistake in *problems, in the order of
 * the text, and *out empty. name: how complaints call the text. */
int greta_campaign_parse(const char *name, const char *text, size_t n, struct greta_campaign *out,
			 struct greta_problems *problems);
int greta_campaign_load(const char *path, struct greta_campaign *out, struct greta_problems *problems,
			struct greta_buf *text); /* text: the file as it was, for the database; NULL: not wanted */
void greta_campaign_release(struct greta_campaign *c);

int64_t greta_campaign_repeats(const struct greta_campaign *c, int64_t context);
double greta_campaign_timeout_s(const struct greta_campaign *c, int64_t context);
const struct greta_engine *greta_campaign_engine(const struct greta_campaign *c, const struct greta_variant *v);

const char *greta_mode_name(enum greta_mode m);
const char *greta_order_name(enum greta_order o);
const char *greta_placement_name(enum greta_placement p);
const char *greta_adapter_name(enum greta_adapter a);
const char *greta_slot_kind_name(enum greta_slot_kind s);
const char *greta_on_slow_name(enum greta_on_slow s);

#endif
