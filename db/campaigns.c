#include "db/campaigns.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include "db/internal.h"
#include "db/likely.h"

static const char *const state_names[] = {
#define X(id, name) [GRETA_CAMPAIGN_##id] = name,
	GRETA_CAMPAIGN_STATES(X)
#undef X
};

static const char *const kind_names[] = {
	[GRETA_CAMPAIGN_SUBMIT] = "submit", [GRETA_CAMPAIGN_IMPORT] = "import", [GRETA_CAMPAIGN_RCA] = "rca"};

const char *greta_campaign_state_name(enum greta_campaign_state s)
{
	return (size_t)s < GRETA_COUNT(state_names) ? state_names[s] : "?";
}

const char *greta_campaign_kind_name(enum greta_campaign_kind k)
{
	return (size_t)k < GRETA_COUNT(kind_names) ? kind_names[k] : "?";
}

/* ---- adding */

static int insert_campaign(struct greta_db *db, const struct greta_new_campaign *c, const char *uuid, int64_t *id,
			   struct greta_err *e)
{
	char sha256[GRETA_SHA256_HEX + 1];

	greta_sha256_of(c->text, strlen(c->text), sha256);
	if (greta_db_exec(db, e,
			  "INSERT INTO campaign (uuid, name, text, text_sha256, mode, kind, explains, priority,"
			  " submitted_by, base_dir, submitted_ns, design) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			  "ssssssoissis", uuid, c->name, c->text, sha256, greta_mode_name(c->mode),
			  greta_campaign_kind_name(c->kind), c->explains, c->priority, c->submitted_by, c->base_dir,
			  greta_clock_wall_ns(), c->design))
		return -1;
	*id = greta_db_inserted(db);
	return 0;
}

static int insert_variant(struct greta_db *db, int64_t campaign_id, const char *name, const char *detail,
			  int64_t position, int64_t *id, struct greta_err *e)
{
	if (greta_db_exec(db, e, "INSERT INTO variant (campaign_id, name, position, detail) VALUES (?, ?, ?, ?)",
			  "isis", campaign_id, name, position, detail ? detail : "{}"))
		return -1;
	*id = greta_db_inserted(db);
	return 0;
}

static int insert_jobs(struct greta_db *db, int64_t campaign_id, const struct greta_new_campaign *c,
		       const int64_t *variant_ids, struct greta_err *e)
{
	for (size_t i = 0; i < c->n_jobs; i++) {
		const struct greta_new_job *j = &c->jobs[i];

		if (greta_db_exec(db, e,
				  "INSERT INTO job (campaign_id, variant_id, context, repeat, position, block)"
				  " VALUES (?, ?, ?, ?, ?, ?)",
				  "iiiiii", campaign_id, variant_ids[j->variant], j->context, j->repeat, (int64_t)i,
				  j->block))
			return greta_err_wrap(e, "job %zu (variant %s, context %lld, repeat %lld)", i,
					      c->variants[j->variant].name, (long long)j->context,
					      (long long)j->repeat);
	}
	return 0;
}

static int insert_all(struct greta_db *db, const struct greta_new_campaign *c, const char *uuid, int64_t *id,
		      struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int64_t *variant_ids = greta_alloc((c->n_variants + 1) * sizeof *variant_ids);
	int rc = greta_txn_begin(db, &txn, e) || insert_campaign(db, c, uuid, id, e);

	for (size_t i = 0; i < c->n_variants && !rc; i++)
		rc = insert_variant(db, *id, c->variants[i].name, c->variants[i].detail, (int64_t)i, &variant_ids[i],
				    e);
	if (!rc)
		rc = insert_jobs(db, *id, c, variant_ids, e);
	free(variant_ids);
	return rc ? -1 : greta_txn_commit(&txn, e);
}

int greta_campaigns_add(struct greta_db *db, const struct greta_new_campaign *c, int64_t *id,
			char uuid[GRETA_UUID_LEN + 1], struct greta_err *e)
{
	for (size_t i = 0; i < c->n_jobs; i++)
		if (c->jobs[i].variant >= c->n_variants)
			return greta_err_set(e, GRETA_EINVAL, "job %zu is of variant %zu, and there are %zu", i,
					     c->jobs[i].variant, c->n_variants);
	return insert_all(db, c, greta_uuid_new(uuid), id, e);
}

