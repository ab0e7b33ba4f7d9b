/* quant: halves, and every block format against values worked out by hand and against its own encoder. */
#include "tests/unit/unit.h"

#include "engine/quant.h"
#include <math.h>
#include <string.h>

static const struct quant_traits *type_named(const char *name)
{
	const struct quant_traits *t = quant_by_name(name);

	assert_non_null(t);
	return t;
}

static void test_quant__halves_survive_the_way_to_float_and_back(void **state)
{
	(void)state;
	for (uint32_t h = 0; h < 0x10000; h++) {
		float f = quant_f16_to_f32((uint16_t)h);
		if (isnan(f))
			assert_true((h & 0x7c00) == 0x7c00 && (h & 0x3ff));
		else
			assert_int_equal(quant_f32_to_f16(f), h);
	}
}

static void test_quant__half_rounding(void **state)
{
	static const struct {
		float f;
		uint16_t h;
	} cases[] = {
		{1.0f, 0x3c00},
		{-2.5f, 0xc100},
		{65504.0f, 0x7bff},
		{65519.0f, 0x7bff},
		{65520.0f, 0x7c00}, /* half way to what would be 65536: infinity */
		{1e30f, 0x7c00},
		{0x1p-24f, 0x0001},
		{0x1p-25f, 0x0000}, /* a tie, to even */
		{0x1.8p-25f, 0x0001},
		{0x1.8p-24f, 0x0002}, /* a tie, to even */
		{1.0f + 0x1p-11f, 0x3c00},
		{1.0f + 0x3p-11f, 0x3c02},
		{0x1.ff8p-15f, 0x03ff}, /* the greatest subnormal */
		{0x1.ffcp-15f, 0x0400},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(quant_f32_to_f16(cases[i].f), cases[i].h);
		assert_int_equal(quant_f32_to_f16(-cases[i].f), cases[i].h ^ 0x8000);
	}
	assert_true(isnan(quant_f16_to_f32(quant_f32_to_f16(NAN))));
}

/* The row functions take eight at a time where the processor can: they must agree with the portable ones. */
static void test_quant__half_rows_equal_single_halves(void **state)
{
	const struct quant_traits *t = type_named("F16");
	static uint16_t halves[65536], back[65536];
	static float floats[65536];

	(void)state;
	for (size_t i = 0; i < 65536; i++)
		halves[i] = (uint16_t)i;
	t->to_f32(halves, floats, 65536);
	t->from_f32(floats, back, 65536);
	for (size_t i = 0; i < 65536; i++)
		if (!isnan(floats[i])) {
			assert_true(floats[i] == quant_f16_to_f32((uint16_t)i));
			assert_int_equal(back[i], i);
		}
}

static void test_quant__half_rows_round_as_single_halves(void **state)
{
	const struct quant_traits *t = type_named("F16");
	float in[1024 + 3];
	uint16_t out[1024 + 3];

	(void)state;
	for (int i = 0; i < 1027; i++)
		in[i] = ldexpf(sinf((float)i), i % 40 - 26);
	t->from_f32(in, out, 1027);
	for (int i = 0; i < 1027; i++)
		assert_int_equal(out[i], quant_f32_to_f16(in[i]));
}

static void test_quant__bf16_is_no_f16(void **state)
{
	(void)state;
	assert_int_equal(quant_f32_to_bf16(1.0f), 0x3f80);
	assert_int_equal(quant_f32_to_bf16(1.0f + 0x1p-8f), 0x3f80); /* a tie, to even */
	assert_int_equal(quant_f32_to_bf16(1.0f + 0x3p-8f), 0x3f82);
	assert_true(quant_bf16_to_f32(0xc040) == -3.0f);
	assert_true(isnan(quant_bf16_to_f32(quant_f32_to_bf16(quant_bits_f32(0x7f800001)))));
}

#define HALF_ONE 0x3c00 /* 1.0 */
#define HALF_TWO 0x4000
#define HALF_PART 0x3800 /* 0.5 */

