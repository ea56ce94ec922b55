"""What a host asks of its network, for tests that look at layers 2 and 3; it runs inside the guest.

Every service writes what it found to `result`, a JSON file of the run folder.
"""

import contextlib
import errno
import json
import select
import socket
import ssl
import struct
import time
from pathlib import Path

import dns.message
import dns.query
from pyroute2 import IPRoute

from testbed import namespaces
from testbed.daemons import vty
from testbed.daemons.birdc import ask, learned_routes
from testbed.job import NODES

PORT = 9100
ECHO = {4: (8, 0), 6: (128, 129)}  # type of a request and of its reply (RFC 792, RFC 4443)
UNREACHABLE = {4: 3, 6: 1}
FILTER6 = 1  # ICMP6_FILTER, icmp(7): which types a socket gets
HEADERS = {4: 28, 6: 48}  # IP and UDP
# ip(7) and ipv6(7); Python has names for none of these
MTU_DISCOVER = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
MTU = {4: (socket.IPPROTO_IP, 14), 6: (socket.IPPROTO_IPV6, 24)}
DISCOVER_DONT, DISCOVER_DO = 0, 2
HOPS = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)}
TRIES = 10
PATIENCE_S = 1.0
LOCAL_EXPERIMENT = 0x88B5  # IEEE 802, an EtherType for whoever needs one
PROMISCUOUS = struct.Struct("=iHH8s")  # packet_mreq


def family(address):
    return 6 if ":" in address else 4


def kind(address):
    return socket.AF_INET6 if family(address) == 6 else socket.AF_INET


def write(config, found):
    Path(config["result"]).write_text(json.dumps(found))


