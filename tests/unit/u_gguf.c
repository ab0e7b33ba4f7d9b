/* gguf: files built byte by byte, right and wrong; and the reference files, where they are. */
#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/str.h"
#include "engine/gguf.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include <dirent.h>
#include <string.h>

/* --- building --- */

static void u32(struct greta_buf *b, uint32_t v)
{
	greta_buf_add(b, &v, 4);
}

static void u64(struct greta_buf *b, uint64_t v)
{
	greta_buf_add(b, &v, 8);
}

static void str(struct greta_buf *b, const char *s)
{
	u64(b, strlen(s));
	greta_buf_adds(b, s);
}

static void head(struct greta_buf *b, uint32_t version, uint64_t n_tensors, uint64_t n_kvs)
{
	greta_buf_add(b, "GGUF", 4);
	u32(b, version);
	u64(b, n_tensors);
	u64(b, n_kvs);
}

static void kv_u32(struct greta_buf *b, const char *key, uint32_t v)
{
	str(b, key);
	u32(b, GGUF_U32);
	u32(b, v);
}

static void tensor(struct greta_buf *b, const char *name, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset)
{
	str(b, name);
	u32(b, 2);
	u64(b, ne0);
	u64(b, ne1);
	u32(b, type);
	u64(b, offset);
}

static void pad(struct greta_buf *b, size_t alignment)
{
	while (b->len % alignment)
		greta_buf_addc(b, 0);
}

static void data(struct greta_buf *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		greta_buf_addc(b, (char)i);
}

static void assert_refused(const struct greta_buf *b, const char *part)
{
	struct greta_err e = {0};
	struct gguf *g = gguf_open_memory("bad.gguf", b->data, b->len, &e);

	assert_null(g);
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_true(greta_str_starts(e.text, "bad.gguf: "));
	if (!strstr(e.text, part))
		fail_msg("'%s' is not in '%s'", part, e.text);
}

/* --- what is right --- */

static void test_gguf__reads_keys_and_tensors(void **state)
{
	cleanup_buf struct greta_buf b = {0};
	struct greta_err e = {0};
	uint32_t v = 0;

	(void)state;
	head(&b, 2, 2, 1);
	kv_u32(&b, "a.b", 7);
	tensor(&b, "x", 32, 2, QUANT_Q8_0, 0);
	tensor(&b, "y", 4, 1, QUANT_F32, 96);
	pad(&b, 32);
	size_t at = b.len;
	data(&b, 96 + 16);
	struct gguf *g = gguf_open_memory("good.gguf", b.data, b.len, &e);
	assert_non_null(g);
	assert_int_equal(gguf_version(g), 2);
	assert_ok(gguf_get_u32(g, "a.b", &v, &e));
	assert_int_equal(v, 7);
	const struct gguf_tensor *x = gguf_tensor(g, "x"), *y = gguf_tensor(g, "y");
	assert_ptr_equal(x, gguf_tensor_at(g, 0));
	assert_int_equal(x->bytes, 68);
	assert_int_equal(gguf_tensor_rows(x), 2);
	assert_ptr_equal(gguf_tensor_row(x, 1), (const char *)x->data + 34);
	assert_int_equal(y->offset, at + 96);
	assert_int_equal(y->ne[1], 1);
	assert_int_equal(y->ne[3], 1);
	assert_null(gguf_tensor(g, "z"));
	gguf_close(g);
}