int greta_campaigns_variant(struct greta_db *db, int64_t campaign_id, const char *name, const char *detail,
			    int64_t *variant_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int64_t position = 0;
	int rc;

	if (greta_txn_begin(db, &txn, e))
		return -1;
	rc = db_get_i64(db, variant_id, e, "SELECT id FROM variant WHERE campaign_id = ? AND name = ?", "is",
			campaign_id, name);
	if (rc == 0) {
		rc = db_get_i64(db, &position, e,
				"SELECT coalesce(max(position) + 1, 0) FROM variant WHERE campaign_id = ?", "i",
				campaign_id);
		if (rc >= 0)
			rc = insert_variant(db, campaign_id, name, detail, position, variant_id, e);
	}
	return rc < 0 ? -1 : greta_txn_commit(&txn, e);
}

/* ---- reading */

void greta_campaign_row_release(struct greta_campaign_row *row)
{
	free(row->name);
	free(row->text);
	free(row->text_sha256);
	free(row->design);
	free(row->submitted_by);
	free(row->base_dir);
	*row = (struct greta_campaign_row){0};
}

void greta_campaign_rows_release(struct greta_campaign_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		greta_campaign_row_release(&rows->items[i]);
	free(rows->items);
	*rows = (struct greta_campaign_rows){0};
}

#define CAMPAIGN_COLUMNS                                                                                               \
	"id, uuid, name, text_sha256, mode, kind, state, explains, priority, submitted_by, base_dir,"                  \
	" submitted_ns, finished_ns"

static void read_row(struct greta_query *q, struct greta_campaign_row *row)
{
	row->id = greta_query_i64(q, 0);
	db_copy_uuid(row->uuid, q, 1);
	row->name = db_dup(q, 2);
	row->text_sha256 = db_dup(q, 3);
	row->mode = greta_str_eq(greta_query_str(q, 4), greta_mode_name(GRETA_MODE_DEBUG)) ? GRETA_MODE_DEBUG
											   : GRETA_MODE_PERF;
	row->kind = (enum greta_campaign_kind)db_word(q, 5, kind_names, GRETA_COUNT(kind_names));
	row->state = (enum greta_campaign_state)db_word(q, 6, state_names, GRETA_COUNT(state_names));
	row->explains = greta_query_i64(q, 7);
	row->priority = greta_query_i64(q, 8);
	row->submitted_by = db_dup(q, 9);
	row->base_dir = db_dup(q, 10);
	row->submitted_ns = greta_query_i64(q, 11);
	row->finished_ns = greta_query_i64(q, 12);
}

static int read_rows(struct greta_query *q, struct greta_campaign_rows *out, struct greta_err *e)
{
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e))
		read_row(q, GRETA_PUSH(out->items, out->n, out->cap));
	return rc;
}

int greta_campaigns_get(struct greta_db *db, int64_t id, struct greta_campaign_row *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, "SELECT " CAMPAIGN_COLUMNS ", text, design FROM campaign WHERE id = ?", "i", id);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc == 0)
		return greta_err_set(e, GRETA_ENOENT, "there is no campaign %lld", (long long)id);
	if (rc < 0)
		return -1;
	*out = (struct greta_campaign_row){0};
	read_row(q, out);
	out->text = db_dup(q, 13);
	out->design = db_dup(q, 14);
	return 0;
}

int greta_campaigns_list(struct greta_db *db, int64_t limit, struct greta_campaign_rows *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e, "SELECT " CAMPAIGN_COLUMNS " FROM campaign ORDER BY id DESC LIMIT ?", "i",
				 limit > 0 ? limit : (int64_t)-1);

	return read_rows(q, out, e);
}

int greta_campaigns_active(struct greta_db *db, struct greta_campaign_rows *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT " CAMPAIGN_COLUMNS " FROM campaign WHERE state = 'active' ORDER BY priority DESC, id",
		"");

	return read_rows(q, out, e);
}

/* ---- finding one by what a person typed */

static int find_exact(struct greta_db *db, const char *which, int64_t *id, struct greta_err *e)
{
	int64_t number;
	int rc = db_get_i64(db, id, e, "SELECT id FROM campaign WHERE name = ? ORDER BY id DESC LIMIT 1", "s", which);

	if (rc == 0 && !greta_str_i64(which, &number))
		rc = db_get_i64(db, id, e, "SELECT id FROM campaign WHERE id = ?", "i", number);
	if (rc == 0 && strlen(which) >= 8)
		rc = db_get_i64(db, id, e, "SELECT id FROM campaign WHERE substr(uuid, 1, length(?1)) = ?1 LIMIT 1",
				"s", which);
	return rc;
}

