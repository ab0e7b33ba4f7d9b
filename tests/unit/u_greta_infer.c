/* greta-infer as a program: contracts, refusals, and faults on demand. */
#include "tests/unit/unit.h"
#include "base/buf.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/mem.h"
#include "base/str.h"
#include "schemas/json.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define RUN_MS 60000

static struct greta_err e;
static struct greta_buf out;
static struct greta_child_result result;

/* Runs greta-infer on the model of the setup, with these arguments (split at blanks) and progress on a descriptor. */
static int run_to(int progress_fd, const char *variable, const char *args)
{
	cleanup_strs struct greta_strs argv = {0}, env = {0};
	cleanup_free char *copy = greta_strdup(args);
	const struct greta_child_fd fds[] = {{progress_fd, 9}};
	char *save = NULL;

	greta_strs_add(&argv, GRETA_BIN "/greta-infer");
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		greta_strs_add(&argv, word);
	if (variable)
		greta_strs_add(&env, variable);
	if (progress_fd >= 0)
		greta_strs_add(&env, "GRETA_PROGRESS_FD=9");
	greta_strs_add(&env, "PATH=/usr/bin:/bin");
	const struct greta_child_spec spec = {.argv = (const char *const *)argv.items, .env = (const char *const *)env.items,
					      .fds = fds, .n_fds = progress_fd >= 0, .new_group = true};
	greta_buf_clear(&out);
	assert_ok(greta_child_run(&spec, RUN_MS, 1 << 20, &out, &result, &e));
	assert_false(result.timed_out);
	return WIFEXITED(result.status) ? WEXITSTATUS(result.status) : -WTERMSIG(result.status);
}

static int run(const char *args)
{
	return run_to(-1, NULL, args);
}

static bool said(const char *text)
{
	return strstr(greta_buf_str(&out), text) != NULL;
}

static int setup(void **state)
{
	if (unit_tmp_create(state))
		return -1;
	const char *const argv[] = {GRETA_BIN "/greta-gguf", "synth", "m.gguf", "--layers", "3", "--embd", "64", "--heads", "4",
				    "--kv-heads", "2", "--ffn", "96", "--vocab", "300", "--ctx", "128", NULL};
	const struct greta_child_spec spec = {.argv = argv};
	return greta_child_run(&spec, RUN_MS, 1 << 16, &out, &result, &e) || result.status ? -1 : 0;
}

static int teardown(void **state)
{
	greta_buf_release(&out);
	return unit_tmp_remove(state);
}

/* The nth result line, parsed; the caller destroys it. */
static struct greta_json *result_line(int nth)
{
	const char *at = greta_buf_str(&out);

	for (int i = 0; (at = strstr(at, "\n[PERF_TIMING] ")) && i < nth; i++)
		at++;
	if (!at)
		fail_msg("no result line %d in: %s", nth, greta_buf_str(&out));
	at += strlen("\n[PERF_TIMING] ");
	struct greta_json *j = greta_json_parse("result", at, strcspn(at, "\n"), &e);
	if (!j)
		fail_msg("%s", e.text);
	return j;
}

static double number(const struct greta_json *j, const char *key)
{
	double x;
	if (greta_json_f64(greta_json_get(greta_json_root(j), key), &x))
		fail_msg("no number %s", key);
	return x;
}

static const char *text(const struct greta_json *j, const char *key)
{
	const char *s = "";
	assert_int_equal(greta_json_str(greta_json_get(greta_json_root(j), key), &s), 0);
	return s;
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static void test_infer__result(void **state)
{
	(void)state;
	assert_int_equal(run("--model m.gguf --ctx 100 --max-tokens 5 --attn q_lds --threads 2 --backend cpu"), 0);
	assert_true(said("Prompt tokens: 100\n"));
	struct greta_json *j = result_line(0);
	assert_string_equal(text(j, "attn_impl"), "q_lds");
	assert_string_equal(text(j, "backend"), "cpu");
	assert_string_equal(text(j, "dtype"), "F16");
	assert_int_equal(strlen(text(j, "logits_sha256")), 64);
	assert_true(number(j, "sample") == 1 && number(j, "prompt_tokens") == 100 && number(j, "generated_tokens") == 5);
	assert_true(number(j, "n_threads") == 2 && number(j, "top1") < 300 && number(j, "peak_rss_bytes") > 100000);
	assert_true(number(j, "prefill_s") > 0 && number(j, "decode_s") > 0 && number(j, "model_load_s") > 0);
	/* three layers, worked out by hand: matrices, attention, output */
	double matrices = 2.0 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 96) * 3 * 100, attention = 4.0 * 64 * 3 * (100 * 101 / 2);
	assert_true(number(j, "flops") == matrices + attention + 2.0 * 64 * 300);
	greta_json_destroy(j);
}

