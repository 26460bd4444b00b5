variable "name" {
  description = "Begins the name of everything made here, and is its tag `picket:mesh`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name is 2 to 20 characters of a-z, 0-9 and '-', begins with a letter and does not end with '-': load balancers take no other."
  }
}

variable "cidr" {
  description = "Addresses of the VPC. Must not overlap the mesh's own (`[overlay] v4`, 10.86.0.0/16 unless you changed it)."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 22, false)
    error_message = "cidr is an IPv4 network from /16 to /22, as 10.40.0.0/16: 16 subnets are cut from it."
  }
}

variable "zones" {
  description = "Availability zones, two to six. One public and one private subnet are made in each. Add new ones at the end: a zone's place in the list decides its addresses."
  type        = list(string)

  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 6 && length(distinct(var.zones)) == length(var.zones)
    error_message = "zones names two to six different availability zones: with one, its loss is the loss of every sentry."
  }
}

variable "nat" {
  description = "How private subnets reach the internet: `none`, `single` (one gateway, in the first zone) or `per-zone`."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["none", "single", "per-zone"], var.nat)
    error_message = "nat is none, single or per-zone."
  }
}

variable "prefix_lists" {
  description = "Lists of networks that security groups name, the outer wall. `max_entries` counts against the 60 rules of each group that names the list; it can be raised later. The inner wall, each host's own firewall, follows the chain by itself."
  type = map(object({
    cidrs       = map(string)
    max_entries = optional(number, 10)
  }))
  default = {
    p2p       = { cidrs = { "0.0.0.0/0" = "every validator; each host knows which" }, max_entries = 2 }
    rpc       = { cidrs = {}, max_entries = 20 }
    wireguard = { cidrs = { "0.0.0.0/0" = "validators dial in; WireGuard is silent to who has no key" }, max_entries = 2 }
    hooks     = { cidrs = { "0.0.0.0/0" = "EventBridge has no published addresses; each message is verified" }, max_entries = 2 }
    out       = { cidrs = { "0.0.0.0/0" = "whither validators may open connections; five rules of a validator name this list" }, max_entries = 10 }
    agents    = { cidrs = { "0.0.0.0/0" = "every host of the mesh; TLS on both sides" }, max_entries = 2 }
  }

  validation {
    condition     = alltrue([for list in var.prefix_lists : alltrue([for cidr in keys(list.cidrs) : can(cidrnetmask(cidr))])])
    error_message = "prefix_lists: every key of cidrs is an IPv4 network, as 203.0.113.0/28; what it maps to says why it is there."
  }

  validation {
    condition     = alltrue([for list in var.prefix_lists : length(list.cidrs) <= list.max_entries && list.max_entries >= 1 && list.max_entries <= 60])
    error_message = "prefix_lists: max_entries is 1 to 60 and no less than the networks of the list."
  }
}

variable "flow_log_days" {
  description = "How long the VPC's flow logs are kept, in days; 0 for none. Values are those that CloudWatch knows."
  type        = number
  default     = 30

  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096], var.flow_log_days)
    error_message = "flow_log_days is 0, or one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096."
  }
}

variable "tags" {
  description = "Further tags of everything made here."
  type        = map(string)
  default     = {}
}
