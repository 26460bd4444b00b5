variable "name" {
  description = "The mesh's name, and its tag `picket:mesh`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "name is 2 to 20 characters of a-z, 0-9 and '-', and begins with a letter."
  }
}

variable "host_name" {
  description = "Name of the validator's host in the mesh."
  type        = string
  default     = "prep-1"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,29}$", var.host_name))
    error_message = "host_name is 1 to 30 characters of a-z, 0-9 and '-', and begins with a letter."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_id" {
  description = "A private subnet: the validator has no public address."
  type        = string
}

variable "controller_url" {
  description = "The controller's `url`."
  type        = string

  validation {
    condition     = can(regex("^https://[A-Za-z0-9.-]+:[0-9]+$", var.controller_url))
    error_message = "controller_url is https://HOST:PORT."
  }
}

variable "ami_id" {
  description = "Machine image: Debian 12 or newer, or Amazon Linux 2023, with the SSM agent, which is the way in."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id is the id of an image, as ami-0123456789abcdef0."
  }
}

variable "release" {
  description = "Where the programs come from: an https URL of a .tar.gz with `picket-prep-agent` at its top or in the folders that `cargo xtask dist` makes, and its SHA-256. Null: the image has it in its PATH."
  type        = object({ url = string, sha256 = string })
  default     = null

  validation {
    condition     = var.release == null || try(can(regex("^https://[^'\\s]+$", var.release.url)) && can(regex("^[0-9a-f]{64}$", var.release.sha256)), false)
    error_message = "release.url is https://…, and release.sha256 is 64 characters of 0-9 and a-f: what does not match it is not run."
  }
}

variable "instance_type" {
  description = "Type of the instance."
  type        = string
  default     = "c6i.4xlarge"
}

variable "volume_gib" {
  description = "Size of the volume, in GiB: the chain is large, and grows."
  type        = number
  default     = 2000

  validation {
    condition     = var.volume_gib >= 20 && var.volume_gib <= 16384
    error_message = "volume_gib is 20 to 16384."
  }
}

variable "goloop_url" {
  description = "This validator's own goloop, for the addresses its peers advertise (`policy.endpoints`); null for none."
  type        = string
  default     = null

  validation {
    condition     = var.goloop_url == null || can(regex("^http://(127\\.0\\.0\\.1|localhost):[0-9]+$", var.goloop_url))
    error_message = "goloop_url is on this host, as http://127.0.0.1:9080."
  }
}

variable "egress" {
  description = "Whither the validator may open connections, by name: prefix lists, protocol and port. There is no other way out, and none in. WireGuard to the sentries is UDP 51820, P2P is TCP 7100, the controller TCP 7443, packages and AWS TCP 443."
  type = map(object({
    prefix_list_id = string
    protocol       = string
    port           = number
  }))

  validation {
    condition     = length(var.egress) >= 1 && alltrue([for rule in var.egress : startswith(rule.prefix_list_id, "pl-") && contains(["tcp", "udp"], rule.protocol) && rule.port >= 1 && rule.port <= 65535])
    error_message = "egress names at least one rule; each has a prefix list (pl-…), tcp or udp, and a port."
  }

  validation {
    condition     = anytrue([for rule in var.egress : rule.protocol == "udp" && rule.port == 51820])
    error_message = "egress has no rule for UDP 51820: the validator could dial no sentry."
  }
}

variable "kms_key_arn" {
  description = "Key of the volume. Null: the one that AWS keeps for EBS."
  type        = string
  default     = null
}

variable "alarm_topic_arns" {
  description = "SNS topics that are told of alarms."
  type        = list(string)
  default     = []
}

variable "deletion_protection" {
  description = "Whether the instance refuses to be destroyed by everybody but Terraform, which lifts that by itself, and its volume outlives it."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Further tags of everything made here."
  type        = map(string)
  default     = {}
}
