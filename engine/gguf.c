/* Layout of the file: magic, version, counts; keys and values; tensor infos; padding; tensor data. All of it is read
 * through one bounds-checked cursor, so that no length from the file is used before it was held against what is left.
 */
#include "engine/gguf.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF files are little-endian and are used in place"
#endif

struct gguf {
	char *path;
	const uint8_t *bytes;
	uint64_t n_bytes;
	bool mapped;
	uint32_t version;
	uint32_t alignment;
	uint64_t data_offset;
	struct gguf_kv *kvs;
	size_t n_kvs, cap_kvs;
	struct gguf_tensor *tensors;
	size_t n_tensors, cap_tensors;
	const struct gguf_kv **kvs_by_name; /* sorted, so that look-ups and the search for duplicates need no hash */
	const struct gguf_tensor **tensors_by_name;
};

/* --- messages --- */

/* "FILE: " and the text. Always -1. */
__attribute__((format(printf, 3, 4))) static int refuse(const struct gguf *g, struct greta_err *e, const char *fmt, ...)
{
	va_list ap;
	cleanup_free char *text = NULL;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	return greta_err_set(e, GRETA_EINVAL, "%s: %s", g->path, text ? text : "malformed");
}

/* A name from the file, fit for a message: cut, and without control characters. */
struct shown {
	char text[80];
};

static struct shown show(const char *s, uint64_t n)
{
	struct shown out;
	size_t max = sizeof out.text - 4, len = n < max ? (size_t)n : max;

	for (size_t i = 0; i < len; i++)
		out.text[i] = isprint((unsigned char)s[i]) ? s[i] : '?';
	memcpy(out.text + len, len < n ? "..." : "", len < n ? 4 : 1);
	return out;
}

/* --- the cursor --- */

struct cursor {
	struct gguf *g;
	uint64_t at;
	struct greta_err *e;
};

static uint64_t left(const struct cursor *c)
{
	return c->g->n_bytes - c->at;
}

/* n bytes from the file; NULL with an error naming `what` if it ends before. */
static const uint8_t *take(struct cursor *c, uint64_t n, const char *what)
{
	const uint8_t *p = c->g->bytes + c->at;

	if (n > left(c)) {
		refuse(c->g, c->e,
		       "offset %" PRIu64 ": the file ends inside %s (%" PRIu64 " bytes needed, %" PRIu64 " left)",
		       c->at, what, n, left(c));
		return NULL;
	}
	c->at += n;
	return p;
}

static int take_u32(struct cursor *c, uint32_t *out, const char *what)
{
	const uint8_t *p = take(c, sizeof *out, what);

	if (!p)
		return -1;
	memcpy(out, p, sizeof *out);
	return 0;
}

static int take_u64(struct cursor *c, uint64_t *out, const char *what)
{
	const uint8_t *p = take(c, sizeof *out, what);

	if (!p)
		return -1;
	memcpy(out, p, sizeof *out);
	return 0;
}

static int take_str(struct cursor *c, struct gguf_str *out, const char *what)
{
	uint64_t n, at = c->at;
	const uint8_t *p;

	if (take_u64(c, &n, what))
		return -1;
	if (n > left(c))
		return refuse(c->g, c->e,
			      "offset %" PRIu64 ": %s has length %" PRIu64 ", but %" PRIu64 " bytes are left", at, what,
			      n, left(c));
	p = take(c, n, what);
	*out = (struct gguf_str){(const char *)p, (size_t)n};
	return 0;
}

/* A key or tensor name: not empty, not beyond max, no NUL in it. The caller owns *out. */
static int take_name(struct cursor *c, char **out, size_t max, const char *what)
{
	uint64_t at = c->at;
	struct gguf_str s;

	if (take_str(c, &s, what))
		return -1;
	if (s.n == 0 || s.n > max)
		return refuse(c->g, c->e, "offset %" PRIu64 ": %s of %zu bytes: 1 to %zu are allowed", at, what, s.n,
			      max);
	if (memchr(s.s, 0, s.n))
		return refuse(c->g, c->e, "offset %" PRIu64 ": %s '%s' has a NUL byte in it", at, what,
			      show(s.s, s.n).text);
	*out = greta_strndup(s.s, s.n);
	return 0;
}

