/* ctl: what the parts of the controller share. Private to them: controller.c puts them together.
 *
 *	control    requests of commands            fleet     nodes, their links and facts
 *	work       campaigns, jobs, attempts       ingest    events into the database, acknowledgements out
 *	prepare    engine and model on nodes       snapshot  what watchers see
 *	quarantine what nodes keep out of use      learn     limits of attempts, from what is known
 *	gpus       which GPU a job takes          forecast  how long a campaign will still take
 *
 * One rule holds it together: the database goes first. Whatever changes is written into the batch at hand; what has to
 * be said to nodes and people waits in it until its commit returned. When a commit fails, memory is thrown away and
 * loaded again from the database, exactly as after a crash.
 */
#ifndef ORCHESTRATOR_CONTROL_CTL_H
#define ORCHESTRATOR_CONTROL_CTL_H

#include "base/loop.h"
#include "base/sha256.h"
#include "base/uuid.h"
#include "db/attempts.h"
#include "db/campaigns.h"
#include "db/db.h"
#include "db/jobs.h"
#include "db/nodes.h"
#include "db/records.h"
#include "orchestrator/control/eta.h"
#include "orchestrator/control/job_fsm.h"
#include "orchestrator/control/link.h"
#include "orchestrator/control/sched.h"
#include "orchestrator/control/status.h"
#include "orchestrator/remote/agent_bundle.h"
#include "orchestrator/remote/transport.h"
#include "schemas/campaign.h"
#include "schemas/msg.h"

struct ctl;

/* ---- nodes (fleet.c) */

struct ctl_node {
	struct ctl *ctl;
	struct sched_node sched;
	int64_t alias_id;
	char *name, *transport;
	struct node_settings settings;
	char *labels;                     /* JSON object */
	enum greta_alias_state state;
	char *state_reason;               /* NULL: none */
	struct link *link;
	bool wanted;                      /* some campaign may use it, or somebody asked to check it */
	/* what it said of itself; facts_known only while that is sure */
	bool facts_known, was_up;
	struct greta_facts facts;
	struct greta_node_ids ids;
	char *boot_id;
	struct ctl_node *twin;            /* another alias of the same machine, used instead of this; NULL: none */
	struct greta_quarantines quarantine; /* what it keeps out of use, as it said last */
	char *quarantine_text;            /* the same for people; NULL: nothing */
	bool quarantine_told;             /* it said so in this controller's life */
	bool resuming;                    /* somebody waits for it to let go of ... */
	struct greta_strs releasing;      /* ... these */
	int64_t down_ns;                  /* monotonic: since when it is away; 0: it is not */
	int n_infra;                      /* attempts in a row that it could not start */
	int64_t probe_re, list_re, quarantine_re, ack_re; /* questions not answered yet; 0: none */
	struct ctl_attempt **attempts;    /* not ended, or not acknowledged */
	size_t n_attempts, cap_attempts;
	struct prepared **prepared;       /* files brought there (prepare.c) */
	size_t n_prepared, cap_prepared;
	struct greta_watch *lease;
	struct greta_watch *again;        /* it refused an answer: no process to be had, Slurm away, its queue full */
	bool facts_due;                   /* who asked for them is answered behind the commit */
	char probe_said[240];             /* why it can't say what it is; "": it could, or was not asked */
	char note[200];
};

struct ctl_node *fleet_find(struct ctl *c, const char *name);
struct ctl_node *fleet_by_alias(struct ctl *c, int64_t alias_id);
int fleet_load(struct ctl *c, struct greta_err *e);       /* from the database, also again after a change */
int fleet_take(struct ctl *c, const char *name, struct greta_err *e); /* one that was added; connects it if it is wanted */
int fleet_add_local(struct ctl *c, struct greta_err *e);  /* the embedded default, where no node is configured */
void fleet_want(struct ctl *c);                           /* connects those that campaigns may use */
void fleet_check(struct ctl *c, struct ctl_node *n);      /* connects and asks anew; control_facts follows */
void fleet_ping(struct ctl_node *n);                      /* connects where it is not; control_pong follows */
void fleet_forget(struct ctl *c, int64_t alias_id);       /* a removed one comes back with other settings */
void fleet_release(struct ctl *c);
const char *fleet_node_state(struct ctl_node *n, const char **reason);
int fleet_set_state(struct ctl *c, struct ctl_node *n, enum greta_alias_state state, const char *reason,
		    struct greta_err *e);
