/* slurm, allocation, queue, pool_quarantine and collect of the agent; what of Slurm's words means what. */
#include "agent/allocation.h"
#include "agent/collect.h"
#include "agent/journal.h"
#include "agent/pool.h"
#include "agent/pool_quarantine.h"
#include "agent/quarantine.h"
#include "agent/queue.h"
#include "agent/slurm.h"
#include "agent/spool.h"
#include "agent/unsupervised.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "tests/unit/unit.h"
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_slurm__states(void **state)
{
	(void)state;
	assert_int_equal(slurm_state_parse("CANCELLED by 1000"), SLURM_CANCELLED);
	assert_int_equal(slurm_state_parse("NODE_FAIL"), SLURM_NODE_FAIL);
	assert_int_equal(slurm_state_parse("RUNNINGS"), SLURM_UNKNOWN);
	assert_int_equal(slurm_state_parse(""), SLURM_UNKNOWN);
	assert_int_equal(slurm_state_outcome(SLURM_TIMEOUT), GRETA_OUTCOME_TIMED_OUT);
	assert_int_equal(slurm_state_outcome(SLURM_NODE_FAIL), GRETA_OUTCOME_LOST);
	assert_int_equal(slurm_state_outcome(SLURM_PREEMPTED), GRETA_OUTCOME_PREEMPTED);
	assert_int_equal(slurm_state_outcome(SLURM_OUT_OF_MEMORY), GRETA_OUTCOME_OOM);
	assert_int_equal(slurm_state_outcome(SLURM_UNKNOWN), GRETA_OUTCOME_LOST);
	for (int s = 0; s < SLURM_STATE_COUNT; s++) /* a job's end is never success of an attempt */
		assert_int_not_equal(slurm_state_outcome((enum slurm_state)s), GRETA_OUTCOME_GOOD);
}

/* As 22.05 writes it, and as 23.11 and newer do. */
static void test_slurm__jobs_of_all_releases(void **state)
{
	static const char old[] =
		"{\"jobs\":[{\"job_id\":7,\"name\":\"greta-c\",\"job_state\":\"PENDING\",\"state_reason\":\"Resources\","
		"\"restart_cnt\":2,\"exit_code\":0},{\"job_id\":8,\"name\":\"other\",\"job_state\":\"RUNNING\"}]}";
	static const char new[] =
		"{\"jobs\":[{\"job_id\":7,\"name\":\"greta-c\",\"job_state\":[\"CANCELLED\",\"COMPLETING\"],"
		"\"restart_cnt\":0,\"state_reason\":\"None\",\"exit_code\":{\"status\":[\"SUCCESS\"],"
		"\"return_code\":{\"set\":true,\"infinite\":false,\"number\":9}}}]}";
	struct greta_err e = {0};
	struct slurm_jobs jobs = {0};
	(void)state;
	assert_ok(slurm_list_parse(old, strlen(old), "greta-c", &jobs, &e));
	assert_int_equal(jobs.n, 1);
	assert_int_equal(jobs.items[0].id, 7);
	assert_int_equal(jobs.items[0].restarts, 2);
	assert_int_equal(jobs.items[0].state, SLURM_PENDING);
	assert_string_equal(jobs.items[0].reason, "Resources");
	slurm_jobs_release(&jobs);
	assert_ok(slurm_list_parse(new, strlen(new), "greta-c", &jobs, &e));
	assert_int_equal(jobs.items[0].state, SLURM_COMPLETING);
	assert_int_equal(jobs.items[0].wait_status, 9);
	assert_string_equal(jobs.items[0].reason, "");
	slurm_jobs_release(&jobs);
	assert_fails(slurm_list_parse("{}", 2, "greta-c", &jobs, &e), GRETA_EPROTO);
}

