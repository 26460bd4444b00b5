# An image of a sentry for AWS: Debian 12 with the agent's package. Nothing of a mesh is in it: which one an instance joins, and by
# what proof, is in its user data (`picket cloud-init sentry --cloud aws`). It closes its guarded ports from its first boot.
#
#   packer build -var package=picket-sentry-agent_0.1.0-1_amd64.deb -var region=eu-central-1 packaging/packer

variable "package" {
  type        = string
  description = "The agent's Debian package, as cargo xtask dist makes it."
}

variable "region" {
  type        = string
  description = "Where the image is made."
}

variable "name" {
  type        = string
  default     = "picket-sentry"
  description = "What the image's name begins with."
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "What it is made on."
}

source "amazon-ebs" "sentry" {
  region        = var.region
  ami_name      = "${var.name}-{{timestamp}}"
  instance_type = var.instance_type
  ssh_username  = "admin"
  encrypt_boot  = true

  # Debian's own, by its account on AWS.
  source_ami_filter {
    filters = {
      name                = "debian-12-amd64-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = ["136693071363"]
    most_recent = true
  }
}

build {
  sources = ["source.amazon-ebs.sentry"]

  provisioner "file" {
    source      = var.package
    destination = "/tmp/picket-sentry-agent.deb"
  }

  provisioner "shell" {
    execute_command = "sudo env DEBIAN_FRONTEND=noninteractive sh -eux {{ .Path }}"
    inline = [
      "cloud-init status --wait",
      "apt-get update",
      "apt-get install -y --no-install-recommends /tmp/picket-sentry-agent.deb",
      "systemctl is-enabled picket-lockdown.service picket-sentry-agent.service",
      # No two instances may be one host: the agent refuses a cloned identity, and sshd's keys are nobody else's.
      "test ! -e /var/lib/picket/agent/identity.json",
      "rm -f /tmp/picket-sentry-agent.deb /etc/ssh/ssh_host_*",
      "apt-get clean",
      "cloud-init clean --logs",
      "truncate --size=0 /etc/machine-id"
    ]
  }
}
