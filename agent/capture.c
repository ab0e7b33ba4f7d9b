#include "agent/capture.h"
#include "agent/watch.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/jsonw.h"
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CHUNK (64 * 1024)
#define CHUNKS_PER_TURN 16 /* then others get theirs */
#define FLUSH_MS 200       /* output waits this long for more */

static const char *const stream_names[LOGS_STREAMS] = {[LOGS_OUT] = "out", [LOGS_ERR] = "err"};

/* logs -> journal */

static void on_chunk(void *arg, enum logs_stream stream, int64_t offset, const char *bytes, size_t n)
{
	struct supervise *s = arg;
	cleanup_buf struct greta_buf detail = {0};
	struct greta_jsonw w = greta_jsonw(&detail);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "stream", stream_names[stream]);
	greta_jsonw_i64(&w, "offset", offset);
	greta_jsonw_end_object(&w);
	if (!journal_add_bytes(&s->journal, GRETA_EVENT_LOG, detail.data, bytes, n))
		s->end.log_dropped += (int64_t)n;
}

static void on_gap(void *arg, enum logs_stream stream, int64_t offset, int64_t dropped)
{
	struct supervise *s = arg;
	cleanup_buf struct greta_buf detail = {0};
	struct greta_jsonw w = greta_jsonw(&detail);
	greta_jsonw_object(&w, NULL);
	greta_jsonw_str(&w, "stream", stream_names[stream]);
	greta_jsonw_i64(&w, "offset", offset);
	greta_jsonw_i64(&w, "dropped", dropped);
	greta_jsonw_end_object(&w);
	journal_add(&s->journal, GRETA_EVENT_LOG_GAP, detail.data);
}

static void on_flush(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	(void)w, (void)events;
	logs_flush(&s->logs);
}

/* progress -> journal */

static void tell_progress(struct supervise *s)
{
	int64_t now = greta_clock_mono_ns();
	cleanup_buf struct greta_buf detail = {0};
	if (progress_due(&s->progress, now)) {
		greta_progress_print(&s->progress.last, &detail);
		if (!journal_add(&s->journal, GRETA_EVENT_PROGRESS, detail.data))
			s->end.progress_dropped++;
	}
	int64_t wait = progress_wait_ns(&s->progress, now);
	greta_watch_rearm(s->progress_flush, wait < 0 ? -1 : wait / GRETA_NS_PER_MS + 1);
}

static void on_progress_flush(struct greta_watch *w, uint32_t events, void *arg)
{
	(void)w, (void)events;
	tell_progress(arg);
}

/* pipes */

/* It spoke a moment ago, so it is no process that hangs with its memory locked. */
static void look_at_build(struct supervise *s)
{
	if (!s->exited)
		build_look(&s->build, "/proc", s->engine.pid, s->progress.last.phase);
}

typedef void take_fn(struct supervise *s, const char *bytes, size_t n);

static void take_out(struct supervise *s, const char *bytes, size_t n)
{
	look_at_build(s);
	greta_result_reader_feed(s->reader, bytes, n);
	logs_take(&s->logs, LOGS_OUT, bytes, n);
}

static void take_err(struct supervise *s, const char *bytes, size_t n)
{
	logs_take(&s->logs, LOGS_ERR, bytes, n);
}

static void take_progress(struct supervise *s, const char *bytes, size_t n)
{
	if (!progress_feed(&s->progress, bytes, n))
		return;
	look_at_build(s);
	tell_progress(s);
	watch_progress(s);
}

/* False at the end of the stream. A pipe that gave less than was asked for is empty, or at its end, which comes next time. */
static bool read_pipe(struct supervise *s, int fd, take_fn *take, int max_chunks)
{
	static char chunk[CHUNK];
	for (int i = 0; fd >= 0 && i < max_chunks; i++) {
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		take(s, chunk, (size_t)n);
		if (n < (ssize_t)sizeof chunk)
			return true;
	}
	return fd >= 0;
}