static void test_slurm__refusals(void **state)
{
	static const struct {
		const char *said, *text;
		enum greta_code code;
	} cases[] = {
		{"sbatch: error: invalid partition specified: x", "no partition \"gpu\"", GRETA_EINVAL},
		{"sbatch: error: Invalid generic resource (gres) specification", "no gres \"gpu:8\"", GRETA_EINVAL},
		{"Requested node configuration is not available", "gres \"gpu:8\"", GRETA_EINVAL},
		{"Invalid account or account/partition combination specified", "account \"(default)\"", GRETA_EINVAL},
		{"Invalid qos specification", "QOS \"low\"", GRETA_EINVAL},
		{"Requested time limit is invalid (missing or exceeds some limit)", "--time", GRETA_EINVAL},
		{"User's group not permitted to use this partition", "may not use partition", GRETA_EAUTH},
		{"Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "takes no more",
		 GRETA_EBUSY},
		{"Slurm job queue full, sleeping and retrying", "takes no more", GRETA_EBUSY},
		{"Unable to contact slurm controller (connect failure)", "does not answer", GRETA_EBUSY},
		{"something new", "Slurm refuses: something new", GRETA_EINVAL},
		{"", "says nothing", GRETA_EINVAL},
	};
	const struct greta_slurm s = {.partition = (char *)"gpu", .gres = (char *)"gpu:8", .qos = (char *)"low"};
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		struct greta_err e = {0};
		slurm_refusal(&s, cases[i].said, &e);
		assert_non_null(strstr(e.text, cases[i].text));
		assert_int_equal(e.code, cases[i].code);
		assert_null(strchr(e.text, '\n'));
	}
}

static void test_slurm__asks_for(void **state)
{
	static const char text[] = "{\"name\":\"c\",\"gres\":\"gpu:mi300x:8\",\"options\":[\"--constraint=a&b\"],\"limit_s\":3600}";
	struct greta_slurm s = {0};
	struct greta_err e = {0};
	struct greta_strs argv = {0};
	struct greta_buf script = {0};
	double limit = 0;
	(void)state;
	assert_ok(greta_slurm_parse(text, strlen(text), &s, &e));
	assert_int_equal(greta_slurm_gpus(&s), 8);
	assert_int_equal(s.nodes, 1);
	assert_ok(greta_slurm_limit_s(&s, 60, &limit, &e));
	assert_float_equal(limit, 8 * 180, 1e-9);
	assert_ok(greta_slurm_limit_s(&s, 1800, &limit, &e));
	assert_float_equal(limit, 3600, 1e-9);
	assert_fails(greta_slurm_limit_s(&s, 3600, &limit, &e), GRETA_EINVAL);
	greta_slurm_argv(&s, "/shared", 90, &argv);
	assert_string_equal(argv.items[argv.n - 1], "--constraint=a&b");
	bool has_time = false;
	for (size_t i = 0; i < argv.n; i++)
		has_time |= strcmp(argv.items[i], "--time=2") == 0; /* minutes, rounded up */
	assert_true(has_time);
	greta_slurm_script(&s, "/a'b/greta-agent", "/x y", 90, &script);
	assert_non_null(strstr(script.data, "exec '/a'\\''b/greta-agent' pilot --spool '/x y' --limit-s 90"));
	greta_buf_release(&script);
	greta_strs_release(&argv);
	greta_slurm_release(&s);
}

static void test_slurm__gres(void **state)
{
	static const struct {
		const char *gres;
		int64_t n;
	} cases[] = {{"gpu", 1}, {"gpu:4", 4}, {"gpu:mi300x", 1}, {"gpu:mi300x:2", 2}, {"nic:1,gpu:a:3", 3}, {"nic:1", 0},
		     {"mygpu:2", 0}, {NULL, 0}};
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++)
		assert_int_equal(greta_slurm_gpus(&(struct greta_slurm){.gres = (char *)cases[i].gres}), cases[i].n);
}

/* allocation */

static char *ours(const char *const *env)
{
	struct greta_device devices[] = {
		{.uuid = (char *)"GPU-c", .kind = (char *)"nvidia", .path = (char *)"/dev/nvidia12"},
		{.uuid = (char *)"GPU-a", .kind = (char *)"nvidia", .path = (char *)"/dev/nvidia0"},
		{.uuid = (char *)"GPU-b", .kind = (char *)"nvidia", .path = (char *)"/dev/nvidia1"},
		{.uuid = (char *)"GPU-x", .kind = (char *)"amd", .path = (char *)"/dev/dri/renderD128"},
		{.uuid = (char *)"GPU-y", .kind = (char *)"amd", .path = (char *)"/dev/dri/renderD129"},
	};
	const struct greta_facts nvidia = {.devices = devices, .n_devices = 3};
	const struct greta_facts amd = {.devices = devices + 3, .n_devices = 2};
	return allocation_devices(greta_str_starts(env[0], "ROCR") ? &amd : &nvidia, env);
}

