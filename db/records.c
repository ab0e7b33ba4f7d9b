#include "db/records.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/mem.h"
#include "db/internal.h"
#include "db/likely.h"
#include <pwd.h>

/* ---- models and builds */

int greta_models_record(struct greta_db *db, const struct greta_model_facts *m, int64_t *model_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;

	if (greta_txn_begin(db, &txn, e) ||
	    greta_db_exec(
		    db, e,
		    "INSERT INTO model (file_sha256, data_sha256, metadata_sha256, name, architecture, file_type,"
		    " n_params, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (file_sha256) DO UPDATE"
		    " SET data_sha256 = coalesce(data_sha256, ?2), metadata_sha256 = coalesce(metadata_sha256, ?3),"
		    " name = coalesce(name, ?4), architecture = coalesce(architecture, ?5),"
		    " file_type = coalesce(file_type, ?6), n_params = coalesce(n_params, ?7),"
		    " bytes = coalesce(bytes, ?8)",
		    "ssssssoo", m->file_sha256, m->data_sha256, m->metadata_sha256, m->name, m->architecture,
		    m->file_type, m->n_params, m->bytes) ||
	    db_get_i64(db, model_id, e, "SELECT id FROM model WHERE file_sha256 = ?", "s", m->file_sha256) < 0)
		return -1;
	return greta_txn_commit(&txn, e);
}

int greta_builds_record(struct greta_db *db, const struct greta_build_facts *b, int64_t *build_id, struct greta_err *e)
{
	cleanup_txn struct greta_txn txn = greta_txn_none;
	int rc = db_get_i64(db, build_id, e,
			    "SELECT id FROM build WHERE build_sha256 = ?1 AND (?2 IS NULL OR engine_sha256 IS NOT NULL)"
			    " AND (?3 IS NULL OR declared_id IS NOT NULL) AND (?4 IS NULL OR version IS NOT NULL)",
			    "ssss", b->build_sha256, b->engine_sha256, b->declared_id, b->version);

	if (rc) /* known, and there is nothing new to say of it: nearly always */
		return rc < 0 ? -1 : 0;
	if (greta_txn_begin(db, &txn, e) ||
	    greta_db_exec(db, e,
			  "INSERT INTO build (build_sha256, engine_sha256, declared_id, version, first_seen_ns)"
			  " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (build_sha256) DO UPDATE SET"
			  " engine_sha256 = coalesce(engine_sha256, ?2), declared_id = coalesce(declared_id, ?3),"
			  " version = coalesce(version, ?4)",
			  "ssssi", b->build_sha256, b->engine_sha256, b->declared_id, b->version,
			  greta_clock_wall_ns()) ||
	    db_get_i64(db, build_id, e, "SELECT id FROM build WHERE build_sha256 = ?", "s", b->build_sha256) < 0)
		return -1;
	return greta_txn_commit(&txn, e);
}

int greta_builds_add_kernel(struct greta_db *db, int64_t build_id, const struct greta_kernel *k, struct greta_err *e)
{
	return greta_db_exec(db, e,
			     "INSERT INTO code_object (build_id, kernel, arch, sha256, vgpr, agpr, sgpr, lds_bytes,"
			     " scratch_bytes, spills, occupancy) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
			     " ON CONFLICT DO NOTHING",
			     "isssuuuuuuu", build_id, k->kernel, k->arch, k->code_object_sha256, k->vgpr, k->agpr, k->sgpr,
			     k->lds_bytes, k->scratch_bytes, k->spills, k->blocks_per_unit);
}

/* ---- baselines */

void greta_baseline_rows_release(struct greta_baseline_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		free(rows->items[i].name);
		free(rows->items[i].campaign);
		free(rows->items[i].variant);
		free(rows->items[i].note);
	}
	free(rows->items);
	*rows = (struct greta_baseline_rows){0};
}

