#!/usr/bin/env python3
"""A client of Usher's binary protocol, written from docs/protocol.md alone.

    python3 client.py 127.0.0.1:7700 [API-KEY]

It creates an event, holds two seats, repeats the request as after a lost
answer, confirms, holds and releases another seat, reads the map, and deletes
the event. It prints a line per step and fails on the first surprise.
"""
import hashlib, os, socket, struct, sys, time

HELLO, LOCATE, MAP, GET_HOLD = 1, 8, 12, 14
HOLD, CONFIRM, RELEASE, CREATE, DELETE, ASSIGN, UNASSIGN = 32, 37, 38, 45, 46, 64, 65
OK, TAKEN, BOOKED, UNKNOWN_EVENT = 0, 1, 6, 17
REPEAT, ANSWER, CONSISTENT = 1, 2, 8
STATES = ("free", "held", "booked", "blocked")


def expect(condition, text):
    if not condition:
        sys.exit("surprise: " + text)


def hashed_id(key):
    b = bytearray(hashlib.sha256(key).digest()[:16])
    b[6], b[8] = b[6] & 0x0F | 0x80, b[8] & 0x3F | 0x80
    return bytes(b)


def timed_id(now):
    b = bytearray(now.to_bytes(6, "big") + os.urandom(10))
    b[6], b[8] = b[6] & 0x0F | 0x70, b[8] & 0x3F | 0x80
    return bytes(b)


