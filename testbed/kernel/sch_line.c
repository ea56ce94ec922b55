// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * A line sends one packet at a time.
 *
 * What waits is held by a child qdisc, which may be any queue management. The packet at its head stays
 * there until its last bit is out, so that it counts as one of the queue, as in the buffer of a modem.
 * Nothing is decided before it has to be: a rate that changes changes the end of the packet being sent
 * and of all behind it.
 *
 * How fast bits leave is said in one of three ways:
 *  - a fixed rate, in bits a second; 0 lets everything pass at once;
 *  - a trace of rates, each in force from its time on;
 *  - a trace of opportunities, each letting 1500 bytes of IP pass in one instant. A large packet takes
 *    several of them, small ones share one, and one that finds nothing waiting is lost (Mahimahi:
 *    Netravali et al., USENIX ATC 2015).
 * A trace repeats, into the past as well, so that the line works before the start it is given.
 *
 * Time is counted in whole nanoseconds, and what the last one of a packet had room for is the next
 * one's, so that the rate is exact however many packets follow one another.
 */

#include <linux/crc32.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <net/netlink.h>
#include <net/pkt_sched.h>
#include <net/sch_generic.h>

enum {
	TCA_LINE_UNSPEC,
	TCA_LINE_PAD,
	TCA_LINE_RATE,		/* u64: bits/s where there is no trace */
	TCA_LINE_START,		/* s64: when the trace begins, ns of CLOCK_REALTIME */
	TCA_LINE_TRACE,		/* struct tc_line_trace: a trace is to follow; of length 0: there is none */
	TCA_LINE_WORDS,		/* u64[]: more of it. All times, then all rates; the last one makes it valid */
	TCA_LINE_CHECKSUM,	/* u32: CRC-32 of all words of the trace in force; only read */
	__TCA_LINE_MAX
};
#define TCA_LINE_MAX (__TCA_LINE_MAX - 1)

struct tc_line_trace {
	__u64	period;		/* ns */
	__u32	length;		/* entries */
	__u32	rated;		/* they are rates, not opportunities */
};

#define LINE_OPPORTUNITY	1500		/* bytes */
#define LINE_LONGEST		(1U << 22)	/* entries of a trace */
#define LINE_STEPS		1000		/* rates looked at before the timer must bring us back */
#define LINE_QUEUE		1000		/* packets, until a child is given */

struct line_trace {
	struct tc_line_trace	is;
	u32			filled;		/* words */
	u32			checksum;
	u64			words[];
};

struct line_sched_data {
	struct Qdisc		*child;
	struct qdisc_watchdog	watchdog;

	u64			rate;
	s64			start_real;	/* as it was given */
	s64			start;		/* in CLOCK_MONOTONIC */
	struct line_trace	*trace;		/* NULL: none */
	struct line_trace	*coming;	/* not yet complete */

	/* The packet being sent. Work is counted in 10^-9 bits, or in bytes with opportunities. */
	const struct sk_buff	*serving;	/* the child's head, or NULL */
	u64			since;		/* up to here its work has been done, */
	s64			owed;		/* all but this */
	u64			done;		/* here this is left: nothing or less, */
	s64			left;		/* unless rates ran so low that we have to look again */
	bool			chained;	/* something has been waiting since the last one was done */

	s64			pass;		/* the repetition of the trace */
	u32			next;		/* and its opportunity after the last one used */
};

static bool line_by_opportunity(const struct line_sched_data *q)
{
	return q->trace && !q->trace->is.rated;
}

