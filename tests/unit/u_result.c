#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "schemas/result.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LINE_4096                                                                                                      \
	"[PERF_TIMING] {\"model_load_s\":21.865,\"tokenize_s\":1.5575e-05,\"prefill_s\":22.7681,"                      \
	"\"decode_s\":2.63e-07,\"attn_impl\":\"flash_v2_naive\"}\n"

struct read {
	struct greta_samples samples;
	struct greta_buf why;
	bool contradicts;
};

static void read_in_pieces(struct read *r, enum greta_adapter adapter, const char *text, size_t n, size_t piece)
{
	struct greta_result_reader *reader = greta_result_reader_create(adapter);

	*r = (struct read){0};
	for (size_t at = 0; at < n; at += piece)
		greta_result_reader_feed(reader, text + at, at + piece < n ? piece : n - at);
	greta_result_reader_finish(reader, &r->samples, &r->why, &r->contradicts);
	greta_result_reader_destroy(reader);
}

static void read_text(struct read *r, enum greta_adapter adapter, const char *text)
{
	read_in_pieces(r, adapter, text, strlen(text), strlen(text) + 1);
}

static void read_release(struct read *r)
{
	greta_samples_release(&r->samples);
	greta_buf_release(&r->why);
}

static double number(const struct read *r, size_t i, const char *name)
{
	assert_true(i < r->samples.n);
	return greta_sample_number(&r->samples.items[i], name);
}

static void said(const struct read *r, const char *expected)
{
	if (!strstr(greta_buf_str(&r->why), expected))
		fail_msg("%s\nexpected: %s", greta_buf_str(&r->why), expected);
}

/* ---- progress */

static void test_progress__reads_the_contract(void **state)
{
	static const char line[] = "{\"phase\":\"prefill\",\"done\":7,\"total\":32,\"unit\":\"layer\",\"t\":1.234,"
				   "\"at\":\"layer 7 attn q_lds\",\"new\":[1]}";
	struct greta_progress p;

	(void)state;
	assert_int_equal(greta_progress_parse(line, sizeof(line) - 1, &p, NULL), 0);
	assert_int_equal(p.phase, GRETA_PHASE_PREFILL);
	assert_true(p.done == 7 && p.total == 32 && p.t_s == 1.234);
	assert_string_equal(p.unit, "layer");
	assert_string_equal(p.at, "layer 7 attn q_lds");
	assert_int_equal(greta_progress_parse("{\"phase\":\"load\"}", 16, &p, NULL), 0);
	assert_true(p.total == 0 && isnan(p.t_s));
}

static void test_progress__refuses_the_rest(void **state)
{
	static const char *const lines[] = {
		"",
		"garbage",
		"{}",
		"[]",
		"7",
		"{\"phase\":\"\"}",
		"{\"phase\":\"none\"}",
		"{\"phase\":\"lunch\"}",
		"{\"phase\":\"load\",\"done\":-1}",
		"{\"phase\":\"load\",\"total\":null,\"done\":null}",
		"{\"phase\":\"load\",\"done\":\"x\"}",
		"{\"phase\":3}",
		"{\"phase\":\"load\",\"unit\":5}",
	};
	struct greta_progress p;

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(lines); i++) {
		struct greta_err e = {0};

		if (!greta_progress_parse(lines[i], strlen(lines[i]), &p, &e))
			fail_msg("taken: %s", lines[i]);
		assert_int_equal(e.code, GRETA_EPROTO);
	}
}

/* ---- perf_timing */