static int check_baseline(struct greta_db *db, int64_t campaign_id, const char *variant, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT count(*), coalesce(sum(a.tokens_verified = 0), 0) FROM job j JOIN attempt a ON a.id ="
		" j.counted_attempt JOIN variant v ON v.id = j.variant_id"
		" WHERE j.campaign_id = ?1 AND (?2 IS NULL OR v.name = ?2)",
		"is", campaign_id, variant);
	int rc = q ? greta_query_step(q, e) : -1;

	if (rc < 0)
		return -1;
	if (greta_query_i64(q, 0) == 0)
		return greta_err_set(e, GRETA_EINVAL,
				     "campaign %lld%s%s has no counted result: nothing to compare with",
				     (long long)campaign_id, variant ? ", variant " : "", variant ? variant : "");
	if (greta_query_i64(q, 1))
		return greta_err_set(
			e, GRETA_EINVAL,
			"campaign %lld is no baseline: for %lld of its %lld results the engine did not say how "
			"many tokens it prefilled",
			(long long)campaign_id, (long long)greta_query_i64(q, 1), (long long)greta_query_i64(q, 0));
	return 0;
}

int greta_baselines_set(struct greta_db *db, const char *name, int64_t campaign_id, const char *variant,
			const char *note, struct greta_err *e)
{
	if (check_baseline(db, campaign_id, variant, e))
		return -1;
	return greta_db_exec(
		db, e,
		"INSERT INTO baseline (name, campaign_id, variant, set_ns, note) VALUES (?1, ?2, ?3, ?4, ?5)"
		" ON CONFLICT (name) DO UPDATE SET campaign_id = ?2, variant = ?3, set_ns = ?4, note = ?5",
		"sisis", name, campaign_id, variant, greta_clock_wall_ns(), note);
}

int greta_baselines_list(struct greta_db *db, struct greta_baseline_rows *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT b.name, c.name, b.variant, b.note, b.campaign_id, b.set_ns FROM baseline b JOIN campaign c"
		" ON c.id = b.campaign_id ORDER BY b.name",
		"");
	int rc = q ? greta_query_step(q, e) : -1;

	for (; rc == 1; rc = greta_query_step(q, e)) {
		struct greta_baseline_row *row = GRETA_PUSH(out->items, out->n, out->cap);

		row->name = db_dup(q, 0);
		row->campaign = db_dup(q, 1);
		row->variant = db_dup(q, 2);
		row->note = db_dup(q, 3);
		row->campaign_id = greta_query_i64(q, 4);
		row->set_ns = greta_query_i64(q, 5);
	}
	return rc;
}

int greta_baselines_remove(struct greta_db *db, const char *name, struct greta_err *e)
{
	cleanup_buf struct greta_buf near = {0};

	if (greta_db_exec(db, e, "DELETE FROM baseline WHERE name = ?", "s", name))
		return -1;
	if (greta_db_changes(db))
		return 0;
	if (db_likely(db, &near, name, "SELECT name FROM baseline ORDER BY name", e))
		return -1;
	return greta_err_set(e, GRETA_ENOENT, "no baseline \"%s\"; there %s%s", name, near.len ? "are: " : "is none",
			     greta_buf_str(&near));
}

/* ---- imports */

int greta_imports_seen(struct greta_db *db, const char *key, bool *seen, struct greta_err *e)
{
	int64_t one = 0;

	if (db_get_i64(db, &one, e, "SELECT 1 FROM import_file WHERE sha256 = ?", "s", key) < 0)
		return -1;
	*seen = one;
	return 0;
}

int greta_imports_add(struct greta_db *db, const char *key, const char *path, int64_t campaign_id, int64_t attempt_id,
		      struct greta_err *e)
{
	return greta_db_exec(db, e,
			     "INSERT INTO import_file (sha256, path, campaign_id, attempt_id, imported_ns)"
			     " VALUES (?, ?, ?, ?, ?)",
			     "ssioi", key, path, campaign_id, attempt_id, greta_clock_wall_ns());
}

int greta_imports_campaign(struct greta_db *db, const char *name, int64_t *campaign_id, struct greta_err *e)
{
	int rc;

	*campaign_id = 0;
	rc = db_get_i64(db, campaign_id, e,
			"SELECT id FROM campaign WHERE kind = 'import' AND name = ? ORDER BY id DESC LIMIT 1", "s",
			name);
	return rc < 0 ? -1 : 0;
}

/* ---- actions */

int greta_actions_add(struct greta_db *db, const char *who, const char *what, const char *detail, struct greta_err *e)
{
	struct passwd *pw = who ? NULL : getpwuid(getuid());

	return greta_db_exec(db, e, "INSERT INTO action (at_ns, who, what, detail) VALUES (?, ?, ?, ?)", "isss",
			     greta_clock_wall_ns(),
			     who  ? who
			     : pw ? pw->pw_name
				  : NULL,
			     what, detail ? detail : "{}");
}