static void test_allocation__devices(void **state)
{
	static const struct {
		const char *env[3], *ours;
	} cases[] = {
		{{"SLURM_JOB_GPUS=0,12", "CUDA_VISIBLE_DEVICES=0,1"}, "GPU-c,GPU-a"}, /* of the node, not of a cgroup */
		{{"SLURM_JOB_GPUS=1"}, "GPU-b"},
		{{"CUDA_VISIBLE_DEVICES=GPU-b"}, "GPU-b"},
		{{"ROCR_VISIBLE_DEVICES=1"}, "GPU-y"},
		{{"CUDA_VISIBLE_DEVICES="}, ""},
		{{"HOME=/"}, ""},
	};
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		char *got = ours(cases[i].env);
		assert_string_equal(got, cases[i].ours);
		free(got);
	}
}

static void test_allocation__last_words(void **state)
{
	static const struct {
		const char *log;
		enum greta_outcome outcome;
	} cases[] = {
		{"slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-31T10:00:00 DUE TO TIME LIMIT ***\n",
		 GRETA_OUTCOME_TIMED_OUT},
		{"x\n*** JOB 7 ON n1 CANCELLED AT 2026-01-31T10:00:00 DUE TO PREEMPTION ***\n", GRETA_OUTCOME_PREEMPTED},
		{"*** JOB 7 ON n1 CANCELLED AT 2026-01-31T10:00:00 DUE TO NODE FAILURE, SEE SLURMCTLD LOG ***", GRETA_OUTCOME_LOST},
		{"*** JOB 7 ON n1 CANCELLED AT 2026-01-31T10:00:00 ***\n", GRETA_OUTCOME_PREEMPTED},
		{"*** JOB 7 ON n1 CANCELLED AT x DUE TO TIME LIMIT ***\n" ALLOCATION_BEGINS "\n", GRETA_OUTCOME_UNKNOWN},
		{"all is well\n", GRETA_OUTCOME_UNKNOWN},
	};
	char text[320];
	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		struct greta_err e = {0};
		assert_ok(greta_fs_write_atomic("log", cases[i].log, strlen(cases[i].log), 0600, &e));
		assert_int_equal(allocation_end("log", NULL, text), cases[i].outcome);
	}
	assert_int_equal(allocation_end("no-such-log", NULL, text), GRETA_OUTCOME_UNKNOWN);
}

/* A job that was requeued: each of its lives has had an end of its own. */
static void test_allocation__last_words_to_each_pilot(void **state)
{
	static const char log[] = "slurmstepd: error: *** JOB 7 ON n0 CANCELLED AT x DUE TO TIME LIMIT ***\n"
				  ALLOCATION_BEGINS ": 7.0 on a, GPUs none\n"
				  "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT x DUE TO NODE FAILURE ***\n"
				  ALLOCATION_BEGINS ": 7.1 on b, GPUs none\n"
				  "slurmstepd: error: *** JOB 7 ON n2 CANCELLED AT x DUE TO PREEMPTION ***\n"
				  ALLOCATION_BEGINS ": 7.2 on c, GPUs none\n";
	struct greta_err e = {0};
	char text[320];
	(void)state;
	assert_ok(greta_fs_write_atomic("log", log, strlen(log), 0600, &e));
	assert_int_equal(allocation_end("log", "7.0", text), GRETA_OUTCOME_LOST);
	assert_int_equal(allocation_end("log", "7.1", text), GRETA_OUTCOME_PREEMPTED);
	assert_string_equal(text, "Slurm said: JOB 7 ON n2 CANCELLED AT x DUE TO PREEMPTION");
	assert_int_equal(allocation_end("log", "7.2", text), GRETA_OUTCOME_UNKNOWN);
	assert_int_equal(allocation_end("log", "7.3", text), GRETA_OUTCOME_UNKNOWN);
	assert_int_equal(allocation_end("log", NULL, text), GRETA_OUTCOME_UNKNOWN);
}

/* queue */

static struct ticket only(const char *pilot)
{
	struct tickets all = {0};
	struct ticket t = {0};
	if (pilot)
		queue_taken(".", pilot, &all);
	else
		queue_list(".", &all);
	assert_true(all.n <= 1);
	if (all.n)
		t = all.items[0];
	tickets_release(&all);
	return t;
}