static void test_quant__thirty_two_value_blocks_by_hand(void **state)
{
	float x[32];
	struct quant_q8_0 q8 = {.d = HALF_PART, .q = {[0] = -128, [31] = 127}};
	struct quant_q4_0 q40 = {.d = HALF_PART, .q = {[0] = 0x9f, [15] = 0x80}};
	struct quant_q4_1 q41 = {.d = HALF_PART, .m = HALF_TWO, .q = {[0] = 0x9f}};
	struct quant_q5_0 q50 = {.d = HALF_ONE, .high = {[0] = 1, [2] = 1}, .q = {[0] = 0x21}};
	struct quant_q5_1 q51 = {.d = HALF_ONE, .m = HALF_TWO, .high = {[3] = 0x80}, .q = {[15] = 0x35}};

	(void)state;
	type_named("Q8_0")->to_f32(&q8, x, 32);
	assert_true(x[0] == -64 && x[1] == 0 && x[31] == 63.5f);
	type_named("Q4_0")->to_f32(&q40, x, 32);
	assert_true(x[0] == 3.5f && x[16] == 0.5f && x[1] == -4 && x[15] == -4 && x[31] == 0);
	type_named("Q4_1")->to_f32(&q41, x, 32);
	assert_true(x[0] == 9.5f && x[16] == 6.5f && x[1] == 2);
	type_named("Q5_0")->to_f32(&q50, x, 32);
	assert_true(x[0] == 1 && x[16] == 2 && x[1] == -16);
	type_named("Q5_1")->to_f32(&q51, x, 32);
	assert_true(x[15] == 7 && x[31] == 21 && x[0] == 2);
}

static void test_quant__k_scales_are_split_over_two_bytes(void **state)
{
	/* scale 5 = 0x2b: low four bits in scales[9], upper two on top of scales[1]; min 5 = 0x1d: scales[9], scales[5]
	 */
	uint8_t scales[12] = {[1] = 0x80 | 7, [5] = 0x40 | 9, [9] = 0xdb}, s, m;

	(void)state;
	quant_k_scale_min(scales, 1, &s, &m);
	assert_int_equal(s, 7);
	assert_int_equal(m, 9);
	quant_k_scale_min(scales, 5, &s, &m);
	assert_int_equal(s, 0x2b);
	assert_int_equal(m, 0x1d);
}

static void test_quant__k_blocks_by_hand(void **state)
{
	float x[256];
	struct quant_q4_k q4 = {
		.d = HALF_ONE, .dmin = HALF_TWO, .scales = {[0] = 3, [1] = 5, [4] = 1}, .q = {[2] = 0x47}};
	struct quant_q5_k q5 = {.d = HALF_ONE, .scales = {[0] = 1, [1] = 1}, .high = {[2] = 2}, .q = {[2] = 0x47}};
	struct quant_q6_k q6 = {.d = HALF_PART, .low = {[0] = 0x21, [32] = 0x43, [64] = 0x05}, .high = {[0] = 0xe4}};

	(void)state;
	type_named("Q4_K")->to_f32(&q4, x, 256);
	assert_true(x[2] == 3 * 7 - 2 && x[32 + 2] == 5 * 4 && x[0] == -2 && x[64] == 0);
	type_named("Q5_K")->to_f32(&q5, x, 256);
	assert_true(x[2] == 7 && x[32 + 2] == 20);
	for (int i = 0; i < 16; i++)
		q6.scales[i] = (int8_t)(i == 2 ? -2 : 2);
	type_named("Q6_K")->to_f32(&q6, x, 256);
	/* high[0] = 0b11100100: quarters 0..3 have upper bits 0, 1, 2, 3 */
	assert_true(x[0] == 1 - 32 && x[32] == -((3 | 16) - 32.0f) && x[64] == (2 | 32) - 32 && x[96] == (4 | 48) - 32);
	assert_true(x[128] == 5 - 32);
}

