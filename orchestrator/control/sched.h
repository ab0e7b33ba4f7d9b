/* sched: which job next on which node. Pure: it knows queues and capacities, no clocks, links or databases.
 *
 * A node offers CPUs and GPUs. A job takes some CPUs, some GPUs, or the whole node. Campaigns of higher priority go
 * first; among equals the one with fewer attempts running. Within a campaign jobs go in the order of the plan, so
 * that blocks stay interleaved; a job that may run only on some nodes waits without holding up those that may run here.
 *
 * A job that needs a whole node, or several GPUs, would starve behind small ones: its campaign may reserve a node (at
 * most as many as it has jobs waiting), which then takes nothing else until the job fits.
 *
 * Owned by the caller: struct sched_job and struct sched_node live inside larger structs and must outlive their place
 * here. Picking costs (campaigns + node sets of a campaign), not jobs.
 */
#ifndef ORCHESTRATOR_CONTROL_SCHED_H
#define ORCHESTRATOR_CONTROL_SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sched_need {
	int64_t cpus;        /* 0: none, unless no GPU is asked either: then all of the node's */
	int64_t gpus;
	bool whole_node;
};

struct sched_node {
	int64_t n_cpus, n_gpus;          /* as the node says; 0 CPUs counts as 1 */
	int64_t machines;                /* equal ones, that these are spread over: a need fits into one. 0: it is one */
	bool open;                       /* link up and not draining: may be given work */
	/* kept by sched */
	int64_t cpus_used, gpus_used, n_running;
	bool taken_whole;
	int64_t reserved_for;            /* id of a campaign; 0: none */
};

struct sched_job {
	int64_t position;                /* in its campaign's order */
	struct sched_node *avoid;        /* failed there last; taken there only when nowhere else is open. NULL: none */
	/* kept by sched */
	struct sched_job *prev, *next;
	struct sched_set *set;           /* NULL: not queued */
};

struct sched;
struct sched_campaign;
struct sched *sched_create(void);
void sched_destroy(struct sched *s);

/* id: not 0 */
struct sched_campaign *sched_campaign_add(struct sched *s, int64_t id, int64_t priority, struct sched_need need,
					  int64_t max_jobs_per_node);
void sched_campaign_remove(struct sched_campaign *c); /* its jobs must have left the queue */

/* A set of nodes that some of the campaign's jobs may run on; `allows` is asked at every pick. */
typedef bool sched_allows_fn(const struct sched_node *n, const void *arg);
struct sched_set *sched_set_add(struct sched_campaign *c, sched_allows_fn *allows, const void *arg);
/* For jobs of a set that differ in what they may use of a node. Picking then costs the jobs that have to wait. */
typedef bool sched_suits_fn(const struct sched_job *job, const struct sched_node *n);
void sched_set_suits(struct sched_set *set, sched_suits_fn *suits);

bool sched_set_empty(const struct sched_set *set);
void sched_enqueue(struct sched_set *set, struct sched_job *job); /* takes its place by position */
void sched_dequeue(struct sched_job *job);                        /* no-op when it is not queued */

/* Whether a job that should avoid this node has another one to go to. */
typedef bool sched_elsewhere_fn(const struct sched_job *job, const struct sched_node *n);

/* The job to start on this node now, taken out of the queue and its need charged to the node; NULL: none fits. */
struct sched_job *sched_pick(struct sched *s, struct sched_node *n, sched_elsewhere_fn *elsewhere,
			     struct sched_campaign **campaign);
void sched_unreserve(const struct sched *s, struct sched_node *n); /* it is kept for nobody: before it closes or goes */

/* For attempts that run already (adopted after a restart), and for those that ended. The node keeps a count per
 * campaign. */
void sched_charge(struct sched_campaign *c, struct sched_node *n);
void sched_release(struct sched_campaign *c, struct sched_node *n);

/* How many attempts of such a need an empty node holds. */
int64_t sched_slots(const struct sched_node *n, const struct sched_need *need);
int64_t sched_machines(const struct sched_node *n); /* at least 1 */
bool sched_idle(const struct sched *s); /* nothing is queued */

#endif
