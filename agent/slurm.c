#include "agent/slurm.h"
#include "agent/files.h"
#include "base/buf.h"
#include "base/child.h"
#include "base/cleanup.h"
#include "base/fs.h"
#include "base/mem.h"
#include "schemas/json.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEADLINE_MS 20000
#define OUTPUT_MAX (64 * 1024 * 1024) /* squeue --json of a busy cluster: some 3 KiB a job */

/* states */

static const struct {
	const char *name;
	enum slurm_life life;
	enum greta_outcome outcome;
} states[] = {
#define X(id, name, life, outcome) {name, SLURM_##life, GRETA_OUTCOME_##outcome},
	SLURM_STATES(X)
#undef X
};

const char *slurm_state_name(enum slurm_state s)
{
	return states[s].name;
}

enum slurm_state slurm_state_parse(const char *text)
{
	size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
	for (size_t i = 0; i < SLURM_STATE_COUNT; i++)
		if (strlen(states[i].name) == n && strncmp(states[i].name, text, n) == 0)
			return (enum slurm_state)i;
	return SLURM_UNKNOWN;
}

enum slurm_life slurm_state_life(enum slurm_state s)
{
	return states[s].life;
}

enum greta_outcome slurm_state_outcome(enum slurm_state s)
{
	return states[s].outcome;
}

void slurm_jobs_release(struct slurm_jobs *jobs)
{
	free(jobs->items);
	*jobs = (struct slurm_jobs){0};
}

/* running its programs */

/* The first line that says something, in place. */
static const char *first_line(struct greta_buf *out)
{
	char *at = out->data;
	if (!out->len)
		return "";
	while (isspace((unsigned char)*at))
		at++;
	at[strcspn(at, "\n")] = '\0';
	return at;
}

static int call(const char *const *argv, int in, struct greta_buf *out, struct greta_err *e)
{
	struct greta_child_result result;
	const struct greta_child_fd fds[] = {{in, 0}};
	const struct greta_child_spec spec = {.argv = argv, .fds = fds, .n_fds = in >= 0, .new_group = true};
	if (greta_child_run(&spec, DEADLINE_MS, OUTPUT_MAX, out, &result, e) != 0) {
		if (e && e->code == GRETA_ENOENT)
			greta_err_set(e, GRETA_EUNSUPPORTED, "there is no %s in the PATH of a login here: is this a login node "
				      "of the cluster?", argv[0]);
		return -1;
	}
	if (result.timed_out)
		return greta_err_set(e, GRETA_EBUSY, "%s did not answer within %d s (is slurmctld down?)", argv[0],
				     DEADLINE_MS / 1000);
	return WIFEXITED(result.status) ? WEXITSTATUS(result.status) : 255;
}

/* squeue */

/* A word, or in newer releases a list of words: the base state and flags. Of those the one that says most about its processes. */
static enum slurm_state json_state(const struct greta_json_val *v)
{
	const char *word = NULL;
	enum slurm_state state = SLURM_UNKNOWN;
	if (greta_json_str(v, &word) == 0)
		return slurm_state_parse(word);
	for (const struct greta_json_val *x = v ? greta_json_first(v) : NULL; x; x = greta_json_next(x))
		if (greta_json_str(x, &word) == 0) {
			enum slurm_state s = slurm_state_parse(word);
			if (state == SLURM_UNKNOWN || s == SLURM_COMPLETING || s == SLURM_CONFIGURING)
				state = s;
		}
	return state;
}

/* A number, or in newer releases {"set": true, "number": 5}. */
static int64_t json_number(const struct greta_json_val *v)
{
	int64_t n = -1;
	if (greta_json_i64(v, &n) != 0 && v && greta_json_type(v) == GRETA_JSON_OBJECT)
		greta_json_i64(greta_json_get(v, "number"), &n);
	return n;
}