static void test_perf_timing__reads_greta_core(void **state)
{
	static const char text[] = "loading...\r\nPrompt tokens: 4096\r\n" LINE_4096 "\nSTATUS=OK\n";
	struct read r;

	(void)state;
	for (size_t piece = 1; piece < sizeof(text); piece++) {
		read_in_pieces(&r, GRETA_ADAPTER_PERF_TIMING, text, sizeof(text) - 1, piece);
		assert_int_equal(r.samples.n, 1);
		assert_int_equal(r.samples.items[0].sample_no, 1);
		assert_true(number(&r, 0, "prefill_s") == 22.7681);
		assert_true(number(&r, 0, "prompt_tokens") == 4096);
		assert_null(greta_sample_get(&r.samples.items[0], "decode_s")); /* 263 ns: not measured */
		assert_string_equal(greta_sample_get(&r.samples.items[0], "attn_impl")->text, "flash_v2_naive");
		assert_string_equal(greta_buf_str(&r.why), "");
		assert_false(r.contradicts);
		read_release(&r);
	}
}

static void test_perf_timing__reads_the_published_runs(void **state)
{
	static const struct {
		const char *run;
		double tokens, prefill_s;
	} runs[] = {{"ctx_4096_0", 4096, 22.7681}, {"ctx_8192_0", 8192, 114.265}, {"ctx_16384_0", 16384, 469.749}};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(runs); i++) {
		cleanup_buf struct greta_buf path = {0}, text = {0};
		struct read r;

		greta_buf_addf(&path, "%s/b3_89/runs/%s/run.log", GRETA_SHARED_DATA, runs[i].run);
		if (greta_fs_read(path.data, 1 << 20, &text, NULL)) {
			print_message("skipped: %s is not there\n", path.data);
			skip();
		}
		read_text(&r, GRETA_ADAPTER_PERF_TIMING, text.data);
		assert_int_equal(r.samples.n, 1);
		assert_true(number(&r, 0, "prompt_tokens") == runs[i].tokens);
		assert_true(number(&r, 0, "prefill_s") == runs[i].prefill_s);
		read_release(&r);
	}
}

static void test_perf_timing__reads_several_samples(void **state)
{
	struct read r;

	(void)state;
	read_text(&r, GRETA_ADAPTER_PERF_TIMING,
		  "[PERF_TIMING] {\"sample\":0,\"prefill_s\":3,\"prompt_tokens\":64}\n"
		  "text before [PERF_TIMING] "
		  "{\"sample\":1,\"prefill_s\":2,\"prompt_tokens\":64,\"flag\":true,\"none\":null,"
		  "\"nest\":{\"a\":1},\"list\":[1]}\n"
		  "[PERF_TIMING] {\"sample\":2,\"prefill_s\":2.5,\"prompt_tokens\":64}"); /* no newline at the end */
	assert_int_equal(r.samples.n, 3);
	assert_int_equal(r.samples.items[0].sample_no, 0);
	assert_int_equal(r.samples.items[2].sample_no, 2);
	assert_true(number(&r, 1, "flag") == 1);
	assert_int_equal(r.samples.items[1].n, 3); /* top level only, null is not said */
	assert_false(r.contradicts);
	read_release(&r);
}

static void test_perf_timing__same_result_twice(void **state)
{
	struct read r;

	(void)state;
	read_text(&r, GRETA_ADAPTER_PERF_TIMING, LINE_4096 "Prompt tokens: 4096\n" LINE_4096);
	assert_int_equal(r.samples.n, 1);
	assert_false(r.contradicts);
	said(&r, "sample 1 was printed twice, the same");
	read_release(&r);
	read_text(&r, GRETA_ADAPTER_PERF_TIMING,
		  "[PERF_TIMING] {\"sample\":1,\"prefill_s\":2}\n[PERF_TIMING] {\"sample\":1,\"prefill_s\":3}\n");
	assert_int_equal(r.samples.n, 1);
	assert_true(r.contradicts);
	said(&r, "sample 1 was printed twice and differs: prefill_s 2 and 3");
	read_release(&r);
}

static void test_perf_timing__result_and_log_disagree(void **state)
{
	struct read r;

	(void)state;
	read_text(&r, GRETA_ADAPTER_PERF_TIMING,
		  "Prompt tokens: 2048\n[PERF_TIMING] {\"prefill_s\":2,\"prompt_tokens\":4096}\n");
	assert_true(r.contradicts);
	said(&r, "the result says 4096 prompt tokens, the log 2048");
	read_release(&r);
}