static void test_infer__samples(void **state)
{
	(void)state;
	assert_int_equal(run("--model m.gguf --ctx 20 --repeat 2 --warmup 3 --backend cpu"), 0);
	for (int i = 0; i < 3; i++) {
		struct greta_json *j = result_line(i), *first = result_line(0);
		assert_true(number(j, "sample") == i);
		assert_string_equal(text(j, "logits_sha256"), text(first, "logits_sha256"));
		greta_json_destroy(j);
		greta_json_destroy(first);
	}
	const char *last = strstr(strstr(greta_buf_str(&out), "\"sample\":2"), "\n");
	assert_null(strstr(last, "[PERF_TIMING]"));
}

static void test_infer__sampling_is_seeded(void **state)
{
	static const char args[] = "--model m.gguf --ctx 20 --max-tokens 30 --temperature 1.5 --top-k 200 --top-p 0.99 --seed %d";
	char ids[3][400];

	(void)state;
	for (int i = 0; i < 3; i++) {
		cleanup_free char *line = greta_format(args, i == 1 ? 8 : 7);
		assert_int_equal(run(line), 0);
		const char *at = strstr(greta_buf_str(&out), "Generated ids: ");
		assert_non_null(at);
		snprintf(ids[i], sizeof ids[i], "%.*s", (int)strcspn(at, "\n"), at);
	}
	assert_string_equal(ids[0], ids[2]);
	assert_string_not_equal(ids[0], ids[1]);
}

static void test_infer__logits_file(void **state)
{
	float one[300], all[7][300];

	(void)state;
	assert_int_equal(run("--model m.gguf --ctx 7 --logits one.f32 --precision f32"), 0);
	assert_int_equal(run("--model m.gguf --ctx 7 --logits all.f32 --logits-all --precision f32"), 0);
	FILE *f = fopen("one.f32", "rb"), *g = fopen("all.f32", "rb");
	assert_int_equal(fread(one, sizeof one, 1, f), 1);
	assert_int_equal(fread(all, sizeof all, 1, g), 1);
	assert_true(fgetc(f) == EOF && fgetc(g) == EOF);
	assert_memory_equal(one, all[6], sizeof one);
	fclose(f);
	fclose(g);
}