static void test_queue__one_alone_gets_a_ticket(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec = {.slot = GRETA_SLOT_GPU, .n_gpus = 2, .cpus = 3, .wall_s = 59.2};
	(void)state;
	assert_int_equal(chmod(".", 0700), 0);
	greta_uuid_new(spec.attempt);
	assert_ok(queue_prepare(".", &e));
	assert_ok(queue_pilot_begin(".", "7.0", &e));
	assert_ok(queue_pilot_begin(".", "8.0", &e));
	assert_ok(queue_add(".", &spec, &e));
	struct ticket t = only(NULL);
	assert_string_equal(t.attempt, spec.attempt);
	assert_int_equal(t.slot, GRETA_SLOT_GPU);
	assert_int_equal(t.gpus, 2);
	assert_int_equal(t.cpus, 3);
	assert_int_equal(t.wall_s, 60);
	assert_true(queue_take(".", "7.0", &t));
	assert_false(queue_take(".", "8.0", &t));
	assert_false(queue_drop(".", &t));
	assert_false(queue_drop_attempt(".", spec.attempt));
	assert_string_equal(only("7.0").attempt, spec.attempt);
	queue_pilot_end(".", "7.0"); /* it holds something: it stays */
	assert_true(queue_return(".", "7.0", &t));
	assert_string_equal(only(NULL).attempt, spec.attempt);
	assert_true(queue_drop_attempt(".", spec.attempt));
	queue_pilot_end(".", "7.0");
	assert_int_not_equal(access("pilots/7.0", F_OK), 0);
}

static void test_queue__order_of_coming(void **state)
{
	struct greta_err e = {0};
	struct tickets all = {0};
	char ids[5][GRETA_UUID_LEN + 1];
	(void)state;
	assert_int_equal(chmod(".", 0700), 0);
	assert_ok(queue_prepare(".", &e));
	for (int i = 0; i < 5; i++) {
		struct greta_spec spec = {.slot = GRETA_SLOT_CPU};
		greta_uuid_new(spec.attempt);
		greta_str_copy(ids[i], sizeof ids[i], spec.attempt);
		assert_ok(queue_add(".", &spec, &e));
	}
	fclose(fopen("queue/what-somebody-left", "w"));
	queue_list(".", &all);
	assert_int_equal(all.n, 5);
	for (int i = 0; i < 5; i++)
		assert_string_equal(all.items[i].attempt, ids[i]);
	tickets_release(&all);
}

/* what machines keep out of use */

static void put(const char *slots, const char *slot)
{
	struct greta_err e = {0};
	mkdir(slots, 0700);
	cleanup_free char *dir = greta_format("%s/quarantine", slots);
	mkdir(dir, 0700);
	assert_ok(quarantine_put(slots, slot, "smells burnt", &e));
}

static void told_are(const char *expected)
{
	cleanup_strs struct greta_strs names = {0};
	cleanup_buf struct greta_buf all = {0};
	quarantine_list(".", &names);
	for (size_t i = 0; i < names.n; i++)
		greta_buf_addf(&all, "%s%s", i ? " " : "", names.items[i]);
	assert_string_equal(greta_buf_str(&all), expected);
}

static void test_pool_quarantine__is_told_and_let_go(void **state)
{
	struct greta_err e = {0};
	char reason[QUARANTINE_REASON_MAX];
	(void)state;
	assert_ok(pool_quarantine_prepare(".", &e));
	put("one", "gpu-a");
	put("ten", "gpu-b");
	pool_quarantine_share(".", "n1", "one");
	pool_quarantine_share(".", "n10", "ten");
	told_are("n1:gpu-a n10:gpu-b");
	assert_true(quarantine_is(".", "n1:gpu-a", reason));
	assert_non_null(strstr(reason, "smells burnt"));
	assert_fails(pool_quarantine_release(".", "n1:gpu-b", &e), GRETA_ENOENT);
	assert_fails(pool_quarantine_release(".", "../n1", &e), GRETA_EINVAL);
	assert_ok(pool_quarantine_release(".", "n1:gpu-a", &e));
	told_are("n10:gpu-b");
	pool_quarantine_share(".", "n10", "ten"); /* not meant */
	assert_true(quarantine_is("one", "gpu-a", reason));
	pool_quarantine_share(".", "n1", "one");
	assert_false(quarantine_is("one", "gpu-a", reason));
	put("one", "gpu-a"); /* again, and the person's word was for the first time */
	pool_quarantine_share(".", "n1", "one");
	told_are("n1:gpu-a n10:gpu-b");
	assert_ok(quarantine_release("ten", "gpu-b", &e)); /* on the machine itself */
	pool_quarantine_share(".", "n10", "ten");
	told_are("n1:gpu-a");
}