static void test_gguf__takes_integers_of_any_width_that_fit(void **state)
{
	cleanup_buf struct greta_buf b = {0};
	struct greta_err e = {0};
	uint32_t v = 5;
	float f = 0;

	(void)state;
	head(&b, 3, 0, 4);
	str(&b, "small"), u32(&b, GGUF_U8), greta_buf_addc(&b, 200);
	str(&b, "large"), u32(&b, GGUF_U64), u64(&b, UINT64_MAX);
	str(&b, "negative"), u32(&b, GGUF_I64), u64(&b, (uint64_t)-1);
	str(&b, "nan"), u32(&b, GGUF_F32), u32(&b, 0x7fc00000);
	struct gguf *g = gguf_open_memory("f", b.data, b.len, &e);
	assert_non_null(g);
	assert_ok(gguf_get_u32(g, "small", &v, &e));
	assert_int_equal(v, 200);
	assert_fails(gguf_get_u32(g, "large", &v, &e), GRETA_EINVAL);
	assert_fails(gguf_get_u32(g, "negative", &v, &e), GRETA_EINVAL);
	assert_string_equal(e.text, "f: key 'negative' is -1, beyond 0 to 4294967295");
	assert_fails(gguf_get_u32(g, "none", &v, &e), GRETA_ENOENT);
	assert_string_equal(e.text, "f: key 'none' is missing");
	assert_fails(gguf_get_f32(g, "small", &f, &e), GRETA_EINVAL);
	assert_string_equal(e.text, "f: key 'small' is of type u8, a float is expected");
	assert_fails(gguf_get_f32(g, "nan", &f, &e), GRETA_EINVAL);
	assert_int_equal(v, 200); /* untouched by errors */
	assert_ok(gguf_get_u32_or(g, "none", 9, &v, &e));
	assert_int_equal(v, 9);
	assert_fails(gguf_get_u32_or(g, "nan", 9, &v, &e), GRETA_EINVAL);
	gguf_close(g);
}

static void test_gguf__walks_arrays(void **state)
{
	cleanup_buf struct greta_buf b = {0};
	struct greta_err e = {0};
	struct gguf_str s;
	uint64_t at = 0;

	(void)state;
	head(&b, 3, 0, 2);
	str(&b, "words"), u32(&b, GGUF_ARRAY), u32(&b, GGUF_STR), u64(&b, 3), str(&b, "one"), str(&b, ""),
		str(&b, "three");
	str(&b, "numbers"), u32(&b, GGUF_ARRAY), u32(&b, GGUF_I16), u64(&b, 2),
		greta_buf_add(&b, "\xff\xff\x05\x00", 4);
	struct gguf *g = gguf_open_memory("f", b.data, b.len, &e);
	assert_non_null(g);
	const struct gguf_kv *words = gguf_get_array(g, "words", GGUF_STR, &e);
	assert_true(gguf_next_str(words, &at, &s) && gguf_str_eq(s, "one"));
	assert_true(gguf_next_str(words, &at, &s) && gguf_str_eq(s, ""));
	assert_true(gguf_next_str(words, &at, &s) && gguf_str_eq(s, "three"));
	assert_false(gguf_next_str(words, &at, &s));
	const struct gguf_kv *numbers = gguf_get_array(g, "numbers", GGUF_I64, &e);
	assert_int_equal(gguf_item_i64(numbers, 0), -1);
	assert_int_equal(gguf_item_i64(numbers, 1), 5);
	assert_null(gguf_get_array(g, "numbers", GGUF_F64, &e));
	assert_string_equal(e.text, "f: key 'numbers' is of type array of i16, array of floats is expected");
	gguf_close(g);
}

/* --- what is wrong --- */

static void test_gguf__refuses_bad_heads(void **state)
{
	cleanup_buf struct greta_buf b = {0};

	(void)state;
	assert_refused(&b, "the file is empty");
	greta_buf_adds(&b, "GG");
	assert_refused(&b, "offset 0: the file ends inside the magic");
	greta_buf_clear(&b), greta_buf_adds(&b, "GGML\1\2\3\4");
	assert_refused(&b, "it begins with 'GGML'");
	greta_buf_clear(&b), head(&b, 1, 0, 0);
	assert_refused(&b, "offset 4: GGUF version 1 is not supported");
	greta_buf_clear(&b), head(&b, 0x03000000, 0, 0);
	assert_refused(&b, "big-endian");
	greta_buf_clear(&b), head(&b, 3, UINT64_C(1) << 62, 0);
	assert_refused(&b, "offset 8: the header counts 4611686018427387904 tensors");
	greta_buf_clear(&b), head(&b, 3, 0, UINT64_MAX);
	assert_refused(&b, "offset 16: the header counts 18446744073709551615 keys");
	greta_buf_clear(&b), head(&b, 3, 0, 900000);
	assert_refused(&b, "offset 24: the file ends inside a key");
}

