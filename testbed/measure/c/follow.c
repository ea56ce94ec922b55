/* Follows the connections of a capture, packet by packet in the order of time.
 *
 * A TCP connection is its endpoints and the initial sequence number of the SYN that opened it (RFC 9293),
 * a UDP flow its endpoints. What a segment was is said twice: by the sequence space that had been seen
 * at this point before (RETRANSMISSION), and in Wireshark's words (`analysis`; the rules are those of
 * its user guide, section "TCP Analysis").
 */
#include "packets.h"

enum {
	RESENT = 1, FAST = 2, SPURIOUS = 4, OUT_OF_ORDER = 8, LOST = 16, ACKED_UNSEEN = 32, DUP_ACK = 64,
	WINDOW_UPDATE = 128, ZERO_WINDOW = 256, WINDOW_FULL = 512, KEEP_ALIVE = 1024, KEEP_ALIVE_ACK = 2048,
	ZERO_PROBE = 4096, ZERO_PROBE_ACK = 8192, REUSED = 16384, TIMEOUT = 32768
};
enum { MOST = 1 << 16, SPANS = 1 << 14 }; /* segments and spans of one direction that are remembered */
enum { EARLIER = 16 };		/* connections back that a retried SYN may be of */
enum { MOST_SCALE = 14, UNKNOWN_SCALE = -1, NO_SCALE = -2 }; /* RFC 7323, section 2.3 */
static const int64_t FAST_NS = 20000000, REORDER_NS = 3000000; /* Wireshark's thresholds */
static const int64_t RTO_MIN_NS = 200000000;	/* TCP_RTO_MIN of Linux */
static const int64_t NEVER = INT64_MAX;

typedef struct {
	int64_t low, high;
} Span;

typedef struct {
	Span *at;
	size_t count, room;
} Spans;

typedef struct {
	int64_t end, t_ns;
} Sent;

typedef struct {
	int64_t packets, bytes, payload, unique, retransmitted, late, dup_acks, fast, spurious, timeouts;
	int64_t zero_windows, window_fulls, in_flight, first_out_ns, first_in_ns;
} Totals;

/* One direction: what its sender sent, what the other one acknowledged of it, and what it said itself. */
typedef struct {
	Totals *total;		/* in the summary */
	uint32_t base;		/* the first sequence number seen; all below is counted from it */
	int64_t top;		/* the highest end of a segment */
	int64_t acked;		/* the highest acknowledgement of it */
	Spans holes;		/* not seen here, in ascending order */
	Spans unsure;		/* sent again or late: acknowledgements of it measure nothing */
	Sent *sent;		/* not acknowledged yet, by `end` */
	size_t first, count, room;
	int64_t segment_ns;	/* of the last segment */
	int64_t next_ns;	/* when `next` was last raised */
	uint32_t next;		/* the sequence number that Wireshark expects next */
	uint32_t unbroken;	/* up to where it has seen all, as it sees it */
	uint32_t last_ack, last_sacked; /* that it sent */
	int64_t last_ack_ns;
	int32_t window;		/* that it offered last, not scaled; -1: none yet */
	int16_t scale;		/* or one of the constants above */
	uint16_t last_analysis;
	uint32_t repeats;	/* duplicate acknowledgements in a row */
	uint8_t known, ack_known, acks, met; /* of base, acked, last_ack and next */
	uint8_t gaps;		/* acknowledgements of what was not seen that are told of: two at most, one a gap */
} Way;

typedef struct {
	uint32_t src, dst;	/* src is the client, as far as this point can tell */
	uint32_t interface;
	uint16_t sport, dport, proto;
	uint16_t opened;	/* 1: a SYN or its answer told who the client is */
	int64_t isn;		/* of the client; -1: not known */
	int64_t first_ns, last_ns, handshake_ns, tls_ns;
	int64_t reset;
	Totals totals[2];	/* forward, backward */
} Summary;