/* Nothing that could run the campaign is reachable, and waiting will not help; *why names each node and reason. */
struct ctl_campaign;
bool fleet_hopeless(struct ctl *c, struct ctl_campaign *campaign, struct greta_buf *why);

void fleet_resize(struct ctl_node *n);                    /* what it offers has changed */
bool fleet_connect(struct ctl_node *n);                   /* false: it can't be, and those who wait have been told why */

/* ---- what nodes keep out of use (quarantine.c) */

bool quarantine_has(const struct ctl_node *n, const char *slot);
bool quarantine_has_gpu(const struct ctl_node *n, const char *uuid);
int64_t quarantine_gpus(const struct ctl_node *n);        /* how many of its GPUs */
bool quarantine_forbids(const struct ctl_node *n, const struct sched_need *need);
int quarantine_load(struct ctl_node *n, int64_t node_id, struct greta_err *e);
void quarantine_settle(struct ctl_node *n);                /* it said what it is, or what it keeps out of use */
void quarantine_ask(struct ctl_node *n);                  /* the link is up; resuming: and let go of it */
void quarantine_told(struct ctl_node *n, struct greta_msg *m);
void quarantine_refused(struct ctl_node *n, const char *text);

/* ---- campaigns, jobs, attempts (work*.c) */

struct ctl_attempt {
	char uuid[GRETA_UUID_LEN + 1];
	int64_t id, campaign_id, try_no;
	struct ctl_job *job;              /* NULL: it was settled when its campaign was loaded, or that is no longer active */
	struct ctl_node *node;
	enum greta_attempt_state state;
	enum greta_outcome outcome;       /* of an ended one */
	int64_t applied_seq;              /* in the database, or in the batch at hand */
	int64_t credit;                   /* bytes of bulk received and not given back */
	int64_t start_re;
	bool charged;                     /* holds a slot in the scheduler */
	bool cancel_asked;
	/* for the batch */
	bool touched;
	bool final;                       /* nothing more will come of it: acknowledge and forget */
	int64_t acknowledged_seq;
	enum attempt_action todo;
	/* for people */
	struct greta_progress progress;
	int64_t planned_ns, started_ns, phase_ns, progress_ns; /* monotonic; 0: not yet */
	double wall_s;                    /* exec to exit, as its end said; 0: not yet; NAN: never started */
	char *verdict, *waiting_for, *slot;
	double budget_s;
	struct greta_strs gpus;           /* UUIDs that it was given, or took, as far as is known */
	char *spec;                       /* printed when it was planned; NULL: holds secrets, or is past its start */
};

struct ctl_job {
	struct sched_job sched;
	struct ctl_campaign *campaign;
	int64_t id, context, repeat;
	int variant;                      /* index */
	enum greta_job_state state;
	int n_open;                       /* attempts not ended */
	int64_t n_tries;                  /* attempts planned so far */
};

struct ctl_campaign {
	struct ctl_campaign *next;
	struct ctl *ctl;
	int64_t id;
	char uuid[GRETA_UUID_LEN + 1];
	char *base_dir;
	struct greta_campaign spec;
	struct sched_campaign *sched;
	struct sched_set **sets;          /* one a variant */
	struct sched_need need;
	int64_t *variant_ids, *environments; /* per variant; environments of env_node, 0: not yet */
	int64_t env_node;
	int64_t model_id;                 /* 0: not yet, or not known */
	char model_sha256[GRETA_SHA256_HEX + 1]; /* of that one */
	struct ctl_job *jobs;             /* by id; when it was loaded, they or an attempt of theirs had not ended; never moves */
	size_t n_jobs;
	struct ctl_set *set_args;
	int64_t n_open;                   /* attempts not ended */
	struct greta_campaign_counts counts;
	struct eta *eta;
	struct cell_gpu *cell_gpus;       /* where results of cells came from, or may (gpus.c) */
	size_t n_cell_gpus, cap_cell_gpus;
	struct learned *learned;          /* limits of cells, as they were learned last (learn.c) */
	size_t n_learned, cap_learned;
	int64_t learn_due_ns;             /* not learned anew before */
	int64_t loaded_ns, submitted_ns;  /* monotonic; the latter from before this boot perhaps, and then below 0 */
	double eta_s, eta_low_s, eta_high_s;
	int64_t eta_at_ns, eta_due_ns;   /* monotonic: of the last one, of the next */
	bool is_rca;                      /* rca_decide says which of its jobs may run, and which never will */
	bool cancelled, finished;
	bool wanted;                      /* submitted or resumed in this controller's life; others wait for that */
	bool hopeless;                    /* no node can run it, and waiting will not help */
	char *why;                        /* it is hopeless; NULL: it is not */
	char **lacks;                     /* per variant: what our environment has not; NULL: nothing */
};

