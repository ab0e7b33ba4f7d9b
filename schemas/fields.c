#include "schemas/fields.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "schemas/result.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Members are read and written by memcpy: a table knows where they are, not what type the compiler gave them. */
#define LOAD(type, obj, at)                                                                                            \
	({                                                                                                             \
		type value_;                                                                                           \
		memcpy(&value_, (const char *)(obj) + (at), sizeof(value_));                                           \
		value_;                                                                                                \
	})
#define STORE(type, obj, at, v)                                                                                        \
	do {                                                                                                           \
		type value_ = (v);                                                                                     \
		memcpy((char *)(obj) + (at), &value_, sizeof(value_));                                                 \
	} while (0)

/* ---- print */

static void print_strs(const struct field *f, const void *obj, struct greta_jsonw *w)
{
	struct greta_strs v = LOAD(struct greta_strs, obj, f->offset);

	if (v.n)
		greta_jsonw_strs(w, f->name, &v);
}

static void print_list(const struct field *f, const void *obj, struct greta_jsonw *w)
{
	const char *items = LOAD(const char *, obj, f->offset);
	size_t n = LOAD(size_t, obj, f->n_offset);

	if (!n)
		return;
	greta_jsonw_array(w, f->name);
	for (size_t i = 0; i < n; i++)
		fields_print(f->shape, items + i * f->shape->size, w, NULL);
	greta_jsonw_end_array(w);
}

static void print_by_name(const struct field *f, const void *obj, struct greta_jsonw *w)
{
	const char *items = (const char *)obj + f->offset;

	greta_jsonw_object(w, f->name);
	for (int i = 0; i < f->words->n; i++)
		fields_print(f->shape, items + (size_t)i * f->shape->size, w, f->words->names[i]);
	greta_jsonw_end_object(w);
}

static void print_metrics(const struct field *f, const void *obj, struct greta_jsonw *w)
{
	const struct greta_metric *m = LOAD(const struct greta_metric *, obj, f->offset);
	size_t n = LOAD(size_t, obj, f->n_offset);

	greta_jsonw_object(w, f->name);
	for (size_t i = 0; i < n; i++) {
		if (m[i].text)
			greta_jsonw_str(w, m[i].name, m[i].text);
		else
			greta_jsonw_f64(w, m[i].name, m[i].value);
	}
	greta_jsonw_end_object(w);
}

static void print_str(const char *name, const char *value, struct greta_jsonw *w)
{
	if (value && *value)
		greta_jsonw_str(w, name, value);
}

static void print_field(const struct field *f, const void *obj, struct greta_jsonw *w)
{
	switch (f->kind) {
	case FIELD_I64:
		greta_jsonw_i64(w, f->name, LOAD(int64_t, obj, f->offset));
		break;
	case FIELD_INT:
		greta_jsonw_i64(w, f->name, LOAD(int, obj, f->offset));
		break;
	case FIELD_F64:
		if (!f->mostly_zero || LOAD(double, obj, f->offset) != 0)
			greta_jsonw_f64(w, f->name, LOAD(double, obj, f->offset));
		break;
	case FIELD_BOOL:
		greta_jsonw_bool(w, f->name, LOAD(bool, obj, f->offset));
		break;
	case FIELD_STR:
		if (LOAD(const char *, obj, f->offset))
			greta_jsonw_str(w, f->name, LOAD(const char *, obj, f->offset));
		break;
	case FIELD_CHARS:
	case FIELD_UUID:
		print_str(f->name, (const char *)obj + f->offset, w);
		break;
	case FIELD_ENUM:
	case FIELD_ENUM_OPEN:
		greta_jsonw_str(w, f->name, words_name(f->words, LOAD(int, obj, f->offset)));
		break;
	case FIELD_CODE:
		greta_jsonw_str(w, f->name, greta_code_name(LOAD(enum greta_code, obj, f->offset)));
		break;
	case FIELD_STRS:
		print_strs(f, obj, w);
		break;
	case FIELD_OBJECT:
		fields_print(f->shape, (const char *)obj + f->offset, w, f->name);
		break;
	case FIELD_POINTER:
		if (LOAD(const void *, obj, f->offset))
			fields_print(f->shape, LOAD(const void *, obj, f->offset), w, f->name);
		break;
	case FIELD_LIST:
		print_list(f, obj, w);
		break;
	case FIELD_BY_NAME:
		print_by_name(f, obj, w);
		break;
	case FIELD_RAW:
		if (LOAD(const char *, obj, f->offset))
			greta_jsonw_raw(w, f->name, LOAD(const char *, obj, f->offset));
		break;
	case FIELD_METRICS:
		print_metrics(f, obj, w);
		break;
	}
}

