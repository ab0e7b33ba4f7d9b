/* unit: what every unit test includes first. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fs.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* For calls that fill `struct greta_err e`: shows the text when they fail. */
#define assert_ok(call)                                                                                                \
	do {                                                                                                           \
		if ((call) != 0)                                                                                       \
			fail_msg("%s: %s", #call, e.text);                                                             \
	} while (0)

#define assert_fails(call, wanted_code)                                                                                \
	do {                                                                                                           \
		assert_true((call) < 0);                                                                               \
		assert_string_equal(greta_code_name(e.code), greta_code_name(wanted_code));                            \
	} while (0)

/* A fresh folder, which the test works in and unit_tmp_remove takes away: for cmocka's setup and teardown. */
static inline int unit_tmp_create(void **state)
{
	const char *base = getenv("TMPDIR");
	char *dir = NULL;
	if (asprintf(&dir, "%s/greta-unit-XXXXXX", base ? base : "/tmp") < 0 || !mkdtemp(dir) || chdir(dir) != 0)
		return -1;
	*state = dir;
	return 0;
}

static inline int unit_tmp_remove(void **state)
{
	char *dir = *state;
	int result = chdir("/") == 0 ? greta_fs_remove_tree(dir, NULL) : -1;
	free(dir);
	return result;
}

#endif