def buyer(name):
    return (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") or 1) if name else 0


def text16(b):
    return struct.pack("<H", len(b)) + b


def seats(*ids):
    return struct.pack("<H%dI" % len(ids), len(ids), *ids)


def read_seats(b):
    n, = struct.unpack_from("<H", b)
    return list(struct.unpack_from("<%dI" % n, b, 2)), b[2 + 4 * n:]


def number(n):
    b = bytearray()
    while n >= 0x80:
        b.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(b + bytes([n]))


def text(s):
    return number(len(s.encode())) + s.encode()


def manifest(key, name):
    """Section A with rows 1 and 2 of ten seats, and a lawn for 100 people."""
    rules = struct.pack("<IIIBBHBqq", 900_000, 1_800_000, 600_000, 1, 10, 0, 0, 0, 0)
    rows = [text(r) + number(10) + bytes([0, 0]) for r in ("1", "2")]  # no traits, category 0
    return b"".join([
        b"\x01", rules, text(key), text(name),
        number(2), text("Gold"), text("Lawn"),
        number(1), text("A"), number(len(rows)), *rows,
        number(1), text("Lawn"), b"\x01", number(100)])


class Connection:
    def __init__(self, address, key):
        host, port = address.rsplit(":", 1)
        self.sock = socket.create_connection((host.strip("[]"), int(port)), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = 0
        status, body = self.ask(HELLO, b"USHR" + struct.pack("<HHB", 1, 1, 0) + text16(key))
        expect(status == OK, "hello: status %d %r" % (status, body))
        self.version, _, self.max_in_flight = struct.unpack_from("<HBI", body)
        self.node = body[25:].decode()

    def read(self, n):
        b = b""
        while len(b) < n:
            part = self.sock.recv(n - len(b))
            expect(part, "the node closed the connection")
            b += part
        return b

    def ask(self, kind, body, flags=0):
        """Sends one request and waits for its answer."""
        self.requests += 1
        self.sock.sendall(struct.pack("<IBBHQ", 12 + len(body), kind, flags, 0, self.requests) + body)
        length, got, flags, status, request = struct.unpack("<IBBHQ", self.read(16))
        expect(length >= 12 and got == kind and flags == ANSWER and request == self.requests, "a frame that is no answer to ours")
        return status, self.read(length - 12)

    def must(self, what, kind, body, flags=0):
        status, answer = self.ask(kind, body, flags)
        expect(status == OK, "%s: status %d %r" % (what, status, answer))
        return answer


class Event:
    """An event on a connection, and what is known of its shard's time."""

    def __init__(self, connection, location):
        self.c = connection
        self.id, self.shard, now = struct.unpack_from("<QIq", location)
        expect(location[20:22] == b"\0\0", "this example does not follow leaders")
        self.ahead = now - time.monotonic_ns() // 1_000_000

    def now(self):
        return self.ahead + time.monotonic_ns() // 1_000_000

    def mutation(self, id):
        return struct.pack("<Q16sq", self.id, id, self.now() + 5_000)

    def hold(self, id, *ids, flags=0, who="alice"):
        body = self.mutation(id) + struct.pack("<QQQIBB", buyer(who), 0, 0, 60_000, 0, 0) + seats(*ids)
        return self.c.ask(HOLD, body, flags)

    def on_hold(self, what, kind, id, fence, *ids, flags=0):
        return self.c.must(what, kind, self.mutation(id) + struct.pack("<Q", fence) + seats(*ids), flags)

    def map(self):
        body = self.c.must("map", MAP, struct.pack("<Q", self.id), CONSISTENT)
        version, now, age, words = struct.unpack_from("<QqII", body)
        expect(len(body) == 24 + 16 * words, "a map of %d words with %d bytes" % (words, len(body)))

        def state(seat):
            low, high = struct.unpack_from("<QQ", body, 24 + 16 * (seat // 64))
            return STATES[2 * (high >> seat % 64 & 1) + (low >> seat % 64 & 1)]
        return version, words, state


def main(address, key=""):
    c = Connection(address, key.encode())
    print("hello: node %s, version %d, %d requests in flight" % (c.node, c.version, c.max_in_flight))

    name = "python-" + os.urandom(6).hex()
    encoded = manifest(name, "Summer Gala")
    digest = hashlib.sha256(encoded).digest()
    nobody = struct.pack("<Q16sq", 0, hashed_id(os.urandom(16)), 0)
    e = Event(c, c.must("assign", ASSIGN, nobody + text16(name.encode()) + digest))
    c.must("create", CREATE, e.mutation(timed_id(e.now())) + struct.pack("<II32sI", 0, len(encoded), digest, len(encoded)) + encoded)
    found = c.must("locate", LOCATE, text16(name.encode()))
    expect(struct.unpack_from("<QI", found) == (e.id, e.shard), "locate finds another event")
    print("create: event %d in shard %d, %d bytes of manifest" % (e.id, e.shard, len(encoded)))

    version, words, state = e.map()
    expect(words == 1 + 1 + 2, "%d words" % words)
    expect([state(s) for s in (0, 9, 10, 64, 128, 227, 228)] == ["free", "free", "blocked", "free", "free", "free", "blocked"], "the map of a new event")
    print("map: version %d, row 1 begins with seat 0, row 2 with 64, the lawn with 128" % version)

    hold = timed_id(e.now())
    status, granted = e.hold(hold, 3, 4)
    expect(status == OK, "hold: status %d %r" % (status, granted))
    fence, deadline, now = struct.unpack_from("<Qqq", granted)
    expect(read_seats(granted[24:]) == ([3, 4], b"") and deadline - now == 60_000, "granted %r" % granted)
    print("hold: seats A-1-4 and A-1-5, fence %#x, for %d ms" % (fence, deadline - now))

    expect(e.hold(hold, 3, 4, flags=REPEAT) == (OK, granted), "a repeated hold has another answer")
    print("repeat: the same answer")

    status, lost = e.hold(timed_id(e.now()), 4, 5, who="bob")
    expect(status == TAKEN and read_seats(lost[8:])[0] == [4], "a hold of a taken seat: status %d %r" % (status, lost))
    print("taken: Bob cannot have seat A-1-5, and gets none")

    confirmed = e.on_hold("confirm", CONFIRM, hold, fence)
    expect(confirmed[0] == 0 and read_seats(confirmed[9:]) == ([3, 4], b""), "confirmed %r" % confirmed)
    expect(e.on_hold("confirm again", CONFIRM, hold, fence, flags=REPEAT) == confirmed, "a repeated confirm has another answer")
    status, _ = c.ask(RELEASE, e.mutation(hold) + struct.pack("<Q", fence) + seats())
    expect(status == BOOKED, "releasing a booking: status %d" % status)
    info = c.must("get hold", GET_HOLD, struct.pack("<Q16s", e.id, hold))
    expect(info[0] == 3 and struct.unpack_from("<Q", info, 3) == (fence,), "the hold is in state %d" % info[0])
    print("confirm: both seats are booked, once")

    other = timed_id(e.now())
    status, granted = e.hold(other, 64, 65, 66)
    expect(status == OK, "second hold: status %d" % status)
    second, = struct.unpack_from("<Q", granted)
    freed = e.on_hold("release", RELEASE, other, second, 65)
    expect(second > fence and read_seats(freed[8:])[0] == [65], "released %r" % freed)
    print("release: seat A-2-2 is free again, A-2-1 and A-2-3 are still held")

    after, _, state = e.map()
    got = [state(s) for s in (3, 4, 5, 64, 65, 66)]
    expect(got == ["booked", "booked", "free", "held", "free", "held"] and after > version, "the map says %s" % got)
    print("map: version %d, A-1-4 and A-1-5 booked, A-2-1 and A-2-3 held" % after)

    c.must("delete", DELETE, e.mutation(timed_id(e.now())))
    c.must("unassign", UNASSIGN, struct.pack("<Q16sq", e.id, hashed_id(os.urandom(16)), 0))
    status, _ = c.ask(LOCATE, text16(name.encode()))
    expect(status == UNKNOWN_EVENT, "a deleted event is located: status %d" % status)
    print("delete: the event is gone")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
