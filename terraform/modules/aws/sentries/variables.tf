variable "name" {
  description = "The mesh's name, and its tag `picket:mesh`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name is 2 to 20 characters of a-z, 0-9 and '-', begins with a letter and does not end with '-': load balancers take no other."
  }
}

variable "pool" {
  description = "Name of this group within the mesh; its hosts are in the pool of this name (`picket nodes --pool`). Another group of the same mesh has another one."
  type        = string
  default     = "edge"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,8}[a-z0-9])?$", var.pool))
    error_message = "pool is 1 to 10 characters of a-z, 0-9 and '-', begins with a letter and does not end with '-'."
  }

  validation {
    condition     = length(var.name) + length(var.pool) <= 22
    error_message = "name and pool have ${length(var.name) + length(var.pool)} characters together: names of target groups have room for 22."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Public subnets by any names, one for each zone. Validators dial each sentry's own public address; the balancer is for everybody else."
  type        = map(string)

  validation {
    condition     = length(var.subnet_ids) >= 1
    error_message = "subnet_ids is empty."
  }
}

variable "controller_url" {
  description = "The controller's `url`."
  type        = string

  validation {
    condition     = can(regex("^https://[A-Za-z0-9.-]+:[0-9]+$", var.controller_url))
    error_message = "controller_url is https://HOST:PORT."
  }
}

variable "ca_fingerprint" {
  description = "Fingerprint of the mesh's CA, 64 hexadecimal digits: `picket-controller fingerprint` on the controller. It is no secret; it is how a sentry knows its controller."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.ca_fingerprint))
    error_message = "ca_fingerprint is 64 hexadecimal digits, lower case: run `sudo -u picket picket-controller fingerprint` in a session on the controller."
  }
}

variable "proof" {
  description = "How a sentry proves who it is: `aws-document` needs no right at all and is told by account, region and image; `aws-sts` is bound to the host's keys and to this group's role, and needs `sts:GetWebIdentityToken` and AWS's command line in the image."
  type        = string
  default     = "aws-document"

  validation {
    condition     = contains(["aws-document", "aws-sts"], var.proof)
    error_message = "proof is aws-document or aws-sts."
  }
}

variable "ami_id" {
  description = "Machine image: Debian 12 or newer, or Amazon Linux 2023. For `aws-document`, use one that nothing else of the account is started from: it tells sentries from others."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id is the id of an image, as ami-0123456789abcdef0."
  }
}

variable "former_ami_ids" {
  description = "Images from which instances of this group may still join while another one takes their place. For `aws-document`; empty again once the refresh is over."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.former_ami_ids : can(regex("^ami-[0-9a-f]{8,17}$", id))])
    error_message = "former_ami_ids are ids of images, as ami-0123456789abcdef0."
  }
}

variable "release" {
  description = "Where the programs come from: an https URL of a .tar.gz with `picket-sentry-agent` at its top or in the folders that `cargo xtask dist` makes, and its SHA-256. Null: the image has it in its PATH."
  type        = object({ url = string, sha256 = string })
  default     = null

  validation {
    condition     = var.release == null || try(can(regex("^https://[^'\\s]+$", var.release.url)) && can(regex("^[0-9a-f]{64}$", var.release.sha256)), false)
    error_message = "release.url is https://…, and release.sha256 is 64 characters of 0-9 and a-f: what does not match it is not run."
  }
}

variable "setup" {
  description = "Shell commands run as root at the first boot, before the agent: to start your own ICON node. No secrets: user data is read by every program of the instance."
  type        = string
  default     = ""
}

variable "node_url" {
  description = "The ICON node on each sentry, by its RPC port, as http://127.0.0.1:9080: `/ready` is then good only while that node is at work too, and hidden validators give a sentry whose node is behind no share. Null: the node is nobody's business."
  type        = string
  default     = null

  validation {
    condition     = var.node_url == null || can(regex("^http://(127\\.0\\.0\\.1|localhost):[0-9]+$", var.node_url))
    error_message = "node_url is on the instance itself, as http://127.0.0.1:9080."
  }
}

variable "grace_seconds" {
  description = "How long an instance has, once it is in service, before it is replaced where it is not ready. With `node_url`, longer than your node takes to start."
  type        = number
  default     = 300

  validation {
    condition     = var.grace_seconds >= 60 && var.grace_seconds <= 86400
    error_message = "grace_seconds is 60 to 86400."
  }
}

variable "instance_types" {
  description = "Types, the preferred one first; several give spot instances a choice. All of one architecture, the image's."
  type        = list(string)
  default     = ["c6i.large", "c6a.large", "c5.large"]

  validation {
    condition     = length(var.instance_types) >= 1 && length(distinct(var.instance_types)) == length(var.instance_types)
    error_message = "instance_types names at least one type, and none twice."
  }
}

variable "sizes" {
  description = "How many sentries: at least, at most, and at the start (afterwards scaling decides)."
  type        = object({ min = number, max = number, desired = number })
  default     = { min = 2, max = 6, desired = 2 }

  validation {
    condition     = var.sizes.min >= 1 && var.sizes.min <= var.sizes.desired && var.sizes.desired <= var.sizes.max && var.sizes.max <= 200
    error_message = "sizes: 1 <= min <= desired <= max <= 200. Without a sentry validators have none."
  }
}

variable "spot" {
  description = "Spot instances: how many on-demand ones come first, and how much of what is above is on demand, in percent. The default has no spot instances."
  type        = object({ on_demand_base = number, on_demand_percent = number })
  default     = { on_demand_base = 2, on_demand_percent = 100 }

  validation {
    condition     = var.spot.on_demand_base >= 1 && var.spot.on_demand_percent >= 0 && var.spot.on_demand_percent <= 100
    error_message = "spot: on_demand_base is at least 1, so that a market without spot instances leaves a sentry; on_demand_percent is 0 to 100."
  }
}

