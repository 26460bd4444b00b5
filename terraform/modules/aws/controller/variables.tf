variable "name" {
  description = "Begins the name of everything made here, and is its tag `picket:mesh`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "name is 2 to 20 characters of a-z, 0-9 and '-', begins with a letter and does not end with '-': load balancers take no other."
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_id" {
  description = "Private subnet of the instance, the first where there are several. Its zone is the zone of the volume with the mesh's CA: it does not move by itself."
  type        = string
}

variable "database" {
  description = "A PostgreSQL database of RDS for the controllers: private subnets in two zones or more, by any names. Null: SQLite on the instance's volume, and one controller. To change later, move the data (docs/operations.md, \"Moving\")."
  type = object({
    subnet_ids     = map(string)
    version        = optional(string, "16")
    instance_class = optional(string, "db.t4g.small")
    storage_gib    = optional(number, 20)
    multi_az       = optional(bool, true)
    backup_days    = optional(number, 14)
  })
  default = null

  validation {
    condition     = var.database == null || try(length(var.database.subnet_ids) >= 2, false)
    error_message = "database.subnet_ids names private subnets in two zones or more: RDS takes no fewer."
  }

  validation {
    condition     = var.database == null || try(tonumber(var.database.version) >= 14 && tonumber(var.database.version) <= 18, false)
    error_message = "database.version is 14 to 18, the major version alone."
  }

  validation {
    condition     = var.database == null || try(var.database.storage_gib >= 20 && var.database.storage_gib <= 1000 && var.database.backup_days >= 1 && var.database.backup_days <= 35, false)
    error_message = "database.storage_gib is 20 to 1000, and database.backup_days 1 to 35, which is what RDS takes."
  }
}

variable "further_subnet_ids" {
  description = "Private subnets of further controllers, one for each, by names that stay (\"second\", \"third\"). They need `database`."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(var.further_subnet_ids) == 0 || var.database != null
    error_message = "further_subnet_ids names further controllers and there is no database: SQLite is for one controller alone."
  }

  validation {
    condition     = length(var.further_subnet_ids) <= 4 && alltrue([for name in keys(var.further_subnet_ids) : can(regex("^[a-z][a-z0-9]{0,9}$", name)) && name != "first"])
    error_message = "further_subnet_ids: four at most, names of 1 to 10 characters of a-z and 0-9, none of them \"first\"."
  }
}

variable "balancer_subnet_ids" {
  description = "Public subnets of the load balancer, by any names (the network module's `public_subnet_ids`)."
  type        = map(string)

  validation {
    condition     = length(var.balancer_subnet_ids) >= 1
    error_message = "balancer_subnet_ids is empty: hosts could not reach the controller."
  }
}

variable "agents_prefix_list_ids" {
  description = "Prefix lists of whoever may reach the agents' port, 7443, by any names. Every host of the mesh must be in one."
  type        = map(string)

  validation {
    condition     = length(var.agents_prefix_list_ids) >= 1 && alltrue([for id in values(var.agents_prefix_list_ids) : startswith(id, "pl-")])
    error_message = "agents_prefix_list_ids names at least one prefix list, pl-…: without one no host could join."
  }
}

variable "ami_id" {
  description = "Machine image: Debian 12 or newer, or Amazon Linux 2023, with systemd, cloud-init and the SSM agent where you want Session Manager."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id is the id of an image, as ami-0123456789abcdef0."
  }
}

variable "release" {
  description = "Where the programs come from: an https URL of a .tar.gz with `picket-controller` and `picket` at its top or in the folders that `cargo xtask dist` makes, and its SHA-256. Null: the image has them in its PATH."
  type        = object({ url = string, sha256 = string })
  default     = null

  validation {
    condition     = var.release == null || try(can(regex("^https://[^'\\s]+$", var.release.url)) && can(regex("^[0-9a-f]{64}$", var.release.sha256)), false)
    error_message = "release.url is https://…, and release.sha256 is 64 characters of 0-9 and a-f: what does not match it is not run."
  }
}

variable "instance_type" {
  description = "Type of the instance; one built on Nitro, because the volume is found by its NVMe name."
  type        = string
  default     = "t3.small"
}

variable "volume_gib" {
  description = "Size of the volume with database and CA, in GiB."
  type        = number
  default     = 10

  validation {
    condition     = var.volume_gib >= 4 && var.volume_gib <= 1024
    error_message = "volume_gib is 4 to 1024."
  }
}

variable "kms_key_arn" {
  description = "Key of volumes, secrets and backups. Null: the keys that AWS keeps for each service."
  type        = string
  default     = null
}

variable "chain_network" {
  description = "The ICON network whose validators are let in: mainnet, lisbon or berlin."
  type        = string
  default     = "mainnet"

  validation {
    condition     = contains(["mainnet", "lisbon", "berlin"], var.chain_network)
    error_message = "chain_network is mainnet, lisbon or berlin."
  }
}

variable "admin_networks" {
  description = "Your own networks, let in to every guarded port of every host. Empty: the stored policy stays in force."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for network in var.admin_networks : can(cidrhost(network, 0)) && !contains(["0.0.0.0/0", "::/0"], network)])
    error_message = "admin_networks are networks as 203.0.113.0/28, and never everybody."
  }
}