void fields_print_members(const struct field *fields, const void *obj, struct greta_jsonw *w)
{
	for (const struct field *f = fields; f->name; f++)
		print_field(f, obj, w);
}

void fields_print(const struct shape *shape, const void *obj, struct greta_jsonw *w, const char *key)
{
	greta_jsonw_object(w, key);
	fields_print_members(shape->fields, obj, w);
	greta_jsonw_end_object(w);
}

/* ---- read */

struct reading {
	const struct greta_json *j;
	struct greta_err *e;
};

static int read_members(const struct reading *r, const struct field *fields, const struct greta_json_val *v, void *obj);

static int refuse(const struct reading *r, const struct greta_json_val *v, const char *expected)
{
	cleanup_buf struct greta_buf path = {0};

	greta_json_path(r->j, v, &path);
	return greta_err_set(r->e, GRETA_EPROTO, "%.200s: expected %s", path.len ? path.data : "the message", expected);
}

static int read_strs(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	struct greta_strs strs = {0};
	int rc = 0;

	if (greta_json_type(v) != GRETA_JSON_ARRAY)
		return refuse(r, v, "a list of strings");
	for (const struct greta_json_val *c = greta_json_first(v); c && !rc; c = greta_json_next(c)) {
		const char *s;

		if (greta_json_str(c, &s))
			rc = refuse(r, c, "a string");
		else
			greta_strs_add(&strs, s);
	}
	STORE(struct greta_strs, obj, f->offset, strs);
	return rc;
}

static int read_object(const struct reading *r, const struct shape *shape, const struct greta_json_val *v, void *obj)
{
	if (greta_json_type(v) != GRETA_JSON_OBJECT)
		return refuse(r, v, "an object");
	if (shape->init)
		shape->init(obj);
	return read_members(r, shape->fields, v, obj);
}

static int read_pointer(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	void *part = greta_alloc(f->shape->size);

	STORE(void *, obj, f->offset, part);
	return read_object(r, f->shape, v, part);
}

static int read_list(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	char *items = NULL;
	size_t n = 0, cap = 0;
	int rc = 0;

	if (greta_json_type(v) != GRETA_JSON_ARRAY)
		return refuse(r, v, "a list");
	for (const struct greta_json_val *c = greta_json_first(v); c && !rc; c = greta_json_next(c)) {
		items = greta_array_grow(items, f->shape->size, n, &cap);
		rc = read_object(r, f->shape, c, items + f->shape->size * n++);
	}
	STORE(char *, obj, f->offset, items);
	STORE(size_t, obj, f->n_offset, n);
	STORE(size_t, obj, f->cap_offset, cap);
	return rc;
}

static int read_by_name(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	if (greta_json_type(v) != GRETA_JSON_OBJECT)
		return refuse(r, v, "an object");
	for (const struct greta_json_val *c = greta_json_first(v); c; c = greta_json_next(c)) {
		int i = words_find(f->words, greta_json_key(c));

		if (i >= 0 && read_object(r, f->shape, c, (char *)obj + f->offset + (size_t)i * f->shape->size))
			return -1;
	}
	return 0;
}

static int read_metric(const struct reading *r, const struct greta_json_val *v, struct greta_metric *m)
{
	const char *text;

	m->value = NAN;
	if (!greta_json_str(v, &text))
		m->text = greta_strdup(text);
	else if (greta_json_type(v) != GRETA_JSON_NULL && greta_json_f64(v, &m->value))
		return refuse(r, v, "a number, a string or null");
	m->name = greta_strdup(greta_json_key(v));
	return 0;
}

