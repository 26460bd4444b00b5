variable "name" {
  description = "The mesh's name; begins the name of everything made here."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "name is 2 to 20 characters of a-z, 0-9 and '-', and begins with a letter."
  }
}

variable "pool" {
  description = "Name of this group within the mesh; its hosts are in the pool of this name."
  type        = string
  default     = "edge"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,9}$", var.pool))
    error_message = "pool is 1 to 10 characters of a-z, 0-9 and '-', and begins with a letter."
  }
}

variable "project" {
  description = "The project."
  type        = string
}

variable "region" {
  description = "The region; the group spreads over its zones."
  type        = string
}

variable "network" {
  description = "The network, by its self link."
  type        = string
}

variable "subnetwork" {
  description = "The subnetwork of the region, by its self link."
  type        = string
}

variable "controller_url" {
  description = "The controller's address for agents."
  type        = string

  validation {
    condition     = can(regex("^https://[A-Za-z0-9.-]+:[0-9]+$", var.controller_url))
    error_message = "controller_url is https://HOST:PORT."
  }
}

variable "ca_fingerprint" {
  description = "Fingerprint of the mesh's CA, 64 hexadecimal digits: `picket-controller fingerprint`."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.ca_fingerprint))
    error_message = "ca_fingerprint is 64 hexadecimal digits, lower case."
  }
}

variable "image" {
  description = "Machine image with `picket-sentry-agent`, nftables and curl, Debian 12 or newer, by its self link."
  type        = string
}

variable "machine_type" {
  description = "Type of the instances."
  type        = string
  default     = "e2-standard-2"
}

variable "sizes" {
  description = "Fewest and most sentries. Where they differ, the group scales by CPU."
  type        = object({ min = number, max = number })
  default     = { min = 2, max = 2 }

  validation {
    condition     = var.sizes.min >= 1 && var.sizes.min <= var.sizes.max && var.sizes.max <= 100
    error_message = "sizes are 1 to 100, min not above max. Without a sentry validators have none."
  }
}

variable "cpu_percent" {
  description = "CPU that the group aims at where `sizes` are a range."
  type        = number
  default     = 50

  validation {
    condition     = var.cpu_percent >= 10 && var.cpu_percent <= 90
    error_message = "cpu_percent is 10 to 90."
  }
}

variable "health_port" {
  description = "Port of `/ready`, for Google's health checks alone. Not one that Picket guards."
  type        = number
  default     = 7480

  validation {
    condition     = var.health_port >= 1024 && var.health_port <= 65535 && !contains([7100, 7443, 9000, 9080, 51820], var.health_port)
    error_message = "health_port is 1024 to 65535, and none of 7100, 7443, 9000, 9080, 51820."
  }
}

variable "grace_seconds" {
  description = "How long an instance has after its start before it is made anew where it is not ready."
  type        = number
  default     = 300

  validation {
    condition     = var.grace_seconds >= 60 && var.grace_seconds <= 3600
    error_message = "grace_seconds is 60 to 3600."
  }
}

variable "spot" {
  description = "Whether the instances are spot instances, which Google takes away with half a minute's notice. They are deleted then, not stopped: `preempted = true` in the controller's `[hooks.gcp]` is right for this group."
  type        = bool
  default     = false
}

variable "p2p_networks" {
  description = "Who may reach the P2P port, 7100, at the outer wall; each sentry's own firewall knows the validators."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "wireguard_networks" {
  description = "Whence validators dial UDP 51820."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "labels" {
  description = "Labels of the instances."
  type        = map(string)
  default     = {}
}
