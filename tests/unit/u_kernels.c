/* What an engine says of its kernels, and the gate that reads it. */
#include "tests/unit/unit.h"

#include "schemas/kernels.h"
#include <string.h>

static const char answer[] =
	"greta-infer: no device\n"
	"[{\"kernel\":\"q_lds_f16_d128\",\"arch\":\"gfx942\",\"attn_impl\":\"q_lds\",\"scratch_bytes\":0,\"vgpr\":134},"
	"{\"kernel\":\"q_lds_v2_f16_d128\",\"arch\":\"gfx942\",\"attn_impl\":\"q_lds_v2\",\"scratch_bytes\":812},"
	"{\"kernel\":\"q_lds_f16_d128\",\"arch\":\"sm_90a\",\"attn_impl\":\"q_lds\",\"scratch_bytes\":16},"
	"{\"kernel\":\"norm_f16\",\"arch\":\"gfx942\",\"scratch_bytes\":0}]\n";

static void check(const char *arch, const char *attn_impl, const char *why_not)
{
	struct greta_kernels k;
	struct greta_err e = {0};
	cleanup_strs struct greta_strs archs = {0};
	cleanup_buf struct greta_buf why = {0};

	assert_ok(greta_kernels_parse(answer, strlen(answer), &k, &e));
	assert_int_equal(k.n, 4);
	assert_int_equal(k.items[0].vgpr, 134);
	assert_int_equal(k.items[0].spills, -1);
	if (arch)
		greta_strs_add(&archs, arch);
	assert_int_equal(greta_kernels_no_spill(&k, &archs, attn_impl, &why), why_not == NULL);
	if (why_not && !strstr(greta_buf_str(&why), why_not))
		fail_msg("\"%s\" does not say \"%s\"", greta_buf_str(&why), why_not);
	greta_kernels_release(&k);
}

static void test_kernels__the_variant_on_its_node(void **state)
{
	(void)state;
	check("gfx942", "q_lds", NULL);
	check("gfx942", "q_lds_v2", "kernel q_lds_v2_f16_d128 (gfx942) uses 812 bytes of scratch memory");
	check("sm_90", "q_lds", "sm_90a");
	check(NULL, "q_lds", "sm_90a");
	check("gfx942", NULL, "q_lds_v2_f16_d128");
}

static void test_kernels__nothing_to_see_is_no_pass(void **state)
{
	(void)state;
	check("gfx90a", "q_lds", "lists no kernel of q_lds for gfx90a");
	check("gfx942", "flash_mma", "lists no kernel of flash_mma for gfx942");
	check("gfx90a", NULL, "lists no kernel for gfx90a");
}

static void test_kernels__what_can_not_be_read(void **state)
{
	static const char *const bad[] = {"", "usage: engine MODEL\n", "{}", "[{\"kernel\":\"a\",\"arch\":\"b\"}]", "[1]",
					  "[{\"kernel\":\"a\",\"arch\":\"b\",\"scratch_bytes\":\"none\"}]", "[{\"kernel\":"};
	struct greta_kernels k;
	struct greta_err e = {0};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(greta_kernels_parse(bad[i], strlen(bad[i]), &k, &e), -1);
		assert_int_equal(k.n, 0);
		assert_null(k.items);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernels__the_variant_on_its_node),
		cmocka_unit_test(test_kernels__nothing_to_see_is_no_pass),
		cmocka_unit_test(test_kernels__what_can_not_be_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
