/* Changes one key. A value of the same length that lies in one sector of the disk is overwritten by one write, which
 * neither a kill nor a power failure can halve; anything else becomes a new file that then takes the old one's name.
 * Either way the result is looked at first: a file that an engine could use must stay one. */
#include "engine/gguf_cmd.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "engine/gguf_write.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>

#define SECTOR 512

struct values {
	const char *type;
	bool force;
};

static const struct greta_opt options[] = {
	{"type", 0, GRETA_OPT_STR, offsetof(struct values, type), "u8|i8|u16|i16|u32|i32|u64|i64|f32|f64|bool|str",
	 "of the value; needed for a new key"},
	{"force", 0, GRETA_OPT_FLAG, offsetof(struct values, force), NULL,
	 "even if no engine could use the file afterwards"},
	{0},
};

/* --- the value --- */

static const struct {
	enum gguf_value_type type;
	long long min;
	unsigned long long max;
} ranges[] = {
	{GGUF_U8, 0, UINT8_MAX},          {GGUF_I8, INT8_MIN, INT8_MAX},    {GGUF_U16, 0, UINT16_MAX},
	{GGUF_I16, INT16_MIN, INT16_MAX}, {GGUF_U32, 0, UINT32_MAX},        {GGUF_I32, INT32_MIN, INT32_MAX},
	{GGUF_U64, 0, UINT64_MAX},        {GGUF_I64, INT64_MIN, INT64_MAX},
};

static int encode_integer(enum gguf_value_type type, const char *text, struct greta_buf *out, struct greta_err *e)
{
	for (size_t i = 0; i < GRETA_COUNT(ranges); i++) {
		char *end;
		bool negative = text[0] == '-';
		if (ranges[i].type != type)
			continue;
		errno = 0;
		uint64_t v = negative ? (uint64_t)strtoll(text, &end, 10) : strtoull(text, &end, 10);
		bool fits = negative ? (int64_t)v >= ranges[i].min : v <= ranges[i].max;
		if (errno || end == text || *end || !fits)
			return greta_err_set(e, GRETA_EINVAL, "'%s' is no value of type %s (%lld to %llu)", text,
					     gguf_value_type_name(type), ranges[i].min, ranges[i].max);
		greta_buf_add(out, &v, gguf_value_type_bytes(type)); /* little-endian: the low bytes come first */
	}
	return 0;
}

static int encode_float(enum gguf_value_type type, const char *text, struct greta_buf *out, struct greta_err *e)
{
	double d;
	float f;

	if (greta_str_f64(text, &d) || (type == GGUF_F32 && !isfinite((float)d)))
		return greta_err_set(e, GRETA_EINVAL, "'%s' is no finite number of type %s", text,
				     gguf_value_type_name(type));
	f = (float)d;
	greta_buf_add(out, type == GGUF_F32 ? (void *)&f : (void *)&d, gguf_value_type_bytes(type));
	return 0;
}

static int encode(enum gguf_value_type type, const char *text, struct greta_buf *out, struct greta_err *e)
{
	switch (type) {
	case GGUF_F32:
	case GGUF_F64:
		return encode_float(type, text, out, e);
	case GGUF_STR:
		gguf_write_item(out, text, strlen(text));
		return 0;
	case GGUF_BOOL:
		if (strcmp(text, "true") && strcmp(text, "false"))
			return greta_err_set(e, GRETA_EINVAL, "'%s' is no boolean; true or false is expected", text);
		greta_buf_addc(out, text[0] == 't');
		return 0;
	default:
		return encode_integer(type, text, out, e);
	}
}

static enum gguf_value_type type_named(const char *name)
{
	enum gguf_value_type type = 0;

	while (type < GGUF_VALUE_TYPE_LIMIT && strcmp(gguf_value_type_name(type), name))
		type++;
	return type;
}

