/* rca: a search for the cause of a hang, planned here, where nothing can change beneath it. */
#include "orchestrator/control/control_conn.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "orchestrator/rca/rca_plan.h"

static int read_request(const struct greta_json_val *args, struct rca_request *out, struct greta_err *e)
{
	const struct greta_json_val *settings = greta_json_get(args, "settings"),
				    *contexts = greta_json_get(args, "contexts");
	const char *text;

	out->attempt_id = control_i64(args, "attempt", 0);
	out->budget_runs = control_i64(args, "budget_runs", 0);
	greta_json_f64(greta_json_get(args, "rate"), &out->rate);
	greta_json_f64(greta_json_get(args, "budget_s"), &out->budget_s);
	for (const struct greta_json_val *v = settings ? greta_json_first(settings) : NULL; v; v = greta_json_next(v))
		if (greta_json_str(v, &text) == 0)
			greta_strs_add(&out->settings, text);
	for (const struct greta_json_val *v = contexts ? greta_json_first(contexts) : NULL; v; v = greta_json_next(v)) {
		if (out->n_contexts == RCA_CONTEXTS_MAX || greta_json_i64(v, &out->contexts[out->n_contexts]))
			return greta_err_set(e, GRETA_EINVAL, "rca: at most %d contexts, as numbers", RCA_CONTEXTS_MAX);
		out->n_contexts++;
	}
	return 0;
}

static int take(struct ctl *c, const struct rca_plan *plan, const char *who, struct greta_jsonw *reply,
		struct greta_err *e)
{
	cleanup_buf struct greta_buf design = {0};
	struct greta_new_campaign row = {
		.text = greta_buf_str(&plan->text),
		.kind = GRETA_CAMPAIGN_RCA,
		.explains = plan->attempt_id,
		.submitted_by = who,
		.base_dir = plan->base_dir,
	};

	rca_design_print(&plan->design, &design);
	row.design = greta_buf_str(&design);
	return control_take_campaign(c, plan->name, &row, &plan->jobs, reply, e);
}

int control_rca(struct conn *k, const struct greta_json_val *args, struct greta_jsonw *reply, struct greta_err *e)
{
	struct ctl *c = k->control->ctl;
	struct rca_request request = {0};
	struct rca_plan plan = {0};
	int rc = read_request(args, &request, e);

	if (rc == 0)
		rc = rca_plan_make(c->db, &request, &plan, e);
	if (rc == 0)
		rc = take(c, &plan, control_str(args, "who"), reply, e);
	if (rc == 0) {
		control_note(c, "rca", args);
		control_note_detached(c, args);
	}
	rca_plan_release(&plan);
	greta_strs_release(&request.settings);
	return rc;
}
