#include "orchestrator/remote/ssh_settings.h"

#include "base/cleanup.h"
#include "base/mem.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

/* GRETA_SSH_CONFIG: for simulations, and homes that are not where the password database says. */
const char *ssh_settings_file(const struct node_settings *node)
{
	const char *file = node->ssh_config ? node->ssh_config : getenv("GRETA_SSH_CONFIG");

	return file && *file ? file : NULL;
}

static void add_config_file(const struct node_settings *node, struct greta_strs *argv)
{
	const char *file = ssh_settings_file(node);

	if (!file)
		return;
	greta_strs_add(argv, "-F");
	greta_strs_add(argv, file);
}

void ssh_settings_command(const struct node_settings *node, struct greta_strs *argv)
{
	greta_strs_add(argv, "ssh");
	greta_strs_add(argv, "-G");
	add_config_file(node, argv);
	if (node->port)
		greta_strs_addf(argv, "-p%lld", (long long)node->port);
	if (node->user)
		greta_strs_addf(argv, "-l%s", node->user);
	if (node->identity)
		greta_strs_addf(argv, "-i%s", node->identity);
	greta_strs_add(argv, "--");
	greta_strs_add(argv, node->host);
}

/* ssh itself takes the home folder from the password database, not from HOME. */
static char *expand_home(const char *path, size_t n)
{
	const struct passwd *pw;

	if (n < 2 || path[0] != '~' || path[1] != '/')
		return greta_strndup(path, n);
	pw = getpwuid(getuid());
	return greta_format("%s%.*s", pw && pw->pw_dir ? pw->pw_dir : "", (int)(n - 1), path + 1);
}

static void add_paths(struct greta_strs *out, const char *value)
{
	while (*value) {
		size_t n = strcspn(value, " ");
		cleanup_free char *path = expand_home(value, n);

		if (*path)
			greta_strs_add(out, path);
		value += n + strspn(value + n, " ");
	}
}

static void set_str(char **at, const char *value)
{
	free(*at);
	*at = greta_str_eq(value, "none") ? NULL : greta_strdup(value);
}

static void take_paths(struct ssh_settings *s, const char *key, const char *value)
{
	if (greta_str_eq(key, "identityfile")) {
		cleanup_free char *path = expand_home(value, strlen(value));

		greta_strs_add(&s->identities, path);
	} else if (greta_str_eq(key, "userknownhostsfile")) {
		add_paths(&s->user_known_hosts, value);
	} else if (greta_str_eq(key, "globalknownhostsfile")) {
		add_paths(&s->global_known_hosts, value);
	} else if (greta_str_eq(key, "identityagent")) {
		free(s->identity_agent);
		s->identity_agent = greta_str_eq(value, "SSH_AUTH_SOCK") ? NULL : expand_home(value, strlen(value));
	}
}

static void take(struct ssh_settings *s, const char *key, const char *value)
{
	static const struct {
		const char *key;
		size_t at;
	} strings[] = {
		{"hostname", offsetof(struct ssh_settings, host)},
		{"user", offsetof(struct ssh_settings, user)},
		{"hostkeyalias", offsetof(struct ssh_settings, key_name)},
		{"proxyjump", offsetof(struct ssh_settings, proxy_jump)},
		{"proxycommand", offsetof(struct ssh_settings, proxy_command)},
		{"bindaddress", offsetof(struct ssh_settings, bind_address)},
	};

	for (size_t i = 0; i < GRETA_COUNT(strings); i++)
		if (greta_str_eq(key, strings[i].key))
			set_str((char **)((char *)s + strings[i].at), value);
	if (greta_str_eq(key, "port"))
		greta_str_i64(value, &s->port);
	else if (greta_str_eq(key, "identitiesonly"))
		s->identities_only = greta_str_eq(value, "yes");
	else if (greta_str_eq(key, "stricthostkeychecking"))
		s->accept_new = greta_str_eq(value, "accept-new") || greta_str_eq(value, "no") ||
				greta_str_eq(value, "off") || greta_str_eq(value, "false");
	else
		take_paths(s, key, value);
}