static void left_out_are(int64_t gpus, const char *expected)
{
	cleanup_free char *machines = pool_quarantine_machines(".", gpus);
	assert_string_equal(machines, expected);
}

static void test_pool_quarantine__machines_with_nothing_to_use(void **state)
{
	struct greta_err e = {0};
	(void)state;
	assert_ok(pool_quarantine_prepare(".", &e));
	left_out_are(1, "");
	put("one", "gpu-a");
	put("one", "gpu-b");
	put("two", "gpu-c");
	put("two", "node");
	pool_quarantine_share(".", "n1", "one");
	pool_quarantine_share(".", "n2", "two");
	left_out_are(3, "n2");
	left_out_are(2, "n1,n2");
	left_out_are(0, "n2"); /* a pool of CPUs */
}

/* spools on machines' own disks */

static char *make_spool(const char *spool, const struct greta_spec *spec, bool with_events, int *lock)
{
	struct greta_err e = {0};
	struct journal j;
	mkdir(spool, 0700);
	assert_ok(spool_prepare(spool, true, &e));
	assert_ok(spool_create(spool, spec, "00000000-0000-4000-8000-000000000000", lock, &e));
	char *dir = spool_attempt_dir(spool, spec->attempt);
	if (!with_events)
		return dir;
	assert_ok(journal_open(&j, dir, spec->attempt, &e));
	assert_true(journal_add(&j, GRETA_EVENT_ACCEPTED, NULL));
	assert_true(journal_add(&j, GRETA_EVENT_STARTED, NULL));
	journal_close(&j);
	return dir;
}

static void finish(const char *dir, enum greta_outcome outcome)
{
	struct greta_err e = {0};
	struct greta_end end = {.outcome = outcome};
	assert_ok(unsupervised_end(dir, &end, &e));
}

static int count_events(const char *dir)
{
	struct greta_err e = {0};
	struct tail t;
	int n = 0;
	assert_ok(tail_open(&t, dir, 0, &e));
	while (tail_next(&t, &e) == 1)
		n++;
	bool ended = t.ended;
	tail_close(&t);
	return ended ? n : -n;
}

/* Its pilot died between the outcome and its collecting, with one event brought over and half of another. */
static void test_collect__takes_what_a_dead_pilot_left(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec = {.slot = GRETA_SLOT_CPU};
	struct agent_paths paths = {0};
	struct collect c;
	struct journal j;
	int near_lock, lock;
	(void)state;
	greta_uuid_new(spec.attempt);
	cleanup_free char *here = getcwd(NULL, 0), *shared = greta_fs_join(here, "shared");
	cleanup_free char *ours = greta_format("greta-%u", (unsigned)geteuid()), *near = greta_fs_join(ours, "shared");
	mkdir(ours, 0700);
	cleanup_free char *from = make_spool(near, &spec, true, &near_lock), *to = make_spool(shared, &spec, false, &lock);
	assert_ok(journal_open(&j, to, spec.attempt, &e));
	assert_true(journal_add(&j, GRETA_EVENT_ACCEPTED, NULL));
	assert_ok(greta_fs_write_all(j.fd, "{\"type\":", 8, &e));
	journal_close(&j);
	finish(from, GRETA_OUTCOME_GOOD);

	assert_ok(collect_init(&c, &paths, here, shared, &e)); /* both are held: another pilot is at work */
	collect_release(&c);
	assert_false(spool_is_finished(to));
	close(near_lock);
	close(lock);
	assert_ok(collect_init(&c, &paths, here, shared, &e));
	collect_release(&c);
	assert_int_equal(count_events(to), 3); /* accepted, started, and the outcome */
	assert_int_not_equal(access(from, F_OK), 0);
}

/* The pool has ended it meanwhile, or it did not come to its end: what counts stands in the shared spool. */
static void test_collect__changes_nothing_that_was_ended(void **state)
{
	struct greta_err e = {0};
	struct greta_spec spec = {.slot = GRETA_SLOT_CPU};
	struct agent_paths paths = {0};
	struct collect c;
	int near_lock, lock;
	(void)state;
	greta_uuid_new(spec.attempt);
	cleanup_free char *here = getcwd(NULL, 0), *shared = greta_fs_join(here, "shared");
	cleanup_free char *ours = greta_format("greta-%u", (unsigned)geteuid()), *near = greta_fs_join(ours, "shared");
	mkdir(ours, 0700);
	cleanup_free char *from = make_spool(near, &spec, true, &near_lock), *to = make_spool(shared, &spec, false, &lock);
	close(near_lock);
	close(lock);
	assert_ok(collect_init(&c, &paths, here, shared, &e));
	collect_release(&c);
	assert_false(spool_is_finished(to));
	assert_int_equal(access(from, F_OK), 0);
	finish(to, GRETA_OUTCOME_LOST);
	finish(from, GRETA_OUTCOME_GOOD);
	assert_ok(collect_init(&c, &paths, here, shared, &e));
	collect_release(&c);
	assert_int_equal(count_events(to), 1);
	assert_int_not_equal(access(from, F_OK), 0);
}