int work_load(struct ctl *c, struct greta_err *e);         /* all active campaigns and open attempts */
struct ctl_campaign *work_add(struct ctl *c, int64_t campaign_id, struct greta_err *e);
struct ctl_campaign *work_find(struct ctl *c, int64_t campaign_id);
void work_release(struct ctl *c);
bool work_left(const struct ctl *c);                       /* campaigns not finished, attempts to be stopped */
void work_reap(struct ctl *c);                             /* drops finished ones that nobody watches any more */
void work_dispatch(struct ctl *c);                         /* fills free slots; the batch carries it */
void work_prepare(struct ctl *c);                          /* brings what queued jobs need to nodes that are busy */
bool work_may_use(const struct ctl_campaign *cc, const struct ctl_node *n);
bool work_may_use_for(const struct ctl_campaign *cc, int variant, const struct ctl_node *n);
void work_want(struct ctl_campaign *cc);                   /* its queued jobs may be put on nodes from now on */
struct ctl_attempt *work_attempt(struct ctl_node *n, const char *uuid); /* NULL: not in memory */
struct ctl_attempt *work_adopt(struct ctl *c, struct ctl_node *n, const struct greta_attempt_row *row);
void work_event(struct ctl_attempt *a, enum attempt_event ev);          /* steps it; the batch does the rest */
void work_do(struct ctl_attempt *a);                                    /* after commit: the action at hand */
/* Ends it by our own decision: lost, infra. ev: LEASE_OUT, REFUSED or ABSENT. */
void work_end_here(struct ctl_attempt *a, enum attempt_event ev, enum greta_outcome outcome, const char *cause,
		  const char *reason);
void work_settle(struct ctl_attempt *a, const struct greta_applied *applied); /* the node said how it ended */
/* variant NULL, context 0, repeat -1: any. *n: jobs that were open. */
int work_cancel(struct ctl *c, struct ctl_campaign *cc, const char *variant, int64_t context, int64_t repeat,
		const char *reason, int64_t *n, struct greta_err *e);
bool work_elsewhere(const struct ctl_job *job, const struct ctl_node *n); /* a job that failed there has somewhere else to go */
void work_forget(struct ctl_attempt *a);                                /* ended and acknowledged */
int64_t work_n_open(const struct ctl_node *n);                          /* attempts there that have not ended */
void work_charge_all(struct ctl_node *n, bool charge);                  /* those that hold slots there: take them, or give them back */

/* ---- events and the batch (ingest.c) */

int batch_begin(struct ctl *c);                            /* 0, or -1: the batch is broken, nothing may be done */
void batch_urgent(struct ctl *c);                          /* something waits for this commit */
void batch_touch(struct ctl_attempt *a);
void batch_facts(struct ctl_node *n);                      /* what it said of itself: control_facts follows */
int batch_commit(struct ctl *c, struct greta_err *e);      /* now; no batch is fine */
void batch_undo(struct ctl *c);                            /* what was begun is taken back; memory is as it was */
void batch_fail(struct ctl *c, const struct greta_err *why);
void batch_release(struct ctl *c);
void ingest_event(struct ctl_node *n, const struct greta_event *ev, size_t frame_bytes);

/* ---- engine and model on nodes (prepare.c) */

enum prepare_state { PREPARE_READY, PREPARE_BUSY, PREPARE_FAILED };
/* Brings what the variant needs to the node; READY when it is there. *why for FAILED. */
enum prepare_state prepare_check(struct ctl_node *n, struct ctl_campaign *cc, int variant, const char **why);
void prepare_release(struct ctl_node *n);                  /* link down: forgets what is under way */
/* The spec of an attempt: of one that is planned already, as it was then; of a new one, where prepare_check said READY. */
int prepare_spec(const struct ctl_attempt *a, struct greta_spec *out, struct greta_err *e);
/* Takes the values of secrets out of it, before it is stored; false: there are none. */
bool prepare_redact(struct greta_spec *spec);
/* What can be seen before anything runs: files to be uploaded are there, and variables that our environment lends. */
int prepare_validate(const struct greta_campaign *c, const char *base_dir, struct greta_err *e);
/* The campaign's model as this node has it; strings borrowed. False: it has none, or its hash is not known. */
bool prepare_model(struct ctl_node *n, const struct ctl_campaign *cc, struct greta_model_facts *out);
const char *prepare_note(struct ctl_node *n);              /* "uploading model.gguf 43 %"; NULL: nothing under way */

