#include "tests/unit/unit.h"

#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "orchestrator/remote/known_hosts.h"

#define KEY1 "AAAAC3NzaC1lZDI1NTE5AAAAIGtleTE="
#define KEY2 "AAAAC3NzaC1lZDI1NTE5AAAAIGtleTI="

static enum known_hosts_verdict check(const char *text, const char *host, int64_t port, const char *key, int *line)
{
	struct known_hosts *k = known_hosts_parse(text, strlen(text));
	enum known_hosts_verdict v = known_hosts_check(k, host, port, key, line);

	known_hosts_destroy(k);
	return v;
}

static void test_known_hosts__plain(void **state)
{
	static const char text[] = "# a comment\n\n  host1,10.0.0.1 ssh-ed25519 " KEY1 " comment\r\nhost2 ssh-ed25519 " KEY2;
	int line;

	(void)state;
	assert_int_equal(check(text, "host1", 22, KEY1, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(line, 3);
	assert_int_equal(check(text, "10.0.0.1", 22, KEY1, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(check(text, "HOST1", 22, KEY1, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(check(text, "host2", 22, KEY1, &line), KNOWN_HOSTS_CHANGED);
	assert_int_equal(line, 4);
	assert_int_equal(check(text, "host3", 22, KEY1, &line), KNOWN_HOSTS_UNKNOWN);
	assert_int_equal(line, 0);
	assert_int_equal(check(text, "host1", 2222, KEY1, &line), KNOWN_HOSTS_UNKNOWN);
	assert_int_equal(check("", "host1", 22, KEY1, &line), KNOWN_HOSTS_UNKNOWN);
}

static void test_known_hosts__ports_and_wildcards(void **state)
{
	static const char text[] = "[gpu1]:2222 ssh-ed25519 " KEY1 "\n*.lab,!bad.lab ssh-ed25519 " KEY2 "\n"
				   "[127.0.*]:2022 ssh-ed25519 " KEY1 "\nnode? ssh-ed25519 " KEY1 "\n";
	int line;

	(void)state;
	assert_int_equal(check(text, "gpu1", 2222, KEY1, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(check(text, "gpu1", 22, KEY1, &line), KNOWN_HOSTS_UNKNOWN);
	assert_int_equal(check(text, "good.lab", 22, KEY2, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(check(text, "bad.lab", 22, KEY2, &line), KNOWN_HOSTS_UNKNOWN);
	assert_int_equal(check(text, "127.0.1.7", 2022, KEY1, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(check(text, "node7", 22, KEY1, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(check(text, "node77", 22, KEY1, &line), KNOWN_HOSTS_UNKNOWN);
}

/* One entry that matches is enough, wherever others stand that do not. */
static void test_known_hosts__several_keys(void **state)
{
	static const char text[] = "h ssh-rsa AAAA\nh ssh-ed25519 " KEY1 "\nh ssh-ed25519 " KEY2 "\n";
	struct known_hosts *k = known_hosts_parse(text, strlen(text));
	cleanup_buf struct greta_buf types = {0};
	int line;

	(void)state;
	assert_int_equal(known_hosts_check(k, "h", 22, KEY1, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(line, 2);
	known_hosts_types(k, "h", 22, &types);
	assert_string_equal(greta_buf_str(&types), "ssh-rsa,ssh-ed25519,ssh-ed25519");
	known_hosts_destroy(k);
}

/* Hashed by ssh-keygen -H, where it is there: "hashed.example" and "[hashed.example]:2222". */
static void test_known_hosts__hashed(void **state)
{
	const char *host = "hashed.example";
	cleanup_buf struct greta_buf out = {0};
	char path[] = "/tmp/greta-kh-XXXXXX";
	cleanup_free char *old = NULL;
	int line, fd = mkstemp(path);
	struct greta_err e = {0};
	const char *const keygen[] = {"ssh-keygen", "-H", "-f", path, NULL};
	cleanup_buf struct greta_buf said = {0};
	struct greta_child_result result;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(known_hosts_remember(path, host, 22, "ssh-ed25519", KEY1, &e), 0);
	assert_int_equal(known_hosts_remember(path, host, 2222, "ssh-ed25519", KEY2, &e), 0);
	greta_child_run(&(struct greta_child_spec){.argv = keygen}, 5000, 4096, &said, &result, &e);
	assert_int_equal(greta_fs_read(path, 65536, &out, &e), 0);
	if (strstr(greta_buf_str(&out), "|1|"))
		assert_null(strstr(greta_buf_str(&out), host));
	assert_int_equal(check(greta_buf_str(&out), host, 22, KEY1, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(check(greta_buf_str(&out), host, 2222, KEY2, &line), KNOWN_HOSTS_MATCH);
	assert_int_equal(check(greta_buf_str(&out), host, 2222, KEY1, &line), KNOWN_HOSTS_CHANGED);
	assert_int_equal(check(greta_buf_str(&out), "other.example", 22, KEY1, &line), KNOWN_HOSTS_UNKNOWN);
	old = greta_format("%s.old", path);
	unlink(path);
	unlink(old);
}

static void test_known_hosts__revoked(void **state)
{
	static const char text[] = "h ssh-ed25519 " KEY1 "\n@revoked * ssh-ed25519 " KEY1 "\n";
	static const char only[] = "@revoked h ssh-ed25519 " KEY1 "\n@cert-authority h ssh-ed25519 " KEY2 "\n";
	int line;

	(void)state;
	assert_int_equal(check(text, "h", 22, KEY1, &line), KNOWN_HOSTS_REVOKED);
	assert_int_equal(line, 2);
	/* A revoked key says nothing about others, and an authority is not a host's key. */
	assert_int_equal(check(only, "h", 22, KEY2, &line), KNOWN_HOSTS_UNKNOWN);
}

static void test_known_hosts__garbage(void **state)
{
	static const char text[] = "|1|||\n|1|a|b ssh-ed25519 " KEY1 "\n|1|AAAA ssh-ed25519 " KEY1 "\nlonely\n@revoked\n"
				   "h ssh-ed25519\n,,, ssh-ed25519 " KEY1 "\n";
	int line;

	(void)state;
	assert_int_equal(check(text, "h", 22, KEY1, &line), KNOWN_HOSTS_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_hosts__plain),
		cmocka_unit_test(test_known_hosts__ports_and_wildcards),
		cmocka_unit_test(test_known_hosts__several_keys),
		cmocka_unit_test(test_known_hosts__hashed),
		cmocka_unit_test(test_known_hosts__revoked),
		cmocka_unit_test(test_known_hosts__garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
