#include "base/clock.h"
#include "tests/unit/unit.h"
#include <string.h>

static void test_clock__iso_goes_there_and_back(void **state)
{
	(void)state;
	static const struct {
		int64_t ns;
		const char *text;
	} cases[] = {{0, "1970-01-01T00:00:00.000Z"},
		     {INT64_C(1770888600123000000), "2026-02-12T09:30:00.123Z"},
		     {-1000000, "1969-12-31T23:59:59.999Z"},
		     {INT64_C(951782400000000000), "2000-02-29T00:00:00.000Z"}};
	char out[GRETA_ISO_LEN + 1];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int64_t ns;
		assert_string_equal(greta_clock_iso(out, cases[i].ns), cases[i].text);
		assert_int_equal(greta_clock_parse_iso(cases[i].text, &ns), 0);
		assert_true(ns == cases[i].ns);
	}
	assert_int_equal(strlen(greta_clock_iso(out, INT64_MAX)), GRETA_ISO_LEN);
	assert_int_equal(strlen(greta_clock_iso(out, INT64_MIN)), GRETA_ISO_LEN);
}

static void test_clock__iso_fractions_of_any_length(void **state)
{
	(void)state;
	int64_t ns;
	assert_int_equal(greta_clock_parse_iso("1970-01-01T00:00:01Z", &ns), 0);
	assert_true(ns == GRETA_NS_PER_S);
	assert_int_equal(greta_clock_parse_iso("1970-01-01T00:00:00.5Z", &ns), 0);
	assert_true(ns == GRETA_NS_PER_S / 2);
	assert_int_equal(greta_clock_parse_iso("1970-01-01T00:00:00.123456789999Z", &ns), 0);
	assert_true(ns == 123456789);
}

static void test_clock__iso_refuses_what_is_no_time(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
					  "2026",
					  "2026-02-30T00:00:00Z",
					  "2026-13-01T00:00:00Z",
					  "2026-00-01T00:00:00Z",
					  "2025-02-29T00:00:00Z",
					  "2026-01-01T24:00:00Z",
					  "2026-01-01T00:60:00Z",
					  "2026-01-01T00:00:60Z",
					  "2026-01-01T00:00:00",
					  "2026-01-01T00:00:00+01:00",
					  "2026-01-01 00:00:00Z",
					  "2026-01-01T00:00:00.Z",
					  "2026-01-01T00:00:00Zx",
					  "9999-01-01T00:00:00Z",
					  "-026-01-01T00:00:00Z",
					  "2026-1-01T00:00:00Z"};
	int64_t ns = 7;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (greta_clock_parse_iso(bad[i], &ns) != -1)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_true(ns == 7);
}

static void test_clock__clocks_run(void **state)
{
	(void)state;
	int64_t mono = greta_clock_mono_ns(), boot = greta_clock_boot_ns();
	assert_true(greta_clock_mono_ns() >= mono);
	assert_true(boot >= mono); /* it counts suspend as well */
	assert_true(greta_clock_wall_ns() > INT64_C(1700000000) * GRETA_NS_PER_S);
	const char *id = greta_clock_boot_id();
	assert_true(strlen(id) == GRETA_BOOT_ID_LEN || id[0] == '\0');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock__iso_goes_there_and_back),
		cmocka_unit_test(test_clock__iso_fractions_of_any_length),
		cmocka_unit_test(test_clock__iso_refuses_what_is_no_time),
		cmocka_unit_test(test_clock__clocks_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
