/* Who we are: key files and the ssh-agent, tried in turn. */
#include "orchestrator/remote/ssh_conn.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define AUTH_DEADLINE_MS 30000

static void on_agent(void *arg, int n_keys, const char *why)
{
	struct ssh_conn *c = arg;

	c->ask = NULL;
	c->agent_has_keys = n_keys > 0;
	greta_str_copy(c->agent_note, sizeof c->agent_note, why);
	ssh_conn_state(c, CONN_AUTH, AUTH_DEADLINE_MS);
	ssh_conn_pump(c);
}

void ssh_auth_begin(struct ssh_conn *c)
{
	const char *socket_path = c->settings.identity_agent ? c->settings.identity_agent : getenv("SSH_AUTH_SOCK");

	ssh_conn_state(c, CONN_AGENT, AUTH_DEADLINE_MS);
	if (greta_str_eq(socket_path, "none"))
		socket_path = NULL;
	c->ask = ssh_agent_ask(c->pool, socket_path, on_agent, c);
}

static void auth_refused(struct ssh_conn *c)
{
	struct greta_err why = {0};

	greta_err_set(&why, GRETA_EAUTH, "%s refused user %s; tried: %s%s%s", c->settings.host, c->settings.user,
		      c->tried.len ? greta_buf_str(&c->tried) : "nothing (no key file is there, no ssh-agent)",
		      *c->agent_note ? "; " : "", c->agent_note);
	ssh_conn_fail(c, TRANSPORT_REFUSED, &why);
}

static void note_tried(struct ssh_conn *c, const char *what)
{
	greta_buf_addf(&c->tried, "%s%s", c->tried.len ? ", " : "", what);
}

/* The next key file that can be used; those that are absent are passed over in silence, as ssh does. */
static ssh_key next_key(struct ssh_conn *c)
{
	while (c->next_identity < c->settings.identities.n) {
		const char *path = c->settings.identities.items[c->next_identity];
		struct greta_err why = {0};
		ssh_key key = ssh_pool_key(c->pool, path, &why);

		if (key)
			return key;
		if (why.code != GRETA_ENOENT)
			note_tried(c, why.text);
		c->next_identity++;
	}
	return NULL;
}

/* One attempt with the next means; SSH_AUTH_DENIED: go on with the one after it. Files that the user named for this
 * host go first, else what the agent holds. */
static int auth_once(struct ssh_conn *c, bool *exhausted)
{
	bool agent_first = !c->settings.identities_only && !c->node.identity;
	bool agent_left = c->agent_has_keys && !c->agent_tried;
	ssh_key key = agent_left && agent_first ? NULL : next_key(c);
	int rc;

	if (key) {
		rc = ssh_userauth_publickey(c->session, NULL, key);
		if (rc != SSH_AUTH_AGAIN) {
			note_tried(c, c->settings.identities.items[c->next_identity]);
			c->next_identity++;
		}
		return rc;
	}
	if (agent_left) {
		rc = ssh_userauth_agent(c->session, NULL);
		if (rc != SSH_AUTH_AGAIN) {
			note_tried(c, "the keys of the ssh-agent");
			c->agent_tried = true;
		}
		return rc;
	}
	*exhausted = true;
	return SSH_AUTH_DENIED;
}

void ssh_auth_step(struct ssh_conn *c)
{
	for (;;) {
		bool exhausted = false;
		int rc = auth_once(c, &exhausted);

		if (rc == SSH_AUTH_AGAIN)
			return;
		if (rc == SSH_AUTH_SUCCESS) {
			ssh_conn_up(c);
			return;
		}
		/* sshd hangs up after some refusals; that is a refusal too, not a broken line. */
		if (exhausted || (rc == SSH_AUTH_ERROR && strstr(ssh_get_error(c->session), "Too many"))) {
			auth_refused(c);
			return;
		}
		if (rc == SSH_AUTH_ERROR && !ssh_is_connected(c->session)) {
			ssh_conn_broken(c);
			return;
		}
	}
}
