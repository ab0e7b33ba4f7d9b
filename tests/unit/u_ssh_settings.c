#include "tests/unit/unit.h"

#include "base/mem.h"
#include "orchestrator/remote/ssh_settings.h"
#include <string.h>

/* As OpenSSH 9.2 prints it, shortened. */
static const char printed[] = "user tester\nhostname 10.1.2.3\nport 2222\naddressfamily any\nidentitiesonly yes\n"
			      "stricthostkeychecking true\nidentityfile ~/.ssh/id_ed25519\nidentityfile /keys/my key\n"
			      "globalknownhostsfile /etc/ssh/a /etc/ssh/b\nuserknownhostsfile ~/.ssh/known_hosts /x/y\n"
			      "hostkeyalias gpu-cluster\nidentityagent none\nproxyjump tester@jump:2022,inner\n";

static const struct node_settings node = {.host = (char *)"gpu1"};

static void test_ssh_settings__as_printed(void **state)
{
	struct ssh_settings s;
	struct greta_err e = {0};

	(void)state;
	assert_ok(ssh_settings_parse(&node, printed, strlen(printed), &s, &e));
	assert_string_equal(s.host, "10.1.2.3");
	assert_string_equal(s.user, "tester");
	assert_int_equal(s.port, 2222);
	assert_string_equal(s.key_name, "gpu-cluster");
	assert_true(s.identities_only);
	assert_false(s.accept_new);
	assert_string_equal(s.identity_agent, "none");
	assert_int_equal(s.identities.n, 2);
	assert_true(s.identities.items[0][0] == '/');
	assert_string_equal(s.identities.items[1], "/keys/my key");
	assert_int_equal(s.user_known_hosts.n, 2);
	assert_string_equal(s.user_known_hosts.items[1], "/x/y");
	assert_int_equal(s.global_known_hosts.n, 2);
	assert_string_equal(ssh_settings_bastion(&s), "tester@jump:2022,inner");
	ssh_settings_release(&s);
}

static void check_proxy(const char *text, const struct node_settings *n, const char *const *want)
{
	struct ssh_settings s;
	cleanup_strs struct greta_strs argv = {0};

	assert_int_equal(ssh_settings_parse(n, text, strlen(text), &s, NULL), 0);
	assert_true(ssh_settings_proxy(&s, n, &argv));
	for (size_t i = 0; want[i]; i++) {
		assert_true(i < argv.n);
		assert_string_equal(argv.items[i], want[i]);
		assert_true(want[i + 1] || argv.n == i + 1);
	}
	ssh_settings_release(&s);
}

static void test_ssh_settings__proxies(void **state)
{
	static const char *const jump[] = {"ssh", "-oBatchMode=yes", "-Jtester@jump:2022", "-W10.1.2.3:2222", "--",
					   "ssh://inner", NULL};
	static const char *const one[] = {"ssh", "-F", "/my/config", "-oBatchMode=yes", "-W[fe80::1]:22", "--", "ssh://j", NULL};
	static const char *const command[] = {"/bin/sh", "-c", "exec nc h 22 as me, 100% of gpu1", NULL};
	const struct node_settings config = {.host = (char *)"gpu1", .ssh_config = (char *)"/my/config"};

	(void)state;
	unsetenv("GRETA_SSH_CONFIG");
	check_proxy(printed, &node, jump);
	check_proxy("user me\nhostname fe80::1\nport 22\nproxyjump j\n", &config, one);
	check_proxy("user me\nhostname h\nport 22\nproxycommand nc %h %p as %r, 100%% of %n\n", &node, command);
}

static void test_ssh_settings__none(void **state)
{
	static const char text[] = "user me\nhostname h\nport 22\nproxyjump none\nproxycommand none\nstricthostkeychecking accept-new\n";
	struct ssh_settings s;
	struct greta_err e = {0};
	cleanup_strs struct greta_strs argv = {0};

	(void)state;
	assert_ok(ssh_settings_parse(&node, text, strlen(text), &s, &e));
	assert_false(ssh_settings_proxy(&s, &node, &argv));
	assert_string_equal(s.key_name, "h");
	assert_true(s.accept_new);
	assert_string_equal(ssh_settings_bastion(&s), "");
	ssh_settings_release(&s);
	assert_fails(ssh_settings_parse(&node, "user me\n", 8, &s, &e), GRETA_EINVAL);
	assert_non_null(strstr(e.text, "ssh -G gpu1"));
}

static void test_ssh_settings__command(void **state)
{
	const struct node_settings all = {.host = (char *)"-oProxyCommand=evil", .user = (char *)"u", .identity = (char *)"/k", .port = 7};
	static const char *const want[] = {"ssh", "-G", "-p7", "-lu", "-i/k", "--", "-oProxyCommand=evil"};
	cleanup_strs struct greta_strs argv = {0};

	(void)state;
	unsetenv("GRETA_SSH_CONFIG");
	ssh_settings_command(&all, &argv);
	assert_int_equal(argv.n, 7);
	for (size_t i = 0; i < argv.n; i++)
		assert_string_equal(argv.items[i], want[i]);
}

static void test_ssh_settings__node_settings(void **state)
{
	static const char text[] = "{\"host\": \"h\", \"user\": \"u\", \"port\": 2022, \"accept_new\": true, \"store\": \"a/b-c_1.d\"}";
	struct node_settings s;
	struct greta_err e = {0};
	cleanup_buf struct greta_buf out = {0};

	(void)state;
	assert_ok(node_settings_parse(text, &s, &e));
	assert_string_equal(node_settings_store(&s), "a/b-c_1.d");
	node_settings_print(&s, &out);
	assert_string_equal(greta_buf_str(&out), "{\"host\":\"h\",\"user\":\"u\",\"store\":\"a/b-c_1.d\",\"port\":2022,"
						 "\"accept_new\":true}");
	node_settings_release(&s);
	assert_ok(node_settings_parse("{}", &s, &e));
	assert_string_equal(node_settings_store(&s), ".cache/greta/store");
	node_settings_release(&s);
	/* What would become more than letters to the login shell there. */
	assert_fails(node_settings_parse("{\"store\": \"a b\"}", &s, &e), GRETA_EINVAL);
	assert_fails(node_settings_parse("{\"store\": \"$(x)\"}", &s, &e), GRETA_EINVAL);
	assert_fails(node_settings_parse("{\"store\": \"-rf\"}", &s, &e), GRETA_EINVAL);
	assert_fails(node_settings_parse("{\"store\": \"\"}", &s, &e), GRETA_EINVAL);
	assert_int_equal(node_settings_parse("{", &s, &e), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ssh_settings__as_printed), cmocka_unit_test(test_ssh_settings__proxies),
		cmocka_unit_test(test_ssh_settings__none),       cmocka_unit_test(test_ssh_settings__command),
		cmocka_unit_test(test_ssh_settings__node_settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
