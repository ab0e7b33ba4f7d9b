/* known_hosts: is this host key the one that the user's OpenSSH would accept?
 *
 * libssh's own look-up re-reads the file for every connection (10,000 hashed entries: 186 ms) and accepts a key that
 * is marked @revoked; so the files are read once here and asked often. Plain, wildcard, negated, "[host]:port" and
 * hashed names, and @revoked, are understood. A certificate (@cert-authority) is not: such a line is skipped.
 */
#ifndef ORCHESTRATOR_REMOTE_KNOWN_HOSTS_H
#define ORCHESTRATOR_REMOTE_KNOWN_HOSTS_H

#include "base/buf.h"
#include "base/err.h"
#include <stdint.h>

enum known_hosts_verdict {
	KNOWN_HOSTS_UNKNOWN,  /* no key of any type for this host */
	KNOWN_HOSTS_MATCH,
	KNOWN_HOSTS_CHANGED,  /* other keys, none of them this one */
	KNOWN_HOSTS_REVOKED,
};

struct known_hosts;

/* An absent file is an empty one. */
struct known_hosts *known_hosts_load(const char *path, struct greta_err *e);
struct known_hosts *known_hosts_parse(const char *text, size_t n);
void known_hosts_destroy(struct known_hosts *k);

/* key: base64 of the public key blob. *line (from 1): of the entry that decided; 0: none. */
enum known_hosts_verdict known_hosts_check(const struct known_hosts *k, const char *host, int64_t port,
					   const char *key, int *line);

/* What an entry for this host and port is called: "host", or "[host]:port" where the port is not 22. Caller owns. */
char *known_hosts_name(const char *host, int64_t port);

/* Appends the key types known for the host, comma-separated, in file order: to be offered first. */
void known_hosts_types(const struct known_hosts *k, const char *host, int64_t port, struct greta_buf *out);

/* Appends one entry to the file (made 0600 with its folder if missing). */
int known_hosts_remember(const char *path, const char *host, int64_t port, const char *type, const char *key,
			 struct greta_err *e);

#endif
