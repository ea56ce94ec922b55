"""The schema of every table: what users query, whatever the scenario."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

_INT, _BIG, _TEXT, _FLAG = pa.int32(), pa.int64(), pa.string(), pa.bool_()
_U8, _U16, _U32 = pa.uint8(), pa.uint16(), pa.uint32()


@dataclass(frozen=True)
class Column:
    """A column of a table: its type, and what it says in one line."""

    type: pa.DataType
    about: str


@dataclass(frozen=True)
class Table:
    """A table: what a row is, the columns in order, and what the rows are sorted by."""

    row: str
    columns: dict[str, Column]

    @property
    def arrow(self) -> pa.Schema:
        """The schema as pyarrow has it."""
        return pa.schema([(name, column.type) for name, column in self.columns.items()])

    @property
    def time(self) -> str | None:
        """The column that places a row in time; None if a row lasts the whole run."""
        return next((name for name in ("t_ns", "sent_ns", "start_ns") if name in self.columns), None)


def _columns(**columns: tuple[pa.DataType, str]) -> dict[str, Column]:
    return {name.removesuffix("_"): Column(*column) for name, column in columns.items()}


_T = (_BIG, "nanoseconds since the scenario's start; negative while the network converges")
_POINT = {
    "node": (_TEXT, "node at which the capture was taken"),
    "interface": (_TEXT, "interface at which the capture was taken"),
    "link": (_TEXT, "link of that interface"),
}
_FLOW = (_U32, "number of the connection, the same at every capture point; null if there is none")

TABLES: dict[str, Table] = {
    "events": Table("one thing the timeline did", _columns(
        t_ns=_T,
        fault=(_INT, "number of the fault in the scenario, from 1; 0 is the run itself"),
        kind=(_TEXT, "kind of the fault"),
        target=(_TEXT, "what it strikes"),
        phase=(_TEXT, "planned, began, took_hold, ended, healed or not-healed"),
        detail=(_TEXT, "more in words"),
    )),
    "packets": Table("one packet at one capture point", _columns(
        t_ns=_T,
        **_POINT,
        direction=(_TEXT, "out or in, as the capturing node sees it"),
        src=(_TEXT, "source address (IP, or of ARP's sender)"),
        dst=(_TEXT, "destination address (IP, or of ARP's target)"),
        proto=(_TEXT, "tcp, udp, icmp, icmp6, arp, another IP protocol's number, or other"),
        sport=(_U16, "source port of TCP and UDP"),
        dport=(_U16, "destination port of TCP and UDP"),
        length=(_U32, "bytes on the wire from the Ethernet header on, without the checksum"),
        ttl=(_U8, "time to live, or hop limit"),
        ip_id=(_U16, "identification of IPv4"),
        ecn=(_U8, "ECN field of IP: 0 not capable, 1 and 2 capable, 3 congestion experienced"),
        tcp_flags=(_U16, "FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, AE 256"),
        tcp_seq=(_U32, "sequence number as sent"),
        tcp_ack=(_U32, "acknowledgement number as sent"),
        tcp_len=(_U32, "bytes of TCP payload"),
        tcp_window=(_U16, "window as sent, not scaled"),
        ts_val=(_U32, "value of the timestamps option"),
        ts_ecr=(_U32, "echo reply of the timestamps option"),
        sack=(pa.list_(_U32), "edges of the SACK blocks: left, right, left, right, …; null if none"),
        flow_id=_FLOW,
        retransmission=(_FLAG, "a segment all of whose bytes were seen here before; null if not TCP"),
        vlan=(_U16, "number of the (outer) VLAN; null if there is no tag"),
        fragment=(_U32, "where the fragment belongs in its packet, in bytes; null if it is none"),
        tcp_mss=(_U16, "maximum segment size option"),
        tcp_scale=(_U8, "window scale option"),
        icmp_type=(_U8, "type of ICMP and ICMPv6"),
        icmp_code=(_U8, "code of ICMP and ICMPv6"),
        quoted_src=(_TEXT, "source address of the packet that an ICMP error is about"),
        quoted_dst=(_TEXT, "destination address of that packet"),
        quoted_proto=(_TEXT, "protocol of that packet"),
        quoted_sport=(_U16, "source port of that packet"),
        quoted_dport=(_U16, "destination port of that packet"),
        starts_with=(_TEXT, "what the payload starts with: dns-query, bgp-update, tls-data, quic-initial, …"),
        tcp_analysis=(_TEXT, "what Wireshark would call the segment here: retransmission, duplicate-ack, …"),
        rtt_ns=(_BIG, "since the segment that this acknowledges was seen here; null if that is not one"),
        in_flight=(_U32, "bytes sent and neither acknowledged nor SACKed here; null without payload"),
    )),
    "flows": Table("one TCP or UDP flow at one capture point", _columns(
        flow_id=_FLOW,
        **_POINT,
        client=(_TEXT, "node that opened it, or its address if no node has it"),
        server=(_TEXT, "node at the other end, or its address"),
        client_address=(_TEXT, "address of the client"),
        server_address=(_TEXT, "address of the server"),
        sport=(_U16, "port of the client"),
        dport=(_U16, "port of the server"),
        proto=(_TEXT, "tcp or udp"),
        start_ns=(_BIG, "time of the first packet here"),
        end_ns=(_BIG, "time of the last packet here"),
        packets_up=(_BIG, "packets from client to server"),
        packets_down=(_BIG, "packets from server to client"),
        bytes_up=(_BIG, "bytes on the wire from client to server"),
        bytes_down=(_BIG, "bytes on the wire from server to client"),
        payload_up=(_BIG, "bytes of payload from client to server, each transmission counted"),
        payload_down=(_BIG, "bytes of payload from server to client, each transmission counted"),
        unique_up=(_BIG, "bytes of payload from client to server, each counted once"),
        unique_down=(_BIG, "bytes of payload from server to client, each counted once"),
        retransmitted=(_BIG, "segments all of whose bytes were seen here before"),
        out_of_order=(_BIG, "segments that fill a hole: late, or lost before this point and sent again"),
        dup_acks=(_BIG, "duplicate acknowledgements (RFC 5681)"),
        rtt_min_ns=(_BIG, "least time from data to its acknowledgement here; null without a sample"),
        rtt_p50_ns=(_BIG, "median of it"),
        rtt_p95_ns=(_BIG, "95th percentile of it"),
        handshake_ns=(_BIG, "from the first SYN to the client's acknowledgement; null if not seen"),
        reset=(_FLAG, "a RST was seen"),
        fast_retransmissions=(_BIG, "segments that tcp_analysis calls so"),
        spurious_retransmissions=(_BIG, "segments that tcp_analysis calls so"),
        timeouts=(_BIG, "segments sent again after 200 ms or more of silence: the timer (RFC 6298)"),
        zero_windows=(_BIG, "segments that close the receive window"),
        windows_full=(_BIG, "segments that fill the receiver's window"),
        in_flight_max=(_BIG, "most bytes sent and neither acknowledged nor SACKed, as seen here"),
        tls_ns=(_BIG, "from the client's hello to the end of its TLS handshake; null if not seen"),
    )),
    "hops": Table("one packet crossing a node and its next link", _columns(
        link=(_TEXT, "link it leaves by; null if it was lost and this cannot be inferred"),
        from_=(_TEXT, "node it crosses"),
        to=(_TEXT, "node at the other end of the link"),
        flow_id=_FLOW,
        sent_ns=(_BIG, "when it reached the node `from`"),
        received_ns=(_BIG, "when it reached the node `to`; null if lost"),
        delay_ns=(_BIG, "received_ns less sent_ns: queue, rate, delay and jitter"),
        lost=(_FLAG, "it never came out"),
        ambiguous=(_FLAG, "equal packets were under way at once; which of them is not certain"),
    )),
    "links": Table("a sample of what leaves an interface, cumulative", _columns(
        t_ns=_T,
        link=(_TEXT, "link"),
        node=(_TEXT, "node that sends"),
        interface=(_TEXT, "interface it sends by"),
        bytes=(_BIG, "bytes sent"),
        packets=(_BIG, "packets sent"),
        drops=(_BIG, "packets dropped by the queue"),
        queue_bytes=(_BIG, "bytes waiting now"),
        marks=(_BIG, "packets marked by the queue management (ECN)"),
        aqm_drops=(_BIG, "packets that it dropped before its queue was full; of cake, all of them"),
    )),
    "bgp": Table("one BGP message (one prefix of an update) as it reached a router", _columns(
        t_ns=_T,
        node=(_TEXT, "router that receives"),
        peer=(_TEXT, "router that sends"),
        kind=(_TEXT, "open, announce, withdraw, end-of-rib, keepalive, notification, route-refresh, closed"),
        prefix=(_TEXT, "prefix announced or withdrawn"),
        as_path=(_TEXT, "AS numbers, nearest first: 64501 64510; a set in braces"),
        next_hop=(_TEXT, "address of the next hop"),
        origin=(_TEXT, "igp, egp or incomplete"),
        med=(_U32, "multi-exit discriminator"),
        local_pref=(_U32, "local preference; between routers of one AS"),
        communities=(pa.list_(_TEXT), "64501:100, no-export, large ones 64501:1:2, extended ones 0x…"),
        originator=(_TEXT, "router that a route reflector had it from"),
        clusters=(pa.list_(_TEXT), "clusters of route reflectors that it passed, the last first"),
        atomic_aggregate=(_FLAG, "a more specific route was left out of it"),
        aggregator=(_TEXT, "AS and router that put it together"),
        path_id=(_U32, "which of several paths of one neighbour to the prefix (ADD-PATH)"),
        reason=(_TEXT, "why a session ends, of a notification"),
        flow_id=(_U32, "connection that it was said on: two routers have one for each family"),
    )),
    "routes": Table("a change of one node's forwarding table (the main one)", _columns(
        t_ns=_T,
        node=(_TEXT, "node whose table it is"),
        prefix=(_TEXT, "prefix, of either family"),
        change=(_TEXT, "present (when the network was built), added, changed or removed"),
        kind=(_TEXT, "unicast, or what becomes of packets: blackhole, unreachable, prohibit"),
        via=(pa.list_(_TEXT), "gateways, several for ECMP; an empty one: the prefix is on the link itself"),
        link=(pa.list_(_TEXT), "links, one for each gateway; lo for the node itself"),
        protocol=(_TEXT, "who set it: kernel, static, bird, bgp, ospf, …"),
        metric=(pa.uint32(), "of several routes to a prefix the least is used"),
    )),
    "dns": Table("one DNS query over UDP and its answer", _columns(
        t_ns=_T,
        node=(_TEXT, "node that asks"),
        server=(_TEXT, "node that is asked"),
        qname=(_TEXT, "name asked for"),
        qtype=(_TEXT, "type asked for: A, AAAA, …"),
        rcode=(_TEXT, "NOERROR, NXDOMAIN, SERVFAIL, …; null if no answer came"),
        answers=(pa.list_(_TEXT), "records of the answer: A 10.0.0.1"),
        latency_ns=(_BIG, "from query to answer at the asker; null if no answer came"),
    )),
    "requests": Table("one HTTP request of a client", _columns(
        t_ns=_T,
        session_id=(_TEXT, "playback it belongs to"),
        request_id=(_TEXT, "name of the request"),
        client=(_TEXT, "node that asks"),
        oca=(_TEXT, "OCA that is asked, or steering"),
        url=(_TEXT, "URL"),
        status=(_INT, "status of the response; 0 if none came"),
        bytes=(_BIG, "bytes of the body"),
        dns_ns=(_BIG, "time to resolve the name"),
        connect_ns=(_BIG, "time to connect; 0 on a connection in use"),
        tls_ns=(_BIG, "time of the TLS handshake; 0 on a connection in use"),
        first_byte_ns=(_BIG, "from the start of the request to the first byte"),
        total_ns=(_BIG, "from the start of the request to the last byte"),
        error=(_TEXT, "what went wrong; empty if nothing"),
        address=(_TEXT, "address of the server that was connected to; empty if none"),
        sport=(_U16, "the client's port of the connection, as in `flows`; null if there was none"),
        http=(_TEXT, "version of HTTP of the answer: 1.1 or 2; empty if none"),
    )),
    "served": Table("one request as the server that answered it logged it", _columns(
        t_ns=(_BIG, "when it was logged, at its end; to the millisecond"),
        node=(_TEXT, "OCA or origin that answered"),
        client=(_TEXT, "node that asked, or its address if no node has it"),
        sport=(_U16, "the client's port of the connection"),
        request_id=(_TEXT, "name of the request, as in `requests`; empty if it had none"),
        method=(_TEXT, "GET, HEAD, …"),
        path=(_TEXT, "what was asked for"),
        status=(_INT, "status of the response"),
        body_bytes=(_BIG, "bytes of the body that were sent"),
        bytes=(_BIG, "bytes that were sent, headers included"),
        took_ns=(_BIG, "from the first byte of the request to the last of the response, to the millisecond"),
        tls=(_TEXT, "version of TLS"),
        connection=(_BIG, "number of the connection at this server"),
    )),
    "traffic": Table("one transfer of background traffic, as its client saw it", _columns(
        t_ns=_T,
        workload=(_INT, "which of the scenario's background traffic, from 1"),
        kind=(_TEXT, "bulk, web, realtime, …"),
        client=(_TEXT, "node that asked"),
        server=(_TEXT, "node that sent"),
        bytes=(_BIG, "bytes received"),
        took_ns=(_BIG, "from asking to the end"),
        error=(_TEXT, "what went wrong; empty if nothing"),
        sent=(_BIG, "real-time: datagrams sent"),
        received=(_BIG, "real-time: datagrams received, each counted once"),
        delay_p50_ns=(_BIG, "real-time: median one-way delay"),
        delay_p95_ns=(_BIG, "real-time: 95th percentile of it"),
        delay_p99_ns=(_BIG, "real-time: 99th percentile of it"),
        jitter_ns=(_BIG, "real-time: jitter of RFC 3550 at the end"),
    )),
    "steering": Table("one OCA in one decision of the steering service", _columns(
        t_ns=_T,
        decision=(_INT, "number of the decision, from 1"),
        client=(_TEXT, "node that asks, or its address"),
        address=(_TEXT, "address that it asks from"),
        title=(_TEXT, "title it asks for"),
        status=(_INT, "HTTP status of the answer"),
        mode=(_TEXT, "list (asked over HTTPS) or dns"),
        miss=(_TEXT, "why the best placed OCA does not serve: content, health or other miss; or empty"),
        oca=(_TEXT, "OCA, or the origin; null in a decision without any"),
        rank=(_INT, "place among all that may serve, from 1; null if it may not, and of the origin"),
        place=(_INT, "place in the list that the client got, from 1; null if it is not there"),
        reason=(_TEXT, "why it may not serve, or why it comes where it does"),
        decided_by=(_TEXT, "criterion by which it comes behind the one before: prefix, site, path, med, …"),
        site=(_TEXT, "embedded, pni, exchange or transit; null where the policy does not compare it"),
        prefix=(_TEXT, "longest prefix that it learned and the client is in"),
        as_path=(_TEXT, "AS path of that route"),
        med=(pa.int64(), "MED of that route; a missing one is 0"),
        distance=(_TEXT, "from the OCA to the client; null where the policy does not compare it"),
        age_ns=(_BIG, "age of its last report"),
    )),
    "fill": Table("one file that an OCA fetched, or tried to", _columns(
        t_ns=_T,
        oca=(_TEXT, "OCA that fetches"),
        title=(_TEXT, "title that the file belongs to"),
        file=(_TEXT, "name of the file"),
        source=(_TEXT, "OCA that it is fetched from, or origin"),
        kind=(_TEXT, "peer (of its own cluster), tier (another OCA) or origin"),
        request_id=(_TEXT, "name of the request, which the source's access log has, too"),
        status=(_INT, "HTTP status; 0 if none came"),
        bytes=(_BIG, "bytes of the body"),
        total_ns=(_BIG, "from the look-up of the source's name to the last byte"),
        error=(_TEXT, "what went wrong; empty if nothing"),
    )),
    "playback": Table("one player event", _columns(
        t_ns=_T,
        session_id=(_TEXT, "playback"),
        event=(_TEXT, "startup, segment, switch, stall, resume, failover, (un)pause, seek(ed), skip, end"),
        bitrate_kbps=(_BIG, "bitrate in use"),
        buffer_ns=(_BIG, "video in the buffer"),
        detail=(_TEXT, "more, as JSON"),
    )),
    "sessions": Table("one playback", _columns(
        session_id=(_TEXT, "playback"),
        client=(_TEXT, "node that plays"),
        isp=(_TEXT, "ISP of the client"),
        title=(_TEXT, "title it plays"),
        start_ns=(_BIG, "when it was to start"),
        play_delay_ns=(_BIG, "from start to the first frame; null if there was none"),
        rebuffers=(_INT, "times it stalled"),
        rebuffer_ns=(_BIG, "time stalled"),
        played_ns=(_BIG, "video played; null if the player did not say"),
        mean_kbps=(pa.float64(), "mean bitrate of the segments received; null if none"),
        bitrate_kbps=(pa.float64(), "bitrate averaged over the time played; null if none was"),
        rebuffer_ratio=(pa.float64(), "time stalled over time stalled and played; null without either"),
        rebuffers_per_hour=(pa.float64(), "stalls per hour played; null if nothing was"),
        switches=(_INT, "changes of bitrate"),
        failovers=(_INT, "moves to another OCA after a failure"),
        ocas=(pa.list_(_TEXT), "OCAs that served it, in the order of first use"),
        outcome=(_TEXT, "completed, left (the viewer stopped), error, or cut (the scenario ended first)"),
        reason=(_TEXT, "why it ended before its title; empty if it did not"),
        start_failure=(_FLAG, "it ended in error before the first frame"),
        abr=(_TEXT, "kind of its ABR algorithm"),
        device=(_TEXT, "device of the population's mix; empty if none"),
        latency_ns=(_BIG, "live: mean of how far playing was behind the edge, at each segment; else null"),
        qoe_lin=(pa.float64(), "QoE_lin a segment (Yin et al. 2015), Mbit/s, λ = 1, μ = μs = 3 Mbit/s"),
    )),
    "captures": Table("one capture point and how complete its capture is", _columns(
        **_POINT,
        packets=(_BIG, "packets in the capture"),
        drops=(_BIG, "packets the kernel dropped; null if the guest did not say"),
        unreadable=(_BIG, "packets lost to damage, or that the guest recorded and are not there"),
        unread_bytes=(_BIG, "bytes at the end of the file that make no packet"),
    )),
}  # fmt: skip