/* --- header --- */

static int read_version(struct cursor *c)
{
	struct gguf *g = c->g;

	if (take_u32(c, &g->version, "the header"))
		return -1;
	if (g->version == 2 || g->version == 3)
		return 0;
	if (g->version != 0 && (g->version & 0xffff) == 0)
		return refuse(g, c->e, "offset 4: version %#x: a big-endian file, which is not supported", g->version);
	return refuse(g, c->e, "offset 4: GGUF version %" PRIu32 " is not supported, 2 and 3 are", g->version);
}

static int read_count(struct cursor *c, uint64_t *out, const char *what)
{
	uint64_t at = c->at;

	if (take_u64(c, out, "the header"))
		return -1;
	if (*out > GGUF_MAX_COUNT)
		return refuse(c->g, c->e,
			      "offset %" PRIu64 ": the header counts %" PRIu64 " %s, more than the %d allowed", at,
			      *out, what, GGUF_MAX_COUNT);
	return 0;
}

static int read_header(struct cursor *c, uint64_t *n_tensors, uint64_t *n_kvs)
{
	const uint8_t *magic = take(c, 4, "the magic \"GGUF\"");

	if (!magic)
		return -1;
	if (memcmp(magic, "GGUF", 4) != 0)
		return refuse(c->g, c->e, "offset 0: no GGUF file: it begins with '%s'",
			      show((const char *)magic, 4).text);
	if (read_version(c) || read_count(c, n_tensors, "tensors"))
		return -1;
	return read_count(c, n_kvs, "keys");
}

/* --- keys and values --- */

static int read_type(struct cursor *c, const char *key, enum gguf_value_type *out)
{
	uint64_t at = c->at;
	uint32_t id;

	if (take_u32(c, &id, "a value's type"))
		return greta_err_wrap(c->e, "key '%s'", show(key, strlen(key)).text);
	if (id >= GGUF_VALUE_TYPE_LIMIT)
		return refuse(c->g, c->e, "offset %" PRIu64 ": key '%s' has unknown value type %" PRIu32, at,
			      show(key, strlen(key)).text, id);
	*out = (enum gguf_value_type)id;
	return 0;
}

static int read_array_head(struct cursor *c, struct gguf_kv *kv)
{
	uint64_t at = c->at;

	if (read_type(c, kv->key, &kv->item_type))
		return -1;
	if (kv->item_type == GGUF_ARRAY)
		return refuse(c->g, c->e, "offset %" PRIu64 ": key '%s' is an array of arrays, which is not supported",
			      at, show(kv->key, strlen(kv->key)).text);
	return take_u64(c, &kv->n, "an array's length");
}

static int check_bools(const struct cursor *c, const struct gguf_kv *kv)
{
	for (uint64_t i = 0; i < kv->n; i++)
		if (kv->data[i] > 1)
			return refuse(c->g, c->e, "offset %" PRIu64 ": key '%s' has a boolean of value %d",
				      kv->offset + i, show(kv->key, strlen(kv->key)).text, kv->data[i]);
	return 0;
}

/* Passes over the items, so that everything behind kv->data is known to be there. */
static int read_items(struct cursor *c, struct gguf_kv *kv)
{
	size_t item_bytes = gguf_value_type_bytes(kv->item_type);
	size_t least = item_bytes ? item_bytes : sizeof(uint64_t);
	struct shown key = show(kv->key, strlen(kv->key));
	struct gguf_str s;

	kv->offset = c->at;
	kv->data = c->g->bytes + c->at;
	if (kv->n > left(c) / least)
		return refuse(c->g, c->e,
			      "offset %" PRIu64 ": the file ends inside the value of key '%s' (%" PRIu64
			      " of type %s, %" PRIu64 " bytes left)",
			      c->at, key.text, kv->n, gguf_value_type_name(kv->item_type), left(c));
	if (item_bytes)
		take(c, kv->n * item_bytes, "a value");
	for (uint64_t i = 0; !item_bytes && i < kv->n; i++)
		if (take_str(c, &s, "a string"))
			return refuse(c->g, c->e,
				      "offset %" PRIu64 ": the file ends inside string %" PRIu64 " of key '%s'", c->at,
				      i, key.text);
	kv->bytes = c->at - kv->offset;
	return kv->item_type == GGUF_BOOL ? check_bools(c, kv) : 0;
}