typedef struct {
	Summary summary;
	int64_t asked_ns, answered_ns, hello_ns, met_ns;
	uint32_t earlier;	/* the connection between these endpoints before; 0: none */
	Way ways[2];
} Flow;

typedef struct {
	int64_t out_ns, in_ns;
} First;

typedef struct {
	uint32_t flow, ahead;	/* ahead: of data from the client */
	int64_t rtt_ns;
} Sample;

typedef struct {
	Flow **flows;
	size_t count, room;
	uint32_t *slots;
	size_t slot_count, used;
	First *towards;		/* by number of the destination */
	size_t toward_count, toward_room;
	Sample *samples;	/* of this chunk */
	size_t sample_count, sample_room;
	int64_t control;	/* rows of this chunk whose payload is kept */
	int32_t failed;
} Follow;

EXPORT const uint32_t summary_size = sizeof(Summary), sample_size = sizeof(Sample), first_size = sizeof(First);

EXPORT Follow *follow_new(void) { return calloc(1, sizeof(Follow)); }

EXPORT void follow_free(Follow *follow)
{
	if (!follow)
		return;
	for (size_t each = 0; each < follow->count; each++) {
		for (int side = 0; side < 2; side++) {
			free(follow->flows[each]->ways[side].holes.at);
			free(follow->flows[each]->ways[side].unsure.at);
			free(follow->flows[each]->ways[side].sent);
		}
		free(follow->flows[each]);
	}
	free(follow->flows);
	free(follow->slots);
	free(follow->towards);
	free(follow->samples);
	free(follow);
}

EXPORT uint64_t follow_count(const Follow *follow) { return follow->count; }

EXPORT void follow_summaries(const Follow *follow, Summary *into)
{
	for (size_t each = 0; each < follow->count; each++)
		into[each] = follow->flows[each]->summary;
}

EXPORT const First *follow_towards(const Follow *follow, uint64_t *count)
{
	*count = follow->toward_count;
	return follow->towards;
}

EXPORT const Sample *follow_samples(const Follow *follow, uint64_t *count)
{
	*count = follow->sample_count;
	return follow->samples;
}

EXPORT int64_t follow_control(const Follow *follow) { return follow->control; }

/* Whether two packets are between the same endpoints, whichever of them sent which. */
static int same_pair(const Summary *flow, const Row *row)
{
	if (flow->proto != row->proto || flow->interface != row->interface)
		return 0;
	return (flow->src == row->src && flow->dst == row->dst && flow->sport == row->sport &&
		flow->dport == row->dport) ||
	       (flow->src == row->dst && flow->dst == row->src && flow->sport == row->dport &&
		flow->dport == row->sport);
}

static uint64_t pair_hash(uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport, uint32_t interface,
			  uint16_t proto)
{
	uint64_t one = (uint64_t)src << 16 | sport, other = (uint64_t)dst << 16 | dport;

	return mix(mix((uint64_t)interface << 16 | proto, one < other ? one : other), one < other ? other : one);
}

static size_t slot_of(const Follow *follow, const Row *row)
{
	size_t at = pair_hash(row->src, row->dst, row->sport, row->dport, row->interface, row->proto);

	for (at &= follow->slot_count - 1; follow->slots[at]; at = (at + 1) & (follow->slot_count - 1))
		if (same_pair(&follow->flows[follow->slots[at] - 1]->summary, row))
			break;
	return at;
}

static int more_slots(Follow *follow)
{
	size_t wanted = follow->slot_count ? follow->slot_count * 2 : 1024;
	uint32_t *slots = calloc(wanted, sizeof(*slots));

	if (!slots)
		return 0;
	for (size_t each = 0; each < follow->slot_count; each++) {
		if (!follow->slots[each])
			continue;
		const Summary *flow = &follow->flows[follow->slots[each] - 1]->summary;
		size_t at = pair_hash(flow->src, flow->dst, flow->sport, flow->dport, flow->interface,
				      flow->proto);

		for (at &= wanted - 1; slots[at]; at = (at + 1) & (wanted - 1))
			;
		slots[at] = follow->slots[each];
	}
	free(follow->slots);
	follow->slots = slots;
	follow->slot_count = wanted;
	return 1;
}

