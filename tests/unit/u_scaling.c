#include "tests/unit/unit.h"

#include "base/mem.h"
#include "orchestrator/analysis/scaling.h"
#include <math.h>
#include <string.h>

static void add_cell(struct cells *c, const char *variant, int64_t context, double t, int n_runs)
{
	struct cell *cell = GRETA_PUSH(c->items, c->n, c->cap);
	*cell = (struct cell){.variant = greta_strdup(variant), .context = context, .flops = NAN, .limit_share = NAN};
	for (int i = 0; i < n_runs; i++)
		stats_add(&cell->runs, t * (1 + 0.004 * (i - (n_runs - 1) / 2.0)));
	cell->prefill = stats_median(&cell->runs);
}

/* One part linear, one part quadratic, so that doubling 16384 costs 3.7x. */
static double smooth(double n)
{
	return 1e-3 * n + 4e-7 * n * n;
}

static void remarks_of(const struct cells *c, struct greta_buf *out)
{
	struct scaling s;
	scaling_make(c, NULL, &s);
	scaling_remarks(&s, out);
	scaling_release(&s);
}

static void test_scaling__names_the_context_where_the_curve_breaks(void **state)
{
	(void)state;
	struct cells c = {0};
	struct scaling s;
	cleanup_buf struct greta_buf text = {0};
	for (int64_t n = 2048; n <= 16384; n *= 2)
		add_cell(&c, "v3", n, smooth((double)n), 3);
	add_cell(&c, "v3", 32768, 5.5 * smooth(16384), 3);
	add_cell(&c, "v3", 65536, 5.5 * smooth(32768), 3);
	scaling_make(&c, NULL, &s);
	assert_int_equal(s.n, 1);
	assert_int_equal(s.lines[0].cells[s.lines[0].broke]->context, 32768);
	assert_false(s.lines[0].suspected);
	assert_true(fabs(s.lines[0].fit.coef[2] - 4e-7) < 1e-9); /* of the contexts before the break alone */
	scaling_remarks(&s, &text);
	assert_non_null(strstr(text.data, "v3: the curve breaks at 32768: 5.5x of 16384 where 3.7x was predicted"));
	scaling_release(&s);
	cells_release(&c);
}

static void test_scaling__a_smooth_curve_does_not_break(void **state)
{
	(void)state;
	struct cells c = {0};
	cleanup_buf struct greta_buf text = {0};
	for (int64_t n = 1024; n <= 65536; n *= 2)
		add_cell(&c, "v3", n, smooth((double)n) * (n % 3 == 1 ? 1.01 : 0.99), 3);
	remarks_of(&c, &text);
	assert_null(strstr(greta_buf_str(&text), "break"));
	cells_release(&c);
}

static void test_scaling__one_run_is_at_most_suspicion(void **state)
{
	(void)state;
	struct cells c = {0};
	cleanup_buf struct greta_buf text = {0};
	for (int64_t n = 2048; n <= 16384; n *= 2)
		add_cell(&c, "v3", n, smooth((double)n), 1);
	add_cell(&c, "v3", 32768, 5.5 * smooth(16384), 1);
	remarks_of(&c, &text);
	assert_non_null(strstr(text.data, "a break is suspected at 32768"));
	assert_non_null(strstr(text.data, "5 of 5 cells rest on one run"));
	cells_release(&c);
}

static void test_scaling__nothing_to_go_by(void **state)
{
	(void)state;
	struct cells c = {0};
	cleanup_buf struct greta_buf text = {0};
	add_cell(&c, "v3", 2048, 1, 0);
	remarks_of(&c, &text);
	assert_non_null(strstr(text.data, "no run of these has a counted result"));
	greta_buf_clear(&text);
	add_cell(&c, "v4", 2048, 1, 3);
	remarks_of(&c, &text);
	assert_non_null(strstr(text.data, "v4: no fit: it has 1 context with a result, and a fit needs 3"));
	cells_release(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scaling__names_the_context_where_the_curve_breaks),
		cmocka_unit_test(test_scaling__a_smooth_curve_does_not_break),
		cmocka_unit_test(test_scaling__one_run_is_at_most_suspicion),
		cmocka_unit_test(test_scaling__nothing_to_go_by),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
