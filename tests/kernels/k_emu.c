/* The emulator itself: that it catches what hardware may forgive, and refuses what the driver would. A launch goes through
 * the table that the engine uses; kernels with planted bugs are the emulator's own (emu_planted.cc). */
#include "base/mem.h"
#include "kernels/code_objects.h"
#include "kernels/gpu_api.h"
#include "tests/kernels/emu/emu.h"
#include "tests/kernels/emu/emu_planted.h"
#include <dlfcn.h>
#include <elf.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct gpu_api api;
static struct emu_settings *emu;
static emu_planted_fn *planted;
static void (*forget)(void);

/* --- planted bugs ------------------------------------------------------------------------------------------------- */

enum planted {
#define X(name, threads, lds) PLANTED_##name,
	EMU_PLANTED(X)
#undef X
};

/* Runs it in one order of waves. Whether all of its outputs are numbers, in *sound. */
static int run(enum planted which, int order, bool *sound)
{
	static const int threads[] = {
#define X(name, threads, lds) threads,
		EMU_PLANTED(X)
#undef X
	};
	float out[128];
	int rc;

	memset(out, 0xff, sizeof out);
	emu->order = order;
	rc = planted((int)which, out);
	*sound = true;
	for (int i = 0; i < threads[which]; i++)
		*sound = *sound && isfinite(out[i]);
	return rc;
}

/* The launch fails with a message that says this, in every order of waves. */
static void fails(enum planted which, const char *message)
{
	bool sound;

	for (int order = 0; order < 3; order++) {
		emu->message[0] = 0;
		assert_int_equal(run(which, order, &sound), -1);
		if (!strstr(emu->message, message))
			fail_msg("\"%s\" does not say \"%s\"", emu->message, message);
	}
}

/* The launch ends, with outputs that are no numbers. */
static void shows(enum planted which)
{
	bool sound;

	for (int order = 0; order < 3; order++) {
		assert_int_equal(run(which, order, &sound), 0);
		assert_false(sound);
	}
}

static void test_emu__runs_what_is_sound(void **state)
{
	bool sound;

	(void)state;
	for (int order = 0; order < 3; order++) {
		assert_int_equal(run(PLANTED_sound, order, &sound), 0);
		assert_true(sound);
	}
}

static void test_emu__shows_lds_that_nobody_wrote(void **state)
{
	(void)state;
	shows(PLANTED_lds_read);
}

static void test_emu__shows_lanes_that_are_not_there(void **state)
{
	(void)state;
	shows(PLANTED_absent_lanes);
}

static void test_emu__shows_a_copy_read_before_its_wait(void **state)
{
	(void)state;
	shows(PLANTED_short_wait);
}

static void test_emu__refuses_copies_never_waited_for(void **state)
{
	(void)state;
	fails(PLANTED_no_wait, "copies into LDS not waited for");
}

static void test_emu__refuses_more_lds_than_there_is(void **state)
{
	(void)state;
	fails(PLANTED_large_lds, "65540 bytes of LDS");
}

static void test_emu__refuses_a_wave_that_divides(void **state)
{
	(void)state;
	fails(PLANTED_divergence, "deadlock");
}

/* --- what the driver would refuse ---------------------------------------------------------------------------------- */

/* A copy of a shipped object with other ELF flags: built for another machine. */
static void test_emu__refuses_code_for_another_gpu(void **state)
{
	const struct gpu_code_object *o = gpu_code_object_find("model", "gfx942");
	gpu_module m;
	Elf64_Ehdr h;
	char *copy;

	(void)state;
	if (!o)
		skip();
	copy = greta_alloc(o->size);
	memcpy(copy, o->data, o->size);
	memcpy(&h, copy, sizeof h);
	h.e_flags = (h.e_flags & ~0xffu) | 0x3f; /* gfx90a */
	memcpy(copy, &h, sizeof h);
	assert_int_equal(api.module_load(&m, copy), 209);
	h.e_machine = EM_X86_64;
	memcpy(copy, &h, sizeof h);
	assert_int_equal(api.module_load(&m, copy), 200);
	assert_int_equal(api.module_load(&m, o->data), 0);
	assert_int_equal(api.module_unload(m), 0);
	free(copy);
}

static int launch(gpu_function f, unsigned threads, unsigned lds, unsigned gy)
{
	static char args[256];
	void *params[] = { args };

	return api.launch(f, 1, gy, 1, threads, 1, 1, lds, NULL, params, NULL);
}

static void test_emu__refuses_launches_beyond_the_object(void **state)
{
	const struct gpu_code_object *o = gpu_code_object_find("q_lds", "gfx942");
	gpu_function f;
	gpu_module m;

	(void)state;
	if (!o)
		skip();
	assert_int_equal(api.module_load(&m, o->data), 0);
	assert_int_equal(api.module_function(&f, m, "q_lds_f16_d64"), 0);
	assert_int_equal(api.module_function(&f, m, "q_lds_f16_d65"), 500);
	assert_int_equal(launch(f, 64, 0, 1), 1);
	assert_non_null(strstr(emu->message, "more threads"));
	assert_int_equal(launch(f, 32, 1024, 1), 1);
	assert_non_null(strstr(emu->message, "dynamic LDS"));
	assert_int_equal(launch(f, 32, 0, 65536), 1);
	assert_non_null(strstr(emu->message, "grid"));
	forget();
	assert_int_equal(api.module_unload(m), 0);
}

static int setup(void **state)
{
	struct greta_err e = { 0 };
	void *p;

	(void)state;
	if (gpu_api_open(&api, GPU_VENDOR_AMD, &e)) {
		print_message("%s\n", e.text);
		return -1;
	}
	emu = dlsym(api.lib, "emu_settings");
	p = dlsym(api.lib, "emu_planted");
	memcpy(&planted, &p, sizeof p);
	p = dlsym(api.lib, "emu_forget");
	memcpy(&forget, &p, sizeof p);
	return emu && planted && forget ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_emu__runs_what_is_sound),
		cmocka_unit_test(test_emu__shows_lds_that_nobody_wrote),
		cmocka_unit_test(test_emu__shows_lanes_that_are_not_there),
		cmocka_unit_test(test_emu__shows_a_copy_read_before_its_wait),
		cmocka_unit_test(test_emu__refuses_copies_never_waited_for),
		cmocka_unit_test(test_emu__refuses_more_lds_than_there_is),
		cmocka_unit_test(test_emu__refuses_a_wave_that_divides),
		cmocka_unit_test(test_emu__refuses_code_for_another_gpu),
		cmocka_unit_test(test_emu__refuses_launches_beyond_the_object),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
