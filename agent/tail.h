/* tail: reads an attempt's events from its spool, frame by frame, also while its supervisor still appends.
 *
 * The outcome is not written as an event: its frame is made here from outcome.json, numbered after the last event, so
 * that it needs no room on a full disk and can't be told before it is durable. */
#ifndef AGENT_TAIL_H
#define AGENT_TAIL_H

#include "base/buf.h"
#include "schemas/msg.h"

struct tail {
	char *dir;
	int fd;
	int64_t after;          /* frames up to this number are passed over */
	struct greta_buf buf;
	size_t used;            /* of buf, before the current frame's end */
	struct greta_buf outcome; /* the made frame */
	bool ended;             /* the outcome's frame has been given */
	/* the current frame */
	const char *frame;
	size_t n_frame;
	int64_t seq;
	int64_t offset;         /* in the file, behind it: what is not whole yet is read again from here */
	enum greta_event_kind kind;
};

int tail_open(struct tail *t, const char *dir, int64_t after, struct greta_err *e);

/* 1: the next frame stands in the members above, valid until the next call; 0: nothing yet, or nothing more when
 * `ended`; -1: the file can't be read or is damaged there. */
int tail_next(struct tail *t, struct greta_err *e);

/* The same without the outcome, and ending quietly before a damaged or torn frame. */
int tail_next_written(struct tail *t);

/* How an event's frame reads back, for those who want its contents. Released with greta_msg_release. */
int tail_decode(const struct tail *t, struct greta_msg *out, struct greta_err *e);

void tail_close(struct tail *t);

#endif
