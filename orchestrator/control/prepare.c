/* Engine and model on nodes, and the spec of an attempt, which names them as the node sees them. */
#include "orchestrator/control/ctl.h"

#include "base/cleanup.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "orchestrator/control/file_hash.h"
#include "orchestrator/remote/upload.h"
#include "schemas/spec.h"

#include <string.h>
#include <unistd.h>

#define BUNDLED "greta-infer"

/* A file on its way to one node, or there. One that becomes another file here is brought again. */
struct prepared {
	struct ctl_node *node;
	char *local;          /* path here */
	char *there;          /* path on the node, once READY; what was there before, until then */
	char sha256[GRETA_SHA256_HEX + 1];
	int64_t bytes;
	bool executable;
	enum { FILE_HASHING, FILE_UPLOADING, FILE_READY, FILE_FAILED } state;
	struct upload *upload;
	char *why;
};

/* ---- what is needed, and where it comes from */

struct source {
	char *local;          /* here: to be uploaded, or used as it is on the local transport; NULL: not here */
	const char *there;    /* a path or name on the node, taken as it is; NULL: local */
};

static char *under(const char *base_dir, const char *path)
{
	return path[0] == '/' || !base_dir ? greta_strdup(path) : greta_fs_join(base_dir, path);
}

static char *bundled(const char *name)
{
	cleanup_free char *dir = greta_fs_self_dir();

	return greta_fs_join(dir, name);
}

static struct source engine_source(const struct greta_campaign *c, int variant, const char *base_dir)
{
	const struct greta_engine *engine = greta_campaign_engine(c, &c->variants[variant]);
	const char *path = engine->executable.path ? engine->executable.path : engine->command.items[0];

	if (engine->executable.upload)
		return (struct source){.local = under(base_dir, path)};
	if (greta_str_eq(path, BUNDLED))
		return (struct source){.local = bundled(BUNDLED)};
	if (path[0] == '/' || !strchr(path, '/'))
		return (struct source){.there = path};
	return (struct source){.local = under(base_dir, path)};
}

static struct source model_source(const struct greta_campaign *c, const char *base_dir)
{
	if (!c->model.path)
		return (struct source){0};
	if (!c->model.upload && c->model.path[0] == '/')
		return (struct source){.there = c->model.path};
	return (struct source){.local = under(base_dir, c->model.path)};
}

int prepare_validate(const struct greta_campaign *c, const char *base_dir, struct greta_err *e)
{
	for (size_t v = 0; v < c->n_variants; v++)
		if (greta_spec_check_env(c, v, e) < 0)
			return -1;
	for (size_t v = 0; v <= c->n_variants; v++) {
		struct source s = v < c->n_variants ? engine_source(c, (int)v, base_dir) : model_source(c, base_dir);
		const char *what = v < c->n_variants ? "engine" : "model";
		bool missing = s.local && access(s.local, v < c->n_variants ? X_OK : R_OK) != 0;

		if (missing)
			greta_err_sys(e, "%s %s: %s %s", v < c->n_variants ? "variant" : "campaign",
				      v < c->n_variants ? c->variants[v].name : c->name, what, s.local);
		if (missing && e)
			e->code = GRETA_EINVAL; /* the campaign is wrong, not the fleet */
		free(s.local);
		if (missing)
			return -1;
	}
	return 0;
}

/* ---- bringing it there */

static void hashed(void *arg)
{
	ctl_dispatch_soon(arg);
}

static struct file_hashes *hashes(struct ctl *c)
{
	if (!c->hashes)
		c->hashes = file_hashes_create(c->loop, hashed, c);
	return c->hashes;
}

static struct prepared *find(struct ctl_node *n, const char *local)
{
	for (size_t i = 0; i < n->n_prepared; i++)
		if (greta_str_eq(n->prepared[i]->local, local))
			return n->prepared[i];
	return NULL;
}

