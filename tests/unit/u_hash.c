/* sha256 and uuid. */
#include "base/clock.h"
#include "base/sha256.h"
#include "base/uuid.h"
#include "tests/unit/unit.h"
#include <stdlib.h>
#include <string.h>

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void test_sha256__known_answers(void **state)
{
	(void)state;
	char hex[GRETA_SHA256_HEX + 1];
	assert_string_equal(greta_sha256_of("abc", 3, hex), ABC);
	assert_string_equal(greta_sha256_of(NULL, 0, hex), EMPTY);
	struct greta_sha256 h;
	greta_sha256_init(&h);
	greta_sha256_add(&h, "a", 1);
	greta_sha256_add(&h, "bc", 2);
	assert_string_equal(greta_sha256_hex(&h, hex), ABC);
}

static void test_sha256__files(void **state)
{
	(void)state;
	struct greta_err e = {0};
	char hex[GRETA_SHA256_HEX + 1], of_memory[GRETA_SHA256_HEX + 1];
	char *big = calloc(1, 700001); /* several chunks and a rest */
	memset(big + 300000, 'x', 1000);
	assert_ok(greta_fs_write_atomic("big", big, 700001, 0600, &e));
	assert_ok(greta_sha256_file("big", hex, &e));
	assert_string_equal(hex, greta_sha256_of(big, 700001, of_memory));
	free(big);
	assert_fails(greta_sha256_file("missing", hex, &e), GRETA_ENOENT);
	assert_fails(greta_sha256_file(".", hex, &e), GRETA_EFAIL);
}

static void test_uuid__new_ones_are_valid_and_differ(void **state)
{
	(void)state;
	char a[GRETA_UUID_LEN + 1], b[GRETA_UUID_LEN + 1];
	for (int i = 0; i < 200; i++) {
		assert_true(greta_uuid_valid(greta_uuid_new(a)));
		assert_int_equal(a[14], '4');
		assert_non_null(strchr("89ab", a[19]));
		assert_string_not_equal(a, greta_uuid_new(b));
	}
}

/* By their first eight digits they are told apart, and in order, as an index likes them. */
static void test_uuid__the_next_one_comes_behind(void **state)
{
	(void)state;
	char before[GRETA_UUID_LEN + 1], next[GRETA_UUID_LEN + 1];
	int64_t now_ms = greta_clock_wall_ns() / GRETA_NS_PER_MS;
	greta_uuid_next(before);
	assert_true((uint32_t)strtoul(before, NULL, 16) - (uint32_t)now_ms < 60000);
	for (int i = 0; i < 200; i++) {
		assert_true(greta_uuid_valid(greta_uuid_next(next)));
		assert_int_equal(next[14], '8');
		assert_non_null(strchr("89ab", next[19]));
		assert_in_range((uint32_t)strtoul(next, NULL, 16) - (uint32_t)strtoul(before, NULL, 16), 1, 60000);
		assert_string_not_equal(next + 9, before + 9);
		memcpy(before, next, sizeof before);
	}
}

static void test_uuid__others_are_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
					  "55f9c273-ac91-4aaf-9bd2-8f1edfbb8b6",
					  "55f9c273-ac91-4aaf-9bd2-8f1edfbb8b6c1",
					  "55F9c273-ac91-4aaf-9bd2-8f1edfbb8b6c",
					  "55f9c273-ac91-4aaf-9bd2_8f1edfbb8b6c",
					  "../../../../../../../../../etc/passwd"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(greta_uuid_valid(bad[i]));
	assert_false(greta_uuid_valid(NULL));
	assert_true(greta_uuid_valid("55f9c273-ac91-4aaf-9bd2-8f1edfbb8b6c"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256__known_answers),
		cmocka_unit_test_setup_teardown(test_sha256__files, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test(test_uuid__new_ones_are_valid_and_differ),
		cmocka_unit_test(test_uuid__the_next_one_comes_behind),
		cmocka_unit_test(test_uuid__others_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
