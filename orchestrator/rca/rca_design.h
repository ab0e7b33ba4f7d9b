/* rca_design: what a root cause analysis varies, how far it may go, and the runs that it may need: all of them planned
 * beforehand, as jobs of one campaign. It is stored with the campaign (campaign.design) as JSON. */
#ifndef ORCHESTRATOR_RCA_RCA_DESIGN_H
#define ORCHESTRATOR_RCA_RCA_DESIGN_H

#include "base/buf.h"
#include "base/err.h"
#include "db/jobs.h"
#include "schemas/outcome.h"
#include <stddef.h>
#include <stdint.h>

#define RCA_FACTORS_MAX 9   /* 512 variants */
#define RCA_CONTEXTS_MAX 32
#define RCA_BETA 0.05 /* chance of missing what hangs at the design's rate; of factors: see rca_decide.h */

#define RCA_FACTOR_KINDS(X)                                                        \
	X(SETTING, "setting")  /* variables of the environment */                  \
	X(VARIANT, "variant")  /* on: the reference variant in its place */        \
	X(DEVICE,  "device")   /* on: another GPU of the same node */              \
	X(NODE,    "node")     /* on: another node; then DEVICE means nothing */

enum rca_factor_kind {
#define X(id, name) RCA_##id,
	RCA_FACTOR_KINDS(X)
#undef X
	RCA_FACTOR_KIND_COUNT
};
const char *rca_factor_kind_name(enum rca_factor_kind k);

/* job.block of its runs; rca_decide.h says what they are. RCA_SPARSE: runs of the stage of factors under another coin. */
enum rca_stage { RCA_AGAIN, RCA_FACTORS, RCA_CONTEXTS, RCA_SPARSE };
double rca_stage_coin(enum rca_stage s); /* the chance that a run of it has a given factor on */

struct rca_design {
	double rate;                     /* smallest hang rate that is worth finding */
	int64_t budget_runs;             /* attempts, whatever becomes of them */
	double budget_s;                 /* of node time; 0: no limit */
	char *variant, *reference;       /* what hung, and what is tried in its place; NULL: nothing is */
	int64_t context;                 /* where it hung */
	int64_t contexts[RCA_CONTEXTS_MAX]; /* smaller ones to try, growing */
	size_t n_contexts;
	struct {
		enum rca_factor_kind kind;
		char *name;              /* "HSA_ENABLE_SDMA=0", "variant baseline", "another node than n1" */
	} factors[RCA_FACTORS_MAX];
	size_t n_factors;
	int64_t same_device, other_devices; /* runs at once on the GPU that hung, and on its neighbours; 0: not pinned */
	unsigned *variants;              /* which factors are on in each of the campaign's variants, a bit a factor */
	size_t n_variants, cap_variants;
};
void rca_design_release(struct rca_design *d);
void rca_design_print(const struct rca_design *d, struct greta_buf *out);
int rca_design_parse(const char *text, struct rca_design *out, struct greta_err *e);

unsigned rca_design_bits(const struct rca_design *d, enum rca_factor_kind kind); /* the factors of a kind */

struct rca_run {                         /* a job of the campaign */
	int64_t job_id;
	enum rca_stage stage;
	int64_t context;
	unsigned on;                     /* a bit a factor */
	/* what became of it */
	enum greta_job_state state;
	enum greta_outcome outcome;      /* of the attempt that tells most; UNKNOWN: none has ended */
	int64_t n_attempts;
	double wall_s;                   /* of all of them */
};
struct rca_runs {
	struct rca_run *items;
	size_t n, cap;
};
void rca_runs_release(struct rca_runs *r);

int64_t rca_runs_at_most(const struct rca_design *d, enum rca_stage stage);
int64_t rca_budget_wanted(const struct rca_design *d); /* what it takes to find a hang of the rate, nearly always */

/* The job list, with some to spare where attempts may be lost or turn out not to be needed. The same seed throws the same
 * coins. */
void rca_design_runs(const struct rca_design *d, uint64_t seed, struct rca_runs *out);

#endif