/* A new connection that starts with this packet; NULL if there is no memory. */
static Flow *opened(Follow *follow, Row *row, size_t slot, int from_client, int told, int64_t isn)
{
	Flow *flow = calloc(1, sizeof(Flow));

	if (!flow || !grow((void **)&follow->flows, &follow->room, follow->count + 1, sizeof(Flow *))) {
		free(flow);
		follow->failed = 1;
		return NULL;
	}
	flow->summary = (Summary){
		.src = from_client ? row->src : row->dst,
		.dst = from_client ? row->dst : row->src,
		.sport = from_client ? row->sport : row->dport,
		.dport = from_client ? row->dport : row->sport,
		.interface = row->interface,
		.proto = row->proto,
		.opened = (uint16_t)told,
		.isn = isn,
		.first_ns = row->t_ns,
		.last_ns = row->t_ns,
		.handshake_ns = -1,
		.tls_ns = -1,
	};
	flow->asked_ns = flow->answered_ns = flow->hello_ns = flow->met_ns = NEVER;
	for (int side = 0; side < 2; side++) {
		flow->ways[side].scale = UNKNOWN_SCALE;
		flow->ways[side].window = -1;
		flow->ways[side].total = &flow->summary.totals[side];
		flow->ways[side].total->first_out_ns = flow->ways[side].total->first_in_ns = NEVER;
	}
	flow->earlier = follow->slots[slot];
	follow->used += !follow->slots[slot];
	follow->flows[follow->count++] = flow;
	follow->slots[slot] = row->flow = (uint32_t)follow->count;
	return flow;
}

/* Whether a SYN, or the answer to it, is of a connection: an answer may take the SYN's data, too (RFC 7413). */
static int opened_by(const Summary *flow, uint32_t isn, int answer)
{
	return flow->isn >= 0 && (answer ? isn - (uint32_t)flow->isn <= UINT16_MAX : isn == (uint32_t)flow->isn);
}

/* The connection that a packet belongs to. A SYN opens one, unless it is one of an earlier one's, retried. */
static Flow *flow_of(Follow *follow, Row *row)
{
	if (follow->used * 2 >= follow->slot_count && !more_slots(follow)) {
		follow->failed = 1;
		return NULL;
	}
	size_t slot = slot_of(follow, row);
	uint32_t number = follow->slots[slot];
	int answer = !!(row->tcp_flags & ACK);

	if (row->has & TCP && row->tcp_flags & SYN && !(row->tcp_flags & RST)) {
		uint32_t isn = answer ? row->ack - 1 : row->seq, met = number;
		int back = 0;

		while (met && !opened_by(&follow->flows[met - 1]->summary, isn, answer))
			met = ++back < EARLIER ? follow->flows[met - 1]->earlier : 0;
		if (!met) {
			Flow *flow = opened(follow, row, slot, !answer, 1, isn);

			if (!flow)
				return NULL;
			if (number)
				row->analysis |= REUSED;
			return flow;
		}
		number = met;
	}
	if (!number) {
		/* With no SYN to tell, the service's port is the lower one; else who speaks first is client. */
		int from_client = !(row->has & TCP) || row->dport <= row->sport;

		return opened(follow, row, slot, from_client, 0, -1);
	}
	row->flow = number;
	return follow->flows[number - 1];
}

static void remember(Follow *follow, Spans *spans, int64_t low, int64_t high)
{
	if (spans->count == SPANS) { /* the older half is forgotten */
		spans->count = SPANS / 2;
		memmove(spans->at, spans->at + SPANS / 2, SPANS / 2 * sizeof(Span));
	}
	if (!grow((void **)&spans->at, &spans->room, spans->count + 1, sizeof(Span))) {
		follow->failed = 1;
		return;
	}
	spans->at[spans->count++] = (Span){low, high};
}