static void read_one(struct supervise *s, int *fd, struct greta_watch **watch, take_fn *take, int max_chunks)
{
	if (*fd < 0 || read_pipe(s, *fd, take, max_chunks))
		return;
	greta_watch_remove(*watch);
	*watch = NULL;
	close(*fd);
	*fd = -1;
}

static void arm_flush(struct supervise *s, bool was_waiting)
{
	if (!was_waiting && logs_waiting(&s->logs))
		greta_watch_rearm(s->flush, FLUSH_MS);
}

static void on_out(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	bool was_waiting = logs_waiting(&s->logs);
	(void)w, (void)events;
	read_one(s, &s->engine.out, &s->out, take_out, CHUNKS_PER_TURN);
	arm_flush(s, was_waiting);
}

static void on_err(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	bool was_waiting = logs_waiting(&s->logs);
	(void)w, (void)events;
	read_one(s, &s->engine.err, &s->err, take_err, CHUNKS_PER_TURN);
	arm_flush(s, was_waiting);
}

static void on_progress(struct greta_watch *w, uint32_t events, void *arg)
{
	struct supervise *s = arg;
	(void)w, (void)events;
	read_one(s, &s->engine.progress, &s->progress_watch, take_progress, CHUNKS_PER_TURN);
}

void capture_begin(struct supervise *s)
{
	const struct logs_sink sink = {.chunk = on_chunk, .gap = on_gap, .arg = s};
	logs_init(&s->logs, s->spec.log_limit_bytes > 0 ? s->spec.log_limit_bytes : LOGS_DEFAULT_LIMIT, sink);
	progress_init(&s->progress);
	s->reader = greta_result_reader_create(s->spec.adapter);
	s->out = greta_loop_fd(s->loop, s->engine.out, EPOLLIN, on_out, s);
	s->err = greta_loop_fd(s->loop, s->engine.err, EPOLLIN, on_err, s);
	s->progress_watch = greta_loop_fd(s->loop, s->engine.progress, EPOLLIN, on_progress, s);
	s->flush = greta_loop_timer(s->loop, -1, 0, on_flush, s);
	s->progress_flush = greta_loop_timer(s->loop, -1, 0, on_progress_flush, s);
}

void capture_drain(struct supervise *s, bool all)
{
	int chunks = all ? INT32_MAX : CHUNKS_PER_TURN * 2; /* more than a pipe holds */
	read_one(s, &s->engine.out, &s->out, take_out, chunks);
	read_one(s, &s->engine.err, &s->err, take_err, chunks);
	read_one(s, &s->engine.progress, &s->progress_watch, take_progress, chunks);
}

/* Nobody may wait for a last word that was held back for thinning out. */
static void tell_last_progress(struct supervise *s)
{
	cleanup_buf struct greta_buf detail = {0};
	if (!s->progress.waiting)
		return;
	greta_progress_print(&s->progress.last, &detail);
	if (!journal_add(&s->journal, GRETA_EVENT_PROGRESS, detail.data))
		s->end.progress_dropped++;
	s->progress.waiting = false;
}

void capture_end(struct supervise *s)
{
	bool contradicts = false;
	struct greta_watch **watches[] = {&s->out, &s->err, &s->progress_watch, &s->flush, &s->progress_flush};
	for (size_t i = 0; i < sizeof watches / sizeof *watches; i++) {
		greta_watch_remove(*watches[i]);
		*watches[i] = NULL;
	}
	engine_close(&s->engine);
	tell_last_progress(s);
	logs_end(&s->logs);
	greta_result_reader_finish(s->reader, &s->end.samples, &s->complaints, &contradicts);
	s->contradicts = contradicts;
	s->end.progress = s->progress.last;
	s->end.progress_dropped += s->progress.n_garbled;
	s->end.log_bytes = logs_total(&s->logs);
	s->end.log_dropped += logs_dropped(&s->logs);
}
