#include "tests/unit/unit.h"

#include "base/buf.h"
#include "base/mem.h"
#include "orchestrator/remote/upload_place.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/stat.h>

/* A server made by hand, since OpenSSH's always tells owners and modes. */
enum { MKDIR = 14, RMDIR = 15, LSTAT = 7, STAT = 17, VERSION = 2, STATUS = 101, ATTRS = 105 };
enum { HAS_OWNER = 2, HAS_MODE = 4 };

struct server {
	struct sftp *sftp;
	uint32_t tells; /* HAS_* */
	int answers;
	struct greta_err why;
};

static void put(struct greta_buf *b, uint32_t v)
{
	v = htonl(v);
	greta_buf_add(b, &v, sizeof v);
}

static uint32_t get(const char *bytes)
{
	uint32_t v;

	memcpy(&v, bytes, sizeof v);
	return ntohl(v);
}

static void say(struct server *s, char type, const struct greta_buf *body)
{
	struct greta_buf b = {0};
	bool gone = false;

	put(&b, (uint32_t)body->len + 1);
	greta_buf_add(&b, &type, 1);
	greta_buf_add(&b, body->data, body->len);
	assert_int_equal(sftp_feed(s->sftp, b.data, b.len, &gone, NULL), 0);
	greta_buf_release(&b);
}

static void answer(struct server *s, char type, uint32_t id)
{
	struct greta_buf body = {0};

	put(&body, id);
	if (type == LSTAT || type == STAT) {
		put(&body, s->tells);
		if (s->tells & HAS_OWNER) {
			put(&body, 1000);
			put(&body, 1000);
		}
		if (s->tells & HAS_MODE)
			put(&body, S_IFDIR | 0700);
		say(s, ATTRS, &body);
	} else {
		for (int i = 0; i < 3; i++)
			put(&body, 0); /* fine; no text, no language */
		say(s, STATUS, &body);
	}
	greta_buf_release(&body);
}

static void answer_all(struct server *s)
{
	struct greta_buf asked = {0};
	struct greta_buf *out = sftp_out(s->sftp);

	greta_buf_add(&asked, out->data, out->len);
	greta_buf_clear(out);
	for (size_t at = 0; at < asked.len; at += 4 + get(asked.data + at))
		answer(s, asked.data[at + 4], get(asked.data + at + 5));
	greta_buf_release(&asked);
}

static void on_ready(void *arg, const struct sftp_reply *r)
{
	(void)arg;
	assert_int_equal(r->status, SFTP_OK);
}

static void on_place(void *arg, const struct greta_err *why)
{
	struct server *s = arg;

	s->answers++;
	if (why)
		s->why = *why;
}

static struct server asked_of(uint32_t tells)
{
	struct server s = {.sftp = sftp_create(), .tells = tells};
	struct greta_buf version = {0};
	struct upload_place *p;

	sftp_init(s.sftp, on_ready, NULL);
	greta_buf_clear(sftp_out(s.sftp));
	put(&version, 3);
	say(&s, VERSION, &version);
	greta_buf_release(&version);
	p = upload_place_make(s.sftp, "store", "folder", on_place, &s);
	answer_all(&s);
	upload_place_release(p);
	sftp_destroy(s.sftp);
	return s;
}

static void test_upload_place__of_ours(void **state)
{
	struct server s = asked_of(HAS_OWNER | HAS_MODE);

	(void)state;
	assert_int_equal(s.answers, 1);
	assert_int_equal(s.why.code, GRETA_OK);
}

/* Whose it is can't be seen: not ours, then. */
static void test_upload_place__unknown_is_refused(void **state)
{
	static const uint32_t tells[] = {0, HAS_OWNER, HAS_MODE};

	(void)state;
	for (size_t i = 0; i < sizeof tells / sizeof *tells; i++) {
		struct server s = asked_of(tells[i]);

		assert_int_equal(s.answers, 1);
		assert_int_equal(s.why.code, GRETA_EAUTH);
		assert_non_null(strstr(s.why.text, "does not tell whose store is"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upload_place__of_ours),
		cmocka_unit_test(test_upload_place__unknown_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