static int read_metrics(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	struct greta_metric *items = NULL;
	size_t n = 0, cap = 0;
	int rc = 0;

	if (greta_json_type(v) != GRETA_JSON_OBJECT)
		return refuse(r, v, "an object");
	for (const struct greta_json_val *c = greta_json_first(v); c && !rc; c = greta_json_next(c))
		rc = read_metric(r, c, GRETA_PUSH(items, n, cap));
	STORE(struct greta_metric *, obj, f->offset, items);
	STORE(size_t, obj, f->n_offset, n);
	STORE(size_t, obj, f->cap_offset, cap);
	return rc;
}

static int read_uuid(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	const char *s;

	if (greta_json_str(v, &s) || !greta_uuid_valid(s))
		return refuse(r, v, "a UUID in lower case");
	greta_str_copy((char *)obj + f->offset, GRETA_UUID_LEN + 1, s);
	return 0;
}

static int read_word(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	cleanup_buf struct greta_buf expected = {0};
	const char *s = NULL;
	int i;

	if (greta_json_str(v, &s))
		return refuse(r, v, "a string");
	i = words_find(f->words, s);
	if (i < 0 && f->kind == FIELD_ENUM) {
		greta_buf_adds(&expected, "one of ");
		words_print(f->words, 0, &expected);
		return refuse(r, v, expected.data);
	}
	STORE(int, obj, f->offset, i < 0 ? 0 : i);
	return 0;
}

static enum greta_code code_by_name(const char *name)
{
	for (int code = GRETA_OK; code <= GRETA_ECANCELLED; code++)
		if (greta_str_eq(greta_code_name((enum greta_code)code), name))
			return (enum greta_code)code;
	return GRETA_EFAIL;
}

static int read_text(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	struct greta_buf raw = {0};
	const char *s;

	if (f->kind == FIELD_RAW) {
		if (greta_json_type(v) != GRETA_JSON_OBJECT)
			return refuse(r, v, "an object");
		greta_json_print(v, &raw);
		STORE(char *, obj, f->offset, greta_buf_steal(&raw));
		return 0;
	}
	if (greta_json_str(v, &s))
		return refuse(r, v, "a string");
	if (f->kind == FIELD_STR)
		STORE(char *, obj, f->offset, greta_strdup(s));
	else if (f->kind == FIELD_CODE)
		STORE(enum greta_code, obj, f->offset, code_by_name(s));
	else
		greta_str_copy((char *)obj + f->offset, f->size, s);
	return 0;
}

static int read_number(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	int64_t i;
	double d = NAN;

	if (f->kind == FIELD_F64) {
		if (greta_json_type(v) != GRETA_JSON_NULL && greta_json_f64(v, &d))
			return refuse(r, v, "a number or null");
		STORE(double, obj, f->offset, d);
		return 0;
	}
	if (greta_json_i64(v, &i) || (f->kind == FIELD_INT && (i < INT_MIN || i > INT_MAX)))
		return refuse(r, v, "a whole number");
	if (f->kind == FIELD_INT)
		STORE(int, obj, f->offset, (int)i);
	else
		STORE(int64_t, obj, f->offset, i);
	return 0;
}

static int read_bool(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	bool b;

	if (greta_json_bool(v, &b))
		return refuse(r, v, "true or false");
	STORE(bool, obj, f->offset, b);
	return 0;
}

static int read_field(const struct reading *r, const struct field *f, const struct greta_json_val *v, void *obj)
{
	switch (f->kind) {
	case FIELD_I64:
	case FIELD_INT:
	case FIELD_F64:
		return read_number(r, f, v, obj);
	case FIELD_BOOL:
		return read_bool(r, f, v, obj);
	case FIELD_STR:
	case FIELD_CHARS:
	case FIELD_CODE:
	case FIELD_RAW:
		return read_text(r, f, v, obj);
	case FIELD_UUID:
		return read_uuid(r, f, v, obj);
	case FIELD_ENUM:
	case FIELD_ENUM_OPEN:
		return read_word(r, f, v, obj);
	case FIELD_STRS:
		return read_strs(r, f, v, obj);
	case FIELD_OBJECT:
		return read_object(r, f->shape, v, (char *)obj + f->offset);
	case FIELD_POINTER:
		return read_pointer(r, f, v, obj);
	case FIELD_LIST:
		return read_list(r, f, v, obj);
	case FIELD_BY_NAME:
		return read_by_name(r, f, v, obj);
	case FIELD_METRICS:
		return read_metrics(r, f, v, obj);
	}
	return -1;
}

