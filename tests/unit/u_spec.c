#include "base/mem.h"
#include "schemas/spec.h"
#include "schemas/template.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void parse(const char *text, struct greta_campaign *c)
{
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf printed = {0};

	if (greta_campaign_parse("t", text, strlen(text), c, &problems)) {
		greta_problems_print(&problems, "t", &printed);
		fail_msg("%s", printed.data);
	}
	greta_problems_release(&problems);
}

static void build(const struct greta_campaign *c, size_t variant, int64_t context, const struct greta_spec_paths *paths,
		  struct greta_spec *out)
{
	struct greta_err e = {0};

	if (greta_spec_build(c, variant, context, 2, paths, out, &e))
		fail_msg("%s", e.text);
}

static void is_list(const struct greta_strs *got, const char *const *expected)
{
	size_t n = 0;

	for (; expected[n]; n++) {
		if (n >= got->n)
			fail_msg("ends before %s", expected[n]);
		assert_string_equal(got->items[n], expected[n]);
	}
	if (got->n > n)
		fail_msg("goes on with %s", got->items[n]);
}

static void test_spec__gpus_that_a_variant_names(void **state)
{
	(void)state;
	struct greta_campaign c = {0};
	struct greta_spec spec;
	const struct greta_spec_paths paths = {0};
	static const char *const two[] = {"GPU-1", "GPU-2", NULL};

	parse("{\"name\": \"t\", \"engine\": {\"command\": [\"/x\"]}, \"contexts\": [1], \"variants\": [{\"name\": \"a\"},"
	      " {\"name\": \"b\", \"devices\": [\"GPU-1\", \"GPU-2\"]}]}", &c);
	build(&c, 0, 1, &paths, &spec);
	assert_int_equal(spec.devices.n, 0);
	greta_spec_release(&spec);
	build(&c, 1, 1, &paths, &spec);
	is_list(&spec.devices, two);
	assert_int_equal(spec.n_gpus, 1); /* of the two */
	greta_spec_release(&spec);
	greta_campaign_release(&c);
}

static void test_spec__the_bundled_engine(void **state)
{
	static const char *const argv[] = {"/cache/greta-infer", "--model", "/cache/m.gguf", "--ctx",	 "4096",
					   "--max-tokens",	 "1",	    "--greedy",	     "--warmup", "1",
					   "--repeat",		 "3",	    "--attn",	     "q_lds",	 NULL};
	static const char *const none[] = {NULL};
	struct greta_spec_paths paths = {"/cache/m.gguf", "/cache/greta-infer"};
	struct greta_campaign c;
	struct greta_spec s;

	(void)state;
	parse("{\"name\":\"n\",\"model\":\"m.gguf\",\"contexts\":[4096],\"warmup\":1,\"samples_per_attempt\":3,"
	      "\"slot\":\"cpu\","
	      "\"variants\":[{\"name\":\"v3\",\"args\":[\"--attn\",\"q_lds\"],\"expect\":{\"attn_impl\":\"q_lds\"}}],"
	      "\"timeout_s\":{\"4096\":77}}",
	      &c);
	build(&c, 0, 4096, &paths, &s);
	is_list(&s.argv, argv);
	is_list(&s.env, none);
	assert_string_equal(s.campaign, "n");
	assert_string_equal(s.variant, "v3");
	assert_int_equal(s.repeat, 2);
	assert_int_equal(s.samples, 3);
	assert_int_equal(s.slot, GRETA_SLOT_CPU);
	assert_true(s.wall_s == 77 && s.term_grace_s == GRETA_TERM_GRACE_S);
	assert_string_equal(s.expect[0].field, "attn_impl");
	assert_true(s.phases[GRETA_PHASE_TOKENIZE].silence_s == 30 && s.phases[GRETA_PHASE_TOKENIZE].limit_s == 0);
	assert_string_equal(s.attempt, "");
	greta_spec_release(&s);
	greta_campaign_release(&c);
}

