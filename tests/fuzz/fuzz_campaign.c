/* Any bytes as a campaign file: refused with places and printable words, or a campaign from which every cell's spec can
 * be built and read back. */
#include "base/mem.h"
#include "schemas/campaign.h"
#include "schemas/spec.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_problems(const struct greta_problems *problems)
{
	struct greta_buf printed = {0};

	greta_problems_print(problems, "f", &printed);
	for (size_t i = 0; i < printed.len; i++)
		if ((uint8_t)printed.data[i] < 0x20 && printed.data[i] != '\n')
			abort();
	greta_buf_release(&printed);
}

static void check_cell(const struct greta_campaign *c, size_t variant, int64_t context)
{
	const struct greta_spec_paths paths = {"/model", NULL};
	struct greta_spec spec, back;
	struct greta_buf text = {0}, again = {0};

	if (greta_spec_build(c, variant, context, 1, &paths, &spec, NULL))
		return; /* takes a variable that is not there */
	if (!spec.argv.n || spec.wall_s <= 0)
		abort();
	greta_str_copy(spec.attempt, sizeof(spec.attempt), "0b9cbe04-6b2f-4b9e-8c63-0a4d8a0f0001");
	greta_spec_print(&spec, &text);
	if (greta_spec_parse(text.data, text.len, &back, NULL))
		abort();
	greta_spec_print(&back, &again);
	if (strcmp(text.data, again.data) != 0)
		abort();
	greta_buf_release(&text);
	greta_buf_release(&again);
	greta_spec_release(&spec);
	greta_spec_release(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct greta_campaign c;
	struct greta_problems problems = {0};

	if (greta_campaign_parse("f", (const char *)data, n, &c, &problems)) {
		if (!greta_problems_errors(&problems))
			abort();
	} else {
		if (!c.n_variants || !c.n_contexts || !c.reference || greta_problems_errors(&problems))
			abort();
		check_cell(&c, 0, c.contexts[0]);
		check_cell(&c, c.n_variants - 1, c.contexts[c.n_contexts - 1]);
	}
	check_problems(&problems);
	greta_problems_release(&problems);
	greta_campaign_release(&c);
	return 0;
}