static int refuse_absent(const struct reading *r, const struct greta_json_val *object, const struct field *f)
{
	cleanup_buf struct greta_buf path = {0};

	greta_json_path(r->j, object, &path);
	return greta_err_set(r->e, GRETA_EPROTO, "%.200s%s\"%s\" is missing", greta_buf_str(&path),
			     path.len ? ": " : "", f->name);
}

static int read_members(const struct reading *r, const struct field *fields, const struct greta_json_val *v, void *obj)
{
	for (const struct field *f = fields; f->name; f++) {
		const struct greta_json_val *member = greta_json_get(v, f->name);

		if (!member || (greta_json_type(member) == GRETA_JSON_NULL && f->kind != FIELD_F64)) {
			if (f->required)
				return refuse_absent(r, v, f);
			continue;
		}
		if (read_field(r, f, member, obj))
			return -1;
	}
	return 0;
}

int fields_parse_members(const struct field *fields, const struct greta_json *j, const struct greta_json_val *v,
			 void *obj, struct greta_err *e)
{
	struct reading r = {j, e};

	return read_members(&r, fields, v, obj);
}

int fields_parse(const struct shape *shape, const struct greta_json *j, const struct greta_json_val *v, void *obj,
		 struct greta_err *e)
{
	struct reading r = {j, e};

	memset(obj, 0, shape->size);
	if (read_object(&r, shape, v, obj)) {
		fields_release(shape, obj);
		return greta_err_wrap(e, "%s", shape->name);
	}
	return 0;
}

/* ---- release */

static void release_field(const struct field *f, void *obj);

static void release_members(const struct field *fields, void *obj)
{
	for (const struct field *f = fields; f->name; f++)
		release_field(f, obj);
}

static void release_list(const struct field *f, void *obj)
{
	char *items = LOAD(char *, obj, f->offset);
	size_t n = LOAD(size_t, obj, f->n_offset);

	for (size_t i = 0; i < n; i++)
		release_members(f->shape->fields, items + i * f->shape->size);
	free(items);
}

static void release_metrics(const struct field *f, void *obj)
{
	struct greta_metric *m = LOAD(struct greta_metric *, obj, f->offset);
	size_t n = LOAD(size_t, obj, f->n_offset);

	for (size_t i = 0; i < n; i++) {
		free(m[i].name);
		free(m[i].text);
	}
	free(m);
}

static void release_pointer(const struct field *f, void *obj)
{
	void *part = LOAD(void *, obj, f->offset);

	if (part)
		release_members(f->shape->fields, part);
	free(part);
}

static void release_field(const struct field *f, void *obj)
{
	struct greta_strs strs;

	switch (f->kind) {
	case FIELD_STR:
	case FIELD_RAW:
		free(LOAD(char *, obj, f->offset));
		break;
	case FIELD_STRS:
		strs = LOAD(struct greta_strs, obj, f->offset);
		greta_strs_release(&strs);
		break;
	case FIELD_OBJECT:
		release_members(f->shape->fields, (char *)obj + f->offset);
		break;
	case FIELD_BY_NAME:
		for (int i = 0; i < f->words->n; i++)
			release_members(f->shape->fields, (char *)obj + f->offset + (size_t)i * f->shape->size);
		break;
	case FIELD_POINTER:
		release_pointer(f, obj);
		break;
	case FIELD_LIST:
		release_list(f, obj);
		break;
	case FIELD_METRICS:
		release_metrics(f, obj);
		break;
	default:
		break; /* owns nothing */
	}
}

void fields_release(const struct shape *shape, void *obj)
{
	release_members(shape->fields, obj);
	memset(obj, 0, shape->size);
}
