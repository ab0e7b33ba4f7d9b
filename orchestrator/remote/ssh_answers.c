#include "orchestrator/remote/ssh_answers.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"

#include <fcntl.h>
#include <glob.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC "greta-ssh-answer-1"
#define USUAL_SSH "/usr/bin/ssh"
#define CONFIG_BYTES_MAX (1 << 20)
#define ANSWER_BYTES_MAX (64 * 1024)
#define INCLUDE_DEPTH 16 /* OpenSSH's own bound */
#define SETTLED_S 2      /* a file that changed a moment ago may change again within the tick of its clock */

/* What is looked at for one question. */
struct look {
	struct greta_sha256 *hash;
	const char *home;
	time_t newest;
	bool may_keep;
};

static void add_text(struct greta_sha256 *h, const char *s)
{
	greta_sha256_add(h, s ? s : "", s ? strlen(s) + 1 : 1);
}

/* As it is now. False: it is absent. */
static bool add_path(struct look *l, const char *path)
{
	struct stat st;
	char text[160] = "absent";
	bool exists = stat(path, &st) == 0;

	if (exists) {
		snprintf(text, sizeof text, "%lld.%ld %lld.%ld %lld %llu %llu", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			 (long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec, (long long)st.st_size,
			 (unsigned long long)st.st_ino, (unsigned long long)st.st_dev);
		l->newest = st.st_ctim.tv_sec > l->newest ? st.st_ctim.tv_sec : l->newest;
	}
	add_text(l->hash, path);
	add_text(l->hash, text);
	return exists;
}

static void add_file(struct look *l, const char *path, const char *base, int depth);

static char *include_path(const struct look *l, const char *pattern, const char *base)
{
	if (greta_str_starts(pattern, "~/"))
		return greta_format("%s%s", l->home, pattern + 1);
	return *pattern == '/' ? greta_strdup(pattern) : greta_fs_join(base, pattern);
}

/* A folder that is itself a pattern, a user's other than ours, a quoted or computed name: ssh may look where we did not. */
static void add_include(struct look *l, const char *pattern, const char *base, int depth)
{
	cleanup_free char *path = include_path(l, pattern, base), *folder = greta_strdup(path);
	char *slash = strrchr(folder, '/');
	glob_t found;

	*slash = '\0';
	if (strpbrk(pattern, "%$\"'\\") || strpbrk(folder, "*?[") || (*pattern == '~' && pattern[1] != '/')) {
		l->may_keep = false;
		return;
	}
	add_path(l, *folder ? folder : "/");
	if (glob(path, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		add_file(l, found.gl_pathv[i], base, depth + 1);
	globfree(&found);
}

/* Keywords are OpenSSH's: any case, an equals sign may stand behind. */
static void add_line(struct look *l, char *line, const char *base, int depth)
{
	char *key = line + strspn(line, " \t\r\f"), *value = key + strcspn(key, " \t\r\f="), *rest;

	if (!*key || *key == '#')
		return;
	if (*value)
		*value++ = '\0';
	value += strspn(value, " \t\r\f=");
	if (strstr(value, "${"))
		l->may_keep = false;
	if (!strcasecmp(key, "match"))
		l->may_keep &= !strcasestr(value, "exec") && !strcasestr(value, "localnetwork");
	else if (!strcasecmp(key, "canonicalizehostname"))
		l->may_keep &= !strcasecmp(value, "no");
	else if (!strcasecmp(key, "include"))
		for (char *p = strtok_r(value, " \t\r\f", &rest); p; p = strtok_r(NULL, " \t\r\f", &rest))
			add_include(l, p, base, depth);
}

static void add_file(struct look *l, const char *path, const char *base, int depth)
{
	cleanup_buf struct greta_buf text = {0};
	char *rest, *line;

	if (!l->may_keep || !add_path(l, path))
		return;
	if (depth > INCLUDE_DEPTH || greta_fs_read(path, CONFIG_BYTES_MAX, &text, NULL) < 0 ||
	    strlen(greta_buf_str(&text)) != text.len)
		l->may_keep = false;
	for (line = text.len ? strtok_r(text.data, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		add_line(l, line, base, depth);
}

static void add_configuration(struct look *l, const char *config)
{
	cleanup_free char *base = greta_fs_join(l->home, ".ssh"), *usual = greta_fs_join(base, "config");

	add_file(l, config ? config : usual, base, 0);
	if (!config)
		add_file(l, "/etc/ssh/ssh_config", "/etc/ssh", 0);
}

/* Another one may have its system's configuration elsewhere. */
static bool is_usual_ssh(void)
{
	cleanup_free char *all = greta_strdup(getenv("PATH") ? getenv("PATH") : "");
	char *rest;

	for (char *dir = strtok_r(all, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
		cleanup_free char *ssh = greta_fs_join(dir, "ssh");

		if (access(ssh, X_OK) == 0)
			return greta_str_eq(ssh, USUAL_SSH) || greta_str_eq(ssh, "/bin/ssh");
	}
	return false;
}

void ssh_question_take(const struct greta_strs *argv, const char *config, struct ssh_question *q)
{
	const struct passwd *user = getpwuid(getuid()); /* where ssh looks, whatever HOME says */
	struct greta_sha256 hash, place;
	struct look l = {.hash = &hash, .home = user && user->pw_dir ? user->pw_dir : "", .may_keep = user && is_usual_ssh()};
	char who[32], host[256] = "", place_hex[GRETA_SHA256_HEX + 1];

	greta_sha256_init(&place);
	for (size_t i = 0; i < argv->n; i++)
		add_text(&place, argv->items[i]);
	snprintf(who, sizeof who, "%ld", (long)getuid());
	add_text(&place, who);
	greta_sha256_init(&hash);
	greta_sha256_hex(&place, place_hex);
	add_text(&hash, place_hex);
	gethostname(host, sizeof host - 1);
	add_text(&hash, host);
	add_path(&l, USUAL_SSH);
	add_configuration(&l, config);
	greta_sha256_hex(&hash, q->hash);
	greta_str_copy(q->place, sizeof q->place, place_hex);
	q->may_keep = l.may_keep && time(NULL) - l.newest > SETTLED_S;
}

/* ---- where they lie */

static char *folder(void)
{
	cleanup_free char *cache = greta_fs_cache_dir();

	return cache ? greta_fs_join(cache, "ssh") : NULL;
}

static char *file_of(const struct ssh_question *q)
{
	cleanup_free char *dir = folder();

	return dir ? greta_fs_join(dir, q->place) : NULL;
}

/* It says what program is run to reach a node: only ours will do. */
static bool is_ours(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & 022) &&
	       st.st_size < ANSWER_BYTES_MAX;
}

static bool read_ours(const char *path, struct greta_buf *out)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = is_ours(fd) ? read(fd, greta_buf_reserve(out, ANSWER_BYTES_MAX), ANSWER_BYTES_MAX) : -1;
	close(fd);
	if (n <= 0)
		return false;
	out->len = (size_t)n;
	out->data[n] = '\0';
	return true;
}

static void add_head(const struct ssh_question *q, const char *text, size_t n, struct greta_buf *out)
{
	char sum[GRETA_SHA256_HEX + 1];

	greta_buf_addf(out, MAGIC " %s %s\n", q->hash, greta_sha256_of(text, n, sum));
}

bool ssh_answer_find(const struct ssh_question *q, struct greta_buf *out)
{
	cleanup_free char *path = file_of(q);
	cleanup_buf struct greta_buf kept = {0}, head = {0};
	const char *text;

	if (!q->may_keep || !path || !read_ours(path, &kept) || !(text = strchr(kept.data, '\n')))
		return false;
	text++;
	add_head(q, text, kept.len - (size_t)(text - kept.data), &head);
	if (head.len != (size_t)(text - kept.data) || memcmp(head.data, kept.data, head.len) != 0)
		return false;
	greta_buf_add(out, text, kept.len - head.len);
	return true;
}

/* Not synced: what a power cut leaves of it is recognised by its sum, and ssh is asked again. */
void ssh_answer_keep(const struct ssh_question *q, const char *text, size_t n)
{
	cleanup_free char *dir = folder(), *path = file_of(q), *tmp = greta_format("%s.%ld", path ? path : "", (long)getpid());
	cleanup_buf struct greta_buf all = {0};
	bool written;
	int fd;

	if (!q->may_keep || !path || greta_fs_mkdirs(dir, 0700, NULL) < 0)
		return;
	add_head(q, text, n, &all);
	greta_buf_add(&all, text, n);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	written = greta_fs_write_all(fd, all.data, all.len, NULL) == 0;
	close(fd);
	if (!written || rename(tmp, path) < 0)
		unlink(tmp);
}
