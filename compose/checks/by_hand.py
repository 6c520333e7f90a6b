"""Carries out a Dockerfile's steps without a Docker engine, in clean roots made with debootstrap.

    python compose/checks/by_hand.py Dockerfile.gateway /var/tmp/by-hand

As root, on a machine of the Debian release that the base images are of. Afterwards <directory>/run is the image's root
and <directory>/image.json its settings. Stands in for the base images: `debian:*` is debootstrap's minbase, `rust:*` the
same with what the official image installs and this machine's toolchain of that version, bind-mounted.
Knows the instructions that our Dockerfiles use and refuses others. Nothing is cached but debootstrap's root.
"""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from docker.utils.build import exclude_paths

REPOSITORY = Path(__file__).resolve().parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOOLCHAIN = "/usr/local/toolchain"
# Beyond debootstrap's minbase, from the official image's own Dockerfile.
RUST_PACKAGES = ["ca-certificates", "gcc", "libc6-dev"]


def instructions(text):
    """The Dockerfile's instructions: (keyword, rest), continued lines joined, comments gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield keyword.upper(), rest.strip()


def run(*command, **options):
    print("+", shlex.join(map(str, command)), flush=True)
    subprocess.run(list(map(str, command)), check=True, **options)


class Stage:
    def __init__(self, root, rust):
        self.root = root
        self.rust = rust
        self.workdir = "/"
        self.env = {"PATH": PATH}
        if rust:
            self.env = {"PATH": f"{TOOLCHAIN}/bin:{PATH}", "CARGO_HOME": "/usr/local/cargo"}
        self.args = {}
        self.config = {}

    def inside(self, target):
        return self.root / str(Path(self.workdir) / target).lstrip("/")

    def execute(self, command, before=()):
        """Runs a shell command in the root, with nothing of this process's environment."""
        binds = f"mount -t proc proc {self.root}/proc && mount --rbind /dev {self.root}/dev"
        if self.rust:
            place = f"{self.root}{TOOLCHAIN}"
            # To be read only: it is the machine's, and others build with it.
            binds += f" && mkdir -p {place} && mount --bind {self.rust} {place} && mount -o remount,bind,ro {place}"
        # The network is the machine's; a container would bring its own resolv.conf.
        binds += f" && touch {self.root}/etc/resolv.conf && mount --bind /etc/resolv.conf {self.root}/etc/resolv.conf"
        env = [f"{name}={value}" for name, value in (self.env | self.args).items()]
        work = f"cd {shlex.quote(self.workdir)} && {command}"
        chroot = shlex.join(["chroot", str(self.root), "env", "-i", *env, "sh", "-c", work])
        run(*before, "unshare", "--mount", "sh", "-ec", f"{binds}; exec {chroot}")


class Build:
    def __init__(self, options):
        self.directory = options.directory.resolve()
        self.heavy = shlex.split(options.heavy)
        self.stages = {}
        self.stage = None
        self.context = sorted(
            exclude_paths(str(REPOSITORY), (REPOSITORY / ".dockerignore").read_text().splitlines())
        )

    def base(self, image):
        repository, _, tag = image.partition(":")
        release = re.search(r"bookworm|trixie", tag)
        if repository not in ("rust", "debian") or not release:
            sys.exit(f"no stand-in for the image {image}")
        clean = self.directory / f"debootstrap-{release[0]}"
        if not clean.exists():
            run("debootstrap", "--variant=minbase", release[0], clean)
        if repository == "debian":
            return clean, None
        version = re.match(r"[0-9.]+", tag)[0]
        # With the toolchain named, because rust-toolchain.toml is not here to do so.
        sysroot = ["rustup", "run", version, "rustc", "--print", "sysroot"]
        return clean, subprocess.run(sysroot, capture_output=True, text=True, check=True, cwd="/").stdout.strip()

    def FROM(self, rest):
        source, _, name = rest.partition(" AS ")
        root = self.directory / (name or "run")
        if root.exists():
            shutil.rmtree(root)
        parent = self.stages.get(source)
        clean, rust = (parent.root, parent.rust) if parent else self.base(source)
        run("cp", "-a", "--reflink=auto", clean, root)
        self.stage = Stage(root, rust)
        self.stages[name or "run"] = self.stage
        if parent:
            self.stage.workdir, self.stage.env = parent.workdir, dict(parent.env)
        elif rust:
            packages = " ".join(RUST_PACKAGES)
            self.stage.execute(f"apt-get update -q && apt-get install -qy --no-install-recommends {packages}")

    def COPY(self, rest):
        *sources, target = shlex.split(rest)
        origin = None
        if sources[0].startswith("--from="):
            origin = self.stages[sources.pop(0).removeprefix("--from=")].root
        elif sources[0].startswith("--"):
            sys.exit(f"COPY {sources[0]} is not known here")
        destination = self.stage.inside(target)
        if origin is None:
            if sources != ["."]:
                sys.exit("only the whole context is copied here")
            destination.mkdir(parents=True, exist_ok=True)
            files = [path for path in self.context if not (REPOSITORY / path).is_dir()]
            listed = "".join(f"{path}\0" for path in files).encode()
            run("sh", "-c", f"tar -c --null -T - | tar -x --no-same-owner -C {destination}", cwd=REPOSITORY, input=listed)
            return
        for source in sources:
            path = origin / source.lstrip("/")
            if path.is_dir():
                run("cp", "-a", f"{path}/.", destination)
            else:
                run("cp", "-a", path, destination)

    def RUN(self, rest):
        heavy = self.heavy if "cargo " in rest else []
        self.stage.execute(rest, heavy)

    def WORKDIR(self, rest):
        self.stage.workdir = rest
        self.stage.inside(".").mkdir(parents=True, exist_ok=True)

    def ENV(self, rest):
        self.stage.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))

    def ARG(self, rest):
        name, _, value = rest.partition("=")
        self.stage.args[name] = value

    def note(self, keyword, rest):
        self.stage.config[keyword] = rest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("directory", type=Path, help="where the roots are made; some gigabytes")
    parser.add_argument("--heavy", default="", help="a command put before steps that compile, e.g. `nice`")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    build = Build(options)
    for keyword, rest in instructions(options.dockerfile.read_text()):
        print(f"{keyword} {rest}", flush=True)
        if keyword in ("LABEL", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"):
            build.note(keyword, rest)
        elif keyword in ("FROM", "COPY", "RUN", "WORKDIR", "ENV", "ARG"):
            getattr(build, keyword)(rest)
        else:
            sys.exit(f"the instruction {keyword} is not known here")
    image = build.stage.config | {"ENV": build.stage.env}
    (build.directory / "image.json").write_text(json.dumps(image, indent=2) + "\n")
    print(f"the image's root is {build.stage.root}, its settings are in {build.directory}/image.json")


if __name__ == "__main__":
    main()
