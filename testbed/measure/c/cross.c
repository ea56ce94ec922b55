/* Joins the packets that reach a node with those that leave it, in one pass in the order of time.
 *
 * Only what is under way is remembered, so that captures may be of any length.
 */
#include "packets.h"

enum { ALL_GIVEN = -1, NO_ROOM = -2, NO_MEMORY = -3 };
enum { UNDER_WAY, PASSED };
static const int64_t NEVER = INT64_MIN;
static const uint64_t NONE = UINT64_MAX;

/* A capture beside the node: some of its rows, and what its own numbers are in the run. */
typedef struct {
	const Row *rows;
	int64_t at, count;
	const uint32_t *flows, *codes;	/* by own number */
	const uint8_t *not_to, *not_from; /* by own address: such packets do not cross the node */
	int32_t inward;			/* what OUT is of a packet that reaches the node */
	int32_t more;			/* whether rows follow these */
} Source;

/* A packet that crossed the node, or was lost there. */
typedef struct {
	int64_t sent_ns, received_ns;	/* received_ns NEVER: lost */
	uint32_t flow;
	int32_t source;			/* by which it left; -1: not known */
	int32_t ambiguous, padding;
} Hop;

typedef struct {
	uint64_t fingerprint, next;	/* next: an older one in the same bucket, if it is not given out yet */
	int64_t sent_ns, received_ns;
	uint32_t flow;
	int32_t source;
	uint8_t state, ambiguous;
} Arrival;

typedef struct {
	Arrival *ring;
	uint64_t mask, first, end;	/* arrivals first to end - 1, each at its number & mask */
	uint64_t *buckets;
	uint64_t bucket_mask, waiting;
	int64_t end_ns, in_flight_ns, held_ns;
	int32_t all_seen;
	int32_t *by_flow, *by_target;	/* the source taken last */
	const int32_t *first_by_flow, *first_by_target;
	int64_t *usual_ns;		/* the last delay to each source that is beyond doubt */
	int64_t now_ns;
} Cross;

EXPORT const uint32_t source_size = sizeof(Source), hop_size = sizeof(Hop);

EXPORT void cross_free(Cross *cross)
{
	if (!cross)
		return;
	free(cross->ring);
	free(cross->buckets);
	free(cross->by_flow);
	free(cross->by_target);
	free(cross->usual_ns);
	free(cross);
}

/* `first_by_flow` (two for each flow) and `first_by_target` say by which source each left first; -1: none. */
EXPORT Cross *cross_new(int64_t end_ns, int64_t in_flight_ns, int64_t held_ns, int32_t all_seen, int32_t sources,
			const int32_t *first_by_flow, int64_t flows, const int32_t *first_by_target,
			int64_t targets)
{
	Cross *cross = calloc(1, sizeof(Cross));

	if (!cross)
		return NULL;
	cross->end_ns = end_ns;
	cross->in_flight_ns = in_flight_ns;
	cross->held_ns = held_ns;
	cross->all_seen = all_seen;
	cross->first_by_flow = first_by_flow;
	cross->first_by_target = first_by_target;
	cross->mask = cross->bucket_mask = 1023;
	cross->ring = malloc((cross->mask + 1) * sizeof(Arrival));
	cross->buckets = malloc((cross->bucket_mask + 1) * sizeof(uint64_t));
	cross->by_flow = malloc((size_t)flows * sizeof(int32_t) + 1);
	cross->by_target = malloc((size_t)targets * sizeof(int32_t) + 1);
	cross->usual_ns = calloc((size_t)sources + 1, sizeof(int64_t));
	if (!cross->ring || !cross->buckets || !cross->by_flow || !cross->by_target || !cross->usual_ns) {
		cross_free(cross);
		return NULL;
	}
	memset(cross->buckets, 0xFF, (cross->bucket_mask + 1) * sizeof(uint64_t));
	memset(cross->by_flow, 0xFF, (size_t)flows * sizeof(int32_t));
	memset(cross->by_target, 0xFF, (size_t)targets * sizeof(int32_t));
	return cross;
}

