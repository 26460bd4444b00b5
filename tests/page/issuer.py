"""An identity provider for the page's driver: Canaille, with two people, a group that one of them is in, and the page as its client.
It is set up anew in a folder, and runs in the place of this program."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from urllib.parse import urlsplit

PEOPLE = {"ada": "Ada Admin", "eve": "Eve Elsewhere"}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=pathlib.Path, help="with certificate.pem, key.pem and secret; gets the rest")
    arguments.add_argument("url", help="where it is, https://HOST:PORT")
    arguments.add_argument("back", help="where it sends browsers back to")
    given = arguments.parse_args()
    folder, place = given.folder, urlsplit(given.url).netloc
    program, config = pathlib.Path(sys.executable).with_name("canaille"), folder / "canaille.toml"
    environment = {**os.environ, "CANAILLE_CONFIG": str(config)}
    secret = (folder / "secret").read_text().strip()

    def run(*arguments):
        done = subprocess.run([program, *arguments], env=environment, stdout=subprocess.PIPE, check=True, text=True)
        return done.stdout

    lines = [
        f"SECRET_KEY = {json.dumps(secret)}",
        f"SERVER_NAME = {json.dumps(place)}",
        'PREFERRED_URL_SCHEME = "https"',
        "[CANAILLE_SQL]",
        f"DATABASE_URI = {json.dumps(f'sqlite:///{folder}/canaille.db')}",
    ]
    config.write_text("\n".join(lines) + "\n")
    key = json.loads(run("jwk", "create", "rsa"))
    key = ", ".join(f"{name} = {json.dumps(value)}" for name, value in key.items())
    config.write_text("\n".join([*lines, "[CANAILLE_OIDC]", f"ACTIVE_JWKS = [{{ {key} }}]"]) + "\n")
    run("install")
    for login, name in PEOPLE.items():
        run("create", "user", "--user-name", login, "--password", f"{login}s own words", "--formatted-name", name,
            "--family-name", name, "--display-name", login, "--emails", f"{login}@example.com")
    run("create", "group", "--display-name", "admins", "--members", "ada")
    scopes = [word for scope in ("openid", "profile", "email", "groups") for word in ("--scope", scope)]
    run("create", "client", "--client-id", "picket", "--client-secret", secret, "--client-name", "Picket",
        "--client-uri", given.back, "--redirect-uris", given.back, "--grant-types", "authorization_code",
        "--response-types", "code", "--token-endpoint-auth-method", "client_secret_basic",
        "--id-token-signed-response-alg", "RS256", *scopes)
    # Its tokens are for itself, which a new client's are not yet.
    run("set", "client", "picket", "--audience", "picket")
    certificate = ["--certfile", str(folder / "certificate.pem"), "--keyfile", str(folder / "key.pem")]
    os.execve(program, [program, "run", "--bind", place, *certificate], environment)


if __name__ == "__main__":
    main()