static void test_spec__environment_in_order(void **state)
{
	static const char *const env[] = {"GRETA_MAX_SEQ_LEN=8194",
					  "A=variant",
					  "B=8192-v-2",
					  "C=campaign",
					  "SHARED=from here",
					  "HIP_LAUNCH_BLOCKING=1",
					  "AMD_SERIALIZE_KERNEL=3",
					  "HSA_ENABLE_SDMA=0",
					  NULL};
	struct greta_spec_paths paths = {NULL, NULL};
	struct greta_campaign c;
	struct greta_spec s;

	(void)state;
	parse("{\"name\":\"n\",\"contexts\":[8192],\"mode\":\"debug\","
	      "\"engine\":{\"command\":[\"/bin/"
	      "e\",\"{context}\"],\"max_seq_len_env\":true,\"env\":{\"A\":\"engine\",\"B\":\"engine\"}},"
	      "\"env\":{\"A\":\"campaign\",\"B\":\"campaign\",\"C\":\"campaign\",\"SHARED\":null},"
	      "\"variants\":[{\"name\":\"v\",\"env\":{\"A\":\"variant\",\"B\":\"{context}-{variant}-{repeat}\"}}]}",
	      &c);
	setenv("SHARED", "from here", 1);
	build(&c, 0, 8192, &paths, &s);
	is_list(&s.env, env);
	is_list(&s.unstored, (const char *const[]){"SHARED", NULL});
	assert_true(greta_spec_hides(&s, "SHARED") && greta_spec_hides(&s, "HF_TOKEN") && !greta_spec_hides(&s, "A"));
	assert_string_equal(s.argv.items[0], "/bin/e");
	greta_spec_release(&s);
	greta_campaign_release(&c);
}

static void test_spec__a_variable_that_is_not_there(void **state)
{
	struct greta_spec_paths paths = {NULL, NULL};
	struct greta_campaign c;
	struct greta_spec s;
	struct greta_err e = {0};

	(void)state;
	unsetenv("GRETA_TEST_TOKEN");
	parse("{\"name\":\"n\",\"contexts\":[1],\"engine\":{\"command\":[\"e\"]},\"env\":{\"GRETA_TEST_TOKEN\":null},"
	      "\"variants\":[{\"name\":\"v\"}]}",
	      &c);
	assert_int_equal(greta_spec_build(&c, 0, 1, 1, &paths, &s, &e), -1);
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_non_null(strstr(e.text, "GRETA_TEST_TOKEN"));
	assert_null(s.argv.items);
	greta_campaign_release(&c);
}

/* A later place wins, also over one that takes the value from the environment: it is stored, and comes back as it was. */
static void test_spec__what_is_written_down_is_stored(void **state)
{
	struct greta_spec_paths paths = {NULL, NULL};
	struct greta_campaign c;
	struct greta_spec s;

	(void)state;
	setenv("HF_HOME", "/here", 1);
	parse("{\"name\":\"n\",\"contexts\":[1],\"engine\":{\"command\":[\"e\"],\"env\":{\"HF_HOME\":null,"
	      "\"OTHER\":\"a\"}},\"variants\":[{\"name\":\"v\",\"env\":{\"HF_HOME\":\"/data/x\"}},"
	      "{\"name\":\"w\",\"env\":{\"OTHER\":null}}]}",
	      &c);
	build(&c, 0, 1, &paths, &s);
	assert_int_equal(s.unstored.n, 0);
	assert_false(greta_spec_hides(&s, "HF_HOME"));
	assert_string_equal(s.env.items[0], "HF_HOME=/data/x");
	greta_spec_release(&s);
	setenv("OTHER", "b", 1);
	build(&c, 1, 1, &paths, &s);
	is_list(&s.unstored, (const char *const[]){"HF_HOME", "OTHER", NULL});
	greta_spec_release(&s);
	unsetenv("OTHER");
	unsetenv("HF_HOME");
	greta_campaign_release(&c);
}

/* What is read back of one that was stored: its secrets come from the environment again. */
static void test_spec__hidden_values_come_back(void **state)
{
	struct greta_campaign c;
	struct greta_spec s = {0};
	struct greta_err e = {0};

	(void)state;
	unsetenv("GRETA_TEST_TOKEN");
	parse("{\"name\":\"n\",\"contexts\":[1],\"engine\":{\"command\":[\"e\"]},\"variants\":[{\"name\":\"v\"},"
	      "{\"name\":\"w\",\"env\":{\"GRETA_TEST_TOKEN\":null}}]}",
	      &c);
	greta_strs_add(&s.env, "A=b");
	greta_strs_add(&s.env, "GRETA_TEST_TOKEN=" GRETA_NOT_STORED);
	assert_int_equal(greta_spec_check_env(&c, 0, &e), 0);
	assert_int_equal(greta_spec_check_env(&c, 1, &e), -1);
	assert_int_equal(e.code, GRETA_EINVAL);
	assert_int_equal(greta_spec_reveal(&s, &e), -1);
	setenv("GRETA_TEST_TOKEN", "told", 1);
	assert_int_equal(greta_spec_check_env(&c, 1, &e), 0);
	assert_int_equal(greta_spec_reveal(&s, &e), 0);
	is_list(&s.env, (const char *const[]){"A=b", "GRETA_TEST_TOKEN=told", NULL});
	unsetenv("GRETA_TEST_TOKEN");
	greta_spec_release(&s);
	greta_campaign_release(&c);
}

