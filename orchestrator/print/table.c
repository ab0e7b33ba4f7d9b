#include "orchestrator/print/table.h"
#include "base/mem.h"
#include "base/str.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum cell_kind { CELL_NONE, CELL_STR, CELL_NUM, CELL_INT };

struct cell {
	enum cell_kind kind;
	enum term_style style;
	double num;
	int64_t integer;
	char *str;
	char *note;
};

struct table {
	const struct table_column *columns;
	size_t n_columns;
	struct cell *cells; /* row after row; the last row may be short */
	size_t n, cap;
	size_t n_rows;
};

struct table *table_create(const struct table_column *columns, size_t n_columns)
{
	struct table *t = greta_alloc(sizeof *t);
	t->columns = columns;
	t->n_columns = n_columns;
	return t;
}

void table_destroy(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++) {
		free(t->cells[i].str);
		free(t->cells[i].note);
	}
	free(t->cells);
	free(t);
}

size_t table_rows(const struct table *t)
{
	return t->n_rows;
}

static struct cell *add_cell(struct table *t, enum cell_kind kind)
{
	struct cell *c = GRETA_PUSH(t->cells, t->n, t->cap);
	*c = (struct cell){.kind = kind};
	return c;
}

static void fill_row(struct table *t)
{
	while (t->n < t->n_rows * t->n_columns)
		add_cell(t, CELL_NONE);
}

void table_row(struct table *t)
{
	fill_row(t);
	t->n_rows++;
}

void table_str(struct table *t, const char *text)
{
	struct cell *c = add_cell(t, text ? CELL_STR : CELL_NONE);
	c->str = greta_strdup(text);
}

void table_num(struct table *t, double value)
{
	add_cell(t, isnan(value) ? CELL_NONE : CELL_NUM)->num = value;
}

void table_int(struct table *t, int64_t value)
{
	add_cell(t, CELL_INT)->integer = value;
}

void table_none(struct table *t)
{
	add_cell(t, CELL_NONE);
}

void table_style(struct table *t, enum term_style style)
{
	t->cells[t->n - 1].style = style;
}

void table_note(struct table *t, const char *text)
{
	struct cell *c = &t->cells[t->n - 1];
	free(c->note);
	c->note = greta_strdup(text);
}

static const struct cell *cell_at(const struct table *t, size_t row, size_t column)
{
	static const struct cell none;
	size_t i = row * t->n_columns + column;
	return i < t->n ? &t->cells[i] : &none;
}

static double cell_number(const struct cell *c)
{
	return c->kind == CELL_INT ? (double)c->integer : c->num;
}

static void format_number(const struct table_column *column, const struct cell *c, char *out, size_t cap)
{
	double v = cell_number(c);
	switch (column->format) {
	case TABLE_BYTES:
		greta_str_bytes(out, cap, v);
		break;
	case TABLE_SECONDS:
		greta_str_seconds(out, cap, v);
		break;
	case TABLE_RATIO:
		snprintf(out, cap, "%.*fx", column->digits, v);
		break;
	case TABLE_FIXED:
		snprintf(out, cap, "%.*f", column->digits, v);
		break;
	case TABLE_SIGNIF:
		/* %g would turn 469749 at 4 digits into 4.697e+05 */
		if (fabs(v) >= pow(10, column->digits) || (v != 0 && fabs(v) < 1e-4))
			snprintf(out, cap, fabs(v) < 1 ? "%.3g" : "%.0f", v);
		else
			snprintf(out, cap, "%#.*g", column->digits, v);
		break;
	default:
		snprintf(out, cap, c->kind == CELL_INT ? "%.0f" : "%.6g", v);
	}
}

/* What a person reads in a cell, appended. */
static void cell_text(const struct table *t, size_t row, size_t column, struct greta_buf *out)
{
	const struct cell *c = cell_at(t, row, column);
	char number[64];
	if (c->note) {
		greta_buf_adds(out, c->note);
	} else if (c->kind == CELL_STR) {
		greta_buf_adds(out, c->str);
	} else if (c->kind == CELL_NONE) {
		greta_buf_adds(out, "-");
	} else {
		format_number(&t->columns[column], c, number, sizeof number);
		size_t n = strlen(number);
		if (n && number[n - 1] == '.') /* "%#.4g" of 1234 is "1234." */
			number[n - 1] = 0;
		greta_buf_adds(out, number);
	}
}