static void test_perf_timing__unreadable_lines_are_said(void **state)
{
	struct read r;

	(void)state;
	read_text(&r, GRETA_ADAPTER_PERF_TIMING,
		  "[PERF_TIMING] {\"prefill_s\":nan}\n[PERF_TIMING]\n[PERF_TIMING] [1]\n[PERF_TIMING] {\"sample\":-1}\n"
		  "[PERF_TIMING] {\"prefill_s\":2\n");
	assert_int_equal(r.samples.n, 0);
	said(&r, "unreadable result:1:15: JSON has no NaN and no infinity");
	said(&r, "result: is empty");
	said(&r, "\"sample\" is a number from 0");
	assert_null(strchr(r.why.data, '\n'));
	read_release(&r);
}

static void test_perf_timing__bounds_what_it_keeps(void **state)
{
	cleanup_buf struct greta_buf text = {0};
	struct read r;

	(void)state;
	for (int i = 0; i < 5000; i++)
		greta_buf_addf(&text, "[PERF_TIMING] {\"sample\":%d,\"prefill_s\":1}\n", i);
	read_text(&r, GRETA_ADAPTER_PERF_TIMING, text.data);
	assert_int_equal(r.samples.n, GRETA_SAMPLES_MAX);
	assert_true(r.why.len < 4096);
	assert_false(r.contradicts);
	read_release(&r);

	greta_buf_clear(&text);
	for (int i = 0; i < GRETA_RESULTS_MAX + 1; i++)
		greta_buf_adds(&text, "[PERF_TIMING] {\"prefill_s\":1}\n");
	read_text(&r, GRETA_ADAPTER_PERF_TIMING, text.data);
	assert_int_equal(r.samples.n, 1);
	assert_true(r.contradicts);
	said(&r, "sample 1 was printed twice, the same; more than 10000 results; the rest was not read");
	read_release(&r);

	greta_buf_clear(&text);
	greta_buf_adds(&text, "[PERF_TIMING] {\"prefill_s\":1");
	for (int i = 0; i < 500; i++)
		greta_buf_addf(&text, ",\"m%d\":%d", i, i);
	greta_buf_adds(&text, ",\"long\":\"x\"}\n");
	read_text(&r, GRETA_ADAPTER_PERF_TIMING, text.data);
	assert_int_equal(r.samples.items[0].n, GRETA_METRICS_MAX);
	said(&r, "438 readings left out");
	read_release(&r);
}

static void test_perf_timing__long_texts_are_cut(void **state)
{
	cleanup_buf struct greta_buf text = {0};
	struct read r;

	(void)state;
	greta_buf_adds(&text, "[PERF_TIMING] {\"prefill_s\":1,\"t\":\"x");
	for (int i = 0; i < 400; i++)
		greta_buf_adds(&text, "\xc3\xa4");
	greta_buf_adds(&text, "\",\"bad name\":1,\"\":2}\n");
	read_text(&r, GRETA_ADAPTER_PERF_TIMING, text.data);
	assert_int_equal(strlen(greta_sample_get(&r.samples.items[0], "t")->text), 255); /* 1 + 127 * 2 */
	said(&r, "2 readings left out");
	read_release(&r);
}

/* A flood of noise, in lines and in one endless line, costs no memory and loses no result. */
static void test_perf_timing__survives_a_flood(void **state)
{
	struct greta_result_reader *reader = greta_result_reader_create(GRETA_ADAPTER_PERF_TIMING);
	cleanup_buf struct greta_buf noise = {0}, why = {0};
	struct greta_samples samples;
	bool contradicts;

	(void)state;
	for (int i = 0; i < 65536; i++)
		greta_buf_addc(&noise, (char)(i * 7919 >> 3));
	for (int i = 0; i < 1024; i++) /* 64 MiB */
		greta_result_reader_feed(reader, noise.data, noise.len);
	memset(noise.data, 0, noise.len);
	for (int i = 0; i < 512; i++)
		greta_result_reader_feed(reader, noise.data, noise.len);
	greta_result_reader_feed(reader, "\n" LINE_4096, strlen("\n" LINE_4096));
	greta_result_reader_finish(reader, &samples, &why, &contradicts);
	greta_result_reader_destroy(reader);
	assert_int_equal(samples.n, 1);
	greta_samples_release(&samples);
}

