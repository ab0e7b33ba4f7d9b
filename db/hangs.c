#include "db/hangs.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "db/attempts.h"
#include "db/fingerprint.h"
#include "db/internal.h"

/* "" where there is none. */
static int read_evidence(struct greta_db *db, int64_t attempt_id, const char *name, struct greta_buf *out,
			 struct greta_err *e)
{
	struct greta_err why = {0};

	if (!greta_evidence_read(db, attempt_id, name, out, &why) || why.code == GRETA_ENOENT)
		return 0;
	if (e)
		*e = why;
	return -1;
}

static int make(struct greta_db *db, int64_t attempt_id, struct fingerprint_facts *f, struct greta_buf *out,
		struct greta_err *e)
{
	static const char *const names[] = {"debugger", "threads", "kernel_log", "log_tail"};
	const char **const facts[] = {&f->debugger, &f->threads, &f->kernel_log, &f->log_tail};
	struct greta_buf texts[GRETA_COUNT(names)] = {0};
	int rc = 0;

	for (size_t i = 0; i < GRETA_COUNT(names) && rc == 0; i++) {
		rc = read_evidence(db, attempt_id, names[i], &texts[i], e);
		*facts[i] = greta_buf_str(&texts[i]);
	}
	if (rc == 0)
		fingerprint_make(f, out);
	for (size_t i = 0; i < GRETA_COUNT(names); i++)
		greta_buf_release(&texts[i]);
	return rc;
}

int greta_hangs_fingerprint(struct greta_db *db, int64_t attempt_id, struct greta_buf *out, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e,
		"SELECT coalesce(a.class, 'unclassified'), a.phase, json_extract(a.progress, '$.at'), a.verdict"
		" FROM attempt a WHERE a.id = ? AND " GRETA_IS_HANG,
		"i", attempt_id);
	int rc = q ? greta_query_step(q, e) : -1;
	struct fingerprint_facts f;

	if (rc != 1)
		return rc;
	f = (struct fingerprint_facts){
		.class_ = greta_query_str(q, 0),
		.phase = greta_query_str(q, 1),
		.at = greta_query_str(q, 2),
		.verdict = greta_query_str(q, 3),
	};
	return make(db, attempt_id, &f, out, e);
}

int greta_hangs_store_fingerprint(struct greta_db *db, int64_t attempt_id, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};

	if (greta_hangs_fingerprint(db, attempt_id, &text, e))
		return -1;
	return text.len ? greta_db_exec(db, e, "UPDATE attempt SET fingerprint = ? WHERE id = ?", "si", text.data,
					attempt_id)
			: 0;
}
