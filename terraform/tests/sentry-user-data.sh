#!/bin/sh
# Sets up a sentry of a Picket mesh. There is no secret in it: the sentry joins by what AWS says of this instance.
set -eu

# Programs of Picket, and what they need beside them. This runs once, and the way out may come up minutes later than the instance
# (a NAT gateway does): each step is tried for ten minutes.
keep_trying() {
  tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { echo "picket: it does not succeed, has this instance a way out? $*" >&2; exit 1; }
    sleep 10
  done
}
packages() {
  if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates curl nftables iproute2
  else
    dnf install -y -q nftables iproute tar gzip
  fi
}
keep_trying packages
for program in picket-sentry-agent; do
  command -v "$program" >/dev/null || { echo "picket: $program is not in this image, and no release is named" >&2; exit 1; }
done

mkdir -p /usr/local/lib/picket
cat >/usr/local/lib/picket/metadata <<'SCRIPT'
#!/bin/sh
# One thing of the instance's metadata.
set -eu
base=http://169.254.169.254/latest
token=$(curl --fail --silent --show-error --max-time 5 --retry 5 --request PUT \
  --header 'x-aws-ec2-metadata-token-ttl-seconds: 60' "$base/api/token")
exec curl --fail --silent --max-time 5 --retry 5 --header "x-aws-ec2-metadata-token: $token" "$base/meta-data/$1"
SCRIPT

cat >/usr/local/lib/picket/join <<'SCRIPT'
#!/bin/sh
# Joins, where this host is no member yet. A host in a warm pool waits until it is to be in service.
set -eu
while [ ! -e /var/lib/picket/agent/identity.json ] &&
  state=$(/usr/local/lib/picket/metadata autoscaling/target-lifecycle-state) && [ "$state" != InService ]; do
  echo "picket: waiting: this instance is to be $state"
  sleep 5
done
exec picket-sentry-agent enroll --controller 'https://mock.elb.eu-central-1.amazonaws.com:7443' --ca-fingerprint 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef \
  --name "mesh-edge-$(/usr/local/lib/picket/metadata instance-id)" \
  --proof aws
SCRIPT
chmod 0755 /usr/local/lib/picket/*

# Closed before the network is up, and after those whose start flushes what is there; packaging/systemd has the reasons.
cat >/etc/systemd/system/picket-lockdown.service <<'UNIT'
[Unit]
Description=Picket: guarded ports are closed until the agent runs
DefaultDependencies=no
RequiresMountsFor=/var/lib/picket /etc/picket
After=systemd-tmpfiles-setup.service nftables.service firewalld.service ufw.service netfilter-persistent.service
Before=network-pre.target shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/env picket-sentry-agent lockdown

[Install]
WantedBy=sysinit.target
UNIT

cat >/etc/systemd/system/picket-sentry-agent.service <<'UNIT'
[Unit]
Description=Picket sentry agent
Wants=network-online.target
After=network-online.target picket-lockdown.service
StartLimitIntervalSec=0

[Service]
Environment=PICKET_LEAVE_ON_STOP=true
# For the balancer; nothing else of this host is told there.
Environment=PICKET_READY=0.0.0.0:7480
ExecStartPre=/usr/local/lib/picket/join
ExecStart=/usr/bin/env picket-sentry-agent run
# Nobody has a session on a sentry; what keeps it from joining is to be read in the instance's console log.
StandardOutput=journal+console
StandardError=journal+console
TimeoutStartSec=infinity
Restart=on-failure
RestartSec=5
# Revoked: it stays closed, and the balancer has the group replace it.
RestartPreventExitStatus=78

[Install]
WantedBy=multi-user.target
UNIT

systemctl daemon-reload
systemctl enable --now picket-lockdown.service
# A sentry that waits in a warm pool is not kept from being stopped.
systemctl enable --now --no-block picket-sentry-agent.service
