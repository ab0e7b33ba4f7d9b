/* sqlfn: what the SQL of views needs beyond SQLite itself. Compiled twice: into the library, where every connection has
 * it, and into greta_sqlite.so for the sqlite3 shell (`.load build/release/lib/greta_sqlite`).
 *
 *	greta_zstd(blob)                    the text in a compressed chunk; NULL for NULL
 *	greta_telemetry(columns, data)      a table: t_ns, name, value; one row a reading, in time order
 */
#ifdef GRETA_SQLITE_EXTENSION
#include <sqlite3ext.h>
SQLITE_EXTENSION_INIT1
#define ENTRY static
#else
#include "db/internal.h"
#define ENTRY
#endif

#include "base/mem.h"
#include "db/columns.h"
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define RAW_MAX (64ull * 1024 * 1024) /* no chunk of ours is near */

/* Decompresses into memory of greta_try_alloc; NULL with *why set. */
static char *inflate(const void *data, size_t n, size_t *raw_bytes, const char **why)
{
	unsigned long long said = ZSTD_getFrameContentSize(data, n);
	char *raw;
	size_t got;

	*why = "not a compressed chunk of GRETA's";
	if (said > RAW_MAX) /* also the two values that stand for "unknown" and "error" */
		return NULL;
	raw = greta_try_alloc((size_t)said + 1, 1);
	if (!raw) {
		*why = "out of memory";
		return NULL;
	}
	got = ZSTD_decompress(raw, (size_t)said, data, n);
	if (ZSTD_isError(got)) {
		*why = ZSTD_getErrorName(got);
		free(raw);
		return NULL;
	}
	*raw_bytes = got;
	return raw;
}

static void fn_zstd(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
	const char *why;
	size_t n = 0;
	char *raw;

	(void)argc;
	if (sqlite3_value_type(argv[0]) == SQLITE_NULL)
		return;
	raw = inflate(sqlite3_value_blob(argv[0]), (size_t)sqlite3_value_bytes(argv[0]), &n, &why);
	if (!raw) {
		char *text = sqlite3_mprintf("greta_zstd: %s", why);

		sqlite3_result_error(ctx, text ? text : why, -1);
		sqlite3_free(text);
		return;
	}
	sqlite3_result_text64(ctx, raw, n, free, SQLITE_UTF8);
}

/* ---- greta_telemetry: a table-valued function with two hidden parameters */

enum { COL_T_NS, COL_NAME, COL_VALUE, COL_COLUMNS, COL_DATA };

struct cursor {
	sqlite3_vtab_cursor base; /* first: SQLite hands back a pointer to it */
	char **names;
	size_t n_names;
	struct columns c;
	size_t at; /* row * m + column */
};

static int tv_connect(sqlite3 *sq, void *aux, int argc, const char *const *argv, sqlite3_vtab **out, char **err)
{
	int rc;

	(void)aux, (void)argc, (void)argv, (void)err;
	rc = sqlite3_declare_vtab(sq,
				  "CREATE TABLE x(t_ns INTEGER, name TEXT, value REAL, columns HIDDEN, data HIDDEN)");
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_vtab_config(sq, SQLITE_VTAB_INNOCUOUS);
	*out = sqlite3_malloc64(sizeof **out);
	if (!*out)
		return SQLITE_NOMEM;
	**out = (sqlite3_vtab){0};
	return SQLITE_OK;
}

static int tv_disconnect(sqlite3_vtab *table)
{
	sqlite3_free(table);
	return SQLITE_OK;
}

/* Both parameters have to be given; without them there is nothing to read. */
static int tv_best_index(sqlite3_vtab *table, sqlite3_index_info *info)
{
	int given = 0;

	(void)table;
	for (int i = 0; i < info->nConstraint; i++) {
		int column = info->aConstraint[i].iColumn;

		if (column != COL_COLUMNS && column != COL_DATA)
			continue;
		if (!info->aConstraint[i].usable || info->aConstraint[i].op != SQLITE_INDEX_CONSTRAINT_EQ)
			return SQLITE_CONSTRAINT;
		info->aConstraintUsage[i].argvIndex = column - COL_COLUMNS + 1;
		info->aConstraintUsage[i].omit = 1;
		given++;
	}
	info->idxNum = given == 2;
	info->estimatedCost = 1000;
	info->estimatedRows = 1000;
	return SQLITE_OK;
}

static int tv_open(sqlite3_vtab *table, sqlite3_vtab_cursor **out)
{
	struct cursor *cur = greta_alloc(sizeof *cur);

	(void)table;
	*out = &cur->base;
	return SQLITE_OK;
}

static void cursor_clear(struct cursor *cur)
{
	for (size_t i = 0; i < cur->n_names; i++)
		free(cur->names[i]);
	free(cur->names);
	columns_release(&cur->c);
	cur->names = NULL;
	cur->n_names = cur->at = 0;
}