static void set_failed(struct prepared *p, const char *text)
{
	p->state = FILE_FAILED;
	free(p->why);
	p->why = greta_format("%s: %s", p->local, text);
	news_add(p->node->ctl, 0, "%s: %s", p->node->name, p->why);
	ctl_dispatch_soon(p->node->ctl);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The name in the store is part of a command that a login shell there reads (greta-agent hash): others than plain ones
 * are not needed there. */
static const char *store_name(const char *path)
{
	const char *name = base_name(path);
	size_t plain = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return name[0] != '-' && !name[plain] ? name : "file";
}

static void on_uploaded(void *arg, const char *path, const struct greta_err *why)
{
	struct prepared *p = arg;

	p->upload = NULL;
	if (why) {
		set_failed(p, why->text);
		return;
	}
	free(p->there);
	p->there = greta_format("%s/%s", path, store_name(p->local));
	p->state = FILE_READY;
	ctl_dispatch_soon(p->node->ctl);
}

static void upload(struct prepared *p)
{
	struct ctl_node *n = p->node;
	struct upload_file file = {p->local, store_name(p->local), p->sha256, p->bytes, p->executable};
	struct greta_err why = {0};

	p->state = FILE_UPLOADING;
	p->upload = upload_start(n->ctl->loop, link_transport(n->link), node_settings_store(&n->settings), p->sha256, &file,
				 1, false, on_uploaded, p, &why);
	if (!p->upload)
		set_failed(p, why.text);
}

/* One that can't be read any more is on the node all the same. */
static bool is_another(struct prepared *p)
{
	char sha256[GRETA_SHA256_HEX + 1];
	int64_t bytes;
	int rc = file_hash(hashes(p->node->ctl), p->local, sha256, &bytes, NULL);

	return rc == 0 || (rc > 0 && !greta_str_eq(sha256, p->sha256));
}

static void advance(struct prepared *p)
{
	struct greta_err why = {0};
	int rc;

	if (p->state == FILE_UPLOADING || (p->state != FILE_HASHING && !is_another(p)))
		return;
	p->state = FILE_HASHING;
	rc = file_hash(hashes(p->node->ctl), p->local, p->sha256, &p->bytes, &why);
	if (rc < 0) {
		set_failed(p, why.text);
	} else if (rc > 0 && node_settings_is_here(&p->node->settings, p->node->transport)) {
		free(p->there);
		p->there = greta_strdup(p->local);
		p->state = FILE_READY;
	} else if (rc > 0) {
		upload(p);
	}
}

static enum prepare_state file_check(struct ctl_node *n, const struct source *s, bool executable, const char **why)
{
	struct prepared *p;

	if (!s->local)
		return PREPARE_READY;
	p = find(n, s->local);
	if (!p) {
		p = greta_alloc(sizeof *p);
		*p = (struct prepared){ .node = n, .local = greta_strdup(s->local), .executable = executable };
		*GRETA_PUSH(n->prepared, n->n_prepared, n->cap_prepared) = p;
	}
	advance(p);
	if (p->state == FILE_FAILED)
		*why = p->why;
	return p->state == FILE_READY ? PREPARE_READY : p->state == FILE_FAILED ? PREPARE_FAILED : PREPARE_BUSY;
}

static enum prepare_state files_check(struct ctl_node *n, const struct ctl_campaign *cc, int variant, const char **why)
{
	struct source engine = engine_source(&cc->spec, variant, cc->base_dir);
	struct source model = model_source(&cc->spec, cc->base_dir);
	enum prepare_state a, b;

	a = file_check(n, &engine, true, why);
	b = file_check(n, &model, false, why);
	free(engine.local);
	free(model.local);
	if (a == PREPARE_FAILED || b == PREPARE_FAILED)
		return PREPARE_FAILED;
	return a == PREPARE_READY && b == PREPARE_READY ? PREPARE_READY : PREPARE_BUSY;
}

enum prepare_state prepare_check(struct ctl_node *n, struct ctl_campaign *cc, int variant, const char **why)
{
	*why = cc->lacks[variant];
	return *why ? PREPARE_FAILED : files_check(n, cc, variant, why);
}

bool prepare_model(struct ctl_node *n, const struct ctl_campaign *cc, struct greta_model_facts *out)
{
	struct source s = model_source(&cc->spec, cc->base_dir);
	const struct prepared *p = s.local ? find(n, s.local) : NULL;

	*out = (struct greta_model_facts){0};
	if (p && *p->sha256) {
		out->file_sha256 = p->sha256;
		out->bytes = p->bytes;
	} else if (cc->spec.model.path) {
		out->file_sha256 = cc->spec.model.sha256; /* as stated, and as the node verifies it */
	}
	out->name = cc->spec.model.path ? base_name(cc->spec.model.path) : NULL;
	free(s.local);
	return out->file_sha256 != NULL;
}

void prepare_release(struct ctl_node *n)
{
	for (size_t i = 0; i < n->n_prepared; i++) {
		struct prepared *p = n->prepared[i];

		if (p->upload)
			upload_cancel(p->upload);
		free(p->local);
		free(p->there);
		free(p->why);
		free(p);
	}
	n->n_prepared = 0;
}

const char *prepare_note(struct ctl_node *n)
{
	for (size_t i = 0; i < n->n_prepared; i++) {
		const struct prepared *p = n->prepared[i];
		int64_t done, total;
		const char *name;

		if (p->state == FILE_HASHING)
			snprintf(n->note, sizeof n->note, "hashing %s", base_name(p->local));
		if (p->state == FILE_UPLOADING) {
			upload_progress(p->upload, &name, &done, &total);
			snprintf(n->note, sizeof n->note, "uploading %s: %.0f %%", name,
				 total ? 100.0 * (double)done / (double)total : 0);
		}
		if (p->state == FILE_HASHING || p->state == FILE_UPLOADING)
			return n->note;
	}
	return NULL;
}

/* ---- the spec */

static const char *there(struct ctl_node *n, const struct source *s)
{
	struct prepared *p = s->local ? find(n, s->local) : NULL;

	return s->local ? (p && p->there ? p->there : s->local) : s->there;
}

/* What is sent again is what was planned: files may be elsewhere by now, or not brought yet. */
static int read_back(const struct ctl_attempt *a, struct greta_spec *out, struct greta_err *e)
{
	cleanup_buf struct greta_buf text = {0};

	if (greta_attempts_spec(a->node->ctl->db, a->id, &text, e) < 0 ||
	    greta_spec_parse(greta_buf_str(&text), text.len, out, e) < 0)
		return -1;
	return greta_spec_reveal(out, e);
}

static int build(const struct ctl_attempt *a, struct greta_spec *out, struct greta_err *e)
{
	const struct ctl_campaign *cc = a->job->campaign;
	struct source engine, model;
	struct greta_spec_paths paths;
	int rc;

	engine = engine_source(&cc->spec, a->job->variant, cc->base_dir);
	model = model_source(&cc->spec, cc->base_dir);
	paths = (struct greta_spec_paths){there(a->node, &model), there(a->node, &engine)};
	rc = greta_spec_build(&cc->spec, (size_t)a->job->variant, a->job->context, a->job->repeat + 1, &paths, out, e);
	if (rc == 0) {
		greta_str_copy(out->attempt, sizeof out->attempt, a->uuid);
		if (gpus_matter(cc, a->job->variant) && a->gpus.n) {
			greta_strs_release(&out->devices);
			greta_strs_add(&out->devices, a->gpus.items[0]);
		}
		out->try_no = a->try_no;
		rc = learn_limits(a, out->phases, e);
	}
	free(engine.local);
	free(model.local);
	return rc;
}

int prepare_spec(const struct ctl_attempt *a, struct greta_spec *out, struct greta_err *e)
{
	*out = (struct greta_spec){0};
	if ((a->id ? read_back(a, out, e) : build(a, out, e)) == 0)
		return 0;
	greta_spec_release(out);
	return -1;
}

bool prepare_redact(struct greta_spec *spec)
{
	bool hidden = false;

	for (size_t i = 0; i < spec->env.n; i++) {
		cleanup_free char *name = greta_strndup(spec->env.items[i], strcspn(spec->env.items[i], "="));

		if (!greta_spec_hides(spec, name))
			continue;
		free(spec->env.items[i]);
		spec->env.items[i] = greta_format("%s=" GRETA_NOT_STORED, name);
		hidden = true;
	}
	return hidden;
}
