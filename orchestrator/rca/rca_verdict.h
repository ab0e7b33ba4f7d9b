/* rca_verdict: what a search for the cause of a hang has found, in words, tables and JSON. */
#ifndef ORCHESTRATOR_RCA_RCA_VERDICT_H
#define ORCHESTRATOR_RCA_RCA_VERDICT_H

#include "base/jsonw.h"
#include "orchestrator/cmd.h"
#include "orchestrator/print/table.h"
#include "orchestrator/rca/rca_load.h"

/* How often one cell hung, here or in other campaigns. */
struct rca_cell {
	char *variant, *setting;      /* setting: variables that differ from those it hung with, "" for none */
	char *where;                  /* "this search", "import b3_89", "campaign sweep" */
	int64_t context;
	struct hang_rate rate;
	bool imported;
};

struct rca_verdict {
	struct rca rca;
	struct rca_state state;
	struct rca_cell *cells;       /* this search's unchanged cells by context, then those of other campaigns */
	size_t n_cells, cap_cells;
};

int rca_verdict_make(struct greta_db *db, int64_t campaign_id, struct rca_verdict *out, struct greta_err *e);
void rca_verdict_release(struct rca_verdict *v);

size_t rca_verdict_count(const struct rca_verdict *v, enum rca_finding finding); /* factors */
/* Whether it follows what the kind stands for, by the first factor of that kind; false: none was varied. Another node has
 * another GPU, too: where that alone keeps the hang away on the node itself, it does not follow the node. */
bool rca_verdict_finding(const struct rca_verdict *v, enum rca_factor_kind kind, enum rca_finding *out);
const char *rca_finding_words(enum rca_finding f, enum rca_end end); /* "keeps the hang away" */

/* A sentence a line (rca_words.c): what was found, what it follows, what to do next. */
void rca_verdict_words(const struct rca_verdict *v, struct greta_buf *out);
struct table *rca_verdict_factors(const struct rca_verdict *v); /* each factor's hangs with it on and off */
struct table *rca_verdict_cells(const struct rca_verdict *v);
void rca_verdict_json(const struct rca_verdict *v, struct greta_jsonw *w); /* members of an object */
/* OK: a cause was told apart, NOT_ALL_OK: nothing was found, UNDECIDED: within the budget, or not yet. */
enum cmd_exit rca_verdict_exit(const struct rca_verdict *v);

/* What `rca` and `watch` print of it, and the exit code. */
int rca_verdict_show(const struct cmd_ctx *ctx, struct greta_db *db, int64_t campaign_id, struct greta_err *e);

/* The rca campaigns that explain attempts of this one, or itself where it is one: ids, oldest first. */
struct rca_ids {
	int64_t *items;
	size_t n, cap;
};
int rca_verdicts_of(struct greta_db *db, int64_t campaign_id, struct rca_ids *out, struct greta_err *e);

#endif
