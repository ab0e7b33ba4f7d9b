/* ssh_settings: what the user's OpenSSH would do to reach a host, as `ssh -G HOST` says it: aliases, HostName, User,
 * Port, IdentityFile, ProxyJump, HostKeyAlias, Include and Match are all OpenSSH's business, not ours. */
#ifndef ORCHESTRATOR_REMOTE_SSH_SETTINGS_H
#define ORCHESTRATOR_REMOTE_SSH_SETTINGS_H

#include "base/err.h"
#include "base/str.h"
#include "orchestrator/remote/transport.h"
#include <stdbool.h>
#include <stdint.h>

struct ssh_settings {
	char *alias;                 /* as asked */
	char *host, *user;
	int64_t port;
	char *key_name;              /* under which known_hosts has it: HostKeyAlias, else host */
	struct greta_strs identities; /* key files in order, ~ expanded */
	struct greta_strs user_known_hosts, global_known_hosts;
	bool identities_only;
	bool accept_new;             /* StrictHostKeyChecking accept-new, or no: both mean "not a changed one" here */
	char *identity_agent;        /* socket; NULL: SSH_AUTH_SOCK; "none": do not use one */
	char *proxy_jump, *proxy_command; /* NULL: none */
	char *bind_address;          /* NULL: none */
};

/* The ssh configuration that is named for it; NULL: the usual ones. */
const char *ssh_settings_file(const struct node_settings *node);
/* The command that prints them; argv is appended. */
void ssh_settings_command(const struct node_settings *node, struct greta_strs *argv);
int ssh_settings_parse(const struct node_settings *node, const char *text, size_t n, struct ssh_settings *out,
		       struct greta_err *e);
void ssh_settings_release(struct ssh_settings *s);

/* The command whose stdin and stdout are the connection, for ProxyJump and ProxyCommand; false: connect by TCP. */
bool ssh_settings_proxy(const struct ssh_settings *s, const struct node_settings *node, struct greta_strs *argv);

/* What handshakes through one sshd share: the first jump host, or "" for a direct one. */
const char *ssh_settings_bastion(const struct ssh_settings *s);

#endif
