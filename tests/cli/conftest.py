"""Real servers at each level that ``ping`` knows, and ways to run the command."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from grpc_heartbeat.v1 import heartbeat_pb2

ROOT = Path(__file__).resolve().parents[2]
RunPing = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass
class PingService:
    """Answers ``Heartbeat.Ping``; a test sets what it says, and may hold answers back by clearing ``answering``."""

    sender: heartbeat_pb2.Hello = field(default_factory=heartbeat_pb2.Hello)
    sequence_offset: int = 0
    answering: threading.Event = field(default_factory=threading.Event)

    def ping(self, beat: heartbeat_pb2.Beat, context: grpc.ServicerContext) -> heartbeat_pb2.Ack:
        self.answering.wait(30)
        return heartbeat_pb2.Ack(
            sequence=beat.sequence + self.sequence_offset,
            serving_status=heartbeat_pb2.SERVING_STATUS_SERVING,
            load=heartbeat_pb2.Load(in_flight=7),
            sender=self.sender,
        )

    def handler(self) -> grpc.GenericRpcHandler:
        method = grpc.unary_unary_rpc_method_handler(
            self.ping,
            request_deserializer=heartbeat_pb2.Beat.FromString,
            response_serializer=heartbeat_pb2.Ack.SerializeToString,
        )
        return grpc.method_handlers_generic_handler("grpc_heartbeat.v1.Heartbeat", {"Ping": method})


@contextmanager
def _serving(
    add_services: Callable[[grpc.Server], None], credentials: grpc.ServerCredentials | None = None
) -> Iterator[str]:
    with futures.ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        add_services(server)
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


@pytest.fixture
def ping_service() -> Iterator[PingService]:
    service = PingService(heartbeat_pb2.Hello(service="orders", zone="eu-1a", instance="host:42"))
    service.answering.set()
    yield service
    service.answering.set()


@pytest.fixture
def heartbeat_server(ping_service: PingService) -> Iterator[str]:
    with _serving(lambda server: server.add_generic_rpc_handlers([ping_service.handler()])) as target:
        yield target
        ping_service.answering.set()


@pytest.fixture
def health_server() -> Iterator[str]:
    """Has ``grpc.health.v1`` only: the whole server serves, the service ``cellar`` does not."""
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("cellar", health_pb2.HealthCheckResponse.NOT_SERVING)
    with _serving(lambda server: health_pb2_grpc.add_HealthServicer_to_server(servicer, server)) as target:
        yield target


@pytest.fixture
def bare_server() -> Iterator[str]:
    with _serving(lambda server: None) as target:
        yield target


@dataclass(frozen=True)
class TlsServer:
    target: str
    certificate: Path


@pytest.fixture
def tls_server(tmp_path: Path, ping_service: PingService) -> Iterator[TlsServer]:
    """A TLS server whose certificate is for ``heart.example`` and signed by itself."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=heart", "-addext", "subjectAltName=DNS:heart.example", "-days", "2"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("needs the openssl command to make a certificate")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with _serving(lambda server: server.add_generic_rpc_handlers([ping_service.handler()]), credentials) as target:
        yield TlsServer(target, certificate)


@pytest.fixture
def refused_target() -> Iterator[str]:
    """An address where nothing listens, and nothing will: the port is bound, but not open."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def silent_target() -> Iterator[str]:
    """A TCP port that accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def command_line(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "grpc_heartbeat.cli", *arguments]


def command_environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"} | {"PYTHONPATH": path}


@pytest.fixture
def run_ping() -> RunPing:
    """Run the real command; whatever happens it must not print a traceback."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command_line("ping", *arguments), env=command_environment(), capture_output=True, text=True, timeout=45
        )
        assert "Traceback" not in done.stderr
        return done

    return run
