/* The top-level fields of a protobuf message that arrives in parts, one after the other: a message of
 * any size is taken in without being held whole. A field that lies within one part is not copied. */
#pragma once

#include "lib/codec/pb.h"

/* bytes is valid during the call. Anything but RC_OK ends the stream with it. */
typedef enum rc pb_stream_fn(void *owner, const struct pb_field *f);

struct pb_stream {
    pb_stream_fn *fn;
    void *owner;
    struct strbuf part; /* the beginning of a field that is cut by the end of a part */
};

/* max_field: bytes of the largest field, its key and length included. */
void pb_stream_init(struct pb_stream *s, size_t max_field, pb_stream_fn *fn, void *owner);
void pb_stream_fini(struct pb_stream *s);
/* RC_LIMIT: a field over the limit. RC_INVALID: malformed. */
NODISCARD enum rc pb_stream_feed(struct pb_stream *s, struct str bytes);
/* After the last part: RC_INVALID when a field was cut. Ready for the next message. */
NODISCARD enum rc pb_stream_end(struct pb_stream *s);