static void test_gguf__refuses_bad_keys(void **state)
{
	cleanup_buf struct greta_buf b = {0};

	(void)state;
	head(&b, 3, 0, 1), u64(&b, UINT64_C(1) << 63);
	assert_refused(&b, "offset 24: a key has length 9223372036854775808");
	greta_buf_clear(&b), head(&b, 3, 0, 1), kv_u32(&b, "", 1);
	assert_refused(&b, "a key of 0 bytes");
	greta_buf_clear(&b), head(&b, 3, 0, 1), u64(&b, 3), greta_buf_add(&b, "a\0b", 3), u32(&b, GGUF_U32), u32(&b, 1);
	assert_refused(&b, "'a?b' has a NUL byte");
	greta_buf_clear(&b), head(&b, 3, 0, 2), kv_u32(&b, "k", 1), kv_u32(&b, "k", 1);
	assert_refused(&b, "key 'k' stands twice");
	greta_buf_clear(&b), head(&b, 3, 0, 1), str(&b, "k"), u32(&b, 13), u32(&b, 0);
	assert_refused(&b, "key 'k' has unknown value type 13");
	greta_buf_clear(&b), head(&b, 3, 0, 1), str(&b, "k"), u32(&b, GGUF_BOOL), greta_buf_addc(&b, 2);
	assert_refused(&b, "key 'k' has a boolean of value 2");
	greta_buf_clear(&b), head(&b, 3, 0, 1), str(&b, "k"), u32(&b, GGUF_STR), u64(&b, 100),
		greta_buf_adds(&b, "abc");
	assert_refused(&b, "the file ends inside string 0 of key 'k'");
}

static void test_gguf__refuses_bad_arrays(void **state)
{
	cleanup_buf struct greta_buf b = {0};

	(void)state;
	head(&b, 3, 0, 1), str(&b, "k"), u32(&b, GGUF_ARRAY), u32(&b, GGUF_ARRAY), u64(&b, 1);
	assert_refused(&b, "key 'k' is an array of arrays");
	greta_buf_clear(&b), head(&b, 3, 0, 1), str(&b, "k"), u32(&b, GGUF_ARRAY), u32(&b, GGUF_U64);
	u64(&b, UINT64_MAX / 8 + 2); /* times 8 is 8 */
	data(&b, 64);
	assert_refused(&b, "the file ends inside the value of key 'k'");
	greta_buf_clear(&b), head(&b, 3, 0, 1), str(&b, "k"), u32(&b, GGUF_ARRAY), u32(&b, GGUF_STR);
	u64(&b, UINT64_C(1) << 60); /* strings, each of 8 bytes at least */
	data(&b, 64);
	assert_refused(&b, "the file ends inside the value of key 'k'");
}

static void one_tensor(struct greta_buf *b, uint64_t ne0, uint64_t ne1, uint32_t type, uint64_t offset, size_t bytes)
{
	greta_buf_clear(b);
	head(b, 3, 1, 0);
	tensor(b, "t", ne0, ne1, type, offset);
	pad(b, 32);
	data(b, bytes);
}

