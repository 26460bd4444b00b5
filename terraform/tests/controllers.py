"""The scripts of both controllers, with AWS's own command line, against moto: configuration, secrets, and the way of the CA.

Run by `cargo xtask test --terraform` as root in a mount namespace of its own, after the apply. Each controller has an /etc, /var/lib
and /run of its own over this machine's, which are not touched. No unit runs: what starts when is systemd's, on an instance.
"""

import json
import os
import pathlib
import stat
import subprocess
import tempfile

import cloud
from cloud import NAME, check, client, scripts_within, user_data_of

FOLDERS = ["etc", "var/lib", "run", "usr/local/lib"]
STATE = "var/lib/picket/controller"


class Controller:
    """One instance: what its user data wrote, and its own files."""

    def __init__(self, name, root):
        found = client("ec2").describe_instances(Filters=[{"Name": "tag:Name", "Values": [name]}])
        self.root, self.scripts = root, scripts_within(user_data_of(found["Reservations"][0]["Instances"][0]))
        self.mounts = ""
        for folder in FOLDERS:
            upper, work = root / folder, root / f"work-{folder.replace('/', '-')}"
            upper.mkdir(parents=True)
            work.mkdir()
            self.mounts += f"mount -t overlay overlay -o lowerdir=/{folder},upperdir={upper},workdir={work} /{folder}\n"
        # As the user data does, before any of its scripts runs.
        self.sh("id picket >/dev/null 2>&1 || useradd --system --home-dir /var/lib/picket --shell /usr/sbin/nologin picket")
        self.sh("mkdir -p /usr/local/lib/picket && install -d -m 0700 -o picket -g picket /var/lib/picket")
        for path, text in self.scripts.items():
            (root / path[1:]).write_text(text)
            (root / path[1:]).chmod(0o755)

    def sh(self, line):
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", self.mounts + line]
        return subprocess.run(command, capture_output=True, text=True)

    def run(self, script):
        return self.sh(f"exec /usr/local/lib/picket/{script}")

    def must(self, script):
        ran = self.run(script)
        check(ran.returncode == 0, f"{script} of {self.root.name}", ran.stderr)

    def read(self, path):
        return (self.root / path).read_text()

    def holds(self, path, text):
        """That a file is this, for the controller's user alone."""
        check(self.read(path) == text, f"{path} of {self.root.name} is another")
        check(stat.S_IMODE(os.stat(self.root / path).st_mode) == 0o600, f"{path} of {self.root.name} is not for its user alone")


def value(name, kind="SecretString"):
    secrets = client("secretsmanager")
    arn = next(one["ARN"] for one in secrets.list_secrets()["SecretList"] if one["Name"].startswith(name))
    try:
        return secrets.get_secret_value(SecretId=arn)[kind]
    except secrets.exceptions.ResourceNotFoundException:
        return None


def main():
    top = pathlib.Path(tempfile.mkdtemp(prefix="picket-controllers-"))
    try:
        subprocess.run(["mount", "-t", "tmpfs", "none", str(top)], check=True)
        scripts(Controller(f"{NAME}-controller", top / "first"), Controller(f"{NAME}-controller-second", top / "second"))
    finally:
        subprocess.run(["umount", "--lazy", str(top)])
        top.rmdir()


def scripts(first, second):
    # The second makes no CA and no passphrase: it waits.
    waits = second.run("fetch")
    check(waits.returncode != 0 and "has not given its CA yet" in waits.stderr, "the second does not wait for the CA", waits.stderr)
    check(value(f"picket/{NAME}/ca-passphrase-") is None, "the second made a passphrase")

    # The first makes the passphrase, once, and fetches what the service reads.
    first.must("fetch")
    passphrase = value(f"picket/{NAME}/ca-passphrase-").strip()
    check(len(passphrase) == 48, "the passphrase is short")
    first.must("fetch")
    check(value(f"picket/{NAME}/ca-passphrase-").strip() == passphrase, "another start made another passphrase")
    written = client("ssm").get_parameter(Name=f"/picket/{NAME}/controller.toml")["Parameter"]["Value"]
    check(first.read("etc/picket/controller.toml").strip() == written.strip(), "the configuration is another")
    password = json.loads(value("rds!"))["password"]
    first.holds("etc/picket/database-password", password)
    check(not list((first.root / "run").glob("picket-*")), "a secret stays behind in /run")

    # Its CA leaves under the passphrase or not at all.
    (first.root / STATE).mkdir(parents=True)
    (first.root / STATE / "ca.pem").write_text("a certificate\n")
    make = ["openssl", "genpkey", "-algorithm", "ed25519"]
    plain, sealed = make, [*make, "-aes-256-cbc", "-pass", f"pass:{passphrase}"]
    for command, leaves in [(plain, False), (sealed, True)]:
        key = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        (first.root / STATE / "ca.key").write_text(key)
        ran = first.run("share")
        check((ran.returncode == 0) == leaves, "the CA's key leaves plain, or not at all", ran.stderr)
        check((value(f"picket/{NAME}/ca-2", "SecretBinary") is not None) == leaves, "the CA's secret")
    given = value(f"picket/{NAME}/ca-2", "SecretBinary")
    first.must("share")
    check(value(f"picket/{NAME}/ca-2", "SecretBinary") == given, "another start gave another CA")

    # The second takes it, and is as the first.
    second.must("fetch")
    for name in ["ca.pem", "ca.key"]:
        check(second.read(f"{STATE}/{name}") == first.read(f"{STATE}/{name}"), f"the second's {name} is another")
    check(value(f"picket/{NAME}/ca-passphrase-").strip() == passphrase, "the second made another passphrase")
    second.holds("etc/picket/database-password", password)

    # RDS changes the password.
    secrets = client("secretsmanager")
    arn = next(one["ARN"] for one in secrets.list_secrets()["SecretList"] if one["Name"].startswith("rds!"))
    secrets.put_secret_value(SecretId=arn, SecretString=json.dumps({"username": "picket", "password": 'a "new" \\one$'}))
    second.must("password")
    second.holds("etc/picket/database-password", 'a "new" \\one$')


main()
