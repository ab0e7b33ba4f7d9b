#include "agent/finish.h"
#include "base/child.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static void set(struct greta_end *end, enum greta_outcome outcome, const char *cause, char *reason)
{
	end->outcome = outcome;
	end->cause = greta_strdup(cause);
	end->reason = reason; /* takes it */
}

static void judge_unstarted(const struct finish_input *in, struct greta_end *end)
{
	const char *text = in->stop_text ? in->stop_text : "asked to stop";
	if (in->stop == STOP_CANCEL)
		set(end, GRETA_OUTCOME_CANCELLED, NULL, greta_format("cancelled before the engine started: %s", text));
	else if (in->stop == STOP_PREEMPT)
		set(end, GRETA_OUTCOME_PREEMPTED, NULL, greta_format("before the engine started: %s", text));
	else if (greta_str_eq(in->start_cause, "gate"))
		set(end, GRETA_OUTCOME_INVALID, "gate", greta_strdup(in->start_error));
	else
		set(end, GRETA_OUTCOME_INFRA, in->start_cause,
		    greta_strdup(in->start_error ? in->start_error : "the engine was never started"));
}

/* Its neighbour's hang is to blame for this one. */
static void set_collateral(struct greta_end *end, const char *why, char *text)
{
	set(end, GRETA_OUTCOME_COLLATERAL, "neighbour", why ? greta_format("%s; %s", why, text) : greta_strdup(text));
	free(text);
}

static void judge_wall(const struct finish_input *in, struct greta_end *end)
{
	char budget[32];
	greta_str_seconds(budget, sizeof budget, in->spec->wall_s);
	if (in->class_ == GRETA_CLASS_COLLATERAL)
		set_collateral(end, in->collateral, greta_format("over its budget of %s and not moving: %s", budget,
								 in->class_text ? in->class_text : ""));
	else if (greta_class_is_hang(in->class_) && in->certainty >= GRETA_SUPPORTED)
		set(end, GRETA_OUTCOME_HUNG, greta_class_name(in->class_),
		    greta_format("over its budget of %s and not moving: %s", budget, in->class_text ? in->class_text : ""));
	else if (in->projection)
		set(end, GRETA_OUTCOME_TIMED_OUT, NULL,
		    greta_format("over its budget of %s at %s", budget, in->projection));
	else
		set(end, GRETA_OUTCOME_TIMED_OUT, NULL,
		    greta_format("over its budget of %s; %s", budget, in->class_text ? in->class_text :
				 "it told no progress, so how far it got is unknown"));
}

static void judge_stopped(const struct finish_input *in, struct greta_end *end)
{
	switch (in->stop) {
	case STOP_CANCEL:
		set(end, GRETA_OUTCOME_CANCELLED, NULL, greta_strdup(in->stop_text));
		break;
	case STOP_WALL:
		judge_wall(in, end);
		break;
	case STOP_VERDICT:
		if (in->class_ == GRETA_CLASS_COLLATERAL) {
			set_collateral(end, in->collateral, greta_strdup(in->stop_text));
			break;
		}
		set(end, GRETA_OUTCOME_HUNG, greta_class_name(in->class_), greta_strdup(in->stop_text));
		break;
	case STOP_LIMIT:
		set(end, GRETA_OUTCOME_TIMED_OUT, "phase_limit", greta_strdup(in->stop_text));
		break;
	case STOP_SLOW:
		set(end, GRETA_OUTCOME_TIMED_OUT, "on_slow", greta_strdup(in->stop_text));
		break;
	default:
		set(end, GRETA_OUTCOME_PREEMPTED, NULL, greta_strdup(in->stop_text));
		break;
	}
}

static char *with_last_words(const char *what, const char *last_line)
{
	return *last_line ? greta_format("%s; last words: %s", what, last_line) : greta_strdup(what);
}

static void judge_failed(const struct finish_input *in, struct greta_end *end)
{
	char text[64];
	const char *how = greta_child_status_text(in->status, text);
	if (in->oom_proof)
		set(end, GRETA_OUTCOME_OOM, NULL, greta_format("%s: %s", how, in->oom_proof));
	else if (in->collateral)
		set_collateral(end, in->collateral, with_last_words(how, in->last_line));
	else
		set(end, GRETA_OUTCOME_FAILED, NULL, with_last_words(how, in->last_line));
}

static void judge_result(const struct finish_input *in, struct greta_end *end)
{
	const struct greta_spec *spec = in->spec;
	cleanup_buf struct greta_buf why = {0};
	const struct greta_contract contract = {
		.context = spec->context,
		.samples = spec->samples,
		.wall_s = end->wall_s,
		.expect = spec->expect,
		.n_expect = spec->n_expect,
	};
	enum greta_outcome judged;
	if (spec->samples == 0) /* by hand: any command, no result expected */
		judged = GRETA_OUTCOME_GOOD;
	else
		judged = greta_result_judge(&end->samples, &contract, &end->tokens_verified, &why);
	if (in->contradicts)
		set(end, GRETA_OUTCOME_INVALID, "output", greta_format("its output contradicts itself: %s", in->complaints));
	else if (judged == GRETA_OUTCOME_GOOD)
		end->outcome = GRETA_OUTCOME_GOOD;
	else if (end->samples.n == 0)
		set(end, GRETA_OUTCOME_INVALID, "no_result",
		    greta_format("exited 0 without a result%s%s%s%s", *in->complaints ? "; " : "", in->complaints,
				 *in->last_line ? "; last words: " : "", in->last_line));
	else
		set(end, judged, NULL, greta_strdup(greta_buf_str(&why)));
}

void finish_judge(const struct finish_input *in, struct greta_end *end)
{
	end->exit_code = -1;
	end->class_ = in->class_;
	end->certainty = in->certainty;
	if (in->collateral && in->stop == STOP_NOT) {
		end->class_ = GRETA_CLASS_COLLATERAL;
		end->certainty = in->collateral_certainty;
	}
	if (!in->started) {
		judge_unstarted(in, end);
		return;
	}
	if (in->exited && WIFEXITED(in->status))
		end->exit_code = WEXITSTATUS(in->status);
	if (in->exited && WIFSIGNALED(in->status))
		end->signal = WTERMSIG(in->status);
	if (in->stop != STOP_NOT)
		judge_stopped(in, end);
	else if (end->exit_code == 0)
		judge_result(in, end);
	else
		judge_failed(in, end);
}