static void take_job(const struct greta_json_val *v, const char *job_name, struct slurm_jobs *out)
{
	const char *name = NULL, *reason = NULL;
	int64_t restarts = json_number(greta_json_get(v, "restart_cnt"));
	const struct greta_json_val *code = greta_json_get(v, "exit_code");
	if (greta_json_str(greta_json_get(v, "name"), &name) != 0 || strcmp(name, job_name) != 0)
		return;
	struct slurm_job *job = GRETA_PUSH(out->items, out->n, out->cap);
	job->id = json_number(greta_json_get(v, "job_id"));
	job->restarts = restarts > 0 ? restarts : 0;
	job->state = json_state(greta_json_get(v, "job_state"));
	if (code && greta_json_type(code) == GRETA_JSON_OBJECT && !greta_json_get(code, "number"))
		code = greta_json_get(code, "return_code");
	job->wait_status = (int)json_number(code);
	if (greta_json_str(greta_json_get(v, "state_reason"), &reason) == 0 && strcmp(reason, "None") != 0)
		greta_str_copy(job->reason, sizeof job->reason, reason);
}

int slurm_list_parse(const char *json, size_t n, const char *job_name, struct slurm_jobs *out, struct greta_err *e)
{
	struct greta_json *j = greta_json_parse("squeue --json", json, n, e);
	if (!j)
		return -1;
	const struct greta_json_val *jobs = greta_json_get(greta_json_root(j), "jobs");
	bool good = jobs && greta_json_type(jobs) == GRETA_JSON_ARRAY;
	for (const struct greta_json_val *v = good ? greta_json_first(jobs) : NULL; v; v = greta_json_next(v))
		take_job(v, job_name, out);
	greta_json_destroy(j);
	return good ? 0 : greta_err_set(e, GRETA_EPROTO, "squeue --json has no list of jobs");
}

int slurm_list(const struct greta_slurm *s, struct slurm_jobs *out, struct greta_err *e)
{
	cleanup_free char *name = greta_format("greta-%s", s->name);
	cleanup_free char *filter = greta_format("--name=%s", name);
	cleanup_buf struct greta_buf text = {0};
	const char *const argv[] = {"squeue", "--json", filter, NULL};
	int code = call(argv, -1, &text, e);
	if (code < 0)
		return -1;
	if (code > 0 && strstr(greta_buf_str(&text), "unrecognized option")) {
		char cluster[64], version[32];
		slurm_cluster(cluster, version);
		return greta_err_set(e, GRETA_EUNSUPPORTED, "Slurm %s is too old: its squeue knows no --json; 21.08 or a newer "
				     "one is needed", version);
	}
	if (code > 0)
		return greta_err_set(e, GRETA_EBUSY, "squeue: %.200s", first_line(&text));
	/* What it warns of comes before. */
	const char *begin = strchr(greta_buf_str(&text), '{');
	if (!begin)
		return greta_err_set(e, GRETA_EUNSUPPORTED, "squeue --json: %.200s", first_line(&text));
	return slurm_list_parse(begin, text.len - (size_t)(begin - text.data), name, out, e);
}

/* scontrol, sacct */

/* "3:9" is exit code 3, or signal 9. */
static int wait_status(const char *text)
{
	int code = 0, signal = 0;
	if (sscanf(text, "%d:%d", &code, &signal) != 2)
		return -1;
	return signal ? signal : code << 8;
}

static bool word_of(const char *line, const char *key, char *out, size_t cap)
{
	const char *at = strstr(line, key);
	if (!at)
		return false;
	at += strlen(key);
	snprintf(out, cap, "%.*s", (int)strcspn(at, " \n|"), at);
	return true;
}

static bool ask_scontrol(const char *id, struct slurm_job *out)
{
	char word[64];
	cleanup_buf struct greta_buf text = {0};
	const char *const argv[] = {"scontrol", "--oneliner", "show", "job", id, NULL};
	if (call(argv, -1, &text, NULL) != 0 || !word_of(greta_buf_str(&text), "JobState=", word, sizeof word))
		return false;
	out->state = slurm_state_parse(word);
	if (word_of(text.data, "Restarts=", word, sizeof word))
		greta_str_i64(word, &out->restarts);
	if (word_of(text.data, " ExitCode=", word, sizeof word))
		out->wait_status = wait_status(word);
	return true;
}

