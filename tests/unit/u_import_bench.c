#include "tests/unit/db_help.h"

#include "base/fs.h"
#include "orchestrator/import/import_bench.h"

static int take(struct help *h, const char *path, struct import_summary *out, struct greta_err *e)
{
	struct import_request r = {.dir = path, .name = "other"};
	int rc = import_bench(h->db, &r, out, e);
	import_summary_release(out);
	return rc;
}

static void write_file(const char *text)
{
	struct greta_err e = {0};
	assert_ok(greta_fs_write_atomic("in.jsonl", text, strlen(text), 0644, &e));
}

static void test_import_bench__llama_bench(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s;
	assert_ok(take(h, GRETA_FIXTURES "/llama-bench/bench.json", &s, &e));
	assert_int_equal(s.n_added, 2);
	assert_int_equal(s.n_ok, 2);
	/* One process is one attempt; its repetitions are samples. */
	assert_true(fabs(help_f64(h->db, "SELECT prefill_s FROM result WHERE campaign = 'other' AND context = 512") - 0.1) < 1e-9);
	assert_int_equal(help_i64(h->db, "SELECT n_samples FROM result WHERE campaign = 'other' AND context = 512"), 3);
	assert_string_equal(help_str(h->db, "SELECT variant FROM result WHERE campaign = 'other'"), "llama 7B F16 ROCm");
	assert_int_equal(help_i64(h->db, "SELECT min(tokens_verified) FROM result WHERE campaign = 'other'"), 1);
	assert_ok(take(h, GRETA_FIXTURES "/llama-bench/bench.json", &s, &e));
	assert_int_equal(s.n_added, 0);
	assert_int_equal(s.n_known, 2);
}

static void test_import_bench__json_lines(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s;
	write_file("{\"variant\":\"vllm\",\"context\":4096,\"prefill_s\":1.5,\"prompt_tokens\":4096}\n\n"
		   "{\"variant\":\"vllm\",\"context\":4096,\"prefill_s\":1.5,\"prompt_tokens\":4096}\n"
		   "{\"variant\":\"vllm\",\"context\":8192,\"prefill_s\":0}\n"
		   "{\"variant\":\"vllm\",\"context\":8192,\"prefill_s\":9,\"prompt_tokens\":2048}");
	assert_ok(take(h, "in.jsonl", &s, &e));
	assert_int_equal(s.n_added, 4); /* the same time twice is two runs */
	assert_int_equal(s.n_ok, 2);
	assert_int_equal(s.n_invalid, 2); /* a zero, and a prompt that was cut */
	assert_ok(take(h, "in.jsonl", &s, &e));
	assert_int_equal(s.n_added, 0);
}

/* An investigation by hand: what each run had in its environment, and the one that gave no result. */
static void test_import_bench__environment_and_hang(void **state)
{
	struct help *h = *state;
	struct greta_err e = {0};
	struct import_summary s;
	write_file("{\"variant\":\"v3\",\"context\":2048,\"prefill_s\":7,\"prompt_tokens\":2048,"
		   "\"env\":{\"HIP_LAUNCH_BLOCKING\":\"1\",\"HF_TOKEN\":\"secret\"}}\n"
		   "{\"variant\":\"v3\",\"context\":8192,\"outcome\":\"hung\",\"env\":{}}\n"
		   "{\"variant\":\"v3\",\"context\":4096,\"outcome\":\"ok\",\"prefill_s\":0}\n");
	assert_ok(take(h, "in.jsonl", &s, &e));
	assert_int_equal(s.n_added, 3);
	assert_int_equal(s.n_ok, 1);
	assert_int_equal(s.n_failed, 1);
	assert_int_equal(s.n_invalid, 1); /* calling itself ok makes no result of it */
	assert_string_equal(help_str(h->db, "SELECT group_concat(key || '=' || value) FROM environment_row WHERE environment_id ="
					    " (SELECT environment_id FROM result WHERE context = 2048)"),
			    "env.HIP_LAUNCH_BLOCKING=1");
	assert_string_equal(help_str(h->db, "SELECT outcome FROM hang WHERE context = 8192"), "hung");
	assert_int_equal(help_i64(h->db, "SELECT count(environment_id) FROM result"), 1);
}

static void test_import_bench__refuses_what_is_neither(void **state)
{
	static const char *const bad[] = {
		"", " \n", "nonsense\n", "{\"context\":4096}\n", "[{\"n_prompt\":0,\"n_gen\":128,\"samples_ns\":[1]}]",
		"{\"variant\":\"x\",\"context\":1,\"prefill_s\":1,\"env\":{\"A\":1}}",
		"{\"variant\":\"x\",\"context\":1,\"prefill_s\":1,\"env\":[\"A=1\"]}",
		"{\"variant\":\"x\",\"context\":1,\"outcome\":\"stuck\"}", "{\"variant\":\"x\",\"context\":1,\"outcome\":\"ok\"}",
		"[1,2]", "{\"variant\":\"x\",\"context\":-1,\"prefill_s\":1}", "[{\"n_prompt\":512,\"n_gen\":0}]", "[{\"n_prompt\":512",
		"{\"variant\":\"x\",\"context\":4096,\"prefill_s\":1}\n{\"variant\":\"x\"\n",
	};
	struct help *h = *state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct greta_err e = {0};
		struct import_summary s;
		write_file(bad[i]);
		assert_fails(take(h, "in.jsonl", &s, &e), GRETA_EINVAL);
		assert_non_null(strstr(e.text, "in.jsonl"));
	}
	assert_int_equal(help_i64(h->db, "SELECT count(*) FROM campaign"), 1); /* nothing of it stays */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_import_bench__llama_bench, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__json_lines, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__environment_and_hang, help_setup, help_teardown),
		cmocka_unit_test_setup_teardown(test_import_bench__refuses_what_is_neither, help_setup, help_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