/* Take [low, high) out of the holes; how much of it was one. */
static int64_t filled(Follow *follow, Spans *holes, int64_t low, int64_t high)
{
	int64_t sum = 0;
	size_t stop = 0, begin, above = holes->count;
	Span left[2];
	int lefts = 0;

	while (stop < above) { /* how many begin below `high` */
		size_t middle = (stop + above) / 2;

		if (holes->at[middle].low < high)
			stop = middle + 1;
		else
			above = middle;
	}
	for (begin = stop; begin && holes->at[begin - 1].high > low; begin--) {
		const Span *hole = &holes->at[begin - 1];

		sum += (hole->high < high ? hole->high : high) - (hole->low > low ? hole->low : low);
	}
	if (begin == stop)
		return 0;
	if (holes->at[begin].low < low)
		left[lefts++] = (Span){holes->at[begin].low, low};
	if (holes->at[stop - 1].high > high)
		left[lefts++] = (Span){high, holes->at[stop - 1].high};
	if (!grow((void **)&holes->at, &holes->room, holes->count + 1, sizeof(Span))) {
		follow->failed = 1;
		return sum;
	}
	memmove(&holes->at[begin + lefts], &holes->at[stop], (holes->count - stop) * sizeof(Span));
	holes->count = holes->count - (stop - begin) + lefts;
	memcpy(&holes->at[begin], left, lefts * sizeof(Span));
	return sum;
}

static int64_t unwrapped(const Way *way, uint32_t number)
{
	return way->top + (int32_t)(number - (uint32_t)(way->base + (uint64_t)way->top));
}

/* Remember that an acknowledgement up to `end` would answer what is seen now, unless it answers another. What
 * was acknowledged before may be again.
 */
static void await(Follow *follow, Way *way, int64_t end, int64_t t_ns)
{
	if (way->count == MOST) {
		way->first++;
		way->count--;
	}
	if (way->first > way->count && way->first + way->count == way->room) { /* each is moved once in a while */
		memmove(way->sent, way->sent + way->first, way->count * sizeof(Sent));
		way->first = 0;
	}
	if (!grow((void **)&way->sent, &way->room, way->first + way->count + 1, sizeof(Sent))) {
		follow->failed = 1;
		return;
	}
	size_t stop = way->first + way->count, at = stop;

	if (way->count && way->sent[stop - 1].end >= end) {
		size_t above = stop;

		for (at = way->first; at < above;) { /* how many end below `end` */
			size_t middle = (at + above) / 2;

			if (way->sent[middle].end < end)
				at = middle + 1;
			else
				above = middle;
		}
		if (at < stop && way->sent[at].end == end)
			return;
	}
	memmove(&way->sent[at + 1], &way->sent[at], (stop - at) * sizeof(Sent));
	way->sent[at] = (Sent){end, t_ns};
	way->count++;
}

/* What was new of a segment of `size` from `low` on. */
static void segment(Follow *follow, Way *way, Row *row, int64_t low, int64_t size)
{
	int64_t high = low + size, fresh = size;
	int late = 0;

	if (low > way->top) {
		remember(follow, &way->holes, way->top, low);
	} else if (low < way->top) {
		fresh = filled(follow, &way->holes, low, high < way->top ? high : way->top);
		late = fresh > 0;
		fresh += high > way->top ? high - way->top : 0;
	}
	if (!fresh) {
		row->has |= RETRANSMISSION;
		way->total->retransmitted++;
		if (row->t_ns - way->segment_ns >= RTO_MIN_NS) {
			row->analysis |= TIMEOUT;
			way->total->timeouts++;
		}
	}
	way->total->late += late;
	way->total->unique += fresh < row->payload_length ? fresh : row->payload_length;
	if ((!fresh || late) && high > way->acked)
		remember(follow, &way->unsure, low, high);
	await(follow, way, high, row->t_ns);
	way->segment_ns = row->t_ns;
}