/* Numbers stand to the right; a column of whatever does if its first row holds a number. */
static bool is_right(const struct table *t, size_t column)
{
	enum table_format format = t->columns[column].format;
	if (format == TABLE_GENERAL) {
		enum cell_kind kind = cell_at(t, 0, column)->kind;
		return kind == CELL_NUM || kind == CELL_INT;
	}
	return format != TABLE_TEXT;
}

static void pad(struct greta_buf *out, int n)
{
	for (; n > 0; n--)
		greta_buf_addc(out, ' ');
}


static int *measure(const struct table *t, int term_width)
{
	int *width = greta_alloc(t->n_columns * sizeof *width);
	cleanup_buf struct greta_buf text = {0};
	int total = 0;
	for (size_t c = 0; c < t->n_columns; c++) {
		width[c] = term_columns(t->columns[c].title);
		for (size_t r = 0; r < t->n_rows; r++) {
			greta_buf_clear(&text);
			cell_text(t, r, c, &text);
			int w = term_columns(greta_buf_str(&text));
			if (w > width[c])
				width[c] = w;
		}
		total += width[c] + (c ? 2 : 0);
	}
	/* Too wide: the last text column gives, down to its title; a table that still does not fit wraps by itself. */
	size_t last = t->n_columns - 1;
	if (total > term_width && t->columns[last].format == TABLE_TEXT) {
		int least = term_columns(t->columns[last].title);
		int want = width[last] - (total - term_width);
		width[last] = want > least ? want : least > 12 ? least : 12;
	}
	return width;
}

static void print_cell(const struct term *term, struct greta_buf *out, enum term_style style, const char *text, int width,
		       bool right, bool last)
{
	int columns = term_columns(text);
	cleanup_buf struct greta_buf cut = {0};
	if (columns > width) {
		greta_buf_add(&cut, text, term_fit(text, width - 1));
		greta_buf_adds(&cut, "\xE2\x80\xA6");
		text = greta_buf_str(&cut);
		columns = width;
	}
	if (right)
		pad(out, width - columns);
	term_add(term, out, style, text);
	if (!right && !last)
		pad(out, width - columns);
}

void table_print(const struct table *t, const struct term *term, struct greta_buf *out)
{
	int *width = measure(t, term->tty ? term->width : 1000000);
	cleanup_buf struct greta_buf text = {0};
	for (size_t c = 0; c < t->n_columns; c++) {
		greta_buf_adds(out, c ? "  " : "");
		print_cell(term, out, TERM_BOLD, t->columns[c].title, width[c], is_right(t, c), c + 1 == t->n_columns);
	}
	greta_buf_addc(out, '\n');
	for (size_t r = 0; r < t->n_rows; r++) {
		for (size_t c = 0; c < t->n_columns; c++) {
			greta_buf_clear(&text);
			cell_text(t, r, c, &text);
			greta_buf_adds(out, c ? "  " : "");
			print_cell(term, out, cell_at(t, r, c)->style, greta_buf_str(&text), width[c],
				   is_right(t, c), c + 1 == t->n_columns);
		}
		greta_buf_addc(out, '\n');
	}
	free(width);
}

void table_print_record(const struct table *t, struct greta_buf *out)
{
	int width = 0;
	for (size_t c = 0; c < t->n_columns; c++)
		if (term_columns(t->columns[c].title) > width)
			width = term_columns(t->columns[c].title);
	for (size_t c = 0; c < t->n_columns; c++) {
		if (cell_at(t, 0, c)->kind == CELL_NONE)
			continue;
		greta_buf_addf(out, "%-*s  ", width, t->columns[c].title);
		cell_text(t, 0, c, out);
		greta_buf_addc(out, '\n');
	}
}

static void add_markdown(struct greta_buf *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			greta_buf_addc(out, '\\');
		greta_buf_addc(out, *text == '\n' ? ' ' : *text);
	}
}

