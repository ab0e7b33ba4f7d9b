/* keys: reading a file that people write. One table of (key, kind, range) for each object; every mistake is noted with
 * its place and what was expected, and reading goes on. Private to schemas/. */
#ifndef SCHEMAS_KEYS_H
#define SCHEMAS_KEYS_H

#include "schemas/json.h"
#include "schemas/problems.h"
#include "schemas/words.h"

struct greta_campaign;

struct reader {
	const struct greta_json *doc;
	struct greta_problems *problems;
	struct greta_campaign *c;
};

enum key_kind { KEY_I64, KEY_F64, KEY_BOOL, KEY_TEXT, KEY_WORD, KEY_READ };

struct key {
	const char *name;         /* NULL ends a table */
	enum key_kind kind;
	size_t offset;            /* of int64_t, double, bool, char *, an enum, or what `read` fills */
	double min, max;          /* of a number */
	const struct words *words;
	void (*read)(struct reader *r, const struct greta_json_val *v, void *at);
	bool required;
	const char *expected;     /* what a missing one should have been */
};

/* In the order of the table, not of the file: so a later key may rest on an earlier one. */
void keys_read(struct reader *r, const struct greta_json_val *object, const struct key *keys, void *obj);

/* Each notes one mistake: at a value, at a member's key, or a warning at a value. NULL v: at the top. */
typedef void keys_complain_fn(struct reader *r, const struct greta_json_val *v, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
keys_complain_fn keys_error, keys_error_key, keys_warn;

/* "is "8k"; expected ..." */
void keys_unexpected(struct reader *r, const struct greta_json_val *v, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* A value of the kind; false after a complaint. */
bool keys_i64(struct reader *r, const struct greta_json_val *v, int64_t min, int64_t max, int64_t *out);
bool keys_f64(struct reader *r, const struct greta_json_val *v, double min, double max, double *out);
bool keys_word(struct reader *r, const struct greta_json_val *v, const struct words *words, int *out);

/* ", did you mean "variants"?", or "" where nothing is near. Appended. */
void keys_suggest(const char *got, const char *const *names, size_t n, struct greta_buf *out);

#endif
