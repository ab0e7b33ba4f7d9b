/* Any bytes as a stream of frames, and the same bytes in pieces: the same messages must come out, and each must survive
 * being encoded and decoded again. */
#include "schemas/msg.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_again(const struct greta_msg *m)
{
	struct greta_buf first = {0}, second = {0};
	struct greta_msg back;

	if (greta_msg_encode(m, &first, NULL) == 0) { /* replacement of odd bytes may make it too long */
		if (greta_msg_decode(first.data, first.len, &back, NULL) != (ssize_t)first.len)
			abort();
		if (greta_msg_encode(&back, &second, NULL) || first.len != second.len ||
		    memcmp(first.data, second.data, first.len) != 0)
			abort();
		greta_msg_release(&back);
	}
	greta_buf_release(&first);
	greta_buf_release(&second);
}

/* Appends what the stream says, as frames again; *at: where the first bad frame begins. */
static void read_stream(const char *in, size_t n, size_t piece, struct greta_buf *out, size_t *at)
{
	size_t have = 0;

	*at = 0;
	while (have < n) {
		have = have + piece < n ? have + piece : n;
		for (;;) {
			struct greta_msg m;
			ssize_t used = greta_msg_decode(in + *at, have - *at, &m, NULL);

			if (used < 0)
				return;
			if (used == 0)
				break;
			*at += (size_t)used;
			greta_msg_encode(&m, out, NULL);
			if (piece >= n)
				check_again(&m);
			greta_msg_release(&m);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct greta_buf whole = {0}, pieces = {0};
	size_t at_whole, at_pieces;
	int protocol;

	if (n < 1)
		return 0;
	read_stream((const char *)data + 1, n - 1, n, &whole, &at_whole);
	read_stream((const char *)data + 1, n - 1, (size_t)data[0] + 1, &pieces, &at_pieces);
	if (at_whole != at_pieces || whole.len != pieces.len ||
	    (whole.len && memcmp(whole.data, pieces.data, whole.len) != 0))
		abort();
	greta_msg_find_magic((const char *)data + 1, n - 1, "n", &protocol, NULL);
	greta_buf_release(&whole);
	greta_buf_release(&pieces);
	return 0;
}