static Arrival *arrival(Cross *cross, uint64_t number) { return &cross->ring[number & cross->mask]; }

static uint64_t *bucket(Cross *cross, uint64_t fingerprint)
{
	return &cross->buckets[(fingerprint ^ fingerprint >> 32) & cross->bucket_mask];
}

/* Whether a bucket goes on with this one. Those in it are the older the later they come, so none comes
 * after one that was given out.
 */
static int goes_on(const Cross *cross, uint64_t number) { return number != NONE && number >= cross->first; }

/* Take one under way out of its bucket. */
static void forget(Cross *cross, uint64_t number)
{
	uint64_t *at = bucket(cross, arrival(cross, number)->fingerprint);

	while (*at != number)
		at = &arrival(cross, *at)->next;
	*at = arrival(cross, number)->next;
}

static int more_room(Cross *cross)
{
	uint64_t mask = cross->mask * 2 + 1;
	Arrival *ring = malloc((mask + 1) * sizeof(Arrival));

	if (!ring)
		return 0;
	for (uint64_t each = cross->first; each < cross->end; each++)
		ring[each & mask] = *arrival(cross, each);
	free(cross->ring);
	cross->ring = ring;
	cross->mask = mask;
	return 1;
}

static int more_buckets(Cross *cross)
{
	uint64_t mask = cross->bucket_mask * 4 + 3;
	uint64_t *buckets = malloc((mask + 1) * sizeof(uint64_t));

	if (!buckets)
		return 0;
	memset(buckets, 0xFF, (mask + 1) * sizeof(uint64_t));
	free(cross->buckets);
	cross->buckets = buckets;
	cross->bucket_mask = mask;
	for (uint64_t each = cross->first; each < cross->end; each++) {
		Arrival *one = arrival(cross, each);

		if (one->state == UNDER_WAY) {
			uint64_t *at = bucket(cross, one->fingerprint);

			one->next = *at;
			*at = each;
		}
	}
	return 1;
}

static uint64_t way_of(const Source *source, const Row *row)
{
	return 2 * (uint64_t)source->flows[row->flow] + (source->codes[row->src] < source->codes[row->dst]);
}

/* By which source such a packet leaves: as its flow did last, else first, or else its destination did. */
static int32_t likely(const Cross *cross, const Source *source, const Row *row)
{
	uint32_t target = source->codes[row->dst];

	if (row->flow && source->flows[row->flow]) {
		uint64_t way = way_of(source, row);

		if (cross->by_flow[way] >= 0)
			return cross->by_flow[way];
		if (cross->first_by_flow[way] >= 0)
			return cross->first_by_flow[way];
	}
	return cross->by_target[target] >= 0 ? cross->by_target[target] : cross->first_by_target[target];
}

static int arrives(Cross *cross, const Source *source, const Row *row)
{
	if (cross->end - cross->first > cross->mask && !more_room(cross))
		return 0;
	if (cross->waiting > 2 * cross->bucket_mask && !more_buckets(cross))
		return 0;
	uint64_t *at = bucket(cross, row->fingerprint);

	*arrival(cross, cross->end) = (Arrival){
		.fingerprint = row->fingerprint,
		.next = *at,
		.sent_ns = row->t_ns,
		.received_ns = NEVER,
		.flow = source->flows[row->flow],
		.source = likely(cross, source, row),
	};
	*at = cross->end++;
	cross->waiting++;
	return 1;
}

/* Of the equal packets under way the one that left is the one whose delay is nearest to what it was
 * last; of one alone there is no doubt. A copy made on the way has none that it could be.
 */
