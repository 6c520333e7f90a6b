"""What the files promise each other and the README."""

import re
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

from docker.utils.build import exclude_paths

import files
from files import COMPOSE, COMPOSE_FILE, DOCKERFILES, OURS, REPOSITORY

SECRETS = ["HUB_SECRET_KEY", "ADMIN_TOKEN", "POSTGRES_PASSWORD", "REDIS_PASSWORD"]


def init_env(directory):
    """Runs init-env.sh on a copy; the .env it made, or left."""
    for name in ("init-env.sh", ".env.example"):
        shutil.copy(COMPOSE / name, directory)
    subprocess.run(["sh", "init-env.sh"], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    return Path(directory) / ".env"


class Env(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name

    def test_secrets_are_made_for_the_owner_alone_and_differ_each_time(self):
        env = init_env(self.directory)
        self.assertEqual(stat.S_IMODE(env.stat().st_mode), 0o600)
        first = files.dotenv(env)
        self.assertRegex(first["HUB_SECRET_KEY"], r"^[0-9a-f]{64}$")
        for name in SECRETS[1:]:
            self.assertRegex(first[name], r"^[0-9a-f]{48}$")
        env.unlink()
        second = files.dotenv(init_env(self.directory))
        self.assertEqual(len({values[name] for values in (first, second) for name in SECRETS}), 8)
        self.assertEqual(sorted(path.name for path in Path(self.directory).glob(".env*")), [".env", ".env.example"])

    def test_what_is_there_stays(self):
        env = Path(self.directory) / ".env"
        env.write_text("HUB_SECRET_KEY=mine\n")
        init_env(self.directory)
        self.assertEqual(env.read_text(), "HUB_SECRET_KEY=mine\n")

    def test_a_link_to_nowhere_is_there_too(self):
        (Path(self.directory) / ".env").symlink_to("secrets/env-that-is-not-mounted")
        init_env(self.directory)
        self.assertFalse((Path(self.directory) / ".env").exists())

    def test_the_example_holds_no_secret_and_names_all_that_compose_asks_for(self):
        example = files.dotenv(COMPOSE / ".env.example")
        asked = {name for name, _, _ in files.references(COMPOSE_FILE.read_text())}
        self.assertEqual(asked, set(example))
        for name in SECRETS:
            self.assertEqual(example[name], "")


class Compose(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as directory:
            cls.env = files.dotenv(init_env(directory))
        cls.compose = files.compose(cls.env)
        cls.services = cls.compose["services"]

    def test_without_a_secret_it_does_not_start(self):
        for name in SECRETS:
            with self.assertRaisesRegex(KeyError, f"{name}: run init-env.sh"):
                files.compose({**self.env, name: ""})

    def test_the_seats_port_is_all_that_is_published(self):
        published = {name: service["ports"] for name, service in self.services.items() if "ports" in service}
        self.assertEqual(published, {"balancer": ["23000:23000"]})

    def test_only_gateways_stand_between_inside_and_outside(self):
        self.assertTrue(self.compose["networks"]["inside"]["internal"])
        for name, service in self.services.items():
            expected = {"balancer": ["outside"], "gateway-1": ["inside", "outside"], "gateway-2": ["inside", "outside"]}
            self.assertEqual(service["networks"], expected.get(name, ["inside"]), name)

    def test_a_stop_waits_for_streams_and_longer_than_the_process(self):
        for name in ("gateway-1", "gateway-2"):
            environment = self.services[name]["environment"]
            process = int(environment["DRAIN_DELAY_SECS"]) + int(environment["SHUTDOWN_GRACE_SECS"])
            # Tasks that end after the streams have five seconds in `gateway/src/server.rs`.
            self.assertGreaterEqual(files.seconds(self.services[name]["stop_grace_period"]), process + 10)
        balancer = self.services["balancer"]
        hard_stop = re.search(r"hard-stop-after (\w+)", (COMPOSE / "haproxy.cfg").read_text())[1]
        self.assertGreater(files.seconds(balancer["stop_grace_period"]), files.seconds(hard_stop))
        self.assertEqual(balancer["stop_signal"], "SIGUSR1")

    def test_the_balancer_sees_a_draining_node_before_its_listener_closes(self):
        check = re.search(r"inter (\w+) fastinter (\w+) fall (\d+)", (COMPOSE / "haproxy.cfg").read_text())
        slowest = files.seconds(check[1]) + (int(check[3]) - 1) * files.seconds(check[2])
        drain = int(self.services["gateway-1"]["environment"]["DRAIN_DELAY_SECS"])
        self.assertLess(2 * slowest, drain)

    def test_the_balancer_knows_every_gateway(self):
        servers = re.findall(r"^\s+server (\S+) (\S+)$", (COMPOSE / "haproxy.cfg").read_text(), re.MULTILINE)
        gateways = [name for name, service in self.services.items() if service.get("image", "").startswith("cch-gateway")]
        self.assertEqual(servers, [(name, f"{name}:23000") for name in gateways])

    def test_nodes_share_no_directory(self):
        volumes = [mount.split(":")[0] for service in self.services.values() for mount in service.get("volumes", [])]
        named = [volume for volume in volumes if not volume.startswith(".")]
        self.assertEqual(sorted(named), sorted(self.compose["volumes"]))

    def test_memory_is_above_what_each_is_told_to_take(self):
        def limit(name):
            return files.mebibytes(self.services[name]["deploy"]["resources"]["limits"]["memory"])

        bodies = int(self.services["gateway-1"]["environment"]["BODY_MEMORY_MB"])
        self.assertGreaterEqual(limit("gateway-1"), 2 * bodies)
        maxmemory = re.search(r"^maxmemory (\w+)$", (COMPOSE / "redis.conf").read_text(), re.MULTILINE)[1]
        self.assertGreaterEqual(limit("redis"), 2 * files.mebibytes(maxmemory))

    def test_everything_comes_back_and_says_how_it_is(self):
        checked_by_image = set(OURS)
        for name, service in self.services.items():
            self.assertEqual(service["restart"], "unless-stopped", name)
            self.assertTrue("healthcheck" in service or name in checked_by_image, name)
            self.assertNotRegex(service["image"], r":latest$|^[^:]+$", name)


class Images(unittest.TestCase):
    def test_the_base_is_the_pinned_toolchain_and_the_debian_it_runs_on(self):
        pinned = re.search(r'^channel = "(.+)"$', (REPOSITORY / "rust-toolchain.toml").read_text(), re.MULTILINE)[1]
        for path in DOCKERFILES:
            bases = [rest.split(" AS ")[0] for keyword, rest in files.instructions(path) if keyword == "FROM"]
            self.assertEqual(bases[0], f"rust:{pinned}-slim-bookworm")
            self.assertEqual(bases[-1], "debian:bookworm-slim")

    def test_they_run_without_root_keep_a_volume_and_ask_themselves(self):
        for path in DOCKERFILES:
            binary = "cch-" + path.suffix[1:]
            last = dict(files.instructions(path))
            self.assertEqual(last["USER"], "10001:10001")
            self.assertEqual(last["VOLUME"], "/data")
            self.assertIn(f'CMD ["{binary}", "healthcheck"]', last["HEALTHCHECK"])
            self.assertEqual(last["ENTRYPOINT"], f'["{binary}"]')

    def test_the_two_differ_where_they_say(self):
        def neutral(path):
            half = path.suffix[1:]
            told = {"WORKDIR", "COPY", "RUN", "ARG", "USER", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "FROM"}
            lines = [f"{keyword} {rest}" for keyword, rest in files.instructions(path) if keyword in told]
            return [re.sub(rf"\b{half}\b", "HALF", line) for line in lines if "cmake" not in line]

        self.assertEqual(*map(neutral, DOCKERFILES))

    def test_manifests_and_sources_reach_the_build_and_nothing_that_is_secret(self):
        patterns = (REPOSITORY / ".dockerignore").read_text().splitlines()
        with tempfile.TemporaryDirectory() as directory:
            tracked = subprocess.run(
                ["git", "ls-files", "-co", "--exclude-standard"], cwd=REPOSITORY, check=True, capture_output=True, text=True
            ).stdout.splitlines()
            secret = ["compose/.env", ".env", "data/hub-secret-key", "data/hub.sqlite", ".git/config", "target/x"]
            for name in tracked + secret:
                path = Path(directory) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            sent = set(exclude_paths(directory, patterns))
        self.assertEqual(sent & set(secret), set())
        needed = {name for name in tracked if re.match(r"Cargo\.(toml|lock)$|[^/]+/(Cargo\.toml$|src/)", name)}
        self.assertEqual(needed - sent, set())
        members = re.search(r"^members = \[(.+?)\]", (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE | re.DOTALL)[1]
        manifests = {f"{member}/Cargo.toml" for member in re.findall(r'"(.+?)"', members)}
        self.assertEqual(manifests - sent, set())
        for source in REPOSITORY.glob("*/src/**/*.rs"):
            for included in re.findall(r"include_(?:str|bytes)!\(\"([^\"]+)\"", source.read_text()):
                path = (source.parent / included).resolve().relative_to(REPOSITORY)
                self.assertIn(str(path), sent, f"{source} includes it")


class Manifests(unittest.TestCase):
    """scripts/keep-manifests.sh: what decides that the layer of dependencies is taken from the cache."""

    FILES = {
        "Cargo.toml": "[workspace]",
        "Cargo.lock": "locked",
        "README.md": "words",
        "a/Cargo.toml": "[package]",
        "a/src/lib.rs": "mod inner;",
        "a/src/inner.rs": "fn inner() {}",
        "a/src/contract/script.lua": "return 1",
        "b/Cargo.toml": "[package]",
        "b/src/main.rs": "mod config; fn main() { config::read() }",
        "b/src/bin/one.rs": "fn main() { one() }",
        "b/src/bin/two/main.rs": "mod part; fn main() { part::run() }",
        "b/src/bin/two/part.rs": "pub fn run() {}",
        "b/src/bin/two/deep/main.rs": "no root",
    }

    def kept(self, tree):
        with tempfile.TemporaryDirectory() as directory:
            for name, text in tree.items():
                path = Path(directory) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            subprocess.run(["sh", REPOSITORY / "scripts/keep-manifests.sh", directory], check=True)
            # Empty directories count too: they are part of what is copied.
            paths = sorted(Path(directory).rglob("*"))
            return {str(path.relative_to(directory)): path.is_file() and path.read_text() for path in paths}

    def test_roots_are_kept_empty_and_manifests_as_they_are(self):
        kept = {name: text for name, text in self.kept(self.FILES).items() if text is not False}
        manifests = {name: text for name, text in self.FILES.items() if name.endswith((".toml", ".lock"))}
        main = "fn main() { }\n"
        roots = {"a/src/lib.rs": "", "b/src/main.rs": main, "b/src/bin/one.rs": main, "b/src/bin/two/main.rs": main}
        self.assertEqual(kept, manifests | roots)

    def test_only_a_manifest_changes_what_is_kept(self):
        edited = self.FILES | {"a/src/lib.rs": "mod more;", "a/src/more/deep.rs": "", "a/seed/prices.json": "{}"}
        del edited["a/src/inner.rs"], edited["README.md"]
        self.assertEqual(self.kept(edited), self.kept(self.FILES))
        self.assertNotEqual(self.kept(self.FILES | {"a/Cargo.toml": "[package] # new"}), self.kept(self.FILES))


class Variables(unittest.TestCase):
    def test_the_readme_knows_each_variable_that_images_and_compose_set(self):
        documented = files.documented()
        self.assertIn("OPS_LISTEN", documented)
        services = files.compose({name: "x" for name in files.dotenv(COMPOSE / ".env.example")})["services"]
        told = {name for service in OURS for name in services[service]["environment"]}
        for path in DOCKERFILES:
            for keyword, rest in files.instructions(path):
                if keyword == "ENV":
                    told |= {pair.split("=")[0] for pair in rest.split()}
        self.assertEqual(told - documented, set())

    def test_the_readme_says_what_the_env_file_sets(self):
        readme = (REPOSITORY / "README.md").read_text()
        for name in files.dotenv(COMPOSE / ".env.example"):
            self.assertIn(f"`{name}`", readme)


if __name__ == "__main__":
    unittest.main()
