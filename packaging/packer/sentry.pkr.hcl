# An image of a sentry: Debian 12 with the agent's package, for AWS or as a disk of a virtual machine. Nothing of a mesh is in it: which
# one an instance joins, and by what proof, is in its user data (`picket cloud-init sentry`). It closes its guarded ports from its
# first boot. Debian's Packer 1.6 is to be given this file; a newer one the folder, after `packer init packaging/packer`.
#
# For AWS:
#
#   packer build -only=amazon-ebs.sentry -var region=eu-central-1 -var package=picket-sentry-agent_0.1.0-1_amd64.deb packaging/packer
#
# As a disk (target/image/picket-sentry.qcow2), made in qemu, of Debian's own image for clouds, which is downloaded:
#
#   mkdir seed && ssh-keygen -t ed25519 -N '' -f seed-key
#   printf '#cloud-config\nssh_authorized_keys: ["%s"]\n' "$(cat seed-key.pub)" > seed/user-data && echo 'instance-id: build' > seed/meta-data
#   packer build -only=qemu.sentry -var seed=seed -var key=seed-key -var package=picket-sentry-agent_0.1.0-1_amd64.deb packaging/packer

variable "package" {
  type        = string
  description = "The agent's Debian package, as cargo xtask dist makes it."
}

variable "name" {
  type        = string
  default     = "picket-sentry"
  description = "What the image's name begins with."
}

variable "region" {
  type        = string
  default     = ""
  description = "On AWS: where the image is made."
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "On AWS: what it is made on."
}

variable "base" {
  type        = string
  default     = "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2"
  description = "In qemu: the disk it is made of, with cloud-init, by URL or path."
}

variable "base_checksum" {
  type        = string
  default     = "file:https://cloud.debian.org/images/cloud/bookworm/latest/SHA512SUMS"
  description = "In qemu: the disk's checksum, as sha256:..., or where a list of them is."
}

variable "seed" {
  type        = string
  default     = ""
  description = "In qemu: folder with user-data and meta-data, which let the key in while the image is made."
}

variable "key" {
  type        = string
  default     = ""
  description = "In qemu: the key's private half. It opens nothing afterwards."
}

variable "accelerator" {
  type        = string
  default     = "kvm"
  description = "In qemu: kvm, or tcg, which is ten times slower and runs anywhere."
}

variable "output" {
  type        = string
  default     = "target/image"
  description = "In qemu: folder that is made for the disk."
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

source "qemu" "sentry" {
  iso_url              = var.base
  iso_checksum         = var.base_checksum
  disk_image           = true
  skip_resize_disk     = true
  format               = "qcow2"
  vm_name              = "${var.name}.qcow2"
  output_directory     = var.output
  accelerator          = var.accelerator
  cpus                 = 2
  memory               = 1024
  headless             = true
  ssh_username         = "debian"
  ssh_private_key_file = var.key
  ssh_timeout          = "15m"
  shutdown_command     = "sudo systemctl poweroff"

  # By its serial number cloud-init knows where its seed is: served by Packer, and the disk has no room to make for it.
  http_directory = var.seed
  qemuargs       = [["-smbios", "type=1,serial=ds=nocloud-net;s=http://{{ .HTTPIP }}:{{ .HTTPPort }}/"]]
}

build {
  sources = ["source.amazon-ebs.sentry", "source.qemu.sentry"]

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
      # Whoever made the image has no way in.
      "rm -f /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys",
      "apt-get clean",
      "cloud-init clean --logs",
      "truncate --size=0 /etc/machine-id"
    ]
  }
}