static int choose_type(const struct gguf *g, const struct gguf_kv *old, const char *key, const char *asked,
		       enum gguf_value_type *out, struct greta_err *e)
{
	if (old && old->type == GGUF_ARRAY)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "%s: key '%s' is an array; only single values can be set",
				     gguf_path(g), key);
	if (!old && !asked)
		return greta_err_set(e, GRETA_EINVAL, "%s: there is no key '%s'; add --type to make it", gguf_path(g),
				     key);
	*out = asked ? type_named(asked) : old->type;
	return 0;
}

/* --- looking at the result --- */

/* What was usable must stay so. */
static int check_result(const struct gguf *before, const void *bytes, size_t n, struct greta_err *e)
{
	struct gguf *after = gguf_open_memory(gguf_path(before), bytes, n, e);
	int rc = after && (gguf_cmd_usable(before, NULL) || !gguf_cmd_usable(after, e)) ? 0 : -1;

	gguf_close(after);
	return rc ? greta_err_wrap(e, "not set, since no engine could use the file then (--force)") : 0;
}

static int check_fd(const struct gguf *before, int fd, size_t n, struct greta_err *e)
{
	void *bytes = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
	int rc;

	if (bytes == MAP_FAILED)
		return greta_err_sys(e, "%s: cannot map it", gguf_path(before));
	rc = check_result(before, bytes, n, e);
	munmap(bytes, n);
	return rc;
}

/* A private copy of the mapping, of which only the changed page is really copied. */
static int check_patched(const struct gguf *before, int fd, uint64_t at, const struct greta_buf *value,
			 struct greta_err *e)
{
	size_t n = gguf_file_bytes(before);
	char *bytes = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	int rc;

	if (bytes == MAP_FAILED)
		return greta_err_sys(e, "%s: cannot map it", gguf_path(before));
	memcpy(bytes + at, value->data, value->len);
	rc = check_result(before, bytes, n, e);
	munmap(bytes, n);
	return rc;
}

/* --- the two ways --- */

static bool fits_in_place(const struct gguf_kv *old, enum gguf_value_type type, const struct greta_buf *value)
{
	return old && old->type == type && old->bytes == value->len &&
	       !greta_str_eq(old->key, "general.alignment") &&
	       old->offset / SECTOR == (old->offset + value->len - 1) / SECTOR;
}

static int set_in_place(const struct gguf *g, const struct gguf_kv *old, const struct greta_buf *value, bool force,
			struct greta_err *e)
{
	cleanup_fd int fd = open(gguf_path(g), O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return greta_err_sys(e, "%s", gguf_path(g));
	if (!force && check_patched(g, fd, old->offset, value, e))
		return -1;
	if (pwrite(fd, value->data, value->len, (off_t)old->offset) != (ssize_t)value->len || fdatasync(fd))
		return greta_err_sys(e, "%s: write at offset %llu", gguf_path(g), (unsigned long long)old->offset);
	return 0;
}

static void write_keys(const struct gguf *g, const struct gguf_kv *changed, struct gguf_write *w)
{
	bool is_new = true;

	for (size_t i = 0; i < gguf_n_kv(g); i++) {
		const struct gguf_kv *kv = gguf_kv_at(g, i);
		bool this = greta_str_eq(kv->key, changed->key);
		gguf_write_kv(w, this ? changed : kv);
		is_new &= !this;
	}
	if (is_new)
		gguf_write_kv(w, changed);
}

static int write_tensors(const struct gguf *g, struct gguf_write *w, struct greta_err *e)
{
	const size_t piece = 16 << 20;

	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);
		for (uint64_t at = 0; at < t->bytes; at += piece) {
			size_t n = t->bytes - at < piece ? (size_t)(t->bytes - at) : piece;
			if (gguf_write_data(w, i, at, (const char *)t->data + at, n, e))
				return -1;
		}
	}
	return 0;
}