static void test_gguf__refuses_bad_tensors(void **state)
{
	cleanup_buf struct greta_buf b = {0};

	(void)state;
	one_tensor(&b, 4, 0, QUANT_F32, 0, 64);
	assert_refused(&b, "tensor 't': dimension 1 is zero");
	one_tensor(&b, UINT64_C(1) << 62, 4, QUANT_F32, 0, 64);
	assert_refused(&b, "dimensions multiply to more than 2^63");
	one_tensor(&b, UINT64_C(1) << 62, 1, QUANT_F64, 0, 64);
	assert_refused(&b, "tensor 't' has more than 2^64 bytes");
	one_tensor(&b, 4, 1, 99, 0, 64);
	assert_refused(&b, "tensor 't' has unknown type 99");
	one_tensor(&b, 48, 1, QUANT_Q8_0, 0, 64);
	assert_refused(&b, "rows of 48 values, not a multiple of its block of 32");
	one_tensor(&b, 4, 1, QUANT_F32, 16, 64);
	assert_refused(&b, "offset 16, not a multiple of the alignment 32");
	one_tensor(&b, 4, 1, QUANT_F32, 32, 64);
	assert_refused(&b, "offset 32, but the one before it ends at 0");
	one_tensor(&b, 4, 5, QUANT_F32, 0, 79);
	assert_refused(&b, "tensor 't' reaches beyond the end of the file: 80 bytes");
	one_tensor(&b, 4, 5, QUANT_F32, UINT64_MAX - 31, 80);
	assert_refused(&b, "tensor 't' reaches beyond the end of the file");
	one_tensor(&b, 4, 5, QUANT_F32, 0, 80); /* and this is right: the last needs no padding */
	struct greta_err e;
	struct gguf *g = gguf_open_memory("good", b.data, b.len, &e);
	assert_non_null(g);
	gguf_close(g);
}

static void test_gguf__refuses_bad_names_and_dimensions(void **state)
{
	cleanup_buf struct greta_buf b = {0};
	char name[66];

	(void)state;
	memset(name, 'n', 64);
	name[64] = 0;
	head(&b, 3, 1, 0), tensor(&b, name, 4, 1, QUANT_F32, 0), pad(&b, 32), data(&b, 32);
	assert_refused(&b, "a tensor name of 64 bytes: 1 to 63 are allowed");
	greta_buf_clear(&b), head(&b, 3, 1, 0), str(&b, "t"), u32(&b, 5), data(&b, 64);
	assert_refused(&b, "tensor 't' has 5 dimensions");
	greta_buf_clear(&b), head(&b, 3, 1, 0), str(&b, "t"), u32(&b, 0), data(&b, 64);
	assert_refused(&b, "tensor 't' has 0 dimensions");
	greta_buf_clear(&b), head(&b, 3, 2, 0), tensor(&b, "t", 8, 1, QUANT_F32, 0),
		tensor(&b, "t", 8, 1, QUANT_F32, 32);
	pad(&b, 32), data(&b, 64);
	assert_refused(&b, "tensor 't' stands twice");
}

static void test_gguf__refuses_bad_alignment(void **state)
{
	static const uint32_t bad[] = {0, 4, 48, UINT32_MAX};
	cleanup_buf struct greta_buf b = {0};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		greta_buf_clear(&b), head(&b, 3, 0, 1), kv_u32(&b, "general.alignment", bad[i]);
		assert_refused(&b, "key 'general.alignment' is ");
	}
	greta_buf_clear(&b), head(&b, 3, 0, 1), str(&b, "general.alignment"), u32(&b, GGUF_F32), u32(&b, 0);
	assert_refused(&b, "key 'general.alignment' is of type f32");
}

/* Every cut of a good file is refused, and says where. */
static void test_gguf__refuses_every_cut(void **state)
{
	cleanup_buf struct greta_buf b = {0};

	(void)state;
	head(&b, 3, 1, 2);
	kv_u32(&b, "k", 1);
	str(&b, "s"), u32(&b, GGUF_ARRAY), u32(&b, GGUF_STR), u64(&b, 2), str(&b, "one"), str(&b, "two");
	tensor(&b, "t", 4, 5, QUANT_F32, 0);
	pad(&b, 32);
	data(&b, 80);
	for (b.len--; b.len > 0; b.len--) {
		struct greta_err e = {0};
		char *exact = malloc(b.len); /* so that the sanitizer sees a read beyond it */
		memcpy(exact, b.data, b.len);
		struct gguf *g = gguf_open_memory("cut", exact, b.len, &e);
		assert_null(g);
		assert_true(strstr(e.text, "offset") || strstr(e.text, "beyond the end"));
		free(exact);
	}
}