static void ask_sacct(const char *id, struct slurm_job *out)
{
	cleanup_buf struct greta_buf text = {0};
	const char *const argv[] = {"sacct", "--noheader", "--allocations", "--parsable2", "--jobs", id,
				    "--format", "State,ExitCode", NULL};
	if (call(argv, -1, &text, NULL) != 0)
		return;
	const char *line = first_line(&text), *bar = strchr(line, '|');
	out->state = slurm_state_parse(line);
	out->wait_status = bar ? wait_status(bar + 1) : -1;
}

void slurm_find(int64_t id, struct slurm_job *out)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRId64, id);
	*out = (struct slurm_job){.id = id, .state = SLURM_UNKNOWN, .wait_status = -1};
	if (!ask_scontrol(text, out))
		ask_sacct(text, out);
}

void slurm_cluster(char name[64], char version[32])
{
	cleanup_buf struct greta_buf text = {0}, config = {0};
	const char *const ask_version[] = {"squeue", "--version", NULL};
	const char *const ask_config[] = {"scontrol", "show", "config", NULL};
	name[0] = version[0] = '\0';
	if (call(ask_version, -1, &text, NULL) == 0 && greta_str_starts(greta_buf_str(&text), "slurm "))
		greta_str_copy(version, 32, first_line(&text) + strlen("slurm "));
	if (call(ask_config, -1, &config, NULL) == 0)
		file_field(greta_buf_str(&config), "ClusterName", name, 64);
}

/* sbatch */

/* Which words of sbatch mean what, and what helps. The first that is found tells. */
struct refusal {
	const char *words;
	enum greta_code code;
	const char *before, *what, *after; /* the line, in three parts; what NULL: none given */
};

static const struct refusal *find_refusal(const struct refusal *list, size_t n, const char *said)
{
	for (size_t i = 0; i < n; i++)
		if (strstr(said, list[i].words))
			return &list[i];
	return NULL;
}

void slurm_refusal(const struct greta_slurm *s, const char *said, struct greta_err *e)
{
	const struct refusal list[] = {
		{"nvalid partition", GRETA_EINVAL, "Slurm has no partition \"", s->partition,
		 "\": `sinfo --summarize` lists them, `node add --partition` takes one"},
		{"generic resource", GRETA_EINVAL, "Slurm knows no gres \"", s->gres,
		 "\": `sinfo -o '%P %G'` lists them, `node add --gres` takes them"},
		{"node configuration is not available", GRETA_EINVAL, "no node there has gres \"", s->gres,
		 "\" and the CPUs asked for: `sinfo -o '%P %G %c'` shows what they have"},
		{"nvalid account", GRETA_EINVAL, "you may not use account \"", s->account,
		 "\": `sacctmgr show associations user=$USER` lists yours, `node add --account` takes one"},
		{"nvalid qos", GRETA_EINVAL, "you may not use QOS \"", s->qos,
		 "\": `sacctmgr show associations user=$USER` lists yours, `node add --qos` takes one"},
		{"time limit is invalid", GRETA_EINVAL, "the time that attempts need is more than partition \"", s->partition,
		 "\" allows: `sinfo -o '%P %l'` shows its limit, `node add --time` asks for less"},
		{"not permitted to use this partition", GRETA_EAUTH, "you may not use partition \"", s->partition,
		 "\": ask who runs the cluster"},
		{"ermission denied", GRETA_EAUTH, "you may not submit: ", said, ""},
		{"nvalid user id", GRETA_EAUTH, "Slurm does not know you: ", said, ""},
		{"queue full", GRETA_EBUSY, "the queue takes no more from us for now: ", said, ""},
		{"limit", GRETA_EBUSY, "the queue takes no more from us for now: ", said, ""},
		{"temporarily unable", GRETA_EBUSY, "the queue takes no more from us for now: ", said, ""},
		{"nable to contact", GRETA_EBUSY, "slurmctld does not answer: ", said, ""},
		{"timed out", GRETA_EBUSY, "slurmctld does not answer: ", said, ""},
		{"onnection refused", GRETA_EBUSY, "slurmctld does not answer: ", said, ""},
	};
	const struct refusal *r = find_refusal(list, GRETA_COUNT(list), said);
	if (r)
		greta_err_set(e, r->code, "%s%.200s%s", r->before, r->what ? r->what : "(default)", r->after);
	else
		greta_err_set(e, GRETA_EINVAL, "Slurm refuses: %.200s", *said ? said : "and says nothing");
}

