/* fields: structs as tables. One table of (name, kind, offset) prints a struct as JSON, reads it back and frees it.
 * Private to schemas/.
 *
 * Reading is lenient where the other side may be newer: an unknown field is ignored, an absent one keeps the default
 * that the shape's init gave (else zero). A field that is there with another type is an error that names its place. */
#ifndef SCHEMAS_FIELDS_H
#define SCHEMAS_FIELDS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/jsonw.h"
#include "base/str.h"
#include "base/uuid.h"
#include "schemas/json.h"
#include "schemas/words.h"
#include <stdbool.h>
#include <stddef.h>

enum field_kind {
	FIELD_I64,
	FIELD_INT,
	FIELD_F64,      /* NaN is null, both ways */
	FIELD_BOOL,
	FIELD_STR,      /* char *; NULL is left out */
	FIELD_CHARS,    /* char[size]; cut if longer; "" is left out */
	FIELD_UUID,     /* char[GRETA_UUID_LEN + 1], checked, since it names folders; "" is left out */
	FIELD_ENUM,     /* a name of `words`; another one is an error */
	FIELD_ENUM_OPEN, /* as FIELD_ENUM, but a name we do not know reads as 0, which means unknown */
	FIELD_CODE,     /* enum greta_code; a name we do not know reads as EFAIL */
	FIELD_STRS,
	FIELD_OBJECT,   /* a struct of `shape` inside */
	FIELD_POINTER,  /* a pointer to one, or NULL, which is left out */
	FIELD_LIST,     /* items, n, cap of `shape` */
	FIELD_BY_NAME,  /* an array of `shape` with one element per name of `words`, as an object */
	FIELD_RAW,      /* char *: a JSON object as text */
	FIELD_METRICS,  /* items, n, cap of struct greta_metric, as an object of numbers and texts */
};

struct shape;

struct field {
	const char *name; /* NULL ends a table */
	enum field_kind kind;
	bool required;
	bool mostly_zero; /* of a FIELD_F64: zero is not written, and is what is not there */
	size_t offset;
	size_t size;                 /* of a FIELD_CHARS */
	size_t n_offset, cap_offset; /* of a FIELD_LIST or FIELD_METRICS */
	const struct shape *shape;
	const struct words *words;
};

struct shape {
	const char *name;        /* for complaints: "spec" */
	size_t size;             /* sizeof the struct */
	const struct field *fields;
	void (*init)(void *obj); /* defaults other than zero; NULL: none */
};

/* offsetof, refused by the compiler when the member is not of that type. */
#define FIELD_AT(owner, member, type)                                                                                  \
	(offsetof(owner, member) +                                                                                     \
	 0 * sizeof(char[__builtin_types_compatible_p(type, __typeof__(((owner *)0)->member)) ? 1 : -1]))

/* An element of a table: {F_I64(struct greta_spec, context), .required = true} */
#define FIELD_OF(owner, member, json, k, type) .name = (json), .kind = (k), .offset = FIELD_AT(owner, member, type)
#define F_I64(owner, member) FIELD_OF(owner, member, #member, FIELD_I64, int64_t)
#define F_INT(owner, member) FIELD_OF(owner, member, #member, FIELD_INT, int)
#define F_F64(owner, member) FIELD_OF(owner, member, #member, FIELD_F64, double)
#define F_BOOL(owner, member) FIELD_OF(owner, member, #member, FIELD_BOOL, bool)
#define F_STR(owner, member) FIELD_OF(owner, member, #member, FIELD_STR, char *)
#define F_UUID(owner, member) FIELD_OF(owner, member, #member, FIELD_UUID, char[GRETA_UUID_LEN + 1])
#define F_STRS(owner, member) FIELD_OF(owner, member, #member, FIELD_STRS, struct greta_strs)
#define F_RAW(owner, member) FIELD_OF(owner, member, #member, FIELD_RAW, char *)
#define F_CODE(owner, member) FIELD_OF(owner, member, #member, FIELD_CODE, enum greta_code)
#define F_CHARS(owner, member)                                                                                         \
	.name = #member, .kind = FIELD_CHARS, .offset = offsetof(owner, member), .size = sizeof(((owner *)0)->member)
#define F_ENUM(owner, member, type, list)                                                                              \
	FIELD_OF(owner, member, #member, FIELD_ENUM, enum type), .words = &(list)
#define F_ENUM_OPEN(owner, member, type, list)                                                                         \
	FIELD_OF(owner, member, #member, FIELD_ENUM_OPEN, enum type), .words = &(list)
#define F_OBJECT(owner, member, type, s) FIELD_OF(owner, member, #member, FIELD_OBJECT, struct type), .shape = &(s)
#define F_POINTER(owner, member, type, s)                                                                              \
	FIELD_OF(owner, member, #member, FIELD_POINTER, struct type *), .shape = &(s)
#define F_LIST(owner, member, type, s)                                                                                 \
	FIELD_OF(owner, member, #member, FIELD_LIST, struct type *), .n_offset = offsetof(owner, n_##member),          \
	.cap_offset = offsetof(owner, cap_##member), .shape = &(s)

void fields_print(const struct shape *shape, const void *obj, struct greta_jsonw *w, const char *key);
/* The members alone, into an object that is open already. */
void fields_print_members(const struct field *fields, const void *obj, struct greta_jsonw *w);

/* obj is overwritten; on failure it is released and zero. j is for places in complaints. */
int fields_parse(const struct shape *shape, const struct greta_json *j, const struct greta_json_val *v, void *obj,
		 struct greta_err *e);
/* Into an object whose defaults stand already, which stays the caller's to release. */
int fields_parse_members(const struct field *fields, const struct greta_json *j, const struct greta_json_val *v,
			 void *obj, struct greta_err *e);

void fields_release(const struct shape *shape, void *obj); /* frees what it owns and leaves it zero */

#endif
