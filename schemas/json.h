/* json: reading JSON (cJSON inside; no other folder sees it).
 *
 * A document keeps its text, so that a complaint can say file, line and column. Values are borrowed from the document.
 * Comments (// and C style) are allowed. Refused: trailing commas, duplicate keys, NaN and numbers beyond a double,
 * nesting over GRETA_JSON_DEPTH_MAX, invalid UTF-8, and the escape \u0000 (strings here are C strings).
 */
#ifndef SCHEMAS_JSON_H
#define SCHEMAS_JSON_H

#include "base/buf.h"
#include "base/err.h"
#include "schemas/problems.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRETA_JSON_DEPTH_MAX 64
#define GRETA_JSON_TEXT_MAX (256u << 20) /* bytes of one document */

struct greta_json;     /* a document */
struct greta_json_val; /* a value in it */

/* name: how complaints call it ("campaign.json"); text need not be NUL-terminated; numbers keep full int64 range.
 * The text of an error is "name:line:column: what is wrong". */
struct greta_json *greta_json_parse(const char *name, const char *text, size_t n, struct greta_err *e);
/* The same for a file that a person writes: slips that can be read past (a trailing comma, one that is missing, a key
 * that stands twice) are noted and reading goes on, so that all mistakes are told at once. A document with slips is to
 * be refused. */
struct greta_json *greta_json_parse_past(const char *name, const char *text, size_t n, struct greta_problems *slips,
					 struct greta_err *e);
struct greta_json *greta_json_load(const char *path, size_t max_bytes, struct greta_err *e);
void greta_json_destroy(struct greta_json *j);

const struct greta_json_val *greta_json_root(const struct greta_json *j);

enum greta_json_type { GRETA_JSON_NULL, GRETA_JSON_BOOL, GRETA_JSON_NUMBER, GRETA_JSON_STRING, GRETA_JSON_ARRAY,
		       GRETA_JSON_OBJECT };
enum greta_json_type greta_json_type(const struct greta_json_val *v);
const char *greta_json_type_name(enum greta_json_type t); /* "a number", "an object" */

const struct greta_json_val *greta_json_get(const struct greta_json_val *object, const char *key); /* NULL if absent */
const struct greta_json_val *greta_json_first(const struct greta_json_val *container); /* members in file order */
const struct greta_json_val *greta_json_next(const struct greta_json_val *v);
size_t greta_json_size(const struct greta_json_val *container);
const char *greta_json_key(const struct greta_json_val *member);       /* NULL for an array's element */

/* Each returns 0, or -1 when v is NULL or of another type (out untouched). */
int greta_json_str(const struct greta_json_val *v, const char **out);  /* borrowed from the document */
int greta_json_i64(const struct greta_json_val *v, int64_t *out);      /* a whole number in range */
int greta_json_f64(const struct greta_json_val *v, double *out);
int greta_json_bool(const struct greta_json_val *v, bool *out);

/* The value as compact JSON text, appended: numbers and escapes as they were written. */
void greta_json_print(const struct greta_json_val *v, struct greta_buf *out);

/* Line and column (from 1, in characters) of a value in the document's text, or of its key. */
void greta_json_where(const struct greta_json *j, const struct greta_json_val *v, int *line, int *column);
void greta_json_where_key(const struct greta_json *j, const struct greta_json_val *member, int *line, int *column);

/* Where it stands in the document: "variants[1].args", "" for the root. Appended. */
void greta_json_path(const struct greta_json *j, const struct greta_json_val *v, struct greta_buf *out);

#endif
