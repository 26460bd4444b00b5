"""Odd packets at a port, from a network namespace: what they are, and what came back. Decides nothing: the test does.

    packets.py syns SOURCE DESTINATION PORT FENCE     first packets of TCP, each written in another odd way
    packets.py datagrams OWN HOST PORT FENCE ...      UDP from SOURCE>DESTINATION, which need be neither's own
    packets.py transports DESTINATION PORT            other protocols than TCP and UDP, and the ICMP errors for them
    packets.py advertise DESTINATION                  a router advertisement

Every packet goes out of eth0. The last one of a run is for the port FENCE, which answers: what is not answered by then has
no answer. `syns` prints a line for each case: its name, and the TCP flags of the answer or `-`.
"""

import random
import sys
import threading

from scapy.all import (
    ICMP, ICMPv6ND_RA, ICMPv6NDOptSrcLLAddr, IP, TCP, UDP, AsyncSniffer, Dot1Q, Ether, IPOption_NOP, IPOption_RR, IPv6,
    IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, IPv6ExtHdrSegmentRouting, PadN, Raw,
    conf, fragment, get_if_hwaddr, getmacbyip, getmacbyip6, sendp,
)

INTERFACE = "eth0"
# Far beyond what any answer takes; only a run without its fence waits so long.
PATIENCE = 10
# After the fence's answer, for one that another processor was slower with.
GRACE = 0.2
TCP_NUMBER, OPTIONS_NUMBER = 6, 60

conf.verb = 0
conf.iface = INTERFACE


def is_v6(address):
    return ":" in address


def frame(packet, destination):
    mac = getmacbyip6(destination) if is_v6(destination) else getmacbyip(destination)
    return Ether(src=get_if_hwaddr(INTERFACE), dst=mac) / packet


def plain(network, source, to):
    return network / TCP(sport=source, dport=to, flags="S", seq=7, options=[("MSS", 1400), ("NOP", None), ("WScale", 7)])


def number():
    """Of a packet in pieces: no other's, or what an earlier run left unfinished would be put together with it."""
    return random.randrange(1, 65536)


def v4_cases(source, destination):
    ip = IP(src=source, dst=destination)

    def pieces(port, to):
        return fragment(plain(IP(src=source, dst=destination, id=number()), port, to), fragsize=8)

    def overlapping(port, to):
        # The first says another port, what comes over it the guarded one.
        whole = bytes(plain(ip, port, to)[TCP])
        harmless = whole[:2] + (2222).to_bytes(2, "big") + whole[4:8]
        parts = [(0, harmless, 1), (0, whole[:8], 1), (1, whole[8:], 0)]
        head = {"src": source, "dst": destination, "id": number(), "proto": TCP_NUMBER}
        return [IP(**head, flags=more, frag=at) / Raw(part) for at, part, more in parts]

    return {
        "plain": lambda port, to: [plain(ip, port, to)],
        "options": lambda port, to: [plain(IP(src=source, dst=destination, options=[IPOption_NOP()] * 3 + [IPOption_RR()]), port, to)],
        "header-in-pieces": pieces,
        "pieces-backwards": lambda port, to: pieces(port, to)[::-1],
        "overlapping-pieces": overlapping,
        "priority-tagged": lambda port, to: [Dot1Q(vlan=0, prio=5) / plain(ip, port, to)],
    }


def v6_cases(source, destination):
    def ip():
        return IPv6(src=source, dst=destination)

    def upper(port, to, data=b""):
        """TCP with the checksum that it has behind any chain of headers."""
        return bytes(IPv6(bytes(plain(ip(), port, to) / data))[TCP])

    def behind(*headers):
        def packets(port, to):
            packet = ip()
            for header in headers:
                packet = packet / header.copy()
            packet.lastlayer().nh = TCP_NUMBER
            return [packet / Raw(upper(port, to))]
        return packets

    def in_pieces(cut, before=b"", first=TCP_NUMBER, data=b""):
        def packets(port, to):
            whole = before + upper(port, to, data)
            parts = [(0, whole[:cut], 1), (cut // 8, whole[cut:], 0)]
            packet = number()
            return [ip() / IPv6ExtHdrFragment(id=packet, nh=first, offset=at, m=more) / Raw(part) for at, part, more in parts]
        return packets

    # Destination options with nothing in them, so many that TCP begins in the second piece.
    options = bytes([TCP_NUMBER, 7, 1, 60]) + b"\0" * 60
    return {
        "plain": lambda port, to: [plain(ip(), port, to)],
        "hop-by-hop": behind(IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])),
        "destination-options": behind(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])),
        "many-options": behind(*[IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])] * 6),
        "routing-0": behind(IPv6ExtHdrRouting(addresses=[destination])),
        "segment-routing": behind(IPv6ExtHdrSegmentRouting(addresses=[destination], segleft=0, lastentry=0)),
        "one-piece": behind(IPv6ExtHdrFragment(id=9)),
        "options-and-one-piece": behind(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]), IPv6ExtHdrFragment(id=11)),
        "data-in-pieces": in_pieces(40, data=b"." * 64),
        "header-in-pieces": in_pieces(8),
        "port-in-second-piece": in_pieces(len(options), options, OPTIONS_NUMBER),
        "priority-tagged": lambda port, to: [Dot1Q(vlan=0, prio=5) / plain(ip(), port, to)],
    }


