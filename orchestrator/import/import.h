/* import: puts a B3.89 artifact tree into the database as a campaign of kind "import". Importing again adds what is new
 * in the tree and nothing twice. */
#ifndef ORCHESTRATOR_IMPORT_IMPORT_H
#define ORCHESTRATOR_IMPORT_IMPORT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include <stdint.h>

struct greta_db;

struct import_request {
	const char *dir;
	const char *name;          /* of the campaign; NULL: the tree's ticket, else the folder's name */
	const char *mode;          /* "perf" or "debug" for runs that do not say; NULL: perf */
	struct greta_strs variants; /* planned ones, "baseline" or "v3=q_lds" (name=attn_impl it must report) */
};

struct import_summary {
	int64_t campaign_id;
	int64_t n_added, n_known;  /* runs put in now; runs that were there already */
	int64_t n_ok, n_invalid, n_failed; /* of those added */
	int64_t n_never_ran;       /* planned cells without any run */
	struct greta_buf notes;    /* what was odd, a line each */
};

/* The writer's side: runs in the process that holds DB.lock. All of it in one transaction. */
int import_tree(struct greta_db *db, const struct import_request *r, struct import_summary *out, struct greta_err *e);
void import_summary_release(struct import_summary *s);

#endif
