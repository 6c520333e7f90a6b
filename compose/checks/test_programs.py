"""The balancer's and Redis's files, tried with the real programs on loopback."""

import http.server
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import files
from files import COMPOSE

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
PATIENCE = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(test, condition, message):
    until = time.monotonic() + PATIENCE
    while not condition():
        test.assertLess(time.monotonic(), until, message)
        time.sleep(0.02)


class Gateway:
    """Seats' port: says its name and echoes. Operators' port: `/ready` with the status it is told."""

    def __init__(self, name):
        self.name = name
        self.ready = 200
        gateway = self

        class Ops(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(gateway.ready if self.path == "/ready" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.ops = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ops)
        threading.Thread(target=self.ops.serve_forever, daemon=True).start()
        self.open()

    def open(self, port=0):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, args=(self.listener,), daemon=True).start()

    def serve(self, listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.echo, args=(peer,), daemon=True).start()

    def echo(self, peer):
        with peer:
            peer.sendall(self.name.encode())
            while data := peer.recv(100):
                peer.sendall(data)

    def close_seats(self):
        # A blocked accept() would keep the socket listening.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def end(self):
        self.ops.shutdown()
        self.ops.server_close()
        self.close_seats()


class Balancer(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.a, self.b = Gateway("A"), Gateway("B")
        self.addCleanup(self.a.end)
        self.addCleanup(self.b.end)
        self.seats, self.health = free_port(), free_port()
        config = (COMPOSE / "haproxy.cfg").read_text()
        for pattern, replacement in [
            (r"bind :23000", f"bind 127.0.0.1:{self.seats}"),
            (r"bind 127\.0\.0\.1:23003", f"bind 127.0.0.1:{self.health}"),
            (r"server gateway-1 \S+", f"server gateway-1 127.0.0.1:{self.a.port} port {self.a.ops.server_port}"),
            (r"server gateway-2 \S+", f"server gateway-2 127.0.0.1:{self.b.port} port {self.b.ops.server_port}"),
            # Fewer descriptors than docker-compose.yml gives.
            (r"maxconn 30000", "maxconn 200"),
            # Nobody answers names here, and these servers have addresses.
            (r" resolvers engine init-addr last,libc,none", ""),
        ]:
            config, count = re.subn(pattern, replacement, config)
            self.assertEqual(count, 1, pattern)
        path = Path(scratch.name) / "haproxy.cfg"
        path.write_text(config)
        log = open(Path(scratch.name) / "log", "w")
        self.addCleanup(log.close)
        self.process = subprocess.Popen([HAPROXY, "-f", path], stdout=log, stderr=log)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        eventually(self, lambda: self.is_healthy(), "the balancer does not come up")

    def is_healthy(self):
        """As the container's health check asks."""
        test = files.compose({name: "x" for name in files.dotenv(COMPOSE / ".env.example")})
        command = test["services"]["balancer"]["healthcheck"]["test"]
        self.assertEqual(command[0], "CMD")
        command = [part.replace("/23003", f"/{self.health}") for part in command[1:]]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    def connect(self):
        """A new connection of a seat, and who answered it."""
        seat = socket.create_connection(("127.0.0.1", self.seats), timeout=PATIENCE)
        self.addCleanup(seat.close)
        return seat, seat.recv(1).decode()

    def served(self):
        """Who answers a connection that does not stay."""
        seat, name = self.connect()
        seat.close()
        return name

    def served_by(self, count=20):
        return {self.served() for _ in range(count)}

    def test_a_node_that_is_not_ready_gets_no_new_connection_and_keeps_its_streams(self):
        self.assertEqual(self.served_by(), {"A", "B"})
        stream = next(seat for seat, name in iter(self.connect, None) if name == "A")
        self.a.ready = 503
        eventually(self, lambda: self.served_by() == {"B"}, "A is still dialled")
        # A's listener is open all the while: it is not dialled because it said so.
        stream.sendall(b"still here")
        self.assertEqual(stream.recv(100), b"still here")
        self.a.ready = 200
        eventually(self, lambda: self.served_by() == {"A", "B"}, "A does not come back")

    def test_a_node_that_died_costs_no_seat_its_connection(self):
        self.assertEqual(self.served_by(), {"A", "B"})
        self.a.close_seats()
        # From the first connection on, long before a check has noticed: `/ready` says 200 all the while.
        self.assertEqual(self.served_by(40), {"B"})
        self.a.open(self.a.port)

    def test_it_is_unhealthy_when_no_gateway_is_ready(self):
        self.a.ready = self.b.ready = 503
        eventually(self, lambda: not self.is_healthy(), "it says it were healthy")
        self.assertEqual(self.served(), "")
        self.b.ready = 200
        eventually(self, lambda: self.is_healthy(), "it does not recover")
        self.assertEqual(self.served(), "B")

    def test_a_stop_waits_for_streams_and_takes_no_new_connection(self):
        stream, _ = self.connect()
        self.process.send_signal(subprocess.signal.SIGUSR1)

        def refuses():
            try:
                return self.served() == ""
            except ConnectionError:
                return True

        eventually(self, refuses, "new connections are taken")
        stream.sendall(b"still here")
        self.assertEqual(stream.recv(100), b"still here")
        stream.close()
        self.process.wait(PATIENCE)


class BalancerFile(unittest.TestCase):
    def test_the_file_is_valid_as_it_is(self):
        checked = subprocess.run(
            [HAPROXY, "-c", "-f", COMPOSE / "haproxy.cfg"], capture_output=True, text=True
        )
        self.assertEqual(checked.returncode, 0, checked.stderr)
        # Outside the engine the gateways have no names; nothing else may be odd.
        odd = [line for line in checked.stderr.splitlines() if "WARNING" in line or "ALERT" in line]
        self.assertEqual([line for line in odd if "could not resolve address 'gateway-" not in line], [])


class Redis(unittest.TestCase):
    def test_it_starts_by_the_service_command_with_password_file_and_no_eviction(self):
        services = files.compose({name: "the-password" for name in files.dotenv(COMPOSE / ".env.example")})["services"]
        with tempfile.TemporaryDirectory() as directory:
            port = free_port()
            config = (COMPOSE / "redis.conf").read_text().replace("dir /data", f"dir {directory}")
            config = config.replace("bind * -::*", f"bind 127.0.0.1\nport {port}")
            (Path(directory) / "redis.conf").write_text(config)
            command = [
                part.replace("/usr/local/etc/redis/redis.conf", f"{directory}/redis.conf")
                for part in services["redis"]["command"]
            ]
            environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **services["redis"]["environment"]}
            with open(Path(directory) / "log", "w") as log:
                server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)

            def ask(*words, env=environment):
                client = ["redis-cli", "-p", str(port), *words]
                return subprocess.run(client, env=env, capture_output=True, text=True).stdout.strip()

            eventually(self, lambda: ask("ping") == "PONG", "redis does not come up")
            self.assertIn("NOAUTH", ask("ping", env={"PATH": environment["PATH"]}))
            self.assertEqual(ask("config", "get", "maxmemory-policy").split()[1], "noeviction")
            self.assertEqual(ask("config", "get", "appendonly").split()[1], "yes")
            # `exec`: the server itself gets the engine's signal, and its command line holds no password.
            self.assertIn(f"process_id:{server.pid}", ask("info", "server"))
            self.assertNotIn("the-password", Path(f"/proc/{server.pid}/cmdline").read_text())
            self.assertEqual(ask("set", "kept", "yes"), "OK")
            server.terminate()
            server.wait(PATIENCE)
            self.assertTrue(any(Path(directory, "appendonlydir").iterdir()))


if __name__ == "__main__":
    unittest.main()
