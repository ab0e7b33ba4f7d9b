#include "schemas/template.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
#define X(id, name) name,
	PLACEHOLDERS(X)
#undef X
};
const struct words words_placeholder = {names, PLACEHOLDER_COUNT};

/* Length of "{name}" at s, or 0. */
static size_t hole_len(const char *s)
{
	size_t n = strspn(s + 1, "abcdefghijklmnopqrstuvwxyz_");

	return s[0] == '{' && n && s[n + 1] == '}' ? n + 2 : 0;
}

static bool escaped_hole(const char *s)
{
	return s[0] == '{' && s[1] == '{' && hole_len(s + 1);
}

bool template_next(const char *text, struct template_hole *out)
{
	for (const char *s = text; (s = strchr(s, '{')); s++) {
		if (escaped_hole(s)) {
			s += hole_len(s + 1);
		} else if (hole_len(s)) {
			char *name = greta_strndup(s + 1, hole_len(s) - 2);

			*out = (struct template_hole){s, hole_len(s), words_find(&words_placeholder, name)};
			free(name);
			return true;
		}
	}
	return false;
}

bool template_uses(const char *text, enum placeholder which)
{
	struct template_hole hole;

	for (; template_next(text, &hole); text = hole.begin + hole.len)
		if (hole.which == (int)which)
			return true;
	return false;
}

/* Text between holes: "{{name}" loses its first brace. */
static void add_text(struct greta_buf *out, const char *s, size_t n)
{
	const char *end = s + n, *brace;

	for (const char *from = s; (brace = memchr(from, '{', (size_t)(end - from))); from = brace + 1) {
		if (!escaped_hole(brace))
			continue;
		greta_buf_add(out, s, (size_t)(brace - s));
		s = brace + 1;
	}
	greta_buf_add(out, s, (size_t)(end - s));
}

char *template_fill(const char *text, const char *const values[PLACEHOLDER_COUNT])
{
	struct greta_buf out = {0};
	struct template_hole hole;

	for (; template_next(text, &hole); text = hole.begin + hole.len) {
		const char *value = hole.which < 0 ? NULL : values[hole.which];

		add_text(&out, text, (size_t)(hole.begin - text));
		if (value)
			greta_buf_adds(&out, value);
		else
			greta_buf_add(&out, hole.begin, hole.len);
	}
	add_text(&out, text, strlen(text));
	return greta_buf_steal(&out);
}