def icmp(version):
    """A raw ICMP socket; IPv6's does not get the router's and the neighbours' own business."""
    if version == 4:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    passed = {1, 2, 3, 4, 129}
    blocked = [0xFFFFFFFF] * 8
    for number in passed:
        blocked[number // 32] &= ~(1 << number % 32)
    made.setsockopt(socket.IPPROTO_ICMPV6, FILTER6, struct.pack("=8I", *blocked))
    return made


def received(raw, version):
    """(sender, ICMP message) of what a raw socket holds."""
    data, (sender, *_) = raw.recvfrom(65535)
    return sender, data[(data[0] & 15) * 4 :] if version == 4 else data


def request(version, number):
    kind, _ = ECHO[version]
    body = struct.pack("!HH", number >> 16, number & 0xFFFF) + b"ping" * 2
    head = struct.pack("!BBH", kind, 0, 0)
    if version == 6:  # the kernel sums it
        return head + body
    words = sum(struct.unpack(f"!{(4 + len(body)) // 2}H", head + body))
    words = (words >> 16) + (words & 0xFFFF)
    return struct.pack("!BBH", kind, 0, ~(words + (words >> 16)) & 0xFFFF) + body


def ping(config):
    """Ping all of `targets` at once; {target: round trip in ns, or None}."""
    write(config, pinged(config["targets"]))


def ping_all(config):
    """Ping from every node of `targets` all that it lists, from this one process; {node: as for `ping`}.

    A node's namespace is found by the BIRD that runs in it.
    """
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = path.read_text().split("\0")
        node = Path(words[3]).parent.name if words[0] == "bird" else ""
        if node in config["targets"]:
            with (path.parent / "ns/net").open() as namespace, namespaces.inside(namespace.fileno()):
                found[node] = pinged(config["targets"][node])
    write(config, found)


def pinged(targets):
    found = dict.fromkeys(targets)
    for version in (4, 6):
        sent = {}
        with icmp(version) as raw:
            for number, target in enumerate(t for t in targets if family(t) == version):
                with contextlib.suppress(OSError):  # no route, which is an answer too
                    sent[struct.pack("!I", number)] = (target, time.time_ns())
                    raw.sendto(request(version, number), (target, 0))
            while sent and select.select([raw], [], [], PATIENCE_S)[0]:
                sender, message = received(raw, version)
                target, begun = sent.get(message[4:8], ("", 0))
                if message[0] == ECHO[version][1] and sender == target:
                    del sent[message[4:8]]
                    found[target] = time.time_ns() - begun
    return found


def trace(config):
    """Send UDP to each of `targets` with rising time to live; {target: [[who, type, code] of each hop]}."""
    found = {}
    for target in config["targets"]:
        version = family(target)
        hops = found[target] = []
        with icmp(version) as raw, socket.socket(kind(target), socket.SOCK_DGRAM) as probe:
            for live in range(1, config["most"] + 1):
                probe.setsockopt(*HOPS[version], live)
                with contextlib.suppress(ConnectionRefusedError):  # the last probe's answer
                    probe.sendto(bytes(12), (target, 33434 + live))
                hops.append(answer(raw, version, probe.getsockname()[1], 33434 + live))
                if hops[-1] and hops[-1][1] == UNREACHABLE[version]:
                    break  # whoever says so is the last
    write(config, found)


def answer(raw, version, *ports):
    """Who sent what ICMP error about a datagram with these ports; None if nobody did."""
    while select.select([raw], [], [], PATIENCE_S)[0]:
        who, message = received(raw, version)
        quoted = message[8:]
        udp = quoted[40:] if version == 6 else quoted[(quoted[0] & 15) * 4 :] if quoted else b""
        if message[0] not in ECHO[version] and udp[:4] == struct.pack("!HH", *ports):
            return [who, message[0], message[1]]
    return None


def discover(config):
    """Send datagrams of 1,500 bytes to each target until the path's MTU is known, then one that fits.

    {target: {"mtu", "refused": whether the kernel then refuses 1,500 bytes, "echoed": what fits comes back,
    "fragmented": what may be fragmented comes back whole (IPv4)}}
    """
    found = {}
    for target in config["targets"]:
        version = family(target)
        with socket.socket(kind(target), socket.SOCK_DGRAM) as out:
            out.settimeout(1.0)
            out.setsockopt(*MTU_DISCOVER[version], DISCOVER_DO)
            out.connect((target, PORT))
            refused = False
            for _ in range(TRIES):
                try:
                    out.send(bytes(1500 - HEADERS[version]))
                except OSError as error:
                    refused = error.errno == errno.EMSGSIZE
                    break
                with contextlib.suppress(OSError):  # the ICMP error, or nothing
                    out.recv(65535)
            mtu = out.getsockopt(*MTU[version])
            said = {"mtu": mtu, "refused": refused, "echoed": echoed(out, mtu - HEADERS[version])}
            if version == 4:
                out.setsockopt(*MTU_DISCOVER[version], DISCOVER_DONT)
                said["fragmented"] = echoed(out, 1500 - HEADERS[version])
            found[target] = said
    write(config, found)


def echoed(out, size):
    out.send(bytes(size))
    try:
        return len(out.recv(65535))
    except TimeoutError:
        return 0


def upload(config):
    """Send each target `size` bytes over TCP; {target: {"mtu", "taken": bytes that it says it has}}."""
    found = {}
    for target in config["targets"]:
        with socket.create_connection((target, PORT), timeout=30) as out:
            out.sendall(bytes(config["size"]))
            out.shutdown(socket.SHUT_WR)
            taken = int(out.makefile().read())
            found[target] = {"mtu": out.getsockopt(*MTU[family(target)]), "taken": taken}
    write(config, found)


def visit(config):
    """Ask `resolver` for the IPv6 address of each name, and the server there whether it is well.

    {name: [address, HTTP status]}; the certificate has to be good for the name.
    """
    trusting = ssl.create_default_context(cafile=config["ca"])
    found = {}
    for name in config["names"]:
        answer = dns.query.udp(dns.message.make_query(name, "AAAA"), config["resolver"], timeout=5)
        (address,) = [str(each) for records in answer.answer for each in records]
        with (
            socket.create_connection((address, 443), timeout=5) as plain,
            trusting.wrap_socket(plain, server_hostname=name) as secure,
        ):
            secure.sendall(f"GET /health HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            found[name] = [address, int(secure.makefile().readline().split()[1])]
    write(config, found)


def learned(config):
    """The routes that a BIRD learned by BGP: {prefix: AS path}."""
    write(config, {route.prefix: route.as_path for route in learned_routes(config["bird"])})


def routes(config):
    """What every daemon of `nodes` has learned: {node: lines of BIRD's best routes, or FRR's JSON}."""
    found = {}
    for node in config["nodes"]:
        frr = Path(NODES, node, "bgpd.vty")
        if frr.exists():
            found[node] = json.loads(vty.ask(str(frr), "show bgp ipv4 unicast json detail"))["routes"]
        else:
            found[node] = ask(f"{NODES}/{node}/bird.ctl", "show route primary all table master4")
    write(config, found)


def kernel(config):
    """The IPv4 routes of the node's kernel that have several next hops: {prefix: [addresses]}."""
    with IPRoute() as netlink:
        found = {}
        for message in netlink.get_routes(family=socket.AF_INET):
            hops = message.get_attr("RTA_MULTIPATH") or ()
            if hops:
                prefix = f"{message.get_attr('RTA_DST')}/{message['dst_len']}"
                found[prefix] = sorted(hop.get_attr("RTA_GATEWAY") for hop in hops)
    write(config, found)


def serve(_config):
    """Echo datagrams, and count what comes over TCP, on both families."""
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.bind(("::", PORT))
    # what is sent back may be fragmented on the way; nobody asks about this direction
    datagrams.setsockopt(*MTU_DISCOVER[4], DISCOVER_DONT)
    streams = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        ready, _, _ = select.select([datagrams, streams], [], [])
        if datagrams in ready:
            data, sender = datagrams.recvfrom(65535)
            with contextlib.suppress(OSError):  # an ICMP error of one before
                datagrams.sendto(data, sender)
        if streams in ready:
            stream, _ = streams.accept()
            with stream:
                taken = 0
                while data := stream.recv(65536):
                    taken += len(data)
                stream.sendall(str(taken).encode())


def station(config):
    """Be a station of an address of our own on the LAN: answer each frame to it with one from it."""
    with packets(config) as raw:
        while True:
            frame, (_, _, direction, *_) = raw.recvfrom(2048)
            if frame[:6] == bytes.fromhex(config["mac"]) and direction != socket.PACKET_OUTGOING:
                raw.send(frame[6:12] + frame[:6] + frame[12:])


def call(config):
    """Send a station two frames, the second when the first is answered."""
    with packets(config) as raw:
        own = raw.getsockname()[4]
        answers = 0
        for _ in range(2):
            raw.send(bytes.fromhex(config["to"]) + own + struct.pack("!H", LOCAL_EXPERIMENT) + bytes(46))
            while select.select([raw], [], [], PATIENCE_S)[0]:
                frame, (_, _, direction, *_) = raw.recvfrom(2048)
                if frame[:6] == own and direction != socket.PACKET_OUTGOING:
                    answers += 1
                    break
    write(config, answers)


def packets(config):
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(LOCAL_EXPERIMENT))
    raw.bind((config["interface"], LOCAL_EXPERIMENT))
    index = socket.if_nametoindex(config["interface"])
    raw.setsockopt(
        263, 1, PROMISCUOUS.pack(index, 1, 0, b"")
    )  # SOL_PACKET, PACKET_ADD_MEMBERSHIP: all frames
    return raw