static int script_fd(const struct greta_buf *script, struct greta_err *e)
{
	int fd = memfd_create("script", MFD_CLOEXEC);
	if (fd < 0)
		return greta_err_sys(e, "memfd_create");
	if (greta_fs_write_all(fd, script->data, script->len, e) == 0 && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	close(fd);
	return -1;
}

/* 0, with what it said; -1 with the refusal. */
static int sbatch(const struct greta_slurm *s, const char *spool, const char *agent, double limit_s, const char *option,
		  struct greta_buf *out, struct greta_err *e)
{
	cleanup_strs struct greta_strs argv = {0};
	cleanup_buf struct greta_buf script = {0};
	greta_slurm_argv(s, spool, limit_s, &argv);
	if (option)
		greta_strs_add(&argv, option);
	greta_slurm_script(s, agent, spool, limit_s, &script);
	cleanup_fd int in = script_fd(&script, e);
	int code = in < 0 ? -1 : call((const char *const *)argv.items, in, out, e);
	if (code == 0)
		return 0;
	/* At a full queue it tries again for minutes: then it has said so when its time is up. */
	if (code > 0 || strstr(greta_buf_str(out), "sleeping and retrying")) {
		/* The last line has the cause; those before it, sbatch's own complaints, may have more. */
		for (char *at = out->data; at && *at; at++)
			if (*at == '\n')
				*at = at[1] ? ';' : '\0';
		slurm_refusal(s, greta_buf_str(out), e);
	}
	return -1;
}

int64_t slurm_submit(const struct greta_slurm *s, const char *spool, const char *agent, double limit_s,
		     const char *without, struct greta_err *e)
{
	cleanup_buf struct greta_buf out = {0};
	cleanup_free char *exclude = *without ? greta_format("--exclude=%s", without) : NULL;
	int64_t id = -1;
	if (sbatch(s, spool, agent, limit_s, exclude, &out, e) != 0)
		return -1;
	/* "123", "123;cluster", perhaps after a warning */
	for (char *save = NULL, *line = strtok_r(out.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line[strcspn(line, ";")] = '\0';
		if (greta_str_i64(line, &id) == 0)
			return id;
	}
	return greta_err_set(e, GRETA_EPROTO, "sbatch told no job id");
}

int slurm_cancel(int64_t id)
{
	char text[32];
	cleanup_buf struct greta_buf out = {0};
	const char *const argv[] = {"scancel", text, NULL};
	snprintf(text, sizeof text, "%" PRId64, id);
	return call(argv, -1, &out, NULL) == 0 ? 0 : -1;
}

int slurm_try(const struct greta_slurm *s, const char *spool, struct greta_err *e)
{
	cleanup_buf struct greta_buf out = {0};
	double limit_s = 0;
	if (greta_slurm_limit_s(s, s->limit_s > 0 ? s->limit_s - GRETA_SLURM_MARGIN_S : 60, &limit_s, e) != 0)
		return -1;
	return sbatch(s, spool, "greta-agent", limit_s, "--test-only", &out, e);
}