static void test_infer__tokens_file(void **state)
{
	static const struct {
		const char *json;
		int code;
	} cases[] = {
		{"[1, 2,3]\n", 0},   {" [ 299 ] ", 0}, {"[]", 2},       {"[1,]", 2},     {"[1 2]", 2},  {"[-1]", 2},
		{"[1.5]", 2},        {"[300]", 2},     {"[1]x", 2},     {"", 2},         {"{}", 2},     {"[99999999999999999999]", 2},
		{"[\"a\"]", 2},      {"[1", 2},        {"[4294967296]", 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_ok(greta_fs_write_atomic("t.json", cases[i].json, strlen(cases[i].json), 0600, &e));
		if (run("--model m.gguf --tokens-file t.json") != cases[i].code)
			fail_msg("%s: %s", cases[i].json, greta_buf_str(&out));
	}
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

static void test_infer__refusals(void **state)
{
	static const struct {
		const char *args, *says;
		int code;
	} cases[] = {
		{"", "--model is missing", 2},
		{"--model m.gguf", "no prompt", 2},
		{"--model m.gguf --ctx 4 --prompt x", "more than one prompt", 2},
		{"--model none.gguf --ctx 4", "none.gguf", 2},
		{"--model m.gguf --prompt-file none.txt", "none.txt", 2},
		{"--model m.gguf --ctx 0", "--ctx 0", 2},
		{"--model m.gguf --ctx 200", "the prompt of 200 tokens", 2},
		{"--model m.gguf --ctx 200", "the maximum is 128", 2},
		{"--model m.gguf --ctx 200", "--max-seq-len 200", 2},
		{"--model m.gguf --ctx 128 --max-tokens 2", "need 129 positions", 2},
		{"--model m.gguf --ctx 20 --max-seq-len 10", "the maximum is 10", 2},
		{"--model m.gguf --ctx 20 --attn v9 --backend cpu", "flash_v2_naive, q_lds, q_lds_v2", 2},
		{"--model m.gguf --ctx 20 --backend tpu", "backend", 2},
		{"--model m.gguf --ctx 20 --kv q4", "--kv", 2},
		{"--model m.gguf --ctx 20 --repeat 0", "--repeat 0", 2},
		{"--model m.gguf --ctx 20 --logits-all", "--logits FILE", 2},
		{"--model m.gguf --ctx 20 --logits /nonexistent/x", "/nonexistent/x", 2},
		{"--model m.gguf --ctx 20 --inject fire", "no fault \"fire\"", 2},
		{"--model m.gguf --ctx 20 --inject exit@layer=0", "takes a value", 2},
		{"--model m.gguf --ctx 20 --inject segv@layer=3", "layers 0 to 2", 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int code = run(cases[i].args);
		if (code != cases[i].code || !said(cases[i].says) || said("PERF_TIMING"))
			fail_msg("%s: exit %d: %s", cases[i].args, code, greta_buf_str(&out));
	}
	assert_int_equal(run_to(-1, "GRETA_MAX_SEQ_LEN=10", "--model m.gguf --ctx 20"), 2);
	assert_int_equal(run_to(-1, "GRETA_MAX_SEQ_LEN=202", "--model m.gguf --ctx 200"), 0);
	assert_int_equal(run_to(-1, "GRETA_MAX_SEQ_LEN=many", "--model m.gguf --ctx 20"), 2);
}

static void test_infer__empty_prompt(void **state)
{
	(void)state;
	assert_ok(greta_fs_write_atomic("empty.txt", "", 0, 0600, &e));
	assert_int_equal(run("--model m.gguf --prompt-file empty.txt"), 2);
	assert_true(said("empty.txt is empty"));
}

static void test_infer__malformed_models(void **state)
{
	cleanup_buf struct greta_buf list = {0};
	char *save = NULL;

	(void)state;
	if (greta_fs_read(GRETA_SHARED_DATA "/gguf/bad/LIST.tsv", 1 << 20, &list, NULL)) {
		print_message("skipped: no malformed files in " GRETA_SHARED_DATA "\n");
		return;
	}
	for (char *line = strtok_r(list.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char name[64], bytes[32], expected[32];
		if (*line == '#' || sscanf(line, "%63s %31s %31s", name, bytes, expected) != 3)
			continue;
		cleanup_free char *args = greta_format("--model " GRETA_SHARED_DATA "/gguf/bad/%s.gguf --ctx 5", name);
		int code = run(args);
		bool refused = (code == 2 || code == 3) && said(name);
		if (greta_str_eq(expected, "accept") ? code != 0 : greta_str_eq(expected, "reject") && !refused)
			fail_msg("%s: exit %d: %s", name, code, greta_buf_str(&out));
		assert_true(code >= 0);
	}
}

/* --- progress ----------------------------------------------------------------------------------------------------- */

static void test_infer__progress(void **state)
{
	cleanup_fd int fd = open("progress", O_CREAT | O_RDWR, 0600);
	cleanup_buf struct greta_buf lines = {0};
	char *save = NULL, phases[200] = "", last[20] = "";
	double t = 0.0, done = 0.0;

	(void)state;
	assert_int_equal(run_to(fd, NULL, "--model m.gguf --ctx 50 --batch 20 --max-tokens 3 --attn q_lds_v2 --backend cpu"), 0);
	assert_ok(greta_fs_read("progress", 1 << 20, &lines, &e));
	assert_non_null(strstr(lines.data, "\"at\":\"layer 2 attn q_lds_v2\""));
	for (char *line = strtok_r(lines.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct greta_json *j = greta_json_parse("progress", line, strlen(line), &e);
		assert_non_null(j);
		bool same = strcmp(last, text(j, "phase")) == 0;
		assert_true(number(j, "t") >= t && number(j, "done") <= number(j, "total"));
		assert_true(!same || number(j, "done") >= done);
		if (strcmp(text(j, "phase"), "prefill") == 0)
			assert_true(number(j, "total") == 9); /* 3 blocks of 3 layers */
		t = number(j, "t");
		done = number(j, "done");
		if (!same)
			snprintf(phases + strlen(phases), sizeof phases - strlen(phases), "%s ", text(j, "phase"));
		greta_str_copy(last, sizeof last, text(j, "phase"));
		greta_json_destroy(j);
	}
	assert_string_equal(phases, "load tokenize prefill decode finish ");
}

/* A reader that is gone, and one that never reads, must not stop the engine. */
static void test_infer__progress_never_blocks(void **state)
{
	int gone[2], stuck[2];

	(void)state;
	assert_int_equal(pipe(gone), 0);
	assert_int_equal(pipe(stuck), 0);
	close(gone[0]);
	assert_int_equal(run_to(gone[1], NULL, "--model m.gguf --ctx 50 --batch 5"), 0);
	assert_true(fcntl(stuck[1], F_SETPIPE_SZ, 4096) >= 4096);
	assert_int_equal(run_to(stuck[1], NULL, "--model m.gguf --ctx 100 --batch 2"), 0);
	struct greta_json *j = result_line(0);
	assert_true(number(j, "progress_dropped") > 0);
	greta_json_destroy(j);
	close(gone[1]);
	close(stuck[0]);
	close(stuck[1]);
}

/* --- faults ------------------------------------------------------------------------------------------------------- */

static void test_infer__faults_that_end(void **state)
{
	(void)state;
	assert_int_equal(run("--model m.gguf --ctx 20 --backend cpu --inject exit=7@layer=1"), 7);
	assert_true(said("INJECTED FAULT exit=7@layer=1"));
	assert_int_equal(run("--model m.gguf --ctx 20 --backend cpu --inject segv@layer=2"), -SIGSEGV);
	assert_int_equal(run("--model m.gguf --ctx 20 --backend cpu --inject abort"), -SIGABRT);
	assert_int_equal(run("--model m.gguf --ctx 21 --backend cpu --inject truncate-prompt"), 0);
	struct greta_json *j = result_line(0);
	assert_true(number(j, "prompt_tokens") == 11);
	greta_json_destroy(j);
}

static void test_infer__wrong_logits(void **state)
{
	char good[65];

	(void)state;
	assert_int_equal(run("--model m.gguf --ctx 20"), 0);
	struct greta_json *j = result_line(0);
	greta_str_copy(good, sizeof good, text(j, "logits_sha256"));
	greta_json_destroy(j);
	assert_int_equal(run("--model m.gguf --ctx 20 --inject wrong-logits"), 0);
	j = result_line(0);
	assert_string_not_equal(good, text(j, "logits_sha256"));
	greta_json_destroy(j);
}

/* Faults that never end: the program is still there after half a second, and has said which fault it is. */
static void test_infer__faults_that_stay(void **state)
{
	static const char *const faults[] = {"host-spin", "sleep", "deadlock", "host-io"};

	(void)state;
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
		const char *const argv[] = {GRETA_BIN "/greta-infer", "--model", "m.gguf", "--ctx", "20", "--backend", "cpu",
					    "--inject", faults[i], NULL};
		const struct greta_child_spec spec = {.argv = argv, .new_group = true};
		greta_buf_clear(&out);
		assert_ok(greta_child_run(&spec, 1500, 1 << 16, &out, &result, &e));
		assert_true(result.timed_out);
		assert_true(said("INJECTED FAULT") && !said("PERF_TIMING"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_infer__result),
		cmocka_unit_test(test_infer__samples),
		cmocka_unit_test(test_infer__sampling_is_seeded),
		cmocka_unit_test(test_infer__logits_file),
		cmocka_unit_test(test_infer__tokens_file),
		cmocka_unit_test(test_infer__refusals),
		cmocka_unit_test(test_infer__empty_prompt),
		cmocka_unit_test(test_infer__malformed_models),
		cmocka_unit_test(test_infer__progress),
		cmocka_unit_test(test_infer__progress_never_blocks),
		cmocka_unit_test(test_infer__faults_that_end),
		cmocka_unit_test(test_infer__wrong_logits),
		cmocka_unit_test(test_infer__faults_that_stay),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