/* ---- llama-bench */

#define BENCH_TEST(p, g, ns)                                                                                           \
	"  {\n    \"build_commit\": \"c392e509\",\n    \"backends\": \"CPU\",\n    \"flash_attn\": false,\n"           \
	"    \"n_prompt\": " p ",\n    \"n_gen\": " g ",\n    \"avg_ts\": 100.5,\n    \"samples_ns\": [ " ns " ],\n"   \
	"    \"samples_ts\": [ 1.0, 2.0 ]\n  }"

static void test_llama_bench__reads_json(void **state)
{
	static const char text[] = "warming up {not json}\n{oops\n[\n" BENCH_TEST(
		"512", "0", "1000000000, 2500000000") ",\n" BENCH_TEST("0", "128", "5") "\n]\n";
	struct read r;

	(void)state;
	for (size_t piece = 1; piece < sizeof(text); piece += 3) {
		read_in_pieces(&r, GRETA_ADAPTER_LLAMA_BENCH, text, sizeof(text) - 1, piece);
		assert_int_equal(r.samples.n, 2);
		assert_true(number(&r, 0, "prefill_s") == 1);
		assert_true(number(&r, 1, "prefill_s") == 2.5);
		assert_int_equal(r.samples.items[1].sample_no, 2);
		assert_true(number(&r, 1, "prompt_tokens") == 512);
		assert_true(number(&r, 1, "flash_attn") == 0);
		assert_string_equal(greta_sample_get(&r.samples.items[0], "build_commit")->text, "c392e509");
		said(&r, "a test of 0 prompt and 128 generated tokens is no prefill");
		read_release(&r);
	}
}

static void test_llama_bench__reads_jsonl_and_compact(void **state)
{
	struct read r;

	(void)state;
	read_text(&r, GRETA_ADAPTER_LLAMA_BENCH, "{\"n_prompt\": 64, \"n_gen\": 0, \"n_depth\": 512, \"samples_ns\": [ 7 ]}\n");
	assert_int_equal(r.samples.n, 0);
	said(&r, "a test behind 512 tokens in the cache is no prefill");
	read_release(&r);
	read_text(&r, GRETA_ADAPTER_LLAMA_BENCH, "{\"n_prompt\": 64, \"n_gen\": 0, \"samples_ns\": [ 7 ]}\n");
	assert_int_equal(r.samples.n, 1);
	read_release(&r);
	read_text(&r, GRETA_ADAPTER_LLAMA_BENCH,
		  "[{\"n_prompt\":64,\"n_gen\":0,\"samples_ns\":[7]},{\"n_prompt\":64,\"n_gen\":0,\"samples_ns\":[8,9]}"
		  "]");
	assert_int_equal(r.samples.n, 3);
	assert_true(number(&r, 2, "prefill_s") == 9e-9);
	read_release(&r);
}

static void test_llama_bench__broken_output_is_no_result(void **state)
{
	static const char *const texts[] = {
		"[\n"
		"  {\n \"n_prompt\": 512,\n",
		"[]\n",
		"{}\n",
		"{\"n_prompt\":512,\"n_gen\":0}\n",
		"{\"n_prompt\":512,\"n_gen\":0,\"samples_ns\":[]}\n",
		"{\"n_prompt\":512,\"n_gen\":0,\"samples_ns\":[\"x\"]}\n",
		"{\"n_prompt\":512,\"n_gen\":0,\"samples_ns\":7}\n",
		"{\"n_prompt\":512,,}\n",
		"{\"a\nb\"}\n",
		"}]{[\n",
	};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(texts); i++) {
		struct read r;

		read_text(&r, GRETA_ADAPTER_LLAMA_BENCH, texts[i]);
		assert_int_equal(r.samples.n, 0);
		read_release(&r);
	}
}

