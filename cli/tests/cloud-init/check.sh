#!/bin/sh
# Holds the user data in this folder against cloud-init's own schema, and its scripts against the shell's syntax. Needs the Debian
# package cloud-init, or its files in CLOUD_INIT_ROOT (dpkg -x).
set -eu
cd "$(dirname "$0")"
export PYTHONPATH="${CLOUD_INIT_ROOT:-}/usr/lib/python3/dist-packages"
for file in *.yaml; do
  python3 -m cloudinit.cmd.main schema --config-file "$file"
  python3 - "$file" <<'PYTHON'
import subprocess, sys, yaml
for file in yaml.safe_load(open(sys.argv[1]))["write_files"]:
    if file["content"].startswith("#!/bin/sh"):
        subprocess.run(["sh", "-n"], input=file["content"].encode(), check=True)
        print("  " + file["path"] + " is a shell script")
PYTHON
done
