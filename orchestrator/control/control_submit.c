/* submit, resume and cancel: what people ask of campaigns. */
#include "orchestrator/control/control_conn.h"

#include "base/cleanup.h"
#include "base/jsonw.h"
#include "base/mem.h"
#include "orchestrator/plan/plan_order.h"

#include <string.h>

static char *variant_detail(const struct greta_campaign *c, const struct greta_variant *v)
{
	const struct greta_engine *engine = greta_campaign_engine(c, v);
	struct greta_buf out = {0};
	struct greta_jsonw w = greta_jsonw(&out);

	greta_jsonw_object(&w, NULL);
	greta_jsonw_strs(&w, "command", &engine->command);
	greta_jsonw_strs(&w, "args", &v->args);
	greta_jsonw_strs(&w, "env", &v->env);
	greta_jsonw_str(&w, "adapter", greta_adapter_name(engine->adapter));
	if (engine->build_id)
		greta_jsonw_str(&w, "build_id", engine->build_id);
	greta_jsonw_object(&w, "expect");
	for (size_t i = 0; i < v->n_expect; i++)
		greta_jsonw_str(&w, v->expect[i].field, v->expect[i].value);
	greta_jsonw_end_object(&w);
	greta_jsonw_end_object(&w);
	return greta_buf_steal(&out);
}

/* What the campaign's file says goes into *row; the rest of it is the caller's. */
static int add_campaign(struct ctl *c, const struct greta_campaign *spec, const struct plan *plan,
			struct greta_new_campaign *row, int64_t *id, char uuid[GRETA_UUID_LEN + 1], struct greta_err *e)
{
	struct greta_new_variant *variants = greta_alloc(spec->n_variants * sizeof *variants + 1);
	struct greta_new_job *jobs = greta_alloc(plan->n * sizeof *jobs + 1);
	char **details = greta_alloc(spec->n_variants * sizeof *details + 1);
	int rc;

	for (size_t i = 0; i < spec->n_variants; i++) {
		details[i] = variant_detail(spec, &spec->variants[i]);
		variants[i] = (struct greta_new_variant){spec->variants[i].name, details[i]};
	}
	for (size_t i = 0; i < plan->n; i++)
		jobs[i] = (struct greta_new_job){plan->jobs[i].variant, plan->jobs[i].context, plan->jobs[i].repeat,
						  plan->jobs[i].block};
	row->name = spec->name;
	row->mode = spec->mode;
	row->priority = spec->priority;
	row->variants = variants;
	row->n_variants = spec->n_variants;
	row->jobs = jobs;
	row->n_jobs = plan->n;
	rc = greta_campaigns_add(c->db, row, id, uuid, e);
	for (size_t i = 0; i < spec->n_variants; i++)
		free(details[i]);
	free(details);
	free(variants);
	free(jobs);
	return rc;
}

static int check_nodes(struct ctl *c, const struct greta_campaign *spec, struct greta_err *e)
{
	for (size_t i = 0; i < spec->nodes.n; i++) {
		const struct ctl_node *n = fleet_find(c, spec->nodes.items[i]);

		/* `local` comes into being by itself where there is no other. */
		if (!n && !c->n_nodes && greta_str_eq(spec->nodes.items[i], "local"))
			continue;
		if (!n || n->state == GRETA_ALIAS_REMOVED)
			return greta_err_set(e, GRETA_EINVAL, "campaign %s: node %s is not known (`greta-orch node list` "
					     "shows those that are, `node add` adds one)", spec->name, spec->nodes.items[i]);
	}
	return 0;
}

static int parse(const char *name, const char *text, struct greta_campaign *out, struct greta_err *e)
{
	struct greta_problems problems = {0};
	cleanup_buf struct greta_buf all = {0};
	int rc = greta_campaign_parse(name, text, strlen(text), out, &problems);

	greta_problems_print(&problems, name, &all);
	greta_problems_release(&problems);
	return rc < 0 ? greta_err_set(e, GRETA_EINVAL, "%.400s", greta_buf_str(&all)) : 0;
}