/* ---- json */

static void test_json_adapter__reads_lines(void **state)
{
	struct read r;

	(void)state;
	read_text(&r, GRETA_ADAPTER_JSON,
		  "{\"event\":\"start\"}\n{broken \n  {\"sample\":0,\"prefill_s\":9}\n"
		  "{\"sample\":1,\"prefill_s\":8,\"prompt_tokens\":128}\r\n[PERF_TIMING] {\"prefill_s\":1}\n"
		  "{\"prefill_s\":7,\"prompt_tokens\":128}");
	assert_int_equal(r.samples.n, 3);
	assert_int_equal(r.samples.items[2].sample_no, 2);
	assert_true(number(&r, 2, "prefill_s") == 7);
	assert_string_equal(greta_buf_str(&r.why), "");
	read_release(&r);
}

/* ---- judge */

static struct greta_samples one_sample(double prefill_s, double tokens)
{
	struct greta_samples v = {0};
	struct greta_sample *s = GRETA_PUSH(v.items, v.n, v.cap);

	s->sample_no = 1;
	greta_sample_set_number(s, "prefill_s", prefill_s);
	if (!isnan(tokens))
		greta_sample_set_number(s, "prompt_tokens", tokens);
	greta_sample_set_text(s, "attn_impl", "flash_v2_naive");
	return v;
}

static void judged(struct greta_samples *v, const struct greta_contract *c, int verified, const char *expected)
{
	cleanup_buf struct greta_buf why = {0};
	int tokens_verified = 7;
	enum greta_outcome o = greta_result_judge(v, c, &tokens_verified, &why);

	if (o != (expected ? GRETA_OUTCOME_INVALID : GRETA_OUTCOME_GOOD) ||
	    (expected && !strstr(greta_buf_str(&why), expected)))
		fail_msg("%s: %s\nexpected: %s", greta_outcome_name(o), greta_buf_str(&why),
			 expected ? expected : "ok");
	assert_int_equal(tokens_verified, verified);
	greta_samples_release(v);
}

static void test_judge__good(void **state)
{
	struct greta_contract c = {.context = 4096, .samples = 1, .wall_s = 50};
	struct greta_samples v = one_sample(22.7, 4096);

	(void)state;
	judged(&v, &c, 1, NULL);
	v = one_sample(22.7, NAN);
	judged(&v, &c, 0, NULL); /* unknown, not verified */
	v = one_sample(22.7, 4096);
	c.context = c.samples = 0; /* an import that knows nothing */
	judged(&v, &c, 0, NULL);
}

static void test_judge__silent_zero(void **state)
{
	const struct greta_contract c = {.context = 4096, .samples = 1};
	struct greta_samples v = one_sample(0, 4096);

	(void)state;
	judged(&v, &c, 0, "sample 1: prefill_s is 0, expected more than 0");
	v = one_sample(-1, 4096);
	judged(&v, &c, 0, "prefill_s is -1");
	v = one_sample(NAN, 4096);
	judged(&v, &c, 0, "prefill_s is not a finite number");
	v = one_sample(INFINITY, 4096);
	judged(&v, &c, 0, "prefill_s is not a finite number");
	v = one_sample(1, 2048);
	judged(&v, &c, 0, "sample 1: 2048 tokens prefilled, 4096 asked");
	v = one_sample(1, 4096.5);
	judged(&v, &c, 0, "4096.5 tokens prefilled");
	v = one_sample(1, 4096);
	greta_sample_set_text(&v.items[0], "prefill_s", "fast");
	judged(&v, &c, 0, "prefill_s is \"fast\", expected seconds");
	v = one_sample(1, 4096);
	v.items[0].metrics[0].name[0] = 'x';
	judged(&v, &c, 0, "prefill_s is missing");
	v = (struct greta_samples){0};
	judged(&v, &c, 0, "no result");
}