/* A pool that looks after this spool, of a Slurm that knows no job, until its input ends. */
static pid_t pool_begin(const char *spool, int *input)
{
	static const char squeue[] = "#!/bin/sh\necho '{\"jobs\": []}'\n";
	struct greta_err e = {0};
	struct greta_slurm settings = {.name = (char *)"pool", .nodes = 1};
	int ends[2];
	cleanup_free char *here = getcwd(NULL, 0), *path = greta_format("%s:/usr/bin:/bin", here);
	assert_ok(greta_fs_write_atomic("squeue", squeue, sizeof squeue - 1, 0755, &e));
	assert_ok(greta_fs_write_atomic("scontrol", "#!/bin/sh\nexit 1\n", 17, 0755, &e));
	assert_ok(greta_fs_write_atomic("sacct", "#!/bin/sh\nexit 1\n", 17, 0755, &e));
	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		setenv("PATH", path, 1);
		setenv("GRETA_SLURM_POLL_S", "0.1", 1);
		setenv("GRETA_SLURM_GIVE_UP_S", "0.3", 1);
		dup2(ends[0], STDIN_FILENO);
		close(ends[1]);
		_exit(pool_run(&settings, spool));
	}
	close(ends[0]);
	*input = ends[1];
	return pid;
}

/* Its machine is gone, and the file server keeps its lock: with a note of an engine or without, it ends. */
static void test_pool__ends_what_nobody_will_unlock(void **state)
{
	struct greta_err e = {0};
	struct greta_spec specs[2] = {{.slot = GRETA_SLOT_CPU}, {.slot = GRETA_SLOT_CPU}};
	char *dirs[2];
	int input, locks[2], status;
	(void)state;
	for (int i = 0; i < 2; i++) {
		greta_uuid_new(specs[i].attempt);
		dirs[i] = make_spool("shared", &specs[i], i == 0, &locks[i]);
	}
	assert_ok(spool_note_engine(dirs[0], "cgroup -\n", &e));
	assert_ok(queue_prepare("shared", &e));
	assert_ok(queue_pilot_begin("shared", "7.0", &e));
	for (int i = 0; i < 2; i++) {
		struct tickets waiting = {0};
		assert_ok(queue_add("shared", &specs[i], &e));
		queue_list("shared", &waiting);
		assert_int_equal(waiting.n, 1);
		assert_true(queue_take("shared", "7.0", &waiting.items[0]));
		tickets_release(&waiting);
	}
	pid_t pid = pool_begin("shared", &input);
	assert_true(pid > 0);
	for (int i = 0; i < 1000 && access("shared/pilots/7.0", F_OK) == 0; i++)
		usleep(20000);
	close(input);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_not_equal(access("shared/pilots/7.0", F_OK), 0);
	assert_true(spool_is_finished(dirs[0]));
	assert_true(spool_is_finished(dirs[1]));
	for (int i = 0; i < 2; i++) {
		close(locks[i]);
		free(dirs[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slurm__states),
		cmocka_unit_test(test_slurm__jobs_of_all_releases),
		cmocka_unit_test(test_slurm__refusals),
		cmocka_unit_test(test_slurm__asks_for),
		cmocka_unit_test(test_slurm__gres),
		cmocka_unit_test(test_allocation__devices),
		cmocka_unit_test_setup_teardown(test_allocation__last_words, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_allocation__last_words_to_each_pilot, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_queue__one_alone_gets_a_ticket, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_queue__order_of_coming, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_pool_quarantine__is_told_and_let_go, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_pool_quarantine__machines_with_nothing_to_use, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_pool__ends_what_nobody_will_unlock, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_collect__takes_what_a_dead_pilot_left, unit_tmp_create, unit_tmp_remove),
		cmocka_unit_test_setup_teardown(test_collect__changes_nothing_that_was_ended, unit_tmp_create, unit_tmp_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
