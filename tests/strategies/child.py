"""A process that speaks every protocol, and whose event loop can be blocked.

It prints its ports as JSON. A line on its standard input blocks the loop until the next one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import grpc.aio
from aioquic.asyncio.server import serve as serve_quic
from aioquic.quic.configuration import QuicConfiguration
from websockets.asyncio.server import ServerConnection, serve

import grpc_heartbeat as hb

OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1),
    ("grpc.http2.max_ping_strikes", 0),
]


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def stay(connection: ServerConnection) -> None:
    await connection.wait_closed()


def block() -> None:
    sys.stdin.readline()
    sys.stdin.readline()


async def main(certificate: Path, key: Path) -> None:
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(certificate, key)
    quic = await serve_quic("127.0.0.1", 0, configuration=configuration)
    tcp = await asyncio.start_server(accept, "127.0.0.1", 0)
    websocket = await serve(stay, "127.0.0.1", 0, ping_interval=None)
    server = grpc.aio.server(options=OPTIONS)
    hb.aio.add_to_server(server)
    core = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ports = {
        "quic": quic._transport.get_extra_info("sockname")[1],  # type: ignore[union-attr]  # nowhere public
        "tcp": tcp.sockets[0].getsockname()[1],
        "websocket": next(iter(websocket.sockets)).getsockname()[1],
        "grpc": core,
    }
    asyncio.get_running_loop().add_reader(sys.stdin, block)
    print(json.dumps(ports), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
