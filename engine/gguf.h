/* gguf: reads a GGUF model file (versions 2 and 3, little-endian), memory-mapped.
 *
 * gguf_open checks all that can be checked without a model's meaning: every length and offset against the file, counts
 * before anything is allocated for them, duplicate keys and tensors, dimensions, types, alignment, and that tensor data
 * lies inside the file, one tensor after another. After it has succeeded, nothing reached through this header leads
 * outside the mapping. Errors name the file, the offset or key, and what is wrong. A file that is cut short by
 * somebody else while it is mapped ends the process with SIGBUS, as for any mapping.
 *
 * The mapping is read-only and private; tensors point into it, no copy is made.
 */
#ifndef ENGINE_GGUF_H
#define ENGINE_GGUF_H

#include "base/err.h"
#include "engine/quant.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GGUF_DEFAULT_ALIGNMENT 32
#define GGUF_MAX_DIMS 4
#define GGUF_MIN_ALIGNMENT 8
#define GGUF_MAX_NAME 63       /* bytes in a tensor's name */
#define GGUF_MAX_KEY 65535     /* bytes in a key */
#define GGUF_MAX_COUNT 1000000 /* keys, or tensors: far beyond any model, and a bound on memory for a bad file */

/* X(name, as it is shown, id in the file, bytes of one; 0: varies) */
#define GGUF_VALUE_TYPES(X)                                                                                            \
	X(U8, u8, 0, 1)                                                                                                \
	X(I8, i8, 1, 1)                                                                                                \
	X(U16, u16, 2, 2)                                                                                              \
	X(I16, i16, 3, 2)                                                                                              \
	X(U32, u32, 4, 4)                                                                                              \
	X(I32, i32, 5, 4)                                                                                              \
	X(F32, f32, 6, 4)                                                                                              \
	X(BOOL, bool, 7, 1)                                                                                            \
	X(STR, str, 8, 0)                                                                                              \
	X(ARRAY, array, 9, 0)                                                                                          \
	X(U64, u64, 10, 8)                                                                                             \
	X(I64, i64, 11, 8)                                                                                             \
	X(F64, f64, 12, 8)

enum gguf_value_type {
	GGUF_VALUE_TYPE_LIMIT = 13, /* ids are below this */
#define X(name, shown, id, bytes) GGUF_##name = id,
	GGUF_VALUE_TYPES(X)
#undef X
};

const char *gguf_value_type_name(enum gguf_value_type type); /* "u32", "str" */
size_t gguf_value_type_bytes(enum gguf_value_type type);     /* 0 for strings and arrays */

struct gguf_str { /* bytes in the mapping, not terminated; any bytes */
	const char *s;
	size_t n;
};

struct gguf_kv {
	const char *key;                /* terminated; owned by the file's struct */
	enum gguf_value_type type;      /* GGUF_ARRAY: of item_type */
	enum gguf_value_type item_type; /* of an array's items; else as type. Never GGUF_ARRAY: arrays do not nest */
	uint64_t n;                     /* items; 1 unless an array */
	const uint8_t *data;            /* encoded value (of an array: its first item), unaligned */
	uint64_t bytes;                 /* encoded bytes at data */
	uint64_t offset;                /* of data in the file */
};

struct gguf_tensor {
	const char *name; /* terminated; owned by the file's struct */
	const struct quant_traits *traits;
	int n_dims;                 /* 1..4 */
	uint64_t ne[GGUF_MAX_DIMS]; /* values in each dimension, ne[0] contiguous (a row); 1 beyond n_dims; never 0 */
	uint64_t offset;            /* of its data in the file */
	uint64_t bytes;
	const void *data; /* in the mapping, aligned to the file's alignment */
};

struct gguf;

struct gguf *gguf_open(const char *path, struct greta_err *e); /* NULL on error */
/* The same over bytes that stay the caller's and outlive it; `name` stands in messages. */
struct gguf *gguf_open_memory(const char *name, const void *bytes, size_t n, struct greta_err *e);
void gguf_close(struct gguf *g); /* NULL is fine */

const char *gguf_path(const struct gguf *g);
uint32_t gguf_version(const struct gguf *g);
uint32_t gguf_alignment(const struct gguf *g);
uint64_t gguf_file_bytes(const struct gguf *g);
const uint8_t *gguf_bytes(const struct gguf *g); /* the whole mapping */
uint64_t gguf_data_offset(const struct gguf *g); /* where tensor data begins */

size_t gguf_n_tensors(const struct gguf *g);
const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i);      /* in the file's order */
const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name); /* NULL if it has none */
const void *gguf_tensor_row(const struct gguf_tensor *t, uint64_t row);        /* row: over all dims but ne[0] */
uint64_t gguf_tensor_rows(const struct gguf_tensor *t);                        /* ne[1] * ne[2] * ne[3] */

size_t gguf_n_kv(const struct gguf *g);
const struct gguf_kv *gguf_kv_at(const struct gguf *g, size_t i);
const struct gguf_kv *gguf_find(const struct gguf *g, const char *key); /* NULL if absent */

/* Typed values. Integers are taken from any integer type whose value fits, floats from any float type. A key that is
 * missing (ENOENT) or of another type or out of range (EINVAL) is an error that names file and key. The _or forms take
 * the default where the key is absent; a wrong type is still an error. *out is untouched on error. */
int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct greta_err *e);
int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct greta_err *e);
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct greta_err *e);
int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct greta_err *e);
int gguf_get_u32_or(const struct gguf *g, const char *key, uint32_t fallback, uint32_t *out, struct greta_err *e);
int gguf_get_f32_or(const struct gguf *g, const char *key, float fallback, float *out, struct greta_err *e);
int gguf_get_bool_or(const struct gguf *g, const char *key, bool fallback, bool *out, struct greta_err *e);
int gguf_get_str_or(const struct gguf *g, const char *key, const char *fallback, struct gguf_str *out,
		    struct greta_err *e);

bool gguf_str_eq(struct gguf_str a, const char *b);

/* An array by key: its items must be of `item_type`, or for GGUF_I64 of any integer type, for GGUF_F64 of any float
 * type. NULL with ENOENT or EINVAL. */
const struct gguf_kv *gguf_get_array(const struct gguf *g, const char *key, enum gguf_value_type item_type,
				     struct greta_err *e);
/* Item i < n of a number's or number array's value (a single value is item 0). */
int64_t gguf_item_i64(const struct gguf_kv *kv, uint64_t i); /* integers and bool; U64 above INT64_MAX: INT64_MAX */
double gguf_item_f64(const struct gguf_kv *kv, uint64_t i); /* any number */

/* Strings have no index, so they are walked: struct gguf_str s; for (at = 0; gguf_next_str(kv, &at, &s);) */
bool gguf_next_str(const struct gguf_kv *kv, uint64_t *at, struct gguf_str *out);

#endif