static void begin(struct ctl *c, struct ctl_campaign *cc, const struct plan *plan, struct greta_jsonw *reply)
{
	work_want(cc);
	greta_jsonw_i64(reply, "campaign", cc->id);
	greta_jsonw_str(reply, "uuid", cc->uuid);
	greta_jsonw_str(reply, "name", cc->spec.name);
	greta_jsonw_i64(reply, "jobs", (int64_t)plan->n);
	fleet_want(c);
	ctl_dispatch_soon(c);
}

int control_take_campaign(struct ctl *c, const char *name, struct greta_new_campaign *row, const struct plan *jobs,
			  struct greta_jsonw *reply, struct greta_err *e)
{
	struct greta_campaign spec = {0};
	struct plan own = {0};
	char uuid[GRETA_UUID_LEN + 1];
	int64_t id = 0;
	int rc;

	if (parse(name, row->text, &spec, e) < 0)
		return -1;
	rc = check_nodes(c, &spec, e) < 0 || prepare_validate(&spec, row->base_dir, e) < 0 ||
	     (!jobs && plan_make(&spec, &own, e) < 0) ? -1 : 0;
	if (rc == 0 && (fleet_add_local(c, e) < 0 || add_campaign(c, &spec, jobs ? jobs : &own, row, &id, uuid, e) < 0 ||
			!work_add(c, id, e))) {
		batch_fail(c, e);
		rc = -1;
	}
	if (rc == 0)
		begin(c, work_find(c, id), jobs ? jobs : &own, reply);
	plan_release(&own);
	greta_campaign_release(&spec);
	return rc;
}

int control_submit(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	const char *name = control_str(args, "name");
	struct greta_new_campaign row = {
		.text = control_str(args, "text"),
		.kind = GRETA_CAMPAIGN_SUBMIT,
		.submitted_by = control_str(args, "who"),
		.base_dir = control_str(args, "base_dir"),
	};

	if (!row.text)
		return greta_err_set(e, GRETA_EINVAL, "submit without a campaign");
	if (control_take_campaign(c, name ? name : "campaign", &row, NULL, reply, e) < 0)
		return -1;
	control_note(c, "submit", args);
	control_note_detached(c, args);
	return 0;
}

/* ---- resume, cancel */

/* A person has looked after what was wrong: what was given up is tried again. */
int control_resume(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	int64_t id = 0, n_open = 0;

	if (greta_json_get(args, "campaign") && control_campaign(c, args, &id, e) < 0)
		return -1;
	if (id && !work_find(c, id)) {
		greta_jsonw_array(reply, "campaigns");
		greta_jsonw_end_array(reply);
		return 0;
	}
	for (size_t i = 0; i < c->n_nodes; i++) {
		struct ctl_node *n = c->nodes[i];

		prepare_release(n);
		if (n->state != GRETA_ALIAS_REMOVED && n->link && link_state(n->link) != LINK_UP)
			link_start(n->link);
	}
	control_note_detached(c, args);
	greta_jsonw_array(reply, "campaigns");
	for (struct ctl_campaign *cc = c->campaigns; cc; cc = cc->next) {
		if (cc->finished || (id && cc->id != id))
			continue;
		work_want(cc);
		n_open += cc->n_open;
		greta_jsonw_i64(reply, NULL, cc->id);
	}
	greta_jsonw_end_array(reply);
	greta_jsonw_i64(reply, "running", n_open);
	fleet_want(c);
	ctl_dispatch_soon(c);
	return 0;
}

int control_cancel(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	struct ctl_campaign *cc;
	int64_t id, n = 0;

	if (control_campaign(c, args, &id, e) < 0)
		return -1;
	cc = work_find(c, id);
	if (cc && !cc->finished && work_cancel(c, cc, control_str(args, "variant"), control_i64(args, "context", 0),
					       control_i64(args, "repeat", 0) - 1, "cancelled by a person", &n, e) < 0)
		return -1;
	control_note(c, "cancel", args);
	greta_jsonw_i64(reply, "campaign", id);
	greta_jsonw_i64(reply, "jobs", n);
	return 0;
}
