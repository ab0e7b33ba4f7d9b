#include "db/specs.h"

#include "base/cleanup.h"
#include "base/sha256.h"
#include "db/internal.h"
#include "schemas/msg.h"

static int record(struct greta_db *db, const char *text, int64_t *id, struct greta_err *e)
{
	char sha256[GRETA_SHA256_HEX + 1];
	int found;

	greta_sha256_of(text, strlen(text), sha256);
	found = db_get_i64(db, id, e, "SELECT id FROM spec WHERE sha256 = ?", "s", sha256);
	if (found)
		return found < 0 ? -1 : 0;
	if (greta_db_exec(db, e, "INSERT INTO spec (sha256, text) VALUES (?, ?)", "ss", sha256, text))
		return -1;
	*id = greta_db_inserted(db);
	return 0;
}

int specs_record(struct greta_db *db, const char *printed, int64_t *id, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};

	greta_buf_addc(&text, '{');
	greta_buf_adds(&text, greta_spec_alike(printed));
	return record(db, text.data, id, e);
}

int specs_build(struct greta_db *db, struct greta_err *e)
{
	cleanup_query struct greta_query *q = greta_query_open(
		db, e, "SELECT attempt_id, json_remove(spec, '$.attempt', '$.repeat', '$.try_no') FROM attempt_text"
		       " WHERE spec IS NOT NULL", "");
	int rc = q ? greta_query_step(q, e) : -1;
	int64_t id;

	for (; rc == 1; rc = greta_query_step(q, e))
		if (record(db, greta_query_str(q, 1), &id, e) ||
		    greta_db_exec(db, e, "UPDATE attempt SET spec_id = ? WHERE id = ?", "ii", id, greta_query_i64(q, 0)))
			return -1;
	if (rc < 0)
		return -1;
	greta_query_close(q);
	q = NULL;
	return db_script(db, "DROP TABLE attempt_text", e);
}
