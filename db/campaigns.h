/* campaigns: what was submitted, as rows. Written once, whole; after that only the state changes (an import may add
 * variants and jobs, since its tree may have grown). */
#ifndef DB_CAMPAIGNS_H
#define DB_CAMPAIGNS_H

#include "base/err.h"
#include "base/uuid.h"
#include "db/db.h"
#include "db/jobs.h"
#include "schemas/campaign.h"
#include "schemas/outcome.h"
#include <stdint.h>

#define GRETA_CAMPAIGN_STATES(X)      \
	X(ACTIVE,    "active")        \
	X(DONE,      "done")          \
	X(CANCELLED, "cancelled")

enum greta_campaign_state {
#define X(id, name) GRETA_CAMPAIGN_##id,
	GRETA_CAMPAIGN_STATES(X)
#undef X
	GRETA_CAMPAIGN_STATE_COUNT
};
const char *greta_campaign_state_name(enum greta_campaign_state s);

enum greta_campaign_kind { GRETA_CAMPAIGN_SUBMIT, GRETA_CAMPAIGN_IMPORT, GRETA_CAMPAIGN_RCA };
const char *greta_campaign_kind_name(enum greta_campaign_kind k);

struct greta_new_variant {
	const char *name;
	const char *detail;             /* JSON object: args, env, engine, expect; NULL: {} */
};

struct greta_new_job {
	size_t variant;                 /* index into variants */
	int64_t context, repeat;        /* repeat from 0 */
	int64_t block;                  /* of the interleaving */
};

struct greta_new_campaign {
	const char *name, *text;        /* text: the file as submitted, secrets redacted; its hash is taken here */
	enum greta_mode mode;
	enum greta_campaign_kind kind;
	int64_t explains;               /* attempt that an rca campaign explains; 0: none */
	const char *design;             /* of an rca campaign: what it varies, JSON; NULL: none */
	int64_t priority;
	const char *submitted_by, *base_dir; /* NULL: not known */
	const struct greta_new_variant *variants;
	size_t n_variants;
	const struct greta_new_job *jobs; /* in the order they are to run: their index is the job's position */
	size_t n_jobs;
};

/* All of it in one transaction. *id and uuid say what it became. EEXIST names a job that is there twice. */
int greta_campaigns_add(struct greta_db *db, const struct greta_new_campaign *c, int64_t *id,
			char uuid[GRETA_UUID_LEN + 1], struct greta_err *e);

/* Finds or adds a variant: of an import, whose tree may have grown. */
int greta_campaigns_variant(struct greta_db *db, int64_t campaign_id, const char *name, const char *detail,
			    int64_t *variant_id, struct greta_err *e);

struct greta_campaign_row {
	int64_t id;
	char uuid[GRETA_UUID_LEN + 1];
	char *name, *text, *text_sha256;
	char *design;                   /* NULL: it is no rca campaign */
	enum greta_mode mode;
	enum greta_campaign_kind kind;
	enum greta_campaign_state state;
	int64_t explains, priority;
	char *submitted_by, *base_dir;  /* may be NULL */
	int64_t submitted_ns, finished_ns; /* finished_ns 0: not yet */
};
struct greta_campaign_rows {
	struct greta_campaign_row *items;
	size_t n, cap;
};
void greta_campaign_row_release(struct greta_campaign_row *row);
void greta_campaign_rows_release(struct greta_campaign_rows *rows);

/* which: an id, a uuid or the start of one (8 characters or more), a name (the newest of that name), "latest" or NULL.
 * ENOENT says what there is instead. */
int greta_campaigns_find(struct greta_db *db, const char *which, int64_t *id, struct greta_err *e);
int greta_campaigns_get(struct greta_db *db, int64_t id, struct greta_campaign_row *out, struct greta_err *e);

/* Newest first; without their text and design. limit 0: all. */
int greta_campaigns_list(struct greta_db *db, int64_t limit, struct greta_campaign_rows *out, struct greta_err *e);
/* Those to work on: highest priority first, then oldest; without their text and design. */
int greta_campaigns_active(struct greta_db *db, struct greta_campaign_rows *out, struct greta_err *e);

/* done: every job has ended. cancelled: jobs still queued become cancelled with it; those running are the caller's. */
int greta_campaigns_finish(struct greta_db *db, int64_t id, struct greta_err *e);
int greta_campaigns_cancel(struct greta_db *db, int64_t id, const char *reason, struct greta_err *e);

struct greta_campaign_counts {
	int64_t n_jobs;
	int64_t by_state[GRETA_JOB_STATE_COUNT];
	int64_t n_counted;              /* jobs with a counted result */
	int64_t attempts[GRETA_OUTCOME_COUNT]; /* ended attempts, by outcome */
};
int greta_campaigns_counts(struct greta_db *db, int64_t id, struct greta_campaign_counts *out, struct greta_err *e);

struct greta_variant_row {
	int64_t id;
	char *name, *detail;
};
struct greta_variant_rows {
	struct greta_variant_row *items;
	size_t n, cap;
};
int greta_campaigns_variants(struct greta_db *db, int64_t id, struct greta_variant_rows *out, struct greta_err *e);
void greta_variant_rows_release(struct greta_variant_rows *rows);

#endif
