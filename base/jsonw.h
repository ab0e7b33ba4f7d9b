/* jsonw: writes JSON into a buffer, in order, as it is told. Commas and escapes are its business; nesting is the
 * caller's. Non-finite numbers become null. Invalid UTF-8 becomes U+FFFD, so that what we write always parses. */
#ifndef BASE_JSONW_H
#define BASE_JSONW_H

#include "base/buf.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

struct greta_jsonw {
	struct greta_buf *out; /* borrowed */
	bool comma;
};

struct greta_jsonw greta_jsonw(struct greta_buf *out);
/* key: NULL inside an array or at the top. */
void greta_jsonw_object(struct greta_jsonw *w, const char *key);
void greta_jsonw_array(struct greta_jsonw *w, const char *key);
void greta_jsonw_end_object(struct greta_jsonw *w);
void greta_jsonw_end_array(struct greta_jsonw *w);
void greta_jsonw_str(struct greta_jsonw *w, const char *key, const char *value); /* NULL value: null */
void greta_jsonw_strn(struct greta_jsonw *w, const char *key, const char *value, size_t n);
void greta_jsonw_i64(struct greta_jsonw *w, const char *key, int64_t value);
void greta_jsonw_f64(struct greta_jsonw *w, const char *key, double value); /* shortest form that reads back equal */
void greta_jsonw_bool(struct greta_jsonw *w, const char *key, bool value);
void greta_jsonw_null(struct greta_jsonw *w, const char *key);
void greta_jsonw_strs(struct greta_jsonw *w, const char *key, const struct greta_strs *list);
void greta_jsonw_lines(struct greta_jsonw *w, const char *key, const char *text); /* a string for each line of it */
void greta_jsonw_raw(struct greta_jsonw *w, const char *key, const char *json);  /* a value that is JSON already */

#endif