/* Take an acknowledgement of what `way` sent: it may tell a round-trip time. */
static void acknowledged(Follow *follow, const Flow *flow, Way *way, Row *row)
{
	int64_t reached = unwrapped(way, row->ack), since = way->ack_known ? way->acked : INT64_MIN;
	int unsure = reached <= since;
	size_t kept = 0;

	for (size_t each = 0; reached > since && each < way->unsure.count; each++) {
		const Span span = way->unsure.at[each];

		unsure |= span.low < reached && span.high > since;
		if (span.high > reached)
			way->unsure.at[kept++] = span;
	}
	if (reached > since) {
		way->unsure.count = kept;
		way->acked = reached;
		way->ack_known = 1;
	}
	while (way->count && way->sent[way->first].end <= reached) {
		const Sent *sent = &way->sent[way->first++];

		way->count--;
		if (sent->end != reached)
			continue;
		row->rtt_ns = row->t_ns - sent->t_ns;
		if (unsure)
			continue;
		if (!grow((void **)&follow->samples, &follow->sample_room, follow->sample_count + 1, sizeof(Sample))) {
			follow->failed = 1;
			return;
		}
		follow->samples[follow->sample_count++] =
			(Sample){row->flow, way == &flow->ways[0], row->rtt_ns};
	}
	if (!way->count)
		way->first = 0;
}

/* Name a segment of `size` in the sequence space as Wireshark does. */
static void name(const Flow *flow, Way *way, Way *other, Row *row, uint32_t size)
{
	uint16_t found = 0, flags = row->tcp_flags;
	uint32_t end = row->seq + size;
	int special = flags & (SYN | FIN | RST), keeps = 0;
	int32_t ahead = way->met ? (int32_t)(row->seq - way->next) : 0; /* of what is expected next */
	int expected = way->met && !ahead, empty = !row->payload_length;
	int same_ack = way->acks && row->ack == way->last_ack, repeated = 0;

	if (expected && row->payload_length == 1 && other->window == 0) {
		found = ZERO_PROBE;
	} else if (expected && empty && !row->tcp_window && same_ack && !special && other->last_analysis & ZERO_PROBE) {
		found = ZERO_PROBE_ACK | ZERO_WINDOW;
	} else {
		keeps = way->met && row->payload_length <= 1 && ahead == -1 && !special;
		found |= !row->tcp_window && !special ? ZERO_WINDOW : 0;
		found |= ahead > 0 && !(flags & RST) ? LOST : 0;
		found |= keeps ? KEEP_ALIVE : 0;
		if (empty && row->tcp_window && expected && same_ack && !special) {
			if (row->tcp_window != way->window)
				found |= WINDOW_UPDATE;
			else
				found |= other->last_analysis & KEEP_ALIVE ? KEEP_ALIVE_ACK : DUP_ACK;
			repeated = !!(found & DUP_ACK);
		}
		int scale = way->scale == NO_SCALE || other->scale == NO_SCALE ? 0 : other->scale;

		if (!empty && !special && other->scale != UNKNOWN_SCALE && other->acks && other->window >= 0 &&
		    end == other->last_ack + ((uint32_t)other->window << scale))
			found |= WINDOW_FULL;
		if (flags & ACK && other->gaps && (int32_t)(row->ack - other->unbroken) > 0) {
			found |= ACKED_UNSEEN;
			other->unbroken = other->next;
			other->gaps--;
		}
		if (!empty && !keeps && other->acks && (int32_t)(end - other->last_ack) <= 0) {
			found |= SPURIOUS | RESENT;
		} else if (size && ahead < 0 && !keeps && (ahead < -1 || row->payload_length <= 1)) {
			/* What begins with the byte of a probe or a keep-alive goes on. */
			int64_t threshold = flow->summary.handshake_ns > 0 ? flow->summary.handshake_ns : REORDER_NS;

			if (other->repeats >= 2 && other->last_ack == row->seq &&
				 row->t_ns - other->last_ack_ns < FAST_NS)
				found |= FAST | RESENT;
			else if (row->t_ns - way->next_ns < threshold && end != way->next)
				found |= OUT_OF_ORDER;
			else
				found |= RESENT;
		}
	}
	if (!repeated && flags & ACK && way->acks && row->ack != way->last_ack)
		way->repeats = 0;
	way->repeats += (uint32_t)repeated;
	int first = !way->met;

	if (first || ((int32_t)(end - way->next) > 0 && !(found & ZERO_PROBE))) {
		way->next = end;
		way->next_ns = row->t_ns;
		way->met = 1;
	}
	if (first || (row->seq == way->unbroken && !(found & ZERO_PROBE)))
		way->unbroken = way->next;
	if (way->gaps < 2)
		way->gaps += first || found & LOST;
	row->analysis |= found;
	way->last_analysis = found;
	way->total->fast += !!(found & FAST);
	way->total->spurious += !!(found & SPURIOUS);
	way->total->zero_windows += !!(found & ZERO_WINDOW);
	way->total->window_fulls += !!(found & WINDOW_FULL);
}