/* How many entries of a trace lie before an offset from its beginning. */
static u32 line_before(const struct line_trace *trace, s64 offset)
{
	u32 low = 0, high = trace->is.length;

	while (low < high) {
		u32 middle = low + (high - low) / 2;

		if ((s64)trace->words[middle] < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* When the repetition of the trace began in which a time lies. */
static s64 line_pass(const struct line_sched_data *q, s64 time)
{
	s64 period = q->trace->is.period, behind = (time - q->start) % period;

	return time - (behind < 0 ? behind + period : behind);
}

/* Go to the first opportunity that is not over. */
static void line_seek(struct line_sched_data *q, s64 now)
{
	/* One at the very end of a repetition comes in the same instant as the next one's beginning. */
	q->pass = line_pass(q, now) - q->trace->is.period;
	while ((q->next = line_before(q->trace, now - q->pass)) == q->trace->is.length)
		q->pass += q->trace->is.period;
}

/* Use opportunities until the packet is through. */
static void line_use(struct line_sched_data *q)
{
	while (q->left > 0) {
		q->done = q->pass + q->trace->words[q->next];
		q->left -= LINE_OPPORTUNITY;
		if (++q->next == q->trace->is.length) {
			q->next = 0;
			q->pass += q->trace->is.period;
		}
	}
}

/* The rate in force at a time, and until when it is. */
static u64 line_rate(const struct line_sched_data *q, u64 time, u64 *until)
{
	const struct line_trace *trace = q->trace;
	u32 length, begun;
	s64 pass;

	if (!trace) {
		*until = U64_MAX;
		return q->rate;
	}
	length = trace->is.length;
	pass = line_pass(q, time);
	begun = line_before(trace, time - pass + 1);
	*until = pass + (begun < length ? trace->words[begun] : trace->is.period + trace->words[0]);
	return trace->words[length + (begun ? begun - 1 : length - 1)];
}

/* Work from a time on until nothing is left, or until `limit`, or as far as is looked ahead. */
static void line_work(const struct line_sched_data *q, u64 *time, s64 *left, u64 limit)
{
	unsigned int steps = LINE_STEPS;

	while (*left > 0 && *time < limit && steps--) {
		u64 until, rate = line_rate(q, *time, &until), span = min(until, limit) - *time;

		if (rate)
			span = min(span, DIV64_U64_ROUND_UP(*left, rate));
		*time += span;
		*left -= rate * span;
	}
}

static void line_go_on(struct line_sched_data *q, u64 since, s64 owed)
{
	q->since = q->done = since;
	q->owed = q->left = owed;
	line_work(q, &q->done, &q->left, U64_MAX);
}

static void line_begin(struct Qdisc *sch, const struct sk_buff *skb, u64 now)
{
	struct line_sched_data *q = qdisc_priv(sch);
	unsigned int length = qdisc_pkt_len(skb);
	s64 spare = q->chained ? min(q->left, 0LL) : 0;

	q->serving = skb;
	if (line_by_opportunity(q)) {
		unsigned int header = qdisc_dev(sch)->hard_header_len;

		if (!q->chained) {
			q->done = now;
			line_seek(q, now);
		}
		q->left = spare + (length > header ? length - header : 1);
		line_use(q);
	} else if (q->trace || q->rate) {
		line_go_on(q, q->chained ? q->done : now, spare + (s64)length * BITS_PER_BYTE * NSEC_PER_SEC);
	} else {
		q->done = now;
		q->left = 0;
	}
}

static int line_enqueue(struct sk_buff *skb, struct Qdisc *sch, struct sk_buff **to_free)
{
	struct line_sched_data *q = qdisc_priv(sch);
	unsigned int length = qdisc_pkt_len(skb);
	int said = qdisc_enqueue(skb, q->child, to_free);

	if (said != NET_XMIT_SUCCESS) {
		if (net_xmit_drop_count(said))
			qdisc_qstats_drop(sch);
		return said;
	}
	sch->qstats.backlog += length;
	sch->q.qlen++;
	return NET_XMIT_SUCCESS;
}

static struct sk_buff *line_dequeue(struct Qdisc *sch)
{
	struct line_sched_data *q = qdisc_priv(sch);
	struct sk_buff *skb = q->child->ops->peek(q->child);
	u64 now;

	if (!skb) {
		q->serving = NULL;
		q->chained = false;
		return NULL;
	}
	now = ktime_get_ns();
	if (skb != q->serving)
		line_begin(sch, skb, now);
	while (q->left > 0 && q->done <= now)
		line_go_on(q, q->done, q->left);
	if (q->done > now) {
		qdisc_watchdog_schedule_ns(&q->watchdog, q->done);
		return NULL;
	}
	skb = qdisc_dequeue_peeked(q->child);
	q->serving = NULL;
	q->chained = q->child->q.qlen;
	if (!skb)
		return NULL;
	qdisc_qstats_backlog_dec(sch, skb);
	sch->q.qlen--;
	qdisc_bstats_update(sch, skb);
	return skb;
}

static void line_forget(struct line_sched_data *q)
{
	q->serving = NULL;
	q->chained = false;
}

static void line_reset(struct Qdisc *sch)
{
	struct line_sched_data *q = qdisc_priv(sch);

	qdisc_reset(q->child);
	qdisc_watchdog_cancel(&q->watchdog);
	line_forget(q);
}

static const struct nla_policy line_policy[TCA_LINE_MAX + 1] = {
	[TCA_LINE_RATE]		= { .type = NLA_U64 },
	[TCA_LINE_START]	= { .type = NLA_S64 },
	[TCA_LINE_TRACE]	= NLA_POLICY_EXACT_LEN(sizeof(struct tc_line_trace)),
	[TCA_LINE_WORDS]	= { .type = NLA_BINARY },
	[TCA_LINE_CHECKSUM]	= { .type = NLA_REJECT },
};

static struct line_trace *line_announced(const struct nlattr *attr, struct netlink_ext_ack *extack)
{
	const struct tc_line_trace *is = nla_data(attr);
	struct line_trace *trace;

	if (!is->length || is->length > LINE_LONGEST || !is->period || is->period > S64_MAX / 4) {
		NL_SET_ERR_MSG(extack, "a trace has 1 to 4194304 entries and a period of 1 to 2^61 ns");
		return ERR_PTR(-EINVAL);
	}
	trace = kvzalloc(struct_size(trace, words, (size_t)is->length * (is->rated ? 2 : 1)), GFP_KERNEL);
	if (!trace)
		return ERR_PTR(-ENOMEM);
	trace->is = *is;
	return trace;
}

/* Whether a complete trace can be followed. */
static int line_sound(const struct line_trace *trace, struct netlink_ext_ack *extack)
{
	u32 i, length = trace->is.length;
	bool moves = !trace->is.rated;

	for (i = 0; i < length; i++) {
		if (trace->words[i] + !!trace->is.rated > trace->is.period ||
		    (i && trace->words[i] < trace->words[i - 1] + !!trace->is.rated)) {
			NL_SET_ERR_MSG(extack, "a trace's times rise and lie within its period");
			return -EINVAL;
		}
		moves |= trace->is.rated && trace->words[length + i];
	}
	if (!moves) {
		NL_SET_ERR_MSG(extack, "a trace lets something pass");
		return -EINVAL;
	}
	return 0;
}

/* Take more of a trace; it becomes `*complete` with its last word, unless it is what we have already. */
static int line_more(struct line_sched_data *q, const struct nlattr *attr, struct line_trace **complete,
		     struct netlink_ext_ack *extack)
{
	struct line_trace *trace = q->coming;
	u32 words, more = nla_len(attr) / sizeof(u64);
	int err;

	if (!trace) {
		NL_SET_ERR_MSG(extack, "words of a trace that was not announced");
		return -EINVAL;
	}
	words = trace->is.length * (trace->is.rated ? 2 : 1);
	if (nla_len(attr) % sizeof(u64) || more > words - trace->filled) {
		NL_SET_ERR_MSG(extack, "more words than the trace was announced with");
		return -EINVAL;
	}
	memcpy(trace->words + trace->filled, nla_data(attr), nla_len(attr));
	trace->filled += more;
	if (trace->filled < words)
		return 0;

	q->coming = NULL;
	err = line_sound(trace, extack);
	if (err || (q->trace && !memcmp(&q->trace->is, &trace->is, sizeof(trace->is)) &&
		    !memcmp(q->trace->words, trace->words, words * sizeof(u64)))) {
		kvfree(trace);
		return err;
	}
	trace->checksum = crc32_le(~0U, (const u8 *)trace->words, words * sizeof(u64)) ^ ~0U;
	*complete = trace;
	return 0;
}

/* A time of CLOCK_REALTIME as CLOCK_MONOTONIC has it: nobody can set the clock that a trace follows. */
static s64 line_monotonic(s64 real)
{
	return real - ktime_to_ns(ktime_mono_to_real(0));
}

static int line_change(struct Qdisc *sch, struct nlattr *opt, struct netlink_ext_ack *extack)
{
	struct line_sched_data *q = qdisc_priv(sch);
	struct nlattr *tb[TCA_LINE_MAX + 1];
	struct line_trace *trace = q->trace;
	s64 start = q->start, start_real = q->start_real;
	u64 rate = q->rate, now;
	int err;

	err = nla_parse_nested_deprecated(tb, TCA_LINE_MAX, opt, line_policy, extack);
	if (err < 0)
		return err;
	if (tb[TCA_LINE_TRACE]) {
		kvfree(q->coming);
		q->coming = NULL;
		if (!((struct tc_line_trace *)nla_data(tb[TCA_LINE_TRACE]))->length) {
			trace = NULL;
		} else {
			struct line_trace *coming = line_announced(tb[TCA_LINE_TRACE], extack);

			if (IS_ERR(coming))
				return PTR_ERR(coming);
			q->coming = coming;
		}
	}
	if (tb[TCA_LINE_WORDS]) {
		err = line_more(q, tb[TCA_LINE_WORDS], &trace, extack);
		if (err)
			return err;
	}
	if (tb[TCA_LINE_RATE])
		rate = nla_get_u64(tb[TCA_LINE_RATE]);
	if (tb[TCA_LINE_START] && nla_get_s64(tb[TCA_LINE_START]) != start_real) {
		start_real = nla_get_s64(tb[TCA_LINE_START]);
		start = line_monotonic(start_real);
	}
	/* What says nothing new leaves everything as it is, down to the bit being sent. */
	if (trace == q->trace && start == q->start && rate == q->rate)
		return 0;

	sch_tree_lock(sch);
	now = ktime_get_ns();
	while (q->serving && !line_by_opportunity(q) && q->owed > 0 && q->since < now)
		line_work(q, &q->since, &q->owed, now);
	if (line_by_opportunity(q) || (trace && !trace->is.rated))
		line_forget(q);	/* whose work is counted otherwise begins anew */
	q->rate = rate;
	q->start = start;
	q->start_real = start_real;
	swap(q->trace, trace);
	if (q->serving && (q->trace || q->rate))
		line_go_on(q, q->since, q->owed);
	else
		line_forget(q);
	if (q->child->q.qlen)
		qdisc_watchdog_schedule_ns(&q->watchdog, now);
	sch_tree_unlock(sch);
	if (trace != q->trace)
		kvfree(trace);
	return 0;
}

static int line_init(struct Qdisc *sch, struct nlattr *opt, struct netlink_ext_ack *extack)
{
	struct line_sched_data *q = qdisc_priv(sch);
	struct Qdisc *child;

	q->child = &noop_qdisc;
	q->start = line_monotonic(0);
	qdisc_watchdog_init(&q->watchdog, sch);
	child = fifo_create_dflt(sch, &pfifo_qdisc_ops, LINE_QUEUE, extack);
	if (IS_ERR(child))
		return PTR_ERR(child);
	qdisc_hash_add(child, true);
	q->child = child;
	return opt ? line_change(sch, opt, extack) : 0;
}

static void line_destroy(struct Qdisc *sch)
{
	struct line_sched_data *q = qdisc_priv(sch);

	qdisc_watchdog_cancel(&q->watchdog);
	qdisc_put(q->child);
	kvfree(q->trace);
	kvfree(q->coming);
}

static int line_dump(struct Qdisc *sch, struct sk_buff *skb)
{
	struct line_sched_data *q = qdisc_priv(sch);
	struct tc_line_trace none = {};
	struct nlattr *nest = nla_nest_start_noflag(skb, TCA_OPTIONS);

	if (!nest)
		return -1;
	if (nla_put_u64_64bit(skb, TCA_LINE_RATE, q->rate, TCA_LINE_PAD) ||
	    nla_put_s64(skb, TCA_LINE_START, q->start_real, TCA_LINE_PAD) ||
	    nla_put(skb, TCA_LINE_TRACE, sizeof(none), q->trace ? &q->trace->is : &none) ||
	    nla_put_u32(skb, TCA_LINE_CHECKSUM, q->trace ? q->trace->checksum : 0)) {
		nla_nest_cancel(skb, nest);
		return -1;
	}
	return nla_nest_end(skb, nest);
}

/* Its one class is where the child hangs. */

static int line_graft(struct Qdisc *sch, unsigned long class, struct Qdisc *new, struct Qdisc **old,
		      struct netlink_ext_ack *extack)
{
	struct line_sched_data *q = qdisc_priv(sch);

	*old = qdisc_replace(sch, new ?: &noop_qdisc, &q->child);
	line_forget(q);
	return 0;
}

static struct Qdisc *line_leaf(struct Qdisc *sch, unsigned long class)
{
	struct line_sched_data *q = qdisc_priv(sch);

	return q->child;
}

static unsigned long line_find(struct Qdisc *sch, u32 classid)
{
	return 1;
}

static void line_walk(struct Qdisc *sch, struct qdisc_walker *walker)
{
	if (!walker->stop)
		tc_qdisc_stats_dump(sch, 1, walker);
}

static int line_dump_class(struct Qdisc *sch, unsigned long class, struct sk_buff *skb, struct tcmsg *tcm)
{
	struct line_sched_data *q = qdisc_priv(sch);

	tcm->tcm_handle |= TC_H_MIN(1);
	tcm->tcm_info = q->child->handle;
	return 0;
}

static const struct Qdisc_class_ops line_class_ops = {
	.graft		= line_graft,
	.leaf		= line_leaf,
	.find		= line_find,
	.walk		= line_walk,
	.dump		= line_dump_class,
};

static struct Qdisc_ops line_qdisc_ops __read_mostly = {
	.id		= "line",
	.cl_ops		= &line_class_ops,
	.priv_size	= sizeof(struct line_sched_data),
	.enqueue	= line_enqueue,
	.dequeue	= line_dequeue,
	.peek		= qdisc_peek_dequeued,
	.init		= line_init,
	.reset		= line_reset,
	.destroy	= line_destroy,
	.change		= line_change,
	.dump		= line_dump,
	.owner		= THIS_MODULE,
};

static int __init line_module_init(void)
{
	return register_qdisc(&line_qdisc_ops);
}
module_init(line_module_init)
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("A line that sends one packet at a time");
