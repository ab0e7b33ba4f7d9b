#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "base/mem.h"
#include "orchestrator/commands/top.h"
#include <math.h>
#include <string.h>

static const char *uuid_of(size_t i)
{
	static char uuid[GRETA_UUID_LEN + 1];

	snprintf(uuid, sizeof uuid, "00000000-0000-4000-8000-%012zu", i);
	return uuid;
}

static void add_attempt(struct status *s, size_t number, const char *verdict)
{
	struct status_attempt *a = GRETA_PUSH(s->attempts, s->n_attempts, s->cap_attempts);

	*a = (struct status_attempt){
		.campaign_id = 3, .variant = greta_strdup("v3"), .node = greta_strdup("gpu1"), .slot = greta_strdup("gpu 3"),
		.context = 4096, .repeat = (int64_t)number + 1, .try_no = 1, .running_s = 3.25, .eta_s = 20,
		.verdict = greta_strdup(verdict),
		.progress = {.phase = GRETA_PHASE_PREFILL, .done = 11, .total = 32, .unit = "layer"}};
	greta_str_copy(a->uuid, sizeof a->uuid, uuid_of(number));
}

/* A campaign and one node; attempts from first to last. */
static struct status fleet(size_t first, size_t last)
{
	struct status s = {.controller = greta_strdup("host:42")};
	struct status_campaign *c = GRETA_PUSH(s.campaigns, s.n_campaigns, s.cap_campaigns);
	struct status_node *n = GRETA_PUSH(s.nodes, s.n_nodes, s.cap_nodes);

	*c = (struct status_campaign){.id = 3, .name = greta_strdup("prefill"), .state = greta_strdup("active"), .n_jobs = 24,
				      .n_queued = 17, .n_running = 4, .n_done = 3, .elapsed_s = 60, .eta_s = 300};
	*n = (struct status_node){.name = greta_strdup("gpu1"), .state = greta_strdup("up"), .n_slots = 8, .n_busy = 4,
				  .rtt_s = 0.0012};
	for (size_t i = first; i <= last; i++)
		add_attempt(&s, i, i == 2 ? "slow: layer 11 of 32" : NULL);
	return s;
}

static void update(struct top *t, size_t first, size_t last)
{
	struct status s = fleet(first, last);

	top_update(t, &s);
}

static char *draw(const struct top *t, int width, int height)
{
	struct term term = {.tty = height > 0, .width = width, .height = height};
	struct greta_buf out = {0};

	top_draw(t, &term, &out);
	return greta_buf_steal(&out);
}

static void assert_shows(const struct top *t, const char *what)
{
	cleanup_free char *picture = draw(t, 80, 24);

	if (!strstr(picture, what))
		fail_msg("no \"%s\" in:\n%s", what, picture);
}

static void test_top__shows_nodes_attempts_queue_and_verdicts(void **state)
{
	static const char *const shown[] = {
		"host:42", "nodes 1/1 up", "slots 4/8 busy", "prefill (3)", "3 of 24", "5 min", "gpu1", "1.2 ms",
		"4 running, 17 queued", ">v3 4096 #2", "gpu1 gpu 3", "layer 11/32", "slow: layer 11 of 32", "q quit"};
	struct top t = {0};

	(void)state;
	update(&t, 1, 4);
	for (size_t i = 0; i < GRETA_COUNT(shown); i++)
		assert_shows(&t, shown[i]);
	top_release(&t);
}

/* Of any size, with more attempts than fit, in each mode: as many lines as the terminal has, none too long, and the
 * selected attempt among them. */
static void test_top__fits_any_terminal(void **state)
{
	static const int widths[] = {20, 40, 80, 120, 200}, heights[] = {8, 12, 24, 40, 60};
	static const char *const keys = " l?c";

	(void)state;
	for (size_t w = 0; w < GRETA_COUNT(widths); w++) {
		for (size_t h = 0; h < GRETA_COUNT(heights); h++) {
			for (const char *key = keys; *key; key++) {
				struct top t = {0};
				int lines = 1;

				update(&t, 1, 60);
				for (int i = 0; i < 30; i++)
					top_press(&t, TOP_KEY_DOWN);
				top_press(&t, *key);
				cleanup_free char *picture = draw(&t, widths[w], heights[h]);
				if (*key == ' ')
					assert_non_null(strstr(picture, "\n>v3 4096"));
				for (char *line = picture, *end; (end = strchr(line, '\n')); line = end + 1, lines++) {
					*end = '\0';
					assert_true(term_columns(line) <= widths[w]);
				}
				assert_int_equal(lines, heights[h]);
				top_release(&t);
			}
		}
	}
}