static int read_kv(struct cursor *c)
{
	struct gguf *g = c->g;
	struct gguf_kv *kv = GRETA_PUSH(g->kvs, g->n_kvs, g->cap_kvs);

	if (take_name(c, (char **)&kv->key, GGUF_MAX_KEY, "a key"))
		return -1;
	if (read_type(c, kv->key, &kv->type))
		return -1;
	kv->item_type = kv->type;
	kv->n = 1;
	if (kv->type == GGUF_ARRAY && read_array_head(c, kv))
		return -1;
	return read_items(c, kv);
}

static int compare_kvs(const void *a, const void *b)
{
	return strcmp((*(const struct gguf_kv *const *)a)->key, (*(const struct gguf_kv *const *)b)->key);
}

static int index_kvs(struct cursor *c)
{
	struct gguf *g = c->g;

	g->kvs_by_name = greta_alloc((g->n_kvs + 1) * sizeof *g->kvs_by_name);
	for (size_t i = 0; i < g->n_kvs; i++)
		g->kvs_by_name[i] = &g->kvs[i];
	qsort(g->kvs_by_name, g->n_kvs, sizeof *g->kvs_by_name, compare_kvs);
	for (size_t i = 1; i < g->n_kvs; i++)
		if (!compare_kvs(&g->kvs_by_name[i - 1], &g->kvs_by_name[i])) {
			const struct gguf_kv *kv = g->kvs_by_name[i];
			return refuse(g, c->e, "key '%s' stands twice, with values at offsets %" PRIu64 " and %" PRIu64,
				      show(kv->key, strlen(kv->key)).text, g->kvs_by_name[i - 1]->offset, kv->offset);
		}
	return 0;
}

static int read_kvs(struct cursor *c, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (read_kv(c))
			return -1;
	return index_kvs(c);
}

static int read_alignment(struct cursor *c)
{
	struct gguf *g = c->g;
	uint32_t a;

	if (gguf_get_u32_or(g, "general.alignment", GGUF_DEFAULT_ALIGNMENT, &a, c->e))
		return -1;
	if (a < GGUF_MIN_ALIGNMENT || (a & (a - 1)) != 0)
		return refuse(g, c->e, "key 'general.alignment' is %" PRIu32 ", not a power of two from %d", a,
			      GGUF_MIN_ALIGNMENT);
	g->alignment = a;
	return 0;
}

/* --- tensors --- */

static int read_dims(struct cursor *c, struct gguf_tensor *t, uint64_t *n_values)
{
	uint64_t at = c->at, n = 1;
	uint32_t n_dims;

	if (take_u32(c, &n_dims, "a tensor's dimensions"))
		return -1;
	if (n_dims < 1 || n_dims > GGUF_MAX_DIMS)
		return refuse(c->g, c->e,
			      "offset %" PRIu64 ": tensor '%s' has %" PRIu32 " dimensions, 1 to %d are allowed", at,
			      show(t->name, strlen(t->name)).text, n_dims, GGUF_MAX_DIMS);
	t->n_dims = (int)n_dims;
	for (int i = 0; i < GGUF_MAX_DIMS; i++) {
		t->ne[i] = 1;
		if (i < t->n_dims && take_u64(c, &t->ne[i], "a tensor's dimensions"))
			return -1;
		if (t->ne[i] == 0)
			return refuse(c->g, c->e, "offset %" PRIu64 ": tensor '%s': dimension %d is zero", at,
				      show(t->name, strlen(t->name)).text, i);
		if (__builtin_mul_overflow(n, t->ne[i], &n) || n > INT64_MAX)
			return refuse(c->g, c->e,
				      "offset %" PRIu64 ": tensor '%s': its dimensions multiply to more than 2^63", at,
				      show(t->name, strlen(t->name)).text);
	}
	*n_values = n;
	return 0;
}

