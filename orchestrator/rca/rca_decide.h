/* rca_decide: what a root cause analysis knows, and which of its planned runs it still needs. Pure: a function of the
 * design and of what became of each run, so that a controller which starts anew decides the same.
 *
 * Three stages, one after the other:
 *
 *	again      the cell as it hung, until it hangs again; not once in enough runs: nothing was found
 *	factors    the same context, each factor of each run on or off by a coin that was thrown when the campaign was planned
 *	contexts   the cell as it hung at smaller contexts, by bisection: one hang tells, or enough runs without one
 *
 * The test of a factor asks hangs alone. Had it no influence, a hang would find it on or off by the coin, whatever the
 * other factors do, and however the hang rate drifts: the coin was thrown before. So each hang is a bet on "off", and the
 * product of the pay-outs, an e-value, has an expectation of 1 at every time; by Ville's inequality it ever reaches 1/a
 * with a probability of at most a. So one may look after each run, and stop.
 *
 * The coin is fair, since that decides soonest about one factor that removes the hang: half of the runs can hang then.
 * Of three such, an eighth can. Where hangs are rarer than one factor explains, runs are taken from others that were
 * planned, with each factor on in three of ten: a hang tells less of each, but there are more. What has happened chooses
 * the coin, not what it will show, so the bets stay fair; each is paid by the coin of its run. For the same reason runs
 * are looked at in the plan's order, up to the first that has not ended: by the order in which they end, what is quick in
 * one place would come before what hangs in another.
 *
 *	Ville, Etude critique de la notion de collectif, 1939
 *	Ramdas, Gruenwald, Vovk and Shafer, Game-theoretic statistics and safe anytime-valid inference, Statist. Sci. 38 (2023)
 *	Wald, Sequential tests of statistical hypotheses, Ann. Math. Statist. 16 (1945): the same, to dismiss a factor
 *	Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979)
 *
 * The chance that any factor without influence is said to matter is RCA_ALPHA, over all of them: each has its share, that
 * of those found goes to the others. The chance that one which removes RCA_REMOVES of the hangs is dismissed is RCA_BETA,
 * each. One that was dismissed needs no more runs, but as long as others do, it is still seen to matter if it does: it
 * may remove half of the hangs.
 */
#ifndef ORCHESTRATOR_RCA_RCA_DECIDE_H
#define ORCHESTRATOR_RCA_RCA_DECIDE_H

#include "orchestrator/analysis/hang_rate.h"
#include "orchestrator/rca/rca_design.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RCA_ALPHA 0.05
#define RCA_REMOVES 0.9

#define RCA_STEPS(X)                                                                          \
	X(NONE,      NULL)           /* it is not queued */                                   \
	X(RUN,       NULL)           /* it may run now */                                     \
	X(WAIT,      NULL)           /* it may be needed later */                             \
	X(AGAIN,     "not needed: it hung again")                                             \
	X(SETTLED,   "not needed: one of its settings is known to keep the hang away")        \
	X(FACTORS,   "not needed: every factor is decided")                                   \
	X(BISECTED,  "not needed: the smallest context that hangs is known without it")       \
	X(NOTHING,   "not needed: the hang did not come back")                                \
	X(BUDGET,    "the budget is spent")

enum rca_step {
#define X(id, reason) RCA_STEP_##id,
	RCA_STEPS(X)
#undef X
};
const char *rca_step_reason(enum rca_step s); /* of those that skip; NULL: it does not */

#define RCA_FINDINGS(X)                                                                \
	X(OPEN,      "open")                                                           \
	X(REMOVES_HANGS, "removes") /* with it on, hangs are rarer or gone */           \
	X(WORSENS,   "worsens")                                                        \
	X(DISMISSED, "dismissed")  /* it does not remove RCA_REMOVES of the hangs */

enum rca_finding {
#define X(id, name) RCA_##id,
	RCA_FINDINGS(X)
#undef X
	RCA_FINDING_COUNT
};
const char *rca_finding_name(enum rca_finding f);

#define RCA_BETS 3
struct rca_factor {
	enum rca_finding finding;
	double e_removes[RCA_BETS], e_worsens; /* what each bet on it has come to, by its share of the stake */
	double e_matters, e_dismisses;   /* of all bets, when it was found, or now; when it was dismissed, or now */
	struct hang_rate bet_on, bet_off; /* runs that it was judged by */
	struct hang_rate on, off;        /* runs of the stage that tell, none of them under another factor that was found */
	int64_t failed_on, failed_off;
};

#define RCA_ENDS(X)                                                                             \
	X(GOES_ON,    "open")                                                                   \
	X(NOTHING,    "not_reproduced") /* it did not hang again */                             \
	X(DECIDED,    "decided")        /* every factor, and the smallest context */            \
	X(UNDECIDED,  "undecided")      /* within the budget, or with the nodes there were */

enum rca_end {
#define X(id, name) RCA_END_##id,
	RCA_ENDS(X)
#undef X
};
const char *rca_end_name(enum rca_end e);

struct rca_state {
	enum rca_stage stage;
	enum rca_end end;
	int64_t n_attempts, n_running;
	double wall_s;
	struct hang_rate again;
	struct hang_rate unchanged;      /* stages again and factors, while no factor was on that is known to remove it */
	struct rca_factor factors[RCA_FACTORS_MAX];
	struct hang_rate contexts[RCA_CONTEXTS_MAX];
	bool context_done[RCA_CONTEXTS_MAX]; /* one that hung, or ran often enough without */
	int64_t runs_needed;             /* without a hang, for a context to be called free of it */
	int64_t smallest;                /* context that hung, as far as is known; 0: it never hung again */
	bool budget_spent;
};

/* Runs in the campaign's order. steps: one a run; NULL: not wanted. */
void rca_decide(const struct rca_design *d, const struct rca_run *runs, size_t n, struct rca_state *out,
		enum rca_step *steps);

/* What an outcome tells: it hung, it did not, it ended badly otherwise, or nothing (the fault of node or person). */
enum rca_telling { RCA_TELLS_NOTHING, RCA_TELLS_HANG, RCA_TELLS_QUIET, RCA_TELLS_FAILURE };
enum rca_telling rca_telling(enum greta_outcome o);

#endif
