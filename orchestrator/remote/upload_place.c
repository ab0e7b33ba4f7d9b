#include "orchestrator/remote/upload_place.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/uuid.h"

#include <string.h>
#include <sys/stat.h>

struct step { /* a folder on the way */
	char *path;
	struct sftp_reply is, leads_to; /* itself; where it leads, if it is a link. status SFTP_OK: known */
};

struct upload_place {
	upload_place_fn *fn;
	void *arg;
	struct step *steps;
	size_t n_steps, cap_steps;
	char *probe;
	int64_t login_uid, our_uid;     /* of the login folder, and of what we make; -1: not known */
};

void upload_place_release(struct upload_place *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_steps; i++)
		free(p->steps[i].path);
	free(p->steps);
	free(p->probe);
	free(p);
}

/* ---- judging */

static bool is_ours(const struct upload_place *p, const struct sftp_reply *r)
{
	return r->uid == 0 || r->uid == (p->our_uid >= 0 ? p->our_uid : p->login_uid);
}

static int judge_folder(const struct upload_place *p, const char *path, const struct sftp_reply *r, bool last,
			struct greta_err *e)
{
	if (r->status != SFTP_OK)
		return 0;
	if (!r->mode || r->uid < 0)
		return greta_err_set(e, GRETA_EAUTH, "the node's SFTP server does not tell whose %s is, so others might change what "
				     "is brought there; bring engine and model by other means, and name their paths", path);
	if (!S_ISDIR(r->mode))
		return greta_err_set(e, GRETA_EINVAL, "%s on the node is not a folder; remove it, or name another place (--store)",
				     path);
	if (!is_ours(p, r))
		return greta_err_set(e, GRETA_EAUTH, "%s on the node belongs to another user (uid %lld), who could change what "
				     "is brought there; name another place (--store)", path, (long long)r->uid);
	if (r->mode & S_IWOTH && (last || !(r->mode & S_ISVTX)))
		return greta_err_set(e, GRETA_EAUTH, "%s on the node is open to all users, who could change what is brought "
				     "there; chmod o-w it, or name another place (--store)", path);
	return 0;
}

static int judge_step(const struct upload_place *p, const struct step *s, bool last, struct greta_err *e)
{
	if (s->is.status != SFTP_OK || !S_ISLNK(s->is.mode))
		return judge_folder(p, s->path, &s->is, last, e);
	if (last || !is_ours(p, &s->is))
		return greta_err_set(e, GRETA_EAUTH, "%s on the node is a symbolic link%s; remove it, or name another place "
				     "(--store)", s->path, last ? "" : " of another user's");
	return judge_folder(p, s->path, &s->leads_to, false, e);
}

static int judge(const struct upload_place *p, struct greta_err *e)
{
	for (size_t i = 0; i < p->n_steps; i++)
		if (judge_step(p, &p->steps[i], i + 1 == p->n_steps, e) < 0)
			return -1;
	return 0;
}

/* ---- asking */

static void ignore(void *arg, const struct sftp_reply *r)
{
	(void)arg;
	(void)r;
}

static void on_seen(void *arg, const struct sftp_reply *r)
{
	*(struct sftp_reply *)arg = *r;
}

static void on_uid(void *arg, const struct sftp_reply *r)
{
	if (r->status == SFTP_OK)
		*(int64_t *)arg = r->uid;
}

static void on_last(void *arg, const struct sftp_reply *r)
{
	struct upload_place *p = arg;
	struct greta_err why = {0};

	(void)r;
	p->fn(p->arg, judge(p, &why) < 0 ? &why : NULL);
}

static void add_steps(struct upload_place *p, const char *path)
{
	size_t at = path[0] == '/';

	while (path[at]) {
		at += strcspn(path + at, "/");
		*GRETA_PUSH(p->steps, p->n_steps, p->cap_steps) = (struct step){
			.path = greta_strndup(path, at), .is.status = SFTP_BROKEN, .leads_to.status = SFTP_BROKEN};
		at += strspn(path + at, "/");
	}
}

/* What is made in it belongs to us, whoever the server takes us for; where nothing can be made, the login folder tells. */
static void ask_who_we_are(struct upload_place *p, struct sftp *s)
{
	sftp_stat(s, ".", on_uid, &p->login_uid);
	sftp_mkdir(s, p->probe, 0700, ignore, NULL);
	sftp_lstat(s, p->probe, on_uid, &p->our_uid);
	sftp_rmdir(s, p->probe, on_last, p);
}

struct upload_place *upload_place_make(struct sftp *s, const char *store, const char *folder, upload_place_fn *fn, void *arg)
{
	struct upload_place *p = greta_alloc(sizeof *p);
	char *path = greta_format("%s/%s", store, folder);
	char uuid[GRETA_UUID_LEN + 1];

	*p = (struct upload_place){.fn = fn, .arg = arg, .login_uid = -1, .our_uid = -1};
	greta_uuid_new(uuid);
	p->probe = greta_format("%s/.%s", path, uuid);
	add_steps(p, path);
	free(path);
	for (size_t i = 0; i < p->n_steps; i++) {
		sftp_mkdir(s, p->steps[i].path, 0700, ignore, NULL);
		sftp_lstat(s, p->steps[i].path, on_seen, &p->steps[i].is);
		sftp_stat(s, p->steps[i].path, on_seen, &p->steps[i].leads_to);
	}
	ask_who_we_are(p, s);
	return p;
}