void table_print_markdown(const struct table *t, struct greta_buf *out)
{
	cleanup_buf struct greta_buf text = {0};
	for (size_t c = 0; c < t->n_columns; c++) {
		greta_buf_adds(out, "| ");
		add_markdown(out, t->columns[c].title);
		greta_buf_addc(out, ' ');
	}
	greta_buf_adds(out, "|\n");
	for (size_t c = 0; c < t->n_columns; c++)
		greta_buf_adds(out, is_right(t, c) ? "|---:" : "|---");
	greta_buf_adds(out, "|\n");
	for (size_t r = 0; r < t->n_rows; r++) {
		for (size_t c = 0; c < t->n_columns; c++) {
			greta_buf_clear(&text);
			cell_text(t, r, c, &text);
			greta_buf_adds(out, "| ");
			add_markdown(out, greta_buf_str(&text));
			greta_buf_addc(out, ' ');
		}
		greta_buf_adds(out, "|\n");
	}
}

void table_add_csv(struct greta_buf *out, const char *text)
{
	if (!text[strcspn(text, ",\"\r\n")]) {
		greta_buf_adds(out, text);
		return;
	}
	greta_buf_addc(out, '"');
	for (; *text; text++) {
		if (*text == '"')
			greta_buf_addc(out, '"');
		greta_buf_addc(out, *text);
	}
	greta_buf_addc(out, '"');
}

static void csv_cell(const struct cell *c, struct greta_buf *out)
{
	struct greta_jsonw w = greta_jsonw(out);
	if (c->kind == CELL_STR)
		table_add_csv(out, c->str);
	else if (c->kind == CELL_INT)
		greta_jsonw_i64(&w, NULL, c->integer);
	else if (c->kind == CELL_NUM)
		greta_jsonw_f64(&w, NULL, c->num);
}

void table_print_csv(const struct table *t, struct greta_buf *out)
{
	for (size_t c = 0; c < t->n_columns; c++) {
		greta_buf_adds(out, c ? "," : "");
		table_add_csv(out, t->columns[c].key);
	}
	greta_buf_adds(out, "\r\n");
	for (size_t r = 0; r < t->n_rows; r++) {
		for (size_t c = 0; c < t->n_columns; c++) {
			greta_buf_adds(out, c ? "," : "");
			csv_cell(cell_at(t, r, c), out);
		}
		greta_buf_adds(out, "\r\n");
	}
}

static void json_cell(struct greta_jsonw *w, const char *key, const struct cell *c)
{
	switch (c->kind) {
	case CELL_STR:
		greta_jsonw_str(w, key, c->str);
		break;
	case CELL_INT:
		greta_jsonw_i64(w, key, c->integer);
		break;
	case CELL_NUM:
		greta_jsonw_f64(w, key, c->num);
		break;
	default:
		greta_jsonw_null(w, key);
	}
}

void table_write_json(const struct table *t, struct greta_jsonw *w, const char *key)
{
	greta_jsonw_array(w, key);
	for (size_t r = 0; r < t->n_rows; r++) {
		greta_jsonw_object(w, NULL);
		for (size_t c = 0; c < t->n_columns; c++)
			json_cell(w, t->columns[c].key, cell_at(t, r, c));
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
}

void table_write_json_columns(const struct table *t, struct greta_jsonw *w, const char *key)
{
	static const char *const formats[] = {
		[TABLE_TEXT] = "text",   [TABLE_GENERAL] = "general", [TABLE_INT] = "int",     [TABLE_FIXED] = "fixed",
		[TABLE_SIGNIF] = "signif", [TABLE_RATIO] = "ratio",   [TABLE_BYTES] = "bytes", [TABLE_SECONDS] = "seconds",
	};
	greta_jsonw_array(w, key);
	for (size_t c = 0; c < t->n_columns; c++) {
		greta_jsonw_object(w, NULL);
		greta_jsonw_str(w, "key", t->columns[c].key);
		greta_jsonw_str(w, "title", t->columns[c].title);
		greta_jsonw_bool(w, "number", is_right(t, c));
		greta_jsonw_str(w, "format", formats[t->columns[c].format]);
		greta_jsonw_i64(w, "digits", t->columns[c].digits);
		greta_jsonw_end_object(w);
	}
	greta_jsonw_end_array(w);
}