static void leaves(Cross *cross, const Source *source, const Row *row, int32_t number)
{
	uint64_t best = NONE, each = *bucket(cross, row->fingerprint), candidates = 0;
	int64_t nearest = 0;

	for (; goes_on(cross, each); each = arrival(cross, each)->next) {
		const Arrival *one = arrival(cross, each);

		if (one->fingerprint != row->fingerprint)
			continue;
		int64_t away = llabs(row->t_ns - one->sent_ns - cross->usual_ns[number]);

		if (candidates++ && away > nearest)
			break; /* older ones are further away still */
		best = each;
		nearest = away;
	}
	if (row->flow && source->flows[row->flow])
		cross->by_flow[way_of(source, row)] = number;
	cross->by_target[source->codes[row->dst]] = number;
	if (best == NONE)
		return;
	Arrival *one = arrival(cross, best);

	forget(cross, best);
	cross->waiting--;
	one->state = PASSED;
	one->received_ns = row->t_ns;
	one->source = number;
	one->ambiguous = candidates > 1;
	if (candidates == 1)
		cross->usual_ns[number] = row->t_ns - one->sent_ns;
}

/* Give out what is settled, from the oldest on: what passed, and what was under way for too long. */
static int64_t settled(Cross *cross, int finally, Hop *out, int64_t room)
{
	int64_t found = 0;

	for (; cross->first < cross->end && found < room; cross->first++) {
		Arrival *one = arrival(cross, cross->first);

		if (one->state == UNDER_WAY) {
			if (!finally && one->sent_ns > cross->now_ns - cross->held_ns)
				break;
			cross->waiting--;
			if (one->sent_ns > cross->end_ns - cross->in_flight_ns ||
			    (one->source < 0 && !cross->all_seen))
				continue;
		}
		out[found++] = (Hop){one->sent_ns, one->received_ns, one->flow, one->source, one->ambiguous, 0};
	}
	return found;
}

static int crosses(const Source *source, const Row *row, int *inward)
{
	*inward = !!(row->has & OUT) == source->inward;
	if ((row->has & (IP | ADDRESSED)) != (IP | ADDRESSED))
		return 0;
	return *inward ? !source->not_to[row->dst] : !source->not_from[row->src] && !(source->not_to[row->dst] & 2);
}

/* Go on until some source has no more rows here, or `out` is full. `wants` becomes the number of the
 * source whose next rows are wanted (those not done with come again), or one of the constants above.
 */
EXPORT int64_t cross(Cross *cross, Source *sources, int32_t count, Hop *out, int64_t room, int32_t *wants)
{
	int64_t found = 0;

	for (;;) {
		int64_t now = INT64_MAX;
		int any = 0, inward;

		found += settled(cross, 0, out + found, room - found);
		if (found == room) {
			*wants = NO_ROOM;
			return found;
		}
		for (int32_t each = 0; each < count; each++) {
			const Source *source = &sources[each];

			if (source->at == source->count) {
				if (!source->more)
					continue;
				*wants = each;
				return found;
			}
			any = 1;
			if (source->rows[source->at].t_ns < now)
				now = source->rows[source->at].t_ns;
		}
		if (!any)
			break;
		for (int32_t each = 0; each < count; each++) {
			const Source *source = &sources[each];

			if (source->more && source->rows[source->at].t_ns == now &&
			    source->rows[source->count - 1].t_ns == now) {
				*wants = each;
				return found;
			}
		}
		cross->now_ns = now;
		/* What takes no time leaves in the instant in which it arrives: arrivals first. */
		for (int32_t each = 0; each < count; each++) {
			const Source *source = &sources[each];

			for (int64_t at = source->at; at < source->count && source->rows[at].t_ns == now; at++)
				if (crosses(source, &source->rows[at], &inward) && inward &&
				    !arrives(cross, source, &source->rows[at])) {
					*wants = NO_MEMORY;
					return found;
				}
		}
		for (int32_t each = 0; each < count; each++) {
			Source *source = &sources[each];

			for (; source->at < source->count && source->rows[source->at].t_ns == now; source->at++)
				if (crosses(source, &source->rows[source->at], &inward) && !inward)
					leaves(cross, source, &source->rows[source->at], each);
		}
	}
	found += settled(cross, 1, out + found, room - found);
	*wants = cross->first < cross->end ? NO_ROOM : ALL_GIVEN;
	return found;
}