/* ---- limits from what is known (learn.c) */

/* Those that the attempt should have. phases: the campaign's at first. */
int learn_limits(const struct ctl_attempt *a, struct greta_phase_limit phases[GRETA_PHASE_COUNT], struct greta_err *e);
void learn_release(struct ctl_campaign *cc);

/* ---- which GPU, where that matters: variants with `devices`, campaigns with a `placement` (gpus.c) */

bool gpus_matter(const struct ctl_campaign *cc, int variant);
/* The GPU that the job would take on this node now; NULL: it has to wait for one, or to go elsewhere. */
const char *gpus_choose(const struct ctl_node *n, const struct ctl_job *job);
bool gpus_suit(const struct sched_job *job, const struct sched_node *n); /* a sched_suits_fn */
/* An attempt of that job is on that GPU, with a result or about to have one; delta -1: it came to nothing. */
void gpus_count(struct ctl_job *job, const char *gpu, int64_t delta);
int gpus_load(struct ctl_campaign *cc, struct greta_err *e);
int gpus_adopt(struct ctl_attempt *a, struct greta_err *e); /* its gpus, after a start */
/* Why no waiting job of the variant will ever find its GPU on this node; NULL: one may. */
const char *gpus_no_hope(struct ctl_node *n, const struct ctl_campaign *cc, int variant);
/* The one GPU that the job's cell is bound to; NULL: none yet, or any will do. */
const char *gpus_home(const struct ctl_job *job);
void gpus_release(struct ctl_campaign *cc);

/* ---- what watchers see (snapshot.c, forecast.c) */

void forecast_make(struct ctl *c, struct ctl_campaign *cc, int64_t now); /* its eta_s and what goes with it */

/* campaign 0: all. most: of attempts, which are many in a large fleet, and few on a screen. up: nodes that are up, too. */
void snapshot_take(struct ctl *c, int64_t campaign_id, int64_t most, bool up, struct status *out);
void news_add(struct ctl *c, int64_t campaign_id, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void news_release(struct ctl *c);

/* ---- commands (control*.c) */

struct control;
int control_open(struct ctl *c, struct greta_err *e);
void control_close(struct ctl *c);
bool control_busy(const struct ctl *c);                    /* somebody is connected */
void control_tick(struct ctl *c);                          /* snapshots to watchers, and ends */
bool control_watched(const struct ctl *c, int64_t campaign_id); /* somebody has not been told of its end yet */
void control_facts(struct ctl *c, struct ctl_node *n);     /* `node check` waits for these */
void control_resumed(struct ctl *c, struct ctl_node *n);   /* `node resume` waits for this */
void control_pong(struct ctl *c, struct ctl_node *n, double rtt_s); /* `node ping` waits for this */
void control_node_failed(struct ctl *c, struct ctl_node *n, const struct greta_err *why);

struct news_item {
	int64_t n, campaign_id, wall_ns;
	char *text;
};

struct ctl {
	struct greta_loop *loop;
	struct greta_db *db;
	char *db_path;
	int64_t fence;
	char peer[128];                   /* host:pid */
	struct ssh_pool *ssh;
	struct agent_bundle bundle;
	struct sched *sched;
	struct ctl_node **nodes;
	size_t n_nodes, cap_nodes;
	struct ctl_campaign *campaigns;
	struct control *control;
	struct {
		struct greta_txn txn;
		bool open, urgent, broken;
		struct greta_watch *timer;
		int64_t rest_ns; /* monotonic: no commit before, see ingest.c */
		struct ctl_attempt **touched;
		size_t n_touched, cap_touched;
		bool facts_due; /* of some node */
	} batch;
	struct {
		struct news_item items[64];
		int64_t n;                /* ever */
	} news;
	struct file_hashes *hashes;       /* prepare.c */
	struct greta_watch *tick;
	int64_t lease_ms;
	bool stopping;
	bool detached;                    /* somebody asked for it to go on in the background */
	struct greta_err fatal;           /* why it ends in failure; code OK: it does not */
	int64_t n_dispatched, n_commits;
};

void ctl_dispatch_soon(struct ctl *c);
void ctl_dispatch(struct ctl *c);                          /* now, if it is due: before a commit, which then carries it */
void ctl_stop(struct ctl *c, const struct greta_err *why); /* why NULL: all is well */

#endif