variable "warm_pool" {
  description = "Stopped instances kept ready, at least so many. AWS knows no warm pools of mixed or spot instances: give one instance type. Null: none."
  type        = object({ min = number })
  default     = null

  validation {
    condition     = var.warm_pool == null || length(var.instance_types) == 1 && var.spot.on_demand_percent == 100
    error_message = "warm_pool goes with one instance type and without spot instances: AWS has no warm pools of mixed groups."
  }
}

variable "ports" {
  description = "What the balancer passes on, by name: the port and the prefix lists of who may come, by any names. Each sentry's own firewall tells validators from strangers within them."
  type        = map(object({ port = number, prefix_list_ids = map(string) }))

  validation {
    condition     = length(var.ports) >= 1 && alltrue([for port in var.ports : port.port >= 1 && port.port <= 65535 && port.port != 22])
    error_message = "ports has at least one, each 1 to 65535 and not 22: SSH is never passed on."
  }

  validation {
    condition     = length(distinct([for port in var.ports : port.port])) == length(var.ports)
    error_message = "ports has one port twice."
  }

  validation {
    condition     = alltrue([for name in keys(var.ports) : can(regex("^[a-z0-9]{1,8}$", name))])
    error_message = "ports: names are 1 to 8 characters of a-z and 0-9."
  }

  validation {
    condition     = alltrue(flatten([for port in var.ports : [for id in values(port.prefix_list_ids) : startswith(id, "pl-")]]))
    error_message = "ports: prefix_list_ids are ids of prefix lists, pl-…."
  }
}

variable "wireguard_prefix_list_ids" {
  description = "Prefix lists of the validators' hosts, which dial the sentries' WireGuard port, UDP 51820; by any names."
  type        = map(string)

  validation {
    condition     = length(var.wireguard_prefix_list_ids) >= 1 && alltrue([for id in values(var.wireguard_prefix_list_ids) : startswith(id, "pl-")])
    error_message = "wireguard_prefix_list_ids names at least one prefix list, pl-…: without one no validator has a tunnel."
  }
}

variable "egress_ports" {
  description = "TCP ports that sentries may dial anywhere: P2P, the controller's 7443, https for lists and packages."
  type        = list(number)
  default     = [80, 443, 7100, 7443]
}

variable "health_port" {
  description = "Port of `/ready`, for the balancer alone. Not one that Picket guards."
  type        = number
  default     = 7480

  validation {
    condition     = var.health_port >= 1024 && var.health_port <= 65535 && !contains([for port in var.ports : port.port], var.health_port)
    error_message = "health_port is 1024 to 65535 and none of ports."
  }
}

variable "idle_seconds" {
  description = "How long the balancer remembers a flow that is silent. Must be above what your peers are silent for; P2P speaks each second. Tunnels, with their keepalive of 25 s, do not pass it."
  type        = number
  default     = 3600

  validation {
    condition     = var.idle_seconds >= 60 && var.idle_seconds <= 6000
    error_message = "idle_seconds is 60 to 6000, which is what AWS takes."
  }
}

variable "static_addresses" {
  description = "Whether the balancer has addresses that stay (one EIP in each zone), which others may write into their own lists."
  type        = bool
  default     = true
}

variable "scaling" {
  description = "What is aimed at, each as an average of the group's instances: CPU in percent; bytes out in a minute; and by what the controller tells of its pool, in the region where it is, how full connection tracking is in percent, and how many packets to guarded ports are stopped in a second. What is not named is not aimed at."
  type = object({
    cpu_percent       = optional(number)
    network_out_bytes = optional(number)
    tracked_percent   = optional(number)
    stopped_packets   = optional(number)
  })
  default = { cpu_percent = 50 }

  validation {
    condition     = var.scaling.cpu_percent == null || try(var.scaling.cpu_percent >= 10 && var.scaling.cpu_percent <= 90, false)
    error_message = "scaling.cpu_percent is 10 to 90, or null."
  }

  validation {
    condition     = var.scaling.tracked_percent == null || try(var.scaling.tracked_percent >= 10 && var.scaling.tracked_percent <= 75, false)
    error_message = "scaling.tracked_percent is 10 to 75, or null: from 80 on a sentry counts as burdened, and validators leave it."
  }

  validation {
    condition     = alltrue([for value in [var.scaling.network_out_bytes, var.scaling.stopped_packets] : value == null || try(value > 0, false)])
    error_message = "scaling.network_out_bytes and scaling.stopped_packets are above 0, or null."
  }
}

variable "join_seconds" {
  description = "How long after its launch an instance may join (`launch_age_seconds` of the rule). With a warm pool, instances start long after their launch: then it is 30 days."
  type        = number
  default     = 900

  validation {
    condition     = var.join_seconds >= 120 && var.join_seconds <= 86400
    error_message = "join_seconds is 120 to 86400: packages must be fetched within it, and a copied proof is of use as long."
  }
}

variable "volume_gib" {
  description = "Size of each sentry's volume, in GiB: the chain, where your node keeps it here."
  type        = number
  default     = 20

  validation {
    condition     = var.volume_gib >= 8 && var.volume_gib <= 16384
    error_message = "volume_gib is 8 to 16384."
  }
}

variable "kms_key_arn" {
  description = "Key of the volumes. Null: the one that AWS keeps for EBS."
  type        = string
  default     = null
}

variable "alarm_topic_arns" {
  description = "SNS topics that are told of alarms."
  type        = list(string)
  default     = []
}

variable "deletion_protection" {
  description = "Whether the load balancer refuses to be destroyed."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Further tags of everything made here."
  type        = map(string)
  default     = {}
}