#define SHA "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void test_spec__variant_build_and_hashes(void **state)
{
	static const char *const verify[] = {SHA " /m", SHA " /up/v4", NULL};
	struct greta_spec_paths paths = {"/m", "/up/v4"};
	struct greta_campaign c;
	struct greta_spec s;

	(void)state;
	parse("{\"name\":\"n\",\"contexts\":[1],\"model\":{\"path\":\"/m\",\"sha256\":\"" SHA "\"},"
	      "\"engine\":{\"command\":[\"/bin/"
	      "e\",\"{model}\",\"{slot}\"],\"adapter\":\"json\"},\"variants\":[{\"name\":\"v\"},"
	      "{\"name\":\"v4\",\"engine\":{\"executable\":{\"path\":\"b/v4\",\"sha256\":\"" SHA "\"}}}]}",
	      &c);
	build(&c, 1, 1, &paths, &s);
	assert_string_equal(s.argv.items[0], "/up/v4");
	assert_string_equal(s.argv.items[1], "/m");
	assert_string_equal(s.argv.items[2], "{slot}"); /* the node's to fill */
	assert_int_equal(s.adapter, GRETA_ADAPTER_JSON);
	is_list(&s.verify, verify);
	greta_spec_release(&s);
	greta_campaign_release(&c);
}

static void test_template__holes(void **state)
{
	static const struct {
		const char *text, *filled;
	} cases[] = {
		{"", ""},
		{"{context}", "64"},
		{"a{context}b{context}", "a64b64"},
		{"{{context}", "{context}"},
		{"{{context}{context}", "{context}64"},
		{"{\"a\":{\"b\":1}}", "{\"a\":{\"b\":1}}"},
		{"{}", "{}"},
		{"{", "{"},
		{"{{", "{{"},
		{"{ context }", "{ context }"},
		{"{slot}", "{slot}"},
		{"{nope}", "{nope}"},
		{"{context", "{context"},
		{"{{{context}", "{{context}"},
	};
	const char *values[PLACEHOLDER_COUNT] = {[PLACEHOLDER_CONTEXT] = "64"};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		char *filled = template_fill(cases[i].text, values);

		assert_string_equal(filled, cases[i].filled);
		free(filled);
	}
	assert_true(template_uses("x{{model}{context}", PLACEHOLDER_CONTEXT));
	assert_false(template_uses("x{{model}{context}", PLACEHOLDER_MODEL));
}

static void test_secret__names(void **state)
{
	static const char *const secret[] = {"HF_TOKEN",      "GITHUB_TOKEN", "hf_token",
					     "TOKEN",	      "TOKEN_FILE",   "CLIENT_SECRET",
					     "PGPASSWORD",    "MYSQL_PWD",    "API_KEY",
					     "OPENAI_APIKEY", "SSH_KEYS",     "AWS_ACCESS_KEY_ID",
					     "AWS_SESSION",   "DB_PASS",      "GOOGLE_APPLICATION_CREDENTIALS",
					     "BASIC_AUTH",    "GH_PAT"};
	static const char *const harmless[] = {"PATH",	   "MAX_TOKENS", "TOKENIZERS_PARALLELISM",
					       "KEYBOARD", "AWS_REGION", "HSA_XNACK",
					       "COMPASS",  "AUTHOR",	 "PATTERN",
					       ""};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(secret); i++)
		if (!greta_secret_name(secret[i]))
			fail_msg("%s is a secret", secret[i]);
	for (size_t i = 0; i < GRETA_COUNT(harmless); i++)
		if (greta_secret_name(harmless[i]))
			fail_msg("%s is none", harmless[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spec__gpus_that_a_variant_names),
		cmocka_unit_test(test_spec__the_bundled_engine),
		cmocka_unit_test(test_spec__environment_in_order),
		cmocka_unit_test(test_spec__a_variable_that_is_not_there),
		cmocka_unit_test(test_spec__what_is_written_down_is_stored),
		cmocka_unit_test(test_spec__hidden_values_come_back),
		cmocka_unit_test(test_spec__variant_build_and_hashes),
		cmocka_unit_test(test_template__holes),
		cmocka_unit_test(test_secret__names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