static void test_top__selection_follows_its_attempt(void **state)
{
	struct top t = {0};

	(void)state;
	assert_null(top_selected(&t));
	assert_int_equal(top_press(&t, 'c'), TOP_NOTHING);
	assert_int_equal(t.mode, TOP_FLEET);
	update(&t, 1, 4);
	top_press(&t, 'j');
	top_press(&t, TOP_KEY_DOWN);
	assert_string_equal(top_selected(&t)->uuid, uuid_of(3));
	update(&t, 3, 6); /* now it is the first */
	assert_string_equal(top_selected(&t)->uuid, uuid_of(3));
	update(&t, 4, 6); /* it ended */
	assert_string_equal(top_selected(&t)->uuid, uuid_of(4));
	for (int i = 0; i < 9; i++)
		top_press(&t, TOP_KEY_DOWN);
	assert_string_equal(top_selected(&t)->uuid, uuid_of(6));
	update(&t, 1, 0);
	assert_null(top_selected(&t));
	top_release(&t);
}

/* What was asked about one attempt must not hit the one that took its place. */
static void test_top__cancel_asks_about_one_attempt(void **state)
{
	struct top t = {0};

	(void)state;
	update(&t, 1, 4);
	top_press(&t, 'c');
	assert_shows(&t, "cancel v3 4096 #2 on gpu1");
	assert_int_equal(top_press(&t, 'n'), TOP_NOTHING);
	top_press(&t, 'c');
	assert_int_equal(top_press(&t, 'y'), TOP_CANCEL_JOB);
	top_press(&t, 'c');
	update(&t, 2, 4);
	assert_int_equal(top_press(&t, 'y'), TOP_NOTHING);
	assert_int_equal(t.mode, TOP_FLEET);
	top_release(&t);
}

static void test_top__logs_show_the_end(void **state)
{
	struct top t = {0};

	(void)state;
	update(&t, 1, 4);
	assert_int_equal(top_press(&t, 'l'), TOP_READ_LOGS);
	assert_shows(&t, "nothing yet");
	cleanup_buf struct greta_buf text = {0};
	for (int i = 1; i <= 100; i++)
		greta_buf_addf(&text, "line %d.\n", i);
	t.logs = greta_buf_steal(&text);
	assert_shows(&t, "line 100.");
	assert_shows(&t, "line 79.");
	cleanup_free char *picture = draw(&t, 80, 24);
	assert_null(strstr(picture, "line 78."));
	assert_int_equal(top_press(&t, 'q'), TOP_NOTHING); /* back, not out */
	assert_int_equal(top_press(&t, 'q'), TOP_QUIT);
	top_release(&t);
}

static void test_top__keys(void **state)
{
	static const struct {
		const char *bytes;
		int key;
		size_t used;
	} cases[] = {
		{"q", 'q', 1},         {"\033[A", TOP_KEY_UP, 3},    {"\033OBq", TOP_KEY_DOWN, 3}, {"\033[6~", TOP_KEY_PAGE_DOWN, 4},
		{"\033", 27, 1},       {"\033[1;5Cx", TOP_KEY_NONE, 6}, {"\033[", TOP_KEY_NONE, 2},  {"", TOP_KEY_NONE, 0},
	};

	(void)state;
	for (size_t i = 0; i < GRETA_COUNT(cases); i++) {
		size_t used;

		assert_int_equal(top_key_parse(cases[i].bytes, strlen(cases[i].bytes), &used), cases[i].key);
		assert_int_equal(used, cases[i].used);
	}
}

static void test_top__says_that_the_controller_is_gone(void **state)
{
	struct top t = {0};

	(void)state;
	update(&t, 1, 4);
	t.connected = false;
	assert_shows(&t, "no controller is running");
	assert_shows(&t, "v3 4096 #2"); /* the last that was known */
	top_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_top__shows_nodes_attempts_queue_and_verdicts),
		cmocka_unit_test(test_top__fits_any_terminal),
		cmocka_unit_test(test_top__selection_follows_its_attempt),
		cmocka_unit_test(test_top__cancel_asks_about_one_attempt),
		cmocka_unit_test(test_top__logs_show_the_end),
		cmocka_unit_test(test_top__keys),
		cmocka_unit_test(test_top__says_that_the_controller_is_gone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