static int read_tensor_type(struct cursor *c, struct gguf_tensor *t, uint64_t n_values)
{
	uint64_t at = c->at;
	struct shown name = show(t->name, strlen(t->name));
	uint32_t id;

	if (take_u32(c, &id, "a tensor's type"))
		return -1;
	t->traits = quant_traits(id);
	if (!t->traits)
		return refuse(c->g, c->e, "offset %" PRIu64 ": tensor '%s' has unknown type %" PRIu32, at, name.text,
			      id);
	if (t->ne[0] % t->traits->block_n)
		return refuse(c->g, c->e,
			      "offset %" PRIu64 ": tensor '%s' of type %s has rows of %" PRIu64
			      " values, not a multiple of its block of %" PRIu32,
			      at, name.text, t->traits->name, t->ne[0], t->traits->block_n);
	if (__builtin_mul_overflow(n_values / t->traits->block_n, t->traits->block_bytes, &t->bytes))
		return refuse(c->g, c->e, "offset %" PRIu64 ": tensor '%s' has more than 2^64 bytes", at, name.text);
	return 0;
}

static int read_tensor(struct cursor *c)
{
	struct gguf *g = c->g;
	struct gguf_tensor *t = GRETA_PUSH(g->tensors, g->n_tensors, g->cap_tensors);
	uint64_t n_values = 0;

	if (take_name(c, (char **)&t->name, GGUF_MAX_NAME, "a tensor name") || read_dims(c, t, &n_values) ||
	    read_tensor_type(c, t, n_values))
		return -1;
	return take_u64(c, &t->offset, "a tensor's offset");
}

static int compare_tensors(const void *a, const void *b)
{
	return strcmp((*(const struct gguf_tensor *const *)a)->name, (*(const struct gguf_tensor *const *)b)->name);
}

static int index_tensors(struct cursor *c)
{
	struct gguf *g = c->g;

	g->tensors_by_name = greta_alloc((g->n_tensors + 1) * sizeof *g->tensors_by_name);
	for (size_t i = 0; i < g->n_tensors; i++)
		g->tensors_by_name[i] = &g->tensors[i];
	qsort(g->tensors_by_name, g->n_tensors, sizeof *g->tensors_by_name, compare_tensors);
	for (size_t i = 1; i < g->n_tensors; i++)
		if (!compare_tensors(&g->tensors_by_name[i - 1], &g->tensors_by_name[i])) {
			const char *name = g->tensors_by_name[i]->name;
			return refuse(g, c->e, "tensor '%s' stands twice", show(name, strlen(name)).text);
		}
	return 0;
}

/* Tensors lie in the order of their infos, each padded to the alignment, with nothing between: what every writer
 * does and llama.cpp demands. It also rules out overlaps. `expected` is relative to the data, as offsets are. */
static int place_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *expected)
{
	const struct gguf *g = c->g;
	uint64_t room = g->n_bytes - g->data_offset;
	struct shown name = show(t->name, strlen(t->name));

	if (t->offset % g->alignment)
		return refuse(g, c->e, "tensor '%s' has offset %" PRIu64 ", not a multiple of the alignment %" PRIu32,
			      name.text, t->offset, g->alignment);
	if (t->offset > room || t->bytes > room - t->offset)
		return refuse(g, c->e,
			      "tensor '%s' reaches beyond the end of the file: %" PRIu64 " bytes at offset %" PRIu64
			      " of the data at %" PRIu64 ", file of %" PRIu64 " bytes",
			      name.text, t->bytes, t->offset, g->data_offset, g->n_bytes);
	if (t->offset != *expected)
		return refuse(g, c->e, "tensor '%s' has offset %" PRIu64 ", but the one before it ends at %" PRIu64,
			      name.text, t->offset, *expected);
	*expected = t->offset + (t->bytes + g->alignment - 1) / g->alignment * g->alignment;
	t->offset += g->data_offset;
	t->data = g->bytes + t->offset;
	return 0;
}

static int read_tensors(struct cursor *c, uint64_t n)
{
	struct gguf *g = c->g;
	uint64_t expected = 0;

	for (uint64_t i = 0; i < n; i++)
		if (read_tensor(c))
			return -1;
	if (index_tensors(c))
		return -1;
	g->data_offset = (c->at + g->alignment - 1) / g->alignment * g->alignment;
	if (g->data_offset > g->n_bytes)
		g->data_offset = g->n_bytes; /* a vocabulary alone needs no padding at its end */
	for (size_t i = 0; i < g->n_tensors; i++)
		if (place_tensor(c, &g->tensors[i], &expected))
			return -1;
	return 0;
}

