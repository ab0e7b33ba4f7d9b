#include "orchestrator/remote/known_hosts.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <fcntl.h>
#include <nettle/base64.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX (64u << 20)
#define HASHED "|1|"

struct entry {
	char *names, *type, *key; /* in the file's own text */
	int line;
	bool revoked;
};

struct known_hosts {
	char *text;
	struct entry *entries;
	size_t n, cap;
};

/* The next word of a line, cut off by a NUL; NULL at its end. */
static char *word(char **at)
{
	char *start = *at + strspn(*at, " \t");
	size_t n = strcspn(start, " \t\r");

	if (!n)
		return NULL;
	*at = start + n;
	if (**at)
		*(*at)++ = '\0';
	return start;
}

static void parse_line(struct known_hosts *k, char *text, int line)
{
	char *names = word(&text);
	bool revoked = names && greta_str_eq(names, "@revoked");
	struct entry e = {.line = line, .revoked = revoked};

	if (!names || names[0] == '#' || (names[0] == '@' && !revoked))
		return;
	e.names = revoked ? word(&text) : names;
	e.type = word(&text);
	e.key = word(&text);
	if (e.names && e.type && e.key)
		*GRETA_PUSH(k->entries, k->n, k->cap) = e;
}

struct known_hosts *known_hosts_parse(const char *text, size_t n)
{
	struct known_hosts *k = greta_alloc(sizeof *k);
	int line = 1;

	k->text = greta_strndup(text, n);
	for (char *at = k->text; *at; line++) {
		char *end = at + strcspn(at, "\n");
		char *next = *end ? end + 1 : end;

		*end = '\0';
		parse_line(k, at, line);
		at = next;
	}
	return k;
}

struct known_hosts *known_hosts_load(const char *path, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};
	struct greta_err why = {0};

	if (greta_fs_read(path, FILE_MAX, &text, &why) < 0 && why.code != GRETA_ENOENT) {
		greta_err_set(e, why.code, "known hosts: %s", why.text);
		return NULL;
	}
	return known_hosts_parse(greta_buf_str(&text), text.len);
}

void known_hosts_destroy(struct known_hosts *k)
{
	if (!k)
		return;
	free(k->entries);
	free(k->text);
	free(k);
}

static bool decode64(const char *text, size_t n, uint8_t out[SHA1_DIGEST_SIZE])
{
	uint8_t bytes[BASE64_DECODE_LENGTH(32)];
	struct base64_decode_ctx ctx;
	size_t len = sizeof bytes;

	base64_decode_init(&ctx);
	if (n > 32 || !base64_decode_update(&ctx, &len, bytes, n, text) || !base64_decode_final(&ctx) ||
	    len != SHA1_DIGEST_SIZE)
		return false;
	memcpy(out, bytes, len);
	return true;
}

/* "|1|salt|hash" where hash = HMAC-SHA1(salt, name). */
static bool hashed_matches(const char *pattern, const char *name)
{
	const char *salt = pattern + strlen(HASHED), *bar = strchr(salt, '|');
	uint8_t key[SHA1_DIGEST_SIZE], want[SHA1_DIGEST_SIZE], have[SHA1_DIGEST_SIZE];
	struct hmac_sha1_ctx ctx;

	if (!bar || !decode64(salt, (size_t)(bar - salt), key) || !decode64(bar + 1, strlen(bar + 1), want))
		return false;
	hmac_sha1_set_key(&ctx, sizeof key, key);
	hmac_sha1_update(&ctx, strlen(name), (const uint8_t *)name);
	hmac_sha1_digest(&ctx, sizeof have, have);
	return memeql_sec(want, have, sizeof want);
}

/* '*' and '?', without regard to case. The pattern ends at end. */
static bool wild_matches(const char *p, const char *end, const char *s)
{
	const char *star = NULL, *resume = NULL;

	while (*s) {
		if (p < end && *p == '*') {
			star = ++p;
			resume = s;
		} else if (p < end && (*p == '?' || tolower((unsigned char)*p) == tolower((unsigned char)*s))) {
			p++;
			s++;
		} else if (star) {
			p = star;
			s = ++resume;
		} else {
			return false;
		}
	}
	while (p < end && *p == '*')
		p++;
	return p == end;
}

static bool names_match(const char *names, const char *name)
{
	bool matched = false;

	if (greta_str_starts(names, HASHED))
		return hashed_matches(names, name);
	while (*names) {
		size_t n = strcspn(names, ",");
		bool negated = *names == '!';

		if (wild_matches(names + negated, names + n, name)) {
			if (negated)
				return false;
			matched = true;
		}
		names += n + (names[n] == ',');
	}
	return matched;
}

char *known_hosts_name(const char *host, int64_t port)
{
	char *name = port == 22 ? greta_strdup(host) : greta_format("[%s]:%lld", host, (long long)port);

	for (char *c = name; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return name;
}

enum known_hosts_verdict known_hosts_check(const struct known_hosts *k, const char *host, int64_t port,
					   const char *key, int *line)
{
	enum known_hosts_verdict verdict = KNOWN_HOSTS_UNKNOWN;
	cleanup_free char *name = known_hosts_name(host, port);

	*line = 0;
	for (size_t i = 0; i < k->n; i++) {
		const struct entry *e = &k->entries[i];
		bool same = greta_str_eq(e->key, key);

		if ((e->revoked && !same) || (verdict == KNOWN_HOSTS_MATCH && !e->revoked) ||
		    !names_match(e->names, name))
			continue;
		*line = e->line;
		if (e->revoked)
			return KNOWN_HOSTS_REVOKED;
		verdict = same ? KNOWN_HOSTS_MATCH : KNOWN_HOSTS_CHANGED;
	}
	return verdict;
}

void known_hosts_types(const struct known_hosts *k, const char *host, int64_t port, struct greta_buf *out)
{
	cleanup_free char *name = known_hosts_name(host, port);

	for (size_t i = 0; i < k->n; i++) {
		const struct entry *e = &k->entries[i];

		if (e->revoked || !names_match(e->names, name))
			continue;
		if (out->len)
			greta_buf_addc(out, ',');
		greta_buf_adds(out, e->type);
	}
}

int known_hosts_remember(const char *path, const char *host, int64_t port, const char *type, const char *key,
			 struct greta_err *e)
{
	cleanup_free char *name = known_hosts_name(host, port), *line = greta_format("%s %s %s\n", name, type, key);
	cleanup_free char *dir = greta_strdup(path);
	cleanup_fd int fd = -1;
	char *slash = strrchr(dir, '/');

	if (slash && slash != dir) {
		*slash = '\0';
		if (greta_fs_mkdirs(dir, 0700, e) < 0)
			return -1;
	}
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return greta_err_sys(e, "known hosts %s", path);
	return greta_fs_write_all(fd, line, strlen(line), e);
}