static int not_found(struct greta_db *db, const char *which, struct greta_err *e)
{
	cleanup_buf struct greta_buf near = {0};

	if (db_likely(db, &near, which, "SELECT DISTINCT name FROM campaign ORDER BY id DESC", e))
		return -1;
	if (!near.len)
		return greta_err_set(e, GRETA_ENOENT, "%s: holds no campaign yet; `greta-orch submit FILE` starts one",
				     db->path);
	return greta_err_set(e, GRETA_ENOENT, "no campaign \"%s\" in %s; there are: %s", which, db->path, near.data);
}

int greta_campaigns_find(struct greta_db *db, const char *which, int64_t *id, struct greta_err *e)
{
	bool latest = !which || !strcmp(which, "latest");
	int rc = 0;

	if (!latest)
		rc = find_exact(db, which, id, e);
	else
		rc = db_get_i64(db, id, e, "SELECT id FROM campaign ORDER BY id DESC LIMIT 1", "");
	if (rc < 0)
		return -1;
	return rc ? 0 : not_found(db, latest ? "latest" : which, e);
}

/* ---- its state */

static int set_state(struct greta_db *db, int64_t id, enum greta_campaign_state state, struct greta_err *e)
{
	if (greta_db_exec(db, e, "UPDATE campaign SET state = ?, finished_ns = ? WHERE id = ?", "sii",
			  greta_campaign_state_name(state), greta_clock_wall_ns(), id))
		return -1;
	if (greta_db_changes(db) == 0)
		return greta_err_set(e, GRETA_ENOENT, "there is no campaign %lld", (long long)id);
	return 0;
}

int greta_campaigns_finish(struct greta_db *db, int64_t id, struct greta_err *e)
{
	return set_state(db, id, GRETA_CAMPAIGN_DONE, e);
}

int greta_campaigns_cancel(struct greta_db *db, int64_t id, const char *reason, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int64_t n;

	if (greta_txn_begin(db, &txn, e) || set_state(db, id, GRETA_CAMPAIGN_CANCELLED, e) ||
	    greta_jobs_cancel(db, id, NULL, 0, -1, reason, &n, e))
		return -1;
	return greta_txn_commit(&txn, e);
}

/* ---- counts and variants */

static int count_jobs(struct greta_db *db, int64_t id, struct greta_campaign_counts *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT state, count(*), count(counted_attempt) FROM job WHERE campaign_id = ? GROUP BY state",
		"i", id);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		for (int s = 0; s < GRETA_JOB_STATE_COUNT; s++)
			if (greta_str_eq(greta_query_str(q, 0), greta_job_state_name((enum greta_job_state)s)))
				out->by_state[s] = greta_query_i64(q, 1);
		out->n_jobs += greta_query_i64(q, 1);
		out->n_counted += greta_query_i64(q, 2);
	}
	return rc;
}

int greta_campaigns_counts(struct greta_db *db, int64_t id, struct greta_campaign_counts *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q =
		greta_query_open(db, e,
				 "SELECT a.outcome, count(*) FROM job j JOIN attempt a ON a.job_id = j.id"
				 " WHERE j.campaign_id = ? AND a.state IN ('ended', 'pruned') GROUP BY a.outcome",
				 "i", id);
	int rc;

	*out = (struct greta_campaign_counts){0};
	if (count_jobs(db, id, out, e))
		return -1;
	rc = q ? greta_query_step(q, e) : -1;
	for (; rc == 1; rc = greta_query_step(q, e))
		out->attempts[greta_outcome_parse(greta_query_str(q, 0))] += greta_query_i64(q, 1);
	return rc;
}

int greta_campaigns_variants(struct greta_db *db, int64_t id, struct greta_variant_rows *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT id, name, detail FROM variant WHERE campaign_id = ? ORDER BY position", "i", id);
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		struct greta_variant_row *row = GRETA_PUSH(out->items, out->n, out->cap);

		row->id = greta_query_i64(q, 0);
		row->name = db_dup(q, 1);
		row->detail = db_dup(q, 2);
	}
	return rc;
}

void greta_variant_rows_release(struct greta_variant_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		free(rows->items[i].name);
		free(rows->items[i].detail);
	}
	free(rows->items);
	*rows = (struct greta_variant_rows){0};
}
