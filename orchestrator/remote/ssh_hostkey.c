/* Who the server is: its key against the known_hosts files, and which kinds of key we ask it for. */
#include "orchestrator/remote/ssh_conn.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "base/mem.h"
#include "orchestrator/remote/known_hosts.h"

#include <string.h>

/* The types that known_hosts has for this host come first, or a server with several keys would show us one we can't
 * compare. */
int ssh_hostkey_offer(struct ssh_conn *c, struct greta_err *e)
{
	static const char usual[] = "ssh-ed25519,ecdsa-sha2-nistp521,ecdsa-sha2-nistp384,ecdsa-sha2-nistp256,"
				    "rsa-sha2-512,rsa-sha2-256";
	cleanup_buf struct greta_buf types = {0}, offer = {0};
	const struct greta_strs *lists[] = {&c->settings.user_known_hosts, &c->settings.global_known_hosts};

	for (size_t l = 0; l < GRETA_COUNT(lists); l++) {
		for (size_t i = 0; i < lists[l]->n; i++) {
			const struct known_hosts *k = ssh_pool_known_hosts(c->pool, lists[l]->items[i], e);

			if (!k)
				return -1;
			known_hosts_types(k, c->settings.key_name, c->settings.port, &types);
		}
	}
	for (const char *at = greta_buf_str(&types); *at;) {
		size_t n = strcspn(at, ",");

		if (n == 7 && !strncmp(at, "ssh-rsa", n))
			greta_buf_adds(&offer, "rsa-sha2-512,rsa-sha2-256,");
		else if (memmem(usual, sizeof usual - 1, at, n))
			greta_buf_addf(&offer, "%.*s,", (int)n, at);
		at += n + (at[n] == ',');
	}
	greta_buf_adds(&offer, usual);
	if (ssh_options_set(c->session, SSH_OPTIONS_HOSTKEYS, greta_buf_str(&offer)) != SSH_OK)
		return greta_err_set(e, GRETA_EFAIL, "%s", ssh_get_error(c->session));
	return 0;
}

static const char *key_type_name(ssh_key key)
{
	const char *curve = ssh_pki_key_ecdsa_name(key);

	return curve && *curve && ssh_key_type(key) >= SSH_KEYTYPE_ECDSA_P256 &&
			       ssh_key_type(key) <= SSH_KEYTYPE_ECDSA_P521
		       ? curve
		       : ssh_key_type_to_char(ssh_key_type(key));
}

static enum known_hosts_verdict check_files(struct ssh_conn *c, const char *key, const char **file, int *line,
					    struct greta_err *e)
{
	const struct greta_strs *lists[] = {&c->settings.user_known_hosts, &c->settings.global_known_hosts};
	enum known_hosts_verdict all = KNOWN_HOSTS_UNKNOWN;

	for (size_t l = 0; l < GRETA_COUNT(lists); l++) {
		for (size_t i = 0; i < lists[l]->n; i++) {
			const struct known_hosts *k = ssh_pool_known_hosts(c->pool, lists[l]->items[i], e);
			enum known_hosts_verdict one;
			int at = 0;

			if (!k)
				return KNOWN_HOSTS_UNKNOWN;
			one = known_hosts_check(k, c->settings.key_name, c->settings.port, key, &at);
			if (one == KNOWN_HOSTS_UNKNOWN || (all == KNOWN_HOSTS_MATCH && one != KNOWN_HOSTS_REVOKED))
				continue;
			all = one;
			*file = lists[l]->items[i];
			*line = at;
			if (all == KNOWN_HOSTS_REVOKED)
				return all;
		}
	}
	return all;
}

static int trust_first(struct ssh_conn *c, const char *type, const char *key, struct greta_err *e)
{
	if (!c->settings.user_known_hosts.n)
		return 0;
	greta_info("%s: %s key %s trusted at first sight and remembered in %s", ssh_conn_name(c), type, c->host_key,
		   c->settings.user_known_hosts.items[0]);
	return known_hosts_remember(c->settings.user_known_hosts.items[0], c->settings.key_name, c->settings.port,
				    type, key, e);
}

static int judge_host_key(struct ssh_conn *c, const char *type, const char *key, struct greta_err *e)
{
	const char *file = NULL;
	cleanup_free char *name = known_hosts_name(c->settings.key_name, c->settings.port);
	int line = 0;

	switch (check_files(c, key, &file, &line, e)) {
	case KNOWN_HOSTS_MATCH:
		return 0;
	case KNOWN_HOSTS_REVOKED:
		return greta_err_set(e, GRETA_EAUTH, "host key refused: %s is marked @revoked in %s line %d",
				     c->host_key, file, line);
	case KNOWN_HOSTS_CHANGED:
		return greta_err_set(e, GRETA_EAUTH,
				     "host key refused: the server shows %s key %s, but %s line %d has another one for "
				     "%s. Someone may be listening in; if the host was installed anew, remove the old "
				     "key (ssh-keygen -R '%s')", type, c->host_key, file, line, name, name);
	case KNOWN_HOSTS_UNKNOWN:
		break;
	}
	if (e->code)
		return -1;
	if (c->settings.accept_new)
		return trust_first(c, type, key, e);
	return greta_err_set(e, GRETA_EAUTH,
			     "host key refused: %s key %s of %s is in no known_hosts file. Check the fingerprint and "
			     "connect once with ssh, or say --accept-new to `node add`", type, c->host_key, name);
}

int ssh_hostkey_check(struct ssh_conn *c, struct greta_err *e)
{
	unsigned char *hash = NULL;
	char *base64 = NULL, *print = NULL;
	ssh_key key = NULL;
	size_t n;
	int rc = -1;

	if (ssh_get_server_publickey(c->session, &key) != SSH_OK || ssh_pki_export_pubkey_base64(key, &base64) != SSH_OK ||
	    ssh_get_publickey_hash(key, SSH_PUBLICKEY_HASH_SHA256, &hash, &n) != 0 ||
	    !(print = ssh_get_fingerprint_hash(SSH_PUBLICKEY_HASH_SHA256, hash, n))) {
		greta_err_set(e, GRETA_EPROTO, "the server's host key can't be read");
		goto out;
	}
	free(c->host_key);
	c->host_key = greta_strdup(print);
	rc = judge_host_key(c, key_type_name(key), base64, e);
out:
	ssh_string_free_char(print);
	ssh_string_free_char(base64);
	ssh_clean_pubkey_hash(&hash);
	ssh_key_free(key);
	return rc;
}