/* --- opening --- */

static int parse(struct gguf *g, struct greta_err *e)
{
	struct cursor c = {g, 0, e};
	uint64_t n_tensors, n_kvs;

	if (g->n_bytes == 0)
		return refuse(g, e, "the file is empty");
	if (read_header(&c, &n_tensors, &n_kvs) || read_kvs(&c, n_kvs) || read_alignment(&c))
		return -1;
	return read_tensors(&c, n_tensors);
}

struct gguf *gguf_open_memory(const char *name, const void *bytes, size_t n, struct greta_err *e)
{
	struct gguf *g = greta_alloc(sizeof *g);

	g->path = greta_strdup(name);
	g->bytes = bytes;
	g->n_bytes = n;
	if (!parse(g, e))
		return g;
	gguf_close(g);
	return NULL;
}

/* The whole file, read-only; NULL with *n = 0 for an empty one. */
static int map_file(const char *path, const void **bytes, size_t *n, struct greta_err *e)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not block */
	struct stat st;
	void *p;

	*bytes = NULL;
	if (fd < 0 || fstat(fd, &st))
		return greta_err_sys(e, "%s", path);
	if (!S_ISREG(st.st_mode))
		return greta_err_set(e, GRETA_EINVAL, "%s: %s, not a GGUF file", path,
				     S_ISDIR(st.st_mode) ? "a folder" : "not a regular file");
	*n = (size_t)st.st_size;
	if (*n == 0)
		return 0;
	p = mmap(NULL, *n, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return greta_err_sys(e, "%s: cannot map it", path);
	*bytes = p;
	return 0;
}

struct gguf *gguf_open(const char *path, struct greta_err *e)
{
	const void *bytes;
	struct gguf *g;
	size_t n = 0;

	if (map_file(path, &bytes, &n, e))
		return NULL;
	g = gguf_open_memory(path, bytes, n, e);
	if (g)
		g->mapped = true;
	else if (n)
		munmap((void *)bytes, n);
	return g;
}

void gguf_close(struct gguf *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n_kvs; i++)
		free((char *)g->kvs[i].key);
	for (size_t i = 0; i < g->n_tensors; i++)
		free((char *)g->tensors[i].name);
	if (g->mapped)
		munmap((void *)g->bytes, g->n_bytes);
	free(g->kvs);
	free(g->tensors);
	free(g->kvs_by_name);
	free(g->tensors_by_name);
	free(g->path);
	free(g);
}

/* --- what is in it --- */

const char *gguf_path(const struct gguf *g)
{
	return g->path;
}

uint32_t gguf_version(const struct gguf *g)
{
	return g->version;
}

uint32_t gguf_alignment(const struct gguf *g)
{
	return g->alignment;
}

uint64_t gguf_file_bytes(const struct gguf *g)
{
	return g->n_bytes;
}

const uint8_t *gguf_bytes(const struct gguf *g)
{
	return g->bytes;
}

uint64_t gguf_data_offset(const struct gguf *g)
{
	return g->data_offset;
}

size_t gguf_n_tensors(const struct gguf *g)
{
	return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
	return &g->tensors[i];
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name)
{
	const struct gguf_tensor wanted = {.name = name}, *key = &wanted, **found;

	found = bsearch(&key, g->tensors_by_name, g->n_tensors, sizeof *found, compare_tensors);
	return found ? *found : NULL;
}

uint64_t gguf_tensor_rows(const struct gguf_tensor *t)
{
	return t->ne[1] * t->ne[2] * t->ne[3];
}

const void *gguf_tensor_row(const struct gguf_tensor *t, uint64_t row)
{
	return (const uint8_t *)t->data + row * quant_bytes(t->traits, t->ne[0]);
}

size_t gguf_n_kv(const struct gguf *g)
{
	return g->n_kvs;
}

const struct gguf_kv *gguf_kv_at(const struct gguf *g, size_t i)
{
	return &g->kvs[i];
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key)
{
	const struct gguf_kv wanted = {.key = key}, *k = &wanted, **found;

	found = bsearch(&k, g->kvs_by_name, g->n_kvs, sizeof *found, compare_kvs);
	return found ? *found : NULL;
}
