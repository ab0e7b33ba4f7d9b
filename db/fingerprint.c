#include "db/fingerprint.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/str.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define FRAMES_MAX 4  /* of a stack */
#define STACKS_MAX 4  /* of a deadlock, the stuck thread's own first */
#define LINES_MAX 2   /* of a log */
#define LINE_READ 200 /* bytes of a line that are looked at */
#define HEX_WORD 8    /* a word of that many hex digits is an address or an id */
#define PCI_SHAPE "xxxx:xx:xx.x"

/* ---- what differs from run to run */

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static bool has_shape(const char *s, size_t n, const char *shape)
{
	size_t len = strlen(shape);

	if (n < len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (shape[i] == 'x' ? !isxdigit((unsigned char)s[i]) : s[i] != shape[i])
			return false;
	return true;
}

static bool is_hex(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return true;
}

/* A number, with what unit it may have: "0x7f12", "4096", "12ms", "8af705259683161c". */
static void put_word(const char *s, size_t n, struct greta_buf *out)
{
	size_t digits = 0;

	while (digits < n && isdigit((unsigned char)s[digits]))
		digits++;
	if ((n > 2 && s[0] == '0' && (s[1] | 32) == 'x') || (n >= HEX_WORD && is_hex(s, n)) || digits == n) {
		greta_buf_addc(out, '*');
		return;
	}
	if (digits)
		greta_buf_addc(out, '*');
	greta_buf_add(out, s + digits, n - digits);
}

/* "/var/tmp/a/b.gguf" is b.gguf: folders are the node's. Bytes of it without the last name. */
static size_t folder_len(const char *s, size_t n)
{
	size_t last = 0;

	for (size_t i = 0; i < n && !isspace((unsigned char)s[i]) && !strchr("'\"(),;", s[i]); i++)
		if (s[i] == '/')
			last = i + 1;
	return last;
}

void fingerprint_normalise(const char *line, size_t n, struct greta_buf *out)
{
	for (size_t i = 0; i < n;) {
		bool is_path = line[i] == '/' && (i == 0 || !is_word(line[i - 1]));
		size_t word = 0, folder = is_path ? folder_len(line + i, n - i) : 0;

		while (i + word < n && is_word(line[i + word]))
			word++;
		if (has_shape(line + i, n - i, PCI_SHAPE)) {
			greta_buf_addc(out, '*');
			i += strlen(PCI_SHAPE);
		} else if (word) {
			put_word(line + i, word, out);
			i += word;
		} else if (folder) {
			i += folder;
		} else {
			greta_buf_addc(out, isprint((unsigned char)line[i]) ? line[i] : ' ');
			i++;
		}
	}
}

/* ---- stacks, as gdb prints them */

/* What a thread waits in, under names that change with libc; what it waits for stands below. And clocks that a busy
 * wait looks at. */
static bool is_wait(const char *name, size_t n)
{
	static const char *const starts[] = {"futex", "pthread_", "lll_",   "syscall", "internal_syscall",
					     "vdso",  "clock_",	  "epoll_", "nptl_",   "cancellation"};
	static const char *const whole[] = {"nanosleep", "poll",  "ppoll",	 "ioctl",	 "select",
					    "pselect",	 "pause", "wait4",	 "waitid",	 "waitpid",
					    "read",	 "write", "sched_yield", "gettimeofday", "vfork"};

	while (n && (*name == '_' || (n > 3 && !strncmp(name, "GI_", 3)) || (n > 5 && !strncmp(name, "libc_", 5)))) {
		size_t skip = *name == '_' ? 1 : *name == 'G' ? 3 : 5;

		name += skip;
		n -= skip;
	}
	for (size_t i = 0; i < GRETA_COUNT(starts); i++)
		if (n >= strlen(starts[i]) && !strncmp(name, starts[i], strlen(starts[i])))
			return true;
	for (size_t i = 0; i < GRETA_COUNT(whole); i++)
		if (n == strlen(whole[i]) && !strncmp(name, whole[i], n))
			return true;
	return false;
}

/* Nobody's own code, and nothing of interest is below. */
static bool is_bottom(const char *name, size_t n)
{
	static const char *const bottoms[] = {"start_thread",
					      "clone",
					      "clone3",
					      "__clone3",
					      "_start",
					      "__libc_start_main",
					      "__libc_start_call_main",
					      "__libc_start_main_impl"};

	for (size_t i = 0; i < GRETA_COUNT(bottoms); i++)
		if (n == strlen(bottoms[i]) && !strncmp(name, bottoms[i], n))
			return true;
	return false;
}

/* "#1  0x00007f12 in lock_crosswise (arg=0x1) at x.c:7": the function, or of an unknown one its library. */
static size_t frame_name(const char *line, size_t n, const char **name)
{
	const char *end = line + n, *at = line + 1, *in = memmem(line, n, " in ", 4),
		   *from = memmem(line, n, " from ", 6);
	const char *open;

	while (at < end && isdigit((unsigned char)*at))
		at++;
	while (at < end && *at == ' ')
		at++;
	if (in && at + 1 < end && at[0] == '0' && at[1] == 'x')
		at = in + 4;
	if (from && end - at > 2 && !strncmp(at, "??", 2)) {
		at = from + 6;
		at += folder_len(at, (size_t)(end - at));
		open = memmem(at, (size_t)(end - at), ".so", 3);
		open = open ? open + 3 : end;
	} else {
		open = memmem(at, (size_t)(end - at), " (", 2);
	}
	*name = at;
	return (size_t)((open ? open : end) - at);
}

/* The frames below what it waits in, "inner < outer"; text begins behind the thread's heading. */
static void read_stack(const char *text, struct greta_buf *out)
{
	size_t n = 0, len;
	bool main_only = false;

	for (const char *line = text; *line && n < FRAMES_MAX; line += len + (line[len] == '\n')) {
		const char *name;
		size_t name_len;

		len = strcspn(line, "\n");
		if (!strncmp(line, "Thread ", 7))
			break;
		if (*line != '#')
			continue;
		name_len = frame_name(line, len, &name);
		if (is_bottom(name, name_len))
			break;
		if (n == 0 && is_wait(name, name_len))
			continue;
		if (name_len == 4 && !strncmp(name, "main", 4)) {
			main_only = n == 0;
			break;
		}
		greta_buf_adds(out, n++ ? " < " : "");
		greta_buf_add(out, name, name_len);
	}
	if (main_only)
		greta_buf_adds(out, "main");
}

enum thread_kind { NO_THREAD, HOST_THREAD, GPU_WAVE };

/* "Thread 2 (Thread 0x7ffff7d8f640 (LWP 12346) "name"):", or by rocgdb "Thread 7 (AMDGPU Wave 1:2:1:1 (0,0,0)/0
 * "name"):", the heading of a stack. */
static enum thread_kind read_heading(const char *line, size_t n, long *number, long *tid)
{
	const char *lwp = memmem(line, n, "LWP ", 4);

	if (sscanf(line, "Thread %ld ", number) != 1)
		return NO_THREAD;
	*tid = lwp ? strtol(lwp + 4, NULL, 10) : 0;
	return lwp ? HOST_THREAD : memmem(line, n, "AMDGPU Wave", 11) ? GPU_WAVE : NO_THREAD;
}

static long stuck_thread(const char *verdict)
{
	const char *at = verdict ? strstr(verdict, ": thread ") : NULL;

	return at ? strtol(at + strlen(": thread "), NULL, 10) : 0;
}

struct stacks {
	struct greta_strs stuck;	 /* of the thread wanted, of the first one where none is */
	struct greta_strs others, waves; /* each once */
};

static void stacks_release(struct stacks *s)
{
	greta_strs_release(&s->stuck);
	greta_strs_release(&s->others);
	greta_strs_release(&s->waves);
}

static void read_stacks(const char *text, long wanted, struct stacks *out)
{
	size_t len;

	for (const char *line = text; *line; line += len + (line[len] == '\n')) {
		long number = 0, tid = 0;
		cleanup_buf struct greta_buf stack = {0};
		enum thread_kind kind;
		struct greta_strs *to;

		len = strcspn(line, "\n");
		kind = read_heading(line, len, &number, &tid);
		if (kind == NO_THREAD)
			continue;
		read_stack(line + len + (line[len] == '\n'), &stack);
		to = kind == GPU_WAVE			      ? &out->waves
		     : (wanted ? tid == wanted : number == 1) ? &out->stuck
							      : &out->others;
		if (stack.len && !greta_strs_has(to, stack.data))
			greta_strs_add(to, stack.data);
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Without a debugger: "== /proc/10/task/10/wchan ==\nfutex_do_wait". */
static void read_wchan(const char *threads, long wanted, struct greta_buf *out)
{
	char name[32];
	const char *at;

	snprintf(name, sizeof name, wanted ? "/task/%ld/wchan ==\n" : "/wchan ==\n", wanted);
	at = strstr(threads, name);
	if (!at)
		return;
	at += strlen(name);
	if (*at != '0' && *at != '(' && *at != '\n')
		greta_buf_addf(out, "%.*s", (int)strcspn(at, "\n"), at);
}

static void put_all(struct greta_strs *stacks, size_t most, struct greta_buf *out)
{
	if (stacks->n)
		qsort(stacks->items, stacks->n, sizeof *stacks->items, by_text);
	for (size_t i = 0; i < stacks->n && i < most; i++)
		greta_buf_addf(out, "%s%s", out->len ? " | " : "", stacks->items[i]);
}

/* What the GPU's waves execute says more than the host that waits for them. A deadlock is made by all who take part in
 * it; what else hangs, one thread does. */
static void put_stacks(const struct fingerprint_facts *f, struct greta_buf *out)
{
	cleanup_with(stacks_release) struct stacks stacks = {0};
	long wanted = stuck_thread(f->verdict);

	if (f->debugger)
		read_stacks(f->debugger, wanted, &stacks);
	if (stacks.waves.n)
		put_all(&stacks.waves, STACKS_MAX, out);
	else
		put_all(&stacks.stuck, 1, out);
	if (!stacks.waves.n && greta_str_eq(f->class_, "host_deadlock"))
		put_all(&stacks.others, STACKS_MAX - 1, out);
	if (!out->len && f->threads)
		read_wchan(f->threads, wanted, out);
}

/* ---- lines of logs */

static bool speaks_of_trouble(const char *line, size_t n)
{
	static const char *const words[] = {"error",   "fault",		"timeout",   "timed out", "reset",
					    "failed",  "hang",		"xid",	     "poison",	  "lost",
					    "blocked", "out of memory", "exception", "terminate", "assert",
					    "abort",   "unrecoverable"};
	char lower[LINE_READ + 1];

	n = n < LINE_READ ? n : LINE_READ;
	for (size_t i = 0; i < n; i++)
		lower[i] = (char)tolower((unsigned char)line[i]);
	lower[n] = '\0';
	for (size_t i = 0; i < GRETA_COUNT(words); i++)
		if (strstr(lower, words[i]))
			return true;
	return false;
}

/* The kernel talks of much else: only of GPUs, of memory and of tasks that are stuck. */
static bool is_of_interest(const char *line, size_t n)
{
	static const char *const who[] = {"amdgpu", "amdkfd", "NVRM", "blocked for more than", "Out of memory"};

	for (size_t i = 0; i < GRETA_COUNT(who); i++)
		if (memmem(line, n, who[i], strlen(who[i])))
			return true;
	return false;
}

static void put_lines(const char *log, bool of_kernel, struct greta_strs *out)
{
	size_t n;

	for (const char *line = log; line && *line && out->n < LINES_MAX; line += n + (line[n] == '\n')) {
		cleanup_buf struct greta_buf text = {0};

		n = strcspn(line, "\n");
		if (!speaks_of_trouble(line, n) || (of_kernel && !is_of_interest(line, n)))
			continue;
		fingerprint_normalise(line, n < LINE_READ ? n : LINE_READ, &text);
		if (text.len && !greta_strs_has(out, text.data))
			greta_strs_add(out, text.data);
	}
}

static void put_where(const struct fingerprint_facts *f, struct greta_buf *out)
{
	if (f->phase && *f->phase)
		greta_buf_addf(out, "%s%s", f->phase, f->at && *f->at ? ", " : "");
	if (f->at)
		fingerprint_normalise(f->at, strlen(f->at), out);
}

/* ---- all together */

void fingerprint_make(const struct fingerprint_facts *f, struct greta_buf *out)
{
	cleanup_buf struct greta_buf text = {0}, where = {0}, stacks = {0};
	cleanup_strs struct greta_strs kernel = {0}, engine = {0};
	char hash[GRETA_SHA256_HEX + 1];

	put_where(f, &where);
	put_stacks(f, &stacks);
	put_lines(f->kernel_log, true, &kernel);
	put_lines(f->log_tail, false, &engine);
	greta_buf_adds(&text, f->class_);
	if (where.len)
		greta_buf_addf(&text, " at %s", where.data);
	if (stacks.len)
		greta_buf_addf(&text, " in %s", stacks.data);
	for (size_t i = 0; i < kernel.n; i++)
		greta_buf_addf(&text, "; kernel: %s", kernel.items[i]);
	for (size_t i = 0; i < engine.n; i++)
		greta_buf_addf(&text, "; engine: %s", engine.items[i]);
	greta_sha256_of(text.data, text.len, hash);
	greta_buf_addf(out, "%.*s %s", FINGERPRINT_HASH, hash, text.data);
}