static void handshakes(Flow *flow, const Row *row, int from_client)
{
	Summary *summary = &flow->summary;
	uint16_t both = row->tcp_flags & (SYN | ACK | RST);

	if (from_client && both == SYN && row->t_ns < flow->asked_ns)
		flow->asked_ns = row->t_ns;
	if (!from_client && both == (SYN | ACK) && row->t_ns < flow->answered_ns)
		flow->answered_ns = row->t_ns;
	if (from_client && both == ACK && summary->handshake_ns < 0 && flow->asked_ns < NEVER &&
	    flow->answered_ns <= row->t_ns)
		summary->handshake_ns = row->t_ns - flow->asked_ns;
	if (!row->starts_with)
		return;
	if (from_client && row->starts_with == 8 && row->t_ns < flow->hello_ns)
		flow->hello_ns = row->t_ns;
	if (!from_client && row->starts_with == 9 && flow->hello_ns < NEVER && row->t_ns < flow->met_ns)
		flow->met_ns = row->t_ns;
	if (from_client && (row->starts_with == 11 || row->starts_with == 13) && summary->tls_ns < 0 &&
	    flow->met_ns <= row->t_ns)
		summary->tls_ns = row->t_ns - flow->hello_ns;
}

static void tcp(Follow *follow, Flow *flow, Row *row, int side)
{
	Way *way = &flow->ways[side], *other = &flow->ways[!side];
	uint16_t flags = row->tcp_flags;
	int64_t size = (int64_t)row->payload_length + !!(flags & SYN) + !!(flags & FIN);
	int64_t low = way->known ? unwrapped(way, row->seq) : 0;

	flow->summary.reset |= flags & RST;
	handshakes(flow, row, side == 0);
	if (flags & SYN)
		way->scale = !(row->has & SCALE) ? NO_SCALE : row->scale < MOST_SCALE ? row->scale : MOST_SCALE;
	name(flow, way, other, row, (uint32_t)size);
	if (size && !(flags & RST)) {
		if (!way->known) { /* what was sent before the first segment seen is a hole, too */
			way->known = 1;
			way->base = row->seq;
			way->segment_ns = row->t_ns;
			remember(follow, &way->holes, INT64_MIN / 4, 0);
		}
		segment(follow, way, row, low, size);
		way->top = low + size > way->top ? low + size : way->top;
		if (row->payload_length && other->acks) {
			int32_t flying = (int32_t)(way->next - other->last_ack - other->last_sacked);

			row->in_flight = flying > 0 ? (uint32_t)flying : 0;
			way->total->in_flight = flying > way->total->in_flight ? flying : way->total->in_flight;
		}
	}
	if (flags & ACK && !(flags & RST)) {
		if (other->known) {
			int again = other->ack_known && unwrapped(other, row->ack) == other->acked;

			/* RFC 5681, section 2 */
			way->total->dup_acks += again && row->tcp_window == way->window && !size &&
						other->top > other->acked;
			acknowledged(follow, flow, other, row);
		}
		way->last_ack = row->ack;
		way->last_sacked = row->sacked;
		way->last_ack_ns = row->t_ns;
		way->acks = 1;
	}
	if (!(flags & RST))
		way->window = row->tcp_window;
}