int ssh_settings_parse(const struct node_settings *node, const char *text, size_t n, struct ssh_settings *out,
		       struct greta_err *e)
{
	cleanup_free char *copy = greta_strndup(text, n);

	*out = (struct ssh_settings){ .alias = greta_strdup(node->host) };
	for (char *at = copy; *at;) {
		char *end = at + strcspn(at, "\n"), *next = *end ? end + 1 : end, *space;

		*end = '\0';
		space = strchr(at, ' ');
		if (space) {
			*space = '\0';
			take(out, at, space + 1);
		}
		at = next;
	}
	out->accept_new |= node->accept_new;
	if (!out->host || !out->user || !out->port) {
		ssh_settings_release(out);
		return greta_err_set(e, GRETA_EINVAL, "`ssh -G %s` said no host name, user or port", node->host);
	}
	if (!out->key_name)
		out->key_name = greta_strdup(out->host);
	return 0;
}

void ssh_settings_release(struct ssh_settings *s)
{
	char *const strings[] = {s->alias, s->host, s->user, s->key_name, s->identity_agent, s->proxy_jump,
				  s->proxy_command, s->bind_address};

	for (size_t i = 0; i < GRETA_COUNT(strings); i++)
		free(strings[i]);
	greta_strs_release(&s->identities);
	greta_strs_release(&s->user_known_hosts);
	greta_strs_release(&s->global_known_hosts);
	*s = (struct ssh_settings){0};
}

/* "%h", "%p", "%r", "%n" and "%%", as ssh_config(5) has them for ProxyCommand. */
static char *expand_tokens(const struct ssh_settings *s, const char *text)
{
	struct greta_buf out = {0};

	for (; *text; text++) {
		if (text[0] != '%' || !text[1]) {
			greta_buf_addc(&out, *text);
			continue;
		}
		switch (*++text) {
		case 'h':
			greta_buf_adds(&out, s->host);
			break;
		case 'p':
			greta_buf_addf(&out, "%lld", (long long)s->port);
			break;
		case 'r':
			greta_buf_adds(&out, s->user);
			break;
		case 'n':
			greta_buf_adds(&out, s->alias);
			break;
		default:
			greta_buf_addc(&out, *text);
		}
	}
	return greta_buf_steal(&out);
}

/* "a,b,c": ssh -J a,b -W host:port c. */
static void jump_command(const struct ssh_settings *s, const struct node_settings *node, struct greta_strs *argv)
{
	const char *last = strrchr(s->proxy_jump, ','), *hop = last ? last + 1 : s->proxy_jump;

	greta_strs_add(argv, "ssh");
	add_config_file(node, argv);
	greta_strs_add(argv, "-oBatchMode=yes");
	if (last)
		greta_strs_addf(argv, "-J%.*s", (int)(last - s->proxy_jump), s->proxy_jump);
	greta_strs_addf(argv, strchr(s->host, ':') ? "-W[%s]:%lld" : "-W%s:%lld", s->host, (long long)s->port);
	greta_strs_add(argv, "--");
	greta_strs_addf(argv, strncmp(hop, "ssh://", 6) ? "ssh://%s" : "%s", hop);
}

bool ssh_settings_proxy(const struct ssh_settings *s, const struct node_settings *node, struct greta_strs *argv)
{
	if (s->proxy_jump) {
		jump_command(s, node, argv);
		return true;
	}
	if (s->proxy_command) {
		/* By its definition a line for the user's shell, from the user's own configuration. */
		cleanup_free char *line = expand_tokens(s, s->proxy_command);

		greta_strs_add(argv, "/bin/sh");
		greta_strs_add(argv, "-c");
		greta_strs_addf(argv, "exec %s", line);
		return true;
	}
	return false;
}

const char *ssh_settings_bastion(const struct ssh_settings *s)
{
	if (s->proxy_jump)
		return s->proxy_jump;
	return s->proxy_command ? s->proxy_command : "";
}
