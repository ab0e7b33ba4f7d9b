/* Any bytes as an engine's output, for every adapter and in pieces, and as progress lines. What is read must not depend
 * on the pieces, must fit a frame, and must never be good without a finite time. */
#include "base/mem.h"
#include "schemas/msg.h"
#include "schemas/result.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void read_output(const char *text, size_t n, size_t piece, enum greta_adapter adapter, struct greta_end *end,
			struct greta_buf *why)
{
	struct greta_result_reader *r = greta_result_reader_create(adapter);
	bool contradicts;

	*end = (struct greta_end){0};
	for (size_t at = 0; at < n; at += piece)
		greta_result_reader_feed(r, text + at, at + piece < n ? piece : n - at);
	greta_result_reader_finish(r, &end->samples, why, &contradicts);
	greta_buf_addf(why, "%d", contradicts);
	greta_result_reader_destroy(r);
}

static void check_judged(const struct greta_end *end)
{
	const struct greta_contract c = {.context = 64, .wall_s = 100};
	struct greta_buf why = {0};
	int verified;

	if (greta_result_judge(&end->samples, &c, &verified, &why) == GRETA_OUTCOME_GOOD) {
		for (size_t i = 0; i < end->samples.n; i++) {
			double s = greta_sample_number(&end->samples.items[i], "prefill_s");

			if (end->samples.items[i].sample_no > 0 && !(s > 0 && s < 102))
				abort();
		}
	} else if (!why.len || strchr(why.data, '\n')) {
		abort();
	}
	greta_buf_release(&why);
}

static void check_adapter(const char *text, size_t n, size_t piece, enum greta_adapter adapter)
{
	struct greta_end whole, pieces;
	struct greta_buf why_whole = {0}, why_pieces = {0}, a = {0}, b = {0};

	read_output(text, n, n + 1, adapter, &whole, &why_whole);
	read_output(text, n, piece, adapter, &pieces, &why_pieces);
	greta_end_print(&whole, &a);
	greta_end_print(&pieces, &b);
	if (strcmp(a.data, b.data) != 0 || strcmp(why_whole.data, why_pieces.data) != 0)
		abort();
	if (a.len > GRETA_FRAME_BYTES_MAX / 2 || why_whole.len > 4096 || strchr(why_whole.data, '\n'))
		abort();
	check_judged(&whole);
	greta_end_release(&whole);
	greta_end_release(&pieces);
	greta_buf_release(&why_whole);
	greta_buf_release(&why_pieces);
	greta_buf_release(&a);
	greta_buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *text = (const char *)data + 1;
	struct greta_progress p;

	if (n < 1)
		return 0;
	n--;
	check_adapter(text, n, (size_t)data[0] + 1, GRETA_ADAPTER_PERF_TIMING);
	check_adapter(text, n, (size_t)data[0] + 1, GRETA_ADAPTER_LLAMA_BENCH);
	check_adapter(text, n, (size_t)data[0] + 1, GRETA_ADAPTER_JSON);
	if (greta_progress_parse(text, n, &p, NULL) == 0 && (p.phase == GRETA_PHASE_NONE || !(p.done >= 0)))
		abort();
	return 0;
}
