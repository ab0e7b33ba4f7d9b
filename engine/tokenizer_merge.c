/* The pairs wait in a binary heap. A pair whose symbols have changed since it was put there is dropped when it comes
 * out: its lengths no longer fit. Each join adds at most two pairs, so the time is n log n. */
#include "base/mem.h"
#include "engine/tokenizer_impl.h"
#include <stdlib.h>

struct merge_pair {
	double priority;
	int32_t left, right;
	uint32_t n; /* bytes of both when it was put here */
};

static bool before(const struct merge_pair *a, const struct merge_pair *b)
{
	return a->priority < b->priority || (a->priority == b->priority && a->left < b->left);
}

static void heap_push(struct merge *m, struct merge_pair pair)
{
	size_t i = m->n_heap;

	(void)GRETA_PUSH(m->heap, m->n_heap, m->cap_heap);
	for (; i > 0 && before(&pair, &m->heap[(i - 1) / 2]); i = (i - 1) / 2)
		m->heap[i] = m->heap[(i - 1) / 2];
	m->heap[i] = pair;
}

static struct merge_pair heap_pop(struct merge *m)
{
	struct merge_pair top = m->heap[0], last = m->heap[--m->n_heap];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;
		if (child + 1 < m->n_heap && before(&m->heap[child + 1], &m->heap[child]))
			child++;
		if (child >= m->n_heap || !before(&m->heap[child], &last))
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = last;
	return top;
}

void merge_add(struct merge *m, uint32_t at, uint32_t n)
{
	int32_t i = (int32_t)m->n_symbols;
	struct merge_symbol *s = GRETA_PUSH(m->symbols, m->n_symbols, m->cap_symbols);

	*s = (struct merge_symbol){.at = at, .n = n, .prev = i - 1, .next = -1};
	if (i > 0)
		m->symbols[i - 1].next = i;
}

static void consider(struct merge *m, const struct tokenizer *t, const char *text, merge_priority_fn *priority,
		     int32_t left, int32_t right)
{
	struct merge_pair pair = {.left = left, .right = right};

	if (left < 0 || right < 0)
		return;
	const struct merge_symbol *a = &m->symbols[left], *b = &m->symbols[right];
	pair.n = a->n + b->n;
	if (priority(t, text + a->at, a->n, b->n, &pair.priority))
		heap_push(m, pair);
}

void merge_run(struct merge *m, const struct tokenizer *t, const char *text, merge_priority_fn *priority)
{
	for (size_t i = 1; i < m->n_symbols; i++)
		consider(m, t, text, priority, (int32_t)i - 1, (int32_t)i);
	while (m->n_heap > 0) {
		struct merge_pair pair = heap_pop(m);
		struct merge_symbol *a = &m->symbols[pair.left], *b = &m->symbols[pair.right];
		if (a->n == 0 || b->n == 0 || a->n + b->n != pair.n)
			continue;
		a->n += b->n;
		b->n = 0;
		a->next = b->next;
		if (b->next >= 0)
			m->symbols[b->next].prev = pair.left;
		consider(m, t, text, priority, a->prev, pair.left);
		consider(m, t, text, priority, pair.left, a->next);
	}
}

void merge_clear(struct merge *m)
{
	m->n_symbols = 0;
	m->n_heap = 0;
}

void merge_release(struct merge *m)
{
	free(m->symbols);
	free(m->heap);
	*m = (struct merge){0};
}