static void test_gguf__open_names_what_is_no_file(void **state)
{
	struct greta_err e = {0};

	(void)state;
	assert_null(gguf_open("/nonexistent/m.gguf", &e));
	assert_int_equal(e.code, GRETA_ENOENT);
	assert_non_null(strstr(e.text, "/nonexistent/m.gguf"));
	assert_null(gguf_open("/", &e));
	assert_string_equal(e.text, "/: a folder, not a GGUF file");
	assert_null(gguf_open("/dev/zero", &e));
	assert_string_equal(e.text, "/dev/zero: not a regular file, not a GGUF file");
}

/* --- the reference files --- */

/* Opened, with its vocabulary and its model: what a program that runs it does. */
static int use(const char *path, struct greta_err *e)
{
	struct gguf *g = gguf_open(path, e);
	struct tokenizer *t = g ? tokenizer_create(g, e) : NULL;
	struct model m;
	int rc = t && !model_bind(&m, g, e) ? 0 : -1;

	if (!rc)
		model_release(&m);
	tokenizer_destroy(t);
	gguf_close(g);
	return rc;
}

static void test_gguf__bad_files_are_refused_with_a_reason(void **state)
{
	char line[512], path[4096], name[128], expected[32];
	FILE *list = fopen(GRETA_SHARED_DATA "/gguf/bad/LIST.tsv", "r");

	(void)state;
	if (!list) {
		print_message("no %s: skipped\n", GRETA_SHARED_DATA "/gguf/bad");
		skip();
	}
	while (fgets(line, sizeof line, list)) {
		struct greta_err e = {0};
		if (line[0] == '#' || sscanf(line, "%127[^\t]\t%*[^\t]\t%31[^\t]", name, expected) != 2)
			continue;
		snprintf(path, sizeof path, "%s/gguf/bad/%s.gguf", GRETA_SHARED_DATA, name);
		int rc = use(path, &e);
		if ((rc == 0) != greta_str_eq(expected, "accept"))
			fail_msg("%s: %s", name, rc ? e.text : "accepted");
		if (rc && !greta_str_starts(e.text, path))
			fail_msg("%s: the message does not begin with the file: %s", name, e.text);
	}
	fclose(list);
}

static void test_gguf__good_files_are_taken(void **state)
{
	DIR *dir = opendir(GRETA_SHARED_DATA "/gguf/models");
	struct dirent *entry;
	char path[4096];

	(void)state;
	if (!dir) {
		print_message("no %s: skipped\n", GRETA_SHARED_DATA "/gguf/models");
		skip();
	}
	while ((entry = readdir(dir))) {
		struct greta_err e = {0};
		if (!greta_str_ends(entry->d_name, ".gguf"))
			continue;
		snprintf(path, sizeof path, "%s/gguf/models/%s", GRETA_SHARED_DATA, entry->d_name);
		assert_ok(use(path, &e));
	}
	closedir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gguf__reads_keys_and_tensors),
		cmocka_unit_test(test_gguf__takes_integers_of_any_width_that_fit),
		cmocka_unit_test(test_gguf__walks_arrays),
		cmocka_unit_test(test_gguf__refuses_bad_heads),
		cmocka_unit_test(test_gguf__refuses_bad_keys),
		cmocka_unit_test(test_gguf__refuses_bad_arrays),
		cmocka_unit_test(test_gguf__refuses_bad_tensors),
		cmocka_unit_test(test_gguf__refuses_bad_names_and_dimensions),
		cmocka_unit_test(test_gguf__refuses_bad_alignment),
		cmocka_unit_test(test_gguf__refuses_every_cut),
		cmocka_unit_test(test_gguf__open_names_what_is_no_file),
		cmocka_unit_test(test_gguf__bad_files_are_refused_with_a_reason),
		cmocka_unit_test(test_gguf__good_files_are_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
