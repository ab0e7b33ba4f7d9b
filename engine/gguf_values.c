/* gguf values: metadata by key and type. Who asks says which type is expected; messages name the file and the key. */
#include "engine/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct value_type {
	const char *name;
	size_t bytes;
} value_types[GGUF_VALUE_TYPE_LIMIT] = {
#define X(name, shown, id, bytes) [id] = {#shown, bytes},
	GGUF_VALUE_TYPES(X)
#undef X
};

const char *gguf_value_type_name(enum gguf_value_type type)
{
	return type < GGUF_VALUE_TYPE_LIMIT ? value_types[type].name : "unknown";
}

size_t gguf_value_type_bytes(enum gguf_value_type type)
{
	return type < GGUF_VALUE_TYPE_LIMIT ? value_types[type].bytes : 0;
}

static bool is_integer(enum gguf_value_type type)
{
	return type != GGUF_F32 && type != GGUF_F64 && type != GGUF_BOOL && type != GGUF_STR && type != GGUF_ARRAY;
}

static bool is_float(enum gguf_value_type type)
{
	return type == GGUF_F32 || type == GGUF_F64;
}

#define LOAD(type, p)                                                                                                  \
	({                                                                                                             \
		type v_;                                                                                               \
		memcpy(&v_, (p), sizeof v_);                                                                           \
		v_;                                                                                                    \
	})

int64_t gguf_item_i64(const struct gguf_kv *kv, uint64_t i)
{
	const uint8_t *p = kv->data + i * gguf_value_type_bytes(kv->item_type);

	switch (kv->item_type) {
	case GGUF_U8:
	case GGUF_BOOL:
		return *p;
	case GGUF_I8:
		return LOAD(int8_t, p);
	case GGUF_U16:
		return LOAD(uint16_t, p);
	case GGUF_I16:
		return LOAD(int16_t, p);
	case GGUF_U32:
		return LOAD(uint32_t, p);
	case GGUF_I32:
		return LOAD(int32_t, p);
	case GGUF_I64:
		return LOAD(int64_t, p);
	case GGUF_U64: {
		uint64_t v = LOAD(uint64_t, p);
		return v > INT64_MAX ? INT64_MAX : (int64_t)v;
	}
	default:
		return 0;
	}
}

double gguf_item_f64(const struct gguf_kv *kv, uint64_t i)
{
	const uint8_t *p = kv->data + i * gguf_value_type_bytes(kv->item_type);

	switch (kv->item_type) {
	case GGUF_F32:
		return (double)LOAD(float, p);
	case GGUF_F64:
		return LOAD(double, p);
	case GGUF_U64:
		return (double)LOAD(uint64_t, p);
	default:
		return (double)gguf_item_i64(kv, i);
	}
}

static int missing(const struct gguf *g, const char *key, struct greta_err *e)
{
	return greta_err_set(e, GRETA_ENOENT, "%s: key '%s' is missing", gguf_path(g), key);
}

static int wrong_type(const struct gguf *g, const struct gguf_kv *kv, const char *wanted, struct greta_err *e)
{
	bool array = kv->type == GGUF_ARRAY;

	return greta_err_set(e, GRETA_EINVAL, "%s: key '%s' is of type %s%s%s, %s is expected", gguf_path(g), kv->key,
			     gguf_value_type_name(kv->type), array ? " of " : "",
			     array ? gguf_value_type_name(kv->item_type) : "", wanted);
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct greta_err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);

	if (!kv)
		return missing(g, key, e);
	if (!is_integer(kv->type))
		return wrong_type(g, kv, "an integer", e);
	int64_t v = gguf_item_i64(kv, 0);
	if (v < 0 || v > UINT32_MAX)
		return greta_err_set(e, GRETA_EINVAL, "%s: key '%s' is %" PRId64 ", beyond 0 to 4294967295",
				     gguf_path(g), key, v);
	*out = (uint32_t)v;
	return 0;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct greta_err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);

	if (!kv)
		return missing(g, key, e);
	if (!is_float(kv->type))
		return wrong_type(g, kv, "a float", e);
	float v = (float)gguf_item_f64(kv, 0);
	if (!isfinite(v))
		return greta_err_set(e, GRETA_EINVAL, "%s: key '%s' is %g, not a finite number", gguf_path(g), key,
				     (double)v);
	*out = v;
	return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct greta_err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);

	if (!kv)
		return missing(g, key, e);
	if (kv->type != GGUF_BOOL)
		return wrong_type(g, kv, "bool", e);
	*out = kv->data[0] != 0;
	return 0;
}

int gguf_get_str(const struct gguf *g, const char *key, struct gguf_str *out, struct greta_err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);
	uint64_t at = 0;

	if (!kv)
		return missing(g, key, e);
	if (kv->type != GGUF_STR)
		return wrong_type(g, kv, "str", e);
	gguf_next_str(kv, &at, out);
	return 0;
}

int gguf_get_u32_or(const struct gguf *g, const char *key, uint32_t fallback, uint32_t *out, struct greta_err *e)
{
	if (gguf_find(g, key))
		return gguf_get_u32(g, key, out, e);
	*out = fallback;
	return 0;
}

int gguf_get_f32_or(const struct gguf *g, const char *key, float fallback, float *out, struct greta_err *e)
{
	if (gguf_find(g, key))
		return gguf_get_f32(g, key, out, e);
	*out = fallback;
	return 0;
}

int gguf_get_bool_or(const struct gguf *g, const char *key, bool fallback, bool *out, struct greta_err *e)
{
	if (gguf_find(g, key))
		return gguf_get_bool(g, key, out, e);
	*out = fallback;
	return 0;
}

int gguf_get_str_or(const struct gguf *g, const char *key, const char *fallback, struct gguf_str *out,
		    struct greta_err *e)
{
	if (gguf_find(g, key))
		return gguf_get_str(g, key, out, e);
	*out = (struct gguf_str){fallback, strlen(fallback)};
	return 0;
}

bool gguf_str_eq(struct gguf_str a, const char *b)
{
	return a.n == strlen(b) && memcmp(a.s, b, a.n) == 0;
}

static bool item_fits(enum gguf_value_type have, enum gguf_value_type wanted)
{
	return have == wanted || (wanted == GGUF_I64 && is_integer(have)) || (wanted == GGUF_F64 && is_float(have));
}

const struct gguf_kv *gguf_get_array(const struct gguf *g, const char *key, enum gguf_value_type item_type,
				     struct greta_err *e)
{
	const struct gguf_kv *kv = gguf_find(g, key);
	char wanted[32];

	if (!kv) {
		missing(g, key, e);
		return NULL;
	}
	if (kv->type == GGUF_ARRAY && item_fits(kv->item_type, item_type))
		return kv;
	snprintf(wanted, sizeof wanted, "array of %s",
		 item_type == GGUF_I64   ? "integers"
		 : item_type == GGUF_F64 ? "floats"
					 : gguf_value_type_name(item_type));
	wrong_type(g, kv, wanted, e);
	return NULL;
}

bool gguf_next_str(const struct gguf_kv *kv, uint64_t *at, struct gguf_str *out)
{
	uint64_t n;

	if (*at >= kv->bytes)
		return false;
	memcpy(&n, kv->data + *at, sizeof n);
	*out = (struct gguf_str){(const char *)kv->data + *at + sizeof n, (size_t)n};
	*at += sizeof n + n;
	return true;
}