static void test_judge__number_of_samples(void **state)
{
	const struct greta_contract c = {.context = 64, .samples = 2};
	struct greta_samples v = one_sample(1, 64);

	(void)state;
	judged(&v, &c, 0, "1 timed samples, expected 2");
	v = one_sample(1, 64);
	v.items[0].sample_no = 0;
	judged(&v, &c, 0, "no result");
}

static void test_judge__phases_beyond_wall(void **state)
{
	struct greta_contract c = {.context = 64, .samples = 1, .wall_s = 10};
	struct greta_samples v = one_sample(9, 64);

	(void)state;
	greta_sample_set_number(&v.items[0], "model_load_s", 2);
	judged(&v, &c, 0, "the phases add up to 11 s, more than the 10 s");
	v = one_sample(8, 64);
	greta_sample_set_number(&v.items[0], "model_load_s", 2.1);
	judged(&v, &c, 1, NULL); /* two clocks differ by a little */
	v = one_sample(8, 64);
	greta_sample_set_number(&v.items[0], "decode_s", -3);
	judged(&v, &c, 0, "decode_s is -3, expected no negative time");
}

static void test_judge__expectations(void **state)
{
	struct greta_expect x[] = {{(char[]){"attn_impl"}, (char[]){"q_lds"}}};
	struct greta_contract c = {.context = 64, .samples = 1, .expect = x, .n_expect = 1};
	struct greta_samples v = one_sample(1, 64);

	(void)state;
	judged(&v, &c, 0, "sample 1: attn_impl is flash_v2_naive, expected q_lds");
	v = one_sample(1, 64);
	x[0].value = (char[]){"flash_v2_naive"};
	judged(&v, &c, 1, NULL);
	v = one_sample(1, 64);
	x[0].field = (char[]){"dtype"};
	judged(&v, &c, 0, "dtype is not said, expected flash_v2_naive");
	v = one_sample(1, 64);
	x[0].field = (char[]){"top1"};
	x[0].value = (char[]){"42"};
	greta_sample_set_number(&v.items[0], "top1", 42);
	judged(&v, &c, 1, NULL);
	v = one_sample(1, 64);
	greta_sample_set_number(&v.items[0], "top1", 43);
	judged(&v, &c, 0, "top1 is 43, expected 42");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_progress__reads_the_contract),
		cmocka_unit_test(test_progress__refuses_the_rest),
		cmocka_unit_test(test_perf_timing__reads_greta_core),
		cmocka_unit_test(test_perf_timing__reads_the_published_runs),
		cmocka_unit_test(test_perf_timing__reads_several_samples),
		cmocka_unit_test(test_perf_timing__same_result_twice),
		cmocka_unit_test(test_perf_timing__result_and_log_disagree),
		cmocka_unit_test(test_perf_timing__unreadable_lines_are_said),
		cmocka_unit_test(test_perf_timing__bounds_what_it_keeps),
		cmocka_unit_test(test_perf_timing__long_texts_are_cut),
		cmocka_unit_test(test_perf_timing__survives_a_flood),
		cmocka_unit_test(test_llama_bench__reads_json),
		cmocka_unit_test(test_llama_bench__reads_jsonl_and_compact),
		cmocka_unit_test(test_llama_bench__broken_output_is_no_result),
		cmocka_unit_test(test_json_adapter__reads_lines),
		cmocka_unit_test(test_judge__good),
		cmocka_unit_test(test_judge__silent_zero),
		cmocka_unit_test(test_judge__number_of_samples),
		cmocka_unit_test(test_judge__phases_beyond_wall),
		cmocka_unit_test(test_judge__expectations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