/* Follow the next packets; 0 if there was no memory. Samples are those of this chunk. */
EXPORT int32_t follow(Follow *follow, Row *rows, int64_t count)
{
	follow->sample_count = 0;
	follow->control = 0;
	for (int64_t each = 0; each < count && !follow->failed; each++) {
		Row *row = &rows[each];

		if ((row->has & (IP | ADDRESSED)) == (IP | ADDRESSED)) {
			size_t wanted = (size_t)row->dst + 1;

			if (!grow((void **)&follow->towards, &follow->toward_room, wanted, sizeof(First))) {
				follow->failed = 1;
				break;
			}
			for (; follow->toward_count < wanted; follow->toward_count++)
				follow->towards[follow->toward_count] = (First){NEVER, NEVER};
			First *first = &follow->towards[row->dst];
			int64_t *at = row->has & OUT ? &first->out_ns : &first->in_ns;

			*at = row->t_ns < *at ? row->t_ns : *at;
		}
		if (!(row->has & PORTS))
			continue;
		follow->control += row->control;
		Flow *flow = flow_of(follow, row);

		if (!flow)
			break;
		int side = row->src != flow->summary.src || row->sport != flow->summary.sport;
		Totals *total = flow->ways[side].total;
		int64_t *at = row->has & OUT ? &total->first_out_ns : &total->first_in_ns;

		if (row->has & ADDRESSED)
			*at = row->t_ns < *at ? row->t_ns : *at;
		row->has |= side ? 0 : FORWARD;
		if (row->t_ns > flow->summary.last_ns)
			flow->summary.last_ns = row->t_ns;
		total->packets++;
		total->bytes += row->length;
		total->payload += row->payload_length;
		if (row->has & TCP)
			tcp(follow, flow, row, side);
		else
			total->unique += row->payload_length;
	}
	return !follow->failed;
}

/* Of the round-trip times of one flow and direction: the least, the middle and the 95th percentile. */
typedef struct {
	uint32_t flow, ahead;
	int64_t least_ns, middle_ns, p95_ns;
} Quantiles;

EXPORT const uint32_t quantiles_size = sizeof(Quantiles);

static int by_time(const void *one, const void *other)
{
	int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;

	return (a > b) - (a < b);
}

/* Quantiles (nearest rank) by flow and direction, in that order, for flows up to `flows`; how many there are,
 * -1 if there is no memory. `out` has room for two of each flow.
 */
EXPORT int64_t quantiles(const Sample *samples, int64_t count, int64_t flows, Quantiles *out)
{
	size_t keys = 2 * (size_t)flows + 2;
	size_t *ends = calloc(keys + 1, sizeof(*ends));
	int64_t *sorted = malloc((size_t)count * sizeof(*sorted) + 1), found = 0;

	for (int64_t each = 0; ends && each < count; each++)
		ends[2 * samples[each].flow + samples[each].ahead + 1]++;
	for (size_t key = 0; ends && key < keys; key++)
		ends[key + 1] += ends[key];
	for (int64_t each = 0; ends && sorted && each < count; each++) /* ends become where each key ends */
		sorted[ends[2 * samples[each].flow + samples[each].ahead]++] = samples[each].rtt_ns;
	for (size_t key = 0, begin = 0; ends && sorted && key < keys; begin = ends[key++]) {
		int64_t *own = sorted + begin;
		size_t last = ends[key] - begin - 1;

		if (ends[key] == begin)
			continue;
		qsort(own, last + 1, sizeof(*own), by_time);
		out[found++] = (Quantiles){(uint32_t)(key / 2), key % 2, own[0], own[(last + 1) / 2],
					   own[(size_t)((double)last * 0.95 + 0.5)]};
	}
	found = ends && sorted ? found : -1;
	free(ends);
	free(sorted);
	return found;
}
