"""A relay in the namespace of a node, for what a packet filter can't do: delays, stalls, cuts at a byte. net.Network.relayed starts it.

    relay.py PORT FIGURES.json '{"delay_ms":200,"jitter_ms":50,"seed":1,"cut_bytes":0,"stall_bytes":0}'

Connections that iptables redirects here go on to where they wanted. `cut_bytes`: each is reset, on both sides, after a random number of bytes up to
twice this. `stall_bytes`: likewise, but nothing is read any more and nothing said: windows close. The figures are written twice a second.
"""
import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import sys

SO_ORIGINAL_DST = 80
PIECE_BYTES = 16384
QUEUE_PIECES = 64


class Relay:
    def __init__(self, figures, how):
        self.figures, self.how, self.random = figures, how, random.Random(how.get("seed", 0))
        self.counts = {"connections": 0, "bytes": 0, "cuts": 0, "stalls": 0, "delayed_pieces": 0}

    async def serve(self, reader, writer):
        raw = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
        port, address = struct.unpack_from("!2xH4s", raw)
        try:
            onward_reader, onward_writer = await asyncio.open_connection(socket.inet_ntoa(address), port, limit=PIECE_BYTES)
        except OSError:
            writer.transport.abort()
            return
        self.counts["connections"] += 1
        bounds = {name: self.random.randint(1, 2 * self.how[name]) if self.how.get(name) else 0 for name in ("cut_bytes", "stall_bytes")}
        state = {"left": bounds}
        try:
            await asyncio.gather(self.pump(reader, onward_writer, state), self.pump(onward_reader, writer, state))
        except (OSError, EOFError):
            pass
        finally:
            for one in (writer, onward_writer):
                one.transport.abort()  # a reset, if anything is unread

    async def pump(self, reader, writer, state):
        queue = asyncio.Queue(QUEUE_PIECES)
        await asyncio.gather(self.read(reader, queue, state), self.write(writer, queue))

    async def read(self, reader, queue, state):
        loop = asyncio.get_running_loop()
        while True:
            piece = await reader.read(PIECE_BYTES)
            if not piece:
                await queue.put((0, None))
                return
            self.counts["bytes"] += len(piece)
            for name, count in (("cut_bytes", "cuts"), ("stall_bytes", "stalls")):
                if state["left"][name]:
                    state["left"][name] = max(1, state["left"][name] - len(piece))
                    if state["left"][name] == 1:
                        self.counts[count] += 1
                        state["left"][name] = 0
                        if name == "cut_bytes":
                            await queue.put((0, piece[:self.random.randrange(len(piece))]))
                            raise ConnectionResetError
                        await asyncio.Event().wait()
            delay = self.how.get("delay_ms", 0) + self.random.uniform(0, self.how.get("jitter_ms", 0))
            await queue.put((loop.time() + delay / 1000, piece))

    async def write(self, writer, queue):
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await queue.get()
            if piece is None:
                writer.write_eof()
                return
            wait = due - loop.time()
            if wait > 0:
                self.counts["delayed_pieces"] += 1
                await asyncio.sleep(wait)  # the delay itself: this is what the relay is for
            writer.write(piece)
            await writer.drain()

    def write_figures(self):
        part = f"{self.figures}.part"
        with open(part, "w", encoding="utf-8") as file:
            json.dump(self.counts, file)
        os.replace(part, self.figures)


async def main():
    port, figures, how = sys.argv[1:]
    relay = Relay(figures, json.loads(how))
    server = await asyncio.start_server(relay.serve, "0.0.0.0", int(port), limit=PIECE_BYTES)
    relay.write_figures()
    print("ready", flush=True)
    async with server:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.5)
            relay.write_figures()


if __name__ == "__main__":
    asyncio.run(main())