static void fill(float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = sinf((float)i * 0.7f) * (1 + 0.3f * cosf((float)i * 0.01f));
}

/* The coarsest step of a format over values within 1.3 of zero, times a half for rounding and a little for the scales.
 */
static void test_quant__encoders_come_close(void **state)
{
	static const struct {
		const char *name;
		float error;
	} cases[] = {{"F32", 0},      {"F16", 7e-4f},  {"BF16", 6e-3f}, {"Q8_0", 6e-3f},
		     {"Q4_0", 0.18f}, {"Q4_1", 0.1f},  {"Q5_0", 0.09f}, {"Q5_1", 0.05f},
		     {"Q4_K", 0.12f}, {"Q5_K", 0.06f}, {"Q6_K", 0.05f}};
	float x[1024], y[1024];
	uint8_t encoded[4096 + 1];

	(void)state;
	fill(x, 1024);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct quant_traits *t = type_named(cases[i].name);
		t->from_f32(x, encoded + 1, 1024); /* an odd address: blocks need no alignment */
		t->to_f32(encoded + 1, y, 1024);
		for (int k = 0; k < 1024; k++)
			if (fabsf(x[k] - y[k]) > cases[i].error)
				fail_msg("%s: value %d: %g became %g", t->name, k, (double)x[k], (double)y[k]);
	}
}

/* What an encoder made, it makes again from what that decodes to. */
static void test_quant__symmetric_formats_are_stable(void **state)
{
	static const char *const names[] = {"Q8_0", "Q4_0", "Q5_0"};
	float x[256], y[256], z[256];
	uint8_t encoded[1024];

	(void)state;
	fill(x, 256);
	for (size_t i = 0; i < 3; i++) {
		const struct quant_traits *t = type_named(names[i]);
		t->from_f32(x, encoded, 256);
		t->to_f32(encoded, y, 256);
		t->from_f32(y, encoded, 256);
		t->to_f32(encoded, z, 256);
		assert_memory_equal(y, z, sizeof y);
	}
}

static void test_quant__zeros_stay_zeros(void **state)
{
	float x[256] = {0}, y[256];
	uint8_t encoded[1024];

	(void)state;
	for (uint32_t id = 0; id < QUANT_ID_LIMIT; id++) {
		const struct quant_traits *t = quant_traits(id);
		if (!t || !t->from_f32)
			continue;
		t->from_f32(x, encoded, 256);
		t->to_f32(encoded, y, 256);
		for (int k = 0; k < 256; k++)
			assert_true(y[k] == 0);
	}
}

static void test_quant__types_by_id_and_name(void **state)
{
	(void)state;
	assert_string_equal(quant_traits(QUANT_Q4_K)->name, "Q4_K");
	assert_ptr_equal(quant_by_name("q4_k"), quant_traits(12));
	assert_int_equal(quant_bytes(quant_traits(QUANT_Q6_K), 512), 420);
	assert_null(quant_traits(QUANT_IQ4_XS)->to_f32); /* known by name, for a refusal by name */
	assert_null(quant_traits(4));                    /* was given out once and taken back */
	assert_null(quant_traits(99));
	assert_null(quant_by_name("Q9"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quant__halves_survive_the_way_to_float_and_back),
		cmocka_unit_test(test_quant__half_rounding),
		cmocka_unit_test(test_quant__half_rows_equal_single_halves),
		cmocka_unit_test(test_quant__half_rows_round_as_single_halves),
		cmocka_unit_test(test_quant__bf16_is_no_f16),
		cmocka_unit_test(test_quant__thirty_two_value_blocks_by_hand),
		cmocka_unit_test(test_quant__k_scales_are_split_over_two_bytes),
		cmocka_unit_test(test_quant__k_blocks_by_hand),
		cmocka_unit_test(test_quant__encoders_come_close),
		cmocka_unit_test(test_quant__symmetric_formats_are_stable),
		cmocka_unit_test(test_quant__zeros_stay_zeros),
		cmocka_unit_test(test_quant__types_by_id_and_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