static int tv_close(sqlite3_vtab_cursor *base)
{
	struct cursor *cur = (struct cursor *)base;

	cursor_clear(cur);
	free(cur);
	return SQLITE_OK;
}

/* Names are a JSON array of plain strings that we wrote: names of readings hold neither quotes nor escapes. */
static void read_names(struct cursor *cur, const char *json)
{
	size_t cap = 0;

	while (json && (json = strchr(json, '"'))) {
		const char *end = strchr(json + 1, '"');

		if (!end)
			return;
		*GRETA_PUSH(cur->names, cur->n_names, cap) = greta_strndup(json + 1, (size_t)(end - json - 1));
		json = end + 1;
	}
}

static int refuse(struct cursor *cur, const char *why)
{
	cursor_clear(cur);
	sqlite3_free(cur->base.pVtab->zErrMsg);
	cur->base.pVtab->zErrMsg = sqlite3_mprintf("greta_telemetry: %s", why);
	return SQLITE_ERROR;
}

static void skip_missing(struct cursor *cur)
{
	while (cur->at < cur->c.n * cur->c.m && isnan(cur->c.values[cur->at]))
		cur->at++;
}

static int tv_filter(sqlite3_vtab_cursor *base, int index, const char *index_name, int argc, sqlite3_value **argv)
{
	struct cursor *cur = (struct cursor *)base;
	const char *why = NULL;
	size_t n = 0;
	char *raw;
	int rc;

	(void)index_name, (void)argc;
	cursor_clear(cur);
	if (!index)
		return refuse(cur, "needs (columns, data) of a telemetry_chunk");
	read_names(cur, (const char *)sqlite3_value_text(argv[0]));
	raw = inflate(sqlite3_value_blob(argv[1]), (size_t)sqlite3_value_bytes(argv[1]), &n, &why);
	if (!raw)
		return refuse(cur, why);
	rc = columns_decode(raw, n, &cur->c);
	free(raw);
	if (rc || cur->c.m != cur->n_names)
		return refuse(cur, "a damaged chunk");
	skip_missing(cur);
	return SQLITE_OK;
}

static int tv_next(sqlite3_vtab_cursor *base)
{
	struct cursor *cur = (struct cursor *)base;

	cur->at++;
	skip_missing(cur);
	return SQLITE_OK;
}

static int tv_eof(sqlite3_vtab_cursor *base)
{
	struct cursor *cur = (struct cursor *)base;

	return cur->at >= cur->c.n * cur->c.m;
}

static int tv_column(sqlite3_vtab_cursor *base, sqlite3_context *ctx, int column)
{
	struct cursor *cur = (struct cursor *)base;

	switch (column) {
	case COL_T_NS:
		sqlite3_result_int64(ctx, cur->c.t_ns[cur->at / cur->c.m]);
		break;
	case COL_NAME:
		sqlite3_result_text(ctx, cur->names[cur->at % cur->c.m], -1, SQLITE_TRANSIENT);
		break;
	case COL_VALUE:
		sqlite3_result_double(ctx, cur->c.values[cur->at]);
		break;
	}
	return SQLITE_OK;
}

static int tv_rowid(sqlite3_vtab_cursor *base, sqlite3_int64 *rowid)
{
	*rowid = (sqlite3_int64)((struct cursor *)base)->at;
	return SQLITE_OK;
}

static const sqlite3_module telemetry_module = {
	.xConnect = tv_connect, /* no xCreate: it exists in every database, by its name alone */
	.xDisconnect = tv_disconnect,
	.xBestIndex = tv_best_index,
	.xOpen = tv_open,
	.xClose = tv_close,
	.xFilter = tv_filter,
	.xNext = tv_next,
	.xEof = tv_eof,
	.xColumn = tv_column,
	.xRowid = tv_rowid,
};

#ifdef GRETA_SQLITE_EXTENSION
static int db_register_functions(sqlite3 *sq);
#endif

ENTRY int db_register_functions(sqlite3 *sq)
{
	int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
	int rc = sqlite3_create_function_v2(sq, "greta_zstd", 1, flags, NULL, fn_zstd, NULL, NULL, NULL);

	return rc != SQLITE_OK ? rc : sqlite3_create_module_v2(sq, "greta_telemetry", &telemetry_module, NULL, NULL);
}

#ifdef GRETA_SQLITE_EXTENSION
__attribute__((visibility("default"))) int sqlite3_gretasqlite_init(sqlite3 *sq, char **err,
								    const sqlite3_api_routines *api);

/* The name that the sqlite3 shell derives from the file's: greta_sqlite.so. */
int sqlite3_gretasqlite_init(sqlite3 *sq, char **err, const sqlite3_api_routines *api)
{
	SQLITE_EXTENSION_INIT2(api);
	(void)err;
	return db_register_functions(sq);
}
#endif