def exchange(frames, fence, destination):
    """Sends all, and the fence at the end; what came back from the destination until the fence was answered."""
    answers, fenced = {}, threading.Event()

    def see(packet):
        if TCP in packet and (packet[IPv6].src if IPv6 in packet else packet[IP].src) == destination:
            answers[packet[TCP].dport] = (packet[TCP].sport, str(packet[TCP].flags))
            if packet[TCP].dport == fence:
                fenced.set()

    started = threading.Event()
    sniffer = AsyncSniffer(iface=INTERFACE, prn=see, store=False, started_callback=started.set)
    sniffer.start()
    started.wait(PATIENCE)
    sendp(frames, iface=INTERFACE)
    if not fenced.wait(PATIENCE):
        sys.exit("the fence was not answered")
    threading.Event().wait(GRACE)
    sniffer.stop()
    return answers


def last(source, destination, fence, port):
    network = IPv6(src=source, dst=destination) if is_v6(destination) else IP(src=source, dst=destination)
    return frame(plain(network, port, fence), destination)


def syns(source, destination, to, fence):
    cases = (v6_cases if is_v6(destination) else v4_cases)(source, destination)
    ports = dict(zip(cases, range(20001, 30000)))
    frames = [frame(packet, destination) for name, case in cases.items() for packet in case(ports[name], int(to))]
    answers = exchange(frames + [last(source, destination, int(fence), 20000)], 20000, destination)
    for name, port in ports.items():
        sport, flags = answers.get(port, (int(to), "-"))
        print(name, flags if sport == int(to) else f"from-{sport}")


def datagrams(own, through, to, fence, *flights):
    """Each flight is SOURCE>DESTINATION; frames go to the host that has the address `through`. The datagram says its flight."""
    frames = []
    for flight in flights:
        source, destination = flight.split(">")
        network = IPv6(src=source, dst=destination) if is_v6(destination) else IP(src=source, dst=destination)
        packet = frame(network / UDP(sport=4000, dport=int(to)) / flight.encode(), through)
        frames.append(packet)
    exchange(frames + [last(own, through, int(fence), 20000)], 20000, through)


def transports(destination, to):
    # Ports stand first in all of them, as in TCP and UDP. Nobody looks further.
    kinds = {132: "sctp", 33: "dccp"}
    body = (20000).to_bytes(2, "big") + int(to).to_bytes(2, "big") + bytes(20)
    errors, complete = {}, threading.Event()

    def see(packet):
        if ICMP in packet and packet[IP].src == destination:
            # The protocol of the packet that the error is about, behind the error's own eight bytes.
            about = bytes(packet[ICMP])[8 + 9]
            errors[about] = f"{packet[ICMP].type}/{packet[ICMP].code}"
            if errors.keys() >= kinds.keys():
                complete.set()

    started = threading.Event()
    sniffer = AsyncSniffer(iface=INTERFACE, prn=see, store=False, started_callback=started.set)
    sniffer.start()
    started.wait(PATIENCE)
    sendp([frame(IP(dst=destination, proto=number) / Raw(body), destination) for number in kinds], iface=INTERFACE)
    complete.wait(PATIENCE)
    sniffer.stop()
    for number, name in kinds.items():
        print(name, errors.get(number, "-"))


def advertise(destination):
    mac = get_if_hwaddr(INTERFACE)
    router = IPv6(src="fe80::66", dst="ff02::1", hlim=255) / ICMPv6ND_RA(routerlifetime=1800) / ICMPv6NDOptSrcLLAddr(lladdr=mac)
    sendp(Ether(src=mac, dst=getmacbyip6(destination)) / router, iface=INTERFACE)


if __name__ == "__main__":
    {"syns": syns, "datagrams": datagrams, "transports": transports, "advertise": advertise}[sys.argv[1]](*sys.argv[2:])