static int set_by_copy(const struct gguf *g, const struct gguf_kv *changed, bool force, struct greta_err *e)
{
	struct gguf_write *w = gguf_write_create(gguf_path(g), e);
	int rc = -1;

	if (!w)
		return -1;
	write_keys(g, changed, w);
	gguf_write_alignment(w, greta_str_eq(changed->key, "general.alignment") ? (uint32_t)gguf_item_i64(changed, 0)
										: gguf_alignment(g));
	for (size_t i = 0; i < gguf_n_tensors(g); i++) {
		const struct gguf_tensor *t = gguf_tensor_at(g, i);
		gguf_write_tensor(w, t->name, t->traits, t->n_dims, t->ne);
	}
	if (!gguf_write_start(w, e) && !write_tensors(g, w, e) &&
	    (force || !check_fd(g, gguf_write_fd(w), gguf_write_total_bytes(w), e)) && !gguf_write_commit(w, e))
		rc = 0;
	gguf_write_destroy(w);
	return rc;
}

static int check_key(const char *key, enum gguf_value_type type, const struct greta_buf *value, struct greta_err *e)
{
	uint32_t alignment;

	if (!*key || strlen(key) > GGUF_MAX_KEY)
		return greta_err_set(e, GRETA_EINVAL, "a key has 1 to %d bytes", GGUF_MAX_KEY);
	if (strcmp(key, "general.alignment"))
		return 0;
	memcpy(&alignment, value->data, sizeof alignment < value->len ? sizeof alignment : value->len);
	if (type != GGUF_U32 || alignment < GGUF_MIN_ALIGNMENT || alignment > 1 << 20 || (alignment & (alignment - 1)))
		return greta_err_set(e, GRETA_EINVAL, "general.alignment is a u32, a power of two from %d to %d",
				     GGUF_MIN_ALIGNMENT, 1 << 20);
	return 0;
}

static int set(const struct gguf *g, const struct values *v, const char *key, const char *text, struct greta_buf *out,
	       struct greta_err *e)
{
	const struct gguf_kv *old = gguf_find(g, key);
	cleanup_buf struct greta_buf value = {0};
	enum gguf_value_type type = GGUF_STR;

	if (choose_type(g, old, key, v->type, &type, e) || encode(type, text, &value, e) ||
	    check_key(key, type, &value, e))
		return -1;
	struct gguf_kv changed = {
		.key = key, .type = type, .item_type = type, .n = 1, .data = (uint8_t *)value.data, .bytes = value.len};
	if (old && old->type == type && old->bytes == value.len && !memcmp(old->data, value.data, value.len)) {
		greta_buf_addf(out, "%s: %s is %s already\n", gguf_path(g), key, text);
		return GGUF_EXIT_OK;
	}
	bool in_place = fits_in_place(old, type, &value);
	if (in_place ? set_in_place(g, old, &value, v->force, e) : set_by_copy(g, &changed, v->force, e))
		return -1;
	greta_buf_addf(out, "%s: %s is now %s (%s)\n", gguf_path(g), key, text,
		       in_place ? "in place" : "file rewritten");
	return GGUF_EXIT_OK;
}

static int run(void *values, const struct greta_strs *operands, struct greta_buf *out, struct greta_err *e)
{
	struct gguf *g = gguf_open(operands->items[0], e);
	int code = g ? set(g, values, operands->items[1], operands->items[2], out, e) : -1;

	gguf_close(g);
	return code;
}

const struct gguf_cmd gguf_cmd_set = {
	.name = "set",
	.opts =
		{
			.program = "greta-gguf set",
			.operands = "FILE KEY VALUE",
			.min_operands = 3,
			.max_operands = 3,
			.summary = "change one key",
			.details = "In place where the new value has the old one's length; else the file is written "
				   "anew beside the old\n"
				   "one and takes its name when it is complete. A file that an engine could use stays "
				   "one.\n"
				   "A negative value comes after `--`.\n"
				   "\n"
				   "Examples:\n"
				   "  greta-gguf set model.gguf llama.context_length 32768\n"
				   "  greta-gguf set model.gguf general.name 'My model'\n"
				   "  greta-gguf set --type u32 model.gguf llama.vocab_size 32000\n",
			.opts = options,
		},
	.values_bytes = sizeof(struct values),
	.run = run,
};