variable "enroll" {
  description = "Who may join without a token (`[[enroll]]`): the `enroll_rule` outputs of the sentries modules."
  type = list(object({
    name               = string
    proof              = string
    account            = string
    regions            = optional(list(string), [])
    images             = optional(list(string), [])
    claims             = optional(map(string), {})
    instance_name      = optional(string)
    role               = optional(string, "sentry")
    names              = optional(string, "*")
    pool               = optional(string)
    max_nodes          = number
    launch_age_seconds = optional(number)
  }))
  default = []

  validation {
    condition     = alltrue([for rule in var.enroll : contains(["aws-document", "aws-sts", "gcp"], rule.proof)])
    error_message = "enroll: proof is aws-document, aws-sts or gcp."
  }

  validation {
    condition     = alltrue([for rule in var.enroll : rule.max_nodes >= 1 && can(regex("^[a-z0-9.-]{1,27}$", rule.name))])
    error_message = "enroll: max_nodes is at least 1, and name is 1 to 27 characters of a-z, 0-9, '-', '.'."
  }

  validation {
    condition     = alltrue([for rule in var.enroll : rule.proof != "aws-document" || length(rule.images) + length(rule.regions) > 0])
    error_message = "enroll: a rule for aws-document names images or regions; without them any instance of the account could join."
  }
}

variable "aws_certificates" {
  description = "For `aws-document`: AWS's certificate called \"RSA\" for each region, in PEM, from the EC2 user guide (\"AWS public certificates for instance identity document signatures\"). Copy them from there; they are what proofs are believed by."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for pem in var.aws_certificates : strcontains(pem, "-----BEGIN CERTIFICATE-----")])
    error_message = "aws_certificates: each value is a certificate in PEM, with its BEGIN and END lines."
  }

  validation {
    condition     = alltrue([for rule in var.enroll : rule.proof != "aws-document" || alltrue([for region in rule.regions : contains(keys(var.aws_certificates), region)])])
    error_message = "aws_certificates lacks a region that an aws-document rule of enroll names: its instances could prove nothing."
  }
}

variable "sts_issuer" {
  description = "For `aws-sts`: the account's issuer of tokens, https://…tokens.sts.global.api.aws (`aws iam get-outbound-web-identity-federation-info`)."
  type        = string
  default     = null

  validation {
    condition     = var.sts_issuer == null || can(regex("^https://[a-z0-9.-]+$", var.sts_issuer))
    error_message = "sts_issuer is https://… without a path."
  }

  validation {
    condition     = var.sts_issuer != null || alltrue([for rule in var.enroll : rule.proof != "aws-sts"])
    error_message = "enroll has a rule for aws-sts: give sts_issuer, else no token would be believed."
  }
}

variable "hooks" {
  description = "Hooks of clouds: the public name they call, an ACM certificate for it in this region, where its DNS zone is (null: make the record yourself), who may call (prefix lists by any names; EventBridge has no published addresses, so in general everybody) and whose groups are listened to. Null: no hooks."
  type = object({
    host             = string
    certificate_arn  = string
    zone_id          = optional(string)
    prefix_list_ids  = map(string)
    groups           = list(object({ account = string, regions = list(string), groups = list(string) }))
    autoscaling_arns = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.hooks == null || try(can(regex("^[a-z0-9.-]+\\.[a-z]+$", var.hooks.host)) && startswith(var.hooks.certificate_arn, "arn:"), false)
    error_message = "hooks: host is a public name, as hooks.example.org, and certificate_arn the ARN of its certificate in ACM."
  }

  validation {
    condition     = var.hooks == null || try(length(var.hooks.groups) > 0 && alltrue([for of in var.hooks.groups : can(regex("^[0-9]{12}$", of.account)) && length(of.regions) > 0 && length(of.groups) > 0]), false)
    error_message = "hooks.groups: each names an account of 12 digits, at least one region and at least one pattern of group names."
  }

  validation {
    condition     = var.hooks == null || try(length(var.hooks.autoscaling_arns) > 0, false)
    error_message = "hooks.autoscaling_arns is empty: the controller could answer no group, and each instance that comes up would be thrown away."
  }
}

variable "extra_configuration" {
  description = "Further TOML of the controller's configuration, sections that this module does not write: as `[[webhook]]`, `[leases]`, `[overlay]`. No secrets: it lies in an SSM parameter in the clear."
  type        = string
  default     = ""

  validation {
    condition     = !can(regex("(?m)^\\s*\\[+(listen|chain|attest|attest\\.issuers|enroll|hooks|hooks\\.aws|ca)\\]", var.extra_configuration))
    error_message = "extra_configuration has a section that this module writes itself: listen, chain, attest, enroll, hooks or ca."
  }

  validation {
    condition     = length(var.admin_networks) == 0 || !can(regex("(?m)^\\s*\\[policy\\]", var.extra_configuration))
    error_message = "extra_configuration has [policy] and admin_networks writes one too: put the networks into its line admin."
  }
}

variable "backup_days" {
  description = "How long backups of database and CA are kept in S3, in days; 0 for no backups."
  type        = number
  default     = 90

  validation {
    condition     = var.backup_days >= 0 && floor(var.backup_days) == var.backup_days
    error_message = "backup_days is a whole number, 0 for none."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that are told of alarms."
  type        = list(string)
  default     = []
}

variable "deletion_protection" {
  description = "Whether load balancer, database and backups refuse to be destroyed, and a snapshot of the volumes is left. An instance refuses it to everybody but Terraform, which lifts that by itself. Switch it off and apply before `terraform destroy`."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Further tags of everything made here."
  type        = map(string)
  default     = {}
}
